//! What the `portforwarder` example promises in its first comment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

const STUCK: Duration = Duration::from_secs(60);
const SIGINT: i32 = 2;

/// A forwarder on a port of its own, ended with the test.
struct Forwarder {
    process: Child,
    address: SocketAddr,
    log: BufReader<ChildStderr>,
}

impl Forwarder {
    fn to(destination: SocketAddr) -> Forwarder {
        let mut process = Command::new(env!("CARGO_BIN_EXE_portforwarder"))
            .args(["127.0.0.1:0", &destination.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line = line.trim().strip_suffix(&format!(" to {destination}")).expect("it says where to");
        let address = line.strip_prefix("forwarding ").expect("it says from where").parse().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        Forwarder { process, address, log }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(STUCK)).unwrap();
        stream
    }

    /// The next line of the log that has this in it.
    fn logged(&mut self, what: &str) -> String {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            if line.contains(what) {
                return line;
            }
            line.clear();
        }
        panic!("the log ended without {what:?}");
    }

    fn interrupt(&self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // It fails if it has ended by itself, as in one of the tests.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A destination that answers with what it got, but only when that is complete.
fn reverse_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            thread::spawn(move || {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                all.reverse();
                stream.write_all(&all).unwrap();
            });
        }
    });
    address
}

#[test]
fn a_half_close_is_passed_on_and_the_answer_comes_back() {
    let mut forwarder = Forwarder::to(reverse_server());
    let mut client = forwarder.connect();
    let us = client.local_addr().unwrap().to_string();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    answer.reverse();
    assert!(answer == sent);
    assert!(forwarder.logged("connected").contains(&us));
    let done = forwarder.logged("done");
    assert!(done.contains(&us) && done.contains("there=1000000 back=1000000"), "{done}");
}

#[test]
fn a_destination_that_is_not_there_is_logged_and_the_client_is_let_go() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut forwarder = Forwarder::to(nobody);
    let mut client = forwarder.connect();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let complaint = forwarder.logged("handler");
    assert!(complaint.contains(&client.local_addr().unwrap().to_string()), "{complaint}");
    assert!(complaint.contains(&nobody.to_string()), "{complaint}");
}

#[test]
fn ctrl_c_lets_connections_finish_and_nobody_in() {
    let mut forwarder = Forwarder::to(reverse_server());
    let mut client = forwarder.connect();
    forwarder.logged("connected");
    forwarder.interrupt();
    // Refused as soon as the signal has got there.
    while TcpStream::connect(forwarder.address).is_ok() {
        thread::yield_now();
    }
    client.write_all(b"abc").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "cba");
    let stopped = forwarder.logged("stopped");
    assert!(stopped.contains(" finished, 0 killed"), "{stopped}");
    assert_eq!(forwarder.process.wait().unwrap().signal(), Some(SIGINT));
}

#[test]
fn wrong_arguments_are_explained_with_exit_code_2() {
    for arguments in [&[][..], &["127.0.0.1:0"], &["a", "b", "c"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_portforwarder")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"));
    }
    let output = Command::new(env!("CARGO_BIN_EXE_portforwarder")).args(["nowhere", "a:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"nowhere\""));
}
