//! Signals: handlers, waiting, and what the kernel does by itself. All of it concerns the whole process, so each test runs in
//! one of its own.

mod support;

use std::cell::{Cell, RefCell};
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenlet_core::signal::{
    self, SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SignalError,
    Signals,
};
use greenlet_core::{
    Event, Failure, GreenletExit, Hub, Queue, StackSize, catch, current, raise, run, sleep, spawn, yield_now,
};
use signal_hook::low_level::raise as send;
use support::{FOREVER, Oops, Recorder, SHORT, is_child, no_wait, run_child, settle, stderr, until};
use tracing_subscriber::layer::SubscriberExt;

/// Runs the body in a process of its own, inside `run`.
#[track_caller]
fn alone(test: &str, body: impl FnOnce()) -> Option<Output> {
    if is_child(test) {
        run(body);
        return None;
    }
    Some(run_child(test))
}

/// As `alone`, where nothing may fail.
#[track_caller]
fn passes_alone(test: &str, body: impl FnOnce()) {
    if let Some(output) = alone(test, body) {
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}{}", stderr(&output));
    }
}

/// To the process, not to this thread.
fn send_to_process(signal: i32) {
    // SAFETY: a plain call.
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
}

// --- handlers -----------------------------------------------------------------------------------------------------

#[test]
fn a_handler_runs_in_a_fresh_greenlet_which_may_suspend() {
    passes_alone("a_handler_runs_in_a_fresh_greenlet_which_may_suspend", || {
        let names = Rc::new(RefCell::new(Vec::new()));
        let (done, main) = (Rc::new(Event::new()), current());
        let handler = signal::handle(SIGUSR1, {
            let (names, done) = (names.clone(), done.clone());
            move || {
                assert_ne!(current(), main);
                sleep(SHORT);
                names.borrow_mut().push(current().name());
                done.set();
            }
        })
        .unwrap();
        assert_eq!(handler.signal(), SIGUSR1);
        send(SIGUSR1).unwrap();
        assert!(!done.is_set(), "it runs when the loop does");
        done.wait();
        assert_eq!(*names.borrow(), ["handler of SIGUSR1"]);
    });
}

#[test]
fn all_handlers_of_a_signal_run_on_the_hubs_that_installed_them() {
    passes_alone("all_handlers_of_a_signal_run_on_the_hubs_that_installed_them", || {
        let ran = Arc::new(Queue::unbounded());
        let install = |name: &'static str| {
            let (ran, here) = (ran.clone(), thread::current().id());
            signal::handle(SIGUSR1, move || {
                assert_eq!(thread::current().id(), here);
                ran.put(name).unwrap();
            })
            .unwrap()
        };
        let _two = [install("first"), install("second")];
        let worker = Hub::thread("worker").start().unwrap();
        let ran_there = ran.clone();
        let installed = worker.handle().spawn(move || {
            signal::handle(SIGUSR1, move || ran_there.put("worker").unwrap()).unwrap();
        });
        installed.unwrap().get().unwrap();
        send_to_process(SIGUSR1);
        let mut names = [(); 3].map(|()| ran.get().unwrap());
        names.sort_unstable();
        assert_eq!(names, ["first", "second", "worker"]);
        worker.shutdown();
    });
}

#[test]
fn deliveries_that_the_hub_has_not_seen_are_one() {
    passes_alone("deliveries_that_the_hub_has_not_seen_are_one", || {
        let count = Rc::new(Cell::new(0));
        let seen = count.clone();
        signal::handle(SIGUSR1, move || seen.set(seen.get() + 1)).unwrap();
        for round in 1..=3 {
            for _ in 0..5 {
                send(SIGUSR1).unwrap();
            }
            sleep(SHORT);
            settle();
            assert_eq!(count.get(), round);
        }
    });
}

#[test]
fn a_sleeping_hub_hears_every_signal() {
    passes_alone("a_sleeping_hub_hears_every_signal", || {
        const ROUNDS: usize = 3000;
        let heard = Arc::new(AtomicUsize::new(0));
        let count = heard.clone();
        let done = Rc::new(Event::new());
        signal::handle(SIGUSR1, {
            let done = done.clone();
            move || {
                if count.fetch_add(1, Ordering::SeqCst) + 1 == ROUNDS {
                    done.set();
                }
            }
        })
        .unwrap();
        // One after the other: a wake-up that is lost stops it.
        let sender = thread::spawn(move || {
            for round in 0..ROUNDS {
                send_to_process(SIGUSR1);
                while heard.load(Ordering::SeqCst) == round {
                    thread::yield_now();
                }
            }
        });
        done.wait();
        sender.join().unwrap();
    });
}

