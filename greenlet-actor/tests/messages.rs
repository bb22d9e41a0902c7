//! Sending, and what bounded mailboxes do.

mod probe;

use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, Context, Exit, SendError};
use greenlet_core::{Event, Hub, Queue, catch, joinall, sleep, spawn, with_timeout, yield_now};
use probe::{Ask, Elsewhere, LONG, Log, Probe, on_hub};

/// Messages in the order of their arrival: which sender's, and the how manieth of that.
type Got = Queue<(u32, u32)>;

/// Keeps what it is sent, in order.
struct Collector {
    into: Arc<Got>,
    /// Waited for before the first message.
    gate: Arc<Event>,
}

impl Collector {
    fn open() -> (Collector, Arc<Got>) {
        let (into, gate) = (Arc::new(Queue::unbounded()), Arc::new(Event::new()));
        gate.set();
        (Collector { into: into.clone(), gate }, into)
    }

    fn closed() -> (Collector, Arc<Got>, Arc<Event>) {
        let (into, gate) = (Arc::new(Queue::unbounded()), Arc::new(Event::new()));
        (Collector { into: into.clone(), gate: gate.clone() }, into, gate)
    }
}

impl Actor for Collector {
    type Message = (u32, u32);

    fn receive(&mut self, message: (u32, u32), _: &mut Context<Self>) -> Result<(), Exit> {
        self.gate.wait();
        self.into.put(message)?;
        Ok(())
    }
}

/// Takes so many, and checks that those of each sender came in the order in which they were sent.
#[track_caller]
fn in_order(got: &Got, senders: u32, each: u32) {
    let mut next = vec![0; senders as usize];
    for _ in 0..senders * each {
        let (sender, number) = got.get_timeout(LONG).expect("all messages arrive");
        assert_eq!(number, next[sender as usize], "of sender {sender}");
        next[sender as usize] += 1;
    }
    assert!(got.is_empty(), "more than was sent");
}

fn send_all(to: &ActorRef<(u32, u32)>, sender: u32, each: u32) {
    for number in 0..each {
        to.send((sender, number)).unwrap();
        if number % 7 == sender % 7 {
            yield_now();
        }
    }
}

// --- order -------------------------------------------------------------------------------------------------------

#[test]
fn messages_of_one_sender_arrive_in_the_order_sent() {
    on_hub(|| {
        let (collector, got) = Collector::open();
        let actor = collector.spawn_local();
        let senders: Vec<_> = (0..5)
            .map(|sender| {
                let actor = actor.clone();
                spawn(move || send_all(&actor, sender, 100))
            })
            .collect();
        joinall(&senders);
        in_order(&got, 5, 100);
    });
}

#[test]
fn a_bounded_mailbox_keeps_the_order_of_each_sender() {
    on_hub(|| {
        let (collector, got) = Collector::open();
        let actor = ActorBuilder::new().capacity(2).spawn(collector);
        let senders: Vec<_> = (0..5)
            .map(|sender| {
                let actor = actor.clone();
                spawn(move || send_all(&actor, sender, 100))
            })
            .collect();
        joinall(&senders);
        in_order(&got, 5, 100);
    });
}

#[test]
fn plain_threads_send_in_order_too() {
    on_hub(|| {
        for builder in [ActorBuilder::new(), ActorBuilder::new().capacity(3)] {
            let (collector, got) = Collector::open();
            let actor = builder.spawn(collector);
            let threads: Vec<_> = (0..3)
                .map(|sender| {
                    let actor = actor.clone();
                    Elsewhere::spawn(move || (0..200).for_each(|n| actor.send((sender, n)).unwrap()))
                })
                .collect();
            in_order(&got, 3, 200);
            threads.into_iter().for_each(Elsewhere::join);
        }
    });
}

#[test]
fn greenlets_of_other_hubs_send_in_order_too() {
    on_hub(|| {
        let hubs = [Hub::thread("a").start().unwrap(), Hub::thread("b").start().unwrap()];
        for builder in [ActorBuilder::new(), ActorBuilder::new().capacity(3)] {
            let (collector, got) = Collector::open();
            let actor = builder.spawn(collector);
            let senders: Vec<_> = (0..4)
                .map(|sender| {
                    let actor = actor.clone();
                    let hub = hubs[sender as usize % 2].handle();
                    hub.spawn(move || send_all(&actor, sender, 100)).unwrap()
                })
                .collect();
            in_order(&got, 4, 100);
            joinall(&senders);
        }
        hubs.into_iter().for_each(greenlet_core::HubThread::join);
    });
}

