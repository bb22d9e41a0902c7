//! Kills: every row of gevent's table, at every suspension point.

mod support;

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use greenlet_core::{
    AsyncResult, Event, Greenlet, GreenletExit, GreenletRef, Hub, Kill, Queue, Raised, catch, current,
    joinall, raise, run, sleep, spawn, spawn_later, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Oops, SHORT, Tally, is_child, run_child, settle, stderr, until};

/// One that waits for ever, and has begun to.
fn parked() -> Greenlet<()> {
    let greenlet = spawn(|| sleep(FOREVER));
    yield_now();
    greenlet
}

// --- gevent's table -----------------------------------------------------------------------------------------------

#[test]
fn killed_before_its_first_turn_it_never_runs() {
    run(|| {
        let ran = Rc::new(Cell::new(0));
        let count = || {
            let ran = ran.clone();
            move || ran.set(ran.get() + 1)
        };
        let spawned = spawn(count());
        let later = spawn_later(Duration::ZERO, count());
        let new = Greenlet::new(count());
        for greenlet in [&spawned, &later, &new] {
            greenlet.kill();
            assert!(greenlet.ready() && greenlet.exited() && greenlet.successful());
            greenlet.start();
        }
        sleep(SHORT);
        assert_eq!(ran.get(), 0);
    });
}

#[test]
fn killed_with_an_error_before_its_first_turn_it_has_failed() {
    run(|| {
        let greenlet = spawn(|| ());
        let told = Rc::new(Cell::new(false));
        greenlet.link_exception({
            let told = told.clone();
            move |_| told.set(true)
        });
        assert!(greenlet.kill_with(Kill::error(Oops("before the start"))));
        assert_eq!(greenlet.exception().unwrap().downcast_ref(), Some(&Oops("before the start")));
        settle();
        assert!(told.get(), "links fire");
    });
}

#[test]
fn killing_the_finished_does_nothing_and_does_not_suspend() {
    run(|| {
        let done = spawn(|| 4);
        done.join();
        let other = spawn(|| ());
        done.kill();
        assert!(done.kill_with(Kill::error(Oops("too late"))));
        assert!(!other.ready());
        assert_eq!(done.get().unwrap(), 4);
        assert!(!done.exited());
    });
}

#[test]
fn a_kill_waits_until_the_destructors_have_run() {
    run(|| {
        let released = Rc::new(Cell::new(false));
        let victim = spawn({
            let released = released.clone();
            move || {
                let _guard = OnDrop(move || {
                    settle();
                    released.set(true);
                });
                sleep(FOREVER);
            }
        });
        yield_now();
        victim.kill();
        assert!(released.get() && victim.exited());
    });
}

#[test]
fn a_kill_that_does_not_wait_is_delivered_in_its_turn() {
    run(|| {
        let victim = parked();
        assert!(!victim.kill_with(Kill::default().no_wait()));
        assert!(!victim.ready());
        yield_now();
        assert!(victim.exited());
    });
}

#[test]
fn the_limit_of_a_kill_bounds_the_wait_and_the_kill_stands() {
    run(|| {
        let gate = Rc::new(Event::new());
        let victim = spawn({
            let gate = gate.clone();
            move || {
                let raised = catch(|| sleep(FOREVER)).unwrap_err();
                gate.wait();
                raised.is::<GreenletExit>()
            }
        });
        yield_now();
        assert!(!victim.kill_with(Kill::default().timeout(SHORT)));
        assert!(!victim.ready());
        gate.set();
        assert!(victim.get().unwrap());
    });
}

#[test]
fn a_kill_of_oneself_is_raised_on_the_spot() {
    run(|| {
        let after = Rc::new(Cell::new(false));
        let suicide = spawn({
            let after = after.clone();
            move || {
                current().kill();
                after.set(true);
            }
        });
        suicide.join();
        assert!(suicide.exited() && !after.get());

        let failed = spawn(|| ignore(current().kill_with(Kill::error(Oops("enough")))));
        failed.join();
        assert_eq!(failed.exception().unwrap().downcast_ref(), Some(&Oops("enough")));
    });
}

#[test]
fn a_kill_of_oneself_that_does_not_wait_arrives_at_the_next_suspension() {
    run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let suicide = spawn({
            let log = log.clone();
            move || {
                assert!(!current().kill_with(Kill::default().no_wait()));
                log.borrow_mut().push("goes on");
                sleep(FOREVER);
                log.borrow_mut().push("past the suspension");
            }
        });
        suicide.join();
        assert!(suicide.exited());
        assert_eq!(*log.borrow(), ["goes on"]);
    });
}

