//! The text of `vulkaninfo` taken apart and compared.
//!
//! The text is a tree: headings underlined with `===` or `---`, lines indented with tabs. It becomes a list of facts,
//! each a path of headings and names with a value, so that two devices are compared fact by fact and not line by line.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// One line of the text with the names above it.
pub type Facts = BTreeMap<String, String>;

/// What separates the names of a path.
const SEPARATOR: &str = " / ";

/// Takes the text apart.
///
/// A fact is named by its headings and the lines it is indented under; a name that comes again in the same place gets
/// a number.
pub fn parse(text: &str) -> Facts {
    let lines: Vec<&str> = text.lines().collect();
    let mut facts = Facts::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut major = String::new();
    let mut minor = String::new();
    // The names of the lines above, one for each depth.
    let mut above: Vec<String> = Vec::new();
    let is_rule = |line: &str, mark: char| line.len() >= 3 && line.chars().all(|c| c == mark);
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1).copied().unwrap_or("");
        let depth = line.chars().take_while(|c| *c == '\t').count();
        let body = line.trim();
        if body.is_empty() || is_rule(body, '=') || is_rule(body, '-') {
            continue;
        }
        let is_heading = is_rule(next.trim(), '=') || is_rule(next.trim(), '-');
        if is_heading {
            let name = heading(body);
            if is_rule(next.trim(), '=') {
                major = name;
                minor.clear();
            } else {
                minor = name;
            }
            above.clear();
            if let Some((_, count)) = body.split_once(": count = ") {
                let path = join(&[&major, &minor, "count"]);
                facts.insert(path, count.to_owned());
            }
            continue;
        }
        let (name, value) = split(body);
        // A line at the left edge without a value begins a part of its own: `GPU0:`, `Device Extensions: count = 9`.
        if depth == 0 && (value.is_empty() || value.starts_with("count = ")) {
            minor.clear();
        }
        above.truncate(depth);
        let mut parts: Vec<&str> = vec![&major, &minor];
        parts.extend(above.iter().map(String::as_str));
        parts.push(&name);
        let path = join(&parts);
        let times = seen.entry(path.clone()).and_modify(|times| *times += 1).or_insert(1);
        let path = if *times > 1 { format!("{path} #{times}") } else { path };
        facts.insert(path, value);
        while above.len() < depth {
            above.push(String::new());
        }
        above.push(name);
    }
    facts
}

/// The heading without the count, which is a fact.
fn heading(line: &str) -> String {
    let name = line.split(": count = ").next().unwrap_or(line);
    name.trim_end_matches(':').to_owned()
}

/// Name and value of a line.
fn split(line: &str) -> (String, String) {
    // A device's name may hold `(ID: 0)`, which is no pair.
    let plain = || line.split_once(": ").filter(|(name, _)| !name.contains('('));
    let pair = line.split_once(" = ").or_else(|| line.split_once(" : ")).or_else(plain);
    match pair {
        // `names: count = 3` has its list below it.
        Some((name, value)) if name.ends_with(": count") => {
            (name.trim_end_matches(": count").trim().to_owned(), format!("count = {value}"))
        }
        Some((name, value)) => (name.trim().to_owned(), value.trim().to_owned()),
        None => (line.trim_end_matches(':').to_owned(), String::new()),
    }
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(SEPARATOR)
}

/// A fact that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The fact's name.
    pub path: String,
    /// What the native device says, if anything.
    pub native: Option<String>,
    /// What ours says, if anything.
    pub ours: Option<String>,
}

/// Every fact that differs.
pub fn compare(native: &Facts, ours: &Facts) -> Vec<Difference> {
    let paths: BTreeSet<&String> = native.keys().chain(ours.keys()).collect();
    paths
        .into_iter()
        .filter(|path| native.get(*path) != ours.get(*path))
        .map(|path| Difference {
            path: path.clone(),
            native: native.get(path).cloned(),
            ours: ours.get(path).cloned(),
        })
        .collect()
}

/// Differences that are meant.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// A fact's name, where each `*` stands for any text.
    pub what: &'static str,
    /// Why they may differ.
    pub why: &'static str,
}

