//! The log as Redis answers it: the entries of a stream, and its state.

mod fields;
mod state;

pub(crate) use fields::{OWN, Said, id_of, number_of, said};
pub(crate) use state::{Finding, Position, State};

use super::{Entry, EntryId};
