//! Ends and raises in the simulator: joins, links, kills, timeouts inside of timeouts, and the values that go with a
//! greenlet, with faults at every suspension point.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::sim::{self, Injected, Order, Sim, victim};
use greenlet_core::{
    Event, Greenlet, GreenletExit, GreenletRef, LinkedExited, Timeout, catch, current, greenlet_local,
    is_unwinding, joinall, joinall_timeout, raise, sleep, spawn, spawn_later, with_timeout, yield_now,
};
use support::torture::{at_every_point, below, one_in, pause, quiet, survive, torture};
use support::{FOREVER, OnDrop, Oops, Tally, Token};

// --- timeouts -----------------------------------------------------------------------------------------------------

/// Timeouts inside of each other, around one sleep: the shortest time wins, to the nanosecond.
fn nested(limits: &[u64], nap: u64) -> Result<(), usize> {
    match limits.split_first() {
        None => {
            sleep(Duration::from_nanos(nap));
            Ok(())
        }
        Some((&limit, inner)) => match with_timeout(Duration::from_nanos(limit), || nested(inner, nap)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(depth)) => Err(depth + 1),
            Err(late) => {
                assert_eq!(late.after(), Duration::from_nanos(limit), "its own");
                Err(0)
            }
        },
    }
}

#[test]
fn the_shortest_of_nested_timeouts_strikes() {
    Sim::new(0).order(Order::Random).spurious_rate(0.1).explore(0..1500, || {
        let members: Vec<_> = (0..3)
            .map(|_| {
                spawn(|| {
                    for _ in 0..4 {
                        // No two times are the same.
                        let mut times: Vec<_> = (0..5).map(|n| 1 + sim::random(50) * 5 + n).collect();
                        let nap = times.swap_remove(below(5));
                        let start = sim::now();
                        let result = nested(&times, nap);
                        let first = (0..4).min_by_key(|&depth| times[depth]).unwrap();
                        let expected = if nap < times[first] { Ok(()) } else { Err(first) };
                        assert_eq!(result, expected, "{times:?}, {nap}");
                        assert_eq!(sim::now() - start, Duration::from_nanos(nap.min(times[first])));
                    }
                })
            })
            .collect();
        joinall(&members);
        assert!(members.iter().all(|member| member.successful()));
    });
}

/// A timeout that lost against what it limits never strikes later.
fn limited_waits() {
    let event = Rc::new(Event::new());
    let members: Vec<_> = (0..3)
        .map(|_| {
            let event = event.clone();
            spawn(move || {
                for _ in 0..3 {
                    let limit = pause();
                    let start = sim::now();
                    let waited = survive(|| with_timeout(limit, || event.wait()));
                    if let Ok(Err(late)) = waited {
                        assert!(sim::now() - start >= limit && late.after() == limit);
                    }
                    // Not as a victim: nothing may strike here.
                    sleep(pause());
                    yield_now();
                }
            })
        })
        .collect();
    for _ in 0..3 {
        sleep(pause());
        event.set();
        if one_in(2) {
            event.clear();
        }
    }
    sleep(Duration::from_secs(100));
    event.set();
    joinall(&members);
    assert!(members.iter().all(|member| member.successful()));
}

#[test]
fn a_timeout_that_lost_never_strikes() {
    torture(2000, limited_waits);
    at_every_point(3, limited_waits);
}

/// In destructors that an unwinding runs, timeouts strike and kills do not.
fn limited_destructors() {
    let (entered, cleaned) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let members: Vec<_> = (0..3)
        .map(|_| {
            let (entered, cleaned) = (entered.clone(), cleaned.clone());
            spawn(move || {
                let _ = survive(|| {
                    let _slow = OnDrop(|| {
                        if !is_unwinding() {
                            return;
                        }
                        entered.set(entered.get() + 1);
                        let start = sim::now();
                        assert!(with_timeout(Duration::from_secs(5), || sleep(FOREVER)).is_err());
                        assert!(sim::now() - start >= Duration::from_secs(5));
                        let _ = victim(|| sleep(Duration::from_secs(1)));
                        cleaned.set(cleaned.get() + 1);
                    });
                    let timeout = Timeout::start_new(pause());
                    let raised = catch(|| sleep(FOREVER)).unwrap_err();
                    if !timeout.raised(&raised) {
                        raised.reraise();
                    }
                    sleep(pause());
                });
            })
        })
        .collect();
    sleep(pause());
    for member in &members {
        if one_in(3) {
            member.kill();
        }
    }
    joinall(&members);
    assert_eq!(cleaned.get(), entered.get(), "a destructor runs to its end");
}

