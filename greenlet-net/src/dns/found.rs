//! What is found.

use std::net::{IpAddr, SocketAddr};

use super::{Family, SocketType};

/// An address to which one may connect or bind: one result of [`getaddrinfo`](super::getaddrinfo).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AddressInfo {
    /// The address and the port.
    pub address: SocketAddr,
    /// The type of socket that it is for.
    pub socket_type: SocketType,
    /// The number of the protocol that it is for: 6 is TCP, 17 is UDP, 0 is any.
    pub protocol: i32,
    /// The canonical name of the host: in the first result, where it was [asked for](super::Hints::canonical_name).
    pub canonical_name: Option<String>,
}

impl AddressInfo {
    /// The family of the address.
    pub fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A host with all its names and addresses: C's `hostent`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostEntry {
    /// The canonical name.
    pub name: String,
    /// Its other names, as far as they are known.
    pub aliases: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The names of an address and a port: the result of [`getnameinfo`](super::getnameinfo).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NameInfo {
    /// The name of the host, or its address in digits.
    pub host: String,
    /// The name of the service, or the port in digits.
    pub service: String,
}

/// Who takes the mail of a domain: a record of type MX.
#[cfg(feature = "native-dns")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mx {
    /// The lowest is tried first.
    pub preference: u16,
    /// The name of the mail server.
    pub exchange: String,
}

/// Where a service is: a record of type SRV.
#[cfg(feature = "native-dns")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Srv {
    /// The lowest is tried first.
    pub priority: u16,
    /// Among those of one priority: in which proportion they are to be chosen.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The name of the host.
    pub target: String,
}
