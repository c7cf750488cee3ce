//! Memory and semaphores that can be shared with others: objects of `dxg-core`, named by descriptors.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dxg_core::AllocationOptions;
use dxg_core::Fence;
use dxg_core::FenceValue;
use dxg_core::Resource;
use dxg_core::ResourceOptions;
use dxg_core::ResourceSharing;

use crate::device::Device;
use crate::event::Shared;
use crate::generated::enums::CUresult;
use crate::link::LEASE_BYTES;
use crate::link::Window;
use crate::link::failure;
use crate::types::Answer;

/// Memory that can be shared, or that belongs to nobody's addresses yet.
#[derive(Debug)]
pub struct Memory {
    /// Its bytes here and on the host.
    pub window: Window,
    /// Bytes that were asked for.
    pub bytes: u64,
    /// The device.
    pub device: Arc<Device>,
    resource: Option<Arc<Resource>>,
    descriptor: Option<OwnedFd>,
}

impl Device {
    /// The device of `dxg-core` that shared objects are made on.
    ///
    /// # Errors
    /// Not supported without a session.
    pub fn exchange(&self) -> Answer<dxg_core::Device> {
        let streams = self.streams.as_ref().ok_or(CUresult::ERROR_NOT_SUPPORTED)?;
        let adapter = streams.node().first_adapter().map_err(|error| failure(&error))?;
        adapter.create_device().map_err(|error| failure(&error))
    }
}

impl Memory {
    /// Memory that can be shared.
    ///
    /// # Errors
    /// Out of memory, or the device is gone.
    pub fn create(device: &Arc<Device>, bytes: u64) -> Answer<Self> {
        device.want_shared_memory()?;
        let whole = bytes.checked_next_multiple_of(LEASE_BYTES).ok_or(CUresult::ERROR_OUT_OF_MEMORY)?;
        let options = ResourceOptions {
            allocations: vec![AllocationOptions::cross_adapter(whole)],
            sharing: ResourceSharing::Shareable,
            ..ResourceOptions::default()
        };
        // There is no word for a quota on the way from the host: what is not made had no room.
        let resource =
            device.exchange()?.create_resource(options).map_err(|error| match failure(&error) {
                crate::link::LOST => crate::link::LOST,
                _ => CUresult::ERROR_OUT_OF_MEMORY,
            })?;
        Self::over(device, resource, None, bytes)
    }

    /// Memory that only this session has.
    #[must_use]
    pub fn private(device: &Arc<Device>, window: Window, bytes: u64) -> Self {
        device.physical_bytes.fetch_add(bytes, Ordering::Relaxed);
        Self { window, bytes, device: Arc::clone(device), resource: None, descriptor: None }
    }

    /// Memory that a descriptor names. `bytes` of 0: all of it.
    ///
    /// # Errors
    /// Invalid value when it names none, or less than `bytes`.
    pub fn open(device: &Arc<Device>, descriptor: OwnedFd, bytes: u64) -> Answer<Self> {
        device.want_shared_memory()?;
        let resource = device.exchange()?.open_shared_resource(descriptor.as_fd()).map_err(|error| {
            tracing::debug!(%error, "no shared memory");
            match failure(&error) {
                CUresult::ERROR_OPERATING_SYSTEM => CUresult::ERROR_INVALID_VALUE,
                other => other,
            }
        })?;
        Self::over(device, resource, Some(descriptor), bytes)
    }

    fn over(
        device: &Arc<Device>,
        resource: Resource,
        descriptor: Option<OwnedFd>,
        bytes: u64,
    ) -> Answer<Self> {
        let only = resource.allocations().first().ok_or(CUresult::ERROR_INVALID_VALUE)?;
        let mapped = only.map().map_err(|error| failure(&error))?;
        let window = mapped.window().ok_or(CUresult::ERROR_NOT_SUPPORTED)?;
        let (memory, io) = (window.memory, window.io_address.0);
        let room = memory.len() as u64;
        if bytes > room {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let resource = Arc::new(resource);
        let keep = Arc::new((mapped, Arc::clone(&resource)));
        let window = Window { memory, io, keep };
        let bytes = if bytes == 0 { room } else { bytes };
        device.physical_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Self { window, bytes, device: Arc::clone(device), resource: Some(resource), descriptor })
    }

    /// Whether others can open it.
    #[must_use]
    pub fn can_be_shared(&self) -> bool {
        self.resource.is_some()
    }

    /// A descriptor that names it.
    ///
    /// # Errors
    /// Invalid value for memory that cannot be shared.
    pub fn share(&self) -> Answer<OwnedFd> {
        match (&self.descriptor, &self.resource) {
            (Some(descriptor), _) => descriptor.try_clone().map_err(|_| CUresult::ERROR_OPERATING_SYSTEM),
            (None, Some(resource)) => resource.share().map_err(|error| failure(&error)),
            (None, None) => Err(CUresult::ERROR_INVALID_VALUE),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.device.physical_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A semaphore of others.
#[derive(Debug)]
pub struct Semaphore {
    fence: Fence,
    io: u64,
    is_timeline: bool,
    page: dxg_wire::shm::SharedSlice,
}

/// Where in the page of a binary semaphore the counts of signals and waits are, as the Vulkan driver has it.
const SIGNALS_AT: usize = 72;
const WAITS_AT: usize = 80;

impl Semaphore {
    /// The semaphore that a descriptor names.
    ///
    /// # Errors
    /// Invalid value when it names none.
    pub fn open(device: &Device, descriptor: &OwnedFd, is_timeline: bool) -> Answer<Self> {
        let fence = device.exchange()?.open_shared_fence(descriptor.as_fd()).map_err(|error| {
            tracing::debug!(%error, "no shared fence");
            match failure(&error) {
                CUresult::ERROR_OPERATING_SYSTEM => CUresult::ERROR_INVALID_VALUE,
                other => other,
            }
        })?;
        let page = fence.page().ok_or(CUresult::ERROR_NOT_SUPPORTED)?;
        Ok(Self { io: page.io_address.0, page: page.memory, fence, is_timeline })
    }

    /// Where the host sees its value.
    #[must_use]
    pub fn io(&self) -> u64 {
        self.io
    }

    /// Its value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.fence.value().0
    }

    /// The value that a signal raises it to.
    #[must_use]
    pub fn signal_value(&self, value: u64) -> u64 {
        if self.is_timeline {
            return value;
        }
        let now = self.value();
        let next = |given: u64| given.max(now).saturating_add(1);
        let Ok(counter) = self.page.atomic_u64(SIGNALS_AT) else { return next(0) };
        let before = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |given| Some(next(given)));
        // The closure always answers.
        before.map_or(1, next)
    }

    /// The value that a wait waits for.
    #[must_use]
    pub fn wait_value(&self, value: u64) -> u64 {
        if self.is_timeline {
            return value;
        }
        self.page.atomic_u64(WAITS_AT).map_or(0, |counter| counter.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

/// An event that other processes can open, and the descriptor that names it.
///
/// # Errors
/// Out of memory, not supported without a session.
pub fn make_shared_event(device: &Device) -> Answer<Shared> {
    let fence = device.exchange()?.create_shared_fence(FenceValue(0)).map_err(|error| failure(&error))?;
    Shared::new(fence)
}

/// The event that a descriptor names.
///
/// # Errors
/// Invalid value when it names none.
pub fn open_shared_event(device: &Device, descriptor: &OwnedFd) -> Answer<Shared> {
    let fence = device.exchange()?.open_shared_fence(descriptor.as_fd()).map_err(|error| failure(&error))?;
    Shared::new(fence)
}
