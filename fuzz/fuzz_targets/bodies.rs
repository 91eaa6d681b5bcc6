//! No polling body panics, and one that nobody waits to change passes as it is.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| switchboard::edge_fuzzing::bodies(body));
