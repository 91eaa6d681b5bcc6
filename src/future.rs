//! Boxed futures, for traits that are used as objects.

use std::{future::Future, pin::Pin};

/// A boxed future, which fits into a table of handlers.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
