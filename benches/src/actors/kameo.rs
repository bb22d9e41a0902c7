//! kameo, an actor library on tokio.

use std::time::{Duration, Instant};

use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::message::{Context, Message};
use kameo::supervision::RestartPolicy;
use tokio::sync::oneshot;

use super::programs::{ACCOUNTS, BALANCE, Order, look_up, names, orders};
use super::tokio_runtime::{self, on_a_worker};
use super::{Behaviour, Cores, Latch, Library, Myself, Place};

/// Actors of kameo.
#[derive(Debug)]
pub struct Kameo;

/// An actor with that behaviour.
pub struct Host<B>(B);

impl<B: Behaviour<Kameo>> Actor for Host<B> {
    type Args = B;
    type Error = Infallible;

    async fn on_start(mut behaviour: B, _: ActorRef<Self>) -> Result<Self, Infallible> {
        behaviour.started();
        Ok(Host(behaviour))
    }
}

/// A message of a behaviour, which no other is.
struct Carried<M>(M);

impl<B: Behaviour<Kameo>> Message<Carried<B::Message>> for Host<B> {
    type Reply = ();

    async fn handle(&mut self, Carried(message): Carried<B::Message>, ctx: &mut Context<Self, ()>) {
        self.0.receive(message, ctx);
    }
}

impl<B: Behaviour<Kameo>> Myself<Kameo, B> for Context<Host<B>, ()> {
    fn me(&self) -> ActorRef<Host<B>> {
        self.actor_ref().clone()
    }

    fn stop(&mut self) {
        Context::stop(self);
    }
}

fn spawn<A: Actor>(arguments: A::Args) -> ActorRef<A> {
    A::spawn_with_mailbox(arguments, mailbox::unbounded())
}

impl Library for Kameo {
    const NAME: &'static str = "kameo";

    type Ref<B: Behaviour<Self>> = ActorRef<Host<B>>;
    type Sink<T: Send + 'static> = oneshot::Sender<T>;

    fn run<T: Send + 'static>(
        cores: Cores,
        program: impl FnOnce(oneshot::Sender<T>) + Send + 'static,
    ) -> (T, Duration) {
        tokio_runtime::run(cores, program)
    }

    fn finish<T: Send + 'static>(sink: oneshot::Sender<T>, result: T) {
        assert!(sink.send(result).is_ok(), "the result is waited for");
    }

    fn spawn<B: Behaviour<Self>>(behaviour: B, _: Place) -> ActorRef<Host<B>> {
        spawn(behaviour)
    }

    fn send<B: Behaviour<Self>>(to: &ActorRef<Host<B>>, message: B::Message) {
        let _ = to.tell(Carried(message)).try_send();
    }

    fn ask_from_outside(cores: Cores, questions: u64) -> Duration {
        on_a_worker(cores, async move {
            let doubler = spawn(Doubler);
            let start = Instant::now();
            let sum = ask_often(&doubler, questions).await;
            let time = start.elapsed();
            assert_eq!(sum, questions * (questions - 1), "every answer is right");
            time
        })
    }

    fn ask_from_an_actor(cores: Cores, questions: u64) -> Duration {
        let (sum, time) = tokio_runtime::run(cores, move |sink| {
            let asker = spawn::<Asker>(Asker(spawn(Doubler)));
            assert!(asker.tell(Begin(questions, sink)).try_send().is_ok());
        });
        assert_eq!(sum, questions * (questions - 1), "every answer is right");
        time
    }

    fn bank(cores: Cores, transfers: u64) -> Duration {
        on_a_worker(cores, async move {
            let accounts: Vec<_> = (0..ACCOUNTS).map(|_| spawn(Account(BALANCE))).collect();
            let (sink, result) = oneshot::channel();
            let done = Latch::new(transfers, sink);
            let start = Instant::now();
            for Order { from, to, cents } in orders(transfers) {
                let transfer = Transfer(cents, accounts[to].clone(), done.clone());
                assert!(accounts[from].tell(transfer).try_send().is_ok());
            }
            assert_eq!(result.await, Ok(transfers), "every transfer is made");
            let time = start.elapsed();
            let mut total = 0;
            for account in &accounts {
                total += account.ask(Balance).await.expect("it answers");
            }
            assert_eq!(total, ACCOUNTS as i64 * BALANCE, "no cent is lost");
            time
        })
    }

    fn whereis(cores: Cores, lookups: u64) -> Option<Duration> {
        let time = on_a_worker(cores, async move {
            let names = names();
            for name in &names {
                let actor: ActorRef<Doubler> = spawn(Doubler);
                actor.register(name.clone()).expect("the name is free");
            }
            let find = |name: &str| ActorRef::<Doubler>::lookup(name).is_ok_and(|found| found.is_some());
            look_up(cores, lookups, &names, find)
        });
        Some(time)
    }

    fn restart(cores: Cores, children: u64) -> Option<Duration> {
        let (sink, all_are_back) = oneshot::channel();
        let time = on_a_worker(cores, async move {
            let latch = Latch::new(2 * children, sink);
            let supervisor = spawn::<Restarting>(Restarting);
            let mut crashing = Vec::new();
            for _ in 0..children {
                let latch = latch.clone();
                let child = Crashing::supervise_with(&supervisor, move || latch.clone())
                    .restart_policy(RestartPolicy::Permanent)
                    .restart_limit(u32::MAX, Duration::from_secs(600));
                crashing.push(child.spawn().await);
            }
            for child in &crashing {
                child.wait_for_startup().await;
            }
            let start = Instant::now();
            for child in &crashing {
                assert!(child.tell(Crash).try_send().is_ok());
            }
            assert_eq!(all_are_back.await, Ok(2 * children));
            start.elapsed()
        });
        Some(time)
    }
}

