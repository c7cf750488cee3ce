//! Making allocations, and opening those of others.
//!
//! *Why one window.* The allocations of one request lie in one window, one behind the other at page offsets: a resource is
//! shared by its window, and a request costs one announcement however many allocations it makes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::CreateAllocationFlags;
use dxg_ioctl::abi::CreateStandardAllocation;
use dxg_wire::messages::AllocationFlags;
use dxg_wire::messages::AllocationInfoReply;
use dxg_wire::messages::CreateAllocationReply;
use dxg_wire::messages::OpenResourceCommand;
use dxg_wire::messages::OpenResourceReply;
use dxg_wire::messages::allocation::CreateAllocationAnswer;
use dxg_wire::messages::allocation::CreateAllocationMessage;
use dxg_wire::messages::allocation::CreatedAllocation;
use dxg_wire::messages::info::OpenResourceAnswer;
use dxg_wire::session::SharedKind;
use dxg_wire::shared_object::SharedObject;
use dxg_wire::shm::SharedSlice;
use dxg_wire::transfer::ALLOCATION_MAGIC;
use dxg_wire::transfer::ALLOCATION_UNIT_BYTES;
use dxg_wire::transfer::AllocationData;
use zerocopy::FromBytes;
use zerocopy::FromZeros;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::NO_MEMORY;
use super::answer::encoded;
use super::answer::refusal;
use super::answer::short;
use super::backing::Backing;
use super::backing::Place;
use super::model::Allocation;
use super::model::Device;
use super::model::Memory;
use super::model::OwnedWindow;
use super::model::Process;
use super::model::Resource;
use super::private_data::PrivateBudget;
use super::private_data::PrivateData;
use super::share;
use super::space::Target;
use crate::failure::Refusal;
use crate::worker::Shareable;

/// Most allocations of one request.
const MAX_ALLOCATIONS: usize = 1024;
/// Most bytes of one allocation.
const MAX_SIZE_BYTES: u64 = 1 << 45;
/// Priority of an allocation that nobody gave one.
const NORMAL_PRIORITY: u32 = 0x7800_0000;

/// One allocation, sized and placed.
struct Planned {
    size_bytes: u64,
    offset_bytes: u64,
    private_data: Vec<u8>,
}

/// CREATEALLOCATION: an empty answer where it fails.
pub(super) fn create(session: &Session, process: RawHandle, message: &CreateAllocationMessage) -> Answer {
    match try_create(session, process, message) {
        Ok(answer) => encoded(answer.encode()),
        Err(refused) => {
            tracing::debug!(status = ?refused.0, count = message.allocations.len(), "no allocation");
            short()
        }
    }
}

fn try_create(
    session: &Session,
    process: RawHandle,
    message: &CreateAllocationMessage,
) -> Result<CreateAllocationAnswer, Refusal> {
    let flags = message.command.flags;
    check(session, process, message)?;
    let planned = plan(message)?;
    let in_window = !flags.contains(CreateAllocationFlags::EXISTING_SYSMEM);
    let shareable = flags.contains(CreateAllocationFlags::CREATE_SHARED);
    if shareable && !in_window {
        return Err(Refusal(NtStatus::NOT_SUPPORTED));
    }
    let (memory, window) = if in_window {
        let total = planned.last().map_or(0, |last| last.offset_bytes + last.size_bytes);
        let (memory, slice) = window(session, total, shareable)?;
        (Arc::new(memory), Some(slice))
    } else {
        (Arc::new(Memory::Guest), None)
    };
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let mut made =
        Made { process, private: &session.private, handles: Vec::new(), resource: RawHandle::NONE };
    let published = made.publish(message, &planned, &memory, window.as_ref());
    match published {
        Ok(()) => Ok(answer(message, &planned, &made)),
        Err(refused) => {
            let gone = made.undo();
            drop(objects);
            drop(gone);
            Err(refused)
        }
    }
}

