//! What the two sides agree on before the first byte.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use greenlet_core::{run, spawn};
use greenlet_net::TcpStream;
use greenlet_net::tls::rustls::pki_types::CertificateRevocationListDer;
use greenlet_net::tls::rustls::{AlertDescription, HandshakeKind, ProtocolVersion};
use greenlet_net::tls::{ServerResumption, TlsError, TlsStream, Versions};

use crate::certified::{
    Authority, HOST, OURS, SERVER, Valid, acceptor, connector, meet, meet_by_name, sessions, sessions_with,
};
use crate::pair::{FOREVER, pair, pair_with_std};

#[test]
fn both_know_what_was_agreed() {
    run(|| {
        let (client, server) =
            sessions_with(connector().alpn(["h2", "http/1.1"]), acceptor().alpn(["http/1.1"]));
        assert_eq!(client.alpn_protocol().unwrap(), b"http/1.1");
        assert_eq!(server.alpn_protocol().unwrap(), b"http/1.1");
        assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(server.cipher_suite(), client.cipher_suite());
        assert_eq!(server.server_name().as_deref(), Some(HOST));
        assert_eq!(client.server_name(), None);
        assert_eq!(client.peer_certificates().unwrap(), [SERVER.der()]);
        assert_eq!(server.peer_certificates(), None);
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
    });
}

#[test]
fn no_common_protocol_is_refused_with_the_alert_for_it() {
    run(|| {
        let (client, server) = meet(connector().alpn(["h2"]), acceptor().alpn(["http/1.1"]));
        assert!(
            matches!(client, Err(TlsError::Alert(AlertDescription::NoApplicationProtocol))),
            "{client:?}"
        );
        assert!(matches!(server, Err(TlsError::Protocol(_))), "{server:?}");
        // Who does not ask is not refused.
        let (client, _) = sessions_with(connector(), acceptor().alpn(["http/1.1"]));
        assert_eq!(client.alpn_protocol(), None);
    });
}

#[test]
fn no_common_version_is_refused() {
    run(|| {
        let (client, server) =
            meet(connector().versions(Versions::Tls12), acceptor().versions(Versions::Tls13));
        assert!(matches!(client, Err(TlsError::Alert(AlertDescription::ProtocolVersion))), "{client:?}");
        assert!(matches!(server, Err(TlsError::Protocol(_))), "{server:?}");
    });
}

#[test]
fn an_address_is_a_name_too_and_is_not_sent() {
    run(|| {
        let (client, server) =
            meet_by_name("127.0.0.1", &connector().build().unwrap(), &acceptor().build().unwrap());
        client.unwrap();
        assert_eq!(server.unwrap().server_name(), None);
    });
}

/// A session that has carried something each way, so that tickets are there.
fn used(
    (client, server): (Result<TlsStream, TlsError>, Result<TlsStream, TlsError>),
) -> (TlsStream, TlsStream) {
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    server.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    client.write_all(b"y").unwrap();
    server.read_exact(&mut [0]).unwrap();
    (client, server)
}

#[test]
fn a_session_is_taken_up_again_by_ticket_and_from_the_cache_and_not_if_disabled() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        for (resumption, second) in [
            (ServerResumption::Tickets, HandshakeKind::Resumed),
            (ServerResumption::Cache(8), HandshakeKind::Resumed),
            (ServerResumption::Disabled, HandshakeKind::Full),
        ] {
            run(|| {
                let connector = connector().versions(versions).build().unwrap();
                let acceptor = acceptor().resumption(resumption).build().unwrap();
                let (client, _server) = used(meet_by_name(HOST, &connector, &acceptor));
                assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
                let (client, server) = used(meet_by_name(HOST, &connector, &acceptor));
                assert_eq!(client.handshake_kind(), Some(second), "{versions:?} {resumption:?}");
                assert_eq!(server.server_name().as_deref(), Some(HOST), "{versions:?} {resumption:?}");
                assert!(client.peer_certificates().is_some());
            });
        }
    }
}

