//! Actors in virtual time, in orders that a seed draws, with kills wherever handlers wait. `GREENLET_SEED` replays one seed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use greenlet_actor::testkit::{self, Probe};
use greenlet_actor::{
    Actor, ActorBuilder, ActorId, ActorRef, AskError, Context, Down, Exit, MonitorId, Overflow, Reply,
    Restart, Supervisor, SupervisorRef, worker_local,
};
use greenlet_core::sim::{self, Order as Schedule, Sim, victim};
use greenlet_core::{joinall, sleep, spawn, yield_now};

/// How many seeds; `ACTOR_SIM_SEEDS` for more.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("ACTOR_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    0..wanted.unwrap_or(default)
}

const MINUTE: Duration = Duration::from_secs(60);

fn pause() -> Duration {
    Duration::from_millis(sim::random(20))
}

/// All orders, with kills in handlers.
fn torture(count: u64, f: fn()) {
    for (at, schedule) in [Schedule::Fifo, Schedule::Fair, Schedule::Random].into_iter().enumerate() {
        for kills in [0.0, 0.02, 0.2] {
            Sim::new(0)
                .order(schedule)
                .kill_rate(kills)
                .delay_rate(0.05, Duration::from_millis(30))
                .spurious_rate(0.02)
                .allow_panics()
                .explore(seeds(count / 9).map(|seed| seed * 3 + at as u64), f);
        }
    }
}

/// How many states there are.
#[derive(Clone, Default)]
struct Tally(Rc<Cell<usize>>);

struct Token(Tally);

impl Tally {
    fn token(&self) -> Token {
        self.0.set(self.0.get() + 1);
        Token(self.clone())
    }

    fn left(&self) -> usize {
        self.0.get()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

// --- questions, links, monitors, restarts ------------------------------------------------------------------------

enum Order {
    Answer(Reply<u64>),
    /// Answers what the other one answers.
    Pass(ActorRef<Order>, Reply<u64>),
    Wait,
    Fail,
    End,
    Link(ActorRef<Order>),
    Watch(ActorRef<Order>),
    Count(Reply<(usize, usize)>),
}

struct Worker {
    _token: Token,
    monitors: Vec<MonitorId>,
    downs: Vec<MonitorId>,
}

impl Worker {
    fn new(tally: &Tally) -> Worker {
        Worker { _token: tally.token(), monitors: Vec::new(), downs: Vec::new() }
    }
}

impl Actor for Worker {
    type Message = Order;

    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        if sim::random(4) == 0 {
            let _ = victim(|| sleep(pause()));
        }
        Ok(())
    }

    fn receive(&mut self, order: Order, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let late = victim(|| {
            match order {
                Order::Answer(reply) => {
                    if sim::random(3) == 0 {
                        sleep(pause());
                    }
                    reply.send(1);
                }
                Order::Pass(other, reply) => reply.send(1 + other.ask(Order::Answer, MINUTE)?),
                Order::Wait => sleep(pause()),
                Order::Fail => return Err(Exit::error(std::io::Error::other("told to"))),
                Order::End => return Err(Exit::Normal),
                Order::Link(other) => ctx.link(&other),
                Order::Watch(other) => self.monitors.push(ctx.monitor(&other)),
                Order::Count(reply) => reply.send((self.monitors.len(), self.downs.len())),
            }
            Ok(())
        });
        late.unwrap_or(Ok(()))
    }

    fn handle_down(&mut self, down: Down, _: &mut Context<Self>) -> Result<(), Exit> {
        assert!(self.monitors.contains(&down.monitor), "a DOWN for nothing");
        assert!(!self.downs.contains(&down.monitor), "told twice");
        self.downs.push(down.monitor);
        Ok(())
    }

    fn terminate(&mut self, _: &Exit, _: &mut Context<Self>) {
        if sim::random(3) == 0 {
            sleep(pause());
        }
    }
}

fn tree(tally: &Tally, count: usize) -> SupervisorRef {
    let mut tree = Supervisor::one_for_one().intensity(usize::MAX, MINUTE);
    for n in 0..count {
        let tally = tally.clone();
        tree =
            tree.child(worker_local(format!("{n}"), move || Worker::new(&tally)).restart(Restart::Permanent));
    }
    // Children are killed in `init` now and then; then the whole start fails, in good order.
    tree.start().unwrap_or_else(|_| self::tree(tally, count))
}

fn child(tree: &SupervisorRef, n: u64) -> Option<ActorRef<Order>> {
    tree.child(&n.to_string())
}

/// Whatever befalls them, every question ends in good time, the supervisor has all children back, and nothing is left in the end.
fn restarts() {
    let tally = Tally::default();
    let tree = tree(&tally, 4);
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let tree = tree.clone();
            spawn(move || {
                for _ in 0..10 {
                    let (Some(one), Some(other)) =
                        (child(&tree, sim::random(4)), child(&tree, sim::random(4)))
                    else {
                        sleep(pause());
                        continue;
                    };
                    let begun = sim::now();
                    let answer = match sim::random(9) {
                        0 => one.ask(Order::Answer, MINUTE),
                        1 => one.ask(|reply| Order::Pass(other, reply), MINUTE),
                        2 => one.request(Order::Answer).and_then(|request| request.wait(MINUTE)),
                        3 => {
                            one.kill();
                            one.ask(Order::Answer, MINUTE)
                        }
                        4 => {
                            one.cast(Order::Link(other.clone()));
                            other.ask(Order::Answer, MINUTE)
                        }
                        5 => {
                            one.send_exit(Exit::Shutdown);
                            one.cast(Order::Wait);
                            one.ask(Order::Answer, MINUTE)
                        }
                        6 => {
                            one.cast(Order::Fail);
                            one.ask(Order::Answer, MINUTE)
                        }
                        7 => {
                            one.cast(Order::End);
                            one.stop();
                            one.ask(Order::Answer, MINUTE)
                        }
                        _ => {
                            one.cast(Order::Wait);
                            one.ask(Order::Answer, Duration::from_millis(10))
                        }
                    };
                    if let Err(AskError::TimedOut(time)) = &answer {
                        assert!(*time < MINUTE, "an asker was forgotten");
                    }
                    assert!(sim::now() - begun < MINUTE, "an asker heard too late");
                }
            })
        })
        .collect();
    joinall(&clients);
    clients.into_iter().for_each(|client| client.into_value().unwrap());
    sleep(MINUTE);
    // Links between children may still be at work when one is killed in its `init`.
    let back = (0..1000).any(|_| {
        sleep(Duration::from_secs(1));
        (0..4).all(|n| child(&tree, n).is_some_and(|child| !child.ready()))
    });
    assert!(back, "a child was not started again");
    assert!(matches!(tree.shutdown(), Exit::Shutdown | Exit::Failed(_)));
    assert_eq!(tally.left(), 0);
}

