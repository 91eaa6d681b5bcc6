//! The `switchboard` server binary.
fn main() {}
