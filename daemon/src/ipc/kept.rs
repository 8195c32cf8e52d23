//! What the gateway worker has the supervisor store for its successor: sessions and catalogues.
//! Their texts are the relay's own; nobody else parses them.

use serde::{Deserialize, Serialize};

/// Gateway worker → supervisor: something to keep, or to keep no more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "keep", rename_all = "snake_case")]
pub enum Keep {
    /// A session as it stands now.
    Session {
        /// What it is kept under; no client can open the session with it.
        digest: String,
        /// The relay's text about it.
        record: String,
        /// To be answered with `ToWorker::Kept` once it is stored.
        ticket: Option<u64>,
    },
    /// A session is over.
    Ended {
        /// What it was kept under.
        digest: String,
    },
    /// Sessions were used just now.
    Used {
        /// What they are kept under.
        digests: Vec<String>,
    },
    /// What an upstream gives.
    Catalogue {
        /// Its name.
        upstream: String,
        /// The relay's text about it; empty: nothing is to be kept.
        text: String,
    },
}

/// Supervisor → gateway worker: a session of an earlier life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSession {
    /// What it was kept under.
    pub digest: String,
    /// The relay's text about it.
    pub record: String,
    /// For how long nobody has used it, in seconds.
    pub idle: u64,
}

/// Supervisor → gateway worker: what an upstream gave in an earlier life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCatalogue {
    /// Its name.
    pub upstream: String,
    /// The relay's text about it.
    pub text: String,
}

/// Splits a list into pieces that fit well into a frame of the control channel: at most a mebibyte
/// each, but for single items that are longer.
pub fn pieces<T>(items: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    const PIECE: usize = 1 << 20;
    let (mut pieces, mut length) = (Vec::new(), PIECE);
    for item in items {
        let more = size(&item) + 256;
        if length + more > PIECE {
            pieces.push(Vec::new());
            length = 0;
        }
        length += more;
        if let Some(last) = pieces.last_mut() {
            last.push(item);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn nothing_is_lost_between_pieces() {
        let items: Vec<usize> = (0..5000)
            .map(|n| n * 7 % 1000 + if n == 17 { 3 << 20 } else { 0 })
            .collect();
        let cut = pieces(items.clone(), |item| *item);
        assert!(
            cut.len() > 3
                && cut.iter().all(|piece| piece.len() == 1
                    || piece.iter().map(|item| item + 256).sum::<usize>() <= 1 << 20)
        );
        assert_eq!(cut.concat(), items);
        assert!(pieces(Vec::<usize>::new(), |item| *item).is_empty());
    }
}
