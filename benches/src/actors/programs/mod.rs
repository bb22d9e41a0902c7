//! The programs, after the Savina suite and with its parameters where they are from there.
//!
//! Each checks its result, and panics if it is wrong.

mod bank;
mod big;
mod chameneos;
mod cobwebbed_tree;
mod dictionary;
mod fork_join;
mod lifetimes;
mod names;
mod philosophers;
mod ping_pong;
mod skynet;
mod streams;
mod thread_ring;

pub use bank::{ACCOUNTS, BALANCE, Order, orders};
pub use big::big;
pub use chameneos::chameneos;
pub use cobwebbed_tree::cobwebbed_tree;
pub use dictionary::dictionary;
pub use fork_join::{fork_join_create, fork_join_throughput};
pub use lifetimes::{idle, spawn_stop};
pub use names::{look_up, names};
pub use philosophers::philosophers;
pub use ping_pong::ping_pong;
pub use skynet::skynet;
pub use streams::{counting, tell};
pub use thread_ring::thread_ring;
