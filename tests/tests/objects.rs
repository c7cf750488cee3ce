//! Objects behave the same over every transport.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use dxg_core::AllocationOptions;
use dxg_core::Backing;
use dxg_core::ContextOptions;
use dxg_core::Device;
use dxg_core::ErrorKind;
use dxg_core::FenceValue;
use dxg_core::Luid;
use dxg_core::Node;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;
use dxg_core::WaitOutcome;
use dxg_core::abi::AdapterType;
use dxg_core::abi::DeviceExecutionState;
use dxg_core::abi::MemorySegmentGroup;
use dxg_core::abi::PagingQueuePriority;
use dxg_core::adapter_info::query;
use dxg_core::wait_all;
use dxg_core::wait_any;
use dxg_tests::for_each_transport;
use dxg_wire::doorbell;
use dxg_wire::transfer::AllocationData;
use zerocopy::IntoBytes;

/// A guard against hanging, far beyond anything that is waited for.
const HANG: Duration = Duration::from_secs(60);
const SIZE: u64 = 3 * 4096;

fn device_of(node: &Node) -> Device {
    node.first_adapter().unwrap().create_device().unwrap()
}

fn sized(size_bytes: u64) -> AllocationOptions {
    AllocationOptions::driver(AllocationData::new(size_bytes).as_bytes().to_vec())
}

for_each_transport!(adapter_says_that_it_is_paravirtualized, |transport| {
    let adapter = transport.node().first_adapter().unwrap();
    let kind = adapter.info::<query::AdapterType>().unwrap();
    assert!(kind.contains(AdapterType::PARAVIRTUALIZED));
    assert!(!kind.intersects(AdapterType::DISPLAY_SUPPORTED | AdapterType::POST_DEVICE));
});

for_each_transport!(adapter_opens_by_its_luid_and_no_other, |transport| {
    let node = transport.node();
    let luid = node.first_adapter().unwrap().luid();
    assert_eq!(node.adapter(luid).unwrap().luid(), luid);
    let unknown = node.adapter(Luid { a: !luid.a, b: luid.b }).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::InvalidArgument);
});

for_each_transport!(adapter_has_a_memory_budget, |transport| {
    let adapter = transport.node().first_adapter().unwrap();
    let memory = adapter.video_memory(MemorySegmentGroup(0)).unwrap();
    assert!(memory.budget_bytes > 0);
});

for_each_transport!(device_is_active_at_first, |transport| {
    let state = device_of(&transport.node()).execution_state().unwrap();
    assert_eq!(state, DeviceExecutionState::ACTIVE);
});

for_each_transport!(fence_starts_at_its_first_value_and_is_raised_by_a_signal, |transport| {
    let fence = device_of(&transport.node()).create_fence(FenceValue(5)).unwrap();
    assert_eq!(fence.value(), FenceValue(5));
    fence.signal(FenceValue(9)).unwrap();
    assert_eq!(fence.wait(FenceValue(9), Some(HANG)).unwrap(), WaitOutcome::Reached);
    assert_eq!(fence.value(), FenceValue(9));
});

for_each_transport!(fence_wait_that_is_not_met_times_out, |transport| {
    let fence = device_of(&transport.node()).create_fence(FenceValue(0)).unwrap();
    let outcome = fence.wait(FenceValue(1), Some(Duration::from_millis(5))).unwrap();
    assert_eq!(outcome, WaitOutcome::TimedOut);
});

for_each_transport!(fence_wait_ends_by_the_signal_of_another_thread, |transport| {
    let fence = device_of(&transport.node()).create_fence(FenceValue(0)).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| fence.wait(FenceValue(2), Some(HANG)));
        fence.signal(FenceValue(2)).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), WaitOutcome::Reached);
    });
});

for_each_transport!(fence_waits_for_any_and_for_all, |transport| {
    let device = device_of(&transport.node());
    let first = device.create_fence(FenceValue(0)).unwrap();
    let second = device.create_fence(FenceValue(0)).unwrap();
    let points = [(&first, FenceValue(1)), (&second, FenceValue(1))];
    second.signal(FenceValue(1)).unwrap();
    assert_eq!(wait_any(&points, Some(HANG)).unwrap(), WaitOutcome::Reached);
    assert_eq!(wait_all(&points, Some(Duration::from_millis(5))).unwrap(), WaitOutcome::TimedOut);
    first.signal(FenceValue(1)).unwrap();
    assert_eq!(wait_all(&points, Some(HANG)).unwrap(), WaitOutcome::Reached);
});

for_each_transport!(fence_notify_rings_an_eventfd_once, |transport| {
    let fence = device_of(&transport.node()).create_fence(FenceValue(0)).unwrap();
    let eventfd = doorbell::create().unwrap();
    fence.notify(FenceValue(1), eventfd.as_fd()).unwrap();
    assert_eq!(doorbell::wait(&[eventfd.as_fd()], Some(Duration::from_millis(5))).unwrap(), 0);
    fence.signal(FenceValue(1)).unwrap();
    assert_eq!(doorbell::wait(&[eventfd.as_fd()], Some(HANG)).unwrap(), 1);
});

