//! The configuration folder of the demo: Bookinfo's three resources as people apply them, and the addresses of the back ends.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::reviews::Version;

/// The resources, byte for byte as in `examples/bookinfo`, with their file names.
const SEEDS: [(&str, &str); 3] = [
    ("reviews-gateway.yaml", include_str!("../../../examples/bookinfo/reviews-gateway.yaml")),
    (ROUTES, include_str!("../../../examples/bookinfo/virtual-service-reviews.yaml")),
    ("destination-rule-reviews.yaml", include_str!("../../../examples/bookinfo/destination-rule-reviews.yaml")),
];

/// The file with the weights.
pub(crate) const ROUTES: &str = "virtual-service-reviews.yaml";

/// The file with the addresses.
const SERVICES: &str = "services.yaml";

/// A folder that a gateway can be pointed at.
#[derive(Debug)]
pub(crate) enum Folder {
    /// Named by the user, and kept.
    Kept(PathBuf),
    /// Removed at the end.
    Temporary(TempDir),
}

impl Folder {
    /// Writes the resources to `path`, or to a temporary folder. What the user has written there stays; only the addresses,
    /// which are new each time, are written over.
    pub(crate) fn prepare(path: Option<PathBuf>, endpoints: &[(Version, SocketAddr)]) -> io::Result<Self> {
        let folder = match path {
            Some(path) => Self::Kept(path),
            None => Self::Temporary(tempfile::Builder::new().prefix("tidegate-demo-").tempdir()?),
        };
        fs::create_dir_all(folder.path())?;
        for (name, text) in SEEDS {
            let path = folder.path().join(name);
            if !path.exists() {
                fs::write(path, text)?;
            }
        }
        fs::write(folder.path().join(SERVICES), services(endpoints))?;
        Ok(folder)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// The registry's entry for `reviews`.
fn services(endpoints: &[(Version, SocketAddr)]) -> String {
    let mut text = "\
# What a cluster's registry would know: the service `reviews` and its three back ends. Written anew by each demo.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: reviews
spec:
  hosts:
  - reviews.default.svc.cluster.local
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - number: 9080
    name: http
    protocol: HTTP
  endpoints:
"
    .to_owned();
    for (version, address) in endpoints {
        let (ip, port) = (address.ip(), address.port());
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "  - address: {ip}\n    ports: {{http: {port}}}\n    labels: {{app: reviews, version: {version}}}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(port: u16) -> Vec<(Version, SocketAddr)> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Version::ALL.into_iter().zip(port..).map(|(version, port)| (version, address(port))).collect()
    }

    #[test]
    fn an_edited_file_stays_and_the_addresses_are_renewed() {
        let kept = TempDir::new().unwrap();
        let path = || Some(kept.path().join("config"));
        let folder = Folder::prepare(path(), &endpoints(1000)).unwrap();
        fs::write(folder.path().join(ROUTES), "mine").unwrap();
        let folder = Folder::prepare(path(), &endpoints(2000)).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(ROUTES)).unwrap(), "mine");
        let services = fs::read_to_string(folder.path().join(SERVICES)).unwrap();
        assert!(services.contains("http: 2002") && !services.contains("http: 1000"), "{services}");
    }

    #[test]
    fn a_temporary_folder_is_removed_at_the_end() {
        let folder = Folder::prepare(None, &endpoints(1000)).unwrap();
        let path = folder.path().to_owned();
        assert!(path.join(ROUTES).exists());
        drop(folder);
        assert!(!path.exists());
    }
}
