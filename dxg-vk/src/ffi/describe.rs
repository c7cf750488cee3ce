//! Reads the host's description of a physical device.

// UNSAFETY: generated decoders fill structures that may have extension chains; those of the description have none.
#![expect(unsafe_code, reason = "generated decoders follow pointers of the structure they fill")]

use std::collections::HashMap;

use ash::vk;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::vulkan::DESCRIPTION_VERSION;

use crate::description::Description;
use crate::description::Format;
use crate::description::QueueFamily;
use crate::description::Structures;
use crate::extensions;
use crate::generated::structs;

/// The newest version of Vulkan whose commands this driver knows.
pub(crate) const API_VERSION: u32 = vk::make_api_version(0, 1, 3, 281);

macro_rules! filled {
    ($fill:ident, $decoder:expr) => {{
        let mut value = Default::default();
        // SAFETY: the structure is ours and has no chain.
        unsafe { structs::$fill($decoder, &mut value) }?;
        value
    }};
}

fn structures(decoder: &mut Decoder<'_>) -> Result<Structures, DecodeError> {
    let mut structures = HashMap::new();
    while let Some(kind) = decoder.chain()? {
        let len = decoder.array(1)?.unwrap_or_default();
        structures.insert(kind.cast_signed(), decoder.bytes(len)?.into());
    }
    Ok(structures)
}

/// Reads a `DESCRIBE` reply.
///
/// # Errors
/// When it is not one of this version.
pub(crate) fn read_description(decoder: &mut Decoder<'_>) -> Result<Description, DecodeError> {
    if decoder.u32()? != DESCRIPTION_VERSION {
        return Err(DecodeError::Malformed);
    }
    let mut description = Description {
        api_version: decoder.u32()?.min(API_VERSION),
        properties: filled!(fill_physical_device_properties, decoder),
        features: filled!(fill_physical_device_features, decoder),
        memory: filled!(fill_physical_device_memory_properties, decoder),
        imported_types: decoder.u32()?,
        import_alignment_bytes: decoder.u64()?,
        ..Description::default()
    };
    for _ in 0..decoder.count(4)? {
        let properties = filled!(fill_queue_family_properties, decoder);
        description.families.push(QueueFamily { properties, structures: structures(decoder)? });
    }
    let mut offered = Vec::new();
    for _ in 0..decoder.count(4)? {
        offered.push(filled!(fill_extension_properties, decoder));
    }
    description.extensions = extensions::device_extensions(&offered);
    description.property_structures = structures(decoder)?;
    description.feature_structures = structures(decoder)?;
    for _ in 0..decoder.count(4)? {
        let format = vk::Format::from_raw(decoder.i32()?);
        let format_state = Format {
            properties: filled!(fill_format_properties, decoder),
            linear: vk::FormatFeatureFlags2::from_raw(decoder.u64()?),
            optimal: vk::FormatFeatureFlags2::from_raw(decoder.u64()?),
            buffer: vk::FormatFeatureFlags2::from_raw(decoder.u64()?),
        };
        description.formats.insert(format, format_state);
    }
    // The host says which minor version it forwards; the device says how far it is with that one.
    if description.properties.api_version >> 12 == description.api_version >> 12 {
        description.api_version = description.properties.api_version.min(API_VERSION);
    }
    description.properties.api_version = description.api_version;
    description.max_allocation_bytes = max_allocation(&description);
    description.hide_unshared_memory();
    if (0..description.memory.memory_type_count).any(|kind| description.is_imported(kind)) {
        description.extensions.extend(extensions::import_extensions());
    }
    Ok(description)
}

fn max_allocation(description: &Description) -> u64 {
    let mut limits = vk::PhysicalDeviceMaintenance3Properties::default();
    let kind = vk::StructureType::PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES;
    let read = description.property_structures.get(&kind.as_raw()).is_some_and(|body| {
        // SAFETY: the structure is ours, of the type named, and has no chain.
        let filled = unsafe { structs::fill_chain_body(&mut Decoder::new(body), (&raw mut limits).cast()) };
        filled.is_ok()
    });
    if read { limits.max_memory_allocation_size } else { u64::MAX }
}
