//! Calls while a descriptor is ready.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::Location;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Core, debug};
use crate::hub::{Hub, Readiness, Token};
use crate::io::Direction;

/// Calls back while a descriptor is ready: gevent's `loop.io`. Dropping it stops it.
///
/// It tells levels: the callback is called about once in each turn of the loop as long as the descriptor is ready, so one that does not
/// read keeps the loop busy, though not the greenlets waiting. For both directions make two of them.
///
/// It has a descriptor of its own, a duplicate: whoever made it may close his. What is behind the descriptor is then closed
/// for good when the watcher is dropped.
///
/// ```
/// use greenlet_core::Event;
/// use greenlet_core::io::Direction;
/// use greenlet_core::watcher::Io;
/// use std::{io::Read, io::Write, os::unix::net::UnixStream, rc::Rc};
///
/// let (mut ours, mut theirs) = UnixStream::pair()?;
/// let told = Rc::new(Event::new());
/// let watcher = Io::new(&ours.try_clone()?, Direction::Read, {
///     let told = told.clone();
///     move || {
///         let mut byte = [0];
///         ours.read_exact(&mut byte).unwrap(); // there is something to read, so this does not block
///         told.set();
///     }
/// })?;
/// theirs.write_all(b"x")?;
/// told.wait();
/// drop(watcher);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a watcher stops it"]
pub struct Io {
    state: Rc<State>,
}

struct State {
    core: Core,
    fd: OwnedFd,
    direction: Direction,
    token: Cell<Option<Token>>,
    /// A look at the descriptor is in the ready queue.
    queued: Cell<bool>,
}

impl Io {
    /// Watches a duplicate of the descriptor, from now on.
    ///
    /// # Errors
    /// No descriptor left, or one that the poller does not take: epoll refuses regular files.
    #[track_caller]
    pub fn new(fd: impl AsFd, direction: Direction, f: impl FnMut() + 'static) -> io::Result<Io> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        let core = Core::new("io", Location::caller(), f);
        let io = Io {
            state: Rc::new(State { core, fd, direction, token: Cell::new(None), queued: Cell::new(false) }),
        };
        io.start()?;
        Ok(io)
    }

    /// Begins again after [`stop`](Io::stop). Does nothing if it is active.
    ///
    /// # Errors
    /// As [`new`](Io::new).
    pub fn start(&self) -> io::Result<()> {
        if self.active() {
            return Ok(());
        }
        let hub = Hub::current_hub();
        let token = hub.watched_fds.insert(self.state.clone());
        // One that is ready already is an event.
        if let Err(error) = hub.shared.poller.add(self.state.fd.as_fd(), token) {
            drop(hub.watched_fds.remove(token));
            return Err(error);
        }
        self.state.token.set(Some(token));
        self.state.core.activate(hub);
        Ok(())
    }

    /// Stops it: nothing is called any more until [`start`](Io::start).
    pub fn stop(&self) {
        let hub = Hub::try_current();
        self.state.core.deactivate(hub);
        if let Some(token) = self.state.token.take()
            && let Some(hub) = hub
        {
            // It fails only when it is gone already.
            let _ = hub.shared.poller.remove(self.state.fd.as_fd());
            drop(hub.watched_fds.remove(token));
        }
    }

    /// Whether it may call.
    pub fn active(&self) -> bool {
        self.state.core.active.get()
    }

    /// Keeps nothing alive: see the [module](crate::watcher#rules-for-callbacks).
    pub fn uncounted(self) -> Io {
        self.state.core.stop_counting(Hub::current_hub());
        self
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.stop();
    }
}

debug!(Io, "Io");

impl State {
    /// Looks at the descriptor in the next turn.
    fn look_soon(self: &Rc<State>, hub: &Hub) {
        if self.core.active.get() && !self.queued.replace(true) {
            let (me, start) = (self.clone(), self.core.start.get());
            hub.call_soon(Box::new(move |hub| me.look(hub, start)));
        }
    }

    fn look(self: &Rc<State>, hub: &Hub, start: u64) {
        self.queued.set(false);
        if !self.core.is_current(start) {
            // Of a start before this one; it has nothing to do with what was queued since.
            self.look_soon(hub);
            return;
        }
        if !self.is_ready() {
            // What comes from now on is an event again.
            hub.shared.poller.arm(self.fd.as_fd(), self.direction);
            return;
        }
        self.core.call(hub);
        self.look_soon(hub);
    }

    fn is_ready(&self) -> bool {
        let flags = match self.direction {
            Direction::Read => PollFlags::IN | PollFlags::PRI | PollFlags::RDHUP,
            Direction::Write => PollFlags::OUT,
        };
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Interrupted, it may be: then the callback finds out.
        !matches!(poll(&mut [PollFd::new(&self.fd, flags)], Some(&at_once)), Ok(0))
    }
}

/// The watchers of descriptors of a hub, by token. Their slots have the highest bit set, which tells them from sources.
#[derive(Default)]
pub(crate) struct WatchedFds(RefCell<Vec<(u32, Option<Rc<State>>)>>);

const OURS: u32 = 1 << 31;

impl WatchedFds {
    pub(crate) fn has(token: Token) -> bool {
        token.slot & OURS != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().iter().all(|(_, state)| state.is_none())
    }

    fn insert(&self, state: Rc<State>) -> Token {
        let mut slots = self.0.borrow_mut();
        let slot = match slots.iter().position(|(_, state)| state.is_none()) {
            Some(slot) => slot,
            None => {
                slots.push((0, None));
                slots.len() - 1
            }
        };
        slots[slot].1 = Some(state);
        Token { slot: slot as u32 | OURS, generation: slots[slot].0 }
    }

    /// What was there is dropped by the caller: it has the user's callback.
    fn remove(&self, token: Token) -> Option<Rc<State>> {
        let mut slots = self.0.borrow_mut();
        let (generation, state) = slots.get_mut((token.slot & !OURS) as usize)?;
        if *generation != token.generation {
            return None;
        }
        *generation = generation.wrapping_add(1);
        state.take()
    }

    /// An event from the poller.
    pub(crate) fn dispatch(&self, hub: &Hub, ready: Readiness) {
        let slots = self.0.borrow();
        if let Some((generation, Some(state))) = slots.get((ready.token.slot & !OURS) as usize)
            && *generation == ready.token.generation
            && match state.direction {
                Direction::Read => ready.readable || ready.irregular,
                Direction::Write => ready.writable,
            }
        {
            state.look_soon(hub);
        }
    }

    /// The hub ends. What is left is dropped by the caller: it has the user's callbacks.
    pub(crate) fn clear(&self) -> impl Sized + use<> {
        self.0.take()
    }

    /// Everything that the poller has of this table.
    pub(crate) fn registered(&self) -> Vec<(RawFd, Token)> {
        let slots = self.0.borrow();
        let registered = slots.iter().zip(0..).filter_map(|((generation, state), slot)| {
            Some((state.as_ref()?.fd.as_raw_fd(), Token { slot: slot | OURS, generation: *generation }))
        });
        registered.collect()
    }
}
