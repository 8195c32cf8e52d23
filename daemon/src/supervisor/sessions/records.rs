//! The records that the session store holds, and which of them are not written yet. Pure: the time
//! is an argument, and what is to be written comes out as a [`Batch`].

use super::sqlite::{Batch, Stored};
use crate::{
    auth::hex,
    config::{Config, Upstream},
    ipc::{
        kept::{Keep, KeptCatalogue, KeptSession, pieces},
        messages::ToWorker,
    },
};
use sha2::{Digest, Sha256};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// So many sessions are held beyond the configured number: some may be over without anybody having
/// said so.
pub(super) const SPARE: usize = 1000;
/// Bytes of sessions that are held, and of catalogues.
const BYTES: usize = 128 << 20;

struct Session {
    record: String,
    /// When it was last used, in seconds since 1970.
    used: u64,
}

/// What an upstream listed.
#[derive(Clone, PartialEq, Eq)]
struct Catalogue {
    /// Digest of the upstream's entry in the configuration.
    entry: String,
    text: String,
}

/// All records.
pub(super) struct Records {
    /// By digest.
    sessions: BTreeMap<String, Session>,
    /// Bytes of all session records.
    bytes: usize,
    /// By upstream.
    catalogues: BTreeMap<String, Catalogue>,
    /// Goes into the digests of entries.
    salt: Vec<u8>,
    /// Sessions that are not written yet.
    changed_sessions: BTreeSet<String>,
    /// Catalogues that are not written yet.
    changed_catalogues: BTreeSet<String>,
    /// Nothing in the file counts: everything is to be written.
    whole: bool,
}

impl Records {
    pub(super) fn of(stored: Stored) -> Self {
        let sessions: BTreeMap<_, _> = stored
            .sessions
            .into_iter()
            .map(|(digest, record, used)| (digest, Session { record, used }))
            .collect();
        let catalogues = stored
            .catalogue
            .into_iter()
            .map(|(upstream, entry, text)| (upstream, Catalogue { entry, text }))
            .collect();
        Self {
            bytes: sessions.values().map(|session| session.record.len()).sum(),
            sessions,
            catalogues,
            salt: stored.salt,
            changed_sessions: BTreeSet::new(),
            changed_catalogues: BTreeSet::new(),
            whole: false,
        }
    }

    /// A copy of everything.
    pub(super) fn all(&self) -> Stored {
        let session = |(digest, session): (&String, &Session)| {
            (digest.clone(), session.record.clone(), session.used)
        };
        let catalogue = |(upstream, held): (&String, &Catalogue)| {
            (upstream.clone(), held.entry.clone(), held.text.clone())
        };
        Stored {
            sessions: self.sessions.iter().map(session).collect(),
            catalogue: self.catalogues.iter().map(catalogue).collect(),
            salt: self.salt.clone(),
        }
    }

    /// Everything is to be written with the next batch.
    pub(super) fn mark_all(&mut self) {
        self.whole = true;
        self.changed_sessions.clear();
        self.changed_catalogues.clear();
    }

    /// What is not written yet, which counts as written from now on. `None`: nothing is.
    pub(super) fn batch(&mut self) -> Option<Batch> {
        let whole = std::mem::take(&mut self.whole);
        if whole {
            self.changed_sessions = self.sessions.keys().cloned().collect();
            self.changed_catalogues = self.catalogues.keys().cloned().collect();
        } else if self.changed_sessions.is_empty() && self.changed_catalogues.is_empty() {
            return None;
        }
        let session = |digest: String| {
            let kept = self.sessions.get(&digest);
            let kept = kept.map(|session| (session.record.clone(), session.used));
            (digest, kept)
        };
        let catalogue = |upstream: String| {
            let kept = self.catalogues.get(&upstream);
            let kept = kept.map(|held| (held.entry.clone(), held.text.clone()));
            (upstream, kept)
        };
        let sessions = std::mem::take(&mut self.changed_sessions);
        let catalogues = std::mem::take(&mut self.changed_catalogues);
        Some(Batch {
            whole,
            sessions: sessions.into_iter().map(session).collect(),
            catalogue: catalogues.into_iter().map(catalogue).collect(),
            salt: if whole { self.salt.clone() } else { Vec::new() },
        })
    }

