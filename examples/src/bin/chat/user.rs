//! A user, seen from the rooms: an actor that takes what there is to show.

use std::fmt;
use std::io;
use std::sync::Arc;

use greenlet_actor::{Actor, ActorId, ActorRef, Context, Exit};
use tracing::info;

use crate::event::Event;

/// What a user is shown. The same event goes to everybody in a room.
#[derive(Clone, Debug)]
pub enum Shown {
    Event(Arc<Event>),
    /// It happened before the user joined.
    Before(Arc<Event>),
    /// To this user alone: an answer or a complaint.
    Note(Arc<str>),
}

impl Shown {
    pub fn note(text: impl Into<Arc<str>>) -> Shown {
        Shown::Note(text.into())
    }
}

/// As the line protocol has it.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Event(event) => event.fmt(f),
            Shown::Before(event) => write!(f, "~ {event}"),
            Shown::Note(text) => f.write_str(text),
        }
    }
}

pub type UserRef = ActorRef<Message>;

pub enum Message {
    Show(Shown),
    /// Everything before this was shown: the end.
    End,
}

/// How it gets to the client. `show` may block: only this user waits.
pub trait Transport: 'static {
    fn show(&mut self, shown: &Shown) -> io::Result<()>;
}

/// The actor. Its mailbox is the queue of what is to be shown: spawn it with a capacity of [`limits::OUTGOING`]. While the
/// client does not read, the actor is suspended in `show`, and the mailbox fills.
///
/// [`limits::OUTGOING`]: crate::limits::OUTGOING
pub struct User<T> {
    transport: T,
    lobby: ActorId,
}

impl<T: Transport> User<T> {
    pub fn new(transport: T, lobby: ActorId) -> User<T> {
        User { transport, lobby }
    }

    fn show(&mut self, shown: &Shown, ctx: &Context<Self>) -> Result<(), Exit> {
        self.transport.show(shown).map_err(|error| {
            // The other end is gone. That is no failure of ours, so it is not to be reported as one.
            info!(connection = %ctx.me(), %error, "lost");
            Exit::Normal
        })
    }
}

impl<T: Transport> Actor for User<T> {
    type Message = Message;

    /// The lobby and the room of a user are linked with it. Their failures shall not be the user's.
    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        Ok(())
    }

    fn receive(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Show(shown) => self.show(&shown, ctx),
            Message::End => Err(Exit::Normal),
        }
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if from == self.lobby {
            let told = "! the server has lost its list of users; please connect again";
            self.show(&Shown::note(told), ctx)?;
            return Err(Exit::Normal);
        }
        if !exit.is_normal() {
            let told = "! the room has failed and is gone; /join it to open it again";
            self.show(&Shown::note(told), ctx)?;
        }
        Ok(())
    }
}
