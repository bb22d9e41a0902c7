//! Priorities: more urgent messages first.

mod probe;

use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{
    Actor, ActorBuilder, ActorId, ActorRef, Context, Down, Exit, Overflow, Priority, Reply, System, matching,
};
use greenlet_core::{Event, sleep, spawn as greenlet};

use probe::{LONG, Log, on_hub, word};

type Ctx = Context<Urgent>;

type Work = Box<dyn FnOnce(&mut Urgent, &mut Ctx) -> Result<(), Exit> + Send + Sync>;

enum Message {
    /// Urgency, and what is noted.
    Item(u8, u32),
    Do(Work),
    Settle(Reply<()>),
}

use Message::{Do, Item, Settle};

struct Urgent(Log);

impl Actor for Urgent {
    type Message = Message;
    const PRIORITY: Option<fn(&Message) -> Priority> = Some(|message| match message {
        Item(level, _) => Priority::new(*level),
        Do(_) => Priority::new(250),
        Settle(_) => Priority::new(0),
    });

    fn receive(&mut self, message: Message, ctx: &mut Ctx) -> Result<(), Exit> {
        match message {
            Item(_, n) => self.0.note(n),
            Do(work) => work(self, ctx)?,
            Settle(reply) => reply.send(()),
        }
        Ok(())
    }

    fn handle_exit(&mut self, _: ActorId, exit: Exit, _: &mut Ctx) -> Result<(), Exit> {
        self.0.note(format_args!("exit {}", word(&exit)));
        Ok(())
    }

    fn handle_down(&mut self, down: Down, _: &mut Ctx) -> Result<(), Exit> {
        self.0.note(format_args!("down {}", word(&down.exit)));
        Ok(())
    }
}

fn work(
    actor: &ActorRef<Message>,
    work: impl FnOnce(&mut Urgent, &mut Ctx) -> Result<(), Exit> + Send + Sync + 'static,
) {
    actor.send(Do(Box::new(work))).unwrap();
}

/// Suspends the actor in a handler until the event is set.
fn busy(actor: &ActorRef<Message>) -> Arc<Event> {
    let (begun, go) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (begin, wait) = (begun.clone(), go.clone());
    work(actor, move |_, _| {
        begin.set();
        wait.wait();
        Ok(())
    });
    begun.wait();
    go
}

fn send(actor: &ActorRef<Message>, items: &[(u8, u32)]) {
    for (level, n) in items {
        actor.send(Item(*level, *n)).unwrap();
    }
}

/// The numbers that the actor has noted when it has handled everything.
fn handled(actor: &ActorRef<Message>, log: &Log) -> Vec<String> {
    actor.ask(Settle, LONG).unwrap();
    log.taken()
}

#[test]
fn more_urgent_messages_come_first_and_equals_in_order() {
    on_hub(|| {
        let log = Log::new();
        let actor = Urgent(log.clone()).spawn();
        let go = busy(&actor);
        send(&actor, &[(1, 1), (2, 2), (1, 3), (3, 4), (2, 5)]);
        assert_eq!(actor.mailbox_len(), 5);
        go.set();
        assert_eq!(handled(&actor, &log), ["4", "2", "5", "1", "3"]);
        assert_eq!(actor.mailbox_len(), 0);
    });
}

#[test]
fn one_that_comes_later_overtakes_what_was_sorted_already() {
    on_hub(|| {
        let log = Log::new();
        let actor = Urgent(log.clone()).spawn();
        let go = busy(&actor);
        let me = actor.clone();
        work(&actor, move |_, _| {
            send(&me, &[(9, 9), (1, 4)]);
            Ok(())
        });
        send(&actor, &[(1, 1), (2, 2), (1, 3)]);
        go.set();
        assert_eq!(handled(&actor, &log), ["9", "2", "1", "3", "4"]);
    });
}

#[test]
fn a_signal_comes_after_what_came_before_it() {
    on_hub(|| {
        let log = Log::new();
        let actor = Urgent(log.clone()).spawn();
        let other = Urgent(Log::new()).spawn();
        let to = other.clone();
        work(&actor, move |_, ctx| {
            ctx.trap_exits();
            ctx.link(&to);
            ctx.monitor(&to);
            Ok(())
        });
        let go = busy(&actor);
        send(&actor, &[(1, 1), (5, 5)]);
        other.kill();
        send(&actor, &[(0, 0), (9, 9)]);
        go.set();
        let heard = handled(&actor, &log);
        assert_eq!(heard[..3], ["9", "5", "1"]);
        assert_eq!(heard[5], "0");
        assert!(heard[3..5].contains(&"exit killed".into()) && heard[3..5].contains(&"down killed".into()));
    });
}

