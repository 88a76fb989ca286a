//! What users are told: YAML in, lines out.

use config_model::diagnostic::{Code, Level};
use config_model::file::ParsedFile;

/// The lines for a file called `main.yaml`.
fn lines(text: &str) -> Vec<String> {
    ParsedFile::parse("main.yaml", text, None).diagnostics.iter().map(ToString::to_string).collect()
}

/// A resource with this kind and spec; the spec begins in line 5 and is indented by two.
fn resource(kind: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: r}}\nspec:\n  {spec}\n")
}

/// The lines that are errors, without what all have in common: `line:column field: message; cure`.
fn errors(kind: &str, spec: &str) -> Vec<String> {
    let file = ParsedFile::parse("main.yaml", &resource(kind, spec), None);
    assert!(file.diagnostics.iter().all(|diagnostic| diagnostic.position.line > 0), "a place for everything: {spec}");
    let prefix = format!("Error [IST0106] ({kind} default/r main.yaml:");
    let errors = file.diagnostics.iter().filter(|diagnostic| diagnostic.level == Level::Error);
    errors.map(|error| error.to_string().strip_prefix(&prefix).expect("code and place").replacen(')', "", 1)).collect()
}

/// Each specification has exactly one error, and it is this.
fn check(kind: &str, table: &[(&str, &str)]) {
    let wrong = table.iter().filter_map(|(spec, want)| {
        let got = errors(kind, spec).join("\n");
        (got != *want).then(|| format!("{spec}\nshould give: {want}\nbut gives:   {got}\n"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

const ROUTE: &str = "route: [{destination: {host: a}}]";

/// The same for rules of a VirtualService.
fn check_rules(table: &[(&str, &str)]) {
    let spec = |rule: &str| format!("hosts: [x.example]\nhttp:\n- {rule}");
    let specs: Vec<(String, &str)> = table.iter().map(|(rule, want)| (spec(rule), *want)).collect();
    let specs: Vec<(&str, &str)> = specs.iter().map(|(spec, want)| (spec.as_str(), *want)).collect();
    check("VirtualService", &specs);
}

#[test]
fn a_line_has_level_code_resource_place_field_message_and_cure() {
    let rule = format!("- timeout: -1s\n  match: [{{statPrefix: x}}]\n  {ROUTE}");
    let text = resource("VirtualService", &format!("hosts: [x.example]\nhttp:\n{rule}"));
    assert_eq!(
        lines(&text),
        [
            "Error [IST0106] (VirtualService default/r main.yaml:7:14) spec.http[0].timeout: must be at least 1ms, found -1s; \
             write a duration such as 0.5s",
            "Warning [TG0002] (VirtualService default/r main.yaml:8:14) spec.http[0].match[0].statPrefix: statPrefix is \
             understood but not honoured yet",
        ]
    );
}

#[test]
fn every_problem_of_a_file_is_told_not_only_the_first() {
    let text = format!(
        "{}---\n{}",
        resource("Gateway", "servers:\n- {port: {number: 70000, name: h, protocol: HTP}, hosts: ['a..b']}"),
        resource("VirtualService", "host: [x]\nhttp:\n- {rout: 1, weight: 2}"),
    );
    let places: Vec<String> =
        lines(&text).iter().map(|line| line.split([')', ':']).skip(1).take(2).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(places, ["6:21", "6:47", "6:61", "12:3", "14:5", "14:6", "14:15"]);
}

#[test]
fn unknown_names_come_with_the_one_that_was_meant() {
    check(
        "VirtualService",
        &[
            (
                "hosts: [x.example]\nhttp: [{route: [{destination: {host: a}}]}]\nexport_to: [.]",
                "7:3 spec.export_to: unknown field; did you mean exportTo?",
            ),
            (
                "hosts: [x.example]\nhttp: [{match: [{uri: {perfix: /}}], route: [{destination: {host: a}}]}]",
                "6:26 spec.http[0].match[0].uri.perfix: unknown field; did you mean prefix?",
            ),
        ],
    );
    check(
        "DestinationRule",
        &[
            (
                "host: a\ntrafficPolicy: {loadBalancer: {simple: RANDON}}",
                "6:42 spec.trafficPolicy.loadBalancer.simple: unknown value \"RANDON\"; did you mean RANDOM?",
            ),
            (
                "host: a\nqwertz: 1",
                "6:3 spec.qwertz: unknown field; known fields are host, trafficPolicy, subsets, exportTo, workloadSelector",
            ),
        ],
    );
    check(
        "Gateway",
        &[(
            "servers: [{port: {number: 80, name: h, protocol: HTPS}, hosts: ['*']}]",
            "5:52 spec.servers[0].port.protocol: unknown protocol \"HTPS\"; did you mean HTTPS?",
        )],
    );
}

#[test]
fn values_of_another_type_are_named_with_what_they_are() {
    check_rules(&[
        (
            "{name: 1, route: [{destination: {host: a}}]}",
            "7:12 spec.http[0].name: must be a string, found number 1; put it in quotes",
        ),
        (
            "{name: on, route: [{destination: {host: a}}]}",
            "7:12 spec.http[0].name: must be a string, found boolean true; put it in quotes",
        ),
        (
            "{route: [{destination: {host: a}, weight: '5'}]}",
            "7:47 spec.http[0].route[0].weight: must be an integer, found string \"5\"; write it without quotes",
        ),
        (
            "{route: [{destination: {host: a}, weight: 50%}, {destination: {host: b}}]}",
            "7:47 spec.http[0].route[0].weight: must be an integer, found string \"50%\"; write 50",
        ),
        (
            "{route: [{destination: {host: a}, weight: fifty}, {destination: {host: b}}]}",
            "7:47 spec.http[0].route[0].weight: must be an integer, found string \"fifty\"",
        ),
        (
            "{timeout: 5, route: [{destination: {host: a}}]}",
            "7:15 spec.http[0].timeout: must be a duration, found number 5; write 5s for seconds",
        ),
        (
            "{match: [{headers: {end-user: jason}}], route: [{destination: {host: a}}]}",
            "7:35 spec.http[0].match[0].headers[\"end-user\"]: must be a mapping, found string \"jason\"; write {exact: \"jason\"}",
        ),
        (
            "{fault: {abort: {httpStatus: 500, percentage: 50}}, route: [{destination: {host: a}}]}",
            "7:51 spec.http[0].fault.abort.percentage: must be a mapping, found number 50; write {value: 50}",
        ),
        (
            "{route: [{destination: {host: a}, weight: 1.5}]}",
            "7:47 spec.http[0].route[0].weight: must be a whole number of at most 2147483647, found number 1.5",
        ),
        (
            "{match: {uri: {}}, route: [{destination: {host: a}}]}",
            "7:13 spec.http[0].match: must be a list, found a mapping",
        ),
        (
            "{match: [~], route: [{destination: {host: a}}]}",
            "7:14 spec.http[0].match[0]: must not be null; remove the entry or fill it in",
        ),
        (
            "{match: [{headers: {x: y}}], route: [{destination: {host: a}}]}",
            "7:28 spec.http[0].match[0].headers[\"x\"]: must be a mapping, found boolean true",
        ),
    ]);
}

#[test]
fn a_rule_does_one_thing() {
    check_rules(&[
        (
            "match: [{uri: {prefix: /}}]",
            "7:5 spec.http[0]: needs one of route, redirect, directResponse and delegate; say what is done with the requests",
        ),
        (
            "{redirect: {uri: /x}, route: [{destination: {host: a}}]}",
            "7:16 spec.http[0].redirect: must not stand beside route; keep one of the two",
        ),
        (
            "{redirect: {uri: /x}, directResponse: {status: 200}}",
            "7:16 spec.http[0].redirect: must not stand beside directResponse; keep one of the two",
        ),
        (
            "{delegate: {name: d}, route: [{destination: {host: a}}]}",
            "7:16 spec.http[0].delegate: must not stand beside route; keep one of the two",
        ),
        (
            "{redirect: {uri: /x}, rewrite: {uri: /y}}",
            "7:36 spec.http[0].rewrite: must not stand beside redirect; keep one of the two",
        ),
        (
            "{directResponse: {status: 200}, fault: {abort: {httpStatus: 500}}}",
            "7:44 spec.http[0].fault: must not stand beside directResponse; keep one of the two",
        ),
        ("{redirect: {}}", "7:16 spec.http[0].redirect: needs one of uri, authority, scheme and port"),
        (
            "{redirect: {uri: /, redirectCode: 200}}",
            "7:39 spec.http[0].redirect.redirectCode: must be 301, 302, 303, 307 or 308, found 200",
        ),
        ("{redirect: {scheme: ftp}}", "7:25 spec.http[0].redirect.scheme: must be http or https, found \"ftp\""),
        (
            "{redirect: {port: 8080, derivePort: FROM_REQUEST_PORT}}",
            "7:23 spec.http[0].redirect.port: must not stand beside derivePort; keep one of the two",
        ),
        ("{directResponse: {}}", "7:22 spec.http[0].directResponse.status: is required; write a status such as 200"),
        (
            "{directResponse: {status: 99}}",
            "7:31 spec.http[0].directResponse.status: must be a status from 200 to 599, found 99",
        ),
        (
            "{directResponse: {status: 200, body: {string: a, bytes: YQ==}}}",
            "7:61 spec.http[0].directResponse.body: must not have both string and bytes; keep one of the two",
        ),
        ("{delegate: {}}", "7:16 spec.http[0].delegate.name: is required; name a VirtualService"),
    ]);
}

#[test]
fn matches_have_conditions_that_can_be_compiled() {
    let rules = [
        (
            "{uri: {regex: '('}}",
            "7:28 spec.http[0].match[0].uri.regex: regex \"(\" can't be compiled: unclosed group; write an expression in RE2's syntax, which has to match the whole text",
        ),
        (
            "{uri: {regex: '*'}}",
            "7:28 spec.http[0].match[0].uri.regex: regex \"*\" can't be compiled: repetition operator missing expression; write an expression in RE2's syntax, which has to match the whole text",
        ),
        (
            "{uri: {exact: /a, prefix: /b}}",
            "7:32 spec.http[0].match[0].uri.prefix: must not stand beside exact; keep one of exact, prefix and regex",
        ),
        (
            "{method: {prefix: ''}}",
            "7:32 spec.http[0].match[0].method.prefix: must not be empty; write {} for any value",
        ),
        (
            "{headers: {'a b': {}}}",
            "7:25 spec.http[0].match[0].headers[\"a b\"]: must be the name of a header, found \"a b\"",
        ),
        ("{port: 70000}", "7:21 spec.http[0].match[0].port: must be a port number from 1 to 65535, found number 70000"),
        (
            "{sourceLabels: {'a b': c}}",
            "7:14 spec.http[0].match[0].sourceLabels[\"a b\"]: must be the key of a label, found \"a b\"; use letters, digits, - _ and .",
        ),
        (
            "{gateways: [a/b/c]}",
            "7:26 spec.http[0].match[0].gateways[0]: the name must be a DNS label (letters, digits and hyphens, at most 63), found \"b/c\"; write NAME or NAMESPACE/NAME",
        ),
    ];
    let rules = rules.map(|(entry, want)| (format!("{{match: [{entry}], {ROUTE}}}"), want));
    check_rules(&rules.each_ref().map(|(rule, want)| (rule.as_str(), *want)));
    let any = format!(
        "hosts: [x.example]\nhttp: [{{match: [{{withoutHeaders: {{a: {{regex: '*'}}}}, uri: {{prefix: ''}}}}], {ROUTE}}}]"
    );
    assert!(errors("VirtualService", &any).is_empty());
}

#[test]
fn destinations_are_services_with_weights() {
    check_rules(&[
        ("{route: [{}]}", "7:14 spec.http[0].route[0].destination: is required; name a host"),
        ("{route: [{destination: {}}]}", "7:28 spec.http[0].route[0].destination.host: is required; name a service"),
        (
            "{route: [{destination: {host: '*'}}]}",
            "7:35 spec.http[0].route[0].destination.host: must not be *; name a service",
        ),
        (
            "{route: [{destination: {host: a_b}}]}",
            "7:35 spec.http[0].route[0].destination.host: must be a host name, found \"a_b\" whose label \"a_b\" is not one; name a service, as reviews or a.example",
        ),
        (
            "{route: [{destination: {host: a, port: {number: 0}}}]}",
            "7:53 spec.http[0].route[0].destination.port.number: must be from 1 to 65535, found 0; write a port from 1 to 65535",
        ),
        (
            "{route: [{destination: {host: a}, weight: -1}]}",
            "7:47 spec.http[0].route[0].weight: must not be negative, found -1; write 0 or more",
        ),
        (
            "{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}",
            "7:47 spec.http[0].route: the weights of several destinations sum to 0; give one of them a weight",
        ),
    ]);
}

#[test]
fn header_changes_name_headers_and_leave_the_authority_in_one_place() {
    check_rules(&[
        (
            &format!("{{headers: {{request: {{remove: [host]}}}}, {ROUTE}}}"),
            "7:35 spec.http[0].headers.request.remove[0]: must not be \"host\", which is not a header that can be changed here",
        ),
        (
            &format!("{{headers: {{response: {{set: {{':status': '1'}}}}}}, {ROUTE}}}"),
            "7:33 spec.http[0].headers.response.set[\":status\"]: must not be \":status\", which is not a header that can be changed here",
        ),
        (
            &format!("{{headers: {{request: {{set: {{x: '50%'}}}}}}, {ROUTE}}}"),
            "7:35 spec.http[0].headers.request.set[\"x\"]: a percent sign begins a command that does not end; write a percent sign that stands for itself as %%",
        ),
        (
            &format!("{{headers: {{request: {{set: {{x: \"a\\nb\"}}}}}}, {ROUTE}}}"),
            "7:35 spec.http[0].headers.request.set[\"x\"]: must not have control characters; write the value on one line",
        ),
        (
            &format!("{{rewrite: {{authority: a}}, headers: {{request: {{set: {{Host: b}}}}}}, {ROUTE}}}"),
            "7:57 spec.http[0].headers.request.set[\"Host\"]: the authority is set already by rewrite.authority; set it in one place",
        ),
        (
            &format!("{{rewrite: {{uri: /a, uriRegexRewrite: {{match: a, rewrite: b}}}}, {ROUTE}}}"),
            "7:42 spec.http[0].rewrite.uriRegexRewrite: must not stand beside uri; keep one of the two",
        ),
        (
            &format!("{{rewrite: {{}}, {ROUTE}}}"),
            "7:15 spec.http[0].rewrite: needs one of uri, uriRegexRewrite and authority",
        ),
    ]);
}

#[test]
fn policies_have_their_limits() {
    check_rules(&[
        (
            &format!("{{timeout: soon, {ROUTE}}}"),
            "7:15 spec.http[0].timeout: must be a duration, found \"soon\"; write a duration such as 1.5s, 250ms or 1m30s",
        ),
        (
            &format!("{{timeout: 0.0015s, {ROUTE}}}"),
            "7:15 spec.http[0].timeout: must be whole milliseconds, found 0.0015s; write a duration such as 0.5s",
        ),
        (
            &format!("{{retries: {{attempts: -1}}, {ROUTE}}}"),
            "7:26 spec.http[0].retries.attempts: must not be negative, found -1; write 0 or more",
        ),
        (
            &format!("{{retries: {{retryOn: 5xx}}, {ROUTE}}}"),
            "7:15 spec.http[0].retries.attempts: is 0, which switches off the retries that are set up here; write how many tries there may be after the first",
        ),
        (
            &format!("{{retries: {{attempts: 1, retryOn: 'reset,gatway-error,503'}}, {ROUTE}}}"),
            "7:38 spec.http[0].retries.retryOn: unknown condition \"gatway-error\"; did you mean gateway-error?",
        ),
        (
            &format!("{{retries: {{attempts: 1, retryOn: '520'}}, {ROUTE}}}"),
            "7:38 spec.http[0].retries.retryOn: unknown condition \"520\"; use statuses that have a name, and some of 5xx, gateway-error, reset, reset-before-request, connect-failure, retriable-4xx, refused-stream, retriable-status-codes, envoy-ratelimited, http3-post-connect-failure, cancelled, deadline-exceeded, internal, resource-exhausted, unavailable, retriable-headers",
        ),
        (
            &format!("{{timeout: 0s, {ROUTE}}}"),
            "7:15 spec.http[0].timeout: must be at least 1ms, found 0s; write a duration such as 0.5s",
        ),
        (
            &format!("{{fault: {{delay: {{percent: 101, fixedDelay: 1s}}}}, {ROUTE}}}"),
            "7:31 spec.http[0].fault.delay.percent: must be from 0 to 100 percent, found 101; write a percentage",
        ),
        (
            &format!("{{fault: {{abort: {{http2Error: X, percentage: {{value: 1}}}}}}, {ROUTE}}}"),
            "7:34 spec.http[0].fault.abort.http2Error: is not supported by Istio; use httpStatus",
        ),
        (
            &format!("{{mirror: {{host: a}}, mirrorPercent: 101, {ROUTE}}}"),
            "7:40 spec.http[0].mirrorPercent: must be from 0 to 100 percent, found 101",
        ),
        (
            &format!("{{mirrors: [{{}}], {ROUTE}}}"),
            "7:16 spec.http[0].mirrors[0].destination: is required; name a host",
        ),
        (&format!("{{fault: {{}}, {ROUTE}}}"), "7:13 spec.http[0].fault: needs one of abort and delay"),
        (
            &format!("{{fault: {{abort: {{percentage: {{value: 101}}, httpStatus: 500}}}}, {ROUTE}}}"),
            "7:42 spec.http[0].fault.abort.percentage.value: must be 0 or from 0.0001 to 100 percent, found 101; write a percentage",
        ),
        (
            &format!("{{fault: {{abort: {{grpcStatus: NOTFOUND}}}}, {ROUTE}}}"),
            "7:34 spec.http[0].fault.abort.grpcStatus: unknown status \"NOTFOUND\"; did you mean NOT_FOUND?",
        ),
        (
            &format!("{{corsPolicy: {{allowOrigins: [{{}}]}}, {ROUTE}}}"),
            "7:34 spec.http[0].corsPolicy.allowOrigins[0]: needs one of exact, prefix and regex; write exact: \"*\" for all origins",
        ),
        (
            &format!("{{corsPolicy: {{allowMethods: [get]}}, {ROUTE}}}"),
            "7:34 spec.http[0].corsPolicy.allowMethods[0]: unknown method \"get\"",
        ),
        (
            &format!("{{mirror: {{host: a}}, mirrorPercentage: {{value: -1}}, {ROUTE}}}"),
            "7:51 spec.http[0].mirrorPercentage.value: must be 0 or from 0.0001 to 100 percent, found -1; write a percentage",
        ),
    ]);
}

#[test]
fn a_virtual_service_has_hosts_unless_it_is_a_delegate() {
    let http = "http: [{route: [{destination: {host: a}}]}]";
    assert!(errors("VirtualService", http).is_empty());
    check(
        "VirtualService",
        &[
            (
                &format!("gateways: [web]\n{http}"),
                "5:3 spec.hosts: is required; write the host names, or remove gateways, tls and tcp from a delegate",
            ),
            ("http: [{delegate: {name: d}}]", "5:21 spec.http[0].delegate: a delegate must not delegate further"),
            ("hosts: [a.example]", "5:3 spec.http: is required; write a rule under http, tls or tcp"),
            (
                &format!("hosts: ['*']\n{http}"),
                "5:11 spec.hosts[0]: must not be * in the mesh; name the hosts, or a gateway other than mesh",
            ),
            (
                &format!("hosts: [a_b]\n{http}"),
                "5:11 spec.hosts[0]: must be a host name, found \"a_b\" whose label \"a_b\" is not one; write a name such as shop.example or *.shop.example",
            ),
            (
                &format!("hosts: [a.*.example]\n{http}"),
                "5:11 spec.hosts[0]: must be a host name, found \"a.*.example\"; a wildcard may only be its first label; write a name such as shop.example or *.shop.example",
            ),
            (
                &format!("hosts: ['*.x.example', a.x.example]\n{http}"),
                "5:26 spec.hosts[1]: \"*.x.example\" and \"a.x.example\" name the same hosts; keep the wider one",
            ),
            (
                &format!("hosts: [a.example]\nexportTo: ['*', a]\n{http}"),
                "6:14 spec.exportTo[0]: \"*\" must stand alone; remove the other entries",
            ),
            (
                &format!("hosts: [a.example]\nexportTo: [., default]\n{http}"),
                "6:17 spec.exportTo[1]: names \"default\" a second time; remove one of them",
            ),
            (
                "hosts: [a.example]\ntls: [{match: [{sniHosts: [b.example]}], route: [{destination: {host: a}}]}]",
                "6:30 spec.tls[0].match[0].sniHosts[0]: \"b.example\" is not among the hosts of the VirtualService; add it to spec.hosts",
            ),
            ("hosts: [a.example]\ntcp: [{}]", "6:9 spec.tcp[0].route: is required; name a destination"),
        ],
    );
}

#[test]
fn gateways_have_servers_with_ports_hosts_and_certificates() {
    let server = |fields: &str| format!("servers: [{{{fields}}}]");
    let port = "port: {number: 80, name: h, protocol: HTTP}";
    let https = "port: {number: 443, name: s, protocol: HTTPS}, hosts: ['*']";
    check(
        "Gateway",
        &[
            ("selector: {a: b}", "5:3 spec.servers: is required; write at least one server"),
            (&server("hosts: ['*']"), "5:13 spec.servers[0].port: is required; write number, name and protocol"),
            (&server(port), "5:13 spec.servers[0].hosts: is required; name the hosts, or write \"*\""),
            (
                &server(&format!("{port}, hosts: [reviews]")),
                "5:67 spec.servers[0].hosts[0]: must be a full host name, found the short name \"reviews\"; write a name such as shop.example, *.shop.example or NAMESPACE/shop.example",
            ),
            (
                &server("port: {number: 80, protocol: HTTP}, hosts: ['*']"),
                "5:20 spec.servers[0].port.name: is required; give the port a name",
            ),
            (
                &server("port: {number: 80, name: h}, hosts: ['*']"),
                "5:20 spec.servers[0].port.protocol: is required; write HTTP, HTTPS, HTTP2, GRPC, TLS or TCP",
            ),
            (
                &server("port: {name: h, protocol: HTTP}, hosts: ['*']"),
                "5:20 spec.servers[0].port.number: is required; write a port from 1 to 65535",
            ),
            (
                &server(&format!("{port}, hosts: ['*'], bind: localhost")),
                "5:79 spec.servers[0].bind: must be an IP address, found \"localhost\"; write an address such as 127.0.0.1",
            ),
            (&server(https), "5:13 spec.servers[0].tls: is required for HTTPS; write mode and credentialName"),
            (
                &server(&format!("{port}, hosts: ['*'], tls: {{mode: SIMPLE, credentialName: c}}")),
                "5:78 spec.servers[0].tls: must not be set for plain HTTP; use protocol HTTPS, or keep only httpsRedirect",
            ),
            (
                &server(&format!("{https}, tls: {{mode: MUTUAL, serverCertificate: /a, privateKey: /b}}")),
                "5:80 spec.servers[0].tls.caCertificates: is required with mode MUTUAL; or write credentialName",
            ),
            (
                &server(&format!("{https}, tls: {{mode: ISTIO_MUTUAL, credentialName: c}}")),
                "5:80 spec.servers[0].tls.credentialName: must not be set with mode ISTIO_MUTUAL, which uses the mesh's certificates; remove it",
            ),
            (
                &format!("servers: [{{{port}, hosts: ['*']}}, {{{port}, hosts: [a.example]}}]"),
                "5:100 spec.servers[1].port.name: \"h\" is the name of an earlier port; give each port its own",
            ),
        ],
    );
    let redirect = server(&format!("{port}, hosts: ['*'], tls: {{httpsRedirect: true}}"));
    assert!(lines(&resource("Gateway", &redirect)).is_empty());
}

#[test]
fn destination_rules_name_hosts_subsets_and_one_way_to_balance() {
    let balancer = |settings: &str| format!("host: a\ntrafficPolicy: {{loadBalancer: {{{settings}}}}}");
    check(
        "DestinationRule",
        &[
            ("subsets: [{name: v1}]", "5:3 spec.host: is required; name a service"),
            (
                "host: a\nsubsets: [{labels: {v: one}}]",
                "6:13 spec.subsets[0].name: is required; give the subset a name",
            ),
            (
                "host: a\nsubsets: [{name: v1}, {name: v1}]",
                "6:32 spec.subsets[1].name: \"v1\" is the name of an earlier subset; give each subset its own",
            ),
            (
                "host: a\nsubsets: [{name: a.b}]",
                "6:20 spec.subsets[0].name: must be a DNS label (letters, digits and hyphens, at most 63), found \"a.b\"",
            ),
            ("host: a\ntrafficPolicy: {}", "6:18 spec.trafficPolicy: must not be empty; remove it or fill it in"),
            (
                &balancer("consistentHash: {httpHeaderName: x, useSourceIp: true}"),
                "6:83 spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp: must not stand beside httpHeaderName; keep one source of the key",
            ),
            (
                &balancer("consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}"),
                "6:90 spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: must be a prime below 5000011, found 100; write a prime such as 65537",
            ),
            (
                &balancer("simple: RANDOM, consistentHash: {useSourceIp: true}"),
                "6:42 spec.trafficPolicy.loadBalancer.simple: must not stand beside consistentHash; keep one of the two",
            ),
            (
                "host: a\ntrafficPolicy: {outlierDetection: {}, loadBalancer: {zoneAwareLbSetting: {failoverPriority: \
                 [version, topology.kubernetes.io/zone]}}}",
                "6:105 spec.trafficPolicy.loadBalancer.zoneAwareLbSetting.failoverPriority[1]: must not be \"topology.kubernetes.io/zone\", as regions and zones count anyway; write failover to order regions",
            ),
            (
                "host: a\ntrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}",
                "6:58 spec.trafficPolicy.outlierDetection.maxEjectionPercent: must be from 0 to 100 percent, found 101; write a percentage",
            ),
            (
                "host: a\ntrafficPolicy: {connectionPool: {tcp: {connectTimeout: 0s}}}",
                "6:58 spec.trafficPolicy.connectionPool.tcp.connectTimeout: must be at least 1ms, found 0s; write a duration such as 0.5s",
            ),
            (
                "host: a\ntrafficPolicy: {connectionPool: {http: {maxRetries: -1}}}",
                "6:55 spec.trafficPolicy.connectionPool.http.maxRetries: must not be negative, found -1; write 0 or more",
            ),
            (
                "host: a\ntrafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /a}}",
                "6:24 spec.trafficPolicy.tls.privateKey: is required with mode MUTUAL; write the path of the file, or credentialName",
            ),
            (
                "host: a\ntrafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: \
                 b}], failoverPriority: [version, topology.kubernetes.io/region]}}}",
                "6:134 spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority[1]: must not be \"topology.kubernetes.io/region\" beside failover, which orders places too; keep one of the two",
            ),
            (
                "host: a\ntrafficPolicy: {connectionPool: {http: {http2KeepAlive: {interval: 1s}}}}",
                "6:59 spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout: is required; write a duration such as 30s",
            ),
            (
                "host: a\nworkloadSelector: {matchLabels: {a: '*'}}",
                "6:21 spec.workloadSelector.matchLabels[\"a\"]: must not have an empty key or a wildcard; name the labels in full",
            ),
            (
                "host: a\ntrafficPolicy: {portLevelSettings: [{loadBalancer: {simple: RANDOM}}]}",
                "6:39 spec.trafficPolicy.portLevelSettings[0].port: is required; write port: {number: 80}",
            ),
        ],
    );
}

#[test]
fn service_entries_fit_their_resolution() {
    let entry =
        |fields: &str| format!("hosts: [a.example]\nports: [{{number: 80, name: http, protocol: HTTP}}]\n{fields}");
    check(
        "ServiceEntry",
        &[
            (
                "ports: [{number: 80, name: http, protocol: HTTP}]",
                "5:3 spec.hosts: is required; name at least one host",
            ),
            ("hosts: ['*']", "5:11 spec.hosts[0]: must not be *; name the hosts, as *.example"),
            (
                &entry("endpoints: [{address: 127.0.0.1}]"),
                "7:15 spec.endpoints: must not be set with resolution NONE; write resolution: STATIC or DNS",
            ),
            (
                &entry("resolution: STATIC\nendpoints: [{address: b.example}]"),
                "8:25 spec.endpoints[0].address: must be an IP address, found \"b.example\"; write resolution: DNS for host names",
            ),
            (
                &entry("resolution: STATIC\nendpoints: [{address: 127.0.0.1, ports: {grpc: 1}}]"),
                "8:44 spec.endpoints[0].ports[\"grpc\"]: \"grpc\" is not a port of the service; use the name of a port under spec.ports",
            ),
            (
                &entry("resolution: STATIC\nendpoints: [{}]"),
                "8:15 spec.endpoints[0].address: is required; write an address",
            ),
            (
                &entry("resolution: STATIC\nendpoints: [{address: 127.0.0.1}]\nworkloadSelector: {labels: {a: b}}"),
                "9:21 spec.workloadSelector: must not stand beside endpoints; keep one of the two",
            ),
            (
                &entry("resolution: DNS\naddresses: [10.0.0.0/8]"),
                "8:15 spec.addresses[0]: must not be a block of addresses unless resolution is NONE or STATIC; name single addresses",
            ),
            (
                &entry("addresses: [10.0.0.0/33]"),
                "7:15 spec.addresses[0]: must be an address or a block of addresses such as 10.0.0.0/8, found \"10.0.0.0/33\"",
            ),
            (
                "hosts: ['*.example']\nresolution: DNS",
                "5:11 spec.hosts[0]: \"*.example\" can't be looked up, as resolution DNS asks; write endpoints, or a host without wildcard",
            ),
            (
                &entry("resolution: DNS\nendpoints: [{network: far}]"),
                "8:15 spec.endpoints[0].address: is required; write an address or a host name",
            ),
            (
                &entry("resolution: DNS\nendpoints: [{address: 'unix:///a'}]"),
                "8:25 spec.endpoints[0].address: must be an IP address or a host name, found \"unix:///a\"",
            ),
            (
                &entry("resolution: DYNAMIC_DNS"),
                "5:11 spec.hosts[0]: must have a wildcard with resolution DYNAMIC_DNS; write resolution: DNS",
            ),
            (
                "hosts: ['*.example']\nresolution: DYNAMIC_DNS\naddresses: [10.0.0.1]",
                "7:15 spec.addresses: must not be set with resolution DYNAMIC_DNS; remove it",
            ),
            (
                "hosts: ['*.example']\nresolution: DYNAMIC_DNS\nports: [{number: 80, name: t, protocol: TCP}]",
                "7:43 spec.ports[0].protocol: must be HTTP, HTTP2, GRPC or TLS with resolution DYNAMIC_DNS",
            ),
            (
                "hosts: [a.example]\nports: [{number: 80, name: http, protocol: HTTP}, {number: 80, name: b, protocol: HTTP}]",
                "6:62 spec.ports[1].number: 80 is the number of an earlier port; remove one of them",
            ),
            (
                "hosts: [a.example, b.example]\nresolution: DNS\nports: [{number: 80, name: t, protocol: TCP}]",
                "5:22 spec.hosts: must be one host only, as a port is neither HTTP nor TLS; make a ServiceEntry for each host",
            ),
        ],
    );
    check(
        "WorkloadEntry",
        &[
            ("labels: {a: b}", "5:3 spec.address: is required; write an address"),
            ("address: unix://x", "5:12 spec.address: must be the absolute path of a socket, found \"x\""),
            ("address: 10.0.0.300", "5:12 spec.address: must be an IP address or a host name, found \"10.0.0.300\""),
        ],
    );
}

#[test]
fn sidecars_are_checked_though_they_are_not_honoured_yet() {
    check(
        "Sidecar",
        &[
            (
                "workloadSelector: {labels: {a: b}}",
                "5:3 spec: must not be empty; write egress, ingress or outboundTrafficPolicy",
            ),
            (
                "egress: [{hosts: [reviews]}]",
                "5:21 spec.egress[0].hosts[0]: must have the form NAMESPACE/HOST, found \"reviews\"",
            ),
            (
                "egress: [{hosts: ['*/*']}, {port: {number: 80}, hosts: ['*/*']}]",
                "5:12 spec.egress[0]: has no port and so must be the last; move it to the end",
            ),
            (
                "ingress: [{port: {number: 80, protocol: HTTP}, tls: {mode: SIMPLE, serverCertificate: a, privateKey: b}}]",
                "5:55 spec.ingress[0].tls: must not be set for plain text; use protocol HTTPS or TLS",
            ),
            (
                "ingress: [{port: {number: 80, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: a}}]",
                "5:87 spec.ingress[0].tls.credentialName: must not be set in a Sidecar; remove it",
            ),
            (
                "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: '*.example', port: {number: 80}}}",
                "5:64 spec.outboundTrafficPolicy.egressProxy.host: must be a single host, found \"*.example\"; name the proxy",
            ),
            (
                "ingress: [{port: {number: 80, protocol: HTTP}, defaultEndpoint: x}]",
                "5:67 spec.ingress[0].defaultEndpoint: must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH, found \"x\"",
            ),
        ],
    );
}

#[test]
fn documents_say_what_they_are() {
    let document = |api: &str, kind: &str| format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: r}}\n");
    for (text, want) in [
        (
            document("networking.istio.io/v2", "Gateway"),
            "Error [TG0003] (main.yaml:1:13) apiVersion: unknown version \"networking.istio.io/v2\"; use networking.istio.io/v1, networking.istio.io/v1beta1 or networking.istio.io/v1alpha3",
        ),
        (
            document("networking.istio.io/v1", "VirtualServic"),
            "Error [TG0003] (main.yaml:2:7) kind: unknown kind \"VirtualServic\" of networking.istio.io; did you mean VirtualService?",
        ),
        (
            document("networkin.istio.io/v1", "Gateway"),
            "Error [TG0003] (main.yaml:2:7) kind: unknown kind \"Gateway\" of networkin.istio.io; \"networkin.istio.io\" is not one of Istio's groups, perhaps networking.istio.io was meant",
        ),
        (
            document("networking.istio.io/v1alpha3", "EnvoyFilter"),
            "Warning [TG0002] (main.yaml:2:7) kind: EnvoyFilter r is understood but not honoured yet",
        ),
        (
            document("gateway.networking.k8s.io/v1", "HTTPRoute"),
            "Warning [TG0002] (main.yaml:2:7) kind: HTTPRoute r is understood but not honoured yet",
        ),
        (
            "kind: Pod\nmetadata: {name: r}\n".to_owned(),
            "Error [IST0106] (main.yaml:1:1) apiVersion: is required; every document needs apiVersion and kind",
        ),
        (
            "apiVersion: v1\nkind: Pod\n".to_owned(),
            "Error [IST0106] (main.yaml:1:1) metadata.name: is required; give the resource a name",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {on: 1}}\n".to_owned(),
            "Error [IST0106] (main.yaml:3:34) metadata.labels[\"true\"]: must be a string, found number 1; put it in quotes",
        ),
        ("[1]\n".to_owned(), "Error [IST0106] (main.yaml:1:1) must be a mapping, found a list"),
        (
            "a: [\n".to_owned(),
            "Error [TG0001] (main.yaml:2:1) while parsing a node, did not find expected node content",
        ),
    ] {
        assert_eq!(lines(&text), [want], "{text}");
    }
    for (api, kind) in [("apps/v1", "Deployment"), ("v1", "ServiceAccount"), ("example.com/v1", "Gateway")] {
        assert!(lines(&document(api, kind)).is_empty(), "{kind}");
    }
}

#[test]
fn localities_of_a_distribution_are_told_apart() {
    let from = |entries: &str| {
        format!("host: a\ntrafficPolicy: {{loadBalancer: {{localityLbSetting: {{distribute: [{entries}]}}}}}}")
    };
    const AT: &str = "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute";
    let overlap = format!("6:103 {AT}[1].from: overlaps with \"r1/*\" before it; name each place once");
    let empty = format!("6:74 {AT}[0].from: must not have an empty part; write region/zone/subzone or region/*");
    let inner = format!("6:74 {AT}[0].from: must have its wildcard at the end; write region/zone/subzone or region/*");
    let twice = format!("6:91 {AT}[0].to[\"r2/z1\"]: overlaps with \"r2\" before it; name each place once");
    let sum = format!("6:67 {AT}[0].to: must sum to 100 percent, found 90");
    check(
        "DestinationRule",
        &[
            (&from("{from: r1/*, to: {r2: 100}}, {from: '*', to: {r3: 100}}"), ""),
            (&from("{from: r1/*, to: {r2: 100}}, {from: r1, to: {r3: 100}}"), &overlap),
            (&from("{from: r1/*, to: {r2: 100}}, {from: r2/z1, to: {r3/z1: 60, r3/z2: 40}}"), ""),
            (&from("{from: r1//s1, to: {r2: 100}}"), &empty),
            (&from("{from: r1/*/s1, to: {r2: 100}}"), &inner),
            (&from("{from: r1, to: {r2: 60, r2/z1: 40}}"), &twice),
            (&from("{from: r1, to: {r2: 60, r3: 30}}"), &sum),
        ],
    );
}

#[test]
fn budgets_and_error_codes_have_their_ranges() {
    check(
        "DestinationRule",
        &[
            (
                "host: a\ntrafficPolicy: {retryBudget: {percent: 101}}",
                "6:42 spec.trafficPolicy.retryBudget.percent: must be from 0 to 100 percent, found 101; write a percentage",
            ),
            (
                "host: a\ntrafficPolicy: {outlierDetection: {outlierDetectionHttpErrorCodes: [429, 600]}}",
                "6:76 spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[1]: must be from 100 to 599, found 600; write a status code",
            ),
            (
                "host: a\ntrafficPolicy: {connectionPool: {http: {http2KeepAlive: {interval: 0s, timeout: 1s}}}}",
                "6:70 spec.trafficPolicy.connectionPool.http.http2KeepAlive.interval: must be at least 1ms, found 0s; write a duration such as 0.5s",
            ),
        ],
    );
}

#[test]
fn a_policy_without_effect_is_a_warning() {
    let table = [
        (
            "loadBalancer: {localityLbSetting: {enabled: true}}",
            "localityLbSetting: has no effect without outlierDetection",
        ),
        ("loadBalancer: {localityLbSetting: {enabled: false}}", ""),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: r1, to: {r2: 100}}]}}", ""),
        ("loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r2}]}}, outlierDetection: {}", ""),
        ("loadBalancer: {zoneAwareLbSetting: {enabled: true}}", ""),
        (
            "loadBalancer: {zoneAwareLbSetting: {failover: [{from: r1, to: r2}]}}",
            "zoneAwareLbSetting.failover: has no effect without outlierDetection",
        ),
        (
            "loadBalancer: {zoneAwareLbSetting: {failoverPriority: [version]}}",
            "zoneAwareLbSetting.failoverPriority: has no effect without outlierDetection",
        ),
        ("loadBalancer: {simple: PASSTHROUGH}", "simple: leaves a gateway without endpoints"),
        ("loadBalancer: {simple: RANDOM, warmupDurationSecs: 1s}", "warmupDurationSecs: has no effect beside RANDOM"),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true}, warmup: {duration: 1s}}",
            "warmup: has no effect beside consistent",
        ),
        (
            "loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 2s}",
            "warmupDurationSecs: has no effect beside warmup",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 9000000}}}",
            "ringHash: is more than the 8388608 that a ring can have",
        ),
        (
            "outlierDetection: {consecutiveGatewayErrors: 5}",
            "consecutiveGatewayErrors: has no effect: 5 errors of any kind",
        ),
        ("outlierDetection: {consecutiveGatewayErrors: 4}", ""),
        ("outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 9}", ""),
        ("outlierDetection: {consecutive5xxErrors: 0}", "outlierDetection: ejects nobody: no errors are counted"),
        ("outlierDetection: {consecutive5xxErrors: 0, splitExternalLocalOriginErrors: true}", ""),
        ("outlierDetection: {consecutiveErrors: 3}", "consecutiveErrors: is deprecated and has no effect"),
        (
            "retryBudget: {percent: 5}, connectionPool: {http: {maxRetries: 3}}",
            "maxRetries: has no effect beside retryBudget",
        ),
        (
            "portLevelSettings: [{port: {number: 80}, outlierDetection: {}}, {port: {number: 80}, connectionPool: {tcp: {}}}]",
            "portLevelSettings[1].port: has no effect: earlier settings are for port 80 too",
        ),
    ];
    for (policy, want) in table {
        let got = lines(&resource("DestinationRule", &format!("host: a\ntrafficPolicy: {{{policy}}}"))).join("\n");
        assert!(if want.is_empty() { got.is_empty() } else { got.contains(want) }, "{policy} gives: {got}");
        assert!(!got.contains('\n') && !got.starts_with("Error"), "{policy} gives: {got}");
    }
    let of_subset = "host: a\ntrafficPolicy: {outlierDetection: {}}\nsubsets: [{name: b, labels: {v: b}, trafficPolicy: \
                     {loadBalancer: {localityLbSetting: {enabled: true}}}}]";
    assert_eq!(lines(&resource("DestinationRule", of_subset)), [""; 0], "the rule's ejection is the subset's too");
}

