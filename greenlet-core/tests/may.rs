//! Coroutines of `may` wait on our primitives: they are parked, and their thread goes on.
#![cfg(feature = "may")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenlet_core::select::after;
use greenlet_core::sync::{Mutex, Semaphore};
use greenlet_core::{AsyncResult, Channel, Event, Hub, Queue, select, wait};
use support::{GENEROUS, SHORT};

/// Spawns a coroutine of `may`.
fn go<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> may::coroutine::JoinHandle<R> {
    // SAFETY: the closures of these tests use no thread-locals and little stack.
    unsafe { may::coroutine::Builder::new().stack_size(0x8000).spawn(f) }.unwrap()
}

#[test]
fn coroutines_and_greenlets_pass_items_to_each_other() {
    let hub = Hub::thread("greenlets").start().unwrap();
    let (there, back) = (Arc::new(Queue::bounded(1)), Arc::new(Channel::new()));
    let (queue, channel) = (there.clone(), back.clone());
    let echo = hub
        .handle()
        .spawn(move || {
            while let Ok(item) = queue.get() {
                if channel.put(item + 1).is_err() {
                    return;
                }
            }
        })
        .unwrap();
    let coroutine = go(move || {
        let mut sum = 0;
        for item in 0..500u32 {
            there.put(item).unwrap();
            sum += back.get().unwrap();
        }
        there.shutdown();
        sum
    });
    assert_eq!(coroutine.join().unwrap(), (1..=500).sum::<u32>());
    echo.join();
    hub.shutdown();
}

#[test]
fn many_coroutines_wait_and_none_blocks_its_thread() {
    // Far more than `may` has threads: were they blocked, the last one could never set the event.
    let event = Arc::new(Event::new());
    let result = Arc::new(AsyncResult::new());
    let waiting = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..200)
        .map(|_| {
            let (event, result, waiting) = (event.clone(), result.clone(), waiting.clone());
            go(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                event.wait();
                result.get().unwrap()
            })
        })
        .collect();
    let setter = go(move || {
        while waiting.load(Ordering::SeqCst) < 200 {
            may::coroutine::yield_now();
        }
        event.set();
        result.set(3);
    });
    setter.join().unwrap();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), 3);
    }
}

#[test]
fn timeouts_locks_and_selects_work_in_coroutines() {
    let total = Arc::new(Mutex::new(0));
    let permits = Arc::new(Semaphore::new(0));
    let adders: Vec<_> = (0..50)
        .map(|_| {
            let total = total.clone();
            go(move || {
                let mut total = total.lock().unwrap();
                may::coroutine::yield_now();
                *total += 1;
            })
        })
        .collect();
    adders.into_iter().for_each(|adder| adder.join().unwrap());
    assert_eq!(*total.lock().unwrap(), 50);
    let waiter = go(move || {
        let timed_out = !permits.acquire_timeout(SHORT);
        let event = Event::new();
        let which = select! {
            _ = permits.permit_op() => 1,
            () = event.wait_op() => 2,
            () = after(SHORT) => 3,
        };
        (timed_out, which, permits.acquire_timeout(SHORT))
    });
    assert_eq!(waiter.join().unwrap(), (true, 3, false));
}

#[test]
fn a_cancelled_coroutine_leaves_the_line() {
    let queue = Arc::new(Queue::unbounded());
    let there = queue.clone();
    let coroutine = go(move || there.get().is_ok());
    // SAFETY: the coroutine only waits, so unwinding it is fine.
    unsafe { coroutine.coroutine().cancel() };
    assert!(coroutine.join().is_err());
    queue.put(1).unwrap();
    assert_eq!(queue.get_timeout(GENEROUS), Ok(1));
}

#[test]
fn a_greenlet_waits_for_what_coroutines_do() {
    let events: Vec<_> = (0..20).map(|_| Arc::new(Event::new())).collect();
    for event in events.clone() {
        go(move || event.set());
    }
    assert_eq!(wait(events).len(), 20);
}

#[test]
fn a_coroutine_cannot_have_a_hub() {
    let panicked = go(|| greenlet_core::spawn(|| ()).join()).join().unwrap_err();
    let message = panicked.downcast_ref::<&str>().unwrap();
    assert!(message.contains("coroutine of `may`"), "{message}");
}
