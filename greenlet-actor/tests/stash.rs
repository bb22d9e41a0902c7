//! Stash, `become` and `continue`.

mod probe;
mod script;

use std::sync::Arc;

use greenlet_actor::{Actor, ActorBuilder, AskError, Context, Exit, Reply};
use greenlet_core::Event;

use probe::{LONG, Log, on_hub};
use script::{Ctx, Message, Script, Tell, item, spawn};

/// Stashes items.
fn stashing(script: &mut Script, message: Message, ctx: &mut Ctx) -> Result<(), Exit> {
    match message {
        Message::Item(_) => Ok(ctx.stash(message)?),
        other => script.receive(other, ctx),
    }
}

#[test]
fn stashed_messages_come_back_in_order_and_ahead_of_newer_ones() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|_, ctx| {
            ctx.become_(stashing);
            Ok(())
        });
        actor.item(1);
        actor.item(2);
        actor.work(|script, ctx| {
            script.log.note(format_args!("{} stashed", ctx.stashed()));
            assert!(ctx.unbecome());
            assert_eq!((ctx.unstash_all(), ctx.stashed()), (2, 0));
            Ok(())
        });
        actor.item(3);
        actor.settle();
        assert_eq!(log.taken(), ["2 stashed", "1", "2", "3"]);
    });
}

#[test]
fn a_full_stash_gives_the_message_back() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            ctx.set_stash_limit(1);
            ctx.stash(Message::Item(1))?;
            let full = ctx.stash(Message::Item(2)).unwrap_err();
            assert!(matches!(full.message, Message::Item(2)));
            script.log.note(full);
            ctx.unstash_all();
            Ok(())
        });
        actor.settle();
        assert_eq!(log.taken(), ["the stash is full: it takes 1 messages", "1"]);
    });
}

#[test]
fn who_asked_in_a_stashed_message_hears_of_the_end() {
    on_hub(|| {
        let actor = spawn(&Log::new());
        actor.work(|_, ctx| {
            ctx.become_(|_, message, ctx| match message {
                Message::Echo(..) => Ok(ctx.stash(message)?),
                _ => Err(Exit::Normal),
            });
            Ok(())
        });
        let question = actor.request(|reply| Message::Echo(1, reply)).unwrap();
        actor.item(0);
        assert!(matches!(question.wait(LONG), Err(AskError::Ended(Exit::Normal) | AskError::NoReply)));
    });
}

#[test]
fn stashed_messages_do_not_stretch_a_bounded_mailbox() {
    on_hub(|| {
        let log = Log::new();
        let actor = script::spawn_bounded(&log, ActorBuilder::new().capacity(2));
        for _ in 0..3 {
            actor.work(|_, ctx| {
                ctx.become_(stashing);
                Ok(())
            });
            actor.item(1);
            actor.item(2);
            let go = Arc::new(Event::new());
            let wait = go.clone();
            actor.begin(move |_, ctx| {
                ctx.unbecome();
                ctx.unstash_all();
                wait.wait();
                Ok(())
            });
            assert!(actor.try_send(Message::Item(3)).is_ok() && actor.try_send(Message::Item(4)).is_ok());
            assert!(actor.try_send(Message::Item(5)).is_err(), "room for two, however often");
            go.set();
            actor.settle();
            assert_eq!(log.taken(), ["1", "2", "3", "4"]);
        }
    });
}

#[test]
fn a_selective_receive_finds_what_was_unstashed() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            for n in 1..=3 {
                ctx.stash(Message::Item(n))?;
            }
            assert!(ctx.receive_match(item(2), std::time::Duration::ZERO).is_err(), "not in the mailbox");
            ctx.unstash_all();
            let got = ctx.receive_match(item(2), LONG)?;
            script.log.note(format_args!("got {got}"));
            Ok(())
        });
        actor.item(4);
        actor.settle();
        assert_eq!(log.taken(), ["got 2", "1", "3", "4"]);
    });
}

#[test]
fn behaviours_are_a_stack() {
    struct Walker(Log);
    impl Actor for Walker {
        type Message = &'static str;
        fn receive(&mut self, message: &'static str, ctx: &mut Context<Self>) -> Result<(), Exit> {
            self.0.note(format_args!("walks: {message}"));
            if message == "sit" {
                ctx.become_(Walker::sitting);
            }
            Ok(())
        }
    }
    impl Walker {
        fn sitting(&mut self, message: &'static str, ctx: &mut Context<Self>) -> Result<(), Exit> {
            self.0.note(format_args!("sits: {message}"));
            match message {
                "lie down" => ctx.become_(|walker, message, ctx| {
                    walker.0.note(format_args!("lies: {message}"));
                    assert!(ctx.unbecome());
                    Ok(())
                }),
                "get up" => assert!(ctx.unbecome() && !ctx.unbecome()),
                _ => {}
            }
            Ok(())
        }
    }
    on_hub(|| {
        let log = Log::new();
        let walker = Walker(log.clone()).spawn();
        for message in ["go", "sit", "lie down", "get up", "get up", "go"] {
            walker.send(message).unwrap();
        }
        walker.stop();
        let _ = walker.join_timeout(LONG);
        assert_eq!(log.taken().len(), 0, "a stop is ahead of what waits");
        let walker = Walker(log.clone()).spawn();
        for message in ["go", "sit", "lie down", "get up", "get up", "go"] {
            walker.send(message).unwrap();
        }
        let heard: Vec<_> = (0..6).map(|_| log.next()).collect();
        assert_eq!(
            heard,
            ["walks: go", "walks: sit", "sits: lie down", "lies: get up", "sits: get up", "walks: go"]
        );
    });
}

#[test]
fn what_it_continues_with_is_handled_before_what_waits() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|_, ctx| {
            ctx.stash(Message::Item(3))?;
            ctx.unstash_all();
            ctx.continue_with(Message::Item(1));
            ctx.continue_with(Message::Item(2));
            Ok(())
        });
        actor.item(4);
        actor.settle();
        assert_eq!(log.taken(), ["1", "2", "3", "4"]);
    });
}

#[test]
fn what_init_continues_with_comes_first_and_the_starter_does_not_wait_for_it() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let wait = go.clone();
        let noted = log.clone();
        let actor = Script::new(&log)
            .init(move |_, ctx| {
                ctx.me().cast(Message::Item(2));
                ctx.continue_with(Message::Do(Box::new(move |_, _| {
                    wait.wait();
                    noted.note("loaded");
                    Ok(())
                })));
                Ok(())
            })
            .start()
            .unwrap();
        actor.item(3);
        go.set();
        actor.settle();
        assert_eq!(log.taken(), ["loaded", "2", "3"]);
    });
}

#[test]
fn a_kill_drops_what_it_would_have_continued_with() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        let (reply, answer) = Reply::<u32>::channel();
        actor.begin(move |_, ctx| {
            ctx.continue_with(Message::Echo(1, reply));
            Event::new().wait();
            Ok(())
        });
        actor.kill();
        assert!(answer.recv().is_err(), "dropped with the mailbox");
    });
}
