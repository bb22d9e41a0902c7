//! Monitors, one-sided links, overflow policies, requests, and asks that would wait for ever.

mod probe;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenlet_actor::{
    Actor, ActorBuilder, ActorRef, AskError, Context, Down, Exit, MonitorId, Overflow, Reply, SendError,
    late_replies,
};
use greenlet_core::{AsyncResult, Event, sleep, spawn, yield_now};
use probe::{Ask, Elsewhere, Job, LONG, Log, Probe, no_disk, on_hub, word};

/// Notes each DOWN and each word that it is sent.
struct Watch(Log);

type Work = Box<dyn FnOnce(&mut Context<Watch>) + Send>;

enum Order {
    Note(&'static str),
    Do(Work),
}

impl Actor for Watch {
    type Message = Order;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        Ok(())
    }

    fn receive(&mut self, order: Order, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match order {
            Order::Note(word) => self.0.note(word),
            Order::Do(job) => job(ctx),
        }
        Ok(())
    }

    fn handle_down(&mut self, down: Down, _: &mut Context<Self>) -> Result<(), Exit> {
        self.0.note(format_args!("{} {} {}", down.monitor, down.actor, word(&down.exit)));
        Ok(())
    }

    fn handle_exit(
        &mut self,
        from: greenlet_actor::ActorId,
        exit: Exit,
        _: &mut Context<Self>,
    ) -> Result<(), Exit> {
        self.0.note(format_args!("EXIT {from} {}", word(&exit)));
        Ok(())
    }
}

fn within<T: Send + 'static>(
    watch: &ActorRef<Order>,
    job: impl FnOnce(&mut Context<Watch>) -> T + Send + 'static,
) -> T {
    let ask = |reply: Reply<T>| Order::Do(Box::new(move |ctx: &mut Context<Watch>| reply.send(job(ctx))));
    watch.ask(ask, LONG).unwrap()
}

fn watching() -> (ActorRef<Order>, Log) {
    let log = Log::new();
    (Watch(log.clone()).spawn_local(), log)
}

#[test]
fn each_monitor_is_told_once() {
    on_hub(|| {
        let ((watch, log), actor) = (watching(), Probe::new().spawn_local());
        let other = actor.clone();
        let monitors: Vec<MonitorId> =
            within(&watch, move |ctx| (0..3).map(|_| ctx.monitor(&other)).collect());
        actor.run(|_| Err(no_disk()));
        actor.join();
        within(&watch, |_| ());
        let mut told = log.taken();
        told.sort();
        let mut all: Vec<_> = monitors.iter().map(|id| format!("{id} {} no disk", actor.id())).collect();
        all.sort();
        assert_eq!(told, all);
        watch.kill();
    });
}

#[test]
fn a_monitor_of_the_dead_is_told_at_once_with_noproc() {
    on_hub(|| {
        let ((watch, log), actor) = (watching(), Probe::new().spawn_local());
        actor.kill();
        let other = actor.clone();
        let id = within(&watch, move |ctx| ctx.monitor(&other));
        assert_eq!(log.next(), format!("{id} {} {}", actor.id(), word(&Exit::NoProc)));
    });
}

#[test]
fn a_monitor_does_not_tell_the_other_of_the_watchers_end() {
    on_hub(|| {
        let ((watch, _), actor) = (watching(), Probe::new().spawn_local());
        let other = actor.clone();
        within(&watch, move |ctx| ctx.monitor(&other));
        watch.kill();
        actor.settle();
    });
}

#[test]
fn demonitor_takes_back_one_monitor_and_its_down() {
    on_hub(|| {
        let ((watch, log), actor) = (watching(), Probe::new().spawn_local());
        let other = actor.clone();
        let kept = within(&watch, move |ctx| {
            let (first, kept, late) = (ctx.monitor(&other), ctx.monitor(&other), ctx.monitor(&other));
            ctx.demonitor(&other, first);
            // It ends now, and its DOWNs are in the mailbox before the last one is taken back.
            other.kill();
            ctx.me().send(Order::Note("later")).unwrap();
            ctx.demonitor(&other, late);
            ctx.demonitor(&other, late);
            kept
        });
        within(&watch, |_| ());
        assert_eq!(log.taken(), [format!("{kept} {} killed", actor.id()), "later".to_owned()]);
    });
}