impl Allowance {
    /// Whether it covers a fact.
    pub fn covers(&self, path: &str) -> bool {
        let mut parts = self.what.split('*');
        let first = parts.next().unwrap_or("");
        let Some(mut rest) = path.strip_prefix(first) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            // The earliest place leaves the most for what follows.
            match rest.split_once(part) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// The table for people: what `docs/vulkan-differences.md` must hold.
pub fn table(allowances: &[Allowance]) -> String {
    let mut text = String::from("| fact of `vulkaninfo` | why it differs |\n| --- | --- |\n");
    for Allowance { what, why } in allowances {
        text.push_str(&format!("| `{what}` | {why} |\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
==========
VULKANINFO
==========

Vulkan Instance Version: 1.3.239


Instance Extensions: count = 2
==============================
\tVK_EXT_debug_report : extension revision 10
\tVK_KHR_surface      : extension revision 25

Device Properties and Extensions:
=================================
GPU0:
VkPhysicalDeviceLimits:
-----------------------
\tmaxImageDimension1D = 16384
\tmaxComputeWorkGroupCount: count = 2
\t\t65535
\t\t65535

Device Extensions: count = 1
\tVK_KHR_maintenance4 : extension revision 2

VkPhysicalDeviceMemoryProperties:
=================================
memoryHeaps: count = 1
\tmemoryHeaps[0]:
\t\tsize   = 17179869184 (0x400000000) (16.00 GiB)
\t\tflags: count = 1
\t\t\tMEMORY_HEAP_DEVICE_LOCAL_BIT
";

    #[test]
    fn facts_are_named_by_headings_and_indentation() {
        let facts = parse(TEXT);
        let get = |path: &str| facts.get(path).map(String::as_str);
        assert_eq!(get("Instance Extensions / count"), Some("2"));
        assert_eq!(get("Instance Extensions / VK_KHR_surface"), Some("extension revision 25"));
        let limits = "Device Properties and Extensions / VkPhysicalDeviceLimits";
        assert_eq!(get(&format!("{limits} / maxImageDimension1D")), Some("16384"));
        assert_eq!(get(&format!("{limits} / maxComputeWorkGroupCount")), Some("count = 2"));
        assert_eq!(get(&format!("{limits} / maxComputeWorkGroupCount / 65535")), Some(""));
        assert_eq!(get(&format!("{limits} / maxComputeWorkGroupCount / 65535 #2")), Some(""));
        let extensions = "Device Properties and Extensions / Device Extensions";
        assert_eq!(get(extensions), Some("count = 1"));
        assert_eq!(get(&format!("{extensions} / VK_KHR_maintenance4")), Some("extension revision 2"));
        let heap = "VkPhysicalDeviceMemoryProperties / memoryHeaps / memoryHeaps[0]";
        assert_eq!(get(&format!("{heap} / flags / MEMORY_HEAP_DEVICE_LOCAL_BIT")), Some(""));
    }

    #[test]
    fn compare_finds_changed_missing_and_added_facts() {
        let native = parse("A:\n==\n\tx = 1\n\ty = 2\n".replace("==", "===").as_str());
        let ours = parse("A:\n===\n\tx = 2\n\tz = 3\n");
        let found: Vec<_> = compare(&native, &ours).into_iter().map(|one| one.path).collect();
        assert_eq!(found, ["A / x", "A / y", "A / z"]);
    }

    #[test]
    fn compare_of_a_text_with_itself_finds_nothing() {
        assert_eq!(compare(&parse(TEXT), &parse(TEXT)), []);
    }

    #[test]
    fn allowance_covers_with_stars_for_any_text() {
        let covers = |what, path| Allowance { what, why: "" }.covers(path);
        assert!(covers("A / x", "A / x") && !covers("A / x", "A / xy") && !covers("A / x", "B / A / x"));
        assert!(covers("A / *", "A / x") && !covers("A / *", "B / x"));
        assert!(covers("* / x", "A / x") && !covers("* / x", "A / xy"));
        assert!(covers("A*b*c", "A1b2c") && covers("A*b*c", "Abbc") && !covers("A*b*c", "Acb"));
        assert!(covers("* b *", "a b c") && !covers("* b *", "abc"));
    }
}
