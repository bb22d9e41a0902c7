//! A room: tells each of its members what the others say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use greenlet_actor::{Actor, ActorId, ActorRef, Context, Exit, Reply, SendError};
use greenlet_core::yield_now;
use tracing::{info, warn};

use crate::event::{Event, What};
use crate::limits;
use crate::protocol::{Complaint, Name, list};
use crate::user::{self, Shown, UserRef};

pub type RoomRef = ActorRef<Message>;

pub enum Message {
    Join { member: Newcomer, reply: Reply<Result<RoomRef, Complaint>> },
    Say { user: ActorId, text: String, key: String, reply: Reply<Result<(), Complaint>> },
    Rename { user: ActorId, name: Name },
    Who(Reply<Vec<Name>>),
    Leave { user: ActorId, reply: Reply<()> },
}

/// Who joins.
pub struct Newcomer {
    pub user: UserRef,
    pub name: Name,
    pub echo: Echo,
}

/// Whether one hears oneself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Echo {
    /// A terminal shows what is typed already.
    Others,
    /// A page shows all in the order that everybody sees.
    Everybody,
}

/// The actor. It ends with its last member, and waits for none but for a moment ([`limits::BEHIND`]).
///
/// It is linked with its members, and traps exits: a connection that ends, however it ends, is a message here.
pub struct Room {
    name: Name,
    lobby: ActorId,
    members: BTreeMap<ActorId, Newcomer>,
    backlog: VecDeque<Arc<Event>>,
    /// The number of the last event.
    last: u64,
}

impl Newcomer {
    /// Puts it into the member's queue. If that is full and stays so, disconnects the member, and returns false.
    fn show(&self, shown: Shown) -> bool {
        match self.user.send_timeout(user::Message::Show(shown), limits::BEHIND) {
            Err(SendError::Full(_)) => {
                // It is suspended in a write, and is unwound from there. This is `kill` without its wait.
                self.user.send_exit(Exit::Killed);
                false
            }
            // One that has ended is removed when its exit arrives.
            Ok(()) | Err(SendError::Ended(_)) => true,
        }
    }
}

impl Room {
    pub fn new(name: Name, lobby: ActorId) -> Room {
        Room { name, lobby, members: BTreeMap::new(), backlog: VecDeque::new(), last: 0 }
    }

    fn join(&mut self, member: Newcomer, ctx: &Context<Self>) {
        self.tell(What::Joined(member.name.clone()), None);
        ctx.link(&member.user);
        info!(room = %self.name, user = %member.name, "joined");
        let id = member.user.id();
        self.members.insert(id, member);
        let hello = format!("= you are in {} with: {}", self.name, list(&self.names()));
        let before = self.backlog.iter().cloned().map(Shown::Before);
        for shown in [Shown::note(hello)].into_iter().chain(before) {
            if !self.members[&id].show(shown) {
                break; // the others hear of it when its exit arrives
            }
        }
    }

    fn say(&mut self, user: ActorId, text: String, key: String) -> Result<(), Complaint> {
        let member = self.members.get(&user).ok_or(Complaint::NoRoom)?;
        let (name, but) = (member.name.clone(), (member.echo == Echo::Others).then_some(user));
        let said = self.tell(What::Said { name, text, key }, but);
        self.backlog.push_back(said);
        if self.backlog.len() > limits::BACKLOG {
            self.backlog.pop_front();
        }
        Ok(())
    }

    fn leave(&mut self, user: ActorId, ctx: &Context<Self>) {
        if let Some(member) = self.members.remove(&user) {
            ctx.unlink(&member.user);
            info!(room = %self.name, user = %member.name, "left");
            self.tell(What::Left(member.name), None);
        }
    }

    /// Shows it to all members but one. Whom this finds too slow is news too.
    fn tell(&mut self, what: What, but: Option<ActorId>) -> Arc<Event> {
        let first = self.happened(what);
        let mut news = VecDeque::from([(but, first.clone())]);
        while let Some((but, event)) = news.pop_front() {
            let mut slow = Vec::new();
            self.members.retain(|&id, member| {
                let stays = Some(id) == but || member.show(Shown::Event(event.clone()));
                if !stays {
                    slow.push(member.name.clone());
                }
                stays
            });
            for name in slow {
                warn!(room = %self.name, user = %name, "reads too slowly");
                news.push_back((None, self.happened(What::TooSlow(name))));
            }
        }
        first
    }

    fn happened(&mut self, what: What) -> Arc<Event> {
        self.last += 1;
        Arc::new(Event::new(self.last, what))
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
            Message::Join { member, reply } => {
                self.join(member, ctx);
                reply.send(Ok(ctx.me().clone()));
            }
            Message::Say { user, text, key, reply } => reply.send(self.say(user, text, key)),
            Message::Rename { user, name } => {
                if let Some(member) = self.members.get_mut(&user) {
                    let before = std::mem::replace(&mut member.name, name.clone());
                    let but = (member.echo == Echo::Others).then_some(user);
                    self.tell(What::Renamed { before, name }, but);
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
