//! Waiting: the list of those who wait on a primitive, and the one function that suspends.
//!
//! A wait node lives with the waiter (on its stack; in a future; in an `IWait`) and is linked into a list under the primitive's lock. Whoever has
//! something for it (an item, a permit, "it is set") takes the node out of the list under the lock, leaves it in the
//! node's payload, marks it notified, and wakes the waiter after the lock.
//!
//! # The rule that loses nothing
//! **A notified node has won.** A kill or timeout that arrives in the same moment is kept for the next suspension
//! point, and the wait returns normally with what it was given. A node that was not notified is unlinked under the
//! lock before the raise goes on, so nobody can give it anything any more. There is no third case, hence no item,
//! permit or wake-up that has to be handed back. (gevent: a wake-up that is already queued goes before the throw.)
//!
//! # Invariants
//! - A node is in at most one list, and does not move meanwhile: [`wait`], and the destructors of [`Slot`] and `IWait`, take it out. Lists are
//!   touched under the lock.
//! - The waker reads the node for the last time before it stores `notified`; after that the waiter may be gone.
//! - Wake-ups are hints: a waiter that resumes without being notified goes on waiting.

mod node;
mod party;
mod slot;

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

pub use node::Node;
use node::{Claimed, Openness};
pub(crate) use node::{Waiter, Wakeup, Wakeups};
pub use party::Party;
pub use slot::{Attempt, Slot};

use crate::greenlet::raw::Header;
use crate::hub::{self, Context, Deadline, Hub, Nanos, Resume};
use crate::lock::{Lock, LockGuard};

/// First in, first out.
#[expect(missing_debug_implementations, reason = "only sealed traits name it")]
pub struct WaitList<P> {
    first: Option<NonNull<Node<P>>>,
    last: Option<NonNull<Node<P>>>,
}

// SAFETY: nodes are reached under the lock that the list is kept in, and the payloads move with it: `P: Send`.
unsafe impl<P: Send> Send for WaitList<P> {}

impl<P> WaitList<P> {
    pub(crate) const fn new() -> WaitList<P> {
        WaitList { first: None, last: None }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// # Safety
    /// The node stays in place until it was taken out again.
    unsafe fn push(&mut self, node: NonNull<Node<P>>) {
        // SAFETY: the node is alive (caller), those in the list are (invariant).
        unsafe {
            node.as_ref().previous.set(self.last);
            node.as_ref().next.set(None);
            match self.last {
                Some(last) => last.as_ref().next.set(Some(node)),
                None => self.first = Some(node),
            }
        }
        self.last = Some(node);
    }

    /// # Safety
    /// The node is in this list.
    unsafe fn unlink(&mut self, node: NonNull<Node<P>>) {
        // SAFETY: nodes in the list are alive.
        unsafe {
            let (previous, next) = (node.as_ref().previous.get(), node.as_ref().next.get());
            match previous {
                Some(previous) => previous.as_ref().next.set(next),
                None => self.first = next,
            }
            match next {
                Some(next) => next.as_ref().previous.set(previous),
                None => self.last = previous,
            }
        }
    }

    /// Takes out the first waiter who can still be given something. The caller notifies him.
    #[inline]
    pub(crate) fn claim_first(&mut self) -> Option<Claimed<'_, P>> {
        loop {
            let node = self.first?;
            // SAFETY: the node is in the list, so it is alive.
            unsafe {
                self.unlink(node);
                if node.as_ref().claim() {
                    return Some(Claimed(node, PhantomData));
                }
                node.as_ref().mark_apart();
            }
        }
    }

    /// Takes out the first waiter, lets `hand_over` change its payload, and notifies it.
    #[inline]
    pub(crate) fn notify_first<R>(&mut self, hand_over: impl FnOnce(&mut P) -> R) -> Option<(R, Wakeup)> {
        Some(self.claim_first()?.notify(hand_over))
    }

