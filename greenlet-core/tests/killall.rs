//! Killing several at once, and greenlets in every state.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread;

use greenlet_core::{
    Event, Greenlet, GreenletExit, GreenletRef, Hub, Kill, catch, current, killall, killall_with, run, sleep,
    spawn, spawn_later, with_timeout, yield_now,
};
use support::{FOREVER, OnDrop, Oops, SHORT, Tally, no_wait, settle, with};

/// One that waits for ever, and has begun to.
fn parked() -> Greenlet<()> {
    let greenlet = spawn(|| sleep(FOREVER));
    yield_now();
    greenlet
}

// --- every state, every way to kill ---------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
enum Way {
    Waits,
    DoesNotWait,
    AllWaits,
    AllDoesNotWait,
}

const WAYS: [Way; 4] = [Way::Waits, Way::DoesNotWait, Way::AllWaits, Way::AllDoesNotWait];

fn apply(way: Way, kill: Kill, greenlet: &GreenletRef) {
    match way {
        Way::Waits => drop(greenlet.kill_with(kill)),
        Way::DoesNotWait => drop(greenlet.kill_with(kill.no_wait())),
        Way::AllWaits => drop(killall_with([greenlet], kill)),
        Way::AllDoesNotWait => drop(killall_with([greenlet], kill.no_wait())),
    }
}

/// Kills one made by `make` in every way, with and without an error, and checks all that is promised of it.
fn kill_in_every_way(make: impl Fn(Rc<Cell<u32>>) -> Greenlet<()>) {
    run(|| {
        for way in WAYS {
            for exit in [true, false] {
                let kill = || if exit { Kill::default() } else { Kill::error(Oops("killed")) };
                let (ran, links) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
                let greenlet = make(ran.clone());
                greenlet.link({
                    let links = links.clone();
                    move |_| links.set(links.get() + 1)
                });
                let check = |moment: &str| {
                    let case = format!("{way:?}, exit: {exit}, {moment}");
                    assert!(greenlet.ready(), "{case}");
                    assert_eq!(greenlet.successful(), exit, "{case}");
                    assert_eq!(greenlet.exited(), exit, "{case}");
                    assert_eq!(greenlet.value(), None, "{case}");
                    assert_eq!(greenlet.exception().is_some(), !exit, "{case}");
                    assert!(greenlet.get().is_err(), "{case}");
                };
                apply(way, kill(), &greenlet);
                if matches!(way, Way::Waits | Way::AllWaits) {
                    check("when the kill returns");
                }
                settle();
                check("when all is settled");
                assert_eq!((ran.get(), links.get()), (0, 1), "{way:?}, exit: {exit}");
                apply(way, kill(), &greenlet);
                greenlet.start();
                sleep(SHORT);
                check("after a second kill and a start");
                assert_eq!((ran.get(), links.get()), (0, 1), "{way:?}, exit: {exit}");
            }
        }
    });
}

#[test]
fn one_that_was_not_started_is_killed_in_every_way() {
    kill_in_every_way(|ran| Greenlet::new(move || ran.set(1)));
}

#[test]
fn one_that_waits_for_its_first_turn_is_killed_in_every_way() {
    kill_in_every_way(|ran| spawn(move || ran.set(1)));
}

#[test]
fn one_that_waits_for_its_start_time_is_killed_in_every_way() {
    kill_in_every_way(|ran| spawn_later(SHORT, move || ran.set(1)));
}

#[test]
fn one_that_runs_is_killed_in_every_way() {
    kill_in_every_way(|ran| {
        let greenlet = spawn(move || {
            sleep(FOREVER);
            ran.set(1);
        });
        yield_now();
        greenlet
    });
}

#[test]
fn the_error_of_a_kill_reaches_the_victim_and_comes_back_from_get() {
    run(|| {
        let caught = spawn(|| catch(|| sleep(FOREVER)).unwrap_err().downcast_ref::<Oops>().copied());
        yield_now();
        caught.kill_with(Kill::error(Oops("the very one")));
        assert_eq!(caught.get().unwrap(), Some(Oops("the very one")));
        let before = spawn(|| ());
        before.kill_with(Kill::error(Oops("before")));
        assert_eq!(before.exception().unwrap().downcast_ref(), Some(&Oops("before")));
    });
}

