//! Readiness of descriptors, for those who build sockets, pipes and the like on greenlets.
//!
//! A [`Source`] owns something with a non-blocking descriptor. An operation is tried first; when it would block, the
//! greenlet is suspended until the kernel says that it is worth trying again. Registration happens at the first time
//! that something would block, with the hub of whoever asks, edge-triggered and for good; a source that is used from
//! another hub later moves there.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll, Waker};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::hub::{Context, Deadline, Hub, HubRef, Nanos, Readiness, Token, context};
use crate::lock::Lock;
use crate::wait::{WaitList, wait};

/// What one waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// There is something to read, the peer is done writing, or the source failed.
    Read,
    /// There is room to write, a connection attempt is decided, or the source failed.
    Write,
}

impl Direction {
    fn waiting(self) -> &'static str {
        match self {
            Direction::Read => "reading",
            Direction::Write => "writing",
        }
    }
}

/// Something with a non-blocking descriptor that greenlets wait on.
///
/// One greenlet (or thread) at a time may wait for each direction; a second one gets an error that says so, as in
/// gevent. Dropping the source drops what it owns; [`close`](Source::close) wakes whoever waits.
///
/// ```
/// use greenlet_core::io::Source;
/// use greenlet_core::spawn;
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
///
/// let (ours, mut theirs) = UnixStream::pair()?;
/// ours.set_nonblocking(true)?;
/// let reader = spawn(move || {
///     let mut line = [0; 16];
///     let n = Source::new(ours).read(&mut line, None).unwrap(); // suspends this greenlet only
///     line[..n].to_vec()
/// });
/// spawn(move || theirs.write_all(b"hello").unwrap());
/// assert_eq!(reader.get()?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Source<S: AsFd> {
    shared: Arc<Shared>,
    inner: S,
}

#[derive(Debug)]
struct Shared {
    read: Side,
    write: Side,
    closed: AtomicBool,
    /// From now on every operation is tried, whatever the last one found: see `Readiness::irregular`.
    irregular: AtomicBool,
    /// The hub that watches it, 0 for none: to see quickly that it is the current one.
    watcher: AtomicU64,
    registration: Mutex<Option<Registration>>,
}

#[derive(Debug)]
struct Side {
    /// Counts events. An operation that would block is only waited for if nothing happened since before it was tried.
    events: AtomicU32,
    /// The count at which the direction was found exhausted, plus one: the next try can be saved. 0: not known.
    exhausted: AtomicU32,
    waiting: Lock<Waiting>,
}

/// Who is told of the next event.
struct Waiting {
    /// Greenlets and threads: one at most.
    list: WaitList<()>,
    /// The future that polled last, which may be gone.
    task: Option<Waker>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.list.is_empty() && self.task.is_none()
    }
}

#[derive(Debug)]
struct Registration {
    hub: HubRef,
    token: Token,
}

impl Side {
    fn new() -> Side {
        Side {
            events: AtomicU32::new(0),
            exhausted: AtomicU32::new(0),
            waiting: Lock::new(Waiting { list: WaitList::new(), task: None }),
        }
    }

    fn happened(&self) {
        let mut waiting = self.waiting.lock();
        // Only changed under the lock, so no read-modify-write is needed.
        self.events.store(self.events.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        let first = waiting.list.notify_first(|_| ());
        let task = waiting.task.take();
        drop(waiting);
        if let Some(((), wakeup)) = first {
            wakeup.wake();
        }
        if let Some(task) = task {
            task.wake();
        }
    }

    fn mark_exhausted(&self, events: u32) {
        self.exhausted.store(events.wrapping_add(1), Ordering::Release);
    }

    fn is_exhausted(&self, events: u32) -> bool {
        self.exhausted.load(Ordering::Acquire) == events.wrapping_add(1) && events != u32::MAX
    }
}

impl Shared {
    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    fn registration(&self) -> MutexGuard<'_, Option<Registration>> {
        // Nothing under this lock panics halfway through a change.
        self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch(&self, ready: Readiness) {
        if ready.irregular {
            self.irregular.store(true, Ordering::Release);
        }
        if ready.readable {
            self.read.happened();
        }
        if ready.writable {
            self.write.happened();
        }
    }
}

/// What to do before the first wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Try,
    /// Save the try that would find nothing.
    UnlessExhausted,
}

