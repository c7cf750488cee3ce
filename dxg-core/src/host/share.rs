//! Sharing objects by descriptor.
//!
//! The descriptor is an end of a socket pair that the broker keeps the other end of: it names the object, and its last close
//! is seen there. Who imports learns what the object is from a sealed memfd of private data, and sees its memory in a window.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use dxg_ioctl::CallError;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::CreateSyncFile;
use dxg_ioctl::abi::DestroyAllocation2Flags;
use dxg_ioctl::abi::OpenAllocationInfo2;
use dxg_ioctl::abi::OpenResourceFromNtHandle;
use dxg_ioctl::abi::OpenSyncObjectFromNtHandle2;
use dxg_ioctl::abi::OpenSyncObjectFromSyncFile;
use dxg_ioctl::abi::QueryResourceInfoFromNtHandle;
use dxg_ioctl::abi::ShareObjectWithHost;
use dxg_ioctl::abi::ShareObjects;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_ioctl::abi::WaitSyncFile;
use dxg_wire::messages::CreateNtSharedObjectCommand;
use dxg_wire::messages::OpenResourceCommand;
use dxg_wire::messages::OpenSyncObjectCommand;
use dxg_wire::messages::ShareObjectWithHostCommand;
use dxg_wire::messages::info::OpenResourceAnswer;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::Import;
use dxg_wire::session::Imported;
use dxg_wire::session::Reason;
use dxg_wire::shared_object::SharedObject;
use dxg_wire::shared_object::SharedResource;
use dxg_wire::shared_object::SharedSync;
use dxg_wire::shm::verify_sealed;
use parking_lot::Mutex;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use super::HostNode;
use super::device::address_of;
use super::message;
use super::objects::Allocation;
use super::objects::Device;
use super::objects::Object;
use super::objects::Resource;
use super::objects::SyncObject;
use crate::caller::CallerMemory;
use crate::errno;

/// Most bytes of private data that an import reads.
const MAX_SHARED_DATA_BYTES: u64 = 1 << 20;

/// A shared resource as it is described to those who open it, with the handle to open it by.
struct Described {
    global_share: RawHandle,
    resource: SharedResource,
}

impl Described {
    /// All private data of the allocations, back to back.
    fn total_data(&self) -> Vec<u8> {
        self.resource
            .allocations
            .iter()
            .flat_map(|allocation| allocation.private_data.iter().copied())
            .collect()
    }
}

impl HostNode {
    pub(super) fn share_objects(
        &self,
        args: &mut ShareObjects,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        if args.object_count != 1 {
            return Err(errno::INVALID);
        }
        let list: Vec<RawHandle> = memory.array(args.objects, 1)?;
        let handle = list.first().copied().ok_or(errno::INVALID)?;
        let descriptor = match self.objects.get(handle)? {
            Object::Sync(object) if object.shareable => self.export(handle, &object.exported)?,
            Object::Resource(resource) if resource.shareable => {
                resource.sealed.store(true, Ordering::Release);
                if !resource.has_private_data.load(Ordering::Acquire) {
                    // As in the driver: refused, and sealed from now on.
                    return Err(errno::INVALID);
                }
                self.export(handle, &resource.exported)?
            }
            _ => return Err(errno::INVALID),
        };
        let number = memory.install(descriptor);
        memory.write(args.shared_handle, number.as_bytes())?;
        Ok(NtStatus::SUCCESS)
    }

    /// A descriptor of an object; the first time the host makes it.
    fn export(&self, handle: RawHandle, exported: &Mutex<Option<OwnedFd>>) -> Result<OwnedFd, CallError> {
        // Held over the host's answer: the object is shared once.
        let mut exported = exported.lock();
        let descriptor = match exported.take() {
            Some(descriptor) => descriptor,
            None => {
                let mut command: CreateNtSharedObjectCommand = self.command();
                command.object = handle;
                let global_share = self.ask(&command)?;
                if global_share.is_none() {
                    return Err(errno::INVALID);
                }
                self.link.take_exported(global_share.0).ok_or(errno::INVALID)?
            }
        };
        let copy = descriptor.try_clone().map_err(|error| errno::from_io(&error));
        *exported = Some(descriptor);
        copy
    }

