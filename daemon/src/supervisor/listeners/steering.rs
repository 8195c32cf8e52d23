//! The program by which the kernel hands each datagram of the QUIC port to a worker's socket: by
//! the socket slot that its connection id names, and new connections evenly to the workers that
//! serve. Classic BPF, a few instructions for each worker. Pure.
//!
//! Where the ids are: RFC 8999 §5. A client's first packets carry an id of its own choice, at
//! random: it is what spreads them. A worker that is away has its share handed to others, and the
//! shares of the others stay as they are, so that no handshake changes its worker without need.

use crate::{
    ipc::socket_slot::{ID_LENGTH, MAGIC},
    platform::Instruction,
};

/// Opcodes (linux/bpf_common.h): load a byte, half-word, word of the datagram; jumps; remainder;
/// return.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
const IF_BITS: u16 = 0x45;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const REMAINDER: u16 = 0x94;
const RETURN: u16 = 0x06;
const RETURN_LOADED: u16 = 0x16;

/// First byte of long headers (RFC 8999 §5.1).
const LONG: u32 = 0x80;
/// Where the id is in a short header, and in a long one, where its length stands before it.
const SHORT_ID: u32 = 1;
const LONG_ID: u32 = 6;

/// For a port with so many socket slots: new connections go to one of `targets` (socket slots),
/// each of which has the same share. Without targets, to socket slot 0.
pub(super) fn program(slots: usize, targets: &[u8]) -> Vec<Instruction> {
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    let magic = u32::from(u16::from_be_bytes(MAGIC));
    let length = u32::try_from(ID_LENGTH).unwrap_or(u32::MAX);
    // Offsets are counted from the next instruction: `NEW - 1 - (its own index)`.
    const NEW: u8 = 14;
    let mut program = vec![
        plain(LOAD_BYTE, 0),
        jump(IF_BITS, LONG, 5, 0),
        // 2: a short header.
        plain(LOAD_HALF, SHORT_ID + 1),
        jump(IF_EQUAL, magic, 0, NEW - 4),
        plain(LOAD_BYTE, SHORT_ID),
        jump(IF_AT_LEAST, slots, NEW - 6, 0),
        plain(RETURN_LOADED, 0),
        // 7: a long one.
        plain(LOAD_BYTE, LONG_ID - 1),
        jump(IF_EQUAL, length, 0, NEW - 9),
        plain(LOAD_HALF, LONG_ID + 1),
        jump(IF_EQUAL, magic, 0, NEW - 11),
        plain(LOAD_BYTE, LONG_ID),
        jump(IF_AT_LEAST, slots, NEW - 13, 0),
        plain(RETURN_LOADED, 0),
        // 14, `NEW`: an id of the client's choice.
        plain(LOAD_WORD, LONG_ID),
        plain(REMAINDER, u32::try_from(targets.len()).unwrap_or(1).max(1)),
    ];
    for (share, target) in (0..).zip(targets) {
        program.push(jump(IF_EQUAL, share, 0, 1));
        program.push(plain(RETURN, u32::from(*target)));
    }
    program.push(plain(RETURN, 0));
    program
}

const fn plain(code: u16, operand: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        operand,
    }
}

const fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    }
}

/// A worker's share of new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// The socket slot that it reads, or that it read last.
    pub(crate) socket_slot: Option<u8>,
    /// Whether it serves.
    pub(crate) serves: bool,
}

