//! The state of one TLS session: rustls, the bytes that it has not seen yet, and those that it has made.

use std::mem;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error};

use super::buffer::Buffer;

/// The most plaintext of a record.
pub(super) const RECORD: usize = 16 * 1024;
/// The most that a record adds to its plaintext when sent: header, explicit nonce, padding, type and tag.
const OVERHEAD: usize = 64;

pub(super) enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl Connection {
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Connection::Client(connection) => connection,
            Connection::Server(connection) => connection,
        }
    }
}

/// Everything under the lock of a stream. Nothing here waits.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// Received and not decrypted.
    pub(super) incoming: Buffer,
    /// Decrypted and not read.
    pub(super) plaintext: Buffer,
    /// Encrypted and not sent.
    pub(super) outgoing: Buffer,
    pub(super) peer_closed: bool,
    /// We have encrypted our `close_notify`: nothing may follow it.
    pub(super) close_notify: bool,
    /// What ended it. rustls does not remember all of its errors.
    failed: Option<Error>,
}

/// What the session is to do once it may send data.
#[derive(Clone, Copy)]
enum Task<'a> {
    Nothing,
    Encrypt(&'a [u8]),
    CloseNotify,
    UpdateKeys,
}

enum Step {
    /// There is more to do.
    Again,
    /// The task is done.
    Done,
    /// Nothing goes on without more of the peer's bytes.
    Blocked,
    /// Both sides have closed.
    Closed,
}

/// Where decrypted bytes go: the reader's memory first, the rest aside.
struct Sink<'a> {
    reader: &'a mut [u8],
    filled: usize,
    rest: &'a mut Buffer,
}

impl Sink<'_> {
    fn take(&mut self, plaintext: &[u8]) {
        let direct = match self.rest.is_empty() {
            true => plaintext.len().min(self.reader.len() - self.filled),
            false => 0,
        };
        self.reader[self.filled..self.filled + direct].copy_from_slice(&plaintext[..direct]);
        self.filled += direct;
        if direct < plaintext.len() {
            self.rest.extend(&plaintext[direct..]);
        }
    }
}

impl Session {
    pub(super) fn new(connection: Connection) -> Session {
        Session {
            connection,
            incoming: Buffer::default(),
            plaintext: Buffer::default(),
            outgoing: Buffer::default(),
            peer_closed: false,
            close_notify: false,
            failed: None,
        }
    }

    /// Goes one step further with what there is. After an error, the alert that tells the peer why is in `outgoing`.
    fn step(&mut self, reader: &mut [u8], filled: &mut usize, task: Task<'_>) -> Result<Step, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let step = self.step_unchecked(reader, filled, task);
        if let Err(error) = &step {
            self.failed = Some(error.clone());
            // As long as there is something to encode, what has been received is not looked at.
            while self.connection.common().wants_write()
                && self.step_unchecked(&mut [], &mut 0, Task::Nothing).is_ok()
            {}
        }
        step
    }

    fn step_unchecked(
        &mut self,
        reader: &mut [u8],
        filled: &mut usize,
        task: Task<'_>,
    ) -> Result<Step, Error> {
        let mut sink = Sink { reader, filled: *filled, rest: &mut self.plaintext };
        let incoming = self.incoming.filled_mut();
        let (outgoing, closed) = (&mut self.outgoing, &mut self.peer_closed);
        let (discard, step) = match &mut self.connection {
            Connection::Client(client) => {
                advance(client.process_tls_records(incoming), &mut sink, outgoing, closed, task)
            }
            Connection::Server(server) => {
                advance(server.process_tls_records(incoming), &mut sink, outgoing, closed, task)
            }
        };
        *filled = sink.filled;
        self.incoming.consume(discard);
        step
    }

