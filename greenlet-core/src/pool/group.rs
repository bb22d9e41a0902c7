//! Groups: greenlets that are joined and killed together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use super::bounded::{PoolFull, Slots};
use crate::failure::Failure;
use crate::greenlet::{Greenlet, GreenletRef, Kill};
use crate::hub::Deadline;
use crate::link::LinkId;
use crate::lock::Lock;
use crate::wait::{WaitList, wait};

/// A set of greenlets, of whatever result, that are joined and killed together: gevent's `Group`.
///
/// Members leave by themselves, one turn of the loop after they ended. Dropping the group does nothing to them.
///
/// ```
/// use greenlet_core::pool::Group;
/// use greenlet_core::sleep;
/// use std::time::Duration;
///
/// let group = Group::new();
/// for connection in 0..3 {
///     group.spawn(move || println!("serving {connection}"));
/// }
/// group.spawn(|| sleep(Duration::MAX));
/// assert_eq!(group.len(), 4);
///
/// if !group.join_timeout(Duration::from_millis(5)) {
///     group.kill(); // who has not ended by then
/// }
/// assert!(group.is_empty());
/// ```
///
/// Clones are the same group. It belongs to the hub of its thread: members change only between two suspensions of who
/// looks at them. So it is not `Send`; yet greenlets of other hubs may be [added](Group::add).
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(greenlet_core::pool::Group::new());
/// ```
#[derive(Clone)]
pub struct Group {
    inner: Rc<Inner>,
}

struct Inner {
    /// By id, so in the order in which they were made.
    members: RefCell<BTreeMap<u64, Member>>,
    waiting: Lock<Waiting>,
    /// Those of a bounded pool. Each member has one.
    slots: Option<Slots>,
}

struct Member {
    greenlet: GreenletRef,
    /// Removes it when it has ended.
    link: LinkId,
    /// It got its raise from a kill of the group, and gets no second one.
    dying: bool,
}

struct Waiting {
    /// Until the group is empty.
    joiners: WaitList<()>,
    /// Until it is empty, or has a new member to be killed.
    killers: WaitList<()>,
}

impl Group {
    /// An empty group.
    pub fn new() -> Group {
        Group::with_slots(None)
    }

    pub(super) fn with_slots(slots: Option<Slots>) -> Group {
        let waiting = Lock::new(Waiting { joiners: WaitList::new(), killers: WaitList::new() });
        Group { inner: Rc::new(Inner { members: RefCell::default(), waiting, slots }) }
    }

    pub(super) fn slots(&self) -> Option<&Slots> {
        self.inner.slots.as_ref()
    }

    // --- members -----------------------------------------------------------------------------------------------