#[test]
fn a_hub_that_never_sleeps_hears_signals_too() {
    passes_alone("a_hub_that_never_sleeps_hears_signals_too", || {
        let told = Rc::new(Cell::new(false));
        let heard = told.clone();
        signal::handle(SIGUSR1, move || heard.set(true)).unwrap();
        spawn(|| {
            loop {
                yield_now();
            }
        });
        send_to_process(SIGUSR1);
        until(|| told.get());
    });
}

#[test]
fn what_is_no_signal_or_cannot_be_handled_is_refused() {
    passes_alone("what_is_no_signal_or_cannot_be_handled_is_refused", || {
        for number in [0, -1, i32::MIN, i32::MAX, 65, 1000] {
            let refused = signal::handle(number, || ()).unwrap_err();
            assert!(matches!(refused, SignalError::OutOfRange { found, last: 64 } if found == number));
            assert_eq!(refused.to_string(), format!("a signal's number is from 1 to 64, not {number}"));
        }
        for number in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE]
        {
            let refused = signal::handle(number, || ()).unwrap_err();
            assert!(matches!(refused, SignalError::Forbidden { signal } if signal == number));
        }
        assert_eq!(signal::handle(9, || ()).unwrap_err().to_string(), "SIGKILL cannot be handled");
        // glibc keeps it for itself.
        let refused = signal::handle(32, || ()).unwrap_err();
        assert!(matches!(refused, SignalError::Refused { signal: 32, .. }), "{refused}");
        assert!(refused.to_string().starts_with("signal 32 cannot be handled: "), "{refused}");
        // One bad signal takes the good ones with it.
        assert!(matches!(Signals::new([SIGUSR1, 9]), Err(SignalError::Forbidden { signal: 9 })));
        assert!(matches!(signal::wait([0]), Err(SignalError::OutOfRange { found: 0, .. })));
        assert!(matches!(signal::wait_timeout([65], FOREVER), Err(SignalError::OutOfRange { .. })));
        assert!(matches!(signal::shutdown_on([SIGTERM, -3]), Err(SignalError::OutOfRange { found: -3, .. })));
    });
}

#[test]
fn a_cancelled_handler_does_not_run_even_for_a_signal_that_has_come() {
    passes_alone("a_cancelled_handler_does_not_run_even_for_a_signal_that_has_come", || {
        let stays = signal::handle(SIGUSR1, || ()).unwrap();
        let cancelled = signal::handle(SIGUSR1, || panic!("it was cancelled")).unwrap();
        assert!(cancelled.is_active());
        send(SIGUSR1).unwrap();
        cancelled.cancel();
        cancelled.cancel();
        assert!(!cancelled.is_active());
        sleep(SHORT);
        settle();
        assert!(stays.is_active());
    });
}

#[test]
fn a_dropped_handle_leaves_the_handler_installed() {
    passes_alone("a_dropped_handle_leaves_the_handler_installed", || {
        let told = Rc::new(Event::new());
        drop(signal::handle(SIGTERM, {
            let told = told.clone();
            move || told.set()
        }));
        send(SIGTERM).unwrap();
        told.wait();
    });
}

#[test]
fn a_handler_may_cancel_itself_and_install_another() {
    passes_alone("a_handler_may_cancel_itself_and_install_another", || {
        let told = Rc::new(Event::new());
        let own = Rc::new(RefCell::new(None::<signal::SignalHandler>));
        let handler = signal::handle(SIGUSR1, {
            let (own, told) = (own.clone(), told.clone());
            move || {
                own.borrow().as_ref().unwrap().cancel();
                let told = told.clone();
                signal::handle(SIGUSR1, move || told.set()).unwrap();
                send(SIGUSR1).unwrap();
            }
        });
        *own.borrow_mut() = Some(handler.unwrap());
        send(SIGUSR1).unwrap();
        told.wait();
    });
}

#[test]
fn what_a_handler_raises_reaches_main_each_time_and_is_reported_once() {
    passes_alone("what_a_handler_raises_reaches_main_each_time_and_is_reported_once", || {
        let recorder = Recorder::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        signal::handle(SIGALRM, || raise(Oops("alarm"))).unwrap();
        for times in 1..=2 {
            send(SIGALRM).unwrap();
            let raised = catch(|| sleep(FOREVER)).unwrap_err();
            assert_eq!(raised.downcast_ref(), Some(&Oops("alarm")));
            let reports = recorder.reports();
            assert_eq!(reports.len(), times, "{reports:?}");
            let text = &reports[times - 1].text;
            assert!(text.contains("failed: alarm") && text.contains("handler of SIGALRM"), "{text}");
        }
    });
}