#[test]
fn a_survivor_keeps_its_killer_waiting_until_it_ends() {
    run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let survivor = spawn({
            let log = log.clone();
            move || {
                assert!(catch(|| sleep(FOREVER)).unwrap_err().is::<GreenletExit>());
                settle();
                log.borrow_mut().push("survivor ends");
                "value"
            }
        });
        yield_now();
        survivor.kill();
        log.borrow_mut().push("killer goes on");
        assert_eq!(*log.borrow(), ["survivor ends", "killer goes on"]);
        assert!(!survivor.exited());
        assert_eq!(survivor.get().unwrap(), "value");
    });
}

#[test]
fn a_wake_up_that_is_queued_goes_before_the_kill() {
    run(|| {
        let event = Rc::new(Event::new());
        let woken = Rc::new(Cell::new(false));
        let victim = spawn({
            let (event, woken) = (event.clone(), woken.clone());
            move || {
                event.wait();
                woken.set(true);
                sleep(FOREVER);
            }
        });
        yield_now();
        event.set();
        victim.kill();
        assert!(woken.get() && victim.exited());
    });
}

#[test]
fn a_wake_up_that_comes_after_the_kill_but_before_its_delivery_still_wins() {
    run(|| {
        let event = Rc::new(Event::new());
        let woken = Rc::new(Cell::new(false));
        let victim = spawn({
            let (event, woken) = (event.clone(), woken.clone());
            move || {
                event.wait();
                woken.set(true);
                sleep(FOREVER);
            }
        });
        yield_now();
        victim.kill_with(Kill::default().no_wait());
        event.set();
        victim.join();
        assert!(woken.get() && victim.exited());
    });
}

#[test]
fn each_kill_is_raised_once() {
    run(|| {
        let victim = spawn(|| {
            let mut caught = Vec::new();
            while caught.len() < 3 {
                let raised = catch(|| sleep(FOREVER)).unwrap_err();
                caught.push(raised.downcast_ref::<Oops>().unwrap().0);
            }
            caught
        });
        yield_now();
        for name in ["first", "second", "third"] {
            victim.kill_with(Kill::error(Oops(name)).no_wait());
        }
        assert_eq!(victim.get().unwrap(), ["first", "second", "third"]);
    });
}

#[test]
fn what_is_left_of_many_kills_ends_with_the_victim() {
    run(|| {
        let victim = parked();
        for _ in 0..10 {
            victim.kill_with(Kill::default().no_wait());
        }
        victim.join();
        settle();
        assert!(victim.exited());
        assert_eq!(spawn(|| 1).get().unwrap(), 1, "the next one on that stack is not raised in");
    });
}

#[test]
fn a_killed_killer_leaves_the_kill_standing() {
    run(|| {
        let gate = Rc::new(Event::new());
        let victim = spawn({
            let gate = gate.clone();
            move || {
                let _guard = OnDrop(|| gate.wait());
                sleep(FOREVER);
            }
        });
        yield_now();
        let killer = spawn({
            let victim = victim.clone();
            move || victim.kill()
        });
        settle();
        killer.kill();
        assert!(killer.exited() && !victim.ready());
        gate.set();
        victim.join();
        assert!(victim.exited());
    });
}

#[test]
fn two_who_kill_each_other_both_end() {
    run(|| {
        let second: Rc<RefCell<Option<Greenlet<()>>>> = Rc::default();
        let first = spawn({
            let second = second.clone();
            move || {
                let other = second.borrow().clone().unwrap();
                other.kill();
            }
        });
        *second.borrow_mut() = Some(spawn({
            let first = first.clone();
            move || first.kill()
        }));
        let second = second.borrow().clone().unwrap();
        joinall([&first, &second]);
    });
}

#[test]
fn raising_exit_from_any_depth_is_an_ordinary_end() {
    fn deep(depth: u32) {
        if depth == 0 { raise(GreenletExit) } else { deep(depth - 1) }
    }
    run(|| {
        let greenlet = spawn(|| deep(50));
        greenlet.join();
        assert!(greenlet.exited() && greenlet.successful());
    });
}

#[test]
fn what_was_caught_can_be_raised_again() {
    run(|| {
        let victim = spawn(|| {
            let raised = catch(|| sleep(FOREVER)).unwrap_err();
            raised.reraise();
        });
        yield_now();
        victim.kill_with(Kill::error(Oops("again")));
        assert_eq!(victim.exception().unwrap().downcast_ref(), Some(&Oops("again")));
    });
}

