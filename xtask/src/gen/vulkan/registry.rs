//! The Vulkan registry as it is written: types, commands, features, extensions; `vulkansc` parts left out.

use std::collections::BTreeMap;

use anyhow::Context;
use roxmltree::Document;
use roxmltree::Node;

/// A member of a structure or a parameter of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    /// Name as in C.
    pub(super) name: String,
    /// C type without qualifiers and stars.
    pub(super) ty: String,
    /// Number of stars.
    pub(super) stars: usize,
    /// Whether the pointed-to type is `const`.
    pub(super) constant: bool,
    /// Static array dimensions, as numbers or names of constants.
    pub(super) dims: Vec<String>,
    /// The `len` attribute (`altlen` where that is given), split at commas.
    pub(super) len: Vec<String>,
    /// The `optional` attribute, split at commas.
    pub(super) optional: Vec<bool>,
    /// Whether the registry declares no implicit validity.
    pub(super) no_auto_validity: bool,
    /// Width of a bit field.
    pub(super) bits: Option<u32>,
    /// The `values` attribute: the `sType`.
    pub(super) values: Option<String>,
}

impl Member {
    /// Whether level `at` of the pointer (0: the outermost) may be null or zero.
    pub(super) fn optional(&self, at: usize) -> bool {
        self.optional.get(at).copied().unwrap_or(false)
    }
}

/// A structure or union.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) union: bool,
    pub(super) extends: Vec<String>,
    pub(super) members: Vec<Member>,
}

/// A command.
#[derive(Clone, Debug, Default)]
pub(super) struct Command {
    pub(super) name: String,
    pub(super) ret: String,
    pub(super) params: Vec<Member>,
}

/// What a feature or an extension brings.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// `VK_VERSION_1_1` or the name of the extension.
    pub(super) name: String,
    pub(super) types: Vec<String>,
    pub(super) commands: Vec<String>,
    /// Extensions only: `device` or `instance`.
    pub(super) kind: String,
    pub(super) platform: Option<String>,
    pub(super) spec_version: u32,
    pub(super) provisional: bool,
}

/// The registry.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) version: String,
    pub(super) records: BTreeMap<String, Record>,
    /// Aliases of types and commands: alias to name.
    pub(super) type_aliases: BTreeMap<String, String>,
    pub(super) command_aliases: BTreeMap<String, String>,
    pub(super) commands: BTreeMap<String, Command>,
    /// Handle to whether it is dispatchable.
    pub(super) handles: BTreeMap<String, bool>,
    /// Flag types to whether they have 64 bits.
    pub(super) flags: BTreeMap<String, bool>,
    /// Enum types, flag bits left out.
    pub(super) enums: BTreeMap<String, ()>,
    /// Flag-bit types to their flag type.
    pub(super) flag_bits: BTreeMap<String, String>,
    pub(super) features: Vec<Block>,
    pub(super) extensions: Vec<Block>,
}

fn vulkan(node: Node<'_, '_>) -> bool {
    node.attribute("api").is_none_or(|api| api.split(',').any(|one| one == "vulkan"))
}

fn child_text(node: Node<'_, '_>, tag: &str) -> Option<String> {
    node.children().find(|child| child.has_tag_name(tag)).and_then(|child| child.text()).map(str::to_owned)
}

/// Text of a member without its comment.
fn plain_text(node: Node<'_, '_>) -> String {
    let mut text = String::new();
    for child in node.children().filter(|child| !child.has_tag_name("comment")) {
        for part in child.descendants().filter(Node::is_text) {
            text.push_str(part.text().unwrap_or(""));
        }
    }
    text
}

fn split(text: Option<&str>) -> Vec<String> {
    text.map(|text| text.split(',').map(|part| part.trim().to_owned()).collect()).unwrap_or_default()
}

fn member(node: Node<'_, '_>) -> anyhow::Result<Member> {
    let text = plain_text(node);
    let name = child_text(node, "name").context("member without a name")?;
    let ty = child_text(node, "type").context("member without a type")?;
    let after = text.rfind(&name).map_or("", |at| &text[at + name.len()..]).trim().to_owned();
    let mut dims = Vec::new();
    let mut rest = after.as_str();
    while let Some(open) = rest.find('[') {
        let close = rest.find(']').context("unclosed dimension")?;
        dims.push(rest[open + 1..close].to_owned());
        rest = &rest[close + 1..];
    }
    let bits = after.strip_prefix(':').and_then(|bits| bits.trim().parse().ok());
    Ok(Member {
        stars: text.matches('*').count(),
        constant: text.trim_start().starts_with("const"),
        dims,
        len: split(node.attribute("altlen").or(node.attribute("len"))),
        optional: split(node.attribute("optional")).iter().map(|one| one == "true").collect(),
        no_auto_validity: node.attribute("noautovalidity") == Some("true"),
        bits,
        values: node.attribute("values").map(str::to_owned),
        name,
        ty,
    })
}

