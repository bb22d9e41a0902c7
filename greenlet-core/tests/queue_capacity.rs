//! Queues that begin with items, and whose limit changes.

mod support;

use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use greenlet_core::{
    Greenlet, JoinableQueue, LifoQueue, PriorityQueue, PutError, Queue, ShutDown, SimpleQueue, joinall, run,
};
use support::{GENEROUS, Tally, no_wait, settle, with};

/// Greenlets that put these items, in order, and wait for room.
fn putters(
    queue: &Rc<Queue<u32>>,
    items: impl IntoIterator<Item = u32>,
) -> Vec<Greenlet<Result<(), ShutDown<u32>>>> {
    let putters = items.into_iter().map(|item| with(queue, move |queue| queue.put(item))).collect();
    settle();
    putters
}

fn drained(queue: &Queue<u32>) -> Vec<u32> {
    std::iter::from_fn(|| queue.try_get().ok()).collect()
}

#[test]
fn a_queue_may_begin_with_items() {
    assert_eq!(drained(&Queue::from([1, 2, 3])), [1, 2, 3]);
    assert_eq!(drained(&Queue::from(vec![1, 2, 3])), [1, 2, 3]);
    let evens: Queue<u32> = (0..5).map(|n| n * 2).collect();
    assert_eq!(drained(&evens), [0, 2, 4, 6, 8]);
    let stack = LifoQueue::from([1, 2, 3]);
    assert_eq!((stack.try_get(), stack.try_get(), stack.len()), (Ok(3), Ok(2), 1));
    let heap = PriorityQueue::from([2, 3, 1].map(Reverse));
    let order: Vec<_> = std::iter::from_fn(|| heap.try_get().ok()).map(|Reverse(item)| item).collect();
    assert_eq!(order, [1, 2, 3]);
    assert!(Queue::<u32>::from([]).is_empty());
}

#[test]
fn the_first_items_count_as_unfinished() {
    let queue: JoinableQueue<u32> = Queue::from([1, 2]);
    assert_eq!((queue.len(), queue.unfinished_tasks(), queue.capacity()), (2, 2, None));
    for _ in 0..2 {
        assert!(!queue.join_timeout(support::SHORT));
        queue.get().unwrap();
        queue.task_done().unwrap();
    }
    queue.join();
    assert!(queue.task_done().is_err());
    let simple = SimpleQueue::<u32>::unbounded();
    simple.put(1).unwrap();
    assert_eq!(simple.get(), Ok(1));
}

#[test]
fn more_room_admits_waiting_putters_at_once_and_in_order() {
    run(|| {
        let queue = Rc::new(Queue::bounded(1));
        queue.put(0).unwrap();
        let putters = putters(&queue, 1..=4);
        queue.set_capacity(Some(3));
        assert_eq!((queue.len(), queue.unfinished_tasks()), (3, 3), "before anybody has run");
        joinall(&putters[..2]);
        settle();
        assert!(!putters[2].ready() && queue.is_full());
        queue.set_capacity(None);
        joinall(&putters);
        assert_eq!((drained(&queue), queue.unfinished_tasks()), (vec![0, 1, 2, 3, 4], 5));
    });
}

#[test]
fn less_room_keeps_the_items_and_holds_putters_up_until_they_are_gone() {
    run(|| {
        let queue = Rc::new(Queue::from([0, 1, 2]));
        queue.set_capacity(Some(1));
        assert!(queue.is_full() && queue.len() == 3);
        assert_eq!(queue.try_put(9), Err(PutError::Full(9)));
        let putters = putters(&queue, [3, 4]);
        assert_eq!((queue.get(), queue.get()), (Ok(0), Ok(1)));
        settle();
        assert!(!putters[0].ready(), "one is still there");
        assert_eq!(queue.get(), Ok(2));
        joinall(&putters[..1]);
        assert!(!putters[1].ready() && queue.len() == 1);
        assert_eq!((queue.get(), queue.get()), (Ok(3), Ok(4)));
        joinall(&putters);
    });
}

#[test]
fn a_putter_killed_before_the_room_comes_is_passed_over_and_one_killed_after_has_put() {
    run(|| {
        let queue = Rc::new(Queue::bounded(1));
        queue.put(0).unwrap();
        let putters = putters(&queue, 1..=3);
        putters[0].kill();
        queue.set_capacity(Some(2));
        putters[1].kill_with(no_wait());
        putters[1].join();
        assert_eq!(putters[1].get().unwrap(), Ok(()), "it was admitted first");
        putters[2].kill();
        assert_eq!(drained(&queue), [0, 2]);
    });
}

#[test]
fn a_changed_limit_of_a_shut_down_queue_lets_nothing_in() {
    run(|| {
        let queue = Rc::new(Queue::bounded(1));
        queue.put(0).unwrap();
        let putters = putters(&queue, [1]);
        queue.shutdown();
        queue.set_capacity(None);
        assert_eq!(putters[0].get().unwrap(), Err(ShutDown(1)));
        assert_eq!(drained(&queue), [0]);
    });
}

#[test]
#[should_panic(expected = "must be at least 1")]
fn a_limit_of_nothing_is_refused() {
    Queue::<u32>::unbounded().set_capacity(Some(0));
}

#[test]
fn plain_threads_are_admitted_too() {
    let tally = Tally::default();
    let queue = Arc::new(Queue::bounded(1));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (queue, token) = (queue.clone(), tally.stray_token());
            thread::spawn(move || queue.put_timeout(token, GENEROUS).is_ok())
        })
        .collect();
    queue.set_capacity(Some(2));
    queue.set_capacity(Some(4));
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    assert_eq!((queue.len(), queue.unfinished_tasks(), tally.dropped()), (4, 4, 0));
    drop(queue);
    tally.assert_all_home();
}