    /// Decrypts into `reader` until it is full or nothing is left to decrypt. Returns how much it got.
    pub(super) fn read(&mut self, reader: &mut [u8]) -> Result<usize, Error> {
        let mut filled = self.plaintext.len().min(reader.len());
        reader[..filled].copy_from_slice(&self.plaintext.filled()[..filled]);
        self.plaintext.consume(filled);
        while filled < reader.len() && !self.incoming.is_empty() && !self.peer_closed {
            match self.step(reader, &mut filled, Task::Nothing) {
                Ok(Step::Again) => {}
                Ok(Step::Done | Step::Blocked | Step::Closed) => break,
                // What came before the error is good. The error comes again.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Goes on with the handshake; true when it is complete.
    pub(super) fn shake_hands(&mut self) -> Result<bool, Error> {
        loop {
            match self.step(&mut [], &mut 0, Task::Nothing)? {
                Step::Again => {}
                Step::Done | Step::Blocked | Step::Closed => {
                    return Ok(!self.connection.common().is_handshaking());
                }
            }
        }
    }

    /// False: the session is over, or not there yet.
    fn perform(&mut self, task: Task<'_>) -> Result<bool, Error> {
        loop {
            match self.step(&mut [], &mut 0, task)? {
                Step::Again => {}
                Step::Done => return Ok(true),
                Step::Blocked | Step::Closed => return Ok(false),
            }
        }
    }

    /// Encrypts all of it. False: the session is over, or not there yet.
    pub(super) fn encrypt(&mut self, plaintext: &[u8]) -> Result<bool, Error> {
        self.perform(Task::Encrypt(plaintext))
    }

    /// Encrypts the alert that ends our direction, once.
    pub(super) fn say_goodbye(&mut self) -> Result<(), Error> {
        if !mem::replace(&mut self.close_notify, true) {
            self.perform(Task::CloseNotify)?;
        }
        Ok(())
    }

    /// Makes new keys for what we send, and asks the peer to do the same. TLS 1.3.
    pub(super) fn update_keys(&mut self) -> Result<(), Error> {
        self.perform(Task::UpdateKeys)?;
        // The message itself comes out with the next step.
        self.perform(Task::Nothing)?;
        Ok(())
    }
}

fn advance<D>(
    status: UnbufferedStatus<'_, '_, D>,
    sink: &mut Sink<'_>,
    outgoing: &mut Buffer,
    peer_closed: &mut bool,
    task: Task<'_>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                sink.take(record.payload);
            }
            Ok(Step::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let written = encode(outgoing, |room| data.encode(room))?;
            outgoing.commit(written);
            Ok(Step::Again)
        }
        // It goes out with `outgoing`, from which nothing is lost.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::PeerClosed => {
            *peer_closed = true;
            Ok(Step::Again)
        }
        ConnectionState::Closed => Ok(Step::Closed),
        ConnectionState::WriteTraffic(traffic) => act(traffic, outgoing, task),
        // Early data too is among them, which acceptors do not allow.
        _ => Ok(Step::Blocked),
    });
    (discard, step)
}

fn act<D>(mut traffic: WriteTraffic<'_, D>, outgoing: &mut Buffer, task: Task<'_>) -> Result<Step, Error> {
    let written = match task {
        Task::Nothing => 0,
        Task::Encrypt(plaintext) => {
            let records = plaintext.len().div_ceil(RECORD);
            let size = plaintext.len() + records * OVERHEAD;
            encrypt(outgoing, size, |room| traffic.encrypt(plaintext, room))?
        }
        Task::CloseNotify => encrypt(outgoing, OVERHEAD, |room| traffic.queue_close_notify(room))?,
        Task::UpdateKeys => {
            traffic.refresh_traffic_keys()?;
            0
        }
    };
    outgoing.commit(written);
    Ok(Step::Done)
}

/// Grows the room until what is to be encoded fits.
fn encode(
    outgoing: &mut Buffer,
    mut attempt: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<usize, Error> {
    let mut size = 1024;
    loop {
        match attempt(outgoing.room(size)) {
            Ok(written) => return Ok(written),
            Err(EncodeError::InsufficientSize(wanted)) if wanted.required_size > size => {
                size = wanted.required_size
            }
            Err(error) => return Err(Error::General(error.to_string())),
        }
    }
}

/// As `encode`, with the size that is expected to do.
fn encrypt(
    outgoing: &mut Buffer,
    mut size: usize,
    mut attempt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<usize, Error> {
    loop {
        match attempt(outgoing.room(size)) {
            Ok(written) => return Ok(written),
            Err(EncryptError::InsufficientSize(wanted)) if wanted.required_size > size => {
                size = wanted.required_size
            }
            Err(error) => return Err(Error::General(error.to_string())),
        }
    }
}