    /// Takes over what a gateway worker gives.
    pub(super) fn keep(&mut self, keep: Keep, config: &Config, now: u64) {
        match keep {
            Keep::Session { digest, record, .. } => {
                self.add_session(digest, Session { record, used: now });
                self.drop_surplus(config);
            }
            Keep::Ended { digest } => self.end_session(digest),
            Keep::Used { digests } => {
                for digest in digests {
                    if let Some(session) = self.sessions.get_mut(&digest) {
                        session.used = now;
                        self.changed_sessions.insert(digest);
                    }
                }
            }
            Keep::Catalogue { upstream, text } => self.keep_catalogue(upstream, text, config),
        }
    }

    fn add_session(&mut self, digest: String, session: Session) {
        self.changed_sessions.insert(digest.clone());
        self.bytes += session.record.len();
        if let Some(before) = self.sessions.insert(digest, session) {
            self.bytes -= before.record.len();
        }
    }

    /// Drops the sessions that were not used for longest, until what is held is within its bounds.
    fn drop_surplus(&mut self, config: &Config) {
        let most = usize::try_from(config.rate_limit.max_sessions)
            .unwrap_or(usize::MAX)
            .saturating_add(SPARE);
        while self.sessions.len() > most || self.bytes > BYTES {
            let oldest = self
                .sessions
                .iter()
                .min_by_key(|(_, session)| session.used)
                .map(|(digest, _)| digest.clone());
            let Some(oldest) = oldest else { return };
            self.end_session(oldest);
        }
    }

    fn end_session(&mut self, digest: String) {
        if let Some(session) = self.sessions.remove(&digest) {
            self.bytes -= session.record.len();
            self.changed_sessions.insert(digest);
        }
    }

    fn keep_catalogue(&mut self, upstream: String, text: String, config: &Config) {
        let held: usize = self.catalogues.values().map(|held| held.text.len()).sum();
        let fits = !text.is_empty() && text.len() <= BYTES.saturating_sub(held);
        match config.mcp_servers.get(&upstream).filter(|_| fits) {
            Some(entry) => {
                let entry = self.digest_of(entry);
                let kept = Catalogue { entry, text };
                if self.catalogues.get(&upstream) == Some(&kept) {
                    return;
                }
                self.catalogues.insert(upstream.clone(), kept);
            }
            None => drop(self.catalogues.remove(&upstream)),
        }
        self.changed_catalogues.insert(upstream);
    }

    /// What an entry of the configuration says of which server it is. Salted, because the entry may
    /// hold secrets.
    fn digest_of(&self, entry: &Upstream) -> String {
        let text = serde_json::to_vec(&(&entry.transport, &entry.era)).unwrap_or_default();
        let digest = Sha256::new()
            .chain_update(&self.salt)
            .chain_update(text)
            .finalize();
        hex::encode(&digest.into())
    }

    /// What a new gateway worker is told. Catalogues of upstreams whose entry has changed are
    /// dropped first.
    pub(super) fn recall(&mut self, config: &Config, now: u64) -> Vec<ToWorker> {
        self.drop_stale_catalogues(config);
        let kept = self.catalogues.iter().map(|(name, held)| KeptCatalogue {
            upstream: name.clone(),
            text: held.text.clone(),
        });
        let catalogues = pieces(kept.collect(), |kept| kept.text.len());
        let mut sessions: Vec<_> = self.sessions.iter().collect();
        sessions.sort_by_key(|(_, session)| Reverse(session.used));
        let kept = |(digest, session): (&String, &Session)| KeptSession {
            digest: digest.clone(),
            record: session.record.clone(),
            idle: now.saturating_sub(session.used),
        };
        let sessions = sessions.into_iter().map(kept).collect();
        let sessions = pieces(sessions, |kept: &KeptSession| kept.record.len());
        let catalogues = catalogues
            .into_iter()
            .map(|catalogue| ToWorker::Recall { catalogue });
        let sessions = sessions
            .into_iter()
            .map(|sessions| ToWorker::Restore { sessions });
        catalogues.chain(sessions).collect()
    }

    fn drop_stale_catalogues(&mut self, config: &Config) {
        let is_stale = |name: &String, held: &Catalogue| {
            let entry = config.mcp_servers.get(name);
            entry.is_none_or(|entry| self.digest_of(entry) != held.entry)
        };
        let stale: Vec<String> = self
            .catalogues
            .iter()
            .filter(|(name, held)| is_stale(name, held))
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            self.catalogues.remove(&name);
            self.changed_catalogues.insert(name);
        }
    }

    /// Whether a session is held.
    #[cfg(test)]
    pub(super) fn has_session(&self, digest: &str) -> bool {
        self.sessions.contains_key(digest)
    }

    /// How many sessions are held.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.sessions.len()
    }
}
