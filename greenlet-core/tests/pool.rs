//! Pools: slots that are waited for in order and never lost, and mapping.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use greenlet_core::pool::{Group, Imap, Pool, PoolFull};
use greenlet_core::{
    Event, Greenlet, GreenletError, Kill, Queue, Timeout, attempt, catch, raise, run, sleep, spawn,
    with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Oops, Rng, SHORT, Tally, Watchdog, seeds, settle, until};

/// Takes all slots that are free, until the event is set.
fn fill(pool: &Pool) -> Rc<Event> {
    let end = Rc::new(Event::new());
    while !pool.full() {
        let end = end.clone();
        pool.spawn(move || end.wait());
    }
    end
}

// --- slots --------------------------------------------------------------------------------------------------------

#[test]
fn spawn_waits_for_a_slot() {
    run(|| {
        let pool = Pool::new(2);
        assert_eq!((pool.size(), pool.free_count(), pool.full()), (Some(2), 2, false));
        let end = fill(&pool);
        assert_eq!((pool.len(), pool.free_count(), pool.full()), (2, 0, true));
        let spawner = spawn({
            let pool = pool.clone();
            move || pool.spawn(|| 3).get().unwrap()
        });
        settle();
        assert!(!spawner.ready());
        assert_eq!(pool.len(), 2);
        end.set();
        assert_eq!(spawner.get().unwrap(), 3);
        pool.join();
        assert_eq!(pool.free_count(), 2);
    });
}