#[test]
fn a_panic_of_a_handler_reaches_main_as_a_failure() {
    passes_alone("a_panic_of_a_handler_reaches_main_as_a_failure", || {
        signal::handle(SIGUSR2, || panic!("no such page")).unwrap();
        for _ in 0..2 {
            send(SIGUSR2).unwrap();
            let raised = catch(|| sleep(FOREVER)).unwrap_err();
            let failure = raised.downcast_ref::<Failure>().unwrap();
            assert!(failure.is_panic() && failure.to_string().contains("no such page"), "{failure}");
        }
    });
}

#[test]
fn a_handler_that_exits_has_not_failed() {
    passes_alone("a_handler_that_exits_has_not_failed", || {
        let ran = Rc::new(Cell::new(0));
        let count = ran.clone();
        signal::handle(SIGUSR2, move || {
            count.set(count.get() + 1);
            raise(GreenletExit);
        })
        .unwrap();
        send(SIGUSR2).unwrap();
        sleep(SHORT);
        settle();
        assert_eq!(ran.get(), 1);
    });
}

#[test]
fn handlers_keep_no_hub_alive_and_end_with_it() {
    passes_alone("handlers_keep_no_hub_alive_and_end_with_it", || {
        let token = Arc::new(());
        let theirs = token.clone();
        // SIGCHLD: its default is to be ignored.
        thread::spawn(|| run(move || drop(signal::handle(SIGCHLD, move || drop(theirs.clone())))))
            .join()
            .unwrap();
        assert_eq!(Arc::strong_count(&token), 1, "the handler went with its hub");
        send(SIGCHLD).unwrap();

        let worker = Hub::thread("worker").start().unwrap();
        let installed = worker.handle().spawn(|| drop(signal::handle(SIGCHLD, || ())));
        installed.unwrap().get().unwrap();
        worker.join();
    });
}

#[test]
fn a_handler_takes_no_room_on_the_stack_of_a_greenlet() {
    passes_alone("a_handler_takes_no_room_on_the_stack_of_a_greenlet", || {
        let told = Rc::new(Event::new());
        signal::handle(SIGUSR1, {
            let told = told.clone();
            move || told.set()
        })
        .unwrap();
        // SAFETY: a zeroed sigaction is valid, and is only written to.
        let action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(SIGUSR1, std::ptr::null(), &mut action), 0);
            action
        };
        assert_ne!(action.sa_flags & libc::SA_ONSTACK, 0);
        let small = greenlet_core::Builder::new().stack_size(StackSize::MIN).spawn(|| send(SIGUSR1).unwrap());
        told.wait();
        small.get().unwrap();
    });
}

#[test]
fn hubs_come_and_go_in_a_storm_of_signals() {
    passes_alone("hubs_come_and_go_in_a_storm_of_signals", || {
        // Its default is to be ignored: the last one may come when nobody is left.
        let stop = Arc::new(AtomicUsize::new(0));
        let storm = {
            let stop = stop.clone();
            thread::spawn(move || {
                while stop.load(Ordering::SeqCst) == 0 {
                    send_to_process(SIGWINCH);
                    thread::yield_now();
                }
            })
        };
        let hubs = [(); 3].map(|()| {
            thread::spawn(|| {
                for round in 0..100 {
                    let hub = move || {
                        let heard = Rc::new(Event::new());
                        let tell = heard.clone();
                        let handler = signal::handle(SIGWINCH, move || tell.set()).unwrap();
                        let signals = Signals::new([SIGWINCH]).unwrap();
                        heard.wait();
                        signals.wait();
                        if round & 1 == 0 {
                            handler.cancel();
                        }
                    };
                    thread::spawn(move || run(hub)).join().unwrap();
                }
            })
        });
        for hub in hubs {
            hub.join().unwrap();
        }
        stop.store(1, Ordering::SeqCst);
        storm.join().unwrap();
    });
}

// --- what the kernel does by itself -------------------------------------------------------------------------------

#[test]
fn without_a_handler_ctrl_c_ends_the_process() {
    let test = "without_a_handler_ctrl_c_ends_the_process";
    let waits = || {
        send_to_process(SIGINT);
        Event::new().wait();
    };
    if let Some(output) = alone(test, waits) {
        assert_eq!(output.status.signal(), Some(SIGINT), "{}", stderr(&output));
    }
}

