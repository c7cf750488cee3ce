//! The driver's functions, found by name in `libcuda.so.1`.
//!
//! The C headers rename functions by macros (`cuMemAlloc` is `cuMemAlloc_v2` in the library), so names here are those of the
//! library. A function that is missing is an error when the library is loaded, not when it is called.

// UNSAFETY: a foreign library is loaded, its functions get their types here, and its strings are read.
#![expect(unsafe_code, reason = "functions of a foreign library")]

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::ptr;

use libloading::Library;

/// What went wrong in the driver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no driver, or not all of it.
    #[error("there is no CUDA driver")]
    Load(#[from] libloading::Error),
    /// A call failed.
    #[error("{call}: {name} ({}): {text}", .status.0)]
    Call { call: &'static str, status: Status, name: String, text: String },
}

/// `CUresult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Status(pub(crate) c_uint);

impl Status {
    const SUCCESS: Self = Self(0);
    pub(crate) const NO_DEVICE: Self = Self(100);
}

/// `CUdeviceptr`.
pub(crate) type Address = u64;
/// `CUdevice`, a number from 0 on.
pub(crate) type DeviceNumber = c_int;

/// What a handle of the driver is: a pointer to something that only the driver knows.
macro_rules! handles {
    ($($(#[$meta:meta])* $name:ident)+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy, Debug)]
            #[repr(transparent)]
            pub(crate) struct $name(*mut c_void);

            impl $name {
                /// What a call is given to put the handle into.
                pub(crate) const NULL: Self = Self(ptr::null_mut());
            }
        )+
    };
}

handles! {
    /// `CUcontext`.
    RawContext
    /// `CUmodule`.
    RawModule
    /// `CUfunction`.
    RawFunction
    /// `CUstream`.
    RawStream
    /// `CUevent`.
    RawEvent
}

const LIBRARY: &str = "libcuda.so.1";

/// Declares the functions, and how they are loaded.
macro_rules! functions {
    ($($field:ident = $name:ident($($argument:ident: $ty:ty),*);)+) => {
        /// The functions of the driver that this program calls.
        #[derive(Clone, Copy)]
        pub(crate) struct Api {
            $(pub(crate) $field: unsafe extern "C" fn($($argument: $ty),*) -> Status,)+
        }

        impl Api {
            fn find(library: &Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    $(
                        // SAFETY: the driver's function of this name has these parameters and this result.
                        $field: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }?,
                    )+
                })
            }
        }
    };
}

functions! {
    init = cuInit(flags: c_uint);
    version = cuDriverGetVersion(version: *mut c_int);
    error_name = cuGetErrorName(status: Status, name: *mut *const c_char);
    error_text = cuGetErrorString(status: Status, text: *mut *const c_char);
    device_count = cuDeviceGetCount(count: *mut c_int);
    device = cuDeviceGet(device: *mut DeviceNumber, index: c_int);
    device_name = cuDeviceGetName(name: *mut c_char, length: c_int, device: DeviceNumber);
    device_uuid = cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: DeviceNumber);
    device_attribute = cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: DeviceNumber);
    retain_context = cuDevicePrimaryCtxRetain(context: *mut RawContext, device: DeviceNumber);
    release_context = cuDevicePrimaryCtxRelease_v2(device: DeviceNumber);
    set_context = cuCtxSetCurrent(context: RawContext);
    memory_info = cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    load_module = cuModuleLoadDataEx(
        module: *mut RawModule, image: *const c_void, count: c_uint, options: *mut c_int, values: *mut *mut c_void
    );
    unload_module = cuModuleUnload(module: RawModule);
    function = cuModuleGetFunction(function: *mut RawFunction, module: RawModule, name: *const c_char);
    allocate = cuMemAlloc_v2(address: *mut Address, size_bytes: usize);
    free = cuMemFree_v2(address: Address);
    allocate_host = cuMemHostAlloc(pointer: *mut *mut c_void, size_bytes: usize, flags: c_uint);
    free_host = cuMemFreeHost(pointer: *mut c_void);
    create_stream = cuStreamCreate(stream: *mut RawStream, flags: c_uint);
    destroy_stream = cuStreamDestroy_v2(stream: RawStream);
    synchronize = cuStreamSynchronize(stream: RawStream);
    create_event = cuEventCreate(event: *mut RawEvent, flags: c_uint);
    destroy_event = cuEventDestroy_v2(event: RawEvent);
    record = cuEventRecord(event: RawEvent, stream: RawStream);
    elapsed = cuEventElapsedTime(milliseconds: *mut f32, from: RawEvent, to: RawEvent);
    copy_in = cuMemcpyHtoDAsync_v2(to: Address, from: *const c_void, size_bytes: usize, stream: RawStream);
    copy_out = cuMemcpyDtoHAsync_v2(to: *mut c_void, from: Address, size_bytes: usize, stream: RawStream);
    launch = cuLaunchKernel(
        function: RawFunction, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint, shared_bytes: c_uint, stream: RawStream,
        parameters: *mut *mut c_void, extra: *mut *mut c_void
    );
}

impl Api {
    /// Loads the driver.
    pub(crate) fn load() -> Result<Self, Error> {
        // SAFETY: the driver's initialisers may run at any time in any thread.
        let library = unsafe { Library::new(LIBRARY) }?;
        let api = Self::find(&library)?;
        // A driver has threads and memory that outlive its last object, so it stays until the process ends.
        std::mem::forget(library);
        Ok(api)
    }

    /// Turns what a call returned into a result.
    pub(crate) fn check(&self, call: &'static str, status: Status) -> Result<(), Error> {
        if status == Status::SUCCESS {
            return Ok(());
        }
        let name = string(self.error_name, status).unwrap_or_else(|| "an unknown error".to_owned());
        let text = string(self.error_text, status).unwrap_or_else(|| "nothing is known of it".to_owned());
        Err(Error::Call { call, status, name, text })
    }
}

fn string(of: unsafe extern "C" fn(Status, *mut *const c_char) -> Status, status: Status) -> Option<String> {
    let mut text = ptr::null();
    // SAFETY: the place to write to is alive.
    let found = unsafe { of(status, &raw mut text) };
    if found != Status::SUCCESS || text.is_null() {
        return None;
    }
    // SAFETY: the driver gave a string that lasts as long as the driver, which is never unloaded.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
