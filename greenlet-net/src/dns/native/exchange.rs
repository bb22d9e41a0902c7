//! Asking the servers, one after the other, until one has answered.

use std::fmt::Display;
use std::io;

use greenlet_core::Instant;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::config::Config;
use super::question::Question;
use super::server::Server;
use super::tcp::Connection;
use super::udp::{Datagram, Sockets};
use crate::dns::ErrorKind;
use crate::dns::error::Cause;

/// A question, and how far it is answered.
#[derive(Debug)]
struct Asked {
    question: Question,
    state: State,
    /// The last thing that went wrong.
    failure: Option<Cause>,
}

#[derive(Debug)]
enum State {
    /// To be asked, or on its way.
    Open,
    /// To be asked over TCP.
    TooLong,
    /// To be asked in the way of before 1999.
    Again,
    /// This server has no answer.
    Refused,
    Done(Message),
}

impl Asked {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    fn fail(&mut self, kind: ErrorKind, server: &Server, what: impl Display) {
        self.failure = Some(Cause::with(kind, format_args!("{} {what}", server.address)));
    }

    fn take(&mut self, message: Message, server: &Server) {
        server.answered();
        let code = message.metadata.response_code;
        self.state = match code {
            ResponseCode::NoError | ResponseCode::NXDomain if message.metadata.truncation => State::TooLong,
            ResponseCode::NoError | ResponseCode::NXDomain => State::Done(message),
            ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS if self.question.edns => {
                self.question.edns = false;
                State::Again
            }
            _ => {
                self.fail(ErrorKind::Temporary, server, format_args!("answered {code}"));
                State::Refused
            }
        };
    }
}

/// Asks for records of these kinds of a name, all at once, when it is this lookup's turn. Returns the answer to each, in their order.
pub(super) fn ask(
    config: &Config,
    sockets: &Sockets,
    name: &Name,
    kinds: &[RecordType],
) -> Vec<Result<Message, Cause>> {
    let _turn = sockets.turn();
    let mut asked: Vec<Asked> = kinds
        .iter()
        .map(|kind| Asked { question: Question::new(name.clone(), *kind), state: State::Open, failure: None })
        .collect();
    'attempts: for _ in 0..config.attempts {
        for server in config.order() {
            ask_server(config, sockets, server, &mut asked);
            if asked.iter().all(Asked::is_done) {
                break 'attempts;
            }
        }
    }
    let results = asked.into_iter().map(|asked| match asked.state {
        State::Done(message) => Ok(message),
        _ => Err(asked.failure.unwrap_or_else(|| ErrorKind::Temporary.into())),
    });
    results.collect()
}

fn ask_server(config: &Config, sockets: &Sockets, server: &Server, asked: &mut [Asked]) {
    for asked in asked.iter_mut().filter(|asked| !asked.is_done()) {
        asked.state = State::Open;
    }
    loop {
        if config.tcp_only {
            for asked in asked.iter_mut().filter(|asked| asked.is_open()) {
                asked.state = State::TooLong;
            }
        } else {
            over_udp(config, sockets, server, asked);
        }
        over_tcp(config, server, asked);
        // At most once for each question.
        let mut again = false;
        for asked in asked.iter_mut().filter(|asked| matches!(asked.state, State::Again)) {
            asked.state = State::Open;
            again = true;
        }
        if !again {
            return;
        }
        // Those that this server did not answer in time are not asked once more for the others' sake.
        for asked in asked.iter_mut().filter(|asked| asked.is_open() && asked.question.edns) {
            asked.state = State::Refused;
        }
    }
}

fn over_udp(config: &Config, sockets: &Sockets, server: &Server, all: &mut [Asked]) {
    match try_udp(config, sockets, server, all) {
        Ok(()) => {}
        Err(error) => {
            server.failed();
            for asked in all.iter_mut().filter(|asked| asked.is_open()) {
                asked.fail(kind_of(&error), server, describe(&error, config));
            }
        }
    }
}

/// Until every open question has some answer, or it is too late.
fn try_udp(config: &Config, sockets: &Sockets, server: &Server, all: &mut [Asked]) -> io::Result<()> {
    let started = Instant::now();
    let mut socket = sockets.take(server.address)?;
    for asked in all.iter_mut().filter(|asked| asked.is_open()) {
        match asked.question.message() {
            Ok(message) => socket.send(&message, config.timeout)?,
            Err(cause) => {
                asked.failure = Some(cause);
                asked.state = State::Refused;
            }
        }
    }
    let mut waited = false;
    while all.iter().any(Asked::is_open) {
        let left = config.timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if !waited {
            waited = true;
            socket.wait(left)?;
            continue;
        }
        let datagram = socket.receive(left)?;
        for asked in all.iter_mut().filter(|asked| asked.is_open()) {
            match datagram {
                Datagram::Whole(bytes) => {
                    if let Some(message) = asked.question.answered_by(bytes) {
                        asked.take(message, server);
                        break;
                    }
                }
                Datagram::CutOff(beginning) => {
                    if asked.question.is_cut_off_in(beginning) {
                        asked.state = State::TooLong;
                        break;
                    }
                }
            }
        }
    }
    sockets.put_back(socket);
    Ok(())
}

fn over_tcp(config: &Config, server: &Server, all: &mut [Asked]) {
    let mut connection = None;
    for asked in all.iter_mut().filter(|asked| matches!(asked.state, State::TooLong)) {
        asked.state = State::Refused;
        let message = match asked.question.message() {
            Ok(message) => message,
            Err(cause) => {
                asked.failure = Some(cause);
                continue;
            }
        };
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(server.address, config.timeout),
        };
        let answer = open.and_then(|mut open| {
            let answer = open.ask(&message)?;
            connection = Some(open);
            Ok(answer)
        });
        match answer.map(|bytes| asked.question.answered_by(&bytes)) {
            Ok(Some(message)) if !message.metadata.truncation => asked.take(message, server),
            Ok(_) => {
                connection = None;
                asked.fail(ErrorKind::Failed, server, "answered nonsense over TCP");
            }
            Err(error) => {
                server.failed();
                asked.fail(kind_of(&error), server, format_args!("over TCP: {}", describe(&error, config)));
            }
        }
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable => ErrorKind::Temporary,
        _ => ErrorKind::System,
    }
}

fn describe(error: &io::Error, config: &Config) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => {
            format!("did not answer in {:?}, asked {} times", config.timeout, config.attempts)
        }
        io::ErrorKind::UnexpectedEof => "hung up in the middle of its answer".to_owned(),
        _ => error.to_string(),
    }
}
