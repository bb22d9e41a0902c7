//! Async results.

mod support;

use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::{
    AsyncResult, AsyncResultError, Channel, Greenlet, GreenletExit, Hub, Queue, Timeout, attempt, catch,
    joinall, raise, run, sleep, spawn, with_timeout, yield_now,
};
use support::{FOREVER, GENEROUS, Oops, SHORT, Tally, settle, with};

#[test]
fn everybody_gets_a_clone_of_the_value() {
    run(|| {
        let result = Rc::new(AsyncResult::new());
        let all: Vec<_> = (0..5)
            .map(|_| {
                let result = result.clone();
                spawn(move || result.get().unwrap())
            })
            .collect();
        yield_now();
        assert!(!result.ready() && !result.successful());
        result.set(String::from("value"));
        assert!(result.ready() && result.successful() && result.exception().is_none());
        joinall(&all);
        assert!(all.iter().all(|one| one.value().unwrap() == "value"));
    });
}

#[test]
fn what_is_there_is_got_without_suspending() {
    run(|| {
        let result = AsyncResult::new();
        result.set(5);
        let other = spawn(|| ());
        assert_eq!(result.get().unwrap(), 5);
        assert_eq!(result.get_timeout(Duration::ZERO).unwrap(), 5);
        result.wait();
        assert!(result.wait_timeout(Duration::ZERO));
        assert!(!other.ready());
    });
}

#[test]
fn an_error_comes_back_from_get_and_only_from_there() {
    run(|| {
        let result = AsyncResult::<u8>::new();
        result.set_exception(Oops("broken"));
        assert!(result.ready() && !result.successful());
        assert_eq!(result.exception().unwrap().downcast_ref(), Some(&Oops("broken")));
        result.wait();
        assert!(result.wait_timeout(SHORT));
        let error = result.get().unwrap_err();
        assert_eq!(error.to_string(), "broken");
        assert!(
            matches!(error, AsyncResultError::Exception(failure) if failure.downcast_ref::<Oops>().is_some())
        );
    });
}

#[test]
fn setting_again_replaces_what_was_there() {
    run(|| {
        let tally = Tally::default();
        let result = AsyncResult::new();
        result.set(Rc::new(tally.token()));
        result.set(Rc::new(tally.token()));
        assert_eq!(tally.dropped(), 1);
        result.set_exception(Oops("broken"));
        assert_eq!(tally.dropped(), 2);
        assert!(result.get().is_err());
        result.set(Rc::new(tally.token()));
        assert!(result.get().is_ok());
        drop(result);
        tally.assert_all_home();
    });
}

#[test]
fn giving_up_leaves_no_trace() {
    run(|| {
        let result = AsyncResult::new();
        assert!(matches!(result.get_timeout(SHORT), Err(AsyncResultError::TimedOut)));
        assert!(matches!(result.get_timeout(Duration::ZERO), Err(AsyncResultError::TimedOut)));
        assert!(!result.wait_timeout(SHORT));
        result.set(1);
        assert_eq!(result.get().unwrap(), 1);
    });
}

#[test]
fn a_killed_getter_leaves_the_value_to_the_others() {
    run(|| {
        let result = Rc::new(AsyncResult::new());
        let getters: Vec<_> = (0..3)
            .map(|_| {
                let result = result.clone();
                spawn(move || result.get().unwrap())
            })
            .collect();
        yield_now();
        getters[1].kill();
        result.set(7);
        joinall(&getters);
        assert_eq!((getters[0].value(), getters[2].value()), (Some(&7), Some(&7)));
        assert!(getters[1].exited());
    });
}

#[test]
fn a_clone_of_the_value_may_suspend_and_set_the_result_again() {
    struct Meddler(Rc<AsyncResult<Meddler>>, u8);
    impl Clone for Meddler {
        fn clone(&self) -> Meddler {
            yield_now();
            if self.1 == 0 {
                self.0.set(Meddler(self.0.clone(), 1));
            }
            Meddler(self.0.clone(), self.1)
        }
    }
    run(|| {
        let result = Rc::new(AsyncResult::new());
        result.set(Meddler(result.clone(), 0));
        assert_eq!(result.get().unwrap_or_else(|_| panic!("it is set")).1, 0);
        assert_eq!(result.get().unwrap_or_else(|_| panic!("it is set")).1, 1);
        result.set_exception(Oops("breaks the circle"));
        settle();
    });
}

