//! Endpoints that are names: each name is looked up, and looked up again, off the data threads.
//!
//! As Envoy's strict DNS does: every address becomes an endpoint of the weight its name has, a look-up that fails keeps the
//! addresses that were found last, and names are asked again every [`REFRESH`]. Start at [`Names::expand`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    resolver: Resolver,
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

    /// Who is asked about them.
    pub(super) fn resolver(&self) -> Resolver {
        self.resolver.clone()
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

/// What finds the addresses of a name, and may take as long as it likes.
type Find = fn(&str) -> io::Result<BTreeSet<IpAddr>>;

/// The system's resolver. It can't be told to stop, so that a name is asked about again only when the look-up before has come back:
/// with a name server that is silent they would become ever more.
#[derive(Debug, Clone)]
pub(super) struct Resolver {
    find: Find,
    asked: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            find: |name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()),
            asked: Arc::default(),
        }
    }
}

impl Resolver {
    /// Looks up all of `names` at once.
    pub(super) async fn look_up(self, names: impl IntoIterator<Item = Arc<str>>) -> Answers {
        let mut questions = tokio::task::JoinSet::new();
        for name in names {
            let resolver = self.clone();
            questions.spawn(async move {
                let found = resolver.ask(&name).await;
                (name, found)
            });
        }
        questions.join_all().await
    }

    async fn ask(&self, name: &Arc<str>) -> Result<BTreeSet<IpAddr>, String> {
        let Some(question) = Question::begin(name, &self.asked) else {
            return Err("the look-up before has not come back".to_owned());
        };
        let find = self.find;
        let finding = tokio::task::spawn_blocking(move || find(&question.name));
        match tokio::time::timeout(LIMIT, finding).await {
            Ok(Ok(found)) => found.map_err(|error| error.to_string()),
            Ok(Err(failed)) => Err(failed.to_string()),
            Err(_elapsed) => Err(format!("no answer within {LIMIT:?}")),
        }
    }
}

/// A name that is asked about, until it is dropped.
struct Question {
    name: Arc<str>,
    asked: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Question {
    /// Nothing if it is asked about already.
    fn begin(name: &Arc<str>, asked: &Arc<Mutex<BTreeSet<Arc<str>>>>) -> Option<Self> {
        lock(asked).insert(Arc::clone(name)).then(|| Self { name: Arc::clone(name), asked: Arc::clone(asked) })
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        lock(&self.asked).remove(&self.name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use config_model::model::{Health, Locality, Workload};

    use super::*;

    fn endpoint(address: EndpointAddress, weight: u32) -> Endpoint {
        let workload = Workload::all(&"unknown".into());
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

    fn answer(answers: &Answers, name: &str) -> Result<BTreeSet<IpAddr>, String> {
        answers.iter().find(|(asked, _)| &**asked == name).map(|(_, found)| found.clone()).unwrap()
    }

    #[tokio::test]
    async fn the_system_is_asked() {
        let answers = Resolver::default().look_up(["localhost".into(), "name.invalid".into()]).await;
        assert!(answer(&answers, "localhost").is_ok_and(|found| found.iter().all(IpAddr::is_loopback)));
        assert!(answer(&answers, "name.invalid").is_err_and(|reason| !reason.is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_asked_about_again_only_when_the_look_up_before_has_come_back() {
        static IS_SILENT: AtomicBool = AtomicBool::new(true);
        static LOOK_UPS: AtomicUsize = AtomicUsize::new(0);
        let find = |_: &str| {
            while IS_SILENT.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            LOOK_UPS.fetch_add(1, Ordering::SeqCst);
            Ok(BTreeSet::new())
        };
        let resolver = Resolver { find, asked: Arc::default() };
        let look_up = || resolver.clone().look_up(["silent".into()]);
        let first = tokio::spawn(look_up());
        while lock(&resolver.asked).is_empty() {
            tokio::task::yield_now().await;
        }
        let second = look_up().await;
        assert_eq!(answer(&second, "silent").unwrap_err(), "the look-up before has not come back");
        tokio::time::advance(LIMIT).await;
        assert_eq!(answer(&first.await.unwrap(), "silent").unwrap_err(), "no answer within 5s");
        IS_SILENT.store(false, Ordering::SeqCst);
        while !lock(&resolver.asked).is_empty() {
            std::thread::yield_now();
        }
        assert!(answer(&look_up().await, "silent").is_ok());
        assert_eq!(LOOK_UPS.load(Ordering::SeqCst), 2);
    }
}
