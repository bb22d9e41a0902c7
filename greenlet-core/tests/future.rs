//! Futures in greenlets, and greenlets' things in async tasks.

mod support;

use std::future::{Future, pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use greenlet_core::future::{block_on, block_on_timeout};
use greenlet_core::sync::Semaphore;
use greenlet_core::{
    AsyncResult, Channel, Event, Hub, Queue, ShutDown, run, sleep, spawn, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, SHORT, Watchdog, no_wait, seeds, settle, with};

// --- futures in greenlets ----------------------------------------------------------------------------------------

#[test]
fn other_greenlets_run_while_a_future_waits() {
    let event = Rc::new(Event::new());
    let waiter = with(&event, |event| block_on(event));
    settle();
    assert!(!waiter.ready());
    event.set();
    assert!(waiter.get().is_ok());
}

#[test]
fn a_future_that_is_ready_does_not_suspend() {
    let ran = Rc::new(Event::new());
    with(&ran, |ran| ran.set());
    assert_eq!(block_on(ready(3)), 3);
    assert!(!ran.is_set());
}

#[test]
fn a_wake_up_during_the_poll_is_not_lost() {
    let mut polls = 0;
    let counted = poll_fn(|context| {
        polls += 1;
        context.waker().wake_by_ref();
        if polls == 5 { Poll::Ready(()) } else { Poll::Pending }
    });
    block_on(counted);
    assert_eq!(polls, 5);
}

#[test]
fn a_waker_may_be_used_on_any_thread_and_after_the_end() {
    let waker = Rc::new(std::cell::RefCell::new(None));
    let mut woken = false;
    block_on(poll_fn(|context| {
        waker.replace(Some(context.waker().clone()));
        if woken {
            return Poll::Ready(());
        }
        woken = true;
        let waker = context.waker().clone();
        thread::spawn(move || waker.wake());
        Poll::Pending
    }));
    waker.take().unwrap().wake();
}

#[test]
fn a_kill_drops_the_future() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let victim = spawn({
        let dropped = dropped.clone();
        move || {
            block_on(async {
                let _guard = OnDrop(|| {
                    dropped.fetch_add(1, Ordering::SeqCst);
                });
                pending::<()>().await;
            });
        }
    });
    settle();
    victim.kill();
    assert!(victim.exited());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[test]
fn timeouts_end_it() {
    assert!(with_timeout(SHORT, || block_on(pending::<()>())).is_err());
    assert!(block_on_timeout(pending::<()>(), SHORT).is_err());
    assert!(block_on_timeout(pending::<()>(), Duration::ZERO).is_err());
    assert_eq!(block_on_timeout(ready(1), Duration::ZERO).unwrap(), 1);
    assert_eq!(block_on_timeout(async { 2 }, FOREVER).unwrap(), 2);
}

#[test]
fn on_a_thread_without_a_hub_it_parks_the_thread() {
    let event = Arc::new(Event::new());
    let there = event.clone();
    let thread = thread::spawn(move || block_on(&*there));
    event.set();
    thread.join().unwrap();
}

#[test]
fn it_works_inside_itself_and_many_at_once() {
    let jobs: Vec<_> = (0..100)
        .map(|n| {
            spawn(move || {
                block_on(async move {
                    block_on(async { yield_now() });
                    sleep(Duration::ZERO);
                    n
                })
            })
        })
        .collect();
    for (n, job) in jobs.iter().enumerate() {
        assert_eq!(job.get().unwrap(), n);
    }
}

#[test]
fn a_tokio_runtime_serves_futures_that_need_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let naps: Vec<_> = (0..10)
        .map(|n| {
            spawn(move || {
                block_on(async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    n
                })
            })
        })
        .collect();
    let sum: u32 = naps.iter().map(|nap| nap.get().unwrap()).sum();
    assert_eq!(sum, 45);
}

