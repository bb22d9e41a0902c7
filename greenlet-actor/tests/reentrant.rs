//! Re-entrant asks: an actor that goes on while it waits for an answer.

mod probe;
mod script;

use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{Actor, ActorRef, AskError, Context, Exit, Reply, System};
use greenlet_core::{Event, attempt, with_timeout, yield_now};

use probe::{LONG, Log, no_disk, on_hub, word};
use script::{Ctx, Message, Script, Tell, item, spawn};

const SOON: Duration = Duration::from_millis(2);

/// An actor that asks another one re-entrantly, which answers with 5 when it is told to: the actor notes the answer.
fn asking(log: &Log) -> (ActorRef<Message>, Arc<Event>) {
    let (actor, other, go) = (spawn(log), spawn(&Log::new()), Arc::new(Event::new()));
    let wait = go.clone();
    other.begin(move |_, _| {
        wait.wait();
        Ok(())
    });
    actor.begin(move |script, ctx| {
        let answer = ctx.ask_reentrant(script, &other, |reply| Message::Echo(5, reply), LONG);
        match answer {
            Ok(answer) => script.log.note(format_args!("answer {answer}")),
            Err(error) => script.log.note(error),
        }
        Ok(())
    });
    (actor, go)
}

/// An actor that never comes to what it is asked.
fn deaf() -> ActorRef<Message> {
    let actor = spawn(&Log::new());
    actor.begin(|_, _| {
        Event::new().wait();
        Ok(())
    });
    actor
}

#[test]
fn other_messages_are_handled_while_it_waits() {
    on_hub(|| {
        let log = Log::new();
        let (actor, go) = asking(&log);
        actor.item(1);
        actor.item(2);
        actor.settle();
        go.set();
        assert_eq!([log.next(), log.next(), log.next()], ["1", "2", "answer 5"]);
        actor.item(3);
        actor.settle();
        assert_eq!(log.taken(), ["3"]);
    });
}

#[test]
fn it_may_ask_itself() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        let me = actor.clone();
        actor.work(move |script, ctx| {
            let answer = ctx.ask_reentrant(script, &me, |reply| Message::Echo(6, reply), LONG)?;
            script.log.note(answer);
            Ok(())
        });
        assert_eq!(log.next(), "6");
    });
}

#[test]
fn two_may_ask_each_other() {
    struct Counter(Option<ActorRef<(u32, Reply<u32>)>>);
    impl Actor for Counter {
        type Message = (u32, Reply<u32>);
        fn receive(&mut self, (n, reply): Self::Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
            let below = match (n, self.0.clone()) {
                (0, _) => 0,
                (n, Some(other)) => ctx.ask_reentrant(self, &other, |reply| (n - 1, reply), LONG)?,
                (n, None) => {
                    let me = ctx.me().clone();
                    ctx.ask_reentrant(self, &me, |reply| (n - 1, reply), LONG)?
                }
            };
            reply.send(below + 1);
            Ok(())
        }
    }
    for hubs in 1..=2 {
        let count = System::builder().hubs(hubs).run(|| {
            let second = Counter(None).spawn();
            let first = Counter(Some(second)).spawn();
            first.ask(|reply| (10, reply), LONG).unwrap()
        });
        assert_eq!(count.unwrap(), 11);
    }
}

#[test]
fn a_chain_that_is_too_deep_is_an_error() {
    fn deeper(script: &mut Script, ctx: &mut Ctx, depth: usize) -> Result<(), Exit> {
        let me = ctx.me().clone();
        let asked = ctx.ask_reentrant(
            script,
            &me,
            |reply: Reply<()>| {
                Message::Do(Box::new(move |script, ctx| {
                    deeper(script, ctx, depth + 1)?;
                    reply.send(());
                    Ok(())
                }))
            },
            LONG,
        );
        if let Err(error) = asked {
            script.log.note(format_args!("{depth}: {error}"));
        }
        Ok(())
    }
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            ctx.set_reentrancy_limit(3);
            deeper(script, ctx, 0)
        });
        actor.settle();
        assert_eq!(log.taken(), ["3: 3 asks are under way inside each other already"]);
        actor.work(|script, ctx| deeper(script, ctx, 0));
        actor.settle();
        assert_eq!(log.taken().len(), 1, "and again as deep as before");
    });
}

#[test]
fn the_time_is_limited_and_a_late_answer_harms_nobody() {
    on_hub(|| {
        let log = Log::new();
        let (actor, silent) = (spawn(&log), spawn(&Log::new()));
        let go = Arc::new(Event::new());
        let wait = go.clone();
        silent.begin(move |_, _| {
            wait.wait();
            Ok(())
        });
        let asked = silent.clone();
        actor.begin(move |script, ctx| {
            let answer = ctx.ask_reentrant(script, &asked, |reply| Message::Echo(5, reply), SOON);
            assert!(matches!(answer, Err(AskError::TimedOut(SOON))), "{answer:?}");
            script.log.note("in vain");
            Ok(())
        });
        assert_eq!(log.next(), "in vain");
        go.set();
        silent.settle();
        actor.item(1);
        assert_eq!(log.next(), "1");
    });
}