#[test]
fn a_down_stands_in_line_with_the_messages() {
    on_hub(|| {
        let ((watch, log), actor) = (watching(), Probe::new().spawn_local());
        let other = actor.clone();
        let id = within(&watch, move |ctx| ctx.monitor(&other));
        let begun = Arc::new(Event::new());
        let go_on = begun.clone();
        watch.send(Order::Do(Box::new(move |_| go_on.wait()))).ok().unwrap();
        watch.send(Order::Note("before")).ok().unwrap();
        let talks = watch.clone();
        actor.run(move |_| {
            talks.send(Order::Note("last words")).ok().unwrap();
            Err(Exit::Shutdown)
        });
        actor.join();
        watch.send(Order::Note("after")).ok().unwrap();
        begun.set();
        within(&watch, |_| ());
        let down = format!("{id} {} shutdown", actor.id());
        assert_eq!(log.taken(), ["before", "last words", &down, "after"]);
    });
}

#[test]
fn one_sided_links_tell_of_the_ends_that_they_are_about() {
    type End = fn(&mut Context<Probe>) -> Result<(), Exit>;
    let ends: [(End, &str); 4] = [
        (|_| Err(Exit::Normal), "normal"),
        (|_| Err(Exit::Shutdown), "shutdown"),
        (|_| Err(no_disk()), "no disk"),
        (
            |ctx| {
                ctx.me().kill();
                Ok(())
            },
            "killed",
        ),
    ];
    on_hub(move || {
        for (end, reason) in ends {
            for already in [false, true] {
                let (all, values, failures) = (watching(), watching(), watching());
                let actor = Probe::new().spawn_local();
                if already {
                    actor.run(end);
                    actor.join();
                }
                actor.link_to(&all.0);
                actor.link_value_to(&values.0);
                actor.link_exception(&failures.0);
                if !already {
                    actor.run(end);
                    actor.join();
                }
                let told = |(watch, log): &(ActorRef<Order>, Log)| {
                    within(watch, |_| ());
                    watch.kill();
                    log.taken()
                };
                let line = vec![format!("EXIT {} {reason}", actor.id())];
                let failed = reason == "no disk";
                assert_eq!(told(&all), line);
                assert_eq!(told(&values), if failed { vec![] } else { line.clone() });
                assert_eq!(told(&failures), if failed { line } else { vec![] });
            }
        }
    });
}

#[test]
fn one_sided_links_of_both_kinds_tell_of_all_ends() {
    on_hub(|| {
        let ((watch, log), actor) = (watching(), Probe::new().spawn_local());
        actor.link_value_to(&watch);
        actor.link_exception(&watch);
        actor.run(|_| Err(Exit::Shutdown));
        actor.join();
        assert_eq!(log.next(), format!("EXIT {} shutdown", actor.id()));
    });
}

// --- overflow ----------------------------------------------------------------------------------------------------

/// Notes numbers, and waits before the first one.
struct Numbers(Arc<Event>, Log);

impl Actor for Numbers {
    type Message = u32;
    fn receive(&mut self, number: u32, _: &mut Context<Self>) -> Result<(), Exit> {
        self.0.wait();
        self.1.note(number);
        Ok(())
    }
}

/// One that handles 0, and takes nothing out of its mailbox until the event is set.
fn full(overflow: Overflow) -> (ActorRef<u32>, Arc<Event>, Log) {
    let (go_on, log) = (Arc::new(Event::new()), Log::new());
    let actor =
        ActorBuilder::new().capacity(3).overflow(overflow).spawn_local(Numbers(go_on.clone(), log.clone()));
    actor.send(0).unwrap();
    while actor.mailbox_len() > 0 {
        yield_now();
    }
    (actor, go_on, log)
}

