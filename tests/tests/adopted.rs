//! Memory that a program had before, given to the device where it lies.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use dxg_core::AdoptedMemory;
use dxg_core::Allocation;
use dxg_core::AllocationOptions;
use dxg_core::Backing;
use dxg_core::ContextOptions;
use dxg_core::Device;
use dxg_core::ErrorKind;
use dxg_core::FenceValue;
use dxg_core::GpuVa;
use dxg_core::MapVa;
use dxg_core::Node;
use dxg_core::ResourceOptions;
use dxg_core::Submission;
use dxg_core::SystemMemory;
use dxg_core::WaitOutcome;
use dxg_core::abi::GpuVaProtection;
use dxg_core::abi::PagingQueuePriority;
use dxg_tests::daemon::Daemon;
use dxg_tests::for_each_transport;
use dxg_tests::pages::Pages;
use dxg_wire::shm::create_sealed;
use dxg_wire::transfer::AllocationData;
use dxg_wire::transfer::Copy;
use dxg_wire::transfer::Fill;
use zerocopy::IntoBytes;

/// A guard against hanging, far beyond anything that is waited for.
const HANG: Duration = Duration::from_secs(60);
const PAGE: usize = 4096;
const SIZE: usize = 4 * PAGE;

fn device_of(node: &Node) -> Device {
    node.first_adapter().unwrap().create_device().unwrap()
}

/// An allocation over adopted memory, by private data.
fn over(device: &Device, memory: &Arc<AdoptedMemory>) -> Allocation {
    let private_data = AllocationData::new(memory.size_bytes()).as_bytes().to_vec();
    let backing = Backing::AdoptedSystem(Arc::clone(memory));
    device.create_allocation(AllocationOptions { backing, private_data }).unwrap()
}

for_each_transport!(adopted_memory_is_one_memory_for_program_and_device, |transport| {
    let device = device_of(&transport.node());
    let pages = Pages::private(SIZE, 7);
    pages.write(PAGE, b"before");
    let memory = pages.adopt(&device, 0, SIZE).unwrap();
    assert_eq!((memory.start(), memory.size_bytes()), (pages.start(), SIZE as u64));
    assert_eq!(pages.read(PAGE - 1, 8), b"\x07before\x07");
    let allocation = over(&device, &memory);
    let mapped = allocation.map().unwrap();
    assert_eq!(mapped.len(), SIZE);
    let mut bytes = [0; 6];
    mapped.read(PAGE, &mut bytes).unwrap();
    assert_eq!(&bytes, b"before");
    pages.write(SIZE - 1, b"!");
    mapped.read(SIZE - 1, &mut bytes[..1]).unwrap();
    assert_eq!(bytes[0], b'!');
    mapped.write(0, b"device").unwrap();
    assert_eq!(pages.read(0, 6), b"device");
});

for_each_transport!(adopted_memory_given_back_is_private_and_keeps_its_bytes, |transport| {
    let device = device_of(&transport.node());
    let pages = Pages::private(3 * PAGE, 1);
    let memory = pages.adopt(&device, PAGE, PAGE).unwrap();
    let allocation = over(&device, &memory);
    allocation.map().unwrap().write(5, &[42]).unwrap();
    drop((allocation, memory));
    let rights = pages.mapping(PAGE);
    assert!(rights.starts_with("rw-p 00000000 00:00 0"), "{rights}");
    assert_eq!(pages.read(PAGE + 4, 3), [1, 42, 1]);
    assert_eq!((pages.read(0, 1), pages.read(2 * PAGE, 1)), (vec![1], vec![1]));
    // It is memory like any other: it can be adopted again.
    let again = pages.adopt(&device, 0, 3 * PAGE).unwrap();
    assert_eq!(over(&device, &again).map().unwrap().len(), 3 * PAGE);
});