#[test]
fn every_field_of_a_policy_is_honoured() {
    let all = "host: a\nworkloadSelector: {matchLabels: {a: b}}\nexportTo: ['.']\ntrafficPolicy:\n  loadBalancer: \
               {consistentHash: {httpCookie: {name: c, attributes: [{name: a}]}, maglev: {tableSize: 7}}, localityLbSetting: \
               {}}\n  connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s, tcpKeepalive: {probes: 1}, \
               maxConnectionDuration: 1s, idleTimeout: 1s}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 1, \
               maxRequestsPerConnection: 1, idleTimeout: 1s, h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 1, \
               http2KeepAlive: {interval: 1s, timeout: 1s}}}\n  outlierDetection: {outlierDetectionHttpErrorCodes: [500]}\n  retryBudget: \
               {budgetInterval: 1s}\n  tunnel: {targetHost: a.b, targetPort: 1}\n  portLevelSettings: [{port: {number: 80}, tls: \
               {mode: SIMPLE}, connectionPool: {http: {useClientProtocol: true}}, loadBalancer: {zoneAwareLbSetting: {}}}]";
    let lines = lines(&resource("DestinationRule", all));
    let said =
        lines.iter().filter_map(|line| line.split(": ").nth(1)?.strip_suffix(" is understood but not honoured yet"));
    assert_eq!(said.collect::<Vec<_>>(), [""; 0], "{lines:#?}");
}

