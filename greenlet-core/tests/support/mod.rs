//! What several of the test files use.
#![allow(dead_code)] // each of them uses a part

pub mod torture;

use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use std::rc::Rc;

use greenlet_core::{Greenlet, Kill, spawn, yield_now};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};

/// Longer than any test takes.
pub const FOREVER: Duration = Duration::MAX;
/// A limit that is only reached when something hangs.
pub const GENEROUS: Duration = Duration::from_secs(30);
/// Short enough to be over soon, for waits that must time out.
pub const SHORT: Duration = Duration::from_millis(1);

/// An error to raise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Oops(pub &'static str);

/// Runs a closure when it is dropped.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Lets everything happen that can without the outside world: ready greenlets, their wake-ups, and so on.
pub fn settle() {
    for _ in 0..16 {
        yield_now();
    }
}

/// Yields until something is so.
pub fn until(so: impl Fn() -> bool) {
    while !so() {
        yield_now();
    }
}

/// Counts tokens: how many were dropped, and how many on another thread than they belong to.
#[derive(Clone, Default, Debug)]
pub struct Tally(Arc<Counts>);

#[derive(Default, Debug)]
struct Counts {
    made: AtomicUsize,
    dropped: AtomicUsize,
    astray: AtomicUsize,
}

/// Counted when it is dropped.
#[derive(Debug)]
pub struct Token {
    counts: Arc<Counts>,
    home: Option<ThreadId>,
}

impl Tally {
    /// One that belongs to this thread.
    pub fn token(&self) -> Token {
        self.token_of(Some(thread::current().id()))
    }

    /// One that may be dropped anywhere.
    pub fn stray_token(&self) -> Token {
        self.token_of(None)
    }

    fn token_of(&self, home: Option<ThreadId>) -> Token {
        self.0.made.fetch_add(1, Ordering::SeqCst);
        Token { counts: self.0.clone(), home }
    }

    pub fn made(&self) -> usize {
        self.0.made.load(Ordering::SeqCst)
    }

    pub fn dropped(&self) -> usize {
        self.0.dropped.load(Ordering::SeqCst)
    }

    pub fn astray(&self) -> usize {
        self.0.astray.load(Ordering::SeqCst)
    }

    /// Every token was dropped once, where it belongs.
    #[track_caller]
    pub fn assert_all_home(&self) {
        assert_eq!((self.dropped(), self.astray()), (self.made(), 0), "(dropped, astray) of {}", self.made());
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::SeqCst);
        if self.home.is_some_and(|home| home != thread::current().id()) {
            self.counts.astray.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A small generator of random numbers (splitmix64): same seed, same numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn micros(&mut self, limit: usize) -> Duration {
        Duration::from_micros(self.below(limit) as u64)
    }

    /// One for somebody else.
    pub fn fork(&mut self) -> Rng {
        Rng(self.next())
    }
}

/// Ends the process, naming the seed, when one seed takes far too long. Ends when it is dropped.
pub struct Watchdog {
    seed: Arc<AtomicU64>,
    _stop: mpsc::Sender<()>,
}

impl Watchdog {
    pub fn start(what: &'static str) -> Watchdog {
        let seed = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = mpsc::channel::<()>();
        let watched = seed.clone();
        thread::spawn(move || {
            let mut last = None;
            while stopped.recv_timeout(GENEROUS) == Err(mpsc::RecvTimeoutError::Timeout) {
                let now = watched.load(Ordering::SeqCst);
                if last == Some(now) {
                    // Not `eprintln!`: it would go into the capture of a test that never ends.
                    let line = format!("{what}: stuck. Replay it with GREENLET_SEED={now}\n");
                    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
                    std::process::abort();
                }
                last = Some(now);
            }
        });
        Watchdog { seed, _stop: stop }
    }

    /// A new seed begins. It is printed if it panics.
    #[must_use]
    pub fn begin(&self, seed: u64) -> OnDrop<impl FnMut() + use<>> {
        self.seed.store(seed, Ordering::SeqCst);
        OnDrop(move || {
            if thread::panicking() {
                eprintln!("failed: replay it with GREENLET_SEED={seed}");
            }
        })
    }
}

/// The seeds to run: so many, or the one of `GREENLET_SEED`.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("GREENLET_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}

const CHILD: &str = "GREENLET_TEST_CHILD";

/// Runs the test of that name in a process of its own, where `is_child` says so.
pub fn run_child(test: &str) -> Output {
    run_child_with(test, &[])
}

/// As `run_child`, with more in its environment.
pub fn run_child_with(test: &str, environment: &[(&str, &str)]) -> Output {
    let mut child = Command::new(std::env::current_exe().expect("a test has an executable"));
    // Whoever runs in the background of a shell ignores these, and so would the child.
    let defaults = || {
        for signal in [libc::SIGINT, libc::SIGQUIT] {
            // SAFETY: async-signal-safe, and nobody handles these signals here yet.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: it makes system calls only.
    unsafe { child.pre_exec(defaults) };
    child
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .envs(environment.iter().copied())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the test's executable can be started again")
}

pub fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == test)
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An event as a subscriber saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub level: tracing::Level,
    pub target: String,
    /// All fields, the message first.
    pub text: String,
    /// The spans around it, outermost first.
    pub spans: Vec<String>,
}

/// A layer that keeps every event.
#[derive(Clone, Default, Debug)]
pub struct Recorder(Arc<Mutex<Vec<Seen>>>);

impl Recorder {
    pub fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// The events that this crate reported.
    pub fn reports(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.target == "greenlet").collect()
    }
}

impl<S> Layer<S> for Recorder
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fn on_event(&self, event: &tracing::Event<'_>, ctx: Context<'_, S>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                let part = format!("{}={value:?} ", field.name());
                match field.name() {
                    "message" => self.0.insert_str(0, &part),
                    _ => self.0.push_str(&part),
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        let spans = ctx.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let seen = Seen {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            text: text.0,
            spans: spans.map(|span| span.name().to_owned()).collect(),
        };
        self.0.lock().unwrap().push(seen);
    }
}

/// Spawns `f` with a handle of what is shared.
pub fn with<S: 'static, R: 'static>(shared: &Rc<S>, f: impl FnOnce(&S) -> R + 'static) -> Greenlet<R> {
    let shared = shared.clone();
    spawn(move || f(&shared))
}

/// A kill that does not wait.
pub fn no_wait() -> Kill {
    Kill::default().no_wait()
}
