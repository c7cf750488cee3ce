//! The functions of a host's `libcuda.so.1`, found by name.
//!
//! *Source.* Names and signatures are those of the published driver API; opaque handles are words of a pointer's size here.

// UNSAFETY: loads a foreign library and takes its symbols for functions.
#![expect(unsafe_code, reason = "a driver is foreign code behind symbols")]

use std::ffi::c_char;
use std::ffi::c_void;
use std::path::Path;

use crate::failure::Fault;

/// The name that NVIDIA's driver has on every system.
pub(super) const SONAME: &str = "libcuda.so.1";
/// What this project's own library has and no other.
const OWN_MARK: &[u8] = b"dxg_cuda_shim\0";

/// `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memcpy2d {
    pub(super) from: Side2d,
    pub(super) to: Side2d,
    pub(super) width_bytes: usize,
    pub(super) height: usize,
}

/// Half of a [`Memcpy2d`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side2d {
    pub(super) x_bytes: usize,
    pub(super) y: usize,
    pub(super) memory_type: u32,
    pub(super) reserved: u32,
    pub(super) host: usize,
    pub(super) device: u64,
    pub(super) array: usize,
    pub(super) pitch: usize,
}

const _: () = assert!(size_of::<Memcpy2d>() == 128 && size_of::<Side2d>() == 56);

macro_rules! functions {
    (
        needed { $($name:ident = $symbol:literal ($($arg:ty),* $(,)?);)+ }
        newer { $($new:ident = $new_symbol:literal ($($new_arg:ty),* $(,)?);)+ }
    ) => {
        /// Functions of a driver. Those that older drivers lack may be missing.
        #[derive(Clone, Copy)]
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($arg),*) -> i32,)+
            $(pub(super) $new: Option<unsafe extern "C" fn($($new_arg),*) -> i32>,)+
        }

        impl Functions {
            fn find(library: &libloading::Library) -> Result<Self, libloading::Error> {
                Ok(Self {
                    $($name: {
                        // SAFETY: in a library of this interface the symbol of that name has that signature.
                        *unsafe { library.get(concat!($symbol, "\0").as_bytes()) }?
                    },)+
                    $($new: {
                        // SAFETY: in a library of this interface the symbol of that name, if there, has that signature.
                        unsafe { library.get(concat!($new_symbol, "\0").as_bytes()) }.ok().map(|found| *found)
                    },)+
                })
            }
        }
    };
}

