//! Where a listening socket is from.

use serde::{Deserialize, Serialize};

/// The service manager keeps sockets of ours under names that begin with this. So they are told
/// from those of socket units.
pub(crate) const KEPT: &str = "kept-";

/// Where a listening socket is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub(crate) enum Origin {
    /// It was bound here.
    Bound,
    /// The service manager has kept it from our last life.
    Kept,
    /// It is a socket unit's.
    Inherited,
}

impl Origin {
    /// As it is shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Kept => "kept",
            Self::Inherited => "inherited",
        }
    }
}

impl From<Origin> for &'static str {
    fn from(origin: Origin) -> Self {
        origin.as_str()
    }
}

impl From<String> for Origin {
    /// What a later version calls otherwise counts as bound.
    fn from(name: String) -> Self {
        [Self::Kept, Self::Inherited]
            .into_iter()
            .find(|known| known.as_str() == name)
            .unwrap_or(Self::Bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_by_its_name_and_an_unknown_one_counts_as_bound() {
        for origin in [Origin::Bound, Origin::Kept, Origin::Inherited] {
            let text = serde_json::to_string(&origin).unwrap();
            assert_eq!(text, format!("{:?}", origin.as_str()));
            assert_eq!(serde_json::from_str::<Origin>(&text).unwrap(), origin);
        }
        let later: Origin = serde_json::from_str("\"lent\"").unwrap();
        assert_eq!(later, Origin::Bound);
    }
}
