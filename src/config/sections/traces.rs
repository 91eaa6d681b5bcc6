//! `[traces]`: where the spans of a node go, and which.

use serde::{Deserialize, Serialize};

use crate::{config::serde_with, secret::SecretUrl};

/// `[traces]`: where the spans of a node go, and which. Needs the cargo feature `otlp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Traces {
    /// URL that takes spans by OTLP over HTTP, such as `http://collector:4318`; without a path
    /// `/v1/traces` is meant. Default unset: there are no spans.
    #[serde(with = "serde_with::unset")]
    pub endpoint: Option<SecretUrl>,
    /// How much of what starts a trace here is sampled, from 0 to 1; what belongs to a trace of
    /// somebody else is sampled if that one is. Default 1. The variable `OTEL_TRACES_SAMPLER`
    /// wins.
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