#[test]
fn slots_are_given_first_come_first_served_and_nobody_overtakes() {
    run(|| {
        let pool = Pool::new(1);
        let end = fill(&pool);
        let order = Rc::new(RefCell::new(Vec::new()));
        let spawners: Vec<_> = (0..5)
            .map(|n| {
                let (pool, order) = (pool.clone(), order.clone());
                spawn(move || drop(pool.spawn(move || order.borrow_mut().push(n))))
            })
            .collect();
        yield_now();
        end.set();
        until(|| {
            let barged = pool.try_spawn(|| ()).is_ok();
            assert!(!barged || order.borrow().len() == 5);
            spawners.iter().all(|spawner| spawner.ready())
        });
        pool.join();
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_full_pool_gives_the_closure_back() {
    run(|| {
        let pool = Pool::new(1);
        let end = fill(&pool);
        let text = String::from("mine");
        let Err(PoolFull(closure)) = pool.try_spawn(move || text) else { panic!("the pool is full") };
        let Err(PoolFull(closure)) = pool.spawn_timeout(closure, SHORT) else { panic!("the pool is full") };
        end.set();
        pool.wait_available();
        assert_eq!(pool.try_spawn(closure).unwrap().get().unwrap(), "mine");
    });
}

#[test]
fn adding_and_starting_in_a_full_pool_waits_or_refuses() {
    run(|| {
        let pool = Pool::new(1);
        let end = fill(&pool);
        let ran = Rc::new(Cell::new(false));
        let greenlet = Greenlet::new({
            let ran = ran.clone();
            move || ran.set(true)
        });
        assert!(pool.try_add(&greenlet).is_err());
        assert!(pool.try_start(&greenlet).is_err());
        assert!(pool.add_timeout(&greenlet, SHORT).is_err());
        assert!(pool.start_timeout(&greenlet, SHORT).is_err());
        assert!(with_timeout(SHORT, || pool.add(&greenlet)).is_err());
        assert!(with_timeout(SHORT, || pool.start(&greenlet)).is_err());
        settle();
        assert!(!ran.get() && !pool.contains(&greenlet));
        end.set();
        pool.start_timeout(&greenlet, GENEROUS).unwrap();
        pool.join();
        assert!(ran.get());
        assert_eq!(pool.free_count(), 1);
    });
}

#[test]
fn a_greenlet_added_by_two_at_once_takes_one_slot() {
    run(|| {
        let pool = Pool::new(2);
        let end = fill(&pool);
        let greenlet = spawn(|| sleep(FOREVER));
        let adders = [(); 2].map(|()| {
            let (pool, greenlet) = (pool.clone(), greenlet.clone());
            spawn(move || pool.add(&greenlet))
        });
        settle();
        end.set();
        adders.iter().for_each(|adder| adder.join());
        settle();
        assert_eq!((pool.len(), pool.free_count()), (1, 1));
        pool.kill();
        assert_eq!(pool.free_count(), 2);
    });
}

#[test]
fn discard_frees_the_slot_at_once_and_only_once() {
    run(|| {
        let pool = Pool::new(1);
        let member = pool.spawn(|| sleep(FOREVER));
        pool.discard(&member);
        assert_eq!(pool.free_count(), 1);
        member.kill();
        settle();
        assert_eq!(pool.free_count(), 1);
    });
}

#[test]
fn killed_while_it_waits_for_a_slot_it_takes_none() {
    run(|| {
        let pool = Pool::new(1);
        let end = fill(&pool);
        let tally = Tally::default();
        let spawners = [(); 3].map(|()| {
            let (pool, token) = (pool.clone(), tally.token());
            spawn(move || drop(pool.spawn(move || drop(token))))
        });
        yield_now();
        spawners[0].kill();
        assert_eq!(tally.dropped(), 1);
        // The slot has gone to the second when it is killed: it uses it.
        end.set();
        until(|| pool.len() != 1 || spawners[1].ready());
        spawners[1].kill();
        spawners[2].join();
        pool.join();
        tally.assert_all_home();
        assert_eq!(pool.free_count(), 1);
    });
}

#[test]
fn failed_and_killed_members_give_their_slots_back() {
    run(|| {
        let pool = Pool::new(1);
        for how in 0..3 {
            let member = pool.spawn(move || match how {
                0 => raise(Oops("failed")),
                1 => panic!("on purpose"),
                _ => sleep(FOREVER),
            });
            yield_now();
            member.kill();
            settle();
            assert_eq!(pool.free_count(), 1);
        }
        let never_ran = pool.spawn(|| ());
        never_ran.kill();
        settle();
        assert_eq!(pool.free_count(), 1);
    });
}

#[test]
fn a_pool_of_size_zero_is_full_for_ever() {
    run(|| {
        let pool = Pool::new(0);
        assert!(pool.full());
        assert_eq!(pool.free_count(), 0);
        assert!(!pool.wait_available_timeout(SHORT));
        assert!(pool.spawn_timeout(|| (), SHORT).is_err());
        assert!(with_timeout(SHORT, || pool.spawn(|| ())).is_err());
        pool.join();
    });
}

#[test]
fn an_unlimited_pool_is_never_full() {
    run(|| {
        let pool = Pool::unlimited();
        (0..100).for_each(|_| drop(pool.try_spawn(|| sleep(FOREVER)).unwrap()));
        assert_eq!((pool.size(), pool.free_count(), pool.full()), (None, usize::MAX, false));
        pool.wait_available();
        assert!(pool.wait_available_timeout(SHORT));
        pool.kill();
    });
}

#[test]
fn wait_available_waits_without_taking() {
    run(|| {
        let pool = Pool::new(1);
        pool.wait_available();
        assert_eq!(pool.free_count(), 1);
        let end = fill(&pool);
        assert!(!pool.wait_available_timeout(SHORT));
        let watchers = [(); 2].map(|()| {
            let pool = pool.clone();
            spawn(move || {
                pool.wait_available();
                pool.try_spawn(yield_now).is_ok()
            })
        });
        settle();
        end.set();
        assert!(watchers.iter().all(|watcher| watcher.get().unwrap()), "each finds a slot when it returns");
    });
}

#[test]
fn a_pool_may_stand_where_a_group_is_wanted_and_keeps_its_limit() {
    fn spawn_three(group: &Group) {
        (0..3).for_each(|_| drop(group.spawn(yield_now)));
    }
    run(|| {
        let pool = Pool::new(2);
        let most = Rc::new(Cell::new(0));
        spawn_three(&pool);
        most.set(pool.len());
        assert!(most.get() <= 2);
        pool.join();
    });
}

#[test]
fn an_outer_timeout_passes_through_a_wait_for_a_slot() {
    run(|| {
        let pool = Pool::new(0);
        let outer = Timeout::start_new(SHORT);
        let raised = catch(|| drop(pool.spawn_timeout(|| (), GENEROUS))).unwrap_err();
        assert!(outer.raised(&raised));
    });
}

// --- apply --------------------------------------------------------------------------------------------------------

#[test]
fn apply_returns_the_value_or_the_failure() {
    run(|| {
        let pool = Pool::new(1);
        assert_eq!(pool.apply(|| 1 + 1).unwrap(), 2);
        let failed = pool.apply(|| raise(Oops("no"))).unwrap_err();
        assert!(
            matches!(failed, GreenletError::Failed(failure) if failure.downcast_ref() == Some(&Oops("no")))
        );
        let panicked = pool.apply(|| -> () { panic!("no") }).unwrap_err();
        assert!(matches!(panicked, GreenletError::Failed(failure) if failure.is_panic()));
        settle();
        assert_eq!(pool.free_count(), 1);
    });
}

#[test]
fn apply_inside_a_member_runs_inline() {
    run(|| {
        let pool = Pool::new(1);
        let inner = pool.clone();
        let result = pool.apply(move || {
            let panicked = inner.apply(|| -> () { panic!("inside") });
            assert!(matches!(panicked, Err(GreenletError::Failed(failure)) if failure.is_panic()));
            inner.apply(|| "inline").unwrap()
        });
        assert_eq!(result.unwrap(), "inline");
        settle();
        assert_eq!(pool.apply(|| "usable").unwrap(), "usable");
    });
}

#[test]
fn a_kill_reaches_through_an_inline_apply() {
    run(|| {
        let pool = Pool::new(1);
        let inner = pool.clone();
        let member = pool.spawn(move || {
            let _ = inner.apply(|| sleep(FOREVER));
            unreachable!("the kill is not an error of the apply");
        });
        yield_now();
        member.kill();
        assert!(member.exited());
    });
}

#[test]
fn a_killed_apply_kills_what_it_ran() {
    run(|| {
        let pool = Pool::new(1);
        let tally = Tally::default();
        let caller = spawn({
            let (pool, token) = (pool.clone(), tally.token());
            move || {
                pool.apply(move || {
                    let _token = token;
                    sleep(FOREVER);
                })
            }
        });
        until(|| !pool.is_empty());
        yield_now();
        caller.kill();
        pool.join();
        tally.assert_all_home();
    });
}

#[test]
fn apply_async_on_a_full_pool_does_not_wait_and_runs_later() {
    run(|| {
        let pool = Pool::new(2);
        let end = fill(&pool);
        let called = Rc::new(Cell::new(0));
        let third = pool.apply_async(|| 7);
        third.link_value({
            let called = called.clone();
            move |third| called.set(*third.value().unwrap())
        });
        settle();
        assert!(!third.ready() && !pool.contains(&third));
        end.set();
        assert_eq!(third.get().unwrap(), 7);
        settle();
        assert_eq!(called.get(), 7);
        assert_eq!(pool.apply_async(|| 8).get().unwrap(), 8);
        pool.join();
        let end = fill(&pool);
        let killed = pool.apply_async(|| 9);
        settle();
        killed.kill();
        assert!(killed.exited());
        end.set();
        pool.join();
        settle();
        assert_eq!(pool.free_count(), 2);
    });
}

// --- mapping ------------------------------------------------------------------------------------------------------

fn pools() -> [Pool; 5] {
    [Pool::new(1), Pool::new(2), Pool::new(3), Pool::new(10), Pool::unlimited()]
}

/// Yields some times, so that items end in another order than they began.
fn dawdle(n: usize) -> usize {
    (0..n * 7 % 5).for_each(|_| yield_now());
    n
}

#[test]
fn map_and_imap_keep_the_order_and_the_limit() {
    run(|| {
        for pool in pools() {
            let limit = pool.size().unwrap_or(usize::MAX);
            let at_once = Rc::new(Cell::new(0));
            let work = {
                let at_once = at_once.clone();
                move |n| {
                    at_once.set(at_once.get() + 1);
                    assert!(at_once.get() <= limit);
                    let n = dawdle(n);
                    at_once.set(at_once.get() - 1);
                    n
                }
            };
            let all: Vec<_> = (0..200).collect();
            assert_eq!(pool.map(work.clone(), 0..200).unwrap(), all);
            assert_eq!(pool.imap(work.clone(), 0..200).collect::<Result<Vec<_>, _>>().unwrap(), all);
            let mut unordered = pool.imap_unordered(work, 0..200).collect::<Result<Vec<_>, _>>().unwrap();
            unordered.sort_unstable();
            assert_eq!(unordered, all);
            assert!(pool.map(dawdle, []).unwrap().is_empty());
            assert!(pool.imap(dawdle, []).next().is_none());
            assert!(pool.imap_unordered(dawdle, []).next().is_none());
            settle();
            assert!(pool.is_empty());
        }
    });
}

#[test]
fn map_takes_items_that_borrow_nothing_from_an_iterator_that_does() {
    run(|| {
        let words = [String::from("a"), String::from("bb")];
        let lengths = Pool::new(1).map(|word: String| word.len(), words.iter().cloned());
        assert_eq!(lengths.unwrap(), [1, 2]);
    });
}

#[test]
fn imap_unordered_has_the_order_of_completion() {
    run(|| {
        let order = |pool: Pool| -> Vec<usize> {
            let work = |n: usize| {
                (0..n).for_each(|_| yield_now());
                n
            };
            pool.imap_unordered(work, [30, 3, 10]).map(Result::unwrap).collect()
        };
        assert_eq!(order(Pool::new(3)), [3, 10, 30]);
        assert_eq!(order(Pool::new(1)), [30, 3, 10], "one at a time is the order of the items");
    });
}

#[test]
fn a_failing_map_tells_the_first_by_position_and_kills_the_rest() {
    run(|| {
        let pool = Pool::new(4);
        let tally = Tally::default();
        let counted = tally.clone();
        let failed = pool.map(
            move |n: usize| {
                let _token = counted.token();
                match n {
                    1 => {
                        settle();
                        raise(Oops("first by position"))
                    }
                    2 => raise(Oops("first in time")),
                    3 => sleep(FOREVER),
                    _ => {}
                }
            },
            0..4,
        );
        let Err(GreenletError::Failed(failure)) = failed else { panic!("{failed:?}") };
        assert_eq!(failure.downcast_ref(), Some(&Oops("first by position")));
        pool.join();
        tally.assert_all_home();
        assert_eq!(pool.free_count(), 4);
    });
}

#[test]
fn failed_items_do_not_end_an_imap() {
    run(|| {
        let inverse = |n: i32| if n == 0 { raise(Oops("zero")) } else { 10 / n };
        let read = |mut results: Imap<i32>| {
            let text: Vec<_> = results
                .by_ref()
                .map(|result| match result {
                    Ok(n) => n.to_string(),
                    Err(error) => error.to_string(),
                })
                .collect();
            assert!(results.next().is_none());
            text
        };
        let expected = ["10", "the greenlet failed: zero", "5"];
        for pool in [Pool::new(1), Pool::new(2), Pool::unlimited()] {
            assert_eq!(read(pool.imap(inverse, [1, 0, 2])), expected);
            assert_eq!(read(pool.imap_unordered(inverse, [1, 0, 2])), expected);
        }
    });
}

#[test]
fn a_failure_of_the_input_comes_after_the_items_before_it_and_ends_the_iterator() {
    run(|| {
        let input = || (0..).map(|n| if n == 2 { raise(Oops("input")) } else { n });
        let pool = Pool::new(1);
        for mut results in [pool.imap(dawdle, input()), pool.imap_unordered(dawdle, input())] {
            assert_eq!(results.next().unwrap().unwrap(), 0);
            assert_eq!(results.next().unwrap().unwrap(), 1);
            let error = results.next().unwrap().unwrap_err();
            assert!(
                matches!(error, GreenletError::Failed(failure) if failure.downcast_ref() == Some(&Oops("input")))
            );
            assert!(results.next().is_none());
        }
        assert!(catch(|| pool.map(dawdle, input())).is_err(), "map draws the items itself");
        pool.join();
    });
}

#[test]
fn the_input_may_block_and_be_endless() {
    run(|| {
        let pool = Pool::new(3);
        let queue = Rc::new(Queue::unbounded());
        let source = queue.clone();
        let mut results = pool.imap(dawdle, std::iter::from_fn(move || source.get().ok()));
        for n in [4, 5, 6] {
            queue.put(n).unwrap();
        }
        for n in [4, 5, 6] {
            assert_eq!(results.next().unwrap().unwrap(), n);
        }
        queue.shutdown();
        assert!(results.next().is_none());
        let first: Vec<_> = pool.imap_unordered(dawdle, 0..).take(5).map(Result::unwrap).collect();
        assert_eq!(first.len(), 5);
        let group = Group::new();
        let first: Vec<_> = group.imap(dawdle, 0..).take(5).map(Result::unwrap).collect();
        assert_eq!(first, [0, 1, 2, 3, 4]);
        group.join();
    });
}

#[test]
fn an_imap_draws_no_further_ahead_than_it_may() {
    run(|| {
        for unordered in [false, true] {
            let pool = Pool::new(10);
            let drawn = Rc::new(Cell::new(0));
            let counted = drawn.clone();
            let items = (0..20).inspect(move |_| counted.set(counted.get() + 1));
            let results =
                if unordered { pool.imap_unordered(dawdle, items) } else { pool.imap(dawdle, items) };
            for (read, result) in results.max_size(2).enumerate() {
                result.unwrap();
                settle();
                assert!(drawn.get() <= read + 3, "{} drawn, {} read", drawn.get(), read + 1);
            }
            assert_eq!(drawn.get(), 20);
        }
    });
}

#[test]
fn a_dropped_imap_kills_what_runs_and_draws_no_more() {
    run(|| {
        let pool = Pool::new(2);
        let tally = Tally::default();
        let drawn = Rc::new(Cell::new(0));
        let (counted, tokens) = (drawn.clone(), tally.clone());
        let items = std::iter::repeat_with(move || {
            counted.set(counted.get() + 1);
            tokens.token()
        });
        let work = |token| {
            let _token = token;
            sleep(FOREVER);
        };
        let results = pool.imap(work, items);
        settle();
        assert_eq!(drawn.get(), 3, "two at work, and one that waits for a slot");
        drop(results);
        pool.join();
        settle();
        assert_eq!(drawn.get(), 3);
        tally.assert_all_home();
        assert_eq!((pool.len(), pool.free_count()), (0, 2));
    });
}

#[test]
fn a_killed_reader_kills_what_runs_for_it() {
    run(|| {
        let pool = Pool::new(2);
        for how in 0..3 {
            let reader = spawn({
                let pool = pool.clone();
                move || match how {
                    0 => drop(pool.map(|_| sleep(FOREVER), 0..5)),
                    1 => drop(pool.imap(|_| sleep(FOREVER), 0..5).next()),
                    _ => drop(pool.imap_unordered(|_| sleep(FOREVER), 0..5).next()),
                }
            });
            settle();
            assert!(pool.full());
            reader.kill();
            pool.join();
            settle();
            assert_eq!((pool.len(), pool.free_count()), (0, 2));
        }
    });
}

#[test]
fn a_wait_for_a_result_that_times_out_loses_none() {
    run(|| {
        for unordered in [false, true] {
            let pool = Pool::new(2);
            let go = Rc::new(Event::new());
            let waits = go.clone();
            let work = move |n: usize| {
                waits.wait();
                n
            };
            let mut results = if unordered { pool.imap_unordered(work, 0..3) } else { pool.imap(work, 0..3) };
            assert!(with_timeout(SHORT, || results.next()).is_err());
            go.set();
            assert_eq!(results.map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2]);
        }
    });
}

#[test]
fn a_thousand_items_go_through_pools_of_any_size() {
    run(|| {
        let mut rng = Rng::new(423);
        let naps: Vec<_> = (0..1000).map(|_| rng.micros(300)).collect();
        for pool in pools() {
            let naps = naps.clone();
            let work = move |n: usize| {
                if n.is_multiple_of(50) {
                    sleep(naps[n]);
                }
                n * n
            };
            let squares: Vec<_> = (0..1000).map(|n| n * n).collect();
            let ordered = pool.imap(work.clone(), 0..1000).collect::<Result<Vec<_>, _>>();
            assert_eq!(ordered.unwrap(), squares);
            let mut unordered = pool.imap_unordered(work, 0..1000).collect::<Result<Vec<_>, _>>().unwrap();
            unordered.sort_unstable();
            assert_eq!(unordered, squares);
        }
    });
}

#[test]
fn several_inputs_are_one_that_is_zipped() {
    run(|| {
        for pool in pools() {
            let sums = pool.imap(|(a, b): (u32, u32)| a + b, (0..5).zip(10..)).map(Result::unwrap);
            assert_eq!(sums.collect::<Vec<_>>(), [10, 12, 14, 16, 18]);
        }
    });
}

#[test]
fn the_input_may_block_at_its_end() {
    run(|| {
        for pool in pools() {
            let input = || {
                let mut left = 3;
                std::iter::from_fn(move || {
                    sleep(SHORT);
                    left -= 1;
                    (left >= 0).then_some(left)
                })
            };
            assert_eq!(pool.imap(dawdle_i32, input()).map(Result::unwrap).collect::<Vec<_>>(), [2, 1, 0]);
            assert_eq!(pool.imap_unordered(dawdle_i32, input()).count(), 3);
            assert_eq!(pool.map(dawdle_i32, input()).unwrap(), [2, 1, 0]);
        }
    });
}

fn dawdle_i32(n: i32) -> i32 {
    yield_now();
    n
}

#[test]
fn a_failure_of_the_input_of_a_map_goes_to_the_caller_and_kills_the_rest() {
    run(|| {
        let pool = Pool::new(3);
        let input = (0..3).map(|n| if n == 2 { raise(Oops("input")) } else { n });
        let raised = catch(|| pool.map(|_| sleep(FOREVER), input)).unwrap_err();
        assert_eq!(raised.downcast_ref(), Some(&Oops("input")));
        pool.join();
        assert_eq!(pool.free_count(), 3);
    });
}

#[test]
fn producer_and_consumers_in_one_pool_take_turns() {
    run(|| {
        let pool = Pool::new(2);
        let (event, results) = (Rc::new(Event::new()), Rc::new(RefCell::new(Vec::new())));
        let consumer = |name: &'static str| {
            let (event, results) = (event.clone(), results.clone());
            move || {
                event.wait();
                results.borrow_mut().push(name);
            }
        };
        let first = pool.apply_async(consumer("first"));
        let producer = pool.apply_async({
            let (event, results) = (event.clone(), results.clone());
            move || {
                results.borrow_mut().push("producer");
                event.set();
            }
        });
        let second = pool.apply_async(consumer("second"));
        for greenlet in [&first, &producer, &second] {
            greenlet.get().unwrap();
        }
        assert_eq!(*results.borrow(), ["producer", "first", "second"]);
    });
}

#[test]
fn the_callback_of_apply_async_is_a_link_in_a_greenlet_of_its_own() {
    run(|| {
        for pool in pools() {
            let result = Rc::new(RefCell::new(Vec::new()));
            for n in [1, 2, 3] {
                let (sum, seen, main) =
                    (pool.apply_async(move || n), result.clone(), greenlet_core::current());
                sum.link_value(move |sum| {
                    assert_ne!(greenlet_core::current(), main);
                    seen.borrow_mut().push(*sum.value().unwrap());
                });
            }
            pool.apply_async(|| raise(Oops("none"))).link_value(|_| panic!("a failure has no callback"));
            settle();
            assert_eq!(*result.borrow(), [1, 2, 3]);
        }
    });
}

#[test]
fn apply_async_may_be_waited_for_with_a_timeout() {
    run(|| {
        for pool in pools() {
            let slow = pool.apply_async(|| sleep(FOREVER));
            assert!(matches!(slow.get_timeout(SHORT), Err(GreenletError::TimedOut)));
            slow.kill();
        }
    });
}

#[test]
fn map_async_maps_in_a_greenlet_and_ends_as_the_map_does() {
    run(|| {
        for pool in pools() {
            assert_eq!(pool.map_async(dawdle, 0..20).get().unwrap(), (0..20).collect::<Vec<_>>());
            let failed = pool.map_async(|n| if n == 1 { raise(Oops("one")) } else { n }, 0..3);
            failed.join();
            assert_eq!(failed.exception().unwrap().downcast_ref(), Some(&Oops("one")));
            let killed = pool.map_async(|_| sleep(FOREVER), 0..30);
            settle();
            killed.kill();
            pool.join();
            let ended = pool.map_async(|_| sleep(FOREVER), 0..3);
            settle();
            pool.kill();
            ended.join();
            assert!(ended.exited(), "its members were killed");
        }
    });
}

#[test]
fn a_report_that_panics_loses_no_slot() {
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    struct Broken;
    impl<S: tracing::Subscriber> Layer<S> for Broken {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            panic!("stderr is closed");
        }
    }
    run(|| {
        let subscriber = tracing_subscriber::registry().with(Broken);
        tracing::subscriber::with_default(subscriber, || {
            let pool = Pool::new(1);
            let failed = pool.spawn(|| raise(Oops("reported by nobody")));
            assert_eq!(pool.free_count(), 0);
            failed.join();
            settle();
            assert_eq!(pool.free_count(), 1);
        });
    });
}

