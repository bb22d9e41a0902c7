//! What a process tells of its greenlets: metrics, run info, backtraces, hooks of switches, `assert_switches`.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greenlet_core::monitor::{
    self, AssertSwitches, GreenletInfo, GreenletState, HubAnswer, HubInfo, NoBacktrace, RunInfo, Survey,
    assert_switches,
};
use greenlet_core::{
    Builder, Config, Event, Greenlet, Hub, HubThread, Kill, Queue, StackSize, SwitchHook, catch, current,
    raise, run, sleep, spawn, spawn_later, yield_now,
};
use support::{FOREVER, GENEROUS, OnDrop, Oops, no_wait, settle};

/// Runs `f` in a hub of its own.
fn in_hub<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    match thread::spawn(|| run(f)).join() {
        Ok(result) => result,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

// --- metrics ---------------------------------------------------------------------------------------------------

#[test]
fn what_a_hub_does_is_counted() {
    in_hub(|| {
        let hub = Hub::current();
        let before = hub.metrics();
        let ends = spawn(yield_now);
        let fails = spawn(|| raise(Oops("counted")));
        let killed = spawn(|| sleep(FOREVER));
        let lives = spawn(|| sleep(FOREVER));
        ends.join();
        fails.join();
        killed.kill();
        let after = hub.metrics();
        assert_eq!((after.spawned - before.spawned, after.ended - before.ended, after.live), (4, 3, 1));
        assert_eq!((after.failed - before.failed, after.exited - before.exited), (1, 1));
        assert!(after.switches - before.switches >= 5);
        assert!(after.callbacks > before.callbacks, "the kill came through one");
        sleep(Duration::from_millis(2));
        let after = hub.metrics();
        assert!(after.slept >= Duration::from_millis(1) && after.sleeps > before.sleeps);
        assert!(after.polls >= after.sleeps && after.turns > before.turns);
        assert!(after.stacks >= 1 && after.stack_bytes > 0);
        drop(lives);
    });
}

#[test]
fn metrics_can_be_read_while_the_hub_is_blocked_and_when_it_is_gone() {
    let hub = Hub::thread("blocked").start().unwrap();
    let (started, has_started) = channel();
    let (end, ends) = channel::<()>();
    let blocks = hub.handle().spawn(move || {
        started.send(()).unwrap();
        let _ = ends.recv();
    });
    has_started.recv().unwrap();
    let metrics = hub.handle().metrics();
    assert_eq!((metrics.spawned, metrics.ended, metrics.live), (1, 0, 1));
    assert!(metrics.arrivals >= 1);
    drop(end);
    blocks.unwrap().join();
    let handle = hub.handle().clone();
    hub.shutdown();
    assert_eq!((handle.metrics().live, handle.metrics().spawned), (0, 1));
    assert!(handle.metrics().to_string().starts_with("switches "), "{}", handle.metrics());
}

#[test]
fn timers_and_stacks_are_those_of_the_last_turn() {
    in_hub(|| {
        let sleepers: Vec<_> = (0..5).map(|_| spawn(|| sleep(FOREVER / 2))).collect();
        let timed: Vec<_> = (0..5).map(|_| spawn(|| sleep(Duration::from_secs(3600)))).collect();
        sleep(Duration::from_millis(1));
        let metrics = Hub::current().metrics();
        assert!(metrics.timers >= 5, "{metrics}");
        assert_eq!(metrics.stacks, 10, "{metrics}");
        drop((sleepers, timed));
    });
}

#[test]
fn hubs_are_listed_while_they_live() {
    let hub = Hub::thread("listed").start().unwrap();
    let id = hub.handle().id();
    let listed = || monitor::hubs().iter().any(|hub| hub.id() == id);
    assert!(listed());
    hub.shutdown();
    assert!(!listed());
}

// --- run info --------------------------------------------------------------------------------------------------

fn hub_in(info: &RunInfo, id: u64) -> &HubInfo {
    info.hubs.iter().find(|hub| hub.hub.id() == id).expect("the hub is in the run info")
}

#[track_caller]
fn find<'a>(info: &'a RunInfo, greenlet: &greenlet_core::GreenletRef) -> &'a GreenletInfo {
    let all = info.hubs.iter().flat_map(|hub| &hub.greenlets);
    all.into_iter().find(|other| other.id == greenlet.id()).expect("the greenlet is in the run info")
}

