//! Letting one greenlet run ahead of all others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::sim::{self, Order, Sim};
use greenlet_core::{Event, Hub, Kill, catch, embed, run, sleep, spawn, yield_now, yield_to};

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
fn a_kill_by_the_one_that_runs_comes_at_the_next_wait() {
    run(|| {
        let went_on = Rc::new(Cell::new(false));
        let caller = spawn({
            let went_on = went_on.clone();
            move || {
                let me = greenlet_core::current();
                let killer = spawn(move || me.kill_with(greenlet_core::Kill::default().no_wait()));
                yield_to(&killer);
                went_on.set(true);
                sleep(Duration::MAX);
            }
        });
        caller.join();
        assert!(went_on.get() && caller.exited());
    });
}

#[test]
fn who_runs_inside_another_may_fail_or_be_killed_or_wait() {
    run(|| {
        let event = Arc::new(Event::new());
        let caller = spawn({
            let event = event.clone();
            move || {
                let fails = spawn(|| panic!("on purpose"));
                yield_to(&fails);
                assert!(fails.ready() && !fails.successful());
                let killed = spawn(|| sleep(Duration::MAX));
                killed.kill_with(greenlet_core::Kill::default().no_wait());
                yield_to(&killed);
                let waits = spawn(move || event.wait());
                yield_to(&waits);
                assert!(!waits.ready());
                killed.join();
                assert!(killed.exited());
                waits
            }
        });
        let waits = caller.into_value().expect("all of that happened");
        event.set();
        waits.join();
        assert!(waits.successful());
    });
}

/// Each spawns the next and yields to it, so they run inside each other.
fn descend(depth: u32, order: &Rc<RefCell<Vec<u32>>>) {
    if depth > 0 {
        let inner = order.clone();
        let next = spawn(move || descend(depth - 1, &inner));
        yield_to(&next);
        order.borrow_mut().push(depth);
        next.join();
    }
}

#[test]
fn many_run_inside_each_other_on_stacks_of_their_own() {
    run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let inner = order.clone();
        spawn(move || descend(40, &inner)).join();
        assert_eq!(*order.borrow(), (1..=40).collect::<Vec<_>>());
    });
}

#[test]
fn the_hub_looks_outside_however_often_one_yields_to_another() {
    run(|| {
        let turns = || Hub::current().metrics().turns;
        let before = turns();
        spawn(|| {
            for _ in 0..1000 {
                yield_to(&spawn(|| ()));
            }
        })
        .join();
        assert!(turns() - before >= 10);
    });
}

#[test]
fn who_yielded_shows_where_it_stands_while_the_other_runs() {
    let look = || {
        let me = greenlet_core::current();
        let asks = spawn(move || {
            let survey = greenlet_core::monitor::Survey::default().backtraces().take();
            let hubs = survey.hubs.iter();
            let info = hubs.flat_map(|hub| &hub.greenlets).find(|info| info.id == me.id()).cloned();
            (me.backtrace().unwrap().to_string(), info.expect("it lives").state)
        });
        yield_to(&asks);
        let (backtrace, state) = asks.into_value().expect("it did not wait");
        assert!(backtrace.contains("who_yielded_shows_where_it_stands"), "{backtrace}");
        assert_eq!(state, greenlet_core::monitor::GreenletState::Ready);
    };
    run(move || {
        spawn(look).get().unwrap();
        look(); // the main greenlet, on the thread's own stack
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

#[test]
fn a_greenlet_that_waits_for_the_one_it_yielded_to_is_not_resumed_by_that_one() {
    run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let outer = spawn({
            let log = log.clone();
            move || {
                let me = greenlet_core::current();
                let inner = spawn({
                    let log = log.clone();
                    move || {
                        embed::unpark(&me); // it is in the ready queue now, and below us on the way to the loop
                        yield_to(&me);
                        log.borrow_mut().push("inner goes on");
                    }
                });
                yield_to(&inner);
                log.borrow_mut().push("outer goes on");
                inner.join();
            }
        });
        outer.join();
        assert!(outer.successful());
        assert_eq!(*log.borrow(), ["outer goes on", "inner goes on"]);
    });
}

#[test]
fn one_that_runs_though_it_is_queued_is_not_resumed_by_who_runs_inside_of_it() {
    run(|| {
        let event = Rc::new(Event::new());
        let outer = spawn({
            let event = event.clone();
            move || {
                drop(catch(|| event.wait()));
                let me = greenlet_core::current();
                let inner = spawn(move || yield_to(&me));
                yield_to(&inner);
                inner.join();
            }
        });
        yield_now();
        spawn({
            let outer = (*outer).clone();
            move || {
                outer.kill_with(Kill::default().no_wait());
                event.set();
            }
        });
        outer.join();
        assert!(outer.successful());
    });
}

#[test]
fn main_that_is_ready_comes_first_too() {
    run(|| {
        let (event, main) = (Rc::new(Event::new()), greenlet_core::current());
        let order = Rc::new(RefCell::new(Vec::new()));
        let greenlet = spawn({
            let (event, order) = (event.clone(), order.clone());
            move || {
                spawn({
                    let order = order.clone();
                    move || order.borrow_mut().push("other")
                });
                event.set();
                yield_to(&main);
                order.borrow_mut().push("greenlet");
            }
        });
        event.wait();
        order.borrow_mut().push("main");
        greenlet.join();
        assert_eq!(*order.borrow(), ["main", "greenlet", "other"]);
    });
}

#[test]
fn a_simulation_runs_it_inside_or_by_way_of_the_loop_as_the_seed_says() {
    /// Whether a turn of the loop came in between.
    fn takes_a_turn() -> bool {
        spawn(|| {
            let turns = sim::turns();
            yield_to(&spawn(|| ()));
            sim::turns() > turns
        })
        .into_value()
        .unwrap()
    }
    let any =
        |order: Order, turn: bool| (0..20).any(|seed| Sim::new(seed).order(order).run(takes_a_turn) == turn);
    for order in [Order::Fair, Order::Random] {
        assert!(any(order, true) && any(order, false), "{order:?}");
    }
    assert!(!any(Order::Fifo, true), "as on an ordinary hub");
}
