//! Datagrams from anywhere, at any pace; the first byte is the limit.
#![no_main]

use ruptime::daemon::properties::{rate_limit, requests};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let [limit, bytes @ ..] = bytes {
        rate_limit((limit % 16).into(), &requests(bytes));
    }
});