#[test]
fn with_the_last_handler_cancelled_the_default_is_back() {
    let test = "with_the_last_handler_cancelled_the_default_is_back";
    let body = || {
        let told = Rc::new(Event::new());
        let install = || {
            let told = told.clone();
            signal::handle(SIGTERM, move || told.set()).unwrap()
        };
        for _ in 0..2 {
            let (one, two) = (install(), install());
            one.cancel();
            send(SIGTERM).unwrap();
            told.wait();
            told.clear();
            two.cancel();
        }
        eprintln!("still there");
        send(SIGTERM).unwrap();
        eprintln!("survived");
    };
    if let Some(output) = alone(test, body) {
        assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
        assert!(stderr(&output).contains("still there") && !stderr(&output).contains("survived"));
    }
}

#[test]
fn a_signal_that_was_ignored_is_ignored_again() {
    passes_alone("a_signal_that_was_ignored_is_ignored_again", || {
        // Rust programs ignore it from the start.
        let told = Rc::new(Event::new());
        let handler = signal::handle(SIGPIPE, {
            let told = told.clone();
            move || told.set()
        })
        .unwrap();
        send(SIGPIPE).unwrap();
        told.wait();
        handler.cancel();
        send(SIGPIPE).unwrap();
    });
}

// --- waiting ------------------------------------------------------------------------------------------------------

#[test]
fn a_greenlet_waits_for_one_of_several_signals() {
    passes_alone("a_greenlet_waits_for_one_of_several_signals", || {
        let waiter = spawn(|| signal::wait([SIGHUP, SIGUSR1, SIGHUP]).unwrap());
        yield_now();
        send_to_process(SIGHUP);
        assert_eq!(waiter.get().unwrap(), SIGHUP);
    });
}

#[test]
fn signals_that_come_while_nobody_waits_are_kept_once() {
    passes_alone("signals_that_come_while_nobody_waits_are_kept_once", || {
        let signals = Signals::new([SIGUSR1, SIGUSR2]).unwrap();
        assert_eq!(signals.try_wait(), None);
        for signal in [SIGUSR2, SIGUSR1, SIGUSR2] {
            send(signal).unwrap();
            sleep(SHORT);
        }
        assert_eq!((signals.wait(), signals.try_wait()), (SIGUSR2, Some(SIGUSR1)));
        assert_eq!(signals.wait_timeout(Duration::ZERO), None);
    });
}

#[test]
fn a_wait_for_signals_times_out() {
    passes_alone("a_wait_for_signals_times_out", || {
        assert_eq!(signal::wait_timeout([SIGUSR1], SHORT).unwrap(), None);
        assert_eq!(signal::wait_timeout([SIGUSR1], Duration::ZERO).unwrap(), None);
        assert_eq!(signal::wait_timeout([], SHORT).unwrap(), None);
        let sender = spawn(|| send(SIGUSR1).unwrap());
        assert_eq!(signal::wait_timeout([SIGUSR1], FOREVER).unwrap(), Some(SIGUSR1));
        drop(sender);
    });
}

#[test]
fn a_killed_waiter_takes_no_signal_with_it() {
    passes_alone("a_killed_waiter_takes_no_signal_with_it", || {
        let signals = Rc::new(Signals::new([SIGUSR1]).unwrap());
        let wait = || {
            let signals = signals.clone();
            spawn(move || signals.wait())
        };
        // Before it comes, and in the same turn.
        for same_turn in [false, true] {
            let (killed, lives) = (wait(), wait());
            yield_now();
            if same_turn {
                send(SIGUSR1).unwrap();
            }
            killed.kill_with(no_wait());
            settle();
            if !same_turn {
                send(SIGUSR1).unwrap();
            }
            killed.join();
            if killed.exited() {
                assert_eq!(lives.get().unwrap(), SIGUSR1);
            } else {
                // It had won: the signal is its value, and the other waits on.
                assert_eq!(killed.get().unwrap(), SIGUSR1);
                lives.kill();
            }
        }
    });
}

#[test]
fn two_waiters_share_the_signals() {
    passes_alone("two_waiters_share_the_signals", || {
        let signals = Rc::new(Signals::new([SIGUSR1, SIGUSR2]).unwrap());
        let waiters = [(); 2].map(|()| {
            let signals = signals.clone();
            spawn(move || signals.wait())
        });
        yield_now();
        send(SIGUSR1).unwrap();
        send(SIGUSR2).unwrap();
        let mut taken = waiters.map(|waiter| waiter.get().unwrap());
        taken.sort_unstable();
        assert_eq!(taken, [SIGUSR1, SIGUSR2]);
    });
}

#[test]
fn dropped_signals_are_given_up() {
    let test = "dropped_signals_are_given_up";
    let body = || {
        drop(Signals::new([SIGTERM]).unwrap());
        eprintln!("still there");
        send(SIGTERM).unwrap();
    };
    if let Some(output) = alone(test, body) {
        assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
        assert!(stderr(&output).contains("still there"));
    }
}
