//! Accepting connections.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use greenlet_core::io::{Direction, Source};
use socket2::SockRef;

use super::{ListenOptions, TcpStream};

/// Listens for connections: [`std::net::TcpListener`] for greenlets.
///
/// [`accept`](TcpListener::accept) suspends the calling greenlet only. One greenlet at a time may wait in it. The
/// listener is closed when it and its clones are dropped, or by [`close`](TcpListener::close).
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let client = spawn(move || TcpStream::connect(address).unwrap().local_addr().unwrap());
/// let (_stream, peer) = listener.accept()?; // the client runs while this waits
/// assert_eq!(client.get()?, peer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TcpListener {
    listening: Arc<Listening>,
}

/// What the clones of a listener share.
struct Listening {
    source: Source<StdListener>,
}

impl TcpListener {
    /// Listens on the first of the addresses that can be had, with the options that [`ListenOptions`] has by default:
    /// a backlog of 1024, and `SO_REUSEADDR` as std. Port 0 lets the system choose one.
    ///
    /// A name is resolved by std, which blocks the thread; a numeric address is not looked up.
    ///
    /// # Errors
    /// What resolving the name failed with, or an [`AddressError`](crate::AddressError) that names the addresses tried.
    pub fn bind<A: ToSocketAddrs>(addresses: A) -> io::Result<TcpListener> {
        ListenOptions::new().bind(addresses)
    }

    pub(super) fn from_source(source: Source<StdListener>) -> TcpListener {
        TcpListener { listening: Arc::new(Listening { source }) }
    }

    fn std(&self) -> &StdListener {
        self.listening.source.get_ref()
    }

    /// Takes over a listener of std's, and sets its descriptor to non-blocking mode.
    ///
    /// # Errors
    /// What the system says to that.
    pub fn from_std(listener: StdListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener::from_source(Source::new(listener)))
    }

    /// Gives the listener back as std's, in blocking mode.
    ///
    /// # Errors
    /// `ResourceBusy` if there are clones, which cannot wait on a descriptor in blocking mode; what the system says to the
    /// change of mode.
    pub fn into_std(self) -> io::Result<StdListener> {
        let listening = Arc::try_unwrap(self.listening).map_err(|_| has_clones())?;
        let listener = listening.source.into_inner();
        listener.set_nonblocking(false)?;
        Ok(listener)
    }

    /// Waits for a connection, and returns it with the peer's address.
    ///
    /// Suspends the greenlet if there is none yet, and every 32 connections to let others run. A kill or timeout
    /// unwinds it from here; connections that come later wait for the next call. Connections that were aborted before
    /// they were accepted are skipped.
    ///
    /// # Errors
    /// - What the system says, for example `EMFILE` when the process has too many descriptors: the connection stays
    ///   in the backlog, and the next call finds it (pause before it: the error returns at once).
    /// - `ResourceBusy` if another greenlet waits in `accept`.
    /// - `NotConnected` if the listener was [closed](TcpListener::close).
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let source = &self.listening.source;
        match source.io(Direction::Read, None, accept_unaborted) {
            Ok((stream, peer)) => Ok((TcpStream::from_std(stream)?, peer)),
            // The system says "invalid argument" to somebody who gets there in the middle of `close`.
            Err(_) if source.is_closed() => Err(closed()),
            Err(error) => Err(error),
        }
    }

    /// As [`accept`](TcpListener::accept), for servers with a limit: before each try `admit` is asked for a place. Without one nothing is
    /// accepted, and this returns `None`; a place for which there was no connection is dropped.
    pub(crate) fn accept_if<P>(
        &self,
        mut admit: impl FnMut() -> Option<P>,
    ) -> io::Result<Option<(TcpStream, SocketAddr, P)>> {
        let source = &self.listening.source;
        let accepted = source.io(Direction::Read, None, |listener| match admit() {
            Some(place) => accept_unaborted(listener).map(|(stream, peer)| Some((stream, peer, place))),
            None => Ok(None),
        });
        match accepted {
            Ok(None) => Ok(None),
            Ok(Some((stream, peer, place))) => Ok(Some((TcpStream::from_std(stream)?, peer, place))),
            Err(_) if source.is_closed() => Err(closed()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.listening.source.is_closed()
    }

    /// A listener on the same socket with a place of its own to wait, for another hub.
    pub(crate) fn duplicate(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.std().try_clone()?)
    }

    /// An iterator that [accepts](TcpListener::accept) until the listener is [closed](TcpListener::close). It goes on
    /// after other errors.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Stops listening, for all clones: whoever waits in [`accept`](TcpListener::accept), here or on other threads, gets
    /// an error, and so does every later call; [`incoming`](TcpListener::incoming) ends. Peers whose connection was not
    /// accepted are reset, and new ones refused.
    ///
    /// Does not suspend. The descriptor is given back when the last clone is dropped.
    pub fn close(&self) {
        self.listening.source.close();
        // It fails where a listener cannot be shut down; there it ends with its descriptor.
        let _ = SockRef::from(self.std()).shutdown(Shutdown::Both);
    }

    /// Another handle to the same listener: same descriptor, same place to wait.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener { listening: self.listening.clone() })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.std().local_addr()
    }

    /// The time to live of the packets that it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn ttl(&self) -> io::Result<u32> {
        self.std().ttl()
    }

    /// Sets the time to live of the packets that it sends, in hops.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.std().set_ttl(ttl)
    }

    /// Takes the error that is pending on the socket, if there is one.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.std().take_error()
    }
}

fn accept_unaborted(listener: &StdListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    loop {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            accepted => return accepted,
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the listener was closed")
}

fn has_clones() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "the listener has clones: drop them first")
}

/// The connections of a [`TcpListener`]: see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        match self.listener.accept() {
            Err(_) if self.listener.listening.source.is_closed() => None,
            accepted => Some(accepted.map(|(stream, _)| stream)),
        }
    }
}

impl FusedIterator for Incoming<'_> {}

impl TryFrom<StdListener> for TcpListener {
    type Error = io::Error;

    /// [`TcpListener::from_std`].
    fn try_from(listener: StdListener) -> io::Result<TcpListener> {
        TcpListener::from_std(listener)
    }
}

impl TryFrom<TcpListener> for StdListener {
    type Error = io::Error;

    /// [`TcpListener::into_std`].
    fn try_from(listener: TcpListener) -> io::Result<StdListener> {
        listener.into_std()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.std().as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.std().as_raw_fd()
    }
}

/// As std's.
impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.std(), f)
    }
}
