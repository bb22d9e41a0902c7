//! The coordinated end of a system.

mod nursery;
mod probe;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use greenlet_actor::{
    Actor, Exit, Shutdown, ShutdownReport, StartError, Supervisor, System, SystemHandle, supervisor,
    worker_local,
};
use greenlet_core::signal::{SIGALRM, SIGCONT, SIGUSR1, SIGWINCH, Signals};
use greenlet_core::{Event, Hub, sleep};
use nursery::{Census, Free, Order, free, noting, on_two_hubs, plain};
use probe::{Ask, Job, LONG, Log, Probe, no_disk, on_hub};

/// Little enough to wait for.
const BRIEF: Duration = Duration::from_millis(20);

fn paths(report: &ShutdownReport) -> Vec<&str> {
    report.late.iter().map(|late| &*late.path).collect()
}

#[test]
fn what_was_started_last_is_stopped_first() {
    on_hub(|| {
        let log = Log::new();
        let system = SystemHandle::current();
        for id in ["a", "b"] {
            let log = log.clone();
            system.supervise(id, move || Supervisor::one_for_one().child(noting(id, &log))).unwrap();
        }
        let plain = Probe::new().ends_in(&log).start_local().unwrap();
        assert!(system.stop_at_end(&plain, Shutdown::Timeout(LONG)));
        log.taken();
        let report = system.shutdown_within(LONG);
        assert_eq!((report.stopped, report.is_clean(), report.signal), (3, true, None));
        assert_eq!(log.taken(), ["terminate shutdown", "state dropped", "end b shutdown", "end a shutdown"]);
        assert_eq!(system.shutdown_within(LONG).stopped, 0, "once more finds nothing to do");
    });
}

#[test]
fn who_does_not_stop_in_time_is_killed_and_reported() {
    on_hub(|| {
        let log = Log::new();
        let system = SystemHandle::current();
        let first = log.clone();
        system.supervise("first", move || Supervisor::one_for_one().child(noting("a", &first))).unwrap();
        let stuck = || {
            let stuck = || worker_local("stuck", || Probe::new().trapping(|_, _, _| Ok(())));
            let inner = move || {
                Supervisor::one_for_one().child(plain("fine")).child(stuck().shutdown(Shutdown::Infinity))
            };
            Supervisor::one_for_one().child(supervisor("inner", inner))
        };
        let tree = system.supervise("second", stuck).unwrap();
        let stuck = tree.supervisor("inner").unwrap().child::<Job>("stuck").unwrap();
        stuck.suspend();
        let own_limit = Probe::new().trapping(|_, _, _| Ok(())).start_local().unwrap();
        own_limit.suspend();
        system.stop_at_end(&own_limit, Shutdown::Timeout(BRIEF));
        let report = system.shutdown_within(5 * BRIEF);
        assert_eq!(paths(&report), [own_limit.path(), "/second/inner/stuck".to_owned()]);
        assert!(report.late.iter().all(|late| late.gone));
        let said = report.to_string();
        assert!(said.contains("/second/inner/stuck did not stop in time and was killed"), "{said}");
        assert!(matches!(stuck.exit(), Some(Exit::Killed)) && tree.actor().ready());
        // The one that is stopped last has had its time all the same.
        assert_eq!(report.stopped, 1);
        assert_eq!(log.taken(), ["start a", "end a shutdown"]);
    });
}

#[test]
fn after_the_end_nothing_is_added() {
    on_hub(|| {
        let system = SystemHandle::current();
        system.shutdown_within(LONG);
        let refused = system.supervise("late", || Supervisor::one_for_one().child(plain("a")));
        assert!(matches!(refused, Err(StartError::Supervisor(Exit::Shutdown))));
        let actor = Probe::new().start_local().unwrap();
        assert!(!system.stop_at_end(&actor, Shutdown::BrutalKill));
    });
}

#[test]
fn a_tree_that_does_not_start_is_not_kept() {
    on_hub(|| {
        let system = SystemHandle::current();
        let bad =
            || Supervisor::one_for_one().child(worker_local("bad", || Probe::new().init(|_| Err(no_disk()))));
        assert!(matches!(system.supervise("tree", bad), Err(StartError::Child { id, .. }) if id == "bad"));
        assert_eq!(system.shutdown_within(LONG).stopped, 0);
    });
}

#[test]
fn what_has_ended_before_is_not_counted() {
    on_hub(|| {
        let system = SystemHandle::current();
        let tree = system.supervise("gone", Supervisor::one_for_one).unwrap();
        tree.shutdown();
        system.supervise("here", Supervisor::one_for_one).unwrap();
        assert_eq!(system.shutdown_within(LONG).stopped, 1);
    });
}

#[test]
fn handlers_that_are_suspended_on_other_hubs_are_ended() {
    on_two_hubs(|| {
        let census = Census::default();
        let system = SystemHandle::current();
        let children = census.clone();
        let ids = ["0", "1", "2", "3", "4", "5", "6", "7"];
        let tree = system
            .supervise("tree", move || {
                nursery::with(Supervisor::one_for_one(), ids.map(|id| free(id, &children)))
            })
            .unwrap();
        for id in ids {
            tree.child::<Order>(id).unwrap().send(Order::Block).unwrap();
        }
        let report = system.shutdown_within(LONG);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.stopped, 1);
        assert!(census.orphans().is_empty());
    });
}

