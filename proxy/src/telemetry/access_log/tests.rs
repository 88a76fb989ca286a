//! Records for the tests of this folder.

use std::time::{Duration, UNIX_EPOCH};

use ::http::Version;
use http1::Head;

use super::record::{AccessRecord, Address, NO_HEADERS};
use crate::telemetry::Flags;

/// A request of which nothing is known that need not be.
pub(super) fn record() -> AccessRecord<'static> {
    AccessRecord {
        start: UNIX_EPOCH + Duration::from_millis(1_767_323_045_678),
        method: b"GET",
        path: b"/",
        original_path: None,
        authority: b"reviews",
        scheme: "http",
        request_headers: NO_HEADERS,
        response_headers: NO_HEADERS,
        response_trailers: NO_HEADERS,
        protocol: Version::HTTP_11,
        status: 0,
        grpc_status: None,
        flags: Flags::NONE,
        details: None,
        upstream_transport_failure_reason: None,
        bytes_received: 0,
        bytes_sent: 0,
        duration: None,
        request_duration: None,
        response_duration: None,
        response_tx_duration: None,
        upstream_host: None,
        upstream_cluster: None,
        upstream_local_address: None,
        attempt_count: 0,
        downstream_local_address: None,
        downstream_remote_address: None,
        downstream_direct_remote_address: None,
        has_client_certificate: false,
        server_name: None,
        route_name: None,
        virtual_host_name: None,
    }
}

/// Fields of a head.
pub(super) fn headers(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::default();
    fields.iter().for_each(|(name, value)| head.append(name.as_bytes(), value.as_bytes()));
    head
}

/// A request that a back end has answered.
pub(super) fn answered<'a>(request: &'a Head, response: &'a Head) -> AccessRecord<'a> {
    let address = |text: &str| text.parse().ok().map(Address::Ip);
    AccessRecord {
        method: b"POST",
        path: b"/logged?x=1",
        authority: b"log.example",
        request_headers: request,
        response_headers: response,
        status: 200,
        details: Some("via_upstream"),
        bytes_received: 5,
        bytes_sent: 812,
        duration: Some(Duration::from_micros(7_900)),
        request_duration: Some(Duration::from_millis(1)),
        response_duration: Some(Duration::from_millis(6)),
        response_tx_duration: Some(Duration::from_millis(2)),
        upstream_host: Some("127.0.0.31:9080"),
        upstream_cluster: Some("outbound|9080||one.default.svc.cluster.local"),
        upstream_local_address: address("127.0.0.1:40000"),
        attempt_count: 1,
        downstream_local_address: address("127.0.0.1:8080"),
        downstream_remote_address: address("10.1.2.3:0"),
        downstream_direct_remote_address: address("127.0.0.1:50000"),
        route_name: Some("default"),
        virtual_host_name: Some("log.example:80"),
        ..record()
    }
}
