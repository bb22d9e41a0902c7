//! Dynamic supervisors.

mod nursery;
mod probe;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenlet_actor::{
    Actor, ActorRef, Context, DynamicRef, DynamicSpec, DynamicSupervisor, Exit, Reply, Restart, Shutdown,
    StartChildError, Supervisor, TerminateChildError, supervisor,
};
use greenlet_core::yield_now;
use nursery::{Census, Free, Order, free, on_two_hubs};
use probe::{Ask, Elsewhere, LONG, Log, Probe, no_disk, on_hub};

/// Comes back when the supervisor has dealt with all ends so far.
fn settle(children: &DynamicRef) -> usize {
    children.count_children().unwrap().active
}

fn any_intensity() -> DynamicSupervisor {
    DynamicSupervisor::new().intensity(usize::MAX, LONG)
}

#[test]
fn children_come_go_and_are_counted() {
    on_hub(|| {
        let children = DynamicSupervisor::new().start().unwrap();
        let log = Log::new();
        let started: Vec<_> = (0..3)
            .map(|_| {
                let log = log.clone();
                children.start_spec(DynamicSpec::worker_local(move || Probe::new().ends_in(&log))).unwrap()
            })
            .collect();
        let counts = children.count_children().unwrap();
        assert_eq!((counts.specs, counts.active, counts.workers, counts.supervisors), (3, 3, 3, 0));
        children.terminate_child(&started[1]).unwrap();
        assert!(started[1].ready());
        assert_eq!(log.taken(), ["terminate shutdown", "state dropped"]);
        let error = children.terminate_child(&started[1]).unwrap_err();
        assert!(matches!(error, TerminateChildError::NotFound));
        let mut left: Vec<_> =
            children.which_children().unwrap().into_iter().map(|child| child.id()).collect();
        left.sort();
        assert_eq!(left, [started[0].id(), started[2].id()]);
        assert!(matches!(children.shutdown(), Exit::Shutdown));
        assert!(started.iter().all(ActorRef::ready));
    });
}

#[test]
fn each_child_is_restarted_as_it_says() {
    on_hub(|| {
        for (restart, after_failure, after_end) in
            [(Restart::Permanent, 1, 1), (Restart::Transient, 1, 0), (Restart::Temporary, 0, 0)]
        {
            for (order, expected) in [(Order::Fail, after_failure), (Order::Finish, after_end)] {
                let children = any_intensity().restart(restart).start().unwrap();
                let child = children.start_child(|| Free(None)).unwrap();
                child.send(order).unwrap();
                child.join();
                assert_eq!(settle(&children), expected, "{restart:?} {order:?}");
                let own = children
                    .start_spec(DynamicSpec::worker(|| Free(None)).restart(Restart::Temporary))
                    .unwrap();
                own.send(Order::Fail).unwrap();
                own.join();
                assert_eq!(settle(&children), expected, "its own setting wins");
            }
        }
    });
}

#[test]
fn a_restarted_child_has_the_argument_of_its_start() {
    struct Named(String);
    enum Say {
        Name(Reply<String>),
        Fail,
    }
    impl Actor for Named {
        type Message = Say;
        fn receive(&mut self, say: Say, _: &mut Context<Self>) -> Result<(), Exit> {
            match say {
                Say::Name(reply) => reply.send(self.0.clone()),
                Say::Fail => return Err(no_disk()),
            }
            Ok(())
        }
    }
    on_hub(|| {
        let children = any_intensity().start().unwrap();
        let template = children.template(|name: &String| Named(name.clone()));
        let anna = template.start_child("Anna".to_owned()).unwrap();
        let ben = template.start_child("Ben".to_owned()).unwrap();
        anna.send(Say::Fail).unwrap();
        anna.join();
        settle(&children);
        let all = children.which_children().unwrap();
        let mut names: Vec<_> =
            all.iter().map(|child| child.downcast::<Say>().unwrap().call(Say::Name).unwrap()).collect();
        names.sort();
        assert_eq!(names, ["Anna", "Ben"]);
        assert!(!ben.ready());
    });
}

