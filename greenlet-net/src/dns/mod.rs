//! Names of hosts and services, looked up cooperatively: gevent's resolvers.
//!
//! The functions have the names and the rules of POSIX, and suspend the greenlet that calls them. They use the
//! [resolver of the process](resolver()); programs may make [resolvers](Resolver) of their own.
//!
//! ```
//! use greenlet_net::dns::{self, Hints, SocketType};
//!
//! let addresses = dns::lookup("localhost")?;
//! assert!(addresses.iter().all(|address| address.is_loopback()));
//!
//! let stream = Hints::new().socket_type(SocketType::Stream);
//! for found in dns::getaddrinfo("localhost", "80", &stream)? {
//!     println!("{} {:?}", found.address, found.socket_type);
//! }
//! # Ok::<(), dns::LookupError>(())
//! ```
//!
//! # Engines
//! - [`thread`](EngineKind::Thread), the default: the system's `getaddrinfo` and `getnameinfo` in threads of the pool, with
//!   everything that the machine's administrator configured (nsswitch, mDNS, LDAP). Ten at a time.
//! - [`native`](EngineKind::Native), with the feature `native-dns`: queries over greenlet sockets, thousands at a time, by
//!   `/etc/resolv.conf` and `/etc/hosts`, with a cache.
//! - [`block`](EngineKind::Block): the system's functions in place. They block the thread; for tests.
//!
//! Addresses in digits, the empty host and services are answered in place by all of them, without suspending.
//!
//! # Settings
//!
//! | environment | [`Builder`] | default | meaning |
//! |---|---|---|---|
//! | `GREENLET_RESOLVER` | [`engines`](Builder::engines) | `thread` | the engine, or a list: the first one that this build has |
//! | | [`threads`](Builder::threads) | the pool of the process | threads of the engine's own, as many |
//!
//! With the feature `native-dns`, for the native engine:
//!
//! | environment | [`Builder`] | default | meaning |
//! |---|---|---|---|
//! | `GREENLET_RESOLVER_NAMESERVERS` | `nameservers` | `resolv.conf`, or `127.0.0.1:53` | whom to ask: addresses with or without a port, with commas |
//! | `GREENLET_RESOLVER_TIMEOUT` | `timeout` | `resolv.conf`, or 5 s | seconds until the next server is asked |
//! | | `attempts` | `resolv.conf`, or 2 | how often every server is asked |
//! | | `search`, `ndots` | `resolv.conf`, or the domain of this machine and 1 | the domains in which names with fewer dots are looked for first |
//! | | `rotate` | `resolv.conf`, or off | the servers take turns at being the first |
//! | | `tcp_only` | `resolv.conf` (`use-vc`), or off | no UDP |
//! | | `resolv_conf`, `hosts_file` | `/etc/resolv.conf`, `/etc/hosts` | other files; changes are seen after a second at most |
//! | | `at_once` | 256 | names that are asked for at once, each with a socket |
//! | | `cache_size` | 8192 | answers that are remembered |
//! | | `max_ttl` | a day | how long an answer is remembered at most |
//! | | `max_negative_ttl` | an hour | how long it is remembered at most that there is none |

mod ask;
mod builder;
mod engine;
mod error;
mod found;
#[cfg(all(fuzzing, feature = "native-dns"))]
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
mod name;
#[cfg(feature = "native-dns")]
mod native;
mod process;
mod resolver;
mod system;
mod threaded;

pub use ask::{Family, Hints, NameHints, Service, SocketType};
pub use builder::Builder;
pub use engine::{EngineKind, SetupError};
pub use error::{ErrorKind, LookupError};
pub use found::{AddressInfo, HostEntry, NameInfo};
#[cfg(feature = "native-dns")]
pub use found::{Mx, Srv};
pub use process::{
    getaddrinfo, getfqdn, gethostbyaddr, gethostbyname, gethostbyname_ex, getnameinfo, lookup, resolver,
    set_resolver,
};
pub use resolver::Resolver;
