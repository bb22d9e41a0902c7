//! The example `door`: what it prints.

use std::process::Command;

#[test]
fn the_door_lets_through_who_knows_the_code_and_locks_itself() {
    let output = Command::new(env!("CARGO_BIN_EXE_door")).output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(
        lines,
        [
            "the door is Locked",
            "wrong code",
            "forgets 2 digits",
            "somebody looks: Locked",
            "Locked -> Closed",
            "Closed -> Open",
            "somebody passes",
            "Open -> Closed",
            "Closed -> Locked",
            "somebody looks: Locked",
        ]
    );
}
