//! A table for each code: a folder, and the lines that are reported for it.

mod policies;
mod ports;
mod telemetries;

use super::*;
use crate::resolve::tests::{REVIEWS, WEB, gateway, set, virtual_service};

/// Findings of one code as lines, without those of others.
fn found(text: &str, code: &str, proxy: Option<&Proxy>) -> Vec<String> {
    let all = analyze(&set(text), proxy);
    all.iter().filter(|finding| finding.code.as_str() == code).map(ToString::to_string).collect()
}

/// The messages alone, with hints.
fn messages(text: &str, code: &str) -> Vec<String> {
    let all = analyze(&set(text), None);
    let line = |finding: &Diagnostic| match &finding.hint {
        Some(hint) => format!("{}: {}; {hint}", finding.level, finding.message),
        None => format!("{}: {}", finding.level, finding.message),
    };
    all.iter().filter(|finding| finding.code.as_str() == code).map(line).collect()
}

fn resource(group: &str, kind: &str, metadata: &str, spec: &str) -> String {
    format!("apiVersion: {group}\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n---\n")
}

fn istio(kind: &str, metadata: &str, spec: &str) -> String {
    resource("networking.istio.io/v1", kind, metadata, spec)
}

/// A VirtualService for `web` with rules.
fn rules(rules: &str) -> String {
    virtual_service("{name: v}", &format!("{{hosts: [a.example], gateways: [web], http: [{rules}]}}"))
}

fn to(destination: &str) -> String {
    rules(&format!("{{route: [{{destination: {destination}}}]}}"))
}

#[test]
fn a_finding_names_resource_file_place_field_and_cure() {
    let text = format!("{WEB}{REVIEWS}{}", to("{host: reviews, subset: v9}"));
    assert_eq!(
        found(&text, "IST0101", None),
        [
            "Error [IST0101] (VirtualService default/v main.yaml:36:99) spec.http[0].route[0].destination.subset: Referenced \
          host+subset in destinationrule not found: \"reviews+v9\"; did you mean v1?"
        ]
    );
}

#[test]
fn bookinfo_has_nothing_to_report() {
    let text = format!("{WEB}{REVIEWS}{}", to("{host: reviews, subset: v1}"));
    assert_eq!(analyze(&set(&text), Some(&gateway())), []);
    assert_eq!(analyze(&set(&text), None), []);
}

#[test]
fn ist0101_names_that_lead_nowhere() {
    let two = "apiVersion: v1\nkind: Service\nmetadata: {name: ratings, namespace: far}\nspec: {ports: [{port: 80, name: \
               http}]}\n---\n";
    let wide = istio(
        "ServiceEntry",
        "{name: wide}",
        "{hosts: ['*.wide.example'], resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let gateway = |name: &str| {
        virtual_service(
            "{name: v}",
            &format!("{{hosts: [a.example], gateways: [{name}], http: [{{directResponse: {{status: 200}}}}]}}"),
        )
    };
    let table = [
        (to("{host: reviews}"), None),
        (to("{host: a.wide.example}"), None),
        (
            to("{host: reviws}"),
            Some("Error: Referenced host not found: \"reviws\"; did you mean reviews.default.svc.cluster.local?"),
        ),
        (to("{host: nothing.like.it}"), Some("Error: Referenced host not found: \"nothing.like.it\"")),
        (
            to("{host: ratings}"),
            Some(
                "Error: Referenced host not found: \"ratings\"; did you mean ratings.far.svc.cluster.local? A short name is of the \
                  resource's own namespace",
            ),
        ),
        (
            to("{host: reviews, port: {number: 9081}}"),
            Some("Error: Referenced host:port not found: \"reviews:9081\"; the service has port 9080"),
        ),
        (
            to("{host: reviews, subset: blue}"),
            Some(
                "Error: Referenced host+subset in destinationrule not found: \"reviews+blue\"; its subsets are v1, v2, v3",
            ),
        ),
        (
            to("{host: ratings.far.svc.cluster.local, subset: v1}"),
            Some(
                "Error: Referenced host+subset in destinationrule not found: \"ratings.far.svc.cluster.local+v1\"; no \
                  DestinationRule for ratings.far.svc.cluster.local has subsets",
            ),
        ),
        (
            rules("{route: [{destination: {host: reviews}}], mirror: {host: gone.example}}"),
            Some("Error: Referenced mirror host not found: \"gone.example\""),
        ),
        (
            rules("{route: [{destination: {host: reviews}}], mirrors: [{destination: {host: reviews, subset: v4}}]}"),
            Some("Error: Referenced mirror+subset in destinationrule not found: \"reviews+v4\"; did you mean v1?"),
        ),
        (gateway("web"), None),
        (gateway("mesh"), None),
        (gateway("wep"), Some("Error: Referenced gateway not found: \"wep\"; did you mean web?")),
        (
            gateway("far/web"),
            Some(
                "Error: Referenced gateway not found: \"far/web\"; did you mean default/web? A bare name is of the VirtualService's own namespace",
            ),
        ),
    ];
    for (rule, want) in table {
        let text = format!("{WEB}{REVIEWS}{two}{wide}{rule}");
        assert_eq!(messages(&text, "IST0101"), want.into_iter().collect::<Vec<_>>(), "{rule}");
    }
}

