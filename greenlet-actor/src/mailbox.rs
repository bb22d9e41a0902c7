//! The inbox of an actor: many senders, one owner, no locks.
//!
//! One word says both what was sent and whether somebody has the actor:
//!
//! | `top` | |
//! |---|---|
//! | `IDLE` | nothing was sent and nobody has the actor: who changes this word has to see to it that it runs |
//! | null | somebody has it (it runs, or it waits for its turn), and nothing new was sent |
//! | a node | somebody has it; the newest message, which leads to the older ones |
//! | `WAITING` | its handler waits for a message: who changes this word wakes it |
//! | `POKED` | somebody has it, nothing new was sent, and it is to look at its flags before it rests |
//! | `CLOSED` | it has ended; for ever |
//!
//! # Invariants
//! - **The owner** is who changed `IDLE` to something else, or whom that one handed the actor on to. There is one at a time, and each hands
//!   on with at least release and acquire (through `top`, or a queue of activations). `pending` is the owner's.
//! - A node is reachable from `top`, or from `pending`, or is in the hands of one thread.
//! - Senders only ever put nodes on top, so what the owner takes at once is the order of sending, reversed.

use std::ptr;

use greenlet_core::embed::memory;
#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// What loom's cell looks like, around std's.
#[cfg(not(loom))]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    const fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

#[repr(C)]
pub(crate) struct Mailbox<T> {
    top: AtomicPtr<Node<T>>,
    /// How many were sent while somebody had the actor.
    joined: AtomicU64,
    /// What senders write lies on another cache line than what the owner writes with each message, which they would take from each other's core.
    _apart: [u64; 6],
    /// How many found it idle. Whoever sent such a one is the owner, and the owner alone writes this: it costs no read-modify-write.
    woke: AtomicU64,
    /// How many the owner has taken out.
    taken: AtomicU64,
    /// What the owner has taken from `top`, oldest first.
    pending: UnsafeCell<*mut Node<T>>,
}

struct Node<T> {
    next: *mut Node<T>,
    value: T,
}

// SAFETY: values go from the sender's thread to the owner's, hence `T: Send`; nobody shares one.
unsafe impl<T: Send> Send for Mailbox<T> {}
// SAFETY: as above; `pending` is touched by the owner alone (invariant).
unsafe impl<T: Send> Sync for Mailbox<T> {}

/// What the sender has to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pushed {
    /// Nothing.
    Queued,
    /// The actor was idle and is the sender's now, who hands it on to be run.
    WasIdle,
    /// Its handler waits for a message, and is to be woken.
    WasWaiting,
}

impl<T> Mailbox<T> {
    fn idle() -> *mut Node<T> {
        ptr::without_provenance_mut(1)
    }

    fn waiting() -> *mut Node<T> {
        ptr::without_provenance_mut(2)
    }

    fn closed() -> *mut Node<T> {
        ptr::without_provenance_mut(3)
    }

    fn poked() -> *mut Node<T> {
        ptr::without_provenance_mut(4)
    }

    /// Whether that is a word and no node. None is in the first page.
    fn is_mark(top: *mut Node<T>) -> bool {
        top.addr() <= 4
    }

    /// An empty one, with an owner: whoever made it.
    pub(crate) fn new() -> Mailbox<T> {
        Mailbox {
            top: AtomicPtr::new(ptr::null_mut()),
            joined: AtomicU64::new(0),
            _apart: [0; 6],
            woke: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            pending: UnsafeCell::new(ptr::null_mut()),
        }
    }

    /// How many are in it. While others send it is a little behind or ahead.
    pub(crate) fn len(&self) -> usize {
        let taken = self.taken.load(Ordering::Relaxed);
        usize::try_from(self.sent().saturating_sub(taken)).unwrap_or(usize::MAX)
    }

    /// How many were ever sent.
    pub(crate) fn sent(&self) -> u64 {
        self.joined.load(Ordering::Relaxed).wrapping_add(self.woke.load(Ordering::Relaxed))
    }

    /// How many the owner has taken out.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether nobody has the actor.
    pub(crate) fn is_idle(&self) -> bool {
        self.top.load(Ordering::Relaxed) == Self::idle()
    }

    /// Whether its handler waits for a message.
    pub(crate) fn is_waiting(&self) -> bool {
        self.top.load(Ordering::Relaxed) == Self::waiting()
    }

    /// What one more takes in memory.
    pub(crate) const NODE: usize = size_of::<Node<T>>();

