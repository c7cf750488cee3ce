//! Where unsafe code is, that it is explained, and how much of it there is.
//!
//! The compiler denies unsafe code outside the modules that opt in, and clippy looks at the comments. What is
//! added here: only the modules of `PLACES` may opt in, the opt-in says why, and a count per crate stands in
//! `docs/unsafe.toml`, so that growth shows in review.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;

use super::Finding;
use super::files::File;
use super::source;
use super::source::Line;
use super::source::Token;
use crate::workspace::Workspace;

/// The modules that may hold unsafe code, and what for. A name stands for `NAME.rs` and for all of `NAME/`.
const PLACES: &[(&str, &str)] = &[
    ("dxg-core/src/adopted", "memory of the program, replaced in place"),
    ("dxg-core/src/fork", "a handler of the C library"),
    ("dxg-core/src/kernel", "requests with addresses, and what the kernel maps"),
    ("dxg-core/src/signals", "a thread without signals"),
    ("dxg-ioctl/src/sys", "the raw ioctl"),
    ("dxg-wire/src/shm", "mappings and atomics in shared memory, fd passing"),
    ("dxg-vk/src/ffi", "the entry points the Vulkan loader calls"),
    ("dxg-vk/src/generated", "encoders and entry points that follow the program's pointers"),
    ("dxg-vk/tests", "calls the driver interface as the loader does"),
    ("dxg-cuda-shim/src/ffi", "what CUDA programs hand over by address"),
    ("dxg-cuda-shim/src/generated", "the entry points CUDA programs call, by their names"),
    ("dxg-ptx/src/interp/memory", "memory that kernels name by address"),
    ("dxg-ptx/src/native/call", "the call into generated code"),
    ("dxg-ptx/src/native/callbacks", "what generated code calls"),
    ("dxg-ptx/src/native/jit_memory", "pages of generated code"),
    ("dxg-ptx/src/native/run", "the context of a call into generated code"),
    ("dxg-ptx/src/native/signals", "faults of the processor in generated code"),
    ("dxg-ptx/src/native/words", "words in frames that generated code writes"),
    ("dxg-host/src/broker/peer", "the groups of a peer"),
    ("dxg-host/src/adapter", "the calls into host drivers"),
    ("dxg-host/src/generated/vulkan", "the generated calls into host drivers"),
    ("dxg-host/tests/generated/vulkan_calls", "parameters of commands, compared behind their pointers"),
    ("dxg-host/tests/generated/vulkan_values", "structures of raw pointers, compared"),
    ("dxg-host/tests/vulkan_codec", "structures of raw pointers, compared"),
    ("dxg-host/src/sandbox", "limits and filters of a worker"),
    ("dxg-host/tests/sandbox/daemon", "a daemon started under a filter"),
    ("dxg-host/tests/sandbox/machine", "what a hostile program does"),
    ("dxg-host/tests/vulkan/fake", "a driver to be loaded"),
    ("fuzz/bodies/src/driver", "a driver to be loaded"),
    ("samples/src/bin/mandelbrot", "plain Vulkan, every call of which is unsafe in Rust"),
    ("samples/cuda-vecadd/src/gpu", "plain CUDA, every call of which is unsafe in Rust"),
    ("samples/triangle/src/gpu", "plain Vulkan, every call of which is unsafe in Rust"),
    ("tests/clients/cuda/rust/src/bin", "launches of the CUDA crates, which cannot check arguments"),
    ("tests/cuda/src/api", "CUDA as a program calls it, wrapped for the scenarios"),
    ("tests/cuda/benches/cuda/driver", "CUDA as a program calls it, wrapped for the bench"),
    ("tests/fake-dxg/src", "a library that stands between a program and libc"),
    ("tests/fake-vk-driver/src", "a driver, called as drivers are"),
    ("tests/src/fork", "a copy of the test's process"),
    ("tests/src/pages", "memory as a program has it"),
    ("tests/tests/cuda_driver/api", "CUDA as a program calls it, and its numbers in pinned memory"),
    ("tests/vulkan/src/gpu", "Vulkan as a program calls it, wrapped for the scenarios"),
];

