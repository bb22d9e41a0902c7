//! Whatever is ready sooner or later, and waiting for several of that.

use std::fmt;
use std::iter::FusedIterator;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::hub::Deadline;
use crate::wait::{Attempt, Node, Party, WaitList, Waiter};

/// What becomes ready: the objects that [`wait`] and [`iwait`] take.
///
/// | object | is ready |
/// |---|---|
/// | [`Greenlet`](crate::Greenlet), [`GreenletRef`](crate::GreenletRef) | when it has ended, in whatever way |
/// | [`Event`](crate::Event) | while it is set |
/// | [`AsyncResult`](crate::AsyncResult) | when something was set |
/// | [`Semaphore`](crate::sync::Semaphore), [`BoundedSemaphore`](crate::sync::BoundedSemaphore) | while it has permits; whoever waits is told of each release |
/// | [`Queue`](crate::Queue), [`LifoQueue`](crate::LifoQueue), [`PriorityQueue`](crate::PriorityQueue) | while it has items, and when it is shut down |
/// | [`Task`](crate::pool::Task) of a thread pool | when it is done |
///
/// References and the usual pointers to them are waitable too, so a `Vec<&dyn Waitable>` or `Vec<Rc<dyn Waitable>>` holds all kinds; and so is
/// a pair of a key and an object, to know which one came. Sealed: gevent's protocol of `rawlink` and `unlink` is in the hands of this crate.
///
/// A callback for when an object is ready is a greenlet that waits for it, which costs little more than an entry in a list, and may block. To
/// take it back is to kill it:
///
/// ```
/// use greenlet_core::{spawn, yield_now, Event};
/// use std::rc::Rc;
///
/// let ready = Rc::new(Event::new());
/// let link = spawn({
///     let ready = ready.clone();
///     move || {
///         ready.wait();
///         println!("it is ready");
///     }
/// });
/// yield_now();
/// link.kill(); // never mind
/// ready.set();
/// ```
pub trait Waitable: sealed::Watch {}

pub(crate) mod sealed {
    use super::WaitList;

    /// # Safety
    /// An object shows one list, always the same.
    pub unsafe trait Watch {
        /// Shows, under the lock, whether it is ready, and the list of those who wait until it is.
        fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>));
    }
}

use sealed::Watch;

macro_rules! through_pointers {
    ($($pointer:ty),*) => {$(
        // SAFETY: what it points to does not change.
        unsafe impl<W: Waitable + ?Sized> Watch for $pointer {
            fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
                (**self).look(at);
            }
        }
        impl<W: Waitable + ?Sized> Waitable for $pointer {}
    )*};
}

through_pointers!(&W, Rc<W>, Arc<W>, Box<W>);

/// An object and what it is called.
impl<K, W: Waitable> Waitable for (K, W) {}

// SAFETY: as the object does.
unsafe impl<K, W: Waitable> Watch for (K, W) {
    fn look(&self, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        self.1.look(at);
    }
}

/// Waits until all of these objects are ready: gevent's `wait(objects)`. Returns them in the order in which they became ready; those that
/// are ready already come first, in the given order.
///
/// A kill or timeout of the waiting greenlet ends the wait, and does nothing to the objects. For a count: `iwait(objects).take(n)`.
///
/// ```
/// use greenlet_core::{spawn, wait, Event, Waitable};
/// use std::rc::Rc;
///
/// let event = Rc::new(Event::new());
/// let setter = spawn({
///     let event = event.clone();
///     move || event.set()
/// });
/// let objects: [&dyn Waitable; 2] = [&event, &setter];
/// assert_eq!(wait(objects).len(), 2);
/// ```
pub fn wait<W: Waitable>(objects: impl IntoIterator<Item = W>) -> Vec<W> {
    iwait(objects).collect()
}

/// As [`wait`], for at most `timeout` in all: returns those that became ready in time.
pub fn wait_timeout<W: Waitable>(objects: impl IntoIterator<Item = W>, timeout: Duration) -> Vec<W> {
    iwait(objects).timeout(timeout).collect()
}

/// Iterates over objects as they become ready: gevent's `iwait`.
///
/// `next` suspends until the next one is ready. Between two calls the consumer may do what it likes; what becomes ready meanwhile is not
/// missed. Dropping the iterator ends the interest in the rest: gevent's `count=n` is `.take(n)`.
///
/// ```
/// use greenlet_core::{iwait, sleep, spawn};
/// use std::time::Duration;
///
/// let jobs: Vec<_> = [30, 10, 20]
///     .into_iter()
///     .map(|ms| {
///         spawn(move || {
///             sleep(Duration::from_millis(ms));
///             ms
///         })
///     })
///     .collect();
/// let first_two: Vec<_> = iwait(jobs).take(2).filter_map(|job| job.value().copied()).collect();
/// assert_eq!(first_two, [10, 20]);
/// ```
pub fn iwait<W: Waitable>(objects: impl IntoIterator<Item = W>) -> IWait<W> {
    IWait { objects: objects.into_iter().collect(), watching: None, deadline: Deadline::Never }
}

