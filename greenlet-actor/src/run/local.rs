//! A hub's part in a system, as its own thread sees it: the queue, and the runners.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_deque::Worker;
use greenlet_core::watcher::{Timer, run_callback};
use greenlet_core::{Builder, Event, Hub, current, embed};

use super::interrupt;
use super::part::{Counts, Home, Part};
use super::runner::Runner;
use super::system::{Shared, SystemSettings};
use crate::activation::Activation;
use crate::actor_ref::AnyActor;
use crate::cell::After;
use crate::exit::Exit;
use crate::life::{Force, Life, flag};
use crate::sys;

thread_local! {
    static LOCAL: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

pub(crate) struct Local {
    part: Arc<Part>,
    settings: SystemSettings,
    /// Activations that nobody else may take.
    queue: RefCell<VecDeque<Activation>>,
    /// Those that other hubs may take; `None` in a system of one.
    pub(super) shared: Option<Worker<Activation>>,
    /// The other hubs of the system, as of so many changes.
    pub(super) others: RefCell<(u64, Rc<[Arc<Part>]>)>,
    /// One of the idle runners looks at what other hubs have to do. It is the one that has been idle longest, and so is called last.
    scouting: Cell<bool>,
    /// Which of the two is asked first.
    turn: Cell<u32>,
    /// Something may have come from other threads.
    arrivals: Cell<bool>,
    /// A runner was called and has not come to the queue yet.
    standby: Cell<bool>,
    /// Somebody wants to let the runner that is called next run at once: it is put there instead of into the hub's queue.
    at_once: Cell<bool>,
    called: Cell<Option<Rc<Runner>>>,
    /// Runners that wait to be called; the last one's stack is the warmest.
    idle: RefCell<Vec<Rc<Runner>>>,
    /// By index, from 1.
    runners: RefCell<Vec<Option<Rc<Runner>>>>,
    /// The indices of those places that nobody has. There may be a hundred thousand runners, each in a handler that waits.
    vacant: RefCell<Vec<u32>>,
    closed: Cell<bool>,
    /// There is a greenlet that closes this when it is killed.
    ends: Cell<bool>,
    /// How many greenlets end what is left.
    ending: Cell<usize>,
    /// Calls a runner once more, if one did not come.
    again: RefCell<Option<Timer>>,
    me: Weak<Local>,
}

/// When another runner is called, if one was and did not come.
const CALL_AGAIN: Duration = Duration::from_millis(1);

impl Local {
    /// That of this thread, if it has one.
    pub(crate) fn current() -> Option<Rc<Local>> {
        // Also while the thread ends, when it is gone.
        LOCAL.try_with(|local| local.borrow().clone()).ok().flatten()
    }

    /// That of this thread, made now if there is none: a system of its own.
    pub(crate) fn here() -> Rc<Local> {
        Local::current().unwrap_or_else(|| Local::join(Shared::alone(), 0))
    }

    /// Makes this thread's hub one of a system's.
    pub(super) fn join(system: Arc<Shared>, index: u32) -> Rc<Local> {
        let shared = system.is_shared().then(Worker::new_fifo);
        let stealer = shared.as_ref().map(Worker::stealer);
        let settings = system.settings().clone();
        let part = Part::new(index, Hub::current(), system.clone(), stealer);
        system.add(part.clone());
        let local = Rc::new_cyclic(|me| Local {
            part,
            settings,
            queue: RefCell::default(),
            shared,
            others: RefCell::new((0, Rc::new([]))),
            scouting: Cell::new(false),
            turn: Cell::new(0),
            arrivals: Cell::new(true),
            standby: Cell::new(false),
            at_once: Cell::new(false),
            called: Cell::default(),
            idle: RefCell::default(),
            runners: RefCell::default(),
            vacant: RefCell::default(),
            closed: Cell::new(false),
            ends: Cell::new(false),
            ending: Cell::new(0),
            again: RefCell::default(),
            me: me.clone(),
        });
        // Not there any more when the thread ends.
        let _ = LOCAL.try_with(|current| current.replace(Some(local.clone())));
        embed::add_service(local.clone());
        if local.lacks_scout() {
            local.call_runner();
        }
        local
    }

    pub(crate) fn home(&self) -> Home {
        Home::new(self.part.clone())
    }

    pub(crate) fn system(&self) -> &Shared {
        &self.part.system
    }

    pub(super) fn part(&self) -> &Arc<Part> {
        &self.part
    }

    /// Whether this is that hub of the system that `home` is in.
    pub(crate) fn is(&self, home: &Home, hub: u32) -> bool {
        self.part.index == hub && Arc::ptr_eq(&self.part.system, home.system())
    }

    /// Whether this is one of the hubs of the system that `home` is in.
    pub(crate) fn is_in(&self, home: &Home) -> bool {
        Arc::ptr_eq(&self.part.system, home.system())
    }

    /// Queues an actor on this thread's hub, if that may run it.
    #[inline]
    pub(super) fn push_from_here(actor: Activation) -> Result<(), Activation> {
        let mut actor = Some(actor);
        // Not there any more when the thread ends.
        let _ = LOCAL.try_with(|local| {
            let local = local.borrow();
            let Some(local) = &*local else { return };
            actor = actor.take().and_then(|actor| local.push_if_ours(actor));
        });
        actor.map_or(Ok(()), Err)
    }

    #[inline]
    fn push_if_ours(&self, actor: Activation) -> Option<Activation> {
        let life = actor.life();
        let ours = Arc::ptr_eq(&self.part, life.home.part())
            || (!life.has(flag::PINNED) && Arc::ptr_eq(&self.part.system, life.home.system()));
        if ours {
            self.push(actor);
            None
        } else {
            Some(actor)
        }
    }

    /// Queues an actor.
    #[inline]
    pub(super) fn push(&self, actor: Activation) {
        match &self.shared {
            Some(shared) if !actor.life().has(flag::PINNED) => {
                shared.push(actor);
                self.offer();
            }
            _ => self.queue.borrow_mut().push_back(actor),
        }
        self.call_runner();
    }

    fn has_work(&self) -> bool {
        !self.queue.borrow().is_empty()
            || self.shared.as_ref().is_some_and(|shared| !shared.is_empty())
            || self.arrivals.get()
    }

    /// Whether nobody here would see what other hubs have to do: all runners are busy, and may be suspended for long.
    #[inline]
    fn lacks_scout(&self) -> bool {
        self.shared.is_some() && self.idle.borrow().is_empty()
    }

    /// The next activation.
    #[inline]
    fn next(&self) -> Option<Activation> {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        // Now and then first what comes from outside: those here may keep the queue filled for ever.
        if turn.is_multiple_of(61)
            && let Some(next) = self.take_arrival()
        {
            return Some(next);
        }
        let own = || self.queue.borrow_mut().pop_front();
        let Some(shared) = &self.shared else { return own().or_else(|| self.take_arrival()) };
        let next =
            if turn.is_multiple_of(2) { own().or_else(|| shared.pop()) } else { shared.pop().or_else(own) };
        next.or_else(|| self.take_arrival()).or_else(|| self.steal())
    }

    /// What came from other threads. Whoever brings something has this hub's loop told, so that nobody need look all the time.
    #[inline]
    fn take_arrival(&self) -> Option<Activation> {
        if !self.arrivals.get() {
            return None;
        }
        let next = self.part.take_remote();
        self.arrivals.set(next.is_some());
        next
    }

    /// Sees to it that a runner comes to the queue.
    #[inline]
    fn call_runner(&self) {
        if !self.standby.get() {
            self.standby.set(true);
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(runner) if self.at_once.get() => {
                    runner.is_to_come();
                    self.called.set(Some(runner));
                }
                Some(runner) => runner.call(),
                None => self.new_runner(),
            }
        }
    }

    /// Does what may call a runner. If it did, that one has not been told yet: it comes at once when [`comes_now`](Runner::comes_now) is called, and the caller
    /// does so. It begins with what waits longest. `f` neither waits nor runs anything of the user's.
    #[inline]
    pub(crate) fn holding_back<R>(f: impl FnOnce() -> R) -> (R, Option<Rc<Runner>>) {
        let mut f = Some(f);
        // Not there any more while the thread ends.
        let done = LOCAL.try_with(|local| {
            let local = local.borrow();
            let local = local.as_deref()?;
            local.at_once.set(true);
            let result = f.take().map(|f| f());
            local.at_once.set(false);
            Some((result, local.called.take()))
        });
        let (result, called) = done.ok().flatten().unwrap_or_default();
        (result.unwrap_or_else(|| f.expect("it was not called")()), called)
    }

    /// Another thread has something for us.
    pub(super) fn poked(&self) {
        self.part.poked.store(false, Ordering::SeqCst);
        self.arrivals.set(true);
        self.call_runner();
    }

    #[cold]
    fn new_runner(&self) {
        if self.closed.get() {
            return self.standby.set(false);
        }
        let called = Called { local: self.me(), came: Cell::new(false) };
        // Made in the loop, so that it is in no spawn tree but its own.
        run_callback(move || drop(Builder::new().name("actor runner").spawn(move || run(called))));
    }

    /// Who was called does not come: killed, or without a stack. Somebody else is called, but not before others had time to give up theirs.
    #[cold]
    fn call_again(&self) {
        self.standby.set(false);
        if !self.closed.get() && self.has_work() {
            let local = self.me();
            let again = Timer::once(CALL_AGAIN, move || {
                if local.has_work() {
                    local.call_runner();
                }
            });
            self.again.replace(Some(again));
        }
    }

    fn me(&self) -> Rc<Local> {
        self.me.upgrade().expect("whoever calls this keeps it")
    }

    /// How many runners may wait to be called: where there are other hubs, one has to look at them.
    fn most_idle(&self) -> usize {
        self.settings.idle_runners.max(usize::from(self.shared.is_some()))
    }

    fn enlist(&self) -> Rc<Runner> {
        let mut runners = self.runners.borrow_mut();
        let index = self.vacant.borrow_mut().pop().unwrap_or_else(|| {
            runners.push(None);
            u32::try_from(runners.len()).expect("fewer than 2^32 greenlets")
        });
        let runner = Runner::new(index, self.part.index, current());
        runners[index as usize - 1] = Some(runner.clone());
        Counts::add(&self.part.counts().runners, 1);
        runner
    }

    fn dismiss(&self, runner: &Runner) {
        let gone = self.runners.borrow_mut()[runner.index() as usize - 1].take();
        self.vacant.borrow_mut().push(runner.index());
        Counts::add(&self.part.counts().runners, u64::MAX); // one less
        drop(gone);
    }

    /// Interrupts what the actor is doing, if it is doing something here.
    pub(super) fn interrupt(&self, life: &Life) {
        let index = life.runner.load(Ordering::Relaxed) as usize;
        let runner = index.checked_sub(1).and_then(|at| self.runners.borrow().get(at).cloned().flatten());
        if let Some(runner) = runner {
            runner.interrupt(life);
        }
    }

    /// Whom the actor asks, from inside of which the asked one runs here.
    pub(crate) fn asked_by(&self, life: &Life) -> Option<AnyActor> {
        let index = life.runner.load(Ordering::Relaxed) as usize;
        let runners = self.runners.borrow();
        index.checked_sub(1).and_then(|at| runners.get(at)?.as_ref()).and_then(|runner| runner.asks())
    }

    /// What the actor is doing here.
    pub(crate) fn label_of(&self, life: &Life) -> Option<&'static str> {
        let index = life.runner.load(Ordering::Relaxed) as usize;
        let runners = self.runners.borrow();
        index.checked_sub(1).and_then(|at| runners.get(at)?.as_ref()).map(|runner| runner.label())
    }

    /// Runs activations until there are none, or the share is used up.
    fn serve(&self, runner: &Runner) {
        let share = self.settings.messages_per_turn;
        runner.grant(share);
        let activations = self.serve_share(runner);
        // Each activation costs one, and each message.
        let handled = (share - runner.budget()).saturating_sub(activations);
        Counts::add(&self.part.counts().handled, u64::from(handled));
    }

    /// Returns how many activations that were.
    fn serve_share(&self, runner: &Runner) -> u32 {
        let mut activations = 0;
        while runner.has_budget() && !runner.is_retired() {
            let Some(actor) = self.next() else { return activations };
            activations += 1;
            if self.has_work() || self.lacks_scout() {
                self.call_runner();
            }
            self.begin(actor, runner);
            // Afterwards: an actor that is begun comes to at least one message.
            runner.spend();
        }
        if self.has_work() || (runner.is_retired() && self.lacks_scout()) {
            self.call_runner();
        }
        activations
    }

    #[inline]
    fn begin(&self, actor: Activation, runner: &Runner) {
        if let Some(size) = actor.life().stack()
            && !actor.life().has(flag::NO_STACK)
        {
            return self.run_apart(actor, size);
        }
        self.activate(actor, runner);
    }

    fn activate(&self, actor: Activation, runner: &Runner) {
        let part = &self.part;
        Counts::add(&part.counts().activations, 1);
        let in_handler = runner.is_inside() && part.running.load(Ordering::Relaxed);
        if self.shared.is_some() {
            part.running.store(true, Ordering::Relaxed);
        }
        let mut after = if sys::is_measured() { measured(actor, runner) } else { actor.run(runner) };
        if self.shared.is_some() {
            // A handler that asks, and runs this one inside itself, goes on.
            part.running.store(in_handler && runner.is_inside(), Ordering::Relaxed);
        }
        if matches!(after, After::Ended(_)) && embed::has_raises() {
            // It came while the actor that has ended could not be disturbed, and is not meant for the next one.
            runner.retire();
        }
        while let After::Again(actor) = after {
            if !self.closed.get() {
                return self.push(actor);
            }
            // Nobody would come to it: its hub has ended around it.
            actor.life().request_stop(Force::Kill, Exit::Killed);
            after = actor.run(runner);
        }
    }

    /// An actor with a stack of its own size has a greenlet of its own for each activation.
    #[cold]
    fn run_apart(&self, actor: Activation, size: greenlet_core::StackSize) {
        let apart = Apart(self.me(), Some(actor));
        run_callback(move || {
            let body = move || {
                let mut apart = apart;
                let local = apart.0.clone();
                let enlisted = Enlisted::new(&local);
                enlisted.runner.grant(local.settings.messages_per_turn);
                if let Some(actor) = apart.1.take() {
                    local.activate(actor, &enlisted.runner);
                }
            };
            drop(Builder::new().name("actor").stack_size(size).spawn(body));
        });
    }

    /// The hub ends, and all its actors with it.
    fn close(&self) {
        self.closed.set(true);
        self.standby.set(false);
        self.again.take();
        let _ = LOCAL.try_with(|local| {
            let mut local = local.borrow_mut();
            if local.as_ref().is_some_and(|local| std::ptr::eq(&raw const **local, self)) {
                *local = None;
            }
        });
        let actors = self.part.close();
        for actor in &actors {
            if actor.life().request_stop(Force::Kill, Exit::Killed) {
                let life = actor.life();
                // What runs here is interrupted here: `Local::current` does not find this any more.
                self.interrupt(life);
                interrupt(actor);
            }
        }
        self.part.system.remove(self.part.index);
    }

    /// Ends the actors that wait for their turn on a hub that ends. Each may wait for others that end, so while one does, another greenlet goes on
    /// with the rest.
    fn end_the_rest(self: &Rc<Self>) {
        self.ending.set(self.ending.get() + 1);
        let runner = Runner::new(u32::MAX, self.part.index, current());
        while let Some(actor) = self.take_any() {
            debug_assert!(!actor.life().ready(), "who ends an actor has its activation");
            if !self.standby.replace(true) {
                let rest = Rest(self.clone());
                drop(Builder::new().name("ending actors").spawn(move || drop(rest)));
            }
            // Those that came from other hubs of the system end here too: it ends as a whole.
            actor.life().request_stop(Force::Kill, Exit::Killed);
            runner.grant(1);
            if let After::Again(actor) = actor.run(&runner) {
                actor.abandon();
            }
        }
        self.ending.set(self.ending.get() - 1);
        if self.ending.get() == 0 {
            self.part.end();
        }
    }

    /// An activation from whichever queue.
    fn take_any(&self) -> Option<Activation> {
        let own = self.queue.borrow_mut().pop_front();
        own.or_else(|| self.shared.as_ref().and_then(Worker::pop)).or_else(|| self.part.take_remote())
    }
}

