//! From the server name of a ClientHello to what serves it, at a cost that doesn't grow with the number of names.

use std::collections::HashMap;

use config_model::name::HostPattern;
use foldhash::fast::RandomState;

/// Places in a list by server name: exact, then the longest wildcard, then `*`.
#[derive(Debug, Default)]
pub(crate) struct ServerNames {
    exact: HashMap<Box<str>, u32, RandomState>,
    /// With the leading dot.
    suffixes: HashMap<Box<str>, u32, RandomState>,
    any: Option<u32>,
}

impl ServerNames {
    /// Adds the names of one entry. Of two entries with one name the first has it.
    pub(crate) fn add(&mut self, names: &[HostPattern], place: u32) {
        for name in names {
            match name {
                HostPattern::Exact(name) => *self.exact.entry((&**name).into()).or_insert(place),
                HostPattern::Suffix(suffix) => *self.suffixes.entry((&**suffix).into()).or_insert(place),
                HostPattern::Any => *self.any.get_or_insert(place),
            };
        }
    }

    /// The place for `name`, in lower case; nothing if the handshake is to be refused.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<u32> {
        let named = name.and_then(|name| {
            let suffix = || {
                let mut dots = memchr::memchr_iter(b'.', name.as_bytes()).filter(|at| *at > 0);
                if self.suffixes.is_empty() { None } else { dots.find_map(|at| self.suffixes.get(name.get(at..)?)) }
            };
            self.exact.get(name).or_else(suffix).copied()
        });
        named.or(self.any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_name_wins_and_only_a_star_takes_connections_without_one() {
        let mut names = ServerNames::default();
        for (place, pattern) in ["a.example", "*.example", "*.b.example", "*"].into_iter().enumerate() {
            names.add(&[HostPattern::parse(pattern)], place as u32);
        }
        let table = [
            (Some("a.example"), 0),
            (Some("c.example"), 1),
            (Some("x.a.example"), 1),
            (Some("x.y.b.example"), 2),
            (Some("b.example"), 1),
            (Some("example"), 3),
            (Some(".example"), 3),
            (None, 3),
        ];
        for (name, place) in table {
            assert_eq!(names.find(name), Some(place), "{name:?}");
        }
        let mut named = ServerNames::default();
        named.add(&[HostPattern::parse("a.example")], 0);
        assert_eq!((named.find(None), named.find(Some("b.example"))), (None, None));
    }
}
