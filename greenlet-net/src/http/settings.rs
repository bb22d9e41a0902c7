//! The limits and settings of a server.

use std::time::Duration;

/// Which lines the access log has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum AccessLog {
    /// None.
    Off,
    /// Client, date, request, status, bytes, seconds.
    #[default]
    Common,
    /// And the referrer and user agent.
    Combined,
}

/// What becomes of a handler whose client has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Disconnected {
    /// It goes on, and finds out when it writes. A client that only ends its half of the connection gets its response.
    #[default]
    GoOn,
    /// It is killed. So is that of a client that ends its half of the connection.
    Kill,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) max_headers: usize,
    pub(super) max_header_bytes: usize,
    pub(super) max_uri: usize,
    pub(super) max_body: u64,
    pub(super) discard: u64,
    pub(super) header_timeout: Option<Duration>,
    pub(super) keep_alive: Option<Duration>,
    pub(super) request_timeout: Option<Duration>,
    pub(super) body_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) max_requests: Option<u32>,
    pub(super) max_connections: usize,
    pub(super) max_per_ip: Option<u32>,
    pub(super) grace: Duration,
    pub(super) max_concurrent: usize,
    pub(super) disconnected: Disconnected,
    pub(super) access_log: AccessLog,
    #[cfg(target_os = "linux")]
    pub(super) unix_mode: Option<u32>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_headers: 100,
            max_header_bytes: 64 * 1024,
            max_uri: 8192,
            max_body: 16 * 1024 * 1024,
            discard: 256 * 1024,
            header_timeout: Some(Duration::from_secs(30)),
            keep_alive: Some(Duration::from_secs(75)),
            request_timeout: None,
            body_timeout: Some(Duration::from_secs(30)),
            write_timeout: Some(Duration::from_secs(60)),
            max_requests: None,
            max_connections: usize::MAX,
            max_per_ip: None,
            grace: Duration::from_secs(1),
            max_concurrent: usize::MAX,
            disconnected: Disconnected::default(),
            access_log: AccessLog::Common,
            #[cfg(target_os = "linux")]
            unix_mode: None,
        }
    }
}