fn all_of(actor: &ActorRef<u32>, go_on: &Event, log: &Log, count: usize) -> Vec<u32> {
    go_on.set();
    let got = (0..count).map(|_| log.next().parse().unwrap()).collect();
    yield_now();
    assert_eq!(log.taken(), [""; 0]);
    actor.kill();
    got
}

#[test]
fn a_full_mailbox_that_fails_refuses_at_once() {
    on_hub(|| {
        let (actor, go_on, log) = full(Overflow::Fail);
        (1..=3).for_each(|n| actor.send(n).unwrap());
        assert_eq!(actor.send(4), Err(SendError::Full(4)));
        assert_eq!(actor.try_send(5), Err(SendError::Full(5)));
        assert_eq!(actor.send_timeout(6, LONG), Err(SendError::Full(6)));
        assert_eq!(all_of(&actor, &go_on, &log, 4), [0, 1, 2, 3]);
        assert_eq!(actor.send(7), Err(SendError::Ended(7)));
    });
}

#[test]
fn a_full_mailbox_drops_the_newest_and_says_so() {
    on_hub(|| {
        let (actor, go_on, log) = full(Overflow::DropNewest);
        (1..=6).for_each(|n| actor.send(n).unwrap());
        assert_eq!((actor.dropped(), actor.capacity()), (3, Some(3)));
        assert_eq!(all_of(&actor, &go_on, &log, 4), [0, 1, 2, 3]);
        assert_eq!(actor.send(7), Err(SendError::Ended(7)));
    });
}

#[test]
fn a_full_mailbox_drops_the_oldest_and_says_so() {
    on_hub(|| {
        let (actor, go_on, log) = full(Overflow::DropOldest);
        (1..=6).for_each(|n| actor.send(n).unwrap());
        assert_eq!(actor.dropped(), 3);
        assert_eq!(all_of(&actor, &go_on, &log, 4), [0, 4, 5, 6]);
        assert_eq!(actor.send(7), Err(SendError::Ended(7)));
    });
}

#[test]
fn threads_lose_no_message_but_those_that_are_counted() {
    on_hub(|| {
        for overflow in [Overflow::Suspend, Overflow::Fail, Overflow::DropNewest, Overflow::DropOldest] {
            let (actor, go_on, log) = full(overflow);
            go_on.set();
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let actor = actor.clone();
                    Elsewhere::spawn(move || (0..1000).filter(|n| actor.send(*n).is_err()).count())
                })
                .collect();
            let refused: usize = threads.into_iter().map(Elsewhere::join).sum();
            let expected = 3001 - refused - usize::try_from(actor.dropped()).unwrap();
            (0..expected).for_each(|_| drop(log.next()));
            yield_now();
            assert_eq!(log.taken(), [""; 0], "{overflow:?}");
            actor.kill();
        }
    });
}

#[test]
fn an_ask_is_refused_by_a_mailbox_that_fails() {
    on_hub(|| {
        struct Deaf;
        impl Actor for Deaf {
            type Message = Reply<()>;
            fn receive(&mut self, _: Reply<()>, _: &mut Context<Self>) -> Result<(), Exit> {
                sleep(Duration::MAX);
                Ok(())
            }
        }
        let builder = || ActorBuilder::new().capacity(1);
        for overflow in [Overflow::Fail, Overflow::Suspend] {
            let deaf = builder().overflow(overflow).spawn_local(Deaf);
            deaf.cast(Reply::channel().0);
            yield_now();
            deaf.cast(Reply::channel().0);
            let error = deaf.ask(|reply| reply, Duration::from_millis(2)).unwrap_err();
            match overflow {
                Overflow::Fail => assert!(matches!(error, AskError::Full), "{error}"),
                _ => assert!(matches!(error, AskError::TimedOut(_)), "{error}"),
            }
        }
    });
}

// --- requests ----------------------------------------------------------------------------------------------------

