//! How an actor starts and ends.

mod probe;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, AskError, Context, Exit};
use greenlet_core::{
    Event, GreenletExit, GreenletRef, Kill, Queue, StackSize, catch, current, raise, run, sleep, spawn,
    with_timeout, yield_now,
};
use probe::{Ask, Dropped, Elsewhere, Job, LONG, Log, Probe, no_disk, on_hub, within, word};

// --- the beginning -----------------------------------------------------------------------------------------------

#[test]
fn start_returns_when_init_is_done() {
    on_hub(|| {
        let log = Log::new();
        let init = {
            let log = log.clone();
            move |_: &mut Context<Probe>| {
                yield_now();
                log.note("init");
                Ok(())
            }
        };
        Probe::new().init(init).start_local().unwrap();
        assert_eq!(log.taken(), ["init"]);
    });
}

#[test]
fn spawn_returns_before_init_and_messages_wait_for_it() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new()
            .init({
                let log = log.clone();
                move |_| {
                    yield_now();
                    log.note("init");
                    Ok(())
                }
            })
            .spawn_local();
        assert!(log.taken().is_empty());
        actor.run({
            let log = log.clone();
            move |_| {
                log.note("message");
                Ok(())
            }
        });
        actor.settle();
        assert_eq!(log.taken(), ["init", "message"]);
    });
}

#[test]
fn start_fails_with_the_reason_of_a_failed_init() {
    on_hub(|| {
        let log = Log::new();
        let error = Probe::new().ends_in(&log).init(|_| Err(no_disk())).start_local().unwrap_err();
        assert_eq!(error.to_string(), "the actor did not start: no disk");
        assert!(
            error.exit.failure().is_some_and(|failure| failure.downcast_ref::<std::io::Error>().is_some())
        );
        assert_eq!(log.taken(), ["state dropped"]); // and no terminate
    });
}

#[test]
fn start_fails_with_the_panic_of_an_init() {
    on_hub(|| {
        let log = Log::new();
        let error = Probe::new().ends_in(&log).init(|_| panic!("in init")).start_local().unwrap_err();
        assert_eq!(word(&error.exit), "panic in init");
        assert_eq!(log.taken(), ["state dropped"]);
    });
}

#[test]
fn start_fails_when_init_ends_the_actor_normally() {
    on_hub(|| {
        let error = Probe::new().init(|_| Err(Exit::Normal)).start_local().unwrap_err();
        assert!(error.exit.is_normal());
    });
}

#[test]
fn start_fails_when_the_actor_is_killed_in_its_init() {
    on_hub(|| {
        let log = Log::new();
        let starting = Arc::new(Queue::unbounded());
        let starter = spawn({
            let (log, starting) = (log.clone(), starting.clone());
            move || {
                let init = move |ctx: &mut Context<Probe>| {
                    starting.put(ctx.me().clone()).unwrap();
                    sleep(Duration::MAX);
                    Ok(())
                };
                Probe::new().ends_in(&log).init(init).start_local().unwrap_err().exit
            }
        });
        starting.get().unwrap().kill();
        assert!(matches!(starter.get().unwrap(), Exit::Killed));
        assert_eq!(log.taken(), ["state dropped"]);
    });
}

#[test]
fn a_spawned_actor_whose_init_fails_gives_its_messages_up() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().init(|_| Err(no_disk())).spawn_local();
        let queued = Dropped("message", log.clone());
        actor.run(move |_| {
            drop(queued);
            unreachable!("it never started")
        });
        assert_eq!(word(&actor.join()), "no disk");
        assert_eq!(log.taken(), ["message dropped"]);
    });
}

#[test]
fn an_actor_goes_on_when_its_starter_is_killed() {
    on_hub(|| {
        let (starting, go) = (Arc::new(Queue::unbounded()), Arc::new(Event::new()));
        let starter = spawn({
            let (starting, go) = (starting.clone(), go.clone());
            move || {
                let init = move |ctx: &mut Context<Probe>| {
                    starting.put(ctx.me().clone()).unwrap();
                    go.wait();
                    Ok(())
                };
                drop(Probe::new().init(init).start_local());
            }
        });
        let actor = starting.get().unwrap();
        starter.kill();
        go.set();
        actor.settle();
    });
}

