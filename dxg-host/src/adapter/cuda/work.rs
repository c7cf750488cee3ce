//! What the entries of a stream do, and the thread that does it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use dxg_ptx::exec::Launch;
use dxg_wire::cell::FenceCell;
use dxg_wire::shm::SharedSlice;

use super::code::Awaits;
use super::grid::Grid;
use super::grid::Left;
use super::memory::Memory;
use super::memory::NotMapped;
use super::module::Placed;
use super::queue::Item;
use super::queue::Queue;
use super::range::FillUnit;
use super::result;

/// Most bytes that the thread of the ring copies or fills itself.
const SMALL_BYTES: u64 = 64 << 10;

/// A box of bytes on one side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) at: u64,
    pub(super) pitch: u64,
    pub(super) slice: u64,
}

/// A copy of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Box3d {
    pub(super) to: Side,
    pub(super) from: Side,
    pub(super) width_bytes: u64,
    pub(super) height: u64,
    pub(super) depth: u64,
}

/// Filled rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) to: u64,
    pub(super) pitch: u64,
    pub(super) row_bytes: u64,
    pub(super) height: u64,
    pub(super) value: u32,
    pub(super) unit: FillUnit,
}

/// A number in memory, of 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) at: u64,
    pub(super) bytes: u64,
}

/// How a number in memory is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    NotBehind,
    Equal,
    AnyBit,
    NotAllBits,
}

impl Comparison {
    /// Whether a number in memory satisfies it.
    pub(super) fn holds(self, found: u64, wanted: u64, bytes: u64) -> bool {
        let mask = if bytes == 4 { u64::from(u32::MAX) } else { u64::MAX };
        let difference = found.wrapping_sub(wanted) & mask;
        match self {
            Self::NotBehind => difference >> (bytes * 8 - 1) & 1 == 0,
            Self::Equal => difference == 0,
            Self::AnyBit => found & wanted & mask != 0,
            Self::NotAllBits => !(found | wanted) & mask != 0,
        }
    }
}

/// A wait for a number in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) number: Number,
    pub(super) value: u64,
    pub(super) comparison: Comparison,
}

/// A grid to run.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) placed: Arc<Placed>,
    /// Its number among the module's entries.
    pub(super) function: usize,
    pub(super) launch: Launch,
}

/// What an entry does.
#[derive(Debug)]
pub(super) enum Work {
    /// It is complete already.
    Nothing,
    Launch(Box<Kernel>),
    Copy {
        to: u64,
        from: u64,
        bytes: u64,
    },
    Copy3d(Box<Box3d>),
    Fill(Box<Rows>),
    WaitStream {
        other: Arc<Queue>,
        sequence: u64,
    },
    WaitCell {
        cell: FenceCell,
        value: u64,
    },
    SignalCell {
        cell: FenceCell,
        value: u64,
    },
    Timestamp(SharedSlice),
    WriteValue {
        number: Number,
        value: u64,
    },
    WaitValue(Box<Awaited>),
}

impl Work {
    /// Whether the thread that reads the ring should rather do it than pass it on: it is over before another thread were awake.
    pub(super) fn is_short(&self) -> bool {
        match self {
            // To find out that its code is not ready takes no time.
            Self::Launch(kernel) => !kernel.is_ready() || kernel.is_short(),
            Self::Copy { bytes, .. } => *bytes <= SMALL_BYTES,
            Self::Copy3d(copy) => {
                let bytes = copy.width_bytes.saturating_mul(copy.height).saturating_mul(copy.depth);
                bytes <= SMALL_BYTES && copy.height.saturating_mul(copy.depth) <= 1024
            }
            Self::Fill(rows) => {
                rows.row_bytes.saturating_mul(rows.height) <= SMALL_BYTES && rows.height <= 1024
            }
            _ => true,
        }
    }

    /// Bytes that it holds beside itself.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Launch(kernel) => kernel.launch.params.len(),
            _ => 0,
        }
    }

    /// Whether it is done even when the context has failed: others may wait for it.
    fn survives_failure(&self) -> bool {
        matches!(self, Self::SignalCell { .. } | Self::Timestamp(_))
    }
}

impl Kernel {
    fn is_ready(&self) -> bool {
        self.placed.code(self.function).is_ready()
    }