/// What came of an operation that was tried, or not tried for a good reason.
enum Attempted<R> {
    Done(R),
    /// The count of events from before the attempt.
    WouldBlock(u32),
}

/// Counts an operation that will perhaps not wait, for who does operations on descriptors without [`Source::io`]: every 32 of them, without a wait in between, the
/// greenlet lets the others run. A kill or timeout unwinds from there.
pub fn take_part() {
    if let Some(hub) = Hub::try_current() {
        hub.take_part();
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was closed in another greenlet")
}

fn taken(direction: Direction) -> io::Error {
    let what = direction.waiting();
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!("another greenlet is already waiting for {what} here"),
    )
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "timed out")
}

impl<S: AsFd> Source<S> {
    /// Takes something whose descriptor is in non-blocking mode.
    pub fn new(inner: S) -> Source<S> {
        let shared = Shared {
            read: Side::new(),
            write: Side::new(),
            closed: AtomicBool::new(false),
            irregular: AtomicBool::new(false),
            watcher: AtomicU64::new(0),
            registration: Mutex::new(None),
        };
        Source { shared: Arc::new(shared), inner }
    }

    /// Gives back what it owns, with its descriptor still in non-blocking mode. Nobody waits on it: that needs a reference.
    pub fn into_inner(self) -> S {
        unregister(self.shared.registration().take(), self.inner.as_fd());
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so each field is moved out once, and what `drop` does was done above.
        unsafe {
            drop(std::ptr::read(&raw const this.shared));
            std::ptr::read(&raw const this.inner)
        }
    }

