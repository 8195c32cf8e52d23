//! The client's requests that have no answer yet.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};
use tokio::{sync::Notify, task::AbortHandle};

/// A request.
struct Request {
    id: Box<str>,
    modern: bool,
    task: AbortHandle,
}

/// All of them.
#[derive(Default)]
pub(super) struct Open {
    last: Cell<u64>,
    requests: RefCell<BTreeMap<u64, Request>>,
    empty: Notify,
}

impl Open {
    /// A number for a request; ids of clients may repeat.
    pub(super) fn next(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.requests.borrow().len()
    }

    /// A request whose task was just made, and has not run yet.
    pub(super) fn insert(&self, number: u64, id: Box<str>, modern: bool, task: AbortHandle) {
        self.requests
            .borrow_mut()
            .insert(number, Request { id, modern, task });
    }

    /// A request has its answer.
    pub(super) fn over(&self, number: u64) {
        let mut requests = self.requests.borrow_mut();
        requests.remove(&number);
        if requests.is_empty() {
            self.empty.notify_waiters();
        }
    }

    /// Gives a modern request up, which closes its stream and so cancels it (MCP 2026-07-28,
    /// Streamable HTTP). Says whether there was one.
    pub(super) fn abort_modern(&self, id: &str) -> bool {
        let number = self
            .requests
            .borrow()
            .iter()
            .find(|(_, request)| request.modern && *request.id == *id)
            .map(|(number, _)| *number);
        let Some(number) = number else { return false };
        if let Some(request) = self.requests.borrow().get(&number) {
            request.task.abort();
        }
        self.over(number);
        true
    }

    /// Gives all of them up.
    pub(super) fn abort_all(&self) {
        self.requests
            .borrow()
            .values()
            .for_each(|request| request.task.abort());
    }

    /// Waits until there are none.
    pub(super) async fn all_over(&self) {
        loop {
            let empty = self.empty.notified();
            if self.requests.borrow().is_empty() {
                return;
            }
            empty.await;
        }
    }
}
