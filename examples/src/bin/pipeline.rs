//! A pipeline with back-pressure: a fast source, a stage on the way, a slow sink.
//!
//! Type
//! ```text
//! cargo run --release --bin pipeline [NUMBERS]
//! ```
//! A source sends numbers (100,000 unless told otherwise) to a stage that squares them, and that one to a sink that adds them up. The sink
//! takes its time now and then, and the mailboxes have room for 64 messages each. Who sends to a full one waits: the handler is suspended, the
//! thread is not. So at no moment are there more messages in memory than there is room for, however far ahead the source would like to be.
//! You will see the fullest mailboxes that were seen, the sum, and by how much the process has grown.

use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, Context, Exit, Reply};
use greenlet_core::{Instant, sleep};

const ROOM: usize = 64;

enum Number {
    Next(u64),
    /// The last one has come.
    Done(Reply<Sums>),
}

struct Sums {
    sum: u64,
    /// The longest mailboxes that were seen, of the stage and of the sink.
    longest: [usize; 2],
}

/// Squares numbers.
struct Squares {
    sink: ActorRef<Number>,
    longest: usize,
}

impl Actor for Squares {
    type Message = Number;

    fn receive(&mut self, number: Number, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.longest = self.longest.max(ctx.me().mailbox_len());
        let next = match number {
            Number::Next(n) => Number::Next(n * n),
            Number::Done(reply) => {
                // What the sink says goes on to whoever asked, with what is known here.
                let mut sums = self.sink.call(Number::Done)?;
                sums.longest[0] = self.longest;
                reply.send(sums);
                return Err(Exit::Normal);
            }
        };
        // Waits for room: only this actor does.
        if self.sink.send(next).is_err() {
            return Err(Exit::NoProc);
        }
        Ok(())
    }
}

/// Adds them up, and is slow.
#[derive(Default)]
struct Sum {
    sum: u64,
    taken: u64,
    longest: usize,
}

impl Actor for Sum {
    type Message = Number;

    fn receive(&mut self, number: Number, ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.longest = self.longest.max(ctx.me().mailbox_len());
        match number {
            Number::Next(n) => {
                self.sum = self.sum.wrapping_add(n);
                self.taken += 1;
                if self.taken.is_multiple_of(1000) {
                    sleep(Duration::from_micros(200));
                }
                Ok(())
            }
            Number::Done(reply) => {
                reply.send(Sums { sum: self.sum, longest: [0, self.longest] });
                Err(Exit::Normal)
            }
        }
    }
}

/// What the process has in memory, in bytes; 0 where that is not known.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: u64 = std::env::args().nth(1).map_or(Ok(100_000), |argument| argument.parse())?;
    greenlet_core::run(|| {
        let sink = ActorBuilder::new().name("sum").capacity(ROOM).spawn(Sum::default());
        let squares = Squares { sink, longest: 0 };
        let squares = ActorBuilder::new().name("squares").capacity(ROOM).spawn(squares);

        let (start, before) = (Instant::now(), resident());
        for n in 0..numbers {
            squares.send(Number::Next(n)).map_err(|_| "the stage has ended")?;
        }
        let sums = squares.ask(Number::Done, Duration::from_secs(60))?;
        let grown = resident().saturating_sub(before);

        println!("sum of {numbers} squares: {}", sums.sum);
        println!("longest mailboxes: squares {}, sum {}", sums.longest[0], sums.longest[1]);
        println!("grown by {} KiB, in {:?}", grown / 1024, start.elapsed());
        Ok(())
    })
}
