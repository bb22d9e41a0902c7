//! What the `program_shutdown` example promises in its first comment.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

fn program_shutdown() -> Command {
    Command::new(env!("CARGO_BIN_EXE_program_shutdown"))
}

/// The program at work, and what it will print.
fn start() -> (Child, BufReader<ChildStdout>) {
    let mut process = program_shutdown().stdout(Stdio::piped()).spawn().expect("the example starts");
    let mut printed = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, format!("process {} works; Ctrl-\\ ends it\n", process.id()));
    (process, printed)
}

fn kill(process: &Child, signal: &str) {
    let sent =
        Command::new("kill").args([signal, &process.id().to_string()]).status().expect("there is `kill`");
    assert!(sent.success());
}

#[test]
fn workers_put_their_parts_away_and_the_signal_ends_the_program() {
    for (signal, name, number) in [("-QUIT", "SIGQUIT", 3), ("-INT", "SIGINT", 2), ("-TERM", "SIGTERM", 15)] {
        let (mut process, mut rest) = start();
        kill(&process, signal);
        let mut printed = String::new();
        rest.read_to_string(&mut printed).unwrap();
        let status = process.wait().unwrap();
        assert_eq!((status.signal(), status.core_dumped()), (Some(number), false), "{printed}");
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines.len(), 4, "{printed}");
        assert!(lines.contains(&"saw: nothing in hand"), "{printed}");
        for worker in ["drill: ", "press: "] {
            assert!(lines[..3].iter().any(|line| line.starts_with(worker)), "{printed}");
        }
        assert_eq!(lines[3], format!("shutdown by {name}: all workers have ended"));
    }
}

#[test]
fn wrong_arguments_are_explained() {
    let output = program_shutdown().arg("now").output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("it takes no arguments") && complaint.contains("usage:"), "{complaint}");
    assert!(output.stdout.is_empty());
}
