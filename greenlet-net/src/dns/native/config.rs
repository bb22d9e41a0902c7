//! Whom to ask and how: the settings, completed by `resolv.conf`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenlet_core::Instant;
use hickory_proto::rr::Name;
use resolv_conf::ScopedIp;

use super::server::Server;
use super::settings::{PORT, Settings};
use crate::dns::system;

const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 2;
const NDOTS: u32 = 1;

#[derive(Debug)]
pub(super) struct Config {
    /// At least one.
    pub(super) servers: Vec<Server>,
    pub(super) search: Vec<Name>,
    pub(super) ndots: u32,
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
    pub(super) tcp_only: bool,
    /// Where servers take turns: the next one's.
    turn: Option<AtomicUsize>,
}

impl Config {
    /// What is wrong in the file is skipped, as by the system's resolver.
    pub(super) fn read(path: &Path, settings: &Settings) -> Config {
        Config::parse(&std::fs::read(path).unwrap_or_default(), settings)
    }

    pub(super) fn parse(text: &[u8], settings: &Settings) -> Config {
        let (file, _) = resolv_conf::Config::parse_with_errors(text);
        let servers = match &settings.nameservers {
            Some(servers) => servers.clone(),
            None => servers_of(&file),
        };
        let search: Vec<String> = match &settings.search {
            Some(domains) => domains.clone(),
            None => match file.get_last_search_or_domain().cloned().collect::<Vec<_>>() {
                domains if domains.is_empty() => own_domain().into_iter().collect(),
                domains => domains,
            },
        };
        // The parser has its own defaults where the file says nothing; zeros are no values.
        let seconds = Duration::from_secs(file.timeout.into());
        let rotate = settings.rotate || file.rotate;
        Config {
            servers: servers.into_iter().map(Server::new).collect(),
            search: search.iter().filter_map(|domain| absolute(domain)).collect(),
            ndots: settings.ndots.unwrap_or(if text.is_empty() { NDOTS } else { file.ndots }),
            timeout: settings.timeout.unwrap_or(if seconds.is_zero() { TIMEOUT } else { seconds }),
            attempts: settings.attempts.unwrap_or(if file.attempts == 0 { ATTEMPTS } else { file.attempts }),
            tcp_only: settings.tcp_only || file.use_vc,
            turn: rotate.then(AtomicUsize::default),
        }
    }

    /// The servers in the order in which to ask them: those that failed lately last.
    pub(super) fn order(&self) -> Vec<&Server> {
        let mut servers: Vec<&Server> = self.servers.iter().collect();
        if let Some(turn) = &self.turn {
            let first = turn.fetch_add(1, Ordering::Relaxed) % servers.len();
            servers.rotate_left(first);
        }
        if servers.len() > 1 {
            let now = Instant::now();
            servers.sort_by_key(|server| server.has_failed_lately(now));
        }
        servers
    }
}

fn servers_of(file: &resolv_conf::Config) -> Vec<SocketAddr> {
    let servers = file.nameservers.iter().map(|server| match server {
        ScopedIp::V4(address) => SocketAddr::new((*address).into(), PORT),
        ScopedIp::V6(address, scope) => {
            let scope = scope.as_deref().map_or(0, |scope| scope_id(*address, scope));
            SocketAddrV6::new(*address, PORT, 0, scope).into()
        }
    });
    let servers: Vec<SocketAddr> = servers.collect();
    if servers.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)] } else { servers }
}

/// The number of an interface.
fn scope_id(address: std::net::Ipv6Addr, interface: &str) -> u32 {
    use crate::dns::{Hints, Service, SocketType};
    let host = format!("{address}%{interface}");
    let hints = Hints::new().socket_type(SocketType::Datagram).numeric_host();
    let found = system::getaddrinfo(Some(&host), Service::Any, &hints).unwrap_or_default();
    match found.first().map(|info| info.address) {
        Some(SocketAddr::V6(address)) => address.scope_id(),
        _ => 0,
    }
}

/// The domain of this machine, if its name has one.
pub(super) fn own_domain() -> Option<String> {
    let host = system::hostname();
    let (_, domain) = host.split_once('.')?;
    (!domain.is_empty() && host.parse::<IpAddr>().is_err()).then(|| domain.to_owned())
}

/// A name from the root.
pub(super) fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, settings: &Settings) -> Config {
        let file = std::env::temp_dir().join(format!("greenlet-resolv-{}-{text:p}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let config = Config::read(&file, settings);
        std::fs::remove_file(&file).unwrap();
        config
    }

    fn servers(config: &Config) -> Vec<String> {
        config.servers.iter().map(|server| server.address.to_string()).collect()
    }

    #[test]
    fn the_file_says_whom_to_ask_and_how() {
        let config = read(
            "nameserver 10.0.0.1\nnameserver ::1\nsearch a.example b.example\n\
             options ndots:3 timeout:7 attempts:4 rotate use-vc\n",
            &Settings::default(),
        );
        assert_eq!(servers(&config), ["10.0.0.1:53", "[::1]:53"]);
        assert_eq!(config.search, [absolute("a.example").unwrap(), absolute("b.example").unwrap()]);
        assert_eq!((config.ndots, config.timeout, config.attempts), (3, Duration::from_secs(7), 4));
        assert!(config.tcp_only);
        let firsts: Vec<_> = (0..3).map(|_| config.order()[0].address.ip().is_ipv4()).collect();
        assert_eq!(firsts, [true, false, true]);
    }

    #[test]
    fn settings_count_more_than_the_file() {
        let settings = Settings {
            nameservers: Some(vec!["10.0.0.9:5353".parse().unwrap()]),
            search: Some(vec![]),
            ndots: Some(0),
            timeout: Some(Duration::from_millis(3)),
            attempts: Some(1),
            ..Settings::default()
        };
        let config = read("nameserver 10.0.0.1\nsearch a.example\noptions ndots:3 timeout:7\n", &settings);
        assert_eq!(servers(&config), ["10.0.0.9:5353"]);
        assert!(config.search.is_empty());
        assert_eq!((config.ndots, config.timeout, config.attempts), (0, Duration::from_millis(3), 1));
    }

    #[test]
    fn without_a_file_the_local_server_is_asked() {
        let config = Config::read(Path::new("/nonexistent/resolv.conf"), &Settings::default());
        assert_eq!(servers(&config), ["127.0.0.1:53"]);
        assert_eq!((config.ndots, config.timeout, config.attempts), (1, Duration::from_secs(5), 2));
    }

    #[test]
    fn nonsense_in_the_file_is_skipped() {
        let text = "nameserver nowhere\nnonsense\noptions ndots:x timeout:0 attempts:0\nnameserver 10.0.0.2\n\u{0}\n";
        let config = read(text, &Settings::default());
        assert_eq!(servers(&config), ["10.0.0.2:53"]);
        assert_eq!((config.timeout, config.attempts), (Duration::from_secs(5), 2));
    }

    #[test]
    fn a_server_that_failed_is_asked_last() {
        let config = read("nameserver 10.0.0.1\nnameserver 10.0.0.2\n", &Settings::default());
        config.servers[0].failed();
        assert_eq!(config.order()[0].address, config.servers[1].address);
        config.servers[0].answered();
        assert_eq!(config.order()[0].address, config.servers[0].address);
    }
}
