//! Condvar, Barrier and OnceLock: nothing is lost to kills and timeouts.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use greenlet_core::sync::{Barrier, Condvar, Mutex, OnceLock};
use greenlet_core::{Hub, Kill, joinall, run, sleep, with_timeout, yield_now};
use support::{FOREVER, GENEROUS, Rng, SHORT, Watchdog, no_wait, seeds, settle, with};

// --- Condvar ------------------------------------------------------------------------------------------------------

type Shared = (Mutex<usize>, Condvar);

/// Waits until there is a token and takes it.
fn take_token((tokens, changed): &Shared) {
    let mut tokens = changed.wait_while(tokens.lock().unwrap(), |tokens| *tokens == 0).unwrap();
    *tokens -= 1;
}

#[test]
fn condvar_wakes_one_or_all_in_order() {
    run(|| {
        let shared = Rc::new((Mutex::new(Vec::new()), Condvar::new()));
        shared.1.notify_one();
        let waiters: Vec<_> = (0..4)
            .map(|n| {
                with(&shared, move |(order, changed)| {
                    let guard = order.lock().unwrap();
                    changed.wait(guard).unwrap().push(n);
                })
            })
            .collect();
        settle();
        assert!(shared.0.lock().unwrap().is_empty(), "nobody waited for the first notification");
        shared.1.notify_one();
        settle();
        assert_eq!(*shared.0.lock().unwrap(), [0]);
        shared.1.notify_all();
        joinall(&waiters);
        assert_eq!(*shared.0.lock().unwrap(), [0, 1, 2, 3]);
    });
}

#[test]
fn condvar_times_out_with_the_mutex_locked() {
    run(|| {
        let (mutex, changed) = (Mutex::new(0), Condvar::new());
        let (guard, result) = changed.wait_timeout(mutex.lock().unwrap(), SHORT).unwrap();
        assert!(result.timed_out() && mutex.try_lock().is_err());
        let (guard, result) = changed.wait_timeout_while(guard, SHORT, |value| *value == 0).unwrap();
        assert!(result.timed_out() && mutex.try_lock().is_err());
        let (_guard, result) = changed.wait_timeout_while(guard, SHORT, |value| *value == 1).unwrap();
        assert!(!result.timed_out());
    });
}

#[test]
fn condvar_a_timed_wait_that_is_notified_does_not_time_out() {
    run(|| {
        let shared = Rc::new((Mutex::new(0), Condvar::default()));
        let waiter = with(&shared, |(mutex, changed)| {
            let waited = changed.wait_timeout_while(mutex.lock().unwrap(), GENEROUS, |value| *value == 0);
            waited.unwrap().1.timed_out()
        });
        yield_now();
        shared.1.notify_one();
        settle();
        *shared.0.lock().unwrap() = 1;
        shared.1.notify_one();
        assert!(!waiter.get().unwrap());
    });
}

#[test]
fn condvar_a_killed_waiter_is_unwound_without_the_mutex_and_does_not_poison_it() {
    run(|| {
        let shared = Rc::new((Mutex::new(0), Condvar::new()));
        let waiter = with(&shared, take_token);
        yield_now();
        let guard = shared.0.lock().unwrap();
        waiter.kill();
        drop(guard);
        assert!(!shared.0.is_poisoned());
        let next = with(&shared, take_token);
        yield_now();
        *shared.0.lock().unwrap() += 1;
        shared.1.notify_one();
        next.get().unwrap();
    });
}

#[test]
fn condvar_who_is_killed_on_the_way_back_to_the_mutex_passes_its_notification_on() {
    run(|| {
        let shared = Rc::new((Mutex::new(0), Condvar::new()));
        let first = with(&shared, take_token);
        let second = with(&shared, take_token);
        settle();
        let mut tokens = shared.0.lock().unwrap();
        *tokens += 1;
        shared.1.notify_one();
        settle();
        first.kill();
        drop(tokens);
        second.get().unwrap();
    });
}

#[test]
fn condvar_a_condition_that_panics_poisons_the_mutex() {
    run(|| {
        let shared = Rc::new((Mutex::new(0), Condvar::new()));
        let waiter = with(&shared, |(mutex, changed)| {
            drop(changed.wait_while(mutex.lock().unwrap(), |_| panic!("poison")));
        });
        assert!(waiter.get().is_err() && shared.0.is_poisoned());
    });
}

