//! Adds the transport parameter that s2n-quic leaves out: the stateless reset token of a
//! connection's first id (RFC 9000 §18.2). Without it, a client whose server dies right after the
//! handshake waits for its idle time-out. Pure.

/// RFC 9000 §18.2.
const STATELESS_RESET_TOKEN: u64 = 0x02;
const INITIAL_SOURCE_CONNECTION_ID: u64 = 0x0f;
/// Length of a token.
const TOKEN: usize = 16;

/// These parameters with the token that `token` gives for the id among them. As they are, if there
/// is none, or a token already.
pub(super) fn with_token(
    mut parameters: Vec<u8>,
    token: impl FnOnce(&[u8]) -> [u8; TOKEN],
) -> Vec<u8> {
    let (mut id, mut rest) = (None, &parameters[..]);
    while !rest.is_empty() {
        let Some((name, value)) = next(&mut rest) else {
            return parameters;
        };
        match name {
            INITIAL_SOURCE_CONNECTION_ID => id = Some(value),
            STATELESS_RESET_TOKEN => return parameters,
            _ => {}
        }
    }
    if let Some(token) = id.map(token) {
        // Both numbers are below 64: a byte each.
        parameters.extend([0x02, 0x10]);
        parameters.extend(token);
    }
    parameters
}

/// A parameter's name and value.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let name = number(bytes)?;
    let length = usize::try_from(number(bytes)?).ok()?;
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((name, value))
}

/// RFC 9000 §16.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let (more, rest) = rest.split_at_checked((1 << (first >> 6)) - 1)?;
    *bytes = rest;
    Some(more.iter().fold(u64::from(first & 0x3f), |number, byte| {
        number << 8 | u64::from(*byte)
    }))
}

#[cfg(test)]
mod tests {
    use super::with_token;

    #[test]
    fn the_token_of_the_first_id_is_added_once() {
        // max_idle_timeout of two bytes, a name of two bytes with nothing, and the id.
        let plain = [
            &[0x01, 0x02, 0x40, 0x64, 0x40, 0x7f, 0x00, 0x0f, 0x03][..],
            &[7, 8, 9],
        ]
        .concat();
        let token = |id: &[u8]| [id.iter().sum(); 16];
        let added = with_token(plain.clone(), token);
        assert_eq!(added, [&plain[..], &[0x02, 0x10], &[24; 16]].concat());
        assert_eq!(with_token(added.clone(), token), added);
        // Without an id, or cut off, it is left alone.
        for other in [&plain[..7], &plain[..10], &[]] {
            assert_eq!(with_token(other.to_vec(), token), other);
        }
    }
}
