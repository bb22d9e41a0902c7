//! What a message was, for the report when its handler fails.
//!
//! The handler takes the message, so it is described before: only for actors that ask for it, into memory that the runner uses again.

use std::fmt::{self, Write as _};

use crate::run::Runner;

/// How a message is described: see [`Actor::DESCRIBE`](crate::Actor::DESCRIBE). [`fmt::Debug::fmt`] is one.
pub type Describe<M> = fn(&M, &mut fmt::Formatter<'_>) -> fmt::Result;

/// The message that is being handled. It is blamed unless it is [done](Described::done).
pub(crate) struct Described<'a> {
    runner: &'a Runner,
    text: String,
}

struct Text<'a, M>(&'a M, Describe<M>);

impl<M> fmt::Display for Text<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.1)(self.0, f)
    }
}

impl<'a> Described<'a> {
    pub(crate) fn new<M>(runner: &'a Runner, message: &M, describe: Describe<M>) -> Described<'a> {
        let mut text = runner.take_spare();
        text.clear();
        // What it could not say is left out.
        let _ = write!(text, "{}", Text(message, describe));
        Described { runner, text }
    }

    /// Its handler has returned.
    pub(crate) fn done(mut self) {
        self.runner.keep_spare(std::mem::take(&mut self.text));
        std::mem::forget(self);
    }
}

impl Drop for Described<'_> {
    fn drop(&mut self) {
        self.runner.blame(std::mem::take(&mut self.text));
    }
}
