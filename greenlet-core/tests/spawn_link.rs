//! `spawn_link` and the rules of links to greenlets, and what is known of pending links.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;

use greenlet_core::{
    AsyncResult, Channel, Event, Greenlet, GreenletExit, GreenletRef, Hub, Kill, LinkedExited, Queue, Raised,
    catch, current, raise, run, sleep, spawn, spawn_link, spawn_link_exception, spawn_link_value,
    with_timeout, yield_now,
};
use support::{FOREVER, Oops, SHORT, Tally, no_wait, settle, until, with};

type Log = Rc<RefCell<Vec<String>>>;

fn note(log: &RefCell<Vec<String>>, line: impl Into<String>) {
    log.borrow_mut().push(line.into());
}

fn parked() -> Greenlet<()> {
    let greenlet = spawn(|| sleep(FOREVER));
    yield_now();
    greenlet
}

/// Which case was raised, and by whom.
fn case(raised: &Raised) -> (&'static str, GreenletRef) {
    match raised.downcast_ref::<LinkedExited>() {
        Some(LinkedExited::Completed(greenlet)) => ("completed", greenlet.clone()),
        Some(LinkedExited::Killed(greenlet)) => ("killed", greenlet.clone()),
        Some(LinkedExited::Failed(greenlet, _)) => ("failed", greenlet.clone()),
        other => panic!("{other:?}"),
    }
}

/// What a receiver that waits for a while hears of: nothing, or how who ended.
fn heard<T>(spawn: impl Fn() -> Greenlet<T>) -> Option<&'static str> {
    let mut greenlet = None;
    let outcome = catch(|| {
        greenlet = Some(spawn());
        settle();
    });
    let greenlet = greenlet.unwrap();
    outcome.err().map(|raised| {
        let (how, who) = case(&raised);
        assert_eq!(who, *greenlet.as_ref());
        how
    })
}

fn returns() {}
fn exits() {
    raise(GreenletExit)
}
fn fails() {
    raise(Oops("broken"))
}

#[test]
fn spawn_link_interrupts_its_spawner_however_it_ends() {
    run(|| {
        for (end, how) in [(returns as fn(), "completed"), (exits, "killed"), (fails, "failed")] {
            assert_eq!(heard(|| spawn_link(end)), Some(how), "in main");
            assert_eq!(spawn(move || heard(|| spawn_link(end))).get().unwrap(), Some(how), "in a greenlet");
        }
    });
}

#[test]
fn spawn_link_value_and_spawn_link_exception_interrupt_for_their_ends_only() {
    run(|| {
        let value = [(returns as fn(), Some("completed")), (exits, Some("killed")), (fails, None)];
        for (end, how) in value {
            assert_eq!(heard(|| spawn_link_value(end)), how);
        }
        let exception = [(returns as fn(), None), (exits, None), (fails, Some("failed"))];
        for (end, how) in exception {
            assert_eq!(heard(|| spawn_link_exception(end)), how);
        }
    });
}

#[test]
fn nothing_runs_between_the_spawn_and_the_link() {
    run(|| {
        let helper = spawn_link(returns);
        assert!(!helper.ready() && helper.has_links());
        assert!(catch(|| helper.join()).is_err() || catch(yield_now).is_err());
    });
}

#[test]
fn the_end_of_the_spawner_leaves_the_helper_alone() {
    run(|| {
        let helper = spawn(|| spawn_link(settle)).into_value().unwrap();
        helper.join();
        assert!(helper.successful() && !helper.exited());
    });
}

#[test]
fn a_link_from_spawn_link_is_taken_back() {
    run(|| {
        let helper = spawn_link(returns);
        helper.unlink_from(&current());
        assert!(!helper.has_links());
        settle();
        assert!(helper.ready());
    });
}

#[test]
fn a_link_is_delivered_later_and_once() {
    run(|| {
        let source = spawn_link(returns);
        source.join(); // has ended; the link is on its way
        assert!(catch(yield_now).is_err());
        settle();
    });
}

#[test]
fn linking_the_finished_to_oneself_raises_only_what_the_filter_lets_through() {
    run(|| {
        let (returned, killed, failed) = (spawn(returns), spawn(exits), spawn(fails));
        settle();
        let me = current();
        for (source, value, exception) in [
            (&returned, Some("completed"), None),
            (&killed, Some("killed"), None),
            (&failed, None, Some("failed")),
        ] {
            let how = |link: &dyn Fn()| catch(link).err().map(|raised| case(&raised).0);
            assert_eq!(how(&|| source.link_value_to(&me)), value);
            assert_eq!(how(&|| source.link_exception_to(&me)), exception);
            assert_eq!(how(&|| source.link_to(&me)), value.or(exception));
            assert!(!source.has_links());
        }
        settle();
    });
}

