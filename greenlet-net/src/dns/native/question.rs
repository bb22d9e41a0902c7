//! A question as it goes to a server, and what is an answer to it.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use crate::dns::ErrorKind;
use crate::dns::error::Cause;

/// The largest answer that we invite over UDP: what passes everywhere without being cut into fragments.
const PAYLOAD: u16 = 1232;

#[derive(Debug)]
pub(super) struct Question {
    query: Query,
    id: u16,
    /// Whether to say which payload we take, which very old servers do not understand.
    pub(super) edns: bool,
}

impl Question {
    pub(super) fn new(name: Name, kind: RecordType) -> Question {
        Question { query: Query::query(name, kind), id: 0, edns: true }
    }

    /// The message, with a new random id: answers to earlier ones do not count any more.
    pub(super) fn message(&mut self) -> Result<Vec<u8>, Cause> {
        let mut message = Message::query();
        self.id = message.metadata.id;
        message.metadata.recursion_desired = true;
        message.add_query(self.query.clone());
        if self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD).set_version(0);
            message.set_edns(edns);
        }
        message.to_vec().map_err(|error| Cause::with(ErrorKind::InvalidName, error))
    }

    /// The message that these bytes are, if they answer this question. Anybody may send anything: what does not is as if it had
    /// not come.
    pub(super) fn answered_by(&self, bytes: &[u8]) -> Option<Message> {
        if bytes.get(..2)? != self.id.to_be_bytes() {
            return None;
        }
        let message = Message::from_vec(bytes).ok()?;
        let fits = message.metadata.message_type == MessageType::Response
            && message.metadata.op_code == OpCode::Query
            && message.metadata.id == self.id
            && match message.queries.as_slice() {
                [query] => *query == self.query,
                // Some servers do not repeat what they did not understand.
                [] => message.answers.is_empty() && did_not_understand(message.metadata.response_code),
                _ => false,
            };
        fits.then_some(message)
    }

    /// Whether these bytes are the beginning of an answer that is too long for a datagram.
    pub(super) fn is_cut_off_in(&self, bytes: &[u8]) -> bool {
        let Some(header) = bytes.get(..12) else { return false };
        // The question is right behind the header, written as we write it.
        let mut question = Vec::new();
        for label in self.query.name() {
            question.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
            question.extend_from_slice(label);
        }
        question.push(0);
        question.extend_from_slice(&u16::from(self.query.query_type()).to_be_bytes());
        question.extend_from_slice(&u16::from(self.query.query_class()).to_be_bytes());
        header[..2] == self.id.to_be_bytes()
            && header[2] & 0x80 != 0
            && bytes[12..].len() >= question.len()
            && bytes[12..12 + question.len()].eq_ignore_ascii_case(&question)
    }
}

/// Servers that say so may not have read as far as the question.
fn did_not_understand(code: ResponseCode) -> bool {
    matches!(
        code,
        ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::ServFail | ResponseCode::Refused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> (Question, Message) {
        let mut question = Question::new(Name::from_ascii("www.example.").unwrap(), RecordType::A);
        let bytes = question.message().unwrap();
        let mut reply = Message::from_vec(&bytes).unwrap().into_response();
        reply.metadata.message_type = MessageType::Response;
        (question, reply)
    }

    #[test]
    fn the_answer_to_the_question_is_accepted() {
        let (question, reply) = asked();
        assert!(question.answered_by(&reply.to_vec().unwrap()).is_some());
    }

    #[test]
    fn letters_may_change_their_case() {
        let (question, mut reply) = asked();
        reply.queries[0].set_name(Name::from_ascii("WWW.Example.").unwrap());
        assert!(question.answered_by(&reply.to_vec().unwrap()).is_some());
    }

    #[test]
    fn what_answers_something_else_is_not_accepted() {
        let changes: [fn(&mut Message); 6] = [
            |reply| reply.metadata.id = reply.metadata.id.wrapping_add(1),
            |reply| reply.metadata.message_type = MessageType::Query,
            |reply| reply.metadata.op_code = OpCode::Status,
            |reply| _ = reply.queries[0].set_name(Name::from_ascii("ww2.example.").unwrap()),
            |reply| _ = reply.queries[0].set_query_type(RecordType::AAAA),
            |reply| reply.queries.clear(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let (question, mut reply) = asked();
            change(&mut reply);
            assert!(question.answered_by(&reply.to_vec().unwrap()).is_none(), "change {index}");
        }
    }

    #[test]
    fn only_a_refusal_need_not_repeat_the_question() {
        let (question, mut reply) = asked();
        reply.queries.clear();
        reply.metadata.response_code = ResponseCode::NXDomain;
        assert!(question.answered_by(&reply.to_vec().unwrap()).is_none());
        reply.metadata.response_code = ResponseCode::FormErr;
        assert!(question.answered_by(&reply.to_vec().unwrap()).is_some());
    }

    #[test]
    fn no_bytes_of_any_kind_panic() {
        let (question, reply) = asked();
        let whole = reply.to_vec().unwrap();
        for length in 0..whole.len() {
            assert!(question.answered_by(&whole[..length]).is_none());
            for value in [0, 0x3f, 0x40, 0xc0, 0xff] {
                let mut bytes = whole.clone();
                bytes[length] = value;
                let _ = question.answered_by(&bytes);
                let _ = question.is_cut_off_in(&bytes[..length]);
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_known_by_its_beginning() {
        let (question, reply) = asked();
        let whole = reply.to_vec().unwrap();
        let end = 12 + "www.example.".len() + 1 + 4;
        assert!(question.is_cut_off_in(&whole[..end]));
        assert!(!question.is_cut_off_in(&whole[..end - 1]));
        let mut other = whole.clone();
        other[0] ^= 1;
        assert!(!question.is_cut_off_in(&other));
    }
}
