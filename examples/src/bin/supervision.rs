//! Every strategy of supervisors: who is stopped and started again with whom.
//!
//! Type
//!
//!     cargo run --release -p greenlet-examples --bin supervision
//!
//! and you will see
//!
//!     one_for_one     b fails: start b
//!     one_for_all     b fails: stop d, stop c, stop a, start a, start b, start c, start d
//!     rest_for_one    b fails: stop d, stop c, start b, start c, start d
//!     temporary       b fails: nothing, and b is forgotten
//!     transient       b is done: nothing, and b is kept
//!     significant     b is done: stop d, stop c, stop a, and the supervisor has ended with shutdown
//!     intensity 2     b fails 3 times: start b, start b, stop d, stop c, stop a, and the supervisor has ended with shutdown
//!     back-off        b fails 3 times: start b, start b, start b (after 10 ms, 20 ms and 40 ms)
//!     a tree          x fails 2 times: start x, stop y, start x, start y; the inner supervisor gave up, the outer one started it again
//!     dynamic         1000 of 1000 children fail: 1000 run again
//!     partitions      each key has its own of 4; one fails: 4 run again

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenlet_actor::{
    Actor, ActorRef, AutoShutdown, Backoff, ChildSpec, Context, DynamicSupervisor, Exit, PartitionSupervisor,
    Restart, Supervisor, SupervisorRef, supervisor, worker,
};
use greenlet_core::sleep;

const MINUTE: Duration = Duration::from_secs(60);

/// What happened, in order.
type Journal = Arc<Mutex<Vec<String>>>;

struct Part {
    id: &'static str,
    journal: Journal,
}

#[derive(Debug, thiserror::Error)]
#[error("out of order")]
struct OutOfOrder;

enum Order {
    Fail,
    Finish,
}

impl Actor for Part {
    type Message = Order;

    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        self.journal.lock().unwrap().push(format!("start {}", self.id));
        Ok(())
    }

    fn receive(&mut self, order: Order, _: &mut Context<Self>) -> Result<(), Exit> {
        match order {
            Order::Fail => Err(OutOfOrder.into()),
            Order::Finish => Err(Exit::Normal),
        }
    }

    fn terminate(&mut self, exit: &Exit, _: &mut Context<Self>) {
        if exit.is_shutdown() {
            self.journal.lock().unwrap().push(format!("stop {}", self.id));
        }
    }
}

fn part(id: &'static str, journal: &Journal) -> ChildSpec {
    let journal = journal.clone();
    worker(id, move || Part { id, journal: journal.clone() })
}

/// Starts the tree with four parts, of which `b` is as given.
fn four(tree: Supervisor, b: impl FnOnce(ChildSpec) -> ChildSpec) -> (SupervisorRef, Journal) {
    let journal = Journal::default();
    let [a, mut rest @ ..] = ["a", "b", "c", "d"].map(|id| Some(part(id, &journal)));
    rest[0] = rest[0].take().map(b);
    let parts = a.into_iter().chain(rest.into_iter().flatten());
    let tree = parts.fold(tree, Supervisor::child).start().expect("no part fails before it works");
    journal.lock().unwrap().clear();
    (tree, journal)
}

