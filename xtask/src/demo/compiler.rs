//! The sample that is written in C, compiled with the machine's C compiler.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use anyhow::Result;

use crate::process;

const SAMPLE: &str = "samples/cuda-c";

/// Compiles the sample into a directory; `None`, and a line that says so, where there is no C compiler.
pub(super) fn compile(root: &Path, directory: &Path) -> Result<Option<PathBuf>> {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    if !works(&compiler) {
        println!("demo: no C compiler (`{}`): the CUDA sample in C is left out", compiler.display());
        return Ok(None);
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let program = directory.join("cuda-c-vecadd");
    let sample = root.join(SAMPLE);
    let mut define = OsString::from("-DPTX=\"");
    define.push(sample.join("vecadd.ptx"));
    define.push("\"");
    let mut command = Command::new(&compiler);
    command
        .args(["-std=c11", "-O2"])
        .arg(define)
        .arg("-o")
        .arg(&program)
        .arg(sample.join("host.c"))
        .arg("-ldl");
    process::run(&mut command).context("cannot compile the CUDA sample in C")?;
    Ok(Some(program))
}

/// Whether the compiler is there at all.
fn works(compiler: &OsStr) -> bool {
    let mut probe = Command::new(compiler);
    probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
