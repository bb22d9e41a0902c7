//! Exit signals, links and monitors: Erlang's rules.

use std::sync::Arc;

use crate::actor::Actor;
use crate::actor_ref::{ActorId, AnyActor};
use crate::cell::AnyCell;
use crate::context::{Context, watcher_of};
use crate::exit::Exit;
use crate::life::{Concerned, Direction, Force, Hears, Life, Watcher, flag};
use crate::monitor::{Down, MonitorId};
use crate::run::{self, Runner};
use crate::special::Signal;

/// What an actor does about an exit signal: Erlang's table.
pub(crate) fn exit_signal(to: &Arc<dyn AnyCell>, from: ActorId, exit: Exit) {
    if to.life().has(flag::TRAPS_EXITS) && (exit.is_normal() || !to.life().obeys(from)) {
        to.clone().post(Signal::Exited(from, exit));
    } else {
        tell_to_end(to, exit);
    }
}

/// As [`exit_signal`], for one that no link has sent: to oneself, `normal` is a reason too.
pub(crate) fn direct_exit_signal(to: &Arc<dyn AnyCell>, from: ActorId, exit: Exit) {
    if from == to.life().id() && exit.is_normal() && !to.life().has(flag::TRAPS_EXITS) {
        end(to, Force::Signal, exit);
    } else {
        exit_signal(to, from, exit);
    }
}

/// An exit signal that is not trapped. Who traps exits is told to end by the supervisor: as OTP's behaviours do, it ends in good order and is not asked.
pub(crate) fn tell_to_end(to: &Arc<dyn AnyCell>, exit: Exit) {
    if exit.is_normal() {
        return;
    }
    let force = if to.life().has(flag::TRAPS_EXITS) { Force::Graceful } else { Force::Signal };
    end(to, force, exit);
}

/// Has an actor end.
pub(crate) fn end(actor: &Arc<dyn AnyCell>, force: Force, exit: Exit) {
    if actor.life().request_stop(force, exit) {
        match force {
            Force::Graceful => actor.clone().wake(),
            Force::Signal | Force::Kill => run::interrupt(actor),
        }
    }
}

/// Tells those who want to know of the end of an actor: first whom links and monitors name, then who joins it. So whoever waited for the end
/// finds the others told, on whatever hub they are.
pub(crate) fn ended(life: &Life, concerned: Option<Concerned>, exit: &Exit) {
    let Some(Concerned { links, monitors, timers }) = concerned else { return life.all_told() };
    let me = life.id();
    for link in links.into_values() {
        match link.direction {
            Direction::Both => {
                link.to.life().remove_link(me);
                exit_signal(&link.to, me, exit.clone());
            }
            Direction::Tell(ends) if ends.include(exit) => exit_signal(&link.to, me, exit.clone()),
            Direction::Tell(_) => {}
            Direction::Owns => {
                link.to.life().remove_link(me);
                end(&link.to, Force::Kill, Exit::Killed);
            }
            Direction::Owned(hears) => {
                link.to.life().remove_link(me);
                if hears == Hears::Failures && !exit.is_normal() {
                    exit_signal(&link.to, me, exit.clone());
                }
            }
        }
    }
    for (monitor, watcher) in monitors {
        tell(monitor, watcher, me, exit);
    }
    life.all_told();
    for timer in timers.into_values() {
        // Drops a message, and what fails in that is not the actor's failure.
        if let Err(error) = greenlet_core::attempt(|| timer.cancel()) {
            tracing::error!(target: "greenlet", "dropping the message of a timer: {error}");
        }
    }
}

fn tell(monitor: MonitorId, watcher: Watcher, actor: ActorId, exit: &Exit) {
    match watcher {
        Watcher::Actor(watcher) => watcher.post(Signal::Down(Down { monitor, actor, exit: exit.clone() })),
        Watcher::Callback(callback) => {
            // What fails in it is not the actor's failure.
            if let Err(error) = greenlet_core::attempt(|| callback(actor, exit)) {
                tracing::error!(target: "greenlet", "a callback for the end of {actor} failed: {error}");
            }
        }
    }
}

pub(crate) fn monitor(watcher: &AnyActor, other: &AnyActor) -> MonitorId {
    watch(other, watcher_of(watcher))
}

/// Has the watcher told of the end of `other`, at once if that is over.
pub(crate) fn watch(other: &AnyActor, watcher: Watcher) -> MonitorId {
    let monitor = MonitorId::next();
    match other.life().alive() {
        Some(mut state) => state.monitors.push((monitor, watcher)),
        None => {
            let exit = match watcher {
                Watcher::Actor(_) => Exit::NoProc,
                // Not Erlang's: who has a reference can be told why.
                Watcher::Callback(_) => other.exit().unwrap_or(Exit::NoProc),
            };
            tell(monitor, watcher, other.id(), &exit);
        }
    }
    monitor
}

/// As [`watch`], but the watcher comes back if `other` has ended.
pub(crate) fn watch_alive(other: &AnyActor, watcher: Watcher) -> Result<MonitorId, Watcher> {
    let Some(mut state) = other.life().alive() else { return Err(watcher) };
    let monitor = MonitorId::next();
    state.monitors.push((monitor, watcher));
    Ok(monitor)
}

/// Takes a monitor back. False if it is not there any more.
pub(crate) fn demonitor(other: &AnyActor, monitor: MonitorId) -> bool {
    let Some(rare) = other.life().try_rare() else { return false };
    let mut state = rare.state();
    let at = state.monitors.iter().position(|(id, _)| *id == monitor);
    let removed = at.map(|at| state.monitors.swap_remove(at));
    drop(state);
    removed.is_some()
}

/// Tells `to` that it is linked with `dead`.
fn no_proc(to: &AnyActor, dead: &AnyActor) {
    tracing::error!(target: "greenlet", actor = %to, %dead, "linked to an actor that has ended");
    exit_signal(&to.shared(), dead.id(), Exit::NoProc);
}

/// Makes an actor that was not begun a task of another.
pub(crate) fn own(owner: &AnyActor, task: &AnyActor, hears: Hears) {
    task.life().add_link(owner.shared(), Direction::Owned(hears));
    if !owner.life().add_link(task.shared(), Direction::Owns) {
        task.life().remove_link(owner.id());
        end(task.cell(), Force::Kill, Exit::Killed);
    }
}

/// Links two actors in both directions.
pub(crate) fn link(a: &AnyActor, b: &AnyActor) {
    if a.id() == b.id() {
        return;
    }
    if !a.life().add_link(b.shared(), Direction::Both) {
        return no_proc(b, a);
    }
    if !b.life().add_link(a.shared(), Direction::Both) {
        a.life().remove_link(b.id());
        return no_proc(a, b);
    }
    if a.life().ready() {
        // It ended between the two, on another thread, and told `b`.
        b.life().remove_link(a.id());
    }
}

/// Has an actor handle what is not a message.
pub(crate) fn handle<A: Actor>(
    actor: &mut A,
    signal: Signal,
    ctx: &mut Context<A>,
    runner: &Runner,
) -> Result<(), Exit> {
    match signal {
        Signal::Exited(from, exit) => {
            runner.handles("handle_exit");
            actor.handle_exit(from, exit, ctx)
        }
        Signal::Idle { taken } => {
            if !ctx.was_idle(taken) {
                return Ok(());
            }
            runner.handles("handle_timeout");
            actor.handle_timeout(ctx)
        }
        Signal::Down(down) => {
            runner.handles("handle_down");
            actor.handle_down(down, ctx)
        }
        Signal::Finish => Err(Exit::Normal),
    }
}