/// Gives a part its order, and waits until its supervisor has dealt with that. Says what happened.
fn order(tree: &SupervisorRef, id: &str, order: Order, journal: &Journal) -> String {
    let part: ActorRef<Order> = tree.child(id).expect("it runs");
    part.send(order).expect("it runs");
    part.join();
    let ended = tree.which_children().is_err().then(|| tree.join());
    let mut seen = std::mem::take(&mut *journal.lock().unwrap());
    if let Some(exit) = ended {
        seen.push(format!("and the supervisor has ended with {exit}"));
    }
    if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") }
}

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("supervision: it takes no arguments\nusage: supervision");
        return ExitCode::from(2);
    }
    let strategies: [(_, fn() -> Supervisor); 3] = [
        ("one_for_one", Supervisor::one_for_one),
        ("one_for_all", Supervisor::one_for_all),
        ("rest_for_one", Supervisor::rest_for_one),
    ];
    for (name, strategy) in strategies {
        let (tree, journal) = four(strategy(), |b| b);
        println!("{name:15} b fails: {}", order(&tree, "b", Order::Fail, &journal));
    }
    let kept = |tree: &SupervisorRef| {
        let children = tree.which_children().unwrap_or_default();
        if children.iter().any(|child| child.id == "b") { "kept" } else { "forgotten" }
    };
    let (tree, journal) = four(Supervisor::one_for_one(), |b| b.restart(Restart::Temporary));
    let seen = order(&tree, "b", Order::Fail, &journal);
    println!("temporary       b fails: {seen}, and b is {}", kept(&tree));
    let (tree, journal) = four(Supervisor::one_for_one(), |b| b.restart(Restart::Transient));
    let seen = order(&tree, "b", Order::Finish, &journal);
    println!("transient       b is done: {seen}, and b is {}", kept(&tree));
    let auto = Supervisor::one_for_one().auto_shutdown(AutoShutdown::AnySignificant);
    let (tree, journal) = four(auto, |b| b.restart(Restart::Transient).significant());
    println!("significant     b is done: {}", order(&tree, "b", Order::Finish, &journal));
    let (tree, journal) = four(Supervisor::one_for_one().intensity(2, MINUTE), |b| b);
    let seen = [(); 3].map(|()| order(&tree, "b", Order::Fail, &journal));
    println!("intensity 2     b fails 3 times: {}", seen.join(", "));
    back_off();
    a_tree();
    many();
    ExitCode::SUCCESS
}

fn back_off() {
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1)).reset_after(MINUTE);
    let (tree, journal) = four(Supervisor::one_for_one().intensity(0, MINUTE), |b| b.backoff(backoff));
    for least in [10, 20, 40] {
        let begun = Instant::now();
        order(&tree, "b", Order::Fail, &Journal::default());
        while tree.child::<Order>("b").is_none() {
            sleep(Duration::from_millis(1));
        }
        assert!(begun.elapsed() >= Duration::from_millis(least), "too early");
    }
    let seen = journal.lock().unwrap().join(", ");
    println!("back-off        b fails 3 times: {seen} (after 10 ms, 20 ms and 40 ms)");
}

fn a_tree() {
    let journal = Journal::default();
    let inner = {
        let journal = journal.clone();
        move || Supervisor::one_for_one().child(part("x", &journal)).child(part("y", &journal))
    };
    let outer = Supervisor::one_for_one().child(supervisor("inner", inner)).start().expect("all parts start");
    journal.lock().unwrap().clear();
    for _ in 0..2 {
        let inner = outer.supervisor("inner").expect("it runs");
        let x = inner.child::<Order>("x").expect("it runs");
        x.send(Order::Fail).expect("it runs");
        x.join();
        if inner.which_children().is_err() {
            inner.join(); // two failures in five seconds were too many
        }
        outer.which_children().expect("it runs");
    }
    let seen = journal.lock().unwrap().join(", ");
    println!(
        "a tree          x fails 2 times: {seen}; the inner supervisor gave up, the outer one started it again"
    );
}

fn many() {
    let journal = Journal::default();
    let make = move || Part { id: "one of many", journal: journal.clone() };
    let parts = DynamicSupervisor::new().intensity(usize::MAX, MINUTE).start().expect("nothing can fail");
    let all: Vec<_> = (0..1000).map(|_| parts.start_child(make.clone()).expect("it starts")).collect();
    all.iter().for_each(|part| drop(part.send(Order::Fail)));
    let failed = all.iter().filter(|part| part.join().failure().is_some()).count();
    let run = parts.count_children().expect("it runs").active;
    println!("dynamic         {failed} of 1000 children fail: {run} run again");
    let parts = PartitionSupervisor::workers(move |_| make()).partitions(4).start().expect("all parts start");
    let part: ActorRef<Order> = parts.child("a key").expect("it runs");
    part.send(Order::Fail).expect("it runs");
    part.join();
    let run = parts.count_children().expect("it runs").active;
    println!("partitions      each key has its own of {}; one fails: {run} run again", parts.partitions());
}
