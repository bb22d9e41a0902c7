//! Somebody who waits, and how he is woken.

use std::cell::{Cell, UnsafeCell};
use std::marker::{PhantomData, PhantomPinned};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;
use std::thread::Thread;

use super::{Party, WaitList};
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::Header;
use crate::hub;

/// Somebody who waits, with what is handed over.
pub struct Node<P> {
    pub(super) previous: Cell<Option<NonNull<Node<P>>>>,
    pub(super) next: Cell<Option<NonNull<Node<P>>>>,
    state: AtomicU8,
    waiter: UnsafeCell<Waiter>,
    payload: UnsafeCell<P>,
    /// Others reach it through its neighbours: a `&mut` to what it is in must not promise that nobody does.
    _pinned: PhantomPinned,
}

/// In a list, or about to be put there.
const LINKED: u8 = 0;
/// In no list, and nobody has given it anything.
const APART: u8 = 1;
/// Taken out of its list by somebody who had something for it.
const NOTIFIED: u8 = 2;

pub(crate) enum Waiter {
    /// A greenlet of the hub that this header names; alive while it waits.
    Greenlet(NonNull<Header>),
    Thread(Thread),
    /// One of several waits of somebody, with its number. The party lives as long as the node is in a list.
    Party(NonNull<Party>, u32),
    Task(Waker),
    #[cfg(feature = "may")]
    Coroutine(may::coroutine::Coroutine),
    /// He was woken.
    Nobody,
}

impl<P> Node<P> {
    /// One that is put into a list next.
    #[inline]
    pub(crate) fn new(waiter: Waiter, payload: P) -> Node<P> {
        Node {
            previous: Cell::new(None),
            next: Cell::new(None),
            state: AtomicU8::new(LINKED),
            waiter: UnsafeCell::new(waiter),
            payload: UnsafeCell::new(payload),
            _pinned: PhantomPinned,
        }
    }

    /// One that is in no list.
    pub(crate) fn apart(waiter: Waiter, payload: P) -> Node<P> {
        Node { state: AtomicU8::new(APART), ..Node::new(waiter, payload) }
    }

    #[inline]
    pub(crate) fn notified(&self) -> bool {
        self.state.load(Ordering::Acquire) == NOTIFIED
    }

    /// Whether it is in a list. That is certain under the list's lock only; once it was taken out, it stays so until its owner links it again.
    #[inline]
    pub(super) fn linked(&self) -> bool {
        self.state.load(Ordering::Acquire) == LINKED
    }

    /// Under the list's lock.
    pub(super) fn mark_linked(&self) {
        self.state.store(LINKED, Ordering::Relaxed);
    }

    /// Under the list's lock. From then on it belongs to its owner alone.
    pub(super) fn mark_apart(&self) {
        self.state.store(APART, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn into_payload(self) -> P {
        // Said in this way, the common case is one comparison, and the rest is out of the way.
        match self.waiter.into_inner() {
            Waiter::Greenlet(_) => {}
            other => drop_waiter(other),
        }
        self.payload.into_inner()
    }

    /// Whether it could be notified now, by somebody other than `mine`.
    ///
    /// # Safety
    /// Under the list's lock.
    pub(super) unsafe fn openness(&self, mine: Option<NonNull<Party>>) -> Openness {
        // SAFETY: the waiter is only changed under the lock.
        match unsafe { &*self.waiter.get() } {
            Waiter::Party(party, _) if Some(*party) == mine => Openness::Mine,
            // SAFETY: a node in a list has its party.
            Waiter::Party(party, _) if !unsafe { party.as_ref() }.is_open() => Openness::Decided,
            _ => Openness::Open,
        }
    }

    /// Claims the waiter. False if another of his waits was faster.
    ///
    /// # Safety
    /// Under the list's lock, with the node in the list or just taken out.
    #[inline]
    pub(super) unsafe fn claim(&self) -> bool {
        // SAFETY: the waiter is only changed under the lock.
        match unsafe { &*self.waiter.get() } {
            // SAFETY: a node in a list has its party.
            Waiter::Party(party, _) => unsafe { party.as_ref() }.claim(),
            _ => true,
        }
    }

    /// Exchanges who is woken, and returns who was.
    ///
    /// # Safety
    /// Under the list's lock, or for a node in no list.
    pub(crate) unsafe fn exchange_waiter(&self, waiter: Waiter) -> Waiter {
        // SAFETY: passed on.
        unsafe { std::mem::replace(&mut *self.waiter.get(), waiter) }
    }
}

#[cold]
#[inline(never)]
fn drop_waiter(waiter: Waiter) {
    drop(waiter);
}

/// Whether a node in a list can still be given something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Openness {
    Open,
    Mine,
    Decided,
}

/// A waiter that was taken out of its list, and will be notified.
#[must_use = "a claimed waiter sleeps until it is notified"]
pub(crate) struct Claimed<'a, P>(pub(super) NonNull<Node<P>>, pub(super) PhantomData<&'a mut WaitList<P>>);

