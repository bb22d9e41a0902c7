//! Queues and what passes values, in the simulator: every result is compared with a model that does the same in plain data,
//! with kills, timeouts, errors and spurious wake-ups at every suspension point.

mod support;

use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::{
    AsyncResult, Channel, Event, GetError, LifoQueue, PriorityQueue, PutError, Queue, joinall, sleep, spawn,
    yield_now,
};
use support::torture::{Line, Struck, at_every_point, below, one_in, pause, survive, torture};

// --- items --------------------------------------------------------------------------------------------------------

/// Counts how often each item was dropped.
type Drops = Rc<RefCell<Vec<u8>>>;

struct Item {
    number: usize,
    drops: Drops,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.drops.borrow_mut()[self.number] += 1;
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.number == other.number
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Item) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Item) -> Ordering {
        rank(self.number).cmp(&rank(other.number))
    }
}

/// The priority of an item: not the order in which they are made.
fn rank(number: usize) -> usize {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

// --- what all queues can do ---------------------------------------------------------------------------------------

trait Passage: 'static {
    fn put(&self, item: Item) -> Result<(), PutError<Item>>;
    fn put_timeout(&self, item: Item, timeout: Duration) -> Result<(), PutError<Item>>;
    fn try_put(&self, item: Item) -> Result<(), PutError<Item>>;
    fn force_put(&self, item: Item) -> Result<(), PutError<Item>>;
    fn get(&self) -> Result<Item, GetError>;
    fn get_timeout(&self, timeout: Duration) -> Result<Item, GetError>;
    fn try_get(&self) -> Result<Item, GetError>;
    fn shutdown(&self);
    fn len(&self) -> usize;
}

macro_rules! passage {
    ($Queue:ident, $force_put:expr, $len:expr) => {
        impl Passage for $Queue<Item> {
            fn put(&self, item: Item) -> Result<(), PutError<Item>> {
                self.put(item).map_err(|back| PutError::ShutDown(back.0))
            }
            fn put_timeout(&self, item: Item, timeout: Duration) -> Result<(), PutError<Item>> {
                self.put_timeout(item, timeout)
            }
            fn try_put(&self, item: Item) -> Result<(), PutError<Item>> {
                self.try_put(item)
            }
            fn force_put(&self, item: Item) -> Result<(), PutError<Item>> {
                $force_put(self, item)
            }
            fn get(&self) -> Result<Item, GetError> {
                self.get().map_err(|_| GetError::ShutDown)
            }
            fn get_timeout(&self, timeout: Duration) -> Result<Item, GetError> {
                self.get_timeout(timeout)
            }
            fn try_get(&self) -> Result<Item, GetError> {
                self.try_get()
            }
            fn shutdown(&self) {
                self.shutdown();
            }
            fn len(&self) -> usize {
                $len(self)
            }
        }
    };
}

macro_rules! queue {
    ($Queue:ident) => {
        passage!(
            $Queue,
            |queue: &$Queue<Item>, item| queue.force_put(item).map_err(|back| PutError::ShutDown(back.0)),
            |queue: &$Queue<Item>| queue.len()
        );
    };
}

queue!(Queue);
queue!(LifoQueue);
queue!(PriorityQueue);
passage!(Channel, |channel: &Channel<Item>, item| channel.try_put(item), |_| 0);

// --- the model ----------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    First,
    Last,
    Greatest,
}

/// What became of an operation that had to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Got(usize),
    Admitted,
    ShutDown,
    /// Not yet, or never.
    Nothing,
}

struct Model {
    kind: Kind,
    capacity: Option<usize>,
    forces: bool,
    items: Vec<usize>,
    getters: Line<Fate>,
    putters: Line<Fate>,
    /// What the waiting putters bring.
    brought: Vec<(usize, usize)>,
    shut_down: bool,
    operations: usize,
}

impl Model {
    fn operation(&mut self) -> usize {
        self.operations += 1;
        self.operations
    }

