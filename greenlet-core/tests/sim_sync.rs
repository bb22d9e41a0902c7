//! `sync` in the simulator: nobody gets in beside another, first come is first served, no permit or notification is lost,
//! and everybody who should be woken is (else the simulation is deadlocked), with faults at every suspension point.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::sync::{Barrier, BoundedSemaphore, Condvar, Mutex, OnceLock, RLock, RwLock, Semaphore};
use greenlet_core::{Greenlet, attempt, joinall, sleep, spawn, yield_now};
use support::OnDrop;
use support::torture::{Line, at_every_point, below, one_in, pause, survive, torture};

/// Members that each take so many steps, with what they share.
fn members<S: 'static>(
    shared: &Rc<S>,
    count: usize,
    steps: usize,
    step: impl Fn(&S, usize) + Copy + 'static,
) -> Vec<Greenlet<()>> {
    (0..count)
        .map(|number| {
            let shared = shared.clone();
            spawn(move || (0..steps).for_each(|_| step(&shared, number)))
        })
        .collect()
}

/// Stays for a moment, as a victim: whatever it holds is released by unwinding.
fn stay() {
    match below(3) {
        0 => {}
        1 => yield_now(),
        _ => sleep(pause()),
    }
}

// --- semaphores ---------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Want {
    Permit,
    News,
}

/// What a semaphore should do.
struct Permits {
    free: usize,
    line: Line<()>,
    wants: Vec<(usize, Want)>,
    operations: usize,
}

impl Permits {
    fn new(free: usize) -> Permits {
        Permits { free, line: Line::default(), wants: Vec::new(), operations: 0 }
    }

    /// Whether it goes on at once.
    fn ask(&mut self, want: Want) -> (usize, bool) {
        self.operations += 1;
        let who = self.operations;
        let at_once = self.free > 0;
        match (at_once, want) {
            (true, Want::Permit) => self.free -= 1,
            (true, Want::News) => {}
            (false, _) => {
                self.line.join(who);
                self.wants.push((who, want));
            }
        }
        (who, at_once)
    }

    fn release(&mut self) {
        // Everybody hears of it who waits for news; the permit goes to the first who wants one.
        let waits = |want| self.wants.iter().filter(move |(_, other)| *other == want).map(|(who, _)| *who);
        for who in waits(Want::News).filter(|who| self.line.waits(*who)).collect::<Vec<_>>() {
            self.line.give_to(who, ());
        }
        if self.line.give(()).is_none() {
            self.free += 1;
        }
    }
}

fn semaphores() {
    let count = 1 + below(2);
    let shared = Rc::new((Semaphore::new(count), RefCell::new(Permits::new(count))));
    let step = |(semaphore, model): &(Semaphore, RefCell<Permits>), _| {
        let want = if one_in(4) { Want::News } else { Want::Permit };
        let (who, at_once) = model.borrow_mut().ask(want);
        let limit = one_in(2).then(pause);
        let got = survive(|| match (want, limit) {
            (Want::Permit, None) => {
                semaphore.acquire();
                true
            }
            (Want::Permit, Some(limit)) => semaphore.acquire_timeout(limit),
            (Want::News, None) => {
                semaphore.wait();
                true
            }
            (Want::News, Some(limit)) => semaphore.wait_timeout(limit),
        });
        let given = at_once || model.borrow_mut().line.leave(who).is_some();
        assert_eq!(matches!(got, Ok(true)), given, "{who} wanted {want:?}: {got:?}");
        if given && want == Want::Permit {
            let _ = survive(stay);
            model.borrow_mut().release();
            let available = semaphore.release();
            assert_eq!(available, model.borrow().free);
        }
    };
    joinall(members(&shared, 2 + below(4), 4, step));
    assert_eq!(shared.0.available(), count, "no permit is lost, none is made");
}

#[test]
fn semaphores_do_what_the_model_does() {
    torture(2500, semaphores);
    at_every_point(4, semaphores);
}

