//! What goes on when processes do not: sessions across the death of the gateway worker, of the
//! daemon and their restarts; and what the servers gave, which is there at boot before they are.

use ggend_tests::*;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

const WATCHED: &str = "test://watched-resource";
const KEY: &str = "a-key-of-these-tests-and-of-nothing-else";

/// A legacy client with everything that a session can hold.
struct Guest {
    name: &'static str,
    client: Client,
    stream: exchange::Exchange,
    last: Option<String>,
}

impl Guest {
    fn new(daemon: &Daemon, name: &'static str) -> Self {
        let mut client =
            Client::askable(daemon.http, name, json!({ "elicitation": {}, "roots": {} }));
        assert_eq!(
            client
                .request("resources/subscribe", json!({ "uri": WATCHED }))
                .head
                .status,
            200
        );
        assert_eq!(
            client
                .request("logging/setLevel", json!({ "level": "debug" }))
                .head
                .status,
            200
        );
        let stream = client.listen(None).unwrap();
        Self {
            name,
            client,
            stream,
            last: None,
        }
    }

    /// The same session goes on: calls, a call that asks back, log messages, and what the server
    /// says by itself on a stream that is opened again.
    fn goes_on(&mut self, daemon: &Daemon) {
        self.client.moved_to(daemon.http);
        let last = self.last.take();
        self.stream = until("the stream is opened again", || {
            let stream = self.client.listen(last.as_deref()).ok()?;
            assert_ne!(
                stream.head.status, 404,
                "{}: the session is lost",
                self.name
            );
            (stream.head.status == 200).then_some(stream)
        });
        assert_eq!(
            self.client
                .tool("echo", json!({ "message": "still here" }))
                .text(),
            "still here",
            "{}",
            self.name
        );
        let logged = self.client.tool("test_tool_with_logging", json!({}));
        // On a shared pipe nobody can tell for a while whether a log message belongs to a call that
        // the dead worker left behind.
        let sure = self.name != "new";
        assert!(
            !sure
                || logged
                    .messages
                    .iter()
                    .any(|message| message.method() == "notifications/message"),
            "{}: {logged:?}",
            self.name
        );
        let mut asks = self
            .client
            .start(
                "tools/call",
                json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } }),
            )
            .unwrap();
        let question = asks.until("elicitation/create");
        self.client
            .respond(
                &question,
                json!({ "action": "accept", "content": { "username": "u", "email": "e@x.test" } }),
            )
            .unwrap();
        assert!(
            asks.until("").value.get("result").is_some(),
            "{}",
            self.name
        );
        for (tool, method) in [
            (
                "test_trigger_tool_change",
                "notifications/tools/list_changed",
            ),
            (
                "test_trigger_resource_update",
                "notifications/resources/updated",
            ),
        ] {
            // What a legacy server announces is for the client whose child it is.
            assert_eq!(self.client.tool(tool, json!({})).text(), "Announced");
            let message = self.stream.until(method);
            let number = |id: &Option<String>| {
                id.as_ref()
                    .and_then(|id| id.rsplit('-').next()?.parse::<u64>().ok())
            };
            assert!(
                number(&message.event) > number(&self.last),
                "{}: {:?} after {:?}",
                self.name,
                message.event,
                self.last
            );
            self.last = message.event;
        }
    }
}

