//! The server of connections.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::mem;
use std::ops::Deref;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::StackSize;
use greenlet_core::pool::Pool;

use super::acceptor::{BoxError, Handler, Taker};
use super::connection::{Accepted, Admitted, Connection, Connections, Kinds, Listener, Outcome};
use super::endpoint::{Endpoints, IntoEndpoints, ListenSettings};
use super::engine::{Engine, Sockets};
use super::life::Handle;
use super::settings::Settings;
use crate::{ListenOptions, UnixListenOptions};

/// Accepts connections and calls a handler for each, in a greenlet of its own: gevent's `StreamServer`.
///
/// The handler takes the stream and the peer's address. The type of the stream decides what can be listened on ([`Accepted`]), and what can be said
/// for an address is at [`IntoEndpoints`]. The handler may return nothing, or a `Result`.
///
/// ```
/// use greenlet_net::{TcpStream, server::StreamServer};
/// use std::io::{Read, Write, copy};
/// use std::net::{Shutdown, SocketAddr};
/// use std::time::Duration;
///
/// fn echo(stream: TcpStream, _peer: SocketAddr) -> std::io::Result<u64> {
///     copy(&mut &stream, &mut &stream)
/// }
///
/// let server = StreamServer::new("127.0.0.1:0", echo).limit(1000);
/// server.start()?;
///
/// let mut stream = TcpStream::connect(server.local_addr()?)?;
/// stream.write_all(b"hello")?;
/// stream.shutdown(Shutdown::Write)?;
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello");
///
/// let stopped = server.stop(Duration::from_secs(5));
/// assert_eq!(stopped.killed, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # The end of a connection
///
/// It is closed when the handler ends: when it returns, fails, panics or is killed, and also if somebody else has a clone of the stream by then. So
/// a handler that gives its stream to another greenlet waits for that one. An `Err` is reported at level `WARN` with the peer's address; a panic as
/// all failures of greenlets, in a greenlet whose name has the peer's address. Other connections do not notice.
///
/// # Too many
///
/// - With a [`limit`](StreamServer::limit) (or a [`pool`](StreamServer::pool)) nothing is accepted while so many handlers are at work: clients wait in the
///   backlog of the system, connected and unanswered, and are served in their turn.
/// - When the system is short of descriptors or memory (`EMFILE`, `ENFILE`, `ENOBUFS`), the server warns once, pauses, and tries again: when one of its
///   connections has ended, at the latest after 10 ms, then 20 ms, up to one second ([`pauses`](StreamServer::pauses)).
/// - Connections that were aborted before they were accepted are skipped.
/// - When the listener itself fails, the server closes, and [`serve_forever`](StreamServer::serve_forever) returns the error.
///
/// # The end of the server
///
/// [`Handle::stop`] closes it, waits for the handlers and kills those that are left; [`Handle::close`] lets them go on; dropping it closes it. Both are
/// there on the server itself, and on [`handle`](StreamServer::handle), which any thread may hold. With
/// [`shutdown_on`](greenlet_core::signal::shutdown_on) a program ends in good order on Ctrl-C: `serve_forever` is unwound and stops the server on its way.
///
/// ```no_run
/// use greenlet_core::signal::{self, SIGINT, SIGTERM};
/// use greenlet_net::{TcpStream, server::StreamServer};
/// use std::time::Duration;
///
/// let program = signal::shutdown_on([SIGINT, SIGTERM])?;
/// let ended = program.run(|| {
///     let server = StreamServer::new(":7000", |_stream: TcpStream, _peer| { /* ... */ });
///     server.grace(Duration::from_secs(10)).serve_forever() // handlers have ten seconds from Ctrl-C on
/// });
/// match ended {
///     Ok(failed) => failed?,
///     Err(shutdown) => shutdown.exit(),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it serves when it is started"]
pub struct StreamServer {
    engine: Engine<Connections>,
    options: ListenSettings,
    has_backlog: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    kinds: Kinds,
    endpoints: RefCell<io::Result<Endpoints>>,
}

/// A handler of connections, with the type of its stream taken out.
fn take<S: Accepted, R: Outcome + 'static>(
    handler: impl Fn(S, S::Peer) -> R,
) -> impl Fn(Connection) -> Result<(), BoxError> {
    move |connection| match S::take(connection) {
        Some((stream, peer)) => handler(stream, peer).into_result(),
        None => unreachable!("the server listens only for what its handler takes"),
    }
}

