//! HTTPS from outside: versions and ciphers, the certificate of its own, certificates that change
//! under load, client certificates, and who holds keys.

use ggend_tests::{
    pki::{Forge, Pki, curl, shell},
    tls::{self, Identity},
    *,
};
use nix::sys::signal::Signal;
use rustls::{
    ClientConfig, ClientConnection, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn https(daemon: &Daemon) -> SocketAddr {
    daemon.listener("https").expect("HTTPS is served")
}

/// A daemon whose server certificate is for localhost, and whose client authority is the same one.
fn start(ssl: Value, auth: Value) -> (Daemon, Pki) {
    let nobody = daemon(Value::Null).idle();
    let pki = Pki::new(&nobody.sandbox, "pki");
    let (cert, key) = pki.make(&nobody.sandbox, "--server", "localhost");
    let mut config = json!({ "transports": { "http": { "ssl": { "port": 0, "cert": cert, "key": key } } }, "auth": auth });
    for (name, value) in ssl.as_object().unwrap() {
        config["transports"]["http"]["ssl"][name] = value.clone();
    }
    let text = config
        .to_string()
        .replace("PKI", pki.folder.to_str().unwrap());
    (nobody.begin(&serde_json::from_str(&text).unwrap()), pki)
}

/// openssl s_client, with this on its standard input; what it said on both outputs.
fn s_client(address: SocketAddr, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("timeout")
        .args([
            "20",
            "openssl",
            "s_client",
            "-connect",
            &address.to_string(),
        ])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap_or_default();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A ClientHello by hand (RFC 5246 §7.4.1.2), because today's libraries do not offer what must be
/// refused. What comes back: `alert N` or `hello`.
fn hello(address: SocketAddr, version: u16, suites: &[u16]) -> String {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    // Signature algorithms and groups that everybody has, and the point format.
    let mut extensions = Vec::new();
    for (kind, data) in [
        (13_u16, vec![0, 8, 4, 3, 8, 4, 4, 1, 2, 1]),
        (10, vec![0, 4, 0, 23, 0, 29]),
        (11, vec![1, 0]),
    ] {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        extensions.extend(data);
    }
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let mut message = vec![1, length[1], length[2], length[3]];
    message.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    record.extend(message);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&record).unwrap();
    let mut answer = [0; 7];
    match stream.read_exact(&mut answer) {
        Ok(()) if answer[0] == 21 => format!("alert {}", answer[6]),
        Ok(()) if answer[0] == 22 && answer[5] == 2 => "hello".to_owned(),
        other => format!("{other:?} {answer:?}"),
    }
}

#[test]
fn old_versions_and_weak_ciphers_are_refused() {
    let (daemon, _pki) = start(json!({}), json!({}));
    let address = https(&daemon);
    // ECDHE-ECDSA with AES-GCM: what every client of TLS 1.2 offers to such a certificate.
    let good = [0xc02b, 0xc02c, 0xc02f, 0xc030];
    assert_eq!(hello(address, 0x0303, &good), "hello");
    for (version, name) in [(0x0300, "SSL 3"), (0x0301, "TLS 1.0"), (0x0302, "TLS 1.1")] {
        assert_eq!(
            hello(
                address,
                version,
                &[&good[..], &[0xc013, 0xc009, 0x002f, 0x000a]].concat()
            ),
            "alert 70",
            "{name}: protocol_version"
        );
    }
    let weak = [
        ("NULL", 0x0002_u16),
        ("EXPORT", 0x0003),
        ("RC4", 0x0005),
        ("3DES", 0x000a),
        ("RSA key exchange", 0x009c),
        ("CBC, RSA", 0x002f),
        ("CBC, ECDHE-ECDSA", 0xc009),
        ("CBC, ECDHE-ECDSA, SHA-384", 0xc024),
        ("RC4, ECDHE-ECDSA", 0xc007),
        ("anonymous", 0xc018),
        ("DHE", 0x009e),
    ];
    for (name, suite) in weak {
        assert_eq!(
            hello(address, 0x0303, &[suite]),
            "alert 40",
            "{name}: handshake_failure"
        );
    }
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(address, &[version], "");
        assert!(
            said.contains(&format!("Protocol  : {name}")) || said.contains(&format!("New, {name}")),
            "{name}: {said}"
        );
    }
    // Whoever wants to negotiate anew does not get it.
    let said = s_client(address, &["-tls1_2"], "R\n");
    let again = said
        .split_once("RENEGOTIATING")
        .unwrap_or_else(|| panic!("{said}"))
        .1;
    assert!(
        again.contains("error:") && !again.contains("verify return"),
        "{said}"
    );
    // Compression and heartbeats have had their day.
    let said = s_client(address, &["-tls1_2", "-tlsextdebug"], "");
    assert!(
        said.contains("Compression: NONE") && !said.contains("heartbeat"),
        "{said}"
    );
    for protocol in ["h2", "http/1.1"] {
        let said = s_client(address, &["-alpn", protocol], "");
        assert!(
            said.contains(&format!("ALPN protocol: {protocol}")),
            "{said}"
        );
    }
    assert_eq!(
        s_client(address, &["-alpn", "h2,http/1.1"], "")
            .matches("ALPN protocol: h2")
            .count(),
        1,
        "HTTP/2 goes first"
    );

    let (daemon, _pki) = start(json!({ "min_version": "1.3" }), json!({}));
    assert_eq!(hello(https(&daemon), 0x0303, &good), "alert 70");
    assert!(s_client(https(&daemon), &["-tls1_3"], "").contains("TLSv1.3"));
}

