//! Tokens and credentials against keys made for the purpose, each check failing in turn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use super::{token::sign, *};
use crate::config::Secret;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ggen_wire::Code;
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Public keys without private ones: nothing can be signed with them.
const RSA: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnbPlt43d7NBAhrpISW4e\nBDGnAHGXrnRbsQTS2zcP6LsOd+PvAOujfyurNeoAfj6Yz/VSoTSsfcJ744F+jRXs\nV4g2sjyRoTTEntCbVHypvjgnI+Yw9tjgouynHMCozi/1dnYGU45xv2UvhrN1qMPY\nUvhJGGByiwop2nZ6KnXeQfYWujPMNPWWyKKlksYeqgasb/9+UerwA5M7IzT+b+/b\nrU0HGqBz6gjGSJOqncRTFSAL9qSGDppSt9uL5Ft30pvEHjMhOKYsHnlPXNYRdfzm\nP8PYW/A+x7TaHtc+af3c4KBhmV4jnWohvITKyQy2qSJuInG0jy/OZZYntkqKqSVN\nqwIDAQAB\n-----END PUBLIC KEY-----\n";
const EC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwbUPL/IcGIGgxISzwTelwzK57usB\n5zADJi4B0VxfUyM/56ok4GRzHxX73ZAVH8bLfvHIgvbVEuM3TpSJnVeUxA==\n-----END PUBLIC KEY-----\n";
const ED: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAD7T448n63GLjGdxOA2t8o4xTXHvjE7SbXUJPt4Zh6HA=\n-----END PUBLIC KEY-----\n";

fn settings() -> JwtSettings {
    JwtSettings {
        secret: Some(Secret::new(SECRET.to_owned())),
        issuer: Some("iss".to_owned()),
        audience: Some("aud".to_owned()),
        leeway: 30,
        ..JwtSettings::default()
    }
}

fn claims(change: &Value) -> Value {
    let mut claims =
        json!({"iss": "iss", "aud": "aud", "sub": "anna", "exp": NOW + 600, "jti": "j1"});
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    claims
}

fn token(change: &Value) -> String {
    sign(&claims(change), &Secret::new(SECRET.to_owned()), "HS256")
        .unwrap()
        .expose()
        .to_owned()
}

fn with_header(header: &Value, claims: &Value, signature: &str) -> String {
    format!(
        "{}.{}.{signature}",
        BASE64.encode(header.to_string()),
        BASE64.encode(claims.to_string())
    )
}

fn judge(text: &str) -> Result<Credential, Rejected> {
    let secrets = AuthSecrets {
        jwt: Some(settings()),
        revoked: vec!["gone".to_owned()],
        ..AuthSecrets::default()
    };
    Rulebook::new(secrets, None).judge(text, NOW)
}

fn why(text: &str) -> String {
    judge(text).expect_err(text).to_string()
}

#[test]
fn each_check_of_a_token_fails_under_its_own_name() {
    let good = judge(&token(&json!({"scope": "a b"}))).unwrap();
    assert_eq!(&*good.principal.id, "jwt:iss|anna");
    assert!(
        good.principal
            .labels
            .iter()
            .any(|label| &**label == "scope:b")
    );
    // Clocks may differ a little, in both directions.
    for change in [
        json!({"exp": NOW - 29}),
        json!({"nbf": NOW + 30}),
        json!({"aud": ["x", "aud"]}),
        json!({"jti": null}),
    ] {
        assert!(judge(&token(&change)).is_ok(), "{change}");
    }
    for (change, text) in [
        (json!({"exp": NOW - 180}), "Token expired 3m ago"),
        (
            json!({"nbf": NOW + 60}),
            "Token is not valid yet: it will be in 60s (or the clocks differ)",
        ),
        (json!({"exp": null}), "Token has no usable \"exp\""),
        (json!({"exp": "tomorrow"}), "Token has no usable \"exp\""),
        (json!({"nbf": "x"}), "Token has no usable \"nbf\""),
        (
            json!({"iss": "other"}),
            "Wrong issuer: expected \"iss\", found \"other\"",
        ),
        (
            json!({"aud": "other"}),
            "Wrong audience: expected \"aud\", found \"other\"",
        ),
        (
            json!({"aud": null}),
            "Wrong audience: expected \"aud\", found none",
        ),
        (
            json!({"sub": null}),
            "Token does not say whose it is: it has no \"sub\"",
        ),
        (json!({"jti": "gone"}), "Token was revoked"),
        (
            json!({"groups": (0..300).collect::<Vec<_>>()}),
            "Token has more scopes and claims than 190, or one over 4096 bytes",
        ),
    ] {
        assert_eq!(why(&token(&change)), text, "{change}");
    }
    let token = token(&json!({}));
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(why(&format!("{message}.AAAA")), "Invalid signature");
    assert_eq!(why(&format!("{message}.")), "Invalid signature");
    let other = sign(&claims(&json!({})), &Secret::new("x".repeat(32)), "HS256").unwrap();
    assert_eq!(why(other.expose()), "Invalid signature");
}

