//! How the tests read a field: through the Rust type, and by what the data files say.

#![allow(dead_code, reason = "each test crate uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

use std::collections::BTreeMap;

use serde_json::Value;
use zerocopy::FromBytes;
use zerocopy::Immutable;
use zerocopy::IntoBytes;

/// One field of a Rust type.
pub(crate) struct FieldCase<T> {
    path: &'static str,
    offset: usize,
    mask: u64,
    read: fn(&T) -> Vec<u8>,
}

type Read = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// One field, with the type behind a function.
pub(crate) struct Field {
    /// The path in the header.
    pub(crate) path: &'static str,
    /// Where Rust puts it.
    pub(crate) offset: usize,
    /// The mask in its storage unit, or 0 for a whole field.
    pub(crate) mask: u64,
    /// Reads the bytes of the field, or of its storage unit, out of the bytes of the struct.
    pub(crate) read: Read,
}

/// One struct.
pub(crate) struct Case {
    /// The name in the header.
    pub(crate) c_name: &'static str,
    /// Its size in Rust.
    pub(crate) size: usize,
    /// Its alignment in Rust.
    pub(crate) align: usize,
    /// Its fields.
    pub(crate) fields: Vec<Field>,
}

/// Describes one field of `T`.
pub(crate) fn field<T>(
    path: &'static str,
    offset: usize,
    mask: u64,
    read: fn(&T) -> Vec<u8>,
) -> FieldCase<T> {
    FieldCase { path, offset, mask, read }
}

/// Describes the struct `T`.
pub(crate) fn case<T: FromBytes + 'static>(c_name: &'static str, fields: Vec<FieldCase<T>>) -> Case {
    let fields = fields
        .into_iter()
        .map(|f| Field {
            path: f.path,
            offset: f.offset,
            mask: f.mask,
            read: Box::new(move |bytes| (f.read)(&T::read_from_bytes(bytes).unwrap())),
        })
        .collect();
    Case { c_name, size: size_of::<T>(), align: align_of::<T>(), fields }
}

/// The bytes of a value.
pub(crate) fn bytes<T: IntoBytes + Immutable>(value: T) -> Vec<u8> {
    value.as_bytes().to_vec()
}

/// Reads a data file of the ABI crate, or of the crate under test when it has one of that name.
pub(crate) fn data(name: &str) -> Value {
    let own = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let abi = format!("{}/../dxg-ioctl/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(own).or_else(|_| std::fs::read_to_string(abi)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A number of a data file.
pub(crate) fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// Compares every struct of a layout file with the Rust types; returns how many fields were compared.
pub(crate) fn compare_layouts(structs: &Value, cases: &[Case]) -> usize {
    let cases: BTreeMap<&str, &Case> = cases.iter().map(|c| (c.c_name, c)).collect();
    let mut compared = 0;
    for layout in structs.as_array().unwrap() {
        let name = layout["name"].as_str().unwrap();
        let case = cases.get(name).unwrap_or_else(|| panic!("{name} has no Rust type"));
        assert_eq!(case.size, number(&layout["size"]), "size of {name}");
        assert_eq!(case.align, number(&layout["align"]), "alignment of {name}");
        let flat = layout["flat"].as_array().unwrap();
        for entry in flat {
            compare_field(case, entry["path"].as_str().unwrap(), entry, number(&entry["offset"]));
        }
        assert_eq!(case.fields.len(), flat.len(), "number of fields of {name}");
        compared += flat.len();
    }
    compared
}

/// Compares one field with its entry in a data file.
pub(crate) fn compare_field(case: &Case, path: &str, entry: &Value, offset: usize) {
    let name = case.c_name;
    let field = case.fields.iter().find(|f| f.path == path).unwrap_or_else(|| panic!("{name} has no {path}"));
    assert_eq!(field.offset, offset, "offset of {name}.{path}");
    let size = (field.read)(&vec![0; case.size]).len();
    assert_eq!(size, number(&entry["size"]), "size of {name}.{path}");
    let mask = entry.get("bit_width").map_or(0, |width| {
        let width = width.as_u64().unwrap();
        let ones = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        ones << number(&entry["bit_offset"])
    });
    assert_eq!(field.mask, mask, "mask of {name}.{path}");
}

/// `count` bytes of the pattern of the vector file.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|i| ((37 * i + 11 + 5 * (i / 256)) % 256) as u8).collect()
}

/// Reads every value of the vector file through the Rust types; returns how many there were.
pub(crate) fn compare_vectors(vectors: &Value, cases: &[Case]) -> usize {
    let cases: BTreeMap<&str, &Case> = cases.iter().map(|c| (c.c_name, c)).collect();
    let mut compared = 0;
    for (name, vector) in vectors.as_object().unwrap() {
        let case = cases.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no Rust type"));
        assert_eq!(case.size, number(&vector["size"]), "size of {name}");
        let input = pattern(case.size);
        let fields = vector["fields"].as_object().unwrap();
        for (path, expected) in fields {
            let hex = expected.as_str().unwrap().trim_start_matches("0x");
            let expected = u64::from_str_radix(hex, 16).unwrap();
            assert_eq!(value(case, &input, path, fields.keys()), expected, "{name}.{path}");
            compared += 1;
        }
    }
    compared
}

fn value<'k>(case: &Case, input: &[u8], path: &str, keys: impl Iterator<Item = &'k String>) -> u64 {
    let (base, index) = match path.strip_suffix(']').and_then(|p| p.rsplit_once('[')) {
        Some((base, index)) => (base, Some(index.parse::<usize>().unwrap())),
        None => (path, None),
    };
    let name = case.c_name;
    let field = case.fields.iter().find(|f| f.path == base).unwrap_or_else(|| panic!("{name} has no {base}"));
    let mut read = (field.read)(input);
    if let Some(index) = index {
        // The file gives the first and the last element, so the largest index tells the length.
        let prefix = format!("{base}[");
        let last = keys
            .filter_map(|k| k.strip_prefix(&prefix)?.strip_suffix(']')?.parse::<usize>().ok())
            .max()
            .unwrap();
        let element = read.len() / (last + 1);
        read = read[index * element..][..element].to_vec();
    }
    assert!(read.len() <= 8, "{name}.{path} is no number");
    read.resize(8, 0);
    let whole = u64::from_le_bytes(read.try_into().unwrap());
    if field.mask == 0 { whole } else { (whole & field.mask) >> field.mask.trailing_zeros() }
}
