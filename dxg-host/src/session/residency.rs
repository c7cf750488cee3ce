//! Residency: what is asked to be in device memory, and what is given up for a while.
//!
//! *What it means here.* Memory of a virtual GPU is host memory that is always there: making resident takes effect at once,
//! nothing is ever discarded. States are kept and answered as on any device.

use dxg_ioctl::FenceValue;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::AllocationResidencyStatus;
use dxg_ioctl::abi::ReclaimResult;
use dxg_wire::messages::EvictReply;
use dxg_wire::messages::MakeResidentReply;
use dxg_wire::messages::ReclaimAllocationsReply;
use dxg_wire::messages::UpdateAllocationPropertyCommand;
use dxg_wire::messages::UpdateAllocationPropertyReply;
use dxg_wire::messages::allocation::EvictMessage;
use dxg_wire::messages::allocation::MakeResidentMessage;
use dxg_wire::messages::allocation::OfferAllocationsMessage;
use dxg_wire::messages::allocation::QueryAllocationResidencyMessage;
use dxg_wire::messages::allocation::ReclaimAllocationsAnswer;
use dxg_wire::messages::allocation::ReclaimAllocationsMessage;
use zerocopy::FromZeros;

use super::Session;
use super::allocation::named;
use super::allocation::per_allocation;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::done;
use super::answer::encoded;
use super::answer::reply;
use super::model::Allocation;
use super::model::PagingQueue;
use super::model::Process;
use super::model::Resource;
use super::model::SyncHandle;
use crate::failure::Refusal;
use crate::objects::timeline::Point;

/// Counts one operation of a paging queue, which is done already; answers the value that its fence gets.
pub(super) fn paged(process: &mut Process, queue: RawHandle) -> Result<Point, Refusal> {
    let paging: &mut PagingQueue = process.get_mut(queue)?;
    paging.last_value = paging.last_value.saturating_add(1);
    let (fence, value) = (paging.fence, paging.last_value);
    let sync: &SyncHandle = process.get(fence)?;
    Ok(Point { sync: sync.core.sync, value })
}

/// Runs an operation of a paging queue and signals its fence; answers the fence value.
pub(super) fn paging<R>(
    session: &Session,
    process: RawHandle,
    queue: RawHandle,
    operation: impl FnOnce(&mut Process, RawHandle) -> Result<R, Refusal>,
) -> Result<(R, FenceValue), Refusal> {
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let device = process.get::<PagingQueue>(queue)?.device;
    process.active_device(device)?;
    let result = operation(process, device)?;
    let point = paged(process, queue)?;
    drop(objects);
    session.engine.change(|timeline| timeline.signal(point));
    Ok((result, FenceValue(point.value)))
}

/// MAKERESIDENT.
pub(super) fn make_resident(session: &Session, process: RawHandle, message: &MakeResidentMessage) -> Answer {
    let mut answer = MakeResidentReply::new_zeroed();
    let done = paging(session, process, message.command.paging_queue, |process, device| {
        for handle in listed(process, device, &message.allocations)? {
            let allocation: &mut Allocation = process.get_mut(handle)?;
            allocation.residency = allocation.residency.saturating_add(1);
        }
        Ok(())
    });
    match done {
        Ok(((), value)) => {
            answer.paging_fence_value = value;
            answer.status = NtStatus::PENDING;
        }
        Err(refused) => answer.status = refused.0,
    }
    reply(&answer)
}

/// EVICT. There is no status.
pub(super) fn evict(session: &Session, process: RawHandle, message: &EvictMessage) -> Answer {
    let mut objects = session.objects.lock();
    let evicted = objects.process(process).and_then(|process| {
        for handle in listed(process, message.command.device, &message.allocations)? {
            let allocation: &mut Allocation = process.get_mut(handle)?;
            allocation.residency = allocation.residency.saturating_sub(1);
        }
        Ok(())
    });
    if let Err(refused) = evicted {
        tracing::debug!(status = ?refused.0, "nothing evicted");
    }
    reply(&EvictReply::new_zeroed())
}

/// QUERYALLOCATIONRESIDENCY.
pub(super) fn query(
    session: &Session,
    process: RawHandle,
    message: &QueryAllocationResidencyMessage,
) -> Answer {
    let args = &message.command.args;
    let mut objects = session.objects.lock();
    let values = objects.process(process).and_then(|process| {
        let handles = named(process, args.device, args.resource, &message.allocations)?;
        handles.into_iter().map(|handle| Ok(status_of(process.get::<Allocation>(handle)?).0)).collect()
    });
    per_allocation(values, message.allocations.len())
}

fn status_of(allocation: &Allocation) -> AllocationResidencyStatus {
    if allocation.residency == 0 || allocation.offered {
        AllocationResidencyStatus::NOTRESIDENT
    } else {
        AllocationResidencyStatus::RESIDENTINGPUMEMORY
    }
}

/// OFFERALLOCATIONS.
pub(super) fn offer(session: &Session, process: RawHandle, message: &OfferAllocationsMessage) -> Answer {
    let command = &message.command;
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    for handle in either(process, command.device, &message.allocations, command.resources != 0)? {
        process.get_mut::<Allocation>(handle)?.offered = true;
    }
    done()
}

/// RECLAIMALLOCATIONS.
pub(super) fn reclaim(session: &Session, process: RawHandle, message: &ReclaimAllocationsMessage) -> Answer {
    let command = &message.command;
    let mut answer = ReclaimAllocationsReply::new_zeroed();
    let reclaimed = paging(session, process, command.paging_queue, |process, device| {
        for handle in either(process, device, &message.allocations, command.resources != 0)? {
            process.get_mut::<Allocation>(handle)?.offered = false;
        }
        Ok(())
    });
    match reclaimed {
        Ok(((), value)) => {
            answer.paging_fence_value = value;
            answer.status = NtStatus::PENDING;
        }
        Err(refused) => answer.status = refused.0,
    }
    let count = if command.write_results == 0 { 0 } else { message.allocations.len() };
    encoded(ReclaimAllocationsAnswer { reply: answer, results: vec![ReclaimResult::OK; count] }.encode())
}

/// UPDATEALLOCATIONPROPERTY: there is one segment, so nothing but the queue's fence changes.
pub(super) fn update_property(
    session: &Session,
    process: RawHandle,
    command: &UpdateAllocationPropertyCommand,
) -> Answer {
    let mut answer = UpdateAllocationPropertyReply::new_zeroed();
    let updated = paging(session, process, command.args.paging_queue, |process, device| {
        listed(process, device, &[command.args.allocation])
    });
    match updated {
        Ok((_, value)) => {
            answer.paging_fence_value = value;
            answer.status = NtStatus::PENDING;
        }
        Err(refused) => answer.status = refused.0,
    }
    reply(&answer)
}

/// A list of allocations that is not empty.
fn listed(process: &Process, device: RawHandle, handles: &[RawHandle]) -> Result<Vec<RawHandle>, Refusal> {
    if handles.is_empty() { Err(INVALID) } else { named(process, device, RawHandle::NONE, handles) }
}

/// A list of allocations, or of resources that stand for theirs.
fn either(
    process: &Process,
    device: RawHandle,
    handles: &[RawHandle],
    resources: bool,
) -> Result<Vec<RawHandle>, Refusal> {
    if !resources {
        return listed(process, device, handles);
    }
    let mut all = Vec::new();
    for handle in handles {
        let resource: &Resource = process.get(*handle)?;
        if resource.device != device {
            return Err(INVALID);
        }
        all.extend_from_slice(&resource.allocations);
    }
    Ok(all)
}
