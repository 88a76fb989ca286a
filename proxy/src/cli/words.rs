//! Conditions, actions and destinations in words, as the tables and explanations print them.

use config_model::model::{
    Action, ClusterName, ClusterTarget, Destination, DirectResponse, MatchCondition, Model, PathMatch, PathRewrite,
    Redirect, RedirectPort, RouteMatch, TextMatch,
};

/// `prefix /reviews, header end-user = jason`; `any path` where nothing else is asked.
pub(crate) fn matcher(matcher: &RouteMatch) -> String {
    let conditions = matcher.conditions.iter().map(|condition| self::condition(&condition.condition));
    let path = Some(path(&matcher.path)).filter(|_| matcher.conditions.is_empty() || matcher.path != PathMatch::Any);
    path.into_iter().chain(conditions).collect::<Vec<_>>().join(", ")
}

/// `prefix /reviews`
pub(crate) fn path(matcher: &PathMatch) -> String {
    let cased = |kind: &str, text: &str, ignore_case: bool| {
        format!("{kind} {text}{}", if ignore_case { " (any case)" } else { "" })
    };
    match matcher {
        PathMatch::Any => "any path".to_owned(),
        PathMatch::Exact { text, ignore_case } => cased("path", text, *ignore_case),
        PathMatch::Prefix { text, ignore_case } => cased("prefix", text, *ignore_case),
        PathMatch::Regex(pattern) => format!("path ~ {pattern}"),
        PathMatch::Both(left, right) => format!("{} and {}", path(left), path(right)),
    }
}

/// `header end-user = jason`
pub(crate) fn condition(condition: &MatchCondition) -> String {
    match condition {
        MatchCondition::Method(value) => format!("method {}", text(value)),
        MatchCondition::Authority(value) => format!("authority {}", text(value)),
        MatchCondition::Scheme(value) => format!("scheme {}", text(value)),
        MatchCondition::Header { name, value } => format!("header {name} {}", text(value)),
        MatchCondition::WithoutHeader { name, value: TextMatch::Present } => format!("no header {name}"),
        MatchCondition::WithoutHeader { name, value } => format!("not header {name} {}", text(value)),
        MatchCondition::Query { name, value } => format!("query {name} {}", text(value)),
    }
}

fn text(matcher: &TextMatch) -> String {
    match matcher {
        TextMatch::Exact(text) => format!("= {text}"),
        TextMatch::Prefix(text) => format!("= {text}..."),
        TextMatch::Regex(pattern) => format!("~ {pattern}"),
        TextMatch::Present => "present".to_owned(),
    }
}

/// One line for each destination, or what is answered.
pub(crate) fn action(action: &Action, model: &Model) -> Vec<String> {
    match action {
        Action::Forward(forward) => {
            let shares = shares(&forward.destinations);
            forward.destinations.iter().zip(shares).map(|(to, share)| destination(to, share, model)).collect()
        }
        Action::Redirect(redirect) => vec![self::redirect(redirect)],
        Action::DirectResponse(DirectResponse { status, body }) => {
            vec![format!("answers {status} ({} bytes)", body.len())]
        }
    }
}

/// Share of each destination, between 0 and 1. With all weights zero the first takes everything, as in Istio.
pub(crate) fn shares(destinations: &[Destination]) -> Vec<f64> {
    let sum: f64 = destinations.iter().map(|destination| f64::from(destination.weight)).sum();
    let share = |(place, destination): (usize, &Destination)| match (sum > 0.0, place) {
        (true, _) => f64::from(destination.weight) / sum,
        (false, 0) => 1.0,
        (false, _) => 0.0,
    };
    destinations.iter().enumerate().map(share).collect()
}

fn destination(destination: &Destination, share: f64, model: &Model) -> String {
    let share = percent(share);
    match cluster_name(&destination.cluster, model) {
        Some((name, true)) => format!("{share:>5} {}", cluster(name)),
        Some((name, false)) => format!("{share:>5} {} (does not exist: 503)", cluster(name)),
        None => share,
    }
}

/// The name of a destination's cluster and whether that exists.
pub(crate) fn cluster_name<'m>(target: &'m ClusterTarget, model: &'m Model) -> Option<(&'m ClusterName, bool)> {
    match target {
        ClusterTarget::Known(index) => Some((&model.clusters.get(index.0 as usize)?.name, true)),
        ClusterTarget::Missing(name) => Some((name, false)),
    }
}

/// `reviews.default.svc.cluster.local:9080 subset v1`
pub(crate) fn cluster(name: &ClusterName) -> String {
    let ClusterName { host, port, subset, .. } = name;
    if subset.is_empty() { format!("{host}:{port}") } else { format!("{host}:{port} subset {subset}") }
}