#[test]
fn the_run_info_shows_each_greenlet_with_its_state() {
    in_hub(|| {
        let waits = Builder::new().name("waits").spawn(|| sleep(FOREVER));
        let later = spawn_later(Duration::from_secs(3600), || ());
        settle();
        let ready = spawn(|| {
            yield_now();
            yield_now();
        });
        yield_now();
        let new = spawn(|| ());
        let line = line!() - 1;
        let info = monitor::run_info();
        let states = [&*waits, &*later, &*new].map(|greenlet| find(&info, greenlet).state);
        assert_eq!(states, [GreenletState::Waiting, GreenletState::New, GreenletState::New]);
        assert_eq!(find(&info, &ready).state, GreenletState::Ready);
        assert_eq!(find(&info, &current()).state, GreenletState::Running);
        let waits_info = find(&info, &waits);
        assert_eq!(waits_info.name.as_deref(), Some("waits"));
        assert_eq!(waits_info.waits_for.unwrap().operation, "sleep");
        assert_eq!((waits_info.switches, find(&info, &new).switches), (1, 0));
        assert_eq!((find(&info, &new).site.file(), find(&info, &new).site.line()), (file!(), line));
        let stack = waits_info.stack.unwrap();
        assert!(stack.used > 0 && stack.used < stack.size && stack.size < StackSize::DEFAULT.bytes());
        assert_eq!((stack.resident, find(&info, &new).stack), (None, None));
        assert!(waits_info.backtrace.is_none());
        assert!(waits_info.age >= find(&info, &new).age);
    });
}

#[test]
fn the_run_info_is_a_tree_of_who_spawned_whom() {
    in_hub(|| {
        let parent = spawn(|| {
            let _child = spawn(|| sleep(FOREVER));
            sleep(FOREVER);
        });
        settle();
        let info = monitor::run_info();
        let tree = hub_in(&info, Hub::current().id()).tree();
        let depths: Vec<_> = tree.iter().map(|(depth, _)| *depth).collect();
        assert_eq!(depths, [0, 1, 2]);
        assert_eq!((tree[0].1.id, tree[1].1.id), (current().id(), parent.id()));
        // Who is left of a family stands alone.
        parent.kill();
        let info = monitor::run_info();
        let depths: Vec<_> =
            hub_in(&info, Hub::current().id()).tree().iter().map(|(depth, _)| *depth).collect();
        assert_eq!(depths, [0, 0]);
    });
}

#[test]
fn the_run_info_shows_what_each_greenlet_waits_for() {
    in_hub(|| {
        let (queue, event) = (Rc::new(Queue::<()>::unbounded()), Rc::new(Event::new()));
        let gets = support::with(&queue, |queue: &Queue<()>| queue.get());
        let waits = support::with(&event, |event: &Event| event.wait());
        let also = support::with(&event, |event: &Event| event.wait());
        settle();
        let info = monitor::run_info();
        let of = |greenlet: &greenlet_core::GreenletRef| find(&info, greenlet).waits_for.unwrap();
        assert!(of(&gets).operation.starts_with("Queue"), "{:?}", of(&gets));
        assert!(of(&waits).operation.starts_with("Event"), "{:?}", of(&waits));
        assert_eq!(of(&waits).address, of(&also).address);
        assert!(of(&gets).address != 0 && of(&gets).address != of(&waits).address);
    });
}

#[test]
fn main_is_seen_to_wait_from_inside_a_greenlet() {
    in_hub(|| {
        let main = current();
        let (own, of_main) = spawn(move || {
            let info = monitor::run_info();
            (find(&info, &current()).clone(), find(&info, &main).clone())
        })
        .into_value()
        .unwrap();
        assert_eq!(own.state, GreenletState::Running);
        assert!(own.stack.unwrap().used > 0);
        assert_eq!((of_main.state, of_main.name.as_deref()), (GreenletState::Waiting, Some("main")));
    });
}

