//! The operating system's resolver. Everything here blocks the thread, unless the host is an address in digits.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};

use dns_lookup::{AddrInfoHints, LookupErrorKind};

use super::error::Cause;
use super::{AddressInfo, ErrorKind, Family, Hints, NameHints, NameInfo, Service, SocketType};

pub(super) fn getaddrinfo(
    host: Option<&str>,
    service: Service<'_>,
    hints: &Hints,
) -> Result<Vec<AddressInfo>, Cause> {
    let port;
    let service = match service {
        Service::Any => None,
        Service::Port(number) => {
            port = number.to_string();
            Some(port.as_str())
        }
        Service::Name(name) => Some(name),
    };
    if host.is_none() && service.is_none() {
        return Err(Cause::with(ErrorKind::NotFound, "neither a host nor a service"));
    }
    let hints = AddrInfoHints {
        flags: hints.flags,
        address: match hints.family {
            None => libc::AF_UNSPEC,
            Some(Family::V4) => libc::AF_INET,
            Some(Family::V6) => libc::AF_INET6,
        },
        socktype: match hints.socket_type {
            None => 0,
            Some(SocketType::Stream) => libc::SOCK_STREAM,
            Some(SocketType::Datagram) => libc::SOCK_DGRAM,
            Some(SocketType::Raw) => libc::SOCK_RAW,
        },
        protocol: hints.protocol,
    };
    let mut found = Vec::new();
    for info in dns_lookup::getaddrinfo(host, service, Some(hints)).map_err(cause)? {
        let info = info.map_err(|error| Cause::with(ErrorKind::System, error))?;
        let socket_type = match info.socktype {
            libc::SOCK_STREAM => SocketType::Stream,
            libc::SOCK_DGRAM => SocketType::Datagram,
            libc::SOCK_RAW => SocketType::Raw,
            _ => continue,
        };
        found.push(AddressInfo {
            address: info.sockaddr,
            socket_type,
            protocol: info.protocol,
            canonical_name: info.canonname,
        });
    }
    Ok(found)
}

pub(super) fn getnameinfo(address: &SocketAddr, hints: NameHints) -> Result<NameInfo, Cause> {
    let (host, service) = dns_lookup::getnameinfo(address, hints.flags).map_err(cause)?;
    Ok(NameInfo { host, service })
}

/// The name of this machine.
pub(super) fn hostname() -> String {
    dns_lookup::get_hostname().unwrap_or_else(|_| "localhost".to_owned())
}

/// An address in digits, in any of C's forms.
pub(super) fn address_in_digits(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let hints = Hints::new().socket_type(SocketType::Stream).numeric_host();
    let found = getaddrinfo(Some(host), Service::Any, &hints).ok()?;
    found.first().map(|info| info.address.ip())
}

fn cause(error: dns_lookup::LookupError) -> Cause {
    let kind = match error.kind() {
        LookupErrorKind::NoName => ErrorKind::NotFound,
        LookupErrorKind::NoData => ErrorKind::NoData,
        LookupErrorKind::Again => ErrorKind::Temporary,
        LookupErrorKind::Fail => ErrorKind::Failed,
        LookupErrorKind::Service => ErrorKind::UnknownService,
        LookupErrorKind::Badflags | LookupErrorKind::Family | LookupErrorKind::Socktype => {
            ErrorKind::BadHints
        }
        // glibc's "address family for hostname not supported": the name has addresses, of other families.
        #[cfg(target_os = "linux")]
        _ if error.error_num() == EAI_ADDRFAMILY => ErrorKind::NoData,
        LookupErrorKind::IO => return of_io(&error.into()),
        LookupErrorKind::Memory | LookupErrorKind::System | LookupErrorKind::Unknown => ErrorKind::System,
    };
    described(kind, &error)
}

/// The libc crate has it for other systems only.
#[cfg(target_os = "linux")]
const EAI_ADDRFAMILY: i32 = -9;

fn of_io(error: &io::Error) -> Cause {
    if error.kind() == io::ErrorKind::InvalidInput {
        return Cause::with(ErrorKind::InvalidName, "it has a zero byte");
    }
    described(ErrorKind::System, error)
}

/// What the system says is worth showing where the kind says less.
fn described(kind: ErrorKind, error: &impl Display) -> Cause {
    match kind {
        ErrorKind::BadHints | ErrorKind::System => Cause::with(kind, error),
        _ => kind.into(),
    }
}
