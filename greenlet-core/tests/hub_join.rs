//! Waiting until nothing is left, or nothing else is ready.

mod support;

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use greenlet_core::watcher::{Timer, run_callback};
use greenlet_core::{
    Event, Hub, TimedOut, Timeout, catch, current, idle, run, sleep, spawn, spawn_later, with_timeout,
    yield_now,
};
use support::{FOREVER, Oops, SHORT, no_wait, settle, with};

#[test]
fn join_may_be_called_many_times_and_the_hub_goes_on() {
    run(|| {
        for _ in 0..3 {
            let greenlets: Vec<_> = (0..10).map(|_| spawn(|| sleep(SHORT))).collect();
            Hub::join();
            assert!(greenlets.iter().all(|greenlet| greenlet.ready()));
            assert!(Hub::join_timeout(Duration::ZERO), "nothing is left");
            assert!(Hub::join_timeout(FOREVER));
            sleep(SHORT);
        }
    });
}

#[test]
fn join_waits_for_what_is_spawned_meanwhile_and_for_later_starts() {
    run(|| {
        let count = Rc::new(Cell::new(0));
        fn chain(left: u32, count: &Rc<Cell<u32>>) {
            let count = count.clone();
            spawn(move || {
                yield_now();
                count.set(count.get() + 1);
                if left > 0 {
                    chain(left - 1, &count);
                }
            });
        }
        chain(5, &count);
        let later = spawn_later(Duration::from_millis(5), || ());
        Hub::join();
        assert_eq!(count.get(), 6);
        assert!(later.ready());
    });
}

#[test]
fn join_with_a_timeout_gives_up_and_leaves_the_greenlets_alone() {
    run(|| {
        let event = Rc::new(Event::new());
        let waiter = with(&event, |event: &Event| event.wait());
        for timeout in [Duration::ZERO, SHORT] {
            assert!(!Hub::join_timeout(timeout));
        }
        assert!(!waiter.ready());
        event.set();
        assert!(Hub::join_timeout(FOREVER));
        assert!(waiter.ready());
    });
}

#[test]
fn join_waits_for_watchers_that_count_and_for_no_others() {
    run(|| {
        let fired = Rc::new(Cell::new(0));
        let timer = |after: Duration| {
            let fired = fired.clone();
            Timer::once(after, move || fired.set(fired.get() + 1))
        };
        let counted = timer(Duration::from_millis(5));
        Hub::join();
        assert_eq!(fired.get(), 1);
        let uncounted = timer(Duration::from_secs(3600)).uncounted();
        assert!(Hub::join_timeout(FOREVER));
        assert_eq!(fired.get(), 1);
        assert!(uncounted.active() && !counted.active());
        uncounted.again();
        assert!(Hub::join_timeout(FOREVER), "it stays uncounted");
        // A timeout that is pending is nothing to wait for.
        let timeout = Timeout::start_new(Duration::from_secs(3600));
        Hub::join();
        assert!(timeout.pending());
    });
}

#[test]
fn join_waits_for_queued_callbacks() {
    run(|| {
        let called = Rc::new(Cell::new(false));
        let setter = called.clone();
        run_callback(move || setter.set(true));
        Hub::join();
        assert!(called.get());
    });
}

#[test]
fn a_raise_ends_the_join_and_the_next_one_works() {
    run(|| {
        let waiter = spawn(|| sleep(FOREVER));
        assert!(matches!(with_timeout(SHORT, Hub::join), Err(TimedOut { .. })));
        let main = current();
        let killer = spawn(move || main.kill_with(greenlet_core::Kill::error(Oops("enough")).no_wait()));
        assert!(catch(Hub::join).unwrap_err().is::<Oops>());
        killer.join();
        waiter.kill();
        assert!(Hub::join_timeout(FOREVER));
    });
}

#[test]
fn join_is_for_main_only() {
    run(|| {
        let inside = spawn(|| catch_unwind(Hub::join).is_err());
        assert!(inside.get().unwrap());
        let refused = Rc::new(Cell::new(false));
        let noted = refused.clone();
        run_callback(move || noted.set(catch_unwind(Hub::join).is_err()));
        settle();
        assert!(refused.get());
    });
}

