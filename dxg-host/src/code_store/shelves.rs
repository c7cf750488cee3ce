//! All places of a daemon, and how much they hold.
//!
//! *Limits.* A place has room for so many bytes, all places together for so many. Where a place is full it gives up what it has
//! not used the longest; where all are, the largest gives up first, so that who keeps little keeps it.
//!
//! *Several daemons* may have the same directory. Each counts what it writes and looks again every now and then, so that the
//! limits are passed by what the others wrote meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::fs::AtFlags;
use uuid::Uuid;

use super::place::Found;
use super::place::Place;
use super::place::cost;

/// Files that are written between two looks at all places.
const LOOK_EVERY: u32 = 64;

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one user on one virtual GPU.
    pub place_bytes: u64,
    /// Bytes of all of them.
    pub total_bytes: u64,
}

/// Whose code it is. Users are apart, and so are the virtual GPUs of one user: containers may all be of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whose {
    /// The virtual GPU.
    pub vgpu: Uuid,
    /// The user.
    pub uid: u32,
}

/// The places below one directory.
#[derive(Debug)]
pub(super) struct Shelves {
    root: OwnedFd,
    limits: Limits,
    /// Bytes of each place, as last seen and written since. Empty before the first look.
    sizes: BTreeMap<Whose, u64>,
    /// Files that may be written before the next look.
    before_look: u32,
}

impl Shelves {
    /// The places below `root`, which is ours.
    pub(super) fn new(root: OwnedFd, limits: Limits) -> Self {
        Self { root, limits, sizes: BTreeMap::new(), before_look: 0 }
    }

    /// The limits.
    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// What is kept for a key.
    pub(super) fn get(&self, whose: Whose, key: &[u8; 32]) -> Found {
        match self.open(whose) {
            Ok(place) => place.get(key),
            Err(_) => Found::Absent,
        }
    }

    /// Keeps content for a key. Content that is larger than a place is not kept.
    pub(super) fn put(&mut self, whose: Whose, key: &[u8; 32], content: &[u8]) -> io::Result<()> {
        let bytes = cost(content.len() as u64);
        if bytes > self.limits.place_bytes {
            return Ok(());
        }
        let now = SystemTime::now();
        self.look(now);
        let vgpu = Place::open_or_make(&self.root, &whose.vgpu.to_string())?;
        let place = Place::open_or_make(vgpu.directory(), &whose.uid.to_string())?;
        self.make_room(whose, bytes, now);
        let more = place.put(key, content)?;
        let size = self.sizes.entry(whose).or_default();
        *size = size.saturating_add(more);
        Ok(())
    }

    fn open(&self, whose: Whose) -> io::Result<Place> {
        let vgpu = Place::open(&self.root, &whose.vgpu.to_string())?;
        Place::open(vgpu.directory(), &whose.uid.to_string())
    }

    /// Sees how large all places are, when it is time to. Places without a file go.
    fn look(&mut self, now: SystemTime) {
        if let Some(left) = self.before_look.checked_sub(1) {
            self.before_look = left;
            return;
        }
        self.before_look = LOOK_EVERY;
        self.sizes.clear();
        for vgpu in names(&self.root) {
            let Ok(uuid) = vgpu.parse::<Uuid>() else { continue };
            let Ok(of_vgpu) = Place::open(&self.root, &vgpu) else { continue };
            for user in names(of_vgpu.directory()) {
                let Ok(uid) = user.parse::<u32>() else { continue };
                let Ok(place) = Place::open(of_vgpu.directory(), &user) else { continue };
                let Ok(kept) = place.survey(now) else { continue };
                let bytes = kept.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
                if kept.is_empty() {
                    // One that is not empty after all stays.
                    let _ = rustix::fs::unlinkat(of_vgpu.directory(), &user, AtFlags::REMOVEDIR);
                } else {
                    self.sizes.insert(Whose { vgpu: uuid, uid }, bytes);
                }
            }
            let _ = rustix::fs::unlinkat(&self.root, &vgpu, AtFlags::REMOVEDIR);
        }
    }

    /// Removes what must go so that `bytes` more are within the limits.
    fn make_room(&mut self, whose: Whose, bytes: u64, now: SystemTime) {
        let most = self.limits.place_bytes.saturating_sub(bytes);
        if self.sizes.get(&whose).is_some_and(|size| *size > most) {
            self.shrink(whose, most - most / 8, now);
        }
        let most = self.limits.total_bytes.saturating_sub(bytes);
        loop {
            let total = self.sizes.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
            let Some((largest, size)) = self.sizes.iter().max_by_key(|(_, size)| **size) else { return };
            let (largest, size) = (*largest, *size);
            if total <= most || size == 0 {
                return;
            }
            let surplus = (total - most).saturating_add(most / 8).min(size);
            self.shrink(largest, size - surplus, now);
        }
    }

    /// Makes one place smaller. One that cannot be made smaller counts as empty: it is looked at again later.
    fn shrink(&mut self, whose: Whose, most_bytes: u64, now: SystemTime) {
        let left = self.open(whose).and_then(|place| place.shrink(most_bytes, now));
        let left = left.ok().filter(|left| *left <= most_bytes).unwrap_or(0);
        self.sizes.insert(whose, left);
    }
}

