//! What the builder says about the native engine.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::dns::hosts::HOSTS;
use crate::dns::{Builder, SetupError};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of DNS.
pub(super) const PORT: u16 = 53;

/// What is `None` comes from `resolv.conf`.
#[derive(Clone, Debug)]
pub(in crate::dns) struct Settings {
    pub(super) resolv_conf: PathBuf,
    pub(super) hosts: PathBuf,
    pub(super) nameservers: Option<Vec<SocketAddr>>,
    pub(super) search: Option<Vec<String>>,
    pub(super) ndots: Option<u32>,
    pub(super) timeout: Option<Duration>,
    pub(super) attempts: Option<u32>,
    pub(super) rotate: bool,
    pub(super) tcp_only: bool,
    pub(super) at_once: usize,
    pub(super) cache_size: usize,
    pub(super) max_ttl: Duration,
    pub(super) max_negative_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            resolv_conf: RESOLV_CONF.into(),
            hosts: HOSTS.into(),
            nameservers: None,
            search: None,
            ndots: None,
            timeout: None,
            attempts: None,
            rotate: false,
            tcp_only: false,
            at_once: 256,
            cache_size: 8192,
            max_ttl: Duration::from_secs(24 * 60 * 60),
            max_negative_ttl: Duration::from_secs(60 * 60),
        }
    }
}

impl Settings {
    pub(in crate::dns) fn read_env(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), SetupError> {
        const NAMESERVERS: &str = "GREENLET_RESOLVER_NAMESERVERS";
        const TIMEOUT: &str = "GREENLET_RESOLVER_TIMEOUT";
        if let Some(list) = variable(NAMESERVERS) {
            let servers = list.split(',').map(str::trim).filter(|server| !server.is_empty());
            let servers: Option<Vec<SocketAddr>> = servers.map(nameserver).collect();
            self.nameservers = Some(servers.filter(|servers| !servers.is_empty()).ok_or_else(|| {
                let expected = "addresses with or without a port, as `10.0.0.1,[::1]:5353`";
                SetupError::BadSetting { setting: NAMESERVERS, found: list, expected }
            })?);
        }
        if let Some(seconds) = variable(TIMEOUT) {
            let parsed = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            self.timeout =
                Some(parsed.filter(|timeout| !timeout.is_zero()).ok_or(SetupError::BadSetting {
                    setting: TIMEOUT,
                    found: seconds,
                    expected: "seconds, more than 0",
                })?);
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), SetupError> {
        let bad = |setting, found: &str, expected| {
            Err(SetupError::BadSetting { setting, found: found.to_owned(), expected })
        };
        if self.nameservers.as_ref().is_some_and(Vec::is_empty) {
            return bad("nameservers", "", "at least one");
        }
        if self.timeout == Some(Duration::ZERO) {
            return bad("timeout", "0", "more than 0");
        }
        if self.attempts == Some(0) {
            return bad("attempts", "0", "a number from 1 on");
        }
        if self.at_once == 0 {
            return bad("at_once", "0", "a number from 1 on");
        }
        Ok(())
    }
}

/// `10.0.0.1`, `::1`, `10.0.0.1:5353` or `[::1]:5353`.
fn nameserver(text: &str) -> Option<SocketAddr> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT));
    address.or_else(|_| text.parse()).ok()
}

/// Settings of the [native engine](crate::dns::EngineKind::Native), with the feature `native-dns`. Those that have their default in
/// `resolv.conf` follow that file while the program runs.
impl Builder {
    /// The servers to ask, in this order. Default: those of `resolv.conf`, or `127.0.0.1:53`.
    pub fn nameservers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Builder {
        self.native.nameservers = Some(servers.into_iter().collect());
        self
    }

    /// The domains in which names with few dots are looked for. Default: those of `resolv.conf`, or the domain of this machine.
    pub fn search<S: Into<String>>(mut self, domains: impl IntoIterator<Item = S>) -> Builder {
        self.native.search = Some(domains.into_iter().map(S::into).collect());
        self
    }

    /// How many dots a name must have to be tried as it is before the search domains. Default: `resolv.conf`, or 1.
    pub fn ndots(mut self, dots: u32) -> Builder {
        self.native.ndots = Some(dots);
        self
    }

    /// How long to wait for a server before the next one is asked. Default: `resolv.conf`, or 5 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Builder {
        self.native.timeout = Some(timeout);
        self
    }

    /// How often every server is asked. Default: `resolv.conf`, or 2 times.
    pub fn attempts(mut self, times: u32) -> Builder {
        self.native.attempts = Some(times);
        self
    }

    /// The servers take turns at being the first. Default: `resolv.conf`, or the first one that answers is preferred.
    pub fn rotate(mut self) -> Builder {
        self.native.rotate = true;
        self
    }

    /// Asks over TCP only. Default: `resolv.conf`, or UDP, with TCP for what does not fit.
    pub fn tcp_only(mut self) -> Builder {
        self.native.tcp_only = true;
        self
    }

    /// So many names are asked for at once, each with a socket; lookups beyond wait for their turn. Default: 256.
    pub fn at_once(mut self, lookups: usize) -> Builder {
        self.native.at_once = lookups;
        self
    }

    /// Another file than `/etc/resolv.conf`. One that cannot be read is as an empty one.
    pub fn resolv_conf(mut self, path: impl Into<PathBuf>) -> Builder {
        self.native.resolv_conf = path.into();
        self
    }

    /// Another file than `/etc/hosts`. One that cannot be read is as an empty one.
    pub fn hosts_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.native.hosts = path.into();
        self
    }

    /// How many answers are remembered; the least recently used one goes first. 0 remembers none. Default: 8192.
    pub fn cache_size(mut self, answers: usize) -> Builder {
        self.native.cache_size = answers;
        self
    }

    /// How long an answer is remembered at most, whatever it says itself. Default: a day.
    pub fn max_ttl(mut self, ttl: Duration) -> Builder {
        self.native.max_ttl = ttl;
        self
    }

    /// How long it is remembered at most that there is no answer. Default: an hour.
    pub fn max_negative_ttl(mut self, ttl: Duration) -> Builder {
        self.native.max_negative_ttl = ttl;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &'static str) -> Result<Settings, SetupError> {
        let mut settings = Settings::default();
        settings.read_env(|variable| (variable == name).then(|| value.to_owned()))?;
        Ok(settings)
    }

    #[test]
    fn the_environment_names_servers_and_a_timeout() {
        let settings = read("GREENLET_RESOLVER_NAMESERVERS", "10.0.0.1, ::1,10.0.0.2:5353,[::1]:54").unwrap();
        let servers: Vec<String> = settings.nameservers.unwrap().iter().map(SocketAddr::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53", "10.0.0.2:5353", "[::1]:54"]);
        let settings = read("GREENLET_RESOLVER_TIMEOUT", "1.5").unwrap();
        assert_eq!(settings.timeout, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn bad_values_are_named_in_the_error() {
        for (name, value) in [
            ("GREENLET_RESOLVER_NAMESERVERS", "here"),
            ("GREENLET_RESOLVER_NAMESERVERS", " ,"),
            ("GREENLET_RESOLVER_TIMEOUT", "0"),
            ("GREENLET_RESOLVER_TIMEOUT", "-1"),
            ("GREENLET_RESOLVER_TIMEOUT", "NaN"),
            ("GREENLET_RESOLVER_TIMEOUT", "5s"),
        ] {
            let message = read(name, value).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(value), "{message}");
        }
    }
}
