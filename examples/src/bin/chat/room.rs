//! A room: tells each of its members what the others say.

use std::collections::{BTreeMap, VecDeque};

use greenlet_actor::{Actor, ActorId, ActorRef, Context, Exit, Reply, TrySendError};
use greenlet_core::yield_now;
use tracing::{info, warn};

use crate::limits;
use crate::protocol::{Complaint, Name, list};
use crate::user::{self, Line, UserRef};

pub type RoomRef = ActorRef<Message>;

pub enum Message {
    Join { user: UserRef, name: Name, reply: Reply<Result<RoomRef, Complaint>> },
    Say { user: ActorId, text: String, reply: Reply<Result<(), Complaint>> },
    Rename { user: ActorId, name: Name },
    Who(Reply<Vec<Name>>),
    Leave { user: ActorId, reply: Reply<()> },
}

/// The actor. It ends with its last member, and never waits for a member.
///
/// It is linked with its members, and traps exits: a connection that ends, however it ends, is a message here.
pub struct Room {
    name: Name,
    lobby: ActorId,
    members: BTreeMap<ActorId, Member>,
    backlog: VecDeque<Line>,
}

struct Member {
    user: UserRef,
    name: Name,
}

impl Member {
    /// Puts a line into the member's queue, without waiting. If it is full, disconnects the member, and returns false.
    fn show(&self, line: Line) -> bool {
        match self.user.try_send(user::Message::Show(line)) {
            Err(TrySendError::Full(_)) => {
                // It is suspended in a write, and is unwound from there. This is `kill` without its wait.
                self.user.send_exit(Exit::Killed);
                false
            }
            // One that has ended is removed when its exit arrives.
            Ok(()) | Err(TrySendError::Ended(_)) => true,
        }
    }
}

impl Room {
    pub fn new(name: Name, lobby: ActorId) -> Room {
        Room { name, lobby, members: BTreeMap::new(), backlog: VecDeque::new() }
    }

    fn join(&mut self, user: UserRef, name: Name, ctx: &Context<Self>) {
        self.tell(None, format!("* {name} joined"));
        ctx.link(&user);
        info!(room = %self.name, user = %name, "joined");
        let id = user.id();
        self.members.insert(id, Member { user, name });
        let hello = format!("= you are in {} with: {}", self.name, list(&self.names()));
        let before = self.backlog.iter().map(|line| format!("~ {line}"));
        for line in [hello].into_iter().chain(before) {
            if !self.members[&id].show(line.into()) {
                break; // the others hear of it when its exit arrives
            }
        }
    }

    fn say(&mut self, user: ActorId, text: &str) -> Result<(), Complaint> {
        let member = self.members.get(&user).ok_or(Complaint::NoRoom)?;
        let line = Line::from(format!("<{}> {text}", member.name));
        self.backlog.push_back(line.clone());
        if self.backlog.len() > limits::BACKLOG {
            self.backlog.pop_front();
        }
        self.tell(Some(user), line);
        Ok(())
    }

    fn leave(&mut self, user: ActorId, ctx: &Context<Self>) {
        if let Some(member) = self.members.remove(&user) {
            ctx.unlink(&member.user);
            info!(room = %self.name, user = %member.name, "left");
            self.tell(None, format!("* {} left", member.name));
        }
    }

    /// Shows a line to all members but one. Whom this finds too slow is news too.
    fn tell(&mut self, but: Option<ActorId>, line: impl Into<Line>) {
        let mut news = VecDeque::from([(but, line.into())]);
        while let Some((but, line)) = news.pop_front() {
            self.members.retain(|&id, member| {
                let stays = Some(id) == but || member.show(line.clone());
                if !stays {
                    warn!(room = %self.name, user = %member.name, "reads too slowly");
                    news.push_back((None, format!("* {} left, being too slow", member.name).into()));
                }
                stays
            });
        }
    }

    fn names(&self) -> Vec<Name> {
        self.members.values().map(|member| member.name.clone()).collect()
    }

    fn end_if_empty(&self) -> Result<(), Exit> {
        if self.members.is_empty() { Err(Exit::Normal) } else { Ok(()) }
    }
}

impl Actor for Room {
    type Message = Message;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        Ok(())
    }

    fn receive(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Join { user, name, reply } => {
                self.join(user, name, ctx);
                reply.send(Ok(ctx.me().clone()));
            }
            Message::Say { user, text, reply } => reply.send(self.say(user, &text)),
            Message::Rename { user, name } => {
                if let Some(member) = self.members.get_mut(&user) {
                    let before = std::mem::replace(&mut member.name, name.clone());
                    self.tell(Some(user), format!("* {before} is {name} now"));
                }
            }
            Message::Who(reply) => reply.send(self.names()),
            Message::Leave { user, reply } => {
                self.leave(user, ctx);
                reply.send(());
            }
        }
        // The members write before the next line comes: otherwise a hundred who talk at once would fill queues that
        // nobody is slow to empty.
        yield_now();
        self.end_if_empty()
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, ctx: &mut Context<Self>) -> Result<(), Exit> {
        if from == self.lobby {
            // Its failure was reported already.
            return Err(if exit.is_ordinary() { exit } else { Exit::Shutdown });
        }
        // It is a member, or one that was before this was heard of.
        self.leave(from, ctx);
        self.end_if_empty()
    }
}
