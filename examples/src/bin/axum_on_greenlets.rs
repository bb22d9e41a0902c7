//! An axum application that needs no async runtime: each request runs in a greenlet, where its handler may simply block.
//!
//! ```text
//! cargo run --release -p greenlet-examples --bin axum_on_greenlets
//! ```
//!
//! It says `serving on http://127.0.0.1:8090`. Then:
//!
//! ```text
//! curl http://127.0.0.1:8090/hello/Ada                hello, Ada
//! curl --json '{"text":"buy milk"}' http://127.0.0.1:8090/notes
//!                                                     {"id":1,"text":"buy milk"}, with status 201
//! curl http://127.0.0.1:8090/notes                    all notes
//! curl http://127.0.0.1:8090/notes/1                  one of them; 404 for others
//! curl http://127.0.0.1:8090/addresses/localhost      the addresses of a name: it asks the resolver, and keeps nobody else waiting
//! curl http://127.0.0.1:8090/together/5               five greenlets that sleep for 200 ms at once
//! ```
//!
//! Ctrl-C ends it, when the requests in flight are answered. An argument is another address.

use std::env;
use std::error::Error;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use greenlet_core::signal::{self, SIGINT, SIGTERM};
use greenlet_core::{sleep, spawn};
use greenlet_net::dns;
use greenlet_net::http::{Server, TowerService};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize)]
struct Note {
    id: usize,
    text: String,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

/// What the handlers share. The lock is never held while a greenlet waits.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Note>>>);

impl Notes {
    fn with<R>(&self, f: impl FnOnce(&mut Vec<Note>) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn hello(Path(name): Path<String>) -> String {
    format!("hello, {name}\n")
}

async fn notes(State(notes): State<Notes>) -> Json<Vec<Note>> {
    Json(notes.with(|notes| notes.clone()))
}

async fn add(State(notes): State<Notes>, Json(new): Json<NewNote>) -> (StatusCode, Json<Note>) {
    let note = notes.with(|notes| {
        let note = Note { id: notes.len() + 1, text: new.text };
        notes.push(note.clone());
        note
    });
    (StatusCode::CREATED, Json(note))
}

async fn note(State(notes): State<Notes>, Path(id): Path<usize>) -> Result<Json<Note>, StatusCode> {
    let note = notes.with(|notes| notes.get(id.wrapping_sub(1)).cloned());
    note.map(Json).ok_or(StatusCode::NOT_FOUND)
}

/// A look-up blocks, but only this greenlet: nothing here is awaited.
async fn addresses(Path(name): Path<String>) -> Result<Json<Vec<IpAddr>>, (StatusCode, String)> {
    let found = dns::lookup(&name).map_err(|error| (StatusCode::NOT_FOUND, format!("{error}\n")))?;
    Ok(Json(found))
}

/// Greenlets of its own, and waiting for them.
async fn together(Path(count): Path<usize>) -> Result<String, StatusCode> {
    if count > 1000 {
        return Err(StatusCode::BAD_REQUEST);
    }
    let start = Instant::now();
    let all: Vec<_> = (0..count).map(|_| spawn(|| sleep(Duration::from_millis(200)))).collect();
    all.iter().for_each(|greenlet| greenlet.join());
    Ok(format!("{count} greenlets slept for 200 ms in {} ms\n", start.elapsed().as_millis()))
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let app = Router::new()
        .route("/hello/{name}", get(hello))
        .route("/notes", get(notes).post(add))
        .route("/notes/{id}", get(note))
        .route("/addresses/{name}", get(addresses))
        .route("/together/{count}", get(together))
        .with_state(Notes::default());

    let ended = signal::shutdown_on([SIGINT, SIGTERM])?.run(|| {
        let server = Server::new(TowerService::new(app)).grace(Duration::from_secs(10));
        let server = server.start(address.as_str())?;
        println!("serving on http://{}", server.local_addr()?);
        server.serve_forever() // unwound by Ctrl-C, it stops on its way
    });
    match ended {
        Ok(failed) => Ok(failed?),
        Err(shutdown) => shutdown.exit(),
    }
}
