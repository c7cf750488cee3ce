//! The description of a physical device: everything about it that does not change, in one reply.
//!
//! *Why.* Applications ask for hundreds of small facts when they start. All of them cross once, made before there is a
//! client, and the guest answers from then on.
//!
//! *Source.* The layout is in `dxg_wire::vulkan`.

use std::ffi::CStr;
use std::ffi::c_char;
use std::ops::RangeInclusive;

use ash::vk;
use dxg_wire::codec::Encoder;
use dxg_wire::vulkan::DESCRIPTION_VERSION;
use dxg_wire::vulkan::END_OF_CHAIN;

use super::chain::Chain;
use super::driver::Driver;
use super::driver::OWN_DRIVER_NAME;
use super::memory::HostPointers;
use super::objects::Objects;
use super::reader::Reader;
use super::reader::arena;
use crate::failure::Fault;
use crate::generated::vulkan::FORWARDED_EXTENSIONS;
use crate::generated::vulkan::structs;
use crate::generated::vulkan::structs::ChainStruct;

/// A run of formats, and what brings it: a core version, or an extension.
struct Formats {
    range: RangeInclusive<i32>,
    core: u32,
    extension: &'static CStr,
}

const fn formats(first: vk::Format, last: vk::Format, core: u32, extension: &'static CStr) -> Formats {
    Formats { range: first.as_raw()..=last.as_raw(), core, extension }
}

/// Stands for "no core version has it".
const NEVER: u32 = 0;

/// Every format that a guest may ask about.
const FORMATS: &[Formats] = &[
    formats(vk::Format::R4G4_UNORM_PACK8, vk::Format::ASTC_12X12_SRGB_BLOCK, vk::API_VERSION_1_0, c""),
    formats(
        vk::Format::G8B8G8R8_422_UNORM,
        vk::Format::G16_B16_R16_3PLANE_444_UNORM,
        vk::API_VERSION_1_1,
        c"VK_KHR_sampler_ycbcr_conversion",
    ),
    formats(
        vk::Format::G8_B8R8_2PLANE_444_UNORM,
        vk::Format::G16_B16R16_2PLANE_444_UNORM,
        vk::API_VERSION_1_3,
        c"VK_EXT_ycbcr_2plane_444_formats",
    ),
    formats(
        vk::Format::A4R4G4B4_UNORM_PACK16,
        vk::Format::A4B4G4R4_UNORM_PACK16,
        vk::API_VERSION_1_3,
        c"VK_EXT_4444_formats",
    ),
    formats(
        vk::Format::ASTC_4X4_SFLOAT_BLOCK,
        vk::Format::ASTC_12X12_SFLOAT_BLOCK,
        vk::API_VERSION_1_3,
        c"VK_EXT_texture_compression_astc_hdr",
    ),
    formats(
        vk::Format::PVRTC1_2BPP_UNORM_BLOCK_IMG,
        vk::Format::PVRTC2_4BPP_SRGB_BLOCK_IMG,
        NEVER,
        c"VK_IMG_format_pvrtc",
    ),
    formats(vk::Format::A1B5G5R5_UNORM_PACK16_KHR, vk::Format::A8_UNORM_KHR, NEVER, c"VK_KHR_maintenance5"),
    formats(vk::Format::R16G16_S10_5_NV, vk::Format::R16G16_S10_5_NV, NEVER, c"VK_NV_optical_flow"),
];

