//! Reading a configuration for the commands that explain: a folder, a file or standard input, for the proxy that is asked about.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use config_model::diagnostic::{Diagnostic, Level};
use config_model::file::ParsedFile;
use config_model::model::{Endpoint, Model};
use config_model::name::Labels;
use config_model::resolve::{EndpointIndex, Proxy, ResourceSet, Role, resolve};
use config_model::resource::Spec;

use super::findings::Findings;
use super::{Failure, value};
use crate::source::{Content, Folder, Scan};

/// Which configuration, and for which proxy.
#[derive(Debug, Args)]
pub(crate) struct ConfigurationArguments {
    /// A folder of YAML files, one file, or - for standard input
    #[arg(value_name = "DIR", env = "TIDEGATE_CONFIG")]
    pub(crate) path: PathBuf,
    /// The proxy's namespace
    #[arg(long, default_value = "default", env = "TIDEGATE_NAMESPACE", value_name = "NS")]
    pub(crate) namespace: String,
    /// What the proxy does: whether it stands at the mesh's edge or beside a workload
    #[arg(long, value_enum, default_value = "gateway", env = "TIDEGATE_ROLE")]
    pub(crate) role: RoleArgument,
    /// The proxy's labels, which Gateways and Sidecars select; those of all Gateways if not given
    #[arg(long, value_parser = value::labels, env = "TIDEGATE_LABELS", value_name = "K=V,...")]
    pub(crate) labels: Option<Labels>,
}

/// What a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum RoleArgument {
    /// Gateways and the VirtualServices bound to them.
    #[default]
    Gateway,
    /// The outbound traffic of a workload.
    Sidecar,
}

impl From<RoleArgument> for Role {
    fn from(role: RoleArgument) -> Self {
        match role {
            RoleArgument::Gateway => Self::Gateway,
            RoleArgument::Sidecar => Self::Sidecar,
        }
    }
}

/// What a configuration comes to for a proxy.
#[derive(Debug)]
pub(crate) struct Understood {
    /// All but endpoints.
    pub(crate) model: Model,
    /// Of each cluster, in the order of the model.
    pub(crate) endpoints: Vec<Vec<Endpoint>>,
    /// What both come of.
    pub(crate) resources: ResourceSet,
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Text by file.
    pub(crate) texts: BTreeMap<Arc<str>, Arc<str>>,
    /// What is wrong with single files.
    pub(crate) findings: Vec<Diagnostic>,
    /// Everything that could be read.
    pub(crate) resources: ResourceSet,
}

impl Files {
    /// Reads `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        if name == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| unreadable("standard input", &error))?;
            return Ok(Self::parse([("stdin".into(), text.into())]));
        }
        if path.is_file() {
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(&name, &error))?;
            return Ok(Self::parse([(name.into(), text.into())]));
        }
        let scan = Folder::new(path).scan(SystemTime::now()).map_err(|error| unreadable(&name, &error))?;
        let Scan::Changes(changes) = scan else { return Err(empty(&name)) };
        let mut texts = Vec::with_capacity(changes.len());
        for change in changes {
            match change.content {
                Content::Text(text) => texts.push((change.name, text.text)),
                Content::Unreadable(reason) => return Err(Failure(format!("{name}/{} {reason}", change.name))),
                Content::Removed => {}
            }
        }
        if texts.is_empty() { Err(empty(&name)) } else { Ok(Self::parse(texts)) }
    }

    /// Takes these names and texts.
    pub(crate) fn parse(texts: impl IntoIterator<Item = (Arc<str>, Arc<str>)>) -> Self {
        let (mut files, mut resources) = (Self::default(), Vec::new());
        for (name, text) in texts {
            let file = ParsedFile::parse(&name, &text, None);
            resources.extend(file.resources);
            files.findings.extend(file.diagnostics);
            files.texts.insert(name, text);
        }
        files.resources = ResourceSet::new(&resources);
        files
    }

    /// The proxy of these labels, or of those that its Gateways select.
    pub(crate) fn proxy(&self, role: RoleArgument, namespace: &str, labels: Option<Labels>) -> Proxy {
        let labels = labels.unwrap_or_else(|| match role {
            RoleArgument::Gateway => selected_labels(&self.resources),
            RoleArgument::Sidecar => Labels::new(),
        });
        Proxy { role: role.into(), namespace: namespace.into(), labels }
    }

    /// What all of it comes to for that proxy.
    pub(crate) fn understand(&self, role: RoleArgument, namespace: &str, labels: Option<Labels>) -> Understood {
        let model = resolve(&self.resources, &self.proxy(role, namespace, labels)).model;
        let index = EndpointIndex::new(&self.resources);
        let endpoints = model.clusters.iter().map(|cluster| index.endpoints(cluster)).collect();
        Understood { model, endpoints, resources: self.resources.clone() }
    }

    /// Whether a gateway would refuse to start.
    pub(crate) fn is_refused(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Error)
    }
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure(match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{name} does not exist: name a folder of YAML files, one file, or - for standard input")
        }
        _ => format!("{name} can't be read: {error}"),
    })
}

