//! Where connections go that are not read as HTTP: the first route whose subnets hold, and in it the destination on which the
//! draw falls. Start at [`TcpEntry::decide`].

use std::net::IpAddr;

use config_model::model::{ClusterTarget, TcpRoute};

use crate::split::Split;
use crate::table::{DestinationIndex, SplitIndex};

/// The routes of connections that come in at one place.
#[derive(Debug)]
pub struct TcpEntry {
    routes: Box<[TcpRouteEntry]>,
}

/// A route of connections, its destinations prepared.
#[derive(Debug)]
pub struct TcpRouteEntry {
    /// As the model has it.
    pub route: TcpRoute,
    /// In the order of the model.
    pub destinations: Box<[TcpDestinationEntry]>,
    /// Nothing if there is no choice: the first destination takes everything.
    pub split: Option<(SplitIndex, Split)>,
}

/// A destination of connections.
#[derive(Debug)]
pub struct TcpDestinationEntry {
    /// Its number.
    pub index: DestinationIndex,
    /// The cluster, or the name of one that does not exist.
    pub target: ClusterTarget,
}

impl TcpEntry {
    pub(crate) fn new(routes: Box<[TcpRouteEntry]>) -> Self {
        Self { routes }
    }

    /// The routes, in order.
    pub fn routes(&self) -> impl Iterator<Item = &TcpRouteEntry> {
        self.routes.iter()
    }

    /// The route of a connection whose client wanted to go to `wanted`. `draw` is asked once, and only where there is a
    /// choice; it gives a fraction of 2^64.
    pub fn decide(
        &self,
        wanted: IpAddr,
        draw: impl FnOnce(SplitIndex) -> u64,
    ) -> Option<(&TcpRouteEntry, &TcpDestinationEntry)> {
        let route = self.routes.iter().find(|entry| entry.takes(wanted))?;
        Some((route, route.pick(draw)?))
    }
}

impl TcpRouteEntry {
    /// Whether it takes connections whose client wanted to go to `wanted`.
    pub fn takes(&self, wanted: IpAddr) -> bool {
        let subnets = &self.route.destination_subnets;
        let wanted = wanted.to_canonical();
        subnets.is_empty() || subnets.iter().any(|subnet| subnet.contains(&wanted))
    }

    fn pick(&self, draw: impl FnOnce(SplitIndex) -> u64) -> Option<&TcpDestinationEntry> {
        let picked = self.split.as_ref().map_or(0, |(index, split)| split.pick(draw(*index)));
        self.destinations.get(picked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config_model::model::{ClusterName, TcpProxy, TcpProxyIndex, WeightedCluster};
    use config_model::origin::{Origin, Position, ResourceId};
    use proptest::prelude::*;

    use super::*;
    use crate::Table;
    use crate::split::Rotation;

    fn route(subnets: &[&str], weights: &[u32]) -> TcpRoute {
        let (kind, text): (_, Arc<str>) = ("VirtualService", "t".into());
        let resource = ResourceId { kind, namespace: text.clone(), name: text.clone(), file: text };
        let origin = Origin { resource: Arc::new(resource), position: Position { line: 1, column: 1 } };
        let destination = |weight: &u32| WeightedCluster {
            cluster: ClusterTarget::Missing(ClusterName::black_hole()),
            weight: *weight,
            origin: origin.clone(),
        };
        TcpRoute {
            id: subnets.join(",").into(),
            origin: origin.clone(),
            destination_subnets: subnets.iter().map(|subnet| subnet.parse().unwrap()).collect(),
            destinations: weights.iter().map(destination).collect(),
            hashes_source_ip: false,
            tunnel: None,
        }
    }

    fn table(routes: Vec<TcpRoute>) -> Table {
        let resources = config_model::resolve::ResourceSet::new([]);
        let (role, namespace) = (config_model::resolve::Role::Gateway, "default".into());
        let proxy = config_model::resolve::Proxy { role, namespace, labels: Default::default() };
        let mut model = config_model::resolve::resolve(&resources, &proxy).model;
        model.tcp_proxies = vec![TcpProxy { name: "tcp.1".to_owned(), port: 1, routes }];
        Table::compile(&model)
    }

    #[test]
    fn the_first_route_whose_subnets_hold_is_taken() {
        let table = table(vec![route(&["10.1.0.0/16", "2001:db8::/32"], &[1]), route(&["10.0.0.0/8"], &[1])]);
        let entry = table.tcp(TcpProxyIndex(0)).unwrap();
        for (wanted, id) in [
            ("10.1.2.3", Some("10.1.0.0/16,2001:db8::/32")),
            ("::ffff:10.1.2.3", Some("10.1.0.0/16,2001:db8::/32")),
            ("2001:db8::7", Some("10.1.0.0/16,2001:db8::/32")),
            ("10.2.0.1", Some("10.0.0.0/8")),
            ("192.0.2.1", None),
        ] {
            let found = entry.decide(wanted.parse().unwrap(), |_| 0).map(|(route, _)| &*route.route.id);
            assert_eq!(found, id, "{wanted}");
        }
        assert!(table.tcp(TcpProxyIndex(1)).is_none());
    }

    proptest! {
        #[test]
        fn connections_are_split_as_exactly_as_requests(
            weights in prop::collection::vec(1u32..=100, 2..6),
            phase in any::<u64>(),
        ) {
            let table = table(vec![route(&[], &weights)]);
            let entry = table.tcp(TcpProxyIndex(0)).unwrap();
            let mut rotation = Rotation::new(phase);
            let mut hits = vec![0f64; weights.len()];
            for _ in 0..1000 {
                let (_, to) = entry.decide([127, 0, 0, 1].into(), |_| rotation.draw()).unwrap();
                hits[to.index.0 as usize] += 1.0;
            }
            let total: u32 = weights.iter().sum();
            for (hits, weight) in hits.iter().zip(&weights) {
                prop_assert!((hits - 1000.0 * f64::from(*weight) / f64::from(total)).abs() < 6.0);
            }
        }
    }
}
