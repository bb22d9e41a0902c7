//! A client that sends bytes as they are and reads responses by the letter.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use greenlet_net::http::{Handler, RunningServer, Server};
use greenlet_net::{Stream, TcpListener, TcpStream};

/// Longer than anything here takes: what waits for it has hung.
pub const FOREVER: Duration = Duration::from_secs(20);

/// A server on a port of its own.
pub fn serve<H: Handler>(server: Server<H>) -> (RunningServer, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (server.start(listener).unwrap(), address)
}

pub struct Client<S = TcpStream> {
    pub stream: S,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The sizes of the chunks, if it was chunked.
    pub chunks: Vec<usize>,
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.line[9..12].parse().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What a client sees of the end of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
    /// In the middle of a response.
    CutOff,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }
}

impl<S: Stream> Client<S> {
    pub fn over(stream: S) -> Client<S> {
        stream.set_read_timeout(Some(FOREVER)).unwrap();
        stream.set_write_timeout(Some(FOREVER)).unwrap();
        Client { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        (&self.stream as &dyn Stream).write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.answer()
    }

    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    fn more(&mut self) -> Result<(), End> {
        let mut piece = [0; 16 * 1024];
        match self.stream.recv(&mut piece) {
            Ok(0) => Err(End::Fin),
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => panic!(
                "the client waits in vain: {error}; it has {:?}",
                self.buffer.escape_ascii().to_string()
            ),
        }
    }

    fn line(&mut self) -> Result<String, End> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8(self.buffer[..at].to_vec()).unwrap();
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            self.more()?;
        }
    }

    fn exactly(&mut self, n: usize) -> Result<Vec<u8>, End> {
        while self.buffer.len() < n {
            self.more()?;
        }
        Ok(self.buffer.drain(..n).collect())
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, End> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').unwrap();
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The head of a response, and nothing behind it.
    pub fn head(&mut self) -> Result<Answer, End> {
        let line = self.line()?;
        assert!(line.starts_with("HTTP/1."), "no status line: {line:?}");
        let headers = self.fields().map_err(|_| End::CutOff)?;
        Ok(Answer { line, headers, body: Vec::new(), chunks: Vec::new(), trailers: Vec::new() })
    }

    pub fn try_answer(&mut self) -> Result<Answer, End> {
        let mut answer = self.head()?;
        let status = answer.status();
        if status < 200 || status == 204 || status == 304 {
            return Ok(answer);
        }
        self.body(&mut answer).map_err(|_| End::CutOff)?;
        Ok(answer)
    }

    fn body(&mut self, answer: &mut Answer) -> Result<(), End> {
        if answer.header("transfer-encoding") == Some("chunked") {
            assert_eq!(answer.header("content-length"), None);
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).unwrap();
                if size == 0 {
                    answer.trailers = self.fields()?;
                    return Ok(());
                }
                answer.chunks.push(size);
                let chunk = self.exactly(size)?;
                answer.body.extend(chunk);
                assert_eq!(self.line()?, "");
            }
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.exactly(length)?;
        } else {
            loop {
                match self.more() {
                    Ok(()) => {}
                    Err(End::Fin) => break,
                    Err(end) => return Err(end),
                }
            }
            answer.body = std::mem::take(&mut self.buffer);
        }
        Ok(())
    }

    pub fn answer(&mut self) -> Answer {
        self.try_answer().expect("the server ended the connection")
    }

    /// How the server ends the connection, which says nothing more.
    pub fn end(&mut self) -> End {
        let end = self.more().expect_err("the server says more");
        assert!(self.buffer.is_empty(), "{:?}", self.buffer.escape_ascii().to_string());
        end
    }

    /// Bytes as they come.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        self.exactly(n).expect("the server ended the connection")
    }
}
