//! In which order addresses should be tried (RFC 6724, as far as a resolver can tell).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// IPv6 before IPv4, unless this machine has no way to the first IPv6 address. Within a family the order stays.
pub(super) fn sort(addresses: &mut [IpAddr]) {
    let first_v6 = addresses.iter().copied().find(IpAddr::is_ipv6);
    if let Some(first_v6) = first_v6
        && addresses.iter().any(IpAddr::is_ipv4)
    {
        let v6_first = is_reachable(first_v6);
        addresses.sort_by_key(|address| address.is_ipv6() != v6_first);
    }
}

/// Whether there is a way to it. Nothing is sent.
pub(super) fn is_reachable(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0));
    socket.and_then(|socket| socket.connect(SocketAddr::new(address, 53))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stay_together_and_keep_their_order() {
        let mut addresses: Vec<IpAddr> =
            ["10.0.0.2", "::1", "10.0.0.1", "::2"].iter().map(|address| address.parse().unwrap()).collect();
        sort(&mut addresses);
        let v6_first = is_reachable("::1".parse().unwrap());
        let expected = if v6_first {
            ["::1", "::2", "10.0.0.2", "10.0.0.1"]
        } else {
            ["10.0.0.2", "10.0.0.1", "::1", "::2"]
        };
        assert_eq!(addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>(), expected);
    }
}
