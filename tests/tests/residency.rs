//! What allocations can be asked and told while they live: residency, offers, priorities, locks, and how they end.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::os::fd::AsFd;
use std::time::Duration;

use dxg_core::Allocation;
use dxg_core::AllocationOptions;
use dxg_core::ContextOptions;
use dxg_core::Device;
use dxg_core::ErrorKind;
use dxg_core::FenceValue;
use dxg_core::Node;
use dxg_core::ResourceOptions;
use dxg_core::Subjects;
use dxg_core::WaitOutcome;
use dxg_core::abi::AllocationResidencyStatus;
use dxg_core::abi::DestroyAllocation2Flags;
use dxg_core::abi::MemorySegmentGroup;
use dxg_core::abi::OfferFlags;
use dxg_core::abi::OfferPriority;
use dxg_core::abi::PagingQueuePriority;
use dxg_core::abi::ReclaimResult;
use dxg_tests::daemon::Daemon;
use dxg_wire::doorbell;
use dxg_wire::transfer::AllocationData;
use zerocopy::IntoBytes;

/// A guard against hanging, far beyond anything that is waited for.
const HANG: Duration = Duration::from_secs(60);

/// A daemon, or the end of the test where none is built.
macro_rules! daemon_or_skip {
    ($daemon:ident) => {
        let Some($daemon) = Daemon::start() else {
            println!("skipped: no dxgd");
            return;
        };
    };
}

fn device_of(daemon: &Daemon) -> Device {
    Node::connect(&daemon.socket()).unwrap().first_adapter().unwrap().create_device().unwrap()
}

fn sized(size_bytes: u64) -> AllocationOptions {
    AllocationOptions::driver(AllocationData::new(size_bytes).as_bytes().to_vec())
}

fn pair(device: &Device) -> [Allocation; 2] {
    [4096, 8192].map(|size| device.create_allocation(sized(size)).unwrap())
}

#[test]
fn residency_follows_make_resident_evict_offer_and_reclaim() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let [first, second] = pair(&device);
    let queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
    let away = AllocationResidencyStatus::NOTRESIDENT;
    let here = AllocationResidencyStatus::RESIDENTINGPUMEMORY;
    let states = || device.residency(&[&first, &second]).unwrap();
    assert_eq!(states(), [away, away]);
    let work = queue.make_resident(&[&second]).unwrap();
    assert_eq!(queue.wait(work, Some(HANG)).unwrap(), WaitOutcome::Reached);
    assert_eq!(states(), [away, here]);
    device.offer(Subjects::Allocations(&[&second]), OfferPriority::NORMAL, OfferFlags::empty()).unwrap();
    assert_eq!(states(), [away, away]);
    let (results, work) = queue.reclaim(Subjects::Allocations(&[&second])).unwrap();
    assert_eq!(results, [ReclaimResult::OK]);
    assert_eq!(queue.wait(work, Some(HANG)).unwrap(), WaitOutcome::Reached);
    assert_eq!(states(), [away, here]);
    device.evict(&[&second]).unwrap();
    assert_eq!(states(), [away, away]);
}

#[test]
fn reclaim_says_what_the_queues_fence_will_be() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let [first, _] = pair(&device);
    let queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
    let (_, work) = queue.reclaim(Subjects::Allocations(&[&first])).unwrap();
    assert_eq!(work.until, Some(FenceValue(1)));
}

#[test]
fn resources_are_offered_and_reclaimed_with_all_that_is_in_them() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let allocations = vec![sized(4096), sized(4096)];
    let resource = device.create_resource(ResourceOptions { allocations, ..Default::default() }).unwrap();
    let queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
    let all: Vec<&Allocation> = resource.allocations().iter().collect();
    let _ = queue.make_resident(&all).unwrap();
    let here = AllocationResidencyStatus::RESIDENTINGPUMEMORY;
    assert_eq!(resource.residency().unwrap(), here);
    device.offer(Subjects::Resources(&[&resource]), OfferPriority::LOW, OfferFlags::empty()).unwrap();
    assert_eq!(resource.residency().unwrap(), AllocationResidencyStatus::NOTRESIDENT);
    let (results, _) = queue.reclaim(Subjects::Resources(&[&resource])).unwrap();
    assert_eq!(results, [ReclaimResult::OK]);
    assert_eq!(device.residency(&all).unwrap(), [here, here]);
}

