//! Which namespaces see a resource.
//! Source: Istio, `exportTo` of VirtualService, DestinationRule and ServiceEntry, annotation `networking.istio.io/exportTo`
//! of a Service; MeshConfig, `defaultVirtualServiceExportTo` and its like.

/// The namespaces that see a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Visibility<'a> {
    /// Every one.
    All,
    /// These, perhaps none. In order, each once.
    Namespaces(Vec<&'a str>),
}

impl<'a> Visibility<'a> {
    /// Reads the entries of an `exportTo` for a resource of `namespace`; no entries mean everywhere.
    pub(crate) fn new(entries: impl IntoIterator<Item = &'a str>, namespace: &'a str) -> Self {
        let mut entries = entries.into_iter().peekable();
        if entries.peek().is_none() {
            return Self::All;
        }
        let mut namespaces = Vec::new();
        for entry in entries {
            match entry {
                "*" => return Self::All,
                "." => namespaces.push(namespace),
                "~" => {}
                other => namespaces.push(other),
            }
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        Self::Namespaces(namespaces)
    }

    /// Whether `namespace` is among them.
    pub(crate) fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(namespaces) => namespaces.contains(&namespace),
        }
    }

    /// Whether only `namespace` sees it.
    pub(crate) fn only(&self, namespace: &str) -> bool {
        matches!(self, Self::Namespaces(namespaces) if namespaces[..] == [namespace])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_to_names_namespaces_and_nothing_means_everywhere() {
        let table: [(&[&str], &str, bool); 8] = [
            (&[], "other", true),
            (&["*"], "other", true),
            (&["."], "own", true),
            (&["."], "other", false),
            (&["a", "b"], "b", true),
            (&["a", "b"], "own", false),
            (&["~"], "own", false),
            (&[".", "*"], "other", true),
        ];
        for (entries, namespace, want) in table {
            let visibility = Visibility::new(entries.iter().copied(), "own");
            assert_eq!(visibility.includes(namespace), want, "{entries:?} for {namespace}");
        }
    }

    #[test]
    fn private_is_own_namespace_by_dot_or_by_name() {
        for entries in [&["."][..], &["own"], &[".", "own"]] {
            assert!(Visibility::new(entries.iter().copied(), "own").only("own"), "{entries:?}");
        }
        for entries in [&[][..], &["*"], &["own", "other"], &["~"]] {
            assert!(!Visibility::new(entries.iter().copied(), "own").only("own"), "{entries:?}");
        }
    }
}
