//! The chat server as a process, and clients for its page and its lines.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A safety net only: nothing here takes long.
pub const LONG: Duration = Duration::from_secs(30);

/// A server on ports of its own, ended with the test.
pub struct Server {
    pub process: Child,
    pub page: SocketAddr,
    pub lines: SocketAddr,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chat"));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("the example starts");
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut address = |before: &str, after: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let address = line.trim().strip_prefix(before).and_then(|line| line.strip_suffix(after));
            address.unwrap_or_else(|| panic!("it says where it listens, not {line:?}")).parse().unwrap()
        };
        let (page, lines) = (address("page on http://", "/"), address("lines on ", ""));
        Server { process, page, lines }
    }

    pub fn stop(&mut self) {
        // It fails if the server has ended by itself, and then the test has failed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// The same again, as after a crash: on the same ports.
    pub fn restart(&mut self) {
        self.stop();
        let (page, lines) = (self.page.to_string(), self.lines.to_string());
        *self = Server::start(&[&page, "--lines", &lines]);
    }

    /// What a request is answered with.
    pub fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{kind}{token}Content-Length: {}\r\n\r\n{body}",
            self.page,
            body.len(),
        ))
    }

    pub fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.page).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").expect("a response");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// A user of the page in a room: his token.
    pub fn join(&self, name: &str, room: &str) -> String {
        let joined =
            self.ask("POST", "/api/join", None, Some(&serde_json::json!({ "name": name, "room": room })));
        assert_eq!(joined.status, 200, "{}", joined.body);
        joined.json()["token"].as_str().unwrap().to_owned()
    }

    pub fn say(&self, token: &str, text: &str, key: &str) -> Answer {
        self.ask("POST", "/api/say", Some(token), Some(&serde_json::json!({ "text": text, "key": key })))
    }

    /// The news after an event.
    pub fn news(&self, token: &str, after: u64) -> Value {
        let answer = self.ask("GET", &format!("/api/events?after={after}"), Some(token), None);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// A user of lines in a room.
    pub fn line_user(&self, name: &str, room: &str) -> Lines {
        let stream = TcpStream::connect(self.lines).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut lines = Lines(BufReader::new(stream));
        assert!(lines.next().starts_with("= welcome"));
        lines.send(&format!("/name {name}"));
        assert_eq!(lines.next(), format!("= you are {name} now"));
        lines.send(&format!("/join {room}"));
        assert!(lines.next().starts_with(&format!("= you are in {room} with: ")));
        lines
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// The texts that were said, of a batch of news.
pub fn said(news: &Value) -> Vec<String> {
    let events = news["events"].as_array().unwrap().iter();
    let texts = events.filter(|event| event["what"] == "said");
    texts
        .map(|event| format!("{}: {}", event["name"].as_str().unwrap(), event["text"].as_str().unwrap()))
        .collect()
}

/// The number of the last event, of a batch of news.
pub fn last(news: &Value) -> u64 {
    news["events"].as_array().unwrap().last().map_or(0, |event| event["id"].as_u64().unwrap())
}

pub struct Lines(BufReader<TcpStream>);

impl Lines {
    pub fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn next(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the connection ended after {line:?}");
        line.pop();
        line
    }
}
