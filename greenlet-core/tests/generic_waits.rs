//! What holds for every blocking call of the crate, whatever it waits for: gevent's generic timing tests.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Mutex as StdMutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use greenlet_core::future::{block_on, block_on_timeout};
use greenlet_core::io::{Direction, Source};
use greenlet_core::pool::{Group, Pool, Task, ThreadPool};
use greenlet_core::select::after;
use greenlet_core::signal::{SIGUSR2, Signals};
use greenlet_core::sync::{Barrier, BoundedSemaphore, Condvar, Mutex, OnceLock, RLock, RwLock, Semaphore};
use greenlet_core::{
    AsyncResult, Channel, Event, Greenlet, GreenletError, Instant, Kill, LifoQueue, PriorityQueue, Queue,
    Timeout, attempt, catch, idle, iwait, joinall, joinall_raise_error, joinall_raise_error_timeout,
    joinall_timeout, oneshot, run, scope, select, sleep, spawn, wait, wait_timeout, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, Oops, SHORT, no_wait, settle, with};

/// For what a call returns that only has to return.
fn ignore<T>(_: T) {}

/// A blocking call on something that has not come.
struct Case {
    name: &'static str,
    /// Blocks until it comes.
    wait: Rc<dyn Fn()>,
    /// As `wait`, with a limit: the `_timeout` variant, or `with_timeout` around a call that has none. True if it came.
    limited: Rc<dyn Fn(Duration) -> bool>,
    /// Lets it come.
    come: Box<dyn Fn()>,
}

fn case<S: 'static>(
    name: &'static str,
    shared: S,
    wait: fn(&S),
    limited: fn(&S, Duration) -> bool,
    come: fn(&S),
) -> Case {
    let shared = Rc::new(shared);
    let (one, two) = (shared.clone(), shared.clone());
    Case {
        name,
        wait: Rc::new(move || wait(&one)),
        limited: Rc::new(move |limit| limited(&two, limit)),
        come: Box::new(move || come(&shared)),
    }
}

/// A call that has no variant with a limit.
fn unlimited<S: 'static>(name: &'static str, shared: S, wait: fn(&S), come: fn(&S)) -> Case {
    let case = case(name, shared, wait, |_, _| unreachable!(), come);
    let waiting = case.wait.clone();
    Case { limited: Rc::new(move |limit| with_timeout(limit, || waiting()).is_ok()), ..case }
}

/// Something that a greenlet holds until `free` is set.
struct Held<L> {
    lock: Rc<L>,
    free: Rc<Event>,
}

fn held<L: 'static>(lock: L, hold: fn(&L, &Event)) -> Held<L> {
    let held = Held { lock: Rc::new(lock), free: Rc::new(Event::new()) };
    let (lock, free) = (held.lock.clone(), held.free.clone());
    spawn(move || hold(&lock, &free));
    yield_now();
    held
}

/// A greenlet that ends when the event is set.
fn ends_with(event: &Rc<Event>) -> Greenlet<()> {
    let event = event.clone();
    spawn(move || event.wait())
}

type Ends = (Rc<Event>, Greenlet<()>);

fn ends() -> Ends {
    let event = Rc::new(Event::new());
    let greenlet = ends_with(&event);
    yield_now();
    (event, greenlet)
}

/// A greenlet that survives kills until the event is set, or its case is gone.
fn survives() -> Ends {
    let event = Rc::new(Event::new());
    let greenlet = spawn({
        let event = event.clone();
        move || while catch(|| event.wait()).is_err() && Rc::strong_count(&event) > 1 {}
    });
    yield_now();
    (event, greenlet)
}

fn full<T>(queue: T, put: impl Fn(&T)) -> T {
    put(&queue);
    queue
}

fn member(group: Group) -> (Group, Rc<Event>) {
    let event = Rc::new(Event::new());
    let waiting = event.clone();
    group.spawn(move || waiting.wait());
    (group, event)
}

fn busy_pool() -> (Pool, Rc<Event>) {
    let (pool, event) = (Pool::new(1), Rc::new(Event::new()));
    let waiting = event.clone();
    pool.spawn(move || waiting.wait());
    (pool, event)
}

type Threads = (ThreadPool, RefCell<Task<()>>, RefCell<Vec<mpsc::Sender<()>>>);

