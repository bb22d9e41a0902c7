//! A name server that does to its clients what it is told to. It knows nothing of the code under test: its messages are put together
//! byte by byte.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use greenlet_core::Event;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Query {
    /// Without the dot at its end.
    pub name: String,
    pub kind: u16,
    pub tcp: bool,
    /// How many queries came before.
    pub earlier: usize,
    /// The number of additional records.
    pub additional: u16,
    pub bytes: Vec<u8>,
}

/// A resource record, encoded.
pub type Record = Vec<u8>;

type AnswerEach = Box<dyn Fn(&Query) -> Vec<Record> + Send>;

/// What the server does. None at all is silence.
pub enum Reply {
    Message(Message),
    /// Answers to all that were held back, and to this one, the last one first.
    All(AnswerEach),
    /// Keeps the question for later.
    Hold,
    /// These bytes; over TCP without a length of their own, and then the end.
    Raw(Vec<u8>),
    /// The same, without the end.
    RawKeepOpen(Vec<u8>),
    /// Over TCP: a long answer, a byte now and then.
    Drip,
}

#[derive(Default)]
pub struct Message {
    code: u8,
    truncated: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    id_change: u16,
    question: Option<String>,
    kind: Option<u16>,
    other_port: bool,
}

impl Reply {
    pub fn answer(answers: Vec<Record>) -> Reply {
        Reply::Message(Message { answers, ..Message::default() })
    }

    pub fn answer_all(answer: impl Fn(&Query) -> Vec<Record> + Send + 'static) -> Reply {
        Reply::All(Box::new(answer))
    }

    /// No answer, for the reason with this number: 1 FORMERR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    pub fn code(code: u8) -> Reply {
        Reply::Message(Message { code, ..Message::default() })
    }

    pub fn truncated() -> Reply {
        Reply::Message(Message { truncated: true, ..Message::default() })
    }

    pub fn with_authority(self, record: Record) -> Reply {
        self.change(|message| message.authorities.push(record))
    }

    pub fn id_changed_by(self, change: u16) -> Reply {
        self.change(|message| message.id_change = change)
    }

    pub fn question(self, name: &str) -> Reply {
        self.change(|message| message.question = Some(name.to_owned()))
    }

    pub fn of_kind(self, kind: u16) -> Reply {
        self.change(|message| message.kind = Some(kind))
    }

    pub fn sent_by_another_port(self) -> Reply {
        self.change(|message| message.other_port = true)
    }

    fn change(mut self, change: impl FnOnce(&mut Message)) -> Reply {
        match &mut self {
            Reply::Message(message) => change(message),
            _ => panic!("only messages can be changed"),
        }
        self
    }
}

