//! Thread pools: blocking work beside the hub.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greenlet_core::pool::{Task, TaskError, ThreadPool};
use greenlet_core::{Hub, Kill, catch, raise, run, sleep, spawn, with_timeout, yield_now};
use support::{FOREVER, GENEROUS, Oops, Rng, SHORT, Tally, Watchdog, seeds, settle, until};

/// A task that blocks its thread until told to go on, and one that says so when it has begun.
fn blocked(pool: &ThreadPool) -> (Task<usize>, Sender<usize>, Receiver<()>) {
    let (go, gone) = channel();
    let (begin, begun) = channel();
    let task = pool.spawn(move || {
        let _ = begin.send(());
        gone.recv().unwrap_or(0)
    });
    (task, go, begun)
}

// --- results ------------------------------------------------------------------------------------------------------

#[test]
fn greenlets_go_on_while_a_task_blocks_its_thread() {
    run(|| {
        let pool = ThreadPool::new(1);
        let (task, go, _) = blocked(&pool);
        let steps = Rc::new(Cell::new(0));
        spawn({
            let steps = steps.clone();
            move || {
                for step in 1..=3 {
                    steps.set(step);
                    yield_now();
                }
                go.send(9).unwrap();
            }
        });
        assert_eq!(task.get().unwrap(), 9);
        assert_eq!(steps.get(), 3);
    });
}

#[test]
fn a_task_has_its_result_once() {
    run(|| {
        let pool = ThreadPool::new(1);
        let (mut task, go, _) = blocked(&pool);
        assert!(!task.ready());
        assert!(!task.wait_timeout(SHORT));
        assert!(matches!(task.get_timeout(SHORT), Err(TaskError::TimedOut)));
        go.send(4).unwrap();
        task.wait();
        assert!(task.ready());
        assert_eq!(task.get_timeout(GENEROUS).unwrap(), 4);
        assert!(matches!(task.get(), Err(TaskError::Taken)));
    });
}

#[test]
fn what_is_sent_need_not_be_shared_between_threads() {
    run(|| {
        let pool = ThreadPool::new(1);
        let cell = Cell::new(1);
        let cell = pool
            .apply(move || {
                cell.set(cell.get() + 1);
                cell
            })
            .unwrap();
        assert_eq!(cell.get(), 2);
    });
}

#[test]
fn a_panic_goes_to_the_waiter_and_the_worker_lives_on() {
    run(|| {
        let pool = ThreadPool::new(1);
        let worker = || thread::current().id();
        let before = pool.apply(worker).unwrap();
        let error = pool.apply(|| -> () { panic!("out of paper") }).unwrap_err();
        let TaskError::Failed(failure) = error else { panic!("{error}") };
        assert!(failure.is_panic());
        assert!(failure.to_string().contains("out of paper"));
        assert_eq!(pool.apply(worker).unwrap(), before);
    });
}

#[test]
fn a_raised_error_goes_to_the_waiter() {
    run(|| {
        let error = ThreadPool::new(1).apply(|| raise(Oops("no disk"))).unwrap_err();
        let TaskError::Failed(failure) = error else { panic!("{error}") };
        assert_eq!(failure.downcast_ref(), Some(&Oops("no disk")));
    });
}

#[test]
fn a_value_that_panics_when_dropped_does_not_hurt_the_worker() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    run(|| {
        let pool = ThreadPool::new(1);
        let (task, go, begun) = blocked(&pool);
        begun.recv().unwrap();
        drop(pool.spawn(|| Bomb)); // nobody asks for it
        go.send(0).unwrap();
        task.wait();
        pool.join();
        assert_eq!(pool.apply(|| 1).unwrap(), 1);
        assert_eq!(pool.threads(), 1);
    });
}

#[test]
fn apply_inside_a_task_of_the_pool_runs_inline() {
    run(|| {
        let pool = Arc::new(ThreadPool::new(1));
        let inner = pool.clone();
        let same = pool
            .apply(move || {
                let outer = thread::current().id();
                inner.apply(move || thread::current().id() == outer).unwrap()
                    && inner.map(|n: u32| n, 0..3).unwrap() == [0, 1, 2]
            })
            .unwrap();
        assert!(same);
    });
}

