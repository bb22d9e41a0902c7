//! The life of a greenlet: starting, running, ending, and what comes back.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::{
    Builder, Event, Failure, Greenlet, GreenletError, GreenletExit, GreenletRef, Hub, Kill, attempt, catch,
    current, joinall, joinall_timeout, killall, killall_with, raise, run, sleep, spawn, spawn_later,
    with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Oops, SHORT, Tally, settle, until};

type Log = Rc<RefCell<Vec<&'static str>>>;

// --- starting -----------------------------------------------------------------------------------------------------

#[test]
fn spawn_runs_nothing_before_the_spawner_waits() {
    run(|| {
        let ran = Rc::new(Cell::new(false));
        let greenlet = spawn({
            let ran = ran.clone();
            move || ran.set(true)
        });
        assert!(!ran.get() && !greenlet.ready());
        greenlet.join();
        assert!(ran.get() && greenlet.ready());
    });
}

#[test]
fn greenlets_start_in_the_order_in_which_they_were_spawned() {
    run(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let all: Vec<_> = (0..200)
            .map(|n| {
                let order = order.clone();
                spawn(move || order.borrow_mut().push(n))
            })
            .collect();
        joinall(&all);
        assert_eq!(*order.borrow(), (0..200).collect::<Vec<_>>());
    });
}

#[test]
fn a_yield_lets_everybody_run_who_is_ready_and_then_comes_back() {
    run(|| {
        let log = Log::default();
        for name in ["a", "b"] {
            let log = log.clone();
            drop(spawn(move || {
                log.borrow_mut().push(name);
                yield_now();
                log.borrow_mut().push(name);
            }));
        }
        yield_now();
        assert_eq!(*log.borrow(), ["a", "b"]);
        yield_now();
        assert_eq!(*log.borrow(), ["a", "b", "a", "b"]);
    });
}

#[test]
fn a_new_greenlet_runs_only_once_it_is_started() {
    run(|| {
        let runs = Rc::new(Cell::new(0));
        let greenlet = Greenlet::new({
            let runs = runs.clone();
            move || runs.set(runs.get() + 1)
        });
        settle();
        assert_eq!((runs.get(), greenlet.ready()), (0, false));
        greenlet.start();
        greenlet.start();
        greenlet.join();
        greenlet.start();
        settle();
        assert_eq!(runs.get(), 1);
    });
}

#[test]
fn a_start_from_another_thread_runs_it_at_home() {
    run(|| {
        let greenlet = Greenlet::new(|| thread::current().id());
        let reference = GreenletRef::clone(&greenlet);
        let starter = thread::spawn(move || reference.start());
        assert_eq!(greenlet.get().unwrap(), thread::current().id());
        starter.join().unwrap();
    });
}

#[test]
fn spawn_later_starts_after_its_delay_and_not_before() {
    run(|| {
        let late = spawn_later(Duration::from_secs(3600), || "late");
        let soon = spawn_later(Duration::ZERO, || "soon");
        assert_eq!(soon.get().unwrap(), "soon");
        assert!(!late.ready());
        late.kill();
        assert!(late.exited());
    });
}

#[test]
fn a_greenlet_that_waits_for_its_start_time_ignores_start() {
    run(|| {
        let late = Greenlet::new(|| ());
        late.start_later(Duration::from_secs(3600));
        late.start();
        late.start_later(Duration::ZERO);
        assert!(!late.join_timeout(SHORT));
        late.kill();
    });
}

#[test]
fn start_later_from_another_thread_runs_it_at_home() {
    run(|| {
        let greenlet = Greenlet::new(|| thread::current().id());
        let reference = GreenletRef::clone(&greenlet);
        thread::spawn(move || reference.start_later(SHORT)).join().unwrap();
        assert_eq!(greenlet.get().unwrap(), thread::current().id());
    });
}

#[test]
fn a_start_time_that_never_comes_never_comes_wherever_the_handle_is_dropped() {
    run(|| {
        let ran = Arc::new(Event::new());
        let greenlet = spawn_later(FOREVER, {
            let ran = ran.clone();
            move || ran.set()
        });
        thread::spawn(move || drop(greenlet)).join().unwrap();
        assert!(!ran.wait_timeout(SHORT));
    });
}

