//! Synchronization objects: create, destroy, signal, wait.
//!
//! *Why waits are messages here.* Waiting for one monitored fence is a load and a futex on its cell and never comes this way (see
//! [`crate::Fence`]). What comes here is what a cell cannot serve: eventfds, waits for any of several, other kinds of objects.

use std::sync::Arc;

use dxg_ioctl::CallError;
use dxg_ioctl::FenceValue;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::CreateSynchronizationObject2;
use dxg_ioctl::abi::DestroySynchronizationObject;
use dxg_ioctl::abi::MAX_BROADCAST_CONTEXT;
use dxg_ioctl::abi::MAX_OBJECT_SIGNALED;
use dxg_ioctl::abi::MAX_OBJECT_WAITED_ON;
use dxg_ioctl::abi::SignalFlags;
use dxg_ioctl::abi::SignalSynchronizationObject2;
use dxg_ioctl::abi::SignalSynchronizationObjectFromCpu;
use dxg_ioctl::abi::SignalSynchronizationObjectFromGpu;
use dxg_ioctl::abi::SignalSynchronizationObjectFromGpu2;
use dxg_ioctl::abi::SubmitSignalSyncObjectsToHwQueue;
use dxg_ioctl::abi::SubmitWaitForSyncObjectsToHwQueue;
use dxg_ioctl::abi::SynchronizationObjectFlags;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_ioctl::abi::WaitForSynchronizationObject2;
use dxg_ioctl::abi::WaitForSynchronizationObjectFromCpu;
use dxg_ioctl::abi::WaitForSynchronizationObjectFromGpu;
use dxg_wire::messages::CreateSyncObjectCommand;
use dxg_wire::messages::DestroySyncObjectCommand;
use dxg_wire::messages::SignalSyncObjectCommand;
use dxg_wire::messages::SignalSyncObjectCommandTarget;
use dxg_wire::messages::WaitForSyncObjectFromCpuCommand;
use dxg_wire::messages::WaitForSyncObjectFromGpuCommand;
use dxg_wire::messages::sync::FencePoint;
use dxg_wire::messages::sync::SignalSyncObjectMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromCpuMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromGpuMessage;

use super::HostNode;
use super::device::address_of;
use super::events::Listener;
use super::gpuva::handles;
use super::objects::Object;
use super::objects::SyncObject;
use super::slot::Slot;
use crate::caller::CallerMemory;
use crate::errno;

/// Most objects of a list without a limit of its own.
const MAX_LIST: usize = 131_072;

/// A signal in the form that all its requests share.
#[derive(Default)]
struct Signal {
    objects: Vec<RawHandle>,
    contexts: Vec<RawHandle>,
    values: Vec<FenceValue>,
    /// The one value of the legacy form.
    legacy_value: FenceValue,
    target: Target,
}

/// What the message's union holds.
#[derive(Default)]
enum Target {
    #[default]
    Nothing,
    Device(RawHandle),
    /// An eventfd of the caller, signalled once.
    Event(u64),
}

fn points(objects: Vec<RawHandle>, values: Vec<FenceValue>) -> Vec<FencePoint> {
    objects.into_iter().zip(values).map(|(object, value)| FencePoint { object, value }).collect()
}

impl HostNode {
    pub(super) fn create_synchronization_object(
        &self,
        args: &mut CreateSynchronizationObject2,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let device = self.objects.device(args.device)?;
        let kind = args.info.r#type;
        let shareable = args.info.flags.contains(SynchronizationObjectFlags::SHARED);
        let known = (1..SynchronizationObjectType::SYNCHRONIZATION_TYPE_LIMIT.0).contains(&kind.0);
        if !known || (shareable && !args.info.flags.contains(SynchronizationObjectFlags::NT_SECURITY_SHARING))
        {
            return Err(errno::INVALID);
        }
        let mut command: CreateSyncObjectCommand = self.command();
        command.args = *args;
        command.client_hint = 1;
        let event = if kind == SynchronizationObjectType::CPU_NOTIFICATION {
            let eventfd = memory.descriptor(args.info.object.cpu_notification().event)?;
            let number = self.link.events.add(Listener::Always(eventfd));
            let mut object = args.info.object.cpu_notification();
            object.event = number;
            command.args.info.object.set_cpu_notification(object);
            Some(number)
        } else {
            None
        };
        let made = self.make_sync_object(args, &command, shareable, &device);
        if let (Err(_), Some(number)) = (&made, event) {
            self.link.events.remove(number);
        }
        if let (Ok(_), Some(_)) = (&made, event) {
            // The number takes the place of the descriptor, as in the driver.
            args.info.object = command.args.info.object;
        }
        made
    }

