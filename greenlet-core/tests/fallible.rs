//! Greenlets that return a `Result`, and greenlets made of one's own types.

mod support;

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::num::ParseIntError;
use std::rc::Rc;

use greenlet_core::pool::{Group, Pool};
use greenlet_core::{
    Builder, Failure, Greenlet, GreenletError, GreenletExit, Runnable, raise, run, sleep, spawn,
    spawn_fallible,
};
use support::{FOREVER, Oops, Recorder, SHORT, settle};
use tracing_subscriber::prelude::*;

/// What is reported while `f` runs.
fn reports(f: impl FnOnce()) -> Vec<support::Seen> {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::with_default(subscriber, || run(f));
    recorder.reports()
}

#[test]
fn ok_is_the_value() {
    run(|| {
        let greenlet: Greenlet<i32> = spawn_fallible(|| "42".parse::<i32>());
        assert_eq!(greenlet.get().unwrap(), 42);
        assert!(greenlet.successful() && greenlet.exception().is_none());
        assert_eq!(greenlet.into_value().unwrap(), 42);
    });
}

#[test]
fn err_is_a_failure_like_any_other() {
    let seen = reports(|| {
        let linked = Rc::new(Cell::new(0));
        let greenlet = Builder::new().name("parser").spawn_fallible(|| "x".parse::<i32>());
        greenlet.link_exception({
            let linked = linked.clone();
            move |_| linked.set(linked.get() + 1)
        });
        greenlet.link_value(|_| unreachable!("it failed"));
        let Err(GreenletError::Failed(failure)) = greenlet.get() else { panic!("it failed") };
        assert!(failure.downcast_ref::<ParseIntError>().is_some());
        assert!(!failure.is_panic() && !greenlet.successful() && !greenlet.exited());
        assert_eq!(greenlet.value(), None);
        settle();
        assert_eq!(linked.get(), 1);
    });
    let [report] = &seen[..] else { panic!("one report, not {seen:?}") };
    assert!(
        report.text.contains("parser (Greenlet-") && report.text.contains("invalid digit"),
        "{}",
        report.text
    );
}

#[test]
fn no_unwinding_happens() {
    run(|| {
        struct Guard(Rc<Cell<Option<bool>>>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.set(Some(greenlet_core::is_unwinding() || std::thread::panicking()));
            }
        }
        let unwound = Rc::new(Cell::new(None));
        let guard = Guard(unwound.clone());
        spawn_fallible(move || {
            let _guard = guard;
            Err::<(), _>(Oops("quietly"))
        })
        .join();
        assert_eq!(unwound.get(), Some(false));
    });
}

#[test]
fn any_error_that_can_be_boxed_will_do() {
    run(|| {
        type Boxed = Box<dyn Error + Send + Sync>;
        let boxed = spawn_fallible(|| -> Result<(), Boxed> { Err(Box::new(Oops("boxed"))) });
        let text = spawn_fallible(|| Err::<(), _>("only text"));
        let string = spawn_fallible(|| Err::<(), _>(String::from("only text")));
        let question_mark =
            spawn_fallible(|| -> Result<i32, Boxed> { Ok("7".parse::<i32>()? + "x".parse::<i32>()?) });
        let failure = |greenlet: &greenlet_core::GreenletRef| {
            greenlet.join();
            greenlet.exception().unwrap()
        };
        assert_eq!(failure(&boxed).downcast_ref(), Some(&Oops("boxed")));
        assert_eq!(failure(&text).to_string(), "only text");
        assert_eq!(failure(&string).to_string(), "only text");
        assert!(failure(&question_mark).downcast_ref::<ParseIntError>().is_some());
    });
}

