//! What the page of the chat asks for, without a browser: JSON over HTTP and WebSocket.

mod chat_server;

use std::time::{Duration, Instant};

use chat_server::*;
use greenlet_net::websocket::{self, Connector, WebSocket};
use serde_json::{Value, json};

/// A page with a WebSocket, as far as its first news.
fn socket(server: &Server, token: &str, after: u64) -> (WebSocket, Value) {
    let socket = websocket::connect(&format!("ws://{}/api/socket", server.page)).unwrap();
    socket.send(json!({ "token": token, "after": after }).to_string()).unwrap();
    let first = next(&socket);
    (socket, first)
}

fn next(socket: &WebSocket) -> Value {
    let message = socket.recv_timeout(LONG).unwrap().expect("a message, not the end");
    serde_json::from_slice(message.as_bytes()).unwrap()
}

/// Polls until this was said.
fn poll_for(server: &Server, token: &str, wanted: &str) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), 0);
    let start = Instant::now();
    while !all.iter().any(|text| text == wanted) {
        assert!(start.elapsed() < LONG, "{all:?}");
        let news = server.news(token, after);
        after = after.max(last(&news));
        all.extend(said(&news));
    }
    all
}

// --- the files ---------------------------------------------------------------------------------------------------

#[test]
fn the_page_comes_with_a_policy_that_allows_nothing_else() {
    let server = Server::start(&["127.0.0.1:0"]);
    for (path, kind) in [
        ("/", "text/html"),
        ("/chat.css", "text/css"),
        ("/chat.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let file = server.ask("GET", path, None, None);
        assert_eq!(file.status, 200);
        assert!(file.head.contains(&format!("content-type: {kind}")), "{}", file.head);
        assert!(file.head.contains("content-security-policy: default-src 'none'; script-src 'self';"));
        assert!(
            !file.head.contains("unsafe-inline") && file.head.contains("x-content-type-options: nosniff")
        );
    }
    let page = server.ask("GET", "/", None, None).body;
    assert!(!page.contains("<script>") && !page.contains("style=") && !page.contains(" onclick"));
    let script = server.ask("GET", "/chat.js", None, None).body;
    for danger in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(danger), "{danger}");
    }
    assert_eq!(server.ask("GET", "/chat.rs", None, None).status, 404);
    assert_eq!(server.ask("GET", "/../Cargo.toml", None, None).status, 404);
    assert_eq!(server.ask("POST", "/", None, None).status, 405);
}

// --- polls -------------------------------------------------------------------------------------------------------

#[test]
fn two_users_talk_by_polling() {
    let server = Server::start(&["127.0.0.1:0"]);
    let (alice, bob) = (server.join("alice", "rust"), server.join("bob", "rust"));
    let before = server.news(&bob, 0);
    assert_eq!(before["members"], json!(["alice", "bob"]));
    let after = last(&server.news(&alice, 0));
    std::thread::scope(|scope| {
        // It waits until something is said.
        let poll = scope.spawn(|| server.news(&alice, after));
        assert_eq!(server.say(&bob, "hello, alice", "k1").status, 200);
        let news = poll.join().unwrap();
        assert_eq!(said(&news), ["bob: hello, alice"]);
        assert_eq!(news["events"][0]["key"], "k1");
    });
    // One hears oneself, too: all see the same order.
    assert!(poll_for(&server, &bob, "bob: hello, alice").len() == 1);
}

#[test]
fn a_poll_without_news_comes_back_after_ten_seconds() {
    let server = Server::start(&["127.0.0.1:0"]);
    let alice = server.join("alice", "rust");
    let after = last(&server.news(&alice, 0));
    let start = Instant::now();
    let news = server.news(&alice, after);
    assert!(news["events"].as_array().unwrap().is_empty());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(9900) && took < LONG, "{took:?}");
}

#[test]
fn the_backlog_is_the_last_25_messages() {
    let server = Server::start(&["127.0.0.1:0"]);
    let mut line = server.line_user("talker", "rust");
    for n in 0..30 {
        line.send(&format!("number {n}"));
    }
    line.send("/who");
    line.next();
    let alice = server.join("alice", "rust");
    let heard = poll_for(&server, &alice, "talker: number 29");
    assert_eq!(heard.len(), 25);
    assert_eq!(heard[0], "talker: number 5");
}

