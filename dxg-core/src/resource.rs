//! Resources: allocations that live, die and are shared together; and the making of allocations in general.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use dxg_ioctl::CallError;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::AllocationInfo2;
use dxg_ioctl::abi::CreateAllocation;
use dxg_ioctl::abi::CreateAllocationFlags;
use dxg_ioctl::abi::CreateStandardAllocation;
use dxg_ioctl::abi::DestroyAllocation2;
use dxg_ioctl::abi::DestroyAllocation2Flags;
use dxg_ioctl::abi::OpenAllocationInfo2;
use dxg_ioctl::abi::OpenResourceFromNtHandle;
use dxg_ioctl::abi::QueryResourceInfoFromNtHandle;
use dxg_ioctl::abi::StandardAllocationType;
use zerocopy::FromZeros;

use crate::Allocation;
use crate::AllocationOptions;
use crate::Backing;
use crate::Device;
use crate::Error;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;
use crate::fence;
use crate::fence::Sharing;

/// What a resource is made of.
#[derive(Clone, Debug, Default)]
pub struct ResourceOptions {
    /// Its allocations, at least one.
    pub allocations: Vec<AllocationOptions>,
    /// The runtime's private data; those who open the resource see it.
    pub runtime_data: Vec<u8>,
    /// The driver's private data for the resource. Empty for standard allocations.
    pub private_data: Vec<u8>,
    /// Whether it can be shared.
    pub sharing: ResourceSharing,
}

/// Whether a resource can be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResourceSharing {
    /// It cannot.
    #[default]
    Private,
    /// It can, by descriptor.
    Shareable,
}

/// What a shared resource consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedInfo {
    /// How many allocations.
    pub allocation_count: u32,
    /// Bytes of the runtime's private data.
    pub runtime_data_bytes: u32,
    /// Bytes of the driver's private data for the resource.
    pub private_data_bytes: u32,
    /// Bytes of the driver's private data for all allocations.
    pub allocation_data_bytes: u32,
}

/// A resource's handle on the device; destroyed with all in it when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    device: Device,
    handle: RawHandle,
    destroy_flags: DestroyFlags,
    /// What its allocations are over stays theirs until the host knows of the end.
    _memory: Vec<Backing>,
}

impl Held {
    fn new(device: &Device, handle: RawHandle, memory: Vec<Backing>) -> Self {
        Self { device: device.clone(), handle, destroy_flags: DestroyFlags::default(), _memory: memory }
    }
}

/// How something is to be destroyed, settled until it is.
#[derive(Debug, Default)]
pub(crate) struct DestroyFlags(AtomicU32);

