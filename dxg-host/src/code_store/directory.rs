//! The directory below which code is kept: where it is, and that it is ours.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::place::is_ours;

/// Where a daemon of root keeps it.
const OF_THE_SYSTEM: &str = "/var/cache/dxg/code";

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// What is in it could be somebody else's.
    #[error("{0}")]
    Foreign(&'static str),
    /// The system refused.
    #[error(transparent)]
    Os(#[from] io::Error),
}

/// Where a daemon keeps code when nothing else is configured: `/var/cache/dxg/code` for root, the user's cache directory for
/// others. `None` for a user who has none.
#[must_use]
pub fn usual(environment: impl Fn(&str) -> Option<OsString>, uid: u32) -> Option<PathBuf> {
    if uid == 0 {
        return Some(PathBuf::from(OF_THE_SYSTEM));
    }
    let absolute = |name| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("dxg/code"))
}

/// Opens the directory; it is made where it is not there, for us alone.
///
/// # Errors
/// It cannot be made or read, is another user's, or can be changed by others.
pub fn open(path: &Path) -> Result<OwnedFd, DirectoryError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR | Errno::LOOP => DirectoryError::Foreign("it is a link to elsewhere"),
        other => DirectoryError::Os(other.into()),
    })?;
    let stat = rustix::fs::fstat(&directory).map_err(io::Error::from)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        Err(DirectoryError::Foreign("it belongs to another user"))
    } else if !is_ours(&stat) {
        Err(DirectoryError::Foreign("it can be changed by others: `chmod go-w` it"))
    } else {
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::fs::symlink;

    use super::super::place::tests::Scratch;
    use super::*;

    #[test]
    fn root_has_the_systems_directory_and_users_have_theirs() {
        let environment = |name: &str| match name {
            "HOME" => Some(OsString::from("/home/a")),
            "XDG_CACHE_HOME" => Some(OsString::from("relative")),
            _ => None,
        };
        assert_eq!(usual(environment, 0), Some(PathBuf::from("/var/cache/dxg/code")));
        assert_eq!(usual(environment, 7), Some(PathBuf::from("/home/a/.cache/dxg/code")));
        let cache = |name: &str| (name == "XDG_CACHE_HOME").then(|| OsString::from("/c"));
        assert_eq!(usual(cache, 7), Some(PathBuf::from("/c/dxg/code")));
        assert_eq!(usual(|_| None, 7), None);
    }

    #[test]
    fn directory_is_made_for_its_user_alone() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a/b");
        open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        open(&path).unwrap();
    }

    #[test]
    fn directory_that_others_can_change_and_a_link_are_refused() {
        let scratch = Scratch::new();
        let open_to_all = scratch.path().join("open");
        fs::create_dir(&open_to_all).unwrap();
        fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(open(&open_to_all), Err(DirectoryError::Foreign(_))));
        let link = scratch.path().join("link");
        symlink(scratch.path(), &link).unwrap();
        assert!(matches!(open(&link), Err(DirectoryError::Foreign(_))));
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(open(&file), Err(DirectoryError::Os(_))));
    }
}
