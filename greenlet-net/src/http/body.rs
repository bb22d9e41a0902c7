//! What a request or a response carries.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::pin::Pin;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::connection::Connection;
use super::incoming::Incoming;
use super::upgrade::{OnUpgrade, Upgraded};
use super::writer::BodyWriter;

/// The body of a [`Request`](super::Request) or of a [`Response`](super::Response).
///
/// **A request's** is read: it is a `Read` and a `BufRead`. A read suspends the handler's greenlet until bytes are there, and the client is
/// slowed down when nobody reads. What a handler leaves unread is thrown away, so that the connection can be used again.
///
/// **A response's** is made of bytes (`From` strings, vectors and [`Bytes`]), or runs in the handler's greenlet after the head was sent:
/// [`from_reader`](Body::from_reader), [`stream`](Body::stream). A request's body may be a response's.
///
/// ```
/// use greenlet_net::http::Body;
/// use std::io::Read;
///
/// let mut text = String::new();
/// Body::from("hello").read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Body {
    pub(super) kind: Kind,
    /// Where it came from, if it is a request's.
    pub(super) connection: Option<Rc<Connection>>,
}

type Write = Box<dyn FnOnce(&mut BodyWriter) -> io::Result<()>>;
type Upgrade = Box<dyn FnOnce(Upgraded)>;

pub(super) enum Kind {
    Bytes(Bytes),
    Incoming(Box<Incoming>),
    Reader {
        reader: Box<dyn BufRead>,
        length: Option<u64>,
    },
    Writer {
        write: Write,
        length: Option<u64>,
    },
    Upgrade {
        on_upgrade: OnUpgrade,
        run: Upgrade,
    },
    /// Of a tower service.
    #[cfg_attr(not(feature = "tower"), expect(dead_code, reason = "nobody makes one"))]
    Frames {
        frames: Frames,
        chunk: Bytes,
    },
}

pub(super) type Frames =
    Pin<Box<dyn http_body::Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>>>>;

impl Body {
    pub(super) const fn of(kind: Kind) -> Body {
        Body { kind, connection: None }
    }

    /// A body of no bytes.
    pub const fn empty() -> Body {
        Body::of(Kind::Bytes(Bytes::new()))
    }

    /// Sends what `reader` gives until its end, in the handler's greenlet: reading may block cooperatively. HTTP/1.1 clients get it
    /// chunked, unless the length is [known](Body::with_length).
    ///
    /// When reading fails the response is cut off, which the client sees, and the error is reported.
    pub fn from_reader(reader: impl Read + 'static) -> Body {
        let reader = Box::new(BufReader::with_capacity(16 * 1024, reader));
        Body::of(Kind::Reader { reader, length: None })
    }

    /// Has `write` send the body, in the handler's greenlet, after the head: it may block cooperatively on anything, and is suspended
    /// when the client does not keep up. HTTP/1.1 clients get it chunked, a chunk for each write, unless the length is
    /// [known](Body::with_length).
    ///
    /// When it fails the response is cut off, which the client sees, and the error is reported, unless it is that of a client which went
    /// away. It is not called where the client gets no body anyway, for example with `HEAD`.
    ///
    /// ```
    /// use greenlet_core::sleep;
    /// use greenlet_net::http::{Body, Response};
    /// use std::io::Write;
    /// use std::time::Duration;
    ///
    /// let ticks = Body::stream(|out| {
    ///     for n in 0..3 {
    ///         writeln!(out, "{n}")?;
    ///         sleep(Duration::from_secs(1));
    ///     }
    ///     Ok(())
    /// });
    /// let response = Response::new(ticks);
    /// ```
    pub fn stream(write: impl FnOnce(&mut BodyWriter) -> io::Result<()> + 'static) -> Body {
        Body::of(Kind::Writer { write: Box::new(write), length: None })
    }

    /// The response to an [upgrade](super::upgrade()): `run` gets the connection when the `101` was sent.
    pub(super) fn upgrade(on_upgrade: OnUpgrade, run: impl FnOnce(Upgraded) + 'static) -> Body {
        Body::of(Kind::Upgrade { on_upgrade, run: Box::new(run) })
    }

    /// Says how many bytes a [reader](Body::from_reader) or a [writer](Body::stream) will give, which the client gets as
    /// `Content-Length`. If it gives less the connection is cut off; what it gives beyond is not sent. Bodies of bytes know it anyway.
    pub fn with_length(mut self, bytes: u64) -> Body {
        if let Kind::Reader { length, .. } | Kind::Writer { length, .. } = &mut self.kind {
            *length = Some(bytes);
        }
        self
    }

