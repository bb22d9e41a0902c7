//! A kill unwinds a greenlet from any call that waits, and its sockets close.

mod pair;

use std::io::{ErrorKind, Read, Write};

use greenlet_core::{run, spawn, yield_now};
use greenlet_net::{TcpListener, TcpStream};
use pair::{fill, kind, pair_with_std, read_to_any_end};

#[test]
fn kill_in_accept_closes_the_listener() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = spawn(move || drop(listener.accept()));
        yield_now();
        server.kill();
        assert!(server.exited());
        assert_eq!(kind(TcpStream::connect(address)), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn kill_in_read_closes_the_connection() {
    run(|| {
        let (mut ours, theirs) = pair_with_std();
        let reader = spawn(move || ours.read(&mut [0; 8]).unwrap());
        yield_now();
        reader.kill();
        assert!(reader.exited());
        assert_eq!(read_to_any_end(theirs), b"");
    });
}

#[test]
fn kill_in_write_closes_the_connection() {
    run(|| {
        let (mut ours, theirs) = pair_with_std();
        let written = fill(&ours);
        let writer = spawn(move || ours.write_all(&[8; 1 << 20]).unwrap());
        yield_now();
        writer.kill();
        assert!(writer.exited());
        // All that was written before is there.
        let received = read_to_any_end(theirs);
        assert!(received.len() >= written);
        assert!(received[..written].iter().all(|&byte| byte == 7));
    });
}

/// The states of this machine's TCP sockets that have to do with a port.
#[cfg(target_os = "linux")]
fn connecting_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        let (peer, state) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        peer.ends_with(&format!(":{port:04X}")) && state == "02" // SYN_SENT
    };
    table.lines().filter(is_one).count()
}

#[cfg(target_os = "linux")]
#[test]
fn kill_in_connect_closes_the_half_open_socket() {
    run(|| {
        let (listener, _only) = pair::unanswering();
        let address = listener.local_addr().unwrap();
        let client = spawn(move || TcpStream::connect(address).unwrap());
        yield_now();
        assert_eq!(connecting_to(address.port()), 1);
        client.kill();
        assert!(client.exited());
        assert_eq!(connecting_to(address.port()), 0);
    });
}

#[test]
fn a_killed_reader_leaves_the_stream_to_others() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        let mut clone = ours.try_clone().unwrap();
        let reader = spawn(move || clone.read(&mut [0; 8]).unwrap());
        yield_now();
        reader.kill();
        theirs.write_all(b"later").unwrap();
        let mut buffer = [0; 8];
        assert_eq!((&ours).read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"later");
    });
}

#[test]
fn a_killed_accepter_leaves_the_listener_to_others() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clone = listener.try_clone().unwrap();
        let accepter = spawn(move || clone.accept().unwrap());
        yield_now();
        accepter.kill();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    });
}

#[test]
fn the_end_of_run_closes_what_greenlets_had_open() {
    let theirs = run(|| {
        let (mut ours, theirs) = pair_with_std();
        spawn(move || ours.read(&mut [0; 8]).unwrap());
        yield_now();
        theirs
    });
    assert_eq!(read_to_any_end(theirs), b"");
}
