//! The address of a peer, whatever kind of socket it has.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixSocketAddr;

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};
use socket2::SockAddr;

/// Where the other end of a [`Stream`](crate::Stream) is, or what a server listens on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket: by path, abstract, or without a name, as the ends of clients are.
    Unix(UnixSocketAddr),
}

/// `127.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`, `unix:@abstract`, and `unix:` for a socket without a name.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(address) => {
                f.write_str("unix:")?;
                if let Some(path) = address.as_pathname() {
                    write!(f, "{}", path.display())
                } else {
                    write_abstract(address, f)
                }
            }
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn write_abstract(address: &UnixSocketAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;

    match address.as_abstract_name() {
        Some(name) => write!(f, "@{}", name.escape_ascii()),
        None => Ok(()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn write_abstract(_: &UnixSocketAddr, _: &mut fmt::Formatter<'_>) -> fmt::Result {
    Ok(())
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl From<UnixSocketAddr> for Address {
    fn from(address: UnixSocketAddr) -> Address {
        Address::Unix(address)
    }
}

/// What the system calls an address, if it is of a kind that sockets here have.
pub(crate) fn of_system(address: SockAddr) -> io::Result<Address> {
    if let Some(ip) = address.as_socket() {
        return Ok(Address::Ip(ip));
    }
    if !address.is_unix() {
        return Err(unexpected());
    }
    if address.len() as usize > PATH_AT + LONGEST_PATH {
        return Ok(Address::Unix(unnamed()?));
    }
    Ok(Address::Unix(match (address.as_pathname(), address.as_abstract_namespace()) {
        (Some(path), _) => UnixSocketAddr::from_pathname(path).or_else(|_| unnamed())?,
        #[cfg(target_os = "linux")]
        (None, Some(name)) => of_abstract(name)?,
        _ => unnamed()?,
    }))
}

impl TryFrom<Address> for SocketAddr {
    type Error = io::Error;

    fn try_from(address: Address) -> io::Result<SocketAddr> {
        match address {
            Address::Ip(address) => Ok(address),
            Address::Unix(_) => Err(unexpected()),
        }
    }
}

impl TryFrom<Address> for UnixSocketAddr {
    type Error = io::Error;

    fn try_from(address: Address) -> io::Result<UnixSocketAddr> {
        match address {
            Address::Unix(address) => Ok(address),
            Address::Ip(_) => Err(unexpected()),
        }
    }
}

/// The address of a socket, of the kind that this socket must have.
pub(crate) fn get<A: TryFrom<Address, Error = io::Error>>(address: SockAddr) -> io::Result<A> {
    of_system(address)?.try_into()
}

/// As `get`, from what came with a connection or datagram. The system leaves it out where a Unix socket has no name.
pub(crate) fn from_any<A: TryFrom<Address, Error = io::Error>>(
    address: Option<SocketAddrAny>,
) -> io::Result<A> {
    let Some(address) = address else { return Address::Unix(unnamed()?).try_into() };
    if let Ok(ip) = SocketAddr::try_from(address.clone()) {
        return Address::Ip(ip).try_into();
    }
    if address.address_family() != AddressFamily::UNIX {
        return Err(unexpected());
    }
    // rustix makes an abstract name out of none, and cannot read one that has no room for its last NUL: a peer may have either.
    let length = (address.addr_len() as usize).saturating_sub(PATH_AT);
    let unix = match length {
        1..=LONGEST_PATH => from_unix(&SocketAddrUnix::try_from(address)?)?,
        _ => unnamed()?,
    };
    Address::Unix(unix).try_into()
}

/// Where the path begins in the system's form of an address, and its most bytes.
const PATH_AT: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);
const LONGEST_PATH: usize = size_of::<libc::sockaddr_un>() - PATH_AT;

fn from_unix(address: &SocketAddrUnix) -> io::Result<UnixSocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = address.abstract_name() {
        return of_abstract(name);
    }
    match address.path_bytes() {
        // rustix leaves the NUL there if it fills the address. Longer than std's can be: nothing that a peer should be refused for.
        Some(path) => {
            UnixSocketAddr::from_pathname(OsStr::from_bytes(without_nul(path))).or_else(|_| unnamed())
        }
        None => unnamed(),
    }
}

fn without_nul(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"\0").unwrap_or(path)
}

#[cfg(target_os = "linux")]
fn of_abstract(name: &[u8]) -> io::Result<UnixSocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    UnixSocketAddr::from_abstract_name(name)
}

fn unnamed() -> io::Result<UnixSocketAddr> {
    UnixSocketAddr::from_pathname("")
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the socket has an address of another family than expected")
}
