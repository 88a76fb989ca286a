//! Which requests an access log has: an expression in CEL on what is known of a request when it is over.
//! Source: Envoy, "Attributes" and the CEL filter of access logs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, LiteralValue};
use cel::{Env, IdedExpr, Program};
use serde::{Serialize, Serializer};

/// Bytes of an expression. What reads it calls itself for each part of a part, with the stack of a thread.
const LENGTH_MAX: usize = 2 << 10;
/// Parts within parts of an expression. What evaluates it calls itself for each, too.
const DEPTH_MAX: usize = 100;

/// Attributes that have a value here, as `request.path`.
const KNOWN: [&str; 31] = [
    "connection.mtls",
    "connection.requested_server_name",
    "destination.address",
    "destination.port",
    "request.duration",
    "request.headers",
    "request.host",
    "request.id",
    "request.method",
    "request.path",
    "request.protocol",
    "request.query",
    "request.referer",
    "request.scheme",
    "request.size",
    "request.url_path",
    "request.useragent",
    "response.code",
    "response.code_details",
    "response.flags",
    "response.headers",
    "response.size",
    "source.address",
    "source.port",
    "upstream.address",
    "upstream.local_address",
    "upstream.port",
    "upstream.request_attempt_count",
    "upstream.transport_failure_reason",
    "xds.cluster_name",
    "xds.route_name",
];

/// A compiled expression.
#[derive(Clone)]
pub struct LogFilter {
    source: Arc<str>,
    program: Arc<Program>,
}

impl LogFilter {
    /// Reads an expression.
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.len() > LENGTH_MAX {
            return Err(format!("must have at most {LENGTH_MAX} bytes, has {}", source.len()));
        }
        let program = Env::stdlib().compile(source).map_err(|errors| {
            let first = errors.errors.first().map_or_else(|| errors.to_string(), |error| error.msg.clone());
            format!("must be an expression in CEL: {first}")
        })?;
        let depth = Words::of(program.expression()).deepest;
        if depth > DEPTH_MAX {
            return Err(format!("must have at most {DEPTH_MAX} parts within each other, has {depth}"));
        }
        Ok(Self { source: source.into(), program: Arc::new(program) })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// What is to be evaluated.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Attributes that it reads and that have no value here.
    pub fn unknown(&self) -> BTreeSet<String> {
        let words = Words::of(self.program.expression());
        words.attributes.into_iter().filter(|attribute| !KNOWN.contains(&attribute.as_str())).collect()
    }

