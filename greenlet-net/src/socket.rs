//! A non-blocking socket: the system calls, and nothing of greenlets.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};

/// What connections, listeners and sockets of datagrams are made of. Non-blocking, closed on `exec`, and never the cause of a
/// SIGPIPE.
#[derive(Debug)]
pub struct Socket(OwnedFd);

/// Whose addresses are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Ours,
    Both,
}

/// Keeps SIGPIPE away call by call; on Apple's systems the socket itself is set so.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// How many buffers the system takes in one call (`IOV_MAX`).
const MOST_BUFFERS: usize = 1024;

impl Socket {
    pub(crate) fn new(domain: Domain, ty: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
        let socket = socket2::Socket::new(domain, ty, protocol)?;
        socket.set_nonblocking(true)?;
        Ok(Socket(socket.into()))
    }

    /// Takes over a descriptor, and sets it to non-blocking mode.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<Socket> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Socket(fd))
    }

    /// Sets it to blocking mode, and gives it away.
    pub(crate) fn release(self) -> io::Result<OwnedFd> {
        rustix::io::ioctl_fionbio(&self.0, false)?;
        Ok(self.0)
    }

    /// For everything that is done by name: options, addresses, binding.
    pub(crate) fn options(&self) -> SockRef<'_> {
        SockRef::from(&self.0)
    }

    /// A connection that waited, and where it comes from.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Option<SocketAddrAny>)> {
        #[cfg(not(target_vendor = "apple"))]
        {
            use rustix::net::SocketFlags;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (fd, peer) = rustix::net::acceptfrom_with(&self.0, flags)?;
            Ok((Socket(fd), peer))
        }
        #[cfg(target_vendor = "apple")]
        {
            let (accepted, peer) = self.options().accept()?;
            let peer = SocketAddrAny::try_from(peer).ok();
            Ok((Socket::adopt(accepted.into())?, peer))
        }
    }

    /// As std's sockets: the addresses of this end and, where it is wished, of the other one.
    pub(crate) fn debug(&self, name: &str, ends: Ends, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct(name);
        let mut address = |name, address: io::Result<SockAddr>| {
            if let Some(address) = address.ok().and_then(|address| crate::address::of_system(address).ok()) {
                f.field(name, &format_args!("{address}"));
            }
        };
        address("addr", self.options().local_addr());
        if ends == Ends::Both {
            address("peer", self.options().peer_addr());
        }
        f.field("fd", &self.0.as_raw_fd()).finish()
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.options().shutdown(how)
    }

    pub(crate) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.0, buffer, RecvFlags::PEEK)?.0)
    }

    pub(crate) fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let buffers = some_of(buffers, buffers.iter().position(|buffer| !buffer.is_empty()));
        Ok(rustix::net::sendmsg(&self.0, buffers, &mut Default::default(), NO_SIGNAL)?)
    }
}

/// As many buffers as the system takes, from the first one on that is not empty: empty ones alone would look like an end.
fn some_of<T>(buffers: &[T], first: Option<usize>) -> &[T] {
    let from = &buffers[first.unwrap_or(0)..];
    &from[..from.len().min(MOST_BUFFERS)]
}

impl Read for &Socket {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.0, buffer, RecvFlags::empty())?.0)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        // The call itself takes no more than the system does.
        let first = buffers.iter().position(|buffer| !buffer.is_empty()).unwrap_or(0);
        Ok(rustix::io::readv(&self.0, &mut buffers[first..])?)
    }
}

impl Write for &Socket {
    #[inline]
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.0, buffer, NO_SIGNAL)?)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What std's types and ours have in common, for a struct whose field is a [`Connection`](crate::connection::Connection) or its kin: conversions both
/// ways, the descriptor, and a `Debug` as std's.
macro_rules! std_socket {
    ($Socket:ident, std: $Std:ty, field: $field:ident) => {
        impl TryFrom<$Std> for $Socket {
            type Error = std::io::Error;

            /// [`from_std`](Self::from_std).
            fn try_from(socket: $Std) -> std::io::Result<$Socket> {
                $Socket::from_std(socket)
            }
        }

        impl TryFrom<$Socket> for $Std {
            type Error = std::io::Error;

            /// `into_std`.
            fn try_from(socket: $Socket) -> std::io::Result<$Std> {
                socket.into_std()
            }
        }

        impl std::os::fd::AsFd for $Socket {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.$field.socket().as_fd()
            }
        }

        impl std::os::fd::AsRawFd for $Socket {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsFd::as_fd(self).as_raw_fd()
            }
        }

        /// As std's.
        impl std::fmt::Debug for $Socket {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.$field.debug(stringify!($Socket), f)
            }
        }
    };
}

pub(crate) use std_socket;
