//! An HTTP server whose handlers are plain functions.
//!
//! [`Server`] calls a function for each request, in a greenlet of its own: it may block cooperatively on anything. Requests and responses are
//! those of the [`http`](https://docs.rs/http) crate; on the wire it is [hyper](https://hyper.rs). A connection that waits for its next request
//! has no greenlet and no stack.
//!
//! ```
//! use greenlet_net::http::{Request, Server};
//! use greenlet_net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! let server = Server::new(|request: Request| format!("hello, {}", request.uri().path()));
//! let server = server.start(TcpListener::bind("127.0.0.1:0")?)?;
//!
//! let mut client = TcpStream::connect(server.local_addr()?)?;
//! client.write_all(b"GET /world HTTP/1.0\r\n\r\n")?;
//! let mut response = String::new();
//! client.read_to_string(&mut response)?;
//! assert!(response.ends_with("\r\n\r\nhello, /world"));
//! # Ok::<(), std::io::Error>(())
//! ```

mod access;
mod body;
mod connection;
#[cfg(feature = "cookies")]
mod cookies;
mod crew;
mod exchange;
#[cfg(feature = "http2")]
mod h2;
mod incoming;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "tower")]
mod lent;
mod outgoing;
mod percent;
mod request;
mod respond;
mod router;
mod server;
mod serving;
mod settings;
mod static_files;
mod task;
#[cfg(feature = "tower")]
mod tower;
mod upgrade;
mod watch;
mod wire;
mod writer;

pub use body::{Body, BodyTooLarge};
#[cfg(feature = "cookies")]
pub use cookies::{InvalidCookie, ResponseExt};
#[cfg(feature = "json")]
pub use json::Json;
pub use request::RequestExt;
pub use respond::{Error, Handler, Html, IntoResponse, Redirect, Request, Response};
pub use router::{Next, Router};
pub use server::{RunningServer, Server};
pub use settings::{AccessLog, Disconnected};
pub use static_files::{Coding, StaticFiles, Symlinks};
#[cfg(feature = "tower")]
pub use tower::{Peer, RequestBody, TowerService};
pub use upgrade::{NotUpgradable, OnUpgrade, Upgraded, upgrade};
pub use writer::BodyWriter;

pub use bytes::Bytes;
#[cfg(feature = "cookies")]
pub use cookie;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
