//! What the public can reach: names and addresses that lead into no network of one's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ends of names that are answered within a house, if at all.
const INNER_ENDS: [&str; 13] = [
    "arpa",
    "corp",
    "home",
    "internal",
    "intra",
    "intranet",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "private",
    "workgroup",
];

/// Networks of version 4 that are not public: first address, length of the prefix.
const INNER_V4: [(Ipv4Addr, u32); 15] = [
    // This network.
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Behind a carrier's translation.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // The link; where clouds keep the credentials of their machines.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    // Relays of 6to4.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Measurements between networks.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Kept for later, and broadcast.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// What is not public within the only part of version 6 that is given out, 2000::/3.
const INNER_V6: [(Ipv6Addr, u32); 4] = [
    // Protocols, Teredo among them, which wraps version 4.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4, which wraps version 4.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // Documentation.
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is one of the public internet. Whatever wraps an address of version 4 (mapped, compatible, NAT64, 6to4,
/// Teredo) is not, for it would lead where the wrapped one may not.
pub fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            !INNER_V4.iter().any(|(first, prefix)| (bits ^ first.to_bits()) >> (32 - prefix) == 0)
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let is_given_out = bits >> 125 == 0b001;
            is_given_out
                && !INNER_V6.iter().any(|(first, prefix)| (bits ^ first.to_bits()) >> (128 - prefix) == 0)
        }
    }
}

/// Whether a name is one that everybody's name servers could answer.
pub fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let Some((_, end)) = name.rsplit_once('.') else { return false };
    name.split('.').all(|label| !label.is_empty())
        && !end.bytes().all(|byte| byte.is_ascii_digit())
        && !INNER_ENDS.iter().any(|inner| inner.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("1.1.1.1", true)]
    #[case("100.63.255.255", true)]
    #[case("100.128.0.0", true)]
    #[case("172.15.255.255", true)]
    #[case("172.32.0.0", true)]
    #[case("192.0.1.1", true)]
    #[case("198.20.0.0", true)]
    #[case("223.255.255.255", true)]
    #[case("2606:4700::1111", true)]
    #[case("2a00:1450::1", true)]
    #[case::this_network("0.0.0.0", false)]
    #[case::this_network_too("0.1.2.3", false)]
    #[case::private_ten("10.255.255.255", false)]
    #[case::carrier("100.64.0.1", false)]
    #[case::carrier_end("100.127.255.255", false)]
    #[case::loopback("127.0.0.1", false)]
    #[case::loopback_end("127.255.255.255", false)]
    #[case::metadata("169.254.169.254", false)]
    #[case::private_172("172.16.0.1", false)]
    #[case::private_172_end("172.31.255.255", false)]
    #[case::protocols("192.0.0.170", false)]
    #[case::documentation("192.0.2.1", false)]
    #[case::relay("192.88.99.1", false)]
    #[case::private_192("192.168.1.1", false)]
    #[case::measurements("198.19.255.255", false)]
    #[case::documentation_two("198.51.100.7", false)]
    #[case::documentation_three("203.0.113.7", false)]
    #[case::multicast("224.0.0.1", false)]
    #[case::multicast_end("239.255.255.255", false)]
    #[case::for_later("240.0.0.1", false)]
    #[case::broadcast("255.255.255.255", false)]
    #[case::v6_none("::", false)]
    #[case::v6_loopback("::1", false)]
    #[case::v6_mapped("::ffff:127.0.0.1", false)]
    #[case::v6_mapped_public("::ffff:1.1.1.1", false)]
    #[case::v6_compatible("::127.0.0.1", false)]
    #[case::v6_nat64("64:ff9b::7f00:1", false)]
    #[case::v6_nat64_local("64:ff9b:1::1", false)]
    #[case::v6_discard("100::1", false)]
    #[case::v6_teredo("2001::1", false)]
    #[case::v6_orchid("2001:20::1", false)]
    #[case::v6_documentation("2001:db8::1", false)]
    #[case::v6_6to4("2002:7f00:1::1", false)]
    #[case::v6_documentation_two("3fff::1", false)]
    #[case::v6_segments("5f00::1", false)]
    #[case::v6_unique_local("fc00::1", false)]
    #[case::v6_unique_local_two("fd12:3456::1", false)]
    #[case::v6_link("fe80::1", false)]
    #[case::v6_site("fec0::1", false)]
    #[case::v6_multicast("ff02::1", false)]
    fn an_address_is_public_or_not(#[case] address: IpAddr, #[case] expected: bool) {
        assert_eq!(is_public_address(address), expected);
    }

    #[rstest]
    #[case("acme.com", true)]
    #[case("shop.acme.co.uk.", true)]
    #[case("xn--mnchen-3ya.de", true)]
    #[case("localhost", false)]
    #[case("app.localhost", false)]
    #[case("metadata.google.internal", false)]
    #[case("printer.LOCAL", false)]
    #[case("1.0.0.127.in-addr.arpa", false)]
    #[case("127.0.0.1", false)]
    #[case("intranet", false)]
    #[case("a..b", false)]
    #[case("", false)]
    fn a_name_is_public_or_not(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(is_public_name(name), expected);
    }
}
