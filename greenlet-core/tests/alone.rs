//! Tests that need a process with one thread: each runs as the main function of a child of its own, since the usual
//! harness runs tests in threads.

mod support;

use std::cell::Cell;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_core::io::{Direction, Source};
use greenlet_core::pool::ThreadPool;
use greenlet_core::sync::{RLock, Semaphore};
use greenlet_core::watcher::{Async, Io, Timer};
use greenlet_core::{
    AsyncResult, Builder, Event, Hub, Kill, LoopExit, Queue, catch, current, is_unwinding, joinall, run,
    sleep, spawn, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Recorder, SHORT};
use tracing_subscriber::prelude::*;

/// What becomes of the child.
#[derive(Clone, Copy)]
enum Ends {
    Well,
    /// With a failure, and this in what it printed.
    Saying(&'static str),
}

type Test = (&'static str, fn(), Ends);

macro_rules! tests {
    ($($name:ident $(=> $ends:expr)?,)*) => {
        const TESTS: &[Test] = &[$((stringify!($name), $name, tests!(@ $($ends)?))),*];
    };
    (@) => { Ends::Well };
    (@ $ends:expr) => { $ends };
}

tests! {
    main_that_waits_for_nothing_gets_loop_exit_and_the_hub_goes_on,
    greenlets_that_wait_for_each_other_are_found,
    what_can_still_wake_somebody_prevents_it,
    watchers_count_unless_told_not_to,
    a_destructor_of_main_that_waits_for_nothing_is_not_raised_in,
    a_thread_that_is_gone_does_not_count,
    a_program_that_ends_in_it_says_so => Ends::Saying("this would block forever"),
    the_child_has_a_hub_of_its_own_and_the_parent_keeps_its_events,
    greenlets_go_on_in_the_child,
    a_child_may_kill_what_it_inherits,
    locks_and_queues_go_on_in_the_child,
    the_thread_pool_of_a_child_is_a_new_one,
    reinit_without_a_hub_and_twice_does_no_harm,
    fork_works_with_poll_too,
}

const CHILD: &str = "GREENLET_TEST_ALONE";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CHILD) {
        let (_, test, _) = TESTS.iter().find(|(test, ..)| *test == name).expect("a test of that name");
        assert_eq!(std::fs::read_dir("/proc/self/task").unwrap().count(), 1, "a process with one thread");
        test();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    if std::env::args().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, ..)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, _, ends) in TESTS.iter().filter(|(name, ..)| wanted(name)) {
        match run_alone(name, *ends) {
            Ok(()) => println!("test {name} ... ok"),
            Err(output) => {
                failed += 1;
                println!("test {name} ... FAILED\n{output}");
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_alone(name: &str, ends: Ends) -> Result<(), String> {
    let mut child = Command::new(std::env::current_exe().expect("a test has an executable"))
        .env(CHILD, name)
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stderr = child.stderr.take().expect("it is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let begin = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            _ if begin.elapsed() > GENEROUS => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("it hangs".to_owned());
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let text = reader.join().expect("the reader does not panic").unwrap_or_default();
    let right = match ends {
        Ends::Well => status.success(),
        Ends::Saying(what) => !status.success() && text.contains(what),
    };
    if right { Ok(()) } else { Err(format!("{status}\n{text}")) }
}

// --- LoopExit ----------------------------------------------------------------------------------------------------------

fn main_that_waits_for_nothing_gets_loop_exit_and_the_hub_goes_on() {
    let event = Rc::new(Event::new());
    let stuck = Builder::new().name("worker 7").spawn({
        let event = event.clone();
        move || event.wait()
    });
    let raised = catch(|| Event::new().wait()).unwrap_err();
    assert!(raised.is::<LoopExit>());
    let text = raised.to_string();
    for part in ["block forever", "worker 7", "main", file!()] {
        assert!(text.contains(part), "{part} is in {text}");
    }
    assert!(!stuck.ready(), "the others stay suspended");
    sleep(SHORT);
    event.set();
    assert!(stuck.join_timeout(FOREVER), "and can be woken");
    // Again, and with other ways to wait.
    assert!(catch(|| Queue::<u8>::unbounded().get()).unwrap_err().is::<LoopExit>());
    assert!(catch(|| Queue::<u8>::unbounded().peek()).unwrap_err().is::<LoopExit>());
    assert!(catch(|| drop(AsyncResult::<u8>::new().get())).unwrap_err().is::<LoopExit>());
    assert_eq!(spawn(|| 3).get().unwrap(), 3);
}

fn greenlets_that_wait_for_each_other_are_found() {
    let main = current();
    let child = spawn(move || main.join());
    assert!(catch(|| child.join()).unwrap_err().is::<LoopExit>());
    assert!(catch(|| joinall([&child])).unwrap_err().is::<LoopExit>());
}

fn what_can_still_wake_somebody_prevents_it() {
    let stuck = || Event::new().wait();
    // A timer of main's own, and one of somebody else.
    assert!(with_timeout(Duration::from_millis(40), stuck).is_err());
    let sleeper = spawn(|| sleep(Duration::from_millis(40)));
    sleeper.join();
    // Somebody waits for a descriptor.
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let source = Rc::new(Source::new(ours));
    let reader = spawn({
        let source = source.clone();
        move || source.read(&mut [0], None).map(drop).map_err(|error| error.kind())
    });
    let passer = Io::new(&theirs, Direction::Write, || ()).unwrap();
    passer.stop();
    std::thread::sleep(Duration::from_millis(30));
    let closer = greenlet_core::spawn_later(Duration::from_millis(40), move || drop((passer, theirs)));
    assert_eq!(reader.get().unwrap(), Ok(()));
    closer.join();
    // A registered source that nobody waits for is none.
    assert!(catch(stuck).unwrap_err().is::<LoopExit>());
    drop(source);
    // One who sleeps for ever means to.
    let forever = spawn(|| sleep(FOREVER));
    yield_now();
    assert!(with_timeout(Duration::from_millis(40), stuck).is_err());
    forever.kill();
    assert!(catch(stuck).unwrap_err().is::<LoopExit>());
}

fn watchers_count_unless_told_not_to() {
    let stuck = || Event::new().wait();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let io = Io::new(&ours, Direction::Read, || ()).unwrap();
    assert!(with_timeout(Duration::from_millis(40), stuck).is_err());
    let io = io.uncounted();
    assert!(catch(stuck).unwrap_err().is::<LoopExit>());
    let fired = Rc::new(Cell::new(0));
    let timer = Timer::once(Duration::from_secs(3600), {
        let fired = fired.clone();
        move || fired.set(1)
    });
    assert!(with_timeout(Duration::from_millis(40), stuck).is_err());
    let timer = timer.uncounted();
    assert!(catch(stuck).unwrap_err().is::<LoopExit>());
    timer.again();
    assert!(catch(stuck).unwrap_err().is::<LoopExit>());
    drop((io, timer, theirs));
    assert!(catch(stuck).unwrap_err().is::<LoopExit>());
    assert_eq!(fired.get(), 0);
}

fn a_destructor_of_main_that_waits_for_nothing_is_not_raised_in() {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let unwound = catch(|| {
        let _guard = OnDrop(|| {
            assert!(is_unwinding());
            // An uncounted timer does not keep the hub alive, but it ends this wait.
            let event = Rc::new(Event::new());
            let setter = event.clone();
            let _timer = Timer::once(Duration::from_millis(100), move || setter.set()).uncounted();
            event.wait();
        });
        greenlet_core::raise(support::Oops("unwinding"));
    });
    assert!(unwound.unwrap_err().is::<support::Oops>());
    let reports = recorder.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].text.contains("block forever"), "{reports:?}");
}

fn a_thread_that_is_gone_does_not_count() {
    Hub::current();
    let event = std::sync::Arc::new(Event::new());
    let setter = std::thread::spawn({
        let event = event.clone();
        move || {
            std::thread::sleep(Duration::from_millis(60));
            event.set();
        }
    });
    event.wait();
    setter.join().unwrap();
    assert!(catch(|| Event::new().wait()).unwrap_err().is::<LoopExit>());
}

fn a_program_that_ends_in_it_says_so() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    run(|| Event::new().wait());
}

// --- fork --------------------------------------------------------------------------------------------------------------

/// Runs `in_child` in a forked child, which then exits, and `in_parent` meanwhile. Both must go well.
fn fork(in_child: impl FnOnce(), in_parent: impl FnOnce()) {
    // SAFETY: this process has one thread, so the child is an exact copy.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork: {}", std::io::Error::last_os_error()),
        0 => {
            let went_well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(in_child)).is_ok();
            // SAFETY: it ends the process, without destructors: what was copied is the parent's to tidy up.
            unsafe { libc::_exit(i32::from(!went_well)) }
        }
        child => {
            in_parent();
            let mut status = 0;
            // SAFETY: waits for that child, and writes how it ended. The thread itself waits: greenlets of the parent would read
            // what is meant for the child.
            let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((ended, status), (child, 0), "how the child ended");
        }
    }
}