impl DestroyFlags {
    pub(crate) fn set(&self, flags: DestroyAllocation2Flags) {
        self.0.store(flags.bits(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> DestroyAllocation2Flags {
        DestroyAllocation2Flags(self.0.load(Ordering::Relaxed))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut args = DestroyAllocation2::new_zeroed();
        args.device = self.device.handle();
        args.resource = self.handle;
        args.flags = self.destroy_flags.get();
        self.device.node().free(args);
    }
}

/// Who destroys an allocation.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// It is free-standing.
    Itself,
    /// Its resource, which it keeps alive.
    Resource { _held: Arc<Held> },
}

/// Allocations to be made in one call.
pub(crate) struct Group {
    options: ResourceOptions,
    /// Whether they become a resource.
    resource: Option<Sharing>,
}

impl Group {
    /// One allocation without a resource.
    pub(crate) fn alone(allocation: AllocationOptions) -> Self {
        Self {
            options: ResourceOptions { allocations: vec![allocation], ..Default::default() },
            resource: None,
        }
    }
}

/// What a call has made.
pub(crate) struct Made {
    pub(crate) allocations: Vec<Allocation>,
    held: Option<Arc<Held>>,
}

fn count(len: usize, op: &'static str) -> Result<u32, Error> {
    u32::try_from(len).map_err(|_| errno::INVALID).op(op)
}

/// The description of a standard allocation, where it is one.
fn standard(backing: &Backing) -> Option<CreateStandardAllocation> {
    let mut described = CreateStandardAllocation::new_zeroed();
    (described.r#type, described.existing_heap_data.size) = match backing {
        Backing::CrossAdapter { size_bytes } => (StandardAllocationType::CROSSADAPTER, *size_bytes),
        Backing::Heap(memory) => (StandardAllocationType::EXISTINGHEAP, memory.size_bytes()),
        Backing::AdoptedHeap(memory) => (StandardAllocationType::EXISTINGHEAP, memory.size_bytes()),
        Backing::Driver | Backing::System(_) | Backing::AdoptedSystem(_) => return None,
    };
    Some(described)
}

/// Makes allocations, in a resource or without.
pub(crate) fn make(device: &Device, group: Group, op: &'static str) -> Result<Made, Error> {
    let Group { mut options, resource } = group;
    let mut args = CreateAllocation::new_zeroed();
    args.device = device.handle();
    args.alloc_count = count(options.allocations.len(), op)?;
    args.flags = flags_of(&options.allocations, resource);
    let standards: Vec<_> =
        options.allocations.iter().filter_map(|allocation| standard(&allocation.backing)).collect();
    if !standards.is_empty() && options.allocations.len() != 1 {
        return Err(Error::invalid(op, "a standard allocation is alone in its call"));
    }
    let mut infos = vec![AllocationInfo2::new_zeroed(); options.allocations.len()];
    let mut buffers = Buffers::new();
    for (info, allocation) in infos.iter_mut().zip(&mut options.allocations) {
        info.priv_drv_data_size = count(allocation.private_data.len(), op)?;
        info.priv_drv_data = buffers.inout(allocation.private_data.as_mut_slice());
        if let Some((address, _)) = allocation.backing.own_memory() {
            info.sysmem = address;
        }
    }
    args.private_runtime_data_size = count(options.runtime_data.len(), op)?;
    args.private_runtime_data = buffers.input(options.runtime_data.as_slice());
    if standards.is_empty() {
        args.priv_drv_data_size = count(options.private_data.len(), op)?;
        args.data.set_priv_drv_data(buffers.input(options.private_data.as_slice()));
    } else {
        args.data.set_standard_allocation(buffers.input(standards.as_slice()));
    }
    args.allocation_info = buffers.inout(infos.as_mut_slice());
    device.node().request(&mut args, &mut buffers).op(op)?;
    drop(buffers);
    let held = resource.map(|_| {
        let memory = options.allocations.iter().map(|allocation| allocation.backing.clone()).collect();
        Arc::new(Held::new(device, args.resource, memory))
    });
    let owner = held.as_ref().map_or(Owner::Itself, |held| Owner::Resource { _held: Arc::clone(held) });
    let allocations = infos
        .iter()
        .zip(options.allocations)
        .map(|(info, options)| Allocation::new(device, info.allocation, owner.clone(), options))
        .collect();
    Ok(Made { allocations, held })
}

fn flags_of(allocations: &[AllocationOptions], resource: Option<Sharing>) -> CreateAllocationFlags {
    let mut flags = CreateAllocationFlags::empty();
    let shared = CreateAllocationFlags::CREATE_SHARED | CreateAllocationFlags::NT_SECURITY_SHARING;
    flags.set(CreateAllocationFlags::CREATE_RESOURCE, resource.is_some());
    flags.set(shared, resource == Some(Sharing::Shareable));
    for allocation in allocations {
        flags |= match allocation.backing {
            Backing::Driver => CreateAllocationFlags::empty(),
            Backing::CrossAdapter { .. } => {
                CreateAllocationFlags::STANDARD_ALLOCATION | CreateAllocationFlags::CROSS_ADAPTER
            }
            Backing::Heap(_) | Backing::AdoptedHeap(_) => {
                CreateAllocationFlags::STANDARD_ALLOCATION | CreateAllocationFlags::EXISTING_SYSMEM
            }
            Backing::System(_) | Backing::AdoptedSystem(_) => CreateAllocationFlags::EXISTING_SYSMEM,
        };
    }
    flags
}

/// A resource. Clones are the same; it is destroyed when the last of them and of its allocations is gone.
#[derive(Clone, Debug)]
pub struct Resource {
    held: Arc<Held>,
    allocations: Vec<Allocation>,
    runtime_data: Vec<u8>,
    private_data: Vec<u8>,
}

impl Resource {
    pub(crate) fn create(device: &Device, options: ResourceOptions) -> Result<Self, Error> {
        const OP: &str = "create resource";
        let sharing = match options.sharing {
            ResourceSharing::Private => Sharing::Private,
            ResourceSharing::Shareable => Sharing::Shareable,
        };
        let (runtime_data, private_data) = (options.runtime_data.clone(), options.private_data.clone());
        let made = make(device, Group { options, resource: Some(sharing) }, OP)?;
        let held = made.held.ok_or(errno::INVALID).op(OP)?;
        Ok(Self { held, allocations: made.allocations, runtime_data, private_data })
    }

    pub(crate) fn query(device: &Device, descriptor: BorrowedFd<'_>) -> Result<SharedInfo, Error> {
        let mut args = QueryResourceInfoFromNtHandle::new_zeroed();
        args.device = device.handle();
        let mut buffers = Buffers::new();
        args.nt_handle = buffers.lend_descriptor(descriptor);
        device.node().request(&mut args, &mut buffers).op("query shared resource")?;
        Ok(SharedInfo {
            allocation_count: args.allocation_count,
            runtime_data_bytes: args.private_runtime_data_size,
            private_data_bytes: args.resource_priv_drv_data_size,
            allocation_data_bytes: args.total_priv_drv_data_size,
        })
    }

    pub(crate) fn open(device: &Device, descriptor: BorrowedFd<'_>) -> Result<Self, Error> {
        const OP: &str = "open shared resource";
        let info = Self::query(device, descriptor)?;
        let mut runtime_data = vec![0; info.runtime_data_bytes as usize];
        let mut private_data = vec![0; info.private_data_bytes as usize];
        let mut total_data = vec![0; info.allocation_data_bytes as usize];
        let mut opened = vec![OpenAllocationInfo2::new_zeroed(); info.allocation_count as usize];
        let mut args = OpenResourceFromNtHandle::new_zeroed();
        args.device = device.handle();
        args.allocation_count = info.allocation_count;
        let runtime_bytes = i32::try_from(info.runtime_data_bytes);
        args.private_runtime_data_size = runtime_bytes.map_err(|_| errno::OVERFLOW).op(OP)?;
        args.resource_priv_drv_data_size = info.private_data_bytes;
        args.total_priv_drv_data_size = info.allocation_data_bytes;
        let mut buffers = Buffers::new();
        args.nt_handle = buffers.lend_descriptor(descriptor);
        args.private_runtime_data = buffers.inout(runtime_data.as_mut_slice());
        args.resource_priv_drv_data = buffers.inout(private_data.as_mut_slice());
        args.total_priv_drv_data = buffers.inout(total_data.as_mut_slice());
        args.open_alloc_info = buffers.inout(opened.as_mut_slice());
        device.node().request(&mut args, &mut buffers).op(OP)?;
        drop(buffers);
        let held = Arc::new(Held::new(device, args.resource, Vec::new()));
        let mut left = total_data.as_slice();
        let allocations = opened
            .iter()
            .map(|one| {
                let (data, rest) =
                    left.split_at_checked(one.priv_drv_data_size as usize).ok_or(errno::OVERFLOW)?;
                left = rest;
                let owner = Owner::Resource { _held: Arc::clone(&held) };
                Ok(Allocation::new(device, one.allocation, owner, AllocationOptions::driver(data.to_vec())))
            })
            .collect::<Result<_, CallError>>();
        Ok(Self { allocations: allocations.op(OP)?, held, runtime_data, private_data })
    }

    /// The device it belongs to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.held.device
    }

    /// The handle, for requests that have no method here.
    #[must_use]
    pub fn handle(&self) -> RawHandle {
        self.held.handle
    }

    /// How it is destroyed when the last handle to it is dropped: at once or after the work that uses it, waiting or not.
    pub fn set_destroy_flags(&self, flags: DestroyAllocation2Flags) {
        self.held.destroy_flags.set(flags);
    }

    /// Its allocations.
    #[must_use]
    pub fn allocations(&self) -> &[Allocation] {
        &self.allocations
    }

    /// The runtime's private data.
    #[must_use]
    pub fn runtime_data(&self) -> &[u8] {
        &self.runtime_data
    }

    /// The driver's private data for the resource.
    #[must_use]
    pub fn private_data(&self) -> &[u8] {
        &self.private_data
    }

    /// A descriptor that names the resource: whoever holds it can open the resource. From now on its set of allocations is fixed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when it was not made to be shared.
    pub fn share(&self) -> Result<OwnedFd, Error> {
        fence::share(self.device().node(), self.handle(), "share resource")
    }
}
