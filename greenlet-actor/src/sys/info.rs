//! What is known of one actor.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenlet_core::oneshot;

use crate::actor_ref::{ActorId, AnyActor};
use crate::exit::Exit;
use crate::life::flag;
use crate::run::Local;

/// How long a hub has to say what one of its actors is doing.
const PATIENCE: Duration = Duration::from_millis(100);

/// What an actor is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Activity {
    /// Nothing: its mailbox is empty. It has no stack.
    Idle,
    /// It has something to do, and waits for its turn; or its hub did not say in time what it is doing, since something computes there.
    Ready,
    /// It handles a message with this label, or runs this hook; it may be suspended in it.
    Handling(&'static str),
    /// Its handler waits for a message.
    Receiving,
    /// It was [suspended](super::suspend).
    Suspended,
    /// It has ended.
    Ended(Exit),
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activity::Idle => f.write_str("idle"),
            Activity::Ready => f.write_str("ready"),
            Activity::Handling(label) => write!(f, "handling {label}"),
            Activity::Receiving => f.write_str("waiting for a message in a handler"),
            Activity::Suspended => f.write_str("suspended"),
            Activity::Ended(exit) => write!(f, "ended: {exit}"),
        }
    }
}

/// What [`info`](super::info) finds: Erlang's `process_info`. The fields may be of slightly different moments.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ActorInfo {
    /// Its number.
    pub id: ActorId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The names of its supervisors and its own, from the top: `/tree/workers/printer`.
    pub path: String,
    /// The type of the actor.
    pub actor_type: &'static str,
    /// The type of its messages.
    pub message_type: &'static str,
    /// Where it was spawned.
    pub spawn_site: &'static Location<'static>,
    /// What it is doing.
    pub activity: Activity,
    /// How many messages and signals wait in its mailbox.
    pub mailbox_len: usize,
    /// How many it has taken out.
    pub handled: u64,
    /// How many messages were dropped since its mailbox was full.
    pub dropped: u64,
    /// How long it ran, suspended or not, if that is [measured](super::measure_busy_time).
    pub busy: Option<Duration>,
    /// What it takes in memory, in bytes: state and mailbox with what waits in it, but not what those point to.
    pub memory: usize,
    /// Which hub of its system it runs on, or ran on last.
    pub hub: u32,
    /// The supervisor that started it.
    pub parent: Option<ActorId>,
    /// Who is linked with it, or is told of its end by a one-sided link.
    pub links: Vec<ActorId>,
    /// How many monitors and callbacks are told of its end.
    pub monitors: usize,
    /// Whether it traps exits.
    pub traps_exits: bool,
}

impl ActorInfo {
    pub(super) fn of(actor: &AnyActor) -> ActorInfo {
        ActorInfo { activity: Activity::of(actor), ..ActorInfo::at_once(actor) }
    }

    /// Without asking a hub.
    pub(super) fn at_once(actor: &AnyActor) -> ActorInfo {
        let (life, cell) = (actor.life(), actor.cell());
        let (actor_type, message_type) = cell.types();
        let (mut links, mut monitors) = (Vec::new(), 0);
        if let Some(rare) = life.try_rare() {
            let state = rare.state();
            links.extend(state.links.keys().copied());
            monitors = state.monitors.len();
        }
        links.sort_unstable();
        ActorInfo {
            id: life.id(),
            name: life.name().map(str::to_owned),
            path: life.path(),
            actor_type,
            message_type,
            spawn_site: life.site(),
            activity: Activity::seen(actor),
            mailbox_len: cell.mailbox_len(),
            handled: cell.handled(),
            dropped: cell.dropped(),
            busy: super::is_measured()
                .then(|| life.try_rare().map_or(Duration::ZERO, |rare| rare.observed().busy())),
            memory: cell.size(),
            hub: life.hub.load(Ordering::Relaxed),
            parent: life.parent().map(AnyActor::id),
            links,
            monitors,
            traps_exits: life.has(flag::TRAPS_EXITS),
        }
    }
}

impl Activity {
    /// As far as it can be seen from outside.
    fn seen(actor: &AnyActor) -> Activity {
        let life = actor.life();
        if let Some(exit) = life.exit() {
            return Activity::Ended(exit);
        }
        if actor.cell().is_receiving() {
            return Activity::Receiving;
        }
        if life.has(flag::HELD) {
            return Activity::Suspended;
        }
        if actor.cell().is_idle() { Activity::Idle } else { Activity::Ready }
    }

    fn of(actor: &AnyActor) -> Activity {
        let seen = Activity::seen(actor);
        if !matches!(seen, Activity::Ready | Activity::Suspended) {
            return seen;
        }
        let hub = actor.life().hub.load(Ordering::Relaxed);
        let label = match Local::current() {
            Some(local) if local.is(&actor.life().home, hub) => local.label_of(actor.life()),
            _ => {
                let (tell, told) = oneshot::channel();
                let asked = actor.shared();
                actor.life().home.call(hub, move || {
                    let label = Local::current().and_then(|local| local.label_of(asked.life()));
                    let _ = tell.send(label);
                });
                told.recv_timeout(PATIENCE).ok().flatten()
            }
        };
        label.map_or(seen, Activity::Handling)
    }
}

/// On one line.
impl fmt::Display for ActorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({}): {}, {} waiting, {} handled, {} bytes",
            self.path, self.id, self.actor_type, self.activity, self.mailbox_len, self.handled, self.memory
        )?;
        if self.dropped > 0 {
            write!(f, ", {} dropped", self.dropped)?;
        }
        if let Some(busy) = self.busy {
            write!(f, ", busy for {busy:?}")?;
        }
        if !self.links.is_empty() {
            write!(f, ", {} links", self.links.len())?;
        }
        Ok(())
    }
}
