//! Cases from files: a module, how to launch it, what must come out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use dxg_ptx::exec::Launch;
use serde_json::Value;

use super::arena::Arena;
use super::compare::compare;
use super::inputs::element_bytes;
use super::inputs::encode;
use super::inputs::generate;
use super::program::Make;
use super::program::Program;

/// Memory that a case has.
const ARENA_BYTES: usize = 16 << 20;

/// All case files of a directory, and of the directories in it.
pub(crate) fn find(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("the directory can be read").path();
        if path.is_dir() {
            found.extend(find(&path));
        } else if path.extension().is_some_and(|extension| extension == "json")
            && path.with_extension("ptx").exists()
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn items<'v>(case: &'v Value, key: &str) -> &'v [Value] {
    case[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is a text"))
}

fn count(value: &Value, key: &str) -> usize {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is a number")) as usize
}

/// Buffers by name: address and bytes.
type Buffers = BTreeMap<String, (u64, usize)>;

/// Writes the fields of a structure.
fn fill(fields: &[Value], bytes: &mut [u8], buffers: &Buffers) {
    for field in fields {
        let value = match field["buffer"].as_str() {
            Some(name) => buffers[name].0.to_le_bytes().to_vec(),
            None => encode(text(field, "type"), &field["value"]),
        };
        let at = count(field, "offset");
        bytes[at..at + value.len()].copy_from_slice(&value);
    }
}

fn extent(launch: &Value, key: &str) -> [u32; 3] {
    [0, 1, 2].map(|axis| launch[key][axis].as_u64().expect("extents are numbers") as u32)
}

/// Runs a case with an executor.
pub(crate) fn run(path: &Path, make: Make<'_>) -> Result<(), String> {
    let case = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let case: Value = serde_json::from_str(&case).map_err(|error| error.to_string())?;
    let ptx = fs::read(path.with_extension("ptx")).map_err(|error| error.to_string())?;
    let module = dxg_ptx::parse(&ptx, text(&case, "ptx")).map_err(|problems| problems.to_string())?;
    let arena = Arena::new(ARENA_BYTES);
    let program = Program::new(make, module, &arena);

    let described = || items(&case, "params").iter().chain(items(&case, "extra_buffers"));
    let mut buffers = Buffers::new();
    for buffer in described().filter(|param| param["kind"] == "buffer") {
        let content = generate(text(buffer, "elem"), count(buffer, "count"), &buffer["init"]);
        let address = arena.take(content.len());
        arena.write(address, &content);
        buffers.insert(text(buffer, "name").to_owned(), (address, content.len()));
    }
    for buffer in described().filter(|param| param["kind"] == "buffer" && param["fields"].is_array()) {
        let (address, bytes) = buffers[text(buffer, "name")];
        let mut content = arena.read(address, bytes);
        fill(items(buffer, "fields"), &mut content, &buffers);
        arena.write(address, &content);
    }
    for symbol in items(&case, "module_symbols") {
        let content = generate(text(symbol, "elem"), count(symbol, "count"), &symbol["init"]);
        arena.write(program.address(text(symbol, "symbol")), &content);
    }
    let launch = Launch {
        grid: extent(&case["launch"], "grid"),
        block: extent(&case["launch"], "block"),
        dynamic_shared_bytes: count(&case["launch"], "dynamic_shared_bytes") as u32,
        params: params(&case, &buffers),
        ..Launch::default()
    };
    program.run(text(&case, "entry"), &launch, &arena).map_err(|fault| fault.to_string())?;

    for expected in items(&case, "expected") {
        check(path, &case, expected, &program, &arena, &buffers)?;
    }
    let mut lines: Vec<&str> =
        items(&case, "expected_stdout_lines_any_order").iter().filter_map(Value::as_str).collect();
    let printed = arena.printed();
    let mut got: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    got.sort_unstable();
    let wrong = got.iter().zip(&lines).find(|(got, want)| got != want);
    match wrong {
        Some((got, want)) => Err(format!("printed {got:?} instead of {want:?}")),
        None if got.len() != lines.len() => Err(format!("{} lines instead of {}", got.len(), lines.len())),
        None => Ok(()),
    }
}

fn params(case: &Value, buffers: &Buffers) -> Vec<u8> {
    let mut params = Vec::new();
    for param in items(case, "params") {
        let (bytes, align) = match text(param, "kind") {
            "buffer" => (buffers[text(param, "name")].0.to_le_bytes().to_vec(), 8),
            "scalar" => (encode(text(param, "type"), &param["value"]), element_bytes(text(param, "type"))),
            _ => {
                let mut bytes = vec![0; count(param, "size")];
                fill(items(param, "fields"), &mut bytes, buffers);
                (bytes, count(param, "align"))
            }
        };
        params.resize(params.len().next_multiple_of(align), 0);
        params.extend(bytes);
    }
    params
}

fn check(
    path: &Path,
    case: &Value,
    expected: &Value,
    program: &Program,
    arena: &Arena,
    buffers: &Buffers,
) -> Result<(), String> {
    let read = |expected: &Value| {
        let name = text(expected, "buffer");
        let bytes = count(expected, "count") * element_bytes(text(expected, "elem"));
        let address = if expected["is_symbol"] == true { program.address(name) } else { buffers[name].0 };
        arena.read(address, bytes)
    };
    let want = fs::read(path.with_file_name(text(expected, "file"))).map_err(|error| error.to_string())?;
    let counted_by = expected["compare"]["count_from"].as_str();
    let counter = counted_by
        .and_then(|name| items(case, "expected").iter().find(|other| other["buffer"] == name))
        .map(|other| u32::from_le_bytes(read(other)[..4].try_into().expect("four bytes")) as usize);
    compare(text(expected, "elem"), &expected["compare"], &read(expected), &want, counter)
        .map_err(|problem| format!("{}: {problem}", text(expected, "buffer")))
}