    /// Names that fields of the answer's head may be asked for by: every text and every name in the expression.
    pub fn response_fields(&self) -> BTreeSet<String> {
        let words = Words::of(self.program.expression());
        if words.attributes.contains("response.headers") { words.texts } else { BTreeSet::new() }
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl PartialEq for LogFilter {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for LogFilter {}

impl Serialize for LogFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

/// What an expression names.
#[derive(Default)]
struct Words {
    /// `request.path`, or `request` where no field of it is named.
    attributes: BTreeSet<String>,
    /// Texts, and names of fields.
    texts: BTreeSet<String>,
    /// Variables that the expression has for itself.
    own: Vec<String>,
    /// Parts within each other: around the one that is looked at, and the most.
    depth: usize,
    deepest: usize,
}

impl Words {
    fn of(expression: &IdedExpr) -> Self {
        let mut words = Self::default();
        words.read(expression);
        words
    }

    fn read(&mut self, node: &IdedExpr) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.read_parts(node);
        self.depth -= 1;
    }

    fn read_parts(&mut self, node: &IdedExpr) {
        match &node.expr {
            Expr::Unspecified => {}
            Expr::Literal(literal) => self.literal(literal),
            Expr::Ident(name) => self.attribute(name, None),
            Expr::Select(select) => {
                self.texts.insert(select.field.clone());
                match &select.operand.expr {
                    Expr::Ident(name) => self.attribute(name, Some(&select.field)),
                    _ => self.read(&select.operand),
                }
            }
            Expr::Call(call) => self.call(&call.func_name, call.target.as_deref(), &call.args),
            Expr::List(list) => list.elements.iter().for_each(|element| self.read(element)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(entry)),
            Expr::Struct(object) => object.entries.iter().for_each(|entry| self.entry(entry)),
            Expr::Comprehension(loops) => {
                let before = self.own.len();
                self.own.push(loops.iter_var.clone());
                self.own.extend(loops.iter_var2.clone());
                self.own.push(loops.accu_var.clone());
                for part in [&loops.iter_range, &loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
                    self.read(part);
                }
                self.own.truncate(before);
            }
        }
    }

    /// `request["path"]` names a field as `request.path` does.
    fn call(&mut self, function: &str, target: Option<&IdedExpr>, arguments: &[IdedExpr]) {
        match (function, arguments) {
            (
                "_[_]",
                [
                    IdedExpr { expr: Expr::Ident(name), .. },
                    IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. },
                ],
            ) => {
                self.attribute(name, Some(field.inner()));
            }
            _ => target.into_iter().chain(arguments).for_each(|part| self.read(part)),
        }
    }

    fn entry(&mut self, entry: &IdedEntryExpr) {
        match &entry.expr {
            EntryExpr::StructField(field) => self.read(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.read(&entry.key);
                self.read(&entry.value);
            }
        }
    }

    fn literal(&mut self, literal: &LiteralValue) {
        if let LiteralValue::String(text) = literal {
            self.texts.insert(text.inner().to_owned());
        }
    }

    fn attribute(&mut self, name: &str, field: Option<&str>) {
        if !self.own.iter().any(|own| own == name) {
            self.attributes.insert(field.map_or_else(|| name.to_owned(), |field| format!("{name}.{field}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_expression_says_why() {
        for text in ["response.code >", "", "a b", "'", "response.code >= 400 &&"] {
            let error = LogFilter::parse(text).unwrap_err();
            assert!(error.starts_with("must be an expression in CEL: "), "{text}: {error}");
        }
        let deep = "(".repeat(5000) + &")".repeat(5000);
        assert!(LogFilter::parse(&deep).is_err());
        assert!(LogFilter::parse(&"!".repeat(10_000)).is_err());
        assert!(LogFilter::parse(&"1+".repeat(20_000)).unwrap_err().contains("at most"));
    }

    #[test]
    fn no_expression_takes_more_stack_than_a_thread_has() {
        let filled = |start: &str, part: &str, end: &str| {
            let count = (LENGTH_MAX - start.len() - end.len()) / part.len();
            format!("{start}{}{end}", part.repeat(count))
        };
        for (start, part, end) in [
            ("1", "+1", " > 0"),
            ("request", ".a", ""),
            ("request", "[0]", ""),
            ("", "!", "true"),
            ("", "-", "1"),
            ("", "(", ""),
            ("", "[", ""),
            ("", "true?1:", "1"),
            ("", "1 in [", "1]"),
            ("a", ".b()", ""),
        ] {
            // The parser has bounds of its own for some.
            let _ = LogFilter::parse(&filled(start, part, end));
        }
        assert_eq!(
            LogFilter::parse(&filled("request", ".a", "")).unwrap_err(),
            "must have at most 100 parts within each other, has 1020"
        );
        assert!(LogFilter::parse(&filled("true", "&&true", "")).is_ok(), "a long list of conditions is not deep");
    }

    #[test]
    fn attributes_without_a_value_are_named() {
        for (text, want) in [
            ("response.code >= 400", vec![]),
            ("!has(request.useragent) || request['path'].startsWith('/x')", vec![]),
            ("connection.mtls && request.url_path.contains('v1')", vec![]),
            ("response.cod >= 400", vec!["response.cod"]),
            ("has(response.trailers)", vec!["response.trailers"]),
            ("metadata.filter_metadata['a'] == 'b' || request.foo", vec!["metadata.filter_metadata", "request.foo"]),
            ("size(request) > 1", vec!["request"]),
            ("['a', 'b'].exists(x, x == request.method)", vec![]),
        ] {
            let unknown = LogFilter::parse(text).unwrap().unknown();
            assert_eq!(unknown.iter().map(String::as_str).collect::<Vec<_>>(), want, "{text}");
        }
    }

    #[test]
    fn fields_of_the_answer_are_found_among_the_texts() {
        let fields = |text: &str| LogFilter::parse(text).unwrap().response_fields();
        assert!(
            fields("response.headers['x-a'] == 'b' && has(response.headers.y)")
                .is_superset(&["x-a", "y"].map(str::to_owned).into())
        );
        assert!(fields("request.headers['x-a'] == 'b'").is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(request|[.]path|has|[(]|[)]|'|\"|\\\\|\\[|\\]|[{]|[}]|[?]|:|&&|[|][|]|!|-|[0-9]|[.]|e|x|,|in|é|.){0,24}") {
            let _ = LogFilter::parse(&text);
        }
    }
}
