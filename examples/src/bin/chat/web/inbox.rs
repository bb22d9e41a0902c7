//! What a page has not asked for yet.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::{Event as Signal, Instant};

use crate::event::{Event, What};
use crate::limits;
use crate::user::{Shown, Transport};

/// The last events of a user's room. The room never waits for a page: what is too old is dropped, and the page is told.
#[derive(Default)]
pub struct Inbox(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    /// The number of the last one that was dropped.
    dropped: u64,
    closed: bool,
    /// Set at the next change, and then there is another one: so nobody takes it back who others still wait with.
    changed: Arc<Signal>,
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
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing fails while this is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        let mut kept = self.kept();
        change(&mut kept);
        let changed = std::mem::take(&mut kept.changed);
        drop(kept);
        changed.set();
    }

    fn put(&self, event: Arc<Event>) {
        self.change(|kept| {
            if kept.events.len() == limits::KEPT
                && let Some(oldest) = kept.events.pop_front()
            {
                kept.dropped = oldest.id;
            }
            kept.events.push_back(event);
        });
    }

    /// Nothing will come any more.
    pub fn close(&self) {
        self.change(|kept| kept.closed = true);
    }

    /// What happened after the event of this number; waits for it for as long as `patience`. `None`: nothing will come any more.
    pub fn after(&self, id: u64, patience: Duration) -> Option<News> {
        let start = Instant::now();
        loop {
            let changed = {
                let kept = self.kept();
                if kept.closed {
                    return None;
                }
                let events: Vec<_> = kept.events.iter().filter(|event| event.id > id).cloned().collect();
                if !events.is_empty() || start.elapsed() >= patience {
                    return Some(News { events, missed: id > 0 && id < kept.dropped });
                }
                kept.changed.clone()
            };
            changed.wait_timeout(patience.saturating_sub(start.elapsed()));
        }
    }
}

/// The side of the room.
pub struct Delivery(pub Arc<Inbox>);

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
