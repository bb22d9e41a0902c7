//! How a connection ends, and what is said to those who wanted more of it.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

/// Why nothing was received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// Somebody else receives already. Nothing has changed.
    #[error("somebody else receives from this websocket already")]
    Busy,
    /// Nothing came in the time that [`recv_timeout`](super::WebSocket::recv_timeout) was given. Nothing is lost.
    #[error("no message in {0:?}")]
    TimedOut(Duration),
    /// The connection ended without a close: code 1006 of the RFC.
    #[error("the connection ended without a close (1006): {0}")]
    Abnormal(#[source] io::Error),
    /// The peer did not answer a ping of [`keep_alive`](super::Settings::keep_alive); the connection was ended (1006).
    #[error("the peer is silent: no answer to a ping in {0:?}")]
    Silent(Duration),
    /// The peer has broken the protocol or a limit. It was told so, with `code`, and the connection was ended.
    #[error("{what} (closed with {code})")]
    Violation {
        /// 1002 for the protocol, 1007 for text that is none, 1009 for a limit.
        code: CloseCode,
        /// What was wrong.
        what: String,
    },
}

impl RecvError {
    /// The code that the RFC has for it; none where the connection goes on.
    pub fn code(&self) -> Option<CloseCode> {
        match self {
            RecvError::Busy | RecvError::TimedOut(_) => None,
            RecvError::Abnormal(_) | RecvError::Silent(_) => Some(CloseCode::Abnormal),
            RecvError::Violation { code, .. } => Some(*code),
        }
    }
}

/// Why a message was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// One side has closed the connection.
    #[error("the websocket is closed")]
    Closed,
    /// The connection ended without a close. Of the last message, the peer may have got the beginning, or all of it.
    #[error("the connection was lost: {0}")]
    Abnormal(#[source] io::Error),
    /// A ping carries at most 125 bytes.
    #[error("a ping carries at most 125 bytes, not {0}")]
    PingTooLong(usize),
}

/// Why a connection was not closed in good order. It is ended in any case, but for the first two.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The code may not be sent: 1004, 1005, 1006, 1015, below 1000, from 1016 to 2999, and above 4999.
    #[error("{0} is no code to close with")]
    Code(u16),
    /// A reason has at most 123 bytes.
    #[error("a reason has at most 123 bytes, not {0}")]
    ReasonTooLong(usize),
    /// The peer did not do its part in the [time that it has](super::Settings::close_timeout).
    #[error("the peer did not close in {0:?}")]
    TimedOut(Duration),
    /// The connection was lost before the peer had closed it too.
    #[error("the connection was lost: {0}")]
    Abnormal(#[source] io::Error),
}

/// How a connection ended; what is said from then on.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// Both sides have closed it.
    Closed(Option<CloseFrame>),
    Lost(io::ErrorKind, String),
    Silent(Duration),
    Violation(CloseCode, String),
}

impl End {
    pub(super) fn lost(error: &io::Error) -> End {
        End::Lost(error.kind(), error.to_string())
    }

    pub(super) fn received(&self) -> Result<(), RecvError> {
        match self.clone() {
            End::Closed(_) => Ok(()),
            End::Lost(kind, what) => Err(RecvError::Abnormal(io::Error::new(kind, what))),
            End::Silent(limit) => Err(RecvError::Silent(limit)),
            End::Violation(code, what) => Err(RecvError::Violation { code, what }),
        }
    }

    pub(super) fn sent(&self) -> SendError {
        match self.clone() {
            End::Closed(_) | End::Violation(..) => SendError::Closed,
            End::Lost(kind, what) => SendError::Abnormal(io::Error::new(kind, what)),
            End::Silent(_) => SendError::Abnormal(silent()),
        }
    }

    pub(super) fn closed(&self) -> Result<(), CloseError> {
        match self.clone() {
            End::Closed(_) | End::Violation(..) => Ok(()),
            End::Lost(kind, what) => Err(CloseError::Abnormal(io::Error::new(kind, what))),
            End::Silent(_) => Err(CloseError::Abnormal(silent())),
        }
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer is silent")
}
