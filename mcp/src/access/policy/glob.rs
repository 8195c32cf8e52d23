//! Globs over names: `*` stands for any number of characters (also none, also slashes), `?` for
//! exactly one; everything else for itself, case and all. There is no escape and no negation.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

impl Glob {
    /// Any text is a pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Whether it is for everything, whatever it is called.
    #[must_use]
    pub fn is_all(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte == b'*')
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text is meant. Takes at most its length times the pattern's steps, whatever either
    /// holds.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        matches(&self.0, text)
    }

    /// Whether there may be a text with this beginning that is meant. Says yes in doubt.
    #[must_use]
    pub fn may_begin(&self, beginning: &str) -> bool {
        let literal = self.0.find(['*', '?']).map_or(&*self.0, |at| &self.0[..at]);
        let short = literal.len().min(beginning.len());
        literal.as_bytes()[..short] == beginning.as_bytes()[..short]
            && (literal.len() < self.0.len() || literal.len() >= beginning.len())
    }
}

/// The part of the pattern after the last star is moved along the text until it fits; an earlier
/// star never has to be tried again.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let at = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = at;
                star = Some((pattern.clone(), text.clone()));
                continue;
            }
            (Some('?'), Some(_)) => continue,
            (Some(want), Some(have)) if want == have => continue,
            _ => {}
        }
        let Some((after, from)) = &mut star else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        (pattern, text) = (after.clone(), from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, by trying everything.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                slow(rest, text) || !text.is_empty() && slow(pattern, &text[1..])
            }
            (['?', rest @ ..], [_, more @ ..]) => slow(rest, more),
            ([want, rest @ ..], [have, more @ ..]) => want == have && slow(rest, more),
            _ => false,
        }
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("key:*", "key:a/b", true),
            ("cert:*.example", "cert:a.b.example", true),
            ("cert:*.example", "cert:example", false),
            ("get_?", "get_", false),
            ("get_?", "get_ä", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "", true),
            ("", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
        // What makes naive matchers take for ever.
        assert!(!Glob::new(&format!("{}b", "*a".repeat(500))).matches(&"a".repeat(5000)));
    }

    #[test]
    fn beginnings() {
        for (pattern, beginning, expected) in [
            ("github__*", "github__", true),
            ("git*", "github__", true),
            ("github__get", "github__", true),
            ("github", "github__", false),
            ("jira__*", "github__", false),
            ("*", "github__", true),
            ("?ithub__x", "github__", true),
        ] {
            assert_eq!(
                Glob::new(pattern).may_begin(beginning),
                expected,
                "{pattern}"
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[abä]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Glob::new(&pattern).matches(&text), slow(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn what_matches_may_begin_so(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}", cut in 0usize..8) {
            if Glob::new(&pattern).matches(&text) {
                prop_assert!(Glob::new(&pattern).may_begin(&text[..cut.min(text.len())]));
            }
        }

        #[test]
        fn a_text_matches_itself_and_any_pattern_ends(text in "[^*?]{0,20}", wild in ".{0,40}") {
            prop_assert!(Glob::new(&text).matches(&text));
            let _ = Glob::new(&wild).matches(&text);
        }
    }
}