fn check(session: &Session, process: RawHandle, message: &CreateAllocationMessage) -> Result<(), Refusal> {
    let command = &message.command;
    let flags = command.flags;
    if message.allocations.is_empty()
        || message.allocations.len() > MAX_ALLOCATIONS
        || flags.intersects(CreateAllocationFlags::EXISTING_SECTION | CreateAllocationFlags::CREATE_PROTECTED)
    {
        return Err(INVALID);
    }
    let needed = CreateAllocationFlags::CREATE_RESOURCE | CreateAllocationFlags::NT_SECURITY_SHARING;
    if flags.contains(CreateAllocationFlags::CREATE_SHARED) && !flags.contains(needed) {
        return Err(INVALID);
    }
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    process.active_device(command.device)?;
    if !command.resource.is_none() && !flags.contains(CreateAllocationFlags::CREATE_RESOURCE) {
        let resource: &Resource = process.get(command.resource)?;
        // What is shared is one window; what is added later would lie in another.
        if resource.device != command.device || resource.sealed || resource.shareable {
            return Err(INVALID);
        }
    }
    Ok(())
}

/// Sizes of the allocations, one behind the other.
fn plan(message: &CreateAllocationMessage) -> Result<Vec<Planned>, Refusal> {
    let standard = message.command.flags.contains(CreateAllocationFlags::STANDARD_ALLOCATION);
    if standard && message.allocations.len() != 1 {
        return Err(INVALID);
    }
    let mut offset_bytes: u64 = 0;
    message
        .allocations
        .iter()
        .map(|wanted| {
            let asked = if standard {
                let described = CreateStandardAllocation::read_from_bytes(&message.resource_data);
                described.map_err(|_| INVALID)?.existing_heap_data.size
            } else {
                let data = AllocationData::read_from_prefix(&wanted.private_data);
                let (data, _) = data.map_err(|_| INVALID)?;
                if data.magic != ALLOCATION_MAGIC || data.reserved != 0 {
                    return Err(INVALID);
                }
                data.size_bytes
            };
            let size_bytes = asked.checked_next_multiple_of(ALLOCATION_UNIT_BYTES).ok_or(INVALID)?;
            if !(1..=MAX_SIZE_BYTES).contains(&size_bytes) {
                return Err(INVALID);
            }
            let planned = Planned { size_bytes, offset_bytes, private_data: wanted.private_data.clone() };
            offset_bytes = offset_bytes.checked_add(size_bytes).ok_or(INVALID)?;
            Ok(planned)
        })
        .collect()
}

fn window(session: &Session, size_bytes: u64, shareable: bool) -> Result<(Memory, SharedSlice), Refusal> {
    let shareable = if shareable { Shareable::Yes } else { Shareable::No };
    let (base, mapping) = session.link.create_window(size_bytes, shareable).map_err(refusal)?;
    session.used_bytes.fetch_add(size_bytes, Ordering::Relaxed);
    let window = OwnedWindow {
        link: Arc::clone(&session.link),
        base,
        size_bytes,
        used_bytes: Arc::clone(&session.used_bytes),
    };
    Ok((Memory::Window(window), SharedSlice::whole(&mapping)))
}

/// What a request has published so far.
struct Made<'a> {
    process: &'a mut Process,
    private: &'a PrivateBudget,
    handles: Vec<RawHandle>,
    resource: RawHandle,
}

