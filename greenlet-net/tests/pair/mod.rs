//! Two ends of a connection over loopback, and how to get them into the states that the tests are about.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use greenlet_net::{TcpListener, TcpStream};
use socket2::SockRef;

/// Longer than anything here takes: what waits for it has hung.
pub const FOREVER: Duration = Duration::from_secs(20);

/// Both ends are ours.
pub fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Over loopback a connection is there as soon as the backlog has it.
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// The other end is a blocking socket of std's, which gives up after `FOREVER`.
pub fn pair_with_std() -> (TcpStream, std::net::TcpStream) {
    let (ours, theirs) = pair();
    let theirs = theirs.into_std().unwrap();
    theirs.set_read_timeout(Some(FOREVER)).unwrap();
    theirs.set_nodelay(true).unwrap();
    (ours, theirs)
}

/// Writes until nothing goes any more, for as long as the peer does not read. Returns how many bytes went.
pub fn fill(mut stream: &TcpStream) -> usize {
    // Small, and not grown by the system any more: quickly full.
    SockRef::from(stream).set_send_buffer_size(16 * 1024).unwrap();
    let before = stream.write_timeout().unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut written = 0;
    let error = loop {
        match stream.write(&[7; 16 * 1024]) {
            Ok(n) => written += n,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    stream.set_write_timeout(before).unwrap();
    written
}

/// Ends a connection with a reset instead of an orderly end.
pub fn reset(stream: std::net::TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Reads to the end, which may be a reset.
pub fn read_to_any_end(mut stream: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("neither end nor reset: {error}"),
    }
    all
}

/// The error of a call that must fail.
pub fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.kind(),
    }
}

/// A listener whose backlog is full: connecting to it neither succeeds nor fails. The stream keeps it full.
#[cfg(target_os = "linux")]
pub fn unanswering() -> (TcpListener, TcpStream) {
    let listener = greenlet_net::ListenOptions::new().backlog(0).bind("127.0.0.1:0").unwrap();
    let only = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, only)
}
