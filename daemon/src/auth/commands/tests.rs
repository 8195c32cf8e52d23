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

#[test]
fn only_tokens_are_revoked_as_tokens() {
    const SECRET: &str = "0123456789abcdefghijklmnopqrstuv0123456789abc";
    let host = Host::new(&format!(
        r#"{{"auth":{{"api_key":"fixed-api-key-of-the-file","jwt":{{"secret":"{SECRET}"}}}}}}"#
    ));
    let made = host.json(&["generate-api-key"]);
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let revoked = |host: &Host| {
        let store = crate::auth::store::Store::open(&host.dir.path().join("state")).unwrap();
        store.snapshot().unwrap().revoked
    };
    for text in [key, id, "ggen_sk_mistyped", "fixed-api-key-of-the-file"] {
        for line in [
            &["revoke-token", text][..],
            &["revoke-token", "--jti", text],
        ] {
            let refusal = host.run(line, "").unwrap_err();
            assert!(
                refusal.exit == 1 && refusal.help[0].contains("revoke-api-key"),
                "{text}: {refusal:?}"
            );
            assert!(!refusal.message.contains(text));
        }
    }
    assert!(host.run(&["verify-token", key], "").is_ok());
    let forged = {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
        let part = |text: &str| BASE64.encode(text);
        let (head, claims) = (r#"{"alg":"HS256"}"#, r#"{"sub":"a","jti":"j","exp":1}"#);
        format!("{}.{}.AAAA", part(head), part(claims))
    };
    for nonsense in ["nonsense", "eyJ.eyJ.x", &forged] {
        let refusal = host.run(&["revoke-token", nonsense], "").unwrap_err();
        assert_eq!(refusal.exit, 1, "{nonsense}: {refusal:?}");
    }
    assert!(revoked(&host).is_empty());
    // A jti of another issuer, as it is.
    assert!(host.run(&["revoke-token", "--jti", "urn:x"], "").is_ok());
    assert_eq!(revoked(&host), ["urn:x"]);
}

#[test]
fn what_an_unverified_token_says_of_its_end_is_not_believed() {
    // The keys of this issuer cannot be fetched, so that nothing of the token is verified.
    let mut host =
        Host::new(r#"{"auth":{"jwt":{"jwks_url":"https://issuer.example/keys","issuer":"i"}}}"#);
    let token = {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
        let claims = r#"{"iss":"i","sub":"a","jti":"j","exp":1}"#;
        let header = r#"{"alg":"RS256","kid":"k"}"#;
        format!("{}.{}.AAAA", BASE64.encode(header), BASE64.encode(claims))
    };
    let answer = host.run(&["revoke-token"], &token).unwrap();
    assert!(answer.text.contains("could not be verified"), "{answer:?}");
    // `exp` is long ago, so that the next command would forget the revocation.
    host.now += Duration::from_secs(86_400);
    assert!(host.run(&["revoke-token", "--jti", "other"], "").is_ok());
    let again = host.run(&["revoke-token"], &token).unwrap();
    assert!(again.text.contains("before"), "{again:?}");
    // Of a verified one it is.
    let mut host = Host::new(r#"{"auth":{"jwt":{"secret":"0123456789abcdefghijklmnopqrstuv"}}}"#);
    let token = host.json(&["generate-token", "--expires-in", "1h"])["token"].clone();
    host.now += Duration::from_secs(3 * 3600);
    let answer = host
        .run(&["revoke-token"], token.as_str().unwrap())
        .unwrap();
    assert!(
        answer.text.contains("Token expired") && answer.json["revoked"] == false,
        "{answer:?}"
    );
}
