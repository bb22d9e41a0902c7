//! What the `million_actors` example promises in its first comment.

use std::process::{Command, Output};

fn million_actors(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_million_actors")).args(arguments).output().expect("the example starts")
}

#[test]
fn everybody_starts_and_answers() {
    let output = million_actors(&["20000"]);
    let (printed, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complaints}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 4, "{printed}");
    assert!(lines[0].starts_with("20000 actors on "), "{printed}");
    assert!(lines[1].starts_with("started in ") && lines[1].ends_with(" per second"), "{printed}");
    let bytes: Option<u64> = lines[2].strip_suffix(" bytes each").and_then(|bytes| bytes.parse().ok());
    // The stacks of the runners are in it, too: few, but so are the actors.
    assert!(bytes.is_some_and(|bytes| bytes < 2000), "{printed}");
    assert!(lines[3].starts_with("a message to each and an answer of each in "), "{printed}");
    assert_eq!(complaints, "");
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, complaint) in [
        (&["many"][..], "ACTORS is a whole number above 0, not `many`"),
        (&["0"], "ACTORS is a whole number above 0, not `0`"),
        (&["1", "2"], "too many arguments"),
    ] {
        let output = million_actors(arguments);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(complaints.contains(complaint), "{complaints}");
        assert!(complaints.contains("usage: million_actors"), "{complaints}");
        assert!(output.stdout.is_empty());
    }
}
