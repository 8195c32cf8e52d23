//! Finds the frame headers in the bytes of a stream (RFC 9114 §7.1), to bound the frames that h3
//! 0.0.8 would buffer whole. Pure.

/// DATA (RFC 9114 §7.2.1): passed on as it comes, whatever its length.
const DATA: u64 = 0;
/// The type of the control stream (RFC 9114 §6.2.1).
const CONTROL: u64 = 0;

/// Where in a stream the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the type of a unidirectional stream.
    StreamType,
    /// In the type of a frame.
    Type,
    /// In its length.
    Length { data: bool },
    /// In its payload, of which so much is to come.
    Payload(u64),
    /// In a stream without frames.
    Unframed,
}

/// A walk along one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    at: At,
    /// A variable-length integer that is not complete: its bytes so far, and how many there will
    /// be.
    number: u64,
    have: u8,
    want: u8,
    /// Largest payload of a frame that is not DATA, in bytes.
    limit: u64,
}

/// A frame is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes that is not DATA")]
pub(super) struct TooLong(u64);

impl Walk {
    /// Along a request stream.
    pub(super) const fn request(limit: u64) -> Self {
        Self {
            at: At::Type,
            number: 0,
            have: 0,
            want: 0,
            limit,
        }
    }

    /// Along a unidirectional stream, of which only the control stream has frames.
    pub(super) const fn unidirectional(limit: u64) -> Self {
        Self {
            at: At::StreamType,
            ..Self::request(limit)
        }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            match self.at {
                At::Unframed => return Ok(()),
                At::Payload(left) => {
                    let taken = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(left);
                    bytes = bytes
                        .get(usize::try_from(taken).unwrap_or(usize::MAX)..)
                        .unwrap_or_default();
                    self.at = if taken == left {
                        At::Type
                    } else {
                        At::Payload(left - taken)
                    };
                }
                At::StreamType | At::Type | At::Length { .. } => {
                    let Some(number) = self.number(&mut bytes) else {
                        return Ok(());
                    };
                    self.at = match self.at {
                        At::StreamType if number == CONTROL => At::Type,
                        At::StreamType => At::Unframed,
                        At::Length { data: false } if number > self.limit => {
                            return Err(TooLong(number));
                        }
                        At::Length { .. } if number == 0 => At::Type,
                        At::Length { .. } => At::Payload(number),
                        _ => At::Length {
                            data: number == DATA,
                        },
                    };
                }
            }
        }
        Ok(())
    }

    /// RFC 9000 §16, as far as the bytes go.
    fn number(&mut self, bytes: &mut &[u8]) -> Option<u64> {
        while let Some((first, rest)) = bytes.split_first() {
            *bytes = rest;
            if self.have == 0 {
                self.want = 1 << (first >> 6);
                self.number = u64::from(first & 0x3f);
            } else {
                self.number = self.number << 8 | u64::from(*first);
            }
            self.have += 1;
            if self.have == self.want {
                self.have = 0;
                return Some(self.number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{TooLong, Walk};

    fn whole_and_byte_by_byte(walk: Walk, bytes: &[u8]) -> Result<(), TooLong> {
        let mut slow = walk;
        let mut outcome = Ok(());
        for byte in bytes {
            outcome = outcome.and_then(|()| slow.feed(&[*byte]));
        }
        let mut fast = walk;
        assert_eq!(fast.feed(bytes), outcome);
        outcome
    }

    #[test]
    fn data_may_be_long_and_other_frames_may_not() {
        // HEADERS of 3, DATA of 2^30 - 1 of which one byte is there.
        assert_eq!(
            whole_and_byte_by_byte(
                Walk::request(100),
                &[1, 3, 9, 9, 9, 0, 0xbf, 0xff, 0xff, 0xff, 7]
            ),
            Ok(())
        );
        // HEADERS of 2^30 - 1.
        assert_eq!(
            whole_and_byte_by_byte(Walk::request(100), &[1, 0xbf, 0xff, 0xff, 0xff]),
            Err(TooLong((1 << 30) - 1))
        );
        // Empty DATA, a frame of an unknown type with two bytes for its type, then HEADERS of 101.
        assert_eq!(
            whole_and_byte_by_byte(Walk::request(100), &[0, 0, 0x40, 0x21, 1, 0, 1, 0x40, 101]),
            Err(TooLong(101))
        );
        assert_eq!(
            whole_and_byte_by_byte(Walk::request(100), &[0, 0, 0x40, 0x21, 1, 0, 1, 0x40, 100]),
            Ok(())
        );
    }

    #[test]
    fn of_the_unidirectional_streams_only_the_control_stream_has_frames() {
        let settings_too_long = [4, 0x40, 101];
        let with = |kind: u8| [&[kind][..], &settings_too_long].concat();
        assert_eq!(
            whole_and_byte_by_byte(Walk::unidirectional(100), &with(0)),
            Err(TooLong(101))
        );
        assert_eq!(
            whole_and_byte_by_byte(Walk::unidirectional(100), &with(2)),
            Ok(())
        );
    }
}
