//! Classifies addresses as publicly routable or not: an endpoint's name must not resolve into the cluster's own
//! network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns whether the address is globally routable unicast, after the special-purpose registries of IANA (RFC 6890 and
/// its updates). Addresses that embed another one are refused, except NAT64's well-known prefix (RFC 6052), through
/// which IPv6-only clusters reach the IPv4 internet: there the embedded address counts.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_global_v4(v4),
        IpAddr::V6(v6) => is_global_v6(v6),
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, b, ..] => b & 0xc0 == 64, // shared by carriers; clouds put metadata services there
        [169, 254, ..] => true,         // link-local, metadata services
        [172, b, ..] => b & 0xf0 == 16,
        [192, 168, ..] => true,
        [192, 0, 0 | 2, _] => true, // protocol assignments, documentation
        [192, 88, 99, _] => true,   // 6to4 relays
        [198, 18 | 19, ..] => true, // benchmarking
        [198, 51, 100, _] | [203, 0, 113, _] => true, // documentation
        [a, ..] => a >= 224,        // multicast, reserved, broadcast
    };
    !special
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_global_v4(Ipv4Addr::new(a, b, c, d));
    }
    let special = match (s[0], s[1]) {
        (0x2001, second) => second < 0x200 || second == 0xdb8, // Teredo, ORCHID, benchmarking; documentation
        (0x2002, _) => true,                                   // 6to4
        (0x3fff, second) => second < 0x1000,                   // documentation
        // Only 2000::/3 is allocated as global unicast: outside are loopback, mapped IPv4, ULA, link-local, multicast.
        (first, _) => first & 0xe000 != 0x2000,
    };
    !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_public_addresses_from_all_others() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "99.255.255.255",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "2400:3200::1",
            "2001:4860:4860::8888",
            "2606:4700::1",
            "3fff:1000::1",
            "64:ff9b::8.8.8.8",
        ];
        let others = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.96.0.96",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in public {
            assert!(is_global(address.parse().unwrap()), "{address}");
        }
        for address in others {
            assert!(!is_global(address.parse().unwrap()), "{address}");
        }
    }
}
