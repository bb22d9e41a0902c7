//! PEM text, as certificates, keys, identities and roots are made of it.
//!
//! What is understood is the same when it is written out and read again, and when somebody writes something between its sections.
#![no_main]

use greenlet_net::tls::{Identity, PemError, Roots, certificates_from_pem, private_key_from_pem};
use libfuzzer_sys::fuzz_target;

fn section(name: &str, der: &[u8]) -> String {
    format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", base64(der))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, &byte| number << 8 | u32::from(byte))
            << (8 * (3 - three.len()));
        for digit in 0..4 {
            let index = number >> (18 - 6 * digit) & 63;
            text.push(if digit <= three.len() { DIGITS[index as usize].into() } else { '=' });
        }
    }
    text
}

fuzz_target!(|pem: &[u8]| {
    let (certificates, key) = (certificates_from_pem(pem), private_key_from_pem(pem));
    let begins = pem.windows(11).filter(|window| window == b"-----BEGIN ").count();
    match &certificates {
        Ok(certificates) => {
            assert!((1..=begins).contains(&certificates.len()), "{} of {begins}", certificates.len());
            let again: String = certificates.iter().map(|one| section("CERTIFICATE", one)).collect();
            assert_eq!(&certificates_from_pem(&again).unwrap(), certificates);
            let remarks = again.replace("-----BEGIN", "a remark\n-----BEGIN");
            assert_eq!(&certificates_from_pem(remarks).unwrap(), certificates);
        }
        Err(error) => assert!(error.to_string().contains("the given text"), "{error}"),
    }
    match &key {
        Ok(key) => {
            let again = private_key_from_pem(section("PRIVATE KEY", key.secret_der()));
            assert_eq!(again.unwrap().secret_der(), key.secret_der());
        }
        Err(PemError::Missing { found, .. }) => assert_eq!(found == "nothing", pem.is_empty()),
        Err(error) => assert!(error.to_string().contains("the given text"), "{error}"),
    }
    let identity = Identity::from_pem(pem, pem);
    assert_eq!(identity.is_ok(), certificates.is_ok() && key.is_ok());
    if let Ok(identity) = &identity {
        assert!(!format!("{identity:?}").contains("key"), "the key is nobody's business");
    }
    if let Ok(roots) = Roots::from_pem(pem) {
        assert_eq!(roots.len(), certificates.unwrap().len());
    }
});
