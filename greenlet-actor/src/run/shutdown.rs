//! The coordinated end of a system: in reverse order, each with its time, and a report of who needed more.

use std::collections::HashSet;
use std::ffi::c_int;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::signal::Signals;
use greenlet_core::{Event, Instant, Kill, iwait, sleep, spawn};

use super::Local;
use super::system::{Shared, System, SystemBuilder};
use crate::actor_ref::{AnyActor, Linkable};
use crate::exit::Exit;
use crate::supervisor::{Shutdown, StartError, Supervisor, SupervisorRef};

/// How long a killed actor is waited for: one that computes and does not suspend may never be gone.
const KILL_GRACE: Duration = Duration::from_millis(500);

/// Within so much time a second signal is a copy of the first one.
const COPIES: Duration = Duration::from_millis(100);

/// What is to be stopped when the system ends, in the order in which it was started.
#[derive(Default)]
pub(super) struct Tops {
    closed: bool,
    tops: Vec<Top>,
}

struct Top {
    actor: AnyActor,
    shutdown: Shutdown,
}

/// A system, as its threads and others see it. Cheap to clone; it does not keep the system.
#[derive(Clone)]
pub struct SystemHandle {
    shared: Arc<Shared>,
}

impl SystemHandle {
    /// The system that this thread is one of the hubs of. A thread that is in none becomes a system of its own.
    pub fn current() -> SystemHandle {
        SystemHandle { shared: Local::here().home().system().clone() }
    }

    pub(super) fn new(shared: Arc<Shared>) -> SystemHandle {
        SystemHandle { shared }
    }

    fn tops(&self) -> MutexGuard<'_, Tops> {
        self.shared.tops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a tree of supervisors at the top of the system, and waits until all of it has started. It is stopped by
    /// [`shutdown_within`](SystemHandle::shutdown_within), before those that were started earlier.
    ///
    /// It stays on this thread's hub if that is one of the system's, and else on the one with the least to do.
    ///
    /// # Errors
    /// [`StartError`]; [`StartError::Supervisor`] with `shutdown` when the system is ending, or has ended.
    pub fn supervise(
        &self,
        name: impl Into<String>,
        tree: impl FnOnce() -> Supervisor + Send + 'static,
    ) -> Result<SupervisorRef, StartError> {
        let ending = || StartError::Supervisor(Exit::Shutdown);
        if self.tops().closed {
            return Err(ending());
        }
        let name = name.into();
        let here = Local::current().is_some_and(|local| Arc::ptr_eq(local.home().system(), &self.shared));
        let started = if here {
            tree().start_named(name)
        } else {
            let part = self.shared.least_loaded().ok_or_else(ending)?;
            let starting = part.hub.spawn(move || tree().start_named(name)).map_err(|_| ending())?;
            starting.get().unwrap_or_else(|error| {
                Err(StartError::Supervisor(match error {
                    greenlet_core::GreenletError::Failed(failure) => Exit::Failed(failure),
                    _ => Exit::Shutdown,
                }))
            })
        }?;
        if !self.stop_at_end(&started, Shutdown::Infinity) {
            started.shutdown();
            return Err(ending());
        }
        Ok(started)
    }

    /// Has an actor stopped by [`shutdown_within`](SystemHandle::shutdown_within), before those that were added earlier. False: the system is ending already.
    pub fn stop_at_end(&self, actor: &impl Linkable, shutdown: Shutdown) -> bool {
        let mut tops = self.tops();
        if tops.closed {
            return false;
        }
        // Those that have ended need not be remembered.
        let ended: Vec<Top> = tops.tops.extract_if(.., |top| top.actor.ready()).collect();
        tops.tops.push(Top { actor: actor.any_cell(), shutdown });
        drop(tops);
        drop(ended);
        true
    }

    /// Ends the system in good order: what was added by [`supervise`](SystemHandle::supervise) and
    /// [`stop_at_end`](SystemHandle::stop_at_end) is told to shut down, one after the other, last first, each when the one before has ended. Who has not
    /// ended when its own time is over is killed, and reported. A tree, whose own time has no limit, has half of the time that is left, and the last one all of it.
    ///
    /// Suspends, or parks a thread that is in no greenlet. Works while handlers are suspended, wherever that is. Other actors are not touched; they end with the system.
    /// From now on nothing more is added. A second call finds nothing to do. Not for an actor that is to be stopped.
    pub fn shutdown_within(&self, limit: Duration) -> ShutdownReport {
        self.stop_all(limit, None)
    }

