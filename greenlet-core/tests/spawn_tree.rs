//! Who spawned whom: parents, tree-locals, small numbers, names, spawn callbacks.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::thread;

use greenlet_core::{
    Builder, Greenlet, GreenletRef, Hub, Kill, SpawnCallbackId, TreeKeyError, add_spawn_callback, catch,
    current, greenlet_local, joinall, remove_spawn_callback, run, sleep, spawn, spawn_later, tree_local,
    yield_now,
};
use support::{FOREVER, OnDrop, SHORT, Tally, Token, no_wait, settle, until, with};

// --- parents ---------------------------------------------------------------------------------------------------------

#[test]
fn a_greenlet_knows_who_spawned_it_while_that_one_lives() {
    run(|| {
        let main = current();
        assert_eq!((main.parent_id(), main.spawning_greenlet()), (None, None));
        let parent = spawn(|| {
            let child = spawn(|| sleep(FOREVER));
            assert_eq!(child.spawning_greenlet(), Some(current()));
            (child, current().id())
        });
        assert_eq!(parent.spawning_greenlet(), Some(main.clone()));
        parent.join();
        let (child, id) = parent.value().unwrap();
        assert_eq!((child.parent_id(), child.spawning_greenlet()), (Some(*id), None));
        let made = [Greenlet::new(|| ()), Builder::new().build(|| ()), spawn_later(SHORT, || ())];
        assert!(made.iter().all(|greenlet| greenlet.spawning_greenlet() == Some(main.clone())));
        child.kill();
    });
}

#[test]
fn a_greenlet_spawned_by_the_loop_or_another_thread_has_no_parent() {
    run(|| {
        let spawned = Rc::new(RefCell::new(None));
        spawn(|| ()).rawlink({
            let spawned = spawned.clone();
            move |_| *spawned.borrow_mut() = Some(spawn(|| ()))
        });
        settle();
        assert_eq!(spawned.borrow().as_ref().unwrap().parent_id(), None);
        let here = Hub::current();
        let sent = thread::spawn(move || here.spawn(|| ()).unwrap()).join().unwrap();
        assert_eq!(sent.parent_id(), None);
        sent.join();
    });
}

#[test]
fn another_thread_learns_the_number_of_the_parent_only() {
    run(|| {
        let child = spawn(|| sleep(FOREVER));
        let elsewhere = GreenletRef::clone(&child);
        let seen = thread::spawn(move || {
            (elsewhere.parent_id(), elsewhere.spawning_greenlet(), elsewhere.minimal_ident())
        });
        assert_eq!(seen.join().unwrap(), (Some(current().id()), None, None));
        child.kill();
    });
}

#[test]
fn a_chain_of_spawns_keeps_nobody_alive() {
    run(|| {
        let tally = Tally::default();
        fn link(tally: &Tally, left: u32) {
            if left > 0 {
                let (token, tally) = (tally.token(), tally.clone());
                spawn(move || {
                    link(&tally, left - 1);
                    token
                });
            }
        }
        link(&tally, 1000);
        for _ in 0..200 {
            settle();
        }
        assert_eq!((tally.made(), tally.dropped()), (1000, 1000));
    });
}

// --- tree-locals -----------------------------------------------------------------------------------------------------

tree_local! {
    static REQUEST: Cell<u32> = Cell::new(0);
    static WORDS: RefCell<Vec<&'static str>> = RefCell::default();
    static TOKENS: RefCell<Vec<Token>> = RefCell::default();
}

#[test]
fn a_tree_shares_one_value() {
    run(|| {
        let root = spawn(|| {
            let first = spawn(|| REQUEST.set(REQUEST.get() + 1)); // before the root has used it
            first.join();
            assert_eq!(REQUEST.get(), 1);
            let deep = spawn(|| spawn(|| spawn(|| REQUEST.replace(7)).get().unwrap()).get().unwrap());
            assert_eq!((deep.get().unwrap(), REQUEST.take(), REQUEST.get()), (1, 7, 0));
            WORDS.with_borrow_mut(|words| words.push("root"));
            Builder::new().spawn(|| WORDS.with_borrow_mut(|words| words.push("child"))).join();
            WORDS.with_borrow(|words| words.clone())
        });
        assert_eq!(root.get().unwrap(), ["root", "child"]);
    });
}

