//! Where to listen, in all the ways to say it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::{Path, PathBuf};

use super::connection::{Kinds, Listener};
use crate::{Address, ListenOptions, TcpListener, UdpOptions, UdpSocket, UnixListenOptions, UnixListener};

/// Where a server listens: made from whatever implements [`IntoEndpoints`].
#[derive(Debug)]
pub struct Endpoints(pub(super) Vec<Endpoint>);

#[derive(Debug)]
pub(super) enum Endpoint {
    Ip(SocketAddr),
    /// A host name and a port.
    Name(String),
    /// Every address of this machine, IPv6 and IPv4.
    Port(u16),
    Unix(UnixAddress),
    Tcp(TcpListener),
    UnixListener(UnixListener),
    Udp(UdpSocket),
}

/// What a server can be told to listen on.
///
/// | | |
/// |---|---|
/// | [`SocketAddr`], `(IpAddr, u16)` and the like | that address |
/// | `"127.0.0.1:80"`, `"[::1]:80"` | the same as text |
/// | `"localhost:80"` | the first address of that name that can be had |
/// | `":80"`, `"*:80"` | every IPv4 address of the machine |
/// | `80`, `"80"` | every address, IPv6 and IPv4 (only IPv4 where there is no IPv6) |
/// | `"unix:/run/app.sock"`, [`Path`] | a Unix socket; its file is removed when the server closes, and one that nobody listens on any more is replaced |
/// | `"unix:@name"`, std's Unix [`SocketAddr`](std::os::unix::net::SocketAddr) | a Unix socket without a file (Linux), or whatever address that is |
/// | a [`TcpListener`](crate::TcpListener), a [`UnixListener`](crate::UnixListener), or std's | a socket that listens already |
/// | a `Vec`, an array or a slice of these | all of them |
///
/// Port 0 lets the system choose one; [`Handle::local_addr`](super::Handle::local_addr) tells which. Sockets that a service manager hands over
/// (`LISTEN_FDS`) are listeners of std's once they are taken over, for example by the crate `listenfd`.
pub trait IntoEndpoints {
    /// Reads it; nothing is looked up or bound yet.
    ///
    /// # Errors
    /// `InvalidInput`, with the text that is no address; for std's listeners what the system says to non-blocking mode.
    fn into_endpoints(self) -> io::Result<Endpoints>;
}

fn one(endpoint: Endpoint) -> io::Result<Endpoints> {
    Ok(Endpoints(vec![endpoint]))
}

fn parse(text: &str) -> io::Result<Endpoint> {
    if let Some(path) = text.strip_prefix("unix:") {
        return parse_unix(path).ok_or_else(|| wrong(text)).and_then(|address| address.map(Endpoint::Unix));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Endpoint::Ip(address));
    }
    let digits = |port: &str| {
        let plain = port.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| port.parse::<u16>().ok()).flatten()
    };
    if let Some(port) = digits(text) {
        return Ok(Endpoint::Port(port));
    }
    match text.rsplit_once(':').map(|(host, port)| (host, digits(port))) {
        Some(("" | "*", Some(port))) => Ok(Endpoint::Ip((Ipv4Addr::UNSPECIFIED, port).into())),
        // A second colon without brackets is more likely an IPv6 address gone wrong than a name.
        Some((host, Some(_))) if !host.contains([':', '[', ']', '/', ' ']) => {
            Ok(Endpoint::Name(text.to_owned()))
        }
        _ => Err(wrong(text)),
    }
}

/// A path, or `@` and a name.
fn parse_unix(text: &str) -> Option<io::Result<UnixAddress>> {
    if text.is_empty() || text == "@" {
        return None;
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = text.strip_prefix('@') {
        #[cfg(target_os = "android")]
        use std::os::android::net::SocketAddrExt;
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;

        return Some(UnixAddress::from_abstract_name(name));
    }
    Some(UnixAddress::from_pathname(text))
}

fn wrong(text: &str) -> io::Error {
    let expected = "expected host:port, :port, [IPv6]:port, a port number or unix:/path";
    io::Error::new(io::ErrorKind::InvalidInput, format!("{expected}, found {text:?}"))
}

impl IntoEndpoints for &str {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        parse(self).and_then(one)
    }
}

impl IntoEndpoints for String {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        self.as_str().into_endpoints()
    }
}

