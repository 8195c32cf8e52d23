//! Large answers, long streams, many streams and many connections over every transport: whole, and
//! in bounded memory, which is printed. With packets that are lost, where the machine lets a test
//! have a network of its own.

use ggend_tests::{
    tls::believing,
    websocket::{Socket, modern, tool},
    *,
};
use serde_json::{Value, json};
use std::{net::SocketAddr, process::Command, sync::Arc, time::Instant};

const MIB: usize = 1 << 20;

fn house(transports: Value) -> Daemon {
    let daemon =
        daemon(json!({ "transports": transports, "mcpServers": { "fixture": fixture(&[]) } }))
            .start();
    daemon.until_ready(&["fixture"]);
    daemon
}

/// Proportional share of memory, in KiB (proc_pid_smaps_rollup(5)), of the workers of a role.
fn pss(daemon: &Daemon, role: &str) -> u64 {
    let of = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .unwrap_or_default();
        line.split_whitespace()
            .next()
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
    };
    daemon
        .workers(role)
        .iter()
        .filter_map(|worker| worker.pid)
        .map(of)
        .sum()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// An HTTP/2 or HTTP/1.1 request by curl: the length of what came.
fn curl_length(arguments: &[&str]) -> usize {
    let output = Command::new("curl")
        .args([
            "-s",
            "-k",
            "--max-time",
            "60",
            "-w",
            "%{http_version}",
            "-o",
            "-",
        ])
        .args(arguments)
        .output();
    output.expect("curl is needed for these tests").stdout.len()
}

#[test]
fn ten_mebibytes_come_whole_over_every_transport_in_bounded_memory() {
    let daemon = house(json!({ "http": { "ssl": { "enabled": true, "port": 0 } } }));
    let (secure, udp) = (
        daemon.listener("https").unwrap(),
        until("QUIC serves", || daemon.listener("quic")),
    );
    let roles = ["http", "websocket", "quic", "gateway"];
    let arguments = json!({ "bytes": 10 * MIB });
    let idle: Vec<u64> = roles.iter().map(|role| pss(&daemon, role)).collect();
    let mut warm = Vec::new();
    for round in 0..6 {
        if round == 2 {
            warm = roles.iter().map(|role| pss(&daemon, role)).collect();
        }
        let text = Client::new(daemon.http, "fixture", Era::Modern)
            .tool("big", arguments.clone())
            .text()
            .len();
        assert_eq!(text, 10 * MIB, "HTTP/1.1");
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": modern(tool("big", arguments.clone())) }).to_string();
        let url = format!("https://localhost:{}/mcp/fixture", secure.port());
        let headers = [
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            "mcp-protocol-version: 2026-07-28",
            "mcp-method: tools/call",
            "mcp-name: big",
        ];
        let mut curl = vec!["--http2", "-d", &body, &url];
        headers
            .iter()
            .for_each(|header| curl.extend(["-H", *header]));
        assert!(curl_length(&curl) > 10 * MIB, "HTTP/2");
        wait(async {
            let mut client = http3::Client::connect(udp).await.unwrap();
            let answer = client.call("big", arguments.clone()).await.unwrap();
            client.close().await;
            assert_eq!(
                answer.json()["result"]["content"][0]["text"]
                    .as_str()
                    .unwrap()
                    .len(),
                10 * MIB,
                "HTTP/3"
            );
        });
        let tls = Arc::new({
            let mut tls = believing(None).unwrap();
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            tls
        });
        for mut socket in [
            Socket::open(daemon.http, "/ws/fixture"),
            Socket::open_tls(secure, "/ws/fixture", &tls),
        ] {
            let (answer, _) = socket.request("tools/call", modern(tool("big", arguments.clone())));
            assert_eq!(
                answer["result"]["content"][0]["text"]
                    .as_str()
                    .unwrap()
                    .len(),
                10 * MIB,
                "WebSocket"
            );
        }
    }
    // What the allocator keeps for the next large answer is not given back; it does not grow with
    // their number.
    for (role, (idle, warm)) in roles.iter().zip(idle.into_iter().zip(warm)) {
        let after = pss(&daemon, role);
        println!(
            "{role}: {idle} KiB Pss idle, {warm} KiB after 10 answers of 10 MiB, {after} KiB after 30"
        );
        assert!(
            after < warm + (32 << 10) && after < idle + (192 << 10),
            "{role}: {after}"
        );
    }
    daemon.stop();
}

