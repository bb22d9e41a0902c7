//! A user of the page.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenlet_core::Instant;

use super::inbox::Inbox;
use crate::limits;
use crate::protocol::{Complaint, Name, is_harmful};
use crate::session::Session;
use crate::user::{Message, UserRef};

/// It outlives the page: until nobody has asked for news for a while.
pub struct Guest {
    pub name: Name,
    pub room: Name,
    pub inbox: Arc<Inbox>,
    /// Which room this is, of all that there were by this name: numbers of events can be compared within it.
    pub epoch: String,
    user: UserRef,
    session: Session,
    /// His pages may talk to us on several hubs at the same time.
    conduct: Mutex<Conduct>,
}

struct Conduct {
    budget: Budget,
    /// The keys of what was said last.
    said: VecDeque<String>,
    pages: usize,
    seen: Instant,
}

impl Guest {
    pub fn new(
        name: Name,
        room: Name,
        epoch: String,
        inbox: Arc<Inbox>,
        user: UserRef,
        session: Session,
    ) -> Guest {
        let budget = Budget { left: limits::BURST, filled: Instant::now() };
        let conduct = Conduct { budget, said: VecDeque::new(), pages: 0, seen: Instant::now() };
        Guest { name, room, inbox, epoch, user, session, conduct: Mutex::new(conduct) }
    }

    /// Never locked while something waits.
    fn conduct(&self) -> MutexGuard<'_, Conduct> {
        self.conduct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says it to the room. Once for each key: a page that does not know whether it was heard may say it again.
    pub fn say(&self, text: &str, key: String) -> Result<(), Complaint> {
        let text = text.trim();
        if text.chars().any(is_harmful) {
            return Err(Complaint::ControlCharacters);
        }
        if text.is_empty() || text.chars().count() > limits::TEXT {
            return Err(Complaint::BadText);
        }
        {
            let mut conduct = self.conduct();
            if conduct.said.contains(&key) {
                return Ok(());
            }
            if !conduct.budget.take() {
                return Err(Complaint::TooFast);
            }
            // Before it is said: the same may come in again while the room is asked.
            conduct.said.push_back(key.clone());
            if conduct.said.len() > limits::BACKLOG {
                conduct.said.pop_front();
            }
        }
        let done = self.session.say(text.to_owned(), key.clone());
        if done.is_err() {
            self.conduct().said.retain(|it| *it != key);
        }
        done
    }

    /// The last event that a page knows, which may be one of another room.
    pub fn known(&self, epoch: Option<&str>, id: u64) -> u64 {
        if epoch.is_none_or(|epoch| epoch == self.epoch) { id } else { 0 }
    }

    /// Who is in the room.
    pub fn members(&self) -> Vec<Name> {
        self.session.who().unwrap_or_default()
    }

    /// Somebody asks for news, as long as this is kept.
    pub fn page(self: &Arc<Self>) -> Page {
        self.conduct().pages += 1;
        Page(self.clone())
    }

    /// Since when nobody has asked for news; `None` if somebody does.
    pub fn silent_since(&self) -> Option<Instant> {
        let conduct = self.conduct();
        (conduct.pages == 0).then_some(conduct.seen)
    }

    pub fn has_ended(&self) -> bool {
        self.user.exit().is_some()
    }

    /// The room hears of it from the end of the user.
    pub fn leave(&self) {
        let _ = self.user.try_send(Message::End);
        self.inbox.close();
    }
}

pub struct Page(Arc<Guest>);

impl Drop for Page {
    fn drop(&mut self) {
        let mut conduct = self.0.conduct();
        conduct.pages -= 1;
        conduct.seen = Instant::now();
    }
}

/// What may be said at once.
struct Budget {
    left: u32,
    filled: Instant,
}

impl Budget {
    fn take(&mut self) -> bool {
        let earned = self.filled.elapsed().as_nanos() / limits::REFILL.as_nanos();
        if earned > 0 {
            self.left = limits::BURST.min(self.left.saturating_add(earned.try_into().unwrap_or(u32::MAX)));
            self.filled = Instant::now();
        }
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }
}
