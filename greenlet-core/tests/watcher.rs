//! Callbacks of the loop.

mod support;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use greenlet_core::pool::{Group, Pool, ThreadPool};
use greenlet_core::sync::{Barrier, Condvar, Mutex, OnceLock, RwLock, Semaphore};
use greenlet_core::watcher::{Async, Child, Io, Timer, run_callback, wait_child};
use greenlet_core::{
    AsyncResult, Channel, ErrorContext, Event, Hub, Queue, Timeout, idle, joinall, run, sleep, spawn,
    with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, Oops, Rng, SHORT, Tally, Watchdog, seeds, settle, until};

type Log<T> = Rc<RefCell<Vec<T>>>;

/// A callback that notes something.
fn note<T: Clone + 'static>(log: &Log<T>, what: T) -> impl FnMut() + 'static {
    let log = log.clone();
    move || log.borrow_mut().push(what.clone())
}

/// Messages of what fails on this hub.
fn failures() -> Log<String> {
    let log = Log::default();
    let lines = log.clone();
    Hub::set_error_handler(move |context, failure| lines.borrow_mut().push(format!("{context}: {failure}")));
    log
}

// --- callbacks ---------------------------------------------------------------------------------------------------------

#[test]
fn callbacks_run_in_order_behind_what_is_ready_and_in_the_same_turn() {
    run(|| {
        let log = Log::default();
        spawn(note(&log, "greenlet"));
        run_callback({
            let log = log.clone();
            move || {
                log.borrow_mut().push("first");
                run_callback(note(&log, "from the first"));
                spawn(note(&log, "spawned by the first"));
            }
        });
        run_callback(note(&log, "second"));
        assert!(log.borrow().is_empty(), "never at once");
        yield_now();
        assert_eq!(*log.borrow(), ["greenlet", "first", "second"]);
        yield_now();
        assert_eq!(log.borrow()[3..], ["from the first", "spawned by the first"]);
    });
}

#[test]
fn a_stopped_callback_is_not_called_and_stopping_late_says_so() {
    run(|| {
        let log = Log::default();
        let tally = Tally::default();
        let stopped = run_callback({
            let (token, mut note) = (tally.token(), note(&log, "stopped"));
            move || {
                drop(token);
                note();
            }
        });
        assert!(stopped.stop() && !stopped.stop());
        assert_eq!(tally.dropped(), 1);
        let handle = Rc::new(RefCell::new(None));
        let called = run_callback({
            let (handle, log) = (handle.clone(), log.clone());
            move || {
                let handle: std::cell::Ref<Option<greenlet_core::watcher::CallbackHandle>> = handle.borrow();
                let handle = handle.as_ref().unwrap();
                assert!(!handle.pending() && !handle.stop());
                log.borrow_mut().push("called");
            }
        });
        *handle.borrow_mut() = Some(called.clone());
        drop(run_callback(note(&log, "handle dropped")));
        settle();
        assert_eq!(*log.borrow(), ["called", "handle dropped"]);
        assert!(!called.stop());
        handle.take();
    });
}

#[test]
fn callbacks_from_other_threads_wake_a_hub_that_sleeps() {
    run(|| {
        let (hub, total) = (Hub::current(), Arc::new(AsyncResult::new()));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (hub, total) = (hub.clone(), total.clone());
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        let total = total.clone();
                        hub.call(move || count(&total)).unwrap();
                    }
                })
            })
            .collect();
        thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
        fn count(total: &AsyncResult<u32>) {
            CALLS.set(CALLS.get() + 1);
            if CALLS.get() == 400 {
                total.set(400);
            }
        }
        assert_eq!(total.get().unwrap(), 400);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_call_to_a_hub_that_is_gone_is_refused_and_dropped() {
    let hub = std::thread::spawn(|| run(Hub::current)).join().unwrap();
    let tally = Tally::default();
    let token = tally.stray_token();
    assert!(hub.call(move || drop(token)).is_err());
    assert_eq!(tally.dropped(), 1);
}

