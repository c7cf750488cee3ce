//! Signals and waits, from the CPU and from queues.

use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::SignalFlags;
use dxg_ioctl::abi::SynchronizationObjectFlags;
use dxg_ioctl::abi::WaitForSynchronizationObjectFromCpuFlags;
use dxg_wire::messages::sync::SignalSyncObjectMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromCpuMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromGpuMessage;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::NO_MEMORY;
use super::answer::WRONG_KIND;
use super::answer::done;
use super::model::Context;
use super::model::HwQueue;
use super::model::Object;
use super::model::Process;
use super::model::SyncHandle;
use crate::failure::Refusal;
use crate::objects::timeline::Effect;
use crate::objects::timeline::EventId;
use crate::objects::timeline::Item;
use crate::objects::timeline::Point;
use crate::objects::timeline::QueueId;
use crate::objects::timeline::WaitMode;

/// Most objects of one signal or wait.
const MAX_POINTS: usize = 4096;

/// The queue of a context or hardware queue, and its device.
pub(super) fn queue_of(process: &Process, handle: RawHandle) -> Result<(QueueId, RawHandle), Refusal> {
    match process.table.get(handle) {
        Some(Object::Context(Context { queue, device, .. })) => Ok((*queue, *device)),
        Some(Object::HwQueue(HwQueue { queue, device, .. })) => Ok((*queue, *device)),
        Some(_) => Err(WRONG_KIND),
        None => Err(super::answer::BAD_HANDLE),
    }
}

fn point(
    process: &Process,
    handle: RawHandle,
    value: u64,
    forbidden: SynchronizationObjectFlags,
) -> Result<Point, Refusal> {
    let sync: &SyncHandle = process.get(handle)?;
    if sync.core.flags.intersects(forbidden) {
        return Err(INVALID);
    }
    Ok(Point { sync: sync.core.sync, value })
}

/// SIGNALSYNCOBJECT.
pub(super) fn signal(session: &Session, process: RawHandle, message: &SignalSyncObjectMessage) -> Answer {
    let command = &message.command;
    if message.objects.len() > MAX_POINTS || message.contexts.len() > MAX_POINTS {
        return Err(INVALID.into());
    }
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let queues = message
        .contexts
        .iter()
        .map(|context| queue_of(process, *context).map(|(queue, _)| queue))
        .collect::<Result<Vec<_>, _>>()?;
    let effect = if command.flags.contains(SignalFlags::ENQUEUE_CPU_EVENT) {
        Effect::Event(EventId(command.target.cpu_event_handle()))
    } else {
        let values = message.fence_values.iter().map(|value| value.0);
        let values = values.chain(std::iter::repeat(command.fence_value.0));
        let points = message
            .objects
            .iter()
            .zip(values)
            .map(|(object, value)| point(process, *object, value, SynchronizationObjectFlags::NO_SIGNAL))
            .collect::<Result<Vec<_>, _>>()?;
        Effect::Points(points)
    };
    drop(objects);
    session
        .engine
        .change(|timeline| match (effect, queues.is_empty()) {
            (Effect::Points(points), true) => {
                points.into_iter().for_each(|point| timeline.signal(point));
                Ok(())
            }
            (Effect::Event(_), true) => Err(INVALID),
            (effect, false) => timeline.push_signal(&queues, &effect).map_err(|_| NO_MEMORY),
        })
        .map_err(Into::into)
        .and_then(|()| done())
}

/// WAITFORSYNCOBJECTFROMCPU: an event is set when the wait is over, at once where it is already.
pub(super) fn wait_cpu(
    session: &Session,
    process: RawHandle,
    message: &WaitForSyncObjectFromCpuMessage,
) -> Answer {
    if message.points.len() > MAX_POINTS {
        return Err(INVALID.into());
    }
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let points = message
        .points
        .iter()
        .map(|it| point(process, it.object, it.value.0, SynchronizationObjectFlags::NO_WAIT))
        .collect::<Result<Vec<_>, _>>()?;
    drop(objects);
    let any = message.command.flags.contains(WaitForSynchronizationObjectFromCpuFlags::WAIT_ANY);
    let mode = if any { WaitMode::Any } else { WaitMode::All };
    let event = EventId(message.command.guest_event_pointer);
    session.engine.change(|timeline| timeline.wait_cpu(points, mode, event)).map_err(|_| NO_MEMORY)?;
    done()
}

/// WAITFORSYNCOBJECTFROMGPU: the queue goes on when all are reached.
pub(super) fn wait_gpu(
    session: &Session,
    process: RawHandle,
    message: &WaitForSyncObjectFromGpuMessage,
) -> Answer {
    if message.points.len() > MAX_POINTS {
        return Err(INVALID.into());
    }
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let (queue, _) = queue_of(process, message.command.context)?;
    let points = message
        .points
        .iter()
        .map(|it| point(process, it.object, it.value.0, SynchronizationObjectFlags::NO_WAIT))
        .collect::<Result<Vec<_>, _>>()?;
    drop(objects);
    session.engine.change(|timeline| timeline.push(queue, Item::Wait(points))).map_err(|_| NO_MEMORY)?;
    done()
}
