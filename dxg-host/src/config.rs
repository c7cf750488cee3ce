//! What the administrator decides: the file that `dxgd serve --config` reads, and what holds without one.
//!
//! *Permissions.* A virtual GPU's socket says who may use it. Without configuration a daemon of root gives it mode
//! 0666, as the kernel's node has, and a daemon of another user 0600.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use uuid::Uuid;

use crate::adapter::cuda::Executor;
use crate::adapter::cuda::Settings;
use crate::sandbox::Policy;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a configuration.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// Too little code would be kept.
    #[error("cuda.{key} is {bytes} and must be {least} at least")]
    CodeBytes {
        /// The key.
        key: &'static str,
        /// What it says.
        bytes: u64,
        /// Least that makes sense.
        least: u64,
    },
    /// A directory is not an absolute path.
    #[error("cuda.code_cache {0:?} is not an absolute path; \"\" keeps nothing")]
    CodeDirectory(PathBuf),
    /// A mode is not an octal number.
    #[error("mode {0:?} is not octal, such as \"0660\"")]
    Mode(String),
}

/// The whole file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Workers that wait, with the driver loaded, for the next client of each adapter.
    pub warm_workers: usize,
    /// Most workers that wait for an adapter while its clients come faster than workers start.
    pub most_warm_workers: usize,
    /// Environment of the workers, where a host driver needs one: nothing else is passed on.
    pub host_env: BTreeMap<String, String>,
    /// The host's CUDA library, where it is not the `libcuda.so.1` that the system has.
    pub host_libcuda: Option<PathBuf>,
    /// How far workers are closed in.
    pub sandbox: Policy,
    /// Files and trees that workers may read beside those that drivers have on most systems.
    pub sandbox_readable: Vec<PathBuf>,
    /// Seconds within which a connection must greet.
    pub greeting_seconds: u64,
    /// Who may use a virtual GPU that says nothing else.
    pub access: Access,
    /// How CUDA behaves, on a virtual GPU that says nothing else and for all.
    pub cuda: CommonCuda,
    /// Virtual GPUs; without any, there is one for each adapter.
    pub vgpu: Vec<VgpuConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            warm_workers: 1,
            most_warm_workers: 3,
            host_env: BTreeMap::new(),
            host_libcuda: None,
            sandbox: Policy::default(),
            sandbox_readable: Vec::new(),
            greeting_seconds: 10,
            access: Access::default(),
            cuda: CommonCuda::default(),
            vgpu: Vec::new(),
        }
    }
}

/// Who may use a virtual GPU.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Mode of the socket, octal.
    pub mode: Option<String>,
    /// Owner of the socket, a user id.
    pub owner: Option<u32>,
    /// Group of the socket, a group id.
    pub group: Option<u32>,
    /// User ids that may connect; everybody whom the socket's mode admits where it is not given.
    pub allowed_uids: Option<Vec<u32>>,
}

impl Access {
    /// This, with what it leaves open taken from `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            mode: self.mode.clone().or_else(|| other.mode.clone()),
            owner: self.owner.or(other.owner),
            group: self.group.or(other.group),
            allowed_uids: self.allowed_uids.clone().or_else(|| other.allowed_uids.clone()),
        }
    }

    /// The socket's mode.
    ///
    /// # Errors
    /// [`ConfigError::Mode`] when it is not octal.
    pub fn mode_bits(&self, daemon: DaemonUser) -> Result<u32, ConfigError> {
        match (&self.mode, daemon) {
            (Some(mode), _) => u32::from_str_radix(mode.trim_start_matches("0o"), 8)
                .ok()
                .filter(|bits| *bits <= 0o777)
                .ok_or_else(|| ConfigError::Mode(mode.clone())),
            (None, DaemonUser::Root) => Ok(0o666),
            (None, DaemonUser::Other) => Ok(0o600),
        }
    }
}

/// Whose daemon this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonUser {
    /// Root's: it serves the machine.
    Root,
    /// A user's own.
    Other,
}

impl DaemonUser {
    /// The user of this process.
    #[must_use]
    pub fn current() -> Self {
        if rustix::process::geteuid().is_root() { Self::Root } else { Self::Other }
    }
}

