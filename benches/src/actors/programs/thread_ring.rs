//! A token that goes round.

use std::time::Duration;

use crate::actors::{Behaviour, Cores, Library, Myself, Place};

const ACTORS: u64 = 100;

struct Member<L: Library> {
    number: u64,
    next: Option<L::Ref<Member<L>>>,
    sink: Option<L::Sink<u64>>,
}

enum Message<L: Library> {
    /// Who is next, and where the result goes if the token ends here.
    Next(L::Ref<Member<L>>, Option<L::Sink<u64>>),
    /// Hops left.
    Token(u64),
}

impl<L: Library> Behaviour<L> for Member<L> {
    type Message = Message<L>;

    fn receive(&mut self, message: Message<L>, _: &mut impl Myself<L, Self>) {
        match message {
            Message::Next(next, sink) => {
                self.next = Some(next);
                self.sink = sink;
            }
            Message::Token(0) => L::finish(self.sink.take().expect("the token ends here"), self.number),
            Message::Token(hops) => {
                L::send(self.next.as_ref().expect("the ring is closed"), Message::Token(hops - 1));
            }
        }
    }
}

/// A hundred actors in a ring.
pub fn thread_ring<L: Library>(cores: Cores, hops: u64) -> Duration {
    let (last, time) = L::run(cores, move |sink| {
        let member = |number| Member::<L> { number, next: None, sink: None };
        let ring: Vec<_> = (0..ACTORS).map(|number| L::spawn(member(number), Place::Anywhere)).collect();
        let mut sink = Some(sink);
        for (at, actor) in ring.iter().enumerate() {
            let sink = if at as u64 == hops % ACTORS { sink.take() } else { None };
            L::send(actor, Message::Next(ring[(at + 1) % ring.len()].clone(), sink));
        }
        L::send(&ring[0], Message::Token(hops));
    });
    assert_eq!(last, hops % ACTORS, "the token stops where its hops are over");
    time
}
