//! What an actor is to others, whatever its messages are: how it is to end, how it has ended, who wants to know.
//!
//! # Order of things
//! Messages, trapped exits and DOWN are one queue, in the order of arrival. Being told to stop, and an exit signal that is not trapped,
//! act ahead of it: they are kept apart (`stop`), a flag says so, and whoever runs the actor looks at the flags before each message.
//! What is to interrupt a suspended handler is also raised in the greenlet that runs it, as an `Interrupt`: see `run`.
//!
//! # Locks
//! `state` is a plain mutex, held for a few steps and never while something of the user's is called or dropped. Most actors never have
//! one: `rare` is made when somebody links, monitors, joins or ends the actor with anything but `normal`. Who makes it and who ends the
//! actor agree by the order of their steps: the one makes `rare` and then looks at `ENDED`, the other sets `ENDED` and then looks
//! for `rare`, all of it sequentially consistent.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use greenlet_core::{AsyncResult, Event, StackSize};

use crate::activation::Activation;
use crate::actor_ref::{ActorId, AnyActor};
use crate::cell::AnyCell;
use crate::exit::Exit;
use crate::monitor::MonitorId;
use crate::run::{Home, Local};
use crate::sys::Observed;
use crate::timer::{AnyTimer, TimerId};

/// Bits of [`Life::flags`].
pub(crate) mod flag {
    /// It is to end: as `stop` says, or normally and in good order if there is none.
    pub(crate) const STOPPING: u32 = 1 << 0;
    /// It has ended: `exit` is there, or it was `normal`. Nobody is added to those who want to know any more.
    pub(crate) const ENDED: u32 = 1 << 1;
    pub(crate) const TRAPS_EXITS: u32 = 1 << 2;
    /// Its state is not `Send`, or must stay where it is for another reason.
    pub(crate) const PINNED: u32 = 1 << 3;
    /// Its `init` is done.
    pub(crate) const STARTED: u32 = 1 << 4;
    /// It handles no messages until it is resumed.
    pub(crate) const HELD: u32 = 1 << 5;
    /// Somebody wants to know of each message.
    pub(crate) const TRACED: u32 = 1 << 6;
    /// Somebody wants to see its state.
    pub(crate) const ASKED: u32 = 1 << 7;
    /// Its next message fails: see the test kit.
    pub(crate) const FAULTY: u32 = 1 << 8;
    /// It ends, and knows it: nothing but a kill interrupts that.
    pub(crate) const ENDING: u32 = 1 << 9;
    /// There was no stack of its own size for it: it ends on another one.
    pub(crate) const NO_STACK: u32 = 1 << 10;
    /// It has an idle timeout.
    pub(crate) const IDLE_TIMEOUT: u32 = 1 << 11;
    /// It has ended, and those who wanted to know have been told.
    pub(crate) const TOLD: u32 = 1 << 12;
    /// Somebody waits for `TOLD`, at `Rare::ended`.
    pub(crate) const JOINED: u32 = 1 << 13;
    /// What must not be overlooked by who gives it up.
    pub(crate) const ATTENTION: u32 = STOPPING | HELD | ASKED;
}

pub(crate) struct Life {
    id: ActorId,
    flags: AtomicU32,
    /// The hub on which it runs, or ran last: its index in the system.
    pub(crate) hub: AtomicU32,
    /// Which of that hub's runners has it, while it handles something: 0 for none. Belongs to that hub's thread.
    pub(crate) runner: AtomicU32,
    /// Its place in the list of its home.
    pub(crate) entry: AtomicU32,
    /// Where it was spawned.
    pub(crate) home: Home,
    site: &'static Location<'static>,
    rare: OnceLock<Box<Rare>>,
}

/// What only some actors have.
pub(crate) struct Rare {
    pub(crate) name: OnceLock<String>,
    pub(crate) stack: Option<StackSize>,
    /// The supervisor that started it.
    parent: OnceLock<AnyActor>,
    /// Told how `init` went.
    pub(crate) started: OnceLock<Arc<Started>>,
    /// Set when it has ended and all others have been told, if the flag `JOINED` says that somebody waits for that.
    ended: Event,
    /// Set when a message comes for a handler that waits for one.
    pub(crate) arrived: Event,
    /// Where its question stands in the mailbox of the actor whose answer its handler waits for, or somewhat before.
    pub(crate) asked_at: AtomicU64,
    observed: OnceLock<Box<Observed>>,
    state: Mutex<State>,
}

pub(crate) type Started = AsyncResult<Result<(), Exit>>;

