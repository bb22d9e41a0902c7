//! Greenlets that are spawned to run at once, inside the one that spawns them.

mod support;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc;

use greenlet_core::embed::{self, spawn_inside};
use greenlet_core::{
    Event, GreenletRef, Hub, Kill, add_spawn_callback, current, greenlet_local, monitor,
    remove_spawn_callback, run, sleep, spawn, with_timeout, yield_now,
};
use support::{FOREVER, OnDrop, Oops, Recorder, SHORT};
use tracing_subscriber::prelude::*;

greenlet_local! {
    static MARK: Cell<u32> = Cell::new(0);
}

/// Runs `f` in a greenlet of a hub that has stacks at hand.
fn in_a_greenlet(f: impl FnOnce() + 'static) {
    run(|| {
        greenlet_core::joinall((0..8).map(|_| spawn(yield_now)).collect::<Vec<_>>());
        spawn(f).get().unwrap();
    });
}

/// Spawns inside, at the first turn at which that is possible.
fn inside(mut f: impl FnOnce() + 'static) -> Option<GreenletRef> {
    loop {
        match spawn_inside(f) {
            Ok(waits) => return waits,
            Err(back) => f = back,
        }
        yield_now();
    }
}

/// What `f` returns in a greenlet of its own that does not wait.
fn value_of<T: 'static>(f: impl FnOnce() -> T + 'static) -> T {
    let value = Rc::new(Cell::new(None));
    let place = value.clone();
    assert!(inside(move || place.set(Some(f()))).is_none(), "it has ended");
    value.take().expect("it ran to its end")
}

#[test]
fn it_has_run_when_the_caller_goes_on() {
    in_a_greenlet(|| {
        let others: Vec<_> = (0..3).map(|_| spawn(|| ())).collect();
        // The first of its kind may have to wait for a look around, the others not.
        value_of(|| ());
        let late = spawn(|| ());
        assert_eq!(value_of(|| 7), 7);
        assert!(!late.ready(), "ahead of all others");
        greenlet_core::joinall(&others);
    });
}

#[test]
fn one_that_waits_goes_on_as_all_others() {
    in_a_greenlet(|| {
        let (order, event) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Event::new()));
        let waits = inside({
            let (order, event) = (order.clone(), event.clone());
            move || {
                order.borrow_mut().push("begins");
                event.wait();
                order.borrow_mut().push("ends");
            }
        });
        let waits = waits.expect("it waits");
        order.borrow_mut().push("caller");
        assert!(!waits.ready());
        event.set();
        waits.join();
        assert!(waits.successful());
        assert_eq!(*order.borrow(), ["begins", "caller", "ends"]);
    });
}

#[test]
fn each_is_a_greenlet_of_its_own() {
    in_a_greenlet(|| {
        let caller = current();
        let who = || {
            let me = current();
            let fresh = (MARK.get(), embed::tag(), me.name(), me.has_links());
            MARK.set(5);
            // SAFETY: nobody here takes it for an address.
            unsafe { embed::set_tag(5) };
            me.set_name("somebody");
            (me.id(), me.parent_id(), fresh)
        };
        let mut ids = vec![caller.id()];
        for _ in 0..100 {
            let (id, parent, (mark, tag, name, has_links)) = value_of(who);
            assert!(!ids.contains(&id));
            assert_eq!((parent, mark, tag, has_links), (Some(caller.id()), 0, 0, false));
            assert_ne!(name, "somebody");
            ids.push(id);
        }
    });
}

#[test]
fn locals_are_dropped_at_the_end_of_each() {
    in_a_greenlet(|| {
        greenlet_local! {
            static HELD: RefCell<Option<Rc<dyn Any>>> = RefCell::new(None);
        }
        let drops = Rc::new(Cell::new(0));
        for n in 1..=10 {
            let count = drops.clone();
            let count: Rc<dyn Any> = Rc::new(OnDrop(move || count.set(count.get() + 1)));
            value_of(move || HELD.with(|held| held.replace(Some(count))).is_none());
            assert_eq!(drops.get(), n);
        }
    });
}

