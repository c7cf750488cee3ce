//! The functions of `libcuda.so.1` that the scenarios call, by name.

// UNSAFETY: loads a library and calls its functions with pointers of the scenarios.
#![expect(unsafe_code, reason = "the API is one of C")]
#![expect(non_snake_case, reason = "the names are the API's")]

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;

/// An opaque handle.
pub type Handle = usize;
/// A device pointer.
pub type Ptr = u64;

macro_rules! functions {
    ($($name:ident($($param:ident: $kind:ty),*);)+) => {
        /// The library and its functions.
        #[derive(Debug)]
        pub struct Cuda { library: Library, $($name: unsafe extern "C" fn($($kind),*) -> c_int,)+ }

        impl Cuda {
            /// Loads it by the name that programs use.
            ///
            /// # Panics
            /// When it is not there, or lacks a function.
            #[must_use]
            pub fn load() -> Self {
                // SAFETY: the library does nothing when it is loaded.
                let library = unsafe { Library::new("libcuda.so.1") }.expect("libcuda.so.1 is on the library path");
                $(
                    let name = concat!(stringify!($name), "\0").as_bytes();
                    // SAFETY: the function has this signature: it is that of the header.
                    let $name = *unsafe { library.get::<unsafe extern "C" fn($($kind),*) -> c_int>(name) }
                        .expect(stringify!($name));
                )+
                Self { library, $($name,)+ }
            }

            $(
                /// The function of this name; its result.
                #[allow(clippy::too_many_arguments, reason = "the signature is the API's")]
                #[allow(clippy::not_unsafe_ptr_arg_deref, reason = "scenarios pass pointers to their own variables")]
                pub fn $name(&self, $($param: $kind),*) -> c_int {
                    // SAFETY: scenarios pass pointers to live variables of their own that are as large as the function needs.
                    unsafe { (self.$name)($($param),*) }
                }
            )+
        }
    };
}

