//! The page that says which extensions and commands are forwarded, and why others are not.

use super::emit::put;
use super::model::Kind;
use super::model::Model;
use super::tables;

/// The file `docs/vulkan-coverage.md`.
pub(super) fn generate(model: &Model) -> String {
    let mut text = String::new();
    put!(text, "# Vulkan coverage\n");
    put!(
        text,
        "Registry 1.3.{}: {} commands and {} structures are forwarded.\n",
        model.registry.version,
        model.commands.len(),
        model.structs.len()
    );
    put!(
        text,
        "*Forwarded*: commands and structures cross as they are, where the host's driver has the extension. *In the guest*: made by\nthe guest's driver itself. Everything else says why not.\n"
    );
    put!(text, "## Device extensions\n\n| extension | | commands |\n| --- | --- | ---: |");
    let mut extensions: Vec<_> = model.registry.extensions.iter().collect();
    extensions.sort_by(|a, b| a.name.cmp(&b.name));
    let line = |extension: &&super::registry::Block| {
        let state = if model.extensions.iter().any(|one| one.name == extension.name) {
            "forwarded".to_owned()
        } else if tables::GUEST_INSTANCE_EXTENSIONS.contains(&extension.name.as_str()) {
            "in the guest".to_owned()
        } else if let Some(reason) = tables::reason(tables::EXCLUDED_EXTENSIONS, &extension.name) {
            if reason == "implemented in the guest" {
                "in the guest".to_owned()
            } else {
                format!("no: {reason}")
            }
        } else if let Some(platform) = &extension.platform {
            format!("no: belongs to the platform `{platform}`")
        } else {
            "no: belongs to the instance".to_owned()
        };
        format!("| `{}` | {state} | {} |", extension.name, extension.commands.len())
    };
    extensions
        .iter()
        .filter(|extension| extension.kind == "device")
        .for_each(|one| put!(text, "{}", line(one)));
    put!(text, "\n## Instance extensions\n\n| extension | | commands |\n| --- | --- | ---: |");
    extensions
        .iter()
        .filter(|extension| extension.kind == "instance")
        .for_each(|one| put!(text, "{}", line(one)));
    put!(text, "\n## Structures that do not cross\n\n| structure | why |\n| --- | --- |");
    tables::EXCLUDED_STRUCTS.iter().for_each(|(name, reason)| put!(text, "| `{name}` | {reason} |"));
    put!(text, "\n## Commands without an encoding\n\n| command | why |\n| --- | --- |");
    tables::EXCLUDED_COMMANDS.iter().for_each(|(name, reason)| put!(text, "| `{name}` | {reason} |"));
    put!(text, "\n## Commands whose entry point is written by hand\n\n| command | why |\n| --- | --- |");
    for command in model.commands.iter().filter(|command| command.kind == Kind::Custom) {
        put!(
            text,
            "| `{}` | {} |",
            command.name,
            tables::reason(tables::CUSTOM_COMMANDS, &command.name).unwrap_or("queues are guest objects")
        );
    }
    text
}
