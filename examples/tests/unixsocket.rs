//! What the `unixsocket` example promises in its first comment.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

fn unixsocket(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unixsocket"));
    command.args(arguments);
    command
}

struct Server {
    process: Child,
    path: PathBuf,
}

impl Server {
    fn start(path: PathBuf) -> Server {
        let mut process =
            unixsocket(&["server", path.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        Server { process, path }
    }

    fn signal(&mut self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        self.process.wait().unwrap();
    }

    fn say(&self, words: &[&str]) -> String {
        let arguments = [&["client", self.path.to_str().unwrap()], words].concat();
        let client = unixsocket(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let pid = client.id();
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().replace(&pid.to_string(), "PID")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails if the server has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("greenlet-{name}-{}.sock", std::process::id()))
}

#[test]
fn each_word_is_answered_to_the_process_that_said_it() {
    let server = Server::start(path("answers"));
    let expected = "process PID said one\nprocess PID said two\n";
    assert_eq!(server.say(&["one", "two"]), expected);
    assert_eq!(server.say(&["one", "two"]), expected);
}

#[test]
fn ctrl_c_removes_the_file_and_a_kill_leaves_one_that_is_replaced() {
    let path = path("replaced");
    let mut server = Server::start(path.clone());
    server.signal("-9");
    assert!(path.exists());
    let mut server = Server::start(path.clone());
    assert_eq!(server.say(&["again"]), "process PID said again\n");
    server.signal("-INT");
    assert!(!path.exists());
}

#[test]
fn a_client_without_a_server_says_so() {
    let output = unixsocket(&["client", "/no/such.sock", "word"]).output().unwrap();
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("unix:/no/such.sock"), "{complaint}");
    assert_eq!(unixsocket(&["client"]).output().unwrap().status.code(), Some(2));
}
