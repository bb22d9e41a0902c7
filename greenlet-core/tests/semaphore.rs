//! Semaphores: order, and no permit lost to kills and timeouts.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use greenlet_core::sync::{BoundedSemaphore, ReleasedTooOften, Semaphore};
use greenlet_core::{
    Event, GreenletRef, Hub, HubHandle, Kill, catch, joinall, run, sleep, spawn, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Rng, SHORT, Watchdog, seeds, settle};

// --- acquiring and releasing --------------------------------------------------------------------------------------

#[test]
fn an_available_permit_is_taken_without_suspending() {
    run(|| {
        let ran = Rc::new(Cell::new(false));
        let other = spawn({
            let ran = ran.clone();
            move || ran.set(true)
        });
        let semaphore = Semaphore::new(3);
        semaphore.acquire();
        assert!(semaphore.try_acquire());
        assert!(semaphore.acquire_timeout(FOREVER));
        assert_eq!((semaphore.available(), semaphore.locked()), (0, true));
        assert!(!semaphore.try_acquire());
        assert!(!ran.get());
        other.join();
    });
}

#[test]
fn release_returns_the_new_count_and_may_exceed_the_first() {
    let semaphore = Semaphore::default();
    assert_eq!(semaphore.available(), 1);
    assert_eq!(semaphore.release(), 2);
    assert_eq!(semaphore.release(), 3);
    assert!(!semaphore.locked());
}

#[test]
fn a_wait_that_times_out_acquires_nothing() {
    run(|| {
        let semaphore = Semaphore::new(0);
        assert!(!semaphore.acquire_timeout(SHORT));
        assert!(!semaphore.acquire_timeout(Duration::ZERO));
        assert!(semaphore.permit_timeout(SHORT).is_none());
        assert!(!semaphore.wait_timeout(SHORT));
        assert!(with_timeout(SHORT, || semaphore.acquire()).is_err());
        assert_eq!(semaphore.release(), 1);
        assert!(semaphore.acquire_timeout(SHORT));
    });
}

#[test]
fn a_permit_is_released_when_it_is_dropped_and_not_when_it_is_forgotten() {
    let semaphore = Semaphore::new(2);
    let first = semaphore.permit();
    semaphore.try_permit().unwrap().forget();
    assert!(semaphore.try_permit().is_none());
    assert!(semaphore.locked());
    drop(first);
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn a_permit_may_be_released_on_another_thread() {
    let semaphore = Semaphore::new(1);
    let permit = semaphore.permit();
    thread::scope(|scope| {
        scope.spawn(move || drop(permit));
        semaphore.acquire();
    });
    assert!(semaphore.locked());
}

#[test]
fn a_bounded_semaphore_refuses_a_release_too_many() {
    let semaphore = BoundedSemaphore::new(2);
    assert_eq!(semaphore.release(), Err(ReleasedTooOften));
    semaphore.acquire();
    assert!(semaphore.try_acquire());
    assert!(!semaphore.try_acquire());
    assert_eq!(semaphore.release(), Ok(1));
    assert_eq!(semaphore.release(), Ok(2));
    assert_eq!(semaphore.release(), Err(ReleasedTooOften));
    assert_eq!(semaphore.available(), 2);
    assert_eq!(ReleasedTooOften.to_string(), "the semaphore was released more often than acquired");
}

#[test]
fn a_permit_that_somebody_else_released_does_not_exceed_the_bound() {
    let semaphore = BoundedSemaphore::default();
    let permit = semaphore.permit();
    assert_eq!(semaphore.release(), Ok(1));
    drop(permit);
    assert_eq!(semaphore.available(), 1);
}

// --- order --------------------------------------------------------------------------------------------------------

#[test]
fn permits_go_to_waiters_in_the_order_in_which_they_came() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let order = Rc::new(RefCell::new(Vec::new()));
        let waiters: Vec<_> = (0..10)
            .map(|n| {
                let (semaphore, order) = (semaphore.clone(), order.clone());
                spawn(move || {
                    semaphore.acquire();
                    order.borrow_mut().push(n);
                })
            })
            .collect();
        yield_now();
        (0..10).for_each(|_| assert_eq!(semaphore.release(), 0));
        joinall(&waiters);
        assert_eq!(*order.borrow(), (0..10).collect::<Vec<_>>());
        assert!(semaphore.locked());
    });
}

