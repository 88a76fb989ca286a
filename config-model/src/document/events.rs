//! The tree from the events of `saphyr-parser`, which knows all of YAML. What makes a tree out of little text has a limit:
//! depth, and nodes that come from aliases.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::fields::Fields;
use super::scalar::{key_text, resolve};
use super::{Key, Node, SyntaxError, Value};
use crate::origin::Position;

/// How deep lists and mappings may lie within each other.
const DEPTH_MAX: usize = 100;

/// How many nodes aliases may add to a file.
const ALIAS_NODES_MAX: usize = 100_000;

/// Reads the documents of a section, whose first line has the number `line` in its file.
pub(super) fn parse(text: &str, line: u32) -> Result<Vec<Node<'_>>, SyntaxError> {
    let mut builder = Builder {
        events: Parser::new_from_str(text),
        line_offset: line.saturating_sub(1),
        anchors: HashMap::new(),
        alias_nodes: 0,
    };
    let mut documents = Vec::new();
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamEnd => return Ok(documents),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => documents.push(builder.node(event, span, 0)?.node),
        }
    }
}

struct Builder<'t> {
    events: Parser<'t, StrInput<'t>>,
    line_offset: u32,
    anchors: HashMap<usize, Built<'t>>,
    alias_nodes: usize,
}

/// A node with what an alias to it would cost, and whether it is a merge key.
#[derive(Clone)]
struct Built<'t> {
    node: Node<'t>,
    nodes: usize,
    height: usize,
    merge_key: bool,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), SyntaxError> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn position(&self, span: &Span) -> Position {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let line = number(span.start.line()).saturating_add(self.line_offset);
        Position { line, column: number(span.start.col()).saturating_add(1) }
    }

    fn syntax(&self, error: &ScanError) -> SyntaxError {
        let position = self.position(&Span::empty(*error.marker()));
        let hint = error.info().contains("tab").then_some("indent with spaces");
        SyntaxError { position, message: error.info().to_owned(), hint }
    }

    fn refuse<T>(&self, span: &Span, message: impl Into<String>, hint: Option<&'static str>) -> Result<T, SyntaxError> {
        Err(SyntaxError { position: self.position(span), message: message.into(), hint })
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Built<'t>, SyntaxError> {
        if depth > DEPTH_MAX {
            return self.refuse(&span, format!("more than {DEPTH_MAX} levels of lists and mappings"), None);
        }
        let (built, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, &span, depth),
            Event::Scalar(text, style, anchor, tag) => (self.scalar(text, style, tag.as_deref(), &span)?, anchor),
            Event::SequenceStart(anchor, _) => (self.sequence(&span, depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(&span, depth)?, anchor),
            _ => return self.refuse(&span, "a value was expected", None),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        Ok(built)
    }

    fn alias(&mut self, anchor: usize, span: &Span, depth: usize) -> Result<Built<'t>, SyntaxError> {
        let Some(built) = self.anchors.get(&anchor) else {
            return self.refuse(span, "the alias stands within the value that it names", None);
        };
        self.alias_nodes += built.nodes;
        if self.alias_nodes > ALIAS_NODES_MAX || depth + built.height > DEPTH_MAX {
            return self.refuse(span, "the aliases make too much of little text", Some("write the values out"));
        }
        Ok(built.clone())
    }

    fn scalar(
        &self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: &Span,
    ) -> Result<Built<'t>, SyntaxError> {
        let plain = style == ScalarStyle::Plain;
        let merge_key = plain && text == "<<" && tag.is_none();
        let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
        let resolved = match (core, tag.is_some()) {
            (None, false) if plain && text.is_empty() => Some(Value::Null),
            (None, false) if plain => resolve(&text),
            (Some("int" | "float" | "bool" | "null"), _) => match tagged(core.unwrap_or_default(), &text) {
                Some(value) => Some(value),
                None => return self.refuse(span, format!("{text:?} is not a {}", core.unwrap_or_default()), None),
            },
            _ => None,
        };
        let value = resolved.unwrap_or(Value::String(text));
        Ok(Built { node: Node { position: self.position(span), value }, nodes: 1, height: 0, merge_key })
    }

    fn sequence(&mut self, span: &Span, depth: usize) -> Result<Built<'t>, SyntaxError> {
        let (mut items, mut nodes, mut height) = (Vec::new(), 1, 0);
        loop {
            let (event, item_span) = self.next()?;
            if event == Event::SequenceEnd {
                break;
            }
            let item = self.node(event, item_span, depth + 1)?;
            nodes += item.nodes;
            height = height.max(item.height + 1);
            items.push(item.node);
        }
        let node = Node { position: self.position(span), value: Value::Sequence(items) };
        Ok(Built { node, nodes, height, merge_key: false })
    }

    fn mapping(&mut self, span: &Span, depth: usize) -> Result<Built<'t>, SyntaxError> {
        let mut fields = Fields::default();
        let (mut merged, mut nodes, mut height) = (Vec::new(), 1, 0);
        loop {
            let (event, key_span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, key_span, depth + 1)?;
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            nodes += key.nodes + value.nodes;
            height = height.max(value.height + 1);
            if key.merge_key {
                merged.push((value.node, value_span));
                continue;
            }
            let key = self.key(key.node, &key_span)?;
            if !fields.insert(key, value.node) {
                return self.refuse(&key_span, "the key stands here twice", Some("remove one of them"));
            }
        }
        for (value, value_span) in merged {
            self.merge(value, &value_span, &mut fields)?;
        }
        let node = Node { position: self.position(span), value: Value::Mapping(fields.into_list()) };
        Ok(Built { node, nodes, height, merge_key: false })
    }

    fn key(&self, node: Node<'t>, span: &Span) -> Result<Key<'t>, SyntaxError> {
        let position = node.position;
        let name = match node.value {
            Value::String(text) => Some(text),
            value => key_text(&value),
        };
        match name {
            Some(name) => Ok(Key { name, position }),
            None => self.refuse(span, "a key must be text, a number or a boolean", None),
        }
    }

    /// `<<: *base`: the mapping's fields, as far as there are none of the same name.
    fn merge(&self, value: Node<'t>, span: &Span, fields: &mut Fields<'t>) -> Result<(), SyntaxError> {
        let mappings = match value.value {
            Value::Sequence(items) => items,
            _ => vec![value],
        };
        for mapping in mappings {
            let Value::Mapping(merged) = mapping.value else {
                return self.refuse(span, "only mappings can be merged by <<", None);
            };
            for (key, value) in merged {
                fields.insert(key, value);
            }
        }
        Ok(())
    }
}

/// A scalar whose tag says what it has to be.
fn tagged(tag: &str, text: &str) -> Option<Value<'static>> {
    let value = if text.is_empty() { Value::Null } else { resolve(text)? };
    match (tag, value) {
        #[allow(clippy::cast_precision_loss)]
        ("float", Value::Int(number)) => Some(Value::Float(number as f64)),
        ("int", value @ Value::Int(_)) | ("float", value @ Value::Float(_)) => Some(value),
        ("bool", value @ Value::Bool(_)) | ("null", value @ Value::Null) => Some(value),
        _ => None,
    }
}
