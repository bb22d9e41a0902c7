//! Greenlet-locals.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use greenlet_core::{Event, NoGreenlet, current, greenlet_local, joinall, raise, run, spawn, yield_now};

greenlet_local! {
    static NUMBER: Cell<u32> = Cell::new(7);
    static LIST: RefCell<Vec<u32>> = RefCell::new(Vec::new());
}

#[test]
fn each_greenlet_has_its_own_value() {
    run(|| {
        NUMBER.set(1);
        let others: Vec<_> = (10..20)
            .map(|n| {
                spawn(move || {
                    assert_eq!(NUMBER.get(), 7);
                    NUMBER.set(n);
                    LIST.with_borrow_mut(|list| list.push(n));
                    yield_now();
                    (NUMBER.get(), LIST.with_borrow(Clone::clone))
                })
            })
            .collect();
        joinall(&others);
        for (n, other) in (10..).zip(&others) {
            assert_eq!(other.value(), Some(&(n, vec![n])));
        }
        assert_eq!(NUMBER.get(), 1);
        assert_eq!(LIST.with_borrow(Vec::len), 0);
    });
}

struct Dropped(Rc<Cell<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        yield_now(); // a destructor may suspend
        self.0.set(self.0.get() + 1);
    }
}

greenlet_local! {
    static GUARD: RefCell<Option<Dropped>> = RefCell::new(None);
}

#[test]
fn values_are_dropped_with_their_greenlet_before_the_end_is_known() {
    run(|| {
        let drops = Rc::new(Cell::new(0));
        let returns = spawn({
            let drops = drops.clone();
            move || GUARD.with_borrow_mut(|guard| *guard = Some(Dropped(drops)))
        });
        returns.join();
        assert_eq!(drops.get(), 1);
        let killed = spawn({
            let drops = drops.clone();
            move || {
                GUARD.with_borrow_mut(|guard| *guard = Some(Dropped(drops)));
                Event::new().wait();
            }
        });
        yield_now();
        killed.kill();
        assert_eq!(drops.get(), 2);
    });
}

greenlet_local! {
    static FIRST: Cell<u32> = Cell::new(SECOND.get() + 1);
    static SECOND: Cell<u32> = { yield_now(); Cell::new(40) };
}

#[test]
fn an_initializer_may_use_another_key_and_suspend() {
    run(|| {
        let both: Vec<_> = (0..2).map(|_| spawn(|| FIRST.get() + 1)).collect();
        joinall(&both);
        assert!(both.iter().all(|greenlet| greenlet.value() == Some(&42)));
    });
}

#[test]
fn a_reused_stack_does_not_bring_values_along() {
    run(|| {
        for _ in 0..10 {
            let fresh = spawn(|| {
                let first = NUMBER.get();
                NUMBER.set(99);
                first
            });
            assert_eq!(fresh.get().unwrap(), 7);
        }
    });
}

#[test]
fn there_is_no_value_in_a_callback_of_the_loop() {
    run(|| {
        let seen = Rc::new(Cell::new(None));
        let done = spawn(|| ());
        done.rawlink({
            let seen = seen.clone();
            move |_| seen.set(Some(NUMBER.try_with(Cell::get)))
        });
        done.join();
        while seen.get().is_none() {
            yield_now();
        }
        assert_eq!(seen.get(), Some(Err(NoGreenlet)));
    });
}

#[test]
fn main_has_a_value_too() {
    run(|| {
        NUMBER.set(5);
        let main = current();
        spawn(move || {
            assert!(!main.is_current());
            assert_eq!(NUMBER.get(), 7);
        })
        .get()
        .unwrap();
        assert_eq!(NUMBER.get(), 5);
    });
}

/// Sets itself again when it is dropped; holds something that must stay on its thread.
struct Stubborn(Rc<Cell<u32>>);

greenlet_local! {
    static STUBBORN: RefCell<Option<Stubborn>> = RefCell::new(None);
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        assert!(self.0.get() < 1000, "it is dropped for ever");
        self.0.set(self.0.get() + 1);
        let again = Stubborn(self.0.clone());
        STUBBORN.with_borrow_mut(|place| *place = Some(again));
    }
}

#[test]
fn what_cannot_be_dropped_at_home_is_dropped_nowhere() {
    run(|| {
        let drops = Rc::new(Cell::new(0));
        let greenlet = spawn({
            let drops = drops.clone();
            move || STUBBORN.with_borrow_mut(|place| *place = Some(Stubborn(drops)))
        });
        greenlet.join();
        let before = drops.get();
        let elsewhere = (*greenlet).clone();
        drop(greenlet);
        // The last handle goes on another thread.
        std::thread::spawn(move || drop(elsewhere)).join().unwrap();
        assert_eq!(drops.get(), before);
    });
}

greenlet_local! {
    static HELD: RefCell<Option<OnDrop>> = RefCell::new(None);
}

/// Notes where it is dropped.
struct OnDrop(Arc<Mutex<Vec<ThreadId>>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

/// An error that leaves a value in a greenlet-local whenever it is shown.
#[derive(Clone, Debug)]
struct Leaves(Arc<Mutex<Vec<ThreadId>>>);

impl fmt::Display for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HELD.with_borrow_mut(|held| *held = Some(OnDrop(self.0.clone())));
        f.write_str("leaves something")
    }
}

impl std::error::Error for Leaves {}

/// A subscriber that formats every report, so the error is shown in the greenlet that failed, after its values were dropped.
#[test]
fn what_a_report_leaves_is_dropped_at_home() {
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    tracing::subscriber::with_default(subscriber, || {
        run(|| {
            let drops = Arc::new(Mutex::new(Vec::new()));
            let error = Leaves(drops.clone());
            let greenlet = spawn(move || raise(error));
            greenlet.join();
            let elsewhere = (*greenlet).clone();
            drop(greenlet);
            thread::spawn(move || drop(elsewhere)).join().unwrap();
            assert_eq!(*drops.lock().unwrap(), [thread::current().id()]);
        });
    });
}