    /// What it owns.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Runs `operation` until it does something other than block, and suspends the greenlet in between.
    ///
    /// `operation` is called at least once, and must not block: it returns `WouldBlock` instead. The timeout bounds the call as a whole; `None` waits for
    /// ever, and zero tries and makes one trip through the loop. A source that is always ready does not keep the thread to
    /// itself: every 32 operations without a wait, the greenlet lets the others run. A kill or timeout unwinds only before
    /// an operation, never after one that was done.
    ///
    /// # Errors
    /// What `operation` returned; `TimedOut`; `ResourceBusy` when another greenlet waits for the same direction;
    /// `NotConnected` when the source was [closed](Source::close).
    pub fn io<R>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        mut operation: impl FnMut(&S) -> io::Result<R>,
    ) -> io::Result<R> {
        self.retry(direction, timeout, First::Try, |inner, _| operation(inner))
    }

    /// As `io`; `operation` also gets the count of events from before the call.
    fn retry<R>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        mut first: First,
        mut operation: impl FnMut(&S, u32) -> io::Result<R>,
    ) -> io::Result<R> {
        let side = self.shared.side(direction);
        let mut deadline = Deadline::from_timeout(timeout);
        take_part();
        loop {
            match self.attempt(side, &mut first, &mut operation)? {
                Attempted::Done(done) => return Ok(done),
                Attempted::WouldBlock(events) => self.wait_since(direction, events, &mut deadline)?,
            }
        }
    }

    /// Runs the operation once, unless it is known that it would block.
    #[inline(always)]
    fn attempt<R>(
        &self,
        side: &Side,
        first: &mut First,
        operation: &mut impl FnMut(&S, u32) -> io::Result<R>,
    ) -> io::Result<Attempted<R>> {
        loop {
            if self.shared.closed.load(Ordering::Acquire) {
                return Err(closed());
            }
            let events = side.events.load(Ordering::Acquire);
            let skip = *first == First::UnlessExhausted
                && side.is_exhausted(events)
                && !self.shared.irregular.load(Ordering::Acquire);
            *first = First::Try;
            if skip {
                return Ok(Attempted::WouldBlock(events));
            }
            match operation(&self.inner, events) {
                Ok(done) => return Ok(Attempted::Done(done)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Attempted::WouldBlock(events));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the kernel reports the direction ready, at least once after this call.
    ///
    /// An edge, not a level: what was ready all the time may not be reported again. Use [`io`](Source::io) where there
    /// is an operation to try.
    ///
    /// # Errors
    /// As [`io`](Source::io).
    pub fn wait(&self, direction: Direction, timeout: Option<Duration>) -> io::Result<()> {
        let events = self.shared.side(direction).events.load(Ordering::Acquire);
        self.wait_since(direction, events, &mut Deadline::from_timeout(timeout))
    }

    fn wait_since(&self, direction: Direction, events: u32, deadline: &mut Deadline) -> io::Result<()> {
        if let Context::Thread = context()
            && Hub::try_current().is_some()
        {
            return self.block(direction, deadline);
        }
        let side = self.shared.side(direction);
        self.watch(direction)?;
        let waiting = side.waiting.lock();
        if side.events.load(Ordering::Acquire) != events {
            return Ok(());
        }
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        if !waiting.list.is_empty() {
            return Err(taken(direction));
        }
        deadline.fix();
        wait(direction.waiting(), waiting, |waiting| &mut waiting.list, (), *deadline)
            .map_err(|_| timed_out())
    }

    /// [`io`](Source::io) for futures: runs `operation`, and where it would block, has the task woken when it is worth trying again.
    ///
    /// Does not suspend. One task at a time for each direction: the one that polled last is woken.
    ///
    /// # Errors
    /// What `operation` returned; `NotConnected` when the source was [closed](Source::close); `Unsupported` on a thread that has no
    /// hub, where nobody would see the descriptor become ready.
    pub fn poll_io<R>(
        &self,
        direction: Direction,
        context: &mut task::Context<'_>,
        mut operation: impl FnMut(&S) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_retry(direction, context, First::Try, |inner, _| operation(inner))
    }

    fn poll_retry<R>(
        &self,
        direction: Direction,
        context: &mut task::Context<'_>,
        mut first: First,
        mut operation: impl FnMut(&S, u32) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let side = self.shared.side(direction);
        loop {
            let events = match self.attempt(side, &mut first, &mut operation)? {
                Attempted::Done(done) => return Poll::Ready(Ok(done)),
                Attempted::WouldBlock(events) => events,
            };
            if Hub::try_current().is_none() {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "polled on a thread that has no hub: nobody would see it become ready",
                )));
            }
            self.watch(direction)?;
            let mut waiting = side.waiting.lock();
            let quiet = side.events.load(Ordering::Acquire) == events && !self.is_closed();
            if !quiet {
                continue;
            }
            match &waiting.task {
                Some(task) if task.will_wake(context.waker()) => return Poll::Pending,
                _ => {}
            }
            let replaced = waiting.task.replace(context.waker().clone());
            drop(waiting);
            drop(replaced); // user code
            return Poll::Pending;
        }
    }

    /// In a panic hook, where the hub cannot run: the thread itself waits.
    #[cold]
    fn block(&self, direction: Direction, deadline: &mut Deadline) -> io::Result<()> {
        let flags = match direction {
            Direction::Read => PollFlags::IN,
            Direction::Write => PollFlags::OUT,
        };
        let left = deadline.fix().and_then(|at| Timespec::try_from(at.since(Nanos::now())).ok());
        match poll(&mut [PollFd::new(&self.inner, flags)], left.as_ref())? {
            0 => Err(timed_out()),
            _ => Ok(()),
        }
    }

    /// Makes sure that a hub watches the source: the current one, unless somebody waits through another.
    #[inline]
    fn watch(&self, direction: Direction) -> io::Result<()> {
        let hub = Hub::current_hub();
        if self.shared.watcher.load(Ordering::Relaxed) == hub.shared.id {
            hub.shared.poller.arm(self.inner.as_fd(), direction);
            Ok(())
        } else {
            self.watch_by(hub, direction)
        }
    }

    #[cold]
    fn watch_by(&self, hub: &Hub, direction: Direction) -> io::Result<()> {
        let mut registration = self.shared.registration();
        if let Some(elsewhere) = &*registration {
            let in_use = [&self.shared.read, &self.shared.write].iter().any(|s| !s.waiting.lock().is_empty());
            if in_use && !elsewhere.hub.is_closed() {
                elsewhere.hub.poller.arm(self.inner.as_fd(), direction);
                return Ok(()); // its hub wakes us across threads
            }
            self.shared.watcher.store(0, Ordering::Relaxed);
            unregister(registration.take(), self.inner.as_fd());
        }
        let token = hub.sources.insert(self.shared.clone(), self.inner.as_fd().as_raw_fd());
        if let Err(error) = hub.shared.poller.add(self.inner.as_fd(), token) {
            hub.sources.remove(token);
            return Err(error);
        }
        *registration = Some(Registration { hub: hub.shared.clone(), token });
        self.shared.watcher.store(hub.shared.id, Ordering::Relaxed);
        Ok(())
    }

    /// For empty buffers: the system may have an error to tell, but there is nothing to wait for.
    ///
    /// # Errors
    /// What `operation` returned, but `WouldBlock`; `NotConnected` when the source was [closed](Source::close).
    pub fn at_once(&self, operation: impl FnOnce(&S) -> io::Result<usize>) -> io::Result<usize> {
        if self.is_closed() {
            return Err(closed());
        }
        match operation(&self.inner) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            done => done,
        }
    }

    /// Ends the use of the source for everybody: whoever waits on it, here or on other threads, gets an error, and so
    /// does every later call. The descriptor itself is closed when the source is dropped.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.read.happened();
        self.shared.write.happened();
    }

    /// Whether [`close`](Source::close) was called.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }
}

