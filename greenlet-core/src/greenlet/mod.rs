//! Greenlets and the handles to them.

mod builder;
mod callbacks;
mod fallible;
mod kill;
pub(crate) mod raw;
mod runnable;
mod scoped;
mod tree;

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::NonNull;
use std::time::Duration;

pub use builder::Builder;
pub(crate) use callbacks::SpawnCallbacks;
pub use callbacks::{SpawnCallbackId, add_spawn_callback, remove_spawn_callback};
pub use fallible::spawn_fallible;
pub use kill::{Interrupt, Kill, killall, killall_with};
pub use runnable::Runnable;
pub use tree::{TreeKey, TreeKeyError};

use crate::failure::{End, Failure, GreenletError};
use crate::hub::{self, Deadline, Hub, HubRef, Nanos};
use crate::raise::{GreenletExit, Raised};
use crate::select::Operation;
use crate::wait::{Attempt, WaitList, wait};
use crate::waitable::{Waitable, WhenReady, sealed::Watch};
use raw::{Born, Code, Header, Plain, Start};

/// A greenlet, by whatever it returns: its identity, its state, and the means to wait for it, kill it and link it.
///
/// Cheap to clone, and usable from any thread. [`Greenlet<T>`] dereferences to it.
pub struct GreenletRef(NonNull<Header>);

// SAFETY: it owns a count, and what it reaches is atomic, locked, or sent to the home thread (see `raw`).
unsafe impl Send for GreenletRef {}
// SAFETY: as above.
unsafe impl Sync for GreenletRef {}

/// A greenlet that returns a `T`.
///
/// Dropping it does not end the greenlet; what it returns is then dropped when it ends. Clones are the same greenlet.
/// It may go to other threads if `T` may be sent *and* shared, since all handles refer to one value.
pub struct Greenlet<T> {
    /// Counted by typed handles, which have one count in common.
    greenlet: ManuallyDrop<GreenletRef>,
    value: PhantomData<T>,
}

// SAFETY: the value may be read (`Sync`) or dropped (`Send`) where the handle is; the rest is as for `GreenletRef`.
unsafe impl<T: Send + Sync> Send for Greenlet<T> {}
// SAFETY: as above: a shared handle can be cloned.
unsafe impl<T: Send + Sync> Sync for Greenlet<T> {}

/// Spawns a greenlet on this thread's hub: it runs when the current one waits, after all that are ready already.
///
/// The closure and what it captures stay on this thread, so they need not be `Send`.
///
/// ```
/// use greenlet_core::spawn;
/// use std::{cell::Cell, rc::Rc};
///
/// let count = Rc::new(Cell::new(0));
/// let adders: Vec<_> = (0..10)
///     .map(|n| {
///         let count = count.clone();
///         spawn(move || count.set(count.get() + n))
///     })
///     .collect();
/// greenlet_core::joinall(&adders);
/// assert_eq!(count.get(), 45);
/// ```
#[inline]
#[track_caller]
pub fn spawn<F, T>(f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Greenlet::start_new(Location::caller(), Plain(f))
}

/// As [`spawn`], starting after `delay`. A kill before that ends it without a run.
#[track_caller]
pub fn spawn_later<F, T>(delay: Duration, f: F) -> Greenlet<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    let greenlet = Greenlet::new(f);
    greenlet.start_later(delay);
    greenlet
}

/// The greenlet that is running: gevent's `getcurrent`. On a thread's own stack it is the main greenlet.
#[track_caller]
pub fn current() -> GreenletRef {
    let hub = Hub::current_hub();
    let current = hub.current_greenlet().unwrap_or(hub.main_greenlet());
    // SAFETY: the running greenlet is alive, and so is main.
    unsafe { GreenletRef::retained(current) }
}

impl<T: 'static> Greenlet<T> {
    /// Makes a greenlet of this thread's hub without starting it.
    #[inline]
    #[track_caller]
    pub fn new<F: FnOnce() -> T + 'static>(f: F) -> Greenlet<T> {
        let spec = Hub::current_hub().spec(Location::caller());
        Greenlet::from_header(raw::allocate(spec, Start::Later, Plain(f)))
    }

    /// Makes a greenlet of any hub, on any thread. It is nobody's child.
    pub(crate) fn new_on<F: FnOnce() -> T + 'static>(
        shared: HubRef,
        site: &'static Location<'static>,
        f: F,
    ) -> Greenlet<T> {
        let spec = hub::spec(shared, site, Born::at(Nanos::now()));
        Greenlet::from_header(raw::allocate(spec, Start::Later, Plain(f)))
    }

    /// Makes a greenlet of this thread's hub and starts it.
    #[inline]
    fn start_new<C>(site: &'static Location<'static>, code: C) -> Greenlet<T>
    where
        C: Code<Value = T> + 'static,
    {
        // SAFETY: nothing in the code borrows.
        unsafe { Greenlet::start_new_unchecked(site, code) }
    }
}

