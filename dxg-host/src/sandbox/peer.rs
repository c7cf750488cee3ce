//! Who is at the other end of a socket, as the kernel says.
//!
//! *Why.* A process that the daemon's process namespace does not show has the id 0 here, and permissions by group
//! go by all groups of a process, not by its first.

// UNSAFETY: socket options that have no safe wrapper that takes a process id of 0.
#![expect(unsafe_code, reason = "two socket options are raw system calls")]

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

/// Most groups that are looked at.
const MAX_GROUPS: usize = 1024;

/// The process that connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id; 0 where this process cannot see it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its further groups.
    pub groups: Vec<u32>,
}

impl Peer {
    /// The peer of a socket.
    ///
    /// # Errors
    /// The descriptor is not a socket that has one.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let fd = socket.as_fd().as_raw_fd();
        let mut credentials = MaybeUninit::<libc::ucred>::uninit();
        let mut len = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: writes at most `len` bytes to `credentials`, which has room for them, and their number to `len`.
        let got = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                credentials.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if got != 0 {
            return Err(io::Error::last_os_error());
        }
        if len as usize != size_of::<libc::ucred>() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the call above has written all bytes, and each field may have any value.
        let credentials = unsafe { credentials.assume_init() };
        let pid = u32::try_from(credentials.pid).unwrap_or(0);
        Ok(Self { pid, uid: credentials.uid, gid: credentials.gid, groups: groups(fd) })
    }

    /// Whether it may write to a file with this owner, group and mode, as the kernel judges.
    #[must_use]
    pub fn may_write(&self, owner: u32, group: u32, mode: u32) -> bool {
        if self.uid == 0 {
            true
        } else if self.uid == owner {
            mode & 0o200 != 0
        } else if self.gid == group || self.groups.contains(&group) {
            mode & 0o020 != 0
        } else {
            mode & 0o002 != 0
        }
    }
}

/// The further groups of a peer; none where the kernel does not say.
fn groups(fd: c_int) -> Vec<u32> {
    let mut groups = vec![0_u32; MAX_GROUPS];
    let mut len = size_of_val(groups.as_slice()) as libc::socklen_t;
    // SAFETY: writes at most `len` bytes to `groups`, which has room for them, and their number to `len`.
    let got = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, groups.as_mut_ptr().cast(), &raw mut len)
    };
    groups.truncate(if got == 0 { len as usize / size_of::<u32>() } else { 0 });
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer { pid: 1, uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn peer_of_our_own_pair_is_this_process() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn peer_of_what_is_no_socket_is_an_error() {
        assert!(Peer::of(std::fs::File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn first_class_that_fits_decides_who_may_write() {
        assert!(peer(0, 0, &[]).may_write(7, 7, 0));
        assert!(!peer(7, 7, &[]).may_write(7, 7, 0o066), "the owner is not one of the others");
        assert!(peer(8, 9, &[44]).may_write(0, 44, 0o660));
        assert!(!peer(8, 9, &[45]).may_write(0, 44, 0o660));
        assert!(!peer(8, 44, &[]).may_write(0, 44, 0o606), "the group is not one of the others");
        assert!(peer(8, 9, &[]).may_write(0, 44, 0o666));
    }
}