/// A thread pool whose only thread works until it is let go.
fn busy_thread() -> Threads {
    let threads = ThreadPool::new(1).max_waiting(1);
    let (sender, receiver) = mpsc::channel::<()>();
    let task = threads.spawn(move || ignore(receiver.recv()));
    (threads, RefCell::new(task), RefCell::new(vec![sender]))
}

fn let_go(threads: &Threads) {
    threads.2.borrow_mut().clear();
}

fn stream() -> (Source<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Source::new(ours), theirs)
}

fn write_byte(stream: &(Source<UnixStream>, UnixStream)) {
    std::io::Write::write_all(&mut &stream.1, b"x").unwrap();
}

macro_rules! queue_cases {
    ($cases:ident, $($Queue:ident),*) => {$(
        let empty = $Queue::<u32>::unbounded;
        let one = || full($Queue::bounded(1), |queue| queue.put(1).unwrap());
        let put = |queue: &$Queue<u32>| queue.put(1).unwrap();
        let get = |queue: &$Queue<u32>| ignore(queue.get());
        $cases.extend([
            case(
                concat!(stringify!($Queue), "::get"),
                empty(),
                |queue| ignore(queue.get().unwrap()),
                |queue, limit| queue.get_timeout(limit).is_ok(),
                put,
            ),
            case(
                concat!(stringify!($Queue), "::put"),
                one(),
                |queue| queue.put(2).unwrap(),
                |queue, limit| queue.put_timeout(2, limit).is_ok(),
                get,
            ),
            case(
                concat!(stringify!($Queue), "::peek"),
                empty(),
                |queue| ignore(queue.peek().unwrap()),
                |queue, limit| queue.peek_timeout(limit).is_ok(),
                put,
            ),
            case(
                concat!(stringify!($Queue), "::join"),
                one(),
                |queue| queue.join(),
                |queue, limit| queue.join_timeout(limit),
                |queue| queue.task_done().unwrap(),
            ),
            unlimited(concat!(stringify!($Queue), "::iter"), empty(), |queue| ignore(queue.iter().next()), put),
        ]);
    )*};
}