impl<T> Greenlet<T> {
    /// Takes over the typed handle that `raw::allocate` made.
    fn from_header(header: NonNull<Header>) -> Greenlet<T> {
        Greenlet { greenlet: ManuallyDrop::new(GreenletRef(header)), value: PhantomData }
    }

    /// Makes a greenlet of this thread's hub and starts it.
    ///
    /// # Safety
    /// What the code borrows outlives the greenlet (`ready` is true), and what the value borrows outlives the last typed handle.
    #[inline]
    pub(crate) unsafe fn start_new_unchecked<C>(site: &'static Location<'static>, code: C) -> Greenlet<T>
    where
        C: Code<Value = T>,
    {
        let hub = Hub::current_hub();
        let header = raw::allocate(hub.spec(site), Start::Claimed, code);
        hub.start_claimed(header);
        hub.announce(header);
        Greenlet::from_header(header)
    }

    /// The returned value, once the greenlet has ended with one.
    #[inline]
    pub fn value(&self) -> Option<&T> {
        // SAFETY: `T` is what this greenlet returns, and the handle keeps the value there.
        self.header_ref().has_value().then(|| unsafe { Header::value(self.header()) })
    }

    /// Waits for the greenlet and clones what it returned. May be called as often as one likes.
    ///
    /// One that was never [started](GreenletRef::start) is waited for until somebody starts or kills it.
    ///
    /// # Errors
    /// [`GreenletError::Exit`] if it was killed, [`GreenletError::Failed`] if it failed.
    pub fn get(&self) -> Result<T, GreenletError>
    where
        T: Clone,
    {
        self.join();
        self.outcome().cloned()
    }

    /// [`get`](Greenlet::get), for [`select!`](crate::select!) and `.await`.
    pub fn get_op(&self) -> Operation<impl Attempt<Output = Result<T, GreenletError>>>
    where
        T: Clone,
    {
        Operation(WhenReady { object: self, output: |greenlet| greenlet.outcome().cloned() })
    }

    /// As [`get`](Greenlet::get), waiting for at most `timeout`; zero makes one trip through the loop.
    ///
    /// # Errors
    /// [`GreenletError::TimedOut`] if it has not ended in time, else as `get`.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GreenletError>
    where
        T: Clone,
    {
        if !self.join_timeout(timeout) {
            return Err(GreenletError::TimedOut);
        }
        self.outcome().cloned()
    }

    /// Waits for the greenlet and takes out what it returned.
    ///
    /// # Errors
    /// As [`get`](Greenlet::get), and [`GreenletError::Shared`] if there are clones of this handle.
    pub fn into_value(self) -> Result<T, GreenletError> {
        self.join();
        self.outcome()?;
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is a typed handle that is used up on success, and dropped otherwise.
        unsafe {
            Header::take_value(this.header()).ok_or_else(|| {
                drop(ManuallyDrop::into_inner(this));
                GreenletError::Shared
            })
        }
    }

    /// The end, once there is one.
    pub(crate) fn outcome(&self) -> Result<&T, GreenletError> {
        match (self.value(), self.exception()) {
            (Some(value), _) => Ok(value),
            (None, Some(failure)) => Err(GreenletError::Failed(failure)),
            (None, None) => Err(GreenletError::Exit(GreenletExit)),
        }
    }

    /// Ends one that never started and never will, where its closure may be dropped on any thread.
    pub(crate) fn abandon(self) {
        // SAFETY: the start was claimed and refused, so the closure is there and nobody runs it.
        unsafe { Header::drop_closure(self.header()) };
        let _ = self.header_ref().set_ended(&End::Exit);
    }
}

impl GreenletRef {
    #[inline]
    pub(crate) fn header(&self) -> NonNull<Header> {
        self.0
    }

    #[inline]
    pub(crate) fn header_ref(&self) -> &Header {
        // SAFETY: this reference owns a count (or a part in the typed handles' one).
        unsafe { self.0.as_ref() }
    }

