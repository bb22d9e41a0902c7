//! Connections as they arrive, and what handlers take and return.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::os::unix::net::SocketAddr as UnixAddress;
use std::sync::Arc;
use std::time::Duration;

use super::acceptor::{self, Arrival, Arrivals, BoxError};
use super::endpoint::{Endpoint, ListenSettings};
use super::life::Door;
use super::settings::Place;
use crate::{Address, Stream, TcpListener, TcpStream, UnixListener, UnixStream};

/// A socket that a [`StreamServer`](super::StreamServer) accepts from.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted, before the handler's type of it is made.
#[derive(Debug)]
pub enum Connection {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream, UnixAddress),
}

/// What a handler can serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinds {
    Tcp,
    Unix,
    /// Connections of any kind.
    Any,
    Datagrams,
}

impl Listener {
    /// A listener for each of so many hubs: each with a socket of its own where that goes, else with a place of its own to wait at the same one.
    pub(super) fn listen(
        endpoint: Endpoint,
        kinds: Kinds,
        options: &ListenSettings,
        hubs: usize,
    ) -> io::Result<Vec<Listener>> {
        endpoint.check(kinds)?;
        let (first, again) = endpoint.listen(options)?;
        let mut all = vec![first];
        while all.len() < hubs {
            let next = match &again {
                Some(again) => Listener::Tcp(again.listen(&options.tcp)?),
                None => all[0].duplicate()?,
            };
            all.push(next);
        }
        Ok(all)
    }

    /// The same socket with a place of its own to wait.
    fn duplicate(&self) -> io::Result<Listener> {
        match self {
            Listener::Tcp(listener) => listener.duplicate().map(Listener::Tcp),
            Listener::Unix(listener) => listener.duplicate().map(Listener::Unix),
        }
    }
}

impl Listener {
    pub(super) fn local_address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(Address::Ip),
            Listener::Unix(listener) => listener.local_addr().map(Address::Unix),
        }
    }
}

/// A listener, and what is set on what it accepts.
pub(super) struct Connections {
    pub(super) listener: Listener,
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
}

impl Arrivals for Connections {
    type Item = Connection;

    fn next(&self, admit: &mut dyn FnMut() -> Option<Place>) -> io::Result<Option<(Connection, Place)>> {
        let accepted = match &self.listener {
            Listener::Tcp(listener) => {
                listener.accept_if(admit)?.map(|(stream, peer, place)| (Connection::Tcp(stream, peer), place))
            }
            Listener::Unix(listener) => listener
                .accept_if(admit)?
                .map(|(stream, peer, place)| (Connection::Unix(stream, peer), place)),
        };
        if let Some((connection, _)) = &accepted {
            let stream = connection.stream();
            stream.set_read_timeout(self.read_timeout)?;
            stream.set_write_timeout(self.write_timeout)?;
        }
        Ok(accepted)
    }

    fn is_closed(&self) -> bool {
        match &self.listener {
            Listener::Tcp(listener) => listener.is_closed(),
            Listener::Unix(listener) => listener.is_closed(),
        }
    }
}

impl Door for Connections {
    fn shut(&self) {
        match &self.listener {
            Listener::Tcp(listener) => listener.close(),
            Listener::Unix(listener) => listener.close(),
        }
    }
}

impl Connection {
    fn stream(&self) -> &dyn Stream {
        match self {
            Connection::Tcp(stream, _) => stream,
            Connection::Unix(stream, _) => stream,
        }
    }
}

impl Arrival for Connection {
    fn peer(&self) -> Address {
        match self {
            Connection::Tcp(_, peer) => Address::Ip(*peer),
            Connection::Unix(_, peer) => Address::Unix(peer.clone()),
        }
    }

    fn ip(&self) -> Option<IpAddr> {
        match self {
            Connection::Tcp(_, peer) => Some(peer.ip().to_canonical()),
            Connection::Unix(..) => None,
        }
    }

    type Closer = Closer;

    fn closer(&self) -> Closer {
        match self {
            Connection::Tcp(stream, _) => Closer::Tcp(stream.share()),
            Connection::Unix(stream, _) => Closer::Unix(stream.share()),
        }
    }

    fn ender(&self) -> Box<dyn FnOnce() + Send> {
        match self {
            Connection::Tcp(stream, _) => {
                let stream = stream.share();
                Box::new(move || stream.close())
            }
            Connection::Unix(stream, _) => {
                let stream = stream.share();
                Box::new(move || stream.close())
            }
        }
    }
}

/// Ends the connection when it is dropped, whoever holds it still.
pub(super) enum Closer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Drop for Closer {
    fn drop(&mut self) {
        match self {
            // The last handle closes it anyway.
            Closer::Tcp(stream) if stream.is_shared() => stream.close(),
            Closer::Unix(stream) if stream.is_shared() => stream.close(),
            Closer::Tcp(_) | Closer::Unix(_) => {}
        }
    }
}

/// What a handler of connections may take: it decides what the server can listen on.
///
/// | stream | peer | |
/// |---|---|---|
/// | [`TcpStream`] | [`SocketAddr`] | TCP |
/// | [`UnixStream`] | [`std::os::unix::net::SocketAddr`] | Unix sockets |
/// | `Arc<dyn Stream>` | [`Address`] | whatever it is told to listen on |
pub trait Accepted: sealed::Kind {}