#[test]
fn too_many_restarts_of_all_together_end_the_supervisor() {
    on_hub(|| {
        let children = DynamicSupervisor::new().intensity(2, LONG).start().unwrap();
        let all: Vec<_> = (0..4).map(|_| children.start_child(|| Free(None)).unwrap()).collect();
        for child in &all[..2] {
            child.send(Order::Fail).unwrap();
            child.join();
        }
        assert_eq!(settle(&children), 4);
        all[2].send(Order::Fail).unwrap();
        assert!(matches!(children.join(), Exit::Shutdown));
        assert!(all[3].ready());
    });
}

#[test]
fn there_are_no_more_children_than_there_may_be() {
    on_hub(|| {
        let children = DynamicSupervisor::new().max_children(2).start().unwrap();
        let first = children.start_child(|| Free(None)).unwrap();
        children.start_child(|| Free(None)).unwrap();
        let refused = children.start_child(|| Free(None)).unwrap_err();
        assert!(matches!(refused, StartChildError::MaxChildren(2)), "{refused}");
        children.terminate_child(&first).unwrap();
        children.start_child(|| Free(None)).unwrap();
    });
}

#[test]
fn a_child_that_does_not_start_is_not_kept() {
    on_hub(|| {
        let children = DynamicSupervisor::new().start().unwrap();
        let failing = || Probe::new().init(|_| Err(no_disk()));
        let failed = children.start_spec(DynamicSpec::worker_local(failing)).unwrap_err();
        assert_eq!(failed.to_string(), "the child failed to start: no disk");
        let ignoring = || Probe::new().init(|_| Err(Exit::Ignore));
        let ignored = children.start_spec(DynamicSpec::worker_local(ignoring)).unwrap_err();
        assert!(matches!(ignored, StartChildError::Ignored));
        let panicking = || -> Free { panic!("cannot be made") };
        assert!(matches!(children.start_child(panicking), Err(StartChildError::Failed(Exit::Failed(_)))));
        assert_eq!(children.count_children().unwrap().specs, 0);
    });
}

#[test]
fn a_restart_that_fails_is_tried_again_and_counts() {
    on_hub(|| {
        let children = DynamicSupervisor::new().intensity(3, LONG).start().unwrap();
        let attempts = Arc::new(AtomicU32::new(0));
        let make = {
            let attempts = attempts.clone();
            move || {
                let attempt = attempts.fetch_add(1, Ordering::SeqCst) + 1;
                Probe::new().init(move |_| if attempt > 1 { Err(no_disk()) } else { Ok(()) })
            }
        };
        let child = children.start_spec(DynamicSpec::worker_local(make)).unwrap();
        child.run(|_| Err(no_disk()));
        assert!(matches!(children.join(), Exit::Shutdown));
        assert_eq!(attempts.load(Ordering::SeqCst), 4, "the first start, and three restarts");
    });
}

#[test]
fn children_are_stopped_at_the_same_time_each_with_its_own_limit() {
    on_hub(|| {
        let log = Log::new();
        let children = DynamicSupervisor::new().shutdown(Shutdown::Infinity).start().unwrap();
        let all_told = Arc::new(AtomicU32::new(0));
        // Each ends when all have been told.
        for _ in 0..3 {
            let told = all_told.clone();
            let make = move || {
                let told = told.clone();
                Probe::new().terminate(move |_, _| {
                    told.fetch_add(1, Ordering::SeqCst);
                    while told.load(Ordering::SeqCst) < 3 {
                        yield_now();
                    }
                })
            };
            children.start_spec(DynamicSpec::worker_local(make)).unwrap();
        }
        let stuck = || Probe::new().trapping(|_, _, _| Ok(()));
        let limited = DynamicSpec::worker_local(stuck).shutdown(Shutdown::Timeout(Duration::from_millis(5)));
        let limited = children.start_spec(limited).unwrap();
        limited.suspend();
        let brutal = {
            let log = log.clone();
            DynamicSpec::worker_local(move || Probe::new().ends_in(&log)).shutdown(Shutdown::BrutalKill)
        };
        let brutal = children.start_spec(brutal).unwrap();
        assert!(matches!(children.shutdown(), Exit::Shutdown));
        assert!(matches!([limited.exit(), brutal.exit()], [Some(Exit::Killed), Some(Exit::Killed)]));
        assert_eq!(log.taken(), ["state dropped"]);
    });
}

