//! What a connection allows its peer, and how long it waits for it.

use std::time::Duration;

use tungstenite::protocol::WebSocketConfig;

/// The limits of a connection. Every one has a default.
///
/// ```
/// use greenlet_net::websocket::Settings;
/// use std::time::Duration;
///
/// let settings = Settings::default()
///     .max_message_size(64 * 1024)
///     .keep_alive(Duration::from_secs(20), Duration::from_secs(10));
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) max_message_size: usize,
    pub(super) max_frame_size: usize,
    pub(super) read_buffer_size: usize,
    pub(super) write_timeout: Duration,
    pub(super) close_timeout: Duration,
    pub(super) keep_alive: Option<KeepAlive>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct KeepAlive {
    pub(super) interval: Duration,
    pub(super) limit: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_message_size: 1024 * 1024,
            max_frame_size: 1024 * 1024,
            read_buffer_size: 16 * 1024,
            write_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            keep_alive: Some(KeepAlive { interval: Duration::from_secs(30), limit: Duration::from_secs(20) }),
        }
    }
}

impl Settings {
    /// The largest message that is received, in bytes, in all its fragments together. The default is 1 MiB. A larger one ends the connection with
    /// code 1009.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Settings {
        self.max_message_size = bytes;
        self
    }

    /// The largest frame that is received, in bytes without its header. The default is 1 MiB. The header of a larger one ends the connection
    /// with code 1009, before any memory is reserved for it.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: usize) -> Settings {
        self.max_frame_size = bytes;
        self
    }

    /// How much is received at once, in bytes; more is faster for large messages. The default is 16 KiB. A connection begins with 512 bytes, and keeps a
    /// buffer of this size when that much came at once. Less than 64 is 64.
    #[must_use]
    pub fn read_buffer_size(mut self, bytes: usize) -> Settings {
        self.read_buffer_size = bytes.max(64);
        self
    }

    /// How long the peer may accept nothing of what is sent. The default is 60 s. After that the connection is lost. Zero is a
    /// nanosecond.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Settings {
        self.write_timeout = at_least_some(timeout);
        self
    }

    /// How long the peer may take for its part of the end: to accept our close, to send its own, to end the transport. The default
    /// is 5 s for all of it. Zero is a nanosecond.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Settings {
        self.close_timeout = at_least_some(timeout);
        self
    }

    /// Sends a ping when nothing was received for `interval`, and takes the connection for lost when nothing comes for `limit` after that. The
    /// default is 30 s and 20 s.
    ///
    /// Pings are sent while somebody receives.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, limit: Duration) -> Settings {
        self.keep_alive = Some(KeepAlive { interval: at_least_some(interval), limit: at_least_some(limit) });
        self
    }

    /// Sends no pings by itself: a peer that is silent for ever is waited for for ever.
    #[must_use]
    pub fn no_keep_alive(mut self) -> Settings {
        self.keep_alive = None;
        self
    }

    pub(super) fn of_tungstenite(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            // Its buffer for what it has not understood yet. Ours is in front of it, so there is little to gain from a large one.
            .read_buffer_size(self.read_buffer_size.min(512))
            // Keeps nothing back: see `Pipe`.
            .write_buffer_size(0)
            .max_message_size(Some(self.max_message_size))
            .max_frame_size(Some(self.max_frame_size))
    }
}

/// A stream takes a timeout of zero for a mistake.
pub(super) fn at_least_some(timeout: Duration) -> Duration {
    timeout.max(Duration::from_nanos(1))
}
