//! See [`dns::fuzzing`](crate::dns::fuzzing).
#![allow(missing_docs, reason = "nobody uses it")]

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};

use super::answer::{self, Reading};
use super::config::Config;
use super::question::Question;
use super::settings::Settings;

#[derive(Debug)]
pub struct ResolvConf {
    pub servers: Vec<SocketAddr>,
    /// In which they are asked.
    pub order: Vec<SocketAddr>,
    pub search: Vec<String>,
    pub timeout: Duration,
    pub attempts: u32,
}

pub fn resolv_conf(text: &[u8]) -> ResolvConf {
    let config = Config::parse(text, &Settings::default());
    ResolvConf {
        servers: config.servers.iter().map(|server| server.address).collect(),
        order: config.order().iter().map(|server| server.address).collect(),
        search: config.search.iter().map(Name::to_ascii).collect(),
        timeout: config.timeout,
        attempts: config.attempts,
    }
}

/// What a message is read as.
#[derive(Debug)]
pub enum Read {
    /// It does not answer the question.
    NoAnswer,
    Answer {
        aliases: Vec<String>,
        canonical: String,
        kinds: Vec<u16>,
        ttl: Duration,
    },
    Alias {
        aliases: Vec<String>,
        target: String,
        ttl: Duration,
    },
    Nothing {
        ttl: Duration,
    },
    Other,
}

/// Reads a message as the answer to the question for records of that kind. It is given the id that the question has.
pub fn read(name: &str, kind: u16, message: &[u8]) -> Read {
    let (name, kind) = (Name::from_ascii(name).expect("a name"), RecordType::from(kind));
    let mut question = Question::new(name.clone(), kind);
    let asked = question.message().expect("a question");
    assert!(question.answered_by(&asked).is_none(), "a question is no answer");
    let _ = question.is_cut_off_in(message);
    let mut message = message.to_vec();
    if message.len() >= 2 {
        message[0] = asked[0] ^ 1;
        message[1] = asked[1];
        assert!(question.answered_by(&message).is_none(), "it answers another question");
        assert!(!question.is_cut_off_in(&message), "it answers another question");
        message[0] ^= 1;
    }
    let _ = question.is_cut_off_in(&message);
    let Some(message) = question.answered_by(&message) else { return Read::NoAnswer };
    let texts = |names: &[Name]| names.iter().map(Name::to_ascii).collect();
    match answer::read(message, &name, kind) {
        Reading::Answer(answer, ttl) => Read::Answer {
            aliases: texts(&answer.aliases),
            canonical: answer.canonical.to_ascii(),
            kinds: answer.data.iter().map(|data| data.record_type().into()).collect(),
            ttl,
        },
        Reading::Alias { aliases, target, ttl } => {
            Read::Alias { aliases: texts(&aliases), target: target.to_ascii(), ttl }
        }
        Reading::Nothing(_, ttl) => Read::Nothing { ttl },
        Reading::Circle | Reading::Refused(_) | Reading::Referral => Read::Other,
    }
}
