//! Surfaces and swapchains as the program sees them.

mod pictures;
mod surface;
mod surface_queries;
mod swapchain;
mod swapchain_groups;
mod xcb;
mod xlib;

pub(super) use surface::create_headless_surface;
pub(super) use surface::create_xcb_surface;
pub(super) use surface::create_xlib_surface;
pub(super) use surface::destroy_surface;
pub(super) use surface::xcb_presentation_support;
pub(super) use surface::xlib_presentation_support;
pub(super) use surface_queries::get_physical_device_surface_capabilities;
pub(super) use surface_queries::get_physical_device_surface_capabilities2;
pub(super) use surface_queries::get_physical_device_surface_formats;
pub(super) use surface_queries::get_physical_device_surface_formats2;
pub(super) use surface_queries::get_physical_device_surface_present_modes;
pub(super) use surface_queries::get_physical_device_surface_support;
pub(super) use swapchain::acquire_next_image;
pub(super) use swapchain::acquire_next_image2;
pub(super) use swapchain::create_swapchain;
pub(super) use swapchain::destroy_swapchain;
pub(super) use swapchain::get_swapchain_images;
pub(super) use swapchain::image_info_of;
pub(super) use swapchain::memory_of;
pub(super) use swapchain::queue_present;
pub(super) use swapchain::wait_for_present;
pub(super) use swapchain_groups::get_device_group_present_capabilities;
pub(super) use swapchain_groups::get_device_group_surface_present_modes;
pub(super) use swapchain_groups::get_physical_device_present_rectangles;
