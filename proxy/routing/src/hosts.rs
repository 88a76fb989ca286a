//! From a Host to a virtual host: the exact name, else the longest wildcard, else `*`; case doesn't count, nor does the port
//! unless the listener is an HTTP proxy.
//! Source: Istio's host binding and Envoy's virtual host search.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use config_model::model::VirtualHost;
use config_model::name::HostPattern;
use foldhash::fast::FixedState;
use smallvec::SmallVec;

use crate::authority::{is_plain_host, split_port};
use crate::trie::{Key, Trie};

/// A host name that is looked up by bytes. Shares its text with the model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name(Arc<str>);

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

/// The virtual hosts of one route configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostTable {
    // A fixed seed will do: names come from the configuration, requests only look up.
    exact: HashMap<Name, u32, FixedState>,
    /// Suffixes, read backwards.
    suffixes: Trie,
    any: Option<u32>,
    compares_ports: bool,
}

impl HostTable {
    /// Indexes `virtual_hosts`, the first of which has number `first`.
    pub(crate) fn build(virtual_hosts: &[VirtualHost], first: u32, compares_ports: bool) -> Self {
        let mut table = Self { compares_ports, ..Self::default() };
        let mut suffixes: Vec<(Vec<u8>, u32)> = Vec::new();
        for (number, virtual_host) in (first..).zip(virtual_hosts) {
            for domain in &virtual_host.domains {
                match domain {
                    HostPattern::Exact(host) => {
                        table.exact.entry(Name(host.clone())).or_insert(number);
                    }
                    HostPattern::Suffix(suffix) => suffixes.push((suffix.bytes().rev().collect(), number)),
                    HostPattern::Any => table.any = table.any.or(Some(number)),
                }
            }
        }
        let keys = suffixes.iter().map(|(text, value)| Key { text, exact: false, value: *value });
        table.suffixes = Trie::build(keys.collect());
        table.exact.shrink_to_fit();
        table
    }

    /// Number of the virtual host for a Host as it was sent.
    pub(crate) fn find(&self, authority: &[u8]) -> Option<u32> {
        // Most are written as they are looked up, and found.
        if is_plain_host(authority)
            && let Some(&number) = self.exact.get(authority)
        {
            return Some(number);
        }
        let compared = if self.compares_ports { authority } else { split_port(authority).host };
        let mut host: SmallVec<[u8; 256]> = SmallVec::from_slice(compared);
        host.make_ascii_lowercase();
        self.exact.get(&host[..]).copied().or_else(|| {
            host.reverse();
            self.longest_suffix(&host).or(self.any)
        })
    }

    fn longest_suffix(&self, reversed: &[u8]) -> Option<u32> {
        let mut longest = None;
        self.suffixes.visit(reversed, false, |values, length| {
            // A wildcard stands for at least one character.
            if length < reversed.len() {
                longest = values.first().copied();
            }
        });
        longest
    }
}

#[cfg(test)]
mod tests;
