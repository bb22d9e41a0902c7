//! Links and exit signals.

mod probe;

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, Once};
use std::time::Duration;

use greenlet_actor::{Actor, ActorBuilder, ActorRef, AnyActor, Exit, Supervisor, worker_local};
use greenlet_core::{Event, Hub, Queue, sleep, spawn, yield_now};
use probe::{Ask, Elsewhere, Job, Log, Probe, no_disk, on_hub, word};

fn plain() -> ActorRef<Job> {
    Probe::new().start_local().unwrap()
}

fn trapping(log: &Log) -> ActorRef<Job> {
    Probe::new().traps_in(log).start_local().unwrap()
}

fn fail(actor: &ActorRef<Job>) {
    actor.run(|_| Err(no_disk()));
    actor.join();
}

// --- the table of exit signals -----------------------------------------------------------------------------------

/// Links an actor that does not trap exits, and one that does, with one that ends so. Returns the exit of the first, and
/// what the second was told.
fn linked_to_one_that(end: impl Fn(&ActorRef<Job>) + Send + 'static) -> (Option<String>, Vec<String>) {
    let (first, second) = (Log::new(), Log::new());
    on_hub({
        let (first, second) = (first.clone(), second.clone());
        move || {
            let heard = Log::new();
            let (meek, stoic, ends) = (plain(), trapping(&heard), plain());
            meek.suspend();
            meek.link(&ends);
            ends.link(&stoic);
            end(&ends);
            ends.join();
            stoic.settle(); // it lives
            let prefix = format!("{} ", ends.id());
            heard.taken().iter().for_each(|heard| second.note(heard.strip_prefix(&prefix).unwrap()));
            // The signal was sent before the join came back, and it interrupts from here.
            yield_now();
            if let Some(exit) = meek.exit() {
                first.note(word(&exit));
            }
        }
    });
    (first.taken().pop(), second.taken())
}

fn is(exit: &str) -> (Option<String>, Vec<String>) {
    (Some(exit.to_owned()), vec![exit.to_owned()])
}

#[test]
fn a_normal_exit_of_a_linked_actor_is_ignored_or_trapped() {
    let normal = (None, vec!["normal".to_owned()]);
    assert_eq!(linked_to_one_that(|actor| actor.run(|_| Err(Exit::Normal))), normal);
    assert_eq!(linked_to_one_that(ActorRef::stop), normal);
}

#[test]
fn any_other_exit_of_a_linked_actor_ends_its_links_or_is_trapped() {
    assert_eq!(linked_to_one_that(|actor| actor.run(|_| Err(no_disk()))), is("no disk"));
    assert_eq!(linked_to_one_that(|actor| actor.run(|_| panic!("oh"))), is("panic oh"));
    assert_eq!(linked_to_one_that(|actor| actor.run(|_| Err(Exit::Shutdown))), is("shutdown"));
    assert_eq!(linked_to_one_that(|actor| actor.send_exit(Exit::Shutdown)), is("shutdown"));
    assert_eq!(linked_to_one_that(|actor| actor.send_exit(no_disk())), is("no disk"));
}

#[test]
fn links_see_a_kill_as_killed_which_can_be_trapped() {
    assert_eq!(linked_to_one_that(ActorRef::kill), is("killed"));
    assert_eq!(linked_to_one_that(|actor| actor.send_exit(Exit::Killed)), is("killed"));
}

#[test]
fn an_exit_signal_ends_an_actor_from_where_it_is_suspended() {
    on_hub(|| {
        for exit in [Exit::Shutdown, no_disk(), Exit::NoProc] {
            let log = Log::new();
            let actor = Probe::new().ends_in(&log).start_local().unwrap();
            actor.suspend();
            actor.send_exit(exit.clone());
            assert_eq!(word(&actor.join()), word(&exit));
            assert_eq!(log.taken(), [format!("terminate {}", word(&exit)), "state dropped".to_owned()]);
        }
    });
}

#[test]
fn a_normal_exit_signal_is_ignored() {
    on_hub(|| {
        let log = Log::new();
        for actor in [plain(), trapping(&log)] {
            actor.send_exit(Exit::Normal);
            actor.settle();
        }
        assert!(log.taken().is_empty());
    });
}

