//! Messages in one direction.

use std::time::Duration;

use crate::actors::{Behaviour, Cores, Library, Myself, Place};

struct Producer<L: Library> {
    counter: L::Ref<Counter>,
    messages: u64,
    sink: Option<L::Sink<u64>>,
}

enum Produce {
    Begin,
    Sum(u64),
}

impl<L: Library> Behaviour<L> for Producer<L> {
    type Message = Produce;

    fn receive(&mut self, message: Produce, me: &mut impl Myself<L, Self>) {
        match message {
            Produce::Begin => {
                for _ in 0..self.messages {
                    L::send(&self.counter, Count::Increment);
                }
                L::send(&self.counter, Count::Sum(me.me()));
            }
            Produce::Sum(sum) => L::finish(self.sink.take().expect("it ends once"), sum),
        }
    }
}

struct Counter(u64);

enum Count<L: Library> {
    Increment,
    Sum(L::Ref<Producer<L>>),
}

impl<L: Library> Behaviour<L> for Counter {
    type Message = Count<L>;

    fn receive(&mut self, message: Count<L>, _: &mut impl Myself<L, Self>) {
        match message {
            Count::Increment => self.0 += 1,
            Count::Sum(producer) => L::send(&producer, Produce::Sum(self.0)),
        }
    }
}

/// A producer sends all its messages at once, and then asks how many there were.
pub fn counting<L: Library>(cores: Cores, messages: u64) -> Duration {
    let (sum, time) = L::run(cores, move |sink| {
        let counter = L::spawn(Counter(0), Place::Anywhere);
        let producer = Producer::<L> { counter, messages, sink: Some(sink) };
        L::send(&L::spawn(producer, Place::Anywhere), Produce::Begin);
    });
    assert_eq!(sum, messages, "every message is counted");
    time
}

/// As many messages are on their way at once.
const WINDOW: u64 = 1000;

struct Teller<L: Library> {
    listener: L::Ref<Listener>,
    left: u64,
    sink: Option<L::Sink<u64>>,
}

/// How many the listener has heard.
struct Heard(u64);

impl<L: Library> Behaviour<L> for Teller<L> {
    type Message = Heard;

    fn receive(&mut self, Heard(heard): Heard, me: &mut impl Myself<L, Self>) {
        if self.left == 0 {
            L::finish(self.sink.take().expect("it ends once"), heard);
            return;
        }
        let now = self.left.min(WINDOW);
        self.left -= now;
        for at in 1..=now {
            let answer = if at == now { Some(me.me()) } else { None };
            L::send(&self.listener, Told { number: 1, answer });
        }
    }
}

struct Listener(u64);

struct Told<L: Library> {
    number: u64,
    answer: Option<L::Ref<Teller<L>>>,
}

impl<L: Library> Behaviour<L> for Listener {
    type Message = Told<L>;

    fn receive(&mut self, told: Told<L>, _: &mut impl Myself<L, Self>) {
        self.0 += told.number;
        if let Some(teller) = told.answer {
            L::send(&teller, Heard(self.0));
        }
    }
}

/// Messages in one direction, of which only the thousandth has an answer, before which there is not another one.
pub fn tell<L: Library>(cores: Cores, messages: u64) -> Duration {
    let (sum, time) = L::run(cores, move |sink| {
        let listener = L::spawn(Listener(0), Place::Anywhere);
        let teller = Teller::<L> { listener, left: messages, sink: Some(sink) };
        L::send(&L::spawn(teller, Place::Anywhere), Heard(0));
    });
    assert_eq!(sum, messages, "every message is heard");
    time
}