/// One virtual GPU.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct VgpuConfig {
    /// Its UUID; derived from the adapter's where it is not given.
    pub uuid: Option<Uuid>,
    /// Its name for people.
    pub name: Option<String>,
    /// The adapter, by position in the probe's answer.
    pub adapter: usize,
    /// Bytes of memory of all its clients together; the adapter's memory where it is not given.
    pub quota_bytes: Option<u64>,
    /// Bytes of memory of one client; the same as all together where it is not given.
    pub client_quota_bytes: Option<u64>,
    /// Most clients at once.
    pub max_clients: Option<usize>,
    /// Who may use it.
    pub access: Access,
    /// How CUDA behaves on it.
    pub cuda: CudaConfig,
}

/// How CUDA behaves, and where its compiled code is kept.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct CommonCuda {
    /// What runs kernels.
    pub executor: Option<Executor>,
    /// Compute capability that is reported, 10 * major + minor.
    pub compute_capability: Option<u32>,
    /// Milliseconds that a grid may run; 0 for as long as it likes.
    pub watchdog_ms: Option<u32>,
    /// Directory of compiled code; empty to keep none.
    pub code_cache: Option<PathBuf>,
    /// Bytes of compiled code of one user on one virtual GPU.
    pub code_cache_bytes: Option<u64>,
    /// Bytes of compiled code of all of them.
    pub code_cache_total_bytes: Option<u64>,
}

/// Where compiled code is kept, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeCache {
    /// The directory; the usual one where it is not given, none where it is empty.
    pub directory: Option<PathBuf>,
    /// Bytes of one user on one virtual GPU.
    pub place_bytes: u64,
    /// Bytes of all of them.
    pub total_bytes: u64,
}

/// Bytes of compiled code of one user on one virtual GPU where nothing else is configured: some thousand kernels.
const CODE_BYTES: u64 = 256 << 20;
/// What all of them have together, in multiples of one.
const CODE_PLACES: u64 = 4;
/// Less has no room for one large kernel.
const LEAST_CODE_BYTES: u64 = 1 << 20;

impl CommonCuda {
    /// What a virtual GPU has that says nothing else.
    #[must_use]
    pub fn common(&self) -> CudaConfig {
        CudaConfig {
            executor: self.executor,
            compute_capability: self.compute_capability,
            watchdog_ms: self.watchdog_ms,
        }
    }

    /// Where compiled code is kept.
    ///
    /// # Errors
    /// The directory is no absolute path, or a size is too small.
    pub fn code_cache(&self) -> Result<CodeCache, ConfigError> {
        let directory = self.code_cache.clone();
        if let Some(path) =
            directory.as_ref().filter(|path| path.is_relative() && !path.as_os_str().is_empty())
        {
            return Err(ConfigError::CodeDirectory(path.clone()));
        }
        let at_least = |key, bytes, least| {
            if bytes < least { Err(ConfigError::CodeBytes { key, bytes, least }) } else { Ok(bytes) }
        };
        let place_bytes = self.code_cache_bytes.unwrap_or(CODE_BYTES);
        let place_bytes = at_least("code_cache_bytes", place_bytes, LEAST_CODE_BYTES)?;
        let total_bytes = self.code_cache_total_bytes.unwrap_or(place_bytes.saturating_mul(CODE_PLACES));
        let total_bytes = at_least("code_cache_total_bytes", total_bytes, place_bytes)?;
        Ok(CodeCache { directory, place_bytes, total_bytes })
    }
}

/// How CUDA behaves.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct CudaConfig {
    /// What runs kernels.
    pub executor: Option<Executor>,
    /// Compute capability that is reported, 10 * major + minor.
    pub compute_capability: Option<u32>,
    /// Milliseconds that a grid may run; 0 for as long as it likes.
    pub watchdog_ms: Option<u32>,
}

