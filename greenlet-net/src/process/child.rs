//! A child process.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use greenlet_core::future::{block_on, block_on_timeout};
use greenlet_core::{Hub, Instant};
use rustix::process::Signal;

use super::exit::Exit;
use super::talk::Talk;
use crate::{PipeReader, PipeWriter};

/// A running or ended process that was started by [`Command::spawn`](super::Command::spawn): [`std::process::Child`] for greenlets.
///
/// Dropping it closes its pipes and leaves the process running, unless it is to be [killed on drop](super::Command::kill_on_drop).
///
/// ```
/// use greenlet_net::process::{Command, Stdio};
/// use std::io::{BufRead, BufReader, Write};
///
/// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// child.stdin.take().unwrap().write_all(b"one\ntwo\n")?; // dropped: the end of its input
/// let lines = BufReader::new(child.stdout.take().unwrap()).lines().count(); // suspends this greenlet
/// assert_eq!(lines, 2);
/// assert!(child.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Child {
    /// Its standard input, if that was [piped](std::process::Stdio::piped).
    pub stdin: Option<PipeWriter>,
    /// Its standard output, if that was piped.
    pub stdout: Option<PipeReader>,
    /// Its standard error, if that was piped.
    pub stderr: Option<PipeReader>,
    pub(super) handle: ChildHandle,
    pub(super) kill_on_drop: bool,
    pub(super) talk: Talk,
}

/// Another handle to a [`Child`]: to wait for it in several places, and to end it while somebody waits. Made by [`Child::handle`].
///
/// It belongs to this one process for ever: its number may be another one's some day, and that is never meant.
#[derive(Clone, Debug)]
pub struct ChildHandle {
    pub(super) exit: Arc<Exit>,
    pub(super) id: u32,
}

impl ChildHandle {
    /// The number of the process, as long as its status is not collected.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits until the process has ended. Suspends the greenlet; a kill or timeout unwinds it from here and does nothing to the process. Any
    /// number of greenlets and threads may wait, and each gets the status, now and later.
    ///
    /// # Errors
    /// What the system says: `ECHILD` if somebody else has collected the status, or no descriptor left.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        self.exit.wait(None)
    }

    /// As [`wait`](ChildHandle::wait), for at most `timeout`. `None`: it has not ended.
    ///
    /// # Errors
    /// As there.
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        unless(io::ErrorKind::TimedOut, self.exit.wait(Some(timeout)))
    }

    /// How the process has ended; `None` if it has not. Never suspends.
    ///
    /// # Errors
    /// As [`wait`](ChildHandle::wait).
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        unless(io::ErrorKind::WouldBlock, self.exit.collect())
    }

    /// Ends the process at once, by SIGKILL. Does nothing if it has ended. Does not wait for the end.
    ///
    /// # Errors
    /// What the system says: the process runs as another user now.
    pub fn kill(&self) -> io::Result<()> {
        self.exit.signal(Signal::KILL)
    }

    /// Asks the process to end, by SIGTERM. Otherwise as [`kill`](ChildHandle::kill).
    ///
    /// # Errors
    /// As there.
    pub fn terminate(&self) -> io::Result<()> {
        self.exit.signal(Signal::TERM)
    }

    /// Sends it a signal, by number. Otherwise as [`kill`](ChildHandle::kill).
    ///
    /// # Errors
    /// As there; `InvalidInput` for what is no signal, or a real-time one.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(number).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{number} is no signal that can be sent here"),
            )
        })?;
        self.exit.signal(signal)
    }
}

fn unless(kind: io::ErrorKind, ended: io::Result<ExitStatus>) -> io::Result<Option<ExitStatus>> {
    match ended {
        Err(error) if error.kind() == kind => Ok(None),
        ended => ended.map(Some),
    }
}

impl Child {
    /// Another handle, to wait or to kill with.
    pub fn handle(&self) -> ChildHandle {
        self.handle.clone()
    }

    /// The number of the process, as long as its status is not collected.
    pub fn id(&self) -> u32 {
        self.handle.id
    }