#[test]
fn ten_thousand_greenlets_wait_at_once() {
    run(|| {
        let gate = Rc::new(Event::new());
        let all: Vec<_> = (0..10_000u64)
            .map(|n| {
                let gate = gate.clone();
                spawn(move || {
                    gate.wait();
                    n
                })
            })
            .collect();
        yield_now();
        assert!(all.iter().all(|greenlet| !greenlet.ready()));
        gate.set();
        joinall(&all);
        assert_eq!(all.iter().map(|greenlet| greenlet.value().unwrap()).sum::<u64>(), 9_999 * 10_000 / 2);
    });
}

#[test]
fn what_a_greenlet_captures_need_not_be_send() {
    run(|| {
        let shared = Rc::new(RefCell::new(Vec::new()));
        let all: Vec<_> = (0..3)
            .map(|n| {
                let shared = shared.clone();
                spawn(move || {
                    yield_now();
                    shared.borrow_mut().push(n);
                    Rc::new(n)
                })
            })
            .collect();
        joinall(&all);
        assert_eq!(*shared.borrow(), [0, 1, 2]);
        assert_eq!(all[2].value().map(|value| **value), Some(2));
    });
}

// --- turns --------------------------------------------------------------------------------------------------------

#[test]
fn a_main_that_only_yields_sees_its_timers() {
    run(|| {
        let sleeper = spawn(|| sleep(SHORT));
        until(|| sleeper.ready());
    });
}

#[test]
fn a_main_that_only_yields_sees_other_threads() {
    run(|| {
        let event = Arc::new(Event::new());
        let waiter = spawn({
            let event = event.clone();
            move || event.wait()
        });
        yield_now();
        let setter = thread::spawn(move || event.set());
        until(|| waiter.ready());
        setter.join().unwrap();
    });
}

#[test]
fn a_greenlet_that_only_yields_starves_nobody() {
    run(|| {
        let stop = Rc::new(Cell::new(false));
        let busy = spawn({
            let stop = stop.clone();
            move || {
                while !stop.get() {
                    yield_now();
                }
            }
        });
        sleep(SHORT);
        stop.set(true);
        busy.join();
    });
}

// --- waiting for the end ------------------------------------------------------------------------------------------

#[test]
fn get_clones_the_value_as_often_as_it_is_asked() {
    run(|| {
        let greenlet = spawn(|| String::from("value"));
        assert_eq!(greenlet.value(), None);
        assert_eq!(greenlet.get().unwrap(), "value");
        assert_eq!(greenlet.get_timeout(Duration::ZERO).unwrap(), "value");
        assert_eq!(greenlet.value().map(String::as_str), Some("value"));
    });
}

#[test]
fn get_timeout_gives_up_and_the_greenlet_goes_on() {
    run(|| {
        let gate = Rc::new(Event::new());
        let greenlet = spawn({
            let gate = gate.clone();
            move || {
                gate.wait();
                5
            }
        });
        assert!(matches!(greenlet.get_timeout(SHORT), Err(GreenletError::TimedOut)));
        assert!(matches!(greenlet.get_timeout(Duration::ZERO), Err(GreenletError::TimedOut)));
        gate.set();
        assert_eq!(greenlet.get_timeout(GENEROUS).unwrap(), 5);
    });
}

#[test]
fn joining_the_ended_does_not_suspend() {
    run(|| {
        let done = spawn(|| ());
        done.join();
        let other = spawn(|| ());
        done.join();
        done.get().unwrap();
        assert!(done.join_timeout(FOREVER));
        assert!(!other.ready());
    });
}

#[test]
fn a_join_of_no_time_makes_one_trip_through_the_loop() {
    run(|| {
        let quick = spawn(|| ());
        let slow = spawn(|| sleep(FOREVER));
        assert!(!slow.join_timeout(Duration::ZERO));
        assert!(quick.ready());
    });
}

#[test]
fn every_joiner_is_woken() {
    run(|| {
        let worker = spawn(|| {
            yield_now();
            9
        });
        let joiners: Vec<_> = (0..20)
            .map(|_| {
                let worker = worker.clone();
                spawn(move || worker.get().unwrap())
            })
            .collect();
        joinall(&joiners);
        assert!(joiners.iter().all(|joiner| joiner.value() == Some(&9)));
    });
}

