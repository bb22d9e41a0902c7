//! Work spread over a group: one member for each item.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::rc::Rc;

use super::group::Group;
use crate::event::Event;
use crate::failure::{GreenletError, attempt};
use crate::greenlet::{Greenlet, GreenletRef, Kill};
use crate::raise::{GreenletExit, catch, raise};

/// How far an [`imap`](Group::imap) over an unlimited group runs ahead of its reader, unless told otherwise.
const UNLIMITED_AHEAD: usize = 1000;

/// Mapping, in a group and, with at most so many at once, in a [`Pool`](super::Pool).
///
/// A member of a full pool that maps over its own pool may wait for ever: for the slot that it has itself.
impl Group {
    /// Calls `f` for every item, each in a member of its own, and collects the results in the order of the items.
    ///
    /// Suspends while the pool is full, and until all are done. The items are drawn by the caller, whenever there is a
    /// slot for the next one. When this ends early, by an error, or a kill or timeout of the caller, the members that are
    /// still at work for it are killed.
    ///
    /// # Errors
    /// How the first item, by position, ended that did not return: [`GreenletError::Failed`] or [`GreenletError::Exit`].
    /// Items after it may have run or not.
    ///
    /// ```
    /// use greenlet_core::pool::Pool;
    ///
    /// let squares = Pool::new(4).map(|n: u32| n * n, 1..=5)?;
    /// assert_eq!(squares, [1, 4, 9, 16, 25]);
    /// # Ok::<(), greenlet_core::GreenletError>(())
    /// ```
    #[track_caller]
    pub fn map<F, I, T>(&self, f: F, items: I) -> Result<Vec<T>, GreenletError>
    where
        F: Fn(I::Item) -> T + 'static,
        I: IntoIterator,
        I::Item: 'static,
        T: 'static,
    {
        let f = Rc::new(f);
        let mut values = Vec::new();
        let mut at_work = AtWork(VecDeque::new());
        for item in items {
            while at_work.0.front().is_some_and(|first| first.ready()) {
                values.push(at_work.take_first()?);
            }
            let f = f.clone();
            at_work.0.push_back(self.spawn(move || f(item)));
        }
        while !at_work.0.is_empty() {
            values.push(at_work.take_first()?);
        }
        Ok(values)
    }

    /// As [`map`](Group::map), in a greenlet that is not a member, which ends as the map does. Never suspends. gevent's
    /// `map_async`, and its `map_cb` with a link to it: [`Greenlet::link_value`].
    ///
    /// A kill of the greenlet kills the members that are at work for it.
    ///
    /// ```
    /// use greenlet_core::pool::Pool;
    ///
    /// let squares = Pool::new(4).map_async(|n: u32| n * n, 1..=3);
    /// squares.link_value(|squares| println!("{:?}", squares.value()));
    /// assert_eq!(squares.get()?, [1, 4, 9]);
    /// # Ok::<(), greenlet_core::GreenletError>(())
    /// ```
    #[track_caller]
    pub fn map_async<F, I, T>(&self, f: F, items: I) -> Greenlet<Vec<T>>
    where
        F: Fn(I::Item) -> T + 'static,
        I: IntoIterator + 'static,
        I::Item: 'static,
        T: 'static,
    {
        let group = self.clone();
        crate::spawn(move || match group.map(f, items) {
            Ok(values) => values,
            Err(GreenletError::Failed(failure)) => failure.reraise(),
            Err(_) => raise(GreenletExit),
        })
    }

    /// Calls `f` for every item, each in a member of its own; the iterator returned has the results in the order of the
    /// items.
    ///
    /// The items are drawn, and the members spawned, by a greenlet that is not a member, which waits for slots and runs
    /// ahead of the reader by [`max_size`](Imap::max_size) at most; so endless input is welcome. See [`Imap`]. Several inputs, as
    /// gevent takes them, are one that was zipped: `pool.imap(|(a, b)| ..., xs.zip(ys))`.
    ///
    /// ```
    /// use greenlet_core::pool::Pool;
    ///
    /// let pool = Pool::new(3);
    /// let first: Result<Vec<_>, _> = pool.imap(|n: u64| n * 10, 0..).take(4).collect();
    /// assert_eq!(first?, [0, 10, 20, 30]);
    /// # Ok::<(), greenlet_core::GreenletError>(())
    /// ```
    #[track_caller]
    pub fn imap<F, I, T>(&self, f: F, items: I) -> Imap<T>
    where
        F: Fn(I::Item) -> T + 'static,
        I: IntoIterator + 'static,
        I::Item: 'static,
        T: 'static,
    {
        Imap::new(self, Order::Items, f, items)
    }

    /// As [`imap`](Group::imap), with the results in the order in which they are done.
    #[track_caller]
    pub fn imap_unordered<F, I, T>(&self, f: F, items: I) -> Imap<T>
    where
        F: Fn(I::Item) -> T + 'static,
        I: IntoIterator + 'static,
        I::Item: 'static,
        T: 'static,
    {
        Imap::new(self, Order::Completion, f, items)
    }

