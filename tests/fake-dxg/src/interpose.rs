//! The calls of the C library that are taken over.

// UNSAFETY: defines functions of the C library and calls the originals.
#![expect(unsafe_code, reason = "stands in for functions of the C library")]

use std::collections::HashMap;
use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_ulong;
use std::ffi::c_void;
use std::os::fd::IntoRawFd;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::LazyLock;

use dxg_wire::shm::create_sealed;
use parking_lot::Mutex;

use crate::device::FakeDevice;

static OPEN: LazyLock<Mutex<HashMap<RawFd, Arc<FakeDevice>>>> = LazyLock::new(Mutex::default);

type Open = unsafe extern "C" fn(*const c_char, c_int, libc::mode_t) -> c_int;
type Ioctl = unsafe extern "C" fn(c_int, c_ulong, *mut c_void) -> c_int;
type Close = unsafe extern "C" fn(c_int) -> c_int;

/// The next definition of a function, as an address.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: `name` is a C string; RTLD_NEXT is a valid handle for a library that was loaded.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

fn fail(errno: c_int) -> c_int {
    // SAFETY: the C library answers the address of this thread's errno, valid as long as the thread.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above; nothing else uses it while this thread is here.
    unsafe { *place = errno };
    -1
}

/// # Safety
/// `path` is a C string.
unsafe fn open_with(name: &CStr, path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller says that it is a C string.
    if unsafe { CStr::from_ptr(path) } == c"/dev/dxg" {
        // A descriptor of its own, so that everything but `ioctl` works on it as on any other.
        let Ok(placeholder) = create_sealed("fake-dxg", 4096) else { return fail(libc::ENOMEM) };
        let number = placeholder.into_raw_fd();
        OPEN.lock().insert(number, Arc::new(FakeDevice::new()));
        return number;
    }
    // SAFETY: `open` and `open64` have this signature where the mode is read at all.
    let original = unsafe { std::mem::transmute::<*mut c_void, Open>(next(name)) };
    // SAFETY: the arguments are those of the caller.
    unsafe { original(path, flags, mode) }
}

/// Stands in for `open`.
///
/// # Safety
/// As the original.
// SAFETY: the name is the C library's; this library is preloaded to take its place.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller keeps the requirements of the original.
    unsafe { open_with(c"open", path, flags, mode) }
}

/// Stands in for `open64`.
///
/// # Safety
/// As the original.
// SAFETY: the name is the C library's; this library is preloaded to take its place.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller keeps the requirements of the original.
    unsafe { open_with(c"open64", path, flags, mode) }
}

/// Stands in for `ioctl`.
///
/// # Safety
/// As the original.
// SAFETY: the name is the C library's; this library is preloaded to take its place.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    let device = OPEN.lock().get(&fd).cloned();
    match device {
        Some(device) => match device.ioctl(request, argument) {
            Ok(status) => status,
            Err(errno) => fail(errno),
        },
        None => {
            // SAFETY: `ioctl` takes a descriptor, a number and one more word.
            let original = unsafe { std::mem::transmute::<*mut c_void, Ioctl>(next(c"ioctl")) };
            // SAFETY: the arguments are those of the caller.
            unsafe { original(fd, request, argument) }
        }
    }
}

/// Stands in for `close`.
///
/// # Safety
/// As the original.
// SAFETY: the name is the C library's; this library is preloaded to take its place.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    drop(OPEN.lock().remove(&fd));
    // SAFETY: `close` takes a descriptor.
    let original = unsafe { std::mem::transmute::<*mut c_void, Close>(next(c"close")) };
    // SAFETY: the argument is the caller's.
    unsafe { original(fd) }
}
