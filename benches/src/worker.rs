//! Child processes that measure.
//!
//! Each runtime is measured in a process of its own, so that none feels the threads, the signal handlers or the
//! heap of another, and so that the memory and the CPU time of the process are those of the one runtime. A worker
//! is this same program: it reads a line `workload size` from standard input, answers with a line of values on
//! standard output, and ends when its standard input does. Between its rounds it waits for input and leaves the
//! machine to the others.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::arguments;
use crate::harness::{Runtime, Suite, Workload};

/// After so long nobody waits for a round any more. Those that end take seconds.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

/// The near end of a worker process, which ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    /// Taken only by the drop.
    requests: Option<ChildStdin>,
    answers: Receiver<io::Result<String>>,
}

impl Worker {
    /// Starts a worker for a runtime.
    pub fn start(suite: &Suite, runtime: &Runtime) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([arguments::WORKER, suite.name, runtime.name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take();
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (answer, answers) = mpsc::channel();
        // A thread of its own reads, so that a worker that never answers can be given up.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if answer.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, requests, answers })
    }

    /// Runs a workload with a size and returns the values of its figures; an error of kind `Unsupported` where the runtime is
    /// missing on this machine, and of kind `TimedOut` where it needs longer than [`LONGEST_ROUND`], which ends the worker.
    pub fn measure(&mut self, workload: &Workload, size: u64) -> io::Result<Vec<f64>> {
        let requests = self.requests.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(requests, "{} {size}", workload.name)?;
        let answer = match self.answers.recv_timeout(LONGEST_ROUND) {
            Ok(answer) => answer?,
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                return Err(io::Error::other(format!("its process ended with {status}")));
            }
            Err(RecvTimeoutError::Timeout) => {
                self.child.kill()?;
                let message = format!("one round takes longer than {} s", LONGEST_ROUND.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
        };
        let values: Option<Vec<f64>> = answer.split_whitespace().map(|value| value.parse().ok()).collect();
        match values {
            Some(values) if values.len() == workload.figures.len() => Ok(values),
            Some(values) if values.is_empty() => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "it cannot run on this machine"))
            }
            _ => Err(io::Error::other(format!("unexpected answer {answer:?}"))),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.requests.take());
        // There is nothing to be done about a child that cannot be waited for.
        let _ = self.child.wait();
    }
}

/// The far end: answers requests from standard input until it ends.
pub fn serve(suite: &Suite, runtime: &Runtime) -> io::Result<()> {
    for request in io::stdin().lines() {
        let request = request?;
        let (workload, size) = parse_request(&request)
            .filter(|(name, _)| suite.workloads.iter().any(|workload| workload.name == *name))
            .ok_or_else(|| io::Error::other(format!("not a request: {request:?}")))?;
        let values: Vec<String> = (runtime.run)(workload, size).iter().map(f64::to_string).collect();
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", values.join(" "))?;
        stdout.flush()?;
    }
    Ok(())
}

fn parse_request(request: &str) -> Option<(&str, u64)> {
    let (workload, size) = request.split_once(' ')?;
    Some((workload, size.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_a_name_and_a_size() {
        assert_eq!(parse_request("yield-2 500"), Some(("yield-2", 500)));
        assert_eq!(parse_request("yield-2"), None);
        assert_eq!(parse_request("yield-2 many"), None);
    }
}
