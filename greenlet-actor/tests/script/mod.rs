//! An actor that logs numbers, and does what it is told: so that a test says in one place what happens in the handler and what is in the mailbox.
#![allow(dead_code)] // each test file uses its part

use std::sync::Arc;

use greenlet_actor::{Actor, ActorBuilder, ActorId, ActorRef, Context, Down, Exit, Reply, matching};
use greenlet_core::Event;

use crate::probe::{LONG, Log, word};

pub type Ctx = Context<Script>;

pub type Work = Box<dyn FnOnce(&mut Script, &mut Ctx) -> Result<(), Exit> + Send + Sync>;

pub enum Message {
    /// Noted.
    Item(u32),
    Do(Work),
    /// Answered with the same number.
    Echo(u32, Reply<u32>),
}

use Message::{Do, Echo, Item};

pub struct Script {
    pub log: Log,
    pub init: Option<Work>,
}

impl Script {
    pub fn new(log: &Log) -> Script {
        Script { log: log.clone(), init: None }
    }

    pub fn init(
        mut self,
        work: impl FnOnce(&mut Script, &mut Ctx) -> Result<(), Exit> + Send + Sync + 'static,
    ) -> Script {
        self.init = Some(Box::new(work));
        self
    }
}

impl Actor for Script {
    type Message = Message;

    fn init(&mut self, ctx: &mut Ctx) -> Result<(), Exit> {
        self.init.take().map_or(Ok(()), |init| init(self, ctx))
    }

    fn receive(&mut self, message: Message, ctx: &mut Ctx) -> Result<(), Exit> {
        match message {
            Item(n) => self.log.note(n),
            Do(work) => work(self, ctx)?,
            Echo(n, reply) => reply.send(n),
        }
        Ok(())
    }

    fn handle_exit(&mut self, _: ActorId, exit: Exit, _: &mut Ctx) -> Result<(), Exit> {
        self.log.note(format_args!("exit {}", word(&exit)));
        Ok(())
    }

    fn handle_down(&mut self, down: Down, _: &mut Ctx) -> Result<(), Exit> {
        self.log.note(format_args!("down {}", word(&down.exit)));
        Ok(())
    }

    fn handle_timeout(&mut self, _: &mut Ctx) -> Result<(), Exit> {
        self.log.note("idle");
        Ok(())
    }

    fn hibernate(&mut self, _: &mut Ctx) {
        self.log.note("hibernates");
    }

    fn terminate(&mut self, exit: &Exit, _: &mut Ctx) {
        self.log.note(format_args!("ends {}", word(exit)));
    }
}

/// What a test says to it from outside.
pub trait Tell {
    fn item(&self, n: u32);
    fn work(&self, work: impl FnOnce(&mut Script, &mut Ctx) -> Result<(), Exit> + Send + Sync + 'static);
    /// Has it do that, and comes back when it has begun, and is suspended or done.
    fn begin(&self, work: impl FnOnce(&mut Script, &mut Ctx) -> Result<(), Exit> + Send + Sync + 'static);
    /// Comes back when everything sent before was handled.
    fn settle(&self);
}

impl Tell for ActorRef<Message> {
    #[track_caller]
    fn item(&self, n: u32) {
        assert!(self.send(Item(n)).is_ok(), "{self} has ended: {:?}", self.exit());
    }

    #[track_caller]
    fn work(&self, work: impl FnOnce(&mut Script, &mut Ctx) -> Result<(), Exit> + Send + Sync + 'static) {
        assert!(self.send(Do(Box::new(work))).is_ok(), "{self} has ended: {:?}", self.exit());
    }

    #[track_caller]
    fn begin(&self, work: impl FnOnce(&mut Script, &mut Ctx) -> Result<(), Exit> + Send + Sync + 'static) {
        let begun = Arc::new(Event::new());
        let begin = begun.clone();
        self.work(move |script, ctx| {
            // Whoever waits runs when this actor is suspended, and not before: they share a hub.
            begin.set();
            work(script, ctx)
        });
        assert!(begun.wait_timeout(LONG), "{self} does not come to its message");
    }

    #[track_caller]
    fn settle(&self) {
        assert_eq!(self.ask(|reply| Echo(7, reply), LONG).expect("it answers"), 7);
    }
}

pub fn spawn(log: &Log) -> ActorRef<Message> {
    Script::new(log).spawn()
}

pub fn spawn_bounded(log: &Log, builder: ActorBuilder) -> ActorRef<Message> {
    builder.spawn(Script::new(log))
}

/// Takes an item with this number.
pub fn item(wanted: u32) -> impl FnMut(Message) -> Result<u32, Message> {
    matching!(move Item(n) if n == wanted => n)
}

/// Takes the oldest item.
pub fn any_item() -> impl FnMut(Message) -> Result<u32, Message> {
    matching!(Item(n) => n)
}
