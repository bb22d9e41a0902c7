//! One dictionary that many read and write.

use std::collections::HashMap;
use std::time::Duration;

use crate::actors::{Behaviour, Cores, Dice, Latch, Library, Myself, Place};

const WORKERS: u64 = 20;
const WRITES_PERCENT: u64 = 10;
const KEYS: u64 = 512;

struct Dictionary(HashMap<u64, u64>);

enum Request<L: Library> {
    Write { key: u64, value: u64, from: L::Ref<Worker<L>> },
    Read { key: u64, from: L::Ref<Worker<L>> },
}

impl<L: Library> Behaviour<L> for Dictionary {
    type Message = Request<L>;

    fn receive(&mut self, request: Request<L>, _: &mut impl Myself<L, Self>) {
        let (value, from) = match request {
            Request::Write { key, value, from } => {
                self.0.insert(key, value);
                (Some(value), from)
            }
            Request::Read { key, from } => (self.0.get(&key).copied(), from),
        };
        L::send(&from, value);
    }
}

struct Worker<L: Library> {
    dictionary: L::Ref<Dictionary>,
    dice: Dice,
    left: u64,
    answers: u64,
    latch: Latch<L>,
}

impl<L: Library> Behaviour<L> for Worker<L> {
    /// What is in the dictionary; at first it says only that the worker may begin.
    type Message = Option<u64>;

    fn receive(&mut self, value: Option<u64>, me: &mut impl Myself<L, Self>) {
        // All who write a key write the same.
        assert!(value.is_none_or(|value| value < KEYS), "nobody has written {value:?}");
        self.answers += 1;
        if self.left == 0 {
            // The first was none.
            self.latch.come(self.answers - 1);
            me.stop();
            return;
        }
        self.left -= 1;
        let key = self.dice.below(KEYS);
        let request = if self.dice.below(100) < WRITES_PERCENT {
            Request::Write { key, value: key, from: me.me() }
        } else {
            Request::Read { key, from: me.me() }
        };
        L::send(&self.dictionary, request);
    }
}

/// Twenty workers that ask one dictionary, one question after the other.
pub fn dictionary<L: Library>(cores: Cores, questions_each: u64) -> Duration {
    let (answers, time) = L::run(cores, move |sink| {
        let latch = Latch::<L>::new(WORKERS, sink);
        let dictionary = L::spawn(Dictionary(HashMap::new()), Place::Anywhere);
        for number in 0..WORKERS {
            let worker = Worker {
                dictionary: dictionary.clone(),
                dice: Dice(number),
                left: questions_each,
                answers: 0,
                latch: latch.clone(),
            };
            L::send(&L::spawn(worker, Place::Anywhere), None);
        }
    });
    assert_eq!(answers, WORKERS * questions_each, "every question has its answer");
    time
}
