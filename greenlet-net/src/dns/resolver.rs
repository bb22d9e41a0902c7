//! A resolver: the functions, with the engine that answers them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::builder::Builder;
use super::error::Cause;
#[cfg(feature = "native-dns")]
use super::native::Native;
use super::threaded::{System, distinct};
use super::{
    AddressInfo, EngineKind, ErrorKind, Family, Hints, HostEntry, LookupError, NameHints, NameInfo, Service,
    SocketType, name, system,
};

/// Looks up names, cooperatively: the greenlet that asks is suspended, and others run.
///
/// A clone is the same resolver. It may be used from any hub, and from threads without greenlets, which block. The functions
/// of [this module](super) are those of the [resolver of the process](super::resolver).
///
/// A kill or timeout unwinds from every call at once. Whoever else waits for the same name gets its answer all the same.
///
/// ```
/// use greenlet_net::dns::{EngineKind, Resolver};
///
/// let resolver = Resolver::builder().engine(EngineKind::Thread).build()?;
/// let addresses = resolver.lookup("localhost")?;
/// assert!(addresses.iter().all(|address| address.is_loopback()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Resolver {
    engine: Arc<Engine>,
}

#[derive(Debug)]
pub(super) enum Engine {
    System(System),
    #[cfg(feature = "native-dns")]
    Native(Box<Native>),
}

impl Resolver {
    pub(super) fn with(engine: Engine) -> Resolver {
        Resolver { engine: Arc::new(engine) }
    }

    /// To choose an engine and its settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    #[cfg(feature = "native-dns")]
    pub(super) fn engine_in_use(&self) -> &Engine {
        &self.engine
    }

    /// How it looks up names.
    pub fn engine(&self) -> EngineKind {
        match &*self.engine {
            Engine::System(System::InPlace) => EngineKind::Block,
            Engine::System(_) => EngineKind::Thread,
            #[cfg(feature = "native-dns")]
            Engine::Native(_) => EngineKind::Native,
        }
    }

