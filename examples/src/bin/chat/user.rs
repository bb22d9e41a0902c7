//! A user, seen from the rooms: an actor that takes lines to show.

use std::io;
use std::sync::Arc;

use greenlet_actor::{Actor, ActorId, ActorRef, Context, Exit};
use tracing::info;

/// One line of the protocol. The same text goes to everybody in a room.
pub type Line = Arc<str>;

pub type UserRef = ActorRef<Message>;

pub enum Message {
    Show(Line),
    /// Everything before this was shown: the end.
    End,
}

/// How lines get to the client. `show` may block: only this user waits.
pub trait Transport: 'static {
    fn show(&mut self, line: &str) -> io::Result<()>;
}

/// The actor. Its mailbox is the queue of outgoing lines: spawn it with a capacity of [`limits::OUTGOING`]. While the
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

    fn show(&mut self, line: &str, ctx: &Context<Self>) -> Result<(), Exit> {
        self.transport.show(line).map_err(|error| {
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
            Message::Show(line) => self.show(&line, ctx),
            Message::End => Err(Exit::Normal),
        }
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if from == self.lobby {
            self.show("! the server has lost its list of users; please connect again", ctx)?;
            return Err(Exit::Normal);
        }
        if !exit.is_normal() {
            self.show("! the room has failed and is gone; /join it to open it again", ctx)?;
        }
        Ok(())
    }
}
