//! The native resolver against servers that lose, cut, forge and invent.
#![cfg(all(unix, feature = "native-dns"))]

mod name_server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use greenlet_core::{joinall, joinall_timeout, run, spawn, with_timeout};
use greenlet_net::dns::{Builder, EngineKind, ErrorKind, Family, Hints, NameHints, Resolver, SocketType};
use name_server::{NameServer, Query, Reply, a, aaaa, cname, mx, ptr, soa, srv, txt};

/// Longer than anything here takes.
const FOREVER: Duration = Duration::from_secs(20);

fn asking(servers: impl IntoIterator<Item = SocketAddr>) -> Builder {
    Resolver::builder()
        .engine(EngineKind::Native)
        .resolv_conf("/nonexistent")
        .hosts_file("/nonexistent")
        .search(Vec::<String>::new())
        .nameservers(servers)
        .timeout(FOREVER)
}

/// Asks this server only, patiently, and not twice.
fn patient(server: &NameServer) -> Resolver {
    asking([server.address()]).attempts(1).build().unwrap()
}

/// Asks this server only, and soon again.
fn hasty(server: &NameServer) -> Resolver {
    asking([server.address()]).timeout(Duration::from_millis(50)).attempts(2).build().unwrap()
}

fn v4(address: &str) -> Vec<IpAddr> {
    vec![address.parse().unwrap()]
}

fn lookup_v4(resolver: &Resolver, host: &str) -> Result<Vec<IpAddr>, ErrorKind> {
    resolver.lookup_family(host, Family::V4).map_err(|error| error.kind())
}

#[test]
fn both_families_are_asked_for_at_once() {
    run(|| {
        // It answers when it has both questions.
        let server = NameServer::start(|query: &Query| {
            if query.earlier == 0 {
                return vec![Reply::Hold];
            }
            vec![Reply::answer_all(|query| match query.kind {
                1 => vec![a(&query.name, 60, [10, 0, 0, 1])],
                _ => vec![aaaa(&query.name, 60, "2001:db8::1")],
            })]
        });
        let mut found = patient(&server).lookup("www.example").unwrap();
        found.sort();
        assert_eq!(found, ["10.0.0.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    });
}

#[test]
fn a_lost_packet_is_asked_for_again() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            if query.earlier == 0 {
                vec![]
            } else {
                vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]
            }
        });
        let resolver =
            asking([server.address()]).timeout(Duration::from_millis(100)).attempts(50).build().unwrap();
        assert_eq!(lookup_v4(&resolver, "www.example"), Ok(v4("10.0.0.1")));
        assert!(server.count() >= 2);
    });
}

#[test]
fn a_silent_server_is_an_error_that_says_so() {
    run(|| {
        let server = NameServer::start(|_: &Query| vec![]);
        let error = hasty(&server).lookup("www.example").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let message = format!(
            "cannot resolve \"www.example\": no server answered in time ({} did not answer in 50ms, asked 2 times)",
            server.address()
        );
        assert_eq!(error.to_string(), message);
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn the_next_server_is_asked_when_one_is_silent_sick_or_absent() {
    run(|| {
        let silent = NameServer::start(|_: &Query| vec![]);
        let sick = NameServer::start(|_: &Query| vec![Reply::code(2)]);
        let refusing = NameServer::start(|_: &Query| vec![Reply::code(5)]);
        let absent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let good =
            NameServer::start(|query: &Query| vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]);
        for first in [silent.address(), sick.address(), refusing.address(), absent] {
            let resolver = asking([first, good.address()])
                .timeout(Duration::from_millis(200))
                .attempts(20)
                .build()
                .unwrap();
            assert_eq!(lookup_v4(&resolver, "www.example"), Ok(v4("10.0.0.1")));
        }
    });
}

#[test]
fn a_server_that_was_silent_is_asked_last_from_then_on() {
    run(|| {
        let silent = NameServer::start(|_: &Query| vec![]);
        let good =
            NameServer::start(|query: &Query| vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]);
        let servers = [silent.address(), good.address()];
        let resolver = asking(servers).timeout(Duration::from_millis(500)).build().unwrap();
        for name in ["a.example", "b.example", "c.example"] {
            assert!(lookup_v4(&resolver, name).is_ok());
        }
        assert_eq!((silent.count(), good.count()), (1, 3));
    });
}

#[test]
fn servers_take_turns_where_they_are_told_to() {
    run(|| {
        let answer = |query: &Query| vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])];
        let (one, other) = (NameServer::start(answer), NameServer::start(answer));
        let resolver = asking([one.address(), other.address()]).rotate().build().unwrap();
        for name in ["a.example", "b.example", "c.example", "d.example"] {
            assert!(lookup_v4(&resolver, name).is_ok());
        }
        assert_eq!((one.count(), other.count()), (2, 2));
    });
}

