//! A greenlet that is spawned to be run at once, inside the one that spawns it: what a server does for every request.
//!
//! Most such greenlets do what they are for and end, and nobody ever hears of them. For these there is neither a place in the ready queue nor a handle, nor a
//! lock to tell of their end, and the next one is made of what was allocated for the last. They are greenlets all the same: whoever looks while they
//! run finds them, and what they hand out of themselves (`current`) makes them as all others.

use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Release;
use std::sync::atomic::compiler_fence;

use super::{Hub, Worker};
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::{self, Code, Header, Phase, Start};
use crate::spans::Spans;

impl Hub {
    /// Spawns a greenlet and runs it until it suspends, and then returns a reference to it, or ends. Gives the code back if the loop has to be in between,
    /// as in [`run_inside`](Hub::run_inside), or if there is no stack at hand.
    #[inline]
    pub(crate) fn spawn_inside<C: Code>(
        &self,
        current: NonNull<Header>,
        site: &'static Location<'static>,
        code: C,
    ) -> Result<Option<GreenletRef>, C> {
        let Some(worker) = self.worker_for_inside(current) else { return Err(code) };
        let header = match self.spare.take() {
            None => raw::allocate(self.spec(site), Start::Unheld, code),
            Some(spare) => match raw::renew(spare, self.descent(), site, code) {
                Ok(header) => header,
                Err(code) => {
                    self.spare.set(Some(spare));
                    self.drop_spare();
                    raw::allocate(self.spec(site), Start::Unheld, code)
                }
            },
        };
        Ok(self.run_new_inside(header, worker, current))
    }

    /// An idle worker, if a greenlet may run inside the current one now.
    #[inline]
    fn worker_for_inside(&self, current: NonNull<Header>) -> Option<NonNull<Worker>> {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &current.as_ref().local };
        // Neither main nor in a simulation.
        if local.parks_slowly || self.spawn_callbacks.any() || !self.may_run_others_inside(current) {
            return None;
        }
        self.idle_workers.borrow_mut().pop()
    }

    /// Runs a greenlet for the first time, of which the hub has the only count.
    #[inline(never)]
    fn run_new_inside(
        &self,
        header: NonNull<Header>,
        worker: NonNull<Worker>,
        current: NonNull<Header>,
    ) -> Option<GreenletRef> {
        // SAFETY: the running greenlet is alive, and the new one is held by the hub.
        let (below, local) = unsafe { (&current.as_ref().local, &header.as_ref().local) };
        self.enlist(header);
        // From here on as in `run_inside` and `switch_to`.
        self.budget.set(self.budget.get() - 1);
        below.unwind_marks.set(0);
        // SAFETY: a running greenlet that is not main has its worker, and this is its stack.
        unsafe { below.worker.get().unwrap_unchecked().as_ref() }.stands_here();
        below.runs_inside.set(true);
        // Those of the current greenlet are not the new one's.
        let spans = tracing::dispatcher::has_been_set().then(Spans::leave);
        // SAFETY: an idle worker belongs to the hub, and is ours since it was taken out.
        let worker_ref = unsafe { worker.as_ref() };
        worker_ref.set_job(header);
        local.worker.set(Some(worker));
        local.phase.set(Phase::Started);
        self.shared.vitals.switches.add(1);
        self.streak.set(0);
        self.current.set(Some(header));
        worker_ref.resume();
        self.current.set(Some(current));
        compiler_fence(Release);
        self.shared.vitals.switches.add(1);
        self.streak.set(0);
        below.runs_inside.set(false);
        spans.into_iter().for_each(Spans::enter);
        if !worker_ref.is_idle() {
            // SAFETY: it has not ended, so the hub holds it.
            return Some(unsafe { GreenletRef::retained(header) });
        }
        local.worker.set(None);
        self.recycle(worker);
        // SAFETY: the hub's count is still there.
        if unsafe { header.as_ref() }.is_to_spare() {
            self.keep_spare(header);
        } else {
            self.let_go(header);
        }
        None
    }

    /// Keeps what was allocated for a greenlet that has ended. The hub's count goes along.
    #[inline]
    fn keep_spare(&self, header: NonNull<Header>) {
        if self.spare.get().is_some() {
            self.drop_spare();
        }
        self.spare.set(Some(header));
    }

    pub(super) fn drop_spare(&self) {
        if let Some(spare) = self.spare.take() {
            // SAFETY: the hub's count, the only one; nobody uses it any more.
            unsafe { Header::release(spare) };
        }
    }
}
