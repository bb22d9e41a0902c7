//! Timers: `send_after`, `send_interval`, and taking them back.

mod probe;
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, Cancelled, Context, Exit, Reply, System, TimerRef};
use greenlet_core::{Event, Instant, attempt, raise, sim, sleep, yield_now};

use probe::{Elsewhere, LONG, Log, on_hub, word};
use script::{Message, Tell, any_item, item, spawn};

const MS: Duration = Duration::from_millis(1);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Suspends the actor in a handler until the event is set.
fn busy(actor: &ActorRef<Message>) -> Arc<Event> {
    let go = Arc::new(Event::new());
    let wait = go.clone();
    actor.begin(move |_, _| {
        wait.wait();
        Ok(())
    });
    go
}

#[test]
fn messages_come_when_their_time_has_come() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let actor = spawn(&log);
        actor.work(|_, ctx| {
            for n in [30, 10, 20] {
                ctx.send_after(seconds(n.into()), Message::Item(n));
            }
            ctx.send_after(Duration::MAX, Message::Item(99));
            Ok(())
        });
        for n in [10, 20, 30] {
            assert_eq!(log.next(), n.to_string());
            assert_eq!(start.elapsed(), seconds(n));
        }
    });
}

#[test]
fn a_timer_that_is_cancelled_in_time_sends_nothing() {
    sim::run(1, || {
        let log = Log::new();
        let actor = spawn(&log);
        let timer = actor.send_after(seconds(10), Message::Item(1));
        sleep(seconds(4));
        assert!(timer.is_active());
        assert_eq!(timer.remaining(), Some(seconds(6)));
        assert_eq!(timer.cancel(), Cancelled::InTime(seconds(6)));
        assert_eq!((timer.cancel(), timer.is_active()), (Cancelled::TooLate, false));
        sleep(seconds(20));
        actor.settle();
        assert_eq!(log.taken(), [""; 0]);
    });
}

#[test]
fn a_message_that_is_in_the_mailbox_already_is_cancelled_too() {
    sim::run(1, || {
        let log = Log::new();
        let actor = spawn(&log);
        let go = busy(&actor);
        let timer = actor.send_after(seconds(1), Message::Item(1));
        actor.send_after(seconds(1), Message::Item(2));
        sleep(seconds(2));
        assert_eq!((timer.is_active(), timer.remaining(), actor.mailbox_len()), (true, None, 2));
        assert_eq!(timer.cancel(), Cancelled::InMailbox);
        go.set();
        actor.settle();
        assert_eq!(log.taken(), ["2"]);
    });
}

#[test]
fn it_is_too_late_when_the_message_is_being_handled() {
    sim::run(1, || {
        let log = Log::new();
        let actor = spawn(&log);
        let go = Arc::new(Event::new());
        let wait = go.clone();
        let work = move |script: &mut script::Script, _: &mut script::Ctx| {
            wait.wait();
            script.log.note("done");
            Ok(())
        };
        let timer = actor.send_after(seconds(1), Message::Do(Box::new(work)));
        sleep(seconds(2));
        assert_eq!((timer.cancel(), timer.is_active()), (Cancelled::TooLate, false));
        assert!(!timer.cancel().is_in_time());
        go.set();
        actor.settle();
        assert_eq!(log.taken(), ["done"]);
    });
}

/// Has the actor send itself 1, 2, 3... every 10 seconds.
fn ticking(actor: &ActorRef<Message>) -> TimerRef {
    let (tell, timer) = Reply::channel();
    actor.work(|_, ctx| {
        let mut n = 0;
        tell.send(ctx.send_interval(seconds(10), move || {
            n += 1;
            Message::Item(n)
        }));
        Ok(())
    });
    timer.recv().unwrap()
}

#[test]
fn an_interval_does_not_drift_and_ends_when_it_is_cancelled() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let actor = spawn(&log);
        let timer = ticking(&actor);
        for n in 1..=3 {
            assert_eq!(log.next(), n.to_string());
            assert_eq!(start.elapsed(), seconds(10 * n));
            sleep(seconds(3));
        }
        assert_eq!(timer.cancel(), Cancelled::InTime(seconds(7)));
        sleep(seconds(100));
        actor.settle();
        assert_eq!(log.taken(), [""; 0]);
    });
}

