//! The clients of a server.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::Read;
use std::time::Duration;

use greenlet_net::TcpStream;
use greenlet_net::server::StreamServer;

/// One that gives up after longer than anything here takes.
pub fn connect(server: &StreamServer) -> TcpStream {
    let stream = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What the server says until it closes the connection.
pub fn answer(mut stream: impl Read) -> String {
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    all
}
