//! What is logged, by the only test of a process, since the log is one for all of it.
#![cfg(feature = "http")]

mod raw;

use std::sync::{Arc, Mutex};

use greenlet_core::run;
use greenlet_net::UnixStream;
use greenlet_net::http::{AccessLog, Request, Server};
use raw::{Client, FOREVER, serve};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_request_is_a_line_in_the_access_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    run(|| {
        let (server, address) =
            serve(Server::new(|request: Request| request.uri().to_string()).access_log(AccessLog::Combined));
        let mut client = Client::connect(address);
        client.send("GET /a%20b?c HTTP/1.1\r\nHost: a\r\nUser-Agent: x\"y\r\nReferer: z\r\n\r\n");
        client.answer();
        client.send("nonsense%s\r\n\r\n");
        client.answer();
        server.stop(FOREVER);
        let path = std::env::temp_dir().join(format!("greenlet-access-log-{}", std::process::id()));
        let server = Server::new(|_: Request| "local").start(path.clone()).unwrap();
        Client::over(UnixStream::connect(path).unwrap()).get("/local");
        server.stop(FOREVER);
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = text.lines().find(|line| line.contains("greenlet_net::http::access")).unwrap();
    assert!(line.contains("127.0.0.1 - - ["), "{text}");
    assert!(line.contains(r#"] "GET /a%20b?c HTTP/1.1" 200 8 "z" "x\"y" 0."#), "{text}");
    assert!(text.contains("unix: - - ["), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("bad request")).count(), 1, "{text}");
}
