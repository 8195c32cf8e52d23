//! Who is let in: every kind of credential at every transport, in one table; revoking; whose session it
//! is; where secrets may not turn up.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ggend_tests::{
    connection::Head,
    pki::{Forge, Pki},
    tls::{self, Identity},
    *,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

const SECRET: &str = "this-secret-is-for-the-tests-and-for-nothing-else";

// What the transports say.
const OK: &str = "200";
/// `/health` of a stranger: whether all is well, and no more.
const BRIEF: &str = "200 brief";
const KEY: &str = "401 Invalid API key";
const OLD: &str = "401 Token expired";
const SIGNATURE: &str = "401 Invalid signature";
const FAILED: &str = "401 Authentication failed";
const STRANGER: &str = "401 Certificate verify failed: signed by an unknown authority";
const TOO_OLD: &str = "401 Certificate verify failed: expired";
const REVOKED: &str = "401 Certificate verify failed: revoked";
const UNLISTED: &str = "401 Certificate verify failed: certificate with a wrong name is not among auth.mtls.allowed_names";
const MISSING: &str = "404 Session not found: send initialize to begin a new one";

/// A listener without TLS hears of no certificate.
const NO_TLS: &str = "no TLS here";

/// The transports, in the order of the table's columns: another transport is another column. Whoever
/// shows a certificate comes to the first seven by HTTPS.
const TRANSPORTS: [(&str, Transport); 11] = [
    ("legacy", legacy),
    ("modern", modern),
    ("stream", stream),
    ("/tools", tools),
    ("/ws", websocket),
    ("/ws of its own", own_websocket),
    ("/health", health),
    ("/metrics", metrics),
    ("HTTPS", https),
    ("HTTP/3", http3),
    ("HTTP/3 /tools", http3_tools),
];

/// What a client shows of itself.
#[derive(Clone, Copy)]
struct Shown<'a> {
    headers: &'a [(&'a str, &'a str)],
    certificate: Option<&'a Identity>,
}

/// Headers, and no certificate.
const fn by<'a>(headers: &'a [(&'a str, &'a str)]) -> Shown<'a> {
    Shown {
        headers,
        certificate: None,
    }
}