    /// Asks what a descriptor names.
    fn import(&self, number: u64, memory: &dyn CallerMemory) -> Result<(RawHandle, SharedObject), CallError> {
        if !self.info.features.contains(Features::SHARING) {
            return Err(errno::UNSUPPORTED);
        }
        let descriptor = memory.descriptor(number)?;
        let body = |request| Import { request, reserved: 0 };
        let answer = self.link.ask(ClientMessage::IMPORT_SHARED, body, &[descriptor.as_fd()])?;
        let imported: Imported = answer.body();
        if answer.kind != BrokerMessage::IMPORTED.0 {
            return Err(match imported.reason {
                Reason::QUOTA | Reason::HOST_RESOURCES => errno::NO_MEMORY,
                _ => errno::INVALID,
            });
        }
        let private = answer.into_fd().ok_or(errno::INVALID)?;
        let data = read_description(&private).ok_or(errno::INVALID)?;
        if data.kind() != imported.kind {
            return Err(errno::INVALID);
        }
        Ok((RawHandle(imported.global_share), data))
    }

    fn import_resource(&self, number: u64, memory: &dyn CallerMemory) -> Result<Described, CallError> {
        match self.import(number, memory)? {
            (global_share, SharedObject::Resource(resource)) => Ok(Described { global_share, resource }),
            _ => Err(errno::INVALID),
        }
    }

    pub(super) fn open_sync_object_from_nt_handle(
        &self,
        args: &mut OpenSyncObjectFromNtHandle2,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        let (global_share, SharedObject::Sync(SharedSync { kind, .. })) =
            self.import(args.nt_handle, memory)?
        else {
            return Err(errno::INVALID);
        };
        let kind = SynchronizationObjectType(kind);
        let monitored = kind == SynchronizationObjectType::MONITORED_FENCE;
        let mut fence = args.fence.monitored_fence();
        let mut command: OpenSyncObjectCommand = self.command();
        command.device = args.device;
        command.global_sync_object = global_share;
        command.engine_affinity = if monitored { fence.engine_affinity } else { 0 };
        command.flags = args.flags;
        let reply = self.ask(&command)?;
        let status = errno::of_status(reply.status)?;
        let page = if monitored { Some(self.fence_page(reply.guest_cpu_physical_address)?) } else { None };
        let object = SyncObject {
            device: monitored.then_some(device.handle),
            shareable: false,
            page: page.clone(),
            exported: Mutex::default(),
        };
        let object = Object::Sync(Arc::new(object));
        if monitored {
            self.publish(&device, reply.sync_object, object)?;
        } else {
            self.objects.insert(reply.sync_object, object)?;
        }
        args.sync_object = reply.sync_object;
        if let Some(page) = page {
            fence.fence_value_cpu_va = address_of(&page);
            fence.fence_value_gpu_va = reply.gpu_virtual_address;
            args.fence.set_monitored_fence(fence);
        }
        Ok(status)
    }

