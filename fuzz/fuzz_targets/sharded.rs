//! No frame on any channel of the sharded format panics, and what is understood survives being written.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (u8, &[u8])| {
    switchboard::cluster_fuzzing::wire(true, input.0, input.1);
});