#[test]
fn ist0101_delegates_that_cannot_be_used() {
    let root = rules("{match: [{uri: {prefix: /r}}], delegate: {name: part, namespace: team}}");
    let part = |metadata: &str, spec: &str| virtual_service(metadata, spec);
    let answer = "http: [{directResponse: {status: 200}}]";
    let table = [
        (part("{name: part, namespace: team}", &format!("{{{answer}}}")), None),
        (
            part("{name: parts, namespace: team}", &format!("{{{answer}}}")),
            Some("Error: Referenced delegate not found: \"team/part\"; did you mean parts?"),
        ),
        (
            part(
                "{name: part, namespace: team}",
                &format!("{{hosts: [a.example], gateways: [default/web], {answer}}}"),
            ),
            Some("Error: Referenced delegate not found: \"team/part\"; a delegate must not have hosts"),
        ),
        (
            part("{name: part, namespace: team}", &format!("{{exportTo: ['.'], {answer}}}")),
            Some("Error: VirtualService team/part is not exported to namespace default"),
        ),
    ];
    for (part, want) in table {
        assert_eq!(messages(&format!("{WEB}{root}{part}"), "IST0101"), want.into_iter().collect::<Vec<_>>(), "{part}");
    }
    let other = part(
        "{name: part, namespace: team}",
        "{http: [{match: [{uri: {prefix: /x}}], directResponse: {status: 200}}]}",
    );
    assert_eq!(
        messages(&format!("{WEB}{root}{other}"), "IST0130"),
        [
            "Warning: VirtualService rule #0 not used (its matches contradict those of VirtualService default/v rule #0, which \
          delegates to it).; each match has to lie within one of the root's"
        ]
    );
}

#[test]
fn ist0109_two_virtual_services_of_one_host_in_the_mesh() {
    let one = |name: &str, spec: &str| {
        virtual_service(
            &format!("{{name: {name}}}"),
            &format!("{{{spec}, http: [{{directResponse: {{status: 200}}}}]}}"),
        )
    };
    let table = [
        ("same host", one("a", "hosts: [reviews]"), one("b", "hosts: [reviews.default.svc.cluster.local]"), 2),
        ("one at a gateway", one("a", "hosts: [reviews]"), one("b", "hosts: [reviews], gateways: [web]"), 0),
        (
            "both, one also at a gateway",
            one("a", "hosts: [reviews]"),
            one("b", "hosts: [reviews], gateways: [web, mesh]"),
            2,
        ),
        ("other hosts", one("a", "hosts: [reviews]"), one("b", "hosts: [ratings]"), 0),
        (
            "seen by others",
            one("a", "hosts: [x.example], exportTo: [far]"),
            one("b", "hosts: [x.example], exportTo: [near]"),
            0,
        ),
        ("one is private", one("a", "hosts: [x.example], exportTo: ['.']"), one("b", "hosts: [x.example]"), 2),
    ];
    for (case, first, second, want) in table {
        assert_eq!(messages(&format!("{WEB}{first}{second}"), "IST0109").len(), want, "{case}");
    }
    let text = format!("{}{}", one("a", "hosts: [reviews]"), one("b", "hosts: [reviews]"));
    assert_eq!(
        messages(&text, "IST0109")[0],
        "Error: The VirtualServices default/a,default/b associated with mesh gateway define the same host \
         */reviews.default.svc.cluster.local which can lead to undefined behavior. This can be fixed by merging the conflicting \
         VirtualServices into a single resource."
    );
}