fn empty(name: &str) -> Failure {
    Failure(format!("{name} has no file that ends in .yaml or .yml"))
}

impl ConfigurationArguments {
    /// What it comes to, or its errors.
    pub(crate) fn understand(&self) -> Result<Understood, Failure> {
        let files = Files::read(&self.path)?;
        if files.is_refused() {
            let errors = files.findings.iter().filter(|finding| finding.level == Level::Error).cloned().collect();
            let text = Findings::new(errors, &[]).text(&files.texts);
            return Err(Failure(format!("the configuration can't be used\n\n{}", text.trim_end())));
        }
        Ok(files.understand(self.role, &self.namespace, self.labels.clone()))
    }
}

/// Labels that as many Gateways as possible select, those for Istio's ingress gateway before others.
fn selected_labels(resources: &ResourceSet) -> Labels {
    let ingress: (&str, &str) = ("istio", "ingressgateway");
    let gateways = resources.resources().filter_map(|resource| match &resource.spec {
        Spec::Gateway(gateway) => Some(&gateway.selector),
        _ => None,
    });
    let mut selectors: Vec<&Labels> = gateways.collect();
    selectors.sort_by_key(|selector| selector.get(ingress.0).is_none_or(|value| **value != *ingress.1));
    let mut labels = Labels::new();
    for selector in selectors {
        if selector.iter().all(|(name, value)| labels.get(name).is_none_or(|known| known == value)) {
            labels.extend(selector.iter().map(|(name, value)| (Arc::clone(name), Arc::clone(value))));
        }
    }
    if labels.is_empty() { [(ingress.0.into(), ingress.1.into())].into() } else { labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_for(selectors: &[&str]) -> String {
        let gateway = |(place, selector): (usize, &&str)| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g{place}}}\nspec:\n  selector: {selector}\n  \
                 servers:\n  - port: {{number: 80, name: http, protocol: HTTP}}\n    hosts: [\"*\"]\n---\n"
            )
        };
        let text: String = selectors.iter().enumerate().map(gateway).collect();
        let files = Files::parse([("a.yaml".into(), text.into())]);
        assert!(!files.is_refused(), "{:?}", files.findings);
        let labels = selected_labels(&files.resources);
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn the_labels_of_all_gateways_are_taken_unless_they_contradict() {
        let table: [(&[&str], &str); 5] = [
            (&[], "istio=ingressgateway"),
            (&["{app: web}"], "app=web"),
            (&["{app: web}", "{istio: ingressgateway}"], "app=web,istio=ingressgateway"),
            (&["{istio: egressgateway}", "{istio: ingressgateway}"], "istio=ingressgateway"),
            (&["{istio: egressgateway}"], "istio=egressgateway"),
        ];
        for (selectors, labels) in table {
            assert_eq!(labels_for(selectors), labels, "{selectors:?}");
        }
    }

    #[test]
    fn a_missing_folder_is_told_with_the_cure() {
        let error = Files::read(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/at/all does not exist: name a folder"), "{error}");
    }
}
