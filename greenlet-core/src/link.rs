//! Links: what happens when a greenlet ends.
//!
//! A link is one-sided and fires once. Its receiver is a callback, or another greenlet, in which then a
//! [`LinkedExited`] is raised. Links fire in the order in which they were made, after the greenlet has ended and never
//! from inside the call that made them (except for [`link_to`](GreenletRef::link_to) the current greenlet).
//!
//! A callback runs on the hub of the thread that linked, wherever the greenlet lives: so it need not be `Send`. Until it
//! has run or was unlinked it keeps a handle of the greenlet, and with that the value; linked to a greenlet that is never
//! started, that is until the hub ends.

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::failure::Failure;
use crate::greenlet::raw::Header;
use crate::greenlet::{Greenlet, GreenletRef};
use crate::hub::{Callback, Hub, HubRef, HubShared};
use crate::raise::Raised;

/// Raised in a greenlet that another one was linked to, when that one has ended.
///
/// gevent (to 0.13) has three exception classes; here they are three cases of one type.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkedExited {
    /// LinkedCompleted: it returned.
    #[error("linked greenlet {0} completed")]
    Completed(GreenletRef),
    /// LinkedKilled: it was killed, or exited with [`GreenletExit`](crate::GreenletExit).
    #[error("linked greenlet {0} was killed")]
    Killed(GreenletRef),
    /// LinkedFailed: it panicked, or an error was raised in it.
    #[error(fmt = fmt_failed)]
    Failed(GreenletRef, #[source] Failure),
}

/// Names what began it, and how many links it has come along: the links between would fill pages, and a long chain the stack.
fn fmt_failed(source: &GreenletRef, failure: &Failure, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut cause = failure;
    let mut links = 1;
    while let Some(LinkedExited::Failed(_, earlier)) = cause.downcast_ref() {
        cause = earlier;
        links += 1;
    }
    match links {
        1 => write!(f, "linked greenlet {source} failed: {cause}"),
        _ => write!(f, "linked greenlet {source} failed, at the end of {links} links: {cause}"),
    }
}

impl LinkedExited {
    /// The greenlet that ended.
    pub fn greenlet(&self) -> &GreenletRef {
        match self {
            LinkedExited::Completed(greenlet)
            | LinkedExited::Killed(greenlet)
            | LinkedExited::Failed(greenlet, _) => greenlet,
        }
    }

    fn of(source: GreenletRef) -> LinkedExited {
        match source.exception() {
            Some(failure) => LinkedExited::Failed(source, failure),
            None if source.header_ref().exited() => LinkedExited::Killed(source),
            None => LinkedExited::Completed(source),
        }
    }
}

/// Names a link to a callback, for [`unlink`](GreenletRef::unlink).
#[derive(Clone)]
pub struct LinkId {
    id: u64,
    /// Where the callback is.
    hub: HubRef,
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkId({})", self.id)
    }
}

/// Which ends a link is interested in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Filter {
    Any,
    /// Ended successfully, kills included.
    Value,
    Exception,
}

impl Filter {
    fn accepts(self, source: &Header) -> bool {
        match self {
            Filter::Any => true,
            Filter::Value => source.successful(),
            Filter::Exception => !source.successful(),
        }
    }
}

/// Where a callback runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Loop,
    Greenlet,
}

/// What becomes of a callback.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Settle {
    Run(Place),
    Drop,
}

/// A link as the source keeps it: nothing in it is bound to a thread.
pub(crate) struct LinkEntry {
    id: u64,
    filter: Filter,
    receiver: Receiver,
}

enum Receiver {
    /// The callback is kept by this hub, under the link's id.
    Callback(HubRef, Place),
    Greenlet(GreenletRef),
}

impl LinkEntry {
    /// The source has ended.
    pub(crate) fn fire(self, source: NonNull<Header>) {
        // SAFETY: the caller keeps the source alive.
        let accepted = self.filter.accepts(unsafe { source.as_ref() });
        match self.receiver {
            Receiver::Callback(hub, place) => {
                settle_callback(&hub, self.id, if accepted { Settle::Run(place) } else { Settle::Drop });
            }
            Receiver::Greenlet(receiver) if accepted => {
                // SAFETY: as above.
                let source = unsafe { GreenletRef::retained(source) };
                receiver.raise(Raised::new(LinkedExited::of(source)));
            }
            Receiver::Greenlet(_) => {}
        }
    }
}

