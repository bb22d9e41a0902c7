//! What is said of failures.

mod probe;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use greenlet_actor::statem::{StateContext, StateMachine, Transition};
use greenlet_actor::{
    Actor, ActorRef, Context, Describe, Exit, Reply, Supervisor, testkit::Probe as Expect, worker,
};
use greenlet_core::Hub;
use probe::{LONG, Log, no_disk, on_hub};

/// What is reported from now on, on this hub.
fn reports() -> Log {
    let log = Log::new();
    let noted = log.clone();
    Hub::set_error_handler(move |context, failure| noted.note(format_args!("{context}: {failure}")));
    log
}

#[derive(Debug)]
enum Order {
    Divide { by: u32 },
    Fail,
    Ask(Inner),
    BeKilled,
    Fine(Reply<()>),
}

/// A question to itself.
#[derive(Debug)]
struct Inner(u32);

struct Divider;

impl Actor for Divider {
    type Message = Order;
    const DESCRIBE: Option<Describe<Order>> = Some(fmt::Debug::fmt);

    fn receive(&mut self, order: Order, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match order {
            Order::Divide { by } => drop(std::hint::black_box(1u32.checked_div(by).expect("not by zero"))),
            Order::Fail => return Err(no_disk()),
            Order::Ask(Inner(by)) => {
                ctx.me().cast(Order::Divide { by });
                let _ = ctx.ask_reentrant(self, &ctx.me().clone(), Order::Fine, LONG);
                panic!("after that");
            }
            Order::BeKilled => ctx.me().kill(),
            Order::Fine(reply) => reply.send(()),
        }
        Ok(())
    }

    fn terminate(&mut self, exit: &Exit, _: &mut Context<Self>) {
        if exit.is_normal() {
            panic!("in the end");
        }
    }
}

/// What is reported when that order was handled, behind the place where the actor was spawned.
fn blamed(order: Order) -> String {
    let log = reports();
    let actor = Divider.spawn();
    actor.call(Order::Fine).unwrap();
    actor.cast(order);
    assert!(!actor.join().is_ordinary());
    Hub::reset_error_handler();
    let taken = log.taken().concat();
    taken.split_once(", in ").map_or(taken.clone(), |(_, rest)| rest.to_owned())
}

#[test]
fn the_message_that_made_a_handler_panic_is_reported() {
    on_hub(|| {
        let report = blamed(Order::Divide { by: 0 });
        assert!(report.contains("with Divide { by: 0 },") && report.contains("not by zero"), "{report}");
    });
}

#[test]
fn the_message_whose_handler_returned_an_error_is_reported() {
    on_hub(|| {
        let report = blamed(Order::Fail);
        assert!(report.contains("with Fail,") && report.contains("no disk"), "{report}");
    });
}

#[test]
fn of_handlers_inside_each_other_the_one_that_failed_is_blamed() {
    on_hub(|| {
        let report = blamed(Order::Ask(Inner(0)));
        assert!(report.contains("with Divide { by: 0 },"), "{report}");
        let report = blamed(Order::Ask(Inner(1)));
        assert!(report.contains("with Ask(Inner(1)),") && report.contains("after that"), "{report}");
    });
}

#[test]
fn no_message_is_blamed_for_what_fails_at_the_end() {
    on_hub(|| {
        assert_eq!(blamed(Order::BeKilled), "");
        let log = reports();
        let actor = Divider.spawn();
        actor.call(Order::Fine).unwrap();
        actor.stop();
        actor.join();
        Hub::reset_error_handler();
        let report = log.taken().concat();
        assert!(report.contains("in terminate,") && report.contains("in the end"), "{report}");
    });
}

