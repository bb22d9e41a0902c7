//! Timeouts.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use greenlet_core::{
    Event, GreenletExit, Kill, Queue, TimedOut, Timeout, catch, raise, run, sleep, spawn, with_timeout,
    yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Oops, SHORT, settle};

/// Waits until a timer that was started before, and is not longer than `SHORT`, has fired, however busy the machine is.
fn past_short() {
    // Timers fire in the order of their deadlines.
    sleep(2 * SHORT);
}

// --- with_timeout -------------------------------------------------------------------------------------------------

#[test]
fn with_timeout_returns_the_value_or_that_it_was_late() {
    run(|| {
        assert_eq!(with_timeout(GENEROUS, || 5), Ok(5));
        assert_eq!(with_timeout(FOREVER, || 5), Ok(5));
        assert_eq!(
            with_timeout(Duration::ZERO, || 5),
            Ok(5),
            "code that does not suspend is not interrupted"
        );
        let late = with_timeout(SHORT, || sleep(FOREVER)).unwrap_err();
        assert_eq!(late.after(), SHORT);
        assert!(with_timeout(Duration::ZERO, || sleep(FOREVER)).is_err());
    });
}

#[test]
fn a_late_call_is_unwound() {
    run(|| {
        let dropped = Rc::new(Cell::new(false));
        let late = with_timeout(SHORT, || {
            let _guard = OnDrop(|| dropped.set(true));
            sleep(FOREVER);
        });
        assert!(late.is_err() && dropped.get());
    });
}

#[test]
fn the_outer_timeout_passes_through_the_inner_one() {
    run(|| {
        let inner_returned = Rc::new(Cell::new(false));
        let outer = with_timeout(SHORT, || {
            let inner = with_timeout(GENEROUS, || sleep(FOREVER));
            inner_returned.set(true);
            inner
        });
        assert_eq!(outer.unwrap_err().after(), SHORT);
        assert!(!inner_returned.get());
    });
}

#[test]
fn the_inner_timeout_does_not_reach_the_outer_one() {
    run(|| {
        let outer = with_timeout(GENEROUS, || {
            let inner = with_timeout(SHORT, || sleep(FOREVER));
            yield_now();
            inner
        });
        assert_eq!(outer.unwrap().unwrap_err().after(), SHORT);
    });
}

#[test]
fn timeouts_of_the_same_length_are_told_apart() {
    run(|| {
        // The outer one started first, so it fires first.
        let outer = with_timeout(SHORT, || with_timeout(SHORT, || with_timeout(SHORT, || sleep(FOREVER))));
        assert!(outer.is_err());
    });
}

#[test]
fn a_timeout_that_fired_with_the_wake_up_lets_the_wake_up_win_and_does_not_come_later() {
    run(|| {
        let event = Rc::new(Event::new());
        let waiter = spawn({
            let event = event.clone();
            move || {
                let waited = with_timeout(SHORT, || event.wait());
                settle();
                sleep(SHORT);
                waited
            }
        });
        yield_now();
        // Both are due before the waiter has a turn: the wake-up was queued first.
        thread::sleep(4 * SHORT);
        event.set();
        assert_eq!(waiter.get().unwrap(), Ok(()));
    });
}

#[test]
fn a_loser_does_not_leak_into_later_waits() {
    run(|| {
        for _ in 0..50 {
            let event = Rc::new(Event::new());
            let waiter = spawn({
                let event = event.clone();
                move || {
                    let _ = with_timeout(Duration::from_micros(50), || event.wait());
                    past_short();
                    let queue = Queue::<u8>::unbounded();
                    assert!(queue.get_timeout(Duration::ZERO).is_err());
                    settle();
                }
            });
            yield_now();
            event.set();
            assert!(waiter.get().is_ok(), "{:?}", waiter.exception());
        }
    });
}

#[test]
fn a_timeout_that_fires_while_a_kill_unwinds_is_forgotten() {
    run(|| {
        let caught = Rc::new(RefCell::new(Vec::new()));
        let victim = spawn({
            let caught = caught.clone();
            move || {
                let raised = catch(|| {
                    with_timeout(SHORT, || {
                        let _guard = OnDrop(past_short);
                        sleep(FOREVER)
                    })
                });
                caught.borrow_mut().push(raised.unwrap_err().is::<GreenletExit>());
                let later = catch(|| sleep(SHORT));
                caught.borrow_mut().push(later.is_ok());
            }
        });
        yield_now();
        victim.kill_with(Kill::default().no_wait());
        victim.join();
        assert_eq!(*caught.borrow(), [true, true]);
    });
}

