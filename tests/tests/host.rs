//! What only a virtual GPU has: leased memory, work of the built-in engine, and an end that everybody hears of.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use dxg_core::AllocationOptions;
use dxg_core::ContextOptions;
use dxg_core::Device;
use dxg_core::ErrorKind;
use dxg_core::FenceValue;
use dxg_core::GpuVa;
use dxg_core::MapVa;
use dxg_core::Node;
use dxg_core::QueueSubmission;
use dxg_core::Submission;
use dxg_core::WaitOutcome;
use dxg_core::abi::CreateHwQueueFlags;
use dxg_core::abi::GpuVaProtection;
use dxg_core::abi::PagingQueuePriority;
use dxg_tests::again;
use dxg_tests::daemon::Daemon;
use dxg_tests::fork;
use dxg_wire::doorbell;
use dxg_wire::transfer::AllocationData;
use dxg_wire::transfer::Fill;
use zerocopy::IntoBytes;

/// A guard against hanging, far beyond anything that is waited for.
const HANG: Duration = Duration::from_secs(60);
const SIZE: u64 = 4 * 4096;

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

fn connect(daemon: &Daemon) -> Node {
    Node::connect(&daemon.socket()).unwrap()
}

fn device_of(node: &Node) -> Device {
    node.first_adapter().unwrap().create_device().unwrap()
}

/// An allocation of [`SIZE`] bytes, mapped for the GPU.
fn mapped(device: &Device) -> (dxg_core::Allocation, GpuVa) {
    let data = AllocationData::new(SIZE).as_bytes().to_vec();
    let allocation = device.create_allocation(AllocationOptions::driver(data)).unwrap();
    let queue = device.create_paging_queue(PagingQueuePriority::NORMAL).unwrap();
    let resident = queue.make_resident(&[&allocation]).unwrap();
    assert_eq!(queue.wait(resident, Some(HANG)).unwrap(), WaitOutcome::Reached);
    let map = MapVa {
        allocation: &allocation,
        base: GpuVa(0),
        offset_pages: 0,
        page_count: SIZE / 4096,
        protection: GpuVaProtection::WRITE,
    };
    let (address, work) = queue.map_va(&map).unwrap();
    assert_eq!(queue.wait(work, Some(HANG)).unwrap(), WaitOutcome::Reached);
    (allocation, address)
}

#[test]
fn submitted_commands_run_before_the_fence_that_follows_them() {
    let daemon = daemon_or_skip!();
    let device = device_of(&connect(&daemon));
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    let (target, target_at) = mapped(&device);
    let (commands, commands_at) = mapped(&device);
    let fill = Fill::new(target_at.0, SIZE, 0x0102_0304);
    commands.map().unwrap().write(0, fill.as_bytes()).unwrap();
    let fence = device.create_fence(FenceValue(0)).unwrap();
    let size_bytes = size_of::<Fill>() as u32;
    context.submit(&Submission { commands: commands_at, size_bytes, private_data: &[] }).unwrap();
    context.signal(&[(&fence, FenceValue(1))]).unwrap();
    assert_eq!(fence.wait(FenceValue(1), Some(HANG)).unwrap(), WaitOutcome::Reached);
    let mut bytes = vec![0; SIZE as usize];
    target.map().unwrap().read(0, &mut bytes).unwrap();
    assert!(bytes.chunks_exact(4).all(|word| word == [4, 3, 2, 1]));
}

