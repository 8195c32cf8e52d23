//! The two tables of errors in the user's guide, row by row: each error is provoked in a real
//! daemon, has its message and its code, and says how to fix it; the test does what is said
//! there, as it is printed, and sees that it is fixed. `cargo test -p ggend-tests --test
//! operations errors -- --nocapture` prints the table.

use ggend_tests::{
    pki::{Pki, curl, shell},
    process::signal,
    *,
};
use jsonwebtoken::{EncodingKey, Header};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What came of a row.
struct Row {
    code: String,
    message: String,
    /// What is printed or sent with it.
    help: String,
    /// What was typed of that.
    done: String,
}

/// Provokes an error, and fixes it.
type Provoke = fn() -> Row;

/// The guide's words, and how to come to them.
const ROWS: [(&str, Provoke); 11] = [
    ("Connection refused", connection_refused),
    ("Connection timeout", connection_timeout),
    ("Authentication failed", authentication_failed),
    ("Tool not found", tool_not_found),
    ("Invalid request", invalid_request),
    ("Server error", server_error),
    ("Rate limit exceeded", rate_limit_exceeded),
    ("Certificate verify failed", certificate_verify_failed),
    ("Invalid API key", invalid_api_key),
    ("Token expired", token_expired),
    ("Invalid signature", invalid_signature),
];

const SECRET: &str = "this-secret-is-for-the-tests-and-for-nothing-else";

#[test]
fn every_row_of_the_guides_tables_is_provoked_reported_and_fixed() {
    let guide = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/troubleshoot-connection.md"),
    )
    .unwrap();
    // Rows of errors are those that begin with a word in back quotes; there are no others.
    let wanted: Vec<&str> = guide
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `")?
                .split_once('`')
                .map(|(word, _)| word)
        })
        .collect();
    assert!(wanted.len() >= 12, "{wanted:?}");
    for word in &wanted {
        assert!(
            ROWS.iter().any(|(known, _)| known == word),
            "nothing provokes {word}"
        );
    }
    let rows: Vec<(Row, Duration)> = std::thread::scope(|scope| {
        let running: Vec<_> = ROWS
            .iter()
            .map(|(_, provoke)| scope.spawn(|| timed(*provoke)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    println!("| error | code | message | help | done | took |\n|---|---|---|---|---|---|");
    for (
        (word, _),
        (
            Row {
                code,
                message,
                help,
                done,
            },
            took,
        ),
    ) in ROWS.iter().zip(&rows)
    {
        println!("| {word} | {code} | {message} | {help} | {done} | {took:.1?} |");
        assert!(message.contains(word), "{word}: {message}");
        assert!(code.starts_with("GGEN-E"), "{word}: {code}");
        assert!(help.contains(done), "{word}: {done:?} is not in {help:?}");
    }
}

fn timed(provoke: fn() -> Row) -> (Row, Duration) {
    let began = Instant::now();
    let row = provoke();
    (row, began.elapsed())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A command of the sandbox's user.
fn typed(daemon: &Daemon, line: &str) -> Ran {
    shell(daemon, &daemon.sandbox.path("work"), &[], line)
}

/// Types what was printed, which has to go well.
#[track_caller]
fn follow(daemon: &Daemon, line: &str) -> Ran {
    let ran = typed(daemon, line);
    assert_eq!(ran.code, 0, "{line}: {ran:#?}");
    ran
}

/// The command in a line of help: from `ggen` on, to where the sentence goes on.
#[track_caller]
fn command<'a>(help: &'a str, verb: &str) -> &'a str {
    let begin = help
        .find(verb)
        .unwrap_or_else(|| panic!("no {verb} in {help:?}"));
    let end = [", ", "; ", " makes", " says", " shows"]
        .iter()
        .filter_map(|stop| help[begin..].find(stop))
        .min();
    &help[begin..end.map_or(help.len(), |end| begin + end)]
}

/// What a program of ours printed: the line with the message, its code, and the line with the help.
#[track_caller]
fn printed(ran: &Ran, word: &str) -> (String, String, String) {
    let text = format!("{}\n{}", ran.stdout, ran.stderr);
    assert_ne!(ran.code, 0, "{text}");
    let line = text
        .lines()
        .find(|line| line.contains(word))
        .unwrap_or_else(|| panic!("no {word} in {ran:#?}"))
        .trim()
        .to_owned();
    let code = line
        .find("GGEN-E")
        .map(|at| line[at..at + 10].to_owned())
        .unwrap_or_else(|| panic!("no code in {line}"));
    let help = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("help: "))
        .unwrap_or_else(|| panic!("no help in {text}"));
    (line, code, help.to_owned())
}

/// What the daemon answered: status, message, code, help.
#[track_caller]
fn answered(answer: &Answer) -> (u16, String, String, String) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{body}"))
            .to_owned()
    };
    let error = &body["error"];
    (
        answer.head.status,
        text(&error["message"]),
        text(&error["data"]["code"]),
        text(&error["data"]["help"]),
    )
}