#[test]
fn what_was_missed_is_fetched_by_number_and_nothing_comes_twice() {
    let server = Server::start(&["127.0.0.1:0"]);
    let (alice, bob) = (server.join("alice", "rust"), server.join("bob", "rust"));
    let mut heard = Vec::new();
    let mut after = 0;
    for n in 0..9 {
        assert_eq!(server.say(&bob, &format!("number {n}"), &format!("k{n}")).status, 200);
        if n % 3 == 2 {
            // As after a loss of the connection: from the last one that is known.
            let news = if n % 2 == 0 { server.news(&alice, after) } else { socket(&server, &alice, after).1 };
            after = last(&news);
            heard.extend(said(&news));
        }
    }
    let expected: Vec<_> = (0..9).map(|n| format!("bob: number {n}")).collect();
    assert_eq!(heard, expected);
}

#[test]
fn the_same_key_is_said_once() {
    let server = Server::start(&["127.0.0.1:0"]);
    let (alice, bob) = (server.join("alice", "rust"), server.join("bob", "rust"));
    for _ in 0..3 {
        assert_eq!(server.say(&bob, "once", "same").status, 200);
    }
    let (socket, _) = socket(&server, &bob, u64::MAX >> 1);
    socket.send(json!({ "say": "once", "key": "same" }).to_string()).unwrap();
    assert_eq!(next(&socket)["ok"], "same");
    server.say(&bob, "and more", "other");
    assert_eq!(poll_for(&server, &alice, "bob: and more"), ["bob: once", "bob: and more"]);
}

// --- websockets --------------------------------------------------------------------------------------------------

#[test]
fn two_users_talk_by_websocket_and_see_who_comes_and_goes() {
    let server = Server::start(&["127.0.0.1:0"]);
    let alice = server.join("alice", "rust");
    let (mut seen, (alice_socket, first)) = (Vec::new(), socket(&server, &alice, 0));
    assert_eq!(first["members"], json!(["alice"]));
    let bob = server.join("bob", "rust");
    let news = next(&alice_socket);
    assert_eq!((&news["events"][0]["what"], &news["members"]), (&json!("joined"), &json!(["alice", "bob"])));
    let (bob_socket, _) = socket(&server, &bob, 0);
    bob_socket.send(json!({ "say": "hello", "key": "k" }).to_string()).unwrap();
    while seen.is_empty() {
        seen = said(&next(&alice_socket));
    }
    assert_eq!(seen, ["bob: hello"]);
    assert_eq!(server.ask("POST", "/api/leave", Some(&bob), None).status, 200);
    let news = next(&alice_socket);
    assert_eq!((&news["events"][0]["what"], &news["members"]), (&json!("left"), &json!(["alice"])));
    // Bob's page is told to join again.
    let start = Instant::now();
    while let Ok(Some(_)) = bob_socket.recv_timeout(LONG) {
        assert!(start.elapsed() < LONG);
    }
    assert_eq!(u16::from(bob_socket.close_frame().unwrap().code), 4401);
}

#[test]
fn a_websocket_that_does_not_say_who_it_is_gets_nothing() {
    let server = Server::start(&["127.0.0.1:0"]);
    let url = format!("ws://{}/api/socket", server.page);
    for (first, code) in [("{\"token\":\"guessed\",\"after\":0}", 4401), ("who?", 1008), ("{}", 1008)] {
        let socket = websocket::connect(&url).unwrap();
        socket.send(first).unwrap();
        assert_eq!(socket.recv_timeout(LONG).unwrap(), None);
        assert_eq!(u16::from(socket.close_frame().unwrap().code), code, "{first}");
    }
    // Nor do pages of other origins, or what is no websocket.
    let foreign = Connector::new().header("origin", "https://elsewhere.example");
    assert!(foreign.connect(&url).is_err());
    assert_eq!(server.ask("GET", "/api/socket", None, None).status, 426);
    // One that is too long is cut off, and the server lives.
    let alice = server.join("alice", "rust");
    let (socket, _) = socket(&server, &alice, 0);
    let _ = socket.send("x".repeat(100_000));
    while let Ok(Some(_)) = socket.recv_timeout(LONG) {}
    assert_eq!(server.say(&alice, "still there", "k").status, 200);
}

// --- the two kinds of users --------------------------------------------------------------------------------------

