//! What the page asks for, as JSON.

use std::sync::Arc;

use greenlet_net::http::{IntoResponse, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::guest::Guest;
use super::guests::Guests;
use super::inbox::News;
use crate::event::{Event, What};
use crate::limits;
use crate::protocol::{Complaint, Name};

#[derive(Deserialize)]
struct Join {
    name: String,
    room: String,
}

#[derive(Deserialize)]
pub struct Say {
    #[serde(rename = "say", alias = "text")]
    pub text: String,
    pub key: String,
}

/// Why the page does not get what it asks for.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    error: String,
}

impl Failure {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Failure {
        Failure { status, error: error.into() }
    }

    /// The page has to join again: its user is gone, or was never here.
    fn gone() -> Failure {
        Failure::new(StatusCode::UNAUTHORIZED, "the server does not know you (any more): please join again")
    }

    pub fn into_response(self) -> Response {
        respond(self.status, &json!({ "error": self.error }))
    }
}

impl From<Complaint> for Failure {
    fn from(complaint: Complaint) -> Failure {
        let status = match complaint {
            Complaint::NameTaken(_) => StatusCode::CONFLICT,
            Complaint::TooFast => StatusCode::TOO_MANY_REQUESTS,
            Complaint::NoRoom => return Failure::gone(),
            Complaint::TooManyRooms | Complaint::TooManyUsers | Complaint::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::BAD_REQUEST,
        };
        Failure::new(status, complaint.to_string())
    }
}

type Answer = Result<Response, Failure>;

pub fn join(guests: &Guests, request: &mut Request) -> Answer {
    let join: Join = body(request)?;
    let (token, guest) = guests.join(Name::new(join.name.trim())?, Name::new(join.room.trim())?)?;
    let (name, room) = (guest.name.to_string(), guest.room.to_string());
    Ok(respond(StatusCode::OK, &json!({ "token": token, "name": name, "room": room })))
}

/// A poll.
pub fn events(guests: &Guests, request: &Request) -> Answer {
    let guest = who(guests, request)?;
    let query = request.uri().query().unwrap_or_default();
    let field = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let after = field("after").unwrap_or("0").parse();
    let after = after.map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "after= takes a number"))?;
    let _page = guest.page();
    let after = guest.known(field("epoch"), after);
    let news = guest.inbox.after(after, limits::POLL).ok_or_else(Failure::gone)?;
    Ok(respond(StatusCode::OK, &batch(&guest, &news, Members::Shown)))
}

pub fn say(guests: &Guests, request: &mut Request) -> Answer {
    let guest = who(guests, request)?;
    let said: Say = body(request)?;
    guest.say(&said.text, key(said.key)?)?;
    Ok(respond(StatusCode::OK, &json!({})))
}

pub fn leave(guests: &Guests, request: &Request) -> Answer {
    if let Some(token) = token(request) {
        guests.leave(token);
    }
    Ok(respond(StatusCode::OK, &json!({})))
}

/// What tells messages of one page apart.
pub fn key(key: String) -> Result<String, Failure> {
    let good =
        (1..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    good.then_some(key)
        .ok_or_else(|| Failure::new(StatusCode::BAD_REQUEST, "a key has 1 to 64 letters, digits and -"))
}

/// Whether the members of the room are told too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Members {
    Shown,
    AsBefore,
}

#[derive(Serialize)]
pub struct Batch {
    epoch: String,
    events: Vec<serde_json::Value>,
    missed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<String>>,
}

/// News, as the page gets them.
pub fn batch(guest: &Guest, news: &News, members: Members) -> Batch {
    Batch {
        epoch: guest.epoch.clone(),
        events: news.events.iter().map(|event| show(event)).collect(),
        missed: news.missed,
        members: (members == Members::Shown).then(|| guest.members().iter().map(Name::to_string).collect()),
    }
}

fn show(Event { id, at, what }: &Event) -> serde_json::Value {
    match what {
        What::Said { name, text, key } => {
            json!({ "id": id, "at": at, "what": "said", "name": name.to_string(), "text": text, "key": key })
        }
        What::Joined(name) => json!({ "id": id, "at": at, "what": "joined", "name": name.to_string() }),
        What::Left(name) | What::TooSlow(name) => {
            json!({ "id": id, "at": at, "what": "left", "name": name.to_string() })
        }
        What::Renamed { before, name } => {
            json!({ "id": id, "at": at, "what": "renamed", "before": before.to_string(), "name": name.to_string() })
        }
    }
}

fn token(request: &Request) -> Option<&str> {
    request.headers().get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

fn who(guests: &Guests, request: &Request) -> Result<Arc<Guest>, Failure> {
    token(request).and_then(|token| guests.find(token)).ok_or_else(Failure::gone)
}

/// Only JSON that says so: a page elsewhere cannot send that without being asked first.
fn body<T: DeserializeOwned>(request: &mut Request) -> Result<T, Failure> {
    let kind = request.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() != "application/json" {
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json"));
    }
    let bytes = request.body_mut().read_to_bytes(limits::BODY as u64).map_err(|_| {
        let reason = format!("the request is broken, or longer than {} bytes", limits::BODY);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn respond(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut response = (status, text).into_response();
    for (name, value) in [("content-type", "application/json"), ("cache-control", "no-store")] {
        response.headers_mut().insert(name, value.parse().expect("it is fixed"));
    }
    response
}

impl Failure {
    /// As a message of a WebSocket.
    pub fn message(&self, key: Option<&str>) -> String {
        json!({ "error": self.error, "key": key }).to_string()
    }

    /// Whether the page has to join again.
    pub fn is_gone(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }
}
