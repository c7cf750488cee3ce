//! What requests become on the wire, decoded by the host's own decoder.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod fake_host;

use std::os::fd::AsFd;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;

use dxg_core::Allocation;
use dxg_core::AllocationOptions;
use dxg_core::ContextOptions;
use dxg_core::Device;
use dxg_core::FenceValue;
use dxg_core::GpuVa;
use dxg_core::Node;
use dxg_core::RawHandle;
use dxg_core::ResourceOptions;
use dxg_core::Subjects;
use dxg_core::abi::CreateHwQueueFlags;
use dxg_core::abi::DestroyAllocation2Flags;
use dxg_core::abi::EscapeFlags;
use dxg_core::abi::GpuVaReservationType;
use dxg_core::abi::MemorySegmentGroup;
use dxg_core::abi::OfferFlags;
use dxg_core::abi::OfferPriority;
use dxg_core::abi::PagingQueuePriority;
use dxg_core::abi::SignalFlags;
use dxg_core::abi::SynchronizationObjectFlags;
use dxg_wire::messages::incoming::GuestCommand;
use fake_host::Answer;
use fake_host::FakeHost;

/// The host's handle of the adapter, which takes the place of ours in every message.
const HOST_ADAPTER: RawHandle = RawHandle(0x4000_1000);

/// A host that keeps every command it sees.
fn listening() -> (FakeHost, Node, Receiver<GuestCommand>) {
    let (tell, told) = mpsc::channel();
    let host = FakeHost::start(move |mut session| {
        session.serve(|_, command| {
            let _ = tell.send(command.clone());
            Answer::Default
        });
    });
    let node = host.connect();
    (host, node, told)
}

/// The last command of one kind.
macro_rules! last {
    ($told:expr, $kind:ident) => {
        $told
            .try_iter()
            .filter_map(|command| match command {
                GuestCommand::$kind(inner) => Some(inner),
                _ => None,
            })
            .last()
            .expect("the command was sent")
    };
}

#[test]
fn start_up_names_versions_process_and_io_space() {
    let (_host, node, told) = listening();
    drop(node.first_adapter().unwrap());
    let commands: Vec<GuestCommand> = told.try_iter().collect();
    let [
        GuestCommand::SetIoSpaceRegion(region),
        GuestCommand::OpenAdapter(open),
        _,
        GuestCommand::CreateProcess(process),
    ] = commands.as_slice()
    else {
        panic!("{commands:?}");
    };
    assert_eq!(region.start, dxg_wire::session::ARENA_BASE);
    assert_eq!((open.vmbus_interface_version, open.vmbus_last_compatible_interface_version), (40, 16));
    assert_eq!(process.process_id, u64::from(std::process::id()));
    assert_ne!(process.process_name[0], 0);
}

#[test]
fn video_memory_query_names_the_hosts_adapter() {
    let (_host, node, told) = listening();
    node.first_adapter().unwrap().video_memory(MemorySegmentGroup(1)).unwrap();
    let query = last!(told, QueryVideoMemoryInfo);
    assert_eq!((query.adapter, query.memory_segment_group), (HOST_ADAPTER, MemorySegmentGroup(1)));
}

#[test]
fn reserve_and_free_name_the_hosts_adapter_and_the_range() {
    let (_host, node, told) = listening();
    let adapter = node.first_adapter().unwrap();
    let range = adapter.reserve_va(0x1_0000, GpuVaReservationType(0)).unwrap();
    assert_eq!(range.base, GpuVa(0));
    let reserve = last!(told, ReserveGpuVirtualAddress);
    assert_eq!((reserve.args.adapter, reserve.args.size), (HOST_ADAPTER, 0x1_0000));
    adapter.free_va(range).unwrap();
    let free = last!(told, FreeGpuVirtualAddress);
    assert_eq!((free.args.adapter, free.args.size), (HOST_ADAPTER, 0x1_0000));
}

#[test]
fn escape_carries_the_callers_bytes() {
    let (_host, node, told) = listening();
    let mut data = [1, 2, 3, 4, 5];
    node.first_adapter().unwrap().escape(EscapeFlags::empty(), Default::default(), &mut data).unwrap();
    let escape = last!(told, Escape);
    assert_eq!(
        (escape.command.adapter, escape.private_data.as_slice()),
        (HOST_ADAPTER, [1, 2, 3, 4, 5].as_slice())
    );
    // The answer is as many bytes: the fake host's zeroes.
    assert_eq!(data, [0; 5]);
}