    fn pop(&mut self) -> Option<usize> {
        let at = match self.kind {
            Kind::First => (!self.items.is_empty()).then_some(0)?,
            Kind::Last => self.items.len().checked_sub(1)?,
            Kind::Greatest => (0..self.items.len()).max_by_key(|&at| rank(self.items[at]))?,
        };
        Some(self.items.remove(at))
    }

    fn admit_next(&mut self) -> Option<usize> {
        let who = self.putters.give(Fate::Admitted)?;
        let at = self.brought.iter().position(|(other, _)| *other == who)?;
        Some(self.brought.swap_remove(at).1)
    }

    /// `None`: it has to wait.
    fn put(&mut self, who: usize, item: usize, how: How) -> Option<Fate> {
        if self.shut_down {
            return Some(Fate::ShutDown);
        }
        if self.getters.give(Fate::Got(item)).is_some() {
            return Some(Fate::Admitted);
        }
        let has_room = self.capacity.is_none_or(|capacity| self.items.len() < capacity);
        if has_room || (how == How::Force && self.forces) {
            self.items.push(item);
            return Some(Fate::Admitted);
        }
        if matches!(how, How::Try | How::Force) {
            return Some(Fate::Nothing);
        }
        self.putters.join(who);
        self.brought.push((who, item));
        None
    }

    /// `None`: it has to wait.
    fn get(&mut self, who: usize, how: How) -> Option<Fate> {
        if let Some(item) = self.pop() {
            if self.capacity.is_some_and(|capacity| self.items.len() < capacity)
                && let Some(next) = self.admit_next()
            {
                self.items.push(next);
            }
            return Some(Fate::Got(item));
        }
        if let Some(item) = self.admit_next() {
            return Some(Fate::Got(item));
        }
        if self.shut_down {
            return Some(Fate::ShutDown);
        }
        if how == How::Try {
            return Some(Fate::Nothing);
        }
        self.getters.join(who);
        None
    }

    fn shutdown(&mut self) {
        self.shut_down = true;
        while self.getters.give(Fate::ShutDown).is_some() {}
        while self.putters.give(Fate::ShutDown).is_some() {}
        self.brought.clear();
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Wait,
    Limited(Duration),
    Try,
    Force,
}

fn how() -> How {
    match below(8) {
        0 => How::Try,
        1 => How::Force,
        2..5 => How::Limited(pause()),
        _ => How::Wait,
    }
}

struct World {
    passage: Rc<dyn Passage>,
    model: RefCell<Model>,
    drops: Drops,
}

impl World {
    fn put(&self) {
        let number = self.drops.borrow().len();
        self.drops.borrow_mut().push(0);
        let item = Item { number, drops: self.drops.clone() };
        let how = how();
        let who = self.model.borrow_mut().operation();
        let at_once = self.model.borrow_mut().put(who, number, how);
        let put = survive(|| match how {
            How::Wait => self.passage.put(item),
            How::Limited(limit) => self.passage.put_timeout(item, limit),
            How::Try => self.passage.try_put(item),
            How::Force => self.passage.force_put(item),
        });
        let fate = at_once.unwrap_or_else(|| {
            let mut model = self.model.borrow_mut();
            model.brought.retain(|(other, _)| *other != who);
            model.putters.leave(who).unwrap_or(Fate::Nothing)
        });
        let seen = match &put {
            Ok(Ok(())) => Fate::Admitted,
            Ok(Err(PutError::ShutDown(back))) => {
                assert_eq!(back.number, number, "the item that was put comes back");
                Fate::ShutDown
            }
            Ok(Err(PutError::Full(back))) => {
                assert_eq!(back.number, number, "the item that was put comes back");
                Fate::Nothing
            }
            Err(_) => Fate::Nothing,
        };
        assert_eq!(seen, fate, "put {who} of item {number}, {how:?}: {:?}", put.map(|put| put.is_ok()));
    }

