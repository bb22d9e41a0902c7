//! What a user types, line by line, and what comes of it. Knows nothing of the transport.

use std::ops::ControlFlow;
use std::time::Duration;

use greenlet_actor::AskError;

use crate::lobby::{self, LobbyRef};
use crate::protocol::{Command, Complaint, HELP, Name, list};
use crate::room::{self, Echo, RoomRef};
use crate::user::{self, Shown, UserRef};

/// How long to wait for lobby and rooms. They wait for nobody, so an answer comes; and if one of them ends, that is known
/// at once.
const ANSWER: Duration = Duration::MAX;

/// How often a room that ends while one joins it is opened anew.
const ATTEMPTS: usize = 3;

pub struct Session {
    user: UserRef,
    lobby: LobbyRef,
    echo: Echo,
    room: Option<(Name, RoomRef)>,
}

impl Session {
    /// Registers the user, under the name of a guest.
    pub fn open(user: UserRef, lobby: LobbyRef, echo: Echo) -> Result<(Session, Name), Complaint> {
        let question = |reply| lobby::Message::Register { user: user.clone(), reply };
        let name = lobby.ask(question, ANSWER).unwrap_or(Err(Complaint::Unavailable))?;
        Ok((Session { user, lobby, echo, room: None }, name))
    }

    /// Does what a line says, and answers. Breaks when the user is done.
    pub fn line(&mut self, line: Result<&str, Complaint>) -> ControlFlow<()> {
        let answer = match line.and_then(Command::parse) {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(Command::Quit)) => {
                self.show("= bye".into());
                return ControlFlow::Break(());
            }
            Ok(Some(command)) => self.execute(command),
            Err(complaint) => Err(complaint),
        };
        match answer {
            Ok(Answer::Is(text)) => self.show(format!("= {text}")),
            Ok(Answer::ByRoom) => {}
            Err(complaint) => self.show(format!("! {complaint}")),
        }
        ControlFlow::Continue(())
    }

    /// Waits while the user's queue is full, so a client that does not read the answers is not read from either.
    pub fn show(&self, line: String) {
        // If the user has ended, so does the session: whoever reads for it is killed.
        let _ = self.user.send(user::Message::Show(Shown::note(line)));
    }

    fn execute(&mut self, command: Command<'_>) -> Result<Answer, Complaint> {
        match command {
            Command::Say(text) => self.say(text.to_owned(), String::new()).map(|()| Answer::ByRoom),
            Command::Name(name) => {
                self.rename(name.clone())?;
                Ok(Answer::Is(format!("you are {name} now")))
            }
            Command::Join(room) => self.join(room).map(|()| Answer::ByRoom),
            Command::Leave => {
                let room = self.leave().ok_or(Complaint::NoRoom)?;
                Ok(Answer::Is(format!("you left {room}")))
            }
            Command::Who => {
                let names = list(&self.who()?);
                let (room, _) = self.room.as_ref().ok_or(Complaint::NoRoom)?;
                Ok(Answer::Is(format!("in {room}: {names}")))
            }
            Command::Rooms => {
                let mut rooms = self.ask_lobby(lobby::Message::Rooms)?;
                rooms.sort_by_key(Name::to_string);
                Ok(Answer::Is(format!("rooms: {}", list(&rooms))))
            }
            Command::Help => Ok(Answer::Is(HELP.into())),
            Command::Quit => unreachable!("the caller knows what to do about it"),
        }
    }

    /// Who is in the room.
    pub fn who(&self) -> Result<Vec<Name>, Complaint> {
        let (_, room) = self.room.as_ref().ok_or(Complaint::NoRoom)?;
        room.ask(room::Message::Who, ANSWER).map_err(|_| Complaint::NoRoom)
    }

    /// Asks instead of sending, so that somebody who types fast waits for the room and does not fill its mailbox.
    pub fn say(&self, text: String, key: String) -> Result<(), Complaint> {
        let (_, room) = self.room.as_ref().ok_or(Complaint::NoRoom)?;
        let question = |reply| room::Message::Say { user: self.user.id(), text, key, reply };
        room.ask(question, ANSWER).unwrap_or(Err(Complaint::NoRoom))
    }

    /// No other room has this, nor will.
    pub fn room_id(&self) -> Option<String> {
        self.room.as_ref().map(|(_, room)| room.id().to_string())
    }

    pub fn rename(&self, name: Name) -> Result<(), Complaint> {
        let user = self.user.id();
        self.ask_lobby(|reply| lobby::Message::Rename { user, name: name.clone(), reply })??;
        if let Some((_, room)) = &self.room {
            // If the room is gone, there is nobody to tell.
            let _ = room.send(room::Message::Rename { user, name });
        }
        Ok(())
    }

    pub fn join(&mut self, name: Name) -> Result<(), Complaint> {
        self.leave();
        for _ in 0..ATTEMPTS {
            let (user, echo) = (self.user.id(), self.echo);
            let question = |reply| lobby::Message::Enter { user, room: name.clone(), echo, reply };
            match self.lobby.ask(question, ANSWER) {
                Ok(entered) => {
                    self.room = Some((name, entered?));
                    return Ok(());
                }
                Err(AskError::NoReply) => {} // it ended before it came to us
                Err(_) => break,
            }
        }
        Err(Complaint::Unavailable)
    }

    /// Waits for the room, so that nothing comes from there any more.
    fn leave(&mut self) -> Option<Name> {
        let (name, room) = self.room.take()?;
        let user = self.user.id();
        let left = room.ask(|reply| room::Message::Leave { user, reply }, ANSWER);
        left.ok().map(|()| name)
    }

    fn ask_lobby<T>(
        &self,
        question: impl FnOnce(greenlet_actor::Reply<T>) -> lobby::Message,
    ) -> Result<T, Complaint> {
        self.lobby.ask(question, ANSWER).map_err(|_| Complaint::Unavailable)
    }
}

enum Answer {
    Is(String),
    /// The room shows it, in line with what else it shows; or there is none.
    ByRoom,
}
