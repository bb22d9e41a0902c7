//! Waiting for the first of several things.
//!
//! [`select!`](crate::select!) waits for several operations and does exactly one of them. Operations come from the `_op` methods of the
//! primitives: they say what is to be done, and do nothing until they are selected.
//!
//! | operation | output |
//! |---|---|
//! | [`Queue::get_op`](crate::Queue::get_op), and of the other queues and [`Channel`](crate::Channel) | `Result<T, ShutDown>` |
//! | [`Queue::put_op`](crate::Queue::put_op), and of the others | `Result<(), ShutDown<T>>` |
//! | [`Event::wait_op`](crate::Event::wait_op) | `()` |
//! | [`AsyncResult::get_op`](crate::AsyncResult::get_op) | `Result<T, AsyncResultError>` |
//! | [`GreenletRef::join_op`](crate::GreenletRef::join_op), [`Greenlet::get_op`](crate::Greenlet::get_op) | `()`, `Result<T, GreenletError>` |
//! | [`Semaphore::permit_op`](crate::sync::Semaphore::permit_op), and of [`BoundedSemaphore`](crate::sync::BoundedSemaphore) | [`Permit`](crate::sync::Permit) |
//! | [`Semaphore::wait_op`](crate::sync::Semaphore::wait_op), and of the other one | `()` |
//! | [`Task::wait_op`](crate::pool::Task::wait_op) | `()` |
//! | [`after`] | `()` |
//!
//! Nothing is lost on the operations that were not selected: an item that is not taken stays in its queue, an item that is not put
//! comes back with its operation, a permit stays with the semaphore. That holds under kills and timeouts too.
//!
//! An operation (but for [`after`]) is a future as well: in an async task, `queue.get_op().await` waits for it ([`future`](mod@crate::future)).
//!
//! gevent waits for several objects with `gevent.wait` and `iwait`, which are [`wait`](crate::wait()) and [`iwait`](crate::iwait) here: those tell
//! *which* objects are ready, and take nothing.

use std::cell::Cell;
use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use crate::hub::{Deadline, Hub, Nanos};
pub use crate::wait::Attempt;
use crate::wait::{Party, Slot, Waiter};

/// An operation that has not begun, for [`select!`](crate::select!) and `.await`.
#[must_use = "an operation does nothing until it is selected or awaited"]
pub struct Operation<A: Attempt>(pub(crate) A);

impl<A: Attempt> fmt::Debug for Operation<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").finish_non_exhaustive()
    }
}

/// An operation of [`select!`](crate::select!): it is done when so much time has passed since the `select!` began, unless another one was done
/// before. With zero the others get one trip through the loop.
///
/// [`Duration::MAX`] never comes.
pub fn after(duration: Duration) -> After {
    After { duration }
}

/// See [`after`].
#[derive(Clone, Copy, Debug)]
#[must_use = "an operation does nothing until it is selected"]
pub struct After {
    duration: Duration,
}

