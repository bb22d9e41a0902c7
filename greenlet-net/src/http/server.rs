//! The server: settings, start, stop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenlet_core::{Builder, Event, select};

use super::Handler;
use super::serving::Serving;
use super::settings::{AccessLog, Disconnected, Settings};
use crate::server::{Admission, Admitted, Connection, Counts, Handle, IntoEndpoints, Stopped, StreamServer};
use crate::{Address, Stream};

/// Serves HTTP/1.1 and HTTP/1.0 (with the feature `http2` also HTTP/2), each request in a greenlet of its own.
///
/// Where to listen can be said in [many ways](IntoEndpoints): `":8000"`, a port, `"unix:/run/app.sock"`, a [`TcpListener`](crate::TcpListener) or
/// [`UnixListener`](crate::UnixListener), several of these.
///
/// ```no_run
/// use greenlet_net::http::{Request, Server};
///
/// Server::new(|request: Request| format!("hello, {}", request.uri().path())).serve("127.0.0.1:8000")?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # What goes wrong
///
/// | | |
/// |---|---|
/// | a request that is no HTTP, or breaks its rules | `400`, the end of the connection, and a line at level `WARN` |
/// | more than a [limit](#limits) | `413`, `414`, `431`, and the end of the connection |
/// | too slow | `408` before the request is there; the end of the connection, or an error of what reads and writes, after |
/// | a handler that panics or is killed | `500`, the end of the connection; reported as of every greenlet |
/// | a body that fails halfway | the end of the connection, which the client sees as such; reported |
/// | a client that goes away | an error of what reads and writes; not reported |
///
/// # Limits
///
/// Every setting below that has a default is one. Times are kept with a precision of an eighth of the shortest of them, up to a quarter of a second.
#[must_use = "it serves when it is started"]
pub struct Server<H> {
    handler: Arc<H>,
    settings: Settings,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::TlsAcceptor>,
}

impl<H: Handler> Server<H> {
    /// A server that has `handler` answer requests: a function of a [`Request`](super::Request) (closures have to say that type), or a
    /// [`Router`](super::Router).
    pub fn new(handler: H) -> Server<H> {
        Server {
            handler: Arc::new(handler),
            settings: Settings::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Serves TLS: `https`. For HTTP/2 in it, the acceptor offers the protocols `h2` and `http/1.1` ([`alpn`](crate::tls::TlsAcceptorBuilder::alpn)).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, acceptor: crate::tls::TlsAcceptor) -> Server<H> {
        self.tls = Some(acceptor);
        self
    }

    /// Starts serving on this hub. Does not suspend.
    ///
    /// # Errors
    /// What is wrong with the address, or what the system says to listening there.
    pub fn start(self, listen_on: impl IntoEndpoints) -> io::Result<RunningServer> {
        let control = Arc::new(Control::new(self.settings.grace));
        let ways = self.ways(&control);
        let take = ways.take();
        let server = StreamServer::taking_over(listen_on, take);
        begin(server, control, &self.settings)
    }

    /// Starts serving on so many hub threads of its own, which share the connections (`SO_REUSEPORT`); the calling thread only waits.
    ///
    /// # Errors
    /// As [`start`](Server::start), and `InvalidInput` for no hubs.
    pub fn start_on_hubs(self, hubs: usize, listen_on: impl IntoEndpoints) -> io::Result<RunningServer>
    where
        H: Send + Sync,
    {
        let control = Arc::new(Control::new(self.settings.grace));
        let ways = self.ways(&control);
        let server = StreamServer::taking_over_on_hubs(hubs, listen_on, move || ways.take());
        begin(server, control, &self.settings)
    }

    /// Serves on this hub until it is killed: then it stops, with its [grace](Server::grace).
    ///
    /// # Errors
    /// As [`start`](Server::start); what the listener failed with.
    pub fn serve(self, listen_on: impl IntoEndpoints) -> io::Result<()> {
        self.start(listen_on)?.server.serve_forever()
    }

    /// Serves on so many hubs until it is killed: then it stops, with its [grace](Server::grace).
    ///
    /// # Errors
    /// As [`start_on_hubs`](Server::start_on_hubs); what the listener failed with.
    pub fn serve_on_hubs(self, hubs: usize, listen_on: impl IntoEndpoints) -> io::Result<()>
    where
        H: Send + Sync,
    {
        self.start_on_hubs(hubs, listen_on)?.server.serve_forever()
    }

    fn ways(&self, control: &Arc<Control>) -> Ways<H> {
        Ways {
            handler: self.handler.clone(),
            settings: self.settings.clone(),
            control: control.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        }
    }
}

fn begin(server: StreamServer, control: Arc<Control>, settings: &Settings) -> io::Result<RunningServer> {
    let mut server = server.name("http").grace(settings.grace);
    if settings.max_connections < usize::MAX {
        server = server.limit(settings.max_connections);
    }
    if let Some(limit) = settings.max_per_ip {
        server = server.limit_per_ip(limit);
    }
    #[cfg(target_os = "linux")]
    if let Some(mode) = settings.unix_mode {
        server = server.unix_mode(mode);
    }
    let handle = server.handle();
    let _ = control.handle.set(handle);
    server.start()?;
    Ok(RunningServer { server, control })
}

/// What each hub needs to serve.
struct Ways<H> {
    handler: Arc<H>,
    settings: Settings,
    control: Arc<Control>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::TlsAcceptor>,
}

impl<H: Handler> Ways<H> {
    /// On the hub that serves: what takes connections over.
    fn take(&self) -> impl Fn(Admitted<Connection>) + use<H> {
        let serving = Serving::new(self.handler.clone(), &self.settings);
        keep(&serving, &self.control);
        let taker = Taker {
            serving,
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        };
        move |admitted| {
            let (connection, _, admission) = admitted.into_parts();
            match connection {
                Connection::Tcp(stream, _) => {
                    // It fails for those that have gone already.
                    let _ = stream.set_nodelay(true);
                    taker.take_over(stream, admission);
                }
                Connection::Unix(stream, _) => taker.take_over(stream, admission),
            }
        }
    }
}

/// Takes connections over, on one hub.
struct Taker<H> {
    serving: Rc<Serving<H>>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::TlsAcceptor>,
}

impl<H: Handler> Taker<H> {
    /// Does not suspend.
    fn take_over<S: Stream>(&self, stream: S, admission: Admission) {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            let serving = self.serving.clone();
            Builder::new().name("tls handshake").spawn(move || match tls.accept(stream) {
                Ok(stream) => serving.serve(stream, true, admission),
                Err(error) => tracing::debug!(target: "greenlet_net::http", "no TLS session: {error}"),
            });
            return;
        }
        self.serving.serve(stream, false, admission);
    }
}

