//! Allocations and resources after their creation: destroy, lock, offer, reclaim, priority, residency.

use std::sync::atomic::Ordering;

use dxg_ioctl::CallError;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::CREATE_ALLOCATION_MAX;
use dxg_ioctl::abi::DestroyAllocation2;
use dxg_ioctl::abi::DestroyAllocation2Flags;
use dxg_ioctl::abi::GetAllocationPriority;
use dxg_ioctl::abi::InvalidateCache;
use dxg_ioctl::abi::Lock2;
use dxg_ioctl::abi::MAKE_RESIDENT_ALLOC_MAX;
use dxg_ioctl::abi::OfferAllocations;
use dxg_ioctl::abi::QueryAllocationResidency;
use dxg_ioctl::abi::ReclaimAllocations2;
use dxg_ioctl::abi::SetAllocationPriority;
use dxg_ioctl::abi::Unlock2;
use dxg_wire::messages::DestroyAllocationCommand;
use dxg_wire::messages::GetAllocationPriorityCommand;
use dxg_wire::messages::InvalidateCacheCommand;
use dxg_wire::messages::Lock2Command;
use dxg_wire::messages::OfferAllocationsCommand;
use dxg_wire::messages::QueryAllocationResidencyCommand;
use dxg_wire::messages::ReclaimAllocationsCommand;
use dxg_wire::messages::SetAllocationPriorityCommand;
use dxg_wire::messages::Unlock2Command;
use dxg_wire::messages::allocation::DestroyAllocationMessage;
use dxg_wire::messages::allocation::GetAllocationPriorityMessage;
use dxg_wire::messages::allocation::OfferAllocationsMessage;
use dxg_wire::messages::allocation::PerAllocationAnswer;
use dxg_wire::messages::allocation::QueryAllocationResidencyMessage;
use dxg_wire::messages::allocation::ReclaimAllocationsAnswer;
use dxg_wire::messages::allocation::ReclaimAllocationsMessage;
use dxg_wire::messages::allocation::SetAllocationPriorityMessage;

use super::HostNode;
use super::device::address_of;
use super::gpuva::handles;
use super::message;
use crate::caller::CallerMemory;
use crate::errno;

/// What a call names: a resource, or a list of allocations.
enum Named {
    Resource(RawHandle),
    Allocations(Vec<RawHandle>),
}

impl Named {
    /// EINVAL unless exactly one of the two is given.
    fn new(
        memory: &dyn CallerMemory,
        resource: RawHandle,
        list: UserPtr,
        count: u32,
    ) -> Result<Self, CallError> {
        match (resource.is_none(), count) {
            (false, 0) => Ok(Self::Resource(resource)),
            (true, 1..) => handles(memory, list, count, MAKE_RESIDENT_ALLOC_MAX).map(Self::Allocations),
            _ => Err(errno::INVALID),
        }
    }

    fn parts(self) -> (RawHandle, Vec<RawHandle>) {
        match self {
            Self::Resource(resource) => (resource, Vec::new()),
            Self::Allocations(list) => (RawHandle::NONE, list),
        }
    }
}

impl HostNode {
    /// Has the host destroy a resource with all in it, or allocations.
    pub(super) fn destroy_on_host(
        &self,
        device: RawHandle,
        resource: RawHandle,
        allocations: Vec<RawHandle>,
        flags: DestroyAllocation2Flags,
    ) -> Result<NtStatus, CallError> {
        let mut command: DestroyAllocationCommand = self.command();
        command.device = device;
        command.resource = resource;
        command.flags = flags;
        self.ask_long_status(&DestroyAllocationMessage { command, allocations })
    }