    pub(super) fn query_resource_info_from_nt_handle(
        &self,
        args: &mut QueryResourceInfoFromNtHandle,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let shared = self.import_resource(args.nt_handle, memory)?;
        args.private_runtime_data_size = size_of_data(&shared.resource.runtime_data)?;
        args.resource_priv_drv_data_size = size_of_data(&shared.resource.resource_data)?;
        args.total_priv_drv_data_size = size_of_data(&shared.total_data())?;
        args.allocation_count =
            u32::try_from(shared.resource.allocations.len()).map_err(|_| errno::INVALID)?;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn open_resource_from_nt_handle(
        &self,
        args: &mut OpenResourceFromNtHandle,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        let shared = self.import_resource(args.nt_handle, memory)?;
        let total_data = shared.total_data();
        let total_bytes = size_of_data(&total_data)?;
        let runtime_room = u32::try_from(args.private_runtime_data_size).map_err(|_| errno::INVALID)?;
        let fits = args.allocation_count as usize == shared.resource.allocations.len()
            && runtime_room >= size_of_data(&shared.resource.runtime_data)?
            && args.resource_priv_drv_data_size >= size_of_data(&shared.resource.resource_data)?
            && args.total_priv_drv_data_size >= total_bytes;
        if !fits {
            return Err(errno::INVALID);
        }
        let mut command: OpenResourceCommand = self.command();
        command.device = args.device;
        command.nt_security_sharing = 1;
        command.global_share = shared.global_share;
        command.allocation_count = args.allocation_count;
        command.total_priv_drv_data_size = total_bytes;
        let payload = self.send(dxg_wire::messages::Channel::Vgpu, command.as_bytes())?;
        let answer =
            OpenResourceAnswer::decode(&payload, args.allocation_count).map_err(message::too_short)?;
        let status = errno::of_status(answer.reply.status)?;
        let resource = answer.reply.resource;
        let mut published = Vec::new();
        let result = self
            .publish_opened(&device, resource, &shared, &answer.allocations, &mut published)
            .and_then(|()| give_opened(args, &shared, &answer.allocations, &total_data, memory));
        if let Err(error) = result {
            for handle in published {
                self.forget_child(device.handle, handle);
                let _ = self.objects.remove(handle);
            }
            let flags = DestroyAllocation2Flags::ASSUME_NOT_IN_USE;
            let _ = self.destroy_on_host(device.handle, resource, Vec::new(), flags);
            return Err(error);
        }
        args.resource = resource;
        args.total_priv_drv_data_size = total_bytes;
        Ok(status)
    }

    /// Makes an opened resource and its allocations known, and says how far it came.
    fn publish_opened(
        &self,
        device: &Device,
        handle: RawHandle,
        shared: &Described,
        allocations: &[RawHandle],
        published: &mut Vec<RawHandle>,
    ) -> Result<(), CallError> {
        let resource = Resource {
            handle,
            device: device.handle,
            shareable: false,
            sealed: AtomicBool::new(true),
            has_private_data: AtomicBool::new(true),
            allocations: Mutex::new(allocations.to_vec()),
            exported: Mutex::default(),
        };
        self.publish(device, handle, Object::Resource(Arc::new(resource)))?;
        published.push(handle);
        for (allocation, described) in allocations.iter().zip(&shared.resource.allocations) {
            let object = Allocation {
                handle: *allocation,
                device: device.handle,
                resource: Some(handle),
                size_bytes: described.size_bytes,
                system_memory: None,
                lock: Mutex::default(),
            };
            self.publish(device, *allocation, Object::Allocation(Arc::new(object)))?;
            published.push(*allocation);
        }
        Ok(())
    }

    pub(super) fn share_object_with_host(
        &self,
        args: &mut ShareObjectWithHost,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let mut command: ShareObjectWithHostCommand = self.command();
        command.device_handle = args.device_handle;
        command.object_handle = args.object_handle;
        let reply = self.ask(&command)?;
        let status = errno::of_status(reply.status)?;
        args.object_vail_nt_handle = reply.vail_nt_handle;
        Ok(status)
    }

    /// A sync file is an object of the kernel, which user space cannot make.
    pub(super) fn create_sync_file(
        &self,
        _args: &mut CreateSyncFile,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        Err(errno::UNSUPPORTED)
    }

    /// As [`create_sync_file`](Self::create_sync_file): none that is ours can exist.
    pub(super) fn wait_sync_file(
        &self,
        _args: &mut WaitSyncFile,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        Err(errno::UNSUPPORTED)
    }

    /// As [`create_sync_file`](Self::create_sync_file): none that is ours can exist.
    pub(super) fn open_sync_object_from_sync_file(
        &self,
        _args: &mut OpenSyncObjectFromSyncFile,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        Err(errno::UNSUPPORTED)
    }
}

/// Copies the results of an open out.
fn give_opened(
    args: &OpenResourceFromNtHandle,
    shared: &Described,
    allocations: &[RawHandle],
    total_data: &[u8],
    memory: &mut dyn CallerMemory,
) -> Result<(), CallError> {
    let mut at = args.total_priv_drv_data.0;
    let mut infos = Vec::with_capacity(allocations.len());
    for (allocation, described) in allocations.iter().zip(&shared.resource.allocations) {
        let mut info = OpenAllocationInfo2::new_zeroed();
        info.allocation = *allocation;
        info.priv_drv_data = UserPtr(at);
        info.priv_drv_data_size = size_of_data(&described.private_data)?;
        at = at.checked_add(u64::from(info.priv_drv_data_size)).ok_or(errno::FAULT)?;
        infos.push(info);
    }
    memory.write_array(args.total_priv_drv_data, total_data)?;
    memory.write_array(args.private_runtime_data, &shared.resource.runtime_data)?;
    memory.write_array(args.resource_priv_drv_data, &shared.resource.resource_data)?;
    memory.write_array(args.open_alloc_info, &infos)
}

fn size_of_data(data: &[u8]) -> Result<u32, CallError> {
    u32::try_from(data.len()).map_err(|_| errno::INVALID)
}

/// Reads a sealed memfd of private data. `None` when it is not one or describes nothing.
fn read_description(memfd: &OwnedFd) -> Option<SharedObject> {
    let size_bytes = verify_sealed(memfd, 0).ok().filter(|size| *size <= MAX_SHARED_DATA_BYTES)?;
    let mut bytes = vec![0; usize::try_from(size_bytes).ok()?];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(memfd, rest, done as u64).ok()? {
            0 => return None,
            count => done += count,
        }
    }
    SharedObject::decode(&bytes).ok()
}