#[test]
fn other_hubs_are_asked() {
    let hub = Hub::thread("asked").start().unwrap();
    let waits = hub.handle().spawn(|| Event::new().wait()).unwrap();
    // From a thread without a hub, and from inside a greenlet.
    let patient = Survey::default().patience(GENEROUS);
    let (here, patience) = (patient.clone(), patient);
    for info in [here.take(), in_hub(move || spawn(move || patience.take()).into_value().unwrap())] {
        let asked = hub_in(&info, hub.handle().id());
        assert!(matches!(asked.answer, HubAnswer::Given));
        assert_eq!(asked.hub.name(), "asked");
        assert!(asked.greenlets.iter().any(|greenlet| greenlet.id == waits.id()));
    }
    hub.shutdown();
}

#[test]
fn a_hub_that_does_not_answer_is_shown_as_blocked() {
    let hub = Hub::thread("stuck").start().unwrap();
    let (started, has_started) = channel();
    let (end, ends) = channel::<()>();
    let blocks = hub.handle().spawn(move || {
        started.send(()).unwrap();
        let _ = ends.recv();
    });
    has_started.recv().unwrap();
    let info = Survey::default().patience(Duration::from_millis(20)).take();
    let stuck = hub_in(&info, hub.handle().id());
    let HubAnswer::Blocked { thread, .. } = &stuck.answer else { panic!("{stuck}") };
    assert_eq!(thread.system_call.as_ref().and_then(|call| call.name), Some("futex"));
    assert!(info.to_string().contains("does not answer"), "{info}");
    drop(end);
    blocks.unwrap().join();
    hub.shutdown();
}

#[test]
fn two_hubs_may_ask_each_other() {
    let hubs = ["a", "b"].map(|name| Hub::thread(name).start().unwrap());
    let patient = Survey::default().patience(GENEROUS);
    let asking: Vec<_> = hubs
        .iter()
        .map(|hub| {
            let survey = patient.clone();
            hub.handle().spawn(move || (0..20).fold(survey.take(), |_, _| survey.take())).unwrap()
        })
        .collect();
    let ids = hubs.each_ref().map(|hub| hub.handle().id());
    for greenlet in asking {
        let info = greenlet.into_value().unwrap();
        for id in ids {
            assert!(matches!(hub_in(&info, id).answer, HubAnswer::Given));
        }
    }
    for hub in hubs {
        HubThread::shutdown(hub);
    }
}

#[test]
fn a_callback_of_the_loop_sees_its_own_hub() {
    let other = Hub::thread("other").start().unwrap();
    let id = other.handle().id();
    in_hub(move || {
        let (tell, told) = channel();
        spawn(|| ()).rawlink(move |_| tell.send(monitor::run_info()).unwrap());
        settle();
        let info = told.recv().unwrap();
        assert!(matches!(hub_in(&info, Hub::current().id()).answer, HubAnswer::Given));
        assert_eq!(find(&info, &current()).state, GreenletState::Ready);
        assert!(matches!(hub_in(&info, id).answer, HubAnswer::NotAsked));
    });
    other.shutdown();
}

#[test]
fn greenlets_beyond_the_limit_are_counted() {
    in_hub(|| {
        let _many: Vec<_> = (0..10).map(|_| spawn(|| sleep(FOREVER))).collect();
        let info = Survey::default().limit(4).take();
        let here = hub_in(&info, Hub::current().id());
        assert_eq!((here.greenlets.len(), here.left_out), (4, 7));
        assert!(here.to_string().ends_with("  and 7 more\n"), "{here}");
        assert_eq!(hub_in(&Survey::default().limit(0).take(), Hub::current().id()).left_out, 11);
    });
}

#[test]
fn a_kill_reaches_who_asks() {
    let hub = Hub::thread("stuck").start().unwrap();
    let (end, ends) = channel::<()>();
    let (started, has_started) = channel();
    let blocks = hub.handle().spawn(move || {
        started.send(()).unwrap();
        let _ = ends.recv();
    });
    has_started.recv().unwrap();
    in_hub(|| {
        let asks = spawn(|| Survey::default().patience(FOREVER).take());
        yield_now();
        asks.kill();
        assert!(asks.exited());
    });
    drop(end);
    blocks.unwrap().join();
    hub.shutdown();
}