#[test]
fn what_does_not_fit_comes_over_tcp() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            let many = (0..=255).map(|n| a(&query.name, 60, [10, 0, 0, n])).collect();
            if query.tcp { vec![Reply::answer(many)] } else { vec![Reply::truncated()] }
        });
        assert_eq!(lookup_v4(&patient(&server), "www.example").unwrap().len(), 256);
        assert_eq!(server.count(), 2);
    });
}

#[test]
fn a_datagram_that_is_larger_than_agreed_comes_over_tcp() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            vec![Reply::answer(
                (0..=255)
                    .map(|n| a(&query.name, 60, [10, 0, 1, n]))
                    .chain((0..=255).map(|n| a(&query.name, 60, [10, 0, 2, n])))
                    .collect(),
            )]
        });
        assert_eq!(lookup_v4(&patient(&server), "www.example").unwrap().len(), 512);
    });
}

#[test]
fn everything_may_be_asked_over_tcp() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            assert!(query.tcp, "it was asked over UDP");
            vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]
        });
        let resolver = asking([server.address()]).tcp_only().build().unwrap();
        assert_eq!(lookup_v4(&resolver, "www.example"), Ok(v4("10.0.0.1")));
    });
}

#[test]
fn half_messages_and_nonsense_over_tcp_are_errors() {
    run(|| {
        for (bytes, kind) in [
            (vec![], ErrorKind::Temporary),
            (vec![0], ErrorKind::Temporary),
            (vec![0, 100, 1, 2, 3], ErrorKind::Temporary),
            (vec![0, 0], ErrorKind::Failed),
            (vec![0, 5, 1, 2, 3, 4, 5], ErrorKind::Failed),
            (vec![255; 70_000], ErrorKind::Failed),
        ] {
            let server = NameServer::start(move |query: &Query| {
                if query.tcp { vec![Reply::Raw(bytes.clone())] } else { vec![Reply::truncated()] }
            });
            assert_eq!(lookup_v4(&patient(&server), "www.example"), Err(kind));
        }
    });
}

#[test]
fn a_server_that_drips_over_tcp_is_given_up_in_time() {
    run(|| {
        let server = NameServer::start(
            |query: &Query| {
                if query.tcp { vec![Reply::Drip] } else { vec![Reply::truncated()] }
            },
        );
        let resolver =
            asking([server.address()]).timeout(Duration::from_millis(100)).attempts(1).build().unwrap();
        let started = Instant::now();
        assert_eq!(lookup_v4(&resolver, "www.example"), Err(ErrorKind::TimedOut));
        assert!(started.elapsed() < FOREVER);
    });
}

#[test]
fn a_name_that_does_not_exist_is_not_found_and_that_is_remembered() {
    run(|| {
        let server = NameServer::start(|_: &Query| vec![Reply::code(3).with_authority(soa("example", 60))]);
        let resolver = patient(&server);
        let error = resolver.lookup("nobody.example").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.to_string(), "cannot resolve \"nobody.example\": no such name");
        assert_eq!(resolver.lookup("nobody.example").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!((server.count(), resolver.cached()), (2, 2)); // one for each family
        resolver.clear_cache();
        assert!(resolver.lookup("nobody.example").is_err());
        assert_eq!(server.count(), 4);
    });
}