mod sealed {
    #[cfg(feature = "tls")]
    use std::{io, time::Duration};

    use super::{Connection, Kinds};

    pub trait Kind: Sized + 'static {
        /// The address of the other end.
        type Peer: std::fmt::Debug + 'static;

        #[doc(hidden)]
        const KINDS: Kinds;

        #[doc(hidden)]
        fn take(connection: Connection) -> Option<(Self, Self::Peer)>;

        /// For reading and writing.
        #[cfg(feature = "tls")]
        #[doc(hidden)]
        fn timeouts(&self) -> io::Result<(Option<Duration>, Option<Duration>)>;
    }
}

pub(super) use sealed::Kind;

impl Accepted for TcpStream {}

impl Kind for TcpStream {
    type Peer = SocketAddr;
    const KINDS: Kinds = Kinds::Tcp;

    fn take(connection: Connection) -> Option<(TcpStream, SocketAddr)> {
        match connection {
            Connection::Tcp(stream, peer) => Some((stream, peer)),
            Connection::Unix(..) => None,
        }
    }

    #[cfg(feature = "tls")]
    fn timeouts(&self) -> io::Result<(Option<Duration>, Option<Duration>)> {
        Ok((self.read_timeout()?, self.write_timeout()?))
    }
}

impl Accepted for UnixStream {}

impl Kind for UnixStream {
    type Peer = UnixAddress;
    const KINDS: Kinds = Kinds::Unix;

    fn take(connection: Connection) -> Option<(UnixStream, UnixAddress)> {
        match connection {
            Connection::Unix(stream, peer) => Some((stream, peer)),
            Connection::Tcp(..) => None,
        }
    }

    #[cfg(feature = "tls")]
    fn timeouts(&self) -> io::Result<(Option<Duration>, Option<Duration>)> {
        Ok((self.read_timeout()?, self.write_timeout()?))
    }
}

impl Accepted for Arc<dyn Stream> {}

impl Kind for Arc<dyn Stream> {
    type Peer = Address;
    const KINDS: Kinds = Kinds::Any;

    fn take(connection: Connection) -> Option<(Arc<dyn Stream>, Address)> {
        match connection {
            Connection::Tcp(stream, peer) => Some((Arc::new(stream), peer.into())),
            Connection::Unix(stream, peer) => Some((Arc::new(stream), peer.into())),
        }
    }

    #[cfg(feature = "tls")]
    fn timeouts(&self) -> io::Result<(Option<Duration>, Option<Duration>)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// For the HTTP server, which serves each kind as what it is.
#[cfg(feature = "http")]
impl Accepted for Connection {}

#[cfg(feature = "http")]
impl Kind for Connection {
    type Peer = Address;
    const KINDS: Kinds = Kinds::Any;

    fn take(connection: Connection) -> Option<(Connection, Address)> {
        let peer = connection.peer();
        Some((connection, peer))
    }

    #[cfg(feature = "tls")]
    fn timeouts(&self) -> io::Result<(Option<Duration>, Option<Duration>)> {
        match self {
            Connection::Tcp(stream, _) => stream.timeouts(),
            Connection::Unix(stream, _) => stream.timeouts(),
        }
    }
}

/// A connection that was accepted within the limits of a server, for who takes it over: see [`StreamServer::taking_over`](super::StreamServer::taking_over).
///
/// It is its stream, by [`Deref`], and closes it when it is dropped, whoever has a clone.
#[derive(Debug)]
#[must_use = "dropped, it closes the connection"]
pub struct Admitted<S: Accepted> {
    // The fields are private, lest a closure that uses the stream captures the stream alone.
    stream: S,
    peer: S::Peer,
    admission: Admission,
}

/// A connection counts as one at work until this is dropped, which closes it, whoever has a clone.
#[must_use = "dropped, it closes the connection"]
pub struct Admission {
    place: acceptor::Admission<Connection>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        // First of all, since the server has a handle to the connection for as long.
        self.place.ticket.give_back();
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}

impl<S: Accepted> Admitted<S> {
    pub(super) fn new(connection: Connection, place: acceptor::Admission<Connection>) -> Admitted<S> {
        match S::take(connection) {
            Some((stream, peer)) => Admitted { stream, peer, admission: Admission { place } },
            None => unreachable!("the server listens only for what its handler takes"),
        }
    }

    /// The address of the other end.
    pub fn peer(&self) -> &S::Peer {
        &self.peer
    }

    /// The connection, its peer, and its place in the server, which has to be kept for as long as the connection is at work.
    pub fn into_parts(self) -> (S, S::Peer, Admission) {
        (self.stream, self.peer, self.admission)
    }
}

impl<S: Accepted> Deref for Admitted<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.stream
    }
}

impl<S: Accepted> DerefMut for Admitted<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

/// What a handler may return: nothing, or a `Result` of which the error is reported.
///
/// The error may be anything that goes into a `Box<dyn Error + Send + Sync>`, that box itself and strings included.
pub trait Outcome {
    /// As a `Result`.
    ///
    /// # Errors
    /// What the handler failed with.
    fn into_result(self) -> Result<(), BoxError>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<T, E: Into<BoxError>> Outcome for Result<T, E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map(drop).map_err(Into::into)
    }
}