#[test]
fn a_result_comes_from_another_thread_and_goes_to_one() {
    let hub = Hub::thread("asked").start().unwrap();
    run(|| {
        for n in 0..200 {
            let (question, answer) = (Arc::new(AsyncResult::new()), Arc::new(AsyncResult::new()));
            let asked = {
                let (question, answer) = (question.clone(), answer.clone());
                move || answer.set(question.get().unwrap() * 2)
            };
            let on_hub = n % 2 == 0;
            let thread = if on_hub {
                drop(hub.handle().spawn(asked).unwrap());
                None
            } else {
                Some(thread::spawn(asked))
            };
            question.set(n);
            assert_eq!(answer.get_timeout(GENEROUS).unwrap(), n * 2);
            thread.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
    hub.shutdown();
}

// --- as the target of a link -----------------------------------------------------------------------------------

fn ignore<T>(_: T) {}

type Link = fn(&Greenlet<u32>, Rc<AsyncResult<u32>>);

/// A greenlet that returns, one that raises, one that panics, and one that is killed.
fn every_end() -> [Greenlet<u32>; 4] {
    let killed = spawn(|| {
        sleep(FOREVER);
        0
    });
    killed.kill();
    [spawn(|| 42), spawn(|| raise(Oops("broken"))), spawn(|| panic!("torn")), killed]
}

#[test]
fn a_linked_result_ends_as_its_greenlet_did() {
    run(|| {
        for source in every_end() {
            let result = Rc::new(AsyncResult::new());
            source.link_result(result.clone());
            assert!(!result.ready(), "never from inside the call");
            result.wait();
            assert_eq!((result.successful(), result.value()), (source.successful(), source.value().copied()));
            match (result.get(), source.exception()) {
                (Ok(value), None) => assert_eq!(Some(&value), source.value()),
                (Err(AsyncResultError::Exit(GreenletExit)), None) => assert!(source.exited()),
                (Err(AsyncResultError::Exception(failure)), Some(of_source)) => {
                    assert!(failure.is_same(&of_source))
                }
                (got, _) => panic!("{got:?}"),
            }
            assert_eq!(result.exception().is_some(), source.exception().is_some());
        }
    });
}

#[test]
fn links_of_each_kind_set_the_result_for_the_ends_they_ask_for() {
    let links: [(Link, [bool; 4]); 3] = [
        (|source, result| drop(source.link(move |ended| ignore(result.set_from(ended)))), [true; 4]),
        (
            |source, result| drop(source.link_value(move |ended| ignore(result.set_from(ended)))),
            [true, false, false, true],
        ),
        (
            |source, result| drop(source.link_exception(move |ended| ignore(result.set_from(ended)))),
            [false, true, true, false],
        ),
    ];
    run(|| {
        for (link, expected) in links {
            let results = every_end().map(|source| {
                let result = Rc::new(AsyncResult::new());
                link(&source, result.clone());
                result
            });
            settle();
            assert_eq!(results.map(|result| result.ready()), expected);
        }
    });
}

#[test]
fn an_unlinked_result_is_not_set() {
    run(|| {
        let (source, result) = (spawn(|| 1), Rc::new(AsyncResult::new()));
        let link = source.link_result(result.clone());
        assert!(source.unlink(&link));
        source.join();
        settle();
        assert!(!result.ready());
        assert!(result.set_from(&source) && result.value() == Some(1));
    });
}

#[test]
fn nothing_is_copied_from_who_has_not_ended() {
    run(|| {
        let (source, result) = (Greenlet::new(|| 1), AsyncResult::new());
        assert!(!result.set_from(&source) && !result.ready());
        assert!(!result.copy_from(&AsyncResult::new()) && !result.ready());
        result.set(7);
        assert!(!result.set_from(&source));
        assert_eq!(result.value(), Some(7), "what was set stays");
        source.kill();
        assert!(result.set_from(&source));
        assert!(matches!(result.get(), Err(AsyncResultError::Exit(_))) && result.value().is_none());
    });
}

#[test]
fn a_copy_of_a_result_has_the_same_error_and_may_be_of_itself() {
    run(|| {
        let (one, two) = (AsyncResult::<u32>::new(), AsyncResult::new());
        one.set_exception(Oops("broken"));
        assert!(two.copy_from(&one) && two.copy_from(&two));
        assert!(two.exception().unwrap().is_same(&one.exception().unwrap()));
        one.set(3);
        assert!(two.copy_from(&one));
        assert_eq!(two.value(), Some(3));
    });
}

#[test]
fn the_error_is_the_same_object_every_time() {
    run(|| {
        let result = Rc::new(AsyncResult::<u32>::new());
        let getters = [(); 2].map(|()| with(&result, |result| result.get().unwrap_err()));
        yield_now();
        result.set_exception(Oops("broken"));
        let first = result.exception().unwrap();
        for getter in getters {
            let AsyncResultError::Exception(failure) = getter.get().unwrap() else { panic!("no exception") };
            assert!(failure.is_same(&first) && failure.raised().unwrap().is_same(first.raised().unwrap()));
        }
        // Equal is not the same.
        result.set_exception(Oops("broken"));
        let second = result.exception().unwrap();
        assert!(!second.is_same(&first) && !second.raised().unwrap().is_same(first.raised().unwrap()));
        // Handed on from one to the next it stays what it is.
        let next = AsyncResult::<u32>::new();
        next.set_exception(first.clone());
        assert!(next.exception().unwrap().is_same(&first));
        let ended = spawn(move || first.reraise());
        ended.join();
        assert!(ended.exception().unwrap().is_same(&next.exception().unwrap()));
    });
}

#[test]
fn a_raised_error_is_the_same_where_it_is_caught() {
    let raised = catch(|| raise(Oops("one"))).unwrap_err();
    let again = catch(|| raised.clone().reraise()).unwrap_err();
    assert!(raised.is_same(&again));
    assert!(!raised.is_same(&catch(|| raise(Oops("one"))).unwrap_err()));
}

#[test]
fn a_clone_that_panics_when_a_linked_value_is_copied_sets_nothing() {
    #[derive(Debug)]
    struct Unique;
    impl Clone for Unique {
        fn clone(&self) -> Unique {
            panic!("there is only one");
        }
    }
    run(|| {
        let result = Rc::new(AsyncResult::new());
        let source = spawn(|| Unique);
        source.link_result(result.clone());
        source.join();
        settle();
        assert!(!result.ready());
        assert!(attempt(|| result.set_from(&source)).is_err());
        result.set(Unique);
        assert!(attempt(|| result.value()).is_err() && attempt(|| result.get()).is_err());
        assert!(result.successful());
    });
}

#[test]
fn a_result_of_another_hub_is_linked_and_got_here() {
    let hub = Hub::thread("far away").start().unwrap();
    let result = Arc::new(AsyncResult::new());
    let there = result.clone();
    let far = hub.handle().spawn(move || 42).unwrap();
    far.link_result(there);
    assert_eq!(result.get_timeout(GENEROUS).unwrap(), 42);
    hub.join();
}

#[test]
fn queues_and_channels_are_link_targets_through_a_closure() {
    run(|| {
        let (queue, channel) = (Rc::new(Queue::unbounded()), Rc::new(Channel::new()));
        for source in every_end() {
            let (queue, channel) = (queue.clone(), channel.clone());
            source.link(move |ended| queue.put(ended.clone()).unwrap());
            source.link(move |ended| channel.put(ended.clone()).unwrap()); // waits for its getter
        }
        let ended = [(); 4].map(|()| queue.get_timeout(GENEROUS).unwrap());
        assert_eq!(ended.iter().filter(|ended| ended.successful()).count(), 2);
        let met = [(); 4].map(|()| channel.get_timeout(GENEROUS).unwrap());
        assert!(met.iter().all(|ended| ended.ready()));
        assert_eq!(channel.balance(), 0);
    });
}

// --- waiting across threads ------------------------------------------------------------------------------------

#[test]
fn a_timeout_of_no_time_interrupts_a_get_before_a_later_set() {
    run(|| {
        let shared = Rc::new((AsyncResult::<u32>::new(), AsyncResult::<()>::new()));
        let setter = with(&shared, |(result, go)| {
            go.wait();
            result.set(1);
        });
        let got = Timeout::with_error(Duration::ZERO, Oops("first")).run(|| shared.0.get());
        assert!(got.is_err_and(|raised| raised.is::<Oops>()));
        shared.1.set(());
        setter.join();
        assert_eq!(shared.0.get().unwrap(), 1);
        assert!(with_timeout(Duration::ZERO, || AsyncResult::<u32>::new().get()).is_err());
    });
}

#[test]
fn every_kind_of_waiter_is_woken_by_a_set_from_any_other_thread() {
    // In the thread's own stack, in a greenlet of it, or on a thread without hub; with and without a limit.
    let waiters: [fn(&AsyncResult<u32>) -> u32; 6] = [
        |result| result.get().unwrap(),
        |result| result.get_timeout(GENEROUS).unwrap(),
        |result| run(|| result.get().unwrap()),
        |result| run(|| result.get_timeout(GENEROUS).unwrap()),
        |result| {
            run(|| greenlet_core::scope(|scope| scope.spawn(|| result.get().unwrap()).into_value().unwrap()))
        },
        |result| {
            run(|| {
                greenlet_core::scope(|scope| {
                    scope.spawn(|| result.get_timeout(GENEROUS).unwrap()).into_value().unwrap()
                })
            })
        },
    ];
    let setters: [fn(Arc<AsyncResult<u32>>); 2] =
        [|result| result.set(1), |result| run(|| spawn(move || result.set(1)).join())];
    for wait in waiters {
        for set in setters {
            let result = Arc::new(AsyncResult::new());
            let waiter = thread::spawn({
                let result = result.clone();
                move || wait(&result)
            });
            set(result);
            assert_eq!(waiter.join().unwrap(), 1);
        }
    }
}