#[test]
fn an_actor_killed_before_its_first_turn_never_runs() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new()
            .ends_in(&log)
            .init({
                let log = log.clone();
                move |_| {
                    log.note("init");
                    Ok(())
                }
            })
            .spawn_local();
        let queued = Dropped("message", log.clone());
        actor.run(move |_| {
            drop(queued);
            Ok(())
        });
        actor.kill();
        assert!(matches!(actor.exit(), Some(Exit::Killed)));
        assert_eq!(log.taken(), ["state dropped", "message dropped"]);
        assert!(actor.send(Box::new(|_| Ok(()))).is_err());
    });
}

#[test]
fn an_actor_stopped_before_its_first_turn_starts_and_ends_in_good_order() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new()
            .ends_in(&log)
            .init({
                let log = log.clone();
                move |_| {
                    log.note("init");
                    Ok(())
                }
            })
            .spawn_local();
        actor.stop();
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["init", "terminate normal", "state dropped"]);
    });
}

// --- the end -----------------------------------------------------------------------------------------------------

/// What `terminate` and the destructor note when an actor ends so.
fn noted_at_the_end(end: impl FnOnce(&ActorRef<Job>) + Send + 'static) -> Vec<String> {
    let (log, ended) = (Log::new(), Log::new());
    on_hub({
        let (log, ended) = (log.clone(), ended.clone());
        move || {
            let actor = Probe::new().ends_in(&log).start_local().unwrap();
            end(&actor);
            ended.note(word(&actor.join()));
        }
    });
    let mut noted = log.taken();
    noted.extend(ended.taken());
    noted
}

#[test]
fn terminate_is_called_once_with_the_reason_then_the_state_is_dropped() {
    let normal = noted_at_the_end(|actor| actor.run(|_| Err(Exit::Normal)));
    assert_eq!(normal, ["terminate normal", "state dropped", "normal"]);
    let stopped = noted_at_the_end(ActorRef::stop);
    assert_eq!(stopped, ["terminate normal", "state dropped", "normal"]);
    let error = noted_at_the_end(|actor| actor.run(|_| Err(no_disk())));
    assert_eq!(error, ["terminate no disk", "state dropped", "no disk"]);
    let panicked = noted_at_the_end(|actor| actor.run(|_| panic!("oh")));
    assert_eq!(panicked, ["terminate panic oh", "state dropped", "panic oh"]);
    let raised = noted_at_the_end(|actor| actor.run(|_| raise(std::io::Error::other("raised"))));
    assert_eq!(raised, ["terminate raised", "state dropped", "raised"]);
    let signal = noted_at_the_end(|actor| actor.send_exit(Exit::Shutdown));
    assert_eq!(signal, ["terminate shutdown", "state dropped", "shutdown"]);
}

#[test]
fn terminate_is_not_called_after_a_kill() {
    assert_eq!(noted_at_the_end(ActorRef::kill), ["state dropped", "killed"]);
    assert_eq!(noted_at_the_end(|actor| actor.send_exit(Exit::Killed)), ["state dropped", "killed"]);
    assert_eq!(
        noted_at_the_end(|actor| actor.run(|ctx| {
            ctx.me().kill();
            unreachable!("it does not return")
        })),
        ["state dropped", "killed"]
    );
}

#[test]
fn a_kill_of_the_greenlet_that_runs_its_handler_is_a_kill_of_the_actor() {
    let noted = noted_at_the_end(|actor| {
        let (tell, told) = (Arc::new(Queue::unbounded()), Arc::new(Queue::unbounded()));
        actor.suspend_in({
            let told = told.clone();
            move |_| {
                told.put(greenlet_core::current()).unwrap();
                tell.get().unwrap()
            }
        });
        told.get().unwrap().kill();
    });
    assert_eq!(noted, ["state dropped", "killed"]);
}

#[test]
fn raising_greenlet_exit_in_a_handler_ends_the_actor_as_killed() {
    let noted = noted_at_the_end(|actor| actor.run(|_| raise(GreenletExit)));
    assert_eq!(noted.last().unwrap(), "killed");
}

