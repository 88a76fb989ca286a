//! Endpoints and draws for the tests of this crate.

use std::net::SocketAddr;
use std::sync::Arc;

use config_model::model::{Balancing, Endpoint, EndpointAddress, Health, Locality, Workload};

/// Every algorithm.
pub(crate) const ALGORITHMS: [Balancing; 3] = [Balancing::RoundRobin, Balancing::LeastRequest, Balancing::Random];

/// The endpoint of this number, which is its port.
pub(crate) fn endpoint(number: u16, weight: u32, health: Health) -> Endpoint {
    let unknown: Arc<str> = "unknown".into();
    let workload = Workload {
        name: Arc::clone(&unknown),
        namespace: Arc::clone(&unknown),
        app: Arc::clone(&unknown),
        version: Arc::clone(&unknown),
        canonical_service: Arc::clone(&unknown),
        canonical_revision: Arc::clone(&unknown),
        principal: Arc::clone(&unknown),
        cluster: unknown,
    };
    let address = EndpointAddress::Ip(SocketAddr::from(([127, 0, 0, 1], number)));
    Endpoint {
        address,
        weight,
        health,
        priority: 0,
        locality_share: None,
        locality: Locality::default(),
        workload: Arc::new(workload),
    }
}

/// `count` ready endpoints of weight 1.
pub(crate) fn endpoints(count: u16) -> Vec<Endpoint> {
    (0..count).map(|number| endpoint(number, 1, Health::Ready)).collect()
}

/// Draws that look random and are the same each time.
pub(crate) fn xorshift(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
