//! How much memory is mapped at an address of this process.

use std::fs;
use std::io;

/// Bytes from `address` to the end of the mapping that holds it; `None` where nothing is mapped.
pub(super) fn bytes_from(address: u64) -> io::Result<Option<u64>> {
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
}
