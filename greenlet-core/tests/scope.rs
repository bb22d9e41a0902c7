//! Scopes: greenlets that borrow from who waits for them.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use greenlet_core::{
    Builder, Event, Failure, GreenletError, GreenletExit, GreenletRef, Hub, Kill, Scope, StackSize, Timeout,
    add_spawn_callback, attempt, catch, current, greenlet_local, raise, remove_spawn_callback, run, scope,
    sleep, spawn, with_timeout, yield_now,
};
use support::{FOREVER, OnDrop, Oops, Rng, SHORT, Watchdog, no_wait, seeds, settle, until, with};

/// Counts those that are alive, of what must be gone when a scope is over.
struct Alive<'a>(&'a Cell<usize>);

impl<'a> Alive<'a> {
    fn one(count: &'a Cell<usize>) -> Alive<'a> {
        count.set(count.get() + 1);
        Alive(count)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Spawns one of each state that a greenlet can be in, all of which borrow, and one that takes its time to die.
fn populate<'scope>(s: &'scope Scope<'scope, '_>, alive: &'scope Cell<usize>) {
    let one = || Alive::one(alive);
    s.spawn({
        let alive = one();
        move || alive // ended, with a value
    });
    s.spawn({
        let alive = one();
        move || {
            let _alive = alive;
            sleep(FOREVER)
        }
    });
    s.spawn({
        let alive = one();
        move || {
            let _slow = OnDrop(|| (0..5).for_each(|_| yield_now()));
            let _alive = alive;
            sleep(FOREVER)
        }
    });
    s.spawn({
        let inner = one();
        move || {
            let _inner = inner;
            let deeper = Alive::one(alive);
            s.spawn(move || {
                let _deeper = deeper;
                sleep(FOREVER)
            });
            sleep(FOREVER)
        }
    });
    settle();
    s.spawn({
        let alive = one();
        move || drop(alive) // never started
    });
}

// --- the ordinary case ---------------------------------------------------------------------------------------------

#[test]
fn a_scope_waits_for_all_that_it_spawned_and_returns_what_its_closure_returns() {
    run(|| {
        let mut lines = Vec::new();
        let returned = scope(|s| {
            s.spawn(|| {
                yield_now();
                lines.push("mutably borrowed");
            });
            "returned"
        });
        assert_eq!((returned, lines), ("returned", vec!["mutably borrowed"]));
    });
}

#[test]
fn an_empty_scope_does_not_suspend() {
    run(|| {
        let ran = Rc::new(Cell::new(false));
        with(&ran, |ran| ran.set(true));
        assert_eq!(scope(|_| 1), 1);
        assert!(!ran.get());
    });
}

#[test]
fn values_borrow_and_are_got_in_every_way() {
    run(|| {
        let words = [String::from("one"), String::from("three")];
        scope(|s| {
            let first = s.spawn(|| &words[0]);
            let second = s.spawn(|| words[1].as_str());
            assert_eq!(first.value(), None);
            assert_eq!(first.get().unwrap(), "one");
            assert_eq!(first.value().map(|word| word.as_str()), Some("one"));
            assert_eq!(second.get_timeout(support::GENEROUS).unwrap(), "three");
            assert_eq!(second.into_value().unwrap(), "three");
            let late = s.spawn(|| sleep(FOREVER));
            assert!(matches!(late.get_timeout(SHORT), Err(GreenletError::TimedOut)));
            late.kill();
            assert!(matches!(late.get(), Err(GreenletError::Exit(_))) && late.exited());
        });
    });
}

#[test]
fn children_of_children_are_waited_for() {
    run(|| {
        let count = Cell::new(0);
        fn grow<'scope>(s: &'scope Scope<'scope, '_>, count: &'scope Cell<u32>, depth: u32) {
            count.set(count.get() + 1);
            if depth > 0 {
                for _ in 0..2 {
                    s.spawn(move || {
                        yield_now();
                        grow(s, count, depth - 1);
                    });
                }
            }
        }
        scope(|s| grow(s, &count, 6));
        assert_eq!(count.get(), 127);
    });
}

#[test]
fn scopes_are_nested() {
    run(|| {
        let log = RefCell::new(Vec::new());
        scope(|outer| {
            outer.spawn(|| {
                let mine = Cell::new(0);
                scope(|inner| {
                    for _ in 0..3 {
                        inner.spawn(|| {
                            yield_now();
                            mine.set(mine.get() + 1);
                        });
                    }
                });
                log.borrow_mut().push(mine.get());
            });
        });
        assert_eq!(log.into_inner(), [3]);
    });
}

#[test]
fn a_long_scope_does_not_keep_those_that_have_ended() {
    run(|| {
        let alive = Cell::new(0);
        scope(|s| {
            for n in 0..2000 {
                let token = Alive::one(&alive);
                let greenlet = s.spawn(move || drop(token));
                if n % 10 == 0 {
                    greenlet.join();
                }
            }
        });
        assert_eq!(alive.get(), 0);
    });
}

#[test]
fn many_in_one_scope_end() {
    run(|| {
        let count = Cell::new(0);
        scope(|s| {
            for _ in 0..20_000 {
                s.spawn(|| count.set(count.get() + 1));
            }
        });
        assert_eq!(count.get(), 20_000);
    });
}

#[test]
fn greenlets_of_a_scope_have_names_and_stacks_of_their_own() {
    run(|| {
        let seen = RefCell::new(String::new());
        let line = scope(|s| {
            let settings = Builder::new().name("deep").stack_size(StackSize::new(4 << 20).unwrap());
            let child = s.spawn_with(settings, || {
                let deep = [1_u8; 2 << 20];
                *seen.borrow_mut() =
                    format!("{} {}", current().name(), deep.iter().map(|&n| n as usize).sum::<usize>());
            });
            child.spawn_site().line()
        });
        assert_eq!(seen.into_inner(), format!("deep {}", 2 << 20));
        assert!(line > 1);
        let killed = catch(|| {
            scope(|s| {
                let _late =
                    OnDrop(|| assert!(s.spawn_with(Builder::new(), || ()).join_timeout(support::GENEROUS)));
                raise(Oops("over"))
            })
        });
        assert!(killed.is_err());
    });
}

#[test]
fn main_and_plain_threads_have_scopes() {
    thread::spawn(|| {
        let mut here = 1;
        scope(|s| {
            s.spawn(|| here += 1); // the thread had no hub
        });
        assert_eq!(here, 2);
    })
    .join()
    .unwrap();
}

#[test]
fn a_greenlet_of_a_scope_is_like_any_other() {
    run(|| {
        let kept = RefCell::new(None);
        scope(|s| {
            let child = s.spawn(|| assert_eq!(current().name(), "child"));
            child.set_name("child");
            assert_eq!(child.parent_id(), Some(current().id()));
            assert_eq!(child.to_string(), format!("child (Greenlet-{})", child.id()));
            assert!(format!("{child:?}").contains(file!()));
            *kept.borrow_mut() = Some(GreenletRef::clone(&child));
        });
        let kept = kept.into_inner().unwrap();
        assert!(kept.successful());
        kept.kill();
        kept.start();
        kept.join();
    });
}

// --- ends that are not ordinary ------------------------------------------------------------------------------------

#[test]
fn killed_in_the_body_it_kills_its_greenlets_and_is_unwound_when_they_have_ended() {
    run(|| {
        let alive = Rc::new(Cell::new(0));
        let killed = with(&alive, |alive| {
            scope(|s| {
                populate(s, alive);
                sleep(FOREVER)
            })
        });
        settle();
        settle();
        assert_eq!(alive.get(), 4);
        killed.kill();
        assert!(killed.exited() && alive.get() == 0);
    });
}

#[test]
fn killed_while_it_waits_it_kills_its_greenlets_and_is_unwound_when_they_have_ended() {
    run(|| {
        let alive = Rc::new(Cell::new(0));
        let killed = with(&alive, |alive| {
            let alive_at_the_end = OnDrop(|| assert_eq!(alive.get(), 0));
            scope(|s| populate(s, alive));
            drop(alive_at_the_end);
            unreachable!("it never ends by itself")
        });
        until(|| alive.get() == 5);
        killed.kill_with(Kill::error(Oops("enough")));
        assert_eq!(alive.get(), 0);
        assert_eq!(killed.exception().unwrap().downcast_ref(), Some(&Oops("enough")));
    });
}

#[test]
fn killed_before_it_began_it_spawns_nothing() {
    run(|| {
        let killed = spawn(|| scope(|s| drop(s.spawn(|| unreachable!("it never ran")))));
        killed.kill();
        assert!(killed.exited());
    });
}

#[test]
fn a_timeout_passes_through_when_the_greenlets_have_ended() {
    run(|| {
        let alive = Cell::new(0);
        let in_the_wait = with_timeout(SHORT, || scope(|s| populate(s, &alive)));
        assert!(in_the_wait.is_err() && alive.get() == 0);
        let in_the_body = with_timeout(SHORT, || {
            scope(|s| {
                populate(s, &alive);
                sleep(FOREVER)
            })
        });
        assert!(in_the_body.is_err() && alive.get() == 0);
    });
}

#[test]
fn main_is_killed_in_a_scope() {
    run(|| {
        let alive = Cell::new(0);
        let main = current();
        spawn(move || {
            settle();
            settle();
            main.kill_with(no_wait());
        });
        let killed = catch(|| scope(|s| populate(s, &alive))).unwrap_err();
        assert!(killed.is::<GreenletExit>() && alive.get() == 0);
    });
}

#[test]
fn a_panic_in_the_body_goes_on_when_the_greenlets_have_ended() {
    run(|| {
        let alive = Cell::new(0);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                populate(s, &alive);
                if true {
                    panic!("in the body");
                }
            })
        }));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"in the body"));
        assert_eq!(alive.get(), 0);
    });
}

