//! What a page has not asked for yet.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::{Event as Signal, Instant};

use crate::event::{Event, What};
use crate::limits;
use crate::user::{Shown, Transport};

/// The last events of a user's room. The room never waits for a page: what is too old is dropped, and the page is told.
#[derive(Default)]
pub struct Inbox {
    kept: RefCell<VecDeque<Arc<Event>>>,
    /// The number of the last one that was dropped.
    dropped: std::cell::Cell<u64>,
    changed: Signal,
    closed: std::cell::Cell<bool>,
}

/// What there is behind some event.
pub struct News {
    pub events: Vec<Arc<Event>>,
    /// There was more, which is not kept any more.
    pub missed: bool,
}

impl News {
    /// Whether the room has other members now.
    pub fn moved(&self) -> bool {
        self.events.iter().any(|event| !matches!(event.what, What::Said { .. }))
    }
}

impl Inbox {
    fn put(&self, event: Arc<Event>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() == limits::KEPT
            && let Some(oldest) = kept.pop_front()
        {
            self.dropped.set(oldest.id);
        }
        kept.push_back(event);
        self.changed.set();
    }

    /// Nothing will come any more.
    pub fn close(&self) {
        self.closed.set(true);
        self.changed.set();
    }

    /// What happened after the event of this number; waits for it for as long as `patience`. `None`: nothing will come any more.
    pub fn after(&self, id: u64, patience: Duration) -> Option<News> {
        let start = Instant::now();
        loop {
            if self.closed.get() {
                return None;
            }
            let events: Vec<_> = self.kept.borrow().iter().filter(|event| event.id > id).cloned().collect();
            let left = patience.saturating_sub(start.elapsed());
            if !events.is_empty() || left.is_zero() {
                return Some(News { events, missed: id > 0 && id < self.dropped.get() });
            }
            // All greenlets that wait here are of one thread: nothing happens between the look and the wait.
            self.changed.clear();
            self.changed.wait_timeout(left);
        }
    }
}

/// The side of the room.
pub struct Delivery(pub Rc<Inbox>);

impl Transport for Delivery {
    fn show(&mut self, shown: &Shown) -> io::Result<()> {
        match shown {
            Shown::Event(event) | Shown::Before(event) => self.0.put(event.clone()),
            // Answers come with the responses; what ends the user, with its end.
            Shown::Note(_) => {}
        }
        Ok(())
    }
}

/// The user has ended, for whatever reason.
impl Drop for Delivery {
    fn drop(&mut self) {
        self.0.close();
    }
}
