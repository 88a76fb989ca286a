//! Certificates and authorities, found in Secrets and files, read once when they change, and given to the chains and clusters
//! that use them. What can't be used changes nothing: the last good one stays, and the problem is told with file, line and
//! field. Start at [`Credentials::refresh`].

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config_model::diagnostic::{Code, Diagnostic, Level};
use config_model::model::{
    AuthoritySource, CertificateSource, Credential, FilterChains, Model, PeerValidation, SecretName, TransportSocket,
    UpstreamTls,
};
use config_model::resolve::ResourceSet;
use config_model::resource::{Resource, Spec};
use foldhash::fast::RandomState;
use sha2::{Digest, Sha256};

use super::status::{CertificateRead, CertificateStatus};
use crate::snapshot::{ClusterRuntime, Snapshot};
use crate::tls::{
    Authorities, BackEndTls, Certificate, Chain, Ingredients, Policies, RevocationLists, ServerSetup, Trust, asked,
};

/// Bytes of a file that are read; certificates are a few thousand.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What was read of one source, and when it has to be read again.
struct Held<T> {
    /// The Secrets that it came from.
    secrets: Secrets,
    digest: [u8; 32],
    /// The last one that could be used.
    good: Option<Arc<T>>,
    /// Why what is there now can't be used.
    problem: Option<String>,
    /// Whether the last refresh has asked for it.
    is_used: bool,
}

/// The Secrets that something is read from; none if it is read from files.
type Secrets = [Option<Arc<Resource>>; 2];

/// Whether nothing can have changed in them.
fn are_same(one: &Secrets, other: &Secrets) -> bool {
    let same = |(one, other): (&Option<Arc<Resource>>, &Option<Arc<Resource>>)| match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    one.iter().any(Option::is_some) && one.iter().zip(other).all(same)
}

/// Things by their sources.
struct Shelf<S, T>(HashMap<S, Held<T>, RandomState>);

impl<S, T> Default for Shelf<S, T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<S: Clone + Eq + Hash, T> Shelf<S, T> {
    /// What `texts` come to: read if they are not what they were, else what is known.
    fn hold(
        &mut self,
        source: &S,
        secrets: Secrets,
        texts: impl FnOnce(&Secrets) -> Result<Vec<Vec<u8>>, String>,
        read: impl FnOnce(&[Vec<u8>]) -> Result<T, String>,
    ) -> &Held<T> {
        let held = self.0.entry(source.clone());
        let held = held.or_insert_with(|| Held {
            secrets: [None, None],
            digest: [0; 32],
            good: None,
            problem: None,
            is_used: true,
        });
        held.is_used = true;
        if are_same(&held.secrets, &secrets) {
            return held;
        }
        let texts = texts(&secrets);
        held.secrets = secrets;
        let digest = digest(&texts);
        if held.digest != digest {
            held.digest = digest;
            match texts.and_then(|texts| read(&texts)) {
                Ok(good) => (held.good, held.problem) = (Some(Arc::new(good)), None),
                Err(problem) => held.problem = Some(problem),
            }
        }
        held
    }
}

fn digest(texts: &Result<Vec<Vec<u8>>, String>) -> [u8; 32] {
    let mut hash = Sha256::new();
    match texts {
        Ok(texts) => texts.iter().for_each(|text| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }),
        Err(problem) => {
            hash.update(u64::MAX.to_be_bytes());
            hash.update(problem);
        }
    }
    hash.finalize().into()
}

impl<S, T> Shelf<S, T> {
    /// A refresh begins: nothing is used until it is asked for.
    fn begin(&mut self) {
        self.0.values_mut().for_each(|held| held.is_used = false);
    }

    /// Forgets what nobody asked for.
    fn end(&mut self) {
        self.0.retain(|_, held| held.is_used);
    }

    /// What can be used.
    fn good(&self) -> impl Iterator<Item = (&S, &Arc<T>)> {
        self.0.iter().filter_map(|(source, held)| Some((source, held.good.as_ref()?)))
    }
}

