//! `ggen mcp auth …`: becomes `ggend auth`, which has the key store and needs no running daemon.

use super::certificates;
use crate::{args::Auth, context::Context, daemon, failed::Failed};
use std::ffi::OsString;

/// Becomes `ggend auth`; returns only when that fails.
pub(crate) fn run(context: &Context, verb: Auth) -> Failed {
    let verb = match verb {
        Auth::GenerateCa(options) => return certificates::authority(context, &options),
        Auth::GenerateCert(options) => return certificates::signed(context, &options),
        verb => verb,
    };
    let mut line: Vec<OsString> = Vec::new();
    line.extend(
        context
            .global
            .config
            .iter()
            .flat_map(|file| ["--config".into(), file.into()]),
    );
    line.push("auth".into());
    line.extend(context.out.json.then(|| "--json".into()));
    line.extend(context.out.quiet.then(|| "--quiet".into()));
    let mut shown = line.clone();
    let (word, options, operand) = parts(verb);
    line.push(word.into());
    shown.push(word.into());
    // `--name=value`: a value that begins with a dash is none the less one.
    let options = options
        .into_iter()
        .filter_map(|(name, value)| Some(OsString::from(format!("--{name}={}", value?))));
    line.extend(options);
    // What stands behind may be a secret, and is not repeated.
    line.extend(
        operand
            .into_iter()
            .flat_map(|operand| ["--".into(), operand.into()]),
    );
    context.say_program(&shown);
    daemon::become_daemon(&line)
}

type Parts = (
    &'static str,
    Vec<(&'static str, Option<String>)>,
    Option<String>,
);

fn parts(verb: Auth) -> Parts {
    match verb {
        Auth::GenerateApiKey {
            description,
            expires_in,
            client_id,
            permissions,
            tools,
        } => {
            let options = vec![
                ("description", description),
                ("expires-in", expires_in),
                ("client-id", client_id),
                ("permissions", permissions),
                ("tools", tools),
            ];
            ("generate-api-key", options, None)
        }
        Auth::ListApiKeys => ("list-api-keys", Vec::new(), None),
        Auth::RevokeApiKey { id } => ("revoke-api-key", Vec::new(), Some(id)),
        Auth::GenerateJwtSecret => ("generate-jwt-secret", Vec::new(), None),
        Auth::GenerateToken {
            subject,
            client_id,
            scope,
            claims,
            audience,
            expires_in,
        } => {
            let mut options = vec![
                ("subject", subject),
                ("client-id", client_id),
                ("scope", scope),
                ("audience", audience),
                ("expires-in", expires_in),
            ];
            options.extend(claims.into_iter().map(|claim| ("claim", Some(claim))));
            ("generate-token", options, None)
        }
        Auth::VerifyToken { token } => ("verify-token", Vec::new(), token),
        Auth::DecodeToken { token } => ("decode-token", Vec::new(), token),
        Auth::RevokeToken { token, jti } => ("revoke-token", vec![("jti", jti)], token),
        // Handed over before.
        Auth::GenerateCa(_) | Auth::GenerateCert(_) => ("help", Vec::new(), None),
    }
}
