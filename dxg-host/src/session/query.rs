//! Questions about memory, time and features.

use std::sync::atomic::Ordering;

use dxg_ioctl::NtStatus;
use dxg_ioctl::abi::MemorySegmentGroup;
use dxg_ioctl::abi::QueryStatisticsType;
use dxg_ioctl::adapter_info::QueryStatisticsAdapterInformation;
use dxg_ioctl::adapter_info::QueryStatisticsSegmentInformation;
use dxg_wire::messages::ChangeVideoMemoryReservationCommand;
use dxg_wire::messages::GetStandardAllocationDriverDataCommand;
use dxg_wire::messages::GetStandardAllocationDriverDataReply;
use dxg_wire::messages::IsFeatureEnabledReply;
use dxg_wire::messages::QueryClockCalibrationCommand;
use dxg_wire::messages::QueryClockCalibrationReply;
use dxg_wire::messages::QueryStatisticsCommand;
use dxg_wire::messages::QueryStatisticsReply;
use dxg_wire::messages::QueryVideoMemoryInfoCommand;
use dxg_wire::messages::QueryVideoMemoryInfoReply;
use dxg_wire::messages::ShareObjectWithHostReply;
use dxg_wire::messages::info::StandardAllocationAnswer;
use dxg_wire::transfer::AllocationData;
use rustix::time::ClockId;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::done;
use super::answer::encoded;
use super::answer::reply;
use super::model::ADAPTER;

/// Ticks of the clocks in a second.
const CLOCK_HZ: u64 = 1_000_000_000;

/// QUERYVIDEOMEMORYINFO. There is no status; what is not there has no budget.
pub(super) fn video_memory(session: &Session, command: &QueryVideoMemoryInfoCommand) -> Answer {
    let mut answer = QueryVideoMemoryInfoReply::new_zeroed();
    let here = command.adapter == ADAPTER && command.physical_adapter_index == 0;
    if here && command.memory_segment_group == MemorySegmentGroup::LOCAL {
        let reserved = session.reserved_bytes.load(Ordering::Relaxed);
        answer.budget = session.quota_bytes;
        answer.current_usage = session.used_bytes.load(Ordering::Relaxed);
        answer.current_reservation = reserved;
        answer.available_for_reservation = (session.quota_bytes / 2).saturating_sub(reserved);
    }
    reply(&answer)
}

/// CHANGEVIDEOMEMORYRESERVATION: up to half of the quota.
pub(super) fn change_reservation(session: &Session, command: &ChangeVideoMemoryReservationCommand) -> Answer {
    let args = &command.args;
    let local = args.memory_segment_group == MemorySegmentGroup::LOCAL && args.physical_adapter_index == 0;
    if !local || args.reservation > session.quota_bytes / 2 {
        return Err(INVALID.into());
    }
    session.reserved_bytes.store(args.reservation, Ordering::Relaxed);
    done()
}

/// QUERYCLOCKCALIBRATION: the device's clock is the host's.
pub(super) fn clock(command: &QueryClockCalibrationCommand) -> Answer {
    let mut answer = QueryClockCalibrationReply::new_zeroed();
    if command.args.node_ordinal != 0 || command.args.physical_adapter_index != 0 {
        answer.status = NtStatus::INVALID_PARAMETER;
        return reply(&answer);
    }
    let now = rustix::time::clock_gettime(ClockId::MonotonicRaw);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let ticks = seconds.saturating_mul(CLOCK_HZ).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0));
    answer.clock_data.gpu_frequency = CLOCK_HZ;
    answer.clock_data.gpu_clock_counter = ticks;
    answer.clock_data.cpu_clock_counter = ticks;
    reply(&answer)
}

/// QUERYSTATISTICS: of the adapter and of its one segment.
pub(super) fn statistics(session: &Session, command: &QueryStatisticsCommand) -> Answer {
    let mut answer = QueryStatisticsReply::new_zeroed();
    let result = answer.result.as_mut_bytes();
    match (command.args.r#type, command.args.query_input) {
        (QueryStatisticsType::ADAPTER, _) => {
            let mut info = QueryStatisticsAdapterInformation::new_zeroed();
            info.nb_segments = 1;
            info.node_count = 1;
            put(result, info.as_bytes());
        }
        (QueryStatisticsType::SEGMENT, 0) => {
            let mut info = QueryStatisticsSegmentInformation::new_zeroed();
            let used = session.used_bytes.load(Ordering::Relaxed);
            info.commit_limit = session.quota_bytes;
            info.bytes_committed = used;
            info.bytes_resident = used;
            put(result, info.as_bytes());
        }
        (QueryStatisticsType::SEGMENT, _) => answer.status = NtStatus::INVALID_PARAMETER,
        _ => answer.status = NtStatus::NOT_SUPPORTED,
    }
    reply(&answer)
}

fn put(into: &mut [u8], from: &[u8]) {
    if let Some(into) = into.get_mut(..from.len()) {
        into.copy_from_slice(from);
    }
}

/// ISFEATUREENABLED: none is.
pub(super) fn feature() -> Answer {
    let mut answer = IsFeatureEnabledReply::new_zeroed();
    answer.status = NtStatus::SUCCESS;
    reply(&answer)
}

/// DDIGETSTANDARDALLOCATIONDRIVERDATA: first how much, then what a standard allocation's private data is.
pub(super) fn standard_allocation(command: &GetStandardAllocationDriverDataCommand) -> Answer {
    let mut answer = GetStandardAllocationDriverDataReply::new_zeroed();
    answer.surface.as_mut_bytes().copy_from_slice(command.surface.as_bytes());
    let data = AllocationData::new(u64::from(command.surface.gdi_surface().width));
    answer.priv_driver_data_size = u32::try_from(size_of_val(&data)).unwrap_or(0);
    let allocation_data = if command.priv_driver_data_size == 0 {
        Vec::new()
    } else if command.priv_driver_data_size == answer.priv_driver_data_size {
        data.as_bytes().to_vec()
    } else {
        answer.status = NtStatus::INVALID_PARAMETER;
        Vec::new()
    };
    encoded(StandardAllocationAnswer { reply: answer, allocation_data, resource_data: Vec::new() }.encode())
}

/// SHAREOBJECTWITHHOST: there is no display integration here that could use it.
pub(super) fn share_with_host() -> Answer {
    let mut answer = ShareObjectWithHostReply::new_zeroed();
    answer.status = NtStatus::NOT_SUPPORTED;
    reply(&answer)
}
