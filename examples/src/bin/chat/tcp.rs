//! The transport for `nc`: a TCP connection with a line for a line.

use std::fmt::Write as _;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{ActorBuilder, Exit, System};
use greenlet_core::{Kill, spawn, with_timeout, yield_now};
use greenlet_net::TcpStream;
use tracing::info;

use crate::limits;
use crate::lines::Lines;
use crate::lobby::LobbyRef;
use crate::room::Echo;
use crate::session::Session;
use crate::user::{Message, Shown, Transport, User, UserRef};

/// Serves one connection, from the greeting to the close. Three greenlets take part: the user's, which writes; one that
/// reads; and this one, which waits for the end of both. The user writes from any hub, as its actor moves.
pub fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    system: &System,
    lobby: LobbyRef,
    idle: Option<Duration>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(limits::WRITE))?;
    stream.set_read_timeout(idle)?;
    let stream = Arc::new(stream);

    let writer = Writer { stream: stream.clone(), line: String::new() };
    let user = ActorBuilder::new()
        .name(peer.to_string())
        .capacity(limits::OUTGOING)
        .system(system)
        .spawn(User::new(writer, lobby.id()));
    let reader = spawn({
        let (stream, user) = (stream.clone(), user.clone());
        move || read(&stream, user, lobby)
    });
    // When the user ends first (it is too slow, or its connection is lost), there is no more to read for: the reader is
    // unwound out of whatever it waits for.
    user.on_end({
        let reader = (*reader).clone();
        move |_, _| {
            reader.kill_with(Kill::default().no_wait());
        }
    });

    reader.join();
    // What is queued is still written: also for a client that has only shut down its sending side.
    let _ = user.send(Message::End);
    if let Exit::Killed = user.join() {
        // By its room, perhaps in the middle of a line. This arrives if the client begins to read now.
        stream.set_write_timeout(Some(limits::LINGER))?;
        let _ = (&*stream).write_all(b"\n! you read too slowly\n");
    }
    // A close with unread input would reset the connection, and might take the last lines from the client.
    if stream.shutdown(Shutdown::Write).is_ok() {
        let _ = with_timeout(limits::LINGER, || io::copy(&mut Fair(&stream), &mut io::sink()));
    }
    Ok(())
}

/// Reads lines until the client or the session has enough.
fn read(stream: &TcpStream, user: UserRef, lobby: LobbyRef) {
    let mut session = match Session::open(user.clone(), lobby, Echo::Others) {
        Ok((session, name)) => {
            session.show(format!("= welcome, {name}: /name NAME, then /join ROOM; /help tells more"));
            session
        }
        Err(complaint) => {
            let _ = user.send(Message::Show(Shown::note(format!("! {complaint}"))));
            return;
        }
    };
    let mut lines = Lines::new(BufReader::new(Fair(stream)));
    let failed = loop {
        match lines.next() {
            Ok(Some(line)) => {
                if session.line(line).is_break() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => break error,
        }
    };
    if failed.kind() == io::ErrorKind::TimedOut {
        session.show("! you were silent for too long".into());
    } else {
        info!(connection = %user, error = %failed, "lost");
    }
}

/// Gives the others a turn after each read: a client that sends without a pause would keep the thread to itself.
struct Fair<'a>(&'a TcpStream);

impl Read for Fair<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        yield_now();
        Ok(n)
    }
}

struct Writer {
    stream: Arc<TcpStream>,
    /// Used again for each line, which goes out in one piece with its end.
    line: String,
}

impl Transport for Writer {
    fn show(&mut self, shown: &Shown) -> io::Result<()> {
        self.line.clear();
        // A `String` takes everything.
        let _ = writeln!(self.line, "{shown}");
        (&*self.stream).write_all(self.line.as_bytes())
    }
}