fn get(address: SocketAddr, path: &str, credential: &str) -> Answer {
    let bearer = format!("Bearer {credential}");
    let headers: &[(&str, &str)] = if credential.is_empty() {
        &[]
    } else {
        &[("Authorization", &bearer)]
    };
    Connection::once(address, "GET", path, headers, b"").unwrap()
}

/// Waits until a credential is accepted: every worker has to hear of it.
#[track_caller]
fn until_open(daemon: &Daemon, credential: &str) {
    until("the new credential is good", || {
        (0..20)
            .all(|_| get(daemon.http, "/tools", credential).head.status == 200)
            .then_some(())
    });
}

#[track_caller]
fn refused(daemon: &Daemon, credential: &str) -> (String, String, String) {
    let (status, message, code, help) = answered(&get(daemon.http, "/tools", credential));
    assert_eq!(status, 401, "{message}");
    (message, code, help)
}

/// A word of an output that begins like that: a key, a token.
#[track_caller]
fn word<'a>(ran: &'a Ran, begin: &str) -> &'a str {
    ran.stdout
        .split_whitespace()
        .find(|word| word.starts_with(begin))
        .unwrap_or_else(|| panic!("no {begin} in {ran:#?}"))
}

fn guarded() -> Daemon {
    daemon(json!({ "auth": { "required": true, "jwt": { "secret": SECRET } } })).start()
}

fn connection_refused() -> Row {
    let daemon = daemon(json!({})).idle();
    let port = free_port().to_string();
    let more = [("GGEN_MCP_TRANSPORTS_HTTP_PORT", port.as_str())];
    let run = |line: &str| shell(&daemon, &daemon.sandbox.path("work"), &more, line);
    // Both who asks for the daemon and who connects to it.
    let (_, code, help) = printed(&run("ggen mcp list"), "Connection refused");
    assert_eq!(
        (code.as_str(), help.as_str()),
        ("GGEN-E6001", "ggen mcp server start")
    );
    let (message, code, help) = printed(&run("ggen mcp test-connection"), "Connection refused");
    let started = run(&help);
    assert_eq!(started.code, 0, "{started:#?}");
    let again = run("ggen mcp test-connection");
    let stopped = run("ggen mcp server stop");
    assert_eq!(
        (again.code, stopped.code),
        (0, 0),
        "{again:#?} {stopped:#?}"
    );
    Row {
        code,
        message,
        done: help.clone(),
        help,
    }
}

fn connection_timeout() -> Row {
    // A worker that is stopped does not drain.
    let daemon = daemon(json!({ "server": { "drain_timeout_ms": 2000 } })).start();
    for worker in daemon.workers("http") {
        signal(worker.pid.unwrap(), Signal::SIGSTOP);
    }
    let (message, code, help) = printed(
        &typed(&daemon, "ggen mcp test-connection --timeout 1"),
        "Connection timeout",
    );
    follow(&daemon, &help);
    follow(&daemon, "ggen mcp test-connection");
    daemon.stop();
    Row {
        code,
        message,
        done: help.clone(),
        help,
    }
}

