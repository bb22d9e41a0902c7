//! The simulator itself: its clock, its order, its faults, and what it says when it fails.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenlet_core::pool::{Pool, ThreadPool};
use greenlet_core::sim::{self, Injected, Order, Sim, Victims, victim};
use greenlet_core::{
    AsyncResult, Builder, Event, Greenlet, GreenletExit, Instant, Queue, TimedOut, Timeout, attempt, catch,
    current, joinall, joinall_timeout, raise, sleep, spawn, spawn_later, with_timeout, yield_now,
};
use support::{FOREVER, OnDrop, Rng, Tally, is_child, settle, stderr};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// How a simulation fails.
fn failure(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("the simulation fails");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a message")).to_owned(),
    }
}

// --- the clock ----------------------------------------------------------------------------------------------------

#[test]
fn a_year_passes_at_once() {
    let real = std::time::Instant::now();
    sim::run(1, || {
        let start = Instant::now();
        sleep(YEAR);
        assert_eq!(sim::now(), YEAR);
        assert_eq!(start.elapsed(), YEAR);
    });
    assert!(real.elapsed() < YEAR);
}

#[test]
fn computing_takes_no_time() {
    sim::run(1, || {
        std::thread::sleep(Duration::from_millis(3));
        (0..1000).for_each(|_| yield_now());
        assert_eq!(sim::now(), Duration::ZERO);
    });
}

#[test]
fn time_starts_where_it_is_told() {
    Sim::new(1).start_time(YEAR).run(|| {
        assert_eq!(sim::now(), YEAR);
        sleep(SECOND);
        assert_eq!(sim::now(), YEAR + SECOND);
    });
}

#[test]
fn timers_fire_in_order_and_to_the_nanosecond() {
    sim::explore(0..50, || {
        let woken = Rc::new(RefCell::new(Vec::new()));
        let naps: Vec<_> = (0..40)
            .map(|_| {
                let nap = Duration::from_nanos(1 + sim::random(1_000_000_000));
                let woken = woken.clone();
                spawn(move || {
                    sleep(nap);
                    assert_eq!(sim::now(), nap);
                    woken.borrow_mut().push(nap);
                })
            })
            .collect();
        joinall(&naps);
        assert!(woken.borrow().is_sorted());
        assert_eq!(woken.borrow().len(), 40);
    });
}

#[test]
fn everything_that_waits_follows_the_clock() {
    sim::explore(0..20, || {
        let clock = Cell::new(Duration::ZERO);
        let took = |expected: Duration| {
            assert_eq!(sim::now() - clock.get(), expected);
            clock.set(sim::now());
        };
        assert!(with_timeout(YEAR, || sleep(FOREVER)).is_err());
        took(YEAR);
        let timeout = Timeout::start_new(seconds(7));
        assert!(timeout.raised(&catch(|| Event::new().wait()).unwrap_err()));
        took(seconds(7));
        assert!(!Event::new().wait_timeout(seconds(60)));
        took(seconds(60));
        assert!(AsyncResult::<u8>::new().get_timeout(seconds(61)).is_err());
        took(seconds(61));
        let queue = Queue::bounded(1);
        assert!(queue.get_timeout(seconds(5)).is_err());
        queue.put(1).unwrap();
        assert!(queue.put_timeout(2, seconds(6)).is_err());
        took(seconds(11));
        let later = spawn_later(seconds(100), sim::now);
        assert!(!later.join_timeout(seconds(99)));
        assert_eq!(later.get().unwrap(), clock.get() + seconds(100));
        took(seconds(100));
        let sleeper = spawn(|| sleep(FOREVER));
        assert!(!joinall_timeout([&sleeper], seconds(30)));
        took(seconds(30));
        sleeper.kill();
        took(Duration::ZERO);
        let pool = Pool::new(2);
        for _ in 0..6 {
            pool.spawn(|| sleep(seconds(10)));
        }
        pool.join();
        took(seconds(30));
    });
}