#[test]
fn shared_fence_is_made_with_both_flags_and_its_first_value() {
    let (_host, node, told) = listening();
    let device = node.first_adapter().unwrap().create_device().unwrap();
    let fence = device.create_shared_fence(FenceValue(11)).unwrap();
    let create = last!(told, CreateSyncObject);
    let both = SynchronizationObjectFlags::SHARED | SynchronizationObjectFlags::NT_SECURITY_SHARING;
    assert_eq!((create.args.device, create.args.info.flags), (device.handle(), both));
    assert_eq!(create.args.info.object.monitored_fence().initial_fence_value, FenceValue(11));
    assert_eq!(create.client_hint, 1);
    fence.signal(FenceValue(12)).unwrap();
    let signal = last!(told, SignalSyncObject);
    assert_eq!((signal.objects, signal.fence_values), (vec![fence.handle()], vec![FenceValue(12)]));
    assert_eq!((signal.contexts.len(), signal.command.target.device()), (0, device.handle()));
}

/// A device with a host that keeps what it hears.
fn device() -> (FakeHost, Device, Receiver<GuestCommand>) {
    let (host, node, told) = listening();
    let device = node.first_adapter().unwrap().create_device().unwrap();
    (host, device, told)
}

fn allocations(device: &Device) -> [Allocation; 2] {
    [1, 2].map(|fill| device.create_allocation(AllocationOptions::driver(vec![fill; 5])).unwrap())
}

#[test]
fn context_priorities_say_whose_they_are() {
    let (_host, device, told) = device();
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    context.set_priority(-7).unwrap();
    let set = last!(told, SetContextSchedulingPriority2);
    assert_eq!((set.context, set.priority, set.in_process), (context.handle(), -7, 0));
    context.set_in_process_priority(3).unwrap();
    let set = last!(told, SetContextSchedulingPriority2);
    assert_eq!((set.context, set.priority, set.in_process), (context.handle(), 3, 1));
    context.priority().unwrap();
    assert_eq!(last!(told, GetContextSchedulingPriority).in_process, 0);
    context.in_process_priority().unwrap();
    assert_eq!(last!(told, GetContextSchedulingPriority).in_process, 1);
}

#[test]
fn context_and_queues_carry_what_they_are_made_of() {
    let (_host, device, told) = device();
    let mut data = [9, 8, 7];
    let options = &mut ContextOptions { node_ordinal: 2, private_data: &mut data, ..Default::default() };
    let context = device.create_context(options).unwrap();
    let made = last!(told, CreateContextVirtual);
    assert_eq!((made.command.device, made.command.node_ordinal), (device.handle(), 2));
    assert_eq!(made.private_data, [9, 8, 7]);
    let queue = context.create_hw_queue(CreateHwQueueFlags::empty(), &mut [1, 2]).unwrap();
    let made = last!(told, CreateHwQueue);
    assert_eq!((made.command.context, made.private_data.as_slice()), (context.handle(), [1, 2].as_slice()));
    let handle = queue.handle();
    drop(queue);
    assert_eq!(last!(told, DestroyHwQueue).hwqueue, handle);
    let handle = context.handle();
    drop(context);
    assert_eq!(last!(told, DestroyContext).context, handle);
}

#[test]
fn offer_and_reclaim_name_allocations_or_resources() {
    let (_host, device, told) = device();
    let [first, second] = allocations(&device);
    let queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
    let both = Subjects::Allocations(&[&first, &second]);
    device.offer(both, OfferPriority::HIGH, OfferFlags::ALLOW_DECOMMIT).unwrap();
    let offer = last!(told, OfferAllocations);
    assert_eq!((offer.command.device, offer.command.resources), (device.handle(), 0));
    assert_eq!(
        (offer.command.priority, offer.command.flags),
        (OfferPriority::HIGH, OfferFlags::ALLOW_DECOMMIT)
    );
    assert_eq!(offer.allocations, [first.handle(), second.handle()]);
    let _ = queue.reclaim(both).unwrap();
    let reclaim = last!(told, ReclaimAllocations);
    assert_eq!((reclaim.command.paging_queue, reclaim.command.device), (queue.handle(), device.handle()));
    assert_eq!((reclaim.command.resources, reclaim.command.write_results), (0, 1));
    assert_eq!(reclaim.allocations, [first.handle(), second.handle()]);
    let inside = vec![AllocationOptions::driver(vec![3])];
    let options = ResourceOptions { allocations: inside, ..Default::default() };
    let resource = device.create_resource(options).unwrap();
    device.offer(Subjects::Resources(&[&resource]), OfferPriority::LOW, OfferFlags::empty()).unwrap();
    let offer = last!(told, OfferAllocations);
    assert_eq!((offer.command.resources, offer.allocations), (1, vec![resource.handle()]));
}

