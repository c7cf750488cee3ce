//! Special registers.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use super::Grid;
use super::thread::Thread;
use crate::ir::Special;

/// The value of a special register for a thread of a block.
pub(super) fn read(grid: &Grid<'_>, block: [u32; 3], thread: &Thread, special: Special) -> u64 {
    let lane = thread.lane();
    let launch = grid.launch;
    let nanoseconds = || u64::try_from(grid.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let time = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    };
    let below = (1_u64 << lane) - 1;
    let word = |value: u64| value & 0xffff_ffff;
    match special {
        Special::TidX => u64::from(thread.index[0]),
        Special::TidY => u64::from(thread.index[1]),
        Special::TidZ => u64::from(thread.index[2]),
        Special::NtidX => u64::from(launch.block[0]),
        Special::NtidY => u64::from(launch.block[1]),
        Special::NtidZ => u64::from(launch.block[2]),
        Special::CtaidX | Special::ClusterIdX => u64::from(block[0]),
        Special::CtaidY | Special::ClusterIdY => u64::from(block[1]),
        Special::CtaidZ | Special::ClusterIdZ => u64::from(block[2]),
        Special::NctaidX | Special::NclusterIdX => u64::from(launch.grid[0]),
        Special::NctaidY | Special::NclusterIdY => u64::from(launch.grid[1]),
        Special::NctaidZ | Special::NclusterIdZ => u64::from(launch.grid[2]),
        Special::LaneId => u64::from(lane),
        Special::WarpId => u64::from(thread.number / 32),
        Special::NwarpId => launch.thread_count().div_ceil(32),
        Special::NsmId | Special::ClusterNctaId | Special::ClusterNctaRank => 1,
        Special::GridId => launch.grid_id,
        Special::LanemaskEq => 1 << lane,
        Special::LanemaskLt => below,
        Special::LanemaskLe => below | 1 << lane,
        Special::LanemaskGe => word(!below),
        Special::LanemaskGt => word(!(below | 1 << lane)),
        Special::Clock => word(nanoseconds()),
        Special::ClockHi => nanoseconds() >> 32,
        Special::Clock64 => nanoseconds(),
        Special::GlobalTimer => time(),
        Special::GlobalTimerLo => word(time()),
        Special::GlobalTimerHi => time() >> 32,
        Special::TotalSmemSize | Special::AggrSmemSize => {
            grid.layout.static_bytes.saturating_add(u64::from(launch.dynamic_shared_bytes))
        }
        Special::DynamicSmemSize => u64::from(launch.dynamic_shared_bytes),
        Special::Envreg(1) => launch.workspace >> 32,
        Special::Envreg(2) => word(launch.workspace),
        Special::SmId
        | Special::CurrentGraphExec
        | Special::Envreg(_)
        | Special::Pm(_)
        | Special::ClusterCtaId
        | Special::ClusterCtaRank
        | Special::IsExplicitCluster
        | Special::ReservedSmem => 0,
    }
}