// --- in async tasks ----------------------------------------------------------------------------------------------

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn tokio_tasks_await_greenlets_events_results_and_queues() {
    let runtime = tokio();
    let hub = Hub::thread("greenlets").start().unwrap();
    let shared = Arc::new((Event::new(), AsyncResult::new(), Queue::bounded(1), Channel::new()));
    let there = shared.clone();
    let greenlet = hub
        .handle()
        .spawn(move || {
            let (event, result, queue, channel) = &*there;
            event.set();
            result.set("result");
            for n in 0..100 {
                queue.put(n).unwrap();
            }
            queue.shutdown();
            channel.get().unwrap()
        })
        .unwrap();
    let sum = runtime.block_on(async {
        let (event, result, queue, channel) = &*shared;
        event.await;
        assert_eq!(result.await.unwrap(), "result");
        let mut sum = 0;
        while let Ok(n) = queue.get_op().await {
            sum += n;
        }
        channel.put_op(7).await.unwrap();
        assert_eq!(greenlet.await.unwrap(), 7);
        sum
    });
    assert_eq!(sum, 4950);
    hub.shutdown();
}

#[test]
fn the_futures_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let runtime = tokio();
    let shared = Arc::new((Queue::<u32>::unbounded(), Semaphore::new(1), Event::new()));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let shared = shared.clone();
            runtime.spawn(is_send(async move {
                let (queue, permits, event) = &*shared;
                event.await;
                let _permit = permits.permit_op().await;
                tokio::task::yield_now().await;
                queue.get_op().await.unwrap()
            }))
        })
        .collect();
    shared.2.set();
    for n in 0..20 {
        shared.0.put(n).unwrap();
    }
    let sum: u32 = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).sum();
    assert_eq!(sum, 190);
    assert_eq!(shared.1.available(), 1);
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Count>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    (count.clone(), Waker::from(count))
}

#[test]
fn only_the_last_waker_is_woken() {
    let event = Event::new();
    let mut future = pin!(std::future::IntoFuture::into_future(&event));
    let ((first, first_waker), (second, second_waker)) = (counting(), counting());
    assert!(future.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending());
    assert!(future.as_mut().poll(&mut Context::from_waker(&second_waker)).is_pending());
    event.set();
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (0, 1));
    assert!(future.as_mut().poll(&mut Context::from_waker(&second_waker)).is_ready());
}

#[test]
fn a_future_dropped_with_an_item_gives_it_to_the_next() {
    let queue = Rc::new(Queue::unbounded());
    let (_, waker) = counting();
    {
        let mut future = pin!(std::future::IntoFuture::into_future(queue.get_op()));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        queue.put(1).unwrap();
        queue.put(2).unwrap();
    }
    assert_eq!((queue.try_get(), queue.try_get()), (Ok(1), Ok(2)), "in order");

    let mut future = Box::pin(std::future::IntoFuture::into_future(queue.get_op()));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let getter = with(&queue, |queue| queue.get());
    settle();
    queue.put(3).unwrap();
    drop(future);
    assert_eq!(getter.get().unwrap(), Ok(3));
}

#[test]
fn a_future_dropped_with_a_permit_releases_it() {
    let permits = Semaphore::new(0);
    let (_, waker) = counting();
    let mut future = Box::pin(std::future::IntoFuture::into_future(permits.permit_op()));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    permits.release();
    assert_eq!(permits.available(), 0);
    drop(future);
    assert_eq!(permits.available(), 1);
}

#[test]
fn a_future_dropped_before_its_item_was_put_takes_the_item_with_it() {
    let queue = Queue::bounded(1);
    queue.put(1).unwrap();
    let (_, waker) = counting();
    let mut future = Box::pin(std::future::IntoFuture::into_future(queue.put_op(2)));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(future);
    queue.get().unwrap();
    assert!(queue.is_empty());
}

