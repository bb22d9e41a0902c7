//! What the `supervision` example promises in its first comment.

use std::process::Command;

fn promised() -> String {
    let source = include_str!("../src/bin/supervision.rs");
    let comment = source.lines().take_while(|line| line.starts_with("//!"));
    let shown = comment.skip_while(|line| !line.ends_with("you will see")).skip(2);
    shown.map(|line| format!("{}\n", line.trim_start_matches("//!").trim_start())).collect()
}

#[test]
fn each_strategy_restarts_whom_it_should() {
    let output = Command::new(env!("CARGO_BIN_EXE_supervision")).output().expect("the example starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), promised());
}