#[test]
fn a_deadline_beyond_the_end_of_time_never_comes() {
    Sim::new(1).start_time(Duration::MAX).run(|| {
        let event = Rc::new(Event::new());
        let setter = event.clone();
        spawn(move || setter.set());
        assert!(event.wait_timeout(SECOND));
        assert_eq!(Instant::now().checked_add(SECOND), None);
    });
}

#[test]
fn points_in_time_can_be_reckoned_with() {
    sim::run(1, || {
        let start = Instant::now();
        sleep(SECOND);
        let now = Instant::now();
        assert_eq!((now - start, start - now), (SECOND, Duration::ZERO));
        assert_eq!(start + SECOND, now);
        assert_eq!(now.checked_sub(seconds(2)), None);
        let mut later = now;
        later += SECOND;
        assert!(later > now);
    });
    // In real time too.
    assert!(Instant::now().elapsed() < YEAR);
}

// --- the seed -----------------------------------------------------------------------------------------------------

/// A program that does many things at random and writes down what happens.
fn traced(noise: usize) -> Vec<(u64, u64, usize, u8)> {
    // Other addresses and ids than in another run.
    let _ballast: Vec<Box<[u8]>> = (0..noise).map(|n| vec![0; 64 + n].into()).collect();
    let _unstarted: Vec<_> = (0..noise).map(|_| Greenlet::new(|| ())).collect();
    let trace = Rc::new(RefCell::new(Vec::new()));
    let queue = Rc::new(Queue::bounded(2));
    let event = Rc::new(Event::new());
    let workers: Vec<_> = (0..12)
        .map(|n| {
            let (trace, queue, event) = (trace.clone(), queue.clone(), event.clone());
            spawn(move || {
                let note = |what| {
                    let now = sim::now().as_nanos() as u64;
                    trace.borrow_mut().push((sim::turns(), now, n, what));
                };
                for step in 0..60 {
                    let nap = Duration::from_nanos(sim::random(50));
                    let done = attempt(|| {
                        let _ = victim(|| match sim::random(7) {
                            0 => yield_now(),
                            1 => sleep(nap),
                            2 => drop(queue.put_timeout(step, nap)),
                            3 => drop(queue.get_timeout(nap)),
                            4 => drop(event.wait_timeout(nap)),
                            5 => event.set(),
                            _ => event.clear(),
                        });
                    });
                    note(u8::from(done.is_err()));
                }
            })
        })
        .collect();
    joinall(&workers);
    trace.take()
}

#[test]
fn the_same_seed_gives_the_same_run_whatever_the_addresses() {
    for order in [Order::Fifo, Order::Fair, Order::Random] {
        let mut traces = HashSet::new();
        for seed in 0..8 {
            let sim = Sim::new(seed).order(order).kill_rate(0.05).timeout_rate(0.05).error_rate(0.02);
            let sim = sim.spurious_rate(0.1).delay_rate(0.05, Duration::from_nanos(30));
            let first = sim.clone().run(|| traced(0));
            let second = sim.run(|| traced(37));
            assert_eq!(first, second);
            assert_eq!(first.len(), 12 * 60);
            traces.insert(first);
        }
        assert_eq!(traces.len(), 8, "another seed is another run");
    }
}

/// In which order greenlets run that are all ready.
fn order_of(n: usize) -> Vec<usize> {
    let ran = Rc::new(RefCell::new(Vec::new()));
    let all: Vec<_> = (0..n)
        .map(|n| {
            let ran = ran.clone();
            spawn(move || ran.borrow_mut().push(n))
        })
        .collect();
    joinall(&all);
    ran.take()
}

#[test]
fn fifo_is_the_order_of_an_ordinary_hub() {
    for seed in 0..5 {
        let order = Sim::new(seed).order(Order::Fifo).run(|| order_of(10));
        assert_eq!(order, (0..10).collect::<Vec<_>>());
    }
}

