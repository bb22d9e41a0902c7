//! What goes wrong says what went wrong, and ends.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use greenlet_core::{run, spawn, yield_now};
use greenlet_net::tls::TlsError;
use greenlet_net::tls::rustls::{AlertDescription, CertificateError};

use crate::certified::{
    Authority, HOST, OURS, SERVER, Valid, acceptor, connector, meet, meet_by_name, sessions,
};
use crate::pair::{FOREVER, kind, pair_with_std, reset};

#[test]
fn a_certificate_for_another_name_names_both() {
    run(|| {
        let (client, server) =
            meet_by_name("example.org", &connector().build().unwrap(), &acceptor().build().unwrap());
        let error = client.unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("the certificate of example.org is not valid: "), "{message}");
        assert!(message.contains(HOST), "it names what the certificate is for: {message}");
        assert!(matches!(server, Err(TlsError::Alert(AlertDescription::BadCertificate))), "{server:?}");
        assert_eq!(std::io::Error::from(error).kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn an_expired_certificate_says_since_when() {
    run(|| {
        let old = OURS.issue(&[HOST], Valid::Once);
        let acceptor = greenlet_net::tls::TlsAcceptor::builder().identity(old.identity());
        let (client, server) = meet(connector(), acceptor);
        let error = client.unwrap_err();
        assert!(
            matches!(&error, TlsError::Certificate { peer, reason: CertificateError::ExpiredContext { .. } } if peer == HOST),
            "{error:?}"
        );
        assert!(error.to_string().contains("expired"), "{error}");
        assert!(matches!(server, Err(TlsError::Alert(AlertDescription::CertificateExpired))), "{server:?}");
    });
}

#[test]
fn an_unknown_authority_is_called_so() {
    run(|| {
        let strange = Authority::new("somebody").issue(&[HOST], Valid::Now);
        let acceptor = greenlet_net::tls::TlsAcceptor::builder().identity(strange.identity());
        let (client, server) = meet(connector(), acceptor);
        let error = client.unwrap_err();
        assert!(
            matches!(&error, TlsError::Certificate { reason: CertificateError::UnknownIssuer, .. }),
            "{error:?}"
        );
        assert!(matches!(server, Err(TlsError::Alert(AlertDescription::UnknownCA))), "{server:?}");
    });
}

#[test]
fn what_is_no_name_is_refused_before_anything_is_sent() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        let error = connector().build().unwrap().connect("no name", ours).unwrap_err();
        assert_eq!(error.to_string(), "`no name` is neither a DNS name nor an IP address");
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn plain_http_to_a_tls_port_gets_an_alert_and_a_clear_error() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        theirs.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let error = acceptor().build().unwrap().accept(ours).unwrap_err();
        assert!(matches!(error, TlsError::NotTls(_)), "{error:?}");
        assert!(error.to_string().starts_with("the peer does not speak TLS: "), "{error}");
        let mut alert = Vec::new();
        theirs.read_to_end(&mut alert).unwrap();
        assert_eq!(alert[0], 21, "an alert record: {alert:?}");
    });
}

#[test]
fn tls_to_a_plain_port_gets_a_clear_error() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        theirs.write_all(b"220 mail.example.org ESMTP\r\n").unwrap();
        let error = connector().build().unwrap().connect(HOST, ours).unwrap_err();
        assert!(matches!(error, TlsError::NotTls(_)), "{error:?}");
    });
}

#[test]
fn a_peer_that_closes_or_resets_in_the_handshake_is_reported() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        drop(theirs);
        let error = acceptor().build().unwrap().accept(ours).unwrap_err();
        assert!(matches!(error, TlsError::HandshakeEof), "{error:?}");
        assert_eq!(std::io::Error::from(error).kind(), ErrorKind::UnexpectedEof);

        let (ours, theirs) = pair_with_std();
        reset(theirs);
        let error = acceptor().build().unwrap().accept(ours).unwrap_err();
        assert!(
            matches!(&error, TlsError::Io(error) if error.kind() == ErrorKind::ConnectionReset),
            "{error:?}"
        );

        // While it waits for the answer to its hello.
        let (ours, theirs) = pair_with_std();
        let client = spawn(move || connector().build().unwrap().connect(HOST, ours));
        yield_now();
        reset(theirs);
        let error = client.into_value().unwrap().unwrap_err();
        assert!(
            matches!(&error, TlsError::Io(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
            "{error:?}"
        );
    });
}

