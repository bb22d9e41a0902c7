//! A connection that nobody else can read or change.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{CommonState, HandshakeKind, ProtocolVersion, SupportedCipherSuite};

use super::TlsError;
use super::flow::{Deadline, Flow, Way};
use super::session::{Connection, Session};
use super::settings::{Settings, Truncation};
use super::split::{self, ReadHalf, WriteHalf};
use crate::timeout::refuse_zero;
use crate::{Address, Stream, TcpStream, Within};

/// A TLS session on a connection, of a client or a server: made by [`TlsConnector`](super::TlsConnector) and
/// [`TlsAcceptor`](super::TlsAcceptor).
///
/// It is used as a [`TcpStream`] is: reading and writing suspend the calling greenlet only, one greenlet may wait to read and one to write, and all
/// works through `&TlsStream` too.
///
/// # Reading and writing
///
/// - **Reading** returns 0 when the peer has ended its session, and fails with [`TlsError::Truncated`] if the connection ended
///   without that (see [`Truncation`]).
/// - **Writing** takes up to the [write buffer](super::TlsConnectorBuilder::write_buffer) at once, encrypts it, and returns when all of it was handed
///   to the transport. An error means that nothing was taken. If the write timeout comes after something was encrypted, that counts as written; it is kept,
///   and goes out before whatever is written or flushed next. The same holds for a kill or timeout that unwinds a write: records are never
///   torn. So a killed `write_all` may have sent any part of its data, as with every stream, and the stream can be used on.
/// - **Timeouts** are those of this stream, not of the one underneath, and bound a call as a whole, `write_all` included.
///   A read that receives the beginning of a record waits for the rest within the same time.
/// - Errors are those of the transport, and [`TlsError`]s.
///
/// # The end
///
/// [`shutdown`](TlsStream::shutdown) of writing tells the peer that this is all, with a `close_notify`; reading goes on. A stream that is dropped, with all
/// its clones, or [closed](TlsStream::close) says so too, if that goes without waiting, unless it is dropped by a kill or a panic: then
/// the peer sees a truncated session, which it is.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::tls::{Identity, Roots, TlsAcceptor, TlsConnector};
/// use greenlet_net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let (certificate_pem, key_pem) = (made.cert.pem(), made.signing_key.serialize_pem());
/// let acceptor = TlsAcceptor::builder().identity(Identity::from_pem(&certificate_pem, &key_pem)?).build()?;
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// spawn(move || {
///     let (stream, _) = listener.accept()?;
///     acceptor.accept(stream)?.write_all(b"hello, in private")
/// });
///
/// let connector = TlsConnector::builder().roots(Roots::from_pem(&certificate_pem)?).build()?;
/// let mut stream = connector.connect("localhost", TcpStream::connect(address)?)?;
/// let mut greeting = String::new();
/// stream.read_to_string(&mut greeting)?;
/// assert_eq!(greeting, "hello, in private");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TlsStream<S: Stream = TcpStream> {
    flow: Arc<Flow<S>>,
}

impl<S: Stream> TlsStream<S> {
    pub(super) fn new(transport: S, connection: Connection, settings: Settings, peer: &str) -> TlsStream<S> {
        TlsStream { flow: Arc::new(Flow::new(transport, Session::new(connection), settings, peer)) }
    }

    /// Suspends until the handshake is done, for the handshake timeout at most.
    pub(super) fn shake_hands(self) -> Result<TlsStream<S>, TlsError> {
        let limit = self.flow.settings.handshake_timeout;
        self.flow.transport.set_read_timeout(None)?;
        self.flow.transport.set_write_timeout(None)?;
        let done = self.flow.shake_hands(&mut Way::Block(Deadline::after(limit)));
        match (at_once(done), limit) {
            (Ok(()), _) => Ok(self),
            (Err(TlsError::Io(error)), Some(limit)) if error.kind() == io::ErrorKind::TimedOut => {
                Err(TlsError::HandshakeTimeout(limit))
            }
            (Err(error), _) => Err(error),
        }
    }

    pub(super) fn poll_shake_hands(&self, context: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        self.flow.shake_hands(&mut Way::Poll(context))
    }

    fn reading(&self) -> Way<'_, '_> {
        Way::Block(Deadline::after(self.flow.state().read_timeout))
    }

