//! The echo server and its client, as programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

/// Ends the program with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websocket_echo"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    Running(command.spawn().expect("the example starts"))
}

/// The server, and where it listens.
fn server() -> (Running, String) {
    let mut server = start(&["server", "127.0.0.1:0"]);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").expect("it says where it listens").to_owned();
    (server, address)
}

#[test]
fn what_is_typed_comes_back() {
    let (_server, address) = server();
    let url = format!("ws://{address}/");
    let mut client = start(&["client", &url]);
    client.0.stdin.take().unwrap().write_all("hello\nGrüße\n".as_bytes()).unwrap();
    let mut shown = String::new();
    client.0.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(shown, format!("connected to {url}\nhello\nGrüße\n"));
    assert!(client.0.wait().unwrap().success());
}

#[test]
fn a_browser_gets_a_page() {
    let (_server, address) = server();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("new WebSocket"), "{page}");
}

#[test]
fn wrong_arguments_are_explained() {
    for arguments in [&[][..], &["serve"], &["client"], &["client", "http://127.0.0.1/"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_websocket_echo")).args(arguments).output().unwrap();
        assert!(!output.status.success() && !output.stderr.is_empty(), "{arguments:?}");
    }
}
