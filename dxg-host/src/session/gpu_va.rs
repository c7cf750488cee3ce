//! GPU virtual addresses: reserving, mapping, changing, freeing.

use dxg_ioctl::GpuVa;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::GpuVaReservationType;
use dxg_ioctl::abi::UpdateGpuVirtualAddressOperation;
use dxg_ioctl::abi::UpdateGpuVirtualAddressOperationType;
use dxg_wire::messages::FreeGpuVirtualAddressCommand;
use dxg_wire::messages::MapGpuVirtualAddressCommand;
use dxg_wire::messages::MapGpuVirtualAddressReply;
use dxg_wire::messages::ReserveGpuVirtualAddressCommand;
use dxg_wire::messages::ReserveGpuVirtualAddressReply;
use dxg_wire::messages::gpu_va::UpdateGpuVirtualAddressMessage;
use zerocopy::FromZeros;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::NO_MEMORY;
use super::answer::done;
use super::answer::reply;
use super::engine::Task;
use super::engine::Work;
use super::execute::VaOperation;
use super::model::ADAPTER;
use super::model::Allocation;
use super::model::Context;
use super::model::PagingQueue;
use super::model::Process;
use super::model::SyncHandle;
use super::residency::paging;
use super::space::TargetId;
use crate::failure::Refusal;
use crate::objects::address_space::Mapped;
use crate::objects::address_space::PAGE_BYTES;
use crate::objects::address_space::Placement;
use crate::objects::address_space::RangeError;
use crate::objects::timeline::Effect;
use crate::objects::timeline::Item;
use crate::objects::timeline::Point;

fn refusal(error: RangeError) -> Refusal {
    match error {
        RangeError::Occupied | RangeError::Full => NO_MEMORY,
        RangeError::Invalid | RangeError::NotFound => INVALID,
    }
}

fn placement(base: GpuVa, low: GpuVa, high: GpuVa) -> Placement {
    if base.0 == 0 { Placement::Within(low.0, high.0) } else { Placement::At(base.0) }
}

/// RESERVEGPUVIRTUALADDRESS: address 0 where there is none.
pub(super) fn reserve(
    session: &Session,
    process: RawHandle,
    command: &ReserveGpuVirtualAddressCommand,
) -> Answer {
    let mut answer = ReserveGpuVirtualAddressReply::new_zeroed();
    let args = &command.args;
    let known = matches!(
        args.reservation_type,
        GpuVaReservationType::NO_ACCESS | GpuVaReservationType::ZERO | GpuVaReservationType::NO_COMMIT
    );
    let mut objects = session.objects.lock();
    let reserved = objects.process(process).and_then(|process| {
        if args.adapter != ADAPTER {
            process.get::<PagingQueue>(args.adapter)?;
        }
        if !known {
            return Err(INVALID);
        }
        let placement = placement(args.base_address, args.minimum_address, args.maximum_address);
        process.space.lock().ranges.reserve(placement, args.size).map_err(refusal)
    });
    answer.virtual_address = GpuVa(reserved.unwrap_or(0));
    reply(&answer)
}

/// MAPGPUVIRTUALADDRESS.
pub(super) fn map(session: &Session, process: RawHandle, command: &MapGpuVirtualAddressCommand) -> Answer {
    let mut answer = MapGpuVirtualAddressReply::new_zeroed();
    let mapped = paging(session, process, command.args.paging_queue, |process, device| {
        try_map(process, device, command)
    });
    match mapped {
        Ok((address, value)) => {
            answer.virtual_address = GpuVa(address);
            answer.paging_fence_value = value;
            answer.status = NtStatus::PENDING;
        }
        Err(refused) => answer.status = refused.0,
    }
    reply(&answer)
}

fn try_map(
    process: &mut Process,
    device: RawHandle,
    command: &MapGpuVirtualAddressCommand,
) -> Result<u64, Refusal> {
    let args = &command.args;
    let placement = placement(args.base_address, args.minimum_address, args.maximum_address);
    let size_bytes = args.size_in_pages.checked_mul(PAGE_BYTES).ok_or(INVALID)?;
    if args.allocation.is_none() {
        // Nothing behind the range: it is reserved, or what was mapped there goes.
        let mut space = process.space.lock();
        return match placement {
            Placement::At(address) => {
                space.ranges.unmap(address, size_bytes).map_err(refusal).map(|()| address)
            }
            Placement::Within(..) => space.ranges.reserve(placement, size_bytes).map_err(refusal),
        };
    }
    let offset_bytes = args.offset_in_pages.checked_mul(PAGE_BYTES).ok_or(INVALID)?;
    let mapped = target(process, device, args.allocation, offset_bytes, size_bytes)?;
    process.space.lock().ranges.map(placement, size_bytes, mapped).map_err(refusal)
}