#[test]
fn a_newcomer_does_not_overtake_who_was_handed_a_permit() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(1));
        semaphore.acquire();
        let waiter = spawn({
            let semaphore = semaphore.clone();
            move || semaphore.acquire()
        });
        yield_now();
        assert_eq!(semaphore.release(), 0);
        assert!(!semaphore.try_acquire());
        waiter.get().unwrap();
        assert!(semaphore.locked());
    });
}

#[test]
fn two_who_pass_a_permit_to_each_other_do_not_starve_a_third() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(1));
        let stop = Rc::new(Cell::new(false));
        let players: Vec<_> = (0..2)
            .map(|_| {
                let (semaphore, stop) = (semaphore.clone(), stop.clone());
                spawn(move || {
                    while !stop.get() {
                        semaphore.acquire();
                        yield_now();
                        semaphore.release();
                    }
                })
            })
            .collect();
        settle();
        for _ in 0..10 {
            semaphore.acquire();
            semaphore.release();
        }
        stop.set(true);
        joinall(&players);
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn waiting_does_not_acquire() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(1));
        semaphore.wait();
        assert_eq!(semaphore.available(), 1);
        semaphore.acquire();
        let watchers: Vec<_> = (0..3)
            .map(|_| {
                let semaphore = semaphore.clone();
                spawn(move || semaphore.wait_timeout(GENEROUS))
            })
            .collect();
        yield_now();
        assert_eq!(semaphore.release(), 1);
        assert!(watchers.iter().all(|watcher| watcher.get().unwrap()));
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn who_only_waits_does_not_keep_the_permit_from_those_behind() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let watcher = spawn({
            let semaphore = semaphore.clone();
            move || semaphore.wait()
        });
        let acquirer = spawn({
            let semaphore = semaphore.clone();
            move || semaphore.acquire()
        });
        yield_now();
        assert_eq!(semaphore.release(), 0);
        joinall(&[GreenletRef::clone(&watcher), GreenletRef::clone(&acquirer)]);
        assert!(watcher.successful() && acquirer.successful());
    });
}

// --- kills --------------------------------------------------------------------------------------------------------

#[test]
fn a_killed_holder_releases_its_permit() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(1));
        let holder = spawn({
            let semaphore = semaphore.clone();
            move || {
                let _permit = semaphore.permit();
                sleep(FOREVER);
            }
        });
        yield_now();
        assert!(semaphore.locked());
        holder.kill();
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_killed_waiter_leaves_the_permit_to_the_next() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let semaphore = semaphore.clone();
                spawn(move || semaphore.acquire())
            })
            .collect();
        yield_now();
        waiters[0].kill();
        assert_eq!(semaphore.release(), 0);
        waiters[1].get().unwrap();
        assert!(!waiters[2].ready());
        waiters[2].kill();
        assert_eq!(semaphore.release(), 1);
    });
}

#[test]
fn a_waiter_that_is_killed_after_it_was_handed_a_permit_has_it() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let had_it = Rc::new(Cell::new(false));
        let waiter = spawn({
            let (semaphore, had_it) = (semaphore.clone(), had_it.clone());
            move || {
                let _permit = semaphore.permit();
                had_it.set(true);
                sleep(FOREVER);
            }
        });
        yield_now();
        semaphore.release();
        waiter.kill();
        assert!(had_it.get());
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_destructor_may_acquire_while_its_greenlet_is_unwound() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let dying = spawn({
            let semaphore = semaphore.clone();
            move || {
                let _last_words = OnDrop(|| semaphore.acquire());
                sleep(FOREVER);
            }
        });
        yield_now();
        dying.kill_with(Kill::default().no_wait());
        settle();
        assert!(!dying.ready());
        semaphore.release();
        dying.join();
        assert!(semaphore.locked());
    });
}

// --- threads ------------------------------------------------------------------------------------------------------

