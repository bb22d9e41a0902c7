//! Waiting: the list of those who wait on a primitive, and the one function that suspends.
//!
//! A wait node lives on the stack of the waiter and is linked into a list under the primitive's lock. Whoever has
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
//! - A node is in at most one list, and only while its waiter is inside [`wait`]; lists are touched under the lock.
//! - The waker reads the node for the last time before it stores `notified`; after that the waiter may be gone.
//! - Wake-ups are hints: a waiter that resumes without being notified goes on waiting.

use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use crate::greenlet::GreenletRef;
use crate::greenlet::raw::Header;
use crate::hub::{self, Context, Deadline, Hub, Nanos, Resume};
use crate::lock::{Lock, LockGuard};

/// Somebody who waits, with what is handed over.
pub(crate) struct Node<P> {
    previous: Cell<Option<NonNull<Node<P>>>>,
    next: Cell<Option<NonNull<Node<P>>>>,
    notified: AtomicBool,
    waiter: Waiter,
    payload: UnsafeCell<P>,
}

enum Waiter {
    /// A greenlet of the hub that this header names; alive while it waits.
    Greenlet(NonNull<Header>),
    Thread(Thread),
}

/// A wake-up to be done after the lock is given back.
#[must_use = "the waiter sleeps until it is woken"]
pub(crate) enum Wakeup {
    /// A greenlet of the current hub: nothing can run, or end, before the caller wakes it.
    Here(NonNull<Header>),
    Elsewhere(GreenletRef),
    Thread(Thread),
}

impl Waiter {
    #[inline]
    fn wakeup(&self) -> Wakeup {
        match self {
            Waiter::Greenlet(header) => {
                // SAFETY: the node is in a list, so its waiter is inside `wait` and its greenlet alive.
                let greenlet = unsafe { header.as_ref() };
                if greenlet.shared.is_current() {
                    Wakeup::Here(*header)
                } else {
                    // SAFETY: as above.
                    Wakeup::Elsewhere(unsafe { GreenletRef::retained(*header) })
                }
            }
            Waiter::Thread(thread) => Wakeup::Thread(thread.clone()),
        }
    }
}

impl Wakeup {
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            // SAFETY: `Here` is only made for greenlets that wait on this thread, and used before anything else runs.
            Wakeup::Here(header) => unsafe { hub::schedule_here(header) },
            Wakeup::Elsewhere(greenlet) => greenlet.wake_from_elsewhere(),
            Wakeup::Thread(thread) => thread.unpark(),
        }
    }
}

/// First in, first out.
pub(crate) struct WaitList<P> {
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

    /// Takes out the first waiter, lets `hand_over` change its payload, and notifies it.
    #[inline]
    pub(crate) fn notify_first<R>(&mut self, hand_over: impl FnOnce(&mut P) -> R) -> Option<(R, Wakeup)> {
        let node = self.first?;
        // SAFETY: the node is in the list, so it is alive, and its payload is ours under the lock. It is not
        // touched after `notified` was stored.
        unsafe {
            self.unlink(node);
            let node = node.as_ref();
            let result = hand_over(&mut *node.payload.get());
            let wakeup = node.waiter.wakeup();
            node.notified.store(true, Ordering::Release);
            Some((result, wakeup))
        }
    }

    /// Notifies everybody who waits now, in order.
    pub(crate) fn notify_all(&mut self) -> Wakeups {
        let mut wakeups = Wakeups::default();
        while let Some(((), wakeup)) = self.notify_first(|_| ()) {
            wakeups.add(wakeup);
        }
        wakeups
    }
}

/// Wake-ups of many, collected under the lock and done after it is given back.
#[must_use = "the waiters sleep until they are woken"]
#[derive(Default)]
pub(crate) struct Wakeups(Vec<Wakeup>);

