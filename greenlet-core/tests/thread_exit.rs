//! The end of a thread, and of the process, while greenlets are alive.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::{
    Builder, Config, Event, Greenlet, GreenletError, Hub, StackSize, catch, current, run, sleep, spawn,
    spawn_later, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, SHORT, Tally, is_child, run_child, settle, stderr};

const SIGABRT: i32 = 6;

#[test]
fn a_thread_that_ends_with_live_greenlets_aborts_and_lists_them() {
    const TEST: &str = "a_thread_that_ends_with_live_greenlets_aborts_and_lists_them";
    if is_child(TEST) {
        let ends = || {
            for name in ["first", "second"] {
                drop(Builder::new().name(name).spawn(|| sleep(FOREVER)));
            }
            yield_now();
        };
        drop(thread::spawn(ends).join());
        panic!("the thread ended as if nothing were");
    }
    let output = run_child(TEST);
    let said = stderr(&output);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{said}");
    for name in ["first (Greenlet-", "second (Greenlet-"] {
        assert!(said.contains(name), "{said}");
    }
    assert!(said.contains(&format!("spawned at {}", file!())), "{said}");
    assert!(said.contains("greenlet_core::run"), "it says what helps: {said}");
}

const FIRST: &str = "the_first_thread_may_end_with_live_greenlets";

/// libtest runs every test on a thread of its own. The process's first thread is ours before its `main` only.
// SAFETY: the loader calls what is listed in this section once, on the first thread, with libc at work; of std, nothing
// is used here that needs its `main` to have begun.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn first_thread() {
        if is_child(FIRST) {
            drop(spawn(|| {
                let _guard = OnDrop(|| std::process::abort());
                sleep(FOREVER);
            }));
            yield_now();
            // As a `main` that returns: the thread-locals of this thread are destroyed.
            std::process::exit(7);
        }
    }
    first_thread
};

#[test]
fn the_first_thread_may_end_with_live_greenlets() {
    assert!(!is_child(FIRST), "that ended before");
    let output = run_child(FIRST);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_destructor_that_starts_greenlets_while_the_thread_ends_aborts() {
    const TEST: &str = "a_destructor_that_starts_greenlets_while_the_thread_ends_aborts";
    if is_child(TEST) {
        let ends = || {
            let guard = OnDrop(|| drop(spawn(|| sleep(FOREVER))));
            drop(spawn(move || drop(guard)));
            Hub::current();
        };
        // Started, but without a turn it has no stack: whether that aborts is up to the hub. It must not crash.
        drop(thread::spawn(ends).join());
        std::process::exit(0);
    }
    let output = run_child(TEST);
    let clean = output.status.success() || output.status.signal() == Some(SIGABRT);
    assert!(clean, "{:?} {}", output.status, stderr(&output));
}

#[test]
fn a_thread_may_end_with_greenlets_that_never_had_a_turn() {
    let tally = Tally::default();
    thread::spawn({
        let tally = tally.clone();
        move || {
            let tokens: Vec<_> = (0..3).map(|_| tally.token()).collect();
            let [spawned, later, new] = tokens.try_into().unwrap();
            drop(spawn(move || drop(spawned)));
            drop(spawn_later(GENEROUS, move || drop(later)));
            drop(greenlet_core::Greenlet::new(move || drop(new)));
        }
    })
    .join()
    .unwrap();
    tally.assert_all_home();
}

#[test]
fn a_destructor_that_yields_starts_nobody_while_the_thread_ends() {
    let (gate, started) = (Arc::new(Event::new()), Arc::new(Event::new()));
    let (waits_for, tells) = (gate.clone(), started.clone());
    thread::spawn(move || {
        Hub::configure(Config::default().stack_size(StackSize::new(64 << 20).unwrap())).unwrap();
        let guard = OnDrop(yield_now);
        drop(spawn(move || drop(guard)));
        drop(spawn(move || {
            tells.set();
            waits_for.wait();
        }));
    })
    .join()
    .unwrap();
    assert!(!started.is_set());
    gate.set();
}

#[test]
fn run_ends_what_is_left() {
    let tally = Tally::default();
    thread::spawn({
        let tally = tally.clone();
        move || {
            run(|| {
                for _ in 0..100 {
                    let token = tally.token();
                    drop(spawn(move || {
                        let _token = token;
                        sleep(FOREVER);
                    }));
                }
                yield_now();
            });
        }
    })
    .join()
    .unwrap();
    tally.assert_all_home();
}

#[test]
fn run_ends_what_is_left_when_its_closure_panics() {
    let tally = Tally::default();
    let ended = thread::spawn({
        let tally = tally.clone();
        move || {
            run(|| {
                let token = tally.token();
                drop(spawn(move || {
                    let _token = token;
                    sleep(FOREVER);
                }));
                yield_now();
                panic!("in the closure of run");
            });
        }
    })
    .join();
    assert_eq!(ended.unwrap_err().downcast_ref(), Some(&"in the closure of run"));
    tally.assert_all_home();
}

#[test]
fn run_waits_for_destructors_and_for_what_they_spawn() {
    let tally = Tally::default();
    run(|| {
        let token = tally.token();
        drop(spawn(move || {
            let mut token = Some(token);
            let _guard = OnDrop(move || {
                sleep(SHORT);
                let token = token.take();
                drop(spawn(move || {
                    let _token = token;
                    sleep(FOREVER);
                }));
                settle();
            });
            sleep(FOREVER);
        }));
        yield_now();
    });
    tally.assert_all_home();
}

#[test]
fn run_outlasts_those_who_survive_a_few_kills() {
    let tally = Tally::default();
    run(|| {
        let token = tally.token();
        drop(spawn(move || {
            let _token = token;
            (0..10).for_each(|_| drop(catch(|| sleep(FOREVER)).err()));
        }));
        yield_now();
    });
    tally.assert_all_home();
}

#[test]
fn run_ends_those_that_wait_for_their_start_time() {
    run(|| {
        let later = run(|| spawn_later(GENEROUS, || ()));
        assert!(later.ready() && later.exited());
    });
}

#[test]
fn run_returns_what_its_closure_returns_and_may_be_called_again() {
    assert_eq!(run(|| 3), 3);
    assert_eq!(run(|| spawn(|| 4).get().unwrap()), 4);
}

#[test]
fn run_is_refused_inside_a_greenlet() {
    run(|| {
        let greenlet = spawn(|| run(|| ()));
        greenlet.join();
        assert!(greenlet.exception().unwrap().to_string().contains("not inside a greenlet"));
    });
}

#[test]
fn the_main_greenlet_of_a_thread_that_ended_has_ended() {
    let main = thread::spawn(current).join().unwrap();
    assert!(main.ready());
    main.kill();
    main.join();
}

#[test]
fn a_hub_thread_that_is_joined_waits_for_all_that_was_sent_and_planned() {
    let tally = Tally::default();
    let hub = Hub::thread("worker").start().unwrap();
    for _ in 0..50 {
        let token = tally.stray_token();
        let sent = hub.handle().spawn(move || {
            drop(spawn_later(SHORT, move || {
                yield_now();
                drop(spawn(move || drop(token)));
            }));
        });
        drop(sent.unwrap());
    }
    hub.join();
    tally.assert_all_home();
}

#[test]
fn a_hub_thread_that_is_shut_down_kills_and_waits_for_destructors() {
    let tally = Tally::default();
    let hub = Hub::thread("worker").start().unwrap();
    let started = Arc::new(Event::new());
    let token = tally.stray_token();
    let greenlet = hub.handle().spawn({
        let started = started.clone();
        move || {
            let mut token = Some(token);
            let _guard = OnDrop(move || {
                sleep(SHORT);
                drop(token.take());
            });
            started.set();
            sleep(FOREVER);
        }
    });
    started.wait();
    hub.shutdown();
    tally.assert_all_home();
    assert!(greenlet.unwrap().exited());
}

#[test]
fn a_hub_thread_that_is_dropped_shuts_down_by_itself() {
    let hub = Hub::thread("worker").start().unwrap();
    let greenlet = hub.handle().spawn(|| sleep(FOREVER)).unwrap();
    drop(hub);
    assert!(greenlet.join_timeout(GENEROUS));
    assert!(greenlet.exited());
}

#[test]
fn a_panic_in_main_of_a_thread_without_run_is_that_threads_own() {
    let ended = thread::spawn(|| {
        spawn(|| ()).join();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            if true {
                panic!("caught")
            }
        }));
        assert!(caught.is_err());
        sleep(Duration::ZERO);
        panic!("the end");
    });
    assert!(ended.join().is_err());
}