#[test]
fn users_of_the_page_and_of_lines_are_in_the_same_room() {
    let server = Server::start(&["127.0.0.1:0"]);
    let mut line = server.line_user("liner", "rust");
    let alice = server.join("alice", "rust");
    assert_eq!(line.next(), "* alice joined");
    server.say(&alice, "<b>from the page</b> & \"more\"", "k");
    assert_eq!(line.next(), "<alice> <b>from the page</b> & \"more\"");
    line.send("from a line");
    line.send("/who");
    assert_eq!(line.next(), "= in rust: liner, alice");
    let heard = poll_for(&server, &alice, "liner: from a line");
    assert_eq!(heard, ["alice: <b>from the page</b> & \"more\"", "liner: from a line"]);
    let taken = server.ask("POST", "/api/join", None, Some(&json!({ "name": "LINER", "room": "other" })));
    assert_eq!((taken.status, taken.json()["error"].as_str()), (409, Some("the name LINER is taken")));
    drop(line);
    let start = Instant::now();
    while server.news(&alice, 0)["members"] != json!(["alice"]) {
        assert!(start.elapsed() < LONG);
    }
}

#[test]
fn who_closes_the_page_leaves_the_room_after_a_while_and_not_before() {
    let server = Server::start(&["127.0.0.1:0", "--grace", "1"]);
    let mut line = server.line_user("liner", "rust");
    let alice = server.join("alice", "rust");
    assert_eq!(line.next(), "* alice joined");
    let (page, _) = socket(&server, &alice, 0);
    page.abort();
    let (page, _) = socket(&server, &alice, 0); // a reload
    let left = Instant::now();
    page.abort();
    assert_eq!(line.next(), "* alice left");
    assert!(left.elapsed() > Duration::from_millis(900), "{:?}", left.elapsed());
    let gone = server.ask("GET", "/api/events?after=0", Some(&alice), None);
    assert_eq!(gone.status, 401);
}

// --- limits ------------------------------------------------------------------------------------------------------

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let server = Server::start(&["127.0.0.1:0"]);
    let join = |name: &str, room: &str| {
        let body = json!({ "name": name, "room": room });
        server.ask("POST", "/api/join", None, Some(&body))
    };
    for (name, room) in [
        ("", "rust"),
        ("two words", "rust"),
        ("<b>", "rust"),
        (&"x".repeat(25), "rust"),
        ("alice", ""),
        ("alice", "#"),
    ] {
        let refused = join(name, room);
        assert_eq!(refused.status, 400, "{name} {room}");
        assert!(refused.json()["error"].as_str().unwrap().contains("1 to 24 letters"), "{}", refused.body);
    }
    // Who was refused has not taken the name.
    let alice = server.join("alice", "rust");
    for (text, status) in [
        ("", 400),
        ("   ", 400),
        ("\u{7}", 400),
        ("two\nlines", 400),
        ("\u{202e}turned", 400),
        (&"é".repeat(2001), 400),
        (&"é".repeat(2000), 200),
        (&"x".repeat(40_000), 413),
    ] {
        let answer = server.say(&alice, text, "key");
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.status == 200 || !answer.json()["error"].as_str().unwrap().is_empty());
    }
    for key in ["", "with space", &"k".repeat(65), "<k>"] {
        assert_eq!(server.say(&alice, "hello", key).status, 400, "{key}");
    }
    assert_eq!(server.say("guessed", "hello", "k").status, 401);
    assert_eq!(server.ask("GET", "/api/events?after=x", Some(&alice), None).status, 400);
    assert_eq!(server.ask("GET", "/api/events", None, None).status, 401);
    assert_eq!(server.ask("GET", "/api/none", None, None).status, 404);
    // Forms of other pages cannot send JSON that says so.
    let form = format!("POST /api/join HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", server.page);
    let body = json!({ "name": "bob", "room": "rust" }).to_string();
    let plain = format!("{form}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(server.send(&plain).status, 415);
    let broken = format!("{form}Content-Type: application/json\r\nContent-Length: 3\r\n\r\n{{]}}");
    assert_eq!(server.send(&broken).status, 400);
}

#[test]
fn who_says_too_much_at_once_is_asked_to_wait_and_others_are_not() {
    let server = Server::start(&["127.0.0.1:0"]);
    let (alice, bob) = (server.join("alice", "rust"), server.join("bob", "rust"));
    let (socket, _) = socket(&server, &alice, 0);
    for n in 0..100 {
        socket.send(json!({ "say": "spam", "key": format!("k{n}") }).to_string()).unwrap();
    }
    let (mut ok, mut refused) = (0, 0);
    while ok + refused < 100 {
        let answer = next(&socket);
        if answer["ok"].is_string() {
            ok += 1;
        } else if let Some(error) = answer["error"].as_str() {
            assert!(error.contains("too much at once"), "{error}");
            refused += 1;
        }
    }
    assert!(ok >= 10 && refused >= 50, "{ok} {refused}");
    assert_eq!(server.say(&bob, "may I?", "b").status, 200);
}