#[test]
fn joining_oneself_for_ever_panics_and_for_a_while_times_out() {
    run(|| {
        let forever = spawn(|| current().join());
        forever.join();
        assert!(forever.exception().unwrap().to_string().contains("cannot join itself"));
        let a_while = spawn(|| current().join_timeout(SHORT));
        assert!(!a_while.get().unwrap());
    });
}

#[test]
fn joinall_waits_for_the_last() {
    run(|| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                spawn(move || {
                    for _ in 0..n {
                        yield_now();
                    }
                })
            })
            .collect();
        joinall(&all);
        assert!(all.iter().all(|greenlet| greenlet.ready()));
    });
}

#[test]
fn joinall_timeout_says_whether_all_have_ended_and_shares_one_limit() {
    run(|| {
        let (done, stuck) = (spawn(|| ()), spawn(|| sleep(FOREVER)));
        let also_done = spawn(|| ());
        assert!(!joinall_timeout([&stuck, &done, &also_done], SHORT));
        assert!(done.ready() && also_done.ready());
        stuck.kill();
        assert!(joinall_timeout([&stuck, &done], Duration::ZERO));
        assert!(joinall_timeout::<[&GreenletRef; 0]>([], Duration::ZERO));
    });
}

#[test]
fn a_kill_of_the_joiner_leaves_those_it_waits_for_alone() {
    run(|| {
        let gate = Rc::new(Event::new());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let gate = gate.clone();
                spawn(move || gate.wait())
            })
            .collect();
        let joiner = spawn({
            let workers = workers.clone();
            move || joinall(&workers)
        });
        yield_now();
        joiner.kill();
        assert!(workers.iter().all(|worker| !worker.ready()));
        gate.set();
        joinall(&workers);
        assert!(workers.iter().all(|worker| worker.value().is_some()));
    });
}

// --- how it ended -------------------------------------------------------------------------------------------------

/// ready, successful, exited, failed, has a value
fn state<T>(greenlet: &Greenlet<T>) -> (bool, bool, bool, bool, bool) {
    let failed = greenlet.exception().is_some();
    (greenlet.ready(), greenlet.successful(), greenlet.exited(), failed, greenlet.value().is_some())
}

#[test]
fn the_state_tells_how_it_ended() {
    run(|| {
        let returned = spawn(|| ());
        assert_eq!(state(&returned), (false, false, false, false, false));
        let exits: Greenlet<()> = spawn(|| raise(GreenletExit));
        let killed = spawn(|| sleep(FOREVER));
        let panicked = spawn(|| {
            if true {
                panic!("broken")
            }
        });
        let raised = spawn(|| {
            if true {
                raise(Oops("no disk"))
            }
        });
        yield_now();
        killed.kill();
        joinall([&*returned, &*exits, &*killed, &*panicked, &*raised]);
        assert_eq!(state(&returned), (true, true, false, false, true));
        assert_eq!(state(&exits), (true, true, true, false, false));
        assert_eq!(state(&killed), (true, true, true, false, false));
        assert_eq!(state(&panicked), (true, false, false, true, false));
        assert_eq!(state(&raised), (true, false, false, true, false));
    });
}

#[test]
fn get_says_exit_for_the_killed_and_failed_for_the_failed() {
    run(|| {
        let exits: Greenlet<()> = spawn(|| raise(GreenletExit));
        assert!(matches!(exits.get(), Err(GreenletError::Exit(_))));
        let raised: Greenlet<()> = spawn(|| raise(Oops("no disk")));
        let Err(GreenletError::Failed(failure)) = raised.get() else { panic!("it failed") };
        assert_eq!(failure.downcast_ref(), Some(&Oops("no disk")));
        assert!(!failure.is_panic());
        assert_eq!(failure.to_string(), "no disk");
    });
}

#[test]
fn a_panic_comes_back_with_its_message_and_place() {
    run(|| {
        let line = line!() + 3;
        let panicked = spawn(|| {
            if true {
                panic!("broken in {}", 2)
            }
        });
        let Err(GreenletError::Failed(failure)) = panicked.get() else { panic!("it failed") };
        assert!(failure.is_panic());
        let shown = failure.to_string();
        assert!(shown.contains("broken in 2") && shown.contains(&format!("{}:{line}", file!())), "{shown}");
    });
}

