//! What the `supervision` example promises in its first comment.

use std::process::{Command, Output};

fn supervision(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervision"));
    command.args(arguments).env("NO_COLOR", "1").output().expect("the example starts")
}

/// The lines of the log that have all of this in them.
fn lines<'a>(log: &'a str, parts: &'a [&str]) -> Vec<&'a str> {
    log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).collect()
}

#[test]
fn failures_are_restarted_and_escalate_until_the_top_gives_up() {
    let output = supervision(&[]);
    let (printed, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{log}");
    assert_eq!(
        printed,
        "crane    was started 4 times\n\
         drill    was started 4 times\n\
         factory  was started 2 times\n\
         fuse     was started 4 times\n\
         press    was started 4 times\n\
         the top supervisor ended with: shutdown\n"
    );
    assert_eq!(lines(&log, &["ERROR failed: panicked at", "the drill is broken", "greenlet=drill"]).len(), 2);
    assert_eq!(lines(&log, &["ERROR failed: the press is out of order"]).len(), 2);
    assert_eq!(lines(&log, &["ERROR failed: the crane is out of order"]).len(), 2);
    assert_eq!(lines(&log, &["ERROR failed: the fuse is out of order"]).len(), 4);
    for machine in ["drill", "press", "crane", "fuse"] {
        assert_eq!(lines(&log, &["INFO", machine, "starts"]).len(), 4, "{log}");
        let child = format!("child={machine}");
        assert!(!lines(&log, &["WARN ended: ", "supervisor=factory", &child]).is_empty(), "{log}");
        assert!(!lines(&log, &["INFO restarting", "supervisor=factory", &child]).is_empty(), "{log}");
    }
    assert!(!lines(&log, &["WARN ended: shutdown", "supervisor=top", "child=factory"]).is_empty(), "{log}");
    assert_eq!(lines(&log, &["ERROR too many restarts; giving up", "supervisor=factory"]).len(), 2);
    assert_eq!(lines(&log, &["ERROR too many restarts; giving up", "supervisor=top"]).len(), 1);
}

#[test]
fn a_top_that_tolerates_nothing_gives_up_with_the_factory() {
    let output = supervision(&["0"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(printed.contains("factory  was started 1 times"), "{printed}");
    assert!(printed.ends_with("the top supervisor ended with: shutdown\n"), "{printed}");
}

#[test]
fn wrong_arguments_are_explained() {
    for arguments in [&["many"][..], &["-1"], &["11"], &["1", "2"]] {
        let output = supervision(arguments);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let complaint = format!("RESTARTS is one whole number from 0 to 10, not `{}`", arguments.join(" "));
        assert!(complaints.contains(&complaint), "{complaints}");
        assert!(complaints.contains("usage: supervision"), "{complaints}");
        assert!(output.stdout.is_empty());
    }
}
