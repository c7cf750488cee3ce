//! Who is at the other end of a socket, and which virtual GPUs that user may open.
//!
//! *Why.* What a user may not open is not listed for it either. The socket's permissions decide when it connects; here the same
//! permissions decide what it is told.
//!
//! *Limits.* Access lists beside owner, group and mode are not looked at: who is let in by one only connects, but is told nothing.

use std::fs::Metadata;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::vgpu::Vgpu;
use crate::sandbox;

/// A process and its user, as the kernel knew them when it connected.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The process; 0 where this process's namespace does not show it.
    pub(super) pid: u32,
    /// The user.
    pub(super) uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Peer {
    /// The other end of a socket.
    pub(super) fn of(socket: &impl AsFd) -> io::Result<Self> {
        let (pid, uid, gid) = sandbox::credentials_of(socket)?;
        Ok(Self { pid, uid, gid, groups: sandbox::groups_of(socket)? })
    }

    /// Whether it may do with the daemon what the daemon's own user may.
    pub(super) fn is_owner(&self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }

    /// Whether it is told of a virtual GPU: its owner is of all, others of those that they may open.
    pub(super) fn sees(&self, vgpu: &Vgpu) -> bool {
        self.is_owner()
            || (vgpu.admits(self.uid)
                && std::fs::symlink_metadata(&vgpu.path).is_ok_and(|node| self.may_write(&Node::of(&node))))
    }

    /// Whether the permissions of a file let this user write it; to connect to a socket is to write it.
    fn may_write(&self, node: &Node) -> bool {
        let class = if self.uid == node.uid {
            0o200
        } else if self.gid == node.gid || self.groups.contains(&node.gid) {
            0o020
        } else {
            0o002
        };
        node.mode & class != 0
    }
}

/// Owner, group and mode of a file.
struct Node {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Node {
    fn of(metadata: &Metadata) -> Self {
        Self { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer { pid: 1, uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn write_permission_is_that_of_the_first_class_that_fits() {
        let node = |mode| Node { uid: 1000, gid: 50, mode };
        assert!(peer(1000, 1, &[]).may_write(&node(0o100_600)));
        assert!(!peer(1000, 1, &[]).may_write(&node(0o100_066)), "the owner is not everybody");
        assert!(peer(1, 50, &[]).may_write(&node(0o100_660)));
        assert!(peer(1, 1, &[7, 50]).may_write(&node(0o100_660)));
        assert!(!peer(1, 1, &[7, 50]).may_write(&node(0o100_606)), "the group is not everybody");
        assert!(peer(1, 1, &[7]).may_write(&node(0o100_606)));
        assert!(!peer(1, 1, &[7]).may_write(&node(0o100_660)));
    }

    #[test]
    fn peer_of_a_socket_pair_is_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        let groups: Vec<u32> = rustix::process::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
        assert_eq!(peer.groups.len(), groups.len());
        assert!(peer.is_owner());
    }
}