#[test]
fn the_seed_leads_through_every_order() {
    for order in [Order::Fair, Order::Random] {
        let orders: HashSet<_> =
            (0..400).map(|seed| Sim::new(seed).order(order).run(|| order_of(4))).collect();
        assert_eq!(orders.len(), 24);
    }
}

#[test]
fn timers_of_one_moment_fire_in_every_order() {
    let orders: HashSet<_> = (0..60)
        .map(|seed| {
            sim::run(seed, || {
                let ran = Rc::new(RefCell::new(Vec::new()));
                let all: Vec<_> = (0..3)
                    .map(|n| {
                        let ran = ran.clone();
                        spawn(move || {
                            sleep(SECOND);
                            ran.borrow_mut().push(n);
                        })
                    })
                    .collect();
                joinall(&all);
                ran.take()
            })
        })
        .collect();
    assert_eq!(orders.len(), 6);
}

#[test]
fn main_has_no_privilege() {
    let first: HashSet<_> = (0..40)
        .map(|seed| {
            Sim::new(seed).order(Order::Random).run(|| {
                let ran = Rc::new(Cell::new(false));
                let runs = ran.clone();
                spawn(move || runs.set(true));
                yield_now();
                ran.get()
            })
        })
        .collect();
    assert_eq!(first.len(), 2);
}

#[test]
fn a_fair_order_keeps_the_word_of_yield() {
    sim::explore(0..200, || {
        let ran = Rc::new(Cell::new(0));
        for _ in 0..5 {
            let ran = ran.clone();
            spawn(move || ran.set(ran.get() + 1));
        }
        yield_now();
        assert_eq!(ran.get(), 5);
    });
}

#[test]
fn links_keep_their_order() {
    for order in [Order::Fair, Order::Random] {
        Sim::new(0).order(order).explore(0..100, || {
            let called = Rc::new(RefCell::new(Vec::new()));
            let source = spawn(|| ());
            for n in 0..6 {
                let called = called.clone();
                match n % 2 {
                    0 => source.link(move |_| called.borrow_mut().push(n)),
                    _ => source.rawlink(move |_| called.borrow_mut().push(n)),
                };
            }
            spawn(yield_now);
            source.join();
            sleep(SECOND);
            assert_eq!(*called.borrow(), [0, 1, 2, 3, 4, 5]);
        });
    }
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    Sim::new(0).order(Order::Random).spurious_rate(0.2).explore(0..200, || {
        let queue = Rc::new(Queue::unbounded());
        let came = Rc::new(RefCell::new(Vec::new()));
        let getters: Vec<_> = (0..6)
            .map(|n| {
                let (queue, came) = (queue.clone(), came.clone());
                spawn(move || {
                    came.borrow_mut().push(n);
                    let place = came.borrow().len() - 1;
                    assert_eq!(queue.get(), Ok(place));
                })
            })
            .collect();
        sleep(SECOND);
        (0..6).for_each(|item| queue.put(item).unwrap());
        joinall(&getters);
        getters.iter().for_each(|getter| assert!(getter.successful()));
    });
}

#[test]
fn the_programs_random_numbers_do_not_change_the_schedule() {
    let orders = |asks: u64| -> Vec<_> {
        (0..10)
            .map(|seed| {
                sim::run(seed, || {
                    (0..asks).for_each(|_| _ = sim::random(10));
                    order_of(8)
                })
            })
            .collect()
    };
    assert_eq!(orders(0), orders(3));
}

#[test]
fn explore_runs_every_seed_once() {
    let seen = Mutex::new(Vec::new());
    sim::explore(5..9, || seen.lock().unwrap().push(sim::seed()));
    assert_eq!(*seen.lock().unwrap(), [5, 6, 7, 8]);
}

// --- failing ------------------------------------------------------------------------------------------------------