/// Consumers that are killed, and as many tokens as consumers, each with one notification.
fn tokens_on_one_hub(seed: u64) {
    let mut rng = Rng::new(seed);
    let shared: Rc<Shared> = Rc::new((Mutex::new(0), Condvar::new()));
    let consumers: Vec<_> = (0..1 + rng.below(6))
        .map(|_| {
            let limit = rng.micros(40);
            let timed = rng.one_in(3);
            with(&shared, move |shared| {
                while timed && with_timeout(limit, || take_token(shared)).is_err() {
                    shared.0.clear_poison(); // a count is whole at any time
                }
                if !timed {
                    take_token(shared);
                }
            })
        })
        .collect();
    let holder = {
        let mut rng = rng.fork();
        with(&shared, move |(tokens, _)| {
            for _ in 0..rng.below(6) {
                let _guard = tokens.lock();
                (0..rng.below(4)).for_each(|_| yield_now());
            }
        })
    };
    for _ in &consumers {
        for _ in 0..rng.below(4) {
            match rng.below(3) {
                0 => sleep(rng.micros(10)),
                1 => _ = consumers[rng.below(consumers.len())].kill_with(no_wait()),
                _ => yield_now(),
            }
        }
        let mut tokens = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens += 1;
        if rng.one_in(2) {
            drop(tokens);
        }
        shared.1.notify_one();
    }
    holder.join();
    consumers.iter().for_each(|consumer| consumer.join());
    let took = consumers.iter().filter(|consumer| consumer.value().is_some()).count();
    let left = *shared.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(took + left <= consumers.len(), "{took} of {} tokens taken, {left} left", consumers.len());
}

#[test]
fn condvar_no_notification_is_lost_to_kills_and_timeouts() {
    let watchdog = Watchdog::start("condvar on one hub");
    run(|| {
        for seed in seeds(4_000) {
            let _seed = watchdog.begin(seed);
            tokens_on_one_hub(seed);
        }
    });
}

#[test]
fn condvar_no_notification_is_lost_between_unlocking_and_waiting() {
    let watchdog = Watchdog::start("condvar across threads");
    const ROUNDS: usize = 2_000;
    for (hubs, seed) in [(0, 0), (1, 1), (2, 2)] {
        let _seed = watchdog.begin(seed);
        // A ball is passed around: whoever misses a notification stops the game.
        let game: Arc<Shared> = Arc::default();
        thread::scope(|scope| {
            for player in 0..3 {
                let (ball, moved) = &*game;
                let play = move || {
                    for round in 0..ROUNDS {
                        let mine = round * 3 + player;
                        let mut ball = moved.wait_while(ball.lock().unwrap(), |ball| *ball != mine).unwrap();
                        *ball += 1;
                        drop(ball);
                        moved.notify_all();
                    }
                };
                scope.spawn(move || if player < hubs { run(play) } else { play() });
            }
        });
        assert_eq!(*game.0.lock().unwrap(), 3 * ROUNDS);
    }
}

#[test]
fn condvar_one_notification_reaches_who_just_unlocked() {
    let watchdog = Watchdog::start("condvar, one by one");
    let _seed = watchdog.begin(1);
    const ROUNDS: usize = 20_000;
    let (turn, moved) = (Mutex::new(0), Condvar::new());
    let play = |player| {
        for round in 0..ROUNDS {
            // Spins for the mutex, to have it and notify before the other one has got from unlocking to waiting.
            let turn = (0..1_000).find_map(|_| turn.try_lock().ok()).unwrap_or_else(|| turn.lock().unwrap());
            let mut turn = moved.wait_while(turn, |turn| *turn != 2 * round + player).unwrap();
            *turn += 1;
            moved.notify_one();
        }
    };
    thread::scope(|scope| (0..2).for_each(|player| _ = scope.spawn(move || play(player))));
    assert_eq!(*turn.lock().unwrap(), 2 * ROUNDS);
}

