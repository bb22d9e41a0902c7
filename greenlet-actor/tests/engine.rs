//! What runs actors must lose none of them, whatever happens to greenlets, stacks and hubs around them.

mod probe;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, AnyActor, Context, Exit, Linkable, sys};
use greenlet_core::{
    AsyncResult, Config, Event, GreenletRef, Hub, StackSize, current, greenlet_local, sleep, spawn, yield_now,
};
use probe::{Ask, Elsewhere, Job, LONG, Log, Probe, on_hub, word};

greenlet_local! {
    static LEFT: RefCell<Vec<u32>> = RefCell::new(Vec::new());
}

fn small() -> StackSize {
    StackSize::new(128 * 1024).expect("a size")
}

fn runner_of(actor: &ActorRef<Job>) -> GreenletRef {
    let told = Arc::new(AsyncResult::new());
    let tell = told.clone();
    actor.run(move |_| {
        tell.set(current());
        Ok(())
    });
    told.get().expect("set").clone()
}

#[test]
fn actors_go_on_when_the_greenlets_that_ran_them_are_killed() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        for _ in 0..50 {
            let runner = runner_of(&actor);
            yield_now();
            // It waits to be called; and now it is called and killed at once.
            actor.run(|_| Ok(()));
            runner.kill();
            actor.settle();
            // And before it is called.
            let runner = runner_of(&actor);
            yield_now();
            runner.kill();
            actor.settle();
        }
    });
}