fn permits() {
    let count = 1 + below(2);
    let shared = Rc::new((BoundedSemaphore::new(count), Cell::new(0)));
    let step = move |(semaphore, inside): &(BoundedSemaphore, Cell<usize>), _| {
        let _ = survive(|| {
            let permit = match below(3) {
                0 => semaphore.permit_timeout(pause()),
                1 => semaphore.try_permit(),
                _ => Some(semaphore.permit()),
            };
            if let Some(_permit) = permit {
                inside.set(inside.get() + 1);
                let _out = OnDrop(|| inside.set(inside.get() - 1));
                assert!(inside.get() <= count);
                stay();
            }
        });
    };
    joinall(members(&shared, 2 + below(4), 4, step));
    assert_eq!((shared.0.available(), shared.1.get()), (count, 0));
    assert!(shared.0.release().is_err(), "all are there");
}

#[test]
fn permits_are_given_back_whatever_happens() {
    torture(1500, permits);
    at_every_point(4, permits);
}

// --- locks --------------------------------------------------------------------------------------------------------

/// Who may be inside, and who is to be let in next.
#[derive(Default)]
struct Queueing {
    inside: Cell<Option<usize>>,
    line: RefCell<Line<()>>,
    operations: Cell<usize>,
}

impl Queueing {
    fn operation(&self) -> usize {
        self.operations.set(self.operations.get() + 1);
        self.operations.get()
    }

    /// Enters if nobody is inside, else waits in line.
    fn come(&self, who: usize) -> bool {
        if self.inside.get().is_none() {
            self.inside.set(Some(who));
            return true;
        }
        self.line.borrow_mut().join(who);
        false
    }

    /// Hands over to the first in line.
    fn go(&self, who: usize) {
        assert_eq!(self.inside.get(), Some(who), "nobody else got in");
        self.inside.set(self.line.borrow_mut().give(()));
    }
}

fn mutexes() {
    let shared = Rc::new((Mutex::new(0usize), Queueing::default(), Cell::new(0usize)));
    let step = |(mutex, model, done): &(Mutex<usize>, Queueing, Cell<usize>), _| {
        let who = model.operation();
        let limit = one_in(2).then(pause);
        let at_once = model.come(who);
        let left = Cell::new(false);
        let _ = survive(|| {
            let locked = survive(|| match limit {
                None => Some(mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())),
                Some(limit) => match mutex.lock_timeout(limit) {
                    Ok(guard) => Some(guard),
                    Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                    Err(std::sync::TryLockError::WouldBlock) => None,
                },
            });
            let mine = at_once || model.line.borrow_mut().leave(who).is_some();
            assert_eq!(matches!(locked, Ok(Some(_))), mine, "{who}");
            left.set(true);
            let Ok(Some(mut guard)) = locked else { return };
            // Dropped before the guard, in the same moment.
            let _out = OnDrop(|| model.go(who));
            let before = *guard;
            stay();
            *guard = before + 1;
            done.set(done.get() + 1);
        });
        assert!(left.get());
    };
    joinall(members(&shared, 2 + below(4), 4, step));
    let (mutex, model, done) = &*shared;
    assert_eq!(model.inside.get(), None);
    let count = mutex.try_lock().map(|guard| *guard).unwrap_or_else(|error| match error {
        std::sync::TryLockError::Poisoned(poisoned) => *poisoned.into_inner(),
        std::sync::TryLockError::WouldBlock => panic!("the mutex is free"),
    });
    assert_eq!(count, done.get(), "no change is lost");
}

#[test]
fn a_mutex_lets_one_in_at_a_time_and_in_order() {
    torture(2000, mutexes);
    at_every_point(4, mutexes);
}

