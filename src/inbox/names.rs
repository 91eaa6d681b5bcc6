//! The names of users, events, messages and so on, as the stores take them.

use crate::fault::Fault;

/// Refuses a name that no store keeps.
///
/// # Errors
/// `bad_request`, with what the name is for.
pub(super) fn check(what: &str, name: &str, longest: usize) -> Result<(), Fault> {
    match name {
        "" => Err(Fault::bad_request(format!("{what}: must not be empty"))),
        _ if name.contains('\0') => Err(Fault::bad_request(format!("{what}: must not have a NUL"))),
        _ if name.len() > longest => {
            Err(Fault::bad_request(format!("{what}: at most {longest} bytes")))
        }
        _ => Ok(()),
    }
}
