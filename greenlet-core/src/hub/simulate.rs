//! What a simulated hub does differently: its clock, its order, and the faults that it injects.
//!
//! It is the same hub and the same loop. Three seams are enough, all of them off the paths that an ordinary hub is tuned
//! for:
//!
//! - [`Nanos::now`] asks the thread's hub for the time.
//! - The loop takes a *turn* after every entry of the ready queue (an ordinary hub after 61), and the turn is
//!   [`Hub::simulated_turn`]: it moves the entry that is to run next to the front of the queue, and moves the clock to the next
//!   timer when nothing is ready.
//! - Every greenlet takes the slow path of `Hub::park` (`Local::parks_slowly`), where faults are injected.
//!
//! Everything is decided by numbers from the seed, positions in queues, and the order in which greenlets were started: never
//! by an address, an id or the real time.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::turn::Idle;
use super::{Config, Hub, Nanos, unwindings};
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::{Header, Phase};
use crate::raise::{GreenletExit, Raised};
use crate::sim::{Injected, Order, Victims};
use crate::timeout::Timeout;

/// How a simulation goes. All probabilities are of one decision, from 0 to 1.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) order: Order,
    pub(crate) victims: Victims,
    pub(crate) kills: f64,
    pub(crate) timeouts: f64,
    pub(crate) errors: f64,
    pub(crate) spurious: f64,
    pub(crate) delays: (f64, Duration),
    pub(crate) start: Duration,
    pub(crate) turn_limit: u64,
    pub(crate) panics_fail: bool,
    /// One fault, at this place, instead of random ones.
    pub(crate) plan: Option<Injection>,
}

/// What is raised in a victim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Kill,
    Timeout,
    Error,
}

/// When a fault comes, seen from one suspension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// It is there already: the victim does not get to sleep.
    Entering,
    /// As if somebody had just asked for it: in the queue behind what is ready.
    Soon,
    /// When nothing else is left to do; nothing if the victim was woken before.
    Idle,
    /// When the victim was woken and is about to go on.
    Waking,
}

/// The suspensions of victims, counted from 0.
pub(crate) type FaultPoint = u64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Injection {
    pub(crate) point: FaultPoint,
    pub(crate) moment: Moment,
    pub(crate) fault: Fault,
}

/// Random numbers (splitmix64).
#[derive(Debug)]
struct Rng(Cell<u64>);

impl Rng {
    fn new(seed: u64) -> Rng {
        let rng = Rng(Cell::new(seed));
        rng.next();
        rng
    }

    fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `limit`, which is not 0.
    fn below(&self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

/// The part of a greenlet's life in which faults may be raised in it.
pub(crate) struct Region {
    victim: NonNull<Header>,
    timeout: Timeout,
    rank: u32,
    /// Left: what is still on its way to it is void.
    over: Arc<AtomicBool>,
}

impl Region {
    /// Whether this is the timeout that was injected into it.
    pub(crate) fn is_late(&self, raised: &Raised) -> bool {
        self.timeout.raised(raised)
    }

    pub(crate) fn late(&self) -> crate::TimedOut {
        self.timeout.late()
    }
}

/// The simulation has failed, and main is told.
#[derive(Debug)]
pub(crate) struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failed {}

/// So often main is told before it is clear that it does not listen.
const FAILURES: u32 = 100;
/// So many turns are listed when there are too many.
const LISTED_TURNS: u64 = 24;

pub(crate) struct Simulation {
    settings: Settings,
    now: Cell<Nanos>,
    schedule: Rng,
    /// For the program that runs in it. Apart, so that its questions do not change the schedule.
    program: Rng,
    turns: Cell<u64>,
    points: Cell<FaultPoint>,
    /// Innermost last.
    regions: RefCell<Vec<Rc<Region>>>,
    /// Faults that wait until nothing else is left to do.
    armed: RefCell<Vec<(GreenletRef, Raised)>>,
    /// The program is over; the rest is ended without disturbance.
    over: Cell<bool>,
    failures: Cell<u32>,
    verdict: RefCell<Option<String>>,
    panics: RefCell<Vec<String>>,
    /// Who ran when there were too many turns.
    culprits: RefCell<String>,
}

impl Simulation {
    fn new(settings: Settings) -> Simulation {
        let start = Nanos(u64::try_from(settings.start.as_nanos()).unwrap_or(u64::MAX));
        Simulation {
            now: Cell::new(start),
            schedule: Rng::new(settings.seed),
            program: Rng::new(settings.seed ^ 0xA5A5_5A5A_0F0F_F0F0),
            settings,
            turns: Cell::new(0),
            points: Cell::new(0),
            regions: RefCell::default(),
            armed: RefCell::default(),
            over: Cell::new(false),
            failures: Cell::new(0),
            verdict: RefCell::default(),
            panics: RefCell::default(),
            culprits: RefCell::default(),
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.settings.seed
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.now.get().0)
    }

    pub(crate) fn turns(&self) -> u64 {
        self.turns.get()
    }

    pub(crate) fn points(&self) -> FaultPoint {
        self.points.get()
    }

    /// A decision that is the hub's.
    pub(crate) fn draw_below(&self, limit: u64) -> u64 {
        self.schedule.below(limit)
    }

    pub(crate) fn random_below(&self, limit: u64) -> u64 {
        self.program.below(limit)
    }

    /// The program is over: what is left of it is ended in peace.
    pub(crate) fn end(&self) {
        self.over.set(true);
        let armed = self.armed.take();
        drop(armed);
    }

    /// Why it failed, apart from how main ended.
    pub(crate) fn verdict(&self) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        if self.settings.panics_fail {
            parts.extend(self.panics.borrow().iter().cloned());
        }
        parts.extend(self.verdict.borrow().iter().cloned());
        (!parts.is_empty()).then(|| parts.join("\n"))
    }

    pub(super) fn note_panic(&self, what: String) {
        self.panics.borrow_mut().push(what);
    }

    // --- faults ------------------------------------------------------------------------------------------------

    /// From now on, until it is left, faults may be raised in the running greenlet.
    pub(crate) fn enter(&self, victim: NonNull<Header>) -> Rc<Region> {
        let region = Rc::new(Region {
            victim,
            timeout: Timeout::new(Duration::MAX),
            rank: unwindings() + 1,
            over: Arc::default(),
        });
        self.regions.borrow_mut().push(region.clone());
        region
    }

    pub(crate) fn leave(&self, region: &Rc<Region>) {
        region.over.store(true, Ordering::Relaxed);
        let mut regions = self.regions.borrow_mut();
        let at = regions.iter().rposition(|other| Rc::ptr_eq(other, region));
        let left = at.map(|at| regions.remove(at));
        drop(regions);
        drop(left);
    }

    fn draw(&self) -> Option<(Moment, Fault)> {
        let Settings { kills, timeouts, errors, .. } = self.settings;
        let fault = match () {
            () if self.schedule.chance(kills) => Fault::Kill,
            () if self.schedule.chance(timeouts) => Fault::Timeout,
            () if self.schedule.chance(errors) => Fault::Error,
            () => return None,
        };
        let moment = Moment::ALL[self.schedule.below(4) as usize];
        Some((moment, fault))
    }

    /// A greenlet is about to suspend. What is returned is raised in it when it goes on.
    fn at_suspension(&self, hub: &Hub, header: NonNull<Header>, floor: u32) -> Option<Raised> {
        // SAFETY: the running greenlet is alive.
        let local = unsafe { &header.as_ref().local };
        local.yielded.set(local.queued.get());
        if self.turns.get() > self.settings.turn_limit && self.failures.get() == 0 {
            let mut culprits = self.culprits.borrow_mut();
            culprits.push_str("\n    ");
            // SAFETY: as above.
            let _ = unsafe { header.as_ref() }.describe_with_site(&mut *culprits);
        }
        // What waited for the end of an earlier suspension came too late.
        let late: Vec<_> =
            self.armed.borrow_mut().extract_if(.., |(victim, _)| victim.header() == header).collect();
        drop(late);
        if self.over.get() || self.failures.get() > 0 {
            return None;
        }
        let region = self.regions.borrow().iter().rfind(|region| region.victim == header).cloned();
        let is_victim = region.is_some() || (self.settings.victims == Victims::Spawned && !local.is_main);
        // While it unwinds, only what is caught inside of that may be raised.
        if !is_victim || (floor > 0 && region.as_ref().is_none_or(|region| region.rank < floor)) {
            return None;
        }
        let point = self.points.get();
        self.points.set(point + 1);
        let (moment, fault) = match self.settings.plan {
            Some(plan) => (plan.point == point).then_some((plan.moment, plan.fault))?,
            None => self.draw()?,
        };
        let raised = match (fault, &region) {
            (Fault::Timeout, Some(region)) => region.timeout.expired(region.rank),
            (Fault::Timeout, None) => return None,
            _ if floor > 0 => return None,
            (Fault::Kill, _) => Raised::new(GreenletExit),
            (Fault::Error, _) => Raised::new(Injected),
        };
        let raised = match &region {
            Some(region) => raised.revocable(region.over.clone()),
            None => raised,
        };
        // SAFETY: as above.
        let victim = || unsafe { GreenletRef::retained(header) };
        match moment {
            Moment::Entering => local.push_raise(raised),
            Moment::Soon => hub.raise_soon(victim(), raised),
            Moment::Idle => self.armed.borrow_mut().push((victim(), raised)),
            Moment::Waking => return Some(raised),
        }
        None
    }

    /// Nothing is left to do: the faults that waited for that. True if there were any.
    fn strike(&self, hub: &Hub) -> bool {
        let armed = self.armed.take();
        let any = !armed.is_empty();
        for (victim, raised) in armed {
            hub.raise_soon(victim, raised);
        }
        any
    }

    /// Wakes somebody for nothing; lets time pass although somebody is ready.
    fn disturb(&self, hub: &Hub) {
        if self.over.get() {
            return;
        }
        if self.schedule.chance(self.settings.spurious) {
            let live = hub.live.borrow();
            let nth = self.schedule.below(live.len() as u64 + 1) as usize;
            let somebody = live.get(nth).copied().unwrap_or(hub.main);
            drop(live);
            // SAFETY: live greenlets are held by the hub, and so is main.
            if unsafe { somebody.as_ref() }.local.phase.get() == Phase::Started {
                hub.schedule(somebody);
            }
        }
        let (probability, longest) = self.settings.delays;
        if self.schedule.chance(probability) {
            let longest = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX - 1);
            let delay = Duration::from_nanos(self.schedule.below(longest.saturating_add(1)));
            if let Some(later) = self.now.get().checked_add(delay) {
                self.now.set(later);
            }
        }
    }

