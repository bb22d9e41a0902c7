//! What may be asked for.

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4, `AF_INET`.
    V4,
    /// IPv6, `AF_INET6`.
    V6,
}

/// What a socket is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketType {
    /// A stream of bytes, as of TCP: `SOCK_STREAM`.
    Stream,
    /// Messages, as of UDP: `SOCK_DGRAM`.
    Datagram,
    /// Packets of IP: `SOCK_RAW`.
    Raw,
}

/// Which addresses [`getaddrinfo`](super::getaddrinfo) is to return: its `hints` in C, everything unspecified by default.
///
/// ```
/// use greenlet_net::dns::{self, Family, Hints, SocketType};
///
/// let hints = Hints::new().family(Family::V4).socket_type(SocketType::Stream).numeric_host();
/// let found = dns::getaddrinfo("10.0.0.1", 80, &hints)?;
/// assert_eq!(found[0].address, "10.0.0.1:80".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hints {
    pub(super) family: Option<Family>,
    pub(super) socket_type: Option<SocketType>,
    pub(super) protocol: i32,
    pub(super) flags: i32,
}

impl Hints {
    /// Everything unspecified.
    pub fn new() -> Hints {
        Hints::default()
    }

    /// Addresses of this family only.
    pub fn family(mut self, family: Family) -> Hints {
        self.family = Some(family);
        self
    }

    /// Only for sockets of this type; otherwise every address is there once for each type.
    pub fn socket_type(mut self, socket_type: SocketType) -> Hints {
        self.socket_type = Some(socket_type);
        self
    }

    /// Only for this protocol, by its number: 6 is TCP, 17 is UDP, 0 is any.
    pub fn protocol(mut self, number: i32) -> Hints {
        self.protocol = number;
        self
    }

    /// Without a host: the wildcard address, to listen on, instead of the loopback address. `AI_PASSIVE`.
    pub fn passive(self) -> Hints {
        self.flag(libc::AI_PASSIVE)
    }

    /// The first result has the canonical name. `AI_CANONNAME`.
    pub fn canonical_name(self) -> Hints {
        self.flag(libc::AI_CANONNAME)
    }

    /// The host has to be an address; names are not looked up. `AI_NUMERICHOST`.
    pub fn numeric_host(self) -> Hints {
        self.flag(libc::AI_NUMERICHOST)
    }

    /// The service has to be a number. `AI_NUMERICSERV`.
    pub fn numeric_service(self) -> Hints {
        self.flag(libc::AI_NUMERICSERV)
    }

    /// With [`Family::V6`], for a name that has IPv4 addresses only: those, mapped to IPv6. `AI_V4MAPPED`.
    pub fn v4_mapped(self) -> Hints {
        self.flag(libc::AI_V4MAPPED)
    }

    /// With [`v4_mapped`](Hints::v4_mapped): the mapped ones beside the others. `AI_ALL`.
    pub fn all(self) -> Hints {
        self.flag(libc::AI_ALL)
    }

    /// Only of families for which the machine has an address other than loopback's. `AI_ADDRCONFIG`.
    pub fn configured_families(self) -> Hints {
        self.flag(libc::AI_ADDRCONFIG)
    }

    fn flag(mut self, flag: i32) -> Hints {
        self.flags |= flag;
        self
    }

    pub(super) fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }
}

/// The service part of [`getaddrinfo`](super::getaddrinfo): which port the addresses are to have. Made from a `u16`, a `&str` and `Option`s of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Service<'a> {
    /// None: port 0.
    #[default]
    Any,
    /// This port.
    Port(u16),
    /// A name of `/etc/services`, as `http`, or a number in digits. A larger number than 65535 counts modulo 65536, as in C.
    Name(&'a str),
}

impl From<u16> for Service<'_> {
    fn from(port: u16) -> Self {
        Service::Port(port)
    }
}

impl<'a> From<&'a str> for Service<'a> {
    fn from(name: &'a str) -> Self {
        Service::Name(name)
    }
}

impl<'a> From<&'a String> for Service<'a> {
    fn from(name: &'a String) -> Self {
        Service::Name(name)
    }
}

impl<'a, S: Into<Service<'a>>> From<Option<S>> for Service<'a> {
    fn from(service: Option<S>) -> Self {
        service.map_or(Service::Any, S::into)
    }
}

/// How [`getnameinfo`](super::getnameinfo) is to name an address: its `flags` in C, none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NameHints {
    pub(super) flags: i32,
}

impl NameHints {
    /// No flags.
    pub fn new() -> NameHints {
        NameHints::default()
    }

    /// The address in digits; no name is looked up. `NI_NUMERICHOST`.
    pub fn numeric_host(self) -> NameHints {
        self.flag(libc::NI_NUMERICHOST)
    }

    /// The port in digits. `NI_NUMERICSERV`.
    pub fn numeric_service(self) -> NameHints {
        self.flag(libc::NI_NUMERICSERV)
    }

    /// An address without a name is an error; otherwise it is named in digits. `NI_NAMEREQD`.
    pub fn name_required(self) -> NameHints {
        self.flag(libc::NI_NAMEREQD)
    }

    /// Hosts of this machine's own domain without the domain. `NI_NOFQDN`.
    pub fn local_part(self) -> NameHints {
        self.flag(libc::NI_NOFQDN)
    }

    /// The service is one of UDP. `NI_DGRAM`.
    pub fn datagram(self) -> NameHints {
        self.flag(libc::NI_DGRAM)
    }

    fn flag(mut self, flag: i32) -> NameHints {
        self.flags |= flag;
        self
    }

    pub(super) fn has(&self, flag: i32) -> bool {
        self.flags & flag != 0
    }
}
