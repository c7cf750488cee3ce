//! Modules of a host's driver, and what the guest is told of them.

use std::ffi::CString;

use dxg_ptx::outline;
use dxg_ptx::outline::Outline;
use dxg_wire::codec::Encoder;
use dxg_wire::cuda::FunctionInfo;
use dxg_wire::cuda::List;
use dxg_wire::cuda::ModuleInfo;
use dxg_wire::cuda::ParamInfo;
use dxg_wire::cuda::SymbolInfo;
use dxg_wire::cuda::image_kind;
use dxg_wire::cuda::symbol_kind;

use super::super::result;
use super::driver::Code;
use super::driver::Driver;
use super::driver::FunctionHandle;
use super::driver::Input;
use super::driver::InputKind;
use super::driver::Logs;
use super::driver::ModuleHandle;

/// Most bytes of a log.
const MOST_LOG_BYTES: u32 = 1 << 20;
/// Least room for the log of errors: programs that want none have it in the daemon's.
const LEAST_LOG_BYTES: u32 = 4096;
/// First word of a fat binary.
const FAT_BINARY: u32 = 0xBA55_ED50;
/// First word of an ELF file.
const ELF: u32 = u32::from_le_bytes(*b"\x7fELF");

/// An image, copied from the guest.
pub(super) struct Image {
    pub(super) kind: u32,
    pub(super) name: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

/// An entry.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) handle: FunctionHandle,
    /// Offset and bytes of each parameter.
    pub(super) parameters: Vec<(u32, u32)>,
}

/// A variable: where it is, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) address: u64,
    pub(super) bytes: u64,
}

/// A module that the driver has loaded.
///
/// It is unloaded on drop, in a thread where its context is current: one of a stream, or that of the ring.
#[derive(Debug)]
pub(super) struct Loaded {
    driver: Driver,
    handle: ModuleHandle,
    pub(super) functions: Vec<Function>,
    pub(super) variables: Vec<Variable>,
    /// The encoded [`ModuleInfo`].
    pub(super) info: Vec<u8>,
    pub(super) info_log: Vec<u8>,
}

impl Loaded {
    /// A variable with a name.
    ///
    /// # Errors
    /// There is none, or no name has a zero.
    pub(super) fn find(&self, name: Vec<u8>) -> Result<Variable, Code> {
        let name = CString::new(name).map_err(|_| Code(result::INVALID_VALUE))?;
        let (address, bytes) = self.driver.global(self.handle, &name)?;
        Ok(Variable { address, bytes })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Err(code) = self.driver.unload(self.handle) {
            tracing::debug!(%code, "module not unloaded");
        }
    }
}

/// A module that the driver does not load.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: Code,
    pub(super) info_log: Vec<u8>,
    pub(super) error_log: Vec<u8>,
}

impl Refused {
    fn plain(code: i32, why: &str) -> Self {
        Self { code: Code(code), info_log: Vec::new(), error_log: why.as_bytes().to_vec() }
    }
}

/// Loads images, linked if there are several.
///
/// # Errors
/// What the driver says of them.
pub(super) fn load(
    driver: &Driver,
    images: Vec<Image>,
    optimization: u32,
    log_bytes: u32,
) -> Result<Loaded, Refused> {
    let outlines: Vec<Outline> = images
        .iter()
        .filter(|image| image.kind == image_kind::PTX)
        .map(|image| outline::outline(&image.bytes))
        .collect();
    let mut inputs = images.into_iter().map(input_of).collect::<Result<Vec<_>, _>>()?;
    let room = log_bytes.clamp(LEAST_LOG_BYTES, MOST_LOG_BYTES) as usize;
    let mut logs = Logs::with_room(room);
    let loaded = match inputs.as_slice() {
        [one] => driver.load(one, optimization, &mut logs),
        _ => driver.link(&mut inputs, optimization, &mut logs),
    };
    logs.trim();
    let Logs { info: mut info_log, error: mut error_log } = logs;
    info_log.truncate(log_bytes as usize);
    let handle = loaded.map_err(|code| {
        let said = String::from_utf8_lossy(&error_log);
        tracing::debug!(%code, %said, "module refused");
        error_log.truncate(log_bytes as usize);
        Refused { code, info_log: info_log.clone(), error_log: error_log.clone() }
    })?;
    describe(driver, handle, &outlines, info_log).map_err(|code| {
        // What cannot be described cannot be used.
        let _ = driver.unload(handle);
        Refused {
            code,
            info_log: Vec::new(),
            error_log: b"the driver does not say what is in the module".to_vec(),
        }
    })
}

fn input_of(image: Image) -> Result<Input, Refused> {
    let Image { kind, name, mut bytes } = image;
    let name =
        CString::new(name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()).unwrap_or_default();
    let kind = if kind == image_kind::PTX {
        bytes.push(0);
        InputKind::Ptx
    } else {
        binary_kind(&bytes).ok_or_else(|| {
            Refused::plain(result::INVALID_IMAGE, "neither a cubin nor a fat binary, or cut")
        })?
    };
    Ok(Input { kind, name, bytes })
}