    /// Puts a value in, behind all that are there. It comes back if the actor has ended.
    #[inline]
    pub(crate) fn push(&self, value: T) -> Result<Pushed, T> {
        let node = memory::put(Node { next: ptr::null_mut(), value });
        let mut counted = false;
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            if top == Self::closed() {
                if counted {
                    self.joined.fetch_sub(1, Ordering::Relaxed);
                }
                // SAFETY: the node is still ours alone.
                return Err(unsafe { memory::take(node) }.value);
            }
            if top != Self::idle() && !counted {
                // Before it can be taken, so that `sent` is never behind `taken`.
                self.joined.fetch_add(1, Ordering::Relaxed);
                counted = true;
            }
            // SAFETY: as above.
            unsafe { (*node).next = if Self::is_mark(top) { ptr::null_mut() } else { top } };
            // Release: who takes the node sees what is in it. Acquire: who becomes the owner sees what the last one did.
            match self.top.compare_exchange_weak(top, node, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => top = now,
            }
        }
        Ok(if top == Self::idle() {
            if !counted {
                self.woke.store(self.woke.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            Pushed::WasIdle
        } else if top == Self::waiting() {
            Pushed::WasWaiting
        } else {
            Pushed::Queued
        })
    }

    /// Has the actor look at its flags: an idle one is the caller's afterwards (true), one that has an owner is looked at by that one before it rests.
    /// Who touches an actor that has rested may find it ended and gone, so the owner looks before.
    pub(crate) fn wake(&self) -> bool {
        // Sequentially consistent, and so is what the owner does to `top` before it looks at the flags. Who sees the word as it was before
        // that set its flag before.
        let mut top = self.top.load(Ordering::SeqCst);
        loop {
            let to = if top == Self::idle() {
                ptr::null_mut()
            } else if top.is_null() {
                Self::poked()
            } else {
                // Before it rests it takes the messages out, or comes back from its wait, and looks at the flags then.
                return false;
            };
            match self.top.compare_exchange_weak(top, to, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return to.is_null(),
                Err(now) => top = now,
            }
        }
    }

    /// Takes the oldest out.
    ///
    /// # Safety
    /// The caller is the owner.
    #[inline]
    pub(crate) unsafe fn next(&self) -> Option<T> {
        self.pending.with_mut(|pending| {
            // SAFETY: `pending` is the owner's, and its nodes are in nobody else's hands.
            unsafe {
                if (*pending).is_null() {
                    *pending = self.take_all();
                }
                let node = *pending;
                if node.is_null() {
                    return None;
                }
                let Node { next, value } = memory::take(node);
                memory::prefetch(next);
                *pending = next;
                // Written by the owner alone: no need for a read-modify-write.
                self.taken.store(self.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                Some(value)
            }
        })
    }

    /// The owner's side, in words that cannot be misused.
    ///
    /// # Safety
    /// The caller is the owner, stays it as long as this lives, and touches the owner's side only through this one meanwhile.
    pub(crate) unsafe fn owned(&self) -> Owned<'_, T> {
        Owned(self)
    }

    /// All that was sent since the last time, oldest first.
    ///
    /// # Safety
    /// The caller is the owner.
    #[inline]
    unsafe fn take_all(&self) -> *mut Node<T> {
        // A look first: most often there is nothing, and that costs no write.
        if Self::is_mark(self.top.load(Ordering::Relaxed)) {
            return ptr::null_mut();
        }
        // Acquire: what the senders wrote. And more for `wake`.
        let mut newest = self.top.swap(ptr::null_mut(), Ordering::SeqCst);
        let mut chain = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: the nodes came off `top` with the swap, so they are ours.
            unsafe {
                let older = (*newest).next;
                (*newest).next = chain;
                chain = newest;
                newest = older;
            }
        }
        chain
    }

    /// Gives the actor up, if nothing was sent and nobody woke it. Then the caller is the owner no more, and the mailbox may be gone.
    ///
    /// # Safety
    /// The caller is the owner, and has taken everything out.
    #[inline]
    pub(crate) unsafe fn rest(&self) -> bool {
        // Release: the next owner sees what this one did.
        let rests =
            self.top.compare_exchange(ptr::null_mut(), Self::idle(), Ordering::Release, Ordering::Relaxed);
        if rests == Err(Self::poked()) {
            self.is_looked_at();
        }
        rests.is_ok()
    }

