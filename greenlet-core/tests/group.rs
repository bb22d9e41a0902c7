//! Groups: members that come and go, are joined and killed together.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use greenlet_core::pool::Group;
use greenlet_core::{
    Event, Greenlet, GreenletExit, Hub, Kill, Timeout, catch, current, joinall, raise, run, sleep, spawn,
    with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Oops, SHORT, Tally, settle, until};

/// A member that survives kills, and counts what was raised in it, until the event is set.
fn immortal(group: &Group, end: &Rc<Event>) -> (Greenlet<()>, Rc<Cell<usize>>) {
    let raises = Rc::new(Cell::new(0));
    let member = group.spawn({
        let (end, raises) = (end.clone(), raises.clone());
        move || {
            while !end.is_set() {
                if catch(|| end.wait()).is_err() {
                    raises.set(raises.get() + 1);
                }
            }
        }
    });
    yield_now();
    (member, raises)
}

// --- members ------------------------------------------------------------------------------------------------------

#[test]
fn members_leave_when_they_end_in_whatever_way() {
    run(|| {
        let group = Group::new();
        let (first, second) = (Rc::new(Event::new()), Rc::new(Event::new()));
        let returns = group.spawn({
            let first = first.clone();
            move || first.wait()
        });
        let fails = group.spawn({
            let second = second.clone();
            move || {
                second.wait();
                raise(Oops("failed"))
            }
        });
        let killed = group.spawn(|| sleep(FOREVER));
        assert_eq!(group.len(), 3);
        first.set();
        settle();
        assert_eq!(group.len(), 2);
        assert!(returns.ready() && !group.contains(&returns));
        second.set();
        settle();
        assert!(!group.contains(&fails) && group.contains(&killed));
        killed.kill();
        settle();
        assert!(group.is_empty());
    });
}

#[test]
fn greenlets_of_any_result_type_are_in_one_group() {
    run(|| {
        let group = Group::new();
        let number = group.spawn(|| 1);
        let text = group.spawn(|| String::from("two"));
        group.join();
        assert_eq!(number.get().unwrap(), 1);
        assert_eq!(text.get().unwrap(), "two");
    });
}

#[test]
fn added_twice_is_one_member() {
    run(|| {
        let group = Group::new();
        let member = spawn(|| sleep(FOREVER));
        group.add(&member);
        group.add(&member);
        assert_eq!(group.len(), 1);
        member.kill();
        settle();
        assert!(group.is_empty());
    });
}

#[test]
fn adding_does_not_start_and_starting_does() {
    run(|| {
        let group = Group::new();
        let ran = Rc::new(Cell::new(0));
        let new = || {
            let ran = ran.clone();
            Greenlet::new(move || ran.set(ran.get() + 1))
        };
        let (added, started) = (new(), new());
        group.add(&added);
        group.start(&started);
        settle();
        assert_eq!((ran.get(), group.len()), (1, 1));
        assert!(group.contains(&added));
        added.start();
        group.join();
        assert_eq!(ran.get(), 2);
    });
}

#[test]
fn one_that_has_ended_leaves_in_a_moment() {
    run(|| {
        let group = Group::new();
        let ended = spawn(|| ());
        ended.join();
        group.add(&ended);
        group.join();
        assert!(group.is_empty());
    });
}

#[test]
fn discarded_it_goes_on_and_its_end_does_not_matter() {
    run(|| {
        let group = Group::new();
        let member = group.spawn(|| 5);
        assert!(group.discard(&member));
        assert!(!group.discard(&member));
        assert!(group.is_empty());
        assert_eq!(member.get().unwrap(), 5);
        // A member again: its old link does not take it out early.
        let other = group.spawn(|| sleep(FOREVER));
        group.discard(&other);
        group.add(&other);
        settle();
        assert!(group.contains(&other));
        group.kill();
    });
}

#[test]
fn iteration_sees_who_was_there_in_the_order_of_age() {
    run(|| {
        let group: Group = (0..4).map(|_| spawn(|| sleep(FOREVER))).collect();
        let mut ids = Vec::new();
        for member in &group {
            ids.push(member.id());
            member.kill();
            group.spawn(|| ());
        }
        assert_eq!(ids.len(), 4);
        assert!(ids.is_sorted());
        joinall(&group);
        settle();
        assert!(group.is_empty());
    });
}

