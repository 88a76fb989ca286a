//! A gateway of one host that takes HTTP/3, and what is behind it.

use http::{Method, Request};
use tidegate::pressure::MemoryLimit;
use tidegate::telemetry::Target;

use crate::back_end::BackEnd;
use crate::certificates::{Authority, Pair, secret, secret_of};
use crate::client::{Client, PATIENCE};
use crate::peers::Running;

/// A gateway of one host, whose requests go to a back end.
pub(crate) struct Stage {
    pub(crate) running: Running,
    pub(crate) authority: Authority,
    pub(crate) own: Pair,
    pub(crate) back_end: BackEnd,
}

/// `tls` are the settings of the server besides its mode's name.
pub(crate) fn configuration(back_end: &BackEnd, tls: &str) -> String {
    let port = back_end.address.port();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: default}}\nspec:\n  selector: {{istio: \
         ingressgateway}}\n  servers:\n  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [a.example, c.example], tls: {{{tls}}}}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s, namespace: default}}\nspec:\n  hosts: \
         [s.internal]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
         endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]\n---\napiVersion: networking.istio.io/v1\nkind: \
         VirtualService\nmetadata: {{name: v, namespace: default}}\nspec:\n  hosts: [a.example]\n  gateways: [web]\n  http: [{{route: \
         [{{destination: {{host: s.internal}}}}]}}]\n"
    )
}

pub(crate) const SIMPLE: &str = "mode: SIMPLE, credentialName: a";

impl Stage {
    pub(crate) fn start(tls: &str) -> Self {
        Self::start_with(tls, MemoryLimit::Off)
    }

    /// With so much memory.
    pub(crate) fn start_with(tls: &str, memory_limit: MemoryLimit) -> Self {
        let authority = Authority::new("ca");
        let own = authority.issue("own", &["a.example"]);
        let back_end = BackEnd::start();
        let credential = secret_of("a", &own, &own);
        let of_clients = secret("a-cacert", &[("ca.crt", &authority.pem())]);
        let web = configuration(&back_end, tls);
        let files = [("web.yaml", &*web), ("secret.yaml", &*credential), ("clients.yaml", &*of_clients)];
        let running = Running::start_with(&files, |options| {
            options.memory_limit = memory_limit;
            options.access_log = Target::File(options.config.join("access.log"));
        });
        Self { running, authority, own, back_end }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.running.bound(443), "a.example", &self.authority).await
    }

    pub(crate) fn replace(&self, name: &str, text: &str) {
        std::thread::scope(|scope| scope.spawn(|| self.running.replace(name, text)).join().unwrap());
    }

    /// A line of the access log that has all of these.
    pub(crate) async fn logged(&self, parts: &[&str]) {
        let path = self.running.folder.path().join("access.log");
        let found = async {
            loop {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                if text.lines().any(|line| parts.iter().all(|part| line.contains(part))) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap();
    }
}

pub(crate) fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("https://a.example{path}")).body(()).unwrap()
}
