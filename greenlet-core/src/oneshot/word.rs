//! What the two ends of a [`oneshot`](super) tell each other, in one word.
//!
//! | bit | is set |
//! |---|---|
//! | `DECIDED` | once: there is a value, or there will be none |
//! | `VALUE` | with `DECIDED`, and taken back by who takes the value |
//! | `WAITED` | by who waits: from then on deciding takes the lock, and tells those who wait |
//! | `SENDER_GONE`, `RECEIVER_GONE` | by an end that touches nothing any more; the second one frees the memory |
//!
//! # Invariants
//! - The sender has the place of the value until it sets `VALUE`, then who clears `VALUE` has it.
//! - `WAITED` is set, and `DECIDED` set after it, under the lock of the list of those who wait. So who waits is told.
//! - `DECIDED` and `SENDER_GONE` come in one step only if nobody waits: there is nothing left to do after it.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering};

const DECIDED: u8 = 1;
const VALUE: u8 = 2;
const WAITED: u8 = 4;
const SENDER_GONE: u8 = 8;
const RECEIVER_GONE: u8 = 16;

pub(super) struct Word(AtomicU8);

/// What the sender comes to, and what is left of it for who asks.
#[derive(Clone, Copy)]
pub(super) enum Decision {
    Value,
    NoValue,
}

impl Decision {
    fn bits(self) -> u8 {
        match self {
            Decision::Value => DECIDED | VALUE,
            Decision::NoValue => DECIDED,
        }
    }
}

/// What is left when an end goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// The other end.
    Other,
    /// Nobody but the caller, and a value that nobody took.
    Value,
    /// Nobody but the caller.
    Nothing,
}

impl Left {
    fn of(word: u8, other_gone: u8) -> Left {
        if word & other_gone == 0 {
            Left::Other
        } else if word & VALUE != 0 {
            Left::Value
        } else {
            Left::Nothing
        }
    }
}

impl Word {
    pub(super) fn new() -> Word {
        Word(AtomicU8::new(0))
    }

    pub(super) fn is_decided(&self) -> bool {
        self.0.load(Ordering::Acquire) & DECIDED != 0
    }

    pub(super) fn is_receiver_gone(&self) -> bool {
        self.0.load(Ordering::Acquire) & RECEIVER_GONE != 0
    }

