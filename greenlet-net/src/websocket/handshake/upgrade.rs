//! The server's side, as a part of an HTTP server.

use tungstenite::http::StatusCode;

use super::server::{Acceptor, Refusal};
use crate::http::{Request, Response, upgrade};
use crate::websocket::WebSocket;

impl Acceptor {
    /// The response to a request of [`http`](crate::http) that asks for a websocket: `run` is called with it, in the handler's greenlet, when the client has
    /// got the response. Needs the feature `http` too.
    ///
    /// Does not suspend.
    ///
    /// # Errors
    /// As [`respond`](Acceptor::respond).
    ///
    /// ```
    /// use greenlet_net::http::{Request, Response, Server, StatusCode};
    /// use greenlet_net::websocket::{self, Acceptor};
    /// use greenlet_net::TcpListener;
    ///
    /// let acceptor = Acceptor::new();
    /// let server = Server::new(move |mut request: Request| match request.uri().path() {
    ///     "/socket" => acceptor
    ///         .upgrade(&mut request, |socket| drop(socket.send("welcome")))
    ///         .unwrap_or_else(|refusal| refusal.response().map(Into::into)),
    ///     _ => Response::new("a page".into()),
    /// });
    /// let server = server.start(TcpListener::bind("127.0.0.1:0")?)?;
    /// let socket = websocket::connect(&format!("ws://{}/socket", server.local_addr()?))?;
    /// assert_eq!(socket.recv()?, Some("welcome".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn upgrade(
        &self,
        request: &mut Request,
        run: impl FnOnce(WebSocket) + 'static,
    ) -> Result<Response, Refusal> {
        let agreed = self.respond(request)?;
        let (acceptor, chosen) = (self.clone(), agreed.headers().clone());
        let response = upgrade(request, "websocket", move |upgraded| {
            let (stream, ahead) = upgraded.into_parts();
            // It fails if the client has gone, and then there is nobody to tell.
            if let Ok(socket) = acceptor.upgraded(stream, &chosen, ahead.into()) {
                run(socket);
            }
        });
        let mut response =
            response.map_err(|error| Refusal::new(StatusCode::UPGRADE_REQUIRED, error.to_string()))?;
        for (name, value) in agreed.headers() {
            response.headers_mut().insert(name, value.clone());
        }
        Ok(response)
    }
}
