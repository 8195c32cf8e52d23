//! The headers for the collector of `tracing.otlp`: read from the configuration or from a file,
//! variables expanded, and parsed. No message shows a value.

use super::{
    auth_files::{Held, contents},
    secret::Secret,
};
use crate::config::{
    layers::variables::expand,
    model::Config,
    problem::{Location, Problem, Severity},
};
use ggen_wire::Code;
use std::collections::BTreeMap;

const HEADERS: &str = "tracing.otlp.headers";
const FILE: &str = "tracing.otlp.headers_file";
/// Headers, at most.
const MOST: usize = 32;

/// Puts the headers that hold in the place of those that were written.
pub(crate) fn read(
    config: &mut Config,
    env: &BTreeMap<String, String>,
    place: &dyn Fn(&str) -> Location,
    problems: &mut Vec<Problem>,
) {
    let otlp = &mut config.tracing.otlp;
    let mut wrong = |code, path: &str, what: String| {
        problems.push(Problem::new(Severity::Error, code, place(path), path, what))
    };
    let mut open = None;
    let (path, text) = match (&otlp.headers, &otlp.headers_file) {
        (Some(_), Some(_)) => {
            return wrong(
                Code::ConfigValue,
                FILE,
                format!("stands beside {HEADERS}: one of them is enough"),
            );
        }
        (None, None) => return,
        (Some(headers), None) => match expand(headers.expose(), env) {
            Ok(text) => (HEADERS, text),
            Err(unexpanded) => return wrong(Code::ConfigVariable, HEADERS, unexpanded.what),
        },
        (None, Some(file)) if !file.is_absolute() => {
            return wrong(
                Code::ConfigValue,
                FILE,
                "expected an absolute path".to_owned(),
            );
        }
        (None, Some(file)) => match contents(file) {
            Ok(Held { others, text }) => {
                open = others.then(|| file.display().to_string());
                (FILE, text)
            }
            Err(error) => {
                return wrong(
                    Code::ConfigUnreadable,
                    FILE,
                    format!("{}: {error}", file.display()),
                );
            }
        },
    };
    match header_pairs(&text) {
        Ok(_) => otlp.headers = Some(Secret::new(text)),
        Err(what) => wrong(Code::ConfigValue, path, what),
    }
    if let Some(file) = open {
        let problem = Problem::new(
            Severity::Warning,
            Code::ConfigMode,
            place(FILE),
            FILE,
            format!("{file} may be read by others"),
        );
        problems.push(problem.help(format!("chmod 600 {file}")));
    }
}

/// `name=value,…`, values percent-encoded (OpenTelemetry, "Specifying headers via environment
/// variables").
///
/// # Errors
/// What is wrong, without any of the values.
pub fn header_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let members = text
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty());
    let pairs = members.enumerate().map(|(at, member)| {
        let at = at + 1;
        let (name, value) = member
            .split_once('=')
            .ok_or_else(|| format!("expected `name=value,…`, and number {at} has no `=`"))?;
        let name = http::HeaderName::try_from(name.trim())
            .map_err(|_| format!("the name of number {at} is not that of a header"))?;
        let value = decoded(value.trim())
            .filter(|value| http::HeaderValue::try_from(value.as_str()).is_ok());
        Ok((
            name.to_string(),
            value.ok_or_else(|| format!("the value of {name} cannot stand in a header"))?,
        ))
    });
    let pairs = pairs.collect::<Result<Vec<_>, String>>()?;
    if pairs.len() > MOST {
        Err(format!("holds more than {MOST} headers"))
    } else {
        Ok(pairs)
    }
}

/// RFC 3986 §2.1; what is not a valid escape stays as it is.
fn decoded(text: &str) -> Option<String> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%')
            .then(|| {
                text.get(at + 1..at + 3)
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            })
            .flatten();
        out.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn headers_are_taken_apart_and_what_is_wrong_is_not_shown() {
        let pairs = header_pairs(" Authorization=Bearer%20PLANT== , x-team=a%2Cb,").unwrap();
        let expected = [("authorization", "Bearer PLANT=="), ("x-team", "a,b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs, expected);
        assert!(header_pairs("").unwrap().is_empty());
        for bad in ["PLANT", "a b=PLANT", "a=PLANT%0A", "=PLANT", "a=PLANT%ff"] {
            let what = header_pairs(bad).unwrap_err();
            assert!(!what.contains("PLANT"), "{what}");
        }
        assert!(header_pairs(&(0..33).map(|at| format!("h{at}=v,")).collect::<String>()).is_err());
    }
}
