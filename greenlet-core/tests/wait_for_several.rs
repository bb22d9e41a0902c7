//! `wait`, `iwait` and `joinall` over objects of all kinds.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::pool::ThreadPool;
use greenlet_core::sync::{BoundedSemaphore, Semaphore};
use greenlet_core::{
    AsyncResult, Event, Greenlet, Queue, Waitable, iwait, joinall_raise_error, joinall_raise_error_timeout,
    raise, run, sleep, spawn, wait, wait_timeout, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, Oops, SHORT, Watchdog, settle, with};

#[test]
fn objects_of_all_kinds_come_in_the_order_in_which_they_become_ready() {
    let (event, result, semaphore) = (Event::new(), AsyncResult::new(), Semaphore::new(0));
    let (bounded, queue) = (BoundedSemaphore::new(1), Queue::unbounded());
    bounded.acquire();
    let job = spawn(|| sleep(FOREVER));
    let thread_pool = ThreadPool::new(1);
    let task = thread_pool.spawn(|| ());
    task.wait();
    let objects: [&dyn Waitable; 7] = [&event, &result, &semaphore, &bounded, &queue, &job, &task];
    let mut ready = iwait(objects.into_iter().enumerate()).map(|(number, _)| number);
    assert_eq!(ready.next(), Some(6), "what is ready already comes first");
    job.kill();
    assert_eq!(ready.next(), Some(5));
    queue.put(1).unwrap();
    assert_eq!(ready.next(), Some(4));
    bounded.release().unwrap();
    assert_eq!(ready.next(), Some(3));
    semaphore.release();
    assert_eq!(ready.next(), Some(2));
    result.set(1);
    assert_eq!(ready.next(), Some(1));
    event.set();
    assert_eq!(ready.next(), Some(0));
    assert_eq!(ready.next(), None);
    assert_eq!((queue.len(), semaphore.available(), bounded.available()), (1, 1, 1), "waiting takes nothing");
}

#[test]
fn a_count_ends_the_wait_and_the_rest_goes_on() {
    let events: Vec<_> = (0..5).map(|_| Rc::new(Event::new())).collect();
    let setter = with(&Rc::new(events.clone()), |events| {
        events[3].set();
        yield_now();
        events[1].set();
        yield_now();
        events[0].set();
    });
    let ready: Vec<_> = iwait(events.iter()).take(2).collect();
    assert!(Rc::ptr_eq(ready[0], &events[3]) && Rc::ptr_eq(ready[1], &events[1]));
    assert!(!events[0].is_set());
    setter.join();
    assert_eq!(iwait(&events).take(0).count(), 0);
}

#[test]
fn a_timeout_ends_the_wait_silently() {
    let (set, unset) = (Event::new(), Event::new());
    set.set();
    assert_eq!(wait_timeout([&set, &unset], SHORT).len(), 1);
    assert_eq!(wait_timeout([&unset], Duration::ZERO).len(), 0);
    assert_eq!(wait_timeout([&set], FOREVER).len(), 1);
    let mut ready = iwait([&unset]).timeout(SHORT);
    assert!(ready.next().is_none() && ready.next().is_none());
}

#[test]
fn an_outer_timeout_is_not_swallowed() {
    let event = Event::new();
    assert!(with_timeout(SHORT, || wait_timeout([&event], GENEROUS)).is_err());
}

#[test]
fn next_timeout_lets_one_do_something_else_in_between() {
    let event = Rc::new(Event::new());
    let mut ready = iwait([event.clone()]);
    assert!(ready.next_timeout(SHORT).is_none());
    event.set();
    assert!(ready.next_timeout(SHORT).is_some());
    assert!(ready.next().is_none());
}

