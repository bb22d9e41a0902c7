//! Connecting to several addresses: none of them holds up the others, and what does not win is closed.
#![cfg(target_os = "linux")]

mod pair;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use greenlet_core::{run, sleep, spawn, with_timeout, yield_now};
use greenlet_net::{AddressError, ConnectOptions, TcpListener, TcpStream};
use pair::{kind, unanswering};
use socket2::{Domain, SockRef, Socket, Type};

const SHORT: Duration = Duration::from_millis(20);

/// An address that refuses as long as the socket lives: bound, so nobody else gets it, and not listening.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// How many of this machine's sockets wait for an answer from that address.
fn half_open(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        let (peer, state) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        peer.ends_with(&format!(":{:04X}", address.port())) && state == "02" // SYN_SENT
    };
    table.lines().filter(is_one).count()
}

fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < pair::FOREVER);
        sleep(Duration::from_millis(1));
    }
}

fn inside(error: &io::Error) -> Vec<(SocketAddr, ErrorKind)> {
    let inside = error.get_ref().unwrap().downcast_ref::<AddressError>().unwrap();
    inside.attempts().iter().map(|(address, error)| (*address, error.kind())).collect()
}

#[test]
fn a_silent_address_does_not_hold_up_the_next_one() {
    run(|| {
        let (silent, _only) = unanswering();
        let silent = silent.local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answers = listener.local_addr().unwrap();
        let start = Instant::now();
        let options = ConnectOptions::new().attempt_delay(SHORT);
        let mut stream = options.connect([silent, answers]).unwrap();
        assert!(start.elapsed() >= SHORT);
        assert_eq!(stream.peer_addr().unwrap(), answers);
        assert_eq!(half_open(silent), 0, "the loser was not closed");
        // What won is a connection like any other.
        let (mut server, _) = listener.accept().unwrap();
        let reader = spawn(move || {
            let mut buffer = [0; 2];
            stream.read_exact(&mut buffer).unwrap();
            buffer
        });
        yield_now();
        server.write_all(b"ok").unwrap();
        assert_eq!(&reader.get().unwrap(), b"ok");
    });
}

#[test]
fn after_a_failure_the_next_one_is_tried_at_once() {
    run(|| {
        let (_one, first) = refusing();
        let (_two, second) = refusing();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answers = listener.local_addr().unwrap();
        let options = ConnectOptions::new().attempt_delay(pair::FOREVER);
        let start = Instant::now();
        let stream = options.connect([first, second, answers]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
        assert!(start.elapsed() < pair::FOREVER / 2);
    });
}

#[test]
fn any_of_the_attempts_may_win_late() {
    run(|| {
        let (first, _only) = unanswering();
        let (second, _also) = unanswering();
        let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
        let client =
            spawn(move || ConnectOptions::new().attempt_delay(Duration::from_millis(10)).connect(addresses));
        until(|| addresses.iter().all(|address| half_open(*address) == 1));
        first.accept().unwrap(); // room for one more: the system asks again after a second
        let stream = client.into_value().unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[0]);
        assert_eq!(half_open(addresses[1]), 0);
    });
}

#[test]
fn the_limit_is_for_the_whole_and_names_everybody() {
    run(|| {
        let (silent, _only) = unanswering();
        let silent = silent.local_addr().unwrap();
        let (_socket, refuses) = refusing();
        let never_tried = SocketAddr::from(([127, 0, 0, 1], 9));
        let start = Instant::now();
        let options = ConnectOptions::new().timeout(SHORT * 2);
        let error = options.connect([refuses, silent, never_tried]).unwrap_err();
        assert!(start.elapsed() >= SHORT * 2);
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(inside(&error)[0], (refuses, ErrorKind::ConnectionRefused));
        assert_eq!(inside(&error)[1..], [silent, never_tried].map(|address| (address, ErrorKind::TimedOut)));
        for address in [refuses, silent, never_tried] {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
        assert_eq!(half_open(silent), 0);
    });
}

#[test]
fn a_kill_and_a_timeout_close_every_half_open_socket() {
    run(|| {
        let (first, _only) = unanswering();
        let (second, _also) = unanswering();
        let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
        let options = ConnectOptions::new().attempt_delay(Duration::from_millis(10));
        let client = spawn({
            let options = options.clone();
            move || options.connect(addresses).unwrap()
        });
        until(|| addresses.iter().all(|address| half_open(*address) == 1));
        client.kill();
        assert!(client.exited());
        assert!(addresses.iter().all(|address| half_open(*address) == 0));

        assert!(with_timeout(SHORT * 3, || options.connect(addresses)).is_err());
        assert!(addresses.iter().all(|address| half_open(*address) == 0));
    });
}

#[test]
fn a_thread_without_greenlets_connects_in_the_same_way() {
    let (silent, _only) = unanswering();
    let silent = silent.local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let answers = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        ConnectOptions::new().attempt_delay(SHORT).connect([silent, answers]).unwrap().peer_addr().unwrap()
    });
    assert_eq!(thread.join().unwrap(), answers);
}

#[test]
fn a_connection_comes_from_where_it_was_told_to() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let from: SocketAddr = "127.0.0.7:0".parse().unwrap();
        let stream = ConnectOptions::new().source_address(from).connect(to).unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), from.ip());
        assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());

        // A port that is taken, and a family that does not fit, are errors that say so.
        let taken = stream.local_addr().unwrap();
        let error = ConnectOptions::new().source_address(taken).connect(to).unwrap_err();
        assert!(error.to_string().contains(&format!("cannot come from {taken}")), "{error}");
        let other: SocketAddr = "[::1]:0".parse().unwrap();
        let error = ConnectOptions::new().source_address(other).connect(to).unwrap_err();
        assert!(error.to_string().contains("of the other family"), "{error}");
    });
}

#[test]
fn options_are_set_before_the_attempt() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let options = ConnectOptions::new()
            .recv_buffer_size(8192)
            .send_buffer_size(8192)
            .before_connect(|socket| SockRef::from(&socket).set_keepalive(true));
        let stream = options.connect(to).unwrap();
        let set = SockRef::from(&stream);
        assert!(set.keepalive().unwrap());
        assert!(set.recv_buffer_size().unwrap() <= 2 * 8192 && set.send_buffer_size().unwrap() <= 2 * 8192);
        let options = options.before_connect(|_| Err(io::Error::other("no luck")));
        let error = options.connect(to).unwrap_err();
        assert!(error.to_string().contains("no luck"), "{error}");
        let error = ConnectOptions::new().device("no-such-device").connect(to).unwrap_err();
        assert!(error.to_string().contains(&to.to_string()), "{error}");
    });
}

#[test]
fn names_are_looked_up_and_what_is_none_is_named() {
    run(|| {
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("localhost", port)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        TcpStream::connect(format!("localhost:{port}")).unwrap();
        // Too long a label for a question to be asked.
        let name = format!("{}.invalid", "x".repeat(70));
        let error = TcpStream::connect((name.as_str(), 80)).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(kind(TcpStream::connect("nul\0in.it:80")), ErrorKind::InvalidInput);
    });
}
