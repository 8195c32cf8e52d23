//! The verbs on a temporary state directory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use super::{Answer, Environment, Options, Refusal, play};
use crate::config::LoadOptions;
use clap::Parser;
use ggen_wire::Code;
use serde_json::Value;
use std::{
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

struct Host {
    dir: TempDir,
    load: LoadOptions,
    now: SystemTime,
}

impl Host {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".mcp.json"), config).unwrap();
        let load = LoadOptions {
            cwd: dir.path().into(),
            etc: dir.path().join("etc"),
            user_mode: true,
            ..LoadOptions::default()
        };
        Self {
            dir,
            load,
            now: SystemTime::now(),
        }
    }

    fn run(&self, line: &[&str], input: &str) -> Result<Answer, Refusal> {
        let parsed = Line::try_parse_from([&["auth"], line].concat()).unwrap();
        let environment = Environment {
            load: &self.load,
            state: self.dir.path().join("state"),
            now: self.now,
            fetch: &|_| Err("no network here".to_owned()),
            input: &|| Ok(input.to_owned()),
        };
        play(&parsed.options.verb, &environment)
    }

    fn json(&self, line: &[&str]) -> Value {
        self.run(line, "").unwrap().json
    }
}

#[test]
fn a_key_is_shown_once_listed_judged_and_revoked() {
    let mut host = Host::new("{}");
    assert_eq!(
        host.json(&["list-api-keys"])["keys"],
        Value::Array(Vec::new())
    );
    let line = [
        "generate-api-key",
        "--description",
        "ci",
        "--expires-in",
        "90d",
        "--client-id",
        "c",
        "--permissions",
        "a,b",
        "--tools",
        "git__*",
    ];
    let made = host.json(&line);
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(key.starts_with("ggen_sk_") && key.len() == 51);
    assert_eq!(
        std::fs::metadata(host.dir.path().join("state/auth.sqlite"))
            .unwrap()
            .mode()
            & 0o777,
        0o600
    );
    let list = host.run(&["list-api-keys"], "").unwrap();
    assert!(
        list.text.contains("ci [git__*]")
            && list.text.contains("active")
            && !list.text.contains(key),
        "{}",
        list.text
    );
    for entry in std::fs::read_dir(host.dir.path().join("state")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(
            !bytes.windows(20).any(|part| part == &key.as_bytes()[..20]),
            "the key itself is stored"
        );
    }
    assert!(
        host.run(&["verify-token"], key)
            .unwrap()
            .text
            .starts_with(&format!("Valid: key:{id}"))
    );
    assert_eq!(
        host.run(&["verify-token", "ggen_sk_x"], "")
            .unwrap_err()
            .code,
        Some(Code::InvalidApiKey)
    );
    host.now += Duration::from_secs(91 * 86_400);
    assert_eq!(
        host.run(&["verify-token", key], "").unwrap_err().message,
        "Invalid API key: the key has expired"
    );
    assert_eq!(
        host.json(&["list-api-keys"])["keys"][0]["status"],
        "expired"
    );
    let refusal = host.run(&["revoke-api-key", "nobody"], "").unwrap_err();
    assert!(refusal.exit == 1 && !refusal.message.contains("nobody"));
    assert_eq!(
        host.run(&["revoke-api-key", "-"], key).unwrap().json["status"],
        "revoked"
    );
    assert!(
        host.run(&["revoke-api-key", id], "")
            .unwrap()
            .text
            .contains("before")
    );
}

#[test]
fn a_token_is_made_judged_shown_and_revoked() {
    let host = Host::new("{}");
    assert_eq!(host.run(&["generate-token"], "").unwrap_err().exit, 78);
    let secret = host.json(&["generate-jwt-secret"])["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut host = Host::new(&format!(
        r#"{{"auth":{{"jwt":{{"secret":"{secret}","issuer":"i","audience":"a"}}}}}}"#
    ));
    let line = [
        "generate-token",
        "--subject",
        "anna",
        "--scope",
        "x,y",
        "--claim",
        "team=\"red\"",
        "--claim",
        "level=3",
        "--expires-in",
        "1h",
    ];
    let made = host.json(&line);
    let token = made["token"].as_str().unwrap();
    let shown = host.run(&["verify-token", "-"], token).unwrap();
    assert!(
        shown.text.contains("Valid: jwt:i|anna")
            && shown.text.contains("claim:level=3")
            && shown.text.contains("scope:y"),
        "{}",
        shown.text
    );
    let decoded = host.run(&["decode-token"], token).unwrap();
    assert_eq!(
        (
            &decoded.json["claims"]["team"],
            &decoded.json["header"]["alg"]
        ),
        (&"red".into(), &"HS256".into())
    );
    host.now += Duration::from_secs(3600 + 180);
    let expired = host.run(&["verify-token", token], "").unwrap_err();
    assert_eq!(
        (expired.code, expired.message.as_str(), expired.exit),
        (Some(Code::TokenExpired), "Token expired 3m ago", 1)
    );
    host.now -= Duration::from_secs(3600);
    assert!(host.run(&["revoke-token", "-"], token).is_ok());
    assert!(
        host.run(&["revoke-token", made["jti"].as_str().unwrap()], "")
            .unwrap()
            .text
            .contains("before")
    );
    assert_eq!(
        host.run(&["verify-token", token], "").unwrap_err().message,
        "Authentication failed: Token was revoked"
    );
    for bad in [
        &["generate-token", "--claim", "exp=1"][..],
        &["generate-token", "--claim", "x"],
    ] {
        assert_eq!(host.run(bad, "").unwrap_err().exit, 2);
    }
    assert_eq!(host.run(&["verify-token"], " ").unwrap_err().exit, 2);
}
