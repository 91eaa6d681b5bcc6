//! Futures as values of traits that are used as objects.

use std::{future::Future, pin::Pin};

/// A future that is boxed, so that it fits into a table of handlers.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
