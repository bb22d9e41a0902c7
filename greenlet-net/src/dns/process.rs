//! The resolver of the process, and the functions that use it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use super::error::Cause;
use super::{
    AddressInfo, ErrorKind, Hints, HostEntry, LookupError, NameHints, NameInfo, Resolver, Service, SetupError,
};

static RESOLVER: RwLock<Option<Resolver>> = RwLock::new(None);

/// The resolver of the process: the one that was [set](set_resolver), or else one as the environment wants it, made at the first
/// call.
///
/// # Errors
/// [`SetupError`] when `GREENLET_RESOLVER` and the like have values that cannot be.
///
/// ```
/// use greenlet_net::dns;
///
/// println!("names are looked up by the engine {:?}", dns::resolver()?.engine());
/// # Ok::<(), dns::SetupError>(())
/// ```
pub fn resolver() -> Result<Resolver, SetupError> {
    // Nothing of the user's runs under the lock, so a poisoned one has a sound value.
    if let Some(resolver) = &*RESOLVER.read().unwrap_or_else(PoisonError::into_inner) {
        return Ok(resolver.clone());
    }
    let fresh = Resolver::builder().from_env()?.build()?;
    Ok(RESOLVER.write().unwrap_or_else(PoisonError::into_inner).get_or_insert(fresh).clone())
}

/// Makes this the resolver of the process, for all lookups that begin from now on. Returns the one that it replaces, if one was used
/// before.
///
/// ```
/// use greenlet_net::dns::{self, Resolver};
///
/// dns::set_resolver(Resolver::builder().threads(4).build()?);
/// # Ok::<(), dns::SetupError>(())
/// ```
pub fn set_resolver(resolver: Resolver) -> Option<Resolver> {
    RESOLVER.write().unwrap_or_else(PoisonError::into_inner).replace(resolver)
}

fn of_process() -> Result<Resolver, LookupError> {
    resolver()
        .map_err(|error| LookupError::new("look up names".to_owned(), Cause::with(ErrorKind::Setup, error)))
}

/// [`Resolver::lookup`] of the process's resolver.
///
/// # Errors
/// [`LookupError`].
///
/// ```
/// use greenlet_net::dns;
///
/// assert!(dns::lookup("localhost")?.iter().all(|address| address.is_loopback()));
/// assert_eq!(dns::lookup("10.0.0.1")?, ["10.0.0.1".parse::<std::net::IpAddr>()?]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn lookup(host: &str) -> Result<Vec<IpAddr>, LookupError> {
    of_process()?.lookup(host)
}

/// [`Resolver::getaddrinfo`] of the process's resolver.
///
/// # Errors
/// [`LookupError`].
pub fn getaddrinfo<'a>(
    host: impl Into<Option<&'a str>>,
    service: impl Into<Service<'a>>,
    hints: &Hints,
) -> Result<Vec<AddressInfo>, LookupError> {
    of_process()?.getaddrinfo(host, service, hints)
}

/// [`Resolver::gethostbyname`] of the process's resolver.
///
/// # Errors
/// [`LookupError`].
pub fn gethostbyname(host: &str) -> Result<Ipv4Addr, LookupError> {
    of_process()?.gethostbyname(host)
}

/// [`Resolver::gethostbyname_ex`] of the process's resolver.
///
/// # Errors
/// [`LookupError`].
pub fn gethostbyname_ex(host: &str) -> Result<HostEntry, LookupError> {
    of_process()?.gethostbyname_ex(host)
}

/// [`Resolver::gethostbyaddr`] of the process's resolver.
///
/// # Errors
/// [`LookupError`].
pub fn gethostbyaddr(address: IpAddr) -> Result<HostEntry, LookupError> {
    of_process()?.gethostbyaddr(address)
}

/// [`Resolver::getnameinfo`] of the process's resolver.
///
/// # Errors
/// [`LookupError`].
pub fn getnameinfo(address: SocketAddr, hints: NameHints) -> Result<NameInfo, LookupError> {
    of_process()?.getnameinfo(address, hints)
}

/// [`Resolver::getfqdn`] of the process's resolver; the name itself where there is none.
///
/// ```
/// println!("this machine is {}", greenlet_net::dns::getfqdn(""));
/// ```
pub fn getfqdn(host: &str) -> String {
    match resolver() {
        Ok(resolver) => resolver.getfqdn(host),
        Err(_) => host.to_owned(),
    }
}