#[test]
fn exits_and_handed_on_failures_keep_their_meaning() {
    let seen = reports(|| {
        let exits = spawn_fallible(|| Err::<(), _>(GreenletExit));
        exits.join();
        assert!(exits.exited() && exits.successful());
        let broken = spawn(|| {
            if true {
                panic!("broken")
            }
        });
        let handed_on = spawn_fallible(move || -> Result<(), Failure> {
            broken.join();
            match broken.exception() {
                Some(failure) => Err(failure),
                None => Ok(()),
            }
        });
        handed_on.join();
        assert!(handed_on.exception().unwrap().is_panic());
    });
    assert_eq!(seen.len(), 1, "the same failure is reported once: {seen:?}");
}

#[test]
fn panics_raises_and_kills_work_as_in_any_greenlet() {
    run(|| {
        let panics = spawn_fallible(|| -> Result<(), Oops> { panic!("no") });
        let raises = spawn_fallible(|| -> Result<(), Oops> { raise(Oops("raised")) });
        let killed = spawn_fallible(|| -> Result<(), Oops> {
            sleep(FOREVER);
            Ok(())
        });
        settle();
        killed.kill();
        assert!(panics.exception().unwrap().is_panic());
        assert_eq!(raises.exception().unwrap().downcast_ref(), Some(&Oops("raised")));
        assert!(killed.exited());
        let never = Builder::new().build_fallible(|| -> Result<(), Oops> { unreachable!("never runs") });
        never.kill();
        assert!(never.exited());
    });
}

#[test]
fn a_conversion_that_panics_is_a_panic() {
    run(|| {
        struct Awkward;
        impl From<Awkward> for Box<dyn Error + Send + Sync> {
            fn from(_: Awkward) -> Self {
                panic!("cannot be converted")
            }
        }
        let greenlet = spawn_fallible(|| Err::<(), _>(Awkward));
        greenlet.join();
        assert!(greenlet.exception().unwrap().is_panic());
    });
}

#[test]
fn groups_and_pools_spawn_them_too() {
    run(|| {
        let group = Group::new();
        group.spawn_fallible(|| Ok::<_, Oops>(1));
        group.spawn_fallible(|| Err::<(), _>(Oops("in the group")));
        assert_eq!(group.len(), 2);
        assert_eq!(group.join_raise_error().unwrap_err().downcast_ref(), Some(&Oops("in the group")));
        let pool = Pool::new(1);
        let first = pool.spawn_fallible(|| {
            settle();
            Ok::<_, Oops>(())
        });
        assert!(pool.full());
        pool.spawn_fallible(|| Err::<(), _>(Oops("second")));
        assert!(first.ready(), "the second waited for the slot");
        pool.join();
    });
}

// --- one's own types -------------------------------------------------------------------------------------------------

struct Job(&'static str, Rc<Cell<u32>>);

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.0)
    }
}

impl Runnable for Job {
    type Output = usize;

    fn run(self) -> usize {
        self.1.set(self.1.get() + 1);
        match self.0 {
            "broken" => raise(Oops("on fire")),
            name => name.len(),
        }
    }
}

#[test]
fn a_value_of_ones_own_runs_as_a_greenlet_with_its_display_as_name() {
    let seen = reports(|| {
        let runs = Rc::new(Cell::new(0));
        let (line, spawned) = (line!(), Job("one", runs.clone()).spawn());
        assert_eq!(spawned.name(), "job one");
        assert_eq!(spawned.spawn_site().line(), line);
        let later = Job("later", runs.clone()).spawn_later(SHORT);
        let built = Job("built", runs.clone()).build(Builder::new().name("not this"));
        assert_eq!(built.to_string(), format!("job built (Greenlet-{})", built.id()));
        assert_eq!(spawned.get().unwrap() + later.get().unwrap(), 8);
        drop(built);
        assert_eq!(runs.get(), 2);
        Job("broken", runs.clone()).spawn().join();
    });
    let [report] = &seen[..] else { panic!("one report, not {seen:?}") };
    assert!(
        report.text.contains("job broken (Greenlet-") && report.text.contains("on fire"),
        "{}",
        report.text
    );
}