#[test]
fn an_actor_runs_when_there_is_a_stack_again() {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        Hub::configure(Config::default().max_stacks(8)).unwrap();
        greenlet_core::run(|| {
            Hub::set_error_handler(|_, _| {});
            let actor = Probe::new().spawn_local();
            // Greenlets that leave no stack to any runner.
            let block = Rc::new(Event::new());
            let hogs: Vec<_> = (0..20)
                .map(|_| {
                    let block = block.clone();
                    spawn(move || block.wait())
                })
                .collect();
            sleep(Duration::from_millis(5));
            block.set();
            greenlet_core::joinall(&hogs);
            actor.settle();
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(LONG).expect("it does not hang");
}

#[test]
fn an_actor_without_its_own_stack_is_killed_and_not_forgotten() {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        Hub::configure(Config::default().max_stacks(6)).unwrap();
        greenlet_core::run(|| {
            Hub::set_error_handler(|_, _| {});
            let log = Log::new();
            // There is a runner, and then there are no stacks for anybody else.
            Probe::new().spawn_local().settle();
            let block = Rc::new(Event::new());
            let hogs: Vec<_> = (0..20)
                .map(|_| {
                    let block = block.clone();
                    spawn(move || block.wait())
                })
                .collect();
            yield_now();
            let actor = ActorBuilder::new().stack_size(small()).spawn_local(Probe::new().ends_in(&log));
            assert_eq!(word(&actor.join_timeout(LONG).expect("it ends")), "killed");
            block.set();
            greenlet_core::joinall(&hogs);
            assert_eq!(log.taken(), ["state dropped"]);
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(LONG).expect("it does not hang");
}

#[test]
fn actors_with_stacks_of_their_own_end_with_their_hub_before_they_ran() {
    let actor: AnyActor = thread::spawn(|| {
        greenlet_core::run(|| {
            let actor = ActorBuilder::new().stack_size(small()).spawn_local(Probe::new());
            let other = ActorBuilder::new().stack_size(small()).spawn_local(Probe::new());
            other.settle();
            other.run(|_| Ok(()));
            actor.link(&other);
            actor.any_cell()
        })
    })
    .join()
    .unwrap();
    assert_eq!(word(&actor.join_timeout(LONG).expect("it ends")), "killed");
}

#[test]
fn actors_with_stacks_of_their_own_do_all_that_others_do() {
    on_hub(|| {
        let log = Log::new();
        let builder = || ActorBuilder::new().stack_size(small());
        let actor = builder().spawn_local(Probe::new().ends_in(&log));
        for round in 0..100 {
            assert_eq!(
                actor
                    .query(move |_, reply| {
                        reply.send(round);
                        Ok(())
                    })
                    .unwrap(),
                round
            );
        }
        let other = builder().spawn_local(Probe::new());
        other.suspend();
        actor.link(&other);
        other.kill();
        assert_eq!(word(&actor.join()), "killed");
        assert_eq!(log.taken(), ["terminate killed", "state dropped"]);
    });
}

#[test]
fn what_comes_from_outside_is_heard_among_actors_that_are_never_idle() {
    on_hub(|| {
        // These two always have something to do.
        fn on(me: ActorRef<Job>, other: ActorRef<Job>) {
            let (next, back) = (other.clone(), me);
            other.run(move |_| {
                if !back.ready() {
                    on(next, back);
                }
                Ok(())
            });
        }
        let (a, b) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        for _ in 0..3 {
            on(a.clone(), b.clone());
        }
        let heard = Probe::new().spawn_local();
        let outside = Elsewhere::spawn({
            let heard = heard.clone();
            move || {
                for _ in 0..10 {
                    heard.settle();
                }
            }
        });
        outside.join();
        a.kill();
        b.kill();
    });
}

#[test]
fn a_signal_does_not_cut_short_the_terminate_of_an_actor_that_ends_by_itself() {
    on_hub(|| {
        let log = Log::new();
        let (begun, go_on) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let (begin, wait, noted) = (begun.clone(), go_on.clone(), log.clone());
        let actor = Probe::new()
            .terminate(move |exit, _| {
                begin.set();
                wait.wait();
                noted.note(format_args!("terminated {}", word(exit)));
            })
            .spawn_local();
        actor.run(|_| Err(Exit::Normal));
        begun.wait();
        actor.send_exit(Exit::Shutdown);
        let from_outside = actor.clone();
        Elsewhere::spawn(move || from_outside.send_exit(probe::no_disk())).join();
        yield_now();
        go_on.set();
        assert_eq!(word(&actor.join()), "normal");
        assert_eq!(log.taken(), ["terminated normal"]);
    });
}

#[test]
fn actors_that_are_spawned_while_the_hub_ends_end_too() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    struct Alive;
    impl Alive {
        fn new() -> Alive {
            ALIVE.fetch_add(1, Ordering::SeqCst);
            Alive
        }
    }
    impl Drop for Alive {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    /// Spawns another one when it is dropped, by a greenlet or an actor.
    struct Heir(u32, Alive, mpsc::Sender<AnyActor>);
    impl Drop for Heir {
        fn drop(&mut self) {
            if self.0 > 0 {
                let heir = Heir(self.0 - 1, Alive::new(), self.2.clone());
                let actor = Probe::new().owning(heir).spawn_local();
                actor.send(Box::new(|_| Ok(()))).ok();
                let _ = self.2.send(actor.any_cell());
            }
        }
    }
    let (tell, told) = mpsc::channel();
    for round in 0..8 {
        let tell = tell.clone();
        on_hub(move || {
            let heir = Heir(3, Alive::new(), tell);
            match round % 4 {
                // In a greenlet that is killed.
                0 => drop(spawn(move || {
                    let _heir = heir;
                    sleep(Duration::MAX);
                })),
                // In a suspended handler.
                1 => {
                    let held = std::sync::Mutex::new(Some(heir));
                    Probe::new().spawn_local().suspend_in(move |_| {
                        let _heir = held.lock().unwrap().take();
                        sleep(Duration::MAX);
                    });
                }
                // In an idle actor.
                2 => Probe::new().owning(heir).spawn_local().settle(),
                // In one that never ran.
                _ => drop(Probe::new().owning(heir).spawn_local()),
            }
            yield_now();
        });
    }
    drop(tell);
    for actor in told {
        assert!(actor.join_timeout(LONG).is_some(), "{actor} was forgotten");
    }
    assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
}

#[test]
fn an_actor_that_survives_the_kill_of_its_hub_ends_all_the_same() {
    let ends = Log::new();
    let log = ends.clone();
    on_hub(move || {
        let actor = Probe::new().owning(probe::Dropped("state", log.clone())).spawn_local();
        actor.suspend_in(|_| {
            for _ in 0..5 {
                // Nothing stops it at first.
                let _ = greenlet_core::catch(|| sleep(Duration::MAX));
            }
        });
        for _ in 0..200 {
            actor.run(|_| Ok(()));
        }
    });
    assert_eq!(ends.taken(), ["state dropped"]);
}

#[test]
fn greenlet_locals_do_not_go_from_one_actor_to_another() {
    on_hub(|| {
        let actors: Vec<_> = (0..3).map(|_| Probe::new().spawn_local()).collect();
        for round in 0..20 {
            for actor in &actors {
                let left = actor.query(move |_, reply| {
                    let left = LEFT.with(|left| {
                        left.borrow_mut().push(round);
                        left.borrow().len()
                    });
                    yield_now();
                    reply.send(left);
                    Ok(())
                });
                assert_eq!(left.unwrap(), 1);
            }
        }
    });
}

#[test]
fn a_handler_knows_in_which_actor_it_is_and_nobody_else_thinks_so() {
    on_hub(|| {
        assert!(AnyActor::current().is_none());
        let (a, b) = (Probe::new().spawn_local(), Probe::new().spawn_local());
        let id = |actor: &ActorRef<Job>| {
            actor
                .query(|_, reply| {
                    reply.send(AnyActor::current().map(|me| me.id()));
                    Ok(())
                })
                .unwrap()
        };
        assert_eq!((id(&a), id(&b)), (Some(a.id()), Some(b.id())));
        // While it is suspended in the one, others run; and a greenlet of the actor's is not the actor.
        let inside = a.query(|ctx, reply| {
            let me = ctx.id();
            let child = spawn(|| AnyActor::current().map(|me| me.id())).get().unwrap();
            yield_now();
            reply.send((AnyActor::current().map(|it| it.id()) == Some(me), child, ctx.me().is_current()));
            Ok(())
        });
        assert_eq!(inside.unwrap(), (true, None, true));
        assert!(!a.is_current() && AnyActor::current().is_none());
        // Nor after a panic and a kill.
        a.run(|_| panic!("gone"));
        a.join();
        b.suspend();
        b.kill();
        assert!(AnyActor::current().is_none());
        let c = Probe::new().spawn_local();
        assert_eq!(id(&c), Some(c.id()));
    });
}

#[test]
fn the_end_is_told_to_callbacks_once_from_wherever() {
    on_hub(|| {
        let log = Log::new();
        let note = |what: &'static str| {
            let log = log.clone();
            move |_, exit: &Exit| log.note(format_args!("{what} {}", word(exit)))
        };
        let actor = Probe::new().spawn_local();
        actor.on_end(note("first"));
        actor.on_end(|_, _| panic!("a callback that fails"));
        actor.on_end(note("second"));
        actor.run(|_| Err(Exit::Shutdown));
        actor.join();
        actor.on_end(note("late"));
        let (outside, late) = (actor.clone(), note("outside"));
        Elsewhere::spawn(move || outside.on_end(late)).join();
        assert_eq!(log.taken(), ["first shutdown", "second shutdown", "late shutdown", "outside shutdown"]);
    });
}

#[test]
fn a_held_actor_keeps_what_comes_and_goes_on_in_order() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().ends_in(&log).spawn_local();
        actor.settle();
        for hold in 0..3 {
            sys::suspend(&actor);
            for n in 0..3 {
                let log = log.clone();
                actor.run(move |_| {
                    log.note(format_args!("{hold}.{n}"));
                    Ok(())
                });
            }
            sleep(Duration::from_millis(1));
            assert_eq!(log.taken(), [""; 0]);
            sys::resume(&actor);
            actor.settle();
            assert_eq!(log.taken(), (0..3).map(|n| format!("{hold}.{n}")).collect::<Vec<_>>());
        }
        // It ends while it is held.
        sys::suspend(&actor);
        actor.run(|_| Ok(()));
        yield_now();
        actor.stop();
        assert_eq!(word(&actor.join_timeout(LONG).expect("it ends")), "normal");
        assert_eq!(log.taken(), ["terminate normal", "state dropped"]);
    });
}