/// Describes the device, with the extensions that a guest is offered.
///
/// # Errors
/// When there is more of something than a description holds.
pub(crate) fn describe(
    driver: &Driver,
    offered: &[vk::ExtensionProperties],
    host_pointers: HostPointers,
) -> Result<Vec<u8>, Fault> {
    let mut to = Encoder::with_capacity(64 << 10);
    let instance = &driver.library.instance;
    let device = driver.physical_device;
    to.u32(DESCRIPTION_VERSION);
    to.u32(driver.api_version);
    // SAFETY:
    // - the device came from this instance.
    let properties = unsafe { instance.get_physical_device_properties(device) };
    structs::out_physical_device_properties(&mut to, &properties);
    // SAFETY:
    // - the device came from this instance.
    let features = unsafe { instance.get_physical_device_features(device) };
    structs::out_physical_device_features(&mut to, &features);
    structs::out_physical_device_memory_properties(&mut to, &driver.memory);
    to.u32(host_pointers.types);
    to.u64(host_pointers.alignment);
    queue_families(&mut to, driver)?;
    to.count(offered.len());
    for extension in offered {
        structs::out_extension_properties(&mut to, extension);
    }
    list(&mut to, driver, structs::EXTENDS_PHYSICAL_DEVICE_PROPERTIES2, |chain| {
        let mut properties = vk::PhysicalDeviceProperties2 { p_next: chain.cast(), ..Default::default() };
        // SAFETY:
        // - the device came from this instance, and the chain is one structure that it has.
        unsafe { instance.get_physical_device_properties2(device, &mut properties) };
        // SAFETY:
        // - the chain is one whole structure of the arena that lives through this closure.
        let mut chain = unsafe { Chain::new(chain.cast_const().cast()) };
        if let Some(named) = chain.find::<vk::PhysicalDeviceDriverProperties<'_>>() {
            name_ourselves(&mut named.driver_name, &mut named.driver_info);
        }
        if let Some(named) = chain.find::<vk::PhysicalDeviceVulkan12Properties<'_>>() {
            name_ourselves(&mut named.driver_name, &mut named.driver_info);
        }
    })?;
    list(&mut to, driver, structs::EXTENDS_PHYSICAL_DEVICE_FEATURES2, |chain| {
        let mut features = vk::PhysicalDeviceFeatures2 { p_next: chain.cast(), ..Default::default() };
        // SAFETY:
        // - the device came from this instance, and the chain is one structure that it has.
        unsafe { instance.get_physical_device_features2(device, &mut features) };
    })?;
    all_formats(&mut to, driver);
    Ok(to.into_vec())
}

/// Says that this driver stands between program and device, and which driver is behind it. Its id stays what it is:
/// programs know by it how the device behaves.
fn name_ourselves(
    name: &mut [c_char; vk::MAX_DRIVER_NAME_SIZE],
    info: &mut [c_char; vk::MAX_DRIVER_INFO_SIZE],
) {
    let behind: Vec<c_char> = [&name[..], &[c_char::from_ne_bytes([b' '])], &info[..]]
        .iter()
        .flat_map(|part| part.iter().copied().take_while(|c| *c != 0))
        .take(info.len() - 1)
        .collect();
    *info = [0; vk::MAX_DRIVER_INFO_SIZE];
    info[..behind.len()].copy_from_slice(&behind);
    *name = [0; vk::MAX_DRIVER_NAME_SIZE];
    for (to, from) in name.iter_mut().zip(OWN_DRIVER_NAME.to_bytes()) {
        *to = c_char::from_ne_bytes([*from]);
    }
}