impl embed::Service for Local {
    fn is_busy(&self) -> bool {
        self.part.live() != 0
    }

    fn join(&self) {
        self.part.await_end();
    }

    /// The greenlets of the hub are about to be killed: one of them takes the actors along.
    fn end(&self) {
        if self.ends.replace(true) {
            return;
        }
        let close = Close(self.me());
        let keep = move || {
            let _close = close;
            embed::become_service();
            loop {
                Event::new().wait();
            }
        };
        drop(Builder::new().name("actors").spawn(keep));
    }
}

/// Dropped with the greenlet that the end of the hub kills.
struct Close(Rc<Local>);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
        // Those that were idle are in the queue of arrivals now, and are ended here, whatever becomes of the runners.
        self.0.end_the_rest();
    }
}

/// What is left to end, for whoever comes to it: also if the greenlet that was to do it is killed before its first turn.
struct Rest(Rc<Local>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.standby.set(false);
        self.0.end_the_rest();
    }
}

/// A runner was called; dropped if it never comes.
struct Called {
    local: Rc<Local>,
    came: Cell<bool>,
}

impl Drop for Called {
    fn drop(&mut self) {
        if self.came.get() {
            self.local.standby.set(false);
        } else {
            self.local.call_again();
        }
    }
}

/// An actor that is to have a greenlet of its own; dropped with it if that one never runs: killed, or without a stack.
struct Apart(Rc<Local>, Option<Activation>);

