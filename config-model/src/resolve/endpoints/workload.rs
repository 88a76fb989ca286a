//! Who is behind an endpoint, in the words of Istio's metrics.
//! Source: Istio, standard metric labels; the canonical service's labels; a Deployment is found by the hash that it appends
//! to the names of its ReplicaSets.

use std::sync::Arc;

use crate::model::Workload;
use crate::name::Labels;

const UNKNOWN: &str = "unknown";

/// What is known of a workload.
pub(super) struct Facts<'a> {
    /// Name, unless a label overrides it.
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) labels: &'a Labels,
    /// Empty if unknown.
    pub(super) service_account: &'a str,
}

fn first<'a>(labels: &'a Labels, names: &[&str]) -> Option<&'a Arc<str>> {
    names.iter().find_map(|name| labels.get(*name))
}

impl Facts<'_> {
    pub(super) fn workload(&self, trust_domain: &str) -> Workload {
        let label = |names: &[&str], otherwise: &str| first(self.labels, names).cloned().unwrap_or(otherwise.into());
        let name = label(&["service.istio.io/workload-name"], self.name);
        let canonical = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
        let revision = ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];
        Workload {
            namespace: self.namespace.into(),
            app: label(&["app"], UNKNOWN),
            version: label(&["version"], UNKNOWN),
            canonical_service: label(&canonical, &name),
            canonical_revision: label(&revision, "latest"),
            principal: self.principal(trust_domain),
            cluster: label(&["topology.istio.io/cluster"], "Kubernetes"),
            name,
        }
    }

    fn principal(&self, trust_domain: &str) -> Arc<str> {
        let Self { namespace, service_account, .. } = self;
        match *service_account {
            "" => UNKNOWN.into(),
            account => format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}").into(),
        }
    }
}

/// Name of the workload that owns a pod: that of its controller, without what a Deployment, an Argo Rollout or a CronJob
/// appended to it.
pub(super) fn owner_name<'a>(kind: &str, name: &'a str, pod_labels: &Labels) -> &'a str {
    match kind {
        "ReplicaSet" => ["pod-template-hash", "rollouts-pod-template-hash"]
            .into_iter()
            .filter_map(|label| pod_labels.get(label))
            .find_map(|hash| name.strip_suffix(&**hash)?.strip_suffix('-'))
            .unwrap_or(name),
        "Job" => match name.rsplit_once('-') {
            Some((cron_job, time)) if (8..=10).contains(&time.len()) && time.bytes().all(|b| b.is_ascii_digit()) => {
                cron_job
            }
            _ => name,
        },
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
    }

    #[test]
    fn a_pod_belongs_to_the_deployment_whose_hash_its_replica_set_bears() {
        let hashed = labels(&[("pod-template-hash", "6c9f8bcbd5")]);
        let rollout = labels(&[("rollouts-pod-template-hash", "abc")]);
        let none = Labels::new();
        let table = [
            ("ReplicaSet", "reviews-v1-6c9f8bcbd5", &hashed, "reviews-v1"),
            ("ReplicaSet", "reviews-abc", &rollout, "reviews"),
            ("ReplicaSet", "reviews-v1-6c9f8bcbd5", &none, "reviews-v1-6c9f8bcbd5"),
            ("ReplicaSet", "6c9f8bcbd5", &hashed, "6c9f8bcbd5"),
            ("StatefulSet", "db-6c9f8bcbd5", &hashed, "db-6c9f8bcbd5"),
            ("Job", "backup-28374650", &none, "backup"),
            ("Job", "backup-once", &none, "backup-once"),
        ];
        for (kind, name, labels, want) in table {
            assert_eq!(owner_name(kind, name, labels), want, "{kind} {name}");
        }
    }

    #[test]
    fn labels_name_a_workload_and_what_is_missing_is_unknown() {
        let facts = |labels: &Labels, service_account: &str| {
            let facts = Facts { name: "w", namespace: "ns", labels, service_account };
            let got = facts.workload("cluster.local");
            format!(
                "{} {} {} {} {} {} {}",
                got.name,
                got.app,
                got.version,
                got.canonical_service,
                got.canonical_revision,
                got.principal,
                got.cluster
            )
        };
        assert_eq!(facts(&Labels::new(), ""), "w unknown unknown w latest unknown Kubernetes");
        let some = labels(&[("app", "reviews"), ("version", "v1")]);
        assert_eq!(facts(&some, "sa"), "w reviews v1 reviews v1 spiffe://cluster.local/ns/ns/sa/sa Kubernetes");
        let all = labels(&[
            ("app", "a"),
            ("app.kubernetes.io/name", "k"),
            ("service.istio.io/canonical-name", "c"),
            ("app.kubernetes.io/version", "2"),
            ("service.istio.io/workload-name", "named"),
            ("topology.istio.io/cluster", "west"),
        ]);
        assert_eq!(facts(&all, ""), "named a unknown c 2 unknown west");
    }
}
