#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| penstock::salesforce::fuzz_checks::csv_rows(data));
