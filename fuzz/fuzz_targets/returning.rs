//! Whatever a client says of its session, it gets no place in a log that it has not named.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (bool, &[u8])| {
    switchboard::fuzzing::returning(input.0, input.1);
});
