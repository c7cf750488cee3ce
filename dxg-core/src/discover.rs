//! Which nodes this process may open.
//!
//! *Why.* Looking must cost nothing: a connection to a virtual GPU takes a worker of the host. So [`enumerate`] connects to
//! nothing; it asks the file system which sockets this process may write to, and [`Candidate::open`] connects. A node that
//! may not be opened is not listed.
//!
//! *Source.* Our own convention: `DXG_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/dxg` and `/run/dxg`; in each `vgpu/<uuid>.sock`.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use dxg_wire::runtime_dir;
use rustix::fs::Access;

use crate::Error;
use crate::Node;
use crate::Transport;

/// Where the kernel's device is.
pub const KERNEL_DEVICE: &str = "/dev/dxg";
/// The variable that limits what [`enumerate`] lists: uuids and indexes, separated by commas.
pub const VISIBLE_DEVICES: &str = runtime_dir::VISIBLE_DEVICES_VARIABLE;
/// The variable that names the only runtime directory to look in.
pub const RUNTIME_DIR: &str = runtime_dir::RUNTIME_DIR_VARIABLE;

/// The identity of a virtual GPU: 16 bytes in text order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID")]
pub struct NotAUuid;

impl FromStr for Uuid {
    type Err = NotAUuid;

    fn from_str(text: &str) -> Result<Self, NotAUuid> {
        let dashes_fit = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| matches!(at, 8 | 13 | 18 | 23) == (byte == b'-'));
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        if !dashes_fit || digits.len() != 32 {
            return Err(NotAUuid);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return Err(NotAUuid) };
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(NotAUuid);
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

/// A node that this process may open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    transport: Transport,
    path: PathBuf,
    uuid: Option<Uuid>,
    index: usize,
}

impl Candidate {
    /// What is behind it.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The device file or the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The virtual GPU's identity; none for the kernel's device, which may hold several.
    #[must_use]
    pub fn uuid(&self) -> Option<Uuid> {
        self.uuid
    }

    /// The number that `DXG_VISIBLE_DEVICES` may name it by: its place among all nodes that may be opened.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// As [`Node::open_kernel`] and [`Node::connect`].
    pub fn open(&self) -> Result<Node, Error> {
        match self.transport {
            Transport::Kernel => Node::open_kernel(&self.path),
            Transport::Host => Node::connect(&self.path),
        }
    }
}

/// Lists the nodes that this process may open: the kernel's device first, then virtual GPUs in the order of their UUIDs.
///
/// `DXG_VISIBLE_DEVICES` picks from that list and sets the order, as its entries stand; an entry that names nothing is passed over.
#[must_use]
pub fn enumerate() -> Vec<Candidate> {
    let all = find(Path::new(KERNEL_DEVICE), &runtime_dir::of_guest(|name| env::var_os(name)));
    match env::var_os(VISIBLE_DEVICES) {
        Some(wanted) => visible(&all, &wanted),
        None => all,
    }
}

fn find(kernel: &Path, runtime_dirs: &[PathBuf]) -> Vec<Candidate> {
    let mut found = Vec::new();
    if rustix::fs::access(kernel, Access::READ_OK).is_ok() {
        found.push(Candidate { transport: Transport::Kernel, path: kernel.into(), uuid: None, index: 0 });
    }
    let mut seen = BTreeSet::new();
    let mut sockets: Vec<(Uuid, PathBuf)> =
        runtime_dirs.iter().flat_map(|dir| sockets_in(dir)).filter(|(uuid, _)| seen.insert(*uuid)).collect();
    sockets.sort();
    found.extend(sockets.into_iter().map(|(uuid, path)| Candidate {
        transport: Transport::Host,
        path,
        uuid: Some(uuid),
        index: 0,
    }));
    for (index, candidate) in found.iter_mut().enumerate() {
        candidate.index = index;
    }
    found
}

/// The sockets of virtual GPUs in one runtime directory that this process may connect to.
fn sockets_in(dir: &Path) -> Vec<(Uuid, PathBuf)> {
    let Ok(entries) = dir.join(runtime_dir::VGPU_DIR).read_dir() else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let uuid = path.file_name()?.to_str()?.strip_suffix(".sock")?.parse().ok()?;
            let is_socket = path.metadata().ok()?.file_type().is_socket();
            let may_connect = rustix::fs::access(&path, Access::WRITE_OK).is_ok();
            (is_socket && may_connect).then_some((uuid, path))
        })
        .collect()
}