#[test]
fn both_versions_of_http_are_served_and_every_name_has_its_certificate() {
    let nobody = daemon(Value::Null).idle();
    let pki = Pki::new(&nobody.sandbox, "pki");
    let (first, second) = (
        pki.make(&nobody.sandbox, "--server", "localhost"),
        pki.make(&nobody.sandbox, "--server", "b.example"),
    );
    let ssl = json!({ "port": 0, "cert": [first.0, second.0], "key": [first.1, second.1] });
    let daemon = nobody.begin(&json!({ "transports": { "http": { "ssl": ssl, "allowed_hosts": ["localhost", "b.example"] } } }));
    let (address, ca) = (https(&daemon), pki.file("ca.pem"));
    let ca = ca.to_str().unwrap();
    for version in ["--http1.1", "--http2"] {
        for tls in [
            ["--tlsv1.2", "--tls-max", "1.2"],
            ["--tlsv1.3", "--tls-max", "1.3"],
        ] {
            for host in ["localhost", "b.example"] {
                let (place, url) = (
                    format!("{host}:{}:127.0.0.1", address.port()),
                    format!("https://{host}:{}/health", address.port()),
                );
                let curled = curl(
                    &[
                        &["--cacert", ca, "--resolve", &place, version],
                        &tls[..],
                        &[&url],
                    ]
                    .concat(),
                );
                assert_eq!(
                    (curled.exit, curled.status),
                    (0, 200),
                    "{version} {tls:?} {host}: {curled:?}"
                );
            }
        }
    }
    // A name that is nobody's gets the first one, which its client refuses.
    let curled = curl(&[
        "--cacert",
        ca,
        "--resolve",
        &format!("c.example:{}:127.0.0.1", address.port()),
        &format!("https://c.example:{}/", address.port()),
    ]);
    assert_eq!((curled.exit, curled.status), (60, 0), "{curled:?}");
    // Plain HTTP on the port of TLS is no way in, and the other way round.
    assert_ne!(
        curl(&[&format!("http://localhost:{}/health", address.port())]).status,
        200
    );
    assert_ne!(
        curl(&[
            "-k",
            &format!("https://localhost:{}/health", daemon.http.port())
        ])
        .status,
        200
    );
}

#[test]
fn the_certificate_of_its_own_is_made_once() {
    let mut daemon = daemon(json!({ "transports": { "http": { "ssl": { "port": 0 } } } })).start();
    let file = daemon.sandbox.path("state/tls/self-signed.pem");
    let first = fs::read(&file).unwrap();
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!(mode(&file.with_extension("key")), 0o600);
    let good = |daemon: &Daemon| {
        let curled = curl(&[
            "--cacert",
            file.to_str().unwrap(),
            &format!("https://localhost:{}/health", https(daemon).port()),
        ]);
        assert_eq!((curled.exit, curled.status), (0, 200), "{curled:?}");
    };
    good(&daemon);
    assert_eq!(
        curl(&[&format!(
            "https://localhost:{}/health",
            https(&daemon).port()
        )])
        .exit,
        60,
        "nobody trusts it unasked"
    );
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    daemon.restart();
    assert_eq!(fs::read(&file).unwrap(), first);
    good(&daemon);
    assert_eq!(
        daemon.log().matches("GGEN-E4033").count(),
        1,
        "it is said when it is made"
    );
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    // A key that was lost is no reason not to start.
    fs::remove_file(file.with_extension("key")).unwrap();
    daemon.restart();
    assert_ne!(fs::read(&file).unwrap(), first);
    good(&daemon);
    daemon.stop();
}

