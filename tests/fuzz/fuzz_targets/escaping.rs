//! Whatever is to be shown on a terminal.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ruptime::client::properties::escaping(bytes));