/// Actors that are their own arguments.
macro_rules! actor {
    ($actor:ty) => {
        impl Actor for $actor {
            type Args = Self;
            type Error = Infallible;

            async fn on_start(actor: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
                Ok(actor)
            }
        }
    };
}

/// Starts children, and those that crash again.
struct Restarting;

actor!(Restarting);

/// Crashes when it is told to.
struct Crashing;

impl Actor for Crashing {
    type Args = Latch<Kameo>;
    type Error = Infallible;

    async fn on_start(latch: Latch<Kameo>, _: ActorRef<Self>) -> Result<Self, Infallible> {
        latch.come(1);
        Ok(Crashing)
    }
}

struct Crash;

impl Message<Crash> for Crashing {
    type Reply = Result<(), &'static str>;

    async fn handle(&mut self, Crash: Crash, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        Err("crash")
    }
}

struct Doubler;

actor!(Doubler);

impl Message<u64> for Doubler {
    type Reply = u64;

    async fn handle(&mut self, number: u64, _: &mut Context<Self, u64>) -> u64 {
        2 * number
    }
}

async fn ask_often(doubler: &ActorRef<Doubler>, questions: u64) -> u64 {
    let mut sum = 0;
    for number in 0..questions {
        sum += doubler.ask(number).await.expect("it answers");
    }
    sum
}

struct Asker(ActorRef<Doubler>);

actor!(Asker);

struct Begin(u64, oneshot::Sender<u64>);

impl Message<Begin> for Asker {
    type Reply = ();

    async fn handle(&mut self, Begin(questions, sink): Begin, _: &mut Context<Self, ()>) {
        Kameo::finish(sink, ask_often(&self.0, questions).await);
    }
}

struct Account(i64);

actor!(Account);

struct Transfer(i64, ActorRef<Account>, Latch<Kameo>);

impl Message<Transfer> for Account {
    type Reply = ();

    async fn handle(&mut self, Transfer(cents, to, done): Transfer, _: &mut Context<Self, ()>) {
        self.0 -= cents;
        to.ask(Deposit(cents)).await.expect("it answers");
        done.come(1);
    }
}

struct Deposit(i64);

impl Message<Deposit> for Account {
    type Reply = ();

    async fn handle(&mut self, Deposit(cents): Deposit, _: &mut Context<Self, ()>) {
        self.0 += cents;
    }
}

struct Balance;

impl Message<Balance> for Account {
    type Reply = i64;

    async fn handle(&mut self, Balance: Balance, _: &mut Context<Self, i64>) -> i64 {
        self.0
    }
}
