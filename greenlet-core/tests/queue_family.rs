//! Lifo and priority queues, channels, and waiting until all is done.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{
    Channel, GetError, Greenlet, LifoQueue, PriorityQueue, PutError, Queue, ShutDown, TooManyDone, joinall,
    run, select, spawn, with_timeout, yield_now,
};
use proptest::prelude::*;

const SHORT: Duration = Duration::from_millis(1);

#[test]
fn a_lifo_queue_gives_the_last_item_first() {
    let stack = LifoQueue::unbounded();
    for n in 0..5 {
        stack.try_put(n).unwrap();
    }
    assert_eq!(std::iter::from_fn(|| stack.try_get().ok()).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
}

#[test]
fn a_full_lifo_queue_admits_its_putters_in_the_order_in_which_they_came() {
    run(|| {
        let stack = Rc::new(LifoQueue::bounded(1));
        let putters: Vec<_> = (0..3)
            .map(|n| {
                let stack = stack.clone();
                spawn(move || stack.put(n).unwrap())
            })
            .collect();
        yield_now();
        assert_eq!(stack.len(), 1);
        let got: Vec<_> = (0..3).map(|_| stack.get().unwrap()).collect();
        assert_eq!(got, [0, 1, 2]);
        joinall(&putters);
    });
}

proptest! {
    #[test]
    fn a_priority_queue_gives_the_greatest_first(mut items in prop::collection::vec(0..100, 0..50)) {
        let queue = PriorityQueue::unbounded();
        for &item in &items {
            queue.try_put(item).unwrap();
        }
        let got: Vec<i32> = std::iter::from_fn(|| queue.try_get().ok()).collect();
        items.sort_unstable_by_key(|&item| Reverse(item));
        prop_assert_eq!(got, items);
    }
}

#[test]
fn a_channel_hands_over_and_holds_nothing() {
    let channel = Channel::new();
    assert_eq!(channel.try_put(1), Err(PutError::Full(1)));
    assert_eq!(channel.try_get(), Err(GetError::Empty));
    run(move || {
        let channel = Rc::new(channel);
        let getter = spawn({
            let channel = channel.clone();
            move || channel.get().unwrap()
        });
        yield_now();
        channel.try_put(7).unwrap();
        assert_eq!(getter.get().unwrap(), 7);
        let putter = spawn({
            let channel = channel.clone();
            move || channel.put(8).unwrap()
        });
        yield_now();
        assert!(!putter.ready());
        assert_eq!(channel.try_get(), Ok(8));
        putter.join();
    });
}

#[test]
fn a_sender_on_a_channel_goes_on_when_its_item_was_received() {
    run(|| {
        let channel = Rc::new(Channel::new());
        let log = Rc::new(RefCell::new(Vec::new()));
        let sender = spawn({
            let (channel, log) = (channel.clone(), log.clone());
            move || {
                for item in ["a", "b"] {
                    log.borrow_mut().push(format!("sending {item}"));
                    channel.put(item).unwrap();
                    log.borrow_mut().push(format!("sent {item}"));
                }
            }
        });
        let receiver = spawn({
            let log = log.clone();
            move || {
                for _ in 0..2 {
                    let item = channel.get().unwrap();
                    log.borrow_mut().push(format!("received {item}"));
                }
            }
        });
        joinall([&sender, &receiver]);
        let log = log.borrow();
        let at = |what: &str| log.iter().position(|line| line == what).unwrap();
        assert!(at("sending a") < at("received a") && at("received a") < at("received b"));
        assert!(at("sent a") < at("sending b") && at("sending b") < at("received b"));
    });
}

#[test]
fn a_putter_that_times_out_or_is_killed_on_a_channel_is_not_met() {
    run(|| {
        let channel = Rc::new(Channel::new());
        assert_eq!(channel.put_timeout(1, SHORT), Err(PutError::Full(1)));
        assert!(with_timeout(SHORT, || channel.put(2)).is_err());
        let killed = spawn({
            let channel = channel.clone();
            move || channel.put(3)
        });
        yield_now();
        killed.kill();
        assert_eq!(channel.get_timeout(SHORT), Err(GetError::Empty));
    });
}

#[test]
fn shutting_a_channel_down_ends_both_sides() {
    run(|| {
        let channel = Rc::new(Channel::new());
        let putter = spawn({
            let channel = channel.clone();
            move || channel.put("back")
        });
        yield_now();
        channel.shutdown();
        assert_eq!(putter.get().unwrap(), Err(ShutDown("back")));
        assert_eq!(channel.get(), Err(ShutDown(())));
        assert_eq!(channel.put("late"), Err(ShutDown("late")));
    });
}

#[test]
fn join_waits_until_every_item_is_done() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        queue.join(); // nothing was put
        for n in 0..3 {
            queue.put(n).unwrap();
        }
        let worker = spawn({
            let queue = queue.clone();
            move || {
                for _ in queue.iter() {
                    yield_now();
                    queue.task_done().unwrap();
                }
            }
        });
        assert!(!queue.join_timeout(Duration::ZERO) || queue.unfinished_tasks() == 0);
        queue.join();
        assert_eq!(queue.unfinished_tasks(), 0);
        assert_eq!(queue.task_done(), Err(TooManyDone));
        queue.shutdown();
        worker.get().unwrap();
    });
}

