//! What a client sends to an HTTP server. The first line of an input says in which pieces it arrives.
//!
//! The server says nothing but whole responses, one for each request that its handler was given and at most one more, for what it refuses; and the same whether
//! the bytes arrive in one piece or in several.
#![no_main]

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::yield_now;
use greenlet_fuzz::{Response, cut, first_line, responses};
use greenlet_net::http::{AccessLog, Error, HeaderValue, Request, RunningServer, Server};
use greenlet_net::{TcpListener, TcpStream};
use libfuzzer_sys::fuzz_target;

struct Site {
    address: SocketAddr,
    /// Requests that the handler was given.
    handled: Rc<Cell<usize>>,
    /// Bytes of their bodies.
    read: Rc<Cell<usize>>,
    _server: RunningServer,
}

thread_local! {
    static SITE: Rc<Site> = Rc::new(Site::new());
}

impl Site {
    fn new() -> Site {
        let (handled, read) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (handles, reads) = (handled.clone(), read.clone());
        let mirror = move |mut request: Request| {
            handles.set(handles.get() + 1);
            let method = HeaderValue::from_str(request.method().as_str()).unwrap();
            let mut body = Vec::new();
            let done = request.body_mut().read_to_end(&mut body);
            reads.set(reads.get() + body.len());
            let mut response = match done {
                Ok(_) => greenlet_net::http::Response::new(
                    format!("{} {} {}", request.method(), request.uri(), body.escape_ascii()).into(),
                ),
                Err(error) => greenlet_net::http::IntoResponse::into_response(Error::from(error)),
            };
            response.headers_mut().insert("x-method", method);
            response
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            Server::new(mirror).access_log(AccessLog::Off).max_headers(20).max_uri(200).max_body(1000);
        Site { address, handled, read, _server: server.start(listener).unwrap() }
    }

    /// Sends it, and returns what comes back until the end.
    fn exchange(&self, pieces: &[&[u8]]) -> Vec<u8> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        // No port is kept behind it.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for piece in pieces {
            // It fails if the server has had enough.
            if (&stream).write_all(piece).is_err() {
                break;
            }
            // The server reads, and has its turn.
            (0..4).for_each(|_| yield_now());
        }
        let _ = stream.shutdown(Shutdown::Write);
        let mut came = Vec::new();
        match (&stream).read_to_end(&mut came) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no end of the connection: {error}; {:?}", came.escape_ascii().to_string()),
        }
        came
    }

    fn answers(&self, pieces: &[&[u8]]) -> Option<Vec<Response>> {
        let (handled, read) = (self.handled.get(), self.read.get());
        let came = self.exchange(pieces);
        if !came.is_empty() && !came.starts_with(b"HTTP/1") {
            return None; // HTTP/2
        }
        let answers = responses(&came, "x-method");
        let handled = self.handled.get() - handled;
        assert!((handled..=handled + 1).contains(&answers.len()), "{handled} requests, and {answers:?}");
        let sent: usize = pieces.iter().map(|piece| piece.len()).sum();
        assert!(self.read.get() - read <= sent);
        Some(answers)
    }
}

/// What the handler answered. Whether the unfinished head at the end of the connection is refused depends on how it arrives: it is read once, and then only
/// when it is whole.
fn handled(answers: &[Response]) -> &[Response] {
    match answers {
        [handled @ .., last] if last.header("x-method").is_none() => {
            assert!(last.status >= 400, "{last:?}");
            handled
        }
        _ => answers,
    }
}

fuzz_target!(|input: &[u8]| {
    let site = SITE.with(Rc::clone);
    let (sizes, bytes) = first_line(input);
    let whole = site.answers(&[bytes]);
    let split = site.answers(&cut(bytes, sizes));
    let (Some(whole), Some(split)) = (whole, split) else { return };
    assert_eq!(handled(&whole), handled(&split));
});