/// See [`iwait`].
#[must_use = "nothing is waited for until `next` is called"]
pub struct IWait<W: Waitable> {
    /// Until the first `next`.
    objects: Vec<W>,
    watching: Option<Box<Watching<W>>>,
    deadline: Deadline,
}

/// What is waited for; does not move.
struct Watching<W: Waitable> {
    members: Vec<Member<W>>,
    waiting: usize,
    party: Party,
}

struct Member<W> {
    /// Taken out when it is ready.
    object: Option<W>,
    node: Node<()>,
}

impl<W: Waitable> IWait<W> {
    /// Ends the iteration when so much time has passed since the first `next`. Not an error: the rest did not become ready.
    pub fn timeout(mut self, timeout: Duration) -> IWait<W> {
        self.deadline = Deadline::After(timeout);
        self
    }

    /// As `next`, waiting for at most `timeout`. Between two calls, something else can be done: unlike `next`'s, its `None` may mean only
    /// that nothing has become ready yet.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<W> {
        let (whole, this) = (self.deadline.fix(), Deadline::After(timeout).fix());
        self.next_until(whole.into_iter().chain(this).min().map_or(Deadline::Never, Deadline::At))
    }

    fn next_until(&mut self, deadline: Deadline) -> Option<W> {
        let watching = match &mut self.watching {
            Some(watching) => watching,
            None => self.watching.insert(Watching::start(std::mem::take(&mut self.objects))),
        };
        if watching.waiting == 0 {
            return None;
        }
        let number = watching.party.next("iwait", deadline)?;
        watching.waiting -= 1;
        let member = &mut watching.members[number as usize];
        if let Some(object) = &member.object {
            // Whoever announced it marks the node after that, under the lock of the list: the node must not go before.
            // SAFETY: an object shows one list, always the same.
            object.look(&mut |_, list| unsafe {
                list.leave(&member.node);
            });
        }
        member.object.take()
    }
}

impl<W: Waitable> Watching<W> {
    fn start(objects: Vec<W>) -> Box<Watching<W>> {
        let party = Party::of_many(objects.len());
        let member = |object| Member { object: Some(object), node: Node::apart(Waiter::Nobody, ()) };
        let members: Vec<_> = objects.into_iter().map(member).collect();
        let watching = Box::new(Watching { waiting: members.len(), members, party });
        for (number, member) in (0..).zip(&watching.members) {
            let Some(object) = &member.object else { continue };
            // SAFETY: the node is in no list yet.
            drop(unsafe {
                member.node.exchange_waiter(Waiter::Party(NonNull::from(&watching.party), number))
            });
            object.look(&mut |ready, list| {
                if ready {
                    watching.party.note(number);
                } else {
                    // SAFETY: the node is in no list; it and the party are boxed, and `drop` takes it out. If the box is leaked,
                    // it stays where it is for ever.
                    unsafe { list.enter(&member.node) };
                }
            });
        }
        watching
    }
}

impl<W: Waitable> Drop for Watching<W> {
    fn drop(&mut self) {
        for member in &self.members {
            if let Some(object) = &member.object {
                // SAFETY: as above.
                object.look(&mut |_, list| unsafe {
                    list.leave(&member.node);
                });
            }
        }
    }
}

impl<W: Waitable> Iterator for IWait<W> {
    type Item = W;

    fn next(&mut self) -> Option<W> {
        self.deadline.fix();
        let next = self.next_until(self.deadline);
        if next.is_none() {
            // It is over, also for what becomes ready later.
            self.objects.clear();
            self.watching = None;
        }
        next
    }
}

impl<W: Waitable> FusedIterator for IWait<W> {}

impl<W: Waitable> fmt::Debug for IWait<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.watching.as_ref().map_or(self.objects.len(), |watching| watching.waiting);
        f.debug_struct("IWait").field("waiting", &waiting).finish_non_exhaustive()
    }
}

/// The operation of waiting until an object is ready.
#[expect(missing_debug_implementations, reason = "only sealed traits name it")]
pub struct WhenReady<W, T> {
    pub(crate) object: W,
    pub(crate) output: fn(&W) -> T,
}

// SAFETY: it is made in this crate only, with an output that is made of what a `Send` object lets one have: `()`, or a clone of what
// can be cloned through it.
unsafe impl<W: Waitable, T> Attempt for WhenReady<W, T> {
    type Output = T;
    type Payload = ();

    fn try_now(&mut self) -> Option<T> {
        let mut now = false;
        self.object.look(&mut |ready, _| now = ready);
        now.then(|| (self.output)(&self.object))
    }

    fn look(&self, _: Option<NonNull<Party>>, at: &mut dyn FnMut(bool, &mut WaitList<()>)) {
        self.object.look(at);
    }

    fn payload(&mut self) {}

    fn complete(&mut self, (): ()) -> T {
        (self.output)(&self.object)
    }

    fn recover(&mut self, (): ()) {}

    fn give_back(&mut self, (): ()) {}
}
