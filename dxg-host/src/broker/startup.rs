//! Finds the adapters and lays out the virtual GPUs.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use clap::ValueEnum;
use dxg_wire::runtime_dir;
use rustix::net::SocketType;
use rustix::pipe::PipeFlags;

use super::ids::VgpuId;
use super::runtime::Permissions;
use super::runtime::RuntimeDir;
use super::vgpu::DEFAULT_MAX_CLIENTS;
use super::vgpu::Vgpu;
use super::vgpu::default_uuid;
use crate::adapter::AdapterChoice;
use crate::adapter::cuda;
use crate::adapter::probe::Found;
use crate::adapter::probe::Wanted;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::DaemonUser;
use crate::config::VgpuConfig;
use crate::sandbox;
use crate::sandbox::Role;
use crate::sandbox::Stdin;

/// How long a probe may take before it counts as hung.
const PROBE_TIME: Duration = Duration::from_secs(60);
/// Most that a probe may say.
const PROBE_BYTES: u64 = 1 << 20;

/// The adapters of this machine, asked in a process of its own.
pub(super) fn probe(wanted: Wanted, config: &Config) -> io::Result<Vec<Found>> {
    let name = wanted.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let mut arguments = vec!["--adapter".to_owned(), name];
    arguments.extend(host_libcuda(config));
    let child = sandbox::spawn(Role::Probe, &arguments, &config.host_env, Stdin::Null, Stdio::from(write))?;
    let answer = read_answer(read);
    child.kill();
    child.wait();
    let found = answer.and_then(|bytes| Ok(serde_json::from_slice::<Vec<Found>>(&bytes)?));
    match (found, wanted) {
        (Ok(found), _) => Ok(found),
        (Err(error), Wanted::Auto) => {
            tracing::error!(%error, "the probe failed; going on without a driver");
            Ok(vec![Found { choice: AdapterChoice::Cpu, identity: cuda::identity() }])
        }
        (Err(error), _) => Err(error),
    }
}

/// How probe and workers are told of the host's CUDA library.
pub(super) fn host_libcuda(config: &Config) -> impl Iterator<Item = String> {
    let library = config.host_libcuda.as_ref().map(|path| path.display().to_string());
    library.into_iter().flat_map(|path| ["--host-libcuda".to_owned(), path])
}

fn read_answer(read: OwnedFd) -> io::Result<Vec<u8>> {
    rustix::io::ioctl_fionbio(&read, true)?;
    let deadline = Instant::now() + PROBE_TIME;
    let mut answer = Vec::new();
    let mut pipe = std::fs::File::from(read);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the probe does not answer"));
        }
        dxg_wire::doorbell::wait(&[pipe.as_fd()], Some(left))?;
        match pipe.by_ref().take(PROBE_BYTES).read_to_end(&mut answer) {
            Ok(_) => return Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes the virtual GPUs of a configuration, or one for each adapter.
pub(super) fn vgpus(
    config: &Config,
    found: &[Found],
    runtime: &mut RuntimeDir,
    user: DaemonUser,
) -> Result<BTreeMap<VgpuId, Vgpu>, StartError> {
    let default: Vec<VgpuConfig>;
    let wanted = if config.vgpu.is_empty() {
        let offered = default_adapters(found);
        default = offered.map(|adapter| VgpuConfig { adapter, ..VgpuConfig::default() }).collect();
        &default
    } else {
        &config.vgpu
    };
    let mut indexes: BTreeMap<usize, usize> = BTreeMap::new();
    let mut vgpus = BTreeMap::new();
    for (number, wanted) in wanted.iter().enumerate() {
        let adapter = found.get(wanted.adapter).ok_or(StartError::NoAdapter(wanted.adapter))?;
        let index = indexes.entry(wanted.adapter).or_insert(0);
        let uuid = wanted.uuid.unwrap_or_else(|| default_uuid(&adapter.identity, *index));
        *index += 1;
        let access = wanted.access.or(&config.access);
        let mode = access.mode_bits(user)?;
        let permissions = Permissions { mode, owner: access.owner, group: access.group };
        let path = runtime_dir::vgpu_socket(runtime.path(), &uuid.to_string());
        let listener = runtime
            .listen(&path, SocketType::SEQPACKET, permissions)
            .map_err(|source| StartError::Listen { path: path.display().to_string(), source })?;
        let id = VgpuId(number as u64 + 1);
        let quota_bytes = wanted.quota_bytes.unwrap_or_else(|| adapter.identity.memory_bytes());
        let vgpu = Vgpu {
            id,
            uuid,
            name: wanted.name.clone().unwrap_or_else(|| adapter.identity.name.clone()),
            choice: adapter.choice,
            adapter: wanted.adapter,
            quota_bytes,
            client_quota_bytes: wanted.client_quota_bytes.unwrap_or(quota_bytes).min(quota_bytes),
            max_clients: wanted.max_clients.unwrap_or(DEFAULT_MAX_CLIENTS),
            allowed_uids: access.allowed_uids.clone(),
            cuda: wanted.cuda.or(&config.cuda.common()).settings(),
            listener,
            path,
        };
        tracing::info!(vgpu = %vgpu.uuid, name = vgpu.name, adapter = %vgpu.choice, quota_bytes, "virtual GPU");
        vgpus.insert(id, vgpu);
    }
    Ok(vgpus)
}

/// The adapters that get a virtual GPU where none is configured. Each runs CUDA on the CPU, so that the CPU gets one of its own
/// only where it is alone.
fn default_adapters(found: &[Found]) -> impl Iterator<Item = usize> {
    let others = found.iter().any(|found| found.choice != AdapterChoice::Cpu);
    let is_offered = move |found: &Found| !others || found.choice != AdapterChoice::Cpu;
    found.iter().enumerate().filter(move |(_, found)| is_offered(found)).map(|(index, _)| index)
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A virtual GPU names an adapter that is not there.
    #[error("adapter {0} is not there")]
    NoAdapter(usize),
    /// A socket cannot be made.
    #[error("cannot listen at {path}: {source}")]
    Listen {
        /// The socket.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The configuration is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::adapter::null;

    fn found(choice: AdapterChoice) -> Found {
        Found { choice, identity: null::identity() }
    }

    #[test]
    fn cpu_has_a_virtual_gpu_of_its_own_only_where_it_is_alone() {
        let gpu = found(AdapterChoice::Vulkan(Uuid::from_u128(1)));
        let both = [gpu, found(AdapterChoice::Cpu)];
        assert_eq!(default_adapters(&both).collect::<Vec<_>>(), [0]);
        assert_eq!(default_adapters(&both[1..]).collect::<Vec<_>>(), [0]);
    }
}