#[test]
fn a_panic_in_terminate_is_the_reason_of_the_exit() {
    on_hub(|| {
        let log = Log::new();
        let terminate = |_: &Exit, _: &mut Context<Probe>| panic!("in terminate");
        let actor =
            Probe::new().owning(Dropped("state", log.clone())).terminate(terminate).start_local().unwrap();
        actor.stop();
        assert_eq!(word(&actor.join()), "panic in terminate");
        assert_eq!(log.taken(), ["state dropped"]);
    });
}

#[test]
fn a_kill_ends_a_terminate_that_hangs() {
    on_hub(|| {
        let log = Log::new();
        let hang = {
            let log = log.clone();
            move |_: &Exit, _: &mut Context<Probe>| {
                log.note("terminate");
                sleep(Duration::MAX);
            }
        };
        let actor = Probe::new().terminate(hang).owning(Dropped("state", log.clone())).start_local().unwrap();
        actor.stop();
        assert_eq!(log.next(), "terminate");
        actor.kill();
        assert!(matches!(actor.exit(), Some(Exit::Killed)));
        assert_eq!(log.taken(), ["state dropped"]);
    });
}

#[test]
fn what_the_actor_owned_is_released_before_anybody_hears_of_its_end() {
    struct Slow(Log);
    impl Drop for Slow {
        fn drop(&mut self) {
            yield_now();
            yield_now();
            self.0.note("released");
        }
    }
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().owning(Slow(log.clone())).start_local().unwrap();
        let watch = Probe::new().traps_in(&log).start_local().unwrap();
        watch.link(&actor);
        let joiner = spawn({
            let (log, actor) = (log.clone(), actor.clone());
            move || {
                actor.join();
                log.note("joined");
            }
        });
        let id = actor.id();
        actor.stop();
        joiner.join();
        watch.settle();
        let mut noted = log.taken();
        assert_eq!(noted.remove(0), "released");
        noted.sort();
        assert_eq!(noted, [format!("{id} normal"), "joined".to_owned()]);
    });
}

/// Whose destructor waits until it is let go.
struct Held {
    log: Log,
    /// The greenlet in which that is.
    waits: Arc<Queue<GreenletRef>>,
    go: Arc<Event>,
}

impl Held {
    fn new(log: &Log) -> Held {
        Held { log: log.clone(), waits: Arc::default(), go: Arc::default() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.waits.put(current());
        self.go.wait();
        self.log.note("released");
    }
}

#[test]
fn a_kill_does_not_cut_short_the_destructors_of_what_the_actor_owned() {
    on_hub(|| {
        let log = Log::new();
        let held = Held::new(&log);
        let (waits, go) = (held.waits.clone(), held.go.clone());
        let actor = Probe::new().owning(held).start_local().unwrap();
        actor.stop();
        let greenlet = waits.get_timeout(LONG).unwrap();
        let killed = actor.clone();
        let killer = spawn(move || killed.kill());
        greenlet.kill_with(Kill::default().no_wait());
        for _ in 0..10 {
            yield_now();
        }
        assert!(log.taken().is_empty() && !actor.ready() && !killer.ready());
        let next = Probe::new().start_local().unwrap();
        go.set();
        // Comes to the same greenlet, which the kill is still on its way to.
        next.run(|_| {
            yield_now();
            Ok(())
        });
        killer.join();
        next.settle();
        assert_eq!(log.taken(), ["released"]);
        assert!(matches!(actor.exit(), Some(Exit::Killed)), "a kill before the end is the reason");
        greenlet.join();
        Probe::new().start_local().unwrap().settle();
    });
}

#[test]
fn a_kill_does_not_cut_short_the_destructor_of_a_message_that_is_left() {
    on_hub(|| {
        let log = Log::new();
        let held = Held::new(&log);
        let (waits, go) = (held.waits.clone(), held.go.clone());
        let actor = Probe::new().start_local().unwrap();
        actor.suspend();
        let held = std::sync::Mutex::new(Some(held));
        actor.run(move |_| {
            drop(held);
            Ok(())
        });
        actor.kill();
        let greenlet = waits.get_timeout(LONG).unwrap();
        greenlet.kill_with(Kill::default().no_wait());
        for _ in 0..10 {
            yield_now();
        }
        assert!(log.taken().is_empty());
        go.set();
        greenlet.join();
        assert_eq!(log.taken(), ["released"]);
    });
}

#[test]
fn a_destructor_may_limit_how_long_it_waits() {
    struct Limited(Log);
    impl Drop for Limited {
        fn drop(&mut self) {
            let waited = with_timeout(Duration::from_millis(1), || sleep(Duration::MAX));
            self.0.note(format_args!("gave up: {}", waited.is_err()));
        }
    }
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().owning(Limited(log.clone())).start_local().unwrap();
        actor.stop();
        actor.join();
        assert_eq!(log.taken(), ["gave up: true"]);
    });
}