#[test]
fn the_payload_of_a_panic_is_there_for_the_first_who_takes_it() {
    run(|| {
        let panicked = spawn(|| panic_any(7u8));
        panicked.join();
        let failure = panicked.exception().unwrap();
        assert_eq!(failure.take_panic().unwrap().downcast_ref(), Some(&7u8));
        assert!(failure.take_panic().is_none() && panicked.exception().unwrap().take_panic().is_none());
    });
}

#[test]
fn a_failure_stays_inside() {
    run(|| {
        let fine = spawn(|| {
            settle();
            "fine"
        });
        let broken = spawn(|| {
            if true {
                panic!("broken")
            }
        });
        broken.join();
        assert_eq!(fine.get().unwrap(), "fine");
        assert_eq!(spawn(|| "fine too").get().unwrap(), "fine too");
    });
}

#[test]
fn a_failure_that_is_raised_again_is_the_same_failure() {
    run(|| {
        let first = spawn(|| {
            if true {
                panic!("the first")
            }
        });
        first.join();
        let failure = first.exception().unwrap();
        let second: Greenlet<()> = spawn(move || failure.reraise());
        second.join();
        assert_eq!(second.exception().unwrap().to_string(), first.exception().unwrap().to_string());
        let third: Greenlet<()> = spawn(|| Failure::new(Oops("made up")).reraise());
        third.join();
        assert_eq!(third.exception().unwrap().downcast_ref(), Some(&Oops("made up")));
    });
}

#[test]
fn attempt_contains_what_would_end_the_greenlet() {
    run(|| {
        let greenlet = spawn(|| {
            assert_eq!(attempt(|| 3).unwrap(), 3);
            assert!(matches!(attempt(|| raise(GreenletExit)), Err::<(), _>(GreenletError::Exit(_))));
            let panicked = attempt(|| {
                if true {
                    panic!("contained")
                }
            });
            assert!(matches!(panicked, Err(GreenletError::Failed(failure)) if failure.is_panic()));
            let raised: Result<(), _> = attempt(|| raise(Oops("contained")));
            assert!(matches!(raised, Err(GreenletError::Failed(failure)) if !failure.is_panic()));
            "alive"
        });
        assert_eq!(greenlet.get().unwrap(), "alive");
    });
}

// --- identity -----------------------------------------------------------------------------------------------------

#[test]
fn ids_are_never_used_twice() {
    let ids = |count| move || run(move || (0..count).map(|_| spawn(|| ()).id()).collect::<Vec<_>>());
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(ids(2_000))).collect();
    let mut all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 8_000);
}

#[test]
fn the_name_is_the_one_given_or_made_from_the_id() {
    run(|| {
        let named = Builder::new().name("parser").spawn(|| current().name());
        assert_eq!(named.name(), "parser");
        assert_eq!(named.to_string(), format!("parser (Greenlet-{})", named.id()));
        assert_eq!(named.get().unwrap(), "parser");
        let plain = spawn(|| ());
        assert_eq!(plain.name(), format!("Greenlet-{}", plain.id()));
    });
}

#[test]
fn the_spawn_site_is_the_line_that_spawned() {
    run(|| {
        let line = line!();
        let sites = [
            spawn(|| ()).spawn_site(),
            spawn_later(SHORT, || ()).spawn_site(),
            Greenlet::new(|| ()).spawn_site(),
            Builder::new().spawn(|| ()).spawn_site(),
            Builder::new().build(|| ()).spawn_site(),
            Hub::current().spawn(|| ()).unwrap().spawn_site(),
        ];
        for (nth, site) in sites.into_iter().enumerate() {
            assert_eq!((site.file(), site.line()), (file!(), line + 2 + nth as u32));
        }
    });
}

#[test]
fn debug_tells_the_state() {
    run(|| {
        let shown = |greenlet: &Greenlet<()>| format!("{greenlet:?}");
        let greenlet = Greenlet::new(|| ());
        assert!(shown(&greenlet).contains(" new, spawned at "), "{}", shown(&greenlet));
        greenlet.start();
        assert!(shown(&greenlet).contains(" started, "), "{}", shown(&greenlet));
        greenlet.join();
        assert!(shown(&greenlet).contains(" returned, "), "{}", shown(&greenlet));
        let failed: Greenlet<()> = spawn(|| raise(Oops("no")));
        let exited: Greenlet<()> = spawn(|| raise(GreenletExit));
        joinall([&failed, &exited]);
        assert!(shown(&failed).contains(" failed, ") && shown(&exited).contains(" exited, "));
    });
}

