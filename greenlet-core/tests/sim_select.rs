//! `select!` in the simulator: exactly one operation is done, and nothing is lost on the others, with faults at every
//! suspension point.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use greenlet_core::select::after;
use greenlet_core::sync::Semaphore;
use greenlet_core::{Channel, Event, Queue, joinall, select, sim, sleep, spawn, yield_now};
use support::torture::{at_every_point, below, one_in, pause, survive, torture};
use support::{OnDrop, Tally, Token};

struct Item {
    number: usize,
    _token: Token,
}

struct World {
    narrow: Queue<Item>,
    wide: Queue<Item>,
    channel: Channel<Item>,
    permit: Semaphore,
    stop: Event,
    holders: Cell<usize>,
    made: Cell<usize>,
    put: RefCell<Vec<usize>>,
    got: RefCell<Vec<usize>>,
    tally: Tally,
}

impl World {
    fn make(&self) -> (usize, Item) {
        let number = self.made.replace(self.made.get() + 1);
        (number, Item { number, _token: self.tally.token() })
    }

    fn was_put<E>(&self, number: usize, put: Result<(), E>) {
        if put.is_ok() {
            self.put.borrow_mut().push(number);
        }
    }

    fn was_got<E>(&self, got: Result<Item, E>) {
        if let Ok(item) = got {
            self.got.borrow_mut().push(item.number);
        }
    }

    /// True once all is to end.
    fn step(&self) -> bool {
        match below(7) {
            0 => {
                let (number, item) = self.make();
                select! {
                    got = self.narrow.get_op() => self.was_got(got),
                    put = self.wide.put_op(item) => self.was_put(number, put),
                    () = after(pause()) => {}
                }
            }
            1 => {
                let (number, item) = self.make();
                let (other, another) = self.make();
                select! {
                    put = self.channel.put_op(item) => self.was_put(number, put),
                    put = self.narrow.put_op(another) => self.was_put(other, put),
                    got = self.wide.get_op() => self.was_got(got),
                    () = self.stop.wait_op() => return true,
                }
            }
            2 => select! {
                _permit = self.permit.permit_op() => {
                    self.holders.set(self.holders.get() + 1);
                    let _out = OnDrop(|| self.holders.set(self.holders.get() - 1));
                    assert_eq!(self.holders.get(), 1);
                    sleep(pause());
                }
                got = self.channel.get_op() => self.was_got(got),
                () = self.stop.wait_op() => return true,
            },
            3 => select! {
                got = self.channel.get_op() => self.was_got(got),
                got = self.narrow.get_op() => self.was_got(got),
                got = self.wide.get_op() => self.was_got(got),
                default => yield_now(),
            },
            4 => self.was_got(self.channel.get_timeout(pause())),
            5 => {
                let (number, item) = self.make();
                let put = self.narrow.put_timeout(item, pause());
                self.was_put(number, put);
            }
            _ => {
                let _permit = self.permit.permit_timeout(pause());
                yield_now();
            }
        }
        false
    }
}

fn program() {
    let world = Rc::new(World {
        narrow: Queue::bounded(1),
        wide: Queue::bounded(2),
        channel: Channel::new(),
        permit: Semaphore::new(1),
        stop: Event::new(),
        holders: Cell::new(0),
        made: Cell::new(0),
        put: RefCell::default(),
        got: RefCell::default(),
        tally: Tally::default(),
    });
    let members: Vec<_> = (0..3 + below(3))
        .map(|_| {
            let world = world.clone();
            spawn(move || {
                for _ in 0..5 {
                    if matches!(survive(|| world.step()), Ok(true)) {
                        return;
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(sim::random(20)));
    if one_in(2) {
        world.narrow.shutdown();
    }
    world.stop.set();
    sleep(Duration::from_secs(100));
    world.channel.shutdown();
    world.narrow.shutdown();
    world.wide.shutdown();
    joinall(&members);
    assert_eq!((world.permit.available(), world.holders.get()), (1, 0), "no permit is lost");
    while let Ok(item) = world.narrow.try_get().or_else(|_| world.wide.try_get()) {
        world.got.borrow_mut().push(item.number);
    }
    let (mut put, mut got) = (world.put.take(), world.got.take());
    put.sort_unstable();
    got.sort_unstable();
    assert_eq!(put, got, "what was put is got, once");
    world.tally.assert_all_home();
}

#[test]
fn a_select_does_one_thing_and_loses_nothing() {
    torture(4000, program);
    at_every_point(4, program);
}
