//! Child processes: [`std::process`] for greenlets, and gevent's `subprocess`.
//!
//! [`Command`] is written as std's. Waiting for a child, and for what it says, suspends the greenlet only; the end of a child is seen
//! through a pidfd, so it needs no signal handler, works on every hub, and disturbs nobody else's children.
//!
//! ```
//! use greenlet_net::process::Command;
//!
//! let output = Command::new("sh").args(["-c", "echo hello; exit 3"]).output()?;
//! assert_eq!(output.stdout, b"hello\n");
//! assert_eq!(output.status.code(), Some(3)); // by signal 9, `code` would be `None` and `signal` 9
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Rules
//!
//! - Starting a process blocks the thread until the new program runs, some milliseconds at most; a program that cannot be run is an error
//!   of [`spawn`](Command::spawn).
//! - A [`Child`] that is dropped goes on, as std's, unless it is [killed on drop](Command::kill_on_drop). Its status is collected when the
//!   next process is started or dropped here, so zombies do not pile up.
//! - [`status`](Command::status) and [`output`](Command::output) own their child: a kill or timeout that ends the wait kills the process.
//!   A kill in [`Child::wait`] or [`Child::communicate`] only ends the wait.
//! - Descriptors of this program are not inherited, but for standard input, output and error, and those that were made so.
//! - Somebody else who waits for all children of the process (`waitpid(-1)`), or a program that ignores SIGCHLD, takes the status away: then
//!   waiting fails with `ECHILD`.

mod child;
mod command;
mod exit;
mod talk;

pub use child::{Child, ChildHandle};
pub use command::{Command, OutputError};
pub use std::process::{ExitStatus, Output, Stdio};
