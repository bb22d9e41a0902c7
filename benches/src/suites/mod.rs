//! All suites that there are.

mod core;
mod dns;
mod net;
mod tls;

use crate::harness::Suite;

/// The suites, in the order of `--help`.
pub static SUITES: &[&Suite] = &[&core::SUITE, &net::SUITE, &dns::SUITE, &tls::SUITE];
