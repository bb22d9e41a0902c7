//! Who is restarted with whom, who takes the supervisor along, and what can be done to children from outside.

mod nursery;
mod probe;

use std::time::Duration;

use greenlet_actor::{
    Actor, ActorBuilder, AutoShutdown, ChildSpec, ChildState, DeleteChildError, Exit, Restart,
    RestartChildError, Shutdown, StartChildError, StartError, Supervisor, SupervisorRef, TerminateChildError,
    supervisor, worker_local,
};
use greenlet_core::{spawn, yield_now};
use nursery::{
    Census, Order, child, comes_back, counter, crash, end, free, ids, noting, noting_failing, on_two_hubs,
    plain, state, states, with,
};
use probe::{Ask, Job, LONG, Log, Probe, no_disk, on_hub};

fn started(tree: Supervisor, specs: impl IntoIterator<Item = ChildSpec>) -> SupervisorRef {
    with(tree.intensity(1, LONG), specs).start().unwrap()
}

// --- who is restarted with whom ----------------------------------------------------------------------------------

#[test]
fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    on_hub(|| {
        let log = Log::new();
        let tree = started(Supervisor::one_for_all(), ["a", "b", "c"].map(|id| noting(id, &log)));
        log.taken();
        crash(&tree, "b");
        assert_eq!(
            log.taken(),
            ["end b no disk", "end c shutdown", "end a shutdown", "start a", "start b", "start c"]
        );
    });
}

#[test]
fn rest_for_one_restarts_the_child_and_those_after_it() {
    on_hub(|| {
        let log = Log::new();
        let tree = started(Supervisor::rest_for_one(), ["a", "b", "c", "d"].map(|id| noting(id, &log)));
        let a = child(&tree, "a");
        log.taken();
        crash(&tree, "b");
        assert_eq!(
            log.taken(),
            ["end b no disk", "end d shutdown", "end c shutdown", "start b", "start c", "start d"]
        );
        assert!(a == child(&tree, "a"));
    });
}

#[test]
fn one_failure_is_one_event_however_many_are_restarted() {
    on_hub(|| {
        let tree = started(Supervisor::one_for_all(), ["a", "b", "c", "d", "e"].map(plain));
        crash(&tree, "a"); // five restarts, of which one may be
        assert!(states(&tree).iter().all(|(_, state)| *state == ChildState::Running));
        crash(&tree, "e");
        assert!(matches!(tree.join(), Exit::Shutdown));
    });
}

#[test]
fn children_that_fail_together_are_one_event_if_they_share_their_fate() {
    on_hub(|| {
        let tree = started(Supervisor::one_for_all(), ["a", "b", "c"].map(plain));
        let all = ["a", "b", "c"].map(|id| child(&tree, id));
        all[0].link(&all[1]);
        all[1].link(&all[2]);
        crash(&tree, "b");
        assert!(states(&tree).iter().all(|(_, state)| *state == ChildState::Running));
    });
}

#[test]
fn temporary_siblings_are_forgotten_and_not_restarted() {
    on_hub(|| {
        let log = Log::new();
        let temporary = || noting("t", &log).restart(Restart::Temporary);
        let tree = started(Supervisor::one_for_all(), [noting("a", &log), temporary(), noting("b", &log)]);
        log.taken();
        crash(&tree, "b");
        assert_eq!(log.taken(), ["end b no disk", "end t shutdown", "end a shutdown", "start a", "start b"]);
        assert_eq!(ids(&tree), ["a", "b"]);
        assert!(tree.start_child(|| plain("t")).is_ok(), "its id is free");
    });
}

#[test]
fn a_temporary_child_that_fails_takes_nobody_along() {
    on_hub(|| {
        for strategy in [Supervisor::one_for_all, Supervisor::rest_for_one] {
            let log = Log::new();
            let temporary = noting("t", &log).restart(Restart::Temporary);
            let tree = started(strategy(), [temporary, noting("a", &log)]);
            log.taken();
            crash(&tree, "t");
            assert_eq!(log.taken(), ["end t no disk"]);
        }
    });
}

