//! Many actors that do a little each.

use std::hint::black_box;
use std::time::Duration;

use crate::actors::{Behaviour, Cores, Latch, Library, Myself, Place};

/// Savina's bit of floating-point work.
fn work(seed: f64) -> f64 {
    let sine = seed.sin();
    black_box(sine * sine)
}

struct Short<L: Library>(Latch<L>);

impl<L: Library> Behaviour<L> for Short<L> {
    type Message = f64;

    fn receive(&mut self, seed: f64, me: &mut impl Myself<L, Self>) {
        work(seed);
        me.stop();
    }
}

impl<L: Library> Drop for Short<L> {
    fn drop(&mut self) {
        self.0.come(1);
    }
}

/// Actors that are created, get one message, and end.
pub fn fork_join_create<L: Library>(cores: Cores, actors: u64) -> Duration {
    let (ended, time) = L::run(cores, move |sink| {
        let latch = Latch::<L>::new(actors, sink);
        for _ in 0..actors {
            let actor = L::spawn(Short(latch.clone()), Place::Anywhere);
            L::send(&actor, 37.2);
        }
    });
    assert_eq!(ended, actors, "every actor ends");
    time
}

const WORKERS: u64 = 60;

struct Worker<L: Library> {
    left: u64,
    done: u64,
    latch: Latch<L>,
}

impl<L: Library> Behaviour<L> for Worker<L> {
    type Message = f64;

    fn receive(&mut self, seed: f64, me: &mut impl Myself<L, Self>) {
        work(seed);
        self.left -= 1;
        self.done += 1;
        if self.left == 0 {
            self.latch.come(self.done);
            me.stop();
        }
    }
}

/// Sixty actors that get so many messages each, in turn.
pub fn fork_join_throughput<L: Library>(cores: Cores, each: u64) -> Duration {
    let (done, time) = L::run(cores, move |sink| {
        let latch = Latch::<L>::new(WORKERS, sink);
        let worker = || Worker { left: each, done: 0, latch: latch.clone() };
        let workers: Vec<_> = (0..WORKERS).map(|_| L::spawn(worker(), Place::Anywhere)).collect();
        for _ in 0..each {
            for worker in &workers {
                L::send(worker, 37.2);
            }
        }
    });
    assert_eq!(done, each * WORKERS, "every message is handled");
    time
}