    /// Notifies everybody who waits now, in order.
    pub(crate) fn notify_all(&mut self) -> Wakeups {
        let mut wakeups = Wakeups::default();
        while let Some(((), wakeup)) = self.notify_first(|_| ()) {
            wakeups.add(wakeup);
        }
        wakeups
    }

    /// Whether somebody waits here who can still be given something, other than `mine`.
    pub(crate) fn has_taker(&mut self, mine: Option<NonNull<Party>>) -> bool {
        let mut next = self.first;
        while let Some(node) = next {
            // SAFETY: the node is in the list, so it is alive, and who has the list has its lock.
            unsafe {
                next = node.as_ref().next.get();
                match node.as_ref().openness(mine) {
                    Openness::Open => return true,
                    Openness::Mine => {}
                    Openness::Decided => {
                        self.unlink(node);
                        node.as_ref().mark_apart();
                    }
                }
            }
        }
        false
    }

    /// How many wait here who can still be given something. Looks at each of them.
    pub(crate) fn count(&mut self) -> usize {
        let (mut count, mut next) = (0, self.first);
        while let Some(node) = next {
            // SAFETY: the node is in the list, so it is alive, and who has the list has its lock.
            let openness = unsafe {
                next = node.as_ref().next.get();
                node.as_ref().openness(None)
            };
            count += usize::from(openness == Openness::Open);
        }
        count
    }

    /// Puts a node into the list that somebody else than [`wait`] made.
    ///
    /// # Safety
    /// The node is in no list. It stays in place, and its party with it, until [`leave`](WaitList::leave) took it out.
    pub(crate) unsafe fn enter(&mut self, node: &Node<P>) {
        node.mark_linked();
        // SAFETY: passed on.
        unsafe { self.push(NonNull::from(node)) };
    }

    /// Takes a node out, if it is still in. True if it was notified.
    ///
    /// # Safety
    /// If the node is in a list, it is this one.
    pub(crate) unsafe fn leave(&mut self, node: &Node<P>) -> bool {
        if node.linked() {
            // SAFETY: a linked node is in a list, and that is this one (caller).
            unsafe { self.unlink(NonNull::from(node)) };
            node.mark_apart();
        }
        node.notified()
    }
}

/// The deadline came first. The payload comes back.
pub(crate) struct TimedOut<P>(pub(crate) P);

/// Waits in the list that `list` finds under the lock, until notified. Greenlets suspend, threads without a hub park.
///
/// A raise unwinds from here, unless the node has won (module docs). `what` names the wait for those who look on.
#[inline(always)]
pub(crate) fn wait<I, P>(
    what: &'static str,
    guard: LockGuard<'_, I>,
    list: impl Fn(&mut I) -> &mut WaitList<P>,
    payload: P,
    deadline: Deadline,
) -> Result<P, TimedOut<P>> {
    wait_unless_given_up(what, guard, list, |_| (), payload, deadline)
}

/// As [`wait`]. When the wait ends without a notification, because of a deadline, a raise, or since nobody may wait here, `given_up` is called
/// under the lock, in the critical section in which the node is not in the list any more: for primitives that know more of their waiters
/// than the list does.
#[inline(always)]
pub(crate) fn wait_unless_given_up<I, P>(
    what: &'static str,
    mut guard: LockGuard<'_, I>,
    list: impl Fn(&mut I) -> &mut WaitList<P>,
    given_up: impl Fn(&mut I),
    payload: P,
    deadline: Deadline,
) -> Result<P, TimedOut<P>> {
    let context = hub::context();
    let waiter = match &context {
        Context::Greenlet(_, header) => Waiter::Greenlet(*header),
        Context::Thread => Waiter::of_this_thread(),
        Context::Loop => {
            given_up(&mut guard);
            drop(guard);
            hub::blocked_in_loop();
        }
    };
    let node = Node::new(waiter, payload);
    let lock = LockGuard::lock_of(&guard);
    // SAFETY: the node does not move: it is only borrowed until the end of this function, and `Unlink` takes it out
    // of the list on every other way out.
    unsafe { list(&mut guard).push(NonNull::from(&node)) };
    drop(guard);
    let unlink = Unlink { lock, list: &list, given_up: &given_up, node: &node };
    let notified = match context {
        Context::Greenlet(hub, header) => {
            hub.note_wait(header, what, std::ptr::from_ref(lock).addr());
            suspend(hub, header, &unlink, deadline)
        }
        _ => park(&unlink, deadline),
    };
    drop(unlink);
    let payload = node.into_payload();
    if notified { Ok(payload) } else { Err(TimedOut(payload)) }
}