for_each_transport!(adopted_memory_stays_as_long_as_an_allocation_is_over_it, |transport| {
    let device = device_of(&transport.node());
    let pages = Pages::private(SIZE, 3);
    let allocation = {
        let memory = pages.adopt(&device, 0, SIZE).unwrap();
        over(&device, &memory)
    };
    allocation.map().unwrap().write(0, &[9]).unwrap();
    assert_eq!(pages.read(0, 2), [9, 3]);
});

for_each_transport!(adopted_heap_is_a_standard_allocation, |transport| {
    let device = device_of(&transport.node());
    let pages = Pages::private(SIZE, 3);
    let memory = pages.adopt(&device, 0, SIZE).unwrap();
    let options = AllocationOptions { backing: Backing::AdoptedHeap(memory), private_data: Vec::new() };
    let allocation = device.create_allocation(options).unwrap();
    allocation.map().unwrap().write(1, &[4]).unwrap();
    assert_eq!(pages.read(0, 3), [3, 4, 3]);
});

for_each_transport!(adopted_memory_in_a_resource_stays_as_long_as_one_of_its_allocations, |transport| {
    let device = device_of(&transport.node());
    let pages = [Pages::private(SIZE, 1), Pages::private(SIZE, 2)];
    let allocations = pages
        .iter()
        .map(|pages| AllocationOptions {
            backing: Backing::AdoptedSystem(pages.adopt(&device, 0, SIZE).unwrap()),
            private_data: AllocationData::new(SIZE as u64).as_bytes().to_vec(),
        })
        .collect();
    let resource = device.create_resource(ResourceOptions { allocations, ..Default::default() }).unwrap();
    let second = resource.allocations()[1].clone();
    drop(resource);
    second.map().unwrap().write(0, &[8]).unwrap();
    assert_eq!(pages[1].read(0, 2), [8, 2]);
    drop(second);
    assert_eq!((pages[0].read(0, 1), pages[1].read(0, 2)), (vec![1], vec![8, 2]));
});

