//! Two actors that pass a ball, as many rounds as you like: the first program of the Erlang tutorial, with a stopwatch.
//!
//! Type
//!
//!     cargo run --release -p greenlet-examples --bin ping_pong -- 1000000
//!
//! and you will see how many rounds (a ping and a pong each) the two made on one thread, such as
//!
//!     1000000 rounds in 0.13 s: 7906369 rounds per second
//!
//! The number may be left out: it is 1000000 then.

use std::process::ExitCode;
use std::time::Instant;

use greenlet_actor::{Actor, ActorRef, Context, Exit};

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
    let start = Instant::now();
    let ponger = Ponger.spawn();
    let pinger = Pinger { ponger: ponger.clone(), left: rounds }.spawn();
    // Linked: if one fails, the other does not wait for a ball that never comes.
    pinger.link(&ponger);
    let exit = pinger.join();
    if !exit.is_normal() {
        eprintln!("ping_pong: {exit}");
        return ExitCode::FAILURE;
    }
    ponger.stop();
    let seconds = start.elapsed().as_secs_f64();
    println!("{rounds} rounds in {seconds:.2} s: {:.0} rounds per second", rounds as f64 / seconds);
    ExitCode::SUCCESS
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