fn authentication_failed() -> Row {
    let daemon = guarded();
    let (message, code, help) = refused(&daemon, "");
    // The same by the probe.
    let (_, probed, _) = printed(
        &typed(&daemon, "ggen mcp test-connection"),
        "Authentication failed",
    );
    assert_eq!(probed, code);
    let done = command(&help, "ggen mcp auth").to_owned();
    let made = follow(&daemon, &done);
    until_open(&daemon, word(&made, "ggen_sk_"));
    daemon.stop();
    Row {
        code,
        message,
        help,
        done,
    }
}

fn invalid_api_key() -> Row {
    let daemon = guarded();
    let made = follow(&daemon, "ggen mcp auth generate-api-key --json");
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    until_open(&daemon, key);
    follow(&daemon, &format!("ggen mcp auth revoke-api-key {id}"));
    until("the key is revoked", || {
        (0..20)
            .all(|_| get(daemon.http, "/tools", key).head.status == 401)
            .then_some(())
    });
    let (message, code, help) = refused(&daemon, key);
    for wrong in [format!("ggen_sk_{}", "x".repeat(43)), format!("{key}x")] {
        assert_eq!(refused(&daemon, &wrong).1, code);
    }
    let more = [("GGEN_MCP_API_KEY", key)];
    let (_, probed, _) = printed(
        &shell(
            &daemon,
            &daemon.sandbox.path("work"),
            &more,
            "ggen mcp test-connection",
        ),
        "Invalid API key",
    );
    assert_eq!(probed, code);
    follow(&daemon, command(&help, "ggen mcp auth list"));
    let done = command(&help, "ggen mcp auth generate").to_owned();
    let made = follow(&daemon, &done);
    until_open(&daemon, word(&made, "ggen_sk_"));
    daemon.stop();
    Row {
        code,
        message,
        help,
        done,
    }
}

fn token_expired() -> Row {
    let daemon = guarded();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let old = jsonwebtoken::encode(
        &Header::default(),
        &json!({ "sub": "anna", "exp": now - 600 }),
        &EncodingKey::from_secret(SECRET.as_bytes()),
    );
    let old = old.unwrap();
    let (message, code, help) = refused(&daemon, &old);
    // The command that looks at a token says the same.
    let said = typed(&daemon, &format!("ggen mcp auth verify-token {old}"));
    assert!(
        said.code != 0 && format!("{}{}", said.stdout, said.stderr).contains("Token expired"),
        "{said:#?}"
    );
    let done = command(&help, "ggen mcp auth").to_owned();
    let made = follow(&daemon, &done);
    until_open(&daemon, word(&made, "eyJ"));
    daemon.stop();
    Row {
        code,
        message,
        help,
        done,
    }
}

fn invalid_signature() -> Row {
    let mut daemon = guarded();
    let made = follow(&daemon, "ggen mcp auth generate-token --quiet");
    let token = made.stdout.trim();
    until_open(&daemon, token);
    daemon
        .sandbox
        .write_config(&json!({ "auth": { "required": true, "jwt": { "secret": "another-secret-that-is-as-long-as-the-first" } } }));
    follow(&daemon, "ggen mcp server reload");
    until("the new secret is in force", || {
        (0..20)
            .all(|_| get(daemon.http, "/tools", token).head.status == 401)
            .then_some(())
    });
    let (message, code, help) = refused(&daemon, token);
    let said = typed(&daemon, &format!("ggen mcp auth verify-token {token}"));
    assert!(
        said.code != 0 && format!("{}{}", said.stdout, said.stderr).contains("Invalid signature"),
        "{said:#?}"
    );
    let done = command(&help, "ggen mcp auth generate").to_owned();
    let made = follow(&daemon, &done);
    until_open(&daemon, word(&made, "eyJ"));
    daemon.stop();
    Row {
        code,
        message,
        help,
        done,
    }
}