    fn get(&self) {
        let how = how();
        let who = self.model.borrow_mut().operation();
        let at_once = self.model.borrow_mut().get(who, if how == How::Force { How::Try } else { how });
        let got: Result<_, Struck> = survive(|| match how {
            How::Wait => self.passage.get(),
            How::Limited(limit) => self.passage.get_timeout(limit),
            How::Try | How::Force => self.passage.try_get(),
        });
        let fate =
            at_once.unwrap_or_else(|| self.model.borrow_mut().getters.leave(who).unwrap_or(Fate::Nothing));
        let seen = match &got {
            Ok(Ok(item)) => Fate::Got(item.number),
            Ok(Err(GetError::ShutDown)) => Fate::ShutDown,
            Ok(Err(GetError::Empty)) | Err(_) => Fate::Nothing,
        };
        assert_eq!(seen, fate, "get {who}, {how:?}: {:?}", got.map(|got| got.is_ok()));
    }
}

fn program(passage: impl Passage, kind: Kind, capacity: Option<usize>, forces: bool) {
    let model = Model {
        kind,
        capacity,
        forces,
        items: Vec::new(),
        getters: Line::default(),
        putters: Line::default(),
        brought: Vec::new(),
        shut_down: false,
        operations: 0,
    };
    let world =
        Rc::new(World { passage: Rc::new(passage), model: RefCell::new(model), drops: Drops::default() });
    let members: Vec<_> = (0..2 + below(4))
        .map(|_| {
            let world = world.clone();
            let (steps, puts) = (2 + below(5), 1 + below(3));
            spawn(move || {
                for _ in 0..steps {
                    match below(4) {
                        0 => yield_now(),
                        1 if one_in(2) => sleep(pause()),
                        n if n < puts => world.put(),
                        _ => world.get(),
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(10));
    world.model.borrow_mut().shutdown();
    world.passage.shutdown();
    joinall(&members); // everybody who waits was woken
    let world = Rc::into_inner(world).expect("everybody has ended");
    let left = world.model.into_inner().items.len();
    assert_eq!(world.passage.len(), left);
    let drops = world.drops;
    assert_eq!(drops.borrow().iter().filter(|drops| **drops == 0).count(), left, "only what is left lives");
    drop(world.passage);
    assert!(drops.borrow().iter().all(|drops| *drops == 1), "every item is dropped once");
}

fn queue_of(capacity: usize) -> (Queue<Item>, Option<usize>) {
    match capacity {
        0 => (Queue::unbounded(), None),
        n => (Queue::bounded(n), Some(n)),
    }
}

fn queues() {
    let (queue, capacity) = queue_of(below(4));
    program(queue, Kind::First, capacity, true);
}

fn lifo_queues() {
    match below(3) {
        0 => program(LifoQueue::unbounded(), Kind::Last, None, true),
        n => program(LifoQueue::bounded(n), Kind::Last, Some(n), true),
    }
}

fn priority_queues() {
    match below(3) {
        0 => program(PriorityQueue::unbounded(), Kind::Greatest, None, true),
        n => program(PriorityQueue::bounded(n), Kind::Greatest, Some(n), true),
    }
}

fn channels() {
    program(Channel::new(), Kind::First, Some(0), false);
}

#[test]
fn queues_do_what_the_model_does() {
    torture(2500, queues);
    at_every_point(5, queues);
}

#[test]
fn lifo_queues_do_what_the_model_does() {
    torture(1000, lifo_queues);
    at_every_point(2, lifo_queues);
}

#[test]
fn priority_queues_do_what_the_model_does() {
    torture(1000, priority_queues);
    at_every_point(2, priority_queues);
}

#[test]
fn channels_do_what_the_model_does() {
    torture(1500, channels);
    at_every_point(3, channels);
}

// --- joining a queue ----------------------------------------------------------------------------------------------

fn joined_queue() {
    let queue = Rc::new(Queue::unbounded());
    let tasks = 1 + below(4);
    (0..tasks).for_each(|task| queue.put(task).unwrap());
    let finished = Rc::new(RefCell::new(0));
    let joiners: Vec<_> = (0..1 + below(3))
        .map(|_| {
            let (queue, finished) = (queue.clone(), finished.clone());
            spawn(move || {
                while !matches!(survive(|| queue.join_timeout(pause())), Ok(true)) {
                    sleep(Duration::from_secs(1));
                }
                assert_eq!(*finished.borrow(), tasks);
                while survive(|| queue.join()).is_err() {}
            })
        })
        .collect();
    let workers: Vec<_> = (0..1 + below(3))
        .map(|_| {
            let (queue, finished) = (queue.clone(), finished.clone());
            spawn(move || {
                while queue.try_get().is_ok() {
                    let _ = survive(|| sleep(pause()));
                    *finished.borrow_mut() += 1;
                    queue.task_done().unwrap();
                }
            })
        })
        .collect();
    while survive(|| queue.join()).is_err() {}
    assert_eq!((queue.unfinished_tasks(), *finished.borrow()), (0, tasks));
    joinall(&joiners);
    joinall(&workers);
}

#[test]
fn a_queue_is_joined_when_all_is_done_and_not_before() {
    torture(1000, joined_queue);
    at_every_point(3, joined_queue);
}

// --- events and results -------------------------------------------------------------------------------------------

/// An event that is set and cleared while greenlets wait for it: a waiter returns exactly if it was set since.
fn events() {
    #[derive(Default)]
    struct Model {
        set: bool,
        line: Line<()>,
        operations: usize,
    }
    let world = Rc::new((Event::new(), RefCell::new(Model::default())));
    let members: Vec<_> = (0..2 + below(4))
        .map(|_| {
            let world = world.clone();
            spawn(move || {
                let (event, model) = &*world;
                for _ in 0..5 {
                    match below(5) {
                        0 => {
                            let mut model = model.borrow_mut();
                            model.set = true;
                            while model.line.give(()).is_some() {}
                            event.set();
                        }
                        1 => {
                            model.borrow_mut().set = false;
                            event.clear();
                        }
                        2 => sleep(pause()),
                        wait => {
                            let (who, set) = {
                                let mut model = model.borrow_mut();
                                model.operations += 1;
                                let who = model.operations;
                                if !model.set {
                                    model.line.join(who);
                                }
                                (who, model.set)
                            };
                            let limit = pause();
                            let seen = survive(|| match wait {
                                3 => event.wait_timeout(limit),
                                _ => {
                                    event.wait();
                                    true
                                }
                            });
                            let woken = set || model.borrow_mut().line.leave(who).is_some();
                            assert_eq!(matches!(seen, Ok(true)), woken, "waiter {who}: {seen:?}");
                        }
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(10));
    let (event, model) = &*world;
    {
        let mut model = model.borrow_mut();
        model.set = true;
        while model.line.give(()).is_some() {}
    }
    event.set();
    // Somebody may clear it again, and others wait for it then.
    while !members.iter().all(|member| member.ready()) {
        sleep(Duration::from_secs(1));
        let mut model = model.borrow_mut();
        model.set = true;
        while model.line.give(()).is_some() {}
        event.set();
    }
}

#[test]
fn a_waiter_returns_exactly_if_its_event_was_set() {
    torture(1500, events);
    at_every_point(3, events);
}

fn results() {
    let result = Rc::new(AsyncResult::new());
    let last = Rc::new(RefCell::new(None));
    let waiters: Vec<_> = (0..3 + below(3))
        .map(|_| {
            let (result, last) = (result.clone(), last.clone());
            let limit = pause();
            spawn(move || {
                sleep(pause());
                let got =
                    survive(|| if one_in(2) { result.get_timeout(limit).ok() } else { result.get().ok() });
                if let Ok(Some(value)) = got {
                    assert_eq!(Some(value), *last.borrow());
                }
                // Whatever happened to it: the result is there for whoever asks again.
                assert!(result.get().is_ok());
            })
        })
        .collect();
    sleep(pause());
    for _ in 0..1 + below(3) {
        let value = below(100);
        *last.borrow_mut() = Some(value);
        result.set(value);
        yield_now();
    }
    joinall(&waiters);
}

#[test]
fn a_result_reaches_everybody_who_waits() {
    torture(1000, results);
    at_every_point(3, results);
}
