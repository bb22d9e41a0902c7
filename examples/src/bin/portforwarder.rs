//! A port forwarder: what connects here is connected to somewhere else, in both directions, to the last byte.
//!
//! Type in one terminal
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin portforwarder -- 127.0.0.1:8000 example.com:80
//! ```
//!
//! and in another one
//!
//! ```text
//! curl -H 'Host: example.com' http://127.0.0.1:8000/
//! ```
//!
//! You will see the page there, and here a line when it comes and one when it is done:
//!
//! ```text
//! forwarding 127.0.0.1:8000 to example.com:80
//! [...]  INFO portforwarder: connected peer=127.0.0.1:53720
//! [...]  INFO portforwarder: done peer=127.0.0.1:53720 there=75 back=1591
//! ```
//!
//! When one side says that it will send no more, the other is told so, and may still answer. Ctrl-C lets nobody in any more and ends when all connections
//! have, after ten seconds at the latest; a second Ctrl-C ends at once.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use greenlet_core::signal::{self, SIGINT, SIGTERM};
use greenlet_core::with_timeout;
use greenlet_net::server::StreamServer;
use greenlet_net::{TcpStream, copy_bidirectional};
use tracing::info;

const USAGE: &str = "usage: portforwarder LISTEN DESTINATION    each is HOST:PORT; LISTEN may be :PORT";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, destination] = &arguments[..] else {
        eprintln!("portforwarder: expected two addresses\n{USAGE}");
        return ExitCode::from(2);
    };
    match serve(listen, destination) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portforwarder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(listen: &str, destination: &str) -> Result<(), Box<dyn std::error::Error>> {
    let program = signal::shutdown_on([SIGINT, SIGTERM])?;
    let ended = program.run(|| {
        let server = StreamServer::new(listen, {
            let destination = destination.to_owned();
            move |client: TcpStream, peer| forward(&client, peer, &destination)
        });
        let server = server.name("portforwarder").grace(Duration::from_secs(10));
        server.start()?;
        println!("forwarding {} to {destination}", server.local_addr()?);
        server.serve_forever() // Ctrl-C unwinds it, and it stops the server on its way
    });
    match ended {
        Ok(ended) => Ok(ended?),
        Err(shutdown) => shutdown.exit(),
    }
}

/// The life of one connection. What it fails with is reported by the server, which also closes it.
fn forward(client: &TcpStream, peer: SocketAddr, destination: &str) -> io::Result<()> {
    let server = with_timeout(Duration::from_secs(10), || TcpStream::connect(destination))
        .map_err(|late| io::Error::new(io::ErrorKind::TimedOut, late))??;
    info!(%peer, "connected");
    let (there, back) = copy_bidirectional(client, &server)?; // an end of one side is passed on to the other
    info!(%peer, there, back, "done");
    Ok(())
}