#[test]
fn the_end_of_a_run_waits_for_the_destructors_of_what_actors_owned() {
    struct Slow(Log, Arc<Event>);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.1.set();
            // Longer than from one kill to the next.
            (0..3).for_each(|_| sleep(Duration::from_millis(5)));
            self.0.note("released");
        }
    }
    let log = Log::new();
    let owned = log.clone();
    within(LONG, move || {
        let begun = Arc::new(Event::new());
        let actor = Probe::new().owning(Slow(owned, begun.clone())).start_local().unwrap();
        actor.stop();
        begun.wait();
    });
    assert_eq!(log.taken(), ["released"]);
}

#[test]
fn who_joins_an_actor_comes_after_those_who_are_told_of_its_end() {
    let (at_it, told, go) = (channel(), Arc::new(AtomicBool::new(false)), channel());
    let (tell_at_it, wait_for_go) = (at_it.0, go.1);
    let actor = Arc::new(Queue::unbounded());
    let made = actor.clone();
    let thread = std::thread::spawn({
        let told = told.clone();
        move || {
            run(|| {
                let actor = Probe::new().start_local().unwrap();
                // The first one keeps the hub, the second one is still to be told.
                actor.on_end(move |_, _| {
                    tell_at_it.send(()).unwrap();
                    let _ = wait_for_go.recv();
                });
                actor.on_end(move |_, _| told.store(true, Ordering::SeqCst));
                made.put(actor.clone()).unwrap();
                actor.join();
            });
        }
    });
    let actor: ActorRef<Job> = actor.get_timeout(LONG).unwrap();
    actor.stop();
    at_it.1.recv_timeout(LONG).unwrap();
    assert!(matches!(actor.exit(), Some(Exit::Normal)), "why is known to those who are told");
    assert!(actor.send(Box::new(|_| Ok(()))).is_err(), "and that nobody will answer");
    assert!(actor.join_timeout(Duration::from_millis(5)).is_none());
    assert!(!told.load(Ordering::SeqCst));
    go.0.send(()).unwrap();
    actor.join();
    assert!(told.load(Ordering::SeqCst));
    thread.join().unwrap();
}

#[test]
fn the_exit_is_there_as_soon_as_a_join_returns() {
    on_hub(|| {
        let actor = Probe::new().start_local().unwrap();
        assert!(actor.exit().is_none());
        assert!(actor.join_timeout(Duration::ZERO).is_none());
        actor.run(|_| Err(Exit::Shutdown));
        assert!(matches!(actor.join(), Exit::Shutdown));
        assert!(matches!(actor.exit(), Some(Exit::Shutdown)));
        assert!(matches!(actor.join_timeout(Duration::ZERO), Some(Exit::Shutdown)));
        actor.kill(); // does nothing any more
        actor.stop();
        actor.send_exit(no_disk());
        assert!(matches!(actor.exit(), Some(Exit::Shutdown)));
    });
}

#[test]
fn to_gevent_links_only_a_failure_is_a_failure() {
    on_hub(|| {
        let end = |end: fn() -> Exit| {
            let actor = Probe::new().start_local().unwrap();
            actor.run(move |_| Err(end()));
            actor.join();
            actor
        };
        assert!(end(|| Exit::Normal).successful());
        assert!(end(|| Exit::Shutdown).successful());
        let killed = end(|| Exit::Killed);
        assert!(killed.successful() && killed.get().is_err());
        let failed = end(no_disk);
        assert_eq!(failed.exception().unwrap().to_string(), "no disk");
    });
}

