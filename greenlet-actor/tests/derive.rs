//! Actors from methods.

mod probe;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use greenlet_actor::{Actor, ActorRef, AskError, Context, Exit, Reply, SendError, System, actor};
use greenlet_core::{Event, spawn};
use probe::{LONG, Log, no_disk, on_hub};

struct Account {
    cents: i64,
    log: Log,
}

#[derive(Debug, PartialEq)]
struct NoMoney;

#[actor]
impl Account {
    const LIMIT: i64 = 1_000_000;

    fn new(log: &Log) -> Account {
        Account { cents: 0, log: log.clone() }
    }

    #[hook]
    fn init(&mut self, _: &mut Context<Self>) -> Result<(), Exit> {
        self.log.note("init");
        Ok(())
    }

    #[hook]
    fn terminate(&mut self, exit: &Exit, _: &mut Context<Self>) {
        self.log.note(format_args!("terminate {exit}"));
    }

    /// Puts money in.
    pub fn deposit(&mut self, cents: i64) {
        self.cents = Self::LIMIT.min(self.cents + cents);
    }

    pub fn balance(&self) -> i64 {
        self.cents
    }

    pub fn withdraw(&mut self, cents: i64) -> Result<i64, NoMoney> {
        if self.cents < cents {
            return Err(NoMoney);
        }
        self.cents -= cents;
        Ok(self.cents)
    }

    pub(crate) fn audit(&mut self, expected: i64, ctx: &mut Context<Self>) -> Result<u64, Exit> {
        if self.cents != expected {
            return Err(no_disk());
        }
        assert_eq!(ctx.me().mailbox_len(), 0);
        Ok(ctx.id().to_string().len() as u64)
    }

    fn wait(&mut self, until: Arc<Event>) {
        until.wait();
    }

    fn close(&mut self) -> Result<(), Exit> {
        Err(Exit::Normal)
    }

    #[cfg(any())]
    fn not_compiled(&mut self, what: NoSuchType) {}
}

fn account(log: &Log) -> AccountRef {
    AccountRef::from(Account::new(log).spawn_local())
}

#[test]
fn methods_are_called_and_cast() {
    on_hub(|| {
        let account = account(&Log::new());
        account.deposit(500).unwrap();
        account.cast_deposit(20).unwrap();
        assert_eq!(account.balance().unwrap(), 520);
        assert_eq!(account.withdraw(1_000).unwrap(), Err(NoMoney));
        assert_eq!(account.withdraw(20).unwrap(), Ok(500));
        assert!(account.send(AccountMessage::withdraw(50)).is_ok());
        assert_eq!(account.ask(AccountMessage::ask_withdraw(50), LONG).unwrap(), Ok(400));
        assert_eq!(account.clone().balance().unwrap(), 400);
        assert!(account.audit(400).unwrap() > 2);
    });
}

#[test]
fn an_exit_that_a_method_returns_ends_the_actor() {
    on_hub(|| {
        let log = Log::new();
        let failing = account(&log);
        assert!(matches!(failing.audit(1), Err(AskError::Ended(_) | AskError::NoReply)));
        assert!(failing.join().failure().is_some());
        let closed = account(&log);
        closed.cast_close().unwrap();
        assert!(closed.join().is_normal());
        assert!(matches!(closed.balance(), Err(AskError::Ended(Exit::Normal))));
        assert!(matches!(
            closed.cast_deposit(1),
            Err(SendError::Ended(AccountMessage::Deposit { cents: 1, .. }))
        ));
        let log = log.taken();
        assert_eq!((log[0].as_str(), log.last().unwrap().as_str()), ("init", "terminate normal"));
        assert_eq!(log.len(), 4);
    });
}