#[test]
fn map_keeps_the_order_and_tells_the_first_failure_by_position() {
    run(|| {
        let pool = ThreadPool::new(3);
        assert_eq!(pool.map(|n: usize| n * 2, 0..100).unwrap(), (0..200).step_by(2).collect::<Vec<_>>());
        let failed = pool.map(
            |n: usize| match n {
                3 => raise(Oops("third")),
                7 => raise(Oops("seventh")),
                _ => n,
            },
            0..10,
        );
        let Err(TaskError::Failed(failure)) = failed else { panic!("{failed:?}") };
        assert_eq!(failure.downcast_ref(), Some(&Oops("third")));
    });
}

#[test]
fn items_of_a_killed_map_that_have_not_begun_are_left_out() {
    run(|| {
        let pool = Arc::new(ThreadPool::new(1));
        let (task, go, begun) = blocked(&pool);
        begun.recv().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let mapper = spawn({
            let (pool, ran) = (pool.clone(), ran.clone());
            move || pool.map(move |_: u32| ran.fetch_add(1, Ordering::SeqCst), 0..10).map(drop)
        });
        yield_now();
        mapper.kill();
        go.send(0).unwrap();
        pool.join();
        assert!(task.ready());
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    });
}

// --- waiters ------------------------------------------------------------------------------------------------------

#[test]
fn a_killed_waiter_leaves_the_task_running_and_its_result_is_dropped() {
    run(|| {
        let pool = Rc::new(ThreadPool::new(1));
        let tally = Tally::default();
        let (go, gone) = channel::<()>();
        let waiter = spawn({
            let (pool, token) = (pool.clone(), tally.stray_token());
            move || {
                let result = pool.apply(move || {
                    gone.recv().unwrap();
                    token
                });
                result.map(drop)
            }
        });
        yield_now();
        waiter.kill();
        assert!(waiter.exited());
        assert_eq!((pool.len(), tally.dropped()), (1, 0));
        go.send(()).unwrap();
        pool.join();
        assert_eq!(tally.dropped(), 1);
    });
}

#[test]
fn a_timed_out_waiter_may_wait_again() {
    run(|| {
        let pool = ThreadPool::new(1);
        let (task, go, _) = blocked(&pool);
        assert!(with_timeout(SHORT, || task.wait()).is_err());
        go.send(6).unwrap();
        assert_eq!(task.get().unwrap(), 6);
    });
}

#[test]
fn hubs_and_plain_threads_use_one_pool() {
    let pool = Arc::new(ThreadPool::new(2));
    let hubs: Vec<_> = ["left", "right"].map(|name| Hub::thread(name).start().unwrap()).into();
    let on_hubs: Vec<_> = hubs
        .iter()
        .flat_map(|hub| (0..20).map(|n| (hub.handle().clone(), n)))
        .map(|(hub, n)| {
            let pool = pool.clone();
            hub.spawn(move || pool.apply(move || n * 2).unwrap()).unwrap()
        })
        .collect();
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let pool = pool.clone();
            thread::spawn(move || pool.apply(move || n + 1).unwrap())
        })
        .collect();
    for (at, greenlet) in on_hubs.iter().enumerate() {
        assert_eq!(greenlet.get().unwrap(), at % 20 * 2);
    }
    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), n + 1);
    }
    pool.join();
    assert!(pool.is_empty());
    hubs.into_iter().for_each(|hub| hub.shutdown());
}

#[test]
fn a_task_may_be_waited_for_on_another_thread_than_it_was_spawned_on() {
    let pool = ThreadPool::new(1);
    let (task, go, _) = blocked(&pool);
    let waiter = thread::spawn(move || run(|| task.get().unwrap()));
    go.send(11).unwrap();
    assert_eq!(waiter.join().unwrap(), 11);
}

#[test]
fn the_pool_of_the_process_is_one() {
    assert!(std::ptr::eq(ThreadPool::global(), ThreadPool::global()));
    assert_eq!(ThreadPool::global().max(), 10);
    assert_eq!(ThreadPool::global().apply(|| 1).unwrap(), 1);
}

// --- greenlets in tasks -------------------------------------------------------------------------------------------