#[test]
fn a_thread_acquires_what_a_greenlet_had_and_the_other_way_round() {
    run(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        semaphore.acquire();
        let (has_it, give_it_back) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let thread = thread::spawn({
            let (semaphore, has_it, give_it_back) = (semaphore.clone(), has_it.clone(), give_it_back.clone());
            move || {
                let _permit = semaphore.permit();
                has_it.set();
                give_it_back.wait();
            }
        });
        semaphore.release();
        has_it.wait();
        assert!(!semaphore.acquire_timeout(SHORT));
        give_it_back.set();
        assert!(semaphore.acquire_timeout(GENEROUS));
        thread.join().unwrap();
    });
}

#[test]
fn a_thread_that_gives_up_waiting_stands_in_nobodys_way() {
    let semaphore = Semaphore::new(0);
    thread::scope(|scope| {
        scope.spawn(|| assert!(!semaphore.acquire_timeout(SHORT))).join().unwrap();
    });
    assert_eq!(semaphore.release(), 1);
}

#[test]
fn dueling_threads_with_and_without_hubs_exclude_each_other() {
    let semaphore = BoundedSemaphore::new(1);
    let inside = AtomicBool::new(false);
    let total = AtomicUsize::new(0);
    let duel = |timeout: Option<Duration>| {
        for _ in 0..500 {
            match timeout {
                None => semaphore.acquire(),
                Some(timeout) => assert!(semaphore.acquire_timeout(timeout)),
            }
            assert!(!inside.swap(true, Ordering::Relaxed));
            thread::yield_now();
            total.fetch_add(1, Ordering::Relaxed);
            inside.store(false, Ordering::Relaxed);
            semaphore.release().unwrap();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| duel(None));
        scope.spawn(|| duel(Some(GENEROUS)));
        scope.spawn(|| run(|| duel(None)));
        scope.spawn(|| run(|| duel(Some(GENEROUS))));
    });
    assert_eq!((total.load(Ordering::Relaxed), semaphore.available()), (2_000, 1));
}

#[test]
fn a_semaphore_used_up_on_one_thread_can_be_used_on_another() {
    // By the thread's own stack, a greenlet, and a thread without a hub, one after the other.
    let semaphore = Arc::new(Semaphore::new(1));
    let rounds: [fn(Arc<Semaphore>); 3] = [
        |semaphore| semaphore.acquire(),
        |semaphore| run(|| spawn(move || semaphore.acquire()).join()),
        |semaphore| run(|| assert!(semaphore.acquire_timeout(GENEROUS))),
    ];
    for acquire in rounds {
        let there = semaphore.clone();
        let waiter = thread::spawn(move || {
            acquire(there.clone());
            acquire(there); // which this thread's release ends
        });
        while semaphore.available() > 0 {
            thread::yield_now();
        }
        semaphore.release();
        waiter.join().unwrap();
        assert_eq!((semaphore.available(), semaphore.release()), (0, 1));
    }
}