#[test]
fn catch_lets_panics_pass() {
    run(|| {
        let greenlet = spawn(|| {
            drop(catch(|| {
                if true {
                    panic!("not a raise")
                }
            }))
        });
        greenlet.join();
        assert!(greenlet.exception().unwrap().is_panic());
    });
}

#[test]
fn no_panic_hook_runs_for_a_kill() {
    const TEST: &str = "no_panic_hook_runs_for_a_kill";
    if !is_child(TEST) {
        // The hook is the process's own, so it takes a process of its own.
        let output = run_child(TEST);
        assert!(output.status.success(), "{}", stderr(&output));
        return;
    }
    static HOOKED: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| ignore(HOOKED.fetch_add(1, Ordering::SeqCst))));
    run(|| {
        parked().kill();
        assert!(catch(|| raise(Oops("caught"))).is_err());
        if HOOKED.load(Ordering::SeqCst) != 0 {
            std::process::exit(1);
        }
        spawn(|| {
            if true {
                panic!("counted")
            }
        })
        .join();
        if HOOKED.load(Ordering::SeqCst) != 1 {
            std::process::exit(1);
        }
    });
}

// --- every suspension point ---------------------------------------------------------------------------------------

type Waiting = Box<dyn FnOnce()>;

/// Every way to wait for ever.
fn suspension_points() -> Vec<(&'static str, Waiting)> {
    fn full() -> Queue<u8> {
        let queue = Queue::bounded(1);
        queue.try_put(0).unwrap();
        queue
    }
    fn silent() -> (Source<UnixStream>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Source::new(ours), theirs)
    }
    let asleep = spawn(|| sleep(FOREVER));
    let asleep = move || GreenletRef::clone(&asleep);
    let (joined, joined_limited, joined_by_all, killed) = (asleep(), asleep(), asleep(), spawn_survivor());
    let points: Vec<(&str, Waiting)> = vec![
        ("sleep", Box::new(|| sleep(FOREVER))),
        ("sleep with a deadline", Box::new(|| sleep(GENEROUS))),
        (
            "yield",
            Box::new(|| {
                loop {
                    yield_now();
                }
            }),
        ),
        ("join", Box::new(move || joined.join())),
        ("join_timeout", Box::new(move || ignore(joined_limited.join_timeout(GENEROUS)))),
        ("joinall", Box::new(move || joinall([joined_by_all]))),
        ("a kill that waits", Box::new(move || killed.kill())),
        ("Event::wait", Box::new(|| Event::new().wait())),
        ("Event::wait_timeout", Box::new(|| ignore(Event::new().wait_timeout(GENEROUS)))),
        ("Queue::get", Box::new(|| ignore(Queue::<u8>::unbounded().get()))),
        ("Queue::get_timeout", Box::new(|| ignore(Queue::<u8>::unbounded().get_timeout(GENEROUS)))),
        ("Queue::put", Box::new(|| ignore(full().put(1)))),
        ("Queue::put_timeout", Box::new(|| ignore(full().put_timeout(1, GENEROUS)))),
        ("AsyncResult::get", Box::new(|| ignore(AsyncResult::<u8>::new().get()))),
        ("AsyncResult::get_timeout", Box::new(|| ignore(AsyncResult::<u8>::new().get_timeout(GENEROUS)))),
        ("AsyncResult::wait", Box::new(|| AsyncResult::<u8>::new().wait())),
        (
            "Source::read",
            Box::new(|| {
                let (source, _theirs) = silent();
                ignore(source.read(&mut [0], None));
            }),
        ),
        (
            "Source::wait",
            Box::new(|| {
                let (source, _theirs) = silent();
                ignore(source.wait(Direction::Read, Some(GENEROUS)));
            }),
        ),
        ("with_timeout", Box::new(|| ignore(with_timeout(GENEROUS, || sleep(FOREVER))))),
        (
            "with_timeout, twice",
            Box::new(|| ignore(with_timeout(GENEROUS, || with_timeout(FOREVER, || Event::new().wait())))),
        ),
    ];
    points
}

/// One that does not end by one kill, but by those of `run`.
fn spawn_survivor() -> Greenlet<()> {
    spawn(|| (0..8).for_each(|_| ignore(catch(|| sleep(FOREVER)))))
}

fn ignore<T>(_: T) {}

