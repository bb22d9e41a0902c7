//! The part of a hub that other threads see.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::event::{EventfdFlags, eventfd};

use super::Config;
use super::Hub;
use super::inbox::{Closed, Inbox, Link, LinkKind, Pushed, Taken};
use super::poller::{Poller, replace_fd};
use super::vitals::Vitals;
use crate::greenlet::raw::Header;
use crate::report;
use crate::signal::Slot;
use crate::stack::StackSize;

/// Shared by the hub, its handles, and every greenlet that it ever had. Outlives the hub: then it is closed.
pub(crate) struct HubShared {
    pub(crate) id: u64,
    name: OnceLock<String>,
    inbox: Inbox,
    /// An eventfd: each write ends a sleep of the hub.
    doorbell: OwnedFd,
    pub(crate) poller: Poller,
    /// The default of its greenlets.
    pub(crate) stack_size: StackSize,
    pub(crate) vitals: Vitals,
    /// Set before the hub has any greenlet but main.
    simulated: AtomicBool,
    /// How many answers are owed to a simulated hub from outside of it.
    owed: AtomicUsize,
}

/// A closure on its way to a hub.
#[repr(C)]
pub(crate) struct Message {
    link: Link,
    call: Box<dyn FnOnce(&Hub) + Send>,
}

/// What came out of an inbox.
pub(crate) enum Arrival {
    /// With the count that travelled along.
    Greenlet(NonNull<Header>),
    Call(Box<dyn FnOnce(&Hub) + Send>),
    /// A signal was delivered, once or several times.
    Signal(Arc<Slot>),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl HubShared {
    pub(crate) fn new(config: &Config) -> std::io::Result<HubShared> {
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let poller = Poller::new(config.poller, doorbell.as_fd())?;
        let stack_size = config.stack_size;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let vitals = Vitals::new();
        Ok(HubShared {
            id,
            name: OnceLock::new(),
            inbox: Inbox::new(),
            doorbell,
            poller,
            stack_size,
            vitals,
            simulated: AtomicBool::new(false),
            owed: AtomicUsize::new(0),
        })
    }

    pub(crate) fn set_name(&self, name: &str) {
        let _ = self.name.set(name.to_owned());
    }

    pub(crate) fn name(&self) -> &str {
        self.name.get().map_or("", |name| name)
    }

    #[inline]
    pub(crate) fn is_simulated(&self) -> bool {
        self.simulated.load(Ordering::Relaxed)
    }

    pub(super) fn set_simulated(&self) {
        self.simulated.store(true, Ordering::Relaxed);
    }

    /// Somebody outside of the simulation owes it an answer.
    pub(crate) fn owe(&self) {
        self.owed.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer was given. What it pushed comes before this.
    pub(crate) fn paid(&self) {
        self.owed.fetch_sub(1, Ordering::Release);
        // The hub may sleep, waiting for just this.
        let _ = self.push_call(Box::new(|_| ()));
    }

    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Acquire) > 0
    }

