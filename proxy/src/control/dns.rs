//! Endpoints that are names: each name is looked up, and looked up again, off the data threads.
//!
//! As Envoy's strict DNS does: every address becomes an endpoint of the weight its name has, a look-up that fails keeps the
//! addresses that were found last, and names are asked again every [`REFRESH`]. Start at [`Names::expand`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use config_model::model::{Discovery, Endpoint, EndpointAddress};

/// Time between two look-ups of a name. Source: Envoy, `dns_refresh_rate`.
pub(super) const REFRESH: Duration = Duration::from_secs(5);

/// A look-up that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(5);

/// Names in use, and the addresses that were found for them last.
#[derive(Debug, Default)]
pub(super) struct Names {
    used: BTreeSet<Arc<str>>,
    found: BTreeMap<Arc<str>, BTreeSet<IpAddr>>,
    /// Those whose last look-up has failed.
    failing: BTreeSet<Arc<str>>,
}

/// The answers to a round of questions, or why there is none.
pub(super) type Answers = Vec<(Arc<str>, Result<BTreeSet<IpAddr>, String>)>;

impl Names {
    /// Takes `names` as those in use: forgets the others, and returns those for which nothing was found yet.
    pub(super) fn retain(&mut self, names: BTreeSet<Arc<str>>) -> BTreeSet<Arc<str>> {
        self.found.retain(|name, _| names.contains(name));
        self.failing.retain(|name| names.contains(name));
        self.used = names;
        self.used.iter().filter(|name| !self.found.contains_key(*name)).cloned().collect()
    }

    /// All names in use.
    pub(super) fn in_use(&self) -> &BTreeSet<Arc<str>> {
        &self.used
    }

    /// Takes up answers, and tells whether they changed anything.
    pub(super) fn learn(&mut self, answers: Answers) -> bool {
        let mut changed = false;
        for (name, answer) in answers {
            if !self.used.contains(&name) {
                continue;
            }
            match answer {
                // A failure leaves what is known; an empty answer of a resolver that works counts as one.
                Ok(addresses) if addresses.is_empty() => self.failed(name, "it has no address"),
                Err(reason) => self.failed(name, &reason),
                Ok(addresses) => {
                    if self.failing.remove(&name) {
                        tracing::info!(target: "dns", "{name} is found again");
                    }
                    if self.found.get(&name) != Some(&addresses) {
                        changed = true;
                        self.found.insert(name, addresses);
                    }
                }
            }
        }
        changed
    }

    /// Says so once, until the name is found again.
    fn failed(&mut self, name: Arc<str>, reason: &str) {
        if self.failing.contains(&name) {
            return;
        }
        let consequence = match self.found.contains_key(&name) {
            true => "its addresses stay as they were",
            false => "its endpoints take no requests until it is found",
        };
        tracing::warn!(target: "dns", "{name} can't be looked up: {reason}; {consequence}");
        self.failing.insert(name);
    }

    /// `endpoints` with an endpoint for each address of a name (for one of them, if the cluster uses only the first).
    /// A name without addresses stays as it is, and is never picked.
    pub(super) fn expand(&self, endpoints: Vec<Endpoint>, discovery: Discovery) -> Vec<Endpoint> {
        let first_only = discovery == Discovery::DnsRoundRobin;
        let mut expanded = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let known = match &endpoint.address {
                EndpointAddress::Dns { host, port } => self.found.get(host).map(|found| (found, *port)),
                EndpointAddress::Ip(_) | EndpointAddress::Unix(_) => None,
            };
            match known {
                None => expanded.push(endpoint),
                Some((found, port)) => {
                    let count = if first_only { 1 } else { found.len() };
                    expanded.extend(found.iter().take(count).map(|&ip| Endpoint {
                        address: EndpointAddress::Ip(SocketAddr::new(ip, port)),
                        ..endpoint.clone()
                    }));
                }
            }
        }
        expanded
    }
}

/// The names among `endpoints`.
pub(super) fn names<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> BTreeSet<Arc<str>> {
    let name = |endpoint: &'a Endpoint| match &endpoint.address {
        EndpointAddress::Dns { host, .. } => Some(Arc::clone(host)),
        EndpointAddress::Ip(_) | EndpointAddress::Unix(_) => None,
    };
    endpoints.into_iter().filter_map(name).collect()
}

