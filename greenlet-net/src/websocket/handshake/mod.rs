//! From HTTP to WebSocket, on either side.

mod client;
mod head;
mod server;

pub use client::{ConnectError, Connector, connect};
pub use server::{AcceptError, Acceptor, Refusal, accept};
