//! What is sent comes back: the ordinary use, from greenlets and from plain threads.

mod pair;

use std::io::{Read, Write, copy};
use std::net::{Shutdown, SocketAddr};

use greenlet_core::{Greenlet, joinall, run, spawn};
use greenlet_net::{ListenOptions, TcpListener, TcpStream};

/// Serves echo on the current hub until killed.
fn serve(listener: TcpListener) -> (SocketAddr, Greenlet<()>) {
    let address = listener.local_addr().unwrap();
    let server = spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            spawn(move || copy(&mut &stream, &mut &stream).unwrap());
        }
    });
    (address, server)
}

fn bind(address: impl greenlet_net::ToAddresses) -> TcpListener {
    TcpListener::bind(address).unwrap()
}

fn ask(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// `::1` is not there on every machine that runs tests.
fn bind_v6(options: ListenOptions, address: &str) -> Option<TcpListener> {
    options.bind(address).inspect_err(|error| println!("skipped: {error}")).ok()
}

#[test]
fn echo_over_ipv4() {
    run(|| {
        let (address, _server) = serve(bind("127.0.0.1:0"));
        assert!(address.is_ipv4());
        assert_eq!(ask(address, "hello"), "hello");
    });
}

#[test]
fn echo_over_ipv6() {
    run(|| {
        let Some(listener) = bind_v6(ListenOptions::new(), "[::1]:0") else { return };
        let (address, _server) = serve(listener);
        assert!(address.is_ipv6());
        assert_eq!(ask(address, "hello"), "hello");
    });
}

#[test]
fn a_listener_for_both_versions_takes_both() {
    run(|| {
        let Some(listener) = bind_v6(ListenOptions::new().only_v6(false), "[::]:0") else { return };
        let (address, _server) = serve(listener);
        assert_eq!(ask(([127, 0, 0, 1], address.port()).into(), "four"), "four");
    });
}

#[test]
fn a_listener_for_ipv6_only_refuses_ipv4() {
    run(|| {
        let Some(listener) = bind_v6(ListenOptions::new().only_v6(true), "[::]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        // The port is free for IPv4, so it may be taken by another test; not by one that listens on 127.0.0.7.
        assert!(TcpStream::connect(("127.0.0.7", port)).is_err());
    });
}

#[test]
fn many_connections_at_once() {
    run(|| {
        let (address, _server) = serve(bind("127.0.0.1:0"));
        let clients: Vec<_> = (0..200)
            .map(|number: u32| {
                spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    for round in 0..20 {
                        let sent = (number * 1000 + round).to_le_bytes();
                        stream.write_all(&sent).unwrap();
                        let mut answer = [0; 4];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, sent);
                    }
                })
            })
            .collect();
        joinall(&clients);
        assert!(clients.iter().all(|client| client.successful()));
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    run(|| {
        let (address, _server) = serve(bind("127.0.0.1:0"));
        for round in 0..300 {
            let text = format!("round {round}");
            assert_eq!(ask(address, &text), text);
        }
    });
}

#[test]
fn plain_threads_are_peers_like_any_other() {
    run(|| {
        let (address, _server) = serve(bind("127.0.0.1:0"));
        let done = std::sync::Arc::new(greenlet_core::Queue::unbounded());
        let threads: Vec<_> = (0..4)
            .map(|number: u32| {
                let done = done.clone();
                std::thread::spawn(move || {
                    let mut stream = std::net::TcpStream::connect(address).unwrap();
                    for round in 0..50 {
                        let sent = (number * 1000 + round).to_le_bytes();
                        stream.write_all(&sent).unwrap();
                        let mut answer = [0; 4];
                        stream.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, sent);
                    }
                    drop(stream);
                    done.put(number)
                })
            })
            .collect();
        // The hub serves while this waits.
        for _ in &threads {
            done.get().unwrap();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
}

#[test]
fn a_thread_without_greenlets_just_blocks() {
    let listener = bind("127.0.0.1:0");
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || ask(address, "no greenlets here"));
    let (stream, _) = listener.accept().unwrap();
    copy(&mut &stream, &mut &stream).unwrap();
    drop(stream);
    assert_eq!(client.join().unwrap(), "no greenlets here");
}

#[test]
fn accept_tells_who_connected() {
    run(|| {
        let listener = bind("127.0.0.1:0");
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(server.peer_addr().unwrap(), peer);
        assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
    });
}
