//! Who is at the other end of a socket, as the kernel says.

// UNSAFETY: socket options that the system call layer in use does not know, or not with a process id of 0.
#![expect(unsafe_code, reason = "SO_PEERCRED and SO_PEERGROUPS have no safe form")]

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

/// Most groups that a user may be in.
const MAX_GROUPS: usize = 65_536;

/// Process, user and group of the other end of a socket. The process is 0 where our namespace does not show it.
///
/// # Errors
/// The descriptor is not a socket that has one.
pub fn credentials_of(socket: &impl AsFd) -> io::Result<(u32, u32, u32)> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY:
    // - The descriptor is open as long as `socket` is borrowed.
    // - `credentials` is writable for the `len` bytes that the call is told of, and any bytes are credentials.
    // - `len` is a valid place for the answer's length.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    if usize::try_from(len).ok() == Some(size_of::<libc::ucred>()) {
        Ok((u32::try_from(credentials.pid).unwrap_or(0), credentials.uid, credentials.gid))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// The supplementary groups of the other end of a socket.
///
/// # Errors
/// The descriptor is not a socket that has one.
pub fn groups_of(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        let room = libc::socklen_t::try_from(groups.len() * size_of::<u32>()).map_err(io::Error::other)?;
        let mut len = room;
        // SAFETY:
        // - The descriptor is open as long as `socket` is borrowed.
        // - `groups` is writable for the `len` bytes that the call is told of, and any bytes are group ids.
        // - `len` is a valid place for the answer's length.
        let done = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let error = io::Error::last_os_error();
        let count = usize::try_from(len).map_err(io::Error::other)? / size_of::<u32>();
        if done == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        // The length that is needed comes back.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > MAX_GROUPS {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}