#[test]
fn supervised_actors_come_back_and_every_question_ends() {
    torture(900, restarts);
}

struct Fails;

impl Actor for Fails {
    type Message = ();
    fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
        Err(Exit::error(std::io::Error::other("told to")))
    }
}

/// A supervisor gives up with the failure that is one too many in its period, and with no other.
fn intensity() {
    let (most, period) = (sim::random(4) as usize, Duration::from_millis(1 + sim::random(60)));
    let all = ["a", "b", "c"].map(|id| worker_local(id, || Fails));
    let [a, b, c] = all;
    let tree = Supervisor::one_for_one().intensity(most, period).child(a).child(b).child(c).start().unwrap();
    let mut failures = Vec::new();
    for _ in 0..100 {
        sleep(pause());
        let (child, now) = (["a", "b", "c"][sim::random(3) as usize], sim::now());
        let child: ActorRef<()> = tree.child(child).expect("it was restarted");
        child.cast(());
        child.join();
        failures.push(now);
        if failures.iter().filter(|at| now - **at <= period).count() > most {
            assert!(matches!(tree.join(), Exit::Shutdown));
            return;
        }
        let counts = tree.count_children().expect("it has not failed too often");
        assert_eq!(counts.active, 3);
    }
    assert!(matches!(tree.shutdown(), Exit::Shutdown));
}

#[test]
fn a_supervisor_gives_up_exactly_when_its_intensity_is_exceeded() {
    for schedule in [Schedule::Fifo, Schedule::Fair, Schedule::Random] {
        Sim::new(0).order(schedule).spurious_rate(0.02).explore(seeds(500), intensity);
    }
}

#[test]
fn what_a_probe_expects_takes_virtual_time() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    Sim::new(0).allow_panics().explore(0..50, || {
        let tree = Supervisor::one_for_one().child(worker_local("fails", || Fails)).start().unwrap();
        let fails: ActorRef<()> = tree.child("fails").unwrap();
        let probe: Probe<u32> = Probe::watching([&fails]).patience(DAY);
        probe.expect_nothing(DAY);
        probe.actor().send_after(DAY - MINUTE, 7);
        assert_eq!(probe.expect(), 7);
        assert_eq!(sim::now(), 2 * DAY - MINUTE);
        testkit::panic_on_next(&fails, "on purpose");
        fails.send_after(MINUTE, ());
        assert!(probe.expect_down(&fails).to_string().contains("on purpose"));
        assert!(tree.which_children().unwrap()[0].actor.is_some(), "it is there again");
        tree.shutdown();
    });
}