#[test]
fn an_exit_signal_of_another_actor_is_a_message_to_one_that_traps() {
    on_hub(|| {
        let log = Log::new();
        let (stoic, sender) = (trapping(&log), plain());
        for (exit, heard) in [(Exit::Normal, "normal"), (Exit::Shutdown, "shutdown"), (no_disk(), "no disk")]
        {
            let (to, noted) = (stoic.clone(), log.clone());
            // In order with the messages.
            sender.run(move |_| {
                let note = |what: &'static str, log: Log| {
                    move |_: &mut _| {
                        log.note(what);
                        Ok(())
                    }
                };
                to.run(note("before", noted.clone()));
                to.send_exit(exit);
                to.run(note("after", noted));
                Ok(())
            });
            sender.settle();
            stoic.settle();
            assert_eq!(log.taken(), ["before", &format!("{} {heard}", sender.id()), "after"]);
        }
        let meek = plain();
        let to = meek.clone();
        sender.run(move |_| {
            to.send_exit(Exit::Normal);
            Ok(())
        });
        sender.settle();
        meek.settle();
        let to = meek.clone();
        sender.run(move |_| {
            to.send_exit(Exit::Shutdown);
            Ok(())
        });
        assert!(matches!(meek.join(), Exit::Shutdown));
    });
}

#[test]
fn an_exit_signal_to_oneself_ends_also_with_normal_or_is_trapped() {
    on_hub(|| {
        for (exit, reason) in [(Exit::Normal, "normal"), (no_disk(), "no disk")] {
            let (log, heard) = (Log::new(), Log::new());
            let exit_of = |exit: Exit| {
                move |ctx: &mut greenlet_actor::Context<Probe>| {
                    ctx.me().send_exit(exit);
                    sleep(Duration::ZERO);
                    Ok(())
                }
            };
            let meek = Probe::new().ends_in(&log).start_local().unwrap();
            meek.run(exit_of(exit.clone()));
            assert_eq!(word(&meek.join()), reason);
            assert_eq!(log.next(), format!("terminate {reason}"));
            let stoic = trapping(&heard);
            stoic.run(exit_of(exit));
            stoic.settle();
            assert_eq!(heard.taken(), [format!("{} {reason}", stoic.id())]);
        }
    });
}

#[test]
fn an_actor_that_traps_ends_in_good_order_when_it_is_sent_an_exit_signal() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let actor = Probe::new().traps_in(&log).ends_in(&log).start_local().unwrap();
        actor.suspend_in({
            let (log, go) = (log.clone(), go.clone());
            move |_| {
                go.wait();
                log.note("finished");
            }
        });
        actor.send_exit(no_disk());
        yield_now();
        go.set();
        assert_eq!(word(&actor.join()), "no disk");
        assert_eq!(log.taken(), ["finished", "terminate no disk", "state dropped"]);
    });
}

#[test]
fn a_kill_cannot_be_trapped() {
    on_hub(|| {
        let log = Log::new();
        let actor = trapping(&log);
        actor.suspend();
        actor.send_exit(Exit::Killed);
        assert!(matches!(actor.join(), Exit::Killed));
        assert!(log.taken().is_empty());
    });
}

#[test]
fn the_first_of_two_exit_signals_is_the_reason() {
    on_hub(|| {
        let actor = plain();
        actor.suspend();
        actor.send_exit(no_disk());
        actor.send_exit(Exit::Shutdown);
        assert_eq!(word(&actor.join()), "no disk");
    });
}

#[test]
fn by_default_a_trapped_exit_ends_the_actor_unless_it_is_normal() {
    struct Traps;
    impl Actor for Traps {
        type Message = ();
        fn init(&mut self, ctx: &mut greenlet_actor::Context<Self>) -> Result<(), Exit> {
            ctx.trap_exits();
            Ok(())
        }
        fn receive(&mut self, (): (), _: &mut greenlet_actor::Context<Self>) -> Result<(), Exit> {
            Ok(())
        }
    }
    on_hub(|| {
        let (traps, normal, failing) = (Traps.start().unwrap(), plain(), plain());
        traps.link(&normal);
        traps.link(&failing);
        normal.stop();
        normal.join();
        yield_now();
        assert!(traps.exit().is_none());
        fail(&failing);
        assert_eq!(word(&traps.join()), "no disk");
    });
}

// --- linking and unlinking ---------------------------------------------------------------------------------------

