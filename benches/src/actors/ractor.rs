//! ractor, an actor library on tokio after Erlang.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use ractor::registry::where_is;
use ractor::{Actor, ActorProcessingErr, ActorRef, ActorStatus, RpcReplyPort, SupervisionEvent};
use tokio::sync::oneshot;

use super::programs::{ACCOUNTS, BALANCE, Order, look_up, names, orders};
use super::tokio_runtime::{self, on_a_worker, ready_now};
use super::{Behaviour, Cores, Latch, Library, Myself, Place};

/// Actors of ractor.
#[derive(Debug)]
pub struct Ractor;

struct Host<B>(PhantomData<fn() -> B>);

struct Me<M> {
    me: ActorRef<M>,
    stops: bool,
}

impl<B: Behaviour<Ractor>> Myself<Ractor, B> for Me<B::Message> {
    fn me(&self) -> ActorRef<B::Message> {
        self.me.clone()
    }

    fn stop(&mut self) {
        self.stops = true;
    }
}

impl<B: Behaviour<Ractor>> Actor for Host<B> {
    type Msg = B::Message;
    type State = B;
    type Arguments = B;

    async fn pre_start(&self, _: ActorRef<B::Message>, mut behaviour: B) -> Result<B, ActorProcessingErr> {
        behaviour.started();
        Ok(behaviour)
    }

    async fn handle(
        &self,
        me: ActorRef<B::Message>,
        message: B::Message,
        behaviour: &mut B,
    ) -> Result<(), ActorProcessingErr> {
        let mut me = Me { me, stops: false };
        behaviour.receive(message, &mut me);
        if me.stops {
            me.me.stop(None);
        }
        Ok(())
    }
}

/// Spawns an actor that does not wait while it starts: nothing does so here.
fn spawn<A: Actor>(actor: A, arguments: A::Arguments) -> ActorRef<A::Msg> {
    ready_now(Actor::spawn(None, actor, arguments)).expect("it starts").0
}

impl Library for Ractor {
    const NAME: &'static str = "ractor";

    type Ref<B: Behaviour<Self>> = ActorRef<B::Message>;
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

    fn spawn<B: Behaviour<Self>>(behaviour: B, _: Place) -> ActorRef<B::Message> {
        spawn(Host(PhantomData), behaviour)
    }

    fn send<B: Behaviour<Self>>(to: &ActorRef<B::Message>, message: B::Message) {
        let _ = to.cast(message);
    }

    fn ask_from_outside(cores: Cores, questions: u64) -> Duration {
        on_a_worker(cores, async move {
            let doubler = spawn(Doubler, ());
            let start = Instant::now();
            let sum = ask_often(&doubler, questions).await;
            let time = start.elapsed();
            assert_eq!(sum, questions * (questions - 1), "every answer is right");
            time
        })
    }

    fn ask_from_an_actor(cores: Cores, questions: u64) -> Duration {
        let (sum, time) = tokio_runtime::run(cores, move |sink| {
            let asker = spawn(Asker, spawn(Doubler, ()));
            assert!(asker.cast((questions, sink)).is_ok());
        });
        assert_eq!(sum, questions * (questions - 1), "every answer is right");
        time
    }

    fn bank(cores: Cores, transfers: u64) -> Duration {
        on_a_worker(cores, async move {
            let accounts: Vec<_> = (0..ACCOUNTS).map(|_| spawn(Account, BALANCE)).collect();
            let (sink, result) = oneshot::channel();
            let done = Latch::new(transfers, sink);
            let start = Instant::now();
            for Order { from, to, cents } in orders(transfers) {
                let transfer = Message::Transfer(cents, accounts[to].clone(), done.clone());
                assert!(accounts[from].cast(transfer).is_ok());
            }
            assert_eq!(result.await, Ok(transfers), "every transfer is made");
            let time = start.elapsed();
            let mut total = 0;
            for account in &accounts {
                let answer = account.call(Message::Balance, None).await.expect("it is alive");
                total += answer.expect("it answers");
            }
            assert_eq!(total, ACCOUNTS as i64 * BALANCE, "no cent is lost");
            time
        })
    }

    fn whereis(cores: Cores, lookups: u64) -> Option<Duration> {
        let time = on_a_worker(cores, async move {
            let names = names();
            for name in &names {
                Actor::spawn(Some(name.clone()), Doubler, ()).await.expect("the name is free");
            }
            let find = |name: &str| where_is(name).map(ActorRef::<Question>::from).is_some();
            look_up(cores, lookups, &names, find)
        });
        Some(time)
    }

