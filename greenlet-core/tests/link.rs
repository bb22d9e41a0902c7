//! Links: what happens when a greenlet ends.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;

use greenlet_core::{
    AsyncResult, Event, Failure, Greenlet, GreenletExit, GreenletRef, Hub, Kill, LinkId, LinkedExited, Queue,
    catch, current, joinall, raise, run, sleep, spawn, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Oops, SHORT, Tally, settle, until};

type Log = Rc<RefCell<Vec<String>>>;

/// Adds a line.
fn note(log: &Log, line: impl Into<String>) {
    log.borrow_mut().push(line.into());
}

/// One that waits for ever, and has begun to.
fn parked() -> Greenlet<()> {
    let greenlet = spawn(|| sleep(FOREVER));
    yield_now();
    greenlet
}

fn fails() -> Greenlet<()> {
    spawn(|| raise(Oops("broken")))
}

// --- callbacks ----------------------------------------------------------------------------------------------------

#[test]
fn a_link_is_called_once_with_the_greenlet_that_ended() {
    run(|| {
        let calls = Log::default();
        let greenlet = spawn(|| 42);
        greenlet.link({
            let calls = calls.clone();
            move |ended| note(&calls, format!("{:?}", ended.value()))
        });
        assert!(calls.borrow().is_empty());
        greenlet.join();
        settle();
        assert_eq!(*calls.borrow(), ["Some(42)"]);
    });
}

#[test]
fn each_kind_of_link_hears_of_the_ends_it_asked_for() {
    run(|| {
        let log = Log::default();
        let exits: Greenlet<()> = spawn(|| raise(GreenletExit));
        let panics = spawn(|| {
            if true {
                panic!("broken")
            }
        });
        for (name, greenlet) in
            [("returned", spawn(|| ())), ("exited", exits), ("raised", fails()), ("panicked", panics)]
        {
            let call = |kind: &str| {
                let (log, line) = (log.clone(), format!("{kind} of {name}"));
                move || note(&log, line)
            };
            let (any, value, exception, raw) =
                (call("link"), call("link_value"), call("link_exception"), call("rawlink"));
            greenlet.link(move |_| any());
            greenlet.link_value(move |_| value());
            greenlet.link_exception(move |_| exception());
            greenlet.rawlink(move |_| raw());
        }
        settle();
        log.borrow_mut().sort();
        let expected = [
            "link of exited",
            "link of panicked",
            "link of raised",
            "link of returned",
            "link_exception of panicked",
            "link_exception of raised",
            "link_value of exited",
            "link_value of returned",
            "rawlink of exited",
            "rawlink of panicked",
            "rawlink of raised",
            "rawlink of returned",
        ];
        assert_eq!(*log.borrow(), expected);
    });
}

