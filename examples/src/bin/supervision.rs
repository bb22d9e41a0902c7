//! A tree of supervisors whose workers crash on purpose: restarts, escalation, and the end.
//!
//! Type
//!
//!     cargo run --release -p greenlet-examples --bin supervision
//!
//! and you will see a log on stderr; this is some of it (shortened):
//!
//!     0.200s ERROR failed: panicked at examples/src/bin/supervision.rs:141:17: the drill is broken greenlet=drill
//!     0.200s  WARN ended: panicked at [...] supervisor=factory child=drill
//!     0.200s  INFO restarting supervisor=factory child=drill
//!     0.200s  INFO drill starts
//!     1.001s ERROR too many restarts; giving up supervisor=factory
//!     1.001s  WARN ended: shutdown supervisor=top child=factory
//!     2.002s ERROR too many restarts; giving up supervisor=top
//!
//! and after two seconds, on stdout,
//!
//!     crane    was started 4 times
//!     drill    was started 4 times
//!     factory  was started 2 times
//!     fuse     was started 4 times
//!     press    was started 4 times
//!     the top supervisor ended with: shutdown
//!
//! A number after `--` says how many restarts of the factory the top supervisor tolerates: 1 if it is left out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use greenlet_actor::{Actor, ChildSpec, Context, Exit, Supervisor, supervisor, worker};
use greenlet_core::{Timeout, sleep};
use tracing::info;

const USAGE: &str = "usage: supervision [RESTARTS]    how often the factory may be restarted (0 to 10; 1)";
const PERIOD: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let restarts: Option<usize> = match &arguments[..] {
        [] => Some(1),
        [restarts] => restarts.parse().ok().filter(|&restarts| restarts <= 10),
        _ => None,
    };
    let Some(restarts) = restarts else {
        let given = arguments.join(" ");
        eprintln!("supervision: RESTARTS is one whole number from 0 to 10, not `{given}`\n{USAGE}");
        return ExitCode::from(2);
    };
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_target(false)
        .init();
    // The log has the panics already.
    std::panic::set_hook(Box::new(|_| {}));
    let starts = Starts::default();
    let of_the_factory = starts.clone();
    let top = Supervisor::one_for_one()
        .intensity(restarts, PERIOD)
        .child(supervisor("factory", move || factory(&of_the_factory)))
        .start_named("top")
        .expect("no machine fails before it works");
    let exit = top.join();
    for (id, starts) in &*starts.borrow() {
        println!("{id:8} was started {starts} times");
    }
    println!("the top supervisor ended with: {exit}");
    ExitCode::SUCCESS
}

/// Four crashes are tolerated: one each of the drill, the press and the crane, and the first one of the fuse.
fn factory(starts: &Starts) -> Supervisor {
    *starts.borrow_mut().entry("factory").or_default() += 1;
    Supervisor::one_for_one()
        .intensity(4, PERIOD)
        .child(machine("drill", Crash::Panic, 200, starts))
        .child(machine("press", Crash::Error, 400, starts))
        .child(machine("crane", Crash::Raise, 600, starts))
        .child(machine("fuse", Crash::ErrorInEveryLife, 500, starts))
}

// --- the machines -----------------------------------------------------------------------------------------------

/// How often each part of the tree was started.
type Starts = Rc<RefCell<BTreeMap<&'static str, u32>>>;

#[derive(Clone, Copy, PartialEq)]
enum Crash {
    /// It panics.
    Panic,
    /// Its handler returns an error.
    Error,
    /// An error is raised in it while it is suspended.
    Raise,
    /// As `Error`, and not in its first life only.
    ErrorInEveryLife,
}

#[derive(Debug, thiserror::Error)]
#[error("the {0} is out of order")]
struct OutOfOrder(&'static str);

struct Machine {
    id: &'static str,
    crash: Option<Crash>,
    after: Duration,
}

fn machine(id: &'static str, crash: Crash, after_ms: u64, starts: &Starts) -> ChildSpec {
    let (starts, first_life) = (starts.clone(), Cell::new(true));
    worker(id, move || {
        *starts.borrow_mut().entry(id).or_default() += 1;
        let crashes = first_life.replace(false) || crash == Crash::ErrorInEveryLife;
        Machine { id, crash: crashes.then_some(crash), after: Duration::from_millis(after_ms) }
    })
}

impl Actor for Machine {
    type Message = (); // go to work

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        info!("{} starts", self.id);
        ctx.me().send(())?;
        Ok(())
    }

    fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
        match self.crash {
            None => sleep(Duration::MAX), // works well
            Some(Crash::Raise) => {
                let fault = Timeout::with_error(self.after, OutOfOrder(self.id));
                fault.start();
                sleep(Duration::MAX);
            }
            Some(crash) => {
                sleep(self.after);
                assert!(crash != Crash::Panic, "the {} is broken", self.id);
                return Err(OutOfOrder(self.id).into());
            }
        }
        Ok(())
    }
}
