//! What the `udp_echo` example promises in its first comment.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A server on a port of its own, ended with the test.
struct Server {
    process: Child,
    address: SocketAddr,
    printed: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_udp_echo"))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example starts");
        let mut printed = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        printed.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("receiving on ").expect("it says where it receives");
        Server { address: address.parse().unwrap(), process, printed }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails if the server has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn datagrams_come_back_in_capitals_and_ctrl_c_tells_how_many() {
    let mut server = Server::start();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.connect(server.address).unwrap();
    client.send(&[b'x'; 1025]).unwrap(); // not answered
    for (sent, expected) in [(&b"hello"[..], &b"HELLO"[..]), (b"", b""), (&[b'a'; 1024], &[b'A'; 1024])] {
        client.send(sent).unwrap();
        let mut answer = [0; 2048];
        let length = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..length], expected);
    }
    let id = server.process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut counts = String::new();
    server.printed.read_to_string(&mut counts).unwrap();
    assert!(counts.starts_with("4 accepted, 0 active,"), "{counts}");
    assert_eq!(server.process.wait().unwrap().signal(), Some(2));
}

#[test]
fn wrong_arguments_are_explained_with_exit_code_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_udp_echo")).args(["a", "b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"));
}
