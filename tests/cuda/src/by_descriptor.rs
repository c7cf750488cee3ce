//! Memory and semaphores that cross by descriptor between programs on one virtual GPU, CUDA and Vulkan: this process is one side,
//! a process that it starts is the other.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd as _;
use std::os::fd::IntoRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::process::Command;

use dxg_core::FenceValue;
use dxg_tests_vulkan::sharing;
use rustix::io::FdFlags;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;

use crate::api;
use crate::api::Handle;
use crate::api::Ptr;
use crate::programs::Program;
use crate::scenarios::exchange;

/// A name, and what is run with its argument.
pub type Scenario = (&'static str, fn(&str));

/// All of them, and the other sides of some.
pub const ALL: &[Scenario] = &[
    ("memory_is_handed_to_vulkan_by_a_timeline", memory_is_handed_to_vulkan_by_a_timeline),
    ("memory_is_handed_to_vulkan_by_binary_semaphores", memory_is_handed_to_vulkan_by_binary_semaphores),
    ("memory_and_timeline_of_vulkan_are_taken_over", memory_and_timeline_of_vulkan_are_taken_over),
    ("memory_crosses_two_programs_by_descriptor", memory_crosses_two_programs_by_descriptor),
    ("pool_is_shared_by_two_programs", pool_is_shared_by_two_programs),
    ("pool_side", pool_side),
    ("vulkan_side", vulkan_side),
    ("descriptor_side", descriptor_side),
];

/// What the Vulkan side reads and writes.
const SHARED_BYTES: usize = 1 << 20;
/// What CUDA makes: its granule.
const GRANULE_BYTES: usize = 2 << 20;
/// How often the Vulkan side takes what is there.
const TURNS: u32 = 8;
const BY_TIMELINE: &str = "processes_hand_memory_over_by_a_timeline";
const BY_BINARY_SEMAPHORES: &str = "processes_hand_memory_over_by_binary_semaphores";
const MADE_AND_KEPT: &str = "process_that_is_killed_leaves_its_objects_as_they_are";
/// `CU_EXTERNAL_SEMAPHORE_HANDLE_TYPE_OPAQUE_FD` and `..._TIMELINE_SEMAPHORE_FD`.
const BINARY: u64 = 1;
const TIMELINE: u64 = 9;
const NON_BLOCKING: u32 = 1;

/// The Vulkan side: which case, and the descriptors that were left open for it, with commas.
///
/// # Panics
/// Where something is not as it shall be.
pub fn vulkan_side(argument: &str) {
    let mut parts = argument.split(',');
    let name = parts.next().expect("a case");
    let descriptors: Vec<i32> = parts.map(|number| number.parse().expect("a descriptor")).collect();
    sharing::run_peer(name, &descriptors).expect("the Vulkan side");
}

fn start(name: &str, descriptors: &[&dyn AsFd]) -> Child {
    start_as("vulkan_side", name, descriptors)
}

fn start_as(side: &str, name: &str, descriptors: &[&dyn AsFd]) -> Child {
    let mut argument = name.to_owned();
    for descriptor in descriptors {
        // Nothing else is started meanwhile that could inherit it.
        rustix::io::fcntl_setfd(descriptor.as_fd(), FdFlags::empty()).expect("a live descriptor");
        argument.push_str(&format!(",{}", descriptor.as_fd().as_raw_fd()));
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([side, &argument]).spawn().expect("a child")
}

/// Memory of CUDA's own, and the descriptor that names it.
fn made(program: &Program) -> (Ptr, OwnedFd) {
    let cuda = &program.cuda;
    // Pinned, exported as descriptors, on device 0.
    let prop = [1, 1, 1, 0, 0, 0, 0, 0];
    let (mut handle, mut at, mut descriptor) = (0, 0, -1);
    cuda.ok(cuda.cuMemCreate(&raw mut handle, GRANULE_BYTES, &raw const prop, 0));
    cuda.ok(cuda.cuMemAddressReserve(&raw mut at, GRANULE_BYTES, 0, 0, 0));
    cuda.ok(cuda.cuMemMap(at, GRANULE_BYTES, 0, handle, 0));
    cuda.ok(cuda.cuMemExportToShareableHandle((&raw mut descriptor).cast(), handle, 1, 0));
    (at, api::owned(descriptor))
}

fn semaphore(program: &Program, descriptor: OwnedFd, kind: u64) -> Handle {
    let mut desc = [0_u64; 12];
    (desc[0], desc[1]) = (kind, descriptor.into_raw_fd() as u64);
    let mut semaphore = 0;
    program.cuda.ok(program.cuda.cuImportExternalSemaphore(&raw mut semaphore, &raw const desc));
    semaphore
}

fn with_value(value: u64) -> [u64; 18] {
    let mut params = [0; 18];
    params[0] = value;
    params
}

fn wait(program: &Program, semaphore: Handle, value: u64, stream: Handle) {
    let params = with_value(value);
    let result =
        program.cuda.cuWaitExternalSemaphoresAsync(&raw const semaphore, &raw const params, 1, stream);
    program.cuda.ok(result);
}

fn signal(program: &Program, semaphore: Handle, value: u64, stream: Handle) {
    let params = with_value(value);
    let result =
        program.cuda.cuSignalExternalSemaphoresAsync(&raw const semaphore, &raw const params, 1, stream);
    program.cuda.ok(result);
}

fn fill(program: &Program, at: Ptr, value: u32, stream: Handle) {
    program.cuda.ok(program.cuda.cuMemsetD32Async(at, value, SHARED_BYTES / 4, stream));
}

/// Another CUDA process maps the memory that a descriptor names, sees the words and changes them.
pub fn memory_crosses_two_programs_by_descriptor(_: &str) {
    let program = Program::begin();
    let (at, memory) = made(&program);
    program.write(at, &[7_u32; 32]);
    let mut child = start_as("descriptor_side", "", &[&memory]);
    assert!(child.wait().expect("its end").success());
    assert_eq!(program.read::<u32>(at, 32), [42; 32]);
}

/// The other side of it.
///
/// # Panics
/// Where something is not as it shall be.
pub fn descriptor_side(argument: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let number: usize = argument.trim_start_matches(',').parse().expect("a descriptor");
    let (mut handle, mut at) = (0, 0);
    let number = std::ptr::without_provenance_mut(number);
    cuda.ok(cuda.cuMemImportFromShareableHandle(&raw mut handle, number, 1));
    cuda.ok(cuda.cuMemAddressReserve(&raw mut at, GRANULE_BYTES, 0, 0, 0));
    cuda.ok(cuda.cuMemMap(at, GRANULE_BYTES, 0, handle, 0));
    assert_eq!(program.read::<u32>(at, 32), [7; 32]);
    let scale = program.function(program.module(), "scale");
    program.scale(scale, at, 6, 32, 0);
    cuda.ok(cuda.cuCtxSynchronize());
}

/// Another CUDA process imports a pool by its descriptor and two of its allocations by what is said of them.
pub fn pool_is_shared_by_two_programs(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    // Pinned, exported as descriptors, on device 0.
    let props = [1 | 1 << 32, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (mut pool, mut descriptor) = (0, -1);
    cuda.ok(cuda.cuMemPoolCreate(&raw mut pool, &raw const props));
    cuda.ok(cuda.cuMemPoolExportToShareableHandle((&raw mut descriptor).cast(), pool, 1, 0));
    let descriptor = api::owned(descriptor);
    let mut said = String::new();
    let places = [3_u32, 4].map(|value| {
        let (mut at, mut data) = (0, [0; 64]);
        cuda.ok(cuda.cuMemAllocFromPoolAsync(&raw mut at, 4096, pool, 0));
        cuda.ok(cuda.cuMemsetD32Async(at, value, 1024, 0));
        cuda.ok(cuda.cuMemPoolExportPointer(&raw mut data, at));
        said.push_str(&crate::scenarios::hex(&data));
        at
    });
    cuda.ok(cuda.cuCtxSynchronize());
    let mut child = start_as("pool_side", &said, &[&descriptor]);
    assert!(child.wait().expect("its end").success());
    for (at, value) in places.into_iter().zip([30, 40]) {
        assert_eq!(program.read::<u32>(at, 32), [value; 32]);
        cuda.ok(cuda.cuMemFreeAsync(at, 0));
    }
    cuda.ok(cuda.cuMemPoolDestroy(pool));
    cuda.ok(cuda.cuCtxSynchronize());
}

/// The other side of it.
///
/// # Panics
/// Where something is not as it shall be.
pub fn pool_side(argument: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let (said, number) = argument.split_once(',').expect("a descriptor");
    let number = std::ptr::without_provenance_mut(number.parse().expect("a descriptor"));
    let mut pool = 0;
    cuda.ok(cuda.cuMemPoolImportFromShareableHandle(&raw mut pool, number, 1, 0));
    let mut none = 0;
    assert_eq!(cuda.cuMemAllocFromPoolAsync(&raw mut none, 64, pool, 0), 1);
    let scale = program.function(program.module(), "scale");
    for (half, value) in [(0, 3_u32), (1, 4)] {
        let part = said.get(half * 128..(half + 1) * 128).expect("64 bytes");
        let (mut data, mut at) = (crate::scenarios::unhex(part).0, 0);
        cuda.ok(cuda.cuMemPoolImportPointer(&raw mut at, pool, &raw mut data));
        assert_eq!(program.read::<u32>(at, 1024), [value; 1024]);
        program.scale(scale, at, 10, 32, 0);
        cuda.ok(cuda.cuMemFreeAsync(at, 0));
        // What is said of a pointer of another pool is refused.
        data[48] ^= 1;
        assert_eq!(cuda.cuMemPoolImportPointer(&raw mut at, pool, &raw mut data), 1);
    }
    cuda.ok(cuda.cuMemPoolDestroy(pool));
    cuda.ok(cuda.cuCtxSynchronize());
}

/// CUDA fills its memory eight times, Vulkan copies and checks each; values of one timeline order it both ways.
pub fn memory_is_handed_to_vulkan_by_a_timeline(_: &str) {
    let program = Program::begin();
    let (at, memory) = made(&program);
    let fence = exchange().create_shared_fence(FenceValue(0)).expect("a fence");
    let theirs = fence.share().expect("a descriptor");
    let timeline = semaphore(&program, fence.share().expect("a descriptor"), TIMELINE);
    let mut child = start(BY_TIMELINE, &[&memory, &theirs]);
    let stream = program.stream(NON_BLOCKING);
    for turn in 0..TURNS {
        let value = u64::from(turn) * 2;
        wait(&program, timeline, value, stream);
        fill(&program, at, turn, stream);
        signal(&program, timeline, value + 1, stream);
    }
    wait(&program, timeline, u64::from(TURNS) * 2, stream);
    assert!(child.wait().expect("its end").success());
    program.cuda.ok(program.cuda.cuStreamSynchronize(stream));
    program.cuda.ok(program.cuda.cuDestroyExternalSemaphore(timeline));
}

/// The same by two binary semaphores, one for each direction.
pub fn memory_is_handed_to_vulkan_by_binary_semaphores(_: &str) {
    let program = Program::begin();
    let (at, memory) = made(&program);
    let device = exchange();
    let [filled, copied] = [(), ()].map(|()| device.create_shared_fence(FenceValue(0)).expect("a fence"));
    let theirs = [&filled, &copied].map(|fence| fence.share().expect("a descriptor"));
    let ours = [&filled, &copied].map(|fence| fence.share().expect("a descriptor"));
    let [filled, copied] = ours.map(|descriptor| semaphore(&program, descriptor, BINARY));
    let mut child = start(BY_BINARY_SEMAPHORES, &[&memory, &theirs[0], &theirs[1]]);
    let stream = program.stream(NON_BLOCKING);
    for turn in 0..TURNS {
        if turn > 0 {
            wait(&program, copied, 0, stream);
        }
        fill(&program, at, turn, stream);
        signal(&program, filled, 0, stream);
    }
    wait(&program, copied, 0, stream);
    assert!(child.wait().expect("its end").success());
    program.cuda.ok(program.cuda.cuStreamSynchronize(stream));
}

/// Vulkan makes memory and a timeline; CUDA waits for its value, sees its words, and goes on with the timeline.
pub fn memory_and_timeline_of_vulkan_are_taken_over(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    let mut child = start(MADE_AND_KEPT, &[&theirs]);
    drop(theirs);
    let [memory, timeline]: [OwnedFd; 2] = receive(&ours).try_into().expect("two descriptors");
    let desc = [1, memory.into_raw_fd() as u64, 0, SHARED_BYTES as u64, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (mut memory, mut at) = (0, 0);
    cuda.ok(cuda.cuImportExternalMemory(&raw mut memory, &raw const desc));
    let buffer = [0, SHARED_BYTES as u64, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cuda.ok(cuda.cuExternalMemoryGetMappedBuffer(&raw mut at, memory, &raw const buffer));
    let also_ours = timeline.try_clone().expect("a descriptor");
    let timeline = semaphore(&program, timeline, TIMELINE);
    let stream = program.stream(NON_BLOCKING);
    let scaled = program.function(program.module(), "scale");
    wait(&program, timeline, 3, stream);
    program.scale(scaled, at, 2, 32, stream);
    signal(&program, timeline, 4, stream);
    // Another session sees the value that CUDA gave it.
    let fence = exchange().open_shared_fence(also_ours.as_fd()).expect("a fence");
    fence.wait(FenceValue(4), None).expect("a wait");
    let words = program.read::<u32>(at, SHARED_BYTES / 4);
    assert_eq!(words[..32], [0xfeed * 2; 32]);
    assert!(words[32..].iter().all(|word| *word == 0xfeed));
    // It ends when the socket closes.
    drop(ours);
    assert!(child.wait().expect("its end").success());
    // What its maker has left behind stays.
    assert_eq!(program.read::<u32>(at, 1), [0xfeed * 2]);
    cuda.ok(cuda.cuMemFree_v2(at));
    cuda.ok(cuda.cuDestroyExternalMemory(memory));
    cuda.ok(cuda.cuDestroyExternalSemaphore(timeline));
}

fn receive(socket: &UnixStream) -> Vec<OwnedFd> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let parts = &mut [IoSliceMut::new(&mut byte)];
    let got = rustix::net::recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC);
    assert_eq!(got.expect("a message").bytes, 1, "the other side ended");
    let messages = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    messages.flatten().collect()
}
