//! What most scenarios begin with: a context, the kernels, memory.

use std::ffi::CString;
use std::ffi::c_void;
use std::ptr;

use crate::api::Cuda;
use crate::api::Handle;
use crate::api::Ptr;
use crate::kernels;

/// The library with a current context.
#[derive(Debug)]
pub struct Program {
    /// The functions.
    pub cuda: Cuda,
    /// The primary context.
    pub context: Handle,
}

impl Program {
    /// Begins.
    #[must_use]
    pub fn begin() -> Self {
        let cuda = Cuda::load();
        cuda.ok(cuda.cuInit(0));
        let mut context = 0;
        cuda.ok(cuda.cuDevicePrimaryCtxRetain(&raw mut context, 0));
        cuda.ok(cuda.cuCtxSetCurrent(context));
        Self { cuda, context }
    }

    /// Loads the kernels.
    #[must_use]
    pub fn module(&self) -> Handle {
        let text = CString::new(kernels::TEXT).unwrap_or_default();
        let mut module = 0;
        self.cuda.ok(self.cuda.cuModuleLoadData(&raw mut module, text.as_ptr().cast()));
        module
    }

    /// A kernel.
    #[must_use]
    pub fn function(&self, module: Handle, name: &str) -> Handle {
        let name = CString::new(name).unwrap_or_default();
        let mut function = 0;
        self.cuda.ok(self.cuda.cuModuleGetFunction(&raw mut function, module, name.as_ptr()));
        function
    }

    /// Device memory.
    #[must_use]
    pub fn alloc(&self, bytes: usize) -> Ptr {
        let mut at = 0;
        self.cuda.ok(self.cuda.cuMemAlloc_v2(&raw mut at, bytes));
        at
    }

    /// Copies numbers to the device.
    pub fn write<T>(&self, to: Ptr, values: &[T]) {
        self.cuda.ok(self.cuda.cuMemcpyHtoD_v2(to, values.as_ptr().cast(), size_of_val(values)));
    }

    /// Copies numbers from the device.
    #[must_use]
    pub fn read<T: Copy + Default>(&self, from: Ptr, count: usize) -> Vec<T> {
        let mut values = vec![T::default(); count];
        let bytes = size_of_val(values.as_slice());
        self.cuda.ok(self.cuda.cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), from, bytes));
        values
    }

    /// Launches one block.
    pub fn launch<const N: usize>(
        &self,
        function: Handle,
        threads: u32,
        stream: Handle,
        params: [*mut c_void; N],
    ) {
        let mut params = params;
        let result = self.cuda.cuLaunchKernel(
            function,
            1,
            1,
            1,
            threads,
            1,
            1,
            0,
            stream,
            params.as_mut_ptr(),
            ptr::null_mut(),
        );
        self.cuda.ok(result);
    }

    /// Scales numbers on the device.
    pub fn scale(&self, function: Handle, at: Ptr, factor: u32, count: u32, stream: Handle) {
        let (mut at, mut factor) = (at, factor);
        self.launch(function, count, stream, [(&raw mut at).cast(), (&raw mut factor).cast()]);
    }

    /// A stream.
    #[must_use]
    pub fn stream(&self, flags: u32) -> Handle {
        let mut stream = 0;
        self.cuda.ok(self.cuda.cuStreamCreate(&raw mut stream, flags));
        stream
    }

    /// An event.
    #[must_use]
    pub fn event(&self, flags: u32) -> Handle {
        let mut event = 0;
        self.cuda.ok(self.cuda.cuEventCreate(&raw mut event, flags));
        event
    }
}
