//! Several hubs that share their actors.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use greenlet_core::{AsyncResult, Hub, HubThread, StackSize, catch};

use super::Local;
use super::part::{Home, Part};
use super::shutdown::Tops;
use crate::exit::Exit;
use crate::life::Force;
use crate::signals;

/// What a system is made of.
#[derive(Clone, Debug)]
pub(crate) struct SystemSettings {
    /// Messages that a runner handles before it lets the other greenlets of its hub run.
    pub(crate) messages_per_turn: u32,
    /// Runners that wait for work on each hub, with warm stacks.
    pub(crate) idle_runners: usize,
}

impl Default for SystemSettings {
    fn default() -> SystemSettings {
        SystemSettings { messages_per_turn: 64, idle_runners: 16 }
    }
}

/// What all hubs of a system have in common.
pub(crate) struct Shared {
    name: String,
    settings: SystemSettings,
    /// Whether there are several.
    several: bool,
    /// By index; `None` when it has ended. Their `Part`s refer back to this, until they end.
    parts: RwLock<Vec<Option<Arc<Part>>>>,
    /// How often they have changed.
    changes: AtomicU64,
    pub(super) sleeping: AtomicUsize,
    /// What is stopped in good order when it ends.
    pub(super) tops: Mutex<Tops>,
}

impl Shared {
    fn new(name: String, settings: SystemSettings, several: bool) -> Arc<Shared> {
        Arc::new(Shared {
            name,
            settings,
            several,
            parts: RwLock::default(),
            changes: AtomicU64::new(0),
            sleeping: AtomicUsize::new(0),
            tops: Mutex::default(),
        })
    }

    /// Of a thread that is in no system.
    pub(super) fn alone() -> Arc<Shared> {
        Shared::new(String::new(), SystemSettings::default(), false)
    }

    pub(super) fn is_shared(&self) -> bool {
        self.several
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn settings(&self) -> &SystemSettings {
        &self.settings
    }

    pub(super) fn parts(&self) -> RwLockReadGuard<'_, Vec<Option<Arc<Part>>>> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(super) fn part(&self, index: u32) -> Option<Arc<Part>> {
        self.parts().get(index as usize).cloned().flatten()
    }

    pub(super) fn add(&self, part: Arc<Part>) {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        let at = part.index as usize;
        if parts.len() <= at {
            parts.resize_with(at + 1, || None);
        }
        parts[at] = Some(part);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, index: u32) {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        let removed = parts.get_mut(index as usize).and_then(Option::take);
        self.changes.fetch_add(1, Ordering::Relaxed);
        let was_last = parts.iter().all(Option::is_none);
        drop(parts);
        drop(removed);
        if was_last {
            // They refer back to this.
            let tops = std::mem::take(&mut *self.tops.lock().unwrap_or_else(PoisonError::into_inner));
            drop(tops);
        }
    }

    /// All that have not ended.
    pub(crate) fn all(&self) -> Vec<Arc<Part>> {
        self.parts().iter().flatten().cloned().collect()
    }

    /// Kills all actors, wherever they are, and takes no more.
    fn kill_all(&self) {
        for part in self.all() {
            for actor in part.close() {
                signals::end(&actor, Force::Kill, Exit::Killed);
            }
        }
    }

    /// The hub with the least to do.
    pub(super) fn least_loaded(&self) -> Option<Arc<Part>> {
        self.all().into_iter().min_by_key(|part| part.load())
    }
}

/// Several hubs, one for each core unless told otherwise, that share the work of their actors.
///
/// On a thread of a system, [`Actor::spawn`](crate::Actor::spawn) makes actors that may handle each message on another hub: an actor
/// runs on the hub of whoever sends to it, and hubs with nothing to do take over what waits on others. A handler stays where it began until it
/// returns, and messages between two actors stay in order. Actors whose state is not `Send` ([`spawn_local`](crate::Actor::spawn_local)) stay
/// on the hub that made them. On a thread that is in no system, actors stay on its hub.
///
/// ```
/// use greenlet_actor::{Actor, Context, Exit, Reply, System};
/// use std::time::Duration;
///
/// struct Worker;
///
/// impl Actor for Worker {
///     type Message = (u64, Reply<u64>);
///     fn receive(&mut self, (n, reply): Self::Message, _: &mut Context<Self>) -> Result<(), Exit> {
///         reply.send((1..=n).sum());
///         Ok(())
///     }
/// }
///
/// let sum = System::builder().hubs(2).run(|| {
///     let workers: Vec<_> = (0..4).map(|_| Worker.spawn()).collect();
///     let ask = |worker: &greenlet_actor::ActorRef<_>| worker.ask(|reply| (1000, reply), Duration::from_secs(5));
///     workers.iter().map(|worker| ask(worker).unwrap()).sum::<u64>()
/// })?;
/// assert_eq!(sum, 4 * 500_500);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct System {
    shared: Arc<Shared>,
    threads: Vec<HubThread>,
}

