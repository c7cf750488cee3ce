//! The scenarios: what each does, how it is run, what it prints.

mod case;
mod commands;
mod descriptors;
mod devices;
mod events;
mod fences;
mod formats;
mod graphics;
mod host_memory;
mod image_queries;
mod image_transfers;
mod images;
mod kernels;
mod memory;
mod own;
mod pipelines;
mod queries;
mod render_passes;
mod semaphores;
mod several_queues;
mod submits;
mod texel_buffers;
mod threads;
mod transfers;
mod windows;

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use anyhow::Context as _;
use anyhow::Result;

pub(crate) use self::case::Case;
use self::case::Skip;
use crate::gpu::Instance;
use crate::gpu::Physical;

/// One thing a driver must do.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Case) -> Result<()>,
}

/// A table of functions under their own names.
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TABLE: &[$crate::scenarios::Scenario] =
            &[$($crate::scenarios::Scenario { name: stringify!($name), run: $name }),*];
    };
}
use scenarios;

/// Checks that two values are equal, and says which were not.
macro_rules! same {
    ($left:expr, $right:expr, $($what:tt)+) => {{
        let (left, right) = (&$left, &$right);
        anyhow::ensure!(left == right, "{}: {left:?} is not {right:?}", format!($($what)+));
    }};
}
pub(crate) use same;

fn tables() -> impl Iterator<Item = &'static Scenario> {
    [
        devices::TABLE,
        kernels::TABLE,
        pipelines::TABLE,
        descriptors::TABLE,
        transfers::TABLE,
        commands::TABLE,
        submits::TABLE,
        fences::TABLE,
        semaphores::TABLE,
        several_queues::TABLE,
        events::TABLE,
        queries::TABLE,
        memory::TABLE,
        host_memory::TABLE,
        texel_buffers::TABLE,
        images::TABLE,
        image_transfers::TABLE,
        image_queries::TABLE,
        formats::TABLE,
        graphics::TABLE,
        render_passes::TABLE,
        threads::TABLE,
        windows::TABLE,
    ]
    .into_iter()
    .flatten()
}

/// The names of all scenarios that any driver can run, in the order they run.
pub fn names() -> impl Iterator<Item = &'static str> {
    tables().map(|scenario| scenario.name)
}

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It held, or said that the device cannot do it.
    Held,
    /// It did not.
    Failed,
}

/// Runs a scenario on a device and gives the line that says how it went.
///
/// # Errors
///
/// There is no scenario of this name.
pub fn run(name: &str, device: usize) -> Result<(String, Ending)> {
    let scenario = tables().chain(own::TABLE).find(|scenario| scenario.name == name);
    let scenario = scenario.with_context(|| format!("no scenario is named `{name}`"))?;
    let mut case = Case::new(device);
    let outcome = catch_unwind(AssertUnwindSafe(|| (scenario.run)(&mut case)));
    Ok(match outcome {
        Ok(Ok(())) => (format!("{name} ok {:016x}", case.result()), Ending::Held),
        Ok(Err(error)) => match error.downcast_ref::<Skip>() {
            Some(Skip(why)) => (format!("{name} skipped: {why}"), Ending::Held),
            None => (format!("{name} FAILED: {}", one_line(&format!("{error:#}"))), Ending::Failed),
        },
        Err(_) => (format!("{name} FAILED: panicked"), Ending::Failed),
    })
}

fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).collect::<Vec<_>>().join("; ")
}

/// The names of the devices, in the loader's order.
///
/// # Errors
///
/// There is no loader, or it finds no driver.
pub fn devices() -> Result<Vec<String>> {
    let instance = std::sync::Arc::new(Instance::new()?);
    let count = instance.physical_devices()?.len();
    (0..count)
        .map(|index| {
            let properties = Physical::of(instance.clone(), index)?.properties();
            Ok(properties.device_name_as_c_str().unwrap_or_default().to_string_lossy().into_owned())
        })
        .collect()
}

/// The files of the Vulkan drivers that the loader has loaded, without their directories.
///
/// # Errors
///
/// There is no loader, or `/proc` cannot be read.
pub fn drivers() -> Result<Vec<String>> {
    let instance = Instance::new()?;
    instance.physical_devices()?;
    let maps = std::fs::read_to_string("/proc/self/maps").context("/proc/self/maps")?;
    let mut names: Vec<String> = maps
        .lines()
        .filter_map(|line| line.rsplit_once('/'))
        .map(|(_, name)| name.to_owned())
        .filter(|name| name.starts_with("libvulkan_"))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}
