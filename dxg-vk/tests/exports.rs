//! The driver library from outside: what it exports.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]
use std::path::PathBuf;

/// The library as cargo built it beside this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let places = [deps.join("libvulkan_dxg.so"), deps.parent().unwrap().join("libvulkan_dxg.so")];
    places.into_iter().find(|place| place.exists()).expect("the library is built together with its tests")
}

/// The defined names of the library's dynamic symbol table.
fn exported(elf: &[u8]) -> Vec<String> {
    let u16_at = |at: usize| u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()) as usize;
    let u32_at = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().unwrap()) as usize;
    let u64_at =
        |at: usize| usize::try_from(u64::from_le_bytes(elf[at..at + 8].try_into().unwrap())).unwrap();
    assert_eq!(&elf[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian library");
    let (sections, section_bytes, section_count) = (u64_at(0x28), u16_at(0x3A), u16_at(0x3C));
    let header = |index: usize| sections + index * section_bytes;
    const DYNSYM: usize = 11;
    let symbols = (0..section_count).map(header).find(|at| u32_at(at + 4) == DYNSYM).unwrap();
    let strings = u64_at(header(u32_at(symbols + 0x28)) + 0x18);
    let (first, bytes) = (u64_at(symbols + 0x18), u64_at(symbols + 0x20));
    let mut names = Vec::new();
    for at in (first..first + bytes).step_by(24) {
        let section = u16_at(at + 6);
        if section != 0 {
            let name = &elf[strings + u32_at(at)..];
            let len = name.iter().position(|byte| *byte == 0).unwrap();
            names.push(String::from_utf8(name[..len].to_vec()).unwrap());
        }
    }
    names.sort();
    names
}

#[test]
fn library_exports_the_driver_interface_and_nothing_else() {
    let elf = std::fs::read(library()).unwrap();
    let wanted = [
        "vk_icdGetInstanceProcAddr",
        "vk_icdGetPhysicalDeviceProcAddr",
        "vk_icdNegotiateLoaderICDInterfaceVersion",
    ];
    assert_eq!(exported(&elf), wanted);
}
