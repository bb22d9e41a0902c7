//! Twenty philosophers, twenty forks, and one who hands them out.

use std::time::Duration;

use crate::actors::{Behaviour, Cores, Latch, Library, Myself, Place};

const PHILOSOPHERS: usize = 20;

struct Arbitrator {
    taken: [bool; PHILOSOPHERS],
}

enum Request<L: Library> {
    Hungry(usize, L::Ref<Philosopher<L>>),
    Done(usize),
}

impl<L: Library> Behaviour<L> for Arbitrator {
    type Message = Request<L>;

    fn receive(&mut self, request: Request<L>, _: &mut impl Myself<L, Self>) {
        match request {
            Request::Hungry(number, who) => {
                let (left, right) = (number, (number + 1) % PHILOSOPHERS);
                if self.taken[left] || self.taken[right] {
                    L::send(&who, Answer::Denied);
                } else {
                    self.taken[left] = true;
                    self.taken[right] = true;
                    L::send(&who, Answer::Eat);
                }
            }
            Request::Done(number) => {
                for fork in [number, (number + 1) % PHILOSOPHERS] {
                    assert!(std::mem::take(&mut self.taken[fork]), "who eats has the forks");
                }
            }
        }
    }
}

struct Philosopher<L: Library> {
    number: usize,
    arbitrator: L::Ref<Arbitrator>,
    left: u64,
    eaten: u64,
    latch: Latch<L>,
}

enum Answer {
    Begin,
    Eat,
    Denied,
}

impl<L: Library> Behaviour<L> for Philosopher<L> {
    type Message = Answer;

    fn receive(&mut self, answer: Answer, me: &mut impl Myself<L, Self>) {
        if let Answer::Eat = answer {
            self.eaten += 1;
            self.left -= 1;
            L::send(&self.arbitrator, Request::Done(self.number));
        }
        if self.left == 0 {
            self.latch.come(self.eaten);
            me.stop();
        } else {
            L::send(&self.arbitrator, Request::Hungry(self.number, me.me()));
        }
    }
}

/// Philosophers that ask again until they may eat.
pub fn philosophers<L: Library>(cores: Cores, rounds_each: u64) -> Duration {
    let (eaten, time) = L::run(cores, move |sink| {
        let latch = Latch::<L>::new(PHILOSOPHERS as u64, sink);
        let arbitrator = L::spawn(Arbitrator { taken: [false; PHILOSOPHERS] }, Place::Anywhere);
        for number in 0..PHILOSOPHERS {
            let philosopher = Philosopher {
                number,
                arbitrator: arbitrator.clone(),
                left: rounds_each,
                eaten: 0,
                latch: latch.clone(),
            };
            L::send(&L::spawn(philosopher, Place::Anywhere), Answer::Begin);
        }
    });
    assert_eq!(eaten, PHILOSOPHERS as u64 * rounds_each, "everybody eats as often as the others");
    time
}
