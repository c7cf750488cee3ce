//! Looking at shared memory for a moment before sleeping.
//!
//! *Why.* What is waited for is often made by a thread that the scheduler has put on the waiter's own core. A waiter that only
//! spins then delays it by its whole budget; one that offers its core after the first moments delays it by almost nothing.

use std::time::Duration;
use std::time::Instant;

/// After so long a waiter offers its core to others between two looks.
const ALONE: Duration = Duration::from_micros(2);
/// Looks between two glances at the clock.
const LOOKS: u32 = 16;

/// Looks until `look` finds something, for `budget` at most.
#[inline]
pub(crate) fn spin<R>(budget: Duration, mut look: impl FnMut() -> Option<R>) -> Option<R> {
    if budget.is_zero() {
        return None;
    }
    let start = Instant::now();
    loop {
        let spent = start.elapsed();
        if spent >= budget {
            return None;
        }
        if spent >= ALONE {
            std::thread::yield_now();
        }
        for _ in 0..LOOKS {
            std::hint::spin_loop();
            if let Some(found) = look() {
                return Some(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::spin;

    #[test]
    fn what_is_found_is_answered() {
        let mut looks = 0;
        let found = spin(Duration::from_secs(60), || {
            looks += 1;
            (looks == 100).then_some("found")
        });
        assert_eq!((found, looks), (Some("found"), 100));
    }

    #[test]
    fn budget_of_nothing_looks_at_nothing() {
        assert_eq!(spin(Duration::ZERO, || -> Option<()> { unreachable!() }), None);
    }
}
