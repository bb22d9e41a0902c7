//! What starts and pauses the loops of a server, on this hub or on hub threads.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::sync::{Arc, Weak};

use greenlet_core::pool::Pool;
use greenlet_core::sync::{Mutex, Semaphore};
use greenlet_core::{Builder, GreenletRef, Hub, HubHandle, HubThread, Kill, killall_with};

use super::acceptor::{Acceptor, Arrivals, Handler};
use super::life::{Door, Handle, Life, was_closed};
use super::settings::{Room, Settings};
use crate::Address;

/// A server of whatever arrives.
pub(super) struct Engine<A: Arrivals> {
    pub(super) handle: Handle,
    pub(super) settings: Settings,
    pub(super) pool: Option<Pool>,
    handler: Handler<A::Item>,
    /// The number of hub threads; `None`: this hub.
    hubs: Option<usize>,
    bound: RefCell<Bound<A>>,
    /// Looking up a name may suspend.
    binding: Mutex<()>,
}

/// What is there from `bind` on. The sockets themselves belong to the `Life`: they go when it ends.
struct Bound<A> {
    room: Room,
    settings: Option<Arc<Settings>>,
    loops: Vec<(Option<HubHandle>, Weak<A>)>,
}

/// The sockets of a server, those of each hub together, and the addresses that they have.
pub(super) struct Sockets<A> {
    pub(super) of_hubs: Vec<Vec<A>>,
    pub(super) addresses: Vec<Address>,
}

impl<A: Arrivals + Door> Engine<A> {
    pub(super) fn new(hubs: Option<usize>, settings: Settings, handler: Handler<A::Item>) -> Engine<A> {
        let bound = Bound { room: Room::Unlimited, settings: None, loops: Vec::new() };
        Engine {
            handle: Handle::new(Arc::new(Life::default())),
            settings,
            pool: None,
            handler,
            hubs,
            bound: RefCell::new(bound),
            binding: Mutex::new(()),
        }
    }

    fn life(&self) -> &Arc<Life> {
        self.handle.life()
    }

    /// Binds, unless that was done already. `sockets` makes those of so many hubs.
    pub(super) fn bind(&self, sockets: impl FnOnce(usize) -> io::Result<Sockets<A>>) -> io::Result<()> {
        let _one_at_a_time = self.binding.lock();
        if self.life().is_bound()? {
            return Ok(());
        }
        /// Also if it is unwound from the look-up of a name: the addresses are used up.
        struct CloseUnlessDone<'a>(&'a Handle);
        impl Drop for CloseUnlessDone<'_> {
            fn drop(&mut self) {
                self.0.close();
            }
        }
        let unless_done = CloseUnlessDone(&self.handle);
        self.bind_new(sockets)?;
        mem::forget(unless_done);
        Ok(())
    }

    fn bind_new(&self, sockets: impl FnOnce(usize) -> io::Result<Sockets<A>>) -> io::Result<()> {
        let room = match (&self.pool, self.settings.limit) {
            (Some(_), _) if self.hubs.is_some() => {
                return Err(invalid("a pool belongs to one hub: a server on several takes a limit"));
            }
            (Some(pool), _) => Room::Pool(pool.clone()),
            (None, Some(limit)) => Room::Limit(Arc::new(Semaphore::new(limit))),
            (None, None) => Room::Unlimited,
        };
        if self.hubs == Some(0) {
            return Err(invalid("a server on no hubs: expected at least one"));
        }
        let Sockets { of_hubs, addresses } = sockets(self.hubs.unwrap_or(1))?;
        let threads = self.start_threads()?;
        let mut handles = threads.iter().map(|thread| thread.handle().clone());
        let mut loops = Vec::new();
        let mut doors: Vec<Arc<dyn Door>> = Vec::new();
        for sockets in of_hubs {
            let hub = handles.next();
            for socket in sockets {
                let socket = Arc::new(socket);
                loops.push((hub.clone(), Arc::downgrade(&socket)));
                doors.push(socket);
            }
        }
        *self.bound.borrow_mut() = Bound { room, settings: Some(Arc::new(self.settings.clone())), loops };
        self.life().bound(doors, addresses, threads)
    }

    fn start_threads(&self) -> io::Result<Vec<HubThread>> {
        let name = self.settings.name.as_deref().unwrap_or("server");
        (1..=self.hubs.unwrap_or(0)).map(|number| Hub::thread(format!("{name}-{number}")).start()).collect()
    }

    /// Starts the loops, unless they run already. It is bound.
    pub(super) fn start_accepting(&self) -> io::Result<()> {
        if !self.life().is_bound()? {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the server is not bound: start it first",
            ));
        }
        if self.life().is_accepting() {
            return Ok(());
        }
        let mut acceptors = Vec::new();
        for at in &self.bound.borrow().loops {
            match self.start_loop(at) {
                Ok(acceptor) => acceptors.push(acceptor),
                Err(error) => {
                    self.handle.close();
                    killall_with(acceptors, Kill::default().no_wait());
                    return Err(error);
                }
            }
        }
        self.life().accepting(acceptors);
        Ok(())
    }

    fn start_loop(&self, (hub, arrivals): &(Option<HubHandle>, Weak<A>)) -> io::Result<GreenletRef> {
        let bound = self.bound.borrow();
        let (Some(arrivals), Some(settings)) = (arrivals.upgrade(), bound.settings.clone()) else {
            return Err(was_closed());
        };
        let life = self.life().clone();
        let Some(hub) = hub else {
            let handler = self.handler.clone();
            let acceptor = Acceptor { arrivals, handler, room: bound.room.clone(), settings, life };
            let name = format!("{} accept", self.settings.name.as_deref().unwrap_or("server"));
            let builder = Builder::new().name(name).spawn_site(self.settings.site);
            let greenlet = builder.spawn(move || acceptor.run());
            return Ok(GreenletRef::clone(&greenlet));
        };
        let limit = match &bound.room {
            Room::Limit(free) => Some(free.clone()),
            _ => None,
        };
        let Some(handler) = self.handler.for_hub() else {
            unreachable!("a server on hubs is made with a handler that can go there");
        };
        let run = move || {
            let room = limit.map_or(Room::Unlimited, Room::Limit);
            Acceptor { arrivals, handler: handler.arrive(), room, settings, life }.run();
        };
        let greenlet = hub.spawn(run).map_err(|_| was_closed())?;
        Ok(GreenletRef::clone(&greenlet))
    }

    pub(super) fn stop_accepting(&self) {
        self.life().pause_accepting();
    }

    /// Starts the server, and waits for its end; unwound from here, it stops it.
    pub(super) fn serve_forever(&self, start: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        struct StopWhenUnwound<'a>(&'a Handle, &'a Settings);
        impl Drop for StopWhenUnwound<'_> {
            fn drop(&mut self) {
                let stopped = self.0.stop(self.1.grace);
                let server = self.1.name.as_deref().unwrap_or("server");
                tracing::info!(target: "greenlet", server, %stopped, "stopped");
            }
        }
        match start() {
            // Somebody may have been quick to close it.
            Err(_) if self.life().has_ended() => {}
            started => started?,
        }
        let unwound = StopWhenUnwound(&self.handle, &self.settings);
        let ended = self.life().wait_closed();
        mem::forget(unwound);
        ended
    }
}

impl<A: Arrivals> Drop for Engine<A> {
    fn drop(&mut self) {
        self.handle.close();
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
