//! The conversation with the service manager, datagram by datagram, by a manager that owns the
//! socket: start, status, reload, watchdog, drain, stop, and the sockets that it keeps from one
//! life to the next.

use crate::support::{Client, Daemon, PATIENCE, config, eventually, script, signal, through_shell};
use ggend::platform::receive_with_descriptors;
use nix::sys::signal::Signal;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixDatagram, UnixListener},
    },
    process::Stdio,
    time::{Duration, Instant},
};

struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, directory }
    }

    /// The lines of the next datagram, and what came with it.
    fn next(&self) -> (Vec<String>, Vec<OwnedFd>) {
        let (mut bytes, mut sockets) = ([0; 4096], Vec::new());
        let count = receive_with_descriptors(self.socket.as_fd(), &mut bytes, &mut sockets)
            .expect("a datagram in time");
        let text = std::str::from_utf8(&bytes[..count]).unwrap();
        assert!(text.ends_with('\n'), "{text:?}");
        (text.lines().map(ToOwned::to_owned).collect(), sockets)
    }

    /// The next one, which has to be this; a line that ends in `…` may go on.
    #[track_caller]
    fn expect(&self, wanted: &[&str]) -> Vec<OwnedFd> {
        let (lines, sockets) = self.next();
        let fits = |line: &String, wanted: &str| {
            wanted
                .strip_suffix('…')
                .map_or(line == wanted, |start| line.starts_with(start))
        };
        let all = lines.len() == wanted.len()
            && lines
                .iter()
                .zip(wanted)
                .all(|(line, wanted)| fits(line, wanted));
        assert!(all, "expected {wanted:?}, found {lines:?}");
        sockets
    }

    /// Starts a daemon, with a socket that is handed to it under a name as systemd does.
    fn start(
        &self,
        config: &str,
        lent: Option<(&str, OwnedFd)>,
        watchdog: Option<Duration>,
    ) -> Daemon {
        let mut text = String::new();
        if let Some(watchdog) = watchdog {
            text.push_str(&format!(
                "export WATCHDOG_PID=$$ WATCHDOG_USEC={}; ",
                watchdog.as_micros()
            ));
        }
        if let Some((name, _)) = &lent {
            // Descriptor 3 is the first that systemd uses; the shell is replaced by the daemon
            // under the process id that it has named.
            text.push_str(&format!(
                "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}; "
            ));
        }
        Daemon::start_with(config, |command| {
            *command = through_shell(command, &text);
            command
                .env("NOTIFY_SOCKET", self.directory.path().join("notify"))
                .stdin(lent.map_or_else(Stdio::null, |(_, socket)| Stdio::from(socket)));
        })
    }
}

