//! HTTP calls with ureq: they suspend greenlets, share connections, and end in time.
#![cfg(feature = "ureq")]

#[path = "../pair/mod.rs"]
mod pair;

mod calls;
#[cfg(feature = "tls")]
#[path = "../tls/certified.rs"]
mod certified;
#[cfg(feature = "tls")]
mod encrypted;
mod site;
