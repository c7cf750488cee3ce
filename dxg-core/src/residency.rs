//! Where allocations are, how much they matter, and what is given up for a while.

use dxg_ioctl::FenceValue;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::AllocationResidencyStatus;
use dxg_ioctl::abi::GetAllocationPriority;
use dxg_ioctl::abi::InvalidateCache;
use dxg_ioctl::abi::OfferAllocations;
use dxg_ioctl::abi::OfferFlags;
use dxg_ioctl::abi::OfferPriority;
use dxg_ioctl::abi::QueryAllocationResidency;
use dxg_ioctl::abi::ReclaimAllocations2;
use dxg_ioctl::abi::ReclaimResult;
use dxg_ioctl::abi::SetAllocationPriority;
use zerocopy::FromZeros;

use crate::Allocation;
use crate::Device;
use crate::Error;
use crate::PagingQueue;
use crate::PagingWork;
use crate::Resource;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;

/// Allocations or resources, for calls that take either.
#[derive(Clone, Copy, Debug)]
pub enum Subjects<'a> {
    /// Allocations that are in no resource.
    Allocations(&'a [&'a Allocation]),
    /// Resources, each with all its allocations.
    Resources(&'a [&'a Resource]),
}

impl Subjects<'_> {
    fn handles(&self) -> Vec<RawHandle> {
        match self {
            Self::Allocations(list) => list.iter().map(|one| one.handle()).collect(),
            Self::Resources(list) => list.iter().map(|one| one.handle()).collect(),
        }
    }
}

fn count(len: usize, op: &'static str) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| errno::INVALID).op(op)
}

/// What a priority or a residency is of: a resource, or a list of allocations.
struct Of {
    resource: RawHandle,
    allocations: Vec<RawHandle>,
}

impl Of {
    fn resource(resource: &Resource) -> Self {
        Self { resource: resource.handle(), allocations: Vec::new() }
    }

    fn allocations(allocations: &[&Allocation]) -> Self {
        let allocations = allocations.iter().map(|one| one.handle()).collect();
        Self { resource: RawHandle::NONE, allocations }
    }

    /// Numbers that are answered: one for each allocation, one for a resource.
    fn answers(&self) -> usize {
        self.allocations.len().max(1)
    }

    fn residency(&self, device: &Device) -> Result<Vec<AllocationResidencyStatus>, Error> {
        const OP: &str = "query residency";
        let mut states = vec![0_u32; self.answers()];
        let mut args = QueryAllocationResidency::new_zeroed();
        args.device = device.handle();
        args.resource = self.resource;
        args.allocation_count = count(self.allocations.len(), OP)?;
        let mut buffers = Buffers::new();
        args.allocations = buffers.input(self.allocations.as_slice());
        args.residency_status = buffers.inout(states.as_mut_slice());
        device.node().request(&mut args, &mut buffers).op(OP)?;
        drop(buffers);
        Ok(states.into_iter().map(AllocationResidencyStatus).collect())
    }

    fn priorities(&self, device: &Device) -> Result<Vec<u32>, Error> {
        const OP: &str = "get allocation priority";
        let mut priorities = vec![0_u32; self.answers()];
        let mut args = GetAllocationPriority::new_zeroed();
        args.device = device.handle();
        args.resource = self.resource;
        args.allocation_count = count(self.allocations.len(), OP)?;
        let mut buffers = Buffers::new();
        args.allocation_list = buffers.input(self.allocations.as_slice());
        args.priorities = buffers.inout(priorities.as_mut_slice());
        device.node().request(&mut args, &mut buffers).op(OP)?;
        drop(buffers);
        Ok(priorities)
    }

    fn set_priorities(&self, device: &Device, priorities: &[u32]) -> Result<(), Error> {
        const OP: &str = "set allocation priority";
        let mut args = SetAllocationPriority::new_zeroed();
        args.device = device.handle();
        args.resource = self.resource;
        args.allocation_count = count(self.allocations.len(), OP)?;
        let mut buffers = Buffers::new();
        args.allocation_list = buffers.input(self.allocations.as_slice());
        args.priorities = buffers.input(priorities);
        device.node().request(&mut args, &mut buffers).op(OP).map(drop)
    }
}

