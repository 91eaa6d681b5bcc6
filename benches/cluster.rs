//! Several nodes, or one, and a Redis: what a message costs them together.
//!
//! A module imports only from those above it: `layout` (who is where), `nodes` (the processes), `run`.

mod layout;
mod nodes;
mod run;

use bench_support::benchmark;

/// All scenarios; with `quick` a part that shows whether they work.
pub(crate) fn all(quick: bool) -> impl Iterator<Item = Box<dyn benchmark::Scenario>> {
    layout::all(quick).into_iter().map(|scenario| Box::new(scenario) as _)
}
