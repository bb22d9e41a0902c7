//! Monitoring.

mod backtrace;

pub use backtrace::{Backtrace, Frame};
pub(crate) use backtrace::Frames;

/// Why there is no backtrace of a greenlet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoBacktrace {
    /// It has no stack yet.
    #[error("the greenlet has not started")]
    NotStarted,
    /// It has no stack any more.
    #[error("the greenlet has ended")]
    Ended,
    /// Less than 8 KiB of its stack are left, too little to look at it.
    #[error("the greenlet has too little stack left to look at it")]
    NoRoom,
    /// Its hub did not answer within a second: something blocks it.
    #[error("the greenlet's hub does not answer")]
    Busy,
    /// Its hub has ended.
    #[error("the greenlet's hub has ended")]
    HubGone,
}
