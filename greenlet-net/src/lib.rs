//! Cooperative sockets for greenlets: std's shapes, one greenlet suspended per blocking call.
//!
//! [`TcpListener`] and [`TcpStream`] are used like those of [`std::net`]. A call that would block suspends its greenlet,
//! and the others of the thread run on.
//!
//! ```
//! use greenlet_core::spawn;
//! use greenlet_net::{TcpListener, TcpStream};
//! use std::io::{Read, Write, copy};
//! use std::net::Shutdown;
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! let server = spawn(move || {
//!     for stream in listener.incoming() {
//!         // one greenlet for each connection: it sends back what it gets
//!         spawn(move || stream.and_then(|stream| copy(&mut &stream, &mut &stream)));
//!     }
//! });
//!
//! let mut stream = TcpStream::connect(address)?;
//! stream.write_all(b"hello")?;
//! stream.shutdown(Shutdown::Write)?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! assert_eq!(answer, "hello");
//! server.kill(); // unwinds it out of `accept`, and closes the listener
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What to know
//!
//! - **Waiting.** One greenlet may wait for reading and one for writing on a connection at a time; a second one of the
//!   same direction gets an error of kind [`ResourceBusy`](std::io::ErrorKind::ResourceBusy). Clones are one
//!   connection in this respect.
//! - **Ending a wait.** A kill or a [`with_timeout`](greenlet_core::with_timeout) unwinds the greenlet from any call that
//!   waits, and loses nothing: what arrives later is there for the next read. [`TcpStream::close`] and
//!   [`TcpListener::close`] make the calls that wait return an error of kind
//!   [`NotConnected`](std::io::ErrorKind::NotConnected).
//! - **Limits of time.** A read or write timeout is for one call; [`TcpStream::within`] limits all calls of a `write_all` or a line
//!   together, and tells how far they came.
//! - **Threads.** Sockets are `Send` and `Sync`. They may be used from any hub, one after the other or at once, and from
//!   a thread without greenlets, which then just blocks.
//! - **Names** are looked up while the greenlet is suspended ([`ToAddresses`]); numeric addresses are used as they are. A connection is tried
//!   to all addresses of a name, IPv6 and IPv4, without waiting long for one that does not answer ([`TcpStream::connect`]).
//! - **Options** are in [`SocketOptions`]. Those that have no method here are set through [`AsFd`](std::os::fd::AsFd), for example with
//!   `socket2::SockRef::from(&stream)`; those that count before a connection is made, with [`ConnectOptions::before_connect`]. The
//!   descriptor is in non-blocking mode and has to stay so.
//!
//! # Map
//!
//! | | |
//! |---|---|
//! | [`TcpListener`], [`UnixListener`], [`Incoming`], [`ListenOptions`], [`UnixListenOptions`] | accepting connections |
//! | [`TcpStream`], [`UnixStream`], [`ConnectOptions`] | a connection |
//! | [`OwnedReadHalf`], [`OwnedWriteHalf`], [`ReuniteError`] | its two directions, for two greenlets |
//! | [`UdpSocket`], [`UdpOptions`], [`UnixDatagram`], [`Received`] | datagrams |
//! | [`SocketOptions`], [`KeepaliveTimes`] | options of all sockets |
//! | [`Stream`], [`Address`] | what all connections have in common |
//! | [`server`] | servers: a greenlet for each connection or datagram |
//! | `http` | the HTTP server (feature `http`) |
//! | `client` | HTTP calls with ureq (feature `ureq`) |
//! | `tls` | TLS sessions on connections (feature `tls`) |
//! | [`Within`] | a limit of time for several calls together |
//! | [`copy_bidirectional`], [`TcpStream::send_file`] | from one connection or file to another |
//! | [`ToAddresses`], [`Target`], [`AddressError`] | names and addresses, and what failed, address by address |
//! | `websocket` | messages in both directions: RFC 6455, servers and clients (feature `websocket`) |
//! | [`dns`] | names and addresses of hosts |
//! | [`wait_read`], [`wait_write`], [`wait_readwrite`], [`select()`], [`Poll`] | readiness of any descriptor, of several at once |
//! | [`pipe`], [`PipeReader`], [`PipeWriter`], [`stdin`], [`stdout`], [`stderr`] | pipes and the standard descriptors |
//! | [`File`], [`read_file`], [`write_file`], [`tp_read`], [`tp_write`] | files, by the thread pool |
//! | [`mod@process`] | child processes |

#![forbid(unsafe_code)]

mod address;
mod attempts;
#[cfg(feature = "ureq")]
pub mod client;
mod connect;
mod connection;
mod copy;
mod datagrams;
pub mod dns;
mod file;
#[cfg(feature = "http")]
pub mod http;
mod listening;
mod options;
mod pipe;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
mod readiness;
mod requested;
pub mod server;
mod socket;
mod split;
#[cfg(target_os = "linux")]
mod stdio;
mod stream;
mod target;
mod tcp;
mod timeout;
#[cfg(feature = "tls")]
pub mod tls;
mod udp;
mod unix;
#[cfg(feature = "websocket")]
pub mod websocket;
mod within;

pub use address::Address;
pub use attempts::AddressError;
pub use connect::ConnectOptions;
pub use copy::copy_bidirectional;
pub use datagrams::Received;
pub use file::{File, FileOptions, read_file, tp_read, tp_write, write_file};
pub use listening::Incoming;
pub use options::{KeepaliveTimes, SocketOptions};
pub use pipe::{PipeReader, PipeWriter, pipe};
#[cfg(target_os = "linux")]
pub use readiness::{
    Poll, PollError, PollEvents, Readiness, Selected, select, wait_read, wait_readwrite, wait_write,
};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
#[cfg(target_os = "linux")]
pub use stdio::{Stderr, Stdin, Stdout, stderr, stdin, stdout};
pub use stream::Stream;
pub use target::{Target, ToAddresses};
pub use tcp::{ListenOptions, TcpListener, TcpStream};
pub use udp::{UdpOptions, UdpSocket};
#[cfg(target_os = "linux")]
pub use unix::ReceivedFds;
pub use unix::{PeerCredentials, UnixDatagram, UnixListenOptions, UnixListener, UnixStream};
pub use within::Within;
