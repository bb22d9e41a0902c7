//! Actors on several hubs: where they run, that they keep their order, and how all of it ends.

mod probe;

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use greenlet_actor::{
    Actor, ActorBuilder, ActorId, ActorRef, AskError, Context, Down, Exit, Reply, Supervisor, System, worker,
};
use greenlet_core::{AsyncResult, Event, Queue, sleep, yield_now};
use probe::{LONG, Log, Probe, word};

// --- an actor that may run anywhere ------------------------------------------------------------------------------

type Job = Box<dyn FnOnce(&mut Mover, &mut Context<Mover>) -> Result<(), Exit> + Send>;

/// Its messages are closures, and its state knows where it is dropped.
#[derive(Default)]
struct Mover {
    #[expect(dead_code, reason = "dropped with the state")]
    owned: Vec<Box<dyn std::any::Any + Send>>,
    heard: Option<Arc<Queue<String>>>,
}

impl Mover {
    fn owning(value: impl Send + 'static) -> Mover {
        Mover { owned: vec![Box::new(value)], ..Mover::default() }
    }
}

impl Actor for Mover {
    type Message = Job;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if self.heard.is_some() {
            ctx.trap_exits();
        }
        Ok(())
    }

    fn receive(&mut self, job: Job, ctx: &mut Context<Self>) -> Result<(), Exit> {
        job(self, ctx)
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, _: &mut Context<Self>) -> Result<(), Exit> {
        let heard = self.heard.as_ref().expect("it traps exits");
        heard.put(format!("EXIT {from} {}", word(&exit))).expect("never shut down");
        Ok(())
    }

    fn handle_down(&mut self, down: Down, _: &mut Context<Self>) -> Result<(), Exit> {
        let heard = self.heard.as_ref().expect("it listens");
        heard.put(format!("DOWN {} {}", down.actor, word(&down.exit))).expect("never shut down");
        Ok(())
    }
}

trait Do {
    fn run(&self, job: impl FnOnce(&mut Context<Mover>) -> Result<(), Exit> + Send + 'static);
    fn query<T: Send + 'static>(&self, job: impl FnOnce(&mut Context<Mover>) -> T + Send + 'static) -> T;
    /// Comes back when the actor is in the job, and about to suspend.
    fn suspend_in(&self, job: impl FnOnce() + Send + 'static);
}

impl Do for ActorRef<Job> {
    fn run(&self, job: impl FnOnce(&mut Context<Mover>) -> Result<(), Exit> + Send + 'static) {
        drop(self.send(Box::new(move |_, ctx| job(ctx))));
    }

    #[track_caller]
    fn query<T: Send + 'static>(&self, job: impl FnOnce(&mut Context<Mover>) -> T + Send + 'static) -> T {
        let answer = self.ask(
            |reply: Reply<T>| {
                Box::new(move |_: &mut Mover, ctx: &mut Context<Mover>| {
                    reply.send(job(ctx));
                    Ok(())
                })
            },
            LONG,
        );
        answer.unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    #[track_caller]
    fn suspend_in(&self, job: impl FnOnce() + Send + 'static) {
        let begun = Arc::new(Event::new());
        let begin = begun.clone();
        self.run(move |_| {
            begin.set();
            job();
            Ok(())
        });
        assert!(begun.wait_timeout(LONG), "{self} does not come to its message");
    }
}

fn here() -> ThreadId {
    thread::current().id()
}

/// Waits for what another thread does, without a hub.
#[track_caller]
fn eventually(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::yield_now();
    }
}

fn two_hubs() -> System {
    System::builder().hubs(2).start().expect("a system")
}

/// Counts those that are there.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// --- where they run ----------------------------------------------------------------------------------------------

#[test]
fn actors_are_placed_where_there_is_the_least_to_do() {
    let system = two_hubs();
    let places: HashSet<_> = (0..4)
        .map(|_| {
            let actor = system.start_local(Mover::default).unwrap();
            actor.query(|_| here())
        })
        .collect();
    assert_eq!(places.len(), 2);
    system.shutdown();
}

#[test]
fn a_long_handler_holds_up_nobody_who_waits_behind_it() {
    holds_up_nobody(|| ());
}

#[test]
fn a_long_handler_that_has_asked_before_holds_up_nobody_either() {
    holds_up_nobody(|| {
        Mover::default().spawn().query(|_| ());
        // It computes: long enough for the other hub, which was told of the question, to fall asleep again.
        thread::sleep(Duration::from_millis(30));
    });
}

