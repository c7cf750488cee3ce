//! Byte patterns read through the Rust types give the values that the C compiler read.

mod reading;

mod by_hand;
#[path = "generated/fields.rs"]
mod fields;

use crate::reading::compare_vectors;
use crate::reading::data;
use crate::reading::number;

#[test]
fn every_abi_vector_reads_as_the_header_reads_it() {
    let mut cases = fields::cases();
    cases.extend(by_hand::cases());
    let vectors = data("struct-vectors.json");
    assert_eq!(vectors["uapi"].as_object().unwrap().len(), 112);
    assert_eq!(number(&vectors["counts"]["uapi_values"]), 871);
    assert_eq!(compare_vectors(&vectors["uapi"], &cases), 871);
}
