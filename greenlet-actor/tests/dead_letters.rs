//! Messages that nobody handled. The counts and readers are the process's, so each test looks at its own actors.

mod probe;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use greenlet_actor::dead_letters::{DeadLetter, DeadLetters, Undelivered, counts};
use greenlet_actor::{Actor, ActorBuilder, ActorId, ActorRef, Context, Exit, Overflow, SendError, System};
use greenlet_core::{Event, spawn};
use probe::{Ask, Elsewhere, Job, LONG, Log, Probe, on_hub, word};

/// Handles one message, and ends in the way that it says.
struct Once;

enum Note {
    Begin(Arc<Event>, Arc<Event>),
    Memo,
    Breaks(#[allow(dead_code, reason = "for its drop")] Broken),
}

struct Broken;

impl Drop for Broken {
    fn drop(&mut self) {
        panic!("a destructor that fails");
    }
}

impl Actor for Once {
    type Message = Note;
    fn label(message: &Note) -> &'static str {
        match message {
            Note::Begin(..) => "begin",
            Note::Memo => "memo",
            Note::Breaks(_) => "breaks",
        }
    }
    fn receive(&mut self, note: Note, _: &mut Context<Self>) -> Result<(), Exit> {
        if let Note::Begin(begun, until) = note {
            begun.set();
            until.wait();
        }
        Err(Exit::Normal)
    }
}

/// An actor that is in its last message.
fn busy(builder: ActorBuilder) -> (ActorRef<Note>, Arc<Event>) {
    let (actor, begun, until) = (builder.spawn(Once), Arc::new(Event::new()), Arc::new(Event::new()));
    actor.send(Note::Begin(begun.clone(), until.clone())).unwrap();
    assert!(begun.wait_timeout(LONG));
    (actor, until)
}

/// A reader that misses nothing, whatever the other tests lose.
fn open() -> DeadLetters {
    DeadLetters::with_limit(10_000_000)
}

/// The letters for that actor which are there.
fn letters_for(letters: &DeadLetters, to: ActorId) -> Vec<DeadLetter> {
    std::iter::from_fn(|| letters.try_recv()).filter(|letter| letter.to == to).collect()
}

#[test]
fn what_was_not_handled_at_the_end_is_told_with_whom_it_was_for_and_why() {
    on_hub(|| {
        let letters = open();
        let before = counts();
        let (actor, until) = busy(ActorBuilder::new().name("clerk"));
        for _ in 0..3 {
            actor.send(Note::Memo).unwrap();
        }
        until.set();
        actor.join();
        let told = letters_for(&letters, actor.id());
        assert_eq!(told.len(), 3);
        let DeadLetter { message_type, label, name, why, .. } = &told[0];
        assert_eq!((*message_type, *label, name.as_deref()), ("dead_letters::Note", "memo", Some("clerk")));
        assert!(matches!(why, Undelivered::Unhandled(exit) if exit.is_normal()));
        let text = format!("memo for clerk {}, which ended first: normal", actor.id());
        assert_eq!(told[0].to_string(), text);
        assert!(counts().unhandled >= before.unhandled + 3);
    });
}

#[test]
fn a_kill_tells_of_all_that_waited_and_signals_are_no_letters() {
    on_hub(|| {
        let letters = open();
        let (actor, _) = busy(ActorBuilder::new());
        let other = Probe::new().spawn_local();
        let watched = actor.clone();
        other.run(move |ctx| {
            ctx.monitor(&watched);
            Ok(())
        });
        other.settle();
        actor.send(Note::Memo).unwrap();
        actor.kill();
        let told = letters_for(&letters, actor.id());
        assert!(
            matches!(&told[..], [DeadLetter { why: Undelivered::Unhandled(exit), .. }] if word(exit) == "killed")
        );
        // The other one has a DOWN in its mailbox, which it does not come to.
        other.kill();
        assert!(letters_for(&letters, other.id()).is_empty());
    });
}

#[test]
fn what_a_full_mailbox_drops_is_told() {
    on_hub(|| {
        let letters = open();
        for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
            let before = counts().full;
            let (actor, until) = busy(ActorBuilder::new().capacity(2).overflow(overflow));
            for _ in 0..5 {
                actor.send(Note::Memo).unwrap();
            }
            let told = letters_for(&letters, actor.id());
            assert_eq!(told.len(), 3);
            assert!(told.iter().all(|letter| matches!(letter.why, Undelivered::Full)));
            assert_eq!(actor.dropped(), 3);
            assert!(counts().full >= before + 3);
            // The two that are left come to nothing when it ends.
            until.set();
            actor.join();
            let told = letters_for(&letters, actor.id());
            assert_eq!(told.len(), 2);
            assert!(told.iter().all(|letter| matches!(letter.why, Undelivered::Unhandled(_))));
        }
    });
}