fn holds_up_nobody(before: fn()) {
    let handle = move || {
        before();
        let seen = Arc::new(Mutex::new(None));
        let see = seen.clone();
        // Queued behind this handler, which does not suspend.
        Mover::default().spawn().run(move |_| {
            *see.lock().unwrap() = Some(here());
            Ok(())
        });
        eventually("nobody takes it over", || seen.lock().unwrap().is_some());
        (here(), seen.lock().unwrap().unwrap())
    };
    System::builder()
        .hubs(2)
        .run(move || {
            let places = Arc::new(AsyncResult::new());
            let told = places.clone();
            // Not by the main greenlet, behind which others would be taken too.
            greenlet_core::spawn(move || {
                // The other hub has nothing to do, and sleeps. If it does not yet, this shows less, and fails no sooner.
                sleep(Duration::from_millis(20));
                Mover::default().spawn().run(move |_| {
                    told.set(handle());
                    Ok(())
                });
            });
            let (mine, theirs) = places.get().unwrap();
            assert_ne!(mine, theirs);
        })
        .unwrap();
}

#[test]
fn what_is_sent_from_outside_is_not_held_up_by_a_long_handler_either() {
    let system = two_hubs();
    // Each has its home on one of the hubs.
    let actors: Vec<_> = (0..6).map(|_| system.spawn(Mover::default())).collect();
    let busy = system.spawn(Mover::default());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let begun = Arc::new(AtomicBool::new(false));
    let begin = begun.clone();
    busy.run(move |_| {
        begin.store(true, Ordering::SeqCst);
        eventually("it is never told to stop", || stopped.load(Ordering::SeqCst));
        Ok(())
    });
    eventually("it does not begin", || begun.load(Ordering::SeqCst));
    for actor in &actors {
        actor.query(|_| ());
    }
    stop.store(true, Ordering::SeqCst);
    system.shutdown();
}

#[test]
fn an_actor_that_is_not_send_stays_on_its_thread() {
    let system = two_hubs();
    let pinned: Vec<_> = (0..8)
        .map(|_| {
            system
                .start_local(|| {
                    let home = here();
                    Probe::new().owning(Rc::new(Cell::new(0))).terminate(move |_, _| assert_eq!(here(), home))
                })
                .unwrap()
        })
        .collect();
    let home = |actor: &ActorRef<probe::Job>| {
        probe::Ask::query(actor, |_, reply| {
            reply.send(here());
            Ok(())
        })
        .unwrap()
    };
    let homes: Vec<_> = pinned.iter().map(home).collect();
    let senders: Vec<_> = (0..4).map(|_| system.spawn(Mover::default())).collect();
    let done = Arc::new(AtomicUsize::new(0));
    for sender in &senders {
        let (pinned, homes, done) = (pinned.clone(), homes.clone(), done.clone());
        sender.run(move |_| {
            for round in 0..50 {
                for (actor, home) in pinned.iter().zip(&homes) {
                    let (home, done) = (*home, done.clone());
                    probe::Ask::run(actor, move |_| {
                        assert_eq!(here(), home);
                        if round % 8 == 0 {
                            yield_now();
                            assert_eq!(here(), home);
                        }
                        done.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    });
                }
                yield_now();
            }
            Ok(())
        });
    }
    eventually("they were not all handled", || done.load(Ordering::SeqCst) == 4 * 50 * 8);
    for actor in &pinned {
        actor.stop();
        assert_eq!(word(&actor.join()), "normal");
    }
    system.shutdown();
}

#[test]
fn a_handler_that_suspends_stays_where_it_began() {
    let system = two_hubs();
    let moved = Arc::new(AtomicUsize::new(0));
    let actors: Vec<_> = (0..20).map(|_| system.spawn(Mover::default())).collect();
    for round in 0..50 {
        for actor in &actors {
            let moved = moved.clone();
            actor.run(move |_| {
                let began = here();
                for _ in 0..3 {
                    if round % 10 == 0 {
                        sleep(Duration::from_micros(50))
                    } else {
                        yield_now()
                    }
                    moved.fetch_add(usize::from(here() != began), Ordering::SeqCst);
                }
                Ok(())
            });
        }
    }
    actors.iter().for_each(|actor| actor.query(|_| ()));
    assert_eq!(moved.load(Ordering::SeqCst), 0);
    system.shutdown();
}

