//! A CUDA driver of the host, called with values in place of pointers.
//!
//! *Invariants.* Every call but those of [`Driver::open`] wants a context that is current in the calling thread:
//! [`Driver::set_current`].

// UNSAFETY: calls foreign functions, with pointers to locals and to memory that callers have checked to be mapped.
#![expect(unsafe_code, reason = "a driver is foreign code behind function pointers")]

use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_void;
use std::fmt;
use std::path::Path;
use std::ptr;

use uuid::Uuid;

use super::library::Functions;
use super::library::Library;
use super::library::Maker;
use super::library::Memcpy2d;
use crate::failure::Fault;

/// A `CUresult` that is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CUDA error {0}")]
pub(super) struct Code(pub(super) i32);

/// `CUDA_ERROR_NOT_READY`.
const NOT_READY: i32 = 600;
/// `CUDA_ERROR_NOT_SUPPORTED`.
const NOT_SUPPORTED: Code = Code(801);
/// `CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP`.
const REGISTER_FLAGS: u32 = 3;
/// `CU_STREAM_NON_BLOCKING`: the guest orders streams by itself.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_BLOCKING_SYNC`.
const BLOCKING_SYNC: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING`.
const DISABLE_TIMING: u32 = 2;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const MAX_DYNAMIC_SHARED: i32 = 8;

fn ok(result: i32) -> Result<(), Code> {
    if result == 0 { Ok(()) } else { Err(Code(result)) }
}

macro_rules! handles {
    ($($(#[$meta:meta])* $name:ident;)+) => {
        $($(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct $name(usize);)+
    };
}

handles! {
    /// A context.
    ContextHandle;
    /// A stream.
    StreamHandle;
    /// An event.
    EventHandle;
    /// A module.
    ModuleHandle;
    /// A kernel.
    FunctionHandle;
}

/// Whether an event tells a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// It only completes.
    No,
    /// It does.
    Yes,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From memory of the guest that is mapped here to the device.
    ToDevice,
    /// Back.
    ToHost,
    /// Within the device.
    OnDevice,
    /// Within memory of the guest.
    OnHost,
}

/// Blocks, threads and shared memory of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shared_bytes: u32,
}

/// How the blocks of a grid run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Residency {
    /// In any order.
    Independent,
    /// All at once.
    Cooperative,
}

/// An image for the compiler and linker of the driver.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) kind: InputKind,
    pub(super) name: CString,
    /// Text ends with a zero.
    pub(super) bytes: Vec<u8>,
}

/// `CUjitInputType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputKind {
    Cubin,
    Ptx,
    FatBinary,
}

impl InputKind {
    fn number(self) -> i32 {
        match self {
            Self::Cubin => 0,
            Self::Ptx => 1,
            Self::FatBinary => 2,
        }
    }
}

/// Logs of the driver's compiler, with the room that there is for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Logs {
    pub(super) info: Vec<u8>,
    pub(super) error: Vec<u8>,
}

impl Logs {
    pub(super) fn with_room(bytes: usize) -> Self {
        Self { info: vec![0; bytes], error: vec![0; bytes] }
    }

    /// Cuts what was not written.
    pub(super) fn trim(&mut self) {
        for log in [&mut self.info, &mut self.error] {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            log.truncate(end);
        }
    }
}

/// `CUjit_option` lists over logs that outlive them.
struct JitOptions {
    options: Vec<i32>,
    values: Vec<*mut c_void>,
}

impl JitOptions {
    fn new(logs: &mut Logs, optimization: u32) -> Self {
        let number = |value: usize| ptr::without_provenance_mut::<c_void>(value);
        let mut options = vec![7];
        let mut values = vec![number(optimization as usize)];
        for (log, buffer, bytes) in [(&mut logs.info, 3, 4), (&mut logs.error, 5, 6)] {
            if !log.is_empty() {
                options.extend([buffer, bytes]);
                values.extend([log.as_mut_ptr().cast(), number(log.len())]);
            }
        }
        Self { options, values }
    }

    fn count(&self) -> u32 {
        self.options.len() as u32
    }
}

/// A device, as its driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) ordinal: i32,
    pub(super) uuid: Uuid,
    pub(super) name: String,
    pub(super) memory_bytes: u64,
}