#[test]
fn a_task_may_use_greenlets_and_those_left_are_killed() {
    run(|| {
        let pool = ThreadPool::new(1);
        let tally = Tally::default();
        let counted = tally.clone();
        let joined = pool.apply(move || {
            let token = counted.token();
            spawn(move || {
                let _token = token;
                sleep(FOREVER);
            });
            sleep(Duration::from_micros(10));
            spawn(|| 8).get().unwrap()
        });
        assert_eq!(joined.unwrap(), 8);
        tally.assert_all_home();
        assert_eq!(
            pool.apply(|| spawn(|| 9).get().unwrap()).unwrap(),
            9,
            "the hub of the worker is used again"
        );
    });
}

// --- threads ------------------------------------------------------------------------------------------------------

#[test]
fn threads_are_started_when_they_are_needed() {
    run(|| {
        let pool = ThreadPool::new(3);
        assert_eq!(pool.threads(), 0);
        for _ in 0..20 {
            pool.apply(|| ()).unwrap();
        }
        assert_eq!(pool.threads(), 1, "one after the other needs one thread");
        let blocked: Vec<_> = (0..5).map(|_| blocked(&pool)).collect();
        assert_eq!((pool.threads(), pool.len()), (3, 5));
        for (task, go, _) in blocked {
            go.send(1).unwrap();
            assert_eq!(task.get().unwrap(), 1);
        }
        assert!(pool.is_empty());
    });
}

#[test]
fn with_no_threads_allowed_tasks_wait_until_there_may_be_some() {
    run(|| {
        let pool = ThreadPool::new(0);
        let tasks: Vec<_> = (0..3).map(|n| pool.spawn(move || n)).collect();
        settle();
        assert_eq!((pool.threads(), pool.len()), (0, 3));
        assert!(!pool.join_timeout(SHORT));
        pool.set_max(2);
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.get().unwrap(), n);
        }
    });
}

#[test]
fn raising_the_limit_lets_tasks_begin_and_lowering_ends_threads() {
    run(|| {
        let pool = ThreadPool::new(1);
        let (first, go_first, begun_first) = blocked(&pool);
        let (second, go_second, begun_second) = blocked(&pool);
        begun_first.recv().unwrap();
        assert_eq!(pool.threads(), 1);
        pool.set_max(2);
        begun_second.recv().unwrap();
        assert_eq!((pool.threads(), pool.max()), (2, 2));
        pool.set_max(0);
        assert_eq!(pool.threads(), 2, "they finish what they do");
        go_first.send(1).unwrap();
        go_second.send(2).unwrap();
        assert_eq!((first.get().unwrap(), second.get().unwrap()), (1, 2));
        until(|| pool.threads() == 0);
        pool.set_max(1);
        assert_eq!(pool.apply(|| 3).unwrap(), 3);
    });
}

#[test]
fn idle_threads_end_after_the_idle_timeout() {
    run(|| {
        let pool = ThreadPool::new(2);
        assert_eq!(pool.idle_timeout(), Some(Duration::from_secs(5)));
        pool.set_idle_timeout(None);
        pool.apply(|| ()).unwrap();
        assert_eq!(pool.threads(), 1);
        pool.set_idle_timeout(Some(SHORT)); // holds for those that are idle already
        until(|| pool.threads() == 0);
        assert_eq!(pool.apply(|| 1).unwrap(), 1);
        pool.join();
    });
}

// --- the end ------------------------------------------------------------------------------------------------------

#[test]
fn joining_an_empty_pool_does_not_suspend() {
    run(|| {
        let ran = Rc::new(Cell::new(false));
        let other = spawn({
            let ran = ran.clone();
            move || ran.set(true)
        });
        let pool = ThreadPool::new(1);
        pool.join();
        assert!(pool.join_timeout(FOREVER));
        assert!(!ran.get());
        other.join();
    });
}

#[test]
fn dropped_with_tasks_in_line_they_are_cancelled_and_what_runs_is_finished() {
    run(|| {
        let pool = ThreadPool::new(1);
        let tally = Tally::default();
        let (running, go, begun) = blocked(&pool);
        begun.recv().unwrap();
        let in_line: Vec<_> = (0..3)
            .map(|_| {
                let token = tally.stray_token();
                pool.spawn(move || drop(token))
            })
            .collect();
        drop(pool);
        tally.assert_all_home();
        for task in in_line {
            assert!(matches!(task.get(), Err(TaskError::Cancelled)));
        }
        assert!(!running.ready());
        go.send(5).unwrap();
        assert_eq!(running.get().unwrap(), 5);
    });
}

