//! Where to connect to and what to listen on, as text.
//!
//! What std reads as an address is that address; what is understood is understood the same when it is written out; an error names what was given.
#![no_main]

use std::io::ErrorKind;
use std::net::SocketAddr;

use greenlet_net::server::IntoEndpoints;
use greenlet_net::{Target, ToAddresses};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let known = text.parse::<SocketAddr>().ok();
    match text.to_target() {
        Ok(Target::Addresses(addresses)) => {
            assert_eq!(addresses.len(), 1);
            if let Some(known) = known {
                assert_eq!(addresses, [known]);
            }
            assert!(addresses[0].is_ipv6() || !text.contains('['), "{text}");
            let again = addresses[0].to_string().to_target().unwrap();
            assert_eq!(again, Target::Addresses(addresses));
        }
        Ok(Target::Name { host, port }) => {
            assert_eq!(known, None);
            assert!(!host.contains([':', '[', ']']), "{host:?}");
            assert_eq!(format!("{host}:{port}").to_target().unwrap(), Target::Name { host, port });
        }
        Err(error) => {
            assert_eq!(known, None, "{error}");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
    // The host alone, with a port that somebody else gave.
    match (text, 80).to_target() {
        Ok(Target::Addresses(addresses)) => assert!(addresses.iter().all(|address| address.port() == 80)),
        Ok(Target::Name { host, port }) => assert_eq!((host.as_str(), port), (text, 80)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
    }
    match text.into_endpoints() {
        Ok(endpoints) => {
            if let Some(known) = known {
                assert_eq!(format!("{endpoints:?}"), format!("{:?}", known.into_endpoints().unwrap()));
            }
        }
        Err(error) => {
            assert_eq!(known, None, "{error}");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
});
