//! The policy of a cluster: which blocks of a DestinationRule hold for it, and what they come to.
//! Source: Istio, `TrafficPolicy`: a subset's blocks replace those of the rule one by one; settings of a port replace four
//! of them at once, also where they say nothing; MeshConfig; Envoy's defaults.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

use crate::decode::{self, Located};
use crate::model::{
    BackEndProtocol, Balancing, ClusterPolicy, ConnectionPool, Discovery, Failover, Fraction, Keepalive, Locality,
    LocalityPolicy, Nearness, OutlierDetection, OwnService, Pings, ProxyProtocolVersion, RetryBudget, Warmup,
    ZoneAware,
};
use crate::name::Labels;
use crate::resource::{
    self, LoadBalancerSettings, LocalityLoadBalancerSetting, MeshConfig, SimpleLb, TrafficPolicy,
    ZoneAwareLoadBalancerSetting,
};

use super::Proxy;
use super::back_end_protocol;
use super::locality::{self, Site};
use super::services::{Port, Preference};
use super::set::ResourceSet;
use super::zones;

/// Until a connection stands, where neither rule nor mesh says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Points of a hash ring at least, and at most as Envoy has it.
const RING_SIZE: u64 = 1024;
const RING_SIZE_MAX: u64 = 8 * 1024 * 1024;

/// The blocks of a DestinationRule that hold for a cluster.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Blocks<'a> {
    load_balancer: Option<&'a LoadBalancerSettings>,
    connection_pool: Option<&'a resource::ConnectionPoolSettings>,
    outlier_detection: Option<&'a resource::OutlierDetection>,
    retry_budget: Option<&'a resource::RetryBudget>,
    tls: Option<&'a resource::ClientTlsSettings>,
    proxy_protocol: Option<&'a resource::ProxyProtocol>,
}

impl<'a> Blocks<'a> {
    /// Those for `port` of a service: the rule's, overridden by the subset's.
    pub(super) fn of(rule: Option<&'a TrafficPolicy>, subset: Option<&'a TrafficPolicy>, port: u16) -> Self {
        let layers = [rule, subset].into_iter().flatten();
        layers.fold(Self::default(), |blocks, policy| blocks.overridden(policy, port))
    }

    /// The same with the mesh's where it has none.
    pub(super) fn or_of_mesh(self, mesh: Option<&'a MeshConfig>) -> Self {
        let of_mesh = mesh.and_then(|mesh| mesh.default_traffic_policy.as_ref());
        Self {
            connection_pool: self.connection_pool.or_else(|| of_mesh?.connection_pool.as_ref()),
            outlier_detection: self.outlier_detection.or_else(|| of_mesh?.outlier_detection.as_ref()),
            ..self
        }
    }

    fn overridden(self, policy: &'a TrafficPolicy, port: u16) -> Self {
        let retry_budget = policy.retry_budget.as_ref().or(self.retry_budget);
        let is_meant = |at: &&resource::PortTrafficPolicy| at.port.as_ref().is_some_and(|at| *at.number == port);
        match policy.port_level_settings.iter().find(is_meant) {
            Some(settings) => Self {
                load_balancer: settings.load_balancer.as_ref(),
                connection_pool: settings.connection_pool.as_ref(),
                outlier_detection: settings.outlier_detection.as_ref(),
                retry_budget,
                tls: settings.tls.as_ref(),
                proxy_protocol: policy.proxy_protocol.as_ref().or(self.proxy_protocol),
            },
            None => Self {
                load_balancer: policy.load_balancer.as_ref().or(self.load_balancer),
                connection_pool: policy.connection_pool.as_ref().or(self.connection_pool),
                outlier_detection: policy.outlier_detection.as_ref().or(self.outlier_detection),
                retry_budget,
                tls: policy.tls.as_ref().or(self.tls),
                proxy_protocol: policy.proxy_protocol.as_ref().or(self.proxy_protocol),
            },
        }
    }

