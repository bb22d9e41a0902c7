//! The server of datagrams.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use greenlet_core::StackSize;
use greenlet_core::pool::Pool;

use super::acceptor::{BoxError, Handler};
use super::connection::{Kinds, Outcome};
use super::datagram::{Datagram, Datagrams, Socket};
use super::endpoint::{Endpoint, Endpoints, IntoEndpoints};
use super::engine::{Engine, Sockets};
use super::life::Handle;
use super::settings::Settings;
use crate::UdpOptions;

/// gevent's.
const MAX_SIZE: usize = 8192;

/// Receives datagrams on UDP sockets and calls a handler for each, in a greenlet of its own: gevent's `DatagramServer`.
///
/// Its life is that of a [`StreamServer`](super::StreamServer), and so are its limits: while it is full nothing is received, and the system keeps what
/// comes for as long as there is room, and drops the rest. Handlers begin in the order in which datagrams were received.
///
/// ```
/// use greenlet_net::server::{Datagram, DatagramServer};
/// use std::net::UdpSocket;
///
/// let server = DatagramServer::new("127.0.0.1:0", |datagram: Datagram| datagram.reply(&datagram));
/// server.start()?;
/// let address = server.local_addr()?;
///
/// // a client on another thread: std's sockets block
/// let client = std::thread::spawn(move || {
///     let socket = UdpSocket::bind("127.0.0.1:0")?;
///     socket.send_to(b"hello", address)?;
///     let mut answer = [0; 16];
///     let (length, from) = socket.recv_from(&mut answer)?;
///     assert_eq!((&answer[..length], from), (&b"hello"[..], address));
///     std::io::Result::Ok(())
/// });
/// while !client.is_finished() {
///     greenlet_core::yield_now();
/// }
/// client.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "it serves when it is started"]
pub struct DatagramServer {
    engine: Engine<Datagrams>,
    max_size: usize,
    endpoints: RefCell<io::Result<Endpoints>>,
    /// To send from; closed with the server.
    sockets: RefCell<Vec<(SocketAddr, Weak<Socket>)>>,
}

fn take<R: Outcome + 'static>(handler: impl Fn(Datagram) -> R) -> impl Fn(Datagram) -> Result<(), BoxError> {
    move |datagram| handler(datagram).into_result()
}