#[test]
fn what_comes_back_to_the_sender_is_counted_and_no_letter() {
    on_hub(|| {
        let letters = open();
        for builder in [ActorBuilder::new(), ActorBuilder::new().capacity(1)] {
            let actor = builder.spawn(Once);
            actor.kill();
            let before = counts().to_ended;
            assert!(matches!(actor.send(Note::Memo), Err(SendError::Ended(Note::Memo))));
            assert!(counts().to_ended > before);
            assert!(letters_for(&letters, actor.id()).is_empty());
        }
    });
}

#[test]
fn every_reader_gets_every_letter_and_one_that_is_gone_gets_none() {
    on_hub(|| {
        let (first, second) = (open(), open());
        drop(open());
        let (actor, until) = busy(ActorBuilder::new());
        actor.send(Note::Memo).unwrap();
        until.set();
        actor.join();
        assert_eq!(letters_for(&first, actor.id()).len(), 1);
        assert_eq!(letters_for(&second, actor.id()).len(), 1);
    });
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody_and_knows_what_it_missed() {
    on_hub(|| {
        let letters = DeadLetters::with_limit(4);
        let (actor, until) = busy(ActorBuilder::new());
        for _ in 0..100 {
            actor.send(Note::Memo).unwrap();
        }
        until.set();
        actor.join();
        assert!(std::iter::from_fn(|| letters.try_recv()).count() <= 4);
        assert!(letters.missed() >= 96);
    });
}

#[test]
fn a_reader_waits_for_letters() {
    on_hub(|| {
        let (actor, until) = busy(ActorBuilder::new());
        let (id, opened) = (actor.id(), Arc::new(Event::new()));
        let opens = opened.clone();
        let reader = spawn(move || {
            let letters = open();
            opens.set();
            letters.iter().find(|letter| letter.to == id).map(|letter| letter.label)
        });
        opened.wait();
        actor.send(Note::Memo).unwrap();
        until.set();
        assert_eq!(reader.into_value().unwrap(), Some("memo"));
    });
}

#[test]
fn a_message_whose_destructor_fails_is_told_too_and_harms_nobody() {
    on_hub(|| {
        let letters = open();
        let (actor, until) = busy(ActorBuilder::new());
        actor.send(Note::Breaks(Broken)).unwrap();
        actor.send(Note::Memo).unwrap();
        until.set();
        assert!(actor.join().is_normal());
        let labels: Vec<_> = letters_for(&letters, actor.id()).iter().map(|letter| letter.label).collect();
        assert_eq!(labels, ["breaks", "memo"]);
    });
}

#[test]
fn each_message_is_handled_or_comes_back_or_is_a_letter_on_two_hubs() {
    struct Counter(Arc<AtomicU32>);
    impl Actor for Counter {
        type Message = u32;
        fn receive(&mut self, _: u32, _: &mut Context<Self>) -> Result<(), Exit> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }
    System::builder()
        .hubs(2)
        .run(|| {
            let letters = open();
            for _ in 0..50 {
                let handled = Arc::new(AtomicU32::new(0));
                let actor = Counter(handled.clone()).spawn();
                let senders: Vec<_> = (0..2)
                    .map(|_| {
                        let actor = actor.clone();
                        Elsewhere::spawn(move || (0..200).filter(|n| actor.send(*n).is_ok()).count())
                    })
                    .collect();
                actor.kill();
                let sent: usize = senders.into_iter().map(Elsewhere::join).sum();
                // The end is told before what is left is dropped.
                let mut dead = 0;
                while dead + (handled.load(Ordering::SeqCst) as usize) < sent {
                    let letter = letters.recv_timeout(LONG).expect("none is lost");
                    dead += usize::from(letter.to == actor.id());
                }
                assert_eq!(dead + handled.load(Ordering::SeqCst) as usize, sent);
            }
            assert_eq!(letters.missed(), 0);
        })
        .unwrap();
}

#[test]
fn messages_that_are_closures_are_dropped_and_told_once() {
    on_hub(|| {
        let (letters, log) = (open(), Log::new());
        let actor = Probe::new().spawn_local();
        actor.suspend();
        let owned = probe::Dropped("message", log.clone());
        let job: Job = Box::new(move |_| {
            drop(owned);
            Ok(())
        });
        assert!(actor.send(job).is_ok());
        actor.kill();
        assert_eq!(log.next(), "message dropped");
        assert_eq!(letters_for(&letters, actor.id()).len(), 1);
        assert!(log.taken().is_empty());
    });
}