    fn writing(&self) -> Way<'_, '_> {
        Way::Block(Deadline::after(self.flow.state().write_timeout))
    }

    /// The stream for so long: everything that is read and written through what this returns has one limit of time.
    pub fn within(&self, limit: Duration) -> Within<'_, TlsStream<S>> {
        Within::new(self, limit)
    }

    /// Another handle to the same session: same timeouts, and the same places to wait, one for each direction.
    ///
    /// # Errors
    /// None; the signature is that of [`TcpStream::try_clone`].
    pub fn try_clone(&self) -> io::Result<TlsStream<S>> {
        Ok(self.handle())
    }

    pub(super) fn handle(&self) -> TlsStream<S> {
        TlsStream { flow: self.flow.clone() }
    }

    pub(super) fn is_same(&self, other: &TlsStream<S>) -> bool {
        Arc::ptr_eq(&self.flow, &other.flow)
    }

    /// Splits it into its two directions, for two greenlets. Dropping the write half shuts down writing.
    pub fn into_split(self) -> (ReadHalf<S>, WriteHalf<S>) {
        split::halves(self)
    }

    /// The connection underneath. What is read from it or written to it past the session breaks the session.
    pub fn get_ref(&self) -> &S {
        &self.flow.transport
    }

    // --- ending one --------------------------------------------------------------------------------------------

    /// Shuts down reading, writing or both, for all clones.
    ///
    /// Writing: sends what is still unsent and a `close_notify`, and shuts down the transport's writing. Suspends until that is sent, for the write
    /// timeout at most; while another greenlet is writing it does not wait, and that greenlet does it when it is done.
    /// Reading: every later read returns 0. Nothing is sent for that.
    ///
    /// # Errors
    /// Those of writing.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            self.flow.stop_reading();
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            at_once(self.flow.finish(&mut self.writing()))?;
        }
        Ok(())
    }

    /// Ends the connection for everybody: whoever waits on it, here or on other threads, gets an error of kind `NotConnected`, and so does
    /// every later call.
    ///
    /// Does not suspend. The peer gets a `close_notify` if everything before it was sent.
    pub fn close(&self) {
        self.flow.close();
    }

    /// As the last step of a writer that may not wait: says goodbye as far as that goes at once.
    pub(super) fn finish_without_waiting(&self) {
        if !greenlet_core::is_unwinding() {
            self.flow.farewell();
        }
        // It fails if the connection has ended already.
        let _ = self.flow.transport.shutdown(Shutdown::Write);
    }

    // --- settings ----------------------------------------------------------------------------------------------

    /// How long a read waits for its first byte of plaintext; `None` is for ever, as it is without this call. For all clones; calls that wait
    /// already are not affected.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        timeout.map_or(Ok(()), refuse_zero)?;
        self.flow.state().read_timeout = timeout;
        Ok(())
    }

    /// How long a write may take, a `write_all` as a whole; `None` is for ever, as it is without this call. For all clones; calls that wait already
    /// are not affected.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        timeout.map_or(Ok(()), refuse_zero)?;
        self.flow.state().write_timeout = timeout;
        Ok(())
    }

    /// The read timeout.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.flow.state().read_timeout)
    }

    /// The write timeout.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.flow.state().write_timeout)
    }

    /// What a connection that ends without `close_notify` means from now on, for all clones.
    pub fn set_truncation(&self, truncation: Truncation) {
        self.flow.state().truncation = truncation;
    }

    /// Makes new keys for what is sent, and has the peer make new ones for what it sends. They do so by themselves when a key has
    /// been used for long. Suspends as a write does.
    ///
    /// # Errors
    /// `Unsupported` before TLS 1.3; those of writing.
    pub fn update_keys(&self) -> io::Result<()> {
        let mut state = self.flow.state();
        if state.session.connection.common().protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            let what = "keys are updated in TLS 1.3 only";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let updated = state.session.update_keys();
        drop(state);
        updated.map_err(|error| io::Error::from(self.flow.failure(error)))?;
        at_once(self.flow.send_all(&mut self.writing()))
    }

    // --- what was agreed ---------------------------------------------------------------------------------------

    fn agreed<R>(&self, get: impl FnOnce(&CommonState) -> R) -> R {
        get(self.flow.state().session.connection.common())
    }

    /// The version of the protocol.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.agreed(CommonState::protocol_version)
    }

    /// The ciphers.
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.agreed(CommonState::negotiated_cipher_suite)
    }

    /// The protocol that is spoken inside, if the two have agreed on one (ALPN): `h2`, `http/1.1`.
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.agreed(|common| common.alpn_protocol().map(<[u8]>::to_vec))
    }

    /// The certificates of the peer, its own first, each of the others confirming the one before; `None` for a client that has shown none.
    pub fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.agreed(|common| common.peer_certificates().map(<[_]>::to_vec))
    }

    /// Whether the handshake took up an earlier session, or was a full one.
    pub fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.agreed(CommonState::handshake_kind)
    }

    /// On the server: the name that the client asked for (SNI), if it did.
    pub fn server_name(&self) -> Option<String> {
        self.flow.state().server_name.as_deref().map(str::to_owned)
    }

    fn write_slices(&self, way: &mut Way<'_, '_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.flow.write(way, slices)
    }
}

