//! RLock, Mutex and RwLock, and random programs over all locks: ownership, order, poison, and nothing lost to kills.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, TryLockError};
use std::thread;

use greenlet_core::sync::{Mutex, NotOwner, RLock, RwLock};
use greenlet_core::{
    Event, Greenlet, GreenletRef, Hub, catch, joinall, run, sleep, spawn, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Oops, Rng, SHORT, Watchdog, no_wait, seeds, settle, with};

// --- RLock --------------------------------------------------------------------------------------------------------

#[test]
fn rlock_its_owner_takes_it_as_often_as_it_likes() {
    run(|| {
        let lock = Rc::new(RLock::new());
        let (outer, inner) = (lock.lock(), lock.try_lock());
        lock.acquire();
        assert!(inner.is_some() && lock.is_owned());
        let refused = with(&lock, |lock| {
            assert!(!lock.is_owned() && !lock.try_acquire() && !lock.acquire_timeout(SHORT));
            lock.lock_timeout(SHORT).is_none()
        });
        assert!(refused.get().unwrap());
        let other = with(&lock, |lock| {
            lock.acquire();
            lock.is_owned()
        });
        yield_now();
        lock.release().unwrap();
        drop(inner);
        assert!(lock.is_owned());
        drop(outer);
        assert!(!lock.is_owned());
        assert!(other.get().unwrap());
    });
}

#[test]
fn rlock_only_its_owner_releases_it() {
    run(|| {
        let lock = Rc::new(RLock::new());
        assert_eq!(lock.release(), Err(NotOwner));
        lock.acquire();
        assert_eq!(with(&lock, RLock::release).get().unwrap(), Err(NotOwner));
        assert!(lock.is_owned());
        assert_eq!(lock.release(), Ok(()));
        assert!(!lock.locked());
    });
    assert_eq!(NotOwner.to_string(), "the lock can only be released by the greenlet that owns it");
}

#[test]
fn rlock_is_handed_on_in_order_with_its_ownership() {
    run(|| {
        let lock = Rc::new(RLock::default());
        let order = Rc::new(RefCell::new(Vec::new()));
        let mine = lock.lock();
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let order = order.clone();
                with(&lock, move |lock| {
                    let _mine = lock.lock();
                    assert!(lock.is_owned());
                    order.borrow_mut().push(n);
                    let _again = lock.lock();
                    yield_now();
                })
            })
            .collect();
        settle();
        waiters[2].kill();
        drop(mine);
        assert!(!lock.try_acquire(), "it is on its way to the first");
        joinall(&waiters);
        assert_eq!(*order.borrow(), [0, 1, 3, 4]);
        assert!(!lock.locked());
    });
}

#[test]
fn rlock_a_killed_owner_releases_it_however_often_it_has_it() {
    run(|| {
        let lock = Rc::new(RLock::new());
        let owner = with(&lock, |lock| {
            let (_outer, _inner) = (lock.lock(), lock.lock());
            sleep(FOREVER);
        });
        yield_now();
        assert!(lock.locked());
        owner.kill();
        assert!(!lock.locked());
    });
}

#[test]
fn rlock_a_guard_releases_for_the_greenlet_that_made_it() {
    run(|| {
        let lock: &'static RLock = Box::leak(Box::new(RLock::new()));
        let guard = lock.lock();
        spawn(move || drop(guard)).get().unwrap();
        assert!(!lock.locked());
    });
}

#[test]
fn rlock_a_thread_stays_the_owner_when_it_gets_a_hub() {
    let lock = Arc::new(RLock::new());
    lock.acquire();
    let shared = lock.clone();
    run(move || {
        assert!(shared.is_owned());
        let lock = shared.clone();
        assert_eq!(spawn(move || lock.release()).get().unwrap(), Err(NotOwner));
        assert_eq!(shared.release(), Ok(()));
    });
    assert!(!lock.locked());
}