#[test]
fn destructors_run_to_their_end() {
    torture(1500, limited_destructors);
    at_every_point(3, limited_destructors);
}

// --- ends ---------------------------------------------------------------------------------------------------------

/// A greenlet that ends in one way or another.
fn mortal(token: Token) -> Greenlet<usize> {
    let how = below(5);
    let live = move || {
        let _token = token;
        let _ = victim(|| sleep(pause()));
        let _slow = OnDrop(|| {
            if how == 0 {
                yield_now()
            }
        });
        match how {
            1 => raise(GreenletExit),
            2 => raise(Oops("on purpose")),
            _ => sleep(pause()),
        }
        how
    };
    match below(4) {
        0 => spawn_later(pause(), live),
        _ => spawn(live),
    }
}

/// It has ended for everybody at once, and in one way.
fn assert_ended(greenlet: &Greenlet<usize>) {
    assert!(greenlet.ready());
    let ends = [greenlet.value().is_some(), greenlet.exited(), greenlet.exception().is_some()];
    assert_eq!(ends.iter().filter(|end| **end).count(), 1, "{greenlet:?}");
    if let Some(failure) = greenlet.exception() {
        assert!(failure.downcast_ref::<Oops>().is_some() || failure.downcast_ref::<Injected>().is_some());
    }
}

fn joins() {
    let tally = Tally::default();
    let mortals: Rc<Vec<_>> = Rc::new((0..3).map(|_| mortal(tally.token())).collect());
    let joiners: Vec<_> = (0..3)
        .map(|_| {
            let mortals = mortals.clone();
            spawn(move || {
                let one = &mortals[below(3)];
                let (start, limit) = (sim::now(), pause());
                match below(6) {
                    0 if survive(|| one.join()).is_ok() => assert_ended(one),
                    1 => match survive(|| one.join_timeout(limit)) {
                        Ok(true) => assert_ended(one),
                        Ok(false) => assert!(!one.ready() || sim::now() - start >= limit),
                        Err(_) => {}
                    },
                    2 if survive(|| joinall(mortals.iter())).is_ok() => mortals.iter().for_each(assert_ended),
                    3 if matches!(survive(|| joinall_timeout(mortals.iter(), limit)), Ok(true)) => {
                        mortals.iter().for_each(assert_ended);
                    }
                    4 if survive(|| one.kill()).is_ok() => assert_ended(one),
                    5 => drop(survive(|| one.get())),
                    _ => {}
                }
            })
        })
        .collect();
    joinall(&joiners);
    assert!(joiners.iter().all(|joiner| joiner.successful()));
    joinall(mortals.iter());
    mortals.iter().for_each(assert_ended);
    drop(joiners);
    quiet();
    tally.assert_all_home();
}

#[test]
fn whoever_joins_finds_the_end() {
    torture(2500, joins);
    at_every_point(4, joins);
}

fn links() {
    let tally = Tally::default();
    let called = Rc::new(RefCell::new(Vec::new()));
    let source = mortal(tally.token());
    let links: Vec<_> = (0..5)
        .map(|n| {
            let (called, token) = (called.clone(), tally.token());
            let call = move |ended: &GreenletRef| {
                let _token = &token;
                assert!(ended.ready());
                called.borrow_mut().push(n);
            };
            let plain: &GreenletRef = &source;
            let (kind, id) = match below(4) {
                0 => (0, plain.link(call)),
                1 => (0, plain.rawlink(call)),
                2 => (1, plain.link_value(call)),
                _ => (2, plain.link_exception(call)),
            };
            let taken_back = one_in(5) && source.unlink(&id);
            (kind, taken_back)
        })
        .collect();
    if one_in(3) {
        sleep(pause());
        source.kill_with(support::no_wait());
    }
    source.join();
    quiet();
    let wanted = |kind| match kind {
        0 => true,
        1 => source.successful(),
        _ => !source.successful(),
    };
    let expected: Vec<_> = (0..5).filter(|&n| !links[n].1 && wanted(links[n].0)).collect();
    assert_eq!(*called.borrow(), expected, "each once, in the order in which they were made");
    quiet();
    tally.assert_all_home();
}

#[test]
fn links_are_called_once_and_in_order() {
    torture(2000, links);
    at_every_point(4, links);
}