#[test]
fn a_value_comes_back_and_may_borrow() {
    let text = String::from("outside");
    let length = sim::run(1, || spawn(|| 2).get().unwrap() + text.len());
    assert_eq!(length, 9);
}

#[test]
fn a_panic_of_main_is_passed_on() {
    assert_eq!(failure(|| sim::run(1, || panic!("main's own"))), "main's own");
    let payload = catch_unwind(|| sim::run(1, || std::panic::panic_any(42))).unwrap_err();
    assert_eq!(*payload.downcast::<i32>().unwrap(), 42);
}

#[test]
fn what_main_does_not_catch_fails_the_simulation() {
    let text = failure(|| sim::run(3, || raise(std::io::Error::other("no paper"))));
    assert!(text.contains("simulation 3") && text.contains("no paper"), "{text}");
}

#[test]
fn a_greenlet_that_panics_fails_the_simulation() {
    let program = || {
        let failed = Builder::new().name("clumsy").spawn(|| panic!("broken"));
        failed.join();
        assert!(failed.exception().is_some());
    };
    let text = failure(|| sim::run(1, program));
    assert!(text.contains("clumsy") && text.contains("broken") && text.contains("tests/sim.rs"), "{text}");
    Sim::new(1).allow_panics().run(program);
}

#[test]
fn greenlets_that_are_left_are_ended() {
    let tally = Tally::default();
    let count = tally.clone();
    sim::run(1, move || {
        for _ in 0..3 {
            let token = count.token();
            spawn(move || {
                let _token = token;
                sleep(FOREVER)
            });
        }
        yield_now();
    });
    assert_eq!(tally.made(), 3);
    tally.assert_all_home();
}

#[test]
fn a_deadlock_fails_at_once_and_lists_who_waits() {
    let dropped = AtomicUsize::new(0);
    let text = failure(|| {
        sim::run(1, || {
            let _guard = OnDrop(|| _ = dropped.fetch_add(1, Ordering::SeqCst));
            let event = Rc::new(Event::new());
            let waits = event.clone();
            Builder::new().name("philosopher").spawn(move || waits.wait());
            sleep(seconds(3));
            event.clear();
            event.wait();
        });
    });
    assert!(text.contains("deadlocked at 3s"), "{text}");
    assert!(text.contains("main") && text.contains("philosopher") && text.contains("tests/sim.rs"), "{text}");
    assert_eq!(text.matches("waits: Event").count(), 2, "{text}");
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "main is unwound");
}

#[test]
fn a_deadlock_that_main_catches_fails_all_the_same() {
    let text = failure(|| sim::run(1, || drop(catch(|| sleep(FOREVER)))));
    assert!(text.contains("deadlocked"), "{text}");
}

#[test]
fn a_livelock_is_reported_with_who_ran() {
    let text = failure(|| {
        Sim::new(1).turn_limit(1000).run(|| {
            Builder::new().name("spinner").spawn(|| {
                loop {
                    yield_now()
                }
            });
            sleep(SECOND);
        });
    });
    assert!(text.contains("1000 turns") && text.contains("spinner"), "{text}");
    let text = failure(|| {
        Sim::new(1).turn_limit(1000).run(|| {
            loop {
                yield_now()
            }
        })
    });
    assert!(text.contains("main"), "{text}");
    // Time passes, and nothing else.
    let text = failure(|| {
        Sim::new(1).turn_limit(1000).run(|| {
            loop {
                sleep(SECOND)
            }
        })
    });
    assert!(text.contains("1000 turns"), "{text}");
}

const REPLAY: &str = "a_failure_names_the_seed_and_can_be_replayed";

