//! One place hears of every failure of a hub.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::watcher::{Timer, run_callback};
use greenlet_core::{
    ErrorContext, Event, Failure, Greenlet, Hub, Kill, catch, raise, run, sleep, spawn, yield_now,
};
use support::{FOREVER, Oops, Recorder, SHORT, Seen, settle};
use tracing_subscriber::prelude::*;

fn with_reports(f: impl FnOnce()) -> Vec<Seen> {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::with_default(subscriber, || run(f));
    recorder.reports()
}

type Log = Rc<RefCell<Vec<String>>>;

/// A handler that keeps a line for each call.
fn keep() -> Log {
    let log = Log::default();
    let lines = log.clone();
    Hub::set_error_handler(move |context: &ErrorContext, failure: &Failure| {
        let what = match context {
            ErrorContext::Greenlet(greenlet) => format!("greenlet {}", greenlet.ready()),
            ErrorContext::Callback => "callback".to_owned(),
            ErrorContext::Watcher { kind, .. } => (*kind).to_owned(),
            _ => "?".to_owned(),
        };
        lines.borrow_mut().push(format!("{what}: {failure}"));
    });
    log
}

#[test]
fn a_handler_gets_each_failure_once_and_nothing_is_reported_beside_it() {
    let reports = with_reports(|| {
        let log = keep();
        let broken: Greenlet<()> = spawn(|| raise(Oops("no disk")));
        assert!(broken.get().is_err() && broken.get().is_err());
        let handed_on: Greenlet<()> = spawn({
            let failure = broken.exception().unwrap();
            move || failure.reraise()
        });
        handed_on.join();
        run_callback(|| raise(Oops("callback")));
        let timer = Timer::once(Duration::ZERO, || raise(Oops("timer")));
        sleep(SHORT);
        drop(timer);
        assert_eq!(*log.borrow(), ["greenlet false: no disk", "callback: callback", "timer: timer"]);
    });
    assert!(reports.is_empty(), "{reports:?}");
}

#[test]
fn kills_and_exits_are_no_errors() {
    run(|| {
        let log = keep();
        let killed = spawn(|| sleep(FOREVER));
        yield_now();
        killed.kill();
        spawn(|| ()).kill();
        run_callback(|| raise(greenlet_core::GreenletExit));
        settle();
        assert!(log.borrow().is_empty());
        // An error of one's own is one.
        spawn(|| ()).kill_with(Kill::error(Oops("shutting down")));
        settle();
        assert_eq!(*log.borrow(), ["greenlet false: shutting down"]);
    });
}

#[test]
fn a_handler_that_panics_changes_nothing_and_is_reported() {
    let reports = with_reports(|| {
        Hub::set_error_handler(|_, _| panic!("the handler is broken"));
        let broken: Greenlet<()> = spawn(|| raise(Oops("no disk")));
        let failure = broken.get().unwrap_err();
        assert!(failure.to_string().contains("no disk"), "{failure}");
        assert_eq!(broken.exception().unwrap().downcast_ref::<Oops>(), Some(&Oops("no disk")));
        run_callback(|| panic!("a callback"));
        let after = Rc::new(Cell::new(false));
        run_callback({
            let after = after.clone();
            move || after.set(true)
        });
        settle();
        assert!(after.get(), "the remaining callbacks run");
        assert_eq!(spawn(|| 7).get().unwrap(), 7, "the hub goes on");
    });
    let texts: Vec<_> = reports.iter().map(|seen| seen.text.as_str()).collect();
    assert_eq!(texts.iter().filter(|text| text.contains("the error handler of hub")).count(), 2, "{texts:?}");
    assert_eq!(texts.iter().filter(|text| text.contains("no disk")).count(), 1, "{texts:?}");
}

#[test]
fn a_handler_that_waits_in_the_loop_is_a_handler_that_panics() {
    let reports = with_reports(|| {
        Hub::set_error_handler(|_, _| sleep(FOREVER));
        run_callback(|| panic!("a callback"));
        settle();
    });
    assert!(reports.iter().any(|seen| seen.text.contains("the error handler of hub")), "{reports:?}");
}

#[test]
fn without_the_handler_failures_are_reported_again() {
    let reports = with_reports(|| {
        let log = keep();
        Hub::reset_error_handler();
        let broken: Greenlet<()> = spawn(|| raise(Oops("no disk")));
        broken.join();
        run_callback(|| panic!("in the loop"));
        settle();
        assert!(log.borrow().is_empty());
    });
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports[1].text.contains("a callback of the loop failed"), "{reports:?}");
}

#[test]
fn a_handler_may_pass_on_replace_itself_and_spawn() {
    let reports = with_reports(|| {
        let told = Rc::new(Event::new());
        Hub::set_error_handler({
            let told = told.clone();
            move |context, failure| {
                context.report(failure);
                let told = told.clone();
                spawn(move || told.set());
                Hub::reset_error_handler();
            }
        });
        let broken: Greenlet<()> = spawn(|| raise(Oops("first")));
        told.wait();
        assert!(broken.get().is_err());
    });
    assert_eq!(reports.len(), 1, "{reports:?}");
}

#[test]
fn what_ends_main_is_handled_too() {
    let reports = with_reports(|| {
        let log = keep();
        let ended = catch(|| {
            let _ = std::panic::catch_unwind(|| ());
            run(|| raise(Oops("main")))
        });
        assert!(ended.is_err());
        assert_eq!(log.borrow().len(), 1, "{log:?}");
    });
    assert!(reports.is_empty(), "{reports:?}");
}

#[test]
fn each_hub_has_its_own_handler() {
    let reports = with_reports(|| {
        let log = keep();
        let other = Hub::thread("other").start().unwrap();
        let broken = other.handle().spawn(|| raise(Oops("elsewhere"))).map(|g: Greenlet<()>| g).unwrap();
        assert!(broken.get().is_err());
        other.join();
        assert!(log.borrow().is_empty());
    });
    // Reported on the other thread, which has no subscriber.
    assert!(reports.is_empty(), "{reports:?}");
}