#[test]
fn killing_the_pool_ends_a_map_over_it() {
    run(|| {
        let pool = Pool::new(3);
        let mapper = spawn({
            let pool = pool.clone();
            move || pool.map(|_| sleep(FOREVER), 0..).map(drop).is_err()
        });
        settle();
        pool.kill();
        assert!(mapper.get().unwrap(), "it saw that items were killed");
        pool.join();
        assert_eq!(pool.free_count(), 3);
    });
}

// --- storms -------------------------------------------------------------------------------------------------------

/// One who does random things with a pool.
fn user(pool: &Pool, rng: &mut Rng, tally: &Tally, depth: usize) {
    let micros = rng.micros(40);
    let mut own = rng.fork();
    let token = tally.token();
    let work = move || {
        let _token = token;
        match own.below(5) {
            0 => yield_now(),
            1 => sleep(own.micros(30)),
            2 => raise(Oops("work")),
            3 => {
                let _at_the_end = OnDrop(yield_now);
                yield_now();
            }
            _ => {}
        }
    };
    let items = rng.below(5);
    let mapped = |n: usize| {
        (0..n % 3).for_each(|_| yield_now());
        if n == 3 {
            raise(Oops("item"));
        }
    };
    match rng.below(14) {
        0 => drop(pool.spawn(work)),
        1 => drop(pool.try_spawn(work)),
        2 => drop(pool.spawn_timeout(work, micros)),
        3 => drop(pool.apply(work)),
        4 => drop(pool.apply_async(work)),
        5 => drop(pool.map(mapped, 0..items)),
        6 => drop(pool.imap(mapped, 0..5).take(items).count()),
        7 => drop(pool.imap_unordered(mapped, 0..5).take(items).count()),
        8 => drop(pool.wait_available_timeout(micros)),
        9 => {
            let greenlet = Greenlet::new(work);
            match rng.below(3) {
                0 => pool.start(&greenlet),
                1 => drop(pool.start_timeout(&greenlet, micros)),
                _ => drop(pool.try_start(&greenlet)),
            }
        }
        10 => {
            if let Some(member) = pool.iter().next() {
                match rng.below(3) {
                    0 => drop(pool.discard(&member)),
                    1 => drop(pool.kill_one(&member, Kill::default().no_wait())),
                    _ => drop(member.kill_with(Kill::default().no_wait())),
                }
            }
        }
        11 if rng.one_in(4) => drop(pool.kill_with(Kill::default().timeout(micros))),
        12 if depth > 0 => drop(with_timeout(micros, || user(pool, rng, tally, depth - 1))),
        13 if depth > 0 => drop(attempt(|| user(pool, rng, tally, depth - 1))),
        _ => yield_now(),
    }
}