/// All of them. What each needs beside it, other greenlets and threads, has been set up.
fn cases() -> Vec<Case> {
    let mut cases = vec![
        // greenlets
        case("Greenlet::join", ends(), |g| g.1.join(), |g, limit| g.1.join_timeout(limit), |g| g.0.set()),
        case(
            "Greenlet::get",
            ends(),
            |g| g.1.get().unwrap(),
            |g, limit| g.1.get_timeout(limit).is_ok(),
            |g| g.0.set(),
        ),
        unlimited(
            "Greenlet::into_value",
            ends(),
            // Shared with the table, so it waits and gets nothing.
            |g| assert!(matches!(g.1.clone().into_value(), Err(GreenletError::Shared))),
            |g| g.0.set(),
        ),
        case(
            "Greenlet::join, never started",
            Greenlet::new(|| ()),
            |g| g.join(),
            |g, limit| g.join_timeout(limit),
            |g| g.start(),
        ),
        case(
            "GreenletRef::kill_with",
            survives(),
            |g| ignore(g.1.kill_with(Kill::default())),
            |g, limit| g.1.kill_with(Kill::default().timeout(limit)),
            |g| g.0.set(),
        ),
        case(
            "joinall",
            ends(),
            |g| joinall([&g.1, &g.1]),
            |g, limit| joinall_timeout([&g.1, &g.1], limit),
            |g| g.0.set(),
        ),
        case(
            "joinall_raise_error",
            ends(),
            |g| joinall_raise_error([&g.1, &g.1]).unwrap(),
            |g, limit| joinall_raise_error_timeout([&g.1, &g.1], limit).unwrap(),
            |g| g.0.set(),
        ),
        unlimited(
            "scope",
            Rc::new(Event::new()),
            |event| {
                scope(|scope| {
                    scope.spawn(|| event.wait());
                });
            },
            |event| event.set(),
        ),
        case(
            "ScopedGreenlet::join",
            Event::new(),
            |event| scope(|scope| scope.spawn(|| event.wait()).join()),
            // The scope ends with its greenlets, so the limit must not leave one behind.
            |event, limit| {
                scope(|scope| {
                    let waiter = scope.spawn(|| event.wait());
                    let ended = waiter.join_timeout(limit);
                    waiter.kill();
                    ended
                })
            },
            |event| event.set(),
        ),
        unlimited(
            "idle",
            {
                let busy = Rc::new(Event::new());
                with(&busy, |over| {
                    while !over.is_set() {
                        yield_now()
                    }
                });
                busy
            },
            |_| idle(),
            |busy| busy.set(),
        ),
        // one at a time
        case(
            "Event::wait",
            Event::new(),
            |event| event.wait(),
            |event, limit| event.wait_timeout(limit),
            |event| event.set(),
        ),
        case(
            "AsyncResult::wait",
            AsyncResult::new(),
            |result| result.wait(),
            |result, limit| result.wait_timeout(limit),
            |result| result.set(1),
        ),
        case(
            "AsyncResult::get",
            AsyncResult::new(),
            |result| assert_eq!(result.get().unwrap(), 1),
            |result, limit| result.get_timeout(limit).is_ok(),
            |result| result.set(1),
        ),
        case(
            "oneshot::Receiver::recv",
            {
                let (sender, receiver) = oneshot::channel();
                (RefCell::new(Some(sender)), receiver)
            },
            |(_, receiver)| assert_eq!(receiver.recv(), Ok(1)),
            |(_, receiver), limit| receiver.recv_timeout(limit).is_ok(),
            |(sender, _)| sender.take().unwrap().send(1).unwrap(),
        ),
        case(
            "Channel::get",
            Rc::new(Channel::new()),
            |channel| ignore(channel.get().unwrap()),
            |channel, limit| channel.get_timeout(limit).is_ok(),
            |channel| {
                let channel = channel.clone();
                spawn(move || channel.put(1).unwrap());
                yield_now();
            },
        ),
        case(
            "Channel::put",
            Rc::new(Channel::new()),
            |channel| channel.put(1).unwrap(),
            |channel, limit| channel.put_timeout(1, limit).is_ok(),
            |channel| {
                let channel = channel.clone();
                spawn(move || channel.get().unwrap());
                yield_now();
            },
        ),
        // several at a time
        case(
            "wait on an Event",
            Event::new(),
            |event| assert_eq!(wait([event, event]).len(), 2),
            |event, limit| wait_timeout([event, event], limit).len() == 2,
            |event| event.set(),
        ),
        case(
            "iwait on an AsyncResult",
            AsyncResult::new(),
            |result| assert!(iwait([result]).next().is_some()),
            |result, limit| iwait([result]).next_timeout(limit).is_some(),
            |result| result.set(1),
        ),
        case(
            "select!",
            (Queue::unbounded(), Event::new()),
            |(queue, event)| select! { item = queue.get_op() => ignore(item), _ = event.wait_op() => () },
            |(queue, event), limit| {
                select! {
                    item = queue.get_op() => item.is_ok(),
                    _ = event.wait_op() => false,
                    _ = after(limit) => false,
                }
            },
            |(queue, _)| queue.put(1).unwrap(),
        ),
        case(
            "a future: block_on",
            Event::new(),
            |event| block_on(event),
            |event, limit| block_on_timeout(event, limit).is_ok(),
            |event| event.set(),
        ),
        // locks
        case(
            "Semaphore::acquire",
            Semaphore::new(0),
            |semaphore| semaphore.acquire(),
            |semaphore, limit| semaphore.acquire_timeout(limit),
            |semaphore| ignore(semaphore.release()),
        ),
        case(
            "Semaphore::permit",
            Semaphore::new(0),
            |semaphore| semaphore.permit().forget(),
            |semaphore, limit| semaphore.permit_timeout(limit).is_some(),
            |semaphore| ignore(semaphore.release()),
        ),
        case(
            "Semaphore::wait",
            Semaphore::new(0),
            |semaphore| semaphore.wait(),
            |semaphore, limit| semaphore.wait_timeout(limit),
            |semaphore| ignore(semaphore.release()),
        ),
        case(
            "BoundedSemaphore::acquire",
            full(BoundedSemaphore::new(1), BoundedSemaphore::acquire),
            |semaphore| semaphore.acquire(),
            |semaphore, limit| semaphore.acquire_timeout(limit),
            |semaphore| ignore(semaphore.release().unwrap()),
        ),
        case(
            "BoundedSemaphore::permit",
            full(BoundedSemaphore::new(1), BoundedSemaphore::acquire),
            |semaphore| semaphore.permit().forget(),
            |semaphore, limit| semaphore.permit_timeout(limit).is_some(),
            |semaphore| ignore(semaphore.release().unwrap()),
        ),
        case(
            "BoundedSemaphore::wait",
            full(BoundedSemaphore::new(1), BoundedSemaphore::acquire),
            |semaphore| semaphore.wait(),
            |semaphore, limit| semaphore.wait_timeout(limit),
            |semaphore| ignore(semaphore.release().unwrap()),
        ),
        case(
            "RLock::acquire",
            held(RLock::new(), |lock, free| {
                let _guard = lock.lock();
                free.wait();
            }),
            |held| ignore(held.lock.lock()),
            |held, limit| held.lock.lock_timeout(limit).is_some(),
            |held| held.free.set(),
        ),
        case(
            "Mutex::lock",
            held(Mutex::new(()), |mutex, free| {
                let _guard = mutex.lock().unwrap();
                free.wait();
            }),
            |held| ignore(held.lock.lock().unwrap()),
            |held, limit| held.lock.lock_timeout(limit).is_ok(),
            |held| held.free.set(),
        ),
        case(
            "RwLock::read",
            held(RwLock::new(()), |lock, free| {
                let _guard = lock.write().unwrap();
                free.wait();
            }),
            |held| ignore(held.lock.read().unwrap()),
            |held, limit| held.lock.read_timeout(limit).is_ok(),
            |held| held.free.set(),
        ),
        case(
            "RwLock::write",
            held(RwLock::new(()), |lock, free| {
                let _guard = lock.read().unwrap();
                free.wait();
            }),
            |held| ignore(held.lock.write().unwrap()),
            |held, limit| held.lock.write_timeout(limit).is_ok(),
            |held| held.free.set(),
        ),
        case(
            "Condvar::wait",
            (Mutex::new(false), Condvar::new()),
            |(come, changed)| {
                // Not poisoned by a kill: nobody's guard is alive while it waits here.
                let come = come.lock().unwrap_or_else(PoisonError::into_inner);
                ignore(changed.wait_while(come, |come| !*come));
            },
            |(come, changed), limit| {
                let come = come.lock().unwrap_or_else(PoisonError::into_inner);
                let (come, _) = changed
                    .wait_timeout_while(come, limit, |come| !*come)
                    .unwrap_or_else(PoisonError::into_inner);
                *come
            },
            |(come, changed)| {
                *come.lock().unwrap_or_else(PoisonError::into_inner) = true;
                changed.notify_one();
            },
        ),
        case(
            "Barrier::wait",
            Rc::new(Barrier::new(2)),
            |barrier| ignore(barrier.wait()),
            |barrier, limit| barrier.wait_timeout(limit).is_some(),
            |barrier| {
                let barrier = barrier.clone();
                spawn(move || ignore(barrier.wait()));
                yield_now();
            },
        ),
        case(
            "OnceLock::wait",
            OnceLock::new(),
            |once| assert_eq!(*once.wait(), 1),
            |once, limit| once.wait_timeout(limit).is_some(),
            |once| once.set(1).unwrap(),
        ),
        unlimited(
            "OnceLock::get_or_init, behind another",
            held(OnceLock::new(), |once, free| {
                once.get_or_init(|| free.wait());
            }),
            |held| *held.lock.get_or_init(|| panic!("somebody makes it already")),
            |held| held.free.set(),
        ),
        // groups and pools
        case(
            "Group::join",
            member(Group::new()),
            |(group, _)| group.join(),
            |(group, _), limit| group.join_timeout(limit),
            |(_, event)| event.set(),
        ),
        case(
            "Group::join_raise_error",
            member(Group::new()),
            |(group, _)| group.join_raise_error().unwrap(),
            |(group, _), limit| group.join_raise_error_timeout(limit).unwrap(),
            |(_, event)| event.set(),
        ),
        case(
            "Group::kill",
            {
                let ((event, survivor), group) = (survives(), Group::new());
                group.add(&survivor);
                (group, event)
            },
            |(group, _)| group.kill(),
            |(group, _), limit| group.kill_with(Kill::default().timeout(limit)),
            |(_, event)| event.set(),
        ),
        unlimited(
            "Group::map",
            (Group::new(), Rc::new(Event::new())),
            |(group, event)| {
                let event = event.clone();
                group.map(move |()| event.wait(), [(), ()]).unwrap();
            },
            |(_, event)| event.set(),
        ),
        unlimited(
            "Group::imap",
            (Group::new(), Rc::new(Event::new())),
            |(group, event)| {
                let event = event.clone();
                assert!(group.imap(move |()| event.wait(), [(), ()]).next().is_some());
            },
            |(_, event)| event.set(),
        ),
        unlimited(
            "Group::apply",
            (Group::new(), Rc::new(Event::new())),
            |(group, event)| {
                let event = event.clone();
                group.apply(move || event.wait()).unwrap();
            },
            |(_, event)| event.set(),
        ),
        case(
            "Pool::spawn",
            busy_pool(),
            |(pool, _)| ignore(pool.spawn(|| ())),
            |(pool, _), limit| pool.spawn_timeout(|| (), limit).is_ok(),
            |(_, event)| event.set(),
        ),
        case(
            "Pool::start",
            busy_pool(),
            |(pool, _)| pool.start(&Greenlet::new(|| ())),
            |(pool, _), limit| pool.start_timeout(&Greenlet::new(|| ()), limit).is_ok(),
            |(_, event)| event.set(),
        ),
        case(
            "Pool::wait_available",
            busy_pool(),
            |(pool, _)| pool.wait_available(),
            |(pool, _), limit| pool.wait_available_timeout(limit),
            |(_, event)| event.set(),
        ),
        // threads, signals and descriptors
        case(
            "ThreadPool::join",
            busy_thread(),
            |threads| threads.0.join(),
            |threads, limit| threads.0.join_timeout(limit),
            let_go,
        ),
        unlimited(
            "ThreadPool::spawn, with the line full",
            {
                let threads = busy_thread();
                ignore(threads.0.spawn(|| ()));
                threads
            },
            |threads| ignore(threads.0.spawn(|| ())),
            let_go,
        ),
        case(
            "Task::wait",
            busy_thread(),
            |threads| threads.1.borrow().wait(),
            |threads, limit| threads.1.borrow().wait_timeout(limit),
            let_go,
        ),
        case(
            "Task::get",
            busy_thread(),
            |threads| threads.1.borrow_mut().get_timeout(FOREVER).unwrap(),
            |threads, limit| threads.1.borrow_mut().get_timeout(limit).is_ok(),
            let_go,
        ),
        case(
            "Signals::wait",
            Signals::new([SIGUSR2]).unwrap(),
            |signals| ignore(signals.wait()),
            |signals, limit| signals.wait_timeout(limit).is_some(),
            |_| signal_hook::low_level::raise(SIGUSR2).unwrap(),
        ),
        case(
            "io::Source::read",
            stream(),
            |stream| ignore(stream.0.read(&mut [0], None).unwrap()),
            |stream, limit| stream.0.read(&mut [0], Some(limit)).is_ok(),
            write_byte,
        ),
        case(
            "io::Source::wait",
            stream(),
            |stream| stream.0.wait(Direction::Read, None).unwrap(),
            |stream, limit| stream.0.wait(Direction::Read, Some(limit)).is_ok(),
            write_byte,
        ),
    ];
    queue_cases!(cases, Queue, LifoQueue, PriorityQueue);
    cases
}

