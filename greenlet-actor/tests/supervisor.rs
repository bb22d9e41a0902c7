//! Supervisors.

mod probe;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{
    Actor, ActorRef, AskError, ChildKind, ChildSpec, ChildState, Exit, Restart, Shutdown, StartError,
    Supervisor, SupervisorRef, supervisor, worker, worker_local,
};
use greenlet_core::{Event, Queue, sleep, spawn, yield_now};
use probe::{Ask, Elsewhere, Job, LONG, Log, Probe, no_disk, on_hub, word};

/// How long a test waits for what should come in an instant, before it says that it does not.
const SOON: Duration = Duration::from_secs(2);

/// Counts its calls, from 1.
fn counter() -> impl Fn() -> u32 {
    let count = Rc::new(Cell::new(0));
    move || {
        count.set(count.get() + 1);
        count.get()
    }
}

/// A child that notes its starts and its ends.
fn noting(id: &'static str, log: &Log) -> ChildSpec {
    let log = log.clone();
    worker_local(id, move || {
        let (started, ended) = (log.clone(), log.clone());
        Probe::new()
            .init(move |_| {
                yield_now();
                started.note(format_args!("start {id}"));
                Ok(())
            })
            .terminate(move |exit, _| ended.note(format_args!("end {id} {}", word(exit))))
    })
}

/// A child that never fails to start.
fn plain(id: &'static str) -> ChildSpec {
    worker_local(id, Probe::new)
}

fn child(tree: &SupervisorRef, id: &str) -> ActorRef<Job> {
    tree.child(id).unwrap_or_else(|| panic!("no child {id:?}: {:?}", tree.which_children()))
}

/// Ends the child so, and comes back when the supervisor has dealt with that.
fn end(tree: &SupervisorRef, id: &str, end: impl FnOnce(&ActorRef<Job>)) {
    let child = child(tree, id);
    end(&child);
    child.join();
    // The exit stands in the supervisor's mailbox before a question that is asked now.
    let _ = tree.which_children();
}

fn crash(tree: &SupervisorRef, id: &str) {
    end(tree, id, |child| child.run(|_| Err(no_disk())));
}

/// The ids and states of the children.
fn states(tree: &SupervisorRef) -> Vec<(String, ChildState)> {
    tree.which_children().unwrap().into_iter().map(|child| (child.id, child.state)).collect()
}

fn state(tree: &SupervisorRef, id: &str) -> Option<ChildState> {
    states(tree).into_iter().find(|(other, _)| other == id).map(|(_, state)| state)
}

// --- start and stop ----------------------------------------------------------------------------------------------

#[test]
fn children_start_in_order_and_stop_in_reverse() {
    on_hub(|| {
        let log = Log::new();
        let tree = ["a", "b", "c"]
            .into_iter()
            .fold(Supervisor::one_for_one(), |tree, id| tree.child(noting(id, &log)))
            .start()
            .unwrap();
        assert_eq!(log.taken(), ["start a", "start b", "start c"]);
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
        assert_eq!(log.taken(), ["end c shutdown", "end b shutdown", "end a shutdown"]);
        assert!(matches!(tree.shutdown(), Exit::Shutdown), "once more does no harm");
    });
}

#[test]
fn a_tree_stops_in_reverse_through_all_its_levels() {
    on_hub(|| {
        let log = Log::new();
        let noted = log.clone();
        let sub = supervisor("sub", move || {
            Supervisor::one_for_one().child(noting("c", &noted)).child(noting("d", &noted))
        });
        let tree = Supervisor::one_for_one()
            .child(noting("a", &log))
            .child(sub)
            .child(noting("e", &log))
            .start()
            .unwrap();
        assert_eq!(log.taken(), ["start a", "start c", "start d", "start e"]);
        tree.shutdown();
        let ended = ["e", "d", "c", "a"].map(|id| format!("end {id} shutdown"));
        assert_eq!(log.taken(), ended);
    });
}

