//! Devices, contexts, hardware queues and paging queues.

use std::collections::BTreeSet;
use std::sync::Arc;

use dxg_ioctl::CallError;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::CreateContextVirtual;
use dxg_ioctl::abi::CreateDevice;
use dxg_ioctl::abi::CreateHwQueue;
use dxg_ioctl::abi::CreatePagingQueue;
use dxg_ioctl::abi::DestroyContext;
use dxg_ioctl::abi::DestroyDevice;
use dxg_ioctl::abi::DestroyHwQueue;
use dxg_ioctl::abi::DestroyPagingQueue;
use dxg_ioctl::abi::DeviceExecutionState;
use dxg_ioctl::abi::DeviceStateType;
use dxg_ioctl::abi::GetContextInProcessSchedulingPriority;
use dxg_ioctl::abi::GetContextSchedulingPriority;
use dxg_ioctl::abi::GetDeviceState;
use dxg_ioctl::abi::GetDeviceStateState;
use dxg_ioctl::abi::MarkDeviceAsError;
use dxg_ioctl::abi::SetContextInProcessSchedulingPriority;
use dxg_ioctl::abi::SetContextSchedulingPriority;
use dxg_wire::messages::CreateContextVirtualCommand;
use dxg_wire::messages::CreateDeviceCommand;
use dxg_wire::messages::CreateHwQueueCommand;
use dxg_wire::messages::CreatePagingQueueCommand;
use dxg_wire::messages::DestroyContextCommand;
use dxg_wire::messages::DestroyDeviceCommand;
use dxg_wire::messages::DestroyHwQueueCommand;
use dxg_wire::messages::DestroyPagingQueueCommand;
use dxg_wire::messages::GetContextSchedulingPriorityCommand;
use dxg_wire::messages::GetDeviceStateCommand;
use dxg_wire::messages::MarkDeviceAsErrorCommand;
use dxg_wire::messages::Message as _;
use dxg_wire::messages::SetContextSchedulingPriority2Command;
use dxg_wire::messages::context::CreateContextVirtualMessage;
use dxg_wire::messages::context::CreateHwQueueMessage;
use dxg_wire::shm::SharedSlice;
use parking_lot::Mutex;

use super::HostNode;
use super::message;
use super::objects::Context;
use super::objects::Device;
use super::objects::HwQueue;
use super::objects::Object;
use super::objects::PagingQueue;
use super::query::MAX_PRIVATE_BYTES;
use crate::caller::CallerMemory;
use crate::errno;

/// Bytes of the page that a fence has to itself.
pub(super) const FENCE_PAGE_BYTES: u64 = 4096;

/// Whether a priority is among the contexts of the process or of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Global,
    InProcess,
}