#[test]
fn a_slow_actor_is_not_flooded_by_an_interval() {
    sim::run(1, || {
        let log = Log::new();
        let actor = spawn(&log);
        let timer = ticking(&actor);
        yield_now();
        let go = busy(&actor);
        sleep(seconds(1005));
        assert_eq!(actor.mailbox_len(), 1);
        go.set();
        assert_eq!(log.next(), "1");
        assert_eq!(log.next(), "2");
        let go = busy(&actor);
        sleep(seconds(11));
        assert_eq!(timer.cancel(), Cancelled::InMailbox);
        go.set();
        actor.settle();
        assert_eq!(log.taken(), [""; 0]);
    });
}

#[test]
fn what_fails_while_the_message_is_made_fails_the_actor() {
    on_hub(|| {
        let actor = spawn(&Log::new());
        actor.work(|_, ctx| {
            ctx.send_interval(MS, || panic!("no idea"));
            Ok(())
        });
        assert_eq!(word(&actor.join()), "panic no idea");
    });
}

#[test]
fn an_interval_without_time_is_refused() {
    on_hub(|| {
        let actor = spawn(&Log::new());
        actor.work(|_, ctx| {
            ctx.send_interval(Duration::ZERO, || Message::Item(1));
            Ok(())
        });
        assert_eq!(word(&actor.join()), "panic a timer that repeats needs time in between");
    });
}

#[test]
fn timers_end_with_their_actor() {
    on_hub(|| {
        let (set, in_mailbox, made) = (Reply::<u32>::channel(), Reply::<u32>::channel(), Arc::new(()));
        let actor = spawn(&Log::new());
        let never = actor.send_after(LONG, Message::Echo(1, set.0));
        let fired = actor.send_after(Duration::ZERO, Message::Echo(2, in_mailbox.0));
        let keep = made.clone();
        actor.begin(move |_, ctx| {
            ctx.send_interval(LONG, move || {
                let _ = &keep;
                Message::Item(1)
            });
            Event::new().wait();
            Ok(())
        });
        while fired.remaining().is_some() {
            sleep(MS);
        }
        actor.kill();
        // Also those whose references are kept: nothing holds their messages.
        assert!(set.1.recv().is_err() && in_mailbox.1.recv().is_err());
        assert_eq!(Arc::strong_count(&made), 1);
        assert_eq!((never.cancel(), fired.cancel()), (Cancelled::TooLate, Cancelled::TooLate));
        let (late, answer) = Reply::<u32>::channel();
        let late = actor.send_after(MS, Message::Echo(3, late));
        assert!(answer.recv().is_err() && !late.is_active());
    });
}

#[test]
fn a_message_comes_through_a_full_mailbox() {
    sim::run(1, || {
        let log = Log::new();
        let actor = script::spawn_bounded(&log, ActorBuilder::new().capacity(1));
        let go = busy(&actor);
        actor.item(1);
        actor.send_after(seconds(1), Message::Item(2));
        sleep(seconds(2));
        assert!(actor.try_send(Message::Item(3)).is_err());
        go.set();
        actor.settle();
        assert_eq!(log.taken(), ["1", "2"]);
    });
}

#[test]
fn a_selective_receive_takes_the_message_of_a_timer_and_leaves_others() {
    sim::run(1, || {
        let log = Log::new();
        let actor = spawn(&log);
        actor.work(|script, ctx| {
            let refused = ctx.send_after(seconds(1), Message::Item(1));
            let cancelled = ctx.send_after(seconds(2), Message::Item(2));
            ctx.send_after(seconds(3), Message::Item(3));
            let got = ctx.receive_match(item(3), LONG)?;
            script.log.note(format_args!("got {got}"));
            assert_eq!(cancelled.cancel(), Cancelled::InMailbox);
            assert!(refused.is_active());
            assert!(ctx.receive_match(item(2), Duration::ZERO).is_err());
            Ok(())
        });
        assert_eq!(log.next(), "got 3");
        actor.settle();
        assert_eq!(log.taken(), ["1"]);
    });
}

#[test]
fn an_interval_goes_on_after_a_look_at_its_message_that_failed() {
    sim::run(1, || {
        let log = Log::new();
        let actor = spawn(&log);
        ticking(&actor);
        actor.work(|script, ctx| {
            let failed =
                attempt(|| ctx.receive_match(|_| -> Result<(), Message> { raise(std::fmt::Error) }, LONG));
            script.log.note(if failed.is_err() { "failed" } else { "?" });
            Ok(())
        });
        assert_eq!([log.next(), log.next(), log.next()], ["failed", "2", "3"]);
    });
}

