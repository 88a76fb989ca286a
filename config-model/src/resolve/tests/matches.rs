//! Every kind of match, alone and through a delegate.

use super::*;

/// Route lines of rules, given as the items of `http`.
fn lines_of(rules: &str) -> Vec<String> {
    let spec = format!("{{hosts: ['*'], gateways: [web], http: [{rules}]}}");
    route_lines(&format!("{WEB}{REVIEWS}{}", virtual_service("{name: v}", &spec)))
}

fn answer(entry: &str, body: &str) -> String {
    format!("{{match: [{entry}], directResponse: {{status: 200, body: {{string: {body}}}}}}}")
}

#[test]
fn every_condition_of_an_entry_is_kept() {
    let table = [
        ("{uri: {exact: /a}}", "=/a => x"),
        ("{uri: {prefix: /a}}", "/a* => x"),
        ("{uri: {regex: '/items/[0-9]+'}}", "//items/[0-9]+/ => x"),
        ("{uri: {exact: /Ab}, ignoreUriCase: true}", "=~/ab => x"),
        ("{uri: {prefix: /Ab}, ignoreUriCase: true}", "~/ab* => x"),
        ("{uri: {regex: '/Ab.*'}, ignoreUriCase: true}", "//Ab.*/ => x"),
        ("{uri: {prefix: /}}", "any => x"),
        ("{uri: {}}", "any => x"),
        ("{method: {exact: GET}}", "any method=GET => x"),
        ("{authority: {prefix: b.}}", "any authority=b.* => x"),
        ("{scheme: {exact: https}}", "any scheme=https => x"),
        ("{headers: {X-User: {exact: Jason}}}", "any x-user=Jason => x"),
        ("{headers: {x-a: {}, x-b: {regex: '[a-c]+'}}}", "any x-a x-b=/[a-c]+/ => x"),
        ("{withoutHeaders: {X-No: {}}}", "any not(x-no) => x"),
        ("{withoutHeaders: {x-no: {exact: bad}}}", "any not(x-no=bad) => x"),
        ("{queryParams: {Num: {prefix: '1'}}}", "any ?Num=1* => x"),
        (
            "{uri: {prefix: /a}, queryParams: {q: {}}, headers: {h: {}}, scheme: {exact: http}, method: {exact: PUT}}",
            "/a* method=PUT scheme=http h ?q => x",
        ),
    ];
    for (entry, want) in table {
        assert_eq!(lines_of(&answer(entry, "x")), [want], "{entry}");
    }
}

#[test]
fn each_entry_is_a_route_and_a_catch_all_ends_the_list() {
    let entries = "{uri: {prefix: /a}}, {uri: {prefix: /b}, headers: {h: {}}}, {uri: {prefix: /}}, {uri: {prefix: /c}}";
    let rules = format!("{}, {}", answer(entries, "x"), answer("{uri: {prefix: /d}}", "z"));
    assert_eq!(lines_of(&rules), ["/a* => x", "/b* h => x", "any => x"]);
}

#[test]
fn a_condition_on_method_authority_or_scheme_makes_no_catch_all() {
    for entry in ["{method: {exact: GET}}", "{authority: {exact: a}}", "{scheme: {exact: http}}", "{headers: {a: {}}}"]
    {
        let rules = format!("{}, {}", answer(entry, "x"), answer("{uri: {prefix: /d}}", "z"));
        assert_eq!(lines_of(&rules).len(), 2, "{entry}");
    }
}

#[test]
fn entries_for_other_ports_gateways_labels_and_namespaces_are_left_out() {
    let front = Proxy { labels: labels(&[("istio", "ingressgateway"), ("tier", "front")]), ..gateway() };
    let table = [
        ("{port: 80}", true),
        ("{port: 81}", false),
        ("{gateways: [web]}", true),
        ("{gateways: [default/web]}", true),
        ("{gateways: [other]}", false),
        ("{gateways: [mesh]}", false),
        ("{sourceLabels: {tier: front}}", true),
        ("{sourceLabels: {tier: back}}", false),
        ("{sourceNamespace: default}", true),
        ("{sourceNamespace: far}", false),
        ("{gateways: [web], sourceLabels: {tier: back}, sourceNamespace: far}", true),
        ("{port: 81, gateways: [web]}", false),
    ];
    for (entry, want) in table {
        let spec = format!("{{hosts: ['*'], gateways: [web], http: [{}]}}", answer(entry, "x"));
        let text = format!("{WEB}{}", virtual_service("{name: v}", &spec));
        let model = resolve(&set(&text), &front).model;
        assert_eq!(summary(&model).contains("=> x"), want, "{entry}");
    }
}