/// A request of somebody who shows this; what came of it.
type Transport = fn(&House, Shown<'_>) -> String;

/// The credentials, and what each transport says to them where one is needed. The admin listener of this
/// daemon is on loopback and asks nobody.
const TABLE: [(&str, [&str; TRANSPORTS.len()]); 23] = [
    (
        "none",
        [
            FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, BRIEF, OK, FAILED, FAILED, FAILED,
        ],
    ),
    ("good key", [OK, OK, OK, OK, OK, OK, OK, OK, OK, OK, OK]),
    ("fixed key", [OK, OK, OK, OK, OK, OK, OK, OK, OK, OK, OK]),
    (
        "revoked key",
        [KEY, KEY, KEY, KEY, KEY, KEY, KEY, OK, KEY, KEY, KEY],
    ),
    (
        "expired key",
        [KEY, KEY, KEY, KEY, KEY, KEY, KEY, OK, KEY, KEY, KEY],
    ),
    (
        "wrong key",
        [KEY, KEY, KEY, KEY, KEY, KEY, KEY, OK, KEY, KEY, KEY],
    ),
    (
        "another scheme",
        [
            FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, OK, FAILED, FAILED, FAILED,
        ],
    ),
    ("good HS256", [OK, OK, OK, OK, OK, OK, OK, OK, OK, OK, OK]),
    ("good RS256", [OK, OK, OK, OK, OK, OK, OK, OK, OK, OK, OK]),
    (
        "good ES256 by kid",
        [OK, OK, OK, OK, OK, OK, OK, OK, OK, OK, OK],
    ),
    (
        "expired token",
        [OLD, OLD, OLD, OLD, OLD, OLD, OLD, OK, OLD, OLD, OLD],
    ),
    (
        "not valid yet",
        [
            FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, OK, FAILED, FAILED, FAILED,
        ],
    ),
    (
        "wrong signature",
        [
            SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, OK,
            SIGNATURE, SIGNATURE, SIGNATURE,
        ],
    ),
    (
        "wrong audience",
        [
            FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, OK, FAILED, FAILED, FAILED,
        ],
    ),
    (
        "wrong issuer",
        [
            FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, OK, FAILED, FAILED, FAILED,
        ],
    ),
    (
        "alg none",
        [
            SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, OK,
            SIGNATURE, SIGNATURE, SIGNATURE,
        ],
    ),
    (
        "HS256 with the RSA key",
        [
            SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, OK,
            SIGNATURE, SIGNATURE, SIGNATURE,
        ],
    ),
    (
        "unknown kid",
        [
            SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, SIGNATURE, OK,
            SIGNATURE, SIGNATURE, SIGNATURE,
        ],
    ),
    (
        "good certificate",
        [OK, OK, OK, OK, OK, NO_TLS, OK, OK, OK, OK, OK],
    ),
    (
        "certificate of an unknown authority",
        [
            STRANGER, STRANGER, STRANGER, STRANGER, STRANGER, NO_TLS, STRANGER, OK, STRANGER,
            STRANGER, STRANGER,
        ],
    ),
    (
        "expired certificate",
        [
            TOO_OLD, TOO_OLD, TOO_OLD, TOO_OLD, TOO_OLD, NO_TLS, TOO_OLD, OK, TOO_OLD, TOO_OLD,
            TOO_OLD,
        ],
    ),
    (
        "revoked certificate",
        [
            REVOKED, REVOKED, REVOKED, REVOKED, REVOKED, NO_TLS, REVOKED, OK, REVOKED, REVOKED,
            REVOKED,
        ],
    ),
    (
        "certificate with a wrong name",
        [
            UNLISTED, UNLISTED, UNLISTED, UNLISTED, UNLISTED, NO_TLS, UNLISTED, OK, UNLISTED,
            UNLISTED, UNLISTED,
        ],
    ),
];

/// Everybody's certificates, named like their rows: the product's own where it would make them.
fn make_certificates(folder: &Path) {
    let nobody = daemon(Value::Null).idle();
    let (pki, elsewhere) = (
        Pki::new(&nobody.sandbox, "pki"),
        Pki::new(&nobody.sandbox, "elsewhere"),
    );
    let (day, now) = (Duration::from_secs(24 * 3600), SystemTime::now());
    let (forge, stranger) = (Forge::new(&pki), Forge::new(&elsewhere));
    forge.client("good certificate", 70, now + day);
    forge.client("certificate with a wrong name", 71, now + day);
    forge.client("expired certificate", 72, now - day);
    forge.client("revoked certificate", 73, now + day);
    stranger.client("certificate of an unknown authority", 70, now + day);
    fs::create_dir(folder).unwrap();
    for made in [&pki.folder, &elsewhere.folder] {
        for entry in fs::read_dir(made)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| made == &pki.folder || entry.file_name() != *"ca.pem")
        {
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    fs::write(folder.join("crl.pem"), forge.revoke(&[73])).unwrap();
}

struct House {
    daemon: Daemon,
    #[allow(dead_code, reason = "kept for its destructor")]
    place: TempDir,
    rsa: String,
    rsa_public: String,
    ec: String,
    certificates: PathBuf,
    runtime: tokio::runtime::Runtime,
}

fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl is needed for keys of the tests");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Serves a key set for as long as the test runs.
fn issuer(keys: Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _ = socket.read(&mut head);
            let body = keys.to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).unwrap_or_default();
        }
    });
    address
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn claims(change: Value) -> Value {
    let mut claims = json!({"iss": "iss", "aud": "aud", "sub": "anna", "exp": now() + 600});
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn sign(algorithm: Algorithm, kid: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let header = Header {
        kid: kid.map(str::to_owned),
        ..Header::new(algorithm)
    };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn hs(secret: &str, change: Value) -> String {
    sign(
        Algorithm::HS256,
        None,
        &claims(change),
        &EncodingKey::from_secret(secret.as_bytes()),
    )
}

impl House {
    fn new(required: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let rsa = openssl(
            &[
                "genpkey",
                "-algorithm",
                "RSA",
                "-pkeyopt",
                "rsa_keygen_bits:2048",
            ],
            "",
        );
        let rsa_public = openssl(&["pkey", "-pubout"], &rsa);
        let ec = openssl(
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ],
            "",
        );
        let mut jwk = Jwk::from_encoding_key(
            &EncodingKey::from_ec_pem(ec.as_bytes()).unwrap(),
            Algorithm::ES256,
        )
        .unwrap();
        jwk.common.key_id = Some("k1".to_owned());
        let jwks = issuer(json!({ "keys": [jwk] }));
        let public = place.path().join("rsa.pem");
        fs::write(&public, &rsa_public).unwrap();
        let jwt = json!({"secret": SECRET, "public_key": public, "jwks_url": format!("http://{jwks}/keys"), "issuer": "iss", "audience": "aud"});
        let certificates = place.path().join("pki");
        let mtls = json!({
            "enabled": true, "required": false, "ca_cert": certificates.join("ca.pem"), "crl": certificates.join("crl.pem"),
            "allowed_names": ["good certificate", "expired certificate", "revoked certificate", "certificate of an unknown authority"],
        });
        make_certificates(&certificates);
        let daemon = daemon(json!({
            "server": {"workers": 3},
            "auth": {"required": required, "jwt": jwt, "mtls": mtls},
            "transports": {"websocket": {"port": 0}},
            "mcpServers": {"fix": fixture(&["--tools", "3"])},
        }))
        .variable("GGEN_MCP_API_KEY", "a-fixed-key-for-the-tests")
        .start();
        daemon.until_ready(&["fix"]);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self {
            daemon,
            place,
            rsa,
            rsa_public,
            ec,
            certificates,
            runtime,
        }
    }

    /// A connection to the port of HTTP, or of HTTPS for those who show a certificate.
    fn connect(&self, shown: Shown<'_>) -> Connection {
        match shown.certificate {
            None => Connection::open(self.daemon.http).unwrap(),
            certificate => self.secure(certificate),
        }
    }

    fn secure(&self, certificate: Option<&Identity>) -> Connection {
        let tls = Arc::new(tls::believing(certificate).unwrap());
        Connection::secure(self.daemon.listener("https").unwrap(), &tls).unwrap()
    }

    fn certificate(&self, row: &str) -> Option<Identity> {
        let file = |kind: &str| self.certificates.join(format!("{row}.{kind}"));
        file("pem")
            .is_file()
            .then(|| Identity::load(&file("pem"), &file("key")))
    }

    fn auth(&self, arguments: &[&str]) -> Value {
        let mut command = self.daemon.sandbox.command("ggen");
        command
            .env("GGEN_MCP_CONFIG", self.daemon.sandbox.config())
            .args(["mcp", "auth"])
            .args(arguments)
            .arg("--json");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A key that every worker knows, and its id.
    fn key(&self, arguments: &[&str]) -> (String, String) {
        let made = self.auth(&[&["generate-api-key"], arguments].concat());
        let text = |member: &str| made[member].as_str().unwrap().to_owned();
        (text("key"), text("id"))
    }

    /// What one transport says to 30 strangers, one after the other, until it says the same to all of
    /// them.
    fn until_all(&self, key: &str, wanted: &str) -> Duration {
        let began = Instant::now();
        until(wanted, || {
            (0..30)
                .all(|_| tools(self, by(&[("X-API-Key", key)])) == wanted)
                .then_some(())
        });
        began.elapsed()
    }

    fn credential(&self, row: &str) -> Option<(&'static str, String)> {
        let rsa = || EncodingKey::from_rsa_pem(self.rsa.as_bytes()).unwrap();
        let ec = || EncodingKey::from_ec_pem(self.ec.as_bytes()).unwrap();
        let token = match row {
            "none" => return None,
            certificate if self.certificate(certificate).is_some() => return None,
            "another scheme" => return Some(("Authorization", "Basic YTpi".to_owned())),
            "fixed key" => return Some(("X-API-Key", "a-fixed-key-for-the-tests".to_owned())),
            "wrong key" => format!("ggen_sk_{}", "x".repeat(43)),
            "good key" => {
                let (key, _) = self.key(&["--expires-in", "1h"]);
                self.until_all(&key, OK);
                key
            }
            "revoked key" => {
                let (key, id) = self.key(&[]);
                self.until_all(&key, OK);
                self.auth(&["revoke-api-key", &id]);
                self.until_all(&key, KEY);
                key
            }
            "expired key" => {
                let (key, _) = self.key(&["--expires-in", "2"]);
                self.until_all(&key, OK);
                self.until_all(&key, KEY);
                key
            }
            "good HS256" => self.auth(&["generate-token"])["token"]
                .as_str()
                .unwrap()
                .to_owned(),
            "good RS256" => sign(Algorithm::RS256, None, &claims(json!({})), &rsa()),
            "good ES256 by kid" => sign(Algorithm::ES256, Some("k1"), &claims(json!({})), &ec()),
            "expired token" => hs(SECRET, json!({"exp": now() - 180})),
            "not valid yet" => hs(SECRET, json!({"nbf": now() + 300})),
            "wrong signature" => hs("another-secret-of-the-same-length", json!({})),
            "wrong audience" => hs(SECRET, json!({"aud": "elsewhere"})),
            "wrong issuer" => hs(SECRET, json!({"iss": "elsewhere"})),
            "alg none" => {
                format!(
                    "{}.{}.",
                    BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#),
                    BASE64.encode(claims(json!({})).to_string())
                )
            }
            "HS256 with the RSA key" => hs(&self.rsa_public, json!({})),
            "unknown kid" => sign(Algorithm::ES256, Some("k2"), &claims(json!({})), &ec()),
            other => panic!("no credential for {other}"),
        };
        Some(("Authorization", format!("Bearer {token}")))
    }
}

/// The outcome of an answer, after a look at what every refusal has to have.
fn outcome(answer: &Answer) -> String {
    let status = answer.head.status;
    if status < 400 {
        return status.to_string();
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    let error = &body["error"];
    assert!(
        error["code"].is_i64()
            && error["data"]["code"]
                .as_str()
                .is_some_and(|code| code.starts_with("GGEN-E")),
        "{body}"
    );
    if status == 401 {
        assert!(
            answer
                .head
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer")),
            "{answer:?}"
        );
        assert!(error["data"]["help"].is_string(), "{body}");
    }
    format!("{status} {}", error["message"].as_str().unwrap())
}

const TYPES: [(&str, &str); 2] = [
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
];
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

fn initialize(house: &House, shown: Shown<'_>) -> Answer {
    exchange(
        house.connect(shown),
        "POST",
        "/mcp",
        &[&TYPES, shown.headers].concat(),
        INITIALIZE,
    )
}

fn exchange(
    mut connection: Connection,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    connection
        .request(method, path, headers, body.as_bytes())
        .unwrap();
    connection.answer().unwrap()
}

fn legacy(house: &House, shown: Shown<'_>) -> String {
    outcome(&initialize(house, shown))
}

const MODERN: [(&str, &str); 2] = [
    ("MCP-Protocol-Version", "2026-07-28"),
    ("Mcp-Method", "tools/list"),
];

fn modern_list() -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}})
        .to_string()
}