/// Each monitor is told once of the end of the other one, whenever it was made.
fn monitors() {
    let tally = Tally::default();
    let watchers: Vec<_> = (0..3).map(|_| Worker::new(&tally).spawn_local()).collect();
    let others: Vec<_> = (0..4).map(|_| Worker::new(&tally).spawn_local()).collect();
    for _ in 0..20 {
        let (one, other) = (&watchers[sim::random(3) as usize], &others[sim::random(4) as usize]);
        match sim::random(8) {
            0 => other.kill(),
            1 => other.cast(Order::Fail),
            2 => other.cast(Order::Wait),
            3 => sleep(pause()),
            _ => one.cast(Order::Watch(other.clone())),
        }
    }
    others.iter().for_each(|other| other.send_exit(Exit::Shutdown));
    others.iter().for_each(|other| drop(other.join()));
    sleep(MINUTE);
    for watcher in &watchers {
        // It may have been killed itself.
        if let Ok((monitors, downs)) = watcher.ask(Order::Count, MINUTE) {
            assert_eq!(monitors, downs);
        }
        watcher.kill();
    }
    assert_eq!(tally.left(), 0);
}

#[test]
fn every_monitor_is_told_once_whatever_happens() {
    torture(1800, monitors);
}

/// Links take all of them along, and nobody else.
fn links() {
    let tally = Tally::default();
    let linked: Vec<_> = (0..8).map(|_| Worker::new(&tally).spawn_local()).collect();
    let apart = Sink { seen: Rc::default() }.spawn_local();
    for pair in linked.windows(2) {
        if sim::random(2) == 0 {
            pair[0].link(&pair[1]);
        } else {
            // Asked to do it, it may be killed before it does.
            pair[0].cast(Order::Link(pair[1].clone()));
            pair[0].link(&pair[1]);
        }
        if sim::random(4) == 0 {
            yield_now();
        }
    }
    let victim = &linked[sim::random(8) as usize];
    match sim::random(3) {
        0 => victim.kill(),
        1 => victim.cast(Order::Fail),
        _ => victim.send_exit(Exit::Shutdown),
    }
    for actor in &linked {
        assert!(actor.join_timeout(MINUTE).is_some(), "{actor} lives");
    }
    assert!(!apart.ready());
    apart.kill();
    assert_eq!(tally.left(), 0);
}

#[test]
fn links_take_all_along_and_nobody_else() {
    torture(1800, links);
}

// --- mailboxes ---------------------------------------------------------------------------------------------------

struct Sink {
    seen: Rc<RefCell<Vec<(u64, u64)>>>,
}

impl Actor for Sink {
    type Message = (u64, u64);
    fn receive(&mut self, message: (u64, u64), _: &mut Context<Self>) -> Result<(), Exit> {
        self.seen.borrow_mut().push(message);
        if sim::random(4) == 0 {
            sleep(pause());
        }
        Ok(())
    }
}

/// What was accepted is handled, in the order of each sender; what was not is not. Senders are killed while they wait for room.
fn mailboxes() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let suspend = sim::random(2) == 0;
    let overflow = if suspend { Overflow::Suspend } else { Overflow::Fail };
    let capacity = 1 + sim::random(3) as usize;
    let sink =
        ActorBuilder::new().capacity(capacity).overflow(overflow).spawn_local(Sink { seen: seen.clone() });
    let senders: Vec<_> = (0..4)
        .map(|name| {
            let sink = sink.clone();
            spawn(move || {
                let mut accepted = Vec::new();
                for number in 0..10 {
                    let sent = greenlet_core::catch(|| {
                        victim(|| match sim::random(3) {
                            0 => sink.try_send((name, number)).is_ok(),
                            1 => sink.send_timeout((name, number), pause()).is_ok(),
                            _ => sink.send((name, number)).is_ok(),
                        })
                    });
                    if let Ok(Ok(true)) = sent {
                        accepted.push(number);
                    }
                }
                accepted
            })
        })
        .collect();
    joinall(&senders);
    sleep(MINUTE);
    for (name, sender) in senders.into_iter().enumerate() {
        let seen: Vec<_> = seen
            .borrow()
            .iter()
            .filter(|(from, _)| *from == name as u64)
            .map(|(_, number)| *number)
            .collect();
        assert_eq!(sender.into_value().unwrap(), seen);
    }
    assert_eq!(sink.mailbox_len(), 0);
    sink.kill();
}