#[test]
fn siblings_that_were_stopped_come_back_with_the_others() {
    on_hub(|| {
        let transient = plain("done").restart(Restart::Transient);
        let tree = started(Supervisor::one_for_all(), [transient, plain("stopped"), plain("a")]);
        end(&tree, "done", |child| child.stop());
        tree.terminate_child("stopped").unwrap();
        assert_eq!(state(&tree, "done"), Some(ChildState::Stopped));
        crash(&tree, "a");
        assert!(states(&tree).iter().all(|(_, state)| *state == ChildState::Running));
    });
}

#[test]
fn a_restart_of_all_that_fails_stops_those_that_came_up_and_starts_all_again() {
    on_hub(|| {
        let log = Log::new();
        let specs = [noting("a", &log), noting_failing("b", &log, |attempt| attempt == 2), noting("c", &log)];
        let tree = with(Supervisor::one_for_all().intensity(2, LONG), specs).start().unwrap();
        log.taken();
        crash(&tree, "c");
        comes_back(&tree, "c");
        assert_eq!(
            log.taken(),
            [
                "end c no disk",
                "end b shutdown",
                "end a shutdown",
                "start a",
                "fail b",
                "end a shutdown",
                "start a",
                "start b",
                "start c"
            ]
        );
        crash(&tree, "a"); // the third event
        assert!(matches!(tree.join(), Exit::Shutdown));
    });
}

#[test]
fn a_restart_of_the_rest_that_fails_goes_on_from_where_it_failed() {
    on_hub(|| {
        let log = Log::new();
        let specs = [noting("a", &log), noting_failing("b", &log, |attempt| attempt == 2), noting("c", &log)];
        let tree = with(Supervisor::rest_for_one().intensity(2, LONG), specs).start().unwrap();
        log.taken();
        crash(&tree, "a");
        comes_back(&tree, "c");
        assert_eq!(
            log.taken(),
            ["end a no disk", "end c shutdown", "end b shutdown", "start a", "fail b", "start b", "start c"]
        );
    });
}

#[test]
fn a_group_that_never_comes_up_again_exhausts_the_intensity() {
    on_hub(|| {
        let log = Log::new();
        let specs = [noting("a", &log), noting_failing("b", &log, |attempt| attempt > 1)];
        let tree = with(Supervisor::one_for_all().intensity(3, LONG), specs).start().unwrap();
        log.taken();
        child(&tree, "a").kill();
        assert!(matches!(tree.join(), Exit::Shutdown));
        let fails = log.taken().into_iter().filter(|line| line == "fail b").count();
        assert_eq!(fails, 3);
    });
}

// --- significant children ----------------------------------------------------------------------------------------

fn significant(id: &'static str) -> ChildSpec {
    plain(id).restart(Restart::Transient).significant()
}

#[test]
fn any_significant_child_that_ends_by_itself_ends_the_supervisor() {
    on_hub(|| {
        let log = Log::new();
        let tree = started(
            Supervisor::one_for_one().auto_shutdown(AutoShutdown::AnySignificant),
            [noting("a", &log), significant("s"), significant("t")],
        );
        child(&tree, "t").stop();
        assert!(matches!(tree.join(), Exit::Shutdown));
        assert_eq!(log.taken(), ["start a", "end a shutdown"]);
    });
}

#[test]
fn the_last_significant_child_ends_the_supervisor_if_all_must_have_ended() {
    on_hub(|| {
        let temporary = plain("t").restart(Restart::Temporary).significant();
        let tree = started(
            Supervisor::one_for_one().auto_shutdown(AutoShutdown::AllSignificant),
            [plain("a"), significant("s"), temporary],
        );
        crash(&tree, "t");
        assert_eq!(ids(&tree), ["a", "s"]);
        crash(&tree, "s"); // restarted
        child(&tree, "s").stop();
        assert!(matches!(tree.join(), Exit::Shutdown));
    });
}