/// A greenlet that sees the connections of a hub to their end.
fn keep<H: Handler>(serving: &Rc<Serving<H>>, control: &Arc<Control>) {
    /// However it ends.
    struct Ended<H: Handler> {
        serving: Rc<Serving<H>>,
        control: Arc<Control>,
    }
    impl<H: Handler> Drop for Ended<H> {
        fn drop(&mut self) {
            self.serving.give_up();
            if self.control.keepers.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.control.ended.set();
            }
        }
    }
    control.keepers.fetch_add(1, Ordering::AcqRel);
    let ended = Ended { serving: serving.clone(), control: control.clone() };
    Builder::new().name("http keeper").spawn(move || {
        let Ended { serving, control } = &ended;
        control.wait_until_closing();
        serving.finish();
        serving.drain(control.grace());
        drop(ended);
    });
}

/// What the parts of a server share, whatever hub they are on.
struct Control {
    /// The server accepts nothing more, whether it is stopped or was dropped.
    closing: Event,
    grace: Mutex<Duration>,
    keepers: AtomicUsize,
    ended: Event,
    handle: std::sync::OnceLock<Handle>,
}

impl Control {
    fn new(grace: Duration) -> Control {
        Control {
            closing: Event::new(),
            grace: Mutex::new(grace),
            keepers: AtomicUsize::new(0),
            ended: Event::new(),
            handle: std::sync::OnceLock::new(),
        }
    }

    fn grace(&self) -> Duration {
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, grace: Duration) {
        if !self.closing.is_set() {
            *self.grace.lock().unwrap_or_else(PoisonError::into_inner) = grace;
        }
        self.closing.set();
    }

    fn wait_until_closing(&self) {
        // Set before the server starts, so before any greenlet of its runs.
        let Some(handle) = self.handle.get() else { return self.closing.wait() };
        let stopping = handle.stopping();
        select! {
            () = self.closing.wait_op() => {},
            () = stopping.wait_op() => {},
        }
    }
}

/// A [`Server`] at work. Dropping it has it accept nothing more, answer the requests that have come, and end.
#[must_use = "dropping it ends the server"]
pub struct RunningServer {
    server: StreamServer,
    control: Arc<Control>,
}

impl RunningServer {
    /// The address that it listens on; the first one if there are several. Unix sockets have theirs among [all](RunningServer::local_addresses).
    ///
    /// # Errors
    /// What the system says; `Unsupported` for an address that is none of IP.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// All addresses that it listens on.
    pub fn local_addresses(&self) -> Vec<Address> {
        self.server.local_addresses()
    }