#[test]
fn a_request_is_answered_while_the_asker_does_something_else() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let job = |n: u32| {
            move |reply: Reply<u32>| -> Job {
                Box::new(move |_| {
                    sleep(Duration::from_millis(1));
                    reply.send(n);
                    Ok(())
                })
            }
        };
        let requests: Vec<_> = (0..3).map(|n| actor.request(job(n)).unwrap()).collect();
        assert!(matches!(requests[2].wait(Duration::ZERO), Err(AskError::TimedOut(_))));
        let answers: Vec<_> = requests.iter().map(|request| request.wait(LONG).unwrap()).collect();
        assert_eq!(answers, [0, 1, 2]);
        let awaited = actor.request(job(9)).unwrap();
        assert_eq!(greenlet_core::future::block_on(awaited.answer()).unwrap(), 9);
        // One that is dropped gives its answer up; one to the dead fails with the reason.
        let late = late_replies();
        drop(actor.request(job(3)).unwrap());
        actor.settle();
        assert!(late_replies() > late);
        let pending = actor.request(job(4)).unwrap();
        actor.kill();
        assert!(matches!(pending.wait(LONG), Err(AskError::Ended(Exit::Killed))));
        assert!(matches!(actor.request(job(5)), Err(AskError::Ended(Exit::Killed))));
    });
}

/// A message that is answered at once.
fn answer(reply: Reply<()>) -> Job {
    Box::new(move |_| {
        reply.send(());
        Ok(())
    })
}

// --- asks that would wait for ever -------------------------------------------------------------------------------

/// What the last of them says when each asks the next, round to the first.
fn circle(count: usize) -> (Vec<ActorRef<Job>>, AskError) {
    let actors: Vec<_> = (0..count).map(|_| Probe::new().spawn_local()).collect();
    fn pass(actors: Vec<ActorRef<Job>>, at: usize, reply: Reply<AskError>) -> Job {
        Box::new(move |_| {
            let next = actors[(at + 1) % actors.len()].clone();
            if at + 1 < actors.len() {
                let passed = next.ask(|reply| pass(actors, at + 1, reply), LONG);
                reply.send(passed.unwrap_or_else(|error| error));
            } else {
                let answer = next.ask(answer, LONG);
                reply.send(answer.unwrap_err());
            }
            Ok(())
        })
    }
    let error = actors[0].ask(|reply| pass(actors.clone(), 0, reply), LONG).unwrap();
    (actors, error)
}

#[test]
fn a_circle_of_asks_is_reported_with_its_chain() {
    on_hub(|| {
        for count in 2..=5 {
            let (actors, error) = circle(count);
            let AskError::Deadlock(chain) = &error else { panic!("{error}") };
            let mut expected = vec![actors[count - 1].id()];
            expected.extend(actors.iter().map(|actor| actor.id()));
            assert_eq!(*chain, expected);
            let words: Vec<_> = expected.iter().map(ToString::to_string).collect();
            assert_eq!(error.to_string(), format!("deadlock: {}", words.join(" asks ")));
        }
    });
}

#[test]
fn an_ask_that_has_ended_is_no_part_of_a_circle() {
    on_hub(|| {
        let (a, b) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        // Answered, timed out, refused, killed: whatever became of it.
        let other = b.clone();
        a.query(move |_, reply| {
            reply.send(other.ask(answer, LONG).is_ok());
            Ok(())
        })
        .unwrap();
        let other = b.clone();
        a.query(move |_, reply| {
            let nothing = other.ask(
                |reply: Reply<()>| -> Job {
                    Box::new(move |_| {
                        sleep(Duration::from_millis(3));
                        drop(reply);
                        Ok(())
                    })
                },
                Duration::from_millis(1),
            );
            reply.send(nothing.is_err());
            Ok(())
        })
        .unwrap();
        b.settle();
        let other = a.clone();
        let back = b.query(move |_, reply| {
            reply.send(other.ask(answer, LONG).is_ok());
            Ok(())
        });
        assert!(back.unwrap());
        // And one that is caught in the middle.
        let other = b.clone();
        b.suspend();
        a.suspend_in(move |_| {
            let _ = greenlet_core::with_timeout(Duration::from_millis(1), || other.ask(answer, LONG));
        });
        a.settle();
        b.kill();
        let c = Probe::new().spawn_local();
        let other = a.clone();
        assert!(
            c.query(move |_, reply| {
                reply.send(other.ask(answer, LONG).is_ok());
                Ok(())
            })
            .unwrap()
        );
    });
}