// --- stop and kill -----------------------------------------------------------------------------------------------

#[test]
fn a_stop_comes_ahead_of_queued_messages() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().ends_in(&log).start_local().unwrap();
        for _ in 0..3 {
            let log = log.clone();
            actor.run(move |_| {
                log.note("message");
                Ok(())
            });
        }
        actor.stop();
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["terminate normal", "state dropped"]);
    });
}

#[test]
fn a_stop_comes_ahead_of_queued_messages_in_a_full_mailbox_too() {
    on_hub(|| {
        let log = Log::new();
        let actor = ActorBuilder::new().capacity(1).start_local(Probe::new().ends_in(&log)).unwrap();
        let queued = log.clone();
        actor.run(move |_| {
            queued.note("message");
            Ok(())
        });
        actor.stop();
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["terminate normal", "state dropped"]);
    });
}

#[test]
fn a_stop_lets_a_suspended_handler_finish() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let actor = Probe::new().ends_in(&log).start_local().unwrap();
        actor.suspend_in({
            let (log, go) = (log.clone(), go.clone());
            move |_| {
                go.wait();
                yield_now();
                log.note("finished");
            }
        });
        actor.stop();
        yield_now();
        assert!(actor.exit().is_none());
        go.set();
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["finished", "terminate normal", "state dropped"]);
    });
}

#[test]
fn an_actor_may_stop_itself() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().ends_in(&log).start_local().unwrap();
        let next = log.clone();
        actor.run(|ctx| {
            ctx.me().stop();
            Ok(())
        });
        actor.run(move |_| {
            next.note("next message");
            Ok(())
        });
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["terminate normal", "state dropped"]);
    });
}

#[test]
fn an_error_of_the_handler_counts_more_than_a_stop() {
    on_hub(|| {
        let go = Arc::new(Event::new());
        let actor = Probe::new().start_local().unwrap();
        actor.run({
            let go = go.clone();
            move |_| {
                go.wait();
                Err(no_disk())
            }
        });
        yield_now();
        actor.stop();
        go.set();
        assert_eq!(word(&actor.join()), "no disk");
    });
}

/// An actor that is suspended so is unwound by a kill, with its destructors.
#[track_caller]
fn is_killed_in(block: impl FnOnce(&mut Context<Probe>) + Send + Sync + 'static) {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().ends_in(&log).start_local().unwrap();
        actor.suspend_in({
            let log = log.clone();
            move |ctx| {
                let _frame = Dropped("frame", log.clone());
                block(ctx);
                log.note("went on");
            }
        });
        actor.kill();
        assert!(matches!(actor.exit(), Some(Exit::Killed)));
        assert_eq!(log.taken(), ["frame dropped", "state dropped"]);
    });
}

#[test]
fn a_kill_interrupts_a_sleep() {
    is_killed_in(|_| sleep(Duration::MAX));
}

#[test]
fn a_kill_interrupts_an_ask() {
    is_killed_in(|_| {
        let deaf = Probe::new().start_local().unwrap();
        let kept = deaf.query::<()>(|_, reply| {
            let _reply = reply;
            sleep(Duration::MAX);
            Ok(())
        });
        unreachable!("{kept:?}");
    });
}

#[test]
fn a_kill_interrupts_a_wait_for_room() {
    is_killed_in(|_| {
        let full = ActorBuilder::new().capacity(1).start_local(Probe::new()).unwrap();
        full.suspend();
        full.run(|_| Ok(()));
        full.run(|_| Ok(()));
    });
}

#[test]
fn a_kill_interrupts_a_queue_an_event_and_a_join() {
    is_killed_in(|_| drop(Queue::<String>::unbounded().get()));
    is_killed_in(|_| Event::new().wait());
    is_killed_in(|_| drop(Probe::new().start_local().unwrap().join()));
}