fn house(remote: &RemoteFixture) -> Daemon {
    let servers = json!({ "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]), "far": remote.entry() });
    let daemon =
        daemon(json!({ "auth": { "api_key": KEY, "required": false }, "mcpServers": servers }))
            .start();
    daemon.until_ready(&["old", "new", "far"]);
    daemon
}

/// A request in a session with a key; its status and our code.
fn with_key(daemon: &Daemon, session: Option<&str>, body: &Value) -> (u16, Option<String>, String) {
    let mut headers = vec![
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("X-API-Key", KEY),
    ];
    headers.extend(session.map(|session| ("Mcp-Session-Id", session)));
    let answer = Connection::once(
        daemon.http,
        "POST",
        "/mcp/old",
        &headers,
        body.to_string().as_bytes(),
    )
    .unwrap();
    let begun = answer.head.header("mcp-session-id").map(str::to_owned);
    (
        answer.head.status,
        begun,
        String::from_utf8(answer.body).unwrap(),
    )
}

#[test]
fn sessions_go_on_whatever_dies() {
    let remote = RemoteFixture::start(&["--era", "legacy"]);
    let mut daemon = house(&remote);
    let mut guests = ["old", "new", "far"].map(|name| Guest::new(&daemon, name));
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "k", "version": "1" } });
    let (status, owned, _) = with_key(
        &daemon,
        None,
        &json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }),
    );
    assert_eq!(status, 200);
    let owned = owned.expect("a session");
    type Event = (&'static str, fn(&mut Daemon));
    let events: [Event; 5] = [
        ("SIGKILL of the gateway worker", |daemon| {
            let pid = daemon.worker_pid("gateway-0").unwrap();
            process::signal(pid, Signal::SIGKILL);
            daemon.until_replaced("gateway-0", pid);
        }),
        ("ggen mcp server restart gateway", |daemon| {
            let ran = daemon.ggen(&["mcp", "server", "restart", "--server", "gateway"]);
            assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
        }),
        ("ggen mcp server restart", |daemon| {
            let ran = daemon.ggen(&["mcp", "server", "restart"]);
            assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
        }),
        ("SIGTERM and start", |daemon| {
            daemon.start_again(Signal::SIGTERM)
        }),
        ("SIGKILL of the supervisor and start", |daemon| {
            daemon.start_again(Signal::SIGKILL)
        }),
    ];
    for (what, happens) in events {
        let at = Instant::now();
        happens(&mut daemon);
        daemon.until_ready(&["old", "new", "far"]);
        for guest in &mut guests {
            guest.goes_on(&daemon);
        }
        println!("{what}: all sessions went on after {:?}", at.elapsed());
        // A session is its principal's, also one that was restored.
        let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
        assert_eq!(with_key(&daemon, Some(&owned), &ping).0, 200, "{what}");
        let (status, _, body) = with_key(&daemon, guests[0].client.session.as_deref(), &ping);
        assert_eq!(
            (status, body.contains("GGEN-E3013")),
            (404, true),
            "{what}: {body}"
        );
        // The figure comes with the gateway worker's next beat.
        until("all four sessions are counted", || {
            (daemon.status().sessions == 4).then_some(())
        });
    }
    // One that was ended stays so.
    assert_eq!(guests[1].client.delete().unwrap(), 204);
    // What is said in a row is written in a row: this one's session is told of when the other's end
    // is written, too.
    drop(Client::new(daemon.http, "old", Era::Legacy));
    daemon.start_again(Signal::SIGKILL);
    guests[1].client.moved_to(daemon.http);
    assert_eq!(guests[1].client.request("ping", json!({})).head.status, 404);
    // Nobody else can read what is stored, and nobody can use it: ids are not in it.
    let (file, session) = (
        daemon.sandbox.path("state/state.db"),
        guests[0].client.session.clone().unwrap(),
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for name in ["state/state.db", "state/state.db-wal"] {
        let bytes = fs::read(daemon.sandbox.path(name)).unwrap_or_default();
        assert!(
            !bytes
                .windows(session.len())
                .any(|part| part == session.as_bytes()),
            "a session's id stands in {name}"
        );
    }
    daemon.stop();
}

#[test]
fn a_session_is_kept_before_its_client_knows_of_it() {
    const ROUNDS: usize = 6;
    let mut daemon =
        daemon(json!({ "mcpServers": { "old": fixture(&["--era", "legacy"]) } })).start();
    daemon.until_ready(&["old"]);
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        // Sessions are begun while a process is killed: whoever was told of one can use it
        // afterwards.
        let (address, gateway, supervisor) = (
            daemon.http,
            daemon.worker_pid("gateway-0").unwrap(),
            daemon.pid,
        );
        let clients: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(move || {
                    let (mut sessions, began) = (Vec::new(), Instant::now());
                    while began.elapsed() < Duration::from_millis(400) {
                        let mut client = Client::unconnected(address, "old", Era::Legacy);
                        // A first answer with a session is all that counts.
                        let begun = client.initialize().is_ok() || client.session.is_some();
                        sessions.extend(begun.then(|| client.session.clone()).flatten());
                    }
                    sessions
                })
            })
            .collect();
        std::thread::park_timeout(Duration::from_millis(150 + 17 * round as u64));
        let whole = round % 3 == 2;
        process::signal(if whole { supervisor } else { gateway }, Signal::SIGKILL);
        let sessions: Vec<String> = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect();
        assert!(!sessions.is_empty());
        told.extend(sessions);
        if whole {
            daemon.wait();
            until("everything has ended", || {
                daemon.sandbox.processes(None).is_empty().then_some(())
            });
            daemon.restart();
        } else {
            daemon.until_replaced("gateway-0", gateway);
        }
    }
    let headers = |session: &str| {
        [
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain([("Mcp-Session-Id".to_owned(), session.to_owned())])
        .collect::<Vec<_>>()
    };
    for session in &told {
        let headers = headers(session);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let answer = Connection::once(daemon.http, "POST", "/mcp/old", &headers, ping).unwrap();
        assert_eq!(
            answer.head.status,
            200,
            "a session that its client was told of is lost: {}",
            String::from_utf8_lossy(&answer.body)
        );
    }
    println!(
        "{ROUNDS} kills, {} sessions were told of, none is lost",
        told.len()
    );
    daemon.stop();
}

