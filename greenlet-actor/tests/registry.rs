//! Names.

mod probe;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use greenlet_actor::registry::{self, FindError, RegisterError, Registry, SendToError, via};
use greenlet_actor::{
    Actor, ActorBuilder, ActorRef, AskError, Context, Exit, Overflow, Reply, SendError, Supervisor, System,
    worker,
};
use greenlet_core::{Event, spawn, yield_now};
use probe::{Ask, Elsewhere, Job, LONG, Log, Probe, no_disk, on_hub};

/// Counts in one number, and may be moved to other hubs.
struct Counter(u64);

enum Count {
    Up,
    Read(Reply<u64>),
    Fail,
}

impl Actor for Counter {
    type Message = Count;
    fn receive(&mut self, message: Count, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Count::Up => self.0 += 1,
            Count::Read(reply) => reply.send(self.0),
            Count::Fail => return Err(no_disk()),
        }
        Ok(())
    }
}

fn on_two_hubs(body: impl FnOnce() + Send + 'static) {
    System::builder().hubs(2).run(body).unwrap();
}

#[test]
fn an_actor_is_found_by_its_name_and_sent_to() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let counter = Counter(0).spawn();
        names.register("counter", &counter).unwrap();
        assert_eq!(names.whereis::<Count>("counter"), Some(counter.clone()));
        names.send_to("counter", Count::Up).unwrap();
        assert_eq!(counter.call(Count::Read).unwrap(), 1);
        assert_eq!(names.registered(), ["counter"]);
        assert_eq!((names.len(), names.is_empty()), (1, false));
    });
}

#[test]
fn a_taken_name_is_refused_and_the_error_names_who_has_it() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let (first, second) = (Counter(0).spawn(), Counter(0).spawn());
        names.register("counter", &first).unwrap();
        let error = names.register("counter", &second).unwrap_err();
        assert_eq!(error.to_string(), format!("the name \"counter\" belongs to {first}"));
        let again = names.register("counter", &first);
        assert!(matches!(again, Err(RegisterError::Taken { by, .. }) if by.id() == first.id()));
        // The refused one left nothing behind that would take the name away from the first.
        second.kill();
        assert_eq!(names.whereis::<Count>("counter"), Some(first));
    });
}

#[test]
fn a_name_is_free_when_somebody_who_joined_its_actor_hears_of_the_end() {
    on_hub(|| {
        let names: Registry = Registry::new();
        for round in 0..20 {
            let counter = Counter(0).spawn();
            names.register("counter", &counter).unwrap_or_else(|error| panic!("{round}: {error}"));
            match round % 3 {
                0 => counter.kill(),
                1 => {
                    counter.stop();
                    counter.join();
                }
                _ => {
                    counter.send(Count::Fail).unwrap();
                    counter.join();
                }
            }
            assert_eq!(names.whereis::<Count>("counter"), None);
            assert!(names.registered().is_empty());
        }
    });
}

#[test]
fn a_name_is_free_when_a_monitor_hears_of_the_end() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let (told, heard) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
        let counter = Counter(0).spawn();
        // Told before the name is taken out, since it was there first.
        counter.on_end({
            let (names, told, heard) = (names.clone(), told.clone(), heard.clone());
            move |_, _| {
                heard.store(names.whereis_any("counter").is_none(), Ordering::SeqCst);
                told.set();
            }
        });
        names.register("counter", &counter).unwrap();
        counter.stop();
        assert!(told.wait_timeout(LONG));
        assert!(heard.load(Ordering::SeqCst));
    });
}

#[test]
fn a_restarted_child_takes_its_name_again_at_once() {
    struct Named(Registry);
    impl Actor for Named {
        type Message = Count;
        fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
            Ok(self.0.register("child", ctx.me())?)
        }
        fn receive(&mut self, _: Count, _: &mut Context<Self>) -> Result<(), Exit> {
            Err(no_disk())
        }
    }
    on_hub(|| {
        let names: Registry = Registry::new();
        let child = names.clone();
        let tree = Supervisor::one_for_one()
            .intensity(10, Duration::from_secs(60))
            .child(worker("child", move || Named(child.clone())))
            .start()
            .unwrap();
        for _ in 0..10 {
            let before = names.whereis::<Count>("child").unwrap();
            before.send(Count::Fail).unwrap();
            before.join();
            let after = tree.child::<Count>("child").expect("it was restarted, and not twice");
            assert_eq!(names.whereis::<Count>("child"), Some(after.clone()));
            assert_ne!(before, after);
        }
        assert!(!tree.actor().ready());
        tree.shutdown();
        assert_eq!(names.whereis_any("child"), None);
    });
}

