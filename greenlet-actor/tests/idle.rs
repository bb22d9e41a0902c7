//! The idle timeout, and hibernation.

mod probe;
mod script;

use std::time::Duration;

use greenlet_actor::{Actor, ActorRef, Context, Exit, System};
use greenlet_core::{Event, Instant, sim, sleep};

use probe::{Log, on_hub};
use script::{Message, Script, Tell, spawn};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// An actor that notes `idle` after 10 seconds without messages.
fn impatient(log: &Log) -> ActorRef<Message> {
    Script::new(log)
        .init(|_, ctx| {
            ctx.set_idle_timeout(Some(seconds(10)));
            Ok(())
        })
        .spawn()
}

#[test]
fn it_is_told_again_and_again_while_nothing_comes() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let _actor = impatient(&log);
        for n in 1..=3 {
            assert_eq!((log.next().as_str(), start.elapsed()), ("idle", seconds(10 * n)));
        }
    });
}

#[test]
fn each_message_begins_the_time_anew() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let actor = impatient(&log);
        for n in 0..4 {
            sleep(seconds(9));
            actor.item(n);
        }
        assert_eq!([log.next(), log.next(), log.next(), log.next()], ["0", "1", "2", "3"]);
        assert_eq!((log.next().as_str(), start.elapsed()), ("idle", seconds(46)));
    });
}

#[test]
fn it_is_not_idle_while_it_handles_something() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let actor = impatient(&log);
        actor.work(|script, _| {
            sleep(seconds(15));
            script.log.note("done");
            Ok(())
        });
        assert_eq!((log.next().as_str(), start.elapsed()), ("done", seconds(15)));
        assert_eq!((log.next().as_str(), start.elapsed()), ("idle", seconds(25)));
    });
}

#[test]
fn a_message_that_came_before_it_was_told_counts() {
    sim::run(1, || {
        let log = Log::new();
        let actor = impatient(&log);
        sleep(seconds(1));
        let other = actor.clone();
        // Both are in the mailbox when the actor comes to it: the message first.
        greenlet_core::spawn_later(seconds(9), move || other.item(1));
        assert_eq!([log.next(), log.next()].concat().matches("idle").count(), 1);
    });
}

#[test]
fn a_down_is_a_message_too() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let (actor, other) = (impatient(&log), spawn(&Log::new()));
        let watched = other.clone();
        actor.work(move |_, ctx| {
            ctx.monitor(&watched);
            Ok(())
        });
        sleep(seconds(8));
        other.kill();
        assert_eq!(log.next(), "down killed");
        assert_eq!((log.next().as_str(), start.elapsed()), ("idle", seconds(18)));
    });
}

#[test]
fn it_can_be_changed_and_taken_back() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let actor = impatient(&log);
        actor.work(|_, ctx| {
            ctx.set_idle_timeout(Some(seconds(2)));
            Ok(())
        });
        assert_eq!((log.next().as_str(), start.elapsed()), ("idle", seconds(2)));
        actor.work(|_, ctx| {
            ctx.set_idle_timeout(None);
            Ok(())
        });
        sleep(seconds(100));
        actor.settle();
        assert_eq!(log.taken(), [""; 0]);
    });
}

#[test]
fn an_actor_that_has_nothing_to_do_ends_itself() {
    struct Session;
    impl Actor for Session {
        type Message = ();
        fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
            ctx.set_idle_timeout(Some(Duration::from_millis(2)));
            Ok(())
        }
        fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
            Ok(())
        }
        fn handle_timeout(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
            Err(Exit::Normal)
        }
    }
    let ended = System::builder().hubs(2).run(|| {
        let sessions: Vec<_> = (0..200).map(|_| Session.spawn()).collect();
        for session in &sessions {
            session.cast(());
        }
        sessions.iter().all(|session| session.join().is_normal())
    });
    assert!(ended.unwrap());
}

#[test]
fn a_kill_in_handle_timeout_and_while_it_is_idle_ends_the_timeout() {
    struct Stuck(Log);
    impl Actor for Stuck {
        type Message = ();
        fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
            ctx.set_idle_timeout(Some(seconds(1)));
            Ok(())
        }
        fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
            Ok(())
        }
        fn handle_timeout(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
            self.0.note("idle");
            Event::new().wait();
            Ok(())
        }
    }
    sim::run(1, || {
        let log = Log::new();
        let (one, other) = (Stuck(log.clone()).spawn(), Stuck(log.clone()).spawn());
        greenlet_core::yield_now();
        other.kill();
        assert_eq!(log.next(), "idle");
        one.kill();
        sleep(seconds(10));
        assert_eq!(log.taken(), [""; 0]);
    });
}

#[test]
fn it_hibernates_when_the_handler_has_returned_and_goes_on_with_what_waits() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            ctx.hibernate();
            script.log.note("returns");
            ctx.continue_with(Message::Item(1));
            Ok(())
        });
        actor.item(2);
        actor.settle();
        assert_eq!(log.taken(), ["returns", "1", "hibernates", "2"]);
    });
}

#[test]
fn hibernation_keeps_the_stash_and_the_behaviour() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|_, ctx| {
            ctx.stash(Message::Item(1))?;
            ctx.become_(|script, message, ctx| {
                script.log.note("as before");
                script.receive(message, ctx)
            });
            ctx.hibernate();
            Ok(())
        });
        actor.work(|_, ctx| {
            ctx.unstash_all();
            Ok(())
        });
        actor.settle();
        assert_eq!(log.taken(), ["hibernates", "as before", "as before", "1", "as before"]);
    });
}