#[test]
fn a_request_may_be_part_of_a_circle() {
    on_hub(|| {
        let (a, b) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        let (first, second) = (a.clone(), b.clone());
        let error = a.query(move |_, reply| {
            let request = second.request(|inner: Reply<Option<AskError>>| -> Job {
                Box::new(move |_| {
                    yield_now(); // until the other one waits
                    let answer = first.ask(answer, LONG);
                    inner.send(answer.err());
                    Ok(())
                })
            });
            reply.send(request.unwrap().wait(LONG).unwrap());
            Ok(())
        });
        assert!(matches!(error.unwrap(), Some(AskError::Deadlock(_))));
        drop(b);
    });
}

#[test]
fn greenlets_of_actors_may_ask_in_circles() {
    on_hub(|| {
        let (a, b) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        let (me, other) = (a.clone(), b.clone());
        // The greenlet asks on its own account; the actor itself is free to answer.
        let answer = a.query(move |_, reply| {
            spawn(move || {
                let asked = other.ask(
                    |inner: Reply<bool>| -> Job {
                        Box::new(move |_| {
                            let back = me.ask(answer, LONG);
                            inner.send(back.is_ok());
                            Ok(())
                        })
                    },
                    LONG,
                );
                reply.send(asked.unwrap());
            });
            Ok(())
        });
        assert!(answer.unwrap());
    });
}

#[test]
fn who_waits_for_an_answer_from_elsewhere_may_be_asked_by_the_one_that_passed_the_question_on() {
    on_hub(|| {
        let (router, client) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        let (kept, keep) = (Arc::new(AsyncResult::new()), Arc::new(Mutex::new(None)));
        let (asked, taken) = (router.clone(), kept.clone());
        let answered = Arc::new(AsyncResult::new());
        let tell = answered.clone();
        client.run(move |_| {
            let passed_on = |reply: Reply<u32>| -> Job {
                Box::new(move |_| {
                    *keep.lock().unwrap() = Some(reply);
                    taken.set(keep);
                    Ok(())
                })
            };
            tell.set(asked.ask(passed_on, LONG).unwrap());
            Ok(())
        });
        let reply = kept.get().unwrap().lock().unwrap().take().unwrap();
        // The router comes to its next message, and asks the client, which waits for what the router has given away.
        let other = client.clone();
        let question = router
            .request(|inner: Reply<bool>| -> Job {
                Box::new(move |_| {
                    let back = other.ask(answer, LONG);
                    inner.send(back.is_ok());
                    Ok(())
                })
            })
            .unwrap();
        sleep(Duration::from_millis(1));
        reply.send(7);
        assert!(question.wait(LONG).unwrap(), "taken for a circle");
        assert_eq!(answered.get().unwrap(), 7);
    });
}

#[test]
fn an_answer_that_is_there_is_no_part_of_a_circle() {
    on_hub(|| {
        let (a, b) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        let (first, second) = (a.clone(), b.clone());
        let got = a.query(move |_, reply| {
            let request = second
                .request(|inner: Reply<u32>| -> Job {
                    Box::new(move |_| {
                        inner.send(3);
                        // And now it asks back, in the same handler.
                        let _ = first.ask(answer, LONG);
                        Ok(())
                    })
                })
                .unwrap();
            sleep(Duration::from_millis(1));
            reply.send(request.wait(LONG).ok());
            Ok(())
        });
        assert_eq!(got.unwrap(), Some(3));
    });
}