#[test]
fn a_child_whose_spec_has_a_name_has_it_in_each_of_its_lives() {
    on_two_hubs(|| {
        let names: Registry<u32> = Registry::new();
        let tree = Supervisor::one_for_one()
            .intensity(100, Duration::from_secs(60))
            .child(worker("child", || Counter(0)).register_via(names.clone(), 7))
            .start()
            .unwrap();
        for round in 0..50 {
            let before = names.whereis::<Count>(&7).unwrap();
            if round % 2 == 0 {
                before.kill();
            } else {
                before.send(Count::Fail).unwrap();
                before.join();
            }
            // Its end is in the supervisor's mailbox, or on its way from the other hub.
            while names.whereis::<Count>(&7).is_none() {
                yield_now();
            }
            assert_ne!(names.whereis::<Count>(&7), Some(before));
        }
        let stranger = Counter(0).spawn();
        assert!(names.register(7_u32, &stranger).is_err());
        tree.shutdown();
        names.register(7_u32, &stranger).unwrap();
    });
}

#[test]
fn a_name_that_was_taken_away_is_free_and_its_actor_goes_on() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let (first, second) = (Counter(0).spawn(), Counter(0).spawn());
        names.register("counter", &first).unwrap();
        assert_eq!(names.unregister("counter").map(|actor| actor.id()), Some(first.id()));
        assert_eq!(names.unregister("counter"), None);
        names.register("counter", &second).unwrap();
        first.kill();
        assert_eq!(names.whereis::<Count>("counter"), Some(second));
    });
}

#[test]
fn an_actor_that_takes_other_messages_is_not_found_and_the_error_says_what_it_takes() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let counter = Counter(0).spawn();
        names.register("counter", &counter).unwrap();
        assert_eq!(names.whereis::<String>("counter"), None);
        let error = names.find::<String>("counter").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{counter} takes messages of type registry::Count, not alloc::string::String")
        );
        let Err(SendToError::Find { message, .. }) = names.send_to("counter", "hello".to_owned()) else {
            panic!("it takes no strings")
        };
        assert_eq!(message, "hello");
        assert_eq!(names.find::<Count>("nobody"), Err(FindError::NotRegistered));
    });
}

#[test]
fn a_message_to_a_name_that_is_full_or_free_comes_back() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let actor = ActorBuilder::new().capacity(1).overflow(Overflow::Fail).spawn_local(Probe::new());
        names.register("narrow", &actor).unwrap();
        let job = || -> Job { Box::new(|_| Ok(())) };
        names.send_to("narrow", job()).unwrap();
        assert!(matches!(names.send_to("narrow", job()), Err(SendToError::Send(SendError::Full(_)))));
        actor.kill();
        assert!(matches!(
            names.send_to("narrow", job()),
            Err(SendToError::Find { error: FindError::NotRegistered, .. })
        ));
    });
}

#[test]
fn an_actor_that_has_ended_gets_no_name() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let counter = Counter(0).spawn();
        counter.kill();
        assert_eq!(names.register("late", &counter), Err(RegisterError::Ended { name: "late".to_owned() }));
        assert!(names.is_empty());
    });
}

#[test]
fn any_hashable_key_is_a_name_and_registries_are_independent() {
    on_hub(|| {
        let rooms: Registry<(String, u32)> = Registry::new();
        let others: Registry<(String, u32)> = Registry::new();
        let counter = Counter(0).spawn();
        let name = ("lobby".to_owned(), 7);
        rooms.register(name.clone(), &counter).unwrap();
        rooms.register(("lobby".to_owned(), 8), &counter).unwrap();
        assert_eq!(rooms.whereis::<Count>(&name), Some(counter.clone()));
        assert_eq!(others.whereis::<Count>(&name), None);
        counter.kill();
        assert!(rooms.is_empty(), "all its names go");
    });
}