/// `50%`, `33.3%`
pub(crate) fn percent(share: f64) -> String {
    let tenths = (share * 1000.0).round();
    if tenths % 10.0 == 0.0 { format!("{}%", tenths / 10.0) } else { format!("{:.1}%", tenths / 10.0) }
}

fn redirect(redirect: &Redirect) -> String {
    let scheme = redirect.scheme.map(|scheme| format!(" scheme {}", scheme.as_str()));
    let authority = redirect.authority.as_ref().map(|authority| format!(" authority {authority}"));
    let path = match &redirect.path {
        PathRewrite::Whole(uri) => Some(format!(" path {uri}")),
        PathRewrite::Prefix { text, .. } => Some(format!(" prefix {text}")),
        PathRewrite::Keep | PathRewrite::Regex { .. } => None,
    };
    let port = match redirect.port {
        RedirectPort::Keep => None,
        RedirectPort::Number(port) => Some(format!(" port {port}")),
        RedirectPort::FromRequest => Some(" port of the listener".to_owned()),
    };
    let parts: String = [scheme, authority, port, path].into_iter().flatten().collect();
    format!("redirects {} to{parts}", redirect.status)
}

#[cfg(test)]
mod tests {
    use config_model::model::{Pattern, Scheme};
    use config_model::origin::{Origin, Position, ResourceId};

    use super::*;

    fn origin() -> Origin {
        let resource =
            ResourceId { kind: "VirtualService", namespace: "default".into(), name: "a".into(), file: "a.yaml".into() };
        Origin { resource: resource.into(), position: Position { line: 1, column: 1 } }
    }

    fn matched(path: PathMatch, conditions: Vec<MatchCondition>) -> String {
        let with_origin = |condition| config_model::model::Condition { condition, origin: origin() };
        matcher(&RouteMatch { path, conditions: conditions.into_iter().map(with_origin).collect() })
    }

    #[test]
    fn a_match_is_told_by_its_conditions_and_any_path_only_where_it_stands_alone() {
        let header = |value| MatchCondition::Header { name: "end-user".into(), value };
        let jason = || TextMatch::Exact("jason".into());
        assert_eq!(matched(PathMatch::Any, vec![]), "any path");
        assert_eq!(matched(PathMatch::Any, vec![header(jason())]), "header end-user = jason");
        let prefix = PathMatch::Prefix { text: "/reviews".into(), ignore_case: true };
        let expected = "prefix /reviews (any case), header end-user present";
        assert_eq!(matched(prefix, vec![header(TextMatch::Present)]), expected);
        let regex = PathMatch::Regex(Pattern::new("/v[0-9]+").unwrap());
        let absent = MatchCondition::WithoutHeader { name: "x-debug".into(), value: TextMatch::Present };
        assert_eq!(matched(regex, vec![absent]), "path ~ /v[0-9]+, no header x-debug");
    }

    #[test]
    fn shares_are_relative_to_the_sum_and_the_first_takes_all_where_it_is_zero() {
        let missing = |weight| Destination {
            cluster: ClusterTarget::Missing(ClusterName {
                host: "a".into(),
                port: 80,
                subset: "".into(),
                direction: config_model::model::Direction::Outbound,
            }),
            is_split: false,
            tells_host: false,
            weight,
            headers: Default::default(),
            authority: None,
            origin: origin(),
        };
        let of = |weights: &[u32]| shares(&weights.iter().copied().map(missing).collect::<Vec<_>>());
        assert_eq!(of(&[1, 3]), [0.25, 0.75]);
        assert_eq!(of(&[0, 0]), [1.0, 0.0]);
        assert_eq!(of(&[7]), [1.0]);
    }

    #[test]
    fn percentages_have_a_decimal_only_where_one_is_needed() {
        for (share, text) in [(0.5, "50%"), (1.0 / 3.0, "33.3%"), (1.0, "100%"), (0.0, "0%"), (0.9999, "100%")] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn a_redirect_names_only_what_it_changes() {
        let mut redirect = Redirect {
            path: PathRewrite::Whole("/new".into()),
            authority: None,
            scheme: None,
            port: RedirectPort::Keep,
            status: 301,
        };
        assert_eq!(super::redirect(&redirect), "redirects 301 to path /new");
        redirect = Redirect {
            scheme: Some(Scheme::Https),
            port: RedirectPort::Number(8443),
            path: PathRewrite::Keep,
            ..redirect
        };
        assert_eq!(super::redirect(&redirect), "redirects 301 to scheme https port 8443");
    }
}
