//! Where a daemon listens: `localhost` is both loopback addresses on every transport, whatever
//! becomes of workers, configuration and binary; what `::` and `0.0.0.0` are.

use ggen_wire::status::Phase;
use ggend_tests::{http3, tls::believing, websocket::Socket, *};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

const TRANSPORTS: [&str; 5] = ["admin", "http", "https", "quic", "websocket"];

fn has_ipv6() -> bool {
    let found = TcpListener::bind("[::1]:0").is_ok();
    if !found {
        skipped("this host has no ::1");
    }
    found
}

fn config(host: &str, workers: u32) -> Value {
    json!({
        "server": { "workers": workers },
        "transports": {
            "http": { "host": host, "port": 0, "ssl": { "port": 0 } },
            "websocket": { "port": 0 },
            "quic": { "host": host, "port": 0 },
        },
        "metrics": { "host": host, "port": 0 },
        "mcpServers": { "fixture": fixture(&[]) },
    })
}

/// The addresses of each transport.
fn listeners(daemon: &Daemon) -> BTreeMap<String, Vec<SocketAddr>> {
    let mut all: BTreeMap<_, Vec<SocketAddr>> = BTreeMap::new();
    for row in daemon.status().listeners {
        let address = row.address.parse().unwrap();
        all.entry(row.transport).or_default().push(address);
    }
    all
}

fn get(address: SocketAddr, path: &str) -> u16 {
    let answer = Connection::once(address, "GET", path, &[], b"").unwrap();
    answer.head.status
}

/// Uses each transport at each of its addresses.
async fn use_all(all: &BTreeMap<String, Vec<SocketAddr>>) {
    let tls = Arc::new(believing(None).unwrap());
    for (transport, addresses) in all {
        for address in addresses.iter().copied() {
            // Shown when the test fails.
            println!("{transport} at {address}");
            match transport.as_str() {
                "http" => {
                    let answer = Client::new(address, "fixture", Era::Modern).request(
                        "tools/call",
                        json!({"name":"echo","arguments":{"message":"x"}}),
                    );
                    assert_eq!(answer.text(), "x");
                }
                "admin" => assert_eq!(get(address, "/livez"), 200),
                "https" => {
                    let mut connection = Connection::secure(address, &tls).unwrap();
                    connection
                        .send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                        .unwrap();
                    assert_eq!(connection.answer().unwrap().head.status, 200);
                }
                "websocket" => {
                    let mcp = [("sec-websocket-protocol", "mcp")];
                    assert!(Socket::try_open(address, "/ws", &mcp).is_ok());
                }
                _ => {
                    let mut client = http3::Client::connect(address).await.unwrap();
                    let answer = client.call("echo", json!({ "message": "x" })).await;
                    assert_eq!(answer.unwrap().status, 200);
                    client.close().await;
                }
            }
        }
    }
}

fn until_all_run(daemon: &Daemon, generation: u32) {
    until("all workers run", || {
        let status = daemon.status();
        let runs = |worker: &ggen_wire::status::Worker| {
            worker.phase == Phase::Running && worker.generation == generation
        };
        (status.generation == generation && status.workers.iter().all(runs)).then_some(())
    });
}

