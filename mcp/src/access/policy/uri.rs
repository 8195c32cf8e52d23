//! The spellings of a resource's URI. Rules are about what a URI leads to, and servers read one
//! spelling like another: an escaped character like the character, two slashes like one, a host in
//! capitals like one without. Pure.

use unicode_normalization::UnicodeNormalization;

/// Times that the form of a text in Unicode is made one.
const FORMS: usize = 4;

/// What a URI may be read as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spellings {
    /// In its plainest spelling.
    pub(super) plain: String,
    /// The same without fragment, then without query, and without slashes at its end, where that
    /// makes a difference: a server may not look at them.
    pub(super) shorter: Vec<String>,
    /// It has dot segments or escapes that are no UTF-8 and some take for it, so that a server may
    /// read it as another path.
    pub(super) winds: bool,
}

impl Spellings {
    /// Of a URI as a server uses it.
    pub(super) fn of(uri: &str) -> Self {
        let plain = plain(uri);
        let mut shorter = Vec::new();
        let mut rest = plain.as_str();
        for end in ['#', '?'] {
            if let Some((before, _)) = rest.split_once(end) {
                rest = before;
                shorter.push(rest.to_owned());
            }
        }
        let trimmed = rest.trim_end_matches('/');
        if trimmed.len() < rest.len() && !trimmed.ends_with(':') {
            shorter.push(trimmed.to_owned());
        }
        let winds = [uri, &plain].iter().any(|spelling| {
            spelling
                .split(['/', '\\', '?', '#'])
                .any(|part| part == ".." || part == ".")
        }) || is_odd(&plain);
        Self {
            plain,
            shorter,
            winds,
        }
    }
}

/// The plainest spelling of a URI, or of a glob over URIs: its wildcards stay what they are.
pub(super) fn plain(uri: &str) -> String {
    // As browsers' URL parsers do, and those of many servers with them.
    let mut text: String = uri
        .trim_matches(|c: char| c.is_control() || c == ' ')
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
        .collect();
    text = unescaped(&text);
    // One character has many forms in Unicode (composed, full width, ligatures), and one of them may
    // be an escape again.
    for _ in 0..FORMS {
        if text.is_ascii() {
            break;
        }
        let form = unescaped(&text.nfkc().collect::<String>());
        if form == text {
            break;
        }
        text = form;
    }
    let text = text.replace('\\', "/");
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return single_slashes(&text);
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "file" {
        return format!("file:///{}", file_path(rest));
    }
    let Some(rest) = rest.strip_prefix("//") else {
        return format!("{scheme}:{}", single_slashes(rest));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
        .to_lowercase();
    let port = match scheme.as_str() {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => ":",
    };
    let host = host.strip_suffix(port).unwrap_or(&host);
    let host = host.strip_suffix('.').unwrap_or(host);
    format!("{scheme}://{host}{}", single_slashes(path))
}

/// The path behind `file:`, whose host is this one, however many slashes there are.
fn file_path(rest: &str) -> String {
    let path = match rest.strip_prefix("//") {
        Some(rest) if !rest.starts_with('/') => {
            let host = rest.find('/').unwrap_or(rest.len());
            match &rest[..host] {
                name if name.eq_ignore_ascii_case("localhost") => &rest[host..],
                _ => rest,
            }
        }
        _ => rest,
    };
    single_slashes(path.trim_start_matches('/'))
}

/// The text with its escapes taken out, however often they were escaped. What would be a wildcard or
/// is no UTF-8 stays.
fn unescaped(text: &str) -> String {
    let mut bytes: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        bytes.push(byte);
        // What was made of an escape may be the end of another one.
        while let [.., b'%', high, low] = bytes[..] {
            match digit(high)
                .zip(digit(low))
                .map(|(high, low)| high << 4 | low)
            {
                Some(byte) if !matches!(byte, b'*' | b'?') => {
                    bytes.truncate(bytes.len() - 3);
                    bytes.push(byte);
                }
                _ => break,
            }
        }
    }
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

/// Whether a text has an escape that some decoders take for another character: UTF-8 that is longer
/// than it may be (`%c0%af` for a slash), or `%u002f`.
fn is_odd(plain: &str) -> bool {
    plain.split('%').skip(1).any(|rest| {
        let rest = rest.to_ascii_lowercase();
        ["c0", "c1", "u"].iter().any(|odd| rest.starts_with(odd))
            || (rest.starts_with("e0") || rest.starts_with("f0"))
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn single_slashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Spellings, plain};

    #[test]
    fn one_place_has_one_plain_spelling() {
        for spelling in [
            "file:///secret/a",
            "file:///%73ecret/a",
            "file:///%2573ecret/a",
            "file:////secret//a",
            "file:///secret%2Fa",
            "file:///secret%2fa",
            "FILE:///secret/a",
            "file:\\\\\\secret\\a",
            "file:/secret/a",
            "file://localhost/secret/a",
            " file:///sec\tret/a\n",
            "file:///%2525252525252573ecret/a",
            "file:///%25%37%33ecret/a",
            "file:///\u{ff53}ecret/a",
            "file:///\u{ff05}73ecret/a",
            "file:///%ef%bd%93ecret\u{ff0f}a",
        ] {
            assert_eq!(plain(spelling), "file:///secret/a", "{spelling}");
        }
        for spelling in [
            "http://host/a",
            "HTTP://HOST/a",
            "http://u:p@host:80/a",
            "http://host//a",
            "http://host%2Fa",
            "http://host./a",
            "http://\u{ff28}OST/a",
        ] {
            assert_eq!(plain(spelling), "http://host/a", "{spelling}");
        }
        assert_ne!(plain("file:///Secret"), plain("file:///secret"));
        assert_eq!(plain("file:///%ff%2a%3f"), "file:///%ff%2a%3f");
        assert_eq!(plain("file:///%FF%73"), "file:///%ffs");
        assert_eq!(plain("file:///e\u{301}"), plain("file:///%C3%A9"));
    }

    #[test]
    fn what_a_server_may_not_look_at_is_left_out() {
        let shorter = |uri| Spellings::of(uri).shorter;
        assert_eq!(shorter("x:/a?/x#y"), ["x:/a?/x", "x:/a"]);
        assert_eq!(shorter("x:/a#/x"), ["x:/a"]);
        assert_eq!(shorter("x:/a/"), ["x:/a"]);
        assert_eq!(shorter("x:/a"), [""; 0]);
        for uri in [
            "x:/a/%2e%2e/b",
            "x:/a/%252e%252E/b",
            "x:/a\\..\\b",
            "x:/./b",
            "x:/\u{ff0e}\u{ff0e}/b",
            "x:/\u{2025}/b",
            "x:/a%c0%afb",
            "x:/a%25c0%25afb",
            "x:/a%u002fb",
            "x:/a%e0%80%afb",
        ] {
            assert!(Spellings::of(uri).winds, "{uri}");
        }
        assert!(!Spellings::of("x:/a...b").winds);
    }
}
