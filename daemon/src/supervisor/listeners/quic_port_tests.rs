#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use super::*;
use crate::ipc::socket_slot::{ID_LENGTH, MAGIC};

#[test]
fn the_kernel_hands_datagrams_to_the_slot_that_they_name() {
    let port = QuicPort::open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let sockets: Vec<UdpSocket> = (0..4)
        .map(|index| UdpSocket::from(port.socket(index).unwrap().try_clone().unwrap()))
        .collect();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 64];
    let arrived = |buffer: &mut [u8]| loop {
        if let Some(at) = sockets
            .iter()
            .position(|socket| socket.recv(buffer).is_ok())
        {
            return at;
        }
        std::thread::yield_now();
    };
    port.steer_to(vec![2, 1]);
    for slot in 0..4_u8 {
        let mut datagram = [0x43; 40];
        datagram[1] = slot;
        datagram[2..4].copy_from_slice(&MAGIC);
        client.send_to(&datagram, port.address()).unwrap();
        assert_eq!(arrived(&mut buffer), usize::from(slot));
    }
    let new = |last: u8| [&[0xc3, 0, 0, 0, 1, 8, 7, 7, 7, last][..], &[0; ID_LENGTH]].concat();
    for last in 0..8 {
        client.send_to(&new(last), port.address()).unwrap();
        let even = u32::from_be_bytes([7, 7, 7, last]).is_multiple_of(2);
        assert_eq!(arrived(&mut buffer), if even { 2 } else { 1 });
    }
    port.steer_to(vec![3]);
    client.send_to(&new(0), port.address()).unwrap();
    assert_eq!(arrived(&mut buffer), 3);
}

#[test]
fn a_port_that_somebody_shares_is_taken_all_the_same() {
    let one = QuicPort::open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let error = QuicPort::open(one.address(), 2).unwrap_err();
    assert_eq!(error.code, Code::PortTaken);
    let holder = format!("by pid {}", std::process::id());
    assert!(error.message().contains(&holder), "{}", error.message());
}

#[test]
fn a_new_process_gets_the_last_slot_and_then_one_that_nobody_comes_back_to() {
    let port = QuicPort::open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let nobody = |_| false;
    assert_eq!(port.choose(Some(3), nobody, nobody), Some(3));
    // It is read by one that drains, and slot 0 is kept for a worker that is away.
    assert_eq!(
        port.choose(Some(3), |index| index == 3, |index| index == 0),
        Some(1)
    );
    assert_eq!(
        port.choose(None, |index| index > 0, |index| index == 0),
        Some(0)
    );
    // All are taken: there will be one more.
    assert_eq!(port.choose(None, |index| index < 4, nobody), Some(4));
}

#[test]
fn the_next_binary_has_the_same_sockets_and_the_kernel_is_not_told_again() {
    let port = QuicPort::open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    port.steer_to(vec![1]);
    let mut fds = Vec::new();
    let saved = port.saved(&mut |fd: &OwnedFd| {
        fds.push(Arc::new(fd.try_clone().unwrap()));
        fds.len() - 1
    });
    let text = serde_json::to_string(&saved).unwrap();
    let saved: SavedPort = serde_json::from_str(&text).unwrap();
    let next = saved.restored(&|place| fds.get(place).cloned()).unwrap();
    assert_eq!(next.address(), port.address());
    assert_eq!(next.sockets().len(), 4);
    assert_eq!(*next.steered.lock().unwrap(), (4, vec![1]));
    assert!(saved.restored(&|_| None).is_none());
}