#[test]
fn an_actor_of_another_hub_is_sent_to_from_here() {
    on_hub(|| {
        let hub = Hub::thread("elsewhere").start().unwrap();
        let got = Arc::new(Queue::unbounded());
        let actor = hub.handle().spawn({
            let (into, gate) = (got.clone(), Arc::new(Event::new()));
            gate.set();
            move || ActorBuilder::new().capacity(2).spawn(Collector { into, gate })
        });
        let actor = actor.unwrap().get().unwrap();
        send_all(&actor, 0, 200);
        in_order(&got, 1, 200);
        actor.stop();
        assert!(actor.join().is_normal());
        hub.join();
    });
}

#[test]
fn trapped_exits_stand_in_line_with_the_messages() {
    on_hub(|| {
        let log = Log::new();
        let actor = ActorBuilder::new().capacity(2).start_local(Probe::new().traps_in(&log)).unwrap();
        let other = Probe::new().start_local().unwrap();
        actor.link(&other);
        let gate = Arc::new(Event::new());
        actor.suspend_in({
            let gate = gate.clone();
            move |_| gate.wait()
        });
        let noting = |what| {
            let log = log.clone();
            actor.run(move |_| {
                log.note(what);
                Ok(())
            });
        };
        noting("before");
        noting("before");
        other.stop(); // finds the mailbox full, and is put there all the same
        other.join();
        assert_eq!(actor.mailbox_len(), 3);
        gate.set();
        noting("after");
        actor.settle();
        let exit = format!("{} normal", other.id());
        assert_eq!(log.taken(), ["before", "before", &exit, "after"]);
    });
}

// --- bounded mailboxes -------------------------------------------------------------------------------------------

#[test]
fn a_full_mailbox_suspends_its_senders_until_there_is_room() {
    on_hub(|| {
        let (collector, got, gate) = Collector::closed();
        let actor = ActorBuilder::new().capacity(2).start(collector).unwrap();
        let sent = Log::new();
        let sender = spawn({
            let (actor, sent) = (actor.clone(), sent.clone());
            move || {
                for n in 0..6 {
                    actor.send((0, n)).unwrap();
                    sent.note(n);
                }
            }
        });
        // One is being handled, two are in the mailbox.
        for expected in ["0", "1", "2"] {
            assert_eq!(sent.next(), expected);
        }
        for _ in 0..10 {
            yield_now();
        }
        assert!(sent.taken().is_empty(), "there was no room");
        assert_eq!(actor.mailbox_len(), 2);
        gate.set();
        sender.join();
        in_order(&got, 1, 6);
    });
}

#[test]
fn a_full_mailbox_refuses_a_try_send() {
    on_hub(|| {
        let (collector, got, gate) = Collector::closed();
        let actor = ActorBuilder::new().capacity(1).start(collector).unwrap();
        actor.try_send((0, 0)).unwrap();
        yield_now(); // it is being handled now
        actor.try_send((0, 1)).unwrap();
        let refused = actor.try_send((7, 7)).unwrap_err();
        assert_eq!(refused, SendError::Full((7, 7)));
        assert_eq!(refused.to_string(), "the mailbox is full");
        assert_eq!(refused.into_message(), (7, 7));
        gate.set();
        assert_eq!(got.get_timeout(LONG), Ok((0, 0)));
        assert_eq!(got.get_timeout(LONG), Ok((0, 1)));
        actor.try_send((0, 2)).unwrap();
        assert_eq!(got.get_timeout(LONG), Ok((0, 2)));
    });
}

#[test]
fn a_sender_that_is_killed_while_it_waits_for_room_sends_nothing() {
    on_hub(|| {
        let (collector, got, gate) = Collector::closed();
        let actor = ActorBuilder::new().capacity(1).start(collector).unwrap();
        actor.send((0, 0)).unwrap();
        yield_now();
        actor.send((0, 1)).unwrap();
        let send = |message| {
            let actor = actor.clone();
            let sender = spawn(move || drop(catch(|| actor.send(message))));
            yield_now();
            sender
        };
        let (killed, other) = (send((9, 9)), send((0, 2)));
        killed.kill();
        assert!(with_timeout(Duration::from_millis(1), || actor.send((9, 9))).is_err());
        gate.set();
        other.join();
        in_order(&got, 1, 3);
    });
}

#[test]
fn an_actor_that_sends_to_itself_does_not_wait_for_room() {
    struct Counts;
    impl Actor for Counts {
        type Message = u32;
        fn receive(&mut self, left: u32, ctx: &mut Context<Self>) -> Result<(), Exit> {
            if left == 0 {
                return Err(Exit::Normal);
            }
            // Ten in a mailbox for one: the first of them ends it all.
            for _ in 0..10 {
                ctx.me().send(left - 1)?;
            }
            assert!(matches!(ctx.me().try_send(0), Err(SendError::Full(0))));
            Ok(())
        }
    }
    on_hub(|| {
        let actor = ActorBuilder::new().capacity(1).spawn(Counts);
        actor.send(3).unwrap();
        assert!(matches!(actor.join_timeout(LONG), Some(Exit::Normal)));
    });
}

