//! Programs in the simulator: thousands of seeds with faults at random, and a fault at every suspension point.
#![allow(dead_code)] // each of the test files uses a part

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use greenlet_core::sim::{self, Order, Sim, victim};
use greenlet_core::{Raised, TimedOut, catch, greenlet_local};

fn simulation() -> Sim {
    Sim::new(0).order(Order::Random).spurious_rate(0.1).turn_limit(100_000)
}

/// Runs a program for so many seeds, with kills, timeouts, errors, spurious wake-ups and delays.
#[track_caller]
pub fn torture(seeds: u64, program: impl Fn() + Sync) {
    let sim = simulation().kill_rate(0.06).timeout_rate(0.06).error_rate(0.03);
    sim.delay_rate(0.05, Duration::from_secs(2)).explore(0..seeds, program);
}

/// Runs a program for so many seeds, and for each with one fault at every suspension of its victims.
#[track_caller]
pub fn at_every_point(seeds: u64, program: impl Fn() + Sync) {
    for seed in 0..seeds {
        // Waiting is entered in a stable order here, so that the run before the fault is the one that was counted.
        let sim = Sim::new(seed).order(Order::Random).turn_limit(100_000);
        sim.each_fault_point(&program);
    }
}

/// How an operation of a victim ended that did not return.
#[derive(Debug)]
pub enum Struck {
    Late(#[allow(dead_code)] TimedOut),
    Raised(#[allow(dead_code)] Raised),
}

greenlet_local! {
    /// How often this greenlet has survived.
    static SURVIVED: Cell<usize> = Cell::new(0);
}

/// More often than the simulation strikes anybody, and less often than the end of a hub kills: so a test that fails ends.
const LIVES: usize = 25;

/// Runs one operation as a victim, and goes on whatever is raised in it.
pub fn survive<R>(operation: impl FnOnce() -> R) -> Result<R, Struck> {
    match catch(|| victim(operation)) {
        Ok(result) => result.map_err(Struck::Late),
        Err(raised) => {
            SURVIVED.set(SURVIVED.get() + 1);
            if SURVIVED.get() > LIVES {
                raised.reraise();
            }
            Err(Struck::Raised(raised))
        }
    }
}

pub fn below(limit: usize) -> usize {
    sim::random(limit as u64) as usize
}

pub fn one_in(n: usize) -> bool {
    below(n) == 0
}

/// Up to some seconds, often none.
pub fn pause() -> Duration {
    Duration::from_secs(sim::random(4))
}

/// Lets everything happen that can: longer than all delays together that are injected meanwhile.
pub fn quiet() {
    greenlet_core::sleep(Duration::from_secs(1000));
}

/// Those who wait for something that is handed to the first in line, as they must be: kept beside the real line, since
/// nothing else runs between an operation's call and its linking into the list.
#[derive(Debug)]
pub struct Line<T> {
    waiting: VecDeque<usize>,
    given: Vec<(usize, T)>,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line { waiting: VecDeque::new(), given: Vec::new() }
    }
}

impl<T> Line<T> {
    pub fn join(&mut self, who: usize) {
        self.waiting.push_back(who);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn waits(&self, who: usize) -> bool {
        self.waiting.contains(&who)
    }

    /// Gives something to the first.
    pub fn give(&mut self, what: T) -> Option<usize> {
        let who = self.waiting.pop_front()?;
        self.given.push((who, what));
        Some(who)
    }

    pub fn give_to(&mut self, who: usize, what: T) {
        self.waiting.retain(|other| *other != who);
        self.given.push((who, what));
    }

    /// That one goes on: what it was given, if anything. If nothing, it has left the line.
    pub fn leave(&mut self, who: usize) -> Option<T> {
        self.waiting.retain(|other| *other != who);
        let at = self.given.iter().position(|(other, _)| *other == who)?;
        Some(self.given.swap_remove(at).1)
    }
}