#[test]
fn nobody_is_resumed_by_the_destructor_of_a_thread_local() {
    const TEST: &str = "nobody_is_resumed_by_the_destructor_of_a_thread_local";

    /// Yields when the thread ends; greenlets that borrow it must not run then.
    struct Borrowed;
    impl Drop for Borrowed {
        fn drop(&mut self) {
            yield_now();
        }
    }
    thread_local!(static LATER: Borrowed = const { Borrowed });

    if is_child(TEST) {
        let ends = || {
            // The thread-local is used after the hub was made, so it is destroyed before the hub.
            drop(spawn(|| {
                LATER.with(|_borrowed| {
                    yield_now();
                    println!("resumed with a borrow of a dead thread-local");
                    std::process::exit(3);
                });
            }));
            yield_now();
        };
        drop(thread::spawn(ends).join());
        panic!("the thread ended as if nothing were");
    }
    let output = run_child(TEST);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("a thread ended while these greenlets were alive"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_kill_from_elsewhere_that_meets_the_end_of_the_hub_returns() {
    for started in [true, false] {
        for in_run in [true, false] {
            let (tell, told) = std::sync::mpsc::channel();
            let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
            let ends = move || {
                let target = Greenlet::new(|| ());
                if started {
                    target.start();
                }
                tell.send((*target).clone()).unwrap();
                // The loop does not turn; the kill waits in the inbox.
                let _ = goes_on.recv_timeout(SHORT);
            };
            let thread = thread::spawn(move || if in_run { run(ends) } else { ends() });
            let target = told.recv().unwrap();
            target.kill();
            assert!(target.ready());
            drop(go_on);
            thread.join().unwrap();
        }
    }
}

#[test]
#[should_panic(expected = "the thread of a hub cannot wait for its own end")]
fn a_hub_thread_is_not_joined_from_its_own_hub() {
    let hub = Arc::new(std::sync::Mutex::new(None));
    let thread = Hub::thread("joins-itself").start().unwrap();
    let handle = thread.handle().clone();
    *hub.lock().unwrap() = Some(thread);
    let joins = handle
        .spawn({
            let hub = hub.clone();
            move || {
                let thread = hub.lock().unwrap().take().unwrap();
                thread.join();
            }
        })
        .unwrap();
    match joins.get() {
        Err(GreenletError::Failed(failure)) => panic!("{failure}"),
        other => panic!("it joined: {other:?}"),
    }
}