    /// Takes over a count.
    ///
    /// # Safety
    /// The caller owns a count and passes it on.
    pub(crate) unsafe fn counted(header: NonNull<Header>) -> GreenletRef {
        GreenletRef(header)
    }

    /// # Safety
    /// The header is alive.
    pub(crate) unsafe fn retained(header: NonNull<Header>) -> GreenletRef {
        // SAFETY: as promised by the caller.
        unsafe { header.as_ref() }.retain();
        GreenletRef(header)
    }

    /// The hub of this thread, if it is this greenlet's.
    #[inline]
    pub(crate) fn home_hub(&self) -> Option<&'static Hub> {
        Hub::try_current().filter(|hub| std::ptr::eq(&*hub.shared, &*self.header_ref().shared))
    }

    /// Whether the caller runs in this greenlet.
    pub fn is_current(&self) -> bool {
        Hub::try_current().and_then(Hub::current_greenlet) == Some(self.0)
    }

    // --- starting ----------------------------------------------------------------------------------------------

    /// Starts it: it runs in its turn. Does nothing if it was started, or killed, before. If its hub has ended with its
    /// thread, it ends as if killed.
    #[inline]
    pub fn start(&self) {
        if !self.start_or_refuse() {
            self.end_without_home();
        }
    }

    /// Its hub has ended, so it never runs: ends it as if killed. The closure is leaked, since it may only be dropped on
    /// the thread that made it.
    #[cold]
    fn end_without_home(&self) {
        let mut ending = self.header_ref().end.lock();
        if self.header_ref().ended() {
            return;
        }
        self.header_ref().set_ended(&End::Exit);
        let wakeups = ending.waiters.notify_all();
        let links = std::mem::take(&mut ending.links);
        drop(ending);
        wakeups.wake();
        for link in links {
            link.fire(self.0);
        }
    }

    /// False if its hub has ended.
    #[inline]
    pub(crate) fn start_or_refuse(&self) -> bool {
        if !self.header_ref().claim_start() {
            return true;
        }
        match self.home_hub() {
            Some(hub) => {
                hub.start(self.0);
                hub.announce(self.0);
                true
            }
            None => self.clone().hand_to_hub(),
        }
    }

    /// Starts it after `delay`. Does nothing if it was started, or killed, before.
    pub fn start_later(&self, delay: Duration) {
        if !self.header_ref().claim_start() {
            return;
        }
        let Some(deadline) = Nanos::now().checked_add(delay) else { return };
        match self.home_hub() {
            Some(hub) => hub.start_at(deadline, self.clone()),
            None => {
                let greenlet = self.clone();
                let start = move |hub: &Hub| hub.start_at(deadline, greenlet);
                if self.header_ref().shared.push_call(Box::new(start)).is_err() {
                    self.end_without_home();
                }
            }
        }
    }

    /// Passes this reference to the greenlet's hub, which starts or wakes it. False if the hub has ended.
    fn hand_to_hub(self) -> bool {
        let header = self.header_ref();
        if !header.claim_link() {
            return true; // on its way already
        }
        let this = ManuallyDrop::new(self);
        // Once it is pushed the greenlet may end, and its hub with it, before the hub's doorbell was rung.
        let shared = this.header_ref().shared.clone();
        // SAFETY: the claim and the count go along; if refused, both come back.
        if unsafe { shared.push_greenlet(this.0) }.is_err() {
            this.header_ref().release_link();
            drop(ManuallyDrop::into_inner(this));
            return false;
        }
        true
    }

    /// Wakes a greenlet that waits on another thread's hub.
    pub(crate) fn wake_from_elsewhere(self) {
        // If that hub has ended, nobody waits there any more.
        self.hand_to_hub();
    }

    // --- raising -----------------------------------------------------------------------------------------------

    /// Raises in it from anywhere, in its turn.
    pub(crate) fn raise(&self, raised: Raised) {
        match self.home_hub() {
            Some(hub) => hub.raise_soon(self.clone(), raised),
            None => {
                let greenlet = self.clone();
                let deliver = move |hub: &Hub| hub.deliver(&greenlet, raised);
                if self.header_ref().shared.push_call(Box::new(deliver)).is_err() {
                    self.end_without_home();
                }
            }
        }
    }

    /// Raises in the current greenlet at its next suspension point. Does nothing if it is not current.
    pub(crate) fn raise_later(&self, raised: Raised) {
        if self.is_current() {
            self.header_ref().local.push_raise(raised);
        }
    }

    /// Forgets what a timeout raised and was not thrown yet.
    pub(crate) fn forget_timeout(&self, id: u64) {
        if self.home_hub().is_some() {
            self.header_ref().local.forget_timeout(id);
        }
    }

    // --- waiting -----------------------------------------------------------------------------------------------

    /// Waits until it has ended, in whatever way. Does not suspend if it has. One that was never started is waited for until
    /// somebody starts or kills it.
    ///
    /// # Panics
    /// When a greenlet joins itself: it would wait for ever.
    #[inline(always)]
    pub fn join(&self) {
        self.join_deadline(Deadline::Never);
    }

    /// Waits for at most `timeout`; zero makes one trip through the loop. True if it has ended.
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.join_deadline(Deadline::After(timeout))
    }

    #[inline(always)]
    pub(crate) fn join_deadline(&self, deadline: Deadline) -> bool {
        let header = self.header_ref();
        if header.ended() {
            return true;
        }
        assert!(
            !(matches!(deadline, Deadline::Never) && self.is_current()),
            "a greenlet cannot join itself: it would wait for ever"
        );
        if header.shared.is_closed() {
            self.end_without_home();
            return true;
        }
        let ending = header.end.lock();
        header.ended() || wait("Greenlet::join", ending, |ending| &mut ending.waiters, (), deadline).is_ok()
    }

    /// [`join`](GreenletRef::join), for [`select!`](crate::select!) and `.await`.
    pub fn join_op(&self) -> Operation<impl Attempt<Output = ()>> {
        Operation(WhenReady { object: self, output: |_| () })
    }

    // --- state -------------------------------------------------------------------------------------------------

    /// Whether it has ended, in whatever way.
    pub fn ready(&self) -> bool {
        self.header_ref().ended()
    }

    /// Whether it has ended and did not fail. Killed, or exited with [`GreenletExit`], is successful, as in gevent.
    pub fn successful(&self) -> bool {
        self.header_ref().successful()
    }

    /// Whether it has ended with [`GreenletExit`]: it was killed, or raised that itself.
    pub fn exited(&self) -> bool {
        self.header_ref().exited()
    }

    /// Why it failed, if it did.
    pub fn exception(&self) -> Option<Failure> {
        let header = self.header_ref();
        if !header.ended() || header.successful() {
            return None;
        }
        header.end.lock().failure.clone()
    }

    /// A number that no other greenlet of this process has or had.
    pub fn id(&self) -> u64 {
        self.header_ref().id
    }

    /// The name from [`Builder::name`] or [`set_name`](GreenletRef::set_name), or `Greenlet-` and its id.
    ///
    /// gevent's default is made from the [`minimal_ident`](GreenletRef::minimal_ident), which says little in a log, since it
    /// is soon somebody else's.
    pub fn name(&self) -> String {
        match self.header_ref().given_name() {
            Some(name) => String::from(&**name),
            None => format!("Greenlet-{}", self.id()),
        }
    }

    /// Names it anew, from any thread: what is shown in every report from now on.
    ///
    /// ```
    /// use greenlet_core::{current, spawn};
    ///
    /// let server = spawn(|| {
    ///     current().set_name("server on port 80");
    ///     current().name()
    /// });
    /// assert_eq!(server.get()?, "server on port 80");
    /// # Ok::<(), greenlet_core::GreenletError>(())
    /// ```
    pub fn set_name(&self, name: impl Into<String>) {
        self.header_ref().set_name(name.into().into_boxed_str());
    }

    /// A small number that no other live greenlet of its hub has, from 0 up: an index for tables. It is given with the first
    /// call, and free for others when the greenlet has ended. [`id`](GreenletRef::id) is for ever.
    ///
    /// `None` if it has ended, and on other threads than its own.
    ///
    /// ```
    /// use greenlet_core::{joinall, spawn};
    ///
    /// let pair = [spawn(|| ()), spawn(|| ())];
    /// assert_eq!(pair.each_ref().map(|g| g.minimal_ident()), [Some(0), Some(1)]);
    /// joinall(&pair);
    /// assert_eq!(pair[0].minimal_ident(), None);
    /// assert_eq!(spawn(|| ()).minimal_ident(), Some(0));
    /// ```
    pub fn minimal_ident(&self) -> Option<u32> {
        let hub = self.home_hub()?;
        let header = self.header_ref();
        if header.ended() {
            return None;
        }
        header.local.note_ident();
        Some(hub.ident(header.id))
    }

    /// The id of the greenlet that spawned it, which may have ended. `None` if it was spawned by a callback of the loop or
    /// sent from another thread, and for main.
    pub fn parent_id(&self) -> Option<u64> {
        let parent = self.header_ref().parent;
        (parent != 0).then_some(parent)
    }

    /// The greenlet that spawned it, if it is alive. `None` on other threads than its own.
    ///
    /// It is not kept alive for this, but looked up among the hub's greenlets, which takes longer the more there are.
    pub fn spawning_greenlet(&self) -> Option<GreenletRef> {
        let id = self.parent_id()?;
        self.home_hub()?.live_greenlet(id)
    }

    /// Where it was spawned.
    pub fn spawn_site(&self) -> &'static Location<'static> {
        self.header_ref().site
    }
}

