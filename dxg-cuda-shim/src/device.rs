//! Devices: virtual GPUs, what they say of themselves, and their primary contexts.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use dxg_core::Candidate;
use dxg_core::Streams;
use dxg_wire::cuda;
use parking_lot::Mutex;

use crate::context::Context;
use crate::context::Opened;
use crate::generated::enums::CUdevice_attribute as A;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUmemoryPool;
use crate::image::Binaries;
use crate::image::Target;
use crate::link::HostLink;
use crate::link::Link;
use crate::settings;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdevice;

/// Makes links to the device's host.
pub type Connector = Box<dyn Fn() -> Answer<Box<dyn Link>> + Send + Sync>;

/// The primary context.
#[derive(Debug, Default)]
pub struct Primary {
    /// How often it is retained.
    pub retained: u32,
    /// Flags for when it is made.
    pub flags: u32,
    /// It, if there is one.
    pub context: Option<Arc<Context>>,
}

/// A device.
pub struct Device {
    /// Its place in the list.
    pub ordinal: usize,
    /// The virtual GPU's UUID.
    pub uuid: [u8; 16],
    /// The adapter's LUID.
    pub luid: [u8; 8],
    /// What the host says of its device.
    pub description: cuda::Description,
    /// Bytes of memory: no more than the quota.
    pub memory_bytes: u64,
    /// The session, for what is not on a stream.
    pub streams: Option<Streams>,
    /// The primary context.
    pub primary: Mutex<Primary>,
    /// The pool that the device has from the beginning.
    pub default_pool: OnceLock<CUmemoryPool>,
    /// The pool that is used now.
    pub current_pool: Mutex<Option<CUmemoryPool>>,
    /// Bytes of memory that has no addresses by itself.
    pub physical_bytes: AtomicU64,
    connector: Connector,
    /// Opened to ask for the description, for the first context.
    spare: Mutex<Option<Opened>>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("ordinal", &self.ordinal).finish_non_exhaustive()
    }
}

impl Device {
    /// The device of a virtual GPU.
    ///
    /// # Errors
    /// Why it is of no use; the reason is logged.
    pub fn connect(candidate: &Candidate, ordinal: usize) -> Answer<Self> {
        let node = candidate.open().map_err(|error| {
            tracing::warn!(path = %candidate.path().display(), %error, "no session");
            CUresult::ERROR_NO_DEVICE
        })?;
        let streams = node.streams().ok_or(CUresult::ERROR_NO_DEVICE)?;
        let session = streams.clone();
        let connector: Connector = Box::new(move || {
            let link = HostLink::open(&session).map_err(|error| {
                tracing::warn!(%error, "no CUDA stream");
                crate::link::failure(&error)
            })?;
            Ok(Box::new(link))
        });
        let (uuid, luid) = (streams.vgpu_uuid().0, streams.adapter_luid().to_u64().to_le_bytes());
        Self::over(connector, ordinal, uuid, luid, Some(streams))
    }

    /// A device whose host is reached by a connector.
    ///
    /// # Errors
    /// What the host answers.
    pub fn over(
        connector: Connector,
        ordinal: usize,
        uuid: [u8; 16],
        luid: [u8; 8],
        streams: Option<Streams>,
    ) -> Answer<Self> {
        let link = connector()?;
        let quota_bytes = link.quota_bytes();
        let opened = Opened::new(link, settings::compute_capability())?;
        let description = opened.description.clone();
        let memory_bytes = match description.memory_bytes {
            0 => quota_bytes,
            bytes => bytes.min(quota_bytes),
        };
        Ok(Self {
            ordinal,
            uuid,
            luid,
            description,
            memory_bytes,
            streams,
            primary: Mutex::default(),
            default_pool: OnceLock::new(),
            current_pool: Mutex::default(),
            physical_bytes: AtomicU64::new(0),
            connector,
            spare: Mutex::new(Some(opened)),
        })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> CUdevice {
        CUdevice(i32::try_from(self.ordinal).unwrap_or(i32::MAX))
    }

    /// Makes a context and gives it a name.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn make_context(self: &Arc<Self>, flags: u32) -> Answer<Arc<Context>> {
        let spare = self.spare.lock().take();
        let opened = match spare {
            Some(opened) => opened,
            None => Opened::new((self.connector)()?, settings::compute_capability())?,
        };
        let context = Context::new(Arc::clone(self), opened, flags)?;
        let name = tables::CONTEXTS.insert(Arc::clone(&context))?;
        // A new context has none.
        let _ = context.name.set(name);
        Ok(context)
    }