#[test]
fn join_in_many_threads_leaves_nothing_behind() {
    let threads: Vec<_> = (0..10)
        .map(|_| {
            std::thread::spawn(|| {
                let token = Rc::new(());
                let kept = token.clone();
                let greenlet = spawn(move || {
                    sleep(SHORT);
                    drop(kept);
                });
                Hub::join();
                assert!(greenlet.ready());
                assert_eq!(Rc::strong_count(&token), 1);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

// --- idle ------------------------------------------------------------------------------------------------------------

#[test]
fn idle_returns_when_nothing_else_is_ready() {
    run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let busy = with(&order, |order: &RefCell<Vec<&str>>| {
            (0..200).for_each(|_| yield_now());
            order.borrow_mut().push("busy");
        });
        let idler = with(&order, |order: &RefCell<Vec<&str>>| {
            idle();
            order.borrow_mut().push("idle");
        });
        greenlet_core::joinall([&busy, &idler]);
        assert_eq!(*order.borrow(), ["busy", "idle"]);
    });
}

#[test]
fn idle_lets_io_and_due_timers_go_first() {
    run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reader = with(&order, move |order: &RefCell<Vec<&str>>| {
            let source = Source::new(ours);
            source.wait(Direction::Write, None).unwrap(); // registered, and writable at once
            source.read(&mut [0], None).unwrap();
            order.borrow_mut().push("read");
        });
        let timer = with(&order, |order: &RefCell<Vec<&str>>| {
            sleep(SHORT);
            order.borrow_mut().push("timer");
        });
        settle();
        std::io::Write::write_all(&mut &theirs, b"x").unwrap();
        std::thread::sleep(Duration::from_millis(5)); // the timer is due
        idle();
        order.borrow_mut().push("idle");
        assert_eq!(order.borrow().last(), Some(&"idle"));
        assert_eq!(order.borrow().len(), 3, "{order:?}");
        assert!(reader.ready() && timer.ready());
    });
}

#[test]
fn sleep_followed_by_idle_returns() {
    run(|| {
        sleep(SHORT);
        idle();
        idle();
    });
}

#[test]
fn idlers_take_turns_in_order() {
    run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let idlers: Vec<_> = (0..3)
            .map(|n| {
                with(&order, move |order: &RefCell<Vec<(i32, i32)>>| {
                    for round in 0..2 {
                        idle();
                        order.borrow_mut().push((round, n));
                        yield_now();
                    }
                })
            })
            .collect();
        greenlet_core::joinall(&idlers);
        assert_eq!(*order.borrow(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    });
}

#[test]
fn a_killed_idler_takes_nobodys_turn() {
    run(|| {
        let blocked = Rc::new(Cell::new(true));
        let spinner = with(&blocked, |blocked: &Cell<bool>| {
            while blocked.get() {
                yield_now();
            }
        });
        let first = spawn(idle);
        let second = spawn(idle);
        settle();
        assert!(!first.ready() && !second.ready());
        first.kill_with(no_wait());
        settle();
        assert!(first.ready());
        blocked.set(false);
        second.join();
        spinner.join();
        assert_eq!(with_timeout(Duration::from_secs(30), idle), Ok(()));
    });
}

#[test]
fn idle_works_without_a_hub_and_not_in_callbacks() {
    std::thread::spawn(idle).join().unwrap();
    run(|| {
        let refused = Rc::new(Cell::new(false));
        let noted = refused.clone();
        run_callback(move || noted.set(catch_unwind(AssertUnwindSafe(idle)).is_err()));
        settle();
        assert!(refused.get());
    });
}

// --- in a simulation -------------------------------------------------------------------------------------------------

#[test]
fn idle_and_join_work_in_virtual_time() {
    greenlet_core::sim::run(1, || {
        let busy = spawn(|| (0..50).for_each(|_| yield_now()));
        idle();
        assert!(busy.ready());
        let later = spawn_later(Duration::from_secs(3600), || sleep(Duration::from_secs(3600)));
        assert!(!Hub::join_timeout(Duration::from_secs(3700)));
        Hub::join();
        assert!(later.ready());
        let event = Rc::new(Event::new());
        let stuck = with(&event, |event: &Event| event.wait());
        Hub::join();
        assert!(!stuck.ready(), "it can never end");
        event.set();
        stuck.join();
    });
}
