//! A limit on anything that waits: a whole block of code, however deep it waits, or one call.
//!
//! Type
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin timeouts
//! ```
//!
//! and you will see
//!
//! ```text
//! in time: Ok("page")
//! the connection to slow.example is closed
//! too late: timed out after 20ms
//! the outer limit passes through the inner one: timed out after 20ms
//! an error of one's own: the budget is used up
//! one call: Err(Empty)
//! it still works: Ok(1)
//! ```
//!
//! A timeout unwinds what it ends, so the connection is closed before anybody hears that it was too late.

use std::time::Duration;

use greenlet_core::{Queue, Timeout, sleep, with_timeout};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

fn main() {
    println!("in time: {:?}", with_timeout(LONG, || fetch("quick.example", Duration::from_millis(1))));

    match with_timeout(SHORT, || fetch("slow.example", LONG)) {
        Ok(page) => println!("in time: {page}"),
        Err(late) => println!("too late: {late}"),
    }

    // Timeouts are told apart by who they are: the inner one does not catch the outer one.
    let outer = with_timeout(SHORT, || {
        let inner = with_timeout(LONG, || sleep(Duration::MAX));
        println!("this is never printed: {inner:?}");
    });
    if let Err(late) = outer {
        println!("the outer limit passes through the inner one: {late}");
    }

    // Started here, over wherever this greenlet waits when the time has come.
    let budget = Timeout::with_error(SHORT, Exhausted);
    if let Err(raised) = budget.run(|| sleep(Duration::MAX)) {
        println!("an error of one's own: {raised}");
    }

    // What waits has forms with a limit that tell by their value.
    let queue = Queue::unbounded();
    println!("one call: {:?}", queue.get_timeout(SHORT));
    queue.put(1).expect("the queue is open");
    println!("it still works: {:?}", queue.get_timeout(SHORT));
}

#[derive(Debug, thiserror::Error)]
#[error("the budget is used up")]
struct Exhausted;

fn fetch(host: &'static str, takes: Duration) -> &'static str {
    let connection = Connection { host, quiet: takes < SHORT };
    sleep(takes);
    drop(connection);
    "page"
}

struct Connection {
    host: &'static str,
    quiet: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.quiet {
            println!("the connection to {} is closed", self.host);
        }
    }
}
