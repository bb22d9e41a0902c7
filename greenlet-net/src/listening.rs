//! What the clones of a listener share, whatever kind of socket it has.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::io::{Direction, Source};
use rustix::net::SocketAddrAny;
use socket2::SockRef;

use crate::TcpListener;
use crate::socket::{Ends, Socket};
use crate::unix::SocketFile;

/// A socket that listens.
#[derive(Debug)]
pub struct Listening {
    source: Source<Socket>,
    /// Removed when the last clone is dropped.
    file: Option<SocketFile>,
}

impl Listening {
    pub(crate) fn new(socket: Socket) -> Arc<Listening> {
        Listening::with_file(socket, None)
    }

    pub(crate) fn with_file(socket: Socket, file: Option<SocketFile>) -> Arc<Listening> {
        Arc::new(Listening { source: Source::new(socket), file })
    }

    pub(crate) fn socket(&self) -> &Socket {
        self.source.get_ref()
    }

    pub(crate) fn options(&self) -> SockRef<'_> {
        self.socket().options()
    }

    /// The descriptor in blocking mode, if nobody else has it.
    pub(crate) fn into_fd(listening: Arc<Listening>) -> io::Result<OwnedFd> {
        let listening = Arc::try_unwrap(listening).map_err(|_| has_clones())?;
        // std's listener leaves its file.
        std::mem::forget(listening.file);
        listening.source.into_inner().release()
    }

    /// The next connection that was not aborted before it got here.
    pub(crate) fn accept(&self, limit: Option<Duration>) -> io::Result<(Socket, Option<SocketAddrAny>)> {
        match self.source.io(Direction::Read, limit, accept_unaborted) {
            // The system says "invalid argument" to somebody who gets there in the middle of `close`.
            Err(_) if self.source.is_closed() => Err(closed()),
            accepted => accepted,
        }
    }

    /// As `accept`, for servers with a limit: before each try `admit` is asked for a place. Without one nothing is accepted, and this returns
    /// `None`; a place for which there was no connection is dropped.
    pub(crate) fn accept_if<P>(
        &self,
        mut admit: impl FnMut() -> Option<P>,
    ) -> io::Result<Option<(Socket, Option<SocketAddrAny>, P)>> {
        let accepted = self.source.io(Direction::Read, None, |listener| match admit() {
            Some(place) => accept_unaborted(listener).map(|(socket, peer)| Some((socket, peer, place))),
            None => Ok(None),
        });
        match accepted {
            Err(_) if self.source.is_closed() => Err(closed()),
            accepted => accepted,
        }
    }

    /// The same socket with a place of its own to wait, for another hub. It leaves the file alone.
    pub(crate) fn duplicate(&self) -> io::Result<Arc<Listening>> {
        Ok(Listening::new(Socket::adopt(self.socket().as_fd().try_clone_to_owned()?)?))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.source.is_closed()
    }

    pub(crate) fn close(&self) {
        self.source.close();
        // It fails where a listener cannot be shut down; there it ends with its descriptor.
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    pub(crate) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().debug(name, Ends::Ours, f)
    }
}

fn accept_unaborted(listener: &Socket) -> io::Result<(Socket, Option<SocketAddrAny>)> {
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

/// What has connections to accept: [`TcpListener`] and [`UnixListener`](crate::UnixListener).
pub trait Accepts {
    /// What it accepts.
    type Connection;

    /// `None`: it was closed.
    fn accept_next(&self) -> Option<io::Result<Self::Connection>>;
}

/// The connections of a listener: see [`TcpListener::incoming`] and [`UnixListener::incoming`](crate::UnixListener::incoming).
#[derive(Debug)]
pub struct Incoming<'a, L = TcpListener> {
    listener: &'a L,
}

impl<L> Incoming<'_, L> {
    pub(crate) fn of(listener: &L) -> Incoming<'_, L> {
        Incoming { listener }
    }
}

impl<L: Accepts> Iterator for Incoming<'_, L> {
    type Item = io::Result<L::Connection>;

    fn next(&mut self) -> Option<io::Result<L::Connection>> {
        self.listener.accept_next()
    }
}

impl<L: Accepts> FusedIterator for Incoming<'_, L> {}

