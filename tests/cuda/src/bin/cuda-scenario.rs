//! Runs one scenario: `cuda-scenario NAME [ARGUMENT]`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use dxg_tests_cuda::by_descriptor;
use dxg_tests_cuda::graphs;
use dxg_tests_cuda::scenarios;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let all = scenarios::ALL.iter().chain(by_descriptor::ALL).chain(graphs::ALL);
    let Some((_, run)) = { all }.find(|(known, _)| *known == name) else {
        eprintln!("no scenario `{name}`");
        return ExitCode::FAILURE;
    };
    run(&arguments.next().unwrap_or_default());
    println!("done");
    ExitCode::SUCCESS
}
