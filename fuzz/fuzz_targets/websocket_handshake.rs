//! The handshake of WebSocket, and what comes behind it, on both sides. The first line of an input says in which pieces it arrives, and has the client's URL.
//!
//! It makes no difference in which pieces it arrives; a request that is refused is told so by one whole response.
#![no_main]

use greenlet_fuzz::{Pieces, cut, first_line, responses};
use greenlet_net::websocket::{AcceptError, Acceptor, Connector, Message, WebSocket};
use libfuzzer_sys::fuzz_target;
use tungstenite::handshake::derive_accept_key;

/// Stands for the answer to the client's key, and is as long.
const ANSWER: &[u8; 28] = b"the-answer-to-the-key-it-is=";

#[derive(PartialEq, Debug)]
enum Came {
    Messages { said: String, messages: Vec<Message>, in_order: bool },
    Refused { status: u16 },
    Ended,
}

fn messages(socket: &WebSocket) -> (Vec<Message>, bool) {
    let mut messages = Vec::new();
    loop {
        match socket.recv() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, true),
            Err(_) => return (messages, false),
        }
    }
}

fn served<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Came {
    let stream = Pieces::new(pieces);
    let acceptor = Acceptor::new().subprotocols(["two", "one"]).max_head_size(1024);
    match acceptor.accept(stream.clone()) {
        Ok((socket, request)) => {
            let said = format!("{} {:?}", request.uri(), socket.subprotocol());
            let (messages, in_order) = messages(&socket);
            Came::Messages { said, messages, in_order }
        }
        Err(AcceptError::Refused(refusal)) => {
            let status = refusal.status().as_u16();
            let told = responses(&stream.sent(), "");
            assert!(told.len() == 1 && told[0].status == status, "{told:?}");
            Came::Refused { status }
        }
        Err(_) => {
            assert!(stream.sent().is_empty());
            Came::Ended
        }
    }
}

/// `pieces` is what the server says, with the answer to the client's key in place of [`ANSWER`].
fn connected(url: &str, pieces: &[&[u8]]) -> Option<(String, Vec<Message>, bool)> {
    let stream = Pieces::new([]);
    let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
    stream.answer(move |request| answered(&pieces, &derive_accept_key(&key(request))));
    let connector = Connector::new().subprotocols(["one", "two"]);
    let (socket, response) = connector.connect_over(stream, url).ok()?;
    assert_eq!(response.status().as_u16(), 101);
    let said = format!("{:?}", socket.subprotocol());
    let (messages, in_order) = messages(&socket);
    Some((said, messages, in_order))
}

fn key(request: &[u8]) -> Vec<u8> {
    let name = b"sec-websocket-key:";
    let mut lines = request.split(|&byte| byte == b'\n');
    let line = lines.find(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name));
    line.map_or(Vec::new(), |line| line[name.len()..].trim_ascii().to_vec())
}

fn answered(pieces: &[Vec<u8>], answer: &str) -> Vec<Vec<u8>> {
    let mut all = pieces.concat();
    if let Some(at) = all.windows(ANSWER.len()).position(|window| window == ANSWER) {
        all[at..at + ANSWER.len()].copy_from_slice(answer.as_bytes());
    }
    let mut rest = &all[..];
    let mut again = Vec::new();
    for piece in pieces {
        let (piece, after) = rest.split_at(piece.len());
        again.push(piece.to_vec());
        rest = after;
    }
    again
}

fuzz_target!(|input: &[u8]| {
    let (line, bytes) = first_line(input);
    let whole = served([bytes]);
    let split = served(cut(bytes, line));
    match (&whole, &split) {
        // One may be told sooner, and the other that it is too long.
        (Came::Refused { .. }, Came::Refused { .. } | Came::Ended) | (Came::Ended, Came::Refused { .. }) => {}
        _ => assert_eq!(whole, split),
    }

    let url = String::from_utf8_lossy(line);
    let url = if url.starts_with("ws") { &url } else { "ws://host.example/path" };
    let whole = connected(url, &[bytes]);
    let split = connected(url, &cut(bytes, line));
    assert_eq!(whole, split);
});