#[test]
fn a_callback_that_panics_leaves_the_others_alone() {
    run(|| {
        let (log, failures) = (Log::default(), failures());
        run_callback(|| panic!("the first"));
        run_callback(|| greenlet_core::raise(Oops("the second")));
        run_callback(note(&log, "the third"));
        settle();
        assert_eq!(*log.borrow(), ["the third"]);
        assert_eq!(failures.borrow().len(), 2, "{failures:?}");
        assert!(failures.borrow()[1].contains("the second"));
    });
}

/// A call, and what it is called.
type Call = (&'static str, Box<dyn FnOnce()>);

/// Every call that may block.
#[test]
fn what_blocks_in_a_callback_panics_there() {
    thread_local!(static SLEEPER: RefCell<Option<greenlet_core::Greenlet<()>>> = const { RefCell::new(None) });
    let calls: Vec<Call> = vec![
        ("sleep", Box::new(|| sleep(SHORT))),
        ("sleep for ever", Box::new(|| sleep(FOREVER))),
        ("yield_now", Box::new(yield_now)),
        ("idle", Box::new(idle)),
        ("join", Box::new(|| spawn(|| sleep(SHORT)).join())),
        ("join_timeout", Box::new(|| _ = spawn(|| sleep(SHORT)).join_timeout(SHORT))),
        ("get", Box::new(|| _ = spawn(|| sleep(SHORT)).get())),
        ("joinall", Box::new(|| joinall([spawn(|| sleep(SHORT))]))),
        ("kill that waits", Box::new(|| SLEEPER.with_borrow(|sleeper| sleeper.as_ref().unwrap().kill()))),
        ("Hub::join", Box::new(Hub::join)),
        ("Event", Box::new(|| Event::new().wait())),
        ("Event, for a time", Box::new(|| _ = Event::new().wait_timeout(SHORT))),
        ("AsyncResult", Box::new(|| _ = AsyncResult::<u8>::new().get())),
        ("Queue::get", Box::new(|| _ = Queue::<u8>::unbounded().get())),
        (
            "Queue::put",
            Box::new(|| {
                let full = Queue::bounded(1);
                full.put(1).unwrap();
                full.put(2).unwrap();
            }),
        ),
        ("Channel::get", Box::new(|| _ = Channel::<u8>::new().get())),
        ("Channel::put", Box::new(|| _ = Channel::new().put(1))),
        ("Semaphore", Box::new(|| Semaphore::new(0).acquire())),
        (
            "Mutex",
            Box::new(|| {
                let mutex = Mutex::new(1);
                let _held = mutex.lock();
                drop(mutex.lock());
            }),
        ),
        (
            "RwLock",
            Box::new(|| {
                let lock = RwLock::new(1);
                let _held = lock.write();
                drop(lock.read());
            }),
        ),
        (
            "Condvar",
            Box::new(|| {
                let mutex = Mutex::new(1);
                drop(Condvar::new().wait(mutex.lock().unwrap()));
            }),
        ),
        ("Barrier", Box::new(|| _ = Barrier::new(2).wait())),
        ("OnceLock", Box::new(|| _ = OnceLock::<u8>::new().wait())),
        (
            "Source::read",
            Box::new(|| {
                let (ours, _theirs) = UnixStream::pair().unwrap();
                ours.set_nonblocking(true).unwrap();
                drop(Source::new(ours).read(&mut [0], None));
            }),
        ),
        (
            "Source::wait",
            Box::new(|| {
                let (ours, _theirs) = UnixStream::pair().unwrap();
                drop(Source::new(ours).wait(Direction::Read, Some(SHORT)));
            }),
        ),
        ("with_timeout", Box::new(|| _ = with_timeout(SHORT, || ()))),
        ("Timeout", Box::new(|| _ = Timeout::start_new(SHORT))),
        ("ThreadPool::apply", Box::new(|| _ = ThreadPool::global().apply(|| std::thread::sleep(SHORT)))),
        (
            "Task::get",
            Box::new(|| {
                drop(ThreadPool::global().spawn(|| std::thread::sleep(Duration::from_millis(20))).get())
            }),
        ),
        (
            "Group::join",
            Box::new(|| {
                let group = Group::new();
                group.spawn(|| sleep(SHORT));
                group.join();
            }),
        ),
        (
            "Pool::spawn",
            Box::new(|| {
                let pool = Pool::new(1);
                pool.spawn(|| sleep(SHORT));
                pool.spawn(|| sleep(SHORT));
            }),
        ),
        (
            "wait_child",
            Box::new(|| {
                let mut child = Command::new("sleep").arg("0.05").spawn().unwrap();
                let id = child.id();
                // However it goes, the child is collected.
                let _collect = support::OnDrop(move || drop(child.wait()));
                drop(wait_child(id, None));
            }),
        ),
    ];
    run(|| {
        let _watchdog = Watchdog::start("what blocks in a callback");
        let failures = failures();
        SLEEPER.set(Some(spawn(|| sleep(FOREVER))));
        yield_now();
        for (what, call) in calls {
            failures.borrow_mut().clear();
            let after = Rc::new(Cell::new(false));
            run_callback(call);
            let noted = after.clone();
            run_callback(move || noted.set(true));
            until(|| after.get());
            let seen = failures.borrow();
            assert_eq!(seen.len(), 1, "{what}: {seen:?}");
            assert!(seen[0].contains("callback"), "{what}: {seen:?}");
        }
        Hub::reset_error_handler();
        assert!(with_timeout(GENEROUS, || spawn(|| 1).get().unwrap()).is_ok(), "the hub goes on");
    });
}

// --- timers ------------------------------------------------------------------------------------------------------------

#[test]
fn a_timer_calls_once_or_again_and_again() {
    run(|| {
        let log = Log::default();
        let once = Timer::once(Duration::ZERO, note(&log, "once"));
        let every = Timer::every(SHORT, SHORT, note(&log, "every"));
        assert!(once.active() && every.active());
        until(|| log.borrow().len() >= 5);
        assert_eq!(log.borrow()[0], "once");
        assert_eq!(log.borrow().iter().filter(|what| **what == "once").count(), 1);
        assert!(!once.active() && every.active());
        every.stop();
        let seen = log.borrow().len();
        sleep(Duration::from_millis(5));
        assert_eq!(log.borrow().len(), seen);
        every.again();
        until(|| log.borrow().len() > seen);
    });
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    run(|| {
        let log = Log::default();
        let timers: Vec<_> = [3u64, 1, 2]
            .into_iter()
            .map(|ms| Timer::once(Duration::from_millis(ms), note(&log, ms)))
            .collect();
        until(|| log.borrow().len() == 3);
        assert_eq!(*log.borrow(), [1, 2, 3]);
        assert!(timers.iter().all(|timer| !timer.active()));
    });
}

#[test]
fn a_timer_that_is_dropped_or_stopped_calls_no_more_even_when_it_is_due() {
    run(|| {
        let log = Log::default();
        let tally = Tally::default();
        let token = tally.token();
        let mut first = note(&log, "dropped");
        let dropped = Timer::once(Duration::ZERO, move || {
            let _token = token;
            first();
        });
        drop(dropped);
        assert_eq!(tally.dropped(), 1, "and so is its callback");
        // Two that are due in the same turn: the first takes the second one back.
        let second = Rc::new(RefCell::new(None));
        let victim = second.clone();
        let killer = Timer::once(SHORT, move || drop(victim.take()));
        *second.borrow_mut() = Some(Timer::once(SHORT, note(&log, "taken back")));
        std::thread::sleep(Duration::from_millis(3));
        until(|| !killer.active());
        settle();
        assert!(log.borrow().is_empty(), "{log:?}");
    });
}

#[test]
fn a_timer_may_stop_restart_and_drop_itself() {
    run(|| {
        let slot: Rc<RefCell<Option<Timer>>> = Rc::default();
        let log = Log::default();
        let rounds = Cell::new(0);
        let timer = Timer::every(Duration::ZERO, Duration::from_micros(10), {
            let (slot, mut note, tally) = (slot.clone(), note(&log, 1), Tally::default().token());
            move || {
                let _keep = &tally;
                note();
                rounds.set(rounds.get() + 1);
                match rounds.get() {
                    1 => slot.borrow().as_ref().unwrap().stop(),
                    2 => slot.borrow().as_ref().unwrap().again(),
                    3 => drop(slot.take()),
                    _ => panic!("called after it was dropped"),
                }
            }
        });
        *slot.borrow_mut() = Some(timer);
        until(|| log.borrow().len() == 1);
        sleep(SHORT);
        assert_eq!(log.borrow().len(), 1, "stopped");
        slot.borrow().as_ref().unwrap().again();
        until(|| log.borrow().len() == 3);
        sleep(SHORT);
        assert!(slot.borrow().is_none());
    });
}

#[test]
fn a_timer_that_panics_goes_on() {
    run(|| {
        let failures = failures();
        let calls = Rc::new(Cell::new(0));
        let timer = Timer::every(Duration::ZERO, SHORT, {
            let calls = calls.clone();
            move || {
                calls.set(calls.get() + 1);
                panic!("call {}", calls.get())
            }
        });
        until(|| calls.get() >= 3);
        drop(timer);
        assert!(failures.borrow()[0].contains("timer watcher of ") && failures.borrow()[0].contains(file!()));
    });
}

#[test]
fn absurd_times_are_never_and_no_time_in_between_is_refused() {
    run(|| {
        let never = Timer::once(Duration::MAX, || unreachable!());
        let never_again = Timer::every(Duration::ZERO, Duration::MAX, || ());
        sleep(SHORT);
        assert!(never.active() && never_again.active());
        never.again();
        never.stop();
        assert!(std::panic::catch_unwind(|| Timer::every(SHORT, Duration::ZERO, || ())).is_err());
    });
}

// --- descriptors -------------------------------------------------------------------------------------------------------

#[test]
fn an_io_watcher_calls_while_there_is_something_and_again_later() {
    run(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let log = Log::default();
        let watcher = Io::new(ours.try_clone().unwrap(), Direction::Read, {
            let log = log.clone();
            move || {
                // One byte at a time: it is called again for the rest.
                let mut byte = [0];
                let n = ours.read(&mut byte).unwrap();
                log.borrow_mut().push(if n == 0 { b'.' } else { byte[0] });
            }
        })
        .unwrap();
        settle();
        assert!(log.borrow().is_empty());
        for text in ["abc", "de"] {
            theirs.write_all(text.as_bytes()).unwrap();
            until(|| log.borrow().ends_with(text.as_bytes()));
            settle();
        }
        assert_eq!(*log.borrow(), *b"abcde");
        watcher.stop();
        theirs.write_all(b"f").unwrap();
        sleep(SHORT);
        assert_eq!(*log.borrow(), *b"abcde");
        watcher.start().unwrap();
        watcher.start().unwrap();
        until(|| log.borrow().ends_with(b"f"));
        drop(theirs);
        until(|| log.borrow().ends_with(b".."));
    });
}

