//! Authorities and certificates that are made for a test, and sessions that use them.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::LazyLock;

use greenlet_core::spawn;
use greenlet_net::tls::rustls::pki_types::CertificateDer;
use greenlet_net::tls::{
    Identity, Roots, TlsAcceptor, TlsAcceptorBuilder, TlsConnector, TlsConnectorBuilder, TlsError, TlsStream,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::pair::pair;

/// What server certificates are made for.
pub const HOST: &str = "localhost";

pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as text.
pub struct Issued {
    pub certificate: String,
    pub key: String,
    pub serial: Vec<u8>,
}

pub enum Valid {
    Now,
    /// It has expired.
    Once,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    pub fn issue(&self, names: &[&str], valid: Valid) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0].clone());
        params.use_authority_key_identifier_extension = true;
        let serial = vec![7; 16];
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
        if let Valid::Once = valid {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem(), serial }
    }

    pub fn revoke(&self, serial: &[u8]) -> Vec<u8> {
        let number = |n: u64| rcgen::SerialNumber::from(n);
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(4000, 1, 1),
            crl_number: number(1),
            issuing_distribution_point: None,
            revoked_certs: vec![rcgen::RevokedCertParams {
                serial_number: rcgen::SerialNumber::from_slice(serial),
                revocation_time: rcgen::date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    pub fn roots(&self) -> Roots {
        Roots::from_pem(&self.pem).unwrap()
    }
}

impl Issued {
    pub fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key).unwrap()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        greenlet_net::tls::certificates_from_pem(&self.certificate).unwrap().remove(0)
    }
}

/// The authority whom these tests trust.
pub static OURS: LazyLock<Authority> = LazyLock::new(|| Authority::new("the authority of these tests"));

pub static SERVER: LazyLock<Issued> = LazyLock::new(|| OURS.issue(&[HOST, "127.0.0.1"], Valid::Now));

pub fn acceptor() -> TlsAcceptorBuilder {
    TlsAcceptor::builder().identity(SERVER.identity())
}

pub fn connector() -> TlsConnectorBuilder {
    TlsConnector::builder().roots(OURS.roots())
}

/// Client and server, whatever comes of it.
pub fn meet(
    connector: TlsConnectorBuilder,
    acceptor: TlsAcceptorBuilder,
) -> (Result<TlsStream, TlsError>, Result<TlsStream, TlsError>) {
    meet_by_name(HOST, &connector.build().unwrap(), &acceptor.build().unwrap())
}

pub fn meet_by_name(
    name: &str,
    connector: &TlsConnector,
    acceptor: &TlsAcceptor,
) -> (Result<TlsStream, TlsError>, Result<TlsStream, TlsError>) {
    let (ours, theirs) = pair();
    let acceptor = acceptor.clone();
    let server = spawn(move || acceptor.accept(theirs));
    let client = connector.connect(name, ours);
    (client, server.into_value().unwrap())
}

/// Client and server.
pub fn sessions() -> (TlsStream, TlsStream) {
    sessions_with(connector(), acceptor())
}

pub fn sessions_with(connector: TlsConnectorBuilder, acceptor: TlsAcceptorBuilder) -> (TlsStream, TlsStream) {
    let (client, server) = meet(connector, acceptor);
    (client.unwrap(), server.unwrap())
}