#[test]
fn an_item_counts_as_unfinished_once_it_is_admitted_or_handed_over() {
    run(|| {
        let queue = Rc::new(Queue::bounded(1));
        let putters: Vec<_> = (0..2)
            .map(|n| {
                let queue = queue.clone();
                spawn(move || queue.put(n).unwrap())
            })
            .collect();
        yield_now();
        assert_eq!(queue.unfinished_tasks(), 1);
        queue.get().unwrap();
        assert_eq!(queue.unfinished_tasks(), 2);
        queue.get().unwrap();
        joinall(&putters);
        let getter = spawn({
            let queue = queue.clone();
            move || queue.get().unwrap()
        });
        yield_now();
        queue.put(9).unwrap();
        getter.join();
        assert_eq!(queue.unfinished_tasks(), 3);
    });
}

#[test]
fn an_immediate_shutdown_discards_the_items_and_ends_join() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        for n in 0..3 {
            queue.put(n).unwrap();
        }
        let joiner = spawn({
            let queue = queue.clone();
            move || queue.join()
        });
        yield_now();
        assert!(!joiner.ready());
        queue.shutdown_now();
        joiner.get().unwrap();
        assert_eq!(queue.get(), Err(ShutDown(())));
        assert_eq!(queue.task_done(), Err(TooManyDone));
    });
}

#[test]
fn the_balance_of_a_channel_counts_who_waits_on_each_side() {
    run(|| {
        let channel = Rc::new(Channel::new());
        assert_eq!(channel.balance(), 0);
        let putters: Vec<_> = (0..3)
            .map(|item| {
                let channel = channel.clone();
                spawn(move || channel.put(item).unwrap())
            })
            .collect();
        yield_now();
        assert_eq!(channel.balance(), 3);
        putters[1].kill();
        assert_eq!(channel.balance(), 2);
        assert_eq!((channel.get(), channel.try_get(), channel.balance()), (Ok(0), Ok(2), 0));
        let getters = [(); 2].map(|()| {
            let channel = channel.clone();
            spawn(move || channel.get())
        });
        yield_now();
        assert_eq!(channel.balance(), -2);
        channel.try_put(1).unwrap();
        assert_eq!(channel.balance(), -1);
        channel.shutdown();
        assert_eq!(channel.balance(), 0);
        joinall(&getters);
    });
}

#[test]
fn one_who_selects_and_has_chosen_does_not_count_as_waiting() {
    run(|| {
        let channels = Rc::new((Channel::<u32>::new(), Channel::<u32>::new()));
        let chooser = spawn({
            let channels = channels.clone();
            move || select! { item = channels.0.get_op() => item, item = channels.1.get_op() => item }
        });
        yield_now();
        assert_eq!((channels.0.balance(), channels.1.balance()), (-1, -1));
        channels.0.try_put(1).unwrap();
        assert_eq!((channels.0.balance(), channels.1.balance()), (0, 0));
        assert_eq!(chooser.get().unwrap(), Ok(1));
    });
}

#[test]
fn joining_a_queue_that_was_never_used_does_not_suspend() {
    run(|| {
        let queue = Queue::<u32>::unbounded();
        let other = spawn(|| ());
        queue.join();
        assert!(queue.join_timeout(Duration::ZERO));
        assert!(!other.ready());
    });
}

#[test]
fn several_who_peek_see_one_item_and_leave_it() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        let peekers = [(); 3].map(|()| {
            let queue = queue.clone();
            spawn(move || queue.peek())
        });
        yield_now();
        queue.put(7).unwrap();
        for peeker in peekers {
            assert_eq!(peeker.get().unwrap(), Ok(7));
        }
        assert_eq!((queue.len(), queue.try_peek(), queue.get()), (1, Ok(7), Ok(7)));
        assert_eq!(queue.try_peek(), Err(GetError::Empty));
    });
}

#[test]
fn an_item_of_a_putter_that_has_ended_is_got() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        let putter = spawn({
            let queue = queue.clone();
            move || {
                queue.put("sent").unwrap();
                panic!("and dead")
            }
        });
        let _: &Greenlet<()> = &putter;
        putter.join();
        assert_eq!(queue.get_timeout(Duration::ZERO), Ok("sent"));
    });
}

#[test]
fn getters_that_time_out_take_nothing_with_them() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        let bogus = [(); 2].map(|()| {
            let queue = queue.clone();
            spawn(move || queue.get_timeout(SHORT))
        });
        joinall(&bogus);
        assert!(bogus.iter().all(|getter| *getter.value().unwrap() == Err(GetError::Empty)));
        queue.put(1).unwrap();
        assert_eq!((queue.len(), queue.try_get()), (1, Ok(1)));
    });
}
