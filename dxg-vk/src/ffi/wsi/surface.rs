//! Surfaces. A surface handle is a pointer to a [`Surface`].
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use std::ffi::c_ulong;
use std::ffi::c_void;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use parking_lot::Mutex;

use super::xcb;
use super::xlib;
use crate::ffi::guard::guard;
use crate::ffi::guard::guard_result;
use crate::ffi::pointers::put;
use crate::wsi::Window;
use crate::wsi::headless::Headless;

/// What a surface handle means.
#[derive(Debug)]
pub(super) struct Surface {
    pub(super) window: Arc<dyn Window>,
    /// The swapchain that has the window: its handle.
    pub(super) owner: Mutex<Option<vk::SwapchainKHR>>,
}

/// # Safety
/// `surface` is a live surface.
pub(super) unsafe fn surface_of<'a>(surface: vk::SurfaceKHR) -> &'a Surface {
    let pointer = surface.as_raw() as *const Surface;
    // SAFETY: the caller passes a live surface, which is a pointer that `publish` made from a box.
    unsafe { &*pointer }
}

/// # Safety
/// `to` is a place for the handle.
unsafe fn publish(window: Arc<dyn Window>, to: *mut vk::SurfaceKHR) {
    let pointer = Box::into_raw(Box::new(Surface { window, owner: Mutex::new(None) }));
    // SAFETY: the caller passes a place for the handle.
    unsafe { put(to, vk::SurfaceKHR::from_raw(pointer as u64)) };
}

/// `vkDestroySurfaceKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn destroy_surface(
    _instance: vk::Instance,
    surface: vk::SurfaceKHR,
    _allocator: *const vk::AllocationCallbacks<'_>,
) {
    if !surface.is_null() {
        // SAFETY: not null, so a pointer that `publish` made with `Box::into_raw`, and nothing uses it any more.
        guard(|| drop(unsafe { Box::from_raw(surface.as_raw() as *mut Surface) }));
    }
}

/// `vkCreateHeadlessSurfaceEXT`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn create_headless_surface(
    _instance: vk::Instance,
    _info: *const vk::HeadlessSurfaceCreateInfoEXT<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    surface: *mut vk::SurfaceKHR,
) -> vk::Result {
    guard_result(|| {
        // SAFETY: the program passes a place for the handle.
        unsafe { publish(Arc::new(Headless), surface) };
        Ok(())
    })
}

/// `vkCreateXcbSurfaceKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn create_xcb_surface(
    _instance: vk::Instance,
    info: *const vk::XcbSurfaceCreateInfoKHR<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    surface: *mut vk::SurfaceKHR,
) -> vk::Result {
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        // SAFETY: the program keeps the connection open while the surface lives.
        let window = unsafe { xcb::XcbWindow::new(info.connection.cast(), info.window) }?;
        // SAFETY: the program passes a place for the handle.
        unsafe { publish(Arc::new(window), surface) };
        Ok(())
    })
}

/// `vkCreateXlibSurfaceKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn create_xlib_surface(
    _instance: vk::Instance,
    info: *const vk::XlibSurfaceCreateInfoKHR<'_>,
    _allocator: *const vk::AllocationCallbacks<'_>,
    surface: *mut vk::SurfaceKHR,
) -> vk::Result {
    // SAFETY: the program passes a valid structure.
    let info = unsafe { &*info };
    guard_result(|| {
        // SAFETY: the program passes a live display.
        let connection = unsafe { xlib::connection(info.dpy.cast()) }?;
        let window = u32::try_from(info.window).map_err(|_| vk::Result::ERROR_SURFACE_LOST_KHR)?;
        // SAFETY: the connection is the display's, which the program keeps open while the surface lives.
        let window = unsafe { xcb::XcbWindow::new(connection, window) }?;
        // SAFETY: the program passes a place for the handle.
        unsafe { publish(Arc::new(window), surface) };
        Ok(())
    })
}

/// `vkGetPhysicalDeviceXcbPresentationSupportKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn xcb_presentation_support(
    _device: vk::PhysicalDevice,
    _family: u32,
    connection: *mut c_void,
    visual: u32,
) -> vk::Bool32 {
    // SAFETY: the program passes an open connection.
    let shows = guard_bool(|| unsafe { xcb::shows(connection, visual) });
    vk::Bool32::from(shows)
}

/// `vkGetPhysicalDeviceXlibPresentationSupportKHR`.
///
/// # Safety
/// As the specification of this command demands.
pub(in crate::ffi) unsafe extern "system" fn xlib_presentation_support(
    _device: vk::PhysicalDevice,
    _family: u32,
    display: *mut c_void,
    visual: c_ulong,
) -> vk::Bool32 {
    let shows = guard_bool(|| {
        // SAFETY: the program passes a live display.
        let connection = unsafe { xlib::connection(display) }?;
        let visual = u32::try_from(visual).map_err(|_| vk::Result::ERROR_UNKNOWN)?;
        // SAFETY: the connection is the display's.
        unsafe { xcb::shows(connection, visual) }
    });
    vk::Bool32::from(shows)
}

fn guard_bool(logic: impl FnOnce() -> Result<bool, vk::Result>) -> bool {
    let mut answer = false;
    guard(|| answer = logic().unwrap_or(false));
    answer
}
