//! Services of tower, axum's routers among them.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use greenlet_core::future::block_on;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower_service::Service;

use super::body::{BodyTooLarge, Kind};
use super::{Body, Error, Handler, IntoResponse, Request, Response};
use crate::Address;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Serves a [`tower::Service`](Service): a [`Handler`].
///
/// The future of each request runs in the greenlet of that request, so that it, and what it calls, may block cooperatively too. Futures that need the
/// reactor of a runtime (tokio's sockets and timers) need that runtime [entered](greenlet_core::future). The address of the client is an extension of the
/// request, of type [`Peer`].
///
/// ```
/// use axum::{routing::get, Router};
/// use greenlet_net::http::{Server, TowerService};
/// use greenlet_net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// let app = Router::new().route("/", get(|| async {
///     greenlet_core::sleep(std::time::Duration::from_millis(1)); // suspends this request only
///     "axum on greenlets"
/// }));
/// let server = Server::new(TowerService::new(app)).start(TcpListener::bind("127.0.0.1:0")?)?;
///
/// let mut client = TcpStream::connect(server.local_addr()?)?;
/// client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
/// let mut response = String::new();
/// client.read_to_string(&mut response)?;
/// assert!(response.ends_with("axum on greenlets"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TowerService<S> {
    service: S,
}

impl<S> TowerService<S> {
    /// Each request is answered by a clone of `service`.
    pub fn new<B>(service: S) -> TowerService<S>
    where
        S: Service<http::Request<RequestBody>, Response = http::Response<B>> + Clone + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        TowerService { service }
    }
}

/// The address of a client, as an extension of the requests that services get.
#[derive(Clone, Debug)]
pub struct Peer(pub Address);

impl<S, B> Handler for TowerService<S>
where
    S: Service<http::Request<RequestBody>, Response = http::Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    fn handle(&self, request: Request) -> Response {
        let mut service = self.service.clone();
        let request = request_for(request);
        let answered = block_on(async move {
            poll_fn(|context| service.poll_ready(context)).await?;
            service.call(request).await
        });
        match answered {
            Ok(response) => response.map(|body| {
                let frames = Box::pin(Boxed(Box::pin(body)));
                Body::of(Kind::Frames { frames, chunk: Bytes::new() })
            }),
            Err(error) => Error::internal(error.into()).into_response(),
        }
    }
}

fn request_for(request: Request) -> http::Request<RequestBody> {
    let (mut parts, mut body) = request.into_parts();
    if let Some(peer) = body.connection.take().and_then(|connection| connection.peer.clone()) {
        parts.extensions.insert(Peer(peer));
    }
    let body = match body.kind {
        Kind::Bytes(bytes) => Source::Bytes(bytes),
        Kind::Incoming(incoming) => {
            let limit = incoming.limit();
            Source::Incoming(incoming.into_hyper(), limit)
        }
        _ => Source::Bytes(Bytes::new()),
    };
    http::Request::from_parts(parts, RequestBody { body })
}

/// The body of a request, as services get it.
pub struct RequestBody {
    body: Source,
}

enum Source {
    Bytes(Bytes),
    /// And how many bytes it may have.
    Incoming(hyper::body::Incoming, u64),
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.body {
            Source::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Source::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Incoming(incoming, limit) => {
                let frame = std::task::ready!(Pin::new(incoming).poll_frame(context));
                let Some(Ok(frame)) = frame else {
                    return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
                };
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                match limit.checked_sub(length) {
                    Some(left) => *limit = left,
                    None => return Poll::Ready(Some(Err(BodyTooLarge { limit: *limit }.into()))),
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Bytes(bytes) => bytes.is_empty(),
            Source::Incoming(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Incoming(incoming, _) => incoming.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("length", &self.size_hint().exact()).finish()
    }
}

/// A body whose errors are boxed.
struct Boxed<B>(Pin<Box<B>>);

impl<B: HttpBody<Data = Bytes>> HttpBody for Boxed<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
