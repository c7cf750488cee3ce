//! Contexts, hardware queues and paging queues.

use std::sync::Arc;

use dxg_ioctl::GpuVa;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::SynchronizationObjectFlags;
use dxg_wire::messages::CreatePagingQueueCommand;
use dxg_wire::messages::CreatePagingQueueReply;
use dxg_wire::messages::GetContextSchedulingPriorityCommand;
use dxg_wire::messages::GetContextSchedulingPriorityReply;
use dxg_wire::messages::Message;
use dxg_wire::messages::SetContextSchedulingPriority2Command;
use dxg_wire::messages::context::CreateContextVirtualMessage;
use dxg_wire::messages::context::CreateHwQueueMessage;
use zerocopy::FromZeros;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::done;
use super::answer::encoded;
use super::answer::reply;
use super::model::Context;
use super::model::HwQueue;
use super::model::Object;
use super::model::PagingQueue;
use super::sync;
use super::sync::SyncCore;
use crate::failure::Refusal;
use crate::objects::timeline::QueueId;

/// Engines of the device; the built-in one is the only one.
const NODES: u32 = 1;

/// CREATECONTEXTVIRTUAL: the message comes back with the handle, 0 where there can be none.
pub(super) fn create(session: &Session, process: RawHandle, message: &CreateContextVirtualMessage) -> Answer {
    let mut answer = message.clone();
    answer.command.context = try_create(session, process, message).unwrap_or(RawHandle::NONE);
    encoded(answer.encode())
}

fn try_create(
    session: &Session,
    process: RawHandle,
    message: &CreateContextVirtualMessage,
) -> Result<RawHandle, Refusal> {
    if message.command.node_ordinal >= NODES {
        return Err(INVALID);
    }
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let device = message.command.device;
    process.active_device(device)?;
    let queue = session.engine.change(|timeline| timeline.add_queue());
    process
        .publish(Context { device, queue, priorities: [0; 2] })
        .inspect_err(|_| session.engine.change(|timeline| timeline.remove_queue(queue)))
}

/// DESTROYCONTEXT: with its hardware queues.
pub(super) fn destroy(session: &Session, process: RawHandle, context: RawHandle) -> Answer {
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let mut queues: Vec<QueueId> = vec![process.get::<Context>(context)?.queue];
    let below: Vec<(RawHandle, RawHandle)> = process
        .table
        .iter()
        .filter_map(|(handle, object)| match object {
            Object::HwQueue(queue) if queue.context == context => Some((handle, queue.fence)),
            _ => None,
        })
        .collect();
    let mut gone = Vec::new();
    for (queue, fence) in below {
        queues.push(process.get::<HwQueue>(queue)?.queue);
        gone.extend(process.table.remove(queue));
        gone.extend(sync::take_sync(process, fence));
    }
    process.table.remove(context);
    drop(objects);
    drop(gone);
    session.engine.change(|timeline| queues.into_iter().for_each(|queue| timeline.remove_queue(queue)));
    done()
}

/// A fence for a queue.
fn queue_fence(session: &Session) -> Result<(Arc<SyncCore>, u64), Refusal> {
    let core = sync::monitored(session, 0, SynchronizationObjectFlags::empty())?;
    let address = core.page.as_ref().ok_or(INVALID)?.address().0;
    Ok((Arc::new(core), address))
}

/// CREATEHWQUEUE: the message comes back with status, handles and addresses.
pub(super) fn create_hw_queue(
    session: &Session,
    process: RawHandle,
    message: &CreateHwQueueMessage,
) -> Answer {
    let mut answer = message.clone();
    match try_create_hw_queue(session, process, message.command.context) {
        Ok(made) => {
            answer.command.status = NtStatus::SUCCESS;
            answer.command.hwqueue = made.queue;
            answer.command.hwqueue_progress_fence = made.fence;
            answer.command.hwqueue_progress_fence_cpuva = UserPtr(made.address);
            answer.command.hwqueue_progress_fence_gpuva = GpuVa(made.gpu_va);
        }
        Err(refused) => answer.command.status = refused.0,
    }
    encoded(answer.encode())
}

