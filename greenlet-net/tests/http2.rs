//! Clients of HTTP/2 that take back what they ask for, stop in the middle, or say too much.
#![cfg(feature = "http2")]

mod raw;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{Queue, run, sleep, spawn, yield_now};
use greenlet_net::TcpStream;
use greenlet_net::http::{Disconnected, Request, RunningServer, Server};
use raw::{Client, FOREVER, serve};

const SHORT: Option<Duration> = Some(Duration::from_millis(80));

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The fields of `GET` for that path.
fn fields(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x41, 1, b'a', 0x44, u8::try_from(path.len()).unwrap()];
    block.extend(path.bytes());
    block
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(path))
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()) // CANCEL
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A client that says frames as they are.
struct Peer(TcpStream);

impl Peer {
    fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(FOREVER)).unwrap();
        stream.set_write_timeout(Some(FOREVER)).unwrap();
        Peer(stream)
    }

    /// With these settings.
    fn greet(address: SocketAddr, settings: &[u8]) -> Peer {
        let mut peer = Peer::connect(address);
        peer.send([PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        peer
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref())
    }

    /// `None` at the end of the connection, in whatever way.
    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.0.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if error.kind() == ErrorKind::TimedOut => panic!("the connection does not end"),
            Err(_) => None,
        }
    }

    /// All that the server says until the end.
    fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The body of a response.
    fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        self.send(request(stream, path));
        let mut body = Vec::new();
        loop {
            let frame = self.next().expect("the server ended the connection");
            if frame.stream != stream {
                continue;
            }
            if frame.kind == DATA {
                body.extend(frame.payload);
            }
            if frame.flags & END_STREAM != 0 {
                return body;
            }
        }
    }
}

/// The requests that are worked at.
#[derive(Clone, Default)]
struct AtWork {
    now: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
}

struct Working(AtWork);

impl AtWork {
    fn begin(&self) -> Working {
        self.now.set(self.now.get() + 1);
        self.most.set(self.most.get().max(self.now.get()));
        Working(self.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.now.set(self.0.now.get() - 1);
    }
}

/// A server of `/`, and of `/slow`, which never answers; who tells of each slow request that has begun.
struct Slow {
    _server: RunningServer,
    address: SocketAddr,
    at_work: AtWork,
    began: Rc<Queue<()>>,
}

fn slow(disconnected: Disconnected) -> Slow {
    let (at_work, began) = (AtWork::default(), Rc::new(Queue::unbounded()));
    let (works, begins) = (at_work.clone(), began.clone());
    let handler = move |request: Request| {
        if request.uri().path() == "/slow" {
            let _working = works.begin();
            begins.put(()).unwrap();
            sleep(Duration::MAX);
        }
        "hello"
    };
    let (server, address) = serve(Server::new(handler).disconnected(disconnected));
    Slow { _server: server, address, at_work, began }
}

/// What a server lets one connection leave behind: as documented for those that go on.
const MOST_LEFT: usize = 200;

#[test]
fn a_flood_of_requests_that_are_taken_back_at_once_ends_its_own_connection() {
    run(|| {
        let slow = slow(Disconnected::GoOn);
        let mut other = Peer::greet(slow.address, &[]);
        assert_eq!(other.get(1, "/"), b"hello");

        let mut flood = Peer::greet(slow.address, &[]);
        let mut sender = Peer(flood.0.try_clone().unwrap());
        let sent = spawn(move || {
            let mut sent = 0;
            for some in 0..200 {
                let bytes = (50 * some..50 * (some + 1))
                    .flat_map(|n| [request(2 * n + 1, "/slow"), reset(2 * n + 1)]);
                if sender.try_send(bytes.flatten().collect::<Vec<u8>>()).is_err() {
                    break;
                }
                sent += 50;
                yield_now();
            }
            sent
        });
        // Others are served while it lasts.
        assert_eq!(other.get(3, "/"), b"hello");
        assert_eq!(Client::connect(slow.address).get("/").text(), "hello");
        flood.rest();
        assert!(sent.get().unwrap() > 0);
        assert!(slow.at_work.most.get() <= MOST_LEFT, "{} at once", slow.at_work.most.get());
        assert_eq!(other.get(5, "/"), b"hello");
    });
}

/// Takes requests back one after the other, each when its handler is at work. Returns how many until the connection ended.
fn take_back(slow: &Slow) -> usize {
    let mut peer = Peer::greet(slow.address, &[]);
    let ended = Rc::new(Cell::new(false));
    let reader = spawn({
        let (ended, mut peer) = (ended.clone(), Peer(peer.0.try_clone().unwrap()));
        move || {
            peer.rest();
            ended.set(true);
        }
    });
    let mut taken_back = 0;
    while !ended.get() && taken_back < 10 * MOST_LEFT {
        let stream = 2 * u32::try_from(taken_back).unwrap() + 1;
        if peer.try_send(request(stream, "/slow")).is_err() {
            break;
        }
        while slow.began.try_get().is_err() && !ended.get() {
            yield_now();
        }
        if peer.try_send(reset(stream)).is_err() {
            break;
        }
        taken_back += 1;
    }
    reader.kill();
    taken_back
}

#[test]
fn requests_that_are_taken_back_while_they_are_worked_at_leave_so_many_handlers_and_no_more() {
    run(|| {
        let slow = slow(Disconnected::GoOn);
        let taken_back = take_back(&slow);
        // Some are under way when the end comes.
        assert!((MOST_LEFT..2 * MOST_LEFT).contains(&taken_back), "{taken_back}");
        assert!(slow.at_work.now.get() <= MOST_LEFT + 20, "{} are left", slow.at_work.now.get());
        assert_eq!(Client::connect(slow.address).get("/").text(), "hello");
    });
}

#[test]
fn handlers_of_requests_that_are_taken_back_are_killed_if_that_is_wished() {
    run(|| {
        let slow = slow(Disconnected::Kill);
        take_back(&slow);
        while slow.at_work.now.get() > 0 {
            yield_now();
        }
        assert!(slow.at_work.most.get() <= 2, "{} at once", slow.at_work.most.get());
        assert_eq!(Client::connect(slow.address).get("/").text(), "hello");
    });
}

#[test]
fn who_takes_back_what_was_answered_already_may_go_on() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| "hello"));
        let mut peer = Peer::greet(address, &[]);
        for n in 0..2 * MOST_LEFT as u32 {
            assert_eq!(peer.get(2 * n + 1, "/"), b"hello");
            peer.send(reset(2 * n + 1));
        }
        assert_eq!(peer.get(100_001, "/"), b"hello");
    });
}