#[test]
fn a_reset_ends_who_reads_and_who_writes() {
    run(|| {
        let (client, server) = sessions();
        crate::stream::fill_session(&client);
        let (reading, writing) = (client.try_clone().unwrap(), client.try_clone().unwrap());
        let reader = spawn(move || kind((&reading).read(&mut [0; 8])));
        let writer = spawn(move || kind((&writing).write_all(&[8; 1 << 20])));
        yield_now();
        socket2::SockRef::from(server.get_ref()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        // A kill drops it without a goodbye.
        let holder = spawn(move || {
            greenlet_core::sleep(std::time::Duration::MAX);
            drop(server);
        });
        yield_now();
        holder.kill();
        let ends = [reader.get().unwrap(), writer.get().unwrap()];
        for end in ends {
            // Who comes second finds what the first one has left.
            assert!(
                matches!(end, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof),
                "{ends:?}"
            );
        }
        assert!((&client).write(b"x").is_err());
        assert!((&client).read(&mut [0]).is_err());
    });
}

#[test]
fn what_was_changed_on_the_way_is_an_error_for_ever_and_the_peer_is_told() {
    run(|| {
        let (mut client, mut server) = sessions();
        client.write_all(b"good").unwrap();
        // A record of application data that nobody has encrypted.
        client.get_ref().write_all_past_the_session(&[23, 3, 3, 0, 32]);
        client.get_ref().write_all_past_the_session(&[0; 32]);
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).unwrap(), 4, "what came before is good");
        for _ in 0..3 {
            let error = server.read(&mut buffer).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.to_string().starts_with("the TLS session failed: "), "{error}");
        }
        assert_eq!(kind(server.write(b"x")), ErrorKind::InvalidData);
        let error = client.read(&mut buffer).unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    });
}

trait PastTheSession {
    fn write_all_past_the_session(&self, bytes: &[u8]);
}

impl PastTheSession for greenlet_net::TcpStream {
    fn write_all_past_the_session(&self, bytes: &[u8]) {
        let mut stream = self;
        stream.write_all(bytes).unwrap();
    }
}

#[test]
fn an_endless_handshake_message_meets_a_limit() {
    run(|| {
        let (ours, theirs) = pair_with_std();
        // A client hello that says it is 16 MB long.
        let flood = std::thread::spawn(move || {
            let mut theirs = theirs;
            let mut record = vec![22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
            record.resize(5 + 0x4000, 0);
            while theirs.write_all(&record).is_ok() {
                record[5..].fill(0);
            }
        });
        let error = acceptor().build().unwrap().accept(ours).unwrap_err();
        assert!(
            matches!(error, TlsError::HandshakeTooLong(_) | TlsError::Protocol(_) | TlsError::NotTls(_)),
            "{error:?}"
        );
        flood.join().unwrap();
    });
}

#[test]
fn a_handshake_limit_of_ones_own_holds() {
    run(|| {
        let (ours, mut theirs) = pair_with_std();
        // The first 2000 bytes of a hello of 4000.
        let mut hello = vec![22, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc];
        hello.resize(2000, 0);
        theirs.write_all(&hello).unwrap();
        let error = acceptor().handshake_limit(1000).build().unwrap().accept(ours).unwrap_err();
        assert!(matches!(error, TlsError::HandshakeTooLong(1000)), "{error:?}");
    });
}

#[test]
fn a_client_that_never_reads_holds_up_the_writer_only() {
    run(|| {
        let (client, server) = sessions();
        let filled = crate::stream::fill_session(&server);
        assert!(filled < 16 << 20, "bounded by the buffers of the system");
        drop(client);
        let begun = std::time::Instant::now();
        assert!((&server).write_all(&[7; 4 << 20]).is_err());
        assert!(begun.elapsed() < FOREVER);
    });
}

#[test]
fn half_a_record_and_the_end_is_truncated() {
    run(|| {
        let (client, mut server) = sessions();
        client.get_ref().write_all_past_the_session(&[23, 3, 3, 0, 32, 1, 2, 3]);
        client.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(kind(server.read(&mut [0; 8])), ErrorKind::UnexpectedEof);
        let _ = &*SERVER;
    });
}