/// A queue with its fence.
struct Made {
    queue: RawHandle,
    fence: RawHandle,
    address: u64,
    gpu_va: u64,
}

fn try_create_hw_queue(session: &Session, process: RawHandle, context: RawHandle) -> Result<Made, Refusal> {
    let (core, address) = queue_fence(session)?;
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let device = process.get::<Context>(context)?.device;
    process.active_device(device)?;
    let (fence, gpu_va) = sync::publish_fence(process, Some(device), core, true)?;
    let queue = session.engine.change(|timeline| timeline.add_queue());
    match process.publish(HwQueue { device, context, queue, fence }) {
        Ok(handle) => Ok(Made { queue: handle, fence, address, gpu_va }),
        Err(refused) => {
            let gone = sync::take_sync(process, fence);
            drop(objects);
            drop(gone);
            session.engine.change(|timeline| timeline.remove_queue(queue));
            Err(refused)
        }
    }
}

/// DESTROYHWQUEUE.
pub(super) fn destroy_hw_queue(session: &Session, process: RawHandle, queue: RawHandle) -> Answer {
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let HwQueue { queue: id, fence, .. } = *process.get::<HwQueue>(queue)?;
    process.table.remove(queue);
    let gone = sync::take_sync(process, fence);
    drop(objects);
    drop(gone);
    session.engine.change(|timeline| timeline.remove_queue(id));
    done()
}

/// CREATEPAGINGQUEUE: handles 0 where there can be none.
pub(super) fn create_paging_queue(
    session: &Session,
    process: RawHandle,
    command: &CreatePagingQueueCommand,
) -> Answer {
    let answer = try_create_paging_queue(session, process, command.args.device);
    reply(&answer.unwrap_or_else(|_| CreatePagingQueueReply::new_zeroed()))
}

fn try_create_paging_queue(
    session: &Session,
    process: RawHandle,
    device: RawHandle,
) -> Result<CreatePagingQueueReply, Refusal> {
    let (core, address) = queue_fence(session)?;
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    process.active_device(device)?;
    let (fence, _) = sync::publish_fence(process, Some(device), core, true)?;
    match process.publish(PagingQueue { device, fence, last_value: 0 }) {
        Ok(paging_queue) => Ok(CreatePagingQueueReply {
            paging_queue,
            sync_object: fence,
            fence_storage_physical_address: address,
            fence_storage_offset: 0,
        }),
        Err(refused) => {
            let gone = sync::take_sync(process, fence);
            drop(objects);
            drop(gone);
            Err(refused)
        }
    }
}

/// DESTROYPAGINGQUEUE. Its answer is empty.
pub(super) fn destroy_paging_queue(session: &Session, process: RawHandle, queue: RawHandle) -> Answer {
    let mut objects = session.objects.lock();
    let gone = objects.process(process).and_then(|process| {
        let fence = process.get::<PagingQueue>(queue)?.fence;
        process.table.remove(queue);
        Ok(sync::take_sync(process, fence))
    });
    drop(objects);
    drop(gone);
    Ok(Vec::new())
}

/// SETCONTEXTSCHEDULINGPRIORITY, in both forms.
pub(super) fn set_priority(
    session: &Session,
    process: RawHandle,
    command: &SetContextSchedulingPriority2Command,
) -> Answer {
    let mut objects = session.objects.lock();
    let context: &mut Context = objects.process(process)?.get_mut(command.context)?;
    if let Some(priority) = context.priorities.get_mut(usize::from(command.in_process != 0)) {
        *priority = command.priority;
    }
    done()
}

/// GETCONTEXTSCHEDULINGPRIORITY, in both forms.
pub(super) fn priority(
    session: &Session,
    process: RawHandle,
    command: &GetContextSchedulingPriorityCommand,
) -> Answer {
    let mut objects = session.objects.lock();
    let context = objects.process(process).and_then(|process| process.get::<Context>(command.context));
    reply(&match context {
        Ok(context) => GetContextSchedulingPriorityReply {
            status: NtStatus::SUCCESS,
            priority: context.priorities.get(usize::from(command.in_process != 0)).copied().unwrap_or(0),
        },
        Err(refused) => GetContextSchedulingPriorityReply { status: refused.0, priority: 0 },
    })
}
