//! Trying one address after the other.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::ToAddresses;
use crate::target::resolve;

/// None of the addresses worked: what is inside the [`io::Error`] of a failed `connect` or `bind`.
///
/// The `io::Error` has the kind of the last attempt's error, and the message names every address with what it said.
///
/// ```
/// use greenlet_net::{AddressError, TcpListener};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let taken = listener.local_addr()?;
/// let error = TcpListener::bind(taken).unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
/// let inside = error.get_ref().unwrap().downcast_ref::<AddressError>().unwrap();
/// assert_eq!(inside.attempts()[0].0, taken);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[error("cannot {task} {}", Listing(.attempts))]
pub struct AddressError {
    task: Task,
    attempts: Vec<(SocketAddr, io::Error)>,
}

/// What the addresses are tried for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Connect,
    Listen,
    Bind,
}

impl AddressError {
    /// As the error of the whole: of the last attempt's kind.
    pub(crate) fn of(task: Task, attempts: Vec<(SocketAddr, io::Error)>) -> io::Error {
        match attempts.last() {
            Some((_, last)) => io::Error::new(last.kind(), AddressError { task, attempts }),
            None => io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("no address to {task}: the list is empty"),
            ),
        }
    }

    /// The addresses in the order in which they were tried, each with its error.
    pub fn attempts(&self) -> &[(SocketAddr, io::Error)] {
        &self.attempts
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Task::Connect => "connect to",
            Task::Listen => "listen on",
            Task::Bind => "bind to",
        })
    }
}

struct Listing<'a>(&'a [(SocketAddr, io::Error)]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (address, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{address} ({error})")?;
        }
        Ok(())
    }
}

/// Resolves, and returns the first success, or an error that names all addresses.
pub(crate) fn first_success<A: ToAddresses, T>(
    task: Task,
    addresses: A,
    mut attempt: impl FnMut(&SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut attempts = Vec::new();
    for address in resolve(addresses.to_target()?, None, None)? {
        match attempt(&address) {
            Ok(done) => return Ok(done),
            Err(error) => attempts.push((address, error)),
        }
    }
    Err(AddressError::of(task, attempts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn the_first_success_ends_the_search() {
        let mut tried = Vec::new();
        let found = first_success(Task::Connect, &[address(1), address(2), address(3)][..], |address| {
            tried.push(address.port());
            if address.port() == 2 { Ok(address.port()) } else { Err(io::Error::other("no")) }
        });
        assert_eq!(found.unwrap(), 2);
        assert_eq!(tried, [1, 2]);
    }

    #[test]
    fn the_error_names_every_address_and_has_the_last_ones_kind() {
        let error = first_success::<_, ()>(Task::Connect, &[address(1), address(2)][..], |address| {
            let kind = if address.port() == 1 { io::ErrorKind::Other } else { io::ErrorKind::TimedOut };
            Err(io::Error::new(kind, "no answer"))
        });
        let error = error.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let message = "cannot connect to 127.0.0.1:1 (no answer), 127.0.0.1:2 (no answer)";
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn no_address_is_invalid_input() {
        let error = first_success::<_, ()>(Task::Listen, &[][..], |_| unreachable!()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "no address to listen on: the list is empty");
    }
}
