//! Creatures that meet in pairs and change their colours.

use std::time::Duration;

use crate::actors::{Behaviour, Cores, Latch, Library, Myself, Place};

const CREATURES: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    Red,
    Blue,
    Yellow,
}

impl Colour {
    fn complement(self, other: Colour) -> Colour {
        use Colour::{Blue, Red, Yellow};
        match (self, other) {
            _ if self == other => self,
            (Red, Blue) | (Blue, Red) => Yellow,
            (Red, Yellow) | (Yellow, Red) => Blue,
            _ => Red,
        }
    }
}

struct Mall<L: Library> {
    meetings: u64,
    waiting: Option<L::Ref<Creature<L>>>,
}

struct Meet<L: Library> {
    colour: Colour,
    who: L::Ref<Creature<L>>,
}

impl<L: Library> Behaviour<L> for Mall<L> {
    type Message = Meet<L>;

    fn receive(&mut self, Meet { colour, who }: Meet<L>, _: &mut impl Myself<L, Self>) {
        if self.meetings == 0 {
            L::send(&who, Told::Closed);
        } else if let Some(first) = self.waiting.take() {
            self.meetings -= 1;
            L::send(&first, Told::Met { colour, who });
        } else {
            self.waiting = Some(who);
        }
    }
}

struct Creature<L: Library> {
    mall: L::Ref<Mall<L>>,
    colour: Colour,
    meetings: u64,
    latch: Latch<L>,
}

enum Told<L: Library> {
    Begin,
    Met { colour: Colour, who: L::Ref<Creature<L>> },
    Change(Colour),
    Closed,
}

impl<L: Library> Creature<L> {
    fn meet(&self, me: L::Ref<Self>) {
        L::send(&self.mall, Meet { colour: self.colour, who: me });
    }
}

impl<L: Library> Behaviour<L> for Creature<L> {
    type Message = Told<L>;

    fn receive(&mut self, told: Told<L>, me: &mut impl Myself<L, Self>) {
        match told {
            Told::Begin => self.meet(me.me()),
            Told::Met { colour, who } => {
                self.colour = self.colour.complement(colour);
                self.meetings += 1;
                L::send(&who, Told::Change(self.colour));
                self.meet(me.me());
            }
            Told::Change(colour) => {
                self.colour = colour;
                self.meetings += 1;
                self.meet(me.me());
            }
            Told::Closed => {
                self.latch.come(self.meetings);
                me.stop();
            }
        }
    }
}

/// A hundred creatures, and a mall that pairs them.
pub fn chameneos<L: Library>(cores: Cores, meetings: u64) -> Duration {
    let (met, time) = L::run(cores, move |sink| {
        let latch = Latch::<L>::new(CREATURES, sink);
        let mall = L::spawn(Mall { meetings, waiting: None }, Place::Anywhere);
        for number in 0..CREATURES {
            let colour = [Colour::Red, Colour::Blue, Colour::Yellow][number as usize % 3];
            let creature = Creature { mall: mall.clone(), colour, meetings: 0, latch: latch.clone() };
            L::send(&L::spawn(creature, Place::Anywhere), Told::Begin);
        }
    });
    assert_eq!(met, 2 * meetings, "each meeting is one for both");
    time
}