#[test]
fn json_holds_everything_and_is_escaped() {
    in_hub(|| {
        let _greenlet = Builder::new().name("quo\"te\n").spawn(|| sleep(FOREVER));
        yield_now();
        let info = Survey::default().backtraces().resident_stacks().take();
        let json = hub_json(&info, Hub::current().id());
        for part in [
            r#""name":"quo\"te\u000a""#,
            r#""state":"waiting""#,
            r#""operation":"sleep""#,
            r#""resident":"#,
            r#""metrics":{"switches":"#,
            r#""answered":true"#,
            "monitor.rs:",
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
        balanced(&json);
    });
}

fn hub_json(info: &RunInfo, id: u64) -> String {
    let mut only = info.clone();
    only.hubs.retain(|hub| hub.hub.id() == id);
    only.to_json()
}

/// Brackets match outside of strings.
fn balanced(json: &str) {
    let (mut open, mut text, mut escaped) = (Vec::new(), false, false);
    for c in json.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if text => escaped = true,
            '"' => text = !text,
            _ if text => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => assert_eq!(open.pop(), Some(c), "{json}"),
            _ => {}
        }
    }
    assert!(open.is_empty() && !text, "{json}");
}

#[test]
fn resident_stacks_show_what_was_touched() {
    #[inline(never)]
    fn touch_64_kib() -> u8 {
        let room = std::hint::black_box([1_u8; 64 << 10]);
        room.iter().copied().fold(0, u8::wrapping_add)
    }

    let hub = Hub::thread("touched").config(Config::default().warm_stacks(0)).start().unwrap();
    let touched = hub.handle().spawn(|| {
        touch_64_kib();
        sleep(FOREVER);
    });
    let info =
        hub.handle().spawn(|| Survey::default().resident_stacks().take()).unwrap().into_value().unwrap();
    let stack = find(&info, &touched.unwrap()).stack.unwrap();
    assert!(stack.resident.unwrap() >= 64 << 10, "{stack:?}");
    assert!(stack.used < 32 << 10, "{stack:?}");
    hub.shutdown();
}

// --- backtraces ------------------------------------------------------------------------------------------------

#[inline(never)]
fn a_place_to_wait() {
    sleep(FOREVER);
    std::hint::black_box(());
}

#[inline(never)]
fn calls_a_place_to_wait() {
    a_place_to_wait();
    std::hint::black_box(());
}

#[test]
fn a_suspended_greenlet_shows_where_it_stands_and_goes_on() {
    in_hub(|| {
        let went_on = Rc::new(Cell::new(false));
        let queue = Rc::new(Queue::unbounded());
        let waits = support::with(&queue, |queue: &Queue<u32>| queue.get().unwrap());
        let naps = spawn(calls_a_place_to_wait);
        settle();
        for _ in 0..3 {
            let text = naps.backtrace().unwrap().to_string();
            let (inner, outer) = (text.find("a_place_to_wait"), text.find("calls_a_place_to_wait"));
            assert!(inner < outer, "{text}");
            assert!(!text.contains("a_suspended_greenlet_shows"), "another stack's frames: {text}");
            waits.backtrace().unwrap();
        }
        settle();
        assert!(!waits.ready() && !naps.ready());
        queue.put(7).unwrap();
        assert_eq!(waits.get().unwrap(), 7);
        naps.kill();
        went_on.set(true);
    });
}

#[test]
fn a_running_greenlet_and_main_show_where_they_stand() {
    in_hub(|| {
        let main = current();
        let text = main.backtrace().unwrap().to_string();
        assert!(text.contains("a_running_greenlet_and_main_show"), "{text}");
        let (own, of_main) = spawn(move || {
            (current().backtrace().unwrap().to_string(), main.backtrace().unwrap().to_string())
        })
        .into_value()
        .unwrap();
        assert!(own.contains("a_running_greenlet_and_main_show"), "{own}");
        assert!(of_main.contains("into_value") && of_main.contains("monitor::in_hub"), "{of_main}");
        assert!(!of_main.contains("run_loop"), "{of_main}");
    });
}

