//! Spans of `tracing` follow their greenlets.

mod support;

use std::rc::Rc;
use std::thread;

use greenlet_core::{Event, Kill, Queue, run, sleep, spawn, with_timeout, yield_now};
use support::{FOREVER, OnDrop, Recorder, SHORT, settle};
use tracing::{info, info_span};
use tracing_subscriber::prelude::*;

/// Runs `f` in a hub whose events are kept.
fn recorded(f: impl FnOnce()) -> Recorder {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::with_default(subscriber, || run(f));
    recorder
}

/// The spans around the events with this message.
fn around(recorder: &Recorder, message: &str) -> Vec<Vec<String>> {
    let here = |text: &str| text.trim_end() == format!("message={message}");
    recorder.seen().into_iter().filter(|seen| here(&seen.text)).map(|seen| seen.spans).collect()
}

#[test]
fn each_greenlet_is_in_its_own_spans() {
    let recorder = recorded(|| {
        let all: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|name| {
                spawn(move || {
                    let outer = info_span!("greenlet", name);
                    let _outer = outer.enter();
                    for _ in 0..3 {
                        yield_now();
                        match name {
                            "a" => info_span!("in a").in_scope(|| {
                                yield_now();
                                info!("a");
                            }),
                            "b" => info!("b"),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        let outside = info_span!("main").entered();
        yield_now();
        info!("main");
        yield_now();
        info!("main");
        drop(outside);
        greenlet_core::joinall(&all);
        info!("outside");
    });
    assert_eq!(around(&recorder, "a"), vec![["greenlet", "in a"]; 3]);
    assert_eq!(around(&recorder, "b"), vec![["greenlet"]; 3]);
    assert_eq!(around(&recorder, "main"), vec![["main"]; 2]);
    assert_eq!(around(&recorder, "outside"), [[""; 0]]);
}

#[test]
fn a_new_greenlet_is_in_no_span_of_its_spawner() {
    let recorder = recorded(|| {
        let _span = info_span!("spawner").entered();
        let greenlet = spawn(|| info!("begins"));
        greenlet.join();
        info!("joined");
    });
    assert_eq!(around(&recorder, "begins"), [[""; 0]]);
    assert_eq!(around(&recorder, "joined"), [["spawner"]]);
}

#[test]
fn a_span_that_a_greenlet_never_left_ends_with_it() {
    let recorder = recorded(|| {
        let forgets = spawn(|| {
            std::mem::forget(info_span!("forgotten").entered());
            yield_now();
        });
        forgets.join();
        spawn(|| info!("next on that stack")).join();
        info!("main");
    });
    assert_eq!(around(&recorder, "next on that stack"), [[""; 0]]);
    assert_eq!(around(&recorder, "main"), [[""; 0]]);
}

#[test]
fn spans_survive_every_way_to_wait() {
    let recorder = recorded(|| {
        let (event, queue) = (Rc::new(Event::new()), Rc::new(Queue::bounded(1)));
        let waits = spawn({
            let (event, queue) = (event.clone(), queue.clone());
            move || {
                let _span = info_span!("waits").entered();
                sleep(SHORT);
                info!("woken");
                event.wait();
                info!("woken");
                queue.get().unwrap();
                info!("woken");
                assert!(with_timeout(SHORT, || sleep(FOREVER)).is_err());
                info!("woken");
                spawn(|| {
                    let _other = info_span!("other").entered();
                    yield_now();
                })
                .join();
                info!("woken");
            }
        });
        sleep(2 * SHORT);
        event.set();
        queue.put(()).unwrap();
        waits.join();
    });
    assert_eq!(around(&recorder, "woken"), vec![["waits"]; 5]);
}

#[test]
fn a_destructor_that_suspends_while_unwinding_is_in_the_spans_around_it() {
    let recorder = recorded(|| {
        let victim = spawn(|| {
            let _outer = info_span!("outer").entered();
            let _guard = OnDrop(|| {
                yield_now();
                info!("destructor");
            });
            let _inner = info_span!("inner").entered();
            sleep(FOREVER);
        });
        yield_now();
        victim.kill_with(Kill::default().no_wait());
        info_span!("main").in_scope(|| {
            settle();
            info!("main");
        });
        victim.join();
    });
    assert_eq!(around(&recorder, "destructor"), [["outer"]]);
    assert_eq!(around(&recorder, "main"), [["main"]]);
}

#[test]
fn a_span_entered_twice_is_left_twice() {
    let recorder = recorded(|| {
        let twice = spawn(|| {
            let span = info_span!("twice");
            let _one = span.enter();
            {
                let _two = span.enter();
                yield_now();
            }
            yield_now();
            info!("once left");
        });
        twice.join();
        info!("main");
    });
    assert_eq!(around(&recorder, "once left"), [["twice"]]);
    assert_eq!(around(&recorder, "main"), [[""; 0]]);
}

#[test]
fn callbacks_of_links_are_in_no_span() {
    let recorder = recorded(|| {
        let greenlet = spawn(|| ());
        greenlet.link(|_| info!("link"));
        greenlet.rawlink(|_| info!("rawlink"));
        let _span = info_span!("main").entered();
        settle();
    });
    assert_eq!((around(&recorder, "link"), around(&recorder, "rawlink")), (vec![vec![]], vec![vec![]]));
}

#[test]
fn a_thread_without_a_subscriber_switches_as_ever() {
    recorded(yield_now);
    thread::spawn(|| {
        run(|| {
            let _span = info_span!("nobody listens").entered();
            assert_eq!(spawn(|| 3).get().unwrap(), 3);
        });
    })
    .join()
    .unwrap();
}
