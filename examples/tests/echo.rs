//! What the `echo` example promises in its first comment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};

fn echo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(arguments);
    command
}

/// A server on a port of its own, ended with the test.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let mut process = echo(&["server", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("it says where it listens");
        Server { process, address: address.parse().unwrap() }
    }

    fn load(&self, connections: &str, rounds: &str) -> Output {
        echo(&["load", &self.address.to_string(), connections, rounds]).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails if the server has ended by itself, and then the test has failed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_load_client_counts_its_round_trips() {
    let server = Server::start();
    let output = server.load("8", "100");
    let (printed, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complaints}");
    assert!(printed.starts_with("8 connections, 800 round trips in "), "{printed}");
    assert!(printed.trim_end().ends_with(" per second"), "{printed}");
}

#[test]
fn the_server_echoes_until_the_end_and_logs_the_connection() {
    let mut server = Server::start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let us = stream.local_addr().unwrap().to_string();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello");

    let log = BufReader::new(server.process.stderr.take().unwrap());
    let lines: Vec<String> =
        log.lines().map(Result::unwrap).filter(|line| line.contains(&us)).take(2).collect();
    assert!(lines[0].contains("connected") && lines[1].contains("gone"), "{lines:?}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    // Port 1 (tcpmux) is below the ports that the system hands out, so no other test listens there.
    let output = echo(&["load", "127.0.0.1:1", "1", "1"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("cannot connect to 127.0.0.1:1 "), "{complaint}");
}

#[test]
fn wrong_arguments_are_explained_with_exit_code_2() {
    let wrong: [(&[&str], &str); 6] = [
        (&[], "expected `server` or `load`"),
        (&["serve"], "found `serve`"),
        (&["server", "7000"], "not `7000`"),
        (&["server", "127.0.0.1:0", "more"], "too many arguments"),
        (&["load", "127.0.0.1:7000", "0"], "CONNECTIONS"),
        (&["load", "127.0.0.1:7000", "1", "many"], "not `many`"),
    ];
    for (arguments, expected) in wrong {
        let output = echo(arguments).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
        assert!(complaint.contains("usage:"), "{arguments:?}: {complaint}");
    }
}