/// A loaded driver.
#[derive(Clone, Copy)]
pub(super) struct Driver {
    api: Functions,
    pub(super) maker: Maker,
    /// 1000 * major + 10 * minor.
    pub(super) version: i32,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("version", &self.version).finish_non_exhaustive()
    }
}

fn host(address: u64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address as usize)
}

impl Driver {
    /// Loads and initialises a driver.
    ///
    /// # Errors
    /// When there is none, or it finds no device to work with.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Fault> {
        Self::over(Library::open(path)?)
    }

    pub(super) fn over(library: Library) -> Result<Self, Fault> {
        let Library { functions: api, maker } = library;
        // SAFETY: takes a number.
        ok(unsafe { (api.init)(0) }).map_err(|code| Fault::new("cuInit", code))?;
        let mut version = 0;
        // SAFETY: writes one number to a local.
        ok(unsafe { (api.driver_get_version)(&mut version) })
            .map_err(|code| Fault::new("cuDriverGetVersion", code))?;
        Ok(Self { api, maker, version })
    }

    /// The devices.
    ///
    /// # Errors
    /// What the driver says.
    pub(super) fn devices(&self) -> Result<Vec<Described>, Code> {
        let mut count = 0;
        // SAFETY: writes one number to a local.
        ok(unsafe { (self.api.device_get_count)(&mut count) })?;
        (0..count).map(|ordinal| self.describe(ordinal)).collect()
    }

    fn describe(&self, ordinal: i32) -> Result<Described, Code> {
        let mut device = 0;
        // SAFETY: writes one number to a local.
        ok(unsafe { (self.api.device_get)(&mut device, ordinal) })?;
        let mut name = [0_u8; 256];
        // SAFETY: writes at most 256 bytes, with a final zero, to a local of 256 bytes.
        ok(unsafe { (self.api.device_get_name)(name.as_mut_ptr().cast::<c_char>(), 256, device) })?;
        let mut uuid = [0_u8; 16];
        // SAFETY: writes 16 bytes to a local.
        ok(unsafe { (self.api.device_get_uuid)(&mut uuid, device) })?;
        let mut bytes = 0_usize;
        // SAFETY: writes one number to a local.
        ok(unsafe { (self.api.device_total_mem)(&mut bytes, device) })?;
        let name = CStr::from_bytes_until_nul(&name).map(CStr::to_string_lossy).unwrap_or_default();
        Ok(Described {
            ordinal: device,
            uuid: Uuid::from_bytes(uuid),
            name: name.into_owned(),
            memory_bytes: bytes as u64,
        })
    }

    /// An attribute of a device; `None` where the driver does not know it.
    pub(super) fn attribute(&self, attribute: u32, device: i32) -> Option<i32> {
        let mut value = 0;
        let attribute = i32::try_from(attribute).ok()?;
        // SAFETY: writes one number to a local.
        ok(unsafe { (self.api.device_get_attribute)(&mut value, attribute, device) }).ok()?;
        Some(value)
    }

    /// Makes a context, current in the calling thread.
    pub(super) fn create_context(&self, device: i32) -> Result<ContextHandle, Code> {
        let mut context = 0;
        // SAFETY: writes one handle to a local.
        ok(unsafe { (self.api.ctx_create)(&mut context, 0, device) })?;
        Ok(ContextHandle(context))
    }

    /// Ends a context, with everything in it.
    pub(super) fn destroy_context(&self, context: ContextHandle) -> Result<(), Code> {
        // SAFETY: the handle is one that this driver gave out, and is given back once, by its owner.
        ok(unsafe { (self.api.ctx_destroy)(context.0) })
    }

    /// Makes a context current in the calling thread.
    pub(super) fn set_current(&self, context: ContextHandle) -> Result<(), Code> {
        // SAFETY: the handle is alive: its owner ends it when no thread uses it any more.
        ok(unsafe { (self.api.ctx_set_current)(context.0) })
    }

    /// Sets a `CUlimit`.
    pub(super) fn set_limit(&self, limit: u32, value: u64) -> Result<(), Code> {
        // SAFETY: takes numbers, which the driver judges.
        ok(unsafe { (self.api.ctx_set_limit)(limit.cast_signed(), value as usize) })
    }

    /// Allocates device memory.
    pub(super) fn allocate(&self, bytes: u64) -> Result<u64, Code> {
        let mut address = 0;
        // SAFETY: writes one address to a local.
        ok(unsafe { (self.api.mem_alloc)(&mut address, bytes as usize) })?;
        Ok(address)
    }

    /// Frees device memory.
    pub(super) fn free(&self, address: u64) -> Result<(), Code> {
        // SAFETY: device memory is no memory of this process; the driver judges the address.
        ok(unsafe { (self.api.mem_free)(address) })
    }

    /// Has mapped memory of this process pinned, and seen by the device at the same address.
    pub(super) fn register(&self, address: u64, bytes: u64) -> Result<(), Code> {
        // SAFETY: the caller has mapped the bytes, unregisters them before it unmaps them, and no Rust reference points there.
        ok(unsafe { (self.api.mem_host_register)(host(address), bytes as usize, REGISTER_FLAGS) })
    }

    /// Ends [`Self::register`].
    pub(super) fn unregister(&self, address: u64) -> Result<(), Code> {
        // SAFETY: takes an address, which the driver looks up among those that are registered.
        ok(unsafe { (self.api.mem_host_unregister)(host(address)) })
    }

    /// Copies bytes in the order of a stream. Addresses on the host's side are mapped.
    pub(super) fn copy(
        &self,
        way: Way,
        to: u64,
        from: u64,
        bytes: u64,
        stream: StreamHandle,
    ) -> Result<(), Code> {
        let (api, bytes, stream) = (&self.api, bytes as usize, stream.0);
        ok(match way {
            Way::ToDevice => {
                // SAFETY: the caller has checked that the source is mapped; it is unmapped when no queued work uses it.
                unsafe { (api.memcpy_to_device)(to, host(from), bytes, stream) }
            }
            Way::ToHost => {
                // SAFETY: the caller has checked that the destination is mapped; no Rust reference points there.
                unsafe { (api.memcpy_to_host)(host(to), from, bytes, stream) }
            }
            Way::OnDevice => {
                // SAFETY: touches device memory only, which the driver judges.
                unsafe { (api.memcpy_on_device)(to, from, bytes, stream) }
            }
            Way::OnHost => {
                // SAFETY: the caller has checked that both sides are mapped; no Rust reference points there.
                unsafe { (api.memcpy)(to, from, bytes, stream) }
            }
        })
    }

    /// Copies rows in the order of a stream. Addresses on the host's side are mapped.
    pub(super) fn copy_rows(&self, copy: &Memcpy2d, stream: StreamHandle) -> Result<(), Code> {
        // SAFETY: reads the description during the call; the caller has checked that what it names on the host's side is mapped.
        ok(unsafe { (self.api.memcpy_2d)(copy, stream.0) })
    }

    /// Fills device memory, or registered memory, in the order of a stream.
    pub(super) fn fill(
        &self,
        to: u64,
        value: u32,
        unit_bytes: u64,
        count: u64,
        stream: StreamHandle,
    ) -> Result<(), Code> {
        let (api, count, stream) = (&self.api, count as usize, stream.0);
        ok(match unit_bytes {
            // SAFETY: touches memory of the device only, which the driver judges.
            1 => unsafe { (api.memset_8)(to, value as u8, count, stream) },
            // SAFETY: as above.
            2 => unsafe { (api.memset_16)(to, value as u16, count, stream) },
            // SAFETY: as above.
            _ => unsafe { (api.memset_32)(to, value, count, stream) },
        })
    }

    /// Fills rows.
    pub(super) fn fill_rows(
        &self,
        rows: (u64, u64),
        value: u32,
        unit_bytes: u64,
        size: (u64, u64),
        stream: StreamHandle,
    ) -> Result<(), Code> {
        let (api, (to, pitch), (width, height)) = (&self.api, rows, size);
        let (pitch, width, height, stream) = (pitch as usize, width as usize, height as usize, stream.0);
        ok(match unit_bytes {
            // SAFETY: touches memory of the device only, which the driver judges.
            1 => unsafe { (api.memset_2d_8)(to, pitch, value as u8, width, height, stream) },
            // SAFETY: as above.
            2 => unsafe { (api.memset_2d_16)(to, pitch, value as u16, width, height, stream) },
            // SAFETY: as above.
            _ => unsafe { (api.memset_2d_32)(to, pitch, value, width, height, stream) },
        })
    }

    /// Writes a number in the order of a stream.
    pub(super) fn write_value(
        &self,
        to: u64,
        bytes: u64,
        value: u64,
        stream: StreamHandle,
    ) -> Result<(), Code> {
        if bytes == 4 {
            let write = self.api.stream_write_32.ok_or(NOT_SUPPORTED)?;
            // SAFETY: touches memory of the device only, which the driver judges.
            return ok(unsafe { write(stream.0, to, value as u32, 0) });
        }
        let write = self.api.stream_write_64.ok_or(NOT_SUPPORTED)?;
        // SAFETY: as above.
        ok(unsafe { write(stream.0, to, value, 0) })
    }

    /// Has a stream wait for a number; `compare` is the driver's `CUstreamWaitValue_flags`.
    pub(super) fn wait_value(
        &self,
        at: u64,
        bytes: u64,
        value: u64,
        compare: u32,
        stream: StreamHandle,
    ) -> Result<(), Code> {
        if bytes == 4 {
            let wait = self.api.stream_wait_32.ok_or(NOT_SUPPORTED)?;
            // SAFETY: reads memory of the device only, which the driver judges.
            return ok(unsafe { wait(stream.0, at, value as u32, compare) });
        }
        let wait = self.api.stream_wait_64.ok_or(NOT_SUPPORTED)?;
        // SAFETY: as above.
        ok(unsafe { wait(stream.0, at, value, compare) })
    }

    /// Loads one image.
    pub(super) fn load(
        &self,
        image: &Input,
        optimization: u32,
        logs: &mut Logs,
    ) -> Result<ModuleHandle, Code> {
        let mut module = 0;
        let mut jit = JitOptions::new(logs, optimization);
        let count = jit.count();
        let (options, values) = (jit.options.as_mut_ptr(), jit.values.as_mut_ptr());
        let bytes = image.bytes.as_ptr().cast::<c_void>();
        // SAFETY:
        // - the image's text ends with a zero, and a binary has passed `image_of`, which checks that it is as long as it says;
        // - options and values are lists of `count`, the buffers that they name are as long as they say and live in `logs`.
        ok(unsafe { (self.api.module_load)(&mut module, bytes, count, options, values) })?;
        Ok(ModuleHandle(module))
    }

    /// Links images and loads what comes of it.
    pub(super) fn link(
        &self,
        images: &mut [Input],
        optimization: u32,
        logs: &mut Logs,
    ) -> Result<ModuleHandle, Code> {
        let mut jit = JitOptions::new(logs, optimization);
        let count = jit.count();
        let mut state = 0;
        let (options, values) = (jit.options.as_mut_ptr(), jit.values.as_mut_ptr());
        // SAFETY: options and values are lists of `count`; they and the buffers that they name live until `link_destroy`.
        ok(unsafe { (self.api.link_create)(count, options, values, &mut state) })?;
        let module = self.link_with(state, images);
        // SAFETY: the state was made above and is given back once. What it holds has been loaded by now.
        let destroyed = ok(unsafe { (self.api.link_destroy)(state) });
        module.and_then(|module| destroyed.map(|()| module))
    }

    fn link_with(&self, state: usize, images: &mut [Input]) -> Result<ModuleHandle, Code> {
        for image in images {
            let (data, bytes) = (image.bytes.as_mut_ptr().cast::<c_void>(), image.bytes.len());
            let (kind, name) = (image.kind.number(), image.name.as_ptr());
            let add = self.api.link_add_data;
            // SAFETY: `bytes` bytes lie at `data`, the name ends with a zero, and no options are given.
            ok(unsafe { add(state, kind, data, bytes, name, 0, ptr::null_mut(), ptr::null_mut()) })?;
        }
        let (mut cubin, mut bytes) = (ptr::null_mut(), 0);
        // SAFETY: writes one pointer and one number to locals.
        ok(unsafe { (self.api.link_complete)(state, &mut cubin, &mut bytes) })?;
        let mut module = 0;
        let load = self.api.module_load;
        // SAFETY: what the linker made lives until its state is destroyed; no options are given.
        ok(unsafe { load(&mut module, cubin, 0, ptr::null_mut(), ptr::null_mut()) })?;
        Ok(ModuleHandle(module))
    }

    /// Unloads a module.
    pub(super) fn unload(&self, module: ModuleHandle) -> Result<(), Code> {
        // SAFETY: the handle is one that this driver gave out, and is given back once, by its owner.
        ok(unsafe { (self.api.module_unload)(module.0) })
    }

    /// The entries of a module with their names; `None` where the driver is too old to say.
    pub(super) fn functions(
        &self,
        module: ModuleHandle,
    ) -> Option<Result<Vec<(CString, FunctionHandle)>, Code>> {
        let count_of = self.api.module_function_count?;
        let list = self.api.module_functions?;
        let name_of = self.api.func_get_name?;
        let collect = || {
            let mut count = 0;
            // SAFETY: writes one number to a local; the module is alive.
            ok(unsafe { count_of(&mut count, module.0) })?;
            let mut handles = vec![0_usize; count as usize];
            // SAFETY: writes at most `count` handles, for which there is room.
            ok(unsafe { list(handles.as_mut_ptr(), count, module.0) })?;
            handles
                .into_iter()
                .map(|function| {
                    let mut name = ptr::null();
                    // SAFETY: writes one pointer to a local; the function is one of a module that is alive.
                    ok(unsafe { name_of(&mut name, function) })?;
                    // SAFETY: the driver's name ends with a zero and lives as long as the module.
                    let name = unsafe { CStr::from_ptr(name) };
                    Ok((name.to_owned(), FunctionHandle(function)))
                })
                .collect()
        };
        Some(collect()).filter(|found: &Result<_, Code>| *found != Err(NOT_SUPPORTED))
    }

    /// The entry of a module with a name.
    pub(super) fn function(&self, module: ModuleHandle, name: &CStr) -> Result<FunctionHandle, Code> {
        let mut function = 0;
        // SAFETY: writes one handle to a local; the name ends with a zero.
        ok(unsafe { (self.api.module_get_function)(&mut function, module.0, name.as_ptr()) })?;
        Ok(FunctionHandle(function))
    }

    /// Where a variable of a module lies, and its bytes.
    pub(super) fn global(&self, module: ModuleHandle, name: &CStr) -> Result<(u64, u64), Code> {
        let (mut address, mut bytes) = (0, 0_usize);
        // SAFETY: writes an address and a number to locals; the name ends with a zero.
        ok(unsafe { (self.api.module_get_global)(&mut address, &mut bytes, module.0, name.as_ptr()) })?;
        Ok((address, bytes as u64))
    }

    /// An attribute of an entry; 0 where the driver does not say.
    pub(super) fn function_attribute(&self, attribute: i32, function: FunctionHandle) -> u32 {
        let mut value = 0;
        // SAFETY: writes one number to a local.
        match ok(unsafe { (self.api.func_get_attribute)(&mut value, attribute, function.0) }) {
            Ok(()) => u32::try_from(value).unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// Offset and bytes of each parameter; `None` where the driver is too old to say.
    pub(super) fn parameters(&self, function: FunctionHandle) -> Option<Vec<(u32, u32)>> {
        /// More than any parameter block has room for.
        const MOST: usize = 4096;
        let info = self.api.func_get_param_info?;
        let mut parameters = Vec::new();
        for index in 0..MOST {
            let (mut offset, mut bytes) = (0_usize, 0_usize);
            // SAFETY: writes two numbers to locals.
            match ok(unsafe { info(function.0, index, &mut offset, &mut bytes) }) {
                Ok(()) => parameters.push((u32::try_from(offset).ok()?, u32::try_from(bytes).ok()?)),
                Err(NOT_SUPPORTED) => return None,
                // There is no parameter of this number.
                Err(_) => break,
            }
        }
        Some(parameters)
    }

    /// Starts a grid in the order of a stream. `params` holds each parameter, at `offsets`.
    pub(super) fn launch(
        &self,
        function: FunctionHandle,
        shape: Shape,
        residency: Residency,
        params: &mut [u8],
        offsets: &[(u32, u32)],
        stream: StreamHandle,
    ) -> Result<(), Code> {
        /// Without a word of the program, blocks have no more.
        const USUAL_SHARED: u32 = 48 << 10;
        let mut pointers: Vec<*mut c_void> = offsets
            .iter()
            .map(|(offset, bytes)| {
                let (start, bytes) = (*offset as usize, *bytes as usize);
                let parameter = start.checked_add(bytes).and_then(|end| params.get_mut(start..end));
                parameter.map(|parameter| parameter.as_mut_ptr().cast()).ok_or(Code(1))
            })
            .collect::<Result<_, _>>()?;
        if shape.shared_bytes > USUAL_SHARED {
            let bytes = i32::try_from(shape.shared_bytes).map_err(|_| Code(1))?;
            // SAFETY: takes numbers and a function that is alive.
            ok(unsafe { (self.api.func_set_attribute)(function.0, MAX_DYNAMIC_SHARED, bytes) })?;
        }
        let Shape { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes } = shape;
        let pointers = pointers.as_mut_ptr();
        ok(match residency {
            Residency::Independent => {
                let (launch, nothing) = (self.api.launch, ptr::null_mut());
                // SAFETY:
                // - the function is alive, and has the parameters that `offsets` names: both are of the same module;
                // - each pointer names a parameter's bytes, which are read during the call.
                unsafe {
                    launch(function.0, gx, gy, gz, bx, by, bz, shared_bytes, stream.0, pointers, nothing)
                }
            }
            Residency::Cooperative => {
                let launch = self.api.launch_cooperative;
                // SAFETY: as above.
                unsafe { launch(function.0, gx, gy, gz, bx, by, bz, shared_bytes, stream.0, pointers) }
            }
        })
    }

    /// Makes a stream.
    pub(super) fn create_stream(&self, priority: i32) -> Result<StreamHandle, Code> {
        let mut stream = 0;
        // SAFETY: writes one handle to a local.
        ok(unsafe { (self.api.stream_create)(&mut stream, NON_BLOCKING, priority) })?;
        Ok(StreamHandle(stream))
    }

    /// Ends a stream.
    pub(super) fn destroy_stream(&self, stream: StreamHandle) -> Result<(), Code> {
        // SAFETY: the handle is one that this driver gave out, and is given back once, by its owner.
        ok(unsafe { (self.api.stream_destroy)(stream.0) })
    }

    /// Has a stream wait for an event.
    pub(super) fn wait_event(&self, stream: StreamHandle, event: EventHandle) -> Result<(), Code> {
        // SAFETY: both handles are alive: their owners hold them.
        ok(unsafe { (self.api.stream_wait_event)(stream.0, event.0, 0) })
    }

    /// Makes an event.
    pub(super) fn create_event(&self, timing: Timing) -> Result<EventHandle, Code> {
        let flags = match timing {
            Timing::No => BLOCKING_SYNC | DISABLE_TIMING,
            Timing::Yes => BLOCKING_SYNC,
        };
        let mut event = 0;
        // SAFETY: writes one handle to a local.
        ok(unsafe { (self.api.event_create)(&mut event, flags) })?;
        Ok(EventHandle(event))
    }

    /// Puts an event on a stream; on the default one where none is named.
    pub(super) fn record(&self, event: EventHandle, stream: Option<StreamHandle>) -> Result<(), Code> {
        // SAFETY: both handles are alive: their owners hold them.
        ok(unsafe { (self.api.event_record)(event.0, stream.map_or(0, |stream| stream.0)) })
    }

    /// Whether an event is complete.
    pub(super) fn is_complete(&self, event: EventHandle) -> Result<bool, Code> {
        // SAFETY: the handle is alive: its owner holds it.
        match ok(unsafe { (self.api.event_query)(event.0) }) {
            Ok(()) => Ok(true),
            Err(Code(NOT_READY)) => Ok(false),
            Err(code) => Err(code),
        }
    }

    /// Waits until an event is complete.
    pub(super) fn wait(&self, event: EventHandle) -> Result<(), Code> {
        // SAFETY: the handle is alive: its owner holds it.
        ok(unsafe { (self.api.event_synchronize)(event.0) })
    }

    /// Milliseconds from one event to another.
    pub(super) fn elapsed_ms(&self, from: EventHandle, to: EventHandle) -> Result<f32, Code> {
        let mut milliseconds = 0.0;
        // SAFETY: writes one number to a local; both handles are alive.
        ok(unsafe { (self.api.event_elapsed)(&mut milliseconds, from.0, to.0) })?;
        Ok(milliseconds)
    }
}
