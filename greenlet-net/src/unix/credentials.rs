//! Who is at the other end.

/// The process that connected, or made the pair, as the system knows it: see [`UnixStream::peer_credentials`](crate::UnixStream::peer_credentials).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The number of the process, at the time when it connected or listened.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}
