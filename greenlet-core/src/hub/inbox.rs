//! What other threads hand to a hub: a lock-free stack of intrusive links that also knows whether the hub sleeps.
//!
//! One word, `head`, tells everything:
//!
//! | head | meaning |
//! |---|---|
//! | null | empty, the hub is awake |
//! | `SLEEPING` | empty, the hub sleeps in its poller or is about to |
//! | `CLOSED` | the hub is gone; nothing is taken any more |
//! | a pointer | links, newest first |
//!
//! A producer that replaces `SLEEPING` by its link is the one that must wake the hub, and there is one such
//! producer per sleep: that is the "at most one system call per sleep". The hub goes to sleep by replacing null
//! by `SLEEPING`, which fails when something has arrived. Since both decide on the same word, no wake-up is lost
//! and no fence is needed. `loom` checks this (tests below).

use std::ptr::{self, NonNull};

#[cfg(loom)]
use loom::sync::atomic::{AtomicPtr, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicPtr, Ordering};

/// An intrusive link. The kinds of things that embed one are told apart by `kind`.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Link {
    next: AtomicPtr<Link>,
    pub(crate) kind: LinkKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkKind {
    /// The first field of a greenlet's header: start it or wake it.
    Greenlet,
    /// The first field of a boxed message.
    Message,
    /// The first field of a counted `signal::Slot`.
    Signal,
}

impl Link {
    pub(crate) fn new(kind: LinkKind) -> Link {
        Link { next: AtomicPtr::new(ptr::null_mut()), kind }
    }
}

const SLEEPING: *mut Link = ptr::without_provenance_mut(1);
const CLOSED: *mut Link = ptr::without_provenance_mut(2);

fn is_link(head: *mut Link) -> bool {
    head.addr() > 2
}

#[derive(Debug)]
pub(crate) struct Inbox {
    head: AtomicPtr<Link>,
}

/// The hub that owned the inbox is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// What the producer still has to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// The hub is awake and will look by itself.
    HubAwake,
    /// The hub sleeps and this producer must wake it.
    MustWake,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds a link from any thread.
    ///
    /// # Safety
    /// `link` stays valid, and is pushed nowhere else, until `take_all` or `close` has returned it.
    pub(crate) unsafe fn push(&self, link: NonNull<Link>) -> Result<Pushed, Closed> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == CLOSED {
                return Err(Closed);
            }
            let next = if is_link(head) { head } else { ptr::null_mut() };
            // SAFETY: the caller keeps the link valid, and it is ours alone until the exchange succeeds.
            unsafe { link.as_ref() }.next.store(next, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, link.as_ptr(), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(SLEEPING) => return Ok(Pushed::MustWake),
                Ok(_) => return Ok(Pushed::HubAwake),
                Err(now) => head = now,
            }
        }
    }

    /// Whether there is something to take. One relaxed load: the hub asks it often.
    #[inline]
    pub(crate) fn has_links(&self) -> bool {
        is_link(self.head.load(Ordering::Relaxed))
    }

    /// Announces that the hub will sleep; false when something arrived first. Only the hub calls it.
    pub(crate) fn prepare_sleep(&self) -> bool {
        self.head.compare_exchange(ptr::null_mut(), SLEEPING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether the hub sleeps, and nothing has arrived since.
    pub(crate) fn is_sleeping(&self) -> bool {
        self.head.load(Ordering::Relaxed) == SLEEPING
    }

    /// Takes everything, oldest first, and marks the hub awake. Only the hub calls it.
    pub(crate) fn take_all(&self) -> Taken {
        if self.head.load(Ordering::Relaxed).is_null() {
            return Taken { next: ptr::null_mut() };
        }
        Taken::reverse(self.head.swap(ptr::null_mut(), Ordering::AcqRel))
    }

    /// Whether `close` was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.head.load(Ordering::Acquire) == CLOSED
    }

    /// Refuses everything from now on and returns what was still there. Only the hub calls it.
    pub(crate) fn close(&self) -> Taken {
        Taken::reverse(self.head.swap(CLOSED, Ordering::AcqRel))
    }
}

/// Links taken from the inbox, oldest first.
#[derive(Debug)]
pub(crate) struct Taken {
    next: *mut Link,
}

impl Taken {
    fn reverse(head: *mut Link) -> Taken {
        let mut newest_first = if is_link(head) { head } else { ptr::null_mut() };
        let mut oldest_first = ptr::null_mut();
        while let Some(link) = NonNull::new(newest_first) {
            // SAFETY: links that were taken out belong to the taker, and `push` promised their validity.
            let link = unsafe { link.as_ref() };
            let following = link.next.load(Ordering::Relaxed);
            link.next.store(oldest_first, Ordering::Relaxed);
            oldest_first = newest_first;
            newest_first = following;
        }
        Taken { next: oldest_first }
    }
}

impl Iterator for Taken {
    type Item = NonNull<Link>;

    fn next(&mut self) -> Option<NonNull<Link>> {
        let link = NonNull::new(self.next)?;
        // SAFETY: as in `reverse`. The successor is read before the link is given away for reuse.
        self.next = unsafe { link.as_ref() }.next.load(Ordering::Relaxed);
        Some(link)
    }
}

#[cfg(test)]
mod test_links {
    use super::*;

    #[repr(C)]
    pub(super) struct Numbered {
        link: Link,
        number: usize,
    }

