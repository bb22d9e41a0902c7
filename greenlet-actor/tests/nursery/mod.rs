//! Children for supervisors, and what tests do to them.
#![allow(dead_code)] // each test file uses its part

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use greenlet_actor::{
    Actor, ActorRef, AnyActor, ChildSpec, ChildState, Context, Exit, Supervisor, SupervisorRef, System,
    worker, worker_local,
};
use greenlet_core::yield_now;

use crate::probe::{Job, Log, Probe, no_disk, word};

/// Counts its calls, from 1.
pub fn counter() -> impl Fn() -> u32 {
    let count = Rc::new(Cell::new(0));
    move || {
        count.set(count.get() + 1);
        count.get()
    }
}

/// A child that notes its starts and its ends.
pub fn noting(id: &'static str, log: &Log) -> ChildSpec {
    noting_failing(id, log, |_| false)
}

/// The same, whose start fails at those attempts (from 1).
pub fn noting_failing(id: &'static str, log: &Log, fails: impl Fn(u32) -> bool + 'static) -> ChildSpec {
    let (log, start) = (log.clone(), counter());
    worker_local(id, move || {
        let (started, ended, failing) = (log.clone(), log.clone(), fails(start()));
        Probe::new()
            .init(move |_| {
                yield_now();
                if failing {
                    started.note(format_args!("fail {id}"));
                    return Err(no_disk());
                }
                started.note(format_args!("start {id}"));
                Ok(())
            })
            .terminate(move |exit, _| ended.note(format_args!("end {id} {}", word(exit))))
    })
}

/// A child that never fails to start.
pub fn plain(id: &'static str) -> ChildSpec {
    worker_local(id, Probe::new)
}

#[track_caller]
pub fn child(tree: &SupervisorRef, id: &str) -> ActorRef<Job> {
    tree.child(id).unwrap_or_else(|| panic!("no child {id:?}: {:?}", tree.which_children()))
}

/// Ends the child so, and comes back when the supervisor has dealt with that.
#[track_caller]
pub fn end(tree: &SupervisorRef, id: &str, end: impl FnOnce(&ActorRef<Job>)) {
    let child = child(tree, id);
    end(&child);
    child.join();
    // The exit stands in the supervisor's mailbox before a question that is asked now.
    let _ = tree.which_children();
}

#[track_caller]
pub fn crash(tree: &SupervisorRef, id: &str) {
    end(tree, id, |child| drop(child.send(Box::new(|_| Err(no_disk())))));
}

/// The ids and states of the children.
pub fn states(tree: &SupervisorRef) -> Vec<(String, ChildState)> {
    tree.which_children().unwrap().into_iter().map(|child| (child.id, child.state)).collect()
}

pub fn ids(tree: &SupervisorRef) -> Vec<String> {
    states(tree).into_iter().map(|(id, _)| id).collect()
}

pub fn state(tree: &SupervisorRef, id: &str) -> Option<ChildState> {
    states(tree).into_iter().find(|(other, _)| other == id).map(|(_, state)| state)
}

/// Waits until the child runs, through restarts that fail.
#[track_caller]
pub fn comes_back(tree: &SupervisorRef, id: &str) -> ActorRef<Job> {
    loop {
        match state(tree, id) {
            Some(ChildState::Running) => return child(tree, id),
            Some(_) => yield_now(),
            None => panic!("{id} is forgotten"),
        }
    }
}

/// Everybody that was ever started, from whatever thread.
#[derive(Clone, Default)]
pub struct Census(Arc<Mutex<Vec<AnyActor>>>);

impl Census {
    pub fn add(&self, actor: impl Into<AnyActor>) {
        self.0.lock().unwrap().push(actor.into());
    }

    pub fn all(&self) -> Vec<AnyActor> {
        self.0.lock().unwrap().clone()
    }

    /// Those that have not ended.
    pub fn orphans(&self) -> Vec<AnyActor> {
        self.all().into_iter().filter(|actor| !actor.ready()).collect()
    }
}

/// An actor that may run on every hub: it fails when it is told to.
pub struct Free(pub Option<Census>);

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    Fail,
    Panic,
    Finish,
    Block,
    Nothing,
}

impl Actor for Free {
    type Message = Order;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if let Some(census) = &self.0 {
            census.add(ctx.me().clone());
            yield_now();
        }
        Ok(())
    }

    fn receive(&mut self, order: Order, _: &mut Context<Self>) -> Result<(), Exit> {
        match order {
            Order::Fail => Err(no_disk()),
            Order::Panic => panic!("on purpose"),
            Order::Finish => Err(Exit::Normal),
            Order::Block => loop {
                greenlet_core::sleep(std::time::Duration::MAX);
            },
            Order::Nothing => Ok(()),
        }
    }

    fn label(order: &Order) -> &'static str {
        match order {
            Order::Fail => "fail",
            Order::Panic => "panic",
            Order::Finish => "finish",
            Order::Block => "block",
            Order::Nothing => "nothing",
        }
    }
}

/// A child that may run on every hub.
pub fn free(id: &str, census: &Census) -> ChildSpec {
    let census = census.clone();
    worker(id, move || Free(Some(census.clone())))
}

pub fn with(tree: Supervisor, children: impl IntoIterator<Item = ChildSpec>) -> Supervisor {
    children.into_iter().fold(tree, Supervisor::child)
}

/// Runs a test on a system of two hubs, and fails it when it hangs.
#[track_caller]
pub fn on_two_hubs(body: impl FnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Dropped at the end, in whatever way.
        let _done = done;
        System::builder().hubs(2).run(body).unwrap();
    });
    let limit = std::time::Duration::from_secs(60);
    if ended.recv_timeout(limit) == Err::<(), _>(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("the test hangs");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
