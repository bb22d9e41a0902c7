//! Event buses and their handlers.

mod probe;

use std::sync::Arc;

use greenlet_actor::event_bus::{EventBus, EventHandler, HandlerError, Next};
use greenlet_actor::{Actor, ActorBuilder, AskError, Exit, SendError, System};
use greenlet_core::{Event, spawn, yield_now};
use probe::{Elsewhere, LONG, Log, Probe, no_disk, on_hub, word};

/// Does what the event says, and notes it.
struct Scribe {
    name: &'static str,
    log: Log,
    seen: u32,
}

#[derive(Debug)]
enum Say {
    Word(&'static str),
    Fail(&'static str),
    Panic(&'static str),
    Leave(&'static str),
    Wait(Arc<Event>, Arc<Event>),
}

impl EventHandler<Say> for Scribe {
    fn init(&mut self) -> Result<(), Exit> {
        if self.name == "refused" { Err(no_disk()) } else { Ok(()) }
    }

    fn handle_event(&mut self, say: &Say) -> Result<Next, Exit> {
        self.seen += 1;
        match say {
            Say::Word(word) => self.log.note(format_args!("{} {word}", self.name)),
            Say::Fail(who) if *who == self.name => return Err(no_disk()),
            Say::Panic(who) if *who == self.name => panic!("no words"),
            Say::Leave(who) if *who == self.name => return Ok(Next::Remove),
            Say::Wait(begun, until) => {
                begun.set();
                until.wait();
            }
            _ => {}
        }
        Ok(Next::Keep)
    }

    fn terminate(&mut self, why: &Exit) {
        self.log.note(format_args!("{} ends {}", self.name, word(why)));
    }
}

fn scribe(name: &'static str, log: &Log) -> Scribe {
    Scribe { name, log: log.clone(), seen: 0 }
}

#[test]
fn every_handler_gets_every_event_in_the_order_of_adding() {
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        let first = bus.add(scribe("first", &log)).unwrap();
        let second = bus.add(scribe("second", &log)).unwrap();
        bus.notify(Say::Word("one")).unwrap();
        bus.sync_notify(Say::Word("two")).unwrap();
        assert_eq!(log.taken(), ["first one", "second one", "first two", "second two"]);
        let ids: Vec<_> = bus.which_handlers().unwrap().iter().map(|handler| handler.id).collect();
        assert_eq!(ids, [first.id(), second.id()]);
        assert!(bus.which_handlers().unwrap()[0].type_name.ends_with("Scribe"));
    });
}

#[test]
fn a_handler_that_fails_is_removed_and_reported_and_the_others_go_on() {
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        let [a, b, c] = ["a", "b", "c"].map(|name| bus.add(scribe(name, &log)).unwrap());
        bus.sync_notify(Say::Fail("a")).unwrap();
        assert!(a.join().to_string().contains("no disk"));
        bus.sync_notify(Say::Panic("b")).unwrap();
        assert_eq!(word(&b.join()), "panic no words");
        bus.sync_notify(Say::Word("still")).unwrap();
        assert_eq!(log.taken(), ["a ends no disk", "b ends panic no words", "c still"]);
        assert!(c.removed().is_none());
        assert!(!bus.actor().ready());
        assert!(
            matches!(b.call(|b| b.seen), Err(HandlerError::Removed(exit)) if word(&exit) == "panic no words")
        );
    });
}

#[test]
fn a_handler_may_leave_by_itself() {
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        let leaving = bus.add(scribe("leaving", &log)).unwrap();
        let waiting = spawn({
            let leaving = leaving.clone();
            move || leaving.join().is_normal()
        });
        bus.sync_notify(Say::Leave("leaving")).unwrap();
        assert!(waiting.into_value().unwrap());
        assert!(bus.which_handlers().unwrap().is_empty());
        assert!(matches!(leaving.remove().map(|_| ()), Err(HandlerError::Removed(Exit::Normal))));
    });
}

#[test]
fn a_handler_is_called_between_events_and_a_call_that_fails_removes_it() {
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        let handler = bus.add(scribe("it", &log)).unwrap();
        for _ in 0..3 {
            bus.notify(Say::Leave("nobody")).unwrap();
        }
        assert_eq!(handler.call(|it| std::mem::replace(&mut it.seen, 10)).unwrap(), 3);
        assert_eq!(handler.call(|it| it.seen).unwrap(), 10);
        let failed = handler.call(|_| -> () { panic!("no call") });
        assert!(matches!(failed, Err(HandlerError::Failed(exit)) if word(&exit) == "panic no call"));
        assert_eq!(log.taken(), ["it ends panic no call"]);
        assert!(handler.removed().is_some());
    });
}

#[test]
fn a_removed_handlers_state_comes_back_after_what_was_notified_before() {
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        let handler = bus.add(scribe("it", &log)).unwrap();
        for _ in 0..5 {
            bus.notify(Say::Word("x")).unwrap();
        }
        let scribe = handler.remove().unwrap();
        bus.sync_notify(Say::Word("y")).unwrap();
        assert_eq!(scribe.seen, 5);
        assert_eq!(log.taken().last().unwrap(), "it ends normal");
    });
}

