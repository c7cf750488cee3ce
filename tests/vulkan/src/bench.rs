//! What the bench measures, each in a process of its own.

mod calls;
mod processes;

use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;

use crate::gpu::Gpu;
use crate::gpu::Physical;
use crate::gpu::Wanted;

/// How long one measurement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Long enough to see that it works.
    Quick,
    /// Long enough for a number.
    Full,
}

/// Which direction is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A time.
    Less,
    /// A rate.
    More,
}

/// One thing that is measured.
pub struct Workload {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// The unit of its number.
    pub unit: &'static str,
    /// Which direction is better.
    pub better: Better,
    run: fn(Length) -> Result<f64>,
}

/// Everything that is measured.
pub fn workloads() -> impl Iterator<Item = &'static Workload> {
    calls::ALL.iter().chain(processes::ALL)
}

/// Measures in this process.
///
/// # Errors
///
/// There is no such workload, or Vulkan failed.
pub fn measure(name: &str, length: Length) -> Result<f64> {
    let found = workloads().find(|workload| workload.name == name);
    (found.with_context(|| format!("no workload is named `{name}`"))?.run)(length)
}

fn gpu() -> Result<Gpu> {
    Gpu::open(Physical::open(0)?, Wanted::OneQueue)
}

/// The median time of one of `count` operations, in nanoseconds, over as many rounds as fit into the time.
fn median_ns(length: Length, count: u32, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    let limit = match length {
        Length::Quick => Duration::from_millis(40),
        Length::Full => Duration::from_millis(800),
    };
    // The first rounds load code and fill caches.
    for _ in 0..2 {
        round()?;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed() < limit {
        let begin = Instant::now();
        round()?;
        times.push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(count));
    }
    Ok(median(&mut times))
}

/// The middle of some numbers; 0 for none.
pub fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&mut []).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn workloads_have_names_of_their_own() {
        let mut names: Vec<_> = workloads().map(|workload| workload.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