#[test]
fn a_significant_child_that_its_supervisor_stops_does_not_end_it() {
    on_hub(|| {
        let auto = || Supervisor::one_for_all().auto_shutdown(AutoShutdown::AnySignificant);
        let temporary = plain("t").restart(Restart::Temporary).significant();
        let tree = started(auto(), [plain("a"), significant("s"), temporary]);
        tree.terminate_child("s").unwrap();
        crash(&tree, "a"); // and with it all others
        assert_eq!(ids(&tree), ["a", "s"]);
        assert_eq!(state(&tree, "s"), Some(ChildState::Running));
    });
}

#[test]
fn what_cannot_be_significant_is_refused() {
    on_hub(|| {
        let auto = || Supervisor::one_for_one().auto_shutdown(AutoShutdown::AnySignificant);
        let permanent = || plain("p").significant();
        let error = auto().child(permanent()).start().unwrap_err();
        assert!(matches!(&error, StartError::Significant { id, .. } if id == "p"), "{error}");
        let error = Supervisor::one_for_one().child(significant("s")).start().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"child "s" is significant, but its supervisor never shuts down with its children"#
        );
        let tree = auto().start().unwrap();
        let refused = tree.start_child(|| plain("p").significant());
        assert!(matches!(refused, Err(StartChildError::Refused(StartError::Significant { .. }))));
    });
}

#[test]
fn a_supervisor_that_shut_down_by_itself_is_not_restarted_if_it_is_transient() {
    on_hub(|| {
        let sub = || {
            let auto = Supervisor::one_for_one().auto_shutdown(AutoShutdown::AnySignificant);
            auto.child(significant("s"))
        };
        let tree = started(Supervisor::one_for_one(), [supervisor("sub", sub).restart(Restart::Transient)]);
        let sub = tree.supervisor("sub").unwrap();
        child(&sub, "s").stop();
        sub.join();
        assert_eq!(state(&tree, "sub"), Some(ChildState::Stopped));
    });
}

// --- ignore and shutdown with a term -------------------------------------------------------------------------------

fn ignoring(id: &'static str, ignores: impl Fn(u32) -> bool + 'static) -> ChildSpec {
    let start = counter();
    worker_local(id, move || {
        let ignored = ignores(start());
        Probe::new().init(move |_| if ignored { Err(Exit::Ignore) } else { Ok(()) })
    })
}

#[test]
fn a_child_that_ignores_its_start_is_kept_without_an_actor() {
    on_hub(|| {
        let temporary = ignoring("t", |_| true).restart(Restart::Temporary);
        let tree = started(
            Supervisor::one_for_one(),
            [plain("a"), ignoring("i", |attempt| attempt == 1), temporary],
        );
        assert_eq!(
            states(&tree),
            [("a".to_owned(), ChildState::Running), ("i".to_owned(), ChildState::Stopped)]
        );
        assert!(tree.child::<Job>("i").is_none());
        assert!(tree.restart_child("i").unwrap().is_some(), "this time it has something to do");
        assert!(tree.start_child(|| ignoring("j", |_| true)).unwrap().is_none());
        assert_eq!(state(&tree, "j"), Some(ChildState::Stopped));
        let temporary = tree.start_child(|| ignoring("t", |_| true).restart(Restart::Temporary));
        assert!(temporary.unwrap().is_none());
        assert_eq!(ids(&tree), ["a", "i", "j"]);
    });
}

#[test]
fn a_child_that_ignores_its_restart_is_stopped() {
    on_hub(|| {
        let tree = started(Supervisor::one_for_one(), [ignoring("i", |attempt| attempt == 2)]);
        crash(&tree, "i");
        assert_eq!(state(&tree, "i"), Some(ChildState::Stopped));
    });
}

#[test]
fn ignore_is_an_ordinary_end_for_everybody_else() {
    on_hub(|| {
        let log = Log::new();
        let watch = Probe::new().start_local().unwrap();
        let ignored = ActorBuilder::new()
            .link(&watch)
            .start_local(Probe::new().init(|_| Err(Exit::Ignore)).ends_in(&log));
        assert!(matches!(ignored.unwrap_err().exit, Exit::Ignore));
        watch.settle();
        assert_eq!(log.taken(), ["state dropped"], "without terminate");
    });
}