/// One test at a time: signals are for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: StdMutex<()> = StdMutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was waited for in vain comes, and the next who waits gets it: those who gave up are in nobody's way.
#[track_caller]
fn comes(case: &Case) {
    (case.come)();
    assert!((case.limited)(GENEROUS), "{}: it came, and did not arrive", case.name);
}

#[test]
fn a_limit_of_its_own_is_a_result_and_not_a_raise() {
    let _alone = alone();
    run(|| {
        for case in cases() {
            let begin = Instant::now();
            let in_time =
                catch(|| (case.limited)(SHORT)).unwrap_or_else(|raised| panic!("{}: {raised}", case.name));
            assert!(!in_time, "{}: nothing came", case.name);
            assert!(begin.elapsed() >= SHORT, "{}: too early", case.name);
            comes(&case);
        }
    });
}

#[test]
fn what_has_come_is_not_waited_for() {
    let _alone = alone();
    run(|| {
        for case in cases() {
            (case.come)();
            assert!(with_timeout(GENEROUS, || (case.wait)()).is_ok(), "{}", case.name);
        }
    });
}

#[test]
fn an_outer_timeout_is_not_lost_and_keeps_its_identity() {
    let _alone = alone();
    run(|| {
        for case in cases() {
            let name = case.name;
            assert!(with_timeout(SHORT, || (case.limited)(GENEROUS)).is_err(), "{name}");
            let nested = with_timeout(GENEROUS, || with_timeout(SHORT, || (case.wait)()));
            assert!(matches!(nested, Ok(Err(_))), "{name}: the inner one is the inner one's");
            let outer = with_timeout(SHORT, || with_timeout(GENEROUS, || (case.wait)()));
            assert!(outer.is_err(), "{name}: the outer one passes the inner one");
            let custom = Timeout::with_error(SHORT, Oops("mine")).run(|| (case.wait)());
            assert!(custom.is_err_and(|raised| raised.is::<Oops>()), "{name}: an error of one's own");
            comes(&case);
        }
    });
}

