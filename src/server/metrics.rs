//! What a scrape shows: names, labels and text, made from the node's [counts](crate::telemetry) and
//! from what other parts keep anyway.

mod families;
mod process;
mod snapshot;

pub(crate) use process::Process;
pub(crate) use snapshot::{CONTENT_TYPE, Cluster, Snapshot};