#[test]
fn a_via_name_means_whoever_has_the_name_now() {
    on_hub(|| {
        let names: Registry<u32> = Registry::new();
        let name = via(names.clone(), 5);
        let unknown = name.ask(Count::Read, LONG);
        assert!(matches!(unknown, Err(AskError::Ended(Exit::NoProc))));
        for _ in 0..3 {
            let counter = ActorBuilder::new().register_via(names.clone(), 5).start(Counter(0)).unwrap();
            name.send(Count::Up).unwrap();
            assert_eq!(name.call(Count::Read).unwrap(), 1);
            counter.kill();
        }
    });
}

#[test]
fn start_with_a_taken_name_fails_before_init_and_says_who_has_it() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let builder = ActorBuilder::new().register_via(names.clone(), "one".to_owned());
        let first = builder.clone().start_local(Probe::new()).unwrap();
        let log = Log::new();
        let (inits, probe) = (log.clone(), Probe::new().ends_in(&log));
        let second = builder.clone().start_local(probe.init(move |_| {
            inits.note("init");
            Ok(())
        }));
        let exit = second.unwrap_err().exit;
        let error = exit.failure().unwrap().downcast_ref::<RegisterError<String>>();
        assert!(matches!(error, Some(RegisterError::Taken { by, .. }) if by.id() == first.id()));
        assert_eq!(log.taken(), ["state dropped"]);
        // One that is only spawned ends with the same reason.
        let third = builder.clone().spawn_local(Probe::new()).join();
        assert!(third.failure().unwrap().downcast_ref::<RegisterError<String>>().is_some());
        assert_eq!(names.whereis::<Job>("one"), Some(first.clone()));
        first.kill();
        builder.start_local(Probe::new()).unwrap();
    });
}

#[test]
fn a_name_given_at_the_start_is_there_before_init_and_in_reports() {
    on_hub(|| {
        let name = "a_name_given_at_the_start_is_there_before_init";
        let found = Arc::new(AtomicBool::new(false));
        let finds = found.clone();
        let probe = Probe::new().init(move |ctx| {
            finds.store(registry::whereis::<Job>(name).as_ref() == Some(ctx.me()), Ordering::SeqCst);
            Ok(())
        });
        let actor = ActorBuilder::new().register(name).start_local(probe).unwrap();
        assert!(found.load(Ordering::SeqCst));
        assert_eq!(actor.name(), Some(name));
        assert!(registry::registered().iter().any(|registered| registered == name));
        registry::send_to::<Job>(name, Box::new(|_| Err(Exit::Normal))).unwrap();
        actor.join();
        assert_eq!(registry::find::<Job>(name), Err(FindError::NotRegistered));
    });
}

#[test]
fn a_name_of_an_actor_whose_init_fails_is_free() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let builder = ActorBuilder::new().register_via(names.clone(), "one".to_owned());
        builder.clone().start_local(Probe::new().init(|_| Err(no_disk()))).unwrap_err();
        assert!(names.is_empty());
        builder.start_local(Probe::new()).unwrap();
    });
}

#[test]
fn a_name_stays_while_its_actor_terminates() {
    on_hub(|| {
        let names: Registry = Registry::new();
        let (there, looks) = (Arc::new(AtomicBool::new(false)), names.clone());
        let noted = there.clone();
        let probe = Probe::new().terminate(move |_, _| {
            yield_now();
            noted.store(looks.whereis_any("one").is_some(), Ordering::SeqCst);
        });
        let actor = probe.spawn_local();
        names.register("one", &actor).unwrap();
        actor.stop();
        actor.join();
        assert!(there.load(Ordering::SeqCst), "as in OTP, whose terminate callbacks run before the exit");
    });
}

