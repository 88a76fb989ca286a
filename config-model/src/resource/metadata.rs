//! What every resource has: name, namespace, labels, annotations, age and owners.

use std::sync::Arc;

use crate::decode::{Located, Report, Text, Timestamp, object};
use crate::name::Labels;

object! {
    /// `metadata`, of which other fields are left alone.
    Metadata (Ignore) {
        /// Unique among resources of a kind in a namespace.
        name: Text = "name",
        /// `default` if none was written.
        namespace: Text = "namespace",
        /// What selectors look at.
        labels: Labels = "labels",
        /// Other notes.
        annotations: Labels = "annotations",
        /// Orders resources that compete.
        creation_timestamp: Option<Located<Timestamp>> = "creationTimestamp",
        /// Who made this.
        owner_references: Vec<OwnerReference> = "ownerReferences",
        /// Beginning of a generated name.
        generate_name: Text = "generateName",
    }
}

object! {
    /// A resource that owns this one.
    OwnerReference (Ignore) {
        /// `ReplicaSet`, ...
        kind: Text = "kind",
        /// Its name.
        name: Text = "name",
        /// Whether it manages this one.
        controller: Located<bool> = "controller",
    }
}

impl Metadata {
    /// The namespace, or `default`.
    pub(super) fn namespace_or_default(&self, report: &mut Report) -> Arc<str> {
        if self.namespace.value.is_empty() { report.text("default") } else { Arc::clone(&self.namespace.value) }
    }
}