functions! {
    needed {
        init = "cuInit" (u32);
        driver_get_version = "cuDriverGetVersion" (*mut i32);
        device_get_count = "cuDeviceGetCount" (*mut i32);
        device_get = "cuDeviceGet" (*mut i32, i32);
        device_get_name = "cuDeviceGetName" (*mut c_char, i32, i32);
        device_get_uuid = "cuDeviceGetUuid" (*mut [u8; 16], i32);
        device_total_mem = "cuDeviceTotalMem_v2" (*mut usize, i32);
        device_get_attribute = "cuDeviceGetAttribute" (*mut i32, i32, i32);
        ctx_create = "cuCtxCreate_v2" (*mut usize, u32, i32);
        ctx_destroy = "cuCtxDestroy_v2" (usize);
        ctx_set_current = "cuCtxSetCurrent" (usize);
        ctx_set_limit = "cuCtxSetLimit" (i32, usize);
        mem_alloc = "cuMemAlloc_v2" (*mut u64, usize);
        mem_free = "cuMemFree_v2" (u64);
        mem_host_register = "cuMemHostRegister_v2" (*mut c_void, usize, u32);
        mem_host_unregister = "cuMemHostUnregister" (*mut c_void);
        memcpy = "cuMemcpyAsync" (u64, u64, usize, usize);
        memcpy_to_device = "cuMemcpyHtoDAsync_v2" (u64, *const c_void, usize, usize);
        memcpy_to_host = "cuMemcpyDtoHAsync_v2" (*mut c_void, u64, usize, usize);
        memcpy_on_device = "cuMemcpyDtoDAsync_v2" (u64, u64, usize, usize);
        memcpy_2d = "cuMemcpy2DAsync_v2" (*const Memcpy2d, usize);
        memset_8 = "cuMemsetD8Async" (u64, u8, usize, usize);
        memset_16 = "cuMemsetD16Async" (u64, u16, usize, usize);
        memset_32 = "cuMemsetD32Async" (u64, u32, usize, usize);
        memset_2d_8 = "cuMemsetD2D8Async" (u64, usize, u8, usize, usize, usize);
        memset_2d_16 = "cuMemsetD2D16Async" (u64, usize, u16, usize, usize, usize);
        memset_2d_32 = "cuMemsetD2D32Async" (u64, usize, u32, usize, usize, usize);
        module_load = "cuModuleLoadDataEx" (*mut usize, *const c_void, u32, *mut i32, *mut *mut c_void);
        module_unload = "cuModuleUnload" (usize);
        module_get_function = "cuModuleGetFunction" (*mut usize, usize, *const c_char);
        module_get_global = "cuModuleGetGlobal_v2" (*mut u64, *mut usize, usize, *const c_char);
        func_get_attribute = "cuFuncGetAttribute" (*mut i32, i32, usize);
        func_set_attribute = "cuFuncSetAttribute" (usize, i32, i32);
        link_create = "cuLinkCreate_v2" (u32, *mut i32, *mut *mut c_void, *mut usize);
        link_add_data = "cuLinkAddData_v2" (
            usize, i32, *mut c_void, usize, *const c_char, u32, *mut i32, *mut *mut c_void,
        );
        link_complete = "cuLinkComplete" (usize, *mut *mut c_void, *mut usize);
        link_destroy = "cuLinkDestroy" (usize);
        launch = "cuLaunchKernel" (
            usize, u32, u32, u32, u32, u32, u32, u32, usize, *mut *mut c_void, *mut *mut c_void,
        );
        launch_cooperative = "cuLaunchCooperativeKernel" (
            usize, u32, u32, u32, u32, u32, u32, u32, usize, *mut *mut c_void,
        );
        stream_create = "cuStreamCreateWithPriority" (*mut usize, u32, i32);
        stream_destroy = "cuStreamDestroy_v2" (usize);
        stream_wait_event = "cuStreamWaitEvent" (usize, usize, u32);
        event_create = "cuEventCreate" (*mut usize, u32);
        event_record = "cuEventRecord" (usize, usize);
        event_query = "cuEventQuery" (usize);
        event_synchronize = "cuEventSynchronize" (usize);
        event_elapsed = "cuEventElapsedTime" (*mut f32, usize, usize);
    }
    newer {
        module_function_count = "cuModuleGetFunctionCount" (*mut u32, usize);
        module_functions = "cuModuleEnumerateFunctions" (*mut usize, u32, usize);
        func_get_name = "cuFuncGetName" (*mut *const c_char, usize);
        func_get_param_info = "cuFuncGetParamInfo" (usize, usize, *mut usize, *mut usize);
        stream_write_32 = "cuStreamWriteValue32_v2" (usize, u64, u32, u32);
        stream_write_64 = "cuStreamWriteValue64_v2" (usize, u64, u64, u32);
        stream_wait_32 = "cuStreamWaitValue32_v2" (usize, u64, u32, u32);
        stream_wait_64 = "cuStreamWaitValue64_v2" (usize, u64, u64, u32);
    }
}

/// Whose library it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// A driver of the host.
    Other,
    /// This project: another daemon is behind it.
    Ours,
}

/// A library that stays loaded until the process ends, as drivers want to be.
#[derive(Clone, Copy)]
pub(super) struct Library {
    pub(super) functions: Functions,
    pub(super) maker: Maker,
}

impl Library {
    /// Loads the library at a path, or the one that the system has.
    ///
    /// # Errors
    /// When there is none, it lacks functions, or it is our own and was not asked for by path: a daemon behind itself
    /// would never answer.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Fault> {
        let name = path.unwrap_or(Path::new(SONAME));
        let fault = |error: &dyn std::fmt::Display| {
            Fault::new("open the CUDA library", format!("{}: {error}", name.display()))
        };
        // SAFETY: loading runs the library's constructors: it is the system's driver or what the administrator names, in a
        // process that holds nothing but the adapter.
        let library = unsafe { libloading::Library::new(name) }.map_err(|error| fault(&error))?;
        let library: &'static libloading::Library = Box::leak(Box::new(library));
        // SAFETY: only whether the symbol is there is of interest; nothing reads what it names.
        let mark = unsafe { library.get::<*const c_void>(OWN_MARK) };
        let maker = if mark.is_ok() { Maker::Ours } else { Maker::Other };
        if maker == Maker::Ours && path.is_none() {
            return Err(fault(&"it is this project's own"));
        }
        let functions = Functions::find(library).map_err(|error| fault(&error))?;
        Ok(Self { functions, maker })
    }
}
