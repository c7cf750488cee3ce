//! The text conversion that the library makes around a query.
//!
//! Text crosses to the host in 2-byte units. A Linux program that was written against the library has a 4-byte
//! `wchar_t`, so the library widens the text of some types on the way out, and narrows it on the way in. Where a text is
//! a path into the host's driver store, it also becomes the path of the mount that the guest sees.
//!
//! Type 48 (registry) has a fixed header with a value name, and value bytes behind it that may be text; see
//! [`registry_to_user`].
//!
//! Source: observed.

use thiserror::Error;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use crate::abi::QueryAdapterInfoType;
use crate::adapter_info::Conversion;
use crate::adapter_info::QueryRegistryInfo;
use crate::adapter_info::QueryRegistryStatus;
use crate::adapter_info::QueryRegistryType;
use crate::adapter_info::Run;
use crate::adapter_info::TypeInfo;

/// Where the host's driver store is mounted in the guest.
pub const DRIVER_STORE: &str = "/usr/lib/wsl/drivers/";

/// The directory of the driver store whose children the mount shows, as a path component in lower case.
const STORE_DIRECTORY: &str = "\\filerepository\\";

/// Bytes of one unit of text on the wire.
const WIRE_UNIT: usize = 2;
/// Bytes of one unit of text for a program.
const USER_UNIT: usize = 4;

/// Registry value types whose value is text.
const TEXT_VALUES: [u32; 3] = [1, 2, 7];

/// Offset of the value in registry data, in the wire form.
const REGISTRY_VALUE_OFFSET: usize = std::mem::offset_of!(QueryRegistryInfo, output);

/// Data that cannot be converted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConversionError {
    /// The library does not convert this type.
    #[error("adapter info type {} has no conversion", .0.0)]
    NotConverted(QueryAdapterInfoType),
    /// The data does not have the size of its type.
    #[error("adapter info of {actual} bytes, expected {expected}")]
    Size {
        /// Bytes given.
        actual: usize,
        /// Bytes that the type has.
        expected: usize,
    },
}

/// Whether the paths of a type are rewritten. Two types hold text that is no path.
fn has_paths(kind: QueryAdapterInfoType) -> bool {
    kind != QueryAdapterInfoType::NODEMETADATA && kind != QueryAdapterInfoType::QUERY_ADAPTER_UNIQUE_GUID
}

fn row(kind: QueryAdapterInfoType) -> Result<&'static TypeInfo, ConversionError> {
    TypeInfo::of(kind)
        .filter(|row| row.conversion == Conversion::Library)
        .ok_or(ConversionError::NotConverted(kind))
}

fn check(actual: usize, expected: Option<usize>) -> Result<(), ConversionError> {
    match expected {
        Some(expected) if expected != actual => Err(ConversionError::Size { actual, expected }),
        _ => Ok(()),
    }
}

/// Turns a path into the driver store into the path of the mount; leaves other text alone.
///
/// ```
/// use dxg_ioctl::adapter_info::text::rewrite_path;
///
/// let host = r"C:\Windows\System32\DriverStore\FileRepository\nv.inf_1\nvwgf2.dll";
/// assert_eq!(rewrite_path(host), "/usr/lib/wsl/drivers/nv.inf_1/nvwgf2.dll");
/// assert_eq!(rewrite_path(r"C:\Windows"), r"C:\Windows");
/// ```
pub fn rewrite_path(path: &str) -> String {
    match path.to_ascii_lowercase().find(STORE_DIRECTORY) {
        Some(at) => {
            let rest = &path[at + STORE_DIRECTORY.len()..];
            format!("{DRIVER_STORE}{}", rest.replace('\\', "/"))
        }
        None => path.to_owned(),
    }
}

/// Widens one text field: as many units as before, cut where the text would not fit with its final zero.
fn widen(wire: &[u8], paths: bool, out: &mut Vec<u8>) {
    let capacity = wire.len() / WIRE_UNIT;
    let units: Vec<u16> = wire
        .chunks_exact(WIRE_UNIT)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    // A unit that is half of a pair has no character; it becomes the replacement character.
    let text = String::from_utf16_lossy(&units);
    let text = if paths { rewrite_path(&text) } else { text };
    let start = out.len();
    for character in text.chars().take(capacity.saturating_sub(1)) {
        out.extend_from_slice(&u32::from(character).to_le_bytes());
    }
    out.resize(start + capacity * USER_UNIT, 0);
}