/// Makes a struct with a field `listening: Arc<Listening>` a listener: std's methods and traits.
macro_rules! listener {
    ($Listener:ident, std: $Std:ty, accepts: $Stream:ident, address: $Address:ty) => {
        impl $Listener {
            /// Takes over a listener of std's, and sets its descriptor to non-blocking mode.
            ///
            /// # Errors
            /// What the system says to that.
            pub fn from_std(listener: $Std) -> io::Result<$Listener> {
                let socket = crate::socket::Socket::adopt(listener.into())?;
                Ok($Listener { listening: crate::listening::Listening::new(socket) })
            }

            /// Gives the listener back as std's, in blocking mode.
            ///
            /// # Errors
            /// `ResourceBusy` if there are clones, which cannot wait on a descriptor in blocking mode; what the system says to
            /// the change of mode.
            pub fn into_std(self) -> io::Result<$Std> {
                crate::listening::Listening::into_fd(self.listening).map(<$Std>::from)
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
            /// - `NotConnected` if the listener was [closed](Self::close).
            pub fn accept(&self) -> io::Result<($Stream, $Address)> {
                self.accept_within(None)
            }

            /// As [`accept`](Self::accept), waiting for at most `timeout`. With zero it takes one that is there already.
            ///
            /// # Errors
            /// As `accept`; `TimedOut`.
            pub fn accept_timeout(&self, timeout: std::time::Duration) -> io::Result<($Stream, $Address)> {
                self.accept_within(Some(timeout))
            }

            fn accept_within(&self, limit: Option<std::time::Duration>) -> io::Result<($Stream, $Address)> {
                let (socket, peer) = self.listening.accept(limit)?;
                let stream = $Stream::from_connection(crate::connection::Connection::new(socket));
                Ok((stream, crate::address::from_any(peer)?))
            }

            /// As [`accept`](Self::accept), for servers with a limit: see `Listening::accept_if`.
            pub(crate) fn accept_if<P>(
                &self,
                admit: impl FnMut() -> Option<P>,
            ) -> io::Result<Option<($Stream, $Address, P)>> {
                let Some((socket, peer, place)) = self.listening.accept_if(admit)? else { return Ok(None) };
                let stream = $Stream::from_connection(crate::connection::Connection::new(socket));
                Ok(Some((stream, crate::address::from_any(peer)?, place)))
            }

            pub(crate) fn is_closed(&self) -> bool {
                self.listening.is_closed()
            }

            /// A listener on the same socket with a place of its own to wait, for another hub.
            pub(crate) fn duplicate(&self) -> io::Result<$Listener> {
                Ok($Listener { listening: self.listening.duplicate()? })
            }

            /// An iterator that [accepts](Self::accept) until the listener is [closed](Self::close). It goes on after other
            /// errors.
            pub fn incoming(&self) -> crate::Incoming<'_, $Listener> {
                crate::Incoming::of(self)
            }

            /// Stops listening, for all clones: whoever waits in [`accept`](Self::accept), here or on other threads, gets an
            /// error, and so does every later call; [`incoming`](Self::incoming) ends. Peers whose connection was not accepted
            /// are reset, and new ones refused.
            ///
            /// Does not suspend. The descriptor is given back when the last clone is dropped.
            pub fn close(&self) {
                self.listening.close();
            }

            /// Another handle to the same listener: same descriptor, same place to wait.
            ///
            /// # Errors
            /// None; the signature is std's.
            pub fn try_clone(&self) -> io::Result<$Listener> {
                Ok($Listener { listening: self.listening.clone() })
            }

            /// The address that it listens on.
            ///
            /// # Errors
            /// What the system says.
            pub fn local_addr(&self) -> io::Result<$Address> {
                crate::address::get(self.listening.options().local_addr()?)
            }

            /// Takes the error that is pending on the socket, if there is one.
            ///
            /// # Errors
            /// What the system says.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.listening.options().take_error()
            }
        }

        impl crate::listening::Accepts for $Listener {
            type Connection = $Stream;

            fn accept_next(&self) -> Option<io::Result<$Stream>> {
                match self.accept() {
                    Err(_) if self.listening.is_closed() => None,
                    accepted => Some(accepted.map(|(stream, _)| stream)),
                }
            }
        }

        crate::socket::std_socket!($Listener, std: $Std, field: listening);
    };
}

pub(crate) use listener;
