//! The stations of a greenlet: started, woken, raised in, ended.

use std::ptr::NonNull;

use super::{Callback, ErrorContext, Hub, Nanos, TimerAction, TimerKey};
use crate::failure::End;
use crate::greenlet::raw::{Header, Phase};
use crate::greenlet::{Greenlet, GreenletRef};
use crate::raise::Raised;

impl Hub {
    /// Queues a greenlet of this hub to be resumed.
    #[inline]
    pub(crate) fn schedule(&self, header: NonNull<Header>) {
        // SAFETY: callers pass greenlets of this hub that are alive.
        let local = unsafe { &header.as_ref().local };
        if !local.queued.replace(true) {
            self.ready.push_resume(header);
        }
    }

    /// Queues the current greenlet right behind another one, which goes to the front. At the end, if the other one is not queued here.
    pub(crate) fn schedule_behind(&self, next: NonNull<Header>, current: NonNull<Header>) {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &current.as_ref().local };
        if !local.queued.get() && next != current && self.ready.push_front_pair(next, current) {
            local.queued.set(true);
        } else {
            self.schedule(current);
        }
    }

    /// Queues the first run of a greenlet whose start was claimed. From now on the hub holds a count of it.
    pub(crate) fn start(&self, header: NonNull<Header>) {
        // SAFETY: the caller holds a count.
        unsafe { header.as_ref() }.retain();
        self.start_claimed(header);
    }

    /// As `start`; the caller gives a count to the hub.
    #[inline]
    pub(crate) fn start_claimed(&self, header: NonNull<Header>) {
        self.enlist(header);
        self.schedule(header);
    }

    /// Adds a greenlet to the live ones. The hub has a count of it.
    #[inline]
    pub(super) fn enlist(&self, header: NonNull<Header>) {
        let mut live = self.live.borrow_mut();
        // SAFETY: the hub's count.
        unsafe { header.as_ref() }.local.live_index.set(live.len() as u32);
        live.push(header);
        self.shared.vitals.spawned.add(1);
    }

    /// Starts a greenlet after a while.
    pub(crate) fn start_at(&self, deadline: Nanos, greenlet: GreenletRef) {
        let header = greenlet.header();
        self.timers.borrow_mut().insert(deadline, TimerAction::Start(greenlet));
        self.announce(header);
    }

    /// Runs a callback in the loop, after everything that is ready now.
    pub(crate) fn call_soon(&self, callback: Callback) {
        self.ready.push_call(callback);
    }

    /// Raises in a greenlet of this hub, in its turn: what was queued before runs first.
    pub(crate) fn raise_soon(&self, greenlet: GreenletRef, raised: Raised) {
        self.call_soon(Box::new(move |hub| hub.deliver(&greenlet, raised)));
    }

    /// Runs a callback in the loop at a deadline. The key cancels it.
    pub(crate) fn call_at(&self, deadline: Nanos, callback: Callback) -> TimerKey {
        self.timers.borrow_mut().insert(deadline, TimerAction::Call(callback))
    }

    pub(crate) fn cancel_timer(&self, key: TimerKey) {
        let removed = self.timers.borrow_mut().remove(key);
        // Dropped after the borrow: a callback owns user's data.
        drop(removed);
    }

    /// Raises in a suspended greenlet now. Called by the loop.
    pub(crate) fn deliver(&self, greenlet: &GreenletRef, raised: Raised) {
        let header = greenlet.header();
        // SAFETY: the reference keeps it alive.
        let local = unsafe { &header.as_ref().local };
        if raised.is_revoked() {
            return;
        }
        match local.phase.get() {
            Phase::Ended => {}
            // A destructor that waits no longer than it wants to is given that.
            Phase::Ending if raised.rank() == 0 || local.worker.get().is_none() => {}
            // The hub ends: no other greenlet will run.
            Phase::New if self.shared.is_closed() => self.cancel(header, raised),
            Phase::New => {
                // Its closure is dropped on a stack, where a destructor may suspend.
                local.phase.set(Phase::Ending);
                let cancel = CancelOnDrop { greenlet: greenlet.clone(), raised: Some(raised) };
                let canceller = Greenlet::new(move || drop(cancel));
                canceller.header_ref().claim_start();
                self.start(canceller.header());
            }
            Phase::Started if local.shielded.get() => {}
            Phase::Started | Phase::Ending => {
                local.push_raise(raised);
                let rest = local.resting_floor();
                let floor = local.floor.get().max(rest);
                // Main returns from the loop by itself when it sees the raise.
                if !local.can_raise(floor) {
                    // It unwinds, or must not be disturbed: the raise comes at its next suspension after that, or when the loop finds that nobody
                    // unwinds any more.
                    if floor > rest {
                        self.held_back.borrow_mut().push(greenlet.clone());
                        self.holds_back.set(true);
                    }
                } else if !local.is_main {
                    self.switch_to(header);
                }
            }
        }
    }

    /// Delivers what was held back, once nobody on the thread unwinds: then those who seemed to were marked wrongly, since
    /// the user's code had caught their unwinding.
    pub(super) fn deliver_held_back(&self) {
        if std::thread::panicking() {
            return;
        }
        self.holds_back.set(false);
        for greenlet in self.held_back.take() {
            // SAFETY: the reference keeps it alive.
            let local = unsafe { &greenlet.header().as_ref().local };
            local.floor.set(0);
            let suspended = matches!(local.phase.get(), Phase::Started | Phase::Ending) && !local.is_main;
            if suspended && local.can_raise(local.resting_floor()) {
                self.switch_to(greenlet.header());
            }
        }
    }

    /// Runs `f` in a new greenlet, right now. Called by the loop.
    pub(crate) fn spawn_now(&self, f: impl FnOnce() + 'static) {
        let greenlet = Greenlet::new(f);
        let header = greenlet.header();
        greenlet.header_ref().claim_start();
        // SAFETY: `greenlet` holds a count; this one is the hub's.
        unsafe { header.as_ref() }.retain();
        self.enlist(header);
        self.switch_to(header);
    }

    /// Ends a greenlet that has not run, as if it had raised that. Its closure is dropped.
    pub(crate) fn cancel(&self, header: NonNull<Header>, raised: Raised) {
        // SAFETY: the caller holds a count, and `New` means that the closure is there. The phase changes first, since
        // dropping the closure runs user code, which may suspend.
        unsafe {
            header.as_ref().claim_start();
            header.as_ref().local.phase.set(Phase::Ending);
            Header::drop_closure(header);
        }
        self.finish(header, End::from_raised(raised));
        // SAFETY: as above.
        let greenlet = unsafe { header.as_ref() };
        if greenlet.local.live_index.replace(u32::MAX) != u32::MAX {
            self.let_go(header);
        }
    }

    /// Records how a greenlet ended and tells everybody. Runs on the greenlet's stack or, if it never ran, on the
    /// caller's. Does not unwind.
    #[inline]
    pub(crate) fn finish(&self, header: NonNull<Header>, end: End) {
        if !matches!(end, End::Value) || !self.finish_unknown(header) {
            self.finish_and_tell(header, end);
        }
    }

    /// The end of a greenlet that returned and that nobody knows: there is nobody to be told. False if it is another one.
    #[inline]
    fn finish_unknown(&self, header: NonNull<Header>) -> bool {
        // SAFETY: the hub's count keeps it alive.
        let greenlet = unsafe { header.as_ref() };
        let local = &greenlet.local;
        if local.has_raises.get()
            || local.live_index.get() == u32::MAX
            || !self.panic_places.borrow().is_empty()
            || !greenlet.has_no_values()
            || !greenlet.end_unknown()
        {
            return false;
        }
        local.phase.set(Phase::Ended);
        self.delist(local.live_index.get());
        true
    }

    fn finish_and_tell(&self, header: NonNull<Header>, end: End) {
        // SAFETY: the hub's count (or the caller's, for one that never started) keeps it alive.
        let greenlet = unsafe { header.as_ref() };
        // From here on nothing is raised in it, though reports and destructors may suspend.
        greenlet.local.phase.set(Phase::Ending);
        greenlet.local.clear_raises();
        let mut places = self.panic_places.borrow_mut();
        if !places.is_empty() {
            places.retain(|(id, _)| *id != greenlet.id);
        }
        drop(places);
        greenlet.drop_extras();
        let end = match end {
            End::Failed(failure) => {
                // SAFETY: as above.
                let named = unsafe { GreenletRef::retained(header) };
                self.handle_error(&ErrorContext::Greenlet(named), &failure);
                End::Failed(failure)
            }
            End::Value if greenlet.has_no_handles() => {
                // Destructors first, then the news: whoever joins it finds everything done.
                // SAFETY: the value is there, and no handle can come to it any more.
                unsafe { Header::drop_value(header) };
                End::DroppedValue
            }
            end => end,
        };
        match &end {
            End::Failed(_) => self.shared.vitals.failed.add(1),
            End::Exit => self.shared.vitals.exited.add(1),
            End::Value | End::DroppedValue => {}
        }
        let mut ending = greenlet.end.lock();
        let drop_value = greenlet.set_ended(&end);
        if let End::Failed(failure) = end {
            ending.failure = Some(failure);
        }
        if ending.waiters.is_empty() && ending.links.is_empty() {
            drop(ending);
        } else {
            let wakeups = ending.waiters.notify_all();
            let links = std::mem::take(&mut ending.links);
            drop(ending);
            wakeups.wake();
            for link in links {
                link.fire(header);
            }
        }
        if drop_value {
            // SAFETY: `set_ended` said that nobody can ask for it.
            unsafe { Header::drop_value(header) };
        }
        // Destructors and reports may have made new ones.
        greenlet.drop_extras();
        greenlet.local.phase.set(Phase::Ended);
        let index = greenlet.local.live_index.get();
        if index == u32::MAX {
            return; // never started: the hub does not know it
        }
        self.delist(index);
    }

    /// Takes a greenlet that has ended from the live ones.
    #[inline]
    fn delist(&self, index: u32) {
        self.shared.vitals.ended.add(1);
        let mut live = self.live.borrow_mut();
        live.swap_remove(index as usize);
        if let Some(moved) = live.get(index as usize) {
            // SAFETY: live greenlets are held by the hub.
            unsafe { moved.as_ref() }.local.live_index.set(index);
        }
    }

    /// Gives back the hub's count of a greenlet that has ended. Not before its stack was left: until then it is `current`.
    #[inline]
    pub(super) fn let_go(&self, header: NonNull<Header>) {
        // SAFETY: the hub's count. If it is still queued, that count is left to the entry, and goes when it is popped.
        unsafe {
            if !header.as_ref().local.queued.get() {
                Header::release(header);
            }
        }
    }
}