impl HostNode {
    pub(super) fn create_device(
        &self,
        args: &mut CreateDevice,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        let cookie = self.link.new_cookie();
        let mut command: CreateDeviceCommand = self.command();
        command.flags = args.flags;
        command.error_code = UserPtr(cookie);
        let handle =
            self.ask(&command).map(|reply| reply.device).inspect_err(|_| self.link.drop_cookie(cookie))?;
        if handle.is_none() {
            // As in the kernel: success, and no device.
            self.link.drop_cookie(cookie);
            return Ok(NtStatus::SUCCESS);
        }
        let device = Device { handle, cookie, children: Mutex::default(), state: Mutex::default() };
        let published = self.objects.insert(handle, Object::Device(Arc::new(device)));
        if let Err(error) = published {
            self.link.drop_cookie(cookie);
            return Err(error);
        }
        args.device = handle;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn destroy_device(
        &self,
        args: &mut DestroyDevice,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.drop_device(args.device)
    }

    /// Forgets a device with all below it, then tells the host.
    pub(super) fn drop_device(&self, handle: RawHandle) -> Result<NtStatus, CallError> {
        let device = self.objects.device(handle)?;
        let children = std::mem::take(&mut *device.children.lock());
        self.objects.remove(handle)?;
        let removed = self.objects.remove_all(children);
        self.link.drop_cookie(device.cookie);
        for object in &removed {
            self.forget_memory(object);
        }
        // What the host holds in allocations is charged until it is told, so it is told one by one as by the driver.
        let mut resources = BTreeSet::new();
        for object in removed {
            match object {
                Object::Resource(resource) => {
                    resources.insert(resource.handle);
                }
                Object::Allocation(allocation) if allocation.resource.is_none() => {
                    let _ = self.destroy_on_host(
                        handle,
                        RawHandle::NONE,
                        vec![allocation.handle],
                        Default::default(),
                    );
                }
                _ => {}
            }
        }
        for resource in resources {
            let _ = self.destroy_on_host(handle, resource, Vec::new(), Default::default());
        }
        let mut command: DestroyDeviceCommand = self.command();
        command.device = handle;
        // Always success once the handle was found.
        let _ = self.ask_status(&command);
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn get_device_state(
        &self,
        args: &mut GetDeviceState,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        let changes = self.link.device_changes();
        if args.state_type == DeviceStateType::EXECUTION {
            let cached = *device.state.lock();
            if let Some((at, state)) = cached.filter(|(at, _)| *at == changes) {
                let _ = at;
                *args = state;
                return Ok(NtStatus::SUCCESS);
            }
        }
        let mut command: GetDeviceStateCommand = self.command();
        command.args = *args;
        let reply = self.ask(&command)?;
        let status = errno::of_status(reply.status)?;
        *args = reply.args;
        if args.state_type == DeviceStateType::EXECUTION {
            *device.state.lock() = Some((changes, *args));
        }
        Ok(status)
    }

    pub(super) fn mark_device_as_error(
        &self,
        args: &mut MarkDeviceAsError,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        *device.state.lock() = Some((
            self.link.device_changes(),
            GetDeviceState {
                device: args.device,
                state_type: DeviceStateType::EXECUTION,
                state: GetDeviceStateState::from_execution_state(DeviceExecutionState::RESET),
            },
        ));
        let mut command: MarkDeviceAsErrorCommand = self.command();
        command.args = *args;
        self.ask_status(&command)
    }

    pub(super) fn create_context_virtual(
        &self,
        args: &mut CreateContextVirtual,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        if args.priv_drv_data_size > MAX_PRIVATE_BYTES {
            return Err(errno::INVALID);
        }
        let private_data = memory.bytes(args.priv_drv_data, args.priv_drv_data_size as usize)?;
        let mut command: CreateContextVirtualCommand = self.command();
        command.device = args.device;
        command.node_ordinal = args.node_ordinal;
        command.engine_affinity = args.engine_affinity;
        command.flags = args.flags;
        command.client_hint = args.client_hint;
        let payload = self.ask_long(&CreateContextVirtualMessage { command, private_data })?;
        let answer = CreateContextVirtualMessage::decode(&payload).map_err(message::too_short)?;
        let handle = answer.command.context;
        if handle.is_none() {
            return Err(errno::INVALID);
        }
        same_size(args.priv_drv_data_size, &answer.private_data)?;
        let context = Context { device: args.device, queues: Mutex::default() };
        self.publish(&device, handle, Object::Context(Arc::new(context)))?;
        args.context = handle;
        memory.write_array(args.priv_drv_data, &answer.private_data)?;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn destroy_context(
        &self,
        args: &mut DestroyContext,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let context = self.objects.context(args.context)?;
        let queues = std::mem::take(&mut *context.queues.lock());
        self.objects.remove(args.context)?;
        self.forget_child(context.device, args.context);
        for object in self.objects.remove_all(queues.iter().copied()) {
            self.forget_memory(&object);
        }
        if let Ok(device) = self.objects.device(context.device) {
            let mut children = device.children.lock();
            children.retain(|handle| !queues.contains(handle));
        }
        let mut command: DestroyContextCommand = self.command();
        command.context = args.context;
        self.ask_status(&command)
    }

    pub(super) fn create_hw_queue(
        &self,
        args: &mut CreateHwQueue,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let context = self.objects.context(args.context)?;
        let device = self.objects.device(context.device)?;
        if args.priv_drv_data_size > MAX_PRIVATE_BYTES {
            return Err(errno::INVALID);
        }
        let private_data = memory.bytes(args.priv_drv_data, args.priv_drv_data_size as usize)?;
        let mut command: CreateHwQueueCommand = self.command();
        command.context = args.context;
        command.flags = args.flags;
        let payload = self.ask_long(&CreateHwQueueMessage { command, private_data })?;
        let answer = CreateHwQueueMessage::decode(&payload).map_err(message::too_short)?;
        let reply = answer.command;
        let status = errno::of_status(reply.status)?;
        same_size(args.priv_drv_data_size, &answer.private_data)?;
        let page = self.fence_page(reply.hwqueue_progress_fence_cpuva.0)?;
        let queue = HwQueue { context: args.context, fence: reply.hwqueue_progress_fence };
        let fence = Object::QueueFence(page.clone());
        self.publish_queue(
            &device,
            (reply.hwqueue, Object::HwQueue(Arc::new(queue))),
            (reply.hwqueue_progress_fence, fence),
        )?;
        context.queues.lock().extend([reply.hwqueue, reply.hwqueue_progress_fence]);
        args.queue = reply.hwqueue;
        args.queue_progress_fence = reply.hwqueue_progress_fence;
        args.queue_progress_fence_cpu_va = address_of(&page);
        args.queue_progress_fence_gpu_va = reply.hwqueue_progress_fence_gpuva;
        memory.write_array(args.priv_drv_data, &answer.private_data)?;
        Ok(status)
    }

    pub(super) fn destroy_hw_queue(
        &self,
        args: &mut DestroyHwQueue,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let queue = self.objects.hw_queue(args.queue)?;
        if let Ok(context) = self.objects.context(queue.context) {
            let mut queues = context.queues.lock();
            queues.remove(&args.queue);
            queues.remove(&queue.fence);
            drop(queues);
            self.forget_child(context.device, args.queue);
            self.forget_child(context.device, queue.fence);
        }
        for object in self.objects.remove_all([args.queue, queue.fence]) {
            self.forget_memory(&object);
        }
        let mut command: DestroyHwQueueCommand = self.command();
        command.hwqueue = args.queue;
        self.ask_status(&command)
    }

    pub(super) fn create_paging_queue(
        &self,
        args: &mut CreatePagingQueue,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        let mut command: CreatePagingQueueCommand = self.command();
        command.args = *args;
        let reply = self.ask(&command)?;
        if reply.paging_queue.is_none() {
            return Err(errno::INVALID);
        }
        let page = self.fence_page(reply.fence_storage_physical_address)?;
        let queue = PagingQueue { device: args.device, fence: reply.sync_object };
        let fence = Object::QueueFence(page.clone());
        self.publish_queue(
            &device,
            (reply.paging_queue, Object::PagingQueue(Arc::new(queue))),
            (reply.sync_object, fence),
        )?;
        args.paging_queue = reply.paging_queue;
        args.sync_object = reply.sync_object;
        args.fence_cpu_virtual_address = address_of(&page);
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn destroy_paging_queue(
        &self,
        args: &mut DestroyPagingQueue,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let queue = self.objects.paging_queue(args.paging_queue)?;
        self.forget_child(queue.device, args.paging_queue);
        self.forget_child(queue.device, queue.fence);
        for object in self.objects.remove_all([args.paging_queue, queue.fence]) {
            self.forget_memory(&object);
        }
        let mut command: DestroyPagingQueueCommand = self.command();
        command.paging_queue = args.paging_queue;
        self.ask(&command)?;
        Ok(NtStatus::SUCCESS)
    }

    fn get_priority(&self, context: RawHandle, scope: Scope) -> Result<i32, CallError> {
        self.objects.context(context)?;
        let mut command: GetContextSchedulingPriorityCommand = self.command();
        command.context = context;
        command.in_process = u8::from(scope == Scope::InProcess);
        let reply = self.ask(&command)?;
        errno::of_status(reply.status)?;
        Ok(reply.priority)
    }

    fn set_priority(&self, context: RawHandle, priority: i32, scope: Scope) -> Result<NtStatus, CallError> {
        self.objects.context(context)?;
        let mut command: SetContextSchedulingPriority2Command = self.command();
        command.context = context;
        command.priority = priority;
        command.in_process = u8::from(scope == Scope::InProcess);
        self.ask_status(&command)
    }

    pub(super) fn get_context_scheduling_priority(
        &self,
        args: &mut GetContextSchedulingPriority,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        args.priority = self.get_priority(args.context, Scope::Global)?;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn get_context_in_process_scheduling_priority(
        &self,
        args: &mut GetContextInProcessSchedulingPriority,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        args.priority = self.get_priority(args.context, Scope::InProcess)?;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn set_context_scheduling_priority(
        &self,
        args: &mut SetContextSchedulingPriority,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.set_priority(args.context, args.priority, Scope::Global)
    }

    pub(super) fn set_context_in_process_scheduling_priority(
        &self,
        args: &mut SetContextInProcessSchedulingPriority,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.set_priority(args.context, args.priority, Scope::InProcess)
    }

    /// Makes an object known as part of a device: the last step of its creation.
    pub(super) fn publish(
        &self,
        device: &Device,
        handle: RawHandle,
        object: Object,
    ) -> Result<(), CallError> {
        self.objects.insert(handle, object)?;
        device.children.lock().insert(handle);
        Ok(())
    }

    /// The same for a queue and its fence: both or neither.
    fn publish_queue(
        &self,
        device: &Device,
        queue: (RawHandle, Object),
        fence: (RawHandle, Object),
    ) -> Result<(), CallError> {
        self.publish(device, queue.0, queue.1)?;
        if let Err(error) = self.publish(device, fence.0, fence.1) {
            device.children.lock().remove(&queue.0);
            let _ = self.objects.remove(queue.0);
            return Err(error);
        }
        Ok(())
    }

    /// Takes an object off its device's list.
    pub(super) fn forget_child(&self, device: RawHandle, child: RawHandle) {
        if let Ok(device) = self.objects.device(device) {
            device.children.lock().remove(&child);
        }
    }

    /// The page of a fence that the host named. Whatever lies in the page before the fence is dropped, as by the driver.
    pub(super) fn fence_page(&self, at: u64) -> Result<SharedSlice, CallError> {
        let page = self.link.resolve(at & !(FENCE_PAGE_BYTES - 1), FENCE_PAGE_BYTES)?;
        self.link.watch(&page);
        Ok(page)
    }

    /// Ends what this process does with an object's memory.
    pub(super) fn forget_memory(&self, object: &Object) {
        match object {
            Object::QueueFence(page) => self.link.unwatch(page),
            Object::Sync(object) => {
                if let Some(page) = &object.page {
                    self.link.unwatch(page);
                }
            }
            _ => {}
        }
    }
}

/// Where memory lies in this process.
pub(super) fn address_of(memory: &SharedSlice) -> UserPtr {
    UserPtr(memory.as_ptr().expose_provenance() as u64)
}

/// EOVERFLOW unless the host answered as many bytes as it was sent.
fn same_size(sent: u32, answered: &[u8]) -> Result<(), CallError> {
    if answered.len() == sent as usize { Ok(()) } else { Err(errno::OVERFLOW) }
}