#[test]
fn a_panic_of_the_body_keeps_its_place_in_the_report() {
    run(|| {
        let line = Rc::new(Cell::new(0));
        let owner = with(&line, |line| {
            scope(|s| {
                s.spawn(|| sleep(FOREVER));
                yield_now();
                line.set(line!() + 1);
                panic!("here")
            })
        });
        owner.join();
        let text = owner.exception().unwrap().to_string();
        assert!(text.contains(&format!("scope.rs:{}:", line.get())), "{text}");
    });
}

#[test]
fn the_failure_of_one_that_nobody_waited_for_is_raised_in_the_end() {
    run(|| {
        let finished = Cell::new(false);
        let failed = attempt(|| {
            scope(|s| {
                s.spawn(|| raise(Oops("first")));
                s.spawn(|| raise(Oops("second")));
                s.spawn(|| {
                    settle();
                    finished.set(true); // the others go on
                });
            })
        });
        let Err(GreenletError::Failed(failure)) = failed else { panic!("{failed:?}") };
        assert_eq!(failure.downcast_ref(), Some(&Oops("first")));
        assert!(finished.get());
        let panicked = attempt(|| {
            scope(|s| {
                s.spawn(|| {
                    if true {
                        panic!("oh")
                    }
                });
            })
        });
        assert!(matches!(panicked, Err(GreenletError::Failed(failure)) if failure.is_panic()));
    });
}