fn modern(house: &House, shown: Shown<'_>) -> String {
    outcome(&exchange(
        house.connect(shown),
        "POST",
        "/mcp",
        &[&TYPES, &MODERN, shown.headers].concat(),
        &modern_list(),
    ))
}

fn https(house: &House, shown: Shown<'_>) -> String {
    let headers = [&TYPES, &MODERN, shown.headers].concat();
    outcome(&exchange(
        house.secure(shown.certificate),
        "POST",
        "/mcp",
        &headers,
        &modern_list(),
    ))
}

fn over_http3(
    house: &House,
    shown: Shown<'_>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let address = house.daemon.listener("quic").unwrap();
    let headers: Vec<_> = headers.iter().chain(shown.headers).copied().collect();
    let answer = house.runtime.block_on(async {
        let mut client = http3::Client::connect_as(address, "localhost", shown.certificate)
            .await
            .unwrap();
        client.answer(method, path, &headers, body).await.unwrap()
    });
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    outcome(&Answer {
        head: Head {
            status: answer.status.as_u16(),
            headers,
        },
        body: answer.body,
    })
}

fn http3(house: &House, shown: Shown<'_>) -> String {
    over_http3(
        house,
        shown,
        "POST",
        "/mcp",
        &[TYPES, MODERN].concat(),
        &modern_list(),
    )
}

