//! What a page may send to the chat: the first byte says to which part of it, as the body of a request or as messages of a WebSocket, one a line.
//!
//! It is never the server's fault (no 500), every answer is JSON, and a message on the WebSocket gets one answer.
#![no_main]
#![allow(dead_code, unused_imports, reason = "parts of the chat")]

#[path = "../../examples/src/bin/chat/event.rs"]
mod event;
#[path = "../../examples/src/bin/chat/limits.rs"]
mod limits;
#[path = "../../examples/src/bin/chat/lines.rs"]
mod lines;
#[path = "../../examples/src/bin/chat/lobby.rs"]
mod lobby;
#[path = "../../examples/src/bin/chat/protocol.rs"]
mod protocol;
#[path = "../../examples/src/bin/chat/room.rs"]
mod room;
#[path = "../../examples/src/bin/chat/session.rs"]
mod session;
#[path = "../../examples/src/bin/chat/tcp.rs"]
mod tcp;
#[path = "../../examples/src/bin/chat/user.rs"]
mod user;
#[path = "../../examples/src/bin/chat/web/mod.rs"]
mod web;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use greenlet_actor::{Supervisor, SupervisorRef, worker};
use greenlet_fuzz::{Response, responses};
use greenlet_net::http::RunningServer;
use greenlet_net::websocket::{self, WebSocket};
use greenlet_net::{TcpListener, TcpStream};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const FOREVER: Duration = Duration::from_secs(10);

struct Chat {
    address: SocketAddr,
    token: String,
    socket: RefCell<Option<WebSocket>>,
    _server: RunningServer,
    _tree: SupervisorRef,
}

thread_local! {
    static CHAT: Rc<Chat> = Rc::new(Chat::new());
}

fn post(address: SocketAddr, path: &str, token: &str, body: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(FOREVER)).unwrap();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut came = Vec::new();
    stream.read_to_end(&mut came).unwrap();
    let [answer] = &responses(&came, "")[..] else { panic!("{}", came.escape_ascii()) };
    answer.clone()
}

fn value(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{answer:?}: {error}"))
}

impl Chat {
    fn new() -> Chat {
        let tree = Supervisor::one_for_one().child(worker("lobby", lobby::Lobby::default)).start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let system = std::sync::Arc::new(greenlet_actor::System::start().unwrap());
        let server = web::serve(listener, system, tree.clone(), Duration::from_secs(100_000)).unwrap();
        let joined = post(address, "/api/join", "", br#"{"name":"fuzz","room":"fuzz"}"#);
        let token = value(&joined)["token"].as_str().unwrap().to_owned();
        Chat { address, token, socket: RefCell::default(), _server: server, _tree: tree }
    }

    /// A socket of the page that is there already, or a new one.
    fn socket(&self) -> WebSocket {
        if let Some(socket) = self.socket.take() {
            return socket;
        }
        let socket = websocket::connect(&format!("ws://{}/api/socket", self.address)).unwrap();
        socket.send(json!({ "token": self.token, "after": 0 }).to_string()).unwrap();
        socket
    }

    /// The answer to a message, what else happens left out.
    fn heard(&self, socket: &WebSocket) -> Option<Value> {
        loop {
            let message = socket.recv_timeout(FOREVER).unwrap()?;
            let value: Value = serde_json::from_slice(message.as_bytes()).unwrap();
            if value.get("events").is_none() {
                return Some(value);
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let chat = CHAT.with(Rc::clone);
    let Some((what, rest)) = input.split_first() else { return };
    match what {
        b'j' => {
            let answer = post(chat.address, "/api/join", "", rest);
            assert!(matches!(answer.status, 200 | 400 | 409 | 413), "{answer:?}");
            let value = value(&answer);
            if let Some(token) = value["token"].as_str() {
                assert_eq!(answer.status, 200);
                assert_eq!(post(chat.address, "/api/leave", token, b"").status, 200);
            } else {
                assert!(value["error"].is_string(), "{value}");
            }
        }
        b's' => {
            let answer = post(chat.address, "/api/say", &chat.token, rest);
            assert!(matches!(answer.status, 200 | 400 | 413 | 429), "{answer:?}");
            assert_eq!(value(&answer)["error"].is_string(), answer.status != 200);
        }
        b'h' => {
            let url = format!("ws://{}/api/socket", chat.address);
            let socket = websocket::connect(&url).unwrap();
            socket.send(rest.to_vec()).unwrap();
            // News for who gave the token, a close for everybody else.
            match socket.recv_timeout(FOREVER).unwrap() {
                Some(news) => assert!(String::from_utf8_lossy(rest).contains(&chat.token), "{news:?}"),
                None => {}
            }
        }
        _ => {
            let socket = chat.socket();
            for message in rest.split(|&byte| byte == b'\n').take(5) {
                if socket.send(message.to_vec()).is_err() {
                    return;
                }
                let Some(answer) = chat.heard(&socket) else { return };
                assert!(answer["ok"].is_string() != answer["error"].is_string(), "{answer}");
            }
            chat.socket.replace(Some(socket));
        }
    }
});
