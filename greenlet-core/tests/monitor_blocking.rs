//! The monitor's thread: who blocks a hub, how much memory there is, functions that are called now and then.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use greenlet_core::monitor::{self, Blocked, Notice, Settings, Subscription};
use greenlet_core::{Builder, Config, Hub, Kill, run, sleep, spawn, yield_now};
use support::{FOREVER, GENEROUS, OnDrop, Recorder, is_child, run_child, stderr};
use tracing_subscriber::prelude::*;

/// So little that a machine under load takes longer now and then: tests wait for reports, and never for their absence alone.
const LIMIT: Duration = Duration::from_millis(20);

/// The monitor is the process's: one test at a time starts and stops it.
struct Monitored {
    _turn: MutexGuard<'static, ()>,
}

fn monitored(settings: Settings) -> Monitored {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    settings.start().unwrap();
    Monitored { _turn: turn }
}

impl Drop for Monitored {
    fn drop(&mut self) {
        monitor::stop();
    }
}

fn quickly() -> Monitored {
    monitored(Settings::default().max_blocking_time(LIMIT))
}

/// What is told of one hub.
struct Reports {
    told: Receiver<Blocked>,
    _subscription: Subscription,
}

impl Reports {
    fn of(hub: u64) -> Reports {
        let (tell, told) = channel();
        let tell = Mutex::new(tell);
        let subscription = monitor::subscribe(move |notice| {
            if let Notice::Blocked(blocked) = notice
                && blocked.hub.id() == hub
            {
                let _ = tell.lock().unwrap().send(blocked.clone());
            }
        });
        Reports { told, _subscription: subscription }
    }

    fn here() -> Reports {
        Reports::of(Hub::current().id())
    }

    /// Blocks the thread until it is reported.
    #[track_caller]
    fn next(&self) -> Blocked {
        self.told.recv_timeout(GENEROUS).expect("it is reported")
    }

    #[track_caller]
    fn assert_none(&self) {
        if let Ok(blocked) = self.told.try_recv() {
            panic!("reported without reason: {blocked}");
        }
    }
}

/// Blocks another hub until it was reported so often: by then the monitor has looked at all hubs for a while.
fn while_another_is_reported(times: usize) {
    thread::spawn(move || {
        run(|| {
            let reports = Reports::here();
            let _waits = spawn(|| sleep(FOREVER));
            yield_now();
            for _ in 0..times {
                reports.next();
            }
        });
    })
    .join()
    .unwrap();
}

/// Runs `f` in a hub of its own.
fn in_hub<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    thread::spawn(|| run(f)).join().unwrap()
}

#[inline(never)]
fn a_function_that_blocks(reports: &Reports) -> Blocked {
    std::hint::black_box(reports.next())
}

