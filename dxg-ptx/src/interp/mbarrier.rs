//! `mbarrier` objects.
//!
//! *The word.* PTX leaves it open. Here: arrivals still pending in bits 0 to 19, expected arrivals of each phase in bits 20 to 39,
//! the number of the phase above. The state that an arrival returns is the word as it was before.

use crate::exec::FaultKind;
use crate::ir::MbarrierOp;

const COUNT: u64 = (1 << 20) - 1;

const fn pending(word: u64) -> u64 {
    word & COUNT
}

const fn expected(word: u64) -> u64 {
    word >> 20 & COUNT
}

const fn phase(word: u64) -> u64 {
    word >> 40
}

const fn word(pending: u64, expected: u64, phase: u64) -> u64 {
    pending & COUNT | (expected & COUNT) << 20 | phase << 40
}

/// The word after `count` arrivals.
fn arrive(old: u64, count: u64, dropped: u64) -> u64 {
    let expected = expected(old).saturating_sub(dropped);
    match pending(old).saturating_sub(count) {
        0 => word(expected, expected, phase(old) + 1),
        left => word(left, expected, phase(old)),
    }
}

/// How a word in memory is changed at once: what was there before.
type Update<'u> = &'u mut dyn FnMut(&dyn Fn(u64) -> u64) -> Result<u64, FaultKind>;

/// Runs an operation; its result, if it has one.
pub(crate) fn run(op: MbarrierOp, srcs: [Option<u64>; 2], update: Update<'_>) -> Result<u64, FaultKind> {
    let first = srcs[0].unwrap_or(0);
    let count = srcs[0].unwrap_or(1) & COUNT;
    match op {
        MbarrierOp::Init => update(&|_| word(count, count, 0)),
        MbarrierOp::Inval => update(&|_| 0),
        MbarrierOp::Arrive | MbarrierOp::ArriveNoComplete => update(&|old| arrive(old, count, 0)),
        MbarrierOp::ArriveDrop | MbarrierOp::ArriveDropNoComplete => update(&|old| arrive(old, count, count)),
        MbarrierOp::TestWait | MbarrierOp::TryWait => {
            Ok(u64::from(phase(update(&|old| old)?) != phase(first)))
        }
        MbarrierOp::TestWaitParity | MbarrierOp::TryWaitParity => {
            Ok(u64::from(phase(update(&|old| old)?) & 1 != first & 1))
        }
        MbarrierOp::PendingCount => Ok(pending(first)),
        // Copies are done when they are issued. The increment of the first form is undone by its arrival.
        MbarrierOp::CopyArrive => update(&|old| old),
        MbarrierOp::CopyArriveNoInc => update(&|old| arrive(old, 1, 0)),
    }
}