#[test]
fn clones_are_the_same_group() {
    run(|| {
        let group = Group::new();
        let clone = group.clone();
        clone.spawn(|| ());
        assert_eq!(group.len(), 1);
        group.join();
        assert!(clone.is_empty());
    });
}

#[test]
fn a_dropped_group_leaves_its_greenlets_alone_and_is_freed() {
    run(|| {
        let tally = Tally::default();
        let group = Group::new();
        let token = tally.token();
        let member = group.spawn(move || {
            let _token = token;
            yield_now();
            7
        });
        drop(group);
        assert_eq!(member.get().unwrap(), 7);
        tally.assert_all_home();
    });
}

#[test]
fn members_of_another_hub_are_joined_and_killed() {
    run(|| {
        let other = Hub::thread("other").start().unwrap();
        let group = Group::new();
        let short = other.handle().spawn(|| 3).unwrap();
        let long = other.handle().spawn(|| sleep(FOREVER)).unwrap();
        group.add(&short);
        group.add(&long);
        until(|| !group.contains(&short));
        group.kill();
        assert!(long.exited());
        other.shutdown();
    });
}

// --- joining ------------------------------------------------------------------------------------------------------

#[test]
fn joining_an_empty_group_does_not_suspend() {
    run(|| {
        let ran = Rc::new(Cell::new(false));
        let other = spawn({
            let ran = ran.clone();
            move || ran.set(true)
        });
        let group = Group::new();
        group.join();
        assert!(group.join_timeout(FOREVER));
        assert!(group.join_raise_error().is_ok());
        group.kill();
        assert!(!ran.get());
        other.join();
    });
}

#[test]
fn join_waits_for_members_added_meanwhile() {
    run(|| {
        let group = Group::new();
        let done = Rc::new(Cell::new(0));
        group.spawn({
            let (group, done) = (group.clone(), done.clone());
            move || {
                let inner = done.clone();
                group.spawn(move || {
                    yield_now();
                    inner.set(inner.get() + 1);
                });
                done.set(done.get() + 1);
            }
        });
        group.join();
        assert_eq!(done.get(), 2);
    });
}

#[test]
fn join_gives_up_at_its_timeout_and_leaves_the_members_alone() {
    run(|| {
        let group = Group::new();
        let member = group.spawn(|| sleep(FOREVER));
        assert!(!group.join_timeout(SHORT));
        assert!(with_timeout(SHORT, || group.join()).is_err());
        assert!(!member.ready());
        assert!(group.kill_with(Kill::default().timeout(GENEROUS)));
    });
}

#[test]
fn join_raise_error_tells_the_first_failure_by_age() {
    run(|| {
        let group = Group::new();
        group.spawn(|| raise(GreenletExit));
        let late = group.spawn(|| {
            settle();
            raise(Oops("oldest"))
        });
        group.spawn(|| raise(Oops("younger")));
        let failure = group.join_raise_error().unwrap_err();
        assert_eq!(failure.downcast_ref(), Some(&Oops("oldest")));
        assert!(late.ready());
        assert!(group.join_raise_error().is_ok(), "only those that are members count");
    });
}

#[test]
fn join_raise_error_gives_up_at_its_timeout_unless_one_has_failed() {
    run(|| {
        let group = Group::new();
        group.spawn(|| sleep(FOREVER));
        assert!(!group.join_raise_error_timeout(SHORT).unwrap());
        assert!(
            with_timeout(SHORT, || group.join_raise_error_timeout(GENEROUS)).is_err(),
            "an outer one passes"
        );
        group.spawn(|| raise(Oops("early")));
        let failure = group.join_raise_error_timeout(SHORT).unwrap_err();
        assert_eq!(failure.downcast_ref(), Some(&Oops("early")));
        assert_eq!(group.len(), 1, "the others go on");
        group.kill();
        assert!(group.join_raise_error_timeout(SHORT).unwrap());
    });
}

#[test]
fn an_outer_timeout_passes_through_a_join_with_a_longer_one() {
    run(|| {
        let group = Group::new();
        group.spawn(|| sleep(FOREVER));
        let outer = Timeout::start_new(SHORT);
        let raised = catch(|| group.join_timeout(GENEROUS)).unwrap_err();
        assert!(outer.raised(&raised));
        group.kill();
    });
}

// --- killing ------------------------------------------------------------------------------------------------------

