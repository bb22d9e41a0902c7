//! The client's side.

use std::io;
use std::time::Duration;

use greenlet_core::with_timeout;
use thiserror::Error;
use tungstenite::handshake::client::{Response as Parsed, generate_key, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use tungstenite::protocol::Role;

use super::super::settings::Settings;
use super::super::socket::WebSocket;
use super::head::{self, Head, HeadError, Until};
#[cfg(feature = "tls")]
use crate::tls::{TlsConnector, TlsError};
use crate::{Stream, TcpStream};

/// What the handshake itself sets.
const OWN: [HeaderName; 7] = [
    HOST,
    CONNECTION,
    UPGRADE,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_EXTENSIONS,
];

/// Connects to a server, with the defaults of [`Connector`]: `ws://host:port/path?query`, or `wss://` with the feature `tls`.
///
/// Suspends until the handshake is done; a kill or timeout drops the connection.
///
/// # Errors
/// As [`ConnectError`].
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::{websocket, TcpListener};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let url = format!("ws://{}/", listener.local_addr()?);
/// spawn(move || websocket::accept(listener.accept().unwrap().0).unwrap().0.send("welcome"));
/// assert_eq!(websocket::connect(&url)?.recv()?, Some("welcome".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn connect(url: &str) -> Result<WebSocket, ConnectError> {
    Connector::new().connect(url).map(|(socket, _)| socket)
}

/// Why there is no websocket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is not one of a websocket. Nothing was sent.
    #[error("{url:?} is no URL of a websocket: {what}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A header, or the name of a subprotocol, that cannot be sent, or that the handshake itself sets. Nothing was sent.
    #[error("{0:?} cannot be a header or subprotocol of the request")]
    Header(String),
    /// The connection could not be made, or failed.
    #[error("no connection: {0}")]
    Io(#[source] io::Error),
    /// The connection is there, but not the TLS session.
    #[cfg(feature = "tls")]
    #[error("no TLS session: {0}")]
    Tls(#[source] TlsError),
    /// It took too long, altogether.
    #[error("no handshake in {0:?}")]
    TimedOut(Duration),
    /// The server has answered, but with no websocket: it may want a redirect to be followed, or a password. The body is as far as it has arrived
    /// with the head.
    #[error("the server refused with {}", .0.status())]
    Refused(Box<Response<Vec<u8>>>),
    /// The server's answer is against the protocol.
    #[error("the server's handshake is wrong: {0}")]
    Violation(String),
}

/// How clients do the handshake.
///
/// ```no_run
/// use greenlet_net::websocket::Connector;
/// use std::time::Duration;
///
/// let (socket, response) = Connector::new()
///     .subprotocols(["chat.v2"])
///     .header("authorization", "Bearer 1234")
///     .timeout(Duration::from_secs(5))
///     .connect("ws://chat.example.org/rooms/rust")?;
/// println!("{} speaks {:?}", response.headers()["server"].to_str()?, socket.subprotocol());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    subprotocols: Vec<String>,
    headers: Vec<(String, String)>,
    settings: Settings,
    timeout: Duration,
    max_head_size: usize,
    #[cfg(feature = "tls")]
    tls: Option<TlsConnector>,
}

impl Default for Connector {
    fn default() -> Connector {
        Connector {
            subprotocols: Vec::new(),
            headers: Vec::new(),
            settings: Settings::default(),
            timeout: Duration::from_secs(30),
            max_head_size: 64 * 1024,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Connector {
    /// Wants no subprotocol.
    pub fn new() -> Connector {
        Connector::default()
    }

    /// The subprotocols that the client speaks, the best first. The server chooses one or none: [`WebSocket::subprotocol`].
    #[must_use]
    pub fn subprotocols<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Connector {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// A header of the request. One that the handshake itself sets is an error of [`connect`](Connector::connect).
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Connector {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The limits of the connection.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Connector {
        self.settings = settings;
        self
    }

    /// How TLS sessions are made for `wss://`. By default they trust the authorities of the system.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, connector: TlsConnector) -> Connector {
        self.tls = Some(connector);
        self
    }

    /// How long it may take altogether: to look up the name, to connect, and the handshake. 30 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Connector {
        self.timeout = timeout;
        self
    }

    /// Connects. Returns the server's response too.
    ///
    /// As [`connect`](connect()).
    ///
    /// # Errors
    /// As [`ConnectError`].
    pub fn connect(&self, url: &str) -> Result<(WebSocket, Response<()>), ConnectError> {
        let until = Until::new(self.timeout);
        let target = Target::parse(url)?;
        let (request, key) = self.request(&target)?;
        let stream = self.open(&target, until)?;
        self.handshake(stream, &request, &key, until)
    }

    /// Does the handshake over a connection that is there already, for example through a proxy. It is for the server to know what the scheme of the URL
    /// means: TLS is the stream's.
    ///
    /// # Errors
    /// As [`ConnectError`].
    pub fn connect_over<S: Stream>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        let until = Until::new(self.timeout);
        let (request, key) = self.request(&Target::parse(url)?)?;
        self.handshake(Box::new(stream), &request, &key, until)
    }

    fn open(&self, target: &Target, until: Until) -> Result<Box<dyn Stream>, ConnectError> {
        let left = until.left().ok_or(ConnectError::TimedOut(self.timeout))?;
        let opened = with_timeout(left, || {
            let stream = TcpStream::connect((target.host.as_str(), target.port)).map_err(ConnectError::Io)?;
            // Messages are whole when they are sent: there is nothing to wait for.
            stream.set_nodelay(true).map_err(ConnectError::Io)?;
            match target.security {
                Security::Plain => Ok(Box::new(stream) as Box<dyn Stream>),
                Security::Tls => self.secure(stream, target),
            }
        });
        opened.map_err(|_| ConnectError::TimedOut(self.timeout))?
    }

    #[cfg(feature = "tls")]
    fn secure(&self, stream: TcpStream, target: &Target) -> Result<Box<dyn Stream>, ConnectError> {
        let session = match &self.tls {
            Some(connector) => connector.connect(&target.host, stream),
            None => {
                let connector =
                    TlsConnector::new().map_err(|error| ConnectError::Io(std::io::Error::other(error)))?;
                connector.connect(&target.host, stream)
            }
        };
        Ok(Box::new(session.map_err(ConnectError::Tls)?))
    }

    #[cfg(not(feature = "tls"))]
    fn secure(&self, _stream: TcpStream, target: &Target) -> Result<Box<dyn Stream>, ConnectError> {
        let what = "TLS is not built in (feature `tls`)";
        Err(ConnectError::Url { url: target.uri.to_string(), what })
    }

    fn handshake(
        &self,
        stream: Box<dyn Stream>,
        request: &[u8],
        key: &str,
        until: Until,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        let failed = |error| match error {
            HeadError::Io(error) => ConnectError::Io(error),
            HeadError::TimedOut => ConnectError::TimedOut(self.timeout),
            HeadError::TooLarge => {
                ConnectError::Violation(format!("a head of more than {} bytes", self.max_head_size))
            }
            HeadError::Malformed(error) => ConnectError::Violation(error.to_string()),
        };
        head::send(&*stream, request, until).map_err(failed)?;
        let Head { head, leftover } =
            head::receive::<Parsed>(&*stream, self.max_head_size, until).map_err(failed)?;
        let (parts, _) = head.into_parts();
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ConnectError::Refused(Box::new(Response::from_parts(parts, leftover))));
        }
        let subprotocol =
            self.verify(&parts.headers, key).map_err(|what| ConnectError::Violation(what.into()))?;
        let socket = WebSocket::from_stream(stream, Role::Client, &self.settings, leftover)
            .map_err(ConnectError::Io)?
            .with_subprotocol(subprotocol.as_deref());
        Ok((socket, Response::from_parts(parts, ())))
    }