    /// As `shutdown_within`; once `hurry` is set, nobody gets time any more.
    fn stop_all(&self, limit: Duration, hurry: Option<&Event>) -> ShutdownReport {
        let mut tops = {
            let mut tops = self.tops();
            tops.closed = true;
            std::mem::take(&mut tops.tops)
        };
        let begun = Instant::now();
        let mut report = ShutdownReport::default();
        let hurries = || hurry.is_some_and(Event::is_set);
        while !hurries()
            && let Some(top) = tops.pop()
        {
            if top.actor.ready() {
                continue;
            }
            let left = limit.saturating_sub(begun.elapsed());
            let wait = match top.shutdown {
                Shutdown::BrutalKill => {
                    top.actor.send_exit(Exit::Killed);
                    KILL_GRACE
                }
                Shutdown::Timeout(limit) => limit.min(left),
                // One that does not stop leaves time to those that come after it.
                Shutdown::Infinity if !tops.is_empty() => left / 2,
                Shutdown::Infinity => left,
            };
            top.actor.tell_to_end(Exit::Shutdown);
            if ends_within(&top.actor, wait, hurry) {
                report.stopped += 1;
            } else if hurries() {
                tops.push(top);
            } else {
                self.give_up(&[top], &mut report);
            }
        }
        tops.retain(|top| !top.actor.ready());
        self.give_up(&tops, &mut report);
        report.took = begun.elapsed();
        report
    }

    /// Kills these, all at once, and notes for whom of them time was too short, last first.
    fn give_up(&self, tops: &[Top], report: &mut ShutdownReport) {
        let late: Vec<AnyActor> = tops
            .iter()
            .rev()
            .flat_map(
                |Top { actor, .. }| if actor.ready() { vec![actor.clone()] } else { self.culprits(actor) },
            )
            .collect();
        tops.iter().for_each(|top| top.actor.send_exit(Exit::Killed));
        let begun = Instant::now();
        for top in tops {
            top.actor.join_timeout(KILL_GRACE.saturating_sub(begun.elapsed()));
        }
        for actor in late {
            tracing::error!(target: "greenlet::shutdown", path = actor.path(), "did not stop in time, and was killed");
            report.late.push(Late { path: actor.path(), gone: actor.ready(), actor });
        }
    }

    /// Who lives under that actor and has nobody living under itself: those for whom the others wait.
    fn culprits(&self, top: &AnyActor) -> Vec<AnyActor> {
        let is_below = |actor: &AnyActor| {
            let mut at = Some(actor.clone());
            while let Some(actor) = at {
                if actor == *top {
                    return true;
                }
                at = actor.life().parent().cloned();
            }
            false
        };
        let cells = self.shared.all().into_iter().flat_map(|part| part.all());
        let mut living: Vec<_> =
            cells.map(AnyActor::new).filter(|actor| !actor.ready() && is_below(actor)).collect();
        let parents: HashSet<_> =
            living.iter().filter_map(|actor| actor.life().parent().map(AnyActor::id)).collect();
        living.retain(|actor| !parents.contains(&actor.id()));
        let was_told = |actor: &AnyActor| actor.life().stop().is_some();
        if living.iter().any(was_told) {
            // The others are to be stopped after these.
            living.retain(was_told);
        }
        living
    }

    /// Sets the event when all that was added has ended.
    fn tell_when_all_ended(&self, over: &Arc<Event>) {
        let all: Vec<AnyActor> = self.tops().tops.iter().map(|top| top.actor.clone()).collect();
        let left = Arc::new(std::sync::atomic::AtomicUsize::new(all.len()));
        for actor in all {
            let (over, left) = (over.clone(), left.clone());
            actor.on_end(move |_, _| {
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    over.set();
                }
            });
        }
    }
}

/// Waits for the end of an actor, for so long, and no longer than until `hurry` is set. True if it has ended.
fn ends_within(actor: &AnyActor, limit: Duration, hurry: Option<&Event>) -> bool {
    let Some(hurry) = hurry else { return actor.join_timeout(limit).is_some() };
    let ended = Arc::new(Event::new());
    let tell = ended.clone();
    actor.on_end(move |_, _| tell.set());
    // Whichever comes first.
    let _ = iwait([&*ended, hurry]).timeout(limit).next();
    actor.ready()
}