impl Made<'_> {
    fn publish(
        &mut self,
        message: &CreateAllocationMessage,
        planned: &[Planned],
        memory: &Arc<Memory>,
        window: Option<&SharedSlice>,
    ) -> Result<(), Refusal> {
        let command = &message.command;
        // The device may have gone while the window was made.
        self.process.get::<Device>(command.device)?;
        let new_resource = command.flags.contains(CreateAllocationFlags::CREATE_RESOURCE);
        if new_resource {
            self.resource = self.process.publish(Resource {
                device: command.device,
                allocations: Vec::new(),
                shareable: command.flags.contains(CreateAllocationFlags::CREATE_SHARED),
                sealed: false,
                runtime_data: self.private.keep(message.runtime_data.clone())?,
                resource_data: self.private.keep(message.resource_data.clone())?,
                memory: Arc::clone(memory),
                exported: None,
            })?;
        }
        let resource = if new_resource { self.resource } else { command.resource };
        for planned in planned {
            let place = match (&**memory, window) {
                (Memory::Window(window), Some(_)) => {
                    Some(Place { base: window.base, offset_bytes: planned.offset_bytes })
                }
                _ => None,
            };
            let backing = match window {
                Some(window) => Backing::whole(piece(window, planned.offset_bytes, planned.size_bytes)?),
                None => Backing::default(),
            };
            let private_data = self.private.keep(planned.private_data.clone())?;
            let allocation = Allocation {
                device: command.device,
                resource: Some(resource).filter(|resource| !resource.is_none()),
                size_bytes: planned.size_bytes,
                flags: AllocationFlags::CACHED.bits(),
                ..self.allocation(backing, place, memory, private_data)
            };
            self.add(allocation)?;
        }
        if !resource.is_none() {
            self.process.get_mut::<Resource>(resource)?.allocations.extend(&self.handles);
        }
        Ok(())
    }

    /// Publishes an allocation.
    fn add(&mut self, allocation: Allocation) -> Result<(), Refusal> {
        let target = allocation.target;
        let published = self.process.publish(allocation);
        let handle = published.inspect_err(|_| self.process.space.lock().remove(target))?;
        self.handles.push(handle);
        Ok(())
    }

    /// An allocation over some memory, to be filled in.
    fn allocation(
        &self,
        backing: Backing,
        place: Option<Place>,
        memory: &Arc<Memory>,
        private_data: PrivateData,
    ) -> Allocation {
        let backing = Arc::new(backing);
        let target = self.process.space.lock().add(Target::Memory(Arc::clone(&backing)));
        Allocation {
            device: RawHandle::NONE,
            resource: None,
            size_bytes: 0,
            flags: 0,
            private_data,
            target,
            backing,
            place,
            memory: Arc::clone(memory),
            locks: 0,
            residency: 0,
            offered: false,
            priority: NORMAL_PRIORITY,
        }
    }

    fn undo(self) -> Vec<super::model::Object> {
        let mut gone = Vec::new();
        for handle in self.handles {
            if let Ok(allocation) = self.process.get::<Allocation>(handle) {
                self.process.space.lock().remove(allocation.target);
            }
            gone.extend(self.process.table.remove(handle));
        }
        gone.extend(self.process.table.remove(self.resource));
        gone
    }
}

fn piece(window: &SharedSlice, offset_bytes: u64, size_bytes: u64) -> Result<SharedSlice, Refusal> {
    let offset = usize::try_from(offset_bytes).map_err(|_| INVALID)?;
    let size = usize::try_from(size_bytes).map_err(|_| INVALID)?;
    window.sub(offset, size).map_err(|_| INVALID)
}

fn answer(message: &CreateAllocationMessage, planned: &[Planned], made: &Made<'_>) -> CreateAllocationAnswer {
    let mut reply = CreateAllocationReply::new_zeroed();
    reply.flags = message.command.flags;
    reply.resource = if made.resource.is_none() { message.command.resource } else { made.resource };
    let allocations = planned
        .iter()
        .zip(&made.handles)
        .map(|(planned, handle)| {
            let mut info = AllocationInfoReply::new_zeroed();
            info.allocation = *handle;
            info.allocation_flags = AllocationFlags::CACHED;
            info.allocation_size = planned.size_bytes;
            CreatedAllocation { info, private_data: planned.private_data.clone() }
        })
        .collect();
    CreateAllocationAnswer { reply, allocations }
}

/// OPENRESOURCE: a resource that the guest imported, or shared itself.
pub(super) fn open(session: &Session, process: RawHandle, command: &OpenResourceCommand) -> Answer {
    let count = usize::try_from(command.allocation_count).unwrap_or(usize::MAX);
    if count > MAX_ALLOCATIONS {
        return Err(INVALID.into());
    }
    let answer = try_open(session, process, command)
        .unwrap_or_else(|refused| OpenResourceAnswer::failure(refused.0, count));
    encoded(answer.encode())
}