for_each_transport!(fence_is_signalled_from_a_context, |transport| {
    let device = device_of(&transport.node());
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    let fence = device.create_fence(FenceValue(0)).unwrap();
    context.signal(&[(&fence, FenceValue(4))]).unwrap();
    assert_eq!(fence.wait(FenceValue(4), Some(HANG)).unwrap(), WaitOutcome::Reached);
});

for_each_transport!(shared_fence_shows_one_value_on_two_nodes, |transport| {
    let (here, there) = (transport.node(), transport.node());
    let fence = device_of(&here).create_shared_fence(FenceValue(1)).unwrap();
    let descriptor = fence.share().unwrap();
    let opened = device_of(&there).open_shared_fence(descriptor.as_fd()).unwrap();
    assert_eq!(opened.value(), FenceValue(1));
    fence.signal(FenceValue(6)).unwrap();
    assert_eq!(opened.wait(FenceValue(6), Some(HANG)).unwrap(), WaitOutcome::Reached);
});

for_each_transport!(private_fence_is_not_shared, |transport| {
    let fence = device_of(&transport.node()).create_fence(FenceValue(0)).unwrap();
    assert_eq!(fence.share().unwrap_err().kind(), ErrorKind::InvalidArgument);
});

for_each_transport!(descriptor_of_something_else_is_no_fence, |transport| {
    let eventfd = doorbell::create().unwrap();
    let error = device_of(&transport.node()).open_shared_fence(eventfd.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
});

for_each_transport!(allocation_keeps_what_was_written_between_locks, |transport| {
    let allocation = device_of(&transport.node()).create_allocation(sized(SIZE)).unwrap();
    allocation.map().unwrap().write(4095, &[1, 2, 3]).unwrap();
    let mapped = allocation.map().unwrap();
    let mut bytes = [0; 4];
    mapped.read(4095, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 0]);
    assert_eq!(mapped.len() as u64, SIZE);
});

for_each_transport!(allocation_is_not_read_past_its_end, |transport| {
    let allocation = device_of(&transport.node()).create_allocation(sized(SIZE)).unwrap();
    let mapped = allocation.map().unwrap();
    let error = mapped.read(mapped.len() - 1, &mut [0; 2]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
});

for_each_transport!(allocation_over_system_memory_is_that_memory, |transport| {
    let device = device_of(&transport.node());
    let memory = Arc::new(device.system_memory(SIZE).unwrap());
    memory.memory().copy_in(10, &[42]).unwrap();
    let options = AllocationOptions { backing: Backing::System(Arc::clone(&memory)), ..sized(SIZE) };
    let allocation = device.create_allocation(options).unwrap();
    let mapped = allocation.map().unwrap();
    let mut byte = [0];
    mapped.read(10, &mut byte).unwrap();
    assert_eq!(byte, [42]);
    mapped.write(11, &[43]).unwrap();
    assert_eq!(memory.memory().read::<u8>(11).unwrap(), 43);
});

for_each_transport!(allocation_of_no_size_is_refused, |transport| {
    assert!(device_of(&transport.node()).create_allocation(sized(0)).is_err());
});

for_each_transport!(paging_queue_makes_an_allocation_resident, |transport| {
    let device = device_of(&transport.node());
    let queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
    let allocation = device.create_allocation(sized(SIZE)).unwrap();
    let work = queue.make_resident(&[&allocation]).unwrap();
    assert_eq!(queue.wait(work, Some(HANG)).unwrap(), WaitOutcome::Reached);
});

for_each_transport!(shared_resource_shows_one_memory_on_two_nodes, |transport| {
    let (here, there) = (transport.node(), transport.node());
    let options = ResourceOptions {
        allocations: vec![sized(4096), sized(SIZE)],
        runtime_data: vec![1, 2, 3],
        private_data: Vec::new(),
        sharing: ResourceSharing::Shareable,
    };
    let resource = device_of(&here).create_resource(options).unwrap();
    resource.allocations()[1].map().unwrap().write(0, b"shared").unwrap();
    let descriptor = resource.share().unwrap();
    let device = device_of(&there);
    let info = device.query_shared(descriptor.as_fd()).unwrap();
    assert_eq!((info.allocation_count, info.runtime_data_bytes), (2, 3));
    let opened = device.open_shared_resource(descriptor.as_fd()).unwrap();
    assert_eq!(opened.runtime_data(), [1, 2, 3]);
    let mut bytes = [0; 6];
    opened.allocations()[1].map().unwrap().read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"shared");
});

for_each_transport!(objects_of_one_node_work_while_others_come_and_go, |transport| {
    let node = transport.node();
    let fence = device_of(&node).create_fence(FenceValue(0)).unwrap();
    for value in 1..=3 {
        let other = transport.node();
        drop(device_of(&other).create_fence(FenceValue(0)).unwrap());
        fence.signal(FenceValue(value)).unwrap();
    }
    assert_eq!(fence.wait(FenceValue(3), Some(HANG)).unwrap(), WaitOutcome::Reached);
});
