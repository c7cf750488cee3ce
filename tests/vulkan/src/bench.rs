//! What the bench measures, each in a process of its own.

mod calls;
mod draws;
pub mod kernels;
mod processes;
mod work;

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

const fn time(
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    run: fn(Length) -> Result<f64>,
) -> Workload {
    Workload { name, what, unit, better: Better::Less, run }
}

const fn rate(
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    run: fn(Length) -> Result<f64>,
) -> Workload {
    Workload { name, what, unit, better: Better::More, run }
}

/// What a workload is to cost over the driver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// At most so much more than natively.
    Above(f64),
    /// At most so many times worse than natively: the time, or the inverse of the rate.
    Times(f64),
    /// At most so much, whatever it is natively.
    Most(f64),
    /// At most what it is natively, or so much.
    NativeOr(f64),
}

impl Aim {
    /// The aim of a workload, where it has one.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "submit" | "submit_small" | "submit_busy" | "timeline" => Self::Above(10.0),
            "fence_status" | "timeline_counter" | "event_status" | "query_status" => Self::NativeOr(15.0),
            "descriptors" => Self::Times(1.0),
            "fence_churn" | "buffer_churn" | "image_churn" => Self::Times(2.0),
            "memory_churn" => Self::Most(2.0),
            "record_1k"
            | "record_10k"
            | "record_draw"
            | "record_push"
            | "record_bind_set"
            | "record_bind_vertex"
            | "record_bind_pipeline" => Self::Times(0.5),
            "frame" | "frame_push" => Self::Times(1.03),
            // A write is a write: what is more than this is noise of the memory.
            "mapped_write" | "mapped_read" | "upload" => Self::Times(1.05),
            "update_buffer" => Self::Times(1.0 / 0.9),
            "matmul_1" | "matmul_2" | "matmul_4" => Self::Times(1.01),
            "open_first" => Self::Times(1.2),
            "open_again" => Self::Times(1.5),
            "vulkaninfo" | "vulkaninfo_full" => Self::Times(1.1),
            "loops_2" | "loops_4" => Self::Times(1.0 / 0.95),
            _ => return None,
        })
    }

    /// Whether the numbers meet the aim.
    pub fn is_met(self, better: Better, native: f64, ours: f64) -> bool {
        match (self, better) {
            (Self::Above(more), Better::Less) => ours <= native + more,
            (Self::Above(less), Better::More) => ours >= native - less,
            (Self::Times(ratio), Better::Less) => ours <= native * ratio,
            (Self::Times(ratio), Better::More) => ours * ratio >= native,
            (Self::Most(most), Better::Less) => ours <= most,
            (Self::Most(least), Better::More) => ours >= least,
            (Self::NativeOr(most), Better::Less) => ours <= native.max(most),
            (Self::NativeOr(least), Better::More) => ours >= native.min(least),
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(more) => write!(f, "native + {more}"),
            Self::Times(ratio) => write!(f, "{ratio:.2} x"),
            Self::Most(most) => write!(f, "{most}"),
            Self::NativeOr(most) => write!(f, "native or {most}"),
        }
    }
}

/// Everything that is measured.
pub fn workloads() -> impl Iterator<Item = &'static Workload> {
    calls::ALL.iter().chain(draws::ALL).chain(work::ALL).chain(processes::ALL)
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
    median_of_ns(length, count, || {
        let begin = Instant::now();
        round()?;
        Ok(begin.elapsed())
    })
}

/// The same of rounds that say themselves how long what counts took.
fn median_of_ns(length: Length, count: u32, mut round: impl FnMut() -> Result<Duration>) -> Result<f64> {
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
        times.push(round()?.as_secs_f64() * 1e9 / f64::from(count));
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
    fn aim_of_native_or_a_bound_takes_the_larger() {
        assert!(Aim::NativeOr(15.0).is_met(Better::Less, 30.0, 29.0));
        assert!(Aim::NativeOr(15.0).is_met(Better::Less, 3.0, 14.0));
        assert!(!Aim::NativeOr(15.0).is_met(Better::Less, 3.0, 16.0));
        assert!(!Aim::Most(2.0).is_met(Better::Less, 30.0, 2.1));
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
