//! Selective receive: `Context::receive_match` and `receive_down`.

mod probe;
mod script;

use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, Context, Exit, Overflow, Reply, System, matching};
use greenlet_core::{Event, Queue, attempt, sim, sleep, spawn as greenlet, with_timeout, yield_now};

use probe::{Elsewhere, LONG, Log, no_disk, on_hub};
use script::{Message, Script, Tell, any_item, item, spawn};

const SOON: Duration = Duration::from_millis(2);

/// An actor that waits for item 3 in a handler, and notes it.
fn waiting_for_three(log: &Log) -> ActorRef<Message> {
    let actor = spawn(log);
    actor.begin(|script, ctx| {
        let got = ctx.receive_match(item(3), LONG)?;
        script.log.note(format_args!("got {got}"));
        Ok(())
    });
    actor
}

#[test]
fn a_message_that_matches_is_taken_and_the_others_stay_in_order() {
    on_hub(|| {
        let log = Log::new();
        let actor = waiting_for_three(&log);
        for n in [1, 2, 3, 4] {
            actor.item(n);
        }
        actor.settle();
        assert_eq!(log.taken(), ["got 3", "1", "2", "4"]);
    });
}

#[test]
fn of_several_that_match_the_oldest_is_taken() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            for _ in 0..2 {
                let got = ctx.receive_match(matching!(Message::Item(n) if n > 1 => n), LONG)?;
                script.log.note(format_args!("got {got}"));
            }
            Ok(())
        });
        for n in [1, 5, 0, 4, 3] {
            actor.item(n);
        }
        actor.settle();
        assert_eq!(log.taken(), ["got 5", "got 4", "1", "0", "3"]);
    });
}

#[test]
fn messages_from_other_threads_wake_the_handler() {
    on_hub(|| {
        let log = Log::new();
        let actor = waiting_for_three(&log);
        let from = actor.clone();
        Elsewhere::spawn(move || {
            for n in 1..=3 {
                from.send(Message::Item(n)).unwrap();
            }
        })
        .join();
        actor.settle();
        assert_eq!(log.taken(), ["got 3", "1", "2"]);
    });
}

#[test]
fn without_time_it_only_looks() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            assert_eq!(ctx.receive_match(any_item(), Duration::ZERO).unwrap(), 1);
            let error = ctx.receive_match(any_item(), Duration::ZERO).unwrap_err();
            script.log.note(error);
            Ok(())
        });
        actor.item(1);
        actor.settle();
        assert_eq!(log.taken(), ["no message that matches came in 0ns"]);
    });
}

#[test]
fn when_the_time_is_over_everything_is_still_there() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.begin(|script, ctx| {
            let error = ctx.receive_match(item(3), SOON).unwrap_err();
            script.log.note(error);
            Ok(())
        });
        actor.item(1);
        actor.item(2);
        actor.settle();
        assert_eq!(log.taken(), ["no message that matches came in 2ms", "1", "2"]);
        actor.item(3);
        actor.settle();
        assert_eq!(log.taken(), ["3"]);
    });
}

#[test]
fn a_timeout_around_the_wait_loses_nothing_and_the_next_wait_works() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.begin(|script, ctx| {
            for _ in 0..3 {
                let waited = with_timeout(SOON, || ctx.receive_match(item(3), LONG));
                script.log.note(if waited.is_err() { "interrupted" } else { "?" });
            }
            let got = ctx.receive_match(item(3), LONG)?;
            script.log.note(format_args!("got {got}"));
            Ok(())
        });
        actor.item(1);
        for _ in 0..3 {
            assert_eq!(log.next(), "interrupted");
        }
        actor.item(2);
        actor.item(3);
        actor.settle();
        assert_eq!(log.taken(), ["got 3", "1", "2"]);
    });
}

