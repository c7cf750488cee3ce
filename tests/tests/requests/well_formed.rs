//! Each request as a program would make it.

use dxg_core::FenceValue;
use dxg_core::GpuVa;
use dxg_core::Ioctl;
use dxg_core::abi;
use dxg_wire::transfer::AllocationData;
use dxg_wire::transfer::CommandHeader;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

use crate::caller::Caller;
use crate::scene::Handles;
use crate::scene::PAGE;
use crate::scene::Scene;

/// A request's bytes: zero but for these fields.
macro_rules! args {
    ($kind:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut args = abi::$kind::new_zeroed();
        $(args.$field = $value;)*
        args.as_bytes().to_vec()
    }};
}

/// The argument of a request that names objects of `scene` by `handles`, and the memory that it points to. `None` for requests that
/// the driver does not know.
pub(crate) fn well_formed(ioctl: Ioctl, scene: &Scene, handles: &Handles) -> Option<(Vec<u8>, Caller)> {
    let mut caller = Caller::default();
    let bytes = adapters(ioctl, scene, handles, &mut caller)
        .or_else(|| objects(ioctl, handles, &mut caller))
        .or_else(|| allocations(ioctl, scene, handles, &mut caller))
        .or_else(|| work(ioctl, scene, handles, &mut caller))
        .or_else(|| sharing(ioctl, scene, handles, &mut caller))?;
    Some((bytes, caller))
}

