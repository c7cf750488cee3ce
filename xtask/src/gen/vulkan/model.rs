//! What is generated: the selected commands and structures, each member with the shape it has on the wire.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;

use super::names;
use super::registry::Block;
use super::registry::Command;
use super::registry::Member;
use super::registry::Registry;
use super::tables;

/// A type that stands for itself on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    /// A C scalar, by its name in Rust.
    Scalar(&'static str),
    /// `size_t`.
    Size,
    /// `char`.
    Char,
    /// An enum of the registry.
    Enum(String),
    /// A set of flags; 64 bits wide or 32.
    Flags(String, bool),
    /// A handle.
    Handle(String),
    /// A structure.
    Struct(String),
    /// A union whose bytes are copied.
    Union(String),
    /// `void`.
    Void,
}

impl Ty {
    /// The type in Rust; `life` is the lifetime argument of structures that have one.
    pub(super) fn rust(&self, model: &Model, life: &str) -> String {
        match self {
            Self::Scalar(name) => (*name).to_owned(),
            Self::Size => "usize".to_owned(),
            Self::Char => "c_char".to_owned(),
            Self::Enum(name) | Self::Handle(name) => format!("vk::{}", names::ty(name)),
            Self::Union(name) => format!("vk::{}", names::ty(name)),
            Self::Flags(name, _) => format!("vk::{}", names::flags(name)),
            Self::Struct(name) => {
                let life = if model.has_lifetime(name) && !life.is_empty() {
                    format!("<{life}>")
                } else {
                    String::new()
                };
                format!("vk::{}{life}", names::ty(name))
            }
            Self::Void => "c_void".to_owned(),
        }
    }

    /// Bytes on the wire where they are always the same.
    pub(super) fn fixed_bytes(&self) -> Option<usize> {
        match self {
            Self::Scalar("u64" | "i64" | "f64") | Self::Size | Self::Flags(_, true) => Some(8),
            Self::Scalar(_) | Self::Enum(_) | Self::Flags(_, false) => Some(4),
            Self::Handle(name) if name != "VkCommandBuffer" => Some(8),
            _ => None,
        }
    }
}

/// What a member or parameter is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `sType`.
    SType,
    /// `pNext`.
    Next,
    /// One value.
    Value(Ty),
    /// A static array.
    Fixed(Ty, Vec<String>),
    /// A pointer to one value.
    Pointer { ty: Ty, optional: bool },
    /// A pointer to as many values as `len` says.
    Array { ty: Ty, len: String, optional: bool },
    /// A pointer to as many bytes as `len` says.
    Blob { len: String, optional: bool },
    /// A string that ends with NUL.
    Text { optional: bool },
    /// As many pointers to strings as `len` says.
    Texts { len: String, optional: bool },
    /// `pAllocator`.
    Allocator,
}

/// A member with its shape.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) member: Member,
    pub(super) shape: Shape,
    /// Whether the host or the caller reads it only (`const`, or not a pointer).
    pub(super) read: bool,
}

impl Field {
    /// Name in Rust.
    pub(super) fn name(&self) -> String {
        names::field(&self.member.name)
    }
}

/// A structure to generate.
#[derive(Clone, Debug)]
pub(super) struct Struct {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
    pub(super) s_type: Option<String>,
    /// Structures that may extend it.
    pub(super) extended_by: Vec<String>,
}

impl Struct {
    pub(super) fn has_chain(&self) -> bool {
        self.fields.iter().any(|field| field.shape == Shape::Next)
    }
}

/// Which object commands of a level are called on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Instance,
    PhysicalDevice,
    Device,
}

/// Who writes the entry point in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Appends to a recording.
    Record,
    /// Makes one handle without waiting.
    AsyncCreate,
    /// Ends one handle without waiting.
    Destroy,
    /// Sent without waiting, with a result of success.
    Post,
    /// Waits for the reply.
    Sync,
    /// Written by hand.
    Custom,
}

/// A command to generate.
#[derive(Clone, Debug)]
pub(super) struct Cmd {
    pub(super) name: String,
    pub(super) ret: String,
    /// The first parameter, a dispatchable handle.
    pub(super) leading: Field,
    pub(super) params: Vec<Field>,
    pub(super) level: Level,
    pub(super) kind: Kind,
}

