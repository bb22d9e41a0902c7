//! The other end of a websocket, frame by frame: what it sends need not be right.
#![allow(dead_code, reason = "each test file uses some of it")]

#[path = "../pair/mod.rs"]
mod pair;

use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{Greenlet, spawn};
use greenlet_net::TcpStream;
use greenlet_net::websocket::{RecvError, Role, Settings, WebSocket};

#[allow(unused_imports, reason = "each test file uses some of it")]
pub use self::pair::{FOREVER, read_to_any_end};

pub const CONTINUE: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// The last frame of its message.
pub const FIN: u8 = 0x80;

/// Which end is ours.
pub const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// Both ends are ours, and send at once.
pub fn pair() -> (TcpStream, TcpStream) {
    let (client, server) = pair::pair();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

pub fn settings() -> Settings {
    Settings::default().close_timeout(FOREVER)
}

/// What is not a websocket, but speaks to one.
#[derive(Debug)]
pub struct Raw {
    pub stream: TcpStream,
    /// Whether what it sends has to be masked: it plays the client.
    pub masks: bool,
}

/// A websocket of ours, and its raw peer. The connection holds little, so that it is quickly full.
pub fn ours(role: Role, settings: &Settings) -> (WebSocket, Raw) {
    let (a, b) = pair();
    narrow(&a);
    narrow(&b);
    over((a, b), role, settings)
}

fn over((a, b): (TcpStream, TcpStream), role: Role, settings: &Settings) -> (WebSocket, Raw) {
    b.set_read_timeout(Some(FOREVER)).unwrap();
    b.set_write_timeout(Some(FOREVER)).unwrap();
    let socket = WebSocket::from_stream(Box::new(a), role, settings, Vec::new()).unwrap();
    (socket, Raw { stream: b, masks: role == Role::Server })
}

/// What came of an echo: how often it answered, and how it ended.
pub type Echoed = (usize, Result<(), Rc<RecvError>>);

/// Ours sends back what it gets, up to the end.
pub fn echo(role: Role, settings: &Settings) -> (Greenlet<Echoed>, Raw) {
    let (socket, raw) = over(pair(), role, settings);
    let echo = spawn(move || {
        let mut answered = 0;
        loop {
            match socket.recv() {
                Ok(Some(message)) => {
                    // It fails if the peer has ended it meanwhile, which is heard of next.
                    let _ = socket.send(message);
                    answered += 1;
                }
                Ok(None) => return (answered, Ok(())),
                Err(error) => return (answered, Err(error.into())),
            }
        }
    });
    (echo, raw)
}

impl Raw {
    pub fn frame(&self, first: u8, payload: &[u8]) -> Vec<u8> {
        frame(first, payload, self.masks)
    }

    pub fn send(&self, first: u8, payload: &[u8]) {
        self.send_bytes(&self.frame(first, payload));
    }

    pub fn send_bytes(&self, bytes: &[u8]) {
        (&self.stream).write_all(bytes).unwrap();
    }

    /// One byte after the other, as far as the connection goes.
    pub fn send_in_chops(&self, bytes: &[u8]) {
        for byte in bytes {
            (&self.stream).write_all(&[*byte]).unwrap();
            greenlet_core::yield_now();
        }
    }

    pub fn close(&self, code: u16, reason: &str) {
        self.send(FIN | CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat());
    }

    /// The next frame: its first byte and its payload. `None` at the end, which has to be an orderly one.
    pub fn next(&self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        match (&self.stream).read(&mut head[..1]).unwrap() {
            0 => return None,
            _ => self.fill(&mut head[1..]),
        }
        let masked = head[1] & 0x80 != 0;
        assert_eq!(masked, !self.masks, "a client masks, a server does not");
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                self.fill(&mut length);
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.fill(&mut length);
                usize::try_from(u64::from_be_bytes(length)).unwrap()
            }
            length => usize::from(length),
        };
        let mut mask = [0; 4];
        if masked {
            self.fill(&mut mask);
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload);
        for (n, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[n % 4];
        }
        Some((head[0], payload))
    }

    fn fill(&self, buffer: &mut [u8]) {
        (&self.stream).read_exact(buffer).expect("the frame is whole");
    }

    #[track_caller]
    pub fn expect(&self, first: u8, payload: &[u8]) {
        let (got, bytes) = self.next().expect("a frame, not the end");
        assert_eq!(got, first, "{bytes:?}");
        assert!(bytes == payload, "expected {} bytes, got {} others", payload.len(), bytes.len());
    }

    /// A close with that code; returns the reason.
    #[track_caller]
    pub fn expect_close(&self, code: u16) -> String {
        let (first, payload) = self.next().expect("a close, not the end");
        assert_eq!(first, FIN | CLOSE, "{payload:?}");
        assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), code);
        String::from_utf8(payload[2..].to_vec()).unwrap()
    }

    /// The orderly end of what ours sends.
    #[track_caller]
    pub fn expect_end(&self) {
        assert_eq!(self.next(), None);
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A frame: `first` is `FIN`, the reserved bits and the opcode.
pub fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(mask | length as u8),
        length @ 126..65536 => {
            bytes.push(mask | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(mask | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        let key = [0x12, 0x34, 0x56, 0x78];
        bytes.extend(key);
        bytes.extend(payload.iter().enumerate().map(|(n, byte)| byte ^ key[n % 4]));
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// Makes what a stream can hold small, and not grow any more.
fn narrow(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_send_buffer_size(16 * 1024).unwrap();
    socket2::SockRef::from(stream).set_recv_buffer_size(16 * 1024).unwrap();
}