#[test]
fn a_name_without_such_records_has_no_data() {
    run(|| {
        let server = NameServer::start(|query: &Query| match query.kind {
            1 => vec![Reply::answer(vec![]).with_authority(soa("example", 60))],
            _ => vec![Reply::answer(vec![aaaa(&query.name, 60, "2001:db8::1")])],
        });
        let resolver = patient(&server);
        assert_eq!(lookup_v4(&resolver, "six.example"), Err(ErrorKind::NoData));
        assert_eq!(resolver.gethostbyname("six.example").unwrap_err().kind(), ErrorKind::NoData);
        assert_eq!(resolver.lookup("six.example").unwrap(), v4("2001:db8::1"));
    });
}

#[test]
fn failures_of_servers_are_not_remembered() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            if query.earlier == 0 {
                vec![Reply::code(2)]
            } else {
                vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]
            }
        });
        let resolver = patient(&server);
        let error = resolver.gethostbyname("www.example").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Temporary);
        assert!(error.to_string().contains(&server.address().to_string()), "{error}");
        assert!(resolver.gethostbyname("www.example").is_ok());
    });
}

#[test]
fn a_server_that_does_not_know_extensions_is_asked_without() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            if query.additional > 0 {
                vec![Reply::code(1)]
            } else {
                vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]
            }
        });
        assert_eq!(lookup_v4(&patient(&server), "www.example"), Ok(v4("10.0.0.1")));
        assert_eq!(server.count(), 2);
    });
}

#[test]
fn aliases_are_followed_within_an_answer_and_across_answers() {
    run(|| {
        let server = NameServer::start(|query: &Query| match query.name.as_str() {
            "one.example" => vec![Reply::answer(vec![
                cname("one.example", 60, "two.example"),
                cname("two.example", 60, "three.other"),
            ])],
            "three.other" => vec![Reply::answer(vec![cname("three.other", 60, "four.other")])],
            _ => vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 4])])],
        });
        let entry = patient(&server).gethostbyname_ex("one.example").unwrap();
        assert_eq!(entry.name, "four.other");
        assert_eq!(entry.aliases, ["one.example", "two.example", "three.other"]);
        assert_eq!(entry.addresses, v4("10.0.0.4"));
        let hints = Hints::new().socket_type(SocketType::Stream).family(Family::V4).canonical_name();
        let infos = patient(&server).getaddrinfo("one.example", 80, &hints).unwrap();
        assert_eq!(infos[0].canonical_name.as_deref(), Some("four.other"));
    });
}

#[test]
fn aliases_in_a_circle_are_an_error() {
    run(|| {
        let within = NameServer::start(|_: &Query| {
            vec![Reply::answer(vec![
                cname("a.example", 60, "b.example"),
                cname("b.example", 60, "a.example"),
            ])]
        });
        let across = NameServer::start(|query: &Query| {
            let other = if query.name == "a.example" { "b.example" } else { "a.example" };
            vec![Reply::answer(vec![cname(&query.name, 60, other)])]
        });
        let endless = NameServer::start(|query: &Query| {
            vec![Reply::answer(vec![cname(&query.name, 60, &format!("{}x.example", query.earlier))])]
        });
        for server in [within, across, endless] {
            let error = patient(&server).gethostbyname("a.example").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Failed);
            assert!(error.to_string().contains("circle"), "{error}");
            assert!(server.count() <= 17, "{}", server.count());
        }
    });
}

#[test]
fn answers_to_something_else_are_as_if_they_had_not_come() {
    run(|| {
        let forge = |query: &Query| [6, 6, 6, u8::try_from(query.kind).unwrap_or(0)];
        let server = NameServer::start(move |query: &Query| {
            let lie = || Reply::answer(vec![a(&query.name, 60, forge(query))]);
            let pointing_at_itself = {
                // A name whose compression pointer points at itself.
                let mut bytes = query.bytes[..12].to_vec();
                bytes[2] |= 0x80;
                bytes.extend([0xc0, 12, 0, 1, 0, 1]);
                bytes
            };
            let mut cut = query.bytes.clone();
            cut[2] |= 0x80;
            cut[7] = 200; // so many answers, and not one is there
            vec![
                lie().id_changed_by(1),
                lie().question("other.example"),
                lie().of_kind(28),
                Reply::Raw(query.bytes.clone()), // the question itself
                Reply::Raw(vec![]),
                Reply::Raw(vec![0xff; 3]),
                Reply::Raw(vec![0xff; 1000]),
                Reply::Raw(pointing_at_itself),
                Reply::Raw(cut),
                lie().sent_by_another_port(),
                Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])]),
            ]
        });
        assert_eq!(lookup_v4(&patient(&server), "www.example"), Ok(v4("10.0.0.1")));
        assert_eq!(server.count(), 1);
    });
}