#[test]
fn a_failure_names_the_seed_and_can_be_replayed() {
    if is_child(REPLAY) {
        sim::explore(0..100, || {
            eprintln!("runs seed {}", sim::seed());
            assert_ne!(order_of(5), [2, 0, 1, 4, 3], "that order");
        });
        return;
    }
    let child = |seed: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([REPLAY, "--exact", "--nocapture", "--test-threads=1"]);
        command.env("GREENLET_TEST_CHILD", REPLAY).env_remove("GREENLET_SEED");
        command.envs(seed.map(|seed| ("GREENLET_SEED", seed)));
        stderr(&command.output().unwrap())
    };
    let all = child(None);
    let named =
        all.split("GREENLET_SEED=").nth(1).expect("a seed is named").split_whitespace().next().unwrap();
    let again = child(Some(named));
    assert!(again.contains("that order") && again.contains(&format!("GREENLET_SEED={named}")), "{again}");
    assert_eq!(again.matches("runs seed").count(), 1);
    assert!(child(Some("nonsense")).contains("GREENLET_SEED is \"nonsense\""));
}

const FAULT: &str = "a_fault_that_fails_can_be_replayed_alone";

#[test]
fn a_fault_that_fails_can_be_replayed_alone() {
    if is_child(FAULT) {
        sim::each_fault_point(5, || {
            eprintln!("runs");
            let killed = spawn(|| {
                let _ = victim(|| sleep(SECOND));
                let _ = victim(|| sleep(SECOND));
            });
            killed.join();
            assert!(!killed.exited() || sim::now() < SECOND, "killed in the second sleep");
        });
        return;
    }
    let child = |seed: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([FAULT, "--exact", "--nocapture", "--test-threads=1"]);
        command.env("GREENLET_TEST_CHILD", FAULT).env_remove("GREENLET_SEED");
        command.envs(seed.map(|seed| ("GREENLET_SEED", seed)));
        stderr(&command.output().unwrap())
    };
    let all = child(None);
    let named =
        all.split("GREENLET_SEED=").nth(1).expect("a seed is named").split_whitespace().next().unwrap();
    assert!(named.starts_with("5:"), "{named}");
    let again = child(Some(named));
    assert!(again.contains("killed in the second sleep"), "{again}");
    assert_eq!(again.lines().filter(|line| *line == "runs").count(), 1, "{again}");
}

// --- faults -------------------------------------------------------------------------------------------------------

