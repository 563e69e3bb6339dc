//! Uptime lines in every spelling, read back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ruptime::client::properties::spelled_line(bytes));
