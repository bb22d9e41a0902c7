//! What happens in a room.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::Name;

/// One thing that happened. Its number is larger than those of all that happened before it in this room.
#[derive(Debug)]
pub struct Event {
    pub id: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    /// `key` is what the sender's page calls it by: it finds its own message again, whatever became of the answer.
    Said {
        name: Name,
        text: String,
        key: String,
    },
    Joined(Name),
    Left(Name),
    TooSlow(Name),
    Renamed {
        before: Name,
        name: Name,
    },
}

impl Event {
    pub fn new(id: u64, what: What) -> Event {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Event { id, at: now.as_millis() as u64, what }
    }
}

/// As the line protocol has it.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Said { name, text, .. } => write!(f, "<{name}> {text}"),
            What::Joined(name) => write!(f, "* {name} joined"),
            What::Left(name) => write!(f, "* {name} left"),
            What::TooSlow(name) => write!(f, "* {name} left, being too slow"),
            What::Renamed { before, name } => write!(f, "* {before} is {name} now"),
        }
    }
}