impl Drop for Apart {
    fn drop(&mut self) {
        let Some(actor) = self.1.take() else { return };
        if self.0.closed.get() {
            actor.abandon();
        } else {
            actor.life().set(flag::NO_STACK);
            actor.life().request_stop(Force::Kill, Exit::Killed);
            self.0.push(actor);
        }
    }
}

/// The thread ends. If it did so without a [`run`](greenlet_core::run), nobody has ended the actors.
impl Drop for Local {
    fn drop(&mut self) {
        if !self.closed.get() {
            self.close();
            self.part.end();
        }
        while let Some(actor) = self.take_any() {
            actor.abandon();
        }
    }
}

struct Enlisted<'a> {
    local: &'a Local,
    runner: Rc<Runner>,
}

impl<'a> Enlisted<'a> {
    fn new(local: &'a Local) -> Enlisted<'a> {
        Enlisted { local, runner: local.enlist() }
    }
}

impl Drop for Enlisted<'_> {
    fn drop(&mut self) {
        self.local.dismiss(&self.runner);
    }
}

#[cold]
fn measured(actor: Activation, runner: &Runner) -> After {
    let (cell, begun) = (actor.counted(), Instant::now());
    let after = actor.run(runner);
    cell.life().rare().observed().add_busy(begun.elapsed());
    after
}

