//! What the handles of a websocket share.
//!
//! tungstenite decides what the bytes mean, over a [`Pipe`] in memory, under a lock that nobody keeps while waiting. Whoever receives or
//! sends moves bytes between the pipe and the stream. See `docs/decisions/0014`.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::Instant;
use greenlet_core::sync::Semaphore;
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message as Frame};

use super::error::{End, RecvError};
use super::message::Message;
use super::pipe::Pipe;
use super::settings::{Settings, at_least_some};
use super::turn::Turn;
use crate::Stream;

pub(super) type Engine = tungstenite::WebSocket<Pipe>;

pub(super) struct Connection {
    pub(super) stream: Box<dyn Stream>,
    pub(super) settings: Settings,
    pub(super) role: Role,
    /// Who has the permit receives.
    pub(super) receiving: Semaphore,
    /// Who has the permit writes: see [`Turn`].
    pub(super) sending: Semaphore,
    /// Messages, to give the others a turn every now and then.
    pub(super) sent: AtomicUsize,
    state: Mutex<State>,
}

/// Messages kept while somebody waits for the close.
const MOST_LATE: usize = 1024;

pub(super) struct State {
    pub(super) engine: Engine,
    pub(super) end: Option<End>,
    /// When something was received last, and when a ping was sent since. Kept only if pings are wanted.
    heard: Option<Instant>,
    pinged: Option<Instant>,
    /// Somebody waits for the close of the peer, and receives what comes before it.
    pub(super) closing: bool,
    late: VecDeque<Message>,
    late_bytes: usize,
}

impl State {
    /// Keeps what came before the close of the peer for those who receive after it, as far as `limit` bytes go, and not without end if there is
    /// nothing in them.
    pub(super) fn keep(&mut self, message: Message, limit: usize) {
        self.late_bytes = self.late_bytes.saturating_add(message.as_bytes().len());
        if self.late_bytes <= limit && self.late.len() < MOST_LATE {
            self.late.push_back(message);
        }
    }

    pub(super) fn take_late(&mut self) -> Option<Message> {
        self.late.pop_front()
    }
}

/// What came of looking at what was received.
enum Step {
    Message(Message),
    /// There is nothing whole in it.
    Starved,
    /// It was closed before.
    Ended,
    /// Both sides have said that they close.
    Closed(Option<CloseFrame>),
    Failed(CloseCode, String),
    /// The end of what the peer sends, without a close.
    Cut,
}

/// How long to wait for bytes.
enum Wait {
    Forever,
    AtMost(Duration),
    /// The caller's time is over.
    Over,
    /// The peer's time to answer is over.
    Silent(Duration),
}