#[test]
fn a_reference_that_it_hands_out_stays_true() {
    in_a_greenlet(|| {
        let kept: Vec<_> = (0..20).map(|_| value_of(current)).collect();
        let ids: Vec<_> = kept.iter().map(GreenletRef::id).collect();
        for _ in 0..20 {
            assert!(!ids.contains(&value_of(|| current().id())), "nobody is made of one that is known");
        }
        assert!(kept.iter().all(|one| one.ready() && one.successful() && !one.is_current()));
        assert_eq!(kept.iter().map(GreenletRef::id).collect::<Vec<_>>(), ids);
        let told = Rc::new(Cell::new(0));
        for one in &kept {
            let (told, id) = (told.clone(), one.id());
            one.link(move |ended| told.set(told.get() + u32::from(ended.id() == id)));
            one.kill(); // changes nothing
            one.join();
        }
        yield_now();
        yield_now();
        assert_eq!(told.get(), 20);
        assert!(kept.iter().all(|one| one.successful()));
    });
}

#[test]
fn a_link_is_told_of_the_end_though_nobody_has_a_reference() {
    in_a_greenlet(|| {
        let told = Rc::new(RefCell::new(Vec::new()));
        let place = told.clone();
        let id = value_of(move || {
            current().link(move |ended| place.borrow_mut().push((ended.id(), ended.successful())));
            current().id()
        });
        value_of(|| ());
        yield_now();
        yield_now();
        assert_eq!(*told.borrow(), [(id, true)]);
    });
}

#[test]
fn a_joiner_that_came_during_its_run_is_woken() {
    in_a_greenlet(|| {
        let (joined, place) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
        let ended = inside({
            let (joined, place) = (joined.clone(), place.clone());
            move || {
                let me = current();
                let id = me.id();
                let joiner = spawn(move || {
                    me.join();
                    joined.set(id);
                });
                place.set(Some((id, joiner.clone())));
                greenlet_core::yield_to(&joiner);
            }
        });
        let (id, joiner) = place.take().unwrap();
        joiner.join();
        assert_eq!(joined.get(), id);
        assert!(ended.is_none_or(|ended| ended.ready()));
    });
}

#[test]
fn a_failure_is_reported_and_is_not_the_next_ones() {
    in_a_greenlet(|| {
        let reports = Rc::new(RefCell::new(Vec::new()));
        let noted = reports.clone();
        Hub::set_error_handler(move |_, failure| noted.borrow_mut().push(failure.to_string()));
        for _ in 0..3 {
            let failed = Rc::new(Cell::new(None));
            let place = failed.clone();
            assert!(
                inside(move || {
                    place.set(Some(current()));
                    greenlet_core::raise(Oops("no"))
                })
                .is_none()
            );
            let failed = failed.take().unwrap();
            assert!(failed.ready() && !failed.successful() && failed.exception().is_some());
            assert!(inside(|| greenlet_core::raise(Oops("unknown"))).is_none());
            assert!(value_of(current).successful());
        }
        Hub::reset_error_handler();
        assert_eq!(reports.borrow().len(), 6);
    });
}

#[test]
fn one_that_waits_can_be_killed_and_has_timeouts() {
    in_a_greenlet(|| {
        let unwound = Rc::new(Cell::new(0));
        for n in 1..=5 {
            let count = unwound.clone();
            let waits = inside(move || {
                let _count = OnDrop(|| count.set(count.get() + 1));
                sleep(FOREVER);
            });
            let waits = waits.expect("it waits");
            waits.kill();
            assert!(waits.exited() && unwound.get() == n);
            let late = Rc::new(Cell::new(false));
            let place = late.clone();
            let waits = inside(move || place.set(with_timeout(SHORT, || sleep(FOREVER)).is_err()));
            waits.expect("it waits").join();
            assert!(late.get());
            value_of(|| ());
        }
    });
}

#[test]
fn what_is_raised_in_it_while_it_runs_is_not_the_next_ones() {
    in_a_greenlet(|| {
        for _ in 0..5 {
            value_of(|| current().kill_with(Kill::default().no_wait()));
            let waits = inside(|| sleep(SHORT)).expect("it waits");
            waits.join();
            assert!(waits.successful());
        }
    });
}

