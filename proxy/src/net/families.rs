//! Which families of addresses a machine has.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether this machine can be reached by IPv6 and not by IPv4, as pods of some clusters can. There every address is to mean those of
/// IPv6. Source: Istio, `getWildcardsAndLocalHost`, which looks at the addresses of the pod.
pub(crate) fn is_ipv6_only() -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    has_ipv6_alone(&read("/proc/net/route"), &read("/proc/net/if_inet6"))
}

/// The address at which a socket takes connections of both families, in place of every address of IPv4.
pub(crate) fn both_families(address: SocketAddr) -> Option<SocketAddr> {
    (address.ip() == Ipv4Addr::UNSPECIFIED).then(|| (Ipv6Addr::UNSPECIFIED, address.port()).into())
}

/// By the `routes` of IPv4, under a line of titles, and the addresses of IPv6, whose fourth column is 0 for those that others know.
/// Source: Linux, `/proc/net/route` and `/proc/net/if_inet6`.
fn has_ipv6_alone(routes: &str, addresses: &str) -> bool {
    let is_global = |line: &str| line.split_whitespace().nth(3) == Some("00");
    routes.lines().nth(1).is_none() && addresses.lines().any(is_global)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_routes_of_ipv4_has_ipv6_alone_if_others_know_an_address() {
        let header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let routed = format!("{header}eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n";
        let global = "fd000000000000000000000000000002 04 40 00 82     eth0\n";
        assert!(has_ipv6_alone(header, &[loopback, link, global].concat()));
        assert!(!has_ipv6_alone(&routed, global));
        assert!(!has_ipv6_alone(header, &[loopback, link].concat()));
        assert!(!has_ipv6_alone("", ""));
    }
}
