//! Whatever comes as a credential is judged without a panic, and nothing opens that was not signed:
//! the judge knows a secret, a public key and a key set, none of which the fuzzer has. A key set is
//! read or refused.
#![no_main]

use ggend::{
    auth::{AuthSecrets, JwtSettings, Keys, Rulebook, Token},
    config::Secret,
};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"1"}]}"#;

fn rules() -> &'static Rulebook {
    static RULES: OnceLock<Rulebook> = OnceLock::new();
    RULES.get_or_init(|| {
        let jwt = JwtSettings {
            secret: Some(Secret::new("no input of the fuzzer knows this".to_owned())),
            jwks_url: Some("https://unused".to_owned()),
            ..JwtSettings::default()
        };
        let rules = Rulebook::new(AuthSecrets { jwt: Some(jwt), required: true, ..AuthSecrets::default() }, None);
        let source = rules.sources().next().expect("a source").clone();
        rules.fetched(&source, &std::sync::Arc::new(Keys::from_set(SET).expect("a key set")));
        rules
    })
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(token) = Token::parse(text) {
        let _ = token.claims().scopes();
    }
    assert!(rules().judge(text, 1_800_000_000).is_err());
    // Behind the prefix that makes it a token, too.
    assert!(rules().judge(&format!("eyJ{text}"), 1_800_000_000).is_err());
    let _ = Keys::from_set(text);
    let _ = Keys::from_pem(text);
});