#[test]
fn every_query_has_another_id() {
    run(|| {
        let server =
            NameServer::start(|query: &Query| vec![Reply::answer(vec![a(&query.name, 0, [10, 0, 0, 1])])]);
        let resolver = patient(&server);
        for _ in 0..50 {
            assert!(resolver.gethostbyname("www.example").is_ok());
        }
        let mut ids = server.ids();
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() >= 48, "{} ids for 50 queries", ids.len());
    });
}

#[test]
fn an_answer_that_comes_late_does_not_answer_the_next_question() {
    run(|| {
        // The first answer comes together with the second one, and before it.
        let server = NameServer::start(|query: &Query| match query.earlier {
            0 => vec![Reply::Hold],
            _ => vec![Reply::answer_all(|query| {
                vec![a(&query.name, 60, [10, 0, 0, query.name.as_bytes()[0] - b'a'])]
            })],
        });
        let resolver = patient(&server);
        assert!(with_timeout(Duration::from_millis(20), || resolver.gethostbyname("a.example")).is_err());
        assert_eq!(resolver.gethostbyname("b.example").unwrap(), Ipv4Addr::new(10, 0, 0, 1));
    });
}

#[test]
fn equal_questions_at_once_are_one_query() {
    run(|| {
        let server = NameServer::start_held(|query: &Query| {
            vec![Reply::answer(vec![a(&query.name, 0, [10, 0, 0, 1])])]
        });
        let resolver = patient(&server);
        let all: Vec<_> = (0..100)
            .map(|_| {
                let resolver = resolver.clone();
                spawn(move || resolver.gethostbyname("www.example").unwrap())
            })
            .collect();
        server.wait_for(1);
        // Also across hubs.
        let elsewhere = std::thread::spawn({
            let resolver = resolver.clone();
            move || run(|| resolver.gethostbyname("www.example").unwrap())
        });
        server.release();
        joinall(&all);
        assert!(all.iter().all(|greenlet| greenlet.value() == Some(&Ipv4Addr::new(10, 0, 0, 1))));
        elsewhere.join().unwrap();
        // The other hub may have come when it was over: with a life of 0 it asked for itself.
        assert!(server.count() <= 2, "{}", server.count());
    });
}

#[test]
fn a_kill_in_the_middle_of_a_lookup_ends_it_and_the_others_get_their_answer() {
    run(|| {
        let server = NameServer::start_held(|query: &Query| {
            vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]
        });
        let resolver = patient(&server);
        let all: Vec<_> = (0..10)
            .map(|_| {
                let resolver = resolver.clone();
                spawn(move || resolver.gethostbyname("www.example").unwrap())
            })
            .collect();
        server.wait_for(1);
        for victim in [0, 5] {
            all[victim].kill(); // the one who asks, and one who waits for it
            assert!(all[victim].ready());
        }
        server.release();
        joinall(&all);
        let answered = all.iter().filter(|greenlet| greenlet.value().is_some()).count();
        assert_eq!(answered, 8);
        assert!(server.count() <= 2, "{}", server.count());
    });
}

#[test]
fn a_timeout_ends_a_lookup_at_once() {
    run(|| {
        let server = NameServer::start(|_: &Query| vec![]);
        let resolver = patient(&server); // for 20 seconds
        let started = Instant::now();
        assert!(with_timeout(Duration::from_millis(20), || resolver.lookup("www.example")).is_err());
        assert!(started.elapsed() < FOREVER / 2);
    });
}