/// All that is in use.
pub(crate) struct Credentials {
    /// Where the workload's own certificate in the mesh is.
    mesh: PathBuf,
    certificates: Shelf<CertificateSource, Certificate>,
    authorities: Shelf<AuthoritySource, Authorities>,
    /// By where they are; those of a Secret, by where its authorities are.
    revoked: Shelf<AuthoritySource, RevocationLists>,
    policies: Policies,
    /// Paths that were looked at in the last refresh.
    paths: BTreeSet<PathBuf>,
    problems: Vec<Diagnostic>,
}

impl Credentials {
    /// Nothing yet. The mesh's own are files in `mesh`.
    pub(crate) fn new(mesh: PathBuf) -> Self {
        Self {
            mesh,
            certificates: Shelf::default(),
            authorities: Shelf::default(),
            revoked: Shelf::default(),
            policies: Policies::default(),
            paths: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Files that have to be watched.
    pub(crate) fn paths(&self) -> &BTreeSet<PathBuf> {
        &self.paths
    }

    /// What can't be used, as of the last refresh.
    pub(crate) fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// Looks everything up again that `snapshot` uses, and exchanges what has changed.
    pub(crate) fn refresh(&mut self, snapshot: &Snapshot, resources: &ResourceSet) {
        self.paths.clear();
        self.problems.clear();
        self.certificates.begin();
        self.authorities.begin();
        self.revoked.begin();
        for chain in snapshot.listeners.iter().filter_map(|listener| listener.chains()).flat_map(|chains| chains.iter())
        {
            self.refresh_chain(chain, resources);
        }
        for cluster in snapshot.clusters.iter() {
            if let Some(tls) = &cluster.tls {
                self.refresh_cluster(cluster, tls, (resources, &snapshot.model.mesh.trust_domain));
            }
        }
        self.problems.dedup();
        self.certificates.end();
        self.authorities.end();
        self.revoked.end();
    }

    /// What of all that `model` names can't be used. Files may be elsewhere than where this runs, so that they are worth a
    /// warning only.
    pub(crate) fn check(model: &Model, resources: &ResourceSet) -> Vec<Diagnostic> {
        let mut own = Self::new(PathBuf::new());
        let chains = model.listeners.iter().flat_map(|listener| match &listener.chains {
            FilterChains::PlainText(_) | FilterChains::Detected(_) => &[],
            FilterChains::Tls(chains) => &chains[..],
        });
        for chain in chains {
            let TransportSocket::Tls { context, .. } = &chain.transport else { continue };
            for credential in &context.certificates {
                own.check_certificate(credential, resources);
            }
            if let Some(validation) = asked(&context.client).1 {
                own.check_trust(validation, resources);
            }
        }
        for tls in model.clusters.iter().filter_map(|cluster| cluster.tls.as_ref()) {
            if let Some(credential) = &tls.certificate {
                own.check_certificate(credential, resources);
            }
            if let Some(validation) = &tls.server {
                own.check_trust(validation, resources);
            }
        }
        own.problems
    }

    fn check_certificate(&mut self, credential: &Credential<CertificateSource>, resources: &ResourceSet) {
        let known = self.problems.len();
        if credential.source != CertificateSource::Mesh {
            self.certificate(credential, resources);
        }
        if matches!(credential.source, CertificateSource::Files { .. }) {
            self.problems.iter_mut().skip(known).for_each(|problem| problem.level = Level::Warning);
        }
    }

    fn check_trust(&mut self, validation: &PeerValidation, resources: &ResourceSet) {
        let known = self.problems.len();
        if !matches!(validation.authorities.source, AuthoritySource::Mesh | AuthoritySource::System) {
            self.trust(validation, resources);
        }
        if !matches!(validation.authorities.source, AuthoritySource::Secret(_)) {
            self.problems.iter_mut().skip(known).for_each(|problem| problem.level = Level::Warning);
        }
    }

    /// Certificates in use, in the order of their names.
    pub(crate) fn status(&self) -> Vec<CertificateStatus> {
        let own = self.certificates.good().map(|(source, certificate)| CertificateStatus {
            name: match source {
                CertificateSource::Secret(name) => format!("Secret {name}"),
                CertificateSource::Files { certificate, .. } => certificate.to_string(),
                CertificateSource::Mesh => self.mesh.join("cert-chain.pem").display().to_string(),
            },
            is_authority: false,
            read: CertificateRead::Own(Arc::clone(certificate)),
        });
        let authorities = self.authorities.good().filter_map(|(source, authorities)| {
            let name = match source {
                AuthoritySource::Secret(name) => format!("Secret {name}"),
                AuthoritySource::File(path) => path.to_string(),
                AuthoritySource::Mesh => self.mesh.join("root-cert.pem").display().to_string(),
                // Hundreds, which are not ours to look after.
                AuthoritySource::System => return None,
            };
            let read = CertificateRead::Authorities(Arc::clone(authorities));
            Some(CertificateStatus { name, is_authority: true, read })
        });
        let mut all: Vec<_> = own.chain(authorities).collect();
        all.sort_by(|left, right| (&left.name, left.is_authority).cmp(&(&right.name, right.is_authority)));
        all
    }

    fn refresh_cluster(
        &mut self,
        cluster: &ClusterRuntime,
        tls: &BackEndTls,
        (resources, trust_domain): (&ResourceSet, &str),
    ) {
        let UpstreamTls { certificate, server, is_mesh, .. } = &*tls.definition;
        let mut ingredients = Ingredients::default();
        if let Some(credential) = certificate {
            let Some(found) = self.certificate(credential, resources) else {
                return tls.fail("Secret is not supplied by SDS");
            };
            ingredients.certificate = Some(found);
        }
        if let Some(validation) = server {
            let Some(trust) = self.trust(validation, resources) else {
                return tls.fail("Secret is not supplied by SDS");
            };
            ingredients.trust = Some(trust);
            if *is_mesh {
                ingredients.workloads = workloads(cluster, trust_domain);
            }
            if let Err(problem) = tls.set(ingredients) {
                self.problems.push(diagnostic(&validation.authorities, &problem, false));
            }
        } else if let (Err(problem), Some(credential)) = (tls.set(ingredients), certificate) {
            self.problems.push(diagnostic(credential, &problem, false));
        }
    }

    fn refresh_chain(&mut self, chain: &Chain, resources: &ResourceSet) {
        let TransportSocket::Tls { context, filter } = &chain.definition.transport else { return };
        let found: Vec<_> =
            context.certificates.iter().filter_map(|credential| self.certificate(credential, resources)).collect();
        let trust = match asked(&context.client).1 {
            Some(validation) => match self.trust(validation, resources) {
                Some(trust) => Some(trust),
                // Clients that nobody can verify are not served.
                None => return chain.set(None),
            },
            None => None,
        };
        if found.is_empty() {
            return chain.set(None);
        }
        match self.policies.policy(context, filter, trust.as_ref()) {
            Ok(policy) => {
                if !chain.setup().is_some_and(|setup| setup.is_made_of(&found, &policy)) {
                    chain.set(Some(Arc::new(ServerSetup::new(found, policy))));
                }
            }
            Err(problem) => {
                if let Some(credential) = context.certificates.first() {
                    self.problems.push(diagnostic(
                        credential,
                        &format!("the handshake can't be set up: {problem}"),
                        false,
                    ));
                }
                chain.set(None);
            }
        }
    }

    /// A certificate with its key; nothing, with a problem, if there never was a good one.
    fn certificate(
        &mut self,
        credential: &Credential<CertificateSource>,
        resources: &ResourceSet,
    ) -> Option<Arc<Certificate>> {
        let files = match &credential.source {
            CertificateSource::Secret(_) => None,
            CertificateSource::Files { certificate, key } => {
                Some((PathBuf::from(&**certificate), PathBuf::from(&**key)))
            }
            CertificateSource::Mesh => Some((self.mesh.join("cert-chain.pem"), self.mesh.join("key.pem"))),
        };
        let files = files.map(|(certificate, key)| self.pair_of_files(&certificate, &key));
        let secrets = match &credential.source {
            CertificateSource::Secret(name) => [found(resources, name), None],
            CertificateSource::Files { .. } | CertificateSource::Mesh => [None, None],
        };
        let texts = |secrets: &Secrets| match (files, &credential.source, secrets) {
            (Some(texts), ..) => texts,
            (None, _, [Some(resource), _]) => pair_of_secret(resource),
            (None, CertificateSource::Secret(name), _) => Err(format!("there is no Secret {name}")),
            (None, ..) => Err("there is no certificate".to_owned()),
        };
        let held = self.certificates.hold(&credential.source, secrets, texts, |texts| match texts {
            [certificate, key, staple @ ..] => Certificate::read(certificate, key, staple.first().cloned()),
            _ => Err("there is no certificate".to_owned()),
        });
        note(&mut self.problems, credential, held)
    }

    /// What certificates of the other side are verified with.
    fn trust(&mut self, validation: &PeerValidation, resources: &ResourceSet) -> Option<Trust> {
        let credential = &validation.authorities;
        let (files, secrets) = match &credential.source {
            AuthoritySource::Secret(name) => {
                let apart = SecretName { name: format!("{}-cacert", name.name).into(), ..name.clone() };
                // As in Istio, who names the one with the ending may mean the one without it.
                let bare =
                    name.name.strip_suffix("-cacert").map(|bare| SecretName { name: bare.into(), ..name.clone() });
                let own = found(resources, name).or_else(|| found(resources, &bare?));
                (None, [found(resources, &apart), own])
            }
            AuthoritySource::File(path) => (Some(self.file(Path::new(&**path)).map(|text| vec![text])), [None, None]),
            AuthoritySource::Mesh => {
                let path = self.mesh.join("root-cert.pem");
                (Some(self.file(&path).map(|text| vec![text])), [None, None])
            }
            AuthoritySource::System => (Some(Ok(Vec::new())), [None, None]),
        };
        let texts = |secrets: &Secrets| files.unwrap_or_else(|| authorities_of_secrets(secrets));
        let held = self.authorities.hold(&credential.source, secrets.clone(), texts, |texts| match texts {
            [] => Authorities::of_system(),
            [pem, ..] => Authorities::read(pem),
        });
        let authorities = note(&mut self.problems, credential, held)?;
        let revoked = match &validation.revoked {
            Some(credential) => Some(self.revoked_of_file(credential)?),
            None if list_of_secrets(&secrets).is_some() => Some(self.revoked_of_secret(credential, secrets)?),
            None => None,
        };
        Some(Trust { authorities, revoked })
    }

    fn revoked_of_file(&mut self, credential: &Credential<Arc<str>>) -> Option<Arc<RevocationLists>> {
        let texts = self.file(Path::new(&*credential.source)).map(|text| vec![text]);
        let source = AuthoritySource::File(Arc::clone(&credential.source));
        let held = self.revoked.hold(&source, [None, None], |_| texts, read_lists);
        note(&mut self.problems, credential, held)
    }

    /// The list that stands beside the authorities.
    fn revoked_of_secret(
        &mut self,
        credential: &Credential<AuthoritySource>,
        secrets: Secrets,
    ) -> Option<Arc<RevocationLists>> {
        let texts = |secrets: &Secrets| Ok(list_of_secrets(secrets).into_iter().collect());
        let held = self.revoked.hold(&credential.source, secrets, texts, read_lists);
        note(&mut self.problems, credential, held)
    }

    /// Certificate, key and, if there is one beside the certificate, an answer of OCSP.
    fn pair_of_files(&mut self, certificate: &Path, key: &Path) -> Result<Vec<Vec<u8>>, String> {
        let mut texts = vec![self.file(certificate)?, self.file(key)?];
        let mut staple = certificate.as_os_str().to_owned();
        staple.push(".ocsp");
        let staple = PathBuf::from(staple);
        self.paths.insert(staple.clone());
        texts.extend(read(&staple).ok());
        Ok(texts)
    }

    fn file(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        self.paths.insert(path.to_owned());
        read(path)
    }
}

/// Names of the endpoints' workloads, by their service accounts; any of the mesh where one is not known.
fn workloads(cluster: &ClusterRuntime, trust_domain: &str) -> Arc<[Arc<str>]> {
    let entries = cluster.endpoints.entries();
    let mut names: Vec<Arc<str>> = entries.map(|entry| Arc::clone(&entry.endpoint.workload.principal)).collect();
    names.sort();
    names.dedup();
    if names.is_empty() || names.iter().any(|name| !name.starts_with("spiffe://")) {
        names = vec![format!("spiffe://{trust_domain}/*").into()];
    }
    names.into()
}

/// The last good one; a problem is added to the list.
fn note<S, T>(problems: &mut Vec<Diagnostic>, credential: &Credential<S>, held: &Held<T>) -> Option<Arc<T>> {
    if let Some(problem) = &held.problem {
        problems.push(diagnostic(credential, problem, held.good.is_some()));
    }
    held.good.clone()
}

fn diagnostic<S>(credential: &Credential<S>, problem: &str, has_earlier: bool) -> Diagnostic {
    let effect = if has_earlier { "the one before stays in use" } else { "handshakes that need it are refused" };
    let message = format!("{problem}; {effect}");
    Diagnostic {
        field: Some(credential.field.to_string()),
        hint: Some("put a certificate and its key there, both as PEM".to_owned()),
        ..Diagnostic::new(Code::InvalidGatewayCredential, Level::Error, &credential.origin, message)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| format!("{shown} can't be read: {error}"))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(format!("{shown} is no file of a certificate"));
    }
    std::fs::read(path).map_err(|error| format!("{shown} can't be read: {error}"))
}

fn found(resources: &ResourceSet, name: &SecretName) -> Option<Arc<Resource>> {
    resources.get("Secret", &name.namespace, &name.name).cloned()
}

/// What is there under the first of these keys that isn't empty.
fn value(resource: &Resource, keys: &[&str]) -> Option<Vec<u8>> {
    let Spec::Secret(secret) = &resource.spec else { return None };
    keys.iter().find_map(|key| secret.value(key).filter(|value| !value.is_empty())).map(<[u8]>::to_vec)
}

/// Certificate, key, and perhaps an answer of OCSP. Source: Istio, `credentialName`.
fn pair_of_secret(secret: &Resource) -> Result<Vec<Vec<u8>>, String> {
    let missing = |key: &str| format!("{} has no {key}", secret.id);
    let certificate = value(secret, &["tls.crt", "cert"]).ok_or_else(|| missing("tls.crt"))?;
    let key = value(secret, &["tls.key", "key"]).ok_or_else(|| missing("tls.key"))?;
    let staple = value(secret, &["tls.ocsp-staple", "ocsp-staple"]);
    Ok([Some(certificate), Some(key), staple].into_iter().flatten().collect())
}

fn read_lists(texts: &[Vec<u8>]) -> Result<RevocationLists, String> {
    RevocationLists::read(texts.first().map_or(&[], |text| text))
}

/// The list of revoked certificates beside the authorities that count, by the name that goes with theirs. Source: Istio,
/// `ExtractRoot`.
fn list_of_secrets(secrets: &Secrets) -> Option<Vec<u8>> {
    let of_secret = |secret: &Arc<Resource>| match value(secret, &["cacert"]) {
        Some(_) => Some(value(secret, &["crl"])),
        None => value(secret, &["ca.crt"]).map(|_| value(secret, &["ca.crl"])),
    };
    secrets.iter().flatten().find_map(of_secret)?
}

/// That of the Secret with `-cacert` behind its name goes first, as in Istio.
fn authorities_of_secrets(secrets: &Secrets) -> Result<Vec<Vec<u8>>, String> {
    let found = secrets.iter().flatten().find_map(|secret| value(secret, &["cacert", "ca.crt"]));
    found.map(|pem| vec![pem]).ok_or_else(|| {
        let names: Vec<String> = secrets.iter().flatten().map(|secret| secret.id.to_string()).collect();
        match &names[..] {
            [] => "there is no Secret of that name".to_owned(),
            names => format!("{} has no ca.crt and no cacert", names.join(" or ")),
        }
    })
}
