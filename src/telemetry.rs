//! What the node counts and measures of itself, and its traces. It knows no socket: the parts that
//! do the work tell it, in plain words, and `server::metrics` writes the counts down.

pub(crate) mod durations;
pub(crate) mod meters;
mod requests;
pub(crate) mod traceparent;
pub(crate) mod traces;
