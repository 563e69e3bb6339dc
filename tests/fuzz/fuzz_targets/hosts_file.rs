//! Whatever is in a hosts file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ruptime::client::properties::hosts_file(bytes));
