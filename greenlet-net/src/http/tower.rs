//! Services of tower, axum's routers among them.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use greenlet_core::future::block_on;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tower_service::Service;

use super::body::Kind;
use super::lent::Loan;
pub use super::lent::RequestBody;
use super::{Body, Error, Handler, IntoResponse, Request, Response};
use crate::Address;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Serves a [`tower::Service`](Service): a [`Handler`].
///
/// All [limits](super::Server#limits) of the server hold for services too: a body that is too large or does not come fails with the errors that other
/// handlers get, in a box, and what a service leaves of a body is thrown away, so that the client gets the response.
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
        // Given back when the service has dropped the body: the loan is dropped after it, also when this is killed.
        let (request, loan) = request_for(request);
        let answered = block_on(async move {
            poll_fn(|context| service.poll_ready(context)).await?;
            service.call(request).await
        });
        match answered {
            Ok(response) => response.map(|body| {
                let loan = loan.filter(|loan| !loan.is_over());
                let frames = Box::pin(Boxed { body: Box::pin(body), loan });
                Body::of(Kind::Frames { frames, chunk: Bytes::new() })
            }),
            Err(error) => Error::caused_by(error.into()).into_response(),
        }
    }
}

fn request_for(request: Request) -> (http::Request<RequestBody>, Option<Loan>) {
    let (mut parts, mut body) = request.into_parts();
    if let Some(peer) = body.connection.take().and_then(|connection| connection.peer.clone()) {
        parts.extensions.insert(Peer(peer));
    }
    let (body, loan) = match body.kind {
        Kind::Bytes(bytes) => (RequestBody::of(bytes), None),
        Kind::Incoming(incoming) => {
            let (body, loan) = incoming.lend();
            (body, Some(loan))
        }
        _ => (RequestBody::of(Bytes::new()), None),
    };
    (http::Request::from_parts(parts, body), loan)
}

/// A body whose errors are boxed.
struct Boxed<B> {
    // In this order: it may be made of the request's.
    body: Pin<Box<B>>,
    /// The request's body, which the service has still.
    loan: Option<Loan>,
}

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
        let polled =
            self.body.as_mut().poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        if self.loan.as_ref().is_some_and(Loan::is_over) {
            self.loan = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