/// Lets the hub that keeps a callback run it, or drop it. It stays in its place until it really runs, so that `unlink` can
/// still take it away.
fn settle_callback(hub: &HubShared, id: u64, settle: Settle) {
    let run = move |hub: &Hub| {
        if let Some(callback) = hub.take_link_callback(id) {
            callback(hub);
        }
    };
    let settle = move |hub: &Hub| match settle {
        Settle::Drop => drop(hub.take_link_callback(id)),
        Settle::Run(Place::Loop) => run(hub),
        // At once, as in gevent: so links of all kinds are called in the order in which they were made.
        // The thread ends: a greenlet that suspends would end the process.
        Settle::Run(Place::Greenlet) if hub.shared.is_closed() => drop(hub.take_link_callback(id)),
        Settle::Run(Place::Greenlet) => hub.spawn_now(move || run(Hub::current_hub())),
    };
    match Hub::try_current() {
        Some(current) if hub.is_current() => current.call_soon(Box::new(settle)),
        // A hub that has ended has dropped its callbacks.
        _ => drop(hub.push_call(Box::new(settle))),
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl GreenletRef {
    /// Keeps a callback on this thread's hub until the greenlet ends.
    fn add_callback(&self, filter: Filter, place: Place, callback: Callback) -> LinkId {
        let hub = Hub::current_hub();
        let id = next_id();
        hub.keep_link_callback(id, self.id(), callback);
        self.add_link(LinkEntry { id, filter, receiver: Receiver::Callback(hub.shared.clone(), place) });
        LinkId { id, hub: hub.shared.clone() }
    }

    fn add_link(&self, entry: LinkEntry) {
        let header = self.header_ref();
        let mut ending = header.end.lock();
        if header.ended() {
            drop(ending);
            entry.fire(self.header());
        } else {
            ending.links.push(entry);
        }
    }

    /// Calls `callback` in a greenlet of its own, on this thread's hub, when this greenlet has ended in whatever way.
    ///
    /// If it has ended already, the callback is queued now. Use [`Greenlet::link`] for access to the value.
    pub fn link(&self, callback: impl FnOnce(&GreenletRef) + 'static) -> LinkId {
        self.link_filtered(Filter::Any, callback)
    }

    /// As [`link`](GreenletRef::link), only if it ends successfully (returned, killed or exited).
    pub fn link_value(&self, callback: impl FnOnce(&GreenletRef) + 'static) -> LinkId {
        self.link_filtered(Filter::Value, callback)
    }

    /// As [`link`](GreenletRef::link), only if it fails.
    pub fn link_exception(&self, callback: impl FnOnce(&GreenletRef) + 'static) -> LinkId {
        self.link_filtered(Filter::Exception, callback)
    }

    fn link_filtered(&self, filter: Filter, callback: impl FnOnce(&GreenletRef) + 'static) -> LinkId {
        let me = self.clone();
        self.add_callback(filter, Place::Greenlet, Box::new(move |_| callback(&me)))
    }

    /// Calls `callback` inside the hub's loop when this greenlet has ended. It must not block: what blocks panics, and
    /// the panic is reported. Cheaper than [`link`](GreenletRef::link).
    pub fn rawlink(&self, callback: impl FnOnce(&GreenletRef) + 'static) -> LinkId {
        let me = self.clone();
        self.add_callback(Filter::Any, Place::Loop, Box::new(move |_| callback(&me)))
    }

    /// Raises [`LinkedExited`] in `receiver` when this greenlet has ended: at its next suspension point, or, if it
    /// has not started, instead of its start. A receiver that does not catch it fails, and so fires its own links.
    ///
    /// If this greenlet has ended already and `receiver` is the current greenlet, it is raised right here.
    pub fn link_to(&self, receiver: &GreenletRef) {
        self.link_greenlet(Filter::Any, receiver);
    }

    /// As [`link_to`](GreenletRef::link_to), only if it ends successfully (returned, killed or exited).
    pub fn link_value_to(&self, receiver: &GreenletRef) {
        self.link_greenlet(Filter::Value, receiver);
    }

    /// As [`link_to`](GreenletRef::link_to), only if it fails.
    pub fn link_exception_to(&self, receiver: &GreenletRef) {
        self.link_greenlet(Filter::Exception, receiver);
    }

    fn link_greenlet(&self, filter: Filter, receiver: &GreenletRef) {
        // In the middle of an unwinding nothing may be raised: then it is queued, as for any other receiver.
        let unwinding = || Hub::try_current().is_some_and(|hub| hub.is_unwinding(receiver.header()));
        if self.ready() && receiver.is_current() && !unwinding() {
            if filter.accepts(self.header_ref()) {
                Raised::new(LinkedExited::of(self.clone())).reraise();
            }
            return;
        }
        self.add_link(LinkEntry { id: next_id(), filter, receiver: Receiver::Greenlet(receiver.clone()) });
    }

    /// Takes a link to a callback back, even while links are being notified: it is not called any more, unless it was
    /// called already. True if that was in time.
    pub fn unlink(&self, link: &LinkId) -> bool {
        let mut ending = self.header_ref().end.lock();
        let found = ending.links.iter().position(|entry| entry.id == link.id);
        let entry = found.map(|index| ending.links.remove(index));
        drop(ending);
        match Hub::try_current() {
            Some(hub) if link.hub.is_current() => hub.take_link_callback(link.id).is_some(),
            _ => {
                let in_time = entry.is_some();
                settle_callback(&link.hub, link.id, Settle::Drop);
                in_time
            }
        }
    }

    /// Takes back all links that have not fired yet, of all kinds and whoever made them, even while they are being notified:
    /// callbacks of this thread that were not called yet are not called any more.
    pub fn unlink_all(&self) {
        let links = std::mem::take(&mut self.header_ref().end.lock().links);
        for link in links {
            // A link to a greenlet is only dropped.
            if let Receiver::Callback(hub, _) = &link.receiver
                && !hub.is_current()
            {
                settle_callback(hub, link.id, Settle::Drop);
            }
        }
        if let Some(hub) = Hub::try_current() {
            drop(hub.take_link_callbacks_of(self.id()));
        }
    }

    /// Whether there are links that have not fired yet. Once this greenlet has ended, those count that were made on this thread,
    /// until they are called.
    pub fn has_links(&self) -> bool {
        let header = self.header_ref();
        let waiting = !header.end.lock().links.is_empty();
        waiting || header.ended() && Hub::try_current().is_some_and(|hub| hub.has_link_callback_of(header.id))
    }

    /// Takes back the links to this receiver that have not fired yet.
    pub fn unlink_from(&self, receiver: &GreenletRef) {
        let mut ending = self.header_ref().end.lock();
        let to_receiver =
            |entry: &mut LinkEntry| matches!(&entry.receiver, Receiver::Greenlet(r) if r == receiver);
        let removed: Vec<_> = ending.links.extract_if(.., to_receiver).collect();
        drop(ending);
        // Dropping a reference may end in user code: not under the lock.
        drop(removed);
    }
}

impl<T: 'static> Greenlet<T> {
    /// Calls `callback` in a greenlet of its own, on this thread's hub, when this greenlet has ended in whatever way.
    ///
    /// The callback may block. If the greenlet has ended already, it is queued now.
    ///
    /// ```
    /// use greenlet_core::{spawn, yield_now};
    ///
    /// let worker = spawn(|| 6 * 7);
    /// worker.link(|done| println!("{done} returned {:?}", done.value()));
    /// worker.join();
    /// yield_now();
    /// ```
    pub fn link(&self, callback: impl FnOnce(&Greenlet<T>) + 'static) -> LinkId {
        self.link_typed(Filter::Any, callback)
    }

    /// As [`link`](Greenlet::link), only if it ends successfully (returned, killed or exited).
    pub fn link_value(&self, callback: impl FnOnce(&Greenlet<T>) + 'static) -> LinkId {
        self.link_typed(Filter::Value, callback)
    }

    /// As [`link`](Greenlet::link), only if it fails.
    ///
    /// ```
    /// use greenlet_core::{raise, spawn, yield_now};
    ///
    /// let worker = spawn(|| raise(std::io::Error::other("disk gone")));
    /// worker.link_exception(|dead| eprintln!("{dead} failed: {}", dead.exception().unwrap()));
    /// worker.join();
    /// yield_now();
    /// ```
    pub fn link_exception(&self, callback: impl FnOnce(&Greenlet<T>) + 'static) -> LinkId {
        self.link_typed(Filter::Exception, callback)
    }

    fn link_typed(&self, filter: Filter, callback: impl FnOnce(&Greenlet<T>) + 'static) -> LinkId {
        let me = self.clone();
        self.add_callback(filter, Place::Greenlet, Box::new(move |_| callback(&me)))
    }

    /// Calls `callback` inside the hub's loop when this greenlet has ended. It must not block: what blocks panics, and
    /// the panic is reported. Cheaper than [`link`](Greenlet::link).
    pub fn rawlink(&self, callback: impl FnOnce(&Greenlet<T>) + 'static) -> LinkId {
        let me = self.clone();
        self.add_callback(Filter::Any, Place::Loop, Box::new(move |_| callback(&me)))
    }
}
