//! What a suspended greenlet waits for: noted by the waiter, read by who asks for it.

use std::cell::Cell;
use std::ptr::NonNull;

use super::{Hub, Nanos};
use crate::greenlet::raw::Header;

/// Written before each wait, and true until the next one. It lies where a switch goes anyway (see `worker`).
pub(crate) struct Waiting {
    /// Like `Queue::get`. Empty: nothing is known.
    kind: Cell<&'static str>,
    /// Of what it waits on, or 0: tells two queues apart, no more.
    address: Cell<usize>,
    since: Cell<Nanos>,
}

/// A wait, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) kind: &'static str,
    pub(crate) address: usize,
    /// When the loop last looked at the clock before it: up to a turn early.
    pub(crate) since: Nanos,
}

impl Waiting {
    pub(super) const fn new() -> Waiting {
        Waiting { kind: Cell::new(""), address: Cell::new(0), since: Cell::new(Nanos(0)) }
    }

    pub(crate) fn get(&self) -> Option<Wait> {
        let wait = Wait { kind: self.kind.get(), address: self.address.get(), since: self.since.get() };
        (!wait.kind.is_empty()).then_some(wait)
    }
}

impl Hub {
    /// What a greenlet of this hub that has not ended waits for, if it waits.
    pub(super) fn waiting_of(&self, header: NonNull<Header>) -> Option<Wait> {
        // SAFETY: the caller has a count, or the hub does.
        let local = unsafe { &header.as_ref().local };
        match local.worker.get() {
            // SAFETY: a greenlet has its worker until it has ended.
            Some(worker) => unsafe { worker.as_ref() }.waiting.get(),
            None if local.is_main => self.main_waiting.get(),
            None => None,
        }
    }

    /// Notes what the running greenlet is going to wait for: the operation, like `Queue::get`, and the address of the object
    /// (0 if there is none). To be called before each `park`: the last note counts.
    #[inline(always)]
    pub(crate) fn note_wait(&self, header: NonNull<Header>, kind: &'static str, address: usize) {
        // SAFETY: the running greenlet is alive; one that is not main has a worker.
        let waiting = match unsafe { header.as_ref() }.local.worker.get() {
            // SAFETY: a greenlet has its worker until it has ended.
            Some(worker) => unsafe { &worker.as_ref().waiting },
            None => &self.main_waiting,
        };
        waiting.kind.set(kind);
        waiting.address.set(address);
        waiting.since.set(self.last_poll.get());
    }
}