#[test]
fn one_hub_and_more_hubs_than_cores_do_as_well() {
    for hubs in [1, 4] {
        let sum = System::builder()
            .hubs(hubs)
            .run(|| {
                let actors: Vec<_> = (0..50).map(|_| Mover::default().spawn()).collect();
                actors.iter().enumerate().map(|(n, actor)| actor.query(move |_| n)).sum::<usize>()
            })
            .unwrap();
        assert_eq!(sum, 49 * 50 / 2, "{hubs} hubs");
    }
}

#[test]
fn a_turn_of_one_message_is_enough_to_get_on() {
    for hubs in [1, 2] {
        let sum = System::builder().hubs(hubs).messages_per_turn(1).run(|| {
            let actor = Mover::default().spawn();
            for _ in 0..10 {
                actor.run(|_| Ok(()));
            }
            actor.query(|_| 5)
        });
        assert_eq!(sum.unwrap(), 5);
    }
}

#[test]
fn after_its_share_of_messages_a_busy_actor_lets_the_others_have_theirs() {
    const SHARE: usize = 5;
    let turns = System::builder().hubs(1).messages_per_turn(SHARE as u32).run(|| {
        let log = Log::new();
        let actors = ["a", "b", "c"].map(|name| {
            let actor = Mover::default().spawn();
            // All of it is there before the first of them runs.
            for _ in 0..4 * SHARE {
                let log = log.clone();
                actor.run(move |_| {
                    log.note(name);
                    Ok(())
                });
            }
            actor.finish();
            actor
        });
        actors.iter().for_each(|actor| drop(actor.join()));
        log.taken()
    });
    let turns = turns.unwrap();
    assert_eq!(turns.len(), 3 * 4 * SHARE);
    for turn in turns.chunk_by(|one, next| one == next) {
        assert!(turn.len() <= SHARE, "{turns:?}");
    }
}

// --- order -------------------------------------------------------------------------------------------------------

/// Checks that each sender's numbers come in order.
struct Checker {
    next: Vec<u64>,
    places: HashSet<ThreadId>,
}

enum Numbered {
    Number(usize, u64),
    Total(Reply<(u64, usize)>),
}

impl Actor for Checker {
    type Message = Numbered;
    fn receive(&mut self, message: Numbered, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Numbered::Number(sender, number) => {
                assert_eq!(number, self.next[sender], "from {sender}");
                self.next[sender] += 1;
                self.places.insert(here());
                if number % 1000 == 999 {
                    yield_now();
                }
            }
            Numbered::Total(reply) => reply.send((self.next.iter().sum(), self.places.len())),
        }
        Ok(())
    }
}

/// A message for an actor that is idle, while this thread computes and never suspends: it has to be handled all the same.
fn is_handled_elsewhere(send: impl FnOnce(ActorRef<Job>, Arc<AtomicBool>)) {
    let actor = Mover::default().start().unwrap();
    // Not for anything to happen: long enough for the other hub to sleep.
    sleep(Duration::from_millis(20));
    let handled = Arc::new(AtomicBool::new(false));
    send(actor, handled.clone());
    let start = Instant::now();
    while !handled.load(Ordering::SeqCst) {
        assert!(start.elapsed() < LONG, "nobody takes it");
        std::hint::spin_loop();
    }
}

fn send_note(actor: ActorRef<Job>, handled: Arc<AtomicBool>) {
    actor.run(move |_| {
        handled.store(true, Ordering::SeqCst);
        Ok(())
    });
}

#[test]
fn a_single_message_is_handled_while_the_main_greenlet_that_sent_it_computes() {
    System::builder()
        .hubs(2)
        .run(|| {
            is_handled_elsewhere(send_note);
        })
        .unwrap();
}

#[test]
fn a_single_message_from_outside_is_handled_while_the_main_greenlet_of_its_hub_computes() {
    System::builder()
        .hubs(2)
        .run(|| {
            is_handled_elsewhere(|actor, handled| {
                thread::spawn(move || send_note(actor, handled));
            });
        })
        .unwrap();
}