#[test]
fn greenlets_of_other_hubs_show_where_they_stand() {
    let hub = Hub::thread("other").start().unwrap();
    let naps = hub.handle().spawn(calls_a_place_to_wait).unwrap();
    hub.handle().spawn(settle).unwrap().join();
    assert!(naps.backtrace().unwrap().to_string().contains("calls_a_place_to_wait"));
    let asked = naps.clone();
    let text = in_hub(move || spawn(move || asked.backtrace().unwrap().to_string()).get().unwrap());
    assert!(text.contains("calls_a_place_to_wait"));
    hub.shutdown();
    assert_eq!(naps.backtrace(), Err(NoBacktrace::Ended));
}

#[test]
fn there_is_no_backtrace_before_the_start_and_after_the_end() {
    in_hub(|| {
        let greenlet = Greenlet::new(|| ());
        assert_eq!(greenlet.backtrace(), Err(NoBacktrace::NotStarted));
        greenlet.start();
        assert_eq!(greenlet.backtrace(), Err(NoBacktrace::NotStarted));
        greenlet.join();
        assert_eq!(greenlet.backtrace(), Err(NoBacktrace::Ended));
    });
}

#[test]
fn a_stack_without_room_is_not_looked_at() {
    /// Sleeps with so many bytes used at least.
    #[inline(never)]
    fn use_up(bytes: usize) {
        let frame = std::hint::black_box([0_u8; 512]);
        if bytes == 0 {
            sleep(FOREVER)
        } else {
            use_up(bytes.saturating_sub(700))
        }
        std::hint::black_box(frame);
    }

    in_hub(|| {
        let small = Builder::new().stack_size(StackSize::new(64 << 10).unwrap());
        let deep = small.spawn(|| {
            let here = 0_u8;
            let here = (&raw const here).addr();
            fn sink(low: usize) {
                let here = 0_u8;
                let frame = std::hint::black_box([0_u8; 512]);
                if (&raw const here).addr() > low {
                    sink(low)
                } else {
                    sleep(FOREVER)
                }
                std::hint::black_box(frame);
            }
            sink(here - (51 << 10));
        });
        let shallow = spawn(|| use_up(0));
        settle();
        assert_eq!(deep.backtrace(), Err(NoBacktrace::NoRoom));
        assert!(shallow.backtrace().is_ok());
        deep.kill();
    });
}

#[test]
fn a_greenlet_suspended_in_a_destructor_shows_where_it_stands() {
    in_hub(|| {
        let victim = spawn(|| {
            let _guard = OnDrop(calls_a_place_to_wait_for_a_moment);
            sleep(FOREVER);
        });
        yield_now();
        victim.kill_with(no_wait());
        settle();
        let text = victim.backtrace().unwrap().to_string();
        assert!(text.contains("calls_a_place_to_wait_for_a_moment"), "{text}");
        victim.join();
        assert!(victim.exited());
    });
}

fn calls_a_place_to_wait_for_a_moment() {
    sleep(Duration::from_millis(50));
}

#[test]
fn a_raise_that_waits_survives_a_look() {
    in_hub(|| {
        let seen = Rc::new(RefCell::new(None));
        let keeps = seen.clone();
        let victim = spawn(move || *keeps.borrow_mut() = catch(|| sleep(FOREVER)).err());
        yield_now();
        victim.kill_with(Kill::error(Oops("for it")).no_wait());
        victim.backtrace().unwrap();
        victim.join();
        assert!(seen.borrow().as_ref().is_some_and(|raised| raised.is::<Oops>()));
    });
}

#[test]
fn a_survey_with_backtraces_has_those_of_all() {
    in_hub(|| {
        let _all: Vec<_> = (0..3).map(|_| spawn(calls_a_place_to_wait)).collect();
        yield_now();
        let info = Survey::default().backtraces().take();
        let text = hub_in(&info, Hub::current().id()).to_string();
        assert_eq!(text.matches("calls_a_place_to_wait").count(), 3, "{text}");
    });
}

#[test]
fn a_panic_hook_may_ask_for_the_run_info() {
    const TEST: &str = "a_panic_hook_may_ask_for_the_run_info";
    if support::is_child(TEST) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = seen.clone();
        std::panic::set_hook(Box::new(move |_| {
            let info = Survey::default().backtraces().take();
            let answers = info.hubs.iter().map(|hub| matches!(hub.answer, HubAnswer::NotAsked));
            keep.lock().unwrap().extend(answers);
        }));
        let handle = Hub::thread("other").start().unwrap();
        in_hub(|| {
            let _waits = spawn(|| sleep(FOREVER));
            assert!(spawn(|| panic!("asks")).get().is_err());
        });
        assert_eq!(*seen.lock().unwrap(), [true, true]);
        handle.shutdown();
        return;
    }
    let output = support::run_child(TEST);
    assert!(output.status.success(), "{}", support::stderr(&output));
}

