//! Boxed futures, for traits that are used as objects.

use std::{future::Future, pin::Pin};

/// A boxed future, which fits into a table of handlers.
///
/// ```
/// use switchboard::gateway::handler::BoxFuture;
///
/// /// Jobs of one table have different futures, and one type.
/// type Job = fn(u32) -> BoxFuture<'static, u32>;
///
/// let jobs: [Job; 2] = [|n| Box::pin(async move { n + 1 }), |n| Box::pin(std::future::ready(n * 2))];
/// ```
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