#[test]
fn after_an_interrupted_wait_the_idle_actor_is_woken_by_messages() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.begin(|script, ctx| {
            let waited = with_timeout(SOON, || ctx.receive_match(item(3), LONG));
            script.log.note(if waited.is_err() { "interrupted" } else { "?" });
            Ok(())
        });
        assert_eq!(log.next(), "interrupted");
        yield_now();
        actor.item(1);
        assert_eq!(log.next(), "1");
    });
}

#[test]
fn a_kill_and_an_exit_signal_end_the_wait() {
    on_hub(|| {
        let log = Log::new();
        let killed = waiting_for_three(&log);
        killed.kill();
        assert!(matches!(killed.join(), Exit::Killed));
        assert_eq!(log.taken(), [""; 0]);
        let told = waiting_for_three(&log);
        let question = told.request(|reply| Message::Echo(1, reply)).unwrap();
        told.send_exit(no_disk());
        assert_eq!(told.join().to_string(), "no disk");
        assert_eq!(log.taken(), ["ends no disk"]);
        assert!(question.wait(LONG).is_err(), "who asked hears of the end");
    });
}

#[test]
fn a_stop_waits_for_the_handler() {
    on_hub(|| {
        let log = Log::new();
        let actor = waiting_for_three(&log);
        actor.stop();
        assert!(actor.join_timeout(SOON).is_none());
        actor.item(2);
        actor.item(3);
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["got 3", "ends normal"]);
    });
}

#[test]
fn trapped_exits_and_down_stay_in_the_mailbox_in_order() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        let (linked, monitored) = (spawn(&Log::new()), spawn(&Log::new()));
        let (to_link, to_monitor) = (linked.clone(), monitored.clone());
        actor.begin(move |script, ctx| {
            ctx.trap_exits();
            ctx.link(&to_link);
            ctx.monitor(&to_monitor);
            let got = ctx.receive_match(item(3), LONG)?;
            script.log.note(format_args!("got {got}"));
            Ok(())
        });
        actor.item(1);
        linked.kill();
        actor.item(2);
        monitored.kill();
        actor.item(3);
        actor.item(4);
        actor.settle();
        assert_eq!(log.taken(), ["got 3", "1", "exit killed", "2", "down killed", "4"]);
    });
}

#[test]
fn a_handler_waits_for_a_down() {
    on_hub(|| {
        let log = Log::new();
        let (actor, other) = (spawn(&log), spawn(&Log::new()));
        let watched = other.clone();
        actor.begin(move |script, ctx| {
            let (first, second) = (ctx.monitor(&watched), ctx.monitor(&watched));
            let down = ctx.receive_down(second, LONG)?;
            assert!(down.monitor == second && first != second);
            script.log.note(format_args!("heard {}", down.exit));
            Ok(())
        });
        actor.item(1);
        other.kill();
        actor.settle();
        assert_eq!(log.taken(), ["heard killed", "1", "down killed"]);
    });
}

#[test]
fn a_message_that_is_taken_makes_room_in_a_bounded_mailbox() {
    on_hub(|| {
        let log = Log::new();
        let actor = script::spawn_bounded(&log, ActorBuilder::new().capacity(2));
        actor.begin(|script, ctx| {
            let got = ctx.receive_match(item(3), LONG)?;
            script.log.note(format_args!("got {got}"));
            let got = ctx.receive_match(item(5), LONG)?;
            script.log.note(format_args!("got {got}"));
            Ok(())
        });
        actor.item(1);
        actor.item(3);
        // Each finds room only because the one before was taken.
        for n in [5, 2, 4] {
            actor.send_timeout(Message::Item(n), LONG).unwrap();
        }
        actor.settle();
        assert_eq!(log.taken(), ["got 3", "got 5", "1", "2", "4"]);
        // And no more room than there was: a handler that does nothing lets two in.
        let go = Arc::new(Event::new());
        let wait = go.clone();
        actor.begin(move |_, _| {
            wait.wait();
            Ok(())
        });
        assert!(actor.try_send(Message::Item(6)).is_ok() && actor.try_send(Message::Item(7)).is_ok());
        assert!(actor.try_send(Message::Item(8)).is_err());
        go.set();
    });
}