/// What a binary is, if it is all there: a driver reads as far as the headers say.
fn binary_kind(bytes: &[u8]) -> Option<InputKind> {
    let field = |at: usize, len: usize| {
        let mut word = [0_u8; 8];
        word.get_mut(..len)?.copy_from_slice(bytes.get(at..at.checked_add(len)?)?);
        Some(u64::from_le_bytes(word))
    };
    let end = |start: u64, count: u64, each: u64| start.checked_add(count.checked_mul(each)?);
    let len = bytes.len() as u64;
    match u32::try_from(field(0, 4)?).ok()? {
        // Header: magic, version u16, header bytes u16, bytes behind it u64.
        FAT_BINARY => (end(field(6, 2)?, field(8, 8)?, 1)? <= len).then_some(InputKind::FatBinary),
        ELF => {
            let (programs, sections) = (field(32, 8)?, field(40, 8)?);
            let (program_bytes, program_count) = (field(54, 2)?, field(56, 2)?);
            let (section_bytes, section_count) = (field(58, 2)?, field(60, 2)?);
            let all = end(programs, program_count, program_bytes)?.max(end(
                sections,
                section_count,
                section_bytes,
            )?);
            let contents = (0..section_count).try_fold(0_u64, |most, index| {
                let header = usize::try_from(end(sections, index, section_bytes)?).ok()?;
                // A section of kind NOBITS has no bytes in the file.
                if field(header.checked_add(4)?, 4)? == 8 {
                    return Some(most);
                }
                let (start, bytes) = (field(header.checked_add(24)?, 8)?, field(header.checked_add(32)?, 8)?);
                Some(most.max(start.checked_add(bytes)?))
            })?;
            (all.max(contents) <= len).then_some(InputKind::Cubin)
        }
        _ => None,
    }
}

fn describe(
    driver: &Driver,
    handle: ModuleHandle,
    outlines: &[Outline],
    info_log: Vec<u8>,
) -> Result<Loaded, Code> {
    let entries = || outlines.iter().flat_map(|outline| &outline.entries);
    let named: Vec<(CString, FunctionHandle)> = match driver.functions(handle) {
        Some(found) => found?,
        None => entries()
            .filter_map(|entry| CString::new(entry.name.as_str()).ok())
            .filter_map(|name| Some((driver.function(handle, &name).ok()?, name)))
            .map(|(function, name)| (name, function))
            .collect(),
    };
    let mut functions = Vec::with_capacity(named.len());
    let mut infos = Vec::with_capacity(named.len());
    for (name, function) in named {
        let written = entries().find(|entry| entry.name.as_bytes() == name.as_bytes());
        let parameters = driver
            .parameters(function)
            .or_else(|| written.map(|entry| entry.parameters.clone()))
            .ok_or(Code(result::NOT_SUPPORTED))?;
        infos.push(function_info(driver, name.as_bytes(), function, &parameters));
        functions.push(Function { handle: function, parameters });
    }
    let mut variables = Vec::new();
    let mut symbols = Vec::new();
    for variable in outlines.iter().flat_map(|outline| &outline.variables) {
        let Ok(name) = CString::new(variable.name.as_str()) else { continue };
        // One that nothing uses may be gone, or be of one text only.
        let Ok((address, bytes)) = driver.global(handle, &name) else { continue };
        let kind = match variable.kind {
            outline::Kind::Global => symbol_kind::GLOBAL,
            outline::Kind::Constant => symbol_kind::CONSTANT,
            outline::Kind::Managed => symbol_kind::MANAGED,
        };
        variables.push(Variable { address, bytes });
        symbols.push(SymbolInfo { name: name.into_bytes(), kind, offset: address, bytes });
    }
    let mut encoder = Encoder::new();
    ModuleInfo { functions: List(infos), symbols: List(symbols) }.encode(&mut encoder);
    Ok(Loaded { driver: *driver, handle, functions, variables, info: encoder.as_slice().to_vec(), info_log })
}

fn function_info(
    driver: &Driver,
    name: &[u8],
    function: FunctionHandle,
    parameters: &[(u32, u32)],
) -> FunctionInfo {
    let attribute = |number: i32| driver.function_attribute(number, function);
    FunctionInfo {
        name: name.to_vec(),
        params: List(
            parameters.iter().map(|(offset, size)| ParamInfo { offset: *offset, size: *size }).collect(),
        ),
        param_bytes: parameters.iter().map(|(offset, size)| offset.saturating_add(*size)).max().unwrap_or(0),
        max_threads: attribute(0),
        shared_bytes: attribute(1),
        const_bytes: attribute(2),
        local_bytes: attribute(3),
        registers: attribute(4),
        ptx_version: attribute(5),
        binary_version: attribute(6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fat_binary_must_be_as_long_as_it_says() {
        let mut binary = FAT_BINARY.to_le_bytes().to_vec();
        binary.extend([1, 0, 16, 0]);
        binary.extend(8_u64.to_le_bytes());
        binary.extend([0; 8]);
        assert_eq!(binary_kind(&binary), Some(InputKind::FatBinary));
        assert_eq!(binary_kind(&binary[..23]), None);
        binary[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(binary_kind(&binary), None);
    }

    #[test]
    fn cubin_must_hold_its_headers_and_sections() {
        let mut cubin = b"\x7fELF".to_vec();
        cubin.resize(64 + 64 + 10, 0);
        cubin[40..48].copy_from_slice(&64_u64.to_le_bytes());
        cubin[58..60].copy_from_slice(&64_u16.to_le_bytes());
        cubin[60..62].copy_from_slice(&1_u16.to_le_bytes());
        cubin[64 + 4] = 1;
        cubin[64 + 24..64 + 32].copy_from_slice(&128_u64.to_le_bytes());
        cubin[64 + 32..64 + 40].copy_from_slice(&10_u64.to_le_bytes());
        assert_eq!(binary_kind(&cubin), Some(InputKind::Cubin));
        assert_eq!(binary_kind(&cubin[..137]), None);
        assert_eq!(binary_kind(b"#!/bin/sh"), None);
    }
}
