//! What the clones of a socket of datagrams share, whatever kind it has.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use greenlet_core::io::{Direction, Source, take_part};
use greenlet_core::{Instant, sleep};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketAddrAny};
use socket2::{SockAddr, SockRef};

use crate::socket::{Ends, NO_SIGNAL, Socket};
use crate::timeout::SharedTimeout;

/// A datagram that was received: its bytes are in the buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Received<A> {
    /// How many bytes are in the buffer.
    pub length: usize,
    /// How many bytes were sent. More than `length` if the buffer was too small: the rest is lost.
    pub full_length: usize,
    /// Who sent it.
    pub from: A,
}

impl<A> Received<A> {
    /// Whether the buffer was too small for all of it.
    pub fn is_truncated(&self) -> bool {
        self.full_length > self.length
    }
}

/// A socket of datagrams and how long its calls wait.
#[derive(Debug)]
pub struct Datagrams {
    source: Source<Socket>,
    pub(crate) read_timeout: SharedTimeout,
    pub(crate) write_timeout: SharedTimeout,
    /// Nothing more is received. The system tells who waits, but not by what the call returns.
    receives_no_more: AtomicBool,
}

/// The longest pause between two looks at a full receiver that tells nobody when it has room.
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

impl Datagrams {
    pub(crate) fn new(socket: Socket) -> Arc<Datagrams> {
        Arc::new(Datagrams {
            source: Source::new(socket),
            read_timeout: SharedTimeout::none(),
            write_timeout: SharedTimeout::none(),
            receives_no_more: AtomicBool::new(false),
        })
    }

    pub(crate) fn socket(&self) -> &Socket {
        self.source.get_ref()
    }

    pub(crate) fn options(&self) -> SockRef<'_> {
        self.socket().options()
    }

    /// The descriptor in blocking mode, if nobody else has it.
    pub(crate) fn into_fd(datagrams: Arc<Datagrams>) -> io::Result<OwnedFd> {
        let datagrams = Arc::try_unwrap(datagrams).map_err(|_| has_clones())?;
        datagrams.source.into_inner().release()
    }

    pub(crate) fn recv(
        &self,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> io::Result<Received<Option<SocketAddrAny>>> {
        let operation = |socket: &Socket| self.receive(socket, buffer, flags);
        let received = self.source.io(Direction::Read, self.read_timeout.get(), operation);
        self.unless_closed_at_end(received)
    }

    pub(crate) fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Received<Option<SocketAddrAny>>>> {
        let operation = |socket: &Socket| self.receive(socket, buffer, RecvFlags::empty());
        let received = self.source.poll_io(Direction::Read, context, operation);
        received.map(|received| self.unless_closed_at_end(received))
    }

    /// To the one that it is connected to.
    pub(crate) fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.transmit(|socket| Ok(rustix::net::send(socket, buffer, NO_SIGNAL)?))
    }

    pub(crate) fn send_to(&self, buffer: &[u8], to: &SockAddr) -> io::Result<usize> {
        self.transmit(|socket| send_to(socket, buffer, to))
    }

    pub(crate) fn poll_send_to(
        &self,
        context: &mut Context<'_>,
        buffer: &[u8],
        to: &SockAddr,
    ) -> Poll<io::Result<usize>> {
        let operation = |socket: &Socket| send_to(socket, buffer, to);
        self.source.poll_io(Direction::Write, context, operation).map(|sent| self.unless_closed(sent))
    }

    fn transmit(&self, operation: impl FnMut(&Socket) -> io::Result<usize>) -> io::Result<usize> {
        self.unless_closed(self.source.io(Direction::Write, self.write_timeout.get(), operation))
    }

    /// As `send_to`, where the system does not tell when a receiver that is full has room: between Unix sockets that are not
    /// connected. So it is tried again and again, with pauses.
    pub(crate) fn send_to_and_again(&self, buffer: &[u8], to: &SockAddr) -> io::Result<usize> {
        take_part();
        let limit = self.write_timeout.get();
        let start = Instant::now();
        let mut pause = Duration::from_micros(500);
        loop {
            if self.source.is_closed() {
                return Err(closed());
            }
            match send_to(self.socket(), buffer, to) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return self.unless_closed(sent),
            }
            let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
            if left == Some(Duration::ZERO) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "timed out"));
            }
            sleep(left.unwrap_or(pause).min(pause));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn receive(
        &self,
        socket: &Socket,
        buffer: &mut [u8],
        flags: RecvFlags,
    ) -> io::Result<Received<Option<SocketAddrAny>>> {
        // `TRUNC`: the length of the datagram, not of what fitted.
        match rustix::net::recvfrom(socket, buffer, flags | RecvFlags::TRUNC) {
            Ok((length, full_length, from)) => Ok(Received { length, full_length, from }),
            Err(Errno::AGAIN) if self.receives_no_more.load(Ordering::Acquire) => {
                Ok(Received { length: 0, full_length: 0, from: None })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Write {
            self.receives_no_more.store(true, Ordering::Release);
        }
        self.socket().shutdown(how)
    }

    fn unless_closed<R>(&self, done: io::Result<R>) -> io::Result<R> {
        match done {
            Err(_) if self.source.is_closed() => Err(closed()),
            done => done,
        }
    }

    /// An empty datagram that `close` made is none.
    fn unless_closed_at_end<A>(&self, received: io::Result<Received<A>>) -> io::Result<Received<A>> {
        match received {
            Ok(Received { full_length: 0, .. }) if self.source.is_closed() => Err(closed()),
            received => self.unless_closed(received),
        }
    }

    pub(crate) fn close(&self) {
        self.source.close();
        // Who is blocked in the system itself, from a thread, comes back. It fails if the socket is not connected.
        let _ = self.socket().shutdown(Shutdown::Both);
    }

    pub(crate) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().debug(name, Ends::Ours, f)
    }
}