#[test]
fn shutdown_waits_for_what_runs() {
    run(|| {
        let pool = ThreadPool::new(1);
        let (running, go, begun) = blocked(&pool);
        begun.recv().unwrap();
        let in_line = pool.spawn(|| ());
        let order = Rc::new(RefCell::new(Vec::new()));
        spawn({
            let order = order.clone();
            move || {
                order.borrow_mut().push("go");
                go.send(1).unwrap();
            }
        });
        pool.shutdown();
        order.borrow_mut().push("shut down");
        assert!(running.ready() && matches!(in_line.get(), Err(TaskError::Cancelled)));
        assert_eq!(*order.borrow(), ["go", "shut down"]);
    });
}

#[test]
fn arguments_results_and_closures_are_released() {
    run(|| {
        let tally = Tally::default();
        let pool = ThreadPool::new(2);
        let token = tally.stray_token();
        let held = Arc::new(());
        let captured = held.clone();
        let result = pool.apply(move || {
            let _captured = captured;
            token
        });
        assert_eq!(Arc::strong_count(&held), 1);
        drop(result);
        tally.assert_all_home();
    });
}

// --- storms -------------------------------------------------------------------------------------------------------

/// Tasks, waiters that are killed or time out, and a limit that changes: every task runs once, or is cancelled by the end
/// of the pool, and every waiter hears of it.
fn storm(seed: u64) {
    let mut rng = Rng::new(seed);
    let pool = Arc::new(ThreadPool::new(rng.below(3)));
    pool.set_idle_timeout(Some(rng.micros(200)));
    let tally = Tally::default();
    let ran = Arc::new(Mutex::new(vec![0u8; 40]));
    let mut waiters = Vec::new();
    for number in 0..40 {
        let token = tally.stray_token();
        let (in_waiter, ran, mut own) = (pool.clone(), ran.clone(), rng.fork());
        waiters.push(spawn(move || {
            let micros = own.micros(50);
            let job = move || {
                ran.lock().unwrap()[number] += 1;
                match number % 5 {
                    0 => raise(Oops("on purpose")),
                    1 => thread::sleep(micros),
                    _ => {}
                }
                token
            };
            match own.below(4) {
                0 => drop(in_waiter.spawn(job)),
                1 => drop(in_waiter.spawn(job).get_timeout(own.micros(100))),
                2 => drop(catch(|| in_waiter.apply(job))),
                _ => drop(in_waiter.apply(job)),
            }
        }));
        match rng.below(6) {
            0 => yield_now(),
            1 => pool.set_max(rng.below(4)),
            2 => {
                waiters[rng.below(waiters.len())].kill_with(Kill::default().no_wait());
            }
            3 => sleep(rng.micros(50)),
            _ => {}
        }
    }
    if rng.one_in(3) {
        // The end of the pool, with tasks in line and waiters for them.
        settle();
        for waiter in &waiters {
            waiter.kill_with(Kill::default().no_wait());
        }
        waiters.iter().for_each(|waiter| waiter.join());
        Arc::into_inner(pool).expect("the waiters are gone").shutdown();
    } else {
        pool.set_max(2);
        waiters.iter().for_each(|waiter| waiter.join());
        pool.join();
        assert!(pool.is_empty());
        drop(pool);
    }
    until(|| tally.dropped() == tally.made());
    assert!(ran.lock().unwrap().iter().all(|&times| times <= 1));
}

#[test]
fn in_storms_of_kills_and_resizing_no_task_is_lost() {
    let watchdog = Watchdog::start("thread pool storm");
    run(|| {
        for seed in seeds(300) {
            let _seed = watchdog.begin(seed);
            storm(seed);
        }
    });
}

// --- imap ---------------------------------------------------------------------------------------------------------

#[test]
fn imap_keeps_the_order_for_any_number_of_threads_and_items() {
    run(|| {
        for threads in [1, 2, 3, 10] {
            let pool = ThreadPool::new(threads);
            for items in [0, 1, 10, 1000] {
                let squares: Result<Vec<_>, _> = pool.imap(|n: u64| n * n, 0..items).collect();
                assert_eq!(squares.unwrap(), (0..items).map(|n| n * n).collect::<Vec<_>>());
                let mut squares: Vec<_> =
                    pool.imap_unordered(|n: u64| n * n, 0..items).map(Result::unwrap).collect();
                squares.sort_unstable();
                assert_eq!(squares, (0..items).map(|n| n * n).collect::<Vec<_>>());
            }
        }
    });
}