#[test]
fn a_failure_that_somebody_saw_is_not_raised() {
    run(|| {
        scope(|s| {
            let failing = [s.spawn(|| raise(Oops("joined"))), s.spawn(|| raise(Oops("timed")))];
            failing[0].join();
            assert!(failing[1].join_timeout(support::GENEROUS));
            let got = s.spawn(|| -> u8 { raise(Oops("got")) });
            assert!(matches!(got.get(), Err(GreenletError::Failed(_))));
            let taken = s.spawn(|| -> u8 { raise(Oops("taken")) });
            assert!(matches!(taken.into_value(), Err(GreenletError::Failed(_))));
            s.spawn(|| raise(GreenletExit)); // no failure
        });
    });
}

#[test]
fn a_linked_greenlet_ends_the_scope_with_its_failure() {
    run(|| {
        let alive = Cell::new(0);
        let failed = catch(|| {
            scope(|s| {
                populate(s, &alive);
                s.spawn(|| raise(Oops("all or nothing"))).link_exception_to(&current());
            })
        });
        assert!(failed.unwrap_err().to_string().contains("all or nothing"));
        assert_eq!(alive.get(), 0);
    });
}

#[test]
fn one_that_survives_kills_is_waited_for() {
    run(|| {
        let gate = Rc::new(Event::new());
        let done = Rc::new(Cell::new(false));
        let owner = spawn({
            let (gate, done) = (gate.clone(), done.clone());
            move || {
                let mine = Cell::new(0);
                let _check = OnDrop(|| done.set(true));
                scope(|s| {
                    s.spawn(|| {
                        while catch(|| gate.wait()).is_err() {
                            mine.set(mine.get() + 1);
                        }
                    });
                });
            }
        });
        yield_now();
        for _ in 0..3 {
            owner.kill_with(no_wait());
            settle();
            assert!(!owner.ready() && !done.get());
        }
        gate.set();
        owner.join();
        assert!(owner.exited() && done.get());
    });
}