#[test]
fn kills_at_every_suspension_point_over_tcp_leave_nothing_behind() {
    run(|| {
        for stage in 0..3 {
            let server = NameServer::start(move |query: &Query| match (query.tcp, stage) {
                (false, 0) | (true, 1) => vec![],
                (true, 2) => vec![Reply::RawKeepOpen(vec![0, 50, 1])],
                _ => vec![Reply::truncated()],
            });
            let resolver = patient(&server);
            let victim = spawn({
                let resolver = resolver.clone();
                move || resolver.gethostbyname("www.example").map(drop)
            });
            server.wait_for(if stage == 0 { 1 } else { 2 });
            victim.kill();
            assert!(victim.ready() && victim.value().is_none());
        }
    });
}

#[test]
fn a_thousand_lookups_at_once() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            let number: u32 = query.name.trim_start_matches('h').split('.').next().unwrap().parse().unwrap();
            vec![Reply::answer(vec![a(&query.name, 60, number.to_be_bytes())])]
        });
        // Loopback may lose packets when so many come at once.
        let resolver =
            asking([server.address()]).timeout(Duration::from_secs(1)).attempts(10).build().unwrap();
        let all: Vec<_> = (0..1000u32)
            .map(|n| {
                let resolver = resolver.clone();
                spawn(move || resolver.gethostbyname(&format!("h{n}.example")).unwrap() == Ipv4Addr::from(n))
            })
            .collect();
        assert!(joinall_timeout(&all, FOREVER));
        assert!(all.iter().all(|greenlet| greenlet.value() == Some(&true)));
    });
}

#[test]
fn no_more_names_are_asked_for_at_once_than_allowed() {
    run(|| {
        let server = NameServer::start_held(|query: &Query| {
            vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]
        });
        let resolver = asking([server.address()]).at_once(1).build().unwrap();
        let all: Vec<_> = ["a.example", "b.example", "c.example"]
            .map(|name| {
                let resolver = resolver.clone();
                spawn(move || resolver.gethostbyname(name).unwrap())
            })
            .into();
        server.wait_for(1);
        all[1].kill(); // while it waits for its turn
        let given_up = with_timeout(Duration::from_millis(10), || resolver.gethostbyname("d.example"));
        assert!(given_up.is_err());
        all[0].kill(); // while it has its turn, which is the next one's
        server.release();
        assert_eq!(all[2].get().unwrap(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(server.names(), ["a.example", "c.example"]);
        assert!(asking([server.address()]).at_once(0).build().is_err());
    });
}

#[test]
fn the_cache_answers_without_asking_and_forgets_the_least_recent() {
    run(|| {
        let server =
            NameServer::start(|query: &Query| vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]);
        let resolver = asking([server.address()]).cache_size(2).build().unwrap();
        for name in ["a.example", "A.Example", "b.example", "a.example", "c.example", "a.example"] {
            assert!(lookup_v4(&resolver, name).is_ok());
        }
        assert_eq!((server.count(), resolver.cached()), (3, 2));
        assert!(lookup_v4(&resolver, "b.example").is_ok());
        assert_eq!(server.count(), 4);
    });
}

#[test]
fn answers_without_a_life_are_asked_for_every_time() {
    run(|| {
        let server =
            NameServer::start(|query: &Query| vec![Reply::answer(vec![a(&query.name, 0, [10, 0, 0, 1])])]);
        let resolver = patient(&server);
        for _ in 0..3 {
            assert!(lookup_v4(&resolver, "www.example").is_ok());
        }
        assert_eq!((server.count(), resolver.cached()), (3, 0));
    });
}

#[test]
fn names_with_few_dots_are_looked_for_in_the_search_domains() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            if query.name == "www.b.example" || query.name == "full.name" {
                vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]
            } else {
                vec![Reply::code(3)]
            }
        });
        let resolver = asking([server.address()]).search(["a.example", "b.example"]).build().unwrap();
        assert_eq!(resolver.gethostbyname_ex("www").unwrap().name, "www.b.example");
        assert_eq!(server.names(), ["www.a.example", "www.b.example"]);
        assert_eq!(resolver.gethostbyname_ex("full.name").unwrap().name, "full.name");
        assert_eq!(server.names().len(), 3);
        assert_eq!(lookup_v4(&resolver, "www."), Err(ErrorKind::NotFound));
        assert_eq!(server.names().last().unwrap(), "www");
    });
}

