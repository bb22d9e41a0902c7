//! `scoped`: a greenlet that lives no longer than a block.

mod support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use greenlet_core::{
    Event, Failure, Greenlet, GreenletError, GreenletExit, Kill, attempt, catch, raise, run, sleep, spawn,
    with_timeout, yield_now,
};
use support::{FOREVER, Oops, SHORT, no_wait, settle, with};

fn parked() -> Greenlet<()> {
    let greenlet = spawn(|| sleep(FOREVER));
    yield_now();
    greenlet
}

#[test]
fn the_block_waits_for_the_end() {
    run(|| {
        let greenlet = spawn(|| {
            settle();
            1
        });
        assert!(!greenlet.scoped(|greenlet| greenlet.ready()));
        assert_eq!(greenlet.value(), Some(&1));
        assert_eq!(greenlet.scoped(|greenlet| greenlet.value().copied()), Some(1));
    });
}

#[test]
fn a_failure_got_and_handled_in_the_block_stays_there() {
    run(|| {
        let greenlet: Greenlet<()> = spawn(|| raise(Oops("handled")));
        assert!(greenlet.scoped(|greenlet| greenlet.get()).is_err());
        assert!(greenlet.ready());
    });
}

#[test]
fn a_failure_of_the_greenlet_is_not_raised_at_the_end_of_the_block() {
    run(|| {
        let greenlet: Greenlet<()> = spawn(|| raise(Oops("its own")));
        assert_eq!(greenlet.scoped(|_| 1), 1);
        assert!(matches!(greenlet.get(), Err(GreenletError::Failed(_))));
    });
}

#[test]
fn when_the_join_is_raised_out_of_the_greenlet_is_killed() {
    run(|| {
        let greenlet = parked();
        assert!(with_timeout(SHORT, || greenlet.scoped(|_| ())).is_err());
        assert!(greenlet.exited());
        let greenlet = Rc::new(parked());
        let owner = with(&greenlet, |greenlet| greenlet.scoped(|_| ()));
        yield_now();
        owner.kill_with(Kill::error(Oops("owner")));
        assert_eq!(owner.exception().unwrap().downcast_ref(), Some(&Oops("owner")));
        assert!(greenlet.exited());
    });
}

#[test]
fn what_is_raised_in_the_block_fails_the_greenlet_too() {
    run(|| {
        for delay in [false, true] {
            let greenlet = if delay { parked() } else { spawn(|| sleep(FOREVER)) };
            let caught = catch(|| greenlet.scoped(|_| -> () { raise(Oops("both")) })).unwrap_err();
            assert_eq!(caught.downcast_ref(), Some(&Oops("both")));
            assert!(!greenlet.successful());
            assert_eq!(greenlet.exception().unwrap().downcast_ref(), Some(&Oops("both")));
        }
    });
}

#[test]
fn a_kill_of_the_block_kills_the_greenlet_as_well() {
    run(|| {
        let greenlet = Rc::new(parked());
        let owner = with(&greenlet, |greenlet| greenlet.scoped(|_| sleep(FOREVER)));
        yield_now();
        owner.kill();
        assert!(owner.exited() && greenlet.exited());
    });
}

#[test]
fn a_timeout_of_the_block_is_caught_outside_and_fails_the_greenlet() {
    run(|| {
        let greenlet = parked();
        assert!(with_timeout(SHORT, || greenlet.scoped(|_| sleep(FOREVER))).is_err());
        assert!(!greenlet.successful() && greenlet.exception().is_some());
    });
}

#[test]
fn a_panic_in_the_block_goes_on_and_fails_the_greenlet() {
    run(|| {
        let greenlet = parked();
        let payload = catch_unwind(AssertUnwindSafe(|| {
            greenlet.scoped(|_| {
                if true {
                    panic!("in the block")
                }
            })
        }));
        assert_eq!(payload.unwrap_err().downcast_ref(), Some(&"in the block"));
        let failure = greenlet.exception().unwrap();
        assert!(failure.is_panic() && failure.to_string().contains("in the block"));
        let greenlet = Rc::new(parked());
        let owner = with(&greenlet, |greenlet| {
            greenlet.scoped(|_| {
                if true {
                    panic!("again")
                }
            })
        });
        owner.join();
        let text = owner.exception().unwrap().to_string();
        assert!(text.contains("scoped.rs:") && text.contains("again"), "{text}");
    });
}

#[test]
fn a_failure_that_is_raised_in_the_block_is_the_same_in_the_greenlet() {
    run(|| {
        let greenlet = parked();
        let failed = attempt(|| greenlet.scoped(|_| -> () { Failure::new(Oops("handed on")).reraise() }));
        assert!(failed.is_err());
        assert_eq!(greenlet.exception().unwrap().downcast_ref(), Some(&Oops("handed on")));
    });
}

#[test]
fn one_that_survives_is_waited_for_until_another_raise() {
    run(|| {
        let gate = Rc::new(Event::new());
        let stubborn = Rc::new(with(&gate, |gate| while catch(|| gate.wait()).is_err() {}));
        let owner = with(&stubborn, |stubborn| stubborn.scoped(|_| -> () { raise(Oops("first")) }));
        settle();
        assert!(!owner.ready());
        owner.kill_with(Kill::error(Oops("second")));
        assert_eq!(owner.exception().unwrap().downcast_ref(), Some(&Oops("second")));
        gate.set();
        stubborn.join();
    });
}

#[test]
fn it_works_in_destructors_while_the_greenlet_unwinds() {
    run(|| {
        let done = Rc::new(Cell::new(false));
        let unwound = with(&done, |done| {
            let _guard = support::OnDrop(|| {
                let child = spawn(settle);
                child.scoped(|_| ());
                done.set(child.successful());
            });
            sleep(FOREVER)
        });
        yield_now();
        unwound.kill_with(no_wait());
        yield_now();
        unwound.kill_with(Kill::error(GreenletExit));
        assert!(done.get() && unwound.exited());
    });
}
