//! Planted secrets, and a search for them everywhere that somebody could look: logs of every level,
//! answers, status, metrics, files, command lines and environments.

use ggend_tests::*;
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::geteuid,
};
use serde_json::{Value, json};
use std::{fs, io::ErrorKind, path::Path};

/// What is planted, and where. Each is a text that nothing else has.
const PLANTED: [(&str, &str); 11] = [
    (
        "the fixed key, a variable of the supervisor",
        "planted-aa-fixed-key-of-the-environment",
    ),
    (
        "the secret of tokens, in the configuration",
        "planted-bb-secret-of-tokens-in-the-configuration",
    ),
    (
        "a variable of one server",
        "planted-cc-variable-of-one-server",
    ),
    (
        "a variable of the supervisor that one server is given by name",
        "planted-dd-given-by-name",
    ),
    (
        "another variable of the supervisor",
        "planted-ee-of-the-supervisor-alone",
    ),
    (
        "a header for a remote server",
        "planted-ff-header-for-a-remote-server",
    ),
    (
        "the query of a remote server's address",
        "planted-gg-query-of-an-address",
    ),
    (
        "the password in a remote server's address",
        "planted-hh-password-of-an-address",
    ),
    ("the arguments of a call", "planted-ii-arguments-of-a-call"),
    (
        "a wrong credential in a header",
        "planted-jj-wrong-credential",
    ),
    (
        "a wrong credential in an address",
        "planted-kk-wrong-token-in-an-address",
    ),
];

fn planted(letters: &str) -> &'static str {
    PLANTED
        .iter()
        .map(|(_, secret)| *secret)
        .find(|secret| secret.contains(&format!("-{letters}-")))
        .unwrap()
}

fn config() -> Value {
    let mut given = fixture(&["--tools", "2"]);
    given["env"] = json!({ "OWN": planted("cc"), "BY_NAME": "${PLANTED_D}" });
    let nobody = "127.0.0.1:9";
    json!({
        "auth": { "required": true, "jwt": { "secret": planted("bb") } },
        "logging": { "level": "debug", "audit": true },
        "transports": { "websocket": { "query_token": "always" } },
        "mcpServers": {
            "given": given,
            "other": fixture(&["--tools", "2"]),
            "dies": { "command": "/bin/sh", "args": ["-c", "exit 3"], "env": { "OWN": planted("cc") } },
            "remote": { "type": "http", "url": format!("http://{nobody}/mcp?token={}", planted("gg")), "headers": { "Authorization": format!("Bearer {}", planted("ff")) } },
            "named": { "type": "http", "url": format!("http://user:{}@{nobody}/mcp", planted("hh")) },
        },
    })
}

/// The secrets, and those that are made while it runs.
struct Search {
    secrets: Vec<(String, String)>,
    found: Vec<String>,
}

impl Search {
    fn search(&mut self, place: &str, text: &[u8]) {
        self.search_except(place, text, &[]);
    }

    /// Looks for all secrets but those that belong there.
    fn search_except(&mut self, place: &str, text: &[u8], own: &[&str]) {
        for (what, secret) in self
            .secrets
            .iter()
            .filter(|(_, secret)| !own.contains(&secret.as_str()))
        {
            if text
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
            {
                self.found.push(format!("{what} is in {place}"));
            }
        }
    }

    fn search_folder(&mut self, folder: &Path, own: &[&str]) {
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(Result::unwrap)
        {
            let path = entry.path();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => self.search_folder(&path, own),
                kind if kind.is_file() => self.search_except(
                    &path.display().to_string(),
                    &fs::read(&path).unwrap_or_default(),
                    own,
                ),
                _ => {}
            }
        }
    }
}