impl<S: AsFd> Source<S>
where
    for<'a> &'a S: Read,
{
    /// Reads once, waiting for the first byte.
    ///
    /// # Errors
    /// As [`io`](Source::io).
    pub fn read(&self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<usize> {
        if buffer.is_empty() {
            return self.at_once(|mut inner| inner.read(buffer));
        }
        self.retry(Direction::Read, timeout, First::UnlessExhausted, |inner, events| {
            self.read_once(inner, buffer, events)
        })
    }

    /// [`read`](Source::read) for futures, as [`poll_io`](Source::poll_io).
    ///
    /// # Errors
    /// As [`poll_io`](Source::poll_io).
    pub fn poll_read(&self, context: &mut task::Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(self.at_once(|mut inner| inner.read(buffer)));
        }
        let operation = |inner: &S, events| self.read_once(inner, buffer, events);
        self.poll_retry(Direction::Read, context, First::UnlessExhausted, operation)
    }

    #[inline]
    fn read_once(&self, mut inner: &S, buffer: &mut [u8], events: u32) -> io::Result<usize> {
        let n = inner.read(buffer)?;
        if n > 0 && n < buffer.len() {
            // The kernel had no more: the next read would block unless an event comes first.
            self.shared.read.mark_exhausted(events);
        }
        Ok(n)
    }
}

impl<S: AsFd> Source<S>
where
    for<'a> &'a S: Write,
{
    /// Writes once, waiting for room for the first byte.
    ///
    /// # Errors
    /// As [`io`](Source::io).
    pub fn write(&self, buffer: &[u8], timeout: Option<Duration>) -> io::Result<usize> {
        if buffer.is_empty() {
            return self.at_once(|mut inner| inner.write(buffer));
        }
        self.retry(Direction::Write, timeout, First::UnlessExhausted, |inner, events| {
            self.write_once(inner, buffer, events)
        })
    }

    /// [`write`](Source::write) for futures, as [`poll_io`](Source::poll_io).
    ///
    /// # Errors
    /// As [`poll_io`](Source::poll_io).
    pub fn poll_write(&self, context: &mut task::Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(self.at_once(|mut inner| inner.write(buffer)));
        }
        let operation = |inner: &S, events| self.write_once(inner, buffer, events);
        self.poll_retry(Direction::Write, context, First::UnlessExhausted, operation)
    }

    #[inline]
    fn write_once(&self, mut inner: &S, buffer: &[u8], events: u32) -> io::Result<usize> {
        let n = inner.write(buffer)?;
        if n > 0 && n < buffer.len() {
            self.shared.write.mark_exhausted(events);
        }
        Ok(n)
    }
}

