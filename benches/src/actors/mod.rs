//! Actor libraries, and the same programs for all of them.
//!
//! What an actor does is written once, as a [`Behaviour`] ([`programs`]), and each [`Library`] has a host for behaviours, which the compiler
//! takes apart: a message costs what the library's own costs. Questions whose answer a handler waits for look different in each library, so
//! those programs are written for each ([`Library::bank`], [`Library::ask_from_outside`], [`Library::ask_from_an_actor`]).
//!
//! All mailboxes are unbounded. On one core the process keeps to one processor, and libraries on tokio to its `current_thread` flavour; on two
//! cores there are two worker threads.

#[cfg(feature = "actor-peers")]
pub mod actix;
pub mod greenlet;
#[cfg(feature = "actor-peers")]
pub mod kameo;
pub mod other_languages;
pub mod programs;
#[cfg(feature = "actor-peers")]
pub mod ractor;
#[cfg(feature = "actor-peers")]
mod tokio_runtime;
#[cfg(feature = "actor-peers")]
pub mod xtra;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How many processors a program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// One thread, on one processor.
    One,
    /// Two worker threads.
    Two,
}

/// Where an actor begins, for libraries in which it stays there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where the caller is.
    Here,
    /// On the threads in turn.
    Anywhere,
}

/// What the programs need of a library of actors.
pub trait Library: Sized + Send + 'static {
    /// The name in the output.
    const NAME: &'static str;

    /// Refers to an actor.
    type Ref<B: Behaviour<Self>>: Clone + Send + Sync + 'static;

    /// Takes the result of a program.
    type Sink<T: Send + 'static>: Send + 'static;

    /// Calls `program` where actors can be spawned, and waits for the result. Returns it, and the time from the call until it came.
    fn run<T: Send + 'static>(
        cores: Cores,
        program: impl FnOnce(Self::Sink<T>) + Send + 'static,
    ) -> (T, Duration);

    /// Gives [`run`](Library::run) its result.
    fn finish<T: Send + 'static>(sink: Self::Sink<T>, result: T);

    /// Starts an actor; from the program, or from another actor.
    fn spawn<B: Behaviour<Self>>(behaviour: B, place: Place) -> Self::Ref<B>;

    /// Sends a message without waiting for anything.
    fn send<B: Behaviour<Self>>(to: &Self::Ref<B>, message: B::Message);

    /// Questions to an actor, one after the other, from outside of the actors.
    fn ask_from_outside(cores: Cores, questions: u64) -> Duration;

    /// Questions to an actor, one after the other, from a handler of another one.
    fn ask_from_an_actor(cores: Cores, questions: u64) -> Duration;

    /// Transfers between accounts: the accounts ask each other.
    fn bank(cores: Cores, transfers: u64) -> Duration;

    /// Looks actors up by their names. `None` if the library has no names for actors.
    fn whereis(cores: Cores, lookups: u64) -> Option<Duration> {
        let _ = (cores, lookups);
        None
    }

    /// Starts that many children of one supervisor and has each crash once. From the first crash until all of them run again. `None` if
    /// the library starts nothing again.
    fn restart(cores: Cores, children: u64) -> Option<Duration> {
        let _ = (cores, children);
        None
    }
}

/// What an actor does.
pub trait Behaviour<L: Library>: Send + Sized + 'static {
    /// What it receives.
    type Message: Send + 'static;

    /// Called before the first message.
    fn started(&mut self) {}

    /// Handles a message.
    fn receive(&mut self, message: Self::Message, me: &mut impl Myself<L, Self>);
}

/// An actor, as it sees itself.
pub trait Myself<L: Library, B: Behaviour<L>> {
    /// A reference to it.
    fn me(&self) -> L::Ref<B>;

    /// Has it end after this message.
    fn stop(&mut self);
}

/// Gives the result when so many have come, and adds up what they bring.
pub struct Latch<L: Library>(Arc<Count<L>>);

struct Count<L: Library> {
    left: AtomicU64,
    sum: AtomicU64,
    sink: Mutex<Option<L::Sink<u64>>>,
}

impl<L: Library> Latch<L> {
    /// For so many.
    pub fn new(count: u64, sink: L::Sink<u64>) -> Latch<L> {
        let count =
            Count { left: AtomicU64::new(count), sum: AtomicU64::new(0), sink: Mutex::new(Some(sink)) };
        Latch(Arc::new(count))
    }

    /// One has come. Whether it is the last.
    pub fn come(&self, with: u64) -> bool {
        self.0.sum.fetch_add(with, Ordering::Relaxed);
        let last = self.0.left.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            let sink = self.0.sink.lock().expect("nobody panics with it").take();
            L::finish(sink.expect("it is finished once"), self.0.sum.load(Ordering::Relaxed));
        }
        last
    }
}

impl<L: Library> Clone for Latch<L> {
    fn clone(&self) -> Latch<L> {
        Latch(self.0.clone())
    }
}

/// Random numbers that are the same in every run: SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below that one.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % limit
    }
}
