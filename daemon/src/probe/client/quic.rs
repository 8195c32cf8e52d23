//! Whether QUIC is spoken at an address. A server answers a packet of an unknown version with the
//! versions that it has (RFC 9000 §6). This tells a closed port from a silent one and from one that
//! speaks something else, which a handshake does not. The handshake is made in `http3.rs`.

use super::mcp::Fault;
use ggen_wire::Code;
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// A version that forces the answer (RFC 9000 §15).
const NO_VERSION: [u8; 4] = [0x1a, 0x2a, 0x3a, 0x4a];
/// The least that a first datagram has (RFC 9000 §14.1).
const DATAGRAM: usize = 1200;
/// Length of the ids that we choose.
const ID: usize = 8;
/// After so long the packet may be lost.
const AGAIN: Duration = Duration::from_millis(300);

/// The versions that are spoken there, and how long the answer took.
///
/// # Errors
/// Nobody answers, or something else than QUIC.
pub(crate) fn supported_versions(
    address: SocketAddr,
    deadline: Instant,
) -> Result<(Vec<u32>, Duration), Fault> {
    let fault = |code, what: &str, seen: String| Fault {
        layer: "QUIC",
        code,
        what: format!("{what}: {address} (UDP)"),
        seen,
    };
    let began = Instant::now();
    match ask(address, deadline) {
        Ok(versions) => Ok((versions, began.elapsed())),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused => fault(
                Code::ConnectionRefused,
                "Connection refused",
                error.to_string(),
            ),
            io::ErrorKind::TimedOut => fault(
                Code::ConnectionTimeout,
                "Connection timeout",
                "no answer to a QUIC packet".to_owned(),
            ),
            io::ErrorKind::InvalidData => {
                fault(Code::AnswerUnusable, "Not QUIC", error.to_string())
            }
            _ => fault(Code::ConnectionRefused, "No connection", error.to_string()),
        }),
    }
}

fn ask(address: SocketAddr, deadline: Instant) -> io::Result<Vec<u32>> {
    let any: SocketAddr = if address.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    let mut ids = [0; 2 * ID];
    getrandom::fill(&mut ids).map_err(io::Error::other)?;
    let packet = packet(&ids);
    let mut answer = [0; 1500];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left.min(AGAIN)))?;
        socket.send(&packet)?;
        match socket.recv(&mut answer) {
            Ok(length) => {
                return versions(&answer[..length], &ids).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidData, "another answer than QUIC's")
                });
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A long header (RFC 8999 §5.1) and nothing that means anything behind it.
fn packet(ids: &[u8; 2 * ID]) -> Vec<u8> {
    let length = [u8::try_from(ID).unwrap_or(0)];
    let mut packet = [
        &[0xc0][..],
        &NO_VERSION,
        &length,
        &ids[..ID],
        &length,
        &ids[ID..],
    ]
    .concat();
    packet.resize(DATAGRAM, 0);
    packet
}

/// Of a Version Negotiation packet (RFC 8999 §6) for the client with these ids, which it gives back
/// the other way round.
fn versions(answer: &[u8], ids: &[u8; 2 * ID]) -> Option<Vec<u32>> {
    let length = [u8::try_from(ID).ok()?];
    let expected = [&[0; 4][..], &length, &ids[ID..], &length, &ids[..ID]].concat();
    let (first, rest) = answer.split_first()?;
    let list = rest
        .strip_prefix(&expected[..])
        .filter(|_| first & 0x80 != 0)?;
    Some(
        list.chunks_exact(4)
            .map(|version| {
                version
                    .iter()
                    .fold(0, |number, byte| number << 8 | u32::from(*byte))
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_our_own_question_counts() {
        let ids: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap_or(0));
        let packet = packet(&ids);
        assert_eq!((packet.len(), &packet[1..5]), (DATAGRAM, &NO_VERSION[..]));
        let answer = [
            &[0x80, 0, 0, 0, 0, 8][..],
            &ids[8..],
            &[8],
            &ids[..8],
            &[0, 0, 0, 1, 0x6b, 0x33, 0x43, 0xcf],
        ]
        .concat();
        assert_eq!(versions(&answer, &ids), Some(vec![1, 0x6b33_43cf]));
        assert_eq!(versions(&answer, &[0; 16]), None);
        assert_eq!(versions(&answer[1..], &ids), None);
    }
}
