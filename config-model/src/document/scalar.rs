//! Plain scalars as go-yaml v2 reads them, whose YAML 1.1 is what Kubernetes speaks: `yes` and `on` are booleans, `0777`
//! and `0o777` are octal, `1_000` is a thousand, dates stay text. Start at [`resolve`].

use std::borrow::Cow;

use super::Value;

/// What a plain scalar means, or `None` if it is just text.
pub(super) fn resolve(text: &str) -> Option<Value<'static>> {
    match *text.as_bytes().first()? {
        b'~' | b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' => word(text),
        b'.' => special_float(text).or_else(|| decimal(text)),
        b'+' | b'-' | b'0'..=b'9' => special_float(text).or_else(|| number(text)),
        _ => None,
    }
}

fn word(text: &str) -> Option<Value<'static>> {
    match text {
        "~" | "null" | "Null" | "NULL" => Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(Value::Bool(false))
        }
        _ => None,
    }
}

fn special_float(text: &str) -> Option<Value<'static>> {
    let value = match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        _ => return None,
    };
    Some(Value::Float(value))
}

fn number(text: &str) -> Option<Value<'static>> {
    let numeric =
        |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'_' | b'x' | b'X' | b'o' | b'O' | b'.' | b'+' | b'-');
    if !text.bytes().all(numeric) {
        return None;
    }
    let plain: Cow<'_, str> = if text.contains('_') { text.replace('_', "").into() } else { text.into() };
    integer(&plain).map(Value::Int).or_else(|| decimal(&plain))
}

/// As Go's `ParseInt` with base 0.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.bytes().all(|byte| char::from(byte).is_digit(base)) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, base).ok()?);
    i64::try_from(if negative { -value } else { value }).ok()
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn decimal(text: &str) -> Option<Value<'static>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let shaped = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    if !shaped || exponent.is_some_and(|exponent| exponent.is_empty() || !digits(exponent)) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float)
}

/// What a plain key reads as in JSON, where keys are text. Null has no such form.
pub(super) fn key_text(value: &Value<'_>) -> Option<Cow<'static, str>> {
    match value {
        Value::Bool(true) => Some("true".into()),
        Value::Bool(false) => Some("false".into()),
        Value::Int(number) => Some(number.to_string().into()),
        Value::Float(number) if number.is_nan() => Some(".nan".into()),
        Value::Float(number) if number.is_infinite() => Some(if *number > 0.0 { "+.inf" } else { "-.inf" }.into()),
        Value::Float(number) => Some(number.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_booleans_as_in_yaml_1_1() {
        for text in ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"] {
            assert_eq!(resolve(text), Some(Value::Bool(true)), "{text}");
        }
        for text in ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"] {
            assert_eq!(resolve(text), Some(Value::Bool(false)), "{text}");
        }
        for text in ["~", "null", "Null", "NULL"] {
            assert_eq!(resolve(text), Some(Value::Null), "{text}");
        }
        for text in ["yEs", "nope", "oN", "tRUE", "<<", "v1", "_1", "~x", "nULL"] {
            assert_eq!(resolve(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_come_in_all_bases_of_go() {
        for (text, want) in [
            ("0", 0),
            ("-0", 0),
            ("+12", 12),
            ("1_000", 1000),
            ("0777", 511),
            ("0o17", 15),
            ("-0o17", -15),
            ("0x1F", 31),
            ("0b101", 5),
            ("-0b101", -5),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(resolve(text), Some(Value::Int(want)), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_floats() {
        for (text, want) in [
            ("1.5", 1.5),
            ("1.", 1.0),
            (".5", 0.5),
            ("-.5e1", -5.0),
            ("1e3", 1000.0),
            ("0888", 888.0),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            (".inf", f64::INFINITY),
            ("-.INF", f64::NEG_INFINITY),
        ] {
            assert_eq!(resolve(text), Some(Value::Float(want)), "{text}");
        }
        for text in ["1.2.3", "1s", "10.0.0.1", "2026-01-31", "1e", "-", "+", ".", "0x", "0xg", "1e999", "12:30", "a1"]
        {
            assert_eq!(resolve(text), None, "{text}");
        }
    }

    #[test]
    fn keys_become_text() {
        for (value, want) in [
            (Value::Bool(true), Some("true")),
            (Value::Int(8), Some("8")),
            (Value::Float(1.5), Some("1.5")),
            (Value::Null, None),
        ] {
            assert_eq!(key_text(&value).as_deref(), want, "{value:?}");
        }
    }
}
