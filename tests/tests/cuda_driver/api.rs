//! The driver API, as a program sees it that loads `libcuda.so.1` at run time.

// UNSAFETY: calls functions of a library that is loaded by path.
#![expect(unsafe_code, reason = "the driver API is C")]

use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_void;
use std::path::Path;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

macro_rules! functions {
    ($($name:ident = $symbol:literal ($($arg:ident: $ty:ty),* $(,)?);)+) => {
        /// The functions.
        pub(crate) struct Functions {
            $($name: unsafe extern "C" fn($($ty),*) -> i32,)+
        }

        impl Functions {
            fn load(path: &Path) -> Self {
                // SAFETY: loading runs the library's constructors, which only remember that they ran.
                let library = unsafe { libloading::Library::new(path) }.unwrap();
                let library: &'static libloading::Library = Box::leak(Box::new(library));
                Self {
                    $($name: {
                        // SAFETY: the symbol of that name has that signature in this interface.
                        *unsafe { library.get(concat!($symbol, "\0").as_bytes()) }.unwrap()
                    },)+
                }
            }

            $(#[allow(clippy::too_many_arguments, reason = "some functions have many")]
            fn $name(&self, $($arg: $ty),*) -> i32 {
                // SAFETY: pointers name locals of the callers below, which outlive what the call does with them.
                unsafe { (self.$name)($($arg),*) }
            })+
        }
    };
}

functions! {
    init = "cuInit" (flags: u32);
    device = "cuDeviceGet" (at: *mut i32, ordinal: i32);
    attribute = "cuDeviceGetAttribute" (at: *mut i32, attribute: i32, device: i32);
    ctx_create = "cuCtxCreate_v2" (at: *mut usize, flags: u32, device: i32);
    ctx_sync = "cuCtxSynchronize" ();
    info = "cuMemGetInfo_v2" (free: *mut usize, total: *mut usize);
    alloc = "cuMemAlloc_v2" (at: *mut u64, bytes: usize);
    free = "cuMemFree_v2" (at: u64);
    alloc_managed = "cuMemAllocManaged" (at: *mut u64, bytes: usize, flags: u32);
    reserve = "cuMemAddressReserve" (at: *mut u64, bytes: usize, alignment: usize, wanted: u64, flags: u64);
    ipc_handle = "cuIpcGetMemHandle" (handle: *mut [u8; 64], at: u64);
    alloc_async = "cuMemAllocAsync" (at: *mut u64, bytes: usize, stream: usize);
    free_async = "cuMemFreeAsync" (at: u64, stream: usize);
    alloc_host = "cuMemHostAlloc" (at: *mut *mut c_void, bytes: usize, flags: u32);
    free_host = "cuMemFreeHost" (at: *mut c_void);
    to_device = "cuMemcpyHtoD_v2" (to: u64, from: *const c_void, bytes: usize);
    to_host = "cuMemcpyDtoH_v2" (to: *mut c_void, from: u64, bytes: usize);
    on_device = "cuMemcpyDtoD_v2" (to: u64, from: u64, bytes: usize);
    to_device_async = "cuMemcpyHtoDAsync_v2" (to: u64, from: *const c_void, bytes: usize, stream: usize);
    to_host_async = "cuMemcpyDtoHAsync_v2" (to: *mut c_void, from: u64, bytes: usize, stream: usize);
    fill = "cuMemsetD32Async" (to: u64, value: u32, count: usize, stream: usize);
    module_load = "cuModuleLoadDataEx" (
        at: *mut usize, image: *const c_void, count: u32, options: *mut i32, values: *mut *mut c_void,
    );
    module_unload = "cuModuleUnload" (module: usize);
    function = "cuModuleGetFunction" (at: *mut usize, module: usize, name: *const c_char);
    global = "cuModuleGetGlobal_v2" (at: *mut u64, bytes: *mut usize, module: usize, name: *const c_char);
    launch = "cuLaunchKernel" (
        function: usize, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: usize,
        params: *mut *mut c_void, extra: *mut *mut c_void,
    );
    stream_create = "cuStreamCreate" (at: *mut usize, flags: u32);
    stream_sync = "cuStreamSynchronize" (stream: usize);
    stream_wait = "cuStreamWaitEvent" (stream: usize, event: usize, flags: u32);
    stream_destroy = "cuStreamDestroy_v2" (stream: usize);
    event_create = "cuEventCreate" (at: *mut usize, flags: u32);
    event_record = "cuEventRecord" (event: usize, stream: usize);
    event_sync = "cuEventSynchronize" (event: usize);
    call = "cuLaunchHostFunc" (stream: usize, function: extern "C" fn(*mut c_void), data: *mut c_void);
    event_elapsed = "cuEventElapsedTime" (at: *mut f32, from: usize, to: usize);
}

