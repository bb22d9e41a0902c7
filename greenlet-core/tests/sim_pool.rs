//! Groups and pools in the simulator: no slot is lost, nothing runs twice or beyond the limit, and results come back once
//! and in order, with faults at every suspension point of those who wait and of those who work.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::pool::{Group, Pool};
use greenlet_core::sim::{self, victim};
use greenlet_core::{Greenlet, GreenletError, Kill, joinall, sleep, spawn, yield_now};
use support::torture::{at_every_point, below, one_in, pause, quiet, survive, torture};
use support::{FOREVER, OnDrop, Tally};

/// What runs for items in a pool.
struct Work {
    size: usize,
    running: Cell<usize>,
    calls: RefCell<Vec<usize>>,
    tally: Tally,
    /// Some of it takes long.
    slow: bool,
}

const LONG: Duration = Duration::from_secs(500);

impl Work {
    fn new(size: usize, items: usize) -> Rc<Work> {
        let slow = one_in(2);
        Rc::new(Work {
            slow,
            size,
            running: Cell::new(0),
            calls: RefCell::new(vec![0; items]),
            tally: Tally::default(),
        })
    }

    /// May be struck.
    fn perform(&self, item: usize) -> usize {
        let _token = self.tally.token();
        self.calls.borrow_mut()[item] += 1;
        self.running.set(self.running.get() + 1);
        let _out = OnDrop(|| self.running.set(self.running.get() - 1));
        assert!(self.running.get() <= self.size, "more at work than the pool allows");
        let late = victim(|| match below(3) {
            0 => {}
            1 => yield_now(),
            _ if self.slow => sleep(LONG),
            _ => sleep(pause()),
        });
        item * 10 + usize::from(late.is_err())
    }

    fn all_is_over(&self, pool: &Pool) {
        pool.join();
        // A feeder that was given a slot in the moment in which it was killed gives it back in its turn.
        quiet();
        assert_eq!((pool.len(), pool.free_count(), self.running.get()), (0, self.size, 0));
        assert!(self.calls.borrow().iter().all(|calls| *calls <= 1), "an item is worked on once");
        self.tally.assert_all_home();
    }
}

fn pool_of() -> (Pool, usize) {
    let size = 1 + below(3);
    (Pool::new(size), size)
}

fn spawning() {
    let (pool, size) = pool_of();
    let items = 6;
    let work = Work::new(size, items);
    let next = Rc::new(Cell::new(0));
    let spawned = Rc::new(Cell::new(0));
    let spawners: Vec<_> = (0..1 + below(3))
        .map(|_| {
            let (pool, work, next, spawned) = (pool.clone(), work.clone(), next.clone(), spawned.clone());
            spawn(move || {
                while next.get() < items {
                    let item = next.replace(next.get() + 1);
                    let work = work.clone();
                    let perform = move || _ = work.perform(item);
                    let limit = pause();
                    let got = survive(|| match below(3) {
                        0 => pool.spawn_timeout(perform, limit).is_ok(),
                        1 => pool.try_spawn(perform).is_ok(),
                        _ => {
                            pool.spawn(perform);
                            true
                        }
                    });
                    spawned.set(spawned.get() + usize::from(matches!(got, Ok(true))));
                    if one_in(3) {
                        let _ = survive(|| pool.wait_available());
                    }
                }
            })
        })
        .collect();
    if one_in(3) {
        sleep(pause());
        pool.kill_with(Kill::default().no_wait());
    }
    joinall(&spawners);
    work.all_is_over(&pool);
    let calls: usize = work.calls.borrow().iter().sum();
    assert!(calls <= spawned.get(), "what was not spawned does not run");
}

#[test]
fn slots_of_a_pool_come_back() {
    torture(1500, spawning);
    at_every_point(3, spawning);
}

fn joining_and_killing() {
    let group = Group::new();
    let alive = Rc::new(Cell::new(0));
    let tally = Tally::default();
    for _ in 0..4 {
        let (alive, token) = (alive.clone(), tally.token());
        group.spawn(move || {
            let _token = token;
            alive.set(alive.get() + 1);
            let _out = OnDrop(|| alive.set(alive.get() - 1));
            let _ = survive(|| sleep(pause()));
            let _slow = OnDrop(|| sleep(Duration::from_millis(1)));
            let _ = victim(|| sleep(pause()));
        });
    }
    let watchers: Vec<_> = (0..3)
        .map(|n| {
            let (group, alive) = (group.clone(), alive.clone());
            spawn(move || {
                sleep(pause());
                let limit = pause();
                let emptied = survive(|| match n {
                    0 => {
                        group.kill();
                        true
                    }
                    1 => group.join_timeout(limit),
                    _ => {
                        group.join();
                        true
                    }
                });
                if matches!(emptied, Ok(true)) {
                    assert_eq!((group.len(), alive.get()), (0, 0));
                }
            })
        })
        .collect();
    joinall(&watchers);
    group.join();
    assert_eq!((group.len(), alive.get()), (0, 0));
    tally.assert_all_home();
}