impl<P> Claimed<'_, P> {
    /// Lets `hand_over` change the payload, and marks the node notified.
    #[inline]
    pub(crate) fn notify<R>(self, hand_over: impl FnOnce(&mut P) -> R) -> (R, Wakeup) {
        // SAFETY: a node that was claimed is alive until it is marked, its payload and waiter are ours under the lock, which is
        // held as long as the list is borrowed, and it is not touched afterwards.
        unsafe {
            let node = self.0.as_ref();
            let result = hand_over(&mut *node.payload.get());
            let wakeup = Waiter::wakeup(&mut *node.waiter.get());
            node.state.store(NOTIFIED, Ordering::Release);
            (result, wakeup)
        }
    }
}

/// A wake-up to be done after the lock is given back.
#[must_use = "the waiter sleeps until it is woken"]
pub(crate) enum Wakeup {
    /// A greenlet of the current hub: nothing can run, or end, before the caller wakes it.
    Here(NonNull<Header>),
    Elsewhere(GreenletRef),
    Thread(Thread),
    Task(Waker),
    #[cfg(feature = "may")]
    Coroutine(may::coroutine::Coroutine),
    /// He does not sleep.
    Nobody,
}

impl Waiter {
    /// The thread, or on a thread of `may`'s the coroutine.
    #[cold]
    pub(super) fn of_this_thread() -> Waiter {
        #[cfg(feature = "may")]
        if may::coroutine::is_coroutine() {
            return Waiter::Coroutine(may::coroutine::current());
        }
        Waiter::Thread(std::thread::current())
    }

    #[inline]
    fn wakeup(&mut self) -> Wakeup {
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
            _ => self.other_wakeup(),
        }
    }

    #[inline(never)]
    fn other_wakeup(&mut self) -> Wakeup {
        match std::mem::replace(self, Waiter::Nobody) {
            Waiter::Thread(thread) => Wakeup::Thread(thread),
            Waiter::Task(waker) => Wakeup::Task(waker),
            #[cfg(feature = "may")]
            Waiter::Coroutine(coroutine) => Wakeup::Coroutine(coroutine),
            // SAFETY: a node that is being notified has its party.
            Waiter::Party(party, number) => unsafe { party.as_ref() }.announce(number),
            Waiter::Greenlet(_) | Waiter::Nobody => Wakeup::Nobody,
        }
    }
}

impl Wakeup {
    #[inline]
    pub(crate) fn wake(self) {
        match self {
            // SAFETY: `Here` is only made for greenlets that wait on this thread, and used before anything else runs.
            Wakeup::Here(header) => unsafe { hub::schedule_here(header) },
            other => other.wake_other(),
        }
    }

    #[inline(never)]
    fn wake_other(self) {
        match self {
            Wakeup::Here(_) => {}
            Wakeup::Elsewhere(greenlet) => greenlet.wake_from_elsewhere(),
            Wakeup::Thread(thread) => thread.unpark(),
            Wakeup::Task(waker) => wake_task(waker),
            #[cfg(feature = "may")]
            Wakeup::Coroutine(coroutine) => coroutine.unpark(),
            Wakeup::Nobody => {}
        }
    }
}

/// A waker is somebody else's code, and whoever wakes has others to wake.
#[cold]
fn wake_task(waker: Waker) {
    // What is raised in the greenlet that wakes, while the waker suspends it, is meant for it and not for the waker: it comes again.
    crate::report::contain_for(format_args!("waking an async task"), || waker.wake());
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
            Wakeup::Nobody => {}
            elsewhere => self.0.push(elsewhere),
        }
    }

    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Wakeup::wake);
    }
}
