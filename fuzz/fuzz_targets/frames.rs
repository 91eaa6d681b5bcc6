//! Any split of any bytes through the stream equals the unsplit result.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    switchboard::edge_fuzzing::frames(&input.0, &input.1);
});
