//! Two actors that pass a ball, as many rounds as you like: the first program of the Erlang tutorial, with a stopwatch.
//!
//! Type
//!
//!     cargo run --release -p greenlet-examples --bin ping_pong -- 1000000
//!
//! and you will see how many rounds (a ping and a pong each) the two made on one thread, and how many as many pairs made on all cores at the
//! same time, such as
//!
//!     1000000 rounds in 0.13 s: 7906369 rounds per second
//!     2 pairs on 2 cores: 2000000 rounds in 0.14 s: 14285714 rounds per second
//!
//! The number may be left out: it is 1000000 then.

use std::process::ExitCode;
use std::time::Instant;

use greenlet_actor::{Actor, ActorRef, Context, Exit, System};

const USAGE: &str = "usage: ping_pong [ROUNDS]    pass the ball so often (1000000)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = match parse(&arguments) {
        Ok(rounds) => rounds,
        Err(wrong) => {
            eprintln!("ping_pong: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let result = on_hubs(1, rounds).and_then(|one| {
        println!("{one}");
        let all = on_hubs(cores, rounds)?;
        println!("{cores} pairs on {cores} cores: {all}");
        Ok(())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("ping_pong: {wrong}");
            ExitCode::FAILURE
        }
    }
}

fn on_hubs(hubs: usize, rounds: u64) -> Result<String, String> {
    let system = System::builder().hubs(hubs);
    system.run(|| play(hubs, rounds)).map_err(|error| format!("the system does not start: {error}"))?
}

/// Lets so many pairs pass the ball at the same time.
fn play(pairs: usize, rounds: u64) -> Result<String, String> {
    let start = Instant::now();
    let pair = |_| {
        let ponger = Ponger.spawn();
        let pinger = Pinger { ponger: ponger.clone(), left: rounds }.spawn();
        // Linked: if one fails, the other does not wait for a ball that never comes.
        pinger.link(&ponger);
        (pinger, ponger)
    };
    let playing: Vec<_> = (0..pairs).map(pair).collect();
    for (pinger, ponger) in playing {
        let exit = pinger.join();
        if !exit.is_normal() {
            return Err(exit.to_string());
        }
        ponger.stop();
    }
    let (seconds, rounds) = (start.elapsed().as_secs_f64(), rounds * pairs as u64);
    Ok(format!("{rounds} rounds in {seconds:.2} s: {:.0} rounds per second", rounds as f64 / seconds))
}

// --- the actors ------------------------------------------------------------------------------------------------

/// A ball that wants to come back.
struct Ping(ActorRef<Pong>);

/// A ball that came back.
struct Pong;

struct Pinger {
    ponger: ActorRef<Ping>,
    left: u64,
}

impl Pinger {
    fn serve(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if self.left == 0 {
            return Err(Exit::Normal); // done
        }
        self.left -= 1;
        self.ponger.send(Ping(ctx.me().clone()))?;
        Ok(())
    }
}

impl Actor for Pinger {
    type Message = Pong;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.serve(ctx)
    }

    fn receive(&mut self, Pong: Pong, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.serve(ctx)
    }
}

struct Ponger;

impl Actor for Ponger {
    type Message = Ping;

    fn receive(&mut self, Ping(from): Ping, _: &mut Context<Self>) -> Result<(), Exit> {
        from.send(Pong)?;
        Ok(())
    }
}

// --- the command line ------------------------------------------------------------------------------------------

fn parse(arguments: &[String]) -> Result<u64, String> {
    match arguments {
        [] => Ok(1_000_000),
        [rounds] => rounds
            .parse()
            .ok()
            .filter(|&rounds| rounds > 0)
            .ok_or_else(|| format!("ROUNDS is a whole number above 0, not `{rounds}`")),
        _ => Err("too many arguments".into()),
    }
}