    fn restart(cores: Cores, children: u64) -> Option<Duration> {
        let (sink, all_are_back) = oneshot::channel();
        let time = on_a_worker(cores, async move {
            let latch = Latch::new(2 * children, sink);
            let (started, all_have_started) = oneshot::channel();
            let supervisor = Restarting { latch, children, started: std::sync::Mutex::new(Some(started)) };
            let _supervisor = spawn(supervisor, ());
            let crashing: Vec<ActorRef<()>> = all_have_started.await.expect("the children start");
            let start = Instant::now();
            for child in crashing {
                assert!(child.cast(()).is_ok());
            }
            assert_eq!(all_are_back.await, Ok(2 * children));
            start.elapsed()
        });
        Some(time)
    }
}

struct Doubler;

type Question = (u64, RpcReplyPort<u64>);

impl Actor for Doubler {
    type Msg = Question;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Question>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Question>,
        (number, reply): Question,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        reply.send(2 * number)?;
        Ok(())
    }
}

async fn ask_often(doubler: &ActorRef<Question>, questions: u64) -> u64 {
    let mut sum = 0;
    for number in 0..questions {
        let answer = doubler.call(|reply| (number, reply), None).await.expect("it is alive");
        sum += answer.expect("it answers");
    }
    sum
}

struct Asker;

type Begin = (u64, oneshot::Sender<u64>);

impl Actor for Asker {
    type Msg = Begin;
    type State = ActorRef<Question>;
    type Arguments = ActorRef<Question>;

    async fn pre_start(
        &self,
        _: ActorRef<Begin>,
        doubler: ActorRef<Question>,
    ) -> Result<ActorRef<Question>, ActorProcessingErr> {
        Ok(doubler)
    }

    async fn handle(
        &self,
        _: ActorRef<Begin>,
        (questions, sink): Begin,
        doubler: &mut ActorRef<Question>,
    ) -> Result<(), ActorProcessingErr> {
        Ractor::finish(sink, ask_often(doubler, questions).await);
        Ok(())
    }
}

struct Account;

enum Message {
    Transfer(i64, ActorRef<Message>, Latch<Ractor>),
    Deposit(i64, RpcReplyPort<()>),
    Balance(RpcReplyPort<i64>),
}

impl Actor for Account {
    type Msg = Message;
    type State = i64;
    type Arguments = i64;

    async fn pre_start(&self, _: ActorRef<Message>, balance: i64) -> Result<i64, ActorProcessingErr> {
        Ok(balance)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        balance: &mut i64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Transfer(cents, to, done) => {
                *balance -= cents;
                to.call(|reply| Message::Deposit(cents, reply), None).await?;
                done.come(1);
            }
            Message::Deposit(cents, reply) => {
                *balance += cents;
                reply.send(())?;
            }
            Message::Balance(reply) => reply.send(*balance)?,
        }
        Ok(())
    }
}

/// Starts children, and those that crash again.
struct Restarting {
    latch: Latch<Ractor>,
    children: u64,
    started: std::sync::Mutex<Option<oneshot::Sender<Vec<ActorRef<()>>>>>,
}

impl Restarting {
    async fn start(&self, me: &ActorRef<()>) -> Result<ActorRef<()>, ActorProcessingErr> {
        Ok(Actor::spawn_linked(None, Crashing, self.latch.clone(), me.get_cell()).await?.0)
    }
}

impl Actor for Restarting {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_start(&self, me: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        let mut children = Vec::new();
        for _ in 0..self.children {
            children.push(self.start(&me).await?);
        }
        let started = self.started.lock().map_err(|_| "nobody panics with it")?.take();
        assert!(started.is_some_and(|started| started.send(children).is_ok()), "somebody waits for them");
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if matches!(event, SupervisionEvent::ActorFailed(..)) && me.get_status() == ActorStatus::Running {
            self.start(&me).await?;
        }
        Ok(())
    }
}

/// Crashes when it is told to.
struct Crashing;

impl Actor for Crashing {
    type Msg = ();
    type State = ();
    type Arguments = Latch<Ractor>;

    async fn pre_start(&self, _: ActorRef<()>, latch: Latch<Ractor>) -> Result<(), ActorProcessingErr> {
        latch.come(1);
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err("crash".into())
    }
}
