//! Whose turn it is to write, so that every message arrives whole.
//!
//! Frames go into the pipe first, whole ones, and then to the stream. Only who has the turn does the latter. If he is unwound before he is
//! done, a greenlet takes over what is left: the peer gets all of it, and nothing in between.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use greenlet_core::Builder;
use greenlet_core::future::block_on_timeout;

use super::connection::Connection;
use super::error::End;
use super::settings::at_least_some;

pub(super) struct Turn {
    connection: Arc<Connection>,
    bytes: Vec<u8>,
    sent: usize,
    /// The stream may keep back what was sent.
    unflushed: bool,
    heir: Heir,
}

/// Who writes what is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heir {
    Greenlet,
    /// This one is it already.
    None,
}

impl Turn {
    /// Waits for the turn. Who is killed meanwhile has not had it.
    pub(super) fn wait(connection: &Arc<Connection>) -> Turn {
        connection.sending.acquire();
        Turn::taken(connection)
    }

    /// The caller has the permit to send.
    pub(super) fn taken(connection: &Arc<Connection>) -> Turn {
        Turn {
            connection: connection.clone(),
            bytes: Vec::new(),
            sent: 0,
            unflushed: false,
            heir: Heir::Greenlet,
        }
    }

    /// Writes what is in the pipe without waiting, unless it is somebody's turn: he looks again when he is done. What the stream does not
    /// take now is left to a greenlet. So who receives never waits for a peer that does not read.
    pub(super) fn nudge(connection: &Arc<Connection>) {
        if connection.state().engine.get_ref().has_output() && connection.sending.try_acquire() {
            let mut turn = Turn::taken(connection);
            let mut nobody = Context::from_waker(Waker::noop());
            match turn.poll_out(&mut nobody) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    // A thread that has no hub: it just blocks. The stream knows the error, if there is one.
                    let _ = turn.write_out(connection.settings.write_timeout);
                }
                Poll::Ready(Err(error)) => connection.end(End::lost(&error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
    }

    /// Writes what is in the pipe. Suspends while the stream has no room, for `patience` at most without any progress.
    pub(super) fn write_out(&mut self, patience: Duration) -> io::Result<()> {
        while self.load() {
            while self.sent < self.bytes.len() {
                match self.send_once(patience) {
                    Ok(0) => return Err(self.lost(io::ErrorKind::WriteZero.into())),
                    Ok(n) => {
                        self.sent += n;
                        self.unflushed = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.lost(error)),
                }
            }
            // It fails for zero only.
            let _ = self.connection.stream.set_write_timeout(Some(at_least_some(patience)));
            self.connection.stream.flush().map_err(|error| self.lost(error))?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Not by `Stream::send`: who is unwound from there cannot know what a stream with a buffer of its own, as that of TLS, has taken. A future
    /// is only ever dropped where it has taken nothing.
    fn send_once(&self, patience: Duration) -> io::Result<usize> {
        let (stream, rest) = (&self.connection.stream, &self.bytes[self.sent..]);
        let tried = match stream.poll_send(&mut Context::from_waker(Waker::noop()), rest) {
            Poll::Ready(sent) => sent,
            Poll::Pending => block_on_timeout(poll_fn(|context| stream.poll_send(context, rest)), patience)
                .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer accepts nothing"))),
        };
        match tried {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                // A thread that has no hub: it just blocks, and is not killed.
                let _ = stream.set_write_timeout(Some(at_least_some(patience)));
                stream.send(rest)
            }
            sent => sent,
        }
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.load() {
            let stream = &self.connection.stream;
            while self.sent < self.bytes.len() {
                match stream.poll_send(context, &self.bytes[self.sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => {
                        self.sent += n;
                        self.unflushed = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match stream.poll_flush(context) {
                Poll::Ready(done) => done?,
                Poll::Pending => return Poll::Pending,
            }
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what is in the pipe, when all before it is written. False: there is nothing.
    fn load(&mut self) -> bool {
        if self.sent < self.bytes.len() || self.unflushed {
            return true;
        }
        self.bytes = self.connection.state().engine.get_mut().take_output();
        self.sent = 0;
        !self.bytes.is_empty()
    }

    /// The stream fails: nobody is to write after half a message.
    fn lost(&self, error: io::Error) -> io::Error {
        self.connection.end(End::lost(&error));
        error
    }

    /// Whether the stream has whole frames only.
    fn is_whole(&self) -> bool {
        self.sent == self.bytes.len() && !self.unflushed
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let connection = self.connection.clone();
        let (ended, more) = {
            let state = connection.state();
            (state.end.is_some(), state.engine.get_ref().has_output())
        };
        if self.is_whole() && (ended || !more) {
            connection.sending.release();
            if !ended {
                // Something may have come into the pipe in between. What comes at the end is written by who ends it.
                Turn::nudge(&connection);
            }
            return;
        }
        if ended || self.heir == Heir::None {
            let killed = io::Error::new(io::ErrorKind::Interrupted, "its writer was killed");
            connection.end(End::lost(&killed));
            connection.sending.release();
            return;
        }
        let mut rest = Turn {
            connection,
            bytes: std::mem::take(&mut self.bytes),
            sent: self.sent,
            unflushed: self.unflushed,
            heir: Heir::None,
        };
        Builder::new().name("websocket writer").spawn(move || {
            // Who sends or receives next is told.
            let _ = rest.write_out(rest.connection.settings.write_timeout);
        });
    }
}
