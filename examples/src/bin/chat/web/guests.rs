//! All users of the page, by their tokens.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_actor::{ActorBuilder, SupervisorRef, System};
use greenlet_core::sleep;

use super::guest::Guest;
use super::inbox::{Delivery, Inbox};
use crate::limits;
use crate::lobby::LobbyRef;
use crate::protocol::{Complaint, Name};
use crate::room::Echo;
use crate::session::Session;
use crate::user::{Message, User};

pub struct Guests {
    system: Arc<System>,
    tree: SupervisorRef,
    grace: Duration,
    by_token: Mutex<HashMap<String, Arc<Guest>>>,
    /// What no other run of the server has.
    run: String,
}

impl Guests {
    pub fn new(system: Arc<System>, tree: SupervisorRef, grace: Duration) -> Guests {
        let run = random().unwrap_or_default();
        Guests { system, tree, grace, by_token: Mutex::default(), run }
    }

    fn by_token(&self) -> MutexGuard<'_, HashMap<String, Arc<Guest>>> {
        // Nothing fails while this is locked.
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn find(&self, token: &str) -> Option<Arc<Guest>> {
        self.by_token().get(token).filter(|guest| !guest.has_ended()).cloned()
    }

    /// A new user in a room, and the token that only his page gets.
    pub fn join(&self, name: Name, room: Name) -> Result<(String, Arc<Guest>), Complaint> {
        let token = random().map_err(|_| Complaint::Unavailable)?;
        let lobby: LobbyRef = self.tree.child("lobby").ok_or(Complaint::Unavailable)?;
        let inbox = Arc::new(Inbox::default());
        let user = ActorBuilder::new()
            .name(format!("page of {name}"))
            .capacity(limits::OUTGOING)
            .system(&self.system)
            .spawn(User::new(Delivery(inbox.clone()), lobby.id()));
        // Whatever is refused, or raised: the user is not to stay.
        let leave = Leave(Some(user.clone()));
        let (mut session, _) = Session::open(user.clone(), lobby, Echo::Everybody)?;
        session.rename(name.clone())?;
        session.join(room.clone())?;
        leave.not();
        let epoch = format!("{}-{}", self.run, session.room_id().unwrap_or_default());
        let guest = Arc::new(Guest::new(name, room, epoch, inbox, user, session));
        self.by_token().insert(token.clone(), guest.clone());
        Ok((token, guest))
    }

    pub fn leave(&self, token: &str) {
        let guest = self.by_token().remove(token);
        if let Some(guest) = guest {
            guest.leave();
        }
    }

    /// Sees off those who are gone: their pages have not asked for news for a while.
    pub fn see_off(&self) -> ! {
        loop {
            sleep(self.grace.min(Duration::from_secs(1)));
            let is_gone = |guest: &Guest| {
                let silent = guest.silent_since().is_some_and(|since| since.elapsed() > self.grace);
                silent || guest.has_ended()
            };
            let gone: Vec<String> = {
                let all = self.by_token();
                all.iter().filter(|(_, guest)| is_gone(guest)).map(|(token, _)| token.clone()).collect()
            };
            for token in gone {
                self.leave(&token);
            }
        }
    }
}

/// Ends the user, unless that is called off.
struct Leave(Option<crate::user::UserRef>);

impl Leave {
    fn not(mut self) {
        self.0 = None;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(user) = &self.0 {
            let _ = user.try_send(Message::End);
        }
    }
}

/// 128 bits that nobody guesses.
fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