#[test]
fn a_system_on_threads_of_its_own_is_ended_from_a_plain_thread() {
    let system = System::builder().hubs(2).start().unwrap();
    let census = Census::default();
    let children = census.clone();
    let tree =
        system.supervise("tree", move || Supervisor::one_for_one().child(free("a", &children))).unwrap();
    tree.child::<Order>("a").unwrap().send(Order::Block).unwrap();
    let report = system.shutdown_within(LONG);
    assert!(report.is_clean() && report.stopped == 1, "{report}");
    assert!(census.orphans().is_empty());
}

/// Sends the signal to this process.
fn raise(signal: &str) {
    let process = std::process::id().to_string();
    let sent = std::process::Command::new("kill").args([signal, &process]).status().expect("there is `kill`");
    assert!(sent.success());
}

#[test]
fn a_signal_ends_the_system_in_good_order() {
    let census = Census::default();
    let children = census.clone();
    let report = System::builder()
        .hubs(2)
        .run_until_signal([SIGUSR1], LONG, move || {
            let tree = SystemHandle::current()
                .supervise("tree", move || Supervisor::one_for_one().child(free("a", &children)))?;
            tree.child::<Order>("a").ok_or("no child")?.send(Order::Block).map_err(|_| "it has ended")?;
            std::thread::spawn(|| raise("-USR1"));
            Ok(())
        })
        .unwrap();
    assert_eq!((report.signal, report.stopped, report.is_clean()), (Some(SIGUSR1), 1, true));
    assert!(census.orphans().is_empty());
}

/// Sends a signal again and again, until this is dropped. It has to be one that is ignored by default: the last ones come when nobody waits any more.
struct Impatient(Arc<AtomicBool>);

impl Impatient {
    fn with(signal: &'static str) -> Impatient {
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                raise(signal);
                // Sooner than what counts as a second one, so that copies are among them.
                std::thread::sleep(BRIEF);
            }
        });
        Impatient(over)
    }
}

impl Drop for Impatient {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whose `terminate` has no end.
fn endless() -> Probe {
    Probe::new().terminate(|_, _| sleep(Duration::MAX))
}

#[test]
fn a_second_signal_gives_nobody_time_any_more() {
    for hubs in [1, 2] {
        let mut impatient = None;
        let report = System::builder().hubs(hubs).run_until_signal([SIGWINCH], Duration::MAX, || {
            let stuck = || worker_local("stuck", endless).shutdown(Shutdown::Infinity);
            let tree = move || Supervisor::one_for_one().child(stuck()).child(plain("fine"));
            SystemHandle::current().supervise("tree", tree)?;
            SystemHandle::current().supervise("fine", Supervisor::one_for_one)?;
            impatient = Some(Impatient::with("-WINCH"));
            Ok(())
        });
        let report = report.unwrap();
        assert_eq!((report.stopped, paths(&report)), (1, vec!["/tree/stuck"]));
        assert!(report.late[0].gone && report.signal == Some(SIGWINCH));
    }
}

#[test]
fn who_is_added_when_the_signal_has_come_gets_no_time_after_a_second_one_either() {
    let mut impatient = None;
    let report = System::builder().hubs(1).run_until_signal([SIGCONT], Duration::MAX, || {
        SystemHandle::current().supervise("tree", Supervisor::one_for_one)?;
        let stuck = endless().start_local()?;
        // Hears of the signal when the system does, and goes on right behind it.
        let signals = Signals::new([SIGCONT])?;
        greenlet_core::spawn(move || {
            signals.wait();
            assert!(SystemHandle::current().stop_at_end(&stuck, Shutdown::Infinity));
        });
        // Who watches a signal last is told last: when that one has heard of it, all others have been told.
        let (tell, told) = channel();
        let last = Hub::thread("the last to hear").start()?;
        let hears = last.handle().spawn(move || {
            let signals = Signals::new([SIGCONT]).unwrap();
            tell.send(()).unwrap();
            signals.wait();
            tell.send(()).unwrap();
        })?;
        told.recv()?;
        raise("-CONT");
        told.recv()?;
        drop(hears);
        impatient = Some(Impatient::with("-CONT"));
        Ok(())
    });
    let report = report.unwrap();
    // Those who would have been told after it were not.
    assert_eq!((report.stopped, report.late.len()), (0, 2), "{report}");
    assert!(report.late.iter().all(|late| late.gone), "{report}");
}

#[test]
fn a_system_whose_trees_have_all_ended_ends() {
    let report = System::builder()
        .hubs(1)
        .run_until_signal([SIGALRM], LONG, || {
            let tree = SystemHandle::current().supervise("tree", Supervisor::one_for_one)?;
            greenlet_core::spawn(move || tree.shutdown());
            Ok(())
        })
        .unwrap();
    assert_eq!((report.signal, report.stopped), (None, 0));
}

#[test]
fn a_start_that_fails_stops_what_had_started() {
    let census = Census::default();
    let children = census.clone();
    let failed = System::builder().hubs(1).run_until_signal([SIGALRM], LONG, move || {
        SystemHandle::current()
            .supervise("tree", move || Supervisor::one_for_one().child(free("a", &children)))?;
        Err("no network".into())
    });
    assert_eq!(failed.unwrap_err().to_string(), "no network");
    assert!(matches!(census.all()[0].exit(), Some(Exit::Shutdown)));
}

#[test]
fn a_system_ends_while_its_hubs_look_for_work() {
    for _ in 0..100 {
        on_two_hubs(|| {
            let census = Census::default();
            let actors: Vec<_> = (0..8).map(|_| Free(Some(census.clone())).spawn()).collect();
            for actor in &actors {
                actor.send(Order::Nothing).unwrap();
                actor.send(Order::Finish).unwrap();
            }
            let over = Event::new();
            over.wait_timeout(Duration::from_micros(50));
        });
    }
}
