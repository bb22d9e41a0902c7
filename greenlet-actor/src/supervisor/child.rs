//! Starting and stopping the actor of a child: for all kinds of supervisors.

use greenlet_core::{GreenletError, GreenletExit, Instant, attempt, catch, raise};

use super::spec::Shutdown;
use crate::actor;
use crate::actor_ref::AnyActor;
use crate::exit::Exit;

/// What a start that did not fail comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    Running,
    /// Its `init` answered `ignore`.
    Ignored,
}

/// Makes a child. What the user's closure does wrong is a failed start, like a failed `init`.
pub(super) fn make<R>(make: impl FnOnce() -> R) -> Result<R, Exit> {
    match attempt(make) {
        Ok(made) => Ok(made),
        Err(GreenletError::Failed(failure)) => Err(Exit::Failed(failure)),
        // The supervisor itself was killed.
        Err(_) => raise(GreenletExit),
    }
}

/// Starts what was made, and waits for its `init`. The supervisor has noted it already, so that nothing is forgotten when it is killed
/// meanwhile.
pub(super) fn begin(actor: &AnyActor) -> Result<Begun, Exit> {
    match actor::start(actor) {
        Ok(()) => Ok(Begun::Running),
        Err(Exit::Ignore) => Ok(Begun::Ignored),
        Err(exit) => Err(exit),
    }
}

/// Stops one child, and waits for that.
pub(super) fn stop(actor: &AnyActor, shutdown: Shutdown, supervisor: &AnyActor) -> Exit {
    let exit = match shutdown {
        Shutdown::BrutalKill => None,
        Shutdown::Timeout(limit) => {
            actor.tell_to_end(Exit::Shutdown);
            actor.join_timeout(limit)
        }
        Shutdown::Infinity => {
            actor.tell_to_end(Exit::Shutdown);
            Some(actor.join())
        }
    };
    let exit = exit.unwrap_or_else(|| {
        actor.kill();
        Exit::Killed
    });
    // Unlinked only now: whatever the child did meanwhile, we would have heard of it.
    actor.unlink(supervisor);
    exit
}

/// Stops children, all at the same time, and waits for them.
pub(super) fn stop_together(children: &mut [(AnyActor, Shutdown)]) {
    let begun = Instant::now();
    for (actor, shutdown) in &*children {
        match shutdown {
            Shutdown::BrutalKill => actor.send_exit(Exit::Killed),
            Shutdown::Timeout(_) | Shutdown::Infinity => actor.tell_to_end(Exit::Shutdown),
        }
    }
    // Those whose time is over first are waited for first.
    children.sort_by_key(|(_, shutdown)| match shutdown {
        Shutdown::BrutalKill => None,
        Shutdown::Timeout(limit) => Some((0, *limit)),
        Shutdown::Infinity => Some((1, std::time::Duration::ZERO)),
    });
    for (actor, shutdown) in &*children {
        if let Shutdown::Timeout(limit) = shutdown
            && actor.join_timeout(limit.saturating_sub(begun.elapsed())).is_none()
        {
            actor.send_exit(Exit::Killed);
        }
    }
    for (actor, _) in &*children {
        actor.join();
    }
}

/// Kills children, however often the caller is killed meanwhile: a supervisor that is killed has no `terminate`, and its children must not
/// outlive it all the same.
pub(super) fn kill_all(children: &[AnyActor]) {
    // All at once first: even if the wait is cut short, none goes on.
    for actor in children {
        actor.send_exit(Exit::Killed);
    }
    for actor in children {
        while catch(|| actor.join()).is_err() {}
    }
}
