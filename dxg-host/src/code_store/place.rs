//! A place: the directory with the code of one user on one virtual GPU, a file for each key.
//!
//! *Integrity.* A file starts with a digest of its key and its content, so that what is short, damaged or under another name counts as
//! absent and is removed. The digest is no protection from who writes files on purpose: that only the daemon's user may do, and
//! what others could have put here is not read.
//!
//! *Crashes.* A file gets its name when it is whole. What was being written is removed later by its age.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::SystemTime;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::UTIME_NOW;
use rustix::io::Errno;
use sha2::Digest;
use sha2::Sha256;

use super::MOST_ENTRY_BYTES;

const MAGIC: [u8; 8] = *b"dxgcode1";
const DIGEST_BYTES: usize = 32;
/// Bytes of a file beside its content.
const HEADER_BYTES: u64 = (MAGIC.len() + DIGEST_BYTES) as u64;
/// Files are counted in multiples of this: disks have no smaller ones.
const UNIT_BYTES: u64 = 4096;
/// How the name of a file ends.
const WHOLE: &str = ".code";
/// How it ends while the file is written.
const UNFINISHED: &str = ".new";
/// Nobody writes a file for so long.
const UNFINISHED_AGE: Duration = Duration::from_secs(3600);
/// What nobody has used for so long is of a program, or of a version of us, that has gone.
const UNUSED_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a key has in its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// Something that was not written here as it is now. It is gone.
    Damaged,
    /// What was kept.
    Whole(Vec<u8>),
}

/// A file that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    name: String,
    /// Bytes that it counts for.
    pub(super) bytes: u64,
    /// When it was last used.
    used: SystemTime,
}

/// A directory of ours, open.
#[derive(Debug)]
pub(super) struct Place(OwnedFd);

impl Place {
    /// The directory of this name, if it is there and ours alone.
    pub(super) fn open(parent: impl AsFd, name: &str) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        if is_ours(&rustix::fs::fstat(&directory)?) {
            Ok(Self(directory))
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{name} can be changed by others")))
        }
    }

    /// The same; it is made where it is not there.
    pub(super) fn open_or_make(parent: impl AsFd, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Self::open(parent, name),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The directory.
    pub(super) fn directory(&self) -> &OwnedFd {
        &self.0
    }

    /// What is kept for a key; it counts as used now.
    pub(super) fn get(&self, key: &[u8; 32]) -> Found {
        let name = file_name(key, WHOLE);
        // Not blocked by what is no file.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.0, &name, flags, Mode::empty()) {
            Ok(file) => file,
            // Links, what we may not read, sockets.
            Err(Errno::LOOP | Errno::ACCESS | Errno::NXIO) => return self.damaged(&name),
            Err(_) => return Found::Absent,
        };
        let read = read_whole(&File::from(file), key);
        match read {
            Ok(Some(content)) => Found::Whole(content),
            // The disk says so; a file that cannot be read today may be tomorrow.
            Err(_) => Found::Absent,
            Ok(None) => self.damaged(&name),
        }
    }

    fn damaged(&self, name: &str) -> Found {
        self.remove(name);
        Found::Damaged
    }

    /// Keeps content for a key. Answers how many bytes more there are now.
    pub(super) fn put(&self, key: &[u8; 32], content: &[u8]) -> io::Result<u64> {
        let (unfinished, name) = (file_name(key, UNFINISHED), file_name(key, WHOLE));
        let before = self.stat(&name).map_or(0, |stat| counted(size_of_file(&stat)));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.0, &unfinished, flags, Mode::RUSR | Mode::WUSR) {
            // Another daemon is writing the same; its file is as good.
            Err(Errno::EXIST) => return Ok(0),
            made => made?,
        };
        let written = write_whole(&File::from(file), key, content);
        let named = written
            .and_then(|()| Ok(rustix::fs::renameat(&self.0, &unfinished, &self.0, &name)?))
            .inspect_err(|_| self.remove(&unfinished));
        named.map(|()| cost(content.len() as u64).saturating_sub(before))
    }

    /// The files that count, least recently used first. What nobody will use is removed.
    pub(super) fn survey(&self, now: SystemTime) -> io::Result<Vec<Kept>> {
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let most_age = match name {
                _ if name.ends_with(WHOLE) => UNUSED_AGE,
                _ if name.ends_with(UNFINISHED) => UNFINISHED_AGE,
                _ => continue,
            };
            let Some(stat) = self.stat(name) else { continue };
            let used = time_of(&stat);
            if now.duration_since(used).is_ok_and(|age| age > most_age) {
                self.remove(name);
            } else {
                found.push(Kept { name: name.to_owned(), bytes: counted(size_of_file(&stat)), used });
            }
        }
        found.sort_by_key(|file| file.used);
        Ok(found)
    }

    /// Removes what was not used the longest until at most `most_bytes` are left. Answers how many are.
    pub(super) fn shrink(&self, most_bytes: u64, now: SystemTime) -> io::Result<u64> {
        let kept = self.survey(now)?;
        let mut left = kept.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        for file in kept {
            if left <= most_bytes {
                break;
            }
            self.remove(&file.name);
            left = left.saturating_sub(file.bytes);
        }
        Ok(left)
    }

    fn stat(&self, name: &str) -> Option<Stat> {
        rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    fn remove(&self, name: &str) {
        // Another daemon may have done so.
        let _ = rustix::fs::unlinkat(&self.0, name, AtFlags::empty());
    }
}