#[test]
fn supervisors_can_be_children_and_dynamic_ones_can_be_in_a_tree() {
    on_hub(|| {
        let census = Census::default();
        let tree = Supervisor::one_for_one().child(supervisor("dynamic", any_intensity)).start().unwrap();
        let children = tree.dynamic("dynamic").unwrap();
        let sub = {
            let census = census.clone();
            children.start_supervisor(move || Supervisor::one_for_one().child(free("a", &census))).unwrap()
        };
        assert_eq!(children.count_children().unwrap().supervisors, 1);
        let a = sub.child::<Order>("a").unwrap();
        assert!(a.path().starts_with("/supervisor/dynamic/<"), "{}", a.path());
        tree.shutdown();
        assert!(census.orphans().is_empty());
    });
}

#[test]
fn a_child_may_start_another() {
    on_hub(|| {
        let children = DynamicSupervisor::new().start().unwrap();
        let first = children.start_spec(DynamicSpec::worker_local(Probe::new)).unwrap();
        let siblings = children.clone();
        first.run(move |_| {
            siblings.start_child(|| Free(None)).unwrap();
            Ok(())
        });
        first.settle();
        assert_eq!(settle(&children), 2);
    });
}

#[test]
fn children_are_started_from_any_thread() {
    on_hub(|| {
        let children = DynamicSupervisor::new().start().unwrap();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let children = children.clone();
                Elsewhere::spawn(move || {
                    for _ in 0..20 {
                        children.start_child(|| Free(None)).unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(Elsewhere::join);
        assert_eq!(settle(&children), 60);
    });
}

fn thousands_crash_and_come_back(count: usize) {
    let census = Census::default();
    let children = any_intensity().start().unwrap();
    let all: Vec<_> = (0..count)
        .map(|_| {
            let census = census.clone();
            children.start_child(move || Free(Some(census.clone()))).unwrap()
        })
        .collect();
    for child in &all {
        child.send(Order::Fail).unwrap();
    }
    for child in &all {
        child.join();
    }
    // On another hub a join may return before the supervisor has heard.
    while settle(&children) < count || census.all().len() < 2 * count {
        yield_now();
    }
    assert_eq!(census.all().len(), 2 * count);
    children.shutdown();
    assert!(census.orphans().is_empty());
}

#[test]
fn thousands_of_children_crash_and_come_back() {
    on_hub(|| thousands_crash_and_come_back(3000));
}

#[test]
fn on_two_hubs_thousands_of_children_crash_and_come_back() {
    on_two_hubs(|| thousands_crash_and_come_back(3000));
}

/// Kills the supervisor after so many turns, while children start, crash and are stopped.
fn kill_after(turns: usize) {
    let census = Census::default();
    let children = any_intensity().start().unwrap();
    let spec = {
        let census = census.clone();
        move || Free(Some(census.clone()))
    };
    let all: Vec<_> = (0..3).map(|_| children.start_child(spec.clone()).unwrap()).collect();
    all[0].send(Order::Fail).unwrap();
    all[1].send(Order::Block).unwrap();
    let starting = greenlet_core::spawn({
        let (children, stopped) = (children.clone(), all[1].clone());
        move || {
            drop(children.start_child(spec));
            drop(children.terminate_child(&stopped));
        }
    });
    for _ in 0..turns {
        yield_now();
    }
    children.actor().kill();
    assert!(census.orphans().is_empty(), "after {turns} turns {:?} are left", census.orphans());
    starting.join();
    assert!(census.orphans().is_empty(), "after {turns} turns {:?} are left", census.orphans());
}

#[test]
fn a_supervisor_killed_at_any_moment_leaves_no_orphan() {
    on_hub(|| (0..40).for_each(kill_after));
    on_two_hubs(|| (0..200).for_each(|turns| kill_after(turns % 20)));
}