impl IntoEndpoints for &String {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        self.as_str().into_endpoints()
    }
}

impl IntoEndpoints for u16 {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::Port(self))
    }
}

impl IntoEndpoints for &Path {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::Unix(UnixAddress::from_pathname(self)?))
    }
}

impl IntoEndpoints for PathBuf {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        self.as_path().into_endpoints()
    }
}

impl IntoEndpoints for &PathBuf {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        self.as_path().into_endpoints()
    }
}

impl IntoEndpoints for TcpListener {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::Tcp(self))
    }
}

impl IntoEndpoints for std::net::TcpListener {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        TcpListener::from_std(self)?.into_endpoints()
    }
}

impl IntoEndpoints for UnixAddress {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::Unix(self))
    }
}

impl IntoEndpoints for UnixListener {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::UnixListener(self))
    }
}

impl IntoEndpoints for std::os::unix::net::UnixListener {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        UnixListener::from_std(self)?.into_endpoints()
    }
}

/// For a [`DatagramServer`](super::DatagramServer).
impl IntoEndpoints for UdpSocket {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::Udp(self))
    }
}

/// For a [`DatagramServer`](super::DatagramServer).
impl IntoEndpoints for std::net::UdpSocket {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        UdpSocket::from_std(self)?.into_endpoints()
    }
}

impl IntoEndpoints for &SocketAddr {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::Ip(*self))
    }
}

macro_rules! addresses {
    ($($address:ty),*) => {$(
        impl IntoEndpoints for $address {
            fn into_endpoints(self) -> io::Result<Endpoints> {
                one(Endpoint::Ip(self.into()))
            }
        }
    )*};
}

addresses!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl IntoEndpoints for (&str, u16) {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        let (host, port) = self;
        match host.parse::<IpAddr>() {
            Ok(ip) => one(Endpoint::Ip((ip, port).into())),
            Err(_) => format!("{host}:{port}").into_endpoints(),
        }
    }
}

impl<T: IntoEndpoints> IntoEndpoints for Vec<T> {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        let mut all = Vec::new();
        for each in self {
            all.extend(each.into_endpoints()?.0);
        }
        if all.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no address to listen on: the list is empty",
            ));
        }
        Ok(Endpoints(all))
    }
}

impl<T: IntoEndpoints, const N: usize> IntoEndpoints for [T; N] {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        Vec::from(self).into_endpoints()
    }
}

impl<T: IntoEndpoints + Clone> IntoEndpoints for &[T] {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        self.to_vec().into_endpoints()
    }
}

impl IntoEndpoints for Endpoints {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        Ok(self)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Ip(address) => address.fmt(f),
            Endpoint::Name(name) => name.fmt(f),
            Endpoint::Port(port) => write!(f, "port {port}"),
            Endpoint::Unix(address) => Address::Unix(address.clone()).fmt(f),
            Endpoint::Tcp(listener) => fmt::Debug::fmt(listener, f),
            Endpoint::UnixListener(listener) => fmt::Debug::fmt(listener, f),
            Endpoint::Udp(socket) => fmt::Debug::fmt(socket, f),
        }
    }
}

/// An address that more listeners can have.
pub(super) enum Again {
    Ip(SocketAddr),
    Port(u16),
}