#[test]
fn an_io_watcher_that_does_not_read_keeps_nobody_waiting() {
    run(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let calls = Rc::new(Cell::new(0u32));
        let watcher = Io::new(&ours, Direction::Write, {
            let calls = calls.clone();
            move || calls.set(calls.get() + 1)
        })
        .unwrap();
        sleep(SHORT);
        let reader = spawn(|| {
            let (a, mut b) = UnixStream::pair().unwrap();
            a.set_nonblocking(true).unwrap();
            greenlet_core::spawn_later(SHORT, move || b.write_all(b"x").unwrap());
            Source::new(a).read(&mut [0], Some(GENEROUS)).unwrap()
        });
        assert_eq!(reader.get().unwrap(), 1);
        assert!(calls.get() > 2, "it is called again and again");
        drop((watcher, theirs));
    });
}

#[test]
fn several_watchers_and_a_source_share_a_descriptor() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let log = Log::default();
        let readers: Vec<_> =
            (0..2).map(|n| Io::new(&ours, Direction::Read, note(&log, n)).unwrap()).collect();
        let source = Source::new(ours);
        let reader = spawn(move || {
            sleep(SHORT);
            let mut buffer = [0; 8];
            (source.read(&mut buffer, Some(GENEROUS)).unwrap(), source)
        });
        theirs.write_all(b"x").unwrap();
        reader.join();
        assert_eq!(reader.value().unwrap().0, 1);
        assert!(log.borrow().contains(&0) && log.borrow().contains(&1));
        drop(readers);
        let seen = log.borrow().len();
        theirs.write_all(b"y").unwrap();
        sleep(SHORT);
        assert_eq!(log.borrow().len(), seen);
    });
}