fn http3_tools(house: &House, shown: Shown<'_>) -> String {
    over_http3(house, shown, "GET", "/tools", &[], "")
}

/// The stream of a session of the same credential, if it can have one.
fn stream(house: &House, shown: Shown<'_>) -> String {
    let session = initialize(house, shown)
        .head
        .header("mcp-session-id")
        .unwrap_or("none")
        .to_owned();
    listen(house, &session, shown)
}

fn listen(house: &House, session: &str, shown: Shown<'_>) -> String {
    let more = [
        ("Accept", "text/event-stream"),
        ("Mcp-Session-Id", session),
        ("MCP-Protocol-Version", "2025-11-25"),
    ];
    let mut connection = house.connect(shown);
    connection
        .request("GET", "/mcp", &[&more, shown.headers].concat(), b"")
        .unwrap();
    let head = connection.head().unwrap();
    if head.status == 200 {
        return "200".to_owned();
    }
    let mut body = Vec::new();
    while let Some(piece) = connection.piece().unwrap() {
        body.extend(piece);
    }
    outcome(&Answer { head, body })
}

fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    Connection::once(address, "GET", path, headers, b"").unwrap()
}

fn tools(house: &House, shown: Shown<'_>) -> String {
    outcome(&exchange(
        house.connect(shown),
        "GET",
        "/tools",
        shown.headers,
        "",
    ))
}

