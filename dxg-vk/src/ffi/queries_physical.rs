//! Questions about a physical device that have too many answers to be described: asked once each and remembered.
//!
//! # Safety
//!
//! The loader and the program call entry points as the Vulkan specification says: handles are live and of the type
//! that the parameter says, pointers are valid for what the command does with them, and what the specification calls
//! externally synchronized is.

// UNSAFETY: entry points of the program, which passes handles and pointers.
#![expect(unsafe_code, reason = "entry points take handles and pointers of the program")]

use ash::vk;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;

use super::forward;
use super::guard::guard;
use super::host_pointers::HOST_ALLOCATION;
use super::memory_fd::OPAQUE_FD;
use super::pointers::find;
use super::pointers::find_mut;
use super::pointers::put;
use crate::generated::commands;
use crate::physical::Physical;

fn ask<R>(
    physical: &Physical,
    op: VkOp,
    body: impl FnOnce(&mut Encoder),
    read: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
) -> Result<R, vk::Result> {
    let reply = physical.ask(op, body)?;
    read(&mut Decoder::new(&reply)).map_err(|_| vk::Result::ERROR_DEVICE_LOST)
}

fn code(result: Result<vk::Result, vk::Result>) -> vk::Result {
    // An instance has no lost device to speak of.
    result.unwrap_or(vk::Result::ERROR_OUT_OF_HOST_MEMORY)
}

/// `vkGetPhysicalDeviceImageFormatProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_image_format_properties(
    device: vk::PhysicalDevice,
    format: vk::Format,
    kind: vk::ImageType,
    tiling: vk::ImageTiling,
    usage: vk::ImageUsageFlags,
    flags: vk::ImageCreateFlags,
    properties: *mut vk::ImageFormatProperties,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // What is not supported has limits of zero.
    // SAFETY: the program passes a place for the answer.
    unsafe { put(properties, vk::ImageFormatProperties::default()) };
    guard(|| {
        let body = |encoder: &mut Encoder| {
            // SAFETY: only values are encoded.
            unsafe {
                commands::encode_get_physical_device_image_format_properties(
                    encoder, format, kind, tiling, usage, flags,
                );
            };
        };
        code(ask(physical, VkOp::GET_PHYSICAL_DEVICE_IMAGE_FORMAT_PROPERTIES, body, |reply| {
            // SAFETY: the program passes a place for the answer.
            unsafe { commands::reply_get_physical_device_image_format_properties(reply, properties) }
        }))
    })
}

