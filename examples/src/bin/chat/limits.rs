//! What nobody gets more of. Together they bound the memory of the server, whatever its clients do.

use std::time::Duration;

/// The longest line, in bytes, without its end (`\n` or `\r\n`). A longer one is skipped and answered with an error.
pub const LINE: usize = 8 * 1024;

/// The longest name of a user or a room, in characters.
pub const NAME: usize = 24;

/// What was said in a room last, shown to those who join.
pub const BACKLOG: usize = 25;

/// Lines on their way to one user, on top of what the system buffers for a connection. A user who has so many and reads
/// none is disconnected when the next one comes, and [`BEHIND`] is over. At 8 KiB each they are 2 MiB, shared with
/// the others in the room.
pub const OUTGOING: usize = 256;

/// How long a room waits for a user whose queue is full: he may read well enough, and only not have had his turn on
/// another core. Once for each user who does not read, since then he is disconnected.
pub const BEHIND: Duration = Duration::from_millis(250);

/// Users at once; the next one is told so and disconnected.
pub const USERS: usize = 1024;

/// Rooms at once. One that everybody has left is gone.
pub const ROOMS: usize = 256;

/// How long a client may take to accept a part of what is written to it, even if nobody else says anything.
pub const WRITE: Duration = Duration::from_secs(30);

/// How long a connection stays after its last line, so that this line gets there before the close.
pub const LINGER: Duration = Duration::from_secs(2);

/// The pause after a connection could not be accepted, most likely for want of descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// --- the page ------------------------------------------------------------------------------------------------------

/// Connections of browsers at once; further ones wait to be accepted. A page has two at most, and keeps one idle.
pub const CONNECTIONS: usize = 2 * USERS;

/// The longest text that a page sends, in characters.
pub const TEXT: usize = 2000;

/// The longest body of a request, and the longest message of a WebSocket, in bytes: room for the text with all of it escaped.
pub const BODY: usize = 32 * 1024;

/// How long a poll waits for news.
pub const POLL: Duration = Duration::from_secs(10);

/// What is kept for a page between two polls, and for one that is loaded again.
pub const KEPT: usize = 256;

/// How long a user stays in the room without a page that asks for news: time to reload it, or to get out of a tunnel.
pub const GRACE: Duration = Duration::from_secs(30);

/// Messages that a user of the page may send at once, and how fast he gets to send more.
pub const BURST: u32 = 10;
pub const REFILL: Duration = Duration::from_millis(500);

/// How long a page may take to say who it is, when it has opened a WebSocket.
pub const HELLO: Duration = Duration::from_secs(10);