/// A client that trusts an authority, and perhaps shows a certificate.
fn client(ca: &Path, own: Option<(&Path, &Path)>) -> Arc<ClientConfig> {
    tls::trusting(
        ca,
        own.map(|(cert, key)| Identity::load(cert, key)).as_ref(),
    )
}

/// A new connection and one request: the status, and the server's certificate.
fn get(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<(u16, Vec<u8>)> {
    let connection = ClientConnection::new(
        Arc::clone(config),
        ServerName::try_from("localhost").unwrap(),
    )
    .map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(
        format!(
            "GET /tools HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
            address.port()
        )
        .as_bytes(),
    )?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // A close without TLS's own farewell, after a whole answer.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        read => drop(read?),
    }
    let status = String::from_utf8_lossy(&answer)
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let certificate = stream
        .conn
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|der| der.to_vec())
        .unwrap_or_default();
    status
        .map(|status| (status, certificate))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[test]
fn certificates_change_under_load_without_one_failed_handshake() {
    const CHANGES: usize = 6;
    let (daemon, pki) = start(json!({}), json!({}));
    let (address, ca) = (https(&daemon), pki.file("ca.pem"));
    let (over, done, seen, failed) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        Mutex::new(HashSet::new()),
        Mutex::new(Vec::new()),
    );
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&over);
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // A client of its own each time: nothing is resumed.
                    match get(address, &client(&ca, None)) {
                        Ok((200, certificate)) => drop(seen.lock().unwrap().insert(certificate)),
                        other => failed.lock().unwrap().push(format!("{other:?}")),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // An open connection outlives all of them.
        let connection = ClientConnection::new(
            client(&ca, None),
            ServerName::try_from("localhost").unwrap(),
        )
        .unwrap();
        let mut open = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        let mut ask = || {
            open.write_all(
                format!(
                    "GET /tools HTTP/1.1\r\nHost: localhost:{}\r\n\r\n",
                    address.port()
                )
                .as_bytes(),
            )
            .unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                open.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .expect("a length")
                .parse()
                .unwrap();
            open.read_exact(&mut vec![0; length]).unwrap();
        };
        for change in 1..=CHANGES {
            // The certificate first and its key a moment later: between the two they do not fit,
            // and the old ones stay.
            let (cert, key) = (pki.file("localhost.pem"), pki.file("localhost.key"));
            swap(&daemon, &pki, &cert, &key);
            if change % 2 == 0 {
                let ran = daemon.ggen(&["mcp", "server", "reload"]);
                assert_eq!(ran.code, 0, "{ran:#?}");
            }
            let wanted = CertificateDer::from_pem_file(&cert).unwrap().to_vec();
            until("the new certificate is served", || {
                (0..8)
                    .all(|_| {
                        get(address, &client(&ca, None)).is_ok_and(|(_, shown)| shown == wanted)
                    })
                    .then_some(())
            });
            ask();
        }
    });
    let (failed, seen) = (failed.into_inner().unwrap(), seen.into_inner().unwrap());
    println!(
        "{} handshakes, {} failed, {} certificates seen",
        done.into_inner(),
        failed.len(),
        seen.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(seen.len() > CHANGES, "{}", seen.len());
    daemon.stop();
}

/// Makes a new certificate for localhost elsewhere, and moves it over the old one, file by file.
fn swap(daemon: &Daemon, pki: &Pki, cert: &Path, key: &Path) {
    let output = daemon.sandbox.path("new");
    let _ = fs::create_dir(&output);
    let line = format!(
        "ggen mcp auth generate-cert --server localhost --out {} --force",
        output.display()
    );
    let ran = shell(daemon, &pki.folder, &[], &line);
    assert_eq!(ran.code, 0, "{ran:#?}");
    fs::rename(output.join("localhost.pem"), cert).unwrap();
    fs::rename(output.join("localhost.key"), key).unwrap();
}

