//! The language of the server: lines of UTF-8 in both directions, the same on every transport.
//!
//! A line from a client is a command if it begins with `/`, and else something to say; `//` says a `/`. Lines from the
//! server are told apart by their first character:
//!
//! | line | |
//! |---|---|
//! | `<alice> hello` | Alice says hello |
//! | `~ <alice> hello` | she said it before you joined |
//! | `* bob joined` | something happened in the room |
//! | `= you are alice now` | a command was done |
//! | `! the name bob is taken` | something could not be done |
//!
//! What a client sends comes after such a beginning, contains no end of line and no control characters: so nobody can
//! forge a line, or send escape sequences to the terminals of others.

use std::fmt;
use std::sync::Arc;

use crate::limits;

pub const HELP: &str =
    "/name NAME, /join ROOM, /leave, /who, /rooms, /help, /quit; all else is said to the room";

/// What a client wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    Say(&'a str),
    Name(Name),
    Join(Name),
    Leave,
    Who,
    Rooms,
    Help,
    Quit,
}

/// Why it does not get it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Complaint {
    #[error("the line is longer than {} bytes", limits::LINE)]
    LineTooLong,
    #[error("the line is not UTF-8")]
    NotUtf8,
    #[error("the line contains control characters")]
    ControlCharacters,
    #[error("there is no such command; try /help")]
    UnknownCommand,
    #[error("/{0} stands alone on its line")]
    TakesNoArgument(&'static str),
    #[error("the name of a person or a room has 1 to {} letters, digits, - and _", limits::NAME)]
    BadName,
    #[error("the name {0} is taken")]
    NameTaken(Name),
    #[error("you are in no room; try /join ROOM")]
    NoRoom,
    #[error("there are {} rooms already; /rooms lists them", limits::ROOMS)]
    TooManyRooms,
    #[error("there are {} users already; try again later", limits::USERS)]
    TooManyUsers,
    #[error("a message has 1 to {} characters", limits::TEXT)]
    BadText,
    #[error("that was too much at once; wait a little")]
    TooFast,
    #[error("the server cannot do this now; try again")]
    Unavailable,
}

impl Command<'_> {
    /// `None` for an empty line.
    pub fn parse(line: &str) -> Result<Option<Command<'_>>, Complaint> {
        if line.chars().any(is_harmful) {
            return Err(Complaint::ControlCharacters);
        }
        let line = line.trim();
        let command = match line.strip_prefix('/') {
            None if line.is_empty() => return Ok(None),
            None => return Ok(Some(Command::Say(line))),
            Some(said) if said.starts_with('/') => return Ok(Some(Command::Say(said))),
            Some(command) => command,
        };
        let (word, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let alone = |word, command| match argument {
            "" => Ok(command),
            _ => Err(Complaint::TakesNoArgument(word)),
        };
        let command = match word {
            "name" => Command::Name(Name::new(argument.trim())?),
            "join" => Command::Join(Name::new(argument.trim())?),
            "leave" => alone("leave", Command::Leave)?,
            "who" => alone("who", Command::Who)?,
            "rooms" => alone("rooms", Command::Rooms)?,
            "help" => alone("help", Command::Help)?,
            "quit" => alone("quit", Command::Quit)?,
            _ => return Err(Complaint::UnknownCommand),
        };
        Ok(Some(command))
    }
}

/// Control characters other than the tab, and those that turn the direction of a text or end a line invisibly.
pub fn is_harmful(c: char) -> bool {
    let control = c.is_control() && c != '\t';
    control || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The name of a user or a room. Two that differ only in upper and lower case are equal.
#[derive(Clone)]
pub struct Name {
    shown: Arc<str>,
    compared: Arc<str>,
}

impl Name {
    pub fn new(name: &str) -> Result<Name, Complaint> {
        let good = name.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
        if !good || !(1..=limits::NAME).contains(&name.chars().count()) {
            return Err(Complaint::BadName);
        }
        Ok(Name { shown: name.into(), compared: name.to_lowercase().into() })
    }

    /// The name of somebody who has not chosen one.
    pub fn guest(number: u64) -> Name {
        let name: Arc<str> = format!("guest-{number}").into();
        Name { shown: name.clone(), compared: name }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.compared == other.compared
    }
}

impl Eq for Name {}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// Names in a row, for an answer.
pub fn list(names: &[Name]) -> String {
    names.iter().map(Name::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn commands_are_recognized() {
        let expected = [
            ("/name alice", Command::Name(name("alice"))),
            ("/join  rust  ", Command::Join(name("rust"))),
            ("/leave", Command::Leave),
            ("  /who", Command::Who),
            ("/rooms ", Command::Rooms),
            ("/help", Command::Help),
            ("/quit", Command::Quit),
            ("hello, world", Command::Say("hello, world")),
            ("//etc/passwd", Command::Say("/etc/passwd")),
            ("1\t2", Command::Say("1\t2")),
        ];
        for (line, command) in expected {
            assert_eq!(Command::parse(line), Ok(Some(command)), "{line:?}");
        }
        assert_eq!(Command::parse(""), Ok(None));
        assert_eq!(Command::parse(" \t "), Ok(None));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let expected = [
            ("/", Complaint::UnknownCommand),
            ("/dance", Complaint::UnknownCommand),
            ("/NAME alice", Complaint::UnknownCommand),
            ("/name", Complaint::BadName),
            ("/join two words", Complaint::BadName),
            ("/name <alice>", Complaint::BadName),
            ("/who else", Complaint::TakesNoArgument("who")),
            ("ring \u{7}", Complaint::ControlCharacters),
            ("\u{1b}[2J", Complaint::ControlCharacters),
            ("a\0b", Complaint::ControlCharacters),
            ("\u{9b}2J", Complaint::ControlCharacters),
            ("a\u{202e}b", Complaint::ControlCharacters),
        ];
        for (line, complaint) in expected {
            assert_eq!(Command::parse(line), Err(complaint), "{line:?}");
        }
    }

    #[test]
    fn names_are_counted_in_characters_of_any_script() {
        assert_eq!(name("Zoë").to_string(), "Zoë");
        assert_eq!(name("ÄRGER"), name("ärger"));
        assert!(Name::new(&"漢".repeat(limits::NAME)).is_ok());
        assert!(Name::new(&"漢".repeat(limits::NAME + 1)).is_err());
    }

    proptest! {
        #[test]
        fn every_line_is_understood_or_refused(line in any::<String>()) {
            match Command::parse(&line) {
                Ok(Some(Command::Say(said))) => {
                    prop_assert!(!said.is_empty() && line.contains(said));
                    prop_assert!(!said.chars().any(|c| c != '\t' && c.is_control()));
                }
                Ok(Some(_)) => prop_assert!(line.trim().starts_with('/')),
                Ok(None) => prop_assert!(line.trim().is_empty()),
                Err(complaint) => prop_assert!(!complaint.to_string().is_empty()),
            }
        }

        #[test]
        fn a_name_has_nothing_that_ends_it_in_a_line(text in any::<String>()) {
            if let Ok(name) = Name::new(&text) {
                prop_assert!(!name.to_string().contains(['<', '>', ' ', ',', '\n']));
            }
        }
    }
}