/// Whether nobody but this process's user can change a file or directory.
pub(super) fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
}

fn file_name(key: &[u8; 32], ending: &str) -> String {
    let mut name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    name.push_str(ending);
    name
}

/// Bytes that content counts for, once it is in a file.
pub(super) fn cost(content_bytes: u64) -> u64 {
    counted(content_bytes.saturating_add(HEADER_BYTES))
}

fn counted(file_bytes: u64) -> u64 {
    file_bytes.max(1).div_ceil(UNIT_BYTES).saturating_mul(UNIT_BYTES)
}

fn size_of_file(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn time_of(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds.min(u64::from(u32::MAX) * 4), nanoseconds.min(999_999_999))
}

fn digest(key: &[u8; 32], content: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update(content);
    hash.finalize().into()
}

/// The content of a file; nothing where it is not what was written for the key.
fn read_whole(file: &File, key: &[u8; 32]) -> io::Result<Option<Vec<u8>>> {
    let stat = rustix::fs::fstat(file)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let size_bytes = size_of_file(&stat);
    // A second name would let its file be changed from elsewhere.
    if !is_file || !is_ours(&stat) || stat.st_nlink != 1 || size_bytes > HEADER_BYTES + MOST_ENTRY_BYTES {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
    file.take(size_bytes).read_to_end(&mut bytes)?;
    let content = bytes.strip_prefix(&MAGIC).and_then(|rest| {
        let (said, content) = rest.split_at_checked(DIGEST_BYTES)?;
        (said == digest(key, content)).then_some(content)
    });
    let Some(content) = content else { return Ok(None) };
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    // A file that cannot be marked as used goes a little earlier.
    let _ = rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now });
    let start = bytes.len() - content.len();
    Ok(Some(bytes.split_off(start)))
}

