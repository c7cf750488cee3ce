//! Code kept in a directory, one file for each entry.
//!
//! *Integrity.* A file starts with a digest of its content under a secret of the caller's; what does not fit is removed and counts
//! as absent. Who may not know the secret cannot make us run other code.
//!
//! *Size.* When there is more than allowed, the files that were not read the longest are removed.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::UTIME_NOW;
use sha2::Digest;
use sha2::Sha256;

use crate::native::cache::CodeKey;
use crate::native::code::CodeImage;

const MAGIC: [u8; 8] = *b"dxgptx01";
const DIGEST_BYTES: usize = 32;
const ENDING: &str = ".code";

/// A directory with code.
#[derive(Debug)]
pub struct Directory {
    directory: OwnedFd,
    secret: [u8; 32],
    most_bytes: u64,
    /// For names of files that are not whole yet.
    next: AtomicU64,
}

/// A file of ours: its name, its size, when it was last used.
struct Kept {
    name: String,
    bytes: u64,
    used: (i64, u64),
}

impl Directory {
    /// Keeps up to `most_bytes` in a directory. Only files whose digest was made with the same secret are read.
    #[must_use]
    pub fn new(directory: OwnedFd, secret: [u8; 32], most_bytes: u64) -> Self {
        Self { directory, secret, most_bytes, next: AtomicU64::new(0) }
    }

    fn name(key: &CodeKey) -> String {
        let mut name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        name.push_str(ENDING);
        name
    }

    fn digest(&self, key: &CodeKey, content: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut inner = Sha256::new();
        inner.update(self.secret);
        inner.update(key.0);
        inner.update(content);
        let inner = inner.finalize();
        // Twice, so that nothing can be appended to what a digest is known of.
        let mut outer = Sha256::new();
        outer.update(self.secret);
        outer.update(inner);
        outer.finalize().into()
    }