    /// The sender decides, and goes. False, and nothing has changed, if somebody waits or the receiver is gone.
    #[inline]
    pub(super) fn decide_and_go(&self, decision: Decision) -> bool {
        let now = decision.bits() | SENDER_GONE;
        // Release: who takes the value sees it.
        self.0.compare_exchange(0, now, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// The sender decides, under the lock, and tells those who wait.
    pub(super) fn decide(&self, decision: Decision) {
        self.0.fetch_or(decision.bits(), Ordering::Release);
    }

    /// The sender goes, having decided.
    pub(super) fn sender_goes(&self) -> Left {
        // Release: who frees the memory comes after all that this end did with it, and acquire the other way round.
        Left::of(self.0.fetch_or(SENDER_GONE, Ordering::AcqRel), RECEIVER_GONE)
    }

    /// The receiver goes.
    #[inline]
    pub(super) fn receiver_goes(&self) -> Left {
        // A look first: most often the sender is gone, and then nobody else changes the word any more.
        self.sender_has_gone()
            .unwrap_or_else(|| Left::of(self.0.fetch_or(RECEIVER_GONE, Ordering::AcqRel), SENDER_GONE))
    }

    /// What is left of it for the receiver, if the sender is gone.
    #[inline]
    pub(super) fn sender_has_gone(&self) -> Option<Left> {
        let word = self.0.load(Ordering::Acquire);
        (word & SENDER_GONE != 0).then(|| Left::of(word, SENDER_GONE))
    }

    /// Under the lock: the caller is about to wait. False if it is decided already.
    pub(super) fn wait_begins(&self) -> bool {
        self.0.fetch_or(WAITED, Ordering::AcqRel) & DECIDED == 0
    }

    /// What is decided, if it is, and for whoever takes it.
    #[inline]
    pub(super) fn take(&self) -> Option<Decision> {
        // Acquire: the value that the sender wrote.
        let word = self.0.load(Ordering::Acquire);
        if word & DECIDED == 0 {
            return None;
        }
        // Several may try, and one has it.
        let took = word & VALUE != 0 && self.0.fetch_and(!VALUE, Ordering::Relaxed) & VALUE != 0;
        Some(if took { Decision::Value } else { Decision::NoValue })
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// A oneshot that ends with the place of its value freed, which loom checks: once, and with nobody in it.
    struct Pair {
        word: Word,
        place: UnsafeCell<Option<Box<u32>>>,
        waits: Mutex<bool>,
        told: Condvar,
    }

    impl Pair {
        fn new() -> Arc<Pair> {
            let place = UnsafeCell::new(None);
            Arc::new(Pair { word: Word::new(), place, waits: Mutex::new(false), told: Condvar::new() })
        }

        /// What is taken, by the one who may.
        fn taken(&self) -> Option<Box<u32>> {
            // SAFETY: the word says who has the place; loom checks that nobody else is in it.
            self.place.with_mut(|place| unsafe { (*place).take() })
        }

        fn decide(&self, decision: Decision) -> Left {
            if let Decision::Value = decision {
                // SAFETY: as above.
                self.place.with_mut(|place| unsafe { *place = Some(Box::new(7)) });
            }
            if self.word.decide_and_go(decision) {
                return Left::Other;
            }
            let mut waits = self.waits.lock().unwrap();
            self.word.decide(decision);
            if std::mem::take(&mut *waits) {
                self.told.notify_all();
            }
            drop(waits);
            self.left(self.word.sender_goes())
        }

        fn left(&self, left: Left) -> Left {
            match left {
                Left::Other => {}
                Left::Value => assert_eq!(self.taken().as_deref(), Some(&7)),
                Left::Nothing => assert!(self.taken().is_none()),
            }
            left
        }

        fn receive(&self) -> Option<Box<u32>> {
            loop {
                match self.word.take() {
                    Some(Decision::Value) => return self.taken(),
                    Some(Decision::NoValue) => return None,
                    None => {}
                }
                let mut waits = self.waits.lock().unwrap();
                if self.word.wait_begins() {
                    *waits = true;
                    while *waits {
                        waits = self.told.wait(waits).unwrap();
                    }
                }
            }
        }
    }

    fn model(f: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        // With three threads all interleavings take five minutes, and found nothing else.
        model.preemption_bound = Some(3);
        model.check(f);
    }

    #[test]
    fn a_value_arrives_and_the_last_one_frees() {
        model(|| {
            let pair = Pair::new();
            let sender = thread::spawn({
                let pair = pair.clone();
                move || pair.decide(Decision::Value)
            });
            assert_eq!(pair.receive().as_deref(), Some(&7));
            let left = [pair.left(pair.word.receiver_goes()), sender.join().unwrap()];
            assert!(matches!(left, [Left::Other, Left::Nothing] | [Left::Nothing, Left::Other]), "{left:?}");
        });
    }

    #[test]
    fn a_receiver_that_goes_leaves_the_value_to_one_of_them() {
        model(|| {
            let pair = Pair::new();
            let sender = thread::spawn({
                let pair = pair.clone();
                move || pair.decide(Decision::Value)
            });
            let left = [pair.left(pair.word.receiver_goes()), sender.join().unwrap()];
            assert!(matches!(left, [Left::Other, Left::Value] | [Left::Value, Left::Other]), "{left:?}");
        });
    }

    #[test]
    fn of_two_who_wait_one_has_the_value_and_both_are_told() {
        model(|| {
            let pair = Pair::new();
            let receivers = [(); 2].map(|()| {
                let pair = pair.clone();
                thread::spawn(move || pair.receive().is_some())
            });
            pair.decide(Decision::Value);
            let took = receivers.map(|receiver| receiver.join().unwrap());
            assert!(took[0] != took[1], "{took:?}");
        });
    }

    #[test]
    fn who_waits_is_told_that_there_will_be_none() {
        model(|| {
            let pair = Pair::new();
            let sender = thread::spawn({
                let pair = pair.clone();
                move || pair.decide(Decision::NoValue)
            });
            assert!(pair.receive().is_none());
            let left = [pair.word.receiver_goes(), sender.join().unwrap()];
            assert!(matches!(left, [Left::Other, Left::Nothing] | [Left::Nothing, Left::Other]), "{left:?}");
        });
    }
}
