//! Creating allocations.
//!
//! One request creates 1 to 1024 allocations, free-standing, in a new resource or in one that exists, over memory of the host or
//! over memory of the caller. Caller's memory must lie in a block that this process leased: then the host has it already, and
//! only page numbers are sent. What fails after the host has created destroys again what was created.
//!
//! *Differences.* The driver asks the host for the private data of a standard allocation, to keep it for those who open
//! the resource. Here the host keeps what a shared object needs, so the question is not asked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use dxg_ioctl::CallError;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::AllocationInfo2;
use dxg_ioctl::abi::CREATE_ALLOCATION_MAX;
use dxg_ioctl::abi::CreateAllocation;
use dxg_ioctl::abi::CreateAllocationFlags;
use dxg_ioctl::abi::CreateStandardAllocation;
use dxg_ioctl::abi::DestroyAllocation2Flags;
use dxg_ioctl::abi::StandardAllocationType;
use dxg_wire::messages::CreateAllocationCommand;
use dxg_wire::messages::CreateAllocationInfo;
use dxg_wire::messages::SetExistingSysmemPagesCommand;
use dxg_wire::messages::allocation::CreateAllocationAnswer;
use dxg_wire::messages::allocation::CreateAllocationMessage;
use dxg_wire::messages::allocation::MAX_PAGES_PER_MESSAGE;
use dxg_wire::messages::allocation::NewAllocation;
use dxg_wire::messages::allocation::SetExistingSysmemPagesMessage;
use zerocopy::IntoBytes;

use super::HostNode;
use super::message;
use super::objects::Allocation;
use super::objects::Device;
use super::objects::Object;
use super::objects::Resource;
use super::query::MAX_PRIVATE_BYTES;
use crate::caller::CallerMemory;
use crate::errno;

/// Bytes of the pages that the protocol counts.
const PAGE_BYTES: u64 = 4096;

/// What a caller asks for, copied in and checked.
struct Wanted {
    infos: Vec<AllocationInfo2>,
    message: CreateAllocationMessage,
}

impl HostNode {
    pub(super) fn create_allocation(
        &self,
        args: &mut CreateAllocation,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        let wanted = self.wanted(args, memory)?;
        let count = u32::try_from(wanted.infos.len()).map_err(|_| errno::INVALID)?;
        // There is no status: a failure is an answer that is too short.
        let payload = self.ask_long(&wanted.message)?;
        let answer = CreateAllocationAnswer::decode(&payload, count).map_err(message::too_short)?;
        let mut made = Made { node: self, device: &device, new_resource: None, allocations: Vec::new() };
        let result = self.take_over(args, &wanted, &answer, &mut made, memory);
        match result {
            Ok(()) => Ok(NtStatus::SUCCESS),
            Err(error) => {
                made.undo(&answer);
                Err(error)
            }
        }
    }