    pub(super) fn push(inbox: &Inbox, number: usize) -> Result<Pushed, Closed> {
        let node = Box::new(Numbered { link: Link::new(LinkKind::Message), number });
        let raw = NonNull::from(Box::leak(node)).cast::<Link>();
        // SAFETY: the box stays leaked until `numbers` takes it back.
        let pushed = unsafe { inbox.push(raw) };
        if pushed.is_err() {
            // SAFETY: a refused link is still ours.
            drop(unsafe { Box::from_raw(raw.cast::<Numbered>().as_ptr()) });
        }
        pushed
    }

    pub(super) fn numbers(taken: Taken) -> Vec<usize> {
        taken
            // SAFETY: every link in these tests was leaked by `push` above.
            .map(|link| unsafe { Box::from_raw(link.cast::<Numbered>().as_ptr()) }.number)
            .collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::test_links::{numbers, push};
    use super::*;

    #[test]
    fn links_come_out_in_the_order_they_went_in() {
        let inbox = Inbox::new();
        for n in 0..5 {
            assert_eq!(push(&inbox, n), Ok(Pushed::HubAwake));
        }
        assert!(inbox.has_links());
        assert_eq!(numbers(inbox.take_all()), [0, 1, 2, 3, 4]);
        assert!(!inbox.has_links());
        assert_eq!(numbers(inbox.take_all()), []);
    }

    #[test]
    fn only_the_first_push_into_a_sleep_must_wake() {
        let inbox = Inbox::new();
        assert!(inbox.prepare_sleep());
        assert_eq!(push(&inbox, 1), Ok(Pushed::MustWake));
        assert_eq!(push(&inbox, 2), Ok(Pushed::HubAwake));
        assert_eq!(numbers(inbox.take_all()), [1, 2]);
    }

    #[test]
    fn sleep_is_refused_while_something_waits() {
        let inbox = Inbox::new();
        push(&inbox, 7).map(drop).unwrap();
        assert!(!inbox.prepare_sleep());
        assert_eq!(numbers(inbox.take_all()), [7]);
        assert!(inbox.prepare_sleep());
    }

    #[test]
    fn a_closed_inbox_returns_the_rest_and_takes_nothing_more() {
        let inbox = Inbox::new();
        push(&inbox, 1).map(drop).unwrap();
        assert_eq!(numbers(inbox.close()), [1]);
        assert_eq!(push(&inbox, 2), Err(Closed));
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let inbox = std::sync::Arc::new(Inbox::new());
        let producers: Vec<_> = (0..4)
            .map(|producer| {
                let inbox = inbox.clone();
                std::thread::spawn(move || {
                    for n in 0..5_000 {
                        push(&inbox, producer * 5_000 + n).map(drop).unwrap();
                    }
                })
            })
            .collect();
        let mut last = [None; 4];
        let mut count = 0;
        while count < 20_000 {
            for number in numbers(inbox.take_all()) {
                let producer = number / 5_000;
                assert!(last[producer] < Some(number), "order of one producer is kept");
                last[producer] = Some(number);
                count += 1;
            }
        }
        for producer in producers {
            producer.join().unwrap();
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::test_links::{numbers, push};
    use super::*;
    use loom::sync::atomic::AtomicUsize;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// The eventfd of the real hub: it stays signalled until it was seen.
    struct Doorbell {
        rung: Mutex<bool>,
        heard: Condvar,
        rings: AtomicUsize,
    }

    impl Doorbell {
        fn ring(&self) {
            self.rings.fetch_add(1, Ordering::Relaxed);
            *self.rung.lock().unwrap() = true;
            self.heard.notify_one();
        }
        fn sleep(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.heard.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    /// All interleavings with at most three preemptions: more take a quarter of an hour and found nothing else.
    fn model(f: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(f);
    }

    /// The hub sleeps only while nothing is there, and every push is taken: a lost wake-up would hang the model.
    #[test]
    fn no_wake_up_is_lost_and_one_ring_per_sleep_is_enough() {
        model(|| {
            let inbox = Arc::new(Inbox::new());
            let bell = Arc::new(Doorbell {
                rung: Mutex::new(false),
                heard: Condvar::new(),
                rings: AtomicUsize::new(0),
            });
            let producers: Vec<_> = (0..2)
                .map(|n| {
                    let (inbox, bell) = (inbox.clone(), bell.clone());
                    thread::spawn(move || {
                        if push(&inbox, n) == Ok(Pushed::MustWake) {
                            bell.ring();
                        }
                    })
                })
                .collect();
            let mut seen = Vec::new();
            let mut sleeps = 0;
            while seen.len() < 2 {
                if inbox.prepare_sleep() {
                    sleeps += 1;
                    bell.sleep();
                }
                seen.extend(numbers(inbox.take_all()));
            }
            for producer in producers {
                producer.join().unwrap();
            }
            seen.sort_unstable();
            assert_eq!(seen, [0, 1]);
            assert!(bell.rings.load(Ordering::Relaxed) <= sleeps);
        });
    }

    /// A push that races with the end of the hub is either returned by `close` or refused, never both or neither.
    #[test]
    fn a_push_against_close_is_taken_or_refused() {
        model(|| {
            let inbox = Arc::new(Inbox::new());
            let producer = {
                let inbox = inbox.clone();
                thread::spawn(move || push(&inbox, 1).is_ok())
            };
            let taken = numbers(inbox.close());
            let accepted = producer.join().unwrap();
            assert_eq!(taken.len(), usize::from(accepted));
        });
    }
}
