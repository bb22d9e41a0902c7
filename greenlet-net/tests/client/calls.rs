//! Calls in plain HTTP.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_core::{Event, run, spawn, with_timeout, yield_now};
use greenlet_net::client::ureq::{Agent, Error, Timeout};
use greenlet_net::client::{agent, agent_with};

use crate::pair::FOREVER;
use crate::site::{Answer, Site};

fn text(path: &str, _body: &[u8]) -> Answer {
    Answer::Body(path.as_bytes().to_vec())
}

fn get(agent: &Agent, url: &str) -> Result<String, Error> {
    agent.get(url).call()?.body_mut().read_to_string()
}

#[test]
fn calls_wait_side_by_side_on_one_thread() {
    run(|| {
        // Nobody is answered before everybody has asked.
        let (asked, all) = (Rc::new(Cell::new(0)), Rc::new(Event::new()));
        let site = Site::plain(move |path, _| {
            asked.set(asked.get() + 1);
            if asked.get() == 20 {
                all.set();
            }
            all.wait();
            Answer::Body(path.into())
        });
        let agent = agent();
        let calls: Vec<_> = (0..20)
            .map(|number| {
                let (agent, url) = (agent.clone(), site.url(&format!("/{number}")));
                spawn(move || get(&agent, &url).unwrap())
            })
            .collect();
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.get().unwrap(), format!("/{number}"));
        }
    });
}

#[test]
fn a_connection_serves_one_greenlet_after_the_other() {
    run(|| {
        let site = Site::plain(text);
        let agent = agent();
        for number in 0..5 {
            let (agent, url) = (agent.clone(), site.url(&format!("/{number}")));
            let call = spawn(move || get(&agent, &url).unwrap());
            assert_eq!(call.get().unwrap(), format!("/{number}"));
        }
        assert_eq!(site.connections.get(), 1);
    });
}

#[test]
fn a_connection_that_the_server_has_ended_is_not_used_again() {
    run(|| {
        let site = Site::plain(|path, _| Answer::LastBody(path.into()));
        let agent = agent();
        for _ in 0..3 {
            assert_eq!(get(&agent, &site.url("/x")).unwrap(), "/x");
            for _ in 0..5 {
                yield_now(); // the end arrives
            }
        }
        assert_eq!(site.connections.get(), 3);
    });
}

#[test]
fn large_bodies_go_both_ways() {
    run(|| {
        let site = Site::plain(|_, body| Answer::Body(body.to_vec()));
        let body: Vec<u8> = (0..4_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut answer = agent().post(site.url("/")).send(&body[..]).unwrap();
        assert!(answer.body_mut().with_config().limit(10_000_000).read_to_vec().unwrap() == body);
    });
}

#[test]
fn a_name_is_looked_up() {
    run(|| {
        let site = Site::plain(text);
        let url = format!("http://localhost:{}/name", site.port);
        assert_eq!(get(&agent(), &url).unwrap(), "/name");
        assert!(matches!(
            get(&agent(), "http://does-not-exist.invalid/"),
            Err(Error::HostNotFound | Error::Io(_))
        ));
    });
}

fn limited(limit: Duration) -> Agent {
    agent_with(Agent::config_builder().proxy(None).timeout_global(Some(limit)).build())
}

#[test]
fn timeouts_are_those_of_ureq() {
    run(|| {
        let site = Site::plain(|_, _| Answer::Nothing);
        let begun = Instant::now();
        let error = get(&limited(Duration::from_millis(30)), &site.url("/")).unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Global)), "{error:?}");
        assert!(begun.elapsed() < FOREVER);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn connecting_has_its_timeout() {
    run(|| {
        let (listener, _only) = crate::pair::unanswering();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let config =
            Agent::config_builder().proxy(None).timeout_connect(Some(Duration::from_millis(30))).build();
        let error = get(&agent_with(config), &url).unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Connect)), "{error:?}");
    });
}

#[test]
fn a_refused_connection_says_where() {
    run(|| {
        let error = get(&agent(), "http://127.0.0.1:1/").unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    });
}

#[test]
fn kills_and_timeouts_unwind_a_call_and_drop_its_connection() {
    run(|| {
        let site = Site::plain(|path, _| if path == "/" { Answer::Nothing } else { text(path, &[]) });
        let agent = agent();
        let (calling, url) = (agent.clone(), site.url("/"));
        let call = spawn(move || get(&calling, &url).unwrap());
        yield_now();
        call.kill();
        assert!(call.exited());
        assert!(with_timeout(Duration::from_millis(10), || get(&agent, &site.url("/"))).is_err());
        // The agent goes on.
        assert_eq!(get(&agent, &site.url("/more")).unwrap(), "/more");
    });
}

#[test]
fn the_end_of_an_agent_ends_its_calls() {
    run(|| {
        let site = Site::plain(|_, _| Answer::Nothing);
        let agent = agent();
        let (calling, url) = (agent.clone(), site.url("/"));
        let call = spawn(move || get(&calling, &url).is_err());
        for _ in 0..20 {
            yield_now();
        }
        agent.shutdown();
        assert!(call.get().unwrap());
    });
}

#[test]
fn a_proxy_is_refused_and_not_passed_by() {
    run(|| {
        let site = Site::plain(text);
        let proxy = greenlet_net::client::ureq::Proxy::new("http://127.0.0.1:1").unwrap();
        let agent = agent_with(Agent::config_builder().proxy(Some(proxy)).build());
        let error = get(&agent, &site.url("/")).unwrap_err();
        assert!(error.to_string().contains("proxy"), "{error}");
        assert_eq!(site.connections.get(), 0);
    });
}

#[test]
fn threads_without_greenlets_call_too() {
    run(|| {
        let site = Site::plain(text);
        let url = site.url("/thread");
        let call = greenlet_core::pool::ThreadPool::new(1);
        assert_eq!(call.apply(move || get(&agent(), &url).unwrap()).unwrap(), "/thread");
    });
}

#[cfg(not(feature = "tls"))]
#[test]
fn https_needs_the_feature() {
    run(|| {
        let site = Site::plain(text);
        let error = get(&agent(), &format!("https://127.0.0.1:{}/", site.port)).unwrap_err();
        assert!(matches!(error, Error::TlsRequired), "{error:?}");
    });
}