#[test]
fn the_key_decides_the_algorithm_and_never_the_token() {
    for name in ["none", "None", "RS256", "ES256", "EdDSA", "HS257", ""] {
        let text = why(&with_header(&json!({"alg": name}), &claims(&json!({})), ""));
        assert!(
            text.starts_with("Invalid signature: the token says algorithm"),
            "{name}: {text}"
        );
    }
    // What is signed with a public key's own text is not signed with its key.
    for (pem, algorithms) in [
        (RSA, ["RS256", "PS512"]),
        (EC, ["ES256", "ES256"]),
        (ED, ["EdDSA", "EdDSA"]),
    ] {
        let confused = sign(&claims(&json!({})), &Secret::new(pem.to_owned()), "HS256").unwrap();
        let secrets = AuthSecrets {
            jwt: Some(JwtSettings {
                secret: None,
                public_key: Some(pem.to_owned()),
                ..settings()
            }),
            ..AuthSecrets::default()
        };
        let rules = Rulebook::new(secrets, None);
        let rejected = rules.judge(confused.expose(), NOW).unwrap_err();
        assert_eq!(rejected.code(), Code::InvalidSignature);
        assert!(rejected.to_string().contains("HS256"), "{rejected}");
        for name in algorithms {
            let unsigned = with_header(&json!({"alg": name}), &claims(&json!({})), "AAAA");
            assert_eq!(
                rules.judge(&unsigned, NOW).unwrap_err(),
                Rejected::Token(TokenError::Signature),
                "{name}"
            );
        }
    }
    let only = |name: &str| {
        let jwt = JwtSettings {
            algorithm: Some(name.to_owned()),
            ..settings()
        };
        Rulebook::new(
            AuthSecrets {
                jwt: Some(jwt),
                ..AuthSecrets::default()
            },
            None,
        )
        .judge(&token(&json!({})), NOW)
        .is_ok()
    };
    assert!(only("HS256") && !only("HS512") && !only("RS256"));
}

#[test]
fn what_is_no_token_is_not_one() {
    let payload = BASE64.encode(claims(&json!({})).to_string());
    for bad in [
        "eyJ..",
        "eyJ.eyJ.x",
        &format!("eyJ!.{payload}.x"),
        &format!("{}.{payload}.x", BASE64.encode("[]")),
    ] {
        assert!(Token::parse(bad).is_err(), "{bad}");
    }
    for header in [
        json!({"alg": "HS256", "crit": ["exp"]}),
        json!({"alg": "HS256", "b64": false}),
        json!({"typ": "JWT"}),
    ] {
        assert!(
            Token::parse(&with_header(&header, &claims(&json!({})), "x")).is_err(),
            "{header}"
        );
    }
    assert!(
        Token::parse(&with_header(
            &json!({"alg": "HS256", "x": "y".repeat(20_000)}),
            &claims(&json!({})),
            "x"
        ))
        .is_err()
    );
    assert_eq!(
        judge("ggen_sk_nothing").unwrap_err().code(),
        Code::InvalidApiKey
    );
    assert_eq!(judge("").unwrap_err().code(), Code::InvalidApiKey);
}