    /// Whether this is the hub of the current thread.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        Hub::try_current().is_some_and(|hub| std::ptr::eq(&*hub.shared, self))
    }

    /// Hands a greenlet of this hub over: to be started or woken.
    ///
    /// # Safety
    /// The caller passes on a count of the header, and has claimed its link. On error both are still the caller's.
    pub(crate) unsafe fn push_greenlet(&self, header: NonNull<Header>) -> Result<(), Closed> {
        // SAFETY: the count keeps the header valid until it was taken out, and a claimed link is in no inbox. The link is
        // the header's first field, and the pointer keeps the header's provenance.
        unsafe { self.push(header.cast::<Link>()) }
    }

    /// Lets the hub call a closure in its loop.
    pub(crate) fn push_call(&self, call: Box<dyn FnOnce(&Hub) + Send>) -> Result<(), Closed> {
        let message = Box::new(Message { link: Link::new(LinkKind::Message), call });
        let message = NonNull::from(Box::leak(message));
        // SAFETY: the box stays leaked until it is taken out, or taken back here.
        unsafe { self.push(message.cast()).inspect_err(|_| drop(Box::from_raw(message.as_ptr()))) }
    }

    /// Tells the hub of a signal. Called by the kernel's signal handler, so it may interrupt anything, this hub included: no
    /// lock, no allocation, no report.
    pub(crate) fn push_signal(&self, slot: &Arc<Slot>) {
        let Some(link) = Slot::put_on_its_way(slot) else { return };
        // SAFETY: the link is in no inbox, and the count that went into it keeps it there until it was taken out.
        match unsafe { self.inbox.push(link) } {
            Ok(Pushed::HubAwake) => {}
            Ok(Pushed::MustWake) => {
                let _ = self.write_doorbell();
            }
            // SAFETY: as below; the handler has a count of its own, so this is not the last.
            Err(Closed) => drop(unsafe { Slot::arrived(link) }),
        }
    }

    /// # Safety
    /// As `Inbox::push`.
    unsafe fn push(&self, link: NonNull<Link>) -> Result<(), Closed> {
        // SAFETY: passed on.
        match unsafe { self.inbox.push(link) }? {
            Pushed::HubAwake => {}
            Pushed::MustWake => self.ring(),
        }
        Ok(())
    }

    fn write_doorbell(&self) -> rustix::io::Result<usize> {
        rustix::io::write(&self.doorbell, &1u64.to_ne_bytes())
    }

    /// In a forked child: a doorbell and a poller of its own, under the old numbers.
    pub(super) fn reopen(&self) -> std::io::Result<()> {
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        replace_fd(self.doorbell.as_fd(), doorbell.as_fd())?;
        self.poller.reopen(self.doorbell.as_fd())
    }

    fn ring(&self) {
        // It fails only when 2^64 - 2 rings were never read, or when the descriptor was closed behind our back.
        if let Err(error) = self.write_doorbell() {
            report::error(format_args!("cannot wake hub {}: {error}", self.id));
        }
    }

    /// Sends a greenlet that never ran home, so that its closure is dropped there. If home is gone, it is leaked:
    /// the closure may not be touched anywhere else.
    ///
    /// # Safety
    /// The caller passes on the last count.
    pub(crate) unsafe fn send_home(header: NonNull<Header>) {
        // SAFETY: the last count keeps it alive.
        let shared = unsafe { header.as_ref() }.shared.clone();
        // SAFETY: as above; with no other count left, nobody else can have claimed the link and not yet pushed it.
        let claimed = unsafe { header.as_ref() }.claim_link();
        if claimed {
            // SAFETY: the count and the claim are passed on; when refused, the greenlet is leaked on purpose.
            let _ = unsafe { shared.push_greenlet(header) };
        }
    }

    #[inline]
    pub(crate) fn has_arrivals(&self) -> bool {
        self.inbox.has_links()
    }

    /// Whether it sleeps in its poller, and nobody has woken it yet.
    pub(crate) fn is_sleeping(&self) -> bool {
        self.inbox.is_sleeping()
    }

    /// Whether main runs, and not the loop.
    #[inline]
    pub(crate) fn runs_main(&self) -> bool {
        !self.vitals.in_loop.load(Ordering::Relaxed)
    }

    pub(crate) fn prepare_sleep(&self) -> bool {
        self.inbox.prepare_sleep()
    }

    pub(crate) fn arrivals(&self) -> impl Iterator<Item = Arrival> + use<> {
        unpack(self.inbox.take_all())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    pub(crate) fn close(&self) -> impl Iterator<Item = Arrival> + use<> {
        unpack(self.inbox.close())
    }
}

fn unpack(links: Taken) -> impl Iterator<Item = Arrival> {
    links.map(|link| {
        // SAFETY: links come from `push_greenlet` (first field of a header), `push_call` (first field of a leaked box) and
        // `push_signal` (a slot with a count), told apart by their kind; each comes out once.
        unsafe {
            match link.as_ref().kind {
                LinkKind::Greenlet => {
                    let header = link.cast::<Header>();
                    // A wake-up after this pushes it again, one before it is this arrival.
                    header.as_ref().release_link();
                    Arrival::Greenlet(header)
                }
                LinkKind::Message => Arrival::Call(Box::from_raw(link.cast::<Message>().as_ptr()).call),
                LinkKind::Signal => Arrival::Signal(Slot::arrived(link)),
            }
        }
    })
}

impl fmt::Debug for HubShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubShared").field("id", &self.id).field("name", &self.name()).finish_non_exhaustive()
    }
}