/// Where the counts stand, relative to the workspace root.
const LEDGER: &str = "docs/unsafe.toml";

/// How far above an `unsafe` its comment may begin, in lines of the same statement.
const STATEMENT_LINES: usize = 12;

/// What an `unsafe` keyword introduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Block,
    Impl,
    ExternBlock,
    /// A function of its own, whose caller must be told what to keep.
    Function,
    /// A function in `impl Trait for Type`: the trait tells the caller.
    TraitMethod,
    Trait,
    /// `#[unsafe(...)]`.
    Attribute,
    /// The type of a function pointer: names unsafe code, holds none.
    PointerType,
}

/// One `unsafe` keyword.
#[derive(Debug, PartialEq, Eq)]
struct Use {
    kind: Kind,
    /// From 0.
    line: usize,
}

/// Unsafe code out of place or without explanation, and crates that do not forbid it although they could.
pub(super) fn check(workspace: &Workspace, files: &[File]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(|file| check_file(&file.path, &file.text))
        .collect();
    for package in &workspace.packages {
        for target in &package.targets {
            // Test and bench targets of a crate get the workspace's `deny`.
            let is_shipped =
                !target.kinds.iter().any(|kind| matches!(kind.as_str(), "test" | "bench" | "example"));
            if !is_shipped || may_hold_unsafe(&target.root_file) {
                continue;
            }
            let forbids = files
                .iter()
                .find(|file| Path::new(&file.path) == target.root_file)
                .is_some_and(|file| forbids_unsafe(&file.text));
            if !forbids {
                let message = "nothing here needs unsafe code: begin with #![forbid(unsafe_code)]";
                findings.push(Finding::new(&target.root_file, 0, message));
            }
        }
    }
    findings
}

/// The `unsafe` keywords per crate; function pointer types do not count.
pub(super) fn count(workspace: &Workspace, files: &[File]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let uses = uses(&source::tokens(&source::lines(&file.text)));
        let found = uses.iter().filter(|one| one.kind != Kind::PointerType).count();
        // The deepest directory wins: a crate may stand inside another's.
        let owner = workspace
            .packages
            .iter()
            .filter(|package| Path::new(&file.path).starts_with(&package.dir))
            .max_by_key(|package| package.dir.components().count());
        if let Some(owner) = owner
            && found > 0
        {
            *counts.entry(owner.name.clone()).or_default() += found;
        }
    }
    counts
}

/// Crates whose count is not the one written down.
pub(super) fn check_ledger(workspace: &Workspace, files: &[File]) -> Vec<Finding> {
    let text = files.iter().find(|file| file.path == LEDGER).map_or("", |file| file.text.as_str());
    match parse_ledger(text) {
        Ok(known) => compare(&known, &count(workspace, files)),
        Err((line, problem)) => vec![Finding::new(LEDGER, line, problem)],
    }
}

/// Writes the counts down.
pub(super) fn write_ledger(root: &Path, counts: &BTreeMap<String, usize>) -> Result<()> {
    let path = root.join(LEDGER);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&path, ledger(counts)).with_context(|| format!("cannot write {}", path.display()))
}

fn ledger(counts: &BTreeMap<String, usize>) -> String {
    let head = "# How often the keyword `unsafe` stands in each crate; a crate that is not here has none.\n\
                # Written by `cargo xtask lint --update`; review reads what changed.\n";
    let lines: String = counts.iter().map(|(name, count)| format!("{name} = {count}\n")).collect();
    format!("{head}{lines}")
}

fn parse_ledger(text: &str) -> Result<BTreeMap<String, usize>, (usize, String)> {
    let mut counts = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line.split_once('=').and_then(|(name, count)| Some((name, count.trim().parse().ok()?)));
        let Some((name, count)) = entry else {
            return Err((number, format!("not `crate = count`: {line}")));
        };
        counts.insert(name.trim().to_owned(), count);
    }
    Ok(counts)
}