#[test]
fn a_watcher_dropped_in_its_own_callback_is_gone() {
    run(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let slot: Rc<RefCell<Option<Io>>> = Rc::default();
        let calls = Rc::new(Cell::new(0));
        let io = Io::new(&ours, Direction::Read, {
            let (slot, calls) = (slot.clone(), calls.clone());
            move || {
                calls.set(calls.get() + 1);
                drop(slot.take());
            }
        });
        *slot.borrow_mut() = Some(io.unwrap());
        theirs.write_all(b"x").unwrap();
        until(|| calls.get() == 1);
        sleep(SHORT);
        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn a_regular_file_is_refused() {
    run(|| {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        if Hub::current().poller() == greenlet_core::PollerKind::Epoll {
            assert!(Io::new(&file, Direction::Read, || ()).is_err());
        }
    });
}

// --- from other threads ------------------------------------------------------------------------------------------------

#[test]
fn sends_before_the_call_are_one_call_and_none_is_lost() {
    run(|| {
        let calls = Rc::new(Cell::new(0));
        let watcher = Async::new({
            let calls = calls.clone();
            move || calls.set(calls.get() + 1)
        });
        let sender = watcher.sender();
        (0..5).for_each(|_| sender.send().unwrap());
        assert!(watcher.pending());
        settle();
        assert_eq!(calls.get(), 1);
        assert!(!watcher.pending());
        // What was true before a send is seen by a call after it.
        let state = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let seen = Rc::new(Cell::new(0));
        let watcher = Async::new({
            let (state, seen) = (state.clone(), seen.clone());
            move || seen.set(state.load(std::sync::atomic::Ordering::SeqCst))
        });
        let sender = watcher.sender();
        let thread = std::thread::spawn(move || {
            for _ in 0..1000 {
                state.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                sender.send().unwrap();
            }
        });
        Hub::join_timeout(SHORT);
        until(|| seen.get() == 1000);
        thread.join().unwrap();
    });
}

#[test]
fn a_stopped_or_dropped_async_is_not_called() {
    run(|| {
        let log = Log::default();
        let watcher = Async::new(note(&log, "called"));
        let sender = watcher.sender();
        sender.send().unwrap();
        watcher.stop();
        watcher.start(); // what was sent before the stop is forgotten all the same
        settle();
        assert!(log.borrow().is_empty());
        watcher.stop();
        sender.send().unwrap();
        settle();
        watcher.start();
        sender.send().unwrap();
        settle();
        assert_eq!(log.borrow().len(), 1);
        drop(watcher);
        sender.send().unwrap();
        settle();
        assert_eq!(log.borrow().len(), 1);
    });
}

#[test]
fn a_sender_outlives_the_hub() {
    let sender = std::thread::spawn(|| run(|| Async::new(|| ()).sender())).join().unwrap();
    assert!(sender.send().is_err());
}

#[test]
fn watchers_left_to_the_end_of_their_thread_are_dropped_there() {
    let tally = Tally::default();
    let tokens = tally.clone();
    std::thread::spawn(move || {
        run(|| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            thread_local!(static LEFT: RefCell<Vec<Any>> = const { RefCell::new(Vec::new()) });
            let callback = || {
                let token = tokens.token();
                move || {
                    let _token = &token;
                }
            };
            LEFT.with_borrow_mut(|left| {
                left.push(Any::Timer(Timer::once(Duration::from_secs(3600), callback())));
                left.push(Any::Async(Async::new(callback())));
                left.push(Any::Io(Io::new(&ours, Direction::Read, callback()).unwrap()));
            });
            drop(theirs);
            sleep(SHORT);
        });
    })
    .join()
    .unwrap();
    assert_eq!(tally.astray(), 0);
    assert_eq!(tally.dropped(), tally.made());
}

// --- children ----------------------------------------------------------------------------------------------------------

#[allow(clippy::zombie_processes)] // it is collected by its pid
fn shell(script: &str) -> u32 {
    let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
    child.id()
}

#[test]
fn a_child_watcher_tells_how_the_child_ended_on_any_thread() {
    let work = || {
        run(|| {
            let log = Log::default();
            let keep = |script: &str| {
                let log = log.clone();
                Child::new(shell(script), move |status| log.borrow_mut().push(status.unwrap())).unwrap()
            };
            let children = [keep("exit 0"), keep("exit 7"), keep("kill -9 $$")];
            assert!(children.iter().all(Child::active));
            Hub::join();
            let mut ends: Vec<_> =
                log.borrow().iter().map(|status| (status.code(), status.signal())).collect();
            ends.sort();
            assert_eq!(ends, [(None, Some(9)), (Some(0), None), (Some(7), None)]);
            assert!(!children.iter().any(Child::active));
        });
    };
    let thread = std::thread::spawn(work);
    work();
    thread.join().unwrap();
}

#[test]
fn a_stopped_child_watcher_leaves_the_status_to_others() {
    run(|| {
        let pid = shell("sleep 0.02; exit 4");
        let watcher = Child::new(pid, |_| panic!("called")).unwrap();
        watcher.stop();
        assert_eq!(wait_child(pid, Some(GENEROUS)).unwrap().code(), Some(4));
        assert!(wait_child(pid, Some(GENEROUS)).is_err(), "it was collected");
        assert!(Child::new(pid, |_| ()).is_err(), "it is gone");
    });
}

#[test]
fn waiting_for_a_child_can_time_out_and_be_killed() {
    run(|| {
        let pid = shell("exec sleep 100");
        assert_eq!(wait_child(pid, Some(SHORT)).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        let waiter = spawn(move || wait_child(pid, None).map(drop).is_ok());
        yield_now();
        waiter.kill();
        assert!(waiter.value().is_none());
        Command::new("kill").arg(pid.to_string()).status().unwrap();
        assert_eq!(wait_child(pid, Some(GENEROUS)).unwrap().signal(), Some(15));
    });
}

#[test]
fn pids_that_cannot_be_are_refused() {
    run(|| {
        for pid in [0, u32::MAX, i32::MAX as u32] {
            assert!(wait_child(pid, None).is_err());
            assert!(Child::new(pid, |_| ()).is_err());
        }
        // Not a child of this process.
        assert!(wait_child(1, Some(SHORT)).is_err());
    });
}

#[test]
fn a_failing_child_callback_is_reported_as_the_watchers() {
    run(|| {
        let failures = failures();
        let child = Child::new(shell("exit 1"), |_| panic!("no")).unwrap();
        Hub::join();
        assert!(!child.active());
        assert!(failures.borrow()[0].contains("io watcher"), "{failures:?}");
    });
}

// --- all together ------------------------------------------------------------------------------------------------------

/// Random watchers that start, stop, restart and drop each other: nothing is called after it was stopped, nothing leaks.
#[test]
fn watchers_in_a_storm() {
    let watchdog = Watchdog::start("watchers in a storm");
    for seed in seeds(60) {
        let _seed = watchdog.begin(seed);
        let tally = Tally::default();
        run(|| storm(seed, &tally));
        tally.assert_all_home();
    }
}

enum Any {
    Timer(Timer),
    Io(Io),
    Async(Async),
}

impl Any {
    fn stop(&self) {
        match self {
            Any::Timer(timer) => timer.stop(),
            Any::Io(io) => io.stop(),
            Any::Async(watcher) => watcher.stop(),
        }
    }

    fn start(&self) {
        match self {
            Any::Timer(timer) => timer.again(),
            Any::Io(io) => io.start().unwrap(),
            Any::Async(watcher) => watcher.start(),
        }
    }
}

fn storm(seed: u64, tally: &Tally) {
    const WATCHERS: usize = 12;
    struct All {
        slots: RefCell<Vec<Option<Any>>>,
        /// Whether it may be called.
        allowed: RefCell<Vec<bool>>,
        rng: RefCell<Rng>,
        left: Cell<u32>,
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    (&theirs).write_all(b"always readable").unwrap();
    let all = Rc::new(All {
        slots: RefCell::new((0..WATCHERS).map(|_| None).collect()),
        allowed: RefCell::new(vec![true; WATCHERS]),
        rng: RefCell::new(Rng::new(seed)),
        left: Cell::new(300),
    });
    fn step(all: &All, me: usize) {
        assert!(all.allowed.borrow()[me], "watcher {me} was called after it was stopped");
        if all.left.get() == 0 {
            return;
        }
        all.left.set(all.left.get() - 1);
        let (what, whom) = {
            let mut rng = all.rng.borrow_mut();
            (rng.below(8), rng.below(WATCHERS))
        };
        match what {
            0 | 1 => {
                if let Some(watcher) = &all.slots.borrow()[whom] {
                    watcher.stop();
                    all.allowed.borrow_mut()[whom] = false;
                }
            }
            2..5 => {
                if let Some(watcher) = &all.slots.borrow()[whom] {
                    all.allowed.borrow_mut()[whom] = true;
                    watcher.start();
                }
            }
            5 if whom > 2 => {
                let watcher = all.slots.borrow_mut()[whom].take();
                all.allowed.borrow_mut()[whom] = false;
                drop(watcher);
            }
            _ => {}
        }
    }
    for n in 0..WATCHERS {
        let (weak, token) = (Rc::downgrade(&all), tally.token());
        let call = move || {
            let _token = &token;
            if let Some(all) = weak.upgrade() {
                step(&all, n);
            }
        };
        let watcher = match n % 3 {
            0 => Any::Timer(Timer::every(Duration::ZERO, Duration::from_micros(20), call)),
            1 => Any::Io(Io::new(&ours, Direction::Read, call).unwrap()),
            _ => Any::Async(Async::new(call)),
        };
        all.slots.borrow_mut()[n] = Some(watcher);
    }
    let mut rounds = 0;
    while all.left.get() > 0 && rounds < 3000 {
        rounds += 1;
        let senders: Vec<_> = all
            .slots
            .borrow()
            .iter()
            .filter_map(|slot| match slot {
                Some(Any::Async(watcher)) => Some(watcher.sender()),
                _ => None,
            })
            .collect();
        senders.iter().for_each(|sender| sender.send().unwrap());
        if rounds % 16 == 0 {
            sleep(Duration::from_micros(50));
        } else {
            yield_now();
        }
    }
    all.slots.take().clear();
    settle();
    assert!(Hub::join_timeout(GENEROUS), "nothing counts any more");
}

#[test]
fn a_context_names_the_watcher_and_its_place() {
    run(|| {
        let line = Rc::new(Cell::new(0));
        let seen = line.clone();
        Hub::set_error_handler(move |context, _| {
            if let ErrorContext::Watcher { kind, made_at } = context {
                assert_eq!((*kind, made_at.file()), ("async", file!()));
                seen.set(made_at.line());
            }
        });
        let made = line!() + 1;
        let watcher = Async::new(|| panic!("no"));
        watcher.sender().send().unwrap();
        settle();
        assert_eq!(line.get(), made);
    });
}