    /// Checks a request and builds the message for it.
    fn wanted(&self, args: &CreateAllocation, memory: &dyn CallerMemory) -> Result<Wanted, CallError> {
        let count = args.alloc_count as usize;
        let flags = args.flags;
        if count == 0
            || count > CREATE_ALLOCATION_MAX
            || flags
                .intersects(CreateAllocationFlags::EXISTING_SECTION | CreateAllocationFlags::CREATE_PROTECTED)
        {
            return Err(errno::INVALID);
        }
        let shareable = CreateAllocationFlags::CREATE_RESOURCE | CreateAllocationFlags::NT_SECURITY_SHARING;
        if flags.contains(CreateAllocationFlags::CREATE_SHARED) && !flags.contains(shareable) {
            return Err(errno::INVALID);
        }
        let infos: Vec<AllocationInfo2> = memory.array(args.allocation_info, count)?;
        let over_memory = infos.iter().filter(|info| !info.sysmem.is_null()).count();
        let misaligned = infos.iter().any(|info| !info.sysmem.0.is_multiple_of(PAGE_BYTES));
        if (over_memory != 0 && over_memory != count) || misaligned {
            return Err(errno::INVALID);
        }
        let resource_data = if flags.contains(CreateAllocationFlags::STANDARD_ALLOCATION) {
            standard(args, &infos, memory)?
        } else {
            bytes(memory, args.data.priv_drv_data(), args.priv_drv_data_size)?
        };
        if !args.resource.is_none() && !flags.contains(CreateAllocationFlags::CREATE_RESOURCE) {
            let resource = self.objects.resource(args.resource)?;
            if resource.device != args.device || resource.sealed.load(Ordering::Acquire) {
                return Err(errno::INVALID);
            }
        }
        let mut command: CreateAllocationCommand = self.command();
        command.device = args.device;
        command.resource = args.resource;
        command.flags = flags;
        if over_memory != 0 {
            command.flags.insert(CreateAllocationFlags::EXISTING_SYSMEM);
        }
        command.private_runtime_resource_handle = args.private_runtime_resource_handle;
        let allocations = infos
            .iter()
            .map(|info| {
                let entry = CreateAllocationInfo {
                    flags: info.flags.bits(),
                    priv_drv_data_size: info.priv_drv_data_size,
                    vidpn_source_id: info.vidpn_source_id,
                };
                Ok(NewAllocation {
                    info: entry,
                    private_data: bytes(memory, info.priv_drv_data, info.priv_drv_data_size)?,
                })
            })
            .collect::<Result<_, CallError>>()?;
        let runtime_data = bytes(memory, args.private_runtime_data, args.private_runtime_data_size)?;
        let message = CreateAllocationMessage { command, runtime_data, resource_data, allocations };
        Ok(Wanted { infos, message })
    }

    /// Makes what the host created known here and gives the results to the caller.
    fn take_over(
        &self,
        args: &mut CreateAllocation,
        wanted: &Wanted,
        answer: &CreateAllocationAnswer,
        made: &mut Made<'_>,
        memory: &mut dyn CallerMemory,
    ) -> Result<(), CallError> {
        let resource = self.resource_of(args, answer, made)?;
        for (info, created) in wanted.infos.iter().zip(&answer.allocations) {
            if created.private_data.len() > info.priv_drv_data_size as usize
                || created.info.allocation_size == 0
            {
                return Err(errno::OVERFLOW);
            }
            let allocation = Allocation {
                handle: created.info.allocation,
                device: args.device,
                resource: resource.as_ref().map(|resource| resource.handle),
                size_bytes: created.info.allocation_size,
                system_memory: Some(info.sysmem).filter(|address| !address.is_null()),
                lock: Default::default(),
            };
            self.publish(made.device, allocation.handle, Object::Allocation(Arc::new(allocation)))?;
            made.allocations.push(created.info.allocation);
        }
        if let Some(resource) = &resource {
            let any_data = answer.allocations.iter().any(|created| !created.private_data.is_empty());
            resource.has_private_data.fetch_or(any_data, Ordering::AcqRel);
            resource.allocations.lock().extend(&made.allocations);
        }
        for (info, created) in wanted.infos.iter().zip(&answer.allocations) {
            if !info.sysmem.is_null() {
                self.give_pages(
                    args.device,
                    created.info.allocation,
                    info.sysmem,
                    created.info.allocation_size,
                )?;
            }
        }
        for (at, (info, created)) in wanted.infos.iter().zip(&answer.allocations).enumerate() {
            let entry = args.allocation_info.0.wrapping_add((at * size_of::<AllocationInfo2>()) as u64);
            memory.write_array(UserPtr(entry), &[created.info.allocation])?;
            memory.write_array(info.priv_drv_data, &created.private_data)?;
        }
        if args.flags.contains(CreateAllocationFlags::CREATE_RESOURCE) {
            args.resource = answer.reply.resource;
        }
        Ok(())
    }

    /// The resource that the allocations belong to, made known if it is new.
    fn resource_of(
        &self,
        args: &CreateAllocation,
        answer: &CreateAllocationAnswer,
        made: &mut Made<'_>,
    ) -> Result<Option<Arc<Resource>>, CallError> {
        if !args.flags.contains(CreateAllocationFlags::CREATE_RESOURCE) {
            return if args.resource.is_none() {
                Ok(None)
            } else {
                self.objects.resource(args.resource).map(Some)
            };
        }
        let resource = Arc::new(Resource {
            handle: answer.reply.resource,
            device: args.device,
            shareable: args.flags.contains(CreateAllocationFlags::CREATE_SHARED),
            sealed: AtomicBool::new(false),
            has_private_data: AtomicBool::new(
                args.flags.contains(CreateAllocationFlags::STANDARD_ALLOCATION),
            ),
            allocations: Default::default(),
            exported: Default::default(),
        });
        self.publish(made.device, resource.handle, Object::Resource(Arc::clone(&resource)))?;
        made.new_resource = Some(resource.handle);
        Ok(Some(resource))
    }