/// What of `all` the value of `DXG_VISIBLE_DEVICES` names.
fn visible(all: &[Candidate], wanted: &OsStr) -> Vec<Candidate> {
    let wanted = wanted.to_string_lossy();
    let mut picked: Vec<Candidate> = Vec::new();
    for entry in wanted.split(',').map(str::trim) {
        let by_index = entry.parse().ok().and_then(|index: usize| all.get(index));
        let by_uuid = || {
            let uuid: Uuid = entry.parse().ok()?;
            all.iter().find(|candidate| candidate.uuid == Some(uuid))
        };
        match by_index.or_else(by_uuid) {
            Some(candidate) if !picked.contains(candidate) => picked.push(candidate.clone()),
            _ => {}
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::UnixListener;

    use super::*;

    const FIRST: &str = "00000000-0000-0000-0000-000000000001";
    const SECOND: &str = "00000000-0000-0000-0000-00000000000a";

    fn candidate(index: usize, uuid: Option<&str>) -> Candidate {
        let transport = if uuid.is_some() { Transport::Host } else { Transport::Kernel };
        let path = PathBuf::from(format!("/n/{index}"));
        Candidate { transport, path, uuid: uuid.map(|text| text.parse().unwrap()), index }
    }

    fn three() -> Vec<Candidate> {
        vec![candidate(0, None), candidate(1, Some(FIRST)), candidate(2, Some(SECOND))]
    }

    #[test]
    fn uuid_text_round_trips() {
        let text = "0123abcd-ef01-2345-6789-abcdef012345";
        assert_eq!(text.parse::<Uuid>().unwrap().to_string(), text);
    }

    #[test]
    fn uuid_text_with_misplaced_dashes_is_refused() {
        assert_eq!("0123abcde-f01-2345-6789-abcdef012345".parse::<Uuid>(), Err(NotAUuid));
        assert_eq!("".parse::<Uuid>(), Err(NotAUuid));
        assert_eq!("0123abcd-ef01-2345-6789-abcdef01234g".parse::<Uuid>(), Err(NotAUuid));
        assert_eq!("ü123abcd-ef01-2345-6789-abcdef01234".parse::<Uuid>(), Err(NotAUuid));
    }

    #[test]
    fn visible_devices_pick_by_index_and_uuid_in_their_own_order() {
        let all = three();
        let picked = visible(&all, OsStr::new(&format!("{SECOND}, 0")));
        assert_eq!(picked, [all[2].clone(), all[0].clone()]);
    }

    #[test]
    fn visible_devices_empty_hides_everything() {
        assert_eq!(visible(&three(), OsStr::new("")), []);
    }

    #[test]
    fn visible_devices_unknown_and_repeated_entries_are_passed_over() {
        let all = three();
        assert_eq!(visible(&all, OsStr::new("7,1,banana,1")), [all[1].clone()]);
    }

    #[test]
    fn directory_full_of_other_things_has_only_its_sockets() {
        let dir = env::temp_dir().join(format!("dxg-core-junk-{}", std::process::id()));
        let vgpus = dir.join(runtime_dir::VGPU_DIR);
        std::fs::create_dir_all(vgpus.join("00000000-0000-0000-0000-000000000002.sock")).unwrap();
        std::fs::write(vgpus.join("00000000-0000-0000-0000-000000000003.sock"), "a file").unwrap();
        std::os::unix::fs::symlink("/nonexistent", vgpus.join("00000000-0000-0000-0000-000000000004.sock"))
            .unwrap();
        std::fs::write(vgpus.join(std::ffi::OsStr::from_bytes(b"\xff.sock")), "").unwrap();
        let _named_badly = UnixListener::bind(vgpus.join("none.sock")).unwrap();
        let _socket = UnixListener::bind(vgpus.join(format!("{FIRST}.sock"))).unwrap();
        let found = find(Path::new("/nonexistent"), &[dir.clone(), dir.clone(), "/nonexistent".into()]);
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].index(), found[0].uuid()), (0, FIRST.parse().ok()));
    }
}