    /// How many bytes there are (of a request: left to read), where that is known.
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::Incoming(incoming) => incoming.length(),
            Kind::Reader { length, .. } | Kind::Writer { length, .. } => *length,
            Kind::Upgrade { .. } => None,
            Kind::Frames { frames, chunk } => {
                frames.size_hint().exact().map(|length| length + chunk.len() as u64)
            }
        }
    }

    /// Reads all of it, if there are not more than `limit` bytes.
    ///
    /// Suspends as a read.
    ///
    /// # Errors
    /// `FileTooLarge` with a [`BodyTooLarge`] inside if there is more (for an [`Error`](super::Error): `413`); otherwise as a read.
    pub fn read_to_bytes(&mut self, limit: u64) -> io::Result<Bytes> {
        if self.length().is_some_and(|length| length > limit) {
            return Err(BodyTooLarge { limit }.into());
        }
        if let Kind::Bytes(bytes) = &mut self.kind {
            return Ok(std::mem::take(bytes));
        }
        let mut all = Vec::new();
        self.by_ref().take(limit.saturating_add(1)).read_to_end(&mut all)?;
        if all.len() as u64 > limit {
            return Err(BodyTooLarge { limit }.into());
        }
        Ok(all.into())
    }

    /// The trailers of a request, once it was read to its end, if the client sent any.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        match &self.kind {
            Kind::Incoming(incoming) => incoming.trailers(),
            _ => None,
        }
    }
}

/// Reads a request's body, waiting for the first byte; 0 is its end.
///
/// A kill or timeout unwinds the greenlet from a read that waits, and then nothing was read. Errors: `UnexpectedEof` if the client went
/// away or ended too early; `InvalidData` if it does not keep to the rules; `TimedOut` if it
/// [stalls](super::Server::body_timeout); `FileTooLarge` if it sends [more than is allowed](super::Server::max_body);
/// `Unsupported` for bodies that are [written](Body::stream).
impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let available = self.fill_buf()?;
        let n = available.len().min(buffer.len());
        buffer[..n].copy_from_slice(&available[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.kind {
            Kind::Bytes(bytes) => Ok(bytes),
            Kind::Incoming(incoming) => incoming.fill(),
            Kind::Reader { reader, .. } => reader.fill_buf(),
            Kind::Frames { frames, chunk } => {
                while chunk.is_empty() {
                    let next = std::future::poll_fn(|context| frames.as_mut().poll_frame(context));
                    match greenlet_core::future::block_on(next) {
                        Some(Ok(frame)) => *chunk = frame.into_data().unwrap_or_default(),
                        Some(Err(error)) => return Err(io::Error::other(error)),
                        None => break,
                    }
                }
                Ok(chunk)
            }
            Kind::Writer { .. } | Kind::Upgrade { .. } => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "this body is written, and cannot be read"))
            }
        }
    }

    fn consume(&mut self, n: usize) {
        match &mut self.kind {
            Kind::Bytes(bytes) => bytes.advance(n.min(bytes.len())),
            Kind::Incoming(incoming) => incoming.consume(n),
            Kind::Reader { reader, .. } => reader.consume(n),
            Kind::Frames { chunk, .. } => chunk.advance(n.min(chunk.len())),
            Kind::Writer { .. } | Kind::Upgrade { .. } => {}
        }
    }
}

/// A body has more bytes than are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the body is longer than the {limit} bytes that are allowed")]
#[non_exhaustive]
pub struct BodyTooLarge {
    /// How many are.
    pub limit: u64,
}

impl From<BodyTooLarge> for io::Error {
    fn from(error: BodyTooLarge) -> io::Error {
        io::Error::new(io::ErrorKind::FileTooLarge, error)
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl From<()> for Body {
    fn from((): ()) -> Body {
        Body::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::of(Kind::Bytes(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Body {
        Bytes::from_static(bytes).into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Body {
    fn from(bytes: &'static [u8; N]) -> Body {
        Bytes::from_static(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Cow<'static, str>> for Body {
    fn from(text: Cow<'static, str>) -> Body {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Bytes(_) => "bytes",
            Kind::Incoming(_) => "incoming",
            Kind::Reader { .. } => "reader",
            Kind::Writer { .. } => "stream",
            Kind::Upgrade { .. } => "upgrade",
            Kind::Frames { .. } => "frames",
        };
        f.debug_struct("Body").field("kind", &kind).field("length", &self.length()).finish()
    }
}