#[test]
fn the_hosts_file_comes_first() {
    run(|| {
        let file = std::env::temp_dir().join(format!("greenlet-hosts-{}", std::process::id()));
        std::fs::write(&file, "10.9.9.9 www.example www\n::9 six.example\n10.9.9.8 WWW\n").unwrap();
        let server = NameServer::start(|_: &Query| vec![Reply::code(3)]);
        let resolver = asking([server.address()]).hosts_file(&file).build().unwrap();
        std::fs::remove_file(&file).unwrap();
        let entry = resolver.gethostbyname_ex("www").unwrap();
        assert_eq!((entry.name.as_str(), entry.aliases), ("www.example", vec!["www".to_owned()]));
        assert_eq!(entry.addresses, ["10.9.9.9".parse::<IpAddr>().unwrap(), "10.9.9.8".parse().unwrap()]);
        assert_eq!(resolver.lookup("SIX.example.").unwrap(), v4("::9"));
        assert_eq!(resolver.gethostbyaddr("10.9.9.9".parse().unwrap()).unwrap().aliases, ["www"]);
        assert_eq!(server.count(), 0);
        assert_eq!(lookup_v4(&resolver, "six.example"), Err(ErrorKind::NotFound)); // not of this family
        assert_eq!(server.count(), 1);
    });
}

#[test]
fn localhost_is_never_asked_for() {
    run(|| {
        let server = NameServer::start(|_: &Query| vec![Reply::code(3)]);
        let resolver = patient(&server);
        for name in ["localhost", "LOCALHOST.", "app.localhost"] {
            assert_eq!(resolver.gethostbyname(name).unwrap(), Ipv4Addr::LOCALHOST);
            assert_eq!(resolver.lookup_family(name, Family::V6).unwrap(), v4("::1"));
        }
        assert_eq!(server.count(), 0);
    });
}

#[test]
fn addresses_have_names() {
    run(|| {
        let server = NameServer::start(|query: &Query| match query.name.as_str() {
            "1.0.0.10.in-addr.arpa" => vec![Reply::answer(vec![ptr(&query.name, 60, "one.example")])],
            "4.0.0.10.in-addr.arpa" => vec![Reply::code(2)],
            name if name.ends_with("8.b.d.0.1.0.0.2.ip6.arpa") => {
                vec![Reply::answer(vec![ptr(&query.name, 60, "six.example")])]
            }
            _ => vec![Reply::code(3)],
        });
        let resolver = patient(&server);
        let entry = resolver.gethostbyaddr("10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!((entry.name.as_str(), entry.addresses), ("one.example", v4("10.0.0.1")));
        assert_eq!(resolver.gethostbyaddr("2001:db8::1".parse().unwrap()).unwrap().name, "six.example");
        let error = resolver.gethostbyaddr("10.0.0.2".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "cannot find the name of 10.0.0.2: no such name");

        let names = |address: &str, hints| resolver.getnameinfo(address.parse().unwrap(), hints);
        let one = names("10.0.0.1:80", NameHints::new()).unwrap();
        assert_eq!((one.host.as_str(), one.service.as_str()), ("one.example", "http"));
        let search = asking([server.address()]).search(["example"]).build().unwrap();
        let local = search.getnameinfo("10.0.0.1:80".parse().unwrap(), NameHints::new().local_part());
        assert!(["one", "one.example"].contains(&local.unwrap().host.as_str())); // this machine may have a domain
        assert_eq!(names("10.0.0.2:80", NameHints::new()).unwrap().host, "10.0.0.2");
        let required = names("10.0.0.2:80", NameHints::new().name_required());
        assert_eq!(required.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(names("10.0.0.4:80", NameHints::new()).unwrap_err().kind(), ErrorKind::Temporary);
        assert_eq!(resolver.getfqdn("10.0.0.1"), "one.example");
    });
}

#[test]
fn other_records_can_be_looked_up() {
    run(|| {
        let server = NameServer::start(|query: &Query| {
            vec![Reply::answer(match query.kind {
                15 => vec![mx(&query.name, 20, "b.example"), mx(&query.name, 10, "a.example")],
                16 => vec![txt(&query.name, &[b"two ", b"pieces"]), txt(&query.name, &[&[0xff]])],
                33 => vec![srv(&query.name, 1, 5, 5222, "xmpp.example")],
                _ => vec![],
            })]
        });
        let resolver = patient(&server);
        let exchanges: Vec<_> = resolver
            .lookup_mx("example.org")
            .unwrap()
            .into_iter()
            .map(|mx| (mx.preference, mx.exchange))
            .collect();
        assert_eq!(exchanges, [(10, "a.example".to_owned()), (20, "b.example".to_owned())]);
        assert_eq!(resolver.lookup_txt("example.org").unwrap(), [b"two pieces".to_vec(), vec![0xff]]);
        let service = &resolver.lookup_srv("_xmpp._tcp.example.org").unwrap()[0];
        assert_eq!((service.priority, service.weight, service.port), (1, 5, 5222));
        assert_eq!(service.target, "xmpp.example");
        let thread = Resolver::builder().build().unwrap();
        let error = thread.lookup_mx("example.org").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().starts_with("cannot find MX records of \"example.org\": "), "{error}");
    });
}

#[test]
fn international_names_are_asked_for_in_ascii() {
    run(|| {
        let server =
            NameServer::start(|query: &Query| vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]);
        assert!(patient(&server).gethostbyname("bücher.example").is_ok());
        assert_eq!(server.names(), ["xn--bcher-kva.example"]);
    });
}

