//! A program that ends in good order when it is told to: its workers put away what they have in hand.
//!
//! Type
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin program_shutdown
//! ```
//!
//! and, after a while, Ctrl-\ (or Ctrl-C, or `kill` with the number that it prints); you will see
//!
//! ```text
//! process 4711 works; Ctrl-\ ends it
//! saw: nothing in hand
//! drill: 3 parts put away
//! press: 1 parts put away
//! shutdown by SIGQUIT: all workers have ended
//! ```
//!
//! The numbers differ. The shell is told that the signal ended the program. A second Ctrl-\ while the workers still put their
//! parts away ends it at once.

use std::process::ExitCode;
use std::time::Duration;

use greenlet_core::signal::{self, SIGINT, SIGQUIT, SIGTERM, SignalError};
use greenlet_core::{Hub, joinall, sleep, spawn};

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("program_shutdown: it takes no arguments\nusage: program_shutdown");
        return ExitCode::from(2);
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("program_shutdown: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), SignalError> {
    let program = signal::shutdown_on([SIGQUIT, SIGINT, SIGTERM])?;
    let ended = program.run(|| {
        let [drill, saw, press] = [("drill", 20), ("saw", 1_000_000), ("press", 50)].map(Worker::new);
        // One works on a thread of its own; the thread ends when `hall` is dropped, as main is unwound.
        let hall = Hub::thread("hall").start().expect("there is room for one more thread");
        let press = hall.handle().spawn(|| press.work());
        let workers = [drill, saw].map(|worker| spawn(|| worker.work()));
        println!("process {} works; Ctrl-\\ ends it", std::process::id());
        joinall(&workers);
        drop(press);
    });
    match ended {
        Ok(()) => Ok(()), // no worker ever ends by itself
        Err(shutdown) => {
            println!("{shutdown}: all workers have ended");
            shutdown.exit()
        }
    }
}

struct Worker {
    name: &'static str,
    pace: Duration,
    parts: usize,
}

impl Worker {
    fn new((name, pace_ms): (&'static str, u64)) -> Worker {
        Worker { name, pace: Duration::from_millis(pace_ms), parts: 0 }
    }

    fn work(mut self) {
        loop {
            sleep(self.pace);
            self.parts += 1;
        }
    }
}

/// Runs when its greenlet is unwound, and may take its time.
impl Drop for Worker {
    fn drop(&mut self) {
        for _ in 0..self.parts {
            sleep(Duration::from_millis(1));
        }
        match self.parts {
            0 => println!("{}: nothing in hand", self.name),
            parts => println!("{}: {parts} parts put away", self.name),
        }
    }
}