#[test]
fn keys_open_until_they_expire_or_are_revoked() {
    let key = |id: &str, expires, revoked| KeyRecord {
        id: id.to_owned(),
        digest: digest(id),
        description: String::new(),
        client: Some("c".to_owned()),
        permissions: vec!["admin".to_owned()],
        tools: vec!["git__*".to_owned()],
        created: 0,
        expires,
        last_used: None,
        revoked,
    };
    let keys = vec![
        key("good", Some(NOW + 1), None),
        key("old", Some(NOW), None),
        key("bad", None, Some(1)),
    ];
    let files = crate::config::AuthFiles {
        api_key: Some(Secret::new("fixed".to_owned())),
        ..Default::default()
    };
    let snapshot = Snapshot {
        keys,
        revoked: Vec::new(),
    };
    let secrets = AuthSecrets::of(&crate::config::Config::default(), &files, &snapshot, false);
    assert!(
        secrets.required
            && !AuthSecrets::of(&crate::config::Config::default(), &files, &snapshot, true)
                .required
    );
    let secrets: AuthSecrets =
        serde_json::from_str(&serde_json::to_string(&secrets).unwrap()).unwrap();
    let rules = Rulebook::new(secrets, None);
    let good = rules.judge("good", NOW).unwrap();
    assert_eq!(
        (&*good.principal.id, good.key.as_deref()),
        ("key:good", Some("good"))
    );
    let labels: Vec<&str> = good.principal.labels.iter().map(|label| &**label).collect();
    assert_eq!(
        labels,
        ["key:good", "client:c", "role:admin", "only-tool:git__*"]
    );
    assert_eq!(
        &*rules.judge("fixed", NOW).unwrap().principal.id,
        "fixed-key"
    );
    for (text, why) in [
        ("old", "the key has expired"),
        ("bad", "the key was revoked"),
        ("none", "no such key"),
    ] {
        let rejected = rules.judge(text, NOW).unwrap_err();
        assert_eq!(
            (rejected.code(), rejected.to_string().as_str()),
            (Code::InvalidApiKey, why)
        );
    }
    assert_eq!(
        rules.judge(&token(&json!({})), NOW).unwrap_err(),
        Rejected::NoTokens
    );
}

#[test]
fn keys_of_an_issuer_are_taken_by_name_and_survive_a_change_of_settings() {
    const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"1"},
        {"kty":"oct","k":"c2VjcmV0","kid":"2"},{"kty":"RSA","use":"enc","n":"AQAB","e":"AQAB","kid":"3"},{"kty":"??"}]}"#;
    let oauth2 = OAuthSettings {
        issuer: "https://as".to_owned(),
        audience: Some("aud".to_owned()),
        scopes: vec!["mcp".to_owned()],
        leeway: 0,
    };
    let secrets = AuthSecrets {
        oauth2: Some(oauth2),
        ..AuthSecrets::default()
    };
    let rules = Rulebook::new(secrets.clone(), None);
    let text = |kid: &str| {
        with_header(
            &json!({"alg": "EdDSA", "kid": kid}),
            &claims(&json!({"iss": "https://as"})),
            "AAAA",
        )
    };
    assert!(
        rules.judge(&text("1"), NOW).unwrap_err().is_about_keys(),
        "nothing was fetched yet"
    );
    let source = rules.sources().next().unwrap().clone();
    assert_eq!(source, Source::Issuer("https://as".to_owned()));
    rules.fetched(&source, &std::sync::Arc::new(Keys::from_set(SET).unwrap()));
    let again = Rulebook::new(secrets, Some(&rules));
    for rules in [&rules, &again] {
        assert_eq!(
            rules.judge(&text("1"), NOW).unwrap_err(),
            Rejected::Token(TokenError::Signature)
        );
        for unknown in ["2", "3", "4"] {
            assert!(
                rules
                    .judge(&text(unknown), NOW)
                    .unwrap_err()
                    .is_about_keys(),
                "{unknown}"
            );
        }
    }
    for bad in [
        "",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#,
    ] {
        assert!(Keys::from_set(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_scope_is_granted_by_itself_or_from_above() {
    assert!(
        covers(&["mcp"], "mcp")
            && covers(&["mcp:*"], "mcp:read")
            && covers(&["mcp:*"], "mcp:read:x")
    );
    for granted in [&["mcp:read"][..], &["*"], &["mc*"], &["mcp"], &[]] {
        assert!(!covers(granted, "mcp:write"), "{granted:?}");
    }
}

#[test]
fn nothing_that_is_secret_is_shown() {
    let secrets = AuthSecrets {
        jwt: Some(settings()),
        ..AuthSecrets::default()
    };
    assert!(!format!("{secrets:?}").contains(SECRET));
    assert!(!format!("{:?}", Rulebook::new(secrets, None)).contains(SECRET));
}

proptest::proptest! {
    #[test]
    fn whatever_comes_is_judged_and_nothing_unsigned_opens(text in "\\PC{0,80}", parts in "(eyJ)?[A-Za-z0-9_.-]{0,120}") {
        proptest::prop_assert!(judge(&text).is_err() && judge(&parts).is_err());
        let _ = (Keys::from_set(&text), Keys::from_pem(&text));
    }
}