    /// The bytes of the request, and its key.
    fn request(&self, target: &Target) -> Result<(Vec<u8>, String), ConnectError> {
        let wrong = |what: &str| ConnectError::Header(what.to_owned());
        let mut request = Request::new(());
        *request.uri_mut() = target.uri.clone();
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(name))?;
            if OWN.contains(&key) {
                return Err(wrong(name));
            }
            headers.append(key, HeaderValue::from_str(value).map_err(|_| wrong(value))?);
        }
        if !self.subprotocols.is_empty() {
            if let Some(name) =
                self.subprotocols.iter().find(|name| HeaderName::from_bytes(name.as_bytes()).is_err())
            {
                return Err(wrong(name)); // both are tokens
            }
            let list = self.subprotocols.join(", ");
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&list).map_err(|_| wrong(&list))?);
        }
        let authority = HeaderValue::from_str(&target.authority).map_err(|_| wrong(&target.authority))?;
        headers.insert(HOST, authority);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let key = HeaderValue::from_str(&generate_key()).map_err(|_| wrong("key"))?;
        headers.insert(SEC_WEBSOCKET_KEY, key);
        generate_request(request).map_err(|error| ConnectError::Header(error.to_string()))
    }

    /// What the RFC wants a client to look at (4.1). Returns the subprotocol.
    fn verify(&self, headers: &HeaderMap, key: &str) -> Result<Option<String>, &'static str> {
        if !has_token(headers, &UPGRADE, "websocket") {
            return Err("no upgrade to websocket");
        }
        if !has_token(headers, &CONNECTION, "upgrade") {
            return Err("no connection: upgrade");
        }
        let expected = derive_accept_key(key.as_bytes());
        let accepted: Vec<_> = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter().collect();
        if accepted.len() != 1 || *accepted[0] != expected {
            return Err("sec-websocket-accept does not fit the key");
        }
        if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            return Err("an extension that was not asked for");
        }
        let mut chosen = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        match (chosen.next().map(HeaderValue::to_str), chosen.next()) {
            (None, _) => Ok(None),
            (Some(Ok(name)), None) if self.subprotocols.iter().any(|it| it == name) => {
                Ok(Some(name.to_owned()))
            }
            _ => Err("a subprotocol that was not asked for"),
        }
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).iter();
    lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|it| it.trim().eq_ignore_ascii_case(token))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Security {
    Plain,
    Tls,
}

/// Where to connect to, and what to ask for there.
struct Target {
    uri: Uri,
    security: Security,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// For the `Host` header: without a port that goes without saying.
    authority: String,
}

impl Target {
    fn parse(url: &str) -> Result<Target, ConnectError> {
        let wrong = |what| ConnectError::Url { url: url.to_owned(), what };
        let uri: Uri = url.parse().map_err(|_| wrong("it is malformed"))?;
        let (security, usual) = match uri.scheme_str() {
            Some("ws") => (Security::Plain, 80),
            Some("wss") => (Security::Tls, 443),
            _ => return Err(wrong("it begins with neither ws:// nor wss://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user in it; send an authorization header"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let port = match authority.port() {
            None if authority.as_str().len() > host.len() => {
                return Err(wrong("its port is no number up to 65535"));
            }
            None => usual,
            Some(port) => port.as_u16(),
        };
        let shown = if port == usual { host.to_owned() } else { format!("{host}:{port}") };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Target { security, host: bare.to_owned(), port, authority: shown, uri })
    }
}