#[test]
fn with_timeout_lets_panics_and_raises_pass() {
    run(|| {
        let raised = catch(|| with_timeout(GENEROUS, || raise(Oops("inside")))).unwrap_err();
        assert!(raised.is::<Oops>());
        let panics = spawn(|| {
            with_timeout(GENEROUS, || {
                if true {
                    panic!("inside")
                }
            })
            .unwrap()
        });
        panics.join();
        assert!(panics.exception().unwrap().is_panic());
    });
}

#[test]
fn a_survivor_that_swallows_the_timeout_goes_on_without_it() {
    run(|| {
        let result = with_timeout(SHORT, || {
            let raised = catch(|| sleep(FOREVER)).unwrap_err();
            past_short();
            raised.is::<TimedOut>()
        });
        assert_eq!(result, Ok(true));
    });
}

#[test]
fn with_timeout_works_in_a_destructor_that_an_unwinding_runs() {
    run(|| {
        let late = Rc::new(Cell::new(0));
        let victim = spawn({
            let late = late.clone();
            move || {
                let _guard = OnDrop(move || {
                    let nested = with_timeout(GENEROUS, || with_timeout(SHORT, || sleep(FOREVER)));
                    late.set(late.get() + u32::from(nested.is_ok_and(|inner| inner.is_err())));
                    late.set(late.get() + u32::from(with_timeout(SHORT, || Event::new().wait()).is_err()));
                    assert_eq!(with_timeout(GENEROUS, || sleep(SHORT)), Ok(()));
                });
                sleep(FOREVER);
            }
        });
        yield_now();
        assert!(victim.kill_with(Kill::default().timeout(GENEROUS)));
        assert_eq!(late.get(), 2);
    });
}

#[test]
fn with_timeout_works_in_the_destructor_of_a_value_past_the_code() {
    run(|| {
        let late = Rc::new(Cell::new(false));
        let noted = late.clone();
        let ended = spawn(move || OnDrop(move || noted.set(with_timeout(SHORT, || sleep(FOREVER)).is_err())));
        let watch: greenlet_core::GreenletRef = (*ended).clone();
        // Nobody asks for the value any more, so the greenlet drops it.
        drop(ended);
        yield_now();
        assert!(!watch.ready());
        watch.kill_with(Kill::default().no_wait());
        watch.join();
        assert!(late.get() && watch.successful());
    });
}

#[test]
fn a_timeout_from_outside_waits_until_a_destructor_is_through() {
    run(|| {
        let through = Rc::new(Cell::new(false));
        let victim = spawn({
            let through = through.clone();
            move || {
                let outer = with_timeout(SHORT, || {
                    let _guard = OnDrop(move || {
                        past_short();
                        through.set(true);
                    });
                    raise(Oops("unwinds"))
                });
                outer.unwrap_or_else(|late: TimedOut| raise(late))
            }
        });
        victim.join();
        assert!(through.get());
        assert_eq!(victim.exception().unwrap().downcast_ref(), Some(&Oops("unwinds")));
    });
}

#[test]
fn a_queue_that_times_out_keeps_what_comes_later() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        assert!(with_timeout(SHORT, || queue.get()).is_err());
        queue.put(3).unwrap();
        settle();
        assert_eq!(queue.len(), 1);
    });
}

#[test]
fn with_timeout_works_in_main_and_on_a_plain_thread() {
    run(|| assert!(with_timeout(SHORT, || sleep(FOREVER)).is_err()));
    thread::spawn(|| assert!(with_timeout(SHORT, || sleep(FOREVER)).is_err())).join().unwrap();
}

// --- Timeout ------------------------------------------------------------------------------------------------------

#[test]
fn a_timeout_raises_in_the_greenlet_that_started_it() {
    run(|| {
        let other = spawn(|| sleep(FOREVER));
        let timeout = Timeout::start_new(SHORT);
        assert!(timeout.pending());
        let raised = catch(|| sleep(FOREVER)).unwrap_err();
        assert!(timeout.raised(&raised) && !timeout.pending());
        assert_eq!(raised.downcast_ref::<TimedOut>().unwrap().after(), SHORT);
        assert!(!other.ready());
    });
}

