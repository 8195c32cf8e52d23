//! The gate: which header counts, what is answered, what a certificate adds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use super::{Authenticator, Denied, metadata_address};
use crate::{
    auth::{AuthSecrets, OAuthSettings},
    config::{AuthFiles, Config, Secret},
    worker::edge::peer::{Peer, PeerCertificate},
};
use ggen_wire::Code;
use http::{Request, StatusCode, request::Parts};
use std::{net::SocketAddr, sync::Arc, time::SystemTime};

fn secrets(required: bool) -> AuthSecrets {
    let files = AuthFiles {
        api_key: Some(Secret::new("the-key".to_owned())),
        ..AuthFiles::default()
    };
    AuthSecrets {
        required,
        ..AuthSecrets::of(&Config::default(), &files, &Default::default(), true)
    }
}

fn head(headers: &[(&str, &str)]) -> Parts {
    let request = headers
        .iter()
        .fold(Request::get("/mcp"), |request, (name, value)| {
            request.header(*name, *value)
        });
    request.body(()).unwrap().into_parts().0
}

fn peer() -> Peer {
    Peer::plain(SocketAddr::from(([127, 0, 0, 1], 1)))
}

fn check(required: bool, headers: &[(&str, &str)]) -> Result<String, Denied> {
    let gate = Authenticator::new(secrets(required));
    gate.check(&head(headers), &peer(), SystemTime::now())
        .map(|principal| principal.id.to_string())
}

#[test]
fn who_was_let_in_is_judged_again_for_as_long_as_the_connection_lives() {
    let gate = Authenticator::new(secrets(false));
    let still = |text, principal: &str| {
        gate.still(text, &principal.into(), SystemTime::now())
            .is_ok()
    };
    assert!(
        still(Some("the-key"), "fixed-key") && still(None, "anonymous") && still(None, "cert:a")
    );
    assert!(!still(Some("the-key"), "key:a") && !still(Some("other"), "fixed-key"));
    gate.set(AuthSecrets {
        fixed: None,
        ..secrets(true)
    });
    let still = |text, principal: &str| {
        gate.still(text, &principal.into(), SystemTime::now())
            .is_ok()
    };
    assert!(
        !still(Some("the-key"), "fixed-key") && !still(None, "anonymous") && still(None, "cert:a")
    );
}

#[test]
fn one_credential_in_one_of_two_headers() {
    for good in [
        &[("authorization", "Bearer the-key")][..],
        &[("authorization", "bearer  the-key ")],
        &[("x-api-key", "the-key")],
        &[
            ("authorization", "Bearer the-key"),
            ("x-api-key", "the-key"),
        ],
    ] {
        assert_eq!(check(true, good).as_deref(), Ok("fixed-key"), "{good:?}");
    }
    assert_eq!(check(false, &[]).as_deref(), Ok("anonymous"));
    // What is meant for a proxy does not disturb where nothing is needed, beside a key neither.
    let basic = ("authorization", "Basic dGhlLWtleQ==");
    assert_eq!(check(false, &[basic]).as_deref(), Ok("anonymous"));
    let with_key = [basic, ("x-api-key", "the-key")];
    assert_eq!(check(false, &with_key).as_deref(), Ok("fixed-key"));
    let refused = check(true, &[basic]).unwrap_err();
    assert_eq!(refused.code, Code::AuthenticationFailed);
    let none = check(true, &[]).unwrap_err();
    assert_eq!(
        (none.status, none.code, none.challenge.to_str().unwrap()),
        (
            StatusCode::UNAUTHORIZED,
            Code::AuthenticationFailed,
            "Bearer"
        )
    );
    for (bad, code) in [
        (
            &[("authorization", "Bearer other")][..],
            Code::InvalidApiKey,
        ),
        (&[("authorization", "the-key")], Code::AuthenticationFailed),
        (&[("authorization", "Bearer ")], Code::AuthenticationFailed),
        (&[("x-api-key", "")], Code::AuthenticationFailed),
        (&[("x-api-key", "\u{e9}")], Code::AuthenticationFailed),
        (
            &[("authorization", "Bearer the-key"), ("x-api-key", "other")],
            Code::AuthenticationFailed,
        ),
        (
            &[
                ("authorization", "Bearer the-key"),
                ("authorization", "Bearer other"),
            ],
            Code::AuthenticationFailed,
        ),
    ] {
        // What is wrong is refused, also where nothing is needed.
        for required in [true, false] {
            assert_eq!(
                check(required, bad).map_err(|denied| denied.code),
                Err(code),
                "{bad:?}"
            );
        }
    }
}

