//! When a main greenlet is told that nobody can wake it, and when not. What needs a process without other threads is in
//! `alone.rs`.

mod support;

use std::time::Duration;

use greenlet_core::{Builder, Config, Event, Hub, LoopExit, catch, run, sleep, spawn, with_timeout};
use support::Recorder;
use tracing_subscriber::prelude::*;

#[test]
fn it_is_never_raised_while_another_thread_could_wake_main() {
    // The threads of the test harness are enough.
    run(|| {
        assert!(with_timeout(Duration::from_millis(150), || Event::new().wait()).is_err());
    });
    std::thread::spawn(|| {
        run(|| {
            let event = std::sync::Arc::new(Event::new());
            let setter = event.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(150)); // longer than the first looks
                setter.set();
            });
            event.wait();
        });
    })
    .join()
    .unwrap();
}

#[test]
fn an_isolated_hub_knows_by_itself() {
    std::thread::spawn(|| {
        Hub::configure(Config::default().isolated()).unwrap();
        run(|| {
            assert!(catch(|| Event::new().wait()).unwrap_err().is::<LoopExit>());
            assert_eq!(spawn(|| 3).get().unwrap(), 3);
            let stuck = spawn(|| Event::new().wait());
            Hub::join();
            assert!(!stuck.ready(), "a join does not wait for those that can never end");
        });
    })
    .join()
    .unwrap();
}

#[test]
fn a_hub_that_idles_for_long_lists_who_waits_once() {
    std::thread::spawn(|| {
        let recorder = Recorder::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        tracing::subscriber::with_default(subscriber, || {
            Hub::configure(Config::default().idle_report(Some(Duration::from_millis(5)))).unwrap();
            run(|| {
                let _stuck = Builder::new().name("worker 9").spawn(|| Event::new().wait());
                sleep(Duration::from_millis(60));
            });
        });
        let warnings: Vec<_> =
            recorder.reports().into_iter().filter(|seen| seen.level == tracing::Level::WARN).collect();
        assert_eq!(warnings.len(), 1, "once for each time that it idles: {warnings:?}");
        assert!(warnings[0].text.contains("worker 9") && warnings[0].text.contains(file!()), "{warnings:?}");
    })
    .join()
    .unwrap();
}

#[test]
fn what_does_not_count_is_counted_out_once() {
    use greenlet_core::watcher::Timer;

    std::thread::spawn(|| {
        Hub::configure(Config::default().isolated()).unwrap();
        run(|| {
            let timer = Timer::once(Duration::from_secs(100), || ()).uncounted().uncounted();
            assert!(catch(|| spawn(|| sleep(Duration::from_millis(5))).join()).is_ok());
            drop(timer);
            assert!(catch(|| spawn(|| sleep(Duration::from_millis(5))).join()).is_ok());
        });
    })
    .join()
    .unwrap();
}
