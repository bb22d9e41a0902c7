//! Looking at actors from outside.

mod probe;

use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::sys::{self, Activity, DumpError, Trace};
use greenlet_actor::testkit::{self, Probe as Expect};
use greenlet_actor::{
    Actor, ActorBuilder, ActorRef, Context, Exit, Reply, Supervisor, System, supervisor, worker,
};
use greenlet_core::{Event, sleep, yield_now};
use probe::{Elsewhere, LONG, Log, Probe, on_hub};

struct Counter {
    count: u32,
}

enum Count {
    Up,
    Block(Arc<Event>),
    /// The same, with news of it.
    Begin(Arc<Event>, Arc<Event>),
    Get(Reply<u32>),
}

impl Actor for Counter {
    type Message = Count;

    fn receive(&mut self, message: Count, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Count::Up => self.count += 1,
            Count::Block(until) => until.wait(),
            Count::Begin(begun, until) => {
                begun.set();
                until.wait();
            }
            Count::Get(reply) => reply.send(self.count),
        }
        Ok(())
    }

    fn label(message: &Count) -> &'static str {
        match message {
            Count::Up => "Up",
            Count::Block(_) => "Block",
            Count::Begin(..) => "Begin",
            Count::Get(_) => "Get",
        }
    }

    fn dump(&self) -> String {
        format!("count {}", self.count)
    }
}

fn counter() -> ActorRef<Count> {
    Counter { count: 0 }.start().unwrap()
}

#[test]
fn info_says_what_an_actor_is_doing() {
    on_hub(|| {
        let actor = ActorBuilder::new().name("counter").start(Counter { count: 0 }).unwrap();
        let other = Probe::new().start_local().unwrap();
        actor.link(&other);
        actor.on_end(|_, _| ());
        yield_now();
        let info = sys::info(&actor);
        assert!(matches!(info.activity, Activity::Idle), "{info}");
        assert_eq!((info.name.as_deref(), &*info.path), (Some("counter"), "/counter"));
        assert_eq!((info.links.as_slice(), info.monitors), ([other.id()].as_slice(), 1));
        assert!(info.actor_type.ends_with("Counter") && info.message_type.ends_with("Count"));
        assert!(info.spawn_site.file().ends_with("sys.rs"));
        let go = Arc::new(Event::new());
        actor.send(Count::Block(go.clone())).unwrap();
        for _ in 0..3 {
            actor.send(Count::Up).unwrap();
        }
        yield_now();
        let busy = sys::info(&actor);
        assert!(matches!(busy.activity, Activity::Handling("Block")), "{busy}");
        assert_eq!((busy.mailbox_len, busy.handled), (3, info.handled + 1));
        assert!(busy.memory > info.memory, "what waits counts");
        go.set();
        assert_eq!(actor.call(Count::Get).unwrap(), 3);
        actor.stop();
        actor.join();
        assert!(matches!(sys::info(&actor).activity, Activity::Ended(Exit::Normal)));
    });
}

#[test]
fn info_comes_from_other_hubs_and_threads_too() {
    System::builder()
        .hubs(2)
        .run(|| {
            let (actor, go) = (counter(), Arc::new(Event::new()));
            let begun = Arc::new(Event::new());
            actor.send(Count::Begin(begun.clone(), go.clone())).unwrap();
            begun.wait();
            let there = actor.clone();
            let seen = Elsewhere::spawn(move || sys::info(&there)).join();
            assert!(matches!(seen.activity, Activity::Handling("Begin")), "{seen}");
            go.set();
        })
        .unwrap();
}

#[test]
fn an_actor_that_is_held_handles_nothing_until_it_is_resumed() {
    on_hub(|| {
        let actor = counter();
        sys::suspend(&actor);
        actor.send(Count::Up).unwrap();
        assert!(actor.ask(Count::Get, Duration::from_millis(5)).is_err());
        assert!(matches!(sys::info(&actor).activity, Activity::Suspended));
        assert_eq!(sys::dump(&actor, LONG).unwrap(), "count 0", "its state is shown all the same");
        sys::resume(&actor);
        assert_eq!(actor.call(Count::Get).unwrap(), 1);
        sys::resume(&actor);
        assert_eq!(actor.call(Count::Get).unwrap(), 1);
    });
}