/// Opens a WebSocket.
fn upgrade(
    mut connection: Connection,
    path: &str,
    headers: &[(&str, &str)],
) -> (String, Connection) {
    let more = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    connection
        .request("GET", path, &[&more, headers].concat(), b"")
        .unwrap();
    let head = connection.head().unwrap();
    if head.status == 101 {
        return (OK.to_owned(), connection);
    }
    let mut body = Vec::new();
    while let Some(piece) = connection.piece().unwrap() {
        body.extend(piece);
    }
    (outcome(&Answer { head, body }), connection)
}

fn websocket(house: &House, shown: Shown<'_>) -> String {
    upgrade(house.connect(shown), "/ws", shown.headers).0
}

fn own(house: &House) -> SocketAddr {
    let status = house.daemon.status();
    status
        .listeners
        .iter()
        .find(|listener| listener.transport == "websocket")
        .expect("a listener")
        .address
        .parse()
        .unwrap()
}

fn own_websocket(house: &House, shown: Shown<'_>) -> String {
    if shown.certificate.is_some() {
        return NO_TLS.to_owned();
    }
    upgrade(Connection::open(own(house)).unwrap(), "/ws", shown.headers).0
}

fn health(house: &House, shown: Shown<'_>) -> String {
    let answer = exchange(house.connect(shown), "GET", "/health", shown.headers, "");
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    let brief = answer.head.status == 200
        && said.as_object().unwrap().keys().collect::<Vec<_>>() == ["status"];
    outcome(&answer) + if brief { " brief" } else { "" }
}

fn metrics(house: &House, shown: Shown<'_>) -> String {
    outcome(&get(house.daemon.admin, "/metrics", shown.headers))
}

