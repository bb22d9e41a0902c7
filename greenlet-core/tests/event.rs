//! Events.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::{Event, Hub, Kill, joinall, run, spawn, yield_now};
use support::{FOREVER, GENEROUS, SHORT, settle, until, with};

#[test]
fn waiting_for_a_set_event_does_not_suspend() {
    run(|| {
        let event = Event::new();
        assert!(!event.is_set());
        event.set();
        event.set();
        let other = spawn(|| ());
        event.wait();
        assert!(event.wait_timeout(Duration::ZERO) && event.is_set());
        assert!(!other.ready());
    });
}

#[test]
fn set_wakes_everybody_in_the_order_in_which_they_came() {
    run(|| {
        let (event, order) = (Rc::new(Event::new()), Rc::new(RefCell::new(Vec::new())));
        let all: Vec<_> = (0..50)
            .map(|n| {
                let (event, order) = (event.clone(), order.clone());
                spawn(move || {
                    event.wait();
                    order.borrow_mut().push(n);
                })
            })
            .collect();
        yield_now();
        event.set();
        assert!(order.borrow().is_empty(), "nobody runs inside `set`");
        joinall(&all);
        assert_eq!(*order.borrow(), (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn those_who_waited_are_woken_even_if_it_is_cleared_at_once() {
    run(|| {
        let event = Rc::new(Event::new());
        let waiting = |limit: Option<Duration>| {
            let event = event.clone();
            spawn(move || match limit {
                Some(limit) => event.wait_timeout(limit),
                None => {
                    event.wait();
                    true
                }
            })
        };
        let (plain, limited) = (waiting(None), waiting(Some(GENEROUS)));
        yield_now();
        event.set();
        event.clear();
        let late = waiting(Some(SHORT));
        assert_eq!((plain.get().unwrap(), limited.get().unwrap()), (true, true));
        assert!(!late.get().unwrap());
    });
}

#[test]
fn a_wait_that_times_out_says_so_and_leaves_no_trace() {
    run(|| {
        let event = Event::new();
        assert!(!event.wait_timeout(SHORT) && !event.wait_timeout(Duration::ZERO));
        event.set();
        assert!(event.wait_timeout(FOREVER));
    });
}

#[test]
fn a_killed_waiter_takes_no_wake_up_with_it() {
    run(|| {
        let event = Rc::new(Event::new());
        let all: Vec<_> = (0..5)
            .map(|_| {
                let event = event.clone();
                spawn(move || event.wait())
            })
            .collect();
        yield_now();
        for nth in [0, 2, 4] {
            all[nth].kill();
        }
        event.set();
        joinall(&all);
        let ends: Vec<_> = all.iter().map(|waiter| waiter.exited()).collect();
        assert_eq!(ends, [true, false, true, false, true]);
    });
}

#[test]
fn an_event_dropped_after_its_waiters_were_woken_harms_nobody() {
    run(|| {
        let event = Rc::new(Event::new());
        let waiter = spawn({
            let event = event.clone();
            move || event.wait()
        });
        yield_now();
        event.set();
        drop(event);
        assert!(waiter.get().is_ok());
    });
}

#[test]
fn greenlets_of_other_hubs_and_plain_threads_wait_too() {
    let hub = Hub::thread("waiters").start().unwrap();
    run(|| {
        let event = Arc::new(Event::new());
        let here = spawn({
            let event = event.clone();
            move || event.wait()
        });
        let there = hub.handle().spawn({
            let event = event.clone();
            move || event.wait()
        });
        let thread = thread::spawn({
            let event = event.clone();
            move || event.wait_timeout(GENEROUS)
        });
        yield_now();
        event.set();
        joinall([&here, &there.unwrap()]);
        assert!(thread.join().unwrap());
    });
    hub.shutdown();
}

#[test]
fn a_plain_thread_gives_up_when_its_time_is_over() {
    let waited =
        thread::spawn(|| (Event::new().wait_timeout(SHORT), Event::new().wait_timeout(Duration::ZERO)));
    assert_eq!(waited.join().unwrap(), (false, false));
}

#[test]
fn an_event_goes_back_and_forth_between_threads() {
    run(|| {
        let (ping, pong) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let other = thread::spawn({
            let (ping, pong) = (ping.clone(), pong.clone());
            move || {
                for _ in 0..500 {
                    ping.wait();
                    ping.clear();
                    pong.set();
                }
            }
        });
        for _ in 0..500 {
            ping.set();
            pong.wait();
            pong.clear();
        }
        until(|| other.is_finished());
        other.join().unwrap();
    });
}

#[test]
fn a_kill_that_races_with_the_set_from_another_thread_ends_every_waiter() {
    run(|| {
        for round in 0..200 {
            let event = Arc::new(Event::new());
            let waiter = spawn({
                let event = event.clone();
                move || {
                    event.wait();
                    round
                }
            });
            yield_now();
            let setter = thread::spawn({
                let event = event.clone();
                move || event.set()
            });
            waiter.kill_with(Kill::default().no_wait());
            waiter.join();
            assert!(waiter.exited() || waiter.value() == Some(&round));
            event.wait();
            setter.join().unwrap();
        }
        settle();
    });
}

#[test]
fn a_waiter_that_clears_the_event_is_not_woken_by_the_same_set_again() {
    run(|| {
        let event = Rc::new(Event::new());
        let waiter = spawn({
            let event = event.clone();
            move || {
                event.wait();
                event.clear();
                (event.wait_timeout(SHORT), greenlet_core::wait_timeout([&*event], SHORT).len())
            }
        });
        yield_now();
        event.set();
        assert_eq!(waiter.get().unwrap(), (false, 0));
    });
}

#[test]
fn who_comes_between_the_set_and_the_waiters_does_not_wait() {
    run(|| {
        let (event, log) = (Rc::new(Event::new()), Rc::new(RefCell::new(Vec::new())));
        let waiters = [1, 2].map(|number| {
            let (event, log) = (event.clone(), log.clone());
            spawn(move || {
                event.wait();
                log.borrow_mut().push(number);
            })
        });
        yield_now();
        event.set();
        event.wait();
        log.borrow_mut().push(0);
        joinall(&waiters);
        assert_eq!(*log.borrow(), [0, 1, 2], "it is set, so a wait is over at once");
        for _ in 0..2 {
            assert_eq!(greenlet_core::wait([&*event]).len(), 1, "as often as one likes");
        }
    });
}

#[test]
fn any_number_of_waiters_see_a_set_that_is_cleared_at_once() {
    run(|| {
        for count in [1, 100, 1000] {
            let event = Rc::new(Event::new());
            let waiters: Vec<_> = (0..count)
                .map(|_| {
                    let event = event.clone();
                    spawn(move || event.wait_timeout(GENEROUS))
                })
                .collect();
            yield_now();
            event.set();
            event.clear();
            joinall(&waiters);
            assert!(waiters.iter().all(|waiter| *waiter.value().unwrap()));
        }
    });
}

#[test]
fn every_kind_of_waiter_is_woken_by_a_set_from_any_other_thread() {
    let waiters: [fn(&Event) -> bool; 4] = [
        |event| {
            event.wait();
            true
        },
        |event| event.wait_timeout(GENEROUS),
        |event| run(|| event.wait_timeout(GENEROUS)),
        |event| {
            run(|| {
                greenlet_core::scope(|scope| {
                    scope.spawn(|| event.wait_timeout(GENEROUS)).into_value().unwrap()
                })
            })
        },
    ];
    let setters: [fn(Arc<Event>); 2] =
        [|event| event.set(), |event| run(|| spawn(move || event.set()).join())];
    for wait in waiters {
        for set in setters {
            let event = Arc::new(Event::new());
            let waiter = thread::spawn({
                let event = event.clone();
                move || wait(&event)
            });
            set(event);
            assert!(waiter.join().unwrap());
        }
    }
}

#[test]
fn set_runs_nobody_before_the_setter_waits() {
    let event = Rc::new(Event::new());
    let waiter = with(&event, |event| event.wait());
    settle();
    event.set();
    assert!(!waiter.ready());
    yield_now();
    assert!(waiter.ready());
}
