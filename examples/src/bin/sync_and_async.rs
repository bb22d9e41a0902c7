//! The same tasks twice: one after the other, then all at once. The first page of the gevent tutorial.
//!
//! Type
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin sync_and_async
//! ```
//!
//! and you will see
//!
//! ```text
//! one after the other:
//!     task 0 is done
//!     task 1 is done
//!     task 2 is done
//!     task 3 is done
//!     task 4 is done
//! took 0.15 s
//! at once:
//!     task 4 is done
//!     task 3 is done
//!     task 2 is done
//!     task 1 is done
//!     task 0 is done
//! took 0.05 s
//! ```
//!
//! Task 0 has the most to wait for, so it is last when nobody waits for anybody. There is one thread in both parts.

use std::time::{Duration, Instant};

use greenlet_core::{joinall, sleep, spawn};

/// Stands for a request to somewhere: it is waiting, mostly.
fn task(number: u32) {
    sleep(Duration::from_millis(50) - Duration::from_millis(10) * number);
    println!("    task {number} is done");
}

fn main() {
    timed("one after the other", || {
        for number in 0..5 {
            task(number);
        }
    });
    timed("at once", || {
        let tasks: Vec<_> = (0..5).map(|number| spawn(move || task(number))).collect();
        joinall(&tasks);
    });
}

fn timed(title: &str, f: impl FnOnce()) {
    println!("{title}:");
    let start = Instant::now();
    f();
    println!("took {:.2} s", start.elapsed().as_secs_f64());
}