#[test]
fn every_credential_on_every_transport() {
    let house = House::new(true);
    let mut wrong = Vec::new();
    for (row, expected) in TABLE {
        let (credential, certificate) = (house.credential(row), house.certificate(row));
        let headers: Vec<(&str, &str)> = credential
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        for ((name, transport), expected) in TRANSPORTS.iter().zip(expected) {
            let found = transport(
                &house,
                Shown {
                    headers: &headers,
                    certificate: certificate.as_ref(),
                },
            );
            if found != expected {
                wrong.push(format!("{row} at {name}: {found}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} cells", TABLE.len() * TRANSPORTS.len());
    // Whoever looks at the log finds the reasons, and no credential.
    let log = house.daemon.log();
    for reason in [
        "the key was revoked",
        "Token expired 3m ago",
        "Wrong audience",
    ] {
        assert!(
            log.contains(reason) || log.contains("suppressed"),
            "{reason}"
        );
    }
    for secret in [SECRET, "a-fixed-key-for-the-tests", "eyJ", "ggen_sk_"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn where_none_is_needed_a_wrong_one_is_refused_all_the_same() {
    let house = House::new(false);
    for row in ["none", "good HS256", "fixed key"] {
        let credential = house.credential(row);
        let headers: Vec<(&str, &str)> = credential
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        for (name, transport) in TRANSPORTS {
            assert_eq!(transport(&house, by(&headers)), OK, "{row} at {name}");
        }
    }
    for (row, expected) in TABLE
        .iter()
        .filter(|(row, _)| ["wrong key", "expired token", "alg none"].contains(row))
    {
        let (name, value) = house.credential(row).unwrap();
        for ((transport_name, transport), expected) in TRANSPORTS.iter().zip(expected) {
            assert_eq!(
                transport(&house, by(&[(name, &value)])),
                *expected,
                "{row} at {transport_name}"
            );
        }
    }
}

#[test]
fn a_revoked_key_or_token_opens_nothing_within_a_second_in_any_worker() {
    let house = House::new(true);
    let (key, id) = house.key(&["--description", "to be revoked"]);
    house.until_all(&key, OK);
    // An open connection is no way around it.
    let mut open = Connection::open(house.daemon.http).unwrap();
    open.request("GET", "/tools", &[("X-API-Key", &key)], b"")
        .unwrap();
    assert_eq!(open.answer().unwrap().head.status, 200);
    house.auth(&["revoke-api-key", &id]);
    let took = house.until_all(&key, KEY);
    println!("revoked in all workers after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    open.request("GET", "/tools", &[("X-API-Key", &key)], b"")
        .unwrap();
    assert_eq!(open.answer().unwrap().head.status, 401);

    let made = house.auth(&["generate-token"]);
    let token = made["token"].as_str().unwrap();
    assert_eq!(tools(&house, by(&[("X-API-Key", token)])), OK);
    house.auth(&["revoke-token", made["jti"].as_str().unwrap()]);
    let took = house.until_all(token, FAILED);
    assert!(took < Duration::from_secs(1), "{took:?}");

    // When it was used is written back, sooner or later; and a new worker knows what the old ones
    // knew.
    until("when the key was used", || {
        let listed = house.auth(&["list-api-keys"]);
        let found = listed["keys"]
            .as_array()?
            .iter()
            .find(|key| key["id"] == *id)?
            .clone();
        (found["last_used"].is_string() && found["status"] == "revoked").then_some(())
    });
    let worker = house.daemon.worker_pid("http-0").unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(worker).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    house.daemon.until_replaced("http-0", worker);
    assert_eq!(house.until_all(&key, KEY).as_secs(), 0);
}

#[test]
fn an_open_websocket_ends_with_the_key_that_opened_it() {
    let house = House::new(true);
    let (key, id) = house.key(&[]);
    house.until_all(&key, OK);
    let transports = [house.daemon.http, own(&house)];
    // By header, in the address, among the subprotocols.
    let protocol = format!("mcp, mcp.auth.{key}");
    let by_query = format!("/ws?token={key}");
    let ways: [(&str, &[(&str, &str)]); 3] = [
        ("/ws", &[("X-API-Key", &key)]),
        (&by_query, &[]),
        ("/ws", &[("Sec-WebSocket-Protocol", &protocol)]),
    ];
    let mut open = Vec::new();
    for transport in transports {
        for (path, headers) in ways {
            // Its listener's worker may hear of the key last.
            open.push(
                until("the WebSocket is open", || {
                    Some(upgrade(Connection::open(transport).unwrap(), path, headers))
                        .filter(|(said, _)| said == OK)
                })
                .1,
            );
        }
    }
    let (said, mut other) = upgrade(
        house.connect(by(&[])),
        "/ws",
        &[("X-API-Key", "a-fixed-key-for-the-tests")],
    );
    assert_eq!(said, OK);
    let quiet_for = |connection: &mut Connection, time| {
        connection.patience(Duration::from_millis(time)).unwrap();
        connection
            .piece()
            .is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    };
    // They stay open past the first look at their keys.
    assert!(
        quiet_for(&mut other, 1000) && open.iter_mut().all(|connection| quiet_for(connection, 1))
    );
    house.auth(&["revoke-api-key", &id]);
    let began = Instant::now();
    for connection in &mut open {
        connection.patience(Duration::from_secs(10)).unwrap();
        let frame = connection.piece().unwrap().expect("a frame");
        assert_eq!(
            (frame[0], u16::from_be_bytes([frame[2], frame[3]])),
            (0x88, 1008),
            "{frame:?}"
        );
    }
    println!("closed after {:?}", began.elapsed());
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(quiet_for(&mut other, 1), "somebody else's stays");
    assert!(!house.daemon.log().contains(&key));
}

#[test]
fn open_event_streams_end_with_the_credential_that_opened_them() {
    let house = House::new(true);
    let (key, id) = house.key(&[]);
    house.until_all(&key, OK);
    let made = house.auth(&["generate-token"]);
    let (token, jti) = (
        made["token"].as_str().unwrap(),
        made["jti"].as_str().unwrap(),
    );
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "notifications": { "toolsListChanged": true }, "_meta": meta });
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params })
            .to_string();
    fn headers(credential: &str) -> Vec<(&str, &str)> {
        let own = [
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "subscriptions/listen"),
            ("X-API-Key", credential),
        ];
        [&TYPES[..], &own].concat()
    }
    let over_http1 = |credential: &str| {
        let mut connection = Connection::open(house.daemon.http).unwrap();
        connection
            .request("POST", "/mcp", &headers(credential), body.as_bytes())
            .unwrap();
        assert_eq!(connection.head().unwrap().status, 200);
        assert!(connection.piece().unwrap().is_some());
        connection
    };
    let over_http2 = |credential: &str| {
        let mut frames = http2::Frames::open(house.daemon.http, 1 << 20).unwrap();
        frames
            .request(1, "POST", "/mcp", &headers(credential), body.as_bytes())
            .unwrap();
        // The acknowledgement of the subscription.
        while frames.read().unwrap().kind != 0 {}
        frames
    };
    let quic = house.daemon.listener("quic").unwrap();
    let over_http3 = async |credential: &str| {
        let mut client = http3::Client::connect(quic).await.unwrap();
        let asked = client
            .ask("POST", "/mcp", &headers(credential), &body)
            .await;
        let (head, mut stream) = asked.unwrap();
        assert_eq!(head.status, 200);
        stream.recv_data().await.unwrap().expect("an event");
        (client, stream)
    };
    // A fixed key's stream stays all the while.
    let mut other = over_http1("a-fixed-key-for-the-tests");
    for (credential, revoked) in [
        (key.as_str(), ["revoke-api-key", &id]),
        (token, ["revoke-token", jti]),
    ] {
        let (mut one, mut two) = (over_http1(credential), over_http2(credential));
        let (_client, mut three) = house.runtime.block_on(over_http3(credential));
        house.auth(&revoked);
        let began = Instant::now();
        one.patience(Duration::from_secs(10)).unwrap();
        while one.piece().unwrap().is_some() {}
        assert!(two.rest(1).is_some());
        house.runtime.block_on(async {
            let ended = async { while let Ok(Some(_)) = three.recv_data().await {} };
            let time = Duration::from_secs(10);
            tokio::time::timeout(time, ended).await.expect("it ends");
        });
        println!("{} ended after {:?}", revoked[0], began.elapsed());
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    other.patience(Duration::from_millis(10)).unwrap();
    assert!(
        other.piece().is_err_and(|error| matches!(
            error.kind(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut
        ))
    );
}

#[test]
fn a_session_belongs_to_who_began_it() {
    let house = House::new(false);
    let (one, other) = (
        hs(SECRET, json!({"sub": "one"})),
        hs(SECRET, json!({"sub": "other"})),
    );
    let header = |token: &str| format!("Bearer {token}");
    let (one, other) = (header(&one), header(&other));
    let session = initialize(&house, by(&[("Authorization", &one)]))
        .head
        .header("mcp-session-id")
        .unwrap()
        .to_owned();
    assert!(session.len() >= 22, "128 bits at least: {session}");
    assert_eq!(listen(&house, &session, by(&[("Authorization", &one)])), OK);
    for thief in [
        &[("Authorization", other.as_str())][..],
        &[],
        &[("X-API-Key", "a-fixed-key-for-the-tests")],
    ] {
        assert_eq!(listen(&house, &session, by(thief)), MISSING);
        let more = [
            ("Mcp-Session-Id", session.as_str()),
            ("MCP-Protocol-Version", "2025-11-25"),
        ];
        let call = br#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
        let answer = Connection::once(
            house.daemon.http,
            "POST",
            "/mcp",
            &[&TYPES, &more, thief].concat(),
            call,
        )
        .unwrap();
        assert_eq!(outcome(&answer), MISSING);
        assert_eq!(
            Connection::once(
                house.daemon.http,
                "DELETE",
                "/mcp",
                &[&more, thief].concat(),
                b""
            )
            .unwrap()
            .head
            .status,
            404
        );
    }
    assert_eq!(listen(&house, &session, by(&[("Authorization", &one)])), OK);
    // The same person with a new token is the same person.
    let renewed = header(&hs(SECRET, json!({"sub": "one", "exp": now() + 900})));
    assert_eq!(
        listen(&house, &session, by(&[("Authorization", &renewed)])),
        OK
    );
}

#[test]
fn a_reload_changes_who_is_let_in_and_a_public_address_is_refused_without_keys() {
    let mut daemon = daemon(json!({})).start();
    let tools =
        |daemon: &Daemon, headers: &[(&str, &str)]| get(daemon.http, "/tools", headers).head.status;
    assert_eq!(tools(&daemon, &[]), 200);
    let file = daemon.sandbox.path("key");
    fs::write(&file, "one-key-that-is-long-enough\n").unwrap();
    daemon
        .sandbox
        .write_config(&json!({"auth": {"required": true, "api_key_file": file}}));
    let reload = |daemon: &Daemon| {
        let ran = daemon.ggen(&["mcp", "server", "reload"]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        ran.stdout
    };
    let said = reload(&daemon);
    assert!(!said.contains("one-key"), "{said}");
    assert_eq!(
        (
            tools(&daemon, &[]),
            tools(&daemon, &[("X-API-Key", "one-key-that-is-long-enough")])
        ),
        (401, 200)
    );
    // The file's new content, with the same configuration.
    fs::write(&file, "other-key-that-is-long-enough").unwrap();
    reload(&daemon);
    until("the old key opens nothing", || {
        (0..10)
            .all(|_| tools(&daemon, &[("X-API-Key", "one-key-that-is-long-enough")]) == 401)
            .then_some(())
    });
    assert_eq!(
        tools(&daemon, &[("X-API-Key", "other-key-that-is-long-enough")]),
        200
    );

    let check = |config: &Value, path: &Path| {
        fs::write(path, config.to_string()).unwrap();
        daemon
            .sandbox
            .command("ggend")
            .arg("check")
            .arg(path)
            .output()
            .unwrap()
    };
    let (public, path) = (
        json!({"transports": {"http": {"host": "0.0.0.0", "port": 1}}}),
        daemon.sandbox.path("public.json"),
    );
    let refused = check(&public, &path);
    let text = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    for part in [
        "GGEN-E1103",
        "ggen mcp auth generate-api-key",
        "ggen mcp config set transports.http.host=127.0.0.1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(daemon.ggen(&["mcp", "auth", "generate-api-key"]).code, 0);
    let allowed = check(&public, &path);
    let text = String::from_utf8_lossy(&[allowed.stdout, allowed.stderr].concat()).into_owned();
    assert!(!text.contains("GGEN-E1103"), "{text}");
}
