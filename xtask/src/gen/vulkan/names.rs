//! Names of the registry in Rust, as the `ash` crate spells them.

use heck::ToShoutySnakeCase;
use heck::ToSnakeCase;

/// A member or parameter.
pub(super) fn field(name: &str) -> String {
    match name {
        "type" => "ty".to_owned(),
        _ => name.to_snake_case(),
    }
}

/// A type: `VkBufferCreateInfo` is `BufferCreateInfo`.
pub(super) fn ty(name: &str) -> &str {
    name.strip_prefix("Vk").unwrap_or(name)
}

/// A function for a type: `buffer_create_info`.
pub(super) fn ty_snake(name: &str) -> String {
    ty(name).to_snake_case()
}

/// A function for a command: `cmd_draw`.
pub(super) fn command(name: &str) -> String {
    name.strip_prefix("vk").unwrap_or(name).to_snake_case()
}

/// A constant for a command or type: `CMD_DRAW`.
pub(super) fn constant(name: &str) -> String {
    name.trim_start_matches("vk").trim_start_matches("Vk").to_shouty_snake_case()
}

/// A flag type of the registry as `ash` spells it: bits and sets are one type.
pub(super) fn flags(name: &str) -> String {
    ty(name).replace("FlagBits", "Flags")
}

/// `VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO` as a constant of `ash::vk::StructureType`.
pub(super) fn structure_type(value: &str) -> &str {
    value.strip_prefix("VK_STRUCTURE_TYPE_").unwrap_or(value)
}

/// A constant of the registry used as a length.
pub(super) fn length(name: &str) -> String {
    if name.chars().all(|c| c.is_ascii_digit()) {
        return name.to_owned();
    }
    format!("vk::{}", name.strip_prefix("VK_").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_spelled_as_in_ash() {
        assert_eq!(super::field("storageBuffer8BitAccess"), "storage_buffer8_bit_access");
        assert_eq!(super::field("ppEnabledLayerNames"), "pp_enabled_layer_names");
        assert_eq!(super::command("vkGetImageSubresourceLayout2KHR"), "get_image_subresource_layout2_khr");
        assert_eq!(super::constant("vkCmdDraw"), "CMD_DRAW");
        assert_eq!(super::flags("VkAccessFlagBits2"), "AccessFlags2");
        assert_eq!(super::length("VK_UUID_SIZE"), "vk::UUID_SIZE");
        assert_eq!(super::length("4"), "4");
    }
}