fn block(node: Node<'_, '_>) -> Block {
    let mut block = Block {
        name: node.attribute("name").unwrap_or("").to_owned(),
        kind: node.attribute("type").unwrap_or("").to_owned(),
        platform: node.attribute("platform").map(str::to_owned),
        provisional: node.attribute("provisional") == Some("true"),
        ..Block::default()
    };
    for require in node.children().filter(|child| child.has_tag_name("require") && vulkan(*child)) {
        for item in require.children().filter(Node::is_element) {
            let name = item.attribute("name").unwrap_or("").to_owned();
            match item.tag_name().name() {
                "type" => block.types.push(name),
                "command" => block.commands.push(name),
                // An old name of the constant has no value of its own.
                "enum" if name.ends_with("_SPEC_VERSION") && item.has_attribute("value") => {
                    block.spec_version = item.attribute("value").and_then(|v| v.parse().ok()).unwrap_or(1);
                }
                _ => {}
            }
        }
    }
    block
}

impl Registry {
    /// Reads the registry.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let document = Document::parse(text)?;
        let mut registry = Self::default();
        for node in document.root_element().children().filter(Node::is_element) {
            match node.tag_name().name() {
                "types" => {
                    for ty in node.children().filter(|node| node.has_tag_name("type") && vulkan(*node)) {
                        registry.add_type(ty)?;
                    }
                }
                "commands" => {
                    for command in
                        node.children().filter(|node| node.has_tag_name("command") && vulkan(*node))
                    {
                        registry.add_command(command)?;
                    }
                }
                "feature" if vulkan(node) => registry.features.push(block(node)),
                "extensions" => {
                    for extension in node.children().filter(|node| node.has_tag_name("extension")) {
                        let supported = split(extension.attribute("supported"));
                        if supported.iter().any(|one| one == "vulkan") {
                            registry.extensions.push(block(extension));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(registry)
    }

    fn add_type(&mut self, node: Node<'_, '_>) -> anyhow::Result<()> {
        let name = match node.attribute("name") {
            Some(name) => name.to_owned(),
            None => match child_text(node, "name") {
                Some(name) => name,
                None => return Ok(()),
            },
        };
        if let Some(target) = node.attribute("alias") {
            self.type_aliases.insert(name, target.to_owned());
            return Ok(());
        }
        match node.attribute("category") {
            Some("struct" | "union") => {
                let members = node
                    .children()
                    .filter(|child| child.has_tag_name("member") && vulkan(*child))
                    .map(member)
                    .collect::<anyhow::Result<_>>()
                    .with_context(|| format!("type {name}"))?;
                let union = node.attribute("category") == Some("union");
                let extends = split(node.attribute("structextends"));
                self.records.insert(name.clone(), Record { name, union, extends, members });
            }
            Some("handle") => {
                let macro_name = child_text(node, "type").unwrap_or_default();
                self.handles.insert(name, macro_name == "VK_DEFINE_HANDLE");
            }
            Some("bitmask") => {
                let wide = child_text(node, "type").as_deref() == Some("VkFlags64");
                if let Some(bits) = node.attribute("requires").or(node.attribute("bitvalues")) {
                    self.flag_bits.insert(bits.to_owned(), name.clone());
                }
                self.flags.insert(name, wide);
            }
            Some("enum") => {
                self.enums.insert(name, ());
            }
            Some("define") if name == "VK_HEADER_VERSION" => {
                let text: String =
                    node.descendants().filter(Node::is_text).filter_map(|t| t.text()).collect();
                self.version = text.split_whitespace().last().unwrap_or("").to_owned();
            }
            _ => {}
        }
        Ok(())
    }

    fn add_command(&mut self, node: Node<'_, '_>) -> anyhow::Result<()> {
        if let (Some(name), Some(target)) = (node.attribute("name"), node.attribute("alias")) {
            self.command_aliases.insert(name.to_owned(), target.to_owned());
            return Ok(());
        }
        let proto =
            node.children().find(|child| child.has_tag_name("proto")).context("command without prototype")?;
        let name = child_text(proto, "name").context("command without a name")?;
        let ret = child_text(proto, "type").context("command without a result")?;
        let params = node
            .children()
            .filter(|child| child.has_tag_name("param") && vulkan(*child))
            .map(member)
            .collect::<anyhow::Result<_>>()
            .with_context(|| format!("command {name}"))?;
        self.commands.insert(name.clone(), Command { name, ret, params });
        Ok(())
    }

    /// The name that `name` is an alias of, or itself.
    pub(super) fn type_name<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        while let Some(target) = self.type_aliases.get(name) {
            name = target;
        }
        name
    }

    /// The command that `name` is an alias of, or itself.
    pub(super) fn command_name<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        while let Some(target) = self.command_aliases.get(name) {
            name = target;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::Registry;

    const SMALL: &str = r#"<registry>
      <types>
        <type category="handle"><type>VK_DEFINE_HANDLE</type>(<name>VkDevice</name>)</type>
        <type category="bitmask" requires="VkFooFlagBits">typedef <type>VkFlags</type> <name>VkFooFlags</name>;</type>
        <type category="struct" name="VkFoo" structextends="VkBar,VkBaz">
          <member values="VK_STRUCTURE_TYPE_FOO"><type>VkStructureType</type> <name>sType</name></member>
          <member optional="true">const <type>void</type>* <name>pNext</name></member>
          <member api="vulkansc"><type>uint32_t</type> <name>safe</name></member>
          <member><type>uint32_t</type> <name>codeSize</name><comment>in a[b] * bytes</comment></member>
          <member len="latexmath:[x]" altlen="codeSize / 4">const <type>uint32_t</type>* <name>pCode</name></member>
          <member len="count,null-terminated">const <type>char</type>* const* <name>ppNames</name></member>
          <member><type>float</type> <name>matrix</name>[3][<enum>VK_SIZE</enum>]</member>
          <member><type>uint32_t</type> <name>mask</name>:8</member>
        </type>
        <type category="struct" name="VkFooKHR" alias="VkFoo"/>
      </types>
      <commands>
        <command><proto><type>VkResult</type> <name>vkFoo</name></proto>
          <param><type>VkDevice</type> <name>device</name></param>
          <param optional="false,true"><type>uint32_t</type>* <name>pCount</name></param></command>
        <command name="vkFooKHR" alias="vkFoo"/>
      </commands>
      <feature api="vulkan,vulkansc" name="VK_VERSION_1_0"><require><command name="vkFoo"/></require></feature>
      <extensions>
        <extension name="VK_KHR_foo" type="device" supported="vulkan">
          <require><enum value="3" name="VK_KHR_FOO_SPEC_VERSION"/><command name="vkFooKHR"/></require></extension>
        <extension name="VK_KHR_off" type="device" supported="disabled"><require/></extension>
      </extensions>
    </registry>"#;

    #[test]
    fn members_are_read_with_their_shape() {
        let registry = Registry::parse(SMALL).unwrap();
        let foo = &registry.records["VkFoo"];
        assert_eq!(foo.extends, ["VkBar", "VkBaz"]);
        let names: Vec<_> = foo.members.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["sType", "pNext", "codeSize", "pCode", "ppNames", "matrix", "mask"]);
        let by = |name: &str| foo.members.iter().find(|m| m.name == name).unwrap().clone();
        assert_eq!(by("codeSize").stars, 0);
        assert_eq!((by("pCode").len, by("pCode").constant), (vec!["codeSize / 4".to_owned()], true));
        assert_eq!(by("ppNames").stars, 2);
        assert_eq!(by("matrix").dims, ["3", "VK_SIZE"]);
        assert_eq!(by("mask").bits, Some(8));
    }

    #[test]
    fn aliases_and_extensions_are_resolved() {
        let registry = Registry::parse(SMALL).unwrap();
        assert_eq!(registry.type_name("VkFooKHR"), "VkFoo");
        assert_eq!(registry.command_name("vkFooKHR"), "vkFoo");
        assert_eq!(registry.extensions.len(), 1);
        assert_eq!(registry.extensions[0].spec_version, 3);
        assert!(registry.handles["VkDevice"]);
        assert!(!registry.flags["VkFooFlags"]);
        assert!(registry.commands["vkFoo"].params[1].optional(1));
    }
}
