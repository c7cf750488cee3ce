//! Images of code as programs hand them over: PTX text, fat binaries that hold PTX, what our linker made.
//!
//! *Source.* header (the magic numbers of fat binaries stand in `fatbinary_section.h`); observed (the layout of entries, from
//! files that compilers wrote). *Layout of an entry*: u16 kind at 0, u32 header bytes at 4, u64 bytes at 8, u32 compressed bytes
//! at 16, u32 architecture at 28, u64 flags at 40, u64 decompressed bytes at 56.

#![forbid(unsafe_code)]

use std::io::Read;

use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Text;
use crate::generated::enums::CUresult;
use crate::types::Answer;

/// What makes one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Name and text of each PTX text.
    pub texts: Vec<(Vec<u8>, Vec<u8>)>,
    /// A cubin or fat binary, for a driver of the host.
    pub binary: Option<Vec<u8>>,
}

/// What becomes of binaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binaries {
    /// The PTX in them is what counts.
    Unpacked,
    /// A driver of the host takes them as they are.
    Taken,
}

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// 10 * major + minor.
    pub capability: u32,
    /// What becomes of binaries.
    pub binaries: Binaries,
}

impl From<u32> for Target {
    fn from(capability: u32) -> Self {
        Self { capability, binaries: Binaries::Unpacked }
    }
}

const WRAPPER_MAGIC: u32 = 0x466243b1;
const FATBIN_MAGIC: u32 = 0xba55ed50;
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
/// Begins what our linker makes: then u32 zero, u64 bytes of all, then names and texts, each a u64 length and bytes.
const LINKED_MAGIC: [u8; 8] = *b"DXGLINK\x01";
const FATBIN_HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 64;
const KIND_PTX: u16 = 1;
const FLAG_LZ4: u64 = 0x2000;
const FLAG_ZSTD: u64 = 0x8000;
/// No image is larger.
const MAX_IMAGE_BYTES: u64 = 1 << 30;

const NO_CODE: CUresult = CUresult::ERROR_NO_BINARY_FOR_GPU;
const BAD: CUresult = CUresult::ERROR_INVALID_IMAGE;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

fn binary(bytes: Vec<u8>) -> Image {
    Image { texts: Vec::new(), binary: Some(bytes) }
}

/// Bytes of the ELF file at an address: as far as its tables and sections go.
fn elf_bytes(address: Address) -> Option<u64> {
    const HEADER_BYTES: usize = 64;
    /// A section without bytes in the file.
    const NOBITS: u32 = 8;
    let header = memory::read(address, HEADER_BYTES);
    let table = |offset: usize, entry: usize, count: usize| {
        Some((
            u64_at(&header, offset)?,
            u64::from(u16_at(&header, entry)?),
            u64::from(u16_at(&header, count)?),
        ))
    };
    let (programs, program_bytes, program_count) = table(32, 54, 56)?;
    let (sections, section_bytes, section_count) = table(40, 58, 60)?;
    let mut end = programs.checked_add(program_bytes * program_count)?;
    end = end.max(sections.checked_add(section_bytes * section_count)?).max(HEADER_BYTES as u64);
    if end > MAX_IMAGE_BYTES || (section_count != 0 && section_bytes < HEADER_BYTES as u64) {
        return None;
    }
    let headers =
        memory::read(address.plus(usize::try_from(sections).ok()?), (section_bytes * section_count) as usize);
    for section in headers.chunks_exact((section_bytes as usize).max(1)) {
        if u32_at(section, 4)? != NOBITS {
            end = end.max(u64_at(section, 24)?.checked_add(u64_at(section, 32)?)?);
        }
    }
    (end <= MAX_IMAGE_BYTES).then_some(end)
}