#[test]
fn the_threads_own_stack_is_the_main_greenlet() {
    let main = thread::spawn(|| {
        run(|| {
            let main = current();
            assert!(main.is_current() && !main.ready());
            assert_eq!(main.name(), "main");
            let seen = spawn({
                let main = main.clone();
                move || (main.is_current(), current() == main)
            });
            assert_eq!(seen.get().unwrap(), (false, false));
            main
        })
    })
    .join()
    .unwrap();
    assert!(main.ready() && main.exited(), "it ends with its thread");
}

// --- values and closures ------------------------------------------------------------------------------------------

#[test]
fn a_closure_is_dropped_once_when_the_greenlet_has_run() {
    run(|| {
        let tally = Tally::default();
        let token = tally.token();
        let greenlet = spawn(move || drop(token));
        greenlet.join();
        tally.assert_all_home();
        drop(greenlet);
        tally.assert_all_home();
    });
}

#[test]
fn a_value_lives_as_long_as_a_handle() {
    run(|| {
        let tally = Tally::default();
        let token = tally.token();
        let greenlet = spawn(move || token);
        greenlet.join();
        let clone = greenlet.clone();
        drop(greenlet);
        assert_eq!(tally.dropped(), 0);
        let untyped = GreenletRef::clone(&clone);
        drop(clone);
        tally.assert_all_home();
        assert!(untyped.successful());
    });
}

#[test]
fn a_value_that_nobody_can_ask_for_is_dropped_before_the_end_is_told() {
    run(|| {
        let tally = Tally::default();
        let token = tally.token();
        let greenlet = spawn(move || token);
        let untyped = GreenletRef::clone(&greenlet);
        drop(greenlet);
        untyped.join();
        tally.assert_all_home();
    });
}

#[test]
fn a_value_that_is_taken_out_is_not_dropped_with_the_greenlet() {
    run(|| {
        let tally = Tally::default();
        let token = tally.token();
        let greenlet = spawn(move || token);
        let untyped = GreenletRef::clone(&greenlet);
        let token = greenlet.into_value().unwrap();
        drop(untyped);
        settle();
        assert_eq!(tally.dropped(), 0);
        drop(token);
        tally.assert_all_home();
    });
}

#[test]
fn a_value_that_is_shared_cannot_be_taken_out() {
    run(|| {
        let tally = Tally::default();
        let token = tally.token();
        let greenlet = spawn(move || token);
        let clone = greenlet.clone();
        assert!(matches!(greenlet.into_value(), Err(GreenletError::Shared)));
        assert_eq!(tally.dropped(), 0);
        assert!(clone.into_value().is_ok());
        tally.assert_all_home();
    });
}

#[test]
fn there_is_nothing_to_take_out_of_the_failed_and_the_killed() {
    run(|| {
        let failed: Greenlet<u8> = spawn(|| raise(Oops("no")));
        assert!(matches!(failed.into_value(), Err(GreenletError::Failed(_))));
        let killed: Greenlet<u8> = spawn(|| raise(GreenletExit));
        assert!(matches!(killed.into_value(), Err(GreenletError::Exit(_))));
    });
}

#[test]
fn the_closure_of_one_that_never_ran_is_dropped_at_home() {
    let tally = Tally::default();
    run(|| {
        let token = tally.token();
        let never = Greenlet::new(move || drop(token));
        drop(never);
        assert_eq!(tally.dropped(), 1);

        let token = tally.token();
        let elsewhere = Greenlet::new(move || drop(token));
        let reference = GreenletRef::clone(&elsewhere);
        drop(elsewhere);
        thread::spawn(move || drop(reference)).join().unwrap();
        until(|| tally.dropped() == 2);
    });
    tally.assert_all_home();
}