#[test]
fn a_swapped_handler_takes_over_the_state_and_the_place() {
    struct Counter(u32);
    impl EventHandler<Say> for Counter {
        fn handle_event(&mut self, _: &Say) -> Result<Next, Exit> {
            self.0 += 1;
            Ok(Next::Keep)
        }
    }
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        let first = bus.add(scribe("first", &log)).unwrap();
        bus.add(scribe("second", &log)).unwrap();
        bus.notify(Say::Word("x")).unwrap();
        let counter = first.swap(|old| Counter(old.map_or(100, |old| old.seen))).unwrap();
        bus.notify(Say::Word("y")).unwrap();
        assert_eq!(counter.call(|counter| counter.0).unwrap(), 2);
        assert_eq!(bus.which_handlers().unwrap()[0].id, counter.id());
        assert!(first.join().is_normal());
        // Of one that is gone, nothing is taken over.
        let fresh = first.swap(|old| Counter(old.map_or(100, |old| old.seen))).unwrap();
        assert_eq!(fresh.call(|counter| counter.0).unwrap(), 100);
        let failed = fresh.swap(|_| -> Counter { panic!("none") });
        assert!(matches!(failed, Err(HandlerError::Failed(_))));
        assert_eq!(bus.which_handlers().unwrap().len(), 2);
    });
}

#[test]
fn a_handler_whose_init_fails_is_not_added() {
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        let refused = bus.add(scribe("refused", &log));
        assert!(matches!(refused, Err(HandlerError::Failed(exit)) if word(&exit).contains("no disk")));
        assert!(bus.which_handlers().unwrap().is_empty());
    });
}

#[test]
fn handlers_end_with_their_bus() {
    on_hub(|| {
        let log = Log::new();
        let bus = EventBus::spawn();
        let handler = bus.add(scribe("it", &log)).unwrap();
        bus.notify(Say::Word("last")).unwrap();
        assert!(bus.stop().is_normal());
        assert_eq!(log.taken(), ["it last", "it ends normal"]);
        assert!(handler.join().is_normal());
        assert!(matches!(bus.notify(Say::Word("x")), Err(SendError::Ended(Say::Word("x")))));
        assert!(matches!(bus.sync_notify(Say::Word("x")), Err(AskError::Ended(Exit::Normal))));
        assert!(matches!(handler.call(|_| ()), Err(HandlerError::Bus(AskError::Ended(_)))));

        let bus = EventBus::start(ActorBuilder::new().name("killed")).unwrap();
        let handler = bus.add(scribe("it", &log)).unwrap();
        let (begun, never) = (Arc::new(Event::new()), Arc::new(Event::new()));
        bus.notify(Say::Wait(begun.clone(), never)).unwrap();
        assert!(begun.wait_timeout(LONG));
        bus.actor().kill();
        assert!(matches!(handler.join(), Exit::Killed));
        assert!(log.taken().is_empty(), "a kill has no terminate");
    });
}

#[test]
fn a_handler_ends_with_the_actor_that_it_is_tied_to() {
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        let handler = bus.add(scribe("it", &log)).unwrap();
        let owner = Probe::new().spawn_local();
        handler.ends_with(&owner);
        bus.sync_notify(Say::Word("x")).unwrap();
        owner.kill();
        assert!(handler.join().is_normal());
        assert_eq!(log.taken(), ["it x", "it ends normal"]);
    });
}

#[test]
fn a_handler_that_asks_its_own_bus_hears_that_it_would_wait_for_itself() {
    struct Inner(EventBus<()>, Log);
    impl EventHandler<()> for Inner {
        fn handle_event(&mut self, (): &()) -> Result<Next, Exit> {
            self.1.note(self.0.sync_notify(()).unwrap_err());
            Ok(Next::Keep)
        }
    }
    on_hub(|| {
        let (bus, log) = (EventBus::spawn(), Log::new());
        bus.add(Inner(bus.clone(), log.clone())).unwrap();
        bus.sync_notify(()).unwrap();
        assert_eq!(log.taken(), ["an actor cannot ask itself"]);
        bus.actor().kill();
    });
}

#[test]
fn handlers_come_and_go_while_others_notify_on_two_hubs() {
    System::builder()
        .hubs(2)
        .run(|| {
            let (bus, log) = (EventBus::spawn(), Log::new());
            let notifier = Elsewhere::spawn({
                let bus = bus.clone();
                move || {
                    for n in 0..500 {
                        let say = match n % 50 {
                            10 => Say::Fail("it"),
                            20 => Say::Panic("it"),
                            30 => Say::Leave("it"),
                            _ => Say::Leave("nobody"),
                        };
                        bus.notify(say).unwrap();
                    }
                }
            });
            for round in 0..100 {
                let handler = bus.add(scribe("it", &log)).unwrap();
                match round % 3 {
                    0 => drop(handler.remove()),
                    1 => drop(handler.call(|it| it.seen)),
                    _ => drop(handler.swap(|_| scribe("it", &Log::new()))),
                }
                yield_now();
            }
            notifier.join();
            bus.sync_notify(Say::Leave("it")).unwrap();
            assert!(bus.which_handlers().unwrap().is_empty());
            assert!(bus.stop().is_normal());
        })
        .unwrap();
}
