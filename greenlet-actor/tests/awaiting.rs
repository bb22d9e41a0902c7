//! Async tasks that talk to actors.

mod probe;

use std::sync::Arc;

use greenlet_actor::{
    Actor, ActorBuilder, ActorRef, AnyActor, AskError, Context, Exit, Overflow, Reply, SendError,
};
use greenlet_core::future::{Executor, block_on};
use greenlet_core::{Event, spawn, yield_now};
use probe::{Elsewhere, Log, no_disk, on_hub, word};

enum Message {
    Note(u32),
    Wait(Arc<Event>),
    Answer(Reply<u32>),
    Forget(#[expect(dead_code, reason = "dropped with the message")] Reply<u32>),
    Fail,
}

struct Notes(Log);

impl Actor for Notes {
    type Message = Message;
    fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Note(n) => self.0.note(n),
            Message::Wait(event) => event.wait(),
            Message::Answer(reply) => reply.send(42),
            Message::Forget(_) => {}
            Message::Fail => return Err(no_disk()),
        }
        Ok(())
    }
}

/// One whose mailbox of one message is full, and what lets it go on.
fn full(overflow: Overflow, log: &Log) -> (ActorRef<Message>, Arc<Event>) {
    let go = Arc::new(Event::new());
    let actor = ActorBuilder::new().capacity(1).overflow(overflow).spawn(Notes(log.clone()));
    actor.send(Message::Wait(go.clone())).unwrap();
    while actor.mailbox_len() > 0 {
        yield_now();
    }
    actor.send(Message::Note(0)).unwrap();
    (actor, go)
}

#[test]
fn a_task_that_waits_for_room_leaves_the_thread_to_the_others() {
    on_hub(|| {
        let log = Log::new();
        let (actor, go) = full(Overflow::Suspend, &log);
        // All tasks of it are one greenlet.
        let executor = Executor::new();
        let to = actor.clone();
        let sends = executor.spawn(async move {
            for n in 1..=5 {
                to.send_async(Message::Note(n)).await.unwrap();
            }
            to.ask_async(Message::Answer).await.unwrap()
        });
        let lets_go = executor.spawn(async move { go.set() });
        assert_eq!(block_on(sends).unwrap(), 42);
        block_on(lets_go).unwrap();
        assert_eq!(log.taken(), ["0", "1", "2", "3", "4", "5"]);
    });
}

#[test]
fn a_plain_thread_runs_futures_that_ask() {
    on_hub(|| {
        let (actor, go) = full(Overflow::Suspend, &Log::new());
        let asks = Elsewhere::spawn({
            let actor = actor.clone();
            move || block_on(actor.ask_async(Message::Answer)).unwrap()
        });
        go.set();
        assert_eq!(asks.join(), 42);
    });
}

#[test]
fn a_send_that_is_dropped_has_sent_nothing_and_holds_no_room() {
    on_hub(|| {
        let log = Log::new();
        let (actor, go) = full(Overflow::Suspend, &log);
        let executor = Executor::new();
        let to = actor.clone();
        let given_up = executor.spawn(async move { to.send_async(Message::Note(1)).await.is_ok() });
        yield_now();
        yield_now();
        drop(given_up);
        let to = actor.clone();
        let next = spawn(move || to.send(Message::Note(2)).unwrap());
        yield_now();
        go.set();
        next.join();
        actor.call(Message::Answer).unwrap();
        assert_eq!(log.taken(), ["0", "2"]);
    });
}

#[test]
fn who_cannot_send_gets_the_message_back() {
    on_hub(|| {
        let (actor, _) = full(Overflow::Fail, &Log::new());
        let sent = block_on(actor.send_async(Message::Note(1)));
        assert!(matches!(sent, Err(SendError::Full(Message::Note(1)))));
        assert!(matches!(block_on(actor.ask_async(Message::Answer)), Err(AskError::Full)));
        actor.kill();
        let sent = block_on(actor.send_async(Message::Note(1)));
        assert!(matches!(sent, Err(SendError::Ended(Message::Note(1)))));
        let (actor, _) = full(Overflow::Suspend, &Log::new());
        let waits = [1, 2].map(|n| {
            let actor = actor.clone();
            spawn(move || block_on(actor.send_async(Message::Note(n))).map_err(SendError::into_message))
        });
        yield_now();
        actor.kill();
        for (n, wait) in (1..).zip(waits) {
            assert!(matches!(wait.into_value().unwrap(), Err(Message::Note(back)) if back == n));
        }
    });
}

#[test]
fn an_answer_that_will_not_come_is_an_error_at_once() {
    on_hub(|| {
        let actor = Notes(Log::new()).spawn();
        assert!(matches!(block_on(actor.ask_async(Message::Forget)), Err(AskError::NoReply)));
        actor.cast(Message::Fail);
        match block_on(actor.ask_async(Message::Answer)) {
            Err(AskError::Ended(exit)) => assert_eq!(word(&exit), "no disk"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(block_on(actor.ask_async(Message::Answer)), Err(AskError::Ended(_))));
    });
}

#[test]
fn an_end_is_awaited() {
    on_hub(|| {
        let actor = Notes(Log::new()).spawn();
        let any = AnyActor::from(actor.clone());
        let executor = Executor::new();
        let ends = executor.spawn(async move { any.join_async().await });
        let from_outside = Elsewhere::spawn({
            let actor = actor.clone();
            move || word(&block_on(actor.join_async()))
        });
        yield_now();
        actor.cast(Message::Fail);
        assert_eq!(word(&block_on(ends).unwrap()), "no disk");
        assert_eq!(from_outside.join(), "no disk");
        assert_eq!(word(&block_on(actor.join_async())), "no disk");
    });
}
