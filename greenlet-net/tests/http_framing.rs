//! RFC 9112 by the letter, and what breaks it: each has a stated result, and the server goes on.
#![cfg(feature = "http")]

mod raw;

use std::io::Read;
use std::net::SocketAddr;
use std::rc::Rc;

use greenlet_core::{Queue, run, yield_now};
use greenlet_net::http::{Error, Request, RunningServer, Server};
use raw::{Client, End, FOREVER, serve};

/// Says what was asked and what came with it.
fn mirror(mut request: Request) -> Result<String, Error> {
    let mut body = String::new();
    request.body_mut().read_to_string(&mut body)?;
    Ok(format!("{} {} [{body}]", request.method(), request.uri()))
}

fn mirroring() -> (RunningServer, SocketAddr) {
    serve(Server::new(mirror))
}

/// What the server says to these bytes: the statuses of its answers, until it ends the connection or says `still there` to one more request.
fn statuses(address: SocketAddr, bytes: &[u8]) -> (Vec<u16>, bool) {
    let mut client = Client::connect(address);
    client.send(bytes);
    client.send("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut statuses = Vec::new();
    while let Ok(answer) = client.try_answer() {
        if answer.text().starts_with("GET /last") {
            return (statuses, true);
        }
        statuses.push(answer.status());
    }
    (statuses, false)
}

#[test]
fn what_is_malformed_gets_a_400_and_the_end_of_the_connection() {
    run(|| {
        let (_server, address) = mirroring();
        let cases: &[(&str, &[u8])] = &[
            ("garbage", b"\x00\x01\x02\x03\r\n\r\n"),
            ("no version", b"GET /\r\n\r\n"),
            ("words", b"GET / HTTP/1.1 more\r\nHost: a\r\n\r\n"),
            ("a percent sign", b"% / HTTP/1.1\r\nHost: a\r\nbad\r\n\r\n"),
            ("a space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
            ("a folded header", b"GET / HTTP/1.1\r\nHost: a\r\nX: one\r\n two\r\n\r\n"),
            ("NUL in a header", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
            ("a bare CR in a header", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
            ("no host", b"GET / HTTP/1.1\r\n\r\n"),
            ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
            ("a negative length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
            ("a length that is no number", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"),
            ("a length with a sign", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
            ("two lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
            ("a list of lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello!"),
            ("an unknown coding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xyz\r\n\r\n"),
            ("chunked not last", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
            ("chunked in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            ("a chunk size that is no number", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
            ("a chunk without its end", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n"),
            (
                "a chunk size that is too large",
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nab\r\n",
            ),
        ];
        for (what, bytes) in cases {
            assert_eq!(statuses(address, bytes), (vec![400], false), "{what}");
        }
    });
}

#[test]
fn what_is_unusual_and_allowed_is_served() {
    run(|| {
        let (_server, address) = mirroring();
        let cases: &[(&str, &[u8])] = &[
            ("empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("line feeds alone", b"GET / HTTP/1.1\nHost: a\n\n"),
            ("the same length twice", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            ("an absolute target", b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("the server itself", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a method of its own", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("percent signs", b"GET /%zz%?% HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("an empty body in chunks", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"),
            (
                "extensions of chunks",
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d\"\r\nhi\r\n0;x\r\n\r\n",
            ),
            (
                "trailers",
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\nC: d\r\n\r\n",
            ),
        ];
        for (what, bytes) in cases {
            assert_eq!(statuses(address, bytes), (vec![200], true), "{what}");
        }
    });
}

#[test]
fn chunks_win_over_a_length_that_comes_with_them_and_the_connection_ends() {
    run(|| {
        let (_server, address) = mirroring();
        let chunks = "\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        // What follows is no request any more: whoever is in front may have understood something else.
        let next = "GET /two HTTP/1.1\r\nHost: a\r\n\r\n";
        for head in [
            "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
            "POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
            "POST /one HTTP/1.1\r\ncontent-LENGTH:4\r\nHost: a\r\ntransfer-encoding:chunked",
            "POST /one HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 4",
        ] {
            // In one piece, with a next request, and in two pieces, wherever they are parted.
            let whole = format!("{head}{chunks}");
            let mut all = vec![vec![whole.clone()], vec![format!("{whole}{next}")]];
            all.extend((1..head.len() + 4).map(|at| vec![whole[..at].to_owned(), whole[at..].to_owned()]));
            for pieces in all {
                let mut client = Client::connect(address);
                for piece in &pieces {
                    client.send(piece);
                    yield_now();
                }
                let answer = client.answer();
                assert_eq!(answer.text(), "POST /one [hi]", "{pieces:?}");
                assert_eq!(answer.header("connection"), Some("close"), "{pieces:?}");
                assert_eq!(client.end(), End::Fin, "{pieces:?}");
            }
        }
        // Behind another one as well.
        let mut client = Client::connect(address);
        client.send("GET /zero HTTP/1.1\r\nHost: a\r\n\r\nPOST /one HTTP/1.1\r\nHost: a\r\n");
        assert_eq!(client.answer().text(), "GET /zero []");
        client.send("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
        assert_eq!(client.answer().header("connection"), Some("close"));
    });
}

#[test]
fn chunks_alone_keep_the_connection() {
    run(|| {
        let (_server, address) = mirroring();
        let mut client = Client::connect(address);
        for _ in 0..3 {
            client.send("POST /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send("2\r\nhi\r\n0\r\n\r\n");
            let answer = client.answer();
            assert_eq!((answer.text(), answer.header("connection")), ("POST /one [hi]", None));
            assert_eq!(client.get("/two").text(), "GET /two []");
            // Not even a length in the body counts.
            client.send("POST /three HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send("15\r\n\r\ncontent-length: 12\n\r\n0\r\n\r\n");
            assert_eq!(client.answer().header("connection"), None);
        }
    });
}

#[test]
fn what_follows_a_broken_chunk_is_never_executed() {
    run(|| {
        let asked = Rc::new(Queue::unbounded());
        let told = asked.clone();
        let (_server, address) = serve(Server::new(move |request: Request| {
            told.put(request.uri().path().to_owned()).unwrap();
            mirror(request)
        }));
        for body in ["5\r\nhelloXX", "zz\r\n", "2\r\nhi\r\n0\r\nbad trailer\r\n\r\n", "2\r\nhi\r\nGET"] {
            let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
            let head = "POST /outer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut client = Client::connect(address);
            client.send(format!("{head}{body}{smuggled}"));
            while client.try_answer().is_ok() {}
            assert_eq!(asked.get_timeout(FOREVER).unwrap(), "/outer");
            assert!(asked.is_empty(), "{body:?} smuggles");
        }
    });
}

#[test]
fn too_much_of_a_head_gets_its_status() {
    run(|| {
        let (_server, address) = serve(Server::new(mirror).max_header_bytes(16 * 1024));
        let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
        let cases = [
            (431, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
            (431, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(20_000))),
            (414, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(9_000))),
        ];
        for (status, request) in cases {
            let mut client = Client::connect(address);
            client.send(request);
            assert_eq!(client.answer().status(), status);
            assert_eq!(client.end(), End::Fin);
        }
        let fitting: String = (0..99).map(|n| format!("X-{n}: y\r\n")).collect();
        let mut client = Client::connect(address);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fitting}\r\n"));
        assert_eq!(client.answer().status(), 200);
    });
}

#[test]
fn continue_is_said_when_the_body_is_asked_for_and_only_then() {
    run(|| {
        let (_server, address) = serve(Server::new(|request: Request| {
            if request.uri().path() == "/no" { Ok("no, thanks".to_owned()) } else { mirror(request) }
        }));
        let head = |path| {
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        };
        let mut client = Client::connect(address);
        client.send(head("/yes"));
        assert_eq!(client.head().unwrap().status(), 100);
        client.send("hello");
        assert_eq!(client.answer().text(), "POST /yes [hello]");
        client.send(head("/no"));
        assert_eq!(client.answer().text(), "no, thanks");
        // A body that comes all the same is no request.
        assert_eq!(client.end(), End::Fin);
        let mut client = Client::connect(address);
        client.send(head("/no") + "hello");
        assert_eq!(client.answer().text(), "no, thanks");
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        match client.try_answer() {
            Ok(answer) => assert_eq!(answer.text(), "GET /next []"),
            Err(end) => assert_ne!(end, End::CutOff),
        }
    });
}

#[test]
fn a_body_that_nobody_reads_is_no_request() {
    run(|| {
        let (_server, address) =
            serve(Server::new(|request: Request| request.uri().to_string()).discard(1000));
        let mut client = Client::connect(address);
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send(format!(
            "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        ));
        assert_eq!(client.answer().text(), "/plain");
        client.send(format!(
            "POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len()
        ));
        assert_eq!(client.answer().text(), "/chunked");
        // The response does not wait for the rest of the body.
        client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
        assert_eq!(client.answer().text(), "/early");
        client.send("llo");
        assert_eq!(client.get("/next").text(), "/next");
        // More than is worth reading ends the connection, after the response.
        client.send("POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        client.send("x".repeat(50_000));
        assert_eq!(client.answer().text(), "/long");
        assert_eq!(client.end(), End::Fin);
    });
}

#[test]
fn a_client_that_ends_in_its_body_fails_the_read() {
    run(|| {
        let kinds = Rc::new(Queue::unbounded());
        let told = kinds.clone();
        let (_server, address) = serve(Server::new(move |mut request: Request| {
            let error = request.body_mut().read_to_end(&mut Vec::new()).unwrap_err();
            told.put(error.kind()).unwrap();
            Err::<(), Error>(error.into())
        }));
        for head in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"] {
            let mut client = Client::connect(address);
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}"));
            yield_now();
            client.half_close();
            assert_eq!(kinds.get_timeout(FOREVER).unwrap(), std::io::ErrorKind::UnexpectedEof);
            assert_eq!(client.answer().status(), 400);
        }
    });
}

#[test]
fn a_client_that_ends_its_half_gets_its_answers() {
    run(|| {
        let (_server, address) = serve(Server::new(|request: Request| {
            greenlet_core::sleep(std::time::Duration::from_millis(5));
            request.uri().to_string()
        }));
        let mut client = Client::connect(address);
        client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        client.half_close();
        assert_eq!(client.answer().text(), "/1");
        assert_eq!(client.answer().text(), "/2");
        assert_eq!(client.end(), End::Fin);
    });
}
