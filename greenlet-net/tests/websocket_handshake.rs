//! The handshake, on either side: what is agreed upon, what is refused and how, and what a slow or broken peer can do.
#![cfg(feature = "websocket")]

mod frames;

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use frames::*;
use greenlet_core::{Greenlet, run, spawn, yield_now};
use greenlet_net::websocket::{self, AcceptError, Acceptor, ConnectError, Connector, Refusal, StatusCode};
use greenlet_net::{TcpListener, TcpStream};

/// The key of the RFC's example, and the answer to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const GOOD: &str = "GET /chat?room=rust HTTP/1.1\r\nHost: example.org\r\nUpgrade: WebSocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// What one connection to a server of these settings comes to, in words.
fn server(acceptor: Acceptor) -> (TcpStream, Greenlet<String>) {
    let (ours, theirs) = pair();
    theirs.set_read_timeout(Some(FOREVER)).unwrap();
    let accepted = spawn(move || match acceptor.accept(ours) {
        Ok((socket, request)) => {
            let greeting = format!("{} {:?}", request.uri(), socket.subprotocol());
            socket.send(greeting.clone()).unwrap();
            greeting
        }
        Err(AcceptError::Refused(refusal)) => refusal.status().as_u16().to_string(),
        Err(AcceptError::TimedOut(_)) => "timed out".into(),
        Err(error) => error.to_string(),
    });
    (theirs, accepted)
}