/// Narrows one text field. Numbers that are no character become the replacement character.
fn narrow(user: &[u8], out: &mut Vec<u8>) {
    let capacity = user.len() / USER_UNIT;
    let start = out.len();
    let end = start + capacity.saturating_sub(1) * WIRE_UNIT;
    let characters = user
        .chunks_exact(USER_UNIT)
        .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]))
        .take_while(|unit| *unit != 0);
    for character in characters {
        let character = char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut pair = [0; 2];
        let units = character.encode_utf16(&mut pair);
        if out.len() + units.len() * WIRE_UNIT > end {
            break;
        }
        out.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    }
    out.resize(start + capacity * WIRE_UNIT, 0);
}

fn convert(data: &[u8], runs: &[Run], unit: usize, mut text: impl FnMut(&[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    for run in runs {
        let wanted = match run {
            Run::Bytes(count) => *count,
            Run::Text(units) => units * unit,
        };
        let (piece, behind) = rest.split_at(wanted.min(rest.len()));
        match run {
            Run::Bytes(_) => out.extend_from_slice(piece),
            Run::Text(_) => text(piece, &mut out),
        }
        rest = behind;
    }
    out
}

/// The form that a program of the library sees, of data in the wire form.
///
/// # Errors
///
/// A type that is not converted, or data of another size than the type has. Registry data goes through
/// [`registry_to_user`].
pub fn to_user(kind: QueryAdapterInfoType, wire: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let row = row(kind)?;
    if kind == QueryAdapterInfoType::QUERYREGISTRY {
        return registry_to_user(wire);
    }
    check(wire.len(), row.wire_size_bytes)?;
    let paths = has_paths(kind);
    Ok(convert(wire, row.runs, WIRE_UNIT, |piece, out| widen(piece, paths, out)))
}

/// The wire form of data that a program of the library passes.
///
/// # Errors
///
/// A type that is not converted, or data of another size than the type has; the library answers both with
/// [`INVALID_PARAMETER`](crate::NtStatus::INVALID_PARAMETER). Registry data goes through [`registry_to_wire`].
pub fn to_wire(kind: QueryAdapterInfoType, user: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let row = row(kind)?;
    if kind == QueryAdapterInfoType::QUERYREGISTRY {
        return registry_to_wire(user);
    }
    check(user.len(), row.user_size_bytes)?;
    Ok(convert(user, row.runs, USER_UNIT, narrow))
}

fn registry_sizes() -> Result<(usize, usize, &'static [Run]), ConversionError> {
    let row = row(QueryAdapterInfoType::QUERYREGISTRY)?;
    match (row.wire_size_bytes, row.user_size_bytes) {
        (Some(wire), Some(user)) => Ok((wire, user, row.runs)),
        _ => Err(ConversionError::NotConverted(QueryAdapterInfoType::QUERYREGISTRY)),
    }
}

/// Whether the value of this registry answer is text.
fn is_text(header: &QueryRegistryInfo) -> bool {
    matches!(header.query_type, QueryRegistryType::DRIVERSTOREPATH | QueryRegistryType::DRIVERIMAGEPATH)
        || TEXT_VALUES.contains(&header.value_type)
}

/// Registry data for a program: the header with a wide value name, then the value.
///
/// A value that is text is widened, its paths are rewritten, and the size that the header tells is doubled; also
/// when the value did not fit and only the size came back.
///
/// # Errors
///
/// Data shorter than the header.
pub fn registry_to_user(wire: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let (wire_header, _, runs) = registry_sizes()?;
    let short = ConversionError::Size { actual: wire.len(), expected: wire_header };
    let (mut header, _) = QueryRegistryInfo::read_from_prefix(wire).map_err(|_| short)?;
    let text = is_text(&header);
    if text && header.status != QueryRegistryStatus::FAIL {
        header.output_value_size = header.output_value_size.saturating_mul(2);
    }
    // The value starts in the last field of the header and goes on behind it.
    let fixed = convert(&header.as_bytes()[..REGISTRY_VALUE_OFFSET], runs, WIRE_UNIT, |piece, out| {
        widen(piece, false, out);
    });
    let value = &wire[REGISTRY_VALUE_OFFSET..];
    let mut out = fixed;
    if text && value.len() > wire_header - REGISTRY_VALUE_OFFSET {
        widen(value, true, &mut out);
    } else {
        out.extend_from_slice(value);
    }
    Ok(out)
}

/// Registry data for the host: the header with a narrow value name, and room for as many units of value.
///
/// # Errors
///
/// Data shorter than the header.
pub fn registry_to_wire(user: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let (wire_header, user_header, runs) = registry_sizes()?;
    if user.len() < user_header {
        return Err(ConversionError::Size { actual: user.len(), expected: user_header });
    }
    let mut out = convert(&user[..user_header], runs, USER_UNIT, narrow);
    out.resize(wire_header + (user.len() - user_header), 0);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;
    use crate::adapter_info::UmdFileNameInfo;
    use crate::adapter_info::UmdVersion;

    const KIND: QueryAdapterInfoType = QueryAdapterInfoType::UMDRIVERNAME;

    fn utf16(text: &str, out: &mut [u16]) {
        for (to, from) in out.iter_mut().zip(text.encode_utf16()) {
            *to = from;
        }
    }

    fn wide(bytes: &[u8]) -> String {
        bytes
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes(c.try_into().unwrap()))
            .take_while(|c| *c != 0)
            .map(|c| char::from_u32(c).unwrap())
            .collect()
    }

    #[test]
    fn driver_path_is_widened_and_rewritten_and_the_version_stays() {
        let mut info = UmdFileNameInfo::new_zeroed();
        info.version = UmdVersion::DX12;
        utf16(r"C:\W\DriverStore\filerepository\a.inf\b\c.dll", &mut info.umd_file_name);
        let user = to_user(KIND, info.as_bytes()).unwrap();
        assert_eq!(user.len(), 1044);
        assert_eq!(user[..4], 3u32.to_le_bytes());
        assert_eq!(wide(&user[4..]), "/usr/lib/wsl/drivers/a.inf/b/c.dll");
    }

    #[test]
    fn text_comes_back_unchanged_when_it_is_no_path() {
        let mut info = UmdFileNameInfo::new_zeroed();
        utf16("driver \u{1f600}.dll", &mut info.umd_file_name);
        let user = to_user(KIND, info.as_bytes()).unwrap();
        assert_eq!(to_wire(KIND, &user).unwrap(), info.as_bytes());
    }

    #[test]
    fn every_converted_type_has_the_documented_sizes() {
        let mut count = 0;
        for row in TypeInfo::table().iter().filter(|r| r.conversion == Conversion::Library) {
            let (wire, user) = (row.wire_size_bytes.unwrap(), row.user_size_bytes.unwrap());
            assert_eq!(to_user(row.kind, &vec![0; wire]).unwrap().len(), user, "{}", row.name);
            assert_eq!(to_wire(row.kind, &vec![0; user]).unwrap().len(), wire, "{}", row.name);
            assert!(to_wire(row.kind, &vec![0; user - 1]).is_err(), "{}", row.name);
            count += 1;
        }
        assert_eq!(count, 9);
    }

    #[test]
    fn type_without_conversion_is_refused() {
        let kind = QueryAdapterInfoType::CPDRIVERNAME;
        assert_eq!(to_user(kind, &[0; 520]), Err(ConversionError::NotConverted(kind)));
    }

    #[test]
    fn text_without_an_end_keeps_room_for_one() {
        let user = to_user(KIND, &[0x41; 524]).unwrap();
        assert_eq!(user.len(), 1044);
        assert_eq!(user[1040..], [0; 4]);
        assert_eq!(wide(&user[4..]).chars().count(), 259);
    }

    #[test]
    fn registry_path_is_widened_and_its_size_doubled() {
        let mut info = QueryRegistryInfo::new_zeroed();
        info.query_type = QueryRegistryType::DRIVERSTOREPATH;
        let value: Vec<u8> = r"C:\Windows\System32\DriverStore\FileRepository\a\"
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect();
        info.output_value_size = u32::try_from(value.len()).unwrap();
        let mut wire = info.as_bytes()[..REGISTRY_VALUE_OFFSET].to_vec();
        wire.extend_from_slice(&value);
        let user = registry_to_user(&wire).unwrap();
        let at = REGISTRY_VALUE_OFFSET + 520;
        assert_eq!(user[at - 8..at - 4], (2 * info.output_value_size).to_le_bytes());
        assert_eq!(wide(&user[at..]), "/usr/lib/wsl/drivers/a/");
    }

    #[test]
    fn registry_number_stays_as_it_is() {
        let mut info = QueryRegistryInfo::new_zeroed();
        info.query_type = QueryRegistryType::ADAPTERKEY;
        info.value_type = 4;
        info.output_value_size = 4;
        info.output.set_output_dword(0x1234_5678);
        let user = to_user(QueryAdapterInfoType::QUERYREGISTRY, info.as_bytes()).unwrap();
        assert_eq!(user.len(), 1072);
        assert_eq!(user[1064..1068], 0x1234_5678u32.to_le_bytes());
        assert_eq!(user[1056..1060], 4u32.to_le_bytes());
    }
}
