//! Ports that lead nowhere: those of a ServiceEntry whose host is that of another service in its namespace, which lacks them.
//! Source: Istio, `appendSidecarServices`, `canMergeServices`.

use super::{Finding, Findings};
use crate::diagnostic::{Code, Level};
use crate::resolve::services::{self, Service};
use crate::resolve::set::Item;
use crate::resolve::{Proxy, Role, names};
use crate::resource::ServiceEntry;

pub(super) fn analyze(findings: &mut Findings<'_>) {
    let resources = findings.resources;
    for entry in resources.all::<ServiceEntry>() {
        for host in &entry.spec.hosts {
            let host = names::lower(host);
            if services::of_host(resources, &host).nth(1).is_some() {
                lost_ports(entry, &host, findings);
            }
        }
    }
}

fn lost_ports(entry: Item<'_, ServiceEntry>, host: &str, findings: &mut Findings<'_>) {
    let namespace = entry.namespace();
    let near = Proxy { role: Role::Gateway, namespace: namespace.into(), labels: Default::default() };
    let Some(service) = services::find(findings.resources, host, &near, Some(namespace)) else { return };
    let known = services::ports(findings.resources, host, service);
    for (index, port) in entry.spec.ports.iter().enumerate() {
        if known.iter().any(|known| known.number == *port.number) {
            continue;
        }
        let message = format!("Port {} of {host:?} leads nowhere: {}.", port.number.value, whose(service, entry));
        let (origin, field) = (entry.origin(port.number.position), format!("spec.ports[{index}].number"));
        let hint = Some("write all ports of a host in one ServiceEntry, or make the entries alike".to_owned());
        findings.add(Finding {
            code: Code::UnreachablePort,
            level: Level::Warning,
            origin: &origin,
            field,
            message,
            hint,
        });
    }
}

/// Whose the host is, and why the entry is not one service with it.
fn whose(service: Service<'_>, entry: Item<'_, ServiceEntry>) -> String {
    let Service::Entry(other) = service else { return "the host is that of a Kubernetes Service".to_owned() };
    let differences = services::differences(other, entry).join(" and ");
    format!("the host is that of ServiceEntry {}/{}, which has other {differences}", other.namespace(), other.name())
}
