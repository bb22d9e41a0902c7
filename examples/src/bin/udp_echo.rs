//! A server that sends every datagram back to where it came from, in capitals.
//!
//! Type in one terminal
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin udp_echo
//! ```
//!
//! and in another one `nc -u 127.0.0.1 9000`, and lines to send. You will see there what comes back, and here
//!
//! ```text
//! receiving on 127.0.0.1:9000
//! [...]  INFO udp_echo: received peer=127.0.0.1:40612 bytes=6
//! ```
//!
//! Datagrams of more than 1024 bytes are cut, and only counted. Ctrl-C ends it with what it has counted.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use greenlet_core::signal::{self, SIGINT, SIGTERM};
use greenlet_net::server::{Datagram, DatagramServer};
use tracing::{info, warn};

const USAGE: &str = "usage: udp_echo [ADDR]    ADDR: 127.0.0.1:9000";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = match &arguments[..] {
        [] => "127.0.0.1:9000",
        [address] => address,
        _ => {
            eprintln!("udp_echo: too many arguments\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("udp_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let program = signal::shutdown_on([SIGINT, SIGTERM])?;
    // A handler that has to wait has others run beside it, a hundred at most.
    let server = DatagramServer::new(address, answer).max_size(1024).limit(100);
    let handle = server.handle();
    let ended = program.run(move || {
        server.start()?;
        println!("receiving on {}", server.local_addr()?);
        server.serve_forever()
    });
    println!("{}", handle.counts());
    match ended {
        Ok(ended) => Ok(ended?),
        Err(shutdown) => shutdown.exit(),
    }
}

fn answer(datagram: Datagram) -> io::Result<()> {
    let (peer, bytes) = (datagram.peer(), datagram.len());
    if datagram.is_truncated() {
        warn!(%peer, "too long: not answered");
        return Ok(());
    }
    info!(%peer, bytes, "received");
    datagram.reply(&datagram.to_ascii_uppercase())?;
    Ok(())
}