#[test]
fn who_is_asked_and_ends_is_noticed() {
    on_hub(|| {
        let log = Log::new();
        let (actor, other) = (spawn(&log), deaf());
        let asked = other.clone();
        actor.begin(move |script, ctx| {
            for _ in 0..2 {
                let error = ctx.ask_reentrant(script, &asked, |reply| Message::Echo(5, reply), LONG);
                script.log.note(error.unwrap_err());
            }
            Ok(())
        });
        actor.item(1);
        assert_eq!(log.next(), "1");
        other.kill();
        assert_eq!([log.next(), log.next()], ["the actor has ended: killed", "the actor has ended: killed"]);
    });
}

#[test]
fn a_message_that_ends_the_actor_unwinds_the_handler_around_it() {
    on_hub(|| {
        let log = Log::new();
        let (actor, _go) = asking(&log);
        actor.work(|_, _| Err(Exit::Shutdown));
        assert!(matches!(actor.join(), Exit::Shutdown));
        assert_eq!(log.taken(), ["ends shutdown"]);
        let (actor, _go) = asking(&log);
        actor.work(|_, _| panic!("inside"));
        assert_eq!(word(&actor.join()), "panic inside");
        let (actor, _go) = asking(&log);
        actor.work(|_, _| Err(no_disk()));
        assert_eq!(actor.join().to_string(), "no disk");
    });
}

#[test]
fn a_handler_that_catches_that_does_not_keep_the_actor_alive() {
    on_hub(|| {
        let log = Log::new();
        let (actor, other) = (spawn(&log), deaf());
        actor.begin(move |script, ctx| {
            let asked = attempt(|| ctx.ask_reentrant(script, &other, |reply| Message::Echo(5, reply), LONG));
            assert!(asked.is_err());
            script.log.note("caught");
            Ok(())
        });
        actor.work(|_, _| Err(Exit::Normal));
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["caught", "ends normal"]);
    });
}

#[test]
fn while_it_is_to_stop_it_waits_for_the_answer_only() {
    on_hub(|| {
        let log = Log::new();
        let (actor, go) = asking(&log);
        actor.stop();
        actor.item(1);
        yield_now();
        go.set();
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["answer 5", "ends normal"]);
    });
}

#[test]
fn kills_and_timeouts_while_it_waits_lose_nothing() {
    on_hub(|| {
        let log = Log::new();
        let (actor, _go) = asking(&log);
        actor.kill();
        assert!(matches!(actor.join(), Exit::Killed));
        let (actor, other) = (spawn(&log), deaf());
        actor.begin(move |script, ctx| {
            let waited = with_timeout(SOON, || {
                ctx.ask_reentrant(script, &other, |reply| Message::Echo(5, reply), LONG)
            });
            assert!(waited.is_err());
            let got = ctx.receive_match(item(2), LONG)?;
            script.log.note(format_args!("got {got}"));
            Ok(())
        });
        actor.item(1);
        assert_eq!(log.next(), "1");
        actor.item(3);
        greenlet_core::sleep(SOON * 2);
        actor.item(2);
        actor.settle();
        let rest = log.taken();
        assert!(rest == ["got 2", "3"] || rest == ["3", "got 2"], "{rest:?}");
    });
}

#[test]
fn an_actor_that_ends_handles_nothing_more() {
    struct Last(ActorRef<Message>, Log);
    impl Actor for Last {
        type Message = &'static str;
        fn receive(&mut self, message: &'static str, _: &mut Context<Self>) -> Result<(), Exit> {
            self.1.note(message);
            Err(Exit::Normal)
        }
        fn terminate(&mut self, _: &Exit, ctx: &mut Context<Self>) {
            let other = self.0.clone();
            let answer = ctx.ask_reentrant(self, &other, |reply| Message::Echo(5, reply), LONG);
            self.1.note(answer.expect("it answers"));
        }
    }
    on_hub(|| {
        let log = Log::new();
        let last = Last(spawn(&Log::new()), log.clone()).spawn();
        last.cast("first");
        last.cast("second");
        assert!(last.join().is_normal());
        assert_eq!(log.taken(), ["first", "5"]);
    });
}

#[test]
fn trapped_exits_are_handled_while_it_waits() {
    on_hub(|| {
        let log = Log::new();
        let (actor, go) = asking(&log);
        let linked = spawn(&Log::new());
        let other = linked.clone();
        actor.work(move |_, ctx| {
            ctx.trap_exits();
            ctx.link(&other);
            Ok(())
        });
        actor.settle();
        linked.kill();
        assert_eq!(log.next(), "exit killed");
        go.set();
        assert_eq!(log.next(), "answer 5");
    });
}