    /// TLS towards endpoints.
    pub(super) fn tls(self) -> Option<&'a resource::ClientTlsSettings> {
        self.tls
    }

    /// The header that tells endpoints who the client is.
    pub(super) fn proxy_protocol(self) -> Option<ProxyProtocolVersion> {
        self.proxy_protocol.map(|written| match *written.version {
            resource::ProxyProtocolVersion::V1 => ProxyProtocolVersion::V1,
            resource::ProxyProtocolVersion::V2 => ProxyProtocolVersion::V2,
        })
    }

    fn simple(self) -> SimpleLb {
        let simple = self.load_balancer.and_then(|settings| settings.simple.as_ref());
        simple.map_or(SimpleLb::Unspecified, |simple| simple.value)
    }

    /// How endpoints are found, if the service has them found by `discovery`.
    pub(super) fn discovery(self, discovery: Discovery) -> Discovery {
        if self.simple() == SimpleLb::Passthrough { Discovery::None } else { discovery }
    }

    /// How an endpoint is chosen.
    pub(super) fn balancing(self, discovery: Discovery) -> Balancing {
        // Of a name's addresses only the first is used, so that there is nothing to choose.
        if discovery == Discovery::DnsRoundRobin {
            return Balancing::RoundRobin;
        }
        if let Some(hash) = self.load_balancer.and_then(|settings| settings.consistent_hash.as_deref()) {
            return hashing(hash);
        }
        match self.simple() {
            SimpleLb::RoundRobin => Balancing::RoundRobin,
            SimpleLb::Random => Balancing::Random,
            SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::Passthrough | SimpleLb::LeastRequest => {
                Balancing::LeastRequest
            }
        }
    }

    /// Where the blocks stand in memory, which tells them from others.
    fn key(self) -> [usize; 4] {
        fn address<T>(block: Option<&T>) -> usize {
            block.map_or(0, |block| std::ptr::from_ref(block).addr())
        }
        [
            address(self.load_balancer),
            address(self.connection_pool),
            address(self.outlier_detection),
            address(self.retry_budget),
        ]
    }
}

/// A ring, unless a Maglev table is asked for.
fn hashing(hash: &resource::ConsistentHashLb) -> Balancing {
    if let Some(maglev) = &hash.maglev {
        return Balancing::Maglev { table_size: *maglev.table_size };
    }
    let written = hash.ring_hash.as_ref().map_or(&hash.minimum_ring_size, |ring| &ring.minimum_ring_size);
    let minimum_ring_size = if written.value == 0 { RING_SIZE } else { written.value.min(RING_SIZE_MAX) };
    Balancing::RingHash { minimum_ring_size }
}

/// What policies depend on besides their rule, and the policies there are already: clusters with the same blocks share one.
#[derive(Debug)]
pub(super) struct Policies<'a> {
    mesh: Option<&'a MeshConfig>,
    /// The service that the proxy is a part of, if proxies know each other.
    own_service: Option<OwnService>,
    locality: Locality,
    labels: &'a Labels,
    known: HashMap<([usize; 4], Preference), Option<Arc<ClusterPolicy>>>,
}

impl<'a> Policies<'a> {
    pub(super) fn new(resources: &'a ResourceSet, proxy: &'a Proxy) -> Self {
        let mesh = resources.mesh_config().map(|(_, mesh)| mesh);
        let own_service = zones::know_each_other(mesh).then(|| zones::own_service(resources, proxy)).flatten();
        let locality = locality::of_pod(&proxy.labels);
        Self { mesh, own_service, locality, labels: &proxy.labels, known: HashMap::new() }
    }