/// The life of a runner.
fn run(called: Called) {
    let local = called.local.clone();
    let enlisted = Enlisted::new(&local);
    called.came.set(true);
    drop(called);
    embed::become_service();
    loop {
        local.serve(&enlisted.runner);
        if enlisted.runner.is_retired() || local.idle.borrow().len() >= local.most_idle() {
            return;
        }
        let idle = Idle::new(&local, &enlisted.runner);
        local.await_call(&enlisted.runner);
        idle.leave();
    }
}

/// A runner that waits to be called.
struct Idle<'a> {
    local: &'a Local,
    runner: &'a Runner,
}

impl<'a> Idle<'a> {
    fn new(local: &'a Local, runner: &'a Rc<Runner>) -> Idle<'a> {
        local.idle.borrow_mut().push(runner.clone());
        Idle { local, runner }
    }
}

impl Idle<'_> {
    /// It goes to the queue, if it was called.
    #[inline]
    fn leave(self) {
        self.end();
        std::mem::forget(self);
    }

    #[inline]
    fn end(&self) {
        if self.runner.was_called() {
            self.runner.answer_call();
            self.local.standby.set(false);
        } else {
            self.local.idle.borrow_mut().retain(|idle| !std::ptr::eq(&raw const **idle, self.runner));
        }
    }
}

/// It is killed while it waits.
impl Drop for Idle<'_> {
    fn drop(&mut self) {
        let was_called = self.runner.was_called();
        self.end();
        if was_called {
            self.local.call_again();
        }
    }
}

impl Local {
    #[inline]
    fn await_call(&self, runner: &Runner) {
        if self.shared.is_some() && !self.scouting.get() {
            self.scouting.set(true);
            let _scouting = Scouting(&self.scouting);
            self.look_around(runner);
        } else {
            runner.await_call();
        }
    }
}

struct Scouting<'a>(&'a Cell<bool>);

impl Drop for Scouting<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