    /// Spawns a greenlet that is a member.
    ///
    /// In a [`Pool`](super::Pool) this waits for a slot first. A kill or timeout that ends the wait drops the closure and
    /// takes no slot.
    ///
    /// # Panics
    /// In a callback of the loop, if it would have to wait.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        match self.spawn_until(f, Some(Deadline::Never)) {
            Ok(greenlet) => greenlet,
            Err(PoolFull(_)) => unreachable!("a wait without a deadline ends with a slot"),
        }
    }

    /// `None`: does not wait.
    #[track_caller]
    pub(super) fn spawn_until<F, T>(
        &self,
        f: F,
        deadline: Option<Deadline>,
    ) -> Result<Greenlet<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let Some(slot) = self.slot(deadline) else { return Err(PoolFull(f)) };
        let greenlet = crate::spawn(f);
        self.insert(&greenlet, slot);
        Ok(greenlet)
    }

    /// Makes a greenlet a member until it ends. Whether it was started, and on which hub it lives, does not matter.
    ///
    /// Does nothing if it is a member already. In a [`Pool`](super::Pool) this waits for a slot first; a kill or timeout
    /// that ends the wait takes no slot, and the greenlet is not added.
    ///
    /// # Panics
    /// In a callback of the loop, if it would have to wait.
    pub fn add(&self, greenlet: &GreenletRef) {
        let added = self.add_until(greenlet, Some(Deadline::Never));
        debug_assert!(added.is_ok(), "a wait without a deadline ends with a slot");
    }

    pub(super) fn add_until(
        &self,
        greenlet: &GreenletRef,
        deadline: Option<Deadline>,
    ) -> Result<(), PoolFull> {
        if self.contains(greenlet) {
            return Ok(());
        }
        let slot = self.slot(deadline).ok_or(PoolFull(()))?;
        // Somebody else may have added it meanwhile; then the slot goes back.
        if !self.contains(greenlet) {
            self.insert(greenlet, slot);
        }
        Ok(())
    }

    /// [Adds](Group::add) a greenlet and starts it. If a kill or timeout ends the wait for a slot, it is not started.
    ///
    /// # Panics
    /// As [`add`](Group::add).
    pub fn start(&self, greenlet: &GreenletRef) {
        self.add(greenlet);
        greenlet.start();
    }

    /// Takes a greenlet out, which goes on, and frees its slot at once. True if it was a member.
    pub fn discard(&self, greenlet: &GreenletRef) -> bool {
        match self.inner.remove(greenlet.id()) {
            Some(member) => {
                member.greenlet.unlink(&member.link);
                true
            }
            None => false,
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.inner.members.borrow().len()
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the greenlet is a member.
    pub fn contains(&self, greenlet: &GreenletRef) -> bool {
        self.inner.members.borrow().contains_key(&greenlet.id())
    }

    /// Who is a member now, in the order in which the greenlets were made. Members that come and go later do not change
    /// it.
    pub fn iter(&self) -> std::vec::IntoIter<GreenletRef> {
        self.members_where(|_| true).into_iter()
    }

    fn members_where(&self, wanted: impl Fn(&mut Member) -> bool) -> Vec<GreenletRef> {
        let mut members = self.inner.members.borrow_mut();
        members.values_mut().filter_map(|member| wanted(member).then(|| member.greenlet.clone())).collect()
    }

    fn slot(&self, deadline: Option<Deadline>) -> Option<Slot<'_>> {
        let taken = self.slots().is_none_or(|slots| slots.take(deadline));
        taken.then(|| Slot(&self.inner))
    }

    /// It is not a member yet.
    fn insert(&self, greenlet: &GreenletRef, slot: Slot<'_>) {
        // Not a strong reference: one that is never started must not keep the group for ever.
        let group = Rc::downgrade(&self.inner);
        let link = greenlet.rawlink(move |ended| {
            if let Some(group) = group.upgrade() {
                drop(group.remove(ended.id()));
            }
        });
        let member = Member { greenlet: greenlet.clone(), link, dying: false };
        self.inner.members.borrow_mut().insert(greenlet.id(), member);
        slot.keep();
        let wakeups = self.inner.waiting.lock().killers.notify_all();
        wakeups.wake();
    }

    // --- waiting -----------------------------------------------------------------------------------------------

    /// Waits until the group is empty, or was for a moment. Does not suspend if it is.
    ///
    /// A kill or timeout ends the wait and does nothing to the members. A member that joins its own group waits for ever.
    pub fn join(&self) {
        self.join_until(Deadline::Never);
    }

    /// As [`join`](Group::join), for at most `timeout`. True if the group was empty.
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.join_until(Deadline::After(timeout))
    }

    /// As [`join`](Group::join), and tells whether a member failed: gevent's `join(raise_error=True)`.
    ///
    /// # Errors
    /// The failure of the first, by age, of those that were members when this was called and failed. Those that were
    /// killed or exited did not fail.
    ///
    /// ```
    /// use greenlet_core::pool::Group;
    ///
    /// let group = Group::new();
    /// group.spawn(|| 1);
    /// group.spawn(|| greenlet_core::raise(std::io::Error::other("no disk")));
    /// assert_eq!(group.join_raise_error().unwrap_err().to_string(), "no disk");
    /// ```
    pub fn join_raise_error(&self) -> Result<(), Failure> {
        self.join_failures(Deadline::Never).map(|_| ())
    }

    /// As [`join_raise_error`](Group::join_raise_error), for at most `timeout`. True if the group was empty.
    ///
    /// # Errors
    /// As `join_raise_error`, also if others have not ended in time.
    pub fn join_raise_error_timeout(&self, timeout: Duration) -> Result<bool, Failure> {
        self.join_failures(Deadline::After(timeout))
    }

    fn join_failures(&self, deadline: Deadline) -> Result<bool, Failure> {
        let members = self.iter();
        let empty = self.join_until(deadline);
        members.into_iter().find_map(|member| member.exception()).map_or(Ok(empty), Err)
    }

    fn join_until(&self, deadline: Deadline) -> bool {
        let waiting = self.inner.waiting.lock();
        self.is_empty() || wait("Group::join", waiting, |waiting| &mut waiting.joiners, (), deadline).is_ok()
    }

    // --- killing -----------------------------------------------------------------------------------------------

    /// Raises [`GreenletExit`](crate::GreenletExit) in all members, and waits until the group is empty.
    ///
    /// Those that are added meanwhile are killed as well. Each member gets the raise from its group at most once, however
    /// often the group is killed: one that survives is waited for. A kill or timeout of the caller ends the wait, and the
    /// raises stand. A member may call this: it is killed with the others, where it waits for them.
    pub fn kill(&self) {
        self.kill_with(Kill::default());
    }

    /// As [`kill`](Group::kill), with an error of one's own, without waiting, or with a limit on the wait. True if the group
    /// is empty then.
    pub fn kill_with(&self, kill: Kill) -> bool {
        self.kill_members(&kill, kill.deadline())
    }

    /// Kills one member, unless it has its raise already, as [`GreenletRef::kill_with`] does. True if it has ended;
    /// false also if the greenlet is not a member and has not ended.
    ///
    /// If it has its raise already this does not wait, as in gevent.
    pub fn kill_one(&self, greenlet: &GreenletRef, kill: Kill) -> bool {
        let mut members = self.inner.members.borrow_mut();
        let fresh =
            members.get_mut(&greenlet.id()).is_some_and(|member| !mem::replace(&mut member.dying, true));
        drop(members);
        if fresh { greenlet.kill_with(kill) } else { greenlet.ready() }
    }

    /// `None`: does not wait. True if the group is empty.
    fn kill_members(&self, kill: &Kill, deadline: Option<Deadline>) -> bool {
        let deadline = deadline.map(|mut deadline| {
            deadline.fix();
            deadline
        });
        loop {
            // One that never started is cancelled right here; its destructors may spawn others.
            let alive = self.members_where(|member| !mem::replace(&mut member.dying, true));
            if !alive.is_empty() {
                for member in alive {
                    member.kill_with(kill.clone().no_wait());
                }
                continue;
            }
            let Some(deadline) = deadline else { return self.is_empty() };
            let waiting = self.inner.waiting.lock();
            if self.is_empty() {
                return true;
            }
            if wait("Group::kill", waiting, |waiting| &mut waiting.killers, (), deadline).is_err() {
                return self.is_empty();
            }
        }
    }
}