functions! {
    cuInit(flags: c_uint);
    cuDriverGetVersion(version: *mut c_int);
    cuDeviceGetCount(count: *mut c_int);
    cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int);
    cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int);
    cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int);
    cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int);
    cuDevicePrimaryCtxRelease_v2(device: c_int);
    cuDevicePrimaryCtxGetState(device: c_int, flags: *mut c_uint, active: *mut c_int);
    cuCtxCreate_v2(context: *mut Handle, flags: c_uint, device: c_int);
    cuCtxDestroy_v2(context: Handle);
    cuCtxSetCurrent(context: Handle);
    cuCtxGetCurrent(context: *mut Handle);
    cuCtxPopCurrent_v2(context: *mut Handle);
    cuCtxSynchronize();
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    cuMemAlloc_v2(ptr: *mut Ptr, bytes: usize);
    cuMemAllocPitch_v2(ptr: *mut Ptr, pitch: *mut usize, width: usize, height: usize, element: c_uint);
    cuMemFree_v2(ptr: Ptr);
    cuMemHostAlloc(ptr: *mut *mut c_void, bytes: usize, flags: c_uint);
    cuMemFreeHost(ptr: *mut c_void);
    cuMemHostGetDevicePointer_v2(ptr: *mut Ptr, host: *mut c_void, flags: c_uint);
    cuMemHostRegister_v2(host: *mut c_void, bytes: usize, flags: c_uint);
    cuMemHostUnregister(host: *mut c_void);
    cuMemAllocManaged(ptr: *mut Ptr, bytes: usize, flags: c_uint);
    cuMemcpyHtoD_v2(to: Ptr, from: *const c_void, bytes: usize);
    cuMemcpyDtoH_v2(to: *mut c_void, from: Ptr, bytes: usize);
    cuMemcpyDtoD_v2(to: Ptr, from: Ptr, bytes: usize);
    cuMemcpyHtoDAsync_v2(to: Ptr, from: *const c_void, bytes: usize, stream: Handle);
    cuMemcpyDtoHAsync_v2(to: *mut c_void, from: Ptr, bytes: usize, stream: Handle);
    cuMemcpyDtoDAsync_v2(to: Ptr, from: Ptr, bytes: usize, stream: Handle);
    cuMemcpy2D_v2(copy: *const [u64; 16]);
    cuMemsetD8_v2(to: Ptr, value: u8, count: usize);
    cuMemsetD32_v2(to: Ptr, value: c_uint, count: usize);
    cuMemsetD32Async(to: Ptr, value: c_uint, count: usize, stream: Handle);
    cuPointerGetAttribute(data: *mut c_void, attribute: c_int, ptr: Ptr);
    cuMemGetAddressRange_v2(base: *mut Ptr, bytes: *mut usize, ptr: Ptr);
    cuStreamCreate(stream: *mut Handle, flags: c_uint);
    cuStreamDestroy_v2(stream: Handle);
    cuStreamSynchronize(stream: Handle);
    cuStreamQuery(stream: Handle);
    cuStreamWaitEvent(stream: Handle, event: Handle, flags: c_uint);
    cuStreamBeginCapture_v2(stream: Handle, mode: c_int);
    cuStreamEndCapture(stream: Handle, graph: *mut Handle);
    cuStreamWriteValue32_v2(stream: Handle, at: Ptr, value: c_uint, flags: c_uint);
    cuStreamWaitValue32_v2(stream: Handle, at: Ptr, value: c_uint, flags: c_uint);
    cuLaunchHostFunc(stream: Handle, function: extern "C" fn(*mut c_void), data: *mut c_void);
    cuEventCreate(event: *mut Handle, flags: c_uint);
    cuEventDestroy_v2(event: Handle);
    cuEventRecord(event: Handle, stream: Handle);
    cuEventQuery(event: Handle);
    cuEventSynchronize(event: Handle);
    cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle);
    cuModuleLoadData(module: *mut Handle, image: *const c_void);
    cuModuleLoadDataEx(module: *mut Handle, image: *const c_void, count: c_uint, options: *mut c_int, values: *mut *mut c_void);
    cuModuleUnload(module: Handle);
    cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char);
    cuModuleGetGlobal_v2(ptr: *mut Ptr, bytes: *mut usize, module: Handle, name: *const c_char);
    cuLibraryLoadData(library: *mut Handle, code: *const c_void, options: *mut c_int, values: *mut *mut c_void, count: c_uint, library_options: *mut c_int, library_values: *mut *mut c_void, library_count: c_uint);
    cuLibraryGetKernel(kernel: *mut Handle, library: Handle, name: *const c_char);
    cuLibraryUnload(library: Handle);
    cuLinkCreate_v2(count: c_uint, options: *mut c_int, values: *mut *mut c_void, state: *mut Handle);
    cuLinkAddData_v2(state: Handle, kind: c_int, data: *const c_void, bytes: usize, name: *const c_char, count: c_uint, options: *mut c_int, values: *mut *mut c_void);
    cuLinkComplete(state: Handle, cubin: *mut *mut c_void, bytes: *mut usize);
    cuLinkDestroy(state: Handle);
    cuLaunchKernel(function: Handle, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint, block_z: c_uint, shared: c_uint, stream: Handle, params: *mut *mut c_void, extra: *mut *mut c_void);
    cuMemAllocAsync(ptr: *mut Ptr, bytes: usize, stream: Handle);
    cuMemFreeAsync(ptr: Ptr, stream: Handle);
    cuDeviceGetDefaultMemPool(pool: *mut Handle, device: c_int);
    cuMemPoolGetAttribute(pool: Handle, attribute: c_int, value: *mut c_void);
    cuMemPoolCreate(pool: *mut Handle, props: *const [u64; 11]);
    cuMemPoolDestroy(pool: Handle);
    cuMemPoolExportToShareableHandle(out: *mut c_void, pool: Handle, kind: c_int, flags: u64);
    cuMemPoolImportFromShareableHandle(pool: *mut Handle, os_handle: *mut c_void, kind: c_int, flags: u64);
    cuMemPoolExportPointer(data: *mut [u8; 64], ptr: Ptr);
    cuMemPoolImportPointer(ptr: *mut Ptr, pool: Handle, data: *mut [u8; 64]);
    cuMemAllocFromPoolAsync(ptr: *mut Ptr, bytes: usize, pool: Handle, stream: Handle);
    cuGraphCreate(graph: *mut Handle, flags: c_uint);
    cuGraphDestroy(graph: Handle);
    cuGraphAddKernelNode_v2(node: *mut Handle, graph: Handle, before: *const Handle, count: usize, params: *const [u64; 9]);
    cuGraphAddMemsetNode(node: *mut Handle, graph: Handle, before: *const Handle, count: usize, params: *const [u64; 5], context: Handle);
    cuGraphAddMemcpyNode(node: *mut Handle, graph: Handle, before: *const Handle, count: usize, params: *const [u64; 25], context: Handle);
    cuGraphConditionalHandleCreate(handle: *mut u64, graph: Handle, context: Handle, default: c_uint, flags: c_uint);
    cuGraphAddNode(node: *mut Handle, graph: Handle, before: *const Handle, count: usize, params: *mut [u64; 32]);
    cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: *mut usize);
    cuGraphInstantiateWithFlags(exec: *mut Handle, graph: Handle, flags: u64);
    cuGraphExecKernelNodeSetParams_v2(exec: Handle, node: Handle, params: *const [u64; 9]);
    cuGraphExecUpdate_v2(exec: Handle, graph: Handle, info: *mut [u64; 3]);
    cuGraphLaunch(exec: Handle, stream: Handle);
    cuGraphExecDestroy(exec: Handle);
    cuMemAddressReserve(ptr: *mut Ptr, bytes: usize, alignment: usize, wanted: Ptr, flags: u64);
    cuMemAddressFree(ptr: Ptr, bytes: usize);
    cuMemCreate(handle: *mut u64, bytes: usize, prop: *const [u32; 8], flags: u64);
    cuMemRelease(handle: u64);
    cuMemMap(ptr: Ptr, bytes: usize, offset: usize, handle: u64, flags: u64);
    cuMemUnmap(ptr: Ptr, bytes: usize);
    cuMemExportToShareableHandle(out: *mut c_void, handle: u64, kind: c_int, flags: u64);
    cuMemImportFromShareableHandle(handle: *mut u64, os_handle: *mut c_void, kind: c_int);
    cuIpcGetMemHandle(handle: *mut [u8; 64], ptr: Ptr);
    cuIpcOpenMemHandle_v2(ptr: *mut Ptr, handle: Bytes64, flags: c_uint);
    cuIpcCloseMemHandle(ptr: Ptr);
    cuIpcGetEventHandle(handle: *mut [u8; 64], event: Handle);
    cuIpcOpenEventHandle(event: *mut Handle, handle: Bytes64);
    cuImportExternalMemory(memory: *mut Handle, desc: *const [u64; 13]);
    cuExternalMemoryGetMappedBuffer(ptr: *mut Ptr, memory: Handle, desc: *const [u64; 11]);
    cuDestroyExternalMemory(memory: Handle);
    cuImportExternalSemaphore(semaphore: *mut Handle, desc: *const [u64; 12]);
    cuSignalExternalSemaphoresAsync(names: *const Handle, params: *const [u64; 18], count: c_uint, stream: Handle);
    cuWaitExternalSemaphoresAsync(names: *const Handle, params: *const [u64; 18], count: c_uint, stream: Handle);
    cuDestroyExternalSemaphore(semaphore: Handle);
    cuGetErrorName(error: c_int, name: *mut *const c_char);
    cuGetProcAddress_v2(symbol: *const c_char, code: *mut *mut c_void, version: c_int, flags: u64, status: *mut c_int);
}

