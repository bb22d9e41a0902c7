//! State machines: what `gen_statem` promises.

mod probe;

use std::time::Duration;

use greenlet_actor::statem::{StateContext, StateMachine, Transition};
use greenlet_actor::{ActorId, ActorRef, Down, Exit, Reply, Shutdown, Supervisor, System, worker};
use greenlet_core::{Instant, sim, sleep};

use probe::{LONG, Log, on_hub, word};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Phase {
    A,
    B,
    C,
}

type Ctx<'a> = StateContext<'a, Script>;

type Work =
    Box<dyn FnOnce(&mut Script, &Phase, &mut Ctx<'_>) -> Result<Transition<Phase>, Exit> + Send + Sync>;

enum Event {
    /// Noted.
    Note(&'static str),
    Do(Work),
    Get(Reply<Phase>),
    /// Handled in B, postponed elsewhere.
    OnlyInB(u32),
}

/// A machine that does what it is told, and logs it.
struct Script {
    log: Log,
    init: Option<Work>,
    enter: Option<Work>,
}

impl StateMachine for Script {
    type State = Phase;
    type Event = Event;

    fn init(&mut self, ctx: &mut Ctx<'_>) -> Result<Phase, Exit> {
        if let Some(init) = self.init.take() {
            init(self, &Phase::A, ctx)?;
        }
        Ok(Phase::A)
    }

    fn enter(&mut self, from: Option<&Phase>, state: &Phase, ctx: &mut Ctx<'_>) -> Result<(), Exit> {
        match from {
            None => self.log.note(format_args!("enter {state:?}")),
            Some(from) => self.log.note(format_args!("{from:?} -> {state:?}")),
        }
        if *state == Phase::B
            && let Some(enter) = self.enter.take()
        {
            enter(self, state, ctx)?;
        }
        Ok(())
    }

    fn handle_event(
        &mut self,
        state: &Phase,
        event: Event,
        ctx: &mut Ctx<'_>,
    ) -> Result<Transition<Phase>, Exit> {
        match event {
            Event::Note(what) => self.log.note(format_args!("{what} in {state:?}")),
            Event::Do(work) => return work(self, state, ctx),
            Event::Get(reply) => reply.send(*state),
            Event::OnlyInB(n) if *state == Phase::B => self.log.note(n),
            event @ Event::OnlyInB(_) => ctx.postpone(event)?,
        }
        Ok(Transition::Keep)
    }

    fn handle_exit(
        &mut self,
        _: &Phase,
        _: ActorId,
        exit: Exit,
        _: &mut Ctx<'_>,
    ) -> Result<Transition<Phase>, Exit> {
        self.log.note(format_args!("exit {}", word(&exit)));
        Ok(Transition::Next(Phase::C))
    }

    fn handle_down(&mut self, _: &Phase, down: Down, _: &mut Ctx<'_>) -> Result<Transition<Phase>, Exit> {
        self.log.note(format_args!("down {}", word(&down.exit)));
        Ok(Transition::Next(Phase::B))
    }

    fn terminate(&mut self, exit: &Exit, state: &Phase, _: &mut Ctx<'_>) {
        self.log.note(format_args!("ends {} in {state:?}", word(exit)));
    }
}

fn machine(log: &Log) -> Script {
    Script { log: log.clone(), init: None, enter: None }
}

/// In state A, with nothing in its log.
fn spawn(log: &Log) -> ActorRef<Event> {
    let machine = machine(log).spawn();
    assert_eq!(log.next(), "enter A");
    machine
}

fn work(
    work: impl FnOnce(&mut Script, &Phase, &mut Ctx<'_>) -> Result<Transition<Phase>, Exit>
    + Send
    + Sync
    + 'static,
) -> Event {
    Event::Do(Box::new(work))
}

trait Tell {
    fn tell(&self, event: Event);
    fn goes_to(&self, phase: Phase);
    fn state(&self) -> Phase;
}

impl Tell for ActorRef<Event> {
    #[track_caller]
    fn tell(&self, event: Event) {
        assert!(self.send(event).is_ok(), "{self} has ended: {:?}", self.exit());
    }

    fn goes_to(&self, phase: Phase) {
        self.tell(work(move |_, _, _| Ok(Transition::Next(phase))));
    }

    fn state(&self) -> Phase {
        self.ask(Event::Get, LONG).expect("it answers")
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_change_of_state_enters_the_new_one_and_an_equal_state_is_no_change() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        machine.goes_to(Phase::A);
        machine.goes_to(Phase::B);
        machine.tell(work(|_, _, _| Ok(Transition::Repeat)));
        machine.tell(work(|_, _, _| Ok(Transition::Keep)));
        assert_eq!(machine.state(), Phase::B);
        assert_eq!(log.taken(), ["A -> B", "B -> B"]);
    });
}

#[test]
fn postponed_events_come_again_in_order_and_before_newer_ones() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        for n in 1..=3 {
            machine.tell(Event::OnlyInB(n));
        }
        machine.tell(Event::Note("now"));
        machine.goes_to(Phase::C);
        machine.goes_to(Phase::B);
        machine.tell(Event::OnlyInB(4));
        assert_eq!(machine.state(), Phase::B);
        assert_eq!(log.taken(), ["now in A", "A -> C", "C -> B", "1", "2", "3", "4"]);
    });
}