#[test]
fn what_istio_only_warns_of_is_a_warning() {
    for (kind, spec, want) in [
        (
            "VirtualService",
            "hosts: [a.example]\ngateways: [web.istio-system.svc]\nhttp: [{route: [{destination: {host: a}}]}]",
            "Warning [IST0133] (VirtualService default/r main.yaml:6:14) spec.gateways[0]: has an old form for a gateway; write istio-system/web",
        ),
        (
            "VirtualService",
            "hosts: [a.example]\ngateways: [web]\nhttp: [{match: [{headers: {'@request.auth.claims.sub': {}}}], route: [{destination: {host: a}}]}]",
            "Warning [TG0002] (VirtualService default/r main.yaml:7:30) spec.http[0].match[0].headers[\"@request.auth.claims.sub\"]: routing by claims of a token is understood but not honoured yet",
        ),
        (
            "VirtualService",
            "hosts: [a.example]\nhttp: [{fault: {abort: {httpStatus: 500}}, route: [{destination: {host: a}}]}]",
            "Warning [IST0133] (VirtualService default/r main.yaml:6:26) spec.http[0].fault.abort: has no percentage, which counts as 0, so that nothing happens; write percentage: {value: 100} for all requests",
        ),
        (
            "VirtualService",
            "hosts: [a.example]\nhttp: [{fault: {delay: {fixedDelay: 1s}}, route: [{destination: {host: a}}]}]",
            "Warning [IST0133] (VirtualService default/r main.yaml:6:26) spec.http[0].fault.delay: has no percentage, which counts as 0, so that nothing happens; write percentage: {value: 100} for all requests",
        ),
        (
            "VirtualService",
            "hosts: [a.example]\nhttp: [{fault: {abort: {percentage: {value: 1}}}, route: [{destination: {host: a}}]}]",
            "Warning [IST0133] (VirtualService default/r main.yaml:6:26) spec.http[0].fault.abort: has neither httpStatus nor grpcStatus",
        ),
        (
            "VirtualService",
            "hosts: [a.example]\nhttp: [{timeout: 1s, retries: {attempts: 1, perTryTimeout: 1s}, route: [{destination: {host: a}}]}]",
            "Warning [IST0133] (VirtualService default/r main.yaml:6:62) spec.http[0].retries.perTryTimeout: has no effect: all tries together have 1s; write less than timeout",
        ),
        (
            "VirtualService",
            "hosts: [a.example]\nhttp: [{redirect: {uri: /x}, corsPolicy: {allowOrigins: [{exact: '*'}]}}]",
            "Warning [IST0133] (VirtualService default/r main.yaml:6:44) spec.http[0].corsPolicy: has no effect beside redirect",
        ),
        (
            "VirtualService",
            "hosts: [a.example]\ntcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: a}}]}]",
            "Warning [IST0133] (VirtualService default/r main.yaml:6:33) spec.tcp[0].match[0].sourceSubnet: is looked at by nobody, as in Istio; a sidecar's clients are those of its own pod: match by sourceLabels or sourceNamespace",
        ),
    ] {
        assert_eq!(lines(&resource(kind, spec)), [want], "{spec}");
    }
}