    /// The settings of the mesh.
    pub(super) fn mesh(&self) -> Option<&'a MeshConfig> {
        self.mesh
    }

    /// Which version of HTTP `port` is spoken to in, if the service has it.
    pub(super) fn protocol(
        &self,
        port: Option<&Port<'_>>,
        blocks: Blocks<'_>,
        follows_clients: bool,
    ) -> BackEndProtocol {
        match back_end_protocol::of(port, blocks.connection_pool, self.mesh) {
            BackEndProtocol::Http1 if follows_clients => BackEndProtocol::Clients,
            protocol => protocol,
        }
    }

    /// How long a connection may take.
    pub(super) fn connect_timeout(&self, blocks: Blocks<'_>) -> Duration {
        let tcp = blocks.connection_pool.and_then(|pool| pool.tcp.as_ref());
        let own = tcp.and_then(|tcp| tcp.connect_timeout.as_ref());
        let of_mesh = || self.mesh.and_then(|mesh| mesh.connect_timeout.as_ref());
        length(own.or_else(of_mesh)).unwrap_or(CONNECT_TIMEOUT)
    }

    /// The policy that `blocks` come to; nothing if that is the default in all.
    pub(super) fn policy(&mut self, blocks: Blocks<'a>, preference: Preference) -> Option<Arc<ClusterPolicy>> {
        let key = (blocks.key(), preference);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let policy = ClusterPolicy {
            pool: self.pool(blocks.connection_pool),
            outliers: blocks.outlier_detection.map(outliers),
            warmup: blocks.load_balancer.and_then(warmup),
            locality: self.locality(blocks, preference),
            retry_budget: blocks.retry_budget.map(retry_budget),
        };
        let policy = (policy != ClusterPolicy::default()).then(|| Arc::new(policy));
        self.known.insert(key, policy.clone());
        policy
    }

    fn pool(&self, written: Option<&resource::ConnectionPoolSettings>) -> ConnectionPool {
        let tcp = written.and_then(|pool| pool.tcp.as_ref());
        let http = written.and_then(|pool| pool.http.as_deref());
        let of_tcp = |limit: fn(&resource::TcpSettings) -> &Located<i32>| tcp.and_then(|tcp| positive(*limit(tcp)));
        let of_http =
            |limit: fn(&resource::HttpSettings) -> &Located<i32>| http.and_then(|http| positive(*limit(http)));
        let idle = http.and_then(|http| http.idle_timeout.as_ref());
        ConnectionPool {
            connections_max: of_tcp(|tcp| &tcp.max_connections),
            pending_max: of_http(|http| &http.http1_max_pending_requests),
            requests_max: of_http(|http| &http.http2_max_requests),
            retries_max: of_http(|http| &http.max_retries),
            requests_per_connection_max: of_http(|http| &http.max_requests_per_connection),
            streams_per_connection_max: of_http(|http| &http.max_concurrent_streams),
            idle_timeout: length(idle.or_else(|| tcp.and_then(|tcp| tcp.idle_timeout.as_ref())))
                .filter(|idle| !idle.is_zero()),
            tcp_idle_timeout: length(tcp.and_then(|tcp| tcp.idle_timeout.as_ref())),
            connection_duration_max: length(tcp.and_then(|tcp| tcp.max_connection_duration.as_ref())),
            keepalive: self.keepalive(tcp.and_then(|tcp| tcp.tcp_keepalive.as_ref())),
            pings: http.and_then(|http| http.http2_keep_alive.as_ref()).map(|pings| Pings {
                interval: length(pings.interval.as_ref()),
                timeout: length(pings.timeout.as_ref()),
            }),
        }
    }

    /// Each value of its own: the rule's, else the mesh's.
    fn keepalive(&self, written: Option<&resource::TcpKeepalive>) -> Option<Keepalive> {
        let of_mesh = self.mesh.and_then(|mesh| mesh.tcp_keepalive.as_ref());
        let layers = || [written, of_mesh].into_iter().flatten();
        written.or(of_mesh).map(|_| Keepalive {
            probes: layers().map(|layer| *layer.probes).find(|probes| *probes > 0),
            time: layers().find_map(|layer| length(layer.time.as_ref())),
            interval: layers().find_map(|layer| length(layer.interval.as_ref())),
        })
    }

    /// The rule's setting, else the service's preference, else the mesh's setting, at each the one that is aware of zones first;
    /// without one endpoints fail over by their locality.
    fn locality(&self, blocks: Blocks<'_>, preference: Preference) -> Option<LocalityPolicy> {
        let of_rule = blocks.load_balancer.and_then(|settings| settings.zone_aware_lb_setting.as_deref());
        let is_local = blocks.load_balancer.is_some_and(|settings| settings.locality_lb_setting.is_some());
        if of_rule.is_none()
            && !is_local
            && let Some(policy) = self.preferred(preference)
        {
            return Some(policy);
        }
        let of_mesh = || self.mesh.filter(|_| !is_local).and_then(|mesh| mesh.zone_aware_lb_setting.as_ref());
        if let Some(setting) = of_rule.or_else(of_mesh) {
            let is_off = setting.enabled.as_ref().is_some_and(|enabled| !enabled.value);
            return (!is_off).then(|| LocalityPolicy::ZoneAware(self.by_setting(setting)));
        }
        let of_rule = blocks.load_balancer.and_then(|settings| settings.locality_lb_setting.as_deref());
        let of_mesh = || self.mesh.and_then(|mesh| mesh.locality_lb_setting.as_ref());
        let none = LocalityLoadBalancerSetting::default();
        let setting = of_rule.or_else(of_mesh).unwrap_or(&none);
        let is_off = setting.enabled.as_ref().is_some_and(|enabled| !enabled.value);
        if !setting.distribute.is_empty() && !is_off {
            return Some(self.distribute(setting));
        }
        // Without ejection nobody ever leaves the nearest endpoints, dead as they may be.
        let failover = blocks.outlier_detection.filter(|_| !is_off).map(|_| self.failover(setting));
        let is_ordered = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
        match failover {
            Some(failover) if is_ordered => {
                Some(LocalityPolicy::Failover(Failover { weighs_localities: true, ..failover }))
            }
            failover => self.without_setting(failover),
        }
    }

    /// Whoever is preferred is so without outlier detection, too.
    fn preferred(&self, preference: Preference) -> Option<LocalityPolicy> {
        let names: &[&str] = match preference {
            Preference::None => return None,
            Preference::SameZone => &locality::SAME_ZONE,
            Preference::SameNode => &locality::SAME_NODE,
        };
        let labels = names.iter().map(|name| (Arc::from(*name), self.own_label(name))).collect();
        Some(LocalityPolicy::Failover(Failover { labels, nearness: None, weighs_localities: true }))
    }

    /// Proxies that know each other balance zones by themselves. Source: Envoy, `ZoneAwareLbConfig`, which needn't be there.
    fn without_setting(&self, failover: Option<Failover>) -> Option<LocalityPolicy> {
        if self.own_service.is_none() {
            return failover.map(LocalityPolicy::Failover);
        }
        Some(LocalityPolicy::ZoneAware(self.zones(failover.unwrap_or_default(), None)))
    }

    /// The shares of the first entry that holds for the proxy. With none, localities divide all by the weights of their endpoints.
    fn distribute(&self, setting: &LocalityLoadBalancerSetting) -> LocalityPolicy {
        let holds = |from: &str| locality::matches(&locality::parse(from), &self.locality);
        let Some(entry) = setting.distribute.iter().find(|entry| holds(&entry.from)) else {
            return LocalityPolicy::Distribute { shares: vec![(Locality::default(), 100)] };
        };
        let any_for_wildcard = |part: Arc<str>| if &*part == "*" { Arc::default() } else { part };
        let share = |(to, share): &(resource::Text, Located<u32>)| {
            let Locality { region, zone, subzone } = locality::parse(to);
            let [region, zone, subzone] = [region, zone, subzone].map(any_for_wildcard);
            (Locality { region, zone, subzone }, **share)
        };
        LocalityPolicy::Distribute { shares: entry.to.iter().map(share).collect() }
    }

    fn failover(&self, setting: &LocalityLoadBalancerSetting) -> Failover {
        let labels = self.near_labels(&setting.failover_priority);
        let by_locality = labels.is_empty() || !setting.failover.is_empty();
        let nearness = by_locality.then(|| self.nearness(&setting.failover, false));
        Failover { labels, nearness, weighs_localities: false }
    }

    /// Regions always count, and labels before them.
    fn by_setting(&self, setting: &ZoneAwareLoadBalancerSetting) -> ZoneAware {
        let nearness = Some(self.nearness(&setting.failover, true));
        let labels = self.near_labels(&setting.failover_priority);
        let failover = Failover { labels, nearness, weighs_localities: false };
        self.zones(failover, setting.min_cluster_size.as_ref().map(|size| size.value))
    }

    fn zones(&self, failover: Failover, healthy_min: Option<u64>) -> ZoneAware {
        ZoneAware {
            failover,
            own: self.locality.clone(),
            proxies: self.own_service.clone(),
            healthy_min: healthy_min.unwrap_or(zones::HEALTHY_MIN),
        }
    }

    /// Labels and their values at endpoints that are near.
    fn near_labels(&self, written: &[resource::Text]) -> Vec<(Arc<str>, Arc<str>)> {
        let label = |written: &resource::Text| match written.split_once('=') {
            Some((name, value)) => (Arc::from(name), Arc::from(value)),
            None => (written.value.clone(), self.own_label(written)),
        };
        written.iter().map(label).collect()
    }

    fn own_label(&self, name: &str) -> Arc<str> {
        Site { labels: self.labels, locality: &self.locality, node: "", network: "" }.label(name).into()
    }

    fn nearness(&self, failover: &[resource::Failover], by_region: bool) -> Nearness {
        let next = failover.iter().find(|entry| entry.from.value == self.locality.region);
        let next_region = next.map(|entry| entry.to.value.clone());
        Nearness { own: self.locality.clone(), next_region, by_region }
    }
}