fn kill_everywhere(kill: fn(&GreenletRef)) {
    run(|| {
        for (point, wait) in suspension_points() {
            let tally = Tally::default();
            let token = tally.token();
            let past = Rc::new(Cell::new(false));
            let victim = spawn({
                let past = past.clone();
                move || {
                    let _token = token;
                    wait();
                    past.set(true);
                }
            });
            settle();
            assert!(!victim.ready(), "{point} waits");
            kill(&victim);
            victim.join();
            assert!(victim.exited() && !past.get(), "{point} is killed");
            tally.assert_all_home();
        }
    });
}

#[test]
fn a_kill_reaches_every_suspension_point() {
    kill_everywhere(GreenletRef::kill);
}

#[test]
fn a_kill_that_does_not_wait_reaches_every_suspension_point() {
    kill_everywhere(|victim| ignore(victim.kill_with(Kill::default().no_wait())));
}

#[test]
fn a_kill_from_another_thread_reaches_every_suspension_point() {
    kill_everywhere(|victim| {
        let victim = victim.clone();
        let killer = thread::spawn(move || victim.kill());
        until(|| killer.is_finished());
        killer.join().unwrap();
    });
}

#[test]
fn a_kill_reaches_every_suspension_point_in_a_destructor_that_runs_in_peace() {
    run(|| {
        for (point, wait) in suspension_points() {
            let past = Rc::new(Cell::new(false));
            let victim = spawn({
                let past = past.clone();
                move || {
                    let mut wait = Some(wait);
                    drop(OnDrop(move || (wait.take().unwrap())()));
                    past.set(true);
                }
            });
            settle();
            assert!(!victim.ready(), "{point} waits");
            victim.kill();
            assert!(victim.exited() && !past.get(), "{point} is killed");
        }
    });
}

// --- while it unwinds ---------------------------------------------------------------------------------------------

/// One that is suspended in a destructor, while it unwinds because of a kill, until the event is set.
fn unwinding(gate: &Rc<Event>) -> Greenlet<()> {
    let gate = gate.clone();
    let greenlet = spawn(move || {
        let _guard = OnDrop(move || gate.wait());
        sleep(FOREVER);
    });
    yield_now();
    greenlet.kill_with(Kill::default().no_wait());
    yield_now();
    assert!(!greenlet.ready());
    greenlet
}

#[test]
fn a_kill_while_it_unwinds_waits_until_that_is_over() {
    run(|| {
        let gate = Rc::new(Event::new());
        let (finished, resumed) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let victim = spawn({
            let (gate, finished, resumed) = (gate.clone(), finished.clone(), resumed.clone());
            move || {
                let first = catch(|| {
                    let _guard = OnDrop(|| {
                        gate.wait();
                        finished.set(true);
                    });
                    sleep(FOREVER);
                });
                assert!(first.is_err());
                resumed.set(true);
                sleep(FOREVER);
            }
        });
        yield_now();
        victim.kill_with(Kill::default().no_wait());
        yield_now();
        assert!(!victim.kill_with(Kill::error(Oops("second")).timeout(SHORT)));
        assert!(!finished.get());
        gate.set();
        victim.join();
        assert!(finished.get() && resumed.get());
        assert_eq!(victim.exception().unwrap().downcast_ref(), Some(&Oops("second")));
    });
}

#[test]
fn every_suspension_point_works_in_a_destructor_while_it_unwinds() {
    run(|| {
        for seed in 0..3 {
            let gate = Rc::new(Event::new());
            let steps = Rc::new(Cell::new(0));
            let victim = spawn({
                let (gate, steps) = (gate.clone(), steps.clone());
                move || {
                    let _guard = OnDrop(move || {
                        let step = || steps.set(steps.get() + 1);
                        yield_now();
                        step();
                        sleep(SHORT);
                        step();
                        gate.wait();
                        step();
                        let queue = Rc::new(Queue::bounded(1));
                        let putter = spawn({
                            let queue = queue.clone();
                            move || (0..3).try_for_each(|n| queue.put(n))
                        });
                        assert_eq!((0..3).map(|_| queue.get().unwrap()).sum::<i32>(), 3);
                        step();
                        assert!(putter.get().unwrap().is_ok());
                        step();
                        assert!(with_timeout(SHORT, || sleep(FOREVER)).is_err());
                        step();
                        assert!(catch(|| raise(Oops("inside"))).unwrap_err().is::<Oops>());
                        step();
                        let failed = spawn(|| {
                            if true {
                                panic!("meanwhile")
                            }
                        });
                        failed.join();
                        step();
                    });
                    match seed {
                        0 => sleep(FOREVER),
                        1 => panic!("unwinds by a panic"),
                        _ => with_timeout(SHORT, || sleep(FOREVER)).unwrap_or_else(|late| raise(late)),
                    }
                }
            });
            yield_now();
            if seed == 0 {
                victim.kill_with(Kill::default().no_wait());
            }
            until(|| steps.get() == 2);
            // Kills that arrive now are for later.
            victim.kill_with(Kill::default().no_wait());
            gate.set();
            victim.join();
            assert_eq!(steps.get(), 8);
        }
    });
}