#[test]
fn an_event_that_is_postponed_while_the_state_changes_comes_again_at_once() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        machine.tell(work(|_, _, ctx| {
            ctx.postpone(Event::OnlyInB(1))?;
            assert_eq!(ctx.postponed(), 1);
            Ok(Transition::Next(Phase::B))
        }));
        assert_eq!(machine.state(), Phase::B);
        assert_eq!(log.taken(), ["A -> B", "1"]);
    });
}

#[test]
fn an_event_that_comes_again_and_changes_the_state_keeps_the_order_of_the_rest() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        machine.tell(work(|_, _, ctx| {
            ctx.postpone(Event::OnlyInB(1))?;
            ctx.postpone(work(|_, _, _| Ok(Transition::Next(Phase::B))))?;
            ctx.postpone(Event::OnlyInB(2))?;
            Ok(Transition::Next(Phase::C))
        }));
        assert_eq!(machine.state(), Phase::B);
        assert_eq!(log.taken(), ["A -> C", "C -> B", "1", "2"]);
    });
}

#[test]
fn what_can_be_postponed_has_a_limit() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        machine.tell(work(|_, _, ctx| {
            ctx.set_postpone_limit(1);
            Ok(Transition::Keep)
        }));
        machine.tell(Event::OnlyInB(1));
        machine.tell(Event::OnlyInB(2));
        assert_eq!(machine.join().to_string(), "the stash is full: it takes 1 messages");
    });
}

#[test]
fn events_of_its_own_come_before_all_others() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        machine.tell(Event::OnlyInB(5));
        machine.tell(work(|_, _, ctx| {
            ctx.next_event(work(|_, _, ctx| {
                ctx.next_event(Event::Note("second"));
                Ok(Transition::Keep)
            }));
            ctx.next_event(Event::Note("third"));
            ctx.next_event(work(|_, _, ctx| {
                ctx.next_event(Event::Note("fourth"));
                Ok(Transition::Next(Phase::B))
            }));
            Ok(Transition::Keep)
        }));
        machine.tell(Event::Note("from outside"));
        assert_eq!(machine.state(), Phase::B);
        assert_eq!(
            log.taken(),
            ["second in A", "third in A", "A -> B", "fourth in B", "5", "from outside in B"]
        );
    });
}

#[test]
fn what_init_inserts_comes_first_and_is_not_part_of_the_start() {
    on_hub(|| {
        let log = Log::new();
        let mut machine = machine(&log);
        machine.init = Some(Box::new(|_, _, ctx| {
            ctx.me().cast(Event::Note("sent"));
            ctx.next_event(Event::Note("first"));
            ctx.next_event(Event::Note("second"));
            Ok(Transition::Keep)
        }));
        let machine = machine.start().unwrap();
        assert_eq!(machine.state(), Phase::A);
        assert_eq!(log.taken(), ["enter A", "first in A", "second in A", "sent in A"]);
    });
}

#[test]
fn a_state_timeout_is_about_the_new_state_and_a_change_of_state_cancels_it() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let machine = spawn(&log);
        machine.tell(work(|_, _, ctx| {
            ctx.state_timeout(seconds(10), Event::Note("too long"));
            Ok(Transition::Next(Phase::B))
        }));
        assert_eq!(log.next(), "A -> B");
        sleep(seconds(5));
        machine.tell(Event::Note("event"));
        assert_eq!([log.next(), log.next()], ["event in B", "too long in B"]);
        assert_eq!(start.elapsed(), seconds(10), "events do not matter to it");
        machine.tell(work(|_, _, ctx| {
            ctx.state_timeout(seconds(10), Event::Note("?"));
            Ok(Transition::Keep)
        }));
        machine.goes_to(Phase::C);
        sleep(seconds(15));
        assert_eq!(log.taken(), ["B -> C"]);
    });
}

#[test]
fn a_state_timeout_that_is_set_again_begins_anew_and_can_be_cancelled() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let machine = spawn(&log);
        for _ in 0..2 {
            machine.tell(work(|_, _, ctx| {
                ctx.state_timeout(seconds(10), Event::Note("too long"));
                Ok(Transition::Keep)
            }));
            sleep(seconds(5));
        }
        assert_eq!((log.next().as_str(), start.elapsed()), ("too long in A", seconds(15)));
        machine.tell(work(|_, _, ctx| {
            ctx.state_timeout(seconds(10), Event::Note("?"));
            ctx.cancel_state_timeout();
            Ok(Transition::Keep)
        }));
        sleep(seconds(15));
        assert_eq!(log.taken(), [""; 0]);
    });
}