fn rlocks() {
    let shared = Rc::new((RLock::new(), Queueing::default()));
    let step = |(lock, model): &(RLock, Queueing), _| {
        let who = model.operation();
        let limit = one_in(2).then(pause);
        let at_once = model.come(who);
        let locked = survive(|| match limit {
            None => {
                lock.acquire();
                true
            }
            Some(limit) => lock.acquire_timeout(limit),
        });
        let mine = at_once || model.line.borrow_mut().leave(who).is_some();
        assert_eq!(matches!(locked, Ok(true)), mine, "{who}: {locked:?}");
        assert_eq!(lock.is_owned(), mine);
        if !mine {
            return;
        }
        let _ = survive(|| {
            let _again = lock.lock();
            stay();
            let _and_again = lock.try_lock().expect("it is its own");
            stay();
        });
        model.go(who);
        lock.release().unwrap();
        assert!(!lock.is_owned());
    };
    joinall(members(&shared, 2 + below(4), 4, step));
    assert!(!shared.0.locked());
}

#[test]
fn an_rlock_belongs_to_one_greenlet_and_goes_on_in_order() {
    torture(1500, rlocks);
    at_every_point(3, rlocks);
}

/// Readers and writers in order of arrival, readers in a row together.
#[derive(Default)]
struct Doorman {
    readers: usize,
    writer: bool,
    line: VecDeque<(usize, bool)>,
    admitted: Vec<usize>,
    operations: usize,
}

impl Doorman {
    fn has_room(&self, writes: bool) -> bool {
        !self.writer && (!writes || self.readers == 0)
    }

    fn enter(&mut self, writes: bool) {
        if writes { self.writer = true } else { self.readers += 1 }
    }

    fn come(&mut self, writes: bool) -> (usize, bool) {
        self.operations += 1;
        let at_once = self.line.is_empty() && self.has_room(writes);
        if at_once {
            self.enter(writes);
        } else {
            self.line.push_back((self.operations, writes));
        }
        (self.operations, at_once)
    }

    fn admit(&mut self) {
        while let Some(&(who, writes)) = self.line.front()
            && self.has_room(writes)
        {
            self.line.pop_front();
            self.enter(writes);
            self.admitted.push(who);
        }
    }

    /// It goes on: whether it was admitted. If not, it has left, and those behind it may come in.
    fn leave_line(&mut self, who: usize) -> bool {
        if let Some(at) = self.admitted.iter().position(|other| *other == who) {
            self.admitted.swap_remove(at);
            return true;
        }
        self.line.retain(|(other, _)| *other != who);
        self.admit();
        false
    }

    fn go(&mut self, writes: bool) {
        if writes {
            self.writer = false
        } else {
            self.readers -= 1
        }
        self.admit();
    }
}

fn rwlocks() {
    let shared = Rc::new((RwLock::new(()), RefCell::new(Doorman::default())));
    let step = |(lock, model): &(RwLock<()>, RefCell<Doorman>), _| {
        let writes = one_in(3);
        let limit = one_in(2).then(pause);
        let (who, at_once) = model.borrow_mut().come(writes);
        // Guards are dropped inside, whatever happens; a poisoned lock works as well as another.
        let settled = Cell::new(false);
        let settle = |got: bool| {
            settled.set(true);
            let mine = at_once || model.borrow_mut().leave_line(who);
            assert_eq!(got, mine, "{who}, who writes: {writes}");
        };
        use std::sync::TryLockError::{Poisoned, WouldBlock};
        let _ = survive(|| {
            if writes {
                let guard = match limit {
                    None => Some(lock.write().unwrap_or_else(|poisoned| poisoned.into_inner())),
                    Some(limit) => match lock.write_timeout(limit) {
                        Ok(guard) => Some(guard),
                        Err(Poisoned(poisoned)) => Some(poisoned.into_inner()),
                        Err(WouldBlock) => None,
                    },
                };
                settle(guard.is_some());
                if let Some(_guard) = guard {
                    let _out = OnDrop(|| model.borrow_mut().go(true));
                    stay();
                }
            } else {
                let guard = match limit {
                    None => Some(lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())),
                    Some(limit) => match lock.read_timeout(limit) {
                        Ok(guard) => Some(guard),
                        Err(Poisoned(poisoned)) => Some(poisoned.into_inner()),
                        Err(WouldBlock) => None,
                    },
                };
                settle(guard.is_some());
                if let Some(_guard) = guard {
                    let _out = OnDrop(|| model.borrow_mut().go(false));
                    stay();
                }
            }
        });
        if !settled.get() {
            settle(false);
        }
    };
    joinall(members(&shared, 3 + below(4), 4, step));
    shared.0.clear_poison();
    assert!(shared.0.try_write().is_ok(), "nobody is inside");
}