#[tokio::test]
async fn localhost_is_both_loopback_addresses_on_every_transport_and_stays_so() {
    if !has_ipv6() {
        return;
    }
    let mut daemon = daemon(config("localhost", 2)).start();
    daemon.until_ready(&["fixture"]);
    let all = listeners(&daemon);
    assert_eq!(all.keys().collect::<Vec<_>>(), TRANSPORTS);
    for (transport, addresses) in &all {
        let [v4, v6] = addresses[..] else {
            panic!("{transport}: {addresses:?}")
        };
        assert_eq!(v4.ip().to_string(), "127.0.0.1", "{transport}");
        assert_eq!(v6.ip().to_string(), "::1", "{transport}");
        assert_eq!(v4.port(), v6.port(), "{transport}");
    }
    use_all(&all).await;

    for worker in ["http-0", "websocket-0", "quic-0", "admin-0"] {
        let old = daemon.worker_pid(worker).unwrap();
        process::signal(old, Signal::SIGKILL);
        daemon.until_replaced(worker, old);
    }
    use_all(&all).await;

    daemon.sandbox.write_config(&config("localhost", 3));
    let reloaded = daemon.ggen(&["mcp", "server", "reload"]);
    assert_eq!(reloaded.code, 0, "{reloaded:?}");
    assert_eq!(listeners(&daemon), all);
    use_all(&all).await;

    let binary = sandbox::binary("ggend");
    let binary = binary.to_str().unwrap();
    let upgraded = daemon.ggen(&["mcp", "server", "upgrade", "--binary", binary]);
    assert_eq!(upgraded.code, 0, "{upgraded:?}");
    assert_eq!(listeners(&daemon), all);
    use_all(&all).await;

    let status = daemon.ggen(&["mcp", "server", "status"]).stdout;
    let doctor = daemon.ggen(&["mcp", "doctor", "--verbose"]).stdout;
    for address in all.values().flatten() {
        let address = address.to_string();
        assert!(status.contains(&address), "{address}: {status}");
        assert!(doctor.contains(&address), "{address}: {doctor}");
    }
    let both = all["http"].iter().map(ToString::to_string);
    let line = format!("  Address: {}\n", both.collect::<Vec<_>>().join(", "));
    assert!(
        status.contains(&line) && doctor.contains(&line),
        "{status}{doctor}"
    );
    daemon.stop();
}

#[tokio::test]
async fn an_address_comes_and_goes_with_a_reload_and_the_other_stays() {
    if !has_ipv6() {
        return;
    }
    let mut daemon = daemon(config("127.0.0.1", 1)).start();
    daemon.until_ready(&["fixture"]);
    let first = listeners(&daemon);
    for (at, host) in ["localhost", "127.0.0.1"].into_iter().enumerate() {
        daemon.sandbox.write_config(&config(host, 1));
        let reloaded = daemon.ggen(&["mcp", "server", "reload"]);
        assert_eq!(reloaded.code, 0, "{reloaded:?}");
        until_all_run(&daemon, u32::try_from(at).unwrap() + 2);
        let now = listeners(&daemon);
        for (transport, addresses) in &now {
            assert_eq!(addresses[0], first[transport][0], "{transport}");
            let count = if host == "localhost" { 2 } else { 1 };
            assert_eq!(addresses.len(), count, "{transport}: {addresses:?}");
        }
        use_all(&now).await;
    }
    let gone = SocketAddr::new("::1".parse().unwrap(), daemon.http.port());
    let refused = until("nobody listens at the other address", || {
        TcpStream::connect(gone).err()
    });
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    daemon.stop();
}

#[tokio::test]
async fn the_unspecified_address_of_ipv6_is_every_address_and_that_of_ipv4_is_not() {
    if !has_ipv6() {
        return;
    }
    for host in ["::", "0.0.0.0"] {
        let mut config = config(host, 1);
        config["auth"] = json!({ "jwt": { "secret": "a secret of more than thirty-two bytes" } });
        let daemon = daemon(config).start();
        let all = listeners(&daemon);
        for (transport, addresses) in &all {
            let [address] = addresses[..] else {
                panic!("{transport}: {addresses:?}")
            };
            assert_eq!(address.ip().to_string(), host);
            let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), address.port());
            if transport == "quic" {
                let client = http3::Client::connect(at("127.0.0.1")).await.unwrap();
                client.close().await;
                if host == "::" {
                    let client = http3::Client::connect(at("::1")).await.unwrap();
                    client.close().await;
                }
                continue;
            }
            assert!(TcpStream::connect(at("127.0.0.1")).is_ok(), "{transport}");
            let v6 = TcpStream::connect(at("::1"));
            assert_eq!(v6.is_ok(), host == "::", "{transport}: {v6:?}");
        }
        daemon.stop();
    }
}
