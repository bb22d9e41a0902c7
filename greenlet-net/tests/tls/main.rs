//! TLS: what a session promises, against ourselves, against raw bytes and against OpenSSL and curl.
#![cfg(feature = "tls")]

#[path = "../pair/mod.rs"]
mod pair;
#[path = "../program/mod.rs"]
mod program;

mod certified;
mod errors;
mod handshake;
mod identities;
mod killed;
mod mutated;
mod polled;
mod programs;
mod stream;
