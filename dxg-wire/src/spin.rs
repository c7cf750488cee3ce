//! Looking at shared memory for a moment before sleeping.
//!
//! *Why.* What is waited for is often made by a thread that the scheduler has put on the waiter's own core. A waiter that only
//! spins then delays it by its whole budget; one that offers its core after the first moments delays it by almost nothing.
//!
//! Where every core has other work, an offer is taken up by that: it costs a whole slice of the scheduler, milliseconds, while
//! a thread that sleeps is woken ahead of those that never do. A thread that was away for long therefore stops offering and
//! sleeps early, for a time that grows while it stays crowded.
//!
//! See also `docs/performance.md`.

use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

/// After so long a waiter offers its core to others between two looks.
const ALONE: Duration = Duration::from_micros(2);
/// Away for longer than this after an offer, the thread had to wait for others that do not work for it.
const LONG_AWAY: Duration = Duration::from_micros(200);
/// How long a thread makes no offers after it was away for long; doubled each time until [`LONGEST_SHY`].
const FIRST_SHY: Duration = Duration::from_millis(50);
/// See [`FIRST_SHY`]: the price of looking again is one slice in this time.
const LONGEST_SHY: Duration = Duration::from_millis(800);
/// Looks between two glances at the clock.
const LOOKS: u32 = 16;

/// What a thread knows about the company on its cores.
#[derive(Clone, Copy, Debug, Default)]
struct Company {
    /// Until then the thread makes no offers.
    shy_until: Option<Instant>,
    /// How long it was shy last; 0 when the last offer was returned soon.
    shy_for: Duration,
}

thread_local! {
    static COMPANY: Cell<Company> = const { Cell::new(Company { shy_until: None, shy_for: Duration::ZERO }) };
}

impl Company {
    fn is_shy(self, now: Instant) -> bool {
        self.shy_until.is_some_and(|until| now < until)
    }

    /// What the thread knows after an offer at `offered` that was over at `now`.
    fn after_offer(self, offered: Instant, now: Instant) -> Self {
        if now.saturating_duration_since(offered) < LONG_AWAY {
            return Self::default();
        }
        let shy_for = (self.shy_for * 2).clamp(FIRST_SHY, LONGEST_SHY);
        Self { shy_until: now.checked_add(shy_for), shy_for }
    }
}

/// Whether looking is no use to this thread for now: its cores are full of others' work.
#[must_use]
pub fn is_crowded() -> bool {
    company().is_shy(Instant::now())
}

/// A thread that ends may still wait; what it knew is gone by then.
fn company() -> Company {
    COMPANY.try_with(Cell::get).unwrap_or_default()
}

/// The time that one wait has spent looking.
#[derive(Clone, Copy, Debug)]
pub struct Spin {
    since: Instant,
}

impl Spin {
    /// Begins to look.
    #[must_use]
    pub fn begin() -> Self {
        Self { since: Instant::now() }
    }

    /// Whether to look again, within a budget. May give the core to others for a moment.
    ///
    /// To be asked between looks, not before the first one.
    pub fn again(&self, budget: Duration) -> bool {
        let now = Instant::now();
        let spent = now.saturating_duration_since(self.since);
        if spent >= budget {
            return false;
        }
        if spent < ALONE {
            return true;
        }
        let company = company();
        if company.is_shy(now) {
            return false;
        }
        std::thread::yield_now();
        let company = company.after_offer(now, Instant::now());
        let _ = COMPANY.try_with(|kept| kept.set(company));
        true
    }
}

/// Looks until `look` finds something, for `budget` at most.
#[inline]
pub(crate) fn spin<R>(budget: Duration, mut look: impl FnMut() -> Option<R>) -> Option<R> {
    if budget.is_zero() {
        return None;
    }
    let spin = Spin::begin();
    loop {
        for _ in 0..LOOKS {
            std::hint::spin_loop();
            if let Some(found) = look() {
                return Some(found);
            }
        }
        if !spin.again(budget) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;
    use std::time::Instant;

    use super::Company;
    use super::FIRST_SHY;
    use super::LONG_AWAY;
    use super::LONGEST_SHY;
    use super::spin;

    #[test]
    fn what_is_found_is_answered() {
        let mut looks = 0;
        let found = spin(Duration::from_secs(60), || {
            looks += 1;
            (looks == 10).then_some("found")
        });
        assert_eq!((found, looks), (Some("found"), 10));
    }

    #[test]
    fn budget_of_nothing_looks_at_nothing() {
        assert_eq!(spin(Duration::ZERO, || -> Option<()> { unreachable!() }), None);
    }

    #[test]
    fn long_absence_makes_shy_for_a_time_that_doubles_up_to_a_limit() {
        let start = Instant::now();
        let back = start + LONG_AWAY;
        let mut company = Company::default().after_offer(start, back);
        assert!(company.is_shy(back));
        assert!(!company.is_shy(back + FIRST_SHY));
        company = company.after_offer(start, back);
        assert!(company.is_shy(back + FIRST_SHY));
        for _ in 0..100 {
            company = company.after_offer(start, back);
        }
        assert!(!company.is_shy(back + LONGEST_SHY));
    }

    #[test]
    fn short_absence_forgets_the_long_ones() {
        let start = Instant::now();
        let back = start + LONG_AWAY;
        let company = Company::default().after_offer(start, back).after_offer(start, start);
        assert!(!company.is_shy(start));
        assert!(!company.after_offer(start, back).is_shy(back + FIRST_SHY));
    }
}
