//! What an answer says.

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use crate::dns::ErrorKind;

/// So many aliases may lead to a name.
pub(super) const LONGEST_CHAIN: usize = 16;

/// The records of a name.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The names on the way to the canonical one, beginning with the one that was asked for.
    pub(super) aliases: Vec<Name>,
    pub(super) canonical: Name,
    pub(super) data: Vec<RData>,
}

/// What is in a message of a server.
#[derive(Debug)]
pub(super) enum Reading {
    /// The records.
    Answer(Answer, Duration),
    /// The name is an alias of another one, about which the message says nothing.
    Alias { aliases: Vec<Name>, target: Name, ttl: Duration },
    /// There is nothing: `NotFound` or `NoData`.
    Nothing(ErrorKind, Duration),
    /// Aliases in a circle, or too many.
    Circle,
    /// The server has no answer; another one may.
    Refused(ResponseCode),
    /// It sends us elsewhere, as servers do that look up nothing for others.
    Referral,
}

/// Reads the answer to the question for records of this kind.
pub(super) fn read(message: Message, name: &Name, kind: RecordType) -> Reading {
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        refused => return Reading::Refused(refused),
    }
    let of = |owner: &Name, kind: RecordType| {
        let owner = owner.clone();
        message.answers.iter().filter(move |record| {
            record.record_type() == kind && record.dns_class == DNSClass::IN && record.name == owner
        })
    };
    let (mut aliases, mut at, mut ttl) = (Vec::new(), name.clone(), u32::MAX);
    loop {
        let mut data = Vec::new();
        for record in of(&at, kind) {
            ttl = ttl.min(record.ttl);
            data.push(record.data.clone());
        }
        if !data.is_empty() {
            return Reading::Answer(Answer { aliases, canonical: at, data }, seconds(ttl));
        }
        let alias = of(&at, RecordType::CNAME).find_map(|record| match &record.data {
            RData::CNAME(target) => Some((target.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((target, its_ttl)) = alias else { break };
        ttl = ttl.min(its_ttl);
        aliases.push(at);
        if aliases.contains(&target) || aliases.len() >= LONGEST_CHAIN {
            return Reading::Circle;
        }
        at = target;
    }
    let negative_ttl = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let metadata = &message.metadata;
    if metadata.response_code == ResponseCode::NXDomain {
        Reading::Nothing(ErrorKind::NotFound, seconds(negative_ttl.unwrap_or(0)))
    } else if let Some(ttl) = negative_ttl {
        Reading::Nothing(ErrorKind::NoData, seconds(ttl))
    } else if !aliases.is_empty() {
        Reading::Alias { aliases, target: at, ttl: seconds(ttl) }
    } else if !metadata.authoritative && !metadata.recursion_available {
        Reading::Referral
    } else {
        Reading::Nothing(ErrorKind::NoData, Duration::ZERO)
    }
}

/// The highest bit is to be taken as zero seconds (RFC 2181, section 8).
fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(if ttl > i32::MAX as u32 { 0 } else { ttl.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME, SOA};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn reply(code: ResponseCode, answers: Vec<Record>) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        message.metadata.recursion_available = true;
        message.insert_answers(answers);
        message
    }

    fn a(owner: &str, ttl: u32) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A::new(10, 0, 0, 1)))
    }

    fn cname(owner: &str, target: &str, ttl: u32) -> Record {
        Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
    }

    fn soa(ttl: u32, minimum: u32) -> Record {
        let soa = SOA::new(name("ns."), name("hostmaster."), 1, 1, 1, 1, minimum);
        Record::from_rdata(name("example."), ttl, RData::SOA(soa))
    }

    fn read_a(message: Message) -> Reading {
        read(message, &name("www.example."), RecordType::A)
    }

    #[test]
    fn a_chain_is_followed_in_any_order_and_its_shortest_life_counts() {
        let answers = vec![
            a("c.example.", 60),
            cname("b.example.", "c.example.", 5),
            cname("WWW.example.", "b.example.", 70),
            a("other.example.", 1),
        ];
        let Reading::Answer(answer, ttl) = read_a(reply(ResponseCode::NoError, answers)) else { panic!() };
        assert_eq!(answer.canonical, name("c.example."));
        assert_eq!(answer.aliases, [name("www.example."), name("b.example.")]);
        assert_eq!((answer.data.len(), ttl), (1, Duration::from_secs(5)));
    }

    #[test]
    fn circles_end() {
        let circle = vec![
            cname("www.example.", "b.example.", 1),
            cname("b.example.", "c.example.", 1),
            cname("c.example.", "www.example.", 1),
        ];
        assert!(matches!(read_a(reply(ResponseCode::NoError, circle)), Reading::Circle));
        let own = vec![cname("www.example.", "www.example.", 1)];
        assert!(matches!(read_a(reply(ResponseCode::NoError, own)), Reading::Circle));
        let mut long = vec![cname("www.example.", "1.example.", 1)];
        long.extend((1..100).map(|n| cname(&format!("{n}.example."), &format!("{}.example.", n + 1), 1)));
        assert!(matches!(read_a(reply(ResponseCode::NoError, long)), Reading::Circle));
    }

    #[test]
    fn an_alias_to_elsewhere_is_to_be_followed() {
        let answers = vec![cname("www.example.", "www.other.", 9)];
        let Reading::Alias { target, ttl, .. } = read_a(reply(ResponseCode::NoError, answers)) else {
            panic!()
        };
        assert_eq!((target, ttl), (name("www.other."), Duration::from_secs(9)));
    }

    #[test]
    fn nothing_lives_as_long_as_the_zone_says() {
        let mut message = reply(ResponseCode::NXDomain, vec![]);
        message.add_authority(soa(100, 7));
        let Reading::Nothing(kind, ttl) = read_a(message) else { panic!() };
        assert_eq!((kind, ttl), (ErrorKind::NotFound, Duration::from_secs(7)));
        let Reading::Nothing(kind, ttl) = read_a(reply(ResponseCode::NXDomain, vec![])) else { panic!() };
        assert_eq!((kind, ttl), (ErrorKind::NotFound, Duration::ZERO));
        let Reading::Nothing(kind, _) = read_a(reply(ResponseCode::NoError, vec![])) else { panic!() };
        assert_eq!(kind, ErrorKind::NoData);
    }

    #[test]
    fn servers_that_refuse_or_refer_say_nothing_about_the_name() {
        assert!(matches!(read_a(reply(ResponseCode::ServFail, vec![])), Reading::Refused(_)));
        assert!(matches!(
            read_a(reply(ResponseCode::Refused, vec![a("www.example.", 1)])),
            Reading::Refused(_)
        ));
        let mut referral = reply(ResponseCode::NoError, vec![]);
        referral.metadata.recursion_available = false;
        assert!(matches!(read_a(referral), Reading::Referral));
    }

    #[test]
    fn records_of_others_are_not_believed() {
        let answers = vec![a("evil.example.", 60), cname("evil.example.", "www.example.", 60)];
        let Reading::Nothing(kind, _) = read_a(reply(ResponseCode::NoError, answers)) else { panic!() };
        assert_eq!(kind, ErrorKind::NoData);
    }

    #[test]
    fn a_life_with_the_highest_bit_is_none() {
        let Reading::Answer(_, ttl) =
            read_a(reply(ResponseCode::NoError, vec![a("www.example.", 0x8000_0001)]))
        else {
            panic!()
        };
        assert_eq!(ttl, Duration::ZERO);
    }
}
