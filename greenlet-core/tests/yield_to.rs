//! Letting one greenlet run ahead of all others.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use greenlet_core::{Event, Hub, run, spawn, yield_now, yield_to};

#[test]
fn it_runs_at_once_and_the_caller_goes_on_when_it_suspends() {
    run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let note = |what: &'static str| {
            let order = order.clone();
            move || order.borrow_mut().push(what)
        };
        let (before, urgent, after) = (
            spawn(note("before")),
            spawn({
                let (first, second) = (note("urgent"), note("urgent again"));
                move || {
                    first();
                    yield_now();
                    second();
                }
            }),
            spawn(note("after")),
        );
        yield_to(&urgent);
        note("caller")();
        assert_eq!(*order.borrow(), ["urgent", "caller"]);
        greenlet_core::joinall([&before, &after, &urgent].map(Clone::clone));
        assert_eq!(*order.borrow(), ["urgent", "caller", "before", "after", "urgent again"]);
    });
}

#[test]
fn from_a_greenlet_it_works_as_from_main() {
    run(|| {
        let done = spawn(|| {
            let others: Vec<_> = (0..5).map(|_| spawn(|| ())).collect();
            let urgent = spawn(|| 7);
            yield_to(&urgent);
            (urgent.value().copied(), others.iter().filter(|other| other.ready()).count())
        });
        assert_eq!(done.get().unwrap(), (Some(7), 0));
    });
}

#[test]
fn one_that_is_not_ready_is_no_reason_to_run_ahead() {
    run(|| {
        let event = Arc::new(Event::new());
        let waiting = spawn({
            let event = event.clone();
            move || event.wait()
        });
        let ended = spawn(|| ());
        yield_now();
        for next in [&*waiting, &*ended, &greenlet_core::current()] {
            let other = spawn(|| ());
            yield_to(next);
            assert!(other.ready(), "a plain yield lets everybody run");
        }
        event.set();
    });
}

#[test]
fn one_of_another_hub_is_no_reason_either() {
    run(|| {
        let thread = Hub::thread("elsewhere").start().unwrap();
        let event = Arc::new(Event::new());
        let elsewhere = {
            let event = event.clone();
            thread.handle().spawn(move || event.wait()).unwrap()
        };
        let other = spawn(|| ());
        yield_to(&elsewhere);
        assert!(other.ready());
        event.set();
        elsewhere.join();
    });
}

#[test]
fn a_kill_by_the_one_that_runs_reaches_the_caller_there() {
    run(|| {
        let caller = spawn(|| {
            let me = greenlet_core::current();
            let killer = spawn(move || me.kill_with(greenlet_core::Kill::default().no_wait()));
            yield_to(&killer);
            unreachable!("it was killed");
        });
        caller.join();
        assert!(!caller.successful());
    });
}

#[test]
fn two_that_yield_to_each_other_see_timers_and_threads() {
    run(|| {
        let stop = Arc::new(Event::new());
        let setter = {
            let stop = stop.clone();
            std::thread::spawn(move || stop.set())
        };
        let partner = spawn({
            let stop = stop.clone();
            move || {
                while !stop.is_set() {
                    yield_now();
                }
            }
        });
        while !stop.is_set() {
            yield_to(&partner);
        }
        setter.join().unwrap();
    });
}
