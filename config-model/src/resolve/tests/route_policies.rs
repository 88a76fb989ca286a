//! Time-outs, retries, faults, mirrors and CORS of routes.

use std::time::Duration;

use super::*;
use crate::model::{AbortStatus, Fraction, GRPC_STATUS_NAMES, Mirror, RetryConditions, RetryPolicy};

const TO: &str = "route: [{destination: {host: reviews}}]";

fn forward_of(rule: &str) -> Forward {
    forward_in(&route_of(&format!("{rule}{TO}")))
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A ConfigMap with this MeshConfig.
fn mesh(config: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: '{config}'}}\n---\n"
    )
}

#[test]
fn there_is_no_time_out_unless_it_is_set() {
    for (rule, want) in [("", None), ("timeout: 0.5s, ", Some(millis(500))), ("timeout: 1m, ", Some(millis(60_000)))] {
        assert_eq!(forward_of(rule).timeout, want, "{rule}");
    }
}

#[test]
fn retries_are_istios_default_unless_the_rule_says_otherwise() {
    let default = RetryPolicy::istio_default;
    let conditions = |words: &[&str]| {
        words
            .iter()
            .filter_map(|word| RetryConditions::from_word(word))
            .fold(RetryConditions::default(), |all, one| all.with(one))
    };
    let table = [
        ("", default()),
        ("retries: {attempts: 0}", RetryPolicy { attempts: 0, ..default() }),
        ("retries: {attempts: 5}", RetryPolicy { attempts: 5, ..default() }),
        (
            "retries: {attempts: 1, perTryTimeout: 0.3s, retryOn: '5xx,reset'}",
            RetryPolicy {
                attempts: 1,
                per_try_timeout: Some(millis(300)),
                conditions: conditions(&["5xx", "reset"]),
                ..default()
            },
        ),
        // Codes alone switch on the word that makes them count.
        (
            "retries: {attempts: 1, retryOn: '429,503'}",
            RetryPolicy {
                attempts: 1,
                conditions: RetryConditions::STATUS_CODES,
                status_codes: vec![429, 503],
                ..default()
            },
        ),
        (
            "retries: {attempts: 2, retryRemoteLocalities: true, retryIgnorePreviousHosts: false, backoff: 1s}",
            RetryPolicy { remote_localities: true, ignore_previous_hosts: false, back_off: millis(1000), ..default() },
        ),
    ];
    for (rule, want) in table {
        let rule = if rule.is_empty() { String::new() } else { format!("{rule}, ") };
        assert_eq!(*forward_of(&rule).retry, want, "{rule}");
    }
}

#[test]
fn the_meshs_default_holds_where_a_rule_says_nothing() {
    let one = |rule: &str| {
        let spec = format!("{{hosts: ['*'], gateways: [web], http: [{{{rule}{TO}}}]}}");
        let policy = "defaultHttpRetryPolicy: {attempts: 7, retryOn: reset}";
        let text = format!("{}{WEB}{REVIEWS}{}", mesh(policy), virtual_service("{name: v}", &spec));
        forward_in(&first_route(&text)).retry
    };
    let default = one("");
    assert_eq!((default.attempts, default.conditions), (7, RetryConditions::RESET));
    // What a rule leaves open is Istio's default, not the mesh's.
    let own = one("retries: {attempts: 3}, ");
    assert_eq!((own.attempts, own.conditions), (3, RetryConditions::ISTIO_DEFAULT));
}

#[test]
fn routes_with_the_same_retries_share_them() {
    let rule = |path: &str, retries: &str| format!("{{match: [{{uri: {{prefix: {path}}}}}], {retries}{TO}}}");
    let rules = [
        rule("/a", ""),
        rule("/b", ""),
        rule("/c", "retries: {attempts: 5}, "),
        rule("/d", "retries: {attempts: 5}, "),
    ];
    let spec = format!("{{hosts: ['*'], gateways: [web], http: [{}]}}", rules.join(", "));
    let model = resolved(&format!("{WEB}{REVIEWS}{}", virtual_service("{name: v}", &spec))).model;
    let routes = &model.route_configurations[0].virtual_hosts[0].routes;
    let retries: Vec<_> = routes.iter().map(|route| forward_in(route).retry).collect();
    assert!(Arc::ptr_eq(&retries[0], &retries[1]) && Arc::ptr_eq(&retries[2], &retries[3]));
}

