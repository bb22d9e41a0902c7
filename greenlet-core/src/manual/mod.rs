//! The manual: what one wants to know beyond a single function.
//!
//! | | |
//! |---|---|
//! | [`coming_from_gevent`] | gevent's names and idioms, and what they are here, side by side |
//! | [`coming_from_tokio`] | what is the same, what is the other way round, and how the two work together |
//! | [`kills_timeouts_and_destructors`] | what may be raised where, and what that means for code that has to clean up |
//! | [`hubs_and_threads`] | more cores, and what a thread owes its greenlets |
//! | [`what_hangs`] | how to find out who blocks, who waits, and for what |
//!
//! All programs in it are run with the tests.

#[doc = include_str!("coming_from_gevent.md")]
pub mod coming_from_gevent {}

#[doc = include_str!("coming_from_tokio.md")]
pub mod coming_from_tokio {}

#[doc = include_str!("kills_timeouts_and_destructors.md")]
pub mod kills_timeouts_and_destructors {}

#[doc = include_str!("hubs_and_threads.md")]
pub mod hubs_and_threads {}

#[doc = include_str!("what_hangs.md")]
pub mod what_hangs {}