impl Message {
    fn bytes(&self, query: &Query) -> Vec<u8> {
        let id = u16::from_be_bytes([query.bytes[0], query.bytes[1]]).wrapping_add(self.id_change);
        let flags = 0x8180 | u16::from(self.code) | if self.truncated { 0x0200 } else { 0 };
        let count = |records: &[Record]| u16::try_from(records.len()).unwrap();
        let mut bytes = Vec::new();
        for word in [id, flags, 1, count(&self.answers), count(&self.authorities), 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(name(self.question.as_deref().unwrap_or(&query.name)));
        bytes.extend(self.kind.unwrap_or(query.kind).to_be_bytes());
        bytes.extend(1u16.to_be_bytes());
        bytes.extend(self.answers.concat());
        bytes.extend(self.authorities.concat());
        bytes
    }
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Record {
    let mut bytes = name(owner);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(1u16.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

pub fn a(owner: &str, ttl: u32, address: [u8; 4]) -> Record {
    record(owner, 1, ttl, &address)
}

pub fn aaaa(owner: &str, ttl: u32, address: &str) -> Record {
    record(owner, 28, ttl, &address.parse::<std::net::Ipv6Addr>().unwrap().octets())
}

pub fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    record(owner, 5, ttl, &name(target))
}

pub fn ptr(owner: &str, ttl: u32, target: &str) -> Record {
    record(owner, 12, ttl, &name(target))
}

/// That says for how long there is nothing.
pub fn soa(owner: &str, ttl: u32) -> Record {
    let mut data = [name("ns"), name("hostmaster")].concat();
    for number in [1, 1, 1, 1, ttl] {
        data.extend(number.to_be_bytes());
    }
    record(owner, 6, ttl, &data)
}

pub fn mx(owner: &str, preference: u16, exchange: &str) -> Record {
    record(owner, 15, 60, &[&preference.to_be_bytes()[..], &name(exchange)].concat())
}

pub fn txt(owner: &str, pieces: &[&[u8]]) -> Record {
    let mut data = Vec::new();
    for piece in pieces {
        data.push(u8::try_from(piece.len()).unwrap());
        data.extend(*piece);
    }
    record(owner, 16, 60, &data)
}

pub fn srv(owner: &str, priority: u16, weight: u16, port: u16, target: &str) -> Record {
    let mut data = Vec::new();
    for word in [priority, weight, port] {
        data.extend(word.to_be_bytes());
    }
    data.extend(name(target));
    record(owner, 33, 60, &data)
}

/// Runs in threads of its own until it is dropped.
pub struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

type Handler = dyn Fn(&Query) -> Vec<Reply> + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    seen: Mutex<Vec<Query>>,
    asked: Event,
    gate: Mutex<bool>,
    opened: Condvar,
    stopped: AtomicBool,
}

impl NameServer {
    pub fn start(handler: impl Fn(&Query) -> Vec<Reply> + Send + Sync + 'static) -> NameServer {
        NameServer::start_with(true, handler)
    }

    /// One that answers nothing until [`release`](NameServer::release).
    pub fn start_held(handler: impl Fn(&Query) -> Vec<Reply> + Send + Sync + 'static) -> NameServer {
        NameServer::start_with(false, handler)
    }

    fn start_with(open: bool, handler: impl Fn(&Query) -> Vec<Reply> + Send + Sync + 'static) -> NameServer {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            seen: Mutex::default(),
            asked: Event::new(),
            gate: Mutex::new(open),
            opened: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        thread::spawn({
            let shared = shared.clone();
            move || shared.serve_udp(&udp)
        });
        thread::spawn({
            let shared = shared.clone();
            move || shared.serve_tcp(&tcp)
        });
        NameServer { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many queries have come.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    pub fn names(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().iter().map(|query| query.name.clone()).collect()
    }

    pub fn ids(&self) -> Vec<[u8; 2]> {
        self.shared.seen.lock().unwrap().iter().map(|query| [query.bytes[0], query.bytes[1]]).collect()
    }

    /// Suspends until so many queries have come.
    pub fn wait_for(&self, queries: usize) {
        while self.count() < queries {
            self.shared.asked.clear();
            if self.count() < queries {
                assert!(self.shared.asked.wait_timeout(Duration::from_secs(20)), "nobody asks");
            }
        }
    }

    pub fn release(&self) {
        self.shared.open();
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.open();
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(&[], self.address));
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn open(&self) {
        *self.gate.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn take(&self, bytes: &[u8], tcp: bool) -> (Query, Vec<Reply>) {
        let mut labels = Vec::new();
        let mut at = 12;
        while bytes[at] != 0 {
            let end = at + 1 + usize::from(bytes[at]);
            labels.push(String::from_utf8(bytes[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let query = {
            let mut seen = self.seen.lock().unwrap();
            let query = Query {
                name: labels.join("."),
                kind: word(at + 1),
                tcp,
                earlier: seen.len(),
                additional: word(10),
                bytes: bytes.to_vec(),
            };
            seen.push(query.clone());
            query
        };
        self.asked.set();
        let mut open = self.gate.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
        drop(open);
        let replies = (self.handler)(&query);
        (query, replies)
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut held: Vec<(Query, SocketAddr)> = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let (query, replies) = self.take(&buffer[..length], false);
            for reply in replies {
                match reply {
                    Reply::Message(message) => {
                        let from = if message.other_port { &other } else { socket };
                        let _ = from.send_to(&message.bytes(&query), client);
                    }
                    Reply::All(answer) => {
                        held.push((query.clone(), client));
                        for (query, client) in held.drain(..).rev() {
                            let message = Message { answers: answer(&query), ..Message::default() };
                            let _ = socket.send_to(&message.bytes(&query), client);
                        }
                    }
                    Reply::Hold => held.push((query.clone(), client)),
                    Reply::Raw(bytes) | Reply::RawKeepOpen(bytes) => drop(socket.send_to(&bytes, client)),
                    Reply::Drip => {}
                }
            }
        }
    }

    fn serve_tcp(self: Arc<Shared>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let (shared, stream) = (self.clone(), stream.unwrap());
            thread::spawn(move || shared.serve_connection(stream));
        }
    }

    fn serve_connection(&self, mut stream: TcpStream) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut bytes = vec![0; u16::from_be_bytes(length).into()];
            if stream.read_exact(&mut bytes).is_err() {
                return;
            }
            let (query, replies) = self.take(&bytes, true);
            for reply in replies {
                match reply {
                    Reply::Message(message) => {
                        let bytes = message.bytes(&query);
                        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                        let _ = stream.write_all(&[&length[..], &bytes].concat());
                    }
                    Reply::Raw(bytes) => {
                        let _ = stream.write_all(&bytes);
                        return;
                    }
                    Reply::RawKeepOpen(bytes) => drop(stream.write_all(&bytes)),
                    Reply::Drip => {
                        let drip = [0x7f].into_iter().chain(std::iter::repeat(0));
                        for byte in drip {
                            if stream.write_all(&[byte]).is_err() {
                                return;
                            }
                            thread::sleep(Duration::from_millis(10));
                        }
                    }
                    Reply::Hold | Reply::All(_) => panic!("over UDP only"),
                }
            }
        }
    }
}
