//! Bytes that an edge worker holds for its clients, counted and bounded: bodies of requests that
//! are on their way to us, and answers that wait for their clients. May not: know what they say.

use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// What an answer costs beside its bytes.
const OVERHEAD: usize = 1 << 10;
/// An answer from this size on has its memory for itself; a smaller one is copied out of the link's
/// read buffer, of which it would keep all.
const ALONE: usize = 64 << 10;
/// Answers up to this size have a quarter more room than others.
const SMALL: usize = 16 << 10;

/// How many bytes an edge worker may hold for its clients: a part of `server.memory` for each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room(usize);

impl Room {
    /// Of `server.memory`.
    pub(crate) const fn of(memory: usize) -> Self {
        Self(memory)
    }

    /// Answers that wait for their clients: from here on further ones are refused, and the clients
    /// that are the slowest lose theirs.
    const fn unsent(self) -> usize {
        self.0 / 4
    }

    /// Bodies of requests on their way to us.
    const fn uploads(self) -> usize {
        self.0 / 8 * 3
    }

    /// Events of streams that wait for clients who take nothing.
    pub(crate) const fn queued(self) -> usize {
        self.0 / 16 * 3
    }
}

/// What this worker has refused, and whom it has disconnected, for want of room.
static SHED: AtomicU64 = AtomicU64::new(0);

/// So much more was refused.
pub(crate) fn shed(count: usize) {
    SHED.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Relaxed);
}

/// All that was refused since the worker's start.
pub(crate) fn shed_so_far() -> u64 {
    SHED.load(Relaxed)
}

/// Bytes of answers that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Unsent(AtomicUsize);

/// Bytes that are counted as long as anybody has a part of them.
#[derive(Debug)]
struct Held {
    of: Arc<Unsent>,
    bytes: Bytes,
}

impl Unsent {
    /// Counts an answer until the last part of it is dropped, whoever has it: hyper keeps what it
    /// was given until the client takes it. `None`: there are too many already.
    pub(crate) fn hold(self: &Arc<Self>, bytes: Bytes, room: Room) -> Option<Bytes> {
        let spare = if bytes.len() <= SMALL {
            room.unsent() / 4
        } else {
            0
        };
        if self.0.load(Relaxed) >= room.unsent() + spare {
            shed(1);
            return None;
        }
        Some(self.count(bytes))
    }

    /// The same without asking.
    pub(crate) fn count(self: &Arc<Self>, mut bytes: Bytes) -> Bytes {
        if bytes.len() < ALONE {
            bytes = Bytes::copy_from_slice(&bytes);
        }
        self.0.fetch_add(bytes.len() + OVERHEAD, Relaxed);
        let of = Arc::clone(self);
        Bytes::from_owner(Held { of, bytes })
    }

    /// Whether slow clients are to lose their answers.
    pub(crate) fn is_full(&self, room: Room) -> bool {
        self.0.load(Relaxed) >= room.unsent()
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let size = self.bytes.len() + OVERHEAD;
        self.of.0.fetch_sub(size, Relaxed);
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
    room: Room,
    bytes: usize,
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Uploads {
    /// Nothing yet, of a principal's.
    pub(crate) fn share(self: &Arc<Self>, principal: &Arc<str>, room: Room) -> Share {
        Share {
            of: Arc::clone(self),
            principal: Arc::clone(principal),
            room,
            bytes: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// So many bytes more. All together have their part of the room, and at least two of the
    /// `largest`; one principal has half of it.
    ///
    /// # Errors
    /// [`NoRoom`]
    pub(crate) fn grow(&mut self, bytes: usize, largest: usize) -> Result<(), NoRoom> {
        let most = self.room.uploads().max(largest.saturating_mul(2));
        let mut counted = self.of.lock();
        let own = counted.each.get(&self.principal).copied().unwrap_or(0);
        if counted.all + bytes > most || own + bytes > most / 2 {
            shed(1);
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
    use super::{Arc, Bytes, NoRoom, Room, Unsent, Uploads};

    const ROOM: Room = Room::of(64 << 20);
    const UPLOADS: usize = ROOM.uploads();
    const UNSENT: usize = ROOM.unsent();

    #[test]
    fn one_principal_has_half_of_the_uploads_and_gives_it_back() {
        let uploads = Arc::new(Uploads::default());
        let (one, two) = (Arc::from("one"), Arc::from("two"));
        let mut first = uploads.share(&one, ROOM);
        assert_eq!(first.grow(UPLOADS / 2, 0), Ok(()));
        assert_eq!(first.grow(1, 0), Err(NoRoom));
        assert_eq!(uploads.share(&one, ROOM).grow(1, 0), Err(NoRoom));
        let mut other = uploads.share(&two, ROOM);
        assert_eq!(other.grow(UPLOADS / 2, 0), Ok(()));
        let mut third = uploads.share(&Arc::from("three"), ROOM);
        assert_eq!(third.grow(1, 0), Err(NoRoom));
        drop(first);
        assert_eq!(uploads.share(&one, ROOM).grow(UPLOADS / 2, 0), Ok(()));
        other.clear();
        // The largest body of all has room, however large that is.
        let mut large = uploads.share(&one, ROOM);
        assert_eq!(large.grow(2 * UPLOADS, 2 * UPLOADS), Ok(()));
        drop(large);
        assert!(uploads.lock().each.is_empty() && uploads.lock().all == 0);
    }

    #[test]
    fn answers_are_counted_until_the_last_part_of_them_is_gone() {
        let unsent = Arc::new(Unsent::default());
        let hold = |bytes| unsent.hold(Bytes::from(vec![0; bytes]), ROOM);
        let mut first = hold(UNSENT).expect("the first one has room");
        // A small one has room a little longer.
        let small = hold(10).expect("a small one has room");
        assert!(hold(100 << 10).is_none() && unsent.is_full(ROOM));
        // What hyper has of it keeps all of it.
        let piece = first.split_to(10);
        drop((first, small));
        assert!(unsent.is_full(ROOM));
        drop(piece);
        assert_eq!(unsent.0.load(super::Relaxed), 0);
    }

    #[test]
    fn a_small_answer_does_not_keep_the_buffer_that_it_came_in() {
        let unsent = Arc::new(Unsent::default());
        let buffer = Bytes::from(vec![0; 64 << 10]);
        let held = unsent.hold(buffer.slice(..100), ROOM).expect("room");
        assert!(buffer.is_unique() && held.len() == 100);
    }
}