#[test]
fn a_timeout_whose_event_waits_already_is_cancelled_too() {
    sim::run(1, || {
        let log = Log::new();
        let machine = spawn(&log);
        machine.tell(work(|_, _, ctx| {
            ctx.state_timeout(seconds(1), Event::Note("?"));
            ctx.timeout("named", seconds(1), Event::Note("named"));
            Ok(Transition::Keep)
        }));
        machine.tell(work(|_, _, _| {
            sleep(seconds(5));
            Ok(Transition::Next(Phase::B))
        }));
        sleep(seconds(10));
        assert_eq!(log.taken(), ["A -> B", "named in B"]);
    });
}

#[test]
fn an_event_timeout_is_cancelled_by_any_event() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let machine = spawn(&log);
        let silence = || {
            work(|_, _, ctx| {
                ctx.event_timeout(seconds(10), Event::Note("silence"));
                Ok(Transition::Keep)
            })
        };
        machine.tell(silence());
        sleep(seconds(5));
        machine.tell(Event::Note("event"));
        sleep(seconds(20));
        assert_eq!(log.taken(), ["event in A"]);
        machine.tell(silence());
        assert_eq!((log.next().as_str(), start.elapsed()), ("silence in A", seconds(35)));
        // One of its own is an event too.
        machine.tell(work(|_, _, ctx| {
            ctx.event_timeout(seconds(10), Event::Note("?"));
            ctx.next_event(Event::Note("own"));
            Ok(Transition::Keep)
        }));
        sleep(seconds(20));
        assert_eq!(log.taken(), ["own in A"]);
    });
}

#[test]
fn a_timeout_with_a_name_goes_its_way_until_it_is_set_anew_or_cancelled() {
    sim::run(1, || {
        let (log, start) = (Log::new(), Instant::now());
        let machine = spawn(&log);
        machine.tell(work(|_, _, ctx| {
            ctx.timeout("one", seconds(10), Event::Note("?"));
            ctx.timeout("one", seconds(12), Event::Note("one"));
            ctx.timeout("other", seconds(11), Event::Note("other"));
            ctx.timeout("third", seconds(13), Event::Note("?"));
            ctx.cancel_timeout("third");
            ctx.cancel_timeout("unknown");
            Ok(Transition::Keep)
        }));
        machine.tell(Event::Note("event"));
        machine.goes_to(Phase::B);
        assert_eq!([log.next(), log.next()], ["event in A", "A -> B"]);
        assert_eq!((log.next().as_str(), start.elapsed()), ("other in B", seconds(11)));
        assert_eq!((log.next().as_str(), start.elapsed()), ("one in B", seconds(12)));
        sleep(seconds(10));
        assert_eq!(log.taken(), [""; 0]);
    });
}

#[test]
fn entering_a_state_may_set_timeouts_and_insert_events() {
    sim::run(1, || {
        let log = Log::new();
        let mut machine = machine(&log);
        machine.enter = Some(Box::new(|_, _, ctx| {
            ctx.state_timeout(seconds(10), Event::Note("too long"));
            ctx.next_event(Event::Note("inserted"));
            Ok(Transition::Keep)
        }));
        let machine = machine.spawn();
        machine.tell(Event::OnlyInB(1));
        machine.goes_to(Phase::B);
        let heard: Vec<_> = (0..5).map(|_| log.next()).collect();
        assert_eq!(heard, ["enter A", "A -> B", "inserted in B", "1", "too long in B"]);
    });
}

#[test]
fn exits_and_down_come_with_the_state_and_may_change_it() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        let (linked, watched) = (spawn(&log), spawn(&log));
        let (link, watch) = (linked.clone(), watched.clone());
        machine.tell(work(move |_, _, ctx| {
            ctx.trap_exits();
            ctx.link(&link);
            ctx.monitor(&watch);
            Ok(Transition::Keep)
        }));
        machine.tell(Event::OnlyInB(1));
        assert_eq!(machine.state(), Phase::A);
        linked.kill();
        watched.kill();
        assert_eq!(machine.state(), Phase::B);
        assert_eq!(log.taken(), ["exit killed", "A -> C", "down killed", "C -> B", "1"]);
    });
}

#[test]
fn a_reply_may_come_in_another_state() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        let asked = machine.request(|reply| {
            work(|_, state, ctx| {
                assert_eq!(*state, Phase::A);
                ctx.postpone(Event::Get(reply))?;
                Ok(Transition::Keep)
            })
        });
        machine.goes_to(Phase::C);
        assert_eq!(asked.unwrap().wait(LONG).unwrap(), Phase::C);
    });
}

