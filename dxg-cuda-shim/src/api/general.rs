//! Initialisation, versions, errors, functions by name, profiler.

use std::ffi::CStr;

use crate::driver;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::ffi::pointers::Text;
use crate::generated::enums::CUdriverProcAddressQueryResult;
use crate::generated::enums::CUmoduleLoadingMode;
use crate::generated::enums::CUresult;
use crate::generated::structs::CUuuid;
use crate::procs;
use crate::procs::Found;
use crate::settings;
use crate::types::Answer;

/// Flag of `cuGetProcAddress`: the default stream is the thread's own.
const PER_THREAD_DEFAULT_STREAM: u64 = 2;

/// `cuInit`.
pub fn init(flags: u32) -> Answer {
    if flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    driver::initialise()
}

/// `cuDriverGetVersion`.
pub fn driver_version(version: Mut<i32>) -> Answer {
    version.set(settings::driver_version())
}

fn static_text(text: &'static CStr) -> Address {
    Address(text.as_ptr().expose_provenance())
}

/// `cuGetErrorName`.
pub fn error_name(error: CUresult, name: Mut<Address>) -> Answer {
    let found = error.name();
    name.set(found.map_or(Address::NULL, static_text))?;
    found.map(drop).ok_or(CUresult::ERROR_INVALID_VALUE)
}

/// `cuGetErrorString`.
pub fn error_string(error: CUresult, text: Mut<Address>) -> Answer {
    let found = error.name().map(|name| described(error).unwrap_or(name));
    text.set(found.map_or(Address::NULL, static_text))?;
    found.map(drop).ok_or(CUresult::ERROR_INVALID_VALUE)
}

/// What an error means, for people.
fn described(error: CUresult) -> Option<&'static CStr> {
    Some(match error {
        CUresult::SUCCESS => c"no error",
        CUresult::ERROR_INVALID_VALUE => c"invalid argument",
        CUresult::ERROR_OUT_OF_MEMORY => c"out of memory",
        CUresult::ERROR_NOT_INITIALIZED => c"the driver is not initialized",
        CUresult::ERROR_DEINITIALIZED => c"the driver is shutting down",
        CUresult::ERROR_DEVICE_UNAVAILABLE => c"the virtual GPU is gone or unavailable",
        CUresult::ERROR_NO_DEVICE => c"no virtual GPU is visible to this process",
        CUresult::ERROR_INVALID_DEVICE => c"invalid device ordinal",
        CUresult::ERROR_INVALID_IMAGE => c"the image of device code is invalid",
        CUresult::ERROR_INVALID_CONTEXT => c"no context is current, or it is invalid",
        CUresult::ERROR_NO_BINARY_FOR_GPU => c"the image holds no PTX that this device can run",
        CUresult::ERROR_INVALID_PTX => c"the PTX text was not accepted",
        CUresult::ERROR_UNSUPPORTED_PTX_VERSION => c"the PTX version is newer than this driver",
        CUresult::ERROR_FILE_NOT_FOUND => c"the file was not found",
        CUresult::ERROR_OPERATING_SYSTEM => c"a call of the operating system failed",
        CUresult::ERROR_INVALID_HANDLE => c"invalid handle",
        CUresult::ERROR_ILLEGAL_STATE => c"the object is in a state that forbids this",
        CUresult::ERROR_NOT_FOUND => c"the named symbol was not found",
        CUresult::ERROR_NOT_READY => c"the work is not complete",
        CUresult::ERROR_ILLEGAL_ADDRESS => c"a kernel accessed memory that is not there",
        CUresult::ERROR_LAUNCH_OUT_OF_RESOURCES => c"the launch needs more resources than a block may have",
        CUresult::ERROR_LAUNCH_TIMEOUT => c"a kernel ran for too long and was ended",
        CUresult::ERROR_CONTEXT_IS_DESTROYED => c"the context was destroyed",
        CUresult::ERROR_ASSERT => c"an assertion of a kernel failed",
        CUresult::ERROR_MISALIGNED_ADDRESS => c"a kernel accessed a misaligned address",
        CUresult::ERROR_INVALID_ADDRESS_SPACE => c"a kernel used an address of the wrong space",
        CUresult::ERROR_INVALID_PC => c"a kernel jumped to where no code is",
        CUresult::ERROR_LAUNCH_FAILED => c"a kernel failed",
        CUresult::ERROR_NOT_PERMITTED => c"the operation is not permitted",
        CUresult::ERROR_NOT_SUPPORTED => c"the operation is not supported",
        CUresult::ERROR_UNKNOWN => c"unknown error",
        _ => return None,
    })
}

/// `cuGetProcAddress_v2`.
pub fn proc_address_v2(
    symbol: Text,
    pfn: Mut<Address>,
    version: i32,
    flags: u64,
    status: Mut<CUdriverProcAddressQueryResult>,
) -> Answer {
    let name = symbol.bytes()?;
    pfn.given()?;
    let version = u32::try_from(version.min(settings::driver_version())).unwrap_or(0);
    let (address, state) = match procs::find(&String::from_utf8_lossy(&name), version) {
        Found::Form(form) => {
            let own = form.per_thread.filter(|_| flags & PER_THREAD_DEFAULT_STREAM != 0);
            let code = own.unwrap_or(form.code);
            (Address(code.0.expose_provenance()), CUdriverProcAddressQueryResult::SUCCESS)
        }
        Found::TooNew => (Address::NULL, CUdriverProcAddressQueryResult::VERSION_NOT_SUFFICIENT),
        Found::Nothing => (Address::NULL, CUdriverProcAddressQueryResult::SYMBOL_NOT_FOUND),
    };
    pfn.set(address)?;
    status.put(state);
    if address.is_null() { Err(CUresult::ERROR_NOT_FOUND) } else { Ok(()) }
}

/// `cuGetProcAddress`.
pub fn proc_address(symbol: Text, pfn: Mut<Address>, version: i32, flags: u64) -> Answer {
    proc_address_v2(symbol, pfn, version, flags, Mut::NULL)
}

/// `cuGetExportTable`: there are none.
pub fn export_table(table: Mut<Address>, _id: Ref<CUuuid>) -> Answer {
    table.put(Address::NULL);
    Err(CUresult::ERROR_NOT_FOUND)
}

/// `cuModuleGetLoadingMode`.
pub fn loading_mode(mode: Mut<CUmoduleLoadingMode>) -> Answer {
    driver::driver()?;
    mode.set(CUmoduleLoadingMode::EAGER_LOADING)
}

/// `cuProfilerInitialize`.
pub fn profiler_initialise(_config: Text, _output: Text, _mode: i32) -> Answer {
    driver::driver()?;
    Err(CUresult::ERROR_NOT_SUPPORTED)
}

/// `cuProfilerStart` and `cuProfilerStop`: nothing listens.
pub fn profiler() -> Answer {
    driver::driver().map(drop)
}

/// `cuFlushGPUDirectRDMAWrites`: every write is visible already.
pub fn flush_writes(
    _target: crate::generated::enums::CUflushGPUDirectRDMAWritesTarget,
    _scope: crate::generated::enums::CUflushGPUDirectRDMAWritesScope,
) -> Answer {
    crate::current::context().map(drop)
}