#[test]
fn a_held_actor_can_be_stopped_killed_and_signalled() {
    on_hub(|| {
        let ends: [fn(&ActorRef<Count>); 3] =
            [ActorRef::stop, |actor| actor.send_exit(Exit::Shutdown), ActorRef::kill];
        for (end, reason) in ends.into_iter().zip(["normal", "shutdown", "killed"]) {
            for idle in [true, false] {
                let actor = counter();
                sys::suspend(&actor);
                if !idle {
                    actor.send(Count::Up).unwrap();
                    yield_now();
                }
                end(&actor);
                assert_eq!(actor.join().to_string(), reason);
            }
        }
    });
}

#[test]
fn a_held_actor_stays_where_it_is_when_hubs_share() {
    System::builder()
        .hubs(2)
        .run(|| {
            let actor = counter();
            for round in 0..200 {
                sys::suspend(&actor);
                let sender = std::thread::spawn({
                    let actor = actor.clone();
                    move || (0..10).for_each(|_| actor.send(Count::Up).unwrap())
                });
                yield_now();
                while !sender.is_finished() {
                    yield_now();
                }
                sys::resume(&actor);
                assert_eq!(actor.ask(Count::Get, LONG).unwrap(), (round + 1) * 10);
            }
        })
        .unwrap();
}

#[test]
fn a_dump_of_the_dead_or_the_busy_says_so() {
    on_hub(|| {
        let actor = counter();
        let go = Arc::new(Event::new());
        actor.send(Count::Block(go.clone())).unwrap();
        yield_now();
        let late = sys::dump(&actor, Duration::from_millis(5));
        assert!(matches!(late, Err(DumpError::TimedOut(_))));
        go.set();
        actor.call(Count::Get).unwrap();
        actor.kill();
        assert!(matches!(sys::dump(&actor, LONG), Err(DumpError::Ended(Exit::Killed))));
    });
}

#[test]
fn a_dump_hears_at_once_that_the_actor_ends_first() {
    on_hub(|| {
        let actor = counter();
        actor.send(Count::Block(Arc::new(Event::new()))).unwrap();
        yield_now();
        let dump = greenlet_core::spawn({
            let actor = actor.clone();
            move || sys::dump(&actor, LONG).unwrap_err().to_string()
        });
        yield_now();
        actor.kill();
        assert_eq!(dump.get().unwrap(), "the actor has ended: killed");
    });
}

#[test]
fn a_traced_actor_tells_of_each_message() {
    on_hub(|| {
        let (actor, log) = (counter(), Log::new());
        let noted = log.clone();
        sys::trace(&actor, move |event| {
            noted.note(match &event.what {
                Trace::Begins(label) => format!("begins {label}"),
                Trace::Done(label, _) => format!("done {label}"),
                other => format!("{other:?}"),
            });
        });
        actor.send(Count::Up).unwrap();
        actor.call(Count::Get).unwrap();
        yield_now();
        assert_eq!(log.taken(), ["begins Up", "done Up", "begins Get", "done Get"]);
        sys::untrace(&actor);
        actor.call(Count::Get).unwrap();
        assert!(log.taken().is_empty());
    });
}

#[test]
fn the_tree_shows_who_was_started_by_whom() {
    on_hub(|| {
        let inner = || Supervisor::one_for_one().child(worker("leaf", || Counter { count: 0 }));
        let top = Supervisor::one_for_one()
            .child(worker("first", || Counter { count: 0 }))
            .child(supervisor("inner", inner))
            .start_named("top")
            .unwrap();
        let alone = ActorBuilder::new().name("al\"one").start(Counter { count: 0 }).unwrap();
        yield_now();
        let tree = sys::tree();
        assert_eq!(tree.roots.len(), 2);
        let paths: Vec<_> = tree.roots[0].children.iter().map(|child| &*child.info.path).collect();
        assert_eq!(paths, ["/top/first", "/top/inner"]);
        let text = tree.to_string();
        let shape: Vec<_> = text.lines().map(|line| line.split(" <").next().unwrap()).collect();
        assert_eq!(shape, ["top", "├─ first", "└─ inner", "   └─ leaf", "al\"one"]);
        let json = tree.to_json();
        assert!(json.contains("\"path\":\"/top/inner/leaf\"") && json.contains("al\\\"one"), "{json}");
        assert_eq!(json.matches('{').count(), json.matches('}').count());
        let dot = tree.to_dot();
        assert!(dot.starts_with("digraph") && dot.matches(" -> ").count() == 3, "{dot}");
        alone.stop();
        top.shutdown();
    });
}

