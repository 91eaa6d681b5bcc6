//! A list of tasks for each team, which all its members see at once.

mod gateway;
mod slow;
mod tasks;
mod team;

use std::time::Duration;

use switchboard::{
    Authenticate, Config, Switchboard, auth::KeyConfigError, interceptor::Timeout, server::Builder,
};

pub use tasks::{Task, Tasks};

/// The server with all its parts, for `main` and for the tests.
pub fn server(config: Config, tasks: Tasks) -> Result<Builder, KeyConfigError> {
    let authenticate = Authenticate::from_config(&config.auth)?;
    Ok(Switchboard::builder()
        .config(config)
        .state(tasks)
        // For all namespaces: verifies the token.
        .global_middleware(authenticate)
        .global_interceptor(Timeout::after(Duration::from_secs(10)))
        .gateway(gateway::tasks()))
}