fn send_to(socket: &Socket, buffer: &[u8], to: &SockAddr) -> io::Result<usize> {
    socket.options().send_to_with_flags(buffer, to, NO_SIGNAL.bits() as i32)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was closed")
}

fn has_clones() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "the socket has clones: drop them first")
}

/// Makes a struct with a field `datagrams: Arc<Datagrams>` a socket of datagrams: what std's kinds have in common.
macro_rules! datagram_socket {
    ($Socket:ident, std: $Std:ty, address: $Address:ty) => {
        impl $Socket {
            /// Takes over a socket of std's, and sets its descriptor to non-blocking mode. Timeouts that were set on it are not
            /// taken over.
            ///
            /// # Errors
            /// What the system says to that.
            pub fn from_std(socket: $Std) -> io::Result<$Socket> {
                let socket = crate::socket::Socket::adopt(socket.into())?;
                Ok($Socket { datagrams: crate::datagrams::Datagrams::new(socket) })
            }

            /// Gives the socket back as std's, in blocking mode and with no timeouts.
            ///
            /// # Errors
            /// `ResourceBusy` if there are clones, which cannot wait on a descriptor in blocking mode; what the system says to
            /// the change of mode.
            pub fn into_std(self) -> io::Result<$Std> {
                crate::datagrams::Datagrams::into_fd(self.datagrams).map(<$Std>::from)
            }

            /// Another handle to the same socket: same descriptor, same timeouts, and the same places to wait.
            ///
            /// # Errors
            /// None; the signature is std's.
            pub fn try_clone(&self) -> io::Result<$Socket> {
                Ok($Socket { datagrams: self.datagrams.clone() })
            }

            /// Receives a datagram, and says from whom. What does not fit into the buffer is lost, silently:
            /// [`recv_message`](Self::recv_message) tells.
            ///
            /// # Errors
            /// See [sending and receiving](Self#sending-and-receiving).
            pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, $Address)> {
                let received = self.recv_message(buffer)?;
                Ok((received.length, received.from))
            }

            /// As [`recv_from`](Self::recv_from), and says how long the datagram was.
            ///
            /// # Errors
            /// As `recv_from`.
            pub fn recv_message(&self, buffer: &mut [u8]) -> io::Result<crate::Received<$Address>> {
                let received = self.datagrams.recv(buffer, rustix::net::RecvFlags::empty())?;
                Self::named(received)
            }

            /// As [`recv_from`](Self::recv_from), and leaves it there: the next call gets the same datagram.
            ///
            /// # Errors
            /// As `recv_from`.
            pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, $Address)> {
                let received = self.peek_message(buffer)?;
                Ok((received.length, received.from))
            }

            /// As [`recv_message`](Self::recv_message), and leaves it there. With an empty buffer it tells the length of the
            /// next datagram.
            ///
            /// # Errors
            /// As `recv_from`.
            pub fn peek_message(&self, buffer: &mut [u8]) -> io::Result<crate::Received<$Address>> {
                let received = self.datagrams.recv(buffer, rustix::net::RecvFlags::PEEK)?;
                Self::named(received)
            }

            fn named(
                received: crate::Received<Option<rustix::net::SocketAddrAny>>,
            ) -> io::Result<crate::Received<$Address>> {
                let crate::Received { length, full_length, from } = received;
                Ok(crate::Received { length, full_length, from: crate::address::from_any(from)? })
            }

            /// Receives a datagram: [`recv_from`](Self::recv_from) for who need not know the sender, as on a connected socket,
            /// which receives from one only.
            ///
            /// # Errors
            /// As `recv_from`.
            pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(self.datagrams.recv(buffer, rustix::net::RecvFlags::empty())?.length)
            }

            /// As [`recv`](Self::recv), and leaves it there.
            ///
            /// # Errors
            /// As `recv_from`.
            pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(self.datagrams.recv(buffer, rustix::net::RecvFlags::PEEK)?.length)
            }

            /// Sends a datagram to the one that the socket is connected to.
            ///
            /// # Errors
            /// See [sending and receiving](Self#sending-and-receiving); what the system says, for example `EMSGSIZE` for one
            /// that is too long, or `ENOTCONN`.
            pub fn send(&self, buffer: &[u8]) -> io::Result<usize> {
                self.datagrams.send(buffer)
            }

            /// [`recv_from`](Self::recv_from) for futures: never suspends, knows no timeout, and wakes the task that polled
            /// last.
            ///
            /// # Errors
            /// As `recv_from`, but for `TimedOut` and `ResourceBusy`; `Unsupported` on a thread without a hub.
            pub fn poll_recv_from(
                &self,
                context: &mut std::task::Context<'_>,
                buffer: &mut [u8],
            ) -> std::task::Poll<io::Result<(usize, $Address)>> {
                self.datagrams.poll_recv(context, buffer).map(|received| {
                    let received = Self::named(received?)?;
                    Ok((received.length, received.from))
                })
            }

            /// Ends the use of the socket for everybody: whoever waits on it, here or on other threads, gets an error, and so
            /// does every later call, of clones too.
            ///
            /// Does not suspend. The descriptor, and with it the address, is given back when the last clone is dropped.
            pub fn close(&self) {
                self.datagrams.close();
            }

            /// The address of this end.
            ///
            /// # Errors
            /// What the system says.
            pub fn local_addr(&self) -> io::Result<$Address> {
                crate::address::get(self.datagrams.options().local_addr()?)
            }

            /// The address that it is connected to.
            ///
            /// # Errors
            /// `NotConnected`, or else what the system says.
            pub fn peer_addr(&self) -> io::Result<$Address> {
                crate::address::get(self.datagrams.options().peer_addr()?)
            }

            /// How long receiving waits: `None` is for ever, as it is without this call. For all clones; calls that wait
            /// already are not affected.
            ///
            /// # Errors
            /// `InvalidInput` for zero.
            pub fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> io::Result<()> {
                self.datagrams.read_timeout.set(timeout)
            }

            /// How long sending waits for room: `None` is for ever, as it is without this call. For all clones; calls that
            /// wait already are not affected.
            ///
            /// # Errors
            /// `InvalidInput` for zero.
            pub fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> io::Result<()> {
                self.datagrams.write_timeout.set(timeout)
            }

            /// The read timeout.
            ///
            /// # Errors
            /// None; the signature is std's.
            pub fn read_timeout(&self) -> io::Result<Option<std::time::Duration>> {
                Ok(self.datagrams.read_timeout.get())
            }

            /// The write timeout.
            ///
            /// # Errors
            /// None; the signature is std's.
            pub fn write_timeout(&self) -> io::Result<Option<std::time::Duration>> {
                Ok(self.datagrams.write_timeout.get())
            }

            /// Takes the error that is pending on the socket, if there is one.
            ///
            /// # Errors
            /// What the system says.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.datagrams.options().take_error()
            }
        }

        crate::socket::std_socket!($Socket, std: $Std, field: datagrams);
    };
}

pub(crate) use datagram_socket;