#[test]
fn policies_that_are_in_force_give_no_warning() {
    let rule = "{timeout: 2s, retries: {attempts: 1, perTryTimeout: 1s, retryOn: '5xx,503', retryRemoteLocalities: true, \
        retryIgnorePreviousHosts: false, backoff: 10ms}, fault: {abort: {percentage: {value: 1}, httpStatus: 500}, delay: \
        {percent: 1, fixedDelay: 1s}}, mirror: {host: b}, mirrorPercentage: {value: 1}, corsPolicy: {allowOrigins: \
        [{exact: '*'}], maxAge: 1h, unmatchedPreflights: IGNORE}, route: [{destination: {host: a}}]}";
    let text = resource("VirtualService", &format!("hosts: [a.example]\nhttp: [{rule}]"));
    assert_eq!(lines(&text), [""; 0]);
}

#[test]
fn the_scope_of_a_fault_is_the_request_or_the_attempt() {
    let with = |scope: &str| {
        let text = resource("VirtualService", &format!("hosts: [a.example]\nhttp: [{{{ROUTE}}}]"));
        text.replace("metadata: {", &format!("metadata: {{annotations: {{tidegate.io/fault-scope: {scope}}}, "))
    };
    assert!(lines(&with("attempt")).is_empty() && lines(&with("request")).is_empty());
    let found = lines(&with("try"));
    assert!(found[0].contains("must be request or attempt, found \"try\"; it counts as request"), "{found:?}");
}

