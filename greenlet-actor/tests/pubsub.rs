//! Topics, and what happens when a subscriber is full.

mod probe;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use greenlet_actor::pubsub::{PubSub, SubscribeError, Topic, WhenFull};
use greenlet_actor::{Actor, ActorBuilder, ActorRef, Context, Exit, Overflow, System};
use greenlet_core::{Event, GetError, Kill, Queue, joinall, spawn, yield_now};
use probe::{Elsewhere, LONG, on_hub};

/// Notes numbers; waits first, if it is told to.
struct Reader(Arc<Queue<u32>>);

enum Read {
    Number(u32),
    Wait(Arc<Event>, Arc<Event>),
}

impl Actor for Reader {
    type Message = Read;
    fn receive(&mut self, read: Read, _: &mut Context<Self>) -> Result<(), Exit> {
        match read {
            Read::Number(n) => self.0.put(n).unwrap(),
            Read::Wait(begun, until) => {
                begun.set();
                until.wait();
            }
        }
        Ok(())
    }
}

fn reader(builder: ActorBuilder) -> (ActorRef<Read>, Arc<Queue<u32>>) {
    let read = Arc::new(Queue::unbounded());
    (builder.spawn(Reader(read.clone())), read)
}

/// A reader that is busy until the event is set.
fn busy(builder: ActorBuilder) -> (ActorRef<Read>, Arc<Queue<u32>>, Arc<Event>) {
    let (actor, read) = reader(builder);
    let (begun, until) = (Arc::new(Event::new()), Arc::new(Event::new()));
    actor.send(Read::Wait(begun.clone(), until.clone())).unwrap();
    assert!(begun.wait_timeout(LONG));
    (actor, read, until)
}

fn take(read: &Queue<u32>, n: usize) -> Vec<u32> {
    (0..n).map(|_| read.get_timeout(LONG).expect("it arrives")).collect()
}

