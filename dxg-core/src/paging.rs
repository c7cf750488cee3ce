//! Paging queues: residency and GPU mappings, done later and told by a fence.

use std::sync::Arc;
use std::time::Duration;

use dxg_ioctl::FenceValue;
use dxg_ioctl::GpuVa;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::CreatePagingQueue;
use dxg_ioctl::abi::DestroyPagingQueue;
use dxg_ioctl::abi::GpuVaProtection;
use dxg_ioctl::abi::MakeResident;
use dxg_ioctl::abi::MapGpuVirtualAddress;
use dxg_ioctl::abi::PagingQueuePriority;
use zerocopy::FromZeros;

use crate::Allocation;
use crate::Device;
use crate::Error;
use crate::QueueFence;
use crate::WaitOutcome;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;
use crate::fence::FenceCore;

#[derive(Debug)]
struct Inner {
    device: Device,
    handle: RawHandle,
    fence: QueueFence,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.device.node().free(DestroyPagingQueue { paging_queue: self.handle });
    }
}

/// A paging queue. Clones are the same; it is destroyed with the last.
#[derive(Clone, Debug)]
pub struct PagingQueue {
    inner: Arc<Inner>,
}

/// Work that a paging queue has taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the GPU must not use the result before the work is done"]
pub struct PagingWork {
    /// What the queue's fence is when it is done. `None` when it is done already.
    pub until: Option<FenceValue>,
}

/// What to map where.
#[derive(Clone, Copy, Debug)]
pub struct MapVa<'a> {
    /// What to map.
    pub allocation: &'a Allocation,
    /// Where; 0 for anywhere.
    pub base: GpuVa,
    /// First page of the allocation.
    pub offset_pages: u64,
    /// How many pages.
    pub page_count: u64,
    /// What the GPU may do there.
    pub protection: GpuVaProtection,
}

impl PagingQueue {
    pub(crate) fn create(device: &Device, priority: PagingQueuePriority) -> Result<Self, Error> {
        const OP: &str = "create paging queue";
        let node = device.node();
        let mut args = CreatePagingQueue::new_zeroed();
        args.device = device.handle();
        args.priority = priority;
        node.request(&mut args, &mut Buffers::new()).op(OP)?;
        let core = FenceCore::new(device, args.sync_object, args.fence_cpu_virtual_address)
            .inspect_err(|_| node.free(DestroyPagingQueue { paging_queue: args.paging_queue }))
            .op(OP)?;
        let fence = QueueFence::new(core, None);
        Ok(Self { inner: Arc::new(Inner { device: device.clone(), handle: args.paging_queue, fence }) })
    }

    /// The device it belongs to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The handle, for requests that have no method here.
    #[must_use]
    pub fn handle(&self) -> RawHandle {
        self.inner.handle
    }

    /// How far the queue is.
    #[must_use]
    pub fn fence(&self) -> &QueueFence {
        &self.inner.fence
    }

    /// Brings allocations into GPU memory.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn make_resident(&self, allocations: &[&Allocation]) -> Result<PagingWork, Error> {
        const OP: &str = "make resident";
        let handles: Vec<RawHandle> = allocations.iter().map(|allocation| allocation.handle()).collect();
        let mut args = MakeResident::new_zeroed();
        args.paging_queue = self.handle();
        args.alloc_count = u32::try_from(handles.len()).map_err(|_| errno::INVALID).op(OP)?;
        let mut buffers = Buffers::new();
        args.allocation_list = buffers.input(handles.as_slice());
        let status = self.device().node().request(&mut args, &mut buffers).op(OP)?;
        Ok(work(status, args.paging_fence_value))
    }

    /// Maps pages of an allocation for the GPU. The address counts once the work is done.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn map_va(&self, map: &MapVa<'_>) -> Result<(GpuVa, PagingWork), Error> {
        let mut args = MapGpuVirtualAddress::new_zeroed();
        args.paging_queue = self.handle();
        args.allocation = map.allocation.handle();
        args.base_address = map.base;
        args.offset_in_pages = map.offset_pages;
        args.size_in_pages = map.page_count;
        args.protection = map.protection;
        let status = self.device().node().request(&mut args, &mut Buffers::new()).op("map GPU addresses")?;
        Ok((args.virtual_address, work(status, args.paging_fence_value)))
    }

    /// Waits until work of this queue is done. `timeout` of `None` is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) when the node is lost before or during the wait.
    pub fn wait(&self, work: PagingWork, timeout: Option<Duration>) -> Result<WaitOutcome, Error> {
        match work.until {
            None => Ok(WaitOutcome::Reached),
            Some(value) => self.fence().wait(value, timeout),
        }
    }
}

fn work(status: NtStatus, value: FenceValue) -> PagingWork {
    PagingWork { until: (status == NtStatus::PENDING).then_some(value) }
}
