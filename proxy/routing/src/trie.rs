//! A path-compressed byte trie over texts that stand for themselves (exact) or for everything that begins with them (prefix).
//! Nodes lie in one array, children next to each other, so that a step is one search among their first bytes.

use std::collections::VecDeque;
use std::ops::Range;

/// A text and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key<'k> {
    pub(crate) text: &'k [u8],
    /// False: a prefix. Sorts before true.
    pub(crate) exact: bool,
    pub(crate) value: u32,
}

#[derive(Debug, Clone, Default)]
struct Node {
    label: Range<u32>,
    children: Range<u32>,
    /// Values of prefixes that end here, ascending; up to `exact`, the start of those of exact texts.
    values: Range<u32>,
    exact: u32,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trie {
    nodes: Box<[Node]>,
    /// First label byte of every node, for the search among children.
    first_bytes: Box<[u8]>,
    labels: Box<[u8]>,
    values: Box<[u32]>,
}

/// Where and how deep a part of the sorted keys becomes a node.
struct Part {
    keys: Range<usize>,
    depth: usize,
}

impl Trie {
    /// Builds a trie; values of one text come back in ascending order.
    pub(crate) fn build(mut keys: Vec<Key<'_>>) -> Self {
        if keys.is_empty() {
            return Self::default();
        }
        keys.sort_unstable();
        let mut builder = Builder { keys: &keys, trie: Growing::default() };
        let mut queue = VecDeque::from([Part { keys: 0..keys.len(), depth: 0 }]);
        while let Some(part) = queue.pop_front() {
            builder.node(&part, &mut queue);
        }
        let Growing { nodes, first_bytes, labels, .. } = builder.trie;
        let values = keys.iter().map(|key| key.value).collect();
        Self { nodes: nodes.into(), first_bytes: first_bytes.into(), labels: labels.into(), values }
    }

    /// Hands `found` the values of every prefix of `text`, shortest first, and of `text` itself, with the length of each.
    /// With `fold` the text's ASCII letters are taken as lower case, which the keys must be in.
    pub(crate) fn visit<'t>(&'t self, text: &[u8], fold: bool, mut found: impl FnMut(&'t [u32], usize)) {
        let mut depth = 0;
        let mut next = self.nodes.first();
        while let Some(node) = next {
            self.report(node.values.start..node.exact, depth, &mut found);
            if depth == text.len() {
                self.report(node.exact..node.values.end, depth, &mut found);
            }
            next = self.child(node, text.get(depth..).unwrap_or_default(), fold);
            depth += next.map_or(0, |child| child.label.len());
        }
    }

    fn report<'t>(&'t self, values: Range<u32>, depth: usize, found: &mut impl FnMut(&'t [u32], usize)) {
        if let Some(values @ [_, ..]) = self.values.get(values.start as usize..values.end as usize) {
            found(values, depth);
        }
    }

    /// The child of `node` whose label begins `rest`.
    fn child(&self, node: &Node, rest: &[u8], fold: bool) -> Option<&Node> {
        let first = rest.first().map(|byte| if fold { byte.to_ascii_lowercase() } else { *byte })?;
        let among = self.first_bytes.get(node.children.start as usize..node.children.end as usize)?;
        let child = self.nodes.get(node.children.start as usize + memchr::memchr(first, among)?)?;
        let label = self.labels.get(child.label.start as usize..child.label.end as usize)?;
        let start = rest.get(..label.len())?;
        let same = if fold { start.eq_ignore_ascii_case(label) } else { start == label };
        same.then_some(child)
    }
}

/// A trie in the making, breadth first, so that children come to lie next to each other.
struct Builder<'k> {
    keys: &'k [Key<'k>],
    trie: Growing,
}

#[derive(Default)]
struct Growing {
    nodes: Vec<Node>,
    first_bytes: Vec<u8>,
    labels: Vec<u8>,
    /// Number of nodes when all that is queued has been made.
    promised: u32,
}

impl Builder<'_> {
    /// Makes a node of `part`, and queues its children.
    fn node(&mut self, part: &Part, queue: &mut VecDeque<Part>) {
        let trie = &mut self.trie;
        // The root stands for the empty text, so that a lookup never has to compare its label.
        let end = if trie.nodes.is_empty() { 0 } else { common_length(self.keys, part) };
        let here = self.keys.get(part.keys.clone()).unwrap_or_default();
        let label = here.first().and_then(|key| key.text.get(part.depth..end)).unwrap_or_default();
        let label_start = trie.labels.len() as u32;
        trie.labels.extend_from_slice(label);
        trie.first_bytes.push(label.first().copied().unwrap_or_default());
        let ending = here.partition_point(|key| key.text.len() == end);
        let prefixes = here.partition_point(|key| key.text.len() == end && !key.exact);
        let first_child = trie.promised.max(1);
        let children = self.queue_children(part.keys.start + ending..part.keys.end, end, queue);
        self.trie.promised = first_child + children;
        let start = part.keys.start as u32;
        self.trie.nodes.push(Node {
            label: label_start..self.trie.labels.len() as u32,
            children: first_child..self.trie.promised,
            values: start..start + ending as u32,
            exact: start + prefixes as u32,
        });
    }

    /// Queues a part for each byte that follows at `depth`; gives their number.
    fn queue_children(&self, range: Range<usize>, depth: usize, queue: &mut VecDeque<Part>) -> u32 {
        let mut start = range.start;
        let before = queue.len();
        let following = self.keys.get(range).unwrap_or_default();
        for group in following.chunk_by(|one, other| one.text.get(depth) == other.text.get(depth)) {
            queue.push_back(Part { keys: start..start + group.len(), depth });
            start += group.len();
        }
        (queue.len() - before) as u32
    }
}

/// Length of the text that all keys of a part share.
fn common_length(keys: &[Key<'_>], part: &Part) -> usize {
    let texts = keys.get(part.keys.start).zip(keys.get(part.keys.end - 1));
    texts.map_or(0, |(first, last)| first.text.iter().zip(last.text).take_while(|(one, other)| one == other).count())
}

#[cfg(test)]
mod tests;