fn adapters(ioctl: Ioctl, scene: &Scene, handles: &Handles, caller: &mut Caller) -> Option<Vec<u8>> {
    let adapter = handles.adapter;
    Some(match ioctl {
        Ioctl::OPEN_ADAPTER_FROM_LUID => args!(OpenAdapterFromLuid { adapter_luid: scene.luid }),
        Ioctl::ENUM_ADAPTERS2 => args!(EnumAdapters2 { num_adapters: 1, adapters: caller.room(20) }),
        Ioctl::ENUM_ADAPTERS3 => args!(EnumAdapters3 { adapter_count: 1, adapters: caller.room(20) }),
        Ioctl::CLOSE_ADAPTER => args!(CloseAdapter { adapter_handle: adapter }),
        Ioctl::QUERY_ADAPTER_INFO => args!(QueryAdapterInfo {
            adapter: adapter,
            r#type: abi::QueryAdapterInfoType::ADAPTERTYPE,
            private_data: caller.room(4),
            private_data_size: 4,
        }),
        Ioctl::QUERY_VIDEO_MEMORY_INFO => args!(QueryVideoMemoryInfo { adapter: adapter }),
        Ioctl::CHANGE_VIDEO_MEMORY_RESERVATION => args!(ChangeVideoMemoryReservation { adapter: adapter }),
        Ioctl::QUERY_STATISTICS => {
            args!(QueryStatistics { adapter_luid: scene.luid, r#type: abi::QueryStatisticsType::ADAPTER })
        }
        Ioctl::QUERY_CLOCK_CALIBRATION => args!(QueryClockCalibration { adapter: adapter }),
        Ioctl::FLUSH_HEAP_TRANSITIONS => args!(FlushHeapTransitions { adapter: adapter }),
        Ioctl::ESCAPE => args!(Escape {
            adapter: adapter,
            flags: abi::EscapeFlags::DRIVER_KNOWN_ESCAPE,
            priv_drv_data: caller.room(4),
            priv_drv_data_size: 4,
        }),
        Ioctl::ENUM_PROCESSES => {
            args!(EnumProcesses { adapter_luid: scene.luid, buffer: caller.room(4), buffer_count: 1 })
        }
        Ioctl::IS_FEATURE_ENABLED => args!(IsFeatureEnabled { adapter: adapter }),
        Ioctl::CREATE_DEVICE => args!(CreateDevice { adapter: adapter }),
        Ioctl::RESERVE_GPU_VIRTUAL_ADDRESS => {
            args!(ReserveGpuVirtualAddress { adapter: adapter, size: PAGE })
        }
        Ioctl::FREE_GPU_VIRTUAL_ADDRESS => args!(FreeGpuVirtualAddress {
            adapter: adapter,
            base_address: scene.range.base,
            size: scene.range.size_bytes,
        }),
        _ => return None,
    })
}

fn objects(ioctl: Ioctl, handles: &Handles, caller: &mut Caller) -> Option<Vec<u8>> {
    let Handles { device, context, .. } = *handles;
    Some(match ioctl {
        Ioctl::DESTROY_DEVICE => args!(DestroyDevice { device: device }),
        Ioctl::GET_DEVICE_STATE => {
            args!(GetDeviceState { device: device, state_type: abi::DeviceStateType::EXECUTION })
        }
        Ioctl::MARK_DEVICE_AS_ERROR => args!(MarkDeviceAsError { device: device }),
        Ioctl::CREATE_CONTEXT_VIRTUAL => args!(CreateContextVirtual { device: device }),
        Ioctl::DESTROY_CONTEXT => args!(DestroyContext { context: context }),
        Ioctl::GET_CONTEXT_SCHEDULING_PRIORITY => args!(GetContextSchedulingPriority { context: context }),
        Ioctl::SET_CONTEXT_SCHEDULING_PRIORITY => args!(SetContextSchedulingPriority { context: context }),
        Ioctl::GET_CONTEXT_IN_PROCESS_SCHEDULING_PRIORITY => {
            args!(GetContextInProcessSchedulingPriority { context: context })
        }
        Ioctl::SET_CONTEXT_IN_PROCESS_SCHEDULING_PRIORITY => {
            args!(SetContextInProcessSchedulingPriority { context: context })
        }
        Ioctl::CREATE_HW_QUEUE => args!(CreateHwQueue { context: context }),
        Ioctl::DESTROY_HW_QUEUE => args!(DestroyHwQueue { queue: handles.hw_queue }),
        Ioctl::CREATE_PAGING_QUEUE => args!(CreatePagingQueue { device: device }),
        Ioctl::DESTROY_PAGING_QUEUE => args!(DestroyPagingQueue { paging_queue: handles.paging_queue }),
        Ioctl::CREATE_SYNCHRONIZATION_OBJECT => {
            let mut args = abi::CreateSynchronizationObject2::new_zeroed();
            args.device = device;
            args.info.r#type = abi::SynchronizationObjectType::MONITORED_FENCE;
            args.as_bytes().to_vec()
        }
        Ioctl::DESTROY_SYNCHRONIZATION_OBJECT => {
            args!(DestroySynchronizationObject { sync_object: handles.fence })
        }
        Ioctl::CREATE_ALLOCATION => {
            let data = AllocationData::new(PAGE);
            let mut info = abi::AllocationInfo2::new_zeroed();
            info.priv_drv_data = caller.put(&[data]);
            info.priv_drv_data_size = size_of::<AllocationData>() as u32;
            args!(CreateAllocation { device: device, alloc_count: 1, allocation_info: caller.put(&[info]) })
        }
        _ => return None,
    })
}

fn allocations(ioctl: Ioctl, scene: &Scene, handles: &Handles, caller: &mut Caller) -> Option<Vec<u8>> {
    let Handles { device, context, allocation, paging_queue, .. } = *handles;
    Some(match ioctl {
        Ioctl::DESTROY_ALLOCATION2 => {
            args!(DestroyAllocation2 {
                device: device,
                allocations: caller.put(&[allocation]),
                alloc_count: 1
            })
        }
        Ioctl::LOCK2 => args!(Lock2 { device: device, allocation: allocation }),
        Ioctl::UNLOCK2 => args!(Unlock2 { device: device, allocation: allocation }),
        Ioctl::INVALIDATE_CACHE => {
            args!(InvalidateCache { device: device, allocation: allocation, length: PAGE })
        }
        Ioctl::OFFER_ALLOCATIONS => args!(OfferAllocations {
            device: device,
            allocations: caller.put(&[allocation]),
            allocation_count: 1,
            priority: abi::OfferPriority::LOW,
        }),
        Ioctl::RECLAIM_ALLOCATIONS2 => {
            args!(ReclaimAllocations2 {
                paging_queue: paging_queue,
                allocations: caller.put(&[allocation]),
                allocation_count: 1
            })
        }
        Ioctl::QUERY_ALLOCATION_RESIDENCY => args!(QueryAllocationResidency {
            device: device,
            allocations: caller.put(&[allocation]),
            allocation_count: 1,
            residency_status: caller.room(4),
        }),
        Ioctl::GET_ALLOCATION_PRIORITY => args!(GetAllocationPriority {
            device: device,
            allocation_list: caller.put(&[allocation]),
            allocation_count: 1,
            priorities: caller.room(4),
        }),
        Ioctl::SET_ALLOCATION_PRIORITY => args!(SetAllocationPriority {
            device: device,
            allocation_list: caller.put(&[allocation]),
            allocation_count: 1,
            priorities: caller.room(4),
        }),
        Ioctl::MAKE_RESIDENT => {
            args!(MakeResident {
                paging_queue: paging_queue,
                allocation_list: caller.put(&[allocation]),
                alloc_count: 1
            })
        }
        Ioctl::EVICT => {
            args!(Evict { device: device, allocations: caller.put(&[allocation]), alloc_count: 1 })
        }
        Ioctl::MAP_GPU_VIRTUAL_ADDRESS => args!(MapGpuVirtualAddress {
            paging_queue: paging_queue,
            allocation: allocation,
            size_in_pages: 1,
            protection: abi::GpuVaProtection::WRITE,
        }),
        Ioctl::UPDATE_GPU_VIRTUAL_ADDRESS => {
            let mut map = abi::UpdateGpuVirtualAddressOperationMap::new_zeroed();
            map.base_address = scene.range.base;
            map.size = PAGE;
            map.allocation = allocation;
            map.allocation_size = PAGE;
            let mut operation = abi::UpdateGpuVirtualAddressOperation::new_zeroed();
            operation.operation = abi::UpdateGpuVirtualAddressOperationType::MAP;
            operation.args.set_map(map);
            args!(UpdateGpuVirtualAddress {
                device: device,
                context: context,
                fence_object: handles.fence,
                num_operations: 1,
                operations: caller.put(&[operation]),
            })
        }
        Ioctl::UPDATE_ALLOC_PROPERTY => {
            args!(UpdateAllocProperty { paging_queue: paging_queue, allocation: allocation })
        }
        _ => return None,
    })
}

fn work(ioctl: Ioctl, scene: &Scene, handles: &Handles, caller: &mut Caller) -> Option<Vec<u8>> {
    let Handles { device, context, hw_queue, fence, .. } = *handles;
    let values = caller.put(&[FenceValue(0)]);
    let commands: GpuVa = scene.commands;
    let command_length = size_of::<CommandHeader>() as u32;
    Some(match ioctl {
        Ioctl::SIGNAL_SYNCHRONIZATION_OBJECT => {
            let mut args = abi::SignalSynchronizationObject2::new_zeroed();
            args.context = context;
            args.object_count = 1;
            args.object_array[0] = handles.legacy_fence;
            args.as_bytes().to_vec()
        }
        Ioctl::WAIT_FOR_SYNCHRONIZATION_OBJECT => {
            let mut args = abi::WaitForSynchronizationObject2::new_zeroed();
            args.context = context;
            args.object_count = 1;
            args.object_array[0] = handles.legacy_fence;
            args.as_bytes().to_vec()
        }
        Ioctl::SIGNAL_SYNCHRONIZATION_OBJECT_FROM_CPU => args!(SignalSynchronizationObjectFromCpu {
            device: device,
            object_count: 1,
            objects: caller.put(&[fence]),
            fence_values: values,
        }),
        Ioctl::SIGNAL_SYNCHRONIZATION_OBJECT_FROM_GPU => {
            let mut args = abi::SignalSynchronizationObjectFromGpu::new_zeroed();
            (args.context, args.object_count, args.objects) = (context, 1, caller.put(&[fence]));
            args.value.set_monitored_fence_values(values);
            args.as_bytes().to_vec()
        }
        Ioctl::SIGNAL_SYNCHRONIZATION_OBJECT_FROM_GPU2 => {
            let mut args = abi::SignalSynchronizationObjectFromGpu2::new_zeroed();
            (args.object_count, args.objects) = (1, caller.put(&[fence]));
            (args.context_count, args.contexts) = (1, caller.put(&[context]));
            args.value.set_monitored_fence_values(values);
            args.as_bytes().to_vec()
        }
        Ioctl::SUBMIT_SIGNAL_SYNC_OBJECTS_TO_HW_QUEUE => args!(SubmitSignalSyncObjectsToHwQueue {
            hwqueue_count: 1,
            hwqueues: caller.put(&[hw_queue]),
            object_count: 1,
            objects: caller.put(&[fence]),
            fence_values: values,
        }),
        Ioctl::WAIT_FOR_SYNCHRONIZATION_OBJECT_FROM_CPU => args!(WaitForSynchronizationObjectFromCpu {
            device: device,
            object_count: 1,
            objects: caller.put(&[fence]),
            fence_values: values,
        }),
        Ioctl::WAIT_FOR_SYNCHRONIZATION_OBJECT_FROM_GPU => {
            let mut args = abi::WaitForSynchronizationObjectFromGpu::new_zeroed();
            (args.context, args.object_count, args.objects) = (context, 1, caller.put(&[fence]));
            args.value.set_monitored_fence_values(values);
            args.as_bytes().to_vec()
        }
        Ioctl::SUBMIT_WAIT_FOR_SYNC_OBJECTS_TO_HW_QUEUE => args!(SubmitWaitForSyncObjectsToHwQueue {
            hwqueue: hw_queue,
            object_count: 1,
            objects: caller.put(&[fence]),
            fence_values: values,
        }),
        Ioctl::SUBMIT_COMMAND => {
            let mut args = abi::SubmitCommand::new_zeroed();
            (args.command_buffer, args.command_length) = (commands, command_length);
            (args.broadcast_context_count, args.broadcast_context[0]) = (1, context);
            args.as_bytes().to_vec()
        }
        Ioctl::SUBMIT_COMMAND_TO_HW_QUEUE => args!(SubmitCommandToHwQueue {
            hwqueue: hw_queue,
            hwqueue_progress_fence_id: FenceValue(1),
            command_buffer: commands,
            command_length: command_length,
        }),
        _ => return None,
    })
}

fn sharing(ioctl: Ioctl, scene: &Scene, handles: &Handles, caller: &mut Caller) -> Option<Vec<u8>> {
    let Handles { device, context, fence, .. } = *handles;
    let shared_fence = caller.give(scene.shared_fence.try_clone().unwrap());
    let shared_resource = caller.give(scene.shared_resource.try_clone().unwrap());
    Some(match ioctl {
        Ioctl::SHARE_OBJECTS => args!(ShareObjects {
            object_count: 1,
            objects: caller.put(&[fence]),
            shared_handle: caller.room(8),
        }),
        Ioctl::OPEN_SYNC_OBJECT_FROM_NT_HANDLE2 => args!(OpenSyncObjectFromNtHandle2 {
            nt_handle: shared_fence,
            device: device,
            flags: abi::SynchronizationObjectFlags::SHARED
                | abi::SynchronizationObjectFlags::NT_SECURITY_SHARING,
        }),
        Ioctl::QUERY_RESOURCE_INFO_FROM_NT_HANDLE => {
            args!(QueryResourceInfoFromNtHandle { device: device, nt_handle: shared_resource })
        }
        Ioctl::OPEN_RESOURCE_FROM_NT_HANDLE => {
            let data_bytes = size_of::<AllocationData>();
            args!(OpenResourceFromNtHandle {
                device: device,
                nt_handle: shared_resource,
                allocation_count: 1,
                open_alloc_info: caller.room(size_of::<abi::OpenAllocationInfo2>()),
                total_priv_drv_data_size: data_bytes as u32,
                total_priv_drv_data: caller.room(data_bytes),
            })
        }
        Ioctl::SHARE_OBJECT_WITH_HOST => {
            args!(ShareObjectWithHost { device_handle: device, object_handle: fence })
        }
        Ioctl::CREATE_SYNC_FILE => args!(CreateSyncFile { device: device, monitored_fence: fence }),
        Ioctl::WAIT_SYNC_FILE => args!(WaitSyncFile { sync_file_handle: shared_fence, context: context }),
        Ioctl::OPEN_SYNC_OBJECT_FROM_SYNC_FILE => {
            args!(OpenSyncObjectFromSyncFile { sync_file_handle: shared_fence, device: device })
        }
        _ => return None,
    })
}
