//! Tasks and their supervisor.

mod nursery;
mod probe;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenlet_actor::{
    Actor, Exit, Restart, Shutdown, StartChildError, Supervisor, TaskError, TaskSupervisor, Tasks, supervisor,
};
use greenlet_core::{Event, sim, sleep, yield_now};
use nursery::on_two_hubs;
use probe::{Ask, Dropped, Elsewhere, LONG, Log, Probe, on_hub, word};

fn tasks() -> Tasks {
    TaskSupervisor::new().start().unwrap()
}

fn exited<T: std::fmt::Debug>(result: Result<T, TaskError>) -> Exit {
    match result {
        Err(TaskError::Exited(exit)) => exit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_task_has_the_value_of_its_function() {
    on_hub(|| {
        let tasks = tasks();
        let (first, second) = (tasks.async_(|| 1).unwrap(), tasks.async_nolink(|| "two").unwrap());
        assert_eq!(first.await_(LONG).unwrap(), 1);
        assert_eq!(second.await_(LONG).unwrap(), "two");
        let elsewhere = tasks.clone();
        assert_eq!(Elsewhere::spawn(move || elsewhere.async_(|| 3).unwrap().await_(LONG).unwrap()).join(), 3);
        while tasks.count_children().unwrap().specs > 0 {
            yield_now();
        }
    });
}

#[test]
fn tasks_run_at_the_same_time() {
    on_hub(|| {
        let (tasks, met) = (tasks(), Arc::new(Event::new()));
        let waits = {
            let met = met.clone();
            tasks.async_(move || met.wait()).unwrap()
        };
        let sets = tasks.async_(move || met.set()).unwrap();
        waits.await_(LONG).unwrap();
        sets.await_(LONG).unwrap();
    });
}

#[test]
fn a_task_that_fails_has_no_value_and_is_not_run_again() {
    on_hub(|| {
        let (tasks, runs) = (tasks(), Arc::new(AtomicUsize::new(0)));
        let counted = runs.clone();
        let task = tasks
            .async_nolink(move || -> u32 {
                counted.fetch_add(1, Ordering::SeqCst);
                panic!("oh")
            })
            .unwrap();
        assert_eq!(word(&exited(task.await_(LONG))), "panic oh");
        assert_eq!(tasks.count_children().unwrap().specs, 0);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_linked_task_and_its_owner_end_together() {
    on_hub(|| {
        let tasks = tasks();
        let fails = Probe::new().start_local().unwrap();
        let of_owner = tasks.clone();
        fails.run(move |_| {
            let _ = of_owner.async_(|| -> u32 { panic!("task") }).unwrap().await_(LONG);
            unreachable!("it is ended where it waits")
        });
        assert_eq!(word(&fails.join()), "panic task");
        let log = Log::new();
        let ends = Probe::new().start_local().unwrap();
        let (of_owner, noted) = (tasks.clone(), log.clone());
        ends.run(move |_| {
            of_owner
                .async_(move || {
                    let _noted = Dropped("task", noted);
                    sleep(Duration::MAX);
                })
                .unwrap();
            Ok(())
        });
        ends.settle();
        ends.run(|_| panic!("owner"));
        ends.join();
        assert_eq!(log.next(), "task dropped");
    });
}

#[test]
fn a_task_without_link_harms_nobody_and_outlives_its_owner() {
    on_hub(|| {
        let (tasks, go) = (tasks(), Arc::new(Event::new()));
        let owner = Probe::new().start_local().unwrap();
        let (of_owner, waits) = (tasks.clone(), go.clone());
        let failed = owner.query(move |_, reply| {
            let failed = of_owner.async_nolink(|| -> u32 { panic!("task") }).unwrap().await_(LONG);
            of_owner.start_child(move || waits.wait()).unwrap();
            reply.send(word(&exited(failed)));
            Ok(())
        });
        assert_eq!(failed.unwrap(), "panic task");
        owner.kill();
        let left = tasks.which_children().unwrap();
        assert_eq!(left.len(), 1);
        go.set();
        assert!(matches!(left[0].join(), Exit::Normal));
    });
}

#[test]
fn a_task_that_takes_too_long_is_killed_and_its_owner_goes_on() {
    on_hub(|| {
        let tasks = tasks();
        let owner = Probe::new().start_local().unwrap();
        let of_owner = tasks.clone();
        let result = owner.query(move |_, reply| {
            let task = of_owner.async_(|| sleep(Duration::MAX)).unwrap();
            assert!(task.yield_(Duration::from_millis(1)).is_none(), "it goes on");
            let actor = task.actor().clone();
            let error = task.await_(Duration::from_millis(1)).unwrap_err();
            reply.send((error.to_string(), actor));
            Ok(())
        });
        let (error, actor) = result.unwrap();
        assert_eq!(error, "no value in 1ms");
        assert!(matches!(actor.join(), Exit::Killed));
        owner.settle();
    });
}

#[test]
fn shutdown_gives_what_there_is() {
    on_hub(|| {
        let tasks = tasks();
        let done = tasks.async_(|| 5).unwrap();
        done.actor().join();
        assert!(matches!(done.shutdown(Shutdown::Infinity), Some(Ok(5))));
        let failed = tasks.async_(|| -> u32 { panic!("oh") }).unwrap();
        failed.actor().join();
        assert!(matches!(failed.shutdown(Shutdown::Infinity), Some(Err(TaskError::Exited(Exit::Failed(_))))));
        for shutdown in [Shutdown::Infinity, Shutdown::Timeout(LONG), Shutdown::BrutalKill] {
            let sleeps = tasks.async_(|| sleep(Duration::MAX)).unwrap();
            assert!(sleeps.shutdown(shutdown).is_none());
        }
        assert_eq!(tasks.count_children().unwrap().active, 0);
    });
}

#[test]
fn a_stream_keeps_the_order_and_the_limit() {
    on_hub(|| {
        let (tasks, running, most) = (tasks(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        let square = move |n: u32| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            (0..20 - n).for_each(|_| yield_now()); // the later, the faster
            running.fetch_sub(1, Ordering::SeqCst);
            n * n
        };
        let squares: Vec<_> =
            tasks.async_stream(0..20, square).max_concurrency(3).map(Result::unwrap).collect();
        assert_eq!(squares, (0..20).map(|n| n * n).collect::<Vec<_>>());
        assert_eq!(seen.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn an_unordered_stream_gives_values_as_they_come() {
    sim::run(1, || {
        let waits = |seconds: u64| {
            sleep(Duration::from_secs(seconds));
            seconds
        };
        let values = tasks().async_stream([3, 1, 2], waits).max_concurrency(3).unordered();
        assert_eq!(values.map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3]);
    });
}

#[test]
fn each_task_of_a_stream_has_its_time_and_its_failure() {
    sim::Sim::new(1).allow_panics().run(|| {
        let tasks = tasks();
        let work = |n: u64| {
            sleep(Duration::from_secs(n));
            assert!(n != 2, "two");
            n
        };
        let stream =
            tasks.async_stream_nolink([1, 2, 9, 3], work).max_concurrency(2).timeout(Duration::from_secs(4));
        let words: Vec<_> = stream
            .map(|result| match result {
                Ok(n) => n.to_string(),
                Err(TaskError::Exited(exit)) => word(&exit),
                Err(error) => error.to_string(),
            })
            .collect();
        assert_eq!(words, ["1", "panic two", "no value in 4s", "3"]);
        // A value comes before the end of its task.
        tasks.which_children().unwrap().iter().for_each(|task| drop(task.join()));
        assert_eq!(tasks.count_children().unwrap().active, 0);
    });
}

#[test]
fn a_stream_that_is_dropped_ends_its_tasks_and_takes_no_more_items() {
    on_hub(|| {
        let (tasks, taken) = (tasks(), Arc::new(AtomicUsize::new(0)));
        let counted = taken.clone();
        let items = (0..).inspect(move |_| _ = counted.fetch_add(1, Ordering::SeqCst));
        let mut stream = tasks
            .async_stream(items, |n: u32| {
                if n > 0 {
                    sleep(Duration::MAX);
                }
            })
            .max_concurrency(4);
        stream.next().unwrap().unwrap();
        drop(stream);
        for task in tasks.which_children().unwrap() {
            task.join();
        }
        assert!(taken.load(Ordering::SeqCst) <= 5);
        assert_eq!(tasks.count_children().unwrap().active, 0);
    });
}

#[test]
fn tasks_in_a_tree_end_with_it() {
    on_hub(|| {
        let tree = Supervisor::one_for_one()
            .child(supervisor("tasks", || TaskSupervisor::new().max_children(1)).restart(Restart::Transient))
            .start()
            .unwrap();
        let tasks = tree.tasks("tasks").unwrap();
        let task = tasks.async_(|| sleep(Duration::MAX)).unwrap();
        assert!(matches!(tasks.async_(|| ()), Err(StartChildError::MaxChildren(1))));
        let refused = tasks.async_stream([1], |n| n).next().unwrap();
        assert!(matches!(refused, Err(TaskError::NotStarted(StartChildError::MaxChildren(1)))));
        tree.shutdown();
        assert!(matches!(exited(task.await_(LONG)), Exit::Shutdown));
    });
}

#[test]
fn on_two_hubs_tasks_work_and_end_with_their_supervisor() {
    on_two_hubs(|| {
        let tasks = tasks();
        let sum: u64 = tasks
            .async_stream(0..500_u64, |n| {
                yield_now();
                n
            })
            .max_concurrency(16)
            .map(Result::unwrap)
            .sum();
        assert_eq!(sum, 499 * 250);
        let sleeping: Vec<_> = (0..50).map(|_| tasks.async_(|| sleep(Duration::MAX)).unwrap()).collect();
        tasks.actor().kill();
        assert!(sleeping.iter().all(|task| task.actor().ready()));
    });
}