#[test]
fn a_kill_passes_and_leaves_nobody_in_a_list() {
    let _alone = alone();
    run(|| {
        for case in cases() {
            for round in 0..3 {
                let victim = spawn({
                    let wait = case.wait.clone();
                    move || wait()
                });
                // Before its start, at its wait, and when it has waited for a while.
                (0..round).for_each(|_| settle());
                assert!(!victim.ready(), "{}", case.name);
                victim.kill();
                assert!(victim.exited(), "{}: {:?}", case.name, victim.exception());
            }
            comes(&case);
        }
    });
}

#[test]
fn what_comes_with_a_kill_is_had_by_the_victim_or_by_the_next() {
    let _alone = alone();
    run(|| {
        // An edge that comes when nobody waits is over: so it says, and that is what `io::Source::io` is for.
        for case in cases().into_iter().filter(|case| case.name != "io::Source::wait") {
            let victim = spawn({
                let wait = case.wait.clone();
                move || wait()
            });
            settle();
            victim.kill_with(no_wait());
            (case.come)();
            victim.join();
            assert!(victim.successful(), "{}: {:?}", case.name, victim.exception());
            if victim.exited() {
                assert!((case.limited)(GENEROUS), "{}: lost with the victim", case.name);
            }
        }
    });
}

#[test]
fn in_a_callback_of_the_loop_it_panics_and_says_why() {
    let _alone = alone();
    run(|| {
        for case in cases() {
            let said = Rc::new(RefCell::new(Vec::new()));
            let done = Rc::new(Cell::new(false));
            spawn(|| ()).rawlink({
                let (said, done) = (said.clone(), done.clone());
                let (wait, limited) = (case.wait.clone(), case.limited.clone());
                move |_| {
                    let note = |outcome: Result<(), GreenletError>| {
                        said.borrow_mut().push(match outcome {
                            Err(GreenletError::Failed(failure)) => failure.to_string(),
                            other => format!("{other:?}"),
                        });
                    };
                    note(attempt(|| wait()));
                    note(attempt(|| ignore(limited(SHORT))));
                    done.set(true);
                }
            });
            support::until(|| done.get());
            for said in said.borrow().iter() {
                assert!(said.contains("must not block"), "{}: {said}", case.name);
            }
            assert_eq!(said.borrow().len(), 2);
            comes(&case);
        }
    });
}

