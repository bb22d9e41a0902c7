//! Async results.

mod support;

use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greenlet_core::{AsyncResult, AsyncResultError, Hub, joinall, run, spawn, yield_now};
use support::{GENEROUS, Oops, SHORT, Tally, settle};

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
        assert!(matches!(error, AsyncResultError::Exception(raised) if raised.is::<Oops>()));
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