/// A pair whose ends are to be read and written by greenlets.
fn pair() -> (Source<UnixStream>, Source<UnixStream>) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (Source::new(a), Source::new(b))
}

fn the_child_has_a_hub_of_its_own_and_the_parent_keeps_its_events() {
    let (ours, theirs) = pair();
    let reader = spawn(move || {
        let mut byte = [0];
        ours.read(&mut byte, Some(GENEROUS)).unwrap();
        (byte[0], ours)
    });
    yield_now();
    let (done, wait_for_it) = UnixStream::pair().unwrap();
    fork(
        || {
            Hub::reinit().unwrap();
            // Everything that touches the poller: what the parent registered is closed here.
            drop(reader.clone());
            reader.kill();
            let (a, b) = pair();
            let echo = spawn(move || a.read(&mut [0; 8], Some(GENEROUS)).unwrap());
            yield_now();
            b.write(b"abc", None).unwrap();
            assert_eq!(echo.get().unwrap(), 3);
            sleep(SHORT);
            std::io::Write::write_all(&mut &done, b"x").unwrap();
        },
        || {
            std::io::Read::read_exact(&mut &wait_for_it, &mut [0]).unwrap();
            assert_eq!(theirs.write(b"!", None).unwrap(), 1);
            reader.join();
            assert_eq!(reader.value().unwrap().0, b'!', "the child has taken nothing away");
        },
    );
}