    /// How many connections it has had, and has.
    pub fn counts(&self) -> Counts {
        self.server.counts()
    }

    /// Accepts nothing more, answers the requests that have come, closes the connections, and waits for all that for as long as `grace`.
    /// Then connections that are left are closed and their handlers killed. What is returned counts connections.
    ///
    /// Suspends the greenlet, or blocks a thread that has none. A second call waits for the same end.
    pub fn stop(&self, grace: Duration) -> Stopped {
        self.control.close(grace);
        self.server.stop(grace)
    }

    /// Waits for the end of the server; when it is killed here, the server stops, with its [grace](Server::grace).
    ///
    /// # Errors
    /// What the listener failed with.
    pub fn serve_forever(&self) -> io::Result<()> {
        self.server.serve_forever()
    }

    /// Waits until the server has ended. Suspends the greenlet, or blocks a thread that has none.
    pub fn join(&self) {
        self.control.ended.wait();
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.control.close(Duration::MAX);
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer")
            .field("addresses", &self.local_addresses())
            .field("ended", &self.control.ended.is_set())
            .finish()
    }
}

impl<H> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $field:ident,)*) => {
        impl<H: Handler> Server<H> {
            $($(#[$doc])*
            pub fn $name(mut self, $field: $type) -> Server<H> {
                self.settings.$field = $field;
                self
            })*
        }
    };
}

limits! {
    /// How many headers a request may have; 100 by default. One with more gets a `431`.
    max_headers: usize => max_headers,
    /// How many bytes a request may have before its body; 64 KiB by default. One with more gets a `431`. It also bounds what of a response
    /// waits for the client.
    max_header_bytes: usize => max_header_bytes,
    /// How long the path and query of a request may be, in bytes; 8192 by default. A longer one gets a `414`.
    max_uri: usize => max_uri,
    /// How many bytes the body of a request may have; 16 MiB by default. One that says it has more gets a `413`; one that turns out to have
    /// more fails at the [read](super::Body#impl-Read-for-Body) that finds out.
    max_body: u64 => max_body,
    /// How much of a body that a handler does not read is read and thrown away, to use the connection again; 256 KiB by default. Where
    /// there is more, the connection ends with the response.
    discard: u64 => discard,
    /// How long the head of a request may take from its first byte; 30 s by default. Then the client gets a `408`.
    header_timeout: Option<Duration> => header_timeout,
    /// How long a connection may wait for its next, or first, request; 75 s by default. Then it is closed.
    keep_alive: Option<Duration> => keep_alive,
    /// How long a request may take from its head to the end of its response; no limit by default. Then its handler is killed: the client
    /// gets a `503`, or if it has a part of the response already, the end of the connection.
    request_timeout: Option<Duration> => request_timeout,
    /// How long a read of a request's body may wait; 30 s by default. Then it fails with `TimedOut`.
    body_timeout: Option<Duration> => body_timeout,
    /// How long a client may take nothing of a response that waits for it, in HTTP/2 of any of the responses; 60 s by default. Then the connection is closed.
    write_timeout: Option<Duration> => write_timeout,
    /// How many requests a connection may have; no limit by default. The last response says `Connection: close`.
    max_requests: Option<u32> => max_requests,
    /// How many connections there may be at a time, on all hubs together; no limit by default. While there are as many none is accepted: clients
    /// wait in the backlog of the system.
    max_connections: usize => max_connections,
    /// How many connections there may be at a time from one IP address; no limit by default. More are closed at once. Does not concern Unix
    /// sockets.
    max_per_ip: Option<u32> => max_per_ip,
    /// How long requests in flight may take when [`serve`](Server::serve) is killed; 1 s by default.
    grace: Duration => grace,
    /// How many requests may be answered at a time on one hub; no limit by default. More wait, before their handlers are called, in the order in which they came.
    max_concurrent: usize => max_concurrent,
    /// What is logged of each request, at level `INFO` with the target `greenlet_net::http::access`; the common format by default.
    access_log: AccessLog => access_log,
}

impl<H: Handler> Server<H> {
    /// The permissions of the files of Unix sockets that it makes: see [`UnixListenOptions::mode`](crate::UnixListenOptions::mode). All, less the
    /// umask, by default: whoever may get at the file may connect.
    #[cfg(target_os = "linux")]
    pub fn unix_mode(mut self, mode: u32) -> Server<H> {
        self.settings.unix_mode = Some(mode);
        self
    }
}

impl<H: Handler> Server<H> {
    /// What becomes of a handler whose client has gone; it goes on by default.
    pub fn disconnected(mut self, what: Disconnected) -> Server<H> {
        self.settings.disconnected = what;
        self
    }
}