fn certificate_verify_failed() -> Row {
    let nobody = daemon(Value::Null).idle();
    let (pki, other) = (
        Pki::new(&nobody.sandbox, "pki"),
        Pki::new(&nobody.sandbox, "other"),
    );
    let (cert, key) = pki.make(&nobody.sandbox, "--server", "localhost");
    let mtls = json!({ "enabled": true, "required": false, "ca_cert": pki.file("ca.pem") });
    let ssl = json!({ "port": 0, "cert": cert, "key": key });
    let daemon = nobody.begin(&json!({ "transports": { "http": { "ssl": ssl } }, "auth": { "required": true, "mtls": mtls } }));
    let port = daemon.listener("https").unwrap().port();
    let ask = |place: &Pki, name: &str| {
        let text = |name: String| place.file(&name).to_str().unwrap().to_owned();
        let (ca, url) = (
            pki.file("ca.pem"),
            format!("https://localhost:{port}/tools"),
        );
        curl(&[
            "--cacert",
            ca.to_str().unwrap(),
            "--cert",
            &text(format!("{name}.pem")),
            "--key",
            &text(format!("{name}.key")),
            &url,
        ])
    };
    other.make(&daemon.sandbox, "--client", "NAME");
    let curled = ask(&other, "NAME");
    let body: Value = serde_json::from_str(&curled.body).unwrap_or_else(|_| panic!("{curled:?}"));
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{body}"))
            .to_owned()
    };
    let error = &body["error"];
    let (message, code, help) = (
        text(&error["message"]),
        text(&error["data"]["code"]),
        text(&error["data"]["help"]),
    );
    assert_eq!(curled.status, 401);
    let done = command(&help, "ggen mcp auth").to_owned();
    let made = shell(&daemon, &pki.folder, &[], &done);
    assert_eq!(made.code, 0, "{made:#?}");
    let curled = ask(&pki, "NAME");
    assert_eq!(curled.status, 200, "{curled:?}");

    // The other side of it: a server whose authority the client does not know.
    let url = format!("https://localhost:{port}/mcp");
    let probe = |more: &[(&str, &str)]| {
        shell(
            &daemon,
            &pki.folder,
            more,
            &format!("ggen mcp test-connection {url}"),
        )
    };
    let (_, probed, printed_help) = printed(&probe(&[]), "Certificate verify failed");
    assert_eq!(probed, code);
    follow(&daemon, &format!("{printed_help} </dev/null"));
    let known = probe(&[("SSL_CERT_FILE", pki.file("ca.pem").to_str().unwrap())]);
    assert!(known.stdout.contains("✓ TLS: TLSv1_3"), "{known:#?}");
    daemon.stop();
    Row {
        code,
        message,
        help,
        done,
    }
}

fn tool_not_found() -> Row {
    let daemon = daemon(json!({ "mcpServers": { "fix": fixture(&["--tools", "3"]) } })).start();
    daemon.until_ready(&["fix"]);
    let call = |name: &str| {
        let mut client = Client::new(daemon.http, "", Era::Modern);
        client.tool(name, json!({})).response().value.clone()
    };
    let error = call("fix__ech0")["error"].clone();
    let text = |value: &Value| {
        value
            .as_str()
            .unwrap_or_else(|| panic!("{error}"))
            .to_owned()
    };
    let (message, code, help) = (
        text(&error["message"]),
        text(&error["data"]["code"]),
        text(&error["data"]["help"]),
    );
    for line in [
        "ggen mcp test fix__ech0",
        "ggen mcp status fix__ech0",
        "ggen mcp test-connection --tool fix__ech0",
    ] {
        let (_, printed_code, printed_help) = printed(&typed(&daemon, line), "Tool not found");
        assert_eq!(
            (printed_code, printed_help),
            (code.clone(), help.clone()),
            "{line}"
        );
    }
    let listed = follow(&daemon, &help);
    let name = word(&listed, "fix__").to_owned();
    assert_eq!(typed(&daemon, &format!("ggen mcp status {name}")).code, 0);
    assert_ne!(call(&name)["error"]["data"]["code"], code);
    daemon.stop();
    Row {
        code,
        message,
        done: help.clone(),
        help,
    }
}

