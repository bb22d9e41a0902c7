//! Servers: a greenlet for each connection or datagram, limits, and an orderly end.
//!
//! [`StreamServer`] accepts connections: TCP, and whatever else is a [`Stream`](crate::Stream). Its life is gevent's: made with an address and a handler,
//! [started](StreamServer::start), [stopped](Handle::stop) with a grace for the handlers. [`DatagramServer`] does the same for datagrams.
//!
//! ```
//! use greenlet_net::{TcpStream, server::StreamServer};
//! use std::io::{Write, read_to_string};
//!
//! let server = StreamServer::new("127.0.0.1:0", |mut stream: TcpStream, peer| {
//!     writeln!(stream, "hello, {peer}")
//! });
//! server.start()?;
//! let client = TcpStream::connect(server.local_addr()?)?;
//! let us = client.local_addr()?;
//! assert_eq!(read_to_string(client)?, format!("hello, {us}\n"));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | | |
//! |---|---|
//! | [`StreamServer`], [`Accepted`], [`Outcome`] | connections, and what handlers take and return |
#![cfg_attr(feature = "tls", doc = "| [`tls()`] | handlers of TLS sessions |")]
//! | [`Admitted`], [`Admission`] | connections that are taken over from a `StreamServer` |
//! | [`DatagramServer`], [`Datagram`] | datagrams |
//! | [`IntoEndpoints`], [`Endpoints`] | where to listen |
//! | [`Handle`], [`Stopped`], [`Counts`] | the end of a server, and what it has done |

mod acceptor;
mod backoff;
mod connection;
mod counts;
mod datagram;
mod datagram_server;
mod endpoint;
mod engine;
mod life;
mod settings;
mod stream_server;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "http")]
pub(crate) use connection::Connection;
pub use connection::{Accepted, Admission, Admitted, Outcome};
pub use counts::Counts;
pub use datagram::Datagram;
pub use datagram_server::DatagramServer;
pub use endpoint::{Endpoints, IntoEndpoints};
pub use life::{Handle, Stopped};
pub use stream_server::StreamServer;
#[cfg(feature = "tls")]
pub use tls::tls;
