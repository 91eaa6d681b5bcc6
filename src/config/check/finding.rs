//! What a check found: rules that are broken, and advice that is not heeded.

use std::fmt;

/// What is wrong, or unwise, with a setting.
///
/// ```
/// use switchboard::Config;
///
/// let mut config = Config::default();
/// config.engine.max_payload = 0;
/// let found = &config.check().errors[0];
/// assert_eq!(found.to_string(), "engine.max_payload: must be more than 0");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The keys that the rule is about. The first is the one to blame.
    pub keys: &'static [&'static str],
    /// What the rule asks for.
    pub message: String,
}

impl Finding {
    /// Several in one line.
    pub(crate) fn list(findings: &[Self]) -> String {
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.keys[0], self.message)
    }
}

/// What [`Config::check`](crate::Config::check) found.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.auth.hs256_secret = ["short"].into_iter().collect());
/// let check = config.check();
/// assert!(check.errors.is_empty());
/// for unwise in &check.warnings {
///     eprintln!("{unwise}");
/// }
/// assert_eq!(check.warnings[0].keys, ["auth.hs256_secret"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// Rules that are broken: such a server must not start.
    pub errors: Vec<Finding>,
    /// Settings that work but are unwise.
    pub warnings: Vec<Finding>,
}

impl Check {
    pub(super) fn rule(
        &mut self,
        keys: &'static [&'static str],
        holds: bool,
        message: impl Into<String>,
    ) {
        if !holds {
            self.errors.push(Finding { keys, message: message.into() });
        }
    }

    pub(super) fn advice(&mut self, keys: &'static [&'static str], heeded: bool, message: &str) {
        if !heeded {
            self.warnings.push(Finding { keys, message: message.into() });
        }
    }
}
