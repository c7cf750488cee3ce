//! The device: one adapter, and per open file the objects of a process on it.

// UNSAFETY: the argument of a request is an address.
#![expect(unsafe_code, reason = "a kernel gets its arguments by address")]

use std::collections::HashMap;
use std::ffi::c_ulong;
use std::ffi::c_void;
use std::os::fd::AsFd;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::LazyLock;

use dxg_ioctl::FenceValue;
use dxg_ioctl::GpuVa;
use dxg_ioctl::Ioctl;
use dxg_ioctl::Luid;
use dxg_ioctl::RawHandle;
use dxg_ioctl::Request;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::*;
use dxg_wire::shm::create_sealed;
use parking_lot::Mutex;
use zerocopy::FromZeros;

use crate::allocations;
use crate::allocations::Contents;
use crate::allocations::SharedContents;
use crate::fences::FakeFence;
use crate::fences::Wait;
use crate::fences::Waits;
use crate::memory;
use crate::memory::Fail;

const LUID: Luid = Luid { a: 0xfa4e, b: 0xd1c };
const PENDING: i32 = 0x103;

/// What a descriptor names that was shared.
#[derive(Clone)]
enum Shared {
    Fence(FakeFence),
    Resource(Arc<SharedContents>),
}

/// Shared objects by the inode of their descriptors.
static SHARED: LazyLock<Mutex<HashMap<u64, Shared>>> = LazyLock::new(Mutex::default);

enum Object {
    Adapter,
    Device,
    Context,
    PagingQueue { fence: FakeFence, done: u64 },
    Fence { fence: FakeFence, shareable: bool },
    Allocation { contents: Arc<Contents>, locks: u32 },
    Resource { contents: Arc<SharedContents>, allocations: Vec<RawHandle>, shareable: bool },
}

#[derive(Default)]
struct Objects {
    used: u32,
    table: HashMap<u32, Object>,
}

impl Objects {
    fn add(&mut self, object: Object) -> RawHandle {
        self.used += 1;
        let handle = RawHandle(0x4000_0000 | self.used << 6);
        self.table.insert(handle.0, object);
        handle
    }

    fn get(&mut self, handle: RawHandle) -> Result<&mut Object, Fail> {
        self.table.get_mut(&handle.0).ok_or(libc::EINVAL)
    }

    fn remove(&mut self, handle: RawHandle) -> Result<i32, Fail> {
        self.table.remove(&handle.0).map(|_| 0).ok_or(libc::EINVAL)
    }

    fn is_device(&mut self, handle: RawHandle) -> Result<(), Fail> {
        if matches!(self.get(handle)?, Object::Device) { Ok(()) } else { Err(libc::EINVAL) }
    }

    fn fence(&mut self, handle: RawHandle) -> Result<FakeFence, Fail> {
        match self.get(handle)? {
            Object::Fence { fence, .. } => Ok(fence.clone()),
            _ => Err(libc::EINVAL),
        }
    }
}

/// One open of the device.
pub(crate) struct FakeDevice {
    objects: Mutex<Objects>,
}

impl FakeDevice {
    pub(crate) fn new() -> Self {
        Self { objects: Mutex::default() }
    }

    /// Answers a request: a status that is not negative, or an errno.
    pub(crate) fn ioctl(&self, request: c_ulong, argument: *mut c_void) -> Result<i32, Fail> {
        macro_rules! serve {
            ($($argument_type:ident => $handler:ident,)*) => {
                match u32::try_from(request).map(Ioctl) {
                    $(Ok(number) if number == $argument_type::IOCTL => {
                        // SAFETY: the number says that the argument is this struct, and the caller that it is there.
                        let args = unsafe { &mut *argument.cast::<$argument_type>() };
                        self.$handler(args)
                    })*
                    _ => Err(libc::ENOTTY),
                }
            };
        }
        serve! {
            EnumAdapters3 => enum_adapters,
            OpenAdapterFromLuid => open_adapter,
            CloseAdapter => close_adapter,
            QueryAdapterInfo => query_adapter_info,
            QueryVideoMemoryInfo => query_video_memory,
            CreateDevice => create_device,
            DestroyDevice => destroy_device,
            GetDeviceState => device_state,
            CreateContextVirtual => create_context,
            DestroyContext => destroy_context,
            CreatePagingQueue => create_paging_queue,
            DestroyPagingQueue => destroy_paging_queue,
            MakeResident => make_resident,
            CreateAllocation => create_allocation,
            DestroyAllocation2 => destroy_allocation,
            Lock2 => lock,
            Unlock2 => unlock,
            CreateSynchronizationObject2 => create_fence,
            DestroySynchronizationObject => destroy_fence,
            SignalSynchronizationObjectFromCpu => signal_from_cpu,
            SignalSynchronizationObjectFromGpu => signal_from_gpu,
            WaitForSynchronizationObjectFromCpu => wait_from_cpu,
            ShareObjects => share,
            OpenSyncObjectFromNtHandle2 => open_fence,
            QueryResourceInfoFromNtHandle => query_resource,
            OpenResourceFromNtHandle => open_resource,
        }
    }

