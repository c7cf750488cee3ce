//! Runs the body of the same name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dxg_fuzz_bodies::cuda_stream(data));