fn compare(known: &BTreeMap<String, usize>, found: &BTreeMap<String, usize>) -> Vec<Finding> {
    let names: std::collections::BTreeSet<&String> = known.keys().chain(found.keys()).collect();
    let count = |counts: &BTreeMap<String, usize>, name: &String| counts.get(name).copied().unwrap_or(0);
    names
        .into_iter()
        .filter_map(|name| {
            let (was, is) = (count(known, name), count(found, name));
            let change = match is.cmp(&was) {
                std::cmp::Ordering::Equal => return None,
                std::cmp::Ordering::Greater => "grew",
                std::cmp::Ordering::Less => "shrank",
            };
            let message = format!(
                "unsafe code in `{name}` {change} from {was} to {is}; `cargo xtask lint --update` writes it down"
            );
            Some(Finding::new(LEDGER, 0, message))
        })
        .collect()
}

/// The module's own doc comment. A `# Safety` section there speaks for every function of a module of entry points, which
/// are all called under the same contract.
fn lines_of_module_doc(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("//!"))
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let lines = source::lines(text);
    let tokens = source::tokens(&lines);
    let placed = PLACES.iter().any(|(place, _)| is_in(path, place));
    let mut findings = Vec::new();
    let uses: Vec<Use> = uses(&tokens).into_iter().filter(|one| one.kind != Kind::PointerType).collect();
    if let Some(first) = uses.first()
        && !placed
    {
        let message =
            format!("unsafe code outside the modules of xtask/src/lint/unsafety.rs ({} times)", uses.len());
        findings.push(Finding::new(path, first.line + 1, message));
    }
    let module_explains = lines_of_module_doc(text).any(|line| line.trim() == "# Safety");
    for one in uses.iter().filter(|_| placed) {
        let mut find = |message: &str| findings.push(Finding::new(path, one.line + 1, message));
        match one.kind {
            Kind::Block | Kind::Impl | Kind::ExternBlock => {
                if !is_explained(&lines, one.line, &["SAFETY:"]) {
                    find("no `// SAFETY:` comment above");
                }
            }
            Kind::Function | Kind::Trait => {
                if !module_explains && !is_explained(&lines, one.line, &["# Safety", "SAFETY:"]) {
                    find("no `# Safety` in the doc comment of the function or the module");
                }
            }
            Kind::TraitMethod | Kind::Attribute | Kind::PointerType => {}
        }
    }
    for (level, line, reason) in opt_ins(&tokens) {
        let mut find = |message: &str| findings.push(Finding::new(path, line + 1, message));
        if !placed {
            find("unsafe code allowed outside the modules of xtask/src/lint/unsafety.rs");
        }
        if level != "expect" {
            find("use #![expect(unsafe_code, reason = \"...\")], which fails when it is no longer needed");
        }
        if reason == Reason::Absent {
            find("the opt-in has no reason");
        }
        if !has_unsafety_comment(&lines, line) {
            find("no `// UNSAFETY:` comment above the opt-in");
        }
    }
    findings
}

/// Whether a file belongs to a module of the table.
fn is_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether a program or library with this root file has a place of the table among its modules.
fn may_hold_unsafe(root_file: &Path) -> bool {
    let dir = root_file.parent().unwrap_or(Path::new(""));
    PLACES.iter().any(|(place, _)| {
        let is_root = is_in(&root_file.to_string_lossy(), place);
        // The modules of `src/lib.rs` and `src/main.rs` stand beside it; other roots here have no modules.
        let has_module = dir.ends_with("src") && Path::new(place).starts_with(dir);
        // A program of `src/bin/` is its own root and no module of the library.
        is_root || (has_module && !Path::new(place).starts_with(dir.join("bin")))
    })
}

