//! TCP: listeners and connections.

mod connect;
mod listener;
mod options;
mod split;
mod stream;
mod timeout;

pub use listener::{Incoming, TcpListener};
pub use options::ListenOptions;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};
pub use stream::TcpStream;
pub(crate) use timeout::refuse_zero;