/// `vkGetPhysicalDeviceImageFormatProperties2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_image_format_properties2(
    device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceImageFormatInfo2<'_>,
    properties: *mut vk::ImageFormatProperties2<'_>,
) -> vk::Result {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // What is not supported has limits of zero.
    // SAFETY: the program passes a structure to be filled.
    unsafe { &mut *properties }.image_format_properties = vk::ImageFormatProperties::default();
    // SAFETY: the program passes a valid structure.
    let chain = unsafe { &*info }.p_next;
    // SAFETY: the program passes a valid chain.
    let external = unsafe { find::<vk::PhysicalDeviceExternalImageFormatInfo<'_>>(chain) };
    let asked = external.map_or(NO_HANDLE, |external| external.handle_type);
    if ![NO_HANDLE, OPAQUE_FD, HOST_ALLOCATION].contains(&asked) {
        // Handles of the host's kernel mean nothing here.
        return vk::Result::ERROR_FORMAT_NOT_SUPPORTED;
    }
    guard(|| {
        let body = |encoder: &mut Encoder| {
            // SAFETY: the program passes valid structures.
            unsafe {
                commands::encode_get_physical_device_image_format_properties2(encoder, info, properties);
            };
        };
        let answer = code(ask(physical, VkOp::GET_PHYSICAL_DEVICE_IMAGE_FORMAT_PROPERTIES2, body, |reply| {
            // SAFETY: the program passes a structure to be filled.
            unsafe { commands::reply_get_physical_device_image_format_properties2(reply, properties) }
        }));
        // SAFETY: the program passes a valid structure.
        let filled = unsafe { &*properties }.p_next;
        // SAFETY: its chain is as valid.
        let external = unsafe { find_mut::<vk::ExternalImageFormatProperties<'_>>(filled) };
        match external {
            Some(external) if answer == vk::Result::SUCCESS => {
                external.external_memory_properties =
                    memory_properties(asked, external.external_memory_properties);
                let is_offered = !external.external_memory_properties.external_memory_features.is_empty();
                if asked == NO_HANDLE || is_offered { answer } else { vk::Result::ERROR_FORMAT_NOT_SUPPORTED }
            }
            _ => answer,
        }
    })
}

const NO_HANDLE: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::empty();

/// What memory by descriptor or host pointer can do, where the host says what memory by host pointer can do, as which it
/// imports ours of either kind.
fn memory_properties(
    asked: vk::ExternalMemoryHandleTypeFlags,
    host_pointers: vk::ExternalMemoryProperties,
) -> vk::ExternalMemoryProperties {
    if asked == HOST_ALLOCATION {
        return host_pointers;
    }
    let imports = vk::ExternalMemoryFeatureFlags::IMPORTABLE;
    if asked != OPAQUE_FD || !host_pointers.external_memory_features.contains(imports) {
        return vk::ExternalMemoryProperties::default();
    }
    vk::ExternalMemoryProperties {
        // Which resource the memory is for is nothing to the host: memory that it imports is dedicated to none.
        external_memory_features: imports | vk::ExternalMemoryFeatureFlags::EXPORTABLE,
        export_from_imported_handle_types: OPAQUE_FD,
        compatible_handle_types: OPAQUE_FD,
    }
}

/// `vkGetPhysicalDeviceSparseImageFormatProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_sparse_image_format_properties(
    device: vk::PhysicalDevice,
    format: vk::Format,
    kind: vk::ImageType,
    samples: vk::SampleCountFlags,
    usage: vk::ImageUsageFlags,
    tiling: vk::ImageTiling,
    count: *mut u32,
    properties: *mut vk::SparseImageFormatProperties,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    guard(|| {
        let body = |encoder: &mut Encoder| {
            // SAFETY: the program passes a count and an array of that length or null.
            unsafe {
                commands::encode_get_physical_device_sparse_image_format_properties(
                    encoder, format, kind, samples, usage, tiling, count, properties,
                );
            };
        };
        let op = VkOp::GET_PHYSICAL_DEVICE_SPARSE_IMAGE_FORMAT_PROPERTIES;
        // Without an answer the count stays as it is.
        let _ = ask(physical, op, body, |reply| {
            // SAFETY: as above.
            unsafe {
                commands::reply_get_physical_device_sparse_image_format_properties(reply, count, properties)
            }
        });
    });
}

/// `vkGetPhysicalDeviceSparseImageFormatProperties2`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_sparse_image_format_properties2(
    device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceSparseImageFormatInfo2<'_>,
    count: *mut u32,
    properties: *mut vk::SparseImageFormatProperties2<'_>,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    guard(|| {
        let body = |encoder: &mut Encoder| {
            // SAFETY: the program passes a count and an array of that length or null.
            unsafe {
                commands::encode_get_physical_device_sparse_image_format_properties2(
                    encoder, info, count, properties,
                );
            };
        };
        let op = VkOp::GET_PHYSICAL_DEVICE_SPARSE_IMAGE_FORMAT_PROPERTIES2;
        // Without an answer the count stays as it is.
        let _ = ask(physical, op, body, |reply| {
            // SAFETY: as above.
            unsafe {
                commands::reply_get_physical_device_sparse_image_format_properties2(reply, count, properties)
            }
        });
    });
}

/// `vkGetPhysicalDeviceExternalBufferProperties`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_external_buffer_properties(
    device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalBufferInfo<'_>,
    properties: *mut vk::ExternalBufferProperties<'_>,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    // SAFETY: the program passes a valid structure, which is copied with its chain.
    let mut question = unsafe { info.read() };
    let asked = question.handle_type;
    question.handle_type = HOST_ALLOCATION;
    let mut answer = vk::ExternalBufferProperties::default();
    if asked == OPAQUE_FD || asked == HOST_ALLOCATION {
        guard(|| {
            let to = &raw mut answer;
            let body = |encoder: &mut Encoder| {
                // SAFETY: a copy of the program's structure, and one of ours to be filled.
                unsafe {
                    commands::encode_get_physical_device_external_buffer_properties(encoder, &question, to);
                }
            };
            // Without an answer nothing is possible.
            let _ = ask(physical, VkOp::GET_PHYSICAL_DEVICE_EXTERNAL_BUFFER_PROPERTIES, body, |reply| {
                // SAFETY: the structure is ours to be filled.
                unsafe { commands::reply_get_physical_device_external_buffer_properties(reply, to) }
            });
        });
    }
    // SAFETY: the program passes a structure to be filled.
    let properties = unsafe { &mut *properties };
    properties.external_memory_properties = memory_properties(asked, answer.external_memory_properties);
}

/// `vkGetPhysicalDeviceExternalFenceProperties`: opaque descriptors go both ways.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_external_fence_properties(
    _device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalFenceInfo<'_>,
    properties: *mut vk::ExternalFenceProperties<'_>,
) {
    const FD: vk::ExternalFenceHandleTypeFlags = vk::ExternalFenceHandleTypeFlags::OPAQUE_FD;
    // SAFETY: the program passes a valid structure.
    let is_offered = unsafe { &*info }.handle_type == FD;
    // SAFETY: the program passes a structure to be filled.
    let properties = unsafe { &mut *properties };
    let types = if is_offered { FD } else { vk::ExternalFenceHandleTypeFlags::empty() };
    let both = vk::ExternalFenceFeatureFlags::EXPORTABLE | vk::ExternalFenceFeatureFlags::IMPORTABLE;
    properties.export_from_imported_handle_types = types;
    properties.compatible_handle_types = types;
    properties.external_fence_features =
        if is_offered { both } else { vk::ExternalFenceFeatureFlags::empty() };
}