/// The image at an address whose length nobody says, for a device of `capability` (10 * major + minor).
///
/// # Errors
/// Invalid value for null, invalid image, no binary for this device.
pub fn at(address: Address, target: impl Into<Target>) -> Answer<Image> {
    let target = target.into();
    address.given()?;
    let magic = memory::read(address, 4);
    if magic == ELF_MAGIC {
        if target.binaries == Binaries::Unpacked {
            return Err(NO_CODE);
        }
        let bytes = elf_bytes(address).ok_or(BAD)?;
        return Ok(binary(memory::read(address, usize::try_from(bytes).map_err(|_| BAD)?)));
    }
    match u32_at(&magic, 0) {
        Some(WRAPPER_MAGIC) => {
            let inner = u64_at(&memory::read(address.plus(8), 8), 0).ok_or(BAD)?;
            at(Address(usize::try_from(inner).map_err(|_| BAD)?), target)
        }
        Some(FATBIN_MAGIC) => {
            let header = memory::read(address, FATBIN_HEADER_BYTES);
            let header_bytes = u64::from(u16_at(&header, 6).ok_or(BAD)?);
            let bytes = u64_at(&header, 8).ok_or(BAD)?.checked_add(header_bytes);
            let bytes = bytes.filter(|bytes| *bytes <= MAX_IMAGE_BYTES).ok_or(BAD)?;
            fatbin_for(memory::read(address, usize::try_from(bytes).map_err(|_| BAD)?), target)
        }
        _ if magic == LINKED_MAGIC[..4] => {
            let header = memory::read(address, 16);
            let bytes = u64_at(&header, 8).filter(|bytes| *bytes <= MAX_IMAGE_BYTES).ok_or(BAD)?;
            linked(&memory::read(address, usize::try_from(bytes).map_err(|_| BAD)?))
        }
        _ => Ok(text(Text::of(address).bytes()?)),
    }
}

/// The image in these bytes.
///
/// # Errors
/// As [`at`].
pub fn of(bytes: &[u8], target: impl Into<Target>) -> Answer<Image> {
    let target = target.into();
    if bytes.starts_with(&ELF_MAGIC) {
        return match target.binaries {
            Binaries::Unpacked => Err(NO_CODE),
            Binaries::Taken => Ok(binary(bytes.to_vec())),
        };
    }
    match u32_at(bytes, 0) {
        Some(FATBIN_MAGIC) => fatbin_for(bytes.to_vec(), target),
        _ if bytes.starts_with(&LINKED_MAGIC) => linked(bytes),
        _ => {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            Ok(text(bytes.get(..end).unwrap_or_default().to_vec()))
        }
    }
}

fn text(bytes: Vec<u8>) -> Image {
    Image { texts: vec![(Vec::new(), bytes)], binary: None }
}

fn fatbin_for(bytes: Vec<u8>, target: Target) -> Answer<Image> {
    match target.binaries {
        Binaries::Unpacked => fatbin(&bytes, target.capability),
        Binaries::Taken => Ok(binary(bytes)),
    }
}

struct Entry<'a> {
    architecture: u32,
    flags: u64,
    plain_bytes: usize,
    payload: &'a [u8],
}

fn fatbin(bytes: &[u8], capability: u32) -> Answer<Image> {
    let header_bytes = usize::from(u16_at(bytes, 6).ok_or(BAD)?);
    let mut rest = bytes.get(header_bytes..).ok_or(BAD)?;
    let mut best: Option<Entry<'_>> = None;
    while rest.len() >= ENTRY_BYTES {
        let field = |at| u64_at(rest, at).ok_or(BAD);
        let kind = u16_at(rest, 0).ok_or(BAD)?;
        let header_bytes = u32_at(rest, 4).ok_or(BAD)? as usize;
        let size_bytes = usize::try_from(field(8)?).map_err(|_| BAD)?;
        let packed_bytes = u32_at(rest, 16).ok_or(BAD)? as usize;
        let architecture = u32_at(rest, 28).ok_or(BAD)?;
        let (flags, plain_bytes) = (field(40)?, usize::try_from(field(56)?).map_err(|_| BAD)?);
        let end = header_bytes.checked_add(size_bytes).ok_or(BAD)?;
        let whole = rest.get(header_bytes..end).filter(|_| header_bytes >= ENTRY_BYTES).ok_or(BAD)?;
        let is_packed = flags & (FLAG_LZ4 | FLAG_ZSTD) != 0;
        let payload = if is_packed { whole.get(..packed_bytes).ok_or(BAD)? } else { whole };
        let is_better = best.as_ref().is_none_or(|best| architecture >= best.architecture);
        if kind == KIND_PTX && architecture <= capability && is_better {
            best = Some(Entry { architecture, flags, plain_bytes, payload });
        }
        rest = rest.get(end..).ok_or(BAD)?;
    }
    let best = best.ok_or(NO_CODE)?;
    let mut plain = unpack(&best)?;
    plain.truncate(plain.iter().position(|byte| *byte == 0).unwrap_or(plain.len()));
    Ok(text(plain))
}

