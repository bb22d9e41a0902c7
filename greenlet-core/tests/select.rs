//! `select!`: one of several operations is done, and nothing is lost on the others.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenlet_core::select::after;
use greenlet_core::sync::{BoundedSemaphore, Semaphore};
use greenlet_core::{
    AsyncResult, Channel, Event, LifoQueue, PriorityQueue, Queue, ShutDown, catch, run, select, sleep, spawn,
    with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, Oops, Rng, SHORT, Watchdog, no_wait, seeds, settle, with};

#[test]
fn arms_that_are_blocks_may_be_followed_by_commas_or_not() {
    let numbers = Queue::unbounded();
    let pick = || {
        select! {
            number = numbers.get_op() => { number.unwrap() },
            () = after(Duration::ZERO) => { 0 }
            default => -1,
        }
    };
    assert_eq!(pick(), -1);
    numbers.put(1).unwrap();
    assert_eq!(pick(), 1);
}

#[test]
fn the_arm_of_the_operation_that_was_done_gives_the_value() {
    let (numbers, words) = (Queue::unbounded(), Queue::unbounded());
    let pick = || {
        select! {
            number = numbers.get_op() => format!("number {}", number.unwrap()),
            word = words.get_op() => {
                let word: &str = word.unwrap();
                format!("word {word}")
            }
        }
    };
    numbers.put(7).unwrap();
    assert_eq!(pick(), "number 7");
    words.put("seven").unwrap();
    assert_eq!(pick(), "word seven");
}

#[test]
fn it_suspends_until_one_can_be_done() {
    let shared = Rc::new((Queue::unbounded(), Event::new()));
    let waiter = with(&shared, |(queue, event)| {
        select! {
            item = queue.get_op() => item.unwrap(),
            () = event.wait_op() => 0,
        }
    });
    settle();
    assert!(!waiter.ready());
    shared.0.put(5).unwrap();
    assert_eq!(waiter.get().unwrap(), 5);
}

#[test]
fn what_is_not_selected_stays_where_it_is() {
    let shared = Rc::new((Queue::unbounded(), Queue::unbounded(), Semaphore::new(0)));
    let waiter = with(&shared, |(a, b, permits)| {
        select! {
            item = a.get_op() => item.unwrap(),
            item = b.get_op() => item.unwrap(),
            _permit = permits.permit_op() => 0,
        }
    });
    settle();
    // All three before the waiter runs: it may have only one of them.
    shared.0.put(1).unwrap();
    shared.1.put(2).unwrap();
    shared.2.release();
    assert_eq!(waiter.get().unwrap(), 1);
    assert_eq!((shared.0.len(), shared.1.try_get(), shared.2.available()), (0, Ok(2), 1));
}

#[test]
fn an_item_goes_to_the_next_in_line_when_the_first_has_chosen_something_else() {
    let shared = Rc::new((Queue::unbounded(), Event::new()));
    let chooser = with(&shared, |(queue, event)| {
        select! {
            _item = queue.get_op() => "item",
            () = event.wait_op() => "event",
        }
    });
    settle();
    let getter = with(&shared, |(queue, _)| queue.get().unwrap());
    settle();
    shared.1.set();
    shared.0.put(3).unwrap();
    assert_eq!((chooser.get().unwrap(), getter.get().unwrap()), ("event", 3));
}