/// `vkGetPhysicalDeviceExternalSemaphoreProperties`: opaque descriptors go both ways, of either type of semaphore.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_external_semaphore_properties(
    _device: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceExternalSemaphoreInfo<'_>,
    properties: *mut vk::ExternalSemaphoreProperties<'_>,
) {
    const FD: vk::ExternalSemaphoreHandleTypeFlags = vk::ExternalSemaphoreHandleTypeFlags::OPAQUE_FD;
    // SAFETY: the program passes a valid structure.
    let is_offered = unsafe { &*info }.handle_type == FD;
    // SAFETY: the program passes a structure to be filled.
    let properties = unsafe { &mut *properties };
    let types = if is_offered { FD } else { vk::ExternalSemaphoreHandleTypeFlags::empty() };
    let both = vk::ExternalSemaphoreFeatureFlags::EXPORTABLE | vk::ExternalSemaphoreFeatureFlags::IMPORTABLE;
    properties.export_from_imported_handle_types = types;
    properties.compatible_handle_types = types;
    properties.external_semaphore_features =
        if is_offered { both } else { vk::ExternalSemaphoreFeatureFlags::empty() };
}

macro_rules! listed {
    ($($(#[$meta:meta])* $name:ident($element:ty), $op:ident, $encode:ident, $reply:ident;)*) => {
        $($(#[$meta])*
        ///
        /// # Safety
        /// As the specification of this command demands.
        pub(crate) unsafe extern "system" fn $name(
            device: vk::PhysicalDevice,
            count: *mut u32,
            elements: *mut $element,
        ) -> vk::Result {
            // SAFETY: the program passes a live physical device.
            let physical = unsafe { forward::physical_device(device) };
            guard(|| {
                let body = |encoder: &mut Encoder| {
                    // SAFETY: the program passes a count and an array of that length or null.
                    unsafe { commands::$encode(encoder, count, elements) };
                };
                code(ask(physical, VkOp::$op, body, |reply| {
                    // SAFETY: as above.
                    unsafe { commands::$reply(reply, count, elements) }
                }))
            })
        })*
    };
}

listed! {
    /// `vkGetPhysicalDeviceCalibrateableTimeDomainsKHR`.
    get_physical_device_calibrateable_time_domains_khr(vk::TimeDomainKHR),
        GET_PHYSICAL_DEVICE_CALIBRATEABLE_TIME_DOMAINS_KHR,
        encode_get_physical_device_calibrateable_time_domains_khr,
        reply_get_physical_device_calibrateable_time_domains_khr;
    /// `vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR`.
    get_physical_device_cooperative_matrix_properties_khr(vk::CooperativeMatrixPropertiesKHR<'_>),
        GET_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR,
        encode_get_physical_device_cooperative_matrix_properties_khr,
        reply_get_physical_device_cooperative_matrix_properties_khr;
    /// `vkGetPhysicalDeviceFragmentShadingRatesKHR`.
    get_physical_device_fragment_shading_rates_khr(vk::PhysicalDeviceFragmentShadingRateKHR<'_>),
        GET_PHYSICAL_DEVICE_FRAGMENT_SHADING_RATES_KHR,
        encode_get_physical_device_fragment_shading_rates_khr,
        reply_get_physical_device_fragment_shading_rates_khr;
}

/// `vkGetPhysicalDeviceMultisamplePropertiesEXT`.
///
/// # Safety
/// As the specification of this command demands.
pub(crate) unsafe extern "system" fn get_physical_device_multisample_properties_ext(
    device: vk::PhysicalDevice,
    samples: vk::SampleCountFlags,
    properties: *mut vk::MultisamplePropertiesEXT<'_>,
) {
    // SAFETY: the program passes a live physical device.
    let physical = unsafe { forward::physical_device(device) };
    guard(|| {
        let body = |encoder: &mut Encoder| {
            // SAFETY: the program passes a structure to be filled.
            unsafe {
                commands::encode_get_physical_device_multisample_properties_ext(encoder, samples, properties);
            };
        };
        // Without an answer the structure stays as it is.
        let _ = ask(physical, VkOp::GET_PHYSICAL_DEVICE_MULTISAMPLE_PROPERTIES_EXT, body, |reply| {
            // SAFETY: as above.
            unsafe { commands::reply_get_physical_device_multisample_properties_ext(reply, properties) }
        });
    });
}