#[test]
fn condvar_kills_across_hubs_lose_no_notification() {
    let watchdog = Watchdog::start("condvar across hubs");
    let hubs = ["left", "right"].map(|name| Hub::thread(name).start().unwrap());
    for seed in seeds(500) {
        let _seed = watchdog.begin(seed);
        let mut rng = Rng::new(seed);
        let shared: Arc<Shared> = Arc::default();
        let consumers: Vec<_> = (0..2 + rng.below(6))
            .map(|_| {
                let shared = shared.clone();
                hubs[rng.below(2)].handle().spawn(move || take_token(&shared)).unwrap()
            })
            .collect();
        for _ in &consumers {
            if rng.one_in(2) {
                consumers[rng.below(consumers.len())].kill_with(no_wait());
            }
            (0..rng.below(3)).for_each(|_| thread::yield_now());
            *shared.0.lock().unwrap() += 1;
            shared.1.notify_one();
        }
        consumers.iter().for_each(|consumer| consumer.join());
        let took = consumers.iter().filter(|consumer| consumer.value().is_some()).count();
        assert_eq!(took + *shared.0.lock().unwrap(), consumers.len());
    }
    hubs.into_iter().for_each(|hub| hub.shutdown());
}

// --- Barrier ------------------------------------------------------------------------------------------------------

#[test]
fn barrier_opens_for_all_at_once_again_and_again() {
    run(|| {
        let shared = Rc::new((Barrier::new(4), Cell::new(0)));
        let walkers: Vec<_> = (0..4)
            .map(|_| {
                with(&shared, |(barrier, arrived)| {
                    let mut led = 0;
                    for round in 1..=10 {
                        arrived.set(arrived.get() + 1);
                        led += usize::from(barrier.wait().is_leader());
                        assert!(arrived.get() >= round * 4, "nobody passes before all are there");
                    }
                    led
                })
            })
            .collect();
        assert_eq!(walkers.iter().map(|walker| walker.get().unwrap()).sum::<usize>(), 10);
    });
}

#[test]
fn barrier_of_none_or_one_is_open() {
    assert!(Barrier::new(0).wait().is_leader());
    assert!(Barrier::new(1).wait_timeout(Duration::ZERO).unwrap().is_leader());
}

#[test]
fn barrier_who_is_killed_or_times_out_is_not_counted() {
    run(|| {
        let barrier = Rc::new(Barrier::new(3));
        let killed = with(&barrier, |barrier| barrier.wait());
        let stays = with(&barrier, |barrier| barrier.wait().is_leader());
        yield_now();
        killed.kill();
        assert!(barrier.wait_timeout(SHORT).is_none());
        let second = with(&barrier, |barrier| barrier.wait().is_leader());
        settle();
        assert!(!stays.ready() && !second.ready());
        assert!(barrier.wait().is_leader());
        assert!(!stays.get().unwrap() && !second.get().unwrap());
    });
}

#[test]
fn barrier_who_is_killed_after_the_last_came_goes_through() {
    run(|| {
        let passed = Rc::new((Barrier::new(2), Cell::new(false)));
        let waiter = with(&passed, |(barrier, passed)| {
            barrier.wait();
            passed.set(true);
        });
        yield_now();
        assert!(passed.0.wait().is_leader());
        waiter.kill();
        assert!(passed.1.get());
    });
}

#[test]
fn barrier_threads_and_greenlets_meet() {
    let barrier = Barrier::new(4);
    let leaders = AtomicUsize::new(0);
    let meet = || {
        for _ in 0..500 {
            leaders.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        (0..2).for_each(|_| _ = scope.spawn(meet));
        (0..2).for_each(|_| _ = scope.spawn(|| run(meet)));
    });
    assert_eq!(leaders.load(Ordering::Relaxed), 500);
}

#[test]
fn barrier_opens_for_a_full_number_however_many_are_killed() {
    let watchdog = Watchdog::start("barrier");
    let hubs = ["left", "right"].map(|name| Hub::thread(name).start().unwrap());
    for seed in seeds(500) {
        let _seed = watchdog.begin(seed);
        let mut rng = Rng::new(seed);
        let size = 2 + rng.below(3);
        let shared = Arc::new((Barrier::new(size), AtomicUsize::new(0), AtomicUsize::new(0)));
        let waiters: Vec<_> = (0..size * 3)
            .map(|_| {
                let shared = shared.clone();
                let wait = move || {
                    let (barrier, passed, led) = &*shared;
                    let result = barrier.wait();
                    passed.fetch_add(1, Ordering::SeqCst);
                    led.fetch_add(usize::from(result.is_leader()), Ordering::SeqCst);
                };
                hubs[rng.below(2)].handle().spawn(wait).unwrap()
            })
            .collect();
        for _ in 0..rng.below(size * 3) {
            waiters[rng.below(waiters.len())].kill_with(no_wait());
            (0..rng.below(3)).for_each(|_| thread::yield_now());
        }
        waiters.iter().for_each(|waiter| _ = waiter.kill_with(Kill::default()));
        let (_, passed, led) = &*shared;
        assert_eq!(passed.load(Ordering::SeqCst), led.load(Ordering::SeqCst) * size);
    }
    hubs.into_iter().for_each(|hub| hub.shutdown());
}

