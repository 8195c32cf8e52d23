//! The page of each error code: what it means, where it comes from, how to fix it. `ggen mcp
//! explain CODE` prints it. Every command exists, in `ggen`, in `ggend` or on an ordinary system (a
//! test in `ctl` parses ours). Words in angle brackets stand for values.

use crate::Code;

/// What a person reads about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// One or two sentences.
    pub meaning: &'static str,
    /// Where it comes from, likeliest first.
    pub causes: &'static [&'static str],
    /// How to fix it, the likeliest way first.
    pub help: &'static [Help],
}

/// One way to fix it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Help {
    /// What to do.
    pub what: &'static str,
    /// The command; empty where none exists.
    pub command: &'static str,
}

/// `find`: the page of a code, if it is one of the list.
macro_rules! pages {
    ($($code:ident: $meaning:literal;
        because [$($cause:literal),* $(,)?];
        help [$($what:literal => $command:literal),* $(,)?];)*) => {
        pub(super) const fn find(code: Code) -> Option<Page> {
            match code {
                $(Code::$code => Some(Page {
                    meaning: $meaning,
                    causes: &[$($cause),*],
                    help: &[$(Help { what: $what, command: $command }),*],
                }),)*
                _ => None,
            }
        }
    };
}

mod access;
mod host;
mod requests;
mod setup;

impl Code {
    /// The code's page. A test sees to it that every code has one.
    #[must_use]
    pub fn page(self) -> Page {
        let page = [setup::find, requests::find, access::find, host::find]
            .iter()
            .find_map(|find| find(self));
        page.unwrap_or(Page {
            meaning: "",
            causes: &[],
            help: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::Code;

    #[test]
    fn every_page_says_something_and_offers_a_way_out() {
        for code in Code::ALL {
            let page = code.page();
            assert!(
                page.meaning.ends_with('.') && !page.causes.is_empty() && !page.help.is_empty(),
                "{code}"
            );
            assert!(
                page.causes
                    .iter()
                    .chain(page.help.iter().map(|help| &help.what))
                    .all(|text| !text.is_empty()),
                "{code}"
            );
        }
    }
}