#[test]
fn a_receiver_that_waits_for_its_start_never_runs_and_fails_with_it() {
    run(|| {
        let source = parked();
        let receivers = [Greenlet::new(|| unreachable!("never runs")), spawn(|| unreachable!("never runs"))];
        let finished = spawn(returns);
        finished.join();
        for receiver in &receivers {
            source.link_to(receiver);
            finished.link_to(receiver);
        }
        let late = Greenlet::new(|| unreachable!("never runs"));
        finished.link_to(&late);
        settle();
        assert!(late.exception().unwrap().downcast_ref::<LinkedExited>().is_some());
        source.kill();
        settle();
        assert!(receivers[0].exception().unwrap().downcast_ref::<LinkedExited>().is_some());
    });
}

#[test]
fn a_failure_goes_along_a_chain_of_spawn_links() {
    run(|| {
        let bottom = spawn(|| {
            spawn_link(|| {
                spawn_link(fails);
                sleep(FOREVER)
            });
            sleep(FOREVER)
        });
        bottom.join();
        let failure = bottom.exception().unwrap();
        let Some(LinkedExited::Failed(_, middle)) = failure.downcast_ref() else { panic!("{failure}") };
        let Some(LinkedExited::Failed(_, top)) = middle.downcast_ref() else { panic!("{middle}") };
        assert_eq!(top.downcast_ref(), Some(&Oops("broken")));
    });
}

#[test]
fn messages_name_the_greenlet_and_its_end() {
    run(|| {
        let greenlet = spawn_link(returns);
        let raised = catch(settle).unwrap_err();
        assert_eq!(raised.to_string(), format!("linked greenlet {greenlet} completed"));
        let greenlet = spawn_link(exits);
        let raised = catch(settle).unwrap_err();
        assert_eq!(raised.to_string(), format!("linked greenlet {greenlet} was killed"));
        let greenlet = spawn_link(fails);
        let raised = catch(settle).unwrap_err();
        assert_eq!(raised.to_string(), format!("linked greenlet {greenlet} failed: broken"));
    });
}

#[test]
fn links_of_all_kinds_to_callbacks_and_greenlets_fire_in_the_order_in_which_they_were_made() {
    run(|| {
        let log = Log::default();
        let gate = Rc::new(Event::new());
        let source = with(&gate, |gate| gate.wait());
        let receiver = |n: usize| {
            let receiver = with(&log, move |log| {
                let raised = catch(|| sleep(FOREVER)).is_err();
                note(log, format!("{n} {raised}"));
            });
            source.link_to(&receiver);
            receiver
        };
        let call = |n: usize| {
            let log = log.clone();
            move |_: &Greenlet<()>| note(&log, format!("{n} called"))
        };
        receiver(0);
        source.link(call(1));
        source.rawlink(call(2));
        receiver(3);
        source.link_value(call(4));
        source.link_exception(call(99));
        receiver(5);
        source.rawlink(call(6));
        source.link(call(7));
        settle(); // the receivers wait
        gate.set();
        settle();
        let expected =
            ["0 true", "1 called", "2 called", "3 true", "4 called", "5 true", "6 called", "7 called"];
        assert_eq!(*log.borrow(), expected);
    });
}

// --- pending links ---------------------------------------------------------------------------------------------------

#[test]
fn has_links_tells_of_links_that_were_not_called_yet() {
    run(|| {
        let greenlet = parked();
        assert!(!greenlet.has_links());
        let links = [
            greenlet.link(|_| ()),
            greenlet.link_value(|_| ()),
            greenlet.link_exception(|_| ()),
            greenlet.rawlink(|_| ()),
        ];
        for link in &links {
            assert!(greenlet.has_links());
            assert!(greenlet.unlink(link));
            assert!(!greenlet.unlink(link));
        }
        assert!(!greenlet.has_links());
        greenlet.link_to(&current());
        assert!(greenlet.has_links());
        greenlet.unlink_from(&current());
        greenlet.link(|_| ());
        greenlet.kill();
        assert!(greenlet.has_links(), "it has ended, and the callback is queued");
        settle();
        assert!(!greenlet.has_links());
    });
}

#[test]
fn unlink_all_takes_back_links_of_all_kinds() {
    run(|| {
        let tally = Tally::default();
        let greenlet = parked();
        let call = || {
            let token = tally.token();
            move |_: &Greenlet<()>| unreachable!("{token:?} is called")
        };
        greenlet.link(call());
        greenlet.link_value(call());
        greenlet.link_exception(call());
        greenlet.rawlink(call());
        greenlet.link_to(&current());
        greenlet.unlink_all();
        assert!(!greenlet.has_links());
        tally.assert_all_home();
        greenlet.kill();
        settle();
        greenlet.unlink_all();
    });
}

