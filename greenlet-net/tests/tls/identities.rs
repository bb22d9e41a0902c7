//! Which certificate a server shows, and what is no certificate.

use greenlet_core::run;
use greenlet_net::tls::{Certificates, Identity, Roots, TlsAcceptor, TlsConfigError, TlsConnector};

use crate::certified::{Authority, OURS, SERVER, Valid, connector, meet_by_name};

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    run(|| {
        let issue = |name: &str| OURS.issue(&[name], Valid::Now);
        let (exact, wild, other) = (issue("www.example.org"), issue("*.example.org"), issue("other.test"));
        let certificates = Certificates::new();
        certificates.set("WWW.example.org", exact.identity()).unwrap();
        certificates.set("*.example.org", wild.identity()).unwrap();
        certificates.set_default(other.identity()).unwrap();
        let acceptor = TlsAcceptor::builder().certificates(certificates.clone()).build().unwrap();
        let connector = connector().build().unwrap();
        for (name, shown) in
            [("www.example.org", &exact), ("mail.example.org", &wild), ("other.test", &other)]
        {
            let (client, server) = meet_by_name(name, &connector, &acceptor);
            assert_eq!(client.unwrap().peer_certificates().unwrap(), [shown.der()], "{name}");
            assert_eq!(server.unwrap().server_name().as_deref(), Some(name));
        }
        assert!(certificates.remove("www.EXAMPLE.org"));
        assert!(!certificates.remove("www.example.org"));
        let fresh = crate::certified::connector().build().unwrap();
        let (client, _server) = meet_by_name("www.example.org", &fresh, &acceptor);
        assert_eq!(client.unwrap().peer_certificates().unwrap(), [wild.der()]);
    });
}

#[test]
fn a_certificate_is_replaced_while_the_server_runs() {
    run(|| {
        let renewed = OURS.issue(&["localhost"], Valid::Now);
        let certificates = Certificates::new();
        certificates.set_default(SERVER.identity()).unwrap();
        let acceptor = TlsAcceptor::builder().certificates(certificates.clone()).build().unwrap();
        let (before, _server) = meet_by_name("localhost", &connector().build().unwrap(), &acceptor);
        let before = before.unwrap();
        certificates.set_default(renewed.identity()).unwrap();
        let (after, _server) = meet_by_name("localhost", &connector().build().unwrap(), &acceptor);
        assert_eq!(after.unwrap().peer_certificates().unwrap(), [renewed.der()]);
        assert_eq!(before.peer_certificates().unwrap(), [SERVER.der()]);
        // What cannot be used changes nothing.
        let wrong = Identity::from_pem(&renewed.certificate, &SERVER.key).unwrap();
        assert!(matches!(certificates.set_default(wrong), Err(TlsConfigError::Identity(_))));
        let (still, _server) = meet_by_name("localhost", &connector().build().unwrap(), &acceptor);
        assert_eq!(still.unwrap().peer_certificates().unwrap(), [renewed.der()]);
    });
}

#[test]
fn what_cannot_work_is_refused_when_it_is_built() {
    let message = |error: Result<TlsAcceptor, TlsConfigError>| error.unwrap_err().to_string();
    assert_eq!(
        message(TlsAcceptor::builder().build()),
        "no identity: a TLS server needs a certificate and its private key"
    );
    let stranger = Authority::new("somebody").issue(&["localhost"], Valid::Now);
    let wrong = Identity::from_pem(&SERVER.certificate, &stranger.key).unwrap();
    let wrong = message(TlsAcceptor::builder().identity(wrong).build());
    assert!(wrong.starts_with("the certificate and its private key cannot be used: "), "{wrong}");
    let builder = || TlsAcceptor::builder().identity(SERVER.identity());
    assert_eq!(message(builder().alpn([""]).build()), "`` is no ALPN protocol: expected 1 to 255 bytes");
    assert!(matches!(
        builder().require_client_certificate(Roots::none()).build(),
        Err(TlsConfigError::Verifier(_))
    ));
    let none = TlsConnector::builder().roots(Roots::none()).build().unwrap_err();
    assert!(matches!(none, TlsConfigError::NoRoots), "{none}");
    assert_eq!(std::io::Error::from(none).kind(), std::io::ErrorKind::InvalidInput);
    let name = Certificates::new().set("not a name", SERVER.identity()).unwrap_err();
    assert_eq!(name.to_string(), "`not a name` is not a DNS name, nor `*.` and one");
    assert!(matches!(Roots::from_pem(&SERVER.key), Err(TlsConfigError::Pem(_))));
}

#[test]
fn identities_come_from_files_and_keep_their_key_to_themselves() {
    let folder = std::env::temp_dir().join(format!("greenlet-net-identities-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let both = folder.join("both.pem");
    std::fs::write(&both, format!("{}{}", SERVER.key, SERVER.certificate)).unwrap();
    let identity = Identity::from_files(&both, &both).unwrap();
    assert_eq!(format!("{identity:?}"), "Identity { certificates: 1, .. }");
    TlsAcceptor::builder().identity(identity.clone()).build().unwrap();
    let error = Identity::from_files(&both, folder.join("none.pem")).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn both_providers_of_algorithms_can_be_chosen() {
    run(|| {
        let ring = std::sync::Arc::new(greenlet_net::tls::rustls::crypto::ring::default_provider());
        let acceptor =
            TlsAcceptor::builder().identity(SERVER.identity()).crypto_provider(ring.clone()).build().unwrap();
        let connector = connector().crypto_provider(ring).build().unwrap();
        let (client, server) = meet_by_name("localhost", &connector, &acceptor);
        assert_eq!(client.unwrap().cipher_suite(), server.unwrap().cipher_suite());
    });
}