fn linked_greenlets() {
    let tally = Tally::default();
    let source = mortal(tally.token());
    let receivers: Vec<_> = (0..3)
        .map(|n| {
            let source = source.clone();
            let token = tally.token();
            spawn(move || {
                let _token = token;
                let raised = catch(|| {
                    match n {
                        0 => source.link_to(&current()),
                        1 => source.link_value_to(&current()),
                        _ => source.link_exception_to(&current()),
                    }
                    // A fault here is of the simulation, and not from the link.
                    while survive(|| sleep(Duration::from_secs(60))).is_err_and(|struck| !is_link(&struck)) {}
                });
                (n, raised.is_err())
            })
        })
        .collect();
    joinall(&receivers);
    source.join();
    drop(source);
    drop(receivers);
    quiet();
    tally.assert_all_home();
}

fn is_link(struck: &support::torture::Struck) -> bool {
    match struck {
        support::torture::Struck::Raised(raised) => raised.is::<LinkedExited>(),
        support::torture::Struck::Late(_) => false,
    }
}

#[test]
fn the_end_of_a_linked_greenlet_is_raised() {
    torture(1500, linked_greenlets);
    at_every_point(3, linked_greenlets);
    // Without faults: exactly those hear of it who asked for such an end.
    sim::explore(0..500, || {
        let fails = one_in(2);
        let source = spawn(move || {
            sleep(Duration::from_secs(1));
            if fails {
                raise(Oops("on purpose"));
            }
        });
        let hears = |link: fn(&GreenletRef, &GreenletRef)| {
            let source = source.clone();
            spawn(move || {
                let raised = catch(|| {
                    link(&source, &current());
                    sleep(Duration::from_secs(60));
                });
                raised.is_err_and(|raised| raised.is::<LinkedExited>())
            })
        };
        let heard = [
            hears(GreenletRef::link_to),
            hears(GreenletRef::link_value_to),
            hears(GreenletRef::link_exception_to),
        ];
        let heard = heard.map(|receiver| receiver.get().unwrap());
        assert_eq!(heard, [true, !fails, fails]);
    });
}

// --- locals -------------------------------------------------------------------------------------------------------

thread_local! {
    static DROPS: Cell<usize> = const { Cell::new(0) };
    static MADE: Cell<usize> = const { Cell::new(0) };
}

struct Mine(Cell<usize>);

impl Drop for Mine {
    fn drop(&mut self) {
        // It may suspend, and is dropped once all the same.
        yield_now();
        DROPS.set(DROPS.get() + 1);
    }
}

greenlet_local! {
    static MINE: Mine = {
        MADE.set(MADE.get() + 1);
        Mine(Cell::new(0))
    };
}

fn locals() {
    let members: Vec<_> = (0..4)
        .map(|n| {
            spawn(move || {
                for round in 0..3 {
                    MINE.with(|mine| {
                        assert!(round == 0 || mine.0.get() == n + 1, "everybody has their own");
                        mine.0.set(n + 1);
                    });
                    let _ = victim(|| sleep(pause()));
                }
            })
        })
        .collect();
    joinall(&members);
    quiet();
    assert_eq!((MADE.get(), DROPS.get()), (4, 4), "made once and dropped once");
}

#[test]
fn locals_end_with_their_greenlet() {
    torture(1000, locals);
    at_every_point(3, locals);
}

// --- many hands ---------------------------------------------------------------------------------------------------

/// Greenlets that kill each other, at random, all the time.
fn feud() {
    let tally = Tally::default();
    let all: Rc<RefCell<Vec<GreenletRef>>> = Rc::default();
    for _ in 0..5 {
        let (others, token) = (all.clone(), tally.token());
        let member = spawn(move || {
            let _token = token;
            for _ in 0..4 {
                let other = others.borrow()[below(5)].clone();
                match below(5) {
                    0 => other.kill(),
                    1 => drop(other.kill_with(support::no_wait())),
                    2 => drop(other.join_timeout(pause())),
                    3 => drop(survive(|| sleep(pause()))),
                    _ => drop(catch(|| sleep(pause()))),
                }
            }
        });
        all.borrow_mut().push(GreenletRef::clone(&member));
    }
    let members = all.borrow().clone();
    for member in &members {
        while !member.join_timeout(Duration::from_secs(100)) {
            member.kill_with(support::no_wait());
        }
    }
    all.borrow_mut().clear();
    quiet();
    tally.assert_all_home();
}

#[test]
fn a_feud_ends_and_leaves_nothing_behind() {
    torture(2500, feud);
    at_every_point(3, feud);
}