    fn is_short(&self) -> bool {
        let estimate = || self.placed.cost(self.function).estimate(&self.launch);
        !self.placed.can_wait(self.function)
            && estimate().is_some_and(|estimate| estimate <= super::grid::SHORT)
    }
}

/// Who runs a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// A thread of the pool: others may help with a grid.
    Pool,
    /// The thread of the ring, with what is over soon: nobody needs to help.
    Reader,
}

/// Whether the thread still has the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The entry is complete.
    Next,
    /// Another thread goes on with it.
    Passed,
}

/// Runs what is queued on a stream until nothing is left, or it waits. The caller took it from the pool.
pub(super) fn run(queue: &Arc<Queue>) {
    while let Some(item) = queue.next() {
        if step(queue, item, Runner::Pool) == After::Passed {
            return;
        }
    }
}

/// Runs an entry of a stream that the thread of the ring has got.
pub(super) fn run_now(queue: &Arc<Queue>, item: Item) {
    if step(queue, item, Runner::Reader) == After::Next {
        // What came meanwhile, when another thread read the ring, is the pool's.
        run(queue);
    }
}

/// Goes on with a stream whose grid has ended on this thread.
pub(super) fn after_grid(grid: &Grid) {
    let queue = grid.queue();
    queue.complete(grid.sequence());
    run(queue);
}

fn step(queue: &Arc<Queue>, item: Item, runner: Runner) -> After {
    let Item { sequence, work } = item;
    let context = &queue.context;
    if context.is_failed() && !work.survives_failure() {
        queue.complete(sequence);
        return After::Next;
    }
    let memory = &context.memory;
    let until = context.settings.watchdog.map(|limit| Instant::now() + limit);
    let has_overrun = Cell::new(false);
    // Numbers of the guest, which may name more bytes and rows than anybody waits for.
    let is_over = || {
        has_overrun.set(until.is_some_and(|until| Instant::now() >= until));
        has_overrun.get() || context.is_over()
    };
    let done = match work {
        Work::Nothing => Ok(()),
        Work::Launch(kernel) => return launch(queue, sequence, *kernel, runner),
        Work::Copy { to, from, bytes } => memory.copy(to, from, bytes, &is_over),
        Work::Copy3d(copy) => copy_box(memory, &copy, &is_over),
        Work::Fill(rows) => fill_rows(memory, &rows, &is_over),
        Work::WaitStream { other, sequence: wanted } => {
            queue.park(sequence);
            if other.wake_after(wanted, queue) {
                return After::Passed;
            }
            queue.unpark();
            Ok(())
        }
        Work::WaitCell { cell, value } => {
            if cell.value() < value {
                queue.park(sequence);
                context.engine.watch.wait_cell(cell, value, queue);
                return After::Passed;
            }
            Ok(())
        }
        Work::SignalCell { cell, value } => {
            cell.publish(value);
            Ok(())
        }
        Work::Timestamp(place) => {
            if let Ok(word) = place.atomic_u64(0) {
                word.store(super::watch::monotonic_ns(), Ordering::Release);
            }
            Ok(())
        }
        Work::WriteValue { number, value } => memory.store(number.at, number.bytes, value),
        Work::WaitValue(awaited) => match awaited.is_there(queue) {
            Ok(true) => Ok(()),
            Ok(false) => {
                queue.park(sequence);
                context.engine.watch.wait_value(*awaited, queue);
                return After::Passed;
            }
            Err(error) => Err(error),
        },
    };
    if let Err(NotMapped { address }) = done {
        context.fail(result::ILLEGAL_ADDRESS, &format_args!("no memory at {address:#x}"));
    }
    if has_overrun.get() {
        context.fail(result::LAUNCH_TIMEOUT, &"a copy took longer than the watchdog allows");
    }
    queue.complete(sequence);
    After::Next
}

impl Awaited {
    /// Whether the number is as wanted.
    ///
    /// # Errors
    /// It is not there at all.
    pub(super) fn is_there(&self, queue: &Queue) -> Result<bool, NotMapped> {
        let Number { at, bytes } = self.number;
        let found = queue.context.memory.load(at, bytes)?;
        Ok(self.comparison.holds(found, self.value, bytes))
    }
}