/// A daemon that listens at an address that is known before, and has no other listener.
fn at(address: SocketAddr, more: &str, servers: &str) -> String {
    let port = address.port();
    format!(
        r#"{{"transports":{{"http":{{"port":{port},"ssl":{{"enabled":false}}}},"quic":{{"enabled":false}}}},"metrics":{{"enabled":false}},{more}"mcpServers":{{{servers}}}}}"#
    )
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn health(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn each_word_to_the_service_manager_is_the_one_that_is_due() {
    let manager = Manager::new();
    let address = free_address();
    let mut daemon = manager.start(&at(address, "", ""), None, None);

    let kept = manager.expect(&["FDSTORE=1", "FDNAME=kept-http", "FDPOLL=0"]);
    assert_eq!(kept.len(), 1);
    let kept = TcpListener::from(kept.into_iter().next().unwrap());
    assert_eq!(kept.local_addr().unwrap(), address);
    let serving = format!("STATUS=serving MCP on http://{address}/mcp; generation 1");
    manager.expect(&["READY=1", &serving]);
    assert!(health(address).contains("\"status\":\"ok\""));

    // A reload that changes nothing, one that is refused, one that moves the listener.
    let file = daemon.directory.path().join("mcp.json");
    signal(daemon.child.id(), Signal::SIGHUP);
    manager.expect(&["RELOADING=1", "MONOTONIC_USEC=…", "STATUS=reloading"]);
    manager.expect(&["READY=1", &serving]);

    std::fs::write(&file, "{").unwrap();
    signal(daemon.child.id(), Signal::SIGHUP);
    manager.expect(&["RELOADING=1", "MONOTONIC_USEC=…", "STATUS=reloading"]);
    manager.expect(&["READY=1", &format!("{serving}; reload refused: …")]);

    let other = free_address();
    std::fs::write(
        &file,
        at(other, "", &script("gone", "exit 3", r#","max_restarts":0"#)),
    )
    .unwrap();
    signal(daemon.child.id(), Signal::SIGHUP);
    manager.expect(&["RELOADING=1", "MONOTONIC_USEC=…", "STATUS=reloading"]);
    manager.expect(&["FDSTOREREMOVE=1", "FDNAME=kept-http"]);
    let moved = manager.expect(&["FDSTORE=1", "FDNAME=kept-http", "FDPOLL=0"]);
    assert_eq!(
        TcpListener::from(moved.into_iter().next().unwrap())
            .local_addr()
            .unwrap(),
        other
    );
    manager.expect(&[
        "READY=1",
        &format!("STATUS=serving MCP on http://{other}/mcp; 0 of 1 servers ready; generation 2…"),
    ]);
    // What goes wrong later is said as well, by itself.
    eventually("the line of status with the problem", || {
        let stopped = daemon
            .status()
            .issues
            .iter()
            .any(|issue| issue.message.contains("gone"));
        stopped.then_some(())
    });

    let mut open = TcpStream::connect(other).unwrap();
    open.write_all(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{").unwrap();
    eventually("the open connection", || {
        daemon
            .status()
            .workers
            .iter()
            .any(|worker| worker.connections > 0)
            .then_some(())
    });
    signal(daemon.child.id(), Signal::SIGTERM);
    let words = std::iter::from_fn(|| Some(manager.next().0))
        .find(|lines| !lines[0].starts_with("STATUS=serving"))
        .unwrap();
    assert_eq!(
        words,
        [
            "STOPPING=1",
            "STATUS=draining",
            "EXTEND_TIMEOUT_USEC=10000000"
        ]
    );
    // It drains: every second it says so, and asks for time.
    let began = Instant::now();
    manager.expect(&[
        "STATUS=1 connection draining",
        "EXTEND_TIMEOUT_USEC=10000000",
    ]);
    manager.expect(&[
        "STATUS=1 connection draining",
        "EXTEND_TIMEOUT_USEC=10000000",
    ]);
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    drop(open);
    assert!(daemon.wait().success());
}

#[test]
fn the_watchdog_is_fed_in_time_and_not_by_a_stopped_daemon() {
    // Half of it is the room that a busy machine has.
    const WATCHDOG: Duration = Duration::from_secs(2);
    let manager = Manager::new();
    let daemon = manager.start(&config("", ""), None, Some(WATCHDOG));
    while manager.next().0 != ["WATCHDOG=1"] {}
    for _ in 0..5 {
        let began = Instant::now();
        while manager.next().0 != ["WATCHDOG=1"] {}
        assert!(began.elapsed() < WATCHDOG, "{:?}", began.elapsed());
    }
    signal(daemon.child.id(), Signal::SIGSTOP);
    manager
        .socket
        .set_read_timeout(Some(WATCHDOG * 3 / 2))
        .unwrap();
    let mut bytes = [0; 4096];
    while manager.socket.recv(&mut bytes).is_ok() {}
    signal(daemon.child.id(), Signal::SIGCONT);
    manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    manager.expect(&["WATCHDOG=1"]);
}

#[test]
fn a_socket_that_was_kept_serves_those_who_waited_in_it() {
    let manager = Manager::new();
    let address = free_address();
    let mut first = manager.start(&at(address, "", ""), None, None);
    let kept = manager
        .expect(&["FDSTORE=1", "FDNAME=kept-http", "FDPOLL=0"])
        .into_iter()
        .next()
        .unwrap();
    manager.expect(&["READY=1", "STATUS=…"]);
    first.note_processes();
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    first.assert_nothing_is_left();

    // Nobody is there, and nobody is refused.
    let waiting = std::thread::spawn(move || health(address));
    let second = manager.start(
        &at(address, "", ""),
        Some(("kept-http", kept.try_clone().unwrap())),
        None,
    );
    let answer = waiting.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
    assert_eq!(second.status().listeners[0].origin, "kept");
    // The manager has it still, so it is not given once more.
    manager.expect(&["READY=1", "STATUS=…"]);
    drop(second);

    // One that is not where the configuration wants it is given back.
    let elsewhere = free_address();
    let third = manager.start(&at(elsewhere, "", ""), Some(("kept-http", kept)), None);
    manager.expect(&["FDSTOREREMOVE=1", "FDNAME=kept-http"]);
    let fresh = manager
        .expect(&["FDSTORE=1", "FDNAME=kept-http", "FDPOLL=0"])
        .into_iter()
        .next()
        .unwrap();
    assert_eq!(TcpListener::from(fresh).local_addr().unwrap(), elsewhere);
    assert_eq!(third.status().listeners[0].origin, "bound");
}

#[test]
fn every_listener_is_kept_and_quic_with_all_its_socket_slots() {
    let manager = Manager::new();
    let [http, https, websocket] = std::array::from_fn(|_| free_address());
    let quic = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let transports = format!(
        r#""http":{{"port":{},"ssl":{{"port":{}}}}},"websocket":{{"port":{}}},"quic":{{"port":{}}}"#,
        http.port(),
        https.port(),
        websocket.port(),
        quic.port()
    );
    let config = format!(
        r#"{{"transports":{{{transports}}},"metrics":{{"enabled":false}},"server":{{"workers":1}},"mcpServers":{{}}}}"#
    );
    let daemon = manager.start(&config, None, None);
    for (name, address) in [
        ("http", http),
        ("https", https),
        ("quic-000", quic),
        ("quic-001", quic),
        ("websocket", websocket),
    ] {
        let kept = manager
            .expect(&["FDSTORE=1", &format!("FDNAME=kept-{name}"), "FDPOLL=0"])
            .into_iter()
            .next()
            .unwrap();
        assert_eq!(
            TcpListener::from(kept).local_addr().unwrap(),
            address,
            "{name}"
        );
    }
    manager.expect(&["READY=1", "STATUS=…"]);
    drop(daemon);
}

/// Both loopback addresses with a port that is free at both. `None`: this host has no `::1`.
fn free_at_localhost() -> Option<[SocketAddr; 2]> {
    let found = (0..100).find_map(|_| {
        let v4 = free_address();
        let v6 = SocketAddr::new("::1".parse().unwrap(), v4.port());
        TcpListener::bind(v6).is_ok().then_some([v4, v6])
    });
    if found.is_none() {
        println!("skipped: this host has no ::1");
    }
    found
}

fn with_host(host: &str, address: SocketAddr) -> String {
    at(address, "", "").replace(r#""http":{"#, &format!(r#""http":{{"host":"{host}","#))
}

#[test]
fn both_sockets_of_localhost_are_kept_and_served_again() {
    let Some(addresses) = free_at_localhost() else {
        return;
    };
    let config = with_host("localhost", addresses[0]);
    let manager = Manager::new();
    let mut first = manager.start(&config, None, None);
    let kept = ["kept-http", "kept-http-1"].map(|name| {
        let kept = manager.expect(&["FDSTORE=1", &format!("FDNAME={name}"), "FDPOLL=0"]);
        kept.into_iter().next().unwrap()
    });
    manager.expect(&["READY=1", "STATUS=…"]);
    first.note_processes();
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    first.assert_nothing_is_left();
    let second = two_sockets(&manager, &config, "kept-http-1:kept-http", kept);
    let rows = second.status().listeners;
    for (row, address) in rows.iter().zip(addresses) {
        assert_eq!(
            (row.address.clone(), row.origin.as_str()),
            (address.to_string(), "kept")
        );
        assert!(health(address).contains("\"status\":\"ok\""));
    }
    assert_eq!(rows.len(), 2);
    // The manager has both still.
    manager.expect(&["READY=1", "STATUS=…"]);
}

/// A daemon with two sockets, the second of which has the first of the names.
fn two_sockets(manager: &Manager, config: &str, names: &str, sockets: [OwnedFd; 2]) -> Daemon {
    let [first, second] = sockets;
    Daemon::start_with(config, |command| {
        let text = format!(
            "exec 4<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names}; "
        );
        *command = through_shell(command, &format!("exec 3<&2 2>>\"$GGEN_LOG\"; {text}"));
        let log = command.get_current_dir().unwrap().join("log");
        command
            .env("GGEN_LOG", log)
            .env("NOTIFY_SOCKET", manager.directory.path().join("notify"))
            .stdin(Stdio::from(first))
            .stderr(Stdio::from(second));
    })
}

#[test]
fn a_unit_with_two_addresses_is_served_at_both() {
    let Some(addresses) = free_at_localhost() else {
        return;
    };
    let manager = Manager::new();
    let sockets = addresses.map(|address| OwnedFd::from(TcpListener::bind(address).unwrap()));
    let config = at(free_address(), "", "");
    let daemon = two_sockets(&manager, &config, "http:http", sockets);
    let rows = daemon.status().listeners;
    assert_eq!(rows.len(), 2, "{rows:?}");
    for address in addresses {
        assert!(rows.iter().any(|row| row.address == address.to_string()));
        assert!(rows.iter().all(|row| row.origin == "inherited"));
        assert!(health(address).contains("\"status\":\"ok\""));
    }
    let line = format!(
        "http://{}/mcp and http://{}/mcp",
        addresses[1], addresses[0]
    );
    assert!(daemon.line.contains(&line), "{}", daemon.line);
}

#[test]
fn a_control_socket_that_was_handed_over_is_served_and_left_where_it_is() {
    let manager = Manager::new();
    let path = manager.directory.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut daemon = manager.start(
        &config("", ""),
        Some(("control", OwnedFd::from(listener.try_clone().unwrap()))),
        None,
    );
    let client = || Client::connect(&path).call(&ggen_wire::control::Call::GetStatus {});
    assert!(client().is_ok());
    assert!(daemon.terminate().success());
    assert!(path.exists(), "the socket is the manager's");
}
