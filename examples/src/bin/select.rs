//! A worker that waits for three things at once: a job, the end of the day, and that nothing happens for too long.
//!
//! Type
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin select
//! ```
//!
//! and you will see
//!
//! ```text
//! done: sweep
//! done: mop
//! nothing to do, having a look around
//! done: dust
//! the day is over after 3 jobs
//! nothing is there now
//! ```
//!
//! One of them is chosen and done; on the others nothing is lost.

use std::rc::Rc;
use std::time::Duration;

use greenlet_core::select::after;
use greenlet_core::{Event, Queue, select, spawn};

fn main() {
    let jobs = Rc::new(Queue::unbounded());
    let (evening, idle) = (Rc::new(Event::new()), Rc::new(Event::new()));
    let worker = spawn({
        let (jobs, evening, idle) = (jobs.clone(), evening.clone(), idle.clone());
        move || work(&jobs, &evening, &idle)
    });

    for job in ["sweep", "mop"] {
        jobs.put(job).expect("the queue is open");
    }
    idle.wait();
    jobs.put("dust").expect("the queue is open");
    jobs.join(); // until all jobs are done
    evening.set();
    let done = worker.get().expect("the worker does not fail");
    println!("the day is over after {done} jobs");

    // With `default` it never waits.
    select! {
        job = jobs.get_op() => println!("there is {job:?}"),
        default => println!("nothing is there now"),
    }
}

fn work(jobs: &Queue<&str>, evening: &Event, idle: &Event) -> u32 {
    let mut done = 0;
    loop {
        select! {
            job = jobs.get_op() => {
                let Ok(job) = job else { return done }; // the queue was shut down
                println!("done: {job}");
                done += 1;
                jobs.task_done().expect("each job is done once");
            },
            () = evening.wait_op() => return done,
            () = after(Duration::from_millis(20)) => {
                if !idle.is_set() {
                    println!("nothing to do, having a look around");
                }
                idle.set();
            }
        }
    }
}
