//! Priority queues whose items compare badly. (What they do with good ones is in `queue_family` and `sim_queue`.)

mod support;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::future::{Future, IntoFuture};
use std::rc::Rc;
use std::task::{Context, Waker};

use greenlet_core::{
    GetError, PriorityQueue, PutError, attempt, is_unwinding, joinall, raise, run, sleep, spawn, yield_now,
};
use support::{FOREVER, Oops, SHORT, settle};

/// What comparing two items does, apart from comparing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Fair,
    Panics,
    Raises,
    Blocks,
}

thread_local! {
    static MOOD: Cell<Mood> = const { Cell::new(Mood::Fair) };
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Moody(u32);

impl Ord for Moody {
    fn cmp(&self, other: &Moody) -> Ordering {
        match MOOD.get() {
            Mood::Fair => {}
            Mood::Panics => panic!("cannot compare"),
            Mood::Raises => raise(Oops("will not compare")),
            Mood::Blocks => sleep(FOREVER),
        }
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Moody {
    fn partial_cmp(&self, other: &Moody) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

const BAD_MOODS: [Mood; 3] = [Mood::Panics, Mood::Raises, Mood::Blocks];

fn queue_of(items: std::ops::Range<u32>) -> Rc<PriorityQueue<Moody>> {
    Rc::new(items.map(Moody).collect())
}

fn drained(queue: &PriorityQueue<Moody>) -> BTreeSet<u32> {
    std::iter::from_fn(|| queue.try_get().ok()).map(|item| item.0).collect()
}

#[test]
fn a_comparison_that_panics_raises_or_blocks_loses_no_item() {
    run(|| {
        for mood in BAD_MOODS {
            let queue = queue_of(0..8);
            MOOD.set(mood);
            let mut got = BTreeSet::new();
            for item in 8..16 {
                queue.put(Moody(item)).unwrap();
                got.insert(queue.get().unwrap().0);
            }
            assert_eq!(queue.len(), 8);
            got.append(&mut drained(&queue));
            MOOD.set(Mood::Fair);
            assert_eq!(got, (0..16).collect(), "{mood:?}");
            assert_eq!((queue.try_get(), queue.unfinished_tasks()), (Err(GetError::Empty), 16));
            // Fair again, it is in order again.
            [2, 3, 1].into_iter().for_each(|item| queue.put(Moody(item)).unwrap());
            assert_eq!(queue.get().unwrap(), Moody(3), "{mood:?}");
        }
    });
}

#[test]
fn a_putter_whose_item_compares_badly_is_admitted_and_the_getter_gets_its_item() {
    run(|| {
        for mood in BAD_MOODS {
            let queue = queue_of(0..3);
            queue.set_capacity(Some(3));
            let putters: Vec<_> = (3..6)
                .map(|item| {
                    let queue = queue.clone();
                    spawn(move || queue.put(Moody(item)).unwrap())
                })
                .collect();
            settle();
            MOOD.set(mood);
            assert!(queue.get().is_ok() && queue.try_get().is_ok());
            queue.set_capacity(None);
            joinall(&putters);
            MOOD.set(Mood::Fair);
            assert!(putters.iter().all(|putter| putter.successful()), "{mood:?}");
            assert_eq!(drained(&queue).len(), 4);
        }
    });
}

#[test]
fn an_item_that_is_given_back_survives_a_bad_comparison() {
    run(|| {
        let queue = queue_of(0..0);
        let mut getter = Box::pin(queue.get_op().into_future());
        assert!(getter.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        queue.put(Moody(5)).unwrap(); // the getter's
        queue.put(Moody(6)).unwrap();
        MOOD.set(Mood::Panics);
        drop(getter);
        MOOD.set(Mood::Fair);
        assert_eq!(drained(&queue), [5, 6].into());
    });
}

#[test]
fn an_immediate_shutdown_drops_what_compares_badly() {
    run(|| {
        let queue = queue_of(0..4);
        MOOD.set(Mood::Panics);
        queue.shutdown_now();
        MOOD.set(Mood::Fair);
        assert_eq!((queue.len(), queue.unfinished_tasks()), (0, 0));
        assert_eq!(queue.try_put(Moody(1)), Err(PutError::ShutDown(Moody(1))));
    });
}

#[test]
fn a_clone_that_panics_raises_or_blocks_in_peek_leaves_the_queue_as_it_was() {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct Uncloneable(u32);
    impl Clone for Uncloneable {
        fn clone(&self) -> Uncloneable {
            match MOOD.get() {
                Mood::Fair => {}
                Mood::Panics => panic!("cannot clone"),
                Mood::Raises => raise(Oops("will not clone")),
                Mood::Blocks => sleep(FOREVER),
            }
            Uncloneable(self.0)
        }
    }
    run(|| {
        let queue = Rc::new(PriorityQueue::from([Uncloneable(1), Uncloneable(2)]));
        for mood in BAD_MOODS {
            MOOD.set(mood);
            assert!(attempt(|| queue.peek()).is_err(), "{mood:?}");
            assert!(attempt(|| queue.peek_timeout(SHORT)).is_err(), "{mood:?}");
            assert!(attempt(|| queue.try_peek()).is_err(), "{mood:?}");
            MOOD.set(Mood::Fair);
            assert_eq!((queue.len(), queue.peek()), (2, Ok(Uncloneable(2))), "{mood:?}");
        }
    });
}

#[test]
fn a_kill_during_the_unwinding_of_a_panicked_clone_waits() {
    struct Slow(Rc<RefCell<Vec<&'static str>>>);
    impl Clone for Slow {
        fn clone(&self) -> Slow {
            panic!("cannot clone");
        }
    }
    /// Suspends while it is dropped.
    struct Sleepy(Rc<RefCell<Vec<&'static str>>>);
    impl Drop for Sleepy {
        fn drop(&mut self) {
            assert!(is_unwinding());
            settle(); // the kill comes meanwhile
            self.0.borrow_mut().push("slept");
        }
    }
    run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let queue = Rc::new(greenlet_core::Queue::from([Slow(log.clone())]));
        // Two of them, so that the thread is seen to panic because of another one, too.
        let victims = [(); 2].map(|()| {
            let (queue, log) = (queue.clone(), log.clone());
            spawn(move || {
                let _sleepy = Sleepy(log);
                drop(queue.peek());
            })
        });
        yield_now();
        for victim in &victims {
            victim.kill_with(support::no_wait());
        }
        joinall(&victims);
        assert_eq!(*log.borrow(), ["slept", "slept"], "nobody was torn out of its destructor");
        assert!(victims.iter().all(|victim| victim.exception().unwrap().is_panic()));
        drop(queue.try_get().map(|slow| slow.0));
    });
}
