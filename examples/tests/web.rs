//! What the examples `wsgi_hello`, `file_server` and `axum_on_greenlets` promise in their first comments.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(program: &str, arguments: &[&str]) -> Server {
        let mut process = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, address) = line.trim().rsplit_once("http://").expect("it says where it serves");
        Server { address: address.to_owned(), process }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.0\r\n\r\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails if the server has ended by itself, and then the test has failed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_pages_of_wsgi_hello() {
    let server = Server::start(env!("CARGO_BIN_EXE_wsgi_hello"), &["127.0.0.1:0"]);
    assert!(server.get("/").ends_with("\r\n\r\n<b>hello world</b>\n"));
    let answer = server.get("/none");
    assert!(answer.starts_with("HTTP/1.1 404 ") || answer.starts_with("HTTP/1.0 404 "), "{answer}");
    let form = "POST /greet HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\nname=Ada";
    assert!(server.ask(form).ends_with("\r\n\r\nhello, Ada\n"));
    // A slow page keeps nobody waiting.
    std::thread::scope(|scope| {
        let start = Instant::now();
        let slow = scope.spawn(|| server.get("/slow"));
        assert!(server.get("/").ends_with("hello world</b>\n"));
        assert!(!slow.is_finished());
        assert!(slow.join().unwrap().ends_with("that took a while\n"));
        assert!(start.elapsed() >= Duration::from_secs(2));
    });
}

#[test]
fn files_and_their_parts() {
    let directory = std::env::temp_dir().join(format!("greenlet-file-server-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("index.html"), "0123456789").unwrap();
    {
        let server =
            Server::start(env!("CARGO_BIN_EXE_file_server"), &[directory.to_str().unwrap(), "127.0.0.1:0"]);
        assert!(server.get("/").ends_with("\r\n\r\n0123456789"));
        let part = server.ask("GET /index.html HTTP/1.0\r\nRange: bytes=2-3\r\n\r\n");
        assert!(part.contains(" 206 ") && part.ends_with("\r\n\r\n23"), "{part}");
        assert!(server.get("/../etc/passwd").contains(" 404 "));
    }
    let _ = std::fs::remove_dir_all(&directory);
}

#[test]
fn an_axum_application_blocks_and_keeps_nobody_waiting() {
    let server = Server::start(env!("CARGO_BIN_EXE_axum_on_greenlets"), &["127.0.0.1:0"]);
    assert!(server.get("/hello/Ada").ends_with("\r\n\r\nhello, Ada\n"));
    let note = r#"{"text":"buy milk"}"#;
    let post = |kind: &str| {
        format!(
            "POST /notes HTTP/1.0\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{note}",
            note.len()
        )
    };
    let answer = server.ask(&post("application/json"));
    assert!(answer.contains(" 201 ") && answer.ends_with(r#"{"id":1,"text":"buy milk"}"#), "{answer}");
    assert!(server.ask(&post("text/plain")).contains(" 415 "));
    assert!(server.get("/notes").ends_with(r#"[{"id":1,"text":"buy milk"}]"#));
    assert!(server.get("/notes/1").ends_with(r#"{"id":1,"text":"buy milk"}"#));
    assert!(server.get("/notes/0").contains(" 404 ") && server.get("/notes/2").contains(" 404 "));
    assert!(server.get("/addresses/localhost").contains("127.0.0.1"));
    std::thread::scope(|scope| {
        let start = Instant::now();
        let slow = scope.spawn(|| server.get("/together/20"));
        assert!(server.get("/hello/Bob").ends_with("hello, Bob\n"));
        let answer = slow.join().unwrap();
        assert!(answer.contains("\r\n\r\n20 greenlets slept"), "{answer}");
        // One after the other it would be four seconds.
        assert!(start.elapsed() < Duration::from_secs(4));
    });
}
