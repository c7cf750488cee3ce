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
mod packed;
mod reference;
mod video;

use std::sync::Arc;

use dxg_ptx::exec::Executable;
use dxg_ptx::exec::Placement;
use dxg_ptx::interp::Interpreter;
use dxg_ptx::ir::Module;
use harness::Check;

fn interpreter(module: Arc<Module>, placement: Placement) -> Box<dyn Executable> {
    Box::new(Interpreter::new(module, placement))
}

/// All checks by area.
fn areas() -> Vec<(&'static str, Vec<Check>)> {
    vec![
        ("integer", integer::checks()),
        ("bits", bits::checks()),
        ("compare", compare::checks()),
        ("float", float::checks()),
        ("convert", convert::checks()),
        ("packed", packed::checks()),
        ("video", video::checks()),
    ]
}

#[test]
fn instructions_interpreted_compute_what_the_reference_says() {
    let mut failures = Vec::new();
    for (area, checks) in areas() {
        let outcome = harness::run(&checks, &interpreter);
        println!("{area}: {} instructions, {} results", checks.len(), outcome.results);
        failures.extend(outcome.failures.into_iter().map(|failure| format!("{area}: {failure}")));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
