//! Hubs and plain threads together.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use greenlet_core::{
    AsyncResult, Config, Event, Greenlet, GreenletError, GreenletRef, Hub, HubGone, HubHandle, HubThread,
    Kill, Queue, StackSize, current, joinall, run, sleep, spawn, yield_now,
};
use support::{FOREVER, GENEROUS, Oops, Tally, Watchdog, until};

fn hub_threads(names: &[&str]) -> (Vec<HubThread>, Vec<HubHandle>) {
    let hubs: Vec<_> = names.iter().map(|&name| Hub::thread(name).start().unwrap()).collect();
    let handles = hubs.iter().map(|hub| hub.handle().clone()).collect();
    (hubs, handles)
}

#[test]
fn a_thread_has_a_hub_of_its_own() {
    let here = Hub::current();
    assert!(here.is_current());
    let there = thread::spawn(|| Hub::current().id()).join().unwrap();
    assert_ne!(here.id(), there);
    assert_eq!(here.id(), Hub::current().id());
    assert_eq!(here.name(), "");
}

#[test]
fn a_hub_thread_has_a_name_and_runs_what_is_sent_to_it() {
    let hub = Hub::thread("worker").start().unwrap();
    assert_eq!(hub.handle().name(), "worker");
    assert!(!hub.handle().is_current());
    let handle = hub.handle().clone();
    let sent = hub.handle().spawn(move || (handle.is_current(), thread::current().name().map(str::to_owned)));
    assert_eq!(sent.unwrap().get().unwrap(), (true, Some("worker".to_owned())));
    hub.shutdown();
}

