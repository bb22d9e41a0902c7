//! How large stacks are, how many there are, and what happens when there is none left.

mod support;

use std::rc::Rc;
use std::thread;

use greenlet_core::{
    Builder, Config, Event, GuardMode, Hub, StackError, StackSize, StackSizeError, joinall, run, spawn,
    yield_now,
};
use support::{Tally, settle};

fn size(kib: usize) -> StackSize {
    StackSize::new(kib * 1024).unwrap()
}

/// Runs `f` as the main greenlet of a thread whose hub has these settings.
fn with_hub<R: Send + 'static>(config: Config, f: impl FnOnce() -> R + Send + 'static) -> R {
    let body = move || {
        Hub::configure(config).unwrap();
        run(f)
    };
    thread::spawn(body).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Touches so much of the stack.
#[inline(never)]
fn touch(bytes: usize) -> usize {
    let page = [1u8; 4096];
    let below = if bytes > page.len() { touch(bytes - page.len()) } else { 0 };
    below + usize::from(std::hint::black_box(&page)[bytes % page.len()])
}

#[test]
fn a_size_that_is_not_allowed_is_refused_and_the_error_says_what_is() {
    let refused = |bytes| StackSize::new(bytes).unwrap_err();
    let least = StackSize::MIN.bytes();
    for bytes in [0, 1, least - 4096, least - 1] {
        let error = refused(bytes);
        assert!(matches!(error, StackSizeError::TooSmall { given } if given == bytes));
        assert!(
            error.to_string().contains(&format!("at least {} ({least} bytes)", StackSize::MIN)),
            "{error}"
        );
    }
    let error = refused(least + 1);
    assert!(matches!(error, StackSizeError::NotPageMultiple { given, .. } if given == least + 1));
    assert!(error.to_string().contains(&format!("nearest sizes are {least} and")), "{error}");
    for bytes in [StackSize::MAX.bytes() + 4096, usize::MAX] {
        let error = refused(bytes);
        assert!(matches!(error, StackSizeError::TooLarge { given } if given == bytes));
        assert!(error.to_string().contains("at most 1 GiB"), "{error}");
    }
}

#[test]
fn the_smallest_stack_is_enough_for_a_greenlet_that_waits_and_fails() {
    run(|| {
        let small = || Builder::new().stack_size(StackSize::MIN);
        let waits = small().spawn(|| {
            yield_now();
            3
        });
        assert_eq!(waits.get().unwrap(), 3);
        let killed = small().spawn(|| Event::new().wait());
        yield_now();
        killed.kill();
        assert!(killed.exited());
    });
}

#[test]
fn a_greenlet_has_the_stack_it_asked_for() {
    run(|| {
        let large = Builder::new().stack_size(size(8 * 1024)).spawn(|| touch(6 << 20));
        assert!(large.get().unwrap() > 1_000);
        let built = Builder::new().stack_size(size(8 * 1024)).build(|| touch(6 << 20));
        built.start();
        assert!(built.get().unwrap() > 1_000);
    });
}

#[test]
fn the_greenlets_of_a_hub_have_the_stack_it_was_configured_with() {
    let config = Config::default().stack_size(size(4 * 1024));
    assert!(with_hub(config, || spawn(|| touch(3 << 20)).get().unwrap()) > 500);

    let hub = Hub::thread("roomy").stack_size(size(4 * 1024)).start().unwrap();
    assert!(hub.handle().spawn(|| touch(3 << 20)).unwrap().get().unwrap() > 500);
    hub.shutdown();

    let hub = Hub::thread("roomy").config(Config::default().stack_size(size(4 * 1024))).start().unwrap();
    assert!(hub.handle().spawn(|| touch(3 << 20)).unwrap().get().unwrap() > 500);
    hub.shutdown();
}

#[test]
fn a_hub_is_configured_before_it_is_there() {
    run(|| {
        let error = Hub::configure(Config::default()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
        assert!(error.to_string().contains("has a hub already"), "{error}");
    });
}

#[test]
fn a_thread_without_a_hub_has_no_stacks() {
    let stats = thread::spawn(Hub::stack_stats).join().unwrap();
    assert_eq!((stats.allocated, stats.slabs, stats.mapped_bytes), (0, 0, 0));
}

#[test]
fn stacks_guarded_by_mprotect_work_like_the_others() {
    with_hub(Config::default().guard(GuardMode::Mprotect), || {
        let gate = Rc::new(Event::new());
        let all: Vec<_> = (0..200)
            .map(|n| {
                let gate = gate.clone();
                spawn(move || {
                    gate.wait();
                    touch(64 << 10) + n
                })
            })
            .collect();
        yield_now();
        gate.set();
        joinall(&all);
        assert!(all.iter().all(|greenlet| greenlet.value().is_some()));
    });
}

#[test]
fn a_greenlet_beyond_the_limit_fails_and_later_ones_do_not() {
    with_hub(Config::default().max_stacks(4), || {
        let gate = Rc::new(Event::new());
        let tally = Tally::default();
        let waiting = || {
            let (gate, token) = (gate.clone(), tally.token());
            spawn(move || {
                let _token = token;
                gate.wait();
            })
        };
        let fit: Vec<_> = (0..4).map(|_| waiting()).collect();
        let (beyond, also_beyond) = (waiting(), waiting());
        settle();
        for failed in [&beyond, &also_beyond] {
            let failure = failed.exception().expect("there is no stack for it");
            assert!(matches!(failure.downcast_ref(), Some(StackError::LimitReached { limit: 4 })));
            assert!(failure.to_string().contains("all 4 stacks"), "{failure}");
        }
        assert_eq!(tally.dropped(), 2, "the closures are dropped");
        gate.set();
        joinall(&fit);
        let later: Vec<_> = (0..4).map(|n| spawn(move || n)).collect();
        joinall(&later);
        assert!(later.iter().all(|greenlet| greenlet.value().is_some()));
        tally.assert_all_home();
    });
}

#[test]
fn a_stack_that_is_not_in_use_does_not_count_against_the_limit() {
    let failure = with_hub(Config::default().max_stacks(2), || {
        let two: Vec<_> = (0..2).map(|_| spawn(yield_now)).collect();
        joinall(&two);
        settle();
        // Another size, so the two that lie idle are of no use to it.
        let other = Builder::new().stack_size(size(1024)).spawn(|| ());
        other.join();
        other.exception().map(|failure| failure.to_string())
    });
    assert_eq!(failure, None);
}

#[test]
fn stacks_come_back_when_their_greenlets_have_ended() {
    with_hub(Config::default(), || {
        let gate = Rc::new(Event::new());
        let round = || {
            // Not the hub's own size: these go back to the pool at once.
            let builder = Builder::new().stack_size(size(64));
            let all: Vec<_> = (0..100)
                .map(|nth| {
                    let gate = gate.clone();
                    builder.clone().spawn(move || {
                        gate.wait();
                        assert!(nth % 10 != 0, "some panic");
                    })
                })
                .collect();
            yield_now();
            all.iter().step_by(3).for_each(|greenlet| greenlet.kill());
            gate.set();
            joinall(&all);
            settle();
            gate.clear();
            Hub::stack_stats()
        };
        let first = round();
        for _ in 0..5 {
            let later = round();
            assert_eq!(later.allocated, first.allocated);
            assert_eq!(later.mapped_bytes, first.mapped_bytes, "they are used again");
        }
        assert_eq!(first.allocated, 0);
    });
}

#[test]
fn stacks_in_use_are_counted() {
    with_hub(Config::default(), || {
        let gate = Rc::new(Event::new());
        let all: Vec<_> = (0..30)
            .map(|_| {
                let gate = gate.clone();
                spawn(move || gate.wait())
            })
            .collect();
        assert_eq!(Hub::stack_stats().allocated, 0, "one that has not begun has no stack");
        yield_now();
        assert_eq!(Hub::stack_stats().allocated, 30);
        gate.set();
        joinall(&all);
        let again: Vec<_> = (0..30).map(|_| spawn(yield_now)).collect();
        joinall(&again);
        assert!(Hub::stack_stats().allocated <= 30);
    });
}

#[test]
fn many_stacks_beyond_those_kept_warm_come_back_cold() {
    with_hub(Config::default().stack_size(size(64)).warm_stacks(16), || {
        let gate = Rc::new(Event::new());
        let all: Vec<_> = (0..2_000)
            .map(|n| {
                let gate = gate.clone();
                spawn(move || {
                    gate.wait();
                    n
                })
            })
            .collect();
        yield_now();
        gate.set();
        joinall(&all);
        settle();
        let stats = Hub::stack_stats();
        assert!(stats.idle_cold > 1_000, "{stats:?}");
        let again: Vec<_> = (0..2_000).map(|_| spawn(|| touch(16 << 10))).collect();
        joinall(&again);
        assert!(again.iter().all(|greenlet| greenlet.value().is_some()));
    });
}