#[test]
fn what_is_raised_while_it_waits_comes_one_by_one() {
    run(|| {
        let gate = Rc::new(Event::new());
        let caught = spawn({
            let gate = gate.clone();
            move || {
                let mut caught = Vec::new();
                caught.push(catch(|| {
                    scope(|s| {
                        s.spawn(|| while catch(|| gate.wait()).is_err() {});
                    })
                }));
                caught.push(catch(yield_now));
                caught.push(catch(yield_now));
                caught.push(catch(yield_now));
                caught
                    .into_iter()
                    .map(|caught| caught.map_err(|raised| raised.to_string()))
                    .collect::<Vec<_>>()
            }
        });
        yield_now();
        for oops in ["one", "two", "three"] {
            caught.kill_with(Kill::error(Oops(oops)).no_wait());
            settle();
        }
        gate.set();
        let expected = ["one", "two", "three"].map(|oops| Err(oops.to_string()));
        assert_eq!(caught.get().unwrap()[..3], expected);
        assert_eq!(caught.get().unwrap()[3], Ok(()));
    });
}

#[test]
fn an_interrupt_that_is_revoked_while_it_waits_is_not_raised() {
    run(|| {
        let gate = Rc::new(Event::new());
        let owner = with(&gate, |gate| scope(|s| drop(s.spawn(|| while catch(|| gate.wait()).is_err() {}))));
        yield_now();
        let interrupt = owner.interrupt(Oops("never mind"));
        settle();
        interrupt.revoke();
        gate.set();
        owner.join();
        assert!(owner.successful() && !owner.exited());
    });
}

#[test]
fn a_timeout_that_ends_with_its_block_is_not_raised_later() {
    run(|| {
        let gate = Rc::new(Event::new());
        let owner = with(&gate, |gate| {
            let outer = with_timeout(SHORT, || {
                let _inner = Timeout::start_new(SHORT * 2);
                scope(|s| drop(s.spawn(|| while catch(|| gate.wait()).is_err() {})))
            });
            assert!(outer.is_err());
            settle();
        });
        sleep(SHORT * 6); // both have fired
        gate.set();
        owner.join();
        assert!(owner.successful(), "{:?}", owner.exception());
    });
}

