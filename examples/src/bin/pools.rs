//! Greenlets in groups, in pools that bound how many there are, and threads for what blocks.
//!
//! Type
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin pools
//! ```
//!
//! and you will see
//!
//! ```text
//! group: 3 members, then 0
//! pool of 2: at most 2 at once
//! in the order of the items: 30 10 20
//! as they are done: 10 20 30
//! one that fails does not stop the others: 1 2 failed 4
//! while a thread computed 6765, the greenlets went on: true
//! ```
//!
//! All but the last line are made on one thread.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::pool::{Group, Pool, ThreadPool};
use greenlet_core::{sleep, spawn, yield_now};

fn main() {
    group();
    limit();
    maps();
    threads();
}

fn group() {
    let group = Group::new();
    for ms in [1, 2, 3] {
        group.spawn(move || sleep(Duration::from_millis(ms)));
    }
    let members = group.len();
    group.join();
    println!("group: {members} members, then {}", group.len());
}

fn limit() {
    let (now, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let pool = Pool::new(2);
    for _ in 0..10 {
        let (now, most) = (now.clone(), most.clone());
        // Suspends while two are at work.
        pool.spawn(move || {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            yield_now();
            now.set(now.get() - 1);
        });
    }
    pool.join();
    println!("pool of 2: at most {} at once", most.get());
}

fn maps() {
    let nap = |ms: u64| {
        sleep(Duration::from_millis(10 * ms));
        ms
    };
    let pool = Pool::new(3);
    let ordered = pool.map(nap, [30, 10, 20]).expect("no item fails");
    println!("in the order of the items: {}", words(ordered));
    let done: Vec<u64> = pool.imap_unordered(nap, [30, 10, 20]).filter_map(Result::ok).collect();
    println!("as they are done: {}", words(done));

    let checked = |n: u32| if n == 3 { greenlet_core::raise(std::fmt::Error) } else { n };
    let results = pool.imap(checked, 1..=4).map(|result| result.map_or("failed".into(), |n| n.to_string()));
    println!("one that fails does not stop the others: {}", words(results));
}

fn threads() {
    let ticks = Rc::new(Cell::new(0));
    let ticker = spawn({
        let ticks = ticks.clone();
        move || {
            loop {
                ticks.set(ticks.get() + 1);
                yield_now();
            }
        }
    });
    // A computation that never waits would keep all greenlets of this thread from running. It has a thread of its own here.
    let result = ThreadPool::global().apply(|| fibonacci(20)).expect("it does not fail");
    println!("while a thread computed {result}, the greenlets went on: {}", ticks.get() > 0);
    ticker.kill();
}

fn fibonacci(n: u64) -> u64 {
    if n < 2 { n } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

fn words(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}