#[test]
fn links_of_one_kind_are_called_in_the_order_in_which_they_were_made() {
    run(|| {
        for raw in [false, true] {
            let log = Log::default();
            let greenlet = spawn(|| ());
            for n in 0..20 {
                let log = log.clone();
                let call = move |_: &Greenlet<()>| note(&log, n.to_string());
                if raw {
                    greenlet.rawlink(call)
                } else {
                    greenlet.link(call)
                };
            }
            greenlet.join();
            settle();
            assert_eq!(*log.borrow(), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    });
}

#[test]
fn links_of_mixed_kinds_are_called_in_the_order_in_which_they_were_made() {
    run(|| {
        let log = Log::default();
        let greenlet = spawn(|| ());
        let call = |name: &'static str| {
            let log = log.clone();
            move |_: &Greenlet<()>| note(&log, name)
        };
        greenlet.link(call("1 link"));
        greenlet.rawlink(call("2 rawlink"));
        greenlet.link_value(call("3 link_value"));
        greenlet.rawlink(call("4 rawlink"));
        greenlet.link(call("5 link"));
        greenlet.join();
        settle();
        assert_eq!(*log.borrow(), ["1 link", "2 rawlink", "3 link_value", "4 rawlink", "5 link"]);
    });
}

#[test]
fn linking_the_finished_calls_soon_but_not_at_once() {
    run(|| {
        let calls = Rc::new(Cell::new(0));
        let done = spawn(|| ());
        done.join();
        for raw in [false, true] {
            let calls_ = calls.clone();
            let call = move |_: &Greenlet<()>| calls_.set(calls_.get() + 1);
            let before = calls.get();
            if raw {
                done.rawlink(call)
            } else {
                done.link(call)
            };
            assert_eq!(calls.get(), before);
            settle();
            assert_eq!(calls.get(), before + 1);
        }
        done.link_exception(|_| panic!("it did not fail"));
        settle();
    });
}

#[test]
fn a_link_callback_may_block() {
    run(|| {
        let (gate, through) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let greenlet = spawn(|| ());
        greenlet.link({
            let (gate, through) = (gate.clone(), through.clone());
            move |_| {
                gate.wait();
                through.set();
            }
        });
        greenlet.join();
        settle();
        assert!(!through.is_set());
        gate.set();
        through.wait();
    });
}

#[test]
fn a_rawlink_that_blocks_or_panics_stops_nobody_else() {
    run(|| {
        let called = Rc::new(Cell::new(false));
        let greenlet = spawn(|| ());
        greenlet.rawlink(|_| sleep(SHORT));
        greenlet.rawlink(|_| yield_now());
        greenlet.rawlink(|_| panic!("broken"));
        greenlet.link(|_| panic!("broken too"));
        greenlet.rawlink({
            let called = called.clone();
            move |_| called.set(true)
        });
        greenlet.join();
        settle();
        assert!(called.get());
    });
}

#[test]
fn a_link_may_set_results_and_fill_queues() {
    run(|| {
        let (result, queue) = (Rc::new(AsyncResult::new()), Rc::new(Queue::bounded(1)));
        let greenlet = spawn(|| 5);
        greenlet.rawlink({
            let result = result.clone();
            move |ended| result.set(*ended.value().unwrap())
        });
        greenlet.link({
            let queue = queue.clone();
            move |ended| queue.put(ended.id()).unwrap()
        });
        assert_eq!(result.get().unwrap(), 5);
        assert_eq!(queue.get().unwrap(), greenlet.id());
    });
}

#[test]
fn links_fire_for_one_that_never_ran() {
    run(|| {
        let log = Log::default();
        let (spawned, new) = (spawn(|| ()), Greenlet::new(|| ()));
        for greenlet in [&spawned, &new] {
            let log = log.clone();
            greenlet.link_value(move |ended| note(&log, if ended.exited() { "exited" } else { "returned" }));
        }
        spawned.kill();
        new.kill();
        settle();
        assert_eq!(*log.borrow(), ["exited", "exited"]);
    });
}

#[test]
fn a_callback_that_will_never_be_called_is_dropped() {
    let tally = Tally::default();
    run(|| {
        let (one, two, three) = (tally.token(), tally.token(), tally.token());
        let greenlet = spawn(|| ());
        greenlet.link_exception(move |_| drop(one));
        let id = greenlet.link(move |_| drop(two));
        assert!(greenlet.unlink(&id));
        assert_eq!(tally.dropped(), 1);
        greenlet.join();
        settle();
        assert_eq!(tally.dropped(), 2);
        Greenlet::new(|| ()).link(move |_| drop(three));
    });
    assert_eq!(tally.astray(), 0);
}

#[test]
fn callbacks_of_one_that_never_ends_go_with_the_hub() {
    let tally = Tally::default();
    thread::spawn({
        let tally = tally.clone();
        move || {
            run(|| {
                let token = tally.token();
                Greenlet::new(|| ()).link(move |_| drop(token));
            });
        }
    })
    .join()
    .unwrap();
    assert_eq!(tally.dropped(), 1);
}

// --- unlink -------------------------------------------------------------------------------------------------------

#[test]
fn an_unlinked_callback_is_not_called() {
    run(|| {
        let greenlet = spawn(|| ());
        let first = greenlet.link(|_| panic!("unlinked"));
        let raw = greenlet.rawlink(|_| panic!("unlinked"));
        assert!(greenlet.unlink(&first) && greenlet.unlink(&raw));
        assert!(!greenlet.unlink(&first), "it is gone");
        greenlet.join();
        settle();
    });
}

#[test]
fn a_link_that_was_called_cannot_be_taken_back() {
    run(|| {
        let greenlet = spawn(|| ());
        let id = greenlet.link(|_| ());
        greenlet.join();
        settle();
        assert!(!greenlet.unlink(&id));
    });
}

#[test]
fn unlinking_works_while_others_are_being_called() {
    for raw in [false, true] {
        run(|| {
            let greenlet = spawn(|| ());
            let called = Rc::new(Cell::new(false));
            let later: Rc<RefCell<Option<LinkId>>> = Rc::default();
            let unlink = {
                let later = later.clone();
                move |ended: &Greenlet<()>| assert!(ended.unlink(later.borrow().as_ref().unwrap()))
            };
            let call = {
                let called = called.clone();
                move |_: &Greenlet<()>| called.set(true)
            };
            let second = if raw {
                greenlet.rawlink(unlink);
                greenlet.rawlink(call)
            } else {
                greenlet.link(unlink);
                greenlet.link(call)
            };
            *later.borrow_mut() = Some(second);
            greenlet.join();
            settle();
            assert!(!called.get());
        });
    }
}

#[test]
fn unlinking_from_another_thread_drops_the_callback_at_home() {
    let tally = Tally::default();
    run(|| {
        let greenlet = parked();
        let token = tally.token();
        let id = greenlet.link(move |_| drop(token));
        let reference = GreenletRef::clone(&greenlet);
        assert!(thread::spawn(move || reference.unlink(&id)).join().unwrap());
        until(|| tally.dropped() == 1);
        greenlet.kill();
    });
    tally.assert_all_home();
}

#[test]
fn unlink_from_takes_back_the_links_to_one_receiver() {
    run(|| {
        let source = parked();
        let (spared, hit) = (parked(), parked());
        source.link_to(&spared);
        source.link_to(&hit);
        source.link_value_to(&spared);
        source.unlink_from(&spared);
        source.kill();
        settle();
        assert!(!spared.ready() && hit.ready());
    });
}

// --- to another greenlet ------------------------------------------------------------------------------------------

#[test]
fn the_receiver_learns_who_ended_and_how() {
    run(|| {
        let receive = |source: &Greenlet<()>| {
            let receiver =
                spawn(|| catch(|| sleep(FOREVER)).unwrap_err().downcast_ref::<LinkedExited>().cloned());
            yield_now();
            source.link_to(&receiver);
            source.start();
            receiver.get().unwrap().expect("a link was raised")
        };
        let completes = Greenlet::new(|| ());
        let exits = Greenlet::new(|| raise(GreenletExit));
        let raises = Greenlet::new(|| raise(Oops("broken")));
        let panics = Greenlet::new(|| panic!("broken"));
        assert!(matches!(receive(&completes), LinkedExited::Completed(source) if source == *completes));
        assert!(matches!(receive(&exits), LinkedExited::Killed(source) if source == *exits));
        let LinkedExited::Failed(source, failure) = receive(&raises) else { panic!("it failed") };
        assert!(source == *raises && failure.downcast_ref() == Some(&Oops("broken")));
        let received = receive(&panics);
        assert!(matches!(&received, LinkedExited::Failed(_, failure) if failure.is_panic()));
        assert_eq!(received.greenlet(), &*panics);
    });
}

#[test]
fn link_value_to_and_link_exception_to_raise_for_their_ends_only() {
    run(|| {
        let hit = |source: &Greenlet<()>| {
            let (value, exception) = (parked(), parked());
            source.link_value_to(&value);
            source.link_exception_to(&exception);
            source.start();
            source.join();
            settle();
            (value.ready(), exception.ready())
        };
        assert_eq!(hit(&Greenlet::new(|| ())), (true, false));
        assert_eq!(hit(&Greenlet::new(|| raise(GreenletExit))), (true, false));
        assert_eq!(hit(&Greenlet::new(|| raise(Oops("broken")))), (false, true));
    });
}

#[test]
fn a_receiver_that_does_not_catch_it_fails() {
    run(|| {
        let (source, receiver) = (spawn(|| ()), parked());
        source.link_to(&receiver);
        settle();
        let failure = receiver.exception().unwrap();
        assert!(matches!(failure.downcast_ref(), Some(LinkedExited::Completed(ended)) if *ended == *source));
    });
}

#[test]
fn a_failure_goes_along_a_chain() {
    run(|| {
        let chain: Vec<_> = (0..6).map(|_| parked()).collect();
        for pair in chain.windows(2) {
            pair[0].link_exception_to(&pair[1]);
        }
        chain[0].kill_with(Kill::error(Oops("the first")));
        joinall(&chain);
        let mut failure = chain[5].exception().unwrap();
        for source in chain[..5].iter().rev() {
            let Some(LinkedExited::Failed(ended, cause)) = failure.downcast_ref::<LinkedExited>() else {
                panic!("not a link: {failure}")
            };
            assert_eq!(*ended, **source);
            failure = Failure::clone(cause);
        }
        assert_eq!(failure.downcast_ref(), Some(&Oops("the first")));
    });
}

#[test]
fn two_that_are_linked_to_each_other_end_together() {
    run(|| {
        let (one, two) = (parked(), parked());
        one.link_to(&two);
        two.link_to(&one);
        one.kill();
        two.join();
        assert!(one.exited() && two.exception().is_some());
    });
}

#[test]
fn a_receiver_that_has_not_started_never_runs() {
    run(|| {
        let ran = Rc::new(Cell::new(false));
        let receiver = Greenlet::new({
            let ran = ran.clone();
            move || ran.set(true)
        });
        let source = spawn(|| ());
        source.link_to(&receiver);
        settle();
        receiver.start();
        settle();
        assert!(!ran.get());
        assert!(receiver.exception().unwrap().downcast_ref::<LinkedExited>().is_some());
    });
}

#[test]
fn a_receiver_that_is_dead_is_left_alone() {
    run(|| {
        let (source, receiver) = (parked(), spawn(|| 3));
        source.link_to(&receiver);
        receiver.join();
        source.kill();
        settle();
        assert_eq!(receiver.get().unwrap(), 3);
    });
}

#[test]
fn linking_the_finished_to_oneself_raises_on_the_spot() {
    run(|| {
        let done = spawn(|| ());
        done.join();
        let receiver = spawn({
            let done = done.clone();
            move || {
                let here = current();
                done.link_exception_to(&here);
                catch(|| done.link_to(&here)).unwrap_err().is::<LinkedExited>()
            }
        });
        assert!(receiver.get().unwrap());
        assert!(catch(|| done.link_value_to(&current())).is_err(), "main, too");
    });
}

#[test]
fn linking_the_finished_to_somebody_else_raises_there() {
    run(|| {
        let done = spawn(|| ());
        done.join();
        let receiver = parked();
        done.link_to(&receiver);
        assert!(!receiver.ready());
        receiver.join();
        assert!(receiver.exception().unwrap().downcast_ref::<LinkedExited>().is_some());
    });
}

#[test]
fn linking_the_finished_to_oneself_while_unwinding_waits() {
    run(|| {
        let done = spawn(|| ());
        done.join();
        let through = Rc::new(Cell::new(false));
        let receiver = spawn({
            let through = through.clone();
            move || {
                let _guard = OnDrop(move || {
                    done.link_to(&current());
                    yield_now();
                    through.set(true);
                });
                sleep(FOREVER);
            }
        });
        yield_now();
        receiver.kill();
        assert!(through.get() && receiver.exited());
    });
}

#[test]
fn main_may_be_the_receiver() {
    run(|| {
        let source = fails();
        source.link_to(&current());
        let raised = catch(|| sleep(FOREVER)).unwrap_err();
        assert!(matches!(raised.downcast_ref(), Some(LinkedExited::Failed(ended, _)) if *ended == *source));
    });
}

#[test]
fn run_returns_though_main_is_linked_to_what_it_kills() {
    let value = run(|| {
        let source = spawn(|| sleep(FOREVER));
        source.link_to(&current());
        drop(spawn(|| {
            let _guard = OnDrop(|| sleep(SHORT));
            sleep(FOREVER);
        }));
        yield_now();
        7
    });
    assert_eq!(value, 7);
}

#[test]
fn links_that_are_made_twice_fire_twice() {
    run(|| {
        let source = parked();
        let receiver = spawn(|| (0..2).filter(|_| catch(|| sleep(FOREVER)).is_err()).count());
        yield_now();
        source.link_to(&receiver);
        source.link_to(&receiver);
        source.kill();
        assert_eq!(receiver.get().unwrap(), 2);
    });
}

// --- other threads ------------------------------------------------------------------------------------------------

#[test]
fn a_callback_runs_on_the_thread_that_linked() {
    let hub = Hub::thread("source").start().unwrap();
    run(|| {
        let gate = Arc::new(Event::new());
        let source = hub.handle().spawn({
            let gate = gate.clone();
            move || gate.wait()
        });
        let source = source.unwrap();
        let here = thread::current().id();
        let called = Rc::new(Queue::unbounded());
        for raw in [false, true] {
            let called = called.clone();
            let call = move |_: &Greenlet<()>| called.put(thread::current().id()).unwrap();
            if raw {
                source.rawlink(call)
            } else {
                source.link(call)
            };
        }
        gate.set();
        assert_eq!((called.get().unwrap(), called.get().unwrap()), (here, here));
        source.link({
            let called = called.clone();
            move |_| called.put(thread::current().id()).unwrap()
        });
        assert_eq!(called.get().unwrap(), here, "linked after the end");
    });
    hub.shutdown();
}

#[test]
fn a_link_raises_in_a_receiver_on_another_hub() {
    let hub = Hub::thread("receiver").start().unwrap();
    run(|| {
        let started = Arc::new(Event::new());
        let receiver = hub.handle().spawn({
            let started = started.clone();
            move || {
                let raised = catch(|| {
                    started.set();
                    sleep(FOREVER)
                });
                raised.unwrap_err().downcast_ref::<LinkedExited>().map(|linked| linked.greenlet().id())
            }
        });
        let receiver = receiver.unwrap();
        started.wait();
        let source = fails();
        source.link_to(&receiver);
        assert_eq!(receiver.get_timeout(GENEROUS).unwrap(), Some(source.id()));
    });
    hub.shutdown();
}

#[test]
fn links_made_while_the_source_ends_elsewhere_all_fire_once() {
    let hub = Hub::thread("sources").start().unwrap();
    run(|| {
        let calls = Rc::new(Cell::new(0));
        for _ in 0..300 {
            let source = hub.handle().spawn(|| ()).unwrap();
            for raw in [true, false] {
                let calls = calls.clone();
                let call = move |_: &Greenlet<()>| calls.set(calls.get() + 1);
                if raw {
                    source.rawlink(call)
                } else {
                    source.link(call)
                };
            }
            source.join();
        }
        until(|| calls.get() == 600);
        settle();
        assert_eq!(calls.get(), 600);
    });
    hub.shutdown();
}

#[test]
fn callbacks_of_a_hub_that_ended_are_not_called() {
    let called = Arc::new(Mutex::new(false));
    run(|| {
        let source = parked();
        let reference = GreenletRef::clone(&source);
        let flag = called.clone();
        thread::spawn(move || {
            run(|| reference.link(move |_| *flag.lock().unwrap() = true));
        })
        .join()
        .unwrap();
        source.kill();
        settle();
    });
    assert!(!*called.lock().unwrap());
}

#[test]
fn a_link_that_fires_as_its_thread_ends_harms_nobody() {
    let elsewhere = Hub::thread("elsewhere").start().unwrap();
    for round in 0..300u32 {
        let event = Arc::new(Event::new());
        let source = elsewhere
            .handle()
            .spawn({
                let event = event.clone();
                move || event.wait()
            })
            .unwrap();
        let source: GreenletRef = (*source).clone();
        thread::spawn(move || {
            run(|| {
                source.link(|_| sleep(SHORT));
                yield_now();
                event.set();
                (0..round * 7).for_each(|_| std::hint::spin_loop());
            });
        })
        .join()
        .unwrap();
    }
    elsewhere.shutdown();
}

#[test]
fn the_report_of_a_long_chain_is_short() {
    fn deep(links: u32) {
        if links == 0 {
            raise(Oops("bottom"));
        }
        greenlet_core::spawn_link(move || deep(links - 1));
        sleep(FOREVER);
    }
    run(|| {
        let failure = spawn(|| deep(2000)).get().unwrap_err().to_string();
        assert!(failure.contains("at the end of 2000 links: bottom") && failure.len() < 200, "{failure}");
    });
}