#[test]
fn hints_are_honoured() {
    run(|| {
        let server = NameServer::start(|query: &Query| match query.kind {
            1 => vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])],
            _ if query.name.starts_with("both") => {
                vec![Reply::answer(vec![aaaa(&query.name, 60, "2001:db8::1")])]
            }
            _ => vec![Reply::answer(vec![]).with_authority(soa("example", 60))],
        });
        let resolver = patient(&server);
        let find = |name: &str, hints: Hints| {
            let found = resolver.getaddrinfo(name, "https", &hints.socket_type(SocketType::Stream));
            found.map(|found| found.iter().map(|info| info.address.to_string()).collect::<Vec<_>>())
        };
        let v6 = || Hints::new().family(Family::V6);
        assert_eq!(find("four.example", v6()).unwrap_err().kind(), ErrorKind::NoData);
        assert_eq!(find("four.example", v6().v4_mapped()).unwrap(), ["[::ffff:10.0.0.1]:443"]);
        assert_eq!(find("both.example", v6().v4_mapped()).unwrap(), ["[2001:db8::1]:443"]);
        assert_eq!(find("both.example", v6().v4_mapped().all()).unwrap().len(), 2);
        assert_eq!(find("both.example", Hints::new().family(Family::V4)).unwrap(), ["10.0.0.1:443"]);
    });
}

#[test]
fn a_thread_without_greenlets_may_ask_too() {
    let server =
        NameServer::start(|query: &Query| vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 1])])]);
    let resolver = patient(&server);
    assert_eq!(resolver.gethostbyname("www.example").unwrap(), Ipv4Addr::new(10, 0, 0, 1));
}

#[test]
fn resolv_conf_is_read_again_when_it_changes() {
    run(|| {
        let file = std::env::temp_dir().join(format!("greenlet-resolv-conf-{}", std::process::id()));
        let server = NameServer::start(|query: &Query| match query.name.as_str() {
            "www.after.example" => vec![Reply::answer(vec![a(&query.name, 60, [10, 0, 0, 2])])],
            _ => vec![Reply::code(3)],
        });
        std::fs::write(&file, "search before.example\n").unwrap();
        let resolver = Resolver::builder()
            .engine(EngineKind::Native)
            .resolv_conf(&file)
            .nameservers([server.address()])
            .build()
            .unwrap();
        assert!(resolver.gethostbyname("www").is_err());
        std::fs::write(&file, "search before.example after.example\n").unwrap();
        let started = Instant::now();
        while resolver.gethostbyname("www").is_err() {
            assert!(started.elapsed() < FOREVER);
            greenlet_core::sleep(Duration::from_millis(50));
        }
        std::fs::remove_file(&file).unwrap();
    });
}
