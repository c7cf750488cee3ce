//! The work: numbers to the device, a kernel that adds them, the sums back.

use std::ffi::CStr;
use std::ffi::c_void;
use std::ptr;

use super::Context;
use super::Module;
use super::api::Error;
use super::api::RawFunction;
use super::memory::DeviceMemory;
use super::memory::HostMemory;
use super::stream::Event;
use super::stream::Stream;

/// What clang made of vecadd.cu; the first line of that says how.
const PTX: &str = concat!(include_str!("../vecadd.ptx"), "\0");
const BLOCK: u32 = 256;

/// Everything that is needed to add two vectors again and again.
///
/// Fields are dropped in this order: what uses something comes before it.
pub(crate) struct Adder<'a> {
    context: &'a Context,
    stream: Stream<'a>,
    events: [Event<'a>; 4],
    add: RawFunction,
    _module: Module<'a>,
    device: [DeviceMemory<'a>; 3],
    host: [HostMemory<'a>; 3],
    count: u32,
}

/// How long the device took, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) copies_in: f64,
    pub(crate) kernel: f64,
    pub(crate) copy_out: f64,
}

impl<'a> Adder<'a> {
    pub(crate) fn new(context: &'a Context, count: u32) -> anyhow::Result<Self> {
        let module = Module::load(context, CStr::from_bytes_with_nul(PTX.as_bytes())?)?;
        let event = || Event::new(context);
        let device = || DeviceMemory::new(context, count);
        let host = || HostMemory::new(context, count);
        Ok(Self {
            context,
            stream: Stream::new(context)?,
            events: [event()?, event()?, event()?, event()?],
            add: module.function(c"add")?,
            _module: module,
            device: [device()?, device()?, device()?],
            host: [host()?, host()?, host()?],
            count,
        })
    }

    /// The two vectors to add.
    pub(crate) fn inputs(&mut self) -> [&mut [f32]; 2] {
        let [a, b, _] = &mut self.host;
        [a.numbers_mut(), b.numbers_mut()]
    }

    /// Their sum, once it was computed.
    pub(crate) fn sum(&self) -> &[f32] {
        self.host[2].numbers()
    }

    /// Computes the sum.
    pub(crate) fn add(&mut self) -> Result<Times, Error> {
        let queued = self.queue();
        // Waited for in any case: while there is work, the device may use the memory of the host.
        let done = self.stream.synchronize();
        queued.and(done)?;
        let [start, copied, added, end] = &self.events;
        Ok(Times {
            copies_in: copied.seconds_since(start)?,
            kernel: added.seconds_since(copied)?,
            copy_out: end.seconds_since(added)?,
        })
    }

    /// Gives the work to the stream. None of these calls waits for it.
    fn queue(&mut self) -> Result<(), Error> {
        let [start, copied, added, end] = &self.events;
        let [a, b, sum] = &self.device;
        let [host_a, host_b, host_sum] = &self.host;
        start.record(&self.stream)?;
        self.copy_in(a, host_a)?;
        self.copy_in(b, host_b)?;
        copied.record(&self.stream)?;
        self.launch(a, b, sum)?;
        added.record(&self.stream)?;
        self.copy_out(host_sum, sum)?;
        end.record(&self.stream)
    }

    fn copy_in(&self, to: &DeviceMemory<'_>, from: &HostMemory<'_>) -> Result<(), Error> {
        let api = &self.context.api;
        // SAFETY: both hold so many bytes, and `add` holds the numbers until the stream has done this.
        let done = unsafe {
            (api.copy_in)(to.address, from.numbers.as_ptr().cast(), to.size_bytes, self.stream.raw)
        };
        api.check("cuMemcpyHtoDAsync", done)
    }

    fn copy_out(&self, to: &HostMemory<'_>, from: &DeviceMemory<'_>) -> Result<(), Error> {
        let api = &self.context.api;
        // SAFETY: both hold so many bytes, and `add` holds the numbers, for itself alone, until the stream has done this.
        let done = unsafe {
            (api.copy_out)(to.numbers.as_ptr().cast(), from.address, from.size_bytes, self.stream.raw)
        };
        api.check("cuMemcpyDtoHAsync", done)
    }

    fn launch(
        &self,
        a: &DeviceMemory<'_>,
        b: &DeviceMemory<'_>,
        sum: &DeviceMemory<'_>,
    ) -> Result<(), Error> {
        let api = &self.context.api;
        // A pointer to each parameter, in the order and of the types that the kernel has. The call copies them.
        let place = |parameter: &u64| ptr::from_ref(parameter).cast_mut().cast::<c_void>();
        let count = ptr::from_ref(&self.count).cast_mut().cast();
        let mut parameters = [place(&a.address), place(&b.address), place(&sum.address), count];
        let blocks = self.count.div_ceil(BLOCK);
        // SAFETY:
        // - The kernel takes three addresses and a u32, and the pointers to them are alive.
        // - It reads and writes `count` numbers at these addresses, and memory for so many is there until the stream is done.
        let done = unsafe {
            (api.launch)(
                self.add,
                blocks,
                1,
                1,
                BLOCK,
                1,
                1,
                0,
                self.stream.raw,
                parameters.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        api.check("cuLaunchKernel", done)
    }
}
