//! Bounded label values: a label that clients or upstreams can choose must not grow the registry
//! without end.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// What a value past the bound is counted under.
pub(super) const OTHER: &str = "other";

/// The first so many distinct values are kept as they are, every later one becomes [`OTHER`].
#[derive(Debug)]
pub struct Bounded {
    most: usize,
    seen: Mutex<HashSet<Box<str>>>,
}

impl Bounded {
    /// At most `most` distinct values.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            seen: Mutex::default(),
        }
    }

    /// `value` itself, or [`OTHER`].
    pub fn of<'a>(&self, value: &'a str) -> &'a str {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(value) {
            return value;
        }
        if seen.len() >= self.most {
            return OTHER;
        }
        seen.insert(value.into());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    #[test]
    fn the_first_values_stay_and_later_ones_are_other() {
        let tools = Bounded::new(2);
        assert_eq!(
            [tools.of("a"), tools.of("b"), tools.of("c"), tools.of("a")],
            ["a", "b", "other", "a"]
        );
    }
}