    /// The code of a key, if it is there and whole.
    pub(crate) fn get(&self, key: &CodeKey) -> Option<CodeImage> {
        let name = Self::name(key);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.directory, &name, flags, Mode::empty()).ok()?;
        let file = File::from(file);
        let mut content = Vec::new();
        let limit = self.most_bytes.max(1);
        (&file).take(limit).read_to_end(&mut content).ok()?;
        let image = self.check(key, &content);
        if image.is_none() {
            self.remove(&name);
        } else {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            // A file that cannot be marked as used goes a little earlier.
            let _ = rustix::fs::futimens(&file, &times);
        }
        image
    }

    fn check(&self, key: &CodeKey, content: &[u8]) -> Option<CodeImage> {
        let rest = content.strip_prefix(&MAGIC)?;
        let (digest, rest) = rest.split_at_checked(DIGEST_BYTES)?;
        if digest != self.digest(key, rest) {
            return None;
        }
        decode(rest)
    }

    /// Keeps code. That it could not be kept is no failure.
    pub(crate) fn put(&self, key: &CodeKey, image: &CodeImage) {
        let content = encode(image);
        let whole = [&MAGIC[..], &self.digest(key, &content), &content].concat();
        if whole.len() as u64 > self.most_bytes || self.make_room(whole.len() as u64).is_err() {
            return;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let unfinished = format!("{}-{number}.new", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(file) = rustix::fs::openat(&self.directory, &unfinished, flags, Mode::RUSR | Mode::WUSR)
        else {
            return;
        };
        let written = File::from(file).write_all(&whole);
        let name = Self::name(key);
        let kept = written.is_ok()
            && rustix::fs::renameat(&self.directory, &unfinished, &self.directory, &name).is_ok();
        if !kept {
            self.remove(&unfinished);
        }
    }

    fn remove(&self, name: &str) {
        // Somebody else may have removed it.
        let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }

    fn kept(&self) -> rustix::io::Result<Vec<Kept>> {
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !name.ends_with(ENDING) {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let bytes = u64::try_from(stat.st_size).unwrap_or(0);
            let used = (stat.st_mtime, stat.st_mtime_nsec);
            found.push(Kept { name: name.to_owned(), bytes, used });
        }
        Ok(found)
    }

    fn make_room(&self, bytes: u64) -> rustix::io::Result<()> {
        let mut kept = self.kept()?;
        let mut total: u64 = kept.iter().map(|file| file.bytes).sum();
        kept.sort_by_key(|file| file.used);
        for file in kept {
            if total + bytes <= self.most_bytes {
                break;
            }
            self.remove(&file.name);
            total -= file.bytes;
        }
        Ok(())
    }
}

fn encode(image: &CodeImage) -> Vec<u8> {
    let mut out = Vec::with_capacity(image.bytes.len() + 12 * image.places.len() + 64);
    let mut word = |value: usize| out.extend_from_slice(&(value as u32).to_le_bytes());
    word(image.starts.len());
    word(image.places.len());
    word(image.bytes.len());
    image.starts.iter().for_each(|&start| word(start as usize));
    image.places.iter().flatten().for_each(|&part| word(part as usize));
    out.extend_from_slice(&image.bytes);
    out
}

fn decode(content: &[u8]) -> Option<CodeImage> {
    let mut rest = content;
    let mut word = || {
        let (word, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        Some(u32::from_le_bytes(*word))
    };
    let [starts, places, bytes] = [word()?, word()?, word()?].map(|count| count as usize);
    let starts = (0..starts).map(|_| word()).collect::<Option<Vec<u32>>>()?;
    let places = (0..places).map(|_| Some([word()?, word()?, word()?])).collect::<Option<Vec<_>>>()?;
    (rest.len() == bytes && starts.iter().all(|&start| (start as usize) < bytes)).then(|| CodeImage {
        bytes: rest.to_vec(),
        starts,
        places,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test's own, empty.
    fn directory(name: &str, most_bytes: u64) -> (std::path::PathBuf, Directory) {
        let path = std::env::temp_dir().join(format!("dxg-ptx-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("the directory can be made");
        let opened = File::open(&path).expect("the directory can be opened");
        (path, Directory::new(opened.into(), [7; 32], most_bytes))
    }

    fn image(bytes: usize) -> CodeImage {
        CodeImage { bytes: vec![0xc3; bytes], starts: vec![0, 64], places: vec![[0, 0, 1], [64, 1, 2]] }
    }

    #[test]
    fn code_that_is_kept_comes_back_for_its_key_only() {
        let (path, directory) = directory("back", 1 << 20);
        directory.put(&CodeKey([1; 32]), &image(200));
        assert_eq!(directory.get(&CodeKey([1; 32])), Some(image(200)));
        assert_eq!(directory.get(&CodeKey([2; 32])), None);
        std::fs::remove_dir_all(path).expect("the directory is there");
    }

    #[test]
    fn file_that_was_changed_is_removed() {
        let (path, directory) = directory("changed", 1 << 20);
        let key = CodeKey([1; 32]);
        directory.put(&key, &image(200));
        let file = path.join(Directory::name(&key));
        let mut content = std::fs::read(&file).expect("the file is there");
        *content.last_mut().expect("it is not empty") ^= 1;
        std::fs::write(&file, content).expect("the file can be written");
        assert_eq!(directory.get(&key), None);
        assert!(!file.exists());
        std::fs::remove_dir_all(path).expect("the directory is there");
    }

    #[test]
    fn file_of_another_secret_is_not_read() {
        let (path, directory) = directory("secret", 1 << 20);
        let key = CodeKey([1; 32]);
        directory.put(&key, &image(200));
        let opened = File::open(&path).expect("the directory can be opened");
        let other = Directory::new(opened.into(), [8; 32], 1 << 20);
        assert_eq!(other.get(&key), None);
        std::fs::remove_dir_all(path).expect("the directory is there");
    }

    #[test]
    fn directory_stays_below_its_limit() {
        let (path, directory) = directory("limit", 3000);
        for number in 0..10 {
            directory.put(&CodeKey([number; 32]), &image(800));
        }
        let total: u64 =
            directory.kept().expect("the directory can be read").iter().map(|file| file.bytes).sum();
        assert!(total <= 3000, "{total} bytes are kept");
        assert!(directory.get(&CodeKey([9; 32])).is_some(), "what was kept last is there");
        std::fs::remove_dir_all(path).expect("the directory is there");
    }
}
