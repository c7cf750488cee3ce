//! What the Khronos validation layer says, as facts that two runs can be compared by.

use std::collections::BTreeMap;
use std::path::Path;

/// The layer's name.
pub const LAYER: &str = "VK_LAYER_KHRONOS_validation";
/// Where the loader finds layers that are installed.
const MANIFESTS: &[&str] = &[
    "/usr/share/vulkan/explicit_layer.d",
    "/usr/local/share/vulkan/explicit_layer.d",
    "/etc/vulkan/explicit_layer.d",
];
const MANIFEST: &str = "VkLayer_khronos_validation.json";
/// How an error begins, before its identifier.
const OPENING: &str = "Validation Error: [ ";

/// Whether the layer is installed.
#[must_use]
pub fn is_installed() -> bool {
    MANIFESTS.iter().any(|dir| Path::new(dir).join(MANIFEST).is_file())
}

/// The errors in what a program printed: the first line of each identifier.
#[must_use]
pub fn errors(text: &str) -> BTreeMap<String, String> {
    let mut errors = BTreeMap::new();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once(OPENING) else { continue };
        let id = rest.split(' ').next().unwrap_or_default();
        errors.entry(id.to_owned()).or_insert_with(|| line.to_owned());
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_the_first_line_of_each_identifier() {
        let text = "a ok 1\n\
                    VUID-b-1(ERROR / SPEC): msgNum: 1 - Validation Error: [ VUID-b-1 ] Object 0: x\n\
                    \x20   Objects: 1\n\
                    VUID-b-1(ERROR / SPEC): msgNum: 1 - Validation Error: [ VUID-b-1 ] Object 0: y\n\
                    U-c(ERROR / SPEC): msgNum: 2 - Validation Error: [ U-c ] Object 0: z\n";
        let errors = errors(text);
        assert_eq!(errors.keys().collect::<Vec<_>>(), ["U-c", "VUID-b-1"]);
        assert!(errors["VUID-b-1"].ends_with("x"));
    }

    #[test]
    fn errors_of_a_program_that_the_layer_likes_are_none() {
        assert_eq!(errors("one ok 1\ntwo skipped: no [ thing ]\n"), BTreeMap::new());
    }
}