#[test]
fn rlock_a_callback_of_the_loop_is_not_the_greenlet_below_it() {
    run(|| {
        let lock = Rc::new(RLock::new());
        lock.acquire();
        let seen = Rc::new(Cell::new(None));
        let ended = spawn(|| ());
        ended.rawlink({
            let (lock, seen) = (lock.clone(), seen.clone());
            move |_| seen.set(Some((lock.is_owned(), lock.try_acquire())))
        });
        settle();
        assert_eq!(seen.get(), Some((false, false)));
    });
}

#[test]
fn rlock_dueling_threads_with_and_without_hubs_exclude_each_other() {
    let lock = RLock::new();
    let inside = AtomicBool::new(false);
    let total = AtomicUsize::new(0);
    let duel = || {
        for _ in 0..300 {
            let _outer = lock.lock_timeout(GENEROUS).unwrap();
            let _inner = lock.lock();
            assert!(!inside.swap(true, Ordering::Relaxed));
            thread::yield_now();
            total.fetch_add(1, Ordering::Relaxed);
            inside.store(false, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        (0..2).for_each(|_| _ = scope.spawn(duel));
        (0..2).for_each(|_| _ = scope.spawn(|| run(duel)));
    });
    assert!(total.load(Ordering::Relaxed) == 1_200 && !lock.locked());
}

// --- Mutex --------------------------------------------------------------------------------------------------------

#[test]
fn mutex_is_held_across_suspensions_and_handed_on_in_order() {
    run(|| {
        let mutex = Rc::new(Mutex::new(Vec::new()));
        let workers: Vec<_> = (0..5)
            .map(|n| {
                with(&mutex, move |mutex| {
                    let mut order = mutex.lock().unwrap();
                    yield_now();
                    order.push(n);
                })
            })
            .collect();
        joinall(&workers);
        assert_eq!(*mutex.lock().unwrap(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn mutex_locked_says_would_block_and_a_newcomer_does_not_overtake() {
    run(|| {
        let mutex = Rc::new(Mutex::new(0));
        let mut guard = mutex.lock().unwrap();
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(matches!(mutex.lock_timeout(SHORT), Err(TryLockError::WouldBlock)));
        let waiter = with(&mutex, |mutex| *mutex.lock_timeout(GENEROUS).unwrap());
        yield_now();
        *guard = 7;
        drop(guard);
        assert!(mutex.try_lock().is_err(), "it is on its way to the waiter");
        assert_eq!(waiter.get().unwrap(), 7);
        assert_eq!(format!("{mutex:?}"), "Mutex { value: 7, poisoned: false }");
    });
}

#[test]
fn mutex_a_killed_waiter_leaves_it_to_the_next() {
    run(|| {
        let mutex = Rc::new(Mutex::new(()));
        let guard = mutex.lock().unwrap();
        let waiters: Vec<_> = (0..2).map(|_| with(&mutex, |mutex| drop(mutex.lock()))).collect();
        yield_now();
        waiters[0].kill();
        drop(guard);
        waiters[1].get().unwrap();
        assert!(mutex.try_lock().is_ok());
    });
}

#[test]
fn mutex_a_killed_holder_unlocks_and_poisons_it() {
    run(|| {
        let mutex = Rc::new(Mutex::new(1));
        let holder = with(&mutex, |mutex| {
            let mut value = mutex.lock().unwrap();
            *value = 2;
            sleep(FOREVER);
            *value = 1;
        });
        yield_now();
        let waiter = with(&mutex, |mutex| mutex.lock().map_err(|poisoned| **poisoned.get_ref()).map(drop));
        yield_now();
        holder.kill();
        assert_eq!(waiter.get().unwrap(), Err(2));
        assert!(mutex.is_poisoned());
    });
}

#[test]
fn mutex_a_timeout_that_unwinds_the_holder_poisons_it() {
    run(|| {
        let mutex = Mutex::new(());
        let late = with_timeout(SHORT, || {
            let _guard = mutex.lock();
            sleep(FOREVER);
        });
        assert!(late.is_err() && mutex.is_poisoned());
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
    });
}

#[test]
fn mutex_poison_can_be_taken_out() {
    run(|| {
        let mut mutex = Mutex::new(1);
        let _ = catch(|| {
            let _guard = mutex.lock();
            greenlet_core::raise(Oops("poison"));
        });
        assert_eq!(*mutex.lock().unwrap_or_else(PoisonError::into_inner), 1);
        assert!(mutex.get_mut().is_err());
        assert!(mutex.is_poisoned(), "looking at it does not clear it");
        mutex.clear_poison();
        *mutex.get_mut().unwrap() = 3;
        assert_eq!(mutex.into_inner().unwrap(), 3);
    });
}

#[test]
fn mutex_a_panic_on_a_plain_thread_poisons_it() {
    let mutex = Arc::new(Mutex::new(()));
    let panicking = thread::spawn({
        let mutex = mutex.clone();
        move || {
            let _guard = mutex.lock();
            panic!("poison");
        }
    });
    assert!(panicking.join().is_err());
    assert!(mutex.lock().is_err());
}

#[test]
fn mutex_what_is_caught_before_the_guard_goes_does_not_poison() {
    run(|| {
        let mutex = Mutex::new(());
        let guard = mutex.lock().unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| panic!("caught"))).is_err());
        assert!(catch(|| greenlet_core::raise(Oops("caught"))).is_err());
        drop(guard);
        assert!(!mutex.is_poisoned());
    });
}

#[test]
fn mutex_locking_in_a_destructor_during_an_unwinding_does_not_poison() {
    run(|| {
        let mutex = Rc::new(Mutex::new(0));
        let dying = with(&mutex, |mutex| {
            let _count = OnDrop(|| *mutex.lock().unwrap() += 1);
            sleep(FOREVER);
        });
        yield_now();
        dying.kill();
        assert_eq!(*mutex.lock().unwrap(), 1);
    });
}

#[test]
fn mutex_is_not_poisoned_by_another_greenlet_in_the_middle_of_unwinding() {
    run(|| {
        let mutex = Rc::new(Mutex::new(0));
        for panics in [true, false] {
            let go_on = Rc::new(Event::new());
            let guard = mutex.lock().unwrap();
            let unwinding = with(&go_on, move |go_on| {
                let _wait = OnDrop(|| go_on.wait());
                if panics {
                    panic!("stays in its destructor for a while");
                }
                greenlet_core::raise(Oops("likewise"));
            });
            yield_now();
            assert!(thread::panicking(), "std speaks of the thread");
            drop(guard);
            drop(mutex.lock().unwrap());
            assert!(!mutex.is_poisoned());
            go_on.set();
            unwinding.join();
            drop(mutex.lock().unwrap());
        }
    });
}

#[test]
fn mutex_is_poisoned_by_its_holder_while_another_greenlet_unwinds() {
    run(|| {
        let go_on = Rc::new(Event::new());
        let unwinding = with(&go_on, |go_on| {
            let _wait = OnDrop(|| go_on.wait());
            greenlet_core::raise(Oops("stays in its destructor for a while"));
        });
        yield_now();
        let mutex = Rc::new(Mutex::new(0));
        let holder = with(&mutex, |mutex| {
            let _guard = mutex.lock();
            sleep(FOREVER);
        });
        yield_now();
        holder.kill();
        assert!(mutex.is_poisoned());
        go_on.set();
        unwinding.join();
    });
}

#[test]
fn mutex_a_guard_that_waits_in_its_own_unwinding_poisons() {
    run(|| {
        let mutex = Rc::new(Mutex::new(0));
        let go_on = Rc::new(Event::new());
        let dying = with(&mutex, {
            let go_on = go_on.clone();
            move |mutex| {
                let _guard = mutex.lock();
                let _wait = OnDrop(|| go_on.wait());
                sleep(FOREVER);
            }
        });
        yield_now();
        dying.kill_with(no_wait());
        settle();
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        go_on.set();
        dying.join();
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
    });
}

// --- RwLock -------------------------------------------------------------------------------------------------------

type Log = RefCell<Vec<&'static str>>;

/// One that locks, notes that it does, and holds it over a few turns.
fn reader(shared: &Rc<(RwLock<()>, Log)>, name: &'static str) -> Greenlet<()> {
    with(shared, move |(lock, log)| {
        let _guard = lock.read().unwrap();
        log.borrow_mut().push(name);
        settle();
    })
}

fn writer(shared: &Rc<(RwLock<()>, Log)>, name: &'static str) -> Greenlet<()> {
    with(shared, move |(lock, log)| {
        let _guard = lock.write().unwrap();
        log.borrow_mut().push(name);
        settle();
    })
}

#[test]
fn rwlock_readers_share_and_a_writer_excludes() {
    run(|| {
        let lock = RwLock::new(5);
        let (first, second) = (lock.read().unwrap(), lock.try_read().unwrap());
        assert_eq!(*first + *second, 10);
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.write_timeout(SHORT), Err(TryLockError::WouldBlock)));
        drop((first, second));
        let mut only = lock.try_write().unwrap();
        *only += 1;
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.read_timeout(SHORT), Err(TryLockError::WouldBlock)));
        drop(only);
        assert_eq!(format!("{lock:?}"), "RwLock { value: 6, poisoned: false }");
        assert_eq!(lock.into_inner().unwrap(), 6);
    });
}

