//! Tests that cross the crates live in `tests/`; this library is what they share.
