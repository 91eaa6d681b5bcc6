//! No entry of a stream panics, whatever its type and data, and what is understood survives being written.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    switchboard::cluster_fuzzing::entry(input.0, input.1);
});
