//! Queues, by themselves and against a model.

mod support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::{
    GetError, Greenlet, Hub, Kill, PutError, Queue, ShutDown, catch, joinall, run, sleep, spawn,
    with_timeout, yield_now,
};
use proptest::prelude::*;
use support::{FOREVER, GENEROUS, SHORT, Tally, settle, until};

fn getter<T: 'static>(queue: &Rc<Queue<T>>) -> Greenlet<Option<T>> {
    let queue = queue.clone();
    spawn(move || queue.get().ok())
}

fn putter<T: 'static>(queue: &Rc<Queue<T>>, item: T) -> Greenlet<Result<(), ShutDown<T>>> {
    let queue = queue.clone();
    spawn(move || queue.put(item))
}

#[test]
fn items_come_out_in_the_order_they_went_in() {
    run(|| {
        for queue in [Queue::unbounded(), Queue::bounded(3)] {
            let queue = Rc::new(queue);
            let putting = spawn({
                let queue = queue.clone();
                move || (0..100).for_each(|n| queue.put(n).unwrap())
            });
            let got: Vec<_> = (0..100).map(|_| queue.get().unwrap()).collect();
            assert_eq!(got, (0..100).collect::<Vec<_>>());
            assert!(putting.get().is_ok() && queue.is_empty());
        }
    });
}

#[test]
fn putting_waits_only_while_there_is_no_room() {
    run(|| {
        let queue = Rc::new(Queue::bounded(2));
        assert_eq!((queue.capacity(), queue.len(), queue.is_full()), (Some(2), 0, false));
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        assert!(queue.is_full());
        let third = putter(&queue, 3);
        settle();
        assert!(!third.ready());
        assert_eq!(queue.len(), 2, "those of waiting putters are not counted");
        assert_eq!(queue.get().unwrap(), 1);
        third.join();
        assert_eq!(queue.len(), 2);
    });
}

#[test]
fn what_never_waits_says_full_and_empty() {
    run(|| {
        let queue = Queue::bounded(1);
        assert_eq!(queue.try_get(), Err(GetError::Empty));
        queue.try_put(1).unwrap();
        assert_eq!(queue.try_put(2).unwrap_err(), PutError::Full(2));
        assert_eq!(queue.try_put(3).unwrap_err().into_item(), 3);
        assert_eq!(queue.try_get(), Ok(1));
        assert_eq!(queue.get_timeout(SHORT), Err(GetError::Empty));
        assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::Empty));
        queue.put(4).unwrap();
        assert_eq!(queue.put_timeout(5, SHORT), Err(PutError::Full(5)));
        assert_eq!(queue.put_timeout(6, Duration::ZERO), Err(PutError::Full(6)));
        assert_eq!(queue.len(), 1);
    });
}

#[test]
#[should_panic(expected = "at least 1")]
fn a_queue_for_nothing_is_refused() {
    let _ = Queue::<()>::bounded(0);
}