impl DatagramServer {
    /// A server that will receive there ([`IntoEndpoints`], and a [`UdpSocket`](crate::UdpSocket) that is bound already, ours or std's) and call the handler in greenlets of this
    /// thread's hub.
    #[track_caller]
    pub fn new<R: Outcome + 'static>(
        listen_on: impl IntoEndpoints,
        handler: impl Fn(Datagram) -> R + 'static,
    ) -> DatagramServer {
        let handler = Handler::Local(Rc::new(take(handler)));
        DatagramServer::with(None, listen_on.into_endpoints(), handler)
    }

    /// A server on so many hub threads of its own, as [`StreamServer::on_hubs`](super::StreamServer::on_hubs). All datagrams from one address go to one hub.
    #[track_caller]
    pub fn on_hubs<R: Outcome + 'static>(
        hubs: usize,
        listen_on: impl IntoEndpoints,
        handler: impl Fn(Datagram) -> R + Send + Sync + 'static,
    ) -> DatagramServer {
        let handler = Handler::Shared(Arc::new(take(handler)));
        DatagramServer::with(Some(hubs), listen_on.into_endpoints(), handler)
    }

    #[track_caller]
    fn with(
        hubs: Option<usize>,
        endpoints: io::Result<Endpoints>,
        handler: Handler<Datagram>,
    ) -> DatagramServer {
        DatagramServer {
            engine: Engine::new(hubs, Settings::new(Location::caller()), handler),
            max_size: MAX_SIZE,
            endpoints: RefCell::new(endpoints),
            sockets: RefCell::default(),
        }
    }

    // --- settings ----------------------------------------------------------------------------------------------

    /// The longest datagram that is received whole, in bytes. Default: 8192. What is longer is cut, and [says so](Datagram::is_truncated).
    pub fn max_size(mut self, bytes: usize) -> DatagramServer {
        self.max_size = bytes;
        self
    }

    /// How many handlers may be at work at once. Default: no limit. With 0 nothing is ever received.
    pub fn limit(mut self, handlers: usize) -> DatagramServer {
        self.engine.settings.limit = Some(handlers);
        self
    }

    /// As [`StreamServer::pool`](super::StreamServer::pool).
    pub fn pool(mut self, pool: &Pool) -> DatagramServer {
        self.engine.pool = Some(pool.clone());
        self
    }

    /// How many handlers may be at work for one IP address; further datagrams from there are dropped, and counted as [refused](super::Counts::refused).
    /// Default: no limit.
    pub fn limit_per_ip(mut self, handlers: u32) -> DatagramServer {
        self.engine.settings.limit_per_ip = Some(handlers);
        self
    }

    /// The name of the server in reports, from which its greenlets get theirs.
    pub fn name(mut self, name: impl Into<String>) -> DatagramServer {
        self.engine.settings.name = Some(name.into().into());
        self
    }

    /// The stack of the greenlets in which handlers run. Default: what the hub has.
    pub fn stack_size(mut self, size: StackSize) -> DatagramServer {
        self.engine.settings.stack_size = Some(size);
        self
    }

    /// How long handlers may go on when [`serve_forever`](DatagramServer::serve_forever) is unwound. Default: one second.
    pub fn grace(mut self, grace: Duration) -> DatagramServer {
        self.engine.settings.grace = grace;
        self
    }

    // --- life --------------------------------------------------------------------------------------------------

    /// Binds, and does not receive yet. Does nothing if it is bound already.
    ///
    /// # Errors
    /// As [`StreamServer::bind`](super::StreamServer::bind).
    pub fn bind(&self) -> io::Result<()> {
        self.engine.bind(|hubs| self.open(hubs))
    }

    fn open(&self, hubs: usize) -> io::Result<Sockets<Datagrams>> {
        let none = Ok(Endpoints(Vec::new()));
        let Endpoints(endpoints) = mem::replace(&mut *self.endpoints.borrow_mut(), none)?;
        let mut all = Sockets { of_hubs: Vec::new(), addresses: Vec::new() };
        all.of_hubs.resize_with(hubs, Vec::new);
        for endpoint in endpoints {
            endpoint.check(Kinds::Datagrams)?;
            let sockets = open(endpoint, hubs)?;
            let address = sockets[0].local_addr()?;
            all.addresses.push(address.into());
            self.sockets.borrow_mut().push((address, Arc::downgrade(&sockets[0])));
            for (hub, socket) in all.of_hubs.iter_mut().zip(sockets) {
                hub.push(Datagrams::new(socket, self.max_size));
            }
        }
        Ok(all)
    }

    /// [Binds](DatagramServer::bind), if that is still to be done, and begins to receive. Does nothing if it receives already.
    ///
    /// # Errors
    /// As [`bind`](DatagramServer::bind).
    pub fn start(&self) -> io::Result<()> {
        self.bind()?;
        self.start_accepting()
    }

    /// Receives again after [`stop_accepting`](DatagramServer::stop_accepting).
    ///
    /// # Errors
    /// `NotConnected` if the server is not bound, or was closed.
    pub fn start_accepting(&self) -> io::Result<()> {
        self.engine.start_accepting()
    }

    /// Receives nothing for the time being: the system keeps what comes, for as long as there is room.
    ///
    /// Suspends for a turn of the loop.
    pub fn stop_accepting(&self) {
        self.engine.stop_accepting();
    }

    /// As [`StreamServer::serve_forever`](super::StreamServer::serve_forever).
    ///
    /// # Errors
    /// As [`start`](DatagramServer::start), and what the server failed with, if it closed itself.
    pub fn serve_forever(&self) -> io::Result<()> {
        self.engine.serve_forever(|| self.start())
    }

    /// Sends a datagram from the first address of the server that is of the same family: gevent's `sendto`.
    ///
    /// Suspends as [`Datagram::reply`], which is how handlers answer.
    ///
    /// # Errors
    /// What the system says; `NotConnected` if the server is not bound, or was closed; `AddrNotAvailable` if it has no address of that family.
    pub fn send_to(&self, data: &[u8], peer: SocketAddr) -> io::Result<usize> {
        let sockets = self.sockets.borrow();
        let same = sockets.iter().find(|(address, _)| address.is_ipv4() == peer.is_ipv4());
        let socket = match same {
            Some((_, socket)) => socket.upgrade(),
            None if sockets.is_empty() => None,
            None => return Err(no_address(peer)),
        };
        drop(sockets);
        let socket = socket.filter(|_| !self.closed()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotConnected, "the server is not bound, or was closed")
        })?;
        socket.send_to(data, peer)
    }

    /// A handle for other threads, and for handlers.
    pub fn handle(&self) -> Handle {
        self.engine.handle.clone()
    }
}

fn no_address(peer: SocketAddr) -> io::Error {
    let family = if peer.is_ipv4() { "IPv4" } else { "IPv6" };
    let what = format!("the server has no {family} address to send from to {peer}");
    io::Error::new(io::ErrorKind::AddrNotAvailable, what)
}

/// A socket for each of so many hubs.
fn open(endpoint: Endpoint, hubs: usize) -> io::Result<Vec<Arc<Socket>>> {
    // Not SO_REUSEADDR, with which two may take each other's datagrams.
    let options = UdpOptions::new().reuse_port(hubs > 1);
    let (first, again) = endpoint.open_udp(&options)?;
    let mut all = vec![Socket::new(first.into_std()?)?];
    while all.len() < hubs {
        let next = match &again {
            Some(again) => Socket::new(again.open_udp(&options)?.into_std()?)?,
            None => all[0].duplicate()?,
        };
        all.push(next);
    }
    Ok(all)
}

/// Ending it, and looking at it.
impl Deref for DatagramServer {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.engine.handle
    }
}

/// As its [`Handle`], after its name.
impl fmt::Display for DatagramServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {}",
            self.engine.settings.name.as_deref().unwrap_or("DatagramServer"),
            self.engine.handle
        )
    }
}

impl fmt::Debug for DatagramServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramServer").field("handle", &self.engine.handle).finish_non_exhaustive()
    }
}
