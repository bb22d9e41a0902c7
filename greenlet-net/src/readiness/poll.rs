//! Several descriptors, again and again.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::ops::{BitOr, BitOrAssign};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use greenlet_core::yield_now;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::AT_ONCE;

/// What one wants to know of a descriptor, and what is so. They are combined with `|`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PollEvents(u8);

impl PollEvents {
    /// It can be read without blocking, or has come to its end.
    pub const READ: PollEvents = PollEvents(1);
    /// It can be written without blocking.
    pub const WRITE: PollEvents = PollEvents(2);
    /// It has an exceptional condition: urgent data on a TCP connection.
    pub const PRIORITY: PollEvents = PollEvents(4);
    /// The other end is gone. Told without being asked for.
    pub const HANGUP: PollEvents = PollEvents(8);
    /// It has an error. Told without being asked for.
    pub const ERROR: PollEvents = PollEvents(16);

    const ALL: [(PollEvents, EventFlags, &'static str); 5] = [
        (PollEvents::READ, EventFlags::IN, "READ"),
        (PollEvents::WRITE, EventFlags::OUT, "WRITE"),
        (PollEvents::PRIORITY, EventFlags::PRI, "PRIORITY"),
        (PollEvents::HANGUP, EventFlags::HUP, "HANGUP"),
        (PollEvents::ERROR, EventFlags::ERR, "ERROR"),
    ];

    /// Whether all of `other` are among them.
    pub fn contains(self, other: PollEvents) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn to_flags(self) -> EventFlags {
        let chosen = Self::ALL.iter().filter(|(event, ..)| self.contains(*event));
        chosen.fold(EventFlags::empty(), |flags, (_, flag, _)| flags | *flag)
    }

    fn of(flags: EventFlags) -> PollEvents {
        let chosen = Self::ALL.iter().filter(|(_, flag, _)| flags.contains(*flag));
        chosen.fold(PollEvents::default(), |events, (event, ..)| events | *event)
    }
}

impl BitOr for PollEvents {
    type Output = PollEvents;

    fn bitor(self, other: PollEvents) -> PollEvents {
        PollEvents(self.0 | other.0)
    }
}

impl BitOrAssign for PollEvents {
    fn bitor_assign(&mut self, other: PollEvents) {
        *self = *self | other;
    }
}

/// `READ | WRITE`.
impl fmt::Debug for PollEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Self::ALL.iter().filter(|(event, ..)| self.contains(*event)).map(|(.., name)| *name).collect();
        f.write_str(if names.is_empty() { "-" } else { "" })?;
        f.write_str(&names.join(" | "))
    }
}

/// Why a descriptor is not registered, or changed, or unregistered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PollError {
    /// There is one of that key.
    #[error("a descriptor of that key is registered already")]
    Taken,
    /// There is none of that key.
    #[error("no descriptor of that key is registered")]
    Unknown,
    /// What the system says: that the same descriptor is registered by another key, or that none is left.
    #[error("the system refuses it: {0}")]
    System(#[from] io::Error),
}

impl From<PollError> for io::Error {
    fn from(error: PollError) -> io::Error {
        match error {
            PollError::Taken => io::Error::new(io::ErrorKind::AlreadyExists, error),
            PollError::Unknown => io::Error::new(io::ErrorKind::NotFound, error),
            PollError::System(error) => error,
        }
    }
}

/// A set of descriptors, of which [`poll`](Poll::poll) tells which are ready: Python's `select.poll` and `selectors`.
///
/// Each descriptor has a key, which `poll` tells again. What is registered may be a reference, a clone or the thing itself; it is kept until
/// it is unregistered, so nothing in here is ever a closed descriptor. Regular files are always ready to be read and written.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{Poll, PollEvents, UnixStream};
/// use std::{io::Write, time::Duration};
///
/// let (ours, theirs) = UnixStream::pair()?;
/// let mut poll = Poll::new()?;
/// poll.register("ours", &ours, PollEvents::READ)?;
/// assert!(poll.poll(Some(Duration::ZERO))?.is_empty());
/// spawn(move || (&theirs).write_all(b"x").unwrap());
/// let ready = poll.poll(None)?; // suspends this greenlet
/// assert_eq!(ready[0].0, "ours");
/// assert!(ready[0].1.contains(PollEvents::READ));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Poll<'a, K> {
    /// An epoll instance is a descriptor that is ready when one of its own is: the hub watches that one.
    set: Source<OwnedFd>,
    entries: BTreeMap<K, Entry<'a>>,
    keys: BTreeMap<u64, K>,
    next: u64,
}

struct Entry<'a> {
    fd: Box<dyn AsFd + 'a>,
    number: u64,
    events: PollEvents,
    /// epoll does not take it: a regular file.
    always: bool,
}