/// Waits for the first of several [operations](mod@crate::select), does it, and runs its arm: the value of that arm is the value of the
/// whole.
///
/// An arm is `pattern = operation => expression`; the pattern must match every output. With a last arm `default => expression` it never
/// suspends: that one is run if no operation can be done now. There may be up to 16 arms.
///
/// If several can be done now, one of them is chosen at random, so that none is starved. Otherwise the greenlet suspends until one can be
/// done, in line with all others who wait there. The operations are evaluated once, in order, before any is tried; those that were not done
/// are dropped before the arm runs.
///
/// A kill or timeout while it is suspended unwinds from here, with none of the operations done. Works from threads without a hub too.
///
/// # Panics
/// In a callback of the loop, unless there is a `default`.
///
/// ```
/// use greenlet_core::{select, select::after, spawn, Event, Queue};
/// use std::{rc::Rc, time::Duration};
///
/// let (jobs, stop) = (Rc::new(Queue::unbounded()), Rc::new(Event::new()));
/// let worker = spawn({
///     let (jobs, stop) = (jobs.clone(), stop.clone());
///     move || {
///         let mut done = 0;
///         loop {
///             select! {
///                 job = jobs.get_op() => done += job.unwrap_or(0),
///                 () = stop.wait_op() => return done,
///                 () = after(Duration::from_secs(60)) => panic!("nobody needs me"),
///             }
///         }
///     }
/// });
/// jobs.put(20)?;
/// jobs.put(22)?;
/// greenlet_core::yield_now();
/// stop.set();
/// assert_eq!(worker.get()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! select {
    () => {
        ::core::compile_error!("select! needs an operation, or a default")
    };
    ($($tokens:tt)+) => {
        $crate::__select!(@arms [] [__a __b __c __d __e __f __g __h __i __j __k __l __m __n __o __p] $($tokens)+)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@arms [$($arms:tt)*] [$($names:ident)*] default => $default:expr $(,)?) => {
        $crate::__select!(@run [$($arms)*] [Now { $default }])
    };
    (@arms [$($arms:tt)*] [$name:ident $($names:ident)*] $pattern:pat = $operation:expr => { $($body:tt)* }, $($rest:tt)*) => {
        $crate::__select!(@arms [$($arms)* ($name $pattern = $operation => { $($body)* })] [$($names)*] $($rest)*)
    };
    (@arms [$($arms:tt)*] [$name:ident $($names:ident)*] $pattern:pat = $operation:expr => { $($body:tt)* } $($rest:tt)*) => {
        $crate::__select!(@arms [$($arms)* ($name $pattern = $operation => { $($body)* })] [$($names)*] $($rest)*)
    };
    (@arms [$($arms:tt)*] [$name:ident $($names:ident)*] $pattern:pat = $operation:expr => $body:expr, $($rest:tt)*) => {
        $crate::__select!(@arms [$($arms)* ($name $pattern = $operation => $body)] [$($names)*] $($rest)*)
    };
    (@arms [$($arms:tt)*] [$name:ident $($names:ident)*] $pattern:pat = $operation:expr => $body:expr) => {
        $crate::__select!(@arms [$($arms)* ($name $pattern = $operation => $body)] [$($names)*])
    };
    (@arms [$($arms:tt)*] [] $($rest:tt)+) => {
        ::core::compile_error!("select! takes at most 16 operations")
    };
    (@arms [$($arms:tt)+] [$($names:ident)*]) => {
        $crate::__select!(@run [$($arms)+] [Wait { unreachable!("one of the operations was done") }])
    };
    (@run [$(($name:ident $pattern:pat = $operation:expr => $body:expr))*] [$how:ident $default:block]) => {{
        // A `match`, so that what an operation borrows from may be a temporary.
        let ($($name,)*) = match ($($crate::select::IntoArm::into_arm($operation),)*) {
            ($(mut $name,)*) => {
                $crate::select::choose(&mut [$(&mut $name),*], $crate::select::How::$how);
                ($($crate::select::Arm::take(&mut $name),)*)
            }
        };
        $crate::__select!(@pick [$(($name $pattern => $body))*] $default)
    }};
    (@pick [] $default:block) => { $default };
    (@pick [($name:ident $pattern:pat => $body:expr) $($rest:tt)*] $default:block) => {
        if let ::core::option::Option::Some(__output) = $name {
            let $pattern = __output;
            $body
        } else {
            $crate::__select!(@pick [$($rest)*] $default)
        }
    };
}

/// Makes an arm of what `select!` was given.
#[doc(hidden)]
pub trait IntoArm {
    type Arm: Arm;
    fn into_arm(self) -> Self::Arm;
}

impl<A: Attempt> IntoArm for Operation<A> {
    type Arm = Slot<A>;
    fn into_arm(self) -> Slot<A> {
        Slot::new(self.0)
    }
}

impl IntoArm for After {
    type Arm = Timer;
    fn into_arm(self) -> Timer {
        Timer { deadline: Deadline::After(self.duration), over: false }
    }
}

/// One of the operations that `choose` chooses from.
#[doc(hidden)]
pub trait Arm: Steps {
    type Output;
    /// The output of the operation, if it was done.
    fn take(&mut self) -> Option<Self::Output>;
}

/// What `choose` does with an operation, whatever its output.
#[doc(hidden)]
pub trait Steps {
    /// Does it, if that needs no waiting. True if it is done.
    fn try_now(&mut self) -> bool;
    /// Joins those who wait. False if it could be done now.
    ///
    /// # Safety
    /// Neither it nor the party moves until `leave` or `abandon`.
    unsafe fn enter(&mut self, party: &Party, number: u32) -> bool;
    /// Waits no longer; is done if it was notified.
    fn leave(&mut self);
    /// Waits no longer, and is not done whatever happened.
    fn abandon(&mut self);
    /// When it is done because time has passed, by the hub's clock.
    fn deadline(&mut self) -> Option<u64> {
        None
    }
    fn deadline_passed(&mut self) {}
}

