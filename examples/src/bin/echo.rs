//! An echo server, one greenlet for each connection, and a client that puts load on it.
//!
//! Type in one terminal
//!
//!     cargo run --release -p greenlet-examples --bin echo -- server
//!
//! and you will see the address that it listens on, and a line for each connection that comes and goes. In another one
//!
//!     cargo run --release -p greenlet-examples --bin echo -- load 127.0.0.1:7000 64 10000
//!
//! opens 64 connections, makes 10000 round trips on each, checks every answer, and ends with a line such as
//!
//!     64 connections, 640000 round trips in 5.72 s: 111888 per second
//!
//! All arguments after `server` and `load` may be left out. `cat | nc 127.0.0.1 7000` talks to the server too.

use std::io::{self, IsTerminal, Read, Write, copy};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use greenlet_core::{Greenlet, spawn};
use greenlet_net::TcpStream;
use greenlet_net::server::StreamServer;
use tracing::{info, warn};

const USAGE: &str = "\
usage: echo server [ADDR]                         echo what comes (ADDR: 127.0.0.1:7000)
       echo load [ADDR] [CONNECTIONS] [ROUNDS]    put load on a server (127.0.0.1:7000, 64 and 1000)";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if matches!(&arguments[..], [help] if help == "--help" || help == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let done = match parse(&arguments) {
        Ok(Command::Server(address)) => server(address),
        Ok(Command::Load(load)) => load.run(),
        Err(wrong) => {
            eprintln!("echo: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

// --- the server ------------------------------------------------------------------------------------------------

fn server(address: SocketAddr) -> io::Result<()> {
    let server = StreamServer::new(address, serve);
    server.start()?;
    println!("listening on {}", server.local_addr()?);
    server.serve_forever()
}

fn serve(stream: TcpStream, peer: SocketAddr) {
    info!(%peer, "connected");
    match copy(&mut &stream, &mut &stream) {
        Ok(bytes) => info!(%peer, bytes, "gone"),
        Err(error) => warn!(%peer, %error, "lost"),
    }
}

// --- the client ------------------------------------------------------------------------------------------------

struct Load {
    address: SocketAddr,
    connections: u64,
    rounds: u64,
}

impl Load {
    fn run(self) -> io::Result<()> {
        let Load { address, connections, rounds } = self;
        let start = Instant::now();
        let clients: Vec<Greenlet<_>> =
            (0..connections).map(|number| spawn(move || client(address, number, rounds))).collect();
        for client in clients {
            client.into_value().map_err(io::Error::other)??;
        }
        let (trips, seconds) = (connections * rounds, start.elapsed().as_secs_f64());
        let rate = trips as f64 / seconds;
        println!("{connections} connections, {trips} round trips in {seconds:.2} s: {rate:.0} per second");
        Ok(())
    }
}

fn client(address: SocketAddr, number: u64, rounds: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    for round in 0..rounds {
        let sent = (number << 32 | round).to_le_bytes();
        stream.write_all(&sent)?;
        let mut answer = [0; 8];
        stream.read_exact(&mut answer)?;
        if answer != sent {
            return Err(io::Error::other(format!("sent {sent:?} and got {answer:?}")));
        }
    }
    Ok(())
}

// --- the command line ------------------------------------------------------------------------------------------

enum Command {
    Server(SocketAddr),
    Load(Load),
}

fn parse(arguments: &[String]) -> Result<Command, String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["server", ref rest @ ..] if rest.len() <= 1 => Ok(Command::Server(address(rest.first())?)),
        ["load", ref rest @ ..] if rest.len() <= 3 => Ok(Command::Load(Load {
            address: address(rest.first())?,
            connections: count("CONNECTIONS", rest.get(1), 64)?,
            rounds: count("ROUNDS", rest.get(2), 1000)?,
        })),
        ["server" | "load", ..] => Err("too many arguments".into()),
        [other, ..] => Err(format!("expected `server` or `load`, found `{other}`")),
        [] => Err("expected `server` or `load`".into()),
    }
}

fn address(argument: Option<&&str>) -> Result<SocketAddr, String> {
    let text = argument.unwrap_or(&"127.0.0.1:7000");
    text.parse().map_err(|_| format!("ADDR is like 127.0.0.1:7000 or [::1]:7000, not `{text}`"))
}

fn count(name: &str, argument: Option<&&str>, default: u32) -> Result<u64, String> {
    let number = argument.map_or(Ok(default), |text| text.parse());
    let number = number.ok().filter(|&number| number > 0);
    number
        .map(u64::from)
        .ok_or_else(|| format!("{name} is a whole number above 0, not `{}`", argument.unwrap_or(&"")))
}