#[test]
fn each_fault_point_kills_at_every_suspension_and_every_moment() {
    let killed = Mutex::new(Vec::new());
    let late = AtomicU64::new(0);
    let runs = sim::each_fault_point(1, || {
        let stages = Rc::new(Cell::new(0));
        let stage = stages.clone();
        let worker = spawn(move || {
            victim(|| {
                for n in 0..4 {
                    stage.set(n);
                    sleep(SECOND);
                }
            })
        });
        worker.join();
        match worker.value() {
            None => killed.lock().unwrap().push(stages.get()),
            Some(Err(TimedOut { .. })) => _ = late.fetch_add(1, Ordering::SeqCst),
            Some(Ok(())) => {}
        }
    });
    assert_eq!(runs, 1 + 4 * 2 * 4);
    // A raise when the sleep is over, or a kill in the queue, still meets the same sleep, as a wake-up is a hint.
    let killed = killed.into_inner().unwrap();
    assert_eq!(killed, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    assert_eq!(late.load(Ordering::SeqCst), 16);
}

#[test]
fn each_fault_point_notices_a_program_that_does_not_follow_from_its_seed() {
    let runs = AtomicUsize::new(0);
    let text = failure(|| {
        sim::each_fault_point(1, || {
            let naps = if runs.fetch_add(1, Ordering::SeqCst) == 0 { 5 } else { 1 };
            spawn(move || victim(|| (0..naps).for_each(|_| sleep(SECOND)))).join();
        });
    });
    assert!(text.contains("does not follow from the seed"), "{text}");
}

#[test]
fn only_victims_are_struck() {
    Sim::new(0).kill_rate(1.0).timeout_rate(1.0).explore(0..20, || {
        let bystander = spawn(|| (0..10).for_each(|_| sleep(SECOND)));
        let victim = spawn(|| {
            sleep(SECOND);
            let struck = catch(|| victim(|| sleep(SECOND)));
            assert!(struck.is_err_and(|raised| raised.is::<GreenletExit>()));
            (0..5).for_each(|_| sleep(SECOND));
        });
        joinall([bystander, victim].iter());
        settle();
    });
}

#[test]
fn what_comes_too_late_for_a_victim_is_void() {
    // The victim has won whenever its event was set first; the fault that was under way must not strike it later.
    Sim::new(0).order(Order::Random).kill_rate(0.5).timeout_rate(0.5).explore(0..300, || {
        let event = Rc::new(Event::new());
        let waits = event.clone();
        let struck = spawn(move || {
            let _ = catch(|| victim(|| waits.wait()));
            (0..10).for_each(|_| yield_now());
            sleep(SECOND);
        });
        if sim::random(2) == 0 {
            yield_now();
        }
        event.set();
        struck.join();
        assert!(!struck.exited());
    });
}

#[test]
fn spawned_victims_need_no_mark() {
    let (killed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let sim = Sim::new(0).victims(Victims::Spawned).kill_rate(0.1).error_rate(0.1);
    sim.explore(0..50, || {
        let all: Vec<_> = (0..8).map(|_| spawn(|| (0..3).for_each(|_| sleep(SECOND)))).collect();
        joinall(&all);
        for one in &all {
            killed.fetch_add(usize::from(one.exited()), Ordering::SeqCst);
            if let Some(failure) = one.exception() {
                assert!(failure.downcast_ref::<Injected>().is_some());
                failed.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    assert!(killed.into_inner() > 20 && failed.into_inner() > 20);
}

#[test]
fn nothing_is_raised_in_a_victim_that_unwinds() {
    // It would abort the process.
    let sim = Sim::new(0).order(Order::Random).victims(Victims::Spawned).kill_rate(0.5).error_rate(0.3);
    sim.timeout_rate(0.2).explore(0..200, || {
        let tally = Tally::default();
        let all: Vec<_> = (0..5)
            .map(|_| {
                let token = tally.token();
                spawn(move || {
                    let _guard = OnDrop(move || {
                        let _token = &token;
                        sleep(SECOND);
                        let _ = victim(|| sleep(SECOND));
                        yield_now();
                    });
                    let _ = victim(|| (0..3).for_each(|_| sleep(SECOND)));
                })
            })
            .collect();
        joinall(&all);
        drop(all);
        tally.assert_all_home();
    });
}

#[test]
fn main_may_be_a_victim() {
    let struck = sim::each_fault_point(1, || {
        let napped = attempt(|| victim(|| sleep(SECOND)));
        sleep(SECOND);
        drop(napped);
    });
    assert_eq!(struck, 9);
}

#[test]
fn wakeups_for_nothing_go_unnoticed() {
    Sim::new(0).order(Order::Random).spurious_rate(0.5).explore(0..200, || {
        let (event, queue) = (Rc::new(Event::new()), Rc::new(Queue::<u8>::unbounded()));
        let mut waiters: Vec<_> = (1..6)
            .map(|n| {
                spawn(move || {
                    sleep(seconds(n));
                    assert_eq!(sim::now(), seconds(n));
                    assert!(!Event::new().wait_timeout(seconds(n)));
                    assert_eq!(sim::now(), seconds(2 * n));
                })
            })
            .collect();
        let (set, put) = (event.clone(), queue.clone());
        waiters.push(spawn(move || {
            event.wait();
            assert_eq!((queue.get(), sim::now()), (Ok(7), seconds(30)));
        }));
        sleep(seconds(20));
        assert_eq!(sim::now(), seconds(20));
        set.set();
        sleep(seconds(10));
        put.put(7).unwrap();
        joinall(&waiters);
        assert!(waiters.iter().all(|waiter| waiter.successful()));
    });
}

#[test]
fn delays_let_timers_race_with_what_is_ready() {
    let late = AtomicUsize::new(0);
    Sim::new(0).delay_rate(0.3, seconds(2)).explore(0..100, || {
        let event = Rc::new(Event::new());
        let set = event.clone();
        spawn(move || {
            (0..5).for_each(|_| yield_now());
            set.set();
        });
        if !event.wait_timeout(SECOND) {
            late.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert!((1..100).contains(&late.into_inner()));
}

#[test]
fn a_victim_outside_of_a_simulation_is_left_alone() {
    assert_eq!(victim(|| 5), Ok(5));
    assert!(!sim::is_simulated());
    assert!(failure(|| _ = sim::now()).contains("sim::run"));
}

// --- the outside --------------------------------------------------------------------------------------------------

#[test]
fn time_stands_still_while_a_thread_works() {
    sim::explore(0..10, || {
        let clock = spawn(|| sleep(SECOND));
        let task = ThreadPool::global().spawn(|| std::thread::sleep(Duration::from_millis(2)));
        assert!(with_timeout(Duration::from_nanos(1), || task.get().unwrap()).is_ok());
        assert_eq!(sim::now(), Duration::ZERO);
        clock.join();
        assert_eq!(sim::now(), SECOND);
    });
}

#[test]
fn an_answer_from_outside_is_waited_for() {
    sim::explore(0..20, || {
        let answer = Arc::new(AsyncResult::new());
        let (to, outside) = (answer.clone(), sim::outside());
        let thread = std::thread::spawn(move || {
            std::thread::yield_now();
            to.set(7);
            drop(outside);
        });
        assert_eq!(answer.get_timeout(SECOND).unwrap(), 7);
        assert_eq!(sim::now(), Duration::ZERO);
        thread.join().unwrap();
    });
}

#[test]
fn an_answer_that_never_comes_is_a_deadlock_in_the_end() {
    let text = failure(|| {
        sim::run(1, || {
            let outside = sim::outside();
            std::thread::spawn(move || drop(outside));
            AsyncResult::<()>::new().get().unwrap();
        });
    });
    assert!(text.contains("deadlocked"), "{text}");
}

#[test]
fn sockets_between_greenlets_of_a_simulation_work() {
    use greenlet_core::io::Source;
    use std::os::unix::net::UnixStream;
    sim::explore(0..20, || {
        let (here, there) = UnixStream::pair().unwrap();
        let [here, there] = [here, there].map(|stream| {
            stream.set_nonblocking(true).unwrap();
            Source::new(stream)
        });
        let echo = spawn(move || {
            let mut byte = [0];
            assert_eq!(there.read(&mut byte, None).unwrap(), 1);
            sleep(seconds(10));
            there.write(&byte, None).unwrap();
        });
        here.write(&[7], None).unwrap();
        let mut byte = [0];
        assert!(here.read(&mut byte, Some(seconds(5))).is_err());
        assert_eq!(sim::now(), seconds(5));
        assert_eq!(here.read(&mut byte, Some(seconds(6))).unwrap(), 1);
        assert_eq!((byte, sim::now()), ([7], seconds(10)));
        echo.join();
    });
}

#[test]
fn simulations_may_be_nested_and_run_in_greenlets() {
    greenlet_core::run(|| {
        let inner = spawn(|| sim::run(1, || sim::run(2, || sim::seed() + sim::now().as_secs())));
        assert_eq!(inner.get().unwrap(), 2);
    });
}

#[test]
fn current_is_main_and_the_hub_is_fresh() {
    sim::run(1, || {
        assert_eq!(current().name(), "main");
        assert!(sim::is_simulated());
        let mut rng = Rng::new(sim::seed());
        assert!(rng.below(10) < 10);
    });
}