#[test]
fn what_was_accepted_is_handled_in_order() {
    torture(1800, mailboxes);
}

// --- a kill at each point ----------------------------------------------------------------------------------------

/// One who asks, one who is asked by way of another, one who watches, and one who is linked.
fn small_world() {
    let tally = Tally::default();
    let [first, second, watcher] = [(); 3].map(|()| Worker::new(&tally).spawn_local());
    watcher.cast(Order::Watch(first.clone()));
    watcher.cast(Order::Watch(second.clone()));
    watcher.cast(Order::Watch(first.clone()));
    let linked = Worker::new(&tally).spawn_local();
    second.link(&linked);
    let begun = sim::now();
    let _ = first.ask(|reply| Order::Pass(second.clone(), reply), MINUTE);
    first.cast(Order::Wait);
    second.cast(Order::Wait);
    let _ = second.ask(Order::Answer, MINUTE);
    assert!(sim::now() - begun < MINUTE, "an asker was forgotten");
    first.stop();
    second.send_exit(Exit::Shutdown);
    assert!(first.join_timeout(MINUTE).is_some() && second.join_timeout(MINUTE).is_some());
    assert!(linked.join_timeout(MINUTE).is_some(), "the link has not ended it");
    // Twice: what it monitors only now is told behind the first question.
    let _ = watcher.ask(Order::Count, MINUTE);
    if let Ok((monitors, downs)) = watcher.ask(Order::Count, MINUTE) {
        assert_eq!(monitors, downs);
    }
    watcher.kill();
    assert_eq!(tally.left(), 0);
}

#[test]
fn a_kill_at_each_point_where_a_handler_waits_leaves_nobody_waiting() {
    for seed in 0..seeds(40).end {
        Sim::new(seed).allow_panics().each_fault_point(small_world);
    }
}

/// The same with greenlets killed that nobody marked: runners in between, waiting to be called, and on their way.
#[test]
fn kills_of_the_greenlets_that_run_actors_are_kills_of_the_actors_at_most() {
    fn world() {
        let tally = Tally::default();
        let actors: Vec<_> = (0..5).map(|_| Worker::new(&tally).spawn_local()).collect();
        for round in 0..6 {
            for (n, actor) in actors.iter().enumerate() {
                actor.cast(Order::Wait);
                if n == round {
                    actor.stop();
                }
                let begun = sim::now();
                let _ = actor.ask(Order::Answer, MINUTE);
                assert!(sim::now() - begun < MINUTE, "an asker was forgotten");
            }
        }
        for actor in &actors {
            actor.send_exit(Exit::Shutdown);
            assert!(actor.join_timeout(10 * MINUTE).is_some(), "{actor} lives");
        }
        assert_eq!(tally.left(), 0);
    }
    for rate in [0.02, 0.2] {
        Sim::new(0).victims(sim::Victims::Spawned).kill_rate(rate).allow_panics().explore(seeds(300), world);
    }
}

/// An id for which nothing is ever said twice; kept here so that the seeds see trapped exits too.
struct Trapper(Rc<RefCell<Vec<ActorId>>>);

impl Actor for Trapper {
    type Message = ActorRef<Order>;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        Ok(())
    }

    fn receive(&mut self, other: ActorRef<Order>, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.link(&other);
        ctx.link(&other);
        Ok(())
    }

    fn handle_exit(&mut self, from: ActorId, _: Exit, _: &mut Context<Self>) -> Result<(), Exit> {
        self.0.borrow_mut().push(from);
        Ok(())
    }
}

#[test]
fn a_link_that_is_trapped_is_told_once() {
    fn world() {
        let (tally, told) = (Tally::default(), Rc::new(RefCell::new(Vec::new())));
        let trapper = Trapper(told.clone()).spawn_local();
        let others: Vec<_> = (0..6).map(|_| Worker::new(&tally).spawn_local()).collect();
        for other in &others {
            trapper.cast(other.clone());
            match sim::random(4) {
                0 => other.kill(),
                1 => other.cast(Order::Fail),
                2 => other.cast(Order::Wait),
                _ => {}
            }
        }
        sleep(Duration::from_secs(1));
        others.iter().for_each(|other| other.kill());
        sleep(Duration::from_secs(1));
        let mut told = told.borrow().clone();
        told.sort_unstable();
        let mut ids: Vec<_> = others.iter().map(|other| other.id()).collect();
        ids.sort_unstable();
        // Linked twice to one that was dead already, it hears of it twice: each such link is answered with `noproc`.
        told.dedup();
        assert_eq!(told, ids);
        trapper.kill();
        assert_eq!(tally.left(), 0);
    }
    torture(900, world);
}
