//! A server that knows just enough HTTP for a test.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::rc::Rc;

use greenlet_core::{Greenlet, spawn};
use greenlet_net::{Stream, TcpListener, TcpStream};

pub struct Site {
    pub port: u16,
    /// How many were accepted.
    pub connections: Rc<Cell<usize>>,
    server: Greenlet<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.kill();
    }
}

impl Site {
    /// `upgrade` makes of a connection what is spoken on; `answer` gets path and body of each request.
    pub fn start<S: Stream>(
        upgrade: impl Fn(TcpStream) -> Option<S> + 'static,
        answer: impl Fn(&str, &[u8]) -> Answer + 'static,
    ) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Rc::new(Cell::new(0));
        let counted = connections.clone();
        let (upgrade, answer) = (Rc::new(upgrade), Rc::new(answer));
        let server = spawn(move || {
            for stream in listener.incoming() {
                counted.set(counted.get() + 1);
                let (upgrade, answer) = (upgrade.clone(), answer.clone());
                spawn(move || {
                    if let Some(stream) = upgrade(stream.unwrap()) {
                        serve(&stream, &*answer);
                    }
                });
            }
        });
        Site { port, connections, server }
    }

    pub fn plain(answer: impl Fn(&str, &[u8]) -> Answer + 'static) -> Site {
        Site::start(Some::<TcpStream>, answer)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

pub enum Answer {
    Body(Vec<u8>),
    /// And the connection ends, though nothing said so.
    LastBody(Vec<u8>),
    Nothing,
}

fn serve(stream: &dyn Stream, answer: &dyn Fn(&str, &[u8]) -> Answer) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => head.push(line),
            }
        }
        let length = head.iter().find_map(|line| {
            line.to_lowercase().strip_prefix("content-length:").map(|n| n.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let path = head[0].split(' ').nth(1).unwrap().to_owned();
        let (body, last) = match answer(&path, &body) {
            Answer::Body(body) => (body, false),
            Answer::LastBody(body) => (body, true),
            Answer::Nothing => return greenlet_core::sleep(std::time::Duration::MAX),
        };
        let mut stream = stream;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).is_err() || stream.write_all(&body).is_err() || last {
            return;
        }
    }
}