#[test]
fn an_error_ends_it_and_terminate_sees_the_state() {
    on_hub(|| {
        let log = Log::new();
        let machine = spawn(&log);
        machine.goes_to(Phase::B);
        machine.tell(work(|_, _, ctx| {
            ctx.next_event(Event::Note("never"));
            Err(Exit::Shutdown)
        }));
        assert!(matches!(machine.join(), Exit::Shutdown));
        assert_eq!(log.taken(), ["A -> B", "ends shutdown in B"]);
    });
}

#[test]
fn a_stop_comes_between_events_of_its_own() {
    on_hub(|| {
        fn again(script: &mut Script, _: &Phase, ctx: &mut Ctx<'_>) -> Result<Transition<Phase>, Exit> {
            script.log.note("again");
            ctx.next_event(Event::Do(Box::new(again)));
            Ok(Transition::Keep)
        }
        let log = Log::new();
        let machine = spawn(&log);
        machine.tell(work(again));
        // It lets others run, or this would not come back.
        assert_eq!(log.next(), "again");
        machine.stop();
        assert!(machine.join_timeout(LONG).unwrap().is_normal());
    });
}

#[test]
fn a_machine_is_supervised_as_any_actor() {
    on_hub(|| {
        let log = Log::new();
        let noted = log.clone();
        let tell = std::sync::Arc::new(greenlet_core::Queue::unbounded());
        let tells = tell.clone();
        let supervisor = Supervisor::one_for_one()
            .child(
                worker("machine", move || {
                    let mut machine = machine(&noted);
                    let tell = tells.clone();
                    machine.init = Some(Box::new(move |_, _, ctx| {
                        tell.put(ctx.me().clone()).expect("never shut down");
                        Ok(Transition::Keep)
                    }));
                    machine.into_actor()
                })
                .shutdown(Shutdown::Timeout(LONG)),
            )
            .start()
            .unwrap();
        let first = tell.get().unwrap();
        first.goes_to(Phase::B);
        assert_eq!(first.state(), Phase::B);
        first.kill();
        let second = tell.get().unwrap();
        assert_eq!(second.state(), Phase::A);
        supervisor.shutdown();
        assert_eq!(log.taken(), ["enter A", "A -> B", "enter A", "ends shutdown in A"]);
    });
}

#[test]
fn kills_while_it_is_suspended_in_each_callback_leave_nothing() {
    on_hub(|| {
        let stuck = || -> Work {
            Box::new(|script, _, _| {
                script.log.note("stuck");
                greenlet_core::Event::new().wait();
                Ok(Transition::Keep)
            })
        };
        for place in 0..3 {
            let log = Log::new();
            let (reply, answer) = Reply::<Phase>::channel();
            let mut machine = machine(&log);
            match place {
                0 => machine.init = Some(stuck()),
                1 => machine.enter = Some(stuck()),
                _ => {}
            }
            let machine = machine.spawn();
            machine.tell(work(move |_, _, ctx| {
                ctx.state_timeout(LONG, Event::Get(reply));
                Ok(Transition::Keep)
            }));
            machine.goes_to(Phase::B);
            if place == 2 {
                machine.tell(Event::Do(stuck()));
            }
            while log.next() != "stuck" {}
            machine.kill();
            assert!(answer.recv().is_err());
        }
    });
}

#[test]
fn it_moves_between_hubs_with_its_timeouts() {
    /// Passes through its states by timeouts.
    struct Clock(Option<Reply<u32>>);
    impl StateMachine for Clock {
        type State = u32;
        type Event = ();
        fn init(&mut self, _: &mut StateContext<'_, Self>) -> Result<u32, Exit> {
            Ok(0)
        }
        fn enter(&mut self, _: Option<&u32>, _: &u32, ctx: &mut StateContext<'_, Self>) -> Result<(), Exit> {
            ctx.state_timeout(Duration::from_micros(50), ());
            ctx.timeout("never", LONG, ());
            Ok(())
        }
        fn handle_event(
            &mut self,
            state: &u32,
            (): (),
            _: &mut StateContext<'_, Self>,
        ) -> Result<Transition<u32>, Exit> {
            if *state == 50 {
                if let Some(reply) = self.0.take() {
                    reply.send(*state);
                }
                return Err(Exit::Normal);
            }
            Ok(Transition::Next(state + 1))
        }
    }
    let sum = System::builder().hubs(2).run(|| {
        let clocks: Vec<_> = (0..50)
            .map(|_| {
                let (reply, answer) = Reply::channel();
                (Clock(Some(reply)).spawn(), answer)
            })
            .collect();
        clocks.iter().map(|(_, answer)| answer.recv_timeout(LONG).unwrap()).sum::<u32>()
    });
    assert_eq!(sum.unwrap(), 2500);
}