#[test]
fn a_supervised_actor_is_restarted_and_its_culprit_is_reported_with_its_path() {
    on_hub(|| {
        let log = reports();
        let tree = Supervisor::one_for_one()
            .child(worker("divider", || Divider))
            .start_named("mathematics")
            .unwrap();
        let divider: ActorRef<Order> = tree.child("divider").unwrap();
        divider.cast(Order::Divide { by: 0 });
        divider.join();
        tree.which_children().unwrap();
        let again: ActorRef<Order> = tree.child("divider").unwrap();
        again.call(Order::Fine).unwrap();
        let report = log.taken().concat();
        assert!(
            report.contains("/mathematics/divider") && report.contains("with Divide { by: 0 },"),
            "{report}"
        );
        Hub::reset_error_handler();
    });
}

/// Counts how often it is described, and says nothing.
struct Quiet(Arc<AtomicUsize>);

impl Quiet {
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fetch_add(1, Ordering::Relaxed);
        f.write_str("a secret")?;
        Err(fmt::Error)
    }
}

struct Discreet;

impl Actor for Discreet {
    type Message = Quiet;
    const DESCRIBE: Option<Describe<Quiet>> = Some(Quiet::describe);
    fn receive(&mut self, _: Quiet, _: &mut Context<Self>) -> Result<(), Exit> {
        Err(no_disk())
    }
}

#[test]
fn a_description_is_what_its_function_says_and_made_once() {
    on_hub(|| {
        let (log, count) = (reports(), Arc::new(AtomicUsize::new(0)));
        let actor = Discreet.spawn();
        actor.cast(Quiet(count.clone()));
        actor.join();
        Hub::reset_error_handler();
        assert!(log.taken().concat().contains("with a secret,"));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    });
}

// --- state machines ----------------------------------------------------------------------------------------------

struct Lock;

#[derive(Debug)]
enum Event {
    Insert(u32),
    Fail(u32),
}

impl StateMachine for Lock {
    type State = ();
    type Event = Event;
    const DESCRIBE: Option<Describe<Event>> = Some(fmt::Debug::fmt);

    fn init(&mut self, _: &mut StateContext<'_, Self>) -> Result<(), Exit> {
        Ok(())
    }

    fn handle_event(
        &mut self,
        _: &(),
        event: Event,
        ctx: &mut StateContext<'_, Self>,
    ) -> Result<Transition<()>, Exit> {
        match event {
            Event::Insert(n) => ctx.next_event(Event::Fail(n)),
            Event::Fail(n) => panic!("jammed by {n}"),
        }
        Ok(Transition::Keep)
    }
}

#[test]
fn the_event_that_made_a_machine_fail_is_reported_also_if_it_is_its_own() {
    on_hub(|| {
        let log = reports();
        let lock = StateMachine::spawn(Lock);
        lock.cast(Event::Insert(7));
        lock.join();
        Hub::reset_error_handler();
        let report = log.taken().concat();
        assert!(report.contains("with Fail(7),"), "{report}");
    });
}

// --- derived -----------------------------------------------------------------------------------------------------

#[cfg(feature = "derive")]
mod derived {
    use super::*;
    use greenlet_actor::actor;

    struct Account;

    #[actor(debug)]
    impl Account {
        fn transfer(&mut self, cents: i64, to: &'static str) -> i64 {
            assert!(cents > 0, "to {to}");
            cents
        }
    }

    #[test]
    fn derived_messages_are_described_as_calls() {
        on_hub(|| {
            let log = reports();
            let account = AccountRef::from(Account.spawn());
            assert_eq!(account.transfer(1, "Ann").unwrap(), 1);
            let expect: Expect<()> = Expect::watching([&*account]);
            assert!(account.within(Duration::from_secs(5)).transfer(-1, "Bob").is_err());
            expect.expect_down(&*account);
            Hub::reset_error_handler();
            let report = log.taken().concat();
            assert!(report.contains("in transfer with transfer { cents: -1, to: \"Bob\" },"), "{report}");
            assert_eq!(
                format!("{:?}", AccountMessage::transfer(2, "Eve")),
                "transfer { cents: 2, to: \"Eve\" }"
            );
        });
    }
}