/// What enables a command or structure: core versions and extensions, any of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Requires {
    pub(super) version: Option<(u32, u32)>,
    pub(super) extensions: BTreeSet<String>,
}

/// Everything to generate.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) registry: Registry,
    pub(super) extensions: Vec<Block>,
    pub(super) structs: BTreeMap<String, Struct>,
    /// Structures that are read by the host.
    pub(super) inputs: BTreeSet<String>,
    /// Structures that are written by the host.
    pub(super) outputs: BTreeSet<String>,
    pub(super) commands: Vec<Cmd>,
    /// By names of commands (aliases too) and structures.
    pub(super) requires: BTreeMap<String, Requires>,
    selected_types: BTreeSet<String>,
}

fn version(feature: &str) -> anyhow::Result<(u32, u32)> {
    let numbers = feature.strip_prefix("VK_VERSION_").context("feature of unknown name")?;
    let (major, minor) = numbers.split_once('_').context("feature of unknown name")?;
    Ok((major.parse()?, minor.parse()?))
}

impl Model {
    /// Selects and classifies.
    pub(super) fn new(registry: Registry) -> anyhow::Result<Self> {
        let mut extensions = Vec::new();
        for extension in &registry.extensions {
            let forwarded = extension.kind == "device"
                && extension.platform.is_none()
                && !extension.provisional
                && tables::reason(tables::EXCLUDED_EXTENSIONS, &extension.name).is_none();
            if forwarded || tables::INSTANCE_EXTENSIONS.contains(&extension.name.as_str()) {
                extensions.push(extension.clone());
            }
        }
        let mut model = Self {
            registry,
            extensions,
            structs: BTreeMap::new(),
            inputs: BTreeSet::new(),
            outputs: BTreeSet::new(),
            commands: Vec::new(),
            requires: BTreeMap::new(),
            selected_types: BTreeSet::new(),
        };
        model.select()?;
        model.add_commands()?;
        for root in tables::ROOT_IN_STRUCTS {
            model.add_struct(root, Direction::In).with_context(|| format!("structure {root}"))?;
        }
        for root in tables::ROOT_OUT_STRUCTS {
            model.add_struct(root, Direction::Out).with_context(|| format!("structure {root}"))?;
        }
        Ok(model)
    }

    fn select(&mut self) -> anyhow::Result<()> {
        for feature in self.registry.features.clone() {
            let version = version(&feature.name)?;
            for item in feature.types.iter().chain(&feature.commands) {
                self.requires.entry(item.clone()).or_default().version.get_or_insert(version);
            }
            self.select_types(&feature.types);
        }
        for extension in self.extensions.clone() {
            for item in extension.types.iter().chain(&extension.commands) {
                self.requires.entry(item.clone()).or_default().extensions.insert(extension.name.clone());
            }
            self.select_types(&extension.types);
        }
        // An alias enables what it stands for.
        for (alias, target) in self.registry.type_aliases.clone() {
            if let Some(requires) = self.requires.get(&alias).cloned() {
                let entry = self.requires.entry(target).or_default();
                entry.version = entry.version.or(requires.version);
                entry.extensions.extend(requires.extensions);
            }
        }
        Ok(())
    }

    fn select_types(&mut self, types: &[String]) {
        for name in types {
            let name = self.registry.type_name(name).to_owned();
            self.selected_types.insert(name);
        }
    }

    /// Whether `name` has a lifetime parameter in `ash`: it holds a pointer somewhere.
    pub(super) fn has_lifetime(&self, name: &str) -> bool {
        self.registry.records.get(self.registry.type_name(name)).is_some_and(|record| {
            !record.union
                && record.members.iter().any(|member| member.stars > 0 || self.has_lifetime(&member.ty))
        })
    }

