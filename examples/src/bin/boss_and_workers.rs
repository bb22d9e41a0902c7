//! A boss hands out tasks through a short queue, and waits whenever his workers are behind.
//!
//! Type
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin boss_and_workers -- 6
//! ```
//!
//! and you will see how the boss hands out what his three workers and the two places of the queue take, and waits with the sixth
//! task in his hand until there is a place:
//!
//! ```text
//! boss: task 1
//! boss: task 2
//! boss: task 3
//! boss: task 4
//! boss: task 5
//! boss: task 6
//! Alice: task 1
//! Bob: task 2
//! Carol: task 3
//! Alice: task 4
//! Bob: task 5
//! Carol: task 6
//! boss: that was all
//! Alice: quitting time
//! Bob: quitting time
//! Carol: quitting time
//! Alice, Bob and Carol have done 6 tasks
//! ```
//!
//! The number may be left out: it is 10 then.

use std::process::ExitCode;
use std::rc::Rc;

use greenlet_core::{Queue, spawn, yield_now};

const USAGE: &str = "usage: boss_and_workers [TASKS]    hand out so many tasks (10)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = match arguments.as_slice() {
        [] => Ok(10),
        [count] => count.parse().map_err(|_| format!("TASKS is a whole number, not `{count}`")),
        _ => Err("too many arguments".into()),
    };
    let count: u32 = match count {
        Ok(count) => count,
        Err(wrong) => {
            eprintln!("boss_and_workers: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };

    // Everybody is on one thread, so an `Rc` is all the sharing that it takes.
    let tasks = Rc::new(Queue::bounded(2));
    let workers = ["Alice", "Bob", "Carol"].map(|name| {
        let tasks = tasks.clone();
        spawn(move || worker(name, &tasks))
    });
    let boss = spawn(move || boss(count, &tasks));

    boss.join();
    let done: u32 = workers.iter().filter_map(|worker| worker.get().ok()).sum();
    println!("Alice, Bob and Carol have done {done} tasks");
    ExitCode::SUCCESS
}

fn boss(count: u32, tasks: &Queue<u32>) {
    for task in 1..=count {
        println!("boss: task {task}");
        // Suspends while the queue is full.
        tasks.put(task).expect("nobody but the boss shuts the queue down");
    }
    println!("boss: that was all");
    // What is in the queue is still handed out; then the workers' loops end.
    tasks.shutdown();
}

fn worker(name: &str, tasks: &Queue<u32>) -> u32 {
    let mut done = 0;
    for task in tasks.iter() {
        println!("{name}: task {task}");
        yield_now(); // the work
        done += 1;
    }
    println!("{name}: quitting time");
    done
}