#[test]
fn a_hundred_streams_of_events_run_side_by_side_on_one_connection_of_each_kind() {
    let daemon = house(json!({}));
    let udp = until("QUIC serves", || daemon.listener("quic"));
    let progress = |number: usize| {
        let mut params = modern(tool("progress", json!({ "steps": 5, "ms": 20 })));
        params["_meta"]["progressToken"] = json!(format!("p{number}"));
        json!({ "jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params })
    };
    // HTTP/3: a stream each.
    wait(async {
        let client = http3::Client::connect(udp).await.unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..100 {
            let (mut client, body) = (client.beside(), progress(number).to_string());
            calls.spawn(async move {
                let headers = [
                    ("mcp-protocol-version", "2026-07-28"),
                    ("mcp-method", "tools/call"),
                    ("mcp-name", "progress"),
                ];
                let answer = client
                    .answer(
                        "POST",
                        "/mcp/fixture",
                        &[&http3::JSON[..], &headers].concat(),
                        &body,
                    )
                    .await
                    .unwrap();
                let text = String::from_utf8(answer.body).unwrap();
                assert_eq!(text.matches(&format!("\"p{number}\"")).count(), 5, "{text}");
            });
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
        client.close().await;
    });
    // A WebSocket: all on one.
    let mut socket = Socket::open(daemon.http, "/ws/fixture");
    for number in 0..100 {
        socket.say(&progress(number));
    }
    let (mut answers, mut notes) = (0, vec![0; 100]);
    while answers < 100 {
        let message = socket.hear().unwrap();
        match message["params"]["progressToken"]
            .as_str()
            .and_then(|token| token.strip_prefix('p')?.parse::<usize>().ok())
        {
            Some(number) => notes[number] += 1,
            None => answers += usize::from(message.get("result").is_some()),
        }
    }
    assert!(notes.iter().all(|count| *count == 5), "{notes:?}");
    drop(socket);
    daemon.stop();
}

#[test]
fn a_thousand_connections_are_served_over_each_transport_in_bounded_memory() {
    raise_open_files(1200);
    let limits = json!({ "max_connections_per_address": 0 });
    let daemon = house(json!({ "http": limits, "websocket": { "message_timeout_ms": 120_000 } }));
    let udp = until("QUIC serves", || daemon.listener("quic"));
    let began = Instant::now();
    let before = pss(&daemon, "websocket");
    let mut sockets: Vec<Socket> = (0..1000)
        .map(|_| Socket::open(daemon.http, "/ws/fixture"))
        .collect();
    for socket in &mut sockets {
        socket.start(
            "tools/call",
            modern(tool("echo", json!({ "message": "x" }))),
        );
    }
    for socket in &mut sockets {
        assert!(socket.hear().unwrap().get("result").is_some());
    }
    let after = pss(&daemon, "websocket");
    println!(
        "1000 WebSockets: {before} KiB Pss before, {after} KiB with them, {:?}",
        began.elapsed()
    );
    assert!(after < before + (48 << 10), "{after}");
    drop(sockets);
    let began = Instant::now();
    let before = pss(&daemon, "quic");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut clients = Vec::new();
        // A few at a time: the machine that tests them has to make as many handshakes itself.
        for _ in 0..125 {
            let mut joined = tokio::task::JoinSet::new();
            for _ in 0..8 {
                joined.spawn(async move {
                    http3::Client::connect(udp)
                        .await
                        .map_err(|error| error.to_string())
                });
            }
            while let Some(client) = joined.join_next().await {
                clients.push(client.unwrap().unwrap());
            }
        }
        for client in &mut clients {
            assert_eq!(
                client
                    .call("echo", json!({ "message": "x" }))
                    .await
                    .unwrap()
                    .status,
                200
            );
        }
        let after = pss(&daemon, "quic");
        println!(
            "1000 HTTP/3 connections: {before} KiB Pss before, {after} KiB with them, {:?}",
            began.elapsed()
        );
        assert!(after < before + (160 << 10), "{after}");
    });
    daemon.stop();
}

/// Where the tests of the loss below run again, in a network of their own.
const INSIDE: &str = "GGEND_TEST_LOSSY";

/// Answers, streams and many calls at once, of which the network loses every twentieth packet in
/// both directions.
fn under_loss(udp: SocketAddr, daemon: &Daemon) {
    let began = Instant::now();
    wait(async {
        let mut client = http3::Client::connect(udp).await.unwrap();
        let answer = client
            .call("big", json!({ "bytes": 10 * MIB }))
            .await
            .unwrap();
        assert_eq!(
            answer.json()["result"]["content"][0]["text"]
                .as_str()
                .unwrap()
                .len(),
            10 * MIB
        );
        println!("10 MiB over HTTP/3 with 5 % loss: {:?}", began.elapsed());
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..100 {
            let mut client = client.beside();
            calls.spawn(async move {
                let answer = client
                    .call("echo", json!({ "message": number.to_string() }))
                    .await
                    .unwrap();
                assert_eq!(
                    answer.json()["result"]["structuredContent"]["message"],
                    number.to_string()
                );
            });
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
        for _ in 0..20 {
            let mut client = http3::Client::connect(udp).await.unwrap();
            assert_eq!(
                client
                    .call("progress", json!({ "steps": 3, "ms": 5 }))
                    .await
                    .unwrap()
                    .status,
                200
            );
        }
    });
    // TCP below the others repairs it all by itself; that no time-out of ours is in the way is what
    // is looked at.
    let mut socket = Socket::open(daemon.http, "/ws/fixture");
    let (answer, _) = socket.request(
        "tools/call",
        modern(tool("big", json!({ "bytes": 2 * MIB }))),
    );
    assert_eq!(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .len(),
        2 * MIB
    );
    assert_eq!(
        Client::new(daemon.http, "fixture", Era::Legacy)
            .tool("big", json!({ "bytes": 2 * MIB }))
            .text()
            .len(),
        2 * MIB
    );
    drop(socket);
    let lost = daemon
        .scrape()
        .unwrap()
        .sum("ggend_quic_packets_lost_total", "");
    println!(
        "with 5 % loss: {:?}, {lost} packets lost of those that the daemon sent, {} KiB Pss of QUIC workers",
        began.elapsed(),
        pss(daemon, "quic")
    );
    assert!(lost > 10.0, "the network has lost nothing");
}

#[test]
fn five_percent_of_lost_packets_cost_time_and_nothing_else() {
    if std::env::var_os(INSIDE).is_some() {
        let daemon = house(json!({}));
        let udp = until("QUIC serves", || daemon.listener("quic"));
        let rules = "table inet loss { chain out { type filter hook output priority 0; \
            udp sport 1-65535 oif lo numgen random mod 100 < 5 drop; tcp dport 1-65535 oif lo meta length > 500 numgen random mod 100 < 5 drop; }; }";
        let loaded = Command::new("nft").arg(rules).status().unwrap();
        assert!(loaded.success(), "nft: {loaded}");
        under_loss(udp, &daemon);
        assert!(
            Command::new("nft")
                .args(["delete", "table", "inet", "loss"])
                .status()
                .unwrap()
                .success()
        );
        daemon.stop();
        return;
    }
    // A network namespace of its own, where rules are ours to set.
    let own = std::env::current_exe().unwrap();
    let script = format!(
        "ip link set lo up && nft list ruleset >/dev/null && exec {} --exact sizes::five_percent_of_lost_packets_cost_time_and_nothing_else --nocapture",
        own.display()
    );
    let can = Command::new("unshare")
        .args([
            "--net",
            "--map-root-user",
            "--user",
            "sh",
            "-c",
            "ip link set lo up && nft list ruleset",
        ])
        .output();
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        skipped(
            "needs unshare (util-linux), ip (iproute2), nft (nftables), and a kernel that allows \
             user namespaces",
        );
        return;
    }
    let output = Command::new("unshare")
        .args(["--net", "--map-root-user", "--user", "sh", "-c", &script])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    print!("{stdout}");
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
