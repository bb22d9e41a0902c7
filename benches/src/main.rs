//! Benchmarks of greenlets against their peers, all in one binary.
//!
//! A run measures every runtime in turn, round after round, so that a slow moment of the machine hits all of
//! them alike, and prints medians with tab-separated fields:
//!
//! ```text
//! workload<TAB>runtime<TAB>value<TAB>unit
//! ratio<TAB>workload<TAB>ours/best<TAB>best_peer
//! ```
//!
//! Below one, a ratio says that greenlets did better than the best peer of the same run. Only these lines go to
//! standard output; notes go to standard error.
//!
//! * [`arguments`] reads the command line.
//! * [`harness`] knows about rounds, medians and ratios, and nothing about what is measured.
//! * [`worker`] runs measurements in child processes, one for each runtime.
//! * [`suites`] lists what there is to measure; a new suite is one more entry there.
//! * [`actors`] holds the programs of the suite `actor`.
//! * [`plot`] draws its figures.
//! * [`runtimes`] holds the same programs written for each runtime.
//! * [`servers`] holds the same servers, which run in processes of their own; [`load`] asks them.
//! * [`usage`] asks the operating system for memory and CPU time.

#[cfg(feature = "actor")]
mod actors;
mod arguments;
mod harness;
#[cfg(feature = "net")]
mod load;
#[cfg(feature = "actor")]
mod plot;
#[cfg(feature = "net")]
mod runtimes;
#[cfg(feature = "net")]
mod servers;
mod suites;
mod usage;
mod worker;

use std::process::ExitCode;

use arguments::Command;

/// The exit code for a command line that makes no sense.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    match arguments::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            print!("{}", arguments::help());
            ExitCode::SUCCESS
        }
        Ok(Command::Run { suite, options }) => exit_code(harness::run(suite, &options)),
        Ok(Command::Worker { suite, runtime }) => exit_code(worker::serve(suite, runtime)),
        #[cfg(feature = "net")]
        Ok(Command::Server(setup)) => exit_code(servers::serve(&setup)),
        Err(message) => {
            eprintln!("error: {message}\n\nTry '--help' for what can be asked.");
            ExitCode::from(USAGE_ERROR)
        }
    }
}

fn exit_code(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