#[test]
fn a_timeout_knows_its_own_raise() {
    run(|| {
        let (short, long) = (Timeout::start_new(SHORT), Timeout::start_new(GENEROUS));
        let raised = catch(|| sleep(FOREVER)).unwrap_err();
        assert!(short.raised(&raised) && !long.raised(&raised));
        assert!(long.pending(), "the other one is still pending");
    });
}

#[test]
fn a_timeout_may_raise_an_error_of_ones_own() {
    run(|| {
        let timeout = Timeout::with_error(SHORT, Oops("too slow"));
        timeout.start();
        let raised = catch(|| sleep(FOREVER)).unwrap_err();
        assert!(timeout.raised(&raised));
        assert_eq!(raised.downcast_ref(), Some(&Oops("too slow")));
    });
}

#[test]
fn an_uncaught_timeout_fails_the_greenlet() {
    run(|| {
        let greenlet = spawn(|| {
            let _timeout = Timeout::start_new(SHORT);
            sleep(FOREVER);
        });
        greenlet.join();
        assert!(greenlet.exception().unwrap().downcast_ref::<TimedOut>().is_some());
    });
}

#[test]
fn a_timeout_that_is_not_started_or_cancelled_or_dropped_never_fires() {
    run(|| {
        let unstarted = Timeout::new(Duration::ZERO);
        let cancelled = Timeout::start_new(SHORT);
        cancelled.cancel();
        cancelled.cancel();
        drop(Timeout::start_new(SHORT));
        past_short();
        assert!(!unstarted.pending() && !cancelled.pending());
    });
}

#[test]
fn a_timeout_that_was_cancelled_after_it_was_queued_is_not_raised() {
    run(|| {
        let greenlet = spawn(|| {
            // Due at the next look at the timers, which comes before this greenlet's next turn.
            let timeout = Timeout::start_new(Duration::ZERO);
            let busy = spawn(|| (0..200).for_each(|_| yield_now()));
            let raised = catch(|| busy.join());
            drop(timeout);
            settle();
            raised.is_err()
        });
        assert!(greenlet.get().unwrap());
        let cancelled = spawn(|| {
            let timeout = Timeout::start_new(Duration::ZERO);
            thread::sleep(SHORT);
            timeout.cancel();
            settle();
            sleep(SHORT);
        });
        assert!(cancelled.get().is_ok());
    });
}

#[test]
fn a_timeout_can_be_started_again_after_it_fired_and_after_it_was_cancelled() {
    run(|| {
        let timeout = Timeout::new(SHORT);
        for _ in 0..3 {
            timeout.start();
            assert!(timeout.raised(&catch(|| sleep(FOREVER)).unwrap_err()));
            timeout.start();
            timeout.cancel();
            past_short();
        }
    });
}

#[test]
fn a_restart_moves_the_timeout_to_the_greenlet_that_restarts_it() {
    run(|| {
        let timeout = Rc::new(Timeout::new(SHORT));
        timeout.start();
        timeout.cancel();
        let greenlet = spawn({
            let timeout = timeout.clone();
            move || {
                timeout.start();
                timeout.raised(&catch(|| sleep(FOREVER)).unwrap_err())
            }
        });
        assert!(greenlet.get().unwrap());
    });
}

#[test]
fn starting_a_pending_timeout_panics() {
    run(|| {
        let greenlet = spawn(|| {
            let timeout = Timeout::start_new(GENEROUS);
            timeout.start();
        });
        greenlet.join();
        assert!(greenlet.exception().unwrap().to_string().contains("pending already"));
    });
}

#[test]
fn a_timeout_started_in_the_loop_panics_there() {
    run(|| {
        let started = Rc::new(Cell::new(false));
        let greenlet = spawn(|| ());
        greenlet.rawlink({
            let started = started.clone();
            move |_| {
                let _timeout = Timeout::start_new(SHORT);
                started.set(true);
            }
        });
        greenlet.join();
        past_short();
        assert!(!started.get());
    });
}

#[test]
fn a_timeout_of_a_greenlet_that_ended_fires_at_nobody() {
    run(|| {
        let kept = Rc::new(RefCell::new(None));
        let greenlet = spawn({
            let kept = kept.clone();
            move || *kept.borrow_mut() = Some(Timeout::start_new(SHORT))
        });
        greenlet.join();
        past_short();
        assert!(!kept.borrow().as_ref().unwrap().pending());
        assert!(greenlet.get().is_ok());
    });
}

