//! Settings: by name, by environment, by program.

mod support;

use std::process::Output;

use greenlet_core::pool::ThreadPool;
use greenlet_core::{Config, ConfigError, Hub, PollerKind, StackSize, run, spawn};
use support::{is_child, run_child_with, stderr};

/// Makes a hub by first use in a process with that environment.
fn first_use(test: &str, environment: &[(&str, &str)]) -> Output {
    run_child_with(test, environment)
}

#[test]
fn a_hub_made_by_first_use_takes_the_environment() {
    const NAME: &str = "a_hub_made_by_first_use_takes_the_environment";
    if is_child(NAME) {
        run(|| {
            assert_eq!(spawn(|| 1).get().unwrap(), 1);
            assert_eq!(Hub::current().poller(), PollerKind::Poll);
            let blockers: Vec<_> = (0..3).map(|_| spawn(|| greenlet_core::sleep(support::FOREVER))).collect();
            greenlet_core::yield_now();
            let failed = blockers.iter().filter(|greenlet| greenlet.exception().is_some()).count();
            assert_eq!(failed, 1, "GREENLET_MAX_STACKS=2 leaves the third without a stack");
            assert_eq!(ThreadPool::global().max(), 3);
            assert_eq!(ThreadPool::global().idle_timeout(), None);
        });
        return;
    }
    let environment = [
        ("GREENLET_POLLER", "poll"),
        ("GREENLET_MAX_STACKS", "2"),
        ("GREENLET_STACK_SIZE", "128K"),
        ("GREENLET_THREADPOOL_SIZE", "3"),
        ("GREENLET_THREADPOOL_IDLE", "none"),
    ];
    let output = first_use(NAME, &environment);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_bad_environment_is_a_panic_that_says_what_is_expected() {
    const NAME: &str = "a_bad_environment_is_a_panic_that_says_what_is_expected";
    if is_child(NAME) {
        run(|| ());
        return;
    }
    for (variable, value, expected) in [
        ("GREENLET_POLLER", "kqueue", "GREENLET_POLLER is \"kqueue\", but must be epoll or poll"),
        ("GREENLET_STACK_SIZE", "tiny", "GREENLET_STACK_SIZE is \"tiny\", but must be a number of bytes"),
        ("GREENLET_POLER", "epoll", "GREENLET_POLER is no setting; there are GREENLET_STACK_SIZE,"),
    ] {
        let output = first_use(NAME, &[(variable, value)]);
        assert!(!output.status.success());
        let text = format!("{}{}", stderr(&output), String::from_utf8_lossy(&output.stdout));
        assert!(text.contains("cannot make a hub for this thread"), "{text}");
        assert!(text.contains(expected), "{expected} is in {text}");
    }
}

#[test]
fn a_hub_thread_takes_the_environment_or_what_it_is_told() {
    const NAME: &str = "a_hub_thread_takes_the_environment_or_what_it_is_told";
    if is_child(NAME) {
        let error = Hub::thread("bad").start().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ConfigError>()).unwrap();
        assert!(matches!(inner, ConfigError::BadValue { setting, .. } if setting == "GREENLET_GUARD"));
        let told = Hub::thread("told").config(Config::default()).start().unwrap();
        assert_eq!(told.handle().poller(), PollerKind::Epoll);
        told.join();
        return;
    }
    let output = first_use(NAME, &[("GREENLET_GUARD", "perhaps")]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_thread_pool_made_without_a_hub_takes_the_environment() {
    const NAME: &str = "a_thread_pool_made_without_a_hub_takes_the_environment";
    if is_child(NAME) {
        assert_eq!(ThreadPool::global().max(), 4);
        return;
    }
    let output = first_use(NAME, &[("GREENLET_THREADPOOL_SIZE", "4")]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn the_program_counts_more_than_the_environment() {
    std::thread::spawn(|| {
        Hub::configure(Config::default().poller(PollerKind::Poll)).unwrap();
        assert_eq!(Hub::current().poller(), PollerKind::Poll);
        assert!(Hub::configure(Config::default()).is_err());
    })
    .join()
    .unwrap();
}

#[test]
fn settings_are_set_and_read_by_name() {
    let mut config = Config::default().stack_size(StackSize::new(64 << 10).unwrap());
    assert_eq!(config.get("stack_size").unwrap(), "64k");
    for (name, value) in
        [("poller", "poll"), ("poll_period", "5ms"), ("idle_report", "2min"), ("max_stacks", "none")]
    {
        config.set(name, value).unwrap();
    }
    assert_eq!(config.get("idle_report").unwrap(), "120s");
    assert!(matches!(config.set("colour", "red"), Err(ConfigError::UnknownSetting { .. })));
    assert!(matches!(config.get("colour"), Err(ConfigError::UnknownSetting { .. })));
    assert_eq!(
        Config::settings().len(),
        Config::settings().iter().map(|s| s.variable()).collect::<std::collections::HashSet<_>>().len()
    );
}

#[test]
fn every_interval_between_polls_works() {
    for interval in [0, 1, 2, u32::MAX] {
        for period in [std::time::Duration::ZERO, std::time::Duration::MAX] {
            std::thread::spawn(move || {
                let config = Config::default().poll_interval(interval).poll_period(period);
                Hub::configure(config).unwrap();
                run(|| {
                    let busy: Vec<_> =
                        (0..3).map(|_| spawn(|| (0..200).for_each(|_| greenlet_core::yield_now()))).collect();
                    greenlet_core::sleep(support::SHORT);
                    greenlet_core::joinall(&busy);
                });
            })
            .join()
            .unwrap();
        }
    }
}
