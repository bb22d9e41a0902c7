//! What the monitor has to tell.

use std::fmt;
use std::time::Duration;

use super::{Backtrace, ThreadState};
use crate::greenlet::GreenletRef;
use crate::hub::HubHandle;

/// Something that the monitor noticed, given to [subscribers](super::subscribe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The monitor's thread begins to watch.
    Started,
    /// A hub has not switched for longer than the limit. Told again, ever more rarely, while it goes on.
    Blocked(Blocked),
    /// The process uses more memory than it may: told the first time, and again whenever it has grown since.
    MemoryExceeded {
        /// Resident bytes.
        used: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// It uses no more than it may again.
    MemoryUnder {
        /// Resident bytes.
        used: u64,
        /// The limit, in bytes.
        limit: u64,
    },
}

/// A hub that does not switch: something on its thread computes, or waits in a way that blocks the thread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Blocked {
    /// The hub. Its [`metrics`](HubHandle::metrics) can be read while it is blocked.
    pub hub: HubHandle,
    /// The greenlet that blocks it. `None`: a callback of the loop does, or the thread could not be asked.
    pub greenlet: Option<GreenletRef>,
    /// For how long at least, up to now.
    pub duration: Duration,
    /// Whether, and in which system call, the thread waits.
    pub thread: ThreadState,
    /// Where the thread stands: the frames of the greenlet. Empty if the thread could not be asked.
    pub backtrace: Backtrace,
}

/// Who blocks which hub for how long, and where: several lines.
impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Blocked { hub, greenlet, duration, thread, backtrace } = self;
        match greenlet {
            Some(greenlet) => write!(f, "{greenlet}, spawned at {},", greenlet.spawn_site())?,
            None if !backtrace.is_empty() => f.write_str("a callback of the loop")?,
            None => f.write_str("something")?,
        }
        write!(f, " appears to block hub {}", hub.id())?;
        if !hub.name().is_empty() {
            write!(f, " ({})", hub.name())?;
        }
        write!(f, ": no switch for {duration:.3?}; the thread is {thread}")?;
        if !backtrace.is_empty() {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Started => f.write_str("the monitor watches this process"),
            Notice::Blocked(blocked) => fmt::Display::fmt(blocked, f),
            Notice::MemoryExceeded { used, limit } => {
                write!(f, "the process uses {used} bytes of memory, more than the {limit} that it may")
            }
            Notice::MemoryUnder { used, limit } => {
                write!(f, "the process uses {used} bytes of memory again, within the {limit} that it may")
            }
        }
    }
}