#[test]
fn who_blocks_a_hub_is_reported_with_name_site_and_backtrace() {
    let _monitor = quickly();
    in_hub(|| {
        let culprit = Builder::new().name("culprit").spawn(|| a_function_that_blocks(&Reports::here()));
        let blocked = culprit.get().unwrap();
        let greenlet = blocked.greenlet.as_ref().unwrap();
        assert_eq!(greenlet.id(), culprit.id());
        assert_eq!(blocked.hub.id(), Hub::current().id());
        assert!(blocked.duration >= LIMIT);
        let call = blocked.thread.system_call.as_ref().expect("it sits in a system call");
        assert_eq!(call.name, Some("futex"));
        let text = blocked.to_string();
        for part in ["culprit (Greenlet-", "appears to block hub", file!(), "a_function_that_blocks"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    });
}

#[test]
fn a_blocking_read_is_reported_with_its_descriptor() {
    let _monitor = quickly();
    in_hub(|| {
        use std::os::fd::AsRawFd;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let here = Hub::current().id();
        let seen = Arc::new(Mutex::new(None));
        let keep = seen.clone();
        let writer = Mutex::new(Some(writer));
        let _subscription = monitor::subscribe(move |notice| {
            if let Notice::Blocked(blocked) = notice
                && blocked.hub.id() == here
                && let Some(mut writer) = writer.lock().unwrap().take()
            {
                *keep.lock().unwrap() = Some(blocked.clone());
                writer.write_all(b"x").unwrap();
            }
        });
        let descriptor = reader.as_raw_fd();
        spawn(move || reader.read_exact(&mut [0]).unwrap()).join();
        let blocked = seen.lock().unwrap().take().unwrap();
        let call = blocked.thread.system_call.unwrap();
        assert_eq!((call.name, call.descriptor()), (Some("read"), Some(descriptor)));
    });
}

#[inline(never)]
fn a_function_that_computes(done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

#[test]
fn who_computes_for_long_is_reported_with_its_backtrace() {
    let _monitor = quickly();
    in_hub(|| {
        let here = Hub::current().id();
        let done = Arc::new(AtomicBool::new(false));
        let text = Arc::new(Mutex::new(String::new()));
        let (tell, keep) = (done.clone(), text.clone());
        let _subscription = monitor::subscribe(move |notice| {
            if let Notice::Blocked(blocked) = notice
                && blocked.hub.id() == here
            {
                *keep.lock().unwrap() = blocked.to_string();
                tell.store(true, Ordering::Relaxed);
            }
        });
        spawn(move || a_function_that_computes(&done)).join();
        let text = text.lock().unwrap();
        assert!(text.contains("a_function_that_computes"), "{text}");
    });
}

#[test]
fn a_main_greenlet_that_blocks_others_is_reported() {
    let _monitor = quickly();
    in_hub(|| {
        let reports = Reports::here();
        let _waits = spawn(|| sleep(FOREVER));
        yield_now();
        let blocked = reports.next();
        assert_eq!(blocked.greenlet.unwrap().name(), "main");
        assert!(blocked.backtrace.to_string().contains("a_main_greenlet_that_blocks_others"));
    });
}

#[test]
fn a_callback_of_the_loop_that_blocks_is_reported_without_a_greenlet() {
    let _monitor = quickly();
    let blocked = in_hub(|| {
        let reports = Reports::here();
        let (tell, told) = channel();
        spawn(|| ()).rawlink(move |_| tell.send(a_function_that_blocks(&reports)).unwrap());
        yield_now();
        yield_now();
        told.recv().unwrap()
    });
    assert!(blocked.greenlet.is_none());
    let text = blocked.to_string();
    assert!(text.contains("a callback of the loop") && text.contains("a_function_that_blocks"), "{text}");
}

#[test]
fn it_is_told_again_while_it_goes_on_and_anew_for_the_next_time() {
    let _monitor = quickly();
    in_hub(|| {
        spawn(|| {
            let reports = Reports::here();
            let (first, second) = (reports.next(), reports.next());
            assert!(second.duration >= first.duration * 2, "{:?}, {:?}", first.duration, second.duration);
            yield_now();
            assert!(reports.next().duration < second.duration);
        })
        .join();
    });
}

#[test]
fn hubs_that_wait_are_not_reported() {
    let _monitor = quickly();
    let idle = Hub::thread("idle").start().unwrap();
    let sleeper = idle.handle().spawn(|| sleep(FOREVER)).unwrap();
    let reports = Reports::of(idle.handle().id());
    while_another_is_reported(2);
    reports.assert_none();
    sleeper.kill_with(Kill::default().no_wait());
    idle.shutdown();
}

#[test]
fn a_thread_whose_hub_nobody_waits_for_is_not_reported() {
    let _monitor = quickly();
    in_hub(|| {
        spawn(yield_now).join();
        let reports = Reports::here();
        // This joins a thread, in main, and so blocks the thread of this hub.
        while_another_is_reported(2);
        reports.assert_none();
    });
}

#[test]
fn tasks_of_a_thread_pool_may_block() {
    let _monitor = quickly();
    in_hub(|| {
        let reports = Reports::here();
        let pool = greenlet_core::pool::ThreadPool::new(1);
        let (tell, told) = channel::<()>();
        let task = pool.spawn(move || {
            let _ = told.recv();
        });
        // Not the task's thread, nor this hub, which waits for it.
        let another = Hub::thread("another").start().unwrap();
        let end = another.handle().spawn(move || {
            while_another_is_reported(2);
            drop(tell);
        });
        drop(task.get());
        reports.assert_none();
        end.unwrap().join();
        another.shutdown();
    });
}

#[test]
fn what_may_block_is_not_reported_and_what_follows_is() {
    let _monitor = quickly();
    in_hub(|| {
        spawn(|| {
            let reports = Reports::here();
            monitor::ignore_blocking(|| {
                while_another_is_reported(2);
                reports.assert_none();
                // It is the greenlet's own, so it holds after a switch too.
                yield_now();
                monitor::ignore_blocking(|| while_another_is_reported(1));
                while_another_is_reported(1);
                reports.assert_none();
            });
            reports.next();
        })
        .join();
    });
}

#[test]
fn others_are_watched_while_one_that_may_block_is_suspended() {
    let _monitor = quickly();
    in_hub(|| {
        let ignores = spawn(|| monitor::ignore_blocking(|| sleep(FOREVER)));
        yield_now();
        let culprit = spawn(|| Reports::here().next());
        let blocked = culprit.get().unwrap();
        assert_eq!(blocked.greenlet.unwrap().id(), culprit.id());
        ignores.kill();
    });
}

#[test]
fn a_section_that_may_block_ends_with_a_kill() {
    let _monitor = quickly();
    in_hub(|| {
        let killed = spawn(|| {
            let _ = greenlet_core::catch(|| monitor::ignore_blocking(|| sleep(FOREVER)));
            Reports::here().next()
        });
        yield_now();
        killed.kill_with(Kill::default().no_wait());
        assert_eq!(killed.get().unwrap().greenlet.unwrap().id(), killed.id());
    });
}

#[test]
fn a_hub_may_have_a_limit_of_its_own() {
    let _monitor = quickly();
    let slow = Config::default().max_blocking_time(Duration::MAX);
    let hub = Hub::thread("slow").config(slow).start().unwrap();
    hub.handle()
        .spawn(|| {
            let reports = Reports::here();
            while_another_is_reported(2);
            reports.assert_none();
        })
        .unwrap()
        .get()
        .unwrap();
    hub.shutdown();
}

#[test]
fn without_a_signal_the_system_call_is_known_at_least() {
    let _monitor = monitored(Settings::default().max_blocking_time(LIMIT).without_signal());
    in_hub(|| {
        let blocked = spawn(|| Reports::here().next()).get().unwrap();
        assert!(blocked.greenlet.is_none() && blocked.backtrace.is_empty());
        assert_eq!(blocked.thread.system_call.as_ref().and_then(|call| call.name), Some("futex"));
        assert!(blocked.to_string().starts_with("something appears to block hub"), "{blocked}");
    });
}

#[test]
fn signals_that_cannot_be_handled_are_refused() {
    for signal in [libc::SIGKILL, libc::SIGSTOP, libc::SIGSEGV, 0, -1, 1000] {
        assert!(Settings::default().signal(signal).start().is_err(), "{signal}");
    }
}

#[test]
fn a_subscriber_that_panics_keeps_nobody_from_hearing() {
    let _monitor = quickly();
    let _panics = monitor::subscribe(|_| panic!("not my day"));
    in_hub(|| spawn(|| Reports::here().next()).get().map(drop)).unwrap();
}

#[test]
fn nobody_is_told_after_the_subscription_ended() {
    let _monitor = quickly();
    let count = Arc::new(AtomicUsize::new(0));
    let counts = count.clone();
    let subscription = monitor::subscribe(move |_| {
        counts.fetch_add(1, Ordering::SeqCst);
    });
    while_another_is_reported(1);
    drop(subscription);
    // The monitor may be telling it just now.
    while Arc::strong_count(&count) > 1 {
        thread::yield_now();
    }
    let told = count.load(Ordering::SeqCst);
    while_another_is_reported(1);
    assert_eq!(count.load(Ordering::SeqCst), told);
}

#[test]
fn a_thread_that_ends_while_it_is_watched_is_no_trouble() {
    let _monitor = monitored(Settings::default().max_blocking_time(Duration::ZERO));
    for _ in 0..50 {
        in_hub(|| {
            spawn(|| thread::sleep(Duration::from_millis(3))).join();
        });
    }
}

#[test]
fn greenlets_that_end_while_they_are_watched_are_no_trouble() {
    let _monitor = monitored(Settings::default().max_blocking_time(Duration::ZERO));
    in_hub(|| {
        for _ in 0..40 {
            let short: Vec<_> =
                (0..20).map(|n| spawn(move || thread::sleep(Duration::from_micros(n * 150)))).collect();
            greenlet_core::joinall(&short);
        }
    });
}

#[test]
fn monitoring_functions_are_called_in_their_periods() {
    let _monitor = monitored(Settings::default().without_blocking_check());
    let (tell, told) = channel();
    let function = monitor::every(Duration::from_millis(1), move || tell.send(()).unwrap_or(())).unwrap();
    for _ in 0..3 {
        told.recv_timeout(GENEROUS).unwrap();
    }
    function.set_period(FOREVER).unwrap();
    function.set_period(Duration::from_millis(5)).unwrap();
    while told.try_recv().is_ok() {}
    told.recv_timeout(GENEROUS).unwrap();
    drop(function);
    // The monitor may be calling it just now; after that it is dropped, and its sender with it.
    while told.recv_timeout(GENEROUS).is_ok() {}
}

#[test]
fn a_monitoring_function_needs_a_period() {
    assert_eq!(monitor::every(Duration::ZERO, || ()).unwrap_err(), monitor::ZeroPeriod);
    let function = monitor::every(FOREVER, || ()).unwrap();
    assert_eq!(function.set_period(Duration::ZERO), Err(monitor::ZeroPeriod));
}

#[test]
fn a_monitoring_function_that_panics_is_called_again() {
    let _monitor = monitored(Settings::default());
    let (tell, told) = channel();
    let mut calls = 0;
    let _function = monitor::every(Duration::from_millis(1), move || {
        calls += 1;
        let _ = tell.send(calls);
        panic!("call {calls}");
    })
    .unwrap();
    assert_eq!((told.recv_timeout(GENEROUS), told.recv_timeout(GENEROUS)), (Ok(1), Ok(2)));
}

#[test]
fn too_much_memory_is_told_and_then_the_relief() {
    let (tell, told) = channel::<Notice>();
    let tell = Mutex::new(tell);
    let _subscription = monitor::subscribe(move |notice| {
        if !matches!(notice, Notice::Blocked(_)) {
            let _ = tell.lock().unwrap().send(notice.clone());
        }
    });
    let often = Settings::default().memory_period(Duration::from_millis(1));
    let _monitor = monitored(often.clone().max_memory(1));
    let of_interest = |notice: &Notice| matches!(notice, Notice::MemoryExceeded { limit: 1, .. });
    while !of_interest(&told.recv_timeout(GENEROUS).unwrap()) {}
    often.max_memory(u64::MAX).start().unwrap();
    loop {
        match told.recv_timeout(GENEROUS).unwrap() {
            Notice::MemoryUnder { limit: u64::MAX, used } if used > 0 => break,
            Notice::MemoryExceeded { limit: 1, .. } => {}
            Notice::Started => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn subscribers_hear_that_the_monitor_has_started() {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let _subscription = monitor::subscribe(move |notice| {
        if matches!(notice, Notice::Started) {
            let _ = tell.lock().unwrap().send(());
        }
    });
    for _ in 0..2 {
        let _monitor = quickly();
        told.recv_timeout(GENEROUS).unwrap();
    }
}

#[test]
fn the_report_is_a_warning_of_tracing() {
    const TEST: &str = "the_report_is_a_warning_of_tracing";
    if is_child(TEST) {
        let recorder = Recorder::default();
        tracing_subscriber::registry().with(recorder.clone()).init();
        let _monitor = quickly();
        in_hub(|| spawn(|| Reports::here().next()).get().map(drop)).unwrap();
        monitor::stop();
        let warnings: Vec<_> = recorder.reports();
        let warned = |seen: &support::Seen| {
            seen.level == tracing::Level::WARN && seen.text.contains("appears to block hub")
        };
        assert!(warnings.iter().any(warned), "{warnings:?}");
        return;
    }
    let output = run_child(TEST);
    assert!(output.status.success(), "{}", stderr(&output));
}

fn monitor_threads() -> usize {
    let names = fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    // The kernel keeps 15 characters.
    names.filter(|name| name.starts_with("greenlet-monito")).count()
}

#[test]
fn stop_ends_the_thread() {
    const TEST: &str = "stop_ends_the_thread";
    if is_child(TEST) {
        for _ in 0..3 {
            monitor::start().unwrap();
            monitor::start().unwrap();
            assert!(monitor::is_running());
            support::until(|| monitor_threads() == 1);
            monitor::stop();
            monitor::stop();
            assert!(!monitor::is_running());
            // A thread that was joined may be listed for a moment.
            support::until(|| monitor_threads() == 0);
        }
        return;
    }
    let output = run_child(TEST);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn the_monitor_may_stop_itself() {
    let _monitor = quickly();
    let (tell, told) = channel();
    let _function = monitor::every(Duration::from_millis(1), move || {
        monitor::stop();
        let _ = tell.send(());
    });
    told.recv_timeout(GENEROUS).unwrap();
    assert!(!monitor::is_running());
}

#[test]
fn the_environment_starts_the_monitor() {
    const TEST: &str = "the_environment_starts_the_monitor";
    if is_child(TEST) {
        // The hub comes first: nothing else starts the monitor.
        let blocked = in_hub(|| spawn(|| Reports::here().next()).get().unwrap());
        assert!(blocked.duration < GENEROUS);
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture", "--test-threads=1"])
        .env("GREENLET_TEST_CHILD", TEST)
        .env("GREENLET_MONITOR", "1")
        .env("GREENLET_MAX_BLOCKING_TIME", "0.01")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_setting_of_the_hub_starts_the_monitor() {
    const TEST: &str = "a_setting_of_the_hub_starts_the_monitor";
    if is_child(TEST) {
        assert!(!monitor::is_running());
        let hub = Hub::thread("watched").config(Config::default().monitor()).start().unwrap();
        assert!(monitor::is_running());
        hub.shutdown();
        return;
    }
    let output = run_child(TEST);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_handler_that_was_there_before_gets_what_others_send() {
    const TEST: &str = "a_handler_that_was_there_before_gets_what_others_send";
    static CAME: AtomicUsize = AtomicUsize::new(0);
    if is_child(TEST) {
        extern "C" fn count(_: libc::c_int) {
            CAME.fetch_add(1, Ordering::SeqCst);
        }
        let handler: extern "C" fn(libc::c_int) = count;
        // SAFETY: the handler does what is async-signal-safe only.
        unsafe { libc::signal(libc::SIGURG, handler as libc::sighandler_t) };
        let _monitor = quickly();
        in_hub(|| {
            spawn(|| {
                let blocked = Reports::here().next();
                assert!(blocked.greenlet.is_some());
            })
            .get()
            .unwrap();
        });
        assert_eq!(CAME.load(Ordering::SeqCst), 0);
        // SAFETY: it has no preconditions.
        unsafe { libc::raise(libc::SIGURG) };
        assert_eq!(CAME.load(Ordering::SeqCst), 1);
        return;
    }
    let output = run_child(TEST);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_signal_of_others_that_is_ignored_by_default_stays_so() {
    let _monitor = quickly();
    // SAFETY: it has no preconditions.
    unsafe { libc::raise(libc::SIGURG) };
    while_another_is_reported(1);
}

/// Somewhere to write to.
#[derive(Clone)]
struct Lines(Sender<String>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = self.0.send("(flushed)".into());
        Ok(())
    }
}

/// All that was written up to the next flush.
fn dump(lines: &Receiver<String>) -> String {
    let mut text = String::new();
    while !text.ends_with("(flushed)") {
        text.push_str(&lines.recv_timeout(GENEROUS).unwrap());
    }
    text
}

#[test]
fn a_signal_dumps_all_greenlets_even_if_a_hub_is_blocked() {
    const TEST: &str = "a_signal_dumps_all_greenlets_even_if_a_hub_is_blocked";
    if is_child(TEST) {
        let (send, lines) = channel();
        monitor::dump_on_signal_to(libc::SIGUSR2, Lines(send)).unwrap();
        let (idle, stuck) = (Hub::thread("idle").start().unwrap(), Hub::thread("stuck").start().unwrap());
        let _monitor = quickly();
        let waits = idle.handle().spawn(|| {
            let named = Builder::new().name("sleeper").spawn(|| sleep(FOREVER));
            named.join();
        });
        // By now the sleeper sleeps.
        idle.handle().spawn(support::settle).unwrap().join();
        let (end, ends) = channel::<()>();
        let (tell, told) = channel();
        let blocks = stuck.handle().spawn(move || {
            let _end = OnDrop(|| ());
            tell.send(()).unwrap();
            let _ = ends.recv();
        });
        told.recv().unwrap();
        // SAFETY: the signal is handled, and sent to this process only.
        unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) };
        let text = dump(&lines);
        for part in ["(idle)", "(stuck)", "sleeper (Greenlet-", "does not answer", "waiting in sleep"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        drop(end);
        drop((waits, blocks));
        // Another writer takes the place of the first.
        let (send, others) = channel();
        monitor::dump_on_signal_to(libc::SIGUSR2, Lines(send)).unwrap();
        // SAFETY: as above.
        unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) };
        assert!(dump(&others).contains("sleeper"));
        idle.shutdown();
        stuck.shutdown();
        return;
    }
    let output = run_child(TEST);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn signals_that_cannot_ask_for_a_dump_are_refused() {
    for signal in [libc::SIGKILL, libc::SIGSEGV, 1000] {
        assert!(monitor::dump_on_signal(signal).is_err(), "{signal}");
    }
}
