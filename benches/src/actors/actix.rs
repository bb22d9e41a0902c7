//! actix, actors that stay on the thread where they were started: its `Arbiter`s.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::{
    Actor, ActorContext, ActorFutureExt, Addr, Arbiter, ArbiterHandle, AsyncContext, Context, Handler,
    Message, System, WrapFuture,
};
use tokio::sync::oneshot;

use super::programs::{ACCOUNTS, BALANCE, Order, orders};
use super::{Behaviour, Cores, Latch, Library, Myself, Place};

/// Actors of actix.
#[derive(Debug)]
pub struct Actix;

/// The threads on which actors are started in turn; none on one core.
static ARBITERS: Mutex<Vec<ArbiterHandle>> = Mutex::new(Vec::new());
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Runs a future on the system's thread, with an arbiter for each of two cores.
fn on_system<T>(cores: Cores, future: impl Future<Output = T>) -> T {
    let system = System::new();
    let arbiters = match cores {
        Cores::One => Vec::new(),
        Cores::Two => vec![Arbiter::new(), Arbiter::new()],
    };
    *ARBITERS.lock().expect("nobody panics with it") = arbiters.iter().map(Arbiter::handle).collect();
    let result = system.block_on(future);
    for arbiter in arbiters {
        arbiter.stop();
        arbiter.join().expect("the arbiter ends");
    }
    result
}

/// Starts an actor on the next arbiter.
fn start<A: Actor<Context = Context<A>> + Send>(actor: A) -> Addr<A> {
    let arbiter = {
        let arbiters = ARBITERS.lock().expect("nobody panics with it");
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        arbiters.get(turn % arbiters.len().max(1)).cloned()
    };
    match arbiter {
        Some(arbiter) => A::start_in_arbiter(&arbiter, |_| actor),
        None => actor.start(),
    }
}

/// An actor with that behaviour. On two threads it keeps an address of itself, since there actors to which nobody else has one are
/// stopped with messages in their mailboxes now and then; it ends by its own will, or with its arbiter.
pub struct Host<B: Behaviour<Actix>> {
    behaviour: B,
    kept: Option<Addr<Host<B>>>,
}

impl<B: Behaviour<Actix>> Host<B> {
    fn new(behaviour: B) -> Host<B> {
        Host { behaviour, kept: None }
    }
}

/// Nobody pins a behaviour.
impl<B: Behaviour<Actix>> Unpin for Host<B> {}

impl<B: Behaviour<Actix>> Actor for Host<B> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !ARBITERS.lock().expect("nobody panics with it").is_empty() {
            self.kept = Some(ctx.address());
        }
        self.behaviour.started();
    }
}

/// A message of a behaviour.
struct Carried<M>(M);

impl<M: 'static> Message for Carried<M> {
    type Result = ();
}

impl<B: Behaviour<Actix>> Handler<Carried<B::Message>> for Host<B> {
    type Result = ();

    fn handle(&mut self, Carried(message): Carried<B::Message>, ctx: &mut Context<Self>) {
        self.behaviour.receive(message, ctx);
    }
}

impl<B: Behaviour<Actix>> Myself<Actix, B> for Context<Host<B>> {
    fn me(&self) -> Addr<Host<B>> {
        self.address()
    }

    fn stop(&mut self) {
        ActorContext::stop(self);
    }
}

impl Library for Actix {
    const NAME: &'static str = "actix";

    type Ref<B: Behaviour<Self>> = Addr<Host<B>>;
    type Sink<T: Send + 'static> = oneshot::Sender<T>;