/// Looks up all of `names` at once, with the system's resolver.
pub(super) async fn look_up(names: impl IntoIterator<Item = Arc<str>>) -> Answers {
    let mut questions = tokio::task::JoinSet::new();
    for name in names {
        questions.spawn(async move {
            let found = match tokio::time::timeout(LIMIT, tokio::net::lookup_host((&*name, 0))).await {
                Ok(Ok(found)) => Ok(found.map(|address| address.ip()).collect()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_elapsed) => Err(format!("no answer within {LIMIT:?}")),
            };
            (name, found)
        });
    }
    questions.join_all().await
}

#[cfg(test)]
mod tests {
    use config_model::model::{Health, Locality, Workload};

    use super::*;

    fn endpoint(address: EndpointAddress, weight: u32) -> Endpoint {
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
        Endpoint {
            address,
            weight,
            health: Health::Ready,
            priority: 0,
            locality_share: None,
            proxies: None,
            locality: Locality::default(),
            workload: workload.into(),
        }
    }

    fn named(name: &str) -> Endpoint {
        endpoint(EndpointAddress::Dns { host: name.into(), port: 80 }, 3)
    }

    fn ips(list: &[&str]) -> Result<BTreeSet<IpAddr>, String> {
        Ok(list.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    fn known(used: &[&str]) -> Names {
        let mut names = Names::default();
        names.retain(used.iter().map(|name| Arc::from(*name)).collect());
        names
    }

    fn shown(endpoints: &[Endpoint]) -> Vec<String> {
        endpoints.iter().map(|endpoint| format!("{}*{}", endpoint.address, endpoint.weight)).collect()
    }

    #[test]
    fn every_address_of_a_name_is_an_endpoint_with_the_weight_of_the_name() {
        let mut names = known(&["a.example", "b.example"]);
        assert!(names.learn(vec![("a.example".into(), ips(&["10.0.0.2", "10.0.0.1"]))]));
        let fixed = endpoint(EndpointAddress::Ip("10.9.9.9:1".parse().unwrap()), 1);
        let endpoints = vec![named("a.example"), fixed, named("b.example")];
        let expanded = names.expand(endpoints.clone(), Discovery::Dns);
        assert_eq!(shown(&expanded), ["10.0.0.1:80*3", "10.0.0.2:80*3", "10.9.9.9:1*1", "b.example:80*3"]);
        let first = names.expand(endpoints, Discovery::DnsRoundRobin);
        assert_eq!(shown(&first), ["10.0.0.1:80*3", "10.9.9.9:1*1", "b.example:80*3"]);
    }

    #[test]
    fn a_look_up_that_fails_or_finds_nothing_keeps_what_was_found_last() {
        let mut names = known(&["a.example", "b.example"]);
        names.learn(vec![("a.example".into(), ips(&["10.0.0.1"]))]);
        assert!(!names.learn(vec![("a.example".into(), Err("broken".to_owned()))]));
        assert!(!names.learn(vec![("a.example".into(), ips(&[]))]));
        assert!(!names.learn(vec![("a.example".into(), ips(&["10.0.0.1"]))]));
        assert_eq!(shown(&names.expand(vec![named("a.example")], Discovery::Dns)), ["10.0.0.1:80*3"]);
        assert!(names.failing.is_empty());
        names.learn(vec![("a.example".into(), ips(&[])), ("other.example".into(), ips(&[]))]);
        assert_eq!(names.failing, BTreeSet::from(["a.example".into()]));
        assert!(names.learn(vec![("a.example".into(), ips(&["10.0.0.7"]))]));
    }

    #[test]
    fn names_out_of_use_are_forgotten_and_new_ones_are_asked() {
        let mut known = known(&["a.example"]);
        known.learn(vec![("a.example".into(), ips(&["10.0.0.1"]))]);
        let used = names(&[named("b.example"), named("a.example")]);
        assert_eq!(known.retain(used.clone()), BTreeSet::from(["b.example".into()]));
        assert_eq!(known.retain(BTreeSet::new()).len(), 0);
        assert!(!known.learn(vec![("a.example".into(), ips(&["10.0.0.1"]))]), "nobody uses it any more");
        assert_eq!(known.retain(used).len(), 2);
    }

    #[tokio::test]
    async fn the_system_is_asked() {
        let answers = look_up(["localhost".into(), "name.invalid".into()]).await;
        let of =
            |name: &str| answers.iter().find(|(asked, _)| &**asked == name).map(|(_, found)| found.clone()).unwrap();
        assert!(of("localhost").is_ok_and(|found| found.iter().all(IpAddr::is_loopback)));
        assert!(of("name.invalid").is_err_and(|reason| !reason.is_empty()));
    }
}
