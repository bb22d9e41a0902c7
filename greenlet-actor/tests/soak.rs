//! Floods of messages into bounded mailboxes, in a process that may not grow: `ACTOR_SOAK_SECONDS` says for how long, 60 for the long form
//! (`cargo test --release -p greenlet-actor --test soak -- --nocapture` shows the figures).

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_actor::{Actor, ActorBuilder, ActorRef, Context, Exit, Overflow, Reply, System};
use greenlet_core::yield_now;

/// The address space of the process that is flooded, in KiB.
const LIMIT: u64 = 2 << 20;
/// Resident, at most: what the mailboxes may hold is far less.
const RESIDENT: u64 = 300 << 20;
const CAPACITY: usize = 10_000;
const SINKS: usize = 8;

const POLICIES: [Overflow; 4] =
    [Overflow::Suspend, Overflow::Fail, Overflow::DropNewest, Overflow::DropOldest];

struct Sink {
    /// The last number of each source.
    last: Vec<u64>,
    handled: u64,
}

enum Message {
    /// The source, its number, and some weight.
    Number(usize, u64, #[expect(dead_code, reason = "weighs something")] [u64; 4]),
    Handled(Reply<u64>),
}

impl Actor for Sink {
    type Message = Message;
    fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Number(source, number, _) => {
                assert!(number > self.last[source], "{number} after {} of {source}", self.last[source]);
                self.last[source] = number;
                self.handled += 1;
            }
            Message::Handled(reply) => reply.send(self.handled),
        }
        Ok(())
    }
}

struct Source {
    name: usize,
    sinks: Vec<ActorRef<Message>>,
    number: u64,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
    stop: AtomicBool,
    sources: AtomicU64,
}

/// Another burst.
struct Burst;

impl Actor for Source {
    type Message = Burst;
    fn receive(&mut self, _: Burst, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if self.counts.stop.load(Ordering::Relaxed) {
            return Err(Exit::Normal);
        }
        let mut refused = 0;
        for _ in 0..64 {
            self.number += 1;
            for sink in &self.sinks {
                refused += u64::from(sink.send(Message::Number(self.name, self.number, [0; 4])).is_err());
            }
        }
        self.counts.accepted.fetch_add(64 * self.sinks.len() as u64 - refused, Ordering::Relaxed);
        self.counts.refused.fetch_add(refused, Ordering::Relaxed);
        ctx.me().cast(Burst);
        Ok(())
    }

    fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
        self.counts.sources.fetch_sub(1, Ordering::SeqCst);
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("it has memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

/// Floods mailboxes of one kind. Returns how many messages were handled.
fn flood(overflow: Overflow, time: Duration) -> u64 {
    let system = System::builder().hubs(2).start().unwrap();
    const SOURCES: usize = 4;
    let bounded = || ActorBuilder::new().capacity(CAPACITY).overflow(overflow).system(&system);
    let sinks: Vec<_> =
        (0..SINKS).map(|_| bounded().spawn(Sink { last: vec![0; SOURCES + 1], handled: 0 })).collect();
    let counts = Arc::new(Counts::default());
    for name in 0..SOURCES {
        counts.sources.fetch_add(1, Ordering::SeqCst);
        let source = Source { name, sinks: sinks.clone(), number: 0, counts: counts.clone() };
        system.spawn(source).cast(Burst);
    }
    let outside = {
        let (sinks, counts) = (sinks.clone(), counts.clone());
        thread::spawn(move || {
            let mut number = 0;
            while !counts.stop.load(Ordering::Relaxed) {
                number += 1;
                for sink in &sinks {
                    let sent = sink.send(Message::Number(SOURCES, number, [0; 4]));
                    let count = if sent.is_ok() { &counts.accepted } else { &counts.refused };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let (start, mut most) = (Instant::now(), 0);
    while start.elapsed() < time {
        // From one sample to the next.
        thread::sleep(Duration::from_millis(20));
        most = most.max(resident());
        for sink in &sinks {
            // Whoever is counted but not in yet, and those that were never taken out of the count.
            assert!(sink.mailbox_len() <= CAPACITY + 64, "{} wait", sink.mailbox_len());
        }
    }
    counts.stop.store(true, Ordering::Relaxed);
    outside.join().unwrap();
    while counts.sources.load(Ordering::SeqCst) > 0 {
        thread::yield_now();
    }
    let elapsed = start.elapsed();
    let (mut handled, mut questions_dropped) = (0, 0);
    for sink in &sinks {
        // Among the others: it waits for its turn, or takes one's place.
        handled += loop {
            if let Ok(handled) = sink.ask(Message::Handled, Duration::from_secs(60)) {
                break handled;
            }
            // A mailbox that is still full drops the question as it drops any message, and counts it.
            questions_dropped += u64::from(overflow == Overflow::DropNewest);
            thread::yield_now();
        };
    }
    let dropped = sinks.iter().map(ActorRef::dropped).sum::<u64>() - questions_dropped;
    let (accepted, refused) = (counts.accepted.load(Ordering::SeqCst), counts.refused.load(Ordering::SeqCst));
    assert_eq!(accepted, handled + dropped, "{overflow:?}: messages were lost");
    system.shutdown();
    println!(
        "{overflow:?}: {:.2} million messages a second sent, {:.2} handled ({handled} handled, {dropped} dropped, {refused} refused) in \
         {elapsed:.1?}; at most {} MiB resident",
        (accepted + refused) as f64 / elapsed.as_secs_f64() / 1e6,
        handled as f64 / elapsed.as_secs_f64() / 1e6,
        most >> 20
    );
    assert!(most < RESIDENT, "{} MiB are resident", most >> 20);
    handled
}

/// Main's part in a system of one hub: it floods from its own greenlet, as `send` waits.
fn flood_from_main(time: Duration) {
    greenlet_core::run(|| {
        let sink = ActorBuilder::new().capacity(CAPACITY).spawn(Sink { last: vec![0; 1], handled: 0 });
        let (start, mut number) = (Instant::now(), 0);
        while start.elapsed() < time {
            for _ in 0..1000 {
                number += 1;
                assert!(sink.send(Message::Number(0, number, [0; 4])).is_ok());
            }
        }
        yield_now();
        assert_eq!(sink.ask(Message::Handled, Duration::from_secs(60)).unwrap(), number);
        let elapsed = start.elapsed();
        println!("one hub: {:.2} million messages a second", number as f64 / elapsed.as_secs_f64() / 1e6);
    });
}

#[test]
fn a_flood_stays_within_its_bounds() {
    let child = "ACTOR_SOAK_CHILD";
    let seconds = std::env::var("ACTOR_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    if std::env::var_os(child).is_some() {
        let time = seconds.map_or(Duration::from_millis(500), Duration::from_secs);
        for overflow in POLICIES {
            assert!(flood(overflow, time) > 0);
        }
        flood_from_main(time);
        return;
    }
    let me = std::env::current_exe().expect("a test has a file");
    let command =
        format!("ulimit -v {LIMIT} && exec \"$0\" --exact a_flood_stays_within_its_bounds --nocapture");
    let run =
        Command::new("sh").arg("-c").arg(command).arg(me).env(child, "1").stdout(Stdio::piped()).output();
    let output = run.expect("a shell");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}
