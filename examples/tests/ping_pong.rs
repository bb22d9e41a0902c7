//! What the `ping_pong` example promises in its first comment.

use std::process::{Command, Output};

fn ping_pong(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ping_pong")).args(arguments).output().expect("the example starts")
}

#[test]
fn all_rounds_are_made_and_timed() {
    let output = ping_pong(&["1000"]);
    let (printed, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complaints}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 2, "{printed}");
    assert!(lines[0].starts_with("1000 rounds in "), "{printed}");
    assert!(lines[1].contains(" pairs on ") && lines[1].contains("000 rounds in "), "{printed}");
    assert!(lines.iter().all(|line| line.ends_with(" rounds per second")), "{printed}");
    assert_eq!(complaints, "");
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, complaint) in [
        (&["many"][..], "ROUNDS is a whole number above 0, not `many`"),
        (&["0"], "ROUNDS is a whole number above 0, not `0`"),
        (&["-1"], "ROUNDS is a whole number above 0, not `-1`"),
        (&["1", "2"], "too many arguments"),
    ] {
        let output = ping_pong(arguments);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(complaints.contains(complaint), "{complaints}");
        assert!(complaints.contains("usage: ping_pong"), "{complaints}");
        assert!(output.stdout.is_empty());
    }
}
