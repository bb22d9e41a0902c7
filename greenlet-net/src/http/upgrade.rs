//! Connections that go on in another protocol.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use greenlet_core::Event;
use http::{HeaderValue, StatusCode, header};

use super::body::Body;
use super::{IntoResponse, Request, Response};
use crate::{Address, Stream};

/// Agrees to go on in another protocol: gives the `101` response, to which headers may be added, and has `run` called with the connection
/// when the client has it.
///
/// `run` is called in the handler's greenlet, which may go on as long as it likes; it counts as a request in flight. When the client has gone
/// before, it is not called. `protocol` is the value of the `Upgrade` header.
///
/// Does not suspend.
///
/// # Errors
/// [`NotUpgradable`] when the client did not ask for an upgrade, or this one's was taken before: as a response it is `426 Upgrade Required`.
///
/// # Panics
/// When `protocol` is not a valid value of a header.
///
/// ```
/// use greenlet_net::http::{upgrade, NotUpgradable, Request, Response};
/// use std::io;
///
/// fn echo(mut request: Request) -> Result<Response, NotUpgradable> {
///     upgrade(&mut request, "echo", |client| {
///         let _ = io::copy(&mut &client, &mut &client);
///     })
/// }
/// ```
pub fn upgrade(
    request: &mut Request,
    protocol: &'static str,
    run: impl FnOnce(Upgraded) + 'static,
) -> Result<Response, NotUpgradable> {
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(NotUpgradable)?;
    let mut response = Response::new(Body::upgrade(on_upgrade, run));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    Ok(response)
}

/// The client did not ask for another protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the client did not ask for another protocol, or its request was taken already")]
pub struct NotUpgradable;

impl IntoResponse for NotUpgradable {
    fn into_response(self) -> Response {
        (StatusCode::UPGRADE_REQUIRED, "this needs an upgrade to another protocol\n").into_response()
    }
}

/// The claim to a connection that is going to be upgraded, for those who want it elsewhere than in [`upgrade`]: an extension of the requests
/// that ask for an upgrade.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::http::{OnUpgrade, Request, Response, StatusCode};
///
/// fn handler(mut request: Request) -> Response {
///     if let Some(claim) = request.extensions_mut().remove::<OnUpgrade>() {
///         spawn(move || claim.wait().map(|client| drop(client)));
///     }
///     let mut response = Response::default();
///     *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
///     response
/// }
/// ```
#[derive(Clone)]
pub struct OnUpgrade {
    pending: Arc<Pending>,
}

struct Pending {
    decided: Event,
    upgraded: Mutex<Option<Upgraded>>,
}

impl Pending {
    fn upgraded(&self) -> MutexGuard<'_, Option<Upgraded>> {
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnUpgrade {
    pub(super) fn new() -> OnUpgrade {
        OnUpgrade { pending: Arc::new(Pending { decided: Event::new(), upgraded: Mutex::new(None) }) }
    }

    pub(super) fn fulfill(&self, upgraded: Upgraded) {
        *self.pending.upgraded() = Some(upgraded);
        self.pending.decided.set();
    }

    /// Nothing comes of it, if nothing has.
    pub(super) fn cancel(&self) {
        self.pending.decided.set();
    }

    /// Waits until the `101` response was sent, and gives the connection. Suspends the greenlet; after a kill or timeout another claim to it
    /// may be waited for still.
    ///
    /// # Errors
    /// `NotConnected` if the response was another one, the client has gone, or another claim has it.
    pub fn wait(&self) -> io::Result<Upgraded> {
        self.pending.decided.wait();
        self.pending.upgraded().take().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotConnected, "the connection was not upgraded, or is taken")
        })
    }
}

impl fmt::Debug for OnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnUpgrade").field("decided", &self.pending.decided.is_set()).finish()
    }
}

/// A connection that HTTP is done with: a [`Stream`] of bytes, beginning with those that came together with the request.
///
/// Dropping it ends the connection.
#[derive(Debug)]
pub struct Upgraded {
    stream: Box<dyn Stream>,
    /// Read already.
    ahead: Mutex<Bytes>,
}

impl Upgraded {
    /// Puts bytes that were read already before those that come.
    pub(super) fn new(stream: impl Stream, ahead: Bytes) -> Upgraded {
        Upgraded { stream: Box::new(stream), ahead: Mutex::new(ahead) }
    }

    /// The stream below, and what was read of it already.
    pub fn into_parts(self) -> (Box<dyn Stream>, Bytes) {
        (self.stream, self.ahead.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_ahead(&self, buffer: &mut [u8]) -> Option<usize> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.is_empty() || buffer.is_empty() {
            return None;
        }
        let n = ahead.len().min(buffer.len());
        ahead.copy_to_slice(&mut buffer[..n]);
        Some(n)
    }
}

impl Stream for Upgraded {
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.take_ahead(buffer) {
            Some(n) => Ok(n),
            None => self.stream.recv(buffer),
        }
    }

    fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.send(buffer)
    }

    fn send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.send_vectored(buffers)
    }

    fn flush(&self) -> io::Result<()> {
        Stream::flush(&*self.stream)
    }

    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.take_ahead(buffer) {
            Some(n) => Poll::Ready(Ok(n)),
            None => self.stream.poll_recv(context, buffer),
        }
    }

    fn poll_send(&self, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_send(context, buffer)
    }

    fn poll_send_vectored(
        &self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_send_vectored(context, buffers)
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(context)
    }

    fn poll_finish(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_finish(context)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }

    fn close(&self) {
        self.stream.close();
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(timeout)
    }

    fn peer_address(&self) -> io::Result<Address> {
        self.stream.peer_address()
    }

    fn local_address(&self) -> io::Result<Address> {
        self.stream.local_address()
    }
}

impl Read for &Upgraded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer)
    }
}

impl Read for Upgraded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer)
    }
}

impl Write for &Upgraded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.send(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Stream::flush(*self)
    }
}

impl Write for Upgraded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.send(buffer)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Stream::flush(self)
    }
}