#[test]
fn a_kill_of_oneself_while_unwinding_waits() {
    run(|| {
        let after = Rc::new(Cell::new(false));
        let victim = spawn({
            let after = after.clone();
            move || {
                let _guard = OnDrop(move || {
                    current().kill();
                    yield_now();
                    after.set(true);
                });
                sleep(FOREVER);
            }
        });
        yield_now();
        victim.kill();
        assert!(after.get() && victim.exited());
    });
}

#[test]
fn a_kill_of_oneself_works_while_another_unwinds() {
    run(|| {
        let gate = Rc::new(Event::new());
        let other = unwinding(&gate);
        let after = Rc::new(Cell::new(false));
        let suicide = spawn({
            let after = after.clone();
            move || {
                current().kill();
                after.set(true);
            }
        });
        suicide.join();
        assert!(suicide.exited() && !after.get());
        gate.set();
        other.join();
    });
}

#[test]
fn kills_reach_others_while_one_unwinds() {
    run(|| {
        let gate = Rc::new(Event::new());
        let other = unwinding(&gate);
        for (point, wait) in suspension_points() {
            let victim = spawn(wait);
            settle();
            assert!(victim.kill_with(Kill::default().timeout(GENEROUS)), "{point}");
            assert!(victim.exited(), "{point}");
        }
        assert!(!other.ready());
        gate.set();
        other.join();
    });
}

#[test]
fn a_kill_is_not_lost_on_one_that_caught_a_panic_before_another_unwound() {
    run(|| {
        let (next, gate) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let victim = spawn({
            let next = next.clone();
            move || {
                assert!(
                    catch_unwind(|| if true {
                        panic!("caught by the user")
                    })
                    .is_err()
                );
                next.wait();
                sleep(FOREVER);
            }
        });
        yield_now();
        let other = unwinding(&gate);
        next.set();
        yield_now();
        assert!(victim.kill_with(Kill::default().timeout(GENEROUS)), "the kill was lost");
        gate.set();
        other.join();
    });
}

/// Kills one that caught something while another greenlet was suspended in mid-unwind. Whether it ended once the other
/// was through.
fn killed_after(caught: fn()) -> bool {
    run(|| {
        let (gate, rescue) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let other = unwinding(&gate);
        let victim = spawn({
            let rescue = rescue.clone();
            move || {
                caught();
                rescue.wait();
            }
        });
        yield_now();
        victim.kill_with(Kill::default().no_wait());
        settle();
        gate.set();
        other.join();
        settle();
        let killed = victim.exited();
        rescue.set();
        victim.join();
        killed
    })
}

#[test]
fn a_kill_is_not_lost_on_one_that_caught_a_panic_while_another_unwound() {
    let caught = || {
        assert!(
            catch_unwind(|| if true {
                panic!("caught by the user")
            })
            .is_err()
        )
    };
    assert!(killed_after(caught), "the kill was lost");
}

#[test]
fn a_kill_is_not_lost_on_one_that_caught_a_raise_by_catch_unwind_while_another_unwound() {
    let caught = || {
        assert!(
            catch_unwind(|| if true {
                raise(Oops("caught"))
            })
            .unwrap_err()
            .is::<Raised>()
        )
    };
    assert!(killed_after(caught), "the kill was lost");
}

#[test]
fn many_unwind_at_once_and_end_in_any_order() {
    run(|| {
        let gates: Vec<_> = (0..6).map(|_| Rc::new(Event::new())).collect();
        let victims: Vec<_> = gates.iter().map(unwinding).collect();
        for nth in [3, 0, 5, 1, 4, 2] {
            gates[nth].set();
            victims[nth].join();
            assert!(victims[nth].exited());
        }
        parked().kill();
        assert!(!thread::panicking());
    });
}

// --- while it starts and ends -------------------------------------------------------------------------------------