#[test]
fn hardware_queue_raises_its_own_fence() {
    let daemon = daemon_or_skip!();
    let device = device_of(&connect(&daemon));
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    let queue = context.create_hw_queue(CreateHwQueueFlags::empty(), &mut []).unwrap();
    let (target, target_at) = mapped(&device);
    let (commands, commands_at) = mapped(&device);
    commands.map().unwrap().write(0, Fill::new(target_at.0, 4, 7).as_bytes()).unwrap();
    let submission =
        Submission { commands: commands_at, size_bytes: size_of::<Fill>() as u32, private_data: &[] };
    queue.submit(&QueueSubmission { submission, progress: FenceValue(1) }).unwrap();
    assert_eq!(queue.progress().wait(FenceValue(1), Some(HANG)).unwrap(), WaitOutcome::Reached);
    let mut word = [0; 4];
    target.map().unwrap().read(0, &mut word).unwrap();
    assert_eq!(word, [7, 0, 0, 0]);
}

#[test]
fn context_waits_for_a_fence_before_it_goes_on() {
    let daemon = daemon_or_skip!();
    let device = device_of(&connect(&daemon));
    let context = device.create_context(&mut ContextOptions::default()).unwrap();
    let gate = device.create_fence(FenceValue(0)).unwrap();
    let done = device.create_fence(FenceValue(0)).unwrap();
    context.wait(&[(&gate, FenceValue(1))]).unwrap();
    context.signal(&[(&done, FenceValue(1))]).unwrap();
    assert_eq!(done.wait(FenceValue(1), Some(Duration::from_millis(20))).unwrap(), WaitOutcome::TimedOut);
    gate.signal(FenceValue(1)).unwrap();
    assert_eq!(done.wait(FenceValue(1), Some(HANG)).unwrap(), WaitOutcome::Reached);
}

#[test]
fn heap_over_system_memory_is_a_standard_allocation() {
    let daemon = daemon_or_skip!();
    let device = device_of(&connect(&daemon));
    let memory = Arc::new(device.system_memory(SIZE).unwrap());
    let allocation = device.create_allocation(AllocationOptions::heap(Arc::clone(&memory))).unwrap();
    allocation.map().unwrap().write(0, &[9]).unwrap();
    assert_eq!(memory.memory().read::<u8>(0).unwrap(), 9);
}

#[test]
fn system_memory_over_the_quota_is_refused_and_the_session_goes_on() {
    let daemon = daemon_or_skip!();
    let device = device_of(&connect(&daemon));
    let error = device.system_memory(1 << 44).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota);
    assert!(device.system_memory(4096).is_ok());
}

#[test]
fn system_memory_given_back_is_not_charged_any_more() {
    let daemon = daemon_or_skip!();
    let device = device_of(&connect(&daemon));
    // More than half of what there is, by halves: the second time only fits when the first was given back.
    let most = (20..44).rev().map(|bits| 1 << bits).find(|size| device.system_memory(*size).is_ok()).unwrap();
    let size_bytes = most / 4 * 3;
    for _ in 0..4 {
        assert_eq!(device.system_memory(size_bytes).unwrap().size_bytes(), size_bytes);
    }
    let held = device.system_memory(most).unwrap();
    assert_eq!(device.system_memory(most).unwrap_err().kind(), ErrorKind::Quota);
    drop(held);
}

#[test]
fn node_without_an_adapter_for_streams_has_none() {
    let daemon = daemon_or_skip!();
    assert!(connect(&daemon).streams().is_none());
}

#[test]
fn daemon_that_dies_ends_waits_and_calls_as_device_lost() {
    let mut daemon = daemon_or_skip!();
    let node = connect(&daemon);
    let device = device_of(&node);
    let fence = device.create_fence(FenceValue(0)).unwrap();
    let eventfd = doorbell::create().unwrap();
    fence.notify(FenceValue(1), eventfd.as_fd()).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| fence.wait(FenceValue(1), None));
        daemon.kill();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::DeviceLost);
    });
    assert_eq!(doorbell::wait(&[eventfd.as_fd()], Some(HANG)).unwrap(), 1);
    assert_eq!(device.create_fence(FenceValue(0)).unwrap_err().kind(), ErrorKind::DeviceLost);
    assert!(node.is_lost());
}