    pub(super) fn destroy_allocation(
        &self,
        args: &mut DestroyAllocation2,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        if args.alloc_count as usize > CREATE_ALLOCATION_MAX {
            return Err(errno::INVALID);
        }
        match Named::new(memory, args.resource, args.allocations, args.alloc_count)? {
            Named::Resource(handle) => {
                let resource = self.objects.resource(handle)?;
                if resource.device != device.handle {
                    return Err(errno::INVALID);
                }
                let inside = std::mem::take(&mut *resource.allocations.lock());
                for allocation in inside.into_iter().chain([handle]) {
                    self.forget_child(device.handle, allocation);
                    let _ = self.objects.remove(allocation);
                }
                self.destroy_on_host(device.handle, handle, Vec::new(), args.flags)
            }
            Named::Allocations(list) => {
                self.check_homogeneous(device.handle, &list)?;
                for handle in &list {
                    let allocation = self.objects.allocation(*handle)?;
                    if let Some(resource) = allocation.resource {
                        self.objects.resource(resource)?.allocations.lock().retain(|inside| inside != handle);
                    }
                    self.forget_child(device.handle, *handle);
                    self.objects.remove(*handle)?;
                }
                self.destroy_on_host(device.handle, RawHandle::NONE, list, args.flags)
            }
        }
    }

