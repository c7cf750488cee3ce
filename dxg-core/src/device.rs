//! A device: where a process makes its objects.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use dxg_ioctl::FenceValue;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::DestroyDevice;
use dxg_ioctl::abi::DeviceErrorReason;
use dxg_ioctl::abi::DeviceExecutionState;
use dxg_ioctl::abi::DeviceStateType;
use dxg_ioctl::abi::Evict;
use dxg_ioctl::abi::GetDeviceState;
use dxg_ioctl::abi::MarkDeviceAsError;
use dxg_ioctl::abi::PagingQueuePriority;
use dxg_ioctl::abi::UpdateGpuVirtualAddress;
use dxg_ioctl::abi::UpdateGpuVirtualAddressOperation;
use zerocopy::FromZeros;

use crate::Adapter;
use crate::Allocation;
use crate::AllocationOptions;
use crate::Context;
use crate::ContextOptions;
use crate::Error;
use crate::Fence;
use crate::Node;
use crate::PagingQueue;
use crate::Resource;
use crate::ResourceOptions;
use crate::SharedInfo;
use crate::SystemMemory;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;
use crate::fence::Sharing;

#[derive(Debug)]
struct Inner {
    adapter: Adapter,
    handle: RawHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.adapter.node().free(DestroyDevice { device: self.handle });
    }
}

/// A device. Clones are the same; it is destroyed with the last, and its objects keep it alive.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<Inner>,
}

impl Device {
    pub(crate) fn new(adapter: &Adapter, handle: RawHandle) -> Self {
        Self { inner: Arc::new(Inner { adapter: adapter.clone(), handle }) }
    }

    /// The adapter it is on.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.inner.adapter
    }

    /// The node it is on.
    #[must_use]
    pub fn node(&self) -> &Node {
        self.inner.adapter.node()
    }

    /// The handle, for requests that have no method here.
    #[must_use]
    pub fn handle(&self) -> RawHandle {
        self.inner.handle
    }

    /// Makes a context with virtual addressing.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn create_context(&self, options: &mut ContextOptions<'_>) -> Result<Context, Error> {
        Context::create(self, options)
    }

    /// Makes a queue for paging work.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn create_paging_queue(&self, priority: PagingQueuePriority) -> Result<PagingQueue, Error> {
        PagingQueue::create(self, priority)
    }

    /// Makes a monitored fence.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn create_fence(&self, initial: FenceValue) -> Result<Fence, Error> {
        Fence::create(self, initial, Sharing::Private)
    }

    /// Makes a monitored fence that can be shared.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn create_shared_fence(&self, initial: FenceValue) -> Result<Fence, Error> {
        Fence::create(self, initial, Sharing::Shareable)
    }

    /// Opens the fence that a descriptor names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when it names none.
    pub fn open_shared_fence(&self, descriptor: BorrowedFd<'_>) -> Result<Fence, Error> {
        Fence::open(self, descriptor)
    }

    /// Makes a free-standing allocation.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn create_allocation(&self, options: AllocationOptions) -> Result<Allocation, Error> {
        Allocation::create(self, options)
    }

    /// Makes a resource with its allocations.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn create_resource(&self, options: ResourceOptions) -> Result<Resource, Error> {
        Resource::create(self, options)
    }

    /// Says what a shared resource consists of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when the descriptor names no resource.
    pub fn query_shared(&self, descriptor: BorrowedFd<'_>) -> Result<SharedInfo, Error> {
        Resource::query(self, descriptor)
    }

    /// Opens the resource that a descriptor names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when it names none.
    pub fn open_shared_resource(&self, descriptor: BorrowedFd<'_>) -> Result<Resource, Error> {
        Resource::open(self, descriptor)
    }

    /// Memory of this process that allocations can be made over.
    ///
    /// # Errors
    ///
    /// As [`Streams::lease`](crate::Streams::lease) on a virtual GPU.
    pub fn system_memory(&self, size_bytes: u64) -> Result<SystemMemory, Error> {
        SystemMemory::new(self.node(), size_bytes)
    }

    /// Whether the device still executes, and if not, why.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn execution_state(&self) -> Result<DeviceExecutionState, Error> {
        let mut args = GetDeviceState::new_zeroed();
        args.device = self.handle();
        args.state_type = DeviceStateType::EXECUTION;
        self.node().request(&mut args, &mut Buffers::new()).op("get device state")?;
        Ok(args.state.execution_state())
    }

    /// Puts the device into the error state.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn mark_as_error(&self, reason: DeviceErrorReason) -> Result<(), Error> {
        let mut args = MarkDeviceAsError { device: self.handle(), reason };
        self.node().request(&mut args, &mut Buffers::new()).op("mark device as error").map(drop)
    }

    /// Lets allocations leave GPU memory. Answers how many bytes should be given up besides.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn evict(&self, allocations: &[&Allocation]) -> Result<u64, Error> {
        let handles: Vec<RawHandle> = allocations.iter().map(|allocation| allocation.handle()).collect();
        let mut args = Evict::new_zeroed();
        args.device = self.handle();
        args.alloc_count = u32::try_from(handles.len()).map_err(|_| errno::INVALID).op("evict")?;
        let mut buffers = Buffers::new();
        args.allocations = buffers.input(handles.as_slice());
        self.node().request(&mut args, &mut buffers).op("evict")?;
        Ok(args.num_bytes_to_trim)
    }

    /// Changes mappings of GPU virtual addresses in order, when a fence reaches a value.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn update_va(
        &self,
        context: &Context,
        after: (&Fence, FenceValue),
        operations: &[UpdateGpuVirtualAddressOperation],
    ) -> Result<(), Error> {
        const OP: &str = "update GPU addresses";
        let mut args = UpdateGpuVirtualAddress::new_zeroed();
        args.device = self.handle();
        args.context = context.handle();
        args.fence_object = after.0.handle();
        args.fence_value = after.1;
        args.num_operations = u32::try_from(operations.len()).map_err(|_| errno::INVALID).op(OP)?;
        let mut buffers = Buffers::new();
        args.operations = buffers.input(operations);
        self.node().request(&mut args, &mut buffers).op(OP).map(drop)
    }
}