    /// Tells the host which pages of IO space an allocation is over.
    fn give_pages(
        &self,
        device: RawHandle,
        allocation: RawHandle,
        address: UserPtr,
        size_bytes: u64,
    ) -> Result<(), CallError> {
        let found = self.link.windows.read().at_address(address.0, size_bytes);
        let (_, base) = found.ok_or(errno::FAULT)?;
        let first = base.0 / PAGE_BYTES;
        let pages = size_bytes.div_ceil(PAGE_BYTES);
        let mut done = 0;
        while done < pages {
            let count = (pages - done).min(MAX_PAGES_PER_MESSAGE as u64);
            let mut command: SetExistingSysmemPagesCommand = self.command();
            command.device = device;
            command.allocation = allocation;
            command.alloc_offset_in_pages = u32::try_from(done).map_err(|_| errno::INVALID)?;
            let page_frames = (first + done..first + done + count).collect();
            self.ask_long_status(&SetExistingSysmemPagesMessage { command, page_frames })?;
            done += count;
        }
        Ok(())
    }
}

/// What a request has made so far, to be undone when it fails.
struct Made<'a> {
    node: &'a HostNode,
    device: &'a Device,
    new_resource: Option<RawHandle>,
    allocations: Vec<RawHandle>,
}

impl Made<'_> {
    /// Forgets what is known here, then has the host destroy all that it created.
    fn undo(self, answer: &CreateAllocationAnswer) {
        let node = self.node;
        for handle in self.allocations.iter().copied().chain(self.new_resource) {
            node.forget_child(self.device.handle, handle);
            let _ = node.objects.remove(handle);
        }
        let created = answer.allocations.iter().map(|created| created.info.allocation).collect();
        let flags = DestroyAllocation2Flags::ASSUME_NOT_IN_USE;
        // Nobody can be told of a failure to undo.
        let _ = match self.new_resource {
            Some(resource) => node.destroy_on_host(self.device.handle, resource, Vec::new(), flags),
            None => node.destroy_on_host(self.device.handle, RawHandle::NONE, created, flags),
        };
    }
}

/// Copies private data in; less than [`MAX_PRIVATE_BYTES`].
fn bytes(memory: &dyn CallerMemory, at: UserPtr, size_bytes: u32) -> Result<Vec<u8>, CallError> {
    if size_bytes >= MAX_PRIVATE_BYTES {
        return Err(errno::INVALID);
    }
    memory.bytes(at, size_bytes as usize)
}

/// Checks a standard allocation; its description is the private data of the resource.
fn standard(
    args: &CreateAllocation,
    infos: &[AllocationInfo2],
    memory: &dyn CallerMemory,
) -> Result<Vec<u8>, CallError> {
    // The driver answers this status as it is, not an errno.
    let refused = CallError::Status(NtStatus::INVALID_PARAMETER);
    let described: Vec<CreateStandardAllocation> = memory.array(args.data.standard_allocation(), 1)?;
    let ([info], [standard]) = (infos, described.as_slice()) else { return Err(refused) };
    let size_bytes = standard.existing_heap_data.size;
    let over_memory = args.flags.contains(CreateAllocationFlags::EXISTING_SYSMEM);
    let pointer_fits = match standard.r#type {
        StandardAllocationType::EXISTINGHEAP => !info.sysmem.is_null() && over_memory,
        StandardAllocationType::CROSSADAPTER => info.sysmem.is_null() && !over_memory,
        _ => false,
    };
    let no_data = info.priv_drv_data_size == 0 && args.priv_drv_data_size == 0;
    if !pointer_fits || !no_data || size_bytes == 0 || !size_bytes.is_multiple_of(PAGE_BYTES) {
        return Err(refused);
    }
    Ok(standard.as_bytes().to_vec())
}