#[test]
fn what_is_spawned_while_the_scope_is_unwound_never_runs() {
    run(|| {
        let alive = Cell::new(0);
        let caught = catch(|| {
            scope(|s| {
                s.spawn(|| {
                    let _on_kill = OnDrop(|| {
                        let token = Alive::one(&alive);
                        let late = s.spawn(move || {
                            let _token = token;
                            unreachable!("the scope is over")
                        });
                        assert!(late.exited());
                    });
                    sleep(FOREVER)
                });
                yield_now();
                raise(Oops("over"))
            })
        });
        assert!(caught.unwrap_err().is::<Oops>() && alive.get() == 0);
    });
}

#[test]
fn scopes_in_destructors_work_while_the_greenlet_unwinds() {
    run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let unwound = with(&log, |log| {
            let _scope = OnDrop(|| {
                let mine = Cell::new(1);
                scope(|s| {
                    s.spawn(|| {
                        settle();
                        mine.set(2);
                    });
                    s.spawn(|| raise(Oops("reported, not raised")));
                });
                log.borrow_mut().push(mine.get());
                let late = with_timeout(SHORT, || scope(|s| drop(s.spawn(|| sleep(FOREVER)))));
                assert!(late.is_err());
                log.borrow_mut().push(3);
            });
            sleep(FOREVER)
        });
        yield_now();
        unwound.kill_with(no_wait());
        yield_now();
        unwound.kill(); // waits until the unwinding is over, and comes too late then
        assert_eq!((&log.borrow()[..], unwound.exited()), (&[2, 3][..], true));
    });
}

#[test]
fn a_scope_in_a_callback_of_the_loop_is_refused() {
    run(|| {
        let ran = Rc::new(Cell::new((false, false)));
        spawn(|| ()).rawlink({
            let ran = ran.clone();
            move |_| {
                ran.set((true, false));
                scope(|s| drop(s.spawn(|| ())));
                ran.set((true, true));
            }
        });
        settle();
        assert_eq!(ran.get(), (true, false));
    });
}

#[test]
fn a_spawn_callback_may_kill_what_a_scope_spawns() {
    run(|| {
        let id = add_spawn_callback(|greenlet| assert!(greenlet.kill_with(no_wait())));
        let alive = Cell::new(0);
        scope(|s| {
            let token = Alive::one(&alive);
            let child = s.spawn(move || drop(token));
            assert!(child.exited() && alive.get() == 0);
        });
        remove_spawn_callback(id);
    });
}

greenlet_local! {
    static KEPT: RefCell<Vec<Rc<Cell<usize>>>> = RefCell::default();
}

#[test]
fn locals_of_its_greenlets_are_gone_when_it_is_over() {
    run(|| {
        let shared = Rc::new(Cell::new(0));
        scope(|s| {
            s.spawn(|| KEPT.with_borrow_mut(|kept| kept.push(shared.clone())));
        });
        assert_eq!(Rc::strong_count(&shared), 1);
    });
}

#[test]
fn a_destructor_of_a_value_that_panics_fails_its_greenlet() {
    run(|| {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                if !thread::panicking() {
                    panic!("bad value")
                }
            }
        }
        let failed = attempt(|| scope(|s| drop(s.spawn(|| Bad))));
        assert!(
            matches!(failed, Err(GreenletError::Failed(failure)) if failure.to_string().contains("bad value"))
        );
    });
}

#[test]
fn the_end_of_the_hub_ends_scopes_in_order() {
    let ends = Rc::new(RefCell::new(Vec::new()));
    run(|| {
        with(&ends, |ends| {
            let _owner = OnDrop(|| ends.borrow_mut().push("owner"));
            scope(|s| {
                s.spawn(|| {
                    let _child = OnDrop(|| {
                        settle();
                        ends.borrow_mut().push("child");
                    });
                    sleep(FOREVER)
                });
            });
        });
        yield_now();
        yield_now();
    });
    assert_eq!(*ends.borrow(), ["child", "owner"]);
}

