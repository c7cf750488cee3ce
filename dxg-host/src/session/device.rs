//! Devices: their life, their state, and what ends with them.

use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::DeviceExecutionState;
use dxg_ioctl::abi::DeviceStateType;
use dxg_ioctl::abi::GetDeviceStateState;
use dxg_ioctl::abi::SynchronizationObjectFlags;
use dxg_wire::messages::CreateDeviceCommand;
use dxg_wire::messages::CreateDeviceReply;
use dxg_wire::messages::GetDeviceStateCommand;
use dxg_wire::messages::GetDeviceStateReply;
use dxg_wire::messages::MarkDeviceAsErrorCommand;
use zerocopy::FromZeros;

use super::Session;
use super::answer::Answer;
use super::answer::done;
use super::answer::reply;
use super::model::Device;
use super::model::Object;
use super::model::Process;
use crate::objects::timeline::Point;
use crate::objects::timeline::QueueId;
use crate::objects::timeline::SyncId;

/// CREATEDEVICE: handle 0 where there can be none.
pub(super) fn create(session: &Session, process: RawHandle, command: &CreateDeviceCommand) -> Answer {
    let device = Device { cookie: command.error_code.0, state: DeviceExecutionState::ACTIVE };
    let mut objects = session.objects.lock();
    let device = objects.process(process).and_then(|process| process.publish(device));
    reply(&CreateDeviceReply { device: device.unwrap_or(RawHandle::NONE) })
}

/// DESTROYDEVICE: with all below it.
pub(super) fn destroy(session: &Session, process: RawHandle, device: RawHandle) -> Answer {
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    process.get::<Device>(device)?;
    let gone = take_device(session, process, device);
    drop(objects);
    drop(gone);
    done()
}

/// Destroys devices of a process that is not published any more.
pub(super) fn destroy_devices(session: &Session, process: &mut Process, devices: &[RawHandle]) {
    for device in devices {
        drop(take_device(session, process, *device));
    }
}

/// Takes a device and all below it out of the table. What comes back is dropped without locks: windows go with it.
fn take_device(session: &Session, process: &mut Process, device: RawHandle) -> Vec<Object> {
    let below: Vec<RawHandle> = process
        .table
        .iter()
        .filter(|(handle, object)| *handle == device || device_of(object) == Some(device))
        .map(|(handle, _)| handle)
        .collect();
    let mut gone = Vec::with_capacity(below.len());
    let mut queues = Vec::new();
    for handle in below {
        let Some(object) = process.table.remove(handle) else { continue };
        match &object {
            Object::Context(context) => queues.push(context.queue),
            Object::HwQueue(queue) => queues.push(queue.queue),
            Object::Allocation(allocation) => process.space.lock().remove(allocation.target),
            Object::Sync(sync) => {
                if let Some((target, address)) = sync.mapped {
                    process.space.lock().unmap_fence(target, address);
                }
            }
            _ => {}
        }
        gone.push(object);
    }
    session.engine.change(|timeline| queues.into_iter().for_each(|queue| timeline.remove_queue(queue)));
    gone
}

/// The device that an object goes with.
fn device_of(object: &Object) -> Option<RawHandle> {
    match object {
        Object::Device(_) => None,
        Object::Context(context) => Some(context.device),
        Object::HwQueue(queue) => Some(queue.device),
        Object::PagingQueue(queue) => Some(queue.device),
        Object::Resource(resource) => Some(resource.device),
        Object::Allocation(allocation) => Some(allocation.device),
        Object::Sync(sync) => sync.device,
    }
}

/// Puts a device in error: its queues run out, its fences take their largest value, and its guest is told.
pub(super) fn fail_device(
    session: &Session,
    process: RawHandle,
    device: RawHandle,
    state: DeviceExecutionState,
) {
    let mut objects = session.objects.lock();
    let Ok(process) = objects.process(process) else { return };
    let Ok(failed) = process.get_mut::<Device>(device) else { return };
    if failed.state != DeviceExecutionState::ACTIVE {
        return;
    }
    failed.state = state;
    let cookie = failed.cookie;
    let (queues, fences) = of_device(process, device);
    drop(objects);
    session.engine.device_changed(cookie);
    session.engine.change(|timeline| {
        for queue in queues {
            timeline.fail_queue(queue);
        }
        for sync in fences {
            timeline.signal(Point { sync, value: u64::MAX });
        }
    });
}

/// The queues and the fences of a device.
fn of_device(process: &Process, device: RawHandle) -> (Vec<QueueId>, Vec<SyncId>) {
    let mut queues = Vec::new();
    let mut fences = Vec::new();
    for (_, object) in process.table.iter() {
        if device_of(object) != Some(device) {
            continue;
        }
        match object {
            Object::Context(context) => queues.push(context.queue),
            Object::HwQueue(queue) => queues.push(queue.queue),
            Object::Sync(sync) => {
                let keeps = SynchronizationObjectFlags::NO_SIGNAL_MAX_VALUE_ON_TDR;
                if !sync.core.flags.contains(keeps) {
                    fences.push(sync.core.sync);
                }
            }
            _ => {}
        }
    }
    (queues, fences)
}

/// FLUSHDEVICE: the device is about to go; what has not run will not.
pub(super) fn flush(session: &Session, process: RawHandle, device: RawHandle) -> Answer {
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    process.get::<Device>(device)?;
    let (queues, _) = of_device(process, device);
    drop(objects);
    session.engine.change(|timeline| queues.into_iter().for_each(|queue| timeline.fail_queue(queue)));
    done()
}

/// MARKDEVICEASERROR: the guest itself gives its device up.
pub(super) fn mark_as_error(
    session: &Session,
    process: RawHandle,
    command: &MarkDeviceAsErrorCommand,
) -> Answer {
    session.objects.lock().process(process)?.get::<Device>(command.args.device)?;
    fail_device(session, process, command.args.device, DeviceExecutionState::RESET);
    done()
}

/// GETDEVICESTATE.
pub(super) fn state(session: &Session, process: RawHandle, command: &GetDeviceStateCommand) -> Answer {
    let mut answer = GetDeviceStateReply::new_zeroed();
    answer.args = command.args;
    let mut objects = session.objects.lock();
    let device = objects.process(process).and_then(|process| process.get::<Device>(command.args.device));
    match (device, command.args.state_type) {
        (Err(refused), _) => answer.status = refused.0,
        (Ok(device), DeviceStateType::EXECUTION) => {
            answer.args.state = GetDeviceStateState::from_execution_state(device.state);
        }
        (Ok(_), DeviceStateType::RESET | DeviceStateType::PAGE_FAULT) => {
            answer.args.state = GetDeviceStateState::new_zeroed();
        }
        // Nothing is presented here.
        (Ok(_), _) => answer.status = NtStatus::NOT_SUPPORTED,
    }
    reply(&answer)
}