#[test]
fn residency_priority_and_eviction_list_their_allocations_in_order() {
    let (_host, device, told) = device();
    let [first, second] = allocations(&device);
    let both = vec![second.handle(), first.handle()];
    device.residency(&[&second, &first]).unwrap();
    let query = last!(told, QueryAllocationResidency);
    assert_eq!((query.command.args.device, &query.allocations), (device.handle(), &both));
    device.set_allocation_priorities(&[(&second, 5), (&first, 6)]).unwrap();
    let set = last!(told, SetAllocationPriority);
    assert_eq!(
        (set.command.device, &set.allocations, &set.priorities),
        (device.handle(), &both, &vec![5, 6])
    );
    device.allocation_priorities(&[&second, &first]).unwrap();
    assert_eq!(last!(told, GetAllocationPriority).allocations, both);
    device.evict(&[&second, &first]).unwrap();
    assert_eq!(last!(told, Evict).allocations, both);
    first.invalidate_cache(16, 32).unwrap();
    let invalidate = last!(told, InvalidateCache);
    assert_eq!((invalidate.device, invalidate.allocation), (device.handle(), first.handle()));
    assert_eq!((invalidate.offset, invalidate.length), (16, 32));
}

#[test]
fn allocations_carry_their_data_and_are_destroyed_as_asked() {
    let (_host, device, told) = device();
    let [first, _second] = allocations(&device);
    let create = last!(told, CreateAllocation);
    assert_eq!((create.command.device, create.allocations.len()), (device.handle(), 1));
    assert_eq!(create.allocations[0].private_data, [2; 5]);
    first.set_destroy_flags(DestroyAllocation2Flags::SYNCHRONOUS_DESTROY);
    let handle = first.handle();
    drop(first);
    let destroy = last!(told, DestroyAllocation);
    assert_eq!((destroy.command.device, destroy.command.resource), (device.handle(), RawHandle::NONE));
    assert_eq!(destroy.command.flags, DestroyAllocation2Flags::SYNCHRONOUS_DESTROY);
    assert_eq!(destroy.allocations, [handle]);
    let inside = vec![AllocationOptions::driver(vec![3]), AllocationOptions::driver(vec![4])];
    let options = ResourceOptions { allocations: inside, runtime_data: vec![7, 7], ..Default::default() };
    let resource = device.create_resource(options).unwrap();
    assert_eq!(last!(told, CreateAllocation).runtime_data, [7, 7]);
    resource.set_destroy_flags(DestroyAllocation2Flags::ASSUME_NOT_IN_USE);
    let handle = resource.handle();
    drop(resource);
    let destroy = last!(told, DestroyAllocation);
    assert_eq!((destroy.command.resource, destroy.allocations), (handle, vec![]));
    assert_eq!(destroy.command.flags, DestroyAllocation2Flags::ASSUME_NOT_IN_USE);
}

#[test]
fn signals_and_waits_name_queue_fences_and_values() {
    let (_host, device, told) = device();
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    let queue = context.create_hw_queue(CreateHwQueueFlags::empty(), &mut []).unwrap();
    let fence = device.create_fence(FenceValue(0)).unwrap();
    let at = |value| (&fence, FenceValue(value));
    context.signal(&[at(3)]).unwrap();
    let signal = last!(told, SignalSyncObject);
    assert_eq!((signal.contexts, signal.objects), (vec![context.handle()], vec![fence.handle()]));
    assert_eq!(signal.fence_values, [FenceValue(3)]);
    queue.signal(&[at(4)]).unwrap();
    let signal = last!(told, SignalSyncObject);
    assert_eq!((signal.contexts, signal.fence_values), (vec![queue.handle()], vec![FenceValue(4)]));
    context.wait(&[at(5)]).unwrap();
    let wait = last!(told, WaitForSyncObjectFromGpu);
    assert_eq!((wait.command.context, wait.command.legacy_fence_object), (context.handle(), 0));
    assert_eq!((wait.points[0].object, wait.points[0].value), (fence.handle(), FenceValue(5)));
    queue.wait(&[at(6)]).unwrap();
    assert_eq!(last!(told, WaitForSyncObjectFromGpu).command.context, queue.handle());
    let eventfd = dxg_wire::doorbell::create().unwrap();
    context.notify(eventfd.as_fd()).unwrap();
    let event = last!(told, SignalSyncObject);
    assert_eq!(event.command.flags, SignalFlags::ENQUEUE_CPU_EVENT);
    assert_eq!((event.contexts, event.objects), (vec![context.handle()], vec![]));
    assert!(event.command.target.cpu_event_handle() >= 2);
}

#[test]
fn reservation_and_heap_flush_reach_the_host() {
    let (_host, device, told) = device();
    device.adapter().reserve_video_memory(MemorySegmentGroup(1), 1 << 20).unwrap();
    let change = last!(told, ChangeVideoMemoryReservation);
    assert_eq!((change.args.reservation, change.args.memory_segment_group), (1 << 20, MemorySegmentGroup(1)));
    assert_eq!((change.args.adapter, change.args.process), (RawHandle::NONE, 0));
    device.adapter().flush_heap_transitions().unwrap();
    let _ = last!(told, FlushHeapTransitions);
}