#[test]
fn shutdown_with_a_term_is_a_shutdown() {
    on_hub(|| {
        let tree = started(
            Supervisor::one_for_one(),
            [plain("transient").restart(Restart::Transient), plain("permanent")],
        );
        let expired = || Exit::shutdown_with("expired".to_owned());
        let ended = child(&tree, "transient");
        end(&tree, "transient", |child| child.run(move |_| Err(expired())));
        assert_eq!(state(&tree, "transient"), Some(ChildState::Stopped));
        let exit = ended.exit().unwrap();
        assert_eq!(exit.shutdown_term::<String>().unwrap(), "expired");
        assert!(exit.shutdown_term::<u32>().is_none() && ended.successful());
        end(&tree, "permanent", |child| child.send_exit(expired()));
        assert_eq!(state(&tree, "permanent"), Some(ChildState::Running));
        // For links it is as any reason but `normal`.
        let linked = Probe::new().start_local().unwrap();
        let other = Probe::new().start_local().unwrap();
        linked.link(&other);
        other.send_exit(expired());
        assert_eq!(linked.join().to_string(), "shutdown: expired");
    });
}

#[test]
fn a_supervisor_is_told_to_end_by_a_shutdown_with_a_term() {
    on_hub(|| {
        let log = Log::new();
        let tree = started(Supervisor::one_for_one(), [noting("a", &log)]);
        tree.actor().send_exit(Exit::shutdown_with("maintenance"));
        assert_eq!(tree.join().to_string(), "shutdown: maintenance");
        assert_eq!(log.taken(), ["start a", "end a shutdown"]);
    });
}

// --- from outside --------------------------------------------------------------------------------------------------

#[test]
fn children_are_added_stopped_restarted_and_deleted() {
    on_hub(|| {
        let log = Log::new();
        let tree = started(Supervisor::one_for_one(), [noting("a", &log)]);
        let b = log.clone();
        let started = {
            // Made where it is supervised: what is made need not be `Send`.
            tree.start_child(move || noting("b", &b)).unwrap().unwrap()
        };
        assert_eq!(started.downcast::<Job>().unwrap(), child(&tree, "b"));
        assert!(started.downcast::<u32>().is_none());
        tree.terminate_child("a").unwrap();
        tree.terminate_child("a").unwrap();
        assert_eq!(log.taken(), ["start a", "start b", "end a shutdown"]);
        let again = tree.restart_child("a").unwrap().unwrap();
        assert_eq!(again.id(), child(&tree, "a").id());
        assert_eq!(ids(&tree), ["a", "b"], "it is in its place");
        tree.terminate_child("a").unwrap();
        tree.delete_child("a").unwrap();
        assert_eq!(ids(&tree), ["b"]);
        tree.shutdown();
        assert_eq!(log.taken(), ["start a", "end a shutdown", "end b shutdown"]);
    });
}

#[test]
fn what_cannot_be_done_to_a_child_says_why() {
    on_hub(|| {
        let tree = started(Supervisor::one_for_one(), [plain("runs"), plain("stopped")]);
        tree.terminate_child("stopped").unwrap();
        let running = child(&tree, "runs");
        let error = tree.start_child(|| plain("runs")).unwrap_err();
        assert!(matches!(error, StartChildError::AlreadyStarted(Some(actor)) if actor.id() == running.id()));
        assert!(matches!(tree.start_child(|| plain("stopped")), Err(StartChildError::AlreadyPresent)));
        let failing = || worker_local("new", || Probe::new().init(|_| Err(no_disk())));
        let error = tree.start_child(failing).unwrap_err();
        assert_eq!(error.to_string(), "the child failed to start: no disk");
        let panicking = || -> ChildSpec { panic!("no spec") };
        assert!(matches!(tree.start_child(panicking), Err(StartChildError::Failed(Exit::Failed(_)))));
        assert_eq!(ids(&tree), ["runs", "stopped"], "what failed to start is not kept");
        assert!(matches!(tree.restart_child("runs"), Err(RestartChildError::Running)));
        assert!(matches!(tree.restart_child("nobody"), Err(RestartChildError::NotFound)));
        assert!(matches!(tree.delete_child("runs"), Err(DeleteChildError::Running)));
        assert!(matches!(tree.delete_child("nobody"), Err(DeleteChildError::NotFound)));
        assert!(matches!(tree.terminate_child("nobody"), Err(TerminateChildError::NotFound)));
        tree.shutdown();
        assert!(matches!(tree.start_child(|| plain("late")), Err(StartChildError::Supervisor(_))));
        assert!(matches!(tree.restart_child("runs"), Err(RestartChildError::Supervisor(_))));
        assert!(matches!(tree.delete_child("runs"), Err(DeleteChildError::Supervisor(_))));
        assert!(matches!(tree.terminate_child("runs"), Err(TerminateChildError::Supervisor(_))));
    });
}