#[test]
fn an_interval_goes_on_after_its_message_was_received_selectively() {
    sim::run(1, || {
        let log = Log::new();
        let actor = spawn(&log);
        ticking(&actor);
        actor.work(|script, ctx| {
            let got = ctx.receive_match(any_item(), LONG)?;
            script.log.note(format_args!("got {got}"));
            Ok(())
        });
        assert_eq!([log.next(), log.next()], ["got 1", "2"]);
    });
}

#[test]
fn a_kill_in_the_handler_of_a_timer_leaves_nothing_behind() {
    on_hub(|| {
        let kept = Arc::new(());
        let actor = spawn(&Log::new());
        let keep = kept.clone();
        let (begun, begin) = Reply::channel();
        let work = move |_: &mut script::Script, _: &mut script::Ctx| {
            let _keep = keep;
            begun.send(());
            Event::new().wait();
            Ok(())
        };
        let timer = actor.send_after(MS, Message::Do(Box::new(work)));
        begin.recv().unwrap();
        actor.kill();
        assert_eq!((Arc::strong_count(&kept), timer.is_active()), (1, false));
    });
}

#[test]
fn threads_without_a_hub_set_and_cancel_timers() {
    on_hub(|| {
        let log = Log::new();
        let actor = spawn(&log);
        let from = actor.clone();
        let (short, long) = Elsewhere::spawn(move || {
            (from.send_after(MS, Message::Item(1)), from.send_after(LONG, Message::Item(2)))
        })
        .join();
        assert_eq!(log.next(), "1");
        assert_eq!(short.cancel(), Cancelled::TooLate);
        let cancelled = Elsewhere::spawn(move || long.cancel()).join();
        assert!(matches!(cancelled, Cancelled::InTime(left) if left < LONG));
    });
}

/// Sets timers of itself and cancels them, on whichever hub it is.
struct Juggler {
    handled: Arc<AtomicU32>,
    timers: Vec<TimerRef>,
}

enum Juggle {
    Set(u32),
    Ball,
    Cancel(Reply<u32>),
}

impl Actor for Juggler {
    type Message = Juggle;

    fn receive(&mut self, message: Juggle, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Juggle::Set(n) => {
                self.timers.push(ctx.send_after(Duration::from_micros(u64::from(n) * 20), Juggle::Ball));
            }
            Juggle::Ball => drop(self.handled.fetch_add(1, Ordering::Relaxed)),
            Juggle::Cancel(reply) => {
                let in_time = self.timers.drain(..).filter(|timer| timer.cancel().is_in_time()).count();
                reply.send(u32::try_from(in_time).unwrap());
            }
        }
        Ok(())
    }
}

#[test]
fn on_several_hubs_each_timer_is_either_cancelled_or_handled() {
    let accounts = System::builder().hubs(2).run(|| {
        let jugglers: Vec<_> = (0..8)
            .map(|_| {
                let handled = Arc::new(AtomicU32::new(0));
                (Juggler { handled: handled.clone(), timers: Vec::new() }.spawn(), handled)
            })
            .collect();
        let ask = |juggler: &ActorRef<Juggle>| juggler.ask(Juggle::Cancel, LONG).unwrap();
        let senders: Vec<_> = jugglers
            .iter()
            .map(|(juggler, _)| {
                let juggler = juggler.clone();
                Elsewhere::spawn(move || (0..100).for_each(|n| juggler.cast(Juggle::Set(n))))
            })
            .collect();
        senders.into_iter().for_each(Elsewhere::join);
        let accounts: Vec<_> = jugglers
            .iter()
            .map(|(juggler, handled)| {
                let cancelled = ask(juggler);
                // Everything that was not cancelled was handled before the answer.
                cancelled + handled.load(Ordering::Relaxed)
            })
            .collect();
        for (juggler, handled) in &jugglers {
            let before = handled.load(Ordering::Relaxed);
            ask(juggler);
            assert_eq!(handled.load(Ordering::Relaxed), before, "a cancelled message came");
        }
        accounts
    });
    assert_eq!(accounts.unwrap(), [100; 8]);
}