#[test]
fn rwlock_a_waiting_writer_blocks_later_readers() {
    run(|| {
        let shared = Rc::new((RwLock::new(()), Log::default()));
        let reading = shared.0.read().unwrap();
        let writing = writer(&shared, "writer");
        yield_now();
        assert!(shared.0.try_read().is_err());
        let late = reader(&shared, "late");
        settle();
        assert!(shared.1.borrow().is_empty());
        drop(reading);
        joinall(&[writing, late]);
        assert_eq!(*shared.1.borrow(), ["writer", "late"]);
    });
}

#[test]
fn rwlock_admits_in_order_of_arrival_and_readers_in_a_row_together() {
    run(|| {
        let shared = Rc::new((RwLock::new(()), Log::default()));
        let first = shared.0.write().unwrap();
        let waiting = [
            reader(&shared, "a"),
            reader(&shared, "b"),
            writer(&shared, "C"),
            writer(&shared, "D"),
            reader(&shared, "e"),
            writer(&shared, "F"),
            reader(&shared, "g"),
        ];
        yield_now();
        drop(first);
        yield_now();
        assert_eq!(*shared.1.borrow(), ["a", "b"]);
        joinall(&waiting);
        assert_eq!(*shared.1.borrow(), ["a", "b", "C", "D", "e", "F", "g"]);
        assert!(shared.0.try_write().is_ok());
    });
}

