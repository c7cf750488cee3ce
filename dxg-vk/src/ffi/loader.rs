//! The three functions that the Vulkan loader calls in a driver.
//!
//! *Why.* These are the only symbols of the library: everything else is found by name through them, so that the library
//! never stands in for the loader's own `vk*` functions.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: exports symbols and is called from C.
#![expect(unsafe_code, reason = "exported functions of the driver interface")]

use std::ffi::c_char;

use ash::vk;

use super::guard::guard;
use super::pointers::text;
use super::procs;

/// Newest version of the loader's driver interface that this driver speaks.
pub const NEWEST_INTERFACE: u32 = 7;
/// Oldest version: the first in which the driver need not check for unknown Vulkan versions.
pub const OLDEST_INTERFACE: u32 = 5;

/// Agrees on a version of the driver interface.
///
/// # Safety
/// `version` may be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(version: *mut u32) -> vk::Result {
    // SAFETY: the loader passes a place for the version, or null by mistake.
    let Some(version) = (unsafe { version.as_mut() }) else { return vk::Result::ERROR_INITIALIZATION_FAILED };
    match agree(*version) {
        Some(agreed) => {
            *version = agreed;
            vk::Result::SUCCESS
        }
        None => vk::Result::ERROR_INCOMPATIBLE_DRIVER,
    }
}

/// The version to speak with a loader that speaks up to `offered`.
fn agree(offered: u32) -> Option<u32> {
    (offered >= OLDEST_INTERFACE).then_some(offered.min(NEWEST_INTERFACE))
}

/// Finds a command by name, for an instance or, with a null instance, of the commands that need none.
///
/// # Safety
/// `instance` is null or a live instance; `name` is null or a zero-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: the loader passes a string or null.
    let name = unsafe { text(name) }?;
    // SAFETY: the loader passes a live instance or null.
    guard(|| unsafe { procs::instance_proc(instance, name) })
}

/// Finds a command whose first parameter is a physical device.
///
/// # Safety
/// `instance` is null or a live instance; `name` is null or a zero-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetPhysicalDeviceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: the loader passes a string or null.
    let name = unsafe { text(name) }?;
    // SAFETY: the loader passes a live instance or null.
    guard(|| unsafe { procs::physical_device_proc(instance, name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_takes_the_older_of_the_newest() {
        assert_eq!(agree(5), Some(5));
        assert_eq!(agree(6), Some(6));
        assert_eq!(agree(7), Some(7));
        assert_eq!(agree(99), Some(7));
    }

    #[test]
    fn agree_loader_before_the_oldest_is_refused() {
        assert_eq!(agree(4), None);
        assert_eq!(agree(0), None);
    }
}