    /// The owner is about to look at the flags.
    #[cold]
    fn is_looked_at(&self) {
        // Fails if something was sent meanwhile, which does as well. For the strength see `wake`.
        let _ =
            self.top.compare_exchange(Self::poked(), ptr::null_mut(), Ordering::SeqCst, Ordering::Relaxed);
    }

    /// Ends it: nothing can be sent any more. What was sent and not taken comes back, oldest first.
    ///
    /// # Safety
    /// The caller is the owner, and stays it.
    pub(crate) unsafe fn close(&self) -> Vec<T> {
        let mut left = Vec::new();
        // SAFETY: the caller is the owner.
        while let Some(value) = unsafe { self.next() } {
            left.push(value);
        }
        let mut newest = self.top.swap(Self::closed(), Ordering::AcqRel);
        let from = left.len();
        while !Self::is_mark(newest) {
            // SAFETY: the nodes came off `top` with the swap.
            let node = unsafe { memory::take(newest) };
            newest = node.next;
            left.push(node.value);
        }
        left[from..].reverse();
        self.taken.store(self.sent(), Ordering::Relaxed);
        left
    }
}

/// A node whose value was moved out.
struct Emptied<T>(*mut Node<T>);

impl<T> Drop for Emptied<T> {
    fn drop(&mut self) {
        // SAFETY: who made this has the node to itself, and has moved out what was in it.
        unsafe { memory::free(self.0) };
    }
}

/// The owner's side of a mailbox, while a handler has it: see [`Mailbox::owned`].
pub(crate) struct Owned<'a, T>(&'a Mailbox<T>);

