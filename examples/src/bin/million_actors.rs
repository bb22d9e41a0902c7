//! A million actors that wait for messages, in one process: how long it takes to make them, how much memory each has, and how long
//! it takes to hear from all of them.
//!
//! Type
//!
//!     cargo run --release -p greenlet-examples --bin million_actors -- 1000000
//!
//! and you will see something like
//!
//!     1000000 actors on 2 cores
//!     started in 0.41 s: 2426211 per second
//!     172 bytes each
//!     a message to each and an answer of each in 0.39 s: 2563812 per second
//!
//! The number may be left out: it is 1000000 then.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use greenlet_actor::{Actor, ActorRef, Context, Exit, System};
use greenlet_core::Event;

const USAGE: &str = "usage: million_actors [ACTORS]    start so many (1000000)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = parse(&arguments).and_then(|actors| {
        System::builder()
            .run(|| report(actors))
            .map_err(|error| format!("the system does not start: {error}"))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("million_actors: {wrong}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn report(actors: u64) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{actors} actors on {cores} {}", if cores == 1 { "core" } else { "cores" });
    let everybody = Arc::new(Everybody::default());
    let before = resident_bytes();

    everybody.expect(actors);
    let start = Instant::now();
    let idle = |number| Idle { number, everybody: everybody.clone() }.spawn();
    let references: Vec<ActorRef<Hello>> = (0..actors).map(idle).collect();
    everybody.all_came.wait();
    let seconds = start.elapsed().as_secs_f64();
    println!("started in {seconds:.2} s: {:.0} per second", actors as f64 / seconds);
    println!("{} bytes each", resident_bytes().saturating_sub(before) / actors);

    everybody.expect(actors);
    let start = Instant::now();
    for reference in &references {
        reference.cast(Hello);
    }
    everybody.all_came.wait();
    let seconds = start.elapsed().as_secs_f64();
    let rate = actors as f64 / seconds;
    println!("a message to each and an answer of each in {seconds:.2} s: {rate:.0} per second");
    let sum = everybody.sum.load(Ordering::Relaxed);
    assert_eq!(sum, actors * actors.saturating_sub(1) / 2, "everybody has answered with its own number");
}

// --- the actors ------------------------------------------------------------------------------------------------

struct Hello;

struct Idle {
    number: u64,
    everybody: Arc<Everybody>,
}

impl Actor for Idle {
    type Message = Hello;

    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        self.everybody.one_came(0);
        Ok(())
    }

    fn receive(&mut self, Hello: Hello, _: &mut Context<Self>) -> Result<(), Exit> {
        self.everybody.one_came(self.number);
        Ok(())
    }
}

/// Knows when everybody has come. A message for each to one who counts would do as well; this is only about the others.
#[derive(Default)]
struct Everybody {
    missing: AtomicU64,
    sum: AtomicU64,
    all_came: Event,
}

impl Everybody {
    fn expect(&self, actors: u64) {
        self.all_came.clear();
        self.missing.store(actors, Ordering::Relaxed);
    }

    fn one_came(&self, with: u64) {
        self.sum.fetch_add(with, Ordering::Relaxed);
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_came.set();
        }
    }
}

// --- the process and its command line --------------------------------------------------------------------------

/// The memory that the process has, in bytes; 0 where Linux does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn parse(arguments: &[String]) -> Result<u64, String> {
    match arguments {
        [] => Ok(1_000_000),
        [actors] => actors
            .parse()
            .ok()
            .filter(|&actors| actors > 0)
            .ok_or_else(|| format!("ACTORS is a whole number above 0, not `{actors}`")),
        _ => Err("too many arguments".into()),
    }
}
