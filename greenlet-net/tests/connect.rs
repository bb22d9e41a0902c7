//! Connecting: every address is tried, and the error says which.

mod pair;

use std::io::ErrorKind;
use std::net::SocketAddr;

use greenlet_core::run;
use greenlet_net::{AddressError, TcpListener, TcpStream};
use pair::kind;
use socket2::{Domain, Socket, Type};

/// An address that refuses as long as the socket lives: bound, so nobody else gets it, and not listening.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn the_address_that_refuses_is_named() {
    run(|| {
        let (_socket, address) = refusing();
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("cannot connect to {address} (")), "{error}");
    });
}

#[test]
fn all_addresses_that_refuse_are_named() {
    run(|| {
        let ((_one, first), (_two, second)) = (refusing(), refusing());
        let error = TcpStream::connect(&[first, second][..]).unwrap_err();
        let inside = error.get_ref().unwrap().downcast_ref::<AddressError>().unwrap();
        let tried: Vec<_> = inside.attempts().iter().map(|(address, _)| *address).collect();
        assert_eq!(tried, [first, second]);
        assert!(inside.attempts().iter().all(|(_, error)| error.raw_os_error() == Some(libc::ECONNREFUSED)));
        for address in [first, second] {
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    });
}

#[test]
fn the_first_address_that_answers_is_taken() {
    run(|| {
        let (_socket, refuses) = refusing();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let answers = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&[refuses, answers][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
    });
}

#[test]
fn no_address_is_invalid_input() {
    assert_eq!(kind(TcpStream::connect(&[][..])), ErrorKind::InvalidInput);
    assert_eq!(kind(TcpStream::connect("127.0.0.1")), ErrorKind::InvalidInput);
}

#[test]
fn addresses_are_written_in_all_of_stds_ways() {
    run(|| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    });
}

/// A connection that is decided while the greenlet waits, not at once: room in the backlog comes later.
#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_takes_a_while_suspends_only_its_greenlet() {
    run(|| {
        let (listener, _only) = pair::unanswering();
        let address = listener.local_addr().unwrap();
        let client = greenlet_core::spawn(move || TcpStream::connect(address).unwrap());
        greenlet_core::yield_now();
        assert!(!client.ready());
        // The client's system asks again after a second.
        listener.accept().unwrap();
        let (_stream, peer) = listener.accept().unwrap();
        assert_eq!(client.into_value().unwrap().local_addr().unwrap(), peer);
    });
}