/// How many events one call tells of; the others come with the next one.
const BATCH: usize = 256;

impl<'a, K: Ord + Clone> Poll<'a, K> {
    /// An empty set.
    ///
    /// # Errors
    /// What the system says: no descriptor left.
    pub fn new() -> io::Result<Poll<'a, K>> {
        let set = Source::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        Ok(Poll { set, entries: BTreeMap::new(), keys: BTreeMap::new(), next: 0 })
    }

    /// Adds a descriptor.
    ///
    /// # Errors
    /// [`PollError::Taken`] if there is one of that key; `System`, for example if it is registered by another key.
    pub fn register(&mut self, key: K, fd: impl AsFd + 'a, events: PollEvents) -> Result<(), PollError> {
        if self.entries.contains_key(&key) {
            return Err(PollError::Taken);
        }
        let number = self.next;
        let added = epoll::add(self.set.get_ref(), &fd, EventData::new_u64(number), events.to_flags());
        let always = match added {
            Ok(()) => false,
            Err(Errno::PERM) => true,
            Err(error) => return Err(PollError::System(error.into())),
        };
        self.next += 1;
        self.keys.insert(number, key.clone());
        self.entries.insert(key, Entry { fd: Box::new(fd), number, events, always });
        Ok(())
    }

    /// Changes what one wants to know of a descriptor.
    ///
    /// # Errors
    /// [`PollError::Unknown`] if there is none of that key; `System`.
    pub fn modify(&mut self, key: &K, events: PollEvents) -> Result<(), PollError> {
        let entry = self.entries.get_mut(key).ok_or(PollError::Unknown)?;
        if !entry.always {
            let data = EventData::new_u64(entry.number);
            epoll::modify(self.set.get_ref(), &*entry.fd, data, events.to_flags())
                .map_err(|error| PollError::System(error.into()))?;
        }
        entry.events = events;
        Ok(())
    }

    /// Takes a descriptor out, and drops what was given for it.
    ///
    /// # Errors
    /// [`PollError::Unknown`] if there is none of that key.
    pub fn unregister(&mut self, key: &K) -> Result<(), PollError> {
        let entry = self.entries.remove(key).ok_or(PollError::Unknown)?;
        self.keys.remove(&entry.number);
        if !entry.always {
            // It is in there, unless the process was forked.
            let _ = epoll::delete(self.set.get_ref(), &*entry.fd);
        }
        Ok(())
    }

    /// How many descriptors there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Waits until at least one of them is ready, for at most `timeout`, and tells of all that are, up to 256. Empty: none was in time.
    ///
    /// `None` waits for ever, zero only looks. Levels are told, not edges: what is ready and left so is told again. The other greenlets get a
    /// turn at least once, also if something is ready at once. A kill or timeout unwinds from here.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll(&mut self, timeout: Option<Duration>) -> io::Result<Vec<(K, PollEvents)>> {
        yield_now();
        let mut ready: Vec<_> = self.entries.iter().filter_map(|(key, entry)| entry.at_once(key)).collect();
        let timeout = if ready.is_empty() { timeout } else { Some(Duration::ZERO) };
        let told = |set: &OwnedFd| {
            let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; BATCH];
            match epoll::wait(set, &mut space, Some(&AT_ONCE))? {
                ([], _) => Err(io::ErrorKind::WouldBlock.into()),
                (events, _) => Ok(events.iter().map(|event| (event.data.u64(), event.flags)).collect()),
            }
        };
        let told: Vec<_> = match timeout {
            Some(Duration::ZERO) => {
                told(self.set.get_ref()).or_else(|error| nothing(error, io::ErrorKind::WouldBlock))?
            }
            timeout => self
                .set
                .io(Direction::Read, timeout, told)
                .or_else(|error| nothing(error, io::ErrorKind::TimedOut))?,
        };
        let known = told
            .into_iter()
            .filter_map(|(number, flags)| Some((self.keys.get(&number)?.clone(), PollEvents::of(flags))));
        ready.extend(known);
        Ok(ready)
    }
}

/// Whether that error says that none is ready.
fn nothing<T>(error: io::Error, kind: io::ErrorKind) -> io::Result<Vec<T>> {
    if error.kind() == kind { Ok(Vec::new()) } else { Err(error) }
}

impl Entry<'_> {
    fn at_once<K: Clone>(&self, key: &K) -> Option<(K, PollEvents)> {
        let asked = PollEvents(self.events.0 & (PollEvents::READ | PollEvents::WRITE).0);
        (self.always && !asked.is_empty()).then(|| (key.clone(), asked))
    }
}

impl<K: fmt::Debug> fmt::Debug for Poll<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.iter().map(|(key, entry)| (key, entry.events));
        f.debug_map().entries(entries).finish()
    }
}
