//! Actors that are found by their names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::actors::Cores;

/// How many actors have names.
const NAMED: u64 = 1000;

/// Names that nobody had before: some libraries keep them for as long as the process lives.
pub fn names() -> Vec<String> {
    static PASSES: AtomicU64 = AtomicU64::new(0);
    let pass = PASSES.fetch_add(1, Ordering::Relaxed);
    (0..NAMED).map(|number| format!("actor {number} of pass {pass}")).collect()
}

/// Has one thread look up so many names, or two of them half as many each.
pub fn look_up(cores: Cores, lookups: u64, names: &[String], find: impl Fn(&str) -> bool + Sync) -> Duration {
    let look = |lookups: u64, first: u64| {
        for lookup in 0..lookups {
            let name = &names[((first + lookup * 7) % NAMED) as usize];
            assert!(find(name), "{name} is registered");
        }
    };
    let start = Instant::now();
    match cores {
        Cores::One => look(lookups, 0),
        Cores::Two => thread::scope(|scope| {
            scope.spawn(|| look(lookups / 2, 0));
            look(lookups - lookups / 2, NAMED / 2);
        }),
    }
    start.elapsed()
}
