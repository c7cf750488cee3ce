//! Waiting for cells: all of some, or any, until a deadline.

use std::time::Duration;
use std::time::Instant;

use ash::vk;
use dxg_wire::cell;
use dxg_wire::cell::AnyOutcome;

use crate::cells::Cell;

/// How long a wait sleeps that nothing can end but another thread of the program.
const PAUSE: Duration = Duration::from_micros(200);

/// A value that a cell shall reach.
#[derive(Clone, Debug)]
pub struct Target {
    /// The cell.
    pub cell: Cell,
    /// The value.
    pub value: u64,
}

impl Target {
    /// Whether the value is reached.
    #[inline]
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.cell.value() >= self.value
    }
}

/// Which targets end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every one of them.
    All,
    /// One of them.
    Any,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The targets are reached.
    Reached,
    /// The deadline passed first.
    TimedOut,
}

/// When a wait ends for a Vulkan timeout: a point in time, or never.
#[must_use]
pub fn deadline(timeout_ns: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_nanos(timeout_ns)).filter(|_| timeout_ns != u64::MAX)
}

/// Waits for `targets`. `check` says whether the device is still there; it is asked at least every 100 ms.
///
/// # Errors
/// What `check` says.
pub fn wait(
    targets: &[Target],
    which: Which,
    deadline: Option<Instant>,
    check: impl Fn() -> Result<(), vk::Result>,
) -> Result<Outcome, vk::Result> {
    match which {
        Which::All => {
            for target in targets {
                if any(std::slice::from_ref(target), deadline, &check)? == Outcome::TimedOut {
                    return Ok(Outcome::TimedOut);
                }
            }
            Ok(Outcome::Reached)
        }
        Which::Any if targets.is_empty() => Ok(Outcome::Reached),
        Which::Any => any(targets, deadline, check),
    }
}

fn any(
    targets: &[Target],
    deadline: Option<Instant>,
    check: impl Fn() -> Result<(), vk::Result>,
) -> Result<Outcome, vk::Result> {
    if targets.iter().any(Target::is_reached) {
        return Ok(Outcome::Reached);
    }
    check()?;
    let cells: Vec<_> = targets.iter().map(|target| (target.cell.words(), target.value)).collect();
    match cell::wait_any(&cells, deadline, cell::DEFAULT_SPIN, &|| check().is_err()) {
        AnyOutcome::Reached(_) => Ok(Outcome::Reached),
        AnyOutcome::TimedOut | AnyOutcome::Cancelled => check().map(|()| Outcome::TimedOut),
    }
}

/// Sleeps for a moment in which another thread may change what is waited for.
pub fn pause(deadline: Option<Instant>) -> Outcome {
    let now = Instant::now();
    let left = deadline.map_or(PAUSE, |deadline| deadline.saturating_duration_since(now));
    if left.is_zero() {
        return Outcome::TimedOut;
    }
    std::thread::sleep(left.min(PAUSE));
    Outcome::Reached
}
