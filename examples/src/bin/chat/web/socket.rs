//! The page's WebSocket: news as they come, and what is said.
//!
//! The page begins with `{token, epoch, after}`: what it knows already. It gets `{epoch, events, missed, members?}`, sends `{say, key}` and gets `{ok: key}` or
//! `{error, key}`. A close with code 4401 says that it has to join again.

use std::sync::Arc;

use greenlet_core::{Kill, spawn};
use greenlet_net::http::{Request, Response, StatusCode};
use greenlet_net::websocket::{Acceptor, CloseCode, Settings, WebSocket};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

use super::api::{self, Failure, Members, Say};
use super::guest::Guest;
use super::guests::Guests;
use crate::limits;

#[derive(Deserialize)]
struct Hello {
    token: String,
    epoch: Option<String>,
    after: u64,
}

/// The page has to join again.
const GONE: u16 = 4401;

pub fn open(guests: &Arc<Guests>, request: &mut Request) -> Result<Response, Failure> {
    let settings = Settings::default().max_message_size(limits::BODY).write_timeout(limits::WRITE);
    let guests = guests.clone();
    Acceptor::new()
        .settings(settings)
        .upgrade(request, move |socket| talk(&guests, &socket))
        .map_err(|refusal| Failure::new(refusal.status(), refusal.reason()))
}

fn talk(guests: &Guests, socket: &WebSocket) {
    let Ok(Some(first)) = socket.recv_timeout(limits::HELLO) else { return };
    let Ok(hello) = serde_json::from_slice::<Hello>(first.as_bytes()) else {
        let _ = socket.close(CloseCode::Policy, "expected {token, after}");
        return;
    };
    let Some(guest) = guests.find(&hello.token) else {
        let _ = socket.close(GONE.into(), "please join again");
        return;
    };
    let _page = guest.page();
    let teller = spawn({
        let (socket, guest) = (socket.clone(), guest.clone());
        let after = guest.known(hello.epoch.as_deref(), hello.after);
        move || tell(&socket, &guest, after)
    });
    let _teller = KillAtEnd(&teller);
    while let Ok(Some(message)) = socket.recv() {
        let answer = match hear(&guest, message.as_bytes()) {
            Ok(key) => json!({ "ok": key }).to_string(),
            Err((failure, key)) => {
                if failure.is_gone() {
                    let _ = socket.close(GONE.into(), "please join again");
                    return;
                }
                failure.message(key.as_deref())
            }
        };
        if socket.send(answer).is_err() {
            return;
        }
    }
}

/// Sends news until there will be none any more.
fn tell(socket: &WebSocket, guest: &Guest, mut after: u64) {
    let mut members = Members::Shown;
    while let Some(news) = guest.inbox.after(after, patience(members)) {
        if news.moved() {
            members = Members::Shown;
        }
        after = news.events.last().map_or(after, |event| event.id);
        let batch = api::batch(guest, &news, members);
        let Ok(text) = serde_json::to_string(&batch) else { return };
        if socket.send(text).is_err() {
            return;
        }
        members = Members::AsBefore;
    }
    let _ = socket.close(GONE.into(), "please join again");
}

/// The first batch comes at once, so that the page knows that it is there.
fn patience(members: Members) -> Duration {
    match members {
        Members::Shown => Duration::ZERO,
        Members::AsBefore => Duration::MAX,
    }
}

fn hear(guest: &Guest, message: &[u8]) -> Result<String, (Failure, Option<String>)> {
    let said: Say = serde_json::from_slice(message)
        .map_err(|error| (Failure::new(StatusCode::BAD_REQUEST, error.to_string()), None))?;
    let key = api::key(said.key).map_err(|failure| (failure, None))?;
    match guest.say(&said.text, key.clone()) {
        Ok(()) => Ok(key),
        Err(complaint) => Err((complaint.into(), Some(key))),
    }
}

struct KillAtEnd<'a>(&'a greenlet_core::GreenletRef);

impl Drop for KillAtEnd<'_> {
    fn drop(&mut self) {
        self.0.kill_with(Kill::default().no_wait());
    }
}
