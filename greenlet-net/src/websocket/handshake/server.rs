//! The server's side.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use greenlet_core::Instant;
use thiserror::Error;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::server::{create_response_with_body, write_response};
use tungstenite::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use tungstenite::http::header::{
    HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use tungstenite::protocol::Role;

use super::super::settings::{Settings, at_least_some};
use super::super::socket::WebSocket;
use super::head::{self, Head, HeadError, Until};
use crate::Stream;

/// How long a client that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(2);

/// Makes a websocket of a connection that a client has just opened, with the defaults of [`Acceptor`].
///
/// Suspends until the handshake is done; a kill or timeout drops the connection. Returns the request too, with its path and headers.
///
/// # Errors
/// As [`AcceptError`].
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{websocket, TcpListener};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let url = format!("ws://{}/news?since=7", listener.local_addr()?);
/// spawn(move || websocket::connect(&url).unwrap().recv());
///
/// let (socket, request) = websocket::accept(listener.accept()?.0)?;
/// assert_eq!(request.uri(), "/news?since=7");
/// socket.send("nothing new")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn accept<S: Stream>(stream: S) -> Result<(WebSocket, Request<()>), AcceptError> {
    Acceptor::new().accept(stream)
}

/// Why a connection did not become a websocket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The connection failed, or ended in the middle of the request.
    #[error("the connection failed in the handshake: {0}")]
    Io(#[source] io::Error),
    /// The client took too long.
    #[error("no handshake in {0:?}")]
    TimedOut(Duration),
    /// The client was told that it cannot have a websocket.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The answer to a client that does not get a websocket: a status and a line of text.
#[derive(Clone, Debug, Error)]
#[error("refused with {status}: {reason}")]
pub struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    /// A status of 400 or above, and why.
    ///
    /// # Panics
    /// When the status is below 400.
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Refusal {
        assert!(status.as_u16() >= 400, "a refusal is an error of the client or the server, not {status}");
        Refusal { status, reason: reason.into() }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The response that says so.
    pub fn response(&self) -> Response<String> {
        let mut response = Response::new(format!("{}\n", self.reason));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// Which pages of browsers may connect. Other clients send no `Origin`, and are always let in.
#[derive(Clone, Debug)]
enum Origins {
    /// Those of this host, whatever it is called.
    SameHost,
    These(Vec<String>),
    Any,
}

/// How servers do the handshake: what they offer, whom they let in, and the limits.
///
/// ```
/// use greenlet_net::websocket::{Acceptor, Refusal, Settings, StatusCode};
/// use greenlet_net::TcpStream;
///
/// fn serve(stream: TcpStream) -> Result<(), Box<dyn std::error::Error>> {
///     let acceptor = Acceptor::new()
///         .subprotocols(["chat.v2", "chat.v1"])
///         .origins(["https://chat.example.org"])
///         .settings(Settings::default().max_message_size(16 * 1024));
///     let (socket, _request) = acceptor.accept_if(stream, |request| match request.uri().path() {
///         "/chat" => Ok(()),
///         path => Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no {path}"))),
///     })?;
///     socket.send("welcome")?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Acceptor {
    subprotocols: Vec<String>,
    origins: Origins,
    headers: HeaderMap,
    settings: Settings,
    timeout: Duration,
    max_head_size: usize,
}

impl Default for Acceptor {
    fn default() -> Acceptor {
        Acceptor {
            subprotocols: Vec::new(),
            origins: Origins::SameHost,
            headers: HeaderMap::new(),
            settings: Settings::default(),
            timeout: Duration::from_secs(10),
            max_head_size: 16 * 1024,
        }
    }
}

impl Acceptor {
    /// Offers no subprotocol, and lets in browsers from pages of the same host, and all else.
    pub fn new() -> Acceptor {
        Acceptor::default()
    }

    /// The subprotocols that the server speaks, the best first: the first one that the client speaks too is used. If there is none, the connection
    /// goes on without one.
    #[must_use]
    pub fn subprotocols<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Acceptor {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Lets browsers in from pages of these origins only, like `https://example.org`.
    #[must_use]
    pub fn origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Acceptor {
        self.origins = Origins::These(origins.into_iter().map(Into::into).collect());
        self
    }

    /// Lets browsers in from any page: for services without cookies or other credentials that a browser sends by itself.
    #[must_use]
    pub fn any_origin(mut self) -> Acceptor {
        self.origins = Origins::Any;
        self
    }

    /// A header of the response, for example a cookie.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Acceptor {
        self.headers.append(name, value);
        self
    }

    /// The limits of the connection.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Acceptor {
        self.settings = settings;
        self
    }

    /// How long the handshake may take altogether, 10 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Acceptor {
        self.timeout = timeout;
        self
    }

    /// The longest head of a request, in bytes, 16 KiB by default. A longer one is answered with 431; so are more than 124 headers.
    #[must_use]
    pub fn max_head_size(mut self, bytes: usize) -> Acceptor {
        self.max_head_size = bytes;
        self
    }

    /// Makes a websocket of a connection that a client has just opened.
    ///
    /// As [`accept`](accept()).
    ///
    /// # Errors
    /// As [`AcceptError`].
    pub fn accept<S: Stream>(&self, stream: S) -> Result<(WebSocket, Request<()>), AcceptError> {
        self.accept_if(stream, |_| Ok(()))
    }

    /// As [`accept`](Acceptor::accept), if `check` finds nothing against it. `check` gets requests that are in order otherwise, and may suspend.
    ///
    /// # Errors
    /// As [`AcceptError`]; what `check` returned, which is sent to the client.
    pub fn accept_if<S: Stream>(
        &self,
        stream: S,
        check: impl FnOnce(&Request<()>) -> Result<(), Refusal>,
    ) -> Result<(WebSocket, Request<()>), AcceptError> {
        let until = Until::new(self.timeout);
        let received = head::receive::<Request<()>>(&stream, self.max_head_size, until);
        let answered = received.map_err(|error| self.refuse_head(error)).and_then(|received| {
            let response = self.respond(&received.head)?;
            check(&received.head)?;
            Ok((received, response))
        });
        let (Head { head: request, leftover }, response) = match answered {
            Ok(answered) => answered,
            Err(AcceptError::Refused(refusal)) => {
                refuse(&stream, &refusal);
                return Err(refusal.into());
            }
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::with_capacity(256);
        write_response(&mut bytes, &response).map_err(|error| AcceptError::Io(io::Error::other(error)))?;
        head::send(&stream, &bytes, until).map_err(|error| self.refuse_head(error))?;
        let socket =
            self.upgraded(Box::new(stream), response.headers(), leftover).map_err(AcceptError::Io)?;
        Ok((socket, request))
    }

    /// The response to a request that asks for a websocket, for those who serve HTTP otherwise: it has status 101. When it is sent,
    /// [`upgraded`](Acceptor::upgraded) takes the connection.
    ///
    /// # Errors
    /// The request does not ask for a websocket, or not for one that it can have. [`Refusal::response`] says so.
    pub fn respond<B>(&self, request: &Request<B>) -> Result<Response<()>, Refusal> {
        let mut response = create_response_with_body(request, || ()).map_err(refuse_request)?;
        let headers = request.headers();
        for name in [HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION] {
            if headers.get_all(&name).iter().count() != 1 {
                return Err(bad(format!("expected one {name}")));
            }
        }
        if headers.contains_key(TRANSFER_ENCODING)
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
        {
            return Err(bad("the request has a body"));
        }
        if !self.lets_in(headers) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "not from pages of this origin"));
        }
        response.headers_mut().extend(self.headers.clone());
        if let Some(chosen) = self.choose(headers)
            && let Ok(value) = HeaderValue::from_str(chosen)
        {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        Ok(response)
    }

    /// The websocket on a connection whose client was sent these `headers`, which are from [`respond`](Acceptor::respond). `leftover` is what was
    /// received behind the request.
    ///
    /// # Errors
    /// What the stream says to a change of its timeouts.
    pub fn upgraded(
        &self,
        stream: Box<dyn Stream>,
        headers: &HeaderMap,
        leftover: Vec<u8>,
    ) -> io::Result<WebSocket> {
        let chosen = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|name| name.to_str().ok());
        let socket = WebSocket::from_stream(stream, Role::Server, &self.settings, leftover)?;
        Ok(socket.with_subprotocol(chosen))
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        match &self.origins {
            Origins::Any => true,
            Origins::These(origins) => origins.iter().any(|it| it.eq_ignore_ascii_case(origin)),
            Origins::SameHost => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                let origin: Option<Uri> = origin.parse().ok();
                let page = origin.as_ref().and_then(Uri::authority);
                host.zip(page).is_some_and(|(host, page)| page.as_str().eq_ignore_ascii_case(host))
            }
        }
    }

    fn choose(&self, headers: &HeaderMap) -> Option<&str> {
        let spoken = |name: &str| {
            let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
            lists
                .filter_map(|list| list.to_str().ok())
                .flat_map(|list| list.split(','))
                .any(|it| it.trim() == name)
        };
        self.subprotocols.iter().map(String::as_str).find(|name| spoken(name))
    }

    fn refuse_head(&self, error: HeadError) -> AcceptError {
        match error {
            HeadError::Io(error) => AcceptError::Io(error),
            HeadError::TimedOut => AcceptError::TimedOut(self.timeout),
            HeadError::TooLarge => {
                let limit = self.max_head_size;
                let reason = format!("the head of the request is longer than {limit} bytes");
                Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason).into()
            }
            HeadError::Malformed(error) => refuse_request(error).into(),
        }
    }
}

