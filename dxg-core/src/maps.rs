//! What is mapped at an address of this process.

use std::fs;
use std::io;

/// Bytes from `address` to the end of the mapping that holds it; `None` where nothing is mapped.
pub(crate) fn bytes_from(address: u64) -> io::Result<Option<u64>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    Ok(maps.lines().find_map(|line| left_in(line, address)))
}

/// The bytes left in the mapping of one line (`start-end rights ...`, both in hexadecimal), if it holds the address and may be
/// read and written.
fn left_in(line: &str, address: u64) -> Option<u64> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    (rest.starts_with("rw") && (start..end).contains(&address)).then(|| end - address)
}

/// Whether all of `start..end` is private memory without a file that may be read and written.
pub(crate) fn is_private_memory(start: u64, end: u64) -> io::Result<bool> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let reached = maps.lines().fold(start, |reached, line| match private_range(line) {
        Some((from, to)) if from <= reached && reached < to => to,
        _ => reached,
    });
    Ok(start < end && reached >= end)
}

/// The range of one line, if it is of private memory without a file that may be read and written, and not a stack, which grows.
fn private_range(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    let (_offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?);
    let is_plain = rights.starts_with("rw") && rights.ends_with('p') && inode == "0";
    let is_stack = fields.next().is_some_and(|name| name.starts_with("[stack"));
    let range = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    (is_plain && !is_stack).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_in_counts_to_the_end_of_the_mapping() {
        let line = "7f0000001000-7f0000003000 rw-s 00000000 00:01 42 /memfd:x (deleted)";
        assert_eq!(left_in(line, 0x7f00_0000_1000), Some(0x2000));
        assert_eq!(left_in(line, 0x7f00_0000_2ff8), Some(8));
        assert_eq!(left_in(line, 0x7f00_0000_3000), None);
        assert_eq!(left_in(line, 0x7f00_0000_0fff), None);
    }

    #[test]
    fn left_in_memory_that_may_not_be_written_is_none() {
        assert_eq!(left_in("1000-2000 r--s 0 00:01 42", 0x1000), None);
        assert_eq!(left_in("nonsense", 0x1000), None);
    }

    #[test]
    fn private_range_is_of_memory_without_a_file_only() {
        assert_eq!(private_range("1000-2000 rw-p 00000000 00:00 0"), Some((0x1000, 0x2000)));
        assert_eq!(private_range("1000-2000 rw-p 00000000 00:00 0 [heap]"), Some((0x1000, 0x2000)));
        assert_eq!(private_range("1000-2000 rw-p 00000000 00:00 0 [stack]"), None);
        assert_eq!(private_range("1000-2000 r--p 00000000 00:00 0"), None);
        assert_eq!(private_range("1000-2000 rw-s 00000000 00:01 0"), None);
        assert_eq!(private_range("1000-2000 rw-p 00000000 08:01 77 /lib/x"), None);
    }

    #[test]
    fn is_private_memory_ends_where_the_mapping_does() {
        let memory = vec![0u8; 1 << 22];
        let start = memory.as_ptr().addr() as u64;
        assert!(is_private_memory(start, start + (1 << 22)).unwrap());
        assert!(!is_private_memory(start, 1 << 47).unwrap());
        assert!(!is_private_memory(start, start).unwrap());
        assert!(!is_private_memory(0x1000, 0x2000).unwrap());
    }
}
