//! A million actors that are spawned by their parents, and add up their numbers.

use std::time::Duration;

use crate::actors::{Behaviour, Cores, Library, Myself, Place};

const CHILDREN: u64 = 10;

struct Node<L: Library> {
    /// `None`: the result is the whole one.
    parent: Option<L::Ref<Node<L>>>,
    sum: u64,
    waits_for: u64,
    sink: Option<L::Sink<u64>>,
}

impl<L: Library> Node<L> {
    fn tell(&mut self, sum: u64) {
        match &self.parent {
            Some(parent) => L::send(parent, Message::Sum(sum)),
            None => L::finish(self.sink.take().expect("it ends once"), sum),
        }
    }
}

enum Message {
    /// The first number below it, and how many there are.
    Begin {
        first: u64,
        leaves: u64,
    },
    Sum(u64),
}

impl<L: Library> Behaviour<L> for Node<L> {
    type Message = Message;

    fn receive(&mut self, message: Message, me: &mut impl Myself<L, Self>) {
        match message {
            Message::Begin { first, leaves: 1 } => {
                self.tell(first);
                me.stop();
            }
            Message::Begin { first, leaves } => {
                self.waits_for = CHILDREN;
                let each = leaves / CHILDREN;
                // Where actors stay where they began, the first ones are shared out.
                let place = if self.parent.is_none() { Place::Anywhere } else { Place::Here };
                for child in 0..CHILDREN {
                    let node = Node { parent: Some(me.me()), sum: 0, waits_for: 0, sink: None };
                    let begin = Message::Begin { first: first + child * each, leaves: each };
                    L::send(&L::spawn(node, place), begin);
                }
            }
            Message::Sum(sum) => {
                self.sum += sum;
                self.waits_for -= 1;
                if self.waits_for == 0 {
                    self.tell(self.sum);
                    me.stop();
                }
            }
        }
    }
}

/// A tree of actors; `leaves` is a power of ten.
pub fn skynet<L: Library>(cores: Cores, leaves: u64) -> Duration {
    let (sum, time) = L::run(cores, move |sink| {
        let root = Node::<L> { parent: None, sum: 0, waits_for: 0, sink: Some(sink) };
        L::send(&L::spawn(root, Place::Anywhere), Message::Begin { first: 0, leaves });
    });
    assert_eq!(sum, leaves * (leaves - 1) / 2, "the sum of all numbers below it");
    time
}
