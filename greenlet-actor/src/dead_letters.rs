//! Messages that nobody handled.
//!
//! They are always [counted](counts). Who wants to know of each opens [`DeadLetters`]; as long as nobody has, a message that is lost costs
//! no more than its count. A message that the sender got back, because the actor had ended or its mailbox was full, is not
//! lost: it is only counted.
//!
//! ```
//! use greenlet_actor::dead_letters::{DeadLetters, Undelivered};
//! use greenlet_actor::{Actor, Context, Exit};
//!
//! struct Once;
//! impl Actor for Once {
//!     type Message = &'static str;
//!     fn receive(&mut self, _: &'static str, _: &mut Context<Self>) -> Result<(), Exit> {
//!         Err(Exit::Normal)
//!     }
//! }
//!
//! # greenlet_core::run(|| {
//! let letters = DeadLetters::open();
//! let once = Once.spawn();
//! once.send("handled").unwrap();
//! once.send("not any more").unwrap();
//!
//! let letter = letters.iter().find(|letter| letter.to == once.id()).unwrap();
//! assert_eq!(letter.message_type, "&str");
//! assert!(matches!(letter.why, Undelivered::Unhandled(Exit::Normal)));
//! # });
//! ```

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenlet_core::{PutError, Queue};

use crate::actor_ref::ActorId;
use crate::exit::Exit;
use crate::life::Life;

/// A message that nobody handled. The message itself was dropped where its actor ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The name of its type.
    pub message_type: &'static str,
    /// What its actor [calls](crate::Actor::label) it.
    pub label: &'static str,
    /// Whom it was for.
    pub to: ActorId,
    /// That one's name, if it had one.
    pub name: Option<String>,
    /// Why it was not handled.
    pub why: Undelivered,
}

/// Why a message was not handled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Undelivered {
    /// It was in the mailbox when the actor ended, with this reason.
    Unhandled(Exit),
    /// The mailbox was full, and made to drop the [newest](crate::Overflow::DropNewest) or the
    /// [oldest](crate::Overflow::DropOldest).
    Full,
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for ", self.label)?;
        if let Some(name) = &self.name {
            write!(f, "{name} ")?;
        }
        match &self.why {
            Undelivered::Unhandled(exit) => write!(f, "{}, which ended first: {exit}", self.to),
            Undelivered::Full => write!(f, "{}, whose mailbox was full", self.to),
        }
    }
}

/// How many messages of this process were not handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// In mailboxes of actors that ended.
    pub unhandled: u64,
    /// Dropped since a mailbox was full, and made to drop.
    pub full: u64,
    /// Sent to actors that had ended. The senders got them back.
    pub to_ended: u64,
}

static UNHANDLED: AtomicU64 = AtomicU64::new(0);
static FULL: AtomicU64 = AtomicU64::new(0);
static TO_ENDED: AtomicU64 = AtomicU64::new(0);

/// The counts of this process.
pub fn counts() -> Counts {
    Counts {
        unhandled: UNHANDLED.load(Ordering::Relaxed),
        full: FULL.load(Ordering::Relaxed),
        to_ended: TO_ENDED.load(Ordering::Relaxed),
    }
}

/// How many readers there are.
static READERS: AtomicUsize = AtomicUsize::new(0);
static BOXES: Mutex<Vec<Arc<Letters>>> = Mutex::new(Vec::new());

/// What a reader has not read yet.
struct Letters {
    queue: Queue<DeadLetter>,
    missed: AtomicU64,
}

/// Reads dead letters of the whole process, from when it was opened until it is dropped. Each reader gets each letter.
pub struct DeadLetters {
    letters: Arc<Letters>,
}

impl DeadLetters {
    /// How many letters wait for a reader that does not say otherwise.
    pub const DEFAULT_LIMIT: usize = 1024;

    /// A reader for which at most [1024](DeadLetters::DEFAULT_LIMIT) letters wait: whoever drops messages does not wait for it, and the
    /// oldest letters are given up.
    pub fn open() -> DeadLetters {
        DeadLetters::with_limit(DeadLetters::DEFAULT_LIMIT)
    }

    /// As [`open`](DeadLetters::open), with room for so many.
    ///
    /// # Panics
    /// If that is 0.
    #[track_caller]
    pub fn with_limit(letters: usize) -> DeadLetters {
        let letters = Arc::new(Letters { queue: Queue::bounded(letters), missed: AtomicU64::new(0) });
        boxes().push(letters.clone());
        READERS.fetch_add(1, Ordering::SeqCst);
        DeadLetters { letters }
    }

    /// Waits for the next letter: suspends a greenlet, parks a thread.
    pub fn recv(&self) -> DeadLetter {
        self.letters.queue.get().expect("never shut down")
    }

    /// Waits for at most `timeout`; `None` if there was none.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<DeadLetter> {
        self.letters.queue.get_timeout(timeout).ok()
    }

    /// The next letter, if there is one.
    pub fn try_recv(&self) -> Option<DeadLetter> {
        self.letters.queue.try_get().ok()
    }

    /// The letters as they come, without end.
    pub fn iter(&self) -> impl Iterator<Item = DeadLetter> {
        std::iter::repeat_with(|| self.recv())
    }

    /// How many were given up since too many waited.
    pub fn missed(&self) -> u64 {
        self.letters.missed.load(Ordering::Relaxed)
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        let mut boxes = boxes();
        boxes.retain(|letters| !Arc::ptr_eq(letters, &self.letters));
        drop(boxes);
        READERS.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("waiting", &self.letters.queue.len())
            .field("missed", &self.missed())
            .finish()
    }
}

fn boxes() -> MutexGuard<'static, Vec<Arc<Letters>>> {
    BOXES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether somebody reads.
pub(crate) fn has_readers() -> bool {
    READERS.load(Ordering::Relaxed) != 0
}

/// An actor has ended with so many messages in its mailbox.
pub(crate) fn count_unhandled(messages: usize) {
    UNHANDLED.fetch_add(messages as u64, Ordering::Relaxed);
}

/// A full mailbox drops a message.
pub(crate) fn count_full() {
    FULL.fetch_add(1, Ordering::Relaxed);
}

/// A message to an actor that has ended goes back.
pub(crate) fn count_to_ended() {
    TO_ENDED.fetch_add(1, Ordering::Relaxed);
}

/// Tells the readers. Does not wait.
#[cold]
pub(crate) fn tell(life: &Life, message_type: &'static str, label: &'static str, why: Undelivered) {
    let (to, name) = (life.id(), life.name().map(str::to_owned));
    let letter = DeadLetter { message_type, label, to, name, why };
    let boxes: Vec<_> = boxes().clone();
    for letters in boxes {
        let mut letter = letter.clone();
        while let Err(PutError::Full(back)) = letters.queue.try_put(letter) {
            letter = back;
            if letters.queue.try_get().is_ok() {
                letters.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
