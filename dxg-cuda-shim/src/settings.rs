//! What the environment says.

#![forbid(unsafe_code)]

use std::env;

use dxg_core::Candidate;

/// Which devices programs see, as NVIDIA's driver has it: indexes and `GPU-` UUIDs, separated by commas.
const VISIBLE_DEVICES: &str = "CUDA_VISIBLE_DEVICES";
/// The version of the driver that is reported: 1000 * major + 10 * minor.
const DRIVER_VERSION: &str = "DXG_CUDA_DRIVER_VERSION";
/// The compute capability to report, as `7.5` or `75`.
const COMPUTE_CAPABILITY: &str = "DXG_CUDA_COMPUTE_CAPABILITY";
/// Version 12.9.
const DEFAULT_DRIVER_VERSION: i32 = 12090;

/// The version of the driver that is reported.
#[must_use]
pub fn driver_version() -> i32 {
    let wanted = env::var(DRIVER_VERSION).ok().and_then(|text| text.trim().parse().ok());
    wanted.filter(|version| *version >= 2000).unwrap_or(DEFAULT_DRIVER_VERSION)
}

/// The compute capability to ask the host for; 0 for the virtual GPU's.
#[must_use]
pub fn compute_capability() -> u32 {
    env::var(COMPUTE_CAPABILITY).ok().and_then(|text| capability(&text)).unwrap_or(0)
}

fn capability(text: &str) -> Option<u32> {
    match text.trim().split_once('.') {
        Some((major, minor)) => {
            Some(major.parse::<u32>().ok()?.checked_mul(10)? + minor.parse::<u32>().ok()?)
        }
        None => text.trim().parse().ok(),
    }
}

/// What of `all` programs see, in the order in which they do.
#[must_use]
pub fn visible(all: Vec<Candidate>) -> Vec<Candidate> {
    match env::var(VISIBLE_DEVICES) {
        Ok(wanted) => {
            let uuids: Vec<String> =
                all.iter().map(|one| one.uuid().map(|uuid| uuid.to_string()).unwrap_or_default()).collect();
            pick(&uuids, &wanted).into_iter().filter_map(|index| all.get(index).cloned()).collect()
        }
        Err(_) => all,
    }
}

/// Indexes into `uuids`. The list ends before the first entry that names nothing.
fn pick(uuids: &[String], wanted: &str) -> Vec<usize> {
    let mut picked = Vec::new();
    for entry in wanted.split(',').map(str::trim) {
        let by_index = entry.parse::<usize>().ok().filter(|index| *index < uuids.len());
        let by_uuid = || {
            let prefix = entry.strip_prefix("GPU-")?.to_ascii_lowercase();
            uuids.iter().position(|uuid| !prefix.is_empty() && uuid.starts_with(&prefix))
        };
        match by_index.or_else(by_uuid) {
            Some(index) if !picked.contains(&index) => picked.push(index),
            _ => break,
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_devices_pick_by_index_and_uuid_until_the_first_that_is_wrong() {
        let uuids = ["0a".to_owned(), "1b".to_owned(), "2c".to_owned()];
        assert_eq!(pick(&uuids, "2, GPU-0A"), [2, 0]);
        assert_eq!(pick(&uuids, "1,-1,0"), [1]);
        assert_eq!(pick(&uuids, "1,1"), [1]);
        assert_eq!(pick(&uuids, ""), [0; 0]);
        assert_eq!(pick(&uuids, "GPU-"), [0; 0]);
    }

    #[test]
    fn compute_capability_is_read_in_both_forms() {
        assert_eq!(capability("7.5"), Some(75));
        assert_eq!(capability(" 86 "), Some(86));
        assert_eq!(capability("seven"), None);
    }
}
