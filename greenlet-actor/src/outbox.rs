//! News for others, delivered in order and outside of locks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use greenlet_core::attempt;

/// News are put in under the lock of what they are about, which gives their order. They are delivered by whoever comes to it when no lock is
/// held; if somebody does already, he delivers those too.
pub(crate) struct Outbox<T>(Mutex<Waiting<T>>);

struct Waiting<T> {
    news: VecDeque<T>,
    delivering: bool,
}

impl<T> Outbox<T> {
    pub(crate) const fn new() -> Outbox<T> {
        Outbox(Mutex::new(Waiting { news: VecDeque::new(), delivering: false }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called under the lock that gives the order.
    pub(crate) fn put(&self, news: T) {
        self.waiting().news.push_back(news);
    }

    /// To be called under no lock. `deliver` does not wait.
    pub(crate) fn deliver(&self, deliver: impl Fn(T)) {
        let mut waiting = self.waiting();
        if waiting.delivering {
            return;
        }
        waiting.delivering = true;
        while let Some(news) = waiting.news.pop_front() {
            drop(waiting);
            // What fails in somebody's closure is not the failure of who has the news.
            if let Err(error) = attempt(|| deliver(news)) {
                tracing::error!(target: "greenlet", "somebody who was told of an event failed: {error}");
            }
            waiting = self.waiting();
        }
        waiting.delivering = false;
    }
}