#[test]
fn what_is_refused_keeps_its_room_in_a_bounded_mailbox() {
    on_hub(|| {
        let log = Log::new();
        let actor = script::spawn_bounded(&log, ActorBuilder::new().capacity(2));
        actor.begin(|_, ctx| {
            assert!(ctx.receive_match(item(9), SOON).is_err());
            Ok(())
        });
        actor.item(1);
        actor.item(2);
        yield_now();
        assert!(actor.try_send(Message::Item(3)).is_err());
        actor.settle();
        assert_eq!(log.taken(), ["1", "2"]);
    });
}

#[test]
fn a_full_mailbox_that_drops_its_oldest_wakes_the_handler_too() {
    on_hub(|| {
        let log = Log::new();
        let actor =
            script::spawn_bounded(&log, ActorBuilder::new().capacity(2).overflow(Overflow::DropOldest));
        actor.begin(|script, ctx| {
            let got = ctx.receive_match(item(9), LONG)?;
            script.log.note(format_args!("got {got}"));
            Ok(())
        });
        for n in [1, 2] {
            actor.item(n);
            yield_now();
        }
        // Both are refused by now. This one takes the place of the first.
        actor.item(9);
        assert_eq!(log.next(), "got 9");
        assert_eq!(log.next(), "2");
        actor.item(3);
        assert_eq!(log.next(), "3");
        assert_eq!(actor.dropped(), 1);
    });
}

#[test]
fn a_pattern_that_fails_loses_the_message_that_it_had_and_no_other() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            let failed = attempt(|| {
                ctx.receive_match(
                    |message| match message {
                        Message::Item(2) => panic!("two"),
                        other => Err::<(), _>(other),
                    },
                    LONG,
                )
            });
            script.log.note(if failed.is_err() { "failed" } else { "?" });
            Ok(())
        });
        for n in 1..=3 {
            actor.item(n);
        }
        actor.settle();
        assert_eq!(log.taken(), ["failed", "1", "3"]);
        assert_eq!(actor.mailbox_len(), 0);
    });
}

#[test]
fn a_pattern_may_wait_while_more_messages_come() {
    on_hub(|| {
        let log = Log::new();
        let (actor, looked) = (spawn(&log), Arc::new(Event::new()));
        let look = looked.clone();
        actor.begin(move |script, ctx| {
            let slow = |message| match message {
                Message::Item(2) => {
                    look.wait();
                    Ok(())
                }
                other => Err(other),
            };
            ctx.receive_match(slow, LONG)?;
            script.log.note("taken");
            Ok(())
        });
        for n in 1..=2 {
            actor.item(n);
        }
        yield_now();
        actor.item(3);
        looked.set();
        actor.settle();
        assert_eq!(log.taken(), ["taken", "1", "3"]);
    });
}

#[test]
fn it_works_in_init_and_terminate() {
    on_hub(|| {
        let log = Log::new();
        let actor = Script::new(&log)
            .init(|script, ctx| {
                let got = ctx.receive_match(item(3), LONG)?;
                script.log.note(format_args!("got {got}"));
                Ok(())
            })
            .spawn();
        actor.item(1);
        yield_now();
        actor.item(3);
        actor.settle();
        assert_eq!(log.taken(), ["got 3", "1"]);
    });
}

/// Waits for each of its senders in turn, whoever sends first.
struct Turns {
    senders: u32,
    rounds: u32,
}

enum Turn {
    From(u32, u32),
    Play(Reply<u32>),
}

impl Actor for Turns {
    type Message = Turn;

    fn receive(&mut self, message: Turn, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let Turn::Play(reply) = message else { return Ok(()) };
        let mut played = 0;
        for round in 0..self.rounds {
            for sender in 0..self.senders {
                let next = ctx.receive_match(matching!(Turn::From(from, n) if from == sender => n), LONG)?;
                assert_eq!(next, round, "messages of one sender come in order");
                played += 1;
            }
        }
        reply.send(played);
        Ok(())
    }
}

