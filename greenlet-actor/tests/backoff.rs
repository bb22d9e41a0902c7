//! Restarts that wait, in virtual time.

mod nursery;
mod probe;

use std::time::Duration;

use greenlet_actor::{
    Backoff, ChildSpec, ChildState, DynamicSpec, DynamicSupervisor, Exit, RestartChildError, StartChildError,
    Supervisor, worker_local,
};
use greenlet_core::{Instant, sim, sleep};
use nursery::{child, counter, crash, ids, noting, noting_failing, plain, state, states, with};
use probe::{Ask, Job, LONG, Log, Probe, no_disk};

const SECOND: Duration = Duration::from_secs(1);

fn backoff() -> Backoff {
    Backoff::new(SECOND, 8 * SECOND).reset_after(60 * SECOND)
}

/// Notes when it starts, in seconds of the test.
fn timed(id: &'static str, log: &Log, fails: impl Fn(u32) -> bool + 'static) -> ChildSpec {
    let (log, start, begun) = (log.clone(), counter(), Instant::now());
    worker_local(id, move || {
        log.note(begun.elapsed().as_secs_f64().round());
        let failing = fails(start());
        Probe::new().init(move |_| if failing { Err(no_disk()) } else { Ok(()) })
    })
}

#[test]
fn each_restart_waits_twice_as_long_as_the_one_before() {
    sim::run(1, || {
        let log = Log::new();
        let tree = Supervisor::one_for_one()
            .intensity(0, LONG) // for the others: these do not count
            .child(timed("a", &log, |_| false).backoff(backoff()))
            .start()
            .unwrap();
        for wait in [1, 2, 4, 8, 8] {
            crash(&tree, "a");
            assert_eq!(state(&tree, "a"), Some(ChildState::Restarting));
            assert!(tree.child::<Job>("a").is_none());
            sleep(wait * SECOND + SECOND / 10);
            assert_eq!(state(&tree, "a"), Some(ChildState::Running));
        }
        assert_eq!(log.taken(), ["0", "1", "3", "7", "15", "23"]);
    });
}

#[test]
fn a_child_that_was_well_for_long_begins_anew() {
    sim::run(1, || {
        let log = Log::new();
        let tree =
            Supervisor::one_for_one().child(timed("a", &log, |_| false).backoff(backoff())).start().unwrap();
        crash(&tree, "a");
        sleep(2 * SECOND);
        crash(&tree, "a");
        sleep(100 * SECOND);
        crash(&tree, "a");
        sleep(2 * SECOND);
        assert_eq!(log.taken(), ["0", "1", "4", "103"]);
    });
}

#[test]
fn starts_that_fail_wait_longer_too() {
    sim::run(1, || {
        let log = Log::new();
        let failing = timed("a", &log, |attempt| (2..5).contains(&attempt));
        let tree =
            Supervisor::one_for_one().intensity(0, LONG).child(failing.backoff(backoff())).start().unwrap();
        crash(&tree, "a");
        sleep(20 * SECOND);
        assert_eq!(log.taken(), ["0", "1", "3", "7", "15"]);
        assert_eq!(state(&tree, "a"), Some(ChildState::Running));
    });
}

#[test]
fn jitter_spreads_restarts() {
    sim::run(1, || {
        let log = Log::new();
        let tree = with(
            Supervisor::one_for_one(),
            ["a", "b", "c", "d", "e", "f"].map(|id| noting(id, &log).backoff(backoff().jitter(1.0))),
        );
        let tree = tree.start().unwrap();
        let all = ids(&tree);
        all.iter().for_each(|id| child(&tree, id).kill());
        sleep(SECOND / 2);
        let back = states(&tree).into_iter().filter(|(_, state)| *state == ChildState::Running).count();
        assert!((1..6).contains(&back), "{back} of 6 are back after half the time");
        sleep(SECOND);
        assert!(states(&tree).into_iter().all(|(_, state)| state == ChildState::Running));
    });
}