#[test]
fn senders_wait_their_turn_after_an_actor_overfilled_its_mailbox() {
    on_hub(|| {
        let log = Log::new();
        let actor = ActorBuilder::new().capacity(1).start_local(Probe::new()).unwrap();
        let (noted, gate) = (log.clone(), Arc::new(Event::new()));
        actor.suspend_in({
            let gate = gate.clone();
            move |ctx| {
                gate.wait();
                for n in 0..3 {
                    let noted = noted.clone();
                    ctx.me().run(move |_| {
                        noted.note(format_args!("own {n}"));
                        Ok(())
                    });
                }
            }
        });
        let sender = spawn({
            let (actor, log) = (actor.clone(), log.clone());
            move || {
                for n in 0..3 {
                    let log = log.clone();
                    actor.run(move |_| {
                        log.note(format_args!("other {n}"));
                        Ok(())
                    });
                }
            }
        });
        yield_now();
        gate.set();
        sender.join();
        actor.settle();
        let noted = log.taken();
        for who in ["own", "other"] {
            let of: Vec<_> = noted.iter().filter(|note| note.starts_with(who)).collect();
            assert_eq!(of, [&format!("{who} 0"), &format!("{who} 1"), &format!("{who} 2")]);
        }
    });
}

#[test]
fn a_plain_thread_waits_for_room() {
    on_hub(|| {
        let (collector, got, gate) = Collector::closed();
        let actor = ActorBuilder::new().capacity(1).start(collector).unwrap();
        let sender = Elsewhere::spawn({
            let actor = actor.clone();
            move || (0..50).for_each(|n| actor.send((0, n)).unwrap())
        });
        yield_now();
        gate.set();
        in_order(&got, 1, 50);
        sender.join();
    });
}

#[test]
#[should_panic(expected = "at least 1")]
fn a_mailbox_for_nothing_is_refused() {
    on_hub(|| drop(ActorBuilder::new().capacity(0).spawn_local(Probe::new())));
}

// --- the dead ----------------------------------------------------------------------------------------------------

#[test]
fn sending_to_the_dead_gives_the_message_back() {
    on_hub(|| {
        for builder in [ActorBuilder::new(), ActorBuilder::new().capacity(1)] {
            let (collector, got) = Collector::open();
            let actor = builder.start(collector).unwrap();
            actor.kill();
            assert_eq!(actor.send((1, 2)), Err(SendError::Ended((1, 2))));
            assert_eq!(actor.try_send((3, 4)), Err(SendError::Ended((3, 4))));
            let elsewhere = Elsewhere::spawn(move || actor.send((5, 6)));
            assert_eq!(elsewhere.join(), Err(SendError::Ended((5, 6))));
            assert!(got.is_empty());
        }
    });
}

#[test]
fn senders_that_wait_for_room_get_their_message_back_when_the_actor_ends() {
    on_hub(|| {
        let (collector, _got, _gate) = Collector::closed();
        let actor = ActorBuilder::new().capacity(1).start(collector).unwrap();
        actor.send((0, 0)).unwrap();
        yield_now();
        actor.send((0, 1)).unwrap();
        let senders: Vec<_> = (2..5)
            .map(|n| {
                let actor = actor.clone();
                spawn(move || actor.send((0, n)))
            })
            .collect();
        let thread = Elsewhere::spawn({
            let actor = actor.clone();
            move || actor.send((1, 1))
        });
        yield_now();
        actor.send_exit(Exit::Shutdown);
        for (n, sender) in (2..5).zip(senders) {
            assert_eq!(sender.get().unwrap(), Err(SendError::Ended((0, n))));
        }
        assert_eq!(thread.join(), Err(SendError::Ended((1, 1))));
    });
}

#[test]
fn a_message_that_an_actor_sends_to_itself_at_the_end_is_dropped() {
    on_hub(|| {
        let log = Log::new();
        let noted = log.clone();
        let actor = Probe::new()
            .terminate(move |_, ctx| {
                let message = probe::Dropped("message", noted);
                ctx.me().run(move |_| {
                    drop(message);
                    Ok(())
                });
            })
            .start_local()
            .unwrap();
        actor.stop();
        actor.join();
        assert_eq!(log.taken(), ["message dropped"]);
    });
}

#[test]
fn references_are_equal_when_they_are_of_the_same_actor() {
    on_hub(|| {
        let (one, other) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        assert!(one == one.clone() && one != other);
        assert_ne!(one.id(), other.id());
        let named = ActorBuilder::new().name("printer").spawn_local(Probe::new());
        assert_eq!(named.to_string(), format!("printer {}", named.id()));
        sleep(Duration::ZERO);
    });
}
