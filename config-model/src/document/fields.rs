//! Fields of a mapping while it is read.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Key, Node};

type Names<'t> = HashSet<Cow<'t, str>, foldhash::fast::RandomState>;

/// Fields of a mapping, none of them twice.
pub(super) struct Fields<'t> {
    list: Vec<(Key<'t>, Node<'t>)>,
    names: Option<Box<Names<'t>>>,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        // Most mappings of the API have one field or two, and a vector that grows by itself begins with room for four.
        Self { list: Vec::with_capacity(2), names: None }
    }
}

impl<'t> Fields<'t> {
    /// Mappings of the API are small: comparing is quicker than hashing.
    const SMALL: usize = 16;

    /// Whether the key was new, and so has been taken.
    pub(super) fn insert(&mut self, key: Key<'t>, value: Node<'t>) -> bool {
        let new = if self.list.len() < Self::SMALL {
            !self.list.iter().any(|(known, _)| known.name == key.name)
        } else {
            let names = || self.list.iter().map(|(known, _)| known.name.clone()).collect();
            self.names.get_or_insert_with(|| Box::new(names())).insert(key.name.clone())
        };
        if new {
            self.list.push((key, value));
        }
        new
    }

    /// The fields in the order in which they came.
    pub(super) fn into_list(self) -> Vec<(Key<'t>, Node<'t>)> {
        self.list
    }
}