#[test]
fn a_timeout_is_not_affected_by_a_kill_that_its_greenlet_survives() {
    run(|| {
        let greenlet = spawn(|| {
            let timeout = Timeout::start_new(SHORT);
            let killed = catch(|| sleep(FOREVER)).unwrap_err();
            let late = catch(|| sleep(FOREVER)).unwrap_err();
            (killed.is::<GreenletExit>(), timeout.raised(&late))
        });
        yield_now();
        greenlet.kill_with(Kill::default().no_wait());
        assert_eq!(greenlet.get().unwrap(), (true, true));
    });
}

#[test]
fn a_timeout_may_outlive_its_hub_in_a_thread_local() {
    thread_local!(static KEPT: RefCell<Option<Timeout>> = const { RefCell::new(None) });
    let ended = thread::spawn(|| {
        KEPT.with(|kept| *kept.borrow_mut() = Some(Timeout::new(GENEROUS)));
        run(|| {
            KEPT.with(|kept| kept.borrow().as_ref().unwrap().start());
            yield_now();
        });
    });
    assert!(ended.join().is_ok());
}

// --- gevent's forms -----------------------------------------------------------------------------------------------

#[test]
fn run_starts_the_timeout_unless_it_is_pending_and_cancels_it_at_the_end() {
    run(|| {
        let timeout = Timeout::new(SHORT);
        for _ in 0..2 {
            let late = timeout.run(|| sleep(FOREVER)).unwrap_err();
            assert!(timeout.raised(&late) && late.is::<TimedOut>() && !timeout.pending());
            assert!(timeout.run(|| timeout.pending()).unwrap(), "in time");
            assert!(!timeout.pending());
        }
        timeout.start();
        assert!(timeout.run(|| sleep(FOREVER)).is_err(), "started before, and still this one's");
        past_short();
    });
}

#[test]
fn run_returns_the_error_of_ones_own_and_lets_others_pass() {
    run(|| {
        let own = Timeout::with_error(SHORT, Oops("too slow"));
        assert_eq!(own.run(|| sleep(FOREVER)).unwrap_err().downcast_ref(), Some(&Oops("too slow")));
        let long = Timeout::new(GENEROUS);
        let raised = catch(|| long.run(|| raise(Oops("mine")))).unwrap_err();
        assert_eq!(raised.downcast_ref(), Some(&Oops("mine")));
        assert!(!long.pending(), "cancelled on the way out");
        let victim = spawn(move || drop(Timeout::new(GENEROUS).run(|| sleep(FOREVER))));
        yield_now();
        victim.kill();
        assert!(victim.exited());
    });
}

#[test]
fn run_may_be_cancelled_inside() {
    run(|| {
        let timeout = Timeout::new(SHORT);
        timeout
            .run(|| {
                timeout.cancel();
                past_short();
            })
            .unwrap();
    });
}

#[test]
fn a_run_inside_a_run_of_the_same_timeout_is_caught_by_the_inner_one() {
    run(|| {
        let timeout = Timeout::new(SHORT);
        let outer = timeout.run(|| timeout.run(|| sleep(FOREVER)).is_err());
        assert!(outer.unwrap());
    });
}

#[test]
fn nested_timeouts_are_told_apart_by_identity() {
    // (outer, inner): which one fires, and what is pending then.
    run(|| {
        for (outer_first, silent) in [(true, false), (true, true), (false, false), (false, true)] {
            let (short, long) = (SHORT, GENEROUS);
            let (outer, inner) = if outer_first {
                (Timeout::new(short), Timeout::new(long))
            } else {
                (Timeout::new(long), Timeout::new(short))
            };
            let inner_was_late = Cell::new(None);
            let ended = outer.run(|| {
                let ended = inner.run(|| {
                    let raised = catch(|| sleep(FOREVER)).unwrap_err();
                    assert_eq!((outer.raised(&raised), inner.raised(&raised)), (outer_first, !outer_first));
                    assert_eq!((outer.pending(), inner.pending()), (!outer_first, outer_first));
                    raised.reraise()
                });
                inner_was_late.set(Some(ended.is_err()));
                if !silent {
                    assert!(ended.is_err_and(|raised: greenlet_core::Raised| inner.raised(&raised)));
                }
            });
            assert_eq!(ended.is_err(), outer_first, "the inner one swallows its own only");
            assert_eq!(inner_was_late.get(), (!outer_first).then_some(true));
            assert!(!outer.pending() && !inner.pending());
        }
    });
}