#[test]
fn a_destructor_of_the_closure_may_yield_when_it_is_killed_before_its_start() {
    run(|| {
        let (ran, dropped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let guard = OnDrop({
            let dropped = dropped.clone();
            move || {
                dropped.set(dropped.get() + 1);
                yield_now();
            }
        });
        let victim = spawn({
            let ran = ran.clone();
            move || {
                let _guard = &guard;
                ran.set(ran.get() + 1);
            }
        });
        victim.kill();
        settle();
        assert_eq!((ran.get(), dropped.get()), (0, 1));
    });
}

#[test]
fn a_kill_while_the_value_is_dropped_comes_too_late() {
    run(|| {
        let gate = Rc::new(Event::new());
        let through = Rc::new(Cell::new(false));
        let victim = spawn({
            let (gate, through) = (gate.clone(), through.clone());
            move || {
                OnDrop(move || {
                    gate.wait();
                    through.set(true);
                })
            }
        });
        let reference = GreenletRef::clone(&victim);
        drop(victim);
        yield_now();
        assert!(!reference.kill_with(Kill::default().timeout(SHORT)), "it is past its code");
        gate.set();
        reference.join();
        assert!(through.get() && !reference.exited());
    });
}

// --- main ---------------------------------------------------------------------------------------------------------

#[test]
fn a_kill_of_main_is_raised_where_main_waits() {
    run(|| {
        let main = current();
        drop(spawn(move || main.kill_with(Kill::error(Oops("for main")).no_wait())));
        let raised = catch(|| sleep(FOREVER)).unwrap_err();
        assert_eq!(raised.downcast_ref(), Some(&Oops("for main")));
        settle();
    });
}

#[test]
fn a_kill_of_main_from_another_thread_is_raised_where_main_waits() {
    run(|| {
        let main = current();
        let killer = thread::spawn(move || main.kill_with(Kill::default().no_wait()));
        assert!(catch(|| sleep(FOREVER)).unwrap_err().is::<GreenletExit>());
        killer.join().unwrap();
    });
}

#[test]
fn a_kill_of_main_by_main_is_raised_on_the_spot() {
    run(|| assert!(catch(|| current().kill()).unwrap_err().is::<GreenletExit>()));
}

#[test]
fn a_kill_of_main_that_is_queued_when_run_ends_changes_nothing() {
    let dropped = Rc::new(Cell::new(0));
    let value = run({
        let dropped = dropped.clone();
        move || {
            drop(spawn(move || {
                let _guard = OnDrop(move || dropped.set(dropped.get() + 1));
                sleep(FOREVER);
            }));
            yield_now();
            current().kill_with(Kill::default().no_wait());
            7
        }
    });
    assert_eq!((value, dropped.get()), (7, 1));
}

// --- other threads ------------------------------------------------------------------------------------------------

#[test]
fn a_kill_from_another_thread_waits_for_the_destructors() {
    run(|| {
        let dropped = Arc::new(Event::new());
        let victim = spawn({
            let dropped = dropped.clone();
            move || {
                let _guard = OnDrop(move || {
                    settle();
                    dropped.set();
                });
                sleep(FOREVER);
            }
        });
        yield_now();
        let reference = GreenletRef::clone(&victim);
        let seen = dropped.clone();
        let killer = thread::spawn(move || {
            reference.kill();
            (reference.exited(), seen.is_set())
        });
        until(|| killer.is_finished());
        assert_eq!(killer.join().unwrap(), (true, true));
    });
}

#[test]
fn a_kill_from_another_hub_is_waited_for_by_a_greenlet() {
    let hub = Hub::thread("victims").start().unwrap();
    run(|| {
        let victims: Vec<_> = (0..20).map(|_| hub.handle().spawn(|| sleep(FOREVER)).unwrap()).collect();
        let killers: Vec<_> = victims
            .iter()
            .map(|victim| {
                let victim = victim.clone();
                spawn(move || victim.kill())
            })
            .collect();
        joinall(&killers);
        assert!(victims.iter().all(|victim| victim.exited()));
    });
    hub.shutdown();
}

#[test]
fn kills_from_many_threads_end_it_once() {
    let tally = Tally::default();
    run(|| {
        for _ in 0..50 {
            let token = tally.token();
            let victim = spawn(move || {
                let _token = token;
                sleep(FOREVER);
            });
            yield_now();
            let killers: Vec<_> = (0..3)
                .map(|_| {
                    let victim = GreenletRef::clone(&victim);
                    thread::spawn(move || victim.kill())
                })
                .collect();
            victim.join();
            killers.into_iter().for_each(|killer| killer.join().unwrap());
            assert!(victim.exited());
        }
    });
    tally.assert_all_home();
}