/// The kinds of waits that the sources name, in `wait("...")` and the like.
fn kinds(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            kinds(&path, found);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.replace(' ', "");
        for call in ["wait(\"", "next(\"", "wait_for_claim(\""] {
            found.extend(
                code.split(call)
                    .skip(1)
                    .filter_map(|rest| rest.split_once("\",").map(|kind| kind.0.to_owned())),
            );
        }
    }
}

#[test]
fn no_kind_of_wait_is_missing_here() {
    let _alone = alone();
    run(|| {
        let mut kinds_there = BTreeSet::new();
        kinds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut kinds_there);
        assert!(kinds_there.len() > 15, "the scan finds them: {kinds_there:?}");
        let cases = cases();
        let names: Vec<_> = cases.iter().map(|case| case.name.replace(' ', "")).collect();
        for kind in kinds_there {
            assert!(names.iter().any(|name| name.starts_with(&kind)), "no case for {kind}");
        }
    });
}

#[test]
fn sleeping_obeys_the_same_rules() {
    run(|| {
        assert!(with_timeout(SHORT, || sleep(FOREVER)).is_err());
        let nested = with_timeout(GENEROUS, || with_timeout(SHORT, || sleep(FOREVER)));
        assert!(matches!(nested, Ok(Err(_))));
        let sleeper = spawn(|| sleep(FOREVER));
        yield_now();
        sleeper.kill();
        assert!(sleeper.exited());
        let refused = Rc::new(Cell::new(0));
        spawn(|| ()).rawlink({
            let refused = refused.clone();
            move |_| {
                let naps: [fn(); 2] = [|| sleep(SHORT), yield_now];
                refused.set(naps.into_iter().filter(|nap| attempt(nap).is_err()).count());
            }
        });
        support::until(|| refused.get() == 2);
    });
}
