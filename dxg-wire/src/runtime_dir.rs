//! Where sockets and locks of the daemon live.
//!
//! *Why here.* Daemon, guest libraries and tools must agree on it without asking each other.
//!
//! `DXG_RUNTIME_DIR` names the only directory where it is set. Else a daemon of root uses `/run/dxg`, a daemon of a user
//! `$XDG_RUNTIME_DIR/dxg`; a guest looks in `$XDG_RUNTIME_DIR/dxg` and then in `/run/dxg`. Variables that are empty or not
//! absolute paths count as not set.

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

/// Variable that names the one runtime directory.
pub const RUNTIME_DIR_VARIABLE: &str = "DXG_RUNTIME_DIR";
/// Variable that limits which virtual GPUs a guest sees: UUIDs or indexes, separated by commas.
pub const VISIBLE_DEVICES_VARIABLE: &str = "DXG_VISIBLE_DEVICES";
/// Runtime directory of a daemon of root.
pub const SYSTEM_DIR: &str = "/run/dxg";
/// Folder of the client sockets in a runtime directory.
pub const VGPU_DIR: &str = "vgpu";

/// The directory of a daemon that runs as `uid`; `None` when a user has none.
#[must_use]
pub fn of_daemon(env: impl Fn(&str) -> Option<OsString>, uid: u32) -> Option<PathBuf> {
    if let Some(dir) = absolute(&env, RUNTIME_DIR_VARIABLE) {
        return Some(dir);
    }
    if uid == 0 { Some(PathBuf::from(SYSTEM_DIR)) } else { user_dir(&env) }
}

/// The directories in which a guest looks for daemons, in order.
#[must_use]
pub fn of_guest(env: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    if let Some(dir) = absolute(&env, RUNTIME_DIR_VARIABLE) {
        return vec![dir];
    }
    let mut dirs: Vec<PathBuf> = user_dir(&env).into_iter().collect();
    let system = PathBuf::from(SYSTEM_DIR);
    if !dirs.contains(&system) {
        dirs.push(system);
    }
    dirs
}

/// The client socket of a virtual GPU. `uuid` is in text form.
#[must_use]
pub fn vgpu_socket(dir: &Path, uuid: &str) -> PathBuf {
    dir.join(VGPU_DIR).join(format!("{uuid}.sock"))
}

/// The socket of the control protocol.
#[must_use]
pub fn control_socket(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// The file that a running daemon keeps locked.
#[must_use]
pub fn lock_file(dir: &Path) -> PathBuf {
    dir.join("dxgd.lock")
}

fn user_dir(env: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    absolute(env, "XDG_RUNTIME_DIR").map(|dir| dir.join("dxg"))
}

fn absolute(env: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    env(name).map(PathBuf::from).filter(|dir| dir.is_absolute())
}
