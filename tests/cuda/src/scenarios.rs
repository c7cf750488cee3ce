//! The scenarios. Each panics where something is not as it shall be.

use std::ffi::CString;
use std::ffi::c_int;
use std::ffi::c_void;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::fd::IntoRawFd as _;
use std::process::Command;
use std::process::Stdio;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use crate::api;
use crate::api::Bytes64;
use crate::api::Cuda;
use crate::api::Ptr;
use crate::kernels;
use crate::programs::Program;

const NOT_INITIALIZED: c_int = 3;
const DEINITIALIZED: c_int = 4;
const INVALID_VALUE: c_int = 1;
const OUT_OF_MEMORY: c_int = 2;
const NO_BINARY: c_int = 209;
const NOT_FOUND: c_int = 500;
const NOT_READY: c_int = 600;
const ILLEGAL_ADDRESS: c_int = 700;
const NON_BLOCKING: u32 = 1;
const TWO_MIB: usize = 2 << 20;

/// A name and what runs under it, with an argument.
pub type Scenario = (&'static str, fn(&str));

/// All of them.
pub const ALL: &[Scenario] = &[
    ("vector_add", vector_add),
    ("device", device),
    ("streams", streams),
    ("host_function", host_function),
    ("stream_values", stream_values),
    ("events", events),
    ("memory_kinds", memory_kinds),
    ("copies", copies),
    ("registered", registered),
    ("quota", quota),
    ("pools", pools),
    ("modules", modules),
    ("library_and_linker", library_and_linker),
    ("printing", printing),
    ("sticky_error", sticky_error),
    ("virtual_memory", virtual_memory),
    ("memory_of_others", memory_of_others),
    ("semaphore_of_others", semaphore_of_others),
    ("ipc", ipc),
    ("ipc_child", ipc_child),
    ("forks", forks),
    ("threads", threads),
    ("exit", exit),
    ("unload", unload),
];

fn vector_add(_: &str) {
    let program = Program::begin();
    let add = program.function(program.module(), "add");
    let one: Vec<f32> = (0..100_000_u32).map(|at| (at % 1000) as f32).collect();
    let other = vec![0.5_f32; one.len()];
    let bytes = size_of_val(one.as_slice());
    let (mut to, mut from, mut with) = (program.alloc(bytes), program.alloc(bytes), program.alloc(bytes));
    program.write(from, &one);
    program.write(with, &other);
    let mut count = one.len() as u32;
    let mut params: [*mut c_void; 4] =
        [(&raw mut to).cast(), (&raw mut from).cast(), (&raw mut with).cast(), (&raw mut count).cast()];
    let blocks = count.div_ceil(256);
    let list = params.as_mut_ptr();
    let result = program.cuda.cuLaunchKernel(add, blocks, 1, 1, 256, 1, 1, 0, 0, list, ptr::null_mut());
    program.cuda.ok(result);
    let sums: Vec<f32> = program.read(to, one.len());
    assert!(sums.iter().zip(&one).all(|(sum, one)| *sum == one + 0.5));
    // The same by a parameter buffer.
    program.cuda.ok(program.cuda.cuMemsetD8_v2(to, 0, bytes));
    let mut buffer = [0_u8; 28];
    for (at, word) in [to, from, with].into_iter().enumerate() {
        buffer[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    buffer[24..].copy_from_slice(&count.to_le_bytes());
    let mut size = buffer.len();
    let at = |number: usize| ptr::without_provenance_mut::<c_void>(number);
    let mut extra = [at(1), buffer.as_mut_ptr().cast(), at(2), (&raw mut size).cast(), at(0)];
    let list = extra.as_mut_ptr();
    program.cuda.ok(program.cuda.cuLaunchKernel(add, blocks, 1, 1, 256, 1, 1, 0, 0, ptr::null_mut(), list));
    assert_eq!(program.read::<f32>(to, one.len()), sums);
}

fn device(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let mut count = 0;
    cuda.ok(cuda.cuDeviceGetCount(&raw mut count));
    assert_eq!(count, 1);
    let mut uuid = [0; 16];
    cuda.ok(cuda.cuDeviceGetUuid_v2(&raw mut uuid, 0));
    let candidates = dxg_core::enumerate();
    assert_eq!(Some(uuid), candidates.first().and_then(|one| one.uuid()).map(|uuid| uuid.0));
    let mut value = 0;
    cuda.ok(cuda.cuDeviceGetAttribute(&raw mut value, 10, 0));
    assert_eq!(value, 32);
    assert_eq!(cuda.cuDeviceGetAttribute(&raw mut value, 10, 1), 101);
    assert_eq!(cuda.cuDeviceGetAttribute(ptr::null_mut(), 10, 0), INVALID_VALUE);
    // Functions by name: the newest form of the version.
    let mut code = ptr::null_mut();
    let mut status = 7;
    let name = c"cuMemAlloc".as_ptr();
    cuda.ok(cuda.cuGetProcAddress_v2(name, &raw mut code, 12000, 0, &raw mut status));
    assert!(!code.is_null() && status == 0);
    let name = c"cuNoSuchThing".as_ptr();
    assert_eq!(cuda.cuGetProcAddress_v2(name, &raw mut code, 12000, 0, &raw mut status), NOT_FOUND);
    assert!(code.is_null() && status == 1);
    // A context of its own beside the primary one.
    let mut own = 0;
    cuda.ok(cuda.cuCtxCreate_v2(&raw mut own, 0, 0));
    let mut current = 0;
    cuda.ok(cuda.cuCtxGetCurrent(&raw mut current));
    assert!(current == own && own != program.context);
    let at = program.alloc(4096);
    program.write(at, &[1_u32, 2, 3]);
    cuda.ok(cuda.cuCtxDestroy_v2(own));
    cuda.ok(cuda.cuCtxGetCurrent(&raw mut current));
    assert_eq!(current, program.context);
    assert_eq!(cuda.cuMemFree_v2(at), INVALID_VALUE);
    cuda.ok(cuda.cuDevicePrimaryCtxRelease_v2(0));
    let (mut flags, mut active) = (0, 1);
    cuda.ok(cuda.cuDevicePrimaryCtxGetState(0, &raw mut flags, &raw mut active));
    assert_eq!(active, 0);
}

fn streams(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let (first, second) = (program.stream(NON_BLOCKING), program.stream(NON_BLOCKING));
    let at = program.alloc(4096);
    cuda.ok(cuda.cuMemsetD32Async(at, 1, 32, first));
    for _ in 0..5 {
        program.scale(scale, at, 2, 32, first);
    }
    let event = program.event(2);
    cuda.ok(cuda.cuEventRecord(event, first));
    cuda.ok(cuda.cuStreamWaitEvent(second, event, 0));
    program.scale(scale, at, 3, 32, second);
    cuda.ok(cuda.cuStreamSynchronize(second));
    cuda.ok(cuda.cuStreamQuery(first));
    assert_eq!(program.read::<u32>(at, 32), [96; 32]);
    // The legacy stream and blocking streams wait for each other.
    let blocking = program.stream(0);
    for _ in 0..50 {
        program.scale(scale, at, 1, 32, blocking);
    }
    program.scale(scale, at, 2, 32, blocking);
    program.scale(scale, at, 2, 32, 0);
    program.scale(scale, at, 2, 32, blocking);
    cuda.ok(cuda.cuCtxSynchronize());
    assert_eq!(program.read::<u32>(at, 1), [96 * 8]);
    for stream in [first, second, blocking] {
        cuda.ok(cuda.cuStreamDestroy_v2(stream));
    }
    assert_eq!(cuda.cuStreamQuery(first), 400);
}

static CALLS: AtomicU32 = AtomicU32::new(0);

extern "C" fn note(data: *mut c_void) {
    let value = api::bytes_at(data.expose_provenance(), 4);
    CALLS.store(u32::from_le_bytes([value[0], value[1], value[2], value[3]]), Ordering::SeqCst);
    api::write_at(data.expose_provenance(), &5_u32.to_le_bytes());
}

fn host_function(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let stream = program.stream(NON_BLOCKING);
    let mut host = ptr::null_mut();
    cuda.ok(cuda.cuMemHostAlloc(&raw mut host, 4096, 0));
    let mut at = 0;
    cuda.ok(cuda.cuMemHostGetDevicePointer_v2(&raw mut at, host, 0));
    cuda.ok(cuda.cuMemsetD32Async(at, 3, 1, stream));
    program.scale(scale, at, 7, 1, stream);
    cuda.ok(cuda.cuLaunchHostFunc(stream, note, host));
    program.scale(scale, at, 2, 1, stream);
    cuda.ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(CALLS.load(Ordering::SeqCst), 21);
    assert_eq!(api::bytes_at(host.expose_provenance(), 4), 10_u32.to_le_bytes());
    cuda.ok(cuda.cuMemFreeHost(host));
}

fn stream_values(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let (first, second) = (program.stream(NON_BLOCKING), program.stream(NON_BLOCKING));
    let (flag, at) = (program.alloc(256), program.alloc(256));
    program.write(flag, &[0_u32]);
    cuda.ok(cuda.cuStreamWaitValue32_v2(first, flag, 3, 0));
    cuda.ok(cuda.cuMemsetD32Async(at, 9, 1, first));
    assert_eq!(cuda.cuStreamQuery(first), NOT_READY);
    cuda.ok(cuda.cuStreamWriteValue32_v2(second, flag, 4, 0));
    cuda.ok(cuda.cuStreamSynchronize(first));
    assert_eq!(program.read::<u32>(at, 1), [9]);
}

fn events(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let at = program.alloc(4096);
    let (start, end) = (program.event(0), program.event(0));
    let mut milliseconds = -1.0;
    assert_eq!(cuda.cuEventElapsedTime(&raw mut milliseconds, start, end), 400);
    cuda.ok(cuda.cuEventRecord(start, 0));
    for _ in 0..10 {
        program.scale(scale, at, 1, 32, 0);
    }
    cuda.ok(cuda.cuEventRecord(end, 0));
    cuda.ok(cuda.cuEventSynchronize(end));
    cuda.ok(cuda.cuEventQuery(start));
    cuda.ok(cuda.cuEventElapsedTime(&raw mut milliseconds, start, end));
    assert!(milliseconds > 0.0);
    cuda.ok(cuda.cuEventDestroy_v2(start));
    assert_eq!(cuda.cuEventQuery(start), 400);
}

fn memory_kinds(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    // Managed memory is written here and scaled there.
    let mut managed = 0;
    cuda.ok(cuda.cuMemAllocManaged(&raw mut managed, 4096, 1));
    api::write_at(managed as usize, &6_u32.to_le_bytes());
    program.scale(scale, managed, 7, 1, 0);
    cuda.ok(cuda.cuCtxSynchronize());
    assert_eq!(api::bytes_at(managed as usize, 4), 42_u32.to_le_bytes());
    let at = program.alloc(1000);
    let kind = |ptr: Ptr| {
        let mut kind = 0_u32;
        let result = cuda.cuPointerGetAttribute((&raw mut kind).cast(), 2, ptr);
        (result, kind)
    };
    assert_eq!((kind(at + 999), kind(managed)), ((0, 2), (0, 2)));
    let mut own = 0_u64;
    assert_eq!(kind((&raw mut own).expose_provenance() as u64).0, INVALID_VALUE);
    let (mut base, mut bytes) = (0, 0);
    cuda.ok(cuda.cuMemGetAddressRange_v2(&raw mut base, &raw mut bytes, at + 7));
    assert_eq!((base, bytes), (at, 1000));
    cuda.ok(cuda.cuMemFree_v2(at));
    assert_eq!(cuda.cuMemFree_v2(at), INVALID_VALUE);
    cuda.ok(cuda.cuMemFree_v2(0));
    cuda.ok(cuda.cuMemFree_v2(managed));
    assert_eq!(cuda.cuMemAlloc_v2(&raw mut base, 0), INVALID_VALUE);
}

fn copies(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let stream = program.stream(NON_BLOCKING);
    let values: Vec<u32> = (0..1 << 20).collect();
    let bytes = size_of_val(values.as_slice());
    let (one, other) = (program.alloc(bytes), program.alloc(bytes));
    for _ in 0..4 {
        // The source is taken at the call.
        let mut short_lived = values.clone();
        cuda.ok(cuda.cuMemcpyHtoDAsync_v2(one, short_lived.as_ptr().cast(), bytes, stream));
        short_lived.fill(0);
        cuda.ok(cuda.cuMemcpyDtoDAsync_v2(other, one, bytes, stream));
        let mut back = vec![0_u32; values.len()];
        cuda.ok(cuda.cuMemcpyDtoHAsync_v2(back.as_mut_ptr().cast(), other, bytes, stream));
        cuda.ok(cuda.cuStreamSynchronize(stream));
        assert!(back == values);
        cuda.ok(cuda.cuMemsetD32Async(other, 0, values.len(), stream));
    }
    // Rows with a pitch there and none here: 4 rows of 12 bytes.
    let (mut pitched, mut pitch) = (0, 0);
    cuda.ok(cuda.cuMemAllocPitch_v2(&raw mut pitched, &raw mut pitch, 12, 4, 4));
    assert!(pitch >= 12);
    let rows: Vec<u8> = (0..48).collect();
    let host = rows.as_ptr().expose_provenance() as u64;
    let copy = [0, 0, 1, host, 0, 0, 12, 0, 0, 2, 0, pitched, 0, pitch as u64, 12, 4];
    cuda.ok(cuda.cuMemcpy2D_v2(&raw const copy));
    let there: Vec<u8> = program.read(pitched, pitch * 3 + 12);
    for (at, row) in rows.chunks(12).enumerate() {
        assert_eq!(&there[at * pitch..at * pitch + 12], row);
    }
    assert_eq!(cuda.cuMemcpyHtoD_v2(1 << 40, rows.as_ptr().cast(), 48), INVALID_VALUE);
    let mut place = [0_u8; 48];
    assert_eq!(cuda.cuMemcpyDtoH_v2(place.as_mut_ptr().cast(), 0, 48), INVALID_VALUE);
}

fn registered(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let mut own = vec![3_u32; 64 << 10];
    let host: *mut c_void = own.as_mut_ptr().cast();
    let bytes = size_of_val(own.as_slice());
    cuda.ok(cuda.cuMemHostRegister_v2(host, bytes, 2));
    assert_eq!(cuda.cuMemHostRegister_v2(host, bytes, 2), 712);
    let mut at = 0;
    cuda.ok(cuda.cuMemHostGetDevicePointer_v2(&raw mut at, host, 0));
    program.scale(scale, at, 5, 32, 0);
    cuda.ok(cuda.cuCtxSynchronize());
    assert_eq!(own[..33], [[15; 32].as_slice(), &[3]].concat());
    cuda.ok(cuda.cuMemHostUnregister(host));
    assert_eq!(cuda.cuMemHostUnregister(host), 713);
    assert_eq!(own[31..33], [15, 3]);
    own.fill(1);
    assert_eq!(own.iter().sum::<u32>(), 64 << 10);
}

fn quota(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let free = || {
        let (mut free, mut total) = (0, 0);
        cuda.ok(cuda.cuMemGetInfo_v2(&raw mut free, &raw mut total));
        assert!(free <= total);
        free
    };
    let before = free();
    let large = program.alloc(100 << 20);
    assert!(free() <= before - (100 << 20));
    cuda.ok(cuda.cuMemFree_v2(large));
    assert_eq!(free(), before);
    let mut at = 0;
    assert_eq!(cuda.cuMemAlloc_v2(&raw mut at, before + (1 << 30)), OUT_OF_MEMORY);
    // No more than the quota is held at once, but as often as the program likes.
    for _ in 0..20 {
        let half = program.alloc(before / 2);
        program.write(half, &[1_u32]);
        cuda.ok(cuda.cuMemFree_v2(half));
    }
}

fn pools(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let stream = program.stream(NON_BLOCKING);
    let mut before = 0;
    for round in 0..100_u32 {
        let mut at = 0;
        cuda.ok(cuda.cuMemAllocAsync(&raw mut at, 1 << 20, stream));
        cuda.ok(cuda.cuMemsetD32Async(at, round, 32, stream));
        program.scale(scale, at, 2, 32, stream);
        let mut value = 0_u32;
        cuda.ok(cuda.cuMemcpyDtoHAsync_v2((&raw mut value).cast(), at, 4, stream));
        cuda.ok(cuda.cuMemFreeAsync(at, stream));
        assert_eq!(value, round * 2);
        assert!(round == 0 || at == before, "memory that the stream has freed is used again");
        before = at;
    }
    let mut pool = 0;
    cuda.ok(cuda.cuDeviceGetDefaultMemPool(&raw mut pool, 0));
    let mut used = 1_u64;
    cuda.ok(cuda.cuMemPoolGetAttribute(pool, 7, (&raw mut used).cast()));
    assert_eq!(used, 0);
    assert_eq!(cuda.cuMemFreeAsync(before, stream), INVALID_VALUE);
}

fn modules(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let module = program.module();
    let (mut at, mut bytes) = (0, 0);
    cuda.ok(cuda.cuModuleGetGlobal_v2(&raw mut at, &raw mut bytes, module, c"counter".as_ptr()));
    assert_eq!((bytes, program.read::<u32>(at, 1)), (4, vec![7]));
    let mut function = 0;
    assert_eq!(cuda.cuModuleGetFunction(&raw mut function, module, c"nobody".as_ptr()), NOT_FOUND);
    cuda.ok(cuda.cuModuleUnload(module));
    assert_eq!(cuda.cuModuleUnload(module), 400);
    // What is wrong is said in the log, with the line.
    let bad = c".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry e() { nonsense.b32 %r1; }\n";
    let mut log = [0_u8; 512];
    let mut options = [5, 6];
    let mut values = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(log.len())];
    let mut none = 0;
    let result = cuda.cuModuleLoadDataEx(
        &raw mut none,
        bad.as_ptr().cast(),
        2,
        options.as_mut_ptr(),
        values.as_mut_ptr(),
    );
    assert_eq!(result, 218);
    let written = values[1].addr();
    assert!(written > 1 && written <= log.len());
    let text = String::from_utf8_lossy(&log[..written - 1]).into_owned();
    assert!(text.contains('4'), "{text}");
    let cubin = c"\x7fELF\x02\x01\x01";
    assert_eq!(cuda.cuModuleLoadData(&raw mut none, cubin.as_ptr().cast()), NO_BINARY);
}

fn library_and_linker(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let null = ptr::null_mut();
    let mut state = 0;
    cuda.ok(cuda.cuLinkCreate_v2(0, ptr::null_mut(), ptr::null_mut(), &raw mut state));
    let text = CString::new(kernels::TEXT).unwrap_or_default();
    let bytes = text.as_bytes_with_nul().len();
    let name = c"kernels".as_ptr();
    let data = text.as_ptr().cast();
    cuda.ok(cuda.cuLinkAddData_v2(state, 1, data, bytes, name, 0, ptr::null_mut(), ptr::null_mut()));
    let (mut cubin, mut size) = (null, 0);
    cuda.ok(cuda.cuLinkComplete(state, &raw mut cubin, &raw mut size));
    let mut library = 0;
    let (none, no) = (ptr::null_mut(), ptr::null_mut());
    cuda.ok(cuda.cuLibraryLoadData(&raw mut library, cubin, none, no, 0, none, no, 0));
    cuda.ok(cuda.cuLinkDestroy(state));
    let mut kernel = 0;
    cuda.ok(cuda.cuLibraryGetKernel(&raw mut kernel, library, c"scale".as_ptr()));
    let at = program.alloc(256);
    program.write(at, &[8_u32]);
    program.scale(kernel, at, 8, 1, 0);
    assert_eq!(program.read::<u32>(at, 1), [64]);
    cuda.ok(cuda.cuLibraryUnload(library));
    assert_eq!(cuda.cuLibraryUnload(library), 400);
}

fn printing(_: &str) {
    let program = Program::begin();
    let say = program.function(program.module(), "say");
    program.launch(say, 2, 0, []);
    program.cuda.ok(program.cuda.cuCtxSynchronize());
}

fn sticky_error(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let wild = program.function(program.module(), "wild");
    let mut nowhere = 64_u64;
    program.launch(wild, 1, 0, [(&raw mut nowhere).cast()]);
    assert_eq!(cuda.cuCtxSynchronize(), ILLEGAL_ADDRESS);
    let mut at = 0;
    assert_eq!(cuda.cuMemAlloc_v2(&raw mut at, 16), ILLEGAL_ADDRESS);
    assert_eq!(cuda.cuCtxSynchronize(), ILLEGAL_ADDRESS);
    // Another context of the process is not touched.
    let mut own = 0;
    cuda.ok(cuda.cuCtxCreate_v2(&raw mut own, 0, 0));
    let at = program.alloc(256);
    program.write(at, &[2_u32]);
    let scale = program.function(program.module(), "scale");
    program.scale(scale, at, 4, 1, 0);
    assert_eq!(program.read::<u32>(at, 1), [8]);
    cuda.ok(cuda.cuCtxDestroy_v2(own));
}

fn virtual_memory(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let mut at = 0;
    cuda.ok(cuda.cuMemAddressReserve(&raw mut at, 4 * TWO_MIB, 0, 0, 0));
    // Pinned, exported as descriptors, on device 0.
    let prop = [1, 1, 1, 0, 0, 0, 0, 0];
    let mut handle = 0;
    cuda.ok(cuda.cuMemCreate(&raw mut handle, 2 * TWO_MIB, &raw const prop, 0));
    cuda.ok(cuda.cuMemMap(at, 2 * TWO_MIB, 0, handle, 0));
    assert_eq!(cuda.cuMemMap(at + TWO_MIB as u64, TWO_MIB, 0, handle, 0), INVALID_VALUE);
    let mut descriptor = -1;
    cuda.ok(cuda.cuMemExportToShareableHandle((&raw mut descriptor).cast(), handle, 1, 0));
    let mut again = 0;
    let number = ptr::without_provenance_mut(descriptor as usize);
    cuda.ok(cuda.cuMemImportFromShareableHandle(&raw mut again, number, 1));
    let second = at + 2 * TWO_MIB as u64;
    cuda.ok(cuda.cuMemMap(second, TWO_MIB, TWO_MIB, again, 0));
    // Two addresses of the same bytes.
    cuda.ok(cuda.cuMemsetD32_v2(at + TWO_MIB as u64, 7, 32));
    program.scale(scale, second, 6, 32, 0);
    assert_eq!(program.read::<u32>(at + TWO_MIB as u64, 32), [42; 32]);
    cuda.ok(cuda.cuMemRelease(handle));
    cuda.ok(cuda.cuMemRelease(again));
    assert_eq!(cuda.cuMemAddressFree(at, 4 * TWO_MIB), INVALID_VALUE);
    cuda.ok(cuda.cuMemUnmap(at, 2 * TWO_MIB));
    assert_eq!(program.read::<u32>(second, 32), [42; 32]);
    cuda.ok(cuda.cuMemUnmap(second, TWO_MIB));
    cuda.ok(cuda.cuMemAddressFree(at, 4 * TWO_MIB));
}

/// A device of `dxg-core` on the virtual GPU.
pub(crate) fn exchange() -> dxg_core::Device {
    let candidates = dxg_core::enumerate();
    let node = candidates.first().expect("a virtual GPU").open().expect("a session");
    node.first_adapter().expect("an adapter").create_device().expect("a device")
}

fn memory_of_others(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let options = dxg_core::ResourceOptions {
        allocations: vec![dxg_core::AllocationOptions::cross_adapter(1 << 20)],
        sharing: dxg_core::ResourceSharing::Shareable,
        ..Default::default()
    };
    let device = exchange();
    let resource = device.create_resource(options).expect("a resource");
    let mapped = resource.allocations()[0].map().expect("a mapping");
    mapped.write(4096, &21_u32.to_le_bytes()).expect("in bounds");
    let descriptor = resource.share().expect("a descriptor").into_raw_fd();
    let desc = [1, descriptor as u64, 0, 1 << 20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut memory = 0;
    cuda.ok(cuda.cuImportExternalMemory(&raw mut memory, &raw const desc));
    let buffer = [4096, 8192, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut at = 0;
    cuda.ok(cuda.cuExternalMemoryGetMappedBuffer(&raw mut at, memory, &raw const buffer));
    program.scale(scale, at, 2, 1, 0);
    cuda.ok(cuda.cuCtxSynchronize());
    let mut seen = [0; 4];
    mapped.read(4096, &mut seen).expect("in bounds");
    assert_eq!(seen, 42_u32.to_le_bytes());
    // A buffer begins wherever it is said to, and ends there.
    let buffer = [4096 - 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (mut inner, mut base, mut bytes) = (0, 0, 0);
    cuda.ok(cuda.cuExternalMemoryGetMappedBuffer(&raw mut inner, memory, &raw const buffer));
    assert_eq!(program.read::<u32>(inner, 2), [0, 42]);
    cuda.ok(cuda.cuMemGetAddressRange_v2(&raw mut base, &raw mut bytes, inner + 7));
    assert_eq!((base, bytes), (inner, 8));
    assert_eq!(cuda.cuMemGetAddressRange_v2(&raw mut base, &raw mut bytes, inner - 1), NOT_FOUND);
    cuda.ok(cuda.cuMemFree_v2(inner));
    cuda.ok(cuda.cuMemFree_v2(at));
    cuda.ok(cuda.cuDestroyExternalMemory(memory));
}

fn semaphore_of_others(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let device = exchange();
    let fence = device.create_shared_fence(dxg_core::FenceValue(0)).expect("a fence");
    let descriptor = fence.share().expect("a descriptor").into_raw_fd();
    let mut desc = [0_u64; 12];
    (desc[0], desc[1]) = (9, descriptor as u64);
    let mut semaphore = 0;
    cuda.ok(cuda.cuImportExternalSemaphore(&raw mut semaphore, &raw const desc));
    let stream = program.stream(NON_BLOCKING);
    let at = program.alloc(256);
    let value = |value: u64| {
        let mut params = [0_u64; 18];
        params[0] = value;
        params
    };
    let (five, six) = (value(5), value(6));
    cuda.ok(cuda.cuWaitExternalSemaphoresAsync(&raw const semaphore, &raw const five, 1, stream));
    cuda.ok(cuda.cuMemsetD32Async(at, 9, 1, stream));
    cuda.ok(cuda.cuSignalExternalSemaphoresAsync(&raw const semaphore, &raw const six, 1, stream));
    assert_eq!(cuda.cuStreamQuery(stream), NOT_READY);
    fence.signal(dxg_core::FenceValue(5)).expect("a signal");
    let patience = std::time::Duration::from_secs(60);
    let outcome = fence.wait(dxg_core::FenceValue(6), Some(patience)).expect("a wait");
    assert_eq!(outcome, dxg_core::WaitOutcome::Reached);
    cuda.ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(program.read::<u32>(at, 1), [9]);
    cuda.ok(cuda.cuDestroyExternalSemaphore(semaphore));
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Bytes64 {
    let mut bytes = [0; 64];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("two digits");
    }
    Bytes64(bytes)
}

fn ipc(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    // In one block with others; what they hold stays.
    let (neighbour, at) = (program.alloc(1000), program.alloc(1000));
    program.write(neighbour, &[77_u32]);
    program.write(at, &[5_u32]);
    let mut memory = [0; 64];
    cuda.ok(cuda.cuIpcGetMemHandle(&raw mut memory, at));
    assert_eq!((program.read::<u32>(neighbour, 1), program.read::<u32>(at, 1)), (vec![77], vec![5]));
    let event = program.event(2 | 4);
    let mut shared_event = [0; 64];
    cuda.ok(cuda.cuIpcGetEventHandle(&raw mut shared_event, event));
    program.scale(scale, at, 2, 1, 0);
    cuda.ok(cuda.cuEventRecord(event, 0));
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["ipc_child", &format!("{}{}", hex(&memory), hex(&shared_event))])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "done");
    assert!(child.wait().expect("its end").success());
    assert_eq!(program.read::<u32>(at, 1), [30]);
    cuda.ok(cuda.cuMemFree_v2(at));
}

fn ipc_child(handles: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let (mut at, mut event) = (0, 0);
    cuda.ok(cuda.cuIpcOpenMemHandle_v2(&raw mut at, unhex(&handles[..128]), 1));
    cuda.ok(cuda.cuIpcOpenEventHandle(&raw mut event, unhex(&handles[128..])));
    cuda.ok(cuda.cuEventSynchronize(event));
    assert_eq!(program.read::<u32>(at, 1), [10]);
    program.scale(scale, at, 3, 1, 0);
    cuda.ok(cuda.cuCtxSynchronize());
    cuda.ok(cuda.cuIpcCloseMemHandle(at));
    assert_eq!(cuda.cuIpcCloseMemHandle(at), INVALID_VALUE);
}

fn forks(_: &str) {
    // A child of a process that has not begun may begin.
    let cuda = Cuda::load();
    let status = api::in_child(|| cuda.cuInit(0));
    assert_eq!(status, 0);
    let program = Program::begin();
    let at = program.alloc(4096);
    let status = api::in_child(|| {
        let mut other = 0;
        let results = [
            program.cuda.cuInit(0),
            program.cuda.cuMemAlloc_v2(&raw mut other, 16),
            program.cuda.cuCtxSynchronize(),
            program.cuda.cuMemFree_v2(at),
        ];
        i32::from(results != [NOT_INITIALIZED; 4])
    });
    assert_eq!(status, 0);
    program.write(at, &[1_u32]);
    assert_eq!(program.read::<u32>(at, 1), [1]);
}

fn threads(_: &str) {
    let program = Program::begin();
    let scale = program.function(program.module(), "scale");
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let program = &program;
            scope.spawn(move || {
                program.cuda.ok(program.cuda.cuCtxSetCurrent(program.context));
                let stream = program.stream(NON_BLOCKING);
                let at = program.alloc(256);
                for round in 0..100 {
                    let start = thread * 1000 + round;
                    program.cuda.ok(program.cuda.cuMemsetD32Async(at, start, 32, stream));
                    program.scale(scale, at, 3, 32, stream);
                    program.cuda.ok(program.cuda.cuStreamSynchronize(stream));
                    let mut back = [0_u32; 32];
                    let to = back.as_mut_ptr().cast();
                    program.cuda.ok(program.cuda.cuMemcpyDtoHAsync_v2(to, at, 128, stream));
                    program.cuda.ok(program.cuda.cuStreamSynchronize(stream));
                    assert_eq!(back, [start * 3; 32]);
                }
                program.cuda.ok(program.cuda.cuStreamDestroy_v2(stream));
                program.cuda.ok(program.cuda.cuMemFree_v2(at));
            });
        }
    });
}