#[test]
fn nothing_cannot_be_offered_reclaimed_or_asked_about() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
    let offered = device.offer(Subjects::Allocations(&[]), OfferPriority::LOW, OfferFlags::empty());
    assert_eq!(offered.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(queue.reclaim(Subjects::Resources(&[])).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(device.residency(&[]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(device.allocation_priorities(&[]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn allocation_priorities_are_what_they_were_set_to() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let [first, second] = pair(&device);
    let before = device.allocation_priorities(&[&first, &second]).unwrap();
    assert_eq!(before[0], before[1]);
    let (low, high) = (before[0] / 2, before[0] + 5);
    device.set_allocation_priorities(&[(&first, low), (&second, high)]).unwrap();
    assert_eq!(device.allocation_priorities(&[&second, &first]).unwrap(), [high, low]);
    let allocations = vec![sized(4096), sized(4096)];
    let resource = device.create_resource(ResourceOptions { allocations, ..Default::default() }).unwrap();
    resource.set_priority(high).unwrap();
    assert_eq!(resource.priority().unwrap(), high);
    let inside: Vec<&Allocation> = resource.allocations().iter().collect();
    assert_eq!(device.allocation_priorities(&inside).unwrap(), [high, high]);
    // What was set before is not changed by what others were set to.
    assert_eq!(device.allocation_priorities(&[&first]).unwrap(), [low]);
}

#[test]
fn cache_is_invalidated_within_the_allocation_only() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let [first, _] = pair(&device);
    first.invalidate_cache(0, 4096).unwrap();
    let beyond = first.invalidate_cache(4000, 97).unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn locks_of_an_allocation_count_and_show_one_memory() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let [first, _] = pair(&device);
    let (one, two) = (first.map().unwrap(), first.map().unwrap());
    one.write(9, &[1]).unwrap();
    drop(one);
    // The second lock holds what the first gave up.
    let mut byte = [0];
    two.read(9, &mut byte).unwrap();
    assert_eq!(byte, [1]);
    drop(two);
    first.map().unwrap().read(9, &mut byte).unwrap();
    assert_eq!(byte, [1]);
}

#[test]
fn context_rings_an_eventfd_when_it_comes_that_far() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    let gate = device.create_fence(FenceValue(0)).unwrap();
    let eventfd = doorbell::create().unwrap();
    context.wait(&[(&gate, FenceValue(1))]).unwrap();
    context.notify(eventfd.as_fd()).unwrap();
    assert_eq!(doorbell::wait(&[eventfd.as_fd()], Some(Duration::from_millis(5))).unwrap(), 0);
    gate.signal(FenceValue(1)).unwrap();
    assert_eq!(doorbell::wait(&[eventfd.as_fd()], Some(HANG)).unwrap(), 1);
}

#[test]
fn context_priorities_of_process_and_machine_are_two() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    context.set_priority(2).unwrap();
    context.set_in_process_priority(-3).unwrap();
    assert_eq!((context.priority().unwrap(), context.in_process_priority().unwrap()), (2, -3));
}

#[test]
fn video_memory_is_reserved_as_far_as_it_is_there() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let adapter = device.adapter();
    let group = MemorySegmentGroup(0);
    let available = adapter.video_memory(group).unwrap().available_for_reservation_bytes;
    adapter.reserve_video_memory(group, available).unwrap();
    assert_eq!(adapter.video_memory(group).unwrap().current_reservation_bytes, available);
    assert!(adapter.reserve_video_memory(group, u64::MAX).is_err());
    assert_eq!(adapter.video_memory(group).unwrap().current_reservation_bytes, available);
}

#[test]
fn heap_transitions_are_flushed() {
    daemon_or_skip!(daemon);
    device_of(&daemon).adapter().flush_heap_transitions().unwrap();
}

#[test]
fn objects_go_however_their_end_was_asked_for() {
    daemon_or_skip!(daemon);
    let device = device_of(&daemon);
    let [first, second] = pair(&device);
    first.set_destroy_flags(DestroyAllocation2Flags::ASSUME_NOT_IN_USE);
    second.set_destroy_flags(DestroyAllocation2Flags::SYNCHRONOUS_DESTROY);
    let used = || device.adapter().video_memory(MemorySegmentGroup(0)).unwrap().current_usage_bytes;
    let before = used();
    drop(first);
    assert_eq!(before - used(), 4096);
    drop(second);
    assert_eq!(before - used(), 4096 + 8192);
}