#[test]
fn a_client_that_says_nothing_more_is_told_and_closed() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| "hello").keep_alive(SHORT));
        let half = request(1, "/");
        let block = fields("/");
        let unfinished = frame(HEADERS, END_STREAM, 1, &block);
        for (what, bytes) in [
            ("nothing", &b""[..]),
            ("half the head of a frame", &half[..5]),
            ("half a frame", &half[..half.len() - 2]),
            ("headers without their end", &unfinished),
        ] {
            let mut peer = Peer::greet(address, &[]);
            peer.send(bytes);
            let said = peer.rest();
            assert!(said.iter().any(|frame| frame.kind == GOAWAY), "{what}: {said:?}");
        }
        let mut used = Peer::greet(address, &[]);
        assert_eq!(used.get(1, "/"), b"hello");
        assert!(used.rest().iter().any(|frame| frame.kind == GOAWAY));
    });
}

#[test]
fn half_a_preface_is_a_head_that_takes_too_long() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| "hello").header_timeout(SHORT));
        for length in [1, 10, PREFACE.len() - 1] {
            let mut client = Client::connect(address);
            client.send(&PREFACE[..length]);
            // As for any head; some of it is none of HTTP/1.
            assert!(matches!(client.answer().status(), 400 | 408), "{length}");
            let _ = client.end();
        }
    });
}

#[test]
fn headers_without_end_end_the_connection() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| "hello"));
        let mut peer = Peer::greet(address, &[]);
        peer.send(frame(HEADERS, END_STREAM, 1, &fields("/")));
        let mut sender = Peer(peer.0.try_clone().unwrap());
        let sender = spawn(move || {
            // A literal field, never indexed, again and again.
            let field = [&[0x10, 1, b'x', 100][..], &[b'y'; 100]].concat();
            let more = frame(CONTINUATION, 0, 1, &field.repeat(100));
            while sender.try_send(&more).is_ok() {}
        });
        peer.rest();
        assert!(sender.join_timeout(FOREVER));
        assert_eq!(Peer::greet(address, &[]).get(1, "/"), b"hello");
    });
}

#[test]
fn a_client_that_gives_no_room_for_its_response_is_closed() {
    run(|| {
        let (_server, address) = serve(Server::new(|_: Request| "hello").write_timeout(SHORT));
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        let mut peer = Peer::greet(address, &[0, 4, 0, 0, 0, 0]);
        peer.send(request(1, "/"));
        let said = peer.rest();
        assert!(said.iter().any(|frame| frame.kind == HEADERS), "{said:?}");
        assert!(!said.iter().any(|frame| frame.kind == DATA), "{said:?}");
    });
}