#[test]
fn a_kill_interrupts_a_start() {
    is_killed_in(|_| {
        let slow = Probe::new().init(|_| {
            sleep(Duration::MAX);
            Ok(())
        });
        drop(slow.start_local());
    });
}

#[test]
fn a_kill_passes_a_timeout() {
    is_killed_in(|_| {
        let timed = with_timeout(LONG, || with_timeout(LONG, || sleep(Duration::MAX)));
        unreachable!("{timed:?}");
    });
}

#[test]
fn a_timeout_in_a_handler_is_the_handlers_own_affair() {
    on_hub(|| {
        let actor = Probe::new().start_local().unwrap();
        let timed_out = actor.query(|_, reply| {
            reply.send(with_timeout(Duration::from_millis(1), || sleep(Duration::MAX)).is_err());
            Ok(())
        });
        assert!(timed_out.unwrap());
        actor.settle();
    });
}

#[test]
fn a_kill_interrupts_an_actor_that_waits_for_a_message() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().ends_in(&log).start_local().unwrap();
        yield_now();
        actor.kill();
        assert_eq!(log.taken(), ["state dropped"]);
    });
}

#[test]
fn an_actor_is_killed_from_a_plain_thread() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().ends_in(&log).start_local().unwrap();
        actor.suspend();
        let killer = Elsewhere::spawn({
            let actor = actor.clone();
            move || {
                actor.kill();
                matches!(actor.exit(), Some(Exit::Killed))
            }
        });
        assert!(matches!(actor.join(), Exit::Killed));
        assert!(killer.join());
        assert_eq!(log.taken(), ["state dropped"]);
    });
}

/// Kills its actor when it is dropped.
struct Kills(ActorRef<Job>);

impl Drop for Kills {
    fn drop(&mut self) {
        self.0.kill();
    }
}

#[test]
fn a_destructor_may_kill_its_actor_while_that_unwinds() {
    const CHILD: &str = "GREENLET_TEST_CHILD";
    let me = "a_destructor_may_kill_its_actor_while_that_unwinds";
    if std::env::var_os(CHILD).is_none() {
        // In a process of its own, since what is to be ruled out is that it is aborted.
        let test = std::env::current_exe().unwrap();
        let output = Command::new(test).args([me, "--exact"]).env(CHILD, me).output().unwrap();
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    on_hub(|| {
        let actor = Probe::new().start_local().unwrap();
        actor.run(|ctx| {
            let _kills = Kills(ctx.me().clone());
            panic!("unwinding")
        });
        assert!(matches!(actor.join(), Exit::Killed));
    });
}

// --- what is left ------------------------------------------------------------------------------------------------

#[test]
fn queued_messages_are_dropped_and_their_askers_told_at_once() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new().start_local().unwrap();
        actor.suspend();
        let askers: Vec<_> = (0..3)
            .map(|_| {
                let (actor, queued) = (actor.clone(), Dropped("question", log.clone()));
                spawn(move || {
                    actor.query::<()>(move |_, reply| {
                        drop(queued);
                        reply.send(());
                        Ok(())
                    })
                })
            })
            .collect();
        yield_now();
        assert_eq!(actor.mailbox_len(), 3);
        actor.send_exit(Exit::Shutdown);
        for asker in askers {
            let answer = asker.into_value().unwrap();
            assert!(matches!(answer, Err(AskError::Ended(Exit::Shutdown))), "{answer:?}");
        }
        assert_eq!(actor.mailbox_len(), 0);
        assert_eq!(log.taken(), ["question dropped"; 3]);
    });
}

#[test]
fn an_actor_outlives_its_references_until_the_run_ends() {
    let log = Log::new();
    let noted = log.clone();
    on_hub(move || {
        drop(Probe::new().owning(Dropped("state", noted.clone())).start_local().unwrap());
        yield_now();
        assert!(noted.taken().is_empty());
    });
    assert_eq!(log.taken(), ["state dropped"]);
}

