//! What all engines of the resolver have in common, as far as it needs no server.
#![cfg(unix)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::process::Command;

use greenlet_core::{run, spawn};
use greenlet_net::dns::{
    self, AddressInfo, EngineKind, ErrorKind, Family, Hints, NameHints, Resolver, Service, SetupError,
    SocketType,
};

const ENGINES: [EngineKind; 3] = [EngineKind::Thread, EngineKind::Native, EngineKind::Block];

/// Each engine that this build has, in a hub of its own.
fn with_each(test: impl Fn(&Resolver)) {
    for engine in ENGINES.into_iter().filter(|engine| engine.is_available()) {
        let resolver = Resolver::builder().engine(engine).build().unwrap();
        assert_eq!(resolver.engine(), engine);
        run(|| test(&resolver));
    }
}

fn stream() -> Hints {
    Hints::new().socket_type(SocketType::Stream)
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn sockets(found: &[AddressInfo]) -> Vec<SocketAddr> {
    found.iter().map(|info| info.address).collect()
}

#[test]
fn localhost_is_what_the_system_says_it_is() {
    let mut expected: Vec<SocketAddr> = ("localhost", 80).to_socket_addrs().unwrap().collect();
    expected.sort();
    with_each(|resolver| {
        let mut found = sockets(&resolver.getaddrinfo("localhost", 80, &stream()).unwrap());
        found.sort();
        assert_eq!(found, expected, "{resolver:?}");
        let mut addresses = resolver.lookup("localhost").unwrap();
        addresses.sort();
        assert_eq!(addresses, expected.iter().map(SocketAddr::ip).collect::<Vec<_>>());
        assert_eq!(resolver.gethostbyname("localhost").unwrap(), Ipv4Addr::LOCALHOST);
    });
}

#[test]
fn addresses_in_digits_are_themselves() {
    with_each(|resolver| {
        assert_eq!(resolver.lookup("10.1.2.3").unwrap(), [ip("10.1.2.3")]);
        assert_eq!(resolver.lookup("2001:db8::1").unwrap(), [ip("2001:db8::1")]);
        assert_eq!(resolver.lookup("127.1").unwrap(), [ip("127.0.0.1")]);
        assert_eq!(resolver.gethostbyname("10.1.2.3").unwrap(), Ipv4Addr::new(10, 1, 2, 3));
        let entry = resolver.gethostbyname_ex("10.1.2.3").unwrap();
        assert_eq!((entry.name.as_str(), entry.addresses), ("10.1.2.3", vec![ip("10.1.2.3")]));
        assert_eq!(resolver.lookup_family("::1", Family::V4).unwrap_err().kind(), ErrorKind::NoData);
        let scoped = resolver.getaddrinfo("fe80::1%1", 80, &stream()).unwrap();
        assert_eq!(sockets(&scoped), ["[fe80::1%1]:80".parse().unwrap()]);
    });
}

#[test]
fn the_empty_host_and_broadcast_are_addresses_for_gethostbyname_only() {
    with_each(|resolver| {
        assert_eq!(resolver.gethostbyname("").unwrap(), Ipv4Addr::UNSPECIFIED);
        assert_eq!(resolver.gethostbyname("<broadcast>").unwrap(), Ipv4Addr::BROADCAST);
        for error in [
            resolver.lookup("").unwrap_err(),
            resolver.gethostbyname_ex("").unwrap_err(),
            resolver.getaddrinfo("", 80, &Hints::new()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    });
}

#[test]
fn no_host_is_this_machine() {
    with_each(|resolver| {
        for info in resolver.getaddrinfo(None, 80, &stream()).unwrap() {
            assert!(info.address.ip().is_loopback() && info.address.port() == 80, "{info:?}");
        }
        for info in resolver.getaddrinfo(None, "80", &stream().passive()).unwrap() {
            assert!(info.address.ip().is_unspecified(), "{info:?}");
        }
        let error = resolver.getaddrinfo(None, Service::Any, &stream()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn every_type_of_socket_gets_its_own_result() {
    with_each(|resolver| {
        for host in ["10.0.0.1", "localhost"] {
            let found = resolver.getaddrinfo(host, 80, &Hints::new().family(Family::V4)).unwrap();
            let mut kinds: Vec<_> = found.iter().map(|info| (info.socket_type, info.protocol)).collect();
            kinds.dedup();
            assert!(kinds.starts_with(&[(SocketType::Stream, 6), (SocketType::Datagram, 17)]), "{kinds:?}");
            let one = Hints::new().family(Family::V4).socket_type(SocketType::Datagram);
            let found = resolver.getaddrinfo(host, 80, &one).unwrap();
            assert_eq!((found.len(), found[0].protocol), (1, 17), "{found:?}");
        }
    });
}

#[test]
fn services_have_names_and_numbers() {
    with_each(|resolver| {
        for host in ["10.0.0.1", "localhost"] {
            let port = |service: &str, hints: &Hints| {
                resolver.getaddrinfo(host, service, hints).map(|found| found[0].address.port())
            };
            assert_eq!(port("http", &stream()).unwrap(), 80);
            assert_eq!(port("8080", &stream()).unwrap(), 8080);
            assert_eq!(port("65616", &stream()).unwrap(), 80); // modulo 65536, as in C
            let error = port("no-such-service", &stream()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownService);
            assert!(error.to_string().starts_with("cannot resolve service \"no-such-service\": "), "{error}");
            assert!(port("http", &stream().numeric_service()).is_err());
        }
    });
}

#[test]
fn with_the_numeric_host_hint_names_are_not_looked_up() {
    with_each(|resolver| {
        let error = resolver.getaddrinfo("localhost", 80, &stream().numeric_host()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn hints_that_contradict_each_other_are_refused() {
    with_each(|resolver| {
        let hints = stream().protocol(17);
        for host in ["127.0.0.1", "localhost"] {
            let error = resolver.getaddrinfo(host, 80, &hints).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadHints, "{error}");
        }
    });
}

#[test]
fn what_cannot_be_a_name_is_refused_without_asking() {
    with_each(|resolver| {
        let too_long = "a".repeat(64);
        for name in ["a..b", "a b", "a\0b", &too_long, ".", "ab\n"] {
            let error = resolver.lookup(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{name:?}: {error}");
            assert!(
                error.to_string().starts_with(&format!("cannot resolve {name:?}: not a name")),
                "{error}"
            );
            assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn an_address_has_a_name_and_its_port_too() {
    with_each(|resolver| {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let names = resolver.getnameinfo(address, NameHints::new()).unwrap();
        assert_eq!((names.host.as_str(), names.service.as_str()), ("localhost", "http"));
        let digits = NameHints::new().numeric_host().numeric_service();
        let names = resolver.getnameinfo(address, digits).unwrap();
        assert_eq!((names.host.as_str(), names.service.as_str()), ("127.0.0.1", "80"));
        let names = resolver.getnameinfo("127.0.0.1:0".parse().unwrap(), NameHints::new()).unwrap();
        assert_eq!(names.service, "0");
        let contradiction = NameHints::new().numeric_host().name_required();
        assert_eq!(resolver.getnameinfo(address, contradiction).unwrap_err().kind(), ErrorKind::NotFound);
        let entry = resolver.gethostbyaddr(ip("127.0.0.1")).unwrap();
        assert_eq!((entry.name.as_str(), entry.addresses), ("localhost", vec![ip("127.0.0.1")]));
    });
}

#[test]
fn getfqdn_never_fails() {
    with_each(|resolver| {
        let own = resolver.getfqdn("");
        assert!(!own.is_empty());
        assert_eq!(resolver.getfqdn("0.0.0.0"), own);
        assert_eq!(resolver.getfqdn("::"), own);
        assert_eq!(resolver.getfqdn("a..b"), "a..b");
    });
}

#[test]
fn a_resolver_serves_many_hubs_and_threads_without_one() {
    with_each(|resolver| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let resolver = resolver.clone();
                std::thread::spawn(move || {
                    let ask = move || resolver.lookup("localhost").unwrap();
                    if n % 2 == 0 { ask() } else { run(|| spawn(ask).get().unwrap()) }
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap().contains(&ip("127.0.0.1")));
        }
    });
}

#[test]
fn the_resolver_of_the_process_can_be_replaced() {
    let before = dns::resolver().unwrap();
    dns::set_resolver(Resolver::builder().engine(EngineKind::Block).build().unwrap());
    assert_eq!(dns::resolver().unwrap().engine(), EngineKind::Block);
    assert_eq!(dns::gethostbyname("localhost").unwrap(), Ipv4Addr::LOCALHOST);
    assert!(dns::set_resolver(before).is_some());
}

#[test]
fn a_builder_takes_the_first_engine_that_this_build_has() {
    let both = Resolver::builder().engines([EngineKind::Native, EngineKind::Block]).build().unwrap();
    let expected = if cfg!(feature = "native-dns") { EngineKind::Native } else { EngineKind::Block };
    assert_eq!(both.engine(), expected);
    assert_eq!(Resolver::builder().engines([]).build().unwrap_err(), SetupError::NoEngine);
    assert!(matches!(Resolver::builder().threads(0).build(), Err(SetupError::BadSetting { .. })));
    if !EngineKind::Native.is_available() {
        let error = Resolver::builder().engine(EngineKind::Native).build().unwrap_err();
        assert!(error.to_string().contains("feature `native-dns`"), "{error}");
    }
}

/// Runs the test again in a process with this value of the variable; false there.
fn with_variable(test: &str, value: &str) -> bool {
    if std::env::var_os("GREENLET_TEST_INSIDE").is_some() {
        return false;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("GREENLET_TEST_INSIDE", "1")
        .env("GREENLET_RESOLVER", value)
        .status()
        .unwrap();
    assert!(status.success(), "{test} with {value}: {status}");
    true
}

#[test]
fn the_environment_chooses_the_engine() {
    if with_variable("the_environment_chooses_the_engine", "block,thread") {
        return;
    }
    run(|| {
        assert_eq!(dns::resolver().unwrap().engine(), EngineKind::Block);
        assert_eq!(dns::lookup("127.0.0.1").unwrap(), [ip("127.0.0.1")]);
    });
}

#[test]
fn an_unknown_engine_in_the_environment_is_a_clear_error() {
    if with_variable("an_unknown_engine_in_the_environment_is_a_clear_error", "ares") {
        return;
    }
    run(|| {
        let error = dns::lookup("localhost").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Setup);
        let message = "cannot look up names: no resolver (unknown resolver `ares`: expected `thread`, `native`, `block` or a list of them)";
        assert_eq!(error.to_string(), message);
        assert_eq!(dns::getfqdn("somewhere"), "somewhere");
        dns::set_resolver(Resolver::builder().build().unwrap());
        assert!(dns::lookup("localhost").is_ok());
    });
}