/// The head of a response, line by line.
fn head(stream: &TcpStream) -> Vec<String> {
    let mut lines = Vec::new();
    // Byte by byte, so that what is behind it stays.
    let mut reader = BufReader::with_capacity(1, stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => return lines,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
}

#[track_caller]
fn answered(acceptor: &Acceptor, request: impl AsRef<[u8]>, status: u16) -> Vec<String> {
    let (mut theirs, accepted) = server(acceptor.clone());
    theirs.write_all(request.as_ref()).unwrap();
    let lines = head(&theirs);
    assert!(lines[0].starts_with(&format!("http/1.1 {status} ")), "{lines:?}");
    if status != 101 {
        // A text, and an orderly end.
        let mut body = String::new();
        theirs.read_to_string(&mut body).unwrap();
        assert!(
            body.len() > 1 && lines.contains(&format!("content-length: {}", body.len())),
            "{lines:?} {body}"
        );
        drop(theirs);
        assert_eq!(accepted.get().unwrap(), status.to_string());
    }
    lines
}

// --- the server --------------------------------------------------------------------------------------------------

#[test]
fn the_example_of_the_rfc_is_answered_as_the_rfc_says() {
    run(|| {
        let lines = answered(&Acceptor::new(), format!("{GOOD}\r\n"), 101);
        let accept = format!("sec-websocket-accept: {}", ACCEPT.to_ascii_lowercase());
        for wanted in ["upgrade: websocket", "connection: upgrade", &accept] {
            assert!(lines.contains(&wanted.to_owned()), "{wanted}: {lines:?}");
        }
        assert!(GOOD.contains(KEY));
    });
}

#[test]
fn requests_that_are_none_are_refused_with_a_status_that_says_why() {
    run(|| {
        let without = |line: &str| {
            assert!(GOOD.contains(line));
            GOOD.lines().filter(|it| *it != line).map(|it| format!("{it}\r\n")).collect::<String>() + "\r\n"
        };
        let with = |line: &str| format!("{GOOD}{line}\r\n\r\n");
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let refused = [
            (GOOD.replace("GET", "POST") + "\r\n", 405),
            (GOOD.replace("HTTP/1.1", "HTTP/1.0") + "\r\n", 505),
            (without("Upgrade: WebSocket"), 426),
            (without("Connection: keep-alive, Upgrade"), 426),
            (without("Sec-WebSocket-Version: 13"), 426),
            (GOOD.replace(": 13", ": 12") + "\r\n", 426),
            (GOOD.replace("WebSocket\r\n", "h2c\r\n") + "\r\n", 426),
            (without(key), 400),
            (GOOD.replace(KEY, "dG9vIHNob3J0") + "\r\n", 400),
            (GOOD.replace(KEY, "*not base64 at all here!") + "\r\n", 400),
            (without("Host: example.org"), 400),
            (with("Host: example.net"), 400),
            (with(key), 400),
            (with("Sec-WebSocket-Version: 8"), 400),
            (with("Content-Length: 5"), 400),
            (with("Transfer-Encoding: chunked"), 400),
            (with("Origin: https://elsewhere.org"), 403),
            (with("Origin: null"), 403),
            ("\0\0\0 garbage\r\n\r\n".into(), 400),
            ("\x16\x03\x01\x02\0\x01\0\x01\u{7c}".into(), 400),
            (with(&format!("X-Long: {}", "x".repeat(20_000))), 431),
            (with(&"X: y\r\n".repeat(200)), 431),
        ];
        for (request, status) in refused {
            let lines = answered(&Acceptor::new(), &request, status);
            let version = lines.contains(&"sec-websocket-version: 13".to_owned());
            assert_eq!(version, status == 426, "{lines:?}");
        }
    });
}

#[test]
fn a_head_without_an_end_is_cut_off_at_the_limit() {
    run(|| {
        let acceptor = Acceptor::new().max_head_size(1000);
        answered(&acceptor, format!("{GOOD}X-Endless: {}", "x".repeat(1000)), 431);
    });
}

#[test]
fn pages_of_the_same_host_and_of_named_origins_are_let_in() {
    run(|| {
        let from = |origin: &str| format!("{GOOD}Origin: {origin}\r\n\r\n");
        let same = Acceptor::new();
        answered(&same, from("http://example.org"), 101);
        answered(&same, from("https://EXAMPLE.org"), 101);
        answered(&same, from("https://example.org:8443"), 403);
        answered(&same, from("https://example.org.evil.net"), 403);
        let named = Acceptor::new().origins(["https://a.net", "https://b.net"]);
        answered(&named, from("https://b.net"), 101);
        answered(&named, from("http://b.net"), 403);
        answered(&named, from("http://example.org"), 403);
        answered(&named, format!("{GOOD}\r\n"), 101); // no browser
        answered(&Acceptor::new().any_origin(), from("https://elsewhere.org"), 101);
    });
}

#[test]
fn the_first_subprotocol_of_the_server_that_the_client_speaks_is_used() {
    run(|| {
        let acceptor = Acceptor::new().subprotocols(["v3", "v2", "v1"]);
        let offer = |names: &str| format!("{GOOD}Sec-WebSocket-Protocol: {names}\r\n\r\n");
        let lines = answered(&acceptor, offer("v1, v2"), 101);
        assert!(lines.contains(&"sec-websocket-protocol: v2".to_owned()), "{lines:?}");
        let lines = answered(&acceptor, offer("v1\r\nSec-WebSocket-Protocol: v3"), 101);
        assert!(lines.contains(&"sec-websocket-protocol: v3".to_owned()), "{lines:?}");
        for request in [offer("other"), format!("{GOOD}\r\n")] {
            let lines = answered(&acceptor, request, 101);
            assert!(!lines.iter().any(|line| line.starts_with("sec-websocket-protocol")), "{lines:?}");
        }
    });
}

#[test]
fn what_comes_with_the_request_is_received() {
    run(|| {
        let (ours, mut theirs) = pair();
        let frame = frame(FIN | TEXT, b"in a hurry", true);
        theirs.write_all(&[format!("{GOOD}\r\n").as_bytes(), &frame].concat()).unwrap();
        let (socket, request) = websocket::accept(ours).unwrap();
        assert_eq!(request.uri(), "/chat?room=rust");
        assert_eq!(request.headers()["host"], "example.org");
        assert_eq!(socket.recv().unwrap(), Some("in a hurry".into()));
    });
}

#[test]
fn slow_clients_are_left_after_the_time_limit_and_hold_up_nobody() {
    run(|| {
        let slow = Acceptor::new().timeout(Duration::from_millis(100));
        let clients: Vec<_> = (0..50).map(|_| server(slow.clone())).collect();
        let dribble = spawn(move || {
            for byte in GOOD.bytes().cycle() {
                let sent = clients.iter().filter(|(stream, _)| (&*stream).write_all(&[byte]).is_ok()).count();
                if sent == 0 {
                    break;
                }
                greenlet_core::sleep(Duration::from_millis(5));
            }
            clients.iter().map(|(_, accepted)| accepted.get().unwrap()).collect::<Vec<_>>()
        });
        answered(&Acceptor::new(), format!("{GOOD}\r\n"), 101);
        assert_eq!(dribble.get().unwrap(), vec!["timed out"; 50]);
    });
}

#[test]
fn a_client_that_goes_away_is_an_error_and_no_more() {
    run(|| {
        for request in ["", "GET / HT", GOOD] {
            let (mut theirs, accepted) = server(Acceptor::new());
            theirs.write_all(request.as_bytes()).unwrap();
            drop(theirs);
            assert!(
                accepted.get().unwrap().starts_with("the connection failed"),
                "{}",
                accepted.get().unwrap()
            );
            let (mut theirs, accepted) = server(Acceptor::new());
            theirs.write_all(request.as_bytes()).unwrap();
            yield_now();
            Raw { stream: theirs, masks: true }.reset();
            assert!(
                accepted.get().unwrap().starts_with("the connection failed"),
                "{}",
                accepted.get().unwrap()
            );
        }
    });
}

#[test]
fn kill_in_the_handshake_ends_the_connection() {
    run(|| {
        for request in ["", "GET / HTTP/1.1\r\nHost: exa"] {
            let (mut theirs, accepted) = server(Acceptor::new());
            theirs.write_all(request.as_bytes()).unwrap();
            yield_now();
            accepted.kill();
            assert!(read_to_any_end(&theirs).is_empty());
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let client = spawn(move || websocket::connect(&url).is_ok());
        let (theirs, _) = listener.accept().unwrap();
        head(&theirs);
        client.kill();
        assert!(client.exited());
        assert!(read_to_any_end(&theirs).is_empty());
    });
}

// --- both --------------------------------------------------------------------------------------------------------

#[test]
fn client_and_server_agree() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/rooms/rust?x=1", listener.local_addr().unwrap());
        let server = spawn(move || {
            let cookie = ("set-cookie".parse().unwrap(), "seen=1".parse().unwrap());
            let acceptor = Acceptor::new().subprotocols(["b", "a"]).header(cookie.0, cookie.1);
            let check = |request: &websocket::Request<()>| match request.headers().get("authorization") {
                Some(it) if it == "Bearer 1" => Ok(()),
                _ => Err(Refusal::new(StatusCode::UNAUTHORIZED, "who are you?")),
            };
            let refused = acceptor.accept_if(listener.accept().unwrap().0, check).unwrap_err();
            assert!(matches!(refused, AcceptError::Refused(_)));
            let (socket, request) = acceptor.accept_if(listener.accept().unwrap().0, check).unwrap();
            assert_eq!(request.uri(), "/rooms/rust?x=1");
            assert_eq!(socket.subprotocol(), Some("b"));
            socket.send(socket.peer_address().unwrap().to_string()).unwrap();
        });
        let Err(ConnectError::Refused(response)) = Connector::new().connect(&url) else { panic!("refused") };
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let connector = Connector::new().subprotocols(["a", "b"]).header("authorization", "Bearer 1");
        let (socket, response) = connector.connect(&url).unwrap();
        assert_eq!(socket.subprotocol(), Some("b"));
        assert_eq!(response.headers()["set-cookie"], "seen=1");
        let here = socket.local_address().unwrap().to_string();
        assert_eq!(socket.recv().unwrap(), Some(here.into()));
        server.get().unwrap();
    });
}