#[test]
fn each_sender_is_heard_in_its_order_while_actors_move() {
    const SENDERS: usize = 6;
    let each: u64 = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
    let system = two_hubs();
    let checkers: Vec<_> = (0..6)
        .map(|_| system.spawn(Checker { next: vec![0; SENDERS + 1], places: HashSet::new() }))
        .collect();
    // Half of them may move themselves, half are on one hub each.
    let senders: Vec<_> = (0..SENDERS)
        .map(|n| {
            if n % 2 == 0 {
                system.spawn(Mover::default())
            } else {
                system.start_local(Mover::default).unwrap()
            }
        })
        .collect();
    let (sent, all_sent) = channel();
    for (n, sender) in senders.iter().enumerate() {
        let (checkers, sent) = (checkers.clone(), sent.clone());
        fn burst(
            me: ActorRef<Job>,
            n: usize,
            from: u64,
            each: u64,
            checkers: Vec<ActorRef<Numbered>>,
            sent: Sender<()>,
        ) {
            let next = me.clone();
            me.run(move |_| {
                let to = (from + 97).min(each);
                for number in from..to {
                    checkers.iter().for_each(|checker| drop(checker.send(Numbered::Number(n, number))));
                }
                if to < each {
                    burst(next, n, to, each, checkers, sent);
                } else {
                    sent.send(()).unwrap();
                }
                Ok(())
            });
        }
        burst(sender.clone(), n, 0, each, checkers, sent);
    }
    // And this thread, which is no hub.
    for number in 0..each {
        checkers.iter().for_each(|checker| drop(checker.send(Numbered::Number(SENDERS, number))));
    }
    for _ in 0..SENDERS {
        all_sent.recv_timeout(6 * LONG).expect("the senders get on");
    }
    let mut most = 0;
    for checker in &checkers {
        let (total, places) = checker.ask(Numbered::Total, 6 * LONG).unwrap();
        assert_eq!(total, each * (SENDERS as u64 + 1));
        most = most.max(places);
    }
    assert_eq!(most, 2, "none of them has ever moved");
    system.shutdown();
}

#[test]
fn down_and_exits_come_behind_the_last_words_on_another_hub() {
    const WORDS: usize = 20;
    let system = two_hubs();
    let heard = Arc::new(Queue::unbounded());
    let hears = heard.clone();
    let listener = system.start_local(move || Mover { heard: Some(hears), ..Mover::default() }).unwrap();
    let home = listener.query(|_| here());
    let mut elsewhere = 0;
    for round in 0..200 {
        let speaker = system.start_local(Mover::default).unwrap();
        elsewhere += usize::from(speaker.query(|_| here()) != home);
        let told = speaker.clone();
        listener.query(move |ctx| {
            ctx.link(&told);
            ctx.monitor(&told);
        });
        let to = listener.clone();
        speaker.run(move |_| {
            for word in 0..WORDS {
                drop(to.send(Box::new(move |mover, _| {
                    let heard = mover.heard.as_ref().expect("it listens");
                    heard.put(word.to_string()).expect("never shut down");
                    Ok(())
                })));
            }
            if round % 2 == 0 { Err(Exit::Shutdown) } else { panic!("last words") }
        });
        let all: Vec<String> = (0..WORDS + 2).map(|_| heard.get_timeout(LONG).expect("one more")).collect();
        let words: Vec<String> = (0..WORDS).map(|word| word.to_string()).collect();
        assert_eq!(all[..WORDS], words, "{all:?}");
        assert!(all[WORDS..].iter().any(|end| end.starts_with("DOWN")));
        assert!(all[WORDS..].iter().any(|end| end.starts_with("EXIT")));
    }
    assert!(elsewhere > 50, "only {elsewhere} spoke from the other hub");
    listener.kill();
    system.shutdown();
}

// --- ends --------------------------------------------------------------------------------------------------------

/// Notes the thread on which it is dropped.
struct DroppedOn(Arc<Mutex<Option<ThreadId>>>);

impl Drop for DroppedOn {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = Some(here());
    }
}

