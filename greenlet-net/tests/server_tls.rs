//! What servers of TLS sessions promise.
#![cfg(feature = "tls")]

mod pair;
mod served;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{Hub, run, spawn, yield_now};
use greenlet_net::TcpStream;
use greenlet_net::server::{StreamServer, tls};
use greenlet_net::tls::{Identity, Roots, TlsAcceptor, TlsConnector, TlsStream};
use pair::{FOREVER, read_to_any_end};
use served::connect;

const ANY: &str = "127.0.0.1:0";

/// Both sides of a certificate for `localhost`.
struct Sides {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

fn sides(handshake_timeout: Duration) -> Sides {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = Identity::from_pem(&certificate, &key).unwrap();
    let acceptor = TlsAcceptor::builder().identity(identity).handshake_timeout(Some(handshake_timeout));
    let connector = TlsConnector::builder().roots(Roots::from_pem(&certificate).unwrap());
    Sides { acceptor: acceptor.build().unwrap(), connector: connector.build().unwrap() }
}

/// What the server says in a new session until it ends it.
fn answer(sides: &Sides, server: &StreamServer) -> String {
    let mut stream = sides.connector.connect("localhost", connect(server)).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap(); // an end without `close_notify` is an error
    all
}

fn greet(mut stream: TlsStream, _: SocketAddr) -> io::Result<()> {
    stream.write_all(b"hello")
}

fn until(so: impl Fn() -> bool) {
    while !so() {
        yield_now();
    }
}

#[test]
fn sessions_are_served_and_ended_whoever_has_a_clone() {
    run(|| {
        let sides = sides(FOREVER);
        let kept = Rc::new(RefCell::new(Vec::new()));
        let server = StreamServer::new(ANY, {
            let kept = kept.clone();
            tls(sides.acceptor.clone(), move |mut stream: TlsStream, _| {
                stream.write_all(b"hello").unwrap();
                kept.borrow_mut().push(stream);
            })
        });
        server.start().unwrap();
        for _ in 0..3 {
            assert_eq!(answer(&sides, &server), "hello");
        }
        assert_eq!(server.counts().failed, 0);
    });
}

#[test]
fn clients_that_are_slow_with_their_hello_hold_up_nobody_and_are_let_go() {
    run(|| {
        let sides = sides(Duration::from_millis(200));
        let server = StreamServer::new(ANY, tls(sides.acceptor.clone(), greet));
        server.start().unwrap();
        let slow: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
        // a hello, byte by byte, never ending
        let drips = spawn({
            let slow: Vec<TcpStream> = slow.iter().map(|stream| stream.try_clone().unwrap()).collect();
            move || {
                for byte in b"\x16\x03\x01\x40\x00\x01\x00".iter().chain(std::iter::repeat(&0)) {
                    if slow
                        .iter()
                        .filter(|stream| {
                            let mut stream: &TcpStream = stream;
                            stream.write_all(&[*byte]).is_ok()
                        })
                        .count()
                        == 0
                    {
                        return;
                    }
                    greenlet_core::sleep(Duration::from_millis(5));
                }
            }
        });
        until(|| server.counts().active == 20);
        assert_eq!(answer(&sides, &server), "hello");
        until(|| server.counts().active == 0);
        for stream in slow {
            read_to_any_end(stream);
        }
        drips.join();
        assert_eq!(server.counts().failed, 20);
        assert_eq!(answer(&sides, &server), "hello");
    });
}

#[test]
fn garbage_in_place_of_a_hello_harms_nobody() {
    run(|| {
        let sides = sides(FOREVER);
        let server = StreamServer::new(ANY, tls(sides.acceptor.clone(), greet));
        server.start().unwrap();
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", &[0; 1000]] {
            let mut stream = connect(&server);
            stream.write_all(garbage).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            read_to_any_end(stream);
        }
        drop(connect(&server)); // and one that says nothing
        until(|| server.counts().failed == 4);
        assert_eq!(answer(&sides, &server), "hello");
    });
}

#[test]
fn a_handshake_counts_for_the_limit_and_ends_with_a_stop() {
    run(|| {
        let sides = sides(FOREVER);
        let server = StreamServer::new(ANY, tls(sides.acceptor.clone(), greet)).limit(1);
        server.start().unwrap();
        let (silent, next) = (connect(&server), connect(&server));
        until(|| server.counts().active == 1);
        (0..100).for_each(|_| yield_now());
        assert_eq!(server.counts().accepted, 1);
        drop(silent);
        until(|| server.counts().accepted == 2);
        let stopped = server.stop(Duration::ZERO);
        assert_eq!((stopped.killed, stopped.left), (1, 0));
        assert_eq!(read_to_any_end(next), b"");
    });
}

#[test]
fn timeouts_of_the_server_are_those_of_the_session() {
    run(|| {
        let sides = sides(FOREVER);
        let seen = Rc::new(RefCell::new(None));
        let server = StreamServer::new(ANY, {
            let seen = seen.clone();
            tls(sides.acceptor.clone(), move |stream: TlsStream, _| {
                *seen.borrow_mut() = Some((stream.read_timeout().unwrap(), stream.write_timeout().unwrap()));
            })
        });
        let server = server.read_timeout(Duration::from_secs(7));
        server.start().unwrap();
        assert_eq!(answer(&sides, &server), "");
        assert_eq!(*seen.borrow(), Some((Some(Duration::from_secs(7)), None)));
    });
}

#[test]
fn sessions_are_served_on_hubs() {
    run(|| {
        let sides = sides(FOREVER);
        let tell = |mut stream: TlsStream, _| write!(stream, "{}", Hub::current().name());
        let server = StreamServer::on_hubs(2, ANY, tls(sides.acceptor.clone(), tell)).name("tls");
        server.start().unwrap();
        let mut hubs = std::collections::HashSet::new();
        while hubs.len() < 2 {
            hubs.insert(answer(&sides, &server));
        }
        assert!(hubs.contains("tls-1") && hubs.contains("tls-2"));
        server.stop(FOREVER);
    });
}