#[test]
fn the_end_of_a_run_ends_actors_wherever_they_are() {
    let log = Log::new();
    let noted = log.clone();
    within(LONG, move || {
        let owning = |what| Probe::new().owning(Dropped(what, noted.clone()));
        let waiting = owning("waiting").start_local().unwrap();
        let sleeping = owning("sleeping").start_local().unwrap();
        sleeping.suspend();
        let terminating = owning("terminating").terminate(|_, _| sleep(Duration::MAX)).start_local().unwrap();
        terminating.stop();
        yield_now();
        let trapping = owning("trapping").trapping(|_, _, _| Ok(())).start_local().unwrap();
        trapping.link(&sleeping);
        let new = owning("new").spawn_local();
        // None of these is joined: `run` ends them.
        drop((waiting, sleeping, terminating, trapping, new));
    });
    let mut dropped = log.taken();
    dropped.sort();
    let all = ["new", "sleeping", "terminating", "trapping", "waiting"].map(|what| format!("{what} dropped"));
    assert_eq!(dropped, all);
}

#[test]
fn a_thread_may_run_actors_again_after_a_run() {
    within(LONG, || ());
    std::thread::spawn(|| {
        for _ in 0..3 {
            run(|| Probe::new().start_local().unwrap().settle());
        }
    })
    .join()
    .unwrap();
}

// --- corners -----------------------------------------------------------------------------------------------------

#[test]
fn an_actor_that_is_stopped_during_a_successful_init_still_terminates() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let actor = Probe::new()
            .init({
                let (log, go) = (log.clone(), go.clone());
                move |_| {
                    log.note("init");
                    go.wait();
                    Ok(())
                }
            })
            .terminate({
                let log = log.clone();
                move |exit, _| log.note(format_args!("terminate {exit}"))
            })
            .spawn_local();
        assert_eq!(log.next(), "init");
        actor.stop();
        go.set();
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["terminate normal"]);
    });
}

#[test]
fn a_panic_after_a_stop_is_still_a_failure() {
    on_hub(|| {
        let go = Arc::new(Event::new());
        let actor = Probe::new().start_local().unwrap();
        actor.run({
            let go = go.clone();
            move |_| {
                go.wait();
                panic!("after the stop")
            }
        });
        yield_now();
        actor.stop();
        go.set();
        assert!(matches!(actor.join(), Exit::Failed(failure) if failure.is_panic()));
    });
}

#[test]
fn a_handler_that_catches_the_kill_is_the_last_one() {
    on_hub(|| {
        let log = Log::new();
        let actor = Probe::new()
            .terminate({
                let log = log.clone();
                move |_, _| log.note("terminate")
            })
            .start_local()
            .unwrap();
        actor.run({
            let log = log.clone();
            move |_| {
                catch(|| sleep(Duration::MAX)).unwrap_err();
                log.note("caught");
                Ok(())
            }
        });
        actor.run({
            let log = log.clone();
            move |_| {
                log.note("the next message");
                Ok(())
            }
        });
        yield_now();
        actor.kill();
        assert!(matches!(actor.exit(), Some(Exit::Killed)));
        assert_eq!(log.taken(), ["caught"]);
    });
}

#[test]
fn messages_whose_destructors_panic_harm_nobody() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("a bad destructor");
        }
    }
    on_hub(|| {
        let actor = Probe::new().start_local().unwrap();
        for _ in 0..3 {
            let bad = Bad;
            actor.run(move |_| {
                let _bad = &bad;
                Ok(())
            });
        }
        actor.stop();
        assert!(actor.join().is_normal());
    });
}

#[test]
fn terminate_runs_on_the_stack_that_the_actor_was_given() {
    fn deep(levels: u32) -> u32 {
        let frame = std::hint::black_box([1_u8; 1024]);
        if levels == 0 { 0 } else { deep(levels - 1) + u32::from(frame[0]) }
    }
    struct Deep;
    impl Actor for Deep {
        type Message = ();
        fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
            deep(2000);
            Ok(())
        }
        fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
            deep(2000);
        }
    }
    on_hub(|| {
        let actor = ActorBuilder::new().stack_size(StackSize::new(16 << 20).unwrap()).start(Deep).unwrap();
        actor.send(()).unwrap();
        actor.send_exit(Exit::Shutdown);
        assert!(matches!(actor.join_timeout(LONG), Some(Exit::Shutdown)));
    });
}