    fn ty(&self, name: &str) -> anyhow::Result<Ty> {
        let name = self.registry.type_name(name);
        let scalar = match name {
            "void" => return Ok(Ty::Void),
            "char" => return Ok(Ty::Char),
            "size_t" => return Ok(Ty::Size),
            "uint8_t" => "u8",
            "uint16_t" => "u16",
            "uint32_t" | "VkBool32" | "VkSampleMask" | "VkFlags" => "u32",
            "int32_t" | "int" => "i32",
            "uint64_t" | "VkDeviceSize" | "VkDeviceAddress" | "VkFlags64" => "u64",
            "int64_t" => "i64",
            "float" => "f32",
            "double" => "f64",
            _ => "",
        };
        if !scalar.is_empty() {
            return Ok(Ty::Scalar(scalar));
        }
        if let Some(flags) = self.registry.flag_bits.get(name) {
            let wide = self.registry.flags.get(flags).copied().unwrap_or(false);
            return Ok(Ty::Flags(name.to_owned(), wide));
        }
        if let Some(wide) = self.registry.flags.get(name) {
            return Ok(Ty::Flags(name.to_owned(), *wide));
        }
        if self.registry.handles.contains_key(name) {
            return Ok(Ty::Handle(name.to_owned()));
        }
        if name.contains("FlagBits") {
            return Ok(Ty::Flags(name.to_owned(), name.contains("FlagBits2") || name.contains("FlagBits64")));
        }
        if self.registry.enums.contains_key(name) {
            return Ok(Ty::Enum(name.to_owned()));
        }
        if let Some(record) = self.registry.records.get(name) {
            if record.union {
                ensure!(
                    tables::PLAIN_UNIONS.iter().any(|(union, ..)| *union == name),
                    "union {name} has no entry in the table of unions"
                );
                return Ok(Ty::Union(name.to_owned()));
            }
            return Ok(Ty::Struct(name.to_owned()));
        }
        bail!("type {name} has no form on the wire");
    }

    fn field(&self, owner: &str, member: &Member) -> anyhow::Result<Field> {
        ensure!(member.bits.is_none(), "{owner}.{}: bit field", member.name);
        let mut read = member.stars == 0 || member.constant;
        read |= tables::READ_ONLY.contains(&(owner, member.name.as_str()));
        let shape = if member.name == "sType" {
            Shape::SType
        } else if member.name == "pNext" {
            Shape::Next
        } else if member.ty == "VkAllocationCallbacks" {
            Shape::Allocator
        } else {
            let ty = self.ty(&member.ty).with_context(|| format!("{owner}.{}", member.name))?;
            let optional = member.optional(0) || member.no_auto_validity;
            let len = member.len.first().map(String::as_str);
            match (member.stars, len, &ty) {
                (0, _, _) if !member.dims.is_empty() => Shape::Fixed(ty, member.dims.clone()),
                (0, _, Ty::Void) => bail!("{owner}.{}: a value of no type", member.name),
                (0, _, _) => Shape::Value(ty),
                (1, Some("null-terminated"), Ty::Char) => Shape::Text { optional },
                (1, Some(len), Ty::Void) => Shape::Blob { len: len.to_owned(), optional },
                (1, None, Ty::Void) => bail!("{owner}.{}: bytes of unknown length", member.name),
                (1, None | Some("1"), _) => Shape::Pointer { ty, optional },
                (1, Some(len), _) => Shape::Array { ty, len: len.to_owned(), optional },
                (2, Some(len), Ty::Char) => Shape::Texts { len: len.to_owned(), optional },
                _ => bail!("{owner}.{}: pointer to pointers", member.name),
            }
        };
        Ok(Field { member: member.clone(), shape, read })
    }

