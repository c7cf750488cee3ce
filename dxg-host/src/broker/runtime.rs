//! The runtime directory: lock, sockets, and what a killed daemon left behind.
//!
//! *Invariants.* What is in the directory belongs to whoever holds the lock. The kernel gives the lock up with the
//! process, so leftovers of a dead daemon are known as such and replaced. Nobody but the daemon's user can change what
//! is in it: a directory of which that is not so is refused, for whoever may write there could put a link in the place
//! of a socket before its permissions are set.

use std::fs;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use dxg_wire::runtime_dir;
use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use crate::config::DaemonUser;

/// Connections that may stand in line at one socket.
const BACKLOG: i32 = 256;

/// Who may connect to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permissions {
    /// Mode bits.
    pub(super) mode: u32,
    /// Owner, where it is not the daemon's user.
    pub(super) owner: Option<u32>,
    /// Group, where it is not the daemon's.
    pub(super) group: Option<u32>,
}

/// What becomes of the directory when the daemon ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leftovers {
    /// It stays: who has it mounted elsewhere finds the next daemon there.
    #[default]
    Keep,
    /// It goes, unless there is something in it that is not the daemon's.
    Remove,
}

/// The directory, locked.
pub(super) struct RuntimeDir {
    dir: PathBuf,
    /// Locked for as long as it is open.
    _lock: fs::File,
    sockets: Vec<PathBuf>,
    leftovers: Leftovers,
}

impl RuntimeDir {
    /// Makes and locks the directory, and removes what a dead daemon left there.
    pub(super) fn open(dir: &Path, user: DaemonUser, leftovers: Leftovers) -> io::Result<Self> {
        let mode = match user {
            DaemonUser::Root => 0o755,
            DaemonUser::Other => 0o700,
        };
        own_directory(dir, mode)?;
        let vgpus = dir.join(runtime_dir::VGPU_DIR);
        own_directory(&vgpus, mode)?;
        let lock = lock(&runtime_dir::lock_file(dir))?;
        for entry in fs::read_dir(&vgpus)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sock") {
                remove(&path)?;
            }
        }
        remove(&runtime_dir::control_socket(dir))?;
        Ok(Self { dir: dir.to_owned(), _lock: lock, sockets: Vec::new(), leftovers })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Listens at a path of the directory. Nobody can connect before the permissions are in place.
    pub(super) fn listen(
        &mut self,
        path: &Path,
        kind: SocketType,
        permissions: Permissions,
    ) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        let address = SocketAddrUnix::new(path)?;
        rustix::net::bind(&socket, &address)?;
        self.sockets.push(path.to_owned());
        std::os::unix::fs::chown(path, permissions.owner, permissions.group)?;
        rustix::fs::chmod(path, Mode::from_raw_mode(permissions.mode))?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    }

    /// Removes the sockets.
    pub(super) fn clear(&mut self) {
        for path in self.sockets.drain(..) {
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "socket not removed");
            }
        }
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        self.clear();
        if self.leftovers == Leftovers::Remove {
            let vgpus = self.dir.join(runtime_dir::VGPU_DIR);
            let removed = fs::remove_dir(&vgpus)
                .and_then(|()| fs::remove_file(runtime_dir::lock_file(&self.dir)))
                .and_then(|()| fs::remove_dir(&self.dir));
            if let Err(error) = removed {
                tracing::warn!(dir = %self.dir.display(), %error, "directory not removed");
            }
        }
    }
}

/// Makes a directory with a mode, or takes one that is there and that nobody else can change.
fn own_directory(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(mode).create(parent)?;
    }
    let made = match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        made => made.is_ok(),
    };
    let refused =
        |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", path.display()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR | Errno::LOOP => refused("is not a directory of its own"),
        other => other.into(),
    })?;
    let found = rustix::fs::fstat(&directory)?;
    if found.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused("belongs to another user"));
    }
    if made {
        // The mask of whoever started us says nothing about who may look for sockets.
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))?;
    } else if found.st_mode & 0o022 != 0 {
        return Err(refused("can be changed by others: `chmod go-w` it"));
    }
    Ok(())
}

fn lock(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
        if errno == Errno::WOULDBLOCK {
            io::Error::new(io::ErrorKind::AddrInUse, format!("another daemon holds {}", path.display()))
        } else {
            errno.into()
        }
    })?;
    let mut file = fs::File::from(file);
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