#[test]
fn readers_and_writers_enter_in_order() {
    torture(2500, rwlocks);
    at_every_point(4, rwlocks);
}

// --- conditions ---------------------------------------------------------------------------------------------------

/// Producers notify one consumer for each item; whoever is struck hands its notification on.
fn condvars() {
    let shared = Rc::new((Mutex::new(0usize), Condvar::new(), Cell::new(0usize)));
    let items = 4;
    let consumers: Vec<_> = (0..3)
        .map(|_| {
            let shared = shared.clone();
            spawn(move || {
                let (mutex, changed, eaten) = &*shared;
                loop {
                    let limit = one_in(3).then(pause);
                    let done = survive(|| {
                        let mut guard = mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                        while *guard == 0 {
                            if eaten.get() == items {
                                return true;
                            }
                            guard = match limit {
                                None => changed.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner()),
                                Some(limit) => {
                                    let waited = changed.wait_timeout(guard, limit);
                                    let (guard, result) =
                                        waited.unwrap_or_else(|poisoned| poisoned.into_inner());
                                    if result.timed_out() {
                                        return false;
                                    }
                                    guard
                                }
                            };
                        }
                        *guard -= 1;
                        eaten.set(eaten.get() + 1);
                        if eaten.get() == items {
                            changed.notify_all();
                        }
                        eaten.get() == items
                    });
                    if matches!(done, Ok(true)) {
                        return;
                    }
                    // With what it was notified for it has nothing to do: the next one must have it. It does not hurry.
                    sleep(Duration::from_secs(1000));
                }
            })
        })
        .collect();
    for _ in 0..items {
        stay();
        let mut guard = shared.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *guard += 1;
        shared.1.notify_one();
        stay();
        drop(guard);
    }
    joinall(&consumers);
    assert_eq!(shared.2.get(), items);
}

#[test]
fn every_notification_of_a_condvar_reaches_somebody() {
    torture(2000, condvars);
    at_every_point(3, condvars);
}

/// Whoever is notified and sees the flag tells the next one. Who is struck while it locks the mutex again tells nobody: then
/// its notification must go on by itself.
fn passed_on() {
    let shared = Rc::new((Mutex::new(false), Condvar::new()));
    let waits = |(mutex, changed): &(Mutex<bool>, Condvar), _| {
        let seen = survive(|| {
            let guard = mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            drop(changed.wait_while(guard, |ready| !*ready));
        });
        if seen.is_ok() {
            changed.notify_one();
        }
    };
    let waiters = members(&shared, 3, 1, waits);
    sleep(Duration::from_secs(10));
    let mut guard = shared.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    *guard = true;
    shared.1.notify_one();
    // The one who was notified waits for the mutex meanwhile.
    sleep(Duration::from_secs(10));
    drop(guard);
    joinall(&waiters);
}

#[test]
fn a_notification_of_a_struck_waiter_goes_on() {
    torture(1000, passed_on);
    at_every_point(6, passed_on);
}

