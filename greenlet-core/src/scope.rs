//! Greenlets that borrow: `std::thread::scope` for greenlets. Why this is sound is in
//! `docs/decisions/0006-scopes-that-borrow.md`.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use crate::failure::{End, Failure, GreenletError};
use crate::greenlet::raw::Code;
use crate::greenlet::{Builder, Greenlet, GreenletRef, Kill, current};
use crate::hub::{self, Hub, LoopExit};
use crate::raise::{GreenletExit, Raised, catch, is_unwinding};

/// Runs `f`, which may spawn greenlets that borrow from outside of it, and waits until they have all ended: `std::thread::scope`
/// for greenlets.
///
/// Before this returns or unwinds, every greenlet of the scope has ended, and its closure and what that captured are gone,
/// whatever happens:
///
/// - `f` returns: the others are waited for.
/// - `f` is unwound, by a panic or by what is raised in it: the greenlets of the scope are killed and waited for, then the
///   unwinding goes on.
/// - The caller is killed or timed out while it waits: likewise, and then that is raised.
///
/// So a kill or a timeout takes effect only when the greenlets of the scope are through their destructors. What is raised in the
/// caller meanwhile comes after the first, at its next suspension points. A greenlet that catches every kill keeps its scope
/// waiting until it ends by itself: there is no other sound way.
///
/// If `f` returns and one of the greenlets has failed whose failure nobody saw, by waiting for it with one of the methods of
/// [`ScopedGreenlet`], then this raises that failure in the caller: the first one, by age. A failure leaves the other greenlets
/// of the scope alone. (In a destructor that runs while the caller unwinds, it is only reported.) One that is to end the scope is linked: `s.spawn(..).link_exception_to(&current())`.
///
/// Greenlets of a scope may spawn others in it, and scopes may be nested.
///
/// # Panics
/// In a callback of the loop and in a panic hook, where nobody can wait.
///
/// ```
/// use greenlet_core::{scope, yield_now};
/// use std::cell::Cell;
///
/// let words = vec!["borrow".to_string(), "from".to_string(), "here".to_string()];
/// let total = Cell::new(0);
/// let longest = scope(|s| {
///     s.spawn(|| {
///         yield_now();
///         total.set(words.iter().map(String::len).sum());
///     });
///     let longest = s.spawn(|| words.iter().max_by_key(|word| word.len()));
///     longest.get().unwrap()
/// });
/// assert_eq!((longest.unwrap().as_str(), total.get()), ("borrow", 14));
/// ```
///
/// What is borrowed must outlive the scope:
///
/// ```compile_fail
/// greenlet_core::scope(|s| {
///     let inside = String::from("gone before the scope ends");
///     s.spawn(|| println!("{inside}"));
/// });
/// ```
///
/// and nothing of the scope leaves it:
///
/// ```compile_fail
/// let handle = greenlet_core::scope(|s| s.spawn(|| 1));
/// ```
///
/// ```compile_fail
/// let local = 1;
/// let mut kept = None;
/// greenlet_core::scope(|s| kept = Some(s.spawn(|| &local)));
/// kept.unwrap().join();
/// ```
///
/// nor goes to other threads:
///
/// ```compile_fail
/// greenlet_core::scope(|s| {
///     std::thread::scope(|threads| {
///         threads.spawn(|| drop(s.spawn(|| ())));
///     });
/// });
/// ```
#[track_caller]
pub fn scope<'env, F, R>(f: F) -> R
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
{
    if Hub::current_hub().current_greenlet().is_none() {
        hub::blocked_in_loop();
    }
    let scope = Scope {
        owner: current(),
        children: RefCell::default(),
        prune_at: Cell::new(PRUNE_FROM),
        killed: Cell::new(false),
        scope: PhantomData,
        env: PhantomData,
    };
    // From here to the end of `wait` this function does not unwind.
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if result.is_err() {
        hub::unwinding_ended();
        scope.kill();
    }
    let raised = scope.wait();
    match result {
        Err(payload) => {
            scope.put_off(raised);
            hub::unwinding_begins();
            resume_unwind(payload)
        }
        Ok(result) => {
            let mut raised = raised.into_iter().filter(|raised| !raised.is_revoked());
            if let Some(first) = raised.next() {
                scope.put_off(raised);
                first.reraise();
            }
            match scope.unseen_failure() {
                // In a destructor that an unwinding runs, it must not be raised. It was reported.
                Some(failure) if !is_unwinding() => failure.reraise(),
                _ => result,
            }
        }
    }
}

