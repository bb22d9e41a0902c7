//! The connections of a hub share the buffers that their bytes go through: what is of one must never reach another, whatever happens in between.
#![cfg(all(feature = "http", feature = "tower"))]

mod raw;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use greenlet_core::{run, sleep, spawn};
use greenlet_net::http::{RunningServer, Server, TowerService};
use greenlet_net::{ConnectOptions, TcpListener};
use http_body::Frame;
use raw::Client;

const SECRET: &str = "for nobody else";
/// More than goes in one piece.
const LARGE: usize = 1 << 20;
/// What a slow client and the server's end of its connection are to hold. The system makes more of it.
const LITTLE: usize = 16 << 10;
/// Less than is gathered before it is sent.
const STEP: usize = 12 << 10;

/// Panics when it is asked for its first piece, in the midst of the connection's turn.
struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("a body panics, as it is meant to");
    }
}

fn server() -> (RunningServer, SocketAddr) {
    use axum::routing::get;
    let app = axum::Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/secret", get(|| async { SECRET }))
        .route("/panics", get(|| async { Body::new(Panics) }))
        .route("/x/{length}", get(|Path(length): Path<usize>| async move { vec![b'x'; length] }))
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route("/secrets", get(|| async { SECRET.repeat(LARGE / SECRET.len()) }));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // What it accepts has the same.
    socket2::SockRef::from(&listener).set_send_buffer_size(LITTLE).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(TowerService::new(app)).header_timeout(Some(Duration::from_millis(200)));
    (server.start(listener).unwrap(), address)
}

/// A client that takes little at a time.
fn narrow(address: SocketAddr) -> Client {
    let stream = ConnectOptions::new().recv_buffer_size(LITTLE).connect(address).unwrap();
    Client::over(stream)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A connection that has a response, which was not sent yet, when its turn ends with a panic.
fn panic_with_a_secret(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.send(get("/secret") + &get("/panics"));
    let mut came = Vec::new();
    let _ = client.stream.read_to_end(&mut came);
    assert!(!came.starts_with(b"HTTP/1.1 500"), "it panics too early to be of use here");
}

#[test]
fn what_a_connection_had_gathered_when_it_panicked_is_not_sent_on_the_next() {
    run(|| {
        let (_server, address) = server();
        let mut others: Vec<Client> = (0..10).map(|_| Client::connect(address)).collect();
        for other in &mut others {
            panic_with_a_secret(address);
            let answer = other.get("/");
            assert_eq!((answer.status(), answer.text()), (200, "hello"));
        }
        for other in &mut others {
            assert_eq!(other.get("/").text(), "hello");
        }
    });
}

#[test]
fn nor_on_one_that_only_sends_what_is_left() {
    run(|| {
        let (_server, address) = server();
        // They read nothing of their responses, and never end the head of their next request. Whose response is just larger than what the system holds has a
        // 408 behind it, which waits too.
        let mut slow: Vec<(usize, Client)> = (2..30)
            .map(|n| {
                let mut client = narrow(address);
                client.send(get(&format!("/x/{}", n * STEP)));
                (n * STEP, client)
            })
            .collect();
        sleep(Duration::from_millis(100));
        slow.iter_mut().for_each(|(_, client)| client.send("GET / HTTP/1.1\r\n"));
        sleep(Duration::from_millis(400));
        panic_with_a_secret(address);
        let readers: Vec<_> = slow
            .into_iter()
            .map(|(length, mut client)| {
                spawn(move || {
                    let mut came = Vec::new();
                    let _ = client.stream.read_to_end(&mut came);
                    (length, came)
                })
            })
            .collect();
        let mut refused = 0;
        for reader in readers {
            let (length, came) = reader.get().unwrap();
            let head = came.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            let (body, rest) = came[head..].split_at((came.len() - head).min(length));
            assert!(body.iter().all(|&byte| byte == b'x'), "{length}: {}", body.escape_ascii());
            let timeout = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            assert!(rest.is_empty() || rest == timeout, "{length}: {}", rest.escape_ascii());
            refused += usize::from(!rest.is_empty());
        }
        assert!(refused > 0, "none of them is of use here");
    });
}

#[test]
fn nor_what_a_connection_had_when_it_was_reset() {
    run(|| {
        let (_server, address) = server();
        let mut other = Client::connect(address);
        for pause in [0, 1, 5] {
            let mut gone = Client::connect(address);
            gone.send(get("/secrets").repeat(3));
            let reader = spawn({
                let stream = gone.stream.try_clone().unwrap();
                move || (&stream).read_exact(&mut [0; 100_000])
            });
            other.send(get("/"));
            sleep(Duration::from_millis(pause));
            socket2::SockRef::from(&gone.stream).set_linger(Some(Duration::ZERO)).unwrap();
            reader.kill();
            drop((gone, reader));
            assert_eq!(other.answer().text(), "hello");
            // In one piece with what comes next.
            other.stream.write_all((get("/") + &get("/large") + &get("/")).as_bytes()).unwrap();
            assert_eq!(other.answer().text(), "hello");
            assert!(other.answer().body.iter().all(|&byte| byte == b'x'));
            assert_eq!(other.answer().text(), "hello");
        }
    });
}