impl Wakeups {
    pub(crate) fn add(&mut self, wakeup: Wakeup) {
        match wakeup {
            // Queueing one of our own is a few stores: no need to collect a million of them first.
            Wakeup::Here(_) => wakeup.wake(),
            elsewhere => self.0.push(elsewhere),
        }
    }

    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Wakeup::wake);
    }
}

/// The deadline came first. The payload comes back.
pub(crate) struct TimedOut<P>(pub(crate) P);

/// Waits in the list that `list` finds under the lock, until notified. Greenlets suspend, threads without a hub park.
///
/// `list` is called once, to link the node, and once more only if the node is taken out without having been notified: a
/// primitive may keep count of its waiters there (`Barrier` does).
///
/// A raise unwinds from here, unless the node has won (module docs).
#[inline(always)]
pub(crate) fn wait<I, P>(
    mut guard: LockGuard<'_, I>,
    list: impl Fn(&mut I) -> &mut WaitList<P>,
    payload: P,
    deadline: Deadline,
) -> Result<P, TimedOut<P>> {
    let context = hub::context();
    let waiter = match &context {
        Context::Greenlet(_, header) => Waiter::Greenlet(*header),
        Context::Thread => Waiter::Thread(std::thread::current()),
        Context::Loop => {
            drop(guard);
            hub::blocked_in_loop();
        }
    };
    let node = Node {
        previous: Cell::new(None),
        next: Cell::new(None),
        notified: AtomicBool::new(false),
        waiter,
        payload: UnsafeCell::new(payload),
    };
    let lock = LockGuard::lock_of(&guard);
    // SAFETY: the node does not move: it is only borrowed until the end of this function, and `Unlink` takes it out
    // of the list on every other way out.
    unsafe { list(&mut guard).push(NonNull::from(&node)) };
    drop(guard);
    let unlink = Unlink { lock, list: &list, node: &node };
    let notified = match context {
        Context::Greenlet(hub, header) => suspend(hub, header, &unlink, deadline),
        _ => park(&unlink, deadline),
    };
    drop(unlink);
    let payload = node.payload.into_inner();
    if notified { Ok(payload) } else { Err(TimedOut(payload)) }
}

/// Takes a node out of its list, unless it was notified.
struct Unlink<'a, I, P, L: Fn(&mut I) -> &mut WaitList<P>> {
    lock: &'a Lock<I>,
    list: &'a L,
    node: &'a Node<P>,
}

impl<I, P, L: Fn(&mut I) -> &mut WaitList<P>> Unlink<'_, I, P, L> {
    #[inline]
    fn notified(&self) -> bool {
        self.node.notified.load(Ordering::Acquire)
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
            // From here on `drop` has nothing to do.
            self.node.notified.store(true, Ordering::Relaxed);
        }
        notified
    }
}

impl<I, P, L: Fn(&mut I) -> &mut WaitList<P>> Drop for Unlink<'_, I, P, L> {
    #[inline]
    fn drop(&mut self) {
        if !self.notified() {
            self.give_up();
        }
    }
}

/// The waiting of a greenlet. False: the deadline passed.
#[inline(always)]
fn suspend<I, P, L: Fn(&mut I) -> &mut WaitList<P>>(
    hub: &Hub,
    header: NonNull<Header>,
    unlink: &Unlink<'_, I, P, L>,
    mut deadline: Deadline,
) -> bool {
    let timer = hub::WakeTimer::start(hub, header, &mut deadline);
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

/// The waiting of a thread that has no hub.
#[cold]
fn park<I, P, L: Fn(&mut I) -> &mut WaitList<P>>(
    unlink: &Unlink<'_, I, P, L>,
    mut deadline: Deadline,
) -> bool {
    let deadline = deadline.fix();
    while !unlink.notified() {
        match deadline {
            None => std::thread::park(),
            Some(deadline) => {
                let left = deadline.since(Nanos::now());
                if left.is_zero() {
                    return unlink.give_up();
                }
                std::thread::park_timeout(left);
            }
        }
    }
    true
}