#[test]
fn linking_to_the_dead_is_answered_with_noproc() {
    on_hub(|| {
        let log = Log::new();
        let dead = plain();
        dead.stop();
        dead.join();
        let noproc = [format!("{} noproc", dead.id())];
        for dead_first in [true, false] {
            let (meek, stoic) = (plain(), trapping(&log));
            let link = |actor: &ActorRef<Job>| if dead_first { dead.link(actor) } else { actor.link(&dead) };
            link(&meek);
            assert!(matches!(meek.join(), Exit::NoProc));
            link(&stoic);
            stoic.settle();
            assert_eq!(log.taken(), noproc);
        }
    });
}

#[test]
fn an_actor_that_is_born_linked_to_the_dead_ends_with_noproc() {
    on_hub(|| {
        let dead = plain();
        dead.kill();
        let log = Log::new();
        let error = ActorBuilder::new().link(&dead).start_local(Probe::new().ends_in(&log)).unwrap_err();
        assert!(matches!(error.exit, Exit::NoProc));
        assert_eq!(log.taken(), ["state dropped"]);
    });
}

#[test]
fn an_actor_that_is_linked_to_itself_is_not() {
    on_hub(|| {
        let log = Log::new();
        let actor = trapping(&log);
        actor.link(&actor);
        actor.link_exception(&actor);
        fail(&actor);
        assert!(log.taken().is_empty());
    });
}

#[test]
fn a_link_made_twice_is_one_link() {
    on_hub(|| {
        let log = Log::new();
        let (stoic, ends) = (trapping(&log), plain());
        stoic.link(&ends);
        ends.link(&stoic);
        stoic.link(&AnyActor::from(ends.clone()));
        ends.stop();
        ends.join();
        stoic.settle();
        assert_eq!(log.taken(), [format!("{} normal", ends.id())]);
    });
}

#[test]
fn unlinked_actors_do_not_hear_of_each_other() {
    on_hub(|| {
        for by_first in [true, false] {
            let (log, first) = (Log::new(), plain());
            let second = trapping(&log);
            first.link(&second);
            first.link(&second); // one unlink is enough for it
            if by_first {
                first.unlink(&second)
            } else {
                second.unlink(&first)
            }
            fail(&first);
            second.settle();
            assert!(log.taken().is_empty());
            let third = plain();
            third.link(&second);
            third.unlink(&second);
            fail(&second);
            third.settle();
        }
    });
}

#[test]
fn an_exit_that_was_trapped_before_the_unlink_is_still_handled() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let (stoic, ends) = (trapping(&log), plain());
        stoic.link(&ends);
        stoic.suspend_in({
            let go = go.clone();
            move |_| go.wait()
        });
        ends.stop();
        ends.join();
        stoic.unlink(&ends);
        go.set();
        stoic.settle();
        assert_eq!(log.taken(), [format!("{} normal", ends.id())]);
    });
}

#[test]
fn a_cycle_of_links_ends_as_one() {
    on_hub(|| {
        let ring: Vec<_> = (0..100).map(|_| plain()).collect();
        for (at, actor) in ring.iter().enumerate() {
            actor.link(&ring[(at + 1) % ring.len()]);
            actor.link(&ring[(at * 7 + 3) % ring.len()]);
        }
        fail(&ring[42]);
        assert!(ring.iter().all(|actor| word(&actor.join()) == "no disk"));
    });
}

#[test]
fn one_that_traps_keeps_a_failure_from_going_further() {
    on_hub(|| {
        let log = Log::new();
        let (failing, stoic, behind) = (plain(), trapping(&log), plain());
        failing.link(&stoic);
        stoic.link(&behind);
        fail(&failing);
        stoic.settle();
        behind.settle();
        assert_eq!(log.taken(), [format!("{} no disk", failing.id())]);
    });
}

#[test]
fn links_reach_across_hubs() {
    on_hub(|| {
        let hub = Hub::thread("elsewhere").start().unwrap();
        let log = Log::new();
        for n in 0..20 {
            let there = hub.handle().spawn(plain).unwrap().get().unwrap();
            let (meek, stoic) = (plain(), trapping(&log));
            there.link(&meek);
            stoic.link(&there);
            if n % 2 == 0 {
                there.kill()
            } else {
                meek.kill()
            }
            assert!(matches!(there.join(), Exit::Killed));
            assert!(matches!(meek.join(), Exit::Killed));
            stoic.settle();
            assert_eq!(log.next(), format!("{} killed", there.id()));
        }
        hub.join();
    });
}

