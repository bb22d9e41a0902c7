//! Moving bytes between a session and its transport, for those who block and for those who poll.
//!
//! The lock of the session is short: nobody holds it while the transport is used. Who receives takes the *reading turn*, who sends takes the
//! *sending turn* and with it all ciphertext that there is; so records never change places. Whatever ends a turn, a kill included, puts back
//! what was not sent.

use std::io::{self, IoSlice};
use std::mem;
use std::net::Shutdown;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use greenlet_core::Instant;
use rustls::Error;

use super::buffer::Buffer;
use super::error::TlsError;
use super::hello;
use super::session::{RECORD, Session};
use super::settings::{Settings, Truncation};
use crate::Stream;

/// What the handles of a stream share.
pub(super) struct Flow<S: Stream> {
    pub(super) transport: S,
    pub(super) settings: Settings,
    /// Whom we talk to, for messages.
    peer: Box<str>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) session: Session,
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) truncation: Truncation,
    /// The name that the client has asked for.
    pub(super) server_name: Option<Box<str>>,
    reading: Turn,
    sending: Turn,
    /// The task that waits to send, if one does.
    sender: Option<Waker>,
    /// The transport has no more to read.
    eof: bool,
    /// We want no more to read.
    deaf: bool,
    closed: bool,
    end: End,
}

/// Who uses one direction of the transport.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Nobody,
    /// Somebody who does not wait, in another thread: it will not take long.
    Trying,
    Waiting,
}

/// The end of what we send on the transport.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// It ends when everything was sent.
    Requested,
    Reached,
}

/// How to wait.
pub(super) enum Way<'a, 'b> {
    Block(Deadline),
    Poll(&'a mut Context<'b>),
    /// Not at all: `WouldBlock`, and nobody is told when that changes. Reading only.
    Try,
}

/// `None`: never.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    pub(super) fn after(timeout: Option<Duration>) -> Deadline {
        Deadline(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    fn left(self) -> io::Result<Option<Duration>> {
        let Some(at) = self.0 else { return Ok(None) };
        match at.duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::new(io::ErrorKind::TimedOut, "timed out")),
            left => Ok(Some(left)),
        }
    }
}

/// What one waits with for the first bytes: most messages of small programs fit, and it is on the stack.
const FIRST: usize = 1024;
/// How many times the read buffer is taken in at the end of a session, unread.
const UNREAD: usize = 4;
/// The least room that is worth asking the transport with.
const LEAST: usize = 4096;

fn busy(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!("another greenlet is already waiting for {what} here"),
    )
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection was closed")
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the TLS session was ended: nothing can be sent any more")
}

/// A transport that would block, and has nobody to tell when it no longer does, for lack of a hub.
fn would_block<T>(polled: &Poll<io::Result<T>>) -> bool {
    match polled {
        Poll::Pending => true,
        Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::Unsupported,
        Poll::Ready(Ok(_)) => false,
    }
}

impl<S: Stream> Flow<S> {
    pub(super) fn new(transport: S, session: Session, settings: Settings, peer: &str) -> Flow<S> {
        let state = State {
            session,
            read_timeout: None,
            write_timeout: None,
            truncation: settings.truncation,
            server_name: None,
            reading: Turn::Nobody,
            sending: Turn::Nobody,
            sender: None,
            eof: false,
            deaf: false,
            closed: false,
            end: End::Open,
        };
        Flow { transport, settings, peer: peer.into(), state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic of rustls leaves a session that only says that it failed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failure(&self, error: Error) -> TlsError {
        TlsError::from_rustls(error, &self.peer)
    }

    // --- the handshake -----------------------------------------------------------------------------------------

    pub(super) fn shake_hands(&self, way: &mut Way<'_, '_>) -> Poll<Result<(), TlsError>> {
        loop {
            let mut state = self.state();
            let (done, server_name) = hello::overhear(|| state.session.shake_hands());
            if server_name.is_some() {
                state.server_name = server_name;
            }
            drop(state);
            let done = match done {
                Ok(done) => done,
                Err(error) => return Poll::Ready(Err(self.give_up(error))),
            };
            match ready!(self.send_all(way)) {
                Ok(()) => {}
                Err(error) => return Poll::Ready(Err(self.reason_for(error))),
            }
            if done {
                return Poll::Ready(Ok(()));
            }
            let state = self.state();
            if state.eof {
                return Poll::Ready(Err(TlsError::HandshakeEof));
            }
            let limit = self.settings.handshake_limit;
            if state.session.incoming.len() > limit {
                return Poll::Ready(Err(TlsError::HandshakeTooLong(limit)));
            }
            ready!(self.receive(state, way))?;
        }
    }

    /// Tells the peer, as far as that goes without waiting.
    fn give_up(&self, error: Error) -> TlsError {
        self.push();
        // It fails if the peer is gone.
        let _ = self.transport.shutdown(Shutdown::Write);
        self.failure(error)
    }

    /// Sending failed: perhaps because the peer has refused us, and what it said about that is there to be read.
    fn reason_for(&self, error: io::Error) -> TlsError {
        if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            return error.into();
        }
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(())) = self.receive(self.state(), &mut Way::Poll(&mut nobody))
            && let Err(reason) = self.state().session.shake_hands()
        {
            return self.failure(reason);
        }
        error.into()
    }