#[test]
fn rwlock_a_writer_that_gives_up_lets_those_behind_it_in() {
    run(|| {
        let lock = Rc::new(RwLock::new(()));
        let _reading = lock.read().unwrap();
        let killed = with(&lock, |lock| drop(lock.write()));
        let late = with(&lock, |lock| lock.write_timeout(SHORT).is_err());
        let behind = with(&lock, |lock| lock.read().is_ok());
        yield_now();
        assert!(lock.try_read().is_err());
        killed.kill();
        assert!(late.get().unwrap());
        assert!(behind.get().unwrap());
        assert!(lock.try_read().is_ok());
    });
}

#[test]
fn rwlock_those_who_leave_the_middle_of_the_line_are_not_missed() {
    run(|| {
        let shared = Rc::new((RwLock::new(()), Log::default()));
        let first = shared.0.write().unwrap();
        let waiting = [
            reader(&shared, "a"),
            writer(&shared, "killed"),
            reader(&shared, "b"),
            writer(&shared, "C"),
            reader(&shared, "killed too"),
        ];
        yield_now();
        waiting[1].kill();
        waiting[4].kill();
        let last = writer(&shared, "D");
        yield_now();
        drop(first);
        yield_now();
        assert_eq!(*shared.1.borrow(), ["a", "b"], "nobody is between them any more");
        joinall(&waiting);
        last.join();
        assert_eq!(*shared.1.borrow(), ["a", "b", "C", "D"]);
    });
}

