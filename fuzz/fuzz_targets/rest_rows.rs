#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penstock::salesforce::fuzz_checks::rest_rows(data));