#[test]
fn a_failure_may_be_handed_on_and_stays_the_same() {
    run(|| {
        let broken = spawn(|| {
            if true {
                panic!("broken")
            }
        });
        broken.join();
        let other = parked();
        other.kill_with(Kill::error(broken.exception().unwrap()));
        assert!(other.exception().unwrap().is_panic());
    });
}

/// A kill without waiting, then the end of the hub, before the victim's closure could be dropped in peace.
#[test]
fn one_that_is_killed_before_its_start_ends_though_its_hub_ends_meanwhile() {
    let tally = Tally::default();
    let kept = thread::spawn({
        let tally = tally.clone();
        move || {
            run(|| {
                let token = tally.token();
                let victim = spawn_later(FOREVER, move || drop(token));
                victim.interrupt(GreenletExit);
                yield_now();
                GreenletRef::clone(&victim)
            })
        }
    })
    .join()
    .unwrap();
    assert!(kept.exited());
    tally.assert_all_home();
}

/// A destructor that runs in whoever drops the last of something is that one's own code: what is raised there stays with it.
#[test]
fn a_kill_that_arrives_in_a_destructor_run_for_another_is_not_lost() {
    run(|| {
        type Slow = OnDrop<fn()>;
        let drops: [fn(Slow); 3] = [
            |slow| {
                // The closure of one that never runs.
                Greenlet::new(move || drop(slow)).kill();
            },
            |slow| drop(Greenlet::new(move || drop(slow))),
            |slow| {
                // The value of one that has ended.
                let done = spawn(|| slow);
                done.join();
                drop(done);
            },
        ];
        for (n, drops) in drops.into_iter().enumerate() {
            let slow: Slow = OnDrop(|| sleep(FOREVER));
            let victim = spawn(move || {
                drops(slow);
                yield_now();
                unreachable!("the kill was lost")
            });
            settle();
            victim.kill();
            assert!(victim.exited(), "{n}: {:?}", victim.exception());
            let slow: Slow = OnDrop(|| sleep(FOREVER));
            let late = spawn(move || {
                let late = with_timeout(SHORT, || drops(slow)).is_ok(); // forgotten with its block
                settle();
                late
            });
            assert!(late.get().is_ok(), "{n}");
        }
    });
}

// --- killall --------------------------------------------------------------------------------------------------------

#[test]
fn killall_ends_those_of_every_state_and_waits_for_their_destructors() {
    run(|| {
        let dropped = Rc::new(Cell::new(0));
        let slow = |dropped: &Rc<Cell<u32>>| {
            let dropped = dropped.clone();
            OnDrop(move || {
                settle();
                dropped.set(dropped.get() + 1);
            })
        };
        let (one, two, three) = (slow(&dropped), slow(&dropped), slow(&dropped));
        let running = spawn(move || {
            let _one = one;
            sleep(FOREVER)
        });
        yield_now();
        let finished = spawn(|| ());
        finished.join();
        let scheduled = spawn(move || drop(two));
        let new = Greenlet::new(move || drop(three));
        let all: [&GreenletRef; 4] = [&running, &finished, &scheduled, &new];
        killall(all);
        assert!(all.iter().all(|greenlet| greenlet.ready()));
        assert_eq!((dropped.get(), finished.exited()), (3, false));
    });
}

#[test]
fn killall_of_nobody_returns_at_once() {
    run(|| {
        let ran = Rc::new(Cell::new(false));
        with(&ran, |ran| ran.set(true));
        killall(std::iter::empty::<GreenletRef>());
        assert!(killall_with(Vec::<GreenletRef>::new(), no_wait()));
        assert!(!ran.get());
    });
}