#[test]
fn what_is_published_reaches_actors_and_readers_in_order() {
    on_hub(|| {
        let topic = Topic::new();
        let (actor, read) = reader(ActorBuilder::new());
        topic.subscribe(&actor, Read::Number).unwrap();
        let queue = topic.reader(100, WhenFull::Suspend);
        assert_eq!(topic.subscribers(), 2);
        for n in 0..50 {
            assert_eq!(topic.publish(n), 2);
        }
        assert_eq!(take(&read, 50), (0..50).collect::<Vec<_>>());
        assert_eq!(std::iter::from_fn(|| queue.try_recv()).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
        assert_eq!(Topic::<u32>::new().publish(1), 0);
    });
}

#[test]
fn a_publisher_waits_for_who_wants_everything_and_the_others_have_it_already() {
    on_hub(|| {
        let topic = Topic::new();
        let (slow, slow_read, until) = busy(ActorBuilder::new().capacity(1));
        topic.subscribe(&slow, Read::Number).unwrap();
        let narrow = topic.reader(2, WhenFull::Suspend);
        let wide = topic.reader(10, WhenFull::Suspend);
        let publisher = spawn({
            let topic = topic.clone();
            move || (1..=3).map(|n| topic.publish(n)).collect::<Vec<_>>()
        });
        yield_now();
        // The second does not fit into the slow one's mailbox, but those behind it have it.
        assert!(!publisher.ready());
        assert_eq!((narrow.waiting(), wide.waiting()), (2, 2));
        until.set();
        assert_eq!(take(&slow_read, 2), [1, 2]);
        assert_eq!([narrow.recv(), narrow.recv(), narrow.recv()], [Some(1), Some(2), Some(3)]);
        assert_eq!(publisher.into_value().unwrap(), [3, 3, 3]);
        assert_eq!(take(&slow_read, 1), [3]);
    });
}

#[test]
fn a_publisher_that_is_killed_while_it_waits_leaves_the_topic_usable() {
    on_hub(|| {
        let topic = Topic::new();
        let (narrow, wide) = (topic.reader(1, WhenFull::Suspend), topic.reader(9, WhenFull::Suspend));
        let publisher = spawn({
            let topic = topic.clone();
            move || {
                topic.publish(1);
                topic.publish(2)
            }
        });
        yield_now();
        publisher.kill_with(Kill::default());
        assert_eq!((narrow.try_recv(), narrow.try_recv()), (Some(1), None));
        assert_eq!(topic.publish(3), 2);
        assert_eq!(narrow.try_recv(), Some(3));
        assert_eq!(wide.waiting(), 3);
    });
}

#[test]
fn the_newest_or_the_oldest_is_dropped_for_who_says_so() {
    on_hub(|| {
        let topic = Topic::new();
        let (newest, oldest) = (topic.reader(2, WhenFull::DropNewest), topic.reader(2, WhenFull::DropOldest));
        let got: Vec<_> = (1..=5).map(|n| topic.publish(n)).collect();
        assert_eq!(got, [2, 2, 1, 1, 1]);
        assert_eq!(std::iter::from_fn(|| newest.try_recv()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(std::iter::from_fn(|| oldest.try_recv()).collect::<Vec<_>>(), [4, 5]);

        let (actor, read, until) = busy(ActorBuilder::new().capacity(2));
        topic.subscribe_with(&actor, WhenFull::DropNewest, Read::Number).unwrap();
        let (ring, ring_read, ring_until) =
            busy(ActorBuilder::new().capacity(2).overflow(Overflow::DropOldest));
        topic.subscribe_with(&ring, WhenFull::DropOldest, Read::Number).unwrap();
        for n in 1..=5 {
            topic.publish(n);
        }
        until.set();
        ring_until.set();
        actor.finish();
        actor.join();
        ring.finish();
        ring.join();
        assert_eq!(std::iter::from_fn(|| read.try_get().ok()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(std::iter::from_fn(|| ring_read.try_get().ok()).collect::<Vec<_>>(), [4, 5]);
    });
}

#[test]
fn an_actor_that_keeps_its_oldest_message_cannot_be_made_to_drop_it() {
    on_hub(|| {
        let topic: Topic<u32> = Topic::new();
        let (actor, _) = reader(ActorBuilder::new().capacity(2));
        let refused = topic.subscribe_with(&actor, WhenFull::DropOldest, Read::Number);
        assert_eq!(refused, Err(SubscribeError::KeepsOldest(actor.into())));
        assert_eq!(topic.subscribers(), 0);
    });
}

#[test]
fn who_is_disconnected_when_full_reads_what_it_had_and_then_the_end() {
    on_hub(|| {
        let topic = Topic::new();
        let queue = topic.reader(2, WhenFull::Disconnect);
        let (actor, read, until) = busy(ActorBuilder::new().capacity(2));
        topic.subscribe_with(&actor, WhenFull::Disconnect, Read::Number).unwrap();
        let got: Vec<_> = (1..=4).map(|n| topic.publish(n)).collect();
        assert_eq!(got, [2, 2, 0, 0]);
        assert_eq!(topic.subscribers(), 0);
        assert!(queue.is_disconnected());
        assert_eq!([queue.recv(), queue.recv(), queue.recv()], [Some(1), Some(2), None]);
        assert_eq!(queue.recv_timeout(LONG), Err(GetError::ShutDown));
        until.set();
        assert_eq!(take(&read, 2), [1, 2]);
    });
}

#[test]
fn a_subscription_ends_with_its_actor_its_reader_or_when_it_is_taken_back() {
    on_hub(|| {
        let topic = Topic::new();
        let (first, _) = reader(ActorBuilder::new());
        let (second, read) = reader(ActorBuilder::new());
        topic.subscribe(&first, Read::Number).unwrap();
        let twice = topic.subscribe(&second, |n| Read::Number(n * 10)).unwrap();
        topic.subscribe(&second, Read::Number).unwrap();
        let queue = topic.reader(1, WhenFull::Suspend);
        assert_eq!(topic.subscribers(), 4);
        drop(queue);
        first.kill();
        assert_eq!(topic.subscribers(), 2);
        assert_eq!(topic.publish(1), 2);
        assert!(topic.unsubscribe(twice));
        assert!(!topic.unsubscribe(twice));
        assert_eq!(topic.publish(2), 1);
        assert_eq!(take(&read, 3), [10, 1, 2]);
        second.stop();
        second.join();
        assert_eq!(topic.subscribers(), 0);
        let late = topic.subscribe(&second, Read::Number);
        assert_eq!(late, Err(SubscribeError::Ended(second.into())));
    });
}

#[test]
fn a_publisher_that_waits_for_a_reader_goes_on_when_that_is_dropped() {
    on_hub(|| {
        let topic = Topic::new();
        let queue = topic.reader(1, WhenFull::Suspend);
        let publisher = spawn({
            let topic = topic.clone();
            move || (1..=2).map(|n| topic.publish(n)).collect::<Vec<_>>()
        });
        yield_now();
        assert!(!publisher.ready());
        drop(queue);
        assert_eq!(publisher.into_value().unwrap(), [1, 0]);
    });
}

#[test]
fn a_subscriber_whose_closure_fails_is_disconnected_and_nobody_else() {
    on_hub(|| {
        let topic = Topic::new();
        let (actor, read) = reader(ActorBuilder::new());
        topic.subscribe(&actor, |n: u32| if n == 2 { panic!("no two") } else { Read::Number(n) }).unwrap();
        let queue = topic.reader(10, WhenFull::Suspend);
        let got: Vec<_> = (1..=3).map(|n| topic.publish(n)).collect();
        assert_eq!(got, [2, 1, 1]);
        assert_eq!(take(&read, 1), [1]);
        assert_eq!(queue.waiting(), 3);
        assert!(!actor.ready());
    });
}

#[test]
fn a_retained_value_comes_first_and_once() {
    on_hub(|| {
        let topic = Topic::retaining();
        let none = topic.reader(10, WhenFull::Suspend);
        assert_eq!((none.try_recv(), topic.latest()), (None, None));
        topic.publish(1);
        topic.publish(2);
        assert_eq!(topic.latest(), Some(2));
        let late = topic.reader(10, WhenFull::Suspend);
        topic.publish(3);
        assert_eq!([late.try_recv(), late.try_recv(), late.try_recv()], [Some(2), Some(3), None]);
        let forgetful = Topic::new();
        forgetful.publish(1);
        assert_eq!(forgetful.latest(), None);
    });
}

#[test]
fn more_retained_values_than_there_is_room_for_do_not_hold_up_who_subscribes() {
    on_hub(|| {
        let news: PubSub<u32> = PubSub::retaining();
        for n in 0..5 {
            news.publish(&format!("topic.{n}"), n);
        }
        let queue = news.reader("topic.*", 1, WhenFull::Suspend);
        let (narrow, read, until) = busy(ActorBuilder::new().capacity(1));
        news.subscribe("#", &narrow, |news| Read::Number(news.value)).unwrap();
        until.set();
        assert_eq!((0..5).map(|_| queue.recv().unwrap().value).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(take(&read, 5), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn names_and_patterns_choose_what_arrives() {
    on_hub(|| {
        let news: PubSub<u32> = PubSub::retaining();
        news.publish("orders.new", 1);
        news.publish("orders.old", 2);
        news.publish("other", 3);
        let (all, new) = (
            news.reader("orders.*", 10, WhenFull::Suspend),
            news.reader("orders.new", 10, WhenFull::Suspend),
        );
        let (actor, read) = reader(ActorBuilder::new());
        news.subscribe("#.new", &actor, |news| Read::Number(news.value)).unwrap();
        assert_eq!(news.publish("orders.new", 4), 3);
        assert_eq!(news.publish("orders.new.big", 5), 0);
        let values = |reader: &greenlet_actor::pubsub::Subscriber<greenlet_actor::pubsub::Published<u32>>| {
            std::iter::from_fn(|| reader.try_recv()).map(|news| news.value).collect::<Vec<_>>()
        };
        assert_eq!(values(&all), [1, 2, 4]);
        assert_eq!(values(&new), [1, 4]);
        assert_eq!(take(&read, 2), [1, 4]);
        assert!(news.forget("orders.new"));
        assert!(!news.forget("orders.new"));
        assert_eq!((news.latest("orders.new"), news.latest("other")), (None, Some(3)));
        assert_eq!(news.subscribers(), 3);
    });
}

#[test]
fn who_subscribes_while_others_publish_misses_nothing_after_what_was_retained() {
    System::builder()
        .hubs(2)
        .run(|| {
            for _ in 0..30 {
                let topic = Topic::retaining();
                topic.publish(0_u32);
                let publisher = Elsewhere::spawn({
                    let topic = topic.clone();
                    move || (1..=300).for_each(|n| _ = topic.publish(n))
                });
                let subscribers: Vec<_> = (0..4)
                    .map(|_| {
                        let topic = topic.clone();
                        spawn(move || {
                            let queue = topic.reader(8, WhenFull::Suspend);
                            let first = queue.recv().unwrap();
                            for expected in first + 1..=300 {
                                assert_eq!(queue.recv(), Some(expected));
                            }
                        })
                    })
                    .collect();
                joinall(&subscribers);
                assert!(subscribers.iter().all(|subscriber| subscriber.exception().is_none()));
                publisher.join();
            }
        })
        .unwrap();
}

#[test]
fn ends_of_subscribers_race_with_publishers_and_leave_nothing() {
    System::builder()
        .hubs(2)
        .run(|| {
            let (topic, done) = (Topic::new(), Arc::new(AtomicBool::new(false)));
            let publisher = Elsewhere::spawn({
                let (topic, done) = (topic.clone(), done.clone());
                move || {
                    let mut n = 0;
                    while !done.load(Ordering::SeqCst) {
                        topic.publish(n);
                        n += 1;
                    }
                }
            });
            for round in 0..200 {
                let (actor, read) = reader(ActorBuilder::new().capacity(4));
                topic.subscribe(&actor, Read::Number).unwrap();
                if round % 2 == 0 {
                    let first = take(&read, 3);
                    assert_eq!(first, (first[0]..first[0] + 3).collect::<Vec<_>>());
                }
                actor.kill();
            }
            done.store(true, Ordering::SeqCst);
            publisher.join();
            assert_eq!(topic.subscribers(), 0);
        })
        .unwrap();
}
