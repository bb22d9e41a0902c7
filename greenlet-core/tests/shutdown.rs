//! The orderly end of a program. Each test runs in a process of its own.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::thread;
use std::time::Duration;

use greenlet_core::signal::{self, SIGINT, SIGQUIT, SIGTERM, Shutdown};
use greenlet_core::{Event, Hub, catch, run, sleep, spawn, yield_now};
use signal_hook::low_level::raise as send;
use support::{FOREVER, OnDrop, SHORT, is_child, run_child, stderr};

/// What a program that was shut down says at its end.
const CLEAN: &str = "all is put away";

/// Runs a program in a process of its own, which is shut down.
#[track_caller]
fn program(test: &str, signals: &[i32], main: impl FnOnce()) -> Option<Output> {
    if !is_child(test) {
        return Some(run_child(test));
    }
    match signal::shutdown_on(signals.iter().copied()).unwrap().run(main) {
        Ok(()) => eprintln!("main returned"),
        Err(shutdown) => {
            eprintln!("{shutdown}: {CLEAN}");
            shutdown.exit();
        }
    }
    None
}

/// Waits for ever, and says when it is unwound.
fn wait_and_say(what: &'static str) {
    let _guard = OnDrop(|| {
        sleep(SHORT); // a destructor may wait
        eprintln!("{what} is unwound");
    });
    sleep(FOREVER);
}

#[track_caller]
fn assert_passed(output: &Output) {
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}{}", stderr(output));
}

#[track_caller]
fn assert_says(output: &Output, lines: &[&str]) {
    for line in lines {
        assert!(stderr(output).contains(line), "`{line}` is missing: {}", stderr(output));
    }
}

#[test]
fn a_signal_unwinds_main_and_all_greenlets_and_ends_the_process() {
    let test = "a_signal_unwinds_main_and_all_greenlets_and_ends_the_process";
    let output = program(test, &[SIGTERM, SIGINT], || {
        drop(spawn(|| wait_and_say("a worker")));
        drop(spawn(|| {
            drop(spawn(|| wait_and_say("its child")));
            send(SIGTERM).unwrap();
        }));
        wait_and_say("main");
    });
    let Some(output) = output else { return };
    assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
    assert_says(
        &output,
        &[
            "main is unwound",
            "a worker is unwound",
            "its child is unwound",
            "shutdown by SIGTERM: all is put away",
        ],
    );
}

#[test]
fn a_signal_whose_default_dumps_core_dumps_none() {
    let test = "a_signal_whose_default_dumps_core_dumps_none";
    let output = program(test, &[SIGQUIT], || {
        send(SIGQUIT).unwrap();
        sleep(FOREVER);
    });
    let Some(output) = output else { return };
    assert_eq!((output.status.signal(), output.status.core_dumped()), (Some(SIGQUIT), false));
    assert_says(&output, &[CLEAN]);
}

#[test]
fn hub_threads_are_shut_down_whoever_has_them() {
    let test = "hub_threads_are_shut_down_whoever_has_them";
    let output = program(test, &[SIGTERM], || {
        let start = |name: &'static str| {
            let hub = Hub::thread(name).start().unwrap();
            let running = std::sync::Arc::new(Event::new());
            let tell = running.clone();
            hub.handle()
                .spawn(move || {
                    tell.set();
                    wait_and_say(name);
                })
                .unwrap();
            running.wait();
            hub
        };
        let _owned = start("a hub of main");
        std::mem::forget(start("a forgotten hub"));
        let joined = start("a joined hub");
        drop(thread::spawn(move || joined.join()));
        send(SIGTERM).unwrap();
        sleep(FOREVER);
    });
    let Some(output) = output else { return };
    assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
    assert_says(
        &output,
        &["a hub of main is unwound", "a forgotten hub is unwound", "a joined hub is unwound", CLEAN],
    );
}

#[test]
fn shutdown_works_from_a_greenlet_and_ends_with_status_0() {
    let test = "shutdown_works_from_a_greenlet_and_ends_with_status_0";
    let output = program(test, &[SIGTERM], || {
        drop(spawn(|| {
            assert!(signal::shutdown());
            assert!(signal::shutdown(), "asked twice is asked once");
        }));
        wait_and_say("main");
    });
    let Some(output) = output else { return };
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_says(&output, &["main is unwound", "shutdown: all is put away"]);
}

#[test]
fn shutdown_works_from_other_hubs_and_plain_threads() {
    const TEST: &str = "shutdown_works_from_other_hubs_and_plain_threads";
    let output = program(TEST, &[], || {
        let hub = Hub::thread("other").start().unwrap();
        let asked = hub.handle().spawn(signal::shutdown).unwrap();
        wait_and_say("main");
        drop(asked);
    });
    let Some(output) = output else { return };
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_says(&output, &["main is unwound", CLEAN]);
}

