//! A websocket, as one has it in the hand.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenlet_core::{Instant, yield_now};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Bytes, Message as Frame};

use super::closing::Receiving;
use super::connection::{Connection, Received};
use super::error::{CloseError, End, RecvError, SendError};
use super::message::Message;
use super::settings::Settings;
use super::turn::Turn;
use crate::{Address, Stream};

/// A connection of messages: one end of a WebSocket (RFC 6455).
///
/// Clones are handles to the same connection, for any number of greenlets and threads: one receives while others send. The connection ends by
/// [`close`](WebSocket::close), by the peer, or without a word when the last handle is dropped, which the peer knows as code 1006.
///
/// # What holds
///
/// - **Every message arrives whole.** A kill or timeout that unwinds a greenlet from [`send`](WebSocket::send) comes either while it waits for its
///   turn, and then nothing of its message is sent; or later, and then a greenlet of its own sends the rest. Nothing else is ever sent in between.
/// - **No message is lost** by a kill or timeout in [`recv`](WebSocket::recv): it is there for the next one.
/// - **Back-pressure.** Nothing is queued: `send` returns when the system has the whole message, and suspends while the peer reads too slowly, for the
///   [write timeout](Settings::write_timeout) at most without any progress. Those who send at the same time have their turns in the
///   order in which they came.
/// - **Pongs are sent by whoever receives**, without waiting: while nobody receives, pings are not answered, nor is a close. A
///   peer that floods and does not read costs 16 KiB; then only its last pings are answered.
/// - **Memory.** A connection keeps its [read buffer](Settings::read_buffer_size), 512 bytes at first, a message that is on its way, and what of an incoming message has
///   arrived, which the [limits](Settings) bound.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{websocket, TcpListener};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let url = format!("ws://{}/echo", listener.local_addr()?);
/// spawn(move || {
///     let (socket, _request) = websocket::accept(listener.accept().unwrap().0).unwrap();
///     while let Ok(Some(message)) = socket.recv() {
///         socket.send(message).unwrap();
///     }
/// });
///
/// let socket = websocket::connect(&url)?;
/// socket.send("hello")?;
/// assert_eq!(socket.recv()?, Some("hello".into()));
/// socket.close(websocket::CloseCode::Normal, "bye")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WebSocket {
    connection: Arc<Connection>,
    subprotocol: Option<Arc<str>>,
}

/// Messages that are sent before the others get a turn.
const TURN: usize = 32;

impl WebSocket {
    /// Takes over a stream on which the handshake was done. `leftover` is what was received behind it.
    ///
    /// # Errors
    /// What the stream says to a change of its timeouts.
    pub fn from_stream(
        stream: Box<dyn Stream>,
        role: Role,
        settings: &Settings,
        leftover: Vec<u8>,
    ) -> io::Result<WebSocket> {
        let connection = Connection::new(stream, role, settings.clone(), leftover)?;
        Ok(WebSocket { connection, subprotocol: None })
    }

    pub(super) fn with_subprotocol(mut self, subprotocol: Option<&str>) -> WebSocket {
        self.subprotocol = subprotocol.map(Arc::from);
        self
    }

    // --- messages ----------------------------------------------------------------------------------------------

    /// Waits for the next message. `None`: the connection was closed, by either side, in good order.
    ///
    /// Suspends the greenlet; a kill or timeout loses nothing. Answers pings meanwhile, and the close of the peer: at that end
    /// it may wait for the peer's transport to end too, for the [close timeout](Settings::close_timeout) at most.
    ///
    /// # Errors
    /// As [`RecvError`]. After any but `Busy` the connection has ended.
    pub fn recv(&self) -> Result<Option<Message>, RecvError> {
        self.recv_until(None, Duration::MAX)
    }

