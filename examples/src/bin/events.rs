//! An `Event` tells many that something has happened; an `AsyncResult` hands them what came of it, or why nothing did.
//!
//! Type
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin events
//! ```
//!
//! and you will see
//!
//! ```text
//! runner 1 is at the line
//! runner 2 is at the line
//! runner 3 is at the line
//! go!
//! runner 1 runs
//! runner 2 runs
//! runner 3 runs
//! nobody knows the winner yet
//! the winner is runner 2
//! no prize: the sponsor is gone
//! ```
//!
//! Waiters go on in the order in which they came.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{AsyncResult, AsyncResultError, Event, joinall, spawn, yield_now};

fn main() {
    race();
    results();
}

fn race() {
    let go = Rc::new(Event::new());
    let runners: Vec<_> = (1..=3)
        .map(|number| {
            let go = go.clone();
            spawn(move || {
                println!("runner {number} is at the line");
                go.wait();
                println!("runner {number} runs");
            })
        })
        .collect();
    yield_now(); // they come to the line
    println!("go!");
    go.set(); // nobody runs here: they do when this greenlet waits
    joinall(&runners);
}

fn results() {
    let winner = Rc::new(AsyncResult::new());
    if let Err(AsyncResultError::TimedOut) = winner.get_timeout(Duration::from_millis(5)) {
        println!("nobody knows the winner yet");
    }
    spawn({
        let winner = winner.clone();
        move || winner.set("runner 2")
    });
    match winner.get() {
        Ok(name) => println!("the winner is {name}"),
        Err(error) => println!("no winner: {error}"),
    }

    let prize = Rc::new(AsyncResult::<u32>::new());
    spawn({
        let prize = prize.clone();
        move || prize.set_exception(io::Error::other("the sponsor is gone"))
    });
    match prize.get() {
        Ok(amount) => println!("the prize is {amount}"),
        Err(error) => println!("no prize: {error}"),
    }
}