fn greenlets_go_on_in_the_child() {
    let (ours, theirs) = pair();
    let event = Rc::new(Event::new());
    let reader = spawn(move || {
        let mut byte = [0];
        ours.read(&mut byte, Some(GENEROUS)).unwrap();
        byte[0]
    });
    let sleeper = spawn(|| sleep(Duration::from_millis(20)));
    let waiter = support::with(&event, |event: &Event| event.wait());
    let fired = Rc::new(Cell::new(0));
    let (watched, peer) = UnixStream::pair().unwrap();
    let watcher = Io::new(watched.try_clone().unwrap(), Direction::Read, {
        let fired = fired.clone();
        move || {
            std::io::Read::read_exact(&mut &watched, &mut [0]).unwrap();
            fired.set(fired.get() + 1);
        }
    })
    .unwrap();
    yield_now();
    fork(
        || {
            Hub::reinit().unwrap();
            theirs.write(b"c", None).unwrap();
            std::io::Write::write_all(&mut &peer, b"x").unwrap();
            assert_eq!(reader.get().unwrap(), b'c');
            sleeper.join();
            event.set();
            waiter.join();
            support::until(|| fired.get() == 1);
            // And from another thread.
            let hub = Hub::current();
            let told = std::sync::Arc::new(Event::new());
            let setter = told.clone();
            let thread = std::thread::spawn(move || hub.call(move || setter.set()).unwrap());
            told.wait();
            thread.join().unwrap();
        },
        || (),
    );
    // The child has read what there was, from the same sockets. The parent goes on with its own copies of the rest.
    theirs.write(b"p", None).unwrap();
    assert_eq!(reader.get().unwrap(), b'p');
    event.set();
    joinall([&sleeper, &waiter]);
    std::io::Write::write_all(&mut &peer, b"x").unwrap();
    support::until(|| fired.get() == 1);
    drop(watcher);
}