fn forbids_unsafe(text: &str) -> bool {
    let tokens = source::tokens(&source::lines(text));
    let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    words.windows(6).any(|window| window == ["#", "!", "[", "forbid", "(", "unsafe_code"])
}

/// Every `unsafe` keyword with what it introduces.
fn uses(tokens: &[Token]) -> Vec<Use> {
    let word = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let mut uses = Vec::new();
    // For each open brace, whether it is the body of `impl Trait for Type`.
    let mut bodies: Vec<bool> = Vec::new();
    // Between `impl` and its brace: whether `for` has been seen.
    let mut header: Option<bool> = None;
    for (index, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            // `impl Trait` as a type follows an operator; an `impl` block follows the end of another item.
            "impl" if index == 0 || matches!(word(index - 1), "}" | "{" | ";" | "]" | "unsafe") => {
                header = Some(false);
            }
            "for" if header.is_some() && word(index + 1) != "<" => header = Some(true),
            "{" => bodies.push(header.take().unwrap_or(false)),
            "}" => {
                bodies.pop();
            }
            "unsafe" => {
                let in_trait_impl = bodies.last().copied().unwrap_or(false);
                uses.push(Use { kind: kind_of(tokens, index, in_trait_impl), line: token.line });
            }
            _ => {}
        }
    }
    uses
}

fn kind_of(tokens: &[Token], keyword: usize, in_trait_impl: bool) -> Kind {
    let word = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let mut next = keyword + 1;
    let is_extern = word(next) == "extern";
    if is_extern {
        next += 1;
        // The name of the calling convention is a string, which is empty here.
        while word(next) == "\"" {
            next += 1;
        }
    }
    match word(next) {
        "fn" if word(next + 1) == "(" => Kind::PointerType,
        "fn" if in_trait_impl => Kind::TraitMethod,
        "fn" => Kind::Function,
        "{" if is_extern => Kind::ExternBlock,
        "impl" => Kind::Impl,
        "trait" => Kind::Trait,
        "(" => Kind::Attribute,
        _ => Kind::Block,
    }
}

/// Whether one of the marks stands in a comment on the line, or above its statement.
fn is_explained(lines: &[Line], line: usize, marks: &[&str]) -> bool {
    let says = |line: &Line| marks.iter().any(|mark| line.comment.contains(mark));
    if lines.get(line).is_some_and(says) {
        return true;
    }
    let mut seen_code = 0;
    let mut in_comment = false;
    for above in lines.iter().take(line).rev() {
        let code = above.code.trim();
        if code.is_empty() {
            if above.comment.is_empty() {
                return false;
            }
            in_comment = true;
            if says(above) {
                return true;
            }
            continue;
        }
        let is_attribute = code.starts_with("#[") || code.starts_with("#![");
        if is_attribute {
            continue;
        }
        // The comment block ended without the mark, or the statement before ours began.
        if in_comment || code.ends_with([';', '}', '{']) || seen_code == STATEMENT_LINES {
            return false;
        }
        seen_code += 1;
    }
    false
}

/// Whether an opt-in gives its reason to the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Present,
    Absent,
}

/// The attributes that permit unsafe code: level, line, reason.
fn opt_ins(tokens: &[Token]) -> Vec<(String, usize, Reason)> {
    let word = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let level = token.text.as_str();
        if !matches!(level, "expect" | "allow" | "warn") || word(index + 1) != "(" {
            continue;
        }
        let inside: Vec<&str> = (index + 2..tokens.len()).map(word).take_while(|word| *word != ")").collect();
        if inside.contains(&"unsafe_code") {
            let reason = if inside.contains(&"reason") { Reason::Present } else { Reason::Absent };
            found.push((level.to_owned(), token.line, reason));
        }
    }
    found
}

