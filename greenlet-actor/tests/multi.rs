//! Asking and telling several actors at once.

mod probe;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenlet_actor::{
    Actor, ActorBuilder, ActorRef, AskError, Context, Exit, Overflow, Reply, SendError, System, ask_any,
    broadcast, late_replies, multi_ask,
};
use greenlet_core::{Event, Kill, Queue, sleep, spawn, yield_now};
use probe::{Ask, Elsewhere, Job, LONG, Probe, no_disk, on_hub, word};

const SHORT: Duration = Duration::from_millis(5);

/// Answers with its number when the event is set; at once without one.
struct Shop(u32, Option<Arc<Event>>);

enum Question {
    Price(Reply<u32>),
    /// Not answered: it is dropped.
    Fail(#[expect(dead_code, reason = "dropped with the message")] Reply<u32>),
}

impl Actor for Shop {
    type Message = Question;
    fn receive(&mut self, question: Question, _: &mut Context<Self>) -> Result<(), Exit> {
        match question {
            Question::Price(reply) => {
                if let Some(open) = &self.1 {
                    open.wait();
                }
                reply.send(self.0);
                Ok(())
            }
            Question::Fail(_) => Err(no_disk()),
        }
    }
}

fn shops(n: u32) -> Vec<ActorRef<Question>> {
    (0..n).map(|n| Shop(n, None).spawn()).collect()
}

#[test]
fn all_answer_in_the_order_of_the_actors() {
    on_hub(|| {
        let shops = shops(10);
        let answers = multi_ask(&shops, Question::Price, LONG);
        assert!(answers.failures.is_empty());
        let expected: Vec<_> = shops.iter().cloned().zip(0..).collect();
        assert_eq!(answers.replies, expected);
    });
}

#[test]
fn those_who_ended_or_fail_are_told_apart_from_those_who_answer() {
    on_hub(|| {
        let shops = shops(4);
        shops[1].kill();
        let asked = shops.clone();
        let at = AtomicU32::new(0);
        let answers = multi_ask(
            &asked,
            |reply| {
                if at.fetch_add(1, Ordering::SeqCst) == 2 {
                    Question::Fail(reply)
                } else {
                    Question::Price(reply)
                }
            },
            LONG,
        );
        assert_eq!(answers.replies, [(shops[0].clone(), 0), (shops[3].clone(), 3)]);
        let failures: Vec<_> = answers.failures.iter().map(|(who, why)| (who.clone(), why)).collect();
        assert!(matches!(&failures[0], (who, AskError::Ended(Exit::Killed)) if *who == shops[1]));
        assert!(matches!(&failures[1], (who, AskError::Ended(_) | AskError::NoReply) if *who == shops[2]));
    });
}

#[test]
fn they_are_asked_at_once_and_have_one_timeout_in_all() {
    on_hub(|| {
        let never = Arc::new(Event::new());
        let mut all: Vec<_> = (0..20).map(|n| Shop(n, Some(never.clone())).spawn()).collect();
        all.push(Shop(99, None).spawn());
        let answers = multi_ask(&all, Question::Price, SHORT);
        assert_eq!(answers.replies, [(all[20].clone(), 99)]);
        assert_eq!(answers.failures.len(), 20);
        assert!(answers.failures.iter().all(|(_, why)| matches!(why, AskError::TimedOut(SHORT))));
        // Their late answers are dropped and counted.
        let before = late_replies();
        never.set();
        while late_replies() < before + 20 {
            yield_now();
        }
    });
}

#[test]
fn a_full_mailbox_holds_up_nobody_else() {
    on_hub(|| {
        let narrow = ActorBuilder::new().capacity(1).spawn_local(Probe::new());
        let refusing = ActorBuilder::new().capacity(1).overflow(Overflow::Fail).spawn_local(Probe::new());
        let free = Probe::new().spawn_local();
        let go = Arc::new(Event::new());
        for actor in [&narrow, &refusing] {
            let go = go.clone();
            actor.suspend_in(move |_| go.wait());
            actor.run(|_| Ok(()));
        }
        let asked = Arc::new(Queue::unbounded());
        let question = |asked: Arc<Queue<()>>| {
            move |reply: Reply<u32>| -> Job {
                let asked = asked.clone();
                Box::new(move |_| {
                    asked.put(()).unwrap();
                    reply.send(1);
                    Ok(())
                })
            }
        };
        let asker = spawn({
            let (all, asked) = ([narrow.clone(), refusing.clone(), free.clone()], asked.clone());
            move || multi_ask(&all, question(asked), LONG)
        });
        // The free one behind the full ones has got its question meanwhile.
        asked.get_timeout(LONG).unwrap();
        assert!(!asker.ready());
        go.set();
        let answers = asker.into_value().unwrap();
        assert_eq!(answers.replies, [(narrow, 1), (free, 1)]);
        assert!(matches!(&answers.failures[..], [(who, AskError::Full)] if *who == refusing));
    });
}

#[test]
fn an_actor_among_those_it_asks_does_not_wait_for_itself() {
    on_hub(|| {
        let (me, other) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        let all = [me.clone(), other.clone()];
        let counts = me.query(move |_, answer| {
            let question = |reply: Reply<()>| -> Job {
                Box::new(move |_| {
                    reply.send(());
                    Ok(())
                })
            };
            let answers = multi_ask(&all, question, LONG);
            let itself = matches!(&answers.failures[..], [(_, AskError::Itself)]);
            answer.send((answers.replies.len(), itself));
            Ok(())
        });
        assert_eq!(counts.unwrap(), (1, true));
    });
}

#[test]
fn who_is_killed_while_he_waits_for_answers_loses_nothing_of_others() {
    on_hub(|| {
        let (open, mut all) = (Arc::new(Event::new()), shops(3));
        all.push(Shop(3, Some(open.clone())).spawn());
        let asker = spawn({
            let all = all.clone();
            move || multi_ask(&all, Question::Price, LONG).replies.len()
        });
        yield_now();
        asker.kill_with(Kill::default());
        open.set();
        assert_eq!(multi_ask(&all, Question::Price, LONG).replies.len(), 4);
    });
}

#[test]
fn the_first_answer_wins() {
    on_hub(|| {
        let (never, late) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let all = [Shop(0, Some(never.clone())).spawn(), Shop(1, Some(late.clone())).spawn()];
        let asker = spawn({
            let all = all.clone();
            move || ask_any(&all, Question::Price, LONG)
        });
        yield_now();
        late.set();
        let (who, answer) = asker.into_value().unwrap().unwrap();
        assert_eq!((who, answer), (all[1].clone(), 1));
        never.set();
    });
}

#[test]
fn failures_do_not_win_unless_all_fail() {
    on_hub(|| {
        let open = Arc::new(Event::new());
        let all = [Shop(0, None).spawn(), Shop(1, Some(open.clone())).spawn(), Shop(2, None).spawn()];
        all[0].kill();
        let asker = spawn({
            let all = all.clone();
            move || {
                let first = AtomicU32::new(0);
                ask_any(
                    &all,
                    |reply| {
                        if first.fetch_add(1, Ordering::SeqCst) == 2 {
                            Question::Fail(reply)
                        } else {
                            Question::Price(reply)
                        }
                    },
                    LONG,
                )
            }
        });
        all[2].join();
        open.set();
        assert_eq!(asker.into_value().unwrap().unwrap(), (all[1].clone(), 1));
        let all_fail = ask_any(&all[..1], Question::Price, LONG).unwrap_err();
        assert!(matches!(&all_fail[..], [(_, AskError::Ended(exit))] if word(exit) == "killed"));
        let never = Shop(0, Some(Arc::new(Event::new()))).spawn();
        let none_in_time = ask_any(&[all[0].clone(), never], Question::Price, SHORT).unwrap_err();
        assert!(matches!(&none_in_time[..], [(_, AskError::Ended(_)), (_, AskError::TimedOut(SHORT))]));
        assert!(ask_any(&[], Question::Price, LONG).unwrap_err().is_empty());
    });
}

#[test]
fn a_broadcast_returns_what_was_not_delivered() {
    struct Numbers(Arc<Queue<u32>>);
    impl Actor for Numbers {
        type Message = u32;
        fn receive(&mut self, n: u32, _: &mut Context<Self>) -> Result<(), Exit> {
            self.0.put(n).unwrap();
            Ok(())
        }
    }
    on_hub(|| {
        let got = Arc::new(Queue::unbounded());
        let all: Vec<_> = (0..3).map(|_| Numbers(got.clone()).spawn()).collect();
        all[1].kill();
        let failed = broadcast(&all, &5);
        assert!(matches!(&failed[..], [(who, SendError::Ended(5))] if *who == all[1]));
        for _ in 0..2 {
            assert_eq!(got.get_timeout(LONG).unwrap(), 5);
        }
    });
}

#[test]
fn a_forwarded_question_is_answered_by_the_other_one() {
    on_hub(|| {
        let (front, back) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        let forwards = |to: ActorRef<Job>| {
            move |_: &mut Context<Probe>, reply: Reply<u64>| {
                let failed = reply.forward(&to, |reply| {
                    Box::new(move |ctx: &mut Context<Probe>| {
                        reply.send(u64::from(ctx.me().name().is_some()));
                        Ok(())
                    })
                });
                // The question comes back if nobody can have it.
                if failed.is_err() { Err(no_disk()) } else { Ok(()) }
            }
        };
        assert_eq!(front.query(forwards(back.clone())).unwrap(), 0);
        back.kill();
        assert!(matches!(front.query(forwards(back)), Err(AskError::Ended(_) | AskError::NoReply)));
    });
}

#[test]
fn threads_ask_several_too_and_ends_race_with_the_questions() {
    System::builder()
        .hubs(2)
        .run(|| {
            for round in 0..100 {
                let all = shops(6);
                let asker = Elsewhere::spawn({
                    let all = all.clone();
                    move || {
                        let first = ask_any(&all, Question::Price, LONG);
                        let answers = multi_ask(&all, Question::Price, LONG);
                        (first, answers)
                    }
                });
                if round % 2 == 0 {
                    sleep(Duration::ZERO);
                }
                all[..5].iter().for_each(|shop| shop.send_exit(Exit::Killed));
                let (first, answers) = asker.join();
                assert!(first.is_ok(), "the last one lives");
                assert_eq!(answers.replies.len() + answers.failures.len(), 6);
                assert_eq!(answers.replies.last().unwrap().0, all[5]);
                let ended = |why: &AskError| matches!(why, AskError::Ended(_) | AskError::NoReply);
                assert!(answers.failures.iter().all(|(_, why)| ended(why)), "{:?}", answers.failures);
            }
        })
        .unwrap();
}