#[test]
fn a_required_client_certificate_is_looked_at() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        run(|| {
            let asks = || acceptor().require_client_certificate(OURS.roots());
            let connects = || connector().versions(versions);
            let issued = OURS.issue(&["alice"], Valid::Now);
            let (mut client, mut server) = sessions_with(connects().identity(issued.identity()), asks());
            assert_eq!(server.peer_certificates().unwrap(), [issued.der()]);
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();

            let (client, server) = meet(connects(), asks());
            assert!(matches!(server, Err(TlsError::Protocol(_))), "{server:?}");
            refused(client, &[AlertDescription::CertificateRequired, AlertDescription::HandshakeFailure]);

            let stranger = Authority::new("somebody").issue(&["mallory"], Valid::Now);
            let (client, server) = meet(connects().identity(stranger.identity()), asks());
            let error = server.unwrap_err();
            assert!(error.to_string().starts_with("the certificate of the client is not valid: "), "{error}");
            refused(client, &[AlertDescription::UnknownCA]);
        });
    }
}

/// In TLS 1.3 a client is done before the server has looked at its certificate, and hears of it from the first read.
fn refused(client: Result<TlsStream, TlsError>, alerts: &[AlertDescription]) {
    let alert = match client {
        Err(TlsError::Alert(alert)) => alert,
        Err(error) => panic!("{error}"),
        Ok(mut client) => {
            let error = client.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
            match error.get_ref().unwrap().downcast_ref() {
                Some(TlsError::Alert(alert)) => *alert,
                _ => panic!("{error}"),
            }
        }
    };
    assert!(alerts.contains(&alert), "{alert:?}");
}

#[test]
fn an_optional_client_certificate_may_be_missing_but_not_wrong() {
    run(|| {
        let asks = || acceptor().ask_for_client_certificate(OURS.roots());
        let (_client, server) = sessions_with(connector(), asks());
        assert_eq!(server.peer_certificates(), None);
        let issued = OURS.issue(&["alice"], Valid::Once);
        let (client, server) = meet(connector().identity(issued.identity()), asks());
        assert!(matches!(server, Err(TlsError::Certificate { .. })), "{server:?}");
        refused(client, &[AlertDescription::CertificateExpired]);
    });
}

#[test]
fn revoked_certificates_are_refused_on_both_sides() {
    run(|| {
        let list = || [CertificateRevocationListDer::from(OURS.revoke(&SERVER.serial))];
        let (client, server) = meet(connector().revocation_lists(list()), acceptor());
        let error = client.unwrap_err();
        assert!(error.to_string().contains("certificate of localhost is not valid"), "{error}");
        assert!(error.to_string().to_lowercase().contains("revoked"), "{error}");
        assert!(matches!(server, Err(TlsError::Alert(AlertDescription::CertificateRevoked))), "{server:?}");
        // All certificates here have one serial number.
        let asks = acceptor().require_client_certificate(OURS.roots()).revocation_lists(list());
        let issued = OURS.issue(&["alice"], Valid::Now);
        let (_client, server) = meet(connector().identity(issued.identity()), asks);
        assert!(matches!(server, Err(TlsError::Certificate { .. })), "{server:?}");
    });
}

