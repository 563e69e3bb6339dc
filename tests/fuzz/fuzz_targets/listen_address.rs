//! Whatever follows --listen.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| ruptime::daemon::properties::listen_address(text));
