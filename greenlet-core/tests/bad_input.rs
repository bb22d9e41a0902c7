//! Absurd input: each has a stated result. What a type forbids (negative durations, signals as sockets) has no test.
//!
//! Here are the durations and sizes of everything that takes one, and misuse of greenlets and hubs. Each theme's own file has
//! the rest: `stack_size` for stacks, `signal` for signals, `overflow` for too deep a recursion.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::pool::{Group, Pool, ThreadPool};
use greenlet_core::signal::{self, SIGWINCH};
use greenlet_core::sync::{Barrier, BoundedSemaphore, Condvar, Mutex, OnceLock, RLock, RwLock, Semaphore};
use greenlet_core::{
    AsyncResult, Builder, Channel, Config, Event, Greenlet, GreenletError, Hub, HubGone, Kill, LifoQueue,
    PriorityQueue, Queue, StackError, StackSize, Timeout, attempt, current, joinall_timeout, run, sleep,
    spawn, spawn_later, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, SHORT, is_child, run_child, settle, stderr};

/// A wait that takes a duration; true if it got what it waited for.
type Wait = (&'static str, Box<dyn Fn(Duration) -> bool>);

/// All waits that take a duration, on something that never comes.
fn waits() -> Vec<Wait> {
    fn wait(name: &'static str, wait: impl Fn(Duration) -> bool + 'static) -> Wait {
        (name, Box::new(wait))
    }
    let idle = Rc::new(spawn(|| sleep(FOREVER)));
    let (joined, asked, all) = (idle.clone(), idle.clone(), idle.clone());
    let immortal = spawn(|| {
        loop {
            let _ = greenlet_core::catch(|| sleep(FOREVER));
            if LAST.get() {
                return;
            }
        }
    });
    yield_now();
    let (event, result) = (Event::new(), AsyncResult::<u32>::new());
    let result = Rc::new(result);
    let queue = Queue::<u32>::unbounded();
    let full = Queue::bounded(1);
    full.put(1).unwrap();
    let unfinished = Queue::unbounded();
    unfinished.put(1).unwrap();
    let (lifo, priority, channel) =
        (LifoQueue::<u32>::unbounded(), PriorityQueue::<u32>::unbounded(), Rc::new(Channel::<u32>::new()));
    let putting = channel.clone();
    let (semaphore, bounded) = (Semaphore::new(0), BoundedSemaphore::new(1));
    bounded.acquire();
    let (permits, watched) = (Semaphore::new(0), Semaphore::new(0));
    let held = Held::default();
    let held = Rc::new(held);
    let holder = support::with(&held, |held| {
        let _mutex = held.mutex.lock().unwrap();
        let _write = held.rwlock.write().unwrap();
        held.rlock.acquire();
        sleep(FOREVER);
    });
    drop(holder);
    yield_now();
    let (mutex, reads, writes, rlock) = (held.clone(), held.clone(), held.clone(), held);
    let (condvar, guarded) = (Condvar::new(), Mutex::new(()));
    let (barrier, once) = (Barrier::new(2), OnceLock::<u32>::new());
    let group = Group::new();
    group.spawn(|| sleep(FOREVER));
    let failing = group.clone();
    let pool = Pool::new(1);
    pool.spawn(|| sleep(FOREVER));
    let (adding, starting, watching) = (pool.clone(), pool.clone(), pool.clone());
    let threads = ThreadPool::new(0);
    let task = RefCell::new(threads.spawn(|| ()));
    let waiting = threads.spawn(|| ());
    vec![
        wait("Greenlet::join_timeout", move |timeout| joined.join_timeout(timeout)),
        wait("Greenlet::get_timeout", move |timeout| asked.get_timeout(timeout).is_ok()),
        wait("joinall_timeout", move |timeout| joinall_timeout([&*all], timeout)),
        wait("Kill::timeout", move |timeout| immortal.kill_with(Kill::default().timeout(timeout))),
        wait("with_timeout", |timeout| with_timeout(timeout, || sleep(FOREVER)).is_ok()),
        wait("Timeout::run", |timeout| Timeout::new(timeout).run(|| sleep(FOREVER)).is_ok()),
        wait("Event::wait_timeout", move |timeout| event.wait_timeout(timeout)),
        wait("AsyncResult::wait_timeout", {
            let result = result.clone();
            move |timeout| result.wait_timeout(timeout)
        }),
        wait("AsyncResult::get_timeout", move |timeout| result.get_timeout(timeout).is_ok()),
        wait("Queue::get_timeout", move |timeout| queue.get_timeout(timeout).is_ok()),
        wait("Queue::put_timeout", move |timeout| full.put_timeout(2, timeout).is_ok()),
        wait("Queue::join_timeout", move |timeout| unfinished.join_timeout(timeout)),
        wait("LifoQueue::get_timeout", move |timeout| lifo.get_timeout(timeout).is_ok()),
        wait("PriorityQueue::get_timeout", move |timeout| priority.get_timeout(timeout).is_ok()),
        wait("Channel::get_timeout", move |timeout| channel.get_timeout(timeout).is_ok()),
        wait("Channel::put_timeout", move |timeout| putting.put_timeout(1, timeout).is_ok()),
        wait("Semaphore::acquire_timeout", move |timeout| semaphore.acquire_timeout(timeout)),
        wait("Semaphore::permit_timeout", move |timeout| permits.permit_timeout(timeout).is_some()),
        wait("Semaphore::wait_timeout", move |timeout| watched.wait_timeout(timeout)),
        wait("BoundedSemaphore::acquire_timeout", move |timeout| bounded.acquire_timeout(timeout)),
        wait("Mutex::lock_timeout", move |timeout| mutex.mutex.lock_timeout(timeout).is_ok()),
        wait("RwLock::read_timeout", move |timeout| reads.rwlock.read_timeout(timeout).is_ok()),
        wait("RwLock::write_timeout", move |timeout| writes.rwlock.write_timeout(timeout).is_ok()),
        wait("RLock::acquire_timeout", move |timeout| rlock.rlock.acquire_timeout(timeout)),
        wait("Condvar::wait_timeout", move |timeout| {
            let guard = guarded.lock().unwrap();
            !condvar.wait_timeout(guard, timeout).unwrap().1.timed_out()
        }),
        wait("Barrier::wait_timeout", move |timeout| barrier.wait_timeout(timeout).is_some()),
        wait("OnceLock::wait_timeout", move |timeout| once.wait_timeout(timeout).is_some()),
        wait("Group::join_timeout", move |timeout| group.join_timeout(timeout)),
        wait("Group::join_raise_error_timeout", move |timeout| {
            failing.join_raise_error_timeout(timeout).unwrap()
        }),
        wait("Pool::spawn_timeout", move |timeout| pool.spawn_timeout(|| (), timeout).is_ok()),
        wait("Pool::add_timeout", move |timeout| adding.add_timeout(&current(), timeout).is_ok()),
        wait("Pool::start_timeout", move |timeout| {
            starting.start_timeout(&Greenlet::new(|| ()), timeout).is_ok()
        }),
        wait("Pool::wait_available_timeout", move |timeout| watching.wait_available_timeout(timeout)),
        wait("ThreadPool::join_timeout", move |timeout| threads.join_timeout(timeout)),
        wait("Task::wait_timeout", move |timeout| waiting.wait_timeout(timeout)),
        wait("Task::get_timeout", move |timeout| task.borrow_mut().get_timeout(timeout).is_ok()),
        wait("signal::wait_timeout", |timeout| signal::wait_timeout([SIGWINCH], timeout).unwrap().is_some()),
    ]
}

#[derive(Default)]
struct Held {
    mutex: Mutex<()>,
    rwlock: RwLock<()>,
    rlock: RLock,
}

thread_local! {
    /// The immortal greenlet may end.
    static LAST: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn no_time_at_all_is_over_after_one_trip_through_the_loop() {
    run(|| {
        let _last = OnDrop(|| LAST.set(true));
        for (name, wait) in &waits() {
            let ran = spawn(|| ());
            assert!(!wait(Duration::ZERO), "{name}");
            assert!(ran.ready(), "{name}: the others had their turn");
        }
    });
}

#[test]
fn the_longest_duration_is_for_ever() {
    run(|| {
        let _last = OnDrop(|| LAST.set(true));
        for (name, wait) in &waits() {
            // Just below the longest, the sum with any clock overflows as well.
            for timeout in
                [Duration::MAX, Duration::MAX - Duration::from_nanos(1), Duration::from_secs(u64::MAX)]
            {
                assert!(with_timeout(SHORT, || wait(timeout)).is_err(), "{name} has ended");
            }
        }
    });
}

#[test]
fn a_start_or_sleep_of_absurd_length_never_comes() {
    run(|| {
        let never = [spawn_later(Duration::MAX, || ()), Greenlet::new(|| ())];
        never[1].start_later(Duration::MAX);
        let at_once = [spawn_later(Duration::ZERO, || ()), Greenlet::new(|| ())];
        at_once[1].start_later(Duration::ZERO);
        sleep(Duration::ZERO);
        assert!(with_timeout(SHORT, || sleep(Duration::MAX)).is_err());
        at_once.iter().for_each(|greenlet| greenlet.join());
        assert!(never.iter().all(|greenlet| !greenlet.ready()));
        never.iter().for_each(|greenlet| greenlet.kill());
    });
}

#[test]
fn idle_timeouts_of_threads_may_be_absurd() {
    run(|| {
        let pool = ThreadPool::new(1);
        for timeout in [Some(Duration::ZERO), Some(Duration::MAX), None] {
            pool.set_idle_timeout(timeout);
            assert_eq!(pool.apply(|| 1).unwrap(), 1);
        }
    });
}

// --- sizes --------------------------------------------------------------------------------------------------------

/// Fails if it does not panic with that in its message.
#[track_caller]
fn panics_with<R>(message: &str, f: impl FnOnce() -> R) {
    match attempt(f) {
        Err(GreenletError::Failed(failure)) => assert!(failure.to_string().contains(message), "{failure}"),
        _ => panic!("it did not panic with `{message}`"),
    }
}

#[test]
fn a_size_of_zero_means_what_is_written_or_panics() {
    run(|| {
        // Nothing would ever get in: refused.
        panics_with("at least 1", || Queue::<u32>::bounded(0));
        panics_with("at least 1", || LifoQueue::<u32>::bounded(0));
        panics_with("at least 1", || PriorityQueue::<u32>::bounded(0));
        panics_with("at least 1 item", || Pool::new(1).imap(|n: u32| n, 0..1).max_size(0));
        panics_with("at least 1 item", || drop(ThreadPool::new(1).imap(|n: u32| n, 0..1).max_size(0)));
        panics_with("at least 1 task", || ThreadPool::new(1).max_waiting(0));
        assert!(StackSize::new(0).is_err());
        // No permits, no slots, no threads yet: waited for.
        assert!(!Semaphore::new(0).try_acquire());
        assert!(Pool::new(0).full() && Pool::new(0).try_spawn(|| ()).is_err());
        assert!(!ThreadPool::new(0).spawn(|| ()).ready());
        // One that waits for nobody.
        assert!(Barrier::new(0).wait().is_leader() && Barrier::new(1).wait().is_leader());
        // Empty input.
        assert!(joinall_timeout(Vec::<Greenlet<()>>::new(), Duration::MAX));
        assert!(Pool::new(1).map(|n: u32| n, []).unwrap().is_empty());
        assert!(ThreadPool::new(0).map(|n: u32| n, []).unwrap().is_empty());
    });
}

// --- greenlets ----------------------------------------------------------------------------------------------------

#[test]
fn who_waits_for_himself_is_told_or_times_out() {
    run(|| {
        panics_with("join itself", || current().join());
        assert!(!current().join_timeout(SHORT));
        let group = Group::new();
        let member = {
            let own = group.clone();
            group.spawn(move || own.join_timeout(SHORT))
        };
        assert!(!member.get().unwrap());
        let itself: Rc<RefCell<Option<Greenlet<()>>>> = Rc::default();
        let own = itself.clone();
        *itself.borrow_mut() = Some(spawn(move || own.borrow().as_ref().unwrap().join()));
        let itself = itself.borrow().clone().unwrap();
        itself.join();
        assert!(itself.exception().unwrap().to_string().contains("join itself"));
    });
}

#[test]
fn who_is_started_twice_runs_once() {
    run(|| {
        let runs = Rc::new(Cell::new(0));
        let count = runs.clone();
        let greenlet = Greenlet::new(move || count.set(count.get() + 1));
        for _ in 0..3 {
            greenlet.start();
            greenlet.start_later(Duration::ZERO);
        }
        greenlet.join();
        greenlet.start();
        settle();
        assert_eq!(runs.get(), 1);
        let killed = Greenlet::new(|| unreachable!("it was killed before"));
        killed.kill();
        killed.start();
        settle();
        assert!(killed.exited());
    });
}

#[test]
fn what_is_done_to_the_ended_does_nothing() {
    run(|| {
        let ended = spawn(|| 5);
        ended.join();
        ended.kill();
        assert!(ended.kill_with(Kill::error(support::Oops("late"))));
        assert!(ended.join_timeout(Duration::ZERO));
        ended.interrupt(support::Oops("late")).revoke();
        settle();
        assert_eq!(ended.get().unwrap(), 5);
    });
}

#[test]
fn a_kill_of_oneself_is_raised_right_there() {
    run(|| {
        let suicide = spawn(|| {
            current().kill();
            unreachable!("it was raised");
        });
        suicide.join();
        assert!(suicide.exited());
    });
}

// --- hubs ---------------------------------------------------------------------------------------------------------

#[test]
fn a_dead_hub_refuses_and_its_greenlets_have_ended() {
    run(|| {
        let (handle, unstarted, waiting, event) = thread::spawn(|| {
            run(|| {
                let event = Arc::new(Event::new());
                let waits = event.clone();
                let waiting = spawn(move || waits.wait());
                yield_now();
                (Hub::current(), Greenlet::new(|| ()), waiting, event)
            })
        })
        .join()
        .unwrap();
        assert_eq!(handle.spawn(|| ()).unwrap_err(), HubGone);
        assert!(!handle.is_current());
        assert!(waiting.exited(), "killed at the end of its hub");
        event.set();
        unstarted.start();
        assert!(unstarted.join_timeout(GENEROUS) && unstarted.exited());
        unstarted.kill();
        assert!(matches!(unstarted.get_timeout(Duration::ZERO), Err(GreenletError::Exit(_))));
        let late = Group::new();
        late.add(&unstarted);
        late.join();
        settle();
        assert!(late.is_empty());
    });
}

#[test]
fn a_hub_is_made_once() {
    run(|| {
        let twice = Hub::configure(Config::default()).unwrap_err();
        assert_eq!(twice.kind(), std::io::ErrorKind::AlreadyExists);
        let inside = spawn(|| run(|| ()));
        inside.join();
        assert!(inside.exception().unwrap().to_string().contains("thread's own stack"));
    });
}

#[test]
fn the_thread_of_a_hub_cannot_wait_for_its_own_end() {
    let hub = Arc::new(std::sync::Mutex::new(Some(Hub::thread("own").start().unwrap())));
    let handle = hub.lock().unwrap().as_ref().unwrap().handle().clone();
    let own = hub.clone();
    let failed = handle.spawn(move || own.lock().unwrap().take().unwrap().join()).unwrap();
    failed.join();
    assert!(failed.exception().unwrap().to_string().contains("its own end"));
}

// --- stacks -------------------------------------------------------------------------------------------------------

#[test]
fn out_of_stacks_the_greenlet_fails_and_says_so() {
    let ended = thread::spawn(|| {
        Hub::configure(Config::default().max_stacks(2)).unwrap();
        run(|| {
            let first: Vec<_> = (0..2).map(|_| spawn(|| sleep(FOREVER))).collect();
            yield_now();
            let refused = spawn(|| ());
            refused.join();
            let failure = refused.exception().unwrap();
            assert!(matches!(failure.downcast_ref(), Some(StackError::LimitReached { .. })), "{failure}");
            first[0].kill();
            spawn(|| ()).get().unwrap();
        });
    });
    ended.join().unwrap();
    let none = thread::spawn(|| {
        Hub::configure(Config::default().max_stacks(0).warm_stacks(0)).unwrap();
        run(|| {
            let refused = spawn(|| ());
            refused.join();
            assert!(refused.exception().is_some());
        });
    });
    none.join().unwrap();
}

#[test]
fn out_of_memory_for_stacks_the_greenlet_fails_and_others_go_on() {
    const TEST: &str = "out_of_memory_for_stacks_the_greenlet_fails_and_others_go_on";
    if is_child(TEST) {
        run(|| {
            let before = spawn(|| {
                yield_now();
                "unharmed"
            });
            yield_now();
            // SAFETY: a plain call with a valid struct.
            unsafe {
                let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
                assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
            }
            let size = StackSize::MAX;
            assert!(size.bytes() >= 64 << 20, "large enough to exhaust the limit soon");
            let many: Vec<_> =
                (0..20).map(|_| Builder::new().stack_size(size).spawn(|| sleep(SHORT))).collect();
            many.iter().for_each(|greenlet| greenlet.join());
            let refused: Vec<_> = many.iter().filter_map(|greenlet| greenlet.exception()).collect();
            assert!(!refused.is_empty());
            for failure in refused {
                let error: &StackError = failure.downcast_ref().unwrap();
                assert!(matches!(error, StackError::OutOfMemory { .. }), "{error}");
            }
            assert_eq!(before.get().unwrap(), "unharmed");
        });
        return;
    }
    let output = run_child(TEST);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}{}", stderr(&output));
}