#[test]
fn a_child_that_fails_to_start_by_restart_child_stays_stopped() {
    on_hub(|| {
        let log = Log::new();
        let tree = started(Supervisor::one_for_one(), [noting_failing("a", &log, |attempt| attempt == 2)]);
        tree.terminate_child("a").unwrap();
        assert!(matches!(tree.restart_child("a"), Err(RestartChildError::Failed(_))));
        assert_eq!(state(&tree, "a"), Some(ChildState::Stopped));
        assert!(tree.restart_child("a").is_ok());
    });
}

#[test]
fn terminate_child_forgets_a_temporary_child() {
    on_hub(|| {
        let tree = started(Supervisor::one_for_one(), [plain("t").restart(Restart::Temporary)]);
        tree.terminate_child("t").unwrap();
        assert!(ids(&tree).is_empty());
    });
}

#[test]
fn children_are_counted() {
    on_hub(|| {
        let sub = supervisor("sub", Supervisor::one_for_one);
        let tree = started(Supervisor::one_for_one(), [plain("a"), plain("b"), sub]);
        tree.terminate_child("b").unwrap();
        let counts = tree.count_children().unwrap();
        assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (3, 2, 1, 2));
    });
}

#[test]
fn children_have_the_mailbox_that_their_spec_says() {
    on_hub(|| {
        let tree = started(Supervisor::one_for_one(), [plain("a").capacity(3), plain("b")]);
        assert_eq!(child(&tree, "a").capacity(), Some(3));
        assert_eq!(child(&tree, "b").capacity(), None);
        crash(&tree, "a");
        assert_eq!(child(&tree, "a").capacity(), Some(3));
    });
}

// --- reports -----------------------------------------------------------------------------------------------------

#[test]
fn a_failure_is_reported_with_the_path_of_the_child_and_what_it_was_doing() {
    on_hub(|| {
        let log = Log::new();
        let noted = log.clone();
        greenlet_core::Hub::set_error_handler(move |context, failure| {
            noted.note(format_args!("{context}: {failure}"));
        });
        let census = Census::default();
        let workshop = {
            let census = census.clone();
            move || Supervisor::one_for_one().child(free("drill", &census))
        };
        let tree =
            Supervisor::one_for_one().child(supervisor("workshop", workshop)).start_named("factory").unwrap();
        let sub = tree.supervisor("workshop").unwrap();
        let drill = sub.child::<Order>("drill").unwrap();
        drill.send(Order::Panic).unwrap();
        drill.join();
        sub.which_children().unwrap();
        let report = log.taken().join("\n");
        for part in ["/factory/workshop/drill", &drill.id().to_string(), "in panic", "on purpose", "Free"] {
            assert!(report.contains(part), "{part} in {report}");
        }
        assert!(!sub.child::<Order>("drill").unwrap().ready(), "and it is restarted");
        greenlet_core::Hub::reset_error_handler();
    });
}

// --- no orphans --------------------------------------------------------------------------------------------------