fn try_open(
    session: &Session,
    process: RawHandle,
    command: &OpenResourceCommand,
) -> Result<OpenResourceAnswer, Refusal> {
    session.objects.lock().process(process)?.active_device(command.device)?;
    let share = share::open_kind(session, command.global_share, SharedKind::RESOURCE)?;
    let SharedObject::Resource(described) = share.object() else { return Err(INVALID) };
    if described.allocations.len() != usize::try_from(command.allocation_count).map_err(|_| INVALID)? {
        return Err(INVALID);
    }
    let described = described.clone();
    let (base, window) = (share.base(), share.memory().clone());
    let memory = Arc::new(Memory::Opened(share));
    let mut objects = session.objects.lock();
    let process = objects.process(process)?;
    let mut made =
        Made { process, private: &session.private, handles: Vec::new(), resource: RawHandle::NONE };
    let published = (|| {
        made.resource = made.process.publish(Resource {
            device: command.device,
            allocations: Vec::new(),
            shareable: false,
            sealed: true,
            runtime_data: made.private.keep(described.runtime_data)?,
            resource_data: made.private.keep(described.resource_data)?,
            memory: Arc::clone(&memory),
            exported: None,
        })?;
        for shared in described.allocations {
            let backing = Backing::whole(piece(&window, shared.offset_bytes, shared.size_bytes)?);
            let place = Some(Place { base, offset_bytes: shared.offset_bytes });
            let private_data = made.private.keep(shared.private_data)?;
            let allocation = Allocation {
                device: command.device,
                resource: Some(made.resource),
                size_bytes: shared.size_bytes,
                flags: shared.flags,
                ..made.allocation(backing, place, &memory, private_data)
            };
            made.add(allocation)?;
        }
        let (resource, handles) = (made.resource, made.handles.clone());
        made.process.get_mut::<Resource>(resource)?.allocations = handles;
        Ok(())
    })();
    match published {
        Ok(()) => Ok(OpenResourceAnswer {
            reply: OpenResourceReply { resource: made.resource, status: NtStatus::SUCCESS },
            allocations: made.handles,
        }),
        Err(refused) => {
            let gone = made.undo();
            drop(objects);
            drop(gone);
            Err(refused)
        }
    }
}

/// Gives the guest's own pages to an allocation.
pub(super) fn set_pages(
    session: &Session,
    process: RawHandle,
    message: &dxg_wire::messages::allocation::SetExistingSysmemPagesMessage,
) -> Answer {
    let command = &message.command;
    let mut objects = session.objects.lock();
    let allocation: &Allocation = objects.process(process)?.get(command.allocation)?;
    if allocation.device != command.device || !matches!(*allocation.memory, Memory::Guest) {
        return Err(INVALID.into());
    }
    let first = u64::from(command.alloc_offset_in_pages);
    let count = u64::try_from(message.page_frames.len()).map_err(|_| INVALID)?;
    let pages = allocation.size_bytes / ALLOCATION_UNIT_BYTES;
    if first.checked_add(count).is_none_or(|end| end > pages) {
        return Err(INVALID.into());
    }
    for (page, run) in runs(&message.page_frames) {
        let address = run.0.checked_mul(ALLOCATION_UNIT_BYTES).ok_or(INVALID)?;
        let memory = session
            .link
            .windows()
            .resolve(dxg_wire::session::IoAddress(address), run.1 * ALLOCATION_UNIT_BYTES)
            .ok_or(NO_MEMORY)?;
        allocation.backing.place((first + page) * ALLOCATION_UNIT_BYTES, memory);
    }
    super::answer::done()
}

/// Runs of frames that follow each other: position of the first, and (first frame, count).
fn runs(frames: &[u64]) -> Vec<(u64, (u64, u64))> {
    let mut runs: Vec<(u64, (u64, u64))> = Vec::new();
    for (at, frame) in (0_u64..).zip(frames) {
        match runs.last_mut() {
            Some((_, (first, count))) if first.checked_add(*count) == Some(*frame) => *count += 1,
            _ => runs.push((at, (*frame, 1))),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn runs_join_frames_that_follow_each_other() {
        assert_eq!(runs(&[7, 8, 9, 3, 4, 4]), [(0, (7, 3)), (3, (3, 2)), (5, (4, 1))]);
        assert_eq!(runs(&[]), []);
    }
}
