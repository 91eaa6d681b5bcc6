//! `[traces]`: where the spans of a node go, and which spans there are.

use serde::{Deserialize, Serialize};

use crate::{config::serde_with, secret::SecretUrl};

/// `[traces]`: where the spans of a node go, and which spans there are. Needs the cargo feature
/// `otlp`.
///
/// ```
/// use switchboard::Config;
///
/// let config = Config::with(|config| config.traces.sample_ratio = 0.01);
/// assert!(config.traces.endpoint.is_none(), "no spans");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Traces {
    /// URL that takes spans by OTLP over HTTP, such as `http://collector:4318`; the default path is
    /// `/v1/traces`. Default unset: no spans.
    #[serde(with = "serde_with::unset")]
    pub endpoint: Option<SecretUrl>,
    /// Share of the traces started here that is sampled, from 0 to 1. A trace started elsewhere is
    /// sampled if its origin says so. Default 1. The variable `OTEL_TRACES_SAMPLER` wins.
    pub sample_ratio: f64,
    /// Whether a trace that a client names (`traceparent`) is taken. Default true.
    pub from_clients: bool,
    /// Whether spans hold the id of the user. Default false: it may be personal.
    pub user_ids: bool,
}

impl Default for Traces {
    fn default() -> Self {
        Self { endpoint: None, sample_ratio: 1.0, from_clients: true, user_ids: false }
    }
}
