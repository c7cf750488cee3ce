//! Numbers of commands and object types, shared by guest and host.

use super::emit::put;
use super::model::Model;
use super::names;

/// The first number of a command of the registry.
const FIRST_OPCODE: usize = 16;

/// The file `dxg-wire/src/generated/vulkan.rs`.
pub(super) fn generate(model: &Model) -> String {
    let mut text = String::new();
    put!(
        text,
        "//! Numbers of the Vulkan registry on a command stream: commands by name, types of objects by name.\n"
    );
    put!(text, "#![forbid(unsafe_code)]\n");
    put!(
        text,
        "/// Version of the registry.\npub const VK_XML_VERSION: &str = \"1.3.{}\";\n",
        model.registry.version
    );
    put!(
        text,
        "/// A command of the registry on a stream. Numbers below {FIRST_OPCODE} are the stream's own, 0x8000 and up are in\n/// [`crate::vulkan::op`]."
    );
    put!(
        text,
        "#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub struct VkOp(pub u16);\n"
    );
    put!(text, "impl VkOp {{");
    for (at, command) in model.commands.iter().enumerate() {
        put!(
            text,
            "/// `{}`.\npub const {}: Self = Self({});",
            command.name,
            names::constant(&command.name),
            at + FIRST_OPCODE
        );
    }
    put!(
        text,
        "\n/// The command's name, if it is one of the registry.\n#[must_use]\npub fn name(self) -> Option<&'static str> {{"
    );
    put!(text, "NAMES.get(usize::from(self.0).checked_sub({FIRST_OPCODE})?).copied()\n}}\n}}\n");
    put!(
        text,
        "/// Names of the commands, in the order of their numbers, from {FIRST_OPCODE}.\nconst NAMES: &[&str] = &["
    );
    for command in &model.commands {
        put!(text, "\"{}\",", command.name);
    }
    put!(text, "];\n");
    let kinds = model.object_kinds();
    put!(
        text,
        "/// A type of objects that a stream names by ids.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub struct ObjectKind(pub u8);\n"
    );
    put!(
        text,
        "impl ObjectKind {{\n/// How many types there are.\npub const COUNT: usize = {};",
        kinds.len()
    );
    for (at, kind) in kinds.iter().enumerate() {
        put!(text, "/// `{kind}`.\npub const {}: Self = Self({at});", names::constant(kind));
    }
    put!(
        text,
        "\n/// The type's name.\n#[must_use]\npub fn name(self) -> Option<&'static str> {{\nOBJECT_KINDS.get(usize::from(self.0)).copied()\n}}\n}}\n"
    );
    put!(
        text,
        "/// Names of the types of objects, in the order of their numbers.\npub const OBJECT_KINDS: &[&str] = &["
    );
    for kind in &kinds {
        put!(text, "\"{kind}\",");
    }
    put!(text, "];");
    text
}
