//! Lists and ranges of hosts, as somebody writes them.
#![no_main]

libfuzzer_sys::fuzz_target!(|list: &str| ruptime::client::properties::host_list(list));