fn barriers() {
    let size = 2 + below(3);
    let shared = Rc::new((Barrier::new(size), RefCell::new(Vec::<usize>::new()), Cell::new(0usize)));
    let rounds = 3;
    let step = move |(barrier, there, leaders): &(Barrier, RefCell<Vec<usize>>, Cell<usize>), number| {
        loop {
            let last = there.borrow().len() + 1 == size;
            // Who comes last lets everybody pass who is there.
            if last {
                there.borrow_mut().clear()
            } else {
                there.borrow_mut().push(number)
            }
            let limit = one_in(3).then(pause);
            let passed = survive(|| match limit {
                None => Some(barrier.wait()),
                Some(limit) => barrier.wait_timeout(limit),
            });
            let mut there = there.borrow_mut();
            let at = there.iter().position(|other| *other == number);
            let all_were_there = at.is_none();
            if let Some(at) = at {
                there.swap_remove(at);
            }
            assert_eq!(matches!(passed, Ok(Some(_))), all_were_there, "{passed:?}");
            if let Ok(Some(result)) = passed {
                assert_eq!(result.is_leader(), last);
                leaders.set(leaders.get() + usize::from(last));
                return;
            }
        }
    };
    joinall(members(&shared, size, rounds, step));
    assert_eq!(shared.2.get(), rounds);
}

#[test]
fn a_barrier_opens_when_all_are_there_and_not_before() {
    torture(1500, barriers);
    at_every_point(4, barriers);
}

// --- values made once ---------------------------------------------------------------------------------------------

fn once_locks() {
    let shared = Rc::new((OnceLock::new(), Cell::new(0usize), Cell::new(0usize)));
    let step = |(once, making, made): &(OnceLock<usize>, Cell<usize>, Cell<usize>), number| {
        let how = below(4);
        let limit = pause();
        let seen = survive(|| match how {
            0 => once.wait_timeout(limit).copied(),
            1 => {
                let result: Result<&usize, ()> = once.get_or_try_init(|| {
                    stay();
                    Err(())
                });
                result.ok().copied()
            }
            _ => Some(*once.get_or_init(|| {
                making.set(making.get() + 1);
                let _out = OnDrop(|| making.set(making.get() - 1));
                assert_eq!(making.get(), 1, "one makes it");
                stay();
                made.set(made.get() + 1);
                number
            })),
        });
        if let Ok(Some(value)) = seen {
            assert_eq!(once.get(), Some(&value));
        }
    };
    let all = members(&shared, 2 + below(4), 3, step);
    let watcher = {
        let shared = shared.clone();
        spawn(move || {
            while survive(|| *shared.0.wait()).is_err() {}
            assert!(shared.0.get().is_some());
        })
    };
    joinall(&all);
    let value = *shared.0.get_or_init(|| {
        shared.2.set(shared.2.get() + 1);
        99
    });
    watcher.join();
    assert_eq!(shared.2.get(), 1, "it is made once");
    assert_eq!(shared.0.get(), Some(&value));
}

#[test]
fn a_value_is_made_once_by_one_after_another() {
    torture(2000, once_locks);
    at_every_point(4, once_locks);
}

/// Locks are released by unwinding in the order of nesting, also across suspensions in destructors.
#[test]
fn nested_locks_unwind_in_order() {
    let program = || {
        let shared = Rc::new((Mutex::new(()), Semaphore::new(1), RwLock::new(())));
        let step = |(mutex, semaphore, rwlock): &(Mutex<()>, Semaphore, RwLock<()>), _| {
            let _ = attempt(|| {
                survive(|| {
                    let _one = mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    let _two = semaphore.permit();
                    let _slow = OnDrop(|| sleep(Duration::from_secs(1)));
                    let _three = rwlock.read().unwrap_or_else(|poisoned| poisoned.into_inner());
                    stay();
                })
            });
        };
        joinall(members(&shared, 3, 2, step));
        shared.0.clear_poison();
        assert!(shared.0.try_lock().is_ok());
        assert_eq!(shared.1.available(), 1);
        assert!(shared.2.try_write().is_ok());
    };
    torture(600, program);
    at_every_point(3, program);
}