#[test]
fn routes_differ_between_ports_and_gateways_where_entries_say_so() {
    let two = format!("{WEB}{}", WEB.replace("name: web", "name: two").replace("number: 80", "number: 81"));
    let rules = [
        answer("{port: 81}", "by-port"),
        answer("{gateways: [web], uri: {prefix: /x}}", "by-gateway"),
        "{directResponse: {status: 200, body: {string: rest}}}".to_owned(),
    ];
    let spec = format!("{{hosts: ['*'], gateways: [web, two], http: [{}]}}", rules.join(", "));
    let want = "
        0.0.0.0:80 http.80
          *
            /x* => by-gateway
            any => rest
        0.0.0.0:81 http.81
          *
            any => by-port
        ";
    let model = resolved(&format!("{two}{}", virtual_service("{name: v}", &spec))).model;
    assert_eq!(summary(&model), dedent(want));
}

#[test]
fn names_of_routes_and_entries_are_joined() {
    let table = [
        ("name: rule, match: [{uri: {prefix: /a}, name: entry}]", Some("rule.entry")),
        ("name: rule, match: [{uri: {prefix: /a}}]", Some("rule")),
        ("match: [{uri: {prefix: /a}, name: entry}]", Some(".entry")),
        ("match: [{uri: {prefix: /a}}]", None),
        ("name: rule", Some("rule")),
    ];
    for (rule, want) in table {
        let spec = format!("{{hosts: ['*'], gateways: [web], http: [{{{rule}, directResponse: {{status: 200}}}}]}}");
        let model = resolved(&format!("{WEB}{}", virtual_service("{name: v}", &spec))).model;
        assert_eq!(model.route_configurations[0].virtual_hosts[0].routes[0].name.as_deref(), want, "{rule}");
    }
}

/// Root rules of a VirtualService for every host, and those of its delegate `team/part`.
fn delegated(root: &str, delegate: &str) -> String {
    let root = format!("{{hosts: ['*'], gateways: [web], http: [{root}]}}");
    let part = virtual_service("{name: part, namespace: team}", delegate);
    format!("{WEB}{}{part}", virtual_service("{name: root}", &root))
}

const TO_PART: &str = "delegate: {name: part, namespace: team}";

#[test]
fn matches_of_root_and_delegate_are_joined_and_contradictions_are_dropped() {
    let table = [
        ("{uri: {prefix: /r}}", "{uri: {prefix: /r/new}}", "/r/new* => x"),
        ("{uri: {prefix: /r}}", "{uri: {exact: /r/new}}", "=/r/new => x"),
        ("{uri: {prefix: /r}}", "{uri: {prefix: /other}}", ""),
        ("{uri: {exact: /r}}", "{uri: {exact: /r}}", "=/r => x"),
        ("{uri: {exact: /r}}", "{uri: {prefix: /r}}", ""),
        ("{uri: {prefix: /r}}", "{uri: {regex: '/r/.*'}}", ""),
        ("{uri: {regex: '/r/.*'}}", "{headers: {a: {}}}", "//r/.*/ a => x"),
        ("{uri: {prefix: /r}}", "{headers: {a: {exact: b}}}", "/r* a=b => x"),
        ("{headers: {a: {exact: b}}}", "{headers: {a: {exact: b}, c: {}}}", "any a=b c => x"),
        ("{headers: {a: {exact: b}}}", "{headers: {a: {exact: d}}}", ""),
        ("{headers: {a: {}}}", "{headers: {b: {}}}", "any b a => x"),
        ("{queryParams: {a: {prefix: b}}}", "{queryParams: {a: {exact: bc}}}", "any ?a=bc => x"),
        ("{method: {exact: GET}}", "{uri: {prefix: /r}}", "/r* method=GET => x"),
        ("{port: 80}", "{port: 81}", ""),
        ("{port: 80}", "{uri: {prefix: /r}}", "/r* => x"),
        ("{uri: {prefix: /R}, ignoreUriCase: true}", "{uri: {prefix: /R/x}}", ""),
        ("{sourceLabels: {istio: ingressgateway}}", "{sourceLabels: {istio: other}}", ""),
        ("{gateways: [web]}", "{gateways: [default/web]}", "any => x"),
        ("{gateways: [web]}", "{gateways: [web]}", ""),
        (
            "{uri: {prefix: /a}}, {uri: {prefix: /b}}",
            "{uri: {prefix: /a/x}}, {uri: {prefix: /b/x}}",
            "/a/x* => x, /b/x* => x",
        ),
        ("{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{headers: {h: {}}}", "/a* h => x, /b* h => x"),
        ("{uri: {prefix: /a}}", "{uri: {prefix: /a/x}}, {uri: {prefix: /b}}", ""),
    ];
    for (root, delegate, want) in table {
        let root_rule = format!("{{match: [{root}], {TO_PART}}}");
        let text = delegated(&root_rule, &format!("{{http: [{}]}}", answer(delegate, "x")));
        assert_eq!(route_lines(&text).join(", "), want, "{root} with {delegate}");
    }
}