/// Whether the comments right above an attribute hold an `UNSAFETY:` line.
fn has_unsafety_comment(lines: &[Line], line: usize) -> bool {
    lines
        .iter()
        .take(line)
        .rev()
        .take_while(|above| above.code.trim().is_empty() || above.code.trim().starts_with('#'))
        .any(|above| above.comment.contains("UNSAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &str = "dxg-wire/src/shm/map.rs";

    fn kinds(source: &str) -> Vec<Kind> {
        uses(&source::tokens(&source::lines(source))).into_iter().map(|one| one.kind).collect()
    }

    fn messages(path: &str, text: &str) -> Vec<String> {
        check_file(path, text).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn uses_tells_the_kinds_apart() {
        assert_eq!(kinds("fn f() { unsafe { g() } }"), [Kind::Block]);
        assert_eq!(kinds("unsafe impl Send for X {}"), [Kind::Impl]);
        assert_eq!(kinds("pub unsafe trait T {}"), [Kind::Trait]);
        assert_eq!(kinds("unsafe extern \"C\" { fn f(); }"), [Kind::ExternBlock]);
        assert_eq!(kinds("pub unsafe extern \"system\" fn f() {}"), [Kind::Function]);
        assert_eq!(kinds("#[unsafe(no_mangle)] fn f() {}"), [Kind::Attribute]);
        assert_eq!(kinds("type F = unsafe extern \"C\" fn(u32);"), [Kind::PointerType]);
    }

    #[test]
    fn uses_ignores_comments_strings_and_names() {
        assert_eq!(kinds("// unsafe {\nlet unsafe_code = \"unsafe {\"; /* unsafe */"), []);
    }

    #[test]
    fn uses_method_of_a_trait_impl_is_apart_from_one_of_its_own() {
        assert_eq!(kinds("unsafe impl T for X { unsafe fn f() {} }"), [Kind::Impl, Kind::TraitMethod]);
        assert_eq!(kinds("impl<'a> X<'a> { unsafe fn f() {} }"), [Kind::Function]);
        assert_eq!(kinds("impl T for X { fn g() {} }\nunsafe fn f() {}"), [Kind::Function]);
    }

    #[test]
    fn unsafe_block_outside_the_table_is_found_with_its_line() {
        let found = messages("dxg-core/src/node.rs", "fn f() {\n    // SAFETY: no.\n    unsafe { g() }\n}\n");
        let want =
            "dxg-core/src/node.rs:3: unsafe code outside the modules of xtask/src/lint/unsafety.rs (1 times)";
        assert_eq!(found, [want]);
    }

    #[test]
    fn unsafe_block_needs_a_safety_comment() {
        assert_eq!(messages(PLACE, "fn f() {\n    // SAFETY: `x` lives.\n    unsafe { g(x) }\n}\n"), [""; 0]);
        assert_eq!(
            messages(PLACE, "fn f() {\n    unsafe { g(x) }\n}\n"),
            ["dxg-wire/src/shm/map.rs:2: no `// SAFETY:` comment above"]
        );
    }

    #[test]
    fn safety_comment_above_the_whole_statement_counts() {
        let text =
            "fn f() {\n    // SAFETY:\n    // - `x` lives.\n    let a =\n        unsafe { g(x) };\n}\n";
        assert_eq!(messages(PLACE, text), [""; 0]);
    }

    #[test]
    fn safety_comment_of_the_statement_before_does_not_count() {
        let text = "fn f() {\n    // SAFETY: `x` lives.\n    unsafe { g(x) };\n    unsafe { h(x) };\n}\n";
        assert_eq!(messages(PLACE, text), ["dxg-wire/src/shm/map.rs:4: no `// SAFETY:` comment above"]);
    }

    #[test]
    fn unsafe_function_needs_its_safety_section() {
        let documented =
            "/// Does.\n///\n/// # Safety\n///\n/// `x` lives.\n#[inline]\npub unsafe fn f() {}\n";
        assert_eq!(messages(PLACE, documented), [""; 0]);
        assert_eq!(
            messages(
                PLACE,
                "//! Entries.\n//!\n//! # Safety\n//!\n//! `x` lives.\n\n/// Does.\npub unsafe fn f() {}\n"
            ),
            [""; 0]
        );
        assert_eq!(
            messages(PLACE, "/// Does.\npub unsafe fn f() {}\n"),
            ["dxg-wire/src/shm/map.rs:2: no `# Safety` in the doc comment of the function or the module"]
        );
    }

    #[test]
    fn opt_in_needs_comment_reason_and_place() {
        let good =
            "//! Maps.\n\n// UNSAFETY: mappings are raw.\n#![expect(unsafe_code, reason = \"maps\")]\n";
        assert_eq!(messages(PLACE, good), [""; 0]);
        assert_eq!(
            messages(PLACE, "#![expect(unsafe_code)]\n"),
            [
                "dxg-wire/src/shm/map.rs:1: the opt-in has no reason",
                "dxg-wire/src/shm/map.rs:1: no `// UNSAFETY:` comment above the opt-in"
            ]
        );
        assert_eq!(messages("dxg-core/src/lib.rs", good).len(), 1);
        assert_eq!(messages(PLACE, &good.replace("expect", "allow")).len(), 1);
    }

    #[test]
    fn place_is_a_module_not_a_prefix_of_a_name() {
        assert!(is_in("dxg-ioctl/src/sys.rs", "dxg-ioctl/src/sys"));
        assert!(is_in("dxg-wire/src/shm/map.rs", "dxg-wire/src/shm"));
        assert!(!is_in("dxg-wire/src/shmem.rs", "dxg-wire/src/shm"));
    }

    #[test]
    fn root_file_may_hold_unsafe_when_it_is_or_has_a_place() {
        assert!(may_hold_unsafe(Path::new("dxg-wire/src/lib.rs")));
        assert!(may_hold_unsafe(Path::new("samples/src/bin/mandelbrot.rs")));
        assert!(may_hold_unsafe(Path::new("tests/fake-dxg/src/lib.rs")));
        assert!(!may_hold_unsafe(Path::new("samples/src/bin/share.rs")));
        assert!(!may_hold_unsafe(Path::new("samples/src/lib.rs")));
        assert!(!may_hold_unsafe(Path::new("xtask/src/main.rs")));
    }

    #[test]
    fn unsafe_code_out_of_place_is_one_finding_for_each_file() {
        let found = messages("a/src/b.rs", "fn f() {\n    unsafe { g() }\n    unsafe { g() }\n}\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].ends_with("(2 times)"), "{found:?}");
    }

    #[test]
    fn forbids_unsafe_reads_code_only() {
        assert!(forbids_unsafe("//! Doc.\n#![forbid(unsafe_code)]\n"));
        assert!(!forbids_unsafe("// #![forbid(unsafe_code)]\n"));
    }

    #[test]
    fn ledger_written_is_read_back() {
        let counts = BTreeMap::from([("dxg-ioctl".to_owned(), 2), ("dxg-wire".to_owned(), 17)]);
        assert_eq!(parse_ledger(&ledger(&counts)), Ok(counts));
    }

    #[test]
    fn ledger_line_that_is_no_count_is_named() {
        assert_eq!(parse_ledger("# x\na = many\n"), Err((2, "not `crate = count`: a = many".to_owned())));
    }

    #[test]
    fn compare_finds_growth_shrinking_and_new_crates() {
        let counts = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
            pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let found =
            compare(&counts(&[("a", 1), ("b", 2), ("c", 3)]), &counts(&[("a", 1), ("b", 3), ("d", 1)]));
        let found: Vec<String> = found.iter().map(Finding::to_string).collect();
        assert!(found[0].contains("`b` grew from 2 to 3"), "{found:?}");
        assert!(found[1].contains("`c` shrank from 3 to 0"), "{found:?}");
        assert!(found[2].contains("`d` grew from 0 to 1"), "{found:?}");
        assert_eq!(found.len(), 3);
    }
}