#[test]
fn what_cannot_be_stored_is_served_and_said() {
    // A certificate of our own would have to be stored, too.
    let http = json!({ "http": { "ssl": { "enabled": false } } });
    let servers =
        json!({ "transports": http, "mcpServers": { "old": fixture(&["--era", "legacy"]) } });
    // Where the directory should be there is a file: not even root can write there.
    let plan = daemon(servers.clone());
    let idle = plan.idle();
    fs::write(idle.sandbox.path("state"), "no directory").unwrap();
    let mut daemon = idle.begin(&servers);
    daemon.until_ready(&["old"]);
    let mut client = Client::new(daemon.http, "old", Era::Legacy);
    assert_eq!(client.tool("echo", json!({ "message": "x" })).text(), "x");
    let said = |daemon: &Daemon| {
        daemon
            .status()
            .issues
            .iter()
            .any(|issue| issue.code.as_str() == "GGEN-E5003")
    };
    assert!(
        said(&daemon) && daemon.log().contains("GGEN-E5003"),
        "{:?}",
        daemon.status().issues
    );
    let doctor = daemon.ggen(&["mcp", "doctor"]);
    assert!(doctor.stdout.contains("GGEN-E5003"), "{}", doctor.stdout);
    // The gateway worker may die all the same.
    let pid = daemon.worker_pid("gateway-0").unwrap();
    process::signal(pid, Signal::SIGKILL);
    daemon.until_replaced("gateway-0", pid);
    client.reconnect();
    assert_eq!(client.tool("echo", json!({ "message": "x" })).text(), "x");
    // Once it can be written again, it is: also what was begun before.
    fs::remove_file(daemon.sandbox.path("state")).unwrap();
    until("the store can be used", || (!said(&daemon)).then_some(()));
    until("it is written", || {
        daemon.sandbox.path("state/state.db").exists().then_some(())
    });
    daemon.start_again(Signal::SIGTERM);
    client.moved_to(daemon.http);
    assert_eq!(client.tool("echo", json!({ "message": "x" })).text(), "x");

    // A damaged file is set aside.
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let file = daemon.sandbox.path("state/state.db");
    fs::write(&file, vec![b'x'; 8192]).unwrap();
    daemon.restart();
    daemon.until_ready(&["old"]);
    assert!(daemon.sandbox.path("state/state.db.damaged").exists() && !said(&daemon));
    assert!(daemon.log().contains("was damaged"), "{}", daemon.log());
    client.moved_to(daemon.http);
    assert_eq!(client.request("ping", json!({})).head.status, 404);
    let mut client = Client::new(daemon.http, "old", Era::Legacy);
    daemon.start_again(Signal::SIGKILL);
    client.moved_to(daemon.http);
    assert_eq!(client.request("ping", json!({})).head.status, 200);
    daemon.stop();
}

