//! One object of each kind, on one device.

use std::os::fd::OwnedFd;
use std::time::Duration;

use dxg_core::Allocation;
use dxg_core::AllocationOptions;
use dxg_core::Context;
use dxg_core::ContextOptions;
use dxg_core::Device;
use dxg_core::Fence;
use dxg_core::FenceValue;
use dxg_core::GpuVa;
use dxg_core::HwQueue;
use dxg_core::Ioctl;
use dxg_core::Luid;
use dxg_core::MapVa;
use dxg_core::MappedAllocation;
use dxg_core::Node;
use dxg_core::PagingQueue;
use dxg_core::RawHandle;
use dxg_core::Resource;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;
use dxg_core::VaRange;
use dxg_core::abi;
use dxg_core::abi::CreateHwQueueFlags;
use dxg_core::abi::GpuVaProtection;
use dxg_core::abi::GpuVaReservationType;
use dxg_core::abi::PagingQueuePriority;
use dxg_core::abi::SynchronizationObjectType;
use dxg_wire::transfer::AllocationData;
use dxg_wire::transfer::CommandHeader;
use dxg_wire::transfer::Opcode;
use zerocopy::FromBytes;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use crate::caller::Caller;

const HANG: Duration = Duration::from_secs(60);
pub(crate) const PAGE: u64 = 4096;

/// The handles that a request may name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handles {
    pub(crate) adapter: RawHandle,
    pub(crate) device: RawHandle,
    pub(crate) context: RawHandle,
    pub(crate) hw_queue: RawHandle,
    pub(crate) paging_queue: RawHandle,
    pub(crate) allocation: RawHandle,
    pub(crate) fence: RawHandle,
    /// A fence without a page.
    pub(crate) legacy_fence: RawHandle,
}

/// Objects for one request, alive as long as the scene.
pub(crate) struct Scene {
    pub(crate) handles: Handles,
    pub(crate) luid: Luid,
    /// Where a command that does nothing lies for the GPU.
    pub(crate) commands: GpuVa,
    /// A range of addresses that nothing is mapped in.
    pub(crate) range: VaRange,
    pub(crate) shared_fence: OwnedFd,
    pub(crate) shared_resource: OwnedFd,
    _objects: (Context, HwQueue, PagingQueue, Allocation, MappedAllocation, Fence, Resource, Device),
}

pub(crate) fn sized(size_bytes: u64) -> AllocationOptions {
    AllocationOptions::driver(AllocationData::new(size_bytes).as_bytes().to_vec())
}

fn legacy_fence(node: &Node, device: &Device) -> RawHandle {
    let mut args = abi::CreateSynchronizationObject2::new_zeroed();
    args.device = device.handle();
    args.info.r#type = SynchronizationObjectType::FENCE;
    let mut bytes = args.as_bytes().to_vec();
    node.answer(Ioctl::CREATE_SYNCHRONIZATION_OBJECT, &mut bytes, &mut Caller::default()).unwrap();
    abi::CreateSynchronizationObject2::read_from_bytes(&bytes).unwrap().sync_object
}

impl Scene {
    pub(crate) fn new(node: &Node) -> Self {
        let adapter = node.first_adapter().unwrap();
        let device = adapter.create_device().unwrap();
        let context = device.create_context(&mut ContextOptions::default()).unwrap();
        let hw_queue = context.create_hw_queue(CreateHwQueueFlags::empty(), &mut []).unwrap();
        let paging_queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
        let allocation = device.create_allocation(sized(PAGE)).unwrap();
        let locked = allocation.map().unwrap();
        let nothing = CommandHeader { opcode: Opcode::NOP, size_bytes: size_of::<CommandHeader>() as u32 };
        locked.write(0, nothing.as_bytes()).unwrap();
        let map = MapVa {
            allocation: &allocation,
            base: GpuVa(0),
            offset_pages: 0,
            page_count: 1,
            protection: GpuVaProtection::WRITE,
        };
        let (commands, work) = paging_queue.map_va(&map).unwrap();
        paging_queue.wait(work, Some(HANG)).unwrap();
        let range = adapter.reserve_va(16 * PAGE, GpuVaReservationType(0)).unwrap();
        let fence = device.create_shared_fence(FenceValue(0)).unwrap();
        let resource = ResourceOptions {
            allocations: vec![sized(PAGE)],
            sharing: ResourceSharing::Shareable,
            ..Default::default()
        };
        let resource = device.create_resource(resource).unwrap();
        let handles = Handles {
            adapter: adapter.handle(),
            device: device.handle(),
            context: context.handle(),
            hw_queue: hw_queue.handle(),
            paging_queue: paging_queue.handle(),
            allocation: allocation.handle(),
            fence: fence.handle(),
            legacy_fence: legacy_fence(node, &device),
        };
        Self {
            handles,
            luid: adapter.luid(),
            commands,
            range,
            shared_fence: fence.share().unwrap(),
            shared_resource: resource.share().unwrap(),
            _objects: (context, hw_queue, paging_queue, allocation, locked, fence, resource, device),
        }
    }

    /// The handles of a scene that has gone.
    pub(crate) fn stale(node: &Node) -> Handles {
        let scene = Self::new(node);
        let handles = scene.handles;
        drop(scene);
        // Unlike the others it does not go with its device.
        let args = abi::DestroySynchronizationObject { sync_object: handles.legacy_fence };
        let mut bytes = args.as_bytes().to_vec();
        node.answer(Ioctl::DESTROY_SYNCHRONIZATION_OBJECT, &mut bytes, &mut Caller::default()).unwrap();
        handles
    }
}