#[test]
fn a_silent_peer_runs_into_the_handshake_timeout_on_both_sides() {
    run(|| {
        let limit = Duration::from_millis(20);
        let (ours, _theirs) = pair_with_std();
        let error = acceptor().handshake_timeout(Some(limit)).build().unwrap().accept(ours).unwrap_err();
        assert!(matches!(error, TlsError::HandshakeTimeout(after) if after == limit), "{error}");
        assert_eq!(error.to_string(), "the TLS handshake timed out after 20ms");
        let (ours, _theirs) = pair_with_std();
        let connector = connector().handshake_timeout(Some(limit)).build().unwrap();
        let error = std::io::Error::from(connector.connect(HOST, ours).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn the_handshake_timeout_bounds_the_whole_handshake() {
    run(|| {
        // A byte now and then is progress, but not enough.
        let (client, server) = pair();
        let (front, theirs) = pair();
        let started = spawn(move || connector().build().unwrap().connect(HOST, client));
        let dripping = spawn(move || {
            let mut byte = [0; 1];
            while (&server).read(&mut byte).unwrap() == 1 && (&front).write_all(&byte).is_ok() {
                greenlet_core::sleep(Duration::from_millis(5));
            }
        });
        let begun = Instant::now();
        let acceptor = acceptor().handshake_timeout(Some(Duration::from_millis(60))).build().unwrap();
        let error = acceptor.accept(theirs).unwrap_err();
        assert!(matches!(error, TlsError::HandshakeTimeout(_)), "{error}");
        assert!(begun.elapsed() < FOREVER);
        dripping.kill();
        started.kill();
    });
}

#[test]
fn timeouts_of_the_handshake_do_not_stay() {
    run(|| {
        let limit = Some(Duration::from_secs(5));
        let (client, server) =
            sessions_with(connector().handshake_timeout(limit), acceptor().handshake_timeout(limit));
        for stream in [&client, &server] {
            assert_eq!(stream.read_timeout().unwrap(), None);
            assert_eq!(stream.get_ref().read_timeout().unwrap(), None);
            assert_eq!(stream.get_ref().write_timeout().unwrap(), None);
        }
    });
}

/// Passes on what comes, in pieces of one byte.
fn byte_by_byte(from: TcpStream, to: TcpStream) {
    spawn(move || {
        to.set_nodelay(true).unwrap();
        let mut byte = [0; 1];
        while matches!((&from).read(&mut byte), Ok(1)) && (&to).write_all(&byte).is_ok() {}
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn a_session_works_byte_by_byte() {
    for versions in [Versions::Tls12, Versions::Tls13] {
        run(|| {
            let ((client, front), (back, server)) = (pair(), pair());
            byte_by_byte(front.try_clone().unwrap(), back.try_clone().unwrap());
            byte_by_byte(back, front);
            let acceptor = acceptor().build().unwrap();
            let echo = spawn(move || {
                let stream = acceptor.accept(server).unwrap();
                std::io::copy(&mut &stream, &mut &stream).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            let connector = connector().versions(versions).build().unwrap();
            let mut stream = connector.connect(HOST, client).unwrap();
            stream.write_all(&[7; 3000]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, [7; 3000]);
            echo.get().unwrap();
        });
    }
}

#[test]
fn what_a_server_shows_can_be_looked_at_though_nobody_vouches_for_it() {
    run(|| {
        let listener = greenlet_net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let issued = Authority::new("somebody").issue(&["elsewhere"], Valid::Once);
        let acceptor = greenlet_net::tls::TlsAcceptor::builder().identity(issued.identity()).build().unwrap();
        spawn(move || acceptor.accept(listener.accept().unwrap().0));
        let shown = greenlet_net::tls::get_server_certificates("127.0.0.1", port).unwrap();
        assert_eq!(shown, [issued.der()]);
    });
}

#[test]
fn early_data_is_not_accepted_even_if_a_configuration_allows_it() {
    use greenlet_net::tls::TlsAcceptor;
    use greenlet_net::tls::rustls::ServerConfig;
    run(|| {
        let identity = greenlet_net::tls::private_key_from_pem(&SERVER.key).unwrap();
        let provider = greenlet_net::tls::rustls::crypto::ring::default_provider();
        let mut config = ServerConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![SERVER.der()], identity)
            .unwrap();
        config.max_early_data_size = 1 << 20;
        let acceptor = TlsAcceptor::from(config);
        let (client, server) = used(meet_by_name(HOST, &connector().build().unwrap(), &acceptor));
        assert_eq!(server.server_name().as_deref(), Some(HOST));
        drop(client);
    });
}

#[test]
fn sessions_are_cheap_to_print() {
    run(|| {
        let (client, _server) = sessions();
        let printed = format!("{client:?}");
        assert!(printed.contains("TlsStream") && printed.contains("TLSv1_3"), "{printed}");
    });
}