#[test]
fn each_release_wakes_those_who_only_wait_too() {
    run(|| {
        let semaphore = Rc::new(Semaphore::new(0));
        let watchers = [(); 2].map(|()| {
            let semaphore = semaphore.clone();
            spawn(move || semaphore.wait())
        });
        yield_now();
        assert_eq!((semaphore.release(), semaphore.release()), (1, 2));
        joinall(&watchers);
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn as_many_permits_as_there_are_never_make_anybody_wait() {
    // gevent's DummySemaphore.
    let unlimited = Semaphore::new(usize::MAX / 2);
    (0..1000).for_each(|_| assert!(unlimited.try_acquire()));
    assert!(!unlimited.locked() && unlimited.wait_timeout(Duration::ZERO));
    (0..2000).for_each(|_| assert!(unlimited.release() > 0));
}

// --- random programs ----------------------------------------------------------------------------------------------

struct World {
    semaphore: Semaphore,
    permits: usize,
    inside: AtomicUsize,
}

impl World {
    fn new(rng: &mut Rng) -> Arc<World> {
        let permits = 1 + rng.below(3);
        Arc::new(World { semaphore: Semaphore::new(permits), permits, inside: AtomicUsize::new(0) })
    }

    /// With a permit, whose release comes after the end of this.
    fn work(&self, rng: &mut Rng) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        let _leave = OnDrop(|| _ = self.inside.fetch_sub(1, Ordering::SeqCst));
        assert!(inside <= self.permits, "{inside} inside, with {} permits", self.permits);
        match rng.below(4) {
            0 => {}
            1 => sleep(rng.micros(20)),
            _ => yield_now(),
        }
    }

    fn step(&self, rng: &mut Rng, is_thread: bool) {
        let limit = rng.micros(40);
        let semaphore = &self.semaphore;
        match rng.below(if is_thread { 6 } else { 9 }) {
            0 => yield_now(),
            1 => _ = semaphore.wait_timeout(limit),
            2 => {
                let permit = semaphore.try_permit();
                permit.iter().for_each(|_| self.work(rng));
            }
            3 => {
                let permit = semaphore.permit_timeout(limit);
                permit.iter().for_each(|_| self.work(rng));
            }
            4 | 5 => {
                let _permit = semaphore.permit();
                self.work(rng);
            }
            6 => {
                semaphore.acquire();
                let _release = OnDrop(|| _ = semaphore.release());
                self.work(rng);
            }
            7 => semaphore.wait(),
            _ => {
                let _ = with_timeout(limit, || {
                    let _permit = semaphore.permit();
                    self.work(rng);
                });
            }
        }
    }

    fn live(&self, rng: &mut Rng, is_thread: bool) {
        for _ in 0..2 + rng.below(6) {
            if !is_thread && rng.one_in(4) {
                drop(catch(|| self.step(rng, is_thread)));
            } else {
                self.step(rng, is_thread);
            }
        }
    }

    fn check(&self, members: &[GreenletRef]) {
        for member in members {
            member.join();
            assert!(member.successful(), "{member} failed: {:?}", member.exception());
        }
        assert_eq!(self.inside.load(Ordering::SeqCst), 0);
        assert_eq!(self.semaphore.available(), self.permits, "permits were lost or made up");
    }
}

fn kill_somebody(members: &[GreenletRef], rng: &mut Rng) {
    members[rng.below(members.len())].kill_with(Kill::default().no_wait());
}

#[test]
fn no_permit_is_lost_to_kills_and_timeouts_on_one_hub() {
    let watchdog = Watchdog::start("semaphore on one hub");
    run(|| {
        for seed in seeds(4_000) {
            let _seed = watchdog.begin(seed);
            let mut rng = Rng::new(seed);
            let world = World::new(&mut rng);
            let members: Vec<_> = (0..2 + rng.below(7))
                .map(|_| {
                    let (world, mut rng) = (world.clone(), rng.fork());
                    GreenletRef::clone(&spawn(move || world.live(&mut rng, false)))
                })
                .collect();
            for _ in 0..rng.below(20) {
                match rng.below(4) {
                    0 => sleep(rng.micros(30)),
                    1 => kill_somebody(&members, &mut rng),
                    _ => yield_now(),
                }
            }
            world.check(&members);
        }
    });
}

fn across_hubs(seed: u64, hubs: &[HubHandle]) {
    let mut rng = Rng::new(seed);
    let world = World::new(&mut rng);
    let members: Vec<_> = (0..2 + rng.below(6))
        .map(|_| {
            let (world, mut rng, hub) = (world.clone(), rng.fork(), &hubs[rng.below(hubs.len())]);
            GreenletRef::clone(&hub.spawn(move || world.live(&mut rng, false)).unwrap())
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..rng.below(3) {
            let (world, mut rng) = (&world, rng.fork());
            scope.spawn(move || world.live(&mut rng, true));
        }
        for _ in 0..rng.below(20) {
            match rng.below(3) {
                0 => kill_somebody(&members, &mut rng),
                _ => thread::yield_now(),
            }
        }
    });
    world.check(&members);
}

#[test]
fn no_permit_is_lost_to_kills_and_timeouts_across_hubs_and_threads() {
    let watchdog = Watchdog::start("semaphore across hubs");
    let hubs: Vec<_> = ["left", "right"].map(|name| Hub::thread(name).start().unwrap()).into();
    let handles: Vec<_> = hubs.iter().map(|hub| hub.handle().clone()).collect();
    for seed in seeds(1_000) {
        let _seed = watchdog.begin(seed);
        across_hubs(seed, &handles);
    }
    hubs.into_iter().for_each(|hub| hub.shutdown());
}
