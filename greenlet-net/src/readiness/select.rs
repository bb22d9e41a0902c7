//! Several descriptors, once.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use greenlet_core::yield_now;
use rustix::event::PollFlags;

use super::{Asked, wait_for_any};

/// What [`select()`] found ready: positions in the lists that it was given. All empty: nothing was in time.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Selected {
    /// Those that can be read without blocking, or have come to an end or an error.
    pub read: Vec<usize>,
    /// Those that can be written without blocking, or have come to an error.
    pub write: Vec<usize>,
    /// Those with an exceptional condition: urgent data on a TCP connection.
    pub except: Vec<usize>,
}

impl Selected {
    /// Whether nothing is ready.
    pub fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty() && self.except.is_empty()
    }
}

/// Waits until at least one of some descriptors is ready, for at most `timeout`, and tells of all that are: `select(2)`.
///
/// `None` waits for ever, and zero only looks. Works with everything that can be polled, as [`wait_read`](crate::wait_read); regular files are
/// always ready. A descriptor may be in several lists. The other greenlets get a turn at least once, also if something is ready at once. A
/// kill or timeout unwinds from here. For the same descriptors again and again there is [`Poll`](crate::Poll); for queues, events and the like
/// [`select!`](greenlet_core::select!).
///
/// # Errors
/// What the system says: `EBADF`, or no descriptor left for watching.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{UdpSocket, UnixStream, select};
/// use std::{io::Write, time::Duration};
///
/// let (ours, theirs) = UnixStream::pair()?;
/// let udp = UdpSocket::bind("127.0.0.1:0")?;
/// spawn(move || (&theirs).write_all(b"x").unwrap());
/// let ready = select(&[&udp, &ours], &[], &[], Some(Duration::from_secs(5)))?;
/// assert_eq!(ready.read, [1]); // not the socket of UDP
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn select(
    read: &[&dyn AsFd],
    write: &[&dyn AsFd],
    except: &[&dyn AsFd],
    timeout: Option<Duration>,
) -> io::Result<Selected> {
    yield_now();
    let lists = [(read, PollFlags::IN), (write, PollFlags::OUT), (except, PollFlags::PRI)];
    let all = lists.iter().flat_map(|(fds, wanted)| fds.iter().map(|fd| Asked::new(fd.as_fd(), *wanted)));
    let mut asked: Vec<Asked<'_>> = all.collect();
    wait_for_any(&mut asked, timeout)?;
    let (read, rest) = asked.split_at(read.len());
    let (write, except) = rest.split_at(write.len());
    // As select(2): a hang-up is an end of reading, an error is told to whoever reads or writes.
    Ok(Selected {
        read: positions(read, PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
        write: positions(write, PollFlags::OUT | PollFlags::HUP | PollFlags::ERR),
        except: positions(except, PollFlags::PRI),
    })
}

fn positions(asked: &[Asked<'_>], ready: PollFlags) -> Vec<usize> {
    let found = asked.iter().enumerate().filter(|(_, asked)| asked.found.intersects(ready));
    found.map(|(position, _)| position).collect()
}