/// Who gets the new connections of each worker's share: the worker itself if it serves, one of
/// those that serve if it is away. `shares` are those of the workers in order.
pub(super) fn targets(shares: &[Share]) -> Vec<u8> {
    let serving: Vec<u8> = shares
        .iter()
        .filter(|share| share.serves)
        .filter_map(|share| share.socket_slot)
        .collect();
    let target = |(at, share): (usize, &Share)| match share.socket_slot {
        Some(slot) if share.serves || serving.is_empty() => Some(slot),
        _ => serving.get(at % serving.len().max(1)).copied(),
    };
    shares.iter().enumerate().filter_map(target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do. A load beyond the end returns 0.
    fn run(program: &[Instruction], datagram: &[u8]) -> u32 {
        let (mut at, mut loaded) = (0, 0_u32);
        loop {
            let one = program[at];
            at += 1;
            let from = usize::try_from(one.operand).unwrap_or(usize::MAX);
            let load = |length: usize| {
                let bytes = datagram.get(from..from.checked_add(length)?)?;
                Some(
                    bytes
                        .iter()
                        .fold(0, |number, byte| number << 8 | u32::from(*byte)),
                )
            };
            let holds = match one.code {
                LOAD_BYTE | LOAD_HALF | LOAD_WORD => {
                    match load(match one.code {
                        LOAD_BYTE => 1,
                        LOAD_HALF => 2,
                        _ => 4,
                    }) {
                        Some(number) => loaded = number,
                        None => return 0,
                    }
                    continue;
                }
                REMAINDER => {
                    loaded %= one.operand;
                    continue;
                }
                RETURN => return one.operand,
                RETURN_LOADED => return loaded,
                IF_BITS => loaded & one.operand != 0,
                IF_EQUAL => loaded == one.operand,
                IF_AT_LEAST => loaded >= one.operand,
                other => unreachable!("{other:#x}"),
            };
            at += usize::from(if holds { one.jump_true } else { one.jump_false });
        }
    }

    fn ours(slot: u8) -> [u8; ID_LENGTH] {
        let mut id = [0xaa; ID_LENGTH];
        id[0] = slot;
        id[1..3].copy_from_slice(&MAGIC);
        id
    }

    fn long(id: &[u8]) -> Vec<u8> {
        [
            &[0xc3, 0, 0, 0, 1, u8::try_from(id.len()).unwrap_or(0)][..],
            id,
            &[0; 30],
        ]
        .concat()
    }

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x43][..], id, &[0; 30]].concat()
    }

    #[test]
    fn datagrams_with_an_id_of_ours_go_to_its_socket_and_others_to_those_that_serve() {
        let program = program(6, &[4, 1]);
        for slot in 0..6 {
            assert_eq!(run(&program, &short(&ours(slot))), u32::from(slot));
            assert_eq!(run(&program, &long(&ours(slot))), u32::from(slot));
        }
        // A socket slot that there is not, another magic, another length: new.
        assert!(
            [4, 1].contains(&run(&program, &short(&ours(6))))
                && [4, 1].contains(&run(&program, &long(&ours(200))))
        );
        let foreign = [7; ID_LENGTH];
        assert!(
            [4, 1].contains(&run(&program, &short(&foreign)))
                && [4, 1].contains(&run(&program, &long(&foreign)))
        );
        for last in 0..=255_u8 {
            let id = [9, 9, 9, last, 9, 9, 9, 9];
            assert_eq!(
                run(&program, &long(&id)),
                if u32::from_be_bytes([9, 9, 9, last]).is_multiple_of(2) {
                    4
                } else {
                    1
                }
            );
        }
        assert_eq!(run(&program, &[]), 0);
        assert_eq!(run(&program, &[0x43, 1]), 0);
    }

    #[test]
    fn a_share_moves_only_while_its_worker_is_away() {
        let on = |slot| (Some(slot), true);
        let off = |slot| (Some(slot), false);
        let targets = |shares: &[(Option<u8>, bool)]| {
            let share = |(socket_slot, serves): &(Option<u8>, bool)| Share {
                socket_slot: *socket_slot,
                serves: *serves,
            };
            super::targets(&shares.iter().map(share).collect::<Vec<_>>())
        };
        assert_eq!(targets(&[on(0), on(3), on(2)]), [0, 3, 2]);
        assert_eq!(targets(&[on(0), off(3), on(2)]), [0, 2, 2]);
        assert_eq!(targets(&[(None, false), on(3)]), [3, 3]);
        // Nobody serves: it waits in the socket of the one that will.
        assert_eq!(targets(&[off(0), off(1)]), [0, 1]);
        assert_eq!(targets(&[(None, false)]), [] as [u8; 0]);
    }

    #[test]
    fn the_longest_program_is_one_that_the_kernel_takes() {
        assert!(program(256, &[0; 64]).len() < 4096);
    }
}