/// A part of an allocation, as a mapping.
fn target(
    process: &Process,
    device: RawHandle,
    allocation: RawHandle,
    offset_bytes: u64,
    size_bytes: u64,
) -> Result<Mapped<TargetId>, Refusal> {
    let allocation: &Allocation = process.get(allocation)?;
    let end = offset_bytes.checked_add(size_bytes).ok_or(INVALID)?;
    if allocation.device != device || end > allocation.size_bytes || !offset_bytes.is_multiple_of(PAGE_BYTES)
    {
        return Err(INVALID);
    }
    Ok(Mapped { target: allocation.target, offset_bytes })
}

/// FREEGPUVIRTUALADDRESS.
pub(super) fn free(session: &Session, process: RawHandle, command: &FreeGpuVirtualAddressCommand) -> Answer {
    let args = &command.args;
    if args.adapter != ADAPTER {
        return Err(INVALID.into());
    }
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    process.space.lock().ranges.free(args.base_address.0, args.size).map_err(refusal)?;
    done()
}

/// UPDATEGPUVIRTUALADDRESS: the changes take effect in the order of the context's work, then its fence is signalled.
pub(super) fn update(
    session: &Session,
    process: RawHandle,
    message: &UpdateGpuVirtualAddressMessage,
) -> Answer {
    let command = &message.command;
    let mut objects = session.objects.lock();
    let owner = process;
    let process = objects.process(process)?;
    let context: &Context = process.get(command.context)?;
    let (queue, device) = (context.queue, context.device);
    process.active_device(device)?;
    if device != command.device {
        return Err(INVALID.into());
    }
    let fence = if command.fence_object.is_none() {
        None
    } else {
        let sync: &SyncHandle = process.get(command.fence_object)?;
        Some(Point { sync: sync.core.sync, value: command.fence_value.0 })
    };
    let operations = message
        .operations
        .iter()
        .map(|operation| resolve(process, device, operation))
        .collect::<Result<Vec<_>, Refusal>>()?;
    let space = std::sync::Arc::clone(&process.space);
    drop(objects);
    let work = Work { process: owner, device, space, task: Task::UpdateAddresses(operations) };
    session
        .engine
        .change(|timeline| {
            timeline.push(queue, Item::Work(work))?;
            fence.map_or(Ok(()), |point| timeline.push_signal(&[queue], &Effect::Points(vec![point])))
        })
        .map_err(|_| NO_MEMORY)?;
    done()
}

fn resolve(
    process: &Process,
    device: RawHandle,
    operation: &UpdateGpuVirtualAddressOperation,
) -> Result<VaOperation, Refusal> {
    let map = |address: GpuVa, size_bytes, allocation, offset_bytes| {
        let mapped = target(process, device, allocation, offset_bytes, size_bytes)?;
        Ok(VaOperation::Map { address: address.0, size_bytes, mapped })
    };
    match operation.operation {
        UpdateGpuVirtualAddressOperationType::MAP => {
            let it = operation.args.map();
            map(it.base_address, it.size, it.allocation, it.allocation_offset)
        }
        UpdateGpuVirtualAddressOperationType::MAP_PROTECT => {
            let it = operation.args.map_protect();
            map(it.base_address, it.size, it.allocation, it.allocation_offset)
        }
        UpdateGpuVirtualAddressOperationType::UNMAP => {
            let it = operation.args.unmap();
            Ok(VaOperation::Unmap { address: it.base_address.0, size_bytes: it.size })
        }
        UpdateGpuVirtualAddressOperationType::COPY => {
            let it = operation.args.copy();
            Ok(VaOperation::Copy {
                source: it.source_address.0,
                destination: it.dest_address.0,
                size_bytes: it.size,
            })
        }
        _ => Err(INVALID),
    }
}