#[test]
fn many_senders_on_several_hubs_are_each_heard_in_order() {
    let played = System::builder().hubs(2).run(|| {
        let turns = Turns { senders: 4, rounds: 500 }.spawn();
        let answer = turns.request(Turn::Play).unwrap();
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let turns = turns.clone();
                let body = move || (0..500).for_each(|n| turns.cast(Turn::From(sender, n)));
                if sender % 2 == 0 { drop(greenlet(body)) } else { drop(std::thread::spawn(body)) }
            })
            .collect();
        drop(senders);
        answer.wait(LONG).unwrap()
    });
    assert_eq!(played.unwrap(), 2000);
}

/// What an actor does at random with its messages; each is counted when it is handled.
fn at_random(script: &mut Script, ctx: &mut script::Ctx, seed: u64) -> Result<(), Exit> {
    let pause = Duration::from_micros(seed % 13);
    match seed % 6 {
        0 => {
            if let Ok(n) = ctx.receive_match(any_item(), pause) {
                script.log.note(n);
            }
        }
        1 => {
            // Interrupted, perhaps when it has come and was not seen yet.
            let _ = with_timeout(pause, || ctx.receive_match(item(u32::MAX), LONG));
        }
        2 => {
            while let Ok(stashed) = ctx.receive_match(
                |message| match message {
                    Message::Item(_) => Ok(message),
                    other => Err(other),
                },
                Duration::ZERO,
            ) {
                ctx.stash(stashed)?;
            }
        }
        3 => drop(ctx.unstash_all()),
        4 => ctx.hibernate(),
        _ => sleep(pause),
    }
    Ok(())
}

#[test]
fn whatever_an_actor_does_with_its_messages_each_is_handled_once() {
    for seed in 0..150_u64 {
        sim::run(seed, move || {
            let log = Log::new();
            let actor = spawn(&log);
            let senders: Vec<_> = (0..3_u32)
                .map(|sender| {
                    let actor = actor.clone();
                    greenlet(move || {
                        let mut random = seed * 31 + u64::from(sender);
                        for n in 0..20 {
                            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            let step = random >> 33;
                            actor.item(sender * 100 + n);
                            actor.work(move |script, ctx| at_random(script, ctx, step));
                            sleep(Duration::from_micros(step % 7));
                        }
                    })
                })
                .collect();
            for sender in &senders {
                sender.get().unwrap();
            }
            actor.work(|_, ctx| {
                ctx.unstash_all();
                Ok(())
            });
            actor.settle();
            let mut handled: Vec<u32> = log.taken().iter().filter_map(|n| n.parse().ok()).collect();
            handled.sort_unstable();
            let sent: Vec<u32> = (0..3).flat_map(|sender| (0..20).map(move |n| sender * 100 + n)).collect();
            assert_eq!(handled, sent);
        });
    }
}

#[test]
fn waits_that_are_killed_while_messages_come_leave_no_actor_asleep() {
    let handled = System::builder().hubs(2).run(|| {
        let done = Arc::new(Queue::unbounded());
        for round in 0..200_u64 {
            let log = Log::new();
            let actor = spawn(&log);
            let tell = done.clone();
            actor.work(move |_, ctx| {
                // Interrupted about when the message comes.
                let _ = with_timeout(Duration::from_micros(round), || ctx.receive_match(item(9), LONG));
                tell.put(()).expect("never shut down");
                Ok(())
            });
            let from = actor.clone();
            Elsewhere::spawn(move || from.send(Message::Item(1)).unwrap()).join();
            assert_eq!(done.get_timeout(LONG), Ok(()));
            actor.settle();
            assert_eq!(log.taken(), ["1"]);
            actor.kill();
        }
    });
    handled.unwrap();
}
