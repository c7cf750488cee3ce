//! Plain CUDA driver API: a device, a context on it, a module with a kernel.
//!
//! Everything unsafe of this program is in this module; what it gives is safe to use. Objects are destroyed when they are
//! dropped. What the driver says to that is not looked at: there is nothing left to do with it.

// UNSAFETY: every call of the driver.
#![expect(unsafe_code, reason = "plain CUDA, every call of which is unsafe in Rust")]

mod adder;
mod api;
mod memory;
mod stream;

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::ptr;

use anyhow::Context as _;
use anyhow::bail;

pub(crate) use self::adder::Adder;
pub(crate) use self::adder::Times;
use self::api::Api;
use self::api::DeviceNumber;
pub(crate) use self::api::Error;
use self::api::RawContext;
use self::api::RawFunction;
use self::api::RawModule;
use self::api::Status;

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const COMPUTE_CAPABILITY: [c_int; 2] = [75, 76];
/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT`.
const MULTIPROCESSORS: c_int = 16;
/// `CU_JIT_ERROR_LOG_BUFFER` and `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`.
const ERROR_LOG: [c_int; 2] = [5, 6];

/// One device of the driver.
#[derive(Clone, Copy)]
pub(crate) struct Device {
    api: Api,
    number: DeviceNumber,
}

impl Device {
    /// Loads the driver and finds a device.
    pub(crate) fn open(index: u32) -> anyhow::Result<Self> {
        let api = Api::load()?;
        // SAFETY: the call takes no pointers.
        api.check("cuInit", unsafe { (api.init)(0) })?;
        let mut count = 0;
        // SAFETY: the place to write to is alive.
        api.check("cuDeviceGetCount", unsafe { (api.device_count)(&raw mut count) })?;
        let index = c_int::try_from(index).ok().filter(|index| *index < count);
        let Some(index) = index else { bail!("there are {count} devices, numbered from 0") };
        let mut number = 0;
        // SAFETY: the place to write to is alive.
        api.check("cuDeviceGet", unsafe { (api.device)(&raw mut number, index) })?;
        Ok(Self { api, number })
    }

    /// The driver's version, such as 12090 for 12.9.
    pub(crate) fn driver_version(&self) -> Result<i32, Error> {
        let mut version = 0;
        // SAFETY: the place to write to is alive.
        self.api.check("cuDriverGetVersion", unsafe { (self.api.version)(&raw mut version) })?;
        Ok(version)
    }

    pub(crate) fn name(&self) -> Result<String, Error> {
        let mut name: [c_char; 256] = [0; 256];
        // SAFETY: the driver writes no more than the length given, with a NUL at the end.
        let done = unsafe { (self.api.device_name)(name.as_mut_ptr(), 256, self.number) };
        self.api.check("cuDeviceGetName", done)?;
        // SAFETY: the last byte is NUL at the latest: the array began as zeros and the driver ends what it writes with one.
        Ok(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// The UUID, as everybody writes it.
    pub(crate) fn uuid(&self) -> Result<String, Error> {
        let mut uuid = [0; 16];
        // SAFETY: the place to write to is alive, and a UUID is 16 bytes.
        self.api.check("cuDeviceGetUuid", unsafe { (self.api.device_uuid)(&raw mut uuid, self.number) })?;
        let digits = u128::from_be_bytes(uuid);
        let text = format!("{digits:032x}");
        Ok([&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-"))
    }

    pub(crate) fn compute_capability(&self) -> Result<(i32, i32), Error> {
        let [major, minor] = COMPUTE_CAPABILITY;
        Ok((self.attribute(major)?, self.attribute(minor)?))
    }

    pub(crate) fn multiprocessors(&self) -> Result<i32, Error> {
        self.attribute(MULTIPROCESSORS)
    }

    fn attribute(&self, attribute: c_int) -> Result<c_int, Error> {
        let mut value = 0;
        // SAFETY: the place to write to is alive.
        let done = unsafe { (self.api.device_attribute)(&raw mut value, attribute, self.number) };
        self.api.check("cuDeviceGetAttribute", done)?;
        Ok(value)
    }
}

/// The device's primary context, current in this thread; objects of the driver belong to it and are made and used here.
pub(crate) struct Context {
    api: Api,
    device: Device,
    /// A context is current in a thread, so this must not go to another.
    _raw: RawContext,
}

impl Context {
    pub(crate) fn new(device: Device) -> Result<Self, Error> {
        let api = device.api;
        let mut raw = RawContext::NULL;
        // SAFETY: the place to write to is alive.
        let done = unsafe { (api.retain_context)(&raw mut raw, device.number) };
        api.check("cuDevicePrimaryCtxRetain", done)?;
        let context = Self { api, device, _raw: raw };
        // SAFETY: the context was retained and is until `context` is dropped.
        api.check("cuCtxSetCurrent", unsafe { (api.set_context)(raw) })?;
        Ok(context)
    }

    /// Bytes of device memory that are free, and all.
    pub(crate) fn memory_bytes(&self) -> Result<(usize, usize), Error> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: both places to write to are alive.
        let done = unsafe { (self.api.memory_info)(&raw mut free, &raw mut total) };
        self.api.check("cuMemGetInfo", done)?;
        Ok((free, total))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the null context may always be made current.
        let _ = unsafe { (self.api.set_context)(RawContext::NULL) };
        // SAFETY: it was retained once; objects in it borrow `self` and are gone.
        let _ = unsafe { (self.api.release_context)(self.device.number) };
    }
}

/// Code that the driver compiled.
struct Module<'a> {
    context: &'a Context,
    raw: RawModule,
}

impl<'a> Module<'a> {
    /// Compiles PTX. What the compiler says of a mistake is part of the error.
    fn load(context: &'a Context, ptx: &CStr) -> anyhow::Result<Self> {
        let mut log = vec![0_u8; 8192];
        let mut options = ERROR_LOG;
        // Options come as pointers, also those that are numbers.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), ptr::without_provenance_mut(log.len())];
        let mut raw = RawModule::NULL;
        // SAFETY:
        // - The image is text with a NUL at the end.
        // - There are two options with two values: a buffer that lives until the end of this function, and its length.
        let done = unsafe {
            (context.api.load_module)(
                &raw mut raw,
                ptx.as_ptr().cast(),
                2,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        context.api.check("cuModuleLoadDataEx", done).with_context(|| {
            let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy().into_owned();
            if log.is_empty() { "the driver takes no PTX".to_owned() } else { log }
        })?;
        Ok(Self { context, raw })
    }

    /// The kernel of this name.
    fn function(&self, name: &CStr) -> Result<RawFunction, Error> {
        let mut function = RawFunction::NULL;
        // SAFETY: the place to write to and the name are alive, and the module is loaded.
        let done = unsafe { (self.context.api.function)(&raw mut function, self.raw, name.as_ptr()) };
        self.context.api.check("cuModuleGetFunction", done)?;
        Ok(function)
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        // SAFETY: the module is loaded, and its functions are not used without it.
        let _ = unsafe { (self.context.api.unload_module)(self.raw) };
    }
}

/// Whether the error says that the driver or a device is missing, and so what the user can do is to bring one.
pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<Error>() {
        Some(Error::Load(_)) => true,
        Some(Error::Call { status, .. }) => *status == Status::NO_DEVICE,
        None => false,
    }
}
