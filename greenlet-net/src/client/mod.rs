//! HTTP calls from greenlets with [ureq](https://docs.rs/ureq), without patching anything. Needs the feature `ureq`, and `tls` for `https`.
//!
//! ureq's calls block; on the connections of this crate they suspend the calling greenlet instead. An agent is made by [`agent`], or from settings of one's
//! own by [`agent_with`], and is then used as ureq's documentation says. It keeps connections open for later calls, whichever greenlet or thread
//! makes them.
//!
//! ```
//! use greenlet_core::{joinall, spawn};
//! use greenlet_net::{TcpListener, client};
//! use std::io::{Read, Write};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let url = format!("http://{}/", listener.local_addr()?);
//! let server = spawn(move || {
//!     for stream in listener.incoming() {
//!         let mut stream = stream?;
//!         stream.read(&mut [0; 1024])?;
//!         stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")?;
//!     }
//!     Ok::<_, std::io::Error>(())
//! });
//!
//! let agent = client::agent();
//! let calls: Vec<_> = (0..3)
//!     .map(|_| {
//!         let (agent, url) = (agent.clone(), url.clone());
//!         spawn(move || agent.get(&url).call().unwrap().body_mut().read_to_string().unwrap())
//!     })
//!     .collect();
//! joinall(&calls); // three calls at once, on one thread
//! assert!(calls.iter().all(|call| call.value().is_some_and(|body| body == "hello")));
//! # server.kill();
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! - **Timeouts** are ureq's (`timeout_global`, `timeout_connect` ...) and are errors of ureq's. A kill or
//!   [`with_timeout`](greenlet_core::with_timeout) unwinds the greenlet from a call too, and drops its connection.
//! - **Names** are looked up by [`dns`](crate::dns).
//! - **TLS** trusts whom the system trusts; another [`TlsConnector`](crate::tls::TlsConnector) goes into [`Connector::tls`]. ureq's own TLS settings have no
//!   effect.
//! - **Proxies** are not supported: a configuration with one is refused when a connection is made, and [`agent`] does not look for one in the environment.

mod connector;
mod names;
mod transport;

pub use connector::Connector;
pub use names::Names;
pub use transport::Connection;
/// The library that makes the calls.
pub use ureq;

use ureq::Agent;
use ureq::config::Config;

/// An agent with ureq's default settings, without a proxy.
pub fn agent() -> Agent {
    agent_with(Agent::config_builder().proxy(None).build())
}

/// An agent with these settings.
///
/// ```
/// use greenlet_net::client::{agent_with, ureq::Agent};
/// use std::time::Duration;
///
/// let agent = agent_with(
///     Agent::config_builder().proxy(None).timeout_global(Some(Duration::from_secs(10))).max_idle_connections(100).build(),
/// );
/// ```
pub fn agent_with(config: Config) -> Agent {
    Agent::with_parts(config, Connector::new(), Names::new())
}
