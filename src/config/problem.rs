//! A problem with a configuration, and the place where it was read.

use std::{fmt, path::PathBuf};

/// The place that a setting was read from.
///
/// ```
/// use switchboard::config::Origin;
///
/// let origin = Origin::File { path: "switchboard.toml".into(), line: Some(7) };
/// assert_eq!(origin.to_string(), "switchboard.toml:7");
/// assert_eq!(Origin::Env("SWITCHBOARD_LISTEN".into()).to_string(), "SWITCHBOARD_LISTEN");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file, with the line where that is known.
    File {
        /// The path as it was given.
        path: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
    },
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Env(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One problem: `engine.ping_timeout: must be more than 0 (switchboard.toml:7)`.
///
/// ```
/// use switchboard::config::{self, Origin, Sources};
///
/// let errors = config::load(&Sources::new().flag("--workers", "workers", "many")).unwrap_err();
/// let problem = &errors.problems()[0];
/// assert_eq!(problem.key(), Some("workers"));
/// assert_eq!(problem.origin(), Some(&Origin::Flag("--workers")));
/// assert!(problem.to_string().starts_with("workers: "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    key: Option<String>,
    message: String,
    origin: Option<Origin>,
}

impl Problem {
    pub(super) fn new(
        origin: impl Into<Option<Origin>>,
        key: &str,
        message: impl Into<String>,
    ) -> Self {
        Self { key: Some(key.to_owned()), message: message.into(), origin: origin.into() }
    }

    /// About a source as a whole.
    pub(super) fn general(origin: Origin, message: impl Into<String>) -> Self {
        Self { key: None, message: message.into(), origin: Some(origin) }
    }

    /// The key, unless the source as a whole is wrong.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Where the value came from, unless it is a default.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.key, &self.origin) {
            (Some(key), Some(origin)) => write!(f, "{key}: {} ({origin})", self.message),
            (Some(key), None) => write!(f, "{key}: {}", self.message),
            (None, Some(origin)) => write!(f, "{origin}: {}", self.message),
            (None, None) => f.write_str(&self.message),
        }
    }
}

/// All problems of a configuration, one a line. Never empty.
///
/// ```
/// use switchboard::config::{self, Sources};
///
/// let Err(errors) = config::load(&Sources::new().flag("--path", "path", "socket.io")) else {
///     panic!("a path starts with a slash");
/// };
/// for problem in errors.problems() {
///     eprintln!("{problem}");
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<Problem>);

impl ConfigErrors {
    /// The problems: unreadable values first, then broken rules.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
