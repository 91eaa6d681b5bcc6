//! Counts, durations and traces of the node. It knows no socket: the parts that do the work report
//! to it in plain words, and `server::metrics` writes the counts down.

pub(crate) mod durations;
pub(crate) mod meters;
mod requests;
pub(crate) mod traceparent;
pub(crate) mod traces;