#[test]
fn those_that_main_spawns_do_not_share() {
    run(|| {
        let roots: Vec<_> = (1..=3)
            .map(|n| {
                spawn(move || {
                    REQUEST.set(n);
                    yield_now();
                    spawn(|| REQUEST.get()).get().unwrap()
                })
            })
            .collect();
        joinall(&roots);
        assert_eq!(roots.iter().map(|root| *root.value().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    });
}

#[test]
fn one_sent_from_another_thread_is_a_tree_of_its_own() {
    run(|| {
        let root = spawn(|| {
            REQUEST.set(5);
            let here = Hub::current();
            let sent = thread::spawn(move || here.spawn(|| REQUEST.get()).unwrap()).join().unwrap();
            sent.get().unwrap()
        });
        assert_eq!(root.get().unwrap(), 0);
    });
}

#[test]
fn main_and_the_loop_have_no_tree() {
    run(|| {
        assert_eq!(REQUEST.try_with(|_| ()), Err(TreeKeyError::Main));
        let in_loop = Rc::new(Cell::new(None));
        spawn(|| ()).rawlink({
            let in_loop = in_loop.clone();
            move |_| in_loop.set(Some(REQUEST.try_with(|_| ())))
        });
        settle();
        assert_eq!(in_loop.get(), Some(Err(TreeKeyError::NoGreenlet)));
    });
    assert!(std::panic::catch_unwind(|| REQUEST.set(1)).is_err());
}

#[test]
fn values_go_with_the_last_of_the_tree_before_its_end_is_known() {
    run(|| {
        let tally = Rc::new(Tally::default());
        let gate = Rc::new(greenlet_core::Event::new());
        let child = Rc::new(RefCell::new(None));
        let root = spawn({
            let (tally, gate, child) = (tally.clone(), gate.clone(), child.clone());
            move || {
                TOKENS.with_borrow_mut(|tokens| tokens.push(tally.token()));
                *child.borrow_mut() = Some(with(&gate, |gate| gate.wait()));
            }
        });
        root.join();
        assert_eq!(tally.dropped(), 0);
        gate.set();
        child.borrow().as_ref().unwrap().join();
        tally.assert_all_home();
    });
}

#[test]
fn a_member_that_never_starts_leaves_its_tree_too() {
    run(|| {
        let tally = Tally::default();
        for kill in [false, true] {
            let token = tally.token();
            let child = spawn(move || {
                TOKENS.with_borrow_mut(|tokens| tokens.push(token));
                Greenlet::new(|| ())
            });
            let child = child.into_value().unwrap();
            assert_eq!(tally.dropped(), tally.made() - 1);
            if kill {
                child.kill();
            }
            drop(child);
            tally.assert_all_home();
        }
        // The last handle goes elsewhere.
        let token = tally.token();
        let child = spawn(move || {
            TOKENS.with_borrow_mut(|tokens| tokens.push(token));
            Greenlet::new(|| ())
        });
        let child = child.into_value().unwrap();
        thread::spawn(move || drop(child)).join().unwrap();
        until(|| tally.dropped() == tally.made());
        tally.assert_all_home();
    });
}

#[test]
fn values_are_never_dropped_on_another_thread() {
    let tally = Tally::default();
    let kept = thread::spawn({
        let tally = tally.clone();
        move || {
            run(|| {
                let token = tally.token();
                let made = spawn(move || {
                    TOKENS.with_borrow_mut(|tokens| tokens.push(token));
                    Greenlet::new(|| ())
                });
                made.into_value().unwrap()
            })
        }
    });
    let kept = kept.join().unwrap();
    kept.start(); // its hub is gone: it ends, and nobody may drop what belongs there
    assert!(kept.exited());
    drop(kept);
    assert_eq!(tally.astray(), 0);
}

tree_local! {
    static NESTED: Nested = Nested(Cell::new(false));
}
greenlet_local! {
    static OWN: Nested = Nested(Cell::new(false));
}

/// Uses both kinds of locals when it is dropped.
struct Nested(Cell<bool>);

impl Drop for Nested {
    fn drop(&mut self) {
        if self.0.get() {
            yield_now();
            NESTED.with(|nested| assert!(!nested.0.get()));
            OWN.with(|own| assert!(!own.0.get()));
        }
    }
}

#[test]
fn a_destructor_of_a_value_may_make_values_and_suspend() {
    run(|| {
        let greenlet = spawn(|| {
            NESTED.with(|nested| nested.0.set(true));
            OWN.with(|own| own.0.set(true));
        });
        greenlet.join();
        assert!(greenlet.successful());
    });
}

#[test]
fn a_killed_tree_drops_its_values() {
    run(|| {
        let tally = Tally::default();
        let token = tally.token();
        let root = spawn(move || {
            TOKENS.with_borrow_mut(|tokens| tokens.push(token));
            let child = spawn(|| sleep(FOREVER));
            let _child = OnDrop(move || child.kill());
            sleep(FOREVER)
        });
        settle();
        root.kill();
        tally.assert_all_home();
    });
}

// --- small numbers and names -----------------------------------------------------------------------------------------

#[test]
fn minimal_idents_are_small_unique_and_used_again() {
    run(|| {
        assert_eq!(current().minimal_ident(), Some(0));
        let many: Vec<_> = (0..100).map(|_| spawn(|| current().minimal_ident())).collect();
        let idents: BTreeSet<_> = many.iter().map(|greenlet| greenlet.minimal_ident().unwrap()).collect();
        assert_eq!(idents, (1..=100).collect());
        assert_eq!(many[4].minimal_ident(), many[4].minimal_ident());
        let sixth = many[5].minimal_ident();
        many[5].kill();
        assert_eq!(many[5].minimal_ident(), None);
        assert_eq!(Greenlet::new(|| ()).minimal_ident(), sixth, "it goes back when one is dropped unstarted");
        joinall(&many);
        assert_eq!(spawn(|| ()).minimal_ident(), Some(1));
    });
}

#[test]
fn a_name_may_be_changed_at_any_time_from_any_thread() {
    run(|| {
        let greenlet = Builder::new().name("first").spawn(|| sleep(FOREVER));
        assert_eq!(greenlet.to_string(), format!("first (Greenlet-{})", greenlet.id()));
        let elsewhere = GreenletRef::clone(&greenlet);
        thread::spawn(move || elsewhere.set_name("second")).join().unwrap();
        assert_eq!(greenlet.name(), "second");
        greenlet.kill();
        greenlet.set_name(String::new());
        assert_eq!(greenlet.to_string(), format!(" (Greenlet-{})", greenlet.id()));
        current().set_name("the thread's own");
        assert_eq!(current().name(), "the thread's own");
    });
}

#[test]
fn names_are_read_and_written_by_many_threads() {
    run(|| {
        let greenlet = parked();
        thread::scope(|threads| {
            for n in 0..4 {
                let greenlet = GreenletRef::clone(&greenlet);
                threads.spawn(move || {
                    for _ in 0..500 {
                        greenlet.set_name(format!("name {n}"));
                        assert!(greenlet.to_string().starts_with("name "));
                    }
                });
            }
        });
        greenlet.kill();
    });
}

fn parked() -> Greenlet<()> {
    let greenlet = spawn(|| sleep(FOREVER));
    yield_now();
    greenlet
}

// --- spawn callbacks -------------------------------------------------------------------------------------------------

/// Counts the greenlets that are announced.
fn counting() -> (Rc<RefCell<Vec<u64>>>, SpawnCallbackId) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let id = add_spawn_callback({
        let seen = seen.clone();
        move |greenlet| seen.borrow_mut().push(greenlet.id())
    });
    (seen, id)
}

#[test]
fn a_spawn_callback_hears_of_every_start_once() {
    run(|| {
        let (seen, id) = counting();
        let new = Greenlet::new(|| ());
        assert!(seen.borrow().is_empty());
        new.start();
        new.start();
        let spawned = spawn(|| ());
        let later = spawn_later(SHORT, || ());
        let built = Builder::new().spawn(|| ());
        let ids = [&*new, &*spawned, &*later, &*built].map(|greenlet| greenlet.id());
        assert_eq!(*seen.borrow(), ids);
        later.join();
        assert!(remove_spawn_callback(id));
        assert!(!remove_spawn_callback(id));
        spawn(|| ()).join();
        assert_eq!(*seen.borrow(), ids);
    });
}

#[test]
fn one_from_another_thread_is_announced_when_it_arrives() {
    run(|| {
        let (seen, _) = counting();
        let here = Hub::current();
        let new = Greenlet::new(|| ());
        let other = GreenletRef::clone(&new);
        let sent = thread::spawn(move || {
            other.start();
            here.spawn(|| ()).unwrap()
        });
        let sent = sent.join().unwrap();
        sent.join();
        assert_eq!(*seen.borrow(), [new.id(), sent.id()]);
    });
}

#[test]
fn a_spawn_callback_that_panics_stops_neither_the_spawn_nor_the_others() {
    run(|| {
        add_spawn_callback(|_| panic!("in a spawn callback"));
        let (seen, _) = counting();
        let greenlet = spawn(|| 1);
        assert_eq!(greenlet.get().unwrap(), 1);
        assert_eq!(seen.borrow().len(), 1);
    });
}

#[test]
fn what_a_spawn_callback_spawns_is_not_announced() {
    run(|| {
        let spawned = Rc::new(RefCell::new(Vec::new()));
        add_spawn_callback({
            let spawned = spawned.clone();
            move |greenlet| {
                assert_eq!(greenlet.spawning_greenlet(), Some(current()));
                spawned.borrow_mut().push(spawn(|| ()));
            }
        });
        spawn(|| ()).join();
        assert_eq!(spawned.borrow().len(), 1);
        assert_eq!(spawned.borrow()[0].parent_id(), None);
        joinall(&*spawned.borrow());
    });
}

#[test]
fn a_spawn_callback_must_not_block() {
    run(|| {
        let after = Rc::new(Cell::new(0));
        add_spawn_callback({
            let after = after.clone();
            move |_| {
                after.set(after.get() + 1);
                yield_now();
                after.set(100);
            }
        });
        spawn(|| ()).join();
        assert_eq!(after.get(), 1);
    });
}

#[test]
fn spawn_callbacks_may_remove_themselves_and_each_other() {
    run(|| {
        let ids = Rc::new(RefCell::new(Vec::<SpawnCallbackId>::new()));
        let calls = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let id = add_spawn_callback({
                let (ids, calls) = (ids.clone(), calls.clone());
                move |_| {
                    calls.set(calls.get() + 1);
                    ids.borrow_mut().drain(..).for_each(|id| assert!(remove_spawn_callback(id)));
                }
            });
            ids.borrow_mut().push(id);
        }
        spawn(|| ()).join();
        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn a_spawn_callback_may_kill_the_new_greenlet() {
    run(|| {
        let id = add_spawn_callback(|greenlet| assert!(greenlet.kill_with(no_wait())));
        let never = [
            spawn(|| unreachable!("never runs")),
            spawn_later(SHORT, || unreachable!("never runs")),
            Builder::new().spawn(|| unreachable!("never runs")),
        ];
        remove_spawn_callback(id);
        sleep(SHORT * 2);
        assert!(never.iter().all(|greenlet| greenlet.exited()));
    });
}

#[test]
fn spawn_callbacks_are_of_one_hub_and_go_with_it() {
    let tally = Tally::default();
    let id = thread::spawn({
        let tally = tally.clone();
        move || {
            run(|| {
                let token = tally.token();
                add_spawn_callback(move |_| assert!(format!("{token:?}").len() > 1))
            })
        }
    });
    let id = id.join().unwrap();
    assert!(!remove_spawn_callback(id));
    tally.assert_all_home();
}

#[test]
fn a_spawn_in_a_destructor_while_unwinding_is_announced() {
    run(|| {
        let (seen, _) = counting();
        let caught = catch(|| {
            let _spawn = OnDrop(|| drop(spawn(|| ())));
            current().kill_with(Kill::default())
        });
        assert!(caught.is_err());
        assert_eq!(seen.borrow().len(), 1);
    });
}