#[test]
fn rwlock_killed_holders_leave_and_only_writers_poison() {
    run(|| {
        let lock = Rc::new(RwLock::new(1));
        let reading = with(&lock, |lock| {
            let _guard = lock.read();
            sleep(FOREVER);
        });
        yield_now();
        reading.kill();
        assert!(lock.try_write().is_ok() && !lock.is_poisoned());
        let writing = with(&lock, |lock| {
            let _guard = lock.write();
            sleep(FOREVER);
        });
        yield_now();
        writing.kill();
        assert!(lock.is_poisoned() && lock.read().is_err() && lock.write().is_err());
        lock.clear_poison();
        assert!(lock.read().is_ok());
    });
}

// --- random programs ----------------------------------------------------------------------------------------------

/// Two numbers that are equal outside of critical sections.
#[derive(Default)]
struct Twins(usize, usize);

#[derive(Default)]
struct World {
    rlock: RLock,
    mutex: Mutex<Twins>,
    rwlock: RwLock<Twins>,
    in_rlock: AtomicUsize,
    in_mutex: AtomicUsize,
    reading: AtomicUsize,
    writing: AtomicUsize,
}

/// Counts somebody who is inside until it is dropped.
fn enter(count: &AtomicUsize) -> OnDrop<impl FnMut()> {
    count.fetch_add(1, Ordering::SeqCst);
    OnDrop(|| _ = count.fetch_sub(1, Ordering::SeqCst))
}

impl World {
    fn pause(rng: &mut Rng) {
        match rng.below(4) {
            0 => {}
            1 => sleep(rng.micros(20)),
            _ => yield_now(),
        }
    }

    fn with_rlock(&self, rng: &mut Rng) {
        let limit = rng.micros(40);
        let Some(_outer) =
            (if rng.one_in(3) { self.rlock.lock_timeout(limit) } else { Some(self.rlock.lock()) })
        else {
            return;
        };
        let _inside = enter(&self.in_rlock);
        let _inner = rng.one_in(2).then(|| self.rlock.lock());
        World::pause(rng);
        assert_eq!(self.in_rlock.load(Ordering::SeqCst), 1);
    }