#[test]
fn broken_new_files_leave_the_old_ones_in_force() {
    let (daemon, pki) = start(json!({}), json!({}));
    let (address, ca) = (https(&daemon), pki.file("ca.pem"));
    let (cert, key) = (pki.file("localhost.pem"), pki.file("localhost.key"));
    let (old, old_key) = (fs::read(&cert).unwrap(), fs::read(&key).unwrap());
    let shown = || get(address, &client(&ca, None)).unwrap().1;
    let before = shown();
    let other = pki.make(&daemon.sandbox, "--server", "other.example");
    let cases: [(&str, Vec<u8>, Vec<u8>); 5] = [
        ("no PEM", b"nonsense".to_vec(), old_key.clone()),
        ("cut off", old[..old.len() / 2].to_vec(), old_key.clone()),
        ("empty", Vec::new(), Vec::new()),
        (
            "another one's key",
            old.clone(),
            fs::read(&other.1).unwrap(),
        ),
        (
            "no key",
            old.clone(),
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(),
        ),
    ];
    for (what, new, new_key) in cases {
        fs::write(&cert, new).unwrap();
        fs::write(&key, new_key).unwrap();
        let ran = daemon.ggen(&["mcp", "server", "reload"]);
        assert!(
            ran.code != 0 && ran.stderr.contains("GGEN-E4031"),
            "{what}: {ran:#?}"
        );
        assert_eq!(shown(), before, "{what}");
    }
    // Unasked, too.
    let refusals = || {
        daemon
            .log()
            .matches("certificates refused, the old ones stay in force")
            .count()
    };
    let so_far = refusals();
    fs::remove_file(&key).unwrap();
    until("the missing file is noticed", || {
        (refusals() > so_far).then_some(())
    });
    assert_eq!(shown(), before);
    fs::write(&key, old_key).unwrap();
    swap(&daemon, &pki, &cert, &key);
    until("a good one is taken over", || {
        (shown() != before).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_taken_port_costs_https_and_nothing_else() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let start = || {
        let port = free().local_addr().unwrap().port().to_string();
        daemon(json!({ "mcpServers": { "fix": fixture(&[]) } }))
            .variable("GGEN_MCP_TRANSPORTS_HTTP_PORT", &port)
            .start()
    };
    // The usual port. Who else may hold it, a daemon of another test perhaps, may also let go of it
    // again: then once more.
    let (_held, daemon) = until("a daemon that finds the usual port taken", || {
        let held = TcpListener::bind("127.0.0.1:3443").ok();
        let daemon = start();
        (held.is_some() || daemon.listener("https").is_none()).then_some((held, daemon))
    });
    daemon.until_ready(&["fix"]);
    assert_eq!(daemon.listener("https"), None);
    let warning = daemon
        .log()
        .lines()
        .find(|line| line.contains("HTTPS is not served"))
        .unwrap_or_default()
        .to_owned();
    assert!(
        warning.contains("GGEN-E1101") && warning.contains("3443"),
        "{warning}"
    );
    let _ = Client::new(daemon.http, "", Era::Modern)
        .tool("explain-code", json!({ "code": "E1101" }))
        .result();
    daemon.stop();
    // Where it was asked for by name, there is no going without.
    let held = free();
    let port = held.local_addr().unwrap().port();
    let mut refused =
        ggend_tests::daemon(json!({ "transports": { "http": { "ssl": { "port": port } } } }))
            .spawn();
    assert_eq!(refused.wait().code(), Some(69), "{}", refused.log());
    assert!(refused.log().contains("GGEN-E1101"), "{}", refused.log());
}

/// A daemon with keys in files, which it has read twice.
fn with_keys() -> (Daemon, Pki) {
    let (daemon, pki) = start(
        json!({}),
        json!({ "mtls": { "enabled": true, "required": false, "ca_cert": "PKI/ca.pem" } }),
    );
    assert_eq!(
        get(https(&daemon), &client(&pki.file("ca.pem"), None))
            .unwrap()
            .0,
        200
    );
    assert_eq!(daemon.ggen(&["mcp", "server", "reload"]).code, 0);
    (daemon, pki)
}

/// A line of the server's private key, as it stands in its file.
fn secret(pki: &Pki) -> String {
    let text = fs::read_to_string(pki.file("localhost.key")).unwrap();
    text.lines().nth(1).unwrap().to_owned()
}

#[test]
fn no_worker_has_a_key_open() {
    if !root_or_skipped("reads the descriptors and environments of other processes") {
        return;
    }
    let (daemon, pki) = with_keys();
    let secret = secret(&pki);
    let mut looked = 0;
    for process in daemon.sandbox.processes(Some(daemon.pid)) {
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
        assert!(
            !String::from_utf8_lossy(&environment).contains(&secret),
            "{}",
            process.command
        );
        if process.pid == daemon.pid {
            continue;
        }
        let files = fs::read_dir(format!("/proc/{}/fd", process.pid))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let is_secret = |path: &PathBuf| {
            path.starts_with(&pki.folder) || path.starts_with(daemon.sandbox.path("state"))
        };
        let open: Vec<PathBuf> = files.filter(is_secret).collect();
        assert!(open.is_empty(), "{} has {open:?} open", process.command);
        looked += 1;
    }
    assert!(looked >= 4, "{looked} processes");
    daemon.stop();
}

#[test]
fn no_key_is_in_a_command_line_or_in_the_log() {
    let (daemon, pki) = with_keys();
    let secret = secret(&pki);
    let processes = daemon.sandbox.processes(Some(daemon.pid));
    assert!(processes.len() >= 5, "{processes:?}");
    for process in processes {
        assert!(!process.command.contains(&secret), "{}", process.command);
    }
    assert!(!daemon.log().contains(&secret));
    daemon.stop();
}

const CLIENTS: [(&str, &str); 6] = [
    ("good", ""),
    ("none", "no client certificate"),
    ("stranger", "signed by an unknown authority"),
    ("old", "expired"),
    ("revoked", "revoked"),
    ("unlisted", "is not among auth.mtls.allowed_names"),
];
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
const DISCOVER: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}}}"#;

