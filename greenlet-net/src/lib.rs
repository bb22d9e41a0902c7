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
//! - **Threads.** Sockets are `Send` and `Sync`. They may be used from any hub, one after the other or at once, and from
//!   a thread without greenlets, which then just blocks.
//! - **Names.** Numeric addresses are used as they are. Names are resolved by [`std::net::ToSocketAddrs`], which blocks
//!   the whole thread; a cooperative resolver comes with the DNS part of this crate.
//! - **Options** that have no method here are set through [`AsFd`](std::os::fd::AsFd), for example with
//!   `socket2::SockRef::from(&stream)`. The descriptor is in non-blocking mode and has to stay so.
//!
//! # Map
//!
//! | | |
//! |---|---|
//! | [`TcpListener`], [`Incoming`], [`ListenOptions`] | accepting connections |
//! | [`TcpStream`] | a connection |
//! | [`OwnedReadHalf`], [`OwnedWriteHalf`], [`ReuniteError`] | its two directions, for two greenlets |
//! | [`Stream`], [`Address`] | what all connections have in common |
//! | [`server`] | servers: a greenlet for each connection or datagram |
//! | `tls` | TLS sessions on connections (feature `tls`) |
//! | `websocket` | messages in both directions: RFC 6455, servers and clients (feature `websocket`) |
//! | [`AddressError`] | what failed, address by address |
//! | [`dns`] | names and addresses of hosts |

#![forbid(unsafe_code)]

mod addr;
mod address;
pub mod dns;
#[cfg(feature = "http")]
pub mod http;
pub mod server;
mod stream;
mod tcp;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use addr::AddressError;
pub use address::Address;
pub use stream::Stream;
pub use tcp::{Incoming, ListenOptions, OwnedReadHalf, OwnedWriteHalf, ReuniteError, TcpListener, TcpStream};
