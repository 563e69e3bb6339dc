//! Whatever a server sends as its uptime line.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ruptime::client::properties::reply(bytes));