#[test]
fn getters_are_served_in_the_order_in_which_they_came() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        let getters: Vec<_> = (0..10).map(|_| getter(&queue)).collect();
        yield_now();
        (0..10).for_each(|n| queue.put(n).unwrap());
        assert_eq!(queue.try_get(), Err(GetError::Empty), "they are promised already");
        let got: Vec<_> = getters.iter().map(|getter| getter.get().unwrap().unwrap()).collect();
        assert_eq!(got, (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn putters_are_admitted_in_the_order_in_which_they_came() {
    run(|| {
        let queue = Rc::new(Queue::bounded(1));
        let putters: Vec<_> = (0..10).map(|n| putter(&queue, n)).collect();
        settle();
        let got: Vec<_> = (0..10).map(|_| queue.get().unwrap()).collect();
        assert_eq!(got, (0..10).collect::<Vec<_>>());
        joinall(&putters);
    });
}

#[test]
fn a_forced_item_stands_in_line_and_makes_room_for_nobody() {
    run(|| {
        let queue = Rc::new(Queue::bounded(2));
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        let waiting = putter(&queue, 9);
        yield_now();
        queue.force_put(3).unwrap();
        assert_eq!(queue.len(), 3);
        assert_eq!(queue.get().unwrap(), 1);
        settle();
        assert!(!waiting.ready(), "it is full still");
        assert_eq!(queue.get().unwrap(), 2);
        waiting.join();
        assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (3, 9));
    });
}

#[test]
fn a_shutdown_lets_the_items_out_and_nothing_in() {
    run(|| {
        let queue = Rc::new(Queue::bounded(2));
        queue.put(1).unwrap();
        queue.put(2).unwrap();
        let waiting = putter(&queue, 3);
        yield_now();
        queue.shutdown();
        queue.shutdown();
        assert!(queue.is_shut_down());
        assert!(matches!(waiting.into_value(), Ok(Err(ShutDown(3)))));
        assert!(matches!(queue.put(4), Err(ShutDown(4))));
        assert_eq!(queue.try_put(4).unwrap_err(), PutError::ShutDown(4));
        assert!(matches!(queue.force_put(4), Err(ShutDown(4))));
        assert_eq!((queue.get(), queue.try_get()), (Ok(1), Ok(2)));
        assert_eq!(queue.get(), Err(ShutDown(())));
        assert_eq!(queue.try_get(), Err(GetError::ShutDown));
        assert_eq!(queue.get_timeout(FOREVER), Err(GetError::ShutDown));
    });
}

#[test]
fn a_shutdown_wakes_those_who_wait() {
    run(|| {
        let queue = Rc::new(Queue::<u8>::unbounded());
        let getters: Vec<_> = (0..5).map(|_| getter(&queue)).collect();
        yield_now();
        queue.shutdown();
        joinall(&getters);
        assert!(getters.iter().all(|getter| getter.value() == Some(&None)));
    });
}

#[test]
fn queue_getter_killed_while_item_arrives_loses_nothing() {
    run(|| {
        for put_first in [true, false] {
            let queue = Rc::new(Queue::unbounded());
            let got = Rc::new(RefCell::new(Vec::new()));
            let victim = spawn({
                let (queue, got) = (queue.clone(), got.clone());
                move || {
                    loop {
                        got.borrow_mut().push(queue.get().unwrap());
                    }
                }
            });
            yield_now();
            if put_first {
                queue.put(1).unwrap();
                victim.kill_with(Kill::default().no_wait());
            } else {
                victim.kill_with(Kill::default().no_wait());
                queue.put(1).unwrap();
            }
            victim.join();
            assert!(victim.exited());
            assert_eq!(*got.borrow(), [1], "the getter had won");
            queue.put(2).unwrap();
            assert_eq!((queue.len(), queue.get().unwrap()), (1, 2));
        }
    });
}

#[test]
fn the_item_of_a_getter_that_was_killed_before_goes_to_the_next() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        let (victim, next) = (getter(&queue), getter(&queue));
        yield_now();
        victim.kill();
        queue.put(5).unwrap();
        assert_eq!(next.get().unwrap(), Some(5));
    });
}

#[test]
fn a_killed_putter_takes_its_item_with_it() {
    run(|| {
        let tally = Tally::default();
        let queue = Rc::new(Queue::bounded(1));
        queue.put(tally.token()).unwrap();
        let (victim, next) = (putter(&queue, tally.token()), putter(&queue, tally.token()));
        yield_now();
        victim.kill();
        assert_eq!(tally.dropped(), 1);
        drop(queue.get());
        next.join();
        assert_eq!((queue.len(), tally.dropped()), (1, 2));
    });
}

#[test]
fn a_putter_killed_while_it_is_admitted_has_put_its_item_once() {
    run(|| {
        let queue = Rc::new(Queue::bounded(1));
        queue.put(1).unwrap();
        let victim = spawn({
            let queue = queue.clone();
            move || {
                queue.put(2).unwrap();
                sleep(FOREVER);
            }
        });
        yield_now();
        assert_eq!(queue.get().unwrap(), 1);
        victim.kill();
        assert!(victim.exited());
        assert_eq!((queue.len(), queue.get().unwrap()), (1, 2));
    });
}

#[test]
fn a_putter_that_gives_up_gets_its_item_back_and_the_next_moves_up() {
    run(|| {
        let queue = Rc::new(Queue::bounded(1));
        queue.put(1).unwrap();
        let gives_up = spawn({
            let queue = queue.clone();
            move || queue.put_timeout(2, SHORT)
        });
        let waits = putter(&queue, 3);
        assert_eq!(gives_up.into_value().unwrap(), Err(PutError::Full(2)));
        assert_eq!((queue.get().unwrap(), queue.get().unwrap()), (1, 3));
        waits.join();
    });
}