fn bad(reason: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}

/// What is wrong with a request, as HTTP says it.
fn refuse_request(error: tungstenite::Error) -> Refusal {
    use tungstenite::Error::{Capacity, Protocol};
    let status = match &error {
        Capacity(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Protocol(ProtocolError::WrongHttpMethod) => StatusCode::METHOD_NOT_ALLOWED,
        Protocol(ProtocolError::WrongHttpVersion) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        Protocol(
            ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader
            | ProtocolError::MissingSecWebSocketVersionHeader,
        ) => StatusCode::UPGRADE_REQUIRED,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal::new(status, error.to_string())
}

/// Tells the client, and waits a little for it to read that: a close with something unread would reset the connection.
fn refuse(stream: &dyn Stream, refusal: &Refusal) {
    let mut response = refusal.response();
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("close"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let mut bytes = Vec::with_capacity(256);
    if write_response(&mut bytes, &response).is_err() {
        return;
    }
    bytes.extend_from_slice(response.body().as_bytes());
    let start = Instant::now();
    if head::send(stream, &bytes, Until::new(LINGER)).is_err() || stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut ignored = [0; 512];
    while start.elapsed() < LINGER {
        let left = at_least_some(LINGER.saturating_sub(start.elapsed()));
        let _ = stream.set_read_timeout(Some(left));
        if !matches!(stream.recv(&mut ignored), Ok(1..)) {
            return;
        }
    }
}