#[test]
fn actors_that_end_while_they_are_linked_leave_nobody_waiting() {
    on_hub(|| {
        let hub = Hub::thread("elsewhere").start().unwrap();
        for _ in 0..50 {
            let there = hub.handle().spawn(plain).unwrap().get().unwrap();
            let here = plain();
            let killer = Elsewhere::spawn({
                let there = there.clone();
                move || there.kill()
            });
            here.link(&there);
            // Killed before it was linked, in between, or after: it hears of it in any case.
            assert!(matches!(here.join(), Exit::Killed | Exit::NoProc));
            killer.join();
        }
        hub.join();
    });
}

// --- spawn_link --------------------------------------------------------------------------------------------------

#[test]
fn a_child_killed_before_its_first_turn_still_tells_its_link() {
    on_hub(|| {
        let log = Log::new();
        let parent = trapping(&log);
        let child = parent.query(|ctx, reply| {
            let child = ctx.spawn_link_local(Probe::new());
            child.send_exit(Exit::Killed);
            reply.send(child);
            Ok(())
        });
        let child = child.unwrap();
        child.join();
        parent.settle();
        assert_eq!(log.taken(), [format!("{} killed", child.id())]);
        let child = ActorBuilder::new().name("child").link(&parent).spawn_local(Probe::new());
        child.kill();
        parent.settle();
        assert_eq!(log.taken(), [format!("{} killed", child.id())]);
    });
}

#[test]
fn a_parent_that_fails_right_after_spawn_link_takes_its_child_along() {
    on_hub(|| {
        let (parent, children) = (plain(), Arc::new(Queue::unbounded()));
        parent.run({
            let children = children.clone();
            move |ctx| {
                children.put(ctx.spawn_link_local(Probe::new())).unwrap();
                children.put(ActorBuilder::new().link(ctx.me()).spawn_local(Probe::new())).unwrap();
                Err(no_disk())
            }
        });
        for _ in 0..2 {
            assert_eq!(word(&children.get().unwrap().join()), "no disk");
        }
    });
}

#[test]
fn a_child_spawned_in_terminate_hears_of_the_end_of_its_parent() {
    on_hub(|| {
        let children = Arc::new(Queue::unbounded());
        let born = children.clone();
        let terminate = move |_: &Exit, ctx: &mut greenlet_actor::Context<Probe>| {
            born.put(ctx.spawn_link_local(Probe::new())).unwrap();
        };
        Probe::new().terminate(terminate).start_local().unwrap().send_exit(Exit::Shutdown);
        assert!(matches!(children.get().unwrap().join(), Exit::Shutdown));
    });
}

// --- parents -----------------------------------------------------------------------------------------------------

#[test]
fn the_exit_of_the_supervisor_ends_a_trapping_child_and_does_not_come_to_handle_exit() {
    on_hub(|| {
        let log = Log::new();
        let make = {
            let log = log.clone();
            move || Probe::new().traps_in(&log).ends_in(&log)
        };
        let tree = Supervisor::one_for_one().child(worker_local("child", make)).start().unwrap();
        let child = tree.child::<Job>("child").unwrap();
        let other = plain();
        other.link(&child);
        fail(&other);
        child.settle();
        tree.shutdown();
        assert!(matches!(child.exit(), Some(Exit::Shutdown)));
        let heard = log.taken();
        assert_eq!(heard, [&format!("{} no disk", other.id()), "terminate shutdown", "state dropped"]);
    });
}

// --- link_exception ----------------------------------------------------------------------------------------------

#[test]
fn link_exception_tells_of_failures_only() {
    on_hub(|| {
        let tells = |end: fn(&ActorRef<Job>)| {
            let log = Log::new();
            let (receiver, actor) = (trapping(&log), plain());
            actor.link_exception(&receiver);
            end(&actor);
            actor.join();
            receiver.settle();
            log.taken().iter().map(|told| told.replace(&format!("{} ", actor.id()), "")).collect::<Vec<_>>()
        };
        assert_eq!(tells(|actor| actor.run(|_| panic!("oh"))), ["panic oh"]);
        assert_eq!(tells(|actor| actor.run(|_| Err(no_disk()))), ["no disk"]);
        assert!(tells(ActorRef::stop).is_empty());
        assert!(tells(ActorRef::kill).is_empty());
        assert!(tells(|actor| actor.run(|_| Err(Exit::Shutdown))).is_empty());
    });
}