#[test]
fn ist0112_a_service_of_several_ports_needs_one_named() {
    let multi = istio(
        "ServiceEntry",
        "{name: multi}",
        "{hosts: [multi.example], resolution: NONE, ports: [{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, \
         protocol: HTTP}]}",
    );
    let text = |destination: &str| format!("{WEB}{multi}{}", to(destination));
    assert_eq!(
        messages(&text("{host: multi.example}"), "IST0112"),
        [
            "Error: This VirtualService routes to a service \"multi.example\" that exposes multiple ports [80 81]. Specifying a \
          port in the destination is required to disambiguate.; without it the port of the listener is taken"
        ]
    );
    assert_eq!(messages(&text("{host: multi.example, port: {number: 81}}"), "IST0112"), Vec::<String>::new());
}

#[test]
fn ist0128_and_0129_tls_without_an_authority() {
    let rule = |policy: &str| {
        istio("DestinationRule", "{name: r}", &format!("{{host: reviews, trafficPolicy: {{{policy}}}}}"))
    };
    let table = [
        ("tls: {mode: SIMPLE}", 1, 0),
        ("tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k}", 1, 0),
        ("tls: {mode: SIMPLE, caCertificates: /ca}", 0, 0),
        ("tls: {mode: ISTIO_MUTUAL}", 0, 0),
        ("tls: {mode: DISABLE}", 0, 0),
        ("portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]", 0, 1),
        ("portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE, caCertificates: /ca}}]", 0, 0),
    ];
    for (policy, top, port) in table {
        let text = rule(policy);
        assert_eq!((messages(&text, "IST0128").len(), messages(&text, "IST0129").len()), (top, port), "{policy}");
    }
    assert_eq!(
        messages(&rule("portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]"), "IST0129"),
        [
            "Warning: DestinationRule default/r in namespace default has TLS mode set to SIMPLE but no caCertificates are set to \
          validate server identity for host: reviews at port 443; set caCertificates to the authority that signs the server's \
          certificate"
        ]
    );
}