#[test]
fn an_item_that_arrives_with_the_timeout_is_not_lost() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        let (mut got, mut put) = (0, 0);
        for _ in 0..300 {
            let getting = spawn({
                let queue = queue.clone();
                move || {
                    with_timeout(Duration::from_micros(20), || {
                        queue.get_timeout(Duration::from_micros(30)).ok()
                    })
                }
            });
            yield_now();
            for _ in 0..(put % 7) {
                yield_now();
            }
            queue.put(put).unwrap();
            put += 1;
            if let Ok(Some(item)) = getting.into_value().unwrap() {
                assert_eq!(item, got, "in order");
                got += 1;
            }
            while let Ok(item) = queue.try_get() {
                assert_eq!(item, got, "in order");
                got += 1;
            }
        }
        assert_eq!(got, put);
    });
}

#[test]
fn a_callback_of_the_loop_may_use_what_never_waits() {
    run(|| {
        let queue = Rc::new(Queue::bounded(1));
        let greenlet = spawn(|| ());
        greenlet.rawlink({
            let queue = queue.clone();
            move |_| {
                assert_eq!(queue.try_get(), Err(GetError::Empty));
                queue.put("there is room").unwrap();
                assert!(queue.try_put("there is none").is_err());
                queue.force_put("forced").unwrap();
            }
        });
        settle();
        assert_eq!((queue.try_get(), queue.try_get()), (Ok("there is room"), Ok("forced")));
    });
}

#[test]
fn a_dropped_queue_drops_its_items() {
    let tally = Tally::default();
    let queue = Queue::unbounded();
    (0..3).for_each(|_| queue.put(tally.token()).unwrap());
    drop(queue);
    tally.assert_all_home();
}

#[test]
fn plain_threads_and_hubs_share_a_queue() {
    let hub = Hub::thread("putters").start().unwrap();
    run(|| {
        let queue = Arc::new(Queue::bounded(4));
        let share = |from: u32| {
            let queue = queue.clone();
            move || (from..from + 500).for_each(|n| queue.put(n).unwrap())
        };
        let thread = thread::spawn(share(0));
        let there = hub.handle().spawn(share(1_000)).unwrap();
        let here = spawn(share(2_000));
        let mut got: Vec<_> = (0..1_500).map(|_| queue.get_timeout(GENEROUS).unwrap()).collect();
        for share in 0..3u32 {
            let of_one: Vec<_> = got.iter().copied().filter(|n| n / 1_000 == share).collect();
            assert!(of_one.is_sorted(), "each putter's items stay in order");
        }
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), 1_500);
        joinall([&here, &there]);
        until(|| thread.is_finished());
        thread.join().unwrap();
    });
    hub.shutdown();
}

// --- against a model ----------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    TryPut,
    ForcePut,
    TryGet,
    SpawnGetter,
    SpawnPutter,
    /// The waiting getter at this place.
    KillGetter(usize),
    KillPutter(usize),
    /// A getter is given an item and killed in the same moment.
    PutAndKillFirstGetter,
    Shutdown,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::TryPut),
        1 => Just(Step::ForcePut),
        4 => Just(Step::TryGet),
        4 => Just(Step::SpawnGetter),
        4 => Just(Step::SpawnPutter),
        2 => (0usize..4).prop_map(Step::KillGetter),
        2 => (0usize..4).prop_map(Step::KillPutter),
        2 => Just(Step::PutAndKillFirstGetter),
        1 => Just(Step::Shutdown),
    ]
}

/// What a queue ought to do.
#[derive(Default)]
struct Model {
    items: VecDeque<u32>,
    capacity: Option<usize>,
    shut_down: bool,
    /// By the number of the waiter.
    getters: VecDeque<usize>,
    putters: VecDeque<(usize, u32)>,
    /// What came of each getter and putter that ended by itself.
    got: Vec<Option<Result<u32, ()>>>,
    put: Vec<Option<Result<(), u32>>>,
}

impl Model {
    fn is_full(&self) -> bool {
        self.capacity.is_some_and(|capacity| self.items.len() >= capacity)
    }

    fn put(&mut self, item: u32) {
        match self.getters.pop_front() {
            Some(getter) => self.got[getter] = Some(Ok(item)),
            None => self.items.push_back(item),
        }
    }

    fn get(&mut self) -> Option<u32> {
        let item = self.items.pop_front()?;
        if !self.is_full()
            && let Some((putter, next)) = self.putters.pop_front()
        {
            self.put[putter] = Some(Ok(()));
            self.items.push_back(next);
        }
        Some(item)
    }
}