impl Connection {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        role: Role,
        settings: Settings,
        leftover: Vec<u8>,
    ) -> io::Result<Arc<Connection>> {
        stream.set_read_timeout(None)?; // of the handshake
        let pipe = Pipe::new(settings.read_buffer_size);
        let config = Some(settings.of_tungstenite());
        let engine = if leftover.is_empty() {
            Engine::from_raw_socket(pipe, role, config)
        } else {
            Engine::from_partially_read(pipe, leftover, role, config)
        };
        let heard = settings.keep_alive.map(|_| Instant::now());
        let state = State {
            engine,
            end: None,
            heard,
            pinged: None,
            closing: false,
            late: VecDeque::new(),
            late_bytes: 0,
        };
        Ok(Arc::new(Connection {
            stream,
            settings,
            role,
            receiving: Semaphore::new(1),
            sending: Semaphore::new(1),
            sent: AtomicUsize::new(0),
            state: Mutex::new(state),
        }))
    }

    /// Never kept while waiting.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- receiving ---------------------------------------------------------------------------------------------

    /// The next message; `None` when the connection is closed. The caller has the permit to receive.
    ///
    /// Suspends in `refill`, and when the connection ends.
    pub(super) fn receive(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Option<Message>, Received> {
        loop {
            match self.step()? {
                Step::Message(message) => {
                    Turn::nudge(self); // pongs
                    return Ok(Some(message));
                }
                Step::Starved => self.refill(deadline)?,
                Step::Ended => return Ok(None),
                Step::Closed(frame) => {
                    self.finish(End::Closed(frame));
                    return Ok(None);
                }
                Step::Failed(code, what) => {
                    let end = End::Violation(code, what);
                    self.finish(end.clone());
                    end.received()?;
                }
                Step::Cut => {
                    let end = End::Lost(ErrorKind::UnexpectedEof, "the peer has ended it".into());
                    self.end(end.clone());
                    end.received()?;
                }
            }
        }
    }

    /// Takes the next message out of what was received.
    fn step(&self) -> Result<Step, Received> {
        let mut state = self.state();
        if let Some(end) = &state.end {
            end.received()?;
            return Ok(Step::Ended);
        }
        loop {
            let failed = match state.engine.read() {
                Ok(Frame::Text(text)) => return Ok(Step::Message(Message::Text(text))),
                Ok(Frame::Binary(bytes)) => return Ok(Step::Message(Message::Binary(bytes))),
                Ok(Frame::Close(frame)) => {
                    // Puts the answer into the pipe, if there is one to give. For a server that is the end, which it says as an error.
                    let _ = state.engine.flush();
                    return Ok(Step::Closed(frame));
                }
                Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_)) => continue,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Starved),
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(Step::Closed(None)),
                Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Ok(Step::Cut);
                }
                Err(error) => error,
            };
            let (code, reason) = match &failed {
                Error::Capacity(CapacityError::MessageTooLong { .. }) => (CloseCode::Size, "too long"),
                Error::Utf8(_) => (CloseCode::Invalid, "not UTF-8"),
                _ => (CloseCode::Protocol, "against the protocol"),
            };
            let _ = state.engine.close(Some(CloseFrame { code, reason: reason.into() }));
            return Ok(Step::Failed(code, failed.to_string()));
        }
    }

    /// Receives once. A kill here loses nothing: what comes later is there for the next one.
    fn refill(self: &Arc<Self>, deadline: Option<Instant>) -> Result<(), Received> {
        let (mut input, wait) = {
            let mut state = self.state();
            let wait = self.wait(&mut state, deadline);
            match wait {
                Wait::Over => return Err(Received::TimedOut),
                Wait::Silent(limit) => {
                    drop(state);
                    self.end(End::Silent(limit));
                    return Err(RecvError::Silent(limit).into());
                }
                Wait::Forever => (state.engine.get_mut().take_input(), None),
                Wait::AtMost(time) => (state.engine.get_mut().take_input(), Some(time)),
            }
        };
        Turn::nudge(self); // pongs, and our ping
        // It fails for zero only.
        let _ = self.stream.set_read_timeout(wait.map(at_least_some));
        match self.stream.recv(&mut input) {
            Ok(n) => {
                let mut state = self.state();
                state.engine.get_mut().put_input(input, n);
                if state.heard.is_some() {
                    (state.heard, state.pinged) = (Some(Instant::now()), None);
                }
                Ok(())
            }
            Err(error) => {
                self.state().engine.get_mut().return_input(input);
                match error.kind() {
                    // Whoever's time was over is found out at the next turn.
                    ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(()),
                    ErrorKind::ResourceBusy => Err(RecvError::Busy.into()),
                    _ => {
                        self.end(End::lost(&error));
                        // It may have been ended before, and that was the reason.
                        let end = self.state().end.clone();
                        end.map_or(Ok(()), |end| end.received()).map_err(Received::from)
                    }
                }
            }
        }
    }

    /// How long to wait for more; puts a ping into the pipe when it is time for one.
    fn wait(&self, state: &mut State, deadline: Option<Instant>) -> Wait {
        let left = match deadline.map(|deadline| deadline.duration_since(Instant::now())) {
            Some(Duration::ZERO) => return Wait::Over,
            left => left,
        };
        let (Some(keep_alive), Some(heard)) = (self.settings.keep_alive, state.heard) else {
            return left.map_or(Wait::Forever, Wait::AtMost);
        };
        let (since, patience) = match state.pinged {
            Some(pinged) => (pinged, keep_alive.limit),
            None => (heard, keep_alive.interval),
        };
        let mut quiet = patience.saturating_sub(since.elapsed());
        if quiet.is_zero() {
            if state.pinged.is_some() {
                return Wait::Silent(keep_alive.limit);
            }
            state.pinged = Some(Instant::now());
            quiet = keep_alive.limit;
            // It fails when the connection is closing, and then something else is waited for.
            let _ = state.engine.send(Frame::Ping(Default::default()));
        }
        Wait::AtMost(left.map_or(quiet, |left| left.min(quiet)))
    }

    // --- the end -----------------------------------------------------------------------------------------------

    /// Ends the connection for everybody. The first reason counts.
    pub(super) fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.stream.close();
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.state().end.clone()
    }
}

/// Why nothing was received, in the words of whoever asked.
pub(super) enum Received {
    TimedOut,
    Error(RecvError),
}

impl From<RecvError> for Received {
    fn from(error: RecvError) -> Received {
        Received::Error(error)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.ended();
        f.debug_struct("Connection")
            .field("stream", &self.stream)
            .field("role", &self.role)
            .field("end", &end)
            .finish()
    }
}
