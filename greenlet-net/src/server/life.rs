//! The life of a server, as all threads see it: what it listens on, who is at work, how it ends.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::{Event, GreenletRef, HubThread, Instant, Kill, killall_with};

use super::counts::{Counters, Counts};
use super::settings::{GRACE, Place};
use crate::Address;

/// Something that a server gets its work from: a listener, a socket of datagrams.
pub(super) trait Door: Send + Sync {
    /// Lets nobody in any more. What was let in is not affected.
    fn shut(&self);
}

/// What all parts of a server share.
#[derive(Default)]
pub(super) struct Life {
    state: Mutex<State>,
    pub(super) counters: Counters,
    /// Set for good when the server closes.
    closed: Event,
    /// Set when a `stop` has begun: for handlers that go on for as long as their peer does.
    stopping: Arc<Event>,
    /// Set when the last handler of a closed server has ended.
    drained: Event,
    /// Set when the last `stop` under way is over.
    stopped: Event,
    /// Set when the hub threads have ended, if there were any.
    threads_ended: Event,
    /// Set when a connection has ended and somebody [pauses](Life::pause) for want of descriptors.
    freed: Event,
}

#[derive(Default)]
struct State {
    phase: Phase,
    /// It was bound at some time, if only for a moment.
    was_bound: bool,
    /// How many wait in [`Life::pause`].
    pausing: usize,
    /// How many `stop`s are under way.
    stops: usize,
    /// Until it closes.
    doors: Vec<Arc<dyn Door>>,
    addresses: Vec<Address>,
    /// The greenlets that take in what comes through the doors, while the server accepts.
    acceptors: Vec<GreenletRef>,
    /// What is at work, by number.
    live: HashMap<u64, AtWork>,
    by_ip: HashMap<IpAddr, u32>,
    threads: Vec<HubThread>,
    /// Why it closed, if nobody asked for it.
    failure: Option<io::Error>,
}

/// How to end what is at work.
pub(super) enum AtWork {
    /// By a kill.
    Greenlet(GreenletRef),
    /// By closing its connection, which is what this does, once: somebody took it over.
    TakenOver(Option<Box<dyn FnOnce() + Send>>),
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Phase {
    #[default]
    New,
    Bound,
    Closed,
}

/// How a server came to its end: see [`Handle::stop`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stopped {
    /// Handlers that ended by themselves within the grace.
    pub finished: usize,
    /// Handlers that were killed after it, and have ended.
    pub killed: usize,
    /// Handlers that were killed and have not ended: they catch the kill, or compute. They are left to themselves.
    pub left: usize,
}

/// `3 finished, 1 killed`, and `, 1 left` where there are such.
impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stopped { finished, killed, left } = self;
        write!(f, "{finished} finished, {killed} killed")?;
        if *left > 0 {
            write!(f, ", {left} left")?;
        }
        Ok(())
    }
}

impl Life {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics halfway through a change, or suspends.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- the beginning -----------------------------------------------------------------------------------------

    /// Whether it has its doors already.
    ///
    /// # Errors
    /// If it was closed.
    pub(super) fn is_bound(&self) -> io::Result<bool> {
        match self.state().phase {
            Phase::New => Ok(false),
            Phase::Bound => Ok(true),
            Phase::Closed => Err(was_closed()),
        }
    }

    /// Whether it came to its end after it had a beginning.
    pub(super) fn has_ended(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Closed && state.was_bound
    }

    /// From now on it owns what it listens on, and the hub threads: they end with their last handler once it is closed.
    pub(super) fn bound(
        &self,
        doors: Vec<Arc<dyn Door>>,
        addresses: Vec<Address>,
        threads: Vec<HubThread>,
    ) -> io::Result<()> {
        let mut state = self.state();
        if state.phase == Phase::Closed {
            return Err(was_closed());
        }
        *state = State {
            phase: Phase::Bound,
            was_bound: true,
            doors,
            addresses,
            threads,
            ..mem::take(&mut *state)
        };
        Ok(())
    }

