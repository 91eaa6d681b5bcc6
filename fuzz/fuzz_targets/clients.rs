//! Whatever a client sends, others get only what the official parser takes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (bool, bool, Vec<(bool, Vec<u8>)>)| {
    let (v3, msgpack, messages) = input;
    let messages: Vec<_> = messages.iter().map(|(binary, bytes)| (*binary, &bytes[..])).collect();
    switchboard::fuzzing::client(v3, msgpack, &messages);
});