#[test]
fn a_handle_waits_as_long_as_it_says() {
    on_hub(|| {
        let (account, until) = (account(&Log::new()), Arc::new(Event::new()));
        account.cast_wait(until.clone()).unwrap();
        let short = Duration::from_millis(5);
        assert!(matches!(account.within(short).balance(), Err(AskError::TimedOut(time)) if time == short));
        until.set();
        assert_eq!(account.within(LONG).balance().unwrap(), 0);
    });
}

#[test]
fn a_handle_is_a_reference_and_messages_are_labelled_by_method() {
    on_hub(|| {
        let account = account(&Log::new());
        let plain: ActorRef<AccountMessage> = account.clone().into();
        assert_eq!(plain, *account);
        assert_eq!(format!("{account:?}"), format!("AccountRef({plain})"));
        assert_eq!(Account::label(&AccountMessage::Deposit { cents: 1, __reply: None }), "deposit");
        account.kill();
        assert!(plain.ready());
    });
}

struct Jobs<T, const N: usize> {
    jobs: VecDeque<T>,
    askers: VecDeque<Reply<T>>,
}

#[actor(message = Job, handle = JobQueue)]
impl<T, const N: usize> Jobs<T, N>
where
    T: Send + 'static,
{
    fn r#try(&mut self, mut job: Option<T>) -> bool {
        let room = self.jobs.len() < N;
        if room {
            self.jobs.extend(job.take());
            self.serve();
        }
        room
    }

    fn take_one(&mut self, reply: Reply<T>, _ctx: &mut Context<Self>) -> Result<(), Exit> {
        self.askers.push_back(reply);
        self.serve();
        Ok(())
    }
}

impl<T, const N: usize> Jobs<T, N> {
    fn serve(&mut self) {
        while !self.jobs.is_empty()
            && let Some(asker) = self.askers.pop_front()
        {
            asker.send(self.jobs.pop_front().expect("there is one"));
        }
    }
}

#[test]
fn generic_actors_answer_later() {
    System::builder()
        .hubs(2)
        .run(|| {
            let jobs: Jobs<String, 2> = Jobs { jobs: VecDeque::new(), askers: VecDeque::new() };
            let jobs = JobQueue::from(jobs.spawn());
            let taker = spawn({
                let jobs = jobs.clone();
                move || jobs.take_one()
            });
            assert!(jobs.r#try(Some("sweep".to_owned())).unwrap());
            assert_eq!(taker.into_value().unwrap().unwrap(), "sweep");
            assert_eq!([1, 2, 3].map(|n| jobs.r#try(Some(n.to_string())).unwrap()), [true, true, false]);
            assert_eq!(jobs.take_one().unwrap(), "1");
        })
        .unwrap();
}

/// Names of this crate that the attribute must not stumble over.
mod hygiene {
    #![allow(dead_code, non_camel_case_types)]

    use greenlet_actor as elsewhere;

    struct Option;
    struct Result;
    struct Some;
    struct Duration;
    trait Clone {}
    trait From {}

    pub struct Plain(pub u32);

    #[elsewhere::actor(crate = elsewhere)]
    impl Plain {
        pub fn get(&self) -> u32 {
            self.0
        }
        pub fn message(&mut self, actor: u32, timeout: u32, message: u32, ctx: u32) {
            self.0 += actor + timeout + message + ctx;
        }
    }

    pub struct Silent;

    #[elsewhere::actor(pub)]
    impl Silent {}

    pub struct Empty<T>(pub T);

    #[elsewhere::actor(pub)]
    impl<T: Send + 'static> Empty<T> {}
}

#[test]
fn what_surrounds_the_attribute_does_not_matter() {
    on_hub(|| {
        let plain = hygiene::PlainRef::from(hygiene::Plain(1).spawn());
        plain.message(1, 2, 3, 4).unwrap();
        assert_eq!(plain.get().unwrap(), 11);
        hygiene::SilentRef::from(hygiene::Silent.spawn()).kill();
        hygiene::EmptyRef::from(hygiene::Empty(5).spawn()).kill();
    });
}