#[test]
fn shutdown_reaches_tasks() {
    let queue = Arc::new(Queue::<u32>::unbounded());
    let runtime = tokio();
    let task = runtime.spawn({
        let queue = queue.clone();
        async move { queue.get_op().await }
    });
    queue.shutdown();
    assert_eq!(runtime.block_on(task).unwrap(), Err(ShutDown(())));
}

#[test]
fn a_waker_that_panics_harms_nobody() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Panics>) {
            panic!("a waker panics");
        }
    }
    let event = Rc::new(Event::new());
    let waker = Waker::from(Arc::new(Panics));
    let mut future = pin!(std::future::IntoFuture::into_future(&*event));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let waiter = with(&event, |event| event.wait());
    settle();
    event.set();
    assert!(waiter.get().is_ok());
}

#[test]
fn tasks_that_are_aborted_at_random_lose_no_items() {
    let watchdog = Watchdog::start("aborted tasks");
    let runtime = tokio();
    for seed in seeds(30) {
        let _seed = watchdog.begin(seed);
        let mut rng = support::Rng::new(seed);
        let queue = Arc::new(Queue::bounded(2));
        let got = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (queue, got) = (queue.clone(), got.clone());
                runtime.spawn(async move {
                    while queue.get_op().await.is_ok() {
                        got.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        let put = run(|| {
            let putters: Vec<_> = (0..4)
                .map(|_| {
                    let queue = queue.clone();
                    spawn(move || (0..50).filter(|_| queue.put_timeout(1, GENEROUS).is_ok()).count())
                })
                .collect();
            for task in &tasks[..19] {
                yield_now();
                if rng.one_in(2) {
                    task.abort();
                }
            }
            putters.iter().map(|putter| putter.get().unwrap()).sum::<usize>()
        });
        queue.shutdown();
        for task in tasks {
            let _ = runtime.block_on(task);
        }
        assert_eq!(put, 200);
        assert_eq!(got.load(Ordering::SeqCst), put);
    }
}

#[test]
fn a_greenlet_that_is_killed_inside_a_select_of_tasks_loses_nothing() {
    let queue = Rc::new(Queue::unbounded());
    let waiter = with(&queue, |queue| {
        block_on(async {
            let mut get = pin!(std::future::IntoFuture::into_future(queue.get_op()));
            poll_fn(|context| get.as_mut().poll(context)).await
        })
    });
    settle();
    queue.put(1).unwrap();
    waiter.kill_with(no_wait());
    waiter.join();
    // Either it got the item before the kill reached it, or the item is there.
    assert!(waiter.value().is_some() ^ (queue.try_get() == Ok(1)));
}

#[test]
fn a_future_that_always_wakes_itself_lets_the_others_run() {
    async fn restless() {
        loop {
            let mut yielded = false;
            poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }
    assert!(block_on_timeout(restless(), SHORT).is_err());
    let event = Rc::new(Event::new());
    with(&event, |event| event.set());
    let victim = spawn(|| block_on(restless()));
    event.wait();
    victim.kill();
    assert!(victim.exited());
}

#[test]
fn a_waker_that_suspends_takes_no_kill_away() {
    struct Sleeps;
    impl Wake for Sleeps {
        fn wake(self: Arc<Sleeps>) {
            sleep(FOREVER);
        }
    }
    let event = Rc::new(Event::new());
    let waker = Waker::from(Arc::new(Sleeps));
    let mut future = pin!(std::future::IntoFuture::into_future(&*event));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let setter = with(&event, |event| {
        event.set();
        yield_now();
        "survived"
    });
    settle();
    setter.kill();
    assert!(setter.exited());
}

#[test]
#[should_panic(expected = "polled after it was done")]
fn a_put_that_is_polled_after_its_end_panics_rather_than_wait_with_nothing() {
    let queue = Queue::bounded(1);
    let (_, waker) = counting();
    let mut future = pin!(std::future::IntoFuture::into_future(queue.put_op(1)));
    for _ in 0..2 {
        let _ = future.as_mut().poll(&mut Context::from_waker(&waker));
    }
}
