//! The few functions of `libcuda.so.1` that the bench measures.

// UNSAFETY: every call of the driver.
#![expect(unsafe_code, reason = "functions of a foreign library")]

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::ptr;
use std::ptr::NonNull;
use std::slice;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use libloading::Library;

type Status = c_uint;
type Handle = *mut c_void;

/// Declares the functions, and how they are found.
macro_rules! functions {
    ($($name:ident($($argument:ident: $ty:ty),*);)+) => {
        #[expect(non_snake_case, reason = "the names are the driver's")]
        struct Api {
            $($name: unsafe extern "C" fn($($argument: $ty),*) -> Status,)+
        }

        impl Api {
            fn find(library: &Library) -> Result<Self> {
                Ok(Self {
                    $(
                        // SAFETY: the driver's function of this name has these parameters and this result.
                        $name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }?,
                    )+
                })
            }
        }
    };
}

functions! {
    cuInit(flags: c_uint);
    cuGetErrorName(status: Status, name: *mut *const c_char);
    cuDeviceGet(device: *mut c_int, index: c_int);
    cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int);
    cuCtxSetCurrent(context: Handle);
    cuCtxSynchronize();
    cuModuleLoadData(module: *mut Handle, image: *const c_void);
    cuModuleUnload(module: Handle);
    cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char);
    cuMemAlloc_v2(address: *mut u64, size_bytes: usize);
    cuMemFree_v2(address: u64);
    cuMemHostAlloc(pointer: *mut *mut c_void, size_bytes: usize, flags: c_uint);
    cuMemcpyHtoD_v2(to: u64, from: *const c_void, size_bytes: usize);
    cuMemcpyDtoH_v2(to: *mut c_void, from: u64, size_bytes: usize);
    cuMemsetD8_v2(to: u64, value: u8, size_bytes: usize);
    cuLaunchKernel(
        function: Handle, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint, shared_bytes: c_uint, stream: Handle,
        parameters: *mut *mut c_void, extra: *mut *mut c_void
    );
    cuGraphCreate(graph: *mut Handle, flags: c_uint);
    cuGraphAddKernelNode_v2(
        node: *mut Handle, graph: Handle, before: *const Handle, count: usize, parameters: *const [u64; 9]
    );
    cuGraphInstantiateWithFlags(exec: *mut Handle, graph: Handle, flags: u64);
    cuGraphLaunch(exec: Handle, stream: Handle);
}

/// The first device, with its context current in this thread, for the life of the process.
pub(crate) struct Cuda {
    api: Api,
}

/// Code that was loaded.
#[derive(Clone, Copy)]
pub(crate) struct Module(Handle);

/// A kernel of a module that is loaded.
#[derive(Clone, Copy)]
pub(crate) struct Function(Handle);

/// A graph that can be launched.
#[derive(Clone, Copy)]
pub(crate) struct Graph(Handle);

/// How much of a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared_bytes: u32,
}

impl Cuda {
    pub(crate) fn open() -> Result<Self> {
        // SAFETY: the driver's initialisers may run at any time in any thread.
        let library = unsafe { Library::new("libcuda.so.1") }?;
        let cuda = Self { api: Api::find(&library)? };
        std::mem::forget(library);
        // SAFETY: the call takes no pointers.
        cuda.check("cuInit", unsafe { (cuda.api.cuInit)(0) })?;
        let mut device = 0;
        // SAFETY: the place to write to is alive.
        cuda.check("cuDeviceGet", unsafe { (cuda.api.cuDeviceGet)(&raw mut device, 0) })?;
        let mut context = ptr::null_mut();
        // SAFETY: the place to write to is alive.
        let done = unsafe { (cuda.api.cuDevicePrimaryCtxRetain)(&raw mut context, device) };
        cuda.check("cuDevicePrimaryCtxRetain", done)?;
        // SAFETY: the context was retained and is never released.
        cuda.check("cuCtxSetCurrent", unsafe { (cuda.api.cuCtxSetCurrent)(context) })?;
        Ok(cuda)
    }

    fn check(&self, call: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let mut name = ptr::null();
        // SAFETY: the place to write to is alive.
        let found = unsafe { (self.api.cuGetErrorName)(status, &raw mut name) };
        ensure!(found == 0 && !name.is_null(), "{call}: error {status}");
        // SAFETY: the driver gave a string that lasts as long as the driver.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        anyhow::bail!("{call}: {name} ({status})")
    }

    /// Loads PTX, which ends with a NUL.
    pub(crate) fn load(&self, ptx: &CStr) -> Result<Module> {
        let mut module = ptr::null_mut();
        // SAFETY: the place to write to is alive, and the text ends with a NUL.
        let done = unsafe { (self.api.cuModuleLoadData)(&raw mut module, ptx.as_ptr().cast()) };
        self.check("cuModuleLoadData", done)?;
        Ok(Module(module))
    }

    /// Ends the module and its functions.
    pub(crate) fn unload(&self, module: Module) -> Result<()> {
        // SAFETY: a module that was loaded. Using one of its functions later is an error of the driver's.
        self.check("cuModuleUnload", unsafe { (self.api.cuModuleUnload)(module.0) })
    }

    pub(crate) fn function(&self, module: Module, name: &str) -> Result<Function> {
        let name = CString::new(name)?;
        let mut function = ptr::null_mut();
        // SAFETY: the place to write to and the name are alive.
        let done = unsafe { (self.api.cuModuleGetFunction)(&raw mut function, module.0, name.as_ptr()) };
        self.check("cuModuleGetFunction", done).with_context(|| format!("{name:?}"))?;
        Ok(Function(function))
    }

