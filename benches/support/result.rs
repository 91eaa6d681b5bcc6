//! The result of everything that can fail: an error is a sentence for whoever runs the benchmark.

/// A value, or what went wrong.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;
