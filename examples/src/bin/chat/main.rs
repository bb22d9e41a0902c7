//! A chat: a page in the browser, a line for a line through `nc`, and the same rooms for both.
//!
//! Type
//!
//!     cargo run --release -p greenlet-examples --bin chat
//!
//! and open <http://127.0.0.1:5000> in two windows, on a phone too; or type `nc 127.0.0.1 5001` in another terminal. A session of Alice's
//! there; what she types is marked with `>` here:
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
//! `chat 0.0.0.0:7000` serves the page elsewhere, and lines on the next port; `--lines ADDR` says where; `--idle 600` disconnects those
//! who type nothing for ten minutes.
//!
//! # How it is made
//!
//! It runs on all cores. Connections are read and answered on the hubs of two servers; the actors belong to a `System`, and handle each message wherever there
//! is time. Each has its file; an arrow is a link, `supervisor -> lobby -> rooms`, and each user is linked with the lobby and with its room:
//!
//! | | | waits for |
//! |---|---|---|
//! | `lobby` | knows names and rooms, opens rooms; restarted by a supervisor if it fails | nobody |
//! | `room` | tells its members what is said | a user whose queue is full, for a moment |
//! | `user` | writes to its client; its bounded mailbox is the queue of outgoing lines | its client |
//! | `session` | does what a client types; no actor but the greenlet that reads | user, room, lobby |
//!
//! Since nobody waits for a session, and rooms do not wait long for users, one client can make no other wait; and since
//! links tell how everything ends, there is no clean-up code for connections that break. There are two transports: `tcp`, and `web` with its
//! `page`. `lines`, `protocol` and `limits` say what a client may send, and what happens if it sends something else.

mod event;
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
mod web;

use std::error::Error;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{Supervisor, System, worker};
use greenlet_net::server::StreamServer;
use greenlet_net::{TcpListener, TcpStream};

use lobby::{Lobby, LobbyRef};

const USAGE: &str = "\
usage: chat [ADDR] [--lines ADDR] [--idle SECONDS] [--grace SECONDS]

  ADDR              where to serve the page (127.0.0.1:5000); port 0 takes a free one
  --lines ADDR      where to serve lines, for nc (the next port)
  --idle SECONDS    disconnect clients of lines that send nothing for so long
  --grace SECONDS   how long a user of the page stays without it (30)";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let served = match parse(&arguments) {
        Ok(Command::Serve(options)) => serve(&options),
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

fn serve(options: &Options) -> Result<Never, Box<dyn Error>> {
    let system = Arc::new(System::start()?);
    let tree = system.supervise("chat", || {
        Supervisor::one_for_one().intensity(3, Duration::from_secs(5)).child(worker("lobby", Lobby::default))
    })?;
    // All hubs of a server accept from the same socket, so that those with time get more; and an address that is taken is refused.
    let page = web::serve(TcpListener::bind(options.page)?, system.clone(), tree.clone(), options.grace)?;
    let lines = StreamServer::on_hubs(system.hubs(), TcpListener::bind(options.lines)?, {
        let (tree, idle) = (tree.clone(), options.idle);
        move |stream: TcpStream, peer| -> Result<(), Box<dyn Error + Send + Sync>> {
            let lobby: LobbyRef = tree.child("lobby").ok_or("there is no lobby")?;
            Ok(tcp::serve(stream, peer, &system, lobby, idle)?)
        }
    })
    .name("lines")
    .pauses(limits::ACCEPT_PAUSE, limits::ACCEPT_PAUSE);
    lines.start()?;
    println!("page on http://{}/", page.local_addr()?);
    println!("lines on {}", lines.local_addr()?);
    tree.join();
    Err("the lobby fails again and again".into())
}

enum Command {
    Serve(Options),
    Help,
}

struct Options {
    page: SocketAddr,
    lines: SocketAddr,
    idle: Option<Duration>,
    grace: Duration,
}

fn parse(arguments: &[String]) -> Result<Command, String> {
    let (mut page, mut lines, mut idle, mut grace) = (None, None, None, limits::GRACE);
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--help" | "-h" => return Ok(Command::Help),
            "--lines" => lines = Some(address(arguments.next().unwrap_or_default())?),
            "--idle" => idle = Some(seconds("--idle", arguments.next())?),
            "--grace" => grace = seconds("--grace", arguments.next())?,
            option if option.starts_with('-') => return Err(format!("there is no option `{option}`")),
            more if page.is_some() => return Err(format!("one ADDR is enough, found `{more}` too")),
            text => page = Some(address(text)?),
        }
    }
    let page = page.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 5000)));
    let lines = match lines {
        Some(lines) => lines,
        // The port after that of the page; any free one if that is any free one.
        None if page.port() == 0 => page,
        None => {
            let port =
                page.port().checked_add(1).ok_or("there is no port after 65535: --lines ADDR says where")?;
            SocketAddr::new(page.ip(), port)
        }
    };
    Ok(Command::Serve(Options { page, lines, idle, grace }))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("ADDR is like 127.0.0.1:5000 or [::1]:5000, not `{text}`"))
}

fn seconds(option: &str, text: Option<&str>) -> Result<Duration, String> {
    let text = text.unwrap_or_default();
    let wrong = || format!("{option} takes a whole number of seconds above 0, not `{text}`");
    let seconds = text.parse().ok().filter(|&seconds| seconds > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}