#[test]
fn a_group_is_joined_when_everybody_has_ended() {
    torture(1500, joining_and_killing);
    at_every_point(3, joining_and_killing);
}

fn mapping() {
    let (pool, size) = pool_of();
    let items = 1 + below(6);
    let work = Work::new(size, items);
    let failed = Rc::new(RefCell::new(false));
    let mapper = {
        let (pool, work, failed) = (pool.clone(), work.clone(), failed.clone());
        spawn(move || {
            let performing = work.clone();
            let mapped = survive(|| pool.map(move |item| performing.perform(item), 0..items));
            match mapped {
                Ok(Ok(values)) => {
                    let order: Vec<_> = values.iter().map(|value| value / 10).collect();
                    assert_eq!(order, (0..items).collect::<Vec<_>>());
                    assert!(work.calls.borrow().iter().all(|calls| *calls == 1));
                }
                Ok(Err(GreenletError::Exit(_) | GreenletError::Failed(_))) | Err(_) => {
                    *failed.borrow_mut() = true
                }
                Ok(Err(other)) => panic!("{other}"),
            }
        })
    };
    let mut give_up = Duration::from_secs(sim::random(800));
    if one_in(2) {
        give_up = FOREVER;
    }
    if !mapper.join_timeout(give_up) {
        mapper.kill();
    }
    if *failed.borrow() || mapper.exited() {
        assert!(pool.join_timeout(LONG / 2), "nobody works on for a map that has ended");
    }
    work.all_is_over(&pool);
}

#[test]
fn a_map_returns_all_or_ends_all() {
    torture(1500, mapping);
    at_every_point(3, mapping);
}

fn lazy_mapping() {
    let (pool, size) = pool_of();
    let items = 1 + below(6);
    let (work, unordered) = (Work::new(size, items), one_in(2));
    let give_up_after = if one_in(4) { below(3) } else { usize::MAX };
    let consumer = {
        let (pool, work) = (pool.clone(), work.clone());
        spawn(move || {
            let performing = work.clone();
            let perform = move |item| performing.perform(item);
            let mut results =
                if unordered { pool.imap_unordered(perform, 0..items) } else { pool.imap(perform, 0..items) };
            if one_in(2) {
                results = results.max_size(1 + below(3));
            }
            let (mut values, mut count) = (Vec::new(), 0);
            while count < give_up_after {
                match survive(|| results.next()) {
                    Ok(Some(result)) => {
                        count += 1;
                        values.extend(result.ok().map(|value| value / 10));
                    }
                    Ok(None) => {
                        assert_eq!(count, items, "every item has one result");
                        break;
                    }
                    // Nothing is lost: the next call has what this one waited for.
                    Err(_) => {}
                }
            }
            assert!(unordered || values.is_sorted());
            values.sort_unstable();
            values.dedup();
            assert!(values.len() <= count);
            let failed = work.calls.borrow().iter().sum::<usize>().saturating_sub(values.len());
            assert!(give_up_after != usize::MAX || count == values.len() + failed);
            // Those who have not begun never do.
            let begun = work.calls.borrow().clone();
            drop(results);
            quiet();
            assert_eq!(*work.calls.borrow(), begun, "nothing begins for an imap that is gone");
        })
    };
    consumer.join();
    work.all_is_over(&pool);
}

#[test]
fn every_result_of_an_imap_comes_once() {
    torture(2000, lazy_mapping);
    at_every_point(3, lazy_mapping);
}

/// Several add the same greenlets to a pool that has no room.
fn adding() {
    let (pool, size) = pool_of();
    let running = Rc::new(Cell::new(0));
    let added: Rc<Vec<_>> = Rc::new(
        (0..4)
            .map(|_| {
                let running = running.clone();
                Greenlet::new(move || {
                    running.set(running.get() + 1);
                    let _out = OnDrop(|| running.set(running.get() - 1));
                    assert!(running.get() <= size);
                    let _ = victim(|| sleep(pause()));
                })
            })
            .collect(),
    );
    let adders: Vec<_> =
        (0..3)
            .map(|_| {
                let (pool, added) = (pool.clone(), added.clone());
                spawn(move || {
                    for one in added.iter() {
                        let limit = pause();
                        let _ = survive(|| {
                            if one_in(3) { _ = pool.start_timeout(one, limit) } else { pool.start(one) }
                        });
                    }
                })
            })
            .collect();
    joinall(&adders);
    // Whoever was not added for all that struck the adders.
    added.iter().for_each(|one| pool.start(one));
    joinall(added.iter());
    pool.join();
    quiet();
    assert_eq!((pool.len(), pool.free_count(), running.get()), (0, size, 0));
}

#[test]
fn a_greenlet_that_is_added_twice_has_one_slot() {
    torture(1500, adding);
    at_every_point(3, adding);
}