#[test]
fn a_certificate_is_a_credential_and_a_refused_one_is_the_end() {
    let gate = Authenticator::new(secrets(true));
    let certificate = PeerCertificate {
        name: "anna".to_owned(),
        names: vec!["anna".to_owned(), "anna@x".to_owned()],
        chain: Vec::new(),
    };
    let known = Peer {
        certificate: Some(Arc::new(certificate)),
        ..peer()
    };
    let found = gate.check(&head(&[]), &known, SystemTime::now()).unwrap();
    assert_eq!((&*found.id, found.labels.len()), ("cert:anna", 2));
    let both = gate
        .check(
            &head(&[("x-api-key", "the-key")]),
            &known,
            SystemTime::now(),
        )
        .unwrap();
    assert_eq!((&*both.id, &*both.labels[0]), ("fixed-key", "cert:anna"));
    assert!(
        gate.check(&head(&[("x-api-key", "wrong")]), &known, SystemTime::now())
            .is_err()
    );
    let refused = Peer {
        refused: Some("expired".into()),
        ..known
    };
    assert!(
        gate.check(
            &head(&[("x-api-key", "the-key")]),
            &refused,
            SystemTime::now()
        )
        .is_err()
    );
}

#[test]
fn oauth_clients_are_told_where_to_go() {
    let oauth2 = OAuthSettings {
        issuer: "https://as.example".to_owned(),
        audience: Some("https://mcp.example/mcp".to_owned()),
        scopes: vec!["mcp:use".to_owned(), "offline_access".to_owned()],
        leeway: 0,
    };
    let gate = Authenticator::new(AuthSecrets {
        oauth2: Some(oauth2),
        ..secrets(true)
    });
    let denied = gate
        .check(
            &head(&[("host", "evil.example")]),
            &peer(),
            SystemTime::now(),
        )
        .unwrap_err();
    let expected = r#"Bearer scope="mcp:use offline_access", resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp""#;
    assert_eq!(denied.challenge, expected);
    let metadata: serde_json::Value = serde_json::from_str(&gate.metadata("").unwrap()).unwrap();
    assert_eq!(metadata["resource"], "https://mcp.example/mcp");
    assert_eq!(metadata["authorization_servers"][0], "https://as.example");
    assert_eq!(metadata["scopes_supported"], serde_json::json!(["mcp:use"]));
    assert!(Authenticator::new(secrets(true)).metadata("/mcp").is_none());
    let resource = |path: &str| {
        let text = gate.metadata(path)?;
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["resource"].as_str().map(str::to_owned)
    };
    for (path, expected) in [
        ("", Some("https://mcp.example/mcp")),
        ("/mcp", Some("https://mcp.example/mcp")),
        ("/mcp/a%20b", Some("https://mcp.example/mcp/a%20b")),
        ("/mcpx", None),
        ("/mcp/a/b", None),
        ("/tools", None),
    ] {
        assert_eq!(resource(path).as_deref(), expected, "{path}");
    }
    assert_eq!(
        metadata_address("https://a").as_deref(),
        Some("https://a/.well-known/oauth-protected-resource")
    );
}

#[test]
fn keys_that_are_used_are_told_once() {
    let key = crate::auth::KeyRecord {
        id: "k1".to_owned(),
        digest: crate::auth::digest("k"),
        description: String::new(),
        client: None,
        permissions: Vec::new(),
        tools: Vec::new(),
        created: 0,
        expires: None,
        last_used: None,
        revoked: None,
    };
    let gate = Authenticator::new(AuthSecrets {
        keys: vec![key],
        ..AuthSecrets::default()
    });
    assert!(
        gate.check(&head(&[("x-api-key", "k")]), &peer(), SystemTime::now())
            .is_ok()
    );
    assert_eq!(gate.take_used().len(), 1);
    assert!(gate.take_used().is_empty());
    // Revoked: gone with the next secrets.
    gate.set(AuthSecrets::default());
    assert!(
        gate.check(&head(&[("x-api-key", "k")]), &peer(), SystemTime::now())
            .is_err()
    );
}