/// 64 bytes that are passed by value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes64(pub [u8; 64]);

impl Cuda {
    /// The name of an error.
    #[must_use]
    pub fn name(&self, error: c_int) -> String {
        let mut name = ptr::null();
        if self.cuGetErrorName(error, &raw mut name) != 0 {
            return error.to_string();
        }
        // SAFETY: the library answers with a string that stays where it is.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    /// Fails unless a call has succeeded.
    ///
    /// # Panics
    /// With the error's name when it has not.
    #[track_caller]
    pub fn ok(&self, result: c_int) {
        assert!(result == 0, "{}", self.name(result));
    }

    /// Unloads the library.
    ///
    /// # Panics
    /// When it cannot be closed.
    pub fn close(self) {
        self.library.close().expect("the library closes");
    }
}

/// Memory of the program at an address that the library gave out, as bytes.
#[must_use]
pub fn bytes_at(address: usize, len: usize) -> Vec<u8> {
    let from: *const u8 = ptr::with_exposed_provenance(address);
    // SAFETY: the library has said that so many bytes are there, and nothing writes to them now.
    unsafe { std::slice::from_raw_parts(from, len) }.to_vec()
}

/// A descriptor that the library gave out, as the program's own.
#[must_use]
pub fn owned(number: c_int) -> OwnedFd {
    // SAFETY: the library has opened it for the program, which takes it once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Writes to memory at an address that the library gave out.
pub fn write_at(address: usize, bytes: &[u8]) {
    let to: *mut u8 = ptr::with_exposed_provenance_mut(address);
    // SAFETY: the library has said that so many bytes are there, and nothing else uses them now.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
}

/// Forks; the child ends with what `child` answers as its status. Answers the child's status.
///
/// # Panics
/// When there is no child.
pub fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child calls the library under test and ends without returning; what it allocates is its own.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "a child");
    if pid == 0 {
        let status = child();
        // SAFETY: ends the child without running what the parent has registered.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: `status` is room for one status, and the child is ours.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
}

static AT_EXIT: OnceLock<fn()> = OnceLock::new();

extern "C" fn at_exit() {
    if let Some(run) = AT_EXIT.get() {
        run();
    }
}

/// Runs a function when the process ends. One registered before the library is used runs after the library's own.
pub fn when_over(run: fn()) {
    let _ = AT_EXIT.set(run);
    // SAFETY: the handler is a function of this program, which is there until it ends.
    unsafe { libc::atexit(at_exit) };
}

/// Ends the process at once, from a handler.
pub fn end(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}