#[test]
fn unlink_all_in_a_callback_stops_those_after_it() {
    run(|| {
        for raw in [false, true] {
            let log = Log::default();
            let greenlet = spawn(returns);
            for n in 0..4 {
                let log = log.clone();
                let call = move |ended: &Greenlet<()>| {
                    note(&log, n.to_string());
                    if n == 1 {
                        assert!(ended.has_links());
                        ended.unlink_all();
                        assert!(!ended.has_links());
                    }
                };
                if raw {
                    greenlet.rawlink(call)
                } else {
                    greenlet.link(call)
                };
            }
            settle();
            assert_eq!(*log.borrow(), ["0", "1"]);
        }
    });
}

#[test]
fn unlink_all_from_another_thread_drops_the_callbacks_at_home() {
    run(|| {
        let tally = Tally::default();
        let greenlet = parked();
        let token = tally.token();
        greenlet.link(move |_| unreachable!("{token:?} is called"));
        let elsewhere = GreenletRef::clone(&greenlet);
        thread::spawn(move || elsewhere.unlink_all()).join().unwrap();
        until(|| tally.dropped() == 1);
        assert!(!greenlet.has_links());
        tally.assert_all_home();
        greenlet.kill();
    });
}

#[test]
fn listeners_that_all_fail_are_each_called_once() {
    run(|| {
        for end in [returns as fn(), fails] {
            let log = Log::default();
            let greenlet = spawn(end);
            for n in 0..3 {
                let log = log.clone();
                greenlet.link(move |_| {
                    note(&log, n.to_string());
                    raise(Oops("listener"))
                });
            }
            settle();
            assert_eq!(*log.borrow(), ["0", "1", "2"]);
        }
    });
}

#[test]
fn a_listener_that_takes_the_next_one_back_prevents_its_call() {
    run(|| {
        let log = Log::default();
        let greenlet = spawn(returns);
        let next = Rc::new(RefCell::new(None));
        greenlet.link({
            let (log, next) = (log.clone(), next.clone());
            move |ended| {
                note(&log, "first");
                assert!(ended.unlink(next.borrow().as_ref().unwrap()));
            }
        });
        *next.borrow_mut() = Some(greenlet.link(|_| unreachable!("taken back")));
        let logged = log.clone();
        greenlet.link(move |_| note(&logged, "third"));
        settle();
        assert_eq!(*log.borrow(), ["first", "third"]);
    });
}

#[test]
fn late_links_set_results_fill_queues_and_wait_for_channels() {
    run(|| {
        let result = Rc::new(AsyncResult::new());
        let queue = Rc::new(Queue::unbounded());
        let done = spawn(|| 42);
        for _ in 0..3 {
            let (set, put) = (result.clone(), queue.clone());
            done.link_value(move |done| set.set(*done.value().unwrap()));
            done.link(move |done| put.put(done.clone()).unwrap());
            settle();
            assert_eq!(result.get().unwrap(), 42);
            assert_eq!(queue.get().unwrap().value(), Some(&42));
        }
        let channel = Rc::new(Channel::new());
        for n in 0..3 {
            let put = channel.clone();
            spawn(move || n).link(move |done| put.put(*done.value().unwrap()).unwrap());
        }
        let received: Vec<i32> = (0..3).map(|_| channel.get().unwrap()).collect();
        assert_eq!(received, [0, 1, 2]);
    });
}

#[test]
fn late_links_hand_the_same_failure_to_a_result() {
    run(|| {
        let failed = spawn(fails);
        failed.join();
        let failure = failed.exception().unwrap();
        for _ in 0..3 {
            let result = Rc::new(AsyncResult::<()>::new());
            let set = result.clone();
            failed.link_value(|_| unreachable!("it failed"));
            failed.link_exception(move |failed| set.set_exception(failed.exception().unwrap()));
            let Err(error) = result.get() else { panic!("it failed") };
            assert!(error.to_string().contains(&failure.to_string()), "{error}");
        }
    });
}

#[test]
fn a_link_to_a_receiver_elsewhere_raises_there_too() {
    let worker = Hub::thread("linked").start().unwrap();
    let receiver = worker.handle().spawn(|| sleep(FOREVER)).unwrap();
    run(|| {
        let source = spawn(fails);
        source.link_to(&receiver);
        source.join();
        receiver.join();
    });
    assert!(receiver.exception().unwrap().downcast_ref::<LinkedExited>().is_some());
    worker.shutdown();
}

#[test]
fn a_timeout_tells_a_link_from_its_own_raise() {
    run(|| {
        let outcome = catch(|| {
            with_timeout(FOREVER, || {
                spawn_link(returns);
                sleep(FOREVER)
            })
        });
        assert_eq!(case(&outcome.unwrap_err()).0, "completed");
        let source = parked();
        source.link_to(&current());
        assert!(with_timeout(SHORT, || sleep(FOREVER)).is_err());
        source.unlink_from(&current());
        source.kill_with(Kill::default());
        source.kill_with(no_wait());
    });
}