/// Makes everybody's certificates in the daemon's folder, and starts it.
fn with_clients(required: bool) -> (Daemon, Pki) {
    let nobody = daemon(Value::Null).idle();
    let pki = Pki::new(&nobody.sandbox, "pki");
    let (cert, key) = pki.make(&nobody.sandbox, "--server", "localhost");
    let forge = Forge::new(&pki);
    for name in ["good", "unlisted"] {
        pki.make(&nobody.sandbox, "--client", name);
    }
    let elsewhere = Pki::new(&nobody.sandbox, "elsewhere");
    let (theirs, their_key) = elsewhere.make(&nobody.sandbox, "--client", "stranger");
    fs::copy(theirs, pki.file("stranger.pem")).unwrap();
    fs::copy(their_key, pki.file("stranger.key")).unwrap();
    forge.client("old", 70, SystemTime::now() - DAY);
    forge.client("revoked", 71, SystemTime::now() + DAY);
    fs::write(pki.file("crl.pem"), forge.revoke(&[71])).unwrap();
    let mtls = json!({
        "enabled": true, "required": required, "ca_cert": pki.file("ca.pem"), "crl": pki.file("crl.pem"),
        "allowed_names": ["good", "old", "revoked", "stranger"],
    });
    let config = json!({
        "transports": { "http": { "ssl": { "port": 0, "cert": cert, "key": key } } },
        "auth": { "required": true, "mtls": mtls },
        "mcpServers": { "fix": fixture(&[]) },
    });
    let daemon = nobody.begin(&config);
    daemon.until_ready(&["fix"]);
    (daemon, pki)
}

/// What each transport answers to a client with that certificate: `handshake`, or the status and our
/// message.
fn statuses(daemon: &Daemon, pki: &Pki, name: &str) -> Vec<String> {
    let base = format!("https://localhost:{}", https(daemon).port());
    let (cert, key, ca) = (
        pki.file(&format!("{name}.pem")),
        pki.file(&format!("{name}.key")),
        pki.file("ca.pem"),
    );
    let mut own = vec!["--cacert", ca.to_str().unwrap()];
    if name != "none" {
        own.extend([
            "--cert",
            cert.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ]);
    }
    let kinds = [
        "-H",
        "Content-Type: application/json",
        "-H",
        "Accept: application/json, text/event-stream",
    ];
    let modern = [
        "-H",
        "MCP-Protocol-Version: 2026-07-28",
        "-H",
        "Mcp-Method: server/discover",
        "-d",
        DISCOVER,
    ];
    let requests: [(&str, Vec<&str>); 4] = [
        ("/mcp", [&kinds[..], &["-d", INITIALIZE]].concat()),
        ("/mcp", [&kinds[..], &modern[..]].concat()),
        ("/tools", Vec::new()),
        ("/health", Vec::new()),
    ];
    let ask = |(path, more): &(&str, Vec<&str>)| {
        let url = format!("{base}{path}");
        let curled = curl(&[&own[..], more, &[&url]].concat());
        let message = serde_json::from_str::<Value>(&curled.body)
            .ok()
            .and_then(|body| {
                let error = body.get("error")?.clone();
                assert!(
                    error["data"]["help"].is_string() && error["data"]["code"].is_string(),
                    "{error}"
                );
                Some(format!(" {}", error["message"].as_str()?))
            });
        match (curled.exit, curled.status) {
            (0, status) => format!("{status}{}", message.unwrap_or_default()),
            // In TLS 1.3 the client hears of it when it reads, perhaps as a stream of HTTP/2 that
            // broke.
            (16 | 35 | 52 | 55 | 56 | 92, 0) => "handshake".to_owned(),
            other => panic!("{name} {path}: {other:?} {curled:?}"),
        }
    };
    requests.iter().map(ask).collect()
}