// --- the client --------------------------------------------------------------------------------------------------

/// Connects to a server that answers with that; `{accept}` is the right one.
fn client(connector: Connector, answer: &str) -> Result<String, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let answer = answer.to_owned();
    spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = head(&stream);
        assert!(
            lines.contains(&"upgrade: websocket".to_owned()) && lines[0] == "get / http/1.1",
            "{lines:?}"
        );
        // The lines were made lower case, and the key with them: take it from the client's side.
        stream.write_all(answer.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0; 64]);
    });
    let (socket, _) = connector.connect(&url)?;
    Ok(socket.recv().unwrap().unwrap().as_text().unwrap().to_owned())
}

#[test]
fn servers_that_answer_something_else_are_refused() {
    run(|| {
        let start = "HTTP/1.1 101 Switching Protocols\r\n";
        let wrong = [
            "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n".to_owned(),
            format!("{start}Connection: Upgrade\r\n\r\n"),
            format!("{start}Upgrade: websocket\r\n\r\n"),
            format!("{start}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
            "HTTP/1.0 101 Switching Protocols\r\n\r\n".to_owned(),
            "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
            format!("{start}X: {}", "x".repeat(100_000)),
        ];
        for answer in wrong {
            let refused = client(Connector::new(), &answer);
            assert!(matches!(refused, Err(ConnectError::Violation(_))), "{refused:?}");
        }
        let answer = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 4\r\n\r\nsee!";
        let Err(ConnectError::Refused(response)) = client(Connector::new(), answer) else {
            panic!("refused")
        };
        assert_eq!((response.status(), response.body().as_slice()), (StatusCode::FOUND, b"see!".as_slice()));
        assert_eq!(response.headers()["location"], "/elsewhere");
        for answer in ["", "HTTP/1.1 101 Swi"] {
            assert!(matches!(client(Connector::new(), answer), Err(ConnectError::Io(_))));
        }
    });
}

#[test]
fn what_comes_with_the_response_is_received_and_what_was_not_asked_for_is_refused() {
    run(|| {
        let answer = |more: &'static str| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("ws://{}/", listener.local_addr().unwrap());
            spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut key = String::new();
                let mut reader = BufReader::with_capacity(1, &stream);
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if line == "\r\n" {
                        break;
                    }
                    if let Some(it) = line.strip_prefix("Sec-WebSocket-Key: ") {
                        key = it.trim().to_owned();
                    }
                }
                // Another implementation than ours: that of the system would do as well.
                let request = GOOD.replace(KEY, &key) + "\r\n";
                let (accept, _) = server(Acceptor::new());
                (&accept).write_all(request.as_bytes()).unwrap();
                let mut original = String::new();
                let mut reader = BufReader::with_capacity(1, &accept);
                while !original.ends_with("\r\n\r\n") {
                    reader.read_line(&mut original).unwrap();
                }
                let head = original.trim_end();
                let bytes =
                    [format!("{head}\r\n{more}\r\n").as_bytes(), &frame(FIN | TEXT, b"at once", false)]
                        .concat();
                stream.write_all(&bytes).unwrap();
                let _ = stream.read(&mut [0; 64]);
            });
            url
        };
        let socket = websocket::connect(&answer("")).unwrap();
        assert_eq!(socket.recv().unwrap(), Some("at once".into()));
        for more in
            ["Sec-WebSocket-Extensions: permessage-deflate\r\n", "Sec-WebSocket-Protocol: unasked\r\n"]
        {
            let refused = websocket::connect(&answer(more));
            assert!(matches!(refused, Err(ConnectError::Violation(_))), "{more} {refused:?}");
        }
        let asked = Connector::new().subprotocols(["asked"]);
        assert!(asked.connect(&answer("Sec-WebSocket-Protocol: asked\r\n")).is_ok());
        assert!(asked.connect(&answer("")).unwrap().0.subprotocol().is_none());
    });
}

