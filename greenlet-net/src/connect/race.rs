//! Happy Eyeballs (RFC 8305): several attempts beside each other, of which the first to succeed wins.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use greenlet_core::future::{block_on, block_on_timeout};
use greenlet_core::io::{Direction, Source};
use greenlet_core::{Hub, Instant};

use super::attempt::{Attempt, outcome};
use super::{ATTEMPT_DELAY, ConnectOptions};
use crate::attempts::{AddressError, Task};
use crate::socket::Socket;
use crate::timeout::shorter;

/// Starts an attempt, and the next one when that failed or took its time, until one succeeds. All attempts are in here: however
/// this ends, the others are closed.
pub(super) fn first_to_connect(
    options: &ConnectOptions,
    addresses: Vec<SocketAddr>,
    deadline: Option<Instant>,
) -> io::Result<Source<Socket>> {
    let delay = options.attempt_delay.unwrap_or(ATTEMPT_DELAY);
    let mut to_try = interleaved(addresses).into_iter();
    let mut running: Vec<Attempt> = Vec::new();
    let mut failed = Vec::new();
    loop {
        if let Some(address) = to_try.next() {
            match Attempt::start(options, address) {
                Ok(attempt) if attempt.decided => return Ok(attempt.source),
                Ok(attempt) => running.push(attempt),
                Err(error) => {
                    failed.push((address, error));
                    continue;
                }
            }
        } else if running.is_empty() {
            return Err(AddressError::of(Task::Connect, failed));
        }
        let until_next = (to_try.len() > 0).then_some(delay);
        let left = deadline.map(|deadline| deadline.duration_since(Instant::now()));
        match first_decided(&running, shorter(until_next, left)) {
            Some((index, Ok(()))) => return Ok(running.swap_remove(index).source),
            Some((index, Err(error))) => failed.push((running.remove(index).address, error)),
            None if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                let unfinished = running.into_iter().map(|attempt| attempt.address).chain(to_try);
                failed.extend(unfinished.map(|address| (address, timed_out())));
                return Err(AddressError::of(Task::Connect, failed));
            }
            None => {}
        }
    }
}

/// Waits until one of them is decided. `None`: that took too long.
fn first_decided(running: &[Attempt], limit: Option<Duration>) -> Option<(usize, io::Result<()>)> {
    if let [only] = running {
        return match only.source.io(Direction::Write, limit, outcome) {
            Err(error) if is_ours(&error) => None,
            decided => Some((0, decided)),
        };
    }
    Hub::current(); // futures need one that sees the sockets become ready
    let decided = poll_fn(|context| {
        for (index, attempt) in running.iter().enumerate() {
            if let Poll::Ready(decided) = attempt.source.poll_io(Direction::Write, context, outcome) {
                return Poll::Ready((index, decided));
            }
        }
        Poll::Pending
    });
    match limit {
        Some(limit) => block_on_timeout(decided, limit).ok(),
        None => Some(block_on(decided)),
    }
}

/// Whether it is the wait that timed out, and not the system's attempt.
fn is_ours(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "timed out")
}

/// The families by turns, beginning with the first one's, each in the resolver's order.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv4) else { return addresses };
    let (ones, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first);
    let (mut ones, mut others) = (ones.into_iter(), others.into_iter());
    let mut all = Vec::with_capacity(ones.len() + others.len());
    while ones.len() + others.len() > 0 {
        all.extend(ones.next());
        all.extend(others.next());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        interleaved(addresses).iter().map(|address| address.ip().to_string()).collect()
    }

    #[test]
    fn families_take_turns_and_keep_their_order() {
        let mixed = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"];
        assert_eq!(order(&mixed), ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]);
        assert_eq!(order(&["1.1.1.1:1", "[::1]:1"]), ["1.1.1.1", "::1"]);
        assert_eq!(order(&["2.2.2.2:1", "1.1.1.1:1"]), ["2.2.2.2", "1.1.1.1"]);
        assert!(order(&[]).is_empty());
    }
}