fn outliers(written: &resource::OutlierDetection) -> OutlierDetection {
    /// Envoy's, where Istio hands nothing on.
    const FAILURES: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
    let count = |written: &Option<Located<u32>>| written.as_ref().map(|count| NonZeroU32::new(count.value));
    let is_split = *written.split_external_local_origin_errors;
    let failures = count(&written.consecutive_local_origin_failures).flatten().unwrap_or(FAILURES);
    let percent = |written: &Located<i32>| u8::try_from(written.value.clamp(0, 100)).unwrap_or(100);
    OutlierDetection {
        consecutive_5xx: count(&written.consecutive_5xx_errors).unwrap_or(Some(FAILURES)),
        consecutive_gateway_errors: count(&written.consecutive_gateway_errors).flatten(),
        consecutive_local_origin_failures: is_split.then_some(failures),
        split_external_local_origin_errors: is_split,
        interval: length(written.interval.as_ref()).unwrap_or(Duration::from_secs(10)),
        base_ejection_time: length(written.base_ejection_time.as_ref()).unwrap_or(Duration::from_secs(30)),
        max_ejection_percent: match percent(&written.max_ejection_percent) {
            0 => 10,
            percent => percent,
        },
        min_health_percent: percent(&written.min_health_percent),
        error_codes: written
            .outlier_detection_http_error_codes
            .iter()
            .filter_map(|code| u16::try_from(code.value).ok())
            .collect(),
    }
}