impl Device {
    /// Offers memory that is not needed for a while: its contents may be discarded until it is reclaimed. The GPU must not use it
    /// before [`PagingQueue::reclaim`].
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn offer(
        &self,
        subjects: Subjects<'_>,
        priority: OfferPriority,
        flags: OfferFlags,
    ) -> Result<(), Error> {
        const OP: &str = "offer";
        let handles = subjects.handles();
        let mut args = OfferAllocations::new_zeroed();
        args.device = self.handle();
        args.priority = priority;
        args.flags = flags;
        args.allocation_count = count(handles.len(), OP)?;
        let mut buffers = Buffers::new();
        let list = buffers.input(handles.as_slice());
        match subjects {
            Subjects::Allocations(_) => args.allocations = list,
            Subjects::Resources(_) => args.resources = list,
        }
        self.node().request(&mut args, &mut buffers).op(OP).map(drop)
    }

    /// Where allocations are, in their order.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn residency(&self, allocations: &[&Allocation]) -> Result<Vec<AllocationResidencyStatus>, Error> {
        Of::allocations(allocations).residency(self)
    }

    /// The priorities of allocations, in their order.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn allocation_priorities(&self, allocations: &[&Allocation]) -> Result<Vec<u32>, Error> {
        Of::allocations(allocations).priorities(self)
    }

    /// Says how much allocations matter when memory gets scarce.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn set_allocation_priorities(&self, priorities: &[(&Allocation, u32)]) -> Result<(), Error> {
        let (allocations, values): (Vec<&Allocation>, Vec<u32>) = priorities.iter().copied().unzip();
        Of::allocations(&allocations).set_priorities(self, &values)
    }
}

impl Resource {
    /// Where it is: the state of its first allocation.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn residency(&self) -> Result<AllocationResidencyStatus, Error> {
        let states = Of::resource(self).residency(self.device())?;
        states.first().copied().ok_or(errno::OVERFLOW).op("query residency")
    }

    /// Its priority.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn priority(&self) -> Result<u32, Error> {
        let priorities = Of::resource(self).priorities(self.device())?;
        priorities.first().copied().ok_or(errno::OVERFLOW).op("get allocation priority")
    }

    /// Says how much all its allocations matter when memory gets scarce.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn set_priority(&self, priority: u32) -> Result<(), Error> {
        Of::resource(self).set_priorities(self.device(), &[priority])
    }
}

impl Allocation {
    /// Makes what the device has written visible to the CPU, where it does not see it by itself: for cached allocations on hosts
    /// without coherency.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) past the end.
    pub fn invalidate_cache(&self, offset_bytes: u64, len_bytes: u64) -> Result<(), Error> {
        let mut args = InvalidateCache {
            device: self.device().handle(),
            allocation: self.handle(),
            offset: offset_bytes,
            length: len_bytes,
        };
        self.device().node().request(&mut args, &mut Buffers::new()).op("invalidate cache").map(drop)
    }
}

impl PagingQueue {
    /// Takes memory back that was offered. The answers say, for each, whether its contents are still there; the GPU may use it
    /// when the work is done.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn reclaim(&self, subjects: Subjects<'_>) -> Result<(Vec<ReclaimResult>, PagingWork), Error> {
        const OP: &str = "reclaim";
        let handles = subjects.handles();
        let mut results = vec![0_u32; handles.len()];
        let mut args = ReclaimAllocations2::new_zeroed();
        args.paging_queue = self.handle();
        args.allocation_count = count(handles.len(), OP)?;
        let mut buffers = Buffers::new();
        let list = buffers.input(handles.as_slice());
        match subjects {
            Subjects::Allocations(_) => args.allocations = list,
            Subjects::Resources(_) => args.resources = list,
        }
        args.output.set_results(buffers.inout(results.as_mut_slice()));
        let status = self.device().node().request(&mut args, &mut buffers).op(OP)?;
        drop(buffers);
        // Where results are asked for, success does not say whether the work is still to do; the value does.
        let pending = status == NtStatus::PENDING || args.paging_fence_value > FenceValue(0);
        let until = pending.then_some(args.paging_fence_value);
        Ok((results.into_iter().map(ReclaimResult).collect(), PagingWork { until }))
    }
}
