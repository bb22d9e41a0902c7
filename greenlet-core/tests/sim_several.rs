//! Scopes, `iwait`, futures, `peek` and a queue whose limit changes, in the simulator: nothing is lost, doubled or left behind, with
//! faults at every suspension point.

mod support;

use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use greenlet_core::future::{block_on, block_on_timeout};
use greenlet_core::{
    Event, Greenlet, Queue, Waitable, iwait, joinall, killall, scope, sim, sleep, spawn, yield_now,
};
use support::torture::{at_every_point, below, one_in, pause, survive, torture};
use support::{OnDrop, Tally};

// --- scopes -------------------------------------------------------------------------------------------------------

/// Owners whose greenlets borrow a counter of theirs: when the scope is over, in whatever way, nobody is left.
fn scopes() {
    let owner = |depth: usize| {
        let alive = Cell::new(0);
        let enter = || {
            alive.set(alive.get() + 1);
            OnDrop(|| alive.set(alive.get() - 1))
        };
        let ended = survive(|| {
            scope(|s| {
                for _ in 0..1 + below(3) {
                    let alive = enter();
                    s.spawn(move || {
                        let _alive = alive;
                        sleep(pause());
                    });
                }
                if depth > 0 {
                    scope(|inner| {
                        let alive = enter();
                        inner.spawn(move || {
                            let _alive = alive;
                            yield_now();
                        });
                    });
                }
                sleep(pause());
            })
        });
        assert_eq!(alive.get(), 0, "{:?}", ended.is_ok());
    };
    let owners: Vec<_> = (0..3).map(|depth| spawn(move || (0..3).for_each(|_| owner(depth % 2)))).collect();
    if one_in(3) {
        sleep(pause());
        killall(&owners);
    }
    joinall(&owners);
}

#[test]
fn a_scope_leaves_nobody_behind() {
    torture(1500, scopes);
    at_every_point(3, scopes);
}

// --- several objects ----------------------------------------------------------------------------------------------

/// Each object comes once, and only when it is ready; what is not waited for any more is let go.
fn several() {
    let events: Vec<_> = (0..4).map(|_| Rc::new(Event::new())).collect();
    let queue = Rc::new(Queue::unbounded());
    let job: Greenlet<()> = spawn(|| sleep(pause()));
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let (events, queue, job) = (events.clone(), queue.clone(), job.clone());
            spawn(move || {
                let mut objects: Vec<Rc<dyn Waitable>> = Vec::new();
                objects.extend(events.iter().map(|event| event.clone() as Rc<dyn Waitable>));
                objects.push(queue);
                objects.push(Rc::new(job));
                let mut seen = [false; 6];
                let _ = survive(|| {
                    for (number, _) in iwait(objects.into_iter().enumerate()).timeout(Duration::from_secs(50))
                    {
                        assert!(!std::mem::replace(&mut seen[number], true), "{number} comes once");
                        assert!(number > 3 || events[number].is_set());
                        sleep(pause());
                    }
                });
                seen
            })
        })
        .collect();
    for event in &events {
        sleep(pause());
        event.set();
    }
    queue.put(()).unwrap();
    joinall(&waiters);
    assert_eq!(queue.len(), 1, "waiting takes nothing");
    assert!(events.iter().all(|event| Rc::strong_count(event) == 1), "nobody keeps what he waited for");
}

#[test]
fn several_objects_come_once_each() {
    torture(1500, several);
    at_every_point(3, several);
}

// --- futures ------------------------------------------------------------------------------------------------------

/// Polls two gets, and drops the slower one, which may have been given something by then.
async fn first_of_two<T>(queue: &Queue<T>) -> Option<T> {
    let mut one = pin!(queue.get_op().into_future());
    let mut other = pin!(queue.get_op().into_future());
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Pending => other.as_mut().poll(context),
        ready => ready,
    })
    .await
    .ok()
}

/// Operations as futures that are dropped at any point: what they were given goes to others.
fn futures() {
    let tally = Tally::default();
    let queue = Rc::new(Queue::bounded(2));
    let (put, got) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let (queue, got) = (queue.clone(), got.clone());
            spawn(move || {
                for _ in 0..6 {
                    let item = survive(|| match below(4) {
                        0 => block_on(queue.get_op()).ok(),
                        3 => block_on(first_of_two(&queue)),
                        1 => block_on_timeout(queue.get_op(), pause()).ok().and_then(Result::ok),
                        _ => queue.get_timeout(pause()).ok(),
                    });
                    if let Ok(Some(_item)) = item {
                        got.set(got.get() + 1);
                    }
                }
            })
        })
        .collect();
    let putters: Vec<_> = (0..2)
        .map(|_| {
            let (queue, put, token) = (queue.clone(), put.clone(), tally.clone());
            spawn(move || {
                for _ in 0..5 {
                    // Not as a future: one that is dropped does not tell whether its item was put.
                    if matches!(survive(|| queue.put_timeout(token.token(), pause())), Ok(Ok(()))) {
                        put.set(put.get() + 1);
                    }
                }
            })
        })
        .collect();
    joinall(&putters);
    sleep(Duration::from_secs(100));
    queue.shutdown();
    joinall(&getters);
    while queue.try_get().is_ok() {
        got.set(got.get() + 1);
    }
    assert_eq!(put.get(), got.get(), "what was put is got, once");
    tally.assert_all_home();
}

#[test]
fn futures_that_are_dropped_lose_nothing() {
    torture(2000, futures);
    at_every_point(3, futures);
}

// --- a limit that changes -----------------------------------------------------------------------------------------

/// Peekers see the next item and take nothing; putters are admitted in order, whatever becomes of the limit.
fn limits() {
    let queue = Rc::new(Queue::bounded(1));
    let seen = Rc::new(RefCell::new(Vec::new()));
    let putter = spawn({
        let queue = queue.clone();
        move || (0..8u32).filter(|&n| matches!(survive(|| queue.put(n)), Ok(Ok(())))).collect::<Vec<_>>()
    });
    let peekers: Vec<_> = (0..2)
        .map(|_| {
            let queue = queue.clone();
            spawn(move || {
                for _ in 0..4 {
                    let _ = survive(|| queue.peek_timeout(pause()));
                }
            })
        })
        .collect();
    let getter = spawn({
        let (queue, seen) = (queue.clone(), seen.clone());
        move || {
            loop {
                match survive(|| queue.get_timeout(Duration::from_secs(60))) {
                    Ok(Ok(n)) => seen.borrow_mut().push(n),
                    Ok(Err(_)) => return,
                    Err(_) => {}
                }
            }
        }
    });
    for _ in 0..4 {
        sleep(Duration::from_secs(sim::random(5)));
        queue.set_capacity(Some(1 + below(3)));
    }
    joinall(&peekers);
    putter.join();
    getter.join();
    assert_eq!(putter.value(), Some(&*seen.borrow()), "in order, all of them");
}

#[test]
fn a_limit_may_change_under_waiting_putters() {
    torture(1500, limits);
    at_every_point(3, limits);
}
