//! All suites that there are.

mod core;

use crate::harness::Suite;

/// The suites, in the order of `--help`.
pub static SUITES: &[&Suite] = &[&core::SUITE];
