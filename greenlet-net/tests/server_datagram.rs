//! What servers of datagrams promise.

mod pair;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Instant;

use greenlet_core::pool::Pool;
use greenlet_core::sync::Semaphore;
use greenlet_core::{Event, Hub, run, sleep, spawn, yield_now};
use greenlet_net::TcpListener;
use greenlet_net::server::{Datagram, DatagramServer, StreamServer};
use pair::{FOREVER, kind};

const ANY: &str = "127.0.0.1:0";

fn echo(datagram: Datagram) -> io::Result<usize> {
    datagram.reply(&datagram)
}

/// A client that lets greenlets run while it waits.
struct Client(UdpSocket);

impl Client {
    fn new() -> Client {
        Client::on(ANY)
    }

    fn on(address: &str) -> Client {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        Client(socket)
    }

    fn send(&self, data: &[u8], to: SocketAddr) {
        assert_eq!(self.0.send_to(data, to).unwrap(), data.len());
    }

    fn receive(&self) -> Vec<u8> {
        let begin = Instant::now();
        let mut buffer = vec![0; 65536];
        loop {
            match self.0.recv(&mut buffer) {
                Ok(length) => return buffer[..length].to_vec(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(begin.elapsed() < FOREVER, "no answer");
            yield_now();
        }
    }

    fn ask(&self, data: &[u8], to: SocketAddr) -> Vec<u8> {
        self.send(data, to);
        self.receive()
    }

    fn has_nothing(&self) -> bool {
        kind(self.0.recv(&mut [0])) == ErrorKind::WouldBlock
    }
}

fn started(server: DatagramServer) -> (DatagramServer, SocketAddr) {
    server.start().unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

fn until(so: impl Fn() -> bool) {
    while !so() {
        yield_now();
    }
}

fn settle() {
    (0..100).for_each(|_| yield_now());
}

#[test]
fn a_handler_answers_from_the_address_it_was_asked_at() {
    run(|| {
        let (server, address) = started(DatagramServer::new(ANY, echo));
        let client = Client::new();
        client.0.connect(address).unwrap(); // takes nothing from elsewhere
        for text in [&b"hello"[..], b"", b"again"] {
            client.0.send(text).unwrap();
            assert_eq!(client.receive(), text);
        }
        assert_eq!(server.counts().accepted, 3);
    });
}

#[test]
fn the_server_may_send_first() {
    run(|| {
        let (server, _) = started(DatagramServer::new(ANY, echo));
        let client = Client::new();
        server.send_to(b"news", client.0.local_addr().unwrap()).unwrap();
        assert_eq!(client.receive(), b"news");
        let v6 = "[::1]:9".parse().unwrap();
        assert_eq!(kind(server.send_to(b"news", v6)), ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn what_is_too_long_is_cut_and_says_so() {
    run(|| {
        let tell = |datagram: Datagram| {
            let truncated = datagram.is_truncated();
            datagram.reply(format!("{} {truncated}", datagram.len()).as_bytes())
        };
        let client = Client::new();
        let (_server, address) = started(DatagramServer::new(ANY, tell));
        assert_eq!(client.ask(&[1; 8192], address), b"8192 false");
        assert_eq!(client.ask(&[1; 8193], address), b"8192 true");
        let (_server, address) = started(DatagramServer::new(ANY, tell).max_size(3));
        assert_eq!(client.ask(b"abc", address), b"3 false");
        assert_eq!(client.ask(b"abcd", address), b"3 true");
        let (_server, address) = started(DatagramServer::new(ANY, tell).max_size(0));
        assert_eq!(client.ask(b"", address), b"0 false");
        assert_eq!(client.ask(b"a", address), b"0 true");
        let (_server, address) = started(DatagramServer::new(ANY, tell).max_size(usize::MAX));
        assert_eq!(client.ask(&[1; 65507], address), b"65507 false");
    });
}

#[test]
fn handlers_begin_in_the_order_of_arrival() {
    run(|| {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let server = DatagramServer::new(ANY, {
            let seen = seen.clone();
            move |datagram: Datagram| seen.borrow_mut().push(datagram[0])
        });
        let (_server, address) = started(server);
        let client = Client::new();
        (0..20).for_each(|number| client.send(&[number], address));
        until(|| seen.borrow().len() == 20);
        assert_eq!(*seen.borrow(), (0..20).collect::<Vec<u8>>());
    });
}

#[test]
fn a_handler_that_fails_or_panics_harms_nobody() {
    run(|| {
        let (server, address) = started(DatagramServer::new(ANY, |datagram: Datagram| match &*datagram {
            b"error" => Err(io::Error::other("on purpose")),
            b"panic" => panic!("on purpose"),
            _ => echo(datagram),
        }));
        let client = Client::new();
        client.send(b"error", address);
        client.send(b"panic", address);
        assert_eq!(client.ask(b"hello", address), b"hello");
        until(|| server.counts().active == 0);
        assert_eq!(server.counts().failed, 2);
    });
}

fn fills_and_recovers(server: DatagramServer, permits: &Semaphore) {
    let (server, address) = started(server);
    let client = Client::new();
    (0..3).for_each(|number| client.send(&[number], address));
    until(|| server.counts().active == 2);
    settle();
    assert_eq!(server.counts().accepted, 2);
    permits.release();
    assert_eq!(client.receive(), [0]);
    until(|| server.counts().accepted == 3);
    permits.release();
    permits.release();
    let rest: HashSet<Vec<u8>> = [client.receive(), client.receive()].into();
    assert_eq!(rest, [vec![1], vec![2]].into());
}

#[test]
fn a_full_server_receives_no_more_until_a_handler_ends() {
    run(|| {
        let permits = Rc::new(Semaphore::new(0));
        let handler = |permits: &Rc<Semaphore>| {
            let permits = permits.clone();
            move |datagram: Datagram| {
                permits.acquire();
                echo(datagram)
            }
        };
        fills_and_recovers(DatagramServer::new(ANY, handler(&permits)).limit(2), &permits);
        fills_and_recovers(DatagramServer::new(ANY, handler(&permits)).pool(&Pool::new(2)), &permits);
    });
}

#[test]
fn an_address_with_too_many_datagrams_at_work_is_refused_more() {
    run(|| {
        let go = Rc::new(Event::new());
        let server = DatagramServer::new(ANY, {
            let go = go.clone();
            move |datagram: Datagram| {
                go.wait();
                echo(datagram)
            }
        });
        let (server, address) = started(server.limit_per_ip(1));
        let (client, other) = (Client::new(), Client::on("127.0.0.2:0"));
        client.send(b"one", address);
        client.send(b"two", address);
        other.send(b"three", address);
        until(|| server.counts().active == 2);
        go.set();
        assert_eq!((client.receive(), other.receive()), (b"one".to_vec(), b"three".to_vec()));
        until(|| server.counts().active == 0);
        assert!(client.has_nothing());
        assert_eq!(server.counts().refused, 1);
        assert_eq!(client.ask(b"four", address), b"four");
    });
}

#[test]
fn pausing_keeps_what_comes() {
    run(|| {
        let (server, address) = started(DatagramServer::new(ANY, echo));
        let client = Client::new();
        assert_eq!(client.ask(b"one", address), b"one");
        server.stop_accepting();
        client.send(b"two", address);
        settle();
        assert!(client.has_nothing() && !server.started());
        server.start_accepting().unwrap();
        assert_eq!(client.receive(), b"two");
    });
}

#[test]
fn handlers_may_answer_while_the_server_stops() {
    run(|| {
        let server = DatagramServer::new(ANY, |datagram: Datagram| {
            sleep(std::time::Duration::from_millis(20));
            echo(datagram)
        });
        let (server, address) = started(server);
        let client = Client::new();
        client.send(b"late", address);
        until(|| server.counts().active == 1);
        assert_eq!(server.stop(FOREVER).finished, 1);
        assert_eq!(client.receive(), b"late");
        assert_eq!(kind(server.send_to(b"later", client.0.local_addr().unwrap())), ErrorKind::NotConnected);
        // and now the port is free
        UdpSocket::bind(address).unwrap();
    });
}

#[test]
fn a_kill_of_who_serves_forever_releases_the_port() {
    run(|| {
        let server = Rc::new(DatagramServer::new(ANY, echo));
        server.bind().unwrap();
        let address = server.local_addr().unwrap();
        let serves = spawn({
            let server = server.clone();
            move || server.serve_forever().unwrap()
        });
        assert_eq!(Client::new().ask(b"hello", address), b"hello");
        serves.kill();
        assert!(server.closed());
        UdpSocket::bind(address).unwrap();
    });
}

#[test]
fn hubs_share_the_datagrams() {
    run(|| {
        let server = DatagramServer::on_hubs(2, ANY, |datagram: Datagram| {
            datagram.reply(Hub::current().name().as_bytes())
        });
        let (server, address) = started(server);
        let mut hubs = HashSet::new();
        while hubs.len() < 2 {
            hubs.insert(Client::new().ask(b"who?", address));
        }
        server.stop(FOREVER);
        UdpSocket::bind(address).unwrap();
    });
}

#[test]
fn every_form_of_address_is_received_on() {
    run(|| {
        for (form, from) in [(ANY, "127.0.0.1:0"), ("[::1]:0", "[::1]:0"), ("localhost:0", "localhost:0")] {
            let (_server, address) = started(DatagramServer::new(form, echo));
            assert_eq!(Client::on(from).ask(b"hello", address), b"hello", "{form}");
        }
        let (server, address) = started(DatagramServer::new(0, echo));
        let port = address.port();
        assert_eq!(Client::new().ask(b"v4", ([127, 0, 0, 1], port).into()), b"v4");
        assert_eq!(Client::on("[::1]:0").ask(b"v6", ([0, 0, 0, 0, 0, 0, 0, 1], port).into()), b"v6");
        drop(server);
        let ready = UdpSocket::bind(ANY).unwrap();
        let (_server, address) = started(DatagramServer::new(ready, echo));
        assert_eq!(Client::new().ask(b"ready", address), b"ready");
    });
}

#[test]
fn connections_and_datagrams_are_not_mixed_up() {
    run(|| {
        let socket = UdpSocket::bind(ANY).unwrap();
        let refused = StreamServer::new(socket, |_: greenlet_net::TcpStream, _| ()).start();
        assert_eq!(kind(refused), ErrorKind::InvalidInput);
        let listener = TcpListener::bind(ANY).unwrap();
        assert_eq!(kind(DatagramServer::new(listener, echo).start()), ErrorKind::InvalidInput);
        assert_eq!(kind(DatagramServer::new("unix:/nowhere", echo).start()), ErrorKind::InvalidInput);
        let taken = UdpSocket::bind(ANY).unwrap();
        let error = DatagramServer::new(taken.local_addr().unwrap(), echo).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn a_flood_is_survived_within_the_limit() {
    run(|| {
        let (most, at_work) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let server = DatagramServer::new(ANY, {
            let (most, at_work) = (most.clone(), at_work.clone());
            move |_: Datagram| {
                at_work.set(at_work.get() + 1);
                most.set(most.get().max(at_work.get()));
                yield_now();
                at_work.set(at_work.get() - 1);
            }
        });
        let (server, address) = started(server.limit(10));
        let client = Client::new();
        for _ in 0..20_000 {
            // what the system has no room for is lost
            let _ = client.0.send_to(b"flood", address);
        }
        until(|| server.counts().active == 0 && server.counts().accepted > 10);
        settle();
        assert!(most.get() <= 10);
        assert_eq!(server.counts().failed, 0);
    });
}