    fn make_sync_object(
        &self,
        args: &mut CreateSynchronizationObject2,
        command: &CreateSyncObjectCommand,
        shareable: bool,
        device: &super::objects::Device,
    ) -> Result<NtStatus, CallError> {
        let reply = self.ask(command)?;
        let handle = reply.sync_object;
        if handle.is_none() {
            return Err(errno::INVALID);
        }
        let kind = args.info.r#type;
        let is_fence = matches!(
            kind,
            SynchronizationObjectType::MONITORED_FENCE | SynchronizationObjectType::PERIODIC_MONITORED_FENCE
        );
        let page = if is_fence { Some(self.fence_page(reply.fence_storage_address)?) } else { None };
        let object = SyncObject {
            device: is_fence.then_some(device.handle),
            shareable,
            page: page.clone(),
            exported: Default::default(),
        };
        let object = Object::Sync(Arc::new(object));
        if is_fence {
            self.publish(device, handle, object)?
        } else {
            self.objects.insert(handle, object)?
        };
        args.sync_object = handle;
        args.info.shared_handle = reply.global_sync_object;
        if let Some(page) = page {
            if kind == SynchronizationObjectType::MONITORED_FENCE {
                let mut fence = args.info.object.monitored_fence();
                fence.fence_cpu_virtual_address = address_of(&page);
                fence.fence_gpu_virtual_address = reply.fence_gpu_va;
                args.info.object.set_monitored_fence(fence);
            } else {
                let mut fence = args.info.object.periodic_monitored_fence();
                fence.fence_cpu_virtual_address = address_of(&page);
                fence.fence_gpu_virtual_address = reply.fence_gpu_va;
                args.info.object.set_periodic_monitored_fence(fence);
            }
        }
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn destroy_synchronization_object(
        &self,
        args: &mut DestroySynchronizationObject,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let object = self.objects.sync_object(args.sync_object)?;
        if let Some(device) = object.device {
            self.forget_child(device, args.sync_object);
        }
        let removed = self.objects.remove(args.sync_object)?;
        self.forget_memory(&removed);
        let mut command: DestroySyncObjectCommand = self.command();
        command.sync_object = args.sync_object;
        self.ask_status(&command)
    }

    fn signal(
        &self,
        signal: Signal,
        flags: SignalFlags,
        memory: &dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let mut command: SignalSyncObjectCommand = self.command();
        command.flags = flags;
        command.fence_value = signal.legacy_value;
        let mut event = None;
        match signal.target {
            Target::Nothing => {}
            Target::Device(device) => command.target = SignalSyncObjectCommandTarget::from_device(device),
            Target::Event(descriptor) => {
                let number = self.link.events.add(Listener::Once(memory.descriptor(descriptor)?));
                command.target = SignalSyncObjectCommandTarget::from_cpu_event_handle(number);
                event = Some(number);
            }
        }
        let Signal { objects, contexts, values, .. } = signal;
        let message = SignalSyncObjectMessage { command, objects, contexts, fence_values: values };
        self.ask_long_status(&message).inspect_err(|_| {
            if let Some(number) = event {
                self.link.events.remove(number);
            }
        })
    }

    pub(super) fn signal_synchronization_object(
        &self,
        args: &mut SignalSynchronizationObject2,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.context(args.context)?;
        let contexts = args.contexts.get(..args.context_count as usize);
        let contexts = contexts.filter(|list| list.len() < MAX_BROADCAST_CONTEXT).ok_or(errno::INVALID)?;
        let objects = args.object_array.get(..args.object_count as usize).ok_or(errno::INVALID)?;
        let by_event = args.flags.contains(SignalFlags::ENQUEUE_CPU_EVENT);
        let signal = Signal {
            objects: objects.to_vec(),
            contexts: [&[args.context], contexts].concat(),
            legacy_value: args.value.fence().fence_value,
            target: if by_event { Target::Event(args.value.cpu_event_handle()) } else { Target::Nothing },
            ..Signal::default()
        };
        self.signal(signal, args.flags, memory)
    }

    pub(super) fn signal_from_cpu(
        &self,
        args: &mut SignalSynchronizationObjectFromCpu,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let objects = handles(memory, args.objects, args.object_count, MAX_OBJECT_SIGNALED)?;
        let values = memory.array(args.fence_values, objects.len())?;
        let signal = Signal { objects, values, target: Target::Device(args.device), ..Signal::default() };
        self.signal(signal, args.flags, memory)
    }

    pub(super) fn signal_from_gpu(
        &self,
        args: &mut SignalSynchronizationObjectFromGpu,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.context(args.context)?;
        let objects = handles(memory, args.objects, args.object_count, MAX_LIST)?;
        let values = memory.array(args.value.monitored_fence_values(), objects.len())?;
        let signal = Signal { objects, values, contexts: vec![args.context], ..Signal::default() };
        self.signal(signal, SignalFlags::empty(), memory)
    }

    pub(super) fn signal_from_gpu_2(
        &self,
        args: &mut SignalSynchronizationObjectFromGpu2,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let contexts = handles(memory, args.contexts, args.context_count, MAX_LIST)?;
        if let Some(context) = contexts.first() {
            self.objects.context(*context)?;
        }
        let signal = if args.flags.contains(SignalFlags::ENQUEUE_CPU_EVENT) {
            let event = args.value.cpu_event_handle();
            if args.object_count != 0 || event == 0 {
                return Err(errno::INVALID);
            }
            Signal { contexts, target: Target::Event(event), ..Signal::default() }
        } else {
            let objects = handles(memory, args.objects, args.object_count, MAX_LIST)?;
            let values = memory.array(args.value.monitored_fence_values(), objects.len())?;
            Signal { objects, contexts, values, ..Signal::default() }
        };
        self.signal(signal, args.flags, memory)
    }

    pub(super) fn signal_from_hw_queue(
        &self,
        args: &mut SubmitSignalSyncObjectsToHwQueue,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let contexts = handles(memory, args.hwqueues, args.hwqueue_count, MAX_BROADCAST_CONTEXT)?;
        if let Some(queue) = contexts.first() {
            self.objects.hw_queue(*queue)?;
        }
        let objects = handles(memory, args.objects, args.object_count, MAX_OBJECT_SIGNALED)?;
        let values = memory.array(args.fence_values, objects.len())?;
        self.signal(Signal { objects, contexts, values, ..Signal::default() }, args.flags, memory)
    }

    pub(super) fn wait_from_cpu(
        &self,
        args: &mut WaitForSynchronizationObjectFromCpu,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.device(args.device)?;
        let objects = handles(memory, args.objects, args.object_count, MAX_LIST)?;
        let values = memory.array(args.fence_values, objects.len())?;
        let sleeper = Arc::new(Slot::new());
        let listener = match args.async_event {
            0 => Listener::Sleeper(Arc::clone(&sleeper)),
            eventfd => Listener::Once(memory.descriptor(eventfd)?),
        };
        let event = self.link.events.add(listener);
        // After the listener is known: a loss from here on signals it, an earlier one is seen by the call.
        let mut command: WaitForSyncObjectFromCpuCommand = self.command();
        command.device = args.device;
        command.flags = args.flags;
        command.guest_event_pointer = event;
        let message = WaitForSyncObjectFromCpuMessage { command, points: points(objects, values) };
        let status = self.ask_long_status(&message).inspect_err(|_| self.link.events.remove(event))?;
        if args.async_event == 0 {
            sleeper.wait_done()?;
            return Ok(NtStatus::SUCCESS);
        }
        Ok(status)
    }

    fn gpu_wait(
        &self,
        context: RawHandle,
        legacy: u8,
        points: Vec<FencePoint>,
    ) -> Result<NtStatus, CallError> {
        let mut command: WaitForSyncObjectFromGpuCommand = self.command();
        command.context = context;
        command.legacy_fence_object = legacy;
        self.ask_long_status(&WaitForSyncObjectFromGpuMessage { command, points })
    }

    pub(super) fn wait_for_synchronization_object(
        &self,
        args: &mut WaitForSynchronizationObject2,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.context(args.context)?;
        let objects = args.object_array.get(..args.object_count as usize).filter(|list| !list.is_empty());
        let objects = objects.ok_or(errno::INVALID)?;
        // There is one value; it goes for every object.
        let value = args.value.fence().fence_value;
        let points = objects.iter().map(|object| FencePoint { object: *object, value }).collect();
        self.gpu_wait(args.context, 1, points)
    }

    pub(super) fn wait_from_gpu(
        &self,
        args: &mut WaitForSynchronizationObjectFromGpu,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.context(args.context)?;
        let objects = handles(memory, args.objects, args.object_count, MAX_OBJECT_WAITED_ON)?;
        let first = objects.first().copied().ok_or(errno::INVALID)?;
        let monitored = match self.objects.get(first)? {
            Object::QueueFence(_) => true,
            Object::Sync(object) => object.page.is_some(),
            _ => return Err(errno::INVALID),
        };
        let values = if monitored {
            memory.array(args.value.monitored_fence_values(), objects.len())?
        } else {
            vec![args.value.fence_value(); objects.len()]
        };
        self.gpu_wait(args.context, u8::from(!monitored), points(objects, values))
    }

    pub(super) fn wait_from_hw_queue(
        &self,
        args: &mut SubmitWaitForSyncObjectsToHwQueue,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.objects.hw_queue(args.hwqueue)?;
        let objects = handles(memory, args.objects, args.object_count, MAX_OBJECT_WAITED_ON)?;
        let values = memory.array(args.fence_values, objects.len())?;
        self.gpu_wait(args.hwqueue, 0, points(objects, values))
    }
}
