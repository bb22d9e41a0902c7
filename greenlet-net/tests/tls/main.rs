//! TLS: what a session promises, against ourselves, against raw bytes and against OpenSSL and curl.
#![cfg(feature = "tls")]

#[path = "../pair/mod.rs"]
mod pair;

mod certified;
mod errors;
mod handshake;
mod identities;
mod killed;
mod mutated;
mod polled;
mod programs;
mod stream;
