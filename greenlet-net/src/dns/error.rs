//! Why a name was not found.

use std::fmt;
use std::io;

/// A lookup that failed: what was asked, and why there is no answer.
///
/// ```
/// use greenlet_net::dns::{self, ErrorKind};
///
/// let error = dns::gethostbyname("no.such.host.invalid").unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Temporary), "{error}");
/// assert!(error.to_string().starts_with("cannot resolve \"no.such.host.invalid\": "), "{error}");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {task}: {cause}")]
pub struct LookupError {
    task: String,
    cause: Cause,
}

/// What went wrong, in the terms of POSIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such name: `EAI_NONAME`, NXDOMAIN.
    NotFound,
    /// The name exists, but has no record of the wanted kind: `EAI_NODATA`.
    NoData,
    /// A server could not answer now; it may later: `EAI_AGAIN`, SERVFAIL.
    Temporary,
    /// No server answered in time. The system's resolver says [`Temporary`](ErrorKind::Temporary) instead.
    TimedOut,
    /// The servers answered what cannot be used, and will again: `EAI_FAIL`.
    Failed,
    /// There is no such service for this type of socket: `EAI_SERVICE`.
    UnknownService,
    /// The family, the type of socket, the protocol and the flags do not fit each other: `EAI_FAMILY`, `EAI_SOCKTYPE`, `EAI_BADFLAGS`.
    BadHints,
    /// What was asked for cannot be a name.
    InvalidName,
    /// The engine of the resolver cannot look up records of this kind.
    Unsupported,
    /// The resolver of the process cannot be made: see [`SetupError`](super::SetupError).
    Setup,
    /// The operating system refused: no descriptors, no memory.
    System,
}

impl LookupError {
    pub(super) fn new(task: String, cause: Cause) -> LookupError {
        LookupError { task, cause }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::NotFound => "no such name",
            ErrorKind::NoData => "the name has no record of this kind",
            ErrorKind::Temporary => "temporary failure",
            ErrorKind::TimedOut => "no server answered in time",
            ErrorKind::Failed => "failure that will not pass",
            ErrorKind::UnknownService => "no such service for this type of socket",
            ErrorKind::BadHints => "family, type of socket, protocol and flags do not fit each other",
            ErrorKind::InvalidName => "not a name",
            ErrorKind::Unsupported => "not supported by this resolver",
            ErrorKind::Setup => "no resolver",
            ErrorKind::System => "the system refused",
        })
    }
}

impl From<LookupError> for io::Error {
    /// Of kind `NotFound`, `TimedOut`, `InvalidInput` or `Unsupported` where that fits, else `Other`; the [`LookupError`] is inside.
    fn from(error: LookupError) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NoData => io::ErrorKind::NotFound,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::UnknownService | ErrorKind::BadHints | ErrorKind::InvalidName => {
                io::ErrorKind::InvalidInput
            }
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::Temporary | ErrorKind::Failed | ErrorKind::Setup | ErrorKind::System => {
                io::ErrorKind::Other
            }
        };
        io::Error::new(kind, error)
    }
}

/// Why, before it is known what was asked: several may have asked the same in other words.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) kind: ErrorKind,
    detail: Option<String>,
}

impl Cause {
    pub(super) fn with(kind: ErrorKind, detail: impl fmt::Display) -> Cause {
        Cause { kind, detail: Some(detail.to_string()) }
    }
}

impl From<ErrorKind> for Cause {
    fn from(kind: ErrorKind) -> Cause {
        Cause { kind, detail: None }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}