/// Where greenlets are spawned that borrow: see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    owner: GreenletRef,
    /// All that were spawned, except for those that have ended and need not be known any more.
    children: RefCell<Vec<Child>>,
    /// With so many children, it is time to look for those that have ended.
    prune_at: Cell<usize>,
    killed: Cell<bool>,
    /// Invariant, as in std: `'scope` must neither grow nor shrink. Nor may it be used on other threads.
    scope: PhantomData<(*mut (), &'scope mut &'scope ())>,
    env: PhantomData<&'env mut &'env ()>,
}

const PRUNE_FROM: usize = 64;

#[derive(Clone)]
struct Child {
    greenlet: GreenletRef,
    /// Somebody waited for it, and so has its failure.
    seen: Rc<Cell<bool>>,
}

impl Child {
    /// Its failure, if it has failed and nobody knows.
    fn unseen_failure(&self) -> Option<Failure> {
        if self.seen.get() { None } else { self.greenlet.exception() }
    }
}

/// The code of a greenlet of a scope: what it returns goes to the handle.
struct ScopedCode<F, T> {
    f: F,
    value: Rc<OnceCell<T>>,
}

impl<F: FnOnce() -> T, T> Code for ScopedCode<F, T> {
    type Returned = ();
    type Value = ();

    fn call(self) {
        let returned = (self.f)();
        // It runs once, so nothing is there yet.
        let _ = self.value.set(returned);
    }

    fn settle((): (), keep: impl FnOnce(())) -> End {
        keep(());
        End::Value
    }
}

/// Ends the process where going on would leave greenlets with dangling references.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("greenlet: a scope cannot wait for its greenlets, which borrow from it. Aborting.");
        std::process::abort();
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a greenlet that may borrow what outlives the scope. It runs when the current one waits.
    ///
    /// In a scope that is being unwound it is killed at once.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let site = Location::caller();
        // SAFETY: `adopt` keeps the promise.
        self.adopt(f, |code| unsafe { Greenlet::start_new_unchecked(site, code) })
    }

    /// As [`spawn`](Scope::spawn), with a name or a stack of its own.
    ///
    /// ```
    /// use greenlet_core::{scope, Builder};
    ///
    /// let text = String::from("[[[]]]");
    /// scope(|s| {
    ///     let parser = s.spawn_with(Builder::new().name("parser"), || text.len());
    ///     assert_eq!((parser.name().as_str(), parser.get().unwrap()), ("parser", 6));
    /// });
    /// ```
    #[track_caller]
    pub fn spawn_with<F, T>(&'scope self, settings: Builder, f: F) -> ScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let site = Location::caller();
        // SAFETY: `adopt` keeps the promise.
        let greenlet = self.adopt(f, |code| unsafe { settings.build_unchecked(site, code) });
        greenlet.start();
        greenlet
    }

    /// Makes a greenlet of `f` by `make`, for which this promises: `f` borrows for `'scope` at least, and `scope` neither returns nor
    /// unwinds before the greenlet is ready. It knows of it by `keep`; between `make` and that, nothing of the user's runs but
    /// spawn callbacks, which do not unwind. The value of the greenlet is `()`; what `f` returns is not in the greenlet, but in
    /// `value`, whose owners are the code and a handle that `'scope` outlives.
    fn adopt<F, T>(
        &'scope self,
        f: F,
        make: impl FnOnce(ScopedCode<F, T>) -> Greenlet<()>,
    ) -> ScopedGreenlet<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let value = Rc::new(OnceCell::new());
        let seen = Rc::new(Cell::new(false));
        let greenlet = GreenletRef::clone(&make(ScopedCode { f, value: value.clone() }));
        self.keep(Child { greenlet: greenlet.clone(), seen: seen.clone() });
        if self.killed.get() {
            greenlet.kill_with(Kill::default().no_wait());
        }
        ScopedGreenlet { greenlet, seen, value, scope: PhantomData }
    }

    fn keep(&self, child: Child) {
        let mut children = self.children.borrow_mut();
        children.push(child);
        if children.len() >= self.prune_at.get() {
            drop(children);
            self.prune();
        }
    }

    /// Forgets those that have ended and need not be known any more.
    fn prune(&self) {
        let mut children = self.children.borrow_mut();
        let ended = |child: &mut Child| child.greenlet.ready() && child.unseen_failure().is_none();
        let ended: Vec<_> = children.extract_if(.., ended).collect();
        self.prune_at.set(PRUNE_FROM.max(2 * children.len()));
        drop(children);
        // The last reference to a greenlet may drop an error of the user's.
        drop(ended);
    }

    /// Kills all that are there and all that will be, and does not wait.
    fn kill(&self) {
        self.killed.set(true);
        let children = self.children.borrow().clone();
        for child in children {
            // One that never ran is ended here: its destructors may run, and spawn others, which are killed at once.
            child.greenlet.kill_with(Kill::default().no_wait());
        }
    }

    /// Waits until all greenlets of the scope have ended. What is raised in the owner meanwhile comes back; with the first of
    /// that they are killed. Does not unwind.
    fn wait(&self) -> Vec<Raised> {
        let bomb = AbortOnUnwind;
        let mut raised = Vec::new();
        loop {
            let alive = |child: &&Child| !child.greenlet.ready();
            let alive: Vec<_> = self.children.borrow().iter().filter(alive).cloned().collect();
            if alive.is_empty() {
                break; // and nobody is left who could spawn others
            }
            for child in alive {
                while let Err(error) = catch(|| child.greenlet.join()) {
                    // The hub says so again and again as long as it is stuck: once is enough, and more kills help nobody.
                    if error.is::<LoopExit>() && raised.iter().any(Raised::is::<LoopExit>) {
                        continue;
                    }
                    raised.push(error);
                    self.kill();
                }
            }
            self.prune();
        }
        std::mem::forget(bomb);
        raised
    }

    /// Raises these in the owner at its next suspension points.
    fn put_off(&self, raised: impl IntoIterator<Item = Raised>) {
        raised.into_iter().for_each(|raised| self.owner.raise_later(raised));
    }

    fn unseen_failure(&self) -> Option<Failure> {
        self.children.borrow().iter().find_map(Child::unseen_failure)
    }
}