#[test]
fn an_item_that_was_not_put_comes_back_with_the_operation() {
    let dropped = Rc::new(Cell::new(0));
    struct Item(Rc<Cell<u32>>);
    impl Drop for Item {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let queue = Queue::bounded(1);
    queue.put(Item(dropped.clone())).unwrap();
    let put = select! {
        _ = queue.put_op(Item(dropped.clone())) => true,
        () = after(SHORT) => false,
    };
    assert!(!put);
    assert_eq!((queue.len(), dropped.get()), (1, 1));
}

#[test]
fn a_put_waits_for_room_and_a_rendezvous_meets() {
    let shared = Rc::new((Queue::bounded(1), Channel::new()));
    shared.0.put(0).unwrap();
    let putter = with(&shared, |(queue, channel)| {
        let mut done = Vec::new();
        for _ in 0..2 {
            done.push(select! {
                put = queue.put_op(1) => { put.unwrap(); "queue" }
                put = channel.put_op(2) => { put.unwrap(); "channel" }
            });
        }
        done
    });
    settle();
    assert_eq!(shared.1.get(), Ok(2));
    settle();
    assert_eq!(shared.0.get(), Ok(0));
    assert_eq!(putter.get().unwrap(), ["channel", "queue"]);
    assert_eq!(shared.0.try_get(), Ok(1));
}

#[test]
fn two_that_select_meet_on_a_channel() {
    let shared = Rc::new((Channel::new(), Event::new()));
    let getter = with(&shared, |(channel, event)| {
        select! { item = channel.get_op() => item.unwrap(), () = event.wait_op() => 0 }
    });
    let putter = with(&shared, |(channel, event)| {
        select! { put = channel.put_op(4) => put.is_ok(), () = event.wait_op() => false }
    });
    assert_eq!((getter.get().unwrap(), putter.get().unwrap()), (4, true));
}

#[test]
fn one_greenlet_does_not_meet_itself() {
    let channel = Channel::new();
    let met = select! {
        item = channel.get_op() => item.unwrap(),
        _ = channel.put_op(1) => 1,
        () = after(SHORT) => 0,
    };
    assert_eq!(met, 0);
    // Nothing of it is left behind.
    assert!(channel.try_put(2).is_err() && channel.try_get().is_err());
}

#[test]
fn the_same_operation_twice_is_done_once() {
    let queue = Rc::new(Queue::unbounded());
    let waiter = with(&queue, |queue| {
        select! { item = queue.get_op() => item.unwrap(), item = queue.get_op() => item.unwrap() }
    });
    settle();
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    assert_eq!((waiter.get().unwrap(), queue.try_get()), (1, Ok(2)));
}

#[test]
fn default_runs_when_nothing_can_be_done_now() {
    let queue = Queue::unbounded();
    let turns = Rc::new(Cell::new(0));
    spawn({
        let turns = turns.clone();
        move || turns.set(1)
    });
    let poll = || {
        select! {
            item = queue.get_op() => item.ok(),
            default => None,
        }
    };
    assert_eq!(poll(), None);
    queue.put(1).unwrap();
    assert_eq!(poll(), Some(1));
    assert_eq!(turns.get(), 0, "it does not suspend");
}

#[test]
fn all_kinds_of_operations_come_true() {
    let shared = Rc::new((
        (LifoQueue::unbounded(), PriorityQueue::unbounded(), Channel::new()),
        (Event::new(), AsyncResult::new(), Semaphore::new(0), BoundedSemaphore::new(1)),
    ));
    shared.1.3.acquire();
    let job = spawn(|| sleep(FOREVER));
    for which in 0..8 {
        let handle = job.clone();
        let waiter = with(&shared, move |((lifo, priority, channel), (event, result, permits, bounded))| {
            select! {
                item = lifo.get_op() => item.unwrap(),
                item = priority.get_op() => item.unwrap(),
                item = channel.get_op() => item.unwrap(),
                () = event.wait_op() => 3,
                value = result.get_op() => value.unwrap(),
                _ = permits.permit_op() => 5,
                _ = bounded.permit_op() => 6,
                () = handle.join_op() => 7,
            }
        });
        settle();
        let ((lifo, priority, channel), (event, result, permits, bounded)) = &*shared;
        match which {
            0 => lifo.put(0).unwrap(),
            1 => priority.put(1).unwrap(),
            2 => channel.put(2).unwrap(),
            3 => event.set(),
            4 => result.set(4),
            5 => drop(permits.release()),
            6 => drop(bounded.release()),
            _ => job.kill(),
        }
        settle();
        // What is level-triggered stays ready: from then on any of these may win.
        let got = waiter.get().unwrap();
        if which < 4 {
            assert_eq!(got, which);
        }
        event.clear();
    }
}

#[test]
fn a_shut_down_queue_is_an_output() {
    let queue = Rc::new(Queue::<u32>::bounded(1));
    queue.put(1).unwrap();
    let putter = with(&queue, |queue| {
        select! { put = queue.put_op(2) => put, () = after(GENEROUS) => Ok(()) }
    });
    settle();
    queue.shutdown();
    assert_eq!(putter.get().unwrap(), Err(ShutDown(2)));
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(select! { item = queue.get_op() => item }, Err(ShutDown(())));
}

#[test]
fn the_earliest_of_several_timers_wins() {
    let event = Event::new();
    let which = select! {
        () = after(GENEROUS) => 1,
        () = event.wait_op() => 2,
        () = after(SHORT) => 3,
        () = after(FOREVER) => 4,
    };
    assert_eq!(which, 3);
}

#[test]
fn after_zero_gives_the_others_one_trip_through_the_loop() {
    let queue = Rc::new(Queue::unbounded());
    with(&queue, |queue| queue.put(1).unwrap());
    let got = select! { item = queue.get_op() => item.ok(), () = after(Duration::ZERO) => None };
    assert_eq!(got, Some(1));
    assert_eq!(select! { item = queue.get_op() => item.ok(), () = after(Duration::ZERO) => None }, None);
}

#[test]
fn ready_operations_are_chosen_in_turn_rather_than_in_order() {
    let (a, b) = (Queue::unbounded(), Queue::unbounded());
    for _ in 0..1000 {
        a.put(()).unwrap();
        b.put(()).unwrap();
    }
    let mut counts = [0; 2];
    for _ in 0..1000 {
        select! {
            _ = a.get_op() => counts[0] += 1,
            _ = b.get_op() => counts[1] += 1,
        }
    }
    assert!(counts.iter().all(|&count| count > 200), "{counts:?}");
}

#[test]
fn a_kill_while_it_waits_does_none_of_them() {
    let shared = Rc::new((Queue::unbounded(), Semaphore::new(0), Queue::bounded(1)));
    shared.2.put(0).unwrap();
    let waiter = with(&shared, |(queue, permits, full)| {
        select! {
            _ = queue.get_op() => (),
            _ = permits.permit_op() => (),
            _ = full.put_op(1) => (),
        }
    });
    settle();
    waiter.kill();
    assert!(waiter.exited());
    shared.0.put(1).unwrap();
    shared.1.release();
    assert_eq!((shared.0.len(), shared.1.available(), shared.2.len()), (1, 1, 1));
    shared.2.get().unwrap();
    assert!(shared.2.is_empty(), "its put went with it");
}

#[test]
fn who_was_given_something_before_the_kill_keeps_it() {
    let queue = Rc::new(Queue::unbounded());
    let log = Rc::new(RefCell::new(Vec::new()));
    let waiter = spawn({
        let (queue, log) = (queue.clone(), log.clone());
        move || {
            let item = select! { item = queue.get_op() => item.unwrap(), () = after(FOREVER) => 0 };
            log.borrow_mut().push(item);
            yield_now();
            log.borrow_mut().push(0);
        }
    });
    settle();
    queue.put(9).unwrap();
    waiter.kill_with(no_wait());
    waiter.join();
    assert_eq!(*log.borrow(), [9], "the kill comes at the next suspension");
}

#[test]
fn an_outer_timeout_passes_through() {
    let event = Event::new();
    let timed_out =
        with_timeout(SHORT, || select! { () = event.wait_op() => (), () = after(GENEROUS) => () });
    assert!(timed_out.is_err());
}

#[test]
fn the_arm_may_use_what_the_operations_borrowed() {
    let mut queue = Queue::unbounded();
    queue.put(1).unwrap();
    select! {
        _ = queue.get_op() => queue = Queue::bounded(3),
        () = after(FOREVER) => {}
    }
    assert_eq!(queue.capacity(), Some(3));
}

#[test]
fn arms_may_return_break_and_raise() {
    let queue = Queue::unbounded();
    queue.put(1).unwrap();
    fn first(queue: &Queue<u32>) -> Result<u32, ShutDown> {
        select! { item = queue.get_op() => return item, default => {} }
        Ok(0)
    }
    assert_eq!(first(&queue), Ok(1));
    let mut left = 3;
    let rounds = loop {
        select! {
            _ = queue.get_op() => {}
            default => { left -= 1; if left == 0 { break "done" } }
        }
    };
    assert_eq!(rounds, "done");
    let raised = catch(|| select! { _ = queue.get_op() => (), default => greenlet_core::raise(Oops("no")) });
    assert!(raised.is_err_and(|raised| raised.is::<Oops>()));
}

#[test]
fn in_a_callback_of_the_loop_it_is_an_error_and_with_default_it_is_not() {
    let outcome = Rc::new(Cell::new(None));
    let job = spawn(|| ());
    job.rawlink({
        let outcome = outcome.clone();
        move |_| {
            let queue = Queue::<u32>::unbounded();
            let polled = select! { _ = queue.get_op() => true, default => false };
            let waited = greenlet_core::attempt(|| select! { _ = queue.get_op() => () });
            outcome.set(Some((polled, waited.is_err())));
        }
    });
    job.join();
    settle();
    assert_eq!(outcome.get(), Some((false, true)));
}

#[test]
fn threads_without_a_hub_select_too() {
    let shared = Arc::new((Queue::unbounded(), Event::new()));
    let there = shared.clone();
    let thread = thread::spawn(move || {
        let (queue, event) = &*there;
        let mut sum = 0;
        loop {
            select! {
                item = queue.get_op() => sum += item.unwrap(),
                () = event.wait_op() => return sum,
            }
        }
    });
    for item in 1..=100 {
        shared.0.put(item).unwrap();
    }
    while !shared.0.is_empty() {
        yield_now();
    }
    shared.1.set();
    let sum: i32 = thread.join().unwrap();
    assert_eq!(sum, 5050);
}

/// Putters and getters on several threads and hubs, all of whom select over the same queues and channels, with kills. Every item that was
/// put is got once, or is still there.
#[test]
fn items_are_neither_lost_nor_doubled_across_threads() {
    let watchdog = Watchdog::start("select across threads");
    for seed in seeds(60) {
        let _seed = watchdog.begin(seed);
        let world = Arc::new(World {
            queues: [Queue::bounded(1), Queue::bounded(2), Queue::unbounded()],
            channel: Channel::new(),
            put: AtomicUsize::new(0),
            got: AtomicUsize::new(0),
        });
        let mut rng = Rng::new(seed);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (world, mut rng) = (world.clone(), rng.fork());
                thread::spawn(move || run(|| world.storm(&mut rng)))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        for queue in &world.queues {
            while queue.try_get().is_ok() {
                world.got.fetch_add(1, Ordering::SeqCst);
            }
        }
        assert_eq!(world.put.load(Ordering::SeqCst), world.got.load(Ordering::SeqCst));
    }
}

struct World {
    queues: [Queue<Counted>; 3],
    channel: Channel<Counted>,
    put: AtomicUsize,
    got: AtomicUsize,
}

/// Just something that must be dropped.
struct Counted(#[expect(dead_code, reason = "only its drop matters")] Box<u32>);

impl World {
    fn storm(self: &Arc<World>, rng: &mut Rng) {
        let members: Vec<_> = (0..8)
            .map(|_| {
                let (world, mut rng) = (self.clone(), rng.fork());
                spawn(move || {
                    for _ in 0..40 {
                        world.step(&mut rng);
                    }
                })
            })
            .collect();
        while !members.iter().all(|member| member.ready()) {
            yield_now();
            if rng.one_in(200) {
                members[rng.below(members.len())].kill_with(no_wait());
            }
        }
    }

    fn step(&self, rng: &mut Rng) {
        let (a, b) = (&self.queues[rng.below(3)], &self.queues[rng.below(3)]);
        let item = || Counted(Box::new(1));
        let put = |put: Result<(), ShutDown<Counted>>| {
            assert!(put.is_ok());
            self.put.fetch_add(1, Ordering::SeqCst);
        };
        let got = |item: Result<Counted, ShutDown>| {
            assert!(item.is_ok());
            self.got.fetch_add(1, Ordering::SeqCst);
        };
        match rng.below(5) {
            0 => select! {
                done = a.put_op(item()) => put(done),
                item = b.get_op() => got(item),
                () = after(SHORT) => {}
            },
            1 => select! {
                item = a.get_op() => got(item),
                item = self.channel.get_op() => got(item),
                () = after(SHORT) => {}
            },
            2 => select! {
                done = a.put_op(item()) => put(done),
                done = self.channel.put_op(item()) => put(done),
                () = after(SHORT) => {}
            },
            3 => drop(a.try_put(item()).map(|()| self.put.fetch_add(1, Ordering::SeqCst))),
            _ => select! {
                item = self.channel.get_op() => got(item),
                done = self.channel.put_op(item()) => put(done),
                default => yield_now(),
            },
        }
    }
}

#[test]
fn the_operands_may_be_temporaries_and_the_arms_from_another_macro() {
    macro_rules! first {
        ($body:expr) => {
            select! { item = Rc::new(Queue::from([1])).get_op() => $body + item.unwrap(), () = after(GENEROUS) => 0 }
        };
    }
    assert_eq!(first!(1), 2);
}