#[test]
fn a_suspended_handler_is_unwound_by_whoever_ends_its_actor() {
    let system = two_hubs();
    let killer = system.start_local(Mover::default).unwrap();
    for round in 0..200 {
        let actor = system.spawn(Mover::default());
        let place = Arc::new(Mutex::new(None));
        let (began, on_drop) = (Arc::new(Mutex::new(None)), DroppedOn(place.clone()));
        let begin = began.clone();
        actor.suspend_in(move || {
            *begin.lock().unwrap() = Some(here());
            let _held = on_drop;
            sleep(Duration::MAX);
        });
        let victim = actor.clone();
        let end = move || match round % 2 {
            0 => victim.kill(),
            _ => victim.send_exit(Exit::Shutdown),
        };
        match round % 3 {
            0 => killer.run(move |_| {
                end();
                Ok(())
            }),
            1 => end(),
            _ => thread::spawn(end).join().unwrap(),
        }
        let exit = actor.join_timeout(LONG).expect("it ends");
        assert_eq!(word(&exit), if round % 2 == 0 { "killed" } else { "shutdown" });
        assert_eq!(*place.lock().unwrap(), *began.lock().unwrap());
    }
    system.shutdown();
}

#[test]
fn a_signal_from_another_thread_does_not_cut_terminate_short() {
    struct Slow(Arc<AtomicUsize>, Arc<AtomicBool>);
    impl Actor for Slow {
        type Message = ();
        fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
            Err(Exit::Normal)
        }
        fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
            self.1.store(true, Ordering::SeqCst);
            for _ in 0..20 {
                sleep(Duration::from_micros(100));
                yield_now();
            }
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let system = two_hubs();
    let done = Arc::new(AtomicUsize::new(0));
    for round in 0..100 {
        let in_terminate = Arc::new(AtomicBool::new(false));
        let actor = system.spawn(Slow(done.clone(), in_terminate.clone()));
        actor.send(()).unwrap();
        if round % 2 == 0 {
            eventually("it does not end", || in_terminate.load(Ordering::SeqCst));
        }
        actor.send_exit(Exit::Shutdown);
        actor.send_exit(Exit::error(std::io::Error::other("late")));
        let begun = in_terminate.clone();
        assert!(actor.join_timeout(LONG).is_some());
        // A signal may have come before the message did: `terminate` is called all the same, if it had started.
        let started = begun.load(Ordering::SeqCst);
        assert_eq!(done.swap(0, Ordering::SeqCst), usize::from(started), "{round}");
    }
    system.shutdown();
}

#[test]
fn links_and_monitors_work_across_hubs() {
    let system = two_hubs();
    for round in 0..200 {
        let heard = Arc::new(Queue::unbounded());
        let listener = system.spawn(Mover { heard: Some(heard.clone()), ..Mover::default() });
        let (first, second) = (system.spawn(Mover::default()), system.spawn(Mover::default()));
        let (a, b) = (first.clone(), second.clone());
        listener.query(move |ctx| {
            ctx.monitor(&a);
            ctx.monitor(&a);
            ctx.link(&b);
        });
        first.link(&second);
        match round % 3 {
            0 => first.kill(),
            1 => drop(first.send(Box::new(|_, _| Err(Exit::Shutdown)))),
            _ => first.send_exit(Exit::Shutdown),
        }
        let reason = if round % 3 == 0 { "killed" } else { "shutdown" };
        assert_eq!(word(&second.join_timeout(LONG).expect("the link ends it")), reason);
        let mut all: Vec<String> = (0..3).map(|_| heard.get_timeout(LONG).expect("one more")).collect();
        all.sort();
        let (down, exit) =
            (format!("DOWN {} {reason}", first.id()), format!("EXIT {} {reason}", second.id()));
        assert_eq!(all, [down.clone(), down, exit]);
        listener.query(|_| ());
        assert!(heard.try_get().is_err(), "once each");
        listener.kill();
    }
    system.shutdown();
}

#[test]
fn two_that_link_and_end_at_the_same_moment_are_not_left_with_one_alive() {
    let system = two_hubs();
    let rounds = if cfg!(debug_assertions) { 300 } else { 3000 };
    for round in 0..rounds {
        let (a, b) = (system.spawn(Mover::default()), system.spawn(Mover::default()));
        let to = b.clone();
        a.run(move |ctx| {
            ctx.link(&to);
            if round % 2 == 0 { Ok(()) } else { Err(Exit::Shutdown) }
        });
        b.run(|_| Err(Exit::Shutdown));
        let ends = (a.join_timeout(LONG), b.join_timeout(LONG));
        assert!(ends.0.is_some() && ends.1.is_some(), "{round}: {ends:?}");
    }
    system.shutdown();
}

// --- asking ------------------------------------------------------------------------------------------------------

