//! Overflow of a greenlet's stack: which greenlet, then the end of the process. Each in a process of its own.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::thread;

use greenlet_core::{Builder, Config, GuardMode, Hub, StackSize, run, spawn, yield_now};
use support::{is_child, run_child, stderr};

const SIGABRT: i32 = 6;

#[allow(unconditional_recursion)]
#[inline(never)]
fn endless(depth: u64) -> u64 {
    let page = [depth; 64];
    std::hint::black_box(&page);
    endless(depth + 1) + std::hint::black_box(page)[0]
}

/// Runs the test in a child, where `overflow` ends the process.
fn overflows(test: &str, overflow: impl FnOnce()) -> Option<Output> {
    if is_child(test) {
        overflow();
        panic!("the overflow went unnoticed");
    }
    let output = run_child(test);
    assert_eq!(output.status.signal(), Some(SIGABRT), "{}", stderr(&output));
    Some(output)
}

fn named(name: &str, kib: usize) -> Builder {
    Builder::new().name(name).stack_size(StackSize::new(kib * 1024).unwrap())
}

#[test]
fn an_overflow_names_the_greenlet_and_its_stack_and_aborts() {
    const TEST: &str = "an_overflow_names_the_greenlet_and_its_stack_and_aborts";
    let output = overflows(TEST, || run(|| drop(named("digger", 128).spawn(|| endless(0)).get())));
    let said = stderr(&output.unwrap());
    assert!(said.contains("greenlet stack overflow"), "{said}");
    assert!(said.contains("digger (Greenlet-") && said.contains("128 KiB"), "{said}");
    assert!(said.contains("Builder::stack_size"), "it says what helps: {said}");
}

#[test]
fn an_overflow_tells_where_the_greenlet_was_spawned() {
    const TEST: &str = "an_overflow_tells_where_the_greenlet_was_spawned";
    let line = line!() + 1;
    let output = overflows(TEST, || run(|| drop(spawn(|| endless(0)).get())));
    let said = stderr(&output.unwrap());
    assert!(said.contains(&format!("{}:{line}", file!())), "{said}");
}

#[test]
fn an_overflow_of_one_without_a_name_tells_its_number() {
    const TEST: &str = "an_overflow_of_one_without_a_name_tells_its_number";
    let output = overflows(TEST, || run(|| drop(spawn(|| endless(0)).get())));
    let said = stderr(&output.unwrap());
    assert!(said.contains("Greenlet-") && said.contains("256 KiB"), "{said}");
}

#[test]
fn an_overflow_on_a_hub_thread_is_reported_too() {
    const TEST: &str = "an_overflow_on_a_hub_thread_is_reported_too";
    let output = overflows(TEST, || {
        let hub = Hub::thread("deep").start().unwrap();
        drop(hub.handle().spawn(|| drop(named("miner", 64).spawn(|| endless(0)).get())).unwrap().get());
    });
    let said = stderr(&output.unwrap());
    assert!(said.contains("miner (Greenlet-") && said.contains("64 KiB"), "{said}");
}

#[test]
fn an_overflow_on_a_thread_that_made_its_hub_by_first_use_is_reported_too() {
    const TEST: &str = "an_overflow_on_a_thread_that_made_its_hub_by_first_use_is_reported_too";
    let output = overflows(TEST, || {
        let digs = || run(|| drop(named("digger", 64).spawn(|| endless(0)).get()));
        drop(thread::spawn(digs).join());
    });
    let said = stderr(&output.unwrap());
    assert!(said.contains("digger (Greenlet-"), "{said}");
}

#[test]
fn an_overflow_into_a_guard_made_by_mprotect_is_reported_too() {
    const TEST: &str = "an_overflow_into_a_guard_made_by_mprotect_is_reported_too";
    let output = overflows(TEST, || {
        Hub::configure(Config::default().guard(GuardMode::Mprotect)).unwrap();
        run(|| drop(named("digger", 128).spawn(|| endless(0)).get()));
    });
    let said = stderr(&output.unwrap());
    assert!(said.contains("digger (Greenlet-") && said.contains("128 KiB"), "{said}");
}

#[test]
fn of_many_greenlets_the_one_that_overflowed_is_named() {
    const TEST: &str = "of_many_greenlets_the_one_that_overflowed_is_named";
    let output = overflows(TEST, || {
        run(|| {
            let waits = |name| {
                drop(named(name, 64).spawn(|| {
                    loop {
                        yield_now();
                    }
                }));
            };
            waits("bystander");
            let guilty = named("guilty", 64).spawn(|| {
                yield_now();
                endless(0)
            });
            waits("bystander");
            drop(guilty.get());
        });
    });
    let said = stderr(&output.unwrap());
    assert!(said.contains("guilty (Greenlet-") && !said.contains("bystander"), "{said}");
}

#[test]
fn an_overflow_of_the_threads_own_stack_is_reported_by_std_as_ever() {
    const TEST: &str = "an_overflow_of_the_threads_own_stack_is_reported_by_std_as_ever";
    let output = overflows(TEST, || run(|| assert_ne!(endless(0), 1)));
    let said = stderr(&output.unwrap());
    assert!(said.contains("has overflowed its stack") && !said.contains("greenlet stack overflow"), "{said}");
}