#[test]
fn ist0130_and_0131_rules_and_matches_that_are_never_used() {
    let matching = |entries: &[&str]| {
        let rule = |entry: &&str| match *entry {
            "" => "{directResponse: {status: 200}}".to_owned(),
            entry => format!("{{match: [{entry}], directResponse: {{status: 200}}}}"),
        };
        let all: Vec<String> = entries.iter().map(rule).collect();
        format!("{WEB}{}", rules(&all.join(", ")))
    };
    let none: (&[&str], &[&str]) = (&[], &[]);
    let covered: (&[&str], &[&str]) = (
        &["VirtualService rule #1 not used (all matches used by prior rules)."],
        &["VirtualService rule #1 match #0 is not used (duplicate/overlapping match in rule #0)."],
    );
    type Case<'a> = (&'a [&'a str], (&'a [&'a str], &'a [&'a str]));
    let table: [Case<'_>; 22] = [
        (&["{uri: {prefix: /a}}", "{uri: {prefix: /b}}", ""], none),
        (&["{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}"], none),
        (&["{uri: {prefix: /a}}", "{uri: {prefix: /a}}"], covered),
        (&["{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}"], covered),
        (&["{uri: {prefix: /a}}", "{uri: {exact: /a/b}}"], covered),
        (&["{uri: {prefix: /a}}", "{uri: {regex: '/a/.*'}}"], none),
        (&["{uri: {regex: '/a/.*'}}", "{uri: {regex: '/a/.*'}}"], covered),
        (&["{uri: {prefix: /}}", "{uri: {exact: /a}}"], covered),
        (&["{uri: {regex: '.*'}}", "{headers: {a: {}}}"], covered),
        (&["{uri: {prefix: /a}, ignoreUriCase: true}", "{uri: {prefix: /A/b}}"], covered),
        (&["{uri: {prefix: /a}}", "{uri: {prefix: /a/b}, ignoreUriCase: true}"], none),
        (&["{uri: {prefix: /a}, headers: {h: {exact: v}}}", "{uri: {prefix: /a}}"], none),
        (&["{uri: {prefix: /a}}", "{uri: {prefix: /a/b}, headers: {h: {exact: v}}}"], covered),
        (&["{headers: {H: {exact: v}}}", "{uri: {prefix: /a}, headers: {h: {exact: v}, i: {}}}"], covered),
        (&["{headers: {h: {exact: v}}}", "{headers: {h: {exact: w}}}"], none),
        (&["{queryParams: {q: {}}}", "{queryParams: {Q: {}}}"], none),
        (&["{method: {exact: GET}}", "{method: {exact: GET}, uri: {prefix: /a}}"], covered),
        (&["{port: 80, uri: {prefix: /a}}", "{port: 81, uri: {prefix: /a}}"], none),
        (&["{gateways: [web], uri: {prefix: /a}}", "{gateways: [default/web], uri: {prefix: /a}}"], covered),
        (&["{sourceLabels: {a: b}, uri: {prefix: /a}}", "{sourceLabels: {a: b, c: d}, uri: {prefix: /a}}"], covered),
        (
            &["", "{uri: {prefix: /a}}, {uri: {prefix: /b}}"],
            (&["VirtualService rule #1 not used (route without matches defined before)."], &[]),
        ),
        (&["", ""], (&["VirtualService rule #1 not used (only the last rule can have no matches)."], &[])),
    ];
    for (entries, (unreachable, ineffective)) in table {
        let all = analyze(&set(&matching(entries)), None);
        let of = |code: &str| -> Vec<&str> {
            all.iter().filter(|one| one.code.as_str() == code).map(|one| one.message.as_str()).collect()
        };
        assert_eq!((of("IST0130"), of("IST0131")), (unreachable.to_vec(), ineffective.to_vec()), "{entries:?}");
    }
    let half = matching(&["{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}, {uri: {prefix: /c}}"]);
    assert_eq!(
        (messages(&half, "IST0130").len(), messages(&half, "IST0131").len()),
        (0, 1),
        "one of two matches is used"
    );
}

#[test]
fn an_unreachable_rule_points_to_the_one_in_its_way_and_names_are_quoted() {
    let text = format!(
        "{WEB}{}",
        rules(
            "{name: first, match: [{uri: {prefix: /a}}], directResponse: {status: 200}}, {name: second, match: [{name: entry, uri: {prefix: /a/b}}], directResponse: {status: 200}}"
        )
    );
    let all = analyze(&set(&text), None);
    let references: Vec<String> =
        all.iter().filter_map(|one| one.reference.as_ref()).map(ToString::to_string).collect();
    assert_eq!(references, ["main.yaml:12", "main.yaml:12"]);
    assert!(messages(&text, "IST0131")[0].starts_with(
        "Info: VirtualService rule \"second\" match \"entry\" is not used (duplicate/overlapping match in rule \"first\")."
    ));
}

#[test]
fn ist0132_hosts_that_the_gateway_does_not_serve() {
    let served = |hosts: &str, own: &str, namespace: &str| {
        let web = istio(
            "Gateway",
            "{name: web}",
            &format!(
                "{{selector: {{a: b}}, servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: {hosts}}}]}}"
            ),
        );
        let spec = format!("{{hosts: {own}, gateways: [default/web], http: [{{directResponse: {{status: 200}}}}]}}");
        web + &virtual_service(&format!("{{name: v, namespace: {namespace}}}"), &spec)
    };
    let table = [
        ("[a.example]", "[a.example]", "default", 0),
        ("['*.example']", "[a.example]", "default", 0),
        ("[a.example]", "['*.example']", "default", 0),
        ("[a.example]", "[b.example]", "default", 1),
        ("[a.example]", "[b.example, a.example]", "default", 0),
        ("[far/a.example]", "[a.example]", "default", 1),
        ("[far/a.example]", "[a.example]", "far", 0),
        ("[./a.example]", "[a.example]", "far", 1),
    ];
    for (hosts, own, namespace, want) in table {
        assert_eq!(messages(&served(hosts, own, namespace), "IST0132").len(), want, "{hosts} {own} {namespace}");
    }
    assert_eq!(
        messages(&served("[a.example]", "[b.example, c.example]", "default"), "IST0132"),
        ["Warning: one or more host [b.example c.example] defined in VirtualService default/v not found in Gateway \
          default/web.; the Gateway serves a.example"]
    );
}

#[test]
fn ist0134_a_service_entry_for_tcp_needs_addresses() {
    let entry =
        |rest: &str| istio("ServiceEntry", "{name: e}", &format!("{{hosts: [e.example], resolution: DNS, {rest}}}"));
    let table = [
        ("ports: [{number: 1, name: a, protocol: TCP}]", 1),
        ("ports: [{number: 1, name: a}]", 1),
        ("ports: [{number: 1, name: a, protocol: HTTP}]", 0),
        ("ports: [{number: 1, name: a, protocol: TCP}], addresses: [10.0.0.1]", 0),
        ("ports: [{number: 1, name: a, protocol: tcp}, {number: 2, name: b, protocol: TCP}]", 2),
    ];
    for (rest, want) in table {
        assert_eq!(messages(&entry(rest), "IST0134").len(), want, "{rest}");
    }
}

#[test]
fn ist0145_gateways_in_each_others_way() {
    let gateway = |name: &str, selector: &str, port: u16, rest: &str| {
        let server = format!("{{port: {{number: {port}, name: http, protocol: HTTP}}, {rest}}}");
        istio("Gateway", &format!("{{name: {name}}}"), &format!("{{selector: {selector}, servers: [{server}]}}"))
    };
    let pod = resource("v1", "Pod", "{name: p, labels: {istio: ingressgateway, tier: front}}", "{containers: []}");
    let first = gateway("one", "{istio: ingressgateway}", 80, "hosts: [a.example]");
    let table = [
        ("same", gateway("two", "{istio: ingressgateway}", 80, "hosts: [a.example]"), 2),
        ("another host", gateway("two", "{istio: ingressgateway}", 80, "hosts: [b.example]"), 0),
        ("another port", gateway("two", "{istio: ingressgateway}", 81, "hosts: [a.example]"), 0),
        ("another address", gateway("two", "{istio: ingressgateway}", 80, "bind: 10.0.0.1, hosts: [a.example]"), 0),
        ("another workload", gateway("two", "{istio: egressgateway}", 80, "hosts: [a.example]"), 0),
        ("narrower, no pod", gateway("two", "{tier: front}", 80, "hosts: [a.example]"), 0),
        ("narrower, one pod", gateway("two", "{tier: front}", 80, "hosts: [a.example]") + &pod, 2),
    ];
    for (case, second, want) in table {
        assert_eq!(messages(&format!("{first}{second}"), "IST0145").len(), want, "{case}");
    }
    let text = format!("{first}{}", gateway("two", "{istio: ingressgateway}", 80, "hosts: [a.example]"));
    assert_eq!(
        messages(&text, "IST0145")[0],
        "Error: Conflict with gateways default/two (workload selector istio=ingressgateway, port 80, hosts a.example).; serve the \
         host from one Gateway, which VirtualServices can share"
    );
}

#[test]
fn ist0149_claims_of_a_token_are_not_verified_here() {
    let text = format!(
        "{WEB}{}",
        rules("{match: [{headers: {'@request.auth.claims.group': {exact: dev}}}], directResponse: {status: 200}}")
    );
    assert_eq!(
        messages(&text, "IST0149"),
        [
            "Error: The virtual service uses the JWT claim based routing (key: @request.auth.claims.group) but found no request \
          authentication for the gateway (default/web).; tokens are not verified here, so that the match never holds"
        ]
    );
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\\nMAA=\\n-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\\nMAA=\\n-----END PRIVATE KEY-----";

#[test]
fn ist0161_a_secret_has_to_hold_a_certificate_and_its_key() {
    let web = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: web}\nspec: {selector: {istio: \
               ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example], tls: {mode: \
               SIMPLE, credentialName: shop-cert}}]}\n---\n";
    let secret = |name: &str, namespace: &str, data: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData: {{{data}}}\n---\n"
        )
    };
    let good = format!("tls.crt: \"{PEM}\", tls.key: \"{KEY}\"");
    let table = [
        (secret("shop-cert", "default", &good), None),
        (secret("shop-cert", "default", &format!("cert: \"{PEM}\", key: \"{KEY}\"")), None),
        (
            secret("shop-cert", "default", &format!("tls.crt: \"{PEM}\"")),
            Some("Secret default/shop-cert: tls.key is missing"),
        ),
        (secret("shop-cert", "default", "a: b"), Some("Secret default/shop-cert: tls.crt is missing")),
        (
            secret("shop-cert", "default", &format!("tls.crt: nonsense, tls.key: \"{KEY}\"")),
            Some("Secret default/shop-cert: tls.crt is no certificate in PEM form"),
        ),
        (
            secret("shop-cert", "default", &format!("tls.crt: \"{PEM}\", tls.key: \"{PEM}\"")),
            Some("Secret default/shop-cert: tls.key is no private key in PEM form"),
        ),
    ];
    for (secret, want) in table {
        let text = format!("{web}{secret}");
        let hints: Vec<Option<String>> = analyze(&set(&text), None)
            .into_iter()
            .filter(|one| one.code.as_str() == "IST0161")
            .map(|one| one.hint)
            .collect();
        assert_eq!(hints, want.map(|hint| Some(hint.to_owned())).into_iter().collect::<Vec<_>>(), "{secret}");
    }
    let elsewhere = format!("{web}{}", secret("shop-cert", "far", &good));
    assert_eq!(
        messages(&elsewhere, "IST0101"),
        ["Error: Referenced credentialName not found: \"shop-cert\"; it has to be in namespace default"]
    );
    let far = Proxy { namespace: "far".into(), ..gateway() };
    assert_eq!(found(&elsewhere, "IST0101", Some(&far)), Vec::<String>::new(), "Secrets are in the proxy's namespace");
}

