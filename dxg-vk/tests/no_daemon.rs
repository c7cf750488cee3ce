//! The driver where no daemon can be reached. A process of its own, because the environment says so.

// UNSAFETY: the interface of a driver is C.
#![expect(unsafe_code, reason = "calls the functions that the loader calls")]

use std::ffi::CStr;

use ash::vk;
use vulkan_dxg::ffi::loader::vk_icdGetInstanceProcAddr;
use vulkan_dxg::ffi::loader::vk_icdGetPhysicalDeviceProcAddr;

#[test]
fn instance_without_a_daemon_succeeds_and_has_no_devices() {
    // SAFETY: this is the only test of the process, and no other thread looks at the environment yet.
    unsafe { std::env::set_var("DXG_RUNTIME_DIR", "/nonexistent") };
    let functions = ash::StaticFn { get_instance_proc_addr: vk_icdGetInstanceProcAddr };
    // SAFETY: the function is what its name says.
    let entry = unsafe { ash::Entry::from_static_fn(functions) };
    // SAFETY: the create info is valid.
    let instance = unsafe { entry.create_instance(&vk::InstanceCreateInfo::default(), None) }.unwrap();
    // SAFETY: the instance is live.
    let devices = unsafe { instance.enumerate_physical_devices() }.unwrap();
    assert!(devices.is_empty());
    let look_up = |name: &CStr| {
        // SAFETY: the instance is live.
        unsafe { vk_icdGetInstanceProcAddr(instance.handle(), name.as_ptr()) }.is_some()
    };
    assert!(look_up(c"vkCmdDispatch"));
    assert!(look_up(c"vkCreateDescriptorUpdateTemplateKHR"));
    assert!(look_up(c"vkMapMemory2KHR"));
    assert!(look_up(c"vkQueuePresentKHR"));
    assert!(!look_up(c"vkCreateWaylandSurfaceKHR"), "the instance was made without the extension");
    assert!(!look_up(c"vkAcquireDrmDisplayEXT"));
    let physical = |name: &CStr| {
        // SAFETY: the instance is live.
        unsafe { vk_icdGetPhysicalDeviceProcAddr(instance.handle(), name.as_ptr()) }.is_some()
    };
    assert!(physical(c"vkGetPhysicalDeviceProperties2"));
    assert!(!physical(c"vkCmdDispatch"));
    // SAFETY: nothing uses the instance any more.
    unsafe { instance.destroy_instance(None) };
}
