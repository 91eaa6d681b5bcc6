//! No record of a session panics, and what is understood survives being written.
#![no_main]

libfuzzer_sys::fuzz_target!(|record: &[u8]| {
    switchboard::cluster_fuzzing::session(record);
    switchboard::fuzzing::shared_session(record);
});