#[test]
fn selective_receive_stash_and_continue_work_with_priorities() {
    on_hub(|| {
        let log = Log::new();
        let actor = Urgent(log.clone()).spawn();
        let go = busy(&actor);
        // Sorted before the next one runs.
        work(&actor, |actor, ctx| {
            let n = ctx.receive_match(matching!(Item(_, n) if n > 1 => n), LONG)?;
            actor.0.note(format_args!("got {n}"));
            ctx.stash(Item(2, 20))?;
            ctx.unstash_all();
            ctx.continue_with(Item(0, 100));
            Ok(())
        });
        send(&actor, &[(1, 1), (2, 2), (3, 3), (2, 4)]);
        go.set();
        assert_eq!(handled(&actor, &log), ["got 3", "100", "20", "2", "4", "1"]);
    });
}

#[test]
fn the_message_of_a_timer_has_its_priority() {
    on_hub(|| {
        let log = Log::new();
        let actor = Urgent(log.clone()).spawn();
        let go = busy(&actor);
        send(&actor, &[(1, 1)]);
        let (low, high) =
            (actor.send_after(Duration::ZERO, Item(0, 0)), actor.send_after(Duration::ZERO, Item(2, 2)));
        let cancelled = actor.send_after(Duration::ZERO, Item(3, 3));
        while low.remaining().or(high.remaining()).or(cancelled.remaining()).is_some() {
            sleep(Duration::from_millis(1));
        }
        cancelled.cancel();
        go.set();
        assert_eq!(handled(&actor, &log), ["2", "1", "0"]);
    });
}

#[test]
fn a_bounded_mailbox_keeps_its_bound() {
    on_hub(|| {
        let log = Log::new();
        let actor = ActorBuilder::new().capacity(2).spawn(Urgent(log.clone()));
        let go = busy(&actor);
        send(&actor, &[(1, 1), (2, 2)]);
        assert!(actor.try_send(Item(3, 3)).is_err());
        go.set();
        actor.send(Item(3, 3)).unwrap();
        assert_eq!(handled(&actor, &log), ["2", "1", "3"]);
    });
}

#[test]
fn a_mailbox_that_drops_its_oldest_cannot_have_priorities() {
    let refused = std::panic::catch_unwind(|| {
        greenlet_core::run(|| {
            drop(ActorBuilder::new().capacity(1).overflow(Overflow::DropOldest).spawn(Urgent(Log::new())));
        });
    });
    let refused = refused.unwrap_err();
    let text = refused.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| refused.downcast_ref::<String>().cloned()).unwrap_or_default();
    assert!(text.contains("knows no priorities"), "{text}");
}

#[test]
fn what_waits_ends_with_the_actor() {
    on_hub(|| {
        let actor = Urgent(Log::new()).spawn();
        let go = busy(&actor);
        let question = actor.request(Settle).unwrap();
        work(&actor, |_, _| {
            sleep(Duration::MAX);
            Ok(())
        });
        go.set();
        greenlet_core::yield_now();
        // The question was sorted, and waits behind the one that never ends.
        assert_eq!(actor.mailbox_len(), 1);
        actor.kill();
        assert!(question.wait(LONG).is_err());
    });
}

#[test]
fn each_sender_is_heard_in_order_on_several_hubs() {
    let heard = System::builder().hubs(2).run(|| {
        let log = Log::new();
        let actor = Urgent(log.clone()).spawn();
        let senders: Vec<_> = (0..4_u32)
            .map(|sender| {
                let actor = actor.clone();
                greenlet(move || {
                    for n in 0..200 {
                        actor.send(Item(1, sender * 1000 + n)).unwrap();
                        actor.send(Item(2, 10_000 + sender * 1000 + n)).unwrap();
                    }
                })
            })
            .collect();
        for sender in &senders {
            sender.join();
        }
        handled(&actor, &log).iter().map(|n| n.parse::<u32>().unwrap()).collect::<Vec<_>>()
    });
    let heard = heard.unwrap();
    assert_eq!(heard.len(), 1600);
    for sender in 0..4 {
        for level in [0, 10_000] {
            let from = level + sender * 1000;
            let of_one: Vec<_> = heard.iter().filter(|n| (from..from + 1000).contains(*n)).collect();
            assert!(of_one.is_sorted() && of_one.len() == 200);
        }
    }
}