fn names(directory: &OwnedFd) -> Vec<String> {
    let Ok(entries) = rustix::fs::Dir::read_from(directory) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.file_name().to_str().ok()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::path::PathBuf;

    use super::super::place::tests::Scratch;
    use super::*;

    const LIMITS: Limits = Limits { place_bytes: 10 << 12, total_bytes: 16 << 12 };

    fn whose(vgpu: u128, uid: u32) -> Whose {
        Whose { vgpu: Uuid::from_u128(vgpu), uid }
    }

    fn files_in(directory: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
        entries
            .flat_map(|entry| {
                let path = entry.unwrap().path();
                if path.is_dir() { files_in(&path) } else { vec![path] }
            })
            .collect()
    }

    fn files_of(scratch: &Scratch, whose: Whose) -> usize {
        files_in(&scratch.path().join(whose.vgpu.to_string()).join(whose.uid.to_string())).len()
    }

    /// Puts this many files of one unit each.
    fn fill(shelves: &mut Shelves, whose: Whose, count: u8) {
        for number in 0..count {
            shelves.put(whose, &[number; 32], b"code").unwrap();
        }
    }

    #[test]
    fn users_and_virtual_gpus_have_nothing_in_common() {
        let scratch = Scratch::new();
        let mut shelves = Shelves::new(scratch.open(), LIMITS);
        shelves.put(whose(1, 7), &[1; 32], b"code").unwrap();
        assert_eq!(shelves.get(whose(1, 7), &[1; 32]), Found::Whole(b"code".to_vec()));
        assert_eq!(shelves.get(whose(1, 8), &[1; 32]), Found::Absent);
        assert_eq!(shelves.get(whose(2, 7), &[1; 32]), Found::Absent);
        assert_eq!(files_in(scratch.path()).len(), 1);
    }

    #[test]
    fn place_stays_below_its_limit_and_has_what_came_last() {
        let scratch = Scratch::new();
        let mut shelves = Shelves::new(scratch.open(), LIMITS);
        fill(&mut shelves, whose(1, 7), 30);
        assert!(files_of(&scratch, whose(1, 7)) <= 10);
        assert_eq!(shelves.get(whose(1, 7), &[29; 32]), Found::Whole(b"code".to_vec()));
        shelves.put(whose(1, 7), &[99; 32], &vec![0; 11 << 12]).unwrap();
        assert_eq!(shelves.get(whose(1, 7), &[99; 32]), Found::Absent, "larger than the place");
    }

    #[test]
    fn largest_place_gives_up_first_where_all_are_full() {
        let scratch = Scratch::new();
        let mut shelves = Shelves::new(scratch.open(), LIMITS);
        fill(&mut shelves, whose(1, 1), 3);
        fill(&mut shelves, whose(1, 2), 10);
        fill(&mut shelves, whose(1, 3), 6);
        assert!(files_in(scratch.path()).len() <= 16);
        assert_eq!(files_of(&scratch, whose(1, 1)), 3, "who keeps little keeps it");
        assert_eq!(files_of(&scratch, whose(1, 3)), 6);
    }

    #[test]
    fn what_is_there_at_the_start_counts() {
        let scratch = Scratch::new();
        fill(&mut Shelves::new(scratch.open(), LIMITS), whose(1, 1), 10);
        let mut next = Shelves::new(scratch.open(), LIMITS);
        fill(&mut next, whose(2, 1), 10);
        assert!(files_in(scratch.path()).len() <= 16);
    }

    #[test]
    fn places_without_a_file_go_and_foreign_things_stay() {
        let scratch = Scratch::new();
        let empty = scratch.path().join(Uuid::from_u128(9).to_string()).join("5");
        fs::create_dir_all(&empty).unwrap();
        fs::create_dir_all(scratch.path().join("somebody's/5")).unwrap();
        fs::write(scratch.path().join("somebody's/5/x.code"), "x").unwrap();
        Shelves::new(scratch.open(), LIMITS).put(whose(1, 1), &[1; 32], b"code").unwrap();
        assert!(!empty.parent().unwrap().exists());
        assert!(scratch.path().join("somebody's/5/x.code").exists());
    }

    #[test]
    fn two_daemons_over_one_directory_stay_near_the_limits() {
        let scratch = Scratch::new();
        let mut shelves = [Shelves::new(scratch.open(), LIMITS), Shelves::new(scratch.open(), LIMITS)];
        for number in 0..250_u8 {
            shelves[usize::from(number % 2)].put(whose(1, 1), &[number; 32], b"code").unwrap();
        }
        assert!(files_in(scratch.path()).len() <= 20);
    }

    #[test]
    fn directory_that_cannot_be_written_gives_and_takes_nothing() {
        let scratch = Scratch::new();
        fill(&mut Shelves::new(scratch.open(), LIMITS), whose(1, 1), 1);
        // A file where the places of a virtual GPU would be: nobody can write there, not even root.
        fs::write(scratch.path().join(Uuid::from_u128(2).to_string()), "").unwrap();
        let mut shelves = Shelves::new(scratch.open(), LIMITS);
        assert!(shelves.put(whose(2, 1), &[1; 32], b"code").is_err());
        assert_eq!(shelves.get(whose(2, 1), &[1; 32]), Found::Absent);
        assert_eq!(shelves.get(whose(1, 1), &[0; 32]), Found::Whole(b"code".to_vec()));
    }
}