impl Header {
    /// Its name and number, as reports show them.
    pub(crate) fn describe(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        describe(self.given_name().as_ref().map(|name| &***name), self.id, out)
    }

    /// And where it was spawned.
    pub(crate) fn describe_with_site(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.describe(out)?;
        write!(out, ", spawned at {}", self.site)
    }

    /// As `describe`, neither allocating nor waiting for a lock.
    pub(crate) fn describe_in_signal(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.with_given_name(|name| describe(name, self.id, out))
    }
}

fn describe(name: Option<&str>, id: u64, out: &mut dyn fmt::Write) -> fmt::Result {
    match name {
        Some(name) => write!(out, "{name} (Greenlet-{id})"),
        None => write!(out, "Greenlet-{id}"),
    }
}

impl Clone for GreenletRef {
    fn clone(&self) -> GreenletRef {
        // SAFETY: `self` keeps it alive.
        unsafe { GreenletRef::retained(self.0) }
    }
}

impl Drop for GreenletRef {
    fn drop(&mut self) {
        // SAFETY: the count is this reference's own.
        unsafe { Header::release(self.0) };
    }
}

impl<T> Clone for Greenlet<T> {
    fn clone(&self) -> Greenlet<T> {
        self.header_ref().retain_handle();
        Greenlet { greenlet: ManuallyDrop::new(GreenletRef(self.0)), value: PhantomData }
    }
}

