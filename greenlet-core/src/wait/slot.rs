//! A wait that does not suspend: its owner does other things meanwhile, among them to wait elsewhere too.

use std::marker::PhantomPinned;
use std::ptr::NonNull;
use std::task::Waker;

use super::{Node, Party, WaitList, Waiter};

/// What an operation of a primitive consists of, for those who wait for more than that one operation.
///
/// Sealed: it is implemented by what the primitives return (`Queue::get_op` and the like).
///
/// # Safety
/// An attempt shows one list, always the same. And whenever the attempt is `Send`, so are its payload and its output. (Callers cannot see the payload of an opaque attempt, so the bound
/// cannot be theirs.)
pub unsafe trait Attempt {
    /// What the operation results in.
    type Output;
    #[doc(hidden)]
    type Payload;

    /// Does it, if that needs no waiting.
    #[doc(hidden)]
    fn try_now(&mut self) -> Option<Self::Output>;

    /// Shows, under the lock, whether it could be done now (not counting what `mine` waits for), and the list of those who wait to
    /// do it.
    #[doc(hidden)]
    fn look(&self, mine: Option<NonNull<Party>>, at: &mut dyn FnMut(bool, &mut WaitList<Self::Payload>));

    /// What its node starts with.
    #[doc(hidden)]
    fn payload(&mut self) -> Self::Payload;

    /// Its node was notified.
    #[doc(hidden)]
    fn complete(&mut self, payload: Self::Payload) -> Self::Output;

    /// Its node was taken out without having been notified.
    #[doc(hidden)]
    fn recover(&mut self, payload: Self::Payload);

    /// Its node was notified, but nobody wants the output any more: nothing may be lost.
    #[doc(hidden)]
    fn give_back(&mut self, payload: Self::Payload);
}

/// An operation under way: not begun, waiting, or done.
#[expect(missing_debug_implementations, reason = "only sealed traits name it")]
pub struct Slot<A: Attempt> {
    attempt: A,
    /// While it waits. Other threads reach it then.
    node: Option<Node<A::Payload>>,
    output: Option<A::Output>,
    _pinned: PhantomPinned,
}

// SAFETY: payload and output go where the attempt may (its contract); the node is reached by others under the list's lock only.
unsafe impl<A: Attempt + Send> Send for Slot<A> {}

impl<A: Attempt> Slot<A> {
    pub(crate) fn new(attempt: A) -> Slot<A> {
        Slot { attempt, node: None, output: None, _pinned: PhantomPinned }
    }

    /// Does it, if that needs no waiting. True if it is done.
    pub(crate) fn try_now(&mut self) -> bool {
        self.output = self.attempt.try_now();
        self.output.is_some()
    }

    /// Enters the list of those who wait. False, and nothing is changed, if it could be done now.
    ///
    /// # Safety
    /// The slot does not move, and neither does the party, until [`leave`](Slot::leave) was called or it is dropped.
    pub(crate) unsafe fn enter(&mut self, waiter: Waiter, mine: Option<NonNull<Party>>) -> bool {
        let node = &*self.node.insert(Node::apart(waiter, self.attempt.payload()));
        let mut entered = false;
        self.attempt.look(mine, &mut |possible, list| {
            if !possible {
                // SAFETY: the node is fresh, and stays where it is (caller).
                unsafe { list.enter(node) };
                entered = true;
            }
        });
        if !entered {
            self.leave();
        }
        entered
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.node.is_some()
    }

    /// Whether it was notified: then [`leave`](Slot::leave) gives it its output.
    pub(crate) fn notified(&self) -> bool {
        self.node.as_ref().is_some_and(Node::notified)
    }

    /// Lets this task be woken instead of the one before.
    pub(crate) fn wake_instead(&self, waker: &Waker) {
        let Some(node) = &self.node else { return };
        let mut waiter = Some(Waiter::Task(waker.clone()));
        // SAFETY: under the lock. What was there before is dropped after it: that is somebody else's code.
        self.attempt.look(None, &mut |_, _| unsafe {
            if !node.notified() {
                waiter = waiter.take().map(|waiter| node.exchange_waiter(waiter));
            }
        });
    }

    /// Waits no longer. If it was notified, it is done.
    pub(crate) fn leave(&mut self) {
        if let Some((notified, payload)) = self.take_out() {
            if notified {
                self.output = Some(self.attempt.complete(payload));
            } else {
                self.attempt.recover(payload);
            }
        }
    }

    /// Waits no longer, and gives back what it was given.
    pub(crate) fn abandon(&mut self) {
        match self.take_out() {
            Some((true, payload)) => self.attempt.give_back(payload),
            Some((false, payload)) => self.attempt.recover(payload),
            None => {}
        }
    }

    fn take_out(&mut self) -> Option<(bool, A::Payload)> {
        let node = self.node.as_ref()?;
        let mut notified = false;
        // SAFETY: an attempt shows one list, always the same.
        self.attempt.look(None, &mut |_, list| notified = unsafe { list.leave(node) });
        // From here on nobody else knows the node.
        let node = self.node.take()?;
        Some((notified, node.into_payload()))
    }

    /// The output, once it is done.
    pub(crate) fn take_output(&mut self) -> Option<A::Output> {
        self.output.take()
    }
}

impl<A: Attempt> Drop for Slot<A> {
    fn drop(&mut self) {
        self.abandon();
    }
}