impl Inner {
    /// Takes a member out and frees its slot.
    fn remove(&self, id: u64) -> Option<Member> {
        let mut members = self.members.borrow_mut();
        let member = members.remove(&id)?;
        let empty = members.is_empty();
        drop(members);
        self.release_slot();
        if empty {
            let mut waiting = self.waiting.lock();
            let joiners = waiting.joiners.notify_all();
            let killers = waiting.killers.notify_all();
            drop(waiting);
            joiners.wake();
            killers.wake();
        }
        // Its last reference may be among what goes now, and end in user code: after all is settled.
        Some(member)
    }

    fn release_slot(&self) {
        if let Some(slots) = &self.slots {
            slots.release();
        }
    }
}

/// A slot without a member yet. Goes back when it is dropped.
struct Slot<'a>(&'a Inner);

impl Slot<'_> {
    /// A member has it now.
    fn keep(self) {
        mem::forget(self);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.release_slot();
    }
}

impl Default for Group {
    fn default() -> Group {
        Group::new()
    }
}

impl<G: AsRef<GreenletRef>> Extend<G> for Group {
    fn extend<I: IntoIterator<Item = G>>(&mut self, greenlets: I) {
        greenlets.into_iter().for_each(|greenlet| self.add(greenlet.as_ref()));
    }
}

impl<G: AsRef<GreenletRef>> FromIterator<G> for Group {
    fn from_iter<I: IntoIterator<Item = G>>(greenlets: I) -> Group {
        let mut group = Group::new();
        group.extend(greenlets);
        group
    }
}

/// As [`Group::iter`].
impl IntoIterator for &Group {
    type Item = GreenletRef;
    type IntoIter = std::vec::IntoIter<GreenletRef>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish_non_exhaustive()
    }
}