    /// The greenlets that accept from now on. If it was closed meanwhile, they are killed.
    pub(super) fn accepting(&self, acceptors: Vec<GreenletRef>) {
        let mut state = self.state();
        if state.phase == Phase::Bound {
            state.acceptors.extend(acceptors);
        } else {
            drop(state);
            killall_with(acceptors, Kill::default().no_wait());
        }
    }

    pub(super) fn is_accepting(&self) -> bool {
        !self.state().acceptors.is_empty()
    }

    /// Stops accepting, until somebody [accepts](Life::accepting) again.
    pub(super) fn pause_accepting(&self) {
        let acceptors = mem::take(&mut self.state().acceptors);
        killall_with(acceptors, Kill::default());
    }

    // --- who is at work ----------------------------------------------------------------------------------------

    /// Counts one more from this address.
    ///
    /// # Errors
    /// If there are as many already as are allowed.
    pub(super) fn enter_ip(&self, ip: IpAddr, limit: u32) -> Result<(), TooMany> {
        let mut state = self.state();
        let count = state.by_ip.entry(ip).or_insert(0);
        if *count >= limit {
            return Err(TooMany);
        }
        *count += 1;
        Ok(())
    }

    /// Lets `stop` know how to end it.
    pub(super) fn enter(&self, number: u64, at_work: AtWork) {
        self.state().live.insert(number, at_work);
    }