#[test]
fn rules_of_a_delegate_stand_at_the_roots_place() {
    let root = format!("{{match: [{{uri: {{prefix: /r}}}}], {TO_PART}}}, {}", answer("{uri: {prefix: /}}", "rest"));
    let part = format!(
        "{{http: [{}, {}, {{directResponse: {{status: 200, body: {{string: all}}}}}}]}}",
        answer("{uri: {prefix: /r/new}}", "new"),
        answer("{uri: {prefix: /other}}", "never")
    );
    let text = delegated(&root, &part);
    assert_eq!(route_lines(&text), ["/r/new* => new", "/r* => all", "any => rest"]);
    let model = resolved(&text).model;
    let routes = &model.route_configurations[0].virtual_hosts[0].routes;
    let ids: Vec<&str> = routes.iter().map(|route| &*route.id).collect();
    assert_eq!(
        ids,
        [
            "default/root/http[0]/match[0]>team/part/http[0]/match[0]",
            "default/root/http[0]/match[0]>team/part/http[2]",
            "default/root/http[1]/match[0]"
        ]
    );
    assert_eq!(&*routes[0].origin.resource.name, "part");
    assert_eq!(&*routes[1].matcher.conditions, []);
}

#[test]
fn a_delegate_that_cannot_be_used_costs_its_own_rule_only() {
    let rest = answer("{uri: {prefix: /x}}", "rest");
    let root = format!("{{match: [{{uri: {{prefix: /r}}}}], {TO_PART}}}, {rest}");
    let inner = answer("{headers: {a: {}}}", "part");
    let table = [
        ("there", format!("{{http: [{inner}]}}"), "/r* a => part, /x* => rest"),
        ("not exported", format!("{{exportTo: ['.'], http: [{inner}]}}"), "/x* => rest"),
        ("exported by name", format!("{{exportTo: [default], http: [{inner}]}}"), "/r* a => part, /x* => rest"),
        ("with hosts", format!("{{hosts: [a.example], http: [{inner}]}}"), "/x* => rest"),
    ];
    for (case, part, want) in table {
        let text = delegated(&root, &part);
        assert_eq!(route_lines(&text).join(", "), want, "{case}");
        assert_eq!(resolved(&text).diagnostics.len(), usize::from(!want.contains("part")), "{case}");
    }
    let missing = delegated(&root.replace("name: part", "name: gone"), &format!("{{http: [{inner}]}}"));
    assert_eq!(route_lines(&missing), ["/x* => rest"]);
}

#[test]
fn what_a_delegate_leaves_open_is_the_roots() {
    let root = format!(
        "{{match: [{{uri: {{prefix: /r}}}}], name: root, rewrite: {{uri: /n}}, retries: {{attempts: 7}}, {TO_PART}}}"
    );
    let text = format!(
        "{REVIEWS}{}",
        delegated(&root, "{http: [{name: own, route: [{destination: {host: reviews.default.svc.cluster.local}}]}]}")
    );
    assert_eq!(route_lines(&text), ["/r* => 1 9080||reviews, 2->/n"]);
    let model = resolved(&text).model;
    let route = &model.route_configurations[0].virtual_hosts[0].routes[0];
    assert_eq!(route.name.as_deref(), Some("root-own"));
    let Action::Forward(forward) = &route.action else { panic!("a forward") };
    assert_eq!(forward.retry.attempts, 7);
}
