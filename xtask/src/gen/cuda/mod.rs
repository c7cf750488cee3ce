//! CUDA: the exported functions of `libcuda.so.1`, its enumerations and structures, made from the tables beside this file.
//!
//! *Source.* Names, types, values and offsets: header (`cuda.h`, `cudaGL.h`, `cudaEGL.h`, `cudaVDPAU.h`, `cudaProfiler.h` of
//! CUDA 12 and 13). The tables hold one line per fact.

mod emit;
mod tables;

use std::path::Path;

use anyhow::Context;

use super::Output;
use tables::Tables;

const INPUTS: &[&str] = &[
    "xtask/src/gen/cuda/enums.txt",
    "xtask/src/gen/cuda/functions.txt",
    "xtask/src/gen/cuda/handles.txt",
    "xtask/src/gen/cuda/structs.txt",
    "xtask/src/gen/cuda/targets.txt",
    "xtask/src/gen/cuda/emit.rs",
];

type Emit = fn(&Tables) -> String;

const OUTPUTS: &[(&str, Emit)] = &[
    ("dxg-cuda-shim/src/generated/enums.rs", emit::enums),
    ("dxg-cuda-shim/src/generated/structs.rs", emit::structs),
    ("dxg-cuda-shim/src/generated/handles.rs", emit::handles),
    ("dxg-cuda-shim/src/generated/exports.rs", emit::exports),
    ("dxg-cuda-shim/src/generated/procs.rs", emit::procs),
];

/// The page that says what is there.
const COVERAGE: &str = "docs/cuda-coverage.md";

fn tables() -> anyhow::Result<Tables> {
    Tables::parse(
        include_str!("functions.txt"),
        include_str!("enums.txt"),
        include_str!("structs.txt"),
        include_str!("handles.txt"),
        include_str!("targets.txt"),
    )
    .context("tables of CUDA")
}

/// The code.
pub(super) fn generate(_root: &Path) -> anyhow::Result<Vec<Output>> {
    let tables = tables()?;
    let output = |(path, emit): &(&str, Emit)| Output {
        path: path.into(),
        inputs: INPUTS.to_vec(),
        text: emit(&tables),
    };
    Ok(OUTPUTS.iter().map(output).collect())
}

/// The page: where it is, and its text.
pub(super) fn coverage() -> anyhow::Result<(&'static Path, String)> {
    Ok((Path::new(COVERAGE), emit::coverage(&tables()?)))
}