/// A call that blocks is never pending.
pub(super) fn at_once<R, E>(done: Poll<Result<R, E>>) -> Result<R, E> {
    match done {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("what blocks does not return before it is done"),
    }
}

impl<S: Stream> Read for &TlsStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        at_once(self.flow.read(&mut self.reading(), buffer))
    }
}

impl<S: Stream> Read for TlsStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl<S: Stream> Write for &TlsStream<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.send(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(buffers)
    }

    /// Within the write timeout as a whole.
    fn write_all(&mut self, mut buffer: &[u8]) -> io::Result<()> {
        let mut way = self.writing();
        while !buffer.is_empty() {
            let written = at_once(self.write_slices(&mut way, &[IoSlice::new(buffer)]))?;
            buffer = &buffer[written..];
        }
        Ok(())
    }

    /// Sends what a timeout or a kill has left.
    fn flush(&mut self) -> io::Result<()> {
        at_once(self.flow.flush(&mut self.writing()))
    }
}

impl<S: Stream> Write for TlsStream<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    /// Within the write timeout as a whole.
    fn write_all(&mut self, buffer: &[u8]) -> io::Result<()> {
        (&*self).write_all(buffer)
    }

    /// Sends what a timeout or a kill has left.
    fn flush(&mut self) -> io::Result<()> {
        Stream::flush(self)
    }
}

impl<S: Stream> Stream for TlsStream<S> {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        at_once(self.flow.read(&mut self.reading(), buffer))
    }

    fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        at_once(self.write_slices(&mut self.writing(), &[IoSlice::new(buffer)]))
    }

    fn recv_within(&self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        let limit = self.flow.state().read_timeout.map_or(limit, |timeout| timeout.min(limit));
        at_once(self.flow.read(&mut Way::Block(Deadline::after(Some(limit))), buffer))
    }

    /// What was encrypted in time counts as sent, as for a write.
    fn send_within(&self, buffers: &[IoSlice<'_>], limit: Duration) -> io::Result<usize> {
        let limit = self.flow.state().write_timeout.map_or(limit, |timeout| timeout.min(limit));
        at_once(self.write_slices(&mut Way::Block(Deadline::after(Some(limit))), buffers))
    }

    fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        at_once(self.write_slices(&mut self.writing(), buffers))
    }

    fn flush(&self) -> io::Result<()> {
        at_once(self.flow.flush(&mut self.writing()))
    }

    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.flow.read(&mut Way::Poll(context), buffer)
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        at_once(self.flow.read(&mut Way::Try, buffer))
    }

    fn poll_send(&self, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.write_slices(&mut Way::Poll(context), &[IoSlice::new(buffer)])
    }

    fn poll_send_vectored(
        &self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write_slices(&mut Way::Poll(context), buffers)
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flow.flush(&mut Way::Poll(context))
    }

    fn poll_finish(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flow.finish(&mut Way::Poll(context))
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        TlsStream::shutdown(self, how)
    }

    fn close(&self) {
        TlsStream::close(self);
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        TlsStream::set_read_timeout(self, timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        TlsStream::set_write_timeout(self, timeout)
    }

    fn peer_address(&self) -> io::Result<Address> {
        self.flow.transport.peer_address()
    }

    fn local_address(&self) -> io::Result<Address> {
        self.flow.transport.local_address()
    }
}

impl<S: Stream> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("transport", &self.flow.transport)
            .field("version", &self.protocol_version())
            .finish_non_exhaustive()
    }
}
