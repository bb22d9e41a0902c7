//! Ours.

use std::time::{Duration, Instant};

use greenlet_actor::{
    Actor, ActorBuilder, ActorRef, Context, DynamicSupervisor, Exit, Reply, System, registry,
};
use greenlet_core::oneshot;

use super::programs::{ACCOUNTS, BALANCE, Order, look_up, names, orders};
use super::{Behaviour, Cores, Latch, Library, Myself, Place};

/// Actors on greenlets.
#[derive(Debug)]
pub struct Greenlets;

/// No answer takes longer.
const LONG: Duration = Duration::from_secs(600);

struct Host<B>(B);

struct Me<'a, B: Behaviour<Greenlets>> {
    ctx: &'a Context<Host<B>>,
    stops: bool,
}

impl<B: Behaviour<Greenlets>> Myself<Greenlets, B> for Me<'_, B> {
    fn me(&self) -> ActorRef<B::Message> {
        self.ctx.me().clone()
    }

    fn stop(&mut self) {
        self.stops = true;
    }
}

impl<B: Behaviour<Greenlets>> Actor for Host<B> {
    type Message = B::Message;

    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        self.0.started();
        Ok(())
    }

    fn receive(&mut self, message: B::Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
        let mut me = Me { ctx, stops: false };
        self.0.receive(message, &mut me);
        if me.stops { Err(Exit::Normal) } else { Ok(()) }
    }
}

/// Runs a program where actors can be spawned.
fn system<T>(cores: Cores, program: impl FnOnce() -> T) -> T {
    let hubs = match cores {
        Cores::One => 1,
        Cores::Two => 2,
    };
    System::builder().hubs(hubs).run(program).expect("the system starts")
}

impl Library for Greenlets {
    const NAME: &'static str = crate::harness::OURS;

    type Ref<B: Behaviour<Self>> = ActorRef<B::Message>;
    type Sink<T: Send + 'static> = oneshot::Sender<T>;

    fn run<T: Send + 'static>(
        cores: Cores,
        program: impl FnOnce(oneshot::Sender<T>) + Send + 'static,
    ) -> (T, Duration) {
        system(cores, || {
            let (sink, result) = oneshot::channel();
            let start = Instant::now();
            program(sink);
            let result = result.recv().expect("the program has a result");
            (result, start.elapsed())
        })
    }

    fn finish<T: Send + 'static>(sink: oneshot::Sender<T>, result: T) {
        assert!(sink.send(result).is_ok(), "the result is waited for");
    }

    fn spawn<B: Behaviour<Self>>(behaviour: B, _: Place) -> ActorRef<B::Message> {
        Host(behaviour).spawn()
    }

    fn send<B: Behaviour<Self>>(to: &ActorRef<B::Message>, message: B::Message) {
        // Who has ended hears nothing any more, in all libraries.
        let _ = to.send(message);
    }

    fn ask_from_outside(cores: Cores, questions: u64) -> Duration {
        system(cores, || {
            let doubler = Doubler.spawn();
            let start = Instant::now();
            let sum = ask_often(&doubler, questions);
            let time = start.elapsed();
            assert_eq!(sum, questions * (questions - 1), "every answer is right");
            time
        })
    }

    fn ask_from_an_actor(cores: Cores, questions: u64) -> Duration {
        let (sum, time) = Greenlets::run(cores, move |sink| {
            let asker = Asker(Doubler.spawn()).spawn();
            assert!(asker.send((questions, sink)).is_ok());
        });
        assert_eq!(sum, questions * (questions - 1), "every answer is right");
        time
    }

    fn bank(cores: Cores, transfers: u64) -> Duration {
        system(cores, || {
            let accounts: Vec<_> = (0..ACCOUNTS).map(|_| Account(BALANCE).spawn()).collect();
            let (sink, result) = oneshot::channel();
            let done = Latch::new(transfers, sink);
            let start = Instant::now();
            for Order { from, to, cents } in orders(transfers) {
                let transfer = Message::Transfer(cents, accounts[to].clone(), done.clone());
                assert!(accounts[from].send(transfer).is_ok());
            }
            assert_eq!(result.recv(), Ok(transfers), "every transfer is made");
            let time = start.elapsed();
            let balance = |account: &ActorRef<_>| account.ask(Message::Balance, LONG).expect("it answers");
            let total: i64 = accounts.iter().map(balance).sum();
            assert_eq!(total, ACCOUNTS as i64 * BALANCE, "no cent is lost");
            time
        })
    }

    fn whereis(cores: Cores, lookups: u64) -> Option<Duration> {
        let time = system(cores, || {
            let names = names();
            for name in &names {
                ActorBuilder::new().register(name).start(Doubler).expect("the name is free");
            }
            look_up(cores, lookups, &names, |name| registry::whereis::<Question>(name).is_some())
        });
        Some(time)
    }

    fn restart(cores: Cores, children: u64) -> Option<Duration> {
        let time = system(cores, || {
            let (sink, all_are_back) = oneshot::channel();
            let latch = Latch::new(2 * children, sink);
            let supervisor = DynamicSupervisor::new().intensity(usize::MAX, LONG).start().expect("it starts");
            let start = |_| {
                let latch = latch.clone();
                supervisor.start_child(move || Crashing(latch.clone())).expect("the child starts")
            };
            let crashing: Vec<_> = (0..children).map(start).collect();
            let start = Instant::now();
            for child in crashing {
                assert!(child.send(()).is_ok());
            }
            assert_eq!(all_are_back.recv(), Ok(2 * children));
            start.elapsed()
        });
        Some(time)
    }
}

struct Doubler;

impl Actor for Doubler {
    type Message = (u64, Reply<u64>);

    fn receive(&mut self, (number, reply): Self::Message, _: &mut Context<Self>) -> Result<(), Exit> {
        reply.send(2 * number);
        Ok(())
    }
}

type Question = (u64, Reply<u64>);

fn ask_often(doubler: &ActorRef<Question>, questions: u64) -> u64 {
    let ask = |number| doubler.ask(|reply| (number, reply), LONG).expect("it answers");
    (0..questions).map(ask).sum()
}

struct Asker(ActorRef<Question>);

impl Actor for Asker {
    type Message = (u64, oneshot::Sender<u64>);

    fn receive(&mut self, (questions, sink): Self::Message, _: &mut Context<Self>) -> Result<(), Exit> {
        Greenlets::finish(sink, ask_often(&self.0, questions));
        Ok(())
    }
}

struct Account(i64);

enum Message {
    Transfer(i64, ActorRef<Message>, Latch<Greenlets>),
    Deposit(i64, Reply<()>),
    Balance(Reply<i64>),
}

impl Actor for Account {
    type Message = Message;

    fn receive(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Transfer(cents, to, done) => {
                self.0 -= cents;
                to.ask(|reply| Message::Deposit(cents, reply), LONG)?;
                done.come(1);
            }
            Message::Deposit(cents, reply) => {
                self.0 += cents;
                reply.send(());
            }
            Message::Balance(reply) => reply.send(self.0),
        }
        Ok(())
    }
}

/// Crashes when it is told to.
struct Crashing(Latch<Greenlets>);

impl Actor for Crashing {
    type Message = ();

    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        self.0.come(1);
        Ok(())
    }

    fn receive(&mut self, (): (), _: &mut Context<Self>) -> Result<(), Exit> {
        Err(std::io::Error::other("crash").into())
    }
}