fn unpack(entry: &Entry<'_>) -> Answer<Vec<u8>> {
    if entry.flags & (FLAG_LZ4 | FLAG_ZSTD) != 0 && entry.plain_bytes as u64 > MAX_IMAGE_BYTES {
        return Err(BAD);
    }
    if entry.flags & FLAG_LZ4 != 0 {
        let plain = lz4_flex::block::decompress(entry.payload, entry.plain_bytes).map_err(|error| {
            tracing::debug!(%error, "packed PTX");
            BAD
        })?;
        return if plain.len() == entry.plain_bytes { Ok(plain) } else { Err(BAD) };
    }
    if entry.flags & FLAG_ZSTD != 0 {
        let mut plain = Vec::new();
        let decoder = ruzstd::decoding::StreamingDecoder::new(entry.payload).map_err(|_| BAD)?;
        decoder.take(entry.plain_bytes as u64).read_to_end(&mut plain).map_err(|_| BAD)?;
        return Ok(plain);
    }
    Ok(entry.payload.to_vec())
}

fn linked(bytes: &[u8]) -> Answer<Image> {
    let mut rest = bytes.get(16..).ok_or(BAD)?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let length = usize::try_from(u64_at(rest, 0).ok_or(BAD)?).map_err(|_| BAD)?;
        let (part, tail) = rest.get(8..).and_then(|tail| tail.split_at_checked(length)).ok_or(BAD)?;
        parts.push(part.to_vec());
        rest = tail;
    }
    let (pairs, _) = parts.as_chunks::<2>();
    Ok(Image { texts: pairs.iter().map(|[name, text]| (name.clone(), text.clone())).collect(), binary: None })
}

