//! Everything that is not waiting: peek, options, conversions.

mod pair;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;

use greenlet_core::{run, spawn, yield_now};
use greenlet_net::{TcpListener, TcpStream};
use pair::{kind, pair, pair_with_std};

#[test]
fn peek_waits_and_leaves_the_bytes_there() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        let peeker = spawn(move || {
            let mut buffer = [0; 8];
            let n = ours.peek(&mut buffer).unwrap();
            (n, buffer, ours)
        });
        yield_now();
        assert!(!peeker.ready());
        theirs.write_all(b"hello").unwrap();
        let (n, buffer, mut ours) = peeker.into_value().unwrap();
        assert_eq!(&buffer[..n], b"hello");
        let mut buffer = [0; 8];
        assert_eq!(ours.read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");
        drop(theirs);
        assert_eq!(ours.peek(&mut buffer).unwrap(), 0);
    });
}

#[test]
fn options_keep_what_was_set() {
    run(|| {
        let (ours, _theirs) = pair();
        for nodelay in [true, false] {
            ours.set_nodelay(nodelay).unwrap();
            assert_eq!(ours.nodelay().unwrap(), nodelay);
        }
        ours.set_ttl(33).unwrap();
        assert_eq!(ours.ttl().unwrap(), 33);
        assert!(ours.take_error().unwrap().is_none());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_ttl(44).unwrap();
        assert_eq!(listener.ttl().unwrap(), 44);
        assert!(listener.take_error().unwrap().is_none());
    });
}

#[test]
fn several_listeners_share_a_port_when_all_ask_for_it() {
    let shared = greenlet_net::ListenOptions::new().reuse_port(true);
    let first = shared.bind("127.0.0.1:0").unwrap();
    let address = first.local_addr().unwrap();
    shared.bind(address).unwrap();
    assert_eq!(kind(TcpListener::bind(address)), ErrorKind::AddrInUse);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = TcpListener::bind(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("cannot listen on {address} (")), "{error}");
}

#[test]
fn bind_takes_the_first_address_that_can_be_had() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [taken.local_addr().unwrap(), ([127, 0, 0, 1], 0).into()];
    let listener = TcpListener::bind(&addresses[..]).unwrap();
    assert_ne!(listener.local_addr().unwrap(), addresses[0]);
}

#[test]
fn a_stream_goes_to_std_and_back() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        // Waited on here, so a hub watches it.
        theirs.write_all(b"one").unwrap();
        assert_eq!((&ours).read(&mut [0; 8]).unwrap(), 3);

        let mut std_stream = std::net::TcpStream::try_from(ours).unwrap();
        assert_eq!(std_stream.read_timeout().unwrap(), None);
        theirs.write_all(b"two").unwrap();
        assert_eq!(std_stream.read(&mut [0; 8]).unwrap(), 3);

        let mut ours = TcpStream::try_from(std_stream).unwrap();
        let reader = spawn(move || ours.read(&mut [0; 8]).unwrap());
        yield_now();
        theirs.write_all(b"three").unwrap();
        assert_eq!(reader.get().unwrap(), 5);
    });
}

#[test]
fn a_listener_goes_to_std_and_back() {
    run(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::try_from(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let client = spawn(move || TcpStream::connect(address).unwrap());
        listener.accept().unwrap();
        client.join();
        let listener = std::net::TcpListener::try_from(listener).unwrap();
        let client = std::thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
        listener.accept().unwrap();
        client.join().unwrap();
    });
}

#[test]
fn what_has_clones_does_not_become_stds() {
    run(|| {
        let (ours, theirs) = pair();
        let clone = ours.try_clone().unwrap();
        assert_eq!(kind(ours.into_std()), ErrorKind::ResourceBusy);
        clone.into_std().unwrap();
        drop(theirs);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clone = listener.try_clone().unwrap();
        assert_eq!(kind(listener.into_std()), ErrorKind::ResourceBusy);
        clone.into_std().unwrap();
    });
}

#[test]
fn debug_output_names_the_addresses_as_std_does() {
    let (ours, _theirs) = pair();
    let text = format!("{ours:?}");
    assert!(text.starts_with("TcpStream { addr: 127.0.0.1:"), "{text}");
    assert!(text.contains(&format!("fd: {}", ours.as_raw_fd())), "{text}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(format!("{listener:?}").starts_with("TcpListener { addr: 127.0.0.1:"));
}

#[test]
fn sockets_go_to_and_are_shared_with_other_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<TcpStream>();
    check::<TcpListener>();
    check::<greenlet_net::OwnedReadHalf>();
    check::<greenlet_net::OwnedWriteHalf>();
    check::<greenlet_net::AddressError>();
}