#[test]
fn mesh_config_keeps_its_lines_within_the_config_map() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |-\n    \
        accessLogFile: /dev/stdout\n    pathNormalization: {normalization: BASS}\n    ingressClass: x\n    \
        accessLogFormat: \"%BOGUS%\"\n  meshNetworks: 'x'\n";
    assert_eq!(
        lines(text),
        [
            "Error [IST0106] (ConfigMap istio-system/istio main.yaml:7:40) data.mesh.pathNormalization.normalization: unknown \
             value \"BASS\"; did you mean BASE?",
            "Warning [TG0004] (ConfigMap istio-system/istio main.yaml:8:5) data.mesh.ingressClass: is not read here",
            "Error [IST0106] (ConfigMap istio-system/istio main.yaml:9:22) data.mesh.accessLogFormat: %BOGUS% is not a command \
             that is known here; write a percent sign that stands for itself as %%",
        ]
    );
}

#[test]
fn a_command_of_envoy_s_that_is_lacking_here_is_a_warning_that_names_it() {
    let mesh = |settings: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |-\n    {settings}\n"
        )
    };
    let line = "Warning [TG0002] (ConfigMap istio-system/istio main.yaml:6:22) data.mesh.accessLogFormat: \
        %DYNAMIC_METADATA(a:b)% is understood but not honoured yet; its value is - in a line, null in JSON";
    assert_eq!(lines(&mesh("accessLogFormat: \"%DYNAMIC_METADATA(a:b)% %PROTOCOL%\"")), [line]);
    let json = "accessLogFormat: '{\"a\": \"%DYNAMIC_METADATA(a:b)%\"}'\n    accessLogEncoding: JSON";
    assert_eq!(lines(&mesh(json)), [line]);
    let route = format!(
        "hosts: [x.example]\nhttp:\n- headers: {{request: {{set: {{x-tls: \"%UPSTREAM_PROTOCOL%\"}}}}}}\n  {ROUTE}"
    );
    let found = lines(&resource("VirtualService", &route));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("Warning [TG0002]"), "{found:?}");
    assert!(
        found[0].ends_with("%UPSTREAM_PROTOCOL% is understood but not honoured yet; nothing is written in its place"),
        "{found:?}"
    );
}