#[test]
fn a_kill_of_the_caller_comes_at_its_next_wait() {
    in_a_greenlet(|| {
        let went_on = Rc::new(Cell::new(false));
        let place = went_on.clone();
        let caller = spawn(move || {
            let me = current();
            value_of(move || me.kill_with(Kill::default().no_wait()));
            place.set(true);
            sleep(FOREVER);
        });
        caller.join();
        assert!(went_on.get() && caller.exited());
    });
}

#[test]
fn they_run_inside_each_other_on_stacks_of_their_own() {
    fn descend(depth: u32) -> u32 {
        if depth == 0 { 0 } else { 1 + value_of(move || descend(depth - 1)) }
    }
    in_a_greenlet(|| {
        for _ in 0..3 {
            assert_eq!(descend(6), 6);
        }
    });
}

#[test]
fn it_is_in_the_run_info_while_it_runs_and_not_afterwards() {
    in_a_greenlet(|| {
        let known = || -> Vec<u64> {
            let info = monitor::run_info();
            info.hubs.into_iter().flat_map(|hub| hub.greenlets).map(|greenlet| greenlet.id).collect()
        };
        let found = Rc::new(Cell::new(None));
        let place = found.clone();
        // Other hubs are asked too, which may take a wait.
        let waits = inside(move || place.set(Some((current().id(), known().contains(&current().id())))));
        waits.iter().for_each(|waits| waits.join());
        drop(waits);
        let (id, during) = found.get().expect("it ran");
        assert!(during);
        assert!(!known().contains(&id));
    });
}

#[test]
fn it_is_given_back_where_the_loop_has_to_be_in_between() {
    assert!(spawn_inside(|| ()).is_err(), "there is no hub");
    run(|| {
        spawn(|| ()).join();
        assert!(spawn_inside(|| ()).is_err(), "main runs the loop");
    });
    in_a_greenlet(|| {
        let seen = Rc::new(Cell::new(0));
        let count = seen.clone();
        let callback = add_spawn_callback(move |_| count.set(count.get() + 1));
        for _ in 0..10 {
            assert!(spawn_inside(|| ()).is_err(), "spawns are watched");
            yield_now();
        }
        remove_spawn_callback(callback);
        let hook = Hub::add_switch_hook(|_| {});
        for _ in 0..10 {
            assert!(spawn_inside(|| ()).is_err(), "switches are watched");
            yield_now();
        }
        drop(hook);
        assert_eq!((value_of(|| 1), seen.get()), (1, 0));
    });
}

#[test]
fn spans_of_the_caller_are_its_own() {
    let recorder = Recorder::default();
    let subscriber = tracing_subscriber::registry().with(recorder.clone());
    tracing::subscriber::with_default(subscriber, || {
        in_a_greenlet(|| {
            let _span = tracing::info_span!("caller").entered();
            let waits = inside(|| {
                tracing::info!("inside");
                let _span = tracing::info_span!("called").entered();
                yield_now();
                tracing::info!("later");
            });
            tracing::info!("outside");
            waits.expect("it waits").join();
            tracing::info!("outside");
        });
    });
    let seen: Vec<_> = recorder.seen().into_iter().map(|seen| (seen.text, seen.spans)).collect();
    let of = |what: &str| -> Vec<_> {
        let here = |text: &str| text.trim_end() == format!("message={what}");
        seen.iter().filter(|(text, _)| here(text)).map(|(_, spans)| spans.clone()).collect()
    };
    assert_eq!(of("inside"), [Vec::<String>::new()]);
    assert_eq!(of("later"), [["called"]]);
    assert_eq!(of("outside"), [["caller"], ["caller"]]);
}

#[test]
fn references_may_go_to_other_threads_while_it_ends() {
    let (sender, receiver) = mpsc::channel::<GreenletRef>();
    let thread = std::thread::spawn(move || {
        let mut seen = 0;
        for greenlet in receiver {
            let id = greenlet.id();
            greenlet.join();
            assert!(greenlet.ready() && greenlet.successful() && greenlet.id() == id);
            seen += 1;
        }
        seen
    });
    in_a_greenlet(move || {
        for n in 0..2000 {
            let sender = sender.clone();
            inside(move || {
                if n % 3 != 0 {
                    sender.send(current()).unwrap();
                }
            });
        }
    });
    assert_eq!(thread.join().unwrap(), (0..2000).filter(|n| n % 3 != 0).count());
}