/// A fixture that waits before it starts for as long as a file is there.
fn patient(flag: &std::path::Path, arguments: &[&str]) -> Value {
    let program = sandbox::binary("ggend-fixture");
    let script = format!(
        "while [ -e '{}' ]; do sleep 0.05; done; exec '{}' \"$@\"",
        flag.display(),
        program.display()
    );
    let mut all = vec!["-c".to_owned(), script, "sh".to_owned()];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    json!({ "command": "sh", "args": all })
}

#[test]
fn a_cold_boot_is_no_outage() {
    let place = tempfile::tempdir().unwrap();
    let flag = place.path().join("wait");
    let config = |tools: &str| json!({ "mcpServers": { "slow": patient(&flag, &["--tools", tools]), "quick": fixture(&[]) } });
    let mut daemon = daemon(config("3")).start();
    daemon.until_ready(&["slow", "quick"]);
    let mut all = Client::new(daemon.http, "", Era::Legacy);
    let mut one = Client::new(daemon.http, "slow", Era::Legacy);
    let mut modern = Client::unconnected(daemon.http, "", Era::Modern);
    let (before, own) = (all.names("tools/list"), one.names("tools/list"));
    assert!(
        before.contains(&"slow__extra_tool_3".to_owned())
            && own.contains(&"extra_tool_3".to_owned())
    );

    fs::write(&flag, "").unwrap();
    daemon.start_again(Signal::SIGTERM);
    [&mut all, &mut one, &mut modern]
        .into_iter()
        .for_each(|client| client.moved_to(daemon.http));
    let began = Instant::now();
    assert_eq!(all.names("tools/list"), before);
    assert_eq!(modern.names("tools/list"), before);
    assert_eq!(one.names("tools/list"), own);
    let fresh = Client::new(daemon.http, "slow", Era::Legacy);
    assert_eq!(fresh.server["serverInfo"]["name"], "ggend-fixture");
    let took = began.elapsed();
    println!("lists of a server that is not up yet: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_ne!(
        daemon.upstream("slow").state,
        ggen_wire::status::UpstreamState::Ready
    );
    // A call waits for the server; nobody is told of a change, because there is none.
    let mut stream = one.listen(None).unwrap();
    let call = std::thread::spawn(move || {
        modern
            .tool("slow__echo", json!({ "message": "patience" }))
            .text()
            .to_owned()
    });
    std::thread::park_timeout(Duration::from_millis(300));
    assert!(!call.is_finished());
    fs::remove_file(&flag).unwrap();
    assert_eq!(call.join().unwrap(), "patience");
    daemon.until_ready(&["slow", "quick"]);
    assert_eq!(all.names("tools/list"), before);
    // The first thing that is heard is what is made to be heard now.
    one.tool("test_trigger_resource_change", json!({}));
    assert_eq!(
        stream.message().method(),
        "notifications/resources/list_changed"
    );

    // Another entry is another server: what the old one gave is not served for it.
    fs::write(&flag, "").unwrap();
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    daemon.sandbox.write_config(&config("5"));
    daemon.restart();
    all.moved_to(daemon.http);
    let names = all.names("tools/list");
    assert!(
        names.iter().any(|name| name.starts_with("quick__"))
            && !names.iter().any(|name| name.starts_with("slow__")),
        "{names:?}"
    );
    let mut stream = all.listen(None).unwrap();
    fs::remove_file(&flag).unwrap();
    stream.until("notifications/tools/list_changed");
    assert!(
        all.names("tools/list")
            .contains(&"slow__extra_tool_5".to_owned())
    );
    daemon.stop();
}