#[test]
fn a_supervisor_can_be_stopped_while_a_restart_waits() {
    sim::run(1, || {
        let log = Log::new();
        let tree = Supervisor::one_for_one()
            .child(noting("a", &log).backoff(backoff()))
            .child(noting("b", &log))
            .start()
            .unwrap();
        crash(&tree, "a");
        let begun = Instant::now();
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
        assert!(begun.elapsed() < SECOND);
        sleep(10 * SECOND);
        assert_eq!(log.taken(), ["start a", "start b", "end a no disk", "end b shutdown"]);
    });
}

#[test]
fn a_child_that_waits_for_its_restart_can_be_terminated() {
    sim::run(1, || {
        let log = Log::new();
        let tree = Supervisor::one_for_one().child(noting("a", &log).backoff(backoff())).start().unwrap();
        crash(&tree, "a");
        assert!(matches!(tree.restart_child("a"), Err(RestartChildError::Restarting)));
        assert!(matches!(tree.start_child(|| plain("a")), Err(StartChildError::AlreadyStarted(None))));
        tree.terminate_child("a").unwrap();
        sleep(10 * SECOND);
        assert_eq!(state(&tree, "a"), Some(ChildState::Stopped));
        assert_eq!(log.taken(), ["start a", "end a no disk"]);
        tree.restart_child("a").unwrap();
        assert_eq!(log.taken(), ["start a"]);
        sleep(10 * SECOND);
        assert!(log.taken().is_empty(), "it is not started twice");
    });
}

#[test]
fn siblings_that_share_its_fate_are_stopped_at_once_and_come_back_with_it() {
    sim::run(1, || {
        let log = Log::new();
        let tree = with(
            Supervisor::one_for_all().intensity(0, LONG),
            [
                noting("a", &log),
                noting_failing("b", &log, |attempt| attempt == 2).backoff(backoff()),
                noting("c", &log),
            ],
        );
        let tree = tree.start().unwrap();
        log.taken();
        crash(&tree, "b");
        assert_eq!(log.taken(), ["end b no disk", "end c shutdown", "end a shutdown"]);
        assert_eq!(state(&tree, "a"), Some(ChildState::Stopped));
        sleep(SECOND + SECOND / 2);
        assert_eq!(log.taken(), ["start a", "fail b"]);
        sleep(2 * SECOND);
        assert_eq!(log.taken(), ["end a shutdown", "start a", "start b", "start c"]);
    });
}

#[test]
fn a_group_that_restarts_meanwhile_makes_the_delay_void() {
    sim::run(1, || {
        let log = Log::new();
        let tree = with(
            Supervisor::rest_for_one().intensity(5, LONG),
            [noting("a", &log), noting("b", &log).backoff(backoff())],
        );
        let tree = tree.start().unwrap();
        log.taken();
        crash(&tree, "b");
        crash(&tree, "a");
        assert_eq!(log.taken(), ["end b no disk", "end a no disk", "start a", "start b"]);
        sleep(10 * SECOND);
        assert!(log.taken().is_empty(), "b is not started twice");
    });
}

#[test]
fn dynamic_children_wait_too() {
    sim::run(1, || {
        let log = Log::new();
        let children = DynamicSupervisor::new().intensity(0, LONG).backoff(backoff()).start().unwrap();
        let make = {
            let log = log.clone();
            move || {
                log.note("made");
                Probe::new()
            }
        };
        let first = children.start_spec(DynamicSpec::worker_local(make)).unwrap();
        for wait in [1, 2, 4] {
            let child = children.which_children().unwrap()[0].downcast::<Job>().unwrap();
            child.run(|_| Err(no_disk()));
            child.join();
            let counts = children.count_children().unwrap();
            assert_eq!((counts.specs, counts.active), (1, 0));
            sleep(wait * SECOND + SECOND / 10);
            assert_eq!(children.count_children().unwrap().active, 1);
        }
        assert_eq!(log.taken().len(), 4);
        assert!(first.ready());
        let last = children.which_children().unwrap()[0].clone();
        last.kill();
        // It is known by the actor that it was.
        children.terminate_child(&last).unwrap();
        sleep(20 * SECOND);
        assert!(log.taken().is_empty());
        assert_eq!(children.count_children().unwrap().specs, 0);
    });
}
