//! WebSocket (RFC 6455), servers and clients, over any [`Stream`](crate::Stream). Feature `websocket`.
//!
//! A [`WebSocket`] is used by several greenlets at once: one receives, others send.
//!
//! ```
//! use greenlet_core::spawn;
//! use greenlet_net::{websocket, TcpListener};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let url = format!("ws://{}/", listener.local_addr()?);
//! spawn(move || {
//!     for stream in listener.incoming() {
//!         spawn(move || {
//!             let (socket, _request) = websocket::accept(stream.unwrap()).unwrap();
//!             for message in &socket {
//!                 socket.send(message.unwrap()).unwrap(); // an echo server
//!             }
//!         });
//!     }
//! });
//!
//! let socket = websocket::connect(&url)?;
//! let sender = spawn({
//!     let socket = socket.clone();
//!     move || (0..3).try_for_each(|n| socket.send(format!("message {n}")))
//! });
//! for n in 0..3 {
//!     let message = socket.recv()?.ok_or("closed too early")?;
//!     assert_eq!(message.as_text(), Some(format!("message {n}").as_str()));
//! }
//! sender.join();
//! socket.close(websocket::CloseCode::Normal, "that was all")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! | | |
//! |---|---|
//! | [`connect`](connect()), [`Connector`] | a client: subprotocols, headers, time limits |
//! | [`accept`](accept()), [`Acceptor`] | a server: from a connection, or as the upgrade of a request that an HTTP server has received |
//! | [`WebSocket`] | messages in both directions, pings, the close; what holds for all of them |
//! | [`Settings`] | limits of messages and frames, keep-alive, time limits |
//! | [`Message`], [`CloseCode`], [`CloseFrame`] | what is sent |
//!
//! There are no extensions: no `permessage-deflate`. `docs/websocket.md` lists the cases of the RFC that are tested.

mod closing;
mod connection;
mod error;
mod handshake;
mod message;
mod pipe;
mod settings;
mod socket;
mod turn;

pub use error::{CloseError, RecvError, SendError};
pub use handshake::{AcceptError, Acceptor, ConnectError, Connector, Refusal, accept, connect};
pub use message::Message;
pub use settings::Settings;
pub use socket::{Messages, WebSocket};
pub use tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
pub use tungstenite::protocol::frame::coding::CloseCode;
pub use tungstenite::protocol::{CloseFrame, Role};
pub use tungstenite::{Bytes, Utf8Bytes};
