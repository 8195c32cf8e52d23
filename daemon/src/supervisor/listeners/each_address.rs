//! One port at every address of a host. Addresses that this host does not have are left out, as
//! long as there is one that it has. Binds nothing itself.

use super::listen_error::ListenError;
use ggen_wire::Code;
use std::net::SocketAddr;

/// When the system chose a port that is taken at another address, it chooses again so often.
const ATTEMPTS: u32 = 16;

/// What is bound, and what cannot be.
#[derive(Debug)]
pub(super) struct AtEach<T> {
    /// In the order of addresses; at least one.
    pub(super) bound: Vec<T>,
    /// Addresses that this host does not have, with the ports wanted there.
    pub(super) absent: Vec<SocketAddr>,
}

/// What is bound already, and how to bind the rest.
pub(super) struct Means<'a, T> {
    /// What is there for an address.
    pub(super) known: &'a dyn Fn(SocketAddr) -> Option<T>,
    pub(super) port_of: &'a dyn Fn(&T) -> u16,
    /// Binds an address with a port: its own, or the one that the system chose for the others.
    pub(super) bind: &'a dyn Fn(SocketAddr, u16) -> Result<T, ListenError>,
}

/// Binds all addresses. With port 0 the system chooses one, the same at each.
///
/// # Errors
/// The first address that cannot be had.
pub(super) fn at_each<T: Clone>(
    wanted: &[SocketAddr],
    means: &Means<'_, T>,
) -> Result<AtEach<T>, ListenError> {
    let known: Vec<Option<T>> = wanted.iter().copied().map(means.known).collect();
    let is_free = known.iter().all(Option::is_none) && wanted.iter().all(|one| one.port() == 0);
    let mut left = if is_free { ATTEMPTS } else { 1 };
    loop {
        left -= 1;
        match once(wanted, &known, means) {
            Err(error) if error.code == Code::PortTaken && left > 0 => {}
            other => return other,
        }
    }
}

fn once<T: Clone>(
    wanted: &[SocketAddr],
    known: &[Option<T>],
    means: &Means<'_, T>,
) -> Result<AtEach<T>, ListenError> {
    let mut port = known.iter().flatten().map(means.port_of).next();
    let (mut bound, mut absent) = (Vec::new(), Vec::new());
    let mut why = None;
    for (address, known) in wanted.iter().zip(known) {
        let found = known.clone().map_or_else(
            || (means.bind)(*address, port.unwrap_or(address.port())),
            Ok,
        );
        match found {
            Ok(found) => {
                port.get_or_insert((means.port_of)(&found));
                bound.push(found);
            }
            Err(error) if error.is_absent() && wanted.len() > 1 => {
                absent.push(*address);
                why = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match why {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(AtEach { bound, absent }),
    }
}

/// That some addresses are not served because this host does not have them.
pub(super) fn say(transport: &str, absent: &[SocketAddr]) -> Option<String> {
    let absent: Vec<String> = absent.iter().map(|one| one.ip().to_string()).collect();
    (!absent.is_empty()).then(|| {
        format!(
            "{transport} does not listen at {}, which this host does not have",
            absent.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::{cell::Cell, io};

    fn error(kind: io::ErrorKind) -> ListenError {
        let code = if kind == io::ErrorKind::AddrInUse {
            Code::PortTaken
        } else {
            Code::BindFailed
        };
        ListenError::new(code, format!("{kind}"), kind.into())
    }

    /// Both loopback addresses, where `known` has a port already and `bind` decides.
    fn localhost(
        port: u16,
        known: &dyn Fn(SocketAddr) -> Option<SocketAddr>,
        bind: &dyn Fn(SocketAddr) -> Result<(), io::ErrorKind>,
    ) -> Result<AtEach<SocketAddr>, ListenError> {
        let wanted = ["127.0.0.1", "::1"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        let chosen = Cell::new(4000);
        let means = Means {
            known,
            port_of: &|bound: &SocketAddr| bound.port(),
            bind: &|address, port| {
                let port = if port == 0 { chosen.get() } else { port };
                let address = SocketAddr::new(address.ip(), port);
                chosen.set(chosen.get() + 1);
                bind(address).map(|()| address).map_err(error)
            },
        };
        at_each(&wanted, &means)
    }

    fn shown(found: Result<AtEach<SocketAddr>, ListenError>) -> String {
        match found {
            Ok(at) => format!("{:?} without {:?}", at.bound, at.absent),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn both_have_the_same_port_and_the_system_chooses_again_if_one_is_taken() {
        let none = |_| None;
        assert_eq!(
            shown(localhost(0, &none, &|address| match address.port() {
                4000 | 4002 if address.is_ipv6() => Err(io::ErrorKind::AddrInUse),
                _ => Ok(()),
            })),
            "[127.0.0.1:4004, [::1]:4004] without []"
        );
        let taken = |address: SocketAddr| match address.is_ipv6() {
            true => Err(io::ErrorKind::AddrInUse),
            false => Ok(()),
        };
        let why = io::ErrorKind::AddrInUse.to_string();
        assert_eq!(shown(localhost(3000, &none, &taken)), why);
        assert_eq!(shown(localhost(0, &none, &taken)), why);
        // What is open keeps its port.
        let known = |address: SocketAddr| {
            address
                .is_ipv4()
                .then(|| SocketAddr::new(address.ip(), 5000))
        };
        assert_eq!(
            shown(localhost(0, &known, &|_| Ok(()))),
            "[127.0.0.1:5000, [::1]:5000] without []"
        );
    }

    #[test]
    fn an_address_that_this_host_does_not_have_is_left_out_but_not_all() {
        let none = |_| None;
        let absent = io::ErrorKind::AddrNotAvailable;
        let v4_only = |address: SocketAddr| match address.is_ipv6() {
            true => Err(absent),
            false => Ok(()),
        };
        assert_eq!(
            shown(localhost(80, &none, &v4_only)),
            "[127.0.0.1:80] without [[::1]:80]"
        );
        assert_eq!(
            shown(localhost(80, &none, &|_| Err(absent))),
            absent.to_string()
        );
        assert_eq!(
            say("http", &["[::1]:80".parse().unwrap()]).unwrap(),
            "http does not listen at ::1, which this host does not have"
        );
    }
}