#[test]
fn required_client_certificates_are_a_matter_of_the_handshake() {
    let (daemon, pki) = with_clients(true);
    for (name, reason) in CLIENTS {
        let expected = if name == "good" { "200" } else { "handshake" };
        assert_eq!(statuses(&daemon, &pki, name), [expected; 4], "{name}");
        // Also in TLS 1.2, where the server hears of it before it has said that it is done.
        let tls12 = curl(&[
            "-k",
            "--tlsv1.2",
            "--tls-max",
            "1.2",
            &format!("https://localhost:{}/health", https(&daemon).port()),
        ]);
        assert_ne!(tls12.exit, 0);
        let log = daemon.log();
        let said = log.lines().any(|line| {
            line.contains("Certificate verify failed")
                && line.contains("GGEN-E4030")
                && line.contains(reason)
        });
        assert!(reason.is_empty() || said, "{reason}: {log}");
    }
    daemon.stop();
}

#[test]
fn optional_client_certificates_are_one_way_of_several() {
    let (daemon, pki) = with_clients(false);
    for (name, reason) in CLIENTS {
        let said = statuses(&daemon, &pki, name);
        match name {
            "good" => assert_eq!(said, ["200"; 4], "{name}"),
            "none" => {
                let failed = "401 Authentication failed";
                assert_eq!(said, [failed, failed, failed, "200"], "{name}");
            }
            _ => {
                let refused = |text: &String| {
                    text.starts_with("401 Certificate verify failed: ") && text.contains(reason)
                };
                assert!(said.iter().all(refused), "{name}: {said:?}");
            }
        }
    }
    // Whoever shows a certificate that is not accepted is told so by 401 as RFC 9110 §15.5.2 wants
    // it.
    let (ca, cert, key) = (pki.file("ca.pem"), pki.file("old.pem"), pki.file("old.key"));
    let url = format!("https://localhost:{}/tools", https(&daemon).port());
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let head = curl(&[
        "-i",
        "--http1.1",
        "--cacert",
        &text(&ca),
        "--cert",
        &text(&cert),
        "--key",
        &text(&key),
        &url,
    ]);
    assert!(
        head.body
            .to_ascii_lowercase()
            .contains("\r\nwww-authenticate: bearer"),
        "{}",
        head.body
    );
    daemon.stop();
}

#[test]
fn who_is_revoked_is_not_heard_by_a_resumed_session_either() {
    let (daemon, pki) = with_clients(false);
    let forge = Forge::new(&pki);
    forge.client("good", 72, SystemTime::now() + DAY);
    let config = client(
        &pki.file("ca.pem"),
        Some((&pki.file("good.pem"), &pki.file("good.key"))),
    );
    let status = || get(https(&daemon), &config).map(|(status, _)| status);
    assert_eq!(status().unwrap(), 200);
    fs::write(pki.file("crl.pem"), forge.revoke(&[71, 72])).unwrap();
    until("the new list is in force", || {
        (0..8)
            .all(|_| status().is_ok_and(|status| status == 401))
            .then_some(())
    });
    fs::write(pki.file("crl.pem"), forge.revoke(&[71])).unwrap();
    until("and the next one", || {
        (0..8)
            .all(|_| status().is_ok_and(|status| status == 200))
            .then_some(())
    });
    // Nobody can say who was revoked since a list went out of date.
    let stale = forge.revoke_until(&[71], SystemTime::now() - DAY);
    fs::write(pki.file("crl.pem"), stale).unwrap();
    until("the list that is out of date", || {
        (0..8)
            .all(|_| status().is_ok_and(|status| status == 401))
            .then_some(())
    });
    until("it is named", || {
        daemon
            .log()
            .contains("revocation list (auth.mtls.crl) is out of date")
            .then_some(())
    });
    daemon.stop();
}