    fn add_struct(&mut self, name: &str, direction: Direction) -> anyhow::Result<()> {
        let set = match direction {
            Direction::In => &mut self.inputs,
            Direction::Out => &mut self.outputs,
        };
        if !set.insert(name.to_owned()) {
            return Ok(());
        }
        if let Some(reason) = tables::reason(tables::EXCLUDED_STRUCTS, name) {
            bail!("structure {name} is left out ({reason}) but needed");
        }
        if !self.structs.contains_key(name) {
            let record = self.registry.records.get(name).context("no such structure")?.clone();
            let fields = record
                .members
                .iter()
                .map(|member| self.field(name, member))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let s_type = record.members.iter().find_map(|member| member.values.clone());
            let extended_by = self
                .registry
                .records
                .values()
                .filter(|other| {
                    other.extends.iter().any(|parent| self.registry.type_name(parent) == name)
                        && self.selected_types.contains(&other.name)
                        && tables::reason(tables::EXCLUDED_STRUCTS, &other.name).is_none()
                })
                .map(|other| other.name.clone())
                .collect();
            self.structs
                .insert(name.to_owned(), Struct { name: name.to_owned(), fields, s_type, extended_by });
        }
        let Some(known) = self.structs.get(name).cloned() else { return Ok(()) };
        for field in &known.fields {
            if direction == Direction::In {
                ensure!(
                    field.read || field.shape == Shape::Next,
                    "{name}.{}: output in an input",
                    field.member.name
                );
            }
            self.add_types_of(&field.shape, direction)
                .with_context(|| format!("{name}.{}", field.member.name))?;
        }
        for extension in &known.extended_by {
            self.add_struct(extension, direction).with_context(|| format!("{extension} extends {name}"))?;
        }
        Ok(())
    }

