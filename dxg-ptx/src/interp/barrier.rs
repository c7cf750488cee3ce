//! The sixteen barriers of a block.

use super::thread::Arrival;
use crate::ir::BarrierKind;
use crate::ir::ReduceOp;

/// A barrier that threads have come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Barrier {
    /// Threads that it needs; `None` for all.
    threads: Option<u32>,
    /// Arrived threads of each warp.
    arrived: Vec<u32>,
    /// Those that wait, by number, each with what it said.
    waiting: Vec<(usize, Arrival)>,
}

/// A thread that may go on, and what its barrier's reduction gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release {
    pub(crate) thread: usize,
    pub(crate) arrival: Arrival,
    pub(crate) result: u64,
}

impl Barrier {
    /// Notes a thread of a block of so many warps.
    pub(crate) fn arrive(&mut self, thread: usize, arrival: Arrival, warps: usize) {
        if self.arrived.is_empty() {
            self.arrived.resize(warps, 0);
            self.threads = arrival.threads;
        }
        if let Some(count) = self.arrived.get_mut(thread / 32) {
            *count += 1;
        }
        if arrival.kind != BarrierKind::Arrive {
            self.waiting.push((thread, arrival));
        }
    }

    /// Lets the threads go on if enough have arrived; `live` are the threads of each warp that have not ended.
    pub(crate) fn release(&mut self, live: &[u32]) -> Vec<Release> {
        if self.arrived.is_empty() {
            return Vec::new();
        }
        let complete = match self.threads {
            None => self.arrived.iter().sum::<u32>() >= live.iter().sum(),
            Some(threads) => {
                let counts = self.arrived.iter().zip(live);
                let there =
                    counts.filter(|(arrived, _)| **arrived > 0).map(|(arrived, live)| arrived + 32 - live);
                there.sum::<u32>() >= threads
            }
        };
        if !complete {
            return Vec::new();
        }
        self.arrived.clear();
        let waiting = std::mem::take(&mut self.waiting);
        let yes = waiting.iter().filter(|(_, arrival)| arrival.predicate).count();
        let all = waiting.len();
        let result = |arrival: &Arrival| match arrival.kind {
            BarrierKind::Reduce(ReduceOp::And) => u64::from(yes == all),
            BarrierKind::Reduce(ReduceOp::Or) => u64::from(yes > 0),
            _ => yes as u64,
        };
        waiting
            .iter()
            .map(|(thread, arrival)| Release { thread: *thread, arrival: *arrival, result: result(arrival) })
            .collect()
    }
}
