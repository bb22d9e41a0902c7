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
//! | `CLOSED` | it has ended; for ever |
//!
//! # Invariants
//! - **The owner** is who changed `IDLE` to something else, or whom that one handed the actor on to. There is one at a time, and each hands
//!   on with at least release and acquire (through `top`, or a queue of activations). `pending` is the owner's.
//! - A node is reachable from `top`, or from `pending`, or is in the hands of one thread.
//! - Senders only ever put nodes on top, so what the owner takes at once is the order of sending, reversed.

use std::mem::MaybeUninit;
use std::ptr;

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

pub(crate) struct Mailbox<T> {
    top: AtomicPtr<Node<T>>,
    /// How many were ever sent, and how many the owner has taken out.
    sent: AtomicU64,
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

    /// Whether that is a word and no node. Nodes are aligned to more than 4.
    fn is_mark(top: *mut Node<T>) -> bool {
        top.addr() < 4
    }

    /// An empty one, with an owner: whoever made it.
    pub(crate) fn new() -> Mailbox<T> {
        Mailbox {
            top: AtomicPtr::new(ptr::null_mut()),
            sent: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            pending: UnsafeCell::new(ptr::null_mut()),
        }
    }

    /// How many are in it. While others send it is a little behind or ahead.
    pub(crate) fn len(&self) -> usize {
        let taken = self.taken.load(Ordering::Relaxed);
        usize::try_from(self.sent.load(Ordering::Relaxed).saturating_sub(taken)).unwrap_or(usize::MAX)
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
        let node = Box::into_raw(Box::new(Node { next: ptr::null_mut(), value }));
        // Counted before it can be taken, so that `sent` is never behind `taken`.
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            if top == Self::closed() {
                self.sent.fetch_sub(1, Ordering::Relaxed);
                // SAFETY: the node is still ours alone.
                return Err(unsafe { Box::from_raw(node) }.value);
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
            Pushed::WasIdle
        } else if top == Self::waiting() {
            Pushed::WasWaiting
        } else {
            Pushed::Queued
        })
    }

    /// Makes the caller the owner of an idle actor, so that it looks around. False if it has one, or has ended.
    pub(crate) fn wake(&self) -> bool {
        // Sequentially consistent, and so is `rest`: of who sets a flag and then wakes, and who rests and then looks at the flags, one
        // sees the other.
        self.top.compare_exchange(Self::idle(), ptr::null_mut(), Ordering::SeqCst, Ordering::SeqCst).is_ok()
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
                let Node { next, value } = *Box::from_raw(node);
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
        // Acquire: what the senders wrote.
        let mut newest = self.top.swap(ptr::null_mut(), Ordering::Acquire);
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

    /// Gives the actor up, if nothing was sent. Then the caller is the owner no more.
    ///
    /// # Safety
    /// The caller is the owner, and has taken everything out.
    #[inline]
    pub(crate) unsafe fn rest(&self) -> bool {
        // Release: the next owner sees what this one did. For the strength see `wake`.
        self.top.compare_exchange(ptr::null_mut(), Self::idle(), Ordering::SeqCst, Ordering::Relaxed).is_ok()
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
            let node = unsafe { Box::from_raw(newest) };
            newest = node.next;
            left.push(node.value);
        }
        left[from..].reverse();
        self.taken.store(self.sent.load(Ordering::Relaxed), Ordering::Relaxed);
        left
    }
}

/// The owner's side of a mailbox, while a handler has it: see [`Mailbox::owned`].
pub(crate) struct Owned<'a, T>(&'a Mailbox<T>);

impl<T> Owned<'_, T> {
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
                    let memory = Box::from_raw(node.cast::<MaybeUninit<Node<T>>>());
                    mailbox.taken.store(mailbox.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    match take(value) {
                        Ok(taken) => return Some(taken),
                        Err(value) => {
                            let node = Box::into_raw(memory).cast::<Node<T>>();
                            (&raw mut (*node).value).write(value);
                            // Its `next` is as it was.
                            *at = node;
                            at = &raw mut (*node).next;
                            mailbox
                                .taken
                                .store(mailbox.taken.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
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
                    mailbox.sent.fetch_add(1, Ordering::Relaxed);
                    *at = Box::into_raw(Box::new(Node { next: *at, value }));
                }
            }
        });
    }

    /// Says that the owner waits for something new, as long as what this returns lives. `None` if something new is there.
    pub(crate) fn wait(&mut self) -> Option<Waiting<'_, T>> {
        // Acquire and release, as for an owner that rests and one that comes.
        let idle = ptr::null_mut();
        let waits =
            self.0.top.compare_exchange(idle, Mailbox::waiting(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
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
            Ordering::AcqRel,
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
                let owned = unsafe { Box::from_raw(node) };
                node = owned.next;
            }
        }
    }
}
