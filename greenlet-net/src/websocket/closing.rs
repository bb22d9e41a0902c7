//! The end of a connection in good order.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::Instant;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};

use super::connection::{Connection, Received};
use super::error::{CloseError, End, RecvError};
use super::settings::at_least_some;
use super::turn::Turn;

/// What a control frame has room for behind the code.
const REASON: usize = 123;

/// Time that passes.
#[derive(Clone, Copy)]
struct Limit {
    start: Instant,
    time: Duration,
}

impl Limit {
    fn new(time: Duration) -> Limit {
        Limit { start: Instant::now(), time }
    }

    fn left(self) -> Duration {
        self.time.saturating_sub(self.start.elapsed())
    }
}

/// Ends the transport, also when what comes before that is unwound.
struct Transport<'a>(&'a Connection);

impl Drop for Transport<'_> {
    fn drop(&mut self) {
        self.0.stream.close();
    }
}

impl Connection {
    /// Says the last word, if there is one in the pipe, and waits until the peer has ended the transport too: a close with something unread would
    /// reset the connection, and might take the last word from the peer.
    pub(super) fn finish(self: &Arc<Self>, end: End) {
        let violation = matches!(end, End::Violation(..));
        self.state().end.get_or_insert(end);
        let _transport = Transport(self);
        let limit = Limit::new(self.settings.close_timeout);
        // It may be the turn of somebody who waits for a peer that does not read any more.
        if !self.sending.acquire_timeout(limit.left()) {
            return;
        }
        let mut turn = Turn::taken(self);
        if turn.write_out(limit.left()).is_err() {
            return;
        }
        drop(turn);
        // A server ends the transport first, so that the wait for stray packets is the server's (RFC 6455, 7.1.1).
        if violation || self.role == Role::Server {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        let mut ignored = self.state().engine.get_mut().take_input();
        while !limit.left().is_zero() {
            let _ = self.stream.set_read_timeout(Some(at_least_some(limit.left())));
            if !matches!(self.stream.recv(&mut ignored), Ok(1..)) {
                break;
            }
        }
    }

    /// Says that we close, and waits for the peer to say so too.
    pub(super) fn close(self: &Arc<Self>, code: CloseCode, reason: &str) -> Result<(), CloseError> {
        let number = u16::from(code);
        if !CloseCode::from(number).is_allowed() {
            return Err(CloseError::Code(number));
        }
        if reason.len() > REASON {
            return Err(CloseError::ReasonTooLong(reason.len()));
        }
        let limit = Limit::new(self.settings.close_timeout);
        if self.sending.acquire_timeout(limit.left()) {
            let mut turn = Turn::taken(self);
            {
                let mut state = self.state();
                if let Some(end) = &state.end {
                    return end.closed();
                }
                state.closing = true;
                // Into the pipe, unless the peer was faster.
                let _ = state.engine.close(Some(CloseFrame { code, reason: reason.into() }));
            }
            // If it fails, that is why the connection has ended.
            let _ = turn.write_out(limit.left());
        }
        self.wait_for_close(limit)
    }

    fn wait_for_close(self: &Arc<Self>, limit: Limit) -> Result<(), CloseError> {
        // Whoever receives may be at work on a message, and come back for the next.
        if self.receiving.acquire_timeout(limit.left()) {
            let _permit = Receiving(self);
            let deadline = limit.start.checked_add(limit.time);
            loop {
                match self.receive(deadline) {
                    Ok(Some(message)) => self.state().keep(message, self.settings.max_message_size),
                    Ok(None) => return Ok(()),
                    Err(Received::TimedOut) => break,
                    Err(Received::Error(RecvError::Abnormal(error)))
                        if error.kind() == std::io::ErrorKind::TimedOut =>
                    {
                        break;
                    }
                    Err(Received::Error(_)) => {
                        return self.ended().map_or(Ok(()), |end| end.closed());
                    }
                }
            }
        }
        let late = CloseError::TimedOut(self.settings.close_timeout);
        self.end(End::Lost(std::io::ErrorKind::TimedOut, late.to_string()));
        Err(late)
    }
}

/// The permit to receive.
pub(super) struct Receiving<'a>(pub(super) &'a Connection);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.receiving.release();
    }
}