// --- switch hooks ----------------------------------------------------------------------------------------------

/// Records switches as `name>` (left) and `>name` (entered).
fn recorded(log: &Rc<RefCell<Vec<String>>>) -> SwitchHook {
    let log = log.clone();
    Hub::add_switch_hook(move |switch| {
        log.borrow_mut().push(match (switch.from, switch.to) {
            (Some(from), None) => format!("{}>", from.name()),
            (None, Some(to)) => format!(">{}", to.name()),
            other => panic!("{other:?}"),
        });
    })
}

#[test]
fn a_hook_sees_every_switch() {
    in_hub(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let hook = recorded(&log);
        let a = Builder::new().name("a").spawn(yield_now);
        Builder::new().name("b").spawn(|| ()).join();
        a.join();
        drop(hook);
        yield_now();
        let expected = "main> >a a> >b b> >a a> >main";
        let seen = log.borrow().join(" ");
        // Main may wake between b and a.
        assert!(seen == expected || seen == "main> >a a> >b b> >a a> >main main> >main", "{seen}");
    });
}

#[test]
fn a_context_can_follow_its_greenlet() {
    thread_local!(static CONTEXT: RefCell<String> = const { RefCell::new(String::new()) });
    in_hub(|| {
        let put_away = RefCell::new(std::collections::HashMap::new());
        let _hook = Hub::add_switch_hook(move |switch| {
            let mut put_away = put_away.borrow_mut();
            if let Some(from) = switch.from {
                put_away.insert(from.id(), CONTEXT.take());
            }
            if let Some(to) = switch.to {
                CONTEXT.set(put_away.remove(&to.id()).unwrap_or_default());
            }
        });
        let all: Vec<_> = (0..4)
            .map(|n| {
                spawn(move || {
                    assert_eq!(CONTEXT.with_borrow(String::clone), "");
                    CONTEXT.set(n.to_string());
                    for _ in 0..5 {
                        yield_now();
                        assert_eq!(CONTEXT.with_borrow(String::clone), n.to_string());
                    }
                })
            })
            .collect();
        CONTEXT.set("main".into());
        greenlet_core::joinall(&all);
        assert!(all.iter().all(|greenlet| greenlet.successful()));
        assert_eq!(CONTEXT.take(), "main");
    });
}

#[test]
fn a_hook_that_panics_or_blocks_does_not_stop_the_switch() {
    in_hub(|| {
        let calls = Rc::new(Cell::new(0));
        let counts = calls.clone();
        let _panics = Hub::add_switch_hook(move |_| panic!("in a hook"));
        let _blocks = Hub::add_switch_hook(|_| sleep(FOREVER));
        let _counts = Hub::add_switch_hook(move |_| counts.set(counts.get() + 1));
        assert_eq!(spawn(|| 7).get().unwrap(), 7);
        assert_eq!(calls.get(), 4);
    });
}

#[test]
fn hooks_may_come_and_go_while_they_are_called() {
    in_hub(|| {
        let kept: Rc<RefCell<Vec<SwitchHook>>> = Rc::default();
        let (add, more) = (kept.clone(), Rc::new(Cell::new(0)));
        let counts = more.clone();
        let first = Hub::add_switch_hook(move |_| {
            let counts = counts.clone();
            let hook = Hub::add_switch_hook(move |_| counts.set(counts.get() + 1));
            add.borrow_mut().push(hook);
            if add.borrow().len() > 3 {
                let dropped = add.borrow_mut().remove(0);
                drop(dropped);
            }
        });
        for _ in 0..5 {
            yield_now();
        }
        assert!(more.get() > 0);
        drop(first);
        kept.borrow_mut().clear();
        let before = more.get();
        yield_now();
        assert_eq!(more.get(), before);
    });
}