impl Image {
    /// As one piece that [`at`] and [`of`] read again.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = LINKED_MAGIC.to_vec();
        bytes.extend_from_slice(&[0; 8]);
        for part in self.texts.iter().flat_map(|(name, text)| [name, text]) {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        let length = (bytes.len() as u64).to_le_bytes();
        if let Some(place) = bytes.get_mut(8..16) {
            place.copy_from_slice(&length);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u16, architecture: u32, flags: u64, payload: &[u8], plain_bytes: usize) -> Vec<u8> {
        let padded = payload.len().next_multiple_of(8);
        let mut bytes = vec![0; ENTRY_BYTES];
        bytes[0..2].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&(padded as u64).to_le_bytes());
        bytes[16..20].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes[28..32].copy_from_slice(&architecture.to_le_bytes());
        bytes[40..48].copy_from_slice(&flags.to_le_bytes());
        bytes[56..64].copy_from_slice(&(plain_bytes as u64).to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(ENTRY_BYTES + padded, 0);
        bytes
    }

    fn container(entries: &[Vec<u8>]) -> Vec<u8> {
        let body = entries.concat();
        let mut bytes = FATBIN_MAGIC.to_le_bytes().to_vec();
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&(FATBIN_HEADER_BYTES as u16).to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    fn only_text(image: Answer<Image>) -> String {
        let image = image.unwrap();
        assert_eq!(image.texts.len(), 1);
        String::from_utf8(image.texts[0].1.clone()).unwrap()
    }

    #[test]
    fn binaries_are_taken_whole_where_a_driver_has_them() {
        let target = Target { capability: 90, binaries: Binaries::Taken };
        let fat = container(&[entry(2, 75, 0, b"\x7fELFxxxx", 0)]);
        assert_eq!(of(&fat, target).unwrap().binary, Some(fat));
        // One section of 6 bytes behind the table of two, the other without bytes.
        let mut elf = ELF_MAGIC.to_vec();
        elf.resize(64 + 128 + 6, 0);
        elf[40..48].copy_from_slice(&64_u64.to_le_bytes());
        elf[58..60].copy_from_slice(&64_u16.to_le_bytes());
        elf[60..62].copy_from_slice(&2_u16.to_le_bytes());
        elf[64 + 4] = 1;
        elf[64 + 24..64 + 32].copy_from_slice(&192_u64.to_le_bytes());
        elf[64 + 32..64 + 40].copy_from_slice(&6_u64.to_le_bytes());
        elf[128 + 4] = 8;
        elf[128 + 32..128 + 40].copy_from_slice(&4096_u64.to_le_bytes());
        let address = Address(elf.as_ptr().expose_provenance());
        assert_eq!(at(address, target).unwrap().binary.as_ref(), Some(&elf));
        assert_eq!(at(address, 90), Err(NO_CODE));
    }

    #[test]
    fn fatbin_newest_ptx_that_the_device_can_run_is_taken() {
        let bytes = container(&[
            entry(2, 75, 0, b"\x7fELFxxxx", 0),
            entry(KIND_PTX, 52, 0, b"old", 0),
            entry(KIND_PTX, 70, 0, b"good\0\0", 0),
            entry(KIND_PTX, 80, 0, b"new", 0),
        ]);
        assert_eq!(only_text(of(&bytes, 75)), "good");
        assert_eq!(only_text(of(&bytes, 86)), "new");
        assert_eq!(of(&bytes, 50), Err(NO_CODE));
    }

    #[test]
    fn fatbin_packed_with_lz4_or_zstd_is_unpacked() {
        let plain = b".version 7.0\n.target sm_70\n.target sm_70\n.target sm_70\n".to_vec();
        let lz4 = lz4_flex::block::compress(&plain);
        let bytes = container(&[entry(KIND_PTX, 70, FLAG_LZ4 | 1, &lz4, plain.len())]);
        assert_eq!(only_text(of(&bytes, 75)).as_bytes(), plain);
        let zstd =
            ruzstd::encoding::compress_to_vec(plain.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        let bytes = container(&[entry(KIND_PTX, 70, FLAG_ZSTD, &zstd, plain.len())]);
        assert_eq!(only_text(of(&bytes, 75)).as_bytes(), plain);
    }

    #[test]
    fn wrapper_leads_to_its_container_and_cubin_is_no_binary() {
        let inner = container(&[entry(KIND_PTX, 70, 0, b"text", 0)]);
        let mut wrapper = WRAPPER_MAGIC.to_le_bytes().to_vec();
        wrapper.extend_from_slice(&1_u32.to_le_bytes());
        wrapper.extend_from_slice(&(inner.as_ptr().expose_provenance() as u64).to_le_bytes());
        wrapper.extend_from_slice(&[0; 8]);
        assert_eq!(only_text(at(Address(wrapper.as_ptr().expose_provenance()), 75)), "text");
        let cubin = b"\x7fELF\x02\x01\x01";
        assert_eq!(at(Address(cubin.as_ptr().expose_provenance()), 75), Err(NO_CODE));
    }

    #[test]
    fn fatbin_cut_short_or_with_impossible_sizes_is_an_invalid_image() {
        let whole = container(&[entry(KIND_PTX, 70, FLAG_LZ4, b"garbage", 100)]);
        assert_eq!(of(&whole, 75), Err(BAD));
        for length in 4..whole.len() {
            assert!(of(&whole[..length], 75).is_err(), "{length}");
        }
        let mut endless = whole;
        endless[FATBIN_HEADER_BYTES + 8..FATBIN_HEADER_BYTES + 16].fill(0xff);
        assert_eq!(of(&endless, 75), Err(BAD));
    }

    #[test]
    fn linked_image_reads_back() {
        let texts = vec![(b"a".to_vec(), b"one".to_vec()), (Vec::new(), b"two".to_vec())];
        let image = Image { texts, binary: None };
        let bytes = image.encode();
        assert_eq!(of(&bytes, 75), Ok(image.clone()));
        assert_eq!(at(Address(bytes.as_ptr().expose_provenance()), 75), Ok(image));
    }
}