fn write_whole(mut file: &File, key: &[u8; 32], content: &[u8]) -> io::Result<()> {
    file.write_all(&MAGIC)?;
    file.write_all(&digest(key, content))?;
    file.write_all(content)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::path::Path;
    use std::path::PathBuf;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use super::*;

    /// A directory of one test, gone with the value.
    pub(in super::super) struct Scratch(PathBuf);

    impl Scratch {
        pub(in super::super) fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("dxg-code-{}-{number}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(in super::super) fn path(&self) -> &Path {
            &self.0
        }

        pub(in super::super) fn open(&self) -> OwnedFd {
            File::open(&self.0).unwrap().into()
        }

        fn place(&self) -> Place {
            Place::open_or_make(self.open(), "place").unwrap()
        }

        fn file(&self, key: &[u8; 32]) -> PathBuf {
            self.0.join("place").join(file_name(key, WHOLE))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.join("place")).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const KEY: [u8; 32] = [1; 32];

    fn set_used(path: &Path, at: SystemTime) {
        File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn what_is_kept_comes_back_for_its_key_only() {
        let scratch = Scratch::new();
        let place = scratch.place();
        assert_eq!(place.get(&KEY), Found::Absent);
        place.put(&KEY, b"code").unwrap();
        assert_eq!(place.get(&KEY), Found::Whole(b"code".to_vec()));
        assert_eq!(place.get(&[2; 32]), Found::Absent);
        place.put(&KEY, b"other").unwrap();
        assert_eq!(place.get(&KEY), Found::Whole(b"other".to_vec()));
        assert_eq!(scratch.names().len(), 1);
    }

    #[test]
    fn file_with_any_byte_changed_is_damaged_and_goes() {
        let scratch = Scratch::new();
        let place = scratch.place();
        place.put(&KEY, b"some code").unwrap();
        let whole = fs::read(scratch.file(&KEY)).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x40;
            fs::write(scratch.file(&KEY), changed).unwrap();
            assert_eq!(place.get(&KEY), Found::Damaged, "byte {at}");
            assert_eq!(scratch.names().len(), 0);
        }
    }

    #[test]
    fn file_of_any_other_length_is_damaged() {
        let scratch = Scratch::new();
        let place = scratch.place();
        place.put(&KEY, b"some code").unwrap();
        let whole = fs::read(scratch.file(&KEY)).unwrap();
        for len in 0..whole.len() {
            fs::write(scratch.file(&KEY), &whole[..len]).unwrap();
            assert_eq!(place.get(&KEY), Found::Damaged, "{len} bytes");
        }
        fs::write(scratch.file(&KEY), [whole.as_slice(), &[0]].concat()).unwrap();
        assert_eq!(place.get(&KEY), Found::Damaged);
    }

    #[test]
    fn file_of_another_key_is_damaged_under_this_one() {
        let scratch = Scratch::new();
        let place = scratch.place();
        place.put(&[2; 32], b"code").unwrap();
        fs::rename(scratch.file(&[2; 32]), scratch.file(&KEY)).unwrap();
        assert_eq!(place.get(&KEY), Found::Damaged);
    }

    #[test]
    fn links_pipes_and_files_that_others_can_change_are_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new();
        let place = scratch.place();
        place.put(&KEY, b"code").unwrap();
        let elsewhere = scratch.path().join("elsewhere");
        fs::rename(scratch.file(&KEY), &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, scratch.file(&KEY)).unwrap();
        assert_eq!(place.get(&KEY), Found::Damaged, "a link by name");
        fs::hard_link(&elsewhere, scratch.file(&KEY)).unwrap();
        assert_eq!(place.get(&KEY), Found::Damaged, "a second name");
        rustix::fs::mknodat(
            place.directory(),
            file_name(&KEY, WHOLE),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(place.get(&KEY), Found::Damaged, "a pipe");
        fs::copy(&elsewhere, scratch.file(&KEY)).unwrap();
        fs::set_permissions(scratch.file(&KEY), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(place.get(&KEY), Found::Damaged, "a file that all can write");
        assert!(elsewhere.exists(), "what a link names stays");
        assert_eq!(scratch.names().len(), 0);
    }

    #[test]
    fn directory_in_the_place_of_a_file_is_no_end_of_anything() {
        let scratch = Scratch::new();
        let place = scratch.place();
        fs::create_dir(scratch.file(&KEY)).unwrap();
        assert_eq!(place.get(&KEY), Found::Damaged);
        assert!(place.put(&KEY, b"code").is_err());
        assert_eq!(scratch.names().len(), 1, "nothing half done stays");
    }

    #[test]
    fn place_that_others_can_change_or_a_link_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("open")).unwrap();
        fs::set_permissions(scratch.path().join("open"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Place::open_or_make(scratch.open(), "open").is_err());
        std::os::unix::fs::symlink("/tmp", scratch.path().join("link")).unwrap();
        assert!(Place::open_or_make(scratch.open(), "link").is_err());
    }

    #[test]
    fn shrinking_removes_what_was_not_used_the_longest() {
        let scratch = Scratch::new();
        let place = scratch.place();
        let now = SystemTime::now();
        for number in 0..4 {
            place.put(&[number; 32], b"code").unwrap();
            let age = Duration::from_secs(100 - u64::from(number));
            set_used(&scratch.file(&[number; 32]), now - age);
        }
        assert_eq!(place.get(&[0; 32]), Found::Whole(b"code".to_vec()), "used now");
        assert_eq!(place.shrink(2 * UNIT_BYTES, now + Duration::from_secs(1)).unwrap(), 2 * UNIT_BYTES);
        let left: Vec<u8> = (0..4).filter(|number| scratch.file(&[*number; 32]).exists()).collect();
        assert_eq!(left, [0, 3]);
    }

    #[test]
    fn what_nobody_used_for_long_and_what_was_never_finished_goes() {
        let scratch = Scratch::new();
        let place = scratch.place();
        let now = SystemTime::now();
        place.put(&KEY, b"old").unwrap();
        set_used(&scratch.file(&KEY), now - UNUSED_AGE - Duration::from_secs(60));
        place.put(&[2; 32], b"new").unwrap();
        for (name, age) in [("a.new", 2 * UNUSED_AGE), ("b.new", Duration::ZERO), ("notes", 2 * UNUSED_AGE)] {
            let path = scratch.path().join("place").join(name);
            fs::write(&path, "x").unwrap();
            set_used(&path, now - age);
        }
        assert_eq!(place.survey(now).unwrap().len(), 2);
        let mut names = scratch.names();
        names.sort();
        assert_eq!(names, [file_name(&[2; 32], WHOLE), "b.new".to_owned(), "notes".to_owned()]);
    }

    #[test]
    fn two_that_write_the_same_leave_one_whole_file() {
        let scratch = Scratch::new();
        let place = scratch.place();
        let content = vec![7; 100_000];
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let own = scratch.place();
                    for _ in 0..100 {
                        own.put(&KEY, &content).unwrap();
                        assert_ne!(own.get(&KEY), Found::Damaged);
                    }
                });
            }
        });
        assert_eq!(place.get(&KEY), Found::Whole(content.clone()));
        assert_eq!(scratch.names().len(), 1);
    }

    #[test]
    #[ignore = "started by another test where files have a limit"]
    fn put_below_a_limit() {
        let scratch = Scratch::new();
        let place = scratch.place();
        place.put(&KEY, b"small").unwrap();
        assert!(place.put(&[2; 32], &vec![0; 1 << 20]).is_err());
        assert_eq!(scratch.names().len(), 1, "nothing half done stays");
        assert_eq!(place.get(&KEY), Found::Whole(b"small".to_vec()));
    }

    #[test]
    fn content_that_does_not_fit_on_the_disk_is_not_kept() {
        let test = "code_store::place::tests::put_below_a_limit";
        let done = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" --exact \"$1\" --ignored"])
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
    }
}
