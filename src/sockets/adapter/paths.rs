//! The paths of the gateways, and which namespaces they have.

use std::collections::HashSet;

/// The paths of the gateways.
#[derive(Default)]
pub(crate) struct Paths {
    names: HashSet<Box<str>>,
    patterns: matchit::Router<()>,
}

impl Paths {
    pub(crate) fn add(&mut self, path: &str) {
        if path.contains('{') {
            // Adding the gateway refuses a path that does not parse.
            let _ = self.patterns.insert(path, ());
        } else {
            self.names.insert(path.into());
        }
    }

    pub(crate) fn has(&self, namespace: &str) -> bool {
        self.names.contains(namespace) || self.patterns.at(namespace).is_ok()
    }

    /// Whether a namespace belongs to a pattern, so that it comes and goes.
    pub(super) fn is_of_pattern(&self, namespace: &str) -> bool {
        !self.names.contains(namespace) && self.patterns.at(namespace).is_ok()
    }
}
