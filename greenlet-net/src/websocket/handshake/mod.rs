//! From HTTP to WebSocket, on either side.

mod client;
mod head;
mod server;
#[cfg(feature = "http")]
mod upgrade;

pub use client::{ConnectError, Connector, connect};
pub use server::{AcceptError, Acceptor, Refusal, accept};
