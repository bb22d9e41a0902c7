//! Where to connect or listen: addresses, or a name that has to be looked up.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use greenlet_core::with_timeout;

use crate::dns::{self, Hints, Resolver, SocketType};

/// What can be connected to or listened on: [`std::net::ToSocketAddrs`] without the look-up.
///
/// It is there for the same types, so `connect("example.com:80")`, `connect(("::1", 80))` and `connect(address)` are written as
/// with std. std's own trait looks names up itself, and blocks the thread meanwhile; here the resolver does, which suspends
/// the greenlet. Numeric addresses are never looked up.
///
/// ```
/// use greenlet_net::{Target, ToAddresses};
///
/// assert!(matches!("127.0.0.1:80".to_target()?, Target::Addresses(one) if one == ["127.0.0.1:80".parse()?]));
/// assert!(matches!(("localhost", 80).to_target()?, Target::Name { host, port: 80 } if host == "localhost"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ToAddresses {
    /// The addresses, or the name and the port. Never suspends.
    ///
    /// # Errors
    /// `InvalidInput` for text that is neither.
    fn to_target(&self) -> io::Result<Target>;
}

/// See [`ToAddresses`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// To be tried in this order.
    Addresses(Vec<SocketAddr>),
    /// To be looked up.
    Name {
        /// The name of a host.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Target {
    fn one(address: impl Into<SocketAddr>) -> Target {
        Target::Addresses(vec![address.into()])
    }

    /// A host by name or number, in brackets or not.
    fn of_host(host: &str, port: u16) -> io::Result<Target> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let bracketed = bare.len() != host.len();
        if let Ok(ip) = bare.parse::<IpAddr>()
            && (ip.is_ipv6() || !bracketed)
        {
            return Ok(Target::one((ip, port)));
        }
        if let Some((ip, zone)) = bare.split_once('%')
            && let Ok(ip) = ip.parse::<Ipv6Addr>()
        {
            return Ok(Target::one(SocketAddrV6::new(ip, port, 0, scope(zone)?)));
        }
        if host.contains([':', '[', ']']) {
            return Err(invalid(format!("`{host}` is not an IPv6 address")));
        }
        Ok(Target::Name { host: host.to_owned(), port })
    }
}

/// The number of a network interface, from its name or number.
fn scope(zone: &str) -> io::Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    #[cfg(target_os = "linux")]
    {
        // The question is asked through a socket, any socket.
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
        rustix::net::netdevice::name_to_index(&socket, zone)
            .map_err(|error| invalid(format!("no network interface `{zone}`: {error}")))
    }
    #[cfg(not(target_os = "linux"))]
    Err(invalid(format!("the network interface `{zone}` must be given as a number here")))
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// The addresses of a target, in the order of the resolver; without one that is the resolver of the process. Suspends the greenlet while a
/// name is looked up, for at most `limit`.
pub(crate) fn resolve(
    target: Target,
    resolver: Option<&Resolver>,
    limit: Option<Duration>,
) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = match target {
        Target::Addresses(addresses) => return Ok(addresses),
        Target::Name { host, port } => (host, port),
    };
    let hints = Hints::new().socket_type(SocketType::Stream);
    let look_up = || match resolver {
        Some(resolver) => resolver.getaddrinfo(host.as_str(), port, &hints),
        None => dns::getaddrinfo(host.as_str(), port, &hints),
    };
    let found = match limit {
        None => look_up(),
        Some(limit) => with_timeout(limit, look_up).map_err(|_| {
            let message = format!("cannot resolve {host:?}: timed out");
            io::Error::new(io::ErrorKind::TimedOut, message)
        })?,
    };
    let mut addresses: Vec<SocketAddr> = found?.into_iter().map(|info| info.address).collect();
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    Ok(addresses)
}

impl ToAddresses for SocketAddr {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::one(*self))
    }
}

impl ToAddresses for SocketAddrV4 {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::one(*self))
    }
}

impl ToAddresses for SocketAddrV6 {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::one(*self))
    }
}

impl ToAddresses for (IpAddr, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::one(*self))
    }
}

impl ToAddresses for (Ipv4Addr, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::one(*self))
    }
}

impl ToAddresses for (Ipv6Addr, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::one(*self))
    }
}

impl ToAddresses for (&str, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Target::of_host(self.0, self.1)
    }
}

impl ToAddresses for (String, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Target::of_host(&self.0, self.1)
    }
}

/// `host:port`; an IPv6 address is in brackets.
impl ToAddresses for str {
    fn to_target(&self) -> io::Result<Target> {
        let parts = self.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, _)) if host.contains(':') && !host.starts_with('[') => {
                Err(invalid(format!("`{self}` is no address: an IPv6 address is written [::1]:80")))
            }
            Some((host, port)) => Target::of_host(host, port),
            None => Err(invalid(format!("`{self}` is no address: expected `host:port`"))),
        }
    }
}

/// As `str`.
impl ToAddresses for String {
    fn to_target(&self) -> io::Result<Target> {
        self.as_str().to_target()
    }
}

impl ToAddresses for [SocketAddr] {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addresses(self.to_vec()))
    }
}

impl<const N: usize> ToAddresses for [SocketAddr; N] {
    fn to_target(&self) -> io::Result<Target> {
        self.as_slice().to_target()
    }
}

impl ToAddresses for Vec<SocketAddr> {
    fn to_target(&self) -> io::Result<Target> {
        self.as_slice().to_target()
    }
}

impl ToAddresses for Target {
    fn to_target(&self) -> io::Result<Target> {
        Ok(self.clone())
    }
}

impl<T: ToAddresses + ?Sized> ToAddresses for &T {
    fn to_target(&self) -> io::Result<Target> {
        (**self).to_target()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(target: io::Result<Target>) -> String {
        match target.unwrap() {
            Target::Addresses(addresses) => addresses[0].to_string(),
            name => panic!("{name:?} would be looked up"),
        }
    }

    #[test]
    fn numeric_addresses_are_never_looked_up() {
        assert_eq!(numeric("1.2.3.4:80".to_target()), "1.2.3.4:80");
        assert_eq!(numeric("[::1]:80".to_target()), "[::1]:80");
        assert_eq!(numeric(("::1", 80).to_target()), "[::1]:80");
        assert_eq!(numeric(("[::1]", 80).to_target()), "[::1]:80");
        assert_eq!(numeric(("1.2.3.4".to_owned(), 80).to_target()), "1.2.3.4:80");
    }

    #[test]
    fn the_scope_of_an_ipv6_address_is_kept() {
        assert_eq!(numeric("[fe80::1%7]:80".to_target()), "[fe80::1%7]:80");
        assert_eq!(numeric(("fe80::1%7", 80).to_target()), "[fe80::1%7]:80");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_scope_may_be_the_name_of_an_interface() {
        assert_eq!(numeric(("fe80::1%lo", 80).to_target()), "[fe80::1%1]:80");
        let error = ("fe80::1%no-such-one", 80).to_target().unwrap_err();
        assert!(error.to_string().starts_with("no network interface `no-such-one`"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_invalid_input() {
        for text in [
            "",
            "host",
            "host:",
            "host:65536",
            "host:-1",
            "::1:80",
            "[::1:80",
            "[host]:80",
            "a:b:80",
            "[fe1:80",
            "a]:80",
            "[1.2.3.4]:80",
        ] {
            let error = text.to_target().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text}");
        }
    }
}