fn storm(seed: u64) {
    let mut rng = Rng::new(seed);
    let size = 1 + rng.below(3);
    let pool = Pool::new(size);
    let tally = Tally::default();
    let users: Vec<_> = (0..3 + rng.below(5))
        .map(|_| {
            let (pool, mut own, tally) = (pool.clone(), rng.fork(), tally.clone());
            spawn(move || (0..6).for_each(|_| user(&pool, &mut own, &tally, 2)))
        })
        .collect();
    for _ in 0..rng.below(40) {
        match rng.below(4) {
            0 => {
                users[rng.below(users.len())].kill_with(Kill::default().no_wait());
            }
            1 => sleep(rng.micros(30)),
            _ => yield_now(),
        }
        assert!(pool.len() + pool.free_count() <= size, "{pool:?} has {} free", pool.free_count());
    }
    if rng.one_in(3) {
        for user in &users {
            user.kill_with(Kill::default().no_wait());
        }
    }
    users.iter().for_each(|user| user.join());
    // Who waits for the slot of an `apply_async` has nobody to wait for it. A slot that were lost would never come.
    until(|| pool.is_empty() && pool.free_count() == size && tally.dropped() == tally.made());
    tally.assert_all_home();
    // Every slot can be had, and waited for.
    let end = fill(&pool);
    assert_eq!(pool.len(), size);
    end.set();
    pool.spawn(|| ()).join();
    pool.join();
}

#[test]
fn in_storms_of_kills_and_timeouts_no_slot_is_lost() {
    let watchdog = Watchdog::start("pool storm");
    run(|| {
        for seed in seeds(3_000) {
            let _seed = watchdog.begin(seed);
            storm(seed);
        }
    });
}