#[test]
fn a_start_that_fails_stops_those_that_started_in_reverse() {
    on_hub(|| {
        let log = Log::new();
        let error = Supervisor::one_for_one()
            .child(noting("a", &log))
            .child(noting("b", &log))
            .child(worker_local("bad", || Probe::new().init(|_| Err(no_disk()))))
            .child(noting("never", &log))
            .start()
            .unwrap_err();
        assert_eq!(error.to_string(), r#"child "bad" failed to start: no disk"#);
        assert!(matches!(error, StartError::Child { id, .. } if id == "bad"));
        assert_eq!(log.taken(), ["start a", "start b", "end b shutdown", "end a shutdown"]);
    });
}

#[test]
fn a_start_that_fails_deep_in_the_tree_fails_the_whole_start() {
    on_hub(|| {
        let log = Log::new();
        let bad =
            || Supervisor::one_for_one().child(worker_local("bad", || Probe::new().init(|_| panic!("oh"))));
        let error = Supervisor::one_for_one()
            .child(noting("a", &log))
            .child(supervisor("sub", bad))
            .start()
            .unwrap_err();
        let StartError::Child { id, exit } = error else { panic!("{error}") };
        assert_eq!(id, "sub");
        let inner = exit.shutdown_term::<StartError>().unwrap();
        assert!(matches!(inner, StartError::Child { id, .. } if id == "bad"), "{inner}");
        assert_eq!(log.taken(), ["start a", "end a shutdown"]);
    });
}

#[test]
fn two_children_of_the_same_id_are_refused_before_any_starts() {
    on_hub(|| {
        let log = Log::new();
        let error = Supervisor::one_for_one()
            .child(noting("a", &log))
            .child(plain("b"))
            .child(plain("a"))
            .start()
            .unwrap_err();
        assert!(matches!(&error, StartError::DuplicateId(id) if id == "a"));
        assert_eq!(error.to_string(), r#"two children have the id "a""#);
        assert!(log.taken().is_empty());
    });
}

#[test]
fn a_supervisor_without_children_lives_until_it_is_told_to_end() {
    on_hub(|| {
        let tree = Supervisor::one_for_one().start_named("empty").unwrap();
        assert!(tree.which_children().unwrap().is_empty());
        assert!(tree.actor().to_string().starts_with("empty "));
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
    });
}

#[test]
fn a_child_that_fails_while_it_is_stopped_is_not_restarted() {
    on_hub(|| {
        let start = counter();
        let log = Log::new();
        let starts = log.clone();
        let make = move || {
            starts.note(start());
            Probe::new().terminate(|_, _| panic!("in terminate"))
        };
        let tree = Supervisor::one_for_one().child(worker_local("bad", make)).start().unwrap();
        let bad = child(&tree, "bad");
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
        assert_eq!(word(&bad.exit().unwrap()), "panic in terminate");
        assert_eq!(log.taken(), ["1"]);
    });
}

#[test]
fn a_child_may_still_ask_those_that_started_before_it_while_it_terminates() {
    on_hub(|| {
        let (log, first) = (Log::new(), Arc::new(Queue::unbounded()));
        let a = {
            let first = first.clone();
            worker_local("a", move || {
                let first = first.clone();
                Probe::new().init(move |ctx| Ok(first.put(ctx.me().clone())?))
            })
        };
        let b = {
            let log = log.clone();
            worker_local("b", move || {
                let (a, log): (ActorRef<Job>, _) = (first.get().unwrap(), log.clone());
                Probe::new().terminate(move |_, _| {
                    a.settle();
                    log.note("answered");
                })
            })
        };
        Supervisor::one_for_one().child(a).child(b).start().unwrap().shutdown();
        assert_eq!(log.taken(), ["answered"]);
    });
}

// --- how a child is stopped --------------------------------------------------------------------------------------

/// A child that does not end by being told to.
fn stubborn(id: &'static str) -> ChildSpec {
    worker_local(id, || Probe::new().trapping(|_, _, _| Ok(())))
}

#[test]
fn a_child_that_takes_too_long_to_shut_down_is_killed() {
    on_hub(|| {
        let log = Log::new();
        let stuck = stubborn("stuck").shutdown(Shutdown::Timeout(Duration::from_millis(5)));
        let tree = Supervisor::one_for_one().child(noting("a", &log)).child(stuck).start().unwrap();
        let stuck = child(&tree, "stuck");
        stuck.suspend();
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
        assert!(matches!(stuck.exit(), Some(Exit::Killed)));
        assert_eq!(log.taken(), ["start a", "end a shutdown"]);
    });
}

#[test]
fn a_child_that_ends_in_its_time_is_not_killed() {
    on_hub(|| {
        for shutdown in [Shutdown::Timeout(LONG), Shutdown::Infinity] {
            let (log, go) = (Log::new(), Arc::new(Event::new()));
            let slow = stubborn("slow").shutdown(shutdown);
            let tree = Supervisor::one_for_one().child(slow).start().unwrap();
            let slow = child(&tree, "slow");
            slow.suspend_in({
                let (log, go) = (log.clone(), go.clone());
                move |_| {
                    go.wait();
                    log.note("finished");
                }
            });
            tree.actor().send_exit(Exit::Shutdown);
            yield_now();
            go.set();
            tree.join();
            assert!(matches!(slow.exit(), Some(Exit::Shutdown)));
            assert_eq!(log.taken(), ["finished"]);
        }
    });
}

#[test]
fn brutal_kill_does_not_wait_for_anything() {
    on_hub(|| {
        let log = Log::new();
        let tree = Supervisor::one_for_one()
            .child(noting("a", &log).shutdown(Shutdown::BrutalKill))
            .child(stubborn("stuck").shutdown(Shutdown::BrutalKill))
            .start()
            .unwrap();
        let (a, stuck) = (child(&tree, "a"), child(&tree, "stuck"));
        stuck.suspend();
        tree.shutdown();
        assert!(matches!([a.exit(), stuck.exit()], [Some(Exit::Killed), Some(Exit::Killed)]));
        assert_eq!(log.taken(), ["start a"]);
    });
}

#[test]
fn a_child_may_shut_its_own_tree_down() {
    on_hub(|| {
        let tree = Supervisor::one_for_one().child(plain("a")).child(plain("b")).start().unwrap();
        child(&tree, "a").run({
            let tree = tree.clone();
            move |_| {
                tree.shutdown();
                unreachable!("it is shut down too")
            }
        });
        assert!(matches!(tree.actor().join_timeout(SOON), Some(Exit::Shutdown)));
    });
}

// --- when a child is restarted -----------------------------------------------------------------------------------

type End = fn(&ActorRef<Job>);

const ORDINARY: [End; 3] =
    [|child| child.run(|_| Err(Exit::Normal)), ActorRef::stop, |child| child.send_exit(Exit::Shutdown)];
const FAILING: [End; 4] = [
    |child| child.run(|_| Err(no_disk())),
    |child| child.run(|_| panic!("oh")),
    |child| child.send_exit(Exit::NoProc),
    ActorRef::kill,
];

/// What becomes of a child of that type that ends so.
fn fate(restart: Restart, how: End) -> Option<ChildState> {
    let tree = Supervisor::one_for_one()
        .intensity(1, LONG)
        .child(plain("before"))
        .child(plain("it").restart(restart))
        .child(plain("after"))
        .start()
        .unwrap();
    let others = [child(&tree, "before"), child(&tree, "after")];
    let first = child(&tree, "it");
    end(&tree, "it", how);
    let fate = state(&tree, "it");
    match fate {
        Some(ChildState::Running) => {
            let second = child(&tree, "it");
            second.settle();
            assert_ne!(first.id(), second.id());
        }
        _ => assert!(tree.child::<Job>("it").is_none()),
    }
    // one_for_one: nobody else noticed.
    assert!(others == [child(&tree, "before"), child(&tree, "after")]);
    tree.shutdown();
    fate
}

#[test]
fn a_permanent_child_is_always_restarted() {
    on_hub(|| {
        for how in ORDINARY.into_iter().chain(FAILING) {
            assert_eq!(fate(Restart::Permanent, how), Some(ChildState::Running));
        }
    });
}

#[test]
fn a_transient_child_is_restarted_unless_it_ended_in_good_order() {
    on_hub(|| {
        for how in ORDINARY {
            assert_eq!(fate(Restart::Transient, how), Some(ChildState::Stopped));
        }
        for how in FAILING {
            assert_eq!(fate(Restart::Transient, how), Some(ChildState::Running));
        }
    });
}

#[test]
fn a_temporary_child_is_never_restarted_and_forgotten() {
    on_hub(|| {
        for how in ORDINARY.into_iter().chain(FAILING) {
            assert_eq!(fate(Restart::Temporary, how), None);
        }
    });
}

#[test]
fn children_that_fail_at_the_same_time_are_all_restarted() {
    on_hub(|| {
        let ids = ["a", "b", "c", "d"];
        let tree = ids
            .into_iter()
            .fold(Supervisor::one_for_one().intensity(4, LONG), |tree, id| tree.child(plain(id)))
            .start()
            .unwrap();
        let before = ids.map(|id| child(&tree, id));
        for (one, other) in [(0, 1), (1, 2), (2, 3)] {
            before[one].link(&before[other]);
        }
        crash(&tree, "b"); // and with it all the others
        before.iter().for_each(|child| drop(child.join()));
        assert!(states(&tree).into_iter().all(|(_, state)| state == ChildState::Running));
        for (id, before) in ids.iter().zip(before) {
            assert_ne!(child(&tree, id).id(), before.id());
        }
    });
}

// --- intensity and escalation ------------------------------------------------------------------------------------

#[test]
fn one_restart_too_many_stops_the_children_and_the_supervisor() {
    on_hub(|| {
        let log = Log::new();
        let tree = Supervisor::one_for_one()
            .intensity(2, LONG)
            .child(noting("a", &log))
            .child(plain("crashes"))
            .child(noting("b", &log))
            .start()
            .unwrap();
        crash(&tree, "crashes");
        end(&tree, "crashes", ActorRef::stop); // counts as well
        assert_eq!(state(&tree, "crashes"), Some(ChildState::Running));
        crash(&tree, "crashes");
        assert!(matches!(tree.join(), Exit::Shutdown));
        assert_eq!(log.taken(), ["start a", "start b", "end b shutdown", "end a shutdown"]);
        assert!(matches!(tree.which_children(), Err(AskError::Ended(Exit::Shutdown))));
        assert!(tree.child::<Job>("a").is_none());
    });
}

#[test]
fn the_restarts_of_all_children_count_together() {
    on_hub(|| {
        let tree =
            Supervisor::one_for_one().intensity(1, LONG).child(plain("a")).child(plain("b")).start().unwrap();
        crash(&tree, "a");
        crash(&tree, "b");
        assert!(matches!(tree.join(), Exit::Shutdown));
    });
}

#[test]
fn with_an_intensity_of_0_the_first_failure_is_too_many() {
    on_hub(|| {
        let tree = Supervisor::one_for_one().intensity(0, LONG).child(plain("a")).start().unwrap();
        crash(&tree, "a");
        assert!(matches!(tree.join(), Exit::Shutdown));
    });
}

#[test]
fn ends_that_need_no_restart_do_not_count() {
    on_hub(|| {
        let tree = Supervisor::one_for_one()
            .intensity(0, LONG)
            .child(plain("transient").restart(Restart::Transient))
            .child(plain("temporary").restart(Restart::Temporary))
            .start()
            .unwrap();
        end(&tree, "transient", ActorRef::stop);
        crash(&tree, "temporary");
        assert_eq!(states(&tree), [("transient".to_owned(), ChildState::Stopped)]);
    });
}

#[test]
fn a_failure_escalates_through_two_levels() {
    on_hub(|| {
        let workers = Arc::new(Queue::<ActorRef<Job>>::unbounded());
        let sub = {
            let workers = workers.clone();
            move || {
                let workers = workers.clone();
                let crashes = worker_local("crashes", move || {
                    let workers = workers.clone();
                    Probe::new().init(move |ctx| Ok(workers.put(ctx.me().clone())?))
                });
                Supervisor::one_for_one().intensity(1, LONG).child(crashes)
            }
        };
        let log = Log::new();
        let tree = Supervisor::one_for_one()
            .intensity(1, LONG)
            .child(noting("a", &log))
            .child(supervisor("sub", sub))
            .start()
            .unwrap();
        let crash = || {
            let worker = workers.get_timeout(LONG).unwrap();
            worker.run(|_| panic!("on purpose"));
            worker.join();
        };
        let sub = || tree.which_children().unwrap()[1].actor.clone().unwrap();
        let first = sub();
        crash(); // restarted by `sub`
        crash(); // too many: `sub` gives up, and is restarted by the top
        assert!(matches!(first.join(), Exit::Shutdown));
        let second = sub();
        assert_ne!(first.id(), second.id());
        crash();
        crash(); // too many again: and now for the top as well
        assert!(matches!(second.join(), Exit::Shutdown));
        assert!(matches!(tree.join(), Exit::Shutdown));
        assert_eq!(log.taken(), ["start a", "end a shutdown"]);
        assert!(workers.is_empty(), "nobody was started any more");
    });
}

#[test]
fn a_transient_supervisor_that_gave_up_is_not_restarted() {
    on_hub(|| {
        let sub = supervisor("sub", || {
            let bad = worker_local("bad", || {
                Probe::new().init(|ctx| {
                    ctx.me().run(|_| panic!("at once"));
                    Ok(())
                })
            });
            Supervisor::one_for_one().intensity(1, LONG).child(bad)
        });
        let tree = Supervisor::one_for_one()
            .intensity(0, LONG)
            .child(sub.restart(Restart::Transient))
            .start()
            .unwrap();
        let sub = tree.which_children().unwrap()[0].actor.clone();
        if let Some(sub) = sub {
            sub.join();
        }
        assert_eq!(state(&tree, "sub"), Some(ChildState::Stopped));
    });
}

// --- restarts that fail ------------------------------------------------------------------------------------------

#[test]
fn every_restart_that_fails_counts() {
    on_hub(|| {
        let (start, log) = (counter(), Log::new());
        let starts = log.clone();
        let make = move || {
            let attempt = start();
            starts.note(attempt);
            Probe::new().init(move |_| if attempt > 1 { Err(no_disk()) } else { Ok(()) })
        };
        let tree =
            Supervisor::one_for_one().intensity(3, LONG).child(worker_local("down", make)).start().unwrap();
        crash(&tree, "down");
        assert!(matches!(tree.join(), Exit::Shutdown));
        // The first start, and three restarts; the fourth was not tried.
        assert_eq!(log.taken(), ["1", "2", "3", "4"]);
    });
}

#[test]
fn a_child_whose_restart_failed_is_shown_as_restarting() {
    on_hub(|| {
        let (start, log, go) = (counter(), Log::new(), Arc::new(Event::new()));
        let make = {
            let (log, go) = (log.clone(), go.clone());
            move || {
                let (attempt, log, go) = (start(), log.clone(), go.clone());
                Probe::new().init(move |_| {
                    if attempt == 2 {
                        log.note("restarting");
                        go.wait();
                        return Err(no_disk());
                    }
                    Ok(())
                })
            }
        };
        let tree =
            Supervisor::one_for_one().intensity(5, LONG).child(worker_local("flaky", make)).start().unwrap();
        child(&tree, "flaky").kill();
        assert_eq!(log.next(), "restarting");
        // Stands in line before the next attempt.
        let asker = spawn({
            let tree = tree.clone();
            move || tree.which_children().unwrap().remove(0)
        });
        yield_now();
        go.set();
        let seen = asker.into_value().unwrap();
        assert_eq!(seen.state, ChildState::Restarting);
        assert!(seen.actor.is_none());
        child_runs_in_the_end(&tree, "flaky").settle();
    });
}

/// A restart that failed is tried again after what else the supervisor was asked.
fn child_runs_in_the_end(tree: &SupervisorRef, id: &str) -> ActorRef<Job> {
    loop {
        match state(tree, id) {
            Some(ChildState::Running) => return child(tree, id),
            Some(ChildState::Restarting) => yield_now(),
            state => panic!("{id} is {state:?}"),
        }
    }
}

#[test]
fn a_child_that_cannot_be_made_again_is_tried_again() {
    on_hub(|| {
        let start = counter();
        let make = move || match start() {
            2 | 3 => panic!("cannot be made"),
            _ => Probe::new(),
        };
        let tree =
            Supervisor::one_for_one().intensity(3, LONG).child(worker_local("flaky", make)).start().unwrap();
        crash(&tree, "flaky");
        child_runs_in_the_end(&tree, "flaky").settle();
    });
}

#[test]
fn a_sibling_that_fails_while_another_is_restarting_is_restarted_too() {
    on_hub(|| {
        let (start, log, go) = (counter(), Log::new(), Arc::new(Event::new()));
        let slow = {
            let (log, go) = (log.clone(), go.clone());
            move || {
                let (attempt, log, go) = (start(), log.clone(), go.clone());
                Probe::new().init(move |_| {
                    if attempt == 2 {
                        log.note("restarting");
                        go.wait();
                    }
                    Ok(())
                })
            }
        };
        let tree = Supervisor::one_for_one()
            .intensity(2, LONG)
            .child(worker_local("slow", slow))
            .child(plain("other"))
            .start()
            .unwrap();
        let other = child(&tree, "other");
        child(&tree, "slow").kill();
        assert_eq!(log.next(), "restarting");
        other.kill();
        go.set();
        assert!(states(&tree).into_iter().all(|(_, state)| state == ChildState::Running));
        assert_ne!(child(&tree, "other").id(), other.id());
    });
}

// --- the supervisor as an actor ----------------------------------------------------------------------------------

#[test]
fn the_children_of_a_killed_supervisor_do_not_outlive_it() {
    on_hub(|| {
        let all = Arc::new(Queue::<ActorRef<Job>>::unbounded());
        let remembered = |id: &'static str| {
            let all = all.clone();
            worker_local(id, move || {
                let all = all.clone();
                Probe::new().trapping(|_, _, _| Ok(())).init(move |ctx| Ok(all.put(ctx.me().clone())?))
            })
        };
        let (c, d) = (Cell::new(Some(remembered("c"))), Cell::new(Some(remembered("d"))));
        let sub = move || Supervisor::one_for_one().child(c.take().unwrap()).child(d.take().unwrap());
        let tree = Supervisor::one_for_one()
            .child(remembered("a"))
            .child(supervisor("sub", sub))
            .child(remembered("b"))
            .start()
            .unwrap();
        let children: Vec<_> = (0..4).map(|_| all.get().unwrap()).collect();
        children[3].suspend();
        tree.actor().kill();
        // Not a moment longer than the supervisor itself.
        assert!(children.iter().all(|child| matches!(child.exit(), Some(Exit::Killed))));
    });
}

#[test]
fn a_supervisor_killed_while_it_makes_a_child_takes_the_others_along() {
    on_hub(|| {
        let (start, making) = (Rc::new(counter()), Arc::new(Queue::<ActorRef<Job>>::unbounded()));
        let sub = {
            let making = making.clone();
            move || {
                let (attempt, made) = (start(), Arc::new(Queue::unbounded()));
                let first = {
                    let made = made.clone();
                    worker_local("first", move || {
                        let made = made.clone();
                        Probe::new()
                            .trapping(|_, _, _| Ok(()))
                            .init(move |ctx| Ok(made.put(ctx.me().clone())?))
                            .terminate(|_, _| sleep(Duration::MAX))
                    })
                };
                let making = making.clone();
                let second = worker_local("second", move || {
                    if attempt == 2 {
                        making.put(made.get().unwrap()).unwrap();
                        sleep(Duration::MAX);
                    }
                    Probe::new()
                });
                Supervisor::one_for_one().child(first.shutdown(Shutdown::Infinity)).child(second)
            }
        };
        let tree = Supervisor::one_for_one().child(supervisor("sub", sub)).start().unwrap();
        tree.which_children().unwrap()[0].actor.clone().unwrap().kill();
        let first = making.get().unwrap();
        tree.actor().send_exit(Exit::Killed);
        let exit = first.join_timeout(SOON);
        first.kill();
        assert!(exit.is_some(), "it is an orphan");
    });
}

#[test]
fn exits_of_strangers_are_no_reason_to_end_or_restart() {
    on_hub(|| {
        let tree = Supervisor::one_for_one().intensity(0, LONG).child(plain("a")).start().unwrap();
        let a = child(&tree, "a");
        for how in ORDINARY.into_iter().chain(FAILING) {
            let stranger = Probe::new().start_local().unwrap();
            stranger.link(&tree.actor());
            how(&stranger);
            stranger.join();
        }
        assert_eq!(states(&tree), [("a".to_owned(), ChildState::Running)]);
        assert!(a == child(&tree, "a"));
    });
}

#[test]
fn those_linked_to_a_supervisor_hear_that_it_gave_up() {
    on_hub(|| {
        let log = Log::new();
        let watch = Probe::new().traps_in(&log).start_local().unwrap();
        let tree = Supervisor::one_for_one().intensity(0, LONG).child(plain("a")).start().unwrap();
        watch.link(&tree.actor());
        crash(&tree, "a");
        tree.join();
        watch.settle();
        assert_eq!(log.taken(), [format!("{} shutdown", tree.actor().id())]);
    });
}

// --- questions ---------------------------------------------------------------------------------------------------

#[test]
fn which_children_shows_them_in_order() {
    on_hub(|| {
        let sub = || Supervisor::one_for_one();
        let tree = Supervisor::one_for_one()
            .child(plain("a"))
            .child(supervisor("sub", sub).restart(Restart::Temporary))
            .child(plain("b").restart(Restart::Transient))
            .start()
            .unwrap();
        end(&tree, "b", ActorRef::stop);
        let children = tree.which_children().unwrap();
        let shown: Vec<_> = children
            .iter()
            .map(|child| (&*child.id, child.state, child.kind, child.restart, child.actor.is_some()))
            .collect();
        assert_eq!(
            shown,
            [
                ("a", ChildState::Running, ChildKind::Worker, Restart::Permanent, true),
                ("sub", ChildState::Running, ChildKind::Supervisor, Restart::Temporary, true),
                ("b", ChildState::Stopped, ChildKind::Worker, Restart::Transient, false),
            ]
        );
        assert_eq!(children[0].actor.as_ref().unwrap().id(), child(&tree, "a").id());
    });
}

#[test]
fn a_child_is_found_by_its_id_and_the_type_of_its_messages() {
    struct Other;
    impl Actor for Other {
        type Message = u32;
        fn receive(&mut self, _: u32, _: &mut greenlet_actor::Context<Self>) -> Result<(), Exit> {
            Ok(())
        }
    }
    on_hub(|| {
        let tree =
            Supervisor::one_for_one().child(plain("a")).child(worker("other", || Other)).start().unwrap();
        assert!(tree.child::<Job>("a").is_some());
        assert!(tree.child::<u32>("other").is_some());
        assert!(tree.child::<u32>("a").is_none());
        assert!(tree.child::<Job>("other").is_none());
        assert!(tree.child::<Job>("nobody").is_none());
    });
}

#[test]
fn a_supervisor_is_asked_from_plain_threads_too() {
    on_hub(|| {
        let tree = Supervisor::one_for_one().child(plain("a")).start().unwrap();
        let elsewhere = Elsewhere::spawn(move || {
            child(&tree, "a").settle();
            tree.shutdown()
        });
        assert!(matches!(elsewhere.join(), Exit::Shutdown));
    });
}

// --- corners -----------------------------------------------------------------------------------------------------

#[test]
fn a_supervisor_survives_a_restart_that_succeeds_at_the_second_try() {
    on_hub(|| {
        let start = counter();
        let make = move || {
            let attempt = start();
            Probe::new().init(move |_| if attempt == 2 { Err(no_disk()) } else { Ok(()) })
        };
        let tree =
            Supervisor::one_for_one().intensity(10, LONG).child(worker_local("flaky", make)).start().unwrap();
        let first = tree.child::<Job>("flaky").unwrap();
        first.run(|_| panic!("crash"));
        first.join();
        child_runs_in_the_end(&tree, "flaky").settle();
        assert!(matches!(tree.shutdown(), Exit::Shutdown));
    });
}

#[test]
fn a_supervisor_that_retries_for_ever_can_still_be_shut_down() {
    on_hub(|| {
        let start = counter();
        let make = move || {
            let attempt = start();
            Probe::new().init(move |_| {
                sleep(Duration::from_millis(1));
                if attempt > 1 { Err(no_disk()) } else { Ok(()) }
            })
        };
        // Restarts are forgotten before the next one comes.
        let tree = Supervisor::one_for_one()
            .intensity(1, Duration::ZERO)
            .child(worker_local("down", make))
            .start()
            .unwrap();
        let first = tree.child::<Job>("down").unwrap();
        first.run(|_| panic!("crash"));
        first.join();
        tree.actor().send_exit(Exit::Shutdown);
        let exit = tree.actor().join_timeout(SOON);
        tree.actor().kill();
        assert!(matches!(exit, Some(Exit::Shutdown)), "{exit:?}");
    });
}

#[test]
fn a_supervisor_killed_while_it_stops_a_child_takes_it_along() {
    on_hub(|| {
        let stuck =
            worker_local("stuck", || Probe::new().trapping(|_, _, _| Ok(()))).shutdown(Shutdown::Infinity);
        let tree = Supervisor::one_for_one().child(stuck).start().unwrap();
        let stuck = tree.child::<Job>("stuck").unwrap();
        stuck.run(|_| {
            sleep(Duration::MAX);
            Ok(())
        });
        yield_now();
        tree.actor().send_exit(Exit::Shutdown);
        for _ in 0..5 {
            yield_now();
        }
        tree.actor().kill();
        let exit = stuck.join_timeout(SOON);
        stuck.kill();
        assert!(exit.is_some(), "it is an orphan");
    });
}

#[test]
fn a_supervisor_killed_twice_leaves_no_child() {
    struct Slow(Arc<Event>);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0.wait();
        }
    }
    on_hub(|| {
        let child = |id| worker_local(id, || Probe::new().trapping(|_, _, _| Ok(())));
        let tree = Supervisor::one_for_one().child(child("first")).child(child("last")).start().unwrap();
        let (first, last) = (tree.child::<Job>("first").unwrap(), tree.child::<Job>("last").unwrap());
        let go = Arc::new(Event::new());
        last.run({
            let go = go.clone();
            move |_| {
                let _slow_to_unwind = Slow(go);
                sleep(Duration::MAX);
                Ok(())
            }
        });
        yield_now();
        let kill = || {
            let tree = tree.actor();
            let killer = spawn(move || tree.kill());
            for _ in 0..5 {
                yield_now();
            }
            killer
        };
        let killers = [kill(), kill()];
        go.set();
        greenlet_core::joinall(&killers);
        let ends = [first.join_timeout(SOON), last.join_timeout(SOON)];
        first.kill();
        assert!(matches!(ends, [Some(Exit::Killed), Some(Exit::Killed)]), "{ends:?}");
    });
}