#[test]
fn killall_raises_in_order_in_one_go() {
    run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let all: Vec<_> = (0..5)
            .map(|n| {
                with(&log, move |log| {
                    let _end = OnDrop(|| log.borrow_mut().push(n));
                    sleep(FOREVER)
                })
            })
            .collect();
        yield_now();
        let order = [3, 1, 4, 0, 2];
        killall_with(order.map(|n| &all[n]), no_wait());
        assert!(log.borrow().is_empty());
        with(&log, |log| log.borrow_mut().push(99)).join(); // queued behind the one go
        assert_eq!(*log.borrow(), [3, 1, 4, 0, 2, 99]);
    });
}

#[test]
fn killall_raises_once_in_one_that_is_there_twice() {
    run(|| {
        let raised = Rc::new(Cell::new(0));
        let survivor = with(&raised, |raised| {
            while catch(yield_now).is_ok() {}
            raised.set(1);
            if catch(settle).is_err() {
                raised.set(2);
            }
        });
        yield_now();
        killall([&survivor, &survivor, &survivor]);
        assert_eq!(raised.get(), 1);
    });
}

#[test]
fn the_limit_of_killall_is_for_all_together() {
    run(|| {
        let gate = Rc::new(Event::new());
        let survivor = || with(&gate, |gate| while catch(|| gate.wait()).is_err() {});
        let all = [survivor(), survivor(), parked()];
        assert!(!killall_with(&all, Kill::default().timeout(SHORT)));
        assert_eq!(all.each_ref().map(|greenlet| greenlet.ready()), [false, false, true]);
        assert!(!killall_with(&all, no_wait()));
        gate.set();
        assert!(killall_with(&all, Kill::default().timeout(FOREVER)));
    });
}

#[test]
fn who_kills_itself_among_others_is_raised_in_when_the_others_have_theirs() {
    run(|| {
        let others = Rc::new([parked(), parked()]);
        let killer = spawn({
            let others = others.clone();
            move || {
                let caught = catch(|| killall([&*others[0], &current(), &*others[1]]));
                let early = others.iter().any(|other| other.ready());
                others.iter().for_each(|other| other.join());
                (caught.is_err(), early)
            }
        });
        assert_eq!(killer.get().unwrap(), (true, false));
        let later = spawn(|| {
            let all_ended = killall_with([&current()], no_wait());
            (all_ended, catch(yield_now).is_err())
        });
        assert_eq!(later.get().unwrap(), (false, true));
    });
}

#[test]
fn a_kill_of_the_killer_ends_its_wait_and_the_raises_stand() {
    run(|| {
        let gate = Rc::new(Event::new());
        let survivor = with(&gate, |gate| drop(catch(|| sleep(FOREVER)).map(|()| gate.wait())));
        let stubborn = with(&gate, |gate| {
            drop(catch(|| sleep(FOREVER)));
            while catch(|| gate.wait()).is_err() {}
        });
        yield_now();
        let killer = spawn({
            let all = [GreenletRef::clone(&survivor), GreenletRef::clone(&stubborn)];
            move || killall(&all)
        });
        settle();
        killer.kill();
        assert!(killer.exited() && survivor.ready() && !stubborn.ready());
        gate.set();
        stubborn.join();
    });
}

#[test]
fn killall_reaches_several_hubs_from_anywhere() {
    let hubs = [Hub::thread("a").start().unwrap(), Hub::thread("b").start().unwrap()];
    let sleepers = || -> Vec<GreenletRef> {
        let on = |hub: &greenlet_core::HubThread| hub.handle().spawn(|| sleep(FOREVER)).unwrap();
        (0..10).flat_map(|_| hubs.each_ref().map(on)).map(|greenlet| GreenletRef::clone(&greenlet)).collect()
    };
    // From a plain thread.
    let all = sleepers();
    thread::scope(|threads| threads.spawn(|| killall(&all)).join().unwrap());
    assert!(all.iter().all(|greenlet| greenlet.exited()));
    // From a greenlet, with some of its own.
    run(|| {
        let mut all = sleepers();
        all.insert(3, GreenletRef::clone(&parked()));
        spawn({
            let all = all.clone();
            move || killall(&all)
        })
        .join();
        assert!(all.iter().all(|greenlet| greenlet.exited()));
    });
    hubs.into_iter().for_each(|hub| hub.shutdown());
}
