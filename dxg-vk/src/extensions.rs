//! Which extensions the driver offers.

use std::ffi::CStr;

use ash::ext;
use ash::khr;
use ash::nv;
use ash::nvx;
use ash::vk;

use crate::generated::proc_addr::FORWARDED_EXTENSIONS;

/// Instance extensions. The host knows none of the window systems.
pub const INSTANCE_EXTENSIONS: &[(&CStr, u32)] = &[
    (ext::headless_surface::NAME, ext::headless_surface::SPEC_VERSION),
    (khr::device_group_creation::NAME, khr::device_group_creation::SPEC_VERSION),
    (khr::external_fence_capabilities::NAME, khr::external_fence_capabilities::SPEC_VERSION),
    (khr::external_memory_capabilities::NAME, khr::external_memory_capabilities::SPEC_VERSION),
    (khr::external_semaphore_capabilities::NAME, khr::external_semaphore_capabilities::SPEC_VERSION),
    (khr::get_physical_device_properties2::NAME, khr::get_physical_device_properties2::SPEC_VERSION),
    (khr::get_surface_capabilities2::NAME, khr::get_surface_capabilities2::SPEC_VERSION),
    (khr::surface::NAME, khr::surface::SPEC_VERSION),
    (khr::surface_protected_capabilities::NAME, khr::surface_protected_capabilities::SPEC_VERSION),
    (khr::wayland_surface::NAME, khr::wayland_surface::SPEC_VERSION),
    (khr::xcb_surface::NAME, khr::xcb_surface::SPEC_VERSION),
    (khr::xlib_surface::NAME, khr::xlib_surface::SPEC_VERSION),
];

/// Device extensions that live in the guest alone and so do not depend on the host.
const GUEST_EXTENSIONS: &[(&CStr, u32)] = &[
    (ext::memory_budget::NAME, ext::memory_budget::SPEC_VERSION),
    (ext::private_data::NAME, ext::private_data::SPEC_VERSION),
    (ext::tooling_info::NAME, ext::tooling_info::SPEC_VERSION),
    (khr::descriptor_update_template::NAME, khr::descriptor_update_template::SPEC_VERSION),
    (khr::external_fence_fd::NAME, khr::external_fence_fd::SPEC_VERSION),
    (khr::external_semaphore_fd::NAME, khr::external_semaphore_fd::SPEC_VERSION),
    (khr::external_memory_fd::NAME, khr::external_memory_fd::SPEC_VERSION),
    (khr::incremental_present::NAME, khr::incremental_present::SPEC_VERSION),
    (khr::present_id::NAME, khr::present_id::SPEC_VERSION),
    (khr::present_wait::NAME, khr::present_wait::SPEC_VERSION),
    (khr::swapchain::NAME, khr::swapchain::SPEC_VERSION),
    (khr::swapchain_mutable_format::NAME, khr::swapchain_mutable_format::SPEC_VERSION),
];

/// Device extensions that live in the guest alone and are offered where the host has them: they are younger than some hosts,
/// and what a device of an age offers is held against what was known then.
const MIRRORED_EXTENSIONS: &[(&CStr, u32)] = &[(khr::map_memory2::NAME, khr::map_memory2::SPEC_VERSION)];

/// Device extensions of the guest that stand on memory which the host imports.
const IMPORT_EXTENSIONS: &[(&CStr, u32)] =
    &[(ext::external_memory_host::NAME, ext::external_memory_host::SPEC_VERSION)];

/// Device extensions whose commands would need more than forwarding.
const WITHHELD_EXTENSIONS: &[&CStr] = &[
    // Handles of the host's kernel mean nothing here.
    ext::external_memory_dma_buf::NAME,
    ext::image_drm_format_modifier::NAME,
    // Commands that are not forwarded.
    nv::cooperative_matrix::NAME,
    nv::coverage_reduction_mode::NAME,
    nv::device_diagnostic_checkpoints::NAME,
    nv::optical_flow::NAME,
    nvx::image_view_handle::NAME,
    // Presents on the host.
    ext::display_control::NAME,
    // Callbacks of the host's driver.
    ext::device_memory_report::NAME,
];

/// An extension's name and version.
pub fn properties(name: &CStr, spec_version: u32) -> vk::ExtensionProperties {
    let properties = vk::ExtensionProperties { spec_version, ..Default::default() };
    // Names from the registry fit.
    properties.extension_name(name).unwrap_or_default()
}

/// Whether the guest implements a device extension by itself, so that the host need not know of it.
#[must_use]
pub fn is_guest_extension(name: &CStr) -> bool {
    GUEST_EXTENSIONS.iter().chain(MIRRORED_EXTENSIONS).chain(IMPORT_EXTENSIONS).any(|(have, _)| *have == name)
}

/// The device extensions on offer besides, where the host imports memory of ours.
pub fn import_extensions() -> impl Iterator<Item = vk::ExtensionProperties> {
    IMPORT_EXTENSIONS.iter().map(|(name, version)| properties(name, *version))
}

/// The device extensions on offer where the host offers `host`.
#[must_use]
pub fn device_extensions(host: &[vk::ExtensionProperties]) -> Vec<vk::ExtensionProperties> {
    let forwarded = host.iter().filter_map(|extension| {
        let name = extension.extension_name_as_c_str().ok()?;
        let known = FORWARDED_EXTENSIONS.iter().find(|known| known.name.as_bytes() == name.to_bytes())?;
        let withheld = WITHHELD_EXTENSIONS.contains(&name) || is_guest_extension(name);
        (!withheld).then(|| properties(name, extension.spec_version.min(known.spec_version)))
    });
    let has = |name: &CStr| host.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name));
    let mirrored = MIRRORED_EXTENSIONS.iter().filter(|(name, _)| has(name));
    let guest = GUEST_EXTENSIONS.iter().chain(mirrored).map(|(name, version)| properties(name, *version));
    forwarded.chain(guest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(extensions: &[vk::ExtensionProperties]) -> Vec<&CStr> {
        extensions.iter().map(|extension| extension.extension_name_as_c_str().unwrap()).collect()
    }

    #[test]
    fn device_extensions_host_without_any_has_those_of_the_guest() {
        let offered = device_extensions(&[]);
        assert_eq!(names(&offered).len(), GUEST_EXTENSIONS.len());
        assert!(names(&offered).contains(&ext::private_data::NAME));
    }

    #[test]
    fn device_extensions_mirrored_one_is_offered_where_the_host_has_it() {
        let name = khr::map_memory2::NAME;
        assert!(!names(&device_extensions(&[])).contains(&name));
        assert!(names(&device_extensions(&[properties(name, 1)])).contains(&name));
        assert!(is_guest_extension(name));
    }

    #[test]
    fn device_extensions_withheld_and_unknown_are_not_offered() {
        let host = [
            properties(ext::device_memory_report::NAME, 1),
            properties(c"VK_FUTURE_extension", 1),
            properties(khr::push_descriptor::NAME, 99),
        ];
        let offered = device_extensions(&host);
        assert!(!names(&offered).contains(&ext::device_memory_report::NAME));
        assert!(!names(&offered).contains(&c"VK_FUTURE_extension"));
        let push =
            offered.iter().find(|offered| names(&[**offered])[0] == khr::push_descriptor::NAME).unwrap();
        assert_eq!(push.spec_version, khr::push_descriptor::SPEC_VERSION);
    }
}