/// A greenlet of a [`scope`], which returns a `T`.
///
/// Dropping it changes nothing but that the value is dropped at the end of the greenlet. It dereferences to [`GreenletRef`], for its
/// state, killing and linking.
pub struct ScopedGreenlet<'scope, T> {
    greenlet: GreenletRef,
    seen: Rc<Cell<bool>>,
    value: Rc<OnceCell<T>>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedGreenlet<'_, T> {
    /// The returned value, once the greenlet has ended with one.
    pub fn value(&self) -> Option<&T> {
        if self.greenlet.ready() { self.value.get() } else { None }
    }

    /// Waits until it has ended, in whatever way. Its failure, if any, is the caller's business then, and not the scope's any more.
    ///
    /// # Panics
    /// When a greenlet joins itself.
    pub fn join(&self) {
        self.greenlet.join();
        self.seen.set(true);
    }

    /// As [`join`](ScopedGreenlet::join), for at most `timeout`. True if it has ended.
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        let ended = self.greenlet.join_timeout(timeout);
        self.seen.set(self.seen.get() || ended);
        ended
    }

    /// Waits for the greenlet and clones what it returned.
    ///
    /// # Errors
    /// [`GreenletError::Exit`] if it was killed, [`GreenletError::Failed`] if it failed.
    pub fn get(&self) -> Result<T, GreenletError>
    where
        T: Clone,
    {
        self.join();
        self.outcome().cloned()
    }

    /// As [`get`](ScopedGreenlet::get), waiting for at most `timeout`.
    ///
    /// # Errors
    /// [`GreenletError::TimedOut`] if it has not ended in time, else as `get`.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GreenletError>
    where
        T: Clone,
    {
        if !self.join_timeout(timeout) {
            return Err(GreenletError::TimedOut);
        }
        self.outcome().cloned()
    }

    /// Waits for the greenlet and takes what it returned.
    ///
    /// # Errors
    /// As [`get`](ScopedGreenlet::get).
    pub fn into_value(self) -> Result<T, GreenletError> {
        self.join();
        self.outcome()?;
        // The code, which was the other owner, is gone, and there are no clones of a handle.
        Rc::into_inner(self.value).and_then(OnceCell::into_inner).ok_or(GreenletError::Shared)
    }

    fn outcome(&self) -> Result<&T, GreenletError> {
        match (self.value(), self.greenlet.exception()) {
            (Some(value), None) => Ok(value),
            (_, Some(failure)) => Err(GreenletError::Failed(failure)),
            (None, None) => Err(GreenletError::Exit(GreenletExit)),
        }
    }
}

impl<T> Deref for ScopedGreenlet<'_, T> {
    type Target = GreenletRef;

    fn deref(&self) -> &GreenletRef {
        &self.greenlet
    }
}

impl<T> AsRef<GreenletRef> for ScopedGreenlet<'_, T> {
    fn as_ref(&self) -> &GreenletRef {
        &self.greenlet
    }
}

impl<T> fmt::Display for ScopedGreenlet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.greenlet, f)
    }
}

impl<T> fmt::Debug for ScopedGreenlet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.greenlet, f)
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("owner", &self.owner).finish_non_exhaustive()
    }
}
