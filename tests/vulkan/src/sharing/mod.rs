//! Objects that cross devices, processes and APIs by descriptor: what only this project's driver and `dxg-core` can be
//! asked together.
//!
//! The program `vk-sharing` runs one of the [`cases`] against the virtual GPU that it finds; it ends with success or says
//! what was wrong.

mod memory;
mod processes;
mod sync;

use anyhow::Context as _;
use anyhow::Result;
use dxg_core::Device;
use dxg_core::Transport;

use crate::gpu::Gpu;
use crate::gpu::Physical;
use crate::gpu::Wanted;

/// One thing that must hold.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    run: fn() -> Result<()>,
}

/// A table of functions under their own names.
macro_rules! table {
    ($($name:ident),* $(,)?) => {
        pub(super) const TABLE: &[$crate::sharing::Case] =
            &[$($crate::sharing::Case { name: stringify!($name), run: $name }),*];
    };
}
use table;

/// All of them.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [memory::TABLE, sync::TABLE, processes::TABLE].into_iter().flatten()
}

/// Runs one.
///
/// # Errors
///
/// What was wrong, or that there is no such case.
pub fn run(name: &str) -> Result<()> {
    let case = cases().find(|case| case.name == name).with_context(|| format!("no case {name}"))?;
    (case.run)()
}

/// Runs the other side of one that takes two processes, with descriptors that were left open for it.
///
/// # Errors
///
/// What was wrong, or that the case has no other side.
pub fn run_peer(name: &str, descriptors: &[i32]) -> Result<()> {
    processes::peer(name, descriptors)
}

/// A Vulkan device, with an instance and so a session of its own.
fn gpu() -> Result<Gpu> {
    Gpu::open(Physical::open(0)?, Wanted::OneQueue)
}

/// A dxg device of the same virtual GPU, in a session of its own.
fn dxg_device() -> Result<Device> {
    let candidates = dxg_core::enumerate();
    let candidate = candidates.iter().find(|candidate| candidate.transport() == Transport::Host);
    let node = candidate.context("no virtual GPU")?.open()?;
    Ok(node.first_adapter()?.create_device()?)
}