/// Makes a [`System`].
#[derive(Clone, Debug)]
#[must_use = "a builder starts nothing by itself"]
pub struct SystemBuilder {
    hubs: Option<usize>,
    name: String,
    stack_size: Option<StackSize>,
    settings: SystemSettings,
}

impl System {
    /// Default settings: a hub for each core that the process may use.
    pub fn builder() -> SystemBuilder {
        SystemBuilder {
            hubs: None,
            name: "system".to_owned(),
            stack_size: None,
            settings: SystemSettings::default(),
        }
    }

    /// Starts a system with default settings on threads of its own.
    ///
    /// # Errors
    /// What the system refused: a thread, or descriptors for the hub.
    pub fn start() -> io::Result<System> {
        System::builder().start()
    }

    /// How many hubs it has.
    pub fn hubs(&self) -> usize {
        self.shared.parts().len()
    }

    /// How many of its actors live.
    pub fn actors(&self) -> usize {
        self.shared.all().iter().map(|part| part.live()).sum()
    }

    /// Spawns an actor on the hub with the least to do, from any thread. It may go on to others.
    #[track_caller]
    pub fn spawn<A: crate::Actor + Send>(&self, actor: A) -> crate::ActorRef<A::Message> {
        crate::ActorBuilder::new().system(self).spawn(actor)
    }