#[test]
fn the_closure_of_a_killed_greenlet_is_dropped_once_at_home() {
    let tally = Tally::default();
    run(|| {
        let killers: Vec<_> = (0..2)
            .map(|_| {
                let token = tally.token();
                let victim = spawn(move || {
                    let _token = token;
                    sleep(FOREVER);
                });
                let reference = GreenletRef::clone(&victim);
                thread::spawn(move || reference.kill())
            })
            .collect();
        until(|| tally.dropped() == 2);
        killers.into_iter().for_each(|killer| killer.join().unwrap());
    });
    tally.assert_all_home();
}

#[test]
fn a_value_that_may_travel_is_dropped_once_by_whoever_has_the_last_handle() {
    let tally = Tally::default();
    run(|| {
        for _ in 0..50 {
            let token = tally.stray_token();
            let greenlet = spawn(move || token);
            let elsewhere = greenlet.clone();
            let thread = thread::spawn(move || {
                elsewhere.join();
                drop(elsewhere);
            });
            drop(greenlet);
            until(|| thread.is_finished());
            thread.join().unwrap();
        }
    });
    tally.assert_all_home();
}

#[test]
fn what_ends_with_run_is_dropped_once_at_home() {
    let tally = Tally::default();
    run(|| {
        let tokens: Vec<_> = (0..4).map(|_| tally.token()).collect();
        let [started, queued, new, later] = tokens.try_into().unwrap();
        drop(spawn(move || {
            let _token = started;
            sleep(FOREVER);
        }));
        yield_now();
        drop(spawn(move || drop(queued)));
        drop(Greenlet::new(move || drop(new)));
        drop(spawn_later(GENEROUS, move || drop(later)));
    });
    tally.assert_all_home();
}

#[test]
fn a_destructor_of_a_value_may_sleep_at_the_end_of_run() {
    let slept = Arc::new(Event::new());
    let told = slept.clone();
    thread::spawn(move || {
        run(move || {
            drop(spawn(move || {
                OnDrop(move || {
                    sleep(SHORT);
                    told.set();
                })
            }));
            yield_now();
        });
    })
    .join()
    .unwrap();
    assert!(slept.is_set());
}

#[test]
fn a_panic_payload_that_panics_when_dropped_harms_nobody() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("a payload's destructor")
            }
        }
    }
    run(|| {
        drop(spawn(|| panic_any(Payload)));
        settle();
        assert_eq!(spawn(|| 1).get().unwrap(), 1);
    });
}

#[test]
fn a_panic_payload_that_keeps_the_current_greenlet_keeps_it_alive() {
    thread_local!(static KEPT: RefCell<Option<GreenletRef>> = const { RefCell::new(None) });
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            KEPT.with(|kept| *kept.borrow_mut() = Some(current()));
        }
    }
    const NAME: &str = "a name that is long enough to be seen when it is garbage";
    run(|| {
        drop(Builder::new().name(NAME).spawn(|| panic_any(Payload)));
        settle();
        let noise: Vec<_> = (0..64).map(|_| vec![0x55u8; 300]).collect();
        let kept = KEPT.with(|kept| kept.borrow_mut().take()).expect("the payload was dropped");
        assert!([NAME, "main"].contains(&kept.name().as_str()), "{kept:?}");
        drop(noise);
    });
}

#[test]
fn a_destructor_may_panic_while_the_greenlet_unwinds_from_nothing() {
    run(|| {
        let greenlet = spawn(|| {
            let _bomb = OnDrop(|| panic!("in a destructor"));
            3
        });
        greenlet.join();
        assert!(greenlet.exception().unwrap().to_string().contains("in a destructor"));
    });
}

#[test]
fn a_value_whose_destructor_panics_does_not_change_the_end() {
    run(|| {
        let greenlet = spawn(|| OnDrop(|| panic!("in the value's destructor")));
        let untyped = GreenletRef::clone(&greenlet);
        drop(greenlet);
        untyped.join();
        assert!(untyped.successful() && untyped.exception().is_none());
        assert_eq!(spawn(|| 1).get().unwrap(), 1);
    });
}