    /// Closes its standard input, if that is still here, and [waits](ChildHandle::wait) until the process has ended.
    ///
    /// It may wait for ever if the process has more to say than fits into a pipe that nobody reads: see
    /// [`wait_with_output`](Child::wait_with_output).
    ///
    /// # Errors
    /// As [`ChildHandle::wait`].
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.handle.wait()
    }

    /// As [`wait`](Child::wait), for at most `timeout`. `None`: it has not ended.
    ///
    /// # Errors
    /// As there.
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        self.handle.wait_timeout(timeout)
    }

    /// How the process has ended; `None` if it has not. Never suspends.
    ///
    /// # Errors
    /// As [`ChildHandle::wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.handle.try_wait()
    }

    /// Ends the process at once: see [`ChildHandle::kill`].
    ///
    /// # Errors
    /// As there.
    pub fn kill(&mut self) -> io::Result<()> {
        self.handle.kill()
    }

    /// Asks the process to end: see [`ChildHandle::terminate`].
    ///
    /// # Errors
    /// As there.
    pub fn terminate(&mut self) -> io::Result<()> {
        self.handle.terminate()
    }

    /// Closes its standard input, reads both outputs to their ends, at once, and waits until the process has ended.
    ///
    /// Only what was piped is read. A process that was started by this one and has the same outputs keeps them open.
    ///
    /// # Errors
    /// As [`ChildHandle::wait`]; what reading says.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        drop(self.stdin.take());
        self.communicate("")
    }

    /// Writes `input` to its standard input and closes that, reads both outputs to their ends, all at once, and waits until the process has
    /// ended.
    ///
    /// Suspends the greenlet. A kill or timeout unwinds it from here and does nothing to the process, and nothing is lost: the next call goes
    /// on where this one was. So it does after an error.
    ///
    /// # Errors
    /// As [`communicate_timeout`](Child::communicate_timeout), but for `TimedOut`.
    pub fn communicate(&mut self, input: impl Into<Vec<u8>>) -> io::Result<Output> {
        self.talk_until(input.into(), None)
    }

    /// As [`communicate`](Child::communicate), for at most `timeout`.
    ///
    /// After `TimedOut` the next call goes on where this one was, with nothing lost; what it is given as `input` comes behind what was not
    /// written yet. [`heard`](Child::heard) shows what was read so far.
    ///
    /// # Errors
    /// `TimedOut`; `InvalidInput` for input where there is no pipe to the child (any more); as [`ChildHandle::wait`]; what reading and writing
    /// say. That the child reads no more is no error.
    ///
    /// ```
    /// use greenlet_net::process::{Command, Stdio};
    /// use std::{io::ErrorKind, time::Duration};
    ///
    /// let script = "read name; echo hello $name; sleep 0.2; echo bye";
    /// let mut child = Command::new("sh")
    ///     .args(["-c", script])
    ///     .stdin(Stdio::piped())
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let error = child.communicate_timeout("world\n", Duration::from_millis(100)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// let output = child.communicate("")?;
    /// assert_eq!(output.stdout, b"hello world\nbye\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn communicate_timeout(
        &mut self,
        input: impl Into<Vec<u8>>,
        timeout: Duration,
    ) -> io::Result<Output> {
        self.talk_until(input.into(), Some(timeout))
    }

    /// What a conversation that is not finished has heard so far: of standard output, and of standard error.
    pub fn heard(&self) -> (&[u8], &[u8]) {
        (&self.talk.stdout, &self.talk.stderr)
    }

    fn talk_until(&mut self, input: Vec<u8>, timeout: Option<Duration>) -> io::Result<Output> {
        if !input.is_empty() && self.stdin.is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "there is no pipe to the process's input",
            ));
        }
        self.talk.input.extend_from_slice(&input);
        let start = Instant::now();
        if self.stdin.is_some() || self.stdout.is_some() || self.stderr.is_some() {
            Hub::current(); // futures need one that sees the pipes become ready
            let Child { stdin, stdout, stderr, talk, .. } = self;
            let talked = poll_fn(|context| talk.advance(context, stdin, stdout, stderr));
            match timeout {
                None => block_on(talked)?,
                Some(timeout) => block_on_timeout(talked, timeout).map_err(|_| timed_out())??,
            }
        }
        let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        let status = self.handle.exit.wait(left)?;
        let (stdout, stderr) = (mem::take(&mut self.talk.stdout), mem::take(&mut self.talk.stderr));
        Ok(Output { status, stdout, stderr })
    }

    /// What was heard, taken out.
    pub(super) fn take_heard(&mut self) -> (Vec<u8>, Vec<u8>) {
        (mem::take(&mut self.talk.stdout), mem::take(&mut self.talk.stderr))
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "timed out")
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // It fails for a process of another user, which cannot be helped.
            let _ = self.handle.kill();
        }
    }
}