/// Kills the supervisor after so many turns of the others; false if that was when nothing was going on any more.
fn kill_after(turns: usize, strategy: fn() -> Supervisor) -> bool {
    let census = Census::default();
    let sub = {
        let census = census.clone();
        move || with(Supervisor::one_for_all().intensity(9, LONG), ["c", "d"].map(|id| free(id, &census)))
    };
    let specs = [free("a", &census), supervisor("sub", sub), free("b", &census)];
    let tree = with(strategy().intensity(9, LONG), specs).start().unwrap();
    let a = tree.child::<Order>("a").unwrap();
    let d = tree.supervisor("sub").unwrap().child::<Order>("d").unwrap();
    a.send(Order::Fail).unwrap();
    // By now it may have been stopped.
    let _ = d.send(Order::Panic);
    for _ in 0..turns {
        yield_now();
    }
    let came_back = census.all().len() > 4 && states_settled(&census);
    tree.actor().kill();
    assert!(census.orphans().is_empty(), "after {turns} turns {:?} are left", census.orphans());
    !came_back
}

fn states_settled(census: &Census) -> bool {
    census.orphans().len() == 4
}

#[test]
fn a_supervisor_killed_at_any_moment_leaves_no_orphan() {
    on_hub(|| {
        for strategy in [Supervisor::one_for_one, Supervisor::one_for_all, Supervisor::rest_for_one] {
            let busy = (0..60).filter(|turns| kill_after(*turns, strategy)).count();
            assert!(busy > 3, "it was killed in the middle only {busy} times");
        }
    });
}

#[test]
fn a_supervisor_killed_while_it_starts_leaves_no_orphan() {
    on_hub(|| {
        for turns in 0..40 {
            let census = Census::default();
            let specs = ["a", "b", "c"].map(|id| free(id, &census));
            let top = {
                let cell = std::cell::Cell::new(Some(specs));
                Supervisor::one_for_one().child(supervisor("sub", move || {
                    with(Supervisor::one_for_one(), cell.take().into_iter().flatten())
                }))
            };
            let starting = spawn(move || top.start());
            for _ in 0..turns {
                yield_now();
            }
            // Whoever of them is there: the top is the parent of them all, by way of `sub`.
            if starting.ready() {
                starting.get().unwrap().unwrap().actor().kill();
            } else {
                let sub = census.all().first().cloned();
                if let Some(first) = sub {
                    first.kill();
                }
                let started = starting.get().unwrap();
                if let Ok(tree) = started {
                    tree.actor().kill();
                }
            }
            assert!(census.orphans().is_empty(), "{turns}: {:?}", census.orphans());
        }
    });
}

#[test]
fn on_two_hubs_a_killed_tree_leaves_no_orphan() {
    on_two_hubs(|| {
        for turns in 0..200 {
            kill_after(turns % 23, Supervisor::one_for_all);
        }
    });
}

#[test]
fn on_two_hubs_strategies_hold() {
    on_two_hubs(|| {
        let census = Census::default();
        let ids = ["a", "b", "c", "d"];
        let specs = ids.map(|id| free(id, &census).shutdown(Shutdown::Timeout(Duration::from_secs(20))));
        let tree = with(Supervisor::rest_for_one().intensity(usize::MAX, LONG), specs).start().unwrap();
        for round in 0..100 {
            let before = ids.map(|id| tree.child::<Order>(id).unwrap());
            before[3].send(Order::Block).unwrap();
            let failing = round % 4;
            before[failing].send(if round % 3 == 0 { Order::Fail } else { Order::Panic }).ok();
            if failing == 3 {
                before[3].kill(); // it blocks already
            }
            before[failing].join();
            // On another hub a join may return before the supervisor has heard.
            while tree.child::<Order>(ids[failing]).is_none_or(|child| child == before[failing]) {
                yield_now();
            }
            let after = ids.map(|id| tree.child::<Order>(id).unwrap());
            for at in 0..4 {
                assert_eq!(before[at] == after[at], at < failing, "{} in round {round}", ids[at]);
            }
        }
        tree.shutdown();
        assert!(census.orphans().is_empty());
    });
}