#[test]
fn one_that_never_started_ends_with_its_hub() {
    let greenlet = thread::spawn(|| run(|| Greenlet::new(|| 1))).join().unwrap();
    greenlet.kill();
    assert!(greenlet.ready() && greenlet.exited());

    let started = thread::spawn(|| run(|| Greenlet::new(|| 1))).join().unwrap();
    started.start();
    assert!(matches!(started.get(), Err(GreenletError::Exit(_))));

    let joined = thread::spawn(|| run(|| Greenlet::new(|| 1))).join().unwrap();
    assert!(joined.join_timeout(Duration::ZERO));
    let raised = thread::spawn(|| run(|| Greenlet::new(|| 1))).join().unwrap();
    assert!(raised.kill_with(Kill::error(Oops("too late"))));
}

// --- limits ---------------------------------------------------------------------------------------------------------

#[test]
fn a_running_greenlet_is_not_ready_even_in_its_first_turn() {
    run(|| {
        let first = spawn(|| (current().ready(), current().successful()));
        assert_eq!(first.get().unwrap(), (false, false));
    });
}

#[test]
fn an_outer_timeout_is_not_lost_in_any_wait_for_greenlets() {
    run(|| {
        let sleeper = Rc::new(spawn(|| sleep(FOREVER)));
        yield_now();
        let waits: [fn(&Greenlet<()>); 6] = [
            |sleeper| sleeper.join(),
            |sleeper| assert!(!sleeper.join_timeout(GENEROUS)),
            |sleeper| drop(sleeper.get()),
            |sleeper| drop(sleeper.get_timeout(GENEROUS)),
            |sleeper| joinall([sleeper]),
            |sleeper| assert!(!joinall_timeout([sleeper], GENEROUS)),
        ];
        for (n, wait) in waits.into_iter().enumerate() {
            assert!(with_timeout(SHORT, || wait(&sleeper)).is_err(), "wait {n}");
            assert!(!sleeper.ready());
        }
        let survivor = spawn(|| while catch(|| sleep(FOREVER)).is_ok() {});
        yield_now();
        let gate = Rc::new(Event::new());
        let stubborn = support::with(&gate, |gate| while catch(|| gate.wait()).is_err() {});
        yield_now();
        assert!(with_timeout(SHORT, || stubborn.kill()).is_err());
        assert!(with_timeout(SHORT, || killall([&*survivor, &*stubborn])).is_err());
        assert!(survivor.ready() && !stubborn.ready());
        gate.set();
        sleeper.kill();
    });
}

#[test]
fn one_that_was_never_started_is_waited_for_until_somebody_starts_it() {
    run(|| {
        let greenlet = Rc::new(Greenlet::new(|| 1));
        let waiter = support::with(&greenlet, |greenlet| greenlet.get().unwrap());
        settle();
        assert!(!waiter.ready() && matches!(greenlet.get_timeout(SHORT), Err(GreenletError::TimedOut)));
        greenlet.start();
        assert_eq!(waiter.get().unwrap(), 1);
    });
}

#[test]
fn absurd_and_zero_times_are_taken() {
    run(|| {
        let greenlet = spawn(|| sleep(FOREVER));
        assert!(!greenlet.join_timeout(Duration::ZERO));
        assert!(matches!(greenlet.get_timeout(Duration::ZERO), Err(GreenletError::TimedOut)));
        assert!(!greenlet.kill_with(Kill::default().timeout(Duration::ZERO)) || greenlet.ready());
        assert!(killall_with([&greenlet], Kill::default().timeout(FOREVER)));
        let now = spawn_later(Duration::ZERO, || 1);
        assert_eq!(now.get().unwrap(), 1);
    });
}

#[test]
fn nothing_else_runs_on_the_thread_until_a_greenlet_waits() {
    let inside = Rc::new(Cell::new(0));
    let jobs: Vec<_> = (0..10)
        .map(|_| {
            let inside = inside.clone();
            spawn(move || {
                for _ in 0..3 {
                    assert_eq!(inside.replace(1), 0);
                    // Longer than a time slice of the kernel's; what does not wait does not suspend.
                    let began = std::time::Instant::now();
                    while began.elapsed() < std::time::Duration::from_micros(200) {
                        let queue = greenlet_core::Queue::unbounded();
                        queue.put(()).unwrap();
                        queue.get().unwrap();
                        spawn(|| ());
                    }
                    assert_eq!(inside.replace(0), 1);
                    yield_now();
                }
            })
        })
        .collect();
    greenlet_core::joinall(&jobs);
    assert!(jobs.iter().all(|job| job.value().is_some()));
}