    /// The addresses of a host, of both families, each once, in the order in which they should be tried.
    ///
    /// An address in digits is itself; suspends for names only.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.addresses(host, None).map_err(|cause| about_host(Some(host), cause))
    }

    /// As [`lookup`](Resolver::lookup), of one family only.
    ///
    /// # Errors
    /// [`LookupError`]; [`NoData`](ErrorKind::NoData) or [`NotFound`](ErrorKind::NotFound) where the name has addresses of the other family only.
    pub fn lookup_family(&self, host: &str, family: Family) -> Result<Vec<IpAddr>, LookupError> {
        self.addresses(host, Some(family)).map_err(|cause| about_host(Some(host), cause))
    }

    /// POSIX's `getaddrinfo`: all addresses of a host and a service to which a socket may connect or bind.
    ///
    /// Without a host it is this machine: the loopback addresses, or the wildcard addresses where the hints are
    /// [`passive`](Hints::passive). Names that are not ASCII are international domain names (with the feature `idna`, which `native-dns` includes).
    /// Suspends unless the host is absent or an address in digits; names of services come from `/etc/services`.
    ///
    /// # Errors
    /// [`LookupError`].
    ///
    /// ```
    /// use greenlet_net::dns::{Hints, Resolver, Service, SocketType};
    ///
    /// let resolver = Resolver::builder().build()?;
    /// let stream = Hints::new().socket_type(SocketType::Stream);
    /// let found = resolver.getaddrinfo("localhost", 8080, &stream)?;
    /// assert!(found.iter().all(|info| info.address.port() == 8080));
    ///
    /// let to_listen = resolver.getaddrinfo(None, 8080, &stream.passive())?;
    /// assert!(to_listen[0].address.ip().is_unspecified());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn getaddrinfo<'a>(
        &self,
        host: impl Into<Option<&'a str>>,
        service: impl Into<Service<'a>>,
        hints: &Hints,
    ) -> Result<Vec<AddressInfo>, LookupError> {
        let (host, service) = (host.into(), service.into());
        self.address_infos(host, service, hints).map_err(|cause| match (cause.kind, service) {
            (ErrorKind::UnknownService, Service::Name(name)) => {
                LookupError::new(format!("resolve service {name:?}"), cause)
            }
            _ => about_host(host, cause),
        })
    }

    fn address_infos(
        &self,
        host: Option<&str>,
        service: Service<'_>,
        hints: &Hints,
    ) -> Result<Vec<AddressInfo>, Cause> {
        let wrapped;
        let service = match service {
            Service::Name(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                wrapped = digits
                    .bytes()
                    .fold(0u16, |port, digit| port.wrapping_mul(10).wrapping_add(u16::from(digit - b'0')));
                Service::Port(wrapped)
            }
            other => other,
        };
        let Some(host) = host else {
            return system::getaddrinfo(None, service, hints);
        };
        if host.is_empty() {
            return Err(Cause::with(ErrorKind::NotFound, "the name is empty"));
        }
        if hints.has(libc::AI_NUMERICHOST) {
            return system::getaddrinfo(Some(host), service, hints);
        }
        if name::looks_numeric(host) {
            match system::getaddrinfo(Some(host), service, &hints.clone().numeric_host()) {
                Err(cause) if cause.kind == ErrorKind::NotFound && !host.contains(':') => {}
                decided => return decided,
            }
        }
        let ascii = name::ascii(host)?;
        match &*self.engine {
            Engine::System(system) => system.getaddrinfo(ascii.into_owned(), service, hints),
            #[cfg(feature = "native-dns")]
            Engine::Native(native) => native.getaddrinfo(&ascii, service, hints),
        }
    }

    fn addresses(&self, host: &str, family: Option<Family>) -> Result<Vec<IpAddr>, Cause> {
        if let Some(address) = in_digits(host, family)? {
            return Ok(vec![address]);
        }
        let ascii = name::ascii(host)?;
        match &*self.engine {
            Engine::System(system) => {
                let hints = Hints { family, socket_type: Some(SocketType::Stream), ..Hints::default() };
                let found = system.getaddrinfo(ascii.into_owned(), Service::Any, &hints)?;
                Ok(distinct(found.iter().map(|info| info.address.ip())))
            }
            #[cfg(feature = "native-dns")]
            Engine::Native(native) => native.addresses(&ascii, family),
        }
    }

    /// The first IPv4 address of a host. `""` is the wildcard address, `"<broadcast>"` the broadcast address.
    ///
    /// Suspends for names only.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn gethostbyname(&self, host: &str) -> Result<Ipv4Addr, LookupError> {
        match host {
            "" => return Ok(Ipv4Addr::UNSPECIFIED),
            "<broadcast>" => return Ok(Ipv4Addr::BROADCAST),
            _ => {}
        }
        let found = self.addresses(host, Some(Family::V4)).map_err(|cause| about_host(Some(host), cause))?;
        let first = found.into_iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        first.ok_or_else(|| about_host(Some(host), ErrorKind::NoData.into()))
    }

    /// A host with its canonical name, its other names and its IPv4 addresses.
    ///
    /// Suspends for names only.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn gethostbyname_ex(&self, host: &str) -> Result<HostEntry, LookupError> {
        self.entry(host).map_err(|cause| about_host(Some(host), cause))
    }

    fn entry(&self, host: &str) -> Result<HostEntry, Cause> {
        if let Some(address) = in_digits(host, Some(Family::V4))? {
            return Ok(HostEntry { name: host.to_owned(), aliases: Vec::new(), addresses: vec![address] });
        }
        let ascii = name::ascii(host)?;
        match &*self.engine {
            Engine::System(system) => system.host(ascii.into_owned(), Family::V4),
            #[cfg(feature = "native-dns")]
            Engine::Native(native) => native.host(&ascii, Family::V4),
        }
    }

    /// The host that has this address.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn gethostbyaddr(&self, address: IpAddr) -> Result<HostEntry, LookupError> {
        let found = match &*self.engine {
            Engine::System(system) => system.host_of_address(address),
            #[cfg(feature = "native-dns")]
            Engine::Native(native) => native.host_of_address(address),
        };
        found.map_err(|cause| about_address(address, cause))
    }

    /// POSIX's `getnameinfo`: the names of an address and of its port.
    ///
    /// Does not suspend where the hints ask for digits.
    ///
    /// # Errors
    /// [`LookupError`]: for an address without a name only where it is [required](NameHints::name_required).
    ///
    /// ```
    /// use greenlet_net::dns::{NameHints, Resolver};
    ///
    /// let names = Resolver::builder().build()?.getnameinfo("10.0.0.1:80".parse()?, NameHints::new().numeric_host())?;
    /// assert_eq!(names.host, "10.0.0.1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn getnameinfo(&self, address: SocketAddr, hints: NameHints) -> Result<NameInfo, LookupError> {
        let bad = hints.has(libc::NI_NUMERICHOST) && hints.has(libc::NI_NAMEREQD);
        let found = match &*self.engine {
            _ if bad => Err(ErrorKind::NotFound.into()),
            _ if hints.has(libc::NI_NUMERICHOST) => system::getnameinfo(&address, hints),
            Engine::System(system) => system.getnameinfo(address, hints),
            #[cfg(feature = "native-dns")]
            Engine::Native(native) => native.getnameinfo(address, hints),
        };
        found.map_err(|cause| about_address(address.ip(), cause))
    }

    /// The full name of a host, with its domain; that of this machine for `""` and the wildcard addresses.
    ///
    /// The first name of [`gethostbyaddr`](Resolver::gethostbyaddr) with a dot in it, as in Python. Where nothing is found it is the name itself: this
    /// never fails.
    pub fn getfqdn(&self, host: &str) -> String {
        let host = host.trim();
        let own;
        let host = match host {
            "" | "0.0.0.0" | "::" => {
                own = system::hostname();
                &own
            }
            other => other,
        };
        let Some(address) = self.lookup(host).ok().and_then(|found| found.first().copied()) else {
            return host.to_owned();
        };
        let Ok(entry) = self.gethostbyaddr(address) else {
            return host.to_owned();
        };
        let full = std::iter::once(&entry.name).chain(&entry.aliases).find(|name| name.contains('.'));
        full.unwrap_or(&entry.name).clone()
    }
}