    pub(super) fn leave_ip(&self, ip: IpAddr) {
        let mut state = self.state();
        if let Some(count) = state.by_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                state.by_ip.remove(&ip);
            }
        }
    }

    fn leave(&self, number: u64) {
        let mut state = self.state();
        let left = state.live.remove(&number);
        self.counters.ended();
        let drained = state.phase == Phase::Closed && state.live.is_empty();
        let somebody_pauses = state.pausing > 0;
        drop(state);
        drop(left);
        if drained {
            self.drained.set();
        }
        if somebody_pauses {
            self.freed.set();
        }
    }

    /// Waits for so long, or until a connection has ended, which gives descriptors back.
    pub(super) fn pause(&self, pause: Duration) {
        struct Pausing<'a>(&'a Life);
        impl Drop for Pausing<'_> {
            fn drop(&mut self) {
                self.0.state().pausing -= 1;
            }
        }
        self.freed.clear();
        self.state().pausing += 1;
        let _pausing = Pausing(self);
        self.freed.wait_timeout(pause);
    }

    // --- the end -----------------------------------------------------------------------------------------------

    /// Closes it, if it was not closed yet, and returns the greenlets that accepted: they are told to end.
    fn shut(&self, failure: Option<io::Error>) -> Vec<GreenletRef> {
        let mut state = self.state();
        if state.phase != Phase::Closed {
            state.phase = Phase::Closed;
            state.failure = failure;
        }
        let doors = mem::take(&mut state.doors);
        let acceptors = mem::take(&mut state.acceptors);
        let drained = state.live.is_empty();
        drop(state);
        doors.iter().for_each(|door| door.shut());
        drop(doors);
        // From within one of them it is at its end anyway.
        killall_with(acceptors.iter().filter(|a| !a.is_current()), Kill::default().no_wait());
        if drained {
            self.drained.set();
        }
        self.closed.set();
        acceptors
    }

    /// Closes it because of an error.
    pub(super) fn fail(self: &Arc<Life>, error: io::Error) {
        self.shut(Some(error));
        self.retire_threads();
    }

    pub(super) fn close(self: &Arc<Life>) {
        self.shut(None);
        self.retire_threads();
    }

    /// Lets the hub threads end when they have nothing left to do. Does not wait.
    fn retire_threads(self: &Arc<Life>) {
        let threads = mem::take(&mut self.state().threads);
        if threads.is_empty() {
            return;
        }
        // Their end has to be waited for by a thread, since dropping them kills what they do. Where there is no thread to be had,
        // that is what happens.
        let life = self.clone();
        let _ = std::thread::Builder::new().name("server-end".into()).spawn(move || {
            threads.into_iter().for_each(HubThread::join);
            life.threads_ended.set();
        });
    }

    fn stop(self: &Arc<Life>, grace: Duration) -> Stopped {
        struct Stopping<'a>(&'a Arc<Life>);
        impl Drop for Stopping<'_> {
            fn drop(&mut self) {
                let mut state = self.0.state();
                state.stops -= 1;
                let last = state.stops == 0;
                drop(state);
                if last {
                    self.0.stopped.set();
                }
                self.0.retire_threads();
            }
        }
        let mut state = self.state();
        state.stops += 1;
        let has_threads = !state.threads.is_empty();
        let ended_before = self.counters.read_ended();
        self.stopped.clear();
        drop(state);
        let _stopping = Stopping(self);
        self.stopping.set();

        for acceptor in self.shut(None) {
            acceptor.join(); // what one accepted last is among the living now
        }
        self.drain(grace);
        let state = self.state();
        let finished = (self.counters.read_ended() - ended_before) as usize;
        let late = state.live.len();
        drop(state);
        if late > 0 {
            self.kill();
            self.drain(GRACE);
        }
        let left = self.state().live.len();
        if has_threads && left == 0 {
            self.retire_threads();
            self.threads_ended.wait_timeout(GRACE);
        }
        Stopped { finished, killed: late.saturating_sub(left), left }
    }

    /// Ends what is at work. Does not wait.
    fn kill(&self) {
        let (mut greenlets, mut enders) = (Vec::new(), Vec::new());
        for at_work in self.state().live.values_mut() {
            match at_work {
                AtWork::Greenlet(greenlet) => greenlets.push(greenlet.clone()),
                AtWork::TakenOver(end) => enders.extend(end.take()),
            }
        }
        // Closing wakes tasks, so it runs code of the user's.
        enders.into_iter().for_each(|end| end());
        killall_with(greenlets, Kill::default().no_wait());
    }

    /// Waits until no handler is at work, for so long at most.
    fn drain(&self, limit: Duration) {
        let begin = Instant::now();
        loop {
            let state = self.state();
            if state.live.is_empty() {
                return;
            }
            self.drained.clear();
            drop(state);
            if !self.drained.wait_timeout(limit.saturating_sub(begin.elapsed())) {
                return;
            }
        }
    }

    /// Waits until it is closed, and if that is by a `stop`, until that is over.
    pub(super) fn wait_closed(&self) -> io::Result<()> {
        self.closed.wait();
        while self.state().stops > 0 {
            self.stopped.wait();
        }
        self.state().failure.take().map_or(Ok(()), Err)
    }
}

/// An address has as many connections as it may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooMany;

pub(super) fn was_closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the server was closed: make a new one")
}

/// One that is at work, until this is dropped.
pub(super) struct Ticket {
    life: Arc<Life>,
    number: u64,
    ip: Option<IpAddr>,
    /// `None`: it was given back.
    place: Option<Place>,
}