// --- OnceLock -----------------------------------------------------------------------------------------------------

#[test]
fn once_one_makes_the_value_and_the_others_wait_for_it() {
    run(|| {
        let shared = Rc::new((OnceLock::new(), Cell::new(0)));
        assert_eq!(shared.0.wait_timeout(SHORT), None);
        let users: Vec<_> = (0..5)
            .map(|n| {
                with(&shared, move |(once, made)| {
                    *once.get_or_init(|| {
                        made.set(made.get() + 1);
                        settle();
                        n
                    })
                })
            })
            .collect();
        let watcher = with(&shared, |(once, _)| *once.wait());
        yield_now();
        assert_eq!(shared.0.get(), None);
        assert!(users.iter().all(|user| user.get().unwrap() == 0));
        assert_eq!((watcher.get().unwrap(), shared.1.get(), shared.0.wait_timeout(SHORT)), (0, 1, Some(&0)));
    });
}

#[test]
fn once_the_next_makes_it_when_one_panics_fails_or_is_killed() {
    run(|| {
        let once = Rc::new(OnceLock::new());
        let killed = with(&once, |once| {
            once.get_or_init(|| {
                sleep(FOREVER);
                "killed"
            });
        });
        let panicking = with(&once, |once| _ = once.get_or_init(|| panic!("on purpose")));
        let failing = with(&once, |once| once.get_or_try_init(|| Err("no")).copied());
        let gone = with(&once, |once| _ = once.get_or_init(|| "gone"));
        let making = with(&once, |once| *once.get_or_init(|| "made"));
        let watcher = with(&once, |once| *once.wait());
        settle();
        gone.kill();
        assert!(!panicking.ready() && !watcher.ready());
        killed.kill();
        assert!(panicking.get().is_err());
        assert_eq!(failing.get().unwrap(), Err("no"));
        assert_eq!(making.get().unwrap(), "made");
        assert_eq!(watcher.get().unwrap(), "made");
    });
}

#[test]
fn once_is_free_again_when_nobody_waits_for_the_turn() {
    let once = OnceLock::new();
    assert_eq!(once.get_or_try_init(|| Err("no")), Err("no"));
    assert_eq!(once.get_or_try_init(|| Ok::<_, ()>(1)), Ok(&1));
    assert_eq!(once.get_or_init(|| 2), &1);
}

#[test]
fn once_is_set_once() {
    run(|| {
        let once = Rc::new(OnceLock::new());
        let making = with(&once, |once| {
            *once.get_or_init(|| {
                settle();
                1
            })
        });
        yield_now();
        assert_eq!(once.set(2), Err(2), "it waits for the one that is being made");
        assert_eq!(making.get().unwrap(), 1);
        let mut once = Rc::into_inner(once).unwrap();
        *once.get_mut().unwrap() += 4;
        assert_eq!(once.take(), Some(5));
        assert_eq!((once.set(6), once.set(7)), (Ok(()), Err(7)));
        assert_eq!(once.into_inner(), Some(6));
        assert_eq!(OnceLock::from(8).get(), Some(&8));
    });
}

#[test]
fn once_is_made_once_by_threads_and_greenlets() {
    for _ in 0..200 {
        let once = OnceLock::new();
        let made = AtomicUsize::new(0);
        let ask = || {
            let value = once.get_or_init(|| {
                thread::yield_now();
                vec![made.fetch_add(1, Ordering::Relaxed); 3]
            });
            assert_eq!(*value, [0, 0, 0]);
        };
        thread::scope(|scope| {
            scope.spawn(ask);
            scope.spawn(|| assert_eq!(once.wait().len(), 3));
            scope.spawn(|| run(ask));
            scope.spawn(ask);
        });
        assert_eq!(made.into_inner(), 1);
    }
}