impl<T> Owned<'_, T> {
    /// Takes the oldest out.
    pub(crate) fn next(&mut self) -> Option<T> {
        // SAFETY: by the contract of `owned`.
        unsafe { self.0.next() }
    }

    /// Takes the oldest out, to be kept elsewhere for a while: it counts as being in the mailbox.
    pub(crate) fn take_uncounted(&mut self) -> Option<T> {
        let value = self.next()?;
        self.0.taken.store(self.0.taken.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        Some(value)
    }

    /// One of those that are kept elsewhere was taken.
    pub(crate) fn count_taken(&mut self) {
        self.0.taken.store(self.0.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Puts those that are kept elsewhere in front of all others.
    pub(crate) fn put_back_uncounted(
        &mut self,
        values: impl DoubleEndedIterator<Item = T> + ExactSizeIterator,
    ) {
        self.0.joined.fetch_sub(values.len() as u64, Ordering::Relaxed);
        self.put_in_front(|_| false, values);
    }

    /// Takes out the oldest of which `take` makes something; what it gives back stays where it was. `known` is how many from the front
    /// were refused before, and grows by those that are refused now.
    ///
    /// Should `take` unwind, the value that it had is gone, and nothing else.
    pub(crate) fn take_first<R>(
        &mut self,
        known: &mut usize,
        mut take: impl FnMut(T) -> Result<R, T>,
    ) -> Option<R> {
        let mailbox = self.0;
        mailbox.pending.with_mut(|pending| {
            // SAFETY: `pending` and its nodes are the owner's, and this is all that touches them (contract of `owned`), also while `take` runs;
            // `at` points to the word that leads to the next node.
            unsafe {
                let mut at: *mut *mut Node<T> = pending;
                for _ in 0..*known {
                    at = &raw mut (**at).next;
                }
                loop {
                    if (*at).is_null() {
                        *at = mailbox.take_all();
                        if (*at).is_null() {
                            return None;
                        }
                    }
                    let node = *at;
                    *at = (*node).next;
                    let value = ptr::read(&raw const (*node).value);
                    // What is left is the memory: freed also if `take` unwinds.
                    let emptied = Emptied(node);
                    mailbox.taken.store(mailbox.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    match take(value) {
                        Ok(taken) => return Some(taken),
                        Err(value) => {
                            std::mem::forget(emptied);
                            (&raw mut (*node).value).write(value);
                            // Its `next` is as it was.
                            *at = node;
                            at = &raw mut (*node).next;
                            mailbox.taken.store(mailbox.taken.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
                            *known += 1;
                        }
                    }
                }
            }
        })
    }

    /// Puts values in front of all others, but behind those of the first that are `ahead`.
    pub(crate) fn put_in_front(
        &mut self,
        ahead: impl Fn(&T) -> bool,
        values: impl DoubleEndedIterator<Item = T>,
    ) {
        let mailbox = self.0;
        mailbox.pending.with_mut(|pending| {
            // SAFETY: as in `take_first`.
            unsafe {
                let mut at: *mut *mut Node<T> = pending;
                while !(*at).is_null() && ahead(&(**at).value) {
                    at = &raw mut (**at).next;
                }
                for value in values.rev() {
                    mailbox.joined.fetch_add(1, Ordering::Relaxed);
                    *at = memory::put(Node { next: *at, value });
                }
            }
        });
    }

    /// Says that the owner waits for something new, as long as what this returns lives. `None` if something new is there.
    pub(crate) fn wait(&mut self) -> Option<Waiting<'_, T>> {
        if self.0.top.load(Ordering::Relaxed) == Mailbox::poked() {
            // The flags are looked at when the handler has returned, at the latest.
            self.0.is_looked_at();
        }
        // Acquire and release, as for an owner that rests and one that comes.
        let empty = ptr::null_mut();
        let waits = self
            .0
            .top
            .compare_exchange(empty, Mailbox::waiting(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        waits.then_some(Waiting(self.0))
    }
}

/// The owner waits. Dropping it takes that back, unless something came; whatever ends the wait.
pub(crate) struct Waiting<'a, T>(&'a Mailbox<T>);

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let _ = self.0.top.compare_exchange(
            Mailbox::waiting(),
            ptr::null_mut(),
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        let pending = self.pending.with_mut(|pending| {
            // SAFETY: nobody else has the mailbox.
            unsafe { std::mem::replace(&mut *pending, ptr::null_mut()) }
        });
        for mut node in [pending, self.top.load(Ordering::Relaxed)] {
            while !Self::is_mark(node) {
                // SAFETY: nobody else has the mailbox, so its nodes are ours.
                let owned = unsafe { memory::take(node) };
                node = owned.next;
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::atomic::{AtomicBool, AtomicU32, fence};
    use loom::sync::{Arc, Mutex, Notify};
    use loom::thread;

    const STOPPING: u32 = 1;

    /// An actor as `cell` and `run` have it, as far as the mailbox is concerned: its state is what it was sent, in order.
    struct Actor {
        mailbox: Mailbox<(u8, u8)>,
        flags: AtomicU32,
        /// loom sees to it that there is one owner at a time, and that each sees what the last one did.
        state: UnsafeCell<Vec<(u8, u8)>>,
        ended: AtomicBool,
        /// Activations that were handed on to be run.
        queue: Mutex<u32>,
    }

    impl Actor {
        /// An idle one.
        fn idle() -> Arc<Actor> {
            let actor = Arc::new(Actor {
                mailbox: Mailbox::new(),
                flags: AtomicU32::new(0),
                state: UnsafeCell::new(Vec::new()),
                ended: AtomicBool::new(false),
                queue: Mutex::new(0),
            });
            // SAFETY: who made it is its owner.
            assert!(unsafe { actor.mailbox.rest() });
            actor
        }

        fn send(&self, sender: u8, number: u8) -> bool {
            match self.mailbox.push((sender, number)) {
                Ok(Pushed::WasIdle) => {
                    *self.queue.lock().unwrap() += 1;
                    true
                }
                Ok(_) => true,
                Err(_) => false,
            }
        }

        fn stop(&self) {
            self.flags.fetch_or(STOPPING, Ordering::SeqCst);
            // To loom, only fences are sequentially consistent; here the accesses are.
            fence(Ordering::SeqCst);
            if self.mailbox.wake() {
                *self.queue.lock().unwrap() += 1;
            }
        }

        /// Runs activations until there are none; anybody may.
        fn serve(&self) {
            loop {
                let mut queue = self.queue.lock().unwrap();
                if *queue == 0 {
                    return;
                }
                *queue -= 1;
                drop(queue);
                self.activate();
            }
        }

        /// As `Cell::activate`.
        fn activate(&self) {
            loop {
                fence(Ordering::SeqCst);
                if self.flags.load(Ordering::Acquire) & STOPPING != 0 {
                    // SAFETY: whoever runs the activation is the owner.
                    let left = unsafe { self.mailbox.close() };
                    self.handle(left);
                    assert!(!self.ended.swap(true, Ordering::Relaxed), "it ended twice");
                    return;
                }
                // SAFETY: as above.
                match unsafe { self.mailbox.next() } {
                    Some(message) => self.handle(vec![message]),
                    // SAFETY: as above.
                    None if unsafe { self.mailbox.rest() } => return,
                    None => {}
                }
            }
        }

        fn handle(&self, messages: Vec<(u8, u8)>) {
            // SAFETY: the owner's alone, which is what loom checks.
            self.state.with_mut(|state| unsafe { (*state).extend(messages) });
        }

        /// What arrived from this sender.
        fn from(&self, sender: u8) -> Vec<u8> {
            self.state.with_mut(|state| {
                // SAFETY: all threads have been joined.
                let all = unsafe { &*state };
                all.iter().filter(|message| message.0 == sender).map(|message| message.1).collect()
            })
        }
    }

    /// All interleavings with at most three preemptions: more take very long.
    fn model(f: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(f);
    }

    /// Two senders, which run the actor themselves when it falls to them: it moves between their threads. Nothing is lost, the order of each
    /// sender is kept, and nobody has the actor while another has it.
    #[test]
    fn every_message_arrives_in_the_order_of_its_sender() {
        model(|| {
            let actor = Actor::idle();
            let sender = |name: u8, count: u8| {
                let actor = actor.clone();
                thread::spawn(move || {
                    for number in 0..count {
                        assert!(actor.send(name, number));
                    }
                    actor.serve();
                })
            };
            let (first, second) = (sender(1, 2), sender(2, 1));
            first.join().unwrap();
            second.join().unwrap();
            actor.serve();
            assert_eq!((actor.from(1), actor.from(2)), (vec![0, 1], vec![0]));
        });
    }

    /// Whoever is told to stop stops, whether it was idle, queued or running, or was just being sent to: once. A message was taken or refused.
    #[test]
    fn a_stop_is_never_overlooked() {
        model(|| {
            let actor = Actor::idle();
            let sender = thread::spawn({
                let actor = actor.clone();
                move || {
                    let accepted = actor.send(1, 0);
                    actor.serve();
                    accepted
                }
            });
            let stopper = thread::spawn({
                let actor = actor.clone();
                move || {
                    actor.stop();
                    actor.serve();
                }
            });
            let accepted = sender.join().unwrap();
            stopper.join().unwrap();
            actor.serve();
            assert!(actor.ended.load(Ordering::Relaxed), "nobody had it and it did not end");
            assert_eq!(actor.from(1).len(), usize::from(accepted));
            assert!(!actor.send(1, 1));
        });
    }

    /// Two stops and a running actor: it is handed on once.
    #[test]
    fn of_two_who_wake_an_actor_one_has_it() {
        model(|| {
            let actor = Actor::idle();
            let other = thread::spawn({
                let actor = actor.clone();
                move || {
                    actor.stop();
                    actor.serve();
                }
            });
            actor.stop();
            actor.serve();
            other.join().unwrap();
            actor.serve();
            assert!(actor.ended.load(Ordering::Relaxed));
        });
    }

    /// A handler that waits for a message is woken by the next one, and by one alone.
    #[test]
    fn a_waiting_handler_is_woken() {
        model(|| {
            let mailbox = Arc::new(Mailbox::new());
            let arrived = Arc::new(Notify::new());
            let senders = [1, 2].map(|number| {
                let (mailbox, arrived) = (mailbox.clone(), arrived.clone());
                thread::spawn(move || {
                    let pushed = mailbox.push(number).unwrap();
                    assert_ne!(pushed, Pushed::WasIdle, "it has an owner");
                    if pushed == Pushed::WasWaiting {
                        arrived.notify();
                    }
                })
            });
            let mut seen = Vec::new();
            while seen.len() < 2 {
                // SAFETY: this thread made the mailbox and is its owner.
                unsafe {
                    while let Some(number) = mailbox.next() {
                        seen.push(number);
                    }
                    if seen.len() < 2
                        && let Some(waiting) = mailbox.owned().wait()
                    {
                        arrived.wait();
                        drop(waiting);
                    }
                }
            }
            for sender in senders {
                sender.join().unwrap();
            }
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }

    /// Of what comes while it is given up, a wait with a time limit loses nothing.
    #[test]
    fn a_wait_that_is_given_up_loses_nothing() {
        model(|| {
            let mailbox = Arc::new(Mailbox::new());
            let sender = thread::spawn({
                let mailbox = mailbox.clone();
                move || assert!(mailbox.push(1).is_ok())
            });
            // SAFETY: this thread made the mailbox and is its owner.
            let seen = unsafe {
                drop(mailbox.owned().wait());
                mailbox.next().is_some()
            };
            sender.join().unwrap();
            // SAFETY: as above.
            assert_eq!(unsafe { mailbox.next() }.is_some(), !seen);
            // SAFETY: as above.
            assert!(unsafe { mailbox.rest() }, "somebody has it still");
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A mailbox of boxed numbers, so that a tool that looks for leaks finds those.
    fn with(numbers: &[u32]) -> Mailbox<Box<u32>> {
        let mailbox = Mailbox::new();
        for number in numbers {
            assert!(mailbox.push(Box::new(*number)).is_ok());
        }
        mailbox
    }

    fn rest(mailbox: &Mailbox<Box<u32>>) -> Vec<u32> {
        // SAFETY: who made the mailbox is its owner.
        unsafe { mailbox.close() }.into_iter().map(|number| *number).collect()
    }

    fn even(number: Box<u32>) -> Result<u32, Box<u32>> {
        if number.is_multiple_of(2) { Ok(*number) } else { Err(number) }
    }

    #[test]
    fn what_is_refused_stays_where_it_is_and_is_not_offered_again() {
        let mailbox = with(&[1, 3, 4]);
        // SAFETY: who made the mailbox is its owner.
        let mut owned = unsafe { mailbox.owned() };
        let mut known = 0;
        assert_eq!(owned.take_first(&mut known, even), Some(4));
        assert_eq!(known, 2);
        assert_eq!(owned.take_first(&mut known, even), None);
        for number in [5, 6, 7] {
            assert!(mailbox.push(Box::new(number)).is_ok());
        }
        let mut offered = Vec::new();
        let taken = owned.take_first(&mut known, |number| {
            offered.push(*number);
            even(number)
        });
        assert_eq!((taken, offered), (Some(6), vec![5, 6]));
        assert_eq!((mailbox.len(), mailbox.taken()), (4, 2));
        assert_eq!(rest(&mailbox), [1, 3, 5, 7]);
    }

    #[test]
    fn a_look_that_unwinds_loses_what_it_had_and_nothing_else() {
        let mailbox = with(&[1, 2, 3]);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // SAFETY: who made the mailbox is its owner.
            let mut owned = unsafe { mailbox.owned() };
            owned.take_first(&mut 0, |number| if *number == 2 { panic!("two") } else { Err::<(), _>(number) })
        }));
        assert!(failed.is_err());
        assert_eq!(mailbox.len(), 2);
        assert_eq!(rest(&mailbox), [1, 3]);
    }

    #[test]
    fn what_is_put_in_front_comes_behind_what_is_ahead() {
        let mailbox = with(&[7]);
        // SAFETY: who made the mailbox is its owner.
        let mut owned = unsafe { mailbox.owned() };
        owned.put_in_front(|_| true, [2, 3].map(Box::new).into_iter());
        owned.put_in_front(|_| false, [1].map(Box::new).into_iter());
        owned.put_in_front(|number| **number < 3, [10, 11].map(Box::new).into_iter());
        assert_eq!(mailbox.len(), 6);
        assert_eq!(rest(&mailbox), [1, 2, 10, 11, 3, 7]);
    }

    #[test]
    fn who_waits_is_told_once_and_leaves_no_trace() {
        let mailbox = with(&[]);
        // SAFETY: who made the mailbox is its owner.
        let mut owned = unsafe { mailbox.owned() };
        let waiting = owned.wait().expect("nothing is there");
        assert_eq!(mailbox.push(Box::new(1)), Ok(Pushed::WasWaiting));
        assert_eq!(mailbox.push(Box::new(2)), Ok(Pushed::Queued));
        drop(waiting);
        assert!(owned.wait().is_none(), "something is there");
        assert_eq!((owned.next(), owned.next()), (Some(Box::new(1)), Some(Box::new(2))));
        drop(owned.wait().expect("nothing is there"));
        assert_eq!(mailbox.push(Box::new(3)), Ok(Pushed::Queued), "nobody waits any more");
        assert_eq!(rest(&mailbox), [3]);
    }

    #[test]
    fn what_is_sorted_elsewhere_counts_as_being_there() {
        let mailbox = with(&[1, 2, 3]);
        // SAFETY: who made the mailbox is its owner.
        let mut owned = unsafe { mailbox.owned() };
        let sorted: Vec<_> = std::iter::from_fn(|| owned.take_uncounted()).collect();
        assert_eq!((mailbox.len(), mailbox.taken()), (3, 0));
        owned.count_taken();
        assert_eq!(mailbox.len(), 2);
        owned.put_back_uncounted(sorted.into_iter().skip(1).collect::<Vec<_>>().into_iter());
        assert_eq!(mailbox.len(), 2);
        assert_eq!(rest(&mailbox), [2, 3]);
    }
}