#[test]
fn names_work_from_threads_and_go_with_a_hub_that_ends() {
    let names: Registry = Registry::new();
    let registers = names.clone();
    on_hub(move || {
        let counter = Counter(0).spawn();
        let there = registers.clone();
        let from_thread = Elsewhere::spawn({
            let counter = counter.clone();
            move || {
                there.register("counter", &counter).unwrap();
                there.send_to("counter", Count::Up).unwrap();
                there.whereis::<Count>("counter").unwrap().call(Count::Read).unwrap()
            }
        });
        assert_eq!(from_thread.join(), 1);
    });
    assert!(names.is_empty(), "the actor was killed with its hub");
}

#[test]
fn of_two_that_want_a_name_at_once_one_gets_it() {
    on_two_hubs(|| {
        let names: Registry<u32> = Registry::new();
        for round in 0..300 {
            let tries: Vec<_> = (0..2)
                .map(|_| {
                    let (names, counter) = (names.clone(), Counter(0).spawn());
                    Elsewhere::spawn(move || names.register(round, &counter).map(|()| counter))
                })
                .collect();
            let results: Vec<_> = tries.into_iter().map(Elsewhere::join).collect();
            let winner = results.iter().flatten().next().expect("one gets it").clone();
            let loser =
                results.iter().find_map(|result| result.as_ref().err()).expect("the other one does not");
            assert!(matches!(loser, RegisterError::Taken { by, .. } if by.id() == winner.id()));
            assert_eq!(names.whereis::<Count>(&round), Some(winner));
        }
    });
}

#[test]
fn a_name_never_belongs_to_two_and_never_stays_whatever_ends_when() {
    /// Holds a name for as long as it lives, and notes it.
    struct Holder(Arc<AtomicU32>);
    impl Actor for Holder {
        type Message = Count;
        fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
            assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "two have the name");
            Ok(())
        }
        fn receive(&mut self, _: Count, _: &mut Context<Self>) -> Result<(), Exit> {
            Err(Exit::Normal)
        }
        fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    on_two_hubs(|| {
        let names: Registry = Registry::new();
        let holders = Arc::new(AtomicU32::new(0));
        let started = Arc::new(AtomicU32::new(0));
        let contenders: Vec<_> = (0..8)
            .map(|_| {
                let (names, holders, started) = (names.clone(), holders.clone(), started.clone());
                spawn(move || {
                    for _ in 0..300 {
                        let builder = ActorBuilder::new().register_via(names.clone(), "one".to_owned());
                        let Ok(holder) = builder.start(Holder(holders.clone())) else {
                            yield_now();
                            continue;
                        };
                        started.fetch_add(1, Ordering::SeqCst);
                        let _ = names.send_to("one", Count::Up);
                        holder.stop();
                    }
                })
            })
            .collect();
        greenlet_core::joinall(&contenders);
        assert!(contenders.iter().all(|contender| contender.exception().is_none()));
        assert!(started.load(Ordering::SeqCst) >= 8);
        assert!(names.whereis_any("one").is_none_or(|actor| {
            actor.join();
            names.is_empty()
        }));
    });
}

#[test]
fn names_registered_in_a_race_with_the_end_never_linger() {
    on_two_hubs(|| {
        let names: Registry<usize> = Registry::new();
        for round in 0..500 {
            let counter: ActorRef<Count> = Counter(0).spawn();
            let ends = spawn({
                let counter = counter.clone();
                move || counter.kill()
            });
            let registers = Elsewhere::spawn({
                let (names, counter) = (names.clone(), counter.clone());
                move || names.register(round, &counter).is_ok()
            });
            if round % 2 == 0 {
                yield_now();
            }
            ends.join();
            assert_eq!(names.whereis_any(&round), None);
            registers.join();
            assert_eq!(names.whereis_any(&round), None);
            names.register(round, &Counter(0).spawn()).expect("its name is free");
            names.unregister(&round);
        }
        assert!(names.is_empty());
    });
}

#[test]
fn finish_takes_its_place_behind_what_was_sent() {
    on_hub(|| {
        let (actor, log) = (Probe::new().spawn_local(), Log::new());
        for n in 0..3 {
            let log = log.clone();
            actor.run(move |_| {
                log.note(n);
                Ok(())
            });
        }
        actor.finish();
        assert!(actor.join().is_normal());
        assert_eq!(log.taken(), ["0", "1", "2"]);
    });
}