#[test]
fn ist0162_ports_that_the_gateways_service_does_not_have() {
    let pod = resource("v1", "Pod", "{name: p, labels: {istio: ingressgateway}}", "{containers: []}");
    let service = |ports: &str| {
        resource("v1", "Service", "{name: gw}", &format!("{{selector: {{istio: ingressgateway}}, ports: {ports}}}"))
    };
    let table = [
        (String::new(), String::new(), 0),
        (pod.clone(), service("[{port: 80, name: http}]"), 0),
        (pod.clone(), service("[{port: 80, name: http, targetPort: 8080}]"), 0),
        (pod.clone(), service("[{port: 8000, name: http, targetPort: 80}]"), 0),
        (pod.clone(), service("[{port: 81, name: http}]"), 1),
        (pod.clone(), service("[{port: 80, name: dns, protocol: UDP}]"), 1),
        (pod, String::new(), 1),
    ];
    for (pod, service, want) in table {
        assert_eq!(messages(&format!("{WEB}{pod}{service}"), "IST0162").len(), want, "{pod}{service}");
    }
}

#[test]
fn a_selector_that_takes_no_workload_is_reported_where_workloads_with_such_labels_are_known() {
    let pod = |labels: &str| resource("v1", "Pod", &format!("{{name: p, labels: {labels}}}"), "{containers: []}");
    assert_eq!(messages(&format!("{WEB}{}", pod("{app: x}")), "IST0101"), Vec::<String>::new());
    let text = format!("{WEB}{}", pod("{istio: egressgateway}"));
    assert_eq!(
        messages(&text, "IST0101"),
        [
            "Error: Referenced selector not found: \"istio=ingressgateway\"; there is a workload with istio=egressgateway"
        ]
    );
    assert_eq!(found(&text, "IST0101", Some(&gateway())), Vec::<String>::new(), "the proxy is a workload itself");
}

#[test]
fn resources_of_one_name_are_reported_once() {
    let one = rules("{directResponse: {status: 200}}");
    assert_eq!(messages(&format!("{WEB}{one}{one}"), "TG0005").len(), 1);
}

#[test]
fn traffic_that_stays_on_a_node_needs_one() {
    let text = resource("v1", "Service", "{name: s}", "{internalTrafficPolicy: Local, ports: [{port: 80}]}");
    let lines = found(&text, "IST0133", Some(&gateway()));
    assert!(lines.len() == 1 && lines[0].contains("The proxy doesn't know its node"), "{lines:?}");
    let mut here = gateway();
    here.labels.insert("kubernetes.io/hostname".into(), "n1".into());
    assert_eq!(found(&text, "IST0133", Some(&here)), Vec::<String>::new());
    let text = text.replace("Local", "Cluster");
    assert_eq!(found(&text, "IST0133", Some(&gateway())), Vec::<String>::new());
}