fn a_child_may_kill_what_it_inherits() {
    let ran = Rc::new(Cell::new(0));
    let unwound = Rc::new(Cell::new(0));
    let greenlets: Vec<_> = (0..3)
        .map(|_| {
            let (ran, unwound) = (ran.clone(), unwound.clone());
            spawn(move || {
                let _guard = OnDrop(|| unwound.set(unwound.get() + 1));
                sleep(Duration::from_millis(20));
                ran.set(ran.get() + 1);
            })
        })
        .collect();
    yield_now();
    fork(
        || {
            Hub::reinit().unwrap();
            for greenlet in &greenlets {
                greenlet.kill_with(Kill::default());
            }
            assert!(Hub::join_timeout(GENEROUS));
            assert_eq!((ran.get(), unwound.get()), (0, 3));
        },
        || {
            joinall(&greenlets);
            assert_eq!((ran.get(), unwound.get()), (3, 3), "the parent's have run");
        },
    );
}

fn locks_and_queues_go_on_in_the_child() {
    let shared = Rc::new((RLock::new(), Semaphore::new(0), Queue::bounded(1)));
    shared.0.acquire();
    shared.2.put(1).unwrap();
    let locker = support::with(&shared, |shared| drop(shared.0.lock()));
    let acquirer = support::with(&shared, |shared| shared.1.acquire());
    let putter = support::with(&shared, |shared| shared.2.put(2).unwrap());
    yield_now();
    let go_on = || {
        assert!(shared.0.is_owned(), "main is main in the child too");
        shared.0.acquire();
        (0..2).for_each(|_| shared.0.release().unwrap());
        shared.1.release();
        assert_eq!((shared.2.get(), shared.2.get()), (Ok(1), Ok(2)));
        joinall([&locker, &acquirer, &putter]);
    };
    fork(
        || {
            Hub::reinit().unwrap();
            go_on();
        },
        go_on,
    );
}

fn the_thread_pool_of_a_child_is_a_new_one() {
    ThreadPool::global().spawn(|| ()).get().unwrap();
    ThreadPool::global().set_idle_timeout(Some(Duration::ZERO));
    // The child may only be forked from a process of one thread.
    support::until(|| ThreadPool::global().threads() == 0);
    while std::fs::read_dir("/proc/self/task").unwrap().count() > 1 {
        sleep(SHORT);
    }
    let parents = std::ptr::from_ref(ThreadPool::global());
    fork(
        || {
            Hub::reinit().unwrap();
            assert!(!std::ptr::eq(ThreadPool::global(), parents));
            assert_eq!(ThreadPool::global().apply(|| 6 * 7).unwrap(), 42);
        },
        || assert_eq!(ThreadPool::global().apply(|| 6 * 7).unwrap(), 42),
    );
}

fn reinit_without_a_hub_and_twice_does_no_harm() {
    Hub::reinit().unwrap();
    let (ours, theirs) = pair();
    let reader = spawn(move || ours.read(&mut [0], Some(GENEROUS)).unwrap());
    yield_now();
    Hub::reinit().unwrap();
    Hub::reinit().unwrap();
    theirs.write(b"x", None).unwrap();
    assert_eq!(reader.get().unwrap(), 1);
    let watcher = Async::new(|| assert!(Hub::reinit().is_ok(), "in the loop it panics"));
    watcher.sender().send().unwrap();
    yield_now();
}

fn fork_works_with_poll_too() {
    Hub::configure(greenlet_core::Config::default().poller(greenlet_core::PollerKind::Poll)).unwrap();
    greenlets_go_on_in_the_child();
    reinit_without_a_hub_and_twice_does_no_harm();
}