    // --- order -------------------------------------------------------------------------------------------------

    /// Moves what is to run next to the front of the ready queue. Callbacks keep their order among each other: links and
    /// raises promise it.
    fn choose(&self, hub: &Hub) {
        let entries = hub.ready.len();
        if entries < 2 || self.settings.order == Order::Fifo {
            return;
        }
        let pick = self.schedule.below(entries as u64) as usize;
        // SAFETY: whoever is in the ready queue is kept until popped.
        let yielded = |header: NonNull<Header>| unsafe { header.as_ref() }.local.yielded.get();
        let index = match hub.ready.ahead(pick) {
            None => (0..pick).find(|&index| hub.ready.ahead(index).is_none()).unwrap_or(pick),
            // Whoever yielded goes after those who were there before: what is at the front may always run.
            Some(header) if self.settings.order == Order::Fair && yielded(header) => 0,
            Some(_) => pick,
        };
        hub.ready.bring_forward(index);
    }

    /// Whether a greenlet that is to run ahead of the others does so inside of the one that runs, as on an ordinary hub most of the time, or comes after a turn
    /// of the loop.
    pub(super) fn runs_inside(&self) -> bool {
        self.settings.order == Order::Fifo || self.schedule.below(2) == 0
    }

    /// Counts turns; too many of them fail the simulation.
    fn count_turn(&self, hub: &Hub) {
        let turns = self.turns.get() + 1;
        self.turns.set(turns);
        let beyond = turns.saturating_sub(self.settings.turn_limit);
        if beyond == 0 || self.over.get() {
            return;
        }
        if beyond == LISTED_TURNS || beyond.is_multiple_of(self.settings.turn_limit.max(1)) {
            let text = format!(
                "the simulation took more than {} turns, to {:?} of its time. These ran last:{}",
                self.settings.turn_limit,
                self.now(),
                self.culprits.borrow()
            );
            self.fail(hub, text);
        }
    }