/// Takes a node out of its list, unless it was notified.
struct Unlink<'a, I, P, L: Fn(&mut I) -> &mut WaitList<P>, G: Fn(&mut I)> {
    lock: &'a Lock<I>,
    list: &'a L,
    given_up: &'a G,
    node: &'a Node<P>,
}

impl<I, P, L: Fn(&mut I) -> &mut WaitList<P>, G: Fn(&mut I)> Unlink<'_, I, P, L, G> {
    #[inline]
    fn notified(&self) -> bool {
        self.node.notified()
    }

    /// Whether the node was notified; if not, it is out of the list now and never will be.
    #[cold]
    #[inline(never)]
    fn give_up(&self) -> bool {
        let mut guard = self.lock.lock();
        let notified = self.notified();
        if !notified {
            // SAFETY: a node that was not notified is in its list, and that is decided under the lock.
            unsafe { (self.list)(&mut guard).unlink(NonNull::from(self.node)) };
            self.node.mark_apart();
            (self.given_up)(&mut guard);
        }
        notified
    }
}

impl<I, P, L: Fn(&mut I) -> &mut WaitList<P>, G: Fn(&mut I)> Drop for Unlink<'_, I, P, L, G> {
    #[inline]
    fn drop(&mut self) {
        if self.node.linked() {
            self.give_up();
        }
    }
}

/// The waiting of a greenlet. False: the deadline passed.
#[inline(always)]
fn suspend<I, P, L: Fn(&mut I) -> &mut WaitList<P>, G: Fn(&mut I)>(
    hub: &Hub,
    header: NonNull<Header>,
    unlink: &Unlink<'_, I, P, L, G>,
    deadline: Deadline,
) -> bool {
    let timer = hub::WakeTimer::start_lazily(hub, header, deadline);
    loop {
        match hub.park(header) {
            Resume::Woken if unlink.notified() => return true,
            Resume::Woken if timer.fired() => return unlink.give_up(),
            Resume::Woken => {}
            Resume::Raised => {
                if unlink.give_up() {
                    return true;
                }
                drop(timer);
                hub.throw_pending(header);
            }
        }
    }
}

/// Parks the thread or, on a thread of `may`'s, the coroutine.
fn park_thread(timeout: Option<Duration>) {
    #[cfg(feature = "may")]
    if may::coroutine::is_coroutine() {
        return match timeout {
            None => may::coroutine::park(),
            // Of less than a millisecond it would never come back (0.3.51).
            Some(timeout) => may::coroutine::park_timeout(timeout.max(Duration::from_millis(1))),
        };
    }
    match timeout {
        None => std::thread::park(),
        Some(timeout) => std::thread::park_timeout(timeout),
    }
}

/// The waiting of a thread that has no hub, or of a coroutine of `may`.
#[cold]
fn park<I, P, L: Fn(&mut I) -> &mut WaitList<P>, G: Fn(&mut I)>(
    unlink: &Unlink<'_, I, P, L, G>,
    mut deadline: Deadline,
) -> bool {
    let deadline = deadline.fix();
    while !unlink.notified() {
        match deadline {
            None => park_thread(None),
            Some(deadline) => {
                let left = deadline.since(Nanos::now());
                if left.is_zero() {
                    return unlink.give_up();
                }
                park_thread(Some(left));
            }
        }
    }
    true
}