#[test]
fn a_timeout_of_zero_fires_at_the_next_wait_and_not_where_nobody_waits() {
    run(|| {
        let zero = Timeout::new(Duration::ZERO);
        assert!(zero.run(|| sleep(FOREVER)).is_err());
        assert!(
            zero.run(|| loop {
                yield_now()
            })
            .is_err(),
            "yielding is waiting, too"
        );
        let (queue, event) = (Queue::unbounded(), Event::new());
        queue.put(1).unwrap();
        event.set();
        let ready = zero.run(|| {
            event.wait();
            queue.get().unwrap()
        });
        assert_eq!(ready.unwrap(), 1, "what is there need not be waited for");
    });
}

#[test]
fn a_timeout_that_never_fires_is_pending_all_the_same() {
    run(|| {
        let never = Timeout::never();
        assert_eq!(never.after(), FOREVER);
        never.run(|| assert!(never.pending())).unwrap();
        never.start();
        past_short();
        assert!(never.pending());
        never.close();
    });
}

#[test]
fn a_closed_timeout_does_not_fire() {
    run(|| {
        Timeout::start_new(SHORT).close();
        past_short();
    });
}

#[test]
fn a_timeout_shows_its_length_and_its_error() {
    run(|| {
        assert_eq!(Timeout::new(Duration::from_secs(1)).to_string(), "1s");
        assert_eq!(Timeout::new(Duration::from_millis(1500)).to_string(), "1.5s");
        assert_eq!(Timeout::new(Duration::ZERO).to_string(), "0ns");
        assert_eq!(Timeout::never().to_string(), "never");
        let own = Timeout::with_error(Duration::from_secs(1), Oops("too slow"));
        assert_eq!(own.to_string(), "1s: too slow");
        own.start();
        assert_eq!(format!("{own:?}"), "Timeout { after: 1s, pending: true }");
        assert!(Timeout::new(SHORT).after() < own.after());
        let late = Timeout::new(SHORT).run(|| sleep(FOREVER)).unwrap_err();
        assert_eq!(late.to_string(), "timed out after 1ms");
    });
}

#[test]
fn no_reference_to_the_error_is_kept_afterwards() {
    #[derive(Debug, thiserror::Error)]
    #[error("counted")]
    struct Counted(#[allow(dead_code)] std::sync::Arc<()>);

    run(|| {
        let count = std::sync::Arc::new(());
        let late = Timeout::with_error(SHORT, Counted(count.clone())).run(|| sleep(FOREVER));
        assert!(late.is_err());
        drop(late);
        Timeout::with_error(GENEROUS, Counted(count.clone())).run(yield_now).unwrap();
        settle();
        assert_eq!(std::sync::Arc::strong_count(&count), 1);
    });
}

#[test]
fn run_works_in_a_destructor_that_an_unwinding_runs() {
    run(|| {
        let told = Rc::new(Cell::new(false));
        let late = told.clone();
        let victim = spawn(move || {
            let _guard = support::OnDrop(|| late.set(Timeout::new(SHORT).run(|| sleep(FOREVER)).is_err()));
            sleep(FOREVER);
        });
        yield_now();
        victim.kill();
        assert!(told.get());
    });
}

#[test]
fn run_with_a_timeout_that_another_greenlet_started_leaves_it_to_that_one() {
    run(|| {
        let timeout = Rc::new(Timeout::new(SHORT));
        let starter = support::with(&timeout, |timeout| {
            timeout.start();
            // In a destructor that an unwinding runs, where a raise from outside has to wait.
            let _guard = OnDrop(past_short);
            raise(GreenletExit)
        });
        let other = support::with(&timeout, |timeout| timeout.run(past_short).is_ok());
        assert!(other.get().unwrap());
        starter.join();
        assert!(starter.exited());
    });
}

#[test]
fn a_program_that_only_yields_is_timed_out() {
    run(|| {
        assert!(
            with_timeout(SHORT, || loop {
                yield_now()
            })
            .is_err()
        )
    });
}