struct Asker {
    others: Vec<ActorRef<Question>>,
}

enum Question {
    Others(Vec<ActorRef<Question>>),
    /// So many hops on; answers how many were left at the end.
    Pass(u32, usize, Reply<u32>),
}

impl Actor for Asker {
    type Message = Question;
    fn receive(&mut self, question: Question, _: &mut Context<Self>) -> Result<(), Exit> {
        match question {
            Question::Others(others) => self.others = others,
            Question::Pass(hops, _, reply) if hops == 0 || self.others.is_empty() => reply.send(hops),
            Question::Pass(hops, to, reply) => {
                let next = &self.others[to % self.others.len()];
                match next.ask(|reply| Question::Pass(hops - 1, to + 1, reply), LONG) {
                    Ok(left) => reply.send(left),
                    Err(error) => return Err(Exit::error(error)),
                }
            }
        }
        Ok(())
    }
}

#[test]
fn questions_go_from_hub_to_hub() {
    let system = two_hubs();
    // Each asks later ones only, so there is no circle.
    let actors: Vec<_> = (0..40).map(|_| system.spawn(Asker { others: Vec::new() })).collect();
    for (at, actor) in actors.iter().enumerate() {
        let later = actors[at + 1..].to_vec();
        assert!(actor.send(Question::Others(later)).is_ok());
    }
    let askers: Vec<_> = (0..4)
        .map(|n| {
            let first = actors[0].clone();
            thread::spawn(move || {
                for round in 0..50 {
                    let answer = first.ask(|reply| Question::Pass(5, n * round, reply), LONG);
                    assert!(answer.unwrap() <= 5);
                }
            })
        })
        .collect();
    askers.into_iter().for_each(|asker| asker.join().unwrap());
    system.shutdown();
}

#[test]
fn a_circle_of_asks_across_hubs_is_noticed_at_once() {
    let system = two_hubs();
    let rounds = if cfg!(debug_assertions) { 100 } else { 500 };
    for round in 0..rounds {
        let count = 2 + round % 3;
        let actors: Vec<_> = (0..count).map(|_| system.start_local(Mover::default).unwrap()).collect();
        let results = Arc::new(Queue::unbounded());
        let together = Arc::new(Barrier::new(1));
        for (at, actor) in actors.iter().enumerate() {
            let (next, results, together) =
                (actors[(at + 1) % count].clone(), results.clone(), together.clone());
            actor.run(move |_| {
                together.wait();
                let answer = next.ask(
                    |reply: Reply<()>| {
                        Box::new(move |_: &mut Mover, _: &mut Context<Mover>| {
                            reply.send(());
                            Ok(())
                        })
                    },
                    LONG,
                );
                results.put(answer).expect("never shut down");
                Ok(())
            });
        }
        let all: Vec<_> = (0..count).map(|_| results.get_timeout(LONG).expect("every ask ends")).collect();
        for result in all {
            match result {
                Ok(()) => {}
                Err(AskError::Deadlock(chain)) => {
                    assert_eq!((chain.first(), chain.len()), (chain.last(), count + 1), "{chain:?}");
                }
                Err(other) => panic!("{other}"),
            }
        }
        actors.iter().for_each(|actor| actor.kill());
    }
    system.shutdown();
}

// --- the end of a system -----------------------------------------------------------------------------------------