#[test]
fn what_is_sent_starts_in_order() {
    let hub = Hub::thread("worker").start().unwrap();
    let order = Arc::new(Queue::unbounded());
    for n in 0..1_000 {
        let order = order.clone();
        drop(hub.handle().spawn(move || order.put(n).unwrap()).unwrap());
    }
    hub.join();
    order.shutdown();
    let got: Vec<_> = std::iter::from_fn(|| order.get().ok()).collect();
    assert_eq!(got, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_hub_that_has_ended_refuses_and_drops_the_closure() {
    let hub = Hub::thread("worker").start().unwrap();
    let handle = hub.handle().clone();
    hub.shutdown();
    let tally = Tally::default();
    let token = tally.stray_token();
    assert!(matches!(handle.spawn(move || drop(token)), Err(HubGone)));
    tally.assert_all_home();
    assert_eq!(HubGone.to_string(), "the hub has ended with its thread");
}

#[test]
fn what_is_sent_while_the_hub_ends_runs_or_ends_or_is_refused() {
    for _ in 0..100 {
        let hub = Hub::thread("worker").start().unwrap();
        let handle = hub.handle().clone();
        let tally = Tally::default();
        let sender = thread::spawn({
            let tally = tally.clone();
            move || {
                (0..20)
                    .map_while(|_| {
                        let token = tally.stray_token();
                        handle.spawn(move || drop(token)).ok()
                    })
                    .collect::<Vec<_>>()
            }
        });
        hub.shutdown();
        let sent = sender.join().unwrap();
        for greenlet in &sent {
            greenlet.join();
            assert!(greenlet.ready());
        }
        drop(sent);
        tally.assert_all_home();
    }
}

#[test]
fn a_value_and_a_failure_come_back_from_another_hub() {
    let hub = Hub::thread("worker").start().unwrap();
    run(|| {
        let value = hub.handle().spawn(|| vec![1, 2, 3]).unwrap();
        assert_eq!(value.get().unwrap(), [1, 2, 3]);
        assert_eq!(value.into_value().unwrap(), [1, 2, 3]);
        let failed: Greenlet<u8> = hub.handle().spawn(|| greenlet_core::raise(Oops("there"))).unwrap();
        assert!(
            matches!(failed.get(), Err(GreenletError::Failed(failure)) if failure.to_string() == "there")
        );
    });
    hub.shutdown();
}

#[test]
fn a_plain_thread_joins_and_kills_without_making_a_hub() {
    let hub = Hub::thread("worker").start().unwrap();
    let greenlet = hub.handle().spawn(|| sleep(FOREVER)).unwrap();
    let stats = thread::spawn(move || {
        assert!(!greenlet.join_timeout(std::time::Duration::from_millis(1)));
        greenlet.kill();
        greenlet.join();
        assert!(greenlet.exited());
        Hub::stack_stats()
    });
    assert_eq!(stats.join().unwrap().slabs, 0);
    hub.shutdown();
}

#[test]
fn a_greenlet_waits_for_a_slow_hub_while_others_go_on() {
    let hub = Hub::thread("slow").start().unwrap();
    run(|| {
        let gate = Arc::new(Event::new());
        let slow = hub.handle().spawn({
            let gate = gate.clone();
            move || gate.wait()
        });
        let slow = slow.unwrap();
        let turns = Rc::new(Cell::new(0));
        let busy = spawn({
            let turns = turns.clone();
            move || {
                for _ in 0..10 {
                    turns.set(turns.get() + 1);
                    yield_now();
                }
                gate.set();
            }
        });
        slow.join();
        assert_eq!(turns.get(), 10);
        busy.join();
    });
    hub.shutdown();
}

#[test]
fn a_hub_thread_takes_its_configuration() {
    let config = Config::default().stack_size(StackSize::new(64 * 1024).unwrap()).max_stacks(2);
    let hub = Hub::thread("small").config(config).start().unwrap();
    let gate = Arc::new(Event::new());
    let all: Vec<_> = (0..3)
        .map(|_| {
            let gate = gate.clone();
            hub.handle().spawn(move || gate.wait()).unwrap()
        })
        .collect();
    assert!(all[2].join_timeout(GENEROUS), "there is no third stack");
    assert!(all[2].exception().is_some());
    gate.set();
    joinall(&all);
    hub.shutdown();
}

#[test]
fn a_ring_of_hubs_passes_a_token_round() {
    let (hubs, handles) = hub_threads(&["a", "b", "c"]);
    let queues: Arc<Vec<_>> = Arc::new((0..3).map(|_| Queue::bounded(1)).collect());
    let stations: Vec<_> = (0..3)
        .map(|at| {
            let queues = queues.clone();
            let station = move || {
                while let Ok(count) = queues[at].get() {
                    if count == 3_000 {
                        queues.iter().for_each(Queue::shutdown);
                        return Some(count);
                    }
                    queues[(at + 1) % 3].put(count + 1).unwrap();
                }
                None
            };
            handles[at].spawn(station).unwrap()
        })
        .collect();
    queues[0].put(0).unwrap();
    let ends: Vec<Option<i32>> =
        stations.iter().map(|station| station.get_timeout(GENEROUS).unwrap()).collect();
    assert_eq!(ends, [Some(3_000), None, None]);
    hubs.into_iter().for_each(HubThread::join);
}

#[test]
fn a_storm_of_spawns_from_everywhere_runs_every_one_once() {
    let watchdog = Watchdog::start("a storm of spawns");
    let _seed = watchdog.begin(0);
    let (hubs, handles) = hub_threads(&["a", "b"]);
    let ran = Arc::new(AtomicUsize::new(0));
    let storms: Vec<_> = (0..3)
        .map(|_| {
            let (handles, ran) = (handles.clone(), ran.clone());
            thread::spawn(move || {
                let sent: Vec<_> = (0..2_000)
                    .map(|n| {
                        let (ran, other) = (ran.clone(), handles[(n + 1) % 2].clone());
                        let spread = move || {
                            ran.fetch_add(1, Ordering::SeqCst);
                            let ran = ran.clone();
                            // From hub to hub, and that one is joined from here.
                            other.spawn(move || ran.fetch_add(1, Ordering::SeqCst)).unwrap().join();
                        };
                        handles[n % 2].spawn(spread).unwrap()
                    })
                    .collect();
                joinall(&sent);
            })
        })
        .collect();
    storms.into_iter().for_each(|storm| storm.join().unwrap());
    assert_eq!(ran.load(Ordering::SeqCst), 12_000);
    hubs.into_iter().for_each(HubThread::join);
}

#[test]
fn a_storm_of_kills_and_joins_from_everywhere_ends_everybody_once() {
    let watchdog = Watchdog::start("a storm of kills");
    let (hubs, handles) = hub_threads(&["a", "b"]);
    let tally = Tally::default();
    for round in 0..30 {
        let _seed = watchdog.begin(round);
        let victims: Arc<Vec<GreenletRef>> = Arc::new(
            (0..20)
                .map(|n| {
                    let token = tally.stray_token();
                    let victim = move || {
                        let _token = token;
                        if n % 3 == 0 {
                            yield_now();
                        } else {
                            sleep(FOREVER);
                        }
                    };
                    GreenletRef::clone(&handles[n % 2].spawn(victim).unwrap())
                })
                .collect(),
        );
        let on_hubs: Vec<_> = handles
            .iter()
            .map(|handle| {
                let victims = victims.clone();
                handle.spawn(move || victims.iter().for_each(GreenletRef::kill)).unwrap()
            })
            .collect();
        let threads: Vec<_> = (0..2)
            .map(|nth| {
                let victims = victims.clone();
                thread::spawn(move || {
                    for victim in victims.iter().skip(nth) {
                        victim.kill_with(Kill::default().no_wait());
                        victim.join();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        joinall(&on_hubs);
        assert!(victims.iter().all(|victim| victim.ready() && victim.successful()));
    }
    hubs.into_iter().for_each(HubThread::shutdown);
    tally.assert_all_home();
}

#[test]
fn a_storm_on_one_result_gives_everybody_the_same() {
    let (hubs, handles) = hub_threads(&["a", "b"]);
    run(|| {
        for round in 0..100 {
            let result = Arc::new(AsyncResult::new());
            let get = {
                let result = result.clone();
                move || result.get().unwrap()
            };
            let there: Vec<_> = (0..6).map(|n| handles[n % 2].spawn(get.clone()).unwrap()).collect();
            let here = spawn(get.clone());
            let thread = thread::spawn(get);
            result.set(round);
            assert!(there.iter().all(|getter| getter.get().unwrap() == round));
            assert_eq!(here.get().unwrap(), round);
            until(|| thread.is_finished());
            assert_eq!(thread.join().unwrap(), round);
        }
    });
    hubs.into_iter().for_each(HubThread::shutdown);
}

#[test]
fn a_greenlet_stays_on_its_thread() {
    let (hubs, handles) = hub_threads(&["a", "b"]);
    let event = Arc::new(Event::new());
    let all: Vec<_> = (0..20)
        .map(|n| {
            let event = event.clone();
            let stays = move || {
                let home = thread::current().id();
                let me = current();
                (0..50).all(|_| {
                    yield_now();
                    event.wait();
                    thread::current().id() == home && current() == me
                })
            };
            handles[n % 2].spawn(stays).unwrap()
        })
        .collect();
    event.set();
    assert!(all.iter().all(|greenlet| greenlet.get().unwrap()));
    hubs.into_iter().for_each(HubThread::join);
}