for_each_transport!(memory_that_is_not_private_or_not_of_whole_pages_is_refused, |transport| {
    let device = device_of(&transport.node());
    let refused = |pages: &Pages, at, len| {
        let error = pages.adopt(&device, at, len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    };
    let pages = Pages::private(SIZE, 7);
    refused(&pages, 8, PAGE);
    refused(&pages, 0, PAGE + 8);
    refused(&pages, 0, 0);
    assert_eq!(pages.read(0, SIZE), [7; SIZE]);
    let file = File::open("/proc/self/exe").unwrap();
    refused(&Pages::of_file(&file, PAGE), 0, PAGE);
    let memfd = create_sealed("test", SIZE as u64).unwrap();
    refused(&Pages::of_file(&memfd, SIZE), 0, SIZE);
});

/// The daemon of a test, or the end of the test where none is built.
macro_rules! daemon_or_skip {
    () => {
        match Daemon::start() {
            Some(daemon) => daemon,
            None => {
                println!("skipped: no dxgd");
                return;
            }
        }
    };
}

/// Maps an allocation for the GPU.
fn at_gpu(device: &Device, allocation: &Allocation, size_bytes: usize) -> GpuVa {
    let queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
    let resident = queue.make_resident(&[allocation]).unwrap();
    assert_eq!(queue.wait(resident, Some(HANG)).unwrap(), WaitOutcome::Reached);
    let (address, work) = queue
        .map_va(&MapVa {
            allocation,
            base: GpuVa(0),
            offset_pages: 0,
            page_count: (size_bytes / PAGE) as u64,
            protection: GpuVaProtection::WRITE,
        })
        .unwrap();
    assert_eq!(queue.wait(work, Some(HANG)).unwrap(), WaitOutcome::Reached);
    address
}

/// Runs commands of the transfer engine and waits for them.
fn run(device: &Device, commands: &[u8]) {
    let data = AllocationData::new(PAGE as u64).as_bytes().to_vec();
    let buffer = device.create_allocation(AllocationOptions::driver(data)).unwrap();
    let at = at_gpu(device, &buffer, PAGE);
    buffer.map().unwrap().write(0, commands).unwrap();
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    let size_bytes = commands.len() as u32;
    context.submit(&Submission { commands: at, size_bytes, private_data: &[] }).unwrap();
    let fence = device.create_fence(FenceValue(0)).unwrap();
    context.signal(&[(&fence, FenceValue(1))]).unwrap();
    assert_eq!(fence.wait(FenceValue(1), Some(HANG)).unwrap(), WaitOutcome::Reached);
}

#[test]
fn gpu_fills_and_copies_in_the_programs_own_memory() {
    let daemon = daemon_or_skip!();
    let device = device_of(&Node::connect(&daemon.socket()).unwrap());
    let (source, target) = (Pages::private(SIZE, 5), Pages::private(SIZE, 6));
    source.write(PAGE + 3, b"from the program");
    let [from, into] = [source, target].map(|pages| over(&device, &pages.adopt(&device, 0, SIZE).unwrap()));
    let (from_at, into_at) = (at_gpu(&device, &from, SIZE), at_gpu(&device, &into, SIZE));
    let copy = Copy::new(into_at.0, from_at.0, 2 * PAGE as u64);
    let fill = Fill::new(from_at.0 + 3 * PAGE as u64, 8, 0x0403_0201);
    run(&device, &[copy.as_bytes(), fill.as_bytes()].concat());
    assert_eq!(target.read(PAGE, 20), b"\x05\x05\x05from the program\x05");
    assert_eq!(target.read(2 * PAGE, 4), [6; 4]);
    assert_eq!(source.read(3 * PAGE - 1, 10), [5, 1, 2, 3, 4, 1, 2, 3, 4, 5]);
    // What the device did stays when it has gone.
    drop((from, into, device));
    assert_eq!(target.read(PAGE + 3, 16), b"from the program");
    assert_eq!(source.read(3 * PAGE, 4), [1, 2, 3, 4]);
}

/// Takes all the memory that the quota leaves, down to the page.
fn take_all(device: &Device) -> Vec<SystemMemory> {
    let mut held = Vec::new();
    for bits in (12..44).rev() {
        while let Ok(memory) = device.system_memory(1 << bits) {
            held.push(memory);
        }
    }
    held
}

#[test]
fn adopted_memory_is_charged_and_given_back() {
    let daemon = daemon_or_skip!();
    let device = device_of(&Node::connect(&daemon.socket()).unwrap());
    let room = device.system_memory(SIZE as u64).unwrap();
    let _held = take_all(&device);
    drop(room);
    let pages = Pages::private(2 * SIZE, 5);
    for _ in 0..3 {
        let memory = pages.adopt(&device, 0, SIZE).unwrap();
        assert_eq!(pages.adopt(&device, SIZE, SIZE).unwrap_err().kind(), ErrorKind::Quota);
        drop(memory);
    }
}

#[test]
fn adopted_memory_survives_the_loss_of_the_daemon() {
    let mut daemon = daemon_or_skip!();
    let device = device_of(&Node::connect(&daemon.socket()).unwrap());
    let pages = Pages::private(SIZE, 5);
    let allocation = over(&device, &pages.adopt(&device, 0, SIZE).unwrap());
    allocation.map().unwrap().write(2, &[77]).unwrap();
    daemon.kill();
    assert_eq!(pages.read(1, 3), [5, 77, 5]);
    drop(allocation);
    assert!(pages.mapping(0).starts_with("rw-p"));
    assert_eq!(pages.read(1, 3), [5, 77, 5]);
}

#[test]
fn adopted_memory_over_the_quota_is_refused_and_stays_as_it_was() {
    let daemon = daemon_or_skip!();
    let device = device_of(&Node::connect(&daemon.socket()).unwrap());
    let _held = take_all(&device);
    let pages = Pages::private(SIZE, 5);
    let error = pages.adopt(&device, 0, SIZE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota, "{error}");
    assert!(pages.mapping(0).starts_with("rw-p"));
    assert_eq!(pages.read(0, SIZE), [5; SIZE]);
}