    fn run<T: Send + 'static>(
        cores: Cores,
        program: impl FnOnce(oneshot::Sender<T>) + Send + 'static,
    ) -> (T, Duration) {
        on_system(cores, async {
            let (sink, result) = oneshot::channel();
            let start = Instant::now();
            program(sink);
            let result = result.await.expect("the program has a result");
            (result, start.elapsed())
        })
    }

    fn finish<T: Send + 'static>(sink: oneshot::Sender<T>, result: T) {
        assert!(sink.send(result).is_ok(), "the result is waited for");
    }

    fn spawn<B: Behaviour<Self>>(behaviour: B, place: Place) -> Addr<Host<B>> {
        match place {
            Place::Here => Host::new(behaviour).start(),
            Place::Anywhere => start(Host::new(behaviour)),
        }
    }

    fn send<B: Behaviour<Self>>(to: &Addr<Host<B>>, message: B::Message) {
        to.do_send(Carried(message));
    }

    fn ask_from_outside(cores: Cores, questions: u64) -> Duration {
        on_system(cores, async move {
            let doubler = start(Doubler);
            let start = Instant::now();
            let sum = ask_often(&doubler, questions).await;
            let time = start.elapsed();
            assert_eq!(sum, questions * (questions - 1), "every answer is right");
            time
        })
    }

    fn ask_from_an_actor(cores: Cores, questions: u64) -> Duration {
        let (sum, time) = Actix::run(cores, move |sink| {
            start(Asker(start(Doubler))).do_send(Begin(questions, sink));
        });
        assert_eq!(sum, questions * (questions - 1), "every answer is right");
        time
    }

    fn bank(cores: Cores, transfers: u64) -> Duration {
        on_system(cores, async move {
            let accounts: Vec<_> = (0..ACCOUNTS).map(|_| start(Account(BALANCE))).collect();
            let (sink, result) = oneshot::channel();
            let done = Latch::new(transfers, sink);
            let start = Instant::now();
            for Order { from, to, cents } in orders(transfers) {
                accounts[from].do_send(Transfer(cents, accounts[to].clone(), done.clone()));
            }
            assert_eq!(result.await, Ok(transfers), "every transfer is made");
            let time = start.elapsed();
            let mut total = 0;
            for account in &accounts {
                total += account.send(Balance).await.expect("it answers");
            }
            assert_eq!(total, ACCOUNTS as i64 * BALANCE, "no cent is lost");
            time
        })
    }
}

macro_rules! actor {
    ($actor:ty) => {
        impl Actor for $actor {
            type Context = Context<Self>;
        }
    };
}

macro_rules! message {
    ($message:ty => $result:ty) => {
        impl Message for $message {
            type Result = $result;
        }
    };
}

struct Doubler;

actor!(Doubler);

struct Double(u64);

message!(Double => u64);

impl Handler<Double> for Doubler {
    type Result = u64;

    fn handle(&mut self, Double(number): Double, _: &mut Context<Self>) -> u64 {
        2 * number
    }
}

async fn ask_often(doubler: &Addr<Doubler>, questions: u64) -> u64 {
    let mut sum = 0;
    for number in 0..questions {
        sum += doubler.send(Double(number)).await.expect("it answers");
    }
    sum
}

struct Asker(Addr<Doubler>);

actor!(Asker);

struct Begin(u64, oneshot::Sender<u64>);

message!(Begin => ());

impl Handler<Begin> for Asker {
    type Result = ();

    fn handle(&mut self, Begin(questions, sink): Begin, ctx: &mut Context<Self>) {
        let doubler = self.0.clone();
        let asking = async move { Actix::finish(sink, ask_often(&doubler, questions).await) };
        ctx.wait(asking.into_actor(self));
    }
}

struct Account(i64);

actor!(Account);

struct Transfer(i64, Addr<Account>, Latch<Actix>);

message!(Transfer => ());

impl Handler<Transfer> for Account {
    type Result = ();

    fn handle(&mut self, Transfer(cents, to, done): Transfer, ctx: &mut Context<Self>) {
        self.0 -= cents;
        let deposited = to.send(Deposit(cents)).into_actor(self).map(move |answer, _, _| {
            answer.expect("it answers");
            done.come(1);
        });
        ctx.wait(deposited);
    }
}

struct Deposit(i64);

message!(Deposit => ());

impl Handler<Deposit> for Account {
    type Result = ();

    fn handle(&mut self, Deposit(cents): Deposit, _: &mut Context<Self>) {
        self.0 += cents;
    }
}

struct Balance;

message!(Balance => i64);

impl Handler<Balance> for Account {
    type Result = i64;

    fn handle(&mut self, Balance: Balance, _: &mut Context<Self>) -> i64 {
        self.0
    }
}
