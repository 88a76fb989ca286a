//! Scalars: text, numbers, durations, bytes, timestamps, and values that are compiled where they are read.

use std::str::FromStr;

use super::{Bytes, Decode, Duration, Located, Path, Report, Text, Timestamp};
use crate::document::{Node, Value};
use crate::model::{Format, LogFilter, Pattern, RewritePattern};

fn text<'n>(node: &'n Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<&'n str> {
    if let Value::String(text) = &node.value {
        return Some(text);
    }
    report.wrong_type(node, at, "a string");
    None
}

impl Decode for Text {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        let text = text(node, at, report)?;
        Some(Located { value: report.text(text), position: node.position })
    }
}

impl Decode for Located<bool> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(Located { value, position: node.position });
        }
        report.wrong_type(node, at, "true or false");
        None
    }
}

/// A whole number from `least` to `most`, also written as `1.0`.
fn whole(node: &Node<'_>, at: &Path<'_>, report: &mut Report, limits: (i64, i64, &str)) -> Option<i64> {
    let (least, most, what) = limits;
    let number = match node.value {
        Value::Int(number) => Some(number),
        #[allow(clippy::cast_possible_truncation)]
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(number as i64),
        Value::Float(_) => None,
        _ => {
            report.wrong_type(node, at, "an integer");
            return None;
        }
    };
    let fitting = number.filter(|number| (least..=most).contains(number));
    if fitting.is_none() {
        report.error(node.position, at, format_args!("must be {what}, found {}", node.describe()), None);
    }
    fitting
}

macro_rules! integers {
    ($($type:ty, $least:expr, $most:expr, $what:expr;)*) => {$(
        impl Decode for Located<$type> {
            fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
                let number = whole(node, at, report, ($least, $most, $what))?;
                Some(Located { value: <$type>::try_from(number).ok()?, position: node.position })
            }
        }
    )*};
}

integers! {
    u16, 0, 65_535, "a port number from 1 to 65535";
    u32, 0, 4_294_967_295, "a whole number from 0 to 4294967295";
    i32, -2_147_483_648, 2_147_483_647, "a whole number of at most 2147483647";
    u64, 0, i64::MAX, "a whole number from 0";
    i64, i64::MIN, i64::MAX, "a whole number";
}

impl Decode for Located<f64> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        let value = match node.value {
            #[allow(clippy::cast_precision_loss)]
            Value::Int(number) => number as f64,
            Value::Float(number) if number.is_finite() => number,
            _ => {
                report.wrong_type(node, at, "a number");
                return None;
            }
        };
        Some(Located { value, position: node.position })
    }
}

/// Reads text by `parse`, whose error is the message.
fn parsed<T>(
    node: &Node<'_>,
    at: &Path<'_>,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, String>,
    hint: &str,
) -> Option<Located<T>> {
    match parse(text(node, at, report)?) {
        Ok(value) => Some(Located { value, position: node.position }),
        Err(message) => {
            report.error(node.position, at, message, Some(hint));
            None
        }
    }
}

impl Decode for Located<Duration> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        if let Some(number) = node.number() {
            let hint = format!("write {number}s for seconds");
            report.error(node.position, at, format_args!("must be a duration, found number {number}"), Some(&hint));
            return None;
        }
        let parse = |text: &str| Duration::from_str(text).map_err(|()| format!("must be a duration, found {text:?}"));
        parsed(node, at, report, parse, "write a duration such as 1.5s, 250ms or 1m30s")
    }
}

impl Decode for Located<Timestamp> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        let parse = |text: &str| Timestamp::from_str(text).map_err(|()| format!("must be a time, found {text:?}"));
        parsed(node, at, report, parse, "write it as 2026-01-31T12:00:00Z")
    }
}

impl Decode for Located<Bytes> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        let parse = |text: &str| Bytes::from_base64(text).ok_or_else(|| "must be base64".to_owned());
        parsed(node, at, report, parse, "encode the value with base64")
    }
}

impl Decode for Located<Format> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        let parse = |text: &str| Format::parse(text).map_err(|error| error.to_string());
        let format = parsed(node, at, report, parse, "write a percent sign that stands for itself as %%")?;
        report.unavailable_commands(node.position, at, &format.value, "nothing is written in its place");
        Some(format)
    }
}

impl Decode for Located<LogFilter> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        let filter = parsed(node, at, report, LogFilter::parse, "write an expression such as response.code >= 400")?;
        for attribute in filter.value.unknown() {
            report.not_honoured(node.position, at, format_args!("{attribute}, which has no value here,"));
        }
        Some(filter)
    }
}

/// Istio refuses longer expressions.
const REGEX_LENGTH_MAX: usize = 1024;

fn expression<T>(text: &str, compile: impl FnOnce(&str) -> Result<T, regex::Error>) -> Result<T, String> {
    if text.is_empty() {
        return Err("regex must not be empty".to_owned());
    }
    if text.len() > REGEX_LENGTH_MAX {
        return Err(format!("regex must have at most {REGEX_LENGTH_MAX} bytes, has {}", text.len()));
    }
    compile(text).map_err(|error| format!("regex {text:?} can't be compiled: {}", last_line(&error.to_string())))
}

/// The regex crate draws a picture above the line that says what is wrong.
fn last_line(message: &str) -> &str {
    let line = message.lines().last().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line)
}

const REGEX_HINT: &str = "write an expression in RE2's syntax, which has to match the whole text";

impl Decode for Located<Pattern> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        parsed(node, at, report, |text| expression(text, Pattern::new), REGEX_HINT)
    }
}

impl Decode for Located<RewritePattern> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        let compile =
            |text: &str| regex::bytes::RegexBuilder::new(text).size_limit(1 << 20).build().map(RewritePattern);
        parsed(node, at, report, |text| expression(text, compile), "write an expression in RE2's syntax")
    }
}
