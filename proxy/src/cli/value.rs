//! Values of flags: labels, port maps, durations, and how answers are written.

use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;
use config_model::decode;
use config_model::name::Labels;
use ipnet::IpNet;

use crate::pressure::MemoryLimit;

/// How an answer is written: for people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Text,
    Json,
}

/// When colours are used: `Auto` means on a terminal, unless NO_COLOR is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// The choice as the stream that writes knows it.
    pub(crate) fn choice(self) -> anstream::ColorChoice {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
    }
}

/// A Gateway's port and the one that is bound in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortMapping {
    /// As the Gateway says.
    pub(crate) from: u16,
    /// As bound, 0 for any that is free.
    pub(crate) to: u16,
}

/// Reads `80:8080`. What is bound may be 0: any port that is free.
pub(crate) fn port_mapping(text: &str) -> Result<PortMapping, String> {
    let mapping = text.split_once(':').and_then(|(from, to)| {
        let from = from.parse().ok().filter(|port| *port != 0)?;
        Some(PortMapping { from, to: to.parse().ok()? })
    });
    mapping.ok_or_else(|| "expected GATEWAY_PORT:BOUND_PORT, as in 80:8080".to_owned())
}

/// Reads `10.1.0.0/16`, or an address by itself.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| address()).map_err(|_| "expected an address or a network, as in 10.1.0.0/16".to_owned())
}

/// Reads `istio=ingressgateway,app=web`; empty text is no label.
pub(crate) fn labels(text: &str) -> Result<Labels, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
            _ => Err(format!("`{part}` is not a label: expected NAME=VALUE, several with commas between")),
        })
        .collect()
}

/// Reads `1h30m`, `10s`, `2.5s`, `500ms`, as durations in YAML are read.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let written = text.parse::<decode::Duration>().ok().filter(|written| written.nanoseconds >= 0);
    written.map(decode::Duration::to_std).ok_or_else(|| "expected a duration such as 10s, 500ms or 1m30s".to_owned())
}

/// Reads `512Mi`, `1Gi`, `2G` or bytes, as Kubernetes writes them; `auto` is what the control group has, `off` is none.
pub(crate) fn memory_limit(text: &str) -> Result<MemoryLimit, String> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    match text {
        "auto" => return Ok(MemoryLimit::Found),
        "off" => return Ok(MemoryLimit::Off),
        _ => {}
    }
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let size = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size);
    let bytes = number.parse::<u64>().ok().zip(size).and_then(|(number, size)| number.checked_mul(size));
    let bytes = bytes.filter(|bytes| *bytes > 0).map(MemoryLimit::Bytes);
    bytes.ok_or_else(|| "expected bytes such as 512Mi or 1Gi, auto or off".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_sum_of_numbers_with_units() {
        let table = [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("2.5s", Some(2_500)),
            ("500ms", Some(500)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("-1s", None),
            ("1s2", None),
            ("1 s", None),
            ("99999999999999999999h", None),
        ];
        for (text, milliseconds) in table {
            assert_eq!(duration(text).ok(), milliseconds.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_port_mapping_names_a_gateways_port_and_what_is_bound() {
        assert_eq!(port_mapping("80:8080"), Ok(PortMapping { from: 80, to: 8080 }));
        assert_eq!(port_mapping("80:0"), Ok(PortMapping { from: 80, to: 0 }));
        for text in ["80", "80:", ":80", "0:80", "80:65536", "80:a", "80:81:82"] {
            assert!(port_mapping(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_are_pairs_with_commas_between() {
        let read = labels("istio=ingressgateway, app=,").unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read.get("istio").map(|value| &**value), Some("ingressgateway"));
        assert_eq!(read.get("app").map(|value| &**value), Some(""));
        assert_eq!(labels("").unwrap().len(), 0);
        assert!(labels("istio").is_err() && labels("=x").is_err());
    }
}
