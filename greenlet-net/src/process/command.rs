//! How to start a process.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::exit::{Exit, collect_orphans};
use super::talk::Talk;
use super::{Child, ChildHandle};
use crate::{PipeReader, PipeWriter};

/// What to start, and how: [`std::process::Command`] for greenlets.
///
/// ```
/// use greenlet_core::spawn;
/// use greenlet_net::process::Command;
///
/// // two at once, each waited for by a greenlet
/// let jobs = ["one", "two"].map(|word| spawn(move || Command::new("echo").arg(word).output().unwrap()));
/// for job in jobs {
///     print!("{}", String::from_utf8_lossy(&job.get().unwrap().stdout));
/// }
/// ```
#[derive(Debug)]
pub struct Command {
    command: process::Command,
    stdin: Chosen,
    stdout: Chosen,
    stderr: Chosen,
    kill_on_drop: bool,
}

/// Whether the user has said where a standard descriptor goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chosen {
    ByDefault,
    ByUser,
}

/// Why [`Command::output_timeout`] has no output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The process took too long, and was killed.
    #[error("the process did not end within {limit:?} and was killed")]
    TimedOut {
        /// The time that it had.
        limit: Duration,
        /// What it had written to standard output.
        stdout: Vec<u8>,
        /// What it had written to standard error.
        stderr: Vec<u8>,
    },
    /// It could not be started or waited for.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Command {
    /// The program, by path, or by name to be found in `PATH`. Without more it has no arguments, this process's environment and folder, and
    /// standard input, output and error as the way it is started says.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            command: process::Command::new(program),
            stdin: Chosen::ByDefault,
            stdout: Chosen::ByDefault,
            stderr: Chosen::ByDefault,
            kill_on_drop: false,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.command.env(name, value);
        self
    }

    /// Sets variables of its environment.
    pub fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Command {
        self.command.envs(variables);
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.command.env_remove(name);
        self
    }

    /// Empties its environment.
    pub fn env_clear(&mut self) -> &mut Command {
        self.command.env_clear();
        self
    }

    /// The folder that it starts in.
    pub fn current_dir(&mut self, folder: impl AsRef<Path>) -> &mut Command {
        self.command.current_dir(folder);
        self
    }

    /// Its standard input. Default: this process's; nothing for [`output`](Command::output).
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Command {
        self.stdin = Chosen::ByUser;
        self.command.stdin(stdin);
        self
    }

    /// Its standard output. Default: this process's; a pipe for [`output`](Command::output).
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Command {
        self.stdout = Chosen::ByUser;
        self.command.stdout(stdout);
        self
    }

    /// Its standard error. Default: this process's; a pipe for [`output`](Command::output).
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Command {
        self.stderr = Chosen::ByUser;
        self.command.stderr(stderr);
        self
    }

    /// The user that it runs as, by number.
    pub fn uid(&mut self, uid: u32) -> &mut Command {
        self.command.uid(uid);
        self
    }

    /// The group that it runs as, by number.
    pub fn gid(&mut self, gid: u32) -> &mut Command {
        self.command.gid(gid);
        self
    }

    /// The process group that it joins; 0 is one of its own.
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.command.process_group(group);
        self
    }

    /// Whether it is killed when its [`Child`] is dropped. Default: `false`.
    ///
    /// One that was dropped before it had ended, killed or not, stays a zombie until the next child is started or dropped.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Command {
        self.kill_on_drop = kill;
        self
    }

    /// std's command, for settings that have no method here. Standard input, output and error are set here and not there.
    pub fn as_std_mut(&mut self) -> &mut process::Command {
        &mut self.command
    }

    /// Starts it.
    ///
    /// Blocks the thread until the new program runs. Never suspends.
    ///
    /// # Errors
    /// What the system says, for example `NotFound`. If there is no descriptor left to watch it with, it is killed at once.
    pub fn spawn(&mut self) -> io::Result<Child> {
        collect_orphans();
        let mut child = self.command.spawn()?;
        let exit = match Exit::of(child.id()) {
            Ok(exit) => exit,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // First of all: from here on it is collected, whatever goes wrong.
        let mut child = Child {
            stdin: None,
            stdout: None,
            stderr: None,
            handle: ChildHandle { exit: Arc::new(exit), id: child.id() },
            kill_on_drop: self.kill_on_drop,
            talk: Talk::default(),
        };
        child.stdin = stdin.map(|pipe| PipeWriter::from_fd(OwnedFd::from(pipe))).transpose()?;
        child.stdout = stdout.map(|pipe| PipeReader::from_fd(OwnedFd::from(pipe))).transpose()?;
        child.stderr = stderr.map(|pipe| PipeReader::from_fd(OwnedFd::from(pipe))).transpose()?;
        Ok(child)
    }

    /// Starts it, and waits until it has ended. Suspends the greenlet; a kill or timeout unwinds it from here and kills the process.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`ChildHandle::wait`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn_owned()?.wait()
    }

    /// Starts it with pipes for standard output and standard error and nothing as standard input, unless something else was set, reads
    /// both, and waits until it has ended. Suspends the greenlet; a kill or timeout unwinds it from here and kills the process.
    ///
    /// # Errors
    /// As [`spawn`](Command::spawn) and [`Child::wait_with_output`].
    pub fn output(&mut self) -> io::Result<Output> {
        self.spawn_piped()?.wait_with_output()
    }

    /// As [`output`](Command::output), for at most `limit`: then the process is killed, and what it has said until then is in the error.
    ///
    /// # Errors
    /// [`OutputError`].
    ///
    /// ```
    /// use greenlet_net::process::{Command, OutputError};
    /// use std::time::Duration;
    ///
    /// let mut slow = Command::new("sh");
    /// slow.args(["-c", "echo so far; exec sleep 60"]);
    /// match slow.output_timeout(Duration::from_millis(200)) {
    ///     Err(OutputError::TimedOut { stdout, .. }) => assert_eq!(stdout, b"so far\n"),
    ///     other => panic!("{other:?}"),
    /// }
    /// ```
    pub fn output_timeout(&mut self, limit: Duration) -> Result<Output, OutputError> {
        let mut child = self.spawn_piped()?;
        drop(child.stdin.take());
        match child.communicate_timeout("", limit) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                child.kill()?;
                child.wait()?;
                let (stdout, stderr) = child.take_heard();
                Err(OutputError::TimedOut { limit, stdout, stderr })
            }
            output => Ok(output?),
        }
    }

    fn spawn_piped(&mut self) -> io::Result<Child> {
        if self.stdin == Chosen::ByDefault {
            self.command.stdin(Stdio::null());
        }
        if self.stdout == Chosen::ByDefault {
            self.command.stdout(Stdio::piped());
        }
        if self.stderr == Chosen::ByDefault {
            self.command.stderr(Stdio::piped());
        }
        let child = self.spawn_owned();
        // For the next time, which may be another way to start it.
        if self.stdin == Chosen::ByDefault {
            self.command.stdin(Stdio::inherit());
        }
        if self.stdout == Chosen::ByDefault {
            self.command.stdout(Stdio::inherit());
        }
        if self.stderr == Chosen::ByDefault {
            self.command.stderr(Stdio::inherit());
        }
        child
    }

    /// A child that nobody else has a handle to.
    fn spawn_owned(&mut self) -> io::Result<Child> {
        let mut child = self.spawn()?;
        child.kill_on_drop = true;
        Ok(child)
    }
}