#[test]
fn metrics_count_what_happened() {
    on_hub(|| {
        let actor = counter();
        let before = sys::metrics().unwrap().hubs[0];
        for _ in 0..10 {
            actor.send(Count::Up).unwrap();
        }
        actor.call(Count::Get).unwrap();
        let blocked = counter();
        blocked.send(Count::Block(Arc::new(Event::new()))).unwrap();
        yield_now();
        blocked.send(Count::Up).unwrap();
        blocked.kill();
        // Runners count when they have had their share.
        sleep(Duration::from_millis(1));
        let metrics = sys::metrics().unwrap();
        let after = metrics.hubs[0];
        assert!(after.handled - before.handled >= 11, "{after:?}");
        assert_eq!((after.live, after.ended - before.ended), (1, 1));
        assert_eq!(after.dead_letters - before.dead_letters, 1);
        assert!(after.activations > before.activations && after.runners >= 1);
        let text = metrics.to_string();
        assert!(
            text.contains("# TYPE greenlet_actors_live gauge\ngreenlet_actors_live{hub=\"0\"} 1\n"),
            "{text}"
        );
    });
}

#[test]
fn busy_time_is_measured_when_asked_for() {
    on_hub(|| {
        sys::measure_busy_time();
        let actor = counter();
        let (begun, go) = (Arc::new(Event::new()), Arc::new(Event::new()));
        actor.send(Count::Begin(begun.clone(), go.clone())).unwrap();
        begun.wait();
        sleep(Duration::from_millis(5)); // what is measured
        go.set();
        actor.call(Count::Get).unwrap();
        yield_now();
        assert!(sys::info(&actor).busy.unwrap() >= Duration::from_millis(4));
    });
}

#[test]
fn a_probe_expects_and_faults_are_injected() {
    on_hub(|| {
        let actor = counter();
        let expect: Expect<u32> = Expect::watching([&actor]);
        let to = expect.actor().clone();
        for n in [1, 2, 3, 4] {
            to.send(n).unwrap();
        }
        assert_eq!(expect.expect(), 1);
        assert_eq!(expect.fish_for(|n| if n == 3 { Ok("three") } else { Err(n) }), "three");
        assert_eq!(expect.expect_many(1), [4]);
        expect.expect_nothing(Duration::from_millis(1));
        testkit::panic_on_next(&actor, "out of paper");
        actor.send(Count::Up).unwrap();
        let exit = expect.expect_down(&actor);
        assert!(exit.to_string().contains("out of paper"), "{exit}");
        drop(expect);
        assert!(matches!(to.join_timeout(LONG), Some(Exit::Normal)));
        let other = counter();
        testkit::exit_on_next(&other, Exit::Shutdown);
        other.send(Count::Up).unwrap();
        assert!(matches!(other.join(), Exit::Shutdown));
    });
}

#[test]
#[should_panic(expected = "no message came in 1ms")]
fn a_probe_that_waits_in_vain_fails_its_test() {
    on_hub(|| {
        let _: u32 = Expect::new().patience(Duration::from_millis(1)).expect();
    });
}

#[test]
fn a_dump_that_is_wanted_while_another_one_suspends_comes_too() {
    struct Slow;
    impl Actor for Slow {
        type Message = ();
        fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
            Ok(())
        }
        fn dump(&self) -> String {
            sleep(Duration::from_millis(5));
            "slow".to_owned()
        }
    }
    on_hub(|| {
        let actor = Slow.start().unwrap();
        sys::suspend(&actor);
        let first = greenlet_core::spawn({
            let actor = actor.clone();
            move || sys::dump(&actor, LONG).unwrap()
        });
        sleep(Duration::from_millis(1));
        assert_eq!(sys::dump(&actor, LONG).unwrap(), "slow");
        assert_eq!(first.get().unwrap(), "slow");
    });
}
