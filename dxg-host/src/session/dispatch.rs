//! From a decoded command to its handler.

use dxg_wire::messages::incoming::GuestCommand as Command;
use dxg_wire::messages::incoming::Incoming;
use dxg_wire::session::ARENA_BASE;

use super::Session;
use super::adapter_info;
use super::allocation;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::NOT_SUPPORTED;
use super::answer::done;
use super::answer::short;
use super::context;
use super::create_allocation;
use super::device;
use super::gpu_va;
use super::process;
use super::query;
use super::residency;
use super::share;
use super::submit;
use super::sync;
use super::sync_wait;

/// Runs a command for the process in its header.
pub(super) fn dispatch(session: &Session, request: &Incoming) -> Answer {
    let by = request.process;
    tracing::trace!(op = request.command.name(), process = %by, "request");
    match &request.command {
        Command::CreateProcess(_) => process::create(session),
        Command::DestroyProcess(_) => process::destroy(session, by),
        Command::OpenSyncObject(it) => sync::open(session, by, it),
        Command::DestroySyncObject(it) => sync::destroy(session, by, it.sync_object),
        Command::CreateNtSharedObject(it) => share::create_nt_shared(session, by, it),
        Command::DestroyNtSharedObject(_) => share::destroy_nt_shared(),
        Command::SetIoSpaceRegion(it) if it.start == ARENA_BASE => done(),
        Command::SetIoSpaceRegion(_) => Err(INVALID.into()),
        Command::ShareObjectWithHost(_) => query::share_with_host(),
        Command::IsFeatureEnabledGlobal(_) | Command::IsFeatureEnabled(_) => query::feature(),
        Command::CreateDevice(it) => device::create(session, by, it),
        Command::DestroyDevice(it) => device::destroy(session, by, it.device),
        Command::FlushDevice(it) => device::flush(session, by, it.device),
        Command::GetDeviceState(it) => device::state(session, by, it),
        Command::MarkDeviceAsError(it) => device::mark_as_error(session, by, it),
        Command::OpenAdapter(_) => adapter_info::open(),
        Command::CloseAdapter(_) => short(),
        Command::GetInternalAdapterInfo(_) => adapter_info::internal(session),
        Command::QueryAdapterInfo(it) => adapter_info::query(session, it),
        Command::CreateContextVirtual(it) => context::create(session, by, it),
        Command::DestroyContext(it) => context::destroy(session, by, it.context),
        Command::SetContextSchedulingPriority2(it) => context::set_priority(session, by, it),
        Command::GetContextSchedulingPriority(it) => context::priority(session, by, it),
        Command::CreateHwQueue(it) => context::create_hw_queue(session, by, it),
        Command::DestroyHwQueue(it) => context::destroy_hw_queue(session, by, it.hwqueue),
        Command::CreatePagingQueue(it) => context::create_paging_queue(session, by, it),
        Command::DestroyPagingQueue(it) => context::destroy_paging_queue(session, by, it.paging_queue),
        Command::CreateAllocation(it) => create_allocation::create(session, by, it),
        Command::OpenResource(it) => create_allocation::open(session, by, it),
        Command::SetExistingSysmemPages(it) => create_allocation::set_pages(session, by, it),
        // The guest has no GPADLs to name.
        Command::SetExistingSysmemStore(_) => Err(NOT_SUPPORTED.into()),
        Command::DestroyAllocation(it) => allocation::destroy(session, by, it),
        Command::Lock2(it) => allocation::lock(session, by, it),
        Command::Unlock2(it) => allocation::unlock(session, by, it),
        Command::InvalidateCache(it) => allocation::invalidate_cache(session, by, it),
        Command::SetAllocationPriority(it) => allocation::set_priority(session, by, it),
        Command::GetAllocationPriority(it) => allocation::priority(session, by, it),
        Command::MakeResident(it) => residency::make_resident(session, by, it),
        Command::Evict(it) => residency::evict(session, by, it),
        Command::QueryAllocationResidency(it) => residency::query(session, by, it),
        Command::OfferAllocations(it) => residency::offer(session, by, it),
        Command::ReclaimAllocations(it) => residency::reclaim(session, by, it),
        Command::UpdateAllocationProperty(it) => residency::update_property(session, by, it),
        Command::ReserveGpuVirtualAddress(it) => gpu_va::reserve(session, by, it),
        Command::MapGpuVirtualAddress(it) => gpu_va::map(session, by, it),
        Command::UpdateGpuVirtualAddress(it) => gpu_va::update(session, by, it),
        Command::FreeGpuVirtualAddress(it) => gpu_va::free(session, by, it),
        Command::CreateSyncObject(it) => sync::create(session, by, it),
        Command::SignalSyncObject(it) => sync_wait::signal(session, by, it),
        Command::WaitForSyncObjectFromCpu(it) => sync_wait::wait_cpu(session, by, it),
        Command::WaitForSyncObjectFromGpu(it) => sync_wait::wait_gpu(session, by, it),
        Command::SubmitCommand(it) => submit::command(session, by, it),
        Command::SubmitCommandToHwQueue(it) => submit::to_hw_queue(session, by, it),
        Command::QueryVideoMemoryInfo(it) => query::video_memory(session, it),
        Command::ChangeVideoMemoryReservation(it) => query::change_reservation(session, it),
        Command::QueryStatistics(it) => query::statistics(session, it),
        Command::QueryClockCalibration(it) => query::clock(it),
        Command::GetStandardAllocationDriverData(it) => query::standard_allocation(it),
        // No adapter lists a code that it takes; a failure is an answer that is too short.
        Command::Escape(_) => short(),
        // Work on the device is done when it is answered.
        Command::FlushHeapTransitions(_) => done(),
        _ => Err(NOT_SUPPORTED.into()),
    }
}