    // --- reading -----------------------------------------------------------------------------------------------

    pub(super) fn read(&self, way: &mut Way<'_, '_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Way::Block(_) = way {
                greenlet_core::io::take_part();
            }
            let mut state = self.state();
            if state.closed {
                return Poll::Ready(Err(closed()));
            }
            if buffer.is_empty() || state.deaf {
                return Poll::Ready(Ok(0));
            }
            let read = state.session.read(buffer);
            if !state.session.outgoing.is_empty() {
                drop(state);
                self.push(); // an alert, or what a killed writer has left
                state = self.state();
            }
            match read {
                Ok(0) => {}
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(error) => return Poll::Ready(Err(self.failure(error).into())),
            }
            if state.session.peer_closed {
                return Poll::Ready(Ok(0));
            }
            if state.eof {
                return Poll::Ready(match state.truncation {
                    Truncation::IsAnError => Err(TlsError::Truncated.into()),
                    Truncation::IsTheEnd => Ok(0),
                });
            }
            ready!(self.receive(state, way))?;
        }
    }

    /// Gets more ciphertext.
    fn receive(&self, mut state: MutexGuard<'_, State>, way: &mut Way<'_, '_>) -> Poll<io::Result<()>> {
        match state.reading {
            Turn::Nobody => {}
            // Whoever it is gets what we are after.
            Turn::Trying | Turn::Waiting => return Poll::Ready(Err(busy("reading"))),
        }
        state.reading = Turn::Waiting;
        // The beginning of a record moves to the memory that the rest of it comes to.
        let mut received = Buffer::default();
        let begun = state.session.incoming.len();
        let size = self.settings.read_buffer.saturating_sub(begun).max(LEAST);
        received.room(begun + size)[..begun].copy_from_slice(state.session.incoming.filled());
        received.commit(begun);
        drop(state);
        let _turn = ReadingTurn { flow: self };

        match way {
            Way::Poll(context) => {
                let count = ready!(self.transport.poll_recv(context, received.room(LEAST)))?;
                self.received(received, begun, count);
            }
            Way::Try => {
                let count = self.transport.try_recv(received.room(LEAST))?;
                self.received(received, begun, count);
            }
            Way::Block(deadline) => {
                // What is there already comes in large pieces. Who has to wait keeps little memory meanwhile.
                let mut nobody = Context::from_waker(Waker::noop());
                let tried = self.transport.poll_recv(&mut nobody, received.room(LEAST));
                if would_block(&tried) {
                    drop(received);
                    let mut first = [0; FIRST];
                    let count = match deadline.left()? {
                        Some(left) => self.transport.recv_within(&mut first, left)?,
                        None => self.transport.recv(&mut first)?,
                    };
                    let mut state = self.state();
                    state.eof = count == 0;
                    state.session.incoming.extend(&first[..count]);
                } else if let Poll::Ready(count) = tried {
                    self.received(received, begun, count?);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn received(&self, mut received: Buffer, begun: usize, count: usize) {
        received.commit(count);
        let mut state = self.state();
        state.eof = count == 0;
        if state.session.incoming.filled() == &received.filled()[..begun] {
            state.session.incoming = received;
            state.session.incoming.release_if_empty();
        } else {
            // A writer has been through it meanwhile.
            state.session.incoming.extend(&received.filled()[begun..]);
        }
    }

    // --- writing -----------------------------------------------------------------------------------------------

    /// Takes from the slices, in order, until the write buffer is full, and sends it. An error means that nothing was taken.
    pub(super) fn write(&self, way: &mut Way<'_, '_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.send_all(way))?;
        let mut state = self.state();
        if state.closed {
            return Poll::Ready(Err(closed()));
        }
        if state.session.close_notify {
            return Poll::Ready(Err(ended()));
        }
        let taken = encrypt(&mut state.session, slices, self.settings.write_buffer);
        drop(state);
        let taken = match taken {
            Ok(Some(taken)) => taken,
            Ok(None) => return Poll::Ready(Err(ended())),
            Err(error) => return Poll::Ready(Err(self.failure(error).into())),
        };
        match self.send_all(way) {
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
            // It is encrypted, and goes out with what is written next.
            Poll::Ready(Err(error)) if matches!(error.kind(), io::ErrorKind::TimedOut) => {
                Poll::Ready(Ok(taken))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    /// Sends all ciphertext, and after it the end, if that was asked for.
    pub(super) fn send_all(&self, way: &mut Way<'_, '_>) -> Poll<io::Result<()>> {
        loop {
            let mut state = self.state();
            if state.closed {
                return Poll::Ready(Err(closed()));
            }
            match state.sending {
                Turn::Nobody => {}
                Turn::Trying => {
                    drop(state);
                    std::thread::yield_now();
                    continue;
                }
                Turn::Waiting => return Poll::Ready(Err(busy("writing"))),
            }
            if state.session.outgoing.is_empty() {
                let (sender, end) = (state.sender.take(), state.end);
                if end == End::Requested {
                    state.end = End::Reached;
                }
                drop(state);
                drop(sender); // user code
                return match end {
                    End::Requested => self.end_transport(way),
                    End::Open | End::Reached => Poll::Ready(Ok(())),
                };
            }
            let turn = match way {
                Way::Block(_) => Turn::Waiting,
                Way::Poll(_) | Way::Try => Turn::Trying,
            };
            let mut sending = self.take_sending_turn(state, turn);
            while !sending.ciphertext.is_empty() {
                let sent = match way {
                    Way::Block(deadline) => match deadline.left()? {
                        Some(left) => {
                            self.transport.send_within(&[IoSlice::new(sending.ciphertext.filled())], left)?
                        }
                        None => self.transport.send(sending.ciphertext.filled())?,
                    },
                    Way::Poll(context) => {
                        match self.transport.poll_send(context, sending.ciphertext.filled()) {
                            Poll::Ready(sent) => sent?,
                            Poll::Pending => {
                                drop(sending);
                                let sender = context.waker().clone();
                                let replaced = self.state().sender.replace(sender);
                                drop(replaced); // user code
                                return Poll::Pending;
                            }
                        }
                    }
                    Way::Try => return Poll::Ready(Err(io::ErrorKind::WouldBlock.into())),
                };
                if sent == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                sending.ciphertext.consume(sent);
            }
        }
    }

    fn take_sending_turn<'a>(&'a self, mut state: MutexGuard<'_, State>, turn: Turn) -> SendingTurn<'a, S> {
        state.sending = turn;
        SendingTurn { flow: self, ciphertext: mem::take(&mut state.session.outgoing) }
    }

    /// Sends what goes without waiting. The rest goes with the next write.
    fn push(&self) {
        let state = self.state();
        if state.sending != Turn::Nobody || state.session.outgoing.is_empty() || state.closed {
            return; // who has the turn takes it along
        }
        // The transport tells the task that polled last, which has to stay the one that waits.
        let sender = state.sender.clone();
        let mut context = Context::from_waker(sender.as_ref().unwrap_or(Waker::noop()));
        let mut sending = self.take_sending_turn(state, Turn::Trying);
        while !sending.ciphertext.is_empty() {
            match self.transport.poll_send(&mut context, sending.ciphertext.filled()) {
                Poll::Ready(Ok(sent)) if sent > 0 => sending.ciphertext.consume(sent),
                // An error comes again for the next who writes.
                _ => return,
            }
        }
    }

    pub(super) fn flush(&self, way: &mut Way<'_, '_>) -> Poll<io::Result<()>> {
        ready!(self.send_all(way))?;
        match way {
            Way::Block(_) | Way::Try => Poll::Ready(self.transport.flush()),
            Way::Poll(context) => self.transport.poll_flush(context),
        }
    }

    // --- the end -----------------------------------------------------------------------------------------------

    /// Says goodbye, and ends what we send on the transport.
    pub(super) fn finish(&self, way: &mut Way<'_, '_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if state.closed {
            return Poll::Ready(Err(closed()));
        }
        // A session that has failed has told the peer so, and has nothing to add.
        let _ = state.session.say_goodbye();
        if state.end == End::Open {
            state.end = End::Requested;
        }
        let waiting = state.sending == Turn::Waiting;
        drop(state);
        match waiting {
            // Who sends now sends that too.
            true => Poll::Ready(Ok(())),
            false => self.send_all(way),
        }
    }

    fn end_transport(&self, way: &mut Way<'_, '_>) -> Poll<io::Result<()>> {
        match way {
            Way::Block(_) | Way::Try => Poll::Ready(self.transport.shutdown(Shutdown::Write)),
            Way::Poll(context) => self.transport.poll_finish(context),
        }
    }

    pub(super) fn stop_reading(&self) {
        self.state().deaf = true;
    }

    /// Says goodbye if that goes without waiting and nothing is left unsent before it.
    pub(super) fn farewell(&self) {
        let mut state = self.state();
        let quiet = state.sending == Turn::Nobody && state.session.outgoing.is_empty() && !state.closed;
        if quiet && !state.session.connection.common().is_handshaking() && state.session.say_goodbye().is_ok()
        {
            drop(state);
            self.push();
        }
    }

    /// A client that only writes never sees the tickets that servers send for the next session. They are taken before the end, for that session, and because
    /// the system resets a connection that is closed with something unread, and throws away what it has not sent yet.
    fn take_tickets(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..UNREAD {
            match self.transport.try_recv(state.session.incoming.room(LEAST)) {
                Ok(count) if count > 0 => state.session.incoming.commit(count),
                _ => return,
            }
            if state.session.shake_hands().is_err() {
                return;
            }
        }
    }

    pub(super) fn close(&self) {
        self.farewell();
        self.state().closed = true;
        self.transport.close();
    }
}

impl<S: Stream> Drop for Flow<S> {
    fn drop(&mut self) {
        self.take_tickets();
        // What is dropped by a kill or a panic was cut off, and the peer is to notice.
        if !greenlet_core::is_unwinding() {
            self.farewell();
        }
    }
}

/// Encrypts up to `limit` bytes. `None`: the session is over.
fn encrypt(session: &mut Session, slices: &[IoSlice<'_>], limit: usize) -> Result<Option<usize>, Error> {
    let mut taken = 0;
    // Small slices share a record.
    let mut gathered = Buffer::default();
    for slice in slices {
        let mut slice = &slice[..slice.len().min(limit - taken)];
        taken += slice.len();
        if gathered.is_empty() && (slice.len() >= RECORD || slices.len() == 1) {
            if !slice.is_empty() && !session.encrypt(slice)? {
                return Ok(None);
            }
            continue;
        }
        while !slice.is_empty() {
            let (now, later) = slice.split_at(slice.len().min(RECORD - gathered.len()));
            gathered.extend(now);
            slice = later;
            if gathered.len() == RECORD {
                if !session.encrypt(gathered.filled())? {
                    return Ok(None);
                }
                gathered.consume(RECORD);
            }
        }
    }
    if !gathered.is_empty() && !session.encrypt(gathered.filled())? {
        return Ok(None);
    }
    Ok(Some(taken))
}

struct ReadingTurn<'a, S: Stream> {
    flow: &'a Flow<S>,
}

impl<S: Stream> Drop for ReadingTurn<'_, S> {
    fn drop(&mut self) {
        self.flow.state().reading = Turn::Nobody;
    }
}

struct SendingTurn<'a, S: Stream> {
    flow: &'a Flow<S>,
    ciphertext: Buffer,
}

impl<S: Stream> Drop for SendingTurn<'_, S> {
    fn drop(&mut self) {
        let mut state = self.flow.state();
        state.sending = Turn::Nobody;
        if !self.ciphertext.is_empty() {
            // What came meanwhile goes behind.
            self.ciphertext.extend(state.session.outgoing.filled());
            state.session.outgoing = mem::take(&mut self.ciphertext);
        }
    }
}