#[test]
fn a_supervisor_killed_while_a_child_restarts_takes_it_along() {
    on_hub(|| {
        let (start, restarting) = (counter(), Arc::new(Queue::unbounded()));
        let make = {
            let restarting = restarting.clone();
            move || {
                let (attempt, restarting) = (start(), restarting.clone());
                Probe::new().trapping(|_, _, _| Ok(())).init(move |ctx| {
                    if attempt == 2 {
                        restarting.put(ctx.me().clone()).unwrap();
                        sleep(Duration::MAX);
                    }
                    Ok(())
                })
            }
        };
        let tree = Supervisor::one_for_one().child(worker_local("child", make)).start().unwrap();
        tree.child::<Job>("child").unwrap().run(|_| panic!("crash"));
        let second = restarting.get_timeout(LONG).unwrap();
        tree.actor().kill();
        let exit = second.join_timeout(SOON);
        second.kill();
        assert!(exit.is_some(), "it is an orphan");
    });
}

#[test]
fn a_child_that_cannot_be_made_stops_those_before_it_in_order() {
    on_hub(|| {
        let log = Log::new();
        let make = {
            let log = log.clone();
            move || {
                let log = log.clone();
                Probe::new().terminate(move |exit, _| log.note(format_args!("terminate {exit}")))
            }
        };
        let started = Supervisor::one_for_one()
            .child(worker_local("fine", make))
            .child(worker_local::<Probe>("not", || panic!("cannot be made")))
            .start();
        assert!(started.is_err());
        assert_eq!(log.taken(), ["terminate shutdown"]);
    });
}
