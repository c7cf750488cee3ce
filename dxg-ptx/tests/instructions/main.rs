//! Every instruction, in each type and with each modifier, against arithmetic of the tests' own.
//!
//! Each check is a few lines of PTX on operands that edge values and a fixed sequence of random ones make; all vectors of a check run in
//! one launch.

#[path = "../support/mod.rs"]
mod support;

mod bits;
mod compare;
mod convert;
mod float;
mod harness;
mod integer;
mod narrow;
mod packed;
mod recent;
mod reference;
mod video;

use harness::Check;
use harness::Nans;
use support::program::Make;
use support::program::interpreter;
use support::program::native;
use support::program::packets;

/// All checks by area.
fn areas() -> Vec<(&'static str, Vec<Check>)> {
    vec![
        ("integer", integer::checks()),
        ("bits", bits::checks()),
        ("compare", compare::checks()),
        ("float", float::checks()),
        ("convert", convert::checks()),
        ("narrow", narrow::checks()),
        ("packed", packed::checks()),
        ("recent", recent::checks()),
        ("video", video::checks()),
    ]
}

fn check_all(make: Make<'_>, nans: Nans) {
    let mut failures = Vec::new();
    for (area, checks) in areas() {
        let outcome = harness::run(&checks, make, nans);
        println!("{area}: {} instructions, {} results", checks.len(), outcome.results);
        failures.extend(outcome.failures.into_iter().map(|failure| format!("{area}: {failure}")));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn instructions_interpreted_compute_what_the_reference_says() {
    check_all(&interpreter, Nans::Canonical);
}

#[test]
fn instructions_as_native_code_compute_what_the_reference_says() {
    check_all(&native, Nans::Any);
}

#[test]
fn instructions_as_code_for_four_threads_compute_what_the_reference_says() {
    check_all(&packets, Nans::Any);
}
