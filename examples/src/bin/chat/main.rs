//! A chat server: rooms, names, and a backlog, for `nc` and for programs.
//!
//! Type in one terminal
//!
//!     cargo run --release -p greenlet-examples --bin chat
//!
//! and in two others `nc 127.0.0.1 5000`. A session of Alice's; what she types is marked with `>` here:
//!
//! ```text
//! = welcome, guest-2: /name NAME, then /join ROOM; /help tells more
//! > /name alice
//! = you are alice now
//! > /join rust
//! = you are in rust with: bob, alice
//! ~ <bob> is anybody here?
//! > I am
//! <bob> hello, alice
//! * bob left
//! > /quit
//! = bye
//! ```
//!
//! `chat 0.0.0.0:7000` listens elsewhere, `--idle 600` disconnects those who are silent for ten minutes.
//!
//! # How it is made
//!
//! Actors, each in its file, on one thread; an arrow is a link, `supervisor -> lobby -> rooms`, and each user is linked
//! with the lobby and with its room:
//!
//! | | | waits for |
//! |---|---|---|
//! | `lobby` | knows names and rooms, opens rooms; restarted by a supervisor if it fails | nobody |
//! | `room` | tells its members what is said | nobody |
//! | `user` | writes to its client; its bounded mailbox is the queue of outgoing lines | its client |
//! | `session` | does what a client types; no actor but the greenlet that reads | user, room, lobby |
//!
//! Since nobody waits for a session, and rooms do not wait for users, one client can make no other wait; and since
//! links tell how everything ends, there is no clean-up code for connections that break. `tcp` is the transport; `lines`,
//! `protocol` and `limits` say what a client may send, and what happens if it sends something else.

mod limits;
mod lines;
mod lobby;
mod protocol;
mod room;
mod session;
mod tcp;
#[cfg(test)]
mod tests;
mod user;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use greenlet_actor::{Supervisor, worker};
use greenlet_core::{Builder, sleep};
use greenlet_net::TcpListener;
use tracing::warn;

use lobby::{Lobby, LobbyRef};

const USAGE: &str = "\
usage: chat [ADDR] [--idle SECONDS]

  ADDR              where to listen (127.0.0.1:5000); port 0 takes a free one
  --idle SECONDS    disconnect clients that send nothing for so long";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let served = match parse(&arguments) {
        Ok(Command::Serve { address, idle }) => serve(address, idle),
        Ok(Command::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("chat: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match served {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Never {}

fn serve(address: SocketAddr, idle: Option<Duration>) -> Result<Never, Box<dyn Error>> {
    let tree = Supervisor::one_for_one()
        .intensity(3, Duration::from_secs(5))
        .child(worker("lobby", Lobby::default))
        .start()?;
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let lobby: LobbyRef = tree.child("lobby").ok_or("the lobby fails again and again")?;
                Builder::new().name(format!("connection {peer}")).spawn(move || {
                    if let Err(error) = tcp::serve(stream, peer, lobby, idle) {
                        warn!(%peer, %error, "closed");
                    }
                });
            }
            Err(error) => {
                // The clients that wait are served when others have gone.
                warn!(%error, "cannot accept");
                sleep(limits::ACCEPT_PAUSE);
            }
        }
    }
}

enum Command {
    Serve { address: SocketAddr, idle: Option<Duration> },
    Help,
}

fn parse(arguments: &[String]) -> Result<Command, String> {
    let (mut address, mut idle) = (None, None);
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--help" | "-h" => return Ok(Command::Help),
            "--idle" => {
                let seconds = arguments.next().unwrap_or_default();
                let wrong = || format!("--idle takes a whole number of seconds above 0, not `{seconds}`");
                idle = Some(seconds.parse().ok().filter(|&seconds| seconds > 0).ok_or_else(wrong)?);
            }
            option if option.starts_with('-') => return Err(format!("there is no option `{option}`")),
            more if address.is_some() => return Err(format!("one ADDR is enough, found `{more}` too")),
            text => {
                let wrong = |_| format!("ADDR is like 127.0.0.1:5000 or [::1]:5000, not `{text}`");
                address = Some(text.parse().map_err(wrong)?);
            }
        }
    }
    let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 5000)));
    Ok(Command::Serve { address, idle: idle.map(Duration::from_secs) })
}
