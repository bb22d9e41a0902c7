//! The page, and what it talks to: JSON over HTTP and WebSocket.
//!
//! | request | |
//! |---|---|
//! | `GET /`, `/chat.css`, `/chat.js`, `/icon.svg` | the page |
//! | `POST /api/join` `{name, room}` | `{token, name, room}`: who one is from now on |
//! | `GET /api/events?epoch=ROOM&after=ID` | a poll: waits for news for 10 s |
//! | `GET /api/socket` | a WebSocket, see `socket` |
//! | `POST /api/say` `{text, key}` | `{}`; once for each key, however often it is sent |
//! | `POST /api/leave` | `{}` |
//!
//! All but the first come with `Authorization: Bearer TOKEN`. An error is `{error}` with a status.

mod api;
mod guest;
mod guests;
mod inbox;
mod page;
mod socket;

use std::sync::Arc;

use greenlet_actor::{SupervisorRef, System};
use greenlet_net::TcpListener;
use greenlet_net::http::{
    AccessLog, IntoResponse, Method, Request, Response, RunningServer, Server, StatusCode,
};

use api::Failure;
pub use guests::Guests;

use crate::limits;

/// Serves the page on all cores, with the rooms of this supervisor's lobby.
pub fn serve(
    listener: TcpListener,
    system: Arc<System>,
    tree: SupervisorRef,
    grace: std::time::Duration,
) -> std::io::Result<RunningServer> {
    let hubs = system.hubs();
    let guests = Arc::new(Guests::new(system, tree, grace));
    greenlet_core::spawn({
        let guests = guests.clone();
        move || guests.see_off()
    });
    Server::new(move |request: Request| answer(&guests, request))
        // What is only a little too long is refused by what gets it, with a reason.
        .max_body(4 * limits::BODY as u64)
        .max_connections(limits::CONNECTIONS)
        .access_log(AccessLog::Off)
        .start_on_hubs(hubs, listener)
}

fn answer(guests: &Arc<Guests>, mut request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if let Some(file) = page::file(&path) {
        return if method == Method::GET || method == Method::HEAD {
            file
        } else {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        };
    }
    let answered = match (method, path.as_str()) {
        (Method::POST, "/api/join") => api::join(guests, &mut request),
        (Method::GET, "/api/events") => api::events(guests, &request),
        (Method::GET, "/api/socket") => socket::open(guests, &mut request),
        (Method::POST, "/api/say") => api::say(guests, &mut request),
        (Method::POST, "/api/leave") => api::leave(guests, &request),
        _ => Err(Failure::new(StatusCode::NOT_FOUND, "there is nothing here")),
    };
    answered.unwrap_or_else(Failure::into_response)
}