#[test]
fn program_that_lost_its_daemon_goes_on_with_the_next_one() {
    let mut first = daemon_or_skip!();
    let lost = connect(&first);
    let device = device_of(&lost);
    first.kill();
    assert_eq!(device.create_fence(FenceValue(0)).unwrap_err().kind(), ErrorKind::DeviceLost);
    let next = daemon_or_skip!();
    let node = connect(&next);
    let fence = device_of(&node).create_fence(FenceValue(0)).unwrap();
    // What is left of the lost session goes while the new one works.
    drop((device, lost));
    fence.signal(FenceValue(3)).unwrap();
    fence.wait(FenceValue(3), Some(HANG)).unwrap();
    assert!(!node.is_lost());
}

#[test]
fn child_after_fork_is_refused_and_the_parent_goes_on() {
    let daemon = daemon_or_skip!();
    let node = connect(&daemon);
    let device = device_of(&node);
    let fence = device.create_fence(FenceValue(0)).unwrap();
    let refused = fork::in_child(|| {
        let call = fence.signal(FenceValue(1)).is_err_and(|error| error.kind() == ErrorKind::WrongProcess);
        let lease = device.system_memory(4096);
        let lease = lease.is_err_and(|error| error.kind() == ErrorKind::WrongProcess);
        // Dropping the child's copies must not end the parent's session.
        drop((fence.clone(), device.clone()));
        call && lease
    });
    assert!(refused);
    fence.signal(FenceValue(2)).unwrap();
    assert_eq!(fence.wait(FenceValue(2), Some(HANG)).unwrap(), WaitOutcome::Reached);
}

#[test]
fn session_leaves_no_descriptor_and_no_thread_behind() {
    const NAME: &str = "session_leaves_no_descriptor_and_no_thread_behind";
    const SOCKET: &str = "DXG_TESTS_SOCKET";
    if !again::is_inside() {
        let daemon = daemon_or_skip!();
        // Other tests of this process open and close too, so this one has a process of its own.
        again::run(NAME, &[(SOCKET, daemon.socket().as_os_str())]);
        return;
    }
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let socket = PathBuf::from(std::env::var_os(SOCKET).unwrap());
    let before = (count("fd"), count("task"));
    let node = Node::connect(&socket).unwrap();
    let device = device_of(&node);
    let data = AllocationData::new(SIZE).as_bytes().to_vec();
    let mapped = device.create_allocation(AllocationOptions::driver(data)).unwrap().map().unwrap();
    assert_ne!((count("fd"), count("task")), before);
    drop((mapped, device, node));
    // A thread that was joined is listed for a moment longer.
    let guard = Instant::now() + HANG;
    while count("task") != before.1 && Instant::now() < guard {
        std::thread::yield_now();
    }
    assert_eq!((count("fd"), count("task")), before);
}

#[test]
fn enumerate_lists_the_virtual_gpu_and_hides_what_is_not_visible() {
    const NAME: &str = "enumerate_lists_the_virtual_gpu_and_hides_what_is_not_visible";
    if again::is_inside() {
        let found = dxg_core::enumerate();
        let uuids: Vec<String> = found.iter().filter_map(|one| Some(one.uuid()?.to_string())).collect();
        for candidate in &found {
            assert!(candidate.open().unwrap().first_adapter().is_ok());
        }
        println!("found {uuids:?}");
        return;
    }
    let daemon = daemon_or_skip!();
    let socket = daemon.socket();
    let uuid = socket.file_stem().unwrap();
    let found_with = |visible: &OsStr| {
        let directory = (dxg_core::RUNTIME_DIR, daemon.runtime_dir().as_os_str());
        again::run(NAME, &[directory, (dxg_core::VISIBLE_DEVICES, visible)])
    };
    let listed = format!("found [{uuid:?}]");
    assert!(found_with(uuid).contains(&listed));
    assert!(found_with(OsStr::new("7")).contains("found []"));
    assert!(found_with(OsStr::new("0, 1")).contains(&listed));
}