#[test]
fn a_snippet_points_at_the_place() {
    let text = resource("VirtualService", &format!("hosts: [x.example]\nhttp:\n- timeout: -1s\n  {ROUTE}"));
    let file = ParsedFile::parse("main.yaml", &text, None);
    let error = file.diagnostics.iter().find(|diagnostic| diagnostic.level == Level::Error).unwrap();
    let drawn = error.render(&text, false);
    assert_eq!(drawn, format!("{error}\n  |\n7 |   - timeout: -1s\n  |              ^^^"));
    let colored = error.render(&text, true);
    assert!(colored.starts_with("\x1b[31m\x1b[1mError\x1b[0m [IST0106]") && colored.ends_with("\x1b[31m^^^\x1b[0m"));
    assert_eq!(error.render("", false), error.to_string());
}

#[test]
fn json_has_the_keys_of_istioctl_and_ours() {
    let text = resource("DestinationRule", "hosst: a\nhost: b");
    let file = ParsedFile::parse("main.yaml", &text, None);
    assert_eq!(
        serde_json::to_value(&file.diagnostics).unwrap(),
        serde_json::json!([{
            "code": "IST0106",
            "level": "Error",
            "message": "unknown field",
            "origin": "DestinationRule default/r",
            "reference": null,
            "documentationUrl": "docs/diagnostics.md#ist0106",
            "file": "main.yaml",
            "line": 5,
            "column": 3,
            "field": "spec.hosst",
            "hint": "did you mean host?",
        }])
    );
}

/// The table of `docs/diagnostics.md`, as the registry has it.
fn table() -> String {
    let rows = Code::ALL.iter().map(|code| {
        format!("| <a id=\"{}\"></a>{code} | {} |\n", code.as_str().to_ascii_lowercase(), code.description())
    });
    format!("| Code | Meaning |\n| --- | --- |\n{}", rows.collect::<String>())
}

#[test]
fn the_documentation_lists_every_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/diagnostics.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&table()), "the table of {path} should be:\n{}", table());
    for code in Code::ALL {
        assert_eq!(Code::from_name(&code.as_str().to_lowercase()), Some(*code));
        assert!(text.contains(&format!("id=\"{}\"", code.documentation().rsplit('#').next().unwrap())));
    }
}