impl StreamServer {
    /// A server that will listen there and call the handler in greenlets of this thread's hub. Nothing is looked up or bound yet, and what is wrong with
    /// the address is said by [`start`](StreamServer::start).
    #[track_caller]
    pub fn new<S, R>(
        listen_on: impl IntoEndpoints,
        handler: impl Fn(S, S::Peer) -> R + 'static,
    ) -> StreamServer
    where
        S: Accepted,
        R: Outcome + 'static,
    {
        let handler = Handler::Local(Rc::new(take(handler)));
        StreamServer::with(None, listen_on.into_endpoints(), S::KINDS, handler)
    }

    /// A server on so many hub threads of its own, to use that many cores: each has a listener of its own on the same address (`SO_REUSEPORT`), and
    /// serves what it accepts. The thread that makes the server accepts nothing.
    ///
    /// The system spreads TCP connections over the hubs by a hash of both addresses: evenly over many clients, by chance over a few, and a hub that is
    /// busy gets its share as the others do. Sockets that listen already and Unix sockets cannot be multiplied: the hubs accept from the same one, and
    /// whoever is first gets the connection, so that idle hubs get more. A [`limit`](StreamServer::limit) counts for all hubs together.
    ///
    /// Since every listener asks for `SO_REUSEPORT`, a second server of the same user on the same address is not refused: both get connections.
    ///
    /// ```
    /// use greenlet_core::Hub;
    /// use greenlet_net::{TcpStream, server::StreamServer};
    /// use std::io::Write;
    /// use std::time::Duration;
    ///
    /// let server = StreamServer::on_hubs(2, "127.0.0.1:0", |mut stream: TcpStream, _peer| {
    ///     writeln!(stream, "this is {}", Hub::current().name())
    /// });
    /// server.start()?;
    /// let answer = std::io::read_to_string(TcpStream::connect(server.local_addr()?)?)?;
    /// assert!(["this is server-1\n", "this is server-2\n"].contains(&answer.as_str()));
    /// server.stop(Duration::from_secs(5));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn on_hubs<S, R>(
        hubs: usize,
        listen_on: impl IntoEndpoints,
        handler: impl Fn(S, S::Peer) -> R + Send + Sync + 'static,
    ) -> StreamServer
    where
        S: Accepted,
        R: Outcome + 'static,
    {
        let handler = Handler::Shared(Arc::new(take(handler)));
        StreamServer::with(Some(hubs), listen_on.into_endpoints(), S::KINDS, handler)
    }

    /// A server that makes no greenlets: `take` gets each connection in the greenlet that accepts, and decides who serves it, for example a task of an
    /// [`Executor`](greenlet_core::future::Executor), or a greenlet of a hub that it chooses.
    ///
    /// `take` must not wait, since nothing is accepted meanwhile. While what it gets is there ([`Admitted`], or its [`Admission`](super::Admission)), the connection counts
    /// for the limits and is waited for by [`Handle::stop`], which at the end of its grace closes the connection, so that whoever serves it gets an
    /// error of kind `NotConnected`.
    ///
    /// ```
    /// use greenlet_core::spawn;
    /// use greenlet_net::{TcpStream, server::{Admitted, StreamServer}};
    /// use std::io::{Write, read_to_string};
    ///
    /// let server = StreamServer::taking_over("127.0.0.1:0", |mut admitted: Admitted<TcpStream>| {
    ///     spawn(move || {
    ///         let peer = *admitted.peer();
    ///         let _ = writeln!(admitted, "hello, {peer}");
    ///     }); // closed here, where `admitted` is dropped
    /// });
    /// server.start()?;
    /// let answer = read_to_string(TcpStream::connect(server.local_addr()?)?)?;
    /// assert!(answer.starts_with("hello, 127.0.0.1:"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn taking_over<S: Accepted>(
        listen_on: impl IntoEndpoints,
        take: impl Fn(Admitted<S>) + 'static,
    ) -> StreamServer {
        let taker = move |connection, place| take(Admitted::new(connection, place));
        StreamServer::with(None, listen_on.into_endpoints(), S::KINDS, Handler::Taker(Rc::new(taker)))
    }

    /// [`taking_over`](StreamServer::taking_over) on hub threads, as [`on_hubs`](StreamServer::on_hubs). `make` is called on each hub, once for each address and
    /// each [start](StreamServer::start_accepting): what it makes stays on that hub, and need not be `Send`.
    #[track_caller]
    pub fn taking_over_on_hubs<S: Accepted, T: Fn(Admitted<S>) + 'static>(
        hubs: usize,
        listen_on: impl IntoEndpoints,
        make: impl Fn() -> T + Send + Sync + 'static,
    ) -> StreamServer {
        let makes = move || -> Taker<Connection> {
            let take = make();
            Rc::new(move |connection, place| take(Admitted::new(connection, place)))
        };
        let handler = Handler::Takers(Arc::new(makes));
        StreamServer::with(Some(hubs), listen_on.into_endpoints(), S::KINDS, handler)
    }

    #[track_caller]
    fn with(
        hubs: Option<usize>,
        endpoints: io::Result<Endpoints>,
        kinds: Kinds,
        handler: Handler<Connection>,
    ) -> StreamServer {
        StreamServer {
            engine: Engine::new(hubs, Settings::new(Location::caller()), handler),
            options: ListenSettings {
                tcp: ListenOptions::new(),
                unix: UnixListenOptions::new().replace_stale(true).remove_on_drop(true),
            },
            has_backlog: false,
            read_timeout: None,
            write_timeout: None,
            kinds,
            endpoints: RefCell::new(endpoints),
        }
    }

    // --- settings ----------------------------------------------------------------------------------------------

    /// How many handlers may be at work at once; further connections wait in the backlog. Default: no limit. With 0 nothing is ever accepted.
    pub fn limit(mut self, handlers: usize) -> StreamServer {
        self.engine.settings.limit = Some(handlers);
        self
    }

    /// Handlers are members of this pool, and nothing is accepted while it is full. It may have other members, and it is how several servers have one
    /// limit. Takes the place of a [`limit`](StreamServer::limit). A server [on hub threads](StreamServer::on_hubs) takes none.
    pub fn pool(mut self, pool: &Pool) -> StreamServer {
        self.engine.pool = Some(pool.clone());
        self
    }

    /// How many handlers may be at work for one IP address; further connections from there are closed at once, and counted as
    /// [refused](super::Counts::refused). Default: no limit. Does not concern Unix sockets.
    pub fn limit_per_ip(mut self, handlers: u32) -> StreamServer {
        self.engine.settings.limit_per_ip = Some(handlers);
        self
    }

    /// How many connections may wait in the system to be accepted. Default: 1024. The system has its own limit on top.
    ///
    /// Not for a socket that listens already: [`start`](StreamServer::start) refuses that with `InvalidInput`.
    pub fn backlog(mut self, connections: u32) -> StreamServer {
        self.options.tcp = self.options.tcp.backlog(connections);
        self.options.unix = self.options.unix.backlog(connections);
        self.has_backlog = true;
        self
    }

    /// The permissions of the file of a Unix socket: see [`UnixListenOptions::mode`]. Default: all, less the umask.
    #[cfg(target_os = "linux")]
    pub fn unix_mode(mut self, mode: u32) -> StreamServer {
        self.options.unix = self.options.unix.mode(mode);
        self
    }

    /// The name of the server in reports, from which its greenlets get theirs: `name 127.0.0.1:4711` for a connection.
    pub fn name(mut self, name: impl Into<String>) -> StreamServer {
        self.engine.settings.name = Some(name.into().into());
        self
    }

    /// The stack of the greenlets in which handlers run. Default: what the hub has.
    pub fn stack_size(mut self, size: StackSize) -> StreamServer {
        self.engine.settings.stack_size = Some(size);
        self
    }

    /// The read timeout that accepted streams begin with. Default: none. A client that sends nothing for so long ends its handler with `TimedOut`, if the
    /// handler passes errors on.
    pub fn read_timeout(mut self, timeout: Duration) -> StreamServer {
        self.read_timeout = Some(timeout);
        self
    }

    /// The write timeout that accepted streams begin with. Default: none.
    pub fn write_timeout(mut self, timeout: Duration) -> StreamServer {
        self.write_timeout = Some(timeout);
        self
    }

    /// How long to pause when the system cannot give a connection: first so long, then twice as long each time, up to the longest. Defaults: 10 ms and
    /// one second.
    pub fn pauses(mut self, first: Duration, longest: Duration) -> StreamServer {
        self.engine.settings.first_pause = first;
        self.engine.settings.longest_pause = longest;
        self
    }

    /// How many connections may be accepted in a row before others run. Default: 100; above 32 it makes no difference, since sockets let others run
    /// every 32 calls.
    pub fn max_accept(mut self, connections: u32) -> StreamServer {
        self.engine.settings.max_accept = connections.max(1);
        self
    }

    /// How long handlers may go on when [`serve_forever`](StreamServer::serve_forever) is unwound. Default: one second.
    pub fn grace(mut self, grace: Duration) -> StreamServer {
        self.engine.settings.grace = grace;
        self
    }

    // --- life --------------------------------------------------------------------------------------------------

    /// Binds and listens, and does not accept yet: clients that connect wait. Does nothing if it is bound already.
    ///
    /// Suspends the greenlet while a host name is looked up, and only then. A kill or timeout unwinds it from there; the server is closed then.
    ///
    /// # Errors
    /// - What is wrong with the address: `InvalidInput`.
    /// - What the system said, with the address.
    /// - `NotConnected` if the server was closed. After an error it is.
    pub fn bind(&self) -> io::Result<()> {
        self.engine.bind(|hubs| self.listen(hubs))
    }

    fn listen(&self, hubs: usize) -> io::Result<Sockets<Connections>> {
        for timeout in [self.read_timeout, self.write_timeout].into_iter().flatten() {
            crate::timeout::refuse_zero(timeout)?;
        }
        let none = Ok(Endpoints(Vec::new()));
        let Endpoints(endpoints) = mem::replace(&mut *self.endpoints.borrow_mut(), none)?;
        let mut options = self.options.clone();
        options.tcp = options.tcp.reuse_port(hubs > 1);
        let mut sockets = Sockets { of_hubs: Vec::new(), addresses: Vec::new() };
        sockets.of_hubs.resize_with(hubs, Vec::new);
        for endpoint in endpoints {
            if self.has_backlog && endpoint.is_ready() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("a backlog for {endpoint}, which listens already"),
                ));
            }
            let listeners = Listener::listen(endpoint, self.kinds, &options, hubs)?;
            sockets.addresses.push(listeners[0].local_address()?);
            for (hub, listener) in sockets.of_hubs.iter_mut().zip(listeners) {
                let (read_timeout, write_timeout) = (self.read_timeout, self.write_timeout);
                hub.push(Connections { listener, read_timeout, write_timeout });
            }
        }
        Ok(sockets)
    }

    /// [Binds](StreamServer::bind), if that is still to be done, and begins to accept. Does nothing if it accepts already.
    ///
    /// The first connections are accepted when the caller waits.
    ///
    /// # Errors
    /// As [`bind`](StreamServer::bind).
    pub fn start(&self) -> io::Result<()> {
        self.bind()?;
        self.start_accepting()
    }

    /// Accepts again after [`stop_accepting`](StreamServer::stop_accepting), what waits in the backlog first.
    ///
    /// # Errors
    /// `NotConnected` if the server is not bound, or was closed.
    pub fn start_accepting(&self) -> io::Result<()> {
        self.engine.start_accepting()
    }

    /// Accepts nothing for the time being: clients that connect wait in the backlog. Handlers at work go on. No connection is lost.
    ///
    /// Suspends for a turn of the loop.
    pub fn stop_accepting(&self) {
        self.engine.stop_accepting();
    }

    /// [Starts](StreamServer::start) the server if that is still to be done, and waits until it is closed; if by [`Handle::stop`], until that is over.
    /// Returns at once if it was closed already after it was bound.
    ///
    /// When it is unwound (a kill, a timeout, Ctrl-C by way of [`shutdown_on`](greenlet_core::signal::shutdown_on)), it stops the server on its way, with the
    /// [grace](StreamServer::grace) that was set.
    ///
    /// # Errors
    /// As [`start`](StreamServer::start), and what the server failed with, if it closed itself.
    pub fn serve_forever(&self) -> io::Result<()> {
        self.engine.serve_forever(|| self.start())
    }

    /// A handle for other threads, and for handlers.
    pub fn handle(&self) -> Handle {
        self.engine.handle.clone()
    }
}

/// Ending it, and looking at it.
impl Deref for StreamServer {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.engine.handle
    }
}

/// As its [`Handle`], after its name.
impl fmt::Display for StreamServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {}",
            self.engine.settings.name.as_deref().unwrap_or("StreamServer"),
            self.engine.handle
        )
    }
}

impl fmt::Debug for StreamServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamServer").field("handle", &self.engine.handle).finish_non_exhaustive()
    }
}