    /// EINVAL unless all are free-standing in the device, or all in one resource of it whose set is not fixed.
    fn check_homogeneous(&self, device: RawHandle, list: &[RawHandle]) -> Result<(), CallError> {
        let mut owners = Vec::with_capacity(list.len());
        for (at, handle) in list.iter().enumerate() {
            let allocation = self.objects.allocation(*handle)?;
            let repeated = list.get(..at).is_some_and(|before| before.contains(handle));
            if allocation.device != device || repeated {
                return Err(errno::INVALID);
            }
            owners.push(allocation.resource);
        }
        let first = owners.first().copied().flatten();
        if owners.iter().any(|owner| *owner != first) {
            return Err(errno::INVALID);
        }
        match first {
            Some(resource) if self.objects.resource(resource)?.sealed.load(Ordering::Acquire) => {
                Err(errno::INVALID)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn lock_allocation(
        &self,
        args: &mut Lock2,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let allocation = self.objects.allocation(args.allocation)?;
        if allocation.device != args.device {
            return Err(errno::INVALID);
        }
        if let Some(own) = allocation.system_memory {
            args.data = own;
            return Ok(NtStatus::SUCCESS);
        }
        // Held over the host's answer: a second locker waits for the address that the first one gets.
        let mut lock = allocation.lock.lock();
        let memory = match &lock.memory {
            Some(memory) => memory.clone(),
            None => {
                let mut command: Lock2Command = self.command();
                command.args = *args;
                command.args.data = UserPtr::NULL;
                let reply = self.ask(&command)?;
                errno::of_status(reply.status)?;
                let memory = self.link.resolve(reply.cpu_visible_buffer_offset.0, allocation.size_bytes)?;
                lock.memory = Some(memory.clone());
                memory
            }
        };
        lock.count = lock.count.checked_add(1).ok_or(errno::INVALID)?;
        args.data = address_of(&memory);
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn unlock_allocation(
        &self,
        args: &mut Unlock2,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let allocation = self.objects.allocation(args.allocation)?;
        if allocation.device != args.device {
            return Err(errno::INVALID);
        }
        if allocation.system_memory.is_none() {
            let mut lock = allocation.lock.lock();
            lock.count = lock.count.checked_sub(1).ok_or(errno::INVALID)?;
            if lock.count != 0 {
                return Ok(NtStatus::SUCCESS);
            }
            lock.memory = None;
        }
        let mut command: Unlock2Command = self.command();
        command.args = *args;
        self.ask_status(&command)
    }

    pub(super) fn invalidate_cache(
        &self,
        args: &mut InvalidateCache,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let mut command: InvalidateCacheCommand = self.command();
        command.device = args.device;
        command.allocation = args.allocation;
        command.offset = args.offset;
        command.length = args.length;
        self.ask_status(&command)
    }

    pub(super) fn offer_allocations(
        &self,
        args: &mut OfferAllocations,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let (list, resources) = one_list(args.resources, args.allocations)?;
        let allocations = handles(memory, list, args.allocation_count, MAKE_RESIDENT_ALLOC_MAX)?;
        let mut command: OfferAllocationsCommand = self.command();
        command.device = args.device;
        command.priority = args.priority;
        command.flags = args.flags;
        command.resources = resources;
        self.ask_long_status(&OfferAllocationsMessage { command, allocations })
    }

    pub(super) fn reclaim_allocations(
        &self,
        args: &mut ReclaimAllocations2,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let queue = self.objects.paging_queue(args.paging_queue)?;
        let (list, resources) = one_list(args.resources, args.allocations)?;
        let allocations = handles(memory, list, args.allocation_count, MAKE_RESIDENT_ALLOC_MAX)?;
        let results = args.output.results();
        let mut command: ReclaimAllocationsCommand = self.command();
        command.device = queue.device;
        command.paging_queue = args.paging_queue;
        command.resources = resources;
        command.write_results = u8::from(!results.is_null());
        let payload = self.ask_long(&ReclaimAllocationsMessage { command, allocations })?;
        let count = if results.is_null() { 0 } else { args.allocation_count };
        let answer = ReclaimAllocationsAnswer::decode(&payload, count).map_err(message::too_short)?;
        args.paging_fence_value = answer.reply.paging_fence_value;
        let status = errno::of_status(answer.reply.status)?;
        if results.is_null() {
            return Ok(status);
        }
        memory.write_array(results, &answer.results)?;
        // As in the driver: with results a pending status is lost.
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn query_allocation_residency(
        &self,
        args: &mut QueryAllocationResidency,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let (_, allocations) =
            Named::new(memory, args.resource, args.allocations, args.allocation_count)?.parts();
        let mut command: QueryAllocationResidencyCommand = self.command();
        command.args = *args;
        let payload = self.ask_long(&QueryAllocationResidencyMessage { command, allocations })?;
        let answer =
            PerAllocationAnswer::decode(&payload, args.allocation_count).map_err(message::too_short)?;
        let status = errno::of_status(answer.status)?;
        memory.write_array(args.residency_status, &answer.values)?;
        Ok(status)
    }

    pub(super) fn get_allocation_priority(
        &self,
        args: &mut GetAllocationPriority,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let named = Named::new(memory, args.resource, args.allocation_list, args.allocation_count)?;
        let mut command: GetAllocationPriorityCommand = self.command();
        command.device = args.device;
        let allocations;
        (command.resource, allocations) = named.parts();
        let payload = self.ask_long(&GetAllocationPriorityMessage { command, allocations })?;
        let answer =
            PerAllocationAnswer::decode(&payload, args.allocation_count).map_err(message::too_short)?;
        let status = errno::of_status(answer.status)?;
        memory.write_array(args.priorities, &answer.values)?;
        Ok(status)
    }

    pub(super) fn set_allocation_priority(
        &self,
        args: &mut SetAllocationPriority,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let named = Named::new(memory, args.resource, args.allocation_list, args.allocation_count)?;
        let priorities = memory.array(args.priorities, args.allocation_count.max(1) as usize)?;
        let mut command: SetAllocationPriorityCommand = self.command();
        command.device = args.device;
        let allocations;
        (command.resource, allocations) = named.parts();
        self.ask_long_status(&SetAllocationPriorityMessage { command, allocations, priorities })
    }
}

/// The one list of two that is given, and whether it is of resources.
fn one_list(resources: UserPtr, allocations: UserPtr) -> Result<(UserPtr, u8), CallError> {
    match (resources.is_null(), allocations.is_null()) {
        (false, true) => Ok((resources, 1)),
        (true, false) => Ok((allocations, 0)),
        _ => Err(errno::INVALID),
    }
}
