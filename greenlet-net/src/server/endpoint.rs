//! Where to listen, in all the ways to say it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use super::connection::{Kinds, Listener};
use crate::attempts::{Task, first_success};
use crate::{ListenOptions, TcpListener};

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
    Path(PathBuf),
    Tcp(TcpListener),
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
/// | `"unix:/run/app.sock"`, [`Path`] | a Unix socket |
/// | a [`TcpListener`](crate::TcpListener), or std's | a socket that listens already |
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
        if path.is_empty() {
            return Err(wrong(text));
        }
        return Ok(Endpoint::Path(path.into()));
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
        one(Endpoint::Path(self.to_owned()))
    }
}

impl IntoEndpoints for PathBuf {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::Path(self))
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

/// For a [`DatagramServer`](super::DatagramServer).
impl IntoEndpoints for UdpSocket {
    fn into_endpoints(self) -> io::Result<Endpoints> {
        one(Endpoint::Udp(self))
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
            Endpoint::Path(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp(listener) => fmt::Debug::fmt(listener, f),
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
        matches!(self, Endpoint::Tcp(_))
    }

    /// Whether a server whose handler takes these kinds of arrivals can listen there.
    pub(super) fn check(&self, kinds: Kinds) -> io::Result<()> {
        let expected = match (self, kinds) {
            (Endpoint::Path(_), Kinds::Tcp) => "an IP address, since the handler takes TCP connections",
            (Endpoint::Udp(_), Kinds::Tcp | Kinds::Any) => "something to accept connections from",
            (Endpoint::Path(_), Kinds::Datagrams) => "an IP address for UDP",
            (Endpoint::Tcp(_), Kinds::Datagrams) => "something to receive datagrams from",
            _ => return Ok(()),
        };
        let what = format!("expected {expected}, found {self}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, what))
    }

    /// Listens there; also tells how others can, each with a socket of its own.
    pub(super) fn listen(self, options: &ListenOptions) -> io::Result<(Listener, Option<Again>)> {
        let listener = match self {
            Endpoint::Tcp(listener) => return Ok((Listener::Tcp(listener), None)),
            Endpoint::Ip(address) => options.bind(address)?,
            Endpoint::Name(name) => options.bind(name)?,
            Endpoint::Port(port) => {
                let listener = listen_everywhere(options, port)?;
                let port = listener.local_addr()?.port();
                return Ok((Listener::Tcp(listener), Some(Again::Port(port))));
            }
            Endpoint::Path(_) | Endpoint::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let address = listener.local_addr()?;
        Ok((Listener::Tcp(listener), Some(Again::Ip(address))))
    }
}

impl Endpoint {
    /// A socket for datagrams there; also tells how to get others, if it was asked to let others be.
    pub(super) fn open_udp(self, reuse_port: bool) -> io::Result<(UdpSocket, Option<Again>)> {
        let bind = |address: &SocketAddr| open_udp(address, reuse_port);
        let socket = match self {
            Endpoint::Udp(socket) => return Ok((socket, None)),
            Endpoint::Ip(address) => first_success(Task::Listen, address, bind)?,
            Endpoint::Name(name) => first_success(Task::Listen, name, bind)?,
            Endpoint::Port(port) => {
                let socket = open_udp_everywhere(port, reuse_port)?;
                let port = socket.local_addr()?.port();
                return Ok((socket, Some(Again::Port(port))));
            }
            Endpoint::Path(_) | Endpoint::Tcp(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let address = socket.local_addr()?;
        Ok((socket, Some(Again::Ip(address))))
    }
}

fn open_udp(address: &SocketAddr, reuse_port: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(*address), Type::DGRAM, Some(Protocol::UDP))?;
    // Not SO_REUSEADDR, with which two may take each other's datagrams.
    socket.set_reuse_port(reuse_port)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.bind(&(*address).into())?;
    Ok(socket.into())
}

fn open_udp_everywhere(port: u16, reuse_port: bool) -> io::Result<UdpSocket> {
    let everywhere =
        |ip: IpAddr| first_success(Task::Listen, (ip, port), |address| open_udp(address, reuse_port));
    match everywhere(Ipv6Addr::UNSPECIFIED.into()) {
        Err(error) if without_v6(&error) => everywhere(Ipv4Addr::UNSPECIFIED.into()),
        done => done,
    }
}

impl Again {
    pub(super) fn open_udp(&self) -> io::Result<UdpSocket> {
        match *self {
            Again::Ip(address) => first_success(Task::Listen, address, |address| open_udp(address, true)),
            Again::Port(port) => open_udp_everywhere(port, true),
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