/// Takes a source out of the hub that watches it, from any thread.
fn unregister(registration: Option<Registration>, fd: BorrowedFd<'_>) {
    let Some(Registration { hub, token }) = registration else { return };
    // It fails only when the hub's poller does not have it, and then there is nothing to remove.
    let _ = hub.poller.remove(fd);
    match Hub::try_current() {
        Some(current) if hub.is_current() => current.sources.remove(token),
        _ => {
            // A hub that has ended has no table any more.
            let _ = hub.push_call(Box::new(move |hub| hub.sources.remove(token)));
        }
    }
}

impl<S: AsFd> Drop for Source<S> {
    fn drop(&mut self) {
        let registration = self.shared.registration().take();
        unregister(registration, self.inner.as_fd());
    }
}

/// The sources that a hub watches, by token.
#[derive(Default)]
pub(crate) struct SourceTable(RefCell<Slots>);

#[derive(Default)]
struct Slots {
    slots: Vec<(u32, Option<Watched>)>,
    free: Vec<u32>,
}

struct Watched {
    source: Arc<Shared>,
    /// The source's own: it leaves the table before it closes this.
    fd: RawFd,
}

impl SourceTable {
    /// Everything that the poller has of this table.
    pub(crate) fn registered(&self) -> Vec<(RawFd, Token)> {
        let table = self.0.borrow();
        let slots = table.slots.iter().zip(0..);
        let registered = slots.filter_map(|((generation, watched), slot)| {
            Some((watched.as_ref()?.fd, Token { slot, generation: *generation }))
        });
        registered.collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let table = self.0.borrow();
        table.slots.len() == table.free.len()
    }

    /// Whether somebody waits for one of them.
    pub(crate) fn anybody_waits(&self) -> bool {
        let waits = |source: &Shared| {
            [&source.read, &source.write].iter().any(|side| !side.waiting.lock().is_empty())
        };
        self.0
            .borrow()
            .slots
            .iter()
            .any(|(_, watched)| watched.as_ref().is_some_and(|watched| waits(&watched.source)))
    }

    fn insert(&self, source: Arc<Shared>, fd: RawFd) -> Token {
        let mut table = self.0.borrow_mut();
        let slot = match table.free.pop() {
            Some(slot) => slot,
            None => {
                table.slots.push((0, None));
                (table.slots.len() - 1) as u32
            }
        };
        let entry = &mut table.slots[slot as usize];
        entry.1 = Some(Watched { source, fd });
        Token { slot, generation: entry.0 }
    }

    fn remove(&self, token: Token) {
        let mut table = self.0.borrow_mut();
        if let Some(entry) = table.slots.get_mut(token.slot as usize)
            && entry.0 == token.generation
            && let Some(removed) = entry.1.take()
        {
            entry.0 = entry.0.wrapping_add(1);
            table.free.push(token.slot);
            // Its wakers may be dropped with it, and more sources with them.
            drop(table);
            drop(removed);
        }
    }

    /// An event from the poller. Those of sources that were removed meanwhile are ignored.
    pub(crate) fn dispatch(&self, ready: Readiness) {
        let source = match self.0.borrow().slots.get(ready.token.slot as usize) {
            Some((generation, Some(watched))) if *generation == ready.token.generation => {
                watched.source.clone()
            }
            _ => return,
        };
        // Not borrowed meanwhile: waking a greenlet only queues it, but a task whose executor has ended is dropped when it is woken, and its sources with it.
        source.dispatch(ready);
    }

    /// The hub ends. Those who wait through it from elsewhere look for another one.
    pub(crate) fn clear(&self) {
        for watched in self.0.take().slots.into_iter().filter_map(|(_, watched)| watched) {
            watched.source.read.happened();
            watched.source.write.happened();
        }
    }
}