/// The address that this is. Errors are decisions: nobody has to be asked.
fn in_digits(host: &str, family: Option<Family>) -> Result<Option<IpAddr>, Cause> {
    if host.is_empty() {
        return Err(Cause::with(ErrorKind::NotFound, "the name is empty"));
    }
    if !name::looks_numeric(host) {
        return Ok(None);
    }
    let Some(address) = system::address_in_digits(host) else {
        // No name has a colon.
        return if host.contains(':') { Err(ErrorKind::NotFound.into()) } else { Ok(None) };
    };
    let fits = match family {
        None => true,
        Some(Family::V4) => address.is_ipv4(),
        Some(Family::V6) => address.is_ipv6(),
    };
    if fits {
        Ok(Some(address))
    } else {
        Err(Cause::with(ErrorKind::NoData, "an address of the other family"))
    }
}

fn about_host(host: Option<&str>, cause: Cause) -> LookupError {
    let task = match host {
        Some(host) => format!("resolve {host:?}"),
        None => "resolve this machine's address".to_owned(),
    };
    LookupError::new(task, cause)
}

fn about_address(address: IpAddr, cause: Cause) -> LookupError {
    LookupError::new(format!("find the name of {address}"), cause)
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("engine", &self.engine).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_addresses_in_all_forms_of_c() {
        let all = [("127.1", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("10.1.2.3", "10.1.2.3"), ("::1", "::1")];
        for (digits, address) in all {
            assert_eq!(in_digits(digits, None).unwrap(), Some(address.parse().unwrap()), "{digits}");
        }
        assert_eq!(in_digits("1.2.3.400", None).unwrap(), None);
        assert_eq!(in_digits("3com.example", None).unwrap(), None);
        assert_eq!(in_digits("::x", None).unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(in_digits("::1", Some(Family::V4)).unwrap_err().kind, ErrorKind::NoData);
    }
}