    /// Raises in main that the simulation has failed. If main cannot be told, the process ends.
    #[cold]
    fn fail(&self, hub: &Hub, text: String) {
        self.failures.set(self.failures.get() + 1);
        // SAFETY: main lives as long as the hub.
        let main = unsafe { GreenletRef::retained(hub.main) };
        if self.over.get() || self.failures.get() > FAILURES || main.header_ref().local.floor.get() > 0 {
            // Not `eprintln!`: the capture of a test ends with the process.
            let last_words = format!(
                "{text}\nand its main greenlet cannot be unwound. Replay with GREENLET_SEED={}. Aborting.\n",
                self.seed()
            );
            let _ = std::io::Write::write_all(&mut std::io::stderr(), last_words.as_bytes());
            std::process::abort();
        }
        self.verdict.borrow_mut().get_or_insert_with(|| text.clone());
        hub.raise_soon(main, Raised::new(Failed(text)));
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Moment {
    pub(crate) const ALL: [Moment; 4] = [Moment::Entering, Moment::Soon, Moment::Idle, Moment::Waking];
}

impl Hub {
    /// Makes the hub of this thread, which has none, a simulated one.
    #[track_caller]
    pub(crate) fn simulate<'a>(config: Config, settings: Settings) -> std::io::Result<&'a Hub> {
        let hub = Hub::create(config)?;
        hub.shared.set_simulated();
        let fresh = hub.simulation.set(Box::new(Simulation::new(settings))).is_ok();
        debug_assert!(fresh, "the hub was made just now");
        hub.budget.set(1);
        hub.interval.set(1);
        hub.last_poll.set(Nanos::now());
        Ok(hub)
    }

    pub(crate) fn simulation(&self) -> Option<&Simulation> {
        self.simulation.get().map(|simulation| &**simulation)
    }

    /// Whether greenlets are left that no kill could end.
    pub(crate) fn has_survivors(&self) -> bool {
        !self.live.borrow().is_empty()
    }

    /// The time of a simulated hub. A panic hook blocks the thread, as it does everywhere, and lives in real time.
    #[inline]
    pub(super) fn virtual_time(&self) -> Option<Nanos> {
        let simulation = self.simulation.get()?;
        (!self.in_panic_hook.get()).then(|| simulation.now.get())
    }

    #[inline]
    pub(super) fn simulate_suspension(&self, header: NonNull<Header>, floor: u32) -> Option<Raised> {
        self.simulation.get()?.at_suspension(self, header, floor)
    }

    #[inline]
    pub(super) fn simulate_choice(&self) {
        if let Some(simulation) = self.simulation.get() {
            simulation.choose(self);
        }
    }

    /// The turn of a simulated hub, after every entry of the ready queue.
    pub(super) fn simulated_turn(&self, simulation: &Simulation, idle: Idle) {
        self.budget.set(1);
        self.interval.set(1);
        self.take_arrivals();
        let idle = matches!(idle, Idle::Sleep);
        if (!self.sources.is_empty() || !self.watched_fds.is_empty())
            && (idle || simulation.turns().is_multiple_of(u64::from(self.config.poll_interval)))
        {
            self.poll(Some(Duration::ZERO));
        }
        simulation.disturb(self);
        self.fire_timers(simulation.now.get());
        if idle && self.ready.is_empty() && !self.end_join() && !self.wake_idler() {
            self.pass_time(simulation);
        }
        self.last_poll.set(simulation.now.get());
        self.publish();
        simulation.choose(self);
        simulation.count_turn(self);
    }

    /// Nothing is ready. Waits for those outside who owe an answer; else moves the clock to the next timer; else nothing will
    /// ever happen.
    fn pass_time(&self, simulation: &Simulation) {
        if simulation.strike(self) {
            return;
        }
        // Read before the inbox: who pays has pushed the answer before.
        if self.shared.is_owed() {
            return self.wait_for_outside();
        }
        if self.shared.has_arrivals() {
            return self.take_arrivals();
        }
        let next = self.next_deadline();
        match next {
            Some(deadline) => {
                simulation.now.set(deadline.max(simulation.now.get()));
                self.fire_timers(simulation.now.get());
            }
            None if self.sources.anybody_waits() || !self.watched_fds.is_empty() => self.wait_for_outside(),
            None if self.end_hopeless_join() => {}
            None => simulation.fail(self, self.describe_deadlock(simulation)),
        }
    }

    /// In real time, while the simulation's stands still.
    fn wait_for_outside(&self) {
        if self.shared.prepare_sleep() {
            self.poll(None);
        }
        self.take_arrivals();
    }

    fn describe_deadlock(&self, simulation: &Simulation) -> String {
        format!(
            "the simulation is deadlocked at {:?} of its time: nobody is ready, no timer is set, and nobody outside owes an \
             answer. These wait:{}",
            simulation.now(),
            self.list_waiting()
        )
    }
}