impl<A: Attempt> Arm for Slot<A> {
    type Output = A::Output;
    fn take(&mut self) -> Option<A::Output> {
        self.take_output()
    }
}

impl<A: Attempt> Steps for Slot<A> {
    fn try_now(&mut self) -> bool {
        Slot::try_now(self)
    }

    unsafe fn enter(&mut self, party: &Party, number: u32) -> bool {
        let party = NonNull::from(party);
        // SAFETY: passed on.
        unsafe { Slot::enter(self, Waiter::Party(party, number), Some(party)) }
    }

    fn leave(&mut self) {
        Slot::leave(self);
    }

    fn abandon(&mut self) {
        Slot::abandon(self);
    }
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Timer {
    deadline: Deadline,
    over: bool,
}

impl Arm for Timer {
    type Output = ();
    fn take(&mut self) -> Option<()> {
        self.over.then_some(())
    }
}

impl Steps for Timer {
    fn try_now(&mut self) -> bool {
        false
    }

    unsafe fn enter(&mut self, _: &Party, _: u32) -> bool {
        true
    }

    fn leave(&mut self) {}

    fn abandon(&mut self) {}

    fn deadline(&mut self) -> Option<u64> {
        self.deadline.fix().map(|at| at.0)
    }

    fn deadline_passed(&mut self) {
        self.over = true;
    }
}

#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Wait until one of them was done.
    Wait,
    /// Do one of them only if that needs no waiting.
    Now,
}

/// Does one of the operations.
#[doc(hidden)]
pub fn choose(arms: &mut [&mut dyn Steps], how: How) {
    let first = random_below(arms.len());
    loop {
        let (before, from) = arms.split_at_mut(first);
        if from.iter_mut().chain(before).any(|arm| arm.try_now()) || how == How::Now {
            return;
        }
        if wait_for_one(arms) {
            return;
        }
        // Another thread has made one of them possible meanwhile.
    }
}

/// False if one of them became possible before all had joined those who wait.
fn wait_for_one(arms: &mut [&mut dyn Steps]) -> bool {
    let deadlines = arms.iter_mut().enumerate().filter_map(|(at, arm)| Some((arm.deadline()?, at)));
    let earliest = deadlines.min();
    let party = Party::of_one();
    let mut waiting = Waiting { arms, party: &party };
    if !waiting.enter() && party.withdraw() {
        return false;
    }
    let deadline = earliest.map_or(Deadline::Never, |(at, _)| Deadline::At(Nanos(at)));
    let timed_out = !party.wait_for_claim("select!", deadline);
    // Whoever has claimed still holds the lock of his list if he has not handed over yet: leaving waits for him.
    waiting.leave();
    if let Some((_, at)) = earliest
        && timed_out
    {
        waiting.arms[at].deadline_passed();
    }
    true
}

/// The operations that wait, or may. When it is dropped they do not any more, and nothing that they were given is lost.
struct Waiting<'a, 'b, 'c> {
    arms: &'a mut [&'b mut dyn Steps],
    party: &'c Party,
}

impl Waiting<'_, '_, '_> {
    /// False if one of them could be done now.
    fn enter(&mut self) -> bool {
        // SAFETY: the arms are borrowed until they have left in `drop` at the latest, and the party for longer.
        (0..).zip(self.arms.iter_mut()).all(|(number, arm)| unsafe { arm.enter(self.party, number) })
    }

    /// The one that was notified is done.
    fn leave(&mut self) {
        self.arms.iter_mut().for_each(|arm| arm.leave());
    }
}

impl Drop for Waiting<'_, '_, '_> {
    fn drop(&mut self) {
        self.party.close();
        self.arms.iter_mut().for_each(|arm| arm.abandon());
    }
}

/// A number for fairness: which one does not matter, only that it varies. The same for every run of a program.
fn random_below(limit: usize) -> usize {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0x9E37_79B9_7F4A_7C15) };
    }
    if let Some(simulation) = Hub::try_current().and_then(Hub::simulation) {
        return simulation.draw_below(limit.max(1) as u64) as usize;
    }
    // xorshift64
    let mut x = STATE.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    STATE.set(x);
    (x % limit.max(1) as u64) as usize
}