    fn with_mutex(&self, rng: &mut Rng) {
        let locked = match rng.below(3) {
            0 => self.mutex.lock_timeout(rng.micros(40)),
            1 => self.mutex.try_lock(),
            _ => self.mutex.lock().map_err(TryLockError::Poisoned),
        };
        let mut twins = match locked {
            Ok(twins) => twins,
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Poisoned(poisoned)) => {
                let mut twins = poisoned.into_inner();
                twins.1 = twins.0;
                self.mutex.clear_poison();
                twins
            }
        };
        let _inside = enter(&self.in_mutex);
        assert_eq!(self.in_mutex.load(Ordering::SeqCst), 1);
        assert_eq!(twins.0, twins.1, "half changed, and not poisoned");
        twins.0 += 1;
        World::pause(rng);
        twins.1 += 1;
    }

    fn reads(&self, rng: &mut Rng) {
        let locked = match rng.below(4) {
            0 => self.rwlock.read_timeout(rng.micros(40)),
            1 => self.rwlock.try_read(),
            _ => self.rwlock.read().map_err(TryLockError::Poisoned),
        };
        let Ok(twins) = locked else { return };
        let _inside = enter(&self.reading);
        World::pause(rng);
        assert_eq!(self.writing.load(Ordering::SeqCst), 0);
        assert_eq!(twins.0, twins.1, "half changed, and not poisoned");
    }

    fn writes(&self, rng: &mut Rng) {
        let locked = match rng.below(4) {
            0 => self.rwlock.write_timeout(rng.micros(40)),
            1 => self.rwlock.try_write(),
            _ => self.rwlock.write().map_err(TryLockError::Poisoned),
        };
        let mut twins = match locked {
            Ok(twins) => twins,
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Poisoned(poisoned)) => {
                let mut twins = poisoned.into_inner();
                twins.1 = twins.0;
                self.rwlock.clear_poison();
                twins
            }
        };
        let _inside = enter(&self.writing);
        let others = self.reading.load(Ordering::SeqCst);
        assert_eq!((self.writing.load(Ordering::SeqCst), others), (1, 0));
        twins.0 += 1;
        World::pause(rng);
        twins.1 += 1;
    }

    fn step(&self, rng: &mut Rng) {
        match rng.below(6) {
            0 => self.with_rlock(rng),
            1 => self.with_mutex(rng),
            2 | 3 => self.reads(rng),
            4 => self.writes(rng),
            _ => yield_now(),
        }
    }

    fn live(&self, rng: &mut Rng) {
        for _ in 0..2 + rng.below(6) {
            match rng.below(6) {
                0 => _ = catch(|| self.step(rng)),
                1 => _ = with_timeout(rng.micros(40), || self.step(rng)),
                _ => self.step(rng),
            }
        }
    }

    /// Everybody has ended: everything is free.
    fn check(&self, members: &[GreenletRef]) {
        for member in members {
            member.join();
            assert!(member.successful(), "{member} failed: {:?}", member.exception());
        }
        assert!(!self.rlock.locked());
        assert!(!matches!(self.mutex.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(!matches!(self.rwlock.try_write(), Err(TryLockError::WouldBlock)));
    }
}

#[test]
fn locks_exclude_and_come_free_under_kills_and_timeouts_on_one_hub() {
    let watchdog = Watchdog::start("locks on one hub");
    run(|| {
        for seed in seeds(4_000) {
            let _seed = watchdog.begin(seed);
            let mut rng = Rng::new(seed);
            let world = Rc::new(World::default());
            let members: Vec<_> = (0..2 + rng.below(8))
                .map(|_| {
                    let mut rng = rng.fork();
                    GreenletRef::clone(&with(&world, move |world| world.live(&mut rng)))
                })
                .collect();
            for _ in 0..rng.below(20) {
                match rng.below(4) {
                    0 => sleep(rng.micros(30)),
                    1 => _ = members[rng.below(members.len())].kill_with(no_wait()),
                    _ => yield_now(),
                }
            }
            world.check(&members);
        }
    });
}

#[test]
fn locks_exclude_and_come_free_under_kills_and_timeouts_across_hubs_and_threads() {
    let watchdog = Watchdog::start("locks across hubs");
    let hubs = ["left", "right"].map(|name| Hub::thread(name).start().unwrap());
    for seed in seeds(1_000) {
        let _seed = watchdog.begin(seed);
        let mut rng = Rng::new(seed);
        let world = Arc::new(World::default());
        let members: Vec<_> = (0..2 + rng.below(6))
            .map(|_| {
                let (world, mut own) = (world.clone(), rng.fork());
                let live = move || world.live(&mut own);
                GreenletRef::clone(&hubs[rng.below(2)].handle().spawn(live).unwrap())
            })
            .collect();
        thread::scope(|scope| {
            for _ in 0..rng.below(3) {
                let (world, mut rng) = (&world, rng.fork());
                scope.spawn(move || (0..6).for_each(|_| world.step(&mut rng)));
            }
            for _ in 0..rng.below(20) {
                match rng.below(3) {
                    0 => _ = members[rng.below(members.len())].kill_with(no_wait()),
                    _ => thread::yield_now(),
                }
            }
        });
        world.check(&members);
    }
    hubs.into_iter().for_each(|hub| hub.shutdown());
}
