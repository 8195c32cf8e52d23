//! The listeners that a configuration asks for, and which sockets serve each of them. What is there
//! already is used: those that are open, a socket unit's, those that the service manager kept.

use super::{
    each_address,
    listen_error::ListenError,
    listener::{Given, Listener},
    origin::KEPT,
};
use crate::config::Loaded;
use ggen_wire::Code;
use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

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
/// otherwise.
///
/// # Errors
/// The first address that cannot be had.
pub(super) fn open(
    loaded: &Loaded,
    old: &[Listener],
    mut inherited: Vec<(String, OwnedFd)>,
) -> Result<Opened, ListenError> {
    let mut opened = Opened::default();
    for (transport, addresses) in wanted(loaded, old, &inherited) {
        let known = old.iter().find(|known| known.transport == transport);
        let given = take(transport, &mut inherited);
        match Listener::open(transport, &addresses, known, given, loaded.asks_strangers) {
            Ok((listener, absent)) => {
                let absent = each_address::say(transport, &absent);
                opened.left_out.extend(absent.map(|what| (None, what)));
                opened.listeners.push(listener);
            }
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
) -> Vec<(&'static str, Vec<SocketAddr>)> {
    let config = &loaded.config;
    let mut wanted = Vec::new();
    let http = &config.transports.http;
    if http.enabled && !loaded.stopped.contains("http") {
        wanted.push(("http", http.host.at(http.port)));
    }
    if http.enabled && http.ssl.enabled {
        wanted.push((HTTPS, http.host.at(http.ssl.port)));
    }
    let websocket = &config.transports.websocket;
    // A socket unit asks for it as well as a port does.
    let has_unit = inherited.iter().any(|(name, _)| name == WEBSOCKET)
        || old
            .iter()
            .any(|known| known.transport == WEBSOCKET && known.is_of_unit());
    if websocket.enabled && (websocket.port.is_some() || has_unit) {
        let port = websocket.port.unwrap_or(0);
        wanted.push((WEBSOCKET, http.host.at(port)));
    }
    let metrics = &config.metrics;
    if metrics.enabled {
        wanted.push(("admin", metrics.host.at(metrics.port)));
    }
    wanted
}

/// Takes the sockets for a transport out of all that was inherited.
fn take(transport: &str, inherited: &mut Vec<(String, OwnedFd)>) -> Given {
    let is_kept = |name: &str| {
        let name = name.strip_prefix(KEPT);
        let rest = name.and_then(|name| name.strip_prefix(transport));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let mut given = Given::default();
    for (name, socket) in std::mem::take(inherited) {
        if name == transport {
            given.unit.push(socket);
        } else if is_kept(&name) {
            given.kept.push(Arc::new(socket));
        } else {
            inherited.push((name, socket));
        }
    }
    given
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
            .flat_map(|listener| {
                let origins = listener.sockets.iter().map(|socket| socket.origin.as_str());
                origins.map(|origin| (listener.transport, origin))
            })
            .collect()
    }

    #[test]
    fn an_open_socket_stays_and_a_kept_one_is_used_where_it_is_wanted() {
        let http = r#"{"transports":{"http":{"host":"127.0.0.1","port":0,"ssl":{"enabled":false}}},"metrics":{"enabled":false}}"#;
        let first = open(&loaded(http), &[], Vec::new()).unwrap();
        assert_eq!(transports(&first), [("http", "bound")]);
        let again = open(&loaded(http), &first.listeners, Vec::new()).unwrap();
        let address = |opened: &Opened| opened.listeners[0].sockets[0].address;
        assert_eq!(address(&again), address(&first));
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
