#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use super::*;
use crate::{
    ipc::socket_slot::{ID_LENGTH, MAGIC},
    supervisor::testing::has_ipv6,
};
use ggen_wire::Code;
use std::net::UdpSocket;

/// At these addresses with that port.
fn at(addresses: &[&str], port: u16) -> Vec<SocketAddr> {
    let address = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), port);
    addresses.iter().map(address).collect()
}

fn open(addresses: &[&str], port: u16, known: &[Arc<Slots>]) -> Arc<QuicPort> {
    let opened = QuicPort::open(&at(addresses, port), 2, known);
    opened.unwrap().0
}

fn local() -> Arc<QuicPort> {
    open(&["127.0.0.1"], 0, &[])
}

#[test]
fn the_kernel_hands_datagrams_to_the_slot_that_they_name() {
    let port = local();
    let sockets: Vec<UdpSocket> = (0..4)
        .map(|index| UdpSocket::from(port.sockets(index)[0].1.try_clone().unwrap()))
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
    port.steer_to(&[2, 1]);
    for slot in 0..4_u8 {
        let mut datagram = [0x43; 40];
        datagram[1] = slot;
        datagram[2..4].copy_from_slice(&MAGIC);
        client
            .send_to(&datagram, port.slots()[0].address())
            .unwrap();
        assert_eq!(arrived(&mut buffer), usize::from(slot));
    }
    let new = |last: u8| [&[0xc3, 0, 0, 0, 1, 8, 7, 7, 7, last][..], &[0; ID_LENGTH]].concat();
    for last in 0..8 {
        client
            .send_to(&new(last), port.slots()[0].address())
            .unwrap();
        let even = u32::from_be_bytes([7, 7, 7, last]).is_multiple_of(2);
        assert_eq!(arrived(&mut buffer), if even { 2 } else { 1 });
    }
    port.steer_to(&[3]);
    client.send_to(&new(0), port.slots()[0].address()).unwrap();
    assert_eq!(arrived(&mut buffer), 3);
}

#[test]
fn a_port_that_somebody_shares_is_taken_all_the_same() {
    let one = local();
    let error = QuicPort::open(&at(&["127.0.0.1"], one.number()), 2, &[]).unwrap_err();
    assert_eq!(error.code, Code::PortTaken);
    let holder = format!("by pid {}", std::process::id());
    assert!(error.message().contains(&holder), "{}", error.message());
}

#[test]
fn a_new_process_gets_the_last_slot_and_then_one_that_nobody_comes_back_to() {
    let port = local();
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
    let port = local();
    port.steer_to(&[1]);
    let mut fds = Vec::new();
    let saved = port.saved(&mut |fd: &OwnedFd| {
        fds.push(Arc::new(fd.try_clone().unwrap()));
        fds.len() - 1
    });
    let text = serde_json::to_string(&saved).unwrap();
    assert!(!text.contains("others"), "an older version would not know");
    let saved: SavedPort = serde_json::from_str(&text).unwrap();
    let share = |place: usize| fds.get(place).cloned();
    let mut known = Vec::new();
    let next = saved.restored(&share, &mut known).unwrap();
    assert!(next.addresses().eq(port.addresses()));
    assert_eq!(next.count(), 4);
    assert_eq!(next.slots()[0].steered(), (4, vec![1]));
    // Ports that share sockets still do.
    let again = saved.restored(&share, &mut known).unwrap();
    assert!(again.is(&next));
    assert!(saved.restored(&|_| None, &mut Vec::new()).is_none());
}

#[test]
fn another_address_is_added_without_closing_what_is_open() {
    if !has_ipv6() {
        return;
    }
    let v4 = local();
    let both = open(&["127.0.0.1", "::1"], v4.number(), v4.slots());
    assert!(both.shares_with(&v4) && !both.is(&v4));
    assert!(
        both.addresses()
            .all(|address| address.port() == v4.number())
    );
    assert_eq!(both.sockets(3).len(), 2);
    let same = open(&["127.0.0.1", "::1"], v4.number(), both.slots());
    assert!(same.is(&both));
    let v6 = open(&["::1"], v4.number(), both.slots());
    assert!(v6.shares_with(&both) && !v6.shares_with(&v4));
    // A slot that is read at either port is taken at both.
    let read = |index: u8| index == 0;
    assert_eq!(both.choose(None, read, |_| false), Some(1));
}
