//! Waiting for cells: all of some, or any, until a deadline.

use std::cell::OnceCell;
use std::time::Duration;
use std::time::Instant;

use ash::vk;
use dxg_wire::cell;
use dxg_wire::cell::AnyOutcome;

use crate::cells::Cell;
use crate::device::Device;
use crate::sleepers::Place;
use crate::sleepers::Sleepers;
use crate::stream::Stream;

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

/// Whether there is still somebody who can reach what is waited for.
pub trait Watch {
    /// Whether the device is still there; asked at least every 100 ms.
    ///
    /// # Errors
    /// Device lost.
    fn check(&self) -> Result<(), vk::Result>;

    /// Where a wait that sleeps is entered, to be woken when the device is lost.
    fn sleepers(&self) -> Option<&Sleepers> {
        None
    }
}

impl<F: Fn() -> Result<(), vk::Result>> Watch for F {
    fn check(&self) -> Result<(), vk::Result> {
        self()
    }
}

impl Watch for &Stream {
    fn check(&self) -> Result<(), vk::Result> {
        Stream::check(self)
    }

    fn sleepers(&self) -> Option<&Sleepers> {
        Some(&self.sleepers)
    }
}

impl Watch for &Device {
    fn check(&self) -> Result<(), vk::Result> {
        self.stream.check()
    }

    fn sleepers(&self) -> Option<&Sleepers> {
        Some(&self.stream.sleepers)
    }
}

/// Waits for `targets`, as long as `watch` has no reason to give up.
///
/// # Errors
/// What `watch` says.
pub fn wait(
    targets: &[Target],
    which: Which,
    deadline: Option<Instant>,
    watch: impl Watch,
) -> Result<Outcome, vk::Result> {
    match which {
        Which::All => {
            for target in targets {
                if any(std::slice::from_ref(target), deadline, &watch)? == Outcome::TimedOut {
                    return Ok(Outcome::TimedOut);
                }
            }
            Ok(Outcome::Reached)
        }
        Which::Any if targets.is_empty() => Ok(Outcome::Reached),
        Which::Any => any(targets, deadline, &watch),
    }
}

fn any(targets: &[Target], deadline: Option<Instant>, watch: &impl Watch) -> Result<Outcome, vk::Result> {
    if targets.iter().any(Target::is_reached) {
        return Ok(Outcome::Reached);
    }
    watch.check()?;
    let cells: Vec<_> = targets.iter().map(|target| (target.cell.words(), target.value)).collect();
    // The closure is asked before each sleep, and not before there is one.
    let nap = OnceCell::new();
    let cancelled = || {
        if let Some(sleepers) = watch.sleepers() {
            let places = targets.iter().map(|target| Place::Cell(target.cell.words().clone()));
            nap.get_or_init(|| sleepers.enter(places));
        }
        watch.check().is_err()
    };
    match cell::wait_any(&cells, deadline, cell::DEFAULT_SPIN, &cancelled) {
        AnyOutcome::Reached(_) => Ok(Outcome::Reached),
        AnyOutcome::TimedOut | AnyOutcome::Cancelled => watch.check().map(|()| Outcome::TimedOut),
    }
}

/// When a wait looks again at what only another thread of the program can change; no later than its deadline.
#[must_use]
pub fn turn(deadline: Option<Instant>) -> Instant {
    let turn = Instant::now() + PAUSE;
    deadline.map_or(turn, |deadline| deadline.min(turn))
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

#[cfg(test)]
mod tests {
    use dxg_wire::codec::Decoder;
    use dxg_wire::generated::vulkan::VkOp;
    use parking_lot::Mutex;

    use super::*;
    use crate::cells::Cells;
    use crate::fake_host::Act;
    use crate::fake_host::FakeHost;
    use crate::fence::Fence;
    use crate::fence::Point;
    use crate::fence::State;

    const SUBMIT: VkOp = VkOp(200);
    /// Hangs are cut here; no test depends on it.
    const GUARD: Duration = Duration::from_secs(60);

    /// A host that completes each submission, whose body is a sequence number, on the cell that a test gives it.
    fn host_with_cell() -> (FakeHost, Stream, Cell) {
        let shared = std::sync::Arc::new(Mutex::new(None::<Cell>));
        let cell_of_host = std::sync::Arc::clone(&shared);
        let (host, stream) = FakeHost::start(4096, move |_, body| {
            let sequence = Decoder::new(body).u64().unwrap();
            cell_of_host.lock().as_ref().unwrap().words().publish(sequence);
            Act::Reply(Vec::new())
        });
        let cell = Cells::default().take(&stream.heap, stream.lease(), 0, 0).unwrap();
        *shared.lock() = Some(cell.clone());
        (host, stream, cell)
    }

    fn guard() -> Option<Instant> {
        Instant::now().checked_add(GUARD)
    }

    #[test]
    fn wait_fence_of_a_submission_is_signalled_when_the_host_completes_it() {
        let (_host, stream, cell) = host_with_cell();
        let fence = Fence::new(State::Unsignaled);
        for sequence in 1..=100 {
            stream.post(SUBMIT, |encoder| encoder.u64(sequence)).unwrap();
            fence.set(State::Pending(Point { queue: 0, sequence }));
            let State::Pending(point) = fence.state() else { panic!("pending") };
            let target = Target { cell: cell.clone(), value: point.sequence };
            assert_eq!(wait(&[target], Which::All, guard(), &stream), Ok(Outcome::Reached));
        }
        assert_eq!(cell.value(), 100);
    }

    #[test]
    fn wait_deadline_in_the_past_times_out_unless_reached() {
        let (_host, stream, cell) = host_with_cell();
        let now = Some(Instant::now());
        let target = |value| [Target { cell: cell.clone(), value }];
        assert_eq!(wait(&target(1), Which::All, now, &stream), Ok(Outcome::TimedOut));
        assert_eq!(wait(&target(0), Which::All, now, &stream), Ok(Outcome::Reached));
    }

    #[test]
    fn wait_any_of_two_cells_ends_with_either() {
        let (_host, stream, cell) = host_with_cell();
        let other = Cells::default().take(&stream.heap, stream.lease(), 7, 0).unwrap();
        let targets = [Target { cell, value: 1 }, Target { cell: other.clone(), value: 7 }];
        assert_eq!(wait(&targets, Which::Any, guard(), &stream), Ok(Outcome::Reached));
        let targets = [targets[0].clone(), Target { cell: other, value: 8 }];
        stream.post(SUBMIT, |encoder| encoder.u64(1)).unwrap();
        assert_eq!(wait(&targets, Which::Any, guard(), &stream), Ok(Outcome::Reached));
    }

    #[test]
    fn wait_host_lost_meanwhile_is_device_lost() {
        let (host, stream, cell) = host_with_cell();
        std::thread::scope(|scope| {
            let target = [Target { cell, value: 1 }];
            let stream = &stream;
            let waiter = scope.spawn(move || wait(&target, Which::All, None, stream));
            host.lose();
            assert_eq!(waiter.join().unwrap(), Err(vk::Result::ERROR_DEVICE_LOST));
        });
    }

    #[test]
    fn deadline_of_the_largest_timeout_is_never() {
        assert_eq!(deadline(u64::MAX), None);
        assert!(deadline(0).is_some_and(|deadline| deadline <= Instant::now()));
    }
}
