//! Calls in HTTPS.

use std::time::Duration;

use greenlet_core::run;
use greenlet_net::client::ureq::{Agent, Error, Timeout};
use greenlet_net::client::{Connector, Names};
use greenlet_net::tls::TlsConnector;

use crate::certified::{Authority, acceptor, connector};
use crate::pair::pair;
use crate::site::{Answer, Site};

fn agent(tls: TlsConnector) -> Agent {
    let config = Agent::config_builder().proxy(None).build();
    Agent::with_parts(config, Connector::new().tls(tls), Names::new())
}

fn site() -> Site {
    let acceptor = acceptor().alpn(["http/1.1"]).build().unwrap();
    Site::start(move |stream| acceptor.accept(stream).ok(), |path, _| Answer::Body(path.into()))
}

#[test]
fn calls_are_encrypted_and_share_connections() {
    run(|| {
        let site = site();
        let agent = agent(connector().alpn(["http/1.1"]).build().unwrap());
        for host in ["localhost", "127.0.0.1"] {
            for path in ["/a", "/b", "/c"] {
                let url = format!("https://{host}:{}{path}", site.port);
                assert_eq!(agent.get(&url).call().unwrap().body_mut().read_to_string().unwrap(), path);
            }
        }
        assert_eq!(site.connections.get(), 2, "tickets between the calls are no reason to give one up");
    });
}

#[test]
fn a_wrong_certificate_names_the_host_and_the_reason() {
    run(|| {
        let site = site();
        let strangers = TlsConnector::builder().roots(Authority::new("somebody").roots()).build().unwrap();
        let error = agent(strangers).get(format!("https://localhost:{}/", site.port)).call().unwrap_err();
        let message = error.to_string();
        assert!(message.contains("the certificate of localhost is not valid: "), "{message}");
    });
}

#[test]
fn the_handshake_is_part_of_the_time_to_connect() {
    run(|| {
        let (listening, _silent) = pair();
        drop(listening);
        let listener = greenlet_net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let config =
            Agent::config_builder().proxy(None).timeout_connect(Some(Duration::from_millis(50))).build();
        let tls = connector().build().unwrap();
        let agent = Agent::with_parts(config, Connector::new().tls(tls), Names::new());
        let error = agent.get(format!("https://127.0.0.1:{port}/")).call().unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Connect)), "{error:?}");
    });
}