impl CudaConfig {
    /// This, with what it leaves open taken from `other`.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        Self {
            executor: self.executor.or(other.executor),
            compute_capability: self.compute_capability.or(other.compute_capability),
            watchdog_ms: self.watchdog_ms.or(other.watchdog_ms),
        }
    }

    /// As the worker uses it.
    #[must_use]
    pub fn settings(self) -> Settings {
        let default = Settings::default();
        let limit = self.watchdog_ms.filter(|limit| *limit != 0);
        Settings {
            executor: self.executor.unwrap_or(default.executor),
            compute_capability: self.compute_capability.unwrap_or(default.compute_capability),
            watchdog: limit.map(|limit| Duration::from_millis(limit.into())),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is not a configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_file_is_the_default() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn documented_configuration_is_accepted() {
        let manual = include_str!("../../docs/dxgd.md");
        let (_, rest) = manual.split_once("```toml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let config: Config = toml::from_str(example).unwrap();
        assert_eq!(config.vgpu[0].max_clients, Some(64));
        assert_eq!(config.vgpu[0].cuda.or(&config.cuda.common()).watchdog_ms, Some(60_000));
        assert_eq!(config.sandbox_readable, [PathBuf::from("/srv/driver")]);
        assert_eq!(config.access.allowed_uids, Some(vec![1000, 1001]));
    }

    #[test]
    fn cuda_of_a_virtual_gpu_goes_before_the_common_one() {
        let config: Config = toml::from_str(
            "[cuda]\nexecutor = \"interpreter\"\nwatchdog_ms = 0\n[[vgpu]]\ncuda = { compute_capability = 80, watchdog_ms = 5 }\n",
        )
        .unwrap();
        let settings = config.vgpu[0].cuda.or(&config.cuda.common()).settings();
        assert_eq!(settings.executor, Executor::Interpreter);
        assert_eq!(settings.compute_capability, 80);
        assert_eq!(settings.watchdog, Some(Duration::from_millis(5)));
        assert_eq!(config.cuda.common().settings().watchdog, None);
    }

    fn code_cache(text: &str) -> Result<CodeCache, ConfigError> {
        toml::from_str::<Config>(text).unwrap().cuda.code_cache()
    }

    #[test]
    fn compiled_code_is_kept_unless_its_directory_is_empty() {
        let usual = code_cache("").unwrap();
        assert_eq!(usual, CodeCache { directory: None, place_bytes: 256 << 20, total_bytes: 1 << 30 });
        let off = code_cache("[cuda]\ncode_cache = \"\"\n").unwrap();
        assert_eq!(off.directory, Some(PathBuf::new()));
        let own = code_cache("[cuda]\ncode_cache = \"/c\"\ncode_cache_bytes = 2000000\n").unwrap();
        assert_eq!(own.directory, Some(PathBuf::from("/c")));
        assert_eq!((own.place_bytes, own.total_bytes), (2_000_000, 8_000_000));
    }

    #[test]
    fn relative_directory_and_sizes_without_room_are_refused() {
        assert!(matches!(code_cache("[cuda]\ncode_cache = \"code\"\n"), Err(ConfigError::CodeDirectory(_))));
        assert!(matches!(
            code_cache("[cuda]\ncode_cache_bytes = 4096\n"),
            Err(ConfigError::CodeBytes { .. })
        ));
        let less = "[cuda]\ncode_cache_bytes = 2000000\ncode_cache_total_bytes = 1000000\n";
        assert!(matches!(code_cache(less), Err(ConfigError::CodeBytes { .. })));
    }

    #[test]
    fn directory_of_code_is_not_a_virtual_gpus_to_choose() {
        let text = "[[vgpu]]\nadapter = 0\ncuda = { code_cache = \"/c\" }\n";
        assert!(toml::from_str::<Config>(text).is_err());
    }

    #[test]
    fn unknown_key_is_refused() {
        assert!(toml::from_str::<Config>("quota = 1").is_err());
    }

    #[test]
    fn sandbox_is_one_of_three_words() {
        assert_eq!(toml::from_str::<Config>("sandbox = \"require\"").unwrap().sandbox, Policy::Require);
        assert_eq!(toml::from_str::<Config>("").unwrap().sandbox, Policy::Best);
        assert!(toml::from_str::<Config>("sandbox = \"maybe\"").is_err());
    }

    #[test]
    fn access_of_a_virtual_gpu_goes_before_the_common_one() {
        let config: Config = toml::from_str(
            "[access]\nmode = \"0660\"\ngroup = 7\n[[vgpu]]\nadapter = 0\naccess = { mode = \"0600\" }\n",
        )
        .unwrap();
        let access = config.vgpu[0].access.or(&config.access);
        assert_eq!(access.mode_bits(DaemonUser::Root).unwrap(), 0o600);
        assert_eq!(access.group, Some(7));
    }

    #[test]
    fn mode_without_configuration_follows_the_daemon_user() {
        let access = Access::default();
        assert_eq!(access.mode_bits(DaemonUser::Root).unwrap(), 0o666);
        assert_eq!(access.mode_bits(DaemonUser::Other).unwrap(), 0o600);
    }

    #[test]
    fn mode_that_is_not_octal_is_refused() {
        let access = Access { mode: Some("rw".to_owned()), ..Access::default() };
        assert!(access.mode_bits(DaemonUser::Root).is_err());
    }
}