/// Keeps a raise that was caught in the wrong place for the next suspension point of the current greenlet. False if there is none
/// in which it could be raised.
pub(crate) fn raise_again(raised: &Raised) -> bool {
    let Some(current) = Hub::try_current().and_then(Hub::current_greenlet) else { return false };
    // SAFETY: the running greenlet is alive.
    let local = unsafe { &current.as_ref().local };
    if local.phase.get() != Phase::Started {
        return false;
    }
    local.push_raise(raised.clone());
    true
}

/// Cancels a greenlet that has not run, wherever this is dropped: in the greenlet that is spawned for that, or, if that one
/// is killed before its first turn, in its place.
struct CancelOnDrop {
    greenlet: GreenletRef,
    raised: Option<Raised>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let (Some(hub), Some(raised)) = (Hub::try_current(), self.raised.take()) {
            hub.cancel(self.greenlet.header(), raised);
        }
    }
}

impl Hub {
    pub(crate) fn keep_link_callback(&self, key: u64, source: u64, callback: Callback) {
        self.link_callbacks.borrow_mut().insert(key, (source, callback));
    }

    pub(crate) fn take_link_callback(&self, key: u64) -> Option<Callback> {
        self.link_callbacks.borrow_mut().remove(&key).map(|(_, callback)| callback)
    }

    /// Takes those of one source. It looks at all.
    pub(crate) fn take_link_callbacks_of(&self, source: u64) -> Vec<Callback> {
        let mut callbacks = self.link_callbacks.borrow_mut();
        let mut taken: Vec<_> = callbacks.extract_if(|_, (of, _)| *of == source).collect();
        // In the order in which they were made: dropping them may run code of the user's.
        taken.sort_unstable_by_key(|(key, _)| *key);
        taken.into_iter().map(|(_, (_, callback))| callback).collect()
    }

    /// Whether there is a callback of that source which was not called. It looks at all.
    pub(crate) fn has_link_callback_of(&self, source: u64) -> bool {
        self.link_callbacks.borrow().values().any(|(of, _)| *of == source)
    }
}
