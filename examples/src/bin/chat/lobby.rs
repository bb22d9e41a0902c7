//! The lobby: who is here, and which rooms there are.

use std::collections::HashMap;

use greenlet_actor::{Actor, ActorBuilder, ActorId, ActorRef, Context, Exit, Reply};
use tracing::{info, warn};

use crate::limits;
use crate::protocol::{Complaint, Name};
use crate::room::{self, Echo, Newcomer, Room, RoomRef};
use crate::user::UserRef;

pub type LobbyRef = ActorRef<Message>;

pub enum Message {
    Register { user: UserRef, reply: Reply<Result<Name, Complaint>> },
    Rename { user: ActorId, name: Name, reply: Reply<Result<(), Complaint>> },
    Enter { user: ActorId, room: Name, echo: Echo, reply: Reply<Result<RoomRef, Complaint>> },
    Rooms(Reply<Vec<Name>>),
}

/// The actor. It is linked with all users and rooms and traps exits, so it forgets those that end, for whatever reason;
/// a name is free again as soon as its connection is gone.
///
/// If the lobby itself fails, its links end the rooms and the connections with it, and its supervisor starts an empty
/// one: nobody goes on with a name that nobody keeps.
#[derive(Default)]
pub struct Lobby {
    users: HashMap<ActorId, (Name, UserRef)>,
    /// Among them may be rooms that have ended, until their exit is heard of.
    rooms: HashMap<ActorId, (Name, RoomRef)>,
    guests: u64,
}

impl Lobby {
    fn register(&mut self, user: UserRef, ctx: &Context<Self>) -> Result<Name, Complaint> {
        if self.users.len() >= limits::USERS {
            return Err(Complaint::TooManyUsers);
        }
        let name = loop {
            self.guests += 1;
            let name = Name::guest(self.guests);
            if !self.is_taken(&name) {
                break name;
            }
        };
        info!(connection = %user, %name, "here");
        ctx.link(&user);
        self.users.insert(user.id(), (name.clone(), user));
        Ok(name)
    }

    fn is_taken(&self, name: &Name) -> bool {
        self.users.values().any(|(taken, _)| taken == name)
    }

    fn rename(&mut self, user: ActorId, name: Name) -> Result<(), Complaint> {
        let (old, _) = self.users.get(&user).ok_or(Complaint::Unavailable)?;
        // To change from alice to Alice is fine.
        if *old != name && self.is_taken(&name) {
            return Err(Complaint::NameTaken(name));
        }
        self.users.entry(user).and_modify(|(old, _)| *old = name);
        Ok(())
    }

    /// Finds a room, or opens it.
    fn room(&mut self, name: &Name, ctx: &Context<Self>) -> Result<RoomRef, Complaint> {
        if let Some((_, room)) = self.rooms.values().find(|(it, room)| it == name && room.exit().is_none()) {
            return Ok(room.clone());
        }
        if self.rooms.len() >= limits::ROOMS {
            return Err(Complaint::TooManyRooms);
        }
        let room = ActorBuilder::new().name(format!("room {name}")).spawn(Room::new(name.clone(), ctx.id()));
        info!(room = %name, "opened");
        ctx.link(&room);
        self.rooms.insert(room.id(), (name.clone(), room.clone()));
        Ok(room)
    }
}

impl Actor for Lobby {
    type Message = Message;

    fn init(&mut self, ctx: &mut Context<Self>) -> Result<(), Exit> {
        ctx.trap_exits();
        Ok(())
    }

    fn receive(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), Exit> {
        match message {
            Message::Register { user, reply } => reply.send(self.register(user, ctx)),
            Message::Rename { user, name, reply } => reply.send(self.rename(user, name)),
            Message::Enter { user, room, echo, reply } => {
                match (self.room(&room, ctx), self.users.get(&user)) {
                    (Ok(room), Some((name, user))) => {
                        // The room answers. If it is just ending, it drops the reply, and the user asks again.
                        let member = Newcomer { user: user.clone(), name: name.clone(), echo };
                        let _ = room.send(room::Message::Join { member, reply });
                    }
                    (Err(complaint), _) => reply.send(Err(complaint)),
                    (_, None) => reply.send(Err(Complaint::Unavailable)),
                }
            }
            Message::Rooms(reply) => reply.send(self.rooms.values().map(|(name, _)| name.clone()).collect()),
        }
        Ok(())
    }

    fn handle_exit(&mut self, from: ActorId, exit: Exit, _: &mut Context<Self>) -> Result<(), Exit> {
        if let Some((name, _)) = self.users.remove(&from) {
            info!(%name, "gone: {exit}");
        } else if let Some((name, _)) = self.rooms.remove(&from) {
            match exit {
                Exit::Normal => info!(room = %name, "closed"),
                exit => warn!(room = %name, "failed: {exit}"),
            }
        } else {
            // The supervisor wants the end.
            return Err(exit);
        }
        Ok(())
    }
}
