//! All suites that there are.

#[cfg(feature = "actor")]
mod actor;
#[cfg(feature = "net")]
mod core;
#[cfg(feature = "net")]
mod dns;
#[cfg(feature = "net")]
mod net;
#[cfg(feature = "net")]
mod tls;

use crate::harness::Suite;

/// The suites, in the order of `--help`.
pub static SUITES: &[&Suite] = &[
    #[cfg(feature = "net")]
    &core::SUITE,
    #[cfg(feature = "net")]
    &net::SUITE,
    #[cfg(feature = "net")]
    &dns::SUITE,
    #[cfg(feature = "net")]
    &tls::SUITE,
    #[cfg(feature = "actor")]
    &actor::SUITE,
];