impl fmt::Debug for SystemHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemHandle").finish_non_exhaustive()
    }
}

/// How a coordinated shutdown went.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The signal that asked for it, if it was one.
    pub signal: Option<c_int>,
    /// How many trees and actors ended in time, of those that lived.
    pub stopped: usize,
    /// Who did not, in the order in which they were given up.
    pub late: Vec<Late>,
    /// How long it took.
    pub took: Duration,
}

impl ShutdownReport {
    /// Whether everybody stopped in time.
    pub fn is_clean(&self) -> bool {
        self.late.is_empty()
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stopped in {:?}", self.stopped, self.took)?;
        for late in &self.late {
            write!(f, "; {late}")?;
        }
        Ok(())
    }
}

/// An actor that did not stop in time, and was killed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Late {
    /// It.
    pub actor: AnyActor,
    /// Its place in the tree of supervisors.
    pub path: String,
    /// Whether it has ended since. A handler that computes and never suspends is not ended by a kill.
    pub gone: bool,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.gone { "was killed" } else { "goes on though it was killed" };
        write!(f, "{} did not stop in time and {what}", self.path)
    }
}

impl System {
    /// It, for those who do not own it.
    pub fn handle(&self) -> SystemHandle {
        SystemHandle::new(self.shared().clone())
    }

    /// Starts a tree at the top of the system: [`SystemHandle::supervise`].
    ///
    /// # Errors
    /// As there.
    pub fn supervise(
        &self,
        name: impl Into<String>,
        tree: impl FnOnce() -> Supervisor + Send + 'static,
    ) -> Result<SupervisorRef, StartError> {
        self.handle().supervise(name, tree)
    }

    /// Ends the system in good order ([`SystemHandle::shutdown_within`]), kills what is left and ends its threads.
    pub fn shutdown_within(self, limit: Duration) -> ShutdownReport {
        let report = self.handle().shutdown_within(limit);
        self.shutdown();
        report
    }
}

impl SystemBuilder {
    /// Runs a system until one of these signals comes, or all that `start` has [added](SystemHandle::supervise) to it has ended, and then ends it in good order
    /// ([`SystemHandle::shutdown_within`]), in at most so much time. If `start` adds nothing, only a signal ends it.
    ///
    /// A second signal, 0.1 seconds or more after the first, kills at once whoever has not ended by then.
    ///
    /// # Errors
    /// A signal that cannot be handled, what [`run`](SystemBuilder::run) returns, and what `start` returns: then what it had added is stopped in good
    /// order.
    ///
    /// # Panics
    /// As [`run`](SystemBuilder::run).
    ///
    /// ```no_run
    /// use greenlet_actor::{Supervisor, System, SystemHandle};
    /// use greenlet_core::signal::{SIGINT, SIGTERM};
    /// use std::time::Duration;
    ///
    /// let report = System::builder().run_until_signal([SIGTERM, SIGINT], Duration::from_secs(30), || {
    ///     SystemHandle::current().supervise("web", Supervisor::one_for_one)?;
    ///     Ok(())
    /// })?;
    /// println!("{report}");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn run_until_signal(
        self,
        signals: impl IntoIterator<Item = c_int>,
        limit: Duration,
        start: impl FnOnce() -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    ) -> io::Result<ShutdownReport> {
        self.run(|| {
            let signals = Rc::new(Signals::new(signals).map_err(io::Error::other)?);
            let system = SystemHandle::current();
            if let Err(error) = start() {
                system.shutdown_within(limit);
                return Err(io::Error::other(error));
            }
            let (asked, hurry) = (Arc::new(Event::new()), Arc::new(Event::new()));
            system.tell_when_all_ended(&asked);
            let came = Rc::new(std::cell::Cell::new(None));
            let listener = spawn({
                let (asked, hurry, came) = (asked.clone(), hurry.clone(), came.clone());
                move || {
                    came.set(Some(signals.wait()));
                    asked.set();
                    sleep(COPIES);
                    while signals.try_wait().is_some() {}
                    signals.wait();
                    hurry.set();
                }
            });
            asked.wait();
            let mut report = system.stop_all(limit, Some(&hurry));
            report.signal = came.get();
            listener.kill_with(Kill::default());
            Ok(report)
        })?
    }
}
