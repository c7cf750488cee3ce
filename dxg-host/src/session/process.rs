//! Processes of the guest.

use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_wire::messages::CreateProcessReply;

use super::Session;
use super::answer::Answer;
use super::answer::reply;
use super::answer::status;
use super::device::destroy_devices;
use super::model::Device;
use super::model::Object;
use super::model::Process;

/// CREATEPROCESS: handle 0 where there are too many.
pub(super) fn create(session: &Session) -> Answer {
    let hprocess = session.objects.lock().processes.insert(Process::new()).unwrap_or(RawHandle::NONE);
    reply(&CreateProcessReply { hprocess })
}

/// DESTROYPROCESS: with all that it has left.
pub(super) fn destroy(session: &Session, process: RawHandle) -> Answer {
    let Some(mut gone) = session.objects.lock().processes.remove(process) else {
        return status(NtStatus::INVALID_HANDLE);
    };
    let devices: Vec<RawHandle> = gone
        .table
        .iter()
        .filter(|(_, object)| matches!(object, Object::Device(Device { .. })))
        .map(|(handle, _)| handle)
        .collect();
    destroy_devices(session, &mut gone, &devices);
    // What is left are synchronization objects without a device; they go with the table.
    drop(gone);
    status(NtStatus::SUCCESS)
}
