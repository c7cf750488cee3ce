//! The driver interface: negotiation, look-ups and refusals that need no daemon.

// UNSAFETY: the interface of a driver is C.
#![expect(unsafe_code, reason = "calls the functions that the loader calls")]

use std::ffi::CStr;

use ash::vk;
use vulkan_dxg::ffi::loader::vk_icdGetInstanceProcAddr;
use vulkan_dxg::ffi::loader::vk_icdNegotiateLoaderICDInterfaceVersion;

fn entry() -> ash::Entry {
    // SAFETY: the function is what its name says.
    unsafe { ash::Entry::from_static_fn(ash::StaticFn { get_instance_proc_addr: vk_icdGetInstanceProcAddr }) }
}

fn global(name: &CStr) -> bool {
    // SAFETY: a null instance asks for global commands.
    unsafe { vk_icdGetInstanceProcAddr(vk::Instance::null(), name.as_ptr()) }.is_some()
}

#[test]
fn negotiate_any_loader_agrees_on_at_most_its_own_version() {
    for (offered, agreed) in [(5, 5), (6, 6), (7, 7), (8, 7)] {
        let mut version = offered;
        // SAFETY: `version` may be written.
        let result = unsafe { vk_icdNegotiateLoaderICDInterfaceVersion(&mut version) };
        assert_eq!((result, version), (vk::Result::SUCCESS, agreed));
    }
}

#[test]
fn negotiate_too_old_loader_is_refused() {
    let mut version = 4;
    // SAFETY: `version` may be written.
    let result = unsafe { vk_icdNegotiateLoaderICDInterfaceVersion(&mut version) };
    assert_eq!(result, vk::Result::ERROR_INCOMPATIBLE_DRIVER);
}

#[test]
fn look_up_without_instance_finds_global_commands_only() {
    assert!(global(c"vkCreateInstance"));
    assert!(global(c"vkEnumerateInstanceVersion"));
    assert!(!global(c"vkDestroyInstance"));
    assert!(!global(c"vkCmdDispatch"));
    assert!(!global(c"vkNoSuchCommand"));
}

#[test]
fn instance_unknown_extension_is_not_present() {
    let names = [c"VK_KHR_display".as_ptr()];
    let info = vk::InstanceCreateInfo::default().enabled_extension_names(&names);
    // SAFETY: the create info is valid.
    let result = unsafe { entry().create_instance(&info, None) };
    assert_eq!(result.err(), Some(vk::Result::ERROR_EXTENSION_NOT_PRESENT));
}