#[test]
fn a_server_that_says_nothing_is_left_after_the_time_limit() {
    run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let connector = Connector::new().timeout(Duration::from_millis(50));
        assert!(matches!(connector.connect(&url), Err(ConnectError::TimedOut(_))));
        drop(listener);
        assert!(matches!(connector.connect(&url), Err(ConnectError::Io(_))));
    });
}

#[test]
fn urls_and_headers_that_cannot_be_are_refused_before_anything_is_sent() {
    run(|| {
        let wrong = [
            "",
            "ws://",
            "ws:///path",
            "http://example.org/",
            "example.org",
            "/path",
            "ws://user:secret@example.org/",
            "ws://example.org:99999/",
            "ws://example.org:port/",
            "ws://exa mple.org/",
            "wss:example.org",
        ];
        for url in wrong {
            let refused = websocket::connect(url);
            assert!(matches!(refused, Err(ConnectError::Url { .. })), "{url}: {refused:?}");
        }
        let url = "ws://127.0.0.1:1/";
        for (name, value) in [
            ("Host", "x"),
            ("Sec-WebSocket-Key", "x"),
            ("connection", "close"),
            ("bad name", "x"),
            ("x", "two\r\nlines: 1"),
        ] {
            let refused = Connector::new().header(name, value).connect(url);
            assert!(matches!(refused, Err(ConnectError::Header(_))), "{name}: {refused:?}");
        }
        let refused = Connector::new().subprotocols(["two words"]).connect(url);
        assert!(matches!(refused, Err(ConnectError::Header(_))), "{refused:?}");
    });
}