    /// Memory of the device.
    pub(crate) fn allocate(&self, size_bytes: usize) -> Result<u64> {
        let mut address = 0;
        // SAFETY: the place to write to is alive.
        let done = unsafe { (self.api.cuMemAlloc_v2)(&raw mut address, size_bytes) };
        self.check("cuMemAlloc", done)?;
        Ok(address)
    }

    pub(crate) fn free(&self, address: u64) -> Result<()> {
        // SAFETY: the call takes no pointers of ours.
        self.check("cuMemFree", unsafe { (self.api.cuMemFree_v2)(address) })
    }

    /// Pinned memory of the host, zeroed, for the life of the process.
    pub(crate) fn pinned(&self, size_bytes: usize) -> Result<&'static mut [u8]> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the place to write to is alive.
        let done = unsafe { (self.api.cuMemHostAlloc)(&raw mut pointer, size_bytes, 0) };
        self.check("cuMemHostAlloc", done)?;
        let bytes = NonNull::new(pointer.cast::<u8>()).context("memory at no address")?;
        // SAFETY: the memory is ours alone and as large as that.
        unsafe { bytes.write_bytes(0, size_bytes) };
        // SAFETY: the bytes were written, are never freed, and no other reference to them is made.
        Ok(unsafe { slice::from_raw_parts_mut(bytes.as_ptr(), size_bytes) })
    }

    pub(crate) fn write(&self, to: u64, from: &[u8]) -> Result<()> {
        // SAFETY: the bytes are alive; the call returns when they were read.
        let done = unsafe { (self.api.cuMemcpyHtoD_v2)(to, from.as_ptr().cast(), from.len()) };
        self.check("cuMemcpyHtoD", done)
    }

    pub(crate) fn read(&self, from: u64, to: &mut [u8]) -> Result<()> {
        // SAFETY: the bytes are alive and ours alone; the call returns when they were written.
        let done = unsafe { (self.api.cuMemcpyDtoH_v2)(to.as_mut_ptr().cast(), from, to.len()) };
        self.check("cuMemcpyDtoH", done)
    }

    pub(crate) fn zero(&self, to: u64, size_bytes: usize) -> Result<()> {
        // SAFETY: the call takes no pointers of ours.
        self.check("cuMemsetD8", unsafe { (self.api.cuMemsetD8_v2)(to, 0, size_bytes) })
    }

    /// Queues a kernel; `parameters` are the bytes of each.
    pub(crate) fn launch(&self, function: Function, shape: &Shape, parameters: &[Vec<u8>]) -> Result<()> {
        let mut places: Vec<Handle> =
            parameters.iter().map(|bytes| bytes.as_ptr().cast_mut().cast()).collect();
        let Shape { grid, block, shared_bytes } = *shape;
        // SAFETY: there is a pointer to each parameter, alive and as long as the kernel says; all kernels of this bench work on
        // memory of the device only.
        let done = unsafe {
            (self.api.cuLaunchKernel)(
                function.0,
                grid[0],
                grid[1],
                grid[2],
                block[0],
                block[1],
                block[2],
                shared_bytes,
                ptr::null_mut(),
                places.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        self.check("cuLaunchKernel", done)
    }

    /// A graph of so many branches, each a chain of so many times the kernel.
    pub(crate) fn graph(
        &self,
        function: Function,
        shape: &Shape,
        parameters: &[Vec<u8>],
        [branches, length]: [usize; 2],
    ) -> Result<Graph> {
        let mut places: Vec<Handle> =
            parameters.iter().map(|bytes| bytes.as_ptr().cast_mut().cast()).collect();
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let Shape { grid: [x, y, z], block: [u, v, w], shared_bytes } = *shape;
        let list = places.as_mut_ptr().expose_provenance() as u64;
        let node = [
            function.0.expose_provenance() as u64,
            pair(x, y),
            pair(z, u),
            pair(v, w),
            u64::from(shared_bytes),
            list,
            0,
            0,
            0,
        ];
        let mut graph = ptr::null_mut();
        // SAFETY: the place to write to is alive.
        self.check("cuGraphCreate", unsafe { (self.api.cuGraphCreate)(&raw mut graph, 0) })?;
        for _ in 0..branches {
            let mut before = ptr::null_mut();
            for place in 0..length {
                let mut made = ptr::null_mut();
                let count = place.min(1);
                // SAFETY: the places to read and to write are alive, and there is a pointer to each parameter of the kernel.
                let done = unsafe {
                    (self.api.cuGraphAddKernelNode_v2)(
                        &raw mut made,
                        graph,
                        &raw const before,
                        count,
                        &raw const node,
                    )
                };
                self.check("cuGraphAddKernelNode", done)?;
                before = made;
            }
        }
        let mut exec = ptr::null_mut();
        // SAFETY: the place to write to is alive.
        let done = unsafe { (self.api.cuGraphInstantiateWithFlags)(&raw mut exec, graph, 0) };
        self.check("cuGraphInstantiate", done)?;
        Ok(Graph(exec))
    }

    /// Queues a graph.
    pub(crate) fn launch_graph(&self, graph: Graph) -> Result<()> {
        // SAFETY: the graph is never destroyed; its kernels work on memory of the device only.
        self.check("cuGraphLaunch", unsafe { (self.api.cuGraphLaunch)(graph.0, ptr::null_mut()) })
    }

    /// Waits for everything.
    pub(crate) fn synchronize(&self) -> Result<()> {
        // SAFETY: the call takes nothing.
        self.check("cuCtxSynchronize", unsafe { (self.api.cuCtxSynchronize)() })
    }
}