#[test]
fn link_exception_ends_a_receiver_that_does_not_trap() {
    on_hub(|| {
        let (receiver, actor) = (plain(), plain());
        receiver.suspend();
        actor.link_exception(&receiver);
        fail(&actor);
        assert_eq!(word(&receiver.join()), "no disk");
    });
}

#[test]
fn link_exception_does_not_tell_of_the_receiver() {
    on_hub(|| {
        let (receiver, actor) = (plain(), plain());
        actor.link_exception(&receiver);
        fail(&receiver);
        actor.settle();
        fail(&actor); // and does not mind that nobody is there
    });
}

#[test]
fn link_exception_after_the_failure_tells_at_once() {
    on_hub(|| {
        let log = Log::new();
        let (receiver, failed, stopped) = (trapping(&log), plain(), plain());
        fail(&failed);
        stopped.stop();
        stopped.join();
        stopped.link_exception(&receiver);
        failed.link_exception(&receiver);
        receiver.settle();
        assert_eq!(log.taken(), [format!("{} no disk", failed.id())]);
    });
}

#[test]
fn a_link_of_both_kinds_tells_once() {
    on_hub(|| {
        for link_first in [true, false] {
            let log = Log::new();
            let (receiver, actor) = (trapping(&log), plain());
            if link_first {
                actor.link(&receiver);
                actor.link_exception(&receiver);
            } else {
                actor.link_exception(&receiver);
                actor.link_exception(&receiver);
                actor.link(&receiver);
            }
            fail(&actor);
            receiver.settle();
            assert_eq!(log.taken(), [format!("{} no disk", actor.id())]);
        }
    });
}

#[test]
fn unlink_takes_a_link_exception_back() {
    on_hub(|| {
        let log = Log::new();
        let (receiver, actor) = (trapping(&log), plain());
        actor.link_exception(&receiver);
        actor.unlink(&receiver);
        fail(&actor);
        receiver.settle();
        assert!(log.taken().is_empty());
    });
}

#[test]
fn callbacks_are_called_at_the_end() {
    on_hub(|| {
        let (log, actor) = (Log::new(), plain());
        let noted = log.clone();
        actor.on_end(move |_, exit| noted.note(exit));
        fail(&actor);
        assert_eq!(log.next(), "no disk");
        let noted = log.clone();
        actor.on_end(move |_, exit| noted.note(format_args!("again {exit}")));
        assert_eq!(log.next(), "again no disk");
    });
}

// --- while it ends -----------------------------------------------------------------------------------------------

/// An actor whose `terminate` waits, and what it notes.
fn terminating() -> (ActorRef<Job>, Log, Arc<Event>) {
    let (log, go) = (Log::new(), Arc::new(Event::new()));
    let terminate = {
        let (log, go) = (log.clone(), go.clone());
        move |_: &Exit, _: &mut greenlet_actor::Context<Probe>| {
            log.note("terminating");
            go.wait();
            log.note("terminated");
        }
    };
    let actor = Probe::new().terminate(terminate).start_local().unwrap();
    actor.stop();
    assert_eq!(log.next(), "terminating");
    (actor, log, go)
}

#[test]
fn a_signal_does_not_interrupt_terminate() {
    on_hub(|| {
        let (actor, log, go) = terminating();
        actor.send_exit(Exit::Shutdown);
        yield_now();
        go.set();
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["terminated"]);
    });
}

#[test]
fn a_kill_interrupts_terminate() {
    on_hub(|| {
        let (actor, log, _go) = terminating();
        actor.kill();
        assert!(matches!(actor.exit(), Some(Exit::Killed)));
        assert!(log.taken().is_empty());
    });
}

#[test]
fn a_signal_that_comes_with_another_does_not_interrupt_terminate() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let terminate = {
            let (log, go) = (log.clone(), go.clone());
            move |_: &Exit, _: &mut greenlet_actor::Context<Probe>| {
                go.wait();
                log.note("terminated");
            }
        };
        let (actor, first, second) =
            (Probe::new().terminate(terminate).start_local().unwrap(), plain(), plain());
        actor.link(&first);
        actor.link(&second);
        let killers = [first, second].map(|linked| spawn(move || linked.kill()));
        greenlet_core::joinall(&killers);
        go.set();
        assert!(matches!(actor.join(), Exit::Killed));
        assert_eq!(log.taken(), ["terminated"]);
    });
}