#[test]
fn a_plain_thread_may_shut_the_program_down() {
    let output = program("a_plain_thread_may_shut_the_program_down", &[], || {
        thread::spawn(|| assert!(signal::shutdown()));
        wait_and_say("main");
    });
    let Some(output) = output else { return };
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let test = "a_second_signal_ends_the_process_at_once";
    let output = program(test, &[SIGTERM, SIGINT], || {
        let _guard = OnDrop(|| {
            thread::spawn(|| {
                loop {
                    send(SIGINT).unwrap(); // for the first 0.1 seconds these are copies of the first
                    thread::sleep(Duration::from_millis(10));
                }
            });
            sleep(FOREVER); // a destructor that does not come to its end
        });
        send(SIGTERM).unwrap();
        sleep(FOREVER);
    });
    let Some(output) = output else { return };
    assert_eq!(output.status.signal(), Some(SIGINT), "{}", stderr(&output));
    assert!(!stderr(&output).contains(CLEAN));
}

#[test]
fn a_second_signal_ends_a_program_that_does_not_come_to_its_wait() {
    let test = "a_second_signal_ends_a_program_that_does_not_come_to_its_wait";
    let output = program(test, &[SIGTERM], || {
        loop {
            send(SIGTERM).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
    });
    let Some(output) = output else { return };
    assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
    assert!(!stderr(&output).contains(CLEAN));
}

#[test]
fn a_copy_of_the_signal_counts_as_the_same_one() {
    let test = "a_copy_of_the_signal_counts_as_the_same_one";
    let output = program(test, &[SIGTERM, SIGINT], || {
        for signal in [SIGTERM, SIGTERM, SIGINT] {
            send(signal).unwrap();
        }
        wait_and_say("main");
    });
    let Some(output) = output else { return };
    assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
    assert_says(&output, &["main is unwound", CLEAN]);
}

#[test]
fn a_signal_before_run_lets_main_not_begin() {
    const TEST: &str = "a_signal_before_run_lets_main_not_begin";
    if is_child(TEST) {
        let program = signal::shutdown_on([SIGTERM]).unwrap();
        send(SIGTERM).unwrap();
        sleep(SHORT); // and does not disturb what is done before
        yield_now();
        let ended = program.run(|| eprintln!("main begins"));
        assert_eq!(ended.unwrap_err().signal(), Some(SIGTERM));
        return;
    }
    let output = run_child(TEST);
    assert_passed(&output);
    assert!(!stderr(&output).contains("main begins"));
}

#[test]
fn when_main_has_returned_the_signals_are_what_they_were() {
    let test = "when_main_has_returned_the_signals_are_what_they_were";
    let output = program(test, &[SIGTERM], || drop(spawn(|| wait_and_say("a worker"))));
    let Some(output) = output else {
        assert!(!signal::shutdown(), "there is nobody to be told");
        send(SIGTERM).unwrap();
        unreachable!("it is handled by nobody");
    };
    assert_eq!(output.status.signal(), Some(SIGTERM), "{}", stderr(&output));
    assert_says(&output, &["main returned"]);
}

#[test]
fn a_panic_of_main_takes_the_handlers_with_it() {
    const TEST: &str = "a_panic_of_main_takes_the_handlers_with_it";
    if is_child(TEST) {
        let program = signal::shutdown_on([SIGTERM]).unwrap();
        let ended = greenlet_core::attempt(|| program.run(|| panic!("main fails")));
        assert!(ended.is_err() && !signal::shutdown());
        return;
    }
    let output = run_child(TEST);
    assert_passed(&output);
}

#[test]
fn main_may_catch_a_shutdown() {
    const TEST: &str = "main_may_catch_a_shutdown";
    if is_child(TEST) {
        let caught = signal::shutdown_on([SIGTERM]).unwrap().run(|| {
            send(SIGTERM).unwrap();
            let raised = catch(|| sleep(FOREVER)).unwrap_err();
            sleep(SHORT); // raised once
            raised.downcast_ref::<Shutdown>().copied()
        });
        assert_eq!(caught.unwrap().unwrap().signal(), Some(SIGTERM));
        return;
    }
    let output = run_child(TEST);
    assert_passed(&output);
}

#[test]
fn without_a_program_shutdown_says_so() {
    const TEST: &str = "without_a_program_shutdown_says_so";
    if is_child(TEST) {
        run(|| assert!(!signal::shutdown()));
        return;
    }
    assert_passed(&run_child(TEST));
}