#[test]
fn the_consumer_may_sleep_between_two_and_misses_nothing() {
    let jobs: Vec<_> = (0..4)
        .map(|n| {
            spawn(move || {
                if n == 2 {
                    raise(Oops("two"));
                }
                n
            })
        })
        .collect();
    jobs[0].join();
    let mut seen = Vec::new();
    for job in iwait(&jobs) {
        seen.push(job.id());
        sleep(SHORT);
    }
    assert_eq!(seen, jobs.iter().map(|job| job.id()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_waited_for_before_the_first_next() {
    let event = Event::new();
    drop(iwait([&event]));
    let waiting = iwait([&event]);
    event.set();
    event.clear();
    assert_eq!(waiting.timeout(SHORT).count(), 0);
}

#[test]
fn a_set_that_is_cleared_at_once_is_not_missed_by_those_who_waited() {
    let event = Rc::new(Event::new());
    let waiter = with(&event, |event| wait([event]).len());
    settle();
    event.set();
    event.clear();
    assert_eq!(waiter.get().unwrap(), 1);
    // And not seen by those who come later.
    assert_eq!(wait_timeout([&*event], SHORT).len(), 0);
}

#[test]
fn the_rest_is_let_go_when_the_iterator_is_dropped() {
    let queue = Rc::new(Queue::unbounded());
    let event = Rc::new(Event::new());
    event.set();
    let objects: [Rc<dyn Waitable>; 2] = [queue.clone(), event.clone()];
    let mut ready = iwait(objects);
    assert!(ready.next().is_some());
    assert_eq!((Rc::strong_count(&queue), Rc::strong_count(&event)), (2, 1));
    drop(ready);
    assert_eq!(Rc::strong_count(&queue), 1);
    queue.put(1).unwrap();
}

#[test]
fn a_kill_ends_the_wait_and_does_nothing_to_the_objects() {
    let job = spawn(|| sleep(FOREVER));
    let waiter = spawn({
        let job = job.clone();
        move || drop(wait([job]))
    });
    settle();
    waiter.kill();
    assert!(waiter.exited() && !job.ready());
    job.kill();
}

#[test]
fn the_same_object_twice_comes_twice() {
    let job = spawn(|| ());
    assert_eq!(wait([&job, &job]).len(), 2);
    assert_eq!(wait([&job, &job]).len(), 2);
}

#[test]
fn nothing_to_wait_for_is_ready_at_once() {
    assert!(wait::<Event>([]).is_empty());
}

#[test]
fn objects_on_other_threads_wake_it() {
    let events: Vec<_> = (0..50).map(|_| Arc::new(Event::new())).collect();
    let setter = thread::spawn({
        let events = events.clone();
        move || events.iter().rev().for_each(|event| event.set())
    });
    assert_eq!(wait(events).len(), 50);
    setter.join().unwrap();
}

#[test]
fn a_thread_without_a_hub_waits_too() {
    let events: Vec<_> = (0..5).map(|_| Arc::new(Event::new())).collect();
    let waiter = thread::spawn({
        let events = events.clone();
        move || wait(events).len()
    });
    events.iter().for_each(|event| event.set());
    assert_eq!(waiter.join().unwrap(), 5);
}

#[test]
fn joinall_raise_error_gives_the_first_failure_in_time_and_waits_no_longer() {
    let jobs: Vec<Greenlet<()>> = vec![
        spawn(|| {
            yield_now();
            yield_now();
            raise(Oops("later"))
        }),
        spawn(|| raise(Oops("first"))),
        spawn(|| sleep(FOREVER)),
    ];
    let failure = joinall_raise_error(&jobs).unwrap_err();
    assert_eq!(failure.to_string(), "first");
    assert!(!jobs[2].ready());
    // Also once they are dead.
    assert!(joinall_raise_error(&jobs[..2]).is_err());
    jobs[2].kill();
    assert!(joinall_raise_error(&jobs[2..]).is_ok(), "killed is successful");
}

#[test]
fn events_wait_in_the_order_they_are_set_by_many() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let jobs: Vec<_> = [3, 1, 2]
        .into_iter()
        .map(|turns| {
            let order = order.clone();
            spawn(move || {
                (0..turns).for_each(|_| yield_now());
                order.borrow_mut().push(turns);
                turns
            })
        })
        .collect();
    let ready: Vec<_> = wait(&jobs).into_iter().map(|job| *job.value().unwrap()).collect();
    assert_eq!(ready, *order.borrow());
}

#[test]
fn joinall_raise_error_timeout_tells_failed_ended_and_still_running_apart() {
    let (fine, broken, slow) = (spawn(|| ()), spawn(|| raise(Oops("broken"))), spawn(|| sleep(FOREVER)));
    assert!(joinall_raise_error_timeout([&fine, &fine], GENEROUS).unwrap(), "the same one twice");
    assert!(!joinall_raise_error_timeout([&fine, &slow], SHORT).unwrap());
    let failure = joinall_raise_error_timeout([&fine, &broken, &slow], GENEROUS).unwrap_err();
    assert!(failure.is_same(&broken.exception().unwrap()));
    assert!(with_timeout(SHORT, || joinall_raise_error_timeout([&slow], FOREVER)).is_err());
    slow.kill();
    assert!(joinall_raise_error_timeout([&fine, &slow], Duration::ZERO).unwrap(), "killed is successful");
    assert!(joinall_raise_error_timeout([&fine; 0], Duration::ZERO).unwrap(), "of none, all have ended");
}

#[test]
fn the_consumer_may_sleep_while_members_fail_and_gets_them_all() {
    let members = vec![
        spawn(|| ()),
        spawn(|| sleep(SHORT)),
        spawn(|| raise(Oops("broken"))),
        spawn(|| sleep(SHORT * 2)),
    ];
    members[0].join();
    let mut seen = 0;
    for _ in iwait(&members) {
        sleep(SHORT);
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn a_greenlet_that_waits_is_a_callback_and_its_kill_takes_it_back() {
    // gevent's `rawlink` and `unlink` of events, results and semaphores.
    let (event, log) = (Rc::new(Event::new()), Rc::new(RefCell::new(Vec::new())));
    let on_ready = |name| {
        let (event, log) = (event.clone(), log.clone());
        spawn(move || {
            event.wait();
            log.borrow_mut().push(name);
        })
    };
    let (_first, second) = (on_ready("first"), on_ready("second"));
    yield_now();
    second.kill();
    event.set();
    settle();
    assert_eq!(*log.borrow(), ["first"]);
    on_ready("late").join();
    assert_eq!(*log.borrow(), ["first", "late"], "it is set already");
}

#[test]
fn objects_set_here_and_on_another_thread_at_once_are_both_seen() {
    run(|| {
        let _watchdog = Watchdog::start("set here and there");
        for _ in 0..2000 {
            let (here, there) = (Arc::new(Event::new()), Arc::new(Event::new()));
            let go = Arc::new(std::sync::Barrier::new(2));
            let setter = thread::spawn({
                let (there, go) = (there.clone(), go.clone());
                move || {
                    go.wait();
                    there.set();
                }
            });
            let waiter = spawn({
                let (here, there) = (here.clone(), there.clone());
                move || wait([here, there]).len()
            });
            yield_now();
            go.wait();
            here.set();
            assert_eq!(waiter.get().unwrap(), 2);
            setter.join().unwrap();
        }
    });
}

#[test]
fn an_iteration_that_is_over_stays_over() {
    let event = Event::new();
    let mut ready = iwait([&event]).timeout(SHORT);
    assert!(ready.next().is_none());
    event.set();
    assert!(ready.next().is_none());
}