/// `warmup`, else its old form. Random choice and hashing know no weights that grow.
fn warmup(settings: &LoadBalancerSettings) -> Option<Warmup> {
    let simple = settings.simple.as_ref().map_or(SimpleLb::Unspecified, |simple| simple.value);
    if settings.consistent_hash.is_some() || matches!(simple, SimpleLb::Random | SimpleLb::Passthrough) {
        return None;
    }
    let old = || settings.warmup_duration_secs.as_ref();
    let warmup = settings.warmup.as_deref();
    let number = |written: Option<&Located<f64>>, otherwise: f64| written.map_or(otherwise, |number| number.value);
    Some(Warmup {
        duration: length(warmup.map_or_else(old, |warmup| warmup.duration.as_ref()))?,
        minimum_percent: number(warmup.and_then(|warmup| warmup.minimum_percent.as_ref()), 10.0),
        aggression: number(warmup.and_then(|warmup| warmup.aggression.as_ref()), 1.0),
    })
}

fn retry_budget(written: &resource::RetryBudget) -> RetryBudget {
    RetryBudget {
        share: Fraction::from_percent(written.percent.as_ref().map_or(20.0, |percent| percent.value)),
        minimum: if *written.min_retry_concurrency == 0 { 3 } else { *written.min_retry_concurrency },
        interval: length(written.budget_interval.as_ref()).filter(|interval| !interval.is_zero()),
    }
}

fn positive(number: Located<i32>) -> Option<NonZeroU32> {
    u32::try_from(number.value).ok().and_then(NonZeroU32::new)
}

fn length(written: Option<&Located<decode::Duration>>) -> Option<Duration> {
    written.map(|length| length.to_std())
}