// --- reports -----------------------------------------------------------------------------------------------------

thread_local! {
    /// What was reported on this thread, if a test wants to know.
    static REPORTED: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Writes to whom it concerns. One subscriber for all tests: those of single threads, coming and going, miss events.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        REPORTED.with_borrow(|log| log.iter().for_each(|log| log.note(String::from_utf8_lossy(line))));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was reported as an error while this ran.
fn reports(body: impl FnOnce() + Send + 'static) -> Vec<String> {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Lines).init());
    let log = Log::new();
    let reported = log.clone();
    on_hub(move || {
        REPORTED.set(Some(reported));
        body();
    });
    log.taken().into_iter().filter(|line| line.contains("ERROR")).collect()
}

/// The actors of a chain of links.
fn chain() -> Vec<ActorRef<Job>> {
    let actors: Vec<_> = (0..20).map(|_| plain()).collect();
    actors.windows(2).for_each(|pair| pair[0].link(&pair[1]));
    actors
}

#[test]
fn a_failure_is_reported_once_along_a_chain_of_links() {
    let reported = reports(|| {
        let actors = chain();
        fail(&actors[7]);
        assert!(actors.iter().all(|actor| word(&actor.join()) == "no disk"));
    });
    assert_eq!(reported.len(), 1);
    assert!(reported[0].contains("no disk"));
}

#[test]
fn a_panic_is_reported_once_along_a_chain_of_links() {
    let reported = reports(|| {
        let actors = chain();
        actors[0].run(|_| panic!("oh"));
        assert!(actors.iter().all(|actor| word(&actor.join()) == "panic oh"));
    });
    assert_eq!(reported.len(), 1);
}

#[test]
fn a_noproc_is_reported_once_along_a_chain_of_links() {
    let reported = reports(|| {
        let (actors, dead) = (chain(), plain());
        dead.stop();
        dead.join();
        actors[0].link(&dead);
        assert!(actors.iter().all(|actor| matches!(actor.join(), Exit::NoProc)));
    });
    assert_eq!(reported.len(), 1);
}

#[test]
fn ordinary_ends_and_kills_are_not_reported() {
    let reported = reports(|| {
        for end in [ActorRef::stop, ActorRef::kill, |actor: &ActorRef<Job>| actor.send_exit(Exit::Shutdown)] {
            let actors = chain();
            end(&actors[7]);
            actors[7].join();
        }
    });
    assert!(reported.is_empty(), "{reported:?}");
}

// --- corners -----------------------------------------------------------------------------------------------------

#[test]
fn an_exit_signal_interrupts_a_handler_of_an_actor_that_was_told_to_stop() {
    on_hub(|| {
        let actor = Probe::new().start_local().unwrap();
        actor.run(|_| {
            sleep(Duration::MAX);
            Ok(())
        });
        yield_now();
        actor.stop();
        actor.send_exit(Exit::Shutdown);
        let exit = actor.join_timeout(Duration::from_secs(2));
        assert!(matches!(exit, Some(Exit::Shutdown)), "{exit:?}");
    });
}

#[test]
fn a_chain_of_1000_actors_that_never_ran_ends_with_its_first() {
    on_hub(|| {
        let actors: Vec<_> = (0..1000).map(|_| Probe::new().spawn_local()).collect();
        for pair in actors.windows(2) {
            pair[0].link(&pair[1]);
        }
        actors[0].kill();
        assert!(actors.iter().all(|actor| matches!(actor.join(), Exit::Killed)));
    });
}

#[test]
fn a_linked_actor_that_is_killed_does_not_interrupt_terminate() {
    on_hub(|| {
        let (log, go) = (Log::new(), Arc::new(Event::new()));
        let ending = Probe::new()
            .terminate({
                let (log, go) = (log.clone(), go.clone());
                move |exit, _| {
                    log.note(format_args!("ends with {exit}"));
                    go.wait();
                    log.note("done");
                }
            })
            .start_local()
            .unwrap();
        let killed = Probe::new().start_local().unwrap();
        ending.link(&killed);
        ending.stop();
        assert_eq!(log.next(), "ends with normal");
        killed.kill();
        yield_now();
        go.set();
        assert!(ending.join().is_normal());
        assert_eq!(log.taken(), ["done"]);
    });
}
