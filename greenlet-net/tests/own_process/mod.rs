//! Tests of what concerns the whole process.

use std::process::Command;

/// Runs the named test again, alone in a process that `sh` starts after `setup`; true in that process.
pub fn in_own_process(test: &str, setup: &str) -> bool {
    const MARK: &str = "GREENLET_TEST_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let status = Command::new("sh")
        .args(["-c", &format!("{setup} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} in its own process: {status}");
    false
}