#[test]
fn an_actor_is_held_and_resumed_from_many_threads() {
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        let handled = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (actor, handled) = (actor.clone(), handled.clone());
                Elsewhere::spawn(move || {
                    for _ in 0..500 {
                        sys::suspend(&actor);
                        let handled = handled.clone();
                        actor.run(move |_| {
                            handled.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        });
                        sys::resume(&actor);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(Elsewhere::join);
        // The last one to resume may have been overtaken by a suspend.
        sys::resume(&actor);
        actor.settle();
        assert_eq!(handled.load(Ordering::SeqCst), 1500);
    });
}

#[test]
fn stacks_are_not_left_behind() {
    on_hub(|| {
        let round = || {
            let actors: Vec<_> = (0..100).map(|_| Probe::new().spawn_local()).collect();
            actors.iter().for_each(Ask::suspend);
            for (n, actor) in actors.iter().enumerate() {
                match n % 3 {
                    0 => actor.kill(),
                    1 => actor.send_exit(Exit::Shutdown),
                    _ => actor.send_exit(probe::no_disk()),
                }
            }
            actors.iter().for_each(|actor| drop(actor.join()));
            yield_now();
        };
        round();
        let after_one = Hub::stack_stats();
        (0..20).for_each(|_| round());
        let after_all = Hub::stack_stats();
        assert!(after_all.allocated <= after_one.allocated, "{after_one:?} {after_all:?}");
        assert_eq!(after_all.slabs, after_one.slabs);
    });
}

#[test]
fn an_idle_actor_has_no_stack() {
    on_hub(|| {
        let actors: Vec<_> = (0..1000).map(|_| Probe::new().spawn_local()).collect();
        actors.iter().for_each(Ask::settle);
        let stats = Hub::stack_stats();
        assert!(stats.allocated < 50, "{stats:?}");
    });
}

#[test]
fn an_actor_whose_locals_wait_when_they_are_dropped_goes_on() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            yield_now();
            sleep(Duration::from_micros(10));
        }
    }
    greenlet_local! {
        static WAITS: Cell<Option<Waits>> = Cell::new(None);
    }
    on_hub(|| {
        let actor = Probe::new().spawn_local();
        for _ in 0..20 {
            actor.run(|_| {
                WAITS.set(Some(Waits));
                Ok(())
            });
        }
        actor.settle();
        actor.run(|_| {
            WAITS.set(Some(Waits));
            Ok(())
        });
        yield_now();
        actor.kill();
        assert_eq!(word(&actor.join()), "killed");
    });
}

/// A message whose destructor panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor of a message");
    }
}

#[test]
fn messages_in_a_ring_whose_destructors_panic_harm_nobody() {
    struct Sink;
    impl Actor for Sink {
        type Message = Bomb;
        fn receive(&mut self, bomb: Bomb, _: &mut Context<Self>) -> Result<(), Exit> {
            std::mem::forget(bomb);
            Ok(())
        }
    }
    on_hub(|| {
        let sink =
            ActorBuilder::new().capacity(3).overflow(greenlet_actor::Overflow::DropOldest).spawn_local(Sink);
        for _ in 0..3 {
            assert!(sink.send(Bomb).is_ok());
        }
        let told = Log::new();
        let log = told.clone();
        sink.on_end(move |_, exit| log.note(word(exit)));
        sink.kill();
        assert_eq!(told.taken(), ["killed"]);
        // The greenlet that ran it goes on with others.
        Probe::new().spawn_local().settle();
    });
}
