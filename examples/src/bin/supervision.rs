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
//!     temporary       b fails: b is forgotten
//!     transient       b is done: b is kept, stopped
//!     significant     b is done: stop d, stop c, stop a, the supervisor has ended with shutdown
//!     intensity 2     b fails 3 times: start b, start b, stop d, stop c, stop a, the supervisor has ended with shutdown
//!     back-off        b fails 3 times: start b, start b, start b (after 10 ms, 20 ms and 40 ms)
//!     a tree          x fails 2 times: start x, stop y, start x, start y (the inner supervisor gave up, and is restarted)
//!     dynamic         1000 children fail: 1000 run again
//!     partitions      one of 4 fails: 4 run again

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenlet_actor::{
    Actor, ActorRef, AutoShutdown, Backoff, ChildSpec, ChildState, Context, DynamicSupervisor, Exit,
    PartitionSupervisor, Restart, Supervisor, SupervisorRef, supervisor, worker,
};
use greenlet_core::sleep;

const MINUTE: Duration = Duration::from_secs(60);
/// What parts fail with.
const FAILURE: std::fmt::Error = std::fmt::Error;

/// What happened, in order.
type Journal = Arc<Mutex<Vec<String>>>;

struct Part(&'static str, Journal);

impl Actor for Part {
    /// How it ends.
    type Message = Exit;
    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        self.1.lock().unwrap().push(format!("start {}", self.0));
        Ok(())
    }

    fn receive(&mut self, exit: Exit, _: &mut Context<Self>) -> Result<(), Exit> {
        Err(exit)
    }

    fn terminate(&mut self, exit: &Exit, _: &mut Context<Self>) {
        if exit.is_shutdown() {
            self.1.lock().unwrap().push(format!("stop {}", self.0));
        }
    }
}

fn part(id: &'static str, journal: &Journal) -> ChildSpec {
    let journal = journal.clone();
    worker(id, move || Part(id, journal.clone()))
}

/// Starts the tree with four parts, of which `b` is as given.
fn four(tree: Supervisor, b: impl FnOnce(ChildSpec) -> ChildSpec) -> (SupervisorRef, Journal) {
    let journal = Journal::default();
    let [a, c, d] = ["a", "c", "d"].map(|id| part(id, &journal));
    let tree =
        tree.child(a).child(b(part("b", &journal))).child(c).child(d).start().expect("no part fails yet");
    journal.lock().unwrap().clear();
    (tree, journal)
}

/// Ends a part, and waits until its supervisor has dealt with that.
fn end(tree: &SupervisorRef, id: &str, exit: Exit) {
    let part: ActorRef<Exit> = tree.child(id).expect("it runs");
    part.send(exit).expect("it runs");
    part.join();
    tree.which_children().map_err(|_| tree.join()).ok();
}

fn show(name: &str, (tree, journal): (SupervisorRef, Journal), times: usize, exit: &Exit) {
    (0..times).for_each(|_| end(&tree, "b", exit.clone()));
    let mut seen = std::mem::take(&mut *journal.lock().unwrap());
    let children = tree.which_children().unwrap_or_default();
    match children.iter().find(|child| child.id == "b").map(|b| b.state) {
        _ if tree.actor().ready() => seen.push(format!("the supervisor has ended with {}", tree.join())),
        None => seen.push("b is forgotten".to_owned()),
        Some(ChildState::Stopped) => seen.push("b is kept, stopped".to_owned()),
        Some(_) => {}
    }
    let what = if exit.is_normal() { "b is done" } else { "b fails" };
    let often = if times > 1 { format!(" {times} times") } else { String::new() };
    println!("{name:15} {what}{often}: {}", seen.join(", "));
}

fn main() {
    show("one_for_one", four(Supervisor::one_for_one(), |b| b), 1, &FAILURE.into());
    show("one_for_all", four(Supervisor::one_for_all(), |b| b), 1, &FAILURE.into());
    show("rest_for_one", four(Supervisor::rest_for_one(), |b| b), 1, &FAILURE.into());
    let one = Supervisor::one_for_one;
    show("temporary", four(one(), |b| b.restart(Restart::Temporary)), 1, &FAILURE.into());
    show("transient", four(one(), |b| b.restart(Restart::Transient)), 1, &Exit::Normal);
    let auto = one().auto_shutdown(AutoShutdown::AnySignificant);
    show("significant", four(auto, |b| b.restart(Restart::Transient).significant()), 1, &Exit::Normal);
    show("intensity 2", four(one().intensity(2, MINUTE), |b| b), 3, &FAILURE.into());
    back_off();
    a_tree();
    let make = || Part("one of many", Journal::default());
    let parts = DynamicSupervisor::new().intensity(usize::MAX, MINUTE).start().expect("nothing can fail");
    let all: Vec<_> = (0..1000).map(|_| parts.start_child(make).expect("it starts")).collect();
    all.iter().for_each(|part| drop(part.send(FAILURE.into())));
    let failed = all.iter().filter(|part| part.join().failure().is_some()).count();
    println!("dynamic         {failed} children fail: {} run again", parts.count_children().unwrap().active);
    let parts = PartitionSupervisor::workers(move |_| make()).partitions(4).start().expect("all start");
    let part: ActorRef<Exit> = parts.child("a key").expect("it runs");
    part.send(FAILURE.into()).map(|()| part.join()).expect("it runs");
    println!("partitions      one of 4 fails: {} run again", parts.count_children().unwrap().active);
}

fn back_off() {
    let backoff = Backoff::new(Duration::from_millis(10), MINUTE);
    let (tree, journal) = four(Supervisor::one_for_one().intensity(0, MINUTE), |b| b.backoff(backoff));
    for least in [10, 20, 40] {
        let begun = Instant::now();
        end(&tree, "b", FAILURE.into());
        while tree.child::<Exit>("b").is_none() {
            sleep(Duration::from_millis(1));
        }
        assert!(begun.elapsed() >= Duration::from_millis(least), "too early");
    }
    let seen = journal.lock().unwrap();
    println!("back-off        b fails 3 times: {} (after 10 ms, 20 ms and 40 ms)", seen.join(", "));
}

fn a_tree() {
    let parts = Journal::default();
    let journal = parts.clone();
    let inner = move || Supervisor::one_for_one().child(part("x", &journal)).child(part("y", &journal));
    let outer = Supervisor::one_for_one().child(supervisor("inner", inner)).start().expect("all parts start");
    parts.lock().unwrap().clear();
    for _ in 0..2 {
        // Two failures in five seconds are too many for it.
        end(&outer.supervisor("inner").expect("it runs"), "x", FAILURE.into());
        outer.which_children().expect("it runs");
    }
    let seen = parts.lock().unwrap();
    println!(
        "a tree          x fails 2 times: {} (the inner supervisor gave up, and is restarted)",
        seen.join(", ")
    );
}