#[test]
fn a_system_ends_with_everything_going_on() {
    let rounds = if cfg!(debug_assertions) { 15 } else { 60 };
    for round in 0..rounds {
        let alive = Arc::new(AtomicUsize::new(0));
        let wrong = Arc::new(AtomicUsize::new(0));
        let system = System::builder().hubs(1 + round % 3).start().unwrap();
        let mut all = Vec::new();
        for _ in 0..4 {
            let (alive, wrong) = (alive.clone(), wrong.clone());
            let pinned = system.start_local(move || {
                struct Home(ThreadId, Arc<AtomicUsize>);
                impl Drop for Home {
                    fn drop(&mut self) {
                        self.1.fetch_add(usize::from(here() != self.0), Ordering::SeqCst);
                    }
                }
                Probe::new().owning((Home(here(), wrong), Counted::new(&alive)))
            });
            all.push(pinned.unwrap().into());
        }
        let movers: Vec<_> = (0..60).map(|_| system.spawn(Mover::owning(Counted::new(&alive)))).collect();
        for (n, actor) in movers.iter().enumerate() {
            let other = movers[(n * 7 + 1) % 60].clone();
            let third = movers[(n * 11 + 5) % 60].clone();
            let count = alive.clone();
            actor.run(move |ctx| {
                match n % 6 {
                    0 => sleep(Duration::MAX),
                    1 => ctx.link(&other),
                    2 => {
                        drop(other.ask(
                            |_: Reply<()>| Box::new(|_: &mut Mover, _: &mut Context<Mover>| Ok(())),
                            LONG,
                        ))
                    }
                    3 => {
                        // For ever.
                        fn on(me: ActorRef<Job>, other: ActorRef<Job>) {
                            let (next, back) = (other.clone(), me.clone());
                            other.run(move |_| {
                                on(next, back);
                                Ok(())
                            });
                        }
                        on(other, third);
                    }
                    4 => drop(ctx.spawn_link(Mover::owning(Counted::new(&count)))),
                    _ => other.kill(),
                }
                Ok(())
            });
        }
        all.extend(movers.into_iter().map(Into::into));
        if round % 4 == 0 {
            // Not for anything to happen: the end comes at another stage of it all.
            thread::sleep(Duration::from_millis(2));
        }
        if round % 5 == 4 {
            drop(system); // ends by itself
        } else {
            system.shutdown();
        }
        for actor in &all {
            let actor: &greenlet_actor::AnyActor = actor;
            assert!(actor.join_timeout(LONG).is_some(), "{round}: {actor} was forgotten");
        }
        drop(all);
        eventually("states are left", || alive.load(Ordering::SeqCst) == 0);
        assert_eq!(wrong.load(Ordering::SeqCst), 0, "dropped on a thread that is not its own");
    }
}