#[test]
fn kill_empties_the_group_and_runs_destructors() {
    run(|| {
        let group = Group::new();
        let tally = Tally::default();
        for started in [true, false] {
            for _ in 0..3 {
                let token = tally.token();
                group.spawn(move || {
                    let _token = token;
                    sleep(FOREVER);
                });
            }
            if started {
                yield_now();
            }
        }
        let members: Vec<_> = group.iter().collect();
        group.kill();
        assert!(group.is_empty());
        assert!(members.iter().all(|member| member.exited()));
        tally.assert_all_home();
    });
}

#[test]
fn a_kill_without_a_wait_returns_at_once() {
    run(|| {
        let group = Group::new();
        group.spawn(|| sleep(FOREVER));
        yield_now();
        group.kill_with(Kill::default().no_wait());
        assert_eq!(group.len(), 1);
        group.join();
    });
}

#[test]
fn kill_with_an_error_fails_the_members() {
    run(|| {
        let group = Group::new();
        let member = group.spawn(|| sleep(FOREVER));
        yield_now();
        group.kill_with(Kill::error(Oops("shutting down")));
        assert_eq!(member.exception().unwrap().downcast_ref(), Some(&Oops("shutting down")));
    });
}

#[test]
fn each_member_gets_the_raise_once_even_if_it_survives() {
    run(|| {
        let (group, end) = (Group::new(), Rc::new(Event::new()));
        let (member, raises) = immortal(&group, &end);
        assert!(!group.kill_one(&member, Kill::default().timeout(SHORT)));
        assert!(!group.kill_one(&member, Kill::default()), "it has its raise, so this does not wait");
        group.kill_with(Kill::default().no_wait());
        assert!(!group.kill_with(Kill::default().timeout(SHORT)));
        assert!(with_timeout(SHORT, || group.kill()).is_err(), "kill waits for who survives");
        assert_eq!(raises.get(), 1);
        end.set();
        group.kill();
        assert!(group.is_empty());
    });
}

#[test]
fn kill_one_leaves_the_others_and_strangers() {
    run(|| {
        let group = Group::new();
        let members = [(); 2].map(|()| group.spawn(|| sleep(FOREVER)));
        let stranger = spawn(|| sleep(FOREVER));
        yield_now();
        assert!(group.kill_one(&members[0], Kill::default()));
        assert!(!group.kill_one(&stranger, Kill::default()));
        settle();
        assert!(!stranger.ready() && !members[1].ready());
        assert_eq!(group.len(), 1);
    });
}

#[test]
fn members_added_during_a_kill_are_killed_too() {
    run(|| {
        let (group, end) = (Group::new(), Rc::new(Event::new()));
        // Keeps the kill waiting, and adds one while it waits.
        let (_member, _) = immortal(&group, &end);
        let born = Rc::new(RefCell::new(None));
        group.spawn({
            let (group, born) = (group.clone(), born.clone());
            move || {
                let _at_the_end = OnDrop(|| {
                    let child = group.spawn(|| {
                        let _child = OnDrop(|| ());
                        sleep(FOREVER);
                    });
                    *born.borrow_mut() = Some(child);
                });
                sleep(FOREVER);
            }
        });
        yield_now();
        let killer = spawn({
            let group = group.clone();
            move || group.kill()
        });
        until(|| born.borrow().as_ref().is_some_and(|child| child.ready()));
        assert!(!killer.ready());
        let late = group.spawn(|| sleep(FOREVER));
        until(|| late.ready());
        end.set();
        killer.join();
        assert!(group.is_empty());
    });
}

#[test]
fn a_member_may_kill_its_own_group() {
    run(|| {
        let group = Group::new();
        let after = Rc::new(Cell::new(false));
        let killer = group.spawn({
            let (group, after) = (group.clone(), after.clone());
            move || {
                assert!(group.contains(&current()));
                group.kill();
                after.set(true);
            }
        });
        let other = group.spawn(|| sleep(FOREVER));
        group.join();
        assert!(killer.exited() && other.exited() && !after.get());
    });
}

#[test]
fn kill_with_a_failing_member_returns_normally() {
    run(|| {
        let group = Group::new();
        group.spawn(|| {
            let _ = catch(|| sleep(FOREVER));
            raise(Oops("not quietly"))
        });
        yield_now();
        group.kill();
        assert!(group.is_empty());
    });
}
