//! Failures are reported once, through `tracing`.

mod support;

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{
    Builder, Greenlet, GreenletExit, Kill, PriorityQueue, Timeout, catch, joinall, raise, run, sleep, spawn,
    yield_now,
};
use support::{FOREVER, Oops, Recorder, Seen, settle};
use tracing::Level;
use tracing_subscriber::prelude::*;

/// What is reported while `f` runs.
fn reports(f: impl FnOnce()) -> Vec<Seen> {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::with_default(subscriber, || run(f));
    recorder.reports()
}

#[test]
fn a_failure_is_reported_once_with_name_and_spawn_site() {
    let line = line!() + 2;
    let reports = reports(|| {
        let broken = Builder::new().name("worker 7").spawn(|| {
            if true {
                panic!("out of paper")
            }
        });
        broken.link(|_| ());
        joinall([&broken, &broken]);
        assert!(broken.get().is_err() && broken.get().is_err());
        settle();
    });
    let [report] = &reports[..] else { panic!("one report, not {reports:?}") };
    assert_eq!(report.level, Level::ERROR);
    for part in ["worker 7 (Greenlet-", "out of paper", &format!("{}:{line}", file!())] {
        assert!(report.text.contains(part), "{part} is in {}", report.text);
    }
}

#[test]
fn a_raised_error_is_reported_once() {
    let reports = reports(|| {
        let broken: Greenlet<()> = spawn(|| raise(Oops("no disk")));
        assert!(broken.get().is_err());
    });
    let [report] = &reports[..] else { panic!("one report, not {reports:?}") };
    assert_eq!(report.level, Level::ERROR);
    assert!(report.text.contains("no disk"), "{}", report.text);
}

#[test]
fn a_kill_with_an_error_is_reported_once_started_or_not() {
    let reports = reports(|| {
        let started = spawn(|| sleep(FOREVER));
        yield_now();
        let unstarted = spawn(|| ());
        for greenlet in [&unstarted, &started] {
            greenlet.kill_with(Kill::error(Oops("shutting down")));
        }
    });
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports.iter().all(|report| report.text.contains("shutting down")));
}

#[test]
fn what_is_no_failure_is_not_reported() {
    let reports = reports(|| {
        let killed = spawn(|| sleep(FOREVER));
        let exits: Greenlet<()> = spawn(|| raise(GreenletExit));
        let catches = spawn(|| drop(catch(|| raise(Oops("caught")))));
        let unstarted = Greenlet::new(|| ());
        yield_now();
        killed.kill();
        unstarted.kill();
        joinall([&killed, &exits, &catches]);
        settle();
    });
    assert!(reports.is_empty(), "{reports:?}");
}

#[test]
fn a_failing_callback_of_a_link_is_reported_once() {
    let reports = reports(|| {
        let greenlet = spawn(|| ());
        greenlet.rawlink(|_| panic!("raw callback"));
        greenlet.link(|_| panic!("callback"));
        greenlet.rawlink(|_| sleep(FOREVER));
        settle();
    });
    assert_eq!(reports.len(), 3, "{reports:?}");
    for part in ["raw callback", "callback", "must not block"] {
        assert!(reports.iter().any(|report| report.text.contains(part)), "{part} is in {reports:?}");
    }
}

#[test]
fn destructors_that_panic_at_the_end_are_reported() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("tick");
        }
    }
    let reports = reports(|| {
        drop(spawn(|| Bomb));
        settle();
        let bomb = Bomb;
        Greenlet::new(move || drop(bomb)).kill();
        settle();
    });
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports[0].text.contains("value") && reports[1].text.contains("closure"), "{reports:?}");
}

#[derive(Debug)]
struct PanickingDisplay;
impl fmt::Display for PanickingDisplay {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("in a display")
    }
}
impl std::error::Error for PanickingDisplay {}

#[test]
fn an_error_whose_display_panics_still_ends_its_greenlet() {
    let reports = reports(|| {
        let broken: Greenlet<()> = spawn(|| raise(PanickingDisplay));
        broken.join();
        assert!(broken.exception().unwrap().downcast_ref::<PanickingDisplay>().is_some());
    });
    let [report] = &reports[..] else { panic!("one report, not {reports:?}") };
    assert!(report.text.contains("the report of it panicked"), "{}", report.text);
}

#[derive(Debug)]
struct YieldingDisplay;
impl fmt::Display for YieldingDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        yield_now();
        f.write_str("displayed")
    }
}
impl std::error::Error for YieldingDisplay {}

#[test]
fn an_error_whose_display_yields_does_not_start_what_was_killed() {
    let reports = reports(|| {
        let ran = Rc::new(Cell::new(0));
        let victim = spawn({
            let ran = ran.clone();
            move || ran.set(1)
        });
        victim.kill_with(Kill::error(YieldingDisplay));
        settle();
        assert_eq!(ran.get(), 0);
        assert!(victim.exception().is_some());
    });
    assert_eq!(reports.len(), 1, "{reports:?}");
}

/// A subscriber that suspends, or panics, in the middle of a report.
struct Meddles(fn());

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Meddles {
    fn on_event(&self, _: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        (self.0)();
    }
}

fn meddled(meddle: fn(), f: impl FnOnce()) {
    let subscriber = tracing_subscriber::registry().with(Meddles(meddle));
    tracing::subscriber::with_default(subscriber, || run(f));
}

#[test]
fn a_kill_while_the_failure_is_reported_comes_too_late() {
    meddled(settle, || {
        let broken = spawn(|| {
            if true {
                panic!("failing")
            }
        });
        yield_now();
        assert!(!broken.ready());
        broken.kill();
        assert!(broken.ready() && broken.exception().unwrap().is_panic());
    });
}

#[test]
fn a_subscriber_that_panics_harms_nobody() {
    meddled(
        || panic!("in the subscriber"),
        || {
            let broken: Greenlet<()> = spawn(|| raise(Oops("broken")));
            broken.join();
            assert!(broken.exception().unwrap().downcast_ref::<Oops>().is_some());
            assert_eq!(spawn(|| 1).get().unwrap(), 1);
        },
    );
}

#[test]
fn what_is_raised_in_main_and_not_caught_is_reported_by_run() {
    let reports = reports(|| {
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            run(|| {
                let _timeout = Timeout::start_new(Duration::from_millis(1));
                sleep(FOREVER);
            })
        }));
        assert!(unwound.is_err());
    });
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].text.contains("greenlet=main"), "{reports:?}");
}

#[test]
fn a_comparison_that_panics_in_a_queue_is_reported_once_for_each_operation() {
    #[derive(PartialEq, Eq, Debug)]
    struct Incomparable;
    impl PartialOrd for Incomparable {
        fn partial_cmp(&self, other: &Incomparable) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Incomparable {
        fn cmp(&self, _: &Incomparable) -> std::cmp::Ordering {
            panic!("cannot compare");
        }
    }
    let queue = PriorityQueue::unbounded();
    for expected in [0, 1, 1, 1] {
        let reports = reports(|| queue.put(Incomparable).unwrap());
        assert_eq!(reports.len(), expected, "however many comparisons it takes: {reports:?}");
        assert!(reports.iter().all(|report| report.text.contains("comparing the items")));
    }
    assert_eq!(queue.len(), 4);
}
