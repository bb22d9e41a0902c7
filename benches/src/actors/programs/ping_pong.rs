//! Two actors and one message.

use std::time::Duration;

use crate::actors::{Behaviour, Cores, Library, Myself, Place};

struct Ping<L: Library> {
    pong: L::Ref<Pong>,
    left: u64,
    answers: u64,
    sink: Option<L::Sink<u64>>,
}

/// Also what starts it.
struct Answer;

impl<L: Library> Behaviour<L> for Ping<L> {
    type Message = Option<Answer>;

    fn receive(&mut self, answer: Option<Answer>, me: &mut impl Myself<L, Self>) {
        self.answers += u64::from(answer.is_some());
        if self.left == 0 {
            L::finish(self.sink.take().expect("it ends once"), self.answers);
            me.stop();
        } else {
            self.left -= 1;
            L::send(&self.pong, Question(me.me()));
        }
    }
}

struct Pong;

struct Question<L: Library>(L::Ref<Ping<L>>);

impl<L: Library> Behaviour<L> for Pong {
    type Message = Question<L>;

    fn receive(&mut self, Question(from): Question<L>, _: &mut impl Myself<L, Self>) {
        L::send(&from, Some(Answer));
    }
}

/// Ping sends, Pong answers.
pub fn ping_pong<L: Library>(cores: Cores, rounds: u64) -> Duration {
    let (answers, time) = L::run(cores, move |sink| {
        let pong = L::spawn(Pong, Place::Anywhere);
        let ping = Ping::<L> { pong, left: rounds, answers: 0, sink: Some(sink) };
        L::send(&L::spawn(ping, Place::Anywhere), None);
    });
    assert_eq!(answers, rounds, "every ping has its pong");
    time
}