    fn add_types_of(&mut self, shape: &Shape, direction: Direction) -> anyhow::Result<()> {
        match shape {
            Shape::Value(ty) | Shape::Fixed(ty, _) | Shape::Pointer { ty, .. } | Shape::Array { ty, .. } => {
                match ty {
                    Ty::Struct(name) => self.add_struct(&name.clone(), direction),
                    Ty::Handle(name) if self.registry.handles[name] && name != "VkCommandBuffer" => {
                        bail!("dispatchable handle {name}")
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn add_commands(&mut self) -> anyhow::Result<()> {
        let mut names = BTreeSet::new();
        for feature in &self.registry.features {
            names.extend(feature.commands.iter().map(|name| self.registry.command_name(name).to_owned()));
        }
        for extension in &self.extensions {
            names.extend(extension.commands.iter().map(|name| self.registry.command_name(name).to_owned()));
        }
        for name in names {
            if tables::reason(tables::EXCLUDED_COMMANDS, &name).is_some() {
                continue;
            }
            let Some(command) = self.registry.commands.get(&name).cloned() else { continue };
            let command = self.command(&command).with_context(|| format!("command {name}"))?;
            for field in &command.params {
                let direction = if field.read { Direction::In } else { Direction::Out };
                self.add_types_of(&field.shape, direction)
                    .with_context(|| format!("command {name}, {}", field.member.name))?;
            }
            self.commands.push(command);
        }
        Ok(())
    }

    fn command(&self, command: &Command) -> anyhow::Result<Cmd> {
        let fields = command
            .params
            .iter()
            .map(|param| self.field(&command.name, param))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (leading, params) = fields.split_first().context("no parameters")?;
        let level = level(&leading.member.ty).context("first parameter is no dispatchable handle")?;
        let name = command.name.as_str();
        let outputs = params.iter().any(|field| !field.read);
        let custom = tables::reason(tables::CUSTOM_COMMANDS, name).is_some()
            && !tables::NOT_CUSTOM_COMMANDS.contains(&name);
        let kind = if custom || leading.member.ty == "VkQueue" {
            Kind::Custom
        } else if leading.member.ty == "VkCommandBuffer" {
            Kind::Record
        } else if tables::ASYNC_CREATES.contains(&name) {
            Kind::AsyncCreate
        } else if name.starts_with("vkDestroy") {
            Kind::Destroy
        } else if tables::POSTED.contains(&name) || (command.ret == "void" && !outputs) {
            Kind::Post
        } else {
            Kind::Sync
        };
        Ok(Cmd {
            name: command.name.clone(),
            ret: command.ret.clone(),
            leading: leading.clone(),
            params: params.to_vec(),
            level,
            kind,
        })
    }

    /// Handle types in use, the dispatchable ones but command buffers left out.
    pub(super) fn object_kinds(&self) -> Vec<String> {
        let of_blocks = self.registry.features.iter().chain(&self.extensions).flat_map(|block| &block.types);
        let mut kinds: BTreeSet<String> = of_blocks
            .map(|name| self.registry.type_name(name).to_owned())
            .filter(|name| self.registry.handles.get(name).is_some_and(|dispatchable| !dispatchable))
            .collect();
        kinds.insert("VkCommandBuffer".to_owned());
        kinds.into_iter().collect()
    }

    /// Names by which `command` is known, itself first.
    pub(super) fn command_names(&self, command: &str) -> Vec<String> {
        let mut names = vec![command.to_owned()];
        for (alias, target) in &self.registry.command_aliases {
            if self.registry.command_name(target) == command && self.requires.contains_key(alias) {
                names.push(alias.clone());
            }
        }
        names
    }
}

/// The level of a first parameter.
pub(super) fn level(ty: &str) -> Option<Level> {
    match ty {
        "VkInstance" => Some(Level::Instance),
        "VkPhysicalDevice" => Some(Level::PhysicalDevice),
        "VkDevice" | "VkQueue" | "VkCommandBuffer" => Some(Level::Device),
        _ => None,
    }
}

/// Which way a structure crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

#[cfg(test)]
mod tests {
    use super::Model;
    use super::Registry;
    use super::Shape;
    use super::Ty;

    /// The shapes of the members of `VkFoo`.
    fn shapes(members: &str) -> anyhow::Result<Vec<Shape>> {
        let registry = Registry::parse(&format!(
            r#"<registry><types>
              <type category="handle"><type>VK_DEFINE_NON_DISPATCHABLE_HANDLE</type>(<name>VkBuffer</name>)</type>
              <type category="enum" name="VkFooFlagBits2"/>
              <type category="bitmask" bitvalues="VkFooFlagBits2">typedef <type>VkFlags64</type> <name>VkFooFlags2</name>;</type>
              <type category="union" name="VkBar"><member><type>float</type> <name>x</name></member></type>
              <type category="struct" name="VkFoo">{members}</type>
            </types></registry>"#
        ))?;
        let record = registry.records["VkFoo"].clone();
        let model = Model {
            registry,
            extensions: Vec::new(),
            structs: Default::default(),
            inputs: Default::default(),
            outputs: Default::default(),
            commands: Vec::new(),
            requires: Default::default(),
            selected_types: Default::default(),
        };
        record.members.iter().map(|member| Ok(model.field("VkFoo", member)?.shape)).collect()
    }

    #[test]
    fn scalars_arrays_and_strings_have_their_shapes() {
        let shapes = shapes(
            r#"<member><type>VkFooFlagBits2</type> <name>flags</name></member>
               <member len="count">const <type>VkBuffer</type>* <name>pBuffers</name></member>
               <member len="dataSize" optional="true">const <type>void</type>* <name>pData</name></member>
               <member len="null-terminated">const <type>char</type>* <name>pName</name></member>
               <member><type>float</type> <name>matrix</name>[3][4]</member>
               <member optional="true">const <type>uint32_t</type>* <name>pOne</name></member>"#,
        )
        .unwrap();
        assert_eq!(
            shapes,
            [
                Shape::Value(Ty::Flags("VkFooFlagBits2".to_owned(), true)),
                Shape::Array {
                    ty: Ty::Handle("VkBuffer".to_owned()),
                    len: "count".to_owned(),
                    optional: false
                },
                Shape::Blob { len: "dataSize".to_owned(), optional: true },
                Shape::Text { optional: false },
                Shape::Fixed(Ty::Scalar("f32"), vec!["3".to_owned(), "4".to_owned()]),
                Shape::Pointer { ty: Ty::Scalar("u32"), optional: true },
            ]
        );
    }

    #[test]
    fn members_without_a_form_on_the_wire_are_errors() {
        for member in [
            "<member>const <type>void</type>* <name>pUserData</name></member>",
            "<member><type>uint32_t</type> <name>mask</name>:8</member>",
            "<member><type>VkBar</type> <name>bar</name></member>",
            r#"<member len="count,1">const <type>uint32_t</type>* const* <name>ppX</name></member>"#,
            "<member><type>PFN_vkFoo</type> <name>pfn</name></member>",
        ] {
            assert!(shapes(member).is_err(), "{member}");
        }
    }
}