#[test]
fn a_route_without_policies_has_room_for_none() {
    assert_eq!(route_of(TO).policy, None);
    // Thousands of these are held: what is rare goes behind a pointer.
    assert!(size_of::<Route>() <= 416, "{}", size_of::<Route>());
}

/// `delay DURATION SHARE, abort STATUS SHARE`
fn fault_line(route: &Route) -> String {
    let Some(fault) = route.fault() else { return "none".to_owned() };
    let share = |share: Fraction| share.millionths();
    let delay = fault.delay.map(|delay| format!("delay {:?} {}", delay.duration, share(delay.share)));
    let abort = fault.abort.map(|abort| {
        let status = match abort.status {
            AbortStatus::Http(status) => status.to_string(),
            AbortStatus::Grpc(code) => GRPC_STATUS_NAMES[usize::from(code)].to_owned(),
        };
        format!("abort {status} {}", share(abort.share))
    });
    delay.into_iter().chain(abort).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_fault_happens_as_often_as_it_says_and_never_if_it_says_nothing() {
    let table = [
        ("abort: {percentage: {value: 12.5}, httpStatus: 418}", "abort 418 125000"),
        ("abort: {percentage: {value: 100}, grpcStatus: UNAVAILABLE}", "abort UNAVAILABLE 1000000"),
        ("abort: {httpStatus: 418}", "abort 418 0"),
        ("abort: {percentage: {value: 100}}", "none"),
        ("delay: {percentage: {value: 0.0001}, fixedDelay: 0.6s}", "delay 600ms 1"),
        ("delay: {percent: 7, fixedDelay: 1s}", "delay 1s 70000"),
        ("delay: {percent: 7, percentage: {value: 8}, fixedDelay: 1s}", "delay 1s 80000"),
        ("delay: {fixedDelay: 1s}", "delay 1s 0"),
        (
            "delay: {percent: 1, fixedDelay: 1s}, abort: {percentage: {value: 2}, httpStatus: 500}",
            "delay 1s 10000, abort 500 20000",
        ),
    ];
    for (fault, want) in table {
        assert_eq!(fault_line(&route_of(&format!("fault: {{{fault}}}, {TO}"))), want, "{fault}");
    }
}

#[test]
fn an_annotation_draws_faults_for_each_attempt() {
    for (metadata, want) in [
        ("{name: v}", false),
        ("{name: v, annotations: {tidegate.io/fault-scope: attempt}}", true),
        ("{name: v, annotations: {tidegate.io/fault-scope: request}}", false),
    ] {
        let fault = "fault: {abort: {percentage: {value: 1}, httpStatus: 500}}";
        let spec = format!("{{hosts: ['*'], gateways: [web], http: [{{{fault}, {TO}}}]}}");
        let route = first_route(&format!("{WEB}{REVIEWS}{}", virtual_service(metadata, &spec)));
        assert_eq!(route.fault().expect("a fault").per_attempt, want, "{metadata}");
    }
}

#[test]
fn annotations_say_how_a_split_chooses() {
    let split = |metadata: &str, route: &str| {
        let spec = format!("{{hosts: ['*'], gateways: [web], http: [{{route: [{route}]}}]}}");
        let route = first_route(&format!("{WEB}{REVIEWS}{}", virtual_service(metadata, &spec)));
        (route.split().sticky, route.split().spill)
    };
    let one = "{destination: {host: reviews}}";
    let two = "{destination: {host: reviews}, weight: 1}, {destination: {host: reviews}, weight: 1}";
    for (annotations, route, want) in [
        ("", two, (false, false)),
        ("tidegate.io/split: sticky", two, (true, false)),
        ("tidegate.io/split: sticky", one, (false, false)),
        ("tidegate.io/empty-subsets: spill", two, (false, true)),
        ("tidegate.io/split: drawn, tidegate.io/empty-subsets: fail", two, (false, false)),
    ] {
        assert_eq!(
            split(&format!("{{name: v, annotations: {{{annotations}}}}}"), route),
            want,
            "{annotations} {route}"
        );
    }
}

/// Cluster and share of each mirror.
fn mirror_lines(text: &str) -> Vec<String> {
    let model = resolved(text).model;
    let route = &model.route_configurations[0].virtual_hosts[0].routes[0];
    let line = |mirror: &Mirror| {
        let name = match &mirror.cluster {
            ClusterTarget::Known(index) => model.clusters[index.0 as usize].name.to_string(),
            ClusterTarget::Missing(name) => format!("missing {name}"),
        };
        format!("{} {}", name.replace(".default.svc.cluster.local", ""), mirror.share.millionths())
    };
    route.mirrors().iter().map(line).collect()
}

fn mirrors_of(rule: &str) -> Vec<String> {
    let spec = format!(
        "{{hosts: ['*'], gateways: [web], http: [{{{rule}, route: [{{destination: {{host: reviews, subset: v2}}}}]}}]}}"
    );
    mirror_lines(&format!("{WEB}{REVIEWS}{}", virtual_service("{name: v}", &spec)))
}

#[test]
fn a_mirror_gets_everything_unless_a_percentage_says_otherwise() {
    let v1 = "mirror: {host: reviews, subset: v1}";
    let table = [
        (v1.to_owned(), &["outbound|9080|v1|reviews 1000000"][..]),
        (format!("{v1}, mirrorPercentage: {{value: 25}}"), &["outbound|9080|v1|reviews 250000"]),
        (format!("{v1}, mirrorPercentage: {{value: 0}}"), &[]),
        (format!("{v1}, mirrorPercent: 10"), &["outbound|9080|v1|reviews 100000"]),
        (format!("{v1}, mirror_percent: 10"), &["outbound|9080|v1|reviews 100000"]),
        (format!("{v1}, mirrorPercent: 10, mirrorPercentage: {{value: 20}}"), &["outbound|9080|v1|reviews 200000"]),
        (
            "mirrors: [{destination: {host: reviews, subset: v3}}, {destination: {host: reviews}, percentage: {value: 5}}, \
             {destination: {host: reviews}, percentage: {value: 0}}]"
                .to_owned(),
            &["outbound|9080|v3|reviews 1000000", "outbound|9080||reviews 50000"],
        ),
        // The name of nobody changes nothing, and is kept for whoever asks.
        ("mirror: {host: gone}".to_owned(), &["missing outbound|80||gone 1000000"]),
    ];
    for (rule, want) in table {
        assert_eq!(mirrors_of(&rule), want, "{rule}");
    }
}

#[test]
fn a_cors_policy_is_joined_by_commas() {
    let policy = "{allowOrigins: [{exact: 'https://a'}, {prefix: 'https://b'}, {regex: 'https://c+'}], allowMethods: [GET, \
        POST], allowHeaders: [x-one, x-two], exposeHeaders: [x-shown], maxAge: 24h, allowCredentials: true}";
    let route = route_of(&format!("corsPolicy: {policy}, {TO}"));
    let cors = route.cors().expect("a policy");
    let origins = cors.allow_origins.iter().map(|origin| match origin {
        TextMatch::Exact(text) => format!("={text}"),
        TextMatch::Prefix(text) => format!("{text}*"),
        TextMatch::Regex(pattern) => format!("/{pattern}/"),
        TextMatch::Present => "any".to_owned(),
    });
    assert_eq!(origins.collect::<Vec<_>>(), ["=https://a", "https://b*", "/https://c+/"]);
    assert_eq!(
        (&*cors.allow_methods, &*cors.allow_headers, &*cors.expose_headers),
        ("GET,POST", "x-one,x-two", "x-shown")
    );
    assert_eq!((cors.max_age, cors.allow_credentials), (Some(millis(86_400_000)), true));
    assert!(cors.forward_unmatched_preflights);
}

#[test]
fn the_old_list_of_origins_counts_where_the_new_one_is_absent() {
    let table = [
        ("{allowOrigin: ['https://old']}", "https://old", true),
        ("{allowOrigin: ['https://old'], allowOrigins: [{exact: 'https://new'}]}", "https://new", true),
        ("{allowOrigin: ['*'], unmatchedPreflights: IGNORE}", "*", false),
        ("{allowOrigin: ['*'], unmatchedPreflights: FORWARD}", "*", true),
    ];
    for (policy, origin, forwards) in table {
        let route = route_of(&format!("corsPolicy: {policy}, {TO}"));
        let cors = route.cors().expect("a policy");
        assert_eq!(cors.allow_origins, [TextMatch::Exact(origin.into())], "{policy}");
        assert_eq!(cors.forward_unmatched_preflights, forwards, "{policy}");
    }
}

#[test]
fn a_redirect_has_neither_cors_nor_mirrors() {
    let route = route_of("redirect: {uri: /x}, corsPolicy: {allowOrigins: [{exact: '*'}]}, mirror: {host: reviews}");
    assert_eq!(route.policy, None);
}

/// A root with these policies that delegates to a rule with those.
fn delegated(root: &str, own: &str) -> String {
    let root =
        format!("{{hosts: ['*'], gateways: [web], http: [{{{root}delegate: {{name: part, namespace: team}}}}]}}");
    let own = format!("{{http: [{{{own}route: [{{destination: {{host: reviews.default.svc.cluster.local}}}}]}}]}}");
    format!(
        "{WEB}{REVIEWS}{}{}",
        virtual_service("{name: root}", &root),
        virtual_service("{name: part, namespace: team, annotations: {tidegate.io/fault-scope: attempt}}", &own)
    )
}

#[test]
fn each_policy_that_a_delegate_leaves_open_is_the_roots() {
    let root = "timeout: 1s, retries: {attempts: 7}, fault: {abort: {percentage: {value: 1}, httpStatus: 500}}, mirror: \
        {host: reviews, subset: v1}, mirrorPercentage: {value: 50}, corsPolicy: {allowOrigin: [root]}, ";
    let route = first_route(&delegated(root, ""));
    let forward = forward_in(&route);
    assert_eq!((forward.timeout, forward.retry.attempts), (Some(millis(1000)), 7));
    assert_eq!(fault_line(&route), "abort 500 10000");
    // The scope is told by whoever wrote the fault.
    assert!(!route.fault().expect("a fault").per_attempt);
    assert!(route.cors().is_some());
    // A short host is of the namespace of whoever wrote it.
    assert_eq!(mirror_lines(&delegated(root, "")), ["outbound|9080|v1|reviews 500000"]);

    let own = "timeout: 2s, retries: {attempts: 1}, fault: {delay: {percent: 1, fixedDelay: 1s}}, corsPolicy: \
        {allowOrigin: [own]}, ";
    let route = first_route(&delegated(root, own));
    let forward = forward_in(&route);
    assert_eq!((forward.timeout, forward.retry.attempts), (Some(millis(2000)), 1));
    assert_eq!(fault_line(&route), "delay 1s 10000");
    assert!(route.fault().expect("a fault").per_attempt);
    assert_eq!(route.cors().expect("a policy").allow_origins, [TextMatch::Exact("own".into())]);
}

#[test]
fn mirror_and_its_percentage_are_inherited_one_by_one() {
    let root = "mirrorPercentage: {value: 50}, mirrors: [{destination: {host: reviews, subset: v3}}], ";
    let own = "mirror: {host: reviews.default.svc.cluster.local, subset: v1}, ";
    let want = ["outbound|9080|v1|reviews 500000", "outbound|9080|v3|reviews 1000000"];
    assert_eq!(mirror_lines(&delegated(root, own)), want);
}