#[derive(Default)]
pub(crate) struct State {
    /// Why it is to end.
    stop: Option<Stop>,
    /// Why it has ended.
    exit: Option<Exit>,
    pub(crate) links: BTreeMap<ActorId, Link>,
    /// Who monitors it.
    pub(crate) monitors: Vec<(MonitorId, Watcher)>,
    /// Timers whose messages are still to come.
    timers: BTreeMap<TimerId, Arc<dyn AnyTimer>>,
    /// The actor itself, while it is held and nobody else has it.
    held: Option<Activation>,
    /// The actor whose answer its handler waits for.
    pub(crate) asking: Option<AnyActor>,
}

/// An actor is to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) force: Force,
    pub(crate) exit: Exit,
}

/// How urgent. What is stronger replaces what is weaker; of equals the first stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Force {
    /// After the message that it is handling.
    Graceful,
    /// An exit signal: from where its handler is suspended.
    Signal,
    /// From wherever it is suspended, and without `terminate`.
    Kill,
}

pub(crate) struct Link {
    pub(crate) to: Arc<dyn AnyCell>,
    pub(crate) direction: Direction,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// Erlang's: whichever ends first tells the other.
    Both,
    /// gevent's: only tells, and only of such ends.
    Tell(Ends),
    /// The other one is a task of this one: killed with it, whatever the reason.
    Owns,
    /// This one is a task of the other, which may hear of its end.
    Owned(Hears),
}

/// What an actor hears of the end of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hears {
    /// An exit signal, unless it ended `normal`.
    Failures,
    /// Nothing: it is told by other means.
    Nothing,
}

/// Which ends a one-sided link is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ends {
    /// gevent's `link`.
    All,
    /// `link_value`: all but failures.
    Successes,
    /// `link_exception`.
    Failures,
}

impl Ends {
    pub(crate) fn include(self, exit: &Exit) -> bool {
        match self {
            Ends::All => true,
            Ends::Successes => exit.failure().is_none(),
            Ends::Failures => exit.failure().is_some(),
        }
    }
}

/// Who is told of an end, once.
pub(crate) enum Watcher {
    /// DOWN goes to its mailbox.
    Actor(Arc<dyn AnyCell>),
    /// Is called. It must neither wait nor take long.
    Callback(OnEnd),
}

pub(crate) type OnEnd = Box<dyn FnOnce(ActorId, &Exit) + Send>;

/// Who wants to know of an end.
pub(crate) struct Concerned {
    pub(crate) links: BTreeMap<ActorId, Link>,
    pub(crate) monitors: Vec<(MonitorId, Watcher)>,
    pub(crate) timers: BTreeMap<TimerId, Arc<dyn AnyTimer>>,
}

impl Default for Rare {
    fn default() -> Rare {
        Rare::new(None, None)
    }
}