    fn enum_adapters(&self, args: &mut EnumAdapters3) -> Result<i32, Fail> {
        if !args.adapters.is_null() && args.adapter_count != 0 {
            let mut info = AdapterInfo::new_zeroed();
            info.adapter_handle = self.objects.lock().add(Object::Adapter);
            info.adapter_luid = LUID;
            memory::write(args.adapters, &[info])?;
        }
        args.adapter_count = 1;
        Ok(0)
    }

    fn open_adapter(&self, args: &mut OpenAdapterFromLuid) -> Result<i32, Fail> {
        if args.adapter_luid == LUID {
            args.adapter_handle = self.objects.lock().add(Object::Adapter);
        } else if args.adapter_handle.is_none() {
            return Err(libc::EINVAL);
        }
        Ok(0)
    }

    fn close_adapter(&self, args: &mut CloseAdapter) -> Result<i32, Fail> {
        self.objects.lock().remove(args.adapter_handle)
    }

    fn query_adapter_info(&self, args: &mut QueryAdapterInfo) -> Result<i32, Fail> {
        self.objects.lock().get(args.adapter)?;
        let size = args.private_data_size as usize;
        match args.r#type {
            QueryAdapterInfoType::ADAPTERTYPE if size == 4 => {
                let kind = AdapterType::RENDER_SUPPORTED | AdapterType::PARAVIRTUALIZED;
                memory::write(args.private_data, &[kind.bits()])?;
            }
            QueryAdapterInfoType::DRIVERVERSION if size == 4 => memory::write(args.private_data, &[2700u32])?,
            QueryAdapterInfoType::DRIVER_DESCRIPTION if size == 8192 => {
                let name: Vec<u16> = "fake".encode_utf16().chain([0]).collect();
                memory::write(args.private_data, &name)?;
            }
            _ => return Err(libc::EINVAL),
        }
        Ok(0)
    }

    fn query_video_memory(&self, args: &mut QueryVideoMemoryInfo) -> Result<i32, Fail> {
        self.objects.lock().get(args.adapter)?;
        args.budget = 1 << 30;
        Ok(0)
    }

    fn create_device(&self, args: &mut CreateDevice) -> Result<i32, Fail> {
        let mut objects = self.objects.lock();
        objects.get(args.adapter)?;
        args.device = objects.add(Object::Device);
        Ok(0)
    }

    fn destroy_device(&self, args: &mut DestroyDevice) -> Result<i32, Fail> {
        self.objects.lock().remove(args.device)
    }

    fn device_state(&self, args: &mut GetDeviceState) -> Result<i32, Fail> {
        self.objects.lock().is_device(args.device)?;
        args.state.set_execution_state(DeviceExecutionState::ACTIVE);
        Ok(0)
    }

    fn create_context(&self, args: &mut CreateContextVirtual) -> Result<i32, Fail> {
        let mut objects = self.objects.lock();
        objects.is_device(args.device)?;
        args.context = objects.add(Object::Context);
        Ok(0)
    }

    fn destroy_context(&self, args: &mut DestroyContext) -> Result<i32, Fail> {
        self.objects.lock().remove(args.context)
    }

    fn create_paging_queue(&self, args: &mut CreatePagingQueue) -> Result<i32, Fail> {
        let fence = FakeFence::new(0)?;
        args.fence_cpu_virtual_address = fence.page().address();
        let mut objects = self.objects.lock();
        objects.is_device(args.device)?;
        args.sync_object = objects.add(Object::Fence { fence: fence.clone(), shareable: false });
        args.paging_queue = objects.add(Object::PagingQueue { fence, done: 0 });
        Ok(0)
    }

    fn destroy_paging_queue(&self, args: &mut DestroyPagingQueue) -> Result<i32, Fail> {
        self.objects.lock().remove(args.paging_queue)
    }

    fn make_resident(&self, args: &mut MakeResident) -> Result<i32, Fail> {
        let handles: Vec<RawHandle> = memory::read(args.allocation_list, args.alloc_count as usize)?;
        let mut objects = self.objects.lock();
        for handle in handles {
            objects.get(handle)?;
        }
        let Object::PagingQueue { fence, done } = objects.get(args.paging_queue)? else {
            return Err(libc::EINVAL);
        };
        *done += 1;
        args.paging_fence_value = FenceValue(*done);
        let (fence, done) = (fence.clone(), *done);
        drop(objects);
        Waits::all().signal(&fence, done);
        Ok(PENDING)
    }

    fn create_allocation(&self, args: &mut CreateAllocation) -> Result<i32, Fail> {
        self.objects.lock().is_device(args.device)?;
        let contents = allocations::make(args)?;
        let mut objects = self.objects.lock();
        let handles: Vec<RawHandle> = contents
            .allocations
            .iter()
            .map(|one| objects.add(Object::Allocation { contents: Arc::clone(one), locks: 0 }))
            .collect();
        allocations::answer(args, &handles)?;
        if args.flags.contains(CreateAllocationFlags::CREATE_RESOURCE) {
            let shareable = args.flags.contains(CreateAllocationFlags::CREATE_SHARED);
            args.resource = objects.add(Object::Resource {
                contents: Arc::new(contents),
                allocations: handles,
                shareable,
            });
        }
        Ok(0)
    }

    fn destroy_allocation(&self, args: &mut DestroyAllocation2) -> Result<i32, Fail> {
        let mut objects = self.objects.lock();
        let list = match (args.resource.is_none(), args.alloc_count) {
            (true, 1..) => memory::read(args.allocations, args.alloc_count as usize)?,
            (false, 0) => match objects.get(args.resource)? {
                Object::Resource { allocations, .. } => {
                    let inside = std::mem::take(allocations);
                    objects.remove(args.resource)?;
                    inside
                }
                _ => return Err(libc::EINVAL),
            },
            _ => return Err(libc::EINVAL),
        };
        for handle in list {
            objects.remove(handle)?;
        }
        Ok(0)
    }

    fn lock(&self, args: &mut Lock2) -> Result<i32, Fail> {
        let mut objects = self.objects.lock();
        let Object::Allocation { contents, locks } = objects.get(args.allocation)? else {
            return Err(libc::EINVAL);
        };
        *locks += 1;
        args.data = contents.memory.address();
        Ok(0)
    }

    fn unlock(&self, args: &mut Unlock2) -> Result<i32, Fail> {
        let mut objects = self.objects.lock();
        let Object::Allocation { locks, .. } = objects.get(args.allocation)? else {
            return Err(libc::EINVAL);
        };
        *locks = locks.checked_sub(1).ok_or(libc::EINVAL)?;
        Ok(0)
    }

    fn create_fence(&self, args: &mut CreateSynchronizationObject2) -> Result<i32, Fail> {
        let flags = args.info.flags;
        let shareable = flags.contains(SynchronizationObjectFlags::SHARED);
        let by_descriptor = flags.contains(SynchronizationObjectFlags::NT_SECURITY_SHARING);
        let monitored = args.info.r#type == SynchronizationObjectType::MONITORED_FENCE;
        if !monitored || (shareable && !by_descriptor) {
            return Err(libc::EINVAL);
        }
        let mut answer = args.info.object.monitored_fence();
        let fence = FakeFence::new(answer.initial_fence_value.0)?;
        answer.fence_cpu_virtual_address = fence.page().address();
        answer.fence_gpu_virtual_address = GpuVa(0x1000);
        args.info.object.set_monitored_fence(answer);
        let mut objects = self.objects.lock();
        objects.is_device(args.device)?;
        args.sync_object = objects.add(Object::Fence { fence, shareable });
        Ok(0)
    }

    fn destroy_fence(&self, args: &mut DestroySynchronizationObject) -> Result<i32, Fail> {
        self.objects.lock().remove(args.sync_object)
    }

    fn points(&self, objects: UserPtr, values: UserPtr, count: u32) -> Result<Vec<(FakeFence, u64)>, Fail> {
        if count == 0 {
            return Err(libc::EINVAL);
        }
        let handles: Vec<RawHandle> = memory::read(objects, count as usize)?;
        let values: Vec<u64> = memory::read(values, count as usize)?;
        let mut table = self.objects.lock();
        handles.into_iter().zip(values).map(|(handle, value)| Ok((table.fence(handle)?, value))).collect()
    }

    fn signal_from_cpu(&self, args: &mut SignalSynchronizationObjectFromCpu) -> Result<i32, Fail> {
        for (fence, value) in self.points(args.objects, args.fence_values, args.object_count)? {
            Waits::all().signal(&fence, value);
        }
        Ok(0)
    }

    fn signal_from_gpu(&self, args: &mut SignalSynchronizationObjectFromGpu) -> Result<i32, Fail> {
        self.objects.lock().get(args.context)?;
        for (fence, value) in
            self.points(args.objects, args.value.monitored_fence_values(), args.object_count)?
        {
            Waits::all().signal(&fence, value);
        }
        Ok(0)
    }

    fn wait_from_cpu(&self, args: &mut WaitForSynchronizationObjectFromCpu) -> Result<i32, Fail> {
        let any = args.flags.contains(WaitForSynchronizationObjectFromCpuFlags::WAIT_ANY);
        let wait = Wait { points: self.points(args.objects, args.fence_values, args.object_count)?, any };
        match args.async_event {
            0 => Waits::all().sleep(&wait),
            eventfd => Waits::all().notify(wait, memory::descriptor(eventfd)?),
        }
        Ok(0)
    }

    fn share(&self, args: &mut ShareObjects) -> Result<i32, Fail> {
        let handles: Vec<RawHandle> = memory::read(args.objects, args.object_count as usize)?;
        let [handle] = handles.as_slice() else { return Err(libc::EINVAL) };
        let shared = match self.objects.lock().get(*handle)? {
            Object::Fence { fence, shareable: true } => Shared::Fence(fence.clone()),
            Object::Resource { contents, shareable: true, .. } => Shared::Resource(Arc::clone(contents)),
            _ => return Err(libc::EINVAL),
        };
        let descriptor = create_sealed("fake-dxg-shared", 4096).map_err(|_| libc::EMFILE)?;
        SHARED.lock().insert(inode(&descriptor)?, shared);
        let number = u64::try_from(descriptor.into_raw_fd()).map_err(|_| libc::EBADF)?;
        memory::write(args.shared_handle, &[number])?;
        Ok(0)
    }

    fn shared(&self, device: RawHandle, number: u64) -> Result<Shared, Fail> {
        self.objects.lock().is_device(device)?;
        let inode = inode(&memory::descriptor(number)?)?;
        SHARED.lock().get(&inode).cloned().ok_or(libc::EINVAL)
    }

    fn open_fence(&self, args: &mut OpenSyncObjectFromNtHandle2) -> Result<i32, Fail> {
        let Shared::Fence(fence) = self.shared(args.device, args.nt_handle)? else {
            return Err(libc::EINVAL);
        };
        let mut answer = args.fence.monitored_fence();
        answer.fence_value_cpu_va = fence.page().address();
        answer.fence_value_gpu_va = GpuVa(0x2000);
        args.fence.set_monitored_fence(answer);
        args.sync_object = self.objects.lock().add(Object::Fence { fence, shareable: false });
        Ok(0)
    }

    fn query_resource(&self, args: &mut QueryResourceInfoFromNtHandle) -> Result<i32, Fail> {
        let Shared::Resource(contents) = self.shared(args.device, args.nt_handle)? else {
            return Err(libc::EINVAL);
        };
        args.allocation_count = contents.allocations.len() as u32;
        args.private_runtime_data_size = contents.runtime_data.len() as u32;
        args.resource_priv_drv_data_size = contents.private_data.len() as u32;
        args.total_priv_drv_data_size =
            contents.allocations.iter().map(|one| one.private_data.len() as u32).sum();
        Ok(0)
    }

    fn open_resource(&self, args: &mut OpenResourceFromNtHandle) -> Result<i32, Fail> {
        let Shared::Resource(contents) = self.shared(args.device, args.nt_handle)? else {
            return Err(libc::EINVAL);
        };
        if args.allocation_count as usize != contents.allocations.len() {
            return Err(libc::EINVAL);
        }
        memory::write(args.private_runtime_data, &contents.runtime_data)?;
        memory::write(args.resource_priv_drv_data, &contents.private_data)?;
        let mut objects = self.objects.lock();
        let mut at = args.total_priv_drv_data.0;
        let mut infos = Vec::new();
        for one in &contents.allocations {
            let mut info = OpenAllocationInfo2::new_zeroed();
            info.allocation = objects.add(Object::Allocation { contents: Arc::clone(one), locks: 0 });
            info.priv_drv_data = UserPtr(at);
            info.priv_drv_data_size = one.private_data.len() as u32;
            memory::write(info.priv_drv_data, &one.private_data)?;
            at += u64::from(info.priv_drv_data_size);
            infos.push(info);
        }
        memory::write(args.open_alloc_info, &infos)?;
        let allocations = infos.iter().map(|info| info.allocation).collect();
        args.resource = objects.add(Object::Resource { contents, allocations, shareable: false });
        Ok(0)
    }
}

/// What tells one shared object's descriptor from another's, in whatever process it is.
fn inode(descriptor: &impl AsFd) -> Result<u64, Fail> {
    use std::os::fd::AsRawFd;
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the descriptor is open, and `stat` is room for one answer.
    let done = unsafe { libc::fstat(descriptor.as_fd().as_raw_fd(), stat.as_mut_ptr()) };
    if done != 0 {
        return Err(libc::EBADF);
    }
    // SAFETY: the call succeeded, so it has filled the answer.
    Ok(unsafe { stat.assume_init() }.st_ino)
}
