//! Allocations that exist: destroying, locking, priorities.

use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_wire::messages::InvalidateCacheCommand;
use dxg_wire::messages::Lock2Command;
use dxg_wire::messages::Lock2Reply;
use dxg_wire::messages::Unlock2Command;
use dxg_wire::messages::allocation::DestroyAllocationMessage;
use dxg_wire::messages::allocation::GetAllocationPriorityMessage;
use dxg_wire::messages::allocation::PerAllocationAnswer;
use dxg_wire::messages::allocation::SetAllocationPriorityMessage;
use zerocopy::FromZeros;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::done;
use super::answer::encoded;
use super::answer::reply;
use super::model::Allocation;
use super::model::Memory;
use super::model::Object;
use super::model::Process;
use super::model::Resource;
use crate::failure::Refusal;

/// The allocations that a list names, or those of a resource where the list is empty.
pub(super) fn named(
    process: &Process,
    device: RawHandle,
    resource: RawHandle,
    listed: &[RawHandle],
) -> Result<Vec<RawHandle>, Refusal> {
    let handles = if listed.is_empty() {
        let resource: &Resource = process.get(resource)?;
        resource.allocations.clone()
    } else {
        listed.to_vec()
    };
    for handle in &handles {
        let allocation: &Allocation = process.get(*handle)?;
        if !device.is_none() && allocation.device != device {
            return Err(INVALID);
        }
    }
    Ok(handles)
}

/// DESTROYALLOCATION: allocations, or a resource with all that it has.
pub(super) fn destroy(session: &Session, process: RawHandle, message: &DestroyAllocationMessage) -> Answer {
    let command = &message.command;
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let mut gone: Vec<Object> = Vec::new();
    let whole = message.allocations.is_empty();
    if whole && process.get::<Resource>(command.resource)?.device != command.device {
        return Err(INVALID.into());
    }
    let handles = named(process, command.device, command.resource, &message.allocations)?;
    for handle in &handles {
        let Ok(allocation) = process.get::<Allocation>(*handle) else { continue };
        process.space.lock().remove(allocation.target);
        let resource = allocation.resource;
        gone.extend(process.table.remove(*handle));
        if let Some(Ok(resource)) = resource.map(|resource| process.get_mut::<Resource>(resource)) {
            resource.allocations.retain(|left| left != handle);
        }
    }
    if whole {
        gone.extend(process.table.remove(command.resource));
    }
    drop(objects);
    drop(gone);
    done()
}

/// LOCK2: where the guest finds the memory.
pub(super) fn lock(session: &Session, process: RawHandle, command: &Lock2Command) -> Answer {
    let mut answer = Lock2Reply::new_zeroed();
    match try_lock(session, process, command) {
        Ok(address) => answer.cpu_visible_buffer_offset = UserPtr(address),
        Err(refused) => answer.status = refused.0,
    }
    reply(&answer)
}

fn try_lock(session: &Session, process: RawHandle, command: &Lock2Command) -> Result<u64, Refusal> {
    let mut objects = session.objects.lock();
    let allocation: &mut Allocation = objects.process(process)?.get_mut(command.args.allocation)?;
    if allocation.device != command.args.device {
        return Err(INVALID);
    }
    let address = allocation.place.and_then(|place| place.address()).ok_or(INVALID)?;
    allocation.locks = allocation.locks.saturating_add(1);
    Ok(address)
}

/// UNLOCK2.
pub(super) fn unlock(session: &Session, process: RawHandle, command: &Unlock2Command) -> Answer {
    let mut objects = session.objects.lock();
    let allocation: &mut Allocation = objects.process(process)?.get_mut(command.args.allocation)?;
    // The guest's own pages are not locked here, yet it says so when it is done with them.
    if matches!(*allocation.memory, Memory::Guest) {
        return done();
    }
    if allocation.device != command.args.device || allocation.locks == 0 {
        return Err(INVALID.into());
    }
    allocation.locks -= 1;
    done()
}

/// INVALIDATECACHE: memory is coherent here; only the range is judged.
pub(super) fn invalidate_cache(
    session: &Session,
    process: RawHandle,
    command: &InvalidateCacheCommand,
) -> Answer {
    let mut objects = session.objects.lock();
    let allocation: &Allocation = objects.process(process)?.get(command.allocation)?;
    let end = command.offset.checked_add(command.length);
    if end.is_none_or(|end| end > allocation.size_bytes) {
        return Err(INVALID.into());
    }
    done()
}

/// SETALLOCATIONPRIORITY.
pub(super) fn set_priority(
    session: &Session,
    process: RawHandle,
    message: &SetAllocationPriorityMessage,
) -> Answer {
    let command = &message.command;
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let handles = named(process, command.device, command.resource, &message.allocations)?;
    let last = message.priorities.last().copied().unwrap_or(0);
    let priorities = message.priorities.iter().copied().chain(std::iter::repeat(last));
    for (handle, priority) in handles.into_iter().zip(priorities) {
        process.get_mut::<Allocation>(handle)?.priority = priority;
    }
    done()
}

/// GETALLOCATIONPRIORITY.
pub(super) fn priority(
    session: &Session,
    process: RawHandle,
    message: &GetAllocationPriorityMessage,
) -> Answer {
    let command = &message.command;
    let mut objects = session.objects.lock();
    let values = objects.process(process).and_then(|process| {
        let handles = named(process, command.device, command.resource, &message.allocations)?;
        handles.into_iter().map(|handle| Ok(process.get::<Allocation>(handle)?.priority)).collect()
    });
    per_allocation(values, message.allocations.len())
}

/// A status with a number for each allocation, or with one for a resource.
pub(super) fn per_allocation(values: Result<Vec<u32>, Refusal>, listed: usize) -> Answer {
    let count = listed.max(1);
    let (status, mut values) = match values {
        Ok(values) => (NtStatus::SUCCESS, values),
        Err(refused) => (refused.0, Vec::new()),
    };
    values.resize(count, 0);
    encoded(PerAllocationAnswer { status, values }.encode())
}