    /// As [`recv`](WebSocket::recv), waiting for at most `timeout`, also in a thread without greenlets.
    ///
    /// # Errors
    /// As [`RecvError`], whose `TimedOut` leaves the connection as it is.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Message>, RecvError> {
        self.recv_until(Instant::now().checked_add(timeout), timeout)
    }

    fn recv_until(&self, deadline: Option<Instant>, timeout: Duration) -> Result<Option<Message>, RecvError> {
        let connection = &self.connection;
        if !connection.receiving.try_acquire() {
            if !connection.state().closing {
                return Err(RecvError::Busy);
            }
            // `close` receives, and will be done soon.
            let left = deadline.map(|deadline| deadline.duration_since(Instant::now()));
            if !connection.receiving.acquire_timeout(left.unwrap_or(Duration::MAX)) {
                return Err(RecvError::TimedOut(timeout));
            }
        }
        let _permit = Receiving(connection);
        if let Some(message) = connection.state().take_late() {
            return Ok(Some(message));
        }
        connection.receive(deadline).map_err(|error| match error {
            Received::TimedOut => RecvError::TimedOut(timeout),
            Received::Error(error) => error,
        })
    }

    /// The messages up to the close. Ends after an error too.
    pub fn iter(&self) -> Messages<'_> {
        Messages { socket: self, done: false }
    }

    /// Sends a message, and returns when the system has all of it.
    ///
    /// Suspends the greenlet while others have their turn, and while the peer reads too slowly. What a kill or timeout does is said
    /// [above](WebSocket#what-holds).
    ///
    /// # Errors
    /// `Closed`, and nothing was sent; `Abnormal`.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let message = message.into();
        self.send_frame(|| message.into())
    }

    /// Sends a ping. Its answer shows in nothing but that the connection is not [`Silent`](RecvError::Silent).
    ///
    /// Suspends as [`send`](WebSocket::send).
    ///
    /// # Errors
    /// As `send`; `PingTooLong` above 125 bytes.
    pub fn ping(&self, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > 125 {
            return Err(SendError::PingTooLong(payload.len()));
        }
        self.send_frame(|| Frame::Ping(Bytes::copy_from_slice(payload)))
    }

    fn send_frame(&self, frame: impl FnOnce() -> Frame) -> Result<(), SendError> {
        let connection = &self.connection;
        if let Some(end) = connection.ended() {
            return Err(end.sent());
        }
        if connection.sent.fetch_add(1, Ordering::Relaxed) % TURN == TURN - 1 {
            // A peer that is never slow must not keep the thread: as with sockets.
            yield_now();
        }
        let mut turn = Turn::wait(connection);
        {
            let mut state = connection.state();
            if let Some(end) = &state.end {
                return Err(end.sent());
            }
            // The pipe takes everything: it is refused only after a close.
            state.engine.send(frame()).map_err(|_| SendError::Closed)?;
        }
        turn.write_out(connection.settings.write_timeout).map_err(|error| match connection.ended() {
            Some(end) => end.sent(),
            None => SendError::Abnormal(error),
        })
    }

    // --- the end -----------------------------------------------------------------------------------------------

    /// Closes the connection in good order: says so, waits for the peer to say so too, and ends the transport.
    ///
    /// Suspends for the [close timeout](Settings::close_timeout) at most. What the peer sent before its close is received as before, also afterwards,
    /// as far as the largest size of a message goes for all of it; the rest is dropped. Then whoever receives gets `None`. Whoever sends gets `Closed`. A
    /// second `close` does nothing. A kill or timeout leaves what is left to the next `recv`, `close` or drop.
    ///
    /// # Errors
    /// As [`CloseError`].
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), CloseError> {
        self.connection.close(code, reason)
    }

    /// Ends the connection at once, without a word: whoever waits gets an error, and the peer sees code 1006. Does not suspend.
    pub fn abort(&self) {
        self.connection.end(End::Lost(io::ErrorKind::NotConnected, "it was aborted".into()));
    }

    /// Whether it has ended, in whatever way.
    pub fn is_closed(&self) -> bool {
        self.connection.ended().is_some()
    }

    /// What the peer said when it closed, or answered to our close: code and reason. `None` before that, and if it gave none.
    pub fn close_frame(&self) -> Option<CloseFrame> {
        match self.connection.ended() {
            Some(End::Closed(frame)) => frame,
            _ => None,
        }
    }

    // --- about it ----------------------------------------------------------------------------------------------

    /// The subprotocol that was agreed upon.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// What the system says, for example `NotConnected`.
    pub fn peer_address(&self) -> io::Result<Address> {
        self.connection.stream.peer_address()
    }

    /// The address of this end.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<Address> {
        self.connection.stream.local_address()
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("connection", &self.connection)
            .field("subprotocol", &self.subprotocol)
            .finish()
    }
}

/// The messages of a websocket, up to its close: see [`WebSocket::iter`].
#[derive(Debug)]
pub struct Messages<'a> {
    socket: &'a WebSocket,
    done: bool,
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.socket.recv().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<'a> IntoIterator for &'a WebSocket {
    type Item = Result<Message, RecvError>;
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        self.iter()
    }
}
