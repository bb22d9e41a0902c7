//! Everybody talks to everybody.

use std::sync::Arc;
use std::time::Duration;

use crate::actors::{Behaviour, Cores, Dice, Latch, Library, Myself, Place};

const ACTORS: u64 = 120;

struct Member<L: Library> {
    number: usize,
    neighbours: Arc<Vec<L::Ref<Member<L>>>>,
    dice: Dice,
    left: u64,
    answers: u64,
    waits_for: Option<usize>,
    /// Who pinged before it had begun.
    early: Vec<usize>,
    latch: Latch<L>,
}

enum Message<L: Library> {
    Begin(Arc<Vec<L::Ref<Member<L>>>>),
    Ping(usize),
    Pong(usize),
}

impl<L: Library> Member<L> {
    fn ping(&mut self) {
        if self.left == 0 {
            self.latch.come(self.answers);
            return;
        }
        self.left -= 1;
        let target = self.dice.below(self.neighbours.len() as u64) as usize;
        self.waits_for = Some(target);
        L::send(&self.neighbours[target], Message::Ping(self.number));
    }
}

impl<L: Library> Behaviour<L> for Member<L> {
    type Message = Message<L>;

    fn receive(&mut self, message: Message<L>, _: &mut impl Myself<L, Self>) {
        match message {
            Message::Begin(neighbours) => {
                self.neighbours = neighbours;
                for from in std::mem::take(&mut self.early) {
                    L::send(&self.neighbours[from], Message::Pong(self.number));
                }
                self.ping();
            }
            Message::Ping(from) if self.neighbours.is_empty() => self.early.push(from),
            Message::Ping(from) => L::send(&self.neighbours[from], Message::Pong(self.number)),
            Message::Pong(from) => {
                assert_eq!(self.waits_for.take(), Some(from), "the answer is of the one that was asked");
                self.answers += 1;
                self.ping();
            }
        }
    }
}

/// 120 actors ping a random one of them, again and again.
pub fn big<L: Library>(cores: Cores, pings_each: u64) -> Duration {
    let (answers, time) = L::run(cores, move |sink| {
        let latch = Latch::<L>::new(ACTORS, sink);
        let member = |number| Member::<L> {
            number: number as usize,
            neighbours: Arc::default(),
            dice: Dice(number),
            left: pings_each,
            answers: 0,
            waits_for: None,
            early: Vec::new(),
            latch: latch.clone(),
        };
        let members: Vec<_> = (0..ACTORS).map(|number| L::spawn(member(number), Place::Anywhere)).collect();
        let members = Arc::new(members);
        for member in members.iter() {
            L::send(member, Message::Begin(members.clone()));
        }
    });
    assert_eq!(answers, ACTORS * pings_each, "every ping has its pong");
    time
}