impl Ticket {
    pub(super) fn new(life: Arc<Life>, ip: Option<IpAddr>, place: Place) -> Ticket {
        let number = life.counters.accepted();
        Ticket { life, number, ip, place: Some(place) }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn life(&self) -> &Life {
        &self.life
    }
}

impl Ticket {
    /// It is not at work any more.
    pub(super) fn give_back(&mut self) {
        let Some(place) = self.place.take() else { return };
        if let Some(ip) = self.ip {
            self.life.leave_ip(ip);
        }
        drop(place);
        self.life.leave(self.number);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A server seen from anywhere: ends it, and tells how it is doing.
///
/// Cheap to clone, and usable on any thread. It keeps neither the server nor its connections alive.
#[derive(Clone)]
pub struct Handle {
    life: Arc<Life>,
}

impl Handle {
    pub(super) fn new(life: Arc<Life>) -> Handle {
        Handle { life }
    }

    pub(super) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Whether it accepts: it was started, and neither stopped, closed nor told to [stop accepting](super::StreamServer::stop_accepting).
    pub fn started(&self) -> bool {
        self.life.is_accepting()
    }

    /// Whether it was stopped or closed, or closed itself after an error. (gevent's `closed` is also true before the start.)
    pub fn closed(&self) -> bool {
        self.life.closed.is_set()
    }

    /// All addresses that it listens on, or did before it was closed, in the order given. Empty before it is bound.
    pub fn local_addresses(&self) -> Vec<Address> {
        self.life.state().addresses.clone()
    }

    /// The first IP address that it listens on; where port 0 was asked for, with the port that the system chose.
    ///
    /// # Errors
    /// `AddrNotAvailable` if there is none: the server is not bound yet, or listens on Unix sockets only.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let ip = self.local_addresses().into_iter().find_map(|address| match address {
            Address::Ip(address) => Some(address),
            Address::Unix(_) => None,
        });
        ip.ok_or_else(|| {
            io::Error::new(io::ErrorKind::AddrNotAvailable, "the server does not listen on an IP address")
        })
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.life.counters.read()
    }

    /// An event that is set when a [`stop`](Handle::stop) begins, for handlers that go on for as long as their peer does: they should come to an
    /// end then, before the grace is over.
    ///
    /// ```
    /// use greenlet_core::{select, Event};
    /// use greenlet_net::{TcpStream, server::StreamServer};
    /// use std::{sync::{Arc, OnceLock}, time::Duration};
    ///
    /// let stopping = Arc::new(OnceLock::<Arc<Event>>::new());
    /// let server = StreamServer::new("127.0.0.1:0", {
    ///     let stopping = stopping.clone();
    ///     move |_stream: TcpStream, _| stopping.get().unwrap().wait() // until then
    /// });
    /// stopping.set(server.stopping()).unwrap();
    /// server.start()?;
    /// let _client = TcpStream::connect(server.local_addr()?)?;
    /// while server.counts().active == 0 {
    ///     greenlet_core::yield_now();
    /// }
    /// assert_eq!(server.stop(Duration::from_secs(60)).finished, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stopping(&self) -> Arc<Event> {
        self.life.stopping.clone()
    }

    /// Closes the server: it accepts nothing more, and what it listened on is closed. Handlers at work go on.
    ///
    /// Peers that were not accepted yet are reset, new ones refused. [`serve_forever`](super::StreamServer::serve_forever) returns. Does not
    /// suspend. Does nothing if it is closed already.
    pub fn close(&self) {
        self.life.close();
    }

    /// [Closes](Handle::close) the server, waits for its handlers for as long as `grace`, and kills those that are left.
    ///
    /// The killed ones unwind: destructors run, connections are closed. They are waited for too, for one second at most. Hub threads of the server
    /// end when their last handler has ended.
    ///
    /// Suspends for as long as handlers are at work; blocks a thread that has no greenlets. A kill or timeout ends the wait: the server is closed, and
    /// its handlers go on. A handler that calls this waits for itself, and is killed after the grace.
    ///
    /// gevent waits for handlers only if they are in a `Pool`; here for all.
    pub fn stop(&self, grace: Duration) -> Stopped {
        self.life.stop(grace)
    }
}

/// Where it listens and what it does: `127.0.0.1:7000, [::1]:7000: accepting; 3 accepted, 1 active, [...]`.
impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.local_addresses().iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
        }
        let doing = match (self.closed(), self.started()) {
            (true, _) => "closed",
            (false, true) => "accepting",
            (false, false) => "not accepting",
        };
        let colon = if self.local_addresses().is_empty() { "" } else { ": " };
        write!(f, "{colon}{doing}; {}", self.counts())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("local_addresses", &self.local_addresses())
            .field("started", &self.started())
            .field("closed", &self.closed())
            .field("counts", &self.counts())
            .finish()
    }
}
