//! The chat server as a person uses it: through `nc`.

#[path = "../../greenlet-net/tests/program/mod.rs"]
mod program;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Ends the program with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> (Running, ChildStdin, BufReader<ChildStdout>) {
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = started.expect("the program starts");
    let stdin = child.stdin.take().expect("it was piped");
    let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
    (Running(child), stdin, stdout)
}

fn has_netcat() -> bool {
    program::has("nc", "-h", "netcat-openbsd")
}

/// Reads until the line comes.
fn expect(lines: &mut impl BufRead, wanted: &str) {
    let mut seen = String::new();
    while !seen.lines().any(|line| line == wanted) {
        let n = lines.read_line(&mut seen).expect("the program writes text");
        assert!(n > 0, "ended without {wanted:?}, but with:\n{seen}");
    }
}

#[test]
fn two_people_talk_through_netcat() {
    if !has_netcat() {
        return;
    }
    let (_server, _stdin, mut announced) = start(Command::new(env!("CARGO_BIN_EXE_chat")).arg("127.0.0.1:0"));
    let mut lines = String::new();
    for _ in 0..2 {
        announced.read_line(&mut lines).unwrap();
    }
    let address = lines.trim().split_once("lines on ").expect("it says where it listens").1;
    let (host, port) = address.rsplit_once(':').expect("an address has a port");

    let connect = || start(Command::new("nc").args(["-N", host, port]));
    let (_bob, mut bob_types, mut bob_sees) = connect();
    bob_types.write_all(b"/name bob\n/join rust\n").unwrap();
    expect(&mut bob_sees, "= you are in rust with: bob");
    bob_types.write_all(b"is anybody here?\n").unwrap();

    let (_alice, mut alice_types, mut alice_sees) = connect();
    alice_types.write_all(b"/name alice\n/join rust\n").unwrap();
    expect(&mut alice_sees, "~ <bob> is anybody here?");
    expect(&mut bob_sees, "* alice joined");
    alice_types.write_all(b"I am\n").unwrap();
    expect(&mut bob_sees, "<alice> I am");

    // End of input: nc closes its half, and the server answers what is left and closes too.
    alice_types.write_all(b"/who\n").unwrap();
    drop(alice_types);
    expect(&mut alice_sees, "= in rust: bob, alice");
    expect(&mut bob_sees, "* alice left");
    bob_types.write_all(b"/quit\n").unwrap();
    expect(&mut bob_sees, "= bye");
}