type Getting = Greenlet<Result<u32, ShutDown>>;
type Putting = Greenlet<Result<(), ShutDown<u32>>>;

fn follow(capacity: Option<usize>, steps: Vec<Step>) {
    let queue = Rc::new(capacity.map_or_else(Queue::unbounded, Queue::bounded));
    let mut model = Model { capacity, ..Model::default() };
    let (mut getters, mut putters): (Vec<Getting>, Vec<Putting>) = Default::default();
    for (item, step) in (0u32..).zip(steps) {
        match step {
            Step::TryPut => match queue.try_put(item) {
                Ok(()) => {
                    assert!(!model.shut_down && (!model.is_full() || !model.getters.is_empty()));
                    model.put(item);
                }
                Err(PutError::Full(back)) => assert!(back == item && model.is_full() && !model.shut_down),
                Err(PutError::ShutDown(back)) => assert!(back == item && model.shut_down),
            },
            Step::ForcePut => {
                assert_eq!(queue.force_put(item).is_ok(), !model.shut_down);
                if !model.shut_down {
                    model.put(item);
                }
            }
            Step::TryGet => {
                let expected = model.get().ok_or(match model.shut_down {
                    true => GetError::ShutDown,
                    false => GetError::Empty,
                });
                assert_eq!(queue.try_get(), expected);
            }
            Step::SpawnGetter => {
                let queue = queue.clone();
                getters.push(spawn(move || queue.get()));
                let got = model.get().map(Ok).or(model.shut_down.then_some(Err(())));
                if got.is_none() {
                    model.getters.push_back(model.got.len());
                }
                model.got.push(got);
            }
            Step::SpawnPutter => {
                putters.push(putter(&queue, item));
                model.put.push(None);
                let nth = model.put.len() - 1;
                if model.shut_down {
                    model.put[nth] = Some(Err(item));
                } else if model.is_full() {
                    model.putters.push_back((nth, item));
                } else {
                    model.put(item);
                    model.put[nth] = Some(Ok(()));
                }
            }
            Step::KillGetter(place) => {
                if let Some(nth) = model.getters.remove(place) {
                    getters[nth].kill();
                    assert!(getters[nth].exited());
                }
            }
            Step::KillPutter(place) => {
                if let Some((nth, _)) = model.putters.remove(place) {
                    putters[nth].kill();
                    assert!(putters[nth].exited());
                }
            }
            Step::PutAndKillFirstGetter => {
                if let Some(&nth) = model.getters.front() {
                    getters[nth].kill_with(Kill::default().no_wait());
                    queue.put(item).unwrap();
                    model.put(item);
                }
            }
            Step::Shutdown => {
                queue.shutdown();
                model.shut_down = true;
                for nth in model.getters.drain(..) {
                    model.got[nth] = Some(Err(()));
                }
                for (nth, item) in model.putters.drain(..) {
                    model.put[nth] = Some(Err(item));
                }
            }
        }
        settle();
        assert_eq!((queue.len(), queue.is_full()), (model.items.len(), model.is_full()));
        for (getter, expected) in getters.iter().zip(&model.got) {
            let got = getter.value().map(|got| got.map_err(|ShutDown(())| ()));
            assert_eq!(got, *expected);
        }
        for (putter, expected) in putters.iter().zip(&model.put) {
            let put = putter.value().map(|put| put.as_ref().map(|&()| ()).map_err(|ShutDown(item)| *item));
            assert_eq!(put, *expected);
        }
    }
    queue.shutdown();
    let left: Vec<_> = std::iter::from_fn(|| queue.get().ok()).collect();
    assert_eq!(model.items, left);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_queue_does_what_its_model_does(
        capacity in prop_oneof![Just(None), (1usize..4).prop_map(Some)],
        steps in prop::collection::vec(step(), 0..60),
    ) {
        run(|| follow(capacity, steps));
    }
}

#[test]
fn a_survivor_of_a_kill_gets_the_next_item() {
    run(|| {
        let queue = Rc::new(Queue::unbounded());
        let survivor = spawn({
            let queue = queue.clone();
            move || {
                assert!(catch(|| queue.get()).is_err());
                queue.get().unwrap()
            }
        });
        yield_now();
        survivor.kill_with(Kill::default().no_wait());
        yield_now();
        queue.put(8).unwrap();
        assert_eq!(survivor.get().unwrap(), 8);
    });
}
