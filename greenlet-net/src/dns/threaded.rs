//! The engines that ask the system: in a thread of a pool, or in place.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use greenlet_core::pool::{TaskError, ThreadPool};

use super::error::Cause;
use super::hosts::{HOSTS, Hosts, names_other_than};
use super::{
    AddressInfo, ErrorKind, Family, Hints, HostEntry, NameHints, NameInfo, Service, SocketType, system,
};

/// Where the system's resolver is called.
#[derive(Debug)]
pub(super) enum System {
    /// In the pool of the process. It is looked for at each call: a forked child has another one.
    Global,
    /// In a pool of its own.
    Own(ThreadPool),
    /// Here: the thread blocks.
    InPlace,
}

impl System {
    /// The wait is interrupted by a kill or timeout; the call goes on in its thread, and its result is dropped.
    fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, Cause> {
        let pool = match self {
            System::Global => ThreadPool::global(),
            System::Own(pool) => pool,
            System::InPlace => return call(),
        };
        match pool.apply(call) {
            Ok(result) => result,
            Err(error @ TaskError::Cancelled) => Err(Cause::with(ErrorKind::System, error)),
            Err(error) => Err(Cause::with(ErrorKind::Failed, error)),
        }
    }

    pub(super) fn getaddrinfo(
        &self,
        host: String,
        service: Service<'_>,
        hints: &Hints,
    ) -> Result<Vec<AddressInfo>, Cause> {
        enum Owned {
            Any,
            Port(u16),
            Name(String),
        }
        let service = match service {
            Service::Any => Owned::Any,
            Service::Port(port) => Owned::Port(port),
            Service::Name(name) => Owned::Name(name.to_owned()),
        };
        let hints = hints.clone();
        self.run(move || {
            let service = match &service {
                Owned::Any => Service::Any,
                Owned::Port(port) => Service::Port(*port),
                Owned::Name(name) => Service::Name(name),
            };
            system::getaddrinfo(Some(&host), service, &hints)
        })
    }

    pub(super) fn getnameinfo(&self, address: SocketAddr, hints: NameHints) -> Result<NameInfo, Cause> {
        self.run(move || system::getnameinfo(&address, hints))
    }

    pub(super) fn host(&self, host: String, family: Family) -> Result<HostEntry, Cause> {
        self.run(move || {
            let hints = Hints::new().family(family).socket_type(SocketType::Stream).canonical_name();
            let found = system::getaddrinfo(Some(&host), Service::Any, &hints)?;
            let canonical = found.first().and_then(|info| info.canonical_name.clone());
            let name = canonical.unwrap_or_else(|| host.clone());
            let hosts = Hosts::read(Path::new(HOSTS));
            let mut aliases = names_other_than(&name, hosts.of_name(&host));
            if aliases.is_empty() && !name.eq_ignore_ascii_case(&host) {
                aliases.push(host);
            }
            Ok(HostEntry { name, aliases, addresses: distinct(found.iter().map(|info| info.address.ip())) })
        })
    }

    pub(super) fn host_of_address(&self, address: IpAddr) -> Result<HostEntry, Cause> {
        self.run(move || {
            let hints = NameHints::new().name_required().numeric_service();
            let name = system::getnameinfo(&SocketAddr::new(address, 0), hints)?.host;
            let hosts = Hosts::read(Path::new(HOSTS));
            let aliases = names_other_than(&name, hosts.of_address(address).into_iter());
            Ok(HostEntry { name, aliases, addresses: vec![address] })
        })
    }
}

/// Each address once, at its first place.
pub(super) fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc;
    use std::time::Duration;

    use greenlet_core::{run, spawn, with_timeout, yield_now};

    /// An engine whose only thread is busy until the sender is dropped.
    fn busy() -> (System, mpsc::Sender<()>) {
        let pool = ThreadPool::new(1);
        let (release, released) = mpsc::channel::<()>();
        drop(pool.spawn(move || released.recv().is_err()));
        (System::Own(pool), release)
    }

    fn ask(system: &System) -> Result<HostEntry, Cause> {
        system.host("localhost".to_owned(), Family::V4)
    }

    #[test]
    fn a_timeout_ends_the_wait_for_a_slow_lookup() {
        run(|| {
            let (system, release) = busy();
            assert!(with_timeout(Duration::from_millis(5), || ask(&system)).is_err());
            drop(release);
            assert!(ask(&system).is_ok());
        });
    }

    #[test]
    fn a_kill_ends_the_wait_for_a_slow_lookup() {
        run(|| {
            let (system, release) = busy();
            let system = std::rc::Rc::new(system);
            let waiter = spawn({
                let system = system.clone();
                move || ask(&system)
            });
            yield_now();
            assert!(!waiter.ready());
            waiter.kill();
            assert!(waiter.ready());
            drop(release);
            assert!(ask(&system).is_ok());
        });
    }

    #[test]
    fn other_greenlets_run_during_a_lookup() {
        run(|| {
            let (system, release) = busy();
            let releaser = spawn(move || drop(release));
            assert!(ask(&system).is_ok(), "it waits for what only another greenlet can do");
            assert!(releaser.ready());
        });
    }

    #[test]
    fn a_lookup_that_panics_is_an_error() {
        run(|| {
            let system = System::Own(ThreadPool::new(1));
            let error =
                system.run(|| -> Result<(), Cause> { panic!("a name that is not text") }).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Failed);
            assert!(error.to_string().contains("a name that is not text"), "{error}");
        });
    }
}