    /// Makes an actor on the hub with the least to do, from any thread, and waits until it is made. It stays there, so it need not be `Send`.
    ///
    /// # Errors
    /// [`InitError`](crate::InitError) if `make` panics or its `init` fails, or if the system ends meanwhile.
    #[track_caller]
    pub fn start_local<A: crate::Actor>(
        &self,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Result<crate::ActorRef<A::Message>, crate::InitError> {
        use crate::InitError;
        let ended = || InitError { exit: Exit::Shutdown };
        let part = self.shared.least_loaded().ok_or_else(ended)?;
        let made =
            part.hub.spawn(move || crate::ActorBuilder::new().start_local(make())).map_err(|_| ended())?;
        match made.get() {
            Ok(started) => started,
            Err(greenlet_core::GreenletError::Failed(failure)) => {
                Err(InitError { exit: Exit::Failed(failure) })
            }
            Err(_) => Err(ended()),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn home(&self) -> Option<Home> {
        self.shared.least_loaded().map(Home::new)
    }

    /// Kills what is left of its actors and ends its threads. Blocks the calling thread until that is done.
    pub fn shutdown(mut self) {
        self.end();
    }

    /// Ends all actors before any of the threads: those on one hub may wait for the end of others.
    fn end(&mut self) {
        self.shared.kill_all();
        for thread in self.threads.drain(..) {
            thread.shutdown();
        }
    }

    /// As [`end`](System::end), on a thread whose hub is one of the system's, and goes on meanwhile: actors of the others may wait for its own.
    fn end_from_inside(mut self) {
        self.shared.kill_all();
        let ended = Arc::new(AsyncResult::new());
        let tell = Told(ended.clone());
        let threads = std::mem::take(&mut self.threads);
        let body = move || {
            let _tell = tell;
            threads.into_iter().for_each(HubThread::shutdown);
        };
        // Without a thread for that they end by themselves.
        if std::thread::Builder::new().name(format!("{}-end", self.shared.name)).spawn(body).is_ok() {
            while catch(|| ended.get()).is_err() {}
        }
    }
}

/// Set when dropped.
struct Told(Arc<AsyncResult<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.set(());
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // Without waiting: they end by themselves.
        self.threads.clear();
    }
}

impl SystemBuilder {
    /// How many hubs, each on a thread of its own. Default: one for each core that the process may use.
    ///
    /// # Panics
    /// When started, if it is 0.
    pub fn hubs(mut self, hubs: usize) -> SystemBuilder {
        self.hubs = Some(hubs);
        self
    }

    /// The name of its threads, with a number behind it. Default: `system`.
    pub fn name(mut self, name: impl Into<String>) -> SystemBuilder {
        self.name = name.into();
        self
    }

    /// The stacks on which handlers run, on the threads that it starts.
    pub fn stack_size(mut self, size: StackSize) -> SystemBuilder {
        self.stack_size = Some(size);
        self
    }

    /// How many messages actors handle in a row before the other greenlets of their hub get a turn. Default: 64.
    ///
    /// # Panics
    /// When started, if it is 0.
    pub fn messages_per_turn(mut self, messages: u32) -> SystemBuilder {
        self.settings.messages_per_turn = messages;
        self
    }

    /// How many greenlets wait on each hub with warm stacks for actors to run. Handlers that are suspended have one each, however many; this
    /// is how many are kept. Default: 16.
    pub fn idle_runners(mut self, runners: usize) -> SystemBuilder {
        self.settings.idle_runners = runners;
        self
    }

    fn shared(&self, hubs: usize) -> Arc<Shared> {
        assert!(hubs > 0, "a system needs a hub");
        assert!(self.settings.messages_per_turn > 0, "a turn of no messages would never handle any");
        Shared::new(self.name.clone(), self.settings.clone(), hubs > 1)
    }

    fn count(&self) -> usize {
        self.hubs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    fn threads(&self, shared: &Arc<Shared>, indices: std::ops::Range<usize>) -> io::Result<Vec<HubThread>> {
        let mut threads = Vec::with_capacity(indices.len());
        for index in indices {
            let mut thread = Hub::thread(format!("{}-{index}", self.name));
            if let Some(size) = self.stack_size {
                thread = thread.stack_size(size);
            }
            let thread = thread.start()?;
            let joined = Arc::new(AsyncResult::new());
            let (system, tell) = (shared.clone(), joined.clone());
            let index = u32::try_from(index).expect("fewer than 2^32 threads");
            let spawned = thread.handle().spawn(move || {
                Local::join(system, index);
                tell.set(());
            });
            threads.push(thread);
            if spawned.is_err() || joined.get().is_err() {
                return Err(io::Error::other("a thread of the system ended before it had started"));
            }
        }
        Ok(threads)
    }

    /// Starts the system, each hub on a thread of its own.
    ///
    /// # Errors
    /// What the system refused: a thread, or descriptors for the hub.
    ///
    /// # Panics
    /// If a setting is 0 that must not be.
    pub fn start(self) -> io::Result<System> {
        let hubs = self.count();
        let shared = self.shared(hubs);
        let threads = self.threads(&shared, 0..hubs)?;
        Ok(System { shared, threads })
    }

    /// Runs `f` on the calling thread, which is one of the system's hubs meanwhile: what [`greenlet_core::run`] is for one hub. The others
    /// have threads of their own. When `f` returns, all actors are killed and the threads end.
    ///
    /// # Errors
    /// What the system refused: a thread, or descriptors for the hub. Then `f` is not called.
    ///
    /// # Panics
    /// Inside a greenlet; on a thread whose actors are in a system already; if a setting is 0 that must not be; and when `f` panics.
    #[track_caller]
    pub fn run<R>(self, f: impl FnOnce() -> R) -> io::Result<R> {
        let hubs = self.count();
        let shared = self.shared(hubs);
        assert!(Local::current().is_none(), "the actors of this thread are in a system already");
        greenlet_core::run(|| {
            Local::join(shared.clone(), 0);
            let threads = self.threads(&shared, 1..hubs)?;
            let system = System { shared, threads };
            let result = catch_unwind(AssertUnwindSafe(f));
            system.end_from_inside();
            Ok(result.unwrap_or_else(|payload| resume_unwind(payload)))
        })
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.shared.name)
            .field("hubs", &self.hubs())
            .finish_non_exhaustive()
    }
}

/// Who has nothing to do.
impl Shared {
    pub(super) fn falls_asleep(&self) {
        self.sleeping.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn wakes_up(&self) {
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }

    /// The other hubs, from the next one on. No lock is held between two of them: whoever looks may suspend.
    pub(super) fn others(&self, own: u32) -> impl Iterator<Item = Arc<Part>> {
        let (own, count) = (own as usize, self.parts().len());
        (1..count).filter_map(move |step| self.part(((own + step) % count) as u32))
    }

    /// Something waits on a hub that others may take: if one of them sleeps, it is told.
    pub(super) fn wake_another(&self, own: u32) {
        if self.sleeping.load(Ordering::SeqCst) != 0
            && let Some(sleeper) = self.others(own).find(|part| part.asleep.swap(false, Ordering::SeqCst))
        {
            self.wakes_up();
            sleeper.poke();
        }
    }
}
