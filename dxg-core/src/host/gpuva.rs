//! GPU virtual addresses and residency.

use dxg_ioctl::CallError;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::Evict;
use dxg_ioctl::abi::FreeGpuVirtualAddress;
use dxg_ioctl::abi::MAKE_RESIDENT_ALLOC_MAX;
use dxg_ioctl::abi::MakeResident;
use dxg_ioctl::abi::MapGpuVirtualAddress;
use dxg_ioctl::abi::ReserveGpuVirtualAddress;
use dxg_ioctl::abi::UpdateAllocProperty;
use dxg_ioctl::abi::UpdateGpuVirtualAddress;
use dxg_ioctl::abi::UpdateGpuVirtualAddressOperation;
use dxg_wire::messages::EvictCommand;
use dxg_wire::messages::EvictReply;
use dxg_wire::messages::FreeGpuVirtualAddressCommand;
use dxg_wire::messages::MakeResidentCommand;
use dxg_wire::messages::MakeResidentReply;
use dxg_wire::messages::MapGpuVirtualAddressCommand;
use dxg_wire::messages::ReserveGpuVirtualAddressCommand;
use dxg_wire::messages::UpdateAllocationPropertyCommand;
use dxg_wire::messages::UpdateGpuVirtualAddressCommand;
use dxg_wire::messages::allocation::EvictMessage;
use dxg_wire::messages::allocation::MakeResidentMessage;
use dxg_wire::messages::gpu_va::UpdateGpuVirtualAddressMessage;

use super::HostNode;
use super::message;
use crate::caller::CallerMemory;
use crate::errno;

/// Most operations of one update: 131072 bytes of them.
const MAX_OPERATIONS: usize = 2048;

/// Copies in a list whose length is in `1..=max`.
pub(super) fn handles(
    memory: &dyn CallerMemory,
    at: UserPtr,
    count: u32,
    max: usize,
) -> Result<Vec<RawHandle>, CallError> {
    let count = count as usize;
    if count == 0 || count > max {
        return Err(errno::INVALID);
    }
    memory.array(at, count)
}

impl HostNode {
    pub(super) fn reserve_gpu_virtual_address(
        &self,
        args: &mut ReserveGpuVirtualAddress,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let mut command: ReserveGpuVirtualAddressCommand = self.command();
        command.args = *args;
        // The field holds an adapter or a paging queue, whose tables are two; an adapter is looked for first.
        if self.check_adapter(args.adapter).is_ok() {
            command.args.adapter = self.host_adapter;
        } else {
            self.objects.paging_queue(args.adapter)?;
        }
        let reply = self.ask(&command)?;
        args.virtual_address = reply.virtual_address;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn map_gpu_virtual_address(
        &self,
        args: &mut MapGpuVirtualAddress,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.paging_queue(args.paging_queue)?;
        let mut command: MapGpuVirtualAddressCommand = self.command();
        command.args = *args;
        let reply = self.ask(&command)?;
        args.paging_fence_value = reply.paging_fence_value;
        args.virtual_address = reply.virtual_address;
        errno::of_status(reply.status)
    }

    pub(super) fn update_gpu_virtual_address(
        &self,
        args: &mut UpdateGpuVirtualAddress,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let count = args.num_operations as usize;
        if count == 0 || count > MAX_OPERATIONS {
            return Err(errno::INVALID);
        }
        let operations: Vec<UpdateGpuVirtualAddressOperation> = memory.array(args.operations, count)?;
        let mut command: UpdateGpuVirtualAddressCommand = self.command();
        command.fence_value = args.fence_value;
        command.device = args.device;
        command.context = args.context;
        command.fence_object = args.fence_object;
        command.flags = args.flags.bits();
        self.ask_long_status(&UpdateGpuVirtualAddressMessage { command, operations })
    }

    pub(super) fn free_gpu_virtual_address(
        &self,
        args: &mut FreeGpuVirtualAddress,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        let mut command: FreeGpuVirtualAddressCommand = self.command();
        command.args = *args;
        command.args.adapter = self.host_adapter;
        self.ask_status(&command)
    }

    pub(super) fn make_resident(
        &self,
        args: &mut MakeResident,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let allocations = handles(memory, args.allocation_list, args.alloc_count, MAKE_RESIDENT_ALLOC_MAX)?;
        self.objects.paging_queue(args.paging_queue)?;
        let mut command: MakeResidentCommand = self.command();
        command.paging_queue = args.paging_queue;
        command.flags = args.flags;
        let reply: MakeResidentReply =
            message::head(&self.ask_long(&MakeResidentMessage { command, allocations })?)?;
        let status = errno::of_status(reply.status)?;
        args.paging_fence_value = reply.paging_fence_value;
        args.num_bytes_to_trim = reply.num_bytes_to_trim;
        Ok(status)
    }

    pub(super) fn evict(
        &self,
        args: &mut Evict,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let allocations = handles(memory, args.allocations, args.alloc_count, MAKE_RESIDENT_ALLOC_MAX)?;
        self.objects.device(args.device)?;
        let mut command: EvictCommand = self.command();
        command.device = args.device;
        command.flags = args.flags;
        let reply: EvictReply = message::head(&self.ask_long(&EvictMessage { command, allocations })?)?;
        args.num_bytes_to_trim = reply.num_bytes_to_trim;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn update_allocation_property(
        &self,
        args: &mut UpdateAllocProperty,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.paging_queue(args.paging_queue)?;
        let mut command: UpdateAllocationPropertyCommand = self.command();
        command.args = *args;
        let reply = self.ask(&command)?;
        if reply.status == NtStatus::PENDING {
            args.paging_fence_value = reply.paging_fence_value;
        }
        errno::of_status(reply.status)
    }
}