#[test]
fn the_end_of_run_does_not_wait_for_those_who_wait_for_its_own_hub() {
    for round in 0..30 {
        let alive = Arc::new(AtomicUsize::new(0));
        let count = alive.clone();
        System::builder()
            .hubs(2)
            .run(move || {
                // On either hub, a state whose destructor waits for an actor whose home is the other one.
                struct Waits(ActorRef<Job>, #[expect(dead_code, reason = "counts")] Counted);
                impl Drop for Waits {
                    fn drop(&mut self) {
                        self.0.send_exit(Exit::Killed);
                        while greenlet_core::catch(|| self.0.join()).is_err() {}
                    }
                }
                for _ in 0..10 {
                    let other = Mover::owning(Counted::new(&count)).spawn();
                    let waiting = Mover::owning(Waits(other.clone(), Counted::new(&count))).spawn();
                    waiting.run(|_| {
                        sleep(Duration::MAX);
                        Ok(())
                    });
                    if round % 2 == 0 {
                        other.suspend_in(|| sleep(Duration::MAX));
                    }
                }
                if round % 3 == 0 {
                    sleep(Duration::from_millis(1));
                }
            })
            .unwrap();
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{round}");
    }
}

#[test]
fn supervisors_and_their_children_end_with_their_system() {
    for round in 0..20 {
        let alive = Arc::new(AtomicUsize::new(0));
        let count = alive.clone();
        System::builder()
            .hubs(2)
            .run(move || {
                let mut tree = Supervisor::one_for_one().intensity(1000, Duration::from_secs(1));
                for n in 0..20 {
                    let count = count.clone();
                    tree = tree.child(worker(format!("w{n}"), move || Mover::owning(Counted::new(&count))));
                }
                let tree = tree.start().unwrap();
                for n in 0..20 {
                    let child = tree.child::<Job>(&format!("w{n}")).unwrap();
                    match (n + round) % 4 {
                        0 => child.run(|_| panic!("storm")),
                        1 => child.suspend_in(|| sleep(Duration::MAX)),
                        2 => child.send_exit(Exit::Killed),
                        _ => {}
                    }
                }
            })
            .unwrap();
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{round}");
    }
}

#[test]
fn a_panic_in_run_ends_the_system_too() {
    let alive = Arc::new(AtomicUsize::new(0));
    let count = alive.clone();
    let run = thread::spawn(move || {
        System::builder().hubs(2).run(|| {
            let actor = Mover::owning(Counted::new(&count)).spawn();
            actor.suspend_in(|| sleep(Duration::MAX));
            panic!("in run");
        })
    });
    assert!(run.join().is_err());
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn systems_end_in_any_order_with_actors_that_talk_across_them() {
    for round in 0..20 {
        let systems: Vec<_> = (0..3).map(|_| two_hubs()).collect();
        let actors: Vec<_> = systems
            .iter()
            .flat_map(|system| (0..4).map(|_| system.spawn(Mover::default())).collect::<Vec<_>>())
            .collect();
        for (n, actor) in actors.iter().enumerate() {
            let (linked, asked) = (actors[(n + 4) % 12].clone(), actors[(n + 5) % 12].clone());
            if n % 3 == 0 {
                actor.link(&linked);
            }
            actor.run(move |ctx| {
                ctx.monitor(&asked);
                drop(asked.ask(
                    |reply: Reply<()>| {
                        Box::new(move |_: &mut Mover, _: &mut Context<Mover>| {
                            reply.send(());
                            Ok(())
                        })
                    },
                    LONG,
                ));
                Ok(())
            });
        }
        let mut systems: Vec<_> = systems.into_iter().map(Some).collect();
        for step in 0..3 {
            let system = systems[(round + step * (1 + round % 2)) % 3].take().unwrap();
            system.shutdown();
        }
        for actor in &actors {
            assert!(actor.join_timeout(LONG).is_some(), "{actor}");
        }
    }
}

#[test]
fn threads_may_send_while_the_system_ends() {
    for _ in 0..20 {
        let system = two_hubs();
        let alive = Arc::new(AtomicUsize::new(0));
        let actors: Vec<_> = (0..10).map(|_| system.spawn(Mover::owning(Counted::new(&alive)))).collect();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (actors, alive) = (actors.clone(), alive.clone());
                thread::spawn(move || {
                    while actors.iter().any(|actor| !actor.ready()) {
                        for actor in &actors {
                            let token = Counted::new(&alive);
                            drop(actor.send(Box::new(move |_, _| {
                                drop(token);
                                Ok(())
                            })));
                            if let Err(error) = actor.ask(
                                |reply: Reply<()>| {
                                    Box::new(move |_: &mut Mover, _: &mut Context<Mover>| {
                                        reply.send(());
                                        Ok(())
                                    })
                                },
                                LONG,
                            ) {
                                assert!(matches!(error, AskError::Ended(_) | AskError::NoReply), "{error}");
                            }
                        }
                    }
                })
            })
            .collect();
        // Not for anything to happen: the end is to come somewhere in the middle of it all.
        thread::sleep(Duration::from_millis(1));
        system.shutdown();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_send_from_a_destructor_of_the_thread_arrives() {
    struct AtEnd(ActorRef<Job>, Arc<AsyncResult<()>>);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            let told = self.1.clone();
            self.0.run(move |_| {
                told.set(());
                Ok(())
            });
        }
    }
    thread_local! {
        static AT_END: Cell<Option<AtEnd>> = const { Cell::new(None) };
    }
    let system = two_hubs();
    let actor = system.spawn(Mover::default());
    for with_hub in [false, true] {
        let told = Arc::new(AsyncResult::new());
        let at_end = AtEnd(actor.clone(), told.clone());
        thread::spawn(move || {
            AT_END.set(Some(at_end));
            if with_hub {
                greenlet_core::run(|| drop(Mover::default().spawn()));
            }
        })
        .join()
        .unwrap();
        told.get().unwrap();
    }
    system.shutdown();
}

#[test]
fn logs_of_probes_on_hubs_are_complete() {
    // The kit's own actors, on the hub that calls `run`.
    System::builder()
        .hubs(2)
        .run(|| {
            let log = Log::new();
            let actor = Probe::new().ends_in(&log).spawn_local();
            probe::Ask::settle(&actor);
            actor.stop();
            actor.join();
            assert_eq!(log.taken(), ["terminate normal", "state dropped"]);
        })
        .unwrap();
}

#[test]
fn an_actor_of_one_system_is_spawned_into_another() {
    let (first, second) = (two_hubs(), two_hubs());
    let actor = first.spawn(Mover::default());
    let second = Arc::new(second);
    let into = second.clone();
    let there = actor.query(move |_| ActorBuilder::new().system(&into).spawn(Mover::default()));
    assert_eq!(second.actors(), 1);
    first.shutdown();
    there.query(|_| ());
    Arc::into_inner(second).unwrap().shutdown();
    assert!(there.ready());
}