    /// Runs `f` in a member and waits for what it returns.
    ///
    /// Called by a member of the same group, it runs `f` right there, without waiting for a slot. Then an error that is
    /// *raised* in `f` goes through to the caller, since it may well be a kill of the caller; a panic still comes back as
    /// the error.
    ///
    /// When the caller is killed or timed out, so is `f`.
    ///
    /// # Errors
    /// [`GreenletError::Failed`] or [`GreenletError::Exit`].
    ///
    /// ```
    /// use greenlet_core::pool::Pool;
    ///
    /// let pool = Pool::new(1);
    /// let inner = pool.clone();
    /// let answer = pool.apply(move || inner.apply(|| 42))??; // no deadlock
    /// assert_eq!(answer, 42);
    /// # Ok::<(), greenlet_core::GreenletError>(())
    /// ```
    #[track_caller]
    pub fn apply<F, T>(&self, f: F) -> Result<T, GreenletError>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        if self.contains(&crate::current()) {
            return apply_inline(f);
        }
        AtWork(VecDeque::from([self.spawn(f)])).take_first()
    }

    /// Runs `f` in a member and does not wait: when the pool is full, a greenlet that is not a member waits for the slot.
    /// Never suspends.
    ///
    /// The greenlet returned becomes a member when it starts. gevent's `callback` is a link to it:
    /// [`Greenlet::link_value`].
    #[track_caller]
    pub fn apply_async<F, T>(&self, f: F) -> Greenlet<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let greenlet = Greenlet::new(f);
        if self.add_until(&greenlet, None).is_ok() {
            greenlet.start();
        } else {
            let (group, waiting) = (self.clone(), GreenletRef::clone(&greenlet));
            crate::spawn(move || group.start(&waiting));
        }
        greenlet
    }
}

/// As a member would run it, except for raises, which may be meant for the caller.
pub(super) fn apply_inline<T>(f: impl FnOnce() -> T) -> Result<T, GreenletError> {
    match attempt(|| catch(f))? {
        Ok(value) => Ok(value),
        Err(raised) => raised.reraise(),
    }
}

/// Members whose results are ours alone. Killed when dropped.
struct AtWork<T>(VecDeque<Greenlet<T>>);

impl<T> AtWork<T> {
    /// Waits for the first and takes it out. There must be one.
    fn take_first(&mut self) -> Result<T, GreenletError> {
        self.0[0].join(); // stays here meanwhile, to be killed if this is unwound
        match self.0.pop_front() {
            Some(first) => first.into_value(),
            None => unreachable!("nobody else takes from here"),
        }
    }
}

impl<T> Drop for AtWork<T> {
    fn drop(&mut self) {
        self.0.iter().for_each(kill_soon);
    }
}

fn kill_soon<T>(greenlet: &Greenlet<T>) {
    greenlet.kill_with(Kill::default().no_wait());
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Items,
    Completion,
}

/// The results of an [`imap`](Group::imap), as they come: `Ok` with a value, or `Err` with how the item ended instead.
///
/// A failed item does not end the iterator. A failure of the *input* iterator does, after the results of the items before
/// it: it is the last `Err`.
///
/// [`next`](Iterator::next) suspends until the next result is there. A kill or timeout that ends the wait loses no
/// result: the iterator can be read on. Dropping it kills what still runs for it, and draws no more items; it does not
/// wait. An item that was drawn and has no slot yet is dropped then.
///
/// ```
/// use greenlet_core::pool::Pool;
/// use greenlet_core::sleep;
/// use std::time::Duration;
///
/// let pool = Pool::new(2);
/// let naps = [20, 1].map(Duration::from_millis);
/// let mut naps = pool.imap_unordered(|nap| { sleep(nap); nap }, naps);
/// assert_eq!(naps.next().unwrap()?, Duration::from_millis(1));
/// # Ok::<(), greenlet_core::GreenletError>(())
/// ```
#[must_use = "dropping it kills what runs for it"]
pub struct Imap<T: 'static> {
    flow: Rc<Flow<T>>,
    feeder: Greenlet<()>,
    order: Order,
    /// The feeder's end was told.
    finished: bool,
}

/// What goes from the feeder to the reader.
struct Flow<T> {
    /// Those spawned and not yet read, by position.
    at_work: RefCell<BTreeMap<u64, Greenlet<T>>>,
    /// The positions of those that are done, where that order counts.
    done: RefCell<VecDeque<u64>>,
    max_size: Cell<usize>,
    /// Nobody reads any more.
    closed: Cell<bool>,
    /// Something is there to be read, or the feeder has ended.
    news: Event,
    /// Something was read.
    room: Event,
}

impl<T> Flow<T> {
    fn has_room(&self) -> bool {
        self.at_work.borrow().len() < self.max_size.get()
    }

    fn wait_for_room(&self) {
        while !self.has_room() {
            self.room.clear();
            self.room.wait();
        }
    }
}

