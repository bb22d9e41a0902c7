//! Actors that come and go, or are only there.

use std::time::Duration;

use crate::actors::{Behaviour, Cores, Latch, Library, Myself, Place};
use crate::usage;

/// Spawns one after the other.
struct Parent<L: Library> {
    left: u64,
    ended: u64,
    sink: Option<L::Sink<u64>>,
}

/// A child has ended; at first it says only that the parent may begin.
enum Message {
    Begin,
    Ended,
}

impl<L: Library> Behaviour<L> for Parent<L> {
    type Message = Message;

    fn receive(&mut self, message: Message, me: &mut impl Myself<L, Self>) {
        if let Message::Ended = message {
            self.ended += 1;
        }
        if self.left == 0 {
            L::finish(self.sink.take().expect("it ends once"), self.ended);
            return;
        }
        self.left -= 1;
        L::send(&L::spawn(Child::<L> { parent: me.me() }, Place::Here), Stop);
    }
}

struct Child<L: Library> {
    parent: L::Ref<Parent<L>>,
}

struct Stop;

impl<L: Library> Behaviour<L> for Child<L> {
    type Message = Stop;

    fn receive(&mut self, Stop: Stop, me: &mut impl Myself<L, Self>) {
        me.stop();
    }
}

impl<L: Library> Drop for Child<L> {
    fn drop(&mut self) {
        L::send(&self.parent, Message::Ended);
    }
}

/// An actor is spawned, told to stop, and has ended, before the next one.
pub fn spawn_stop<L: Library>(cores: Cores, times: u64) -> Duration {
    let (ended, time) = L::run(cores, move |sink| {
        let parent = Parent::<L> { left: times, ended: 0, sink: Some(sink) };
        L::send(&L::spawn(parent, Place::Anywhere), Message::Begin);
    });
    assert_eq!(ended, times, "every actor ends");
    time
}

/// Keeps the others, where actors end with the last reference to them. Boxed, since this is about the size of an actor.
#[expect(clippy::box_collection, reason = "one word instead of three")]
struct Others<L: Library>(#[expect(dead_code, reason = "it is only kept")] Box<Vec<L::Ref<Idle<L>>>>);

/// Has nothing to do.
struct Idle<L: Library> {
    latch: Latch<L>,
    others: Option<Others<L>>,
}

impl<L: Library> Behaviour<L> for Idle<L> {
    type Message = Others<L>;

    fn started(&mut self) {
        self.latch.come(1);
    }

    fn receive(&mut self, others: Others<L>, _: &mut impl Myself<L, Self>) {
        self.others = Some(others);
        // Measured while all are there.
        self.latch.come(usage::resident_bytes());
    }
}

/// Spawns so many actors, until all have started. Returns the resident memory that they take, references to them included.
pub fn idle<L: Library>(cores: Cores, actors: u64) -> (Duration, u64) {
    let before = usage::resident_bytes();
    let (sum, time) = L::run(cores, move |sink| {
        let latch = Latch::<L>::new(actors + 1, sink);
        let idle = || Idle::<L> { latch: latch.clone(), others: None };
        let others: Vec<_> = (0..actors).map(|_| L::spawn(idle(), Place::Anywhere)).collect();
        L::send(&others[0].clone(), Others(Box::new(others)));
    });
    (time, (sum - actors).saturating_sub(before))
}