#[test]
fn a_kill_from_another_thread_reaches_the_owner_and_the_children() {
    let worker = Hub::thread("scoped").start().unwrap();
    let owner = worker
        .handle()
        .spawn(|| {
            let alive = Cell::new(0);
            let caught = catch(|| scope(|s| populate(s, &alive)));
            assert_eq!(alive.get(), 0);
            caught.is_err()
        })
        .unwrap();
    while !owner.join_timeout(Duration::from_millis(2)) {
        owner.kill_with(no_wait());
    }
    assert!(owner.exited() || owner.get().unwrap());
    worker.shutdown();
}

#[test]
fn a_reraised_failure_is_the_same_failure() {
    run(|| {
        let seen: RefCell<Option<GreenletRef>> = RefCell::new(None);
        let Err(GreenletError::Failed(raised)) = attempt(|| {
            scope(|s| {
                *seen.borrow_mut() = Some(GreenletRef::clone(&s.spawn(|| Failure::new(Oops("x")).reraise())));
            })
        }) else {
            panic!("it failed")
        };
        assert_eq!(raised.to_string(), seen.borrow().as_ref().unwrap().exception().unwrap().to_string());
    });
}

// --- anything, at any time -----------------------------------------------------------------------------------------

/// Does something random that borrows, spawns, waits and fails, and checks that nothing outlives its scope.
fn anything<'scope>(s: &'scope Scope<'scope, '_>, alive: &'scope Cell<usize>, mut rng: Rng, depth: u32) {
    let _alive = Alive::one(alive);
    for _ in 0..rng.below(4) {
        let rng_of_other = rng.fork();
        match rng.below(8) {
            0 | 1 if depth > 0 => {
                let token = Alive::one(alive);
                let child = s.spawn(move || {
                    let _token = token;
                    anything(s, alive, rng_of_other, depth - 1);
                    Alive::one(alive)
                });
                match rng.below(5) {
                    0 => child.join(),
                    1 => assert!(child.kill_with(no_wait()) || !child.ready()),
                    2 => child.kill(),
                    3 => drop(child.into_value()),
                    _ => {}
                }
            }
            2 if depth > 0 => {
                let mine = Cell::new(0);
                let result = with_timeout(rng.micros(300), || {
                    scope(|s| anything(s, &mine, rng_of_other, depth - 1));
                });
                assert_eq!(mine.get(), 0, "{result:?}");
            }
            3 => sleep(rng.micros(300)),
            4 => drop(catch(|| sleep(FOREVER.min(Duration::from_micros(200))))),
            5 if rng.one_in(8) => raise(Oops("random")),
            6 if rng.one_in(8) => current().kill(),
            _ => yield_now(),
        }
    }
}

#[test]
fn in_storms_of_kills_nothing_outlives_its_scope() {
    let watchdog = Watchdog::start("scopes");
    for seed in seeds(300) {
        let _begun = watchdog.begin(seed);
        let mut rng = Rng::new(seed);
        run(|| {
            let owners: Vec<_> = (0..3)
                .map(|_| {
                    let rng = rng.fork();
                    spawn(move || {
                        let alive = Cell::new(0);
                        let outcome = attempt(|| scope(|s| anything(s, &alive, rng, 4)));
                        assert_eq!(alive.get(), 0, "{outcome:?}");
                    })
                })
                .collect();
            for _ in 0..4 {
                sleep(rng.micros(400));
                owners[rng.below(3)].kill_with(no_wait());
            }
            for owner in &owners {
                owner.join();
                assert!(owner.successful(), "{:?}", owner.exception());
            }
        });
    }
}

#[test]
fn each_kill_of_the_owner_reaches_its_children() {
    run(|| {
        let owner = spawn(|| {
            scope(|s| {
                s.spawn(|| {
                    let _ = catch(|| sleep(FOREVER)); // survives one
                    sleep(FOREVER);
                });
            });
        });
        settle();
        owner.kill_with(no_wait());
        settle();
        assert!(!owner.ready());
        owner.kill();
        assert!(owner.exited());
    });
}