impl<T> Drop for Greenlet<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this is a typed handle, on a thread where it may be.
        unsafe { Header::release_handle(self.header()) };
    }
}

impl<T> Deref for Greenlet<T> {
    type Target = GreenletRef;

    fn deref(&self) -> &GreenletRef {
        &self.greenlet
    }
}

// SAFETY: it has one such list.

unsafe impl Watch for GreenletRef {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        let header = self.header_ref();
        if !header.ended() && header.shared.is_closed() {
            self.end_without_home();
        }
        let ending = &mut *header.end.lock();
        at(header.ended(), &mut ending.waiters);
    }
}

impl Waitable for GreenletRef {}

// SAFETY: it has one such list.

unsafe impl<T> Watch for Greenlet<T> {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        GreenletRef::look(self, at);
    }
}

impl<T> Waitable for Greenlet<T> {}

impl AsRef<GreenletRef> for GreenletRef {
    fn as_ref(&self) -> &GreenletRef {
        self
    }
}

impl<T> AsRef<GreenletRef> for Greenlet<T> {
    fn as_ref(&self) -> &GreenletRef {
        self
    }
}

/// The same greenlet.
impl PartialEq for GreenletRef {
    fn eq(&self, other: &GreenletRef) -> bool {
        self.0 == other.0
    }
}

impl Eq for GreenletRef {}

impl std::hash::Hash for GreenletRef {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Its name (if it has one) and number, as in reports.
impl fmt::Display for GreenletRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header_ref().describe(f)
    }
}

impl fmt::Debug for GreenletRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header_ref();
        let state = match (header.ended(), header.was_started()) {
            (true, _) if header.exited() => "exited",
            (true, _) if header.successful() => "returned",
            (true, _) => "failed",
            (false, true) => "started",
            (false, false) => "new",
        };
        write!(f, "<{self} {state}, spawned at {}>", header.site)
    }
}

impl<T> fmt::Display for Greenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl<T> fmt::Debug for Greenlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
