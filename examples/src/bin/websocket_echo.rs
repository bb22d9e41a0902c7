//! A WebSocket server that sends back what it gets, and a client for it.
//!
//! Type in one terminal
//!
//!     cargo run --release -p greenlet-examples --bin websocket_echo -- server
//!
//! and in another
//!
//!     cargo run --release -p greenlet-examples --bin websocket_echo -- client ws://127.0.0.1:9001/
//!
//! What you type there comes back:
//!
//! ```text
//! connected to ws://127.0.0.1:9001/
//! > hello
//! hello
//! ```
//!
//! `server ADDR` listens elsewhere. The end of the input closes the connection. The server has a page for browsers too: <http://127.0.0.1:9001/>.

use std::error::Error;
use std::io::{self, BufRead};
use std::process::ExitCode;

use greenlet_core::pool::ThreadPool;
use greenlet_core::{GreenletError, spawn};
use greenlet_net::TcpListener;
use greenlet_net::http::{AccessLog, Html, IntoResponse, Request, Server};
use greenlet_net::websocket::{self, Acceptor, CloseCode, Message, Settings, WebSocket};

/// The same client, for browsers.
const PAGE: &str = include_str!("websocket_echo.html");

const USAGE: &str = "usage: websocket_echo server [ADDR] | client URL";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["server"] => serve("127.0.0.1:9001"),
        ["server", address] => serve(address),
        ["client", url] => talk(url),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("websocket_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    // Any page may use it: it knows nobody, and keeps nothing.
    let settings = Settings::default().max_message_size(64 << 20).max_frame_size(64 << 20);
    let acceptor = Acceptor::new().any_origin().settings(settings);
    let server = Server::new(move |mut request: Request| {
        if request.headers().contains_key("upgrade") {
            let agreed = acceptor.upgrade(&mut request, |socket| {
                if let Err(error) = echo(&socket) {
                    eprintln!("{error}");
                }
            });
            agreed.unwrap_or_else(|refusal| refusal.response().into_response())
        } else {
            Html(PAGE).into_response()
        }
    });
    let server = server.access_log(AccessLog::Off).start(TcpListener::bind(address)?)?;
    println!("listening on {}", server.local_addr()?);
    server.join();
    Ok(())
}

fn echo(socket: &WebSocket) -> Result<(), Box<dyn Error>> {
    while let Some(message) = socket.recv()? {
        socket.send(message)?;
    }
    Ok(())
}

/// Sends what is typed, while what comes back is shown.
fn talk(url: &str) -> Result<(), Box<dyn Error>> {
    let socket = websocket::connect(url)?;
    println!("connected to {url}");
    let receiver = spawn({
        let socket = socket.clone();
        move || {
            while let Ok(Some(message)) = socket.recv() {
                match message {
                    Message::Text(text) => println!("{text}"),
                    Message::Binary(bytes) => println!("{} bytes", bytes.len()),
                }
            }
        }
    });
    // Reading a terminal blocks, so a thread does it.
    let pool = ThreadPool::new(1);
    loop {
        let line = pool.apply(|| {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map(|n| (n > 0).then_some(line))
        })?;
        match line? {
            Some(line) => socket.send(line.trim_end_matches(['\r', '\n']))?,
            None => break,
        }
    }
    socket.close(CloseCode::Normal, "the end of the input")?;
    Ok(receiver.get().map_err(|error: GreenletError| error.to_string())?)
}
