//! A server on a Unix socket that says who it talks to, and its client.
//!
//! Type in one terminal
//!
//!     cargo run -p greenlet-examples --bin unixsocket -- server /tmp/hello.sock
//!
//! and in another one
//!
//!     cargo run -p greenlet-examples --bin unixsocket -- client /tmp/hello.sock one two three
//!
//! which prints an answer to each word, with the number of the client's process as the system knows it:
//!
//!     process 4242 said one
//!     process 4242 said two
//!     process 4242 said three
//!
//! Ctrl-C ends the server, which removes the socket's file. `kill -9` leaves it there, and the next server finds that nobody listens on it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::process::ExitCode;
use std::time::Duration;

use greenlet_core::signal::{SIGINT, SIGTERM, shutdown_on};
use greenlet_core::spawn;
use greenlet_net::{UnixListenOptions, UnixStream};

const USAGE: &str = "\
usage: unixsocket server PATH             answer on a socket of that path
       unixsocket client PATH WORD...     say these words to it";

/// A client that says nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &arguments[..] {
        ["server", path] => server(path),
        ["client", path, words @ ..] if !words.is_empty() => client(path, words),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unixsocket: {error}");
            ExitCode::FAILURE
        }
    }
}

fn server(path: &str) -> io::Result<()> {
    let listener = UnixListenOptions::new()
        .replace_stale(true) // of a server that was killed
        .remove_on_drop(true)
        .mode(0o600) // this user's programs only
        .bind(path)?;
    println!("listening on {path}");
    // Ctrl-C unwinds it from `accept`: the listener is dropped, and its file removed.
    let program = shutdown_on([SIGINT, SIGTERM]).map_err(io::Error::other)?;
    let _ = program.run(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => drop(spawn(move || report(answer(&stream)))),
                Err(error) => report(Err(error)),
            }
        }
    });
    Ok(())
}

fn report(done: io::Result<()>) {
    if let Err(error) = done {
        eprintln!("a connection ended: {error}");
    }
}

fn answer(stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let peer = stream.peer_credentials()?;
    let mut writer = stream;
    for line in BufReader::new(stream).lines() {
        writeln!(writer, "process {} said {}", peer.pid, line?)?;
    }
    Ok(())
}

fn client(path: &str, words: &[&str]) -> io::Result<()> {
    let stream = UnixStream::connect_timeout(path, Duration::from_secs(5))?;
    let mut writer = &stream;
    for word in words {
        writeln!(writer, "{word}")?;
    }
    stream.shutdown(Shutdown::Write)?;
    // The whole answer in ten seconds, however slowly it comes.
    for line in BufReader::new(stream.within(Duration::from_secs(10))).lines() {
        println!("{}", line?);
    }
    Ok(())
}
