//! What a worker reaches in the file system: what drivers read, and the GPU's device nodes.
//!
//! *Why.* Written down are places, not files: which libraries a driver loads is the distribution's business. Nothing can
//! be written, made or executed anywhere. Without a rule a path does not open, so a place that is missing costs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use landlock::ABI;
use landlock::Access;
use landlock::AccessFs;
use landlock::AccessNet;
use landlock::BitFlags;
use landlock::CompatLevel;
use landlock::Compatible;
use landlock::LandlockStatus;
use landlock::PathBeneath;
use landlock::Ruleset;
use landlock::RulesetAttr;
use landlock::RulesetCreatedAttr;
use landlock::RulesetStatus;
use landlock::Scope;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use super::level::FileSystem;

/// Newest ABI whose rights are all in use; the tests ran on a kernel that has it.
const NEWEST: ABI = ABI::V7;

/// Trees and files that drivers read.
const READABLE: &[&str] = &[
    // Libraries: drivers, their loader, the compilers they load late.
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/run/opengl-driver",
    "/run/opengl-driver-32",
    // Where vendors put what the distribution does not package.
    "/opt/amdgpu",
    "/opt/amdgpu-pro",
    "/opt/rocm",
    // The dynamic linker finds libraries by it.
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    // Driver manifests and settings.
    "/etc/vulkan",
    "/etc/xdg/vulkan",
    "/etc/drirc",
    "/etc/glvnd",
    "/etc/nvidia",
    // C libraries read these when text is formatted.
    "/etc/localtime",
    "/etc/locale.alias",
    // Which GPUs there are, and what the processor can do.
    "/sys/bus",
    "/sys/class",
    "/sys/dev",
    "/sys/devices",
    "/sys/module",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/devices",
    "/proc/driver",
    "/proc/filesystems",
    "/proc/meminfo",
    "/proc/modules",
    "/proc/stat",
    "/proc/version",
    "/proc/sys/vm",
];

/// Directories of device nodes.
const DEVICE_TREES: &[&str] = &["/dev/dri", "/dev/nvidia-caps"];

/// Device nodes. `/dev/udmabuf` turns a memfd of one's own into a buffer that devices take.
const DEVICES: &[&str] =
    &["/dev/kfd", "/dev/dxg", "/dev/udmabuf", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// NVIDIA numbers its nodes: `/dev/nvidia0`, `/dev/nvidiactl`, `/dev/nvidia-uvm`.
const NUMBERED: &str = "nvidia";

/// Variables of the Vulkan and dynamic loaders that name files and directories, separated by colons.
const PATH_VARIABLES: &[&str] = &[
    "VK_DRIVER_FILES",
    "VK_ADD_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "VK_LAYER_PATH",
    "VK_ADD_LAYER_PATH",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LIBGL_DRIVERS_PATH",
    "GBM_BACKENDS_PATH",
];

/// What an environment makes a driver read: the paths in its variables, and the libraries that manifests among them
/// name.
#[must_use]
pub fn readable_from_environment(environment: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for value in PATH_VARIABLES.iter().filter_map(|name| environment.get(*name)) {
        for path in value.split(':').map(Path::new).filter(|path| path.is_absolute()) {
            paths.push(path.to_owned());
            paths.extend(library_of(path));
        }
    }
    paths
}

/// The library that a driver manifest names by path; one that is named without is searched where libraries are.
fn library_of(manifest: &Path) -> Option<PathBuf> {
    if manifest.extension()? != "json" {
        return None;
    }
    let text = fs::read(manifest).ok()?;
    let manifest_json: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let library = manifest_json.get("ICD")?.get("library_path")?.as_str()?;
    library.contains('/').then(|| manifest.parent().unwrap_or(Path::new("/")).join(library))
}

/// Leaves this process, and threads that it starts from here on, what is listed above and `readable`.
pub(super) fn restrict(readable: &[PathBuf]) -> io::Result<FileSystem> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let mut rules = Vec::new();
    rules.extend(READABLE.iter().map(Path::new).filter_map(|path| rule(path, read)));
    rules.extend(readable.iter().filter_map(|path| rule(path, read)));
    rules.extend(DEVICE_TREES.iter().filter_map(|path| rule(Path::new(path), device | AccessFs::ReadDir)));
    rules.extend(DEVICES.iter().filter_map(|path| rule(Path::new(path), device)));
    rules.extend(numbered_nodes().iter().filter_map(|path| rule(path, device)));
    enforce(rules)
}

/// Leaves this process a directory: files in it are made, read, written and removed, and directories too.
pub(super) fn restrict_to(directory: &OwnedFd) -> io::Result<FileSystem> {
    let access = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir;
    enforce(vec![PathBeneath::new(directory.try_clone()?, access)])
}

fn enforce(rules: Vec<PathBeneath<OwnedFd>>) -> io::Result<FileSystem> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(rules.into_iter().map(Ok::<_, landlock::RulesetError>)))
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(io::Error::other)?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err(io::Error::other("the kernel has no landlock")),
        (_, LandlockStatus::Available { effective_abi, kernel_abi }) => {
            Ok(FileSystem::Landlock(kernel_abi.unwrap_or(effective_abi as i32)))
        }
        _ => Err(io::Error::other("the kernel has no landlock")),
    }
}

/// A rule for what lies at `path`, if something does.
fn rule(path: &Path, access: BitFlags<AccessFs>) -> Option<PathBeneath<OwnedFd>> {
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // Files have no entries to list.
    let is_dir = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd).ok()?.st_mode).is_dir();
    let access = if is_dir { access } else { access & !BitFlags::from(AccessFs::ReadDir) };
    Some(PathBeneath::new(fd, access))
}

fn numbered_nodes() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/dev") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_node = !entry.file_type().ok()?.is_dir();
            let is_named = entry.file_name().to_str()?.starts_with(NUMBERED);
            (is_node && is_named).then(|| entry.path())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_makes_its_paths_readable_and_nothing_else() {
        let environment = BTreeMap::from([
            ("VK_DRIVER_FILES".to_owned(), "/a/one.json:relative.json:/b/two.json".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ]);
        let paths = readable_from_environment(&environment);
        assert_eq!(paths, [PathBuf::from("/a/one.json"), PathBuf::from("/b/two.json")]);
    }
}
