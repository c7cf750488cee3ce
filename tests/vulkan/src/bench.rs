//! What the bench measures, each in a process of its own.

mod calls;
mod processes;

use std::fmt;
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

/// What a workload is to cost over the driver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// At most so much more than natively.
    Above(f64),
    /// At most so many times worse than natively.
    Times(f64),
}

impl Aim {
    /// The aim of a workload, where it has one.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "submit" | "submit_busy" => Some(Self::Above(25.0)),
            // A write is a write: what is more than this is noise of the memory.
            "mapped_write" => Some(Self::Times(1.05)),
            _ => None,
        }
    }

    /// Whether the numbers meet the aim.
    pub fn is_met(self, better: Better, native: f64, ours: f64) -> bool {
        match (self, better) {
            (Self::Above(more), Better::Less) => ours <= native + more,
            (Self::Above(less), Better::More) => ours >= native - less,
            (Self::Times(ratio), Better::Less) => ours <= native * ratio,
            (Self::Times(ratio), Better::More) => ours * ratio >= native,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(more) => write!(f, "within {more} of native"),
            Self::Times(ratio) => write!(f, "within {ratio} times native"),
        }
    }
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
    fn aim_of_a_time_is_missed_above_and_of_a_rate_below() {
        assert!(Aim::Above(5.0).is_met(Better::Less, 10.0, 15.0));
        assert!(!Aim::Above(5.0).is_met(Better::Less, 10.0, 15.1));
        assert!(Aim::Times(2.0).is_met(Better::More, 10.0, 5.0));
        assert!(!Aim::Times(2.0).is_met(Better::More, 10.0, 4.9));
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
