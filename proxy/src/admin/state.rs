//! The process: its state, its metrics, its log, and its end.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::answer::{self, Answer};
use super::{Context, parameter};
use crate::control::State;
use crate::process::Order;

/// `/ready`
pub(super) fn ready(_: &Request<Bytes>, context: &Context) -> Answer {
    let state = context.status.state();
    let status = if state == State::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::text(status, format!("{}\n", state.as_str()))
}

/// `/server_info`
pub(super) fn server_info(_: &Request<Bytes>, context: &Context) -> Answer {
    let age = format!("{}s", context.status.started().elapsed().as_secs());
    let identity = &context.identity;
    let info = json!({
        "version": identity.version,
        "state": context.status.state(),
        "uptime_current_epoch": age,
        "uptime_all_epochs": age,
        "node": { "namespace": identity.namespace, "labels": identity.labels },
        "command_line_options": { "config": identity.config, "workers": identity.workers },
    });
    answer::json(StatusCode::OK, &info)
}

/// `/stats` and `/stats/prometheus`
pub(super) fn stats(_: &Request<Bytes>, context: &Context) -> Answer {
    answer::typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", context.metrics.expose())
}

/// `/quitquitquit`
pub(super) fn quit(_: &Request<Bytes>, context: &Context) -> Answer {
    order(context, Order::DrainAndEnd)
}

/// `/drain_listeners`
pub(super) fn drain_listeners(_: &Request<Bytes>, context: &Context) -> Answer {
    order(context, Order::Drain)
}

fn order(context: &Context, order: Order) -> Answer {
    match context.orders.send(order) {
        Ok(()) => answer::text(StatusCode::OK, "OK\n"),
        Err(_) => answer::text(StatusCode::SERVICE_UNAVAILABLE, "the program is ending already\n"),
    }
}

/// `/logging`
pub(super) fn logging(request: &Request<Bytes>, context: &Context) -> Answer {
    let Some(levels) = &context.levels else {
        return answer::text(StatusCode::NOT_FOUND, "the log belongs to the program that we are a part of\n");
    };
    let mut changes = Vec::new();
    for (key, value) in [("level", parameter(request, "level")), ("paths", parameter(request, "paths"))] {
        for part in value.iter().flat_map(|value| value.split(',')) {
            let (target, level) = part.split_once(':').map_or((None, part), |(target, level)| (Some(target), level));
            let known = level_named(level).filter(|_| target.is_some() == (key == "paths"));
            let Some(level) = known else {
                let text =
                    "?level=LEVEL or ?paths=TARGET:LEVEL,...; a level is off, error, warn, info, debug or trace\n";
                return answer::text(StatusCode::BAD_REQUEST, text);
            };
            changes.push((target.map(str::to_owned), level));
        }
    }
    for (target, level) in changes {
        match target {
            None => levels.set(level),
            Some(target) => levels.set_target(&target, level),
        }
    }
    answer::text(StatusCode::OK, format!("{levels}\n"))
}

fn level_named(name: &str) -> Option<LevelFilter> {
    // Envoy says `warning` and `critical`.
    match name {
        "warning" => Some(LevelFilter::WARN),
        "critical" => Some(LevelFilter::ERROR),
        "off" | "error" | "warn" | "info" | "debug" | "trace" => name.parse().ok(),
        _ => None,
    }
}