/// A context on the first device. Methods answer what the function gives, or its error.
pub(crate) struct Cuda {
    functions: Functions,
    device: i32,
}

type Answer<T> = Result<T, i32>;

fn ok(result: i32) -> Answer<()> {
    if result == 0 { Ok(()) } else { Err(result) }
}

static SUM: AtomicU32 = AtomicU32::new(0);

extern "C" fn add_to_sum(number: *mut c_void) {
    // SAFETY: the test hands in pinned memory of a number, which lives until all calls are over.
    let value = unsafe { number.cast::<u32>().read_volatile() };
    SUM.fetch_add(value, Ordering::SeqCst);
}

/// What calls have added.
pub(crate) fn sum_of_calls() -> u32 {
    SUM.load(Ordering::SeqCst)
}

/// Pinned memory of `u32`s.
pub(crate) struct Pinned {
    at: *mut u32,
    len: usize,
}

impl Pinned {
    pub(crate) fn read(&self) -> Vec<u32> {
        // SAFETY: so many aligned numbers were allocated; copies there are waited for first.
        (0..self.len).map(|at| unsafe { self.at.wrapping_add(at).read_volatile() }).collect()
    }

    pub(crate) fn write(&self, values: &[u32]) {
        for (at, value) in values.iter().enumerate().take(self.len) {
            // SAFETY: as above.
            unsafe { self.at.wrapping_add(at).write_volatile(*value) };
        }
    }
}

impl Cuda {
    /// Loads the library and makes a context.
    pub(crate) fn open(library: &Path) -> Self {
        let functions = Functions::load(library);
        assert_eq!(functions.init(0), 0, "cuInit");
        let (mut device, mut context) = (0, 0);
        assert_eq!(functions.device(&mut device, 0), 0, "cuDeviceGet");
        assert_eq!(functions.ctx_create(&mut context, 0, device), 0, "cuCtxCreate");
        Self { functions, device }
    }

    pub(crate) fn attribute(&self, attribute: i32) -> i32 {
        let mut value = 0;
        assert_eq!(self.functions.attribute(&mut value, attribute, self.device), 0);
        value
    }

    pub(crate) fn synchronize(&self) -> Answer<()> {
        ok(self.functions.ctx_sync())
    }

    pub(crate) fn free_bytes(&self) -> usize {
        let (mut free, mut total) = (0, 0);
        assert_eq!(self.functions.info(&mut free, &mut total), 0);
        free
    }

    pub(crate) fn alloc(&self, bytes: usize) -> Answer<u64> {
        let mut at = 0;
        ok(self.functions.alloc(&mut at, bytes)).map(|()| at)
    }

    pub(crate) fn free(&self, at: u64) -> Answer<()> {
        ok(self.functions.free(at))
    }

    pub(crate) fn alloc_managed(&self, bytes: usize) -> Answer<u64> {
        let mut at = 0;
        ok(self.functions.alloc_managed(&mut at, bytes, 1)).map(|()| at)
    }

    pub(crate) fn reserve(&self, bytes: usize) -> Answer<u64> {
        let mut at = 0;
        ok(self.functions.reserve(&mut at, bytes, 0, 0, 0)).map(|()| at)
    }

    pub(crate) fn ipc_handle(&self, of: u64) -> Answer<[u8; 64]> {
        let mut handle = [0; 64];
        ok(self.functions.ipc_handle(&mut handle, of)).map(|()| handle)
    }

    pub(crate) fn alloc_async(&self, bytes: usize, stream: usize) -> Answer<u64> {
        let mut at = 0;
        ok(self.functions.alloc_async(&mut at, bytes, stream)).map(|()| at)
    }

    pub(crate) fn free_async(&self, at: u64, stream: usize) -> Answer<()> {
        ok(self.functions.free_async(at, stream))
    }

    pub(crate) fn pinned(&self, len: usize) -> Pinned {
        let mut at = ptr::null_mut();
        assert_eq!(self.functions.alloc_host(&mut at, len * 4, 0), 0);
        Pinned { at: at.cast(), len }
    }

    pub(crate) fn free_pinned(&self, pinned: Pinned) -> Answer<()> {
        ok(self.functions.free_host(pinned.at.cast()))
    }

    pub(crate) fn write(&self, to: u64, values: &[u32]) -> Answer<()> {
        ok(self.functions.to_device(to, values.as_ptr().cast(), size_of_val(values)))
    }

    pub(crate) fn read(&self, from: u64, len: usize) -> Answer<Vec<u32>> {
        let mut values = vec![0_u32; len];
        ok(self.functions.to_host(values.as_mut_ptr().cast(), from, len * 4)).map(|()| values)
    }