/// Parks the stream before a launch whose code is not ready, or which is too long for the thread that came to it.
fn put_off(queue: &Arc<Queue>, sequence: u64, kernel: Kernel) -> After {
    let (placed, function) = (Arc::clone(&kernel.placed), kernel.function);
    let context = &queue.context;
    // A context that ends meanwhile waits for this.
    context.enter();
    queue.park_before(Item { sequence, work: Work::Launch(Box::new(kernel)) });
    let awaits = placed.wake_when_ready(function, sequence, queue);
    if context.is_failed() {
        placed.code(function).forget(queue);
    }
    if awaits == Awaits::Nothing || context.is_failed() {
        queue.wake_at(sequence);
    }
    context.leave();
    After::Passed
}

fn launch(queue: &Arc<Queue>, sequence: u64, kernel: Kernel, runner: Runner) -> After {
    let context = &queue.context;
    if !kernel.is_ready() || (runner == Runner::Reader && !kernel.is_short()) {
        return put_off(queue, sequence, kernel);
    }
    context.engine.watch.note_activity();
    let grid = match Grid::new(queue, sequence, kernel) {
        Ok(grid) => grid,
        Err(refused) => {
            context.fail(refused.result, &refused.why);
            queue.complete(sequence);
            return After::Next;
        }
    };
    context.grid_begins(Arc::clone(&grid));
    // A context that ended before the grid was known has not stopped it.
    if context.is_over() {
        grid.stop();
    }
    if runner == Runner::Pool {
        context.engine.pool.open(&grid);
    }
    match grid.take_part() {
        Left::Last => {
            queue.complete(sequence);
            After::Next
        }
        Left::Others => After::Passed,
    }
}

fn copy_box(memory: &Memory, copy: &Box3d, is_over: &dyn Fn() -> bool) -> Result<(), NotMapped> {
    if copy.width_bytes == 0 || copy.height == 0 {
        return Ok(());
    }
    let is_flat = |side: &Side| side.pitch == copy.width_bytes || copy.height == 1;
    for z in 0..copy.depth {
        if is_over() {
            return Ok(());
        }
        let row = |side: &Side, y: u64| {
            let offset = z.checked_mul(side.slice)?.checked_add(y.checked_mul(side.pitch)?)?;
            side.at.checked_add(offset)
        };
        let place = |side: &Side, y: u64| row(side, y).ok_or(NotMapped { address: side.at });
        if is_flat(&copy.to) && is_flat(&copy.from) {
            let bytes = copy.width_bytes.saturating_mul(copy.height);
            memory.copy(place(&copy.to, 0)?, place(&copy.from, 0)?, bytes, is_over)?;
            continue;
        }
        for y in 0..copy.height {
            memory.copy(place(&copy.to, y)?, place(&copy.from, y)?, copy.width_bytes, is_over)?;
            if is_over() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn fill_rows(memory: &Memory, rows: &Rows, is_over: &dyn Fn() -> bool) -> Result<(), NotMapped> {
    if rows.row_bytes == 0 {
        return Ok(());
    }
    if rows.height == 1 || rows.pitch == rows.row_bytes {
        let bytes = rows.row_bytes.saturating_mul(rows.height);
        return memory.fill(rows.to, bytes, rows.value, rows.unit, is_over);
    }
    for y in 0..rows.height {
        let to = y.checked_mul(rows.pitch).and_then(|offset| rows.to.checked_add(offset));
        let to = to.ok_or(NotMapped { address: rows.to })?;
        memory.fill(to, rows.row_bytes, rows.value, rows.unit, is_over)?;
        if is_over() {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Comparison;

    #[test]
    fn comparisons_are_those_of_stream_memory_operations() {
        assert!(Comparison::NotBehind.holds(5, 5, 4) && Comparison::NotBehind.holds(6, 5, 8));
        assert!(!Comparison::NotBehind.holds(4, 5, 4));
        assert!(Comparison::NotBehind.holds(1, 0xFFFF_FFFF, 4) && !Comparison::NotBehind.holds(1, 2, 8));
        assert!(Comparison::Equal.holds(7, 7, 8) && !Comparison::Equal.holds(7, 6, 8));
        assert!(Comparison::AnyBit.holds(6, 2, 4) && !Comparison::AnyBit.holds(4, 2, 4));
        assert!(Comparison::NotAllBits.holds(1, 2, 4) && !Comparison::NotAllBits.holds(0xFFFF_FFFE, 1, 4));
    }
}
