//! What can be set about a server.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::StackSize;
use greenlet_core::pool::Pool;
use greenlet_core::sync::Semaphore;

use super::backoff::Backoff;

/// The settings that hold on every hub.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) first_pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) max_accept: u32,
    pub(super) limit: Option<usize>,
    pub(super) limit_per_ip: Option<u32>,
    pub(super) name: Option<Arc<str>>,
    pub(super) stack_size: Option<StackSize>,
    pub(super) grace: Duration,
    pub(super) site: &'static Location<'static>,
}

/// gevent's `stop_timeout`.
pub(super) const GRACE: Duration = Duration::from_secs(1);

impl Settings {
    pub(super) fn new(site: &'static Location<'static>) -> Settings {
        Settings {
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_secs(1),
            max_accept: 100,
            limit: None,
            limit_per_ip: None,
            name: None,
            stack_size: None,
            grace: GRACE,
            site,
        }
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff::new(self.first_pause, self.longest_pause)
    }
}

/// Where a handler has to find room before its connection is accepted.
#[derive(Clone, Debug)]
pub(super) enum Room {
    Unlimited,
    /// Of all hubs together.
    Limit(Arc<Semaphore>),
    /// Of this hub, and shared with whoever else spawns there.
    Pool(Pool),
}

/// A place that was found. Dropped, it is free again.
#[derive(Debug)]
pub(super) enum Place {
    /// The pool counts its members itself.
    Uncounted,
    Counted(Arc<Semaphore>),
}

impl Room {
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Room::Unlimited => Some(Place::Uncounted),
            Room::Limit(free) => free.try_acquire().then(|| Place::Counted(free.clone())),
            Room::Pool(pool) => (!pool.full()).then_some(Place::Uncounted),
        }
    }

    /// Waits until there is some, without taking it.
    pub(super) fn wait(&self) {
        match self {
            Room::Unlimited => {}
            Room::Limit(free) => free.wait(),
            Room::Pool(pool) => pool.wait_available(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::Counted(free) = self {
            free.release();
        }
    }
}
