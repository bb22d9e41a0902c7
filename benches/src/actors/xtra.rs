//! xtra, a small actor library for several runtimes; here on tokio.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use xtra::{Actor, Address, Context, Handler, Mailbox, spawn_tokio};

use super::programs::{ACCOUNTS, BALANCE, Order, orders};
use super::tokio_runtime::{self, on_a_worker, ready_now};
use super::{Behaviour, Cores, Latch, Library, Myself, Place};

/// Actors of xtra.
#[derive(Debug)]
pub struct Xtra;

/// An actor with that behaviour.
pub struct Host<B: Behaviour<Xtra>> {
    behaviour: B,
    /// An actor ends with the last reference to it; these end when they want to.
    me: Address<Host<B>>,
}

impl<B: Behaviour<Xtra>> Actor for Host<B> {
    type Stop = ();

    async fn started(&mut self, _: &Mailbox<Self>) -> Result<(), ()> {
        self.behaviour.started();
        Ok(())
    }

    async fn stopped(self) {}
}

/// A message of a behaviour, which no other is.
struct Carried<M>(M);

impl<B: Behaviour<Xtra>> Handler<Carried<B::Message>> for Host<B> {
    type Return = ();

    async fn handle(&mut self, Carried(message): Carried<B::Message>, ctx: &mut Context<Self>) {
        let mut me = Me { me: &self.me, stops: false };
        self.behaviour.receive(message, &mut me);
        if me.stops {
            ctx.stop_self();
        }
    }
}

struct Me<'a, B: Behaviour<Xtra>> {
    me: &'a Address<Host<B>>,
    stops: bool,
}

impl<B: Behaviour<Xtra>> Myself<Xtra, B> for Me<'_, B> {
    fn me(&self) -> Address<Host<B>> {
        self.me.clone()
    }

    fn stop(&mut self) {
        self.stops = true;
    }
}

/// Puts a message into an unbounded mailbox, for which nobody has to wait.
fn tell<A: Handler<M>, M: Send + 'static>(to: &Address<A>, message: M) {
    // To one that has ended it is lost.
    let _ = ready_now(to.send(message).detach());
}

impl Library for Xtra {
    const NAME: &'static str = "xtra";

    type Ref<B: Behaviour<Self>> = Address<Host<B>>;
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

    fn spawn<B: Behaviour<Self>>(behaviour: B, _: Place) -> Address<Host<B>> {
        let (address, mailbox) = Mailbox::unbounded();
        spawn_tokio(Host { behaviour, me: address.clone() }, (address, mailbox))
    }

    fn send<B: Behaviour<Self>>(to: &Address<Host<B>>, message: B::Message) {
        tell(to, Carried(message));
    }

    fn ask_from_outside(cores: Cores, questions: u64) -> Duration {
        on_a_worker(cores, async move {
            let doubler = spawn_tokio(Doubler, Mailbox::unbounded());
            let start = Instant::now();
            let sum = ask_often(&doubler, questions).await;
            let time = start.elapsed();
            assert_eq!(sum, questions * (questions - 1), "every answer is right");
            time
        })
    }

    fn ask_from_an_actor(cores: Cores, questions: u64) -> Duration {
        let (sum, time) = tokio_runtime::run(cores, move |sink| {
            let doubler = spawn_tokio(Doubler, Mailbox::unbounded());
            tell(&spawn_tokio(Asker(doubler), Mailbox::unbounded()), Begin(questions, sink));
        });
        assert_eq!(sum, questions * (questions - 1), "every answer is right");
        time
    }

    fn bank(cores: Cores, transfers: u64) -> Duration {
        on_a_worker(cores, async move {
            let account = |_| spawn_tokio(Account(BALANCE), Mailbox::unbounded());
            let accounts: Vec<_> = (0..ACCOUNTS).map(account).collect();
            let (sink, result) = oneshot::channel();
            let done = Latch::new(transfers, sink);
            let start = Instant::now();
            for Order { from, to, cents } in orders(transfers) {
                tell(&accounts[from], Transfer(cents, accounts[to].clone(), done.clone()));
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

/// Actors that do nothing when they end.
macro_rules! actor {
    ($actor:ty) => {
        impl Actor for $actor {
            type Stop = ();

            async fn stopped(self) {}
        }
    };
}

struct Doubler;

actor!(Doubler);

impl Handler<u64> for Doubler {
    type Return = u64;

    async fn handle(&mut self, number: u64, _: &mut Context<Self>) -> u64 {
        2 * number
    }
}

async fn ask_often(doubler: &Address<Doubler>, questions: u64) -> u64 {
    let mut sum = 0;
    for number in 0..questions {
        sum += doubler.send(number).await.expect("it answers");
    }
    sum
}

struct Asker(Address<Doubler>);

actor!(Asker);

struct Begin(u64, oneshot::Sender<u64>);

impl Handler<Begin> for Asker {
    type Return = ();

    async fn handle(&mut self, Begin(questions, sink): Begin, _: &mut Context<Self>) {
        Xtra::finish(sink, ask_often(&self.0, questions).await);
    }
}

struct Account(i64);

actor!(Account);

struct Transfer(i64, Address<Account>, Latch<Xtra>);

impl Handler<Transfer> for Account {
    type Return = ();

    async fn handle(&mut self, Transfer(cents, to, done): Transfer, _: &mut Context<Self>) {
        self.0 -= cents;
        to.send(Deposit(cents)).await.expect("it answers");
        done.come(1);
    }
}

struct Deposit(i64);

impl Handler<Deposit> for Account {
    type Return = ();

    async fn handle(&mut self, Deposit(cents): Deposit, _: &mut Context<Self>) {
        self.0 += cents;
    }
}

struct Balance;

impl Handler<Balance> for Account {
    type Return = i64;

    async fn handle(&mut self, Balance: Balance, _: &mut Context<Self>) -> i64 {
        self.0
    }
}