    pub(crate) fn copy(&self, to: u64, from: u64, bytes: usize) -> Answer<()> {
        ok(self.functions.on_device(to, from, bytes))
    }

    pub(crate) fn write_pinned(&self, to: u64, from: &Pinned, stream: usize) -> Answer<()> {
        ok(self.functions.to_device_async(to, from.at.cast(), from.len * 4, stream))
    }

    pub(crate) fn read_pinned(&self, to: &Pinned, from: u64, stream: usize) -> Answer<()> {
        ok(self.functions.to_host_async(to.at.cast(), from, to.len * 4, stream))
    }

    pub(crate) fn fill(&self, to: u64, value: u32, count: usize, stream: usize) -> Answer<()> {
        ok(self.functions.fill(to, value, count, stream))
    }

    /// A module, or the error with what the log of errors says.
    pub(crate) fn load(&self, text: &str) -> Result<usize, (i32, String)> {
        let text = CString::new(text).unwrap();
        let mut log = vec![0_u8; 1024];
        let mut module = 0;
        // CU_JIT_ERROR_LOG_BUFFER and its size.
        let mut options = [5, 6];
        let mut values = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(log.len())];
        let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
        match self.functions.module_load(&mut module, text.as_ptr().cast(), 2, options, values) {
            0 => Ok(module),
            error => {
                let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                Err((error, String::from_utf8_lossy(&log[..end]).into_owned()))
            }
        }
    }

    pub(crate) fn load_binary(&self, image: &[u8]) -> Answer<usize> {
        let mut module = 0;
        let nothing = (ptr::null_mut(), ptr::null_mut());
        ok(self.functions.module_load(&mut module, image.as_ptr().cast(), 0, nothing.0, nothing.1))
            .map(|()| module)
    }

    /// Adds the first number of pinned memory to [`sum_of_calls`] when the stream comes to it.
    pub(crate) fn call(&self, stream: usize, of: &Pinned) -> Answer<()> {
        ok(self.functions.call(stream, add_to_sum, of.at.cast()))
    }

    pub(crate) fn unload(&self, module: usize) -> Answer<()> {
        ok(self.functions.module_unload(module))
    }

    pub(crate) fn function(&self, module: usize, name: &str) -> Answer<usize> {
        let name = CString::new(name).unwrap();
        let mut function = 0;
        ok(self.functions.function(&mut function, module, name.as_ptr())).map(|()| function)
    }

    pub(crate) fn global(&self, module: usize, name: &str) -> Answer<(u64, usize)> {
        let name = CString::new(name).unwrap();
        let (mut at, mut bytes) = (0, 0);
        ok(self.functions.global(&mut at, &mut bytes, module, name.as_ptr())).map(|()| (at, bytes))
    }

    /// Starts a grid in one dimension with parameters of 8 bytes each.
    pub(crate) fn launch(
        &self,
        function: usize,
        grid: u32,
        block: u32,
        params: &[u64],
        stream: usize,
    ) -> Answer<()> {
        let mut values = params.to_vec();
        let mut pointers: Vec<*mut c_void> =
            values.iter_mut().map(|value| ptr::from_mut(value).cast()).collect();
        let pointers = pointers.as_mut_ptr();
        ok(self.functions.launch(function, grid, 1, 1, block, 1, 1, 0, stream, pointers, ptr::null_mut()))
    }

    pub(crate) fn stream(&self) -> usize {
        let mut stream = 0;
        assert_eq!(self.functions.stream_create(&mut stream, 1), 0);
        stream
    }

    pub(crate) fn finish(&self, stream: usize) -> Answer<()> {
        ok(self.functions.stream_sync(stream))
    }

    pub(crate) fn wait(&self, stream: usize, event: usize) -> Answer<()> {
        ok(self.functions.stream_wait(stream, event, 0))
    }

    pub(crate) fn destroy_stream(&self, stream: usize) -> Answer<()> {
        ok(self.functions.stream_destroy(stream))
    }

    pub(crate) fn event(&self) -> usize {
        let mut event = 0;
        assert_eq!(self.functions.event_create(&mut event, 0), 0);
        event
    }

    pub(crate) fn record(&self, event: usize, stream: usize) -> Answer<()> {
        ok(self.functions.event_record(event, stream))
    }

    pub(crate) fn finish_event(&self, event: usize) -> Answer<()> {
        ok(self.functions.event_sync(event))
    }

    pub(crate) fn elapsed_ms(&self, from: usize, to: usize) -> Answer<f32> {
        let mut milliseconds = 0.0;
        ok(self.functions.event_elapsed(&mut milliseconds, from, to)).map(|()| milliseconds)
    }
}
