//! Threads that are there for their hub.

use std::io;
use std::ptr::NonNull;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{Config, ConfigError, Hub, HubHandle};
use crate::async_result::AsyncResult;
use crate::greenlet::GreenletRef;
use crate::greenlet::raw::Header;
use crate::raise::{Raised, catch_if};
use crate::report;
use crate::stack::StackSize;

impl Hub {
    /// A new thread with a hub: greenlets are sent to it with [`HubHandle::spawn`].
    #[must_use = "the thread starts with `start`"]
    pub fn thread(name: impl Into<String>) -> HubBuilder {
        HubBuilder { name: name.into(), config: Config::from_env() }
    }
}

/// Makes a [`HubThread`]; see [`Hub::thread`].
#[derive(Clone, Debug)]
pub struct HubBuilder {
    name: String,
    config: Result<Config, ConfigError>,
}

impl HubBuilder {
    /// All settings at once. Without them, the thread takes those of the environment ([`Config::from_env`]).
    pub fn config(mut self, config: Config) -> HubBuilder {
        self.config = Ok(config);
        self
    }

    /// The stack of its greenlets.
    pub fn stack_size(mut self, size: StackSize) -> HubBuilder {
        self.config = self.config.map(|config| config.stack_size(size));
        self
    }

    /// Starts the thread; its hub is ready when this returns.
    ///
    /// # Errors
    /// What the system refused: a thread, or descriptors for the hub; `InvalidInput` with a [`ConfigError`] inside.
    pub fn start(self) -> io::Result<HubThread> {
        let stop = Arc::new(AsyncResult::new());
        let (tell, told) = mpsc::sync_channel(1);
        let HubBuilder { name, config } = self;
        let config = config.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let thread = std::thread::Builder::new().name(name.clone()).spawn({
            let stop = stop.clone();
            move || {
                let made = Hub::configure(config);
                let failed = made.is_err();
                if !failed {
                    Hub::current_hub().shared.set_name(&name);
                    // Before anybody can know of it: whoever ends the program waits for it.
                    threads().push(crate::current());
                }
                let _ = tell.send(made.map(|()| Hub::current()));
                if !failed {
                    serve(&stop);
                }
            }
        })?;
        let handle = match told.recv() {
            Ok(made) => made?,
            Err(_) => return Err(io::Error::other("the hub's thread ended before its hub was made")),
        };
        Ok(HubThread { handle, stop, thread: Some(thread) })
    }
}

/// The body of a hub's thread: everything happens in its greenlets.
fn serve(stop: &AsyncResult<Stop>) {
    super::run(|| {
        let told = catch_if(
            |raised| raised.is::<ProgramEnds>(),
            || match stop.get() {
                Ok(Stop::WhenIdle) => Hub::current_hub().join_all_live(),
                Ok(Stop::Now) | Err(_) => {}
            },
        );
        // However it was told, `run` kills what is left.
        drop(told);
    });
}

// --- the end of the program ---------------------------------------------------------------------------------------

/// The main greenlets of all hub threads whose hubs have not ended.
static THREADS: Mutex<Vec<GreenletRef>> = Mutex::new(Vec::new());

fn threads() -> MutexGuard<'static, Vec<GreenletRef>> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is raised in the main greenlets of hub threads.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the program ends")]
struct ProgramEnds;

/// A hub has ended, and all that was to be dropped on its thread is dropped.
pub(super) fn hub_has_ended(main: NonNull<Header>) {
    let ended: Vec<GreenletRef> = threads().extract_if(.., |thread| thread.header() == main).collect();
    drop(ended);
}

/// Lets every hub thread of the process kill its greenlets and end, whoever has its [`HubThread`]. Does not wait.
pub(crate) fn stop_hub_threads() {
    let mains = threads().clone();
    for main in mains {
        main.raise(Raised::new(ProgramEnds));
    }
}

/// Waits until all of them have ended, those included that are started meanwhile.
pub(crate) fn await_hub_threads() {
    loop {
        let mains = threads().clone();
        if mains.is_empty() {
            return;
        }
        stop_hub_threads();
        mains.iter().for_each(GreenletRef::join);
    }
}

#[derive(Clone, Copy, Debug)]
enum Stop {
    WhenIdle,
    Now,
}

/// A thread that runs a hub until it is told to stop.
///
/// Dropping it tells the hub to shut down and does not wait.
#[derive(Debug)]
pub struct HubThread {
    handle: HubHandle,
    stop: Arc<AsyncResult<Stop>>,
    thread: Option<JoinHandle<()>>,
}

impl HubThread {
    /// The handle to spawn with.
    pub fn handle(&self) -> &HubHandle {
        &self.handle
    }

    /// Waits until all greenlets of the hub have ended by themselves, then ends the thread.
    ///
    /// Blocks the calling thread, greenlets included.
    ///
    /// # Panics
    /// On that hub itself.
    #[track_caller]
    pub fn join(mut self) {
        self.end(Stop::WhenIdle);
    }

    /// Kills the greenlets of the hub, waits until their destructors have run, and ends the thread.
    ///
    /// Blocks the calling thread, greenlets included. Greenlets that catch every kill cannot be ended: the process is then
    /// aborted, as [`run`](crate::run) says.
    ///
    /// # Panics
    /// On that hub itself.
    #[track_caller]
    pub fn shutdown(mut self) {
        self.end(Stop::Now);
    }

    #[track_caller]
    fn end(&mut self, how: Stop) {
        assert!(!self.handle.is_current(), "the thread of a hub cannot wait for its own end");
        self.stop.set(how);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            report::error(format_args!("the thread of hub {:?} panicked", self.handle.name()));
        }
    }
}

impl Drop for HubThread {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop.set(Stop::Now);
        }
    }
}