impl<T: 'static> Imap<T> {
    #[track_caller]
    fn new<F, I>(group: &Group, order: Order, f: F, items: I) -> Imap<T>
    where
        F: Fn(I::Item) -> T + 'static,
        I: IntoIterator + 'static,
        I::Item: 'static,
    {
        let ahead = group.slots().map_or(UNLIMITED_AHEAD, |slots| slots.size().saturating_mul(2).max(1));
        let flow = Rc::new(Flow {
            at_work: RefCell::default(),
            done: RefCell::default(),
            max_size: Cell::new(ahead),
            closed: Cell::new(false),
            news: Event::new(),
            room: Event::new(),
        });
        let feeder = crate::spawn({
            let (group, flow, f) = (group.clone(), flow.clone(), Rc::new(f));
            move || feed(&group, &flow, order, &f, items)
        });
        let feeder_ref: &GreenletRef = &feeder;
        feeder_ref.rawlink({
            let flow = flow.clone();
            move |_| flow.news.set()
        });
        Imap { flow, feeder, order, finished: false }
    }

    /// How many items may be drawn and not yet read: at work, or done and waiting here. gevent's `maxsize`.
    ///
    /// By default that is twice the size of the pool, and 1000 where there is no limit.
    ///
    /// # Panics
    /// When `limit` is 0: nothing could ever be read.
    #[track_caller]
    pub fn max_size(self, limit: usize) -> Imap<T> {
        assert!(limit > 0, "an imap must be allowed to draw at least 1 item");
        self.flow.max_size.set(limit);
        self.flow.room.set();
        self
    }

    /// Waits until there is a result to be read. `None`: there will be none.
    fn wait_for_next(&self) -> Option<u64> {
        loop {
            let next = match self.order {
                Order::Items => {
                    // Joined by a plain reference: the value has one owner, and stays with it if this is unwound.
                    let at_work = self.flow.at_work.borrow();
                    let first = at_work.first_key_value().map(|(at, first)| (*at, GreenletRef::clone(first)));
                    drop(at_work);
                    first.map(|(at, first)| {
                        first.join();
                        at
                    })
                }
                Order::Completion => self.flow.done.borrow().front().copied(),
            };
            if next.is_some() {
                return next;
            }
            if self.feeder.ready() && self.flow.at_work.borrow().is_empty() {
                return None;
            }
            self.flow.news.clear();
            self.flow.news.wait();
        }
    }

    /// How the input ended, the first time.
    fn finish(&mut self) -> Option<Result<T, GreenletError>> {
        if std::mem::replace(&mut self.finished, true) {
            return None;
        }
        match self.feeder.exception() {
            Some(failure) => Some(Err(GreenletError::Failed(failure))),
            None if self.feeder.exited() => Some(Err(GreenletError::Exit(GreenletExit))),
            None => None,
        }
    }
}

/// The body of the greenlet that draws the items.
fn feed<F, I, T>(group: &Group, flow: &Rc<Flow<T>>, order: Order, f: &Rc<F>, items: I)
where
    F: Fn(I::Item) -> T + 'static,
    I: IntoIterator,
    I::Item: 'static,
    T: 'static,
{
    let mut items = items.into_iter();
    for at in 0.. {
        flow.wait_for_room();
        let Some(item) = items.next() else { return };
        // A kill waits for the next suspension if an item, or below a slot, was handed over in the same moment.
        if flow.closed.get() {
            return;
        }
        let f = f.clone();
        let greenlet = group.spawn(move || f(item));
        if flow.closed.get() {
            kill_soon(&greenlet);
            return;
        }
        if order == Order::Completion {
            let flow = flow.clone();
            // Not the typed link: the value has one owner.
            let greenlet: &GreenletRef = &greenlet;
            greenlet.rawlink(move |_| {
                flow.done.borrow_mut().push_back(at);
                flow.news.set();
            });
        }
        flow.at_work.borrow_mut().insert(at, greenlet);
        flow.news.set();
    }
}

impl<T: 'static> Iterator for Imap<T> {
    type Item = Result<T, GreenletError>;

    fn next(&mut self) -> Option<Result<T, GreenletError>> {
        let Some(at) = self.wait_for_next() else { return self.finish() };
        if self.order == Order::Completion {
            self.flow.done.borrow_mut().pop_front();
        }
        let greenlet = self.flow.at_work.borrow_mut().remove(&at);
        self.flow.room.set();
        greenlet.map(Greenlet::into_value)
    }
}

impl<T: 'static> FusedIterator for Imap<T> {}

impl<T: 'static> Drop for Imap<T> {
    fn drop(&mut self) {
        self.flow.closed.set(true);
        kill_soon(&self.feeder);
        // Those that never started are cancelled right here, and may run the user's destructors: not while borrowed.
        let at_work = self.flow.at_work.take();
        at_work.values().for_each(kill_soon);
    }
}

impl<T: 'static> fmt::Debug for Imap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap")
            .field("at_work", &self.flow.at_work.borrow().len())
            .field("max_size", &self.flow.max_size.get())
            .finish_non_exhaustive()
    }
}
