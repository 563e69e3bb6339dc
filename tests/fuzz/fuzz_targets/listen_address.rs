//! Whatever follows --listen.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| ruptime::daemon::invariants::listen_address(text));
