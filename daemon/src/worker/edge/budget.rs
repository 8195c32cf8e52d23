//! Bytes that an edge worker holds for its clients, counted and bounded: bodies of requests that
//! are on their way to us, and answers that wait for their clients. May not: know what they say.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Answers up to this size are not counted: a hundred of them on one connection take no room.
pub(crate) const SMALL: usize = 2 << 10;
/// Answers that wait for their clients, in bytes: from here on further large ones are refused, and
/// the clients that are the slowest lose theirs.
pub(crate) const UNSENT: usize = 24 << 20;
/// Bodies of requests on their way to us, in bytes. At least twice the largest body, so that one
/// client alone can always send it.
const UPLOADS: usize = 24 << 20;

/// Bytes of answers that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Unsent(AtomicUsize);

/// Counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    of: Arc<Unsent>,
    bytes: usize,
}

impl Unsent {
    /// Counts an answer. `None`: there are too many already.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        if self.is_full() {
            return None;
        }
        self.0.fetch_add(bytes, Relaxed);
        Some(Held {
            of: Arc::clone(self),
            bytes,
        })
    }

    /// Whether slow clients are to lose their answers.
    pub(crate) fn is_full(&self) -> bool {
        self.0.load(Relaxed) >= UNSENT
    }
}

impl Held {
    /// So many of its bytes were taken.
    pub(crate) fn taken(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.of.0.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.taken(self.bytes);
    }
}

/// Bytes of requests that are not complete. What came whole with its head is not counted.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    all: usize,
    /// By principal.
    each: HashMap<Arc<str>, usize>,
}

/// What one request has of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Uploads>,
    principal: Arc<str>,
    bytes: usize,
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Uploads {
    /// Nothing yet, of a principal's.
    pub(crate) fn share(self: &Arc<Self>, principal: &Arc<str>) -> Share {
        Share {
            of: Arc::clone(self),
            principal: Arc::clone(principal),
            bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// So many bytes more. All together have room for two of the `largest`, and at least for
    /// [`UPLOADS`]; one principal has half of it.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub(crate) fn grow(&mut self, bytes: usize, largest: usize) -> Result<(), NoRoom> {
        let most = UPLOADS.max(largest.saturating_mul(2));
        let mut counted = self.of.lock();
        let own = counted.each.get(&self.principal).copied().unwrap_or(0);
        if counted.all + bytes > most || own + bytes > most / 2 {
            return Err(NoRoom);
        }
        counted.all += bytes;
        counted
            .each
            .insert(Arc::clone(&self.principal), own + bytes);
        drop(counted);
        self.bytes += bytes;
        Ok(())
    }

    /// Nothing of it is held any more.
    pub(crate) fn clear(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut counted = self.of.lock();
        counted.all -= self.bytes;
        let rest = counted.each.get_mut(&self.principal).map(|own| {
            *own -= self.bytes;
            *own
        });
        if rest == Some(0) {
            counted.each.remove(&self.principal);
        }
        drop(counted);
        self.bytes = 0;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, NoRoom, UNSENT, UPLOADS, Unsent, Uploads};

    #[test]
    fn one_principal_has_half_of_the_uploads_and_gives_it_back() {
        let uploads = Arc::new(Uploads::default());
        let (one, two) = (Arc::from("one"), Arc::from("two"));
        let mut first = uploads.share(&one);
        assert_eq!(first.grow(UPLOADS / 2, 0), Ok(()));
        assert_eq!(first.grow(1, 0), Err(NoRoom));
        assert_eq!(uploads.share(&one).grow(1, 0), Err(NoRoom));
        let mut other = uploads.share(&two);
        assert_eq!(other.grow(UPLOADS / 2, 0), Ok(()));
        assert_eq!(uploads.share(&Arc::from("three")).grow(1, 0), Err(NoRoom));
        drop(first);
        assert_eq!(uploads.share(&one).grow(UPLOADS / 2, 0), Ok(()));
        other.clear();
        // The largest body of all has room, however large that is.
        assert_eq!(uploads.share(&one).grow(2 * UPLOADS, 2 * UPLOADS), Ok(()));
        assert!(uploads.lock().each.is_empty() && uploads.lock().all == 0);
    }

    #[test]
    fn answers_are_counted_until_they_are_taken_or_given_up() {
        let unsent = Arc::new(Unsent::default());
        let mut first = unsent.hold(UNSENT + 1).expect("the first one has room");
        assert!(unsent.hold(1).is_none() && unsent.is_full());
        first.taken(UNSENT);
        assert!(unsent.hold(1).is_some());
        first.taken(usize::MAX);
        drop(first);
        assert_eq!(unsent.0.load(super::Relaxed), 0);
    }
}
