//! Xlib: the connection behind a display.

// UNSAFETY: calls a function of a library that the program has loaded.
#![expect(unsafe_code, reason = "Xlib is C")]

use std::ffi::c_void;

use ash::vk;
use tracing::debug;

/// The connection of a display; it is the display's, which keeps it.
///
/// *Why not linked.* Who makes an Xlib surface has Xlib; the driver must load where there is none.
///
/// # Errors
/// `ERROR_INITIALIZATION_FAILED` without libX11-xcb.
///
/// # Safety
/// `display` is a live display of Xlib.
pub(super) unsafe fn connection(display: *mut c_void) -> Result<*mut c_void, vk::Result> {
    let missing = |error: libloading::Error| {
        debug!(%error, "an Xlib surface needs libX11-xcb.so.1 (Debian: libx11-xcb1)");
        vk::Result::ERROR_INITIALIZATION_FAILED
    };
    // SAFETY: a library of the system, whose constructors do nothing of note.
    let library = unsafe { libloading::Library::new("libX11-xcb.so.1") }.map_err(missing)?;
    // SAFETY: the function has this type.
    let get =
        unsafe { library.get::<unsafe extern "C" fn(*mut c_void) -> *mut c_void>(b"XGetXCBConnection\0") };
    let get = get.map_err(missing)?;
    // SAFETY: the caller passes a live display.
    let connection = unsafe { get(display) };
    if connection.is_null() { Err(vk::Result::ERROR_INITIALIZATION_FAILED) } else { Ok(connection) }
}