#[test]
fn a_hook_may_look_at_greenlets_and_spawn() {
    in_hub(|| {
        let spawned = Rc::new(RefCell::new(Vec::new()));
        let keep = spawned.clone();
        let hook = Hub::add_switch_hook(move |switch| {
            // One about to begin has no stack of its own yet; one that ended has none any more.
            let _ = switch.to.or(switch.from).unwrap().backtrace();
            monitor::run_info();
            if keep.borrow().len() < 3 {
                keep.borrow_mut().push(spawn(|| 1));
            }
        });
        assert_eq!(spawn(|| 2).get().unwrap(), 2);
        drop(hook);
        let sum: i32 = spawned.take().into_iter().map(|greenlet| greenlet.get().unwrap()).sum();
        assert_eq!(sum, 3);
    });
}

// --- assert_switches -------------------------------------------------------------------------------------------

#[test]
fn a_block_that_switches_passes() {
    in_hub(|| {
        assert_eq!(assert_switches(|| sleep(Duration::from_millis(1))), ());
        assert_eq!(spawn(|| assert_switches(|| (yield_now(), 3).1)).get().unwrap(), 3);
        AssertSwitches::default().hub_only().run(|| sleep(Duration::from_millis(1)));
    });
}

#[test]
fn a_block_that_does_not_switch_fails() {
    let text = in_hub(|| message(&*catch_unwind(|| assert_switches(|| ())).unwrap_err()));
    assert!(text.contains("main (Greenlet-") && text.contains("without a switch"), "{text}");
}

#[test]
fn who_keeps_the_hub_for_too_long_fails_the_block() {
    let text = in_hub(|| {
        let strict = AssertSwitches::default().max_blocking_time(Duration::from_millis(5));
        let culprit = Builder::new().name("culprit");
        let checked = || {
            let culprit = culprit.spawn(|| {
                thread::sleep(Duration::from_millis(10));
                calls_a_place_to_wait_for_a_moment();
            });
            strict.run(|| culprit.join());
        };
        message(&*catch_unwind(AssertUnwindSafe(checked)).unwrap_err())
    });
    for part in ["culprit (Greenlet-", file!(), "longer than 5", "calls_a_place_to_wait_for_a_moment"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn the_rest_of_the_block_counts_too() {
    in_hub(|| {
        let strict = AssertSwitches::default().max_blocking_time(Duration::from_millis(5));
        let failed = catch_unwind(|| {
            strict.run(|| {
                yield_now();
                thread::sleep(Duration::from_millis(10));
            });
        });
        assert!(message(&*failed.unwrap_err()).contains("the end of the block"));
        strict.max_blocking_time(FOREVER).run(|| sleep(Duration::from_millis(10)));
    });
}

#[test]
fn waiting_is_no_blocking() {
    in_hub(|| {
        let strict = AssertSwitches::default().max_blocking_time(GENEROUS);
        strict.run(|| sleep(Duration::from_millis(20)));
    });
}

#[test]
fn switches_without_a_turn_are_not_enough_for_the_hub() {
    in_hub(|| {
        // Right after a turn there are many entries left before the next one.
        sleep(Duration::from_millis(1));
        let failed = catch_unwind(|| AssertSwitches::default().hub_only().run(yield_now));
        assert!(message(&*failed.unwrap_err()).contains("without a turn of the hub's loop"));
    });
}

#[test]
fn what_the_body_raises_is_not_hidden() {
    in_hub(|| {
        let strict = AssertSwitches::default().max_blocking_time(Duration::from_nanos(1));
        let raised = catch(|| strict.run(|| raise(Oops("from the body")))).unwrap_err();
        assert!(raised.is::<Oops>());
        let panicked = catch_unwind(|| strict.run(|| panic!("{}", "from the body"))).unwrap_err();
        assert_eq!(message(&*panicked), "from the body");
        let checks = spawn(|| assert_switches(|| sleep(FOREVER)));
        yield_now();
        checks.kill();
        assert!(checks.exited());
    });
}

#[test]
fn such_blocks_nest() {
    in_hub(|| {
        let failed = catch_unwind(|| {
            assert_switches(|| {
                yield_now();
                assert_switches(|| ());
            });
        });
        assert!(failed.is_err());
        assert_switches(|| {
            assert_switches(yield_now);
            AssertSwitches::default().max_blocking_time(GENEROUS).run(yield_now);
        });
    });
}
