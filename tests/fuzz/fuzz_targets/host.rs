//! Whatever a user writes as a HOST.
#![no_main]

libfuzzer_sys::fuzz_target!(|word: &str| ruptime::client::properties::host(word));