    /// The primary context, made if there is none.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn primary_context(self: &Arc<Self>, primary: &mut Primary) -> Answer<Arc<Context>> {
        if let Some(context) = &primary.context
            && !context.is_destroyed()
        {
            return Ok(Arc::clone(context));
        }
        let context = self.make_context(primary.flags)?;
        primary.context = Some(Arc::clone(&context));
        Ok(context)
    }

    /// Ends the primary context.
    pub fn reset_primary(&self) {
        let context = self.primary.lock().context.take();
        if let Some(context) = context {
            tables::destroy_context(&context);
        }
    }

    /// Whether a context is the primary one.
    #[must_use]
    pub fn is_primary(&self, name: CUcontext) -> bool {
        let primary = self.primary.lock();
        primary.context.as_ref().is_some_and(|context| context.name.get() == Some(&name))
    }

    /// The compute capability: major, minor.
    #[must_use]
    pub fn compute_capability(&self) -> (i32, i32) {
        let both = i32::try_from(self.description.compute_capability).unwrap_or(75);
        (both / 10, both % 10)
    }

    /// The value of an attribute: what this library knows, else what the host says, else what is usual.
    #[must_use]
    pub fn attribute(&self, attribute: A) -> i32 {
        let (major, minor) = self.compute_capability();
        if self.is_remote() && !is_ours(attribute) {
            // The host's driver has said all that it can; what needs memory that both see is not among it.
            return self.said(attribute).unwrap_or(0);
        }
        match attribute {
            A::COMPUTE_CAPABILITY_MAJOR => return major,
            A::COMPUTE_CAPABILITY_MINOR => return minor,
            A::PCI_BUS_ID => return i32::try_from(self.ordinal).unwrap_or(0) + 1,
            A::PCI_DEVICE_ID
            | A::PCI_DOMAIN_ID
            | A::CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
            | A::HANDLE_TYPE_FABRIC_SUPPORTED
            | A::MULTICAST_SUPPORTED
            | A::TENSOR_MAP_ACCESS_SUPPORTED => return 0,
            A::UNIFIED_ADDRESSING
            | A::CAN_MAP_HOST_MEMORY
            | A::HOST_REGISTER_SUPPORTED
            | A::MEMORY_POOLS_SUPPORTED
            | A::VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
            | A::HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED
            | A::MEMPOOL_SUPPORTED_HANDLE_TYPES
            | A::IPC_EVENT_SUPPORTED
            | A::MANAGED_MEMORY
            | A::CONCURRENT_MANAGED_ACCESS
            | A::CAN_USE_64_BIT_STREAM_MEM_OPS
            | A::CAN_USE_64_BIT_STREAM_MEM_OPS_V1
            | A::CAN_USE_STREAM_MEM_OPS_V1
            | A::CAN_USE_STREAM_WAIT_VALUE_NOR
            | A::CAN_USE_STREAM_WAIT_VALUE_NOR_V1
            | A::TIMELINE_SEMAPHORE_INTEROP_SUPPORTED
            | A::STREAM_PRIORITIES_SUPPORTED
            | A::UNIFIED_FUNCTION_POINTERS => return 1,
            _ => {}
        }
        self.said(attribute).unwrap_or_else(|| usual(attribute))
    }

    /// The value that the host says.
    fn said(&self, attribute: A) -> Option<i32> {
        let number = u32::try_from(attribute.0).ok()?;
        self.description.attributes.0.iter().find(|one| one.attribute == number).map(|one| one.value)
    }

    /// Whether device memory is behind a driver of the host.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.description.memory_kind == cuda::memory_kind::REMOTE
    }

    /// What images are for.
    #[must_use]
    pub fn target(&self) -> Target {
        let binaries = if self.is_remote() { Binaries::Taken } else { Binaries::Unpacked };
        Target { capability: self.description.compute_capability, binaries }
    }

    /// For what needs device memory that this process sees too.
    ///
    /// # Errors
    /// Not supported where it does not.
    pub fn want_shared_memory(&self) -> Answer {
        if self.is_remote() { Err(CUresult::ERROR_NOT_SUPPORTED) } else { Ok(()) }
    }
}

/// Attributes that this library has whatever the host's driver has.
fn is_ours(attribute: A) -> bool {
    matches!(
        attribute,
        A::COMPUTE_CAPABILITY_MAJOR
            | A::COMPUTE_CAPABILITY_MINOR
            | A::PCI_BUS_ID
            | A::PCI_DEVICE_ID
            | A::PCI_DOMAIN_ID
            | A::CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
            | A::UNIFIED_ADDRESSING
            | A::CAN_MAP_HOST_MEMORY
            | A::HOST_REGISTER_SUPPORTED
            | A::MEMORY_POOLS_SUPPORTED
            | A::STREAM_PRIORITIES_SUPPORTED
    )
}

/// What devices of this kind usually say.
fn usual(attribute: A) -> i32 {
    match attribute {
        A::MAX_THREADS_PER_BLOCK | A::MAX_BLOCK_DIM_X | A::MAX_BLOCK_DIM_Y => 1024,
        A::MAX_BLOCK_DIM_Z => 64,
        A::MAX_GRID_DIM_X | A::MAX_PITCH => i32::MAX,
        A::MAX_GRID_DIM_Y | A::MAX_GRID_DIM_Z => 65535,
        A::MAX_SHARED_MEMORY_PER_BLOCK => 48 << 10,
        A::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN | A::MAX_SHARED_MEMORY_PER_MULTIPROCESSOR => 64 << 10,
        A::TOTAL_CONSTANT_MEMORY | A::MAX_REGISTERS_PER_BLOCK | A::MAX_REGISTERS_PER_MULTIPROCESSOR => 65536,
        A::WARP_SIZE => 32,
        A::CLOCK_RATE => 1_500_000,
        A::MEMORY_CLOCK_RATE => 1_000_000,
        A::GLOBAL_MEMORY_BUS_WIDTH => 128,
        A::L2_CACHE_SIZE => 4 << 20,
        A::MAX_THREADS_PER_MULTIPROCESSOR => 1024,
        A::MAX_BLOCKS_PER_MULTIPROCESSOR => 16,
        A::TEXTURE_ALIGNMENT | A::SURFACE_ALIGNMENT => 512,
        A::TEXTURE_PITCH_ALIGNMENT => 32,
        A::ASYNC_ENGINE_COUNT => 2,
        A::SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO => 2,
        A::MULTIPROCESSOR_COUNT
        | A::GPU_OVERLAP
        | A::CONCURRENT_KERNELS
        | A::INTEGRATED
        | A::COMPUTE_PREEMPTION_SUPPORTED
        | A::GLOBAL_L1_CACHE_SUPPORTED
        | A::LOCAL_L1_CACHE_SUPPORTED
        | A::MEM_SYNC_DOMAIN_COUNT => 1,
        _ => 0,
    }
}
