//! The listening sockets that a configuration asks for, and which socket serves each of them. What
//! is there already is used: one that is open, a socket unit's, one that the service manager kept.

use super::{
    listen_error::ListenError,
    origin::{KEPT, Origin},
    tcp::{Listener, is_at},
};
use crate::config::Loaded;
use ggen_wire::Code;
use std::{net::SocketAddr, os::fd::OwnedFd};

/// HTTP over TLS.
pub(super) const HTTPS: &str = "https";
/// WebSockets at a port of their own.
const WEBSOCKET: &str = "websocket";

/// What could not be had, or is not wanted, and can be done without.
pub(super) type LeftOut = (Option<Code>, String);

/// What comes of a configuration.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) listeners: Vec<Listener>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Opens what the configuration asks for: sockets of `old` and `inherited` that fit, new ones
/// otherwise. A socket unit's counts whatever its address; one that the service manager kept from
/// our last life only if it is where it is wanted.
///
/// # Errors
/// The first address that cannot be had.
pub(super) fn open(
    loaded: &Loaded,
    old: &[Listener],
    mut inherited: Vec<(String, OwnedFd)>,
) -> Result<Opened, ListenError> {
    let mut opened = Opened::default();
    for (transport, address) in wanted(loaded, old, &inherited) {
        match choose(loaded, transport, address, old, &mut inherited) {
            Ok(listener) => opened.listeners.push(listener),
            // Nobody asked for it by name: the rest is served all the same.
            Err(error) if transport == HTTPS && !loaded.is_set("transports.http.ssl") => {
                let message = error.message();
                opened.left_out.push((
                    Some(error.code),
                    format!("HTTPS is not served: {message}; set transports.http.ssl.port to another port"),
                ));
            }
            Err(error) => return Err(error),
        }
    }
    let unused = inherited.iter().filter(|(name, _)| !name.starts_with(KEPT));
    opened.left_out.extend(unused.map(|(name, _)| {
        (None, format!("the socket `{name}` of a socket unit is not served: no transport of that name is on"))
    }));
    Ok(opened)
}

/// The transports that take a TCP socket, and their addresses.
fn wanted(
    loaded: &Loaded,
    old: &[Listener],
    inherited: &[(String, OwnedFd)],
) -> Vec<(&'static str, SocketAddr)> {
    let config = &loaded.config;
    let mut wanted = Vec::new();
    let http = &config.transports.http;
    if http.enabled && !loaded.stopped.contains("http") {
        wanted.push(("http", SocketAddr::new(http.host, http.port)));
    }
    if http.enabled && http.ssl.enabled {
        wanted.push((HTTPS, SocketAddr::new(http.host, http.ssl.port)));
    }
    let websocket = &config.transports.websocket;
    // A socket unit asks for it as well as a port does.
    let has_unit = inherited.iter().any(|(name, _)| name == WEBSOCKET)
        || old
            .iter()
            .any(|known| known.transport == WEBSOCKET && known.origin == Origin::Inherited);
    if websocket.enabled && (websocket.port.is_some() || has_unit) {
        let port = websocket.port.unwrap_or(0);
        wanted.push((WEBSOCKET, SocketAddr::new(http.host, port)));
    }
    let metrics = &config.metrics;
    if metrics.enabled {
        wanted.push(("admin", SocketAddr::new(metrics.host, metrics.port)));
    }
    wanted
}

/// The socket for a transport.
fn choose(
    loaded: &Loaded,
    transport: &'static str,
    address: SocketAddr,
    old: &[Listener],
    inherited: &mut Vec<(String, OwnedFd)>,
) -> Result<Listener, ListenError> {
    let unit = inherited.iter().position(|(name, _)| name == transport);
    let unit = unit.map(|at| inherited.swap_remove(at).1);
    let kept = inherited.iter().position(|(name, socket)| {
        name.strip_prefix(KEPT) == Some(transport) && is_at(socket, address)
    });
    let kept = kept.map(|at| inherited.swap_remove(at).1);
    if let Some(open) = fitting(transport, address, old) {
        return Ok(Listener {
            transport,
            wanted: address,
            ..open.clone()
        });
    }
    let (socket, origin) = match (unit, kept) {
        (Some(socket), _) => (socket, Origin::Inherited),
        (None, Some(socket)) => (socket, Origin::Kept),
        (None, None) => return Listener::bind(transport, address),
    };
    Listener::adopt(transport, address, socket, origin, loaded.asks_strangers)
}

/// An open socket that fits. It stays when its address does, also when that was the system's choice
/// before.
fn fitting<'a>(transport: &str, address: SocketAddr, old: &'a [Listener]) -> Option<&'a Listener> {
    let fits = |known: &&Listener| {
        known.transport == transport
            && (known.origin == Origin::Inherited || known.wanted == address)
    };
    let is_there =
        |known: &&Listener| known.origin != Origin::Inherited && known.address == address;
    old.iter().find(fits).or_else(|| old.iter().find(is_there))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::testing::loaded;
    use std::net::TcpListener;

    fn transports(opened: &Opened) -> Vec<(&str, &str)> {
        opened
            .listeners
            .iter()
            .map(|listener| (listener.transport, listener.origin.as_str()))
            .collect()
    }

    #[test]
    fn an_open_socket_stays_and_a_kept_one_is_used_where_it_is_wanted() {
        let http = r#"{"transports":{"http":{"host":"127.0.0.1","port":0,"ssl":{"enabled":false}}},"metrics":{"enabled":false}}"#;
        let first = open(&loaded(http), &[], Vec::new()).unwrap();
        assert_eq!(transports(&first), [("http", "bound")]);
        let again = open(&loaded(http), &first.listeners, Vec::new()).unwrap();
        assert_eq!(again.listeners[0].address, first.listeners[0].address);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let inherited = vec![
            ("kept-http".to_owned(), OwnedFd::from(socket)),
            (
                "other".to_owned(),
                OwnedFd::from(std::fs::File::open("/dev/null").unwrap()),
            ),
        ];
        let kept = open(&loaded(http), &[], inherited).unwrap();
        assert_eq!(transports(&kept), [("http", "kept")]);
        assert!(kept.left_out.len() == 1 && kept.left_out[0].1.contains("`other`"));
    }

    #[test]
    fn https_that_nobody_asked_for_by_name_is_left_out_when_its_port_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let text = format!(
            r#"{{"transports":{{"http":{{"host":"127.0.0.1","port":0,"ssl":{{"enabled":true,"port":{port}}}}}}},"metrics":{{"enabled":false}}}}"#
        );
        let opened = open(&loaded(&text), &[], Vec::new()).unwrap();
        assert_eq!(transports(&opened), [("http", "bound")]);
        assert_eq!(opened.left_out[0].0, Some(Code::PortTaken));
    }
}
