//! The server: settings, start, stop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenlet_core::{Builder, Event, Greenlet, GreenletRef, sleep};

use super::Handler;
use super::serving::Serving;
use super::settings::{AccessLog, Settings};
use crate::TcpListener;

/// Serves HTTP/1.1 and HTTP/1.0, each request in a greenlet of its own.
#[derive(Debug)]
#[must_use = "it serves when it is started"]
pub struct Server<H> {
    handler: Arc<H>,
    settings: Settings,
}

impl<H: Handler> Server<H> {
    /// A server that has `handler` answer requests: a function of a [`Request`](super::Request) (closures have to say that type), or a
    /// [`Router`](super::Router).
    pub fn new(handler: H) -> Server<H> {
        Server { handler: Arc::new(handler), settings: Settings::default() }
    }

    /// Serves the connections of this listener, on this hub. Does not suspend.
    ///
    /// # Errors
    /// What the system says to being asked for the address.
    pub fn start(self, listener: TcpListener) -> io::Result<RunningServer> {
        let control = Arc::new(Control {
            address: listener.local_addr()?,
            stopping: Event::new(),
            grace: Mutex::new(Duration::ZERO),
            ended: Event::new(),
            killed: Mutex::new(0),
        });
        let serving = Serving::new(self.handler, &self.settings);
        let keeper = Builder::new().name("http server").spawn({
            let control = control.clone();
            move || keep(&serving, &listener, &control)
        });
        Ok(RunningServer { control, keeper: (*keeper).clone() })
    }

    /// Serves the connections of this listener, on this hub, until it is killed: then the connections end and their handlers are killed.
    ///
    /// # Errors
    /// As [`start`](Server::start).
    pub fn serve(self, listener: TcpListener) -> io::Result<()> {
        let server = self.start(listener)?;
        server.join();
        Ok(())
    }
}

/// Accepts until it is told to stop, then sees the connections to their end.
fn keep<H: Handler>(serving: &Rc<Serving<H>>, listener: &TcpListener, control: &Control) {
    /// However it ends.
    struct Ended<'a, H: Handler> {
        serving: &'a Serving<H>,
        acceptor: Greenlet<()>,
        listener: &'a TcpListener,
        control: &'a Control,
    }
    impl<H: Handler> Drop for Ended<'_, H> {
        fn drop(&mut self) {
            self.listener.close();
            *self.control.killed.lock().unwrap_or_else(PoisonError::into_inner) = self.serving.count();
            self.serving.give_up();
            self.control.ended.set();
        }
    }
    let acceptor = Builder::new().name("http accept").spawn({
        let (serving, listener) = (serving.clone(), listener.try_clone().expect("never fails"));
        move || accept(&serving, &listener)
    });
    let ended = Ended { serving, acceptor, listener, control };
    control.stopping.wait();
    listener.close();
    ended.acceptor.join();
    serving.finish();
    let grace = *control.grace.lock().unwrap_or_else(PoisonError::into_inner);
    serving.drain(grace);
    drop(ended);
}

/// The system is short of descriptors, or the like: it may get better.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn accept<H: Handler>(serving: &Rc<Serving<H>>, listener: &TcpListener) {
    let mut pause = FIRST_PAUSE;
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                pause = FIRST_PAUSE;
                // It fails for those that have gone already.
                let _ = stream.set_nodelay(true);
                serving.serve(stream, false);
                serving.wait_below(serving.settings.max_connections);
            }
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!(target: "greenlet_net::http", "cannot accept connections: {error}; trying again");
                }
                sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

struct Control {
    address: SocketAddr,
    stopping: Event,
    grace: Mutex<Duration>,
    ended: Event,
    /// Connections that had not ended in time.
    killed: Mutex<usize>,
}

/// A [`Server`] at work. Dropping it has it accept nothing more, answer the requests that have come, and end.
///
/// It may be used from any thread.
#[must_use = "dropping it ends the server"]
pub struct RunningServer {
    control: Arc<Control>,
    keeper: GreenletRef,
}

impl RunningServer {
    /// The address that it listens on.
    ///
    /// # Errors
    /// None today.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.control.address)
    }

    /// Accepts nothing more, answers the requests that have come, closes the connections, and waits for all that for as long as `grace`.
    /// Then connections that are left are closed and their handlers killed. Returns how many these were.
    ///
    /// Suspends the greenlet, or blocks a thread that has none. A second call waits for the same end.
    pub fn stop(&self, grace: Duration) -> usize {
        self.begin_stop(grace);
        self.join();
        *self.control.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_stop(&self, grace: Duration) {
        let mut longest = self.control.grace.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.control.stopping.is_set() {
            *longest = grace;
        }
        drop(longest);
        self.control.stopping.set();
    }

    /// Waits until the server has ended. Suspends the greenlet, or blocks a thread that has none; when it is killed here, the server ends at
    /// once.
    pub fn join(&self) {
        struct Killed<'a>(&'a RunningServer);
        impl Drop for Killed<'_> {
            fn drop(&mut self) {
                if !self.0.control.ended.is_set() {
                    self.0.begin_stop(Duration::ZERO);
                }
            }
        }
        let _killed = Killed(self);
        self.control.ended.wait();
        self.keeper.join();
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.begin_stop(Duration::MAX);
    }
}

impl fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningServer")
            .field("address", &self.control.address)
            .field("ended", &self.control.ended.is_set())
            .finish()
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
    /// How long a client may take nothing of a response that waits for it; 60 s by default. Then the connection is closed.
    write_timeout: Option<Duration> => write_timeout,
    /// How many requests a connection may have; no limit by default. The last response says `Connection: close`.
    max_requests: Option<u32> => max_requests,
    /// How many connections there may be at a time on one hub; no limit by default. While there are as many none is accepted: clients wait in the backlog of
    /// the system.
    max_connections: usize => max_connections,
    /// How many requests may be answered at a time on one hub; no limit by default. More wait, before their handlers are called, in the order in which they came.
    max_concurrent: usize => max_concurrent,
    /// What is logged of each request, at level `INFO` with the target `greenlet_net::http::access`; the common format by default.
    access_log: AccessLog => access_log,
}

/// What becomes of a handler whose client has gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Disconnected {
    /// It goes on, and finds out when it writes. A client that only ends its half of the connection gets its response.
    #[default]
    GoOn,
    /// It is killed. So is that of a client that ends its half of the connection.
    Kill,
}

impl<H: Handler> Server<H> {
    /// What becomes of a handler whose client has gone; it goes on by default.
    pub fn disconnected(mut self, what: Disconnected) -> Server<H> {
        self.settings.kill_on_disconnect = what == Disconnected::Kill;
        self
    }
}