impl Rare {
    pub(crate) fn new(name: Option<String>, stack: Option<StackSize>) -> Rare {
        Rare {
            name: name.map_or_else(OnceLock::new, OnceLock::from),
            stack,
            parent: OnceLock::new(),
            started: OnceLock::new(),
            ended: Event::new(),
            arrived: Event::new(),
            asked_at: AtomicU64::new(u64::MAX),
            observed: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    pub(crate) fn observed(&self) -> &Observed {
        self.observed.get_or_init(Box::default)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the next actor. Each thread takes a block at a time.
fn next_id() -> ActorId {
    const BLOCK: u64 = 1024;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static MINE: std::cell::Cell<(u64, u64)> = const { std::cell::Cell::new((0, 0)) };
    }
    MINE.with(|mine| {
        let (mut next, mut end) = mine.get();
        if next == end {
            next = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
            end = next + BLOCK;
        }
        mine.set((next + 1, end));
        ActorId(next)
    })
}

impl Life {
    pub(crate) fn new(home: Home, site: &'static Location<'static>, flags: u32, rare: Option<Rare>) -> Life {
        let life = Life {
            id: next_id(),
            flags: AtomicU32::new(flags),
            hub: AtomicU32::new(home.index()),
            runner: AtomicU32::new(0),
            entry: AtomicU32::new(u32::MAX),
            home,
            site,
            rare: OnceLock::new(),
        };
        if let Some(rare) = rare {
            let _ = life.rare.set(Box::new(rare));
        }
        life
    }

    pub(crate) fn id(&self) -> ActorId {
        self.id
    }

    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    #[inline]
    pub(crate) fn flags(&self) -> u32 {
        self.flags.load(Ordering::Acquire)
    }

    /// The flags, for the owner: who sets one and then wakes the actor (`Mailbox::wake`) has it look here once more before it rests.
    #[inline]
    pub(crate) fn flags_between_messages(&self) -> u32 {
        self.flags.load(Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags() & flag != 0
    }

    pub(crate) fn set(&self, flag: u32) {
        self.flags.fetch_or(flag, Ordering::SeqCst);
    }

    pub(crate) fn unset(&self, flag: u32) {
        self.flags.fetch_and(!flag, Ordering::SeqCst);
    }

    pub(crate) fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    pub(crate) fn try_rare(&self) -> Option<&Rare> {
        self.rare.get().map(|rare| &**rare)
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.try_rare()?.name.get().map(String::as_str)
    }

    pub(crate) fn stack(&self) -> Option<StackSize> {
        self.try_rare()?.stack
    }

    pub(crate) fn set_parent(&self, parent: AnyActor) {
        let _ = self.rare().parent.set(parent);
    }

    pub(crate) fn parent(&self) -> Option<&AnyActor> {
        self.try_rare()?.parent.get()
    }

    /// The names of its supervisors and its own, from the top down.
    pub(crate) fn path(&self) -> String {
        let mut path = match self.parent() {
            Some(parent) => parent.life().path(),
            None => String::new(),
        };
        path.push('/');
        match self.name() {
            Some(name) => path.push_str(name),
            None => path.push_str(&self.id.to_string()),
        }
        path
    }

    /// Whether that is the supervisor that started it.
    pub(crate) fn obeys(&self, from: ActorId) -> bool {
        self.parent().is_some_and(|parent| parent.id() == from)
    }

    pub(crate) fn ready(&self) -> bool {
        self.has(flag::ENDED)
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        if !self.ready() {
            return None;
        }
        let recorded = self.try_rare().and_then(|rare| rare.state().exit.clone());
        Some(recorded.unwrap_or(Exit::Normal))
    }

    /// How it is to stop, if it is.
    #[inline]
    pub(crate) fn stop(&self) -> Option<Stop> {
        if !self.has(flag::STOPPING) {
            return None;
        }
        let noted = self.try_rare().and_then(|rare| rare.state().stop.clone());
        Some(noted.unwrap_or(Stop { force: Force::Graceful, exit: Exit::Normal }))
    }

    pub(crate) fn killed(&self) -> bool {
        self.stop().is_some_and(|stop| stop.force == Force::Kill)
    }

    /// Notes that the actor is to end. True if that is news, and then somebody has to see to it that it looks.
    pub(crate) fn request_stop(&self, force: Force, exit: Exit) -> bool {
        if self.ready() {
            return false;
        }
        // The mildest wish needs no more than the flag.
        if force == Force::Graceful && exit.is_normal() && self.try_rare().is_none() {
            return self.flags.fetch_or(flag::STOPPING, Ordering::SeqCst) & (flag::STOPPING | flag::ENDING)
                == 0;
        }
        let mut state = self.rare().state();
        if force == Force::Graceful && state.stop.is_none() && self.has(flag::STOPPING) {
            return false; // it has that wish already
        }
        let stronger = state.stop.as_ref().is_none_or(|stop| stop.force < force);
        if state.exit.is_some() || !stronger || (force < Force::Kill && self.has(flag::ENDING)) {
            return false;
        }
        let replaced = state.stop.replace(Stop { force, exit });
        self.set(flag::STOPPING);
        drop(state);
        drop(replaced);
        true
    }

    /// The actor ends for this reason, and knows it: only a kill is news from now on.
    pub(crate) fn begin_end(&self, exit: &Exit) {
        // Who asks why no answer comes finds that it is to stop: normally, unless another reason is noted below.
        self.set(if exit.is_normal() { flag::ENDING | flag::STOPPING } else { flag::ENDING });
        if exit.is_normal() && self.try_rare().is_none() {
            return;
        }
        let mut state = self.rare().state();
        let force = state.stop.as_ref().map_or(Force::Signal, |stop| stop.force.max(Force::Signal));
        let replaced = state.stop.replace(Stop { force, exit: exit.clone() });
        self.set(flag::STOPPING);
        drop(state);
        drop(replaced);
    }

    /// The state of an actor that lives, to add somebody who wants to know of its end.
    pub(crate) fn alive(&self) -> Option<MutexGuard<'_, State>> {
        if self.ready() {
            return None;
        }
        let rare = self.rare();
        fence(Ordering::SeqCst);
        let state = rare.state();
        if self.ready() { None } else { Some(state) }
    }

    /// Puts a held actor aside. False if it is to go on all the same.
    pub(crate) fn hold(&self, me: &Activation) -> bool {
        let mut state = self.rare().state();
        // Under the lock, under which whoever resumes or ends it looks for it.
        let flags = self.flags();
        if flags & flag::HELD == 0 || flags & (flag::STOPPING | flag::ASKED) != 0 {
            return false;
        }
        state.held = Some(Activation::at(me.pointer().as_ptr()));
        true
    }

    /// The actor whose answer its handler waits for, if that one has not come past the question yet. Once it has, the answer comes from
    /// elsewhere, or later, and nobody can say what that depends on.
    #[inline]
    pub(crate) fn asks(&self) -> Option<AnyActor> {
        if self.runner.load(Ordering::Relaxed) == 0 && self.rare.get().is_none() {
            return None;
        }
        self.is_asking()
    }

    fn is_asking(&self) -> Option<AnyActor> {
        if let Some(asked) = self.asks_inside() {
            return Some(asked);
        }
        let rare = self.try_rare()?;
        let asked = rare.state().asking.clone()?;
        (asked.cell().handled() <= rare.asked_at.load(Ordering::Acquire)).then_some(asked)
    }

    /// The actor that runs inside its handler, on this thread, to answer it: such a question is not noted elsewhere.
    fn asks_inside(&self) -> Option<AnyActor> {
        let local = Local::current()?;
        local.is(&self.home, self.hub.load(Ordering::Relaxed)).then(|| local.asked_by(self)).flatten()
    }

    /// Takes a held actor back, to be run.
    pub(crate) fn take_held(&self) -> Option<Activation> {
        self.try_rare()?.state().held.take()
    }

    /// Records the end. Returns who wants to know.
    pub(crate) fn finish(&self, exit: &Exit) -> Option<Concerned> {
        if !exit.is_normal() {
            self.rare();
        }
        let mut state = self.try_rare().map(Rare::state);
        if let Some(state) = &mut state {
            state.exit = Some(exit.clone());
        }
        self.set(flag::ENDED);
        fence(Ordering::SeqCst);
        if state.is_none() {
            // Made in the same moment by somebody who did not see the flag yet?
            state = self.try_rare().map(Rare::state);
        }
        let mut state = state?;
        state.exit = Some(exit.clone());
        state.asking = None;
        let (links, monitors) = (std::mem::take(&mut state.links), std::mem::take(&mut state.monitors));
        let timers = std::mem::take(&mut state.timers);
        Some(Concerned { links, monitors, timers })
    }

    /// Those who wanted to know of the end have been told: whoever joins the actor goes on.
    pub(crate) fn all_told(&self) {
        let flags = self.flags.fetch_or(flag::TOLD, Ordering::SeqCst);
        if flags & flag::JOINED != 0 {
            self.rare().ended.set();
        }
    }

    /// What is set when the actor has ended and those who wanted to know have been told. `None`: that is so already.
    pub(crate) fn end_to_await(&self) -> Option<&Event> {
        if self.has(flag::TOLD) {
            return None;
        }
        let ended = &self.rare().ended;
        let flags = self.flags.fetch_or(flag::JOINED, Ordering::SeqCst);
        (flags & flag::TOLD == 0).then_some(ended)
    }

    /// Waits until the actor has ended and those who wanted to know have been told. False if that took longer than `timeout`.
    pub(crate) fn await_end(&self, timeout: Option<Duration>) -> bool {
        match (self.end_to_await(), timeout) {
            (None, _) => true,
            (Some(ended), None) => {
                ended.wait();
                true
            }
            (Some(ended), Some(timeout)) => ended.wait_timeout(timeout),
        }
    }

    /// Adds a timer, which ends with the actor. False if that has ended.
    pub(crate) fn add_timer(&self, id: TimerId, timer: Arc<dyn AnyTimer>) -> bool {
        let Some(mut state) = self.alive() else { return false };
        state.timers.insert(id, timer);
        true
    }

    pub(crate) fn remove_timer(&self, id: TimerId) {
        let removed = self.try_rare().and_then(|rare| rare.state().timers.remove(&id));
        drop(removed);
    }

    /// Adds one direction of a link; false if this actor has ended.
    pub(crate) fn add_link(&self, to: Arc<dyn AnyCell>, direction: Direction) -> bool {
        let Some(mut state) = self.alive() else { return false };
        let links = &mut state.links;
        let id = to.life().id();
        let replaced = match links.get(&id) {
            // Erlang's kind says more than gevent's, so it is kept.
            Some(Link { direction: Direction::Both | Direction::Owns | Direction::Owned(_), .. }) => None,
            // Two one-sided links are one for both kinds of ends.
            Some(Link { direction: Direction::Tell(known), .. }) if matches!(direction, Direction::Tell(ends) if ends != *known) => {
                links.insert(id, Link { to, direction: Direction::Tell(Ends::All) })
            }
            _ => links.insert(id, Link { to, direction }),
        };
        drop(state);
        drop(replaced);
        true
    }

    pub(crate) fn remove_link(&self, to: ActorId) {
        let removed = self.try_rare().and_then(|rare| rare.state().links.remove(&to));
        drop(removed);
    }
}