#[test]
fn planted_secrets_are_found_nowhere() {
    // Who may leave core files would, unless it forbids itself.
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    setrlimit(Resource::RLIMIT_CORE, hard, hard).unwrap();
    let mut daemon = daemon(config())
        .variable("GGEN_MCP_API_KEY", planted("aa"))
        .variable("PLANTED_D", planted("dd"))
        .variable("PLANTED_E", planted("ee"))
        .start();
    // The limit is this process's, and others are tested in it.
    setrlimit(Resource::RLIMIT_CORE, soft, hard).unwrap();
    daemon.until_ready(&["given", "other"]);
    let log = daemon.sandbox.path("ggend.log");
    let mut with_file = config();
    with_file["logging"]["file"] = json!({ "path": log });
    daemon.sandbox.write_config(&with_file);
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    let mut search = Search {
        secrets: PLANTED
            .iter()
            .map(|(what, secret)| ((*what).to_owned(), (*secret).to_owned()))
            .collect(),
        found: Vec::new(),
    };

    // What is made while it runs, and shown once to whoever made it.
    for (verb, member) in [("generate-api-key", "key"), ("generate-token", "token")] {
        let mut command = daemon.sandbox.command("ggen");
        let output = command
            .env("GGEN_MCP_CONFIG", daemon.sandbox.config())
            .args(["mcp", "auth", verb, "--json"])
            .output()
            .unwrap();
        let made: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        search.secrets.push((
            format!("what {verb} made"),
            made[member].as_str().unwrap().to_owned(),
        ));
    }
    let keys: Vec<String> = search
        .secrets
        .iter()
        .rev()
        .take(2)
        .map(|(_, secret)| secret.clone())
        .collect();
    let home = daemon.sandbox.path("state");
    let private = files_below(&home)
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    let private = private.flat_map(|text| {
        text.lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .windows(2)
            .find(|pair| pair[0].contains("PRIVATE KEY"))
            .map(|pair| pair[1].clone())
    });
    let private: Vec<String> = private.collect();
    assert!(
        !private.is_empty(),
        "the certificate of its own has a key in the state directory"
    );
    search.secrets.extend(
        private
            .iter()
            .map(|line| ("the private key of HTTPS".to_owned(), line.clone())),
    );

    // Good and bad callers, on every transport; calls that fail, and a worker that dies.
    let kinds = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ];
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "given__echo", "arguments": {"message": planted("ii")}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }}})
    .to_string();
    let modern = [
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "given__echo"),
    ];
    let ask = |search: &mut Search,
               what: &str,
               method: &str,
               path: &str,
               headers: &[(&str, &str)],
               body: &str| {
        let answer = Connection::once(daemon.http, method, path, headers, body.as_bytes()).unwrap();
        let mut said = answer.body.clone();
        said.extend(
            answer
                .head
                .headers
                .iter()
                .flat_map(|(name, value)| format!("{name}: {value}\n").into_bytes()),
        );
        let own: &[&str] = if what == "the answer of echo" {
            &[planted("ii")]
        } else {
            &[]
        };
        search.search_except(what, &said, own);
        answer.head.status
    };
    for key in [planted("aa"), &keys[0], &keys[1]] {
        let status = ask(
            &mut search,
            "the answer of echo",
            "POST",
            "/mcp",
            &[&kinds[..], &modern, &[("X-API-Key", key)]].concat(),
            &call,
        );
        assert_eq!(status, 200);
        for path in [
            "/tools",
            "/health",
            "/nowhere",
            "/mcp/remote",
            "/mcp/dies",
            "/mcp/nobody",
        ] {
            ask(&mut search, path, "GET", path, &[("X-API-Key", key)], "");
            ask(
                &mut search,
                path,
                "POST",
                path,
                &[&kinds[..], &modern, &[("X-API-Key", key)]].concat(),
                &call,
            );
        }
    }
    let bearer = format!("Bearer {}", planted("jj"));
    assert_eq!(
        ask(
            &mut search,
            "a refusal",
            "GET",
            "/tools",
            &[("Authorization", &bearer)],
            ""
        ),
        401
    );
    assert_eq!(
        ask(
            &mut search,
            "a refusal",
            "GET",
            "/tools",
            &[("X-API-Key", planted("jj"))],
            ""
        ),
        401
    );
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let wrong = format!("/ws?token={}", planted("kk"));
    assert_eq!(
        ask(
            &mut search,
            "a refused WebSocket",
            "GET",
            &wrong,
            &upgrade,
            ""
        ),
        401
    );
    for key in [planted("aa"), &keys[0], &keys[1]] {
        let mut connection = Connection::open(daemon.http).unwrap();
        connection
            .request("GET", &format!("/ws?token={key}"), &upgrade, b"")
            .unwrap();
        assert_eq!(connection.head().unwrap().status, 101);
    }
    let worker = daemon.worker_pid("http-0").unwrap();
    process::signal(worker, nix::sys::signal::Signal::SIGABRT);
    daemon.until_replaced("http-0", worker);
    until("the server that dies is in the log", || {
        daemon.log().contains("dies").then_some(())
    });

    // Where an admin looks.
    for arguments in [
        &["mcp", "server", "status"][..],
        &["mcp", "server", "status", "--json"],
        &["mcp", "server", "reload"],
        &["mcp", "server", "logs"],
        &["mcp", "server", "logs", "--json"],
        &["mcp", "config", "show"],
        &["mcp", "config", "show", "--json"],
        &["mcp", "config", "show", "--effective"],
        &["mcp", "config", "validate"],
        &["mcp", "doctor"],
        &["mcp", "doctor", "--json"],
        // What it says is searched here, and the archive itself with the rest of the directory
        // below.
        &["mcp", "doctor", "--bundle", "report.tar"],
        &["mcp", "test-connection"],
        &["mcp", "test-connection", "--json"],
        &["mcp", "auth", "list-api-keys"],
    ] {
        let mut command = daemon.sandbox.command("ggen");
        let output = command
            .env("GGEN_MCP_CONFIG", daemon.sandbox.config())
            .env("PLANTED_D", planted("dd"))
            .args(arguments)
            .output()
            .unwrap();
        let place = format!("`ggen {}`", arguments.join(" "));
        assert!(
            output.stdout.len() + output.stderr.len() > 10,
            "{place} says something"
        );
        search.search(&place, &[output.stdout, output.stderr].concat());
    }
    let scrape = Connection::once(daemon.admin, "GET", "/metrics", &[], b"").unwrap();
    search.search("/metrics", &scrape.body);
    search.search("the log", daemon.log().as_bytes());
    search.search("standard output", daemon.output("stdout").as_bytes());
    assert!(
        fs::metadata(&log).is_ok_and(|file| file.len() > 1000),
        "the log file is written"
    );
    search.search("the log file", &fs::read(&log).unwrap());
    let own: Vec<&str> = private.iter().map(String::as_str).collect();
    search.search_folder(&home, &own);
    for place in ["run", "home", "tmp", "work"] {
        search.search_folder(&daemon.sandbox.path(place), &[]);
    }
    fs::remove_file(daemon.sandbox.path("work/report.tar")).unwrap();

    // Where everybody on the host looks, and where somebody of the same user does.
    let processes = daemon.sandbox.processes(Some(daemon.pid));
    assert!(processes.len() > 7, "{processes:#?}");
    for process in &processes {
        search.search(
            &format!("the command line of {}", process.command),
            process.command.as_bytes(),
        );
        // Workers are not dumpable: the kernel shows their environments to root alone.
        let environment =
            fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_else(|error| {
                assert!(
                    error.kind() == ErrorKind::PermissionDenied && !geteuid().is_root(),
                    "{}: {error}",
                    process.command
                );
                Vec::new()
            });
        let is_given = environment
            .split(|byte| *byte == 0)
            .any(|entry| entry.starts_with(b"BY_NAME="));
        let own = if process.pid == daemon.pid {
            vec![planted("aa"), planted("dd"), planted("ee")]
        } else if is_given {
            vec![planted("cc"), planted("dd")]
        } else {
            Vec::new()
        };
        search.search_except(
            &format!("the environment of {}", process.command),
            &environment,
            &own,
        );
        let limits =
            fs::read_to_string(format!("/proc/{}/limits", process.pid)).unwrap_or_default();
        let is_worker = process.command.starts_with("ggend worker");
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap_or_default();
        if is_worker
            && core
                .split_whitespace()
                .nth(4)
                .is_none_or(|soft| soft != "0")
        {
            search.found.push(format!(
                "a core dump of {} would hold them: {core:?}",
                process.command
            ));
        }
    }
    assert!(search.found.is_empty(), "{}", search.found.join("\n"));
    daemon.stop();
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(Result::unwrap)
    {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}