#[test]
fn imap_works_on_a_thread_without_a_hub() {
    let pool = ThreadPool::new(2);
    assert_eq!(pool.imap(|n: u32| n + 1, 0..3).map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(pool.imap_unordered(|n: u32| n, 5..6).map(Result::unwrap).collect::<Vec<_>>(), [5]);
}

#[test]
fn imap_unordered_has_the_order_of_completion() {
    run(|| {
        let pool = ThreadPool::new(2);
        let (go, gone) = channel::<()>();
        let gone = Mutex::new(Some(gone));
        let slow = move |n: u32| {
            if n == 0 {
                let gone = gone.lock().unwrap().take().unwrap();
                let _ = gone.recv();
            }
            n
        };
        let mut results = pool.imap_unordered(slow, 0..3);
        assert_eq!(results.next().unwrap().unwrap(), 1);
        assert_eq!(results.next().unwrap().unwrap(), 2);
        drop(go);
        assert_eq!(results.next().unwrap().unwrap(), 0);
        assert!(results.next().is_none() && results.next().is_none());
    });
}

#[test]
fn one_thread_completes_in_the_order_of_the_items() {
    run(|| {
        let pool = ThreadPool::new(1);
        let order: Vec<u32> = pool.imap_unordered(|n| n, [3, 1, 2]).map(Result::unwrap).collect();
        assert_eq!(order, [3, 1, 2]);
    });
}

#[test]
fn failed_items_do_not_end_an_imap() {
    run(|| {
        let pool = ThreadPool::new(2);
        let half = |n: u32| if n == 1 { raise(Oops("odd")) } else { n };
        let mut results = pool.imap(half, [0, 1, 2]);
        assert_eq!(results.next().unwrap().unwrap(), 0);
        assert!(
            matches!(results.next(), Some(Err(TaskError::Failed(failure))) if failure.to_string() == "odd")
        );
        assert_eq!(results.next().unwrap().unwrap(), 2);
        assert!(results.next().is_none());
        let failed = pool.imap_unordered(half, [0, 1, 2]).filter(Result::is_err).count();
        assert_eq!(failed, 1);
    });
}

#[test]
fn a_failure_of_the_input_comes_out_of_next() {
    run(|| {
        let pool = ThreadPool::new(1);
        let input = || (0..4u32).map(|n| if n == 3 { raise(Oops("input")) } else { n });
        let mut results = pool.imap(|n| n, input()).max_size(1);
        let read = catch(|| results.by_ref().map(Result::unwrap).collect::<Vec<_>>());
        assert_eq!(read.unwrap_err().downcast_ref(), Some(&Oops("input")));
        let failed = catch(|| pool.map(|n| n, input()));
        assert_eq!(failed.unwrap_err().downcast_ref(), Some(&Oops("input")));
        pool.join();
    });
}

#[test]
fn an_imap_draws_no_further_ahead_than_it_may_and_nothing_before_it_is_read() {
    run(|| {
        let pool = ThreadPool::new(2);
        let drawn = Cell::new(0);
        let input = std::iter::repeat_with(|| drawn.set(drawn.get() + 1));
        let mut results = pool.imap(|()| (), input).max_size(3);
        assert_eq!(drawn.get(), 0);
        for read in 0..10 {
            results.next().unwrap().unwrap();
            assert_eq!(drawn.get(), read + 3);
        }
    });
}

#[test]
#[should_panic(expected = "at least 1 item")]
fn an_imap_that_may_draw_nothing_panics() {
    drop(ThreadPool::new(1).imap(|n: u32| n, 0..1).max_size(0));
}

#[test]
fn a_dropped_imap_leaves_out_what_has_not_begun() {
    run(|| {
        let pool = ThreadPool::new(1);
        let (go, gone) = channel::<()>();
        let gone = Mutex::new(gone);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        let mut results = pool
            .imap(
                move |n: u32| {
                    count.fetch_add(1, Ordering::SeqCst);
                    if n > 0 {
                        let _ = gone.lock().unwrap().recv();
                    }
                },
                0..100,
            )
            .max_size(10);
        results.next().unwrap().unwrap();
        drop(results);
        drop(go);
        pool.join();
        assert!(ran.load(Ordering::SeqCst) <= 2, "one read, one that may have been at work");
    });
}

#[test]
fn a_wait_for_the_next_result_that_times_out_or_is_killed_loses_none() {
    run(|| {
        let pool = ThreadPool::new(1);
        for unordered in [false, true] {
            let (go, gone) = channel::<()>();
            let gone = Mutex::new(gone);
            let waits = move |n: u32| {
                let _ = gone.lock().unwrap().recv();
                n
            };
            let check = |results: &mut dyn Iterator<Item = Result<u32, TaskError>>| {
                assert!(with_timeout(SHORT, || results.next()).is_err());
                let me = greenlet_core::current();
                spawn(move || me.kill_with(Kill::error(Oops("killed")).no_wait()));
                assert!(catch(|| results.next()).is_err());
                drop(go);
                assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
            };
            if unordered {
                check(&mut pool.imap_unordered(waits, 0..3));
            } else {
                check(&mut pool.imap(waits, 0..3));
            }
        }
    });
}

#[test]
fn imap_inside_a_task_of_the_pool_runs_inline() {
    run(|| {
        let pool = Arc::new(ThreadPool::new(1));
        let inner = pool.clone();
        let values = pool.apply(move || {
            let here = thread::current().id();
            let same = move |n: u32| (n, thread::current().id() == here);
            inner.imap_unordered(same, 0..3).map(Result::unwrap).collect::<Vec<_>>()
        });
        assert_eq!(values.unwrap(), [(0, true), (1, true), (2, true)]);
    });
}

// --- apply_async and map_async ------------------------------------------------------------------------------------

#[test]
fn apply_async_is_a_greenlet_that_ends_as_the_task() {
    run(|| {
        let pool = ThreadPool::new(1);
        let sum = pool.apply_async(|| 1 + 1);
        let seen = Rc::new(Cell::new(0));
        let callback = seen.clone();
        sum.link_value(move |sum| callback.set(*sum.value().unwrap()));
        assert_eq!(sum.get().unwrap(), 2);
        settle();
        assert_eq!(seen.get(), 2, "the callback has the result");

        let failed = pool.apply_async(|| -> u32 { raise(Oops("no paper")) });
        failed.link_value(|_| panic!("only a success is told"));
        failed.join();
        assert_eq!(failed.exception().unwrap().downcast_ref(), Some(&Oops("no paper")));
        assert!(pool.apply_async(|| -> u32 { panic!("broken") }).get().is_err());
        let exited = pool.apply_async(|| -> u32 { raise(greenlet_core::GreenletExit) });
        exited.join();
        assert!(exited.exited());
        settle();
    });
}

#[test]
fn apply_async_may_be_waited_for_with_a_timeout() {
    run(|| {
        let pool = ThreadPool::new(0);
        let later = pool.apply_async(|| 7);
        assert!(later.get_timeout(SHORT).is_err());
        pool.set_max(1);
        assert_eq!(later.get().unwrap(), 7);
        let cancelled = ThreadPool::new(0).apply_async(|| 7);
        cancelled.join();
        assert!(matches!(
            cancelled.exception().unwrap().downcast_ref::<TaskError>(),
            Some(TaskError::Cancelled)
        ));
    });
}

#[test]
fn a_killed_apply_async_leaves_the_task_running() {
    run(|| {
        let pool = ThreadPool::new(1);
        let (begin, begun) = channel();
        let (go, gone) = channel::<()>();
        let asked = pool.apply_async(move || {
            begin.send(()).unwrap();
            let _ = gone.recv();
        });
        begun.recv().unwrap();
        asked.kill();
        assert_eq!(pool.len(), 1);
        drop(go);
        pool.join();
    });
}

#[test]
fn map_async_collects_in_a_greenlet_and_a_kill_leaves_out_the_rest() {
    run(|| {
        let pool = ThreadPool::new(2);
        assert_eq!(pool.map_async(|n: u32| n * 2, 0..4).get().unwrap(), [0, 2, 4, 6]);
        let failed = pool.map_async(|n: u32| if n == 1 { raise(Oops("one")) } else { n }, 0..3);
        failed.join();
        assert_eq!(failed.exception().unwrap().downcast_ref(), Some(&Oops("one")));

        let waits = ThreadPool::new(0);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = ran.clone();
        let killed = waits.map_async(move |_| count.fetch_add(1, Ordering::SeqCst), 0..100);
        yield_now();
        killed.kill();
        waits.set_max(1);
        waits.join();
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    });
}

// --- a limited line -----------------------------------------------------------------------------------------------

#[test]
fn with_a_limited_line_spawn_waits_for_a_place() {
    run(|| {
        let pool = Rc::new(ThreadPool::new(1).max_waiting(1));
        let (first, go, begun) = blocked(&pool);
        begun.recv().unwrap(); // at work: the line is empty
        let waiting = pool.spawn(|| 2);
        assert!(pool.try_spawn(|| 3).is_err());
        let spawner = support::with(&pool, |pool| pool.spawn(|| 3).get().unwrap());
        settle();
        assert_eq!(pool.len(), 2, "the third has no place yet");
        go.send(1).unwrap();
        assert_eq!((first.get().unwrap(), waiting.get().unwrap(), spawner.get().unwrap()), (1, 2, 3));
    });
}

#[test]
fn killed_while_it_waits_for_a_place_it_takes_none() {
    run(|| {
        let pool = Rc::new(ThreadPool::new(0).max_waiting(1));
        let first = pool.spawn(|| 1);
        let tally = Tally::default();
        let token = tally.stray_token();
        let spawner = support::with(&pool, move |pool| {
            pool.spawn(move || drop(token)).get().unwrap();
        });
        settle();
        spawner.kill();
        assert!(with_timeout(SHORT, || pool.spawn(|| 2)).is_err());
        tally.assert_all_home();
        pool.set_max(1);
        assert_eq!(first.get().unwrap(), 1);
        pool.join();
        assert_eq!(pool.try_spawn(|| 4).unwrap().get().unwrap(), 4);
    });
}

#[test]
fn cancelled_tasks_give_their_places_back() {
    run(|| {
        let pool = ThreadPool::new(0).max_waiting(2);
        let tasks = [pool.spawn(|| ()), pool.spawn(|| ())];
        drop(pool);
        for task in tasks {
            assert!(matches!(task.get(), Err(TaskError::Cancelled)));
        }
    });
}

#[test]
fn a_task_spawns_into_its_own_pool_without_waiting() {
    run(|| {
        let pool = Arc::new(ThreadPool::new(1).max_waiting(1));
        let inner = pool.clone();
        let tasks = pool.apply(move || (0..5).map(|n| inner.spawn(move || n)).collect::<Vec<_>>()).unwrap();
        let values: Vec<_> = tasks.into_iter().map(|task| task.get().unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn an_imap_reads_what_is_there_rather_than_wait_for_a_place() {
    run(|| {
        let pool = ThreadPool::new(1).max_waiting(1);
        let drawn = Cell::new(0);
        let input = (0..20u32).inspect(|_| drawn.set(drawn.get() + 1));
        let values: Vec<_> = pool.imap(|n| n, input).max_size(100).map(Result::unwrap).collect();
        assert_eq!(values, (0..20).collect::<Vec<_>>());
        assert_eq!(pool.map(|n: u32| n, 0..20).unwrap().len(), 20);
        // A wait for a place that is ended takes no item with it.
        let full = ThreadPool::new(0).max_waiting(1);
        let first = full.spawn(|| ());
        drawn.set(0);
        let mut results = full.imap(|n: u32| n, (0..3).inspect(|_| drawn.set(drawn.get() + 1)));
        assert!(with_timeout(SHORT, || results.next()).is_err());
        assert_eq!(drawn.get(), 0);
        full.set_max(1);
        first.get().unwrap();
        assert_eq!(results.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
    });
}

#[test]
#[should_panic(expected = "at least 1 task")]
fn a_line_without_a_place_panics() {
    drop(ThreadPool::new(1).max_waiting(0));
}

#[test]
fn workers_have_names_of_their_pool() {
    run(|| {
        let pool = ThreadPool::new(1);
        let name = pool.apply(|| thread::current().name().map(str::to_owned)).unwrap().unwrap();
        assert!(name.starts_with("greenlet-pool-") && name.ends_with("-1"), "{name}");
    });
}