fn invalid_request() -> Row {
    let daemon = daemon(json!({})).start();
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    let post = |body: &str| {
        Connection::once(daemon.http, "POST", "/mcp", &headers, body.as_bytes()).unwrap()
    };
    let (status, message, code, help) = answered(&post(r#"{"jsonrpc":"2.0","id":1,"params":{}}"#));
    assert_eq!(status, 400, "{message}");
    // Whatever is wrong with a request, there is a page about it.
    for (body, wanted) in [
        ("{", "GGEN-E3001"),
        (
            r#"{"id":1,"id":2,"jsonrpc":"2.0","method":"ping"}"#,
            "GGEN-E3006",
        ),
        ("[1]", ""),
    ] {
        let (_, message, code, help) = answered(&post(body));
        assert!(
            message.starts_with("Invalid request") && (wanted.is_empty() || code == wanted),
            "{body}: {message} {code}"
        );
        follow(&daemon, &help);
    }
    let page = follow(&daemon, &help);
    assert!(
        page.stdout.contains(&code)
            && page
                .stdout
                .contains("A member is missing: jsonrpc, method or id"),
        "{page:#?}"
    );
    // As the page says.
    let good = post(
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#,
    );
    assert_eq!(good.head.status, 200);
    daemon.stop();
    Row {
        code,
        message,
        done: help.clone(),
        help,
    }
}

fn server_error() -> Row {
    let daemon = daemon(json!({})).start();
    // Killed again and again, it is not started at once any more: meanwhile there is nobody to ask.
    let body = until("an answer without a gateway worker", || {
        if let Some(pid) = daemon.worker_pid("gateway-0") {
            signal(pid, Signal::SIGKILL);
        }
        let answer = get(daemon.http, "/health", "");
        (answer.head.status == 503).then(|| serde_json::from_slice::<Value>(&answer.body).unwrap())
    });
    let text = |member: &str| {
        body[member]
            .as_str()
            .unwrap_or_else(|| panic!("{body}"))
            .to_owned()
    };
    let (message, code, help) = (text("message"), text("code"), text("help"));
    let done = command(&help, "ggen mcp server wait").to_owned();
    follow(&daemon, &done);
    assert_eq!(get(daemon.http, "/tools", "").head.status, 200);
    follow(&daemon, command(&help, "ggen mcp server logs"));
    daemon.stop();
    Row {
        code,
        message,
        help,
        done,
    }
}

fn rate_limit_exceeded() -> Row {
    let daemon = daemon(json!({ "rate_limit": { "requests_per_second": 1 } })).start();
    let hurry = || {
        (0..50)
            .map(|_| get(daemon.http, "/tools", ""))
            .find(|answer| answer.head.status != 200)
    };
    let answer = hurry().expect("a refusal");
    let (status, message, code, help) = answered(&answer);
    assert_eq!(status, 429);
    // Whoever waits as long as is said is heard.
    let wait: u64 = answer
        .head
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    let until = Instant::now() + Duration::from_secs(wait);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    assert_eq!(get(daemon.http, "/tools", "").head.status, 200);
    let done = command(&help, "ggen mcp config set").to_owned();
    follow(&daemon, &done);
    assert!(hurry().is_none(), "still refused");
    daemon.stop();
    Row {
        code,
        message,
        help,
        done,
    }
}
