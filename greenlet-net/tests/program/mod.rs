//! Programs of the system that tests talk to, and that may be missing. Where the tests of all programs are required (`GREENLET_TEST_REQUIRE=1`), they
//! may not.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::process::{Command, Stdio};

/// Says that a test is skipped, since `program` is missing, which `package` of Debian has. Panics where it is required.
#[track_caller]
pub fn missing(program: &str, package: &str) {
    let required = std::env::var_os("GREENLET_TEST_REQUIRE").is_some_and(|value| value == "1");
    assert!(!required, "{program} is missing: apt-get install {package}");
    println!("skipped: {program} is missing (apt-get install {package})");
}

/// Whether the program is there, which is asked for something harmless: its version. If not, [`missing`] says so.
#[track_caller]
pub fn has(program: &str, harmless: &str, package: &str) -> bool {
    let asked = Command::new(program).arg(harmless).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if asked.is_err() {
        missing(program, package);
    }
    asked.is_ok()
}