impl Endpoint {
    /// Whether it listens already.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Endpoint::Tcp(_) | Endpoint::UnixListener(_))
    }

    /// Whether a server whose handler takes these kinds of arrivals can listen there.
    pub(super) fn check(&self, kinds: Kinds) -> io::Result<()> {
        use Endpoint::{Ip, Name, Port, Tcp, Udp, Unix, UnixListener};
        let expected = match (self, kinds) {
            (Unix(_) | UnixListener(_), Kinds::Tcp) => {
                "an IP address, since the handler takes TCP connections"
            }
            (Ip(_) | Name(_) | Port(_) | Tcp(_), Kinds::Unix) => {
                "a Unix socket, since the handler takes connections of such"
            }
            (Udp(_), Kinds::Tcp | Kinds::Unix | Kinds::Any) => "something to accept connections from",
            (Unix(_), Kinds::Datagrams) => "an IP address for UDP",
            (Tcp(_) | UnixListener(_), Kinds::Datagrams) => "something to receive datagrams from",
            _ => return Ok(()),
        };
        let what = format!("expected {expected}, found {self}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }

    /// Listens there; also tells how others can, each with a socket of its own.
    pub(super) fn listen(self, options: &ListenSettings) -> io::Result<(Listener, Option<Again>)> {
        let listener = match self {
            Endpoint::Tcp(listener) => return Ok((Listener::Tcp(listener), None)),
            Endpoint::UnixListener(listener) => return Ok((Listener::Unix(listener), None)),
            Endpoint::Unix(address) => {
                let listener = options.unix.bind_addr(&address)?;
                return Ok((Listener::Unix(listener), None));
            }
            Endpoint::Ip(address) => options.tcp.bind(address)?,
            Endpoint::Name(name) => options.tcp.bind(name)?,
            Endpoint::Port(port) => {
                let listener = listen_everywhere(&options.tcp, port)?;
                let port = listener.local_addr()?.port();
                return Ok((Listener::Tcp(listener), Some(Again::Port(port))));
            }
            Endpoint::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let address = listener.local_addr()?;
        Ok((Listener::Tcp(listener), Some(Again::Ip(address))))
    }

    /// A socket for datagrams there; also tells how to get others, if it was asked to let others be.
    pub(super) fn open_udp(self, options: &UdpOptions) -> io::Result<(UdpSocket, Option<Again>)> {
        let socket = match self {
            Endpoint::Udp(socket) => return Ok((socket, None)),
            Endpoint::Ip(address) => options.bind(address)?,
            Endpoint::Name(name) => options.bind(name)?,
            Endpoint::Port(port) => {
                let socket = open_udp_everywhere(options, port)?;
                let port = socket.local_addr()?.port();
                return Ok((socket, Some(Again::Port(port))));
            }
            Endpoint::Unix(_) | Endpoint::Tcp(_) | Endpoint::UnixListener(_) => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        let address = socket.local_addr()?;
        Ok((socket, Some(Again::Ip(address))))
    }
}

/// How to listen, for sockets of either kind.
#[derive(Clone)]
pub(super) struct ListenSettings {
    pub(super) tcp: ListenOptions,
    pub(super) unix: UnixListenOptions,
}

fn open_udp_everywhere(options: &UdpOptions, port: u16) -> io::Result<UdpSocket> {
    match options.clone().only_v6(false).bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(error) if without_v6(&error) => options.bind((Ipv4Addr::UNSPECIFIED, port)),
        done => done,
    }
}

impl Again {
    pub(super) fn open_udp(&self, options: &UdpOptions) -> io::Result<UdpSocket> {
        match *self {
            Again::Ip(address) => options.bind(address),
            Again::Port(port) => open_udp_everywhere(options, port),
        }
    }

    pub(super) fn listen(&self, options: &ListenOptions) -> io::Result<TcpListener> {
        match *self {
            Again::Ip(address) => options.bind(address),
            Again::Port(port) => listen_everywhere(options, port),
        }
    }
}

fn listen_everywhere(options: &ListenOptions, port: u16) -> io::Result<TcpListener> {
    match options.clone().only_v6(false).bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(error) if without_v6(&error) => options.bind((Ipv4Addr::UNSPECIFIED, port)),
        done => done,
    }
}

/// Whether it failed since this machine has no IPv6.
fn without_v6(error: &io::Error) -> bool {
    let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<crate::AddressError>());
    let number = inside.and_then(|all| all.attempts().last()?.1.raw_os_error());
    matches!(number, Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(endpoint) => endpoint.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn all_forms_of_text_are_understood() {
        for (text, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            (":80", "0.0.0.0:80"),
            ("*:80", "0.0.0.0:80"),
            ("80", "port 80"),
            ("localhost:80", "localhost:80"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix:relative", "unix:relative"),
            #[cfg(target_os = "linux")]
            ("unix:@name", "unix:@name"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in [
            "",
            ":",
            "localhost",
            "localhost:",
            "localhost:http",
            "localhost:65536",
            "localhost:+80",
            "::1:80",
            "[::1]",
            "[localhost]:80",
            "http://localhost:80",
            "unix:",
            "unix:@",
            "-1",
            "65536",
            "a b:80",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn an_empty_list_is_refused() {
        let error = Vec::<u16>::new().into_endpoints().unwrap_err();
        assert_eq!(error.to_string(), "no address to listen on: the list is empty");
    }
}
