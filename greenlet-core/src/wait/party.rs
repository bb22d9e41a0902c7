//! Several waits of one waiter.

use std::collections::VecDeque;
use std::marker::PhantomPinned;

use super::{WaitList, Wakeup, wait, wait_unless_given_up};
use crate::hub::Deadline;
use crate::lock::Lock;

/// Of somebody who waits in several lists at once: counts how many of them may still notify him, and collects the
/// numbers of those that did.
///
/// Whoever notifies *claims* first, under the lock of the list, and hands over and *announces* then, under the same lock. A claim that is
/// refused means that the waiter has what he wants, and that the node is to be skipped: so one who wants one thing is never given two.
/// In a party of one, a successful claim means that the waiter has won, as the notification of a single wait does: a raise that comes between the
/// claim and the announcement has to wait. He is woken by the announcement.
///
/// Locks are taken in this order: that of a list, then that of a party.
#[expect(missing_debug_implementations, reason = "only sealed traits name it")]
pub struct Party {
    state: Lock<State>,
    /// As in a node.
    _pinned: PhantomPinned,
}

struct State {
    /// So many more may claim.
    open: usize,
    /// None for a party of one: who has come true is seen at its node.
    arrived: Option<VecDeque<u32>>,
    /// The one that the party is for, while it waits.
    host: WaitList<()>,
    /// Of the host, if it was notified by a claim that is not announced yet.
    wakeup: Option<Wakeup>,
}

// SAFETY: a wake-up stays here only in a party of one, from its only claim to the announcement, which the same thread makes in one
// critical section; apart from that it is `None`.
unsafe impl Send for State {}

impl State {
    fn arrive(&mut self, number: u32) {
        if let Some(arrived) = &mut self.arrived {
            // There is room for as many as may claim.
            arrived.push_back(number);
        }
    }
}

impl Party {
    /// One of the waits may come true.
    pub(crate) fn of_one() -> Party {
        Party::with(1, None)
    }

    /// So many of the waits may come true.
    pub(crate) fn of_many(most: usize) -> Party {
        Party::with(most, Some(VecDeque::with_capacity(most)))
    }

    fn with(open: usize, arrived: Option<VecDeque<u32>>) -> Party {
        let state = State { open, arrived, host: WaitList::new(), wakeup: None };
        Party { state: Lock::new(state), _pinned: PhantomPinned }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.lock().open > 0
    }

    pub(super) fn claim(&self) -> bool {
        let mut state = self.state.lock();
        if state.open == 0 {
            return false;
        }
        state.open -= 1;
        // A party of many is told by the announcement: between the claims of two threads, each would find the other's wake-up here, and
        // `Wakeup::Here` is for its own thread only. Nothing is handed over there that a raise could lose.
        if state.arrived.is_none()
            && let Some(((), wakeup)) = state.host.notify_first(|()| ())
        {
            state.wakeup = Some(wakeup);
        }
        true
    }

    /// After a claim: this one has come true.
    pub(super) fn announce(&self, number: u32) -> Wakeup {
        let mut state = self.state.lock();
        state.arrive(number);
        let notified = state.wakeup.take();
        match state.host.notify_first(|()| ()) {
            // It found nothing after the claim and waits again.
            Some(((), wakeup)) => wakeup,
            None => notified.unwrap_or(Wakeup::Nobody),
        }
    }

    /// This one has come true before anybody could claim it. Called by the host.
    pub(crate) fn note(&self, number: u32) {
        let mut state = self.state.lock();
        state.open -= 1;
        state.arrive(number);
    }

    /// From now on nobody can claim.
    pub(crate) fn close(&self) {
        self.state.lock().open = 0;
    }

    /// Closes it. False if all that may claim have claimed before.
    pub(crate) fn withdraw(&self) -> bool {
        std::mem::take(&mut self.state.lock().open) > 0
    }

    /// Waits until all that may claim have claimed. False: the deadline came first, and nobody can claim any more.
    pub(crate) fn wait_for_claim(&self, what: &'static str, deadline: Deadline) -> bool {
        let state = self.state.lock();
        if state.open == 0 {
            return true;
        }
        // Closed in the same critical section, so that nobody claims a host who has left.
        let close = |state: &mut State| state.open = 0;
        wait_unless_given_up(what, state, |state| &mut state.host, close, (), deadline).is_ok()
    }

    /// The next that came true, waiting for it. `None`: the deadline came first.
    pub(crate) fn next(&self, what: &'static str, mut deadline: Deadline) -> Option<u32> {
        deadline.fix();
        loop {
            let mut state = self.state.lock();
            if let Some(number) = state.arrived.as_mut().and_then(VecDeque::pop_front) {
                return Some(number);
            }
            if wait(what, state, |state| &mut state.host, (), deadline).is_err() {
                return None;
            }
        }
    }
}
