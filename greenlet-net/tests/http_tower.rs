//! What holds for tower services as for other handlers: limits, and what becomes of bodies.
#![cfg(feature = "tower")]

mod raw;

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::routing::{get, post};
use greenlet_core::{run, yield_now};
use greenlet_net::http::{BodyTooLarge, Bytes, RunningServer, Server, TowerService};
use http_body::Frame;
use raw::{Client, End, serve};

const SHORT: Option<Duration> = Some(Duration::from_millis(80));

/// What a service says that reads a body: its length, or why it could not.
async fn read(request: Request) -> String {
    match to_bytes(request.into_body(), usize::MAX).await {
        Ok(body) => format!("{} bytes", body.len()),
        Err(error) => {
            let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
            while let Some(error) = cause {
                if let Some(error) = error.downcast_ref::<io::Error>() {
                    return format!("{:?}", error.kind());
                }
                if let Some(error) = error.downcast_ref::<BodyTooLarge>() {
                    return error.to_string();
                }
                cause = error.source();
            }
            error.to_string()
        }
    }
}

fn app() -> Router {
    Router::new()
        .route("/read", post(read))
        .route("/refuse", post(|| async { "no, thanks" }))
        .route("/echo", post(|request: Request| async { request.into_body() }))
        .route("/endless", get(|| async { Body::new(Endless(Some("begun"))) }))
        .route("/elsewhere", post(elsewhere))
}

/// Says something, and then waits for ever.
struct Endless(Option<&'static str>);

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(text) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
            None => Poll::Pending,
        }
    }
}

thread_local! {
    static THREADS: RefCell<Vec<mpsc::Sender<()>>> = const { RefCell::new(Vec::new()) };
}

/// A thread has the body, and drops it when it is told to.
async fn elsewhere(request: Request) -> &'static str {
    let (sender, told) = mpsc::channel();
    thread::spawn(move || {
        let _ = told.recv();
        drop(request);
    });
    THREADS.with_borrow_mut(|threads| threads.push(sender));
    "elsewhere"
}

fn serving(
    configure: impl FnOnce(Server<TowerService<Router>>) -> Server<TowerService<Router>>,
) -> (RunningServer, SocketAddr) {
    serve(configure(Server::new(TowerService::new(app()))))
}

fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn a_body_that_stalls_fails_the_service() {
    run(|| {
        let (_server, address) = serving(|server| server.body_timeout(SHORT));
        let mut client = Client::connect(address);
        client.send(head("/read", 10) + "hello");
        assert_eq!(client.answer().text(), format!("{:?}", ErrorKind::TimedOut));
        // One that comes in time does not, however often it pauses.
        let (_server, address) = serving(|server| server.body_timeout(Some(Duration::from_millis(400))));
        let mut client = Client::connect(address);
        client.send(head("/read", 10));
        for _ in 0..10 {
            greenlet_core::sleep(Duration::from_millis(60));
            client.send("x");
        }
        assert_eq!(client.answer().text(), "10 bytes");
        assert_eq!(client.get("/none").status(), 404);
    });
}

#[test]
fn a_body_that_is_too_large_fails_the_service_with_its_limit() {
    run(|| {
        let (_server, address) = serving(|server| server.max_body(10));
        let mut client = Client::connect(address);
        client.send("POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n");
        assert_eq!(client.answer().text(), "the body is longer than the 10 bytes that are allowed");
    });
}

#[test]
fn a_client_that_ends_in_its_body_fails_the_service() {
    run(|| {
        let (_server, address) = serving(|server| server);
        for head in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"] {
            let mut client = Client::connect(address);
            client.send(format!("POST /read HTTP/1.1\r\nHost: a\r\n{head}"));
            yield_now();
            client.half_close();
            assert_eq!(client.answer().text(), format!("{:?}", ErrorKind::UnexpectedEof));
        }
    });
}

#[test]
fn a_refused_body_does_not_cost_the_response() {
    run(|| {
        let (_server, address) = serving(|server| server.discard(1000));
        for _ in 0..20 {
            let mut client = Client::connect(address);
            client.send(head("/refuse", 100_000));
            client.send("x".repeat(50_000));
            assert_eq!(client.answer().text(), "no, thanks");
            client.send("x".repeat(50_000));
            assert_eq!(client.end(), End::Fin);
        }
    });
}

#[test]
fn a_body_that_a_service_leaves_is_no_request() {
    run(|| {
        let (_server, address) = serving(|server| server);
        let mut client = Client::connect(address);
        let hidden = "POST /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(head("/refuse", hidden.len()) + hidden);
        assert_eq!(client.answer().text(), "no, thanks");
        client.send(head("/refuse", 5) + "he");
        assert_eq!(client.answer().text(), "no, thanks");
        client.send("llo");
        client.send(head("/read", 5) + "hello");
        assert_eq!(client.answer().text(), "5 bytes");
    });
}

#[test]
fn continue_is_said_when_a_service_asks_for_the_body_and_only_then() {
    run(|| {
        let (_server, address) = serving(|server| server);
        let expecting = |path| head(path, 5).replace("Host: a", "Host: a\r\nExpect: 100-continue");
        let mut client = Client::connect(address);
        client.send(expecting("/read"));
        assert_eq!(client.head().unwrap().status(), 100);
        client.send("hello");
        assert_eq!(client.answer().text(), "5 bytes");
        client.send(expecting("/refuse"));
        assert_eq!(client.answer().text(), "no, thanks");
        assert_eq!(client.end(), End::Fin);
    });
}

#[test]
fn a_body_may_be_sent_back_as_it_comes() {
    run(|| {
        let (_server, address) = serving(|server| server);
        let mut client = Client::connect(address);
        for _ in 0..2 {
            client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
            assert_eq!(client.head().unwrap().status(), 200);
            assert_eq!(client.bytes(8), b"3\r\nabc\r\n");
            client.send("2\r\nde\r\n0\r\n\r\n");
            assert_eq!(client.bytes(12), b"2\r\nde\r\n0\r\n\r\n");
        }
    });
}

#[test]
fn a_response_that_takes_too_long_is_cut_off() {
    run(|| {
        let (_server, address) = serving(|server| server.request_timeout(SHORT));
        let mut client = Client::connect(address);
        client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.try_answer().unwrap_err(), End::CutOff);
        // So is one that waits for a body.
        let mut client = Client::connect(address);
        client.send(head("/read", 10) + "hello");
        assert_eq!(client.answer().status(), 503);
        client.send("hello");
        assert_eq!(client.end(), End::Fin);
    });
}

#[test]
fn a_body_on_another_thread_does_not_hold_the_response_or_the_hub() {
    run(|| {
        let (_server, address) = serving(|server| server.body_timeout(SHORT));
        let mut client = Client::connect(address);
        client.send(head("/elsewhere", 5) + "he");
        assert_eq!(client.answer().text(), "elsewhere");
        client.send("llo");
        // The thread drops it, whenever that is.
        THREADS.with_borrow_mut(Vec::clear);
        let mut client = Client::connect(address);
        client.send(head("/read", 5) + "hello");
        assert_eq!(client.answer().text(), "5 bytes");
    });
}