/// Puts a structure list: each structure that the device has, as `query` fills it.
fn list(
    to: &mut Encoder,
    driver: &Driver,
    extending: &[ChainStruct],
    mut query: impl FnMut(*mut vk::BaseOutStructure<'static>),
) -> Result<(), Fault> {
    let (bump, objects) = (arena(), Objects::default());
    for row in extending.iter().filter(|row| driver.offers(row.version, row.extensions)) {
        let mut reader = Reader::new(&[], &bump, &objects);
        // Structures whose arrays the caller must size are left to a call of their own.
        let Ok(filled) = structs::skel_chain_body(&mut reader, row.s_type) else { continue };
        query(filled);
        to.i32(row.s_type.as_raw());
        let at = to.len();
        to.u32(0);
        // SAFETY:
        // - the structure lies whole in the arena, and the driver has filled it.
        unsafe { structs::out_chain_body(to, filled) };
        let bytes = to.len() - at - size_of::<u32>();
        let bytes = u32::try_from(bytes).map_err(|error| Fault::new("describe a device", error))?;
        to.patch_u32(at, bytes);
    }
    to.u32(END_OF_CHAIN);
    Ok(())
}

fn queue_families(to: &mut Encoder, driver: &Driver) -> Result<(), Fault> {
    to.count(driver.queue_families.len());
    let count = driver.queue_families.len();
    for (index, family) in driver.queue_families.iter().enumerate() {
        structs::out_queue_family_properties(to, family);
        list(to, driver, structs::EXTENDS_QUEUE_FAMILY_PROPERTIES2, |chain| {
            let mut families = vec![vk::QueueFamilyProperties2::default(); count];
            if let Some(family) = families.get_mut(index) {
                family.p_next = chain.cast();
            }
            // SAFETY:
            // - the device came from this instance; the array is as long as the driver said, and the one chain in it
            //   is a structure that the device has.
            unsafe {
                driver
                    .library
                    .instance
                    .get_physical_device_queue_family_properties2(driver.physical_device, &mut families);
            }
        })?;
    }
    Ok(())
}

fn all_formats(to: &mut Encoder, driver: &Driver) {
    let known: Vec<i32> = FORMATS
        .iter()
        .filter(|formats| driver.offers(formats.core, &[formats.extension]))
        .flat_map(|formats| formats.range.clone())
        .collect();
    let wide = driver.offers(vk::API_VERSION_1_3, &[FLAGS2]);
    to.count(known.len());
    for raw in known {
        let format = vk::Format::from_raw(raw);
        let mut wide_properties = vk::FormatProperties3::default();
        let mut properties = vk::FormatProperties2::default();
        if wide {
            properties = properties.push_next(&mut wide_properties);
        }
        // SAFETY:
        // - the device came from this instance and has the format, and the structure of the chain where there is one.
        unsafe {
            driver.library.instance.get_physical_device_format_properties2(
                driver.physical_device,
                format,
                &mut properties,
            );
        }
        let narrow = properties.format_properties;
        let [linear, optimal, buffer] = if wide {
            [
                wide_properties.linear_tiling_features,
                wide_properties.optimal_tiling_features,
                wide_properties.buffer_features,
            ]
            .map(|features| features.as_raw())
        } else {
            [narrow.linear_tiling_features, narrow.optimal_tiling_features, narrow.buffer_features]
                .map(|features| u64::from(features.as_raw()))
        };
        to.i32(raw);
        structs::out_format_properties(to, &narrow);
        to.u64(linear);
        to.u64(optimal);
        to.u64(buffer);
    }
}

/// The extension that brings 64-bit format features.
const FLAGS2: &CStr = c"VK_KHR_format_feature_flags2";

/// Extensions that a guest makes by itself and only wants to know of.
const MADE_IN_THE_GUEST: &[&str] = &["VK_KHR_map_memory2"];

/// The device extensions that a guest is offered: those the device has and this host forwards, as far as it knows them.
pub(crate) fn offered(driver: &Driver) -> Vec<vk::ExtensionProperties> {
    driver
        .extensions
        .iter()
        .filter_map(|extension| {
            let name = extension.extension_name_as_c_str().ok()?.to_str().ok()?;
            let known = FORWARDED_EXTENSIONS.iter().find(|forwarded| forwarded.name == name);
            let spec_version = match known {
                Some(forwarded) => extension.spec_version.min(forwarded.spec_version),
                None if MADE_IN_THE_GUEST.contains(&name) => extension.spec_version,
                None => return None,
            };
            Some(vk::ExtensionProperties { spec_version, ..*extension })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn field<const N: usize>(text: &str) -> [c_char; N] {
        let mut field = [0; N];
        for (to, from) in field.iter_mut().zip(text.bytes()) {
            *to = c_char::from_ne_bytes([from]);
        }
        field
    }

    fn text(field: &[c_char]) -> String {
        let bytes: Vec<u8> = field.iter().flat_map(|c| c.to_ne_bytes()).collect();
        CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_driver_behind_stands_in_the_info() {
        let (mut name, mut info) = (field("llvmpipe"), field("Mesa 22"));
        name_ourselves(&mut name, &mut info);
        assert_eq!((text(&name), text(&info)), ("dxg".to_owned(), "llvmpipe Mesa 22".to_owned()));
    }

    #[test]
    fn a_long_info_is_cut_and_still_ends() {
        let (mut name, mut info) =
            (field("driver"), [c_char::from_ne_bytes([b'x']); vk::MAX_DRIVER_INFO_SIZE]);
        name_ourselves(&mut name, &mut info);
        assert_eq!(text(&info).len(), vk::MAX_DRIVER_INFO_SIZE - 1);
    }
}
