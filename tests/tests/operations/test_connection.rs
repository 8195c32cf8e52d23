//! `ggen mcp test-connection` with credentials and over TLS, and what `ggen` says of servers that do
//! not start after a reload.

use ggend_tests::{pki::Pki, *};
use nix::unistd::geteuid;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

const KEY: &str = "a-key-of-some-length-0123456789";

/// A daemon that serves HTTPS and WebSocket and wants a key or a client certificate.
fn guarded() -> (Daemon, Pki) {
    let nobody = daemon(Value::Null).idle();
    let pki = Pki::new(&nobody.sandbox, "pki");
    let (cert, key) = pki.make(&nobody.sandbox, "--server", "localhost");
    pki.make(&nobody.sandbox, "--client", "good");
    let file = pki.file("api-key");
    fs::write(&file, format!("{KEY}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = json!({
        "transports": { "http": { "ssl": { "port": 0, "cert": cert, "key": key } } },
        "auth": {
            "required": true,
            "api_key_file": file,
            "mtls": { "enabled": true, "required": false, "ca_cert": pki.file("ca.pem") },
        },
        "mcpServers": { "fix": fixture(&[]) },
    });
    let daemon = nobody.begin(&config);
    daemon.until_ready(&["fix"]);
    (daemon, pki)
}

/// `ggen mcp test-connection`, by a client that trusts the authority.
fn connect(daemon: &Daemon, pki: &Pki, arguments: &[&str]) -> (i32, String) {
    let output = daemon
        .sandbox
        .command("ggen")
        .args(["mcp", "test-connection"])
        .args(arguments)
        .env("SSL_CERT_FILE", pki.file("ca.pem"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap_or(-1), text + &errors)
}

#[test]
fn a_connection_is_tested_with_credentials_from_files() {
    let (daemon, pki) = guarded();
    let port = daemon.listener("https").unwrap().port();
    let https = format!("https://localhost:{port}/mcp");
    let wss = format!("wss://localhost:{port}/ws");
    let file = |name: &str| pki.file(name).display().to_string();
    let (key, cert, own) = (file("api-key"), file("good.pem"), file("good.key"));

    for url in [&https, &wss] {
        let (code, said) = connect(&daemon, &pki, &[url]);
        assert!(
            code == 1 && said.contains("Authentication failed"),
            "{said}"
        );
        let (code, said) = connect(&daemon, &pki, &[url, "--api-key-file", &key]);
        assert!(code == 0 && said.contains("Connection OK"), "{said}");
        let (code, said) = connect(
            &daemon,
            &pki,
            &[url, "--client-cert", &cert, "--client-key", &own],
        );
        assert!(code == 0 && said.contains("Connection OK"), "{said}");
    }
    let (_, said) = connect(&daemon, &pki, &[&wss, "--api-key-file", &key]);
    for layer in ["TCP connect", "TLS", "WebSocket", "MCP over WebSocket"] {
        assert!(said.contains(&format!("  ✓ {layer}: ")), "{layer}: {said}");
    }
    assert!(!said.contains(KEY), "{said}");

    // One file may hold both; a file that is not there, or holds no key, is named.
    let both = fs::read_to_string(&cert).unwrap() + &fs::read_to_string(&own).unwrap();
    fs::write(pki.file("both.pem"), both).unwrap();
    let (code, said) = connect(&daemon, &pki, &[&https, "--client-cert", &file("both.pem")]);
    assert_eq!(code, 0, "{said}");
    for (flag, name) in [
        ("--api-key-file", "missing"),
        ("--api-key-file", "good.pem"),
        ("--client-cert", "good.pem"),
    ] {
        let (code, said) = connect(&daemon, &pki, &[&https, flag, &file(name)]);
        assert!(
            code == 1 && said.contains(&format!("{} cannot be used", file(name))),
            "{flag} {name}: {said}"
        );
    }
    daemon.stop();
}

#[test]
fn a_reload_names_the_servers_that_do_not_start() {
    let mut daemon = daemon(json!({ "mcpServers": { "fix": fixture(&[]) } })).start();
    daemon.until_ready(&["fix"]);
    let missing = json!({ "command": "no-such-program" });
    daemon
        .sandbox
        .write_config(&json!({ "mcpServers": { "fix": fixture(&[]), "bad": missing } }));
    let ran = daemon.ggen(&["mcp", "server", "reload"]);
    assert!(
        ran.stdout
            .ends_with("Reloaded, but not ready: bad\nhelp: ggen mcp server status --verbose\n"),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stdout.matches("in force").count(), 1, "{}", ran.stdout);
    daemon
        .sandbox
        .write_config(&json!({ "mcpServers": { "fix": fixture(&[]) } }));
    let ran = daemon.ggen(&["mcp", "server", "reload"]);
    assert!(
        ran.stdout.ends_with("Reloaded successfully\n"),
        "{}",
        ran.stdout
    );
    daemon.stop();
}

#[test]
fn a_folder_of_the_path_that_may_not_be_searched_is_named() {
    if geteuid().is_root() {
        skipped("root may search every folder");
        return;
    }
    let nobody = daemon(Value::Null).idle();
    let closed = nobody.sandbox.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let server = json!({ "command": "no-such-program", "env": { "PATH": format!("/nowhere:{}", closed.display()) } });
    let daemon = nobody.begin(&json!({ "mcpServers": { "bad": server } }));
    let row = daemon.until_upstream("bad", |bad| bad.last_exit.is_some());
    let last = row.last_exit.unwrap();
    assert!(
        last.contains("no-such-program") && last.contains(&closed.display().to_string()),
        "{last}"
    );
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    daemon.stop();
}