static PROGRAM: OnceLock<Program> = OnceLock::new();

fn at_the_end() {
    let Some(program) = PROGRAM.get() else { api::end(3) };
    let mut at = 0;
    let results = [
        program.cuda.cuMemAlloc_v2(&raw mut at, 16),
        program.cuda.cuCtxSynchronize(),
        program.cuda.cuDevicePrimaryCtxRelease_v2(0),
    ];
    api::end(if results == [DEINITIALIZED; 3] { 0 } else { 4 });
}

fn exit(_: &str) {
    // Registered first, so it runs last: after the library's own.
    api::when_over(at_the_end);
    let program = Program::begin();
    let wait = program.stream(NON_BLOCKING);
    let flag = program.alloc(256);
    program.write(flag, &[0_u32]);
    // Work that never ends holds nobody up.
    program.cuda.ok(program.cuda.cuStreamWaitValue32_v2(wait, flag, 1, 0));
    let _ = PROGRAM.set(program);
    println!("done");
    std::io::stdout().flush().expect("written");
    std::process::exit(5);
}

fn unload(_: &str) {
    for _ in 0..3 {
        let program = Program::begin();
        let module = program.module();
        let scale = program.function(module, "scale");
        let at = program.alloc(256);
        program.write(at, &[2_u32]);
        program.scale(scale, at, 4, 1, 0);
        assert_eq!(program.read::<u32>(at, 1), [8]);
        program.cuda.ok(program.cuda.cuDevicePrimaryCtxRelease_v2(0));
        program.cuda.close();
    }
    let _ = std::fs::File::open("/dev/null").map(|file| {
        // Descriptors are those of the program again.
        let number = file.into_raw_fd();
        assert!(number < 64, "descriptors are left over: {number}");
        number
    });
}
